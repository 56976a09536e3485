//! Scalar floating point: host instructions where they mean the same, software where they do not.
//!
//! The guest's flags stay sticky in MXCSR, which maps to `fflags` bit by bit; both detect underflow after
//! rounding. A NaN result, an operand that is not NaN-boxed, a conversion that saturates: the operation is done
//! again in software, from operands that are still there, so that the canonical NaN, the flags and the saturated
//! value come from one place. What the host has flagged by then, the specification flags too.

use super::asm::{Alu, Cc, Reg, Xmm};
use super::emit_mem::upper;
use super::thunks::fp_code;
use super::*;
use crate::tcg::helpers::softfloat::{Fmt, FpKind, FpOp, Rm};
use crate::tcg::ir::{FDst, FVal};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;
const X0: Xmm = Xmm(0);
const X1: Xmm = Xmm(1);

impl Backend {
    pub(super) fn fp(&mut self, whole: &Op, op: FpOp, rm: Option<Rm>, d: FDst, [a, b, c]: [FVal; 3]) {
        if !matches!(op.fmt, Fmt::S | Fmt::D) {
            return self.fp_call(whole);
        }
        let double = op.fmt == Fmt::D;
        match (op.kind, d, a, b, c) {
            (FpKind::Add, FDst::F(d), FVal::F(a), FVal::F(b), _) if rm.is_none() => {
                self.arith(whole, 0x58, double, d, a, Some(b))
            }
            (FpKind::Sub, FDst::F(d), FVal::F(a), FVal::F(b), _) if rm.is_none() => {
                self.arith(whole, 0x5c, double, d, a, Some(b))
            }
            (FpKind::Mul, FDst::F(d), FVal::F(a), FVal::F(b), _) if rm.is_none() => {
                self.arith(whole, 0x59, double, d, a, Some(b))
            }
            (FpKind::Div, FDst::F(d), FVal::F(a), FVal::F(b), _) if rm.is_none() => {
                self.arith(whole, 0x5e, double, d, a, Some(b))
            }
            (FpKind::Sqrt, FDst::F(d), FVal::F(a), ..) if rm.is_none() => self.arith(whole, 0x51, double, d, a, None),
            (
                FpKind::Madd | FpKind::Msub | FpKind::Nmsub | FpKind::Nmadd,
                FDst::F(d),
                FVal::F(a),
                FVal::F(b),
                FVal::F(c),
            ) if rm.is_none() && self.features.fma => self.fma(whole, op.kind, double, d, [a, b, c]),
            (FpKind::Eq | FpKind::Lt | FpKind::Le, FDst::X(d), FVal::F(a), FVal::F(b), _) => {
                self.compare_fp(whole, op.kind, double, d, a, b)
            }
            (FpKind::Sgnj | FpKind::Sgnjn | FpKind::Sgnjx, FDst::F(d), FVal::F(a), FVal::F(b), _) => {
                self.sign(whole, op.kind, double, d, a, b)
            }
            (FpKind::MvToF, FDst::F(d), FVal::X(a), ..) => {
                let r = self.in_reg(A, crate::tcg::ir::x(a));
                self.put_fmt(d, double, r);
            }
            (FpKind::MvToX, FDst::X(d), FVal::F(a), ..) if d != 0 => {
                let d = Dst::X(d);
                let t = self.target_reg(d, &[]);
                self.asm.extend(if double { 8 } else { 4 }, true, t, f_slot(a));
                self.finish(d, t);
            }
            (FpKind::FromW | FpKind::FromWu | FpKind::FromL, FDst::F(d), FVal::X(a), ..)
                if rm.is_none() || double && op.kind != FpKind::FromL =>
            {
                let wide = op.kind != FpKind::FromW;
                let src = self.in_reg(A, crate::tcg::ir::x(a));
                let src = if op.kind == FpKind::FromWu {
                    self.asm.mov(false, A, src);
                    A
                } else {
                    src
                };
                // The host's conversion keeps the upper part of the register: clear it, not to wait for it.
                self.asm.sse(0, 0x57, false, 0, X0);
                self.asm.sse(if double { 0xf2 } else { 0xf3 }, 0x2a, wide, 0, src);
                self.put_xmm(d, double);
            }
            (FpKind::ToW | FpKind::ToL, FDst::X(d), FVal::F(a), ..) if matches!(rm, None | Some(Rm::Rtz)) => {
                self.fp_to_int(whole, op.kind == FpKind::ToL, rm.is_some(), double, d, a)
            }
            (FpKind::FromS, FDst::F(d), FVal::F(a), ..) if double => {
                self.check_box(whole, a);
                self.asm.sse(0xf3, 0x5a, false, 0, f_slot(a));
                self.nan_to_stub(whole, true);
                self.put_xmm(d, true);
            }
            (FpKind::FromD, FDst::F(d), FVal::F(a), ..) if !double && rm.is_none() => {
                self.asm.sse(0xf2, 0x5a, false, 0, f_slot(a));
                self.nan_to_stub(whole, false);
                self.put_xmm(d, false);
            }
            _ => return self.fp_call(whole),
        }
        self.land_stubs(whole);
    }

