//! Scalar cryptography (Zk*), but for what it shares with bit manipulation, which is in `b`.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{BinOp, Builder, UnOp, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let op = match i.op {
        G::Pack => BinOp::Pack,
        G::Packh => BinOp::PackH,
        G::Packw => BinOp::PackW,
        G::Xperm4 => BinOp::Xperm4,
        G::Xperm8 => BinOp::Xperm8,
        G::Brev8 => {
            b.un(UnOp::Brev8, i.rd, x(i.rs1));
            return true;
        }
        _ => return false,
    };
    b.bin(op, i.rd, x(i.rs1), x(i.rs2));
    true
}
