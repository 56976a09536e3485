//! Integer arithmetic between widths: widening, narrowing, extension. The host extends to the wider elements first,
//! and narrows last.
//!
//! Chunks are counted in the wider elements. A destination may overlap a source of other width only where, going
//! upwards, what is written has been read.

use super::super::asm::rows::*;
use super::super::asm::vex::{Len, Row};
use super::super::asm::{Alu, Xmm};
use super::float::Regs;
use super::lanes::{Active, MOVE, Part};
use super::*;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Both operands extended, sum or difference. Whether the extension is of signed numbers.
    AddSub { sub: bool, signed: bool, wide: bool },
    /// A product, which may be added to vd; whether vs2 and the other are signed.
    Mul { signed: [bool; 2], accumulate: bool },
    /// From elements 1 << this times shorter.
    Extend { log2: u8, signed: bool },
    /// A shift to the left of what was extended.
    ShiftLeft,
    /// A shift to the right that keeps the low half.
    Narrow { arithmetic: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Vector,
    Register,
    Immediate,
    None,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    second: Second,
}

fn kind(op: G) -> Option<(Kind, Second)> {
    use Second::{Immediate, None as Nothing, Register as X, Vector as V};
    let add = |sub, signed, wide| Kind::AddSub { sub, signed, wide };
    let mul = |a, b| Kind::Mul { signed: [a, b], accumulate: false };
    let macc = |a, b| Kind::Mul { signed: [a, b], accumulate: true };
    let extend = |log2, signed| (Kind::Extend { log2, signed }, Nothing);
    let narrow = |arithmetic| Kind::Narrow { arithmetic };
    Some(match op {
        G::VwadduVv => (add(false, false, false), V),
        G::VwadduVx => (add(false, false, false), X),
        G::VwadduWv => (add(false, false, true), V),
        G::VwadduWx => (add(false, false, true), X),
        G::VwaddVv => (add(false, true, false), V),
        G::VwaddVx => (add(false, true, false), X),
        G::VwaddWv => (add(false, true, true), V),
        G::VwaddWx => (add(false, true, true), X),
        G::VwsubuVv => (add(true, false, false), V),
        G::VwsubuVx => (add(true, false, false), X),
        G::VwsubuWv => (add(true, false, true), V),
        G::VwsubuWx => (add(true, false, true), X),
        G::VwsubVv => (add(true, true, false), V),
        G::VwsubVx => (add(true, true, false), X),
        G::VwsubWv => (add(true, true, true), V),
        G::VwsubWx => (add(true, true, true), X),
        G::VwmuluVv => (mul(false, false), V),
        G::VwmuluVx => (mul(false, false), X),
        G::VwmulVv => (mul(true, true), V),
        G::VwmulVx => (mul(true, true), X),
        G::VwmulsuVv => (mul(true, false), V),
        G::VwmulsuVx => (mul(true, false), X),
        G::VwmaccuVv => (macc(false, false), V),
        G::VwmaccuVx => (macc(false, false), X),
        G::VwmaccVv => (macc(true, true), V),
        G::VwmaccVx => (macc(true, true), X),
        G::VwmaccsuVv => (macc(false, true), V),
        G::VwmaccsuVx => (macc(false, true), X),
        G::VwmaccusVx => (macc(true, false), X),
        G::VzextVf2 => extend(1, false),
        G::VzextVf4 => extend(2, false),
        G::VzextVf8 => extend(3, false),
        G::VsextVf2 => extend(1, true),
        G::VsextVf4 => extend(2, true),
        G::VsextVf8 => extend(3, true),
        G::VwsllVx => (Kind::ShiftLeft, X),
        G::VwsllVi => (Kind::ShiftLeft, Immediate),
        G::VnsrlWv => (narrow(false), V),
        G::VnsrlWx => (narrow(false), X),
        G::VnsrlWi => (narrow(false), Immediate),
        G::VnsraWv => (narrow(true), V),
        G::VnsraWx => (narrow(true), X),
        G::VnsraWi => (narrow(true), Immediate),
        _ => return None,
    })
}

