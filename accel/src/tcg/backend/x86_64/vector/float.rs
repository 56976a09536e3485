//! Floating-point arithmetic of single width, in single and double precision.
//!
//! The guest's rounding mode and sticky flags are in MXCSR, and both sides detect underflow after rounding: what the host
//! computes and flags for a number is what the specification says. Lanes that are not active are masked, and raise
//! nothing. A NaN (as a result; as an operand of minimum and maximum) is for the instruction's function, which has the
//! canonical NaN and the flags of a fused multiply-add of infinity, zero and a quiet NaN. It starts over from the
//! operands: no register is written before all results are there and known to be numbers. What the host has flagged
//! by then, the function flags too.
//!
//! Half precision, ties away from zero, estimates and classes are functions' work.

use super::super::FP_MISSING;
use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Operand, Row, Vop};
use super::super::asm::{Cc, Rm, Xmm};
use super::lanes::{Active, MOVE, Part, SPREAD, mask_load};
use super::*;
use crate::tcg::ir::fp_check;

/// Of single and of double precision.
type ByFormat = [&'static Row; 2];

/// How the result comes from vs2 (`a`), vs1 or a scalar (`b`) and the old vd (`d`).
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `a op b`, `b op a`.
    Plain(ByFormat),
    Reverse(ByFormat),
    Sqrt,
    /// `b * a` and `d` with their signs, `b * d` and `a`.
    Accumulate(ByFormat),
    Multiply(ByFormat),
    Min,
    Max,
    /// `a` with a sign made of those of `a` and `b`, by the table of a bitwise operation on `b`, the sign bit, `a`.
    Sign(u8),
    /// `b` where v0 has a bit, else `a`.
    Merge,
    /// `b`.
    Splat,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    /// The second operand is vs1, else an f register (or none).
    vector: bool,
}

const ADD: ByFormat = [VADDPS, VADDPD];
const SUB: ByFormat = [VSUBPS, VSUBPD];
const MUL: ByFormat = [VMULPS, VMULPD];
const DIV: ByFormat = [VDIVPS, VDIVPD];
/// The bit of `b` where the sign is, elsewhere `a`.
const SGNJ: u8 = 0xe2;
const SGNJN: u8 = 0x2e;
const SGNJX: u8 = 0x6a;
/// Predicates of comparisons: unordered, which no quiet NaN flags.
pub const UNORDERED: u8 = 3;

fn kind(op: G) -> Option<(Kind, bool)> {
    const V: bool = true;
    const F: bool = false;
    Some(match op {
        G::VfaddVv => (Kind::Plain(ADD), V),
        G::VfaddVf => (Kind::Plain(ADD), F),
        G::VfsubVv => (Kind::Plain(SUB), V),
        G::VfsubVf => (Kind::Plain(SUB), F),
        G::VfrsubVf => (Kind::Reverse(SUB), F),
        G::VfmulVv => (Kind::Plain(MUL), V),
        G::VfmulVf => (Kind::Plain(MUL), F),
        G::VfdivVv => (Kind::Plain(DIV), V),
        G::VfdivVf => (Kind::Plain(DIV), F),
        G::VfrdivVf => (Kind::Reverse(DIV), F),
        G::VfsqrtV => (Kind::Sqrt, F),
        G::VfminVv => (Kind::Min, V),
        G::VfminVf => (Kind::Min, F),
        G::VfmaxVv => (Kind::Max, V),
        G::VfmaxVf => (Kind::Max, F),
        G::VfsgnjVv => (Kind::Sign(SGNJ), V),
        G::VfsgnjVf => (Kind::Sign(SGNJ), F),
        G::VfsgnjnVv => (Kind::Sign(SGNJN), V),
        G::VfsgnjnVf => (Kind::Sign(SGNJN), F),
        G::VfsgnjxVv => (Kind::Sign(SGNJX), V),
        G::VfsgnjxVf => (Kind::Sign(SGNJX), F),
        G::VfmaccVv => (Kind::Accumulate([VFMADD231PS, VFMADD231PD]), V),
        G::VfmaccVf => (Kind::Accumulate([VFMADD231PS, VFMADD231PD]), F),
        G::VfnmaccVv => (Kind::Accumulate([VFNMSUB231PS, VFNMSUB231PD]), V),
        G::VfnmaccVf => (Kind::Accumulate([VFNMSUB231PS, VFNMSUB231PD]), F),
        G::VfmsacVv => (Kind::Accumulate([VFMSUB231PS, VFMSUB231PD]), V),
        G::VfmsacVf => (Kind::Accumulate([VFMSUB231PS, VFMSUB231PD]), F),
        G::VfnmsacVv => (Kind::Accumulate([VFNMADD231PS, VFNMADD231PD]), V),
        G::VfnmsacVf => (Kind::Accumulate([VFNMADD231PS, VFNMADD231PD]), F),
        G::VfmaddVv => (Kind::Multiply([VFMADD213PS, VFMADD213PD]), V),
        G::VfmaddVf => (Kind::Multiply([VFMADD213PS, VFMADD213PD]), F),
        G::VfnmaddVv => (Kind::Multiply([VFNMSUB213PS, VFNMSUB213PD]), V),
        G::VfnmaddVf => (Kind::Multiply([VFNMSUB213PS, VFNMSUB213PD]), F),
        G::VfmsubVv => (Kind::Multiply([VFMSUB213PS, VFMSUB213PD]), V),
        G::VfmsubVf => (Kind::Multiply([VFMSUB213PS, VFMSUB213PD]), F),
        G::VfnmsubVv => (Kind::Multiply([VFNMADD213PS, VFNMADD213PD]), V),
        G::VfnmsubVf => (Kind::Multiply([VFNMADD213PS, VFNMADD213PD]), F),
        G::VfmergeVfm => (Kind::Merge, F),
        G::VfmvVF => (Kind::Splat, F),
        _ => return None,
    })
}

