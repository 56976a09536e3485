//! From decoded instructions to IR: one lowering an instruction, in the file of its part of the specification (`f` has
//! all of floating point, `b` all of bit manipulation and Zicond).
//!
//! A lowering writes operations to the [`Builder`] and returns `true` if it knows the instruction.

mod a;
mod b;
mod cfi;
mod f;
mod h;
mod i;
mod k;
mod m;
mod privileged;
mod v;
mod zicbo;
mod zicsr;
mod zimop;

use arch::isa::{Decoder, Insn, Op as G};

use super::ctr;
use super::hart::BlockMode;
use super::ir::{Builder, Helper, IrBlock, Op, Val, x};

/// Guest instructions after which a block ends unless told otherwise.
pub const USUAL_INSNS: u16 = 48;

/// Most guest instructions in a block: one that is a loop is not cut short before its end.
pub const MAX_INSNS: u16 = 80;

/// The guest code a block is made from.
pub struct Source<'a> {
    /// The block's physical page, from its start to the end of the page.
    pub bytes: &'a [u8],
    /// The address of that page.
    pub page: u64,
    /// Offset of the block in the page.
    pub start: u16,
    /// The second half of an instruction that crosses the page, if it has been translated already.
    pub next_page: Option<u16>,
    /// What the translation depends on besides.
    pub mode: BlockMode,
    /// Offsets in the page at which the block ends: others begin there.
    pub stops: &'a [u16],
    /// The log shows the block whenever it is executed.
    pub traced: bool,
}

/// Why a block could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// The first instruction crosses the page: its second half is needed.
    NeedsNextPage,
}

/// Translates from `source` until something ends the block, or `limit` instructions.
pub fn translate(b: &mut Builder, decoder: &Decoder, source: &Source, limit: u16) -> Result<(), Incomplete> {
    b.reset(source.start);
    (b.mode, b.page) = (source.mode, source.page);
    let (mut at, mut limit) = (0usize, limit);
    loop {
        let offset = source.start + at as u16;
        let Some(low) = source.bytes.get(at..at + 2) else { break };
        let low = u16::from_le_bytes([low[0], low[1]]);
        let mut raw = u32::from(low);
        if arch::isa::insn_len(low) == 4 {
            match source.bytes.get(at + 2..at + 4) {
                Some(high) => raw |= u32::from(u16::from_le_bytes([high[0], high[1]])) << 16,
                None if at > 0 => break,
                None => match source.next_page {
                    Some(high) => raw |= u32::from(high) << 16,
                    None => return Err(Incomplete::NeedsNextPage),
                },
            }
        }
        let insn = decoder.decode(raw);
        let len = insn.map_or(arch::isa::insn_len(low) as u8, |i| i.len);
        b.insn(offset, len);
        if source.traced && at == 0 {
            b.call(Helper::Trace, 0, [Val::C(0); 3]);
        }
        if source.mode.is_counting() && at == 0 {
            b.call(Helper::CheckLimit, 0, [Val::C(0); 3]);
        }
        if source.mode.is_recording()
            && let Some(i) = insn.filter(|i| ctr::is_transfer(i.op))
        {
            b.call(Helper::Transfer, 0, [x(i.rs1), x(i.rs2), Val::C(i64::from(i.raw))]);
        }
        match insn {
            Some(i) if lower(b, &i) => {}
            _ => illegal(b, raw),
        }
        if b.block.ops.last().is_some_and(Op::ends_block) {
            return Ok(());
        }
        at += usize::from(len);
        if source.stops.contains(&(source.start + at as u16)) {
            break;
        }
        if b.block.insns >= limit {
            match closes_loop(decoder, &source.bytes[at.min(source.bytes.len())..], at) {
                Some(more) if limit == USUAL_INSNS => limit += more,
                _ => break,
            }
        }
    }
    let target = super::ir::Target { offset: b.next() };
    b.push(Op::Jump { target });
    Ok(())
}

/// How many instructions there are from the first of `bytes`, which stands `at` bytes behind the start of the block,
/// to a jump to that start; `None` if it is not near.
fn closes_loop(decoder: &Decoder, bytes: &[u8], at: usize) -> Option<u16> {
    let mut offset = 0;
    for n in 1..=MAX_INSNS - USUAL_INSNS {
        let half = |i: usize| Some(u32::from(u16::from_le_bytes(*bytes.get(i..)?.first_chunk()?)));
        let low = half(offset)?;
        let long = arch::isa::insn_len(low as u16) == 4;
        let insn = decoder.decode(if long { low | half(offset + 2)? << 16 } else { low })?;
        let back = i64::from(insn.imm) + (at + offset) as i64 == 0;
        match insn.op {
            G::Beq | G::Bne | G::Blt | G::Bge | G::Bltu | G::Bgeu | G::Jal if back => return Some(n),
            G::Jal | G::Jalr | G::Ecall | G::Ebreak => return None,
            _ => offset += usize::from(insn.len),
        }
    }
    None
}

