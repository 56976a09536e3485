//! Guest memory as the host's vectored file calls take it.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use vm_memory::bitmap::{BS, Bitmap};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};

use crate::GuestRam;

/// The data part of a request: buffers in guest RAM, in order. Keeps the RAM mapped.
///
/// The guest may change the bytes at any time, so no Rust reference to them is ever made: the kernel reads and
/// writes them through raw pointers, everyone else copies.
#[derive(Default)]
pub struct GuestBuffers {
    mem: Option<Arc<GuestRam>>,
    parts: Vec<(GuestAddress, usize)>,
    iov: Vec<libc::iovec>,
    len: usize,
}

// SAFETY: the pointers in `iov` are into the mapping that `mem` keeps alive, which any thread may access; the rest is plain data.
unsafe impl Send for GuestBuffers {}
// SAFETY: as above; no method changes the structure through a shared reference.
unsafe impl Sync for GuestBuffers {}

impl GuestBuffers {
    /// Resolves buffers to host memory; an error if one is not in RAM.
    pub fn new(mem: &Arc<GuestRam>, parts: impl IntoIterator<Item = (GuestAddress, u32)>) -> io::Result<Self> {
        let mut new = Self { mem: Some(Arc::clone(mem)), ..Self::default() };
        for (addr, len) in parts {
            let len = len as usize;
            each_slice(mem, addr, len, |slice| {
                let base = slice.ptr_guard_mut().as_ptr().cast();
                new.iov.push(libc::iovec { iov_base: base, iov_len: slice.len() });
            })?;
            new.parts.push((addr, len));
            new.len += len;
        }
        Ok(new)
    }

    /// Bytes in all buffers together.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part `range` as the kernel takes it. Valid as long as `self` lives.
    pub fn iovecs(&self, range: Range<usize>) -> Vec<libc::iovec> {
        let mut out = Vec::with_capacity(self.iov.len());
        let (mut skip, mut left) = (range.start, range.len());
        for v in &self.iov {
            if left == 0 {
                break;
            }
            if skip >= v.iov_len {
                skip -= v.iov_len;
                continue;
            }
            let len = (v.iov_len - skip).min(left);
            out.push(libc::iovec { iov_base: v.iov_base.wrapping_byte_add(skip), iov_len: len });
            (skip, left) = (0, left - len);
        }
        out
    }

    /// Whether every buffer starts and ends at a multiple of `align` in the host's memory.
    pub fn is_aligned(&self, align: usize) -> bool {
        self.iov.iter().all(|v| v.iov_base.addr().is_multiple_of(align) && v.iov_len.is_multiple_of(align))
    }

    /// One `preadv` into `range`. Returns how much was read; 0 is the end of the file.
    pub fn read_from(&self, fd: BorrowedFd<'_>, range: Range<usize>, offset: u64) -> io::Result<usize> {
        let iov = self.iovecs(range);
        let count = iov.len() as libc::c_int;
        retry(|| {
            // SAFETY: `iov` describes guest RAM that `self.mem` keeps mapped; nothing else in this process relies on its bytes.
            unsafe { libc::preadv64(fd.as_raw_fd(), iov.as_ptr(), count, offset as libc::off64_t) }
        })
    }

    /// Fills all of it, if the host has that in its memory: one `preadv2` that waits for no device and starts no transfer.
    pub fn read_cached(&self, fd: BorrowedFd<'_>, offset: u64) -> io::Result<usize> {
        let (iov, count) = (self.iov.as_ptr(), self.iov.len() as libc::c_int);
        retry(|| {
            // SAFETY: as for `read_from`.
            unsafe { libc::preadv2(fd.as_raw_fd(), iov, count, offset as libc::off_t, libc::RWF_NOWAIT) }
        })
    }

    /// Writes all of it by one `pwritev2` into the host's memory. `nowait`: an error rather than a wait.
    pub fn write_cached(&self, fd: BorrowedFd<'_>, offset: u64, nowait: bool) -> io::Result<usize> {
        let (iov, count) = (self.iov.as_ptr(), self.iov.len() as libc::c_int);
        let flags = if nowait { libc::RWF_NOWAIT } else { 0 };
        retry(|| {
            // SAFETY: as for `write_to`.
            unsafe { libc::pwritev2(fd.as_raw_fd(), iov, count, offset as libc::off_t, flags) }
        })
    }

    /// One `pwritev2` from `range`; `durable` makes the data stable before it returns.
    pub fn write_to(&self, fd: BorrowedFd<'_>, range: Range<usize>, offset: u64, durable: bool) -> io::Result<usize> {
        let iov = self.iovecs(range);
        let count = iov.len() as libc::c_int;
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
        retry(|| {
            // SAFETY: as for `read_from`; the kernel only reads.
            unsafe { libc::pwritev2(fd.as_raw_fd(), iov.as_ptr(), count, offset as libc::off_t, flags) }
        })
    }

    /// Sets `range` to zero.
    pub fn zero(&self, range: Range<usize>) {
        let zeros = [0; 4096];
        self.each(range, |mem, addr, _, len| {
            let mut done = 0;
            while done < len {
                let n = zeros.len().min(len - done);
                // Checked to be in RAM when the buffers were made.
                let _ = mem.write_slice(&zeros[..n], GuestAddress(addr.0 + done as u64));
                done += n;
            }
        });
    }

