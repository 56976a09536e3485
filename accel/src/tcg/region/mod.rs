//! The second tier: loops that run often, compiled as a whole.
//!
//! A block is compiled when it is first executed, alone, with a register map that all blocks share. A *region* is the
//! blocks of a hot loop: those that its jumps and branches reach inside one page and that lead back to its head. It is
//! entered at its head only, from other blocks as any block is, and left through exits that go on in blocks. In between
//! it has a register map of its own, with the guest registers the loop uses most in host registers ([`weigh`]).
//!
//! | Step | Where |
//! |---|---|
//! | Jumps back in blocks count how often they are taken | backend |
//! | One was taken often: the loop around its target is found | [`form`] |
//! | Registers are chosen | [`weigh`] |
//! | Small loops in it are gone around several times | [`unroll`] |
//! | Accesses that move on in these look at their pages once for all rounds | [`strides`] |
//! | Loops that search compare many elements at once instead | [`search`] |
//! | Code is made | backend |
//! | It takes the place of the block at the head | [`promote`] |
//!
//! To the code cache a region is a block: found, linked, evicted and dropped as others, and dropped when any byte between
//! its first and last instruction changes. The blocks it was made of stay for those who enter the loop elsewhere.
//!
//! Invariants: a region is precise as a block is. Every operation leaves the guest's registers where its map says, or
//! the stubs owe what is left out (backend, `words` and `late`), and they are in place before Rust is called; every way
//! around a loop passes a jump back that looks at the poll bits, so that interrupts, fences and other harts wait little
//! longer than for blocks (tiny loops look every fourth time);
//! `retired` lags by a number that is known at every place, and is right wherever the region is left. A region holds
//! nothing over a poll that a fence could make invalid: host addresses live no longer than one access, what accesses by
//! one register share no longer than their node (backend, `covers`), and a page's addend in a register is used only
//! where its entry still holds the page (backend, `addends`).
//!
//! A hart makes its regions itself, where it stands. Starting Linux and a dozen programs in it (11 thousand million
//! instructions, 8.6 s of the host's time) makes 760 regions and refuses 1,460 loops in 90 ms, of which no one takes more
//! than 0.43 ms, by a clock that is asked twice for each (`-d stats`: nanoseconds for regions). A thread for it could save
//! that one percent, and would have to be given code, pages and what the hart knows of them as they were, and to take
//! part in the dropping of blocks; a pause below a millisecond is no longer than one of the host's scheduler. Of the loops
//! that are refused four in five have an instruction in them that regions have not.
//!
//! Not in regions: instructions that leave to Rust or change the mode (the region ends before them), code that counts
//! or records each instruction (`BlockMode`), instructions that cross the page.

mod form;
mod promote;
mod refused;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for generated code, which this host has not"))]
pub mod search;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for generated code, which this host has not"))]
pub mod strides;
mod unroll;
mod vtypes;
mod weigh;

use super::hart::BlockMode;
use super::ir::{IrBlock, Op};
use super::{TcgOptions, ir};

pub use promote::promote;
pub use refused::Refused;
use search::Search;

/// Jumps back before a loop is compiled as a region, unless told otherwise.
pub const HOT: u32 = 2048;
/// Most nodes of a region.
const MAX_NODES: usize = 24;
/// Most instructions of a region.
const MAX_INSNS: usize = 320;

/// A loop, or several around each other, in one page.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for generated code, which this host has not"))]
#[derive(Debug)]
pub struct Region {
    /// Its parts, each entered at its start only and with side exits as a superblock; by ascending start. One may begin with
    /// several rounds of a loop, see [`unroll`].
    pub nodes: Vec<IrBlock>,
    /// Single rounds of nodes that have several, which share looks at pages, see [`strides`].
    pub rounds: Vec<IrBlock>,
    /// Nodes that search, by their starts; they are one of `rounds`, too.
    pub searches: Vec<(u16, Search)>,
    /// Offset of the node at which the region is entered.
    pub head: u16,
    /// Guest registers it uses, those that count most first.
    pub used: Vec<u8>,
    /// Guest registers that it may write, a bit each.
    pub written: u32,
    /// Those that do as well in memory, a bit each.
    pub anywhere: u32,
    /// Offsets of the instructions that are known to go from page to page with their accesses, see `mmu::recent`.
    pub scattered: Vec<u16>,
    /// What its nodes are likely to meet in the vector state, see [`vtypes`].
    pub vtypes: Vec<Option<u32>>,
}

impl Region {
    /// Whether a node begins at `offset`.
    pub fn has(&self, offset: i64) -> bool {
        self.nodes.iter().any(|n| i64::from(n.start) == offset)
    }

    /// What the node at `start` searches, if it does.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for generated code, which this host has not"))]
    pub fn search_at(&self, start: u16) -> Option<&Search> {
        self.searches.iter().find(|(at, _)| *at == start).map(|(_, search)| search)
    }

    /// Calls `f` for each operation, with how much it counts.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for generated code, which this host has not"))]
    pub fn each(&self, f: impl FnMut(&Op, u64)) {
        weigh::each(&self.nodes, f);
    }

    /// The bytes of its code in the page, and what lies between.
    pub fn span(&self) -> (u16, u16) {
        let from = self.nodes.iter().map(|n| n.start).min().unwrap_or(self.head);
        let to = self.nodes.iter().map(|n| n.end).max().unwrap_or(self.head);
        (from, to)
    }

    /// Returns what is wrong with it.
    fn verify(&self) -> Result<(), String> {
        if !self.has(i64::from(self.head)) {
            return Err("the head is no node".into());
        }
        if self.nodes.windows(2).any(|n| n[0].start >= n[1].start) {
            return Err("nodes are not in order".into());
        }
        for node in &self.nodes {
            ir::verify::verify(node)?;
            if node.end > 4096 {
                return Err(format!("node {:#x} crosses the page", node.start));
            }
            if !node.ops.iter().filter_map(target).any(|to| self.has(to)) {
                return Err(format!("node {:#x} leads nowhere in the region", node.start));
            }
        }
        Ok(())
    }
}

/// Where a jump or branch leads in its page, or beyond.
fn target(op: &Op) -> Option<i64> {
    match op {
        Op::BranchIf { target, .. } | Op::Jump { target } => Some(target.offset),
        _ => None,
    }
}

/// Whether blocks of `mode` count their jumps back.
pub fn are_made(options: &TcgOptions, mode: BlockMode) -> bool {
    options.hot != 0 && options.chain && !mode.is_counting() && !mode.is_recording()
}
