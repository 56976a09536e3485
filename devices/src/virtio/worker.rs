//! The thread that serves a device's queues, and the bell that wakes it.
//!
//! A kick must be cheap for the vCPU that makes it. As a store to the device's register it sets a bit, and only if the
//! worker sleeps does it pay for a system call. Where the engine can ([`IoEvents`]) the store does not leave the guest's
//! side at all: it writes to a descriptor of the queue's own, which the worker's poller watches.
//!
//! Both ways are changed at any time, with kicks under way, and none is lost. A driver fills its ring before it kicks,
//! and a worker looks at every ring once when it starts, which is after it began to watch the bits and all descriptors;
//! it watches them until it ends. So a kick either comes while a worker watches the way that it took, or there will be a
//! start after it. What is left of a kick then, a bit or a count, is at most one look too many.
//!
//! The worker owns its [`Task`] outright; nothing of it is shared, so it holds no locks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::retry_on_intr;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::IoEvents;

/// Token of the bell itself.
const BELL: u64 = u64::MAX;
/// Token of queue 0's descriptor; the others' follow. A task's own tokens are below.
const QUEUE: u64 = BELL - 64;

/// The queue of an event with a queue's token, as a bit.
fn queue_bit(token: u64) -> u64 {
    token.checked_sub(QUEUE).filter(|queue| *queue < 64).map_or(0, |queue| 1 << queue)
}

/// The queues' own descriptors, where the engine turns stores into events.
struct QueueEvents {
    io: Arc<dyn IoEvents>,
    /// Of the register that kicks.
    offset: u64,
    /// By queue. Never read: the poller sees every addition, and the counter stops at its largest value.
    events: Vec<OwnedFd>,
    /// The queues whose kicks are events now, a bit each. Only the transport changes it.
    assigned: AtomicU64,
}

/// The driver's kicks, one bit a queue.
pub struct Doorbell {
    kicked: AtomicU64,
    stop: AtomicBool,
    /// Set by the worker before it sleeps; whoever clears it owes it a wake-up.
    sleeping: AtomicBool,
    event: OwnedFd,
    queue_events: OnceLock<QueueEvents>,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        let (kicked, stop, sleeping) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { kicked, stop, sleeping, event: new_event()?, queue_events: OnceLock::new() })
    }

    /// From now on `queues` queues of a running device are kicked by events: by stores of their numbers at `offset`.
    /// At most once, and not while a worker runs.
    pub fn connect(&self, io: Arc<dyn IoEvents>, offset: u64, queues: usize) -> io::Result<()> {
        let events = (0..queues.min(64)).map(|_| new_event()).collect::<Result<_, _>>()?;
        let queue_events = QueueEvents { io, offset, events, assigned: AtomicU64::new(0) };
        assert!(self.queue_events.set(queue_events).is_ok(), "a doorbell is connected once");
        Ok(())
    }

    /// The worker runs: kicks of these queues (a bit each) may become events. Those that cannot, ring.
    pub(super) fn begin_events(&self, queues: u64) {
        let Some(q) = self.queue_events.get() else { return };
        for (number, event) in (0u32..).zip(&q.events).filter(|(number, _)| queues & 1 << number != 0) {
            if q.io.assign(q.offset, number, event.as_fd()) {
                q.assigned.fetch_or(1 << number, Ordering::Relaxed);
            }
        }
    }

    /// When this returns every kick rings.
    pub(super) fn end_events(&self) {
        let Some(q) = self.queue_events.get() else { return };
        let assigned = q.assigned.swap(0, Ordering::Relaxed);
        for (number, event) in (0u32..).zip(&q.events).filter(|(number, _)| assigned & 1 << number != 0) {
            q.io.deassign(q.offset, number, event.as_fd());
        }
    }

    /// Edge-triggered, so nobody needs to read a counter back to zero.
    fn watch(&self, epoll: &OwnedFd) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(epoll, self.event.as_fd(), epoll::EventData::new_u64(BELL), flags)?;
        for (token, event) in (QUEUE..BELL).zip(self.queue_events.get().map_or(&[][..], |q| &q.events)) {
            epoll::add(epoll, event.as_fd(), epoll::EventData::new_u64(token), flags)?;
        }
        Ok(())
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

fn new_event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
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
    /// Calls [`Task::ready`] with `token` while `fd` is readable. The tokens from 2^64 - 65 on are the worker's own.
    pub fn add(&self, token: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
        debug_assert!(token < QUEUE, "the worker's own token");
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Ends [`Self::add`].
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // Fails only if it is not there.
        let _ = epoll::delete(&self.epoll, fd);
    }
}

