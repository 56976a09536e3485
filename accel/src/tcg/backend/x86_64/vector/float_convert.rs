//! Conversions, and the arithmetic of single precision that gives double precision. AVX2 has no
//! conversions of unsigned numbers, nor of 64-bit integers.
//!
//! The host rounds and flags as the guest asks. What it does otherwise shows in the result: a NaN, and the one integer
//! that it answers whenever there is no right one. Then the instruction's function starts over, see `float`.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Row};
use super::super::asm::{Cc, Xmm};
use super::float::{Regs, UNORDERED, native, on};
use super::lanes::{Active, Part};
use super::*;
use crate::tcg::ir::fp_check;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Convert(Conversion),
    /// `vs2 op other`, both made double first, but vs2 if it is so already.
    Plain {
        row: &'static Row,
        wide: bool,
    },
    /// Their product and vd.
    Accumulate(&'static Row),
}

#[derive(Debug, Clone, Copy)]
struct Conversion {
    row: &'static Row,
    widths: Widths,
    check: Check,
    /// Makes 32-bit integers of the operand first.
    before: Option<&'static Row>,
}

/// Widths of source and destination: SEW, or twice that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widths {
    Same,
    Widen,
    Narrow,
}

/// What is for the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    /// A result that is a NaN.
    Nan,
    /// An operand that is one.
    NanBefore,
    /// This result.
    Integer(i64),
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    /// The second operand is vs1, else an f register.
    vector: bool,
}

fn conversion(op: G, sew: u8, v: &Vectors) -> Option<Conversion> {
    use Widths::{Narrow, Same, Widen};
    // The width of integers and of floats, as indices.
    let single = sew == 2;
    let pick = |one: &'static Row, two: &'static Row| if single { one } else { two };
    let min = Check::Integer(if single && !matches!(op, G::VfwcvtXFV | G::VfwcvtRtzXFV) { 1 << 31 } else { i64::MIN });
    let ones = Check::Integer(-1);
    let plain = |row, widths, check| Some(Conversion { row, widths, check, before: None });
    match op {
        G::VfcvtXFV if native(v, sew) => plain(pick(VCVTPS2DQ, VCVTPD2QQ), Same, min),
        G::VfcvtXuFV if native(v, sew) => plain(pick(VCVTPS2UDQ, VCVTPD2UQQ), Same, ones),
        G::VfcvtRtzXFV if native(v, sew) => plain(pick(VCVTTPS2DQ, VCVTTPD2QQ), Same, min),
        G::VfcvtRtzXuFV if native(v, sew) => plain(pick(VCVTTPS2UDQ, VCVTTPD2UQQ), Same, ones),
        G::VfcvtFXV if native(v, sew) => plain(pick(VCVTDQ2PS, VCVTQQ2PD), Same, Check::Nothing),
        G::VfcvtFXuV if native(v, sew) => plain(pick(VCVTUDQ2PS, VCVTUQQ2PD), Same, Check::Nothing),
        G::VfwcvtXFV if single => plain(VCVTPS2QQ, Widen, min),
        G::VfwcvtXuFV if single => plain(VCVTPS2UQQ, Widen, ones),
        G::VfwcvtRtzXFV if single => plain(VCVTTPS2QQ, Widen, min),
        G::VfwcvtRtzXuFV if single => plain(VCVTTPS2UQQ, Widen, ones),
        G::VfwcvtFXV if single && v.unit.double => plain(VCVTDQ2PD, Widen, Check::Nothing),
        G::VfwcvtFXuV if single && v.unit.double => plain(VCVTUDQ2PD, Widen, Check::Nothing),
        G::VfwcvtFXV if sew == 1 => {
            Some(Conversion { row: VCVTDQ2PS, widths: Widen, check: Check::Nothing, before: Some(VPMOVSXWD) })
        }
        G::VfwcvtFXuV if sew == 1 => {
            Some(Conversion { row: VCVTDQ2PS, widths: Widen, check: Check::Nothing, before: Some(VPMOVZXWD) })
        }
        G::VfwcvtFFV if single && v.unit.double => plain(VCVTPS2PD, Widen, Check::Nan),
        G::VfwcvtFFV if sew == 1 && v.unit.half_conversions => plain(VCVTPH2PS, Widen, Check::Nan),
        G::VfncvtXFW if single && v.unit.double => plain(VCVTPD2DQ, Narrow, min),
        G::VfncvtXuFW if single && v.unit.double => plain(VCVTPD2UDQ, Narrow, ones),
        G::VfncvtRtzXFW if single && v.unit.double => plain(VCVTTPD2DQ, Narrow, min),
        G::VfncvtRtzXuFW if single && v.unit.double => plain(VCVTTPD2UDQ, Narrow, ones),
        G::VfncvtFXW if single => plain(VCVTQQ2PS, Narrow, Check::Nothing),
        G::VfncvtFXuW if single => plain(VCVTUQQ2PS, Narrow, Check::Nothing),
        G::VfncvtFFW if single && v.unit.double => plain(VCVTPD2PS, Narrow, Check::Nan),
        G::VfncvtFFW if sew == 1 && v.unit.half_conversions => plain(VCVTPS2PH, Narrow, Check::NanBefore),
        _ => None,
    }
}

