//! Executable memory: the same pages mapped twice, writable here and executable there, so that no page is ever both.
//! They belong to no file that has a name: `perf` looks such code up in its map (`-perfmap`).
//!
//! The arena is cut into regions that are filled in turn; when all are full the oldest is reused, and whoever
//! owned code in it has dropped it before (see [`super::CodeCache`]). Only the hart's own thread writes to and
//! runs from its arena, so no code is ever changed under a running hart.
//!
//! The code of a Linux guest is tens of MiB of which a little is hot here and there, more pages than the host's TLB for
//! code holds. So the executable mapping gets large pages where the host's kernel has them, all but the first, which has
//! to wait until it is full: little code shall cost little memory.

use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect, mremap_fixed, munmap,
};

use super::displacement;
use crate::tcg::host_pages::{self, LARGE};

/// Number of regions.
pub const REGIONS: usize = 8;

/// `MADV_COLLAPSE` of madvise(2): large pages at once, whatever the host's settings for shared memory are.
const COLLAPSE: libc::c_int = 25;

/// A dual-mapped buffer.
pub struct Arena {
    write: NonNull<u8>,
    exec: NonNull<u8>,
    size: usize,
    /// Bytes at the start that are never reused (thunks).
    fixed: usize,
    region: usize,
    used: usize,
    /// The number of the large page that was written to last, and whether it is one.
    page: usize,
    large: bool,
    /// All regions hold code: the next is one that was used before.
    full: bool,
    /// About how many bytes of pages the writable mapping has touched since [`Arena::rest`] gave them up.
    touched: usize,
}

/// Writable pages that a resting hart may keep.
const KEPT_WRITABLE: usize = 1 << 20;

// SAFETY: the mappings belong to this value alone; nothing in it is bound to a thread.
unsafe impl Send for Arena {}

/// Unmaps what was mapped, on an error.
fn undo(p: NonNull<u8>, size: usize, e: rustix::io::Errno) -> io::Error {
    // SAFETY: mapped by the caller a moment ago, and nothing refers to it.
    let _ = unsafe { munmap(p.as_ptr().cast(), size) };
    e.into()
}

fn mapped(p: *mut std::ffi::c_void) -> io::Result<NonNull<u8>> {
    NonNull::new(p.cast()).ok_or_else(|| io::Error::other("a mapping at address 0"))
}

/// Maps the pages of a shared mapping once more, where they can be large ones.
fn map_again(first: NonNull<u8>, size: usize) -> rustix::io::Result<NonNull<u8>> {
    let at = host_pages::map(size, ProtFlags::empty())?;
    let (old, new) = (first.as_ptr().cast(), at.as_ptr().cast());
    // SAFETY: an old size of 0 moves nothing (mremap(2)), and the new place is the mapping just made.
    if let Err(e) = unsafe { mremap_fixed(old, 0, size, MremapFlags::MAYMOVE, new) } {
        // SAFETY: that mapping, to which nothing refers.
        let _ = unsafe { munmap(new, size) };
        return Err(e);
    }
    Ok(at)
}

