//! Reductions: integer ones of any kind, floating-point sums strictly in order.
//!
//! An integer reduction folds chunks into one register, and that in halves. Lanes that are not active keep what they
//! have there: zeros for a sum, else element 0 of vs1, which the operation may meet any number of times.

use super::super::asm::rows::*;
use super::super::asm::vex::{Len, Row};
use super::super::asm::{Alu, Cc, Shift, mem_index};
use super::super::{BIAS, HART};
use super::float::{Regs, native, on};
use super::integer::BySew;
use super::lanes::{Active, MOVE, Part};
use super::*;
use crate::tcg::ir::fp_check;

/// Rows by element width.

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    /// Whether lanes start from zeros.
    Integer {
        rows: BySew,
        zero: bool,
    },
    /// A sum of twice SEW, of signed elements or not.
    WideSum {
        signed: bool,
    },
    FloatSum,
    /// The least or the greatest.
    FloatExtreme {
        max: bool,
    },
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let sum = |rows| Plan::Integer { rows, zero: true };
    let idempotent = |rows| Plan::Integer { rows, zero: false };
    let plan = match i.op {
        G::VredsumVs => sum([VPADDB, VPADDW, VPADDD, VPADDQ]),
        G::VredxorVs => sum([if v.avx512() { VPXORQ } else { VPXOR }; 4]),
        G::VredandVs => idempotent([if v.avx512() { VPANDQ } else { VPAND }; 4]),
        G::VredorVs => idempotent([if v.avx512() { VPORQ } else { VPOR }; 4]),
        G::VredminuVs => idempotent([VPMINUB, VPMINUW, VPMINUD, VPMINUQ]),
        G::VredminVs => idempotent([VPMINSB, VPMINSW, VPMINSD, VPMINSQ]),
        G::VredmaxuVs => idempotent([VPMAXUB, VPMAXUW, VPMAXUD, VPMAXUQ]),
        G::VredmaxVs => idempotent([VPMAXSB, VPMAXSW, VPMAXSD, VPMAXSQ]),
        G::VwredsumuVs => Plan::WideSum { signed: false },
        G::VwredsumVs => Plan::WideSum { signed: true },
        G::VfredusumVs | G::VfredosumVs if native(v, i.s.sew) => Plan::FloatSum,
        G::VfredminVs if native(v, i.s.sew) => Plan::FloatExtreme { max: false },
        G::VfredmaxVs if native(v, i.s.sew) => Plan::FloatExtreme { max: true },
        _ => return None,
    };
    let eew = i.s.sew + u8::from(matches!(plan, Plan::WideSum { .. }));
    i.s.check_reduction(&i.c, eew).ok()?;
    let possible = match plan {
        Plan::Integer { rows, .. } => v.avx512() || rows[usize::from(i.s.sew)].vex.is_some(),
        Plan::WideSum { .. } | Plan::FloatSum | Plan::FloatExtreme { .. } => true,
    };
    possible.then_some(plan)
}

impl Backend {
    pub(super) fn vector_reduce(&mut self, i: &Insn, plan: &Plan, part: Part) {
        if let Plan::FloatSum | Plan::FloatExtreme { .. } = plan {
            self.fp_ready(i, fp_check::DIRTY | fp_check::NATIVE_FRM);
        }
        // Without a body there is nothing to do.
        let mut nothing = None;
        if part == Part::Some {
            self.asm.alu_imm(Alu::Cmp, true, VL, 0);
            nothing = Some(self.asm.jcc_forward(Cc::E));
        }
        match *plan {
            Plan::Integer { rows, zero } => self.fold(i, rows, zero, part),
            Plan::WideSum { signed } => self.wide_sum(i, signed, part),
            Plan::FloatSum => self.float_fold(i, None),
            Plan::FloatExtreme { max } => self.float_fold(i, Some(max)),
        }
        if let Some(nothing) = nothing {
            self.asm.bind(nothing);
        }
    }

    fn fold(&mut self, i: &Insn, rows: BySew, zero: bool, part: Part) {
        let (sew, chunks) = (i.s.sew, Chunks::of(i.bytes(), self.vectors.widest()));
        let (len, row) = (chunks.len, rows[usize::from(sew)]);
        let (r, t) = (self.vectors.result(0), self.vectors.regs().t);
        let first = v_slot(&i.s, i.c.vs1(), 0);
        if zero {
            self.asm.extend(1 << sew, false, A, first);
            self.asm.v(VMOVQ, (r, A));
        } else {
            let splat = [VPBROADCASTB, VPBROADCASTW, VPBROADCASTD, VPBROADCASTQ][usize::from(sew)];
            self.asm.v(splat.len(len), (r, first));
        }
        let lanes = len.bytes() >> sew;
        for at in chunks.offsets() {
            let from = v_slot(&i.s, i.c.vs2(), at);
            match self.active(i, part, !i.c.unmasked(), at >> sew, lanes, sew) {
                Active::All => self.asm.v(row.len(len), (r, r, from)),
                Active::By(k) => {
                    self.asm.v(row.len(len), (t, r, from));
                    self.asm.v(MOVE[usize::from(sew)].len(len).k(k), (r, t));
                }
                Active::Lanes(m) => {
                    self.asm.v(row.len(len), (t, r, from));
                    self.asm.v(VPBLENDVB.len(len), (r, r, t, m));
                }
            }
        }
        self.fold_lanes(row, len, sew);
        self.put_first(i, sew);
    }

