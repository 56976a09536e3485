//! Guest time: a counter that advances `frequency` times a second while the machine runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The machine's time base (`mtime`). One per machine, shared by every hart and the CLINT.
///
/// `now` never goes backwards unless the guest writes `mtime`, and stands still while paused.
#[derive(Debug)]
pub struct Clock {
    frequency: u64,
    start: Instant,
    /// Added to the ticks since `start`; moves when the guest writes `mtime` and at resume.
    offset: AtomicU64,
    paused: AtomicBool,
    /// The reading while paused.
    frozen: AtomicU64,
    /// Pause, resume and set are rare and exclude each other.
    change: Mutex<()>,
}

impl Clock {
    /// `frequency` in Hz, not zero.
    pub fn new(frequency: u64) -> Self {
        assert!(frequency > 0, "a clock needs a frequency");
        Self {
            frequency,
            start: Instant::now(),
            offset: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            frozen: AtomicU64::new(0),
            change: Mutex::new(()),
        }
    }

    /// Ticks a second.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    fn raw(&self) -> u64 {
        let e = self.start.elapsed();
        let whole = e.as_secs().wrapping_mul(self.frequency);
        whole.wrapping_add(u64::from(e.subsec_nanos()).wrapping_mul(self.frequency) / 1_000_000_000)
    }

    /// The current value of `mtime`, in ticks.
    pub fn now(&self) -> u64 {
        if self.paused.load(Ordering::Acquire) {
            return self.frozen.load(Ordering::Acquire);
        }
        self.raw().wrapping_add(self.offset.load(Ordering::Acquire))
    }

    /// Makes `now` read `ticks` (a guest's write to `mtime`, or a restored snapshot).
    pub fn set(&self, ticks: u64) {
        let _change = self.change.lock().unwrap_or_else(|e| e.into_inner());
        self.offset.store(ticks.wrapping_sub(self.raw()), Ordering::Release);
        self.frozen.store(ticks, Ordering::Release);
    }

    /// Stops the clock; `now` keeps its value until [`Clock::resume`].
    pub fn pause(&self) {
        let _change = self.change.lock().unwrap_or_else(|e| e.into_inner());
        if !self.paused.load(Ordering::Acquire) {
            self.frozen.store(self.now(), Ordering::Release);
            self.paused.store(true, Ordering::Release);
        }
    }

    /// Lets the clock go on from where it was paused.
    pub fn resume(&self) {
        let _change = self.change.lock().unwrap_or_else(|e| e.into_inner());
        if self.paused.load(Ordering::Acquire) {
            let frozen = self.frozen.load(Ordering::Acquire);
            self.offset.store(frozen.wrapping_sub(self.raw()), Ordering::Release);
            self.paused.store(false, Ordering::Release);
        }
    }

    /// How long until `now() >= deadline`; zero if that is so already.
    pub fn until(&self, deadline: u64) -> Duration {
        let left = deadline.saturating_sub(self.now());
        let secs = left / self.frequency;
        let rest = left % self.frequency;
        // Round up: a timer that fires a tick early would only have to be armed again.
        let nanos = (u128::from(rest) * 1_000_000_000).div_ceil(u128::from(self.frequency)) as u64;
        Duration::from_secs(secs.min(1 << 32)) + Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_freezes_and_resume_continues() {
        let c = Clock::new(10_000_000);
        c.set(1 << 40);
        c.pause();
        let a = c.now();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(a, c.now());
        c.resume();
        assert!(c.now() >= a);
        assert!(c.now() - a < 10_000_000 * 60, "the pause itself must not be counted");
    }

    #[test]
    fn until_rounds_up() {
        let c = Clock::new(10_000_000);
        // Paused first: a busy host may take longer than a tick between the two.
        c.pause();
        c.set(0);
        assert_eq!(c.until(0), Duration::ZERO);
        assert_eq!(c.until(1), Duration::from_nanos(100));
        assert_eq!(c.until(10_000_000), Duration::from_secs(1));
    }
}
