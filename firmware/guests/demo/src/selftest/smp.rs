//! Several harts: HSM, IPIs, remote fences; and code that changes.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{Outcome, Problem, Test, ensure, equal};
use crate::csr::{self, csr_clear, csr_set, csr_write};
use crate::hart::{self, Hart};
use crate::memory::{self, PAGE};
use crate::page_table::*;
use crate::{harts, irq, sbi, trap};

fn another() -> Result<&'static Hart, Problem> {
    harts::other().ok_or(Problem::Skip("one hart"))
}

fn all_online() -> Outcome {
    let m = crate::machine();
    equal("harts online", 1 + harts::others().count(), m.harts().len())?;
    for h in harts::others() {
        // KVM says of a hart that waits for an interrupt that it is suspended.
        let status = sbi::hart_status(h.id).value;
        ensure!(status == 0 || status == 4 && sbi::is_kvm(), "status is {status}");
        let again = sbi::hart_start(h.id, harts::entry_address(), 0);
        ensure!(again.error == sbi::ALREADY_AVAILABLE, "a running hart was started: {}", again.error);
        h.start(|_| hart::this().id, 0);
        equal("hart id", h.finish().unwrap_or(usize::MAX), h.id)?;
    }
    Ok(())
}

/// An IPI to itself, and to each other hart, is taken once.
fn ipis() -> Outcome {
    let me = hart::this();
    csr_set!("sie", csr::SSI);
    for _ in 0..10 {
        let before = me.taken(trap::SOFTWARE);
        ensure!(sbi::send_ipi(1, me.id).error == 0, "IPI to itself failed");
        ensure!(harts::spin_until(|| me.taken(trap::SOFTWARE) != before), "an IPI to itself did not come");
    }
    for h in harts::others() {
        for _ in 0..10 {
            let before = h.taken(trap::SOFTWARE);
            ensure!(sbi::send_ipi(1, h.id).error == 0, "IPI to hart {} failed", h.id);
            ensure!(harts::spin_until(|| h.taken(trap::SOFTWARE) != before), "hart {} got no IPI", h.id);
        }
    }
    let before = me.taken(trap::SOFTWARE);
    ensure!(sbi::send_ipi(0, usize::MAX).error == 0, "IPI to everybody failed");
    ensure!(harts::spin_until(|| me.taken(trap::SOFTWARE) != before), "the IPI to everybody did not come");
    Ok(())
}

static BALL: AtomicUsize = AtomicUsize::new(0);

/// Returns the ball by IPI whenever it comes.
fn play(rounds: usize) -> usize {
    for round in 0..rounds {
        irq::wait_until(|| BALL.load(Ordering::Acquire) == 2 * round + 1);
        BALL.store(2 * round + 2, Ordering::Release);
        sbi::send_ipi(1, OPPONENT.load(Ordering::Relaxed));
    }
    0
}

static OPPONENT: AtomicUsize = AtomicUsize::new(0);

/// Both sides sleep in `wfi` until the other one wakes them.
fn ping_pong() -> Outcome {
    const ROUNDS: usize = 500;
    let other = another()?;
    csr_set!("sie", csr::SSI);
    OPPONENT.store(hart::this().id, Ordering::Relaxed);
    BALL.store(0, Ordering::Release);
    other.start(play, ROUNDS);
    for round in 0..ROUNDS {
        BALL.store(2 * round + 1, Ordering::Release);
        sbi::send_ipi(1, other.id);
        let back = irq::wait_for(harts::patience(), || BALL.load(Ordering::Acquire) == 2 * round + 2);
        ensure!(back, "round {round}: no answer");
    }
    ensure!(other.finish().is_some(), "the other hart did not come back");
    Ok(())
}

/// Stops for good, as far as this program goes.
fn stop(_: usize) -> usize {
    csr_clear!("sstatus", csr::SIE);
    let me = hart::this();
    me.online.store(false, Ordering::Release);
    me.job.store(0, Ordering::Release);
    sbi::call(sbi::HSM, 1, [0; 5]).error as usize
}

