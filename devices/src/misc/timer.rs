//! Deadlines for chips: what the board gives to those that do something later.

use std::time::Instant;

/// Makes timers. Implemented by the board over its event loop.
pub trait TimerService: Send + Sync {
    /// A timer that calls `expired` on the event loop's thread, once for each time it is armed. The timer
    /// keeps `expired` alive and drops it with itself.
    fn timer(&self, expired: Box<dyn Fn() + Send + Sync>) -> Box<dyn Timer>;
}

/// A one-shot timer, idle at first. Dropping it disarms it.
///
/// Both calls may come from any thread and from inside `expired`, and must not wait for a running `expired`.
/// A call of `expired` that was already under way when the timer was set anew may still come.
pub trait Timer: Send + Sync {
    /// Expires at `deadline` or soon after, instead of any earlier setting; at once if it has passed.
    fn arm(&self, deadline: Instant);
    fn disarm(&self);
}
