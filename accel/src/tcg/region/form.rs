//! Finds the loop around a head: the nodes that its jumps and branches reach and that lead back to it.

use std::collections::BTreeMap;

use arch::isa::Decoder;

use super::search::Search;
use super::{MAX_INSNS, MAX_NODES, Refused, Region, strides, target, unroll, vtypes, weigh};
use crate::tcg::hart::BlockMode;
use crate::tcg::ir::fold::fold;
use crate::tcg::ir::{Builder, Helper, IrBlock, Op, Target};
use crate::tcg::translate::{self, Source};

/// The code that regions are formed of.
pub struct Code<'a> {
    /// A whole page.
    pub bytes: &'a [u8],
    pub mode: BlockMode,
    /// Most instructions of a block.
    pub limit: u16,
    /// Search loops are to be found: the host has vectors for them, and no order of loads forbids them.
    pub searches: bool,
    /// Whether a block begins at an offset that was executed.
    pub executed: &'a dyn Fn(u16) -> bool,
    /// Whether the instruction at an offset is known to access another page each time.
    pub scattered: &'a dyn Fn(u16) -> bool,
    /// The word (see `helpers::vector::assumed`) that vector code is made for at the head.
    pub vtype: Option<u32>,
}

/// The region with this head, if there is a loop around it that can be one.
pub fn form(builder: &mut Builder, decoder: &Decoder, code: &Code, head: u16) -> Result<Region, Refused> {
    let mut front = Front { builder, decoder, code, barred: false };
    let mut starts = front.discover(head);
    let mut blocks = front.blocks(&starts);
    // What comes behind a small loop is for all of its rounds.
    let ends = blocks.values().filter_map(unroll::end);
    let ends: Vec<u16> = ends.filter(|end| *end < 4096 && !starts.contains(end)).collect();
    if !ends.is_empty() {
        starts.extend(ends);
        blocks = front.blocks(&starts);
    }
    keep_loop(&mut blocks, head).ok_or(if front.barred { Refused::Barred } else { Refused::NoLoop })?;
    let starts: Vec<u16> = blocks.keys().copied().collect();
    let inside = |to: i64| u16::try_from(to).is_ok_and(|to| starts.contains(&to));
    for block in blocks.values_mut() {
        trim(block, inside);
        fold(block, inside);
    }
    if blocks.values().map(|b| usize::from(b.insns)).sum::<usize>() > MAX_INSNS {
        return Err(Refused::TooLong);
    }
    let nodes: Vec<IrBlock> = blocks.into_values().collect();
    let weigh::Usage { used, written, anywhere } = weigh::registers(&nodes);
    let accesses = nodes
        .iter()
        .flat_map(|n| &n.ops)
        .filter_map(|op| if let Op::Insn { offset, .. } = *op { Some(offset) } else { None });
    let scattered = accesses.filter(|&at| (code.scattered)(at)).collect();
    let vtypes = vtypes::at_starts(&nodes, head, code.vtype);
    let mut region =
        Region { nodes, rounds: Vec::new(), searches: Vec::new(), head, used, written, anywhere, scattered, vtypes };
    if cfg!(debug_assertions)
        && let Err(e) = region.verify()
    {
        panic!("malformed region: {e}");
    }
    for node in &mut region.nodes {
        let round = node.clone();
        let goes_on = |op: &Op| matches!(op, Op::Insn { offset, .. } if region.scattered.contains(offset));
        let goes_on = node.ops.iter().any(goes_on);
        if code.searches
            && !goes_on
            && let Some(search) = Search::find(node)
        {
            region.searches.push((node.start, search));
            region.rounds.push(round);
            continue;
        }
        unroll::unroll(node);
        if node.ops.len() > round.ops.len() && !goes_on && strides::looks(&node.ops).is_some() {
            region.rounds.push(round);
        }
    }
    Ok(region)
}

struct Front<'a, 'b> {
    builder: &'a mut Builder,
    decoder: &'a Decoder,
    code: &'a Code<'b>,
    /// Something came that regions do not have.
    barred: bool,
}

impl Front<'_, '_> {
    /// Offsets at which executed code goes on after a jump or branch that is reached from `head`.
    fn discover(&mut self, head: u16) -> Vec<u16> {
        let mut starts = vec![head];
        let mut next = 0;
        while let Some(&start) = starts.get(next) {
            next += 1;
            let Some(block) = self.block(start, &[]) else { continue };
            for to in block.ops.iter().filter_map(target) {
                let Ok(to) = u16::try_from(to) else { continue };
                let fits = to < 4096 && starts.len() < MAX_NODES;
                if fits && !starts.contains(&to) && (self.code.executed)(to) {
                    starts.push(to);
                }
            }
        }
        starts
    }