fn stop_and_start() -> Outcome {
    let other = another()?;
    for _ in 0..3 {
        other.start(stop, 0);
        ensure!(harts::spin_until(|| sbi::hart_status(other.id).value == 1), "hart {} did not stop", other.id);
        // Other implementations do not look at the address, and the hart would be lost.
        if sbi::is_vireo() {
            let bad = sbi::hart_start(other.id, 1 << 50, 0);
            ensure!(bad.error == sbi::INVALID_ADDRESS, "started at nowhere: {}", bad.error);
        }
        let pointer = core::ptr::from_ref(other) as usize;
        let started = sbi::hart_start(other.id, harts::entry_address(), pointer);
        ensure!(started.error == 0, "hart {} did not start: {}", other.id, started.error);
        ensure!(harts::spin_until(|| other.online.load(Ordering::Acquire)), "hart {} is not back", other.id);
    }
    Ok(())
}

/// Suspends until an IPI comes, keeping its registers; gives the SBI's error.
fn doze(_: usize) -> usize {
    csr_clear!("sstatus", csr::SIE);
    READY.store(1, Ordering::Release);
    let ret = sbi::call(sbi::HSM, 3, [0; 5]);
    csr_set!("sstatus", csr::SIE);
    ret.error as usize
}

static READY: AtomicUsize = AtomicUsize::new(0);

fn suspend() -> Outcome {
    let other = another()?;
    READY.store(0, Ordering::Release);
    other.start(doze, 0);
    ensure!(harts::spin_until(|| READY.load(Ordering::Acquire) == 1), "it did not start");
    // It may suspend before or after this; the IPI wakes it either way.
    sbi::send_ipi(1, other.id);
    let error = other.finish();
    ensure!(error.is_some(), "an IPI did not wake a suspended hart");
    equal("error", error.unwrap_or(1), 0)
}

/// Suspends without keeping registers: the hart comes back through its entry.
fn sleep_deep(_: usize) -> usize {
    csr_clear!("sstatus", csr::SIE);
    let me = hart::this();
    me.online.store(false, Ordering::Release);
    me.job.store(0, Ordering::Release);
    READY.store(1, Ordering::Release);
    let ret = sbi::call(sbi::HSM, 3, [0x8000_0000, harts::entry_address(), core::ptr::from_ref(me) as usize, 0, 0]);
    // Only a refusal comes here.
    me.online.store(true, Ordering::Release);
    ret.error as usize
}

fn suspend_deep() -> Outcome {
    let other = another()?;
    READY.store(0, Ordering::Release);
    other.start(sleep_deep, 0);
    // KVM calls a hart suspended that is in WFI, as this one is until the IPI of the job reaches it.
    ensure!(harts::spin_until(|| READY.load(Ordering::Acquire) == 1), "it did not start");
    ensure!(harts::spin_until(|| sbi::hart_status(other.id).value != 0), "hart {} did not suspend", other.id);
    sbi::send_ipi(1, other.id);
    ensure!(harts::spin_until(|| other.online.load(Ordering::Acquire)), "an IPI did not wake it");
    other.start(|_| hart::this().id, 0);
    equal("hart id", other.finish().unwrap_or(usize::MAX), other.id)
}

/// Calls a function that returns a number.
fn call_code(address: usize) -> usize {
    let value;
    // SAFETY: the tests write `li a0, n; ret` there.
    unsafe { asm!("jalr {}", in(reg) address, lateout("a0") value, out("ra") _) };
    value
}

/// `addi a0, zero, n; ret`.
fn write_code(address: usize, n: usize) {
    // SAFETY: a page of ours.
    unsafe { (address as *mut u64).write_volatile((n << 20 | 0x513) as u64 | 0x8067 << 32) };
}

