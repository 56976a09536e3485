//! The blocks of one hart: found by physical address and mode, linked to each other, dropped when their guest
//! code changed or their region of the arena is reused.
//!
//! Every hart has a cache of its own. That costs a translation a hart, and saves every lock, every epoch and
//! all cross-modifying code: links are patched and code is freed only while their one reader is not in them.
//!
//! Invariants: a block is in `map` and in its page's list, or it is dead; a linked slot is in the `incoming`
//! list of its target; whoever kills a block also clears the jump caches (`dead` tells).
//!
//! A Linux guest has a hundred thousand blocks and three times as many slots, so that both are small, and their lists
//! are threaded through the slots instead of being allocated.

pub mod arena;
pub mod idle;
pub mod places;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::hart::BlockMode;
use super::ir::IrBlock;
use arena::Arena;
use places::Places;

/// Loops that are remembered to be scattered.
const SCATTERED_MAX: usize = 4096;

/// Index of a block.
pub type BlockId = u32;
/// Index of a link slot.
pub type SlotId = u32;

/// No block, no slot.
const NONE: u32 = u32::MAX;

/// A direct jump that can be linked to its target.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Offset of the target in the page, in bytes.
    offset: u16,
    /// Place of the jump's 32-bit displacement in the arena.
    patch: u32,
    /// [`NONE`] while it belongs to no block.
    from: BlockId,
    /// [`NONE`] while it is not linked.
    to: BlockId,
    /// The next jump of the same block.
    sibling: SlotId,
    /// The neighbours among the jumps that lead to `to`.
    next: SlotId,
    previous: SlotId,
}

impl Slot {
    const FREE: Self = Self { offset: 0, patch: 0, from: NONE, to: NONE, sibling: NONE, next: NONE, previous: NONE };
}

/// What the backend tells of a direct jump it emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSite {
    pub slot: SlotId,
    pub offset: u16,
    /// Address of its 32-bit displacement. While it is not linked it is a call of `CodeCache::unlinked`.
    pub patch: u64,
}

/// A translated superblock.
#[derive(Debug)]
pub struct Block {
    /// Guest physical address of its first byte, and its mode.
    pub key: (u64, BlockMode),
    /// Where the guest code it was made from begins, and its bytes.
    pub from: u64,
    pub len: u16,
    /// Guest physical page of the part beyond the first page, if the last instruction crosses.
    pub second_page: Option<u64>,
    /// Of the guest code.
    hash: u64,
    /// Host code; 0 where the interpreter runs the block.
    pub code: u64,
    /// Kept for the interpreter, which shares it while it runs: the block may be dropped under it (fence.i).
    pub ir: Option<Arc<IrBlock>>,
    /// The first of its jumps.
    slots: SlotId,
    /// The first of the jumps that lead here.
    incoming: SlotId,
    region: u8,
    live: bool,
    /// 1, or 2 for a region.
    pub tier: u8,
}

struct Page {
    blocks: Vec<BlockId>,
    /// Version of the page in `Ram` that the blocks were made from.
    version: u32,
    /// Announcement that other harts have to act on before the version can be trusted; 0 for none.
    announced: u64,
}

/// See the module's head.
pub struct CodeCache {
    pub arena: Arena,
    /// Code that jumps call while they are not linked.
    pub unlinked: u64,
    /// By [`word`].
    map: FxHashMap<u64, BlockId>,
    /// Blocks that were looked up not long ago, by [`recent`]: one access to memory where `map` takes three. No block
    /// that crosses a page.
    recent: Box<[Recent]>,
    blocks: Vec<Block>,
    free_blocks: Vec<BlockId>,
    slots: Vec<Slot>,
    free_slots: Vec<SlotId>,
    pages: FxHashMap<u64, Page>,
    /// How many pages had blocks when that was last counted.
    used_pages: usize,
    /// The keys of `pages`, which every `fence.i` goes through.
    page_list: Vec<u64>,
    /// Pages that may wait for an announcement: `fence.i` has to look at them, and takes them out.
    pub unsettled: Vec<u64>,
    /// Loops that touch too many pages for recent pages to be of use.
    scattered: FxHashSet<(u64, BlockMode)>,
    /// Code of the blocks that died since this was last cleared: jump caches may name it.
    pub dead: Vec<u64>,
    pub translated: u64,
    pub evicted: u64,
    /// Of those translated: regions.
    pub regions: u64,
    /// Which guest code is where, while somebody wants to know.
    pub places: Option<Places>,
}

