//! The arrays of one context, as generated code reads and writes them.

use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{Advice, ProtFlags, madvise, munmap};

use crate::tcg::host_pages::{self, LARGE};

/// Entries in each of the read and write arrays.
pub const TLB_ENTRIES: usize = 4096;
/// Entries in the jump cache.
pub const JUMP_ENTRIES: usize = 16384;
/// Entries in each of the arrays of recent pages; a multiple of 64.
pub const RECENT_ENTRIES: usize = 512;
/// Entries of recent pages for which [`Recent::used`] has one bit.
pub const RECENT_GROUP: usize = RECENT_ENTRIES / 64;

/// Groups of [`RECENT_GROUP`] entries that a fence for a page looks through; if more are in use, it drops them all.
const SEARCHED_GROUPS: u32 = 4;

/// The tag of an empty slot `i` of the read and write arrays: none that a probe of the slot looks for. It is 0, so that
/// fresh memory is empty, but for where page 0 would be: in the first slot, or behind the last page of all, which an
/// access may reach beyond. Probes look for addresses of pages, with a few of the low three bits where an atomic is
/// misaligned.
pub(super) const fn no_page(i: usize) -> u64 {
    if 0 < i && i < TLB_ENTRIES - LONGEST { 0 } else { 1 << 11 }
}

/// More pages than the last byte of an access can be away from its first.
const LONGEST: usize = 16;

/// The tag of an empty slot `i` of the jump cache. A guest may jump to any value, odd ones included, so it has to be one
/// that is looked for elsewhere: 0 and 1 belong to slots 0 and 1, 5 to slots 2 and 3.
pub(super) const fn no_jump(i: usize) -> u64 {
    if i < 2 { 5 } else { 0 }
}

/// One page: `tag` is its virtual address, `addend` what to add to a virtual address for the host address.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TlbEntry {
    pub tag: u64,
    pub addend: u64,
}

/// One jump target: virtual pc and the host code of its block.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct JumpEntry {
    pub tag: u64,
    pub code: u64,
}

/// The arrays of one context; generated code addresses them from one base register.
#[repr(C, align(64))]
pub struct Tables {
    pub read: [TlbEntry; TLB_ENTRIES],
    pub write: [TlbEntry; TLB_ENTRIES],
    pub jump: [JumpEntry; JUMP_ENTRIES],
    pub recent_read: Recent,
    pub recent_write: Recent,
}

/// Guest addresses that lead to RAM by one addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub base: u64,
    pub size: u64,
    pub addend: u64,
}

/// Where an access of a loop was last: `base` and the addresses behind it below `limit`. `addend` as in [`TlbEntry`].
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RecentEntry {
    pub base: u64,
    /// One more than the last address, counted from `base`, at which all of the access is inside; 0 in no place. An entry
    /// belongs to accesses of one width.
    pub limit: u64,
    pub addend: u64,
    /// How often it was made wider than a page since it was dropped.
    pub widened: u64,
}

impl RecentEntry {
    pub(super) const NOWHERE: RecentEntry = RecentEntry { base: 0, limit: 0, addend: 0, widened: 0 };

    /// Whether it may lead to the host page at `host`. What is larger than a page ends less than a page behind its limit.
    pub(super) fn leads_to(&self, host: u64) -> bool {
        let end = match self.limit {
            0 => 0,
            1..=4096 => 4096,
            limit => limit + 4096,
        };
        host.wrapping_sub(self.base.wrapping_add(self.addend)) < end
    }
}

/// The places that the loads or the stores of loops touched last.
///
/// Such an access has an entry of its own, at an offset known at translation, so that the host address does not wait for
/// an entry to be found by the guest's address. Generated code fills it with pages of the large array, with two of them
/// that are mapped alike where accesses that share an entry (backend, `covers`) are in both, and what takes a page out of
/// that takes it out here. For loads, `Hart::look_at_loop` makes it wider where more is mapped alike.
#[repr(C, align(64))]
pub struct Recent {
    pub entries: [RecentEntry; RECENT_ENTRIES],
    /// A bit for each group of entries that may hold something; set by generated code.
    pub used: [u8; 8],
}

