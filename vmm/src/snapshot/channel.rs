//! Where a snapshot goes to or comes from: `file:`, `exec:`, `unix:`, `tcp:`.
//!
//! Over a socket the reader answers, and both agree who goes on with the guest ([`super::decision`]). A program's exit
//! status answers for `exec:`. Descriptors go over Unix sockets, with any bytes before the last section.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::decision::{Decision, GO, PATIENCE, READY, TAKEN};
use super::error::SnapshotError;
use crate::files::{self, AtomicFile};

const ANSWER_MAX: usize = 1024;
const BUFFER: usize = 1 << 20;
/// Descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
const BATCH: usize = 250;
/// Descriptors in all that a reader takes.
const DESCRIPTORS_MAX: usize = 1 << 14;

/// One end of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// `map`: a reader maps the file's RAM.
    File {
        path: PathBuf,
        map: bool,
    },
    /// A command for the shell.
    Exec(String),
    Unix(PathBuf),
    /// HOST:PORT.
    Tcp(String),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, map } => write!(f, "file:{}{}", path.display(), if *map { ",map=on" } else { "" }),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Channel {
    /// `file:PATH[,map=on|off]`, `exec:COMMAND`, `unix:PATH`, `tcp:HOST:PORT`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let none = || {
            format!("'{text}' is no way to move a machine; file:PATH, exec:COMMAND, unix:PATH and tcp:HOST:PORT are")
        };
        let (kind, rest) = text.split_once(':').ok_or_else(none)?;
        if rest.is_empty() {
            return Err(format!("'{text}' names nothing behind '{kind}:'"));
        }
        Ok(match kind {
            "file" => {
                let (path, map) = match rest.rsplit_once(",map=") {
                    Some((path, "on")) => (path, true),
                    Some((path, "off")) => (path, false),
                    Some((_, other)) => return Err(format!("map={other}: on or off is allowed")),
                    None => (rest, false),
                };
                Self::File { path: path.into(), map }
            }
            "exec" => Self::Exec(rest.to_owned()),
            "unix" => Self::Unix(rest.into()),
            "tcp" => match rest.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                Some((_, Ok(_))) => Self::Tcp(rest.to_owned()),
                _ => return Err(format!("'{text}' lacks a port from 0 to 65535: tcp:HOST:PORT")),
            },
            _ => return Err(none()),
        })
    }

    /// A new program of the shell's.
    fn shell(command: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command);
        shell
    }

    fn host(&self, what: &str) -> impl FnOnce(io::Error) -> SnapshotError {
        let what = format!("{what} '{self}'");
        move |source| SnapshotError::Host { what, source }
    }

    /// To write to.
    pub fn create(&self) -> Result<Sink, SnapshotError> {
        let kind = match self {
            Self::File { path, .. } => To::File(AtomicFile::new(path).map_err(self.host("write"))?),
            Self::Exec(command) => {
                let mut shell = Self::shell(command);
                shell.stdin(Stdio::piped()).stdout(Stdio::null());
                let mut child = shell.spawn().map_err(self.host("start"))?;
                let stdin = child.stdin.take().expect("its input is a pipe");
                To::Exec(Running(child), stdin)
            }
            Self::Unix(path) => To::Socket(Socket::Unix(UnixStream::connect(path).map_err(self.host("connect to"))?)),
            Self::Tcp(address) => {
                let address = target(address);
                To::Socket(Socket::Tcp(TcpStream::connect(address).map_err(self.host("connect to"))?))
            }
        };
        kind.prepare().map_err(self.host("prepare"))?;
        let decision = Arc::new(Decision::new().map_err(self.host("prepare"))?);
        let way = Way { to: kind, decision: Arc::clone(&decision), descriptors: VecDeque::new() };
        Ok(Sink { to: BufWriter::with_capacity(BUFFER, way), decision, name: self.to_string() })
    }

    /// To wait at, for whoever has a guest to bring. Files are opened; programs are started.
    pub fn listen(&self) -> Result<Listening, SnapshotError> {
        Ok(match self {
            Self::File { path, map } => Listening::File(files::open(path).map_err(self.host("open"))?, *map),
            Self::Exec(command) => {
                let mut shell = Self::shell(command);
                shell.stdin(Stdio::null()).stdout(Stdio::piped());
                let mut child = shell.spawn().map_err(self.host("start"))?;
                let stdout = child.stdout.take().expect("its output is a pipe");
                Listening::Stream(Box::new(stdout), Answer::Exec(Running(child), command.clone()))
            }
            Self::Unix(path) => {
                // What an earlier run left.
                devices::chardev::remove_stale_socket(path).map_err(self.host("listen at"))?;
                Listening::Unix(UnixListener::bind(path).map_err(self.host("listen at"))?, path.clone())
            }
            Self::Tcp(address) => Listening::Tcp(TcpListener::bind(target(address)).map_err(self.host("listen at"))?),
        })
    }
}

