//! Fixed-point arithmetic: saturating sums and differences, averages, scaling shifts and clips.
//!
//! What rounds is done inline for `vxrm` = round-to-nearest-up, the mode after reset and the one of codecs; the functions
//! have the others. `vxsat` is set behind the last chunk, in memory, if an active lane was saturated.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Operand, Row};
use super::super::asm::{Alu, Cc, Xmm};
use super::compare::{LT, NE, SIGNED, UNSIGNED};
use super::float::{Regs, on};
use super::integer::{ADD, SRA_I, SRAV, SRL_I, SRLV, SUB};
use super::lanes::{Active, Part};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Saturate {
        sub: bool,
        signed: bool,
    },
    Average {
        signed: bool,
    },
    /// The upper half of a product of words, doubled.
    Mul,
    /// A rounding shift to the right, in place or to half the width with saturation.
    Scale {
        signed: bool,
    },
    Clip {
        signed: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Vector,
    Register,
    Immediate,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    second: Second,
}

const VCSR: Mem = field(offset_of!(Hart, s.csr.vcsr));
/// `vxsat` and `vxrm` in `vcsr`.
const VXSAT: i32 = 1;
const VXRM: u8 = 6;

fn kind(op: G) -> Option<(Kind, Second)> {
    use Second::{Immediate as I, Register as X, Vector as V};
    let add = |signed| Kind::Saturate { sub: false, signed };
    let sub = |signed| Kind::Saturate { sub: true, signed };
    Some(match op {
        G::VsadduVv => (add(false), V),
        G::VsadduVx => (add(false), X),
        G::VsadduVi => (add(false), I),
        G::VsaddVv => (add(true), V),
        G::VsaddVx => (add(true), X),
        G::VsaddVi => (add(true), I),
        G::VssubuVv => (sub(false), V),
        G::VssubuVx => (sub(false), X),
        G::VssubVv => (sub(true), V),
        G::VssubVx => (sub(true), X),
        G::VaadduVv => (Kind::Average { signed: false }, V),
        G::VaadduVx => (Kind::Average { signed: false }, X),
        G::VaaddVv => (Kind::Average { signed: true }, V),
        G::VaaddVx => (Kind::Average { signed: true }, X),
        G::VsmulVv => (Kind::Mul, V),
        G::VsmulVx => (Kind::Mul, X),
        G::VssrlVv => (Kind::Scale { signed: false }, V),
        G::VssrlVx => (Kind::Scale { signed: false }, X),
        G::VssrlVi => (Kind::Scale { signed: false }, I),
        G::VssraVv => (Kind::Scale { signed: true }, V),
        G::VssraVx => (Kind::Scale { signed: true }, X),
        G::VssraVi => (Kind::Scale { signed: true }, I),
        G::VnclipuWv => (Kind::Clip { signed: false }, V),
        G::VnclipuWx => (Kind::Clip { signed: false }, X),
        G::VnclipuWi => (Kind::Clip { signed: false }, I),
        G::VnclipWv => (Kind::Clip { signed: true }, V),
        G::VnclipWx => (Kind::Clip { signed: true }, X),
        G::VnclipWi => (Kind::Clip { signed: true }, I),
        _ => return None,
    })
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, second) = kind(i.op)?;
    let (s, c) = (&i.s, &i.c);
    match kind {
        Kind::Clip { .. } => {
            let a = s.wide(c.vs2()).ok()?;
            let b = if second == Second::Vector { s.same(c.vs1()).ok()? } else { a };
            s.check(c, s.same(c.vd()).ok()?, &[a, b]).ok()?;
        }
        _ => s.check_same(c, second == Second::Vector).ok()?,
    }
    let possible = match kind {
        // There are no averages of signed bytes, nor shifts of bytes.
        Kind::Average { signed } => s.sew > 0 || !signed,
        Kind::Scale { .. } => s.sew > 0,
        Kind::Mul => s.sew == 1,
        Kind::Saturate { .. } | Kind::Clip { .. } => true,
    };
    // Without AVX-512 there are no arithmetic shifts of 64 bits, nor the lesser of two such numbers.
    let by_avx2 = match kind {
        // Nor shifts of words by each other.
        Kind::Scale { .. } | Kind::Clip { .. } if second != Second::Immediate => false,
        Kind::Average { signed } | Kind::Scale { signed } => !(signed && s.sew == 3),
        Kind::Clip { .. } => s.sew < 2,
        Kind::Mul | Kind::Saturate { .. } => true,
    };
    (possible && (v.avx512() || by_avx2)).then_some(Plan { kind, second })
}

