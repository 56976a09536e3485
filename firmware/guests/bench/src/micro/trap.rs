//! Traps into S-mode, and calls out of it.

use core::arch::global_asm;

use runtime::memory::PAGE;
use runtime::page_table::{A, D, R, U, X};
use runtime::{csr, csr_clear, csr_read, csr_set, csr_write, sbi, trap};

use super::TIMES;
use super::paging::space;
use crate::session::{Check, Outcome, Session};

global_asm!(
    r#"
    .section .text
    .option push
    .option norvc
// The handler: a7 = 0 goes on behind the instruction, and counts; another a7 returns to the caller of the function
// below that was left, with the count.
    .balign 4
short_handler:
    bnez    a7, 1f
    csrr    t0, sepc
    addi    t0, t0, 4
    csrw    sepc, t0
    addi    a1, a1, 1
    sret
1:  mv      a0, a1
    ret

// a0: rounds of 64. Returns how many traps there were.
breakpoints:
    li      a1, 0
    li      a7, 0
2:
    .rept 64
    ebreak
    .endr
    addi    a0, a0, -1
    bnez    a0, 2b
    mv      a0, a1
    ret

// a0: rounds of 64, a1: where `user_ecalls` is in U-mode. Returns how many traps there were.
enter_user_ecalls:
    csrw    sepc, a1
    li      t0, 0x100
    csrc    sstatus, t0
    li      a1, 0
    li      a7, 0
    sret

    .balign 8
user_ecalls:
    .rept 64
    ecall
    .endr
    addi    a0, a0, -1
    bnez    a0, user_ecalls
    li      a7, 1
    ecall
user_ecalls_end:
    .option pop
    "#
);

unsafe extern "C" {
    fn short_handler();
    fn breakpoints(rounds: u64) -> u64;
    fn enter_user_ecalls(rounds: u64, entry: usize) -> u64;
    static user_ecalls: u8;
    static user_ecalls_end: u8;
}

/// Runs `f` with the short handler and without interrupts.
fn with_short_handler<T>(f: impl FnOnce() -> T) -> T {
    csr_clear!("sstatus", csr::SIE);
    let sie = csr_read!("sie");
    csr_write!("sie", 0);
    csr_write!("stvec", short_handler as *const () as usize);
    let result = f();
    trap::restore_vector();
    csr_write!("sie", sie);
    csr_set!("sstatus", csr::SIE);
    result
}

pub fn breakpoint(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        // SAFETY: the handler returns behind each trap.
        let got = with_short_handler(|| unsafe { breakpoints(k) });
        Check::new(got, k * TIMES)
    })
}

pub fn user_ecall(s: &Session) -> Outcome {
    let space = space()?;
    let frame = s.code(PAGE)?;
    let (start, end) = (&raw const user_ecalls as usize, &raw const user_ecalls_end as usize);
    // SAFETY: our own code to our own page.
    unsafe {
        core::ptr::copy_nonoverlapping(start as *const u8, frame as *mut u8, end - start);
        core::arch::asm!("fence.i");
    }
    let entry = space.mode.high_half() + 0x1000_0000;
    space.map(entry, frame, R | X | U | A | D, 0);
    space.within(|| {
        s.measure(TIMES, &mut |k| {
            // SAFETY: comes back by the handler, with the registers of a call.
            let got = with_short_handler(|| unsafe { enter_user_ecalls(k, entry) });
            Check::new(got, k * TIMES)
        })
    })
}

pub fn sbi_call(s: &Session) -> Outcome {
    let version = sbi::call(sbi::BASE, 0, [0; 5]);
    s.measure(1, &mut |k| {
        let good = (0..k).filter(|_| sbi::call(sbi::BASE, 0, [0; 5]) == version).count();
        Check::new(good as u64, k)
    })
}
