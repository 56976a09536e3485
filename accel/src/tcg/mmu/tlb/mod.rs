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

mod context;
mod slots;
mod tables;

use super::walk::Walk;
use context::{Context, FETCH_ENTRIES, FetchEntry, fetch_index};
use tables::{Arrays, Room, no_jump, no_page};

pub use context::{ContextKey, Space};
pub use tables::{
    JUMP_ENTRIES, JumpEntry, RECENT_ENTRIES, RECENT_GROUP, Range, Recent, RecentEntry, TLB_ENTRIES, Tables, TlbEntry,
    jump_index, tlb_index,
};

/// Times that an entry of recent pages may be made wider in vain.
const WIDENED_MAX: u64 = 3;
/// [`Tlb::mask`] of a hart that keeps no translation at all.
const KEEPS_NONE: usize = usize::MAX;
/// Contexts a hart keeps; the least recently used is recycled.
const CONTEXTS: usize = 16;

/// All contexts of a hart.
pub struct Tlb {
    contexts: Vec<Context>,
    /// For contexts besides the first.
    room: Room,
    current: usize,
    /// By [`tlb_index`]: contexts, a bit each, that may know a page with this index. Fences for a page ask these, and those
    /// that are `broad`.
    holders: Box<[u16; TLB_ENTRIES]>,
    /// Contexts that may know of larger pages, or have recent pages that were made wider.
    broad: u16,
    clock: u64,
    /// Usable entries in `read` and `write` less one; not that of [`TLB_ENTRIES`] only in a forced mode.
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

impl Tlb {
    /// `entries`: the number of pages the hart may keep, 0 or a power of two up to [`TLB_ENTRIES`].
    pub fn new(key: ContextKey, entries: usize) -> Self {
        assert!(entries == 0 || entries.is_power_of_two() && entries <= TLB_ENTRIES, "TLB size out of range");
        Self {
            contexts: vec![Context::new(key, 0, Arrays::allocate())],
            room: Room::default(),
            current: 0,
            holders: Box::new([0; TLB_ENTRIES]),
            broad: 0,
            clock: 0,
            mask: entries.wrapping_sub(1),
            recycled: 0,
            flushes: 0,
            fills: 0,
            replaced: 0,
            jump_flushes: 0,
        }
    }