/// By the width of the result, to twice it; signed and not.
const EXTEND: [[&Row; 2]; 3] = [[VPMOVZXBW, VPMOVSXBW], [VPMOVZXWD, VPMOVSXWD], [VPMOVZXDQ, VPMOVSXDQ]];
/// Times four, times eight, from the width of the source.
const EXTEND4: [[&Row; 2]; 2] = [[VPMOVZXBD, VPMOVSXBD], [VPMOVZXWQ, VPMOVSXWQ]];
const EXTEND8: [&Row; 2] = [VPMOVZXBQ, VPMOVSXBQ];
const TRUNCATE: [&Row; 3] = [VPMOVWB, VPMOVDW, VPMOVQD];

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, second) = kind(i.op)?;
    let (s, c) = (&i.s, &i.c);
    match kind {
        Kind::Extend { log2, .. } => {
            let from = s.sew.checked_sub(log2)?;
            s.check(c, s.same(c.vd()).ok()?, &[s.group(c.vs2(), from).ok()?]).ok()?;
        }
        Kind::Narrow { .. } => {
            let (d, a) = (s.same(c.vd()).ok()?, s.wide(c.vs2()).ok()?);
            let b = if second == Second::Vector { s.same(c.vs1()).ok()? } else { a };
            s.check(c, d, &[a, b]).ok()?;
        }
        Kind::AddSub { .. } | Kind::Mul { .. } | Kind::ShiftLeft => {
            let d = s.wide(c.vd()).ok()?;
            let wide = matches!(kind, Kind::AddSub { wide: true, .. });
            let a = if wide { s.wide(c.vs2()).ok()? } else { s.same(c.vs2()).ok()? };
            let b = if second == Second::Vector { s.same(c.vs1()).ok()? } else { a };
            let old = if matches!(kind, Kind::Mul { accumulate: true, .. }) { d } else { a };
            s.check(c, d, &[a, b, old]).ok()?;
        }
    }
    // Without AVX-512 there are no shifts of words by each other, nor arithmetic ones of 64 bits.
    let by_avx2 = match kind {
        Kind::Narrow { arithmetic } => match second {
            Second::Vector => s.sew != 0 && !(arithmetic && s.sew == 2),
            Second::Register => !(arithmetic && s.sew == 2),
            // Up to half of the bits it does not matter what comes in.
            _ => !(arithmetic && s.sew == 2 && c.uimm() > 32),
        },
        Kind::Mul { signed: [a, b], .. } => a == b || s.sew < 2,
        Kind::AddSub { .. } | Kind::Extend { .. } | Kind::ShiftLeft => true,
    };
    (v.avx512() || by_avx2).then_some(Plan { kind, second })
}

impl Plan {
    /// Of the operand with the widest elements.
    pub fn bytes(&self, i: &Insn) -> usize {
        if matches!(self.kind, Kind::Extend { .. }) { i.bytes() } else { 2 * i.bytes() }
    }
}

