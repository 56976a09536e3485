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
