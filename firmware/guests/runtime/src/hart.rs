//! What each hart has for itself: the registers of a trap, a stack, and a mailbox for work.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A synchronous trap that a test caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trap {
    pub cause: usize,
    pub epc: usize,
    pub tval: usize,
}

/// One hart's own memory; `tp` and `sscratch` point to it.
#[repr(C, align(64))]
pub struct Hart {
    /// x1 to x31 at the trap, at index 1 to 31; `sepc` at 0.
    pub frame: [usize; 32],
    /// Stack of the trap handler.
    pub trap_stack_top: usize,
    /// Stack of the program.
    pub stack_top: usize,
    pub id: usize,
    /// A test expects a trap: see `trap::guarded`.
    pub catching: AtomicBool,
    pub caught: AtomicBool,
    pub trap: Trap,
    /// Where to go on after an exception that nobody expected: see `trap::attempt`. 0 for nowhere.
    pub recovery: AtomicUsize,
    /// Interrupts taken, by cause.
    pub interrupts: [AtomicUsize; 16],
    /// `time` when the last timer interrupt was taken.
    pub timer_seen: AtomicUsize,
    /// What to run, and with what; 0 if nothing.
    pub job: AtomicUsize,
    pub job_argument: AtomicUsize,
    pub job_result: AtomicUsize,
    /// The hart is in its work loop.
    pub online: AtomicBool,
}

impl Hart {
    /// How often the interrupt was taken.
    pub fn taken(&self, cause: usize) -> usize {
        self.interrupts[cause].load(Ordering::Acquire)
    }
}

/// The calling hart.
pub fn this() -> &'static Hart {
    let pointer: *const Hart;
    // SAFETY: `tp` was set to the hart's memory before anything else ran on it, and it is never freed.
    unsafe {
        asm!("mv {}, tp", out(reg) pointer, options(nomem, nostack));
        &*pointer
    }
}
