//! Control and status registers (see `csr::inline`).

use arch::csr::mstatus;

use super::asm::{Alu, Cc, Reg, Shift};
use super::*;
use crate::tcg::csr::{CsrOp, Live};
use crate::tcg::ir::{Gated, Helper, csr_code};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

/// The bits of `sstatus` that may change without anything but interrupts having to be looked at.
const QUIET: u64 = mstatus::SIE | mstatus::SPIE | mstatus::SPP;
/// The other bits of `sstatus` that may be writable, according to the ISA: a change of one is for Rust.
const LOUD: u64 = mstatus::SPELP | mstatus::SDT | mstatus::VS | mstatus::FS | mstatus::SUM | mstatus::MXR;

impl Backend {
    /// A CSR instruction that is not a mere call.
    pub(super) fn csr(&mut self, op: &Op) {
        match *op {
            Op::ReadState { d, field } => {
                let t = self.target_reg(d, &[]);
                self.asm.mov(true, t, super::field(offset_of!(Hart, s) + field.offset()));
                self.finish(d, t);
            }
            Op::WriteState { field, src } => {
                let to = super::field(offset_of!(Hart, s) + field.offset());
                match self.loc(src) {
                    Loc::Imm(i) if i32::try_from(i).is_ok() => self.asm.store_imm(8, to, i as i32),
                    _ => {
                        let r = self.in_reg(A, src);
                        self.asm.store(8, to, r);
                    }
                }
            }
            Op::ReadGated { d, what, .. } => {
                self.asm.test_byte(BY_CALL, what.gate() as u8);
                let shut = self.asm.jcc_forward(Cc::Ne);
                self.stub(shut, StubKind::Slow(*op));
                self.read_gated(d, what);
                self.land_stubs(op);
            }
            Op::Status { d, kind, write, src, .. } => {
                self.asm.mov(true, A, STATUS);
                if write {
                    self.change_status(op, kind, src);
                }
                if let Some(d) = d {
                    self.status_value();
                    self.finish(d, A);
                }
                self.land_stubs(op);
            }
            _ => unreachable!("an operation on CSRs"),
        }
    }

    fn read_gated(&mut self, d: Dst, what: Gated) {
        let offset = match what {
            Gated::Word(word, _) => {
                let t = self.target_reg(d, &[]);
                self.asm.mov(true, t, super::field(offset_of!(Hart, s) + word.offset()));
                return self.finish(d, t);
            }
            Gated::Live(Live::Time) => {
                self.set_cur();
                self.call_out(self.thunks.time);
                return self.finish(d, A);
            }
            Gated::Live(Live::Cycle) => CYCLE_OFFSET,
            Gated::Live(Live::Instret) => INSTRET_OFFSET,
        };
        let t = self.target_reg(d, &[]);
        self.asm.mov(true, t, RETIRED);
        self.asm.alu(Alu::Add, true, t, offset);
        self.add_imm(t, i64::from(self.cur >> 16));
        self.finish(d, t);
    }

    /// Changes `mstatus`, whose value is in RAX and stays there, by a CSR instruction on `sstatus`.
    fn change_status(&mut self, op: &Op, kind: CsrOp, src: Val) {
        // The bits that change go to RCX.
        self.load_to(D, src);
        match kind {
            CsrOp::Rw => self.asm.alu(Alu::Xor, true, D, A),
            CsrOp::Rs => {
                self.asm.mov(true, C, A);
                self.asm.not(C);
                self.asm.alu(Alu::And, true, D, C);
            }
            CsrOp::Rc => self.asm.alu(Alu::And, true, D, A),
        }
        self.asm.alu_imm(Alu::And, false, D, (QUIET | LOUD) as i32);
        self.asm.test_imm(D, LOUD as i32);
        let loud = self.asm.jcc_forward(Cc::Ne);
        self.stub(loud, StubKind::Slow(*op));
        // While a trap is not welcome, SIE stays clear.
        self.asm.test_imm(A, mstatus::SDT as i32);
        let unwelcome = self.asm.jcc_forward(Cc::Ne);
        self.stub(unwelcome, StubKind::Slow(*op));
        if kind != CsrOp::Rc {
            self.asm.test_low(D, mstatus::SIE as u8);
            let same = self.asm.jcc_forward(Cc::E);
            // One that is held back, or has come since the last poll: this write has to look at once.
            self.asm.test_byte(HELD, 1);
            let pending = self.asm.jcc_forward(Cc::Ne);
            self.stub(pending, StubKind::Slow(*op));
            self.asm.alu_imm(Alu::Cmp, false, POLL, 0);
            let unseen = self.asm.jcc_forward(Cc::Ne);
            self.stub(unseen, StubKind::Slow(*op));
            self.asm.bind(same);
        }
        self.asm.alu_store(Alu::Xor, STATUS, D);
    }

    /// From `mstatus` in RAX what `sstatus` reads.
    fn status_value(&mut self) {
        // SD: both bits of a field are set. Of VS, FS and XS the upper one meets the lower one in place of that.
        const LOWER: u64 = 1 << mstatus::VS_SHIFT | 1 << mstatus::FS_SHIFT | (mstatus::XS & mstatus::XS.wrapping_neg());
        self.asm.mov(false, C, A);
        self.asm.shift_imm(Shift::Shr, false, C, 1);
        self.asm.alu(Alu::And, false, C, A);
        self.asm.alu_imm(Alu::And, false, C, LOWER as i32);
        // The carry of 0 - RCX, in bit 63.
        self.asm.neg(false, C);
        self.asm.carry_mask(C);
        self.asm.shift_imm(Shift::Shl, true, C, 63);
        self.asm.mov_imm_keep_flags(D, (mstatus::SSTATUS & !mstatus::SD | mstatus::SDT | mstatus::SPELP) as i64);
        self.asm.alu(Alu::And, true, A, D);
        self.asm.alu(Alu::Or, true, A, C);
    }

    /// The call that stands in for an operation.
    pub(super) fn csr_slow(&mut self, op: &Op) {
        let (helper, d, kind, write, src, raw) = match *op {
            Op::ReadGated { d, raw, .. } => (Helper::Csr, Some(d), CsrOp::Rs, false, Val::C(0), raw),
            Op::Status { d, kind, write, src, raw } => (Helper::Status, d, kind, write, src, raw),
            _ => unreachable!("an operation that may be a call"),
        };
        self.load_to(D, src);
        self.asm.mov_imm(A, csr_code(kind, write, raw));
        self.asm.mov_imm(C, i64::from(raw));
        let thunk = self.thunks.helper(helper);
        self.call_out(thunk);
        if let Some(d) = d {
            self.finish(d, A);
        }
    }
}
