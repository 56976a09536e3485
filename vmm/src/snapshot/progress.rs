//! How far a thread is with a snapshot, and whether anybody still wants it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::SnapshotError;

/// For others to look at. By default nobody does.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of RAM, disks or files.
    done: AtomicU64,
    total: AtomicU64,
    abandoned: AtomicBool,
}

impl Progress {
    /// Of so many bytes.
    pub fn of(total: u64) -> Self {
        Self { total: total.into(), ..Self::default() }
    }

    /// There are so many bytes, as is known better now.
    pub fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many bytes are done, or need not be.
    pub fn reach(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// So many more bytes are done.
    ///
    /// # Errors
    /// Nobody wants it any more.
    pub fn add(&self, bytes: u64) -> Result<(), SnapshotError> {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        match self.is_abandoned() {
            true => Err(SnapshotError::cancelled()),
            false => Ok(()),
        }
    }

    /// Nobody wants it any more.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Bytes that are done, and of how many, at least one.
    pub fn now(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed).max(1);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_passes_its_end() {
        let progress = Progress::of(10);
        assert_eq!(progress.now(), (0, 10));
        progress.add(7).unwrap();
        progress.add(7).unwrap();
        assert_eq!(progress.now(), (10, 10));
        progress.expect(20);
        assert_eq!(progress.now(), (14, 20));
        progress.abandon();
        assert_eq!(progress.add(1).unwrap_err().to_string(), "it was cancelled");
        assert_eq!(Progress::default().now(), (0, 1));
    }
}
