//! A connection to another program's machine.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::snapshot::decision::PATIENCE;

pub(super) const BUFFER: usize = 1 << 20;
/// Descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
pub(super) const BATCH: usize = 250;

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

impl Socket {
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
