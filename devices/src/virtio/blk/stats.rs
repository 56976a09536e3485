//! What a disk has done since it was made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::block::Op;

/// Requests of a kind.
#[derive(Debug, Default)]
pub struct Count {
    operations: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds.
    waited: AtomicU64,
}

/// Who serves the disk counts, and anybody reads: numbers of one moment need not fit each other.
#[derive(Debug, Default)]
pub struct BlkStats {
    pub reads: Count,
    pub writes: Count,
    pub flushes: Count,
    /// Discards and zeroes that may be holes.
    pub unmaps: Count,
    highest: AtomicU64,
}

impl Count {
    /// Requests that went well.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Of those.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long they waited for the image, together; what is answered at once waits for nothing.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// Requests that the image failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// One thread counts at a time, so no addition is lost.
fn add(to: &AtomicU64, n: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl BlkStats {
    /// Kinds of requests, as QMP calls them.
    pub fn kinds(&self) -> [(&'static str, &Count); 4] {
        [("rd", &self.reads), ("wr", &self.writes), ("flush", &self.flushes), ("unmap", &self.unmaps)]
    }

    fn of(&self, op: Op) -> &Count {
        match op {
            Op::Read => &self.reads,
            Op::Write { .. } | Op::WriteZeroes { unmap: false, .. } => &self.writes,
            Op::Flush => &self.flushes,
            Op::Discard { .. } | Op::WriteZeroes { unmap: true, .. } => &self.unmaps,
        }
    }

    /// The byte behind the last one that was ever written.
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// A request with so many bytes of data went well.
    pub(super) fn done(&self, op: Op, offset: u64, data: usize, waited: Duration) {
        let count = self.of(op);
        add(&count.operations, 1);
        let bytes = match op {
            Op::Discard { len } | Op::WriteZeroes { len, .. } => len,
            Op::Read | Op::Write { .. } | Op::Flush => data as u64,
        };
        add(&count.bytes, bytes);
        add(&count.waited, waited.as_nanos() as u64);
        if op != Op::Read && op != Op::Flush {
            let end = offset + bytes;
            self.highest.store(self.highest().max(end), Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self, op: Op) {
        add(&self.of(op).failed, 1);
    }
}
