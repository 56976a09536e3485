//! Zimop and Zcmop: may-be-operations write zero to rd, or nothing.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{Builder, Val};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    match i.op {
        G::MopRN | G::MopRrN => b.mov(i.rd, Val::C(0)),
        _ => return false,
    }
    true
}
