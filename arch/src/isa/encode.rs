//! Instructions to words: the inverse of the decoder, for tests and generated code.

use super::insn::Op;
use super::pattern::Field;
use super::{Insn, Row};

/// Operands do not fit the instruction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {mnemonic}: {field:?} = {value} does not fit")]
pub struct EncodeError {
    pub mnemonic: &'static str,
    pub field: Field,
    pub value: i32,
}

/// Operands of [`encode`], as in [`Insn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operands {
    pub rd: u8,
    pub rs1: u8,
    pub rs2: u8,
    pub rs3: u8,
    pub rm: u8,
    pub imm: i32,
}

impl Operands {
    fn get(&self, field: Field) -> i32 {
        match field {
            Field::Rd => i32::from(self.rd),
            Field::Rs1 => i32::from(self.rs1),
            Field::Rs2 => i32::from(self.rs2),
            Field::Rs3 => i32::from(self.rs3),
            Field::Rm => i32::from(self.rm),
            Field::Imm => self.imm,
        }
    }
}

impl From<&Insn> for Operands {
    fn from(insn: &Insn) -> Self {
        let Insn { rd, rs1, rs2, rs3, rm, imm, .. } = *insn;
        Self { rd, rs1, rs2, rs3, rm, imm }
    }
}

/// The full-size word of `op`.
pub fn encode(op: Op, operands: &Operands) -> Result<u32, EncodeError> {
    encode_row(op.row(), operands)
}

/// The word of `row`, which may be a compressed instruction.
pub fn encode_row(row: &Row, operands: &Operands) -> Result<u32, EncodeError> {
    let pattern = &row.pattern;
    let error = |field| EncodeError { mnemonic: row.mnemonic, field, value: operands.get(field) };
    let mut word = pattern.bits;
    for field in [Field::Rd, Field::Rs1, Field::Rs2, Field::Rs3, Field::Rm, Field::Imm] {
        let value = operands.get(field);
        let (mut read_back, mut carried) = (0u32, false);
        for piece in pattern.pieces.iter().filter(|piece| piece.field == field) {
            let bits = (value - i32::from(piece.bias)) as u32 >> piece.at & ((1 << piece.width) - 1);
            word |= bits << piece.lsb;
            read_back = (read_back | bits << piece.at) + u32::from(piece.bias);
            carried = true;
        }
        if field == Field::Imm {
            read_back = ((read_back << pattern.sign_shift) as i32 >> pattern.sign_shift) as u32;
        }
        let fixed = pattern.fixed.iter().find(|(fixed, _)| *fixed == field).map_or(0, |(_, value)| *value);
        if value != if carried { read_back as i32 } else { fixed } {
            return Err(error(field));
        }
    }
    match pattern.excluded.iter().find(|(mask, value)| word & mask == *value) {
        Some(_) => Err(error(Field::Rd)),
        None => Ok(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::{EXTENSIONS, IsaConfig};
    use crate::isa::{Decoder, rows};

    /// A hart with every extension, so that every row is reachable.
    fn everything() -> Decoder {
        let exts = EXTENSIONS.iter().map(|row| row.ext).collect();
        Decoder::new(&IsaConfig { exts, ..IsaConfig::default() })
    }

    /// Words of a row: its fixed bits with the others as `fill` has them.
    fn words(row: &Row) -> impl Iterator<Item = u32> + '_ {
        let width = if row.pattern.len == 4 { u32::MAX } else { 0xffff };
        let fills = [0, u32::MAX, 0x5555_5555, 0xaaaa_aaaa, 0x0f0f_0f0f, 0x1248_1248, 0x8421_8421, 0x9e37_79b9];
        fills.into_iter().map(move |fill| (fill & !row.pattern.mask | row.pattern.bits) & width)
    }

    #[test]
    fn every_row_goes_there_and_back() {
        let decoder = everything();
        for row in rows() {
            let mut seen = 0;
            for word in words(row) {
                let Some(insn) = decoder.decode(word).filter(|insn| std::ptr::eq(insn.row(), row)) else { continue };
                seen += 1;
                assert_eq!((insn.op, insn.len, insn.raw), (row.op, row.pattern.len, word), "{}", row.mnemonic);
                let ignored = !row.pattern.mask & !row.pattern.pieces.iter().fold(0, |all, piece| all | piece.mask());
                assert_eq!(encode_row(row, &Operands::from(&insn)), Ok(word & !ignored), "{}", row.mnemonic);
            }
            assert!(seen > 0, "no word of {} decodes to it", row.mnemonic);
        }
    }

    #[test]
    fn an_expanded_word_means_the_same() {
        let decoder = everything();
        for row in &rows()[Op::COUNT..] {
            for word in words(row) {
                let Some(short) = decoder.decode(word).filter(|insn| std::ptr::eq(insn.row(), row)) else { continue };
                let full = encode(short.op, &Operands::from(&short)).expect(row.mnemonic);
                let full = decoder.decode(full).expect(row.mnemonic);
                assert_eq!((full.op, Operands::from(&full)), (short.op, Operands::from(&short)), "{}", row.mnemonic);
            }
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        let operands = Operands { rd: 1, imm: 2048, ..Operands::default() };
        assert!(encode(Op::Addi, &operands).is_err());
        assert_eq!(encode(Op::Addi, &Operands { imm: -2048, ..operands }), Ok(0x8000_0093));
        assert!(encode(Op::Beq, &Operands { imm: 3, ..Operands::default() }).is_err());
        assert!(encode(Op::Add, &Operands { rd: 32, ..Operands::default() }).is_err());
        assert!(encode(Op::Add, &operands).is_err(), "add has no immediate");
    }
}
