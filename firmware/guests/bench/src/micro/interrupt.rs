//! The timer, and what harts send each other.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use runtime::hart::{self, Hart};
use runtime::{csr, csr_set, csr_write, harts, irq, machine, sbi, trap};

use crate::session::{Check, Outcome, Problem, Session};

/// How often something that must come is looked for.
const LOOKS: u64 = 1 << 30;

/// Waits for it; not by the clock, which would be measured, too.
fn spin(done: impl Fn() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        core::hint::spin_loop();
        done()
    })
}

fn timer(s: &Session, set: fn(u64)) -> Outcome {
    let me = hart::this();
    let outcome = s.measure(1, &mut |k| {
        let start = me.taken(trap::TIMER);
        for i in 1..=k as usize {
            set(irq::time());
            csr_set!("sie", csr::STI);
            // The handler switches it off.
            if !spin(|| me.taken(trap::TIMER) - start >= i) {
                break;
            }
        }
        Check::new((me.taken(trap::TIMER) - start) as u64, k)
    });
    irq::disarm_timer();
    set(u64::MAX);
    outcome
}

pub fn timer_now(s: &Session) -> Outcome {
    timer(s, irq::set_timer)
}

pub fn timer_stimecmp(s: &Session) -> Outcome {
    if !machine().has("sstc") {
        return Err(Problem::Skip("the harts have no Sstc"));
    }
    // By its number: the assembler does not expect the name.
    timer(s, |deadline| csr_write!("0x14d", deadline as usize))
}

pub fn timer_sleep(s: &Session) -> Outcome {
    let me = hart::this();
    let ahead = machine().timebase / 5000;
    let outcome = s.measure(1, &mut |k| {
        let mut good = 0;
        for _ in 0..k {
            let (before, deadline) = (me.taken(trap::TIMER), irq::time() + ahead);
            irq::arm_timer(deadline);
            irq::wait_until(|| me.taken(trap::TIMER) != before);
            good += u64::from(me.timer_seen.load(Ordering::Acquire) as u64 >= deadline);
        }
        Check::new(good, k)
    });
    irq::disarm_timer();
    irq::set_timer(u64::MAX);
    outcome
}

fn another() -> Result<&'static Hart, Problem> {
    harts::other().ok_or(Problem::Skip("the machine has one hart"))
}

pub fn ipi_self(s: &Session) -> Outcome {
    let me = hart::this();
    csr_set!("sie", csr::SSI);
    s.measure(1, &mut |k| {
        let start = me.taken(trap::SOFTWARE);
        for i in 1..=k as usize {
            sbi::send_ipi(1, me.id);
            if !spin(|| me.taken(trap::SOFTWARE) - start >= i) {
                break;
            }
        }
        Check::new((me.taken(trap::SOFTWARE) - start) as u64, k)
    })
}

/// Odd while it is on its way to the other hart, even when it is back.
static BALL: AtomicU64 = AtomicU64::new(0);
static OPPONENT: AtomicUsize = AtomicUsize::new(0);

/// Returns the ball by IPI whenever it comes.
fn play_by_ipi(rounds: usize) -> usize {
    for round in 0..rounds as u64 {
        irq::wait_until(|| BALL.load(Ordering::Acquire) == 2 * round + 1);
        BALL.store(2 * round + 2, Ordering::Release);
        sbi::send_ipi(1, OPPONENT.load(Ordering::Relaxed));
    }
    rounds
}

/// Returns the ball whenever it comes.
fn play_by_memory(rounds: usize) -> usize {
    for round in 0..rounds as u64 {
        if !spin(|| BALL.load(Ordering::Acquire) == 2 * round + 1) {
            return round as usize;
        }
        BALL.store(2 * round + 2, Ordering::Release);
    }
    rounds
}

pub fn ipi_round_trip(s: &Session) -> Outcome {
    let other = another()?;
    csr_set!("sie", csr::SSI);
    OPPONENT.store(hart::this().id, Ordering::Relaxed);
    s.measure(1, &mut |k| {
        BALL.store(0, Ordering::Release);
        other.start(play_by_ipi, k as usize);
        for round in 0..k {
            BALL.store(2 * round + 1, Ordering::Release);
            sbi::send_ipi(1, other.id);
            irq::wait_until(|| BALL.load(Ordering::Acquire) == 2 * round + 2);
        }
        Check::new(other.finish().unwrap_or(0) as u64, k)
    })
}

pub fn handoff(s: &Session) -> Outcome {
    let other = another()?;
    s.measure(1, &mut |k| {
        BALL.store(0, Ordering::Release);
        other.start(play_by_memory, k as usize);
        for round in 0..k {
            BALL.store(2 * round + 1, Ordering::Release);
            if !spin(|| BALL.load(Ordering::Acquire) == 2 * round + 2) {
                break;
            }
        }
        Check::new(other.finish().unwrap_or(0) as u64, k)
    })
}

fn remote(s: &Session, function: usize, range: [usize; 2]) -> Outcome {
    let other = another()?;
    s.measure(1, &mut |k| {
        let call = || sbi::call(sbi::RFENCE, function, [1, other.id, range[0], range[1], 0]).error == 0;
        Check::new((0..k).filter(|_| call()).count() as u64, k)
    })
}

pub fn remote_sfence(s: &Session) -> Outcome {
    remote(s, 1, [0x1000_0000, 0x1000])
}

pub fn remote_fence_i(s: &Session) -> Outcome {
    remote(s, 0, [0, 0])
}
