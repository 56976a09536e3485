//! A command of the user's at the other end.

use std::process::{Child, Command};

use crate::snapshot::error::SnapshotError;

/// A new program of the shell's.
pub(super) fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

/// A child that ends with whoever has it.
pub struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(super) fn finish(&mut self, command: &str) -> Result<(), SnapshotError> {
        let host = |source| SnapshotError::Host { what: format!("wait for 'exec:{command}'"), source };
        match self.0.wait().map_err(host)? {
            status if status.success() => Ok(()),
            status => Err(SnapshotError::Refused(format!("'exec:{command}' failed: {status}"))),
        }
    }
}