impl Arena {
    /// `size` bytes in all, at least 256 KiB, costing memory only as they are used.
    pub fn new(size: usize) -> io::Result<Self> {
        let size = size.max(256 << 10).next_multiple_of(4096 * REGIONS);
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice aliases no Rust object.
        let write =
            mapped(unsafe { mmap_anonymous(null_mut(), size, writable, MapFlags::SHARED | MapFlags::NORESERVE) }?)?;
        let exec = map_again(write, size).map_err(|e| undo(write, size, e))?;
        let executable = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: the mapping just made, to which nothing refers yet.
        if let Err(e) = unsafe { mprotect(exec.as_ptr().cast(), size, executable) } {
            let e = undo(exec, size, e);
            // SAFETY: mapped above, and nothing refers to it.
            let _ = unsafe { munmap(write.as_ptr().cast(), size) };
            return Err(e);
        }
        Ok(Self { write, exec, size, fixed: 0, region: 0, used: 0, page: 0, large: false, full: false, touched: 0 })
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

    /// Bytes of code, old code that the current region did not get to yet included.
    pub fn used(&self) -> usize {
        if self.full { self.size } else { self.used }
    }

    /// Goes on to the next region, whose old code the caller has dropped; returns its number.
    pub fn advance(&mut self) -> usize {
        self.region = (self.region + 1) % REGIONS;
        self.full |= self.region == 0;
        self.used = if self.region == 0 { self.fixed } else { self.region * self.region_size() };
        self.region
    }

    /// Appends `code`, which was made for [`Arena::cursor`]; returns its executable address.
    pub fn push(&mut self, code: &[u8]) -> u64 {
        assert!(code.len() <= self.room(), "the caller checks for room");
        let at = self.cursor();
        let page = (self.used + code.len()) / LARGE;
        if page != self.page {
            self.enlarge(page);
        }
        // SAFETY: `used + len` lies inside the writable mapping (checked above), which nothing else writes.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.write.as_ptr().add(self.used), code.len()) };
        self.touched += code.len();
        self.used = (self.used + code.len()).next_multiple_of(16).min((self.region + 1) * self.region_size());
        at
    }

    /// Code goes on in the large page with this number.
    fn enlarge(&mut self, page: usize) {
        if !self.large {
            self.collapse(self.page);
        }
        (self.page, self.large) = (page, self.collapse(page));
    }

    /// Has the kernel make a large page of small ones; `false` where it cannot do that, or not now.
    fn collapse(&mut self, page: usize) -> bool {
        let at = page * LARGE;
        if at + LARGE > self.size {
            return false;
        }
        // SAFETY: inside both mappings (checked above), of which the writable one is this value's alone; what stands there
        // stays as it is. One of the small pages has to be there.
        unsafe {
            let first = self.write.as_ptr().add(at);
            first.write_volatile(first.read_volatile());
            libc::madvise(self.exec.as_ptr().add(at).cast(), LARGE, COLLAPSE) == 0
        }
    }

    /// `len` bytes of code at the executable address `at`.
    pub fn bytes(&self, at: u64, len: usize) -> &[u8] {
        let offset = (at - self.exec.as_ptr() as u64) as usize;
        assert!(offset + len <= self.size, "bytes outside the arena");
        // SAFETY: inside the writable mapping (checked above), which only changes through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.write.as_ptr().add(offset), len) }
    }

    /// Before the hart sleeps: lets the writable mapping go of its pages, which the executable one keeps. Otherwise
    /// they count twice among what is resident, and the kernel keeps page tables for both.
    pub fn rest(&mut self) {
        if self.touched > KEPT_WRITABLE {
            self.touched = 0;
            // SAFETY: the pages of a shared mapping stay as they are; they come back when they are touched.
            let _ = unsafe { madvise(self.write.as_ptr().cast(), self.size, Advice::LinuxDontNeed) };
        }
    }

    /// Forgets all code but what is fixed, which nobody is in, and gives its memory back.
    pub fn clear(&mut self) {
        let end = if self.full { self.size } else { self.used.next_multiple_of(4096) };
        let begin = self.fixed.next_multiple_of(4096).min(end);
        // SAFETY: whole pages of the writable mapping, which nothing refers to: they become zeroes. What the kernel
        // does not free stays what nobody looks at.
        let _ = unsafe { madvise(self.write.as_ptr().add(begin).cast(), end - begin, Advice::LinuxRemove) };
        (self.region, self.used, self.full, self.touched) = (0, self.fixed, false, 0);
        (self.page, self.large) = (0, false);
    }

    /// Keeps everything pushed so far forever.
    pub fn fix(&mut self) {
        self.fixed = self.used;
    }

    /// What is kept forever, as generated code sees it.
    pub fn fixed(&self) -> std::ops::Range<u64> {
        self.base()..self.base() + self.fixed as u64
    }

    /// All of it.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.base()..self.base() + self.size as u64
    }

    /// Where the arena begins, as generated code sees it.
    pub fn base(&self) -> u64 {
        self.exec.as_ptr() as u64
    }

    /// Where in the arena the executable address `at` is.
    pub fn offset(&self, at: u64) -> u32 {
        let offset = at - self.base();
        assert!(offset < self.size as u64, "an address outside the arena");
        offset as u32
    }

    /// Makes the instruction whose displacement stands `offset` bytes into the arena a jump to `target`.
    pub fn jump(&mut self, offset: u32, target: u64) {
        self.transfer(0xe9, offset, target);
    }

    /// Makes it a call of `target`.
    pub fn call(&mut self, offset: u32, target: u64) {
        self.transfer(0xe8, offset, target);
    }

    fn transfer(&mut self, opcode: u8, offset: u32, target: u64) {
        let [a, b, c, d] = displacement(self.base() + u64::from(offset), target).to_le_bytes();
        self.write(offset - 1, [opcode, a, b, c, d]);
    }

    /// Replaces code `offset` bytes into the arena.
    pub fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) {
        let offset = offset as usize;
        assert!(offset + N <= self.size, "patch outside the arena");
        self.touched += 4096;
        // SAFETY: inside the writable mapping (checked above); the hart that runs this code is the caller.
        unsafe { self.write.as_ptr().add(offset).cast::<[u8; N]>().write_unaligned(bytes) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes at `at` as a hart executes them.
    fn executed(arena: &Arena, at: u64, len: usize) -> &[u8] {
        assert!(at >= arena.base() && at + len as u64 <= arena.base() + arena.size as u64);
        // SAFETY: inside the executable mapping (checked above), which only changes through `&mut`.
        unsafe { std::slice::from_raw_parts(at as *const u8, len) }
    }

    #[test]
    fn code_stays_as_it_is_in_large_pages() {
        let mut arena = Arena::new(8 * 3 * LARGE / 2).unwrap();
        assert!(arena.base().is_multiple_of(LARGE as u64));
        arena.push(&[0xcc; 100]);
        arena.fix();
        for round in 0..3u8 {
            let mut pushed = Vec::new();
            // Twice around, so that old code is in the way.
            for n in 0..480 {
                let code = vec![n as u8 ^ round << 6; 50_000 + n];
                if arena.room() < code.len() {
                    arena.advance();
                }
                pushed.push((arena.push(&code), code));
            }
            let (at, code) = pushed.pop().unwrap();
            assert_eq!(executed(&arena, at, code.len()), code);
            let distance = |other: &u64| at.abs_diff(*other) as usize;
            let recent: Vec<_> = pushed.iter().rev().take_while(|(at, _)| distance(at) < 2 * LARGE).collect();
            assert!(recent.len() > 50);
            recent.iter().for_each(|(at, code)| assert_eq!(executed(&arena, *at, code.len()), code));
            assert_eq!(executed(&arena, arena.base(), 100), [0xcc; 100]);
            if round == 1 {
                arena.clear();
            }
        }
    }
}
