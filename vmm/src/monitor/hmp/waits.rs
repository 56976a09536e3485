//! Commands that are not done when they return: who asked waits for their end.

use std::time::{Duration, Instant};

use super::migration;
use crate::machine::{Machine, Ticket};

/// What is told only to those who have waited so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often.
const TICK: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    Move,
    Task(Ticket),
}

impl Waits {
    /// What came of it, once it is done: what there is to say, or why it failed.
    pub fn outcome(&self, machine: &Machine) -> Option<Result<String, String>> {
        match self {
            Self::Move => migration::end(machine),
            Self::Task(ticket) => ticket.end().map(|done| done.map(|()| String::new())),
        }
    }

    /// The same for people.
    pub fn end(&self, machine: &Machine) -> Option<String> {
        self.outcome(machine).map(|done| done.unwrap_or_else(|why| format!("Error: {why}\n")))
    }

    /// Nobody wants to wait any longer.
    ///
    /// # Errors
    /// It is too late to give it up.
    pub fn cancel(&self, machine: &mut Machine) -> Result<(), String> {
        match self {
            Self::Move => machine.cancel_migration(),
            Self::Task(ticket) => machine.cancel_task(ticket),
        }
    }

    /// How far it is, in a line.
    fn progress(&self, machine: &Machine) -> Option<String> {
        match self {
            Self::Move => migration::progress(machine),
            Self::Task(ticket) => {
                let (done, total, what) = machine.task_progress(ticket)?;
                Some(format!("{what}: {} %", u128::from(done) * 100 / u128::from(total)))
            }
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
