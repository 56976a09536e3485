//! M and Zmmul.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{BinOp, Builder, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let op = match i.op {
        G::Mul => BinOp::Mul,
        G::Mulh => BinOp::Mulh,
        G::Mulhsu => BinOp::Mulhsu,
        G::Mulhu => BinOp::Mulhu,
        G::Mulw => BinOp::MulW,
        G::Div => BinOp::Div,
        G::Divu => BinOp::Divu,
        G::Rem => BinOp::Rem,
        G::Remu => BinOp::Remu,
        G::Divw => BinOp::DivW,
        G::Divuw => BinOp::DivuW,
        G::Remw => BinOp::RemW,
        G::Remuw => BinOp::RemuW,
        _ => return false,
    };
    b.bin(op, i.rd, x(i.rs1), x(i.rs2));
    true
}