/// Key of a block in one word: physical addresses have 56 bits.
fn word((gpa, mode): (u64, BlockMode)) -> u64 {
    gpa << 8 | u64::from(mode.0)
}

/// An entry of `CodeCache::recent`; without a block `code` is 0.
#[derive(Clone, Copy)]
struct Recent {
    /// The block's [`word`].
    key: u64,
    code: u64,
}

/// Empty entries, which cost nothing until they are touched.
fn no_recent() -> Box<[Recent]> {
    // SAFETY: all zeroes is a valid `Recent`.
    unsafe { Box::<[Recent]>::new_zeroed_slice(RECENT).assume_init() }
}

/// Pages that are kept though all of their blocks were dropped.
const EMPTY_PAGES: usize = 1 << 14;

/// Entries of `CodeCache::recent`: about as many as a Linux guest has blocks.
const RECENT: usize = 1 << 16;

/// Where in `CodeCache::recent` a block has its place.
fn recent(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (RECENT - 1)
}

/// FNV-like hash of guest code; only compared with hashes of the same place.
pub fn hash_code(bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64 ^ bytes.len() as u64;
    for c in bytes.chunks(8) {
        let mut w = [0; 8];
        w[..c.len()].copy_from_slice(c);
        h = (h ^ u64::from_le_bytes(w)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 29;
    }
    h
}

/// A finished translation, ready to be entered.
pub struct NewBlock {
    pub key: (u64, BlockMode),
    pub from: u64,
    pub len: u16,
    pub second_page: Option<u64>,
    pub hash: u64,
    pub code: u64,
    pub ir: Option<Arc<IrBlock>>,
    pub tier: u8,
}

impl CodeCache {
    /// `size`: bytes of host code at most.
    pub fn new(size: usize) -> std::io::Result<Self> {
        Ok(Self {
            arena: Arena::new(size)?,
            unlinked: 0,
            map: FxHashMap::default(),
            recent: no_recent(),
            blocks: Vec::new(),
            free_blocks: Vec::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            pages: FxHashMap::default(),
            used_pages: 0,
            page_list: Vec::new(),
            unsettled: Vec::new(),
            scattered: FxHashSet::default(),
            dead: Vec::new(),
            translated: 0,
            evicted: 0,
            regions: 0,
            places: None,
        })
    }

    pub fn find(&self, gpa: u64, mode: BlockMode) -> Option<BlockId> {
        self.map.get(&word((gpa, mode))).copied()
    }

    /// Code of the block, if it was [`used`](Self::used) not long ago.
    pub fn find_recent(&self, gpa: u64, mode: BlockMode) -> Option<u64> {
        let key = word((gpa, mode));
        let entry = self.recent[recent(key)];
        (entry.key == key && entry.code != 0).then_some(entry.code)
    }

    /// A block was found by its place, and will be again.
    pub fn used(&mut self, id: BlockId) {
        let b = &self.blocks[id as usize];
        if b.second_page.is_none() {
            let key = word(b.key);
            self.recent[recent(key)] = Recent { key, code: b.code };
        }
    }

    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id as usize]
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether the page is known to hold code.
    pub fn has_page(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    /// Begins a page: `version` and `announced` as of before its code was read.
    pub fn add_page(&mut self, page: u64, version: u32, announced: u64) {
        if announced != 0 {
            // Pages may come and go without any fence.
            if self.unsettled.len() > 2 * self.pages.len() + 64 {
                self.unsettled.sort_unstable();
                self.unsettled.dedup();
                self.unsettled.retain(|page| self.pages.contains_key(page));
            }
            self.unsettled.push(page);
        }
        if self.pages.insert(page, Page { blocks: Vec::new(), version, announced }).is_none() {
            self.page_list.push(page);
        }
    }

    /// A slot for a jump that is about to be emitted.
    pub fn new_slot(&mut self) -> SlotId {
        match self.free_slots.pop() {
            Some(id) => {
                self.slots[id as usize] = Slot::FREE;
                id
            }
            None => {
                self.slots.push(Slot::FREE);
                (self.slots.len() - 1) as SlotId
            }
        }
    }

    /// Gives back slots of code that was not kept.
    pub fn free_slots(&mut self, slots: impl Iterator<Item = SlotId>) {
        self.free_slots.extend(slots);
    }

    /// Makes the code at `site` that counts, `len` bytes long, a jump behind it.
    pub fn stop_counting(&mut self, site: u64, len: u16) {
        // A short jump, two bytes long.
        let offset = self.arena.offset(site);
        self.arena.write(offset, [0xeb, len as u8 - 2, 0x90, 0x90]);
    }

    /// Enters a block with its direct jumps; its page was added before.
    pub fn insert(&mut self, new: NewBlock, links: &[LinkSite]) -> BlockId {
        self.translated += 1;
        self.regions += u64::from(new.tier == 2);
        let id = self.free_blocks.pop().unwrap_or(self.blocks.len() as BlockId);
        let mut slots = NONE;
        for l in links {
            let patch = self.arena.offset(l.patch);
            self.slots[l.slot as usize] = Slot { offset: l.offset, patch, from: id, sibling: slots, ..Slot::FREE };
            slots = l.slot;
        }
        let block = Block {
            key: new.key,
            from: new.from,
            len: new.len,
            second_page: new.second_page,
            hash: new.hash,
            code: new.code,
            ir: new.ir,
            slots,
            incoming: NONE,
            region: self.arena.region() as u8,
            live: true,
            tier: new.tier,
        };
        match self.blocks.get_mut(id as usize) {
            Some(place) => *place = block,
            None => self.blocks.push(block),
        }
        self.map.insert(word(new.key), id);
        let first = new.key.0 & !0xfff;
        for page in [Some(first), new.second_page].into_iter().flatten() {
            self.pages.get_mut(&page).expect("pages are added before their blocks").blocks.push(id);
        }
        id
    }

    /// Offset in the page to which an unlinked jump wants to go.
    pub fn slot_offset(&self, slot: SlotId) -> u16 {
        self.slots[slot as usize].offset
    }

    /// Physical page and mode of the block the jump stands in.
    pub fn slot_source(&self, slot: SlotId) -> (u64, BlockMode) {
        let (gpa, mode) = self.blocks[self.slots[slot as usize].from as usize].key;
        (gpa & !0xfff, mode)
    }

    /// Whether the slot still belongs to a jump from this page and mode to `offset`.
    pub fn slot_is(&self, slot: SlotId, page: u64, mode: BlockMode, offset: u16) -> bool {
        let s = &self.slots[slot as usize];
        s.from != NONE && s.offset == offset && self.slot_source(slot) == (page, mode)
    }

    /// Makes the jump go straight to `to`.
    pub fn link(&mut self, slot: SlotId, to: BlockId) {
        let target = &mut self.blocks[to as usize];
        let s = &mut self.slots[slot as usize];
        if s.to != NONE || s.from == NONE {
            return;
        }
        (s.to, s.next) = (to, target.incoming);
        self.arena.jump(s.patch, target.code);
        let after = std::mem::replace(&mut target.incoming, slot);
        if after != NONE {
            self.slots[after as usize].previous = slot;
        }
    }

    /// Takes a linked slot out of the list of its target.
    fn unlist(&mut self, slot: SlotId) {
        let s = &mut self.slots[slot as usize];
        let (to, next, previous) = (s.to, s.next, s.previous);
        (s.to, s.next, s.previous) = (NONE, NONE, NONE);
        match previous {
            NONE => self.blocks[to as usize].incoming = next,
            _ => self.slots[previous as usize].next = next,
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
    }

    /// Drops a block: nothing leads to it any more, except jump caches (`dead`).
    pub fn kill(&mut self, id: BlockId) {
        let b = &mut self.blocks[id as usize];
        if !b.live {
            return;
        }
        b.live = false;
        b.ir = None;
        let (code, key, second) = (b.code, b.key, b.second_page);
        let mut slot = std::mem::replace(&mut b.slots, NONE);
        self.map.remove(&word(key));
        let entry = &mut self.recent[recent(word(key))];
        if entry.key == word(key) {
            entry.code = 0;
        }
        for page in [Some(key.0 & !0xfff), second].into_iter().flatten() {
            if let Some(p) = self.pages.get_mut(&page) {
                p.blocks.retain(|&x| x != id);
            }
        }
        while self.blocks[id as usize].incoming != NONE {
            let slot = self.blocks[id as usize].incoming;
            self.unlist(slot);
            self.arena.call(self.slots[slot as usize].patch, self.unlinked);
        }
        while slot != NONE {
            let s = &mut self.slots[slot as usize];
            s.from = NONE;
            let (linked, sibling) = (s.to != NONE, s.sibling);
            if linked {
                self.unlist(slot);
            }
            self.free_slots.push(slot);
            slot = sibling;
        }
        self.free_blocks.push(id);
        self.dead.push(code);
    }

    /// Drops a loop, whose next translation is to have no recent pages: a block for all of its accesses, a region for the
    /// instruction at the offset `at` in its page.
    pub fn scatter(&mut self, id: BlockId, at: u16) {
        // What is forgotten is found out again.
        if self.scattered.len() >= SCATTERED_MAX {
            self.scattered.clear();
        }
        let Block { key: (gpa, mode), tier, .. } = self.blocks[id as usize];
        if tier == 1 {
            self.scattered.insert((gpa, mode));
        }
        self.scattered.insert((gpa & !0xfff | u64::from(at), mode));
        self.kill(id);
    }

    /// Whether the block or the instruction at `gpa` is to have no recent pages.
    pub fn is_scattered(&self, gpa: u64, mode: BlockMode) -> bool {
        self.scattered.contains(&(gpa, mode))
    }

    /// Makes room for `size` bytes of code, dropping the oldest region if need be.
    pub fn reserve(&mut self, size: usize) {
        if self.arena.room() >= size {
            return;
        }
        let region = self.arena.advance();
        let old: Vec<BlockId> = (0..self.blocks.len())
            .filter(|&i| self.blocks[i].live && usize::from(self.blocks[i].region) == region)
            .map(|i| i as BlockId)
            .collect();
        self.evicted += old.len() as u64;
        old.into_iter().for_each(|id| self.kill(id));
        // Code of a page is likely to be needed again. To announce it anew costs all harts the entries they write by.
        if self.pages.len() > 2 * self.used_pages + EMPTY_PAGES {
            self.pages.retain(|_, p| !p.blocks.is_empty());
            self.used_pages = self.pages.len();
            self.page_list.retain(|page| self.pages.contains_key(page));
        }
    }

    /// Drops one block, if there is any: the forced mode that evicts at random.
    pub fn evict_nth(&mut self, n: u64) {
        let live: Vec<BlockId> = self.map.values().copied().collect();
        if !live.is_empty() {
            self.evicted += 1;
            self.kill(live[(n % live.len() as u64) as usize]);
        }
    }

    /// Drops everything, and the memory it took. Nobody is in the code, and the caller clears the jump caches.
    pub fn clear(&mut self) {
        // A hart that starts has none.
        if self.blocks.is_empty() && self.slots.is_empty() && self.pages.is_empty() {
            return;
        }
        self.arena.clear();
        if let Some(places) = &mut self.places {
            places.clear();
        }
        self.map = FxHashMap::default();
        self.recent = no_recent();
        (self.blocks, self.free_blocks) = (Vec::new(), Vec::new());
        (self.slots, self.free_slots) = (Vec::new(), Vec::new());
        self.pages = FxHashMap::default();
        self.used_pages = 0;
        self.page_list = Vec::new();
        self.unsettled = Vec::new();
        self.scattered = FxHashSet::default();
        self.dead = Vec::new();
    }

    /// Pages that hold code.
    pub fn pages(&self) -> &[u64] {
        &self.page_list
    }

    /// Whether the page may have changed: its version moved, or when its code was last looked at some hart could still
    /// store to it without leaving a mark.
    pub fn suspicious(&self, page: u64, version: u32) -> bool {
        self.pages.get(&page).is_some_and(|p| p.version != version || p.announced != 0)
    }

    /// Compares every block of `page` with the guest's memory, of which `read(gpa, len)` returns bytes, and
    /// drops those that differ. The page continues with a new version and announcement.
    pub fn recheck(
        &mut self,
        page: u64,
        version: u32,
        announced: u64,
        mut read: impl FnMut(u64, usize) -> Option<Vec<u8>>,
    ) {
        let Some(p) = self.pages.get_mut(&page) else { return };
        if announced != 0 {
            self.unsettled.push(page);
        }
        p.version = version;
        p.announced = announced;
        for id in p.blocks.clone() {
            let b = &self.blocks[id as usize];
            let (gpa, len) = (b.from, usize::from(b.len));
            let first = len.min(4096 - (gpa & 0xfff) as usize);
            let mut bytes = read(gpa, first);
            if let (Some(v), Some(second)) = (&mut bytes, b.second_page)
                && let Some(rest) = read(second, len - first)
            {
                v.extend(rest);
            }
            if bytes.is_none_or(|v| hash_code(&v) != self.blocks[id as usize].hash) {
                self.kill(id);
            }
        }
    }
}

/// Displacement of a jump whose 32-bit field stands at `patch`.
pub fn displacement(patch: u64, target: u64) -> i32 {
    i32::try_from(target.wrapping_sub(patch + 4) as i64).expect("arenas are smaller than 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x8000_0000;
    const MODE: BlockMode = BlockMode(3);

    /// A block of `len` bytes that jumps to the given offsets; its jumps stand at its start.
    fn add(code: &mut CodeCache, gpa: u64, len: usize, targets: &[u16]) -> (BlockId, Vec<LinkSite>) {
        code.reserve(len);
        if !code.has_page(gpa & !0xfff) {
            code.add_page(gpa & !0xfff, 0, 0);
        }
        let at = code.arena.push(&vec![0; len]);
        let links: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(n, &offset)| {
                let slot = code.new_slot();
                LinkSite { slot, offset, patch: at + 5 * n as u64 + 1 }
            })
            .collect();
        let new =
            NewBlock { key: (gpa, MODE), from: gpa, tier: 1, len: 4, second_page: None, hash: 0, code: at, ir: None };
        (code.insert(new, &links), links)
    }

    /// Where the jump at `patch` goes.
    fn goes_to(code: &CodeCache, patch: u64) -> u64 {
        let field: [u8; 4] = code.arena.bytes(patch, 4).try_into().unwrap();
        (patch + 4).wrapping_add_signed(i64::from(i32::from_le_bytes(field)))
    }

    #[test]
    fn links_lead_to_blocks_while_both_live() {
        let mut code = CodeCache::new(1 << 18).unwrap();
        code.unlinked = code.arena.base();
        let (target, _) = add(&mut code, PAGE + 0x10, 128, &[]);
        let sources: Vec<_> = (0..3).map(|n| add(&mut code, PAGE + 0x100 + 0x20 * n, 128, &[0x10, 0x10])).collect();
        for (id, links) in &sources {
            for l in links {
                assert!(code.slot_is(l.slot, PAGE, MODE, 0x10));
                code.link(l.slot, target);
                // Again changes nothing.
                code.link(l.slot, *id);
                assert_eq!(goes_to(&code, l.patch), code.block(target).code);
            }
        }
        // The middle one goes: the others stay linked.
        code.kill(sources[1].0);
        assert!(!code.slot_is(sources[1].1[0].slot, PAGE, MODE, 0x10));
        code.used(target);
        assert_eq!(code.find_recent(PAGE + 0x10, MODE), Some(code.block(target).code));
        code.kill(target);
        assert_eq!(code.find_recent(PAGE + 0x10, MODE), None);
        for (_, links) in [&sources[0], &sources[2]] {
            links.iter().for_each(|l| assert_eq!(goes_to(&code, l.patch), code.unlinked));
        }
        assert_eq!((code.len(), code.dead.len()), (2, 2));
        assert_eq!((code.find(PAGE + 0x10, MODE), code.find(PAGE + 0x100, MODE)), (None, Some(sources[0].0)));
        // What was freed is used again, and can be linked again.
        let (again, links) = add(&mut code, PAGE + 0x10, 128, &[0x100]);
        code.link(links[0].slot, sources[0].0);
        code.link(sources[0].1[1].slot, again);
        assert_eq!(goes_to(&code, sources[0].1[1].patch), code.block(again).code);
        code.kill(sources[0].0);
        assert_eq!(goes_to(&code, links[0].patch), code.unlinked);
    }

    #[test]
    fn the_oldest_region_makes_room() {
        let mut code = CodeCache::new(1 << 18).unwrap();
        let region = (1 << 18) / arena::REGIONS;
        let mut places = Vec::new();
        while code.evicted == 0 {
            places.push(PAGE + 2 * places.len() as u64);
            add(&mut code, *places.last().unwrap(), region / 4, &[]);
        }
        let gone = places.iter().take_while(|p| code.find(**p, MODE).is_none()).count();
        assert_eq!(gone as u64, code.evicted);
        assert!(gone <= 4 && code.len() == places.len() - gone, "{gone} of {}", places.len());
    }

    #[test]
    fn a_resting_arena_keeps_its_code() {
        let mut code = CodeCache::new(4 << 20).unwrap();
        let at = code.arena.push(&vec![0xc3; 400 << 10]);
        (0..300).for_each(|_| code.arena.jump(8, at));
        code.arena.rest();
        assert_eq!(code.arena.bytes(at + (100 << 10), 2), [0xc3, 0xc3]);
        code.arena.jump(16, at);
        assert_eq!(goes_to(&code, code.arena.base() + 16), at);
    }
}
