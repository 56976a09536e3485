//! Moves a machine: out of this program while it runs (pre-copy), and into it.
//!
//! A thread of its own copies RAM, then again what was written to meanwhile, until what is left is soon copied. Then the
//! main thread stops the machine, and the thread copies that and the state, with what devices have of the host's if the
//! other program is on this host, and agrees with it who goes on ([`crate::snapshot::Decision`]). Nobody else waits for
//! that: monitors are served, and may give up. Until the other side has taken it, whatever fails, the machine goes on here.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use accel::{DirtyPages, GuestRam, Vm};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::{Machine, MachineError, RunState};
use crate::control::{Control, Request};
use crate::monitor::event::Event;
use crate::snapshot::{
    Answer, Channel, Decision, Disk, Identity, MachineState, Pages, Saver, Scope, Shared, Sink, SnapshotError, Source,
    Stream, Summary, Tracked, save_mapped,
};

/// Most rounds over pages that a guest goes on writing to.
const ROUNDS_MAX: u32 = 30;
/// How long the guest may stand still, as far as that can be told beforehand.
const DOWNTIME: Duration = Duration::from_millis(300);

/// What others may look at while RAM is copied.
#[derive(Debug)]
struct Progress {
    bytes: AtomicU64,
    rounds: AtomicU64,
    decision: Arc<Decision>,
}

/// How a move has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done(Report),
    Failed(String),
    Cancelled,
}

/// What a move took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub summary: Summary,
    /// Over all of RAM and over what was written to meanwhile.
    pub rounds: u64,
    pub total: Duration,
    /// Between the stop here and the other side's answer.
    pub downtime: Duration,
}

/// What there is to tell of moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    None,
    /// Waits for a guest.
    Setup,
    Active {
        bytes: u64,
        rounds: u64,
        total: Duration,
        /// How long the guest has stood still for the end of the move.
        still: Option<Duration>,
    },
    Ended(Outcome),
}

type Copied = (Saver<Sink>, DirtyPages, Tracked);
/// Whether the other side has the descriptors, too.
type Taken = (Summary, bool);

struct Outgoing {
    channel: Channel,
    progress: Arc<Progress>,
    started: Instant,
    stage: Leaving,
}

enum Leaving {
    /// While the guest runs.
    Copying(Work<Copied>),
    /// While it stands still.
    Ending(Ending),
}

struct Ending {
    taken: Work<Taken>,
    since: Instant,
    /// What becomes of the guest if it stays.
    otherwise: RunState,
}

struct Incoming {
    channel: Channel,
    stage: Arriving,
}

enum Arriving {
    Loading(Work<(Arrival, MachineState)>),
    /// All of it is here, and the other side is asked whether it should go on.
    Agreeing(Work<Arrival>),
    /// All but the images of its disks is in place.
    Placing(Guest, Work<()>),
}

/// A guest with what comes along, who waits for an answer.
struct Arrival {
    guest: Guest,
    shared: Option<Shared>,
    stream: Option<Stream>,
    /// The file that it comes from if there are contents of images in it.
    images: Option<File>,
    answer: Answer,
}

/// Who came.
struct Guest {
    writer: String,
    engine: String,
    running: bool,
}

/// What a thread works on.
struct Work<T>(Receiver<Result<T, SnapshotError>>);

impl<T: Send + 'static> Work<T> {
    /// The main thread is called when it is done.
    fn start(
        name: &str,
        control: &Arc<Control>,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (done, receiver) = mpsc::sync_channel(1);
        let control = Arc::clone(control);
        let body = move || {
            // Nobody may want it any more. A panic closes the channel: that is seen, too.
            let _ = done.send(work());
            drop(done);
            control.attend();
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Self(receiver))
    }

    /// What came of it, if it is done.
    fn poll(&self) -> Option<Result<T, SnapshotError>> {
        match self.0.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Self::lost())),
        }
    }

    fn wait(&self) -> Result<T, SnapshotError> {
        self.0.recv().unwrap_or_else(|_| Err(Self::lost()))
    }

    fn lost() -> SnapshotError {
        SnapshotError::Refused("its thread failed".to_owned())
    }
}

/// The moves of a machine; one at a time.
#[derive(Default)]
pub(super) struct Moves {
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
    last: Option<Outcome>,
    /// What was asked for while a move came to its end.
    deferred: Vec<Request>,
    /// Files get RAM that can be mapped.
    mapped_ram: bool,
}

