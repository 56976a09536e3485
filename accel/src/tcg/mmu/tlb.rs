//! The software TLB: what generated code probes at every memory access and indirect jump.
//!
//! A hart owns a few *contexts*. A context answers for one combination of everything that changes what a
//! virtual address means (see [`ContextKey`]), so a privilege change, a SUM window or an `satp` switch
//! between resident address spaces swaps a pointer instead of flushing. U-mode contexts belong to one `satp`
//! value; S-mode contexts are shared by all address spaces and drop their non-global entries when `satp`
//! changes (privileged spec, "Supervisor Address Translation and Protection Register"), unless S-mode itself runs from
//! pages that are not global: then each address space has one of its own.
//!
//! Everything here belongs to the hart's own thread. Other harts reach it only by messages (`smp`).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};

use arch::csr::hgatp;
use rustc_hash::FxHashSet;

use super::walk::Walk;

/// Entries in each of the read and write arrays.
pub const TLB_ENTRIES: usize = 1024;
/// Entries in the jump cache.
pub const JUMP_ENTRIES: usize = 4096;
/// Pages of code that the search for a block needs no walk for.
const FETCH_ENTRIES: usize = 256;
/// Entries in each of the arrays of recent pages; a multiple of 64.
pub const RECENT_ENTRIES: usize = 512;
/// Entries of recent pages for which [`Recent::used`] has one bit.
pub const RECENT_GROUP: usize = RECENT_ENTRIES / 64;
/// Times that an entry of recent pages may be made wider in vain.
const WIDENED_MAX: u64 = 3;
/// Slots of [`Context::jump_pages`].
const JUMP_PAGES: usize = 4096;
/// Contexts a hart keeps; the least recently used is recycled.
const CONTEXTS: usize = 16;
/// A tag that no probe of a load or store computes: those are addresses of pages, with a few of the low three bits
/// where an atomic is misaligned. Not for the jump cache, see [`no_jump`].
pub const INVALID: u64 = 1 << 11;

