//! Out of this program, while the machine runs (pre-copy).
//!
//! A thread makes the way there, which may take as long as the other side wants. Then one copies RAM, then again what was
//! written to meanwhile, until what is left is soon copied. Then the main thread stops the machine, and a thread copies that
//! and the state, with what devices have of the host's if the other program is on this host, and agrees with it who goes on
//! ([`crate::snapshot::Decision`]). Nobody else waits for that: monitors are served, and may give up. Until the other side
//! has taken it, whatever fails, the machine goes on here.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accel::{DirtyPages, GuestRam, Vm, dirty};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::pace::Pace;
use super::{Capability, Outcome, Parameters, Report, Sent, Status};
use crate::control::Control;
use crate::machine::work::Work;
use crate::machine::{Machine, RunState};
use crate::snapshot::{
    Channel, Decision, Disk, MachineState, Progress, Saver, Scope, Shared, Sink, SnapshotError, Stop, Summary, Tracked,
    save_mapped, whole,
};

/// Most rounds over pages that a guest goes on writing to.
const ROUNDS_MAX: u64 = 30;

/// What others may look at while RAM is copied.
struct Course {
    sent: Mutex<Sent>,
    /// Of this round.
    round: Arc<Progress>,
    decision: Arc<Decision>,
    /// The main thread, which tells monitors of rounds.
    control: Arc<Control>,
}

impl Course {
    fn new(decision: Arc<Decision>, control: Arc<Control>) -> Self {
        Self { sent: Mutex::default(), round: Arc::default(), decision, control }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behind so much: whether nobody wants more of it.
    fn stops(&self, summary: Summary) -> bool {
        self.sent().summary = summary;
        self.decision.is_cancelled()
    }

    /// So many pages are to be copied next.
    fn begin_round(&self, pages: u64) {
        self.round.reach(0);
        self.round.expect(pages * dirty::PAGE);
    }
}

type Copied = (Saver<Sink>, DirtyPages, Tracked);
/// Whether the other side has the descriptors, too.
type Taken = (Summary, bool);

pub(super) struct Outgoing {
    channel: Channel,
    course: Arc<Course>,
    started: Instant,
    stage: Leaving,
}

/// How far it is.
enum Leaving {
    /// The way is made.
    Connecting(Work<Sink>),
    /// While the guest runs.
    Copying(Work<Copied>),
    /// While it stands still.
    Ending(Ending),
}

/// What is left to be copied while it stands still.
enum Rest {
    Few(Box<Copied>),
    /// All of it, to a file whose RAM can be mapped, with these disks.
    All(Sink, Vec<Disk>),
}

struct Ending {
    taken: Work<Taken>,
    since: Instant,
    /// What becomes of the guest if it stays.
    otherwise: RunState,
}

impl Outgoing {
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn status(&self) -> Status {
        if self.is_connecting() {
            return Status::Setup;
        }
        let (done, round) = self.course.round.now();
        Status::Active {
            sent: *self.course.sent(),
            left: round - done,
            total: self.started.elapsed(),
            still: match &self.stage {
                Leaving::Connecting(_) | Leaving::Copying(_) => None,
                Leaving::Ending(ending) => Some(ending.since.elapsed()),
            },
            cancelled: self.course.decision.is_cancelled(),
        }
    }

    /// Whether there is no way yet.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.stage, Leaving::Connecting(_))
    }

    /// Whether the guest stands still for it.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Leaving::Ending(_))
    }

    /// A guest that stays here after all is to be in `state` then.
    pub(super) fn stop_afterwards(&mut self, state: RunState) {
        if let Leaving::Ending(ending) = &mut self.stage
            && ending.otherwise == RunState::Running
        {
            ending.otherwise = state;
        }
    }

    /// Gives up, unless it is too late.
    pub(super) fn cancel(&self) -> bool {
        self.course.decision.cancel()
    }

    /// The program ends: half a file is removed, and a command that has half of the guest is killed.
    pub(super) fn abandon(self) {
        let is_ended = match self.channel {
            Channel::File { .. } => true,
            // One that has all of it ends when it wants.
            Channel::Exec(_) => self.course.decision.is_cancelled(),
            Channel::Unix(_) | Channel::Tcp(_) | Channel::Fd(_) => false,
        };
        if is_ended {
            // Soon: it looks at the wish behind every chunk.
            match self.stage {
                Leaving::Connecting(_) => {}
                Leaving::Copying(copied) => drop(copied.wait()),
                Leaving::Ending(ending) => drop(ending.taken.wait()),
            }
        }
    }
}

