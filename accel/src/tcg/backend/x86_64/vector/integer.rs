//! Integer arithmetic of single width, merges and moves.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Operand, Row};
use super::super::asm::{Alu, Xmm};
use super::lanes::{MOVE, Part, SPREAD, mask_load};
use super::*;

/// How the result comes from vs2 (`a`), vs1 or a scalar (`b`) and the old vd (`d`).
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `a op b`, `b op a`.
    Plain(&'static Row),
    Reverse(&'static Row),
    /// A product of bytes.
    MulBytes,
    /// `d + a * b`, `d - a * b`: multiplication, then the other.
    Accumulate(&'static Row, &'static Row),
    /// `a + d * b`, `a - d * b`.
    Multiply(&'static Row, &'static Row),
    /// All elements shifted alike: by a register, by an immediate.
    Shift(&'static Row, &'static Row),
    /// Bytes shifted alike by an immediate: to the left or to the right.
    ShiftBytes {
        left: bool,
    },
    /// Each shifted by its own amount, of which the low bits count.
    ShiftEach(&'static Row),
    /// The upper halves of products of 32-bit elements, by the product of two even ones.
    High(&'static Row),
    /// The minimum or maximum of 64-bit elements, without AVX-512.
    LongExtreme {
        max: bool,
        signed: bool,
    },
    /// `b` where v0 has a bit, else `a`.
    Merge,
    /// `b`.
    Move,
}

/// What stands beside vs2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Vector,
    Scalar(Val),
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    second: Second,
}

/// Rows by element width.
pub(super) type BySew = [&'static Row; 4];

pub(super) const ADD: BySew = [VPADDB, VPADDW, VPADDD, VPADDQ];
pub(super) const SUB: BySew = [VPSUBB, VPSUBW, VPSUBD, VPSUBQ];
const MINU: BySew = [VPMINUB, VPMINUW, VPMINUD, VPMINUQ];
const MIN: BySew = [VPMINSB, VPMINSW, VPMINSD, VPMINSQ];
const MAXU: BySew = [VPMAXUB, VPMAXUW, VPMAXUD, VPMAXUQ];
const MAX: BySew = [VPMAXSB, VPMAXSW, VPMAXSD, VPMAXSQ];
/// Of words and wider; index 0 is not used.
const MUL: BySew = [VPMULLW, VPMULLW, VPMULLD, VPMULLQ];
pub(super) const SLL: BySew = [VPSLLW, VPSLLW, VPSLLD, VPSLLQ];
pub(super) const SRL: BySew = [VPSRLW, VPSRLW, VPSRLD, VPSRLQ];
const SRA: BySew = [VPSRAW, VPSRAW, VPSRAD, VPSRAQ];
pub(super) const SLL_I: BySew = [VPSLLW_I, VPSLLW_I, VPSLLD_I, VPSLLQ_I];
pub(super) const SRL_I: BySew = [VPSRLW_I, VPSRLW_I, VPSRLD_I, VPSRLQ_I];
pub(super) const SRA_I: BySew = [VPSRAW_I, VPSRAW_I, VPSRAD_I, VPSRAQ_I];
const SLLV: BySew = [VPSLLVW, VPSLLVW, VPSLLVD, VPSLLVQ];
pub(super) const SRLV: BySew = [VPSRLVW, VPSRLVW, VPSRLVD, VPSRLVQ];
pub(super) const SRAV: BySew = [VPSRAVW, VPSRAVW, VPSRAVD, VPSRAVQ];

/// Operation and second operand.
fn kind(i: &Insn, evex: bool) -> Option<(Kind, Second)> {
    use Second::{Scalar, Vector};
    let sew = usize::from(i.s.sew);
    let v = Vector;
    let x = Scalar(i.a);
    let s = Scalar(Val::C(i.c.simm() as i64));
    // Only the low bits of a shift amount count.
    let u = Scalar(Val::C(i.c.uimm() as i64 & ((8 << sew) - 1)));
    let plain = |rows: BySew| Kind::Plain(rows[sew]);
    let logic = |long: &'static Row, short: &'static Row| Kind::Plain(if evex { long } else { short });
    let mul = if sew == 0 { Kind::MulBytes } else { plain(MUL) };
    let extreme = |rows: BySew, max, signed| match sew == 3 && !evex {
        true => Kind::LongExtreme { max, signed },
        false => plain(rows),
    };
    let words = |rows: BySew| (sew > 0).then_some(rows[sew]);
    let high = |words: &'static Row, long: &'static Row| match sew {
        1 => Some(Kind::Plain(words)),
        2 => Some(Kind::High(long)),
        _ => None,
    };
    let shift = |by: BySew, imm: BySew| Some(Kind::Shift(words(by)?, imm[sew]));
    let each = |rows: BySew| Some(Kind::ShiftEach(words(rows)?));
    let accumulate = |then: BySew| Some(Kind::Accumulate(words(MUL)?, then[sew]));
    let multiply = |then: BySew| Some(Kind::Multiply(words(MUL)?, then[sew]));
    Some(match i.op {
        G::VaddVv => (plain(ADD), v),
        G::VaddVx => (plain(ADD), x),
        G::VaddVi => (plain(ADD), s),
        G::VsubVv => (plain(SUB), v),
        G::VsubVx => (plain(SUB), x),
        G::VrsubVx => (Kind::Reverse(SUB[sew]), x),
        G::VrsubVi => (Kind::Reverse(SUB[sew]), s),
        G::VminuVv => (extreme(MINU, false, false), v),
        G::VminuVx => (extreme(MINU, false, false), x),
        G::VminVv => (extreme(MIN, false, true), v),
        G::VminVx => (extreme(MIN, false, true), x),
        G::VmaxuVv => (extreme(MAXU, true, false), v),
        G::VmaxuVx => (extreme(MAXU, true, false), x),
        G::VmaxVv => (extreme(MAX, true, true), v),
        G::VmaxVx => (extreme(MAX, true, true), x),
        G::VandVv => (logic(VPANDQ, VPAND), v),
        G::VandVx => (logic(VPANDQ, VPAND), x),
        G::VandVi => (logic(VPANDQ, VPAND), s),
        G::VorVv => (logic(VPORQ, VPOR), v),
        G::VorVx => (logic(VPORQ, VPOR), x),
        G::VorVi => (logic(VPORQ, VPOR), s),
        G::VxorVv => (logic(VPXORQ, VPXOR), v),
        G::VxorVx => (logic(VPXORQ, VPXOR), x),
        G::VxorVi => (logic(VPXORQ, VPXOR), s),
        G::VsllVv => (each(SLLV)?, v),
        G::VsllVx => (shift(SLL, SLL_I)?, x),
        G::VsllVi if sew == 0 => (Kind::ShiftBytes { left: true }, u),
        G::VsllVi => (shift(SLL, SLL_I)?, u),
        G::VsrlVv => (each(SRLV)?, v),
        G::VsrlVx => (shift(SRL, SRL_I)?, x),
        G::VsrlVi if sew == 0 => (Kind::ShiftBytes { left: false }, u),
        G::VsrlVi => (shift(SRL, SRL_I)?, u),
        G::VsraVv => (each(SRAV)?, v),
        G::VsraVx => (shift(SRA, SRA_I)?, x),
        G::VsraVi => (shift(SRA, SRA_I)?, u),
        G::VmulVv => (mul, v),
        G::VmulVx => (mul, x),
        G::VmulhVv => (high(VPMULHW, VPMULDQ)?, v),
        G::VmulhVx => (high(VPMULHW, VPMULDQ)?, x),
        G::VmulhuVv => (high(VPMULHUW, VPMULUDQ)?, v),
        G::VmulhuVx => (high(VPMULHUW, VPMULUDQ)?, x),
        G::VmaccVv => (accumulate(ADD)?, v),
        G::VmaccVx => (accumulate(ADD)?, x),
        G::VnmsacVv => (accumulate(SUB)?, v),
        G::VnmsacVx => (accumulate(SUB)?, x),
        G::VmaddVv => (multiply(ADD)?, v),
        G::VmaddVx => (multiply(ADD)?, x),
        G::VnmsubVv => (multiply(SUB)?, v),
        G::VnmsubVx => (multiply(SUB)?, x),
        G::VmergeVvm => (Kind::Merge, v),
        G::VmergeVxm => (Kind::Merge, x),
        G::VmergeVim => (Kind::Merge, s),
        G::VmvVV => (Kind::Move, v),
        G::VmvVX => (Kind::Move, x),
        G::VmvVI => (Kind::Move, s),
        _ => return None,
    })
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, second) = kind(i, v.avx512())?;
    let vector = second == Second::Vector;
    match kind {
        // The bits of vs2 are zero.
        Kind::Move => {
            let d = i.s.same(i.c.vd()).ok()?;
            i.s.masked_destination(&i.c, &d).ok()?;
            if vector {
                i.s.same(i.c.vs1()).ok()?;
            }
        }
        _ => i.s.check_same(&i.c, vector).ok()?,
    }
    (v.avx512() || kind.by_avx2()).then_some(Plan { kind, second })
}

impl Kind {
    /// AVX2 has the instructions, or what makes up for them.
    fn by_avx2(self) -> bool {
        let has = |row: &'static Row| row.vex.is_some() || *row == *VPMULLQ;
        match self {
            Kind::Plain(row) | Kind::Reverse(row) | Kind::ShiftEach(row) => has(row),
            Kind::Shift(row, imm) => has(row) && has(imm),
            Kind::Multiply(mul, _) | Kind::Accumulate(mul, _) => has(mul),
            Kind::High(_) => true,
            Kind::Move | Kind::MulBytes | Kind::ShiftBytes { .. } | Kind::Merge | Kind::LongExtreme { .. } => true,
        }
    }
}

/// Bits of v0 of a chunk, beside those of `lanes`.
const CHOICE: K = K(3);
/// Odd bytes.
const ODD: K = K(4);

/// Where an operand beside vs2 is.
#[derive(Clone, Copy)]
enum Place {
    Reg(Xmm),
    Mem(Mem),
}

impl Backend {
    pub(super) fn vector_integer(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let len = chunks.len;
        let lanes = len.bytes() >> sew;
        self.constants(i, plan, len);
        let masked = !i.c.unmasked() && !matches!(plan.kind, Kind::Merge);
        for at in chunks.offsets() {
            let active = self.active(i, part, masked, at >> sew, lanes, sew);
            let value = self.compute(i, plan, len, at);
            let temp = self.vectors.scratch(2);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), value, active, sew, temp);
        }
    }

    /// What all chunks need: the scalar in scratch register 1, masks of bits in 3.
    fn constants(&mut self, i: &Insn, plan: &Plan, len: Len) {
        let sew = i.s.sew;
        let bits = 8i64 << sew;
        match (plan.kind, plan.second) {
            (Kind::Shift(..), Second::Scalar(Val::C(_))) => {}
            (Kind::Shift(..), Second::Scalar(x)) => {
                self.load_to(A, x);
                self.asm.alu_imm(Alu::And, false, A, bits as i32 - 1);
                let r = self.vectors.scratch(1);
                self.asm.v(VMOVD, (r, A));
            }
            (Kind::ShiftBytes { left }, Second::Scalar(Val::C(n))) => {
                let kept = if left { 0xff << n & 0xff } else { 0xff >> n };
                let r = self.vectors.scratch(3);
                self.v_splat(len, r, 0, Val::C(kept));
            }
            (Kind::ShiftEach(_), _) => {
                let r = self.vectors.scratch(3);
                self.v_splat(len, r, sew, Val::C(bits - 1));
            }
            (_, Second::Scalar(x)) => {
                let r = self.vectors.scratch(1);
                self.v_splat(len, r, sew, x);
            }
            _ => {}
        }
        if matches!(plan.kind, Kind::LongExtreme { signed: false, .. }) {
            let r = self.vectors.scratch(3);
            self.v_splat(len, r, sew, Val::C(i64::MIN));
        }
        if matches!(plan.kind, Kind::MulBytes) && self.vectors.avx512() {
            self.asm.mov_imm(A, 0xaaaa_aaaa_aaaa_aaaa_u64 as i64);
            self.asm.v(KMOVQ_R, (ODD, A));
        }
    }

    /// The result for the chunk from byte `at` on.
    fn compute(&mut self, i: &Insn, plan: &Plan, len: Len, at: usize) -> Xmm {
        let [r, b, t] = [0, 1, 2].map(|n| self.vectors.scratch(n));
        let slot = |reg| v_slot(&i.s, reg, at);
        let (d, a) = (slot(i.c.vd()), slot(i.c.vs2()));
        let second = match plan.second {
            Second::Vector => Place::Mem(slot(i.c.vs1())),
            Second::Scalar(_) => Place::Reg(b),
        };
        let and = if self.vectors.avx512() { VPANDQ } else { VPAND };
        match plan.kind {
            Kind::Plain(row) => {
                self.v_load(len, r, a);
                self.with_second(row, len, r, second);
            }
            Kind::Reverse(row) => self.asm.v(row.len(len), (r, b, a)),
            Kind::Accumulate(mul, then) => {
                self.v_load(len, r, a);
                self.with_second(mul, len, r, second);
                self.v_load(len, t, d);
                self.asm.v(then.len(len), (r, t, r));
            }
            Kind::Multiply(mul, then) => {
                self.v_load(len, r, d);
                self.with_second(mul, len, r, second);
                self.v_load(len, t, a);
                self.asm.v(then.len(len), (r, t, r));
            }
            Kind::Shift(by, imm) => {
                self.v_load(len, r, a);
                match plan.second {
                    Second::Scalar(Val::C(n)) => self.asm.v(imm.len(len), (r, r, n as u8)),
                    _ => self.asm.v(by.len(len), (r, r, b)),
                }
            }
            Kind::ShiftBytes { left } => {
                let Second::Scalar(Val::C(n)) = plan.second else { unreachable!("an immediate") };
                self.v_load(len, r, a);
                self.asm.v(if left { VPSLLW_I } else { VPSRLW_I }.len(len), (r, r, n as u8));
                let kept = self.vectors.scratch(3);
                self.asm.v(and.len(len), (r, r, kept));
            }
            Kind::ShiftEach(row) => {
                let (count, low) = (self.vectors.scratch(4), self.vectors.scratch(3));
                self.asm.v(and.len(len), (count, low, slot(i.c.vs1())));
                self.v_load(len, r, a);
                self.asm.v(row.len(len), (r, r, count));
            }
            Kind::MulBytes => self.byte_product(len, r, a, second),
            Kind::High(row) => self.high_product(row, len, r, a, second),
            Kind::LongExtreme { max, signed } => {
                self.v_load(len, r, a);
                self.long_extreme(len, r, second, max, signed);
            }
            Kind::Merge => self.merge(i, len, at, r, second),
            Kind::Move => match second {
                Place::Mem(m) => self.v_load(len, r, m),
                Place::Reg(b) => return b,
            },
        }
        r
    }

    /// `r = r op second`.
    fn with_second(&mut self, row: &'static Row, len: Len, r: Xmm, second: Place) {
        if *row == *VPMULLQ && !self.vectors.avx512() {
            return self.long_product(len, r, second);
        }
        match second {
            Place::Reg(b) => self.asm.v(row.len(len), (r, r, b)),
            Place::Mem(m) => self.asm.v(row.len(len), (r, r, m)),
        }
    }

    /// `r = second`.
    fn load_second(&mut self, len: Len, r: Xmm, second: Place) {
        match second {
            Place::Mem(m) => self.v_load(len, r, m),
            Place::Reg(b) => self.asm.v(if self.vectors.avx512() { VMOVDQU64 } else { VMOVDQU }.len(len), (r, b)),
        }
    }

    /// `r` = the low bytes of products of bytes: those at odd places and the others, each as 16 bits.
    fn byte_product(&mut self, len: Len, r: Xmm, a: Mem, second: Place) {
        let (odd, factor) = (self.vectors.scratch(3), self.vectors.scratch(4));
        self.v_load(len, r, a);
        self.load_second(len, factor, second);
        self.asm.v(VPSRLW_I.len(len), (odd, r, 8));
        self.asm.v(VPMULLW.len(len), (r, r, factor));
        self.asm.v(VPSRLW_I.len(len), (factor, factor, 8));
        self.asm.v(VPMULLW.len(len), (odd, odd, factor));
        self.asm.v(VPSLLW_I.len(len), (odd, odd, 8));
        if self.vectors.avx512() {
            self.asm.v(VMOVDQU8.len(len).k(ODD), (r, odd));
        } else {
            self.asm.v(VPSLLW_I.len(len), (r, r, 8u8));
            self.asm.v(VPSRLW_I.len(len), (r, r, 8u8));
            self.asm.v(VPOR.len(len), (r, r, odd));
        }
    }

    /// `r` = the high 32 bits of products of 32 bits, of which `row` makes every second one.
    fn high_product(&mut self, row: &'static Row, len: Len, r: Xmm, a: Mem, second: Place) {
        let (x, y) = (self.vectors.scratch(3), self.vectors.scratch(4));
        self.v_load(len, x, a);
        self.load_second(len, y, second);
        self.asm.v(row.len(len), (r, x, y));
        self.asm.v(VPSRLQ_I.len(len), (x, x, 32u8));
        self.asm.v(VPSRLQ_I.len(len), (y, y, 32u8));
        self.asm.v(row.len(len), (x, x, y));
        self.asm.v(VPSRLQ_I.len(len), (r, r, 32u8));
        self.asm.v(VPSRLQ_I.len(len), (x, x, 32u8));
        self.asm.v(VPSLLQ_I.len(len), (x, x, 32u8));
        self.asm.v(if self.vectors.avx512() { VPORQ } else { VPOR }.len(len), (r, r, x));
    }

    /// `r` = the larger or smaller of `r` and `second`, of 64 bits, which AVX2 can only compare with signs.
    fn long_extreme(&mut self, len: Len, r: Xmm, second: Place, max: bool, signed: bool) {
        let y = match second {
            Place::Mem(m) => {
                let t = self.vectors.scratch(2);
                self.v_load(len, t, m);
                t
            }
            Place::Reg(b) => b,
        };
        let (x_side, y_side) = (self.vectors.scratch(4), SPREAD);
        let [mut x_key, mut y_key] = [r, y];
        if !signed {
            let sign = self.vectors.scratch(3);
            self.asm.v(VPXOR.len(len), (x_side, sign, r));
            self.asm.v(VPXOR.len(len), (y_side, sign, y));
            [x_key, y_key] = [x_side, y_side];
        }
        let [more, less] = if max { [y_key, x_key] } else { [x_key, y_key] };
        self.asm.v(VPCMPGTQ_V.len(len), (x_side, more, less));
        self.asm.v(VPBLENDVB.len(len), (r, r, y, x_side));
    }

    /// `r` = `second` where the mask says so, else vs2.
    fn merge(&mut self, i: &Insn, len: Len, at: usize, r: Xmm, second: Place) {
        let sew = usize::from(i.s.sew);
        let first = at >> sew;
        let (a, mask) = (v_slot(&i.s, i.c.vs2(), at), v_slot(&i.s, 0, first / 8));
        if self.vectors.avx512() {
            self.asm.v(mask_load(len.bytes() >> sew), (CHOICE, mask));
            self.v_load(len, r, a);
            let op = MOVE[sew].len(len).k(CHOICE);
            match second {
                Place::Mem(m) => self.asm.v(op, (r, m)),
                Place::Reg(b) => self.asm.v(op, (r, b)),
            }
        } else {
            self.spread(len, SPREAD, mask, first, sew as u8);
            self.v_load(len, r, a);
            match second {
                Place::Mem(m) => self.asm.v(VPBLENDVB.len(len), (r, r, m, SPREAD)),
                Place::Reg(b) => self.asm.v(VPBLENDVB.len(len), (r, r, b, SPREAD)),
            }
        }
    }

    /// `r` = the low 64 bits of products, without AVX-512: those of the halves that count.
    fn long_product(&mut self, len: Len, r: Xmm, second: Place) {
        let (high, other) = (self.vectors.scratch(4), SPREAD);
        let y: Operand = match second {
            Place::Reg(b) => b.into(),
            Place::Mem(m) => m.into(),
        };
        self.asm.v(VPSRLQ_I.len(len), (high, r, 32u8));
        self.asm.v(VPMULUDQ.len(len), (high, high, y));
        self.asm.v(VMOVDQU.len(len), (other, y));
        self.asm.v(VPSRLQ_I.len(len), (other, other, 32u8));
        self.asm.v(VPMULUDQ.len(len), (other, other, r));
        self.asm.v(VPADDQ.len(len), (high, high, other));
        self.asm.v(VPSLLQ_I.len(len), (high, high, 32u8));
        self.asm.v(VPMULUDQ.len(len), (r, r, y));
        self.asm.v(VPADDQ.len(len), (r, r, high));
    }
}
