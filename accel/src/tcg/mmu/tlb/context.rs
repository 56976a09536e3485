//! One context: its arrays and what a fence has to know about them.

use arch::csr::hgatp;

use super::super::walk::Walk;
use super::slots::{LargePages, Slots};
use super::tables::{
    Arrays, JUMP_ENTRIES, JumpEntry, TLB_ENTRIES, jump_index, jump_slots, no_jump, no_page, tlb_index,
};

/// What makes translations differ between contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContextKey {
    /// Privilege of fetches and execution (`Mode` as a number).
    pub mode: u8,
    /// Privilege of loads and stores (MPRV).
    pub data_mode: u8,
    pub sum: bool,
    pub mxr: bool,
    /// MXR of HS-level, where `virt`: it counts for both stages.
    pub host_mxr: bool,
    /// `satp.MODE`, where any of the two is translated: a switch to or from Bare takes effect without a fence.
    pub paging: u8,
    /// Bits of addresses that pointer masking ignores in loads and stores.
    pub masked: u8,
    /// Landing pads, shadow stacks and their pages (`cfi::flags`).
    pub cfi: u8,
    /// The code of the jump cache looks at the limit of the counters.
    pub counting: bool,
    /// It records its control transfers.
    pub recording: bool,
    /// Whole `satp` (of a guest: `vsatp`) where U-mode translations are held, else 0.
    pub satp: u64,
    /// Loads and stores, and fetches unless the mode is M, are a guest's: both stages translate.
    pub virt: bool,
    /// Whole `hgatp`, VMID and all, where `virt`, else 0.
    pub hgatp: u64,
}

impl ContextKey {
    /// The virtual machine, where `virt`.
    pub(super) fn vmid(&self) -> u64 {
        (self.hgatp & hgatp::VMID) >> hgatp::VMID_SHIFT
    }
}

/// Whose addresses a fence names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Those that `satp` translates.
    Host,
    /// Those that `vsatp` translates in one virtual machine.
    Guest { vmid: u64 },
}

impl Space {
    pub(super) fn has(self, key: &ContextKey) -> bool {
        match self {
            // Without translation there is nothing to forget.
            Space::Host => !key.virt && key.paging != 0,
            Space::Guest { vmid } => key.virt && key.vmid() == vmid,
        }
    }
}

/// Pages of code that the search for a block needs no walk for.
pub(super) const FETCH_ENTRIES: usize = 256;
/// Slots of [`Context::jump_pages`].
pub(super) const JUMP_PAGES: usize = 4096;

/// One page of code, all of which may be executed. Only the search for blocks asks, generated code does not.
#[derive(Clone, Copy)]
pub(super) struct FetchEntry {
    /// Its virtual address.
    pub(super) tag: u64,
    /// Leads to its first byte.
    pub(super) walk: Walk,
}

/// Index of a virtual pc in a context's `fetches`.
pub(super) fn fetch_index(pc: u64) -> usize {
    (pc >> 12) as usize & (FETCH_ENTRIES - 1)
}

/// The page of `pc` in a context's `jump_pages`.
pub(super) fn jump_page(pc: u64) -> usize {
    (pc >> 12) as usize & (JUMP_PAGES - 1)
}

pub(super) struct Context {
    pub(super) key: ContextKey,
    pub(super) tables: Arrays,
    pub(super) stamp: u64,
    /// `satp` when entries were last added or dropped: tells when non-global entries must go.
    pub(super) satp: u64,
    /// Slots that may hold something, so that a flush touches no more.
    pub(super) touched_read: Slots<{ TLB_ENTRIES / 64 }>,
    pub(super) touched_write: Slots<{ TLB_ENTRIES / 64 }>,
    pub(super) touched_jump: Slots<{ JUMP_ENTRIES / 64 }>,
    pub(super) touched_fetch: Slots<{ FETCH_ENTRIES / 64 }>,
    /// By the lowest bits of the page's number; empty before the first fill.
    pub(super) fetches: Vec<Option<FetchEntry>>,
    /// Read and write slots of which an entry may not be global.
    pub(super) local: Slots<{ TLB_ENTRIES / 64 }>,
    /// Jump targets on non-global pages exist.
    pub(super) local_jumps: bool,
    /// Where jump targets may be: pages by the lowest bits of their numbers. Most pages that fences name are of data, and
    /// need no search.
    pub(super) jump_pages: Slots<{ JUMP_PAGES / 64 }>,
    /// Larger pages of which entries may exist: a fence by address has to drop all of them.
    pub(super) large: LargePages,
    /// Recent pages may have been made wider, beyond what `Tlb::holders` knows of.
    pub(super) wide: bool,
}