/// A driver starts its device from a hart's thread, whose CPUs (`-smp affinity=`) are not the worker's.
fn run_anywhere() {
    let program = sched_getaffinity(Some(rustix::process::getpid()));
    if let Err(error) = program.and_then(|cpus| sched_setaffinity(None, &cpus)) {
        tracing::debug!(%error, "a device's worker stays on the CPUs of a hart");
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
        doorbell.watch(&poller.epoll)?;
        task.start(&poller)?;
        doorbell.stop.store(false, Ordering::SeqCst);
        doorbell.kicked.store(queues, Ordering::SeqCst);
        let bell = Arc::clone(&doorbell);
        let body = move || {
            run_anywhere();
            run(task, &poller, queues, &bell)
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
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
        let rung = |event: &epoll::Event| queue_bit({ event.data }.u64());
        let mut kicked = events.iter().map(rung).fold(bell.kicked.swap(0, Ordering::SeqCst), |all, bit| all | bit);
        kicked &= queues;
        let mut again = 0;
        while kicked != 0 {
            let queue = kicked.trailing_zeros();
            kicked &= kicked - 1;
            again |= u64::from(task.kicked(queue as u16, poller)) << queue;
        }
        for event in events.drain(..) {
            let epoll::Event { data, .. } = event;
            if data.u64() < QUEUE && task.ready(data.u64(), poller) {
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

    /// A place that takes every assignment and does nothing: the test stores by itself.
    struct Anything;

    impl IoEvents for Anything {
        fn assign(&self, _: u64, _: u32, _: BorrowedFd<'_>) -> bool {
            true
        }
        fn deassign(&self, _: u64, _: u32, _: BorrowedFd<'_>) {}
    }

    /// A ring of one place, which a look empties.
    struct Look {
        filled: Arc<AtomicBool>,
        taken: Sender<()>,
    }

    impl Task for Look {
        fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
            if queue == 1 && self.filled.swap(false, Ordering::SeqCst) {
                let _ = self.taken.send(());
            }
            false
        }
    }

    /// The driver fills its ring and kicks, by either way, at each point of a worker's life: also by the way that ends
    /// there, and by the one that has not begun.
    #[test]
    fn no_kick_is_lost_whenever_the_worker_starts_and_stops() {
        for (by_event, point) in (0..6).flat_map(|point| [(false, point), (true, point)]) {
            let bell = Arc::new(Doorbell::new().unwrap());
            bell.connect(Arc::new(Anything), 0x50, 2).unwrap();
            let (taken, ears) = channel();
            let filled = Arc::new(AtomicBool::new(false));
            let start = || {
                let look = Look { filled: Arc::clone(&filled), taken: taken.clone() };
                Worker::spawn("test", look, 0b11, Arc::clone(&bell)).unwrap()
            };
            let at = |here: usize| match by_event {
                _ if point != here => {}
                true => {
                    filled.store(true, Ordering::SeqCst);
                    let event = &bell.queue_events.get().unwrap().events[1];
                    rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
                }
                false => {
                    filled.store(true, Ordering::SeqCst);
                    bell.ring(1);
                }
            };
            let worker = start();
            at(0);
            bell.begin_events(0b11);
            at(1);
            bell.end_events();
            at(2);
            worker.stop().unwrap();
            at(3);
            let worker = start();
            at(4);
            bell.begin_events(0b11);
            at(5);
            let heard = ears.recv_timeout(Duration::from_secs(20));
            assert!(heard.is_ok(), "lost at point {point}, by event: {by_event}");
            worker.stop().unwrap();
        }
    }

    #[test]
    fn a_queues_event_is_a_kick_awake_or_asleep() {
        let bell = Arc::new(Doorbell::new().unwrap());
        bell.connect(Arc::new(Anything), 0x50, 64).unwrap();
        let (heard, ears) = channel();
        let echo = Echo { heard, pipe: None, finished: false };
        let worker = Worker::spawn("test", echo, 1 << 63 | 0b10, Arc::clone(&bell)).unwrap();
        assert_eq!((ears.recv().unwrap(), ears.recv().unwrap()), (1, 63));
        let events = &bell.queue_events.get().unwrap().events;
        // Nobody reads the counters, so a full one must wake as well.
        rustix::io::write(&events[63], &(u64::MAX - 2001).to_ne_bytes()).unwrap();
        assert_eq!(ears.recv().unwrap(), 63);
        for i in 0..2000 {
            rustix::io::write(&events[63], &1u64.to_ne_bytes()).unwrap();
            assert_eq!(ears.recv().unwrap(), 63);
            if i % 500 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        rustix::io::write(&events[5], &1u64.to_ne_bytes()).unwrap(); // not ours
        worker.stop().unwrap();
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
