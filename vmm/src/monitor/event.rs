//! What happens to a machine, as monitors tell of it.

use accel::debug::DebugStop;
use devices::virtio::blk::Answer;

use crate::disk_errors::DriveError;
use crate::machine::{DumpStatus, JobStatus, Reason, Switched};

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stop,
    Resume,
    /// It has stopped for a snapshot, and does not go on.
    Stands,
    Reset(Cause),
    Shutdown(Cause),
    /// The program ends where a reset was asked for.
    NoReboot(Cause),
    /// The guest goes on under another engine.
    Switched(Switched),
    /// The power button was pressed.
    Powerdown,
    /// A disk's image has failed.
    BlockIoError(DriveError),
    /// What becomes of a job ([`crate::machine::Job`]).
    JobStatus {
        id: String,
        status: JobStatus,
    },
    /// The guest's memory was written to a file, or was not.
    Dumped {
        status: DumpStatus,
        error: Option<String>,
    },
    /// A move goes on: QMP's `MigrationStatus`.
    Move(&'static str),
    /// So many rounds of a move are done.
    MovePass(u64),
    /// It should have gone back to one by itself, and why it did not.
    Stays(String),
    /// A hart has stopped for a debugger; the machine has, too.
    Debug {
        hart: u32,
        stop: DebugStop,
    },
}

/// Who wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Guest,
    /// A monitor's command.
    Monitor,
    Signal,
    /// Ctrl-A X.
    User,
    /// Something that the machine cannot live with.
    Failure,
}

impl Event {
    /// QMP's name; `None` for what it does not tell of.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Stop => "STOP",
            Self::Resume => "RESUME",
            Self::Reset(_) => "RESET",
            Self::Shutdown(_) | Self::NoReboot(_) => "SHUTDOWN",
            Self::Switched(_) => "__ORG.VIREO_ACCEL_CHANGE",
            Self::Powerdown => "POWERDOWN",
            Self::BlockIoError(_) => "BLOCK_IO_ERROR",
            Self::JobStatus { .. } => "JOB_STATUS_CHANGE",
            Self::Dumped { .. } => "DUMP_COMPLETED",
            Self::Move(_) => "MIGRATION",
            Self::MovePass(_) => "MIGRATION_PASS",
            Self::Stands | Self::Stays(_) | Self::Debug { .. } => return None,
        })
    }

    /// A line for people, of what nobody has asked for in so many words.
    pub fn news(&self) -> Option<String> {
        match self {
            Self::Switched(switched) if switched.reason != Reason::Request => Some(switched.to_string()),
            Self::Stays(why) => Some(why.clone()),
            Self::BlockIoError(error) if error.error.answer == Answer::Stop => Some(error.to_string()),
            _ => None,
        }
    }

    /// Whether the guest wanted it, and QMP's `ShutdownCause`.
    pub fn reason(&self) -> Option<(bool, &'static str)> {
        let (cause, resets) = match self {
            Self::Stop
            | Self::Resume
            | Self::Stands
            | Self::Powerdown
            | Self::Switched(_)
            | Self::Stays(_)
            | Self::BlockIoError(_)
            | Self::JobStatus { .. }
            | Self::Move(_)
            | Self::MovePass(_)
            | Self::Dumped { .. }
            | Self::Debug { .. } => return None,
            Self::Reset(cause) | Self::NoReboot(cause) => (*cause, true),
            Self::Shutdown(cause) => (*cause, false),
        };
        let reason = match cause {
            Cause::Guest if resets => "guest-reset",
            Cause::Guest => "guest-shutdown",
            Cause::Monitor if resets => "host-qmp-system-reset",
            Cause::Monitor => "host-qmp-quit",
            Cause::Signal => "host-signal",
            Cause::User => "host-ui",
            Cause::Failure => "host-error",
        };
        Some((cause == Cause::Guest, reason))
    }
}
