//! Privileged instructions.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{Builder, Helper, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let raw = Val::C(i64::from(i.raw));
    let zero = Val::C(0);
    match i.op {
        G::Mret => b.call(Helper::Mret, 0, [zero, zero, raw]),
        G::Mnret => b.call(Helper::Mnret, 0, [zero, zero, raw]),
        G::Sctrclr => b.call(Helper::Sctrclr, 0, [zero, zero, raw]),
        G::Sret => b.call(Helper::Sret, 0, [zero, zero, raw]),
        G::Wfi => b.call(Helper::Wfi, 0, [zero, zero, raw]),
        G::SfenceVma | G::SinvalVma => {
            let registers = i64::from(i.raw >> 15 & 0x3ff);
            let inval = i64::from(i.op == G::SinvalVma) << 10;
            b.call(Helper::SfenceVma, 0, [x(i.rs1), x(i.rs2), Val::C(registers | inval | b.page as i64)]);
        }
        G::SfenceWInval | G::SfenceInvalIr => b.call(Helper::SfenceInval, 0, [zero, zero, raw]),
        _ => return false,
    }
    true
}
