//! A line on the program's terminal that tells how far something is that takes long before the guest runs.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is to be shown anew.
pub const EVERY: Duration = Duration::from_millis(200);

/// The line. It is gone when this is.
pub struct ProgressLine {
    /// What is done.
    what: String,
    begun: Instant,
    shown: String,
}

impl ProgressLine {
    /// `None` where nobody would see it: standard error is no terminal.
    pub fn new(what: String) -> Option<Self> {
        io::stderr().is_terminal().then(|| Self { what, begun: Instant::now(), shown: String::new() })
    }

    /// So much of `total`, which is not 0, is done.
    pub fn show(&mut self, done: u64, total: u64) {
        if self.begun.elapsed() < PATIENCE {
            return;
        }
        let line = format!("\rvireo: {}: {} %", self.what, u128::from(done) * 100 / u128::from(total));
        if line != self.shown {
            // Nobody waits for what cannot be shown.
            let _ = io::stderr().write_all(line.as_bytes());
            self.shown = line;
        }
    }

    /// Back to the start, and the line is gone.
    pub fn erase(&mut self) {
        if !std::mem::take(&mut self.shown).is_empty() {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.erase();
    }
}
