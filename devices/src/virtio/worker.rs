//! The thread that serves a device's queues, and the bell that wakes it.
//!
//! To wake a thread takes longer than most requests: so a hart that kicks serves the queue itself ([`Doorbell::kick`]),
//! as far as that needs no waiting and is soon done. The rest, and all that comes from elsewhere, is the worker's. Then
//! the kick sets a bit, and only if the worker sleeps does it pay for a system call. Where the engine can ([`IoEvents`])
//! the store does not leave the guest's side at all: it writes to a descriptor of the queue's own, which the worker's
//! poller watches.
//!
//! Both ways are changed at any time, with kicks under way, and none is lost. A driver fills its ring before it kicks,
//! and a worker looks at every ring once when it starts, which is after it began to watch the bits and all descriptors;
//! it watches them until it ends. So a kick either comes while a worker watches the way that it took, or there will be a
//! start after it. What is left of a kick then, a bit or a count, is at most one look too many.
//!
//! The [`Task`] has one lock, which is held by whoever serves. The worker waits for it with no other lock held; a hart
//! that does not get it at once rings. What a task calls (interrupt lines, the file behind a disk) never comes back here.

use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::retry_on_intr;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::IoEvents;
use crate::unlocked::Scope;

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

/// The task of a device that runs.
struct Seat {
    task: Box<dyn Task>,
    /// The device's queues, a bit each.
    queues: u64,
    /// When the worker looks around even if nothing happens.
    wakes_at: Option<Instant>,
}

/// The driver's kicks, one bit a queue.
pub struct Doorbell {
    /// Not before the worker's start and after its end. Harts only try the lock.
    seat: Mutex<Option<Seat>>,
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
        let (seat, queue_events) = (Mutex::new(None), OnceLock::new());
        Ok(Self { seat, kicked, stop, sleeping, event: new_event()?, queue_events })
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

    /// The driver kicked a queue: serves it here, or rings. Numbers above 63 are ignored. For harts' threads.
    pub fn kick(&self, queue: u16) {
        if queue < 64 {
            let mut left = self.serve(queue);
            while left != 0 {
                self.ring(left.trailing_zeros() as u16);
                left &= left - 1;
            }
        }
    }

    /// Serves a queue on this thread if nobody else serves the device now. Returns the queues to ring for.
    fn serve(&self, queue: u16) -> u64 {
        // A hart that is woken may kick at once, and should find the seat free.
        let _scope = Scope::open();
        let Ok(mut guard) = self.seat.try_lock() else { return 1 << queue };
        let Some(seat) = guard.as_mut() else { return 1 << queue };
        if seat.queues & 1 << queue == 0 {
            return 0;
        }
        let Ok(left) = catch_unwind(AssertUnwindSafe(|| seat.task.kicked_here(queue))) else {
            tracing::error!("a device panicked; it is lost until restart");
            *guard = None;
            return 0;
        };
        // The worker sleeps for as long as it was to sleep before this.
        let sooner = seat.task.deadline().is_some_and(|d| seat.wakes_at.is_none_or(|at| d < at));
        left | u64::from(sooner) << queue
    }

    fn seat(&self) -> MutexGuard<'_, Option<Seat>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What a worker does. Every method but one runs on the worker's thread and must not block for long.
pub trait Task: Any + Send {
    /// Before the first event: a place to [`Poller::add`] descriptors.
    fn start(&mut self, _poller: &Poller) -> io::Result<()> {
        Ok(())
    }
    /// The driver kicked this queue. `true`: not done, call again after other events had their turn.
    fn kicked(&mut self, queue: u16, poller: &Poller) -> bool;
    /// The same on the thread of the hart that kicked: serves what needs no waiting and takes no longer than waking the
    /// worker would, answers included. Returns the queues that are left to the worker, a bit each.
    fn kicked_here(&mut self, queue: u16) -> u64 {
        1 << queue
    }
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
    thread: Option<JoinHandle<Option<Box<dyn Task>>>>,
    task: PhantomData<fn() -> T>,
}

impl<T: Task> Worker<T> {
    /// Starts a thread for `task`. Every queue in `queues` (a bit each) counts as kicked once.
    pub fn spawn(name: &str, mut task: T, queues: u64, doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let poller = Poller { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? };
        doorbell.watch(&poller.epoll)?;
        task.start(&poller)?;
        doorbell.stop.store(false, Ordering::SeqCst);
        doorbell.kicked.store(queues, Ordering::SeqCst);
        *doorbell.seat() = Some(Seat { task: Box::new(task), queues, wakes_at: None });
        let bell = Arc::clone(&doorbell);
        let body = move || {
            run_anywhere();
            run(&poller, queues, &bell)
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        let thread = thread.inspect_err(|_| *doorbell.seat() = None)?;
        Ok(Self { doorbell, thread: Some(thread), task: PhantomData })
    }

    /// Ends the thread and returns its task. `None` if it panicked.
    pub fn stop(mut self) -> Option<T> {
        let task: Box<dyn Any> = self.join()?;
        task.downcast().ok().map(|task| *task)
    }

    fn join(&mut self) -> Option<Box<dyn Task>> {
        let thread = self.thread.take()?;
        self.doorbell.stop.store(true, Ordering::SeqCst);
        self.doorbell.wake();
        let name = thread.thread().name().unwrap_or_default().to_owned();
        let task = thread.join();
        if task.is_err() {
            tracing::error!(device = name, "device worker panicked; the device is lost until restart");
            *self.doorbell.seat() = None;
        }
        task.ok().flatten()
    }
}

impl<T: Task> Drop for Worker<T> {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(poller: &Poller, queues: u64, bell: &Doorbell) -> Option<Box<dyn Task>> {
    let mut events = Vec::with_capacity(16);
    loop {
        let mut guard = bell.seat();
        if let Some(seat) = guard.as_mut() {
            round(&mut *seat.task, poller, queues, bell, &mut events);
            seat.wakes_at = seat.task.deadline();
        }
        events.clear();
        if bell.stop.load(Ordering::SeqCst) {
            let mut task = guard.take()?.task;
            drop(guard);
            task.finish();
            return Some(task);
        }
        let deadline = guard.as_ref().and_then(|seat| seat.wakes_at);
        drop(guard);
        let timeout = if bell.may_sleep() {
            deadline.map(|d| d.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        // An error here could only be a bad argument; the loop then polls.
        let _ = retry_on_intr(|| epoll::wait(&poller.epoll, spare_capacity(&mut events), timeout.as_ref()));
        bell.sleeping.store(false, Ordering::SeqCst);
    }
}

/// Serves what came in since the last round.
fn round(task: &mut dyn Task, poller: &Poller, queues: u64, bell: &Doorbell, events: &mut Vec<epoll::Event>) {
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
}

#[cfg(test)]
mod tests;