/// Copies the disks that move and RAM of a machine that may run, until what is left fits into the time that the guest may
/// stand still.
fn copy_most(
    mut saver: Saver<Sink>,
    ram: &GuestRam,
    disks: Tracked,
    vm: &dyn Vm,
    (course, parameters): (&Course, &Parameters),
) -> Result<Copied, SnapshotError> {
    let pace = RefCell::new(Pace::new(Instant::now()));
    let stop = |summary: Summary| loop {
        if course.stops(summary) {
            break true;
        }
        let wait = pace.borrow_mut().wait(summary.bytes, parameters.max_bandwidth(), Instant::now());
        if wait.is_zero() {
            break false;
        }
        if course.decision.rest(wait).is_err() {
            break true;
        }
    };
    let mut begun = Instant::now();
    let mut pages = ram.iter().map(|region| region.len() / dirty::PAGE).sum::<u64>();
    let all = disks.take(true);
    pages += all.iter().map(|(_, _, clusters)| clusters.bytes() / dirty::PAGE).sum::<u64>();
    course.begin_round(pages);
    saver.tell(Arc::clone(&course.round));
    for (number, disk, clusters) in all {
        saver.disk(number, disk, Some(&clusters), &stop)?;
    }
    saver.all(ram, &stop)?;
    loop {
        let written = vm.take_dirty_log().map_err(log)?;
        let left = written.count() + disks.left();
        // At the speed of the last round.
        let took = begun.elapsed().as_secs_f64();
        let expected = Duration::try_from_secs_f64(took * left as f64 / pages.max(1) as f64).unwrap_or(Duration::MAX);
        let rounds = {
            let mut sent = course.sent();
            sent.rounds += 1;
            (sent.expected, sent.dirty_rate) = (expected, (written.count() as f64 / took) as u64);
            sent.rounds
        };
        course.begin_round(left);
        course.control.attend();
        if expected <= parameters.downtime_limit() || rounds >= ROUNDS_MAX {
            return Ok((saver, written, disks));
        }
        (begun, pages) = (Instant::now(), left);
        copy_written(&mut saver, &disks, &stop)?;
        saver.dirty(ram, &written, &stop)?;
    }
}

/// What was written to disks since that was copied last.
fn copy_written(saver: &mut Saver<Sink>, disks: &Tracked, stop: Stop<'_>) -> Result<(), SnapshotError> {
    for (number, disk, clusters) in disks.take(false) {
        saver.disk(number, disk, Some(&clusters), stop)?;
    }
    Ok(())
}

/// The last of the disks and RAM, and the state; returns when the other side has all of it.
fn copy_rest(
    (mut saver, left, disks): Copied,
    ram: &GuestRam,
    state: &MachineState,
    shared: &Shared,
    course: &Course,
) -> Result<Taken, SnapshotError> {
    {
        let mut sent = course.sent();
        sent.summary = saver.written();
        sent.live = Some(sent.summary.bytes);
    }
    let stop = |summary| course.stops(summary);
    copy_written(&mut saver, &disks, &stop)?;
    saver.dirty(ram, &left, &stop)?;
    saver.shared(shared)?;
    saver.state(state)?;
    let (sink, summary) = saver.finish()?;
    Ok((summary, sink.commit()?))
}

/// The engine does not tell what is written to.
fn log(error: accel::AccelError) -> SnapshotError {
    SnapshotError::Refused(crate::error_chain(&error))
}

impl Machine {
    /// Starts to move the machine to `channel`; [`Machine::migration`] tells how it goes.
    ///
    /// # Errors
    /// It cannot be moved there, or not now.
    pub fn migrate(&mut self, channel: Channel) -> Result<(), String> {
        self.can_move()?;
        self.moves.last = None;
        // So that the same end is news again.
        self.tell_move();
        let begun = self.leave(channel);
        self.tell_move();
        begun
    }

