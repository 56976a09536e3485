//! Page tables of the blocks.
//!
//! All blocks share the upper levels: physical memory where it is for S-mode, its alias for U-mode, and a table of
//! each slot for the slot's own virtual pages. What is random is in the slot's table, so that blocks do not see each
//! other's accessed and dirty bits.

use arch::ext::{Ext, SatpMode};

use super::block::Generator;
use super::guest::{MAX_BLOCKS, RAM, SLOT_TABLE, TABLES, USER_ALIAS, VIRTUAL};
use super::rng::Rng;

/// Virtual pages of a block, from page 0 of its 2 MiB.
pub const PAGES: usize = 64;

const V: u64 = 1;
const R: u64 = 2;
const W: u64 = 4;
const X: u64 = 8;
const U: u64 = 16;
const A: u64 = 64;
const D: u64 = 128;
const PBMT_SHIFT: u32 = 61;
const N: u64 = 1 << 63;

const SV57: u64 = TABLES;
const SV48: u64 = TABLES + 0x1000;
const SV39: u64 = TABLES + 0x2000;
const MIDDLE: u64 = TABLES + 0x3000;

/// Address of the root table.
pub fn root(mode: SatpMode) -> u64 {
    match mode {
        SatpMode::Sv57 => SV57,
        SatpMode::Sv48 => SV48,
        _ => SV39,
    }
}

/// An entry that names physical address `pa`.
pub fn entry(pa: u64, flags: u64) -> u64 {
    pa >> 12 << 10 | flags
}

/// The shared tables: address and entry of each word that is not zero.
pub fn shared(slot_at: impl Fn(usize) -> u64) -> Vec<(u64, u64)> {
    let leaf = V | R | W | X | A | D;
    let mut words = vec![
        (SV57, entry(SV48, V)),
        (SV48, entry(SV39, V)),
        (SV39 + (RAM >> 30) * 8, entry(RAM, leaf)),
        (SV39 + (USER_ALIAS >> 30) * 8, entry(RAM, leaf | U)),
    ];
    for block in 0..MAX_BLOCKS {
        let middle = MIDDLE + block as u64 / 512 * 0x1000;
        if block % 512 == 0 {
            words.push((SV39 + ((VIRTUAL >> 30) + block as u64 / 512) * 8, entry(middle, V)));
        }
        words.push((middle + block as u64 % 512 * 8, entry(slot_at(block) + SLOT_TABLE, V)));
    }
    words
}

/// Flags of the pages of a block.
pub fn random_pages(g: &Generator, rng: &mut Rng) -> Vec<u64> {
    (0..PAGES).map(|_| random_flags(g, rng)).collect()
}

/// The bits of an entry that are not an address.
pub fn random_flags(g: &Generator, rng: &mut Rng) -> u64 {
    let mut flags = V | A | D | rng.pick(&[R | W, R | W | X, R | W, R, X, R | X, W, W | X, 0]);
    flags |= if rng.one_in(2) { U } else { 0 };
    if g.clear_accessed && rng.one_in(4) {
        flags &= !rng.pick(&[A, D, A | D]);
    }
    // Software's own bits, and G.
    flags |= rng.bits() & (3 << 8 | 1 << 5);
    if rng.one_in(12) {
        flags &= !V;
    }
    if rng.one_in(16) && g.isa().has(Ext::Svpbmt) {
        flags |= rng.pick(&[1, 2]) << PBMT_SHIFT;
    }
    if rng.one_in(16) && g.isa().has(Ext::Svnapot) {
        flags |= N | A | D;
    }
    if rng.one_in(24) {
        // Reserved.
        flags |= 1 << (54 + rng.below(7));
    }
    flags
}