fn arithmetic(op: G) -> Option<(Kind, bool)> {
    let narrow = |row| Kind::Plain { row, wide: false };
    let wide = |row| Kind::Plain { row, wide: true };
    Some(match op {
        G::VfwaddVv => (narrow(VADDPD), true),
        G::VfwaddVf => (narrow(VADDPD), false),
        G::VfwaddWv => (wide(VADDPD), true),
        G::VfwaddWf => (wide(VADDPD), false),
        G::VfwsubVv => (narrow(VSUBPD), true),
        G::VfwsubVf => (narrow(VSUBPD), false),
        G::VfwsubWv => (wide(VSUBPD), true),
        G::VfwsubWf => (wide(VSUBPD), false),
        G::VfwmulVv => (narrow(VMULPD), true),
        G::VfwmulVf => (narrow(VMULPD), false),
        G::VfwmaccVv => (Kind::Accumulate(VFMADD231PD), true),
        G::VfwmaccVf => (Kind::Accumulate(VFMADD231PD), false),
        G::VfwnmaccVv => (Kind::Accumulate(VFNMSUB231PD), true),
        G::VfwnmaccVf => (Kind::Accumulate(VFNMSUB231PD), false),
        G::VfwmsacVv => (Kind::Accumulate(VFMSUB231PD), true),
        G::VfwmsacVf => (Kind::Accumulate(VFMSUB231PD), false),
        G::VfwnmsacVv => (Kind::Accumulate(VFNMADD231PD), true),
        G::VfwnmsacVf => (Kind::Accumulate(VFNMADD231PD), false),
        _ => return None,
    })
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (s, c) = (&i.s, &i.c);
    if let Some(conversion) = conversion(i.op, s.sew, v) {
        if !v.avx512() && conversion.row.vex.is_none() {
            return None;
        }
        let (d, a) = match conversion.widths {
            Widths::Same => (s.same(c.vd()), s.same(c.vs2())),
            Widths::Widen => (s.wide(c.vd()), s.same(c.vs2())),
            Widths::Narrow => (s.same(c.vd()), s.wide(c.vs2())),
        };
        s.check(c, d.ok()?, &[a.ok()?]).ok()?;
        let plan = Plan { kind: Kind::Convert(conversion), vector: true };
        return plan.fits(i, v).then_some(plan);
    }
    let (kind, vector) = arithmetic(i.op)?;
    if s.sew != 2 || !v.unit.double {
        return None;
    }
    let d = s.wide(c.vd()).ok()?;
    let wide = matches!(kind, Kind::Plain { wide: true, .. });
    let a = if wide { s.wide(c.vs2()).ok()? } else { s.same(c.vs2()).ok()? };
    let b = if vector { s.same(c.vs1()).ok()? } else { a };
    let old = if matches!(kind, Kind::Accumulate(_)) { d } else { a };
    s.check(c, d, &[a, b, old]).ok()?;
    let plan = Plan { kind, vector };
    plan.fits(i, v).then_some(plan)
}

impl Plan {
    /// There is a register for each result.
    fn fits(&self, i: &Insn, v: &Vectors) -> bool {
        self.bytes(i) <= MOST_CHUNKS * v.widest()
    }

    /// Of the operand with the widest elements.
    pub fn bytes(&self, i: &Insn) -> usize {
        match self.kind {
            Kind::Convert(Conversion { widths: Widths::Same, .. }) => i.bytes(),
            _ => 2 * i.bytes(),
        }
    }
}

/// Lanes for the function: of this chunk, of all so far.
const FOUND: K = K(3);
const ALL: K = K(4);

impl Backend {
    pub(super) fn vector_float_convert(&mut self, i: &Insn, plan: &Plan, part: Part) {
        self.fp_ready(i, fp_check::DIRTY | fp_check::NATIVE_FRM);
        let chunks = Chunks::of(plan.bytes(i), self.vectors.widest());
        match plan.kind {
            Kind::Convert(conversion) if !self.vectors.avx512() => self.convert_lanes(i, &conversion, part, chunks),
            Kind::Convert(conversion) => self.convert(i, &conversion, part, chunks),
            _ if !self.vectors.avx512() => self.widening_lanes(i, plan, part, chunks),
            Kind::Plain { .. } | Kind::Accumulate(_) => self.widening_arithmetic(i, plan, part, chunks),
        }
    }

