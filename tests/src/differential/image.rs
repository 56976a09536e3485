//! Blocks placed in memory: what both machines start from.

use super::block::{Block, Generator, Value};
use super::guest::{
    Guest, Input, MAX_BLOCKS, Outcome, RAM, RAM_SIZE, SLOT_DATA, SLOT_TABLE, SUPERVISOR_HANDLER, USER_ALIAS, VIRTUAL,
    VIRTUAL_SLOT,
};
use super::paging;

const EBREAK: u32 = 0x0010_0073;

/// RAM from its start, and where the blocks' code went.
pub struct Image {
    pub memory: Vec<u8>,
    pub code: Vec<u64>,
}

impl Image {
    /// Places the blocks one after the other, code wherever the block before ends.
    pub fn new(g: &Generator, blocks: &[Block]) -> Self {
        assert!(blocks.len() <= MAX_BLOCKS, "{} blocks", blocks.len());
        let guest = g.guest();
        // A group that jumps over its last instruction lands on the breakpoint behind it; so does the block's end.
        let len = |block: &Block| block.groups.iter().flatten().map(|word| u64::from(word.len)).sum::<u64>() + 4;
        let mut at = Guest::slot_at(blocks.len());
        let end = at + blocks.iter().map(len).sum::<u64>();
        assert!(end <= RAM + RAM_SIZE, "{} blocks fill more than RAM", blocks.len());
        let mut image = Self { memory: vec![0; (end - RAM) as usize], code: Vec::new() };
        image.put(RAM, &guest.code(blocks.len()));
        image.put(SUPERVISOR_HANDLER, &EBREAK.to_le_bytes());
        for (at, entry) in paging::shared(Guest::slot_at) {
            image.put(at, &entry.to_le_bytes());
        }
        for (index, block) in blocks.iter().enumerate() {
            let start = at;
            for word in block.groups.iter().flatten() {
                image.put(at, &word.raw.to_le_bytes()[..usize::from(word.len)]);
                at += u64::from(word.len);
            }
            image.put(at, &EBREAK.to_le_bytes());
            at += 4;
            image.code.push(start);
            let input = resolve(block, index, start);
            image.put(guest.input_at(index), &guest.input_bytes(index, &input));
            image.put(guest.result_at(index), &guest.result_bytes(index, &input));
            image.put(Guest::slot_at(index), &block.data);
            for (page, flags) in block.pages.iter().enumerate() {
                // Two pages behind all virtual ones, in turn.
                let entry = paging::entry(Guest::slot_at(index) + (page as u64 & 1) * 0x1000, *flags);
                image.put(Guest::slot_at(index) + SLOT_TABLE + page as u64 * 8, &entry.to_le_bytes());
            }
        }
        image
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - RAM) as usize;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// The input of a block in slot `index`.
fn resolve(block: &Block, index: usize, start: u64) -> Input {
    let slot = Guest::slot_at(index);
    let alias = USER_ALIAS - RAM;
    let x = block.x.map(|value| match value {
        Value::Plain(value) => value,
        Value::Data(offset) => slot + offset,
        Value::UserData(offset) => slot + alias + offset,
        Value::Virtual(offset) => VIRTUAL + index as u64 * VIRTUAL_SLOT + offset,
        Value::Table => slot + SLOT_TABLE,
        Value::Entry(flags) => paging::entry(slot, flags),
    });
    let pc = if block.user_alias { start + alias } else { start };
    Input { pc, x, f: block.f, csrs: block.csrs.clone(), skip: block.skip }
}

/// What a block left behind, its memory included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub outcome: Outcome,
    pub slot: Vec<u8>,
}

impl Observed {
    pub fn of(guest: &Guest, block: usize, memory: &[u8]) -> Self {
        let start = (Guest::slot_at(block) - RAM) as usize;
        let used = SLOT_DATA + paging::PAGES * 8;
        Self { outcome: guest.outcome(block, memory), slot: memory[start..start + used].to_vec() }
    }
}
