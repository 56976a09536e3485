//! Executable memory: one memfd mapped twice, writable here and executable there, so that no page is ever both.
//!
//! The arena is cut into regions that are filled in turn; when all are full the oldest is reused, and whoever
//! owned code in it has dropped it before (see [`super::CodeCache`]). Only the hart's own thread writes to and
//! runs from its arena, so no code is ever changed under a running hart.

use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Number of regions.
pub const REGIONS: usize = 8;

/// A dual-mapped buffer.
pub struct Arena {
    write: NonNull<u8>,
    exec: NonNull<u8>,
    size: usize,
    /// Bytes at the start that are never reused (thunks).
    fixed: usize,
    region: usize,
    used: usize,
}

// SAFETY: the mappings belong to this value alone; nothing in it is bound to a thread.
unsafe impl Send for Arena {}

fn map(fd: &rustix::fd::OwnedFd, size: usize, prot: ProtFlags) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh shared mapping at an address of the kernel's choice aliases no Rust object.
    let p = unsafe { mmap(null_mut(), size, prot, MapFlags::SHARED, fd, 0) }?;
    NonNull::new(p.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}

impl Arena {
    /// `size` bytes in all, at least 256 KiB, costing memory only as they are used.
    pub fn new(size: usize) -> io::Result<Self> {
        let size = size.max(256 << 10).next_multiple_of(4096 * REGIONS);
        let fd = memfd_create(c"vireo-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, size as u64)?;
        let write = map(&fd, size, ProtFlags::READ | ProtFlags::WRITE)?;
        let exec = match map(&fd, size, ProtFlags::READ | ProtFlags::EXEC) {
            Ok(p) => p,
            Err(e) => {
                // SAFETY: mapped above, and nothing refers to it.
                let _ = unsafe { munmap(write.as_ptr().cast(), size) };
                return Err(e);
            }
        };
        Ok(Self { write, exec, size, fixed: 0, region: 0, used: 0 })
    }

    fn region_size(&self) -> usize {
        self.size / REGIONS
    }

    /// First free address, as generated code will see it.
    pub fn cursor(&self) -> u64 {
        self.exec.as_ptr() as u64 + self.used as u64
    }

    /// Bytes left in the current region.
    pub fn room(&self) -> usize {
        (self.region + 1) * self.region_size() - self.used
    }

    /// Current region, to be remembered with the code.
    pub fn region(&self) -> usize {
        self.region
    }

    /// Bytes in use, for the statistics.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Goes on to the next region, whose old code the caller has dropped; returns its number.
    pub fn advance(&mut self) -> usize {
        self.region = (self.region + 1) % REGIONS;
        self.used = if self.region == 0 { self.fixed } else { self.region * self.region_size() };
        self.region
    }

    /// Appends `code`, which was made for [`Arena::cursor`]; returns its executable address.
    pub fn push(&mut self, code: &[u8]) -> u64 {
        assert!(code.len() <= self.room(), "the caller checks for room");
        let at = self.cursor();
        // SAFETY: `used + len` lies inside the writable mapping (checked above), which nothing else writes.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.write.as_ptr().add(self.used), code.len()) };
        self.used = (self.used + code.len()).next_multiple_of(16).min((self.region + 1) * self.region_size());
        at
    }

    /// Keeps everything pushed so far forever.
    pub fn fix(&mut self) {
        self.fixed = self.used;
    }

    /// Replaces four bytes of code at the executable address `at`.
    pub fn patch(&mut self, at: u64, value: i32) {
        let offset = (at - self.exec.as_ptr() as u64) as usize;
        assert!(offset + 4 <= self.size, "patch outside the arena");
        // SAFETY: inside the writable mapping (checked above); the hart that runs this code is the caller.
        unsafe { self.write.as_ptr().add(offset).cast::<i32>().write_unaligned(value) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: both were mapped with this size in `new`; the hart that ran the code is gone with its cache.
        unsafe {
            let _ = munmap(self.write.as_ptr().cast(), self.size);
            let _ = munmap(self.exec.as_ptr().cast(), self.size);
        }
    }
}
