//! How fast RAM may be copied while the guest runs.

use std::time::{Duration, Instant};

/// Longest time to wait before the limit, which may change, is looked at again.
const LOOK: f64 = 0.1;
/// What was not used for so many seconds may be used later.
const SAVED: f64 = 0.1;

/// A bucket of bytes, which fills at the limit and is emptied by what is written.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes too many so far; below 0 what may still be written at once.
    debt: f64,
    written: u64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { debt: 0.0, written: 0, at: now }
    }

    /// `written` bytes in all, at a limit of bytes a second: how long to wait, and ask again; 0 if more may be written.
    pub(super) fn wait(&mut self, written: u64, limit: Option<u64>, now: Instant) -> Duration {
        let seconds = now.duration_since(self.at).as_secs_f64();
        let more = written - self.written;
        (self.written, self.at) = (written, now);
        let Some(limit) = limit.map(|limit| limit as f64) else {
            self.debt = 0.0;
            return Duration::ZERO;
        };
        self.debt = (self.debt - limit * seconds).max(-limit * SAVED) + more as f64;
        Duration::from_secs_f64((self.debt / limit).clamp(0.0, LOOK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_as_long_as_they_should() {
        let begin = Instant::now();
        let (mut pace, mut now, mut written) = (Pace::new(begin), begin, 0);
        for _ in 0..10 {
            written += 1000;
            loop {
                let wait = pace.wait(written, Some(4000), now);
                if wait.is_zero() {
                    break;
                }
                now += wait;
            }
        }
        let took = (now - begin).as_secs_f64();
        assert!((2.4..2.6).contains(&took), "{took}");
        // A pause saves little, and without a limit nothing is owed.
        now += Duration::from_secs(60);
        assert!(pace.wait(written, Some(4000), now).is_zero());
        assert!(pace.wait(written + 2000, Some(4000), now) > Duration::from_millis(90));
        assert!(pace.wait(written + (1 << 40), None, now).is_zero());
        assert!(pace.wait(written + (1 << 40), Some(1), now).is_zero());
    }
}
