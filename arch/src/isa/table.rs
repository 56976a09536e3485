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