/// Whether the host computes with elements of this width as the hart does.
pub fn native(v: &Vectors, sew: u8) -> bool {
    sew == 2 || sew == 3 && v.unit.double
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, vector) = kind(i.op)?;
    i.s.check_same(&i.c, vector).ok()?;
    native(v, i.s.sew).then_some(Plan { kind, vector })
}

/// Lanes with a NaN: of this chunk, of all so far.
const NAN: K = K(3);
const NANS: K = K(4);

/// The instruction on the active lanes alone; the others keep what the destination holds.
pub fn on(row: &'static Row, len: Len, active: Active) -> Vop {
    match active {
        Active::All => row.len(len),
        Active::By(k) => row.len(len).k(k),
        Active::Lanes(_) => unreachable!("there are opmasks"),
    }
}

/// Scratch registers.
#[derive(Debug, Clone, Copy)]
pub struct Regs {
    /// The scalar in all elements.
    pub b: Xmm,
    pub t: Xmm,
    pub u: Xmm,
}

impl Vectors {
    /// Beside the results.
    pub(super) fn regs(&self) -> Regs {
        let [b, t, u] = if self.avx512() { [20, 21, 22] } else { [1, 2, 3] };
        Regs { b: Xmm(b), t: Xmm(t), u: Xmm(u) }
    }

    /// For the result of chunk `n`. There are four.
    pub(super) fn result(&self, n: usize) -> Xmm {
        if self.avx512() { Xmm(16 + n as u8) } else { Xmm([0, 10, 11, 12][n]) }
    }
}

impl Backend {
    /// Leaves the instruction to its function unless what it asks of floating point is there.
    pub(super) fn fp_ready(&mut self, i: &Insn, checks: u8) {
        self.asm.test_byte(FP_MISSING, checks);
        self.slow_if(i, Cc::Ne);
    }

    /// Leaves it to its function if the condition holds.
    pub(super) fn slow_if(&mut self, i: &Insn, cc: Cc) {
        let found = self.asm.jcc_forward(cc);
        self.stub(found, StubKind::Slow(i.whole));
    }

    /// The f register that rs1 names. A single that is not boxed is for the interpreter.
    pub(super) fn f_operand(&mut self, i: &Insn) -> Rm {
        let r = i.c.vs1() as u8;
        if i.s.sew == 2 { self.f_read_single(r) } else { self.f_read(r) }
    }

    /// All elements of `to` = the f register that rs1 names.
    pub(super) fn f_splat(&mut self, i: &Insn, len: Len, to: Xmm) {
        let from: Operand = match self.f_operand(i) {
            Rm::X(x) => x.into(),
            Rm::M(m) => m.into(),
            Rm::R(_) => unreachable!("an f register"),
        };
        let row = if i.s.sew == 2 { VBROADCASTSS } else { VPBROADCASTQ };
        self.asm.v(row.len(len), (to, from));
    }

