//! Scalar floating point: host instructions where they mean the same, software where they do not.
//!
//! The guest's flags stay sticky in MXCSR, which maps to `fflags` bit by bit; both detect underflow after
//! rounding. Where the result is a NaN the host has raised what the specification asks for, but for one case of fused
//! operations, and a stub makes it the canonical NaN. Saturating conversions, minima of equal or unordered operands and
//! static rounding modes that `frm` does not happen to have are done in software, by stubs that come before the host
//! has raised anything that the specification would not raise. An operand that is not NaN-boxed leaves the
//! instruction to the interpreter, so that the block knows from there on that it is boxed.
//!
//! What is in which XMM register is `f_regs`'s; the encodings are in `asm_fp`.

use super::asm::{Alu, Cc, Reg, Rm as Place, Xmm};
use super::asm_fp::scalar;
use super::thunks::fp_code;
use super::*;
use crate::tcg::helpers::softfloat::{self, Fmt, FpKind, FpOp, Rm};
use crate::tcg::ir::{FDst, FVal, fp_check};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;
const X0: Xmm = Xmm(0);
const X1: Xmm = Xmm(1);

/// ROUNDSD and ROUNDSS: by MXCSR, and without raising inexact.
const BY_MXCSR: u8 = 4;
const QUIETLY: u8 = 8;

/// The immediate of ROUNDSD for a static mode; the host has none for RMM.
fn rounding(rm: Rm) -> Option<u8> {
    Some(match rm {
        Rm::Rne => 0,
        Rm::Rdn => 1,
        Rm::Rup => 2,
        Rm::Rtz => 3,
        Rm::Rmm => return None,
    })
}

impl Backend {
    pub(super) fn fp(&mut self, whole: &Op, op: FpOp, rm: Option<Rm>, d: FDst, sources: [FVal; 3]) {
        let native = matches!(op.fmt, Fmt::S | Fmt::D)
            && match (d, sources) {
                (FDst::F(d), [FVal::F(a), b, c]) => {
                    let b = if let FVal::F(b) = b { b } else { a };
                    let c = if let FVal::F(c) = c { c } else { a };
                    self.fp_to_f(whole, op, rm, d, [a, b, c])
                }
                (FDst::F(d), [FVal::X(a), ..]) => self.fp_from_x(whole, op, rm, d, a),
                (FDst::F(d), [FVal::C(n), ..]) if op.kind == FpKind::Li => {
                    let bits = softfloat::exec(op, n.into(), 0, 0, Rm::Rne, &mut 0);
                    self.asm.mov_imm(A, bits as i64);
                    let x = self.f_target(d);
                    self.fmov_from(true, x, A);
                    self.f_written(d, x, op.fmt == Fmt::D, false);
                    true
                }
                (FDst::X(d), [FVal::F(a), b, _]) => {
                    let b = if let FVal::F(b) = b { b } else { a };
                    self.fp_to_x(whole, op, rm, d, [a, b])
                }
                _ => false,
            };
        if !native {
            self.fp_call(whole);
        }
        self.land_stubs(whole);
    }

