//! The sockets of one network behind one epoll descriptor, which the card's thread sleeps on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::slab::Key;

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The network's own reminder that frames wait for the guest.
    Wake,
    Tcp(Key),
    /// Index of a forwarding rule's listening socket.
    Listener(usize),
    Udp(Key),
    Dns(Key),
    Ping(Key),
}

impl Source {
    fn to_token(self) -> u64 {
        let (kind, id) = match self {
            Self::Wake => (0, 0),
            Self::Tcp(key) => (1, key.to_bits()),
            Self::Listener(index) => (2, index as u64),
            Self::Udp(key) => (3, key.to_bits()),
            Self::Dns(key) => (4, key.to_bits()),
            Self::Ping(key) => (5, key.to_bits()),
        };
        kind << 56 | id
    }

    fn from_token(token: u64) -> Self {
        let key = Key::from_bits(token);
        match token >> 56 {
            1 => Self::Tcp(key),
            2 => Self::Listener(key.index as usize),
            3 => Self::Udp(key),
            4 => Self::Dns(key),
            5 => Self::Ping(key),
            _ => Self::Wake,
        }
    }
}

/// Events taken in one call.
const EVENTS: usize = 64;

pub type Ready = epoll::EventFlags;

/// An epoll instance with an eventfd in it. A socket leaves it by being closed, unless another program has it, too.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
    awake: bool,
}

impl Poller {
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let token = epoll::EventData::new_u64(Source::Wake.to_token());
        epoll::add(&epoll, &wake, token, Ready::IN)?;
        Ok(Self { epoll, wake, awake: false })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Reports each change of a stream's readiness once, in both directions.
    pub fn add_stream(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        self.add(fd, source, Ready::IN | Ready::OUT | Ready::RDHUP | Ready::ET)
    }

    /// Reports as long as there is something to read.
    pub fn add_readable(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        self.add(fd, source, Ready::IN)
    }

    fn add(&self, fd: impl AsFd, source: Source, interest: Ready) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.to_token()), interest)
    }

    /// Ends the watch of a socket that lives on elsewhere.
    pub fn remove(&self, fd: impl AsFd) {
        // Fails only if it is not there.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Makes the descriptor readable, or not, on its own account.
    pub fn set_awake(&mut self, awake: bool) {
        if self.awake == awake {
            return;
        }
        self.awake = awake;
        // Neither can fail: the counter never reaches its limit, and is not zero when read.
        let mut count = [0; 8];
        let _ = match awake {
            true => rustix::io::write(&self.wake, &1u64.to_ne_bytes()),
            false => rustix::io::read(&self.wake, &mut count),
        };
    }

    /// What became ready. Never blocks; what does not fit in one call is reported by the next.
    pub fn take_ready(&self) -> Vec<(Source, Ready)> {
        let mut events = Vec::with_capacity(EVENTS);
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&no_wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::debug!("user network: epoll_wait: {error}"),
        }
        let sources = events.iter().map(|e| (Source::from_token(e.data.u64()), e.flags));
        sources.filter(|(source, _)| *source != Source::Wake).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_their_source() {
        let key = Key { index: u32::MAX, generation: u16::MAX };
        for source in
            [Source::Wake, Source::Tcp(key), Source::Listener(7), Source::Udp(key), Source::Dns(key), Source::Ping(key)]
        {
            assert_eq!(Source::from_token(source.to_token()), source);
        }
    }

    #[test]
    fn wakes_and_sleeps() {
        let mut poller = Poller::new().unwrap();
        let readable = |p: &Poller| {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(p.fd(), rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        assert!(!readable(&poller));
        poller.set_awake(true);
        assert!(poller.take_ready().is_empty());
        assert!(readable(&poller));
        poller.set_awake(false);
        assert!(!readable(&poller));
    }
}
