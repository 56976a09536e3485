//! The thread that serves a device's queues, and the bell that wakes it.
//!
//! A kick must be cheap for the vCPU that makes it: it sets a bit, and only if the worker sleeps does it pay for a
//! system call. The worker owns its [`Task`] outright; nothing of it is shared, so it holds no locks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::retry_on_intr;

/// Token of the bell itself.
const BELL: u64 = u64::MAX;

/// The driver's kicks, one bit a queue.
pub struct Doorbell {
    kicked: AtomicU64,
    stop: AtomicBool,
    /// Set by the worker before it sleeps; whoever clears it owes it a wake-up.
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (kicked, stop, sleeping) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { kicked, stop, sleeping, event })
    }

    /// Rings for a queue; numbers above 63 are ignored. Any thread.
    pub fn ring(&self, queue: u16) {
        if queue < 64 {
            self.kicked.fetch_or(1 << queue, Ordering::SeqCst);
            self.wake();
        }
    }

    fn wake(&self) {
        if self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst) {
            // Can only fail when the counter is full, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Announces sleep. `false`: something happened, stay awake.
    fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let quiet = self.kicked.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst);
        if !quiet {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        quiet
    }
}

/// What a worker does. Every method runs on the worker's thread and must not block for long.
pub trait Task: Send + 'static {
    /// Before the first event: a place to [`Poller::add`] descriptors.
    fn start(&mut self, _poller: &Poller) -> io::Result<()> {
        Ok(())
    }
    /// The driver kicked this queue. `true`: not done, call again after other events had their turn.
    fn kicked(&mut self, queue: u16, poller: &Poller) -> bool;
    /// A descriptor is ready. `true`: as for `kicked`, and then every queue counts as kicked.
    fn ready(&mut self, _token: u64, _poller: &Poller) -> bool {
        false
    }
    /// After each round of events: hand over what was collected. Returns the queues to look at again, a bit each.
    fn round_done(&mut self, _poller: &Poller) -> u64 {
        0
    }
    /// When `round_done` wants to be called at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// The worker ends: wait for all that is in flight.
    fn finish(&mut self) {}
}

/// What the worker waits for besides the bell.
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// Calls [`Task::ready`] with `token` while `fd` is readable.
    pub fn add(&self, token: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Ends [`Self::add`].
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // Fails only if it is not there.
        let _ = epoll::delete(&self.epoll, fd);
    }
}

/// A running worker. Dropping it stops the thread and drops the task.
pub struct Worker<T: Task> {
    doorbell: Arc<Doorbell>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Task> Worker<T> {
    /// Starts a thread for `task`. Every queue in `queues` (a bit each) counts as kicked once.
    pub fn spawn(name: &str, mut task: T, queues: u64, doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let poller = Poller { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? };
        // Edge-triggered, so nobody needs to read the counter back to zero.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&poller.epoll, doorbell.event.as_fd(), epoll::EventData::new_u64(BELL), flags)?;
        task.start(&poller)?;
        doorbell.stop.store(false, Ordering::SeqCst);
        doorbell.kicked.store(queues, Ordering::SeqCst);
        let bell = Arc::clone(&doorbell);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run(task, &poller, queues, &bell))?;
        Ok(Self { doorbell, thread: Some(thread) })
    }

    /// Ends the thread and returns its task. `None` if it panicked.
    pub fn stop(mut self) -> Option<T> {
        self.join()
    }

    fn join(&mut self) -> Option<T> {
        let thread = self.thread.take()?;
        self.doorbell.stop.store(true, Ordering::SeqCst);
        self.doorbell.wake();
        let name = thread.thread().name().unwrap_or_default().to_owned();
        let task = thread.join();
        if task.is_err() {
            tracing::error!(device = name, "device worker panicked; the device is lost until restart");
        }
        task.ok()
    }
}

impl<T: Task> Drop for Worker<T> {
    fn drop(&mut self) {
        self.join();
    }
}

fn run<T: Task>(mut task: T, poller: &Poller, queues: u64, bell: &Doorbell) -> T {
    let mut events = Vec::with_capacity(16);
    loop {
        let mut kicked = bell.kicked.swap(0, Ordering::SeqCst) & queues;
        let mut again = 0;
        while kicked != 0 {
            let queue = kicked.trailing_zeros();
            kicked &= kicked - 1;
            again |= u64::from(task.kicked(queue as u16, poller)) << queue;
        }
        for event in events.drain(..) {
            let epoll::Event { data, .. } = event;
            if data.u64() != BELL && task.ready(data.u64(), poller) {
                again |= queues;
            }
        }
        again |= task.round_done(poller);
        if again != 0 {
            bell.kicked.fetch_or(again, Ordering::SeqCst);
        }
        if bell.stop.load(Ordering::SeqCst) {
            task.finish();
            return task;
        }
        let deadline = task.deadline().map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = if bell.may_sleep() { deadline } else { Some(Duration::ZERO) };
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        // An error here could only be a bad argument; the loop then polls.
        let _ = retry_on_intr(|| epoll::wait(&poller.epoll, spare_capacity(&mut events), timeout.as_ref()));
        bell.sleeping.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc::{Sender, channel};

    struct Echo {
        heard: Sender<u64>,
        pipe: Option<OwnedFd>,
        finished: bool,
    }

    impl Task for Echo {
        fn start(&mut self, poller: &Poller) -> io::Result<()> {
            self.pipe.as_ref().map_or(Ok(()), |p| poller.add(7, p.as_fd()))
        }
        fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
            self.heard.send(u64::from(queue)).is_err()
        }
        fn ready(&mut self, token: u64, poller: &Poller) -> bool {
            poller.remove(self.pipe.as_ref().expect("only source").as_fd());
            let _ = self.heard.send(100 + token);
            false
        }
        fn finish(&mut self) {
            self.finished = true;
        }
    }

    #[test]
    fn every_kick_is_heard_awake_or_asleep() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (heard, ears) = channel();
        let echo = Echo { heard, pipe: None, finished: false };
        let worker = Worker::spawn("test", echo, 0b11, Arc::clone(&bell)).unwrap();
        assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), (0, 1), "queues count as kicked at the start");
        for i in 0..2000 {
            bell.ring(1);
            assert_eq!(ears.recv().unwrap(), 1);
            if i % 500 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        bell.ring(5); // not ours
        bell.ring(200);
        let echo = worker.stop().unwrap();
        assert!(echo.finished);
        assert!(ears.try_recv().is_err());
    }

    #[test]
    fn descriptors_wake_it() {
        let (r, w) = std::io::pipe().unwrap();
        let bell = Arc::new(Doorbell::new().unwrap());
        let (heard, ears) = channel();
        let worker = Worker::spawn("test", Echo { heard, pipe: Some(r.into()), finished: false }, 0, bell).unwrap();
        rustix::io::write(&w, b"x").unwrap();
        assert_eq!(ears.recv().unwrap(), 107);
        drop(worker);
    }

    #[test]
    fn a_panic_loses_the_task_not_the_caller() {
        struct Bad;
        impl Task for Bad {
            fn kicked(&mut self, _: u16, _: &Poller) -> bool {
                panic!("on purpose")
            }
        }
        let bell = Arc::new(Doorbell::new().unwrap());
        let worker = Worker::spawn("test", Bad, 1, bell).unwrap();
        assert!(worker.stop().is_none());
    }
}
