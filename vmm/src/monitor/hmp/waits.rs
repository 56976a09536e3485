//! Commands that are not done when they return: who asked waits for their end.

use std::time::{Duration, Instant};

use super::{migration, snapshots};
use crate::machine::{Machine, Ticket};

/// What is told only to those who have waited so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often.
const TICK: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    Move,
    Snapshot(Ticket),
}

impl Waits {
    /// What came of it, for people, once it is done.
    pub fn end(self, machine: &mut Machine) -> Option<String> {
        match self {
            Self::Move => migration::end(machine),
            Self::Snapshot(ticket) => snapshots::end(machine, ticket),
        }
    }

    /// Nobody wants to wait any longer.
    ///
    /// # Errors
    /// It is too late to give it up.
    pub fn cancel(self, machine: &mut Machine) -> Result<(), String> {
        match self {
            Self::Move => machine.cancel_migration(),
            Self::Snapshot(ticket) => machine.cancel_snapshot(ticket),
        }
    }

    fn progress(self, machine: &Machine) -> Option<String> {
        match self {
            Self::Move => migration::progress(machine),
            Self::Snapshot(ticket) => snapshots::progress(machine, ticket),
        }
    }
}

/// Somebody who waits at a terminal.
pub struct Waiter {
    pub waits: Waits,
    since: Instant,
    /// The line that stands there.
    shown: String,
}

impl Waiter {
    pub fn new(waits: Waits) -> Self {
        Self { waits, since: Instant::now(), shown: String::new() }
    }

    /// Writes how far it is over what was written before, and will be called for that again.
    pub fn show(&mut self, machine: &Machine, out: &mut Vec<u8>) {
        machine.call_monitors(TICK);
        if self.since.elapsed() < PATIENCE {
            return;
        }
        if let Some(line) = self.waits.progress(machine).filter(|line| *line != self.shown) {
            self.erase(out);
            out.extend(line.bytes());
            self.shown = line;
        }
    }

    /// Back to the start, and the line is gone.
    pub fn erase(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.shown).is_empty() {
            out.extend(b"\r\x1b[K");
        }
    }
}
