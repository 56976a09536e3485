//! The rows of [`super::insn`], parsed while the crate is compiled.

use super::insn::{self, Op};
use super::pattern::{Pattern, first};
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
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub op: Op,
    pub exts: &'static [&'static [Ext]],
    pub mnemonic: &'static str,
    /// Operands as the assembler writes them; empty if there are none.
    pub operands: &'static str,
    /// Apart from the row, so that what the decoder reads holds no address that would have to be relocated.
    pub pattern: &'static Pattern,
}

impl Row {
    /// Whether a hart with this ISA has the instruction.
    pub fn available(&self, isa: &IsaConfig) -> bool {
        self.exts.iter().any(|all| all.iter().all(|ext| isa.has(*ext)))
    }
}

/// How many rows there are.
pub(super) const COUNT: usize = insn::FULL.len() + insn::hint::ROWS.len() + insn::c::ROWS.len();

/// A row as it is written.
pub(super) const fn text(row: usize) -> &'static RowText {
    const HINTS: usize = insn::FULL.len();
    const COMPRESSED: usize = HINTS + insn::hint::ROWS.len();
    match row {
        ..HINTS => &insn::FULL[row],
        HINTS..COMPRESSED => &insn::hint::ROWS[row - HINTS],
        _ => &insn::c::ROWS[row - COMPRESSED],
    }
}

/// By row.
pub(super) static PATTERNS: [Pattern; COUNT] = {
    let (mut patterns, mut row) = ([Pattern::NONE; COUNT], 0);
    while row < COUNT {
        patterns[row] = Pattern::parse(text(row).bits);
        row += 1;
    }
    patterns
};

static ROWS: [Row; COUNT] = {
    const NONE: Row = Row { op: Op::ALL[0], exts: &[], mnemonic: "", operands: "", pattern: &Pattern::NONE };
    let (mut rows, mut row) = ([NONE; COUNT], 0);
    while row < COUNT {
        let RowText { op, exts, asm, .. } = *text(row);
        let (mnemonic, operands) = first(asm.as_bytes(), b' ');
        let (mnemonic, operands) = (as_text(mnemonic), as_text(operands));
        rows[row] = Row { op, exts, mnemonic, operands, pattern: &PATTERNS[row] };
        row += 1;
    }
    rows
};

const fn as_text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("not UTF-8"),
    }
}

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
                if !overlap(a.pattern, b.pattern) {
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
