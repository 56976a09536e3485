//! Instructions to text.

use super::Insn;

/// Text of `insn` at address `pc`, in the style of binutils' `objdump -M no-aliases`.
pub fn disasm(insn: &Insn, _pc: u64) -> String {
    insn.row().mnemonic.to_string()
}
