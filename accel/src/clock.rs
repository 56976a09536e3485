//! Guest time: a counter that advances `frequency` times a second while the machine runs.
//!
//! A second is one of the host's, or, where instructions are the clock ([`Clock::counting`]), as long as the hart takes
//! for so many instructions: then a program sees the same times on every run, however fast the host is.

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
    /// The instructions, where they are the clock.
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// An instruction takes 2^`shift` nanoseconds.
    shift: u32,
    /// Nanoseconds: of the instructions, and that went by without any.
    run: AtomicU64,
    slept: AtomicU64,
}

impl Counted {
    fn nanos(&self) -> u64 {
        self.run.load(Ordering::Acquire).wrapping_add(self.slept.load(Ordering::Acquire))
    }
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
            counted: None,
        }
    }

    /// A clock that one hart's instructions drive; each takes 2^`shift` nanoseconds.
    pub fn counting(frequency: u64, shift: u32) -> Self {
        let counted = Counted { shift, run: AtomicU64::new(0), slept: AtomicU64::new(0) };
        Self { counted: Some(counted), ..Self::new(frequency) }
    }

    /// Whether instructions are the clock.
    pub fn is_counting(&self) -> bool {
        self.counted.is_some()
    }

    /// The hart has done so many instructions since it was made.
    pub fn count(&self, instructions: u64) {
        if let Some(c) = &self.counted {
            c.run.store(instructions.wrapping_shl(c.shift), Ordering::Release);
        }
    }

    /// Nanoseconds of a counting clock until `now() >= deadline`, exactly; zero if that is so already.
    fn counted_until(&self, c: &Counted, deadline: u64) -> u64 {
        if deadline <= self.now() {
            return 0;
        }
        let ticks = deadline.wrapping_sub(self.offset.load(Ordering::Acquire));
        let at = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(self.frequency));
        u64::try_from(at).map_or(u64::MAX, |at| at.saturating_sub(c.nanos()))
    }

    /// The instructions that the hart does from now to `deadline`, at least one; [`u64::MAX`] if they do not drive the
    /// clock.
    pub fn instructions_until(&self, deadline: u64) -> u64 {
        let counted = self.counted.as_ref();
        counted.map_or(u64::MAX, |c| self.counted_until(c, deadline).div_ceil(1 << c.shift).max(1))
    }

    /// The hart waits for `deadline` and no instruction drives the clock: goes there at once. `false`: the clock is the
    /// host's, stands still, or has passed the deadline.
    pub fn skip_to(&self, deadline: u64) -> bool {
        let Some(c) = self.counted.as_ref().filter(|_| deadline != u64::MAX && !self.paused.load(Ordering::Acquire))
        else {
            return false;
        };
        let nanos = self.counted_until(c, deadline);
        c.slept.fetch_add(nanos, Ordering::AcqRel);
        nanos != 0
    }

    /// Instructions are counted anew from now on, by another hart; the clock goes on from where it is.
    pub fn restart_count(&self) {
        let Some(c) = &self.counted else { return };
        let now = self.now();
        c.run.store(0, Ordering::Release);
        c.slept.store(0, Ordering::Release);
        self.set(now);
    }

    /// Ticks a second.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    fn raw(&self) -> u64 {
        if let Some(c) = &self.counted {
            return (u128::from(c.nanos()) * u128::from(self.frequency) / 1_000_000_000) as u64;
        }
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

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
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
    fn instructions_drive_a_counting_clock() {
        let c = Clock::counting(10_000_000, 1);
        assert_eq!((c.is_counting(), c.now()), (true, 0));
        c.count(49);
        assert_eq!(c.now(), 0);
        c.count(50);
        assert_eq!((c.now(), c.instructions_until(3)), (1, 100));
        c.count(51);
        assert_eq!(c.instructions_until(3), 99);
        assert_eq!(c.instructions_until(1), 1);
        assert!(c.skip_to(5) && !c.skip_to(5) && !c.skip_to(u64::MAX));
        assert_eq!(c.now(), 5);
        // 51 instructions and 398 nanoseconds' sleep led there.
        c.count(100);
        assert_eq!(c.now(), 5);
        c.count(101);
        assert_eq!(c.now(), 6);
        c.restart_count();
        assert_eq!(c.now(), 6);
        c.count(50);
        assert_eq!(c.now(), 7);
        let hosts = Clock::new(10_000_000);
        assert!(!hosts.is_counting() && !hosts.skip_to(1 << 60));
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
