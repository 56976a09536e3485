//! Loads of regions whose address is a sum that they overwrite: look-ups in tables.
//!
//! In `add t, table, index` and `lw t, (t)` nobody but the load sees the sum, and often the next round waits for what is
//! loaded. So the addition is *put off*: LEA makes the address for the look at its page, and the host address is that of
//! the table, which is there early, and the index, which comes late. Who finds another page than the last one adds, and
//! then does the load as any, in a stub.

use super::asm::{Reg, mem_index};
use super::*;
use crate::tcg::ir::BinOp;

const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

/// A sum that was put off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    op: Op,
    base: Reg,
    index: (Reg, u8),
}

impl Backend {
    /// The sum with which `ops` begin, if it is the address of the load behind it. `recent`: whether accesses of the
    /// instruction at an offset have recent pages.
    pub(super) fn find_sum(&self, ops: &[Op], recent: impl Fn(u16) -> bool) -> Option<Sum> {
        let (&op @ Op::Bin { op: bin, d, a, b }, rest) = ops.split_first()? else { return None };
        let (Loc::Reg(to), Loc::Reg(a), Loc::Reg(b)) = (self.dst(d), self.loc(a), self.loc(b)) else { return None };
        // What is overwritten was made last.
        let (base, index) = match bin {
            BinOp::Add if a == to => (b, (a, 1)),
            BinOp::Add => (a, (b, 1)),
            BinOp::Sh1add => (b, (a, 2)),
            BinOp::Sh2add => (b, (a, 4)),
            BinOp::Sh3add => (b, (a, 8)),
            _ => return None,
        };
        let load = rest.iter().position(|op| !matches!(op, Op::Insn { .. }))?;
        let &Op::Insn { offset, .. } = rest[..load].last()? else { return None };
        let is_of = matches!(rest[load], Op::Load { d: Some(t), base, .. } if t == d && base == Val::from(d));
        (is_of && recent(offset)).then_some(Sum { op, base, index })
    }

    /// Puts `sum` off until the next operation but for marks.
    pub(super) fn put_off(&mut self, sum: Sum) {
        self.widen_for(&sum.op);
        self.note_result(&sum.op);
        self.note_late(&sum.op);
        self.sum = Some(sum);
    }

    /// The load `op` of `size` bytes, as a power of two, from `offset` bytes behind `sum`.
    pub(super) fn load_at_sum(&mut self, op: &Op, sum: Sum, offset: i32, size: u8) {
        debug_assert!(self.covers.now.is_none(), "a group of a register that was just written");
        let slot = self.recent_slot(Place { insn: self.cur as u16, offset, size, write: false });
        let (index, scale) = sum.index;
        self.asm.lea(true, D, mem_index(sum.base, index, scale, offset));
        let miss = self.outside_recent(slot);
        self.stub(miss, StubKind::Sum(*op, sum.op));
        match self.addend_reg(slot) {
            Some(r) => self.asm.lea(true, C, mem_index(r, sum.base, 1, 0)),
            None => {
                self.asm.mov(true, C, slot.addend());
                self.asm.alu(asm::Alu::Add, true, C, sum.base);
            }
        }
        self.access(op, mem_index(C, index, scale, offset));
    }

    /// Stub of such a load: what was put off, and the load.
    pub(super) fn sum_stub(&mut self, load: &Op, sum: &Op, back: usize) {
        let Op::Bin { op, d, a, b } = *sum else { unreachable!("sums are of two") };
        self.bin(op, d, a, b);
        self.recent = true;
        self.memory(load);
        self.asm.jmp(self.asm.base + back as u64);
    }
}
