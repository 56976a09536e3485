//! Traps: the entry from assembly, interrupts, and exceptions that tests provoke on purpose.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::csr::{csr_clear, csr_read, csr_set, csr_write};
use crate::hart::{Hart, Trap};
use crate::{console, csr, irq, sbi};

const INTERRUPT: usize = 1 << 63;
pub const SOFTWARE: usize = 1;
pub const TIMER: usize = 5;
pub const EXTERNAL: usize = 9;

pub const FETCH_ACCESS: usize = 1;
pub const ILLEGAL: usize = 2;
pub const BREAKPOINT: usize = 3;
pub const LOAD_ACCESS: usize = 5;
pub const STORE_ACCESS: usize = 7;
pub const USER_ECALL: usize = 8;
pub const FETCH_PAGE: usize = 12;
pub const LOAD_PAGE: usize = 13;
pub const STORE_PAGE: usize = 15;

global_asm!(
    r#"
    .section .text
    .balign 4
    .globl trap_entry
trap_entry:
    csrrw   tp, sscratch, tp
    sd      x1, 8(tp)
    sd      x2, 16(tp)
    sd      x3, 24(tp)
    sd      x5, 40(tp)
    sd      x6, 48(tp)
    sd      x7, 56(tp)
    sd      x8, 64(tp)
    sd      x9, 72(tp)
    sd      x10, 80(tp)
    sd      x11, 88(tp)
    sd      x12, 96(tp)
    sd      x13, 104(tp)
    sd      x14, 112(tp)
    sd      x15, 120(tp)
    sd      x16, 128(tp)
    sd      x17, 136(tp)
    sd      x18, 144(tp)
    sd      x19, 152(tp)
    sd      x20, 160(tp)
    sd      x21, 168(tp)
    sd      x22, 176(tp)
    sd      x23, 184(tp)
    sd      x24, 192(tp)
    sd      x25, 200(tp)
    sd      x26, 208(tp)
    sd      x27, 216(tp)
    sd      x28, 224(tp)
    sd      x29, 232(tp)
    sd      x30, 240(tp)
    sd      x31, 248(tp)
    csrr    t0, sscratch
    sd      t0, 32(tp)
    csrw    sscratch, tp
    csrr    t0, sepc
    sd      t0, 0(tp)
    ld      sp, {trap_stack}(tp)
    mv      a0, tp
    call    handle_trap
    ld      t0, 0(tp)
    csrw    sepc, t0
    ld      x1, 8(tp)
    ld      x2, 16(tp)
    ld      x3, 24(tp)
    ld      x5, 40(tp)
    ld      x6, 48(tp)
    ld      x7, 56(tp)
    ld      x8, 64(tp)
    ld      x9, 72(tp)
    ld      x10, 80(tp)
    ld      x11, 88(tp)
    ld      x12, 96(tp)
    ld      x13, 104(tp)
    ld      x14, 112(tp)
    ld      x15, 120(tp)
    ld      x16, 128(tp)
    ld      x17, 136(tp)
    ld      x18, 144(tp)
    ld      x19, 152(tp)
    ld      x20, 160(tp)
    ld      x21, 168(tp)
    ld      x22, 176(tp)
    ld      x23, 184(tp)
    ld      x24, 192(tp)
    ld      x25, 200(tp)
    ld      x26, 208(tp)
    ld      x27, 216(tp)
    ld      x28, 224(tp)
    ld      x29, 232(tp)
    ld      x30, 240(tp)
    ld      x31, 248(tp)
    ld      tp, 32(tp)
    sret

// a0: an `Attempt`, a1: a function, a2: its argument. Returns 0 when the function returns, 1 after an exception.
enter_attempt:
    sd      ra, 0(a0)
    sd      sp, 8(a0)
    sd      s0, 16(a0)
    sd      s1, 24(a0)
    sd      s2, 32(a0)
    sd      s3, 40(a0)
    sd      s4, 48(a0)
    sd      s5, 56(a0)
    sd      s6, 64(a0)
    sd      s7, 72(a0)
    sd      s8, 80(a0)
    sd      s9, 88(a0)
    sd      s10, 96(a0)
    sd      s11, 104(a0)
    addi    sp, sp, -16
    sd      ra, 0(sp)
    mv      a0, a2
    jalr    a1
    ld      ra, 0(sp)
    addi    sp, sp, 16
    li      a0, 0
    ret

// a0: the `Attempt`.
leave_attempt:
    ld      ra, 0(a0)
    ld      sp, 8(a0)
    ld      s0, 16(a0)
    ld      s1, 24(a0)
    ld      s2, 32(a0)
    ld      s3, 40(a0)
    ld      s4, 48(a0)
    ld      s5, 56(a0)
    ld      s6, 64(a0)
    ld      s7, 72(a0)
    ld      s8, 80(a0)
    ld      s9, 88(a0)
    ld      s10, 96(a0)
    ld      s11, 104(a0)
    li      a0, 1
    ret
    "#,
    trap_stack = const offset_of!(Hart, trap_stack_top),
);