    pub(super) fn vector_float(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let bits = matches!(plan.kind, Kind::Sign(_) | Kind::Merge | Kind::Splat);
        let flags = if bits { fp_check::ON } else { fp_check::DIRTY };
        self.fp_ready(i, flags | fp_check::NATIVE_FRM);
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        if !plan.vector && !matches!(plan.kind, Kind::Sqrt) {
            let b = self.vectors.regs().b;
            self.f_splat(i, chunks.len, b);
        }
        if bits {
            self.float_bits(i, plan, part, chunks);
        } else if self.vectors.avx512() {
            self.float_masked(i, plan, part, chunks);
        } else {
            self.float_lanes(i, plan, part, chunks);
        }
    }

    /// By AVX-512: each chunk has a register for its result.
    fn float_masked(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let lanes = chunks.len.bytes() >> i.s.sew;
        for (n, at) in chunks.offsets().enumerate() {
            let active = self.active(i, part, !i.c.unmasked(), at >> i.s.sew, lanes, i.s.sew);
            let r = self.vectors.result(n);
            if active != Active::All {
                self.v_load(chunks.len, r, v_slot(&i.s, i.c.vd(), at));
            }
            let (x, y) = self.float_chunk(i, plan, chunks.len, at, r, active);
            self.look_for_nans(i.s.sew, chunks.len, active, n, x, y);
        }
        self.nans_to_function(i);
        for (n, at) in chunks.offsets().enumerate() {
            let r = self.vectors.result(n);
            self.v_store(chunks.len, v_slot(&i.s, i.c.vd(), at), r);
        }
    }

    /// Notes whether an active lane of `x` or `y` is a NaN: of chunk `n`, beside those before.
    pub(super) fn look_for_nans(&mut self, sew: u8, len: Len, active: Active, n: usize, x: Xmm, y: Operand) {
        let compare = [VCMPPS_K, VCMPPD_K][usize::from(sew - 2)];
        let to = if n == 0 { NANS } else { NAN };
        self.asm.v(on(compare, len, active), (to, x, y, UNORDERED));
        if n != 0 {
            self.asm.v(KORW, (NANS, NANS, NAN));
        }
    }

    /// Leaves the instruction to its function if there was one.
    pub(super) fn nans_to_function(&mut self, i: &Insn) {
        self.asm.v(KORTESTW, (NANS, NANS));
        self.slow_if(i, Cc::Ne);
    }

    /// By AVX2. More chunks than there are registers for results are computed twice: first to see that there are no NaNs.
    fn float_lanes(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let twice = chunks.count > 4;
        for (look, store) in if twice { [(true, false), (false, true)] } else { [(true, true), (false, false)] } {
            if look {
                let found = self.vectors.scratch(4);
                self.asm.v(VPXOR.y(), (found, found, found));
                for (n, at) in chunks.offsets().enumerate() {
                    self.float_lanes_chunk(i, plan, part, chunks.len, at, if twice { 0 } else { n }, true);
                }
                self.asm.v([VMOVMSKPS, VMOVMSKPD][usize::from(i.s.sew - 2)].len(chunks.len), (A, found));
                self.asm.test(false, A, A);
                self.slow_if(i, Cc::Ne);
            }
            if store {
                for (n, at) in chunks.offsets().enumerate() {
                    let r = self.vectors.result(if twice { 0 } else { n });
                    // The host's minimum and maximum flag quiet NaNs: they come after the look at their operands.
                    if twice || matches!(plan.kind, Kind::Min | Kind::Max) {
                        self.float_lanes_chunk(i, plan, part, chunks.len, at, if twice { 0 } else { n }, false);
                    }
                    let active =
                        self.active(i, part, !i.c.unmasked(), at >> i.s.sew, chunks.len.bytes() >> i.s.sew, i.s.sew);
                    let Regs { t, .. } = self.vectors.regs();
                    self.v_put(chunks.len, v_slot(&i.s, i.c.vd(), at), r, active, i.s.sew, t);
                }
            }
        }
    }

