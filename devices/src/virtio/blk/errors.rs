//! What becomes of requests that the image has failed.

use std::io;

use crate::backend::block::Op;

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The driver gets an error.
    Report,
    /// The driver hears that all is well.
    Ignore,
    /// The machine stops; the request is tried again when it goes on.
    Stop,
    /// [`Self::Stop`] if the host's disk is full, else [`Self::Report`].
    StopIfFull,
}

/// By kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorPolicy {
    pub read: OnError,
    /// Everything but reads.
    pub write: OnError,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self { read: OnError::Report, write: OnError::StopIfFull }
    }
}

/// What was done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Report,
    Ignore,
    Stop,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskError {
    /// `false`: it was a read.
    pub write: bool,
    pub answer: Answer,
    /// The host's disk is full.
    pub full: bool,
    /// What the host says.
    pub reason: String,
}

/// Who hears of failures. Called on the worker's thread; calls nothing of the disk.
pub trait DiskErrors: Send + Sync {
    /// A request has failed. [`Answer::Stop`]: it waits in the disk, and the machine has to stop and go on for it to be tried
    /// again.
    fn failed(&self, error: &DiskError);
}

impl ErrorPolicy {
    pub(super) fn judge(&self, op: Op, error: &io::Error) -> DiskError {
        let write = op != Op::Read;
        let full = error.raw_os_error() == Some(libc::ENOSPC);
        let answer = match if write { self.write } else { self.read } {
            OnError::Report => Answer::Report,
            OnError::Ignore => Answer::Ignore,
            OnError::StopIfFull if !full => Answer::Report,
            OnError::Stop | OnError::StopIfFull => Answer::Stop,
        };
        // The standard library adds the number to the host's words.
        let text = error.to_string();
        let reason = text.rsplit_once(" (os error").map_or(&*text, |(words, _)| words).to_owned();
        DiskError { write, answer, full, reason }
    }
}
