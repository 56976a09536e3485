//! The blocks of one hart: found by physical address and mode, linked to each other, dropped when their guest
//! code changed or their region of the arena is reused.
//!
//! Every hart has a cache of its own. That costs a translation a hart, and saves every lock, every epoch and
//! all cross-modifying code: links are patched and code is freed only while their one reader is not in them.
//!
//! Invariants: a block is in `map` and in its page's list, or it is dead; a linked slot is in the `incoming`
//! list of its target; whoever kills a block also clears the jump caches (`dead` tells).

pub mod arena;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::hart::BlockMode;
use super::ir::IrBlock;
use arena::Arena;

/// Index of a block.
pub type BlockId = u32;
/// Index of a link slot.
pub type SlotId = u32;

/// A direct jump that can be linked to its target.
#[derive(Debug, Clone)]
struct Slot {
    /// Offset of the target in the page, in bytes.
    offset: u16,
    /// Address of the jump's 32-bit displacement.
    patch: u64,
    /// Where the jump goes while it is not linked.
    stub: u64,
    from: BlockId,
    to: Option<BlockId>,
}

/// What the backend tells of a direct jump it emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSite {
    pub slot: SlotId,
    pub offset: u16,
    pub patch: u64,
    pub stub: u64,
}

/// A translated superblock.
#[derive(Debug)]
pub struct Block {
    /// Guest physical address of its first byte, and its mode.
    pub key: (u64, BlockMode),
    /// Bytes of guest code.
    pub len: u16,
    /// Guest physical page of the part beyond the first page, if the last instruction crosses.
    pub second_page: Option<u64>,
    /// Of the guest code.
    hash: u64,
    /// Host code; 0 where the interpreter runs the block.
    pub code: u64,
    region: usize,
    /// Kept for the interpreter, which shares it while it runs: the block may be dropped under it (fence.i).
    pub ir: Option<Arc<IrBlock>>,
    slots: Vec<SlotId>,
    incoming: Vec<SlotId>,
    live: bool,
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
    map: FxHashMap<(u64, BlockMode), BlockId>,
    blocks: Vec<Block>,
    free_blocks: Vec<BlockId>,
    slots: Vec<Slot>,
    free_slots: Vec<SlotId>,
    pages: FxHashMap<u64, Page>,
    /// The keys of `pages`, which every `fence.i` goes through.
    page_list: Vec<u64>,
    /// Pages that may wait for an announcement: `fence.i` has to look at them, and takes them out.
    pub unsettled: Vec<u64>,
    /// Code of the blocks that died since this was last cleared: jump caches may name it.
    pub dead: Vec<u64>,
    pub translated: u64,
    pub evicted: u64,
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
    pub len: u16,
    pub second_page: Option<u64>,
    pub hash: u64,
    pub code: u64,
    pub ir: Option<Arc<IrBlock>>,
    pub links: Vec<LinkSite>,
}

impl CodeCache {
    /// `size`: bytes of host code at most.
    pub fn new(size: usize) -> std::io::Result<Self> {
        Ok(Self {
            arena: Arena::new(size)?,
            map: FxHashMap::default(),
            blocks: Vec::new(),
            free_blocks: Vec::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            pages: FxHashMap::default(),
            page_list: Vec::new(),
            unsettled: Vec::new(),
            dead: Vec::new(),
            translated: 0,
            evicted: 0,
        })
    }