    /// Whether every translation is a walk of the tables.
    pub fn keeps_none(&self) -> bool {
        self.mask == KEEPS_NONE
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
                self.contexts.push(Context::new(key, satp, self.room.take()));
                self.contexts.len() - 1
            }
            None => {
                let i = (0..CONTEXTS).min_by_key(|&i| self.contexts[i].stamp).unwrap_or(0);
                self.contexts[i].flush();
                self.broad &= !(1 << i);
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
        c.tables.as_ptr()
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

    /// The current context knows of the page at `va`, which is part of one of 2^`page_shift` bytes.
    #[inline(always)]
    fn note(&mut self, va: u64, page_shift: u8) {
        let context = 1 << self.current;
        self.holders[tlb_index(va)] |= context;
        if page_shift > 12 {
            self.broad |= context;
        }
    }

    /// Enters a translation of the page at `va` into the current context.
    #[inline(always)]
    pub fn fill(&mut self, va: u64, addend: u64, write: bool, global: bool, page_shift: u8) {
        self.fills += 1;
        if self.keeps_none() {
            return;
        }
        let slot = tlb_index(va);
        self.note(va, page_shift);
        let c = &mut self.contexts[self.current];
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
                    entries[i].tag = no_page(i);
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
        if self.keeps_none() {
            return;
        }
        self.note(pc, walk.page_shift);
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
        if self.keeps_none() {
            return;
        }
        self.note(pc, page_shift);
        // An instruction at the end of a page may cross into the next one.
        self.note(pc.wrapping_add(2), 12);
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
        self.note((pc | 0xfff).wrapping_add(1), page_shift);
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

    /// Gives up the memory of all contexts but the current one. What was known of them has to be selected again.
    pub fn keep_current(&mut self) {
        let bit = |contexts: u16| contexts >> self.current & 1;
        self.holders.iter_mut().for_each(|contexts| *contexts = bit(*contexts));
        self.broad = bit(self.broad);
        let current = self.contexts.swap_remove(self.current);
        self.contexts = vec![current];
        self.room = Room::default();
        self.current = 0;
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

    /// Forgets one page; with `asid`, in the other address spaces it may stay. Whether more went than this page: it is part
    /// of a larger one, or of one that nobody knows about.
    pub fn flush_page(&mut self, space: Space, va: u64, asid: Option<u64>) -> bool {
        let slot = tlb_index(va);
        let mut more = self.mask == KEEPS_NONE;
        let mut asked = self.holders[slot] | self.broad;
        while asked != 0 {
            let i = asked.trailing_zeros() as usize;
            asked &= asked - 1;
            let c = &mut self.contexts[i];
            if !space.has(&c.key) || c.key.satp != 0 && asid.is_some_and(|a| c.key.satp >> 44 & 0xffff != a) {
                continue;
            }
            if c.has_large(va) {
                more = true;
                c.flush();
            } else if (self.holders[slot] >> i & 1 != 0 || c.wide) && !c.flush_page(va) {
                self.holders[slot] &= !(1 << i);
            }
        }
        more
    }

    /// Makes the entry of a load, which has `width` bytes, lead to a range that is mapped alike; `false` if that was done
    /// too often.
    pub fn widen_recent(&mut self, slot: usize, width: u64, range: &Range) -> bool {
        let c = &mut self.contexts[self.current];
        let entry = &mut c.tables.recent_read.entries[slot];
        if entry.widened >= WIDENED_MAX {
            return false;
        }
        c.wide = true;
        self.broad |= 1 << self.current;
        let &Range { base, size, addend } = range;
        *entry = RecentEntry { base, limit: size - width + 1, addend, widened: entry.widened + 1 };
        true
    }

    /// Takes away the writable entries that lead to the host page at `host`.
    pub fn drop_writes_to(&mut self, host: u64) {
        for c in &mut self.contexts {
            // The other entries of the page, which the large array may have lost.
            c.tables.recent_write.drop_if(|e| e.leads_to(host));
            c.touched_write.retain(|i| {
                let e = &mut c.tables.write[i];
                let leads = e.tag.wrapping_add(e.addend) == host;
                if leads {
                    e.tag = no_page(i);
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
    use crate::testing::Rng;

    const USER: u64 = 0x1_0000;
    /// In the linear map of a kernel under Sv57: the same as `USER` but for bits 63 to 48 and 15 to 0.
    const KERNEL: u64 = 0xff60_0000_0000_0000;

    fn tlb(masked: u8) -> Tlb {
        Tlb::new(ContextKey { masked, paging: 8, ..ContextKey::default() }, TLB_ENTRIES)
    }

    fn readable(tlb: &mut Tlb, va: u64) -> bool {
        tlb.contexts[tlb.current].tables.read[tlb_index(va)].tag == va & !0xfff
    }

    #[test]
    fn the_current_context_is_kept_alone() {
        let mut t = tlb(0);
        let key = t.contexts[0].key;
        let other = ContextKey { sum: !key.sum, ..key };
        t.fill(USER, 0, false, true, 12);
        t.select(other, 0);
        t.fill(KERNEL, 0, false, true, 12);
        let tables = t.select(key, 0);
        t.keep_current();
        assert_eq!((t.contexts.len(), t.select(key, 0)), (1, tables));
        assert!(readable(&mut t, USER));
        t.select(other, 0);
        assert!(!readable(&mut t, KERNEL));
        t.fill(KERNEL, 0, false, true, 12);
        t.keep_current();
        assert!(readable(&mut t, KERNEL));
        t.select(key, 0);
        assert!(!readable(&mut t, USER));
    }

    /// Fences ask only the contexts that are said to know a page: whatever was done before, they are all that do.
    #[test]
    fn fences_find_every_context_that_knows_a_page() {
        let mut random = Rng::new(1);
        let mut next = |n| random.below(n);
        let mut t = tlb(0);
        let key = t.contexts[0].key;
        let page = |n: u64| USER + (n << 12);
        for _ in 0..20_000 {
            let va = page(next(8));
            match next(40) {
                0 => t.keep_current(),
                1..8 => {
                    let n = next(CONTEXTS as u64 + 4);
                    t.select(ContextKey { masked: n as u8, ..key }, next(2));
                }
                8..12 => {
                    t.flush_page(Space::Host, va, None);
                    assert!(t.contexts.iter().all(|c| c.tables.read[tlb_index(va)].tag != va));
                    assert!(t.contexts.iter().all(|c| c.tables.write[tlb_index(va)].tag != va));
                }
                12 => t.flush_all(),
                _ => t.fill(va, 0, next(2) == 0, next(2) == 0, if next(8) == 0 { 21 } else { 12 }),
            }
        }
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
    fn a_fence_finds_all_that_know_a_page() {
        let mut t = tlb(0);
        let key = t.contexts[0].key;
        let all = [key, ContextKey { sum: true, ..key }, ContextKey { mxr: true, ..key }];
        for key in all {
            t.select(key, 1);
            t.fill(USER, 0, false, false, 12);
        }
        t.flush_page(Space::Host, USER, None);
        for key in all {
            t.select(key, 1);
            assert!(!readable(&mut t, USER));
        }
        // Another page with its index, in any of the arrays, is found after it has gone.
        let far = USER + ((TLB_ENTRIES as u64) << 12);
        let code = executable(far, false, 12);
        for n in 0..4 {
            t.fill(USER, 0, true, false, 12);
            match n {
                0 => t.fill(far, 0, false, false, 12),
                1 => t.fill_fetch(far, &code),
                2 => t.fill_jump(far, 1, false, 12),
                _ => t.fill_jump(far - 2, 1, false, 12),
            }
            assert!(!t.flush_page(Space::Host, USER, None));
            let known = |t: &mut Tlb| {
                let jump = t.find_jump(far).or(t.find_jump(far - 2));
                readable(t, far) || t.find_fetch(far).is_some() || jump.is_some()
            };
            assert!(known(&mut t), "{n}");
            t.flush_page(Space::Host, far, None);
            assert!(!known(&mut t), "{n}");
            assert_eq!(
                t.holders[tlb_index(USER)] & 1 << t.current != 0,
                n >= 2,
                "jump targets come back to their page"
            );
        }
    }

    #[test]
    fn a_fence_finds_what_was_made_wider() {
        let mut t = tlb(0);
        t.contexts[0].tables.recent_read.used[0] = 1;
        assert!(t.widen_recent(3, 8, &Range { base: USER, size: 0x20_0000, addend: 0 }));
        let limit = |t: &Tlb| t.contexts[0].tables.recent_read.entries[3].limit;
        t.flush_page(Space::Host, USER + 0x20_1000, None);
        assert_eq!(limit(&t), 0x20_0000 - 7);
        t.flush_page(Space::Host, USER + 0x5000, None);
        assert_eq!(limit(&t), 0);
    }

    #[test]
    fn without_translation_fences_are_for_nothing() {
        let mut t = Tlb::new(ContextKey::default(), TLB_ENTRIES);
        t.fill(USER, 0, false, true, 12);
        t.flush_page(Space::Host, USER, None);
        t.flush_space(Space::Host);
        assert!(readable(&mut t, USER));
        t.flush_all();
        assert!(!readable(&mut t, USER));
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