/// The registers that a function keeps.
type Attempt = [usize; 14];

unsafe extern "C" {
    fn trap_entry();
    fn enter_attempt(attempt: *mut Attempt, f: extern "C" fn(usize), argument: usize) -> usize;
    fn leave_attempt();
}

/// Traps of the calling hart come here from now on.
pub fn init(hart: &Hart) {
    csr_write!("sscratch", core::ptr::from_ref(hart) as usize);
    csr_write!("stvec", trap_entry as *const () as usize);
}

/// Points `stvec` back here after a test used it.
pub fn restore_vector() {
    csr_write!("stvec", trap_entry as *const () as usize);
}

/// What a program does about exceptions: it changes what is wrong, or the frame, and says whether the hart goes on.
pub type Handler = fn(&mut Hart, &Trap) -> bool;

static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Exceptions of all harts go to `handler` first.
pub fn set_handler(handler: Option<Handler>) {
    HANDLER.store(handler.map_or(0, |f| f as usize), Ordering::Release);
}

#[unsafe(no_mangle)]
extern "C" fn handle_trap(hart: &mut Hart) {
    let cause = csr_read!("scause");
    if cause & INTERRUPT != 0 {
        return handle_interrupt(hart, cause & !INTERRUPT);
    }
    let trap = Trap { cause, epc: hart.frame[0], tval: csr_read!("stval") };
    let handler = HANDLER.load(Ordering::Acquire);
    // SAFETY: 0 or what `set_handler` stored.
    let handler = unsafe { core::mem::transmute::<usize, Option<Handler>>(handler) };
    if handler.is_some_and(|handle| handle(hart, &trap)) {
        return;
    }
    if hart.catching.swap(false, Ordering::AcqRel) {
        hart.trap = trap;
        hart.caught.store(true, Ordering::Release);
        // The guarded function is a leaf: going on at its return address leaves it. Always to S-mode.
        hart.frame[0] = hart.frame[1];
        csr_set!("sstatus", csr::SPP);
        return;
    }
    let recovery = hart.recovery.swap(0, Ordering::AcqRel);
    if recovery != 0 {
        hart.trap = trap;
        hart.frame[0] = leave_attempt as *const () as usize;
        hart.frame[10] = recovery;
        csr_set!("sstatus", csr::SPP);
        return;
    }
    console::print_anyway(format_args!(
        "\nunexpected trap on hart {}: scause {:#x} sepc {:#x} stval {:#x}\n",
        hart.id, trap.cause, trap.epc, trap.tval
    ));
    sbi::power_off(false)
}

fn handle_interrupt(hart: &Hart, cause: usize) {
    match cause {
        SOFTWARE => drop(csr_clear!("sip", csr::SSI)),
        TIMER => {
            hart.timer_seen.store(csr_read!("time"), Ordering::Release);
            irq::disarm_timer();
        }
        EXTERNAL => irq::serve(hart),
        _ => {
            csr_clear!("sie", 1 << cause);
        }
    }
    hart.interrupts[cause & 15].fetch_add(1, Ordering::AcqRel);
}

/// A leaf function in assembly that may trap.
pub type Probe = unsafe extern "C" fn(usize, usize) -> usize;

/// Calls `f`, a leaf function in assembly that keeps its return address in `ra`, and says which exception it
/// met, if any.
pub fn guarded(f: Probe, a: usize, b: usize) -> Result<usize, Trap> {
    let hart = crate::hart::this();
    hart.caught.store(false, Ordering::Release);
    hart.catching.store(true, Ordering::Release);
    // SAFETY: the caller passes a probe; whatever it does wrong ends in `handle_trap`.
    let value = unsafe { f(a, b) };
    hart.catching.store(false, Ordering::Release);
    if hart.caught.swap(false, Ordering::AcqRel) {
        // SAFETY: written by this hart's handler, which is not running; volatile, as the compiler does not see it.
        Err(unsafe { (&raw const hart.trap).read_volatile() })
    } else {
        Ok(value)
    }
}

/// Runs `f`, and says which exception ended it that nobody expected, if any: then nothing of it goes on, nothing is
/// dropped, and what it changed in CSRs stays.
pub fn attempt(f: &mut dyn FnMut()) -> Result<(), Trap> {
    extern "C" fn run(f: usize) {
        // SAFETY: the pointer below.
        unsafe { (*(f as *mut &mut dyn FnMut()))() }
    }
    let hart = crate::hart::this();
    let mut f = f;
    let mut registers: Attempt = [0; 14];
    hart.recovery.store(&raw mut registers as usize, Ordering::Release);
    // SAFETY: both pointers live until it returns, which it does once.
    let trapped = unsafe { enter_attempt(&raw mut registers, run, &raw mut f as usize) };
    hart.recovery.store(0, Ordering::Release);
    if trapped == 0 {
        return Ok(());
    }
    // SAFETY: as in `guarded`.
    Err(unsafe { (&raw const hart.trap).read_volatile() })
}
