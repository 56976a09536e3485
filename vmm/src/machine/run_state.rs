//! Whether the machine runs, and why not.

use devices::virtio::blk::Answer;

use super::Machine;
use crate::config::{OnReboot, OnShutdown};
use crate::monitor::event::Event;

/// Why nothing is to be done with a machine in [`RunState::InternalError`].
pub(super) const HALF_LOADED: &str = "a snapshot was loaded by half: the machine has to be reset first, or to load one";

/// As QMP's `RunState` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Built, and not started yet (`-S`), or reset while it stood.
    Prelaunch,
    Running,
    /// A monitor stopped it.
    Paused,
    /// A disk's image has failed.
    IoError,
    /// A debugger did.
    Debug,
    /// Waits for a snapshot (`-incoming`).
    InMigrate,
    /// Stands still while it is decided who goes on with the guest.
    FinishMigrate,
    /// It went to another program, which may be running it.
    PostMigrate,
    /// Stands still while a snapshot is put into its place.
    RestoreVm,
    /// Stands still while it is saved.
    SaveVm,
    /// It is neither what it was nor what a snapshot has.
    InternalError,
    /// The guest has powered off, and the program stays (`-no-shutdown`).
    Shutdown,
}

impl RunState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::IoError => "io-error",
            Self::Debug => "debug",
            Self::InMigrate => "inmigrate",
            Self::FinishMigrate => "finish-migrate",
            Self::PostMigrate => "postmigrate",
            Self::RestoreVm => "restore-vm",
            Self::SaveVm => "save-vm",
            Self::InternalError => "internal-error",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether a machine that stands like this may go on.
    pub(super) fn may_go_on(self) -> Result<(), String> {
        match self {
            Self::Shutdown => Err("the guest has powered off: the machine has to be reset first".into()),
            Self::InternalError => Err(HALF_LOADED.into()),
            Self::InMigrate => Err("the guest is not here yet".into()),
            Self::FinishMigrate => {
                Err("the guest is being moved; migrate_cancel gives that up, if it is not too late".into())
            }
            Self::Running
            | Self::Prelaunch
            | Self::Paused
            | Self::IoError
            | Self::Debug
            | Self::PostMigrate
            | Self::RestoreVm
            | Self::SaveVm => Ok(()),
        }
    }
}

impl Machine {
    pub fn run_state(&self) -> RunState {
        self.run_state
    }

    /// Stops everything: from its return on nothing of the machine changes, and its time stands still.
    pub fn stop(&mut self, state: RunState) {
        if self.run_state == RunState::Running {
            self.harts.stop();
            // Who else has come to a breakpoint by then comes to it again.
            self.forget_debug_stops();
            if let Err(error) = self.keep_time() {
                tracing::warn!("the guest's time is not known: {error}");
            }
            self.board.stop();
            self.board.clock.pause();
            self.events.push(Event::Stop);
        }
        self.run_state = state;
    }

    /// What follows when the guest reboots or powers off, from now on.
    pub fn set_actions(&mut self, reboot: Option<OnReboot>, shutdown: Option<OnShutdown>) {
        self.config.on_reboot = reboot.unwrap_or(self.config.on_reboot);
        self.config.on_shutdown = shutdown.unwrap_or(self.config.on_shutdown);
    }

    /// The guest's time may be another one than the machine's, if it is the host's hardware that tells it. What the guest has
    /// seen does not come again. The harts are stopped.
    ///
    /// # Errors
    /// A hart has failed, or does not tell.
    pub(super) fn keep_time(&self) -> Result<(), String> {
        let clock = &self.board.clock;
        if clock.is_paused() {
            return Ok(());
        }
        let now = self.harts.on(0, |vcpu| vcpu.time())?.map_err(|error| crate::error_chain(&error))?;
        if let Some(now) = now.filter(|now| *now > clock.now()) {
            clock.set(now);
        }
        Ok(())
    }