    /// Copies `range` out into `to`, which has the same length.
    pub fn copy_out(&self, range: Range<usize>, to: &mut [u8]) {
        self.each(range, |mem, addr, at, len| {
            let _ = mem.read_slice(&mut to[at..at + len], addr);
        });
    }

    /// Copies `from` into `range`, which has the same length.
    pub fn copy_in(&self, range: Range<usize>, from: &[u8]) {
        self.each(range, |mem, addr, at, len| {
            let _ = mem.write_slice(&from[at..at + len], addr);
        });
    }

    /// Records that the kernel wrote all of it behind the bitmap's back.
    pub fn mark_dirty(&self) {
        let Some(mem) = &self.mem else { return };
        for &(addr, len) in &self.parts {
            // Checked to be in RAM when the buffers were made.
            let _ = each_slice(mem, addr, len, |slice| slice.bitmap().mark_dirty(0, slice.len()));
        }
    }

    /// Calls `f` with (memory, address, offset in `range`, length) for each piece.
    fn each(&self, range: Range<usize>, mut f: impl FnMut(&GuestRam, GuestAddress, usize, usize)) {
        let Some(mem) = &self.mem else { return };
        let (mut skip, mut at, total) = (range.start, 0, range.len());
        for &(addr, len) in &self.parts {
            if skip >= len {
                skip -= len;
                continue;
            }
            let n = (len - skip).min(total - at);
            if n == 0 {
                break;
            }
            f(mem, GuestAddress(addr.0 + skip as u64), at, n);
            (skip, at) = (0, at + n);
        }
    }
}

/// Calls `f` with the mapped pieces of a buffer: one, as a rule, unless it crosses regions.
fn each_slice(
    mem: &GuestRam,
    addr: GuestAddress,
    len: usize,
    mut f: impl FnMut(VolatileSlice<'_, BS<'_, ram::WriteMarks>>),
) -> io::Result<()> {
    // The general way takes as long as to copy some kilobytes.
    if let Ok(slice) = vm_memory::GuestMemoryBackend::get_slice(mem, addr, len) {
        f(slice);
        return Ok(());
    }
    for slice in mem.get_slices(addr, len, Permissions::ReadWrite).map_err(outside)? {
        f(slice.map_err(outside)?);
    }
    Ok(())
}

fn outside(error: vm_memory::GuestMemoryError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        if let Ok(done) = usize::try_from(call()) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const BASE: u64 = 0x8000_0000;

    fn ram() -> Arc<GuestRam> {
        // Two regions that touch, as RAM on two NUMA nodes does.
        let ranges = [(GuestAddress(BASE), 0x1000), (GuestAddress(BASE + 0x1000), 0x1000)];
        Arc::new(GuestRam::from_ranges(&ranges).unwrap())
    }

    #[test]
    fn ranges_cross_buffers_and_regions() {
        let mem = ram();
        let b = GuestBuffers::new(&mem, [(GuestAddress(BASE + 0xff0), 0x20), (GuestAddress(BASE), 4)]).unwrap();
        assert_eq!(b.len(), 0x24);
        assert_eq!(b.iovecs(0..0x24).iter().map(|v| v.iov_len).collect::<Vec<_>>(), [0x10, 0x10, 4]);
        assert_eq!(b.iovecs(0x18..0x22).iter().map(|v| v.iov_len).collect::<Vec<_>>(), [8, 2]);
        assert!(b.iovecs(5..5).is_empty());
        let data: Vec<u8> = (0..0x24).collect();
        b.copy_in(0..0x24, &data);
        b.zero(0x1e..0x21);
        let mut back = [0xff; 0x10];
        b.copy_out(0x14..0x24, &mut back);
        assert_eq!(back, [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 0, 0, 0, 33, 34, 35]);
        assert!(b.is_aligned(4) && !b.is_aligned(32));
    }

    #[test]
    fn the_kernel_reads_and_writes_them_and_dirt_is_recorded() {
        let mem = ram();
        let file = tempfile::tempfile().unwrap();
        mem.write_slice(b"hello world", GuestAddress(BASE)).unwrap();
        let b = GuestBuffers::new(&mem, [(GuestAddress(BASE), 11)]).unwrap();
        assert_eq!(b.write_to(file.as_fd(), 6..11, 100, true).unwrap(), 5);
        let into = GuestBuffers::new(&mem, [(GuestAddress(BASE + 0x1000), 8)]).unwrap();
        assert_eq!(into.read_from(file.as_fd(), 0..8, 100).unwrap(), 5);
        let mut back = [0; 5];
        into.copy_out(0..5, &mut back);
        assert_eq!(&back, b"world");
        let dirty = || {
            use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
            mem.find_region(GuestAddress(BASE + 0x1000)).unwrap().bitmap().dirty_at(0)
        };
        assert!(!dirty());
        into.mark_dirty();
        assert!(dirty());
    }

    #[test]
    fn buffers_outside_ram_are_refused() {
        for addr in [BASE - 1, BASE + 0x1fff, u64::MAX] {
            assert!(GuestBuffers::new(&ram(), [(GuestAddress(addr), 2)]).is_err());
        }
    }
}
