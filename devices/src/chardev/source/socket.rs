//! Stream sockets, as server (one client at a time, the next may come when it leaves) and as client.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Opened, Source};
use crate::chardev::link::{Link, Stream};
use crate::chardev::poll::{Poll, Token, Watch};
use crate::chardev::{ChardevError, IpVersion, SocketAddress};
use crate::misc::timer::TimerFd;

/// How connections are made and spoken through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub nodelay: bool,
    pub telnet: bool,
}

impl Manner {
    fn link(self, fd: OwnedFd) -> io::Result<Link> {
        let stream = Stream::owned(fd)?;
        Ok(if self.telnet { Link::telnet(stream) } else { Link::duplex(stream) })
    }
}

/// The addresses of a name, those of one version alone if that was asked for.
fn resolve(
    id: &str,
    host: &str,
    port: u16,
    only: Option<IpVersion>,
    any: &str,
) -> Result<Vec<SocketAddr>, ChardevError> {
    let host = match (host.is_empty(), only) {
        (true, Some(IpVersion::V6)) if any == ANY => "::",
        (true, _) => any,
        (false, _) => host,
    };
    let failed = |source| ChardevError::Resolve { id: id.to_owned(), address: format!("{host}:{port}"), source };
    let mut found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    found.retain(|address| only.is_none_or(|only| address.is_ipv4() == (only == IpVersion::V4)));
    if found.is_empty() {
        let what = match only {
            None => "the name has no address",
            Some(IpVersion::V4) => "it has no IPv4 address",
            Some(IpVersion::V6) => "it has no IPv6 address",
        };
        return Err(failed(io::Error::other(what)));
    }
    Ok(found)
}

/// Where a server without a host listens.
const ANY: &str = "0.0.0.0";

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket's name in the file system, removed with it.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(on),
            Self::Unix(listener) => listener.set_nonblocking(on),
        }
    }

    fn accept(&self, manner: Manner) -> io::Result<Link> {
        let fd: OwnedFd = match self {
            Self::Tcp(listener) => tcp(listener.accept()?.0, manner.nodelay),
            Self::Unix(listener) => listener.accept()?.0.into(),
        };
        manner.link(fd)
    }
}

fn tcp(stream: TcpStream, nodelay: bool) -> OwnedFd {
    if let Err(error) = stream.set_nodelay(nodelay) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    stream.into()
}

struct Server {
    listener: Listener,
    watch: Watch,
    wait: bool,
    manner: Manner,
    _file: Option<SocketFile>,
}