/// Copies the disks that move and RAM of a machine that may run, until what is left fits into [`DOWNTIME`].
fn copy_most(
    mut saver: Saver<Sink>,
    ram: &GuestRam,
    disks: Tracked,
    vm: &dyn Vm,
    progress: &Progress,
) -> Result<Copied, SnapshotError> {
    let stop = |bytes: u64| {
        progress.bytes.store(bytes, Ordering::Relaxed);
        progress.decision.is_cancelled()
    };
    let log = |error: accel::AccelError| SnapshotError::Refused(crate::error_chain(&error));
    let mut begun = Instant::now();
    let mut pages = ram.iter().map(|region| region.len() / accel::dirty::PAGE).sum::<u64>();
    for (number, disk, clusters) in disks.take(true) {
        pages += clusters.bytes() / accel::dirty::PAGE;
        saver.disk(number, disk, Some(&clusters), &stop)?;
    }
    saver.all(ram, &stop)?;
    loop {
        let rounds = progress.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        let dirty = vm.take_dirty_log().map_err(log)?;
        let left = dirty.count() + disks.left();
        // At the speed of the last round.
        let expected = begun.elapsed().as_secs_f64() * left as f64 / pages.max(1) as f64;
        if expected <= DOWNTIME.as_secs_f64() || rounds >= u64::from(ROUNDS_MAX) {
            return Ok((saver, dirty, disks));
        }
        (begun, pages) = (Instant::now(), left);
        copy_written(&mut saver, &disks, &stop)?;
        saver.dirty(ram, &dirty, &stop)?;
    }
}

/// What was written to disks since that was copied last.
fn copy_written(saver: &mut Saver<Sink>, disks: &Tracked, stop: &dyn Fn(u64) -> bool) -> Result<(), SnapshotError> {
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
    decision: &Decision,
) -> Result<Taken, SnapshotError> {
    let stop = |_| decision.is_cancelled();
    copy_written(&mut saver, &disks, &stop)?;
    saver.dirty(ram, &left, &stop)?;
    saver.shared(shared)?;
    saver.state(state)?;
    let (sink, summary) = saver.finish()?;
    Ok((summary, sink.commit()?))
}

impl Machine {
    /// How the last move stands.
    pub fn migration(&self) -> Status {
        match (&self.moves.outgoing, &self.moves.incoming, &self.moves.last) {
            (Some(out), ..) => Status::Active {
                bytes: out.progress.bytes.load(Ordering::Relaxed),
                rounds: out.progress.rounds.load(Ordering::Relaxed),
                total: out.started.elapsed(),
                still: match &out.stage {
                    Leaving::Copying(_) => None,
                    Leaving::Ending(ending) => Some(ending.since.elapsed()),
                },
            },
            (None, Some(_), _) => Status::Setup,
            (None, None, Some(outcome)) => Status::Ended(outcome.clone()),
            (None, None, None) => Status::None,
        }
    }

    /// Whether files get RAM that can be mapped.
    pub fn mapped_ram(&self) -> bool {
        self.moves.mapped_ram
    }

    pub fn set_mapped_ram(&mut self, on: bool) {
        self.moves.mapped_ram = on;
    }

    /// Starts to move the machine to `channel`; [`Machine::migration`] tells how it goes.
    ///
    /// # Errors
    /// It cannot be moved there, or not now.
    pub fn migrate(&mut self, channel: Channel) -> Result<(), String> {
        self.can_move()?;
        self.moves.last = None;
        if self.moves.mapped_ram {
            let outcome = self.move_mapped(&channel);
            return self.settle_move(&channel, outcome);
        }
        let disks = Disk::kept(&self.kept.disks, Scope::Temporary);
        let begin =
            || -> Result<Saver<Sink>, SnapshotError> { Saver::new(channel.create()?, &self.identity(), &disks) };
        let text =
            |error: &SnapshotError| format!("cannot move the machine to '{channel}': {}", crate::error_chain(error));
        let mut saver = begin().map_err(|error| text(&error))?;
        let decision = saver.sink().decision();
        self.harts.vm().start_dirty_log().map_err(|error| crate::error_chain(&error))?;
        let progress = Arc::new(Progress { bytes: AtomicU64::new(0), rounds: AtomicU64::new(0), decision });
        let (ram, vm, theirs) = (Arc::clone(&self.board.ram), self.harts.vm(), Arc::clone(&progress));
        let disks = Tracked::start(&disks);
        let work = Work::start("migration", &self.control, move || copy_most(saver, &ram, disks, &*vm, &theirs));
        let copied = work.map_err(|error| format!("cannot start a thread: {error}"))?;
        let stage = Leaving::Copying(copied);
        self.moves.outgoing = Some(Outgoing { channel, progress, started: Instant::now(), stage });
        Ok(())
    }

