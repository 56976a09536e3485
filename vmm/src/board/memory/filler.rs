//! Addresses of the program that are kept from the kernel's choice.

use std::ffi::c_void;
use std::io;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Addresses at which nothing is and nothing will be mapped before this is dropped.
pub struct Filler {
    start: *mut c_void,
    bytes: usize,
}

impl Filler {
    /// Fills `bytes` bytes from `start`, a multiple of the host's pages, unless something is there.
    pub fn new(start: usize, bytes: usize) -> io::Result<Self> {
        let start = std::ptr::without_provenance_mut(start);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: with FIXED_NOREPLACE the kernel takes only addresses where nothing is.
        let got = unsafe { mmap_anonymous(start, bytes, ProtFlags::empty(), flags) }?;
        let new = Self { start: got, bytes };
        // Kernels that do not know the flag take the address as a wish.
        if got == start { Ok(new) } else { Err(io::ErrorKind::AddrInUse.into()) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // SAFETY: the map is this value's own, and nobody has a reference into it: it cannot even be read.
        let unmapped = unsafe { munmap(self.start, self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
