//! The reader's end.

use std::fs::File;
use std::io::{self, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::program::Running;
use super::socket::{BATCH, BUFFER, Socket};
use crate::snapshot::decision::{GO, PATIENCE, READY, TAKEN};
use crate::snapshot::error::SnapshotError;

/// Descriptors in all that a reader takes.
const DESCRIPTORS_MAX: usize = 1 << 14;

/// Waits for a snapshot.
pub enum Listening {
    File(File, bool),
    Stream(Box<dyn Read + Send>, Answer),
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
    /// Somebody is at the other end.
    Connected(Socket),
}

/// Tells the writer what became of its guest.
pub enum Answer {
    Nobody,
    Exec(Running),
    Socket(Socket),
}

/// A snapshot to read.
pub enum Source {
    File(File, bool),
    Stream(Stream),
}

/// Bytes as they come, and the descriptors that came with them.
pub struct Stream {
    read: Box<dyn Read + Send>,
    descriptors: Descriptors,
}

type Descriptors = Arc<Mutex<Vec<OwnedFd>>>;

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.read.read(bytes)
    }
}

impl Stream {
    fn new(read: impl Read + Send + 'static) -> Self {
        Self { read: Box::new(read), descriptors: Descriptors::default() }
    }

    /// From a socket.
    fn over(socket: Socket) -> Self {
        let descriptors = Descriptors::default();
        let theirs = Arc::clone(&descriptors);
        let read: Box<dyn Read + Send> = match socket {
            Socket::Unix(stream) => {
                Box::new(BufReader::with_capacity(BUFFER, WithDescriptors { stream, descriptors: theirs }))
            }
            Socket::Tcp(stream) => Box::new(BufReader::with_capacity(BUFFER, stream)),
        };
        Self { read, descriptors }
    }

    /// The descriptors so far, in their order.
    pub fn descriptors(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.descriptors.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A Unix socket; whoever reads plainly loses what comes along.
struct WithDescriptors {
    stream: UnixStream,
    descriptors: Descriptors,
}

impl Read for WithDescriptors {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(bytes)];
        let received = recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut all = self.descriptors.lock().unwrap_or_else(PoisonError::into_inner);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                all.extend(fds);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || all.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other("more open files come along than this program may have (ulimit -n)"));
        }
        Ok(received.bytes)
    }
}

impl Listening {
    /// The port, where one is listened at: of interest if any free one was asked for.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            _ => None,
        }
    }

    /// Waits.
    pub fn accept(self) -> Result<(Source, Answer), SnapshotError> {
        let host = |source| SnapshotError::Host { what: "accept a connection".to_owned(), source };
        let two = |socket: io::Result<Socket>| {
            let answer = socket.map_err(host)?;
            let read = answer.try_clone().map_err(host)?;
            answer.set_patience().map_err(host)?;
            Ok((Source::Stream(Stream::over(read)), Answer::Socket(answer)))
        };
        match self {
            Self::File(file, map) => Ok((Source::File(file, map), Answer::Nobody)),
            Self::Stream(read, answer) => Ok((Source::Stream(Stream::new(read)), answer)),
            Self::Unix(listener, path) => {
                let stream = listener.accept();
                let _ = std::fs::remove_file(path);
                two(stream.map(|(s, _)| Socket::Unix(s)))
            }
            Self::Connected(socket) => two(Ok(socket)),
            Self::Tcp(listener) => two(listener.accept().map(|(s, _)| Socket::Tcp(s))),
        }
    }
}

impl Answer {
    /// A snapshot that is not taken for this reason: a program that has not given all of it says more by how it ends.
    pub fn explain(&mut self, error: SnapshotError) -> SnapshotError {
        match (self, error) {
            (Self::Exec(program), error @ SnapshotError::Truncated(_)) => {
                program.failure().map_or(error, SnapshotError::Refused)
            }
            (_, error) => error,
        }
    }

    /// Everything is here, perhaps with the descriptors: returns when the writer does not go on with the guest.
    pub fn confirm(&mut self, stream: Option<&mut Stream>, with: bool) -> Result<(), SnapshotError> {
        let Self::Socket(socket) = self else {
            return match self {
                Self::Exec(child) => child.finish(),
                Self::Nobody | Self::Socket(_) => Ok(()),
            };
        };
        let goes_on = |why: &str| SnapshotError::Refused(format!("the guest stays where it is: {why}"));
        let stream = stream.ok_or_else(|| goes_on("there is no way to ask for it"))?;
        socket.write_all(READY[usize::from(with)]).map_err(|error| goes_on(&error.to_string()))?;
        let mut byte = [0];
        match stream.read_exact(&mut byte) {
            Ok(()) if byte == *GO => Ok(()),
            Ok(()) => Err(goes_on("the other side does not say that it should go")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(goes_on(&format!("silence for {} s", PATIENCE.as_secs())))
            }
            Err(_) => Err(goes_on("the other side has hung up")),
        }
    }

    /// The guest is here, and about to run; or not, for this reason. Where the writer has to hear that, an error means that
    /// it may not have.
    pub fn give(self, outcome: Result<(), &SnapshotError>) -> Result<(), SnapshotError> {
        match self {
            Self::Nobody | Self::Exec(..) => Ok(()),
            Self::Socket(mut socket) => {
                let text = match outcome {
                    Ok(()) => return socket.write_all(TAKEN).map_err(SnapshotError::Write),
                    Err(error) => crate::error_chain(error).into_bytes(),
                };
                // The answer is the writer's business, and an error here nobody's.
                let _ = socket.write(&text);
                // What the writer sends still would break the connection before it has read that.
                let _ = match &socket {
                    Socket::Unix(s) => s.shutdown(std::net::Shutdown::Write),
                    Socket::Tcp(s) => s.shutdown(std::net::Shutdown::Write),
                };
                let _ = io::copy(&mut socket, &mut io::sink());
                Ok(())
            }
        }
    }
}
