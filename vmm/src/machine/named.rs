//! Snapshots with names: files in the folder of `-machine snapshots=`.
//!
//! A raw image cannot keep what it held at an earlier time, so the snapshot does, and puts it back. A thread reads and writes
//! while the guest stands still; the main thread serves monitors meanwhile, and goes on with what the thread has done
//! when it is called. One at a time; whoever asked has a [`Ticket`] and looks for the end with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::work::Work;
use super::{Machine, RunState};
use crate::monitor::event::Event;
use crate::snapshot::{
    self, Channel, Decision, Disk, Loaded, Loader, MachineState, Pages, Progress, Saver, Scope, SnapshotError, Summary,
    save_mapped,
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

/// For whoever has a machine saved or loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What is done with named snapshots.
#[derive(Default)]
pub(super) struct Snapshots {
    under_way: Option<UnderWay>,
    /// How they went, for those who have asked.
    ended: BTreeMap<Ticket, Result<(), String>>,
    tickets: u64,
    /// Every thread begins with this, for tests that hold it.
    #[cfg(test)]
    pub(super) gate: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct UnderWay {
    ticket: Ticket,
    name: String,
    progress: Arc<Progress>,
    stage: Stage,
    before: RunState,
    /// What is to become of the guest then. One that is loaded runs, or it does not.
    then: RunState,
}

/// How far it is.
enum Stage {
    Saving(Work<Summary>, Arc<Decision>),
    /// Nothing has changed.
    Checking(Work<Loaded>, Box<Loader>, Arc<File>),
    /// RAM is neither what it was nor what it should be; and neither are disks, once they are written to.
    Placing {
        work: Work<()>,
        state: Box<MachineState>,
        writes: Arc<AtomicBool>,
    },
}

impl UnderWay {
    fn is_save(&self) -> bool {
        matches!(self.stage, Stage::Saving(..))
    }

    /// What becomes of a guest that is still what it was.
    fn stays(&self) -> RunState {
        if self.before.may_go_on().is_ok() { self.then } else { self.before }
    }

    fn text(&self) -> String {
        match self.is_save() {
            true => format!("the machine is being saved as '{}'", self.name),
            false => format!("the machine is going back to '{}'", self.name),
        }
    }

    fn error(&self, error: &SnapshotError) -> String {
        let what = if self.is_save() { "save" } else { "load" };
        format!("cannot {what} '{}': {}", self.name, crate::error_chain(error))
    }
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
        self.is_whole()?;
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        let before = self.run_state;
        self.stop(RunState::SaveVm);
        let progress = Arc::default();
        match self.begin_save(path, before == RunState::Running, &progress) {
            Ok(stage) => Ok(self.begin_stage(name, progress, stage, before)),
            Err(error) => {
                self.go_back_to(before);
                Err(format!("cannot save '{name}': {}", crate::error_chain(&error)))
            }
        }
    }

    fn begin_save(&self, path: PathBuf, running: bool, progress: &Arc<Progress>) -> Result<Stage, SnapshotError> {
        let decision = Arc::new(Decision::new()?);
        let mut sink = Channel::File { path, map: false }.create(Arc::clone(&decision))?;
        let (identity, state) = (self.identity(), self.machine_state(running)?);
        let (ram, disks) = (Arc::clone(&self.board.ram), Disk::kept(&self.kept.disks, Scope::All));
        progress.expect(self.config.ram_size + disks.iter().map(|disk| disk.image.len()).sum::<u64>());
        let (mapped, progress) = (self.mapped_ram(), Arc::clone(progress));
        let save = move || -> Result<Summary, SnapshotError> {
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
        Ok(Stage::Saving(self.start_work("savevm", save)?, decision))
    }

    /// Starts to put the machine back to where it was saved; then it goes on if it runs now.
    ///
    /// # Errors
    /// The snapshot is not taken, and nothing has changed. That may turn out later, too; and a file that changes while it
    /// is read, and a disk that cannot be written, leave the machine stopped.
    pub fn load_snapshot(&mut self, name: &str) -> Result<Ticket, String> {
        let path = self.snapshot_file(name)?;
        self.can_move()?;
        let refused = |text: String| format!("cannot load '{name}': {text}");
        let file = crate::files::open(&path).map_err(|error| refused(error.to_string()))?;
        let bytes = file.metadata().map_err(|error| refused(error.to_string()))?.len();
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        let before = self.run_state;
        self.stop(RunState::RestoreVm);
        // It is read twice, and a third time for images.
        let progress = Arc::new(Progress::of(bytes * if self.kept.disks.is_empty() { 2 } else { 3 }));
        let loader = Box::new(Loader { progress: Arc::clone(&progress), ..self.loader() });
        let file = Arc::new(file);
        let (reader, input) = (loader.clone(), Arc::clone(&file));
        match self.start_work("loadvm", move || reader.file(&input, Pages::Check)) {
            Ok(work) => Ok(self.begin_stage(name, progress, Stage::Checking(work, loader, file), before)),
            Err(error) => {
                self.go_back_to(before);
                Err(refused(crate::error_chain(&error)))
            }
        }
    }

    fn start_work<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Work<T>, SnapshotError> {
        #[cfg(test)]
        let work = {
            let gate = self.snapshots.gate.clone();
            move || {
                gate.iter().for_each(|gate| gate());
                work()
            }
        };
        Work::start(name, &self.control, work)
    }

    fn begin_stage(&mut self, name: &str, progress: Arc<Progress>, stage: Stage, before: RunState) -> Ticket {
        self.snapshots.tickets += 1;
        let ticket = Ticket(self.snapshots.tickets);
        let name = name.to_owned();
        self.snapshots.under_way = Some(UnderWay { ticket, name, progress, stage, before, then: before });
        ticket
    }

    /// Whether the guest stands still for a snapshot, and for which, in words.
    pub fn is_kept_still(&self) -> Option<String> {
        self.snapshots.under_way.as_ref().map(UnderWay::text)
    }

    /// A guest that stands still for a snapshot goes on then, unless it could not go on from what it was.
    pub(super) fn go_on_afterwards(&mut self) -> Result<(), String> {
        if let Some(now) = &mut self.snapshots.under_way {
            if now.is_save() {
                now.before.may_go_on()?;
            }
            now.then = RunState::Running;
        }
        Ok(())
    }

    /// A guest that is to go on after a snapshot is to be in `state` then.
    pub(super) fn stand_afterwards(&mut self, state: RunState) {
        if let Some(now) = &mut self.snapshots.under_way
            && now.then == RunState::Running
        {
            now.then = state;
        }
    }

    /// What came of it, once that is known. It is told once.
    pub fn snapshot_end(&mut self, ticket: Ticket) -> Option<Result<(), String>> {
        self.snapshots.ended.remove(&ticket)
    }

    /// Bytes that are done of a snapshot under way, and of how many; and what is done, in words.
    pub fn snapshot_progress(&self, ticket: Ticket) -> Option<(u64, u64, String)> {
        let now = self.snapshots.under_way.as_ref().filter(|now| now.ticket == ticket)?;
        let (done, total) = now.progress.now();
        let what = if now.is_save() { "saving" } else { "loading" };
        Some((done, total, format!("{what} '{}'", now.name)))
    }

    /// Gives a snapshot under way up. Its end tells of it.
    ///
    /// # Errors
    /// It is too late for that.
    pub fn cancel_snapshot(&mut self, ticket: Ticket) -> Result<(), String> {
        let Some(now) = self.snapshots.under_way.as_ref().filter(|now| now.ticket == ticket) else { return Ok(()) };
        match &now.stage {
            Stage::Saving(_, decision) if !decision.cancel() => {
                return Err(format!("it is too late: the file of '{}' is on its way to its place", now.name));
            }
            Stage::Placing { .. } => {
                return Err(format!("it is too late: '{}' is being put into RAM and disks already", now.name));
            }
            Stage::Saving(..) | Stage::Checking(..) => now.progress.abandon(),
        }
        Ok(())
    }

    /// The program ends: half a file is removed, and images that are being written become whole.
    pub(super) fn abandon_snapshot(&mut self) {
        let Some(UnderWay { name, progress, stage, .. }) = self.snapshots.under_way.take() else { return };
        progress.abandon();
        match stage {
            Stage::Saving(work, decision) => {
                // One that is decided comes to its end.
                decision.cancel();
                drop(work.wait());
            }
            Stage::Checking(..) => {}
            Stage::Placing { work, writes, .. } => {
                if writes.load(Ordering::Relaxed) {
                    tracing::warn!("a disk that is being put back to '{name}' is finished first");
                }
                drop(work.wait());
            }
        }
    }

    /// Goes on with what a thread has done. Called whenever somebody wants attention.
    pub(super) fn look_after_snapshot(&mut self) {
        let Some(mut now) = self.snapshots.under_way.take() else { return };
        let end = match &mut now.stage {
            Stage::Saving(work, _) => work.poll().map(|saved| self.end_save(&now, saved)),
            Stage::Checking(work, ..) => match work.poll() {
                None => None,
                Some(loaded) => match self.begin_placing(&mut now, loaded) {
                    Ok(()) => None,
                    Err(error) => {
                        self.go_back_after(&now, now.stays());
                        Some(Err(now.error(&error)))
                    }
                },
            },
            Stage::Placing { work, .. } => work.poll().map(|placed| self.end_load(&mut now, placed)),
        };
        match end {
            None => self.snapshots.under_way = Some(now),
            Some(end) => _ = self.snapshots.ended.insert(now.ticket, end),
        }
        self.look_after_jobs();
    }

    fn end_save(&mut self, now: &UnderWay, saved: Result<Summary, SnapshotError>) -> Result<(), String> {
        self.go_back_after(now, now.stays());
        let summary = saved.map_err(|error| now.error(&error))?;
        tracing::info!(?summary, "saved as '{}'", now.name);
        Ok(())
    }

    /// The snapshot is whole: it takes the place of what is here, if the devices take it.
    fn begin_placing(
        &mut self,
        now: &mut UnderWay,
        loaded: Result<Loaded, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let Stage::Checking(_, loader, file) = &now.stage else { return Ok(()) };
        let Loaded { state, has_images, .. } = loaded?;
        if now.progress.is_abandoned() {
            return Err(SnapshotError::cancelled());
        }
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
    fn end_load(&mut self, now: &mut UnderWay, placed: Result<(), SnapshotError>) -> Result<(), String> {
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

    /// Nothing is done with a snapshot any more.
    fn go_back_after(&mut self, now: &UnderWay, state: RunState) {
        self.go_back_to(state);
        if now.before == RunState::Running && state != RunState::Running {
            self.events.push(Event::Stands);
        }
    }

    /// Whether something is done with this snapshot just now, and what, in words.
    pub fn snapshot_in_use(&self, name: &str) -> Option<String> {
        self.snapshots.under_way.as_ref().filter(|now| now.name == name).map(UnderWay::text)
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
