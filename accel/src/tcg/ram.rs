//! Guest RAM as the translator reaches it: guest physical address to host address, and one byte a page that
//! says who cares about stores to it.
//!
//! RISC-V lets instruction fetch be stale until the hart's own `fence.i` (unprivileged spec, "Zifencei"), so a
//! store to a page that holds translated code need not be seen at once; it must only leave a mark that the
//! next `fence.i` finds. The marks live here, shared by all harts:
//!
//! - `CODE`: some hart holds translations of this page, so stores must leave a mark. No hart may hold a
//!   writable TLB entry of it (or a message that takes the entry away is under way, see `smp`).
//! - `WRITABLE`: some hart may hold a writable TLB entry.
//!
//! The first store to a `CODE` page clears `CODE`, counts up the page's version and reopens the page at full
//! speed; harts compare versions at `fence.i`. Device writes (the marks of guest memory) count as stores. Before all that
//! `fence.i` looks at one number ([`Ram::pace`]), which mostly says that nothing has happened since the hart's last.

mod dirty;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::reservation::{NOBODY, Reservations};
use crate::GuestRam;
use crate::tcg::mmu::pmp::Span;
use crate::tcg::mmu::walk::PhysMem;

const CODE: u32 = 1;
const WRITABLE: u32 = 2;
const FLAGS: u32 = CODE | WRITABLE;
/// The rest of the word is the page's version.
const VERSION: u32 = 4;

struct Region {
    gpa: u64,
    size: u64,
    host: *mut u8,
    /// One word a page: flags and version. Zeroed memory from the system costs nothing until it is touched.
    pages: Box<[AtomicU32]>,
    /// One bit a page that was written to while the log is on; costs as little.
    dirty: Box<[AtomicU64]>,
}

/// Stores to pages with code that are remembered one by one; who misses more looks at all of its pages.
const RECENT: usize = 64;

/// A list of the stores that found a `CODE` page, the newest of them by address: `fence.i` has no more to do than it
/// tells.
struct Changes {
    count: AtomicU64,
    /// Counts up behind each of them, and behind each mark that is left in guest memory from outside of the harts:
    /// `fence.i` has nothing to do while it stands still.
    pace: Arc<AtomicU64>,
    /// Store number n is at n modulo [`RECENT`].
    recent: [AtomicU64; RECENT],
    /// Held to add one.
    adding: Mutex<()>,
}

impl Changes {
    fn new(pace: Arc<AtomicU64>) -> Self {
        let recent = [const { AtomicU64::new(0) }; RECENT];
        Self { count: AtomicU64::new(0), pace, recent, adding: Mutex::new(()) }
    }

    fn add(&self, gpa: u64) {
        let _adding = self.adding.lock().unwrap_or_else(|e| e.into_inner());
        let n = self.count.load(Ordering::SeqCst);
        self.recent[n as usize % RECENT].store(gpa & !0xfff, Ordering::SeqCst);
        self.count.store(n + 1, Ordering::SeqCst);
        self.pace.fetch_add(1, Ordering::SeqCst);
    }

    /// More than can be remembered.
    fn add_many(&self) {
        let _adding = self.adding.lock().unwrap_or_else(|e| e.into_inner());
        self.count.fetch_add(RECENT as u64 + 1, Ordering::SeqCst);
        self.pace.fetch_add(1, Ordering::SeqCst);
    }

    fn since(&self, seen: u64) -> (u64, Option<Vec<u64>>) {
        let count = self.count.load(Ordering::SeqCst);
        if count.wrapping_sub(seen) >= RECENT as u64 {
            return (count, None);
        }
        let pages = (seen..count).map(|n| self.recent[n as usize % RECENT].load(Ordering::SeqCst)).collect();
        // Under the next ones to be added while they were read, the oldest may have gone.
        let whole = self.count.load(Ordering::SeqCst).wrapping_sub(seen) < RECENT as u64;
        (count, whole.then_some(pages))
    }
}

/// All RAM of the machine.
pub struct Ram {
    regions: Vec<Region>,
    /// Kept for its mappings and its bitmap of device writes.
    memory: GuestRam,
    /// The stores that found a `CODE` page.
    changes: Changes,
    /// Held from taking a mark of a device write to counting it.
    collecting: Mutex<()>,
    /// See `dirty`.
    logging: AtomicBool,
    /// Pages that the bus watches, by guest physical address; few. No hart holds a writable TLB entry of one.
    watched: Vec<u64>,
    /// Which pages are monitored for load-reserved, and by whom.
    pub reservations: Reservations,
}

// SAFETY: `host` points into mappings that `memory` keeps alive; guest RAM is shared memory by nature, and all
// access goes through raw pointers and atomics, never through references.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

fn zeroed_words(n: usize) -> Box<[AtomicU32]> {
    // SAFETY: all zeroes is a valid AtomicU32.
    unsafe { Box::<[AtomicU32]>::new_zeroed_slice(n).assume_init() }
}

