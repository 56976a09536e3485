//! A live connection to the far end: descriptors to read and write without blocking.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

use super::poll::{Poll, Token, Watch};
use super::telnet::{self, Telnet};

/// Bytes written at once to a descriptor that could block: below what the kernel calls writable.
const CAREFUL: usize = 256;
/// Descriptors that come over a socket and that nobody has asked for yet; more are closed. QEMU takes as many in a message.
const DESCRIPTORS_MAX: usize = 16;

/// A descriptor.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    /// It may block, and is not ours to change: ask before every call.
    careful: bool,
    /// What came along (`SCM_RIGHTS`), in its order; only Unix sockets have any.
    descriptors: Option<VecDeque<OwnedFd>>,
}

impl Stream {
    /// Takes a descriptor of our own and makes it non-blocking.
    pub fn owned(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        let fd = fd.into();
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        let is_local = sockopt::socket_domain(&fd).is_ok_and(|family| family == AddressFamily::UNIX);
        Ok(Self { file: fd.into(), careful: false, descriptors: is_local.then(VecDeque::new) })
    }

    /// Takes a descriptor whose flags others share.
    pub fn careful(fd: impl Into<OwnedFd>) -> Self {
        Self { file: fd.into().into(), careful: true, descriptors: None }
    }

    fn ready(&self, flags: PollFlags) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, flags)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut fds, Some(&now))? > 0)
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.careful && !self.ready(PollFlags::IN)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(descriptors) = &mut self.descriptors else { return (&self.file).read(buf) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.file, &mut [IoSliceMut::new(buf)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        descriptors.truncate(DESCRIPTORS_MAX);
        Ok(received.bytes)
    }

    fn write(&self, data: &[u8]) -> io::Result<usize> {
        if !self.careful {
            return (&self.file).write(data);
        }
        if !self.ready(PollFlags::OUT)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        (&self.file).write(&data[..data.len().min(CAREFUL)])
    }
}

#[derive(Debug)]
struct End {
    stream: Stream,
    watch: Watch,
}

impl End {
    fn watch(&mut self, poll: &Poll, flags: EventFlags) -> io::Result<()> {
        self.watch.set(poll, self.stream.file.as_fd(), flags)
    }

    fn wait(&self, flags: PollFlags, timeout: std::time::Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.stream.file, flags)], Some(&timeout))?;
        Ok(())
    }
}

/// What became of an attempt to read or write.
#[derive(Debug)]
pub(super) enum Outcome {
    Done(usize),
    /// Not now; the descriptor will say when.
    Blocked,
    /// That direction is over: end of file, or the peer is gone.
    Over,
}

impl Outcome {
    fn of(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::Over,
            Ok(n) => Self::Done(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => Self::Blocked,
            Err(error) => {
                tracing::debug!(%error, "character device lost its peer");
                Self::Over
            }
        }
    }
}

/// One connection. Without an input it never reads, without an output it swallows.
#[derive(Debug)]
pub(super) struct Link {
    input: Option<End>,
    output: Option<End>,
    /// `input` is a two-way descriptor and serves as output too.
    duplex: bool,
    /// The peer takes no more output; what it sent before it left may still be there to read.
    mute: bool,
    /// The peer speaks it.
    telnet: Option<Telnet>,
    /// The second half of an escape, which the peer did not take with the first.
    owed: bool,
}

impl Link {
    /// One two-way descriptor; when one direction ends, the link does.
    pub fn duplex(stream: Stream) -> Self {
        let input = Some(End { stream, watch: Watch::new(Token::Input) });
        Self { input, output: None, duplex: true, mute: false, telnet: None, owed: false }
    }

    /// The same with Telnet spoken; the peer has just come.
    pub fn telnet(stream: Stream) -> Self {
        let mut link = Self::duplex(stream);
        // A new connection takes so little at once; and who does not hear it speaks as it likes.
        let _ = link.write(&telnet::HELLO);
        link.telnet = Some(Telnet::default());
        link
    }

