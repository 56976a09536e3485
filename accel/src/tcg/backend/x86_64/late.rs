//! Shifts that are done only on the way out, see [`Op::Late`].
//!
//! Nobody behind such a shift reads its result, but who leaves the code before the register is written again has to find
//! it there. So nothing is emitted where it stands; it is remembered until then, and every stub that is jumped to from in
//! between begins by doing it. The operations between are those whose stubs leave RCX free at their starts.

use super::*;
use crate::tcg::ir::BinOp;

/// How many can be remembered; others are done where they stand.
const MAX: usize = 4;

/// What has not been done, in no order: no two write one register or read what another one writes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Late([Option<Op>; MAX]);

impl Late {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Forgets what would write `x`.
    fn drop_for(&mut self, x: u8) {
        for slot in &mut self.0 {
            if matches!(slot, Some(Op::Late { d, .. }) if *d == x) {
                *slot = None;
            }
        }
    }
}

impl Backend {
    /// Remembers `op`; `false` if it has to be done at once.
    pub(super) fn do_late(&mut self, op: &Op) -> bool {
        let Op::Late { d, .. } = *op else { return false };
        self.late.drop_for(d);
        match self.late.0.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                *slot = Some(*op);
                true
            }
            None => false,
        }
    }

    /// After `op`: what it has written need not be done any more.
    pub(super) fn note_late(&mut self, op: &Op) {
        if matches!(op, Op::Late { .. }) || self.late.is_empty() {
            return;
        }
        if let Some(Dst::X(d)) = op.operands().2 {
            self.late.drop_for(d);
        }
    }

    /// At the start of a stub.
    pub(super) fn late_in_stub(&mut self, late: Late) {
        for op in late.0.into_iter().flatten() {
            let Op::Late { op, d, a, n } = op else { continue };
            let t = if let Loc::Reg(r) = self.loc(Val::X(d)) { r } else { Reg::Rcx };
            let wide = matches!(op, BinOp::Sll | BinOp::Srl);
            let shift = if matches!(op, BinOp::Sll | BinOp::SllW) { asm::Shift::Shl } else { asm::Shift::Shr };
            match self.loc(Val::X(a)) {
                Loc::Reg(r) => self.asm.mov(wide, t, r),
                Loc::Mem(m) => self.asm.mov(wide, t, m),
                Loc::Imm(_) => unreachable!("a register is no constant"),
            }
            self.asm.shift_imm(shift, wide, t, n);
            if !wide {
                self.asm.extend(4, true, t, t);
            }
            self.finish(Dst::X(d), t);
        }
    }
}