    /// A single-precision operand that is not boxed goes to software.
    fn check_box(&mut self, whole: &Op, f: u8) {
        self.asm.alu_imm(Alu::Cmp, false, upper(f_slot(f)), -1);
        let stub = self.asm.jcc_forward(Cc::Ne);
        self.stub(stub, StubKind::Slow(*whole));
    }

    /// A NaN in XMM0 goes to software.
    fn nan_to_stub(&mut self, whole: &Op, double: bool) {
        self.asm.sse(if double { 0x66 } else { 0 }, 0x2e, false, 0, X0);
        let stub = self.asm.jcc_forward(Cc::P);
        self.stub(stub, StubKind::Slow(*whole));
    }

    /// An f register = XMM0.
    fn put_xmm(&mut self, d: u8, double: bool) {
        self.asm.sse(if double { 0xf2 } else { 0xf3 }, 0x11, false, 0, f_slot(d));
        if !double {
            self.asm.store_imm(4, upper(f_slot(d)), -1);
        }
    }

    /// An f register = the bits of `r`.
    fn put_fmt(&mut self, d: u8, double: bool, r: Reg) {
        self.asm.store(if double { 8 } else { 4 }, f_slot(d), r);
        if !double {
            self.asm.store_imm(4, upper(f_slot(d)), -1);
        }
    }

    fn arith(&mut self, whole: &Op, opcode: u8, double: bool, d: u8, a: u8, b: Option<u8>) {
        let p = if double { 0xf2 } else { 0xf3 };
        if !double {
            self.check_box(whole, a);
            if let Some(b) = b.filter(|&b| b != a) {
                self.check_box(whole, b);
            }
        }
        match b {
            Some(b) => {
                self.asm.sse(p, 0x10, false, 0, f_slot(a));
                self.asm.sse(p, opcode, false, 0, f_slot(b));
            }
            None => {
                self.asm.sse(0, 0x57, false, 0, X0);
                self.asm.sse(p, opcode, false, 0, f_slot(a));
            }
        }
        self.nan_to_stub(whole, double);
        self.put_xmm(d, double);
    }

    fn fma(&mut self, whole: &Op, kind: FpKind, double: bool, d: u8, [a, b, c]: [u8; 3]) {
        if !double {
            [a, b, c].into_iter().for_each(|f| self.check_box(whole, f));
        }
        let p = if double { 0xf2 } else { 0xf3 };
        self.asm.sse(p, 0x10, false, 0, f_slot(a));
        self.asm.sse(p, 0x10, false, 1, f_slot(b));
        let opcode = match kind {
            FpKind::Madd => 0xa9,
            FpKind::Msub => 0xab,
            FpKind::Nmsub => 0xad,
            _ => 0xaf,
        };
        self.asm.fma213(opcode, double, X0, X1, f_slot(c));
        self.nan_to_stub(whole, double);
        self.put_xmm(d, double);
    }

