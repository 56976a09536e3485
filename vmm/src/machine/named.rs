//! Snapshots with names: files in the folder of `-machine snapshots=`.
//!
//! A raw image cannot keep what it held at an earlier time, so the snapshot does, and puts it back. The guest stands still
//! meanwhile ([`super::task`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::task::{Stage, Ticket, UnderWay};
use super::{Capability, Machine, RunState};
use crate::snapshot::{
    self, Channel, Decision, Disk, Loaded, Loader, Pages, Progress, Saver, Scope, SnapshotError, Summary, save_mapped,
    whole,
};

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

    /// Starts to save the machine under a name; then it goes on as it was. What had that name is replaced.
    ///
    /// # Errors
    /// The machine cannot be saved; it goes on.
    pub fn save_snapshot(&mut self, name: &str) -> Result<Ticket, String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        let progress = Arc::<Progress>::default();
        let begun = Arc::clone(&progress);
        let begin = |machine: &mut Self, running| machine.begin_save(path, running, &begun);
        let ticket = self.stand_for(name.to_owned(), RunState::SaveVm, progress, begin);
        ticket.map_err(|error| format!("cannot save '{name}': {}", crate::error_chain(&error)))
    }

    fn begin_save(&self, path: PathBuf, running: bool, progress: &Arc<Progress>) -> Result<Stage, SnapshotError> {
        let decision = Arc::new(Decision::new()?);
        let place = path.display().to_string();
        let mut sink = Channel::File { path, map: false }.create(Arc::clone(&decision))?;
        let (identity, state) = (self.identity(), self.machine_state(running)?);
        let (ram, disks) = (Arc::clone(&self.board.ram), Disk::kept(&self.kept.disks, Scope::All));
        progress.expect(whole(&ram, &disks));
        let (mapped, progress) = (self.has_capability(Capability::MappedRam), Arc::clone(progress));
        let write = move || -> Result<Summary, SnapshotError> {
            if mapped {
                let file = sink.file().ok_or_else(SnapshotError::not_a_file)?;
                let summary = save_mapped(file, &identity, &state, &ram, &disks, &progress, &|_| false)?;
                sink.commit()?;
                return Ok(summary);
            }
            let mut saver = Saver::new(&mut sink, &identity, &disks)?;
            saver.tell(progress);
            // First, for those who only want to know when it was.
            saver.state(&state)?;
            for (number, disk) in disks.iter().enumerate() {
                saver.disk(number, disk, None, &|_| false)?;
            }
            saver.all(&ram, &|_| false)?;
            let (_, summary) = saver.finish()?;
            sink.commit()?;
            Ok(summary)
        };
        let save = move || write().map(|summary| tracing::info!(?summary, "saved in '{place}'"));
        Ok(Stage::Saving(self.start_work("savevm", save)?, decision))
    }

    /// Starts to put the machine back to where it was saved; then it goes on if it runs now.
    ///
    /// # Errors
    /// The snapshot is not taken, and nothing has changed. That may turn out later, too; and a file that changes while it
    /// is read, and a disk that cannot be written, leave the machine stopped.
    pub fn load_snapshot(&mut self, name: &str) -> Result<Ticket, String> {
        let path = self.snapshot_file(name)?;
        self.is_free()?;
        let refused = |text: String| format!("cannot load '{name}': {text}");
        let file = crate::files::open(&path).map_err(|error| refused(error.to_string()))?;
        let bytes = file.metadata().map_err(|error| refused(error.to_string()))?.len();
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        // It is read twice, and a third time for images.
        let progress = Arc::new(Progress::of(bytes * if self.kept.disks.is_empty() { 2 } else { 3 }));
        let loader = Box::new(Loader { progress: Arc::clone(&progress), ..self.loader() });
        let file = Arc::new(file);
        let (reader, input) = (loader.clone(), Arc::clone(&file));
        let begin = |machine: &mut Self, _| {
            let work = machine.start_work("loadvm", move || reader.file(&input, Pages::Check))?;
            Ok(Stage::Checking(work, loader, file))
        };
        let ticket = self.stand_for(name.to_owned(), RunState::RestoreVm, progress, begin);
        ticket.map_err(|error| refused(crate::error_chain(&error)))
    }

    pub(super) fn end_save(&mut self, now: &UnderWay, saved: Result<(), SnapshotError>) -> Result<(), String> {
        self.go_back_after(now, now.stays());
        saved.map_err(|error| now.error(&error))
    }

    /// The snapshot is whole: it takes the place of what is here, if the devices take it.
    pub(super) fn begin_placing(
        &mut self,
        now: &mut UnderWay,
        loaded: Result<Loaded, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let Stage::Checking(_, loader, file) = &now.stage else { return Ok(()) };
        // However it ended: what its reader has to say of it is not why.
        if now.progress.is_abandoned() {
            return Err(SnapshotError::cancelled());
        }
        let Loaded { state, has_images, .. } = loaded?;
        let before = self.machine_state(false)?;
        self.restore(state.clone())?;
        let (loader, file) = (loader.clone(), Arc::clone(file));
        let bytes = file.metadata().map_err(SnapshotError::Read)?.len();
        now.progress.reach(bytes);
        now.progress.expect(bytes * if has_images { 3 } else { 2 });
        let writes = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&writes);
        let place = move || {
            loader.file(&file, Pages::Copy)?;
            loader.progress.reach(2 * bytes);
            if !has_images {
                return Ok(());
            }
            begun.store(true, Ordering::Relaxed);
            loader.images(&file)
        };
        match self.start_work("loadvm", place) {
            Ok(work) => {
                now.stage = Stage::Placing { work, state: Box::new(state), writes };
                Ok(())
            }
            Err(error) => {
                self.restore(before)?;
                Err(error)
            }
        }
    }

    /// RAM and disks are what they should be, or something has gone wrong with them.
    pub(super) fn end_load(&mut self, now: &mut UnderWay, placed: Result<(), SnapshotError>) -> Result<(), String> {
        let Stage::Placing { state, writes, .. } = &now.stage else { return Ok(()) };
        // Once more: harts start from what RAM is now.
        if let Err(error) = placed.and_then(|()| self.restore((**state).clone())) {
            self.go_back_after(now, RunState::InternalError);
            let disks = if writes.load(Ordering::Relaxed) { ", its disks are not what they were" } else { "" };
            let text = now.error(&error);
            return Err(format!("{text}; the machine has to be reset{disks}, and the snapshot is still there"));
        }
        // What the guest had asked for is of a life that it has not lived.
        self.forget_deferred_of_guest();
        // The guest may have been off; it is not any more.
        let goes_on = now.then == RunState::Running;
        self.go_back_after(now, if goes_on { RunState::Running } else { RunState::Paused });
        tracing::info!("back at '{}'", now.name);
        Ok(())
    }

    /// Forgets a snapshot.
    ///
    /// # Errors
    /// There is none with this name, or it is in use.
    pub fn delete_snapshot(&mut self, name: &str) -> Result<(), String> {
        let path = self.snapshot_file(name)?;
        if let Some(why) = self.snapshot_in_use(name) {
            return Err(why);
        }
        crate::files::remove(&path).map_err(|error| format!("cannot delete '{name}': {error}"))
    }

    /// All snapshots, by name.
    ///
    /// # Errors
    /// The folder cannot be read, or there is none.
    pub fn snapshots(&self) -> Result<Vec<Named>, String> {
        snapshot::list(self.config.board.snapshots.as_deref())
    }
}
