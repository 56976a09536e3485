//! Fences and atomic memory operations, alone and with another hart.

use core::sync::atomic::{AtomicUsize, Ordering};

use runtime::harts;

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Problem, Session};

/// A fence behind an access that it orders: translators drop fences that have nothing between them.
macro_rules! fences {
    ($name:ident, $access:literal, $fence:literal) => {
        pub fn $name(s: &Session) -> Outcome {
            let cell = s.slice::<u64>(8)?.as_mut_ptr();
            s.measure(TIMES, &mut |k| {
                let mut count = 0u64;
                // SAFETY: accesses our cell.
                unsafe {
                    cell.write_volatile(1);
                    repeat!(k, concat!("li {v}, 1\n", $access, " {v}, 0({p})\n", $fence, "\nadd {x}, {x}, {v}"),
                        x = inout(reg) count, v = out(reg) _, p = in(reg) cell, options(nostack));
                }
                Check::new(count, k * TIMES)
            })
        }
    };
}

fences!(fence_rw_rw, "sd", "fence rw, rw");
fences!(fence_w_w, "sd", "fence w, w");
fences!(fence_r_rw, "ld", "fence r, rw");

/// The word that is counted up, in a line of its own.
#[repr(align(128))]
pub struct Line(pub AtomicUsize);

pub static COUNTER: Line = Line(AtomicUsize::new(0));

/// What a hart does: `rounds` of 64.
pub fn add_by_amo(rounds: usize) -> usize {
    // SAFETY: counts the word up.
    unsafe {
        repeat!(rounds, "amoadd.d zero, {one}, ({p})", one = in(reg) 1, p = in(reg) &COUNTER.0, options(nostack))
    };
    rounds
}

fn add_by_lr_sc(rounds: usize) -> usize {
    // SAFETY: as above.
    unsafe {
        repeat!(rounds, "3: lr.d {x}, ({p})\naddi {x}, {x}, 1\nsc.d {x}, {x}, ({p})\nbnez {x}, 3b",
            x = out(reg) _, p = in(reg) &COUNTER.0, options(nostack));
    }
    rounds
}

fn alone(s: &Session, job: harts::Job) -> Outcome {
    s.measure(TIMES, &mut |k| {
        COUNTER.0.store(0, Ordering::SeqCst);
        job(k as usize);
        Check::new(COUNTER.0.load(Ordering::SeqCst) as u64, k * TIMES)
    })
}

fn contended(s: &Session, job: harts::Job) -> Outcome {
    let other = harts::other().ok_or(Problem::Skip("the machine has one hart"))?;
    s.measure(2 * TIMES, &mut |k| {
        COUNTER.0.store(0, Ordering::SeqCst);
        other.start(job, k as usize);
        job(k as usize);
        other.finish();
        Check::new(COUNTER.0.load(Ordering::SeqCst) as u64, 2 * k * TIMES)
    })
}

pub fn amo(s: &Session) -> Outcome {
    alone(s, add_by_amo)
}

pub fn amo_contended(s: &Session) -> Outcome {
    contended(s, add_by_amo)
}

pub fn lr_sc(s: &Session) -> Outcome {
    alone(s, add_by_lr_sc)
}

pub fn lr_sc_contended(s: &Session) -> Outcome {
    contended(s, add_by_lr_sc)
}