    /// A descriptor a direction, each of which may be absent or end alone.
    pub fn pair(input: Option<Stream>, output: Option<Stream>) -> Self {
        let end = |token| move |stream| End { stream, watch: Watch::new(token) };
        Self {
            input: input.map(end(Token::Input)),
            output: output.map(end(Token::Output)),
            duplex: false,
            mute: false,
            telnet: None,
            owed: false,
        }
    }

    fn output(&mut self) -> Option<&mut End> {
        let end = if self.duplex { &mut self.input } else { &mut self.output };
        end.as_mut().filter(|_| !self.mute)
    }

    pub fn is_duplex(&self) -> bool {
        self.duplex
    }

    /// Whether input is there for the asking, so that no event will announce it.
    pub fn always_readable(&self) -> bool {
        self.input.as_ref().is_some_and(|end| end.watch.always_ready())
    }

    pub fn read(&mut self, buf: &mut [u8]) -> Outcome {
        let read = self.input.as_mut().map_or(Outcome::Blocked, |end| Outcome::of(end.stream.read(buf)));
        match (read, &mut self.telnet) {
            (Outcome::Done(n), Some(telnet)) => Outcome::Done(telnet.strip(&mut buf[..n])),
            (read, _) => read,
        }
    }

    /// The first descriptor that came along and was not taken yet.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.input.as_mut()?.stream.descriptors.as_mut()?.pop_front()
    }

    /// Nobody listening counts as written.
    pub fn write(&mut self, data: &[u8]) -> Outcome {
        if self.telnet.is_none() {
            return self.write_plain(data);
        }
        if self.owed {
            match self.write_plain(&telnet::ESCAPED[1..]) {
                Outcome::Done(_) => self.owed = false,
                other => return other,
            }
        }
        match data.iter().position(|byte| telnet::is_special(*byte)) {
            Some(0) => match self.write_plain(&telnet::ESCAPED) {
                Outcome::Done(n) => {
                    self.owed = n < telnet::ESCAPED.len();
                    Outcome::Done(1)
                }
                other => other,
            },
            plain => self.write_plain(&data[..plain.unwrap_or(data.len())]),
        }
    }

    fn write_plain(&mut self, data: &[u8]) -> Outcome {
        self.output().map_or(Outcome::Done(data.len()), |end| Outcome::of(end.stream.write(data)))
    }

    /// Waits for what the device wants of each direction.
    pub fn watch(&mut self, poll: &Poll, input: bool, output: bool) -> io::Result<()> {
        let wanted = |want, flag| if want { flag } else { EventFlags::empty() };
        let (input, output) = (wanted(input, EventFlags::IN), wanted(output, EventFlags::OUT));
        if self.duplex {
            return self.input.as_mut().map_or(Ok(()), |end| end.watch(poll, input | output));
        }
        if let Some(end) = &mut self.input {
            end.watch(poll, input)?;
        }
        self.output.as_mut().map_or(Ok(()), |end| end.watch(poll, output))
    }

    /// Leaves the poll set; needed before the link is dropped.
    pub fn unwatch(&mut self, poll: &Poll) {
        // Nothing can be done about a descriptor that cannot be removed: the next event is ignored.
        let _ = self.watch(poll, false, false);
    }

    /// One direction of a pair ended.
    pub fn end_input(&mut self, poll: &Poll) {
        if let Some(mut end) = self.input.take() {
            let _ = end.watch(poll, EventFlags::empty());
        }
    }

    /// The peer takes no more output, which is swallowed from now on.
    pub fn end_output(&mut self, poll: &Poll) {
        self.mute = true;
        if let Some(mut end) = self.output.take() {
            let _ = end.watch(poll, EventFlags::empty());
        }
    }

    /// Blocks until the peer takes output again, or `timeout` is over.
    pub fn wait_writable(&mut self, timeout: std::time::Duration) -> io::Result<()> {
        self.output().map_or(Ok(()), |end| end.wait(PollFlags::OUT, timeout))
    }

    /// Blocks until there is input, or its end, or `timeout` is over.
    pub fn wait_readable(&self, timeout: std::time::Duration) -> io::Result<()> {
        self.input.as_ref().map_or(Ok(()), |end| end.wait(PollFlags::IN, timeout))
    }
}
