//! What the guest and the host ask of the machine: pending requests, and the attention of its monitors; taken by the
//! event loop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use accel::debug::DebugStop;
use devices::misc::MachineControl;
use vmm_sys_util::eventfd::EventFd;

use crate::harts::Harts;
use crate::monitor::event::{Cause, Event};

/// Something that only the event loop may do, because it has to stop the harts first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A hart has stopped for a debugger.
    Debug { hart: u32, stop: DebugStop },
    /// A disk has a request that its image failed, and the machine is to stop for it.
    IoError,
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
    /// What is answered first has the lowest.
    fn rank(&self) -> u8 {
        match self {
            Self::Failure(_) => 0,
            Self::Quit(_) | Self::Signal(_) => 1,
            Self::PowerOff(_) => 2,
            Self::Reset(_) => 3,
            Self::IoError => 4,
            Self::Debug { .. } => 5,
        }
    }

    /// Whether it comes from harts, and means nothing to the guest's next life.
    pub fn is_of_guest(&self) -> bool {
        matches!(self, Self::Debug { .. } | Self::IoError | Self::Reset(Cause::Guest) | Self::PowerOff(_))
    }
}

/// What the event loop finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    Request(Request),
    /// A monitor has something to read or to tell.
    Attention,
}

/// Events that wait for the main thread at most; those of a time are few, and it is never long away.
const UNTOLD: usize = 256;

/// Takes requests from any thread, and never blocks.
pub struct Control {
    /// By rank: the first that was asked.
    pending: Mutex<BTreeMap<u8, Request>>,
    attention: AtomicBool,
    /// What other threads have to tell the monitors.
    told: Mutex<Vec<Event>>,
    /// Readable while a request waits.
    event: EventFd,
    /// Stopped at once, so that a guest does not run on behind its own power-off.
    harts: OnceLock<Arc<Harts>>,
}

impl Control {
    pub fn new() -> std::io::Result<Self> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let (pending, attention, told) = (Mutex::default(), AtomicBool::new(false), Mutex::default());
        Ok(Self { pending, attention, told, event, harts: OnceLock::new() })
    }

    /// The harts that a request stops; once.
    pub fn bind(&self, harts: Arc<Harts>) {
        assert!(self.harts.set(harts).is_ok(), "the harts are bound once");
    }

    pub fn request(&self, request: Request) {
        tracing::debug!(?request, "asked of the machine");
        {
            let mut pending = self.pending();
            match pending.get_mut(&request.rank()) {
                // A monitor's reset is done even if the guest's was not worth it any more.
                Some(asked) if asked.is_of_guest() && !request.is_of_guest() => *asked = request,
                Some(_) => {}
                None => _ = pending.insert(request.rank(), request),
            }
        }
        if let Some(harts) = self.harts.get() {
            harts.ask_stop();
        }
        // The counter cannot overflow: `take` clears it, and 2^64 requests do not come before.
        let _ = self.event.write(1);
    }

    /// Whether something was asked for that ends the program.
    pub fn is_ending(&self) -> bool {
        self.pending()
            .values()
            .any(|request| matches!(request, Request::Quit(_) | Request::Signal(_) | Request::Failure(_)))
    }

    /// Has the main thread look after the monitors.
    pub fn attend(&self) {
        self.attention.store(true, Ordering::Release);
        let _ = self.event.write(1);
    }

    /// Tells the monitors of something. What they have not heard yet is not told twice.
    pub fn tell(&self, event: Event) {
        {
            let mut told = self.told();
            if told.len() >= UNTOLD || told.contains(&event) {
                return;
            }
            told.push(event);
        }
        self.attend();
    }

    /// What was to be told, in the order it came.
    pub fn take_told(&self) -> Vec<Event> {
        std::mem::take(&mut self.told())
    }

    fn told(&self) -> MutexGuard<'_, Vec<Event>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<u8, Request>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests first: they may end what a monitor would ask about.
    pub fn take(&self) -> Option<Wake> {
        let _ = self.event.read();
        let request = self.pending().pop_first();
        if let Some((_, request)) = request {
            // The event was read for all.
            if self.is_asked() || self.attention.load(Ordering::Acquire) {
                let _ = self.event.write(1);
            }
            return Some(Wake::Request(request));
        }
        self.attention.swap(false, Ordering::AcqRel).then_some(Wake::Attention)
    }

    /// Whether a request waits.
    pub fn is_asked(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Drops waiting requests of the guest: its life is over.
    pub fn forget_guest_requests(&self) {
        self.pending().retain(|_, request| !request.is_of_guest());
    }

    /// Drops what disks have stopped the machine for: they try it again.
    pub fn forget_io_errors(&self) {
        self.pending().retain(|_, request| *request != Request::IoError);
    }

    /// Drops what a hart has stopped for: the machine has been stopped otherwise.
    pub fn forget_debug_stops(&self) {
        self.pending().retain(|_, request| !matches!(request, Request::Debug { .. }));
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

    fn taken(c: &Control) -> Vec<Request> {
        let next = || match c.take()? {
            Wake::Request(request) => Some(request),
            Wake::Attention => panic!("nobody asks for attention"),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn requests_are_answered_by_urgency_and_none_is_lost() {
        let c = Control::new().unwrap();
        assert_eq!(taken(&c), []);
        let debug = |hart| Request::Debug { hart, stop: DebugStop::Breakpoint };
        c.request(debug(1));
        c.request(debug(0));
        c.request(Request::Reset(Cause::Monitor));
        c.reset();
        c.poweroff(7);
        c.poweroff(8);
        assert_eq!(taken(&c), [Request::PowerOff(7), Request::Reset(Cause::Monitor), debug(1)]);
        c.reset();
        c.request(Request::Reset(Cause::Monitor));
        c.request(Request::Signal(15));
        c.request(Request::Quit(Cause::User));
        c.request(debug(0));
        c.poweroff(0);
        c.forget_guest_requests();
        assert_eq!(taken(&c), [Request::Signal(15), Request::Reset(Cause::Monitor)]);
        c.reset();
        c.forget_guest_requests();
        assert_eq!(taken(&c), []);
    }

    #[test]
    fn the_event_stays_while_something_waits() {
        let c = Control::new().unwrap();
        let is_readable = || c.event.read().is_ok_and(|_| c.event.write(1).is_ok());
        c.attend();
        c.reset();
        c.poweroff(0);
        for _ in 0..3 {
            assert!(is_readable());
            assert!(c.take().is_some());
        }
        assert!(!is_readable());
        assert_eq!(c.take(), None);
    }

    #[test]
    fn failures_stay_failures() {
        let c = Control::new().unwrap();
        c.poweroff(0x100);
        assert_eq!(c.take(), Some(Wake::Request(Request::PowerOff(1))));
    }
}