    fn wide_sum(&mut self, i: &Insn, signed: bool, part: Part) {
        let (sew, chunks) = (usize::from(i.s.sew), Chunks::of(2 * i.bytes(), self.vectors.widest()));
        let len = chunks.len;
        let (r, t) = (self.vectors.result(0), self.vectors.regs().t);
        let extend = [[VPMOVZXBW, VPMOVSXBW], [VPMOVZXWD, VPMOVSXWD], [VPMOVZXDQ, VPMOVSXDQ]][sew][usize::from(signed)];
        let add = [VPADDW, VPADDD, VPADDQ][sew];
        self.asm.extend(2 << sew, false, A, v_slot(&i.s, i.c.vs1(), 0));
        self.asm.v(VMOVQ, (r, A));
        let lanes = len.bytes() >> (sew + 1);
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> (sew + 1), lanes, sew as u8 + 1);
            self.asm.v(extend.len(len), (t, v_slot(&i.s, i.c.vs2(), at / 2)));
            if let Active::Lanes(m) = active {
                self.asm.v(VPAND.len(len), (t, t, m));
                self.asm.v(add.len(len), (r, r, t));
            } else {
                self.asm.v(on(add, len, active), (r, r, t));
            }
        }
        self.fold_lanes(add, len, sew as u8 + 1);
        self.put_first(i, sew as u8 + 1);
    }

    /// Element 0 of the result register = all of its elements together.
    fn fold_lanes(&mut self, row: &'static Row, len: Len, eew: u8) {
        let (r, t) = (self.vectors.result(0), self.vectors.regs().t);
        if len == Len::Z {
            self.asm.v(VEXTRACTI64X4.z(), (t, r, 1u8));
            self.asm.v(row.y(), (r, r, t));
        }
        if len >= Len::Y {
            let upper = if self.vectors.avx512() { VEXTRACTI32X4 } else { VEXTRACTI128 };
            self.asm.v(upper.y(), (t, r, 1u8));
            self.asm.v(row.x(), (r, r, t));
        }
        for bytes in [8u8, 4, 2, 1].into_iter().filter(|bytes| *bytes >= 1 << eew) {
            self.asm.v(VPSRLDQ.x(), (t, r, bytes));
            self.asm.v(row.x(), (r, r, t));
        }
    }

    /// Element 0 of vd = that of the result register.
    fn put_first(&mut self, i: &Insn, eew: u8) {
        let r = self.vectors.result(0);
        self.asm.v(VMOVQ_ST, (A, r));
        self.asm.store(1 << eew, v_slot(&i.s, i.c.vd(), 0), A);
    }

    /// One active element after the other: the sum, or the greatest or least. What a NaN is part of is the function's.
    fn float_fold(&mut self, i: &Insn, max: Option<bool>) {
        let double = i.s.sew == 3;
        let (load, add, ordered, store) =
            if double { (VMOVSD, VADDSD, VUCOMISD, VMOVSD_ST) } else { (VMOVSS, VADDSS, VUCOMISS, VMOVSS_ST) };
        let r = self.vectors.result(0);
        let Regs { t, u, .. } = self.vectors.regs();
        self.asm.v(load, (r, v_slot(&i.s, i.c.vs1(), 0)));
        let (first, v0) = (v_slot(&i.s, i.c.vs2(), 0), v_slot(&i.s, 0, 0));
        debug_assert!(first.base == HART && BIAS == 128, "registers are at a constant distance from the hart");
        self.asm.mov_imm(C, 0);
        self.asm.mov_imm(D, 0);
        let round = self.asm.here();
        let mut inactive = None;
        if !i.c.unmasked() {
            self.asm.mov(true, A, C);
            self.asm.shift_imm(Shift::Shr, true, A, 6);
            self.asm.mov(true, A, mem_index(v0.base, A, 8, v0.disp));
            self.asm.bit_reg(4, A, C);
            inactive = Some(self.asm.jcc_forward(Cc::Ae));
            self.asm.mov_imm(D, 1);
        }
        let from = mem_index(first.base, C, 1 << i.s.sew, first.disp);
        match max {
            None => self.asm.v(add, (r, r, from)),
            Some(max) => {
                // The host's choose the second of two zeros, and flag quiet NaNs.
                let row = match (max, double) {
                    (false, false) => VMINSS,
                    (false, true) => VMINSD,
                    (true, false) => VMAXSS,
                    (true, true) => VMAXSD,
                };
                self.asm.v(load, (t, from));
                self.asm.v(ordered, (r, t));
                self.slow_if(i, Cc::P);
                self.asm.v(row, (u, r, t));
                self.asm.v(row, (r, t, r));
                self.asm.v(if max { VANDPS } else { VORPS }.x(), (r, r, u));
            }
        }
        if let Some(inactive) = inactive {
            self.asm.bind(inactive);
        }
        self.asm.alu_imm(Alu::Add, true, C, 1);
        self.asm.alu(Alu::Cmp, true, C, VL);
        self.asm.jcc(Cc::B, round);
        if max.is_none() {
            // A scalar alone is copied, whatever it is.
            let alone = (!i.c.unmasked()).then(|| {
                self.asm.test(true, D, D);
                self.asm.jcc_forward(Cc::E)
            });
            self.asm.v(ordered, (r, r));
            self.slow_if(i, Cc::P);
            if let Some(alone) = alone {
                self.asm.bind(alone);
            }
        }
        self.asm.v(store, (v_slot(&i.s, i.c.vd(), 0), r));
    }
}
