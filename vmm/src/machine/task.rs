//! What takes long and has the guest stand still: it is saved, put back, or its memory is dumped.
//!
//! A thread reads and writes; the main thread serves monitors meanwhile, and goes on with what the thread has done when it is
//! called. One at a time; whoever asked has a [`Ticket`] and looks for the end with it.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::work::Work;
use super::{DumpState, DumpStatus, Machine, RunState};
use crate::monitor::event::Event;
use crate::snapshot::{Decision, Loaded, Loader, MachineState, Progress, SnapshotError};

/// For whoever has something done: how it went, as long as anybody wants to know.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Arc<OnceLock<Result<(), String>>>);

impl Ticket {
    /// What came of it, once that is known.
    pub fn end(&self) -> Option<Result<(), String>> {
        self.0.get().cloned()
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Ticket {}

/// What the guest stands still for.
#[derive(Default)]
pub(super) struct Tasks {
    under_way: Option<UnderWay>,
    /// Every thread begins with this, for tests that hold it.
    #[cfg(test)]
    pub(super) gate: Option<Arc<dyn Fn() + Send + Sync>>,
}

pub(super) struct UnderWay {
    ticket: Ticket,
    /// Of the snapshot, or the dump's file.
    pub(super) name: String,
    pub(super) progress: Arc<Progress>,
    pub(super) stage: Stage,
    before: RunState,
    /// What is to become of the guest then. One that is loaded runs, or it does not.
    pub(super) then: RunState,
}

/// How far it is.
pub(super) enum Stage {
    Saving(Work<()>, Arc<Decision>),
    Dumping(Work<()>, Arc<Decision>),
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
    /// Whether another guest takes the place of this one.
    fn is_load(&self) -> bool {
        matches!(self.stage, Stage::Checking(..) | Stage::Placing { .. })
    }

    /// What becomes of a guest that is still what it was.
    pub(super) fn stays(&self) -> RunState {
        if self.before.may_go_on().is_ok() { self.then } else { self.before }
    }

    fn text(&self) -> String {
        let name = &self.name;
        match self.stage {
            Stage::Saving(..) => format!("the machine is being saved as '{name}'"),
            Stage::Dumping(..) => format!("the guest's memory is being dumped to '{name}'"),
            Stage::Checking(..) | Stage::Placing { .. } => format!("the machine is going back to '{name}'"),
        }
    }

    pub(super) fn error(&self, error: &SnapshotError) -> String {
        let what = match self.stage {
            Stage::Saving(..) => "save",
            Stage::Dumping(..) => "dump memory to",
            Stage::Checking(..) | Stage::Placing { .. } => "load",
        };
        format!("cannot {what} '{}': {}", self.name, crate::error_chain(error))
    }
}

impl Machine {
    /// Stops the machine for what `begin` begins, given whether it ran; then it goes on as it was.
    ///
    /// # Errors
    /// It is not begun, and the machine goes on.
    pub(super) fn stand_for(
        &mut self,
        name: String,
        state: RunState,
        progress: Arc<Progress>,
        begin: impl FnOnce(&mut Self, bool) -> Result<Stage, SnapshotError>,
    ) -> Result<Ticket, SnapshotError> {
        let before = self.run_state;
        self.stop(state);
        match begin(self, before == RunState::Running) {
            Ok(stage) => {
                let ticket = Ticket::default();
                let now = UnderWay { ticket: ticket.clone(), name, progress, stage, before, then: before };
                self.tasks.under_way = Some(now);
                Ok(ticket)
            }
            Err(error) => {
                self.go_back_to(before);
                Err(error)
            }
        }
    }

    pub(super) fn start_work<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Work<T>, SnapshotError> {
        #[cfg(test)]
        let work = {
            let gate = self.tasks.gate.clone();
            move || {
                gate.iter().for_each(|gate| gate());
                work()
            }
        };
        Work::start(name, &self.control, work)
    }

    /// Whether the guest stands still for what a thread does, and for what, in words.
    pub fn is_kept_still(&self) -> Option<String> {
        self.tasks.under_way.as_ref().map(UnderWay::text)
    }

    /// A guest that stands still for that goes on then, unless it could not go on from what it was.
    pub(super) fn go_on_afterwards(&mut self) -> Result<(), String> {
        if let Some(now) = &mut self.tasks.under_way {
            if !now.is_load() {
                now.before.may_go_on()?;
            }
            // It may have been taken elsewhere; then its disks are in use.
            self.locks.take().map_err(|error| crate::error_chain(&error))?;
            now.then = RunState::Running;
        }
        Ok(())
    }

    /// A guest that is to go on behind that is to be in `state` then.
    pub(super) fn stand_afterwards(&mut self, state: RunState) {
        if let Some(now) = &mut self.tasks.under_way
            && now.then == RunState::Running
        {
            now.then = state;
        }
    }

    /// Bytes that are done of a task under way, and of how many; and what is done, in words.
    pub fn task_progress(&self, ticket: &Ticket) -> Option<(u64, u64, String)> {
        let now = self.tasks.under_way.as_ref().filter(|now| now.ticket == *ticket)?;
        let (done, total) = now.progress.now();
        let what = match now.stage {
            Stage::Saving(..) => "saving",
            Stage::Dumping(..) => "dumping memory to",
            Stage::Checking(..) | Stage::Placing { .. } => "loading",
        };
        Some((done, total, format!("{what} '{}'", now.name)))
    }

    /// A dump that is under way.
    pub(super) fn dump_under_way(&self) -> Option<DumpStatus> {
        let is_dump = |now: &&UnderWay| matches!(now.stage, Stage::Dumping(..));
        let (completed, total) = self.tasks.under_way.as_ref().filter(is_dump)?.progress.now();
        Some(DumpStatus { state: DumpState::Active, completed, total })
    }

    /// Whether something is done with this snapshot just now, and what, in words.
    pub fn snapshot_in_use(&self, name: &str) -> Option<String> {
        let is_it = |now: &&UnderWay| now.name == name && !matches!(now.stage, Stage::Dumping(..));
        self.tasks.under_way.as_ref().filter(is_it).map(UnderWay::text)
    }

    /// Gives a task under way up. Its end tells of it.
    ///
    /// # Errors
    /// It is too late for that.
    pub fn cancel_task(&mut self, ticket: &Ticket) -> Result<(), String> {
        let Some(now) = self.tasks.under_way.as_ref().filter(|now| now.ticket == *ticket) else { return Ok(()) };
        match &now.stage {
            Stage::Saving(_, decision) if !decision.cancel() => {
                return Err(format!("it is too late: the file of '{}' is on its way to its place", now.name));
            }
            Stage::Dumping(_, decision) if !decision.cancel() => {
                return Err(format!("it is too late: '{}' is on its way to its place", now.name));
            }
            Stage::Placing { .. } => {
                return Err(format!("it is too late: '{}' is being put into RAM and disks already", now.name));
            }
            Stage::Saving(..) | Stage::Dumping(..) | Stage::Checking(..) => now.progress.abandon(),
        }
        Ok(())
    }

    /// The program ends: half a file is removed, and images that are being written become whole.
    pub(super) fn abandon_task(&mut self) {
        let Some(UnderWay { name, progress, stage, .. }) = self.tasks.under_way.take() else { return };
        progress.abandon();
        match stage {
            Stage::Saving(work, decision) | Stage::Dumping(work, decision) => {
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
    pub(super) fn look_after_task(&mut self) {
        let Some(mut now) = self.tasks.under_way.take() else { return };
        let end = match &mut now.stage {
            Stage::Saving(work, _) => work.poll().map(|saved| self.end_save(&now, saved)),
            Stage::Dumping(work, _) => work.poll().map(|dumped| self.end_dump(&now, dumped)),
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
            None => self.tasks.under_way = Some(now),
            Some(end) => _ = now.ticket.0.set(end),
        }
        self.look_after_jobs();
    }

    /// Nothing is done any more that the guest stands still for.
    pub(super) fn go_back_after(&mut self, now: &UnderWay, state: RunState) {
        self.go_back_to(state);
        if now.before == RunState::Running && state != RunState::Running {
            self.events.push(Event::Stands);
        }
    }
}
