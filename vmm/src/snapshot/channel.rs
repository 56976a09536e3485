//! Where a snapshot goes to or comes from: `file:`, `exec:`, `unix:`, `tcp:`, `fd:`.
//!
//! Over a socket the reader answers, and both agree who goes on with the guest ([`super::decision`]). A program's exit
//! status answers for `exec:`; to a pipe or a file by `fd:` the last byte goes when that is decided. Descriptors go over
//! Unix sockets, with any bytes before the last section.

mod descriptor;
mod program;
mod sink;
mod socket;
mod source;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::net::AddressFamily;

use super::decision::Decision;
use super::error::SnapshotError;
use crate::files::{self, AtomicFile};

use descriptor::{Plain, Way, is_whole_file, set_waiting};
use program::{Running, shell};
use sink::To;
use socket::{Socket, target};

pub use descriptor::Descriptor;
pub use sink::Sink;
pub use source::{Answer, Listening, Source, Stream};

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
    /// What somebody has opened.
    Fd(Descriptor),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, map } => write!(f, "file:{}{}", path.display(), if *map { ",map=on" } else { "" }),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Fd(fd) => write!(f, "fd:{}", fd.name()),
        }
    }
}

impl Channel {
    /// `file:PATH[,map=on|off]`, `exec:COMMAND`, `unix:PATH`, `tcp:HOST:PORT`, `fd:NUMBER`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let none = || {
            format!(
                "'{text}' is no way to move a machine; file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT and fd:FD are"
            )
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
            "fd" => {
                let number = rest.parse().map_err(|_| format!("'{text}': '{rest}' is no number of an open file"))?;
                Self::Fd(Descriptor::inherited(number).map_err(|error| format!("'{text}': {error}"))?)
            }
            _ => return Err(none()),
        })
    }

    /// Whether another program is at the other end, and answers.
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp(_) => true,
            Self::Fd(fd) => fd.family().is_some(),
            Self::File { .. } | Self::Exec(_) => false,
        }
    }

    /// Whether that is one on this host, which descriptors can be handed to.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Fd(fd) => fd.family() == Some(AddressFamily::UNIX),
            Self::File { .. } | Self::Exec(_) | Self::Tcp(_) => false,
        }
    }

    fn host(&self, what: &str) -> impl FnOnce(io::Error) -> SnapshotError {
        let what = format!("{what} '{self}'");
        move |source| SnapshotError::Host { what, source }
    }

    /// To write to, unless somebody gives up before it is there. It takes as long as the other side wants; a file is there at
    /// once.
    pub fn create(&self, decision: Arc<Decision>) -> Result<Sink, SnapshotError> {
        let kind = match self {
            Self::File { path, .. } => To::File(AtomicFile::new(path).map_err(self.host("write"))?),
            Self::Exec(command) => {
                let mut shell = shell(command);
                shell.stdin(Stdio::piped()).stdout(Stdio::null());
                let mut child = shell.spawn().map_err(self.host("start"))?;
                let stdin = child.stdin.take().expect("its input is a pipe");
                To::Exec(Running::new(child, command), stdin)
            }
            Self::Unix(path) => To::Socket(Socket::unix(path, &decision).map_err(self.host("connect to"))?),
            Self::Tcp(address) => To::Socket(Socket::tcp(address, &decision).map_err(self.host("connect to"))?),
            Self::Fd(fd) => match fd.way().map_err(self.host("use"))? {
                Way::Socket(socket) => To::Socket(socket),
                Way::Plain(file) => To::Plain(Plain::new(file)),
            },
        };
        Sink::new(kind, self.to_string(), decision).map_err(self.host("prepare"))
    }

    /// To wait at, for whoever has a guest to bring. Files are opened; programs are started.
    pub fn listen(&self) -> Result<Listening, SnapshotError> {
        Ok(match self {
            Self::File { path, map } => Listening::File(files::open(path).map_err(self.host("open"))?, *map),
            Self::Exec(command) => {
                let mut shell = shell(command);
                shell.stdin(Stdio::null()).stdout(Stdio::piped());
                let mut child = shell.spawn().map_err(self.host("start"))?;
                let stdout = child.stdout.take().expect("its output is a pipe");
                Listening::Stream(Box::new(stdout), Answer::Exec(Running::new(child, command)))
            }
            Self::Unix(path) => {
                // What an earlier run left.
                devices::chardev::remove_stale_socket(path).map_err(self.host("listen at"))?;
                Listening::Unix(UnixListener::bind(path).map_err(self.host("listen at"))?, path.clone())
            }
            Self::Tcp(address) => Listening::Tcp(TcpListener::bind(target(address)).map_err(self.host("listen at"))?),
            Self::Fd(fd) => match fd.way().map_err(self.host("use"))? {
                Way::Socket(socket) => {
                    set_waiting(&socket, true).map_err(self.host("use"))?;
                    Listening::Connected(socket)
                }
                Way::Plain(file) if is_whole_file(&file) => Listening::File(file, false),
                Way::Plain(file) => {
                    set_waiting(&file, true).map_err(self.host("use"))?;
                    Listening::Stream(Box::new(file), Answer::Nobody)
                }
            },
        })
    }
}

#[cfg(test)]
mod tests;
