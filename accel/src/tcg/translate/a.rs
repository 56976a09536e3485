//! Zaamo, Zabha, Zacas, Zalasr, Zalrsc and Zawrs.
//!
//! `aq` and `rl` need no code but for two things: the host performs an atomic operation as a full barrier, and loads and
//! stores in program order. A load-reserved or load-acquire with `rl` is a plain load that earlier stores may not pass,
//! and behind a store-release comes a fence: a later load-acquire may not pass it (RVWMO, both have RCsc annotations).

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{AmoOp, Builder, Dst, Helper, Op, Val, Width, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let (d, addr, src) = (Builder::dst(i.rd), x(i.rs1), x(i.rs2));
    let (op, width) = match i.op {
        G::AmocasB => return compare_and_swap(b, i, Width::B),
        G::AmocasH => return compare_and_swap(b, i, Width::H),
        G::AmocasW => return compare_and_swap(b, i, Width::W),
        G::AmocasD => return compare_and_swap(b, i, Width::D),
        G::AmocasQ => return compare_and_swap_16(b, i),
        G::LbAq => return load_acquire(b, i, Width::B),
        G::LhAq => return load_acquire(b, i, Width::H),
        G::LwAq => return load_acquire(b, i, Width::W),
        G::LdAq => return load_acquire(b, i, Width::D),
        G::SbRl => return store_release(b, i, Width::B),
        G::ShRl => return store_release(b, i, Width::H),
        G::SwRl => return store_release(b, i, Width::W),
        G::SdRl => return store_release(b, i, Width::D),
        G::LrW => return load_reserved(b, i, Width::W),
        G::LrD => return load_reserved(b, i, Width::D),
        G::ScW => return push(b, Op::Sc { width: Width::W, d, addr, src }),
        G::ScD => return push(b, Op::Sc { width: Width::D, d, addr, src }),
        G::WrsNto | G::WrsSto => {
            let short = Val::C((i.op == G::WrsSto).into());
            b.call(Helper::Wrs, 0, [short, Val::C(0), Val::C(i64::from(i.raw))]);
            return true;
        }
        G::AmoswapB => (AmoOp::Swap, Width::B),
        G::AmoaddB => (AmoOp::Add, Width::B),
        G::AmoxorB => (AmoOp::Xor, Width::B),
        G::AmoandB => (AmoOp::And, Width::B),
        G::AmoorB => (AmoOp::Or, Width::B),
        G::AmominB => (AmoOp::Min, Width::B),
        G::AmomaxB => (AmoOp::Max, Width::B),
        G::AmominuB => (AmoOp::Minu, Width::B),
        G::AmomaxuB => (AmoOp::Maxu, Width::B),
        G::AmoswapH => (AmoOp::Swap, Width::H),
        G::AmoaddH => (AmoOp::Add, Width::H),
        G::AmoxorH => (AmoOp::Xor, Width::H),
        G::AmoandH => (AmoOp::And, Width::H),
        G::AmoorH => (AmoOp::Or, Width::H),
        G::AmominH => (AmoOp::Min, Width::H),
        G::AmomaxH => (AmoOp::Max, Width::H),
        G::AmominuH => (AmoOp::Minu, Width::H),
        G::AmomaxuH => (AmoOp::Maxu, Width::H),
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
        b.push(Op::FenceStoreLoad { devices: false });
    }
    push(b, Op::Lr { width, d: Builder::dst(i.rd), addr: x(i.rs1) })
}

fn compare_and_swap(b: &mut Builder, i: &Insn, width: Width) -> bool {
    push(b, Op::Cas { width, d: Builder::dst(i.rd), addr: x(i.rs1), expected: x(i.rd), src: x(i.rs2) })
}

/// Of a pair that begins with x0, both halves read zero and neither is written.
fn compare_and_swap_16(b: &mut Builder, i: &Insn) -> bool {
    let second = |r: u8| if r == 0 { Val::C(0) } else { x(r + 1) };
    for (t, s) in [x(i.rd), second(i.rd), x(i.rs2), second(i.rs2)].into_iter().enumerate() {
        b.push(Op::Mov { d: Dst::T(t as u8), s });
    }
    b.call(Helper::CompareAndSwap16, 0, [x(i.rs1), Val::C(0), Val::C(0)]);
    if i.rd != 0 {
        b.mov(i.rd, Val::T(0));
        b.mov(i.rd + 1, Val::T(1));
    }
    true
}

fn load_acquire(b: &mut Builder, i: &Insn, width: Width) -> bool {
    if i.raw & RL != 0 {
        b.push(Op::FenceStoreLoad { devices: false });
    }
    b.push(Op::CheckAligned { width, addr: x(i.rs1), store: false });
    b.load(i.rd, x(i.rs1), 0, width, true);
    true
}

fn store_release(b: &mut Builder, i: &Insn, width: Width) -> bool {
    b.push(Op::CheckAligned { width, addr: x(i.rs1), store: true });
    b.store(x(i.rs1), 0, x(i.rs2), width);
    push(b, Op::FenceStoreLoad { devices: false })
}

fn push(b: &mut Builder, op: Op) -> bool {
    b.push(op);
    true
}