    fn compare_fp(&mut self, whole: &Op, kind: FpKind, double: bool, d: u8, a: u8, b: u8) {
        if !double {
            [a, b].into_iter().for_each(|f| self.check_box(whole, f));
        }
        let p = if double { 0xf2 } else { 0xf3 };
        // a < b is asked as b > a: "above" is false for unordered operands.
        let (first, second) = if kind == FpKind::Eq { (a, b) } else { (b, a) };
        self.asm.sse(p, 0x10, false, 0, f_slot(first));
        // UCOMIS flags signalling NaNs only, COMIS every NaN.
        let opcode = if kind == FpKind::Eq { 0x2e } else { 0x2f };
        self.asm.sse(if double { 0x66 } else { 0 }, opcode, false, 0, f_slot(second));
        match kind {
            FpKind::Eq => {
                self.asm.setcc_byte(Cc::Np, A);
                self.asm.setcc_byte(Cc::E, C);
                self.asm.alu(Alu::And, false, A, C);
                self.asm.extend(1, false, A, A);
            }
            FpKind::Lt => self.asm.setcc(Cc::A, A),
            _ => self.asm.setcc(Cc::Ae, A),
        }
        if d != 0 {
            self.finish(Dst::X(d), A);
        }
    }

    fn sign(&mut self, whole: &Op, kind: FpKind, double: bool, d: u8, a: u8, b: u8) {
        if !double {
            [a, b].into_iter().for_each(|f| self.check_box(whole, f));
        }
        let bit = if double { 63 } else { 31 };
        self.asm.mov(double, A, f_slot(a));
        if a == b && kind != FpKind::Sgnj {
            // fneg and fabs.
            self.asm.bit_imm(if kind == FpKind::Sgnjn { 7 } else { 6 }, A, bit);
        } else if a != b {
            self.asm.mov(double, D, f_slot(b));
            if kind == FpKind::Sgnjn {
                self.asm.not(D);
            }
            // Only the sign of b counts.
            self.asm.shift_imm(asm::Shift::Shr, double, D, bit);
            self.asm.shift_imm(asm::Shift::Shl, double, D, bit);
            if kind != FpKind::Sgnjx {
                self.asm.bit_imm(6, A, bit);
            }
            self.asm.alu(Alu::Xor, true, A, D);
        }
        self.put_fmt(d, double, A);
    }

    fn fp_to_int(&mut self, whole: &Op, long: bool, truncate: bool, double: bool, d: u8, a: u8) {
        if !double {
            self.check_box(whole, a);
        }
        let opcode = if truncate { 0x2c } else { 0x2d };
        self.asm.sse(if double { 0xf2 } else { 0xf3 }, opcode, long, A as u8, f_slot(a));
        // The host answers the most negative number whenever the value does not fit.
        self.asm.mov_imm(C, i64::MIN);
        if !long {
            self.asm.extend(4, true, A, A);
            self.asm.shift_imm(asm::Shift::Sar, true, C, 32);
        }
        self.asm.alu(Alu::Cmp, true, A, C);
        let stub = self.asm.jcc_forward(Cc::E);
        self.stub(stub, StubKind::Slow(*whole));
        if d != 0 {
            self.finish(Dst::X(d), A);
        }
    }

    /// The operation in software, inline.
    fn fp_call(&mut self, whole: &Op) {
        self.set_cur();
        self.fp_slow(whole);
    }

    pub(super) fn fp_slow(&mut self, whole: &Op) {
        let Op::Fp { op, rm, d, a, b, c } = *whole else { unreachable!("a floating-point operation") };
        if let FVal::F(c) = c {
            self.asm.mov(true, A, f_slot(c));
            self.asm.store(8, t_slot(0), A);
        }
        for (reg, v) in [(A, a), (D, b)] {
            match v {
                FVal::F(f) => self.asm.mov(true, reg, f_slot(f)),
                FVal::X(r) => self.load_to(reg, crate::tcg::ir::x(r)),
                FVal::C(n) => self.asm.mov_imm(reg, i64::from(n)),
            }
        }
        self.asm.mov_imm(C, fp_code(op, rm));
        self.call_out(self.thunks.fp);
        match d {
            FDst::F(f) => self.asm.store(8, f_slot(f), A),
            FDst::X(0) => {}
            FDst::X(r) => self.finish(Dst::X(r), A),
        }
    }
}