fn zeroed_bits(n: usize) -> Box<[AtomicU64]> {
    // SAFETY: all zeroes is a valid AtomicU64.
    unsafe { Box::<[AtomicU64]>::new_zeroed_slice(n.div_ceil(64)).assume_init() }
}

impl Ram {
    /// As others see it.
    pub fn guest(&self) -> &GuestRam {
        &self.memory
    }

    /// `watched`: addresses in the pages that the bus watches; see [`crate::GuestBus::watched`].
    pub fn new(memory: GuestRam, watched: Vec<u64>, reservations: Reservations) -> Self {
        let regions = memory
            .iter()
            .map(|r| {
                let size = r.len();
                let pages = size.div_ceil(4096) as usize;
                let host =
                    r.get_host_address(vm_memory::MemoryRegionAddress(0)).expect("a mapped region has an address");
                Region { gpa: r.start_addr().0, size, host, pages: zeroed_words(pages), dirty: zeroed_bits(pages) }
            })
            .collect();
        let watched = watched.into_iter().map(|gpa| gpa & !0xfff).collect();
        let changes = Changes::new(ram::count_writes(&memory));
        Self {
            regions,
            memory,
            changes,
            collecting: Mutex::new(()),
            logging: AtomicBool::new(false),
            watched,
            reservations,
        }
    }

    fn region(&self, gpa: u64) -> Option<&Region> {
        self.regions.iter().find(|r| gpa.wrapping_sub(r.gpa) < r.size)
    }

    /// Host address of `len` bytes at `gpa`, if all of them are RAM.
    pub fn host(&self, gpa: u64, len: u64) -> Option<*mut u8> {
        let r = self.region(gpa)?;
        let offset = gpa - r.gpa;
        // SAFETY: `offset + len <= size`, inside one mapping.
        (r.size - offset >= len).then(|| unsafe { r.host.add(offset as usize) })
    }

    /// Start and size of the RAM without a gap that `gpa` is in.
    pub fn region_around(&self, gpa: u64) -> Option<(u64, u64)> {
        self.region(gpa).map(|r| (r.gpa, r.size))
    }

    /// Whether the bus watches the page of `gpa`.
    pub fn is_watched(&self, gpa: u64) -> bool {
        self.watched.contains(&(gpa & !0xfff))
    }

    /// The guest physical address of a place in RAM, if the bus watches its page.
    pub fn watched(&self, host: *mut u8) -> Option<u64> {
        let at = |page: u64| self.host(page, 1).map(|start| (host as u64).wrapping_sub(start as u64));
        self.watched.iter().find_map(|&page| at(page).filter(|offset| *offset < 4096).map(|offset| page + offset))
    }