impl Recent {
    /// Drops the entries for which `which` holds.
    pub(super) fn drop_if(&mut self, which: impl Fn(&RecentEntry) -> bool) {
        let mut used = u64::from_le_bytes(self.used);
        while used != 0 {
            let group = used.trailing_zeros() as usize * RECENT_GROUP;
            for e in &mut self.entries[group..group + RECENT_GROUP] {
                if which(e) {
                    *e = RecentEntry::NOWHERE;
                }
            }
            used &= used - 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.drop_if(|_| true);
        self.used = [0; 8];
    }

    /// Drops what leads to the page at `page`; addresses have `masked` upper bits that mean nothing. Whether there may be
    /// other entries.
    pub(super) fn drop_page(&mut self, page: u64, masked: u8) -> bool {
        // Where fences come again and again, entries are sooner found again than searched each time.
        if u64::from_le_bytes(self.used).count_ones() > SEARCHED_GROUPS {
            self.clear();
            return false;
        }
        self.drop_if(|e| match e.limit {
            0 => false,
            1..=4096 => (e.base ^ page) << masked == 0,
            // What is larger than a page ends less than a page behind its limit.
            limit => masked != 0 || page.wrapping_sub(e.base & !0xfff) < limit + 4096,
        });
        self.used != [0; 8]
    }
}

/// Index of a virtual address in `read` and `write`.
pub fn tlb_index(va: u64) -> usize {
    (va >> 12) as usize & (TLB_ENTRIES - 1)
}

/// Index of a virtual pc in `jump`.
pub fn jump_index(pc: u64) -> usize {
    ((pc ^ (pc >> 12)) >> 1) as usize & (JUMP_ENTRIES - 1)
}

/// Memory for the arrays of contexts, unmapped when the last of them is gone.
struct Mapping {
    at: NonNull<u8>,
    size: usize,
}

// SAFETY: nothing reaches the memory by this value, which only unmaps it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroes, which cost memory only as they are touched.
    fn new(size: usize) -> Arc<Self> {
        match host_pages::map(size, ProtFlags::READ | ProtFlags::WRITE) {
            Ok(at) => Arc::new(Self { at, size }),
            Err(_) => handle_alloc_error(Layout::new::<Tables>()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size in `new`, and nothing refers to it any more.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.size) };
    }
}

/// Bytes from the arrays of one context to those of the next.
const PLACE: usize = size_of::<Tables>().next_multiple_of(4096);

/// Where the arrays of all contexts but the first go: a kernel and its programs need several, of which every access and
/// every jump reads a word somewhere. So they share large pages, which the host's TLB holds better.
#[derive(Default)]
pub(super) struct Room {
    mapping: Option<Arc<Mapping>>,
    taken: usize,
}

impl Room {
    /// Empty arrays for one more context.
    pub(super) fn take(&mut self) -> Arrays {
        if self.mapping.is_none() || (self.taken + 1) * PLACE > LARGE {
            let mapping = Mapping::new(LARGE);
            // SAFETY: the whole of the mapping; on failure its pages stay small.
            let _ = unsafe { madvise(mapping.at.as_ptr().cast(), LARGE, Advice::LinuxHugepage) };
            (self.mapping, self.taken) = (Some(mapping), 0);
        }
        let mapping = Arc::clone(self.mapping.as_ref().expect("made above"));
        self.taken += 1;
        // SAFETY: inside the mapping, and given to nobody else.
        Arrays::begin(unsafe { mapping.at.add((self.taken - 1) * PLACE) }.cast(), mapping)
    }
}

/// The arrays of a context, which have to stay where they are: generated code reaches them, too.
pub(super) struct Arrays {
    at: NonNull<Tables>,
    mapping: Arc<Mapping>,
}

// SAFETY: the tables are owned by this value alone and only reached through it or by the hart that owns it.
unsafe impl Send for Arrays {}

impl Deref for Arrays {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        // SAFETY: mapped, where zeroes are valid entries, as long as `mapping` is there; generated code runs only on the
        // thread that would have to call this.
        unsafe { self.at.as_ref() }
    }
}

impl DerefMut for Arrays {
    fn deref_mut(&mut self) -> &mut Tables {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { self.at.as_mut() }
    }
}

impl Drop for Arrays {
    fn drop(&mut self) {
        // Others may go on in the same mapping.
        if Arc::strong_count(&self.mapping) > 1 {
            // SAFETY: whole pages that nothing else refers to, and that are not given to anybody again.
            let _ = unsafe { madvise(self.at.as_ptr().cast(), PLACE, Advice::LinuxDontNeed) };
        }
    }
}

impl Arrays {
    /// Empty arrays, which cost memory only as they are used.
    pub(super) fn allocate() -> Self {
        let mapping = Mapping::new(PLACE);
        Self::begin(mapping.at.cast(), mapping)
    }

    /// Makes arrays of zeroes.
    fn begin(at: NonNull<Tables>, mapping: Arc<Mapping>) -> Self {
        let mut arrays = Self { at, mapping };
        let t = &mut *arrays;
        for i in (0..TLB_ENTRIES).filter(|&i| no_page(i) != 0) {
            (t.read[i].tag, t.write[i].tag) = (no_page(i), no_page(i));
        }
        for i in (0..JUMP_ENTRIES).filter(|&i| no_jump(i) != 0) {
            t.jump[i].tag = no_jump(i);
        }
        arrays
    }

