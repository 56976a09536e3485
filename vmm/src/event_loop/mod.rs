//! The main thread's loop: consoles, timers, signals and requests, on epoll.

mod signals;

use std::io;
use std::sync::Arc;

use devices::misc::EventLoopTimers;
use event_manager::{EventManager, EventOps, EventSet, EventSubscriber, Events, SubscriberId, SubscriberOps};

use crate::control::{Control, Wake};
use signals::Signals;

/// Why the loop cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    #[error("cannot set up the event loop")]
    Setup(#[source] event_manager::Error),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("the event loop failed")]
    Run(#[source] event_manager::Error),
}

/// For [`EventLoop::turn`].
const FOREVER: i32 = -1;

/// Anything with a descriptor.
pub type Subscriber = Arc<dyn EventSubscriber + Send + Sync>;

pub struct EventLoop {
    manager: EventManager<Subscriber>,
    control: Arc<Control>,
}

/// Wakes the loop when a request waits; the loop takes it itself.
struct RequestBell(Arc<Control>);

impl EventSubscriber for RequestBell {
    fn process(&self, _: Events, _: &mut EventOps) {}

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(self.0.event(), EventSet::IN)) {
            tracing::error!(%error, "the event loop does not take requests");
        }
    }
}

impl EventLoop {
    pub fn new(control: Arc<Control>, timers: &Arc<EventLoopTimers>) -> Result<Self, EventLoopError> {
        let manager = EventManager::new().map_err(EventLoopError::Setup)?;
        let mut new = Self { manager, control: Arc::clone(&control) };
        new.add(Arc::new(RequestBell(control)));
        new.add(Arc::clone(timers) as Subscriber);
        Ok(new)
    }

    /// From now on signals that would end the program are requests.
    pub fn catch_signals(&mut self) -> Result<(), EventLoopError> {
        let signals = Signals::catch(Arc::clone(&self.control)).map_err(EventLoopError::Signals)?;
        self.add(Arc::new(signals));
        Ok(())
    }

    /// The number is for [`EventLoop::remove`].
    pub fn add(&mut self, subscriber: Subscriber) -> SubscriberId {
        self.manager.add_subscriber(subscriber)
    }

    /// Nobody who was added, or who was removed before, changes nothing.
    pub fn remove(&mut self, id: SubscriberId) {
        let _ = self.manager.remove_subscriber(id);
    }

    /// Serves everything until somebody asks something of the machine.
    pub fn next_wake(&mut self) -> Result<Wake, EventLoopError> {
        loop {
            if let Some(wake) = self.turn_while(&|| true)? {
                return Ok(wake);
            }
        }
    }

    /// Serves everything while a condition holds that events may change. `None`: it does not hold any more.
    pub fn turn_while(&mut self, condition: &dyn Fn() -> bool) -> Result<Option<Wake>, EventLoopError> {
        loop {
            match self.control.take() {
                Some(Wake::Attention) => {
                    // Somebody who always has another command does not keep consoles and signals waiting.
                    self.turn(0)?;
                    if !self.control.is_asked() {
                        return Ok(Some(Wake::Attention));
                    }
                    self.control.attend();
                    continue;
                }
                Some(request) => return Ok(Some(request)),
                None => {}
            }
            if !condition() {
                return Ok(None);
            }
            self.turn(FOREVER)?;
        }
    }

    /// Serves what is ready, and waits for it at most so many milliseconds.
    fn turn(&mut self, timeout: i32) -> Result<(), EventLoopError> {
        match self.manager.run_with_timeout(timeout) {
            Ok(_) => Ok(()),
            Err(event_manager::Error::Epoll(e)) if e.errno() == libc::EINTR => Ok(()),
            Err(e) => Err(EventLoopError::Run(e)),
        }
    }
}
