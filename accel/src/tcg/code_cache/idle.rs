//! When a hart that idles gives up its code. What a system ran to get where it is (a kernel's boot, a program that
//! ended) is most of its code and never runs again; what does run again is soon translated again, and then stands
//! together.
//!
//! A hart idles that slept nearly all of the last second. It gives up everything at once: what is left of a page of
//! code after the cold blocks went would keep the page, and the tables as well. That happens while it would sleep
//! anyway, so nobody waits for it.
//!
//! A guest that works every few seconds needs the same code each time. So that it costs no more than a part of what
//! it does, code that came back within [`SOON`] is given up only when there is twice as much.

use std::time::{Duration, Instant};

/// How long a hart has to idle, and how long it sleeps at most until it looks again.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Code that comes back earlier was needed.
const SOON: Duration = Duration::from_secs(60);

/// What a hart keeps in any case: about the code of a shell and of the kernel under it.
pub const KEPT: usize = 4 << 20;

/// Sleeps of a hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// Bytes of code up to which nothing is done; 0: everything goes at every sleep.
    least: usize,
    /// The same, as experience has it.
    kept: usize,
    /// When the hart was first seen to sleep, and how long it has slept since.
    since: Option<Instant>,
    slept: Duration,
    /// When it began to sleep, while it does.
    began: Option<Instant>,
    /// When it last gave up its code.
    last: Option<Instant>,
}

impl Idle {
    pub fn new(least: usize) -> Self {
        Self { least, kept: least, since: None, slept: Duration::ZERO, began: None, last: None }
    }

    /// Before the hart sleeps that has `used` bytes of code: whether they are to go. `now` is asked for when there are
    /// enough of them, which is rare.
    pub fn sleeps(&mut self, used: usize, now: impl FnOnce() -> Instant) -> bool {
        if self.least == 0 {
            return true;
        }
        self.began = None;
        if used <= self.kept {
            self.since = None;
            return false;
        }
        let now = now();
        let span = now.saturating_duration_since(*self.since.get_or_insert(now));
        let idles = span >= WINDOW && self.slept >= span / 10 * 9;
        if span >= WINDOW {
            (self.since, self.slept) = (Some(now), Duration::ZERO);
        }
        if idles {
            let soon = self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) < SOON);
            self.kept = if soon { 2 * self.kept } else { (self.kept / 2).max(self.least) };
            self.since = None;
        } else {
            self.began = Some(now);
        }
        idles
    }

    /// How long the hart may sleep before it calls [`Idle::sleeps`] again.
    pub fn patience(&self) -> Duration {
        if self.began.is_some() { WINDOW } else { Duration::MAX }
    }

    /// The hart woke.
    pub fn wakes(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(began) = self.began.take() {
            self.slept += now().saturating_duration_since(began);
        }
    }
}

/// Returns to the host what the allocator keeps of what was freed.
pub fn release_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the allocator's own function, which any thread may call.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sleeps of `asleep` with `awake` between them for `time`; when the code went.
    fn run(idle: &mut Idle, at: &mut Instant, used: usize, asleep: Duration, awake: Duration, time: Duration) -> bool {
        let end = *at + time;
        while *at < end {
            if idle.sleeps(used, || *at) {
                return true;
            }
            *at += asleep.min(idle.patience());
            idle.wakes(|| *at);
            *at += awake;
        }
        false
    }

    #[test]
    fn only_a_hart_that_idles_gives_up_code() {
        let (mut idle, mut at) = (Idle::new(100), Instant::now());
        assert!(!run(&mut idle, &mut at, 100, 4 * MS, MS / 10, 5000 * MS), "there is little");
        assert!(!run(&mut idle, &mut at, 101, 4 * MS, MS, 5000 * MS), "a fifth of the time it works");
        assert!(!run(&mut idle, &mut at, 101, 4 * MS, MS / 10, 900 * MS), "not for long");
        assert!(run(&mut idle, &mut at, 101, 4 * MS, MS / 10, 2200 * MS));
        // A sleep that nothing ends.
        let (mut idle, mut at) = (Idle::new(100), Instant::now());
        let begin = at;
        assert!(run(&mut idle, &mut at, 101, Duration::from_secs(1000), MS, 3000 * MS));
        assert!(at <= begin + 2 * WINDOW);
        // After much work the time before does not count.
        let (mut idle, mut at) = (Idle::new(100), Instant::now());
        assert!(!run(&mut idle, &mut at, 101, 4 * MS, MS / 10, 900 * MS));
        at += 10_000 * MS;
        assert!(!run(&mut idle, &mut at, 101, 4 * MS, MS / 10, 900 * MS));
    }

    #[test]
    fn code_that_comes_back_is_kept() {
        let (mut idle, mut at) = (Idle::new(100), Instant::now());
        let mut tries = |idle: &mut Idle, used| run(idle, &mut at, used, 4 * MS, MS / 10, 3000 * MS);
        assert!(tries(&mut idle, 150));
        // It came back at once, and the second time it stays: it is less than twice as much.
        assert!(tries(&mut idle, 150));
        assert!(!tries(&mut idle, 150));
        assert!(tries(&mut idle, 201));
        assert!(!tries(&mut idle, 390));
        at += SOON;
        let mut tries = |idle: &mut Idle, used| run(idle, &mut at, used, 4 * MS, MS / 10, 3000 * MS);
        assert!(tries(&mut idle, 500));
        assert!(tries(&mut idle, 201), "it was not needed for long");
    }

    #[test]
    fn the_forced_mode_drops_code_at_every_sleep() {
        let mut idle = Idle::new(0);
        assert!(idle.sleeps(0, || unreachable!()) && idle.sleeps(1, || unreachable!()));
        assert_eq!(idle.patience(), Duration::MAX);
    }
}
