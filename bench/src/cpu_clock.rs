//! The CPU time of another process: all its threads, those of its kernel workers too, in its own code and in the
//! kernel's. The host's scheduler keeps it by the nanosecond, so that a round of some milliseconds can be told.

use std::time::Duration;

/// The clock of a process. It stands when the process has ended.
#[derive(Debug, Clone, Copy)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// `None` where the host does not say.
    pub fn of(pid: u32) -> Option<Self> {
        let mut clock = 0;
        // SAFETY: the pointer is to our own memory.
        let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
        (error == 0).then_some(Self(clock))
    }

    /// `None` when the process is gone.
    pub fn now(self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: as above.
        let error = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        (error == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_sleep_does_not() {
        let clock = CpuClock::of(std::process::id()).unwrap();
        let start = clock.now().unwrap();
        // Of all threads.
        std::thread::spawn(|| std::hint::black_box((0..20_000_000u64).fold(0, |a, b| a ^ b.wrapping_mul(a | 1))))
            .join()
            .unwrap();
        assert!(clock.now().unwrap() > start);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let clock = CpuClock::of(child.id()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let used = clock.now().unwrap();
        assert!(used < Duration::from_millis(50), "{used:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(CpuClock::of(child.id()).and_then(CpuClock::now).is_none());
    }
}
