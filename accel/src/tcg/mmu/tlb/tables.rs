//! The arrays of one context, as generated code reads and writes them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};

/// Entries in each of the read and write arrays.
pub const TLB_ENTRIES: usize = 1024;
/// Entries in the jump cache.
pub const JUMP_ENTRIES: usize = 4096;
/// Entries in each of the arrays of recent pages; a multiple of 64.
pub const RECENT_ENTRIES: usize = 512;
/// Entries of recent pages for which [`Recent::used`] has one bit.
pub const RECENT_GROUP: usize = RECENT_ENTRIES / 64;
/// A tag that no probe of a load or store computes: those are addresses of pages, with a few of the low three bits
/// where an atomic is misaligned. Not for the jump cache, see [`no_jump`].
pub const INVALID: u64 = 1 << 11;

/// A tag that no probe finds in slot `i` of the jump cache. A guest may jump to any value, odd ones included, so
/// it has to be one that is looked for elsewhere.
pub(super) const fn no_jump(i: usize) -> u64 {
    // 1 belongs to slots 0 and 1, 5 to slots 2 and 3.
    if i < 2 { 5 } else { 1 }
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
}

/// The places that the loads or the stores of loops touched last.
///
/// Such an access has an entry of its own, at an offset known at translation, so that the host address does not wait for
/// an entry to be found by the guest's address. Generated code fills it with pages of the large array, and what takes a
/// page out of that takes it out here. For loads, `Hart::look_at_loop` makes it wider where more is mapped alike.
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

    /// Drops what leads to a page; `is_it` tells it by its address.
    pub(super) fn drop_page(&mut self, is_it: impl Fn(u64) -> bool) {
        // Of what is larger than a page it may be a part.
        self.drop_if(|e| e.limit > 4096 || e.limit != 0 && is_it(e.base));
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

/// The arrays of a context, which have to stay where they are: generated code reaches them, too.
pub(super) struct Arrays(pub(super) *mut Tables);

// SAFETY: the tables are owned by this value alone and only reached through it or by the hart that owns it.
unsafe impl Send for Arrays {}

impl Deref for Arrays {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        // SAFETY: allocated in `allocate`, freed in `drop`; generated code runs only on the thread that would have to
        // call this.
        unsafe { &*self.0 }
    }
}

impl DerefMut for Arrays {
    fn deref_mut(&mut self) -> &mut Tables {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Arrays {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `allocate`, and nothing else frees it.
        unsafe { dealloc(self.0.cast(), Layout::new::<Tables>()) }
    }
}

impl Arrays {
    pub(super) fn allocate() -> Self {
        let layout = Layout::new::<Tables>();
        // SAFETY: the layout has a non-zero size.
        let tables = unsafe { alloc(layout) }.cast::<Tables>();
        if tables.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: freshly allocated for exactly these arrays; every entry is written before it is read.
        unsafe {
            for i in 0..TLB_ENTRIES {
                (&raw mut (*tables).read).cast::<TlbEntry>().add(i).write(TlbEntry { tag: INVALID, addend: 0 });
                (&raw mut (*tables).write).cast::<TlbEntry>().add(i).write(TlbEntry { tag: INVALID, addend: 0 });
            }
            for recent in [&raw mut (*tables).recent_read, &raw mut (*tables).recent_write] {
                (&raw mut (*recent).used).write([0; 8]);
                for i in 0..RECENT_ENTRIES {
                    (&raw mut (*recent).entries).cast::<RecentEntry>().add(i).write(RecentEntry::NOWHERE);
                }
            }
            for i in 0..JUMP_ENTRIES {
                (&raw mut (*tables).jump).cast::<JumpEntry>().add(i).write(JumpEntry { tag: no_jump(i), code: 0 });
            }
        }
        Self(tables)
    }
}
