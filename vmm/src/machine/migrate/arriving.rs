//! Into this program, which waits for a guest.

use std::fs::File;
use std::sync::Arc;

use devices::chardev::{BackendConfig, ChardevConfig};

use super::Outcome;
use crate::config::MonitorMode;
use crate::machine::work::Work;
use crate::machine::{Machine, MachineError, RunState};
use crate::progress_line::{EVERY, ProgressLine};
use crate::snapshot::{
    Answer, Channel, Identity, Listening, Loader, MachineState, Pages, Progress, Shared, SnapshotError, Source, Stream,
};

pub(super) struct Incoming {
    channel: Channel,
    stage: Arriving,
    /// Of a file that is read.
    progress: Arc<Progress>,
    line: Option<ProgressLine>,
}

/// How far it is.
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
    /// The file that it comes from if there are contents of images in it, which have to be read, too.
    images: Option<(File, Arc<Progress>)>,
    answer: Answer,
}

/// Who came.
struct Guest {
    writer: String,
    engine: String,
    running: bool,
}

impl Incoming {
    /// The program ends: a socket that nobody came to is removed.
    pub(super) fn abandon(self) {
        if let Channel::Unix(path) = self.channel {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Machine {
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
    pub(in crate::machine) fn expect(&mut self, channel: Channel) -> Result<(), MachineError> {
        let failed = |channel: &Channel, source| MachineError::Incoming { channel: channel.to_string(), source };
        let shared = self.config.ram.share;
        if matches!(channel, Channel::File { map: true, .. }) && shared {
            let what = "map=on would hide the guest's RAM from those who share its memory backend".to_owned();
            return Err(failed(&channel, SnapshotError::Refused(what)));
        }
        let listening = channel.listen().map_err(|error| failed(&channel, error))?;
        let (line, progress) = self.watch(&channel, &listening);
        let loader = Loader { progress: Arc::clone(&progress), ..self.loader() };
        let work = move || {
            let (source, mut answer) = listening.accept()?;
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
                    let images = file.filter(|_| has_images).map(|file| (file, loader.progress));
                    Ok((Arrival { guest, shared, stream, images, answer }, state))
                }
                Err(error) => {
                    let error = answer.explain(error);
                    answer.give(Err(&error))?;
                    Err(error)
                }
            }
        };
        let loaded = self.start_incoming(work).map_err(|error| failed(&channel, error))?;
        let stage = Arriving::Loading(loaded);
        self.moves.incoming = Some(Incoming { channel, stage, progress, line });
        self.show_arriving();
        self.tell_move();
        Ok(())
    }

    /// How far a file is read, and the line that tells of it where somebody sees it.
    fn watch(&self, channel: &Channel, listening: &Listening) -> (Option<ProgressLine>, Arc<Progress>) {
        let bytes = match listening {
            Listening::File(file, false) => file.metadata().map_or(0, |data| data.len()),
            _ => 0,
        };
        // A monitor there has the lines.
        let is_terminals = |id: &str| {
            let is_stdio = |c: &ChardevConfig| c.id == id && matches!(c.backend, BackendConfig::Stdio { .. });
            self.config.chardevs.iter().any(is_stdio) && !self.chardevs.find(id).is_shared()
        };
        let mut monitors = self.config.monitors.iter().filter(|monitor| monitor.mode == MonitorMode::Readline);
        let is_free = bytes > 0 && !monitors.any(|monitor| is_terminals(&monitor.chardev));
        let line = is_free.then(|| ProgressLine::new(format!("loading '{channel}'"))).flatten();
        (line, Arc::new(Progress::of(bytes)))
    }

    /// Shows how far it is, and will be called for that again.
    fn show_arriving(&mut self) {
        if let Some(Incoming { progress, line: Some(line), .. }) = &mut self.moves.incoming {
            let (done, total) = progress.now();
            line.show(done, total);
            self.call_monitors(EVERY);
        }
    }

    /// Goes on with what a thread has done.
    pub(super) fn look_after_arriving(&mut self) -> Result<(), MachineError> {
        if let Some(Incoming { channel, stage, progress, mut line }) = self.moves.incoming.take() {
            let text = channel.to_string();
            // What follows may have the terminal.
            let mut erase = || line.iter_mut().for_each(ProgressLine::erase);
            let next = match stage {
                Arriving::Loading(work) => match work.poll().inspect(|_| erase()) {
                    None => Ok(Some(Arriving::Loading(work))),
                    Some(loaded) => loaded.and_then(|(arrival, state)| self.check_arrival(arrival, state)),
                },
                Arriving::Agreeing(work) => match work.poll() {
                    None => Ok(Some(Arriving::Agreeing(work))),
                    Some(agreed) => agreed.and_then(|arrival| self.take_over(arrival)),
                },
                Arriving::Placing(guest, work) => match work.poll().inspect(|_| erase()) {
                    None => Ok(Some(Arriving::Placing(guest, work))),
                    Some(placed) => placed.map_err(half_placed).map(|()| self.welcome(&guest)),
                },
            };
            let next = next.map_err(|source| MachineError::Incoming { channel: text, source })?;
            self.moves.incoming = next.map(|stage| Incoming { channel, stage, progress, line });
            self.show_arriving();
        }
        Ok(())
    }

    /// Starts a thread of a guest's that comes in.
    fn start_incoming<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<Work<T>, SnapshotError> {
        Work::start("incoming", &self.control, work)
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
        let Some((file, progress)) = images else { return Ok(self.welcome(&guest)) };
        let (_, bytes) = progress.now();
        progress.reach(bytes);
        progress.expect(2 * bytes);
        let loader = Loader { progress, ..self.loader() };
        Ok(Some(Arriving::Placing(guest, self.start_incoming(move || loader.images(&file))?)))
    }

    /// The guest goes on here. Nothing is left to be done.
    fn welcome(&mut self, guest: &Guest) -> Option<Arriving> {
        tracing::info!(guest.writer, guest.engine, "the guest is here");
        self.moves.last = Some(Outcome::Arrived);
        let runs = guest.running && !self.config.starts_stopped;
        self.go_back_to(if runs { RunState::Running } else { RunState::Paused });
        None
    }
}

/// The images of disks were written to, and are not whole.
fn half_placed(error: SnapshotError) -> SnapshotError {
    let error = crate::error_chain(&error);
    SnapshotError::Refused(format!("{error}; its disks are not what they were, and the snapshot is still there"))
}
