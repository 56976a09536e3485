//! Requests that the host's page cache answers: one system call on the caller's thread, and nobody is woken.
//!
//! Whether the cache has the bytes is only known by asking. Who was told "no" asks less often, up to one request in 64,
//! until the answer is "yes" again: an image that is not in memory costs next to nothing more.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{GuestBuffers, Wait};

/// A write that takes longer has met a full cache or a busy journal.
const SLOW: Duration = Duration::from_millis(2);
/// Requests that are not tried after refusals, at most.
const LONGEST_PAUSE: u32 = 63;

/// How often to ask. The counters are hints: threads that race only try once more or less.
#[derive(Debug, Default)]
struct Pace {
    /// Requests not to try.
    skip: AtomicU32,
    /// How many those were after the last refusal.
    pause: AtomicU32,
}

impl Pace {
    fn may_try(&self) -> bool {
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
        }
        skip == 0
    }

    fn worked(&self) {
        self.pause.store(0, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.wait((2 * self.pause.load(Ordering::Relaxed) + 1).min(LONGEST_PAUSE));
    }

    fn wait(&self, pause: u32) {
        self.pause.store(pause, Ordering::Relaxed);
        self.skip.store(pause, Ordering::Relaxed);
    }
}

/// What an image has learnt of its file.
#[derive(Debug, Default)]
pub struct AtOnce {
    reads: Pace,
    writes: Pace,
    /// The file system has no such calls.
    waits_to_read: AtomicBool,
    waits_to_write: AtomicBool,
}

impl AtOnce {
    /// Whether `data` has been filled.
    pub fn read(&self, file: BorrowedFd<'_>, offset: u64, data: &GuestBuffers) -> bool {
        if data.is_empty() || self.waits_to_read.load(Ordering::Relaxed) || !self.reads.may_try() {
            return false;
        }
        let read = data.read_cached(file, offset);
        learn(&self.waits_to_read, &read);
        if !matches!(read, Ok(0) | Err(_)) {
            data.mark_dirty();
        }
        let whole = read.is_ok_and(|n| n == data.len());
        if whole {
            self.reads.worked()
        } else {
            self.reads.refused()
        }
        whole
    }

    /// Whether `data` has been written.
    pub fn write(&self, file: BorrowedFd<'_>, offset: u64, data: &GuestBuffers, wait: Wait) -> bool {
        let nowait = !self.waits_to_write.load(Ordering::Relaxed);
        if data.is_empty() || (wait == Wait::Never && !nowait) || !self.writes.may_try() {
            return false;
        }
        if nowait {
            let written = data.write_cached(file, offset, true);
            learn(&self.waits_to_write, &written);
            if written.is_ok_and(|n| n == data.len()) {
                self.writes.worked();
                return true;
            }
            if wait == Wait::Never {
                return false;
            }
        }
        let start = Instant::now();
        let whole = data.write_cached(file, offset, false).is_ok_and(|n| n == data.len());
        match start.elapsed() {
            took if took > SLOW => self.writes.wait(LONGEST_PAUSE),
            _ if whole => self.writes.worked(),
            _ => self.writes.refused(),
        }
        whole
    }
}

fn learn(waits: &AtomicBool, result: &io::Result<usize>) {
    if result.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EOPNOTSUPP)) {
        waits.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuestRam;
    use crate::backend::block::{BlockImage, BlockOptions, CacheMode, Op, RawImage};
    use std::io::Write;
    use std::sync::Arc;
    use vm_memory::{Bytes, GuestAddress};

    const WRITE: Op = Op::Write { durable: false };

    fn buffers(mem: &Arc<GuestRam>, len: u32) -> GuestBuffers {
        GuestBuffers::new(mem, [(GuestAddress(0), 512), (GuestAddress(0x1000), len - 512)]).unwrap()
    }

    fn setup(cache: CacheMode) -> Option<(tempfile::NamedTempFile, RawImage, Arc<GuestRam>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let image = RawImage::open(file.path(), &BlockOptions { cache, ..Default::default() }).ok()?;
        Some((file, image, Arc::new(GuestRam::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap())))
    }

    #[test]
    fn what_is_in_the_hosts_memory_moves_at_once() {
        let (file, image, mem) = setup(CacheMode::Writeback).unwrap();
        let data = buffers(&mem, 1024);
        mem.write_slice(&[9; 512], GuestAddress(0x1000)).unwrap();
        assert!(image.at_once(WRITE, 4096, &data, Wait::Briefly));
        let mut bytes = [1; 1024];
        std::os::unix::fs::FileExt::read_exact_at(file.as_file(), &mut bytes, 4096).unwrap();
        assert_eq!((&bytes[..512], &bytes[512..]), (&[0; 512][..], &[9; 512][..]));
        // Where a file system cannot promise not to wait, reads are never at once.
        if image.at_once(Op::Read, 0, &data, Wait::Never) {
            mem.read_slice(&mut bytes[..512], GuestAddress(0x1000)).unwrap();
            assert_eq!(bytes[..512], [7; 512]);
        }
        for op in [Op::Flush, Op::Write { durable: true }, Op::Discard { len: 512 }] {
            assert!(!image.at_once(op, 0, &data, Wait::Briefly), "{op:?}");
        }
    }

    #[test]
    fn what_the_file_does_not_have_is_left_to_others() {
        let (_file, image, mem) = setup(CacheMode::Writeback).unwrap();
        let data = buffers(&mem, 1024);
        assert!(!image.at_once(Op::Read, 8192 - 512, &data, Wait::Never), "ends in the middle");
        assert!(!image.at_once(Op::Read, 1 << 20, &data, Wait::Briefly), "behind the end");
        assert!(!image.at_once(WRITE, 0, &GuestBuffers::default(), Wait::Briefly), "nothing to move");
    }

    #[test]
    fn direct_images_do_nothing_at_once() {
        // Not every file system has direct I/O.
        let Some((_file, image, mem)) = setup(CacheMode::None) else { return };
        let data = buffers(&mem, 1024);
        assert!(!image.at_once(WRITE, 0, &data, Wait::Briefly));
        assert!(!image.at_once(Op::Read, 0, &data, Wait::Briefly));
    }

    #[test]
    fn who_is_refused_asks_less_often_until_it_works() {
        let pace = Pace::default();
        let pause = || (0..200).find(|_| pace.may_try()).unwrap();
        for expected in [0, 1, 3, 7, 15, 31, 63, 63] {
            assert_eq!(pause(), expected);
            pace.refused();
        }
        assert_eq!(pause(), 63);
        pace.worked();
        assert_eq!((pause(), pause()), (0, 0));
        pace.refused();
        assert_eq!(pause(), 1);
    }
}
