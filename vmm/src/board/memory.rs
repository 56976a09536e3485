//! Guest RAM: reserved at once, touched lazily, on huge pages where the host gives them.
//!
//! A file descriptor behind the RAM (memfd) lets other processes share it, but shared memory gets huge pages only
//! where the host's `shmem_enabled` allows it, and small pages cost a translator dearly. So the memory is a
//! memfd where that costs nothing, and anonymous otherwise.

use std::fs::File;
use std::io;

use accel::GuestRam;
use rustix::fs::MemfdFlags;
use rustix::mm::{Advice, madvise};
use vm_memory::bitmap::{AtomicBitmap, NewBitmap};
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap};

use crate::cli::show_size;

/// Why a machine gets no RAM.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot reserve {} of memory for the guest; ask for less with -m", show_size(*size))]
    Reserve { size: u64, source: io::Error },
    #[error("cannot reserve {} of memory for the guest; ask for less with -m", show_size(*size))]
    Map { size: u64, source: MmapRegionError },
    #[error("RAM of {} at {base:#x} lies outside of the address space", show_size(*size))]
    Range { base: u64, size: u64 },
}

/// One region of RAM.
pub fn allocate(base: u64, size: u64) -> Result<GuestRam, MemoryError> {
    let bytes = usize::try_from(size).map_err(|_| MemoryError::Range { base, size })?;
    let bitmap = AtomicBitmap::with_len(bytes);
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let builder = MmapRegionBuilder::new_with_bitmap(bytes, bitmap).with_mmap_prot(prot);
    let builder = if shared_memory_has_huge_pages() {
        let file = memfd(size).map_err(|source| MemoryError::Reserve { size, source })?;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        builder.with_file_offset(FileOffset::new(file, 0)).with_mmap_flags(flags)
    } else {
        builder.with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
    };
    let region = builder.build().map_err(|source| MemoryError::Map { size, source })?;
    // SAFETY: the range is exactly the mapping that `region` owns, and the advice changes no contents.
    if let Err(error) = unsafe { madvise(region.as_ptr().cast(), bytes, Advice::LinuxHugepage) } {
        tracing::debug!(%error, "no huge pages for guest RAM");
    }
    let region = GuestRegionMmap::new(region, GuestAddress(base)).ok_or(MemoryError::Range { base, size })?;
    GuestRam::from_regions(vec![region]).map_err(|_| MemoryError::Range { base, size })
}

fn memfd(size: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("vireo-ram", MemfdFlags::CLOEXEC)?);
    file.set_len(size)?;
    Ok(file)
}

/// The chosen word of the setting stands in brackets.
fn shared_memory_has_huge_pages() -> bool {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    ["[always]", "[advise]", "[within_size]", "[force]"].iter().any(|word| setting.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemoryBackend};

    #[test]
    fn memory_far_larger_than_the_host_is_only_reserved() {
        let ram = allocate(0x8000_0000, 64 << 30).unwrap();
        let last = GuestAddress(0x8000_0000 + (64 << 30) - 8);
        ram.write_obj(0x1122_3344_5566_7788u64, last).unwrap();
        assert_eq!(ram.read_obj::<u64>(last).unwrap(), 0x1122_3344_5566_7788);
        assert_eq!(ram.read_obj::<u64>(GuestAddress(0x8000_0000)).unwrap(), 0);
        assert_eq!(ram.last_addr().0, 0x8000_0000 + (64 << 30) - 1);
    }

    #[test]
    fn memory_beyond_the_address_space_is_an_error() {
        let error = allocate(u64::MAX - 4095, 8192).map(drop).unwrap_err().to_string();
        assert!(error.contains("address space"), "{error}");
    }
}