    /// Whether a move is under way.
    pub fn is_moving(&self) -> bool {
        self.moves.outgoing.is_some()
    }

    /// Whether the guest stands still because a move comes to its end.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(&self.moves.outgoing, Some(Outgoing { stage: Leaving::Ending(_), .. }))
    }

    /// Something is asked for that can only be done when it is known who has the guest.
    pub(super) fn defer(&mut self, request: Request) {
        self.moves.deferred.push(request);
    }

    /// What was deferred, once that is known.
    pub(super) fn take_deferred(&mut self) -> Vec<Request> {
        if self.is_leaving() { Vec::new() } else { std::mem::take(&mut self.moves.deferred) }
    }

    /// A guest that stays here after all is to be in `state` then.
    pub(super) fn stop_afterwards(&mut self, state: RunState) {
        if let Some(Outgoing { stage: Leaving::Ending(ending), .. }) = &mut self.moves.outgoing
            && ending.otherwise == RunState::Running
        {
            ending.otherwise = state;
        }
    }

    /// Goes on with a move whose thread has done something.
    fn look_after_leaving(&mut self) -> Result<(), String> {
        let Some(out) = &mut self.moves.outgoing else { return Ok(()) };
        match &mut out.stage {
            Leaving::Copying(copied) => match copied.poll() {
                None => Ok(()),
                Some(copied) => match copied.and_then(|copied| self.begin_end(copied)) {
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

    /// All but little is copied: stops the machine and has that and the state copied.
    fn begin_end(&mut self, (saver, mut left, disks): Copied) -> Result<(), SnapshotError> {
        let Some(Outgoing { progress, channel, .. }) = &self.moves.outgoing else { return Ok(()) };
        let decision = Arc::clone(&progress.decision);
        if decision.is_cancelled() {
            return Err(SnapshotError::Refused("it was cancelled".to_owned()));
        }
        let here = matches!(channel, Channel::Unix(_));
        let (before, since) = (self.run_state, Instant::now());
        self.stop(RunState::FinishMigrate);
        // Before the other side may start.
        self.locks.release();
        let begin = || {
            let log = |error: accel::AccelError| SnapshotError::Refused(crate::error_chain(&error));
            left.merge(&self.harts.vm().take_dirty_log().map_err(log)?);
            let state = self.machine_state(before == RunState::Running)?;
            let shared = if here { self.share() } else { Shared::new() };
            let ram = Arc::clone(&self.board.ram);
            let work = move || copy_rest((saver, left, disks), &ram, &state, &shared, &decision);
            let host = |source| SnapshotError::Host { what: "start a thread".to_owned(), source };
            Work::start("migration", &self.control, work).map_err(host)
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
        let running = otherwise == RunState::Running;
        self.run_state = if running { RunState::Paused } else { otherwise };
        self.locks.take().map_err(|lost| {
            let (why, lost) = (crate::error_chain(why), crate::error_chain(&lost));
            SnapshotError::Refused(format!("{why}; and the guest cannot go on: {lost}"))
        })?;
        if running {
            self.start();
            self.events.push(Event::Resume);
        }
        Ok(())
    }

    /// It is known what became of a move.
    fn end_move(&mut self, taken: Result<Taken, SnapshotError>) -> Result<(), String> {
        let Some(Outgoing { channel, progress, started, stage }) = self.moves.outgoing.take() else { return Ok(()) };
        let cancelled = progress.decision.is_cancelled();
        let rounds = progress.rounds.load(Ordering::Relaxed);
        let outcome = match (taken, stage) {
            (Ok((summary, with)), stage) => {
                self.run_state = RunState::PostMigrate;
                if matches!(channel, Channel::Unix(_) | Channel::Tcp(_)) {
                    self.let_go(with);
                }
                let downtime = match stage {
                    Leaving::Ending(ending) => ending.since.elapsed(),
                    Leaving::Copying(_) => Duration::ZERO,
                };
                Ok(Some(Report { summary, rounds, total: started.elapsed(), downtime }))
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
            (Err(_), Leaving::Copying(_)) if cancelled => Ok(None),
            (Err(error), Leaving::Copying(_)) => Err(error),
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

    /// Gives the move under way up.
    ///
    /// # Errors
    /// The other side has been told to go on with the guest.
    pub fn cancel_migration(&mut self) -> Result<(), String> {
        match &self.moves.outgoing {
            Some(out) if !out.progress.decision.cancel() => {
                Err(format!("it is too late: '{}' may go on with the guest already", out.channel))
            }
            _ => Ok(()),
        }
    }

    /// The program ends: half a file is removed, and so is a socket that nobody came to.
    pub(super) fn abandon_moves(&mut self) {
        // One that is decided comes to its end.
        let _ = self.cancel_migration();
        if let Some(Outgoing { channel: Channel::File { .. }, stage, .. }) = self.moves.outgoing.take() {
            // Soon: it looks at the wish behind every chunk.
            match stage {
                Leaving::Copying(copied) => drop(copied.wait()),
                Leaving::Ending(ending) => drop(ending.taken.wait()),
            }
        }
        if let Some(Incoming { channel: Channel::Unix(path), .. }) = self.moves.incoming.take() {
            let _ = std::fs::remove_file(path);
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

    /// To a file whose RAM can be mapped: the machine stands still meanwhile.
    fn move_mapped(&mut self, channel: &Channel) -> Result<Report, SnapshotError> {
        let (started, before) = (Instant::now(), self.run_state);
        self.stop(RunState::FinishMigrate);
        // Before the other side may start.
        self.locks.release();
        match self.write_mapped(channel, before == RunState::Running, Scope::Temporary) {
            Ok(summary) => {
                self.run_state = RunState::PostMigrate;
                Ok(Report { summary, rounds: 1, total: started.elapsed(), downtime: started.elapsed() })
            }
            Err(error) => {
                self.stay(before, &error)?;
                Err(error)
            }
        }
    }

    pub(super) fn write_mapped(
        &self,
        channel: &Channel,
        running: bool,
        disks: Scope,
    ) -> Result<Summary, SnapshotError> {
        let mut sink = channel.create()?;
        let Some(file) = sink.file() else {
            return Err(SnapshotError::Refused("RAM can be mapped in files only: mapped-ram is for file:PATH".into()));
        };
        let disks = Disk::kept(&self.kept.disks, disks);
        let summary = save_mapped(file, &self.identity(), &self.machine_state(running)?, &self.board.ram, &disks)?;
        sink.commit()?;
        Ok(summary)
    }

    /// Whether the machine may leave this program.
    pub(super) fn can_move(&self) -> Result<(), String> {
        if self.moves.outgoing.is_some() {
            return Err("the machine is being moved already".into());
        }
        if self.run_state == RunState::InMigrate {
            return Err("the guest is not here yet".into());
        }
        Ok(())
    }

    /// Begins to wait for a guest from `channel`.
    ///
    /// # Errors
    /// There is no way from there; or there is a guest.
    pub fn migrate_incoming(&mut self, channel: Channel) -> Result<(), String> {
        if self.run_state != RunState::InMigrate {
            return Err("this machine was not started to wait for a guest (-incoming)".into());
        }
        if self.moves.incoming.is_some() {
            return Err("the machine waits for a guest already".into());
        }
        self.expect(channel).map_err(|error| crate::error_chain(&error))
    }

    /// The same at the start.
    pub(super) fn expect(&mut self, channel: Channel) -> Result<(), MachineError> {
        let failed = |channel: &Channel, source| MachineError::Incoming { channel: channel.to_string(), source };
        let shared = self.config.ram.share;
        if matches!(channel, Channel::File { map: true, .. }) && shared {
            let what = "map=on would hide the guest's RAM from those who share its memory backend".to_owned();
            return Err(failed(&channel, SnapshotError::Refused(what)));
        }
        let listening = channel.listen().map_err(|error| failed(&channel, error))?;
        let loader = self.loader();
        let work = move || {
            let (source, answer) = listening.accept()?;
            let (loaded, stream, file) = match source {
                Source::File(file, true) => (loader.file(&file, Pages::Map), None, Some(file)),
                Source::File(file, false) => (loader.file(&file, Pages::Copy), None, Some(file)),
                Source::Stream(mut stream) => (loader.stream(&mut stream), Some(stream), None),
            };
            let whole = loaded.and_then(|loaded| {
                let descriptors = stream.as_ref().map(Stream::descriptors).unwrap_or_default();
                let shared = loaded.arrived.with(descriptors)?;
                Ok((loaded.machine, loaded.state, loaded.has_images, shared))
            });
            match whole {
                Ok((Identity { writer, engine, .. }, state, has_images, shared)) => {
                    let guest = Guest { writer, engine, running: state.run.running };
                    let images = file.filter(|_| has_images);
                    Ok((Arrival { guest, shared, stream, images, answer }, state))
                }
                Err(error) => {
                    answer.give(Err(&error))?;
                    Err(error)
                }
            }
        };
        let loaded = Work::start("incoming", &self.control, work);
        let loaded = loaded.map_err(|source| MachineError::Host { what: "start a thread", source })?;
        self.moves.incoming = Some(Incoming { channel, stage: Arriving::Loading(loaded) });
        Ok(())
    }

    /// Goes on with what a thread has done. Called whenever somebody wants attention.
    pub(super) fn look_after_moves(&mut self) -> Result<(), MachineError> {
        if let Err(text) = self.look_after_leaving() {
            tracing::warn!("{text}");
        }
        if let Some(Incoming { channel, stage }) = self.moves.incoming.take() {
            let text = channel.to_string();
            let next = match stage {
                Arriving::Loading(work) => match work.poll() {
                    None => Ok(Some(Arriving::Loading(work))),
                    Some(loaded) => loaded.and_then(|(arrival, state)| self.check_arrival(arrival, state)),
                },
                Arriving::Agreeing(work) => match work.poll() {
                    None => Ok(Some(Arriving::Agreeing(work))),
                    Some(agreed) => agreed.and_then(|arrival| self.take_over(arrival)),
                },
                Arriving::Placing(guest, work) => match work.poll() {
                    None => Ok(Some(Arriving::Placing(guest, work))),
                    Some(placed) => placed.map_err(half_placed).map(|()| self.welcome(&guest)),
                },
            };
            let next = next.map_err(|source| MachineError::Incoming { channel: text, source })?;
            self.moves.incoming = next.map(|stage| Incoming { channel, stage });
        }
        Ok(())
    }

    /// Starts a thread of a guest's that comes in.
    fn start_incoming<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Work<T>, SnapshotError> {
        let host = |source| SnapshotError::Host { what: "start a thread".to_owned(), source };
        Work::start("incoming", &self.control, work).map_err(host)
    }

    /// The guest is here, if it is one for this machine; and it goes on here, if the other side agrees.
    fn check_arrival(&mut self, mut arrival: Arrival, state: MachineState) -> Result<Option<Arriving>, SnapshotError> {
        let nothing = Shared::new();
        let fits = self.check_shared(arrival.shared.as_ref().unwrap_or(&nothing)).and_then(|()| self.restore(state));
        if let Err(error) = fits {
            arrival.answer.give(Err(&error))?;
            return Err(error);
        }
        if matches!(arrival.answer, Answer::Nobody) {
            return self.take_over(arrival);
        }
        let with = arrival.shared.as_ref().is_some_and(|shared| !shared.is_empty());
        let agreed = self.start_incoming(move || {
            let Arrival { stream, answer, .. } = &mut arrival;
            match answer.confirm(stream.as_mut(), with) {
                Ok(()) => Ok(arrival),
                Err(error) => {
                    arrival.answer.give(Err(&error))?;
                    Err(error)
                }
            }
        })?;
        Ok(Some(Arriving::Agreeing(agreed)))
    }

    /// The guest is nowhere else any more. It is here, but for what is missing of its disks' images.
    fn take_over(&mut self, arrival: Arrival) -> Result<Option<Arriving>, SnapshotError> {
        let Arrival { guest, shared, images, answer, .. } = arrival;
        // Before anybody writes to an image.
        if let Err(error) = self.locks.take() {
            let error = SnapshotError::Refused(crate::error_chain(&error));
            answer.give(Err(&error))?;
            return Err(error);
        }
        self.adopt(shared.unwrap_or_default());
        answer.give(Ok(()))?;
        let Some(file) = images else { return Ok(self.welcome(&guest)) };
        let loader = self.loader();
        Ok(Some(Arriving::Placing(guest, self.start_incoming(move || loader.images(&file))?)))
    }

    /// The guest goes on here. Nothing is left to be done.
    fn welcome(&mut self, guest: &Guest) -> Option<Arriving> {
        tracing::info!(guest.writer, guest.engine, "the guest is here");
        if guest.running && !self.config.starts_stopped {
            self.start();
            self.events.push(Event::Resume);
        } else {
            self.run_state = RunState::Paused;
        }
        None
    }
}

/// The images of disks were written to, and are not whole.
pub(super) fn half_placed(error: SnapshotError) -> SnapshotError {
    let error = crate::error_chain(&error);
    SnapshotError::Refused(format!("{error}; its disks are not what they were, and the snapshot is still there"))
}