    /// The result `n` = that for the chunk from byte `at` on; or notes where there would be a NaN. Lanes that are not
    /// active have operands that flag nothing.
    #[allow(clippy::too_many_arguments, reason = "a chunk of a plan")]
    fn float_lanes_chunk(&mut self, i: &Insn, plan: &Plan, part: Part, len: Len, at: usize, n: usize, look: bool) {
        let (sew, double) = (i.s.sew, usize::from(i.s.sew - 2));
        let (r, nan) = (self.vectors.result(n), self.vectors.scratch(4));
        let Regs { b, t, u } = self.vectors.regs();
        let slot = |reg| v_slot(&i.s, reg, at);
        let (d, a) = (slot(i.c.vd()), slot(i.c.vs2()));
        let active = self.active(i, part, !i.c.unmasked(), at >> sew, len.bytes() >> sew, sew);
        let second: Operand = if plan.vector { slot(i.c.vs1()).into() } else { b.into() };
        let all = active == Active::All;
        let (mut x, mut y): (Xmm, Operand) = (r, r.into());
        match plan.kind {
            Kind::Plain(rows) | Kind::Reverse(rows) => {
                let reverse = matches!(plan.kind, Kind::Reverse(_));
                let divides = rows == DIV;
                let (first, second) = if reverse { (second, a.into()) } else { (a.into(), second) };
                self.v_only(len, t, first, active);
                let mut other = second;
                if !all {
                    if divides {
                        // Zero by zero is invalid, and zero by a number is not.
                        self.ones(len, u, sew);
                        let Active::Lanes(m) = active else { unreachable!("there are no opmasks") };
                        self.asm.v(VPBLENDVB.len(len), (u, u, second, m));
                    } else {
                        self.v_only(len, u, second, active);
                    }
                    other = u.into();
                }
                self.asm.v(rows[double].len(len), (r, t, other));
            }
            Kind::Sqrt => {
                self.v_only(len, t, a, active);
                self.asm.v([VSQRTPS, VSQRTPD][double].len(len), (r, t));
            }
            Kind::Accumulate(rows) | Kind::Multiply(rows) => {
                self.v_only(len, r, d, active);
                let x = match (plan.vector, all) {
                    (false, true) => b,
                    _ => {
                        self.v_only(len, t, second, active);
                        t
                    }
                };
                let mut other: Operand = a.into();
                if !all {
                    self.v_only(len, u, a, active);
                    other = u.into();
                }
                self.asm.v(rows[double].len(len), (r, x, other));
            }
            Kind::Min | Kind::Max => {
                self.v_only(len, t, a, active);
                self.v_only(len, u, second, active);
                (x, y) = (t, u.into());
                if !look {
                    self.extreme(sew, matches!(plan.kind, Kind::Max), len, Active::All, [r, t, u], y);
                }
            }
            Kind::Sign(_) | Kind::Merge | Kind::Splat => unreachable!("no arithmetic"),
        }
        if look {
            let to = if y == Operand::V(r) { t } else { u };
            self.asm.v([VCMPPS_V, VCMPPD_V][double].len(len), (to, x, y, UNORDERED));
            self.asm.v(VPOR.len(len), (nan, nan, to));
        }
    }

    /// All elements of `to` = 1. RAX changes.
    fn ones(&mut self, len: Len, to: Xmm, sew: u8) {
        let one = if sew == 3 { 1f64.to_bits() as i64 } else { i64::from(1f32.to_bits()) };
        self.v_splat(len, to, sew, Val::C(one));
    }

    /// The active lanes of `r` = the result for the chunk from byte `at` on; `r` holds the old value if not all lanes are
    /// active. Returns what must be ordered lest it be the function's work.
    fn float_chunk(&mut self, i: &Insn, plan: &Plan, len: Len, at: usize, r: Xmm, active: Active) -> (Xmm, Operand) {
        let double = usize::from(i.s.sew - 2);
        let Regs { b, t, u } = self.vectors.regs();
        let slot = |reg| v_slot(&i.s, reg, at);
        let (d, a) = (slot(i.c.vd()), slot(i.c.vs2()));
        let second: Operand = if plan.vector { slot(i.c.vs1()).into() } else { b.into() };
        match plan.kind {
            Kind::Plain(rows) => {
                self.v_load(len, t, a);
                self.asm.v(on(rows[double], len, active), (r, t, second));
            }
            Kind::Reverse(rows) => self.asm.v(on(rows[double], len, active), (r, b, a)),
            Kind::Sqrt => self.asm.v(on([VSQRTPS, VSQRTPD][double], len, active), (r, a)),
            Kind::Accumulate(rows) | Kind::Multiply(rows) => {
                if active == Active::All {
                    self.v_load(len, r, d);
                }
                let x = if plan.vector {
                    self.v_load(len, t, slot(i.c.vs1()));
                    t
                } else {
                    b
                };
                self.asm.v(on(rows[double], len, active), (r, x, a));
            }
            Kind::Min | Kind::Max => {
                let (x, y) = self.extreme_operands(i, plan, len, at);
                self.extreme(i.s.sew, matches!(plan.kind, Kind::Max), len, active, [r, x, u], y);
                return (x, y);
            }
            Kind::Sign(_) | Kind::Merge | Kind::Splat => unreachable!("no arithmetic"),
        }
        (r, r.into())
    }

