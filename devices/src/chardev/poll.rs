//! A character device's own epoll instance.
//!
//! The event loop of the program watches this one descriptor, always for input. What the device itself
//! waits for changes often and on several threads; it changes in here, where no other device's bookkeeping
//! is involved.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::misc::timer::TimerFd;

/// How long output of single bytes is collected before it is written.
const SOON: Duration = Duration::from_micros(500);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Token {
    /// Another thread asks for attention.
    Wake,
    /// The link's input, or its only descriptor.
    Input,
    Output,
    /// Where links come from: a listener, a timer.
    Source,
}

/// Which tokens were signalled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub input: bool,
    pub source: bool,
}

pub(super) struct Poll {
    epoll: OwnedFd,
    wake: OwnedFd,
    soon: TimerFd,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let soon = TimerFd::new()?;
        // Edge-triggered: each signal is reported once, and nobody has to read the descriptors.
        for fd in [wake.as_fd(), soon.as_fd()] {
            epoll::add(&epoll, fd, EventData::new_u64(Token::Wake as u64), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self { epoll, wake, soon })
    }

    /// The descriptor to watch for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Makes the descriptor readable. From any thread.
    pub fn wake(&self) {
        // The counter would have to be written for centuries to be full.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor readable in a moment. From any thread.
    pub fn wake_soon(&self) {
        if self.soon.arm(SOON).is_err() {
            self.wake();
        }
    }

    /// What happened since the last call; does not block.
    pub fn take(&self) -> io::Result<Ready> {
        let mut ready = Ready::default();
        let mut events = [MaybeUninit::<Event>::uninit(); 8];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&now))?;
        for event in events {
            let token = event.data.u64();
            ready.input |= token == Token::Input as u64;
            ready.source |= token == Token::Source as u64;
        }
        Ok(ready)
    }
}

/// One descriptor's place in a [`Poll`].
#[derive(Debug)]
pub(super) struct Watch {
    token: Token,
    flags: EventFlags,
    /// The kernel cannot poll it (a regular file): it is always ready.
    always: bool,
}

impl Watch {
    pub fn new(token: Token) -> Self {
        Self { token, flags: EventFlags::empty(), always: false }
    }

    pub fn always_ready(&self) -> bool {
        self.always
    }

    /// Waits for exactly `flags` on `fd`. With none it leaves the set, because a hang-up would be reported
    /// again and again otherwise. `fd` must be the same for the watch's whole life, and has to be
    /// unwatched before it is closed.
    pub fn set(&mut self, poll: &Poll, fd: BorrowedFd<'_>, flags: EventFlags) -> io::Result<()> {
        if self.flags == flags || self.always {
            return Ok(());
        }
        let data = EventData::new_u64(self.token as u64);
        let done = match (self.flags.is_empty(), flags.is_empty()) {
            (true, _) => epoll::add(&poll.epoll, fd, data, flags),
            (false, false) => epoll::modify(&poll.epoll, fd, data, flags),
            (false, true) => epoll::delete(&poll.epoll, fd),
        };
        match done {
            Ok(()) => self.flags = flags,
            Err(rustix::io::Errno::PERM) => self.always = true,
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}
