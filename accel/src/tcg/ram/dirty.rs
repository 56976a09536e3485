//! Which pages are written to, while somebody wants to know ([`crate::Vm::start_dirty_log`]).
//!
//! A store of a hart either finds a writable TLB entry or tells [`Ram::mark_writable`] before it is made. So a page is
//! in the log from the first such telling on, and it is enough that no entry is older than the log: when the log is
//! started, and whenever it is taken, every hart forgets its writable entries (`VmShared::withdraw_writes`). The order
//! matters: *first* the bits are taken, *then* the entries. A store in between, by an entry whose page was taken, is
//! made before the entry goes, hence before the taker returns and looks at the page. The other way round an entry made
//! in between would lose its bit and stay.
//!
//! While the log is off, a miss of the TLB looks at one flag, and nothing else is different.

use std::sync::atomic::Ordering;

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Ram, VERSION};
use crate::dirty::{DirtyPages, DirtyRegion, PAGE, by_pages};

impl Ram {
    /// From here on stores that are told are in the log. Harts may still hold older entries.
    pub fn start_log(&self) {
        // What devices wrote before is not in it.
        self.collect_device_writes();
        self.regions.iter().flat_map(|r| &r.dirty).for_each(|word| word.store(0, Ordering::SeqCst));
        self.logging.store(true, Ordering::SeqCst);
    }

    pub fn stop_log(&self) {
        self.logging.store(false, Ordering::SeqCst);
    }

    /// Takes all bits; the harts' writable entries have to be taken away next.
    pub fn take_log(&self) -> DirtyPages {
        self.collect_device_writes();
        let take = |word: &std::sync::atomic::AtomicU64| match word.load(Ordering::SeqCst) {
            // Memory that was never written to need not be.
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        };
        let regions =
            self.regions.iter().map(|r| DirtyRegion { start: r.gpa, words: r.dirty.iter().map(take).collect() });
        DirtyPages { regions: regions.collect() }
    }

    /// The page of `gpa` is about to be stored to, or was.
    pub(super) fn log(&self, gpa: u64) {
        if self.logging.load(Ordering::SeqCst)
            && let Some(r) = self.region(gpa)
        {
            let page = (gpa - r.gpa) / PAGE;
            r.dirty[(page / 64) as usize].fetch_or(1 << (page % 64), Ordering::SeqCst);
        }
    }

    /// Takes note of all device writes, as [`Ram::collect_device_write`] does of those to one page.
    fn collect_device_writes(&self) {
        let _collecting = self.collecting.lock().unwrap_or_else(|e| e.into_inner());
        let mut any = false;
        for r in &self.regions {
            let Some(memory) = self.memory.find_region(GuestAddress(r.gpa)) else { continue };
            let words = by_pages(ram::marked_pages(memory).get_and_reset(), r.size);
            let marked = DirtyPages { regions: vec![DirtyRegion { start: r.gpa, words }] };
            for gpa in marked.iter() {
                if let Some(word) = self.page(gpa) {
                    word.fetch_add(VERSION, Ordering::SeqCst);
                    any = true;
                }
                self.log(gpa);
            }
        }
        if any {
            self.changes.add_many();
        }
    }
}