fn fence_i() -> Outcome {
    let page = memory::pages(1, PAGE);
    for n in 0..1000 {
        write_code(page, n);
        // SAFETY: makes the code visible.
        unsafe { asm!("fence.i") };
        equal("new code", call_code(page), n)?;
    }
    Ok(())
}

static STEP: AtomicUsize = AtomicUsize::new(0);
static TARGET: AtomicUsize = AtomicUsize::new(0);
static SATP: AtomicUsize = AtomicUsize::new(0);

const STEPS: usize = 300;

/// Waits for a step, looks, answers; counts wrong looks.
fn follow(look: fn(usize) -> usize) -> usize {
    let mut wrong = 0;
    for n in 0..STEPS {
        harts::spin_until(|| STEP.load(Ordering::Acquire) == 2 * n + 1);
        wrong += usize::from(look(TARGET.load(Ordering::Relaxed)) != n);
        STEP.store(2 * n + 2, Ordering::Release);
    }
    wrong
}

/// The boot hart's part: `change`, then a step. A plain fence is not enough for the other hart.
fn lead(other: &Hart, change: impl Fn(usize), fence: impl Fn() -> sbi::Ret) -> Outcome {
    for n in 0..STEPS {
        change(n);
        core::sync::atomic::fence(Ordering::SeqCst);
        let ret = fence();
        ensure!(ret.error == 0, "remote fence: error {}", ret.error);
        STEP.store(2 * n + 1, Ordering::Release);
        ensure!(harts::spin_until(|| STEP.load(Ordering::Acquire) == 2 * n + 2), "step {n}: no answer");
    }
    equal("stale looks", other.finish().unwrap_or(usize::MAX), 0)
}

fn remote_fence_i() -> Outcome {
    let other = another()?;
    let page = memory::pages(1, PAGE);
    STEP.store(0, Ordering::Relaxed);
    TARGET.store(page, Ordering::Release);
    other.start(|_| follow(call_code), 0);
    lead(other, |n| write_code(page, n), || sbi::call(sbi::RFENCE, 0, [1, other.id, 0, 0, 0]))
}

fn remote_sfence() -> Outcome {
    let other = another()?;
    let Some(mode) = MODES.iter().find(|m| m.is_there()) else { return Err(Problem::Skip("no paging")) };
    let space = Space::new(*mode);
    let frames = memory::pages(2, PAGE);
    let va = mode.high_half() + 0x2000_0000;
    space.map(va, frames, RW | A | D, 0);
    SATP.store(space.satp(0), Ordering::Relaxed);
    STEP.store(0, Ordering::Relaxed);
    TARGET.store(va, Ordering::Release);
    other.start(
        |_| {
            csr_write!("satp", SATP.load(Ordering::Relaxed));
            fence();
            // SAFETY: mapped by the boot hart.
            let wrong = follow(|va| unsafe { (va as *const usize).read_volatile() });
            csr_write!("satp", 0);
            fence();
            wrong
        },
        0,
    );
    lead(
        other,
        |n| {
            // Each step, the page is another frame.
            let frame = frames + PAGE * (n & 1);
            // SAFETY: a page of ours.
            unsafe { (frame as *mut usize).write_volatile(n) };
            space.map(va, frame, RW | A | D, 0);
        },
        || sbi::call(sbi::RFENCE, 1, [1, other.id, va, PAGE, 0]),
    )
}

pub const TESTS: &[Test] = &[
    Test { name: "smp-online", run: all_online },
    Test { name: "smp-ipi", run: ipis },
    Test { name: "smp-ping-pong", run: ping_pong },
    Test { name: "smp-stop-start", run: stop_and_start },
    Test { name: "smp-suspend", run: suspend },
    Test { name: "smp-suspend-deep", run: suspend_deep },
    Test { name: "smp-remote-fence-i", run: remote_fence_i },
    Test { name: "smp-remote-sfence", run: remote_sfence },
    Test { name: "fence-i", run: fence_i },
];
