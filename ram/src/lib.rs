//! Guest RAM as engines, devices and the board share it: mappings, and the marks of what is written to them from outside
//! of the harts.
//!
//! Whoever writes through the methods of [`GuestRam`] (devices, firmware calls, loaders) leaves a mark of the page, and
//! then counts the write. So an engine that finds the count where it was knows that there is no new mark, whatever
//! number of pages it cares about: `fence.i` is mostly no more than that comparison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use vm_memory::bitmap::{AtomicBitmap, BS, Bitmap, NewBitmap, RefSlice, WithBitmapSlice};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

/// Guest RAM. Writes through it leave their marks.
pub type GuestRam = GuestMemoryMmap<WriteMarks>;

/// The marks of one region of RAM: which of the host's pages were written to from outside of the harts.
#[derive(Debug, Default)]
pub struct WriteMarks {
    pages: AtomicBitmap,
    /// Counts writes, in all regions of the machine. Set once by the engine; devices add to it, any thread reads it.
    count: OnceLock<Arc<AtomicU64>>,
}

/// The marks of a region.
fn marks(region: &GuestRegionMmap<WriteMarks>) -> &WriteMarks {
    std::ops::Deref::deref(region).bitmap()
}

/// The marked pages of a region: to look at the marks and to take them. New ones are left by [`Bitmap::mark_dirty`], which
/// counts them.
pub fn marked_pages(region: &GuestRegionMmap<WriteMarks>) -> &AtomicBitmap {
    &marks(region).pages
}

impl<'a> WithBitmapSlice<'a> for WriteMarks {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for WriteMarks {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.pages.mark_dirty(offset, len);
        // After the mark: who sees the number finds it.
        if let Some(count) = self.count.get() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.pages.dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> BS<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for WriteMarks {
    fn with_len(len: usize) -> Self {
        Self { pages: AtomicBitmap::with_len(len), count: OnceLock::new() }
    }
}

/// The number that grows after every mark in `ram`, from the first call of this on. Others may add to it.
pub fn count_writes(ram: &GuestRam) -> Arc<AtomicU64> {
    let all = || ram.iter().map(marks);
    let count = all().find_map(|m| m.count.get().cloned()).unwrap_or_default();
    for m in all() {
        let own = m.count.get_or_init(|| Arc::clone(&count));
        assert!(Arc::ptr_eq(own, &count), "two machines share some of their regions of RAM");
    }
    count
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const LOW: GuestAddress = GuestAddress(0x1000);
    const HIGH: GuestAddress = GuestAddress(0x10_0000);

    type Write = fn(&GuestRam);

    #[test]
    fn every_way_to_write_is_marked_and_counted() {
        let ram = GuestRam::from_ranges(&[(LOW, 0x8000), (HIGH, 0x4000)]).unwrap();
        ram.write_obj(1u64, LOW).unwrap();
        let count = count_writes(&ram);
        let seen = || count.load(Ordering::SeqCst);
        assert_eq!(seen(), 0, "what was before");
        let ways: [(&str, Write); 4] = [
            ("an object", |ram| ram.write_obj(1u64, LOW).unwrap()),
            ("bytes of the other region", |ram| ram.write_slice(&[1; 3000], HIGH).unwrap()),
            ("an atomic store", |ram| ram.store(1u32, LOW, Ordering::SeqCst).unwrap()),
            ("a slice", |ram| ram.get_slice(HIGH, 64).unwrap().copy_from(&[1u8; 64])),
        ];
        for (way, write) in ways {
            let before = seen();
            write(&ram);
            assert!(seen() > before, "{way}");
        }
        let (before, _) = (seen(), ram.read_obj::<u64>(LOW).unwrap());
        assert_eq!(seen(), before, "a read");
        assert!(Arc::ptr_eq(&count, &count_writes(&ram)));
        let region = ram.find_region(HIGH).unwrap();
        let pages = marked_pages(region);
        assert!(pages.is_addr_set(0) && !pages.is_addr_set(0x2000));
    }
}