pub(super) fn listen(id: &str, address: &SocketAddress, wait: bool, manner: Manner) -> Result<Opened, ChardevError> {
    let failed = |source| ChardevError::Listen { id: id.to_owned(), address: address.to_string(), source };
    let (listener, bound, file) = match address {
        SocketAddress::Tcp { host, port, only } => {
            let addresses = resolve(id, host, *port, *only, ANY)?;
            let listener = TcpListener::bind(&*addresses).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            (Listener::Tcp(listener), format!("tcp:{bound}"), None)
        }
        SocketAddress::Unix(path) => {
            remove_stale_socket(path).map_err(failed)?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            (Listener::Unix(listener), address.to_string(), Some(SocketFile(path.clone())))
        }
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let verb = if wait { "waits for a connection" } else { "listens" };
    let notice = Some(format!("char device '{id}' {verb} on {bound}"));
    let server = Server { listener, watch: Watch::new(Token::Source), wait, manner, _file: file };
    Ok(Opened { source: Box::new(server), notice, place: Some(bound) })
}

/// Removes a socket that a program left behind.
///
/// # Errors
/// The socket is in use, or it is something else: that stays.
pub fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is no socket"));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

impl Server {
    fn watch(&mut self, poll: &Poll, on: bool) {
        let flags = if on { EventFlags::IN } else { EventFlags::empty() };
        if let Err(error) = self.watch.set(poll, self.listener.fd(), flags) {
            tracing::warn!(%error, "a character device cannot watch its socket");
        }
    }
}

impl Source for Server {
    fn start(&mut self, poll: &Poll) -> io::Result<Option<Link>> {
        self.watch.set(poll, self.listener.fd(), EventFlags::IN)?;
        Ok(None)
    }

    fn ready(&mut self, poll: &Poll) -> Option<Link> {
        match self.listener.accept(self.manner) {
            Ok(link) => {
                self.watch(poll, false);
                Some(link)
            }
            Err(error) => {
                // The client gave up already, or nothing is left of what allows connections.
                tracing::debug!(%error, "no connection after all");
                None
            }
        }
    }

    fn lost(&mut self, poll: &Poll) {
        self.watch(poll, true);
    }

    fn awaits(&self) -> bool {
        self.wait
    }

    fn wait(&mut self, poll: &Poll) -> io::Result<Option<Link>> {
        loop {
            // A signal ends the wait, whatever its handler says about restarting.
            rustix::event::poll(&mut [PollFd::new(&self.listener.fd(), PollFlags::IN)], None)?;
            if let Some(link) = self.ready(poll) {
                return Ok(Some(link));
            }
        }
    }
}

enum Peer {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

struct Client {
    peer: Peer,
    manner: Manner,
    /// The first connection, if it was made at once.
    first: Option<Link>,
    /// How long to wait before the next attempt; `None`: there is none.
    reconnect: Option<Duration>,
    timer: TimerFd,
    timer_watch: Watch,
    /// A connection on its way.
    pending: Option<(OwnedFd, Watch)>,
    attempts: usize,
}

pub(super) fn connect(
    id: &str,
    address: &SocketAddress,
    reconnect: Option<Duration>,
    manner: Manner,
) -> Result<impl Source + use<>, ChardevError> {
    let failed = |source| ChardevError::Connect { id: id.to_owned(), address: address.to_string(), source };
    let peer = match address {
        SocketAddress::Tcp { host, port, only } => Peer::Tcp(resolve(id, host, *port, *only, "localhost")?),
        SocketAddress::Unix(path) => Peer::Unix(path.clone()),
    };
    let first = if reconnect.is_none() { Some(peer.connect(manner).map_err(failed)?) } else { None };
    Ok(Client {
        peer,
        manner,
        first,
        reconnect,
        timer: TimerFd::new().map_err(failed)?,
        timer_watch: Watch::new(Token::Source),
        pending: None,
        attempts: 0,
    })
}

impl Peer {
    /// Connects and waits for it.
    fn connect(&self, manner: Manner) -> io::Result<Link> {
        let fd = match self {
            Self::Tcp(addresses) => tcp(TcpStream::connect(&**addresses)?, manner.nodelay),
            Self::Unix(path) => UnixStream::connect(path)?.into(),
        };
        manner.link(fd)
    }

    /// Begins to connect; the socket is writable when it is decided.
    fn begin(&self, attempt: usize) -> io::Result<OwnedFd> {
        let new = |family| {
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
        };
        let (socket, begun) = match self {
            Self::Tcp(addresses) => {
                let address = addresses[attempt % addresses.len()];
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = new(family)?;
                let begun = rustix::net::connect(&socket, &address);
                (socket, begun)
            }
            Self::Unix(path) => {
                let socket = new(AddressFamily::UNIX)?;
                let begun = rustix::net::connect(&socket, &SocketAddrUnix::new(path)?);
                (socket, begun)
            }
        };
        match begun {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
            Err(e) => Err(e.into()),
        }
    }
}

impl Client {
    fn attempt(&mut self, poll: &Poll) {
        let mut watch = Watch::new(Token::Source);
        let begun = self.peer.begin(self.attempts).and_then(|socket| {
            watch.set(poll, socket.as_fd(), EventFlags::OUT)?;
            Ok(socket)
        });
        self.attempts += 1;
        match begun {
            Ok(socket) => self.pending = Some((socket, watch)),
            Err(error) => self.retry(poll, &error),
        }
    }

    fn retry(&mut self, poll: &Poll, error: &io::Error) {
        let Some(delay) = self.reconnect else { return };
        tracing::debug!(%error, ?delay, "character device will connect again");
        let armed = self.timer.arm(delay).and_then(|()| self.timer_watch.set(poll, self.timer.as_fd(), EventFlags::IN));
        if let Err(error) = armed {
            tracing::warn!(%error, "character device cannot connect again");
        }
    }

    /// Whether the pending connection was made, once it is decided.
    fn finish(&mut self, poll: &Poll) -> io::Result<Option<Link>> {
        let Some((socket, watch)) = &mut self.pending else { return Ok(None) };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&now))? == 0 {
            return Ok(None);
        }
        watch.set(poll, socket.as_fd(), EventFlags::empty())?;
        let decided = rustix::net::sockopt::socket_error(&*socket)?;
        let Some((socket, _)) = self.pending.take() else { return Ok(None) };
        decided?;
        let socket = match self.peer {
            Peer::Tcp(_) => tcp(socket.into(), self.manner.nodelay),
            Peer::Unix(_) => socket,
        };
        self.manner.link(socket).map(Some)
    }
}

impl Source for Client {
    fn start(&mut self, poll: &Poll) -> io::Result<Option<Link>> {
        if self.first.is_none() {
            self.attempt(poll);
        }
        Ok(self.first.take())
    }

    fn ready(&mut self, poll: &Poll) -> Option<Link> {
        if self.timer.take() {
            let _ = self.timer_watch.set(poll, self.timer.as_fd(), EventFlags::empty());
            self.attempt(poll);
        }
        match self.finish(poll) {
            Ok(link) => link,
            Err(error) => {
                self.pending = None;
                self.retry(poll, &error);
                None
            }
        }
    }

    fn lost(&mut self, poll: &Poll) {
        self.retry(poll, &io::Error::other("the peer closed the connection"));
    }
}
