//! Snapshots with names: files in the folder of `-machine snapshots=`.
//!
//! A raw image cannot keep what it held at an earlier time, so the snapshot does, and puts it back.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Machine, RunState};
use crate::monitor::event::Event;
use crate::snapshot::{self, Channel, Disk, Loaded, Pages, Saver, Scope, SnapshotError, Summary};

/// A snapshot in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// On the disk.
    pub bytes: u64,
    pub made: SystemTime,
    /// The guest's time since its start; `None` if the file does not tell.
    pub time: Option<Duration>,
}

impl Machine {
    /// The file of a snapshot.
    fn snapshot_file(&self, name: &str) -> Result<PathBuf, String> {
        snapshot::named(self.config.board.snapshots.as_deref(), name)
    }

    /// Drives that the guest writes to, of which a snapshot with a name has the contents.
    pub fn written_drives(&self) -> impl Iterator<Item = &str> {
        self.kept.disks.iter().map(|disk| &*disk.id)
    }

    /// Saves the machine under a name; it goes on as it was. What had that name is replaced.
    ///
    /// # Errors
    /// The machine cannot be saved; it goes on.
    pub fn save_snapshot(&mut self, name: &str) -> Result<Summary, String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        let channel = Channel::File { path, map: false };
        let state = self.run_state;
        let running = state == RunState::Running;
        self.stop(if running { RunState::Paused } else { state });
        let saved = if self.mapped_ram() {
            self.write_mapped(&channel, running, Scope::All)
        } else {
            self.write(&channel, running)
        };
        if running {
            self.start();
            self.events.push(Event::Resume);
        }
        saved.map_err(|error| format!("cannot save '{name}': {}", crate::error_chain(&error)))
    }

    fn write(&self, channel: &Channel, running: bool) -> Result<Summary, SnapshotError> {
        let disks = Disk::kept(&self.kept.disks, Scope::All);
        let mut saver = Saver::new(channel.create()?, &self.identity(), &disks)?;
        // First, for those who only want to know when it was.
        saver.state(&self.machine_state(running)?)?;
        for (number, disk) in disks.iter().enumerate() {
            saver.disk(number, disk, None, &|_| false)?;
        }
        saver.all(&self.board.ram, &|_| false)?;
        let (sink, summary) = saver.finish()?;
        sink.commit()?;
        Ok(summary)
    }

    /// Puts the machine back to where it was saved; it goes on if it runs now.
    ///
    /// # Errors
    /// The snapshot is not taken, and nothing has changed; but a file that changes while it is read, and a disk that
    /// cannot be written, leave the machine stopped.
    pub fn load_snapshot(&mut self, name: &str) -> Result<(), String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        let text = |error: &SnapshotError| format!("cannot load '{name}': {}", crate::error_chain(error));
        let file = crate::files::open(&path).map_err(|error| format!("cannot load '{name}': {error}"))?;
        let loader = self.loader();
        let Loaded { state, has_images, .. } = loader.file(&file, Pages::Check).map_err(|error| text(&error))?;
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        let before = self.run_state;
        let running = before == RunState::Running;
        self.stop(if running { RunState::Paused } else { before });
        // Whether the devices take it is known before RAM changes; and harts start from what RAM is then.
        let done = match self.restore(state.clone()) {
            Err(error) => Err(text(&error)),
            Ok(()) => {
                let copied = loader.file(&file, Pages::Copy).and_then(|_| self.restore(state));
                let placed = copied.and_then(|()| if has_images { loader.images(&file) } else { Ok(()) });
                match placed {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.run_state = RunState::Paused;
                        let disks = if self.kept.disks.is_empty() { "" } else { ", its disks are not what they were" };
                        let text = text(&error);
                        return Err(format!(
                            "{text}; the machine has to be reset{disks}, and the snapshot is still there"
                        ));
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
