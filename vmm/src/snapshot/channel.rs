//! Where a snapshot goes to or comes from: `file:`, `exec:`, `unix:`, `tcp:`.
//!
//! Over a socket the reader answers, so that the writer knows whether its guest lives on elsewhere: [`TAKEN`], or the
//! reason why not. A program's exit status answers for `exec:`.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::error::SnapshotError;
use super::save::AtomicFile;

/// The reader's answer; anything else is a message.
const TAKEN: &[u8] = b"taken";
/// How long the other side of a socket may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_MAX: u64 = 1024;
const BUFFER: usize = 1 << 20;

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
            Self::File { path, .. } => To::File(AtomicFile::new(path)?),
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
        if let To::Socket(socket) = &kind {
            socket.set_patience().map_err(self.host("prepare"))?;
        }
        Ok(Sink { to: BufWriter::with_capacity(BUFFER, kind), name: self.to_string() })
    }

    /// To wait at, for whoever has a guest to bring. Files are opened; programs are started.
    pub fn listen(&self) -> Result<Listening, SnapshotError> {
        Ok(match self {
            Self::File { path, map } => Listening::File(File::open(path).map_err(self.host("open"))?, *map),
            Self::Exec(command) => {
                let mut shell = Self::shell(command);
                shell.stdin(Stdio::null()).stdout(Stdio::piped());
                let mut child = shell.spawn().map_err(self.host("start"))?;
                let stdout = child.stdout.take().expect("its output is a pipe");
                Listening::Stream(Box::new(stdout), Answer::Exec(Running(child), command.clone()))
            }
            Self::Unix(path) => {
                // What an earlier run left.
                if UnixStream::connect(path).is_err() {
                    let _ = std::fs::remove_file(path);
                }
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

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(bytes),
            Self::Tcp(s) => s.write(bytes),
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

enum To {
    File(AtomicFile),
    Exec(Running, std::process::ChildStdin),
    Socket(Socket),
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Exec(_, stdin) => stdin.write(bytes),
            Self::Socket(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a snapshot; dropping it before [`Sink::commit`] leaves nothing.
pub struct Sink {
    to: BufWriter<To>,
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

impl Sink {
    /// The file behind it, for layouts that need one.
    pub fn file(&mut self) -> Option<&mut File> {
        match self.to.get_mut() {
            To::File(file) => Some(file.file()),
            To::Exec(..) | To::Socket(_) => None,
        }
    }

    /// All is written: returns when it is where it should be.
    pub fn commit(self) -> Result<(), SnapshotError> {
        let Self { to, name } = self;
        match to.into_inner().map_err(|error| SnapshotError::Write(error.into_error()))? {
            To::File(file) => file.commit(),
            To::Exec(mut child, stdin) => {
                drop(stdin);
                child.finish(name.strip_prefix("exec:").unwrap_or(&name))
            }
            To::Socket(socket) => {
                let mut answer = Vec::new();
                let read = socket.take(ANSWER_MAX).read_to_end(&mut answer);
                if answer == TAKEN {
                    return Ok(());
                }
                let text: String = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).collect();
                Err(SnapshotError::Refused(match read {
                    _ if !answer.is_empty() => format!("'{name}' does not take it: {text}"),
                    Err(error) => format!("'{name}' does not answer: {error}"),
                    Ok(_) => format!("'{name}' has hung up"),
                }))
            }
        }
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
    Stream(Box<dyn Read + Send>),
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
            let read: Box<dyn Read + Send> = Box::new(BufReader::with_capacity(BUFFER, read));
            Ok((Source::Stream(read), Answer::Socket(answer)))
        };
        match self {
            Self::File(file, map) => Ok((Source::File(file, map), Answer::Nobody)),
            Self::Stream(read, answer) => Ok((Source::Stream(read), answer)),
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
    /// The guest is here; or not, for this reason. The answer is the writer's business, and an error here nobody's.
    pub fn give(self, outcome: Result<(), &SnapshotError>) -> Result<(), SnapshotError> {
        match self {
            Self::Nobody => Ok(()),
            Self::Exec(mut child, command) => outcome.map_or(Ok(()), |()| child.finish(&command)),
            Self::Socket(mut socket) => {
                let text = match outcome {
                    Ok(()) => TAKEN.to_vec(),
                    Err(error) => crate::error_chain(error).into_bytes(),
                };
                let _ = socket.write(&text);
                // What the writer sends still would break the connection before it has read that.
                if outcome.is_err() {
                    let _ = match &socket {
                        Socket::Unix(s) => s.shutdown(std::net::Shutdown::Write),
                        Socket::Tcp(s) => s.shutdown(std::net::Shutdown::Write),
                    };
                    let _ = io::copy(&mut socket, &mut io::sink());
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for text in ["file:/a/b", "file:a,map=on", "exec:cat >x:y", "unix:/s", "tcp:localhost:80", "tcp::0"] {
            assert_eq!(Channel::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "file", "file:", "udp:1:2", "tcp:host", "tcp:1:65536", "file:a,map=x"] {
            assert!(Channel::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let channel = Channel::File { path: path.clone(), map: false };
        let mut sink = channel.create().unwrap();
        sink.write_all(b"half").unwrap();
        drop(sink);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        let mut sink = channel.create().unwrap();
        sink.write_all(b"whole").unwrap();
        assert!(!path.exists());
        sink.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }

    fn transfer(to: Channel, listening: Listening, outcome: Result<(), &SnapshotError>) -> Result<(), SnapshotError> {
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let (source, answer) = listening.accept().unwrap();
                let Source::Stream(mut read) = source else { panic!("a socket is a stream") };
                let mut bytes = [0; 5];
                read.read_exact(&mut bytes).unwrap();
                assert_eq!(&bytes, b"guest");
                answer.give(outcome).unwrap();
            });
            let mut sink = to.create()?;
            sink.write_all(b"guest").unwrap();
            let done = sink.commit();
            reader.join().unwrap();
            done
        })
    }

    #[test]
    fn sockets_answer() {
        let dir = tempfile::tempdir().unwrap();
        let no = SnapshotError::Unknown("x".into());
        for outcome in [Ok(()), Err(&no)] {
            let listening = Channel::parse("tcp::0").unwrap().listen().unwrap();
            let tcp = Channel::Tcp(format!(":{}", listening.port().unwrap()));
            let unix = Channel::Unix(dir.path().join("socket"));
            let there = unix.listen().unwrap();
            for done in [transfer(tcp, listening, outcome), transfer(unix, there, outcome)] {
                match outcome {
                    Ok(()) => done.unwrap(),
                    Err(error) => assert!(done.unwrap_err().to_string().contains(&error.to_string())),
                }
            }
        }
    }

    #[test]
    fn programs_tell_by_their_status() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut sink = Channel::Exec(format!("cat > {}", path.display())).create().unwrap();
        sink.write_all(b"x").unwrap();
        sink.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        let error = Channel::Exec("exit 3".into()).create().unwrap().commit().unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
