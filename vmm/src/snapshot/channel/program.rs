//! A command of the user's at the other end.

use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::snapshot::error::SnapshotError;

/// How long a program that has closed its end may take to end itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A new program of the shell's.
pub(super) fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

/// A child that ends with whoever has it.
pub struct Running {
    child: Child,
    command: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(super) fn new(child: Child, command: &str) -> Self {
        Self { child, command: command.to_owned() }
    }

    /// It has closed its end too early: how it has failed, if it has, or does so soon.
    pub(super) fn failure(&mut self) -> Option<String> {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if begun.elapsed() < LAST_WORDS => sleep(Duration::from_millis(1)),
                status => break status.ok().flatten()?,
            }
        };
        (!status.success()).then(|| self.failed(status))
    }

    pub(super) fn finish(&mut self) -> Result<(), SnapshotError> {
        let host = |source| SnapshotError::Host { what: format!("wait for 'exec:{}'", self.command), source };
        match self.child.wait().map_err(host)? {
            status if status.success() => Ok(()),
            status => Err(SnapshotError::Refused(self.failed(status))),
        }
    }

    fn failed(&self, status: ExitStatus) -> String {
        format!("'exec:{}' failed: {status}", self.command)
    }
}
