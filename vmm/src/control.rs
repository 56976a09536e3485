//! What the guest and the host ask of the machine: one pending request, and the attention of its monitors; taken by the
//! event loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use accel::debug::DebugStop;
use devices::misc::MachineControl;
use vmm_sys_util::eventfd::EventFd;

use crate::harts::Harts;
use crate::monitor::event::Cause;

/// Something that only the event loop may do, because it has to stop the harts first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A hart has stopped for a debugger.
    Debug { hart: u32, stop: DebugStop },
    /// The guest, or a monitor, wants to start again.
    Reset(Cause),
    /// The guest is done; the code becomes the program's.
    PowerOff(u8),
    /// The user, or a monitor, ends the program.
    Quit(Cause),
    /// A signal ends the program.
    Signal(i32),
    /// The machine cannot go on.
    Failure(String),
}

impl Request {
    /// Who asks more urgently wins over what was asked before.
    fn rank(&self) -> u8 {
        match self {
            Self::Debug { .. } => 0,
            Self::Reset(_) => 1,
            Self::PowerOff(_) => 2,
            Self::Quit(_) | Self::Signal(_) => 3,
            Self::Failure(_) => 4,
        }
    }
}

/// What the event loop finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    Request(Request),
    /// A monitor has something to read or to tell.
    Attention,
}

/// Takes requests from any thread, and never blocks.
pub struct Control {
    pending: Mutex<Option<Request>>,
    attention: AtomicBool,
    /// Readable while a request waits.
    event: EventFd,
    /// Stopped at once, so that a guest does not run on behind its own power-off.
    harts: OnceLock<Arc<Harts>>,
}

impl Control {
    pub fn new() -> std::io::Result<Self> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { pending: Mutex::new(None), attention: AtomicBool::new(false), event, harts: OnceLock::new() })
    }

    /// The harts that a request stops; once.
    pub fn bind(&self, harts: Arc<Harts>) {
        assert!(self.harts.set(harts).is_ok(), "the harts are bound once");
    }

    pub fn request(&self, request: Request) {
        tracing::debug!(?request, "asked of the machine");
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.as_ref().is_none_or(|p| p.rank() < request.rank()) {
                *pending = Some(request);
            }
        }
        if let Some(harts) = self.harts.get() {
            harts.ask_stop();
        }
        // The counter cannot overflow: `take` clears it, and 2^64 requests do not come before.
        let _ = self.event.write(1);
    }

    /// Has the main thread look after the monitors.
    pub fn attend(&self) {
        self.attention.store(true, Ordering::Release);
        let _ = self.event.write(1);
    }

    /// Requests first: they may end what a monitor would ask about.
    pub fn take(&self) -> Option<Wake> {
        let _ = self.event.read();
        let request = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(request) = request {
            // The event was read for both.
            if self.attention.load(Ordering::Acquire) {
                let _ = self.event.write(1);
            }
            return Some(Wake::Request(request));
        }
        self.attention.swap(false, Ordering::AcqRel).then_some(Wake::Attention)
    }

    /// Whether a request waits.
    pub fn is_asked(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Drops a waiting request if it is the guest's.
    pub fn forget_guest_requests(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.take_if(|request| {
            matches!(request, Request::Debug { .. } | Request::Reset(Cause::Guest) | Request::PowerOff(_))
        });
    }

    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

/// The finisher's side.
impl MachineControl for Control {
    fn poweroff(&self, code: u16) {
        // Exit codes have eight bits; a failure must not become a success.
        let code = if code != 0 && code & 0xff == 0 { 1 } else { code as u8 };
        self.request(Request::PowerOff(code));
    }

    fn reset(&self) {
        self.request(Request::Reset(Cause::Guest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_request_is_kept() {
        let c = Control::new().unwrap();
        assert_eq!(c.take(), None);
        c.poweroff(7);
        c.reset();
        assert_eq!(c.take(), Some(Wake::Request(Request::PowerOff(7))));
        c.reset();
        c.request(Request::Signal(15));
        c.request(Request::Quit(Cause::User));
        c.forget_guest_requests();
        assert_eq!(c.take(), Some(Wake::Request(Request::Signal(15))));
        c.reset();
        c.forget_guest_requests();
        assert_eq!(c.take(), None);
    }

    #[test]
    fn failures_stay_failures() {
        let c = Control::new().unwrap();
        c.poweroff(0x100);
        assert_eq!(c.take(), Some(Wake::Request(Request::PowerOff(1))));
    }
}