    fn widening_arithmetic(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let (len, regs) = (chunks.len, self.vectors.regs());
        let half = Len::of(len.bytes() / 2);
        let lanes = len.bytes() >> 3;
        if !plan.vector {
            self.f_splat(i, half, regs.b);
        }
        for (n, at) in chunks.offsets().enumerate() {
            let active = self.active(i, part, !i.c.unmasked(), at >> 3, lanes, 3);
            let r = self.vectors.result(n);
            self.v_load(len, r, v_slot(&i.s, i.c.vd(), at));
            // A signalling NaN is invalid in active lanes only.
            let extend = on(VCVTPS2PD, len, active);
            if plan.vector {
                self.asm.v(extend, (regs.u, v_slot(&i.s, i.c.vs1(), at / 2)));
            } else {
                self.asm.v(extend, (regs.u, regs.b));
            }
            let row = match plan.kind {
                Kind::Plain { row, wide: true } => {
                    self.v_load(len, regs.t, v_slot(&i.s, i.c.vs2(), at));
                    row
                }
                Kind::Plain { row, .. } | Kind::Accumulate(row) => {
                    self.asm.v(extend, (regs.t, v_slot(&i.s, i.c.vs2(), at / 2)));
                    row
                }
                Kind::Convert(_) => unreachable!("no arithmetic"),
            };
            self.asm.v(on(row, len, active), (r, regs.t, regs.u));
            self.look_for_nans(3, len, active, n, r, r.into());
        }
        self.nans_to_function(i);
        for (n, at) in chunks.offsets().enumerate() {
            let r = self.vectors.result(n);
            self.v_store(len, v_slot(&i.s, i.c.vd(), at), r);
        }
    }

    fn convert(&mut self, i: &Insn, c: &Conversion, part: Part, chunks: Chunks) {
        let (len, regs) = (chunks.len, self.vectors.regs());
        // Of the wider elements, and of those of the result.
        let wide = i.s.sew + u8::from(c.widths != Widths::Same);
        let result = i.s.sew + u8::from(c.widths == Widths::Widen);
        let lanes = len.bytes() >> wide;
        let (from_part, to_part) = match c.widths {
            Widths::Same => (1, 1),
            Widths::Widen => (2, 1),
            Widths::Narrow => (1, 2),
        };
        let put = Len::of(len.bytes() / to_part);
        if let Check::Integer(n) = c.check {
            self.v_splat(put, regs.b, result, Val::C(n));
        }
        for (n, at) in chunks.offsets().enumerate() {
            let active = self.active(i, part, !i.c.unmasked(), at >> wide, lanes, wide);
            let r = self.vectors.result(n);
            let from = v_slot(&i.s, i.c.vs2(), at / from_part);
            if active != Active::All {
                self.v_load(put, r, v_slot(&i.s, i.c.vd(), at / to_part));
            }
            let op = on(c.row, len, active);
            match (c.before, c.check) {
                (Some(before), _) => {
                    self.asm.v(before.len(len), (regs.t, from));
                    self.asm.v(op, (r, regs.t));
                }
                (None, Check::NanBefore) => {
                    self.v_load(len, regs.t, from);
                    // Rounding as MXCSR says.
                    self.asm.v(op, (r, regs.t, 4u8));
                }
                (None, _) => self.asm.v(op, (r, from)),
            }
            match c.check {
                Check::Nothing => {}
                Check::Nan => self.look_for_nans(result, put, active, n, r, r.into()),
                Check::NanBefore => self.look_for_nans(2, len, active, n, regs.t, regs.t.into()),
                Check::Integer(_) => {
                    let row = if result == 3 { VPCMPEQQ_K } else { VPCMPEQD_K };
                    self.asm.v(on(row, put, active), (if n == 0 { ALL } else { FOUND }, r, regs.b));
                    if n != 0 {
                        self.asm.v(KORW, (ALL, ALL, FOUND));
                    }
                }
            }
        }
        if c.check != Check::Nothing {
            self.nans_to_function(i);
        }
        for (n, at) in chunks.offsets().enumerate() {
            let (r, to) = (self.vectors.result(n), v_slot(&i.s, i.c.vd(), at / to_part));
            if len.bytes() / to_part < 16 {
                self.asm.v(VMOVQ_ST, (to, r));
            } else {
                self.v_store(put, to, r);
            }
        }
    }

