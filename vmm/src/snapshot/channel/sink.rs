//! The writer's end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ChildStdin;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::descriptor::{Plain, set_waiting};
use super::program::Running;
use super::socket::{BATCH, BUFFER, Socket};
use crate::files::AtomicFile;
use crate::snapshot::decision::{Decision, GO, PATIENCE, READY, TAKEN};
use crate::snapshot::error::SnapshotError;

const ANSWER_MAX: usize = 1024;

pub(super) enum To {
    File(AtomicFile),
    Exec(Running, ChildStdin),
    Socket(Socket),
    Plain(Plain),
}

impl To {
    /// Nothing waits in a call of the kernel's: whoever gives up is heard meanwhile.
    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Exec(_, stdin) => set_waiting(stdin, false),
            Self::Plain(plain) => set_waiting(plain, false),
            Self::Socket(Socket::Unix(s)) => s.set_nonblocking(true),
            Self::Socket(Socket::Tcp(s)) => s.set_nodelay(true).and_then(|()| s.set_nonblocking(true)),
        }
    }
}

/// Where bytes go, with the descriptors that go along.
struct Way {
    to: To,
    decision: Arc<Decision>,
    descriptors: VecDeque<Arc<OwnedFd>>,
}

impl Way {
    /// Writes what can be written at once.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let socket = match &mut self.to {
            To::File(file) => return file.write(bytes),
            To::Exec(_, stdin) => return stdin.write(bytes),
            To::Plain(plain) => return plain.write(bytes),
            To::Socket(socket) if self.descriptors.is_empty() => return socket.write(bytes),
            To::Socket(socket) => socket,
        };
        let batch = self.descriptors.len().min(BATCH);
        let fds: Vec<_> = self.descriptors.iter().take(batch).map(|fd| fd.as_fd()).collect();
        // Each batch wants a byte of its own.
        let bytes = if batch < self.descriptors.len() { &bytes[..bytes.len().min(1)] } else { bytes };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = sendmsg(&*socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        self.descriptors.drain(..batch);
        Ok(sent)
    }
}

impl Way {
    /// An error of a write to who does not read any more.
    fn last_words(&mut self, error: io::Error) -> io::Error {
        let To::Exec(program, _) = &mut self.to else { return error };
        match program.failure() {
            Some(text) => io::Error::other(text),
            None => io::Error::new(error.kind(), "the program does not read all of it"),
        }
    }
}

impl Write for Way {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            let error = match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => error,
                // Too many descriptors on their way: the reader takes some.
                Err(error)
                    if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) && begun.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(1));
                    if self.decision.is_cancelled() {
                        return Err(error);
                    }
                    continue;
                }
                // It says why by how it ends.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.last_words(error)),
                done => return done,
            };
            match &self.to {
                To::File(_) => return Err(error),
                // A program may take as long as it wants.
                To::Exec(_, stdin) => self.decision.wait(stdin, PollFlags::OUT, None)?,
                To::Plain(plain) => self.decision.wait(plain, PollFlags::OUT, None)?,
                To::Socket(socket) => self.decision.wait(socket, PollFlags::OUT, Some(PATIENCE))?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a snapshot; dropping it before [`Sink::commit`] leaves nothing.
pub struct Sink {
    to: BufWriter<Way>,
    decision: Arc<Decision>,
    name: String,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What the reader of a socket has said.
enum Said {
    Ready(bool),
    Taken,
    Text(String),
    /// It has hung up.
    Nothing,
}

/// All that the other side says, until it waits or hangs up.
fn hear(socket: &mut Socket, decision: &Decision) -> io::Result<Said> {
    let mut answer = Vec::new();
    let mut bytes = [0; ANSWER_MAX];
    loop {
        match socket.read(&mut bytes[answer.len()..]) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&bytes[answer.len()..answer.len() + n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                decision.wait(&*socket, PollFlags::IN, Some(PATIENCE))?;
            }
            // What was said before counts.
            Err(_) if !answer.is_empty() && !TAKEN.starts_with(&answer) => break,
            Err(error) => return Err(error),
        }
        if let Some(with) = READY.iter().position(|ready| answer == **ready) {
            return Ok(Said::Ready(with == 1));
        }
        if answer == TAKEN {
            return Ok(Said::Taken);
        }
        if answer.len() == ANSWER_MAX {
            break;
        }
    }
    let text: String = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).collect();
    Ok(if text.is_empty() { Said::Nothing } else { Said::Text(text) })
}