    /// From f registers to an f register; `false` if the host has nothing for it.
    fn fp_to_f(&mut self, whole: &Op, op: FpOp, rm: Option<Rm>, d: u8, [a, b, c]: [u8; 3]) -> bool {
        let double = op.fmt == Fmt::D;
        let singles = match op.kind {
            FpKind::FromS => true,
            FpKind::FromD | FpKind::FromH | FpKind::FromBf16 => false,
            _ => !double,
        };
        if singles {
            // Before any way to software, which would not mind.
            [a, b, c].into_iter().for_each(|r| self.check_box(r));
        }
        match op.kind {
            FpKind::Add | FpKind::Sub | FpKind::Mul | FpKind::Div if self.rounds_natively(whole, rm) => {
                let opcode = match op.kind {
                    FpKind::Add => 0x58,
                    FpKind::Mul => 0x59,
                    FpKind::Sub => 0x5c,
                    _ => 0x5e,
                };
                self.arith(opcode, double, d, a, b);
            }
            FpKind::Sqrt if self.rounds_natively(whole, rm) => {
                let a = self.operand(double, a);
                let x = self.f_target(d);
                self.fop_upper(0x51, double, x, a);
                self.nan_to_stub(double, x);
                self.f_written(d, x, double, !double);
            }
            FpKind::Madd | FpKind::Msub | FpKind::Nmsub | FpKind::Nmadd
                if self.features.fma && self.rounds_natively(whole, rm) =>
            {
                self.fma(op.kind, double, d, [a, b, c]);
            }
            FpKind::Min | FpKind::Max | FpKind::Minm | FpKind::Maxm => {
                let least = matches!(op.kind, FpKind::Min | FpKind::Minm);
                self.min_max(whole, least, double, d, a, b);
            }
            FpKind::Sgnj | FpKind::Sgnjn | FpKind::Sgnjx => self.sign(op.kind, double, d, a, b),
            FpKind::FromS if double => {
                let a = self.operand(false, a);
                let x = self.f_target(d);
                self.fop_upper(0x5a, false, x, a);
                self.nan_to_stub(true, x);
                self.f_written(d, x, true, false);
            }
            FpKind::FromD if !double && self.rounds_natively(whole, rm) => {
                let a = self.operand(true, a);
                let x = self.f_target(d);
                self.fop_upper(0x5a, true, x, a);
                self.nan_to_stub(false, x);
                self.f_written(d, x, false, true);
            }
            FpKind::Round | FpKind::RoundNx if self.features.sse41 => {
                let Some(mode) = rm.map_or(Some(BY_MXCSR), rounding) else { return false };
                let quietly = if op.kind == FpKind::Round { QUIETLY } else { 0 };
                let a = self.operand(double, a);
                let x = self.f_target(d);
                self.fround(double, x, a, mode | quietly);
                self.nan_to_stub(double, x);
                self.f_written(d, x, double, !double);
            }
            _ => return false,
        }
        true
    }

    /// From an x register to an f register.
    fn fp_from_x(&mut self, whole: &Op, op: FpOp, rm: Option<Rm>, d: u8, a: u8) -> bool {
        let double = op.fmt == Fmt::D;
        let src = crate::tcg::ir::x(a);
        match op.kind {
            FpKind::MvToF => {
                let r = self.in_reg(A, src);
                let x = self.f_target(d);
                self.fmov_from(double, x, r);
                self.f_written(d, x, double, !double);
                return true;
            }
            // Exact whatever the rounding mode.
            FpKind::FromW | FpKind::FromWu if double => {}
            FpKind::FromW | FpKind::FromWu | FpKind::FromL | FpKind::FromLu if self.rounds_natively(whole, rm) => {}
            FpKind::FromL if rm.is_some() => {
                // Exact too where it has no more digits than the format.
                let digits = if double { 53 } else { 24 };
                self.load_to(A, src);
                self.asm.mov_imm(C, 1 << digits);
                self.asm.alu(Alu::Add, true, A, C);
                self.asm.shift_imm(asm::Shift::Shr, true, A, digits + 1);
                let from = self.asm.jcc_forward(Cc::Ne);
                self.stub(from, StubKind::Slow(*whole));
            }
            _ => return false,
        }
        let r = match op.kind {
            FpKind::FromWu => {
                let r = self.in_reg(A, src);
                self.asm.mov(false, A, r);
                A
            }
            _ => self.in_reg(A, src),
        };
        if op.kind == FpKind::FromLu {
            self.asm.test(true, r, r);
            let from = self.asm.jcc_forward(Cc::L);
            self.stub(from, StubKind::Slow(*whole));
        }
        let x = self.f_target(d);
        self.ffrom_int(double, op.kind != FpKind::FromW, x, r);
        self.f_written(d, x, double, !double);
        true
    }

