//! RAM whose pages are a file's until the guest writes to them.

use std::fs::File;
use std::io;

use accel::GuestRam;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Puts private mappings of `file` in the place of whole regions of RAM: guest physical address and offset in the file of
/// each, which has all of their pages. What stood there is gone. Nobody uses the memory meanwhile. A file that is made
/// shorter later ends the program.
pub fn map_privately(ram: &GuestRam, file: &File, places: impl Iterator<Item = (u64, u64)>) -> io::Result<()> {
    for (start, offset) in places {
        let region = ram.find_region(GuestAddress(start)).filter(|region| region.start_addr().0 == start);
        let region = region.ok_or(io::ErrorKind::InvalidInput)?;
        let (at, size) = (region.as_ptr().cast(), region.len() as usize);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range is exactly the mapping that the region owns, and stays mapped in one step; its owner unmaps
        // whatever stands there in the end. References into it do not exist: RAM is accessed by copies and atomics.
        let mapped = unsafe { mmap(at, size, protection, flags, file, offset)? };
        // SAFETY: as above; the advice changes no contents.
        let _ = unsafe { madvise(mapped, size, Advice::LinuxDontFork) };
    }
    Ok(())
}