/// An address without a host means this one.
fn target(address: &str) -> impl ToSocketAddrs + use<> {
    match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    }
}

/// A child that ends with whoever has it.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn finish(&mut self, command: &str) -> Result<(), SnapshotError> {
        let host = |source| SnapshotError::Host { what: format!("wait for 'exec:{command}'"), source };
        match self.0.wait().map_err(host)? {
            status if status.success() => Ok(()),
            status => Err(SnapshotError::Refused(format!("'exec:{command}' failed: {status}"))),
        }
    }
}

pub enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// A reader's: it waits no longer than that in a call.
    fn set_patience(&self) -> io::Result<()> {
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

enum To {
    File(AtomicFile),
    Exec(Running, ChildStdin),
    Socket(Socket),
}

impl To {
    /// Nothing waits in a call of the kernel's: whoever gives up is heard meanwhile.
    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Exec(_, stdin) => Ok(fcntl_setfl(stdin, fcntl_getfl(stdin)? | OFlags::NONBLOCK)?),
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
                done => return done,
            };
            match &self.to {
                To::File(_) => return Err(error),
                // A program may take as long as it wants.
                To::Exec(_, stdin) => self.decision.wait(stdin, PollFlags::OUT, None)?,
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
    /// The file behind it, for layouts that need one.
    pub fn file(&mut self) -> Option<&mut File> {
        match &mut self.to.get_mut().to {
            To::File(file) => Some(file.file()),
            To::Exec(..) | To::Socket(_) => None,
        }
    }

    /// Where somebody may give up.
    pub fn decision(&self) -> Arc<Decision> {
        Arc::clone(&self.decision)
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
        let cancelled = || SnapshotError::Refused("it was cancelled".to_owned());
        match way.to {
            To::File(file) => {
                if !decision.give() {
                    return Err(cancelled());
                }
                let host = |source| SnapshotError::Host { what: format!("write '{name}'"), source };
                file.commit().map(|()| false).map_err(host)
            }
            To::Exec(mut child, stdin) => {
                if !decision.give() {
                    return Err(cancelled());
                }
                drop(stdin);
                child.finish(name.strip_prefix("exec:").unwrap_or(&name)).map(|()| false)
            }
            To::Socket(socket) => agree(socket, &decision, &name),
        }
    }
}

/// The writer's side of the table in [`super::decision`].
fn agree(mut socket: Socket, decision: &Decision, name: &str) -> Result<bool, SnapshotError> {
    let refused = |text: String| Err(SnapshotError::Refused(text));
    let with = match hear(&mut socket, decision) {
        Ok(Said::Ready(with)) => with,
        Ok(Said::Text(text)) => return refused(format!("'{name}' does not take it: {text}")),
        Ok(Said::Taken | Said::Nothing) => return refused(format!("'{name}' has hung up")),
        Err(error) => return refused(format!("'{name}' does not answer: {error}")),
    };
    if !decision.give() {
        return refused("it was cancelled".to_owned());
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

/// Waits for a snapshot.
pub enum Listening {
    File(File, bool),
    Stream(Box<dyn Read + Send>, Answer),
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// Tells the writer what became of its guest.
pub enum Answer {
    Nobody,
    Exec(Running, String),
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
        let two = |socket: io::Result<(Socket, Socket)>| {
            let (read, answer) = socket.map_err(host)?;
            answer.set_patience().map_err(host)?;
            Ok((Source::Stream(Stream::over(read)), Answer::Socket(answer)))
        };
        match self {
            Self::File(file, map) => Ok((Source::File(file, map), Answer::Nobody)),
            Self::Stream(read, answer) => Ok((Source::Stream(Stream::new(read)), answer)),
            Self::Unix(listener, path) => {
                let stream = listener.accept();
                let _ = std::fs::remove_file(path);
                two(stream.and_then(|(s, _)| Ok((Socket::Unix(s.try_clone()?), Socket::Unix(s)))))
            }
            Self::Tcp(listener) => {
                two(listener.accept().and_then(|(s, _)| Ok((Socket::Tcp(s.try_clone()?), Socket::Tcp(s)))))
            }
        }
    }
}

impl Answer {
    /// Everything is here, perhaps with the descriptors: returns when the writer does not go on with the guest.
    pub fn confirm(&mut self, stream: Option<&mut Stream>, with: bool) -> Result<(), SnapshotError> {
        let Self::Socket(socket) = self else {
            return match self {
                Self::Exec(child, command) => child.finish(command),
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

#[cfg(test)]
mod tests;
