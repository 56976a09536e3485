//! The terminal that the program runs in, switched to raw mode and back.
//!
//! The way back has to work from anywhere: from `drop`, from `exit` (a handler is registered), from a panic
//! hook and from a signal handler. So the old settings lie behind an atomic pointer, and restoring them is
//! one system call that is safe in a signal handler.

use std::io;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The settings to go back to, and those in use; null outside raw mode. Never freed: a handler may look.
static SAVED: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());
static RAW: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());

fn apply(settings: &AtomicPtr<libc::termios>) {
    let settings = settings.load(Ordering::Acquire);
    if !settings.is_null() {
        // SAFETY: a non-null pointer here came from `Box::leak` and is never freed or written again;
        // tcsetattr is async-signal-safe.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) };
    }
}

/// Gives the terminal back as it was found. Async-signal-safe; without effect when it is not in raw mode.
/// For handlers of fatal signals and of SIGTSTP, and for panic hooks of programs that abort.
pub fn restore_terminal() {
    apply(&SAVED);
}

/// Raw mode again, after [`restore_terminal`]: for a handler of SIGCONT. Async-signal-safe.
pub fn reapply_terminal() {
    apply(&RAW);
}

extern "C" fn at_exit() {
    restore_terminal();
}

/// Raw mode, for as long as it lives.
#[derive(Debug)]
pub(super) struct Terminal(());

impl Terminal {
    /// Switches standard input to raw mode: bytes arrive as they are typed, unechoed and untranslated. Output
    /// keeps its translation of newlines. `signals`: Ctrl-C and its like still send signals. `None` if
    /// standard input is no terminal.
    pub fn raw(signals: bool) -> io::Result<Option<Self>> {
        // SAFETY: an all-zero termios is a valid value of this plain C struct.
        let mut saved: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live termios.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut saved) } != 0 {
            return Ok(None);
        }
        let mut raw = saved;
        raw.c_iflag &= !(libc::IGNBRK
            | libc::BRKINT
            | libc::PARMRK
            | libc::ISTRIP
            | libc::INLCR
            | libc::IGNCR
            | libc::ICRNL
            | libc::IXON);
        raw.c_oflag |= libc::OPOST;
        raw.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::IEXTEN);
        if !signals {
            raw.c_lflag &= !libc::ISIG;
        }
        raw.c_cflag = raw.c_cflag & !(libc::CSIZE | libc::PARENB) | libc::CS8;
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;

        SAVED.store(Box::leak(Box::new(saved)), Ordering::Release);
        RAW.store(Box::leak(Box::new(raw)), Ordering::Release);
        static AT_EXIT: Once = Once::new();
        // SAFETY: the handler is a plain function that may run at any exit.
        AT_EXIT.call_once(|| _ = unsafe { libc::atexit(at_exit) });
        // SAFETY: the pointer is to a live termios.
        match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw) } {
            0 => Ok(Some(Self(()))),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore_terminal();
        RAW.store(ptr::null_mut(), Ordering::Release);
        SAVED.store(ptr::null_mut(), Ordering::Release);
    }
}
