//! Back ends whose connection exists from the start: nothing, files, named pipes, standard input and output.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Source, create_file, open_error};
use crate::chardev::ChardevError;
use crate::chardev::link::{Link, Stream};
use crate::chardev::poll::Poll;
use crate::chardev::terminal::Terminal;

/// Hands out its one connection.
pub(super) struct Fixed {
    link: Option<Link>,
    _stdio: Option<Stdio>,
}

/// What the use of standard input and output holds until the device is closed.
struct Stdio {
    _terminal: Option<Terminal>,
}

static STDIO_TAKEN: AtomicBool = AtomicBool::new(false);

impl Drop for Stdio {
    fn drop(&mut self) {
        STDIO_TAKEN.store(false, Ordering::Release);
    }
}

impl Source for Fixed {
    fn start(&mut self, _: &Poll) -> io::Result<Option<Link>> {
        Ok(self.link.take())
    }
}

impl Fixed {
    /// No far end: output goes to a log or a ring at most.
    pub fn nothing() -> Self {
        Self { link: None, _stdio: None }
    }

    fn new(link: Link) -> Self {
        Self { link: Some(link), _stdio: None }
    }
}

pub(super) fn file(id: &str, path: &Path, append: bool, input: Option<&Path>) -> Result<Fixed, ChardevError> {
    // The path may name a device or a pipe that is slow to take output.
    let output = Stream::owned(create_file(id, path, append)?).map_err(|e| open_error(id, path, e))?;
    let open_input = |path: &Path| {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        file.and_then(Stream::owned).map_err(|e| open_error(id, path, e))
    };
    let input = input.map(open_input).transpose()?;
    Ok(Fixed::new(Link::pair(input, Some(output))))
}

/// `PATH.in` and `PATH.out`, or `PATH` for both directions where those do not exist.
pub(super) fn pipe(id: &str, path: &Path) -> Result<Fixed, ChardevError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // Opened for both directions, a named pipe neither waits for a peer nor ends when the peer leaves.
    let open = |path: &Path| {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("it is not a named pipe"));
        }
        Stream::owned(file)
    };
    let (input, output) = (with(".in"), with(".out"));
    if input.exists() || output.exists() {
        let input_stream = open(&input).map_err(|e| open_error(id, &input, e))?;
        let output_stream = open(&output).map_err(|e| open_error(id, &output, e))?;
        return Ok(Fixed::new(Link::pair(Some(input_stream), Some(output_stream))));
    }
    let both = || open(path).map_err(|e| open_error(id, path, e));
    Ok(Fixed::new(Link::pair(Some(both()?), Some(both()?))))
}

/// Standard input and output; one device at a time.
pub(super) fn stdio(id: &str, signals: bool) -> Result<Fixed, ChardevError> {
    if STDIO_TAKEN.swap(true, Ordering::AcqRel) {
        return Err(ChardevError::StdioTaken { id: id.to_owned() });
    }
    let mut stdio = Stdio { _terminal: None };
    let failed =
        |source| ChardevError::Create { id: id.to_owned(), what: "a stream on standard input and output", source };
    let input = own(&io::stdin(), true).map_err(failed)?;
    let output = own(&io::stdout(), false).map_err(failed)?;
    stdio._terminal = Terminal::raw(signals).map_err(failed)?;
    Ok(Fixed { link: Some(Link::pair(Some(input), Some(output))), _stdio: Some(stdio) })
}

/// A descriptor of our own for a standard stream. Non-blocking mode belongs to the open file, which the
/// shell and our error messages share: so terminals and pipes are opened anew where the system lets us, and
/// otherwise asked before each call.
fn own(standard: &impl AsFd, input: bool) -> io::Result<Stream> {
    let duplicate = standard.as_fd().try_clone_to_owned()?;
    let kind = File::from(duplicate.try_clone()?).metadata()?.file_type();
    if kind.is_char_device() || kind.is_fifo() {
        let path = format!("/proc/self/fd/{}", duplicate.as_raw_fd());
        let opened =
            OpenOptions::new().read(input).write(!input).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        if let Ok(file) = opened {
            return Stream::owned(file);
        }
    }
    Ok(Stream::careful(duplicate))
}
