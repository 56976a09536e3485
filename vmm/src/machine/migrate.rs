//! Moves a machine: out of this program while it runs (pre-copy), and into it.
//!
//! A thread of its own copies RAM, then again what was written to meanwhile, until what is left is soon copied. Then the
//! main thread stops the machine, copies that and the state, and the guest lives elsewhere. Until the other side has
//! taken it, whatever fails, the machine goes on here.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use accel::{DirtyPages, GuestRam, Vm};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::{Machine, MachineError, RunState};
use crate::control::Control;
use crate::monitor::event::Event;
use crate::snapshot::{
    Answer, Channel, Disk, Identity, Loaded, Pages, Saver, Scope, Sink, SnapshotError, Source, Summary, Tracked,
    save_mapped,
};

/// Most rounds over pages that a guest goes on writing to.
const ROUNDS_MAX: u32 = 30;
/// How long the guest may stand still, as far as that can be told beforehand.
const DOWNTIME: Duration = Duration::from_millis(300);

/// What others may look at while RAM is copied.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    rounds: AtomicU64,
    cancelled: AtomicBool,
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
    },
    Ended(Outcome),
}

type Copied = (Saver<Sink>, DirtyPages, Tracked);

struct Outgoing {
    channel: Channel,
    progress: Arc<Progress>,
    started: Instant,
    copied: Work<Copied>,
}

struct Incoming {
    channel: Channel,
    stage: Stage,
}

/// A guest, who waits for an answer, and the file that it comes from if there are contents of images in it.
type Arrived = (Loaded, Answer, Option<File>);

