//! Hypervisor instructions.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{Builder, Helper, Val, x};
use crate::tcg::mmu::hyper::HyperLoad;

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let raw = i64::from(i.raw);
    match i.op {
        G::HlvB => load(b, i, 1, true),
        G::HlvBu => load(b, i, 1, false),
        G::HlvH => load(b, i, 2, true),
        G::HlvHu => load(b, i, 2, false),
        G::HlvW => load(b, i, 4, true),
        G::HlvWu => load(b, i, 4, false),
        G::HlvD => load(b, i, 8, false),
        G::HlvxHu => load_code(b, i, 2),
        G::HlvxWu => load_code(b, i, 4),
        G::HsvB => store(b, i, 1),
        G::HsvH => store(b, i, 2),
        G::HsvW => store(b, i, 4),
        G::HsvD => store(b, i, 8),
        G::HfenceVvma | G::HinvalVvma | G::HfenceGvma | G::HinvalGvma => {
            let gvma = matches!(i.op, G::HfenceGvma | G::HinvalGvma);
            let which = i64::from(i.rs1 != 0) | i64::from(i.rs2 != 0) << 1;
            let helper = if gvma { Helper::HfenceGvma } else { Helper::HfenceVvma };
            b.call(helper, 0, [x(i.rs1), x(i.rs2), Val::C(which | raw << 2)]);
        }
        _ => return false,
    }
    true
}

fn load(b: &mut Builder, i: &Insn, bytes: u8, signed: bool) {
    let kind = HyperLoad { bytes, signed, exec: false };
    b.call(Helper::HyperLoad, i.rd, [x(i.rs1), Val::C(kind.pack()), Val::C(i64::from(i.raw))]);
}

fn load_code(b: &mut Builder, i: &Insn, bytes: u8) {
    let kind = HyperLoad { bytes, signed: false, exec: true };
    b.call(Helper::HyperLoad, i.rd, [x(i.rs1), Val::C(kind.pack()), Val::C(i64::from(i.raw))]);
}

fn store(b: &mut Builder, i: &Insn, bytes: i64) {
    b.call(Helper::HyperStore, 0, [x(i.rs1), x(i.rs2), Val::C(bytes | i64::from(i.raw) << 4)]);
}
