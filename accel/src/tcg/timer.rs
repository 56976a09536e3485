//! Wakes running harts when a deadline of theirs passes. Sleeping harts (WFI) wait for their own deadline.
//!
//! One thread a machine, asleep until the earliest deadline. A hart arms its entry when `stimecmp`,
//! `mtimecmp` or the SBI timer changes; an entry that fires only sets the hart's poll bit: whether an
//! interrupt is really pending is decided by the hart from the clock.

use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::hart::HartBox;
use super::smp::{POLL_IRQ, wake_in_time};
use crate::Clock;

struct State {
    /// Deadline of each hart in ticks, `u64::MAX` for none.
    deadlines: Vec<u64>,
    /// What the thread sleeps for; a later deadline need not wake it.
    sleeping_until: u64,
    stop: bool,
}

struct Inner {
    state: Mutex<State>,
    change: Condvar,
}

/// The machine's deadlines and their thread.
pub struct Timers {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Timers {
    pub fn new(clock: Arc<Clock>, harts: &[Arc<HartBox>]) -> std::io::Result<Self> {
        let state = State { deadlines: vec![u64::MAX; harts.len()], sleeping_until: u64::MAX, stop: false };
        let inner = Arc::new(Inner { state: Mutex::new(state), change: Condvar::new() });
        let harts: Vec<Weak<HartBox>> = harts.iter().map(Arc::downgrade).collect();
        let run = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("timer".into()).spawn(move || serve(&run, &clock, &harts))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// Replaces the deadline of `hart`.
    pub fn arm(&self, hart: u32, deadline: u64) {
        let mut state = self.inner.state.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(d) = state.deadlines.get_mut(hart as usize) {
            *d = deadline;
        }
        if deadline < state.sleeping_until {
            self.inner.change.notify_one();
        }
    }

    /// Adds a deadline of `hart`, keeping an earlier one.
    pub fn arm_earlier(&self, hart: u32, deadline: u64) {
        let mut state = self.inner.state.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(d) = state.deadlines.get_mut(hart as usize) {
            *d = deadline.min(*d);
        }
        if deadline < state.sleeping_until {
            self.inner.change.notify_one();
        }
    }

    /// The clock jumped or runs again: look at every deadline anew.
    pub fn clock_changed(&self) {
        self.inner.state.lock().unwrap_or_else(|e| e.into_inner()).sleeping_until = u64::MAX;
        self.inner.change.notify_one();
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.inner.state.lock().unwrap_or_else(|e| e.into_inner()).stop = true;
        self.inner.change.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take() {
            // The thread only fails by a panic, which has been reported already.
            let _ = thread.join();
        }
    }
}

fn serve(inner: &Inner, clock: &Clock, harts: &[Weak<HartBox>]) {
    wake_in_time();
    let mut state = inner.state.lock().unwrap_or_else(|e| e.into_inner());
    while !state.stop {
        let now = clock.now();
        let mut due = Vec::new();
        for (deadline, hart) in state.deadlines.iter_mut().zip(harts) {
            if *deadline <= now {
                *deadline = u64::MAX;
                due.push(hart);
            }
        }
        if !due.is_empty() {
            drop(state);
            due.iter().filter_map(|h| h.upgrade()).for_each(|h| h.shared.notify(POLL_IRQ));
            state = inner.state.lock().unwrap_or_else(|e| e.into_inner());
            continue;
        }
        let next = state.deadlines.iter().copied().min().unwrap_or(u64::MAX);
        state.sleeping_until = next;
        // A paused clock stands still: whoever resumes it calls `clock_changed`.
        let wait = clock.until(next).min(Duration::from_secs(3600)).max(Duration::from_micros(1));
        state = inner.change.wait_timeout(state, wait).unwrap_or_else(|e| e.into_inner()).0;
        state.sleeping_until = u64::MAX;
    }
}
