//! Signals of the host: those that end the program, and the terminal's stop and continue.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::chardev::{reapply_terminal, restore_terminal};
use event_manager::{EventOps, EventSet, EventSubscriber, Events};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
use signal_hook::low_level::{emulate_default_handler, pipe};

use crate::control::{Control, Request};

const CAUGHT: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT];

/// One pipe, and a flag for each signal that says which it was.
pub struct Signals {
    pipe: UnixStream,
    flags: Vec<(i32, Arc<AtomicBool>)>,
    control: Arc<Control>,
}

impl Signals {
    /// From now on the signals come here instead of ending the program.
    pub fn catch(control: Arc<Control>) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        // A file that may not grow fails the write; programs that are started have the usual again.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let mut flags = Vec::new();
        for signal in CAUGHT {
            // The flag first: who reads the pipe must find it set.
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            pipe::register(signal, write.try_clone()?)?;
            flags.push((signal, flag));
        }
        Ok(Self { pipe: read, flags, control })
    }

    fn handle(&self, signal: i32) {
        match signal {
            SIGTSTP => {
                restore_terminal();
                // Stops here; the machine's threads stop with the process.
                if let Err(error) = emulate_default_handler(SIGTSTP) {
                    tracing::debug!(%error, "cannot stop");
                }
            }
            SIGCONT => reapply_terminal(),
            signal => self.control.request(Request::Signal(signal)),
        }
    }
}

impl EventSubscriber for Signals {
    fn process(&self, _: Events, _: &mut EventOps) {
        let mut bytes = [0; 64];
        while (&self.pipe).read(&mut bytes).is_ok_and(|n| n > 0) {}
        for (signal, flag) in &self.flags {
            if flag.swap(false, Ordering::SeqCst) {
                self.handle(*signal);
            }
        }
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new_raw(self.pipe.as_raw_fd(), EventSet::IN)) {
            tracing::error!(%error, "the event loop does not take signals");
        }
    }
}