    pub fn find(&self, gpa: u64, mode: BlockMode) -> Option<BlockId> {
        self.map.get(&(gpa, mode)).copied()
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
        let slot = Slot { offset: 0, patch: 0, stub: 0, from: BlockId::MAX, to: None };
        match self.free_slots.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as SlotId
            }
        }
    }

    /// Gives back slots of code that was not kept.
    pub fn free_unused(&mut self, links: &[LinkSite]) {
        self.free_slots.extend(links.iter().map(|l| l.slot));
    }

    /// Enters a block; its page was added before.
    pub fn insert(&mut self, new: NewBlock) -> BlockId {
        self.translated += 1;
        let id = self.free_blocks.pop().unwrap_or_else(|| {
            let id = self.blocks.len() as BlockId;
            self.blocks.push(Block {
                key: new.key,
                len: 0,
                second_page: None,
                hash: 0,
                code: 0,
                region: 0,
                ir: None,
                slots: Vec::new(),
                incoming: Vec::new(),
                live: false,
            });
            id
        });
        let slots = new.links.iter().map(|l| l.slot).collect();
        for l in &new.links {
            let s = &mut self.slots[l.slot as usize];
            *s = Slot { offset: l.offset, patch: l.patch, stub: l.stub, from: id, to: None };
        }
        self.blocks[id as usize] = Block {
            key: new.key,
            len: new.len,
            second_page: new.second_page,
            hash: new.hash,
            code: new.code,
            region: self.arena.region(),
            ir: new.ir,
            slots,
            incoming: Vec::new(),
            live: true,
        };
        self.map.insert(new.key, id);
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
        s.from != BlockId::MAX && s.offset == offset && self.slot_source(slot) == (page, mode)
    }

    /// Makes the jump go straight to `to`.
    pub fn link(&mut self, slot: SlotId, to: BlockId) {
        let code = self.blocks[to as usize].code;
        let s = &mut self.slots[slot as usize];
        if s.to.is_some() || s.from == BlockId::MAX {
            return;
        }
        s.to = Some(to);
        let patch = s.patch;
        self.arena.patch(patch, displacement(patch, code));
        self.blocks[to as usize].incoming.push(slot);
    }

    /// Drops a block: nothing leads to it any more, except jump caches (`dead`).
    pub fn kill(&mut self, id: BlockId) {
        let b = &mut self.blocks[id as usize];
        if !b.live {
            return;
        }
        b.live = false;
        let b_code = b.code;
        b.ir = None;
        let (key, second) = (b.key, b.second_page);
        let (slots, incoming) = (std::mem::take(&mut b.slots), std::mem::take(&mut b.incoming));
        self.map.remove(&key);
        for page in [Some(key.0 & !0xfff), second].into_iter().flatten() {
            if let Some(p) = self.pages.get_mut(&page) {
                p.blocks.retain(|&x| x != id);
            }
        }
        for slot in incoming {
            let s = &mut self.slots[slot as usize];
            s.to = None;
            let (patch, stub) = (s.patch, s.stub);
            self.arena.patch(patch, displacement(patch, stub));
        }
        for slot in slots {
            let s = &mut self.slots[slot as usize];
            s.from = BlockId::MAX;
            if let Some(to) = s.to.take() {
                self.blocks[to as usize].incoming.retain(|&x| x != slot);
            }
            self.free_slots.push(slot);
        }
        self.free_blocks.push(id);
        self.dead.push(b_code);
    }

    /// Makes room for `size` bytes of code, dropping the oldest region if need be.
    pub fn reserve(&mut self, size: usize) {
        if self.arena.room() >= size {
            return;
        }
        let region = self.arena.advance();
        let old: Vec<BlockId> = (0..self.blocks.len())
            .filter(|&i| self.blocks[i].live && self.blocks[i].region == region)
            .map(|i| i as BlockId)
            .collect();
        self.evicted += old.len() as u64;
        old.into_iter().for_each(|id| self.kill(id));
        self.pages.retain(|_, p| !p.blocks.is_empty());
        self.page_list.retain(|page| self.pages.contains_key(page));
    }

    /// Drops one block, if there is any: the forced mode that evicts at random.
    pub fn evict_nth(&mut self, n: u64) {
        let live: Vec<BlockId> = self.map.values().copied().collect();
        if !live.is_empty() {
            self.evicted += 1;
            self.kill(live[(n % live.len() as u64) as usize]);
        }
    }

    /// Drops everything (reset, a change of options).
    pub fn clear(&mut self) {
        for i in 0..self.blocks.len() {
            self.kill(i as BlockId);
        }
        self.pages.clear();
        self.page_list.clear();
        self.unsettled.clear();
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
            let (gpa, len) = (b.key.0, usize::from(b.len));
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
