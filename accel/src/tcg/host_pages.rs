//! Memory that the host's kernel can map by large pages.

use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What the host's kernel makes large pages of, in bytes; where it is something else there are none.
pub const LARGE: usize = 2 << 20;

/// Maps `size` bytes of zeroes, whole pages, which cost memory only as they are touched. They begin at a multiple of
/// [`LARGE`] if they are at least as many.
pub fn map(size: usize, protection: ProtFlags) -> rustix::io::Result<NonNull<u8>> {
    let spare = if size < LARGE { 0 } else { LARGE };
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases no Rust object.
    let room = unsafe { mmap_anonymous(null_mut(), size + spare, protection, flags) }?.cast::<u8>();
    let before = (room as usize).wrapping_neg() % spare.max(1);
    let at = room.wrapping_add(before);
    for (start, len) in [(room, before), (at.wrapping_add(size), spare - before)] {
        if len != 0 {
            // SAFETY: parts of the mapping just made, to which nothing refers.
            let _ = unsafe { munmap(start.cast(), len) };
        }
    }
    NonNull::new(at).ok_or(Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_mappings_suit_large_pages() {
        for size in [4096, LARGE - 4096, LARGE, LARGE + 4096, 3 * LARGE] {
            let at = map(size, ProtFlags::READ | ProtFlags::WRITE).unwrap();
            assert!(size < LARGE || (at.as_ptr() as usize).is_multiple_of(LARGE), "{size:#x}");
            // SAFETY: inside the mapping, which nothing else refers to.
            unsafe {
                assert_eq!((at.read(), at.add(size - 1).read()), (0, 0));
                at.add(size - 1).write(1);
                munmap(at.as_ptr().cast(), size).unwrap();
            }
        }
    }
}