impl Context {
    pub(super) fn new(key: ContextKey, satp: u64, tables: Arrays) -> Self {
        Self {
            key,
            tables,
            stamp: 0,
            satp,
            touched_read: Slots::EMPTY,
            touched_write: Slots::EMPTY,
            touched_jump: Slots::EMPTY,
            touched_fetch: Slots::EMPTY,
            fetches: Vec::new(),
            local: Slots::EMPTY,
            local_jumps: false,
            jump_pages: Slots::EMPTY,
            large: LargePages::default(),
            wide: false,
        }
    }

    pub(super) fn put_jump(&mut self, i: usize, entry: JumpEntry) {
        self.tables.jump[i] = entry;
        self.jump_pages.add(jump_page(entry.tag));
        self.touched_jump.add(i);
    }

    pub(super) fn flush_writes(&mut self) {
        self.tables.recent_write.clear();
        self.touched_write.drain(|i| self.tables.write[i].tag = no_page(i));
    }

    pub(super) fn flush_jumps(&mut self) {
        self.touched_jump.drain(|i| self.tables.jump[i].tag = no_jump(i));
        self.jump_pages.drain(|_| {});
        self.local_jumps = false;
    }

    pub(super) fn flush(&mut self) {
        self.tables.recent_read.clear();
        self.wide = false;
        self.touched_read.drain(|i| self.tables.read[i].tag = no_page(i));
        self.flush_writes();
        self.flush_jumps();
        self.touched_fetch.drain(|i| self.fetches[i] = None);
        self.local.drain(|_| {});
        self.large.clear();
    }

    /// Recent pages do not know whether they are global.
    pub(super) fn forget_recent(&mut self) {
        self.tables.recent_read.clear();
        self.tables.recent_write.clear();
    }

    pub(super) fn drop_local(&mut self) {
        self.forget_recent();
        self.local.drain(|i| {
            self.tables.read[i].tag = no_page(i);
            self.tables.write[i].tag = no_page(i);
        });
        if self.local_jumps {
            self.flush_jumps();
        }
        self.touched_fetch.retain(|i| {
            let stays = self.fetches[i].is_some_and(|f| f.walk.global);
            if !stays {
                self.fetches[i] = None;
            }
            stays
        });
    }

    /// `va` without what pointer masking ignores of the addresses by which entries are found.
    pub(super) fn named(&self, va: u64) -> u64 {
        va << self.key.masked >> self.key.masked
    }

    /// Remembers the page of `va` if it is a large one.
    pub(super) fn add_large(&mut self, va: u64, page_shift: u8) {
        let va = self.named(va);
        self.large.add(va, page_shift);
    }

    /// Whether the page of `va` may be part of a larger one.
    #[inline]
    pub(super) fn has_large(&self, va: u64) -> bool {
        self.large.hold(self.named(va))
    }

    /// Forgets one page, which is not part of a larger one. `false`: no page with its index is known any more.
    pub(super) fn flush_page(&mut self, va: u64) -> bool {
        let page = va & !0xfff;
        let i = tlb_index(va);
        let mut left = false;
        if let Some(f) = self.fetches.get_mut(fetch_index(va))
            && let Some(entry) = f
        {
            if entry.tag == page {
                *f = None;
            } else {
                left |= tlb_index(entry.tag) == i;
            }
        }
        let masked = self.key.masked;
        let t = &mut *self.tables;
        for tag in [&mut t.read[i].tag, &mut t.write[i].tag] {
            if (*tag ^ page) << masked == 0 {
                *tag = no_page(i);
            }
            left |= *tag != no_page(i);
        }
        left |= t.recent_read.drop_page(page, masked);
        left |= t.recent_write.drop_page(page, masked);
        left | self.flush_jumps_in(page)
    }

    /// Forgets the jump targets of a page, also that of an instruction that crosses into it. Whether there may be others of
    /// pages with its index.
    fn flush_jumps_in(&mut self, page: u64) -> bool {
        let may_have = |va| self.jump_pages.has(jump_page(va));
        if may_have(page) {
            for i in self.touched_jump.within(jump_slots(page)) {
                let entry = &mut self.tables.jump[i];
                if entry.tag & !0xfff == page {
                    entry.tag = no_jump(i);
                }
            }
        }
        let across = page.wrapping_sub(2);
        let left = may_have(page) || may_have(across);
        if may_have(across) {
            for i in [jump_index(across), jump_index(across) ^ 1] {
                let entry = &mut self.tables.jump[i];
                if entry.tag == across {
                    entry.tag = no_jump(i);
                }
            }
        }
        left
    }
}