    /// From f registers to an x register.
    fn fp_to_x(&mut self, whole: &Op, op: FpOp, rm: Option<Rm>, d: u8, [a, b]: [u8; 2]) -> bool {
        let double = op.fmt == Fmt::D;
        match op.kind {
            FpKind::Eq | FpKind::Lt | FpKind::Le | FpKind::Ltq | FpKind::Leq => {
                self.compare_fp(op.kind, double, d, a, b);
            }
            FpKind::MvToX => {
                if d != 0 {
                    let dst = Dst::X(d);
                    let t = self.target_reg(dst, &[]);
                    match self.f_bits(a, double) {
                        Place::M(m) => self.asm.extend(if double { 8 } else { 4 }, true, t, m),
                        Place::X(x) => {
                            self.fmov_to(double, t, x);
                            if !double {
                                self.asm.extend(4, true, t, t);
                            }
                        }
                        Place::R(_) => unreachable!("f registers are in no general register"),
                    }
                    self.finish(dst, t);
                }
            }
            FpKind::ToW | FpKind::ToL | FpKind::ToWu | FpKind::ToLu => {
                if rm == Some(Rm::Rmm) || rm.is_some_and(|rm| rm != Rm::Rtz) && !self.features.sse41 {
                    return false;
                }
                self.fp_to_int(whole, op.kind, rm, double, d, a);
            }
            _ => return false,
        }
        true
    }

    /// Whether the host rounds as `rm` says: by `frm`, or to nearest while `frm` says so too, which is looked at.
    fn rounds_natively(&mut self, whole: &Op, rm: Option<Rm>) -> bool {
        match rm {
            None => true,
            Some(Rm::Rne) => {
                self.asm.test_byte(FP_MISSING, fp_check::NEAREST_FRM);
                let from = self.asm.jcc_forward(Cc::Ne);
                self.stub(from, StubKind::Slow(*whole));
                true
            }
            Some(_) => false,
        }
    }

    fn operand(&mut self, double: bool, r: u8) -> Place {
        if double { self.f_read(r) } else { self.f_read_single(r) }
    }

    /// The operand in a register, `scratch` if it is in none; a single has its box there or is narrow.
    fn in_xmm(&mut self, place: Place, scratch: Xmm) -> Xmm {
        match place {
            Place::X(x) => x,
            Place::M(m) => {
                self.fmov_load(true, scratch, m);
                scratch
            }
            Place::R(_) => unreachable!("f registers are in no general register"),
        }
    }

    /// A NaN in `x` becomes the canonical one.
    fn nan_to_stub(&mut self, double: bool, x: Xmm) {
        self.fcompare(0x2e, double, x, x);
        let from = self.asm.jcc_forward(Cc::P);
        self.stub(from, StubKind::Nan { x, double, product: None });
    }

    /// `x` = the canonical NaN. A product that cannot be is invalid even if the addend is a NaN, which the host does not
    /// say.
    pub(super) fn canonical_nan(&mut self, x: Xmm, double: bool, product: Option<[Place; 2]>) {
        if let Some([a, b]) = product {
            // Whatever else the product alone raises is taken back.
            self.asm.stmxcsr(MXCSR);
            let a = self.in_xmm(a, X1);
            self.fop(scalar(double), 0x59, X1, a, b);
            self.asm.stmxcsr(FP_SCRATCH);
            self.asm.mov(false, A, FP_SCRATCH);
            self.asm.alu_imm(Alu::And, false, A, 1);
            self.asm.alu(Alu::Or, false, A, MXCSR);
            self.asm.store(4, FP_SCRATCH, A);
            self.asm.ldmxcsr(FP_SCRATCH);
        }
        let bits = if double { 0x7ff8_0000_0000_0000 } else { 0xffff_ffff_7fc0_0000u64 };
        self.asm.mov_imm(A, bits as i64);
        self.fmov_from(true, x, A);
    }

