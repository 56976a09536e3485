//! Who has the guest: this program or another. It is decided once, and never for both.
//!
//! The writer stops its guest and sends the rest. From then on, over a socket:
//!
//! | Writer                                    | Reader                                                          |
//! |-------------------------------------------|-----------------------------------------------------------------|
//! | waits; may still give up ([`Decision::cancel`]) | has taken all of it and checked it, and says [`READY`]     |
//! | decides ([`Decision::give`]), says [`GO`] | waits; runs nothing, and has no image's lock                    |
//! | waits; does not run the guest any more    | takes the locks and descriptors, says [`TAKEN`], and goes on    |
//!
//! - Before [`GO`] the writer may go on with its guest for any reason: a reader that is not told to go ends.
//! - Behind it the writer goes on only if the reader has certainly not: it said why it does not, or it hung up without
//!   [`TAKEN`], which it says before the guest runs. One that is silent, or a network that breaks, leaves the guest
//!   standing here: the user knows more, and `cont` goes on with it.
//!
//! A program (`exec:`) decides by its exit status, and a file by being there: the writer cannot give up any more once the
//! program has its input, or the file is on its way to its place. To a pipe or a file that was handed over (`fd:`) the last byte
//! goes when the writer has decided, and a reader without it has nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::error::SnapshotError;

/// How long the other side of a socket may be silent.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The reader has everything; the guest's descriptors with it, or without. Anything else is a message.
pub const READY: [&[u8; 6]; 2] = [b"ready-", b"ready+"];
/// The writer does not go on. One byte, so that it is sent or is not.
pub const GO: &[u8; 1] = b"!";
/// The reader goes on.
pub const TAKEN: &[u8] = b"taken";

const OPEN: u8 = 0;
const CANCELLED: u8 = 1;
const GIVEN: u8 = 2;

/// What the writer has decided, and a bell for its thread that waits for the other side.
#[derive(Debug)]
pub struct Decision {
    state: AtomicU8,
    bell: OwnedFd,
}

impl Decision {
    pub fn new() -> Result<Self, SnapshotError> {
        let host =
            |error: Errno| SnapshotError::Host { what: "make an event descriptor".to_owned(), source: error.into() };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(host)?;
        Ok(Self { state: AtomicU8::new(OPEN), bell })
    }

    fn decide(&self, state: u8) -> bool {
        let before = self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire);
        before.is_ok() || before == Err(state)
    }

    /// The guest stays here. `false`: it is too late for that.
    pub fn cancel(&self) -> bool {
        let cancelled = self.decide(CANCELLED);
        if cancelled {
            // Nobody reads it: a bell that has rung goes on ringing.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
        cancelled
    }

    /// The guest goes. `false`: somebody has given up.
    pub fn give(&self) -> bool {
        self.decide(GIVEN)
    }

    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// An error if somebody has given up.
    pub fn go_on(&self) -> io::Result<()> {
        if self.is_cancelled() { Err(io::Error::other("it was cancelled")) } else { Ok(()) }
    }

    /// Returns when `fd` is ready; or why nobody waits for that any longer.
    pub fn wait(&self, fd: impl AsFd, ready: PollFlags, patience: Option<Duration>) -> io::Result<()> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&fd, ready), PollFd::new(&self.bell, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) if self.is_cancelled() => return self.go_on(),
                Ok(0) => {
                    let text = format!("silence for {} s", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns behind `time`, or at once with an error when somebody gives up.
    pub fn rest(&self, time: Duration) -> io::Result<()> {
        match self.wait(&self.bell, PollFlags::IN, Some(time)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once() {
        let (kept, given) = (Decision::new().unwrap(), Decision::new().unwrap());
        assert!(kept.cancel() && kept.cancel() && !kept.give() && kept.is_cancelled());
        assert!(given.give() && given.give() && !given.cancel() && !given.is_cancelled());
    }

    #[test]
    fn a_wait_ends_when_somebody_gives_up() {
        let (pipe, _other) = io::pipe().unwrap();
        let decision = Decision::new().unwrap();
        let waited = std::thread::scope(|s| {
            let waiting = s.spawn(|| decision.wait(&pipe, PollFlags::IN, None));
            let resting = s.spawn(|| decision.rest(Duration::from_secs(3600)));
            decision.cancel();
            [waiting, resting].map(|thread| thread.join().unwrap())
        });
        for waited in waited {
            assert_eq!(waited.unwrap_err().to_string(), "it was cancelled");
        }
        let decision = Decision::new().unwrap();
        decision.give();
        let soon = Some(Duration::from_millis(1));
        assert_eq!(decision.wait(&pipe, PollFlags::IN, soon).unwrap_err().kind(), io::ErrorKind::TimedOut);
        decision.rest(Duration::from_millis(1)).unwrap();
    }
}