/// Lowers one instruction; `false` if nothing here knows it.
fn lower(b: &mut Builder, i: &Insn) -> bool {
    // First: it stands in for others where it is on.
    cfi::lower(b, i)
        || i::lower(b, i)
        || m::lower(b, i)
        || b::lower(b, i)
        || a::lower(b, i)
        || k::lower(b, i)
        || f::lower(b, i)
        || zicsr::lower(b, i)
        || zicbo::lower(b, i)
        || zimop::lower(b, i)
        || privileged::lower(b, i)
        || v::lower(b, i)
        || h::lower(b, i)
}

/// Raises illegal instruction with the instruction's bits in `mtval`.
fn illegal(b: &mut Builder, raw: u32) {
    b.call(Helper::Illegal, 0, [Val::C(i64::from(raw)), Val::C(0), Val::C(0)]);
}

/// Checks every block in debug builds.
pub fn check(block: &IrBlock) {
    if cfg!(debug_assertions)
        && let Err(e) = super::ir::verify::verify(block)
    {
        panic!("malformed block: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch::isa::rows;

    /// Words of a row: all operand bits clear, all set, and a few in between.
    fn words(pattern: &arch::isa::Pattern) -> impl Iterator<Item = u32> + '_ {
        let fill = (0..16).map(|n: u32| n.wrapping_mul(0x9e37_79b9)).chain([0, u32::MAX]);
        let kept = if pattern.len == 2 { 0xffff } else { u32::MAX };
        fill.map(move |fill| (pattern.bits | fill & !pattern.mask) & kept).filter(|word| pattern.matches(*word))
    }

    /// A block at offset 64 of `n` no-operations and `end`, as words.
    fn block_of(n: u64, end: &[u32], limit: u16) -> u16 {
        let isa = arch::model::parse("max").unwrap();
        let mut b = Builder::default();
        let words = (0..n).map(|_| 0x13).chain(end.iter().copied());
        let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let source = Source {
            bytes: &bytes,
            page: 0x8000_0000,
            start: 64,
            next_page: None,
            mode: BlockMode(0),
            stops: &[],
            traced: false,
        };
        translate(&mut b, &Decoder::new(&isa), &source, limit).unwrap();
        b.block.insns
    }

    #[test]
    fn a_loop_is_not_cut_short_where_it_is_about_to_end() {
        let back = |by: i32| {
            let operands = arch::isa::Operands { rs1: 10, imm: -by, ..Default::default() };
            arch::isa::encode(G::Bne, &operands).unwrap()
        };
        let ret = 0x8067;
        assert_eq!(block_of(60, &[back(240), ret], USUAL_INSNS), 61);
        assert_eq!(block_of(79, &[back(316), ret], USUAL_INSNS), 80);
        // Too far, to another place, behind a jump, or with a limit of its own.
        assert_eq!(block_of(80, &[back(320), ret], USUAL_INSNS), 48);
        assert_eq!(block_of(60, &[back(236), ret], USUAL_INSNS), 48);
        assert_eq!(block_of(50, &[ret, back(204)], USUAL_INSNS), 48);
        assert_eq!(block_of(60, &[back(240), ret], 4), 4);
        assert_eq!(block_of(47, &[ret], USUAL_INSNS), 48);
    }

    #[test]
    fn every_instruction_of_a_ready_extension_has_a_lowering() {
        let isa = arch::model::parse("max").unwrap();
        let decoder = Decoder::new(&isa);
        let mut b = Builder::new(&isa);
        for row in rows().iter().filter(|row| row.available(&isa)) {
            // Not every word: a floating-point instruction with a reserved rounding mode is illegal.
            let lowers = words(row.pattern).filter_map(|word| decoder.decode(word)).any(|insn| {
                b.reset(0);
                b.insn(0, insn.len);
                lower(&mut b, &insn)
            });
            assert!(lowers, "{} decodes, but nothing in this folder lowers it", row.mnemonic);
        }
    }
}