    fn arith(&mut self, opcode: u8, double: bool, d: u8, a: u8, b: u8) {
        let (mut pa, mut pb) = (self.operand(double, a), self.operand(double, b));
        // The upper part comes from the first: better one with its box.
        let commutes = matches!(opcode, 0x58 | 0x59);
        let narrow = |s: &Self, r| !double && s.f_is_narrow(r);
        let mut first = a;
        if commutes && (narrow(self, a) && !narrow(self, b) || matches!(pa, Place::M(_))) {
            (pa, pb, first) = (pb, pa, b);
        }
        let (x, narrow) = (self.f_target(d), narrow(self, first));
        let pa = self.in_xmm(pa, X0);
        self.fop(scalar(double), opcode, x, pa, pb);
        self.nan_to_stub(double, x);
        self.f_written(d, x, double, narrow);
    }

    /// The factors survive until it is known that the result is a number.
    fn fma(&mut self, kind: FpKind, double: bool, d: u8, [a, b, c]: [u8; 3]) {
        let [pa, pb, pc] = [a, b, c].map(|r| self.operand(double, r));
        let own = self.f_target(d);
        // The forms differ in which operand is overwritten: the addend (231) or a copy of the first factor (213).
        let at_addend = pc == Place::X(own) && pa != pc && pb != pc;
        let form = match kind {
            FpKind::Madd => 0xa9,
            FpKind::Msub => 0xab,
            FpKind::Nmsub => 0xad,
            _ => 0xaf,
        };
        let (x, narrow) = if at_addend {
            let a = self.in_xmm(pa, X1);
            self.ffma(form + 0x10, double, own, a, pb);
            (own, !double && self.f_is_narrow(c))
        } else {
            let x = if [pa, pb, pc].contains(&Place::X(own)) { X0 } else { own };
            match pa {
                Place::X(a) => self.fmov(x, a),
                _ => _ = self.in_xmm(pa, x),
            }
            let b = self.in_xmm(pb, X1);
            self.ffma(form, double, x, b, pc);
            (x, !double && self.f_is_narrow(a))
        };
        self.fcompare(0x2e, double, x, x);
        let from = self.asm.jcc_forward(Cc::P);
        self.stub(from, StubKind::Nan { x, double, product: Some([pa, pb]) });
        self.f_written(d, x, double, narrow);
    }

    fn min_max(&mut self, whole: &Op, least: bool, double: bool, d: u8, a: u8, b: u8) {
        let (pa, pb) = (self.operand(double, a), self.operand(double, b));
        let pa = self.in_xmm(pa, X0);
        // The host's instruction takes the second of equal operands, zeros of either sign among them, and raises
        // invalid for every NaN.
        self.fcompare(0x2e, double, pa, pb);
        let from = self.asm.jcc_forward(Cc::E);
        let x = self.f_target(d);
        self.stub(from, StubKind::Slow(*whole));
        let narrow = !double && self.f_is_narrow(a);
        self.fop(scalar(double), if least { 0x5d } else { 0x5f }, x, pa, pb);
        self.f_written(d, x, double, narrow);
    }

    fn sign(&mut self, kind: FpKind, double: bool, d: u8, a: u8, b: u8) {
        let (pa, pb) = (self.operand(double, a), self.operand(double, b));
        let (sign, rest) =
            if double { (FConst::SignDouble, FConst::RestDouble) } else { (FConst::SignSingle, FConst::RestSingle) };
        let narrow = !double && self.f_is_narrow(a);
        let (own, pa) = (self.f_target(d), self.in_xmm(pa, X0));
        let (and, or, xor) = (0x54, 0x56, 0x57);
        let x = match (kind, a == b) {
            (FpKind::Sgnj, true) => pa,
            (FpKind::Sgnjn, true) => {
                self.fop(0, xor, own, pa, f_const(sign));
                own
            }
            (FpKind::Sgnjx, true) => {
                self.fop(0, and, own, pa, f_const(rest));
                own
            }
            _ => {
                // Only the sign of b counts.
                let pb = self.in_xmm(pb, X1);
                self.fop(0, and, X1, pb, f_const(sign));
                if kind == FpKind::Sgnjn {
                    self.fop(0, xor, X1, X1, f_const(sign));
                }
                if kind == FpKind::Sgnjx {
                    self.fop(0, xor, own, pa, X1);
                } else {
                    self.fop(0, and, X0, pa, f_const(rest));
                    self.fop(0, or, own, X0, X1);
                }
                own
            }
        };
        self.f_written(d, x, double, narrow);
    }

