//! Character devices: the host's side of serial ports, consoles and monitors.
//!
//! A [`Chardev`] joins its users (an [`Endpoint`] each) to one far end: a terminal, a socket, a file ...
//! Two bounded queues lie between them, so neither side ever blocks the other:
//!
//! - Output: a user calls [`Endpoint::write`] on any thread; the bytes are queued, and the event loop writes
//!   them out. When the far end is slow and the queue is full, `write` takes less than it was given, and
//!   [`ChardevClient::output_ready`] follows when there is room. With nobody at the far end, output is dropped.
//! - Input: the event loop queues it and calls [`ChardevClient::input_ready`]; the user fetches as much as it
//!   has room for with [`Endpoint::read`], on any thread. When the queue is full, the far end is not read.
//!
//! The event loop calls [`Chardev::service`] when [`Chardev::poll_fd`] is readable; [`Chardev`] is also an
//! `event_manager` subscriber that does just this.
//!
//! Locks: `io` before `queues`. Users take neither while a client is called; a client may call its
//! endpoint under its own lock, since that only takes `queues` for a copy.

mod config;
mod error;
mod link;
mod mux;
mod poll;
mod queues;
mod ring;
mod source;
mod telnet;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, EventSubscriber, Events};

pub use config::{BackendConfig, ChardevConfig, IpVersion, SocketAddress};
pub use error::ChardevError;
pub use source::remove_stale_socket;
pub use terminal::{reapply_terminal, restore_terminal};

use link::{Link, Outcome};
use poll::Poll;
use queues::{Notice, Queues, Slot};
use ring::Ring;
use source::{Opened, Source};

/// Bytes moved at once.
const CHUNK: usize = 4096;

/// What happens to a user of a character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChardevEvent {
    /// Somebody is at the far end now.
    Opened,
    /// Nobody is at the far end any more.
    Closed,
    /// The far end sends a break.
    Break,
    /// Input of a shared device comes to this user from now on.
    FocusIn,
    FocusOut,
}

/// What the user of a shared terminal asks of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostRequest {
    /// Ctrl-A X.
    Exit,
    /// Ctrl-A S: write the changes of snapshot disks to their images.
    SaveDisks,
}

/// A user of a character device. Called on the event loop's thread, without locks of the device held.
pub trait ChardevClient: Send + Sync {
    /// [`Endpoint::read`] has bytes.
    fn input_ready(&self);
    /// [`Endpoint::write`] takes bytes again after it took less than it was given.
    fn output_ready(&self) {}
    fn event(&self, _event: ChardevEvent) {}
}

type HostHandler = Box<dyn Fn(HostRequest) + Send + Sync>;

/// A character device.
pub struct Chardev {
    id: String,
    mux: bool,
    /// There is no far end: writing is over before it begins.
    discards: bool,
    notice: Option<String>,
    backend: BackendConfig,
    /// Where the far end is, if opening has decided that.
    place: Option<String>,
    poll: Poll,
    queues: Mutex<Queues>,
    /// The far end. Used by the event loop, and by whoever drains the output at the end.
    io: Mutex<Io>,
    host: OnceLock<HostHandler>,
}