    /// Where they are.
    pub(super) fn as_ptr(&self) -> *mut Tables {
        self.at.as_ptr()
    }
}

/// The slots of `jump` in which the pcs of a page, and what had to make room for them, can be.
pub(super) fn jump_slots(page: u64) -> std::ops::Range<usize> {
    const OF_A_PAGE: usize = 4096 / 2;
    let first = jump_index(page) & !(OF_A_PAGE - 1);
    first..first + OF_A_PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_own_jump_slots() {
        for page in [0u64, 0x1000, 0x7fff_8acb_8000, 0xffff_ffff_8052_a000, !0xfff] {
            let slots = jump_slots(page);
            assert!(slots.end <= JUMP_ENTRIES && slots.start.is_multiple_of(64));
            assert!((0..4096).map(|n| jump_index(page + n)).all(|i| slots.contains(&i) && slots.contains(&(i ^ 1))));
        }
    }

    #[test]
    fn a_fence_takes_the_places_it_is_in() {
        let place = |base, limit| RecentEntry { base, limit, ..RecentEntry::NOWHERE };
        let gone = |e: RecentEntry, page, masked| {
            let mut t = Arrays::allocate();
            t.recent_read.entries[3] = e;
            t.recent_read.used[0] = 1;
            t.recent_read.drop_page(page, masked);
            t.recent_read.entries[3].limit == 0
        };
        for (page, expected) in [(0x20_0000, true), (0x3f_f000, true), (0x1f_f000, false), (0x40_1000, false)] {
            assert_eq!(gone(place(0x20_0000, (2 << 20) - 7), page, 0), expected, "{page:#x}");
        }
        assert!(gone(place(0x20_0000, (2 << 20) - 7), 0x40_1000, 7), "by other names");
        assert!(gone(place(0x5000, 4089), 0x5000, 0) && !gone(place(0x5000, 4089), 0x6000, 0));
        assert!(gone(place(0xab << 57 | 0x5000, 4089), 0x5000, 7));
    }

    #[test]
    fn a_fence_does_not_search_many_places() {
        let entry = RecentEntry { base: 0x5000, limit: 4089, ..RecentEntry::NOWHERE };
        for (groups, stays) in [(4, true), (5, false)] {
            let mut t = Arrays::allocate();
            for group in 0..groups {
                t.recent_write.entries[group * RECENT_GROUP] = entry;
                t.recent_write.used[group / 8] |= 1 << (group % 8);
            }
            assert_eq!(t.recent_write.drop_page(0x6000, 0), stays);
            assert_eq!(t.recent_write.entries[0].limit != 0, stays);
            t.recent_write.drop_page(0x5000, 0);
            assert!(t.recent_write.entries.iter().all(|e| e.limit == 0));
        }
    }

    #[test]
    fn arrays_share_memory_and_give_it_back() {
        let mut room = Room::default();
        let mut all: Vec<_> = (0..9).map(|_| room.take()).collect();
        for (n, t) in all.iter_mut().enumerate() {
            t.jump[100] = JumpEntry { tag: n as u64, code: 1 };
            (t.read[7].tag, t.recent_write.entries[RECENT_ENTRIES - 1].limit) = (n as u64, n as u64);
        }
        all.remove(1);
        let is = |t: &Arrays, n: u64| t.jump[100].tag == n && t.read[7].tag == n;
        for (t, n) in all.iter().zip([0, 2, 3, 4, 5, 6, 7, 8]) {
            assert!(is(t, n) && t.recent_write.entries[RECENT_ENTRIES - 1].limit == n);
        }
        drop(room);
        let last = all.pop().unwrap();
        drop(all);
        assert!(is(&last, 8));
    }

    #[test]
    fn fresh_arrays_are_empty() {
        let mut room = Room::default();
        [Arrays::allocate(), room.take(), room.take()].iter().for_each(are_empty);
    }

    fn are_empty(t: &Arrays) {
        for i in 0..TLB_ENTRIES {
            // Whatever page a probe begins in that has this slot, the tag is not that of a page it may end in.
            for tag in [t.read[i].tag, t.write[i].tag] {
                assert_eq!(tag, no_page(i));
                let ends = (0..LONGEST as u64).map(|n| (tag & !0xfff).wrapping_sub(n << 12));
                assert!(tag & 0xff8 != 0 || ends.into_iter().all(|va| tlb_index(va) != i), "{i}");
            }
        }
        for i in 0..JUMP_ENTRIES {
            assert_eq!(t.jump[i].tag, no_jump(i));
            assert!(![i, i ^ 1].contains(&jump_index(no_jump(i))), "{i}");
        }
        let entries = t.recent_read.entries.iter().chain(&t.recent_write.entries);
        assert!(entries.into_iter().all(|e| e.limit == 0), "an address is in no place of size 0");
    }
}
