//! The rows of [`super::insn`], parsed once.

use std::sync::LazyLock;

use super::insn::{self, Op};
use super::pattern::Pattern;
use crate::ext::{Ext, IsaConfig};

/// A row as written: what [`super::insn`] holds.
#[derive(Debug, Clone, Copy)]
pub struct RowText {
    pub op: Op,
    /// Any of these lists has to be present in full.
    pub exts: &'static [&'static [Ext]],
    /// Mnemonic and operands.
    pub asm: &'static str,
    /// See [`super::pattern`].
    pub bits: &'static str,
}

/// A row of the instruction table.
#[derive(Debug)]
pub struct Row {
    pub op: Op,
    pub exts: &'static [&'static [Ext]],
    pub mnemonic: &'static str,
    /// Operands as the assembler writes them; empty if there are none.
    pub operands: &'static str,
    pub pattern: Pattern,
}

impl Row {
    fn parse(text: &RowText) -> Self {
        let (mnemonic, operands) = text.asm.split_once(' ').unwrap_or((text.asm, ""));
        let pattern = Pattern::parse(text.bits).unwrap_or_else(|error| panic!("{mnemonic}: {error}"));
        Self { op: text.op, exts: text.exts, mnemonic, operands, pattern }
    }

    /// Whether a hart with this ISA has the instruction.
    pub fn available(&self, isa: &IsaConfig) -> bool {
        self.exts.iter().any(|all| all.iter().all(|ext| isa.has(*ext)))
    }
}

static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| insn::FULL.iter().chain(insn::hint::ROWS).chain(insn::c::ROWS).map(Row::parse).collect());

/// All rows. The first `Op::COUNT` are the full-size instructions in the order of [`Op`]; after them come hints and
/// compressed instructions.
pub fn rows() -> &'static [Row] {
    &ROWS
}

impl Op {
    /// The full-size instruction of this operation.
    pub fn row(self) -> &'static Row {
        &rows()[self as usize]
    }

    /// As the assembler spells it.
    pub fn name(self) -> &'static str {
        self.row().mnemonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Field;

    /// Rows that are a special form of a more general one, which the decoder tries after them.
    const SPECIAL: &[(&str, &str)] = &[
        ("fence.tso", "fence"),
        ("pause", "fence"),
        ("zext.h", "packw"),
        ("prefetch.i", "ori"),
        ("prefetch.r", "ori"),
        ("prefetch.w", "ori"),
        ("ntl.p1", "add"),
        ("ntl.pall", "add"),
        ("ntl.s1", "add"),
        ("ntl.all", "add"),
        ("c.ntl.p1", "c.add"),
        ("c.ntl.pall", "c.add"),
        ("c.ntl.s1", "c.add"),
        ("c.ntl.all", "c.add"),
        ("sspush", "mop.rr.n"),
        ("sspush", "mop.rr.n"),
        ("sspopchk", "mop.r.n"),
        ("sspopchk", "mop.r.n"),
        ("ssrdp", "mop.r.n"),
        ("c.sspush", "c.mop.n"),
        ("c.sspopchk", "c.mop.n"),
    ];

    fn overlap(a: &Pattern, b: &Pattern) -> bool {
        // Patterns that differ in a bit both fix have no word in common, nor have those whose common words are excluded.
        let excluded = |a: &Pattern, b: &Pattern| a.excluded.iter().any(|(m, v)| b.mask & m == *m && b.bits & m == *v);
        a.len == b.len && (a.bits ^ b.bits) & a.mask & b.mask == 0 && !excluded(a, b) && !excluded(b, a)
    }

    #[test]
    fn no_row_hides_another_unless_declared() {
        let mut found = Vec::new();
        for (index, a) in rows().iter().enumerate() {
            for b in &rows()[index + 1..] {
                if !overlap(&a.pattern, &b.pattern) {
                    continue;
                }
                let (special, general) =
                    if a.pattern.mask.count_ones() > b.pattern.mask.count_ones() { (a, b) } else { (b, a) };
                assert_eq!(
                    special.pattern.mask & general.pattern.mask,
                    general.pattern.mask,
                    "{} and {} overlap",
                    special.mnemonic,
                    general.mnemonic
                );
                found.push((special.mnemonic, general.mnemonic));
            }
        }
        found.sort();
        let mut declared = SPECIAL.to_vec();
        declared.sort();
        assert_eq!(found, declared);
    }

    #[test]
    fn the_row_of_an_op_is_its_own() {
        for (index, op) in Op::ALL.iter().enumerate() {
            assert_eq!((op.row().op, *op as usize), (*op, index));
            assert_eq!(op.row().pattern.len, 4, "{}", op.name());
        }
    }

    #[test]
    fn an_op_is_called_like_its_mnemonic() {
        for op in Op::ALL {
            let parts = op.name().split('.').map(|part| part[..1].to_uppercase() + &part[1..]);
            assert_eq!(parts.collect::<String>(), format!("{op:?}"));
        }
    }

    #[test]
    fn mnemonics_are_unique() {
        // Two rows of one name are the same operation on one register or another.
        let mut names: Vec<_> = rows().iter().map(|row| (row.mnemonic, row.op as usize)).collect();
        names.sort();
        names.dedup();
        let count = names.len();
        names.dedup_by_key(|(name, _)| *name);
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_pieces_of_an_immediate_are_apart() {
        for row in rows() {
            let (mut word, mut value) = (row.pattern.mask, 0);
            for piece in row.pattern.pieces.iter().filter(|piece| piece.field == Field::Imm) {
                let bits = ((1u32 << piece.width) - 1) << piece.at;
                assert_eq!((piece.mask() & word, bits & value), (0, 0), "{}", row.mnemonic);
                (word, value) = (word | piece.mask(), value | bits);
            }
        }
    }
}