/// The far end and what it is copied to.
struct Io {
    source: Box<dyn Source>,
    link: Option<Link>,
    /// The far end took less than it was offered; it says when it is writable.
    blocked: bool,
    log: Option<File>,
    ring: Option<Ring>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chardev {
    /// Opens the far end. Servers listen; clients of sockets connect (at once, unless they reconnect).
    pub fn open(config: &ChardevConfig) -> Result<Arc<Self>, ChardevError> {
        let id = config.id.as_str();
        let create = |what| move |source: std::io::Error| ChardevError::Create { id: id.to_owned(), what, source };
        let log = config.logfile.as_deref().map(|path| source::create_file(id, path, config.logappend)).transpose()?;
        let poll = Poll::new().map_err(create("an epoll instance"))?;
        let ring = match config.backend {
            BackendConfig::RingBuf { size } => Some(Ring::new(id, size)?),
            _ => None,
        };
        let Opened { mut source, notice, place } = source::open(config)?;
        let link = source.start(&poll).map_err(create("a poll set for it"))?;
        let queues = Queues::new(config.mux, link.is_some());
        let chardev = Self {
            id: id.to_owned(),
            mux: config.mux,
            discards: config.backend == BackendConfig::Null && log.is_none(),
            notice,
            backend: config.backend.clone(),
            place,
            poll,
            queues: Mutex::new(queues),
            io: Mutex::new(Io { source, link, blocked: false, log, ring }),
            host: OnceLock::new(),
        };
        // The first round of the event loop arms the descriptors.
        chardev.poll.wake();
        Ok(Arc::new(chardev))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether several users may share it (`mux=on`).
    pub fn is_shared(&self) -> bool {
        self.mux
    }

    /// Whether the far end is a terminal, as far as that is known.
    pub fn is_terminal(&self) -> bool {
        match self.backend {
            BackendConfig::Stdio { .. } => std::io::IsTerminal::is_terminal(&std::io::stdout()),
            BackendConfig::Pty { .. } => true,
            BackendConfig::Null
            | BackendConfig::File { .. }
            | BackendConfig::Pipe { .. }
            | BackendConfig::Socket { .. }
            | BackendConfig::RingBuf { .. } => false,
        }
    }

    /// What the person who started the program has to know: the name of a new pseudo terminal, the address
    /// a server listens on.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// What it is connected to, in the words of QEMU's `info chardev`: `pty:/dev/pts/3`,
    /// `disconnected:tcp:127.0.0.1:4444,server=on`. With the port that the system chose.
    pub fn far_end(&self) -> String {
        match &self.backend {
            BackendConfig::Null => "null".into(),
            BackendConfig::Stdio { .. } => "stdio".into(),
            BackendConfig::File { .. } => "file".into(),
            BackendConfig::Pipe { .. } => "pipe".into(),
            BackendConfig::RingBuf { .. } => "ringbuf".into(),
            BackendConfig::Pty { .. } => self.place.clone().unwrap_or_else(|| "pty".into()),
            BackendConfig::Socket { address, server, telnet, .. } => {
                let far = if self.is_connected() { "" } else { "disconnected:" };
                let side = if *server { ",server=on" } else { "" };
                let place = self.place.clone().unwrap_or_else(|| address.to_string());
                // As QEMU has it: the protocol is in the place of the transport.
                match place.strip_prefix("tcp:").filter(|_| *telnet) {
                    Some(place) => format!("{far}telnet:{place}{side}"),
                    None => format!("{far}{place}{side}"),
                }
            }
        }
    }

    /// Whether the machine should not start yet: a server with `wait=on` has no client.
    pub fn awaits_peer(&self) -> bool {
        let io = locked(&self.io);
        io.link.is_none() && io.source.awaits()
    }

    /// Blocks while [`Chardev::awaits_peer`]; fails when a signal is caught meanwhile. For programs whose event
    /// loop does not run before the machine starts.
    pub fn wait_for_peer(&self) -> Result<(), ChardevError> {
        let mut io = locked(&self.io);
        if io.link.is_none() && io.source.awaits() {
            let waited = io.source.wait(&self.poll);
            io.link = waited.map_err(|source| ChardevError::Wait { id: self.id.clone(), source })?;
            if io.link.is_some() {
                locked(&self.queues).connected(true);
                self.poll.wake();
            }
        }
        Ok(())
    }

    /// A place for one user; a second one needs `mux=on`. The first has the focus.
    pub fn endpoint(self: &Arc<Self>) -> Result<Endpoint, ChardevError> {
        let added = locked(&self.queues).add_user();
        let (index, slot) = added.ok_or_else(|| match self.mux {
            true => ChardevError::TooManyUsers { id: self.id.clone(), max: queues::USERS_MAX },
            false => ChardevError::InUse { id: self.id.clone() },
        })?;
        self.poll.wake();
        Ok(Endpoint { chardev: self.clone(), index, slot })
    }

    /// Who answers Ctrl-A X and S; once. Called on the event loop's thread.
    pub fn set_host_handler(&self, handler: impl Fn(HostRequest) + Send + Sync + 'static) {
        if self.host.set(Box::new(handler)).is_err() {
            tracing::debug!(id = self.id, "a second host handler is ignored");
        }
    }

    /// Becomes readable when [`Chardev::service`] has work.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.poll.fd()
    }

    /// Does what there is to do without blocking. On the event loop's thread.
    pub fn service(&self) {
        let mut io = locked(&self.io);
        let ready = match self.poll.take() {
            Ok(ready) => ready,
            Err(error) => {
                tracing::debug!(id = self.id, %error, "character device cannot poll");
                return;
            }
        };
        if ready.source && io.link.is_none() {
            io.link = io.source.ready(&self.poll);
            if io.link.is_some() {
                locked(&self.queues).connected(true);
            }
        }
        self.pump_output(&mut io);
        self.pump_input(&mut io, ready.input);
        self.rearm(&mut io);
        drop(io);
        self.deliver();
    }

    /// Writes queued output until the queue is empty or the far end blocks.
    fn pump_output(&self, io: &mut Io) {
        let mut chunk = [0; CHUNK];
        loop {
            let n = locked(&self.queues).peek_output(&mut chunk);
            if n == 0 {
                io.blocked = false;
                return;
            }
            let outcome = io.link.as_mut().map_or(Outcome::Done(n), |link| link.write(&chunk[..n]));
            let written = match outcome {
                Outcome::Done(written) => written,
                Outcome::Blocked => {
                    io.blocked = true;
                    return;
                }
                Outcome::Over => {
                    io.link.iter_mut().for_each(|link| link.end_output(&self.poll));
                    continue;
                }
            };
            io.copy(&self.id, &chunk[..written]);
            locked(&self.queues).drop_output(written);
        }
    }

    /// Reads the far end until there is no more, or no more room.
    fn pump_input(&self, io: &mut Io, readable: bool) {
        let Some(link) = &io.link else { return };
        if !readable && !link.always_readable() {
            return;
        }
        let mut chunk = [0; CHUNK];
        while let Some(link) = &mut io.link {
            let room = locked(&self.queues).input_room().min(CHUNK);
            if room == 0 {
                return;
            }
            match link.read(&mut chunk[..room]) {
                Outcome::Done(n) => locked(&self.queues).push_input(&chunk[..n]),
                Outcome::Blocked => return,
                Outcome::Over if link.is_duplex() => self.hang_up(io),
                Outcome::Over => {
                    link.end_input(&self.poll);
                    return;
                }
            }
        }
    }

    fn hang_up(&self, io: &mut Io) {
        if let Some(mut link) = io.link.take() {
            link.unwatch(&self.poll);
            io.source.lost(&self.poll);
            let mut queues = locked(&self.queues);
            // What was meant for this one is not for the next.
            queues.forget_output();
            queues.connected(false);
        }
    }

    /// Waits for what is wanted of the far end now.
    fn rearm(&self, io: &mut Io) {
        // Output that the client calls added since is announced by a wake of its own.
        let want_input = locked(&self.queues).input_room() > 0;
        let blocked = io.blocked;
        let Some(link) = &mut io.link else { return };
        let was_always = link.always_readable();
        if let Err(error) = link.watch(&self.poll, want_input, blocked) {
            tracing::warn!(id = self.id, %error, "character device cannot watch its far end");
            self.hang_up(io);
        } else if link.always_readable() && !was_always {
            self.poll.wake();
        }
    }

    /// Tells the users and the program what happened. No locks are held while they run.
    fn deliver(&self) {
        let notices = locked(&self.queues).take_notices();
        for notice in notices {
            match notice {
                Notice::Input(slot) => slot.call(|client| client.input_ready()),
                Notice::Output(slot) => slot.call(|client| client.output_ready()),
                Notice::Event(slot, event) => slot.call(|client| client.event(event)),
                Notice::Host(request) => match self.host.get() {
                    Some(handler) => handler(request),
                    None => tracing::debug!(id = self.id, ?request, "nobody answers"),
                },
            }
        }
        // A wait for help text or for a focus change may have queued output.
        if locked(&self.queues).take_wake() {
            self.poll.wake();
        }
    }

    /// Writes out what is queued, and what users held back because the queue was full, for at most `timeout`;
    /// `false` if something is left. For the end of the program, when the machine and the event loop have
    /// stopped: clients are called on this thread.
    pub fn drain(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        loop {
            let mut io = locked(&self.io);
            self.pump_output(&mut io);
            if io.blocked {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                if let Some(Err(error)) = io.link.as_mut().map(|link| link.wait_writable(left)) {
                    tracing::debug!(id = self.id, %error, "cannot wait for the far end");
                    return false;
                }
            }
            let blocked = io.blocked;
            drop(io);
            self.deliver();
            if !blocked && locked(&self.queues).is_drained() {
                return true;
            }
        }
    }

    /// Waits until the far end says something or has gone, for at most `timeout`: it may confirm the last word, and calls it an
    /// error if nobody is there to hear that. For the end of the program, behind [`Chardev::drain`].
    pub fn hear_out(&self, timeout: Duration) {
        if let Some(Err(error)) = locked(&self.io).link.as_ref().map(|link| link.wait_readable(timeout)) {
            tracing::debug!(id = self.id, %error, "cannot wait for the far end");
        }
    }

    /// Ends the connection, and whatever could make another one; names in the file system go with it. Output is swallowed
    /// from then on. For the end of the program: users may keep the device for longer.
    pub fn close(&self) {
        let mut io = locked(&self.io);
        if let Some(mut link) = io.link.take() {
            link.unwatch(&self.poll);
        }
        io.source = source::closed();
    }

    /// Takes up to `max` bytes out of a ring buffer; nothing from other devices.
    pub fn read_ring(&self, max: usize) -> Vec<u8> {
        let mut io = locked(&self.io);
        self.pump_output(&mut io);
        io.ring.as_mut().map_or_else(Vec::new, |ring| ring.take(max))
    }

    /// The first descriptor that the far end has handed over with what it said (`SCM_RIGHTS`) and that nobody has taken yet.
    pub fn take_descriptor(&self) -> Option<OwnedFd> {
        locked(&self.io).link.as_mut()?.take_descriptor()
    }

    /// Whether somebody is at the far end.
    pub fn is_connected(&self) -> bool {
        locked(&self.io).link.is_some()
    }
}

impl Io {
    /// Copies output to the log and the ring.
    fn copy(&mut self, id: &str, data: &[u8]) {
        if let Some(ring) = &mut self.ring {
            ring.push(data);
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.write_all(data)
        {
            tracing::warn!(id, %error, "cannot write the log of a character device, which ends here");
            self.log = None;
        }
    }
}

impl EventSubscriber for Chardev {
    fn process(&self, _: Events, _: &mut EventOps) {
        self.service();
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new_raw(self.poll.fd().as_raw_fd(), EventSet::IN)) {
            tracing::error!(id = self.id, %error, "the event loop does not take a character device");
        }
    }
}

/// A user's place at a character device. Calls never block and may come from any thread.
pub struct Endpoint {
    chardev: Arc<Chardev>,
    index: usize,
    slot: Arc<Slot>,
}

impl Endpoint {
    /// Who is told of input and room. Bytes that came before are announced on the event loop.
    pub fn connect(&self, client: Weak<dyn ChardevClient>) {
        self.slot.connect(client);
        locked(&self.chardev.queues).announce(self.index);
        self.chardev.poll.wake();
    }