    fn leave(&mut self, channel: Channel) -> Result<(), String> {
        let (to, mapped_ram) = (channel.clone(), self.has_capability(Capability::MappedRam));
        let begin = || {
            if mapped_ram && !matches!(channel, Channel::File { .. }) {
                return Err(SnapshotError::not_a_file());
            }
            if !mapped_ram && matches!(channel, Channel::File { map: true, .. }) {
                let what = "map=on is for -incoming, and for files that are made with the capability mapped-ram";
                return Err(SnapshotError::Refused(what.to_owned()));
            }
            let decision = Arc::new(Decision::new()?);
            let theirs = Arc::clone(&decision);
            let connecting = match &channel {
                // Who asks hears at once why it cannot be.
                Channel::File { .. } => Work::done(channel.create(theirs)?),
                _ => Work::start("migration", &self.control, move || to.create(theirs))?,
            };
            Ok((decision, connecting))
        };
        let (decision, connecting) = match begin() {
            Ok(begun) => begun,
            Err(error) => return self.settle_move(&channel, Err(error)),
        };
        let course = Arc::new(Course::new(decision, Arc::clone(&self.control)));
        let is_here = matches!(channel, Channel::File { .. });
        let stage = Leaving::Connecting(connecting);
        self.moves.outgoing = Some(Outgoing { channel, course, started: Instant::now(), stage });
        if !is_here {
            return Ok(());
        }
        self.tell_move();
        self.look_after_leaving()
    }

    /// The way is there.
    fn begin_copying(&mut self, mut sink: Sink) -> Result<(), SnapshotError> {
        let disks = Disk::kept(&self.kept.disks, Scope::Temporary);
        // Who has set that since it began to connect means the next one.
        if self.has_capability(Capability::MappedRam) && sink.file().is_some() {
            return self.begin_end(Rest::All(sink, disks));
        }
        self.harts.vm().start_dirty_log().map_err(log)?;
        let (ram, vm, identity) = (Arc::clone(&self.board.ram), self.harts.vm(), self.identity());
        let Some(out) = &mut self.moves.outgoing else { return Ok(()) };
        let (course, parameters) = (Arc::clone(&out.course), Arc::clone(&self.moves.parameters));
        let work = move || {
            let saver = Saver::new(sink, &identity, &disks)?;
            copy_most(saver, &ram, Tracked::start(&disks), &*vm, (&course, &parameters))
        };
        out.stage = Leaving::Copying(Work::start("migration", &self.control, work)?);
        Ok(())
    }

    /// Somebody has given up before there was a way: its thread finds out when it can, and nobody waits for that.
    pub(super) fn forget_connecting(&mut self) {
        self.moves.outgoing = None;
        self.moves.last = Some(Outcome::Cancelled);
    }

    /// Goes on with a move whose thread has done something.
    pub(super) fn look_after_leaving(&mut self) -> Result<(), String> {
        let Some(out) = &mut self.moves.outgoing else { return Ok(()) };
        match &mut out.stage {
            Leaving::Connecting(sink) => match sink.poll() {
                None => Ok(()),
                Some(sink) => match sink.and_then(|sink| self.begin_copying(sink)) {
                    Ok(()) => Ok(()),
                    Err(error) => self.end_move(Err(error)),
                },
            },
            Leaving::Copying(copied) => match copied.poll() {
                None => Ok(()),
                Some(copied) => match copied.and_then(|copied| self.begin_end(Rest::Few(Box::new(copied)))) {
                    Ok(()) => Ok(()),
                    Err(error) => self.end_move(Err(error)),
                },
            },
            Leaving::Ending(ending) => match ending.taken.poll() {
                None => Ok(()),
                Some(taken) => self.end_move(taken),
            },
        }
    }

