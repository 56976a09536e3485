//! What the world hears of disks whose images fail.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use devices::virtio::blk::{Answer, DiskError, DiskErrors};

use crate::control::{Control, Request};
use crate::monitor::event::Event;

/// A guest that does not give up may fail thousands of times a second; monitors hear of one in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// A drive's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveError {
    pub drive: String,
    /// The disk in front of it.
    pub device: String,
    pub error: DiskError,
}

impl std::fmt::Display for DriveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { drive, error, .. } = self;
        let what = if error.write { "write" } else { "read" };
        let then = match error.answer {
            Answer::Report => "the guest sees an I/O error",
            Answer::Ignore => "the guest does not hear of it",
            Answer::Stop => "the machine stops, and tries again on 'cont'",
        };
        write!(f, "drive '{drive}': a {what} failed: {}; {then}", error.reason)
    }
}

/// A disk's way to the machine.
pub struct Ears {
    drive: String,
    device: String,
    control: Arc<Control>,
    /// When monitors last heard of it.
    told: Mutex<Option<Instant>>,
}

impl Ears {
    /// Of the disk `device` over `drive`.
    pub fn new(drive: &str, device: &str, control: &Arc<Control>) -> Self {
        let (drive, device) = (drive.to_owned(), device.to_owned());
        Self { drive, device, control: Arc::clone(control), told: Mutex::default() }
    }

    /// Whether enough time has passed since the last one.
    fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|at| at.elapsed() >= PAUSE);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

impl DiskErrors for Ears {
    fn failed(&self, error: &DiskError) {
        // Who has stopped asks for what has happened.
        if error.answer == Answer::Stop || self.is_due() {
            let (drive, device) = (self.drive.clone(), self.device.clone());
            self.control.tell(Event::BlockIoError(DriveError { drive, device, error: error.clone() }));
        }
        if error.answer == Answer::Stop {
            self.control.request(Request::IoError);
        }
    }
}