enum Stage {
    Coming(Work<Arrived>),
    /// All but the images of its disks is in place.
    Placing(Guest, Work<()>),
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
        progress.cancelled.load(Ordering::Relaxed)
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

impl Machine {
    /// How the last move stands.
    pub fn migration(&self) -> Status {
        match (&self.moves.outgoing, &self.moves.incoming, &self.moves.last) {
            (Some(out), ..) => Status::Active {
                bytes: out.progress.bytes.load(Ordering::Relaxed),
                rounds: out.progress.rounds.load(Ordering::Relaxed),
                total: out.started.elapsed(),
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
        let saver = begin().map_err(|error| text(&error))?;
        self.harts.vm().start_dirty_log().map_err(|error| crate::error_chain(&error))?;
        let progress = Arc::new(Progress::default());
        let (ram, vm, theirs) = (Arc::clone(&self.board.ram), self.harts.vm(), Arc::clone(&progress));
        let disks = Tracked::start(&disks);
        let work = Work::start("migration", &self.control, move || copy_most(saver, &ram, disks, &*vm, &theirs));
        let copied = work.map_err(|error| format!("cannot start a thread: {error}"))?;
        self.moves.outgoing = Some(Outgoing { channel, progress, started: Instant::now(), copied });
        Ok(())
    }

    /// Whether a move is under way.
    pub fn is_moving(&self) -> bool {
        self.moves.outgoing.is_some()
    }

    fn end_move(&mut self, out: Outgoing, copied: Result<Copied, SnapshotError>) -> Result<(), String> {
        let Outgoing { channel, progress, started, .. } = out;
        let cancelled = progress.cancelled.load(Ordering::Relaxed);
        let outcome =
            match (cancelled, copied) {
                (true, _) => None,
                (false, copied) => {
                    Some(copied.and_then(|copied| {
                        let rounds = progress.rounds.load(Ordering::Relaxed);
                        self.hand_over(move |m, running| m.copy_rest(copied, running))
                            .map(|(summary, downtime)| Report { summary, rounds, total: started.elapsed(), downtime })
                    }))
                }
            };
        if let Err(error) = self.harts.vm().stop_dirty_log() {
            tracing::warn!("{}", crate::error_chain(&error));
        }
        match outcome {
            Some(outcome) => self.settle_move(&channel, outcome),
            None => {
                self.moves.last = Some(Outcome::Cancelled);
                Ok(())
            }
        }
    }

    /// Gives the move under way up.
    pub fn cancel_migration(&mut self) {
        if let Some(out) = &self.moves.outgoing {
            out.progress.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// The program ends: half a file is removed, and so is a socket that nobody came to.
    pub(super) fn abandon_moves(&mut self) {
        self.cancel_migration();
        if let Some(Outgoing { channel: Channel::File { .. }, copied, .. }) = self.moves.outgoing.take() {
            // Soon: it looks at the wish behind every chunk.
            drop(copied.wait());
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

    /// Stops the machine and has `write` write it, or what is left of it. It stays stopped if it was taken.
    pub(super) fn hand_over(
        &mut self,
        write: impl FnOnce(&mut Self, bool) -> Result<Summary, SnapshotError>,
    ) -> Result<(Summary, Duration), SnapshotError> {
        let running = self.run_state == RunState::Running;
        let before = self.run_state;
        let stopped = Instant::now();
        self.stop(if running { RunState::Paused } else { before });
        // Before the other side may start.
        self.locks.release();
        match write(self, running) {
            Ok(summary) => {
                self.run_state = RunState::PostMigrate;
                Ok((summary, stopped.elapsed()))
            }
            Err(error) => {
                if let Err(lost) = self.locks.take() {
                    let lost = crate::error_chain(&lost);
                    let error = crate::error_chain(&error);
                    return Err(SnapshotError::Refused(format!("{error}; and the guest cannot go on: {lost}")));
                }
                if running {
                    self.start();
                    self.events.push(Event::Resume);
                }
                Err(error)
            }
        }
    }

    /// The last pages and the state; returns when the other side has all of it.
    fn copy_rest(&self, (mut saver, mut left, disks): Copied, running: bool) -> Result<Summary, SnapshotError> {
        let log = |error: accel::AccelError| SnapshotError::Refused(crate::error_chain(&error));
        left.merge(&self.harts.vm().take_dirty_log().map_err(log)?);
        copy_written(&mut saver, &disks, &|_| false)?;
        saver.dirty(&self.board.ram, &left, &|_| false)?;
        saver.state(&self.machine_state(running)?)?;
        let (sink, summary) = saver.finish()?;
        sink.commit()?;
        Ok(summary)
    }

    /// To a file whose RAM can be mapped: the machine stands still meanwhile.
    fn move_mapped(&mut self, channel: &Channel) -> Result<Report, SnapshotError> {
        let started = Instant::now();
        let write = |m: &mut Self, running| m.write_mapped(channel, running, Scope::Temporary);
        let (summary, downtime) = self.hand_over(write)?;
        Ok(Report { summary, rounds: 1, total: started.elapsed(), downtime })
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
            listening.accept().and_then(|(source, answer)| {
                let (loaded, file) = match source {
                    Source::File(file, true) => (loader.file(&file, Pages::Map), Some(file)),
                    Source::File(file, false) => (loader.file(&file, Pages::Copy), Some(file)),
                    Source::Stream(stream) => (loader.stream(stream), None),
                };
                match loaded {
                    Ok(loaded) => {
                        let file = file.filter(|_| loaded.has_images);
                        Ok((loaded, answer, file))
                    }
                    Err(error) => {
                        answer.give(Err(&error))?;
                        Err(error)
                    }
                }
            })
        };
        let loaded = Work::start("incoming", &self.control, work);
        let loaded = loaded.map_err(|source| MachineError::Host { what: "start a thread", source })?;
        self.moves.incoming = Some(Incoming { channel, stage: Stage::Coming(loaded) });
        Ok(())
    }

    /// Goes on with what a thread has done. Called whenever somebody wants attention.
    pub(super) fn look_after_moves(&mut self) -> Result<(), MachineError> {
        if let Some(copied) = self.moves.outgoing.as_ref().and_then(|out| out.copied.poll())
            && let Some(out) = self.moves.outgoing.take()
            && let Err(text) = self.end_move(out, copied)
        {
            tracing::warn!("{text}");
        }
        if let Some(Incoming { channel, stage }) = self.moves.incoming.take() {
            let text = channel.to_string();
            let next = match stage {
                Stage::Coming(work) => match work.poll() {
                    None => Ok(Some(Stage::Coming(work))),
                    Some(arrived) => arrived.and_then(|arrived| self.take_over(arrived)),
                },
                Stage::Placing(guest, work) => match work.poll() {
                    None => Ok(Some(Stage::Placing(guest, work))),
                    Some(placed) => placed.map_err(half_placed).map(|()| self.welcome(&guest)),
                },
            };
            let next = next.map_err(|source| MachineError::Incoming { channel: text, source })?;
            self.moves.incoming = next.map(|stage| Incoming { channel, stage });
        }
        Ok(())
    }

    /// The guest is here, but for what is missing of its disks' images.
    fn take_over(&mut self, (loaded, answer, file): Arrived) -> Result<Option<Stage>, SnapshotError> {
        let Loaded { machine: Identity { writer, engine, .. }, state, .. } = loaded;
        let guest = Guest { writer, engine, running: state.run.running };
        // Before anybody writes to an image.
        let locked = self.locks.take().map_err(|error| SnapshotError::Refused(crate::error_chain(&error)));
        let restored = locked.and_then(|()| self.restore(state));
        match &restored {
            Ok(()) => answer.give(Ok(()))?,
            Err(error) => answer.give(Err(error))?,
        }
        restored?;
        let Some(file) = file else { return Ok(self.welcome(&guest)) };
        let loader = self.loader();
        let work = Work::start("incoming", &self.control, move || loader.images(&file));
        let thread = |source| SnapshotError::Host { what: "start a thread".to_owned(), source };
        Ok(Some(Stage::Placing(guest, work.map_err(thread)?)))
    }

    /// The guest goes on here. Nothing is left to be done.
    fn welcome(&mut self, guest: &Guest) -> Option<Stage> {
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