    /// Queues output; returns how many bytes were taken. After less than all, `output_ready` follows.
    pub fn write(&self, data: &[u8]) -> usize {
        self.queue(data, Poll::wake)
    }

    /// The same for those who send single bytes: it is written a moment later, together with what follows, as
    /// waking the event loop for each byte would cost more than all else.
    pub fn write_collecting(&self, data: &[u8]) -> usize {
        self.queue(data, Poll::wake_soon)
    }

    fn queue(&self, data: &[u8], wake: fn(&Poll)) -> usize {
        if self.chardev.discards || data.is_empty() {
            return data.len();
        }
        let (taken, idle) = locked(&self.chardev.queues).push_output(self.index, data);
        if taken < data.len() {
            self.chardev.poll.wake();
        } else if idle {
            wake(&self.chardev.poll);
        }
        taken
    }

    /// Bytes of input that wait; costs one load.
    pub fn available(&self) -> usize {
        self.slot.available()
    }

    /// Fetches input; returns how many bytes.
    pub fn read(&self, buf: &mut [u8]) -> usize {
        if buf.is_empty() || self.available() == 0 {
            return 0;
        }
        let (taken, wake) = locked(&self.chardev.queues).take_input(self.index, buf);
        if wake {
            self.chardev.poll.wake();
        }
        taken
    }

    pub fn chardev(&self) -> &Arc<Chardev> {
        &self.chardev
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}.{})", self.chardev.id, self.index)
    }
}
