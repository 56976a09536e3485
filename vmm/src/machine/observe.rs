//! What a machine shows of itself while it runs: the engine's part of the log, and samples.

use std::path::PathBuf;
use std::sync::Arc;

use accel::trace::{Symbols, TraceConfig, TraceItems};
use accel::{AccelError, Vcpu};

use super::{Machine, MachineError, Need};
use crate::config::{LogConfig, MachineConfig};
use crate::log;
use crate::profile::recorder::{Guest, Recorder, Wanted};
use crate::profile::recording::Recording;
use crate::profile::report;
use crate::profile::symbols::SymbolTable;

/// Samples of the harts: those that are being taken, or were taken last.
#[derive(Default)]
pub enum Profile {
    #[default]
    None,
    Taking(Recorder),
    Taken(Recording),
}

/// The engine's part of the log.
///
/// # Errors
/// A file of symbols that is none.
fn trace_config(log: &LogConfig, config: &MachineConfig) -> Result<Arc<TraceConfig>, String> {
    let filter = log.filter.clone();
    let mut symbols = SymbolTable::default();
    if !log.items.is_empty() {
        // A kernel or firmware that is no ELF file has no names.
        let own = config.boot.bios.file().into_iter().chain(config.boot.kernel.as_deref());
        own.for_each(|path| {
            let _ = symbols.add_elf(path, None);
        });
        for path in &filter.symbols {
            symbols.add_any(path)?;
        }
    }
    let symbols = (!symbols.is_empty()).then(|| Arc::new(symbols) as Arc<dyn Symbols>);
    let (ranges, harts, modes) = (filter.ranges, filter.harts, filter.modes);
    Ok(Arc::new(TraceConfig { items: log.items, ranges, harts, modes, symbols }))
}

/// Has new vCPUs show what the configuration asks for.
pub(super) fn trace(config: &MachineConfig, vcpus: &mut [Box<dyn Vcpu>]) -> Result<(), MachineError> {
    if config.log.items.is_empty() {
        return Ok(());
    }
    let trace = trace_config(&config.log, config).map_err(|m| MachineError::Failed(format!("-d symbols=: {m}")))?;
    vcpus.iter_mut().try_for_each(|vcpu| vcpu.set_trace(&trace)).map_err(MachineError::Accel)
}

/// Why a log is not shown.
struct Refused {
    /// Another engine may show it.
    lacking: bool,
    message: String,
}

impl Machine {
    /// What is logged.
    pub fn log(&self) -> &LogConfig {
        &self.config.log
    }

    /// Logs that from now on.
    ///
    /// # Errors
    /// The engine cannot show it, or a file has no symbols; then all stays as it was.
    pub fn set_log(&mut self, new: LogConfig) -> Result<(), String> {
        let trace = trace_config(&new, &self.config)?;
        match self.show(&trace, &new) {
            Err(Refused { lacking: true, message }) => {
                self.go_for(Need::Log, message)?;
                if let Err(Refused { message, .. }) = self.show(&trace, &new) {
                    self.go_back();
                    return Err(message);
                }
            }
            done => done.map_err(|refused| refused.message)?,
        }
        let old = std::mem::replace(&mut self.config.log, new);
        if !old.items.is_empty() {
            self.go_back();
        }
        Ok(())
    }

    fn show(&mut self, trace: &Arc<TraceConfig>, new: &LogConfig) -> Result<(), Refused> {
        let failed = |message| Refused { lacking: false, message };
        self.with_harts_stopped(|machine| {
            for hart in 0..machine.hart_count() {
                let trace = Arc::clone(trace);
                let done = machine.harts.on(hart, move |vcpu| vcpu.set_trace(&trace)).map_err(failed)?;
                done.map_err(|error| Refused { lacking: error.is_unsupported(), message: crate::error_chain(&error) })?;
            }
            log::switch(new).map_err(failed)
        })
    }

    /// The engine's part of the log, which the command line has asked for, of a machine that was not switched on yet.
    ///
    /// # Errors
    /// The guest cannot go where that can be shown.
    pub(super) fn start_log(&mut self, items: TraceItems) -> Result<(), String> {
        self.config.log.items = items;
        if items.is_empty() { Ok(()) } else { self.go_for(Need::Log, format!("{} does not log code", self.engine)) }
    }

