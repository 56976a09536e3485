//! Samples of what harts do ([`Vcpu::set_profile`](crate::Vcpu::set_profile)): many times a second a hart's own thread is
//! interrupted wherever it is, and says where its guest is and who called that.
//!
//! Samples are taken by the clock and not where a hart happens to look up, so that code without such places counts as
//! much as any other. A sample is plain numbers: names are for who reads it.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::Mode;

mod frames;
mod guest;
mod ticker;

pub use frames::{Memory, Registers, unwind};
pub(crate) use guest::{Pages, look};
pub(crate) use ticker::Ticker;

/// The most return addresses of a sample.
pub const FRAMES: usize = 48;
/// Bytes of a process's name.
pub const NAME: usize = 16;

/// What the hart's thread was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Activity {
    /// Guest code, or what one of its instructions asks of the engine.
    #[default]
    Guest = 0,
    /// The engine's own work before guest code goes on: looking up and translating.
    Engine = 1,
    /// What the program does for the guest outside of the engine: SBI calls.
    Outside = 2,
    /// The hart waits for an interrupt.
    Idle = 3,
}

impl Activity {
    pub const ALL: [Self; 4] = [Self::Guest, Self::Engine, Self::Outside, Self::Idle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Engine => "engine",
            Self::Outside => "outside",
            Self::Idle => "idle",
        }
    }
}

/// Where a hart was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub activity: Activity,
    pub mode: Mode,
    pub virt: bool,
    pub pc: u64,
    /// The return-address register: the caller of a function without a frame. 0 where it says nothing.
    pub ra: u64,
    /// `satp`, or that of a guest in VS- and VU-mode: which address space it is.
    pub satp: u64,
    /// Linux's `task_struct` of what runs, if it is Linux: `tp` in the kernel, else `sscratch`.
    pub task: u64,
    /// Its name, where [`ProfileConfig::name_offset`] is known; else zeros.
    pub name: [u8; NAME],
    /// Return addresses, the innermost first.
    pub frames: [u64; FRAMES],
    /// How many there are.
    pub depth: u8,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            activity: Activity::default(),
            mode: Mode::User,
            virt: false,
            pc: 0,
            ra: 0,
            satp: 0,
            task: 0,
            name: [0; NAME],
            frames: [0; FRAMES],
            depth: 0,
        }
    }
}

impl Sample {
    pub fn frames(&self) -> &[u64] {
        &self.frames[..usize::from(self.depth).min(FRAMES)]
    }
}

/// Samples on their way from a hart's thread to the one that collects them. The producer may be a signal handler: it never
/// waits, and what has no room is counted.
pub struct Ring {
    slots: Box<[UnsafeCell<Sample>]>,
    /// Samples ever written, and ever read.
    written: AtomicUsize,
    read: AtomicUsize,
    lost: AtomicU64,
}

// SAFETY: a slot belongs to the producer until `written` has passed it and to the consumer until `read` has; there is one
// of each (`push`, `pop`).
unsafe impl Sync for Ring {}
// SAFETY: samples are plain data.
unsafe impl Send for Ring {}

impl Ring {
    /// Room for `capacity` samples.
    pub fn new(capacity: usize) -> Arc<Self> {
        let slots = (0..capacity.max(1)).map(|_| UnsafeCell::new(Sample::default())).collect();
        let (written, read, lost) = Default::default();
        Arc::new(Self { slots, written, read, lost })
    }

    /// Has `fill` write a sample, if there is room. For one thread, and not from inside `fill`.
    pub fn push(&self, fill: impl FnOnce(&mut Sample)) {
        let (written, read) = (self.written.load(Ordering::Relaxed), self.read.load(Ordering::Acquire));
        if written.wrapping_sub(read) >= self.slots.len() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // SAFETY: the slot is the producer's (see above).
        fill(unsafe { &mut *self.slots[written % self.slots.len()].get() });
        self.written.store(written.wrapping_add(1), Ordering::Release);
    }

    /// The oldest sample. For one thread.
    pub fn pop(&self) -> Option<Sample> {
        let (read, written) = (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Acquire));
        if read == written {
            return None;
        }
        // SAFETY: the slot is the consumer's (see above).
        let sample = unsafe { *self.slots[read % self.slots.len()].get() };
        self.read.store(read.wrapping_add(1), Ordering::Release);
        Some(sample)
    }

    /// Counts samples that were due and not taken.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Samples without room, or that could not be taken in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// How a hart is sampled.
#[derive(Clone)]
pub struct ProfileConfig {
    /// Samples a second.
    pub hz: u32,
    pub ring: Arc<Ring>,
    /// Where in Linux's `task_struct` the name of a process is, in bytes; 0: not known.
    pub name_offset: Arc<AtomicU32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_order_and_counts_what_it_has_no_room_for() {
        let ring = Ring::new(3);
        for round in 0..5u64 {
            for n in 0..4 {
                ring.push(|sample| sample.pc = round * 10 + n);
            }
            for n in 0..3 {
                assert_eq!(ring.pop().map(|sample| sample.pc), Some(round * 10 + n));
            }
            assert_eq!((ring.pop(), ring.lost()), (None, round + 1));
        }
    }

    #[test]
    fn a_ring_is_read_while_it_is_written() {
        const COUNT: u64 = 100_000;
        let ring = Ring::new(64);
        let (mut next, mut sum) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..COUNT).for_each(|n| ring.push(|sample| (sample.pc, sample.ra) = (n, !n))));
            while next + ring.lost() < COUNT {
                if let Some(sample) = ring.pop() {
                    assert_eq!(sample.ra, !sample.pc);
                    assert!(sample.pc >= next);
                    sum += sample.pc;
                    next += 1;
                }
            }
        });
        assert!(sum > 0 && ring.pop().is_none());
    }
}
