//! How a hart sleeps by SBI's system suspend: the kernel hands the call on, and whoever answers it waits. Harts
//! that wait for their turn while one is debugged wait here, too.
//!
//! A hart that is suspended does not run, and so nothing of it changes but by three hands: other threads of this program,
//! which drive lines, send messages and kick, and tell of it here; time, up to a deadline that stands in the hart's
//! registers; and other harts, which are stopped (SBI, "System Suspend Extension"), or there is no suspend. So a look at
//! the registers says all until one of the first two happens, and nobody looks in between.
//!
//! No change is lost: a sleeper announces itself before it looks. Whoever makes a change makes it first, and finds the
//! sleeper then, or was early enough to be seen by the look.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<R> {
    /// The sleep is over.
    Over(R),
    /// Go on sleeping, but not for longer than this; `None`: until something changes.
    Sleep(Option<Duration>),
}

/// A machine's harts that sleep so, and those who wake them.
#[derive(Default)]
pub struct Sleepers {
    asleep: AtomicU32,
    /// Number of changes made while somebody slept. A leaf: nothing else is locked under it.
    changes: Mutex<u64>,
    told: Condvar,
}

impl Sleepers {
    /// Something has changed that may end a sleep. Costs one load as long as nobody sleeps.
    pub fn changed(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.told.notify_all();
        }
    }

    /// Sleeps until `look` says that it is over. It is called once at first, and again after changes and timeouts.
    pub fn sleep<R>(&self, mut look: impl FnMut() -> Look<R>) -> R {
        let _awake = Asleep::new(&self.asleep);
        loop {
            let seen = *self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let timeout = match look() {
                Look::Over(result) => return result,
                Look::Sleep(timeout) => timeout,
            };
            let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |changes: &mut u64| *changes == seen;
            match timeout {
                None => drop(self.told.wait_while(changes, same)),
                Some(timeout) => drop(self.told.wait_timeout_while(changes, timeout, same)),
            }
        }
    }
}

/// Counts a sleeper for as long as it sleeps.
struct Asleep<'a>(&'a AtomicU32);

impl<'a> Asleep<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long to sleep at `now` for a deadline, in ticks of `frequency` a second; `None` for never. The host's clock that
/// sleeps are measured by may be a little faster or slower than the ticks: a long sleep ends a little early, to look
/// again, and so its end is as exact as that of a short one.
pub fn until(deadline: u64, now: u64, frequency: u64) -> Option<Duration> {
    let left = deadline.checked_sub(now).filter(|_| deadline != u64::MAX)?;
    let nanoseconds = (u128::from(left) * 1_000_000_000).div_ceil(u128::from(frequency.max(1)));
    let long = u128::from(u32::MAX);
    let nanoseconds = if nanoseconds > long { nanoseconds - nanoseconds / 1024 } else { nanoseconds };
    Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    #[test]
    fn a_sleeper_looks_once_and_then_when_told() {
        let (sleepers, over) = (Sleepers::default(), AtomicBool::new(false));
        let (looked, looks) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleepers.sleep(|| {
                    looked.send(()).unwrap();
                    if over.load(Ordering::SeqCst) { Look::Over(()) } else { Look::Sleep(None) }
                })
            });
            looks.recv().unwrap();
            // In vain, and once more with a reason.
            sleepers.changed();
            looks.recv().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(looks.try_recv().is_err(), "nobody looks without a reason");
            over.store(true, Ordering::SeqCst);
            sleepers.changed();
        });
        assert_eq!(looks.try_iter().count(), 1);
        assert_eq!(sleepers.asleep.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_change_at_any_moment_is_seen() {
        const ROUNDS: u64 = 20_000;
        let (sleepers, given, taken) = (Sleepers::default(), Mutex::new(0), Mutex::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    sleepers.sleep(|| if *given.lock().unwrap() >= round { Look::Over(()) } else { Look::Sleep(None) });
                    *taken.lock().unwrap() = round;
                    // The other way round, by the same means.
                    sleepers.changed();
                }
            });
            for round in 1..=ROUNDS {
                *given.lock().unwrap() = round;
                sleepers.changed();
                sleepers.sleep(|| if *taken.lock().unwrap() >= round { Look::Over(()) } else { Look::Sleep(None) });
            }
        });
    }

    #[test]
    fn a_timeout_ends_in_a_look() {
        let mut looks = 0;
        let looks = Sleepers::default().sleep(|| {
            looks += 1;
            if looks == 3 { Look::Over(looks) } else { Look::Sleep(Some(Duration::from_millis(1))) }
        });
        assert_eq!(looks, 3);
    }

    #[test]
    fn sleeps_are_rounded_up_and_long_ones_end_early() {
        let until = |deadline, now| until(deadline, now, 10_000_000);
        assert_eq!(until(u64::MAX, 5), None);
        assert_eq!(until(4, 5), None, "past: the look has seen it");
        assert_eq!(until(5, 5), Some(Duration::ZERO));
        assert_eq!(until(15, 5), Some(Duration::from_micros(1)));
        assert_eq!(super::until(1, 0, 3), Some(Duration::from_nanos(333_333_334)));
        assert_eq!(until(10_240_000_000, 0), Some(Duration::from_secs(1023)));
        assert!(until(u64::MAX - 1, 0).unwrap() > Duration::from_secs(1 << 33));
    }
}