    /// Samples harts from now on.
    ///
    /// # Errors
    /// They are sampled already, or the engine cannot.
    pub fn start_profile(&mut self, wanted: Wanted) -> Result<(), String> {
        if matches!(self.profile, Profile::Taking(_)) {
            return Err("the harts are being sampled; profile stop ends that".into());
        }
        let guest = Guest { ram: Arc::clone(&self.board.ram), isa: self.isa().clone() };
        let recorder = Recorder::start(wanted, self.hart_count(), guest);
        let recorder = recorder.map_err(|e| format!("cannot start a thread for samples: {e}"))?;
        let done = self.sample(Some(&recorder));
        if done.is_err() {
            // None of them, then; what failed once may fail again.
            let _ = self.sample(None);
        } else {
            self.profile = Profile::Taking(recorder);
        }
        done
    }

    fn sample(&mut self, recorder: Option<&Recorder>) -> Result<(), String> {
        self.with_harts_stopped(|machine| machine.tell_harts(recorder))
    }

    /// Has the harts change what runs them: whoever samples them begins anew with that, or with what was there before. The harts
    /// are stopped.
    pub(super) fn without_samples<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        if !matches!(self.profile, Profile::Taking(_)) {
            return f(self);
        }
        if let Err(message) = self.tell_harts(None) {
            tracing::warn!("profile: {message}");
        }
        let result = f(self);
        if let Profile::Taking(recorder) = &self.profile
            && let Err(message) = self.tell_harts(Some(recorder))
        {
            tracing::warn!("profile: {message}; there are no more samples of some harts");
        }
        result
    }

    /// Has the harts, which are stopped, be sampled or not.
    fn tell_harts(&self, recorder: Option<&Recorder>) -> Result<(), String> {
        for hart in 0..self.hart_count() {
            let config = recorder.and_then(|recorder| recorder.config(hart));
            let done = self.harts.on(hart, move |vcpu| vcpu.set_profile(config.as_ref()));
            done?.map_err(|error: AccelError| crate::error_chain(&error))?;
        }
        Ok(())
    }

    /// Ends that, and writes the samples to `file`, or where the start has said; also those that were taken last.
    /// The answer is for people.
    ///
    /// # Errors
    /// There are no samples, or they cannot be written; they are kept then.
    pub fn stop_profile(&mut self, file: Option<PathBuf>) -> Result<String, String> {
        if matches!(self.profile, Profile::Taking(_))
            && let Err(message) = self.sample(None)
        {
            tracing::warn!("profile: {message}");
        }
        self.keep_profile(file)
    }

    /// The same when the harts have been told.
    fn keep_profile(&mut self, file: Option<PathBuf>) -> Result<String, String> {
        let (recording, file) = match std::mem::take(&mut self.profile) {
            Profile::None => return Err("nothing has been sampled; profile start begins".into()),
            Profile::Taken(recording) => (recording, file),
            Profile::Taking(recorder) => {
                let file = file.or_else(|| recorder.wanted.file.clone());
                (recorder.finish(), file)
            }
        };
        let written = match &file {
            None => Ok(()),
            Some(path) => crate::files::refuse_pipe(path)
                .map_err(|error| format!("cannot write '{}': {error}", path.display()))
                .and_then(|()| recording.write(path)),
        };
        let mut text = report::summary(&recording);
        self.profile = Profile::Taken(recording);
        written?;
        text.push_str(&match file {
            Some(path) => format!("written to '{}'; vireo profile reads it\n", path.display()),
            None => "profile stop file=PATH writes it, vireo profile reads that\n".to_owned(),
        });
        Ok(text)
    }

    /// Writes the samples of a machine that ends where its user has wanted them.
    pub(super) fn end_profile(&mut self) {
        if let Profile::Taking(recorder) = &self.profile
            && recorder.wanted.file.is_some()
        {
            self.harts.stop();
            if let Err(message) = self.tell_harts(None).and_then(|()| self.keep_profile(None).map(drop)) {
                tracing::warn!("profile: {message}");
            }
        }
    }

    /// How it stands, in a line.
    pub fn profile_status(&self) -> String {
        match &self.profile {
            Profile::None => "not running; nothing has been sampled".to_owned(),
            Profile::Taking(recorder) => format!("running: {}", recorder.status()),
            Profile::Taken(recording) => {
                format!("not running; {} samples are kept", recording.samples())
            }
        }
    }
}