    /// Copies `len` bytes at `gpa`, if all of them are RAM.
    pub fn read_bytes(&self, gpa: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, gpa, len).then_some(bytes)
    }

    /// Replaces what `bytes` holds by `len` bytes; by nothing, and `false`, where there is no RAM.
    pub fn read_into(&self, bytes: &mut Vec<u8>, gpa: u64, len: usize) -> bool {
        bytes.clear();
        let Some(host) = self.host(gpa, len as u64) else { return false };
        bytes.reserve(len);
        // SAFETY: `host` answered for `len` bytes, for which there is room; a guest that stores at the same time gets what
        // it asked for.
        unsafe {
            std::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), len);
            bytes.set_len(len);
        }
        true
    }

    fn page(&self, gpa: u64) -> Option<&AtomicU32> {
        let r = self.region(gpa)?;
        Some(&r.pages[((gpa - r.gpa) >> 12) as usize])
    }

    /// A hart is about to read the page in order to translate it. `true` if some hart may hold a writable TLB
    /// entry of it, which has to be taken away. With it comes the page's version at this moment: a store that was
    /// not read shows in a later one.
    #[must_use]
    pub fn mark_code(&self, gpa: u64) -> (bool, u32) {
        let Some(word) = self.page(gpa) else { return (false, 0) };
        let old = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| Some(w & !FLAGS | CODE));
        old.map_or((false, 0), |w| (w & WRITABLE != 0, w / VERSION))
    }

    /// A hart is about to hold a writable TLB entry of the page, or to store around the TLB: stores from here
    /// on are not seen until somebody marks it as code again.
    pub fn mark_writable(&self, gpa: u64) {
        self.log(gpa);
        let Some(word) = self.page(gpa) else { return };
        let old = word.load(Ordering::SeqCst);
        if old & FLAGS == WRITABLE {
            return;
        }
        let next = |w: u32| if w & CODE != 0 { (w & !FLAGS | WRITABLE).wrapping_add(VERSION) } else { w | WRITABLE };
        if word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| Some(next(w))).is_ok_and(|w| w & CODE != 0) {
            self.changes.add(gpa);
        }
    }

    /// Version of the page's contents as far as stores after [`Ram::mark_code`] are concerned.
    pub fn version(&self, gpa: u64) -> u32 {
        self.page(gpa).map_or(0, |w| w.load(Ordering::SeqCst) / VERSION)
    }

    /// What counts up when a page with code was stored to, or any page from outside of the harts; behind the store.
    pub fn pace(&self) -> &AtomicU64 {
        &self.changes.pace
    }

    /// Counts up when a page with code was stored to.
    pub fn changed(&self) -> u64 {
        self.changes.count.load(Ordering::SeqCst)
    }

    /// How often pages with code were stored to, and which they were since it was `seen`; `None`: too many to tell.
    pub fn changes_since(&self, seen: u64) -> (u64, Option<Vec<u64>>) {
        self.changes.since(seen)
    }

    /// Takes note of device writes to the page: they count as a store by a hart.
    pub fn collect_device_write(&self, gpa: u64) {
        let Some(r) = self.memory.find_region(vm_memory::GuestAddress(gpa)) else { return };
        let offset = (gpa - r.start_addr().0) as usize & !0xfff;
        let bitmap = ram::marked_pages(r);
        if bitmap.is_addr_set(offset) {
            let _collecting = self.collecting.lock().unwrap_or_else(|e| e.into_inner());
            bitmap.reset_addr_range(offset, 4096);
            self.log(gpa);
            if let Some(word) = self.page(gpa) {
                word.fetch_add(VERSION, Ordering::SeqCst);
                self.changes.add(gpa);
            }
        }
    }

    /// As [`Ram::collect_device_write`] for many pages, most of which no device has written to.
    pub fn collect_device_writes_to(&self, pages: &[u64]) {
        let mut rest = pages;
        while let Some(&first) = rest.first() {
            let Some(r) = self.memory.find_region(vm_memory::GuestAddress(first)) else {
                rest = &rest[1..];
                continue;
            };
            let (start, size) = (r.start_addr().0, r.len());
            let bitmap = ram::marked_pages(r);
            // A bit is a page of the host, which may be larger.
            let exact = bitmap.len() as u64 == size.div_ceil(4096);
            let is_set = |page: &&u64| {
                let offset = (**page - start) as usize;
                if exact { bitmap.is_bit_set(offset >> 12) } else { bitmap.is_addr_set(offset) }
            };
            // Mostly all are in one region.
            let (inside, outside) = match rest.iter().position(|page| page.wrapping_sub(start) >= size) {
                Some(n) => rest.split_at(n),
                None => (rest, &[][..]),
            };
            for &page in inside.iter().filter(is_set) {
                self.collect_device_write(page);
            }
            rest = outside;
        }
    }

    /// A number that changes when a device has written to the page of `host`, and sometimes when a hart has.
    pub fn device_writes(&self, host: *mut u8) -> u32 {
        let inside = |r: &&Region| (host as u64).wrapping_sub(r.host as u64) < r.size;
        let Some(r) = self.regions.iter().find(inside) else { return 0 };
        let gpa = r.gpa + (host as u64 - r.host as u64);
        self.collect_device_write(gpa);
        self.device_writes_collected();
        self.version(gpa)
    }

    /// Waits for another hart that has taken a mark out of the bitmap and not counted it yet.
    pub fn device_writes_collected(&self) {
        drop(self.collecting.lock());
    }
}

impl PhysMem for Ram {
    fn read_pte(&self, pa: u64) -> Option<u64> {
        let host = self.host(pa, 8)?.cast::<AtomicU64>();
        if !host.is_aligned() {
            return None;
        }
        // SAFETY: aligned, inside a live mapping of guest RAM; other threads use atomics or plain stores of
        // generated code on it, never Rust references.
        Some(unsafe { &*host }.load(Ordering::Acquire))
    }

    fn span(&self, pa: u64) -> Option<Span> {
        self.region(pa).map(|r| Span { start: r.gpa, len: r.size, host: r.host })
    }

    fn cas_pte(&self, pa: u64, old: u64, new: u64) -> Option<bool> {
        let host = self.host(pa, 8)?.cast::<AtomicU64>();
        if !host.is_aligned() {
            return None;
        }
        self.mark_writable(pa);
        let mut there = self.reservations.at(host.cast());
        // SAFETY: as in `read_pte`.
        let stored = unsafe { &*host }.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if stored {
            there.stored(NOBODY, 8);
        }
        Some(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_address_until_there_are_too_many() {
        let changes = Changes::new(Arc::default());
        assert_eq!(changes.since(0), (0, Some(vec![])));
        changes.add(0x8000_1234);
        changes.add(0x8000_5000);
        assert_eq!(changes.since(0), (2, Some(vec![0x8000_1000, 0x8000_5000])));
        assert_eq!(changes.since(1), (2, Some(vec![0x8000_5000])));
        for n in 2..RECENT as u64 + 1 {
            changes.add(n << 12);
        }
        assert_eq!(changes.since(0), (RECENT as u64 + 1, None));
        assert_eq!(changes.since(RECENT as u64).1, Some(vec![(RECENT as u64) << 12]));
        let before = changes.since(0).0;
        changes.add_many();
        assert_eq!(changes.since(before).1, None);
    }
}
