//! Deadlines: what the board gives to chips that do something later, and timers as descriptors.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, EventSubscriber, Events};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

/// Makes timers.
pub trait TimerService: Send + Sync {
    /// A timer that calls `expired` on the event loop's thread, once for each time it is armed. The timer
    /// keeps `expired` alive and drops it with itself.
    fn timer(&self, expired: Box<dyn Fn() + Send + Sync>) -> io::Result<Box<dyn Timer>>;
}

/// A one-shot timer, idle at first. Dropping it disarms it.
///
/// Both calls may come from any thread and from inside `expired`, and do not wait for a running `expired`.
/// A call of `expired` that was already under way when the timer was set anew may still come.
pub trait Timer: Send + Sync {
    /// Expires at `deadline` or soon after, instead of any earlier setting; at once if it has passed.
    fn arm(&self, deadline: Instant);
    /// Idle again.
    fn disarm(&self);
}

/// A one-shot timer as a descriptor that becomes readable.
#[derive(Debug)]
pub(crate) struct TimerFd(OwnedFd);

impl TimerFd {
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    pub fn arm(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        self.set(after.max(Duration::from_nanos(1)))
    }

    pub fn disarm(&self) -> io::Result<()> {
        self.set(Duration::ZERO)
    }

    fn set(&self, after: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: seconds, tv_nsec: after.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// Whether it expired since it was armed or asked last.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

type Expired = Arc<dyn Fn() + Send + Sync>;

/// A [`TimerService`] as one subscriber of the event loop, whatever the number of timers.
pub struct EventLoopTimers {
    epoll: OwnedFd,
    next: AtomicU64,
    timers: Mutex<HashMap<u64, (Arc<TimerFd>, Expired)>>,
}

impl EventLoopTimers {
    pub fn new() -> io::Result<Arc<Self>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Arc::new(Self { epoll, next: AtomicU64::new(0), timers: Mutex::new(HashMap::new()) }))
    }

    fn timers(&self) -> MutexGuard<'_, HashMap<u64, (Arc<TimerFd>, Expired)>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes readable when [`EventLoopTimers::service`] has work.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Calls what has expired. On the event loop's thread; no lock is held meanwhile.
    pub fn service(&self) {
        let mut events = [MaybeUninit::<Event>::uninit(); 16];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&now)) else { return };
        for event in events {
            let timer = self.timers().get(&event.data.u64()).cloned();
            if let Some((fd, expired)) = timer
                && fd.take()
            {
                expired();
            }
        }
    }
}

impl TimerService for Arc<EventLoopTimers> {
    fn timer(&self, expired: Box<dyn Fn() + Send + Sync>) -> io::Result<Box<dyn Timer>> {
        let fd = Arc::new(TimerFd::new()?);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        epoll::add(&self.epoll, &fd.0, EventData::new_u64(id), EventFlags::IN)?;
        self.timers().insert(id, (fd.clone(), expired.into()));
        Ok(Box::new(LoopTimer { service: Arc::downgrade(self), id, fd }))
    }
}

impl EventSubscriber for EventLoopTimers {
    fn process(&self, _: Events, _: &mut EventOps) {
        self.service();
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new_raw(self.epoll.as_raw_fd(), EventSet::IN)) {
            tracing::error!(%error, "the event loop does not take the timers");
        }
    }
}

struct LoopTimer {
    service: Weak<EventLoopTimers>,
    id: u64,
    fd: Arc<TimerFd>,
}

impl Timer for LoopTimer {
    fn arm(&self, deadline: Instant) {
        // Cannot fail for a valid descriptor and time.
        let _ = self.fd.arm(deadline.saturating_duration_since(Instant::now()));
    }

    fn disarm(&self) {
        let _ = self.fd.disarm();
    }
}

impl Drop for LoopTimer {
    fn drop(&mut self) {
        if let Some(service) = self.service.upgrade() {
            let _ = epoll::delete(&service.epoll, &self.fd.0);
            // What it called is dropped outside the lock: it may own timers itself.
            let removed = service.timers().remove(&self.id);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::sync::atomic::AtomicUsize;

    fn ready(timers: &EventLoopTimers, timeout: &Timespec) -> bool {
        poll(&mut [PollFd::new(&timers.epoll, PollFlags::IN)], Some(timeout)).unwrap() > 0
    }

    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

    #[test]
    fn expires_once_each_time_it_is_armed() {
        let timers = EventLoopTimers::new().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let timer = timers.timer(Box::new(move || _ = counter.fetch_add(1, Ordering::SeqCst))).unwrap();
        assert!(!ready(&timers, &NOW), "idle at first");
        for round in 1..4 {
            timer.arm(Instant::now() + Duration::from_millis(1));
            assert!(ready(&timers, &PATIENCE));
            timers.service();
            assert_eq!(count.load(Ordering::SeqCst), round);
            assert!(!ready(&timers, &NOW));
        }
        // In the past, then withdrawn.
        timer.arm(Instant::now());
        assert!(ready(&timers, &PATIENCE));
        timer.disarm();
        timers.service();
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert_eq!(Arc::strong_count(&count), 2);
        drop(timer);
        assert_eq!(Arc::strong_count(&count), 1, "what it called is gone");
    }

    #[test]
    fn may_be_set_from_inside_and_far_away() {
        let timers = EventLoopTimers::new().unwrap();
        let slot: Arc<Mutex<Option<Box<dyn Timer>>>> = Arc::default();
        let inside = Arc::downgrade(&slot);
        let timer = timers.timer(Box::new(move || {
            let slot = inside.upgrade().unwrap();
            slot.lock().unwrap().as_ref().unwrap().arm(Instant::now() + Duration::from_secs(1 << 32));
        }));
        *slot.lock().unwrap() = Some(timer.unwrap());
        slot.lock().unwrap().as_ref().unwrap().arm(Instant::now());
        assert!(ready(&timers, &PATIENCE));
        timers.service();
        assert!(!ready(&timers, &NOW));
    }
}
