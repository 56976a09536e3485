//! Zaamo, Zalrsc and Zawrs.
//!
//! `aq` and `rl` need no code but in one place: the host performs an atomic operation as a full barrier, and loads and
//! stores in program order. A load-reserved with `rl` is a plain load that earlier stores may not pass.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{AmoOp, Builder, Helper, Op, Val, Width, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let (d, addr, src) = (Builder::dst(i.rd), x(i.rs1), x(i.rs2));
    let (op, width) = match i.op {
        G::LrW => return load_reserved(b, i, Width::W),
        G::LrD => return load_reserved(b, i, Width::D),
        G::ScW => return push(b, Op::Sc { width: Width::W, d, addr, src }),
        G::ScD => return push(b, Op::Sc { width: Width::D, d, addr, src }),
        G::WrsNto | G::WrsSto => {
            let short = Val::C((i.op == G::WrsSto).into());
            b.call(Helper::Wrs, 0, [short, Val::C(0), Val::C(i64::from(i.raw))]);
            return true;
        }
        G::AmoswapW => (AmoOp::Swap, Width::W),
        G::AmoaddW => (AmoOp::Add, Width::W),
        G::AmoxorW => (AmoOp::Xor, Width::W),
        G::AmoandW => (AmoOp::And, Width::W),
        G::AmoorW => (AmoOp::Or, Width::W),
        G::AmominW => (AmoOp::Min, Width::W),
        G::AmomaxW => (AmoOp::Max, Width::W),
        G::AmominuW => (AmoOp::Minu, Width::W),
        G::AmomaxuW => (AmoOp::Maxu, Width::W),
        G::AmoswapD => (AmoOp::Swap, Width::D),
        G::AmoaddD => (AmoOp::Add, Width::D),
        G::AmoxorD => (AmoOp::Xor, Width::D),
        G::AmoandD => (AmoOp::And, Width::D),
        G::AmoorD => (AmoOp::Or, Width::D),
        G::AmominD => (AmoOp::Min, Width::D),
        G::AmomaxD => (AmoOp::Max, Width::D),
        G::AmominuD => (AmoOp::Minu, Width::D),
        G::AmomaxuD => (AmoOp::Maxu, Width::D),
        _ => return false,
    };
    push(b, Op::Amo { op, width, d, addr, src })
}

/// Bit `rl` of an atomic instruction.
const RL: u32 = 1 << 25;

fn load_reserved(b: &mut Builder, i: &Insn, width: Width) -> bool {
    if i.raw & RL != 0 {
        b.push(Op::FenceStoreLoad);
    }
    push(b, Op::Lr { width, d: Builder::dst(i.rd), addr: x(i.rs1) })
}

fn push(b: &mut Builder, op: Op) -> bool {
    b.push(op);
    true
}
