//! Wakes running harts when a deadline of theirs passes. Sleeping harts (WFI) wait for their own deadline.
//!
//! One thread a machine, asleep until the earliest deadline. A hart arms its entry when `stimecmp`,
//! `mtimecmp` or the SBI timer changes; an entry that fires only sets the hart's poll bit: whether an
//! interrupt is really pending is decided by the hart from the clock.
//!
//! Harts arm without a lock, for they do so at every interrupt. The thread says what it sleeps for and then looks at
//! the deadlines again, a hart sets its deadline and then looks at what the thread sleeps for: one of them sees the
//! other. Only who has an earlier deadline than the thread's passes through its lock, to wake it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::hart::HartBox;
use super::smp::{POLL_IRQ, wake_in_time};
use crate::Clock;

/// A hart's deadline in ticks, `u64::MAX` for none; in a line of its own.
#[repr(align(64))]
struct Deadline(AtomicU64);

/// What the thread does not sleep through.
#[derive(Default)]
struct Orders {
    /// The clock's time is not what the thread took it for.
    look_again: bool,
    stop: bool,
}

struct Inner {
    deadlines: Vec<Deadline>,
    /// What the thread sleeps for; a later deadline need not wake it. 0 while it is awake, when it looks by itself.
    sleeping_until: AtomicU64,
    orders: Mutex<Orders>,
    change: Condvar,
}

impl Inner {
    /// The thread sleeps until too late, if it sleeps.
    fn wake_for(&self, deadline: u64) {
        if deadline < self.sleeping_until.load(Ordering::SeqCst) {
            // Whoever says what it sleeps for has the lock until it sleeps.
            drop(self.orders.lock().unwrap_or_else(|e| e.into_inner()));
            self.change.notify_one();
        }
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(|e| e.into_inner()));
        self.change.notify_one();
    }
}

/// The machine's deadlines and their thread.
pub struct Timers {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Timers {
    pub fn new(clock: Arc<Clock>, harts: &[Arc<HartBox>]) -> std::io::Result<Self> {
        let deadlines = harts.iter().map(|_| Deadline(AtomicU64::new(u64::MAX))).collect();
        let (sleeping_until, orders) = (AtomicU64::new(0), Mutex::default());
        let inner = Arc::new(Inner { deadlines, sleeping_until, orders, change: Condvar::new() });
        let harts: Vec<Weak<HartBox>> = harts.iter().map(Arc::downgrade).collect();
        let run = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("timer".into()).spawn(move || serve(&run, &clock, &harts))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// Replaces the deadline of `hart`.
    pub fn arm(&self, hart: u32, deadline: u64) {
        let Some(Deadline(armed)) = self.inner.deadlines.get(hart as usize) else { return };
        if armed.swap(deadline, Ordering::SeqCst) != deadline {
            self.inner.wake_for(deadline);
        }
    }

    /// Adds a deadline of `hart`, keeping an earlier one.
    pub fn arm_earlier(&self, hart: u32, deadline: u64) {
        let Some(Deadline(armed)) = self.inner.deadlines.get(hart as usize) else { return };
        if armed.fetch_min(deadline, Ordering::SeqCst) > deadline {
            self.inner.wake_for(deadline);
        }
    }

    /// The clock jumped or runs again: look at every deadline anew.
    pub fn clock_changed(&self) {
        self.inner.order(|orders| orders.look_again = true);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.inner.order(|orders| orders.stop = true);
        if let Some(thread) = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take() {
            // The thread only fails by a panic, which has been reported already.
            let _ = thread.join();
        }
    }
}

fn serve(inner: &Inner, clock: &Clock, harts: &[Weak<HartBox>]) {
    wake_in_time();
    let mut orders = inner.orders.lock().unwrap_or_else(|e| e.into_inner());
    while !orders.stop {
        orders.look_again = false;
        let now = clock.now();
        let mut due = Vec::new();
        for (Deadline(armed), hart) in inner.deadlines.iter().zip(harts) {
            let deadline = armed.load(Ordering::SeqCst);
            // A hart that has armed another one meanwhile is looked at again.
            let over = |d| armed.compare_exchange(d, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if deadline <= now && over(deadline) {
                due.push(hart);
            }
        }
        if !due.is_empty() {
            drop(orders);
            due.iter().filter_map(|h| h.upgrade()).for_each(|h| h.shared.notify(POLL_IRQ));
            orders = inner.orders.lock().unwrap_or_else(|e| e.into_inner());
            continue;
        }
        let earliest = || inner.deadlines.iter().map(|d| d.0.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX);
        let next = earliest();
        inner.sleeping_until.store(next, Ordering::SeqCst);
        if earliest() >= next {
            // A paused clock stands still: whoever resumes it calls `clock_changed`.
            let wait = clock.until(next).min(Duration::from_secs(3600)).max(Duration::from_micros(1));
            let asleep = |orders: &mut Orders| !orders.look_again && !orders.stop && earliest() >= next;
            orders = inner.change.wait_timeout_while(orders, wait, asleep).unwrap_or_else(|e| e.into_inner()).0;
        }
        inner.sleeping_until.store(0, Ordering::SeqCst);
    }
}
