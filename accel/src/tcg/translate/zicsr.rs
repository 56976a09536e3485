//! Zicsr.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{Builder, Helper, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let imm = Val::C(i64::from(i.rs1));
    // The last field tells whether the instruction writes: csrrs and csrrc with x0 or a zero immediate do not.
    let (kind, src, write) = match i.op {
        G::Csrrw => (0, x(i.rs1), true),
        G::Csrrs => (1, x(i.rs1), i.rs1 != 0),
        G::Csrrc => (2, x(i.rs1), i.rs1 != 0),
        G::Csrrwi => (0, imm, true),
        G::Csrrsi => (1, imm, i.rs1 != 0),
        G::Csrrci => (2, imm, i.rs1 != 0),
        _ => return false,
    };
    let csr = i.imm & 0xfff;
    let code = csr | kind << 12 | i32::from(write) << 16;
    let helper = if (1..=3).contains(&csr) { Helper::CsrFp } else { Helper::Csr };
    b.call(helper, i.rd, [Val::C(i64::from(code)), src, Val::C(i64::from(i.raw))]);
    true
}