    /// Without opmasks: lanes that are not active compute with zeros.
    fn widening_lanes(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let (len, Regs { b, t, u }) = (chunks.len, self.vectors.regs());
        let half = Len::of(len.bytes() / 2);
        let (lanes, masked) = (len.bytes() >> 3, !i.c.unmasked());
        if !plan.vector {
            self.f_splat(i, half, b);
        }
        let found = self.no_lanes_found();
        for (n, at) in chunks.offsets().enumerate() {
            let r = self.vectors.result(n);
            let single = self.active(i, part, masked, at >> 3, lanes, 2);
            if plan.vector {
                self.v_only(half, u, v_slot(&i.s, i.c.vs1(), at / 2), single);
            } else {
                self.v_only(half, u, b, single);
            }
            self.asm.v(VCVTPS2PD.len(len), (u, u));
            let (row, wide) = match plan.kind {
                Kind::Plain { row, wide } => (row, wide),
                Kind::Accumulate(row) => (row, false),
                Kind::Convert(_) => unreachable!("no arithmetic"),
            };
            if !wide {
                self.v_only(half, t, v_slot(&i.s, i.c.vs2(), at / 2), single);
                self.asm.v(VCVTPS2PD.len(len), (t, t));
            }
            let double = self.active(i, part, masked, at >> 3, lanes, 3);
            if wide {
                self.v_only(len, t, v_slot(&i.s, i.c.vs2(), at), double);
            } else if matches!(plan.kind, Kind::Accumulate(_)) {
                self.v_only(len, r, v_slot(&i.s, i.c.vd(), at), double);
            }
            self.asm.v(row.len(len), (r, t, u));
            self.asm.v(VCMPPD_V.len(len), (u, r, r, UNORDERED));
            self.asm.v(VPOR.len(len), (found, found, u));
        }
        self.found_to_function(i, found);
        for (n, at) in chunks.offsets().enumerate() {
            let active = self.active(i, part, masked, at >> 3, lanes, 3);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), self.vectors.result(n), active, 3, t);
        }
    }

    /// Without opmasks: zeros are converted in lanes that are not active.
    fn convert_lanes(&mut self, i: &Insn, c: &Conversion, part: Part, chunks: Chunks) {
        let (len, Regs { b, t, u }) = (chunks.len, self.vectors.regs());
        let wide = i.s.sew + u8::from(c.widths != Widths::Same);
        let (source, result) = match c.widths {
            Widths::Same => (i.s.sew, i.s.sew),
            Widths::Widen => (i.s.sew, wide),
            Widths::Narrow => (wide, i.s.sew),
        };
        let (lanes, masked) = (len.bytes() >> wide, !i.c.unmasked());
        let (from_bytes, put_bytes) = (lanes << source, lanes << result);
        let put = Len::of(put_bytes);
        if let Check::Integer(n) = c.check {
            self.v_splat(put, b, result, Val::C(n));
        }
        let found = self.no_lanes_found();
        for (n, at) in chunks.offsets().enumerate() {
            let r = self.vectors.result(n);
            let from = v_slot(&i.s, i.c.vs2(), (at >> wide) << source);
            if let Some(before) = c.before {
                // Every one of these numbers has a place there.
                self.asm.v(before.len(len), (t, from));
            } else {
                let active = self.active(i, part, masked, at >> wide, lanes, source);
                self.v_only(Len::of(from_bytes), t, from, active);
            }
            if c.check == Check::NanBefore {
                // Rounding as MXCSR says.
                self.asm.v(c.row.len(len), (r, t, 4u8));
            } else {
                self.asm.v(c.row.len(len), (r, t));
            }
            match c.check {
                Check::Nothing => continue,
                Check::Nan if result == 3 => self.asm.v(VCMPPD_V.len(put), (u, r, r, UNORDERED)),
                Check::Nan => self.asm.v(VCMPPS_V.len(put), (u, r, r, UNORDERED)),
                Check::NanBefore => self.asm.v(VCMPPS_V.len(len), (u, t, t, UNORDERED)),
                Check::Integer(_) => self.asm.v(VPCMPEQD_V.len(put), (u, r, b)),
            }
            self.asm.v(VPOR.y(), (found, found, u));
        }
        if c.check != Check::Nothing {
            self.found_to_function(i, found);
        }
        for (n, at) in chunks.offsets().enumerate() {
            let (r, to) = (self.vectors.result(n), v_slot(&i.s, i.c.vd(), (at >> wide) << result));
            let active = self.active(i, part, masked, at >> wide, lanes, result);
            if put_bytes < 16 {
                self.put_half(to, r, active, result, t);
            } else {
                self.v_put(put, to, r, active, result, t);
            }
        }
    }

    /// A register without lanes for the function, so far.
    fn no_lanes_found(&mut self) -> Xmm {
        let found = self.vectors.scratch(4);
        self.asm.v(VPXOR.y(), (found, found, found));
        found
    }

    /// Leaves the instruction to its function if there are some.
    fn found_to_function(&mut self, i: &Insn, found: Xmm) {
        self.asm.v(VMOVMSKPS.y(), (A, found));
        self.asm.test(false, A, A);
        self.slow_if(i, Cc::Ne);
    }
}
