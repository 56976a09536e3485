//! The instruction set: one row an instruction ([`insn`]), and what is derived from the rows: the decoder, the encoder
//! and the disassembler.
//!
//! A word decodes to an [`Insn`]: the operation and its operands as numbers. Compressed instructions and hints decode
//! to the full-size operation they stand for, so an engine never sees them.

mod decode;
mod disasm;
mod encode;
#[macro_use]
pub mod insn;
mod pattern;
mod table;

pub use decode::{Decoder, insn_len};
pub use disasm::disasm;
pub use encode::{EncodeError, Operands, encode, encode_row};
pub use insn::Op;
pub use pattern::{Field, Pattern, Piece};
pub use table::{Row, rows};

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub op: Op,
    pub rd: u8,
    /// Also the index of `fli` and the immediate of `csrrwi`, `csrrsi` and `csrrci`.
    pub rs1: u8,
    pub rs2: u8,
    pub rs3: u8,
    /// Rounding mode of floating-point operations (7 is dynamic); `aq << 1 | rl` of atomic ones; `vm` of vector ones,
    /// 0 if v0 masks.
    pub rm: u8,
    /// Sign-extended and scaled: a branch offset in bytes, the upper 20 bits of `lui` in place, a shift amount,
    /// a CSR number, the `vtype` of `vsetvli`, `fm << 8 | pred << 4 | succ` of a fence, the number of a may-be-operation.
    pub imm: i32,
    /// In bytes: 2 or 4.
    pub len: u8,
    /// The instruction word; the upper half is zero if `len` is 2.
    pub raw: u32,
    /// Which row of the table it matched.
    pub row: u16,
}

impl Insn {
    pub fn row(&self) -> &'static Row {
        &rows()[usize::from(self.row)]
    }
}
