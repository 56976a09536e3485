//! Vectors: every instruction is one operation, whose meaning is in `helpers::vector`. Which integer registers it reads
//! and writes is what its row's operands say.

use arch::isa::Insn;

use crate::tcg::helpers::vector;
use crate::tcg::ir::{Builder, Op, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    if !vector::knows(i.op) {
        return false;
    }
    let operands = i.op.row().operands;
    let read = |name, register| if operands.contains(name) { x(register) } else { Val::C(0) };
    let d = if operands.starts_with("rd,") { Builder::dst(i.rd) } else { None };
    b.push(Op::Vector { op: i.op, raw: i.raw, d, a: read("rs1", i.rs1), b: read("rs2", i.rs2) });
    true
}
