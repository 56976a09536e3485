//! Zicbom, Zicbop and Zicboz.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{Builder, Helper, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let raw = Val::C(i64::from(i.raw));
    let kind = match i.op {
        G::CboInval => 0,
        G::CboClean => 1,
        G::CboFlush => 2,
        G::CboZero => {
            b.call(Helper::CboZero, 0, [x(i.rs1), Val::C(0), raw]);
            return true;
        }
        // Prefetches are hints without effect on architectural state.
        G::PrefetchI | G::PrefetchR | G::PrefetchW => return true,
        _ => return false,
    };
    b.call(Helper::CboManage, 0, [x(i.rs1), Val::C(kind), raw]);
    true
}