    fn compare_fp(&mut self, kind: FpKind, double: bool, d: u8, a: u8, b: u8) {
        let (pa, pb) = (self.operand(double, a), self.operand(double, b));
        // a < b is asked as b > a: "above" is false for unordered operands.
        let (first, second) = if kind == FpKind::Eq { (pa, pb) } else { (pb, pa) };
        let first = self.in_xmm(first, X0);
        // UCOMIS flags signalling NaNs only, COMIS every NaN.
        let opcode = if matches!(kind, FpKind::Lt | FpKind::Le) { 0x2f } else { 0x2e };
        self.fcompare(opcode, double, first, second);
        if d == 0 {
            return;
        }
        match kind {
            FpKind::Eq => {
                self.asm.setcc_byte(Cc::Np, A);
                self.asm.setcc_byte(Cc::E, C);
                self.asm.alu(Alu::And, false, A, C);
                self.asm.extend(1, false, A, A);
            }
            FpKind::Lt | FpKind::Ltq => self.asm.setcc(Cc::A, A),
            _ => self.asm.setcc(Cc::Ae, A),
        }
        self.finish(Dst::X(d), A);
    }

    /// The value has to be a number in range in any rounding mode, else software decides, before a flag is raised.
    fn fp_to_int(&mut self, whole: &Op, kind: FpKind, rm: Option<Rm>, double: bool, d: u8, a: u8) {
        let source = self.operand(double, a);
        let unsigned = matches!(kind, FpKind::ToWu | FpKind::ToLu);
        if unsigned {
            let x = self.in_xmm(source, X1);
            self.fop(0, 0x57, X0, X0, X0);
            self.fcompare(0x2e, double, x, X0);
            let from = self.asm.jcc_forward(Cc::B);
            self.stub(from, StubKind::Slow(*whole));
            let largest = match (kind, double) {
                (FpKind::ToWu, true) => FConst::LargestWuDouble,
                (FpKind::ToWu, false) => FConst::LargestWuSingle,
                (_, true) => FConst::LargestLDouble,
                (_, false) => FConst::LargestLSingle,
            };
            self.fcompare(0x2e, double, x, f_const(largest));
            let from = self.asm.jcc_forward(Cc::A);
            self.stub(from, StubKind::Slow(*whole));
        }
        let wide = kind != FpKind::ToW;
        // What is whole already is truncated to itself; what was not says so afterwards.
        let rounded = match rm {
            Some(rm) if rm != Rm::Rtz => {
                let mode = rounding(rm).expect("RMM is done in software");
                self.fround(double, X0, source, mode | QUIETLY);
                Place::X(X0)
            }
            _ => source,
        };
        let by_mxcsr = rm.is_none();
        self.fto_int(double, wide, by_mxcsr, A, rounded);
        if !unsigned {
            // The host answers the most negative number whenever the value does not fit.
            self.asm.mov_imm(C, if wide { i64::MIN } else { i64::from(i32::MIN as u32) });
            self.asm.alu(Alu::Cmp, wide, A, C);
            let from = self.asm.jcc_forward(Cc::E);
            self.stub(from, StubKind::Slow(*whole));
        }
        if rounded != source {
            self.fto_int(double, true, false, D, source);
        }
        if d != 0 {
            if matches!(kind, FpKind::ToW | FpKind::ToWu) {
                self.asm.extend(4, true, A, A);
            }
            self.finish(Dst::X(d), A);
        }
    }

    /// The operation in software, inline.
    fn fp_call(&mut self, whole: &Op) {
        self.set_cur();
        self.f_forget();
        self.fp_slow(whole);
        if let Op::Fp { op, d: FDst::F(d), .. } = *whole {
            self.f_stored(d, op.fmt != Fmt::S);
        }
    }

    /// From and to memory.
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
