//! The same work on more and more harts at once: what is between them costs.

use core::sync::atomic::Ordering;

use runtime::hart::Hart;
use runtime::harts;

use crate::kernels::{Kernel, copy, hash, mix, sieve, sort};
use crate::micro::{COUNTER, TIMES, add_by_amo};
use crate::session::{Check, Outcome, Points, Problem, Row, Session, Suite, Work};

pub const SUITE: Suite = Suite {
    name: "smp",
    rows: &[
        row(&sort::KERNEL),
        row(&hash::KERNEL),
        row(&sieve::KERNEL),
        row(&mix::KERNEL),
        row(&copy::KERNEL),
        Row {
            name: "amo",
            unit: "op",
            points: Points::Harts,
            what: "one amoadd.d of a word that all of them count up",
            work: Work::Code(amo),
        },
    ],
};

const fn row(kernel: &'static Kernel) -> Row {
    let Kernel { name, unit, what, .. } = *kernel;
    Row { name, unit, points: Points::Harts, what, work: Work::OnHarts(kernel) }
}

/// What a hart works on.
struct Share<'a> {
    kernel: &'static Kernel,
    memory: &'a mut [u64],
    /// Runs it has to do.
    times: u64,
}

/// What a hart does. It writes to pages of its own only, so that harts share no line of a cache.
fn work(share: usize) -> usize {
    // SAFETY: the boot hart's share for this hart, which it leaves alone until the job is done.
    let share = unsafe { &mut *(share as *mut Share) };
    share.kernel.repeat(share.memory, share.times) as usize
}

/// The other harts that take part.
fn team(s: &Session) -> impl Iterator<Item = &'static Hart> {
    harts::others().take(s.point as usize - 1)
}

/// The kernel on all harts of the point at once, as often on each. Units of all harts count.
pub fn on_harts(s: &Session, kernel: &'static Kernel) -> Outcome {
    let count = s.point as usize;
    let shares = s.memory(count * size_of::<Share>())? as *mut Share;
    for i in 0..count {
        let memory = s.slice::<u64>(kernel.bytes / 8)?;
        // SAFETY: fresh memory.
        unsafe { shares.add(i).write(Share { kernel, memory, times: 0 }) };
    }
    let mut lost = false;
    let outcome = s.measure(kernel.per * s.point, &mut |k| {
        let at = |i: usize| {
            let share = shares.wrapping_add(i);
            // SAFETY: one of the shares above, whose hart is idle.
            unsafe { (*share).times = k };
            share as usize
        };
        team(s).zip(1..).for_each(|(hart, i)| hart.start(work, at(i)));
        let mut result = work(at(0)) as u64;
        for hart in team(s) {
            match hart.finish() {
                Some(theirs) if result == kernel.want => result = theirs as u64,
                Some(_) => {}
                None => lost = true,
            }
        }
        Check::new(result, kernel.want)
    });
    if lost { Err(Problem::Fail("a hart did not come back")) } else { outcome }
}

/// All harts of the point count one word up.
fn amo(s: &Session) -> Outcome {
    s.measure(s.point * TIMES, &mut |k| {
        COUNTER.0.store(0, Ordering::SeqCst);
        team(s).for_each(|hart| hart.start(add_by_amo, k as usize));
        add_by_amo(k as usize);
        team(s).for_each(|hart| {
            hart.finish();
        });
        Check::new(COUNTER.0.load(Ordering::SeqCst) as u64, k * s.point * TIMES)
    })
}
