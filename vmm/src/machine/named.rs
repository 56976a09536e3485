//! Snapshots with names: files in the folder of `-machine snapshots=`.
//!
//! A raw image cannot keep what it held at an earlier time, so a machine that writes to one has no such snapshots: its
//! memory would not match its disk. Images that are only read do no harm.

use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Machine, RunState};
use crate::monitor::event::Event;
use crate::snapshot::{self, Channel, Pages, Saver, SnapshotError, Summary};

/// A snapshot in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// On the disk.
    pub bytes: u64,
    pub made: SystemTime,
}

impl Machine {
    /// The file of a snapshot.
    fn snapshot_file(&self, name: &str) -> Result<PathBuf, String> {
        snapshot::named(self.config.board.snapshots.as_deref(), name)
    }

    /// Saves the machine under a name; it goes on as it was. What had that name is replaced.
    ///
    /// # Errors
    /// The machine cannot be saved; it goes on.
    pub fn save_snapshot(&mut self, name: &str) -> Result<Summary, String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        if let Some(drive) = self.config.drives.iter().find(|d| !d.readonly) {
            let id = &drive.id;
            return Err(format!(
                "drive '{id}' is writable, and its raw image keeps no earlier state: readonly=on would do, or 'migrate \
                 file:PATH' and a copy of the image"
            ));
        }
        let channel = Channel::File { path, map: false };
        let state = self.run_state;
        let running = state == RunState::Running;
        self.stop(if running { RunState::Paused } else { state });
        let saved =
            if self.mapped_ram() { self.write_mapped(&channel, running) } else { self.write(&channel, running) };
        if running {
            self.start();
            self.events.push(Event::Resume);
        }
        saved.map_err(|error| format!("cannot save '{name}': {}", crate::error_chain(&error)))
    }

    fn write(&self, channel: &Channel, running: bool) -> Result<Summary, SnapshotError> {
        let mut saver = Saver::new(channel.create()?, &self.identity())?;
        saver.all(&self.board.ram, &|_| false)?;
        let (sink, summary) = saver.finish(&self.machine_state(running)?)?;
        sink.commit()?;
        Ok(summary)
    }

    /// Puts the machine back to where it was saved; it goes on if it runs now.
    ///
    /// # Errors
    /// The snapshot is not taken, and nothing has changed; but a file that changes while it is read leaves the machine
    /// stopped.
    pub fn load_snapshot(&mut self, name: &str) -> Result<(), String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        let text = |error: &SnapshotError| format!("cannot load '{name}': {}", crate::error_chain(error));
        let open = || File::open(&path).map_err(|error| format!("cannot load '{name}': {error}"));
        let loader = self.loader();
        let state = loader.file(open()?, Pages::Check).map_err(|error| text(&error))?.state;
        let before = self.run_state;
        let running = before == RunState::Running;
        self.stop(if running { RunState::Paused } else { before });
        // Whether the devices take it is known before RAM changes; and harts start from what RAM is then.
        let done = match self.restore(state.clone()) {
            Err(error) => Err(text(&error)),
            Ok(()) => {
                let copied = loader.file(open()?, Pages::Copy).and_then(|_| self.restore(state));
                match copied {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.run_state = RunState::Paused;
                        return Err(format!("{}; the machine has to be reset", text(&error)));
                    }
                }
            }
        };
        match running {
            true => {
                self.start();
                self.events.push(Event::Resume);
            }
            // The guest may have been off; it is not any more.
            false if done.is_ok() => self.run_state = RunState::Paused,
            false => {}
        }
        done
    }

    /// Forgets a snapshot.
    ///
    /// # Errors
    /// There is none with this name.
    pub fn delete_snapshot(&mut self, name: &str) -> Result<(), String> {
        let path = self.snapshot_file(name)?;
        std::fs::remove_file(path).map_err(|error| format!("cannot delete '{name}': {error}"))
    }

    /// All snapshots, by name.
    ///
    /// # Errors
    /// The folder cannot be read, or there is none.
    pub fn snapshots(&self) -> Result<Vec<Named>, String> {
        snapshot::list(self.config.board.snapshots.as_deref())
    }
}
