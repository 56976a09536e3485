//! Bit manipulation (Zvbb, Zvkb): AND with the complement, rotations, reversals and counts.

use super::super::asm::rows::*;
use super::super::asm::vex::{Len, Operand, Row};
use super::super::asm::{Alu, Xmm, mem};
use super::float::Regs;
use super::integer::{SLL, SLL_I, SRL, SRL_I};
use super::lanes::Part;
use super::*;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Bits of vs2 that the other operand has not.
    AndNot,
    /// To the right by a constant.
    Rotate(u8),
    /// By a register, to the right or to the left.
    RotateBy { left: bool },
    /// Each by its own amount.
    RotateEach(&'static Row),
    /// Bytes of each element in the other order, and then bits of each byte.
    Reverse { bytes: bool, bits: bool },
    /// One instruction.
    Count(&'static Row),
    /// Zeros below the lowest one: as many bits as there are below it.
    TrailingZeros(&'static Row),
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    vector: bool,
}

/// Places of bytes in the other order, by element width.
#[repr(C, align(64))]
struct Orders([[u8; 64]; 4]);

static ORDERS: Orders = {
    let mut orders = [[0; 64]; 4];
    let mut log2 = 0;
    while log2 < 4 {
        let mut i = 0;
        while i < 64 {
            // Inside of the 16 bytes that a shuffle sees.
            orders[log2][i] = (i as u8 ^ ((1 << log2) - 1)) % 16;
            i += 1;
        }
        log2 += 1;
    }
    Orders(orders)
};

/// The matrix that turns bytes round.
pub const REVERSED_BITS: i64 = 0x8040_2010_0804_0201_u64 as i64;

fn kind(i: &Insn, v: &Vectors) -> Option<(Kind, bool)> {
    let sew = i.s.sew;
    let f = &v.features;
    let words = |kind| (sew > 0).then_some((kind, false));
    let each = |rows: [&'static Row; 2]| {
        let possible = sew >= 2 && v.avx512();
        possible.then(|| (Kind::RotateEach(rows[usize::from(sew) - 2]), true))
    };
    let ones = || match sew {
        0 | 1 => f.bitalg.then_some([VPOPCNTB, VPOPCNTW][usize::from(sew)]),
        _ => f.vpopcntdq.then_some([VPOPCNTD, VPOPCNTQ][usize::from(sew) - 2]),
    };
    match i.op {
        G::VandnVv => Some((Kind::AndNot, true)),
        G::VandnVx => Some((Kind::AndNot, false)),
        G::VrorVi => {
            let n = i.c.uimm() as u8 + (i.c.raw >> 26 & 1) as u8 * 32;
            words(Kind::Rotate(n & ((8 << sew) - 1) as u8))
        }
        G::VrorVx => words(Kind::RotateBy { left: false }),
        G::VrolVx => words(Kind::RotateBy { left: true }),
        G::VrorVv => each([VPRORVD, VPRORVQ]),
        G::VrolVv => each([VPROLVD, VPROLVQ]),
        G::Vrev8V => Some((Kind::Reverse { bytes: true, bits: false }, false)),
        G::Vbrev8V => f.gfni.then_some((Kind::Reverse { bytes: false, bits: true }, false)),
        G::VbrevV => f.gfni.then_some((Kind::Reverse { bytes: true, bits: true }, false)),
        G::VcpopV => Some((Kind::Count(ones()?), false)),
        G::VclzV if sew >= 2 && v.avx512() => Some((Kind::Count([VPLZCNTD, VPLZCNTQ][usize::from(sew) - 2]), false)),
        G::VctzV => Some((Kind::TrailingZeros(ones()?), false)),
        _ => None,
    }
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, vector) = kind(i, v)?;
    i.s.check_same(&i.c, vector).ok()?;
    Some(Plan { kind, vector })
}

impl Backend {
    pub(super) fn vector_bits(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (sew, len) = (i.s.sew, chunks.len);
        let lanes = len.bytes() >> sew;
        let Regs { b, t, u } = self.vectors.regs();
        let old = self.vectors.result(0);
        self.bits_constants(i, plan, len, [b, u]);
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes, sew);
            self.v_load(len, t, v_slot(&i.s, i.c.vs2(), at));
            let second: Operand = if plan.vector { v_slot(&i.s, i.c.vs1(), at).into() } else { b.into() };
            self.bits_chunk(sew, plan.kind, len, second);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), t, active, sew, old);
        }
    }

    /// What all chunks need. RAX and RCX change.
    fn bits_constants(&mut self, i: &Insn, plan: &Plan, len: Len, [b, u]: [Xmm; 2]) {
        let bits = 8i32 << i.s.sew;
        match plan.kind {
            Kind::AndNot if !plan.vector => self.v_splat(len, b, i.s.sew, i.a),
            Kind::RotateBy { .. } => {
                self.load_to(A, i.a);
                self.asm.alu_imm(Alu::And, false, A, bits - 1);
                self.asm.v(VMOVD, (b, A));
                // All bits, if it is by none: then nothing comes from the other side.
                self.asm.neg(true, A);
                self.asm.alu_imm(Alu::Add, true, A, bits);
                self.asm.v(VMOVD, (u, A));
            }
            Kind::Reverse { bytes, bits } => {
                if bytes {
                    self.asm.mov_imm(A, &raw const ORDERS.0[usize::from(i.s.sew)] as i64);
                    self.v_load(len, u, mem(A, 0));
                }
                if bits {
                    self.v_splat(len, b, 3, Val::C(REVERSED_BITS));
                }
            }
            Kind::TrailingZeros(_) => self.v_splat(len, b, i.s.sew, Val::C(-1)),
            _ => {}
        }
    }

    /// `t` = the result for what is in it; constants are in `b` and `u`.
    fn bits_chunk(&mut self, sew: u8, kind: Kind, len: Len, second: Operand) {
        let Regs { b, t, u } = self.vectors.regs();
        let other = self.vectors.result(1);
        let n = usize::from(sew);
        let avx512 = self.vectors.avx512();
        let or = if avx512 { VPORQ } else { VPOR };
        match kind {
            Kind::AndNot => {
                let (mv, and_not) = if avx512 { (VMOVDQU64, VPANDNQ) } else { (VMOVDQU, VPANDN) };
                self.asm.v(mv.len(len), (other, second));
                self.asm.v(and_not.len(len), (t, other, t));
            }
            Kind::Rotate(by) if avx512 && sew >= 2 => {
                self.asm.v([VPRORD_I, VPRORQ_I][n - 2].len(len), (t, t, by));
            }
            Kind::Rotate(by) => {
                // A shift by all bits gives zeros.
                self.asm.v(SLL_I[n].len(len), (other, t, (8u8 << sew) - by));
                self.asm.v(SRL_I[n].len(len), (t, t, by));
                self.asm.v(or.len(len), (t, t, other));
            }
            Kind::RotateBy { left } => {
                let (by, back) = if left { (SLL[n], SRL[n]) } else { (SRL[n], SLL[n]) };
                self.asm.v(back.len(len), (other, t, u));
                self.asm.v(by.len(len), (t, t, b));
                self.asm.v(or.len(len), (t, t, other));
            }
            // The host takes the amount modulo the width too.
            Kind::RotateEach(row) => self.asm.v(row.len(len), (t, t, second)),
            Kind::Reverse { bytes, bits } => {
                if bytes {
                    self.asm.v(VPSHUFB.len(len), (t, t, u));
                }
                if bits {
                    self.asm.v(VGF2P8AFFINEQB.len(len), (t, t, b, 0u8));
                }
            }
            Kind::Count(row) => self.asm.v(row.len(len), (t, t)),
            Kind::TrailingZeros(row) => {
                // What changes when one is subtracted, and was not set.
                let add = [VPADDB, VPADDW, VPADDD, VPADDQ][n];
                self.asm.v(add.len(len), (other, t, b));
                self.asm.v(VPANDNQ.len(len), (t, t, other));
                self.asm.v(row.len(len), (t, t));
            }
        }
    }
}