    /// Stops the machine, and has what is left and the state copied.
    fn begin_end(&mut self, rest: Rest) -> Result<(), SnapshotError> {
        let Some(Outgoing { course, channel, .. }) = &self.moves.outgoing else { return Ok(()) };
        let course = Arc::clone(course);
        if course.decision.is_cancelled() {
            return Err(SnapshotError::cancelled());
        }
        let here = channel.is_local();
        let (before, since) = (self.run_state, Instant::now());
        self.stop(RunState::FinishMigrate);
        // Before the other side may start.
        self.locks.release();
        let begin = || {
            let state = self.machine_state(before == RunState::Running)?;
            let shared = if here { self.share() } else { Shared::new() };
            let (ram, identity) = (Arc::clone(&self.board.ram), self.identity());
            match rest {
                Rest::Few(mut copied) => {
                    copied.1.merge(&self.harts.vm().take_dirty_log().map_err(log)?);
                    let work = move || copy_rest(*copied, &ram, &state, &shared, &course);
                    Work::start("migration", &self.control, work)
                }
                Rest::All(mut sink, disks) => Work::start("migration", &self.control, move || {
                    let file = sink.file().ok_or_else(SnapshotError::not_a_file)?;
                    course.begin_round(whole(&ram, &disks) / dirty::PAGE);
                    course.sent().live = Some(0);
                    let stop = |summary| course.stops(summary);
                    let summary = save_mapped(file, &identity, &state, &ram, &disks, &course.round, &stop)?;
                    course.sent().rounds = 1;
                    Ok((summary, sink.commit()?))
                }),
            }
        };
        match begin() {
            Ok(taken) => {
                if let Some(out) = &mut self.moves.outgoing {
                    out.stage = Leaving::Ending(Ending { taken, since, otherwise: before });
                }
                Ok(())
            }
            Err(error) => {
                self.stay(before, &error)?;
                Err(error)
            }
        }
    }

    /// The guest stays here, for this reason.
    ///
    /// # Errors
    /// It cannot go on.
    fn stay(&mut self, otherwise: RunState, why: &SnapshotError) -> Result<(), SnapshotError> {
        self.run_state = if otherwise == RunState::Running { RunState::Paused } else { otherwise };
        self.locks.take().map_err(|lost| {
            let (why, lost) = (crate::error_chain(why), crate::error_chain(&lost));
            SnapshotError::Refused(format!("{why}; and the guest cannot go on: {lost}"))
        })?;
        self.go_back_to(otherwise);
        Ok(())
    }

    /// It is known what became of a move.
    fn end_move(&mut self, taken: Result<Taken, SnapshotError>) -> Result<(), String> {
        let Some(Outgoing { channel, course, started, stage }) = self.moves.outgoing.take() else { return Ok(()) };
        let cancelled = course.decision.is_cancelled();
        let outcome = match (taken, stage) {
            (Ok((summary, with)), stage) => {
                self.run_state = RunState::PostMigrate;
                if channel.is_answered() {
                    self.let_go(with);
                }
                let downtime = match stage {
                    Leaving::Ending(ending) => ending.since.elapsed(),
                    Leaving::Connecting(_) | Leaving::Copying(_) => Duration::ZERO,
                };
                let sent = Sent { summary, ..*course.sent() };
                Ok(Some(Report { sent, total: started.elapsed(), downtime }))
            }
            (Err(error @ SnapshotError::Undecided(_)), _) => {
                self.run_state = RunState::PostMigrate;
                Err(error)
            }
            (Err(error), Leaving::Ending(ending)) => match self.stay(ending.otherwise, &error) {
                Ok(()) if cancelled => Ok(None),
                Ok(()) => Err(error),
                // That is worth more words than that somebody gave up.
                Err(lost) => Err(lost),
            },
            (Err(_), _) if cancelled => Ok(None),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = self.harts.vm().stop_dirty_log() {
            tracing::warn!("{}", crate::error_chain(&error));
        }
        match outcome.transpose() {
            Some(outcome) => self.settle_move(&channel, outcome),
            None => {
                self.moves.last = Some(Outcome::Cancelled);
                Ok(())
            }
        }
    }

    fn settle_move(&mut self, channel: &Channel, outcome: Result<Report, SnapshotError>) -> Result<(), String> {
        let (last, result) = match outcome {
            Ok(report) => {
                tracing::info!(?report, "moved to '{channel}'");
                (Outcome::Done(report), Ok(()))
            }
            Err(error) => {
                let text = format!("cannot move the machine to '{channel}': {}", crate::error_chain(&error));
                (Outcome::Failed(text.clone()), Err(text))
            }
        };
        self.moves.last = Some(last);
        result
    }
}