    /// The superblocks at `starts`.
    fn blocks(&mut self, starts: &[u16]) -> BTreeMap<u16, IrBlock> {
        starts.iter().filter_map(|&s| Some((s, self.block(s, starts)?))).collect()
    }

    /// The superblock at `start`, up to where another begins or something comes that regions do not have.
    fn block(&mut self, start: u16, stops: &[u16]) -> Option<IrBlock> {
        let source = Source {
            bytes: &self.code.bytes[usize::from(start)..],
            // Regions have no instruction that asks for it.
            page: 0,
            start,
            next_page: None,
            mode: self.code.mode,
            stops,
            // Blocks that are traced make no regions.
            traced: false,
        };
        translate::translate(self.builder, self.decoder, &source, self.code.limit).ok()?;
        let mut block = self.builder.block.clone();
        if let Some(i) = block.ops.iter().position(|op| !is_allowed(op)) {
            self.barred = true;
            let mark = block.ops[..i].iter().rposition(|op| matches!(op, Op::Insn { .. }))?;
            cut(&mut block, mark)?;
        }
        Some(block)
    }
}

/// Ends `block` before the instruction whose mark is operation `mark`; `None` if nothing is left.
fn cut(block: &mut IrBlock, mark: usize) -> Option<()> {
    let Op::Insn { offset, .. } = block.ops[mark] else { return None };
    if mark == 0 {
        return None;
    }
    block.ops.truncate(mark);
    block.insns = block.ops.iter().filter(|op| matches!(op, Op::Insn { .. })).count() as u16;
    block.end = offset;
    block.ops.push(Op::Jump { target: Target { offset: i64::from(offset) } });
    Some(())
}

/// Operations that come back to the next one with everything as it was, or leave by a trap or to another block.
fn is_allowed(op: &Op) -> bool {
    match op {
        Op::Amo { .. }
        | Op::Cas { .. }
        | Op::CheckAligned { .. }
        | Op::Lr { .. }
        | Op::Sc { .. }
        | Op::FenceStoreLoad { .. }
        | Op::Vector { .. }
        | Op::Jump { .. }
        | Op::JumpReg { .. } => true,
        Op::Call { helper, .. } => matches!(helper, Helper::CheckJump | Helper::CompareAndSwap16),
        op => op.is_plain(),
    }
}

/// Keeps what can be reached from `head` and leads back to it; `None` if that is no loop.
fn keep_loop(blocks: &mut BTreeMap<u16, IrBlock>, head: u16) -> Option<()> {
    let edges: Vec<(u16, u16)> = blocks
        .iter()
        .flat_map(|(&from, b)| b.ops.iter().filter_map(target).map(move |to| (from, to)))
        .filter_map(|(from, to)| Some((from, u16::try_from(to).ok()?)))
        .filter(|(_, to)| blocks.contains_key(to))
        .collect();
    let reach = |backward: bool| {
        let mut found = vec![head];
        let mut next = 0;
        while let Some(&at) = found.get(next) {
            next += 1;
            for &(from, to) in &edges {
                let (a, b) = if backward { (to, from) } else { (from, to) };
                if a == at && !found.contains(&b) {
                    found.push(b);
                }
            }
        }
        found
    };
    let (from_head, to_head) = (reach(false), reach(true));
    if !edges.iter().any(|(from, to)| *to == head && from_head.contains(from)) {
        return None;
    }
    blocks.retain(|start, _| from_head.contains(start) && to_head.contains(start));
    Some(())
}

/// Drops what follows the last jump or branch into the region: that is not of the loop.
fn trim(block: &mut IrBlock, inside: impl Fn(i64) -> bool + Copy) {
    let Some(last) = block.ops.iter().rposition(|op| target(op).is_some_and(inside)) else { return };
    // Otherwise the branch not taken is not the end of its instruction.
    if matches!(block.ops.get(last + 1), Some(Op::Insn { .. })) {
        let _ = cut(block, last + 1);
    }
}

