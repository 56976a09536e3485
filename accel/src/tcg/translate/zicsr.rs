//! Zicsr: what generated code can do itself (`csr::inline`), and calls for the rest.

use arch::csr::SATP;
use arch::isa::{Insn, Op as G};

use crate::tcg::csr::{CsrOp, Inline, StateField};
use crate::tcg::ir::{BinOp, Builder, Dst, Gated, Helper, Op, Val, csr_code, x};

/// What a CSR instruction does, and whether it writes: csrrs and csrrc with x0 or a zero immediate do not.
pub(super) fn kind(i: &Insn) -> Option<(CsrOp, bool)> {
    Some(match i.op {
        G::Csrrw | G::Csrrwi => (CsrOp::Rw, true),
        G::Csrrs | G::Csrrsi => (CsrOp::Rs, i.rs1 != 0),
        G::Csrrc | G::Csrrci => (CsrOp::Rc, i.rs1 != 0),
        _ => return None,
    })
}

/// What a CSR instruction writes, or writes with.
pub(super) fn source(i: &Insn) -> Val {
    match i.op {
        G::Csrrw | G::Csrrs | G::Csrrc => x(i.rs1),
        _ => Val::C(i64::from(i.rs1)),
    }
}

/// All but those of `f`.
pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let Some((kind, write)) = kind(i) else { return false };
    let src = source(i);
    let csr = (i.imm & 0xfff) as u16;
    let d = Builder::dst(i.rd);
    match (b.inline_csr(csr, write), d) {
        (Some(Inline::Read(field)), Some(d)) => b.push(Op::ReadState { d, field }),
        (Some(Inline::Read(_)), None) => {}
        (Some(Inline::Gated(field, gate)), Some(d)) => gated(b, d, Gated::Word(field, gate), i.raw),
        (Some(Inline::Live(live)), Some(d)) => gated(b, d, Gated::Live(live), i.raw),
        (Some(Inline::Write(field, mask)), d) => change(b, (field, mask), kind, d, src),
        (Some(Inline::Status), d) => {
            b.forget_checks();
            b.push(Op::Status { d, kind, write, src, raw: i.raw });
        }
        _ => {
            let page = if csr == SATP && write { (b.page >> 12 << 20) as i64 } else { 0 };
            let code = csr_code(kind, write, i.raw) | page;
            b.call(Helper::Csr, i.rd, [Val::C(code), src, Val::C(i64::from(i.raw))]);
        }
    }
    true
}

fn gated(b: &mut Builder, d: Dst, what: Gated, raw: u32) {
    b.push(Op::ReadGated { d, what, raw });
}

/// Reads a word and writes to the bits of its mask; the source is read before `d` is written.
fn change(b: &mut Builder, (field, mask): (StateField, u64), kind: CsrOp, d: Option<Dst>, src: Val) {
    let (old, new) = (Dst::T(0), Dst::T(1));
    if d.is_some() || kind != CsrOp::Rw {
        b.push(Op::ReadState { d: old, field });
    }
    let mut value = src;
    let op = match kind {
        CsrOp::Rw => None,
        CsrOp::Rs => Some(BinOp::Or),
        CsrOp::Rc => Some(BinOp::Andn),
    };
    if let Some(op) = op {
        b.push(Op::Bin { op, d: new, a: Val::T(0), b: value });
        value = new.into();
    }
    match value {
        Val::C(v) => value = Val::C(v & mask as i64),
        _ if mask == u64::MAX => {}
        _ => {
            b.push(Op::Bin { op: BinOp::And, d: new, a: value, b: Val::C(mask as i64) });
            value = new.into();
        }
    }
    b.push(Op::WriteState { field, src: value });
    if let Some(d) = d {
        b.push(Op::Mov { d, s: old.into() });
    }
}