    /// Stops a machine that runs; another one stays what it is. One that is moved, saved or loaded stands, and stays so if it
    /// stays here.
    pub fn interrupt(&mut self, state: RunState) {
        if self.run_state == RunState::InMigrate {
            self.config.starts_stopped = true;
        }
        self.stop_afterwards(state);
        self.stand_afterwards(state);
        if self.run_state == RunState::Running {
            self.stop(state);
        }
    }

    /// What harts have stopped for, and was not told yet, is not told. The harts are stopped.
    pub fn forget_debug_stops(&self) {
        self.control.forget_debug_stops();
    }

    /// Goes on after [`Machine::stop`]; where the guest has still to come, when it is here.
    ///
    /// # Errors
    /// The machine has to be reset first.
    pub fn cont(&mut self) -> Result<(), String> {
        if self.run_state == RunState::InMigrate {
            self.config.starts_stopped = false;
            return Ok(());
        }
        self.cont_with(true)
    }

    /// The same; without `time` the machine's time stands still meanwhile.
    ///
    /// # Errors
    /// The machine has to be reset first.
    pub fn cont_with(&mut self, time: bool) -> Result<(), String> {
        if self.run_state == RunState::Running {
            return Ok(());
        }
        if let Some(why) = self.is_kept_still() {
            // It goes on by itself then, with its time.
            return if time { self.go_on_afterwards() } else { Err(why) };
        }
        self.run_state.may_go_on()?;
        // It may have been taken elsewhere; then its disks are in use.
        self.locks.take().map_err(|error| crate::error_chain(&error))?;
        self.start_with(time);
        self.events.push(Event::Resume);
        Ok(())
    }

    /// What was stopped for a while goes on, or is in this state from now on.
    pub(super) fn go_back_to(&mut self, state: RunState) {
        match state {
            RunState::Running => {
                self.start();
                self.events.push(Event::Resume);
            }
            _ => self.run_state = state,
        }
    }

    /// Lets everything run.
    pub(super) fn start(&mut self) {
        self.start_with(true);
    }

    fn start_with(&mut self, time: bool) {
        self.run_state = RunState::Running;
        // Disks try again what they have stopped for.
        self.control.forget_io_errors();
        self.io_status.clear();
        if time {
            self.let_time_pass();
        }
        self.board.resume();
        self.harts.run();
    }

    /// Time goes on, in a machine that runs.
    pub fn let_time_pass(&mut self) {
        if self.run_state == RunState::Running {
            self.board.clock.resume();
            self.board.wires.clock_changed();
        }
    }

    /// Holds the harts while something is asked of them or of memory; a running machine runs on afterwards, and its time
    /// goes on meanwhile.
    pub fn with_harts_stopped<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let runs = self.run_state == RunState::Running;
        if runs {
            self.harts.stop();
        }
        let result = f(self);
        // A hart that asked for something does not run on behind that.
        if runs && self.run_state == RunState::Running && !self.control.is_asked() {
            self.harts.run();
        }
        result
    }

    /// What disks have to tell comes before what follows from it.
    pub(super) fn hear_disks(&mut self) {
        for event in self.control.take_told() {
            if let Event::BlockIoError(error) = &event {
                tracing::warn!("{error}");
                if error.error.answer == Answer::Stop {
                    self.io_status.insert(error.drive.clone(), if error.error.full { "nospace" } else { "failed" });
                }
            }
            self.events.push(event);
        }
    }

    /// QMP's `BlockDeviceIoStatus` of a drive: that of what the machine has stopped for.
    pub fn io_status(&self, drive: &str) -> &'static str {
        self.io_status.get(drive).copied().unwrap_or("ok")
    }

    /// What happened since the last call of [`Machine::take_events`].
    pub fn untold(&self) -> &[Event] {
        &self.events
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.hear_disks();
        std::mem::take(&mut self.events)
    }
}