#[cfg(test)]
mod tests {
    use arch::isa::{Op as G, Operands, encode};

    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        let mut page: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        page.resize(4096, 0);
        page
    }

    fn insn(op: G, rd: u8, rs1: u8, rs2: u8, imm: i32) -> u32 {
        encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).unwrap()
    }

    fn region(code: &[u32], head: u16, executed: &[u16]) -> Result<Region, Refused> {
        let isa = arch::model::parse("max").unwrap();
        let decoder = Decoder::new(&isa);
        let bytes = words(code);
        let executed = |at: u16| executed.contains(&at);
        let mode = BlockMode::default();
        let limit = translate::MAX_INSNS;
        let code = Code {
            bytes: &bytes,
            mode,
            limit,
            searches: true,
            executed: &executed,
            scattered: &|_| false,
            vtype: None,
        };
        form(&mut Builder::new(&isa), &decoder, &code, head)
    }

    fn shape(r: &Region) -> Vec<(u16, u16)> {
        r.nodes.iter().map(|n| (n.start, n.end)).collect()
    }

    #[test]
    fn a_block_that_jumps_to_itself_is_a_loop_without_what_follows() {
        let code = [
            insn(G::Addi, 5, 5, 0, 1),
            insn(G::Bne, 0, 5, 20, -4),
            insn(G::Addi, 6, 6, 0, 1),
            insn(G::Jal, 0, 0, 0, 400),
        ];
        let r = region(&code, 0, &[0]).unwrap();
        assert_eq!(shape(&r), [(0, 8)]);
        assert_eq!((r.written, r.span()), (1 << 5, (0, 8)));
        assert_eq!(&r.used[..2], &[5, 20]);
    }

    #[test]
    fn code_that_does_not_come_back_is_no_region() {
        let code = [
            insn(G::Addi, 5, 5, 0, 1),
            insn(G::Bne, 0, 5, 20, 8),
            insn(G::Addi, 6, 6, 0, 1),
            insn(G::Jal, 0, 0, 0, 400),
        ];
        assert_eq!(region(&code, 0, &[0, 12]).unwrap_err(), Refused::NoLoop);
    }

    #[test]
    fn loops_in_loops_with_branches_that_were_not_taken_left_out() {
        let code = [
            insn(G::Addi, 5, 0, 0, 9),  // 0: head
            insn(G::Addi, 5, 5, 0, -1), // 4: inner loop
            insn(G::Beq, 0, 5, 21, 40), // 8: never taken
            insn(G::Beq, 0, 5, 22, 8),  // 12: over the next
            insn(G::Addi, 7, 7, 0, 1),  // 16
            insn(G::Bne, 0, 5, 0, -16), // 20: to 4
            insn(G::Addi, 6, 6, 0, -1), // 24
            insn(G::Bne, 0, 6, 0, -28), // 28: to 0
            insn(G::Jal, 0, 0, 0, 400),
        ];
        let r = region(&code, 4, &[0, 4, 20]).unwrap();
        assert_eq!(shape(&r), [(0, 4), (4, 20), (20, 32)]);
        // What only the outer loop has comes last.
        assert_eq!(r.used[0], 5);
        assert_eq!(r.used.last(), Some(&6));
        // A node begins where a small loop ends.
        let r = region(&code, 0, &[0, 4]).unwrap();
        assert_eq!(shape(&r), [(0, 4), (4, 24), (24, 32)]);
    }

    #[test]
    fn a_loop_that_searches_is_not_unrolled() {
        let code = [
            insn(G::Lw, 5, 12, 0, 0),
            insn(G::Bgeu, 0, 5, 15, 12),
            insn(G::Addi, 12, 12, 0, 4),
            insn(G::Jal, 0, 0, 0, -12),
            insn(G::Addi, 6, 6, 0, -1),
            insn(G::Bne, 0, 6, 0, -20),
            insn(G::Jal, 0, 0, 0, 400),
        ];
        let r = region(&code, 0, &[0, 16]).unwrap();
        let search = r.search_at(0).unwrap();
        assert_eq!((r.searches.len(), search.insns, r.rounds.len()), (1, 4, 1));
        assert_eq!(r.rounds[0].ops, r.nodes[0].ops);
        assert_eq!(r.nodes[0].insns, 4);
    }

    #[test]
    fn a_region_ends_before_what_it_cannot_do() {
        let code = [
            insn(G::Addi, 5, 5, 0, 1),
            insn(G::Bne, 0, 5, 20, -4),
            insn(G::Csrrw, 0, 5, 0, 0x340),
            insn(G::Jal, 0, 0, 0, -12),
        ];
        assert_eq!(shape(&region(&code, 0, &[0]).unwrap()), [(0, 8)]);
        let code = [insn(G::Csrrw, 0, 5, 0, 0x340), insn(G::Jal, 0, 0, 0, -4)];
        assert_eq!(region(&code, 0, &[0, 4]).unwrap_err(), Refused::Barred);
    }
}
