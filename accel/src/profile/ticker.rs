//! A clock that interrupts one thread many times a second, by a signal.
//!
//! The signal goes to the thread that made the ticker and to no other, and what it calls is known to that thread alone. So a
//! signal that is late, behind the ticker's end, finds nothing to call.
//!
//! System calls that a signal interrupts go on by themselves (SA_RESTART), but for waits, which say that they were.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::sync::Once;

/// What is called: what the ticker was given, the signal's context (`ucontext_t`), and how many ticks were missed. It runs in a
/// signal handler: no locks, no allocations, nothing that unwinds.
pub type Tick = unsafe fn(data: *const (), context: *mut c_void, missed: u32);

thread_local! {
    /// Without a destructor, and nothing to be made at first use: a signal handler may look at it.
    static TARGET: Cell<Option<(Tick, *const ())>> = const { Cell::new(None) };
}

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// A clock of the thread that made it.
pub struct Ticker {
    timer: libc::timer_t,
    /// Stays with its thread.
    _own: PhantomData<*const ()>,
}

/// A real-time signal, as nothing else sends it; the first is that of KVM's kicks.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

unsafe extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some((tick, data)) = TARGET.get() else { return };
    // SAFETY: the kernel passes a `siginfo_t` of a timer, in which `si_overrun` stands behind `si_timerid`.
    let missed = unsafe { (*info.cast::<TimerInfo>()).overrun };
    // SAFETY: `errno` is the thread's; what was interrupted may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        tick(data, context, missed.max(0) as u32);
        *errno = kept;
    }
}

/// `siginfo_t` of a timer's signal (sigaction(2)), as 64-bit Linux has it.
#[repr(C)]
struct TimerInfo {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    _padding: libc::c_int,
    timer: libc::c_int,
    overrun: libc::c_int,
}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an all-zero `sigaction` is valid, and the handler keeps to what signal handlers may do.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) = handler;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal(), &action, std::ptr::null_mut());
        }
    });
}

impl Ticker {
    /// Calls `tick` with `data` on this thread `hz` times a second, 1 to 100,000. One a thread.
    ///
    /// # Errors
    /// The host has no timer for us.
    ///
    /// # Safety
    /// `data` is good for `tick` until the ticker is dropped, which this thread does.
    pub unsafe fn start(hz: u32, tick: Tick, data: *const ()) -> io::Result<Self> {
        install_handler();
        let mut timer = std::ptr::null_mut();
        // SAFETY: an all-zero `sigevent` is valid; the calls get values that live as long as they take.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let ticker = Self { timer, _own: PhantomData };
        TARGET.set(Some((tick, data)));
        let nanoseconds = SECOND / i64::from(hz.clamp(1, 100_000));
        let period = libc::timespec { tv_sec: nanoseconds / SECOND, tv_nsec: nanoseconds % SECOND };
        let times = libc::itimerspec { it_interval: period, it_value: period };
        // SAFETY: the timer was just made.
        if unsafe { libc::timer_settime(timer, 0, &times, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ticker)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        TARGET.set(None);
        // SAFETY: made in `start`, and nobody else knows it. A signal on its way finds no target.
        unsafe { libc::timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    unsafe fn count(data: *const (), context: *mut c_void, missed: u32) {
        assert!(!context.is_null());
        // SAFETY: a counter that outlives the ticker.
        let counter = unsafe { &*data.cast::<AtomicU64>() };
        counter.fetch_add(1 + u64::from(missed), Ordering::SeqCst);
    }

    #[test]
    fn ticks_reach_the_thread_that_asked_until_it_has_enough() {
        let count_on = |hz| {
            let counter = AtomicU64::new(0);
            let data: *const AtomicU64 = &counter;
            // SAFETY: the counter outlives the ticker, which is dropped on this thread.
            let ticker = unsafe { Ticker::start(hz, count, data.cast()) }.unwrap();
            while counter.load(Ordering::SeqCst) < 20 {
                std::hint::spin_loop();
            }
            drop(ticker);
            let end = counter.load(Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert_eq!(counter.load(Ordering::SeqCst), end);
        };
        let others: Vec<_> = (0..3).map(|n| std::thread::spawn(move || count_on(500 + n))).collect();
        count_on(1000);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