/// A tag that no probe finds in slot `i` of the jump cache. A guest may jump to any value, odd ones included, so
/// it has to be one that is looked for elsewhere.
const fn no_jump(i: usize) -> u64 {
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

/// A set of slots. What is empty costs next to nothing to go through.
struct Slots<const WORDS: usize> {
    /// Words that may have a bit set.
    any: u64,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Slots<WORDS> {
    const EMPTY: Self = Self { any: 0, words: [0; WORDS] };

    #[inline]
    fn add(&mut self, slot: usize) {
        self.any |= 1 << (slot / 64);
        self.words[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    fn has(&self, slot: usize) -> bool {
        self.words[slot / 64] >> (slot % 64) & 1 != 0
    }

    /// Drops the slots of which `keep` says so.
    #[inline]
    fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut any = self.any;
        while any != 0 {
            let word = any.trailing_zeros() as usize;
            any &= any - 1;
            let mut bits = self.words[word];
            while bits != 0 {
                let slot = 64 * word + bits.trailing_zeros() as usize;
                if !keep(slot) {
                    self.words[word] &= !(1 << (slot % 64));
                }
                bits &= bits - 1;
            }
            if self.words[word] == 0 {
                self.any &= !(1 << word);
            }
        }
    }

    /// Takes all slots out.
    #[inline]
    fn drain(&mut self, mut each: impl FnMut(usize)) {
        self.retain(|slot| {
            each(slot);
            false
        });
    }
}

/// One page of code, all of which may be executed. Only the search for blocks asks, generated code does not.
#[derive(Clone, Copy)]
struct FetchEntry {
    /// Its virtual address.
    tag: u64,
    /// Leads to its first byte.
    walk: Walk,
}

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
    fn vmid(&self) -> u64 {
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
    fn has(self, key: &ContextKey) -> bool {
        match self {
            Space::Host => !key.virt,
            Space::Guest { vmid } => key.virt && key.vmid() == vmid,
        }
    }
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
    const NOWHERE: RecentEntry = RecentEntry { base: 0, limit: 0, addend: 0, widened: 0 };
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
    fn drop_if(&mut self, which: impl Fn(&RecentEntry) -> bool) {
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

    fn clear(&mut self) {
        self.drop_if(|_| true);
        self.used = [0; 8];
    }

    /// Drops what leads to a page; `is_it` tells it by its address.
    fn drop_page(&mut self, is_it: impl Fn(u64) -> bool) {
        // Of what is larger than a page it may be a part.
        self.drop_if(|e| e.limit > 4096 || e.limit != 0 && is_it(e.base));
    }
}

/// Index of a virtual address in `read` and `write`.
pub fn tlb_index(va: u64) -> usize {
    (va >> 12) as usize & (TLB_ENTRIES - 1)
}

/// Index of a virtual pc in a context's `fetches`.
fn fetch_index(pc: u64) -> usize {
    (pc >> 12) as usize & (FETCH_ENTRIES - 1)
}

/// The page of `pc` in a context's `jump_pages`.
fn jump_page(pc: u64) -> usize {
    (pc >> 12) as usize & (JUMP_PAGES - 1)
}

/// Index of a virtual pc in `jump`.
pub fn jump_index(pc: u64) -> usize {
    ((pc ^ (pc >> 12)) >> 1) as usize & (JUMP_ENTRIES - 1)
}

/// A set of pages larger than 4 KiB.
#[derive(Default)]
struct LargePages {
    /// Page number and shift in one word.
    pages: FxHashSet<u64>,
    /// Bit n: some page has shift n.
    shifts: u64,
    /// The bits of [`LargePages::sieve`] of all pages: most that are asked for have another one.
    sieve: u64,
    /// What was added last, since fills come in runs.
    last: u64,
    /// There were more than [`LargePages::LIMIT`]: everything may be one.
    overflown: bool,
}

impl LargePages {
    /// Tables that refer to themselves map any number of pages without costing the guest any memory.
    const LIMIT: usize = 4096;

    fn key(va: u64, shift: u8) -> u64 {
        va >> shift << 6 | u64::from(shift)
    }

    fn sieve(key: u64) -> u64 {
        1 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }

    fn add(&mut self, va: u64, shift: u8) {
        let key = Self::key(va, shift);
        if shift > 12 && key != self.last {
            self.last = key;
            self.shifts |= 1 << shift;
            self.overflown |= self.pages.len() >= Self::LIMIT;
            if !self.overflown {
                self.sieve |= Self::sieve(key);
                self.pages.insert(key);
            }
        }
    }

    fn hold(&self, va: u64) -> bool {
        let mut shifts = self.shifts;
        if self.overflown {
            return true;
        }
        while shifts != 0 {
            let key = Self::key(va, shifts.trailing_zeros() as u8);
            if self.sieve & Self::sieve(key) != 0 && self.pages.contains(&key) {
                return true;
            }
            shifts &= shifts - 1;
        }
        false
    }

    fn clear(&mut self) {
        self.pages.clear();
        (self.shifts, self.sieve, self.last, self.overflown) = (0, 0, 0, false);
    }
}

struct Context {
    key: ContextKey,
    tables: Arrays,
    stamp: u64,
    /// `satp` when entries were last added or dropped: tells when non-global entries must go.
    satp: u64,
    /// Slots that may hold something, so that a flush touches no more.
    touched_read: Slots<{ TLB_ENTRIES / 64 }>,
    touched_write: Slots<{ TLB_ENTRIES / 64 }>,
    touched_jump: Slots<{ JUMP_ENTRIES / 64 }>,
    touched_fetch: Slots<{ FETCH_ENTRIES / 64 }>,
    /// By the lowest bits of the page's number; empty before the first fill.
    fetches: Vec<Option<FetchEntry>>,
    /// Read and write slots of which an entry may not be global.
    local: Slots<{ TLB_ENTRIES / 64 }>,
    /// Jump targets on non-global pages exist.
    local_jumps: bool,
    /// Where jump targets may be: pages by the lowest bits of their numbers. Most pages that fences name are of data, and
    /// need no search.
    jump_pages: Slots<{ JUMP_PAGES / 64 }>,
    /// Larger pages of which entries may exist: a fence by address has to drop all of them.
    large: LargePages,
}

/// All contexts of a hart.
pub struct Tlb {
    contexts: Vec<Context>,
    current: usize,
    clock: u64,
    /// Usable entries in `read` and `write`; below [`TLB_ENTRIES`] only in the forced mode `tlb-size=`.
    mask: usize,
    /// Contexts that had to make room for another.
    pub recycled: u64,
    pub flushes: u64,
    pub fills: u64,
    /// Jump targets that another one had to leave for.
    pub replaced: u64,
    /// Times that all jump targets of a context were forgotten.
    pub jump_flushes: u64,
}

/// The arrays of a context, which have to stay where they are: generated code reaches them, too.
struct Arrays(*mut Tables);

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
    fn allocate() -> Self {
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

impl Context {
    fn new(key: ContextKey, satp: u64) -> Self {
        Self {
            key,
            tables: Arrays::allocate(),
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
        }
    }

    fn put_jump(&mut self, i: usize, entry: JumpEntry) {
        self.tables.jump[i] = entry;
        self.jump_pages.add(jump_page(entry.tag));
        self.touched_jump.add(i);
    }

    fn flush_writes(&mut self) {
        self.tables.recent_write.clear();
        self.touched_write.drain(|i| self.tables.write[i].tag = INVALID);
    }

    fn flush_jumps(&mut self) {
        self.touched_jump.drain(|i| self.tables.jump[i].tag = no_jump(i));
        self.jump_pages.drain(|_| {});
        self.local_jumps = false;
    }

    fn flush(&mut self) {
        self.tables.recent_read.clear();
        self.touched_read.drain(|i| self.tables.read[i].tag = INVALID);
        self.flush_writes();
        self.flush_jumps();
        self.touched_fetch.drain(|i| self.fetches[i] = None);
        self.local.drain(|_| {});
        self.large.clear();
    }

    /// Recent pages do not know whether they are global.
    fn forget_recent(&mut self) {
        self.tables.recent_read.clear();
        self.tables.recent_write.clear();
    }

    fn drop_local(&mut self) {
        self.forget_recent();
        self.local.drain(|i| {
            self.tables.read[i].tag = INVALID;
            self.tables.write[i].tag = INVALID;
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
    fn named(&self, va: u64) -> u64 {
        va << self.key.masked >> self.key.masked
    }

    /// Remembers the page of `va` if it is a large one.
    fn add_large(&mut self, va: u64, page_shift: u8) {
        let va = self.named(va);
        self.large.add(va, page_shift);
    }

    fn flush_page(&mut self, va: u64) {
        if self.large.hold(self.named(va)) {
            return self.flush();
        }
        let page = va & !0xfff;
        if let Some(f) = self.fetches.get_mut(fetch_index(va))
            && f.is_some_and(|f| f.tag == page)
        {
            *f = None;
        }
        let i = tlb_index(va);
        let masked = self.key.masked;
        let t = &mut *self.tables;
        let names = |tag: u64| (tag ^ page) << masked == 0;
        if names(t.read[i].tag) {
            t.read[i].tag = INVALID;
        }
        if names(t.write[i].tag) {
            t.write[i].tag = INVALID;
        }
        t.recent_read.drop_page(names);
        t.recent_write.drop_page(names);
        self.flush_jumps_in(page);
    }

    /// Forgets the jump targets of a page, also that of an instruction that crosses into it.
    fn flush_jumps_in(&mut self, page: u64) {
        let may_have = |va| self.jump_pages.has(jump_page(va));
        if !may_have(page) && !may_have(page.wrapping_sub(2)) {
            return;
        }
        self.touched_jump.retain(|i| {
            let entry = &mut self.tables.jump[i];
            let named = entry.tag & !0xfff == page || entry.tag == page.wrapping_sub(2);
            if named {
                entry.tag = no_jump(i);
            }
            !named
        });
    }
}

impl Tlb {
    /// `entries`: a power of two up to [`TLB_ENTRIES`], the number of pages the hart may keep.
    pub fn new(key: ContextKey, entries: usize) -> Self {
        assert!(entries.is_power_of_two() && entries <= TLB_ENTRIES, "TLB size out of range");
        Self {
            contexts: vec![Context::new(key, 0)],
            current: 0,
            clock: 0,
            mask: entries - 1,
            recycled: 0,
            flushes: 0,
            fills: 0,
            replaced: 0,
            jump_flushes: 0,
        }
    }

    /// Makes the context for `key` current, recycling the oldest if there is none; returns its tables.
    pub fn select(&mut self, key: ContextKey, satp: u64) -> *mut Tables {
        self.clock += 1;
        let mut fit = self.contexts.iter().enumerate().filter(|(_, c)| c.key == key);
        let same = fit.clone().find(|(_, c)| c.satp == satp);
        // Without jump targets to lose, a context of another address space will do.
        let found = same.or_else(|| fit.find(|(_, c)| !c.local_jumps));
        let i = match found.map(|(i, _)| i) {
            Some(i) => i,
            None if self.contexts.len() < CONTEXTS => {
                self.contexts.push(Context::new(key, satp));
                self.contexts.len() - 1
            }
            None => {
                let i = (0..CONTEXTS).min_by_key(|&i| self.contexts[i].stamp).unwrap_or(0);
                self.contexts[i].flush();
                (self.contexts[i].key, self.contexts[i].satp) = (key, satp);
                self.recycled += 1;
                i
            }
        };
        let c = &mut self.contexts[i];
        c.stamp = self.clock;
        if c.satp != satp {
            c.drop_local();
            c.satp = satp;
        }
        self.current = i;
        c.tables.0
    }

    /// Index of the current context, which stays as long as [`recycled`](Self::recycled) does.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Makes a context current again that [`select`](Self::select) found with the `satp` of now.
    #[inline]
    pub fn switch(&mut self, context: usize) {
        self.clock += 1;
        self.contexts[context].stamp = self.clock;
        self.current = context;
    }

    /// Enters a translation of the page at `va` into the current context.
    pub fn fill(&mut self, va: u64, addend: u64, write: bool, global: bool, page_shift: u8) {
        self.fills += 1;
        let c = &mut self.contexts[self.current];
        let slot = tlb_index(va);
        // A forced small TLB lives in the same arrays: whatever else maps to the small index has to go.
        if self.mask != TLB_ENTRIES - 1 {
            c.forget_recent();
            let stays = |i: usize| (i ^ slot) & self.mask != 0 || i == slot;
            let t = &mut *c.tables;
            let (touched, entries) = match write {
                true => (&mut c.touched_write, &mut t.write),
                false => (&mut c.touched_read, &mut t.read),
            };
            touched.retain(|i| {
                if !stays(i) {
                    entries[i].tag = INVALID;
                }
                stays(i)
            });
        }
        let entry = TlbEntry { tag: va & !0xfff, addend };
        if write {
            c.tables.write[slot] = entry;
            c.touched_write.add(slot);
        } else {
            c.tables.read[slot] = entry;
            c.touched_read.add(slot);
        }
        if !global {
            c.local.add(slot);
        }
        c.add_large(va, page_shift);
    }

    /// Remembers that the whole page of `pc` may be executed in the current context. `walk` is that of `pc`.
    pub fn fill_fetch(&mut self, pc: u64, walk: &Walk) {
        let c = &mut self.contexts[self.current];
        if c.fetches.is_empty() {
            c.fetches.resize(FETCH_ENTRIES, None);
        }
        if self.mask < FETCH_ENTRIES {
            // The forced small TLB.
            c.touched_fetch.drain(|i| c.fetches[i] = None);
        }
        c.touched_fetch.add(fetch_index(pc));
        c.fetches[fetch_index(pc)] =
            Some(FetchEntry { tag: pc & !0xfff, walk: Walk { pa: walk.pa & !0xfff, ..*walk } });
        c.add_large(pc, walk.page_shift);
    }

    /// The translation of `pc` for execution, if it is remembered.
    pub fn find_fetch(&self, pc: u64) -> Option<Walk> {
        let entry = self.contexts[self.current].fetches.get(fetch_index(pc))?.as_ref()?;
        (entry.tag == pc & !0xfff).then_some(Walk { pa: entry.walk.pa | pc & 0xfff, ..entry.walk })
    }

    /// Remembers the code of the block at virtual `pc` in the current context. What stood in its slot moves to
    /// the slot's neighbour, where generated code looks second.
    pub fn fill_jump(&mut self, pc: u64, code: u64, global: bool, page_shift: u8) {
        let c = &mut self.contexts[self.current];
        let i = jump_index(pc);
        let old = c.tables.jump[i];
        if old.tag != no_jump(i) && old.tag != pc {
            self.replaced += 1;
            c.put_jump(i ^ 1, old);
        }
        c.put_jump(i, JumpEntry { tag: pc, code });
        c.local_jumps |= !global;
        c.add_large(pc, page_shift);
    }

    /// The block at `pc` also depends on the page behind its own.
    pub fn jump_crosses(&mut self, pc: u64, global: bool, page_shift: u8) {
        let c = &mut self.contexts[self.current];
        c.local_jumps |= !global;
        c.add_large((pc | 0xfff) + 1, page_shift);
    }

    /// The jump cache's answer for `pc` in the current context.
    pub fn find_jump(&self, pc: u64) -> Option<u64> {
        let jump = &self.contexts[self.current].tables.jump;
        let i = jump_index(pc);
        [jump[i], jump[i ^ 1]].into_iter().find(|e| e.tag == pc).map(|e| e.code)
    }

    /// Forgets everything (a change of PMP or of the whole state).
    pub fn flush_all(&mut self) {
        self.flushes += 1;
        self.contexts.iter_mut().for_each(Context::flush);
    }

    /// Forgets every translation of a space (`sfence.vma x0, x0` and its likes).
    pub fn flush_space(&mut self, space: Space) {
        self.flushes += 1;
        self.contexts.iter_mut().filter(|c| space.has(&c.key)).for_each(Context::flush);
    }

    /// Forgets every translation of one or all virtual machines (`hfence.gvma`). Entries do not know the guest
    /// physical address they lead through, so that a fence for one of these is a fence for all.
    pub fn flush_guests(&mut self, vmid: Option<u64>) {
        self.flushes += 1;
        let named = |key: &ContextKey| key.virt && vmid.is_none_or(|vmid| key.vmid() == vmid);
        self.contexts.iter_mut().filter(|c| named(&c.key)).for_each(Context::flush);
    }

    /// Forgets the pages of one address space; global translations may stay.
    pub fn flush_asid(&mut self, space: Space, asid: u64) {
        self.flushes += 1;
        for c in self.contexts.iter_mut().filter(|c| space.has(&c.key)) {
            if c.key.satp == 0 {
                c.drop_local();
            } else if c.key.satp >> 44 & 0xffff == asid {
                c.flush();
            }
        }
    }

    /// Forgets one page; with `asid`, in the other address spaces it may stay.
    pub fn flush_page(&mut self, space: Space, va: u64, asid: Option<u64>) {
        for c in self.contexts.iter_mut().filter(|c| space.has(&c.key)) {
            if c.key.satp == 0 || asid.is_none_or(|a| c.key.satp >> 44 & 0xffff == a) {
                c.flush_page(va);
            }
        }
    }

    /// Makes the entry of a load, which has `width` bytes, lead to a range that is mapped alike; `false` if that was done
    /// too often.
    pub fn widen_recent(&mut self, slot: usize, width: u64, range: &Range) -> bool {
        let entry = &mut self.contexts[self.current].tables.recent_read.entries[slot];
        if entry.widened >= WIDENED_MAX {
            return false;
        }
        let &Range { base, size, addend } = range;
        *entry = RecentEntry { base, limit: size - width + 1, addend, widened: entry.widened + 1 };
        true
    }

    /// Takes away the writable entries that lead to the host page at `host`.
    pub fn drop_writes_to(&mut self, host: u64) {
        for c in &mut self.contexts {
            // The other entries of the page, which the large array may have lost.
            c.tables.recent_write.drop_if(|e| e.limit != 0 && e.base.wrapping_add(e.addend) == host);
            c.touched_write.retain(|i| {
                let e = &mut c.tables.write[i];
                let leads = e.tag != INVALID && e.tag.wrapping_add(e.addend) == host;
                if leads {
                    e.tag = INVALID;
                }
                !leads
            });
        }
    }

    /// Makes every page read-only for generated code until its next store, which then asks again.
    pub fn flush_writes(&mut self) {
        self.contexts.iter_mut().for_each(Context::flush_writes);
    }

    /// Forgets the jump targets whose code is among `dead`.
    pub fn drop_jumps_to(&mut self, dead: &[u64]) {
        for c in &mut self.contexts {
            c.touched_jump.retain(|i| {
                let e = &mut c.tables.jump[i];
                let stale = dead.contains(&e.code);
                if stale {
                    e.tag = no_jump(i);
                }
                !stale
            });
        }
    }

    /// Forgets every jump target (blocks were dropped).
    pub fn flush_jumps(&mut self) {
        self.jump_flushes += 1;
        self.contexts.iter_mut().for_each(Context::flush_jumps);
    }
}

#[cfg(test)]
mod tests {
    use arch::pte::Pbmt;

    use super::super::walk::Perms;
    use super::*;

    const USER: u64 = 0x1_0000;
    /// In the linear map of a kernel under Sv57: the same as `USER` but for bits 63 to 48 and 15 to 0.
    const KERNEL: u64 = 0xff60_0000_0000_0000;

    fn tlb(masked: u8) -> Tlb {
        Tlb::new(ContextKey { masked, ..ContextKey::default() }, TLB_ENTRIES)
    }

    fn readable(tlb: &mut Tlb, va: u64) -> bool {
        tlb.contexts[tlb.current].tables.read[tlb_index(va)].tag == va & !0xfff
    }

    #[test]
    fn a_fence_of_a_page_leaves_the_others() {
        let mut t = tlb(0);
        t.fill(KERNEL + 0x5000, 0, false, true, 30);
        t.fill(USER, 0, false, false, 12);
        t.fill(USER + 0x1000, 0, false, false, 12);
        t.fill_jump(KERNEL + 0x6000, 1, true, 30);
        t.flush_page(Space::Host, USER, None);
        assert!(!readable(&mut t, USER));
        assert!(readable(&mut t, USER + 0x1000) && readable(&mut t, KERNEL + 0x5000));
        assert_eq!(t.find_jump(KERNEL + 0x6000), Some(1));
    }

    fn executable(pa: u64, global: bool, page_shift: u8) -> Walk {
        Walk { pa, page_shift, global, perms: Perms::X, dirty: false, pbmt: Pbmt::Pma }
    }

    #[test]
    fn pages_of_code_go_with_what_translated_them() {
        let mut t = tlb(0);
        t.fill_fetch(USER + 0x124, &executable(0x8765_4124, false, 12));
        t.fill_fetch(KERNEL + 0x5000, &executable(0x8000_5000, true, 21));
        assert_eq!(t.find_fetch(USER + 0xffe).map(|walk| walk.pa), Some(0x8765_4ffe));
        assert_eq!(t.find_fetch(USER + 0x1000), None);
        t.select(t.contexts[0].key, 1);
        assert_eq!(t.find_fetch(USER), None, "another address space");
        assert!(t.find_fetch(KERNEL + 0x5000).is_some(), "global");
        t.fill_fetch(USER, &executable(0x8765_4000, false, 12));
        t.flush_page(Space::Host, USER, None);
        assert_eq!(t.find_fetch(USER), None);
        assert!(t.find_fetch(KERNEL + 0x5000).is_some());
        t.flush_page(Space::Host, KERNEL + 0x10_0000, None);
        assert_eq!(t.find_fetch(KERNEL + 0x5000), None, "the fence is for a large page");
    }

    #[test]
    fn a_kernel_that_is_not_global_has_a_context_an_address_space() {
        let mut t = tlb(0);
        let key = t.contexts[0].key;
        // Data alone is dropped.
        t.select(key, 1);
        t.fill(USER, 0, false, false, 12);
        t.select(key, 2);
        assert!(!readable(&mut t, USER) && t.contexts.len() == 1);
        t.fill(USER, 0, false, false, 12);
        t.fill_jump(USER, 7, false, 12);
        t.select(key, 1);
        assert!(!readable(&mut t, USER) && t.find_jump(USER).is_none());
        t.fill_jump(USER, 8, false, 12);
        t.select(key, 2);
        assert!(readable(&mut t, USER) && t.find_jump(USER) == Some(7));
        t.select(key, 1);
        assert_eq!(t.find_jump(USER), Some(8));
        // A fence reaches all of them.
        t.flush_page(Space::Host, USER, None);
        assert_eq!(t.find_jump(USER), None);
        t.select(key, 2);
        assert!(!readable(&mut t, USER) && t.find_jump(USER).is_none());
        // More address spaces than contexts, each with the code that it had or none.
        for satp in 1..100 {
            t.select(key, satp);
            t.fill_jump(USER, satp, false, 12);
        }
        for satp in (1..100).rev() {
            t.select(key, satp);
            assert!([Some(satp), None].contains(&t.find_jump(USER)), "{satp}");
        }
        assert_eq!(t.contexts.len(), CONTEXTS);
    }

    #[test]
    fn a_fence_drops_the_code_in_its_page_and_across_its_start() {
        let mut t = tlb(0);
        let pcs = [USER, USER + 0xffe, USER - 2, USER - 4, USER + 0x1000];
        pcs.iter().for_each(|pc| t.fill_jump(*pc, *pc, false, 12));
        t.flush_page(Space::Host, USER + 0x2000, None);
        assert!(pcs.iter().all(|pc| t.find_jump(*pc) == Some(*pc)));
        t.flush_page(Space::Host, USER, None);
        assert_eq!(pcs.map(|pc| t.find_jump(pc).is_some()), [false, false, false, true, true]);
    }

    #[test]
    fn a_fence_inside_a_large_page_drops_all_of_it() {
        for masked in [0, 7, 16] {
            let mut t = tlb(masked);
            t.fill(KERNEL + 0x5000, 0, false, true, 21);
            t.fill_jump(KERNEL + 0x6000, 1, true, 21);
            t.flush_page(Space::Host, KERNEL + 0x1f_f000, None);
            assert!(!readable(&mut t, KERNEL + 0x5000), "{masked} bits masked");
            assert_eq!(t.find_jump(KERNEL + 0x6000), None, "{masked} bits masked");
        }
    }

    #[test]
    fn a_fence_finds_entries_by_masked_addresses() {
        for shift in [12, 21] {
            let mut t = tlb(16);
            t.fill(0xabcd << 48 | USER, 0, false, false, shift);
            t.flush_page(Space::Host, USER, None);
            assert!(!readable(&mut t, 0xabcd << 48 | USER), "page of 2^{shift} bytes");
        }
        let mut t = tlb(7);
        t.fill(0xab << 57 | USER, 0, false, false, 12);
        t.fill((1 << 50) | (USER + 0x1000), 0, false, false, 12);
        t.flush_page(Space::Host, USER, None);
        t.flush_page(Space::Host, USER + 0x1000, None);
        assert!(!readable(&mut t, 0xab << 57 | USER));
        assert!(readable(&mut t, (1 << 50) | (USER + 0x1000)), "bit 50 is part of the address");
    }
}
