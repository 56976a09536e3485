//! U-mode: in by `sret`, out by a trap.

use super::{Outcome, Problem, Test, ensure, equal, failure};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::hart;
use crate::irq;
use crate::memory::{self, PAGE};
use crate::page_table::*;
use crate::trap::{self, guarded};

core::arch::global_asm!(
    r#"
// a0: where to go in U-mode, a1: what a0 holds there. The trap out of U-mode returns to `ra`.
enter_user:
    csrw    sepc, a0
    li      t0, 0x100
    csrc    sstatus, t0
    mv      a0, a1
    sret

// What runs in U-mode; copied to a page of its own.
    .balign 8
    .option push
    .option norvc
user_code:
    addi    a0, a0, 1
    ecall
user_csr:
    csrr    a0, sstatus
user_sret:
    sret
user_sfence:
    sfence.vma
user_load:
    ld      a0, 0(a0)
    ecall
user_instret:
    csrr    a0, instret
    ecall
user_spin:
    csrr    t0, time
    bltu    t0, a0, user_spin
    ecall
    .option pop
user_end:
    "#
);

unsafe extern "C" {
    fn enter_user(a: usize, b: usize) -> usize;
    static user_code: u8;
    static user_csr: u8;
    static user_sret: u8;
    static user_sfence: u8;
    static user_load: u8;
    static user_instret: u8;
    static user_spin: u8;
    static user_end: u8;
}

/// An address space with the code in a U page.
struct User {
    space: Space,
    code: usize,
}

impl User {
    fn new() -> Result<Self, Problem> {
        let mode = MODES.iter().find(|m| m.is_there()).ok_or(Problem::Skip("no paging"))?;
        let space = Space::new(*mode);
        let frame = memory::pages(1, PAGE);
        let (start, end) = (&raw const user_code as usize, &raw const user_end as usize);
        // SAFETY: our own code to our own page.
        unsafe {
            core::ptr::copy_nonoverlapping(start as *const u8, frame as *mut u8, end - start);
            core::arch::asm!("fence.i");
        }
        let code = mode.high_half() + 0x1000_0000;
        space.map(code, frame, R | X | U | A | D, 0);
        Ok(Self { space, code })
    }

    /// The address of a piece of code in U-mode.
    fn at(&self, what: *const u8) -> usize {
        self.code + (what as usize - &raw const user_code as usize)
    }

    /// Enters, and says by which trap it came out and with which a0.
    fn run(&self, what: *const u8, argument: usize) -> Result<(crate::hart::Trap, usize), Problem> {
        let result = self.space.within(|| guarded(enter_user, self.at(what), argument));
        let Err(trap) = result else { return Err(failure(format_args!("U-mode returned without a trap"))) };
        // SAFETY: this hart's frame, written by its handler.
        Ok((trap, unsafe { (&raw const hart::this().frame[10]).read_volatile() }))
    }
}

fn system_calls() -> Outcome {
    let user = User::new()?;
    let (trap, a0) = user.run(&raw const user_code, 41)?;
    equal("cause", trap.cause, trap::USER_ECALL)?;
    equal("a0", a0, 42)?;
    equal("sepc", trap.epc, user.at(&raw const user_code) + 4)?;
    equal("sstatus.SPP", csr_read!("sstatus") & csr::SPIE, csr::SPIE)
}

fn privilege() -> Outcome {
    let user = User::new()?;
    for (name, what) in
        [("csrr sstatus", &raw const user_csr), ("sret", &raw const user_sret), ("sfence.vma", &raw const user_sfence)]
    {
        let (trap, _) = user.run(what, 0)?;
        equal(name, trap.cause, trap::ILLEGAL)?;
        equal("sepc", trap.epc, user.at(what))?;
    }
    // A page without U.
    let (trap, _) = user.run(&raw const user_load, memory::image_start())?;
    equal("load of an S page", trap.cause, trap::LOAD_PAGE)?;
    equal("stval", trap.tval, memory::image_start())?;
    let space = user.space;
    let outside = memory::image_start() & !3;
    let Err(trap) = space.within(|| guarded(enter_user, outside, 0)) else {
        return Err(failure(format_args!("U-mode ran an S page")));
    };
    equal("fetch of an S page", trap.cause, trap::FETCH_PAGE)?;
    equal("sepc", trap.epc, outside)
}

/// `scounteren` lets U-mode read a counter, or not. Not `time`: firmware may emulate it without a look at that.
fn counters() -> Outcome {
    if crate::sbi::is_kvm() {
        return Err(Problem::Skip("KVM emulates instret without a look at scounteren"));
    }
    let user = User::new()?;
    let saved = csr_read!("scounteren");
    csr_write!("scounteren", 0);
    let closed = user.run(&raw const user_instret, 0);
    csr_write!("scounteren", 1 << 2);
    let open = user.run(&raw const user_instret, 0);
    csr_write!("scounteren", saved);
    equal("with IR clear", closed?.0.cause, trap::ILLEGAL)?;
    let (trap, instret) = open?;
    equal("with IR set", trap.cause, trap::USER_ECALL)?;
    ensure!(instret != 0 && instret <= csr_read!("instret"), "U-mode read instret {instret}");
    Ok(())
}

/// A timer interrupt is taken in U-mode, whatever `sstatus.SIE` says, and U-mode goes on after it.
fn interrupts() -> Outcome {
    let user = User::new()?;
    let taken = || hart::this().taken(trap::TIMER);
    let before = taken();
    let tick = crate::machine().timebase / 1000;
    let start = irq::time();
    irq::arm_timer(start + tick);
    // U-mode spins some milliseconds at a time, until the interrupt has come: machines may be late.
    while taken() == before && irq::time() < start + crate::harts::patience() {
        csr_clear!("sstatus", csr::SIE);
        let result = user.run(&raw const user_spin, (irq::time() + 4 * tick) as usize);
        csr_set!("sstatus", csr::SIE);
        equal("cause", result?.0.cause, trap::USER_ECALL)?;
    }
    irq::disarm_timer();
    irq::set_timer(u64::MAX);
    equal("interrupts", taken(), before + 1)
}

pub const TESTS: &[Test] = &[
    Test { name: "user-ecall", run: system_calls },
    Test { name: "user-privilege", run: privilege },
    Test { name: "user-counters", run: counters },
    Test { name: "user-interrupt", run: interrupts },
];
