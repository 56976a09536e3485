//! An open file, socket or pipe that somebody has handed over: `fd:`.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::socket::Socket;

/// A descriptor with the name that its owner calls it by. Who has it last closes it.
#[derive(Debug, Clone)]
pub struct Descriptor {
    name: String,
    fd: Arc<OwnedFd>,
}

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.fd.as_raw_fd() == other.fd.as_raw_fd()
    }
}

impl Eq for Descriptor {}

/// What bytes go to or come from.
pub(super) enum Way {
    Socket(Socket),
    /// A file or a pipe: nobody answers there.
    Plain(File),
}

impl Descriptor {
    pub fn new(name: String, fd: OwnedFd) -> Self {
        Self { name, fd: Arc::new(fd) }
    }

    /// One that was open when the program started, by its number. Programs that are started do not inherit it.
    ///
    /// # Errors
    /// Nothing is open there.
    pub fn inherited(number: RawFd) -> io::Result<Self> {
        if number < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: nothing but the kernel looks at it, and that says so if it is none.
        let theirs = unsafe { BorrowedFd::borrow_raw(number) };
        let ours = fcntl_dupfd_cloexec(theirs, 3)?;
        fcntl_setfd(theirs, FdFlags::CLOEXEC)?;
        Ok(Self::new(number.to_string(), ours))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A socket's family.
    pub(super) fn family(&self) -> Option<AddressFamily> {
        sockopt::socket_domain(&self.fd).ok()
    }

    /// What it is.
    pub(super) fn way(&self) -> io::Result<Way> {
        let fd = self.fd.try_clone()?;
        let family = match sockopt::socket_type(&fd) {
            Err(Errno::NOTSOCK) => return Ok(Way::Plain(fd.into())),
            Err(error) => return Err(error.into()),
            Ok(SocketType::STREAM) => sockopt::socket_domain(&fd)?,
            Ok(_) => return Err(io::Error::other("it is a socket for packets, not for a stream")),
        };
        match family {
            AddressFamily::UNIX => Ok(Way::Socket(Socket::Unix(fd.into()))),
            AddressFamily::INET | AddressFamily::INET6 => Ok(Way::Socket(Socket::Tcp(fd.into()))),
            _ => Err(io::Error::other("it is a socket of neither TCP nor Unix")),
        }
    }
}

/// Whether a file is at its beginning, and not a pipe or a device.
pub(super) fn is_whole_file(mut file: &File) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        && file.stream_position().is_ok_and(|at| at == 0)
}

/// Has calls wait, or not.
pub(super) fn set_waiting(fd: impl AsFd, waits: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, !waits);
    Ok(fcntl_setfl(&fd, flags)?)
}

/// Writes where nobody answers. A reader has all of it only when [`Plain::finish`] has let the last byte go.
pub(super) struct Plain {
    file: File,
    last: Option<u8>,
}

impl Plain {
    pub fn new(file: File) -> Self {
        Self { file, last: None }
    }

    /// Takes bytes; what is not the last of them goes on its way at once.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use std::io::{IoSlice, Write};
        let Some((last, before)) = bytes.split_last() else { return Ok(0) };
        let held = self.last.as_slice();
        let all = held.len() + before.len();
        let gone = if all == 0 { 0 } else { self.file.write_vectored(&[IoSlice::new(held), IoSlice::new(before)])? };
        if gone == 0 && all > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = gone - held.len();
        self.last = Some(*before.get(taken).unwrap_or(last));
        Ok(taken + 1)
    }

    /// Lets the last byte go.
    pub fn finish(&mut self) -> io::Result<()> {
        use std::io::Write;
        if let Some(last) = self.last {
            while self.file.write(&[last])? == 0 {}
            self.last = None;
        }
        // Pipes have nothing to be synchronized.
        match self.file.sync_all() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
            done => done,
        }
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
