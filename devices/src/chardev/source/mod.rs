//! Where a character device's connection comes from, by kind of back end.

mod fixed;
mod pty;
mod socket;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::link::Link;
use super::poll::Poll;
use super::{BackendConfig, ChardevConfig, ChardevError};
pub use socket::remove_stale_socket;

use socket::Manner;

/// Makes connections. At most one lives at a time.
pub(super) trait Source: Send {
    /// Registers what it waits for; returns the connection that exists from the start.
    fn start(&mut self, poll: &Poll) -> io::Result<Option<Link>>;

    /// Its descriptor was ready and there is no connection.
    fn ready(&mut self, _: &Poll) -> Option<Link> {
        None
    }

    /// The connection ended; its descriptors are out of `poll`.
    fn lost(&mut self, _: &Poll) {}

    /// Whether the machine is to start only with a connection.
    fn awaits(&self) -> bool {
        false
    }

    /// Blocks for a connection, or for a signal.
    fn wait(&mut self, _: &Poll) -> io::Result<Option<Link>> {
        Ok(None)
    }
}

/// What is there behind the end of a device: nothing, and nobody comes.
pub(super) fn closed() -> Box<dyn Source> {
    Box::new(fixed::Fixed::nothing())
}

/// An opened back end.
pub(super) struct Opened {
    pub source: Box<dyn Source>,
    pub notice: Option<String>,
    /// Where it is, if opening it has decided that.
    pub place: Option<String>,
}

impl Opened {
    fn quiet(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), notice: None, place: None }
    }
}

pub(super) fn open(config: &ChardevConfig) -> Result<Opened, ChardevError> {
    let id = config.id.as_str();
    match &config.backend {
        BackendConfig::Null | BackendConfig::RingBuf { .. } => Ok(Opened::quiet(fixed::Fixed::nothing())),
        BackendConfig::Stdio { signal } => fixed::stdio(id, *signal).map(Opened::quiet),
        BackendConfig::File { path, append, input } => {
            fixed::file(id, path, *append, input.as_deref()).map(Opened::quiet)
        }
        BackendConfig::Pipe { path } => fixed::pipe(id, path).map(Opened::quiet),
        BackendConfig::Pty { link } => pty::open(id, link.as_deref()),
        BackendConfig::Socket { address, server: true, wait, reconnect: _, nodelay, telnet } => {
            socket::listen(id, address, *wait, Manner { nodelay: *nodelay, telnet: *telnet })
        }
        BackendConfig::Socket { address, server: false, wait: _, reconnect, nodelay, telnet } => {
            let manner = Manner { nodelay: *nodelay, telnet: *telnet };
            socket::connect(id, address, *reconnect, manner).map(Opened::quiet)
        }
    }
}

/// Creates or opens a file for writing.
pub(super) fn create_file(id: &str, path: &Path, append: bool) -> Result<File, ChardevError> {
    let mut options = OpenOptions::new();
    options.create(true);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    options.open(path).map_err(|source| open_error(id, path, source))
}

fn open_error(id: &str, path: &Path, source: io::Error) -> ChardevError {
    ChardevError::Open { id: id.to_owned(), path: path.to_owned(), source }
}