impl Backend {
    pub(super) fn vector_widen(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let chunks = Chunks::of(plan.bytes(i), self.vectors.widest());
        let (sew, len) = (i.s.sew, chunks.len);
        let Regs { b, t, u } = self.vectors.regs();
        let r = self.vectors.result(0);
        let old = self.vectors.result(1);
        self.widen_scalar(i, plan, len, b);
        // Elements of the result, by their width.
        let wide =
            if matches!(plan.kind, Kind::AddSub { .. } | Kind::Mul { .. } | Kind::ShiftLeft) { sew + 1 } else { sew };
        let computed = if matches!(plan.kind, Kind::Narrow { .. }) { sew + 1 } else { wide };
        let lanes = len.bytes() >> computed;
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> computed, lanes, wide);
            let half = at / 2;
            let second = match plan.second {
                Second::Vector => {
                    let signed = match plan.kind {
                        Kind::AddSub { signed, .. } => signed,
                        Kind::Mul { signed, .. } => signed[1],
                        _ => false,
                    };
                    self.asm
                        .v(EXTEND[usize::from(sew)][usize::from(signed)].len(len), (u, v_slot(&i.s, i.c.vs1(), half)));
                    u
                }
                _ => b,
            };
            let mut to = v_slot(&i.s, i.c.vd(), at);
            let mut put = len;
            match plan.kind {
                Kind::AddSub { sub, signed, wide } => {
                    self.first(i, len, t, at, (!wide).then_some(signed));
                    let rows = if sub { [VPSUBW, VPSUBD, VPSUBQ] } else { [VPADDW, VPADDD, VPADDQ] };
                    self.asm.v(rows[usize::from(sew)].len(len), (r, t, second));
                }
                Kind::Mul { signed, accumulate } => {
                    self.first(i, len, t, at, Some(signed[0]));
                    let long = match signed {
                        [true, true] => VPMULDQ,
                        [false, false] => VPMULUDQ,
                        _ => VPMULLQ,
                    };
                    self.asm.v([VPMULLW, VPMULLD, long][usize::from(sew)].len(len), (r, t, second));
                    if accumulate {
                        self.asm.v([VPADDW, VPADDD, VPADDQ][usize::from(sew)].len(len), (r, r, to));
                    }
                }
                Kind::Extend { log2, signed } => {
                    let from = usize::from(sew - log2);
                    let row = match log2 {
                        1 => EXTEND[from][usize::from(signed)],
                        2 => EXTEND4[from][usize::from(signed)],
                        _ => EXTEND8[usize::from(signed)],
                    };
                    self.asm.v(row.len(len), (r, v_slot(&i.s, i.c.vs2(), at >> log2)));
                }
                Kind::ShiftLeft => {
                    self.first(i, len, t, at, Some(false));
                    let n = usize::from(sew);
                    if plan.second == Second::Register {
                        self.asm.v([VPSLLW, VPSLLD, VPSLLQ][n].len(len), (r, t, b));
                    } else {
                        let by = i.c.uimm() as u8 & ((16 << sew) - 1) as u8;
                        self.asm.v([VPSLLW_I, VPSLLD_I, VPSLLQ_I][n].len(len), (r, t, by));
                    }
                }
                Kind::Narrow { arithmetic } => {
                    self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at));
                    self.shift_right(i, plan.second, arithmetic, len, t, [u, b]);
                    if self.vectors.avx512() {
                        self.asm.v(TRUNCATE[usize::from(sew)].len(len), (r, t));
                    } else {
                        self.truncate(len, sew, r, t, u);
                    }
                    to = v_slot(&i.s, i.c.vd(), half);
                    put = Len::of(len.bytes() / 2);
                }
            }
            if matches!(plan.kind, Kind::Narrow { .. }) && len == Len::X {
                self.put_half(to, r, active, sew, old);
            } else {
                self.v_put(put, to, r, active, wide, old);
            }
        }
    }

    /// The active elements of `r`, as many as fit in eight bytes: the mask may have bits for more.
    pub(super) fn put_half(&mut self, to: Mem, r: Xmm, active: Active, sew: u8, old: Xmm) {
        let mut value = r;
        if let Active::By(k) = active {
            self.v_load(Len::X, old, to);
            self.asm.v(MOVE[usize::from(sew)].x().k(k), (old, r));
            value = old;
        }
        if let Active::Lanes(m) = active {
            self.v_load(Len::X, old, to);
            self.asm.v(VPBLENDVB.x(), (old, old, r, m));
            value = old;
        }
        self.asm.v(VMOVQ_ST, (to, value));
    }

    /// `r` = the low halves of the elements of `t`, without AVX-512. `t` and `u` change.
    pub(super) fn truncate(&mut self, len: Len, sew: u8, r: Xmm, t: Xmm, u: Xmm) {
        // To a range that packing does not saturate.
        let clear = match sew {
            0 => Some((VPSLLW_I, VPSRLW_I, 8u8)),
            1 => Some((VPSLLD_I, VPSRLD_I, 16)),
            _ => None,
        };
        if let Some((left, right, bits)) = clear {
            self.asm.v(left.len(len), (t, t, bits));
            self.asm.v(right.len(len), (t, t, bits));
        }
        let high = if len == Len::X {
            t
        } else {
            self.asm.v(VEXTRACTI128.y(), (u, t, 1u8));
            u
        };
        match sew {
            0 => self.asm.v(VPACKUSWB.x(), (r, t, high)),
            1 => self.asm.v(VPACKUSDW.x(), (r, t, high)),
            _ => self.asm.v(VSHUFPS.x(), (r, t, high, 0x88u8)),
        }
    }

    /// `t` = vs2, extended unless it has the wider elements.
    fn first(&mut self, i: &Insn, len: Len, t: Xmm, at: usize, extend: Option<bool>) {
        match extend {
            None => self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at)),
            Some(signed) => {
                let row = EXTEND[usize::from(i.s.sew)][usize::from(signed)];
                self.asm.v(row.len(len), (t, v_slot(&i.s, i.c.vs2(), at / 2)));
            }
        }
    }

    /// What is the same for all chunks, in `b`: the scalar in all elements, a shift amount, the bits of one.
    fn widen_scalar(&mut self, i: &Insn, plan: &Plan, len: Len, b: Xmm) {
        let sew = i.s.sew;
        let amount = (16i64 << sew) - 1;
        match (plan.kind, plan.second) {
            (Kind::Narrow { .. }, Second::Vector) => self.v_splat(len, b, sew + 1, Val::C(amount)),
            (Kind::Narrow { .. } | Kind::ShiftLeft, Second::Register) => {
                self.load_to(A, i.a);
                self.asm.alu_imm(Alu::And, false, A, amount as i32);
                self.asm.v(VMOVD, (b, A));
            }
            (Kind::AddSub { signed, .. } | Kind::Mul { signed: [_, signed], .. }, Second::Register) => {
                self.load_to(A, i.a);
                self.asm.extend(1 << sew, signed, A, A);
                self.v_splat_reg(len, b, sew + 1, A);
            }
            _ => {}
        }
    }

    /// `t` >>= the amount: in `u` for each element, of which the bits in `b` count; in `b`; or the immediate.
    fn shift_right(&mut self, i: &Insn, second: Second, arithmetic: bool, len: Len, t: Xmm, [u, b]: [Xmm; 2]) {
        let n = usize::from(i.s.sew);
        let pick =
            |logical: [&'static Row; 3], arith: [&'static Row; 3]| if arithmetic { arith[n] } else { logical[n] };
        match second {
            Second::Vector => {
                self.asm.v(if self.vectors.avx512() { VPANDQ } else { VPAND }.len(len), (u, u, b));
                let row = pick([VPSRLVW, VPSRLVD, VPSRLVQ], [VPSRAVW, VPSRAVD, VPSRAVQ]);
                self.asm.v(row.len(len), (t, t, u));
            }
            Second::Register => {
                let row = pick([VPSRLW, VPSRLD, VPSRLQ], [VPSRAW, VPSRAD, VPSRAQ]);
                self.asm.v(row.len(len), (t, t, b));
            }
            Second::Immediate | Second::None => {
                let by = i.c.uimm() as u8 & ((16 << i.s.sew) - 1) as u8;
                // Without AVX-512 the caller has seen to it that there is no difference.
                let long = if self.vectors.avx512() { VPSRAQ_I } else { VPSRLQ_I };
                let row = pick([VPSRLW_I, VPSRLD_I, VPSRLQ_I], [VPSRAW_I, VPSRAD_I, long]);
                self.asm.v(row.len(len), (t, t, by));
            }
        }
    }
}
