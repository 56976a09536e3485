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

use arch::isa::{Decoder, Insn};

use super::ctr;
use super::hart::BlockMode;
use super::ir::{Builder, Helper, IrBlock, Op, Val, x};

/// Most guest instructions in a block.
pub const MAX_INSNS: u16 = 48;

/// The guest code a block is made from.
pub struct Source<'a> {
    /// The block's physical page, from its start to the end of the page.
    pub bytes: &'a [u8],
    /// Offset of the block in the page.
    pub start: u16,
    /// The second half of an instruction that crosses the page, if it has been translated already.
    pub next_page: Option<u16>,
    /// What the translation depends on besides.
    pub mode: BlockMode,
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
    b.mode = source.mode;
    let mut at = 0usize;
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
        if b.block.insns >= limit {
            break;
        }
    }
    let target = super::ir::Target { offset: b.next() };
    b.push(Op::Jump { target });
    Ok(())
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

    #[test]
    fn every_instruction_of_a_ready_extension_has_a_lowering() {
        let isa = arch::model::parse("max").unwrap();
        let decoder = Decoder::new(&isa);
        let mut b = Builder::new(&isa);
        for row in rows().iter().filter(|row| row.available(&isa)) {
            // Not every word: a floating-point instruction with a reserved rounding mode is illegal.
            let lowers = words(&row.pattern).filter_map(|word| decoder.decode(word)).any(|insn| {
                b.reset(0);
                b.insn(0, insn.len);
                lower(&mut b, &insn)
            });
            assert!(lowers, "{} decodes, but nothing in this folder lowers it", row.mnemonic);
        }
    }
}
