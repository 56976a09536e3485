//! A pseudo terminal for another program to open.
//!
//! The master side hangs up whenever nobody has the other side open, and nothing is reported when somebody
//! opens it. So an inotify watch on its name tells of that; where there is none to be had, a timer asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::{Opened, Source};
use crate::chardev::ChardevError;
use crate::chardev::link::{Link, Stream};
use crate::chardev::poll::{Poll, Token, Watch};
use crate::misc::timer::TimerFd;

/// How often to ask without inotify.
const ASK: Duration = Duration::from_secs(1);

struct Pty {
    master: OwnedFd,
    opened: Opens,
    watch: Watch,
    link: Option<SymbolicLink>,
}

/// Readable when somebody may have opened the other side.
enum Opens {
    Reported(OwnedFd),
    Asked(TimerFd),
}

impl Opens {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Reported(inotify) => inotify.as_fd(),
            Self::Asked(timer) => timer.as_fd(),
        }
    }
}

/// Removed with the device.
struct SymbolicLink(PathBuf);

impl Drop for SymbolicLink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn open(id: &str, link: Option<&Path>) -> Result<Opened, ChardevError> {
    let failed = |source: io::Error| ChardevError::Create { id: id.to_owned(), what: "a pseudo terminal", source };
    let (mut pty, name) = create().map_err(failed)?;
    if let Some(path) = link {
        std::os::unix::fs::symlink(&name, path).map_err(|e| super::open_error(id, path, e))?;
        pty.link = Some(SymbolicLink(path.to_owned()));
    }
    let notice = format!("char device redirected to {name} (label {id})");
    Ok(Opened { source: Box::new(pty), notice: Some(notice), place: Some(format!("pty:{name}")) })
}

fn create() -> io::Result<(Pty, String)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let name = name.to_str().map_err(io::Error::other)?.to_owned();
    // The settings last as long as the master does, so the first program that opens it finds a raw line. The
    // hang-up that follows when this descriptor closes marks the master as not connected.
    let slave = rustix::fs::open(
        &*name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let mut settings = tcgetattr(&slave)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    let opened = match watch_opens(&name) {
        Ok(inotify) => Opens::Reported(inotify),
        Err(error) => {
            tracing::debug!(%error, "no inotify for a pseudo terminal: asking every second");
            Opens::Asked(TimerFd::new()?)
        }
    };
    Ok((Pty { master, opened, watch: Watch::new(Token::Source), link: None }, name))
}

fn watch_opens(name: &str) -> io::Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&inotify, name, inotify::WatchFlags::OPEN)?;
    Ok(inotify)
}

impl Pty {
    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An error counts as connected: reading will tell.
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    fn link(&mut self, poll: &Poll) -> Option<Link> {
        if self.hung_up() {
            self.listen(poll);
            return None;
        }
        let stream = self.master.try_clone().and_then(Stream::owned);
        match stream {
            Ok(stream) => {
                let _ = self.watch.set(poll, self.opened.fd(), EventFlags::empty());
                Some(Link::duplex(stream))
            }
            Err(error) => {
                tracing::debug!(%error, "cannot use a pseudo terminal");
                None
            }
        }
    }

    fn listen(&mut self, poll: &Poll) {
        let armed = match &self.opened {
            Opens::Reported(_) => Ok(()),
            Opens::Asked(timer) => timer.arm(ASK),
        };
        let watched = armed.and_then(|()| self.watch.set(poll, self.opened.fd(), EventFlags::IN));
        if let Err(error) = watched {
            tracing::warn!(%error, "a pseudo terminal will not notice who opens it");
        }
    }
}

impl Source for Pty {
    fn start(&mut self, poll: &Poll) -> io::Result<Option<Link>> {
        Ok(self.link(poll))
    }

    fn ready(&mut self, poll: &Poll) -> Option<Link> {
        // Empties the queue of events, or the timer's count.
        while rustix::io::read(self.opened.fd(), &mut [0; 512]).is_ok_and(|n| n > 0) {}
        self.link(poll)
    }

    fn lost(&mut self, poll: &Poll) {
        self.listen(poll);
    }
}