    /// The operands of a minimum or maximum, the first in a register.
    fn extreme_operands(&mut self, i: &Insn, plan: &Plan, len: Len, at: usize) -> (Xmm, Operand) {
        let Regs { b, t, .. } = self.vectors.regs();
        self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at));
        (t, if plan.vector { v_slot(&i.s, i.c.vs1(), at).into() } else { b.into() })
    }

    /// `r` = the minimum or maximum of `t` and `second`, neither a NaN; -0 is less than 0.
    fn extreme(&mut self, sew: u8, max: bool, len: Len, active: Active, [r, t, u]: [Xmm; 3], second: Operand) {
        let double = usize::from(sew - 2);
        if self.vectors.avx512() {
            // The sign is the chosen operand's.
            let row = [VRANGEPS, VRANGEPD][double];
            return self.asm.v(on(row, len, active), (r, t, second, 4 | u8::from(max)));
        }
        // The host's choose the second of two zeros.
        let row = if max { [VMAXPS, VMAXPD] } else { [VMINPS, VMINPD] }[double];
        let both = if max { VPAND } else { VPOR };
        self.asm.v(VMOVDQU.len(len), (u, second));
        self.asm.v(row.len(len), (r, t, u));
        self.asm.v(row.len(len), (u, u, t));
        self.asm.v(both.len(len), (r, r, u));
    }

    /// What raises no flags.
    fn float_bits(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let (sew, len) = (i.s.sew, chunks.len);
        let lanes = len.bytes() >> sew;
        let Regs { b, t, u } = self.vectors.regs();
        if matches!(plan.kind, Kind::Sign(_)) {
            let sign = if sew == 3 { i64::MIN } else { 1 << 31 };
            self.v_splat(len, u, sew, Val::C(sign));
        }
        let masked = !i.c.unmasked() && !matches!(plan.kind, Kind::Merge);
        for at in chunks.offsets() {
            let slot = |reg| v_slot(&i.s, reg, at);
            let active = self.active(i, part, masked, at >> sew, lanes, i.s.sew);
            let value = match plan.kind {
                Kind::Sign(table) if !self.vectors.avx512() => {
                    let second: Operand = if plan.vector { slot(i.c.vs1()).into() } else { b.into() };
                    let old = self.vectors.result(0);
                    self.v_load(len, old, slot(i.c.vs2()));
                    if table == SGNJX {
                        self.asm.v(VPAND.len(len), (t, u, second));
                        self.asm.v(VPXOR.len(len), (t, t, old));
                    } else {
                        // The sign of one, or what it is not, and the rest of the other.
                        self.asm.v(VMOVDQU.len(len), (t, second));
                        self.asm.v(if table == SGNJ { VPAND } else { VPANDN }.len(len), (t, t, u));
                        let rest = self.vectors.result(1);
                        self.asm.v(VPANDN.len(len), (rest, u, old));
                        self.asm.v(VPOR.len(len), (t, t, rest));
                    }
                    t
                }
                Kind::Sign(table) => {
                    if plan.vector {
                        self.v_load(len, t, slot(i.c.vs1()));
                    } else {
                        self.asm.v(VMOVDQU64.len(len), (t, b));
                    }
                    self.asm.v(VPTERNLOGQ.len(len), (t, u, slot(i.c.vs2()), table));
                    t
                }
                Kind::Merge if !self.vectors.avx512() => {
                    let first = at >> sew;
                    self.spread(len, SPREAD, v_slot(&i.s, 0, first / 8), first, sew);
                    self.v_load(len, t, slot(i.c.vs2()));
                    self.asm.v(VPBLENDVB.len(len), (t, t, b, SPREAD));
                    t
                }
                Kind::Merge => {
                    self.asm.v(mask_load(lanes), (NAN, v_slot(&i.s, 0, (at >> sew) / 8)));
                    self.v_load(len, t, slot(i.c.vs2()));
                    self.asm.v(MOVE[usize::from(sew)].len(len).k(NAN), (t, b));
                    t
                }
                _ => b,
            };
            let old = self.vectors.result(0);
            self.v_put(len, slot(i.c.vd()), value, active, sew, old);
        }
    }
}