impl Plan {
    /// Of the operand with the widest elements.
    pub fn bytes(&self, i: &Insn) -> usize {
        if matches!(self.kind, Kind::Clip { .. }) { 2 * i.bytes() } else { i.bytes() }
    }

    /// The amount of a shift.
    fn amount(&self, i: &Insn) -> u8 {
        let bits = 8 << (i.s.sew + u8::from(matches!(self.kind, Kind::Clip { .. })));
        i.c.uimm() as u8 & (bits - 1)
    }
}

/// Lanes that were saturated: of this chunk, of all so far.
const NOW: K = K(3);
const EVER: K = K(4);

/// Saturating operations on bytes and on words.
fn saturating(sub: bool, signed: bool) -> [&'static Row; 2] {
    match (sub, signed) {
        (false, true) => [VPADDSB, VPADDSW],
        (false, false) => [VPADDUSB, VPADDUSW],
        (true, true) => [VPSUBSB, VPSUBSW],
        (true, false) => [VPSUBUSB, VPSUBUSW],
    }
}

impl Backend {
    pub(super) fn vector_fixed(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let shift = matches!(plan.kind, Kind::Scale { .. } | Kind::Clip { .. });
        let rounds = match plan.kind {
            Kind::Average { .. } | Kind::Mul => true,
            _ => shift && (plan.second != Second::Immediate || plan.amount(i) != 0),
        };
        if rounds {
            self.asm.test_byte(VCSR, VXRM);
            self.slow_if(i, Cc::Ne);
        }
        let chunks = Chunks::of(plan.bytes(i), self.vectors.widest());
        let (sew, len) = (i.s.sew, chunks.len);
        let Regs { b, t, .. } = self.vectors.regs();
        match plan.second {
            _ if shift => self.v_splat(len, b, plan.wide(sew), Val::C(1)),
            Second::Vector => {}
            Second::Register => self.v_splat(len, b, sew, i.a),
            Second::Immediate => self.v_splat(len, b, sew, Val::C(i.c.simm() as i64)),
        }
        if !self.vectors.avx512() {
            return self.fixed_lanes(i, plan, part, chunks);
        }
        if shift {
            self.amounts(i, plan, len);
        }
        self.limits(plan.kind, sew, len);
        let saturates = matches!(plan.kind, Kind::Saturate { .. } | Kind::Mul | Kind::Clip { .. });
        if saturates {
            self.asm.v(KXORQ, (EVER, EVER, EVER));
        }
        let lanes = len.bytes() >> plan.wide(sew);
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> plan.wide(sew), lanes, plan.wide(sew));
            self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at));
            let second: Operand =
                if plan.second == Second::Vector { v_slot(&i.s, i.c.vs1(), at).into() } else { b.into() };
            if shift && plan.second == Second::Vector {
                self.amounts_of_chunk(i, plan, len, at);
            }
            self.fixed_chunk(i, plan, len, second, active);
            if saturates {
                self.asm.v(KORQ, (EVER, EVER, NOW));
            }
            let (r, old) = (self.vectors.result(0), self.vectors.result(1));
            if let Kind::Clip { .. } = plan.kind {
                let to = v_slot(&i.s, i.c.vd(), at / 2);
                if len == Len::X {
                    self.put_half(to, r, active, sew, old);
                } else {
                    self.v_put(Len::of(len.bytes() / 2), to, r, active, sew, old);
                }
            } else {
                self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, old);
            }
        }
        if saturates {
            self.asm.v(KORTESTQ, (EVER, EVER));
            let none = self.asm.jcc_forward(Cc::E);
            self.asm.alu_imm(Alu::Or, true, VCSR, VXSAT);
            self.asm.bind(none);
        }
    }

    /// The result in register 0, saturated active lanes in [`NOW`]; vs2 is in `t`.
    fn fixed_chunk(&mut self, i: &Insn, plan: &Plan, len: Len, second: Operand, active: Active) {
        let sew = usize::from(i.s.sew);
        let r = self.vectors.result(0);
        let Regs { b, t, u } = self.vectors.regs();
        match plan.kind {
            Kind::Saturate { sub, signed } if sew < 2 => {
                self.asm.v(saturating(sub, signed)[sew].len(len), (r, t, second));
                self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (u, t, second));
                self.asm.v(on(SIGNED[sew], len, active), (NOW, r, u, NE));
            }
            Kind::Saturate { sub, signed: false } => {
                self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (r, t, second));
                let row = on(UNSIGNED[sew], len, active);
                if sub {
                    self.asm.v(row, (NOW, t, second, LT));
                    self.asm.v([VPXORD, VPXORQ][sew - 2].len(len).k(NOW), (r, r, r));
                } else {
                    self.asm.v(row, (NOW, r, t, LT));
                    self.asm.v([VPTERNLOGD, VPTERNLOGQ][sew - 2].len(len).k(NOW), (r, r, r, 0xffu8));
                }
            }
            Kind::Saturate { sub, signed: true } => self.saturate_signed(sub, sew, len, second, active),
            Kind::Average { signed: false } if sew < 2 => {
                self.asm.v([VPAVGB, VPAVGW][sew].len(len), (r, t, second));
            }
            Kind::Average { signed } => {
                self.asm.v(VPXORQ.len(len), (u, t, second));
                self.asm.v(if signed { SRA_I } else { SRL_I }[sew].len(len), (u, u, 1u8));
                self.asm.v(VPORQ.len(len), (t, t, second));
                self.asm.v(SUB[sew].len(len), (r, t, u));
            }
            Kind::Mul => {
                // One product overflows, and is the only one with this result.
                self.asm.v(VPMULHRSW.len(len), (r, t, second));
                let (least, most) = (self.vectors.result(2), self.vectors.result(3));
                self.asm.v(on(VPCMPEQW_K, len, active), (NOW, r, least));
                self.asm.v(VMOVDQU16.len(len).k(NOW), (r, most));
            }
            Kind::Scale { signed } if plan.second != Second::Immediate => self.scale_by(sew, signed, len, r),
            Kind::Scale { signed } => self.scale(sew, signed, len, plan.amount(i), [r, t, u, b]),
            Kind::Clip { signed } => {
                if plan.second == Second::Immediate {
                    self.scale(sew + 1, signed, len, plan.amount(i), [t, t, u, b]);
                } else {
                    self.scale_by(sew + 1, signed, len, t);
                }
                let narrow = [[VPMOVUSWB, VPMOVSWB], [VPMOVUSDW, VPMOVSDW], [VPMOVUSQD, VPMOVSQD]];
                let extend = [[VPMOVZXBW, VPMOVSXBW], [VPMOVZXWD, VPMOVSXWD], [VPMOVZXDQ, VPMOVSXDQ]];
                self.asm.v(narrow[sew][usize::from(signed)].len(len), (r, t));
                self.asm.v(extend[sew][usize::from(signed)].len(len), (u, r));
                self.asm.v(on(SIGNED[sew + 1], len, active), (NOW, u, t, NE));
            }
        }
    }

    /// Registers with the amounts of a shift that is not by an immediate, and with their bits that count. AVX-512 alone
    /// has such shifts.
    fn amount_registers(&self) -> [Xmm; 2] {
        [7, 8].map(|n| self.vectors.scratch(n))
    }

    /// What all chunks need of the amounts. RAX changes.
    fn amounts(&mut self, i: &Insn, plan: &Plan, len: Len) {
        let [amount, low] = self.amount_registers();
        let wide = plan.wide(i.s.sew);
        let bits = (8i32 << wide) - 1;
        match plan.second {
            Second::Immediate => {}
            Second::Vector => self.v_splat(len, low, wide, Val::C(bits.into())),
            Second::Register => {
                self.load_to(A, i.a);
                self.asm.alu_imm(Alu::And, false, A, bits);
                self.v_splat_reg(len, amount, wide, A);
            }
        }
    }

    /// The amounts for the chunk from byte `at` on, from vs1.
    fn amounts_of_chunk(&mut self, i: &Insn, plan: &Plan, len: Len, at: usize) {
        let [amount, low] = self.amount_registers();
        if let Kind::Clip { .. } = plan.kind {
            let extend = [VPMOVZXBW, VPMOVZXWD, VPMOVZXDQ][usize::from(i.s.sew)];
            self.asm.v(extend.len(len), (amount, v_slot(&i.s, i.c.vs1(), at / 2)));
            self.asm.v(VPANDQ.len(len), (amount, amount, low));
        } else {
            self.asm.v(VPANDQ.len(len), (amount, low, v_slot(&i.s, i.c.vs1(), at)));
        }
    }

    /// As [`Backend::scale`], by amounts in their register. Shifted by less than nothing, nothing is left to round.
    fn scale_by(&mut self, eew: usize, signed: bool, len: Len, r: Xmm) {
        let Regs { b, t, u } = self.vectors.regs();
        let [amount, _] = self.amount_registers();
        self.asm.v(SUB[eew].len(len), (u, amount, b));
        self.asm.v(SRLV[eew].len(len), (u, t, u));
        self.asm.v(VPANDQ.len(len), (u, u, b));
        self.asm.v(if signed { SRAV } else { SRLV }[eew].len(len), (t, t, amount));
        self.asm.v(ADD[eew].len(len), (r, t, u));
    }

    /// `r` = `t` shifted to the right and rounded up at the middle; elements of 1 << `eew` bytes, ones in `b`.
    fn scale(&mut self, eew: usize, signed: bool, len: Len, by: u8, [r, t, u, b]: [Xmm; 4]) {
        let shift = if signed { SRA_I } else { SRL_I }[eew];
        let (mv, and) = if self.vectors.avx512() { (VMOVDQU64, VPANDQ) } else { (VMOVDQU, VPAND) };
        if by == 0 {
            if r != t {
                self.asm.v(mv.len(len), (r, t));
            }
            return;
        }
        self.asm.v(SRL_I[eew].len(len), (u, t, by - 1));
        self.asm.v(and.len(len), (u, u, b));
        self.asm.v(shift.len(len), (t, t, by));
        self.asm.v(ADD[eew].len(len), (r, t, u));
    }

    /// Of words of 32 or 64 bits: where the sign says that the result is wrong, the limit on the side of `t`.
    fn saturate_signed(&mut self, sub: bool, sew: usize, len: Len, second: Operand, active: Active) {
        let (r, most) = (self.vectors.result(0), self.vectors.result(3));
        let Regs { t, u, .. } = self.vectors.regs();
        let n = sew - 2;
        self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (r, t, second));
        self.asm.v(VMOVDQU64.len(len), (u, t));
        // The first operand differs from the result, and from the second (a difference) or the second does (a sum).
        let table: u8 = if sub { 0x18 } else { 0x24 };
        self.asm.v(VPTERNLOGQ.len(len), (u, r, second, table));
        self.asm.v([VPMOVD2M, VPMOVQ2M][n].len(len), (NOW, u));
        if let Active::By(k) = active {
            self.asm.v(KANDQ, (NOW, NOW, k));
        }
        self.asm.v([VPSRAD_I, VPSRAQ_I][n].len(len), (u, t, if n == 0 { 31u8 } else { 63 }));
        self.asm.v([VPXORD, VPXORQ][n].len(len).k(NOW), (r, u, most));
    }

    /// Without opmasks. What was saturated shows as bits in scratch register 4.
    fn fixed_lanes(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let (sew, len) = (i.s.sew, chunks.len);
        let wide = plan.wide(sew);
        let lanes = len.bytes() >> wide;
        let Regs { b, t, .. } = self.vectors.regs();
        let [r, old, least, most] = [0, 1, 2, 3].map(|n| self.vectors.result(n));
        let found = self.vectors.scratch(4);
        let bits = 8i64 << sew;
        match plan.kind {
            Kind::Mul => self.v_splat(len, least, 1, Val::C(-0x8000)),
            Kind::Saturate { signed: true, .. } => self.v_splat(len, most, sew, Val::C(i64::MAX >> (64 - bits))),
            Kind::Saturate { signed: false, .. } => self.v_splat(len, most, sew, Val::C(i64::MIN >> (64 - bits))),
            Kind::Clip { signed } => {
                let limit = if signed { (1i64 << (bits - 1)) - 1 } else { (1 << bits) - 1 };
                self.v_splat(len, most, wide, Val::C(limit));
                self.v_splat(len, least, wide, Val::C(-limit - 1));
            }
            Kind::Average { .. } | Kind::Scale { .. } => {}
        }
        self.asm.v(VPXOR.y(), (found, found, found));
        for at in chunks.offsets() {
            self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at));
            let second: Operand =
                if plan.second == Second::Vector { v_slot(&i.s, i.c.vs1(), at).into() } else { b.into() };
            let differs = self.fixed_lanes_chunk(i, plan, len, second);
            let mut active = self.active(i, part, !i.c.unmasked(), at >> wide, lanes, wide);
            if let Some(x) = differs {
                self.v_only(len, x, x, active);
                self.asm.v(VPOR.len(len), (found, found, x));
            }
            let Kind::Clip { .. } = plan.kind else {
                self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, old);
                continue;
            };
            active = self.active(i, part, !i.c.unmasked(), at >> wide, lanes, sew);
            let to = v_slot(&i.s, i.c.vd(), at / 2);
            if len == Len::X {
                self.put_half(to, r, active, sew, old);
            } else {
                self.v_put(Len::X, to, r, active, sew, old);
            }
        }
        if matches!(plan.kind, Kind::Saturate { .. } | Kind::Mul | Kind::Clip { .. }) {
            self.asm.v(VPTEST.y(), (found, found));
            let none = self.asm.jcc_forward(Cc::E);
            self.asm.alu_imm(Alu::Or, true, VCSR, VXSAT);
            self.asm.bind(none);
        }
    }

    /// The result in register 0; where an element of what is returned has bits, it was saturated. vs2 is in `t`.
    fn fixed_lanes_chunk(&mut self, i: &Insn, plan: &Plan, len: Len, second: Operand) -> Option<Xmm> {
        let sew = usize::from(i.s.sew);
        let [r, x, least, most] = [0, 1, 2, 3].map(|n| self.vectors.result(n));
        let Regs { b, t, u } = self.vectors.regs();
        match plan.kind {
            Kind::Saturate { sub, signed } if sew < 2 => {
                self.asm.v(saturating(sub, signed)[sew].len(len), (r, t, second));
                self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (u, t, second));
                self.asm.v(VPXOR.len(len), (x, r, u));
                Some(x)
            }
            Kind::Saturate { sub, signed: false } => {
                let more = [VPCMPGTD_V, VPCMPGTQ_V][sew - 2];
                self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (r, t, second));
                // The difference is negative, the sum less than a part of it.
                self.asm.v(VPXOR.len(len), (t, t, most));
                if sub {
                    self.asm.v(VPXOR.len(len), (u, most, second));
                    self.asm.v(more.len(len), (x, u, t));
                    self.asm.v(VPANDN.len(len), (r, x, r));
                } else {
                    self.asm.v(VPXOR.len(len), (u, most, r));
                    self.asm.v(more.len(len), (x, t, u));
                    self.asm.v(VPOR.len(len), (r, r, x));
                }
                Some(x)
            }
            Kind::Saturate { sub, signed: true } => {
                let more = [VPCMPGTD_V, VPCMPGTQ_V][sew - 2];
                self.asm.v(if sub { SUB } else { ADD }[sew].len(len), (r, t, second));
                // The first operand differs from the result, and from the second (a difference) or the second does (a
                // sum).
                self.asm.v(VPXOR.len(len), (u, if sub { t } else { r }, second));
                self.asm.v(VPXOR.len(len), (x, r, t));
                self.asm.v(VPAND.len(len), (x, x, u));
                self.asm.v(VPXOR.len(len), (u, u, u));
                self.asm.v(more.len(len), (x, u, x));
                self.asm.v(more.len(len), (u, u, t));
                self.asm.v(VPXOR.len(len), (u, u, most));
                self.asm.v(VPBLENDVB.len(len), (r, r, u, x));
                Some(x)
            }
            Kind::Average { signed: false } if sew < 2 => {
                self.asm.v([VPAVGB, VPAVGW][sew].len(len), (r, t, second));
                None
            }
            Kind::Average { signed } => {
                self.asm.v(VPXOR.len(len), (u, t, second));
                self.asm.v(if signed { SRA_I } else { SRL_I }[sew].len(len), (u, u, 1u8));
                self.asm.v(VPOR.len(len), (t, t, second));
                self.asm.v(SUB[sew].len(len), (r, t, u));
                None
            }
            Kind::Mul => {
                // One product overflows, and is the only one with this result; the other limit is what it is not.
                self.asm.v(VPMULHRSW.len(len), (r, t, second));
                self.asm.v(VPCMPEQW_V.len(len), (x, r, least));
                self.asm.v(VPXOR.len(len), (r, r, x));
                Some(x)
            }
            Kind::Scale { signed } => {
                self.scale(sew, signed, len, plan.amount(i), [r, t, u, b]);
                None
            }
            Kind::Clip { signed } => {
                self.scale(sew + 1, signed, len, plan.amount(i), [t, t, u, b]);
                let min = if signed { [VPMINSW, VPMINSD] } else { [VPMINUW, VPMINUD] };
                self.asm.v(min[sew].len(len), (u, t, most));
                if signed {
                    self.asm.v([VPMAXSW, VPMAXSD][sew].len(len), (u, u, least));
                }
                self.asm.v(VPXOR.len(len), (x, u, t));
                self.truncate(len, i.s.sew, r, u, t);
                Some(x)
            }
        }
    }

    /// Constants: the greatest signed number in result register 3, the least in 2.
    fn limits(&mut self, kind: Kind, sew: u8, len: Len) {
        let (least, most) = (self.vectors.result(2), self.vectors.result(3));
        match kind {
            Kind::Mul => {
                self.v_splat(len, least, 1, Val::C(-0x8000));
                self.v_splat(len, most, 1, Val::C(0x7fff));
            }
            Kind::Saturate { signed: true, .. } if sew >= 2 => {
                self.v_splat(len, most, sew, Val::C(i64::MAX >> (64 - (8 << sew))));
            }
            _ => {}
        }
    }
}

impl Plan {
    /// log2 of the bytes of the widest element.
    fn wide(&self, sew: u8) -> u8 {
        sew + u8::from(matches!(self.kind, Kind::Clip { .. }))
    }
}
