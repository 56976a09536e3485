//! A connection to another program's machine.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::snapshot::decision::{Decision, PATIENCE};

pub(super) const BUFFER: usize = 1 << 20;
/// Descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
pub(super) const BATCH: usize = 250;
/// Behind that it is tried again whether somebody takes a connection.
const AGAIN: Duration = Duration::from_millis(10);

/// An address without a host means this one.
pub(super) fn target(address: &str) -> impl ToSocketAddrs + use<> {
    match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    }
}

pub enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One whose calls do not wait.
pub(super) fn new(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

impl Socket {
    /// A connection to who listens at `path`, unless somebody gives up meanwhile.
    pub(super) fn unix(path: &Path, decision: &Decision) -> io::Result<Self> {
        let (socket, address) = (new(AddressFamily::UNIX)?, SocketAddrUnix::new(path)?);
        let begun = Instant::now();
        loop {
            decision.go_on()?;
            match connect(&socket, &address) {
                Ok(()) => return Ok(Self::Unix(socket.into())),
                // Its queue is full, and nothing tells of room in it.
                Err(Errno::AGAIN) if begun.elapsed() < PATIENCE => decision.rest(AGAIN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same over TCP. The resolver waits for name servers as long as it wants: it does not hear who gives up.
    pub(super) fn tcp(address: &str, decision: &Decision) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in target(address).to_socket_addrs()? {
            decision.go_on()?;
            match Self::tcp_at(address, decision) {
                Err(error) => failed = error,
                done => return done,
            }
        }
        decision.go_on()?;
        Err(failed)
    }

    fn tcp_at(address: SocketAddr, decision: &Decision) -> io::Result<Self> {
        let socket = new(if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })?;
        match connect(&socket, &address) {
            Ok(()) => {}
            // It goes on by itself behind a signal, too.
            Err(Errno::INPROGRESS | Errno::INTR) => {
                decision.wait(&socket, PollFlags::OUT, Some(PATIENCE))?;
                sockopt::socket_error(&socket)??;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self::Tcp(socket.into()))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(s) => s.try_clone().map(Self::Unix),
            Self::Tcp(s) => s.try_clone().map(Self::Tcp),
        }
    }

    /// A reader's: it waits no longer than that in a call.
    pub(super) fn set_patience(&self) -> io::Result<()> {
        let patience = Some(PATIENCE);
        match self {
            Self::Unix(s) => s.set_write_timeout(patience).and_then(|()| s.set_read_timeout(patience)),
            Self::Tcp(s) => {
                s.set_nodelay(true)?;
                s.set_write_timeout(patience).and_then(|()| s.set_read_timeout(patience))
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(s) => s.as_fd(),
            Self::Tcp(s) => s.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(bytes),
            Self::Tcp(s) => s.read(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(bytes),
            Self::Tcp(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