impl Sink {
    /// Nothing of what it does waits in a call of the kernel's.
    pub(super) fn new(to: To, name: String, decision: Arc<Decision>) -> io::Result<Self> {
        to.prepare()?;
        let way = Way { to, decision: Arc::clone(&decision), descriptors: VecDeque::new() };
        Ok(Self { to: BufWriter::with_capacity(BUFFER, way), decision, name })
    }

    /// The file behind it, for layouts that need one.
    pub fn file(&mut self) -> Option<&mut File> {
        match &mut self.to.get_mut().to {
            To::File(file) => Some(file.file()),
            To::Exec(..) | To::Socket(_) | To::Plain(_) => None,
        }
    }

    /// These go along, where they can: to be called before the last section is written.
    pub fn attach(&mut self, descriptors: impl IntoIterator<Item = Arc<OwnedFd>>) {
        let way = self.to.get_mut();
        if matches!(way.to, To::Socket(Socket::Unix(_))) {
            way.descriptors.extend(descriptors);
        }
    }

    /// All is written: returns when it is where it should be. Whether the reader has the descriptors, too.
    pub fn commit(self) -> Result<bool, SnapshotError> {
        let Self { to, decision, name } = self;
        let way = to.into_inner().map_err(|error| SnapshotError::Write(error.into_error()))?;
        match way.to {
            To::File(file) => {
                if !decision.give() {
                    return Err(SnapshotError::cancelled());
                }
                let host = |source| SnapshotError::Host { what: format!("write '{name}'"), source };
                file.commit().map(|()| false).map_err(host)
            }
            To::Exec(mut child, stdin) => {
                if !decision.give() {
                    return Err(SnapshotError::cancelled());
                }
                drop(stdin);
                child.finish().map(|()| false)
            }
            To::Socket(socket) => agree(socket, &decision, &name),
            To::Plain(mut plain) => {
                // Room for the last byte, as long as somebody may give up.
                decision.wait(&plain, PollFlags::OUT, None).map_err(SnapshotError::Write)?;
                if !decision.give() {
                    return Err(SnapshotError::cancelled());
                }
                plain.finish().map(|()| false).map_err(SnapshotError::Write)
            }
        }
    }
}

/// The writer's side of the table in [`crate::snapshot::decision`].
fn agree(mut socket: Socket, decision: &Decision, name: &str) -> Result<bool, SnapshotError> {
    let refused = |text: String| Err(SnapshotError::Refused(text));
    let with = match hear(&mut socket, decision) {
        Ok(Said::Ready(with)) => with,
        Ok(Said::Text(text)) => return refused(format!("'{name}' does not take it: {text}")),
        Ok(Said::Taken | Said::Nothing) => return refused(format!("'{name}' has hung up")),
        Err(error) => return refused(format!("'{name}' does not answer: {error}")),
    };
    if !decision.give() {
        return Err(SnapshotError::cancelled());
    }
    // It is sent, or it is not: then the reader does not go on.
    if let Err(error) = socket.write_all(GO) {
        return refused(format!("'{name}' has hung up: {error}"));
    }
    match hear(&mut socket, decision) {
        Ok(Said::Taken) => Ok(with),
        Ok(Said::Text(text)) => refused(format!("'{name}' does not take it: {text}")),
        Ok(Said::Ready(_) | Said::Nothing) => refused(format!("'{name}' has hung up")),
        // On this host that means the same.
        Err(error) if matches!(socket, Socket::Unix(_)) && error.kind() == io::ErrorKind::ConnectionReset => {
            refused(format!("'{name}' has hung up"))
        }
        Err(error) => Err(SnapshotError::Undecided(format!(
            "'{name}' was told to go on and does not answer ({error}): if the guest is not there, 'cont' goes on here"
        ))),
    }
}
