//! Integer comparisons into masks.

use super::super::asm::Alu;
use super::super::asm::rows::*;
use super::super::asm::vex::{K, Row};
use super::integer::BySew;
use super::lanes::{Active, Part, mask_load, mask_store};
use super::*;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    row: &'static Row,
    predicate: u8,
    /// The value that all of vs2 is compared with; vs1 if there is none.
    scalar: Option<Val>,
}

pub(super) const SIGNED: BySew = [VPCMPB, VPCMPW, VPCMPD, VPCMPQ];
pub(super) const UNSIGNED: BySew = [VPCMPUB, VPCMPUW, VPCMPUD, VPCMPUQ];

/// Predicates, as the host numbers them.
pub(super) const EQ: u8 = 0;
pub(super) const LT: u8 = 1;
const LE: u8 = 2;
pub(super) const NE: u8 = 4;
const GT: u8 = 6;

/// The bits of a chunk, and what was there.
const RESULT: K = K(3);
const OLD: K = K(4);

pub fn plan(i: &Insn) -> Option<Plan> {
    let (rows, predicate) = match i.op {
        G::VmseqVv | G::VmseqVx | G::VmseqVi => (SIGNED, EQ),
        G::VmsneVv | G::VmsneVx | G::VmsneVi => (SIGNED, NE),
        G::VmsltuVv | G::VmsltuVx => (UNSIGNED, LT),
        G::VmsltVv | G::VmsltVx => (SIGNED, LT),
        G::VmsleuVv | G::VmsleuVx | G::VmsleuVi => (UNSIGNED, LE),
        G::VmsleVv | G::VmsleVx | G::VmsleVi => (SIGNED, LE),
        G::VmsgtuVx | G::VmsgtuVi => (UNSIGNED, GT),
        G::VmsgtVx | G::VmsgtVi => (SIGNED, GT),
        _ => return None,
    };
    let scalar = match i.op {
        G::VmseqVv | G::VmsneVv | G::VmsltuVv | G::VmsltVv | G::VmsleuVv | G::VmsleVv => None,
        G::VmseqVi | G::VmsneVi | G::VmsleuVi | G::VmsleVi | G::VmsgtuVi | G::VmsgtVi => {
            Some(Val::C(i.c.simm() as i64))
        }
        _ => Some(i.a),
    };
    let a = i.s.same(i.c.vs2()).ok()?;
    let b = if scalar.is_none() { i.s.same(i.c.vs1()).ok()? } else { a };
    i.s.destination(&Group::mask(i.c.vd()), &[a, b]).ok()?;
    i.s.sources(&i.c, &[a, b]).ok()?;
    Some(Plan { row: rows[usize::from(i.s.sew)], predicate, scalar })
}

impl Backend {
    pub(super) fn vector_compare(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let sew = i.s.sew;
        if !self.vectors.avx512() {
            return self.compare_lanes(i, plan, part);
        }
        let chunks = Chunks::of(i.bytes(), 64);
        let len = chunks.len;
        let lanes = len.bytes() >> sew;
        let masked = !i.c.unmasked();
        // Masks that are loaded by the byte have more bits than there are lanes.
        let part = if masked && lanes < 8 { Part::Some } else { part };
        let [a, b] = [0, 1].map(|n| self.vectors.scratch(n));
        if let Some(v) = plan.scalar {
            self.v_splat(len, b, sew, v);
        }
        for at in chunks.offsets() {
            let first = at >> sew;
            let active = self.active(i, part, masked, first, lanes, sew);
            self.v_load(len, a, v_slot(&i.s, i.c.vs2(), at));
            let op = match active {
                Active::All => plan.row.len(len),
                Active::By(k) => plan.row.len(len).k(k),
                Active::Lanes(_) => unreachable!("there are opmasks"),
            };
            match plan.scalar {
                Some(_) => self.asm.v(op, (RESULT, a, b, plan.predicate)),
                None => self.asm.v(op, (RESULT, a, v_slot(&i.s, i.c.vs1(), at), plan.predicate)),
            }
            self.put_mask(v_slot(&i.s, i.c.vd(), first / 8), RESULT, active, lanes);
        }
    }

    /// Without opmasks: lanes of ones, and then their bits.
    fn compare_lanes(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> sew);
        let [a, b, sign] = [0, 1, 3].map(|n| self.vectors.scratch(n));
        // There are comparisons for equality, and of signed numbers: unsigned ones are shifted to their range.
        let equality = matches!(plan.predicate, EQ | NE);
        let shifted = !equality && UNSIGNED.contains(&plan.row);
        if shifted {
            self.v_splat(len, sign, sew, Val::C(i64::MIN >> (64 - (8 << sew))));
        }
        if let Some(v) = plan.scalar {
            self.v_splat(len, b, sew, v);
            if shifted {
                self.asm.v(VPXOR.len(len), (b, b, sign));
            }
        }
        let equal = [VPCMPEQB_V, VPCMPEQW_V, VPCMPEQD_V, VPCMPEQQ_V][usize::from(sew)];
        let more = [VPCMPGTB_V, VPCMPGTW_V, VPCMPGTD_V, VPCMPGTQ_V][usize::from(sew)];
        for at in chunks.offsets() {
            self.v_load(len, a, v_slot(&i.s, i.c.vs2(), at));
            if plan.scalar.is_none() {
                self.v_load(len, b, v_slot(&i.s, i.c.vs1(), at));
            }
            if shifted {
                self.asm.v(VPXOR.len(len), (a, a, sign));
                if plan.scalar.is_none() {
                    self.asm.v(VPXOR.len(len), (b, b, sign));
                }
            }
            match plan.predicate {
                EQ | NE => self.asm.v(equal.len(len), (a, a, b)),
                LT => self.asm.v(more.len(len), (a, b, a)),
                _ => self.asm.v(more.len(len), (a, a, b)),
            }
            self.bits_of_lanes(len, a, sew);
            if matches!(plan.predicate, NE | LE) {
                self.asm.not(D);
            }
            self.put_bits(i, part, !i.c.unmasked(), at >> sew, lanes);
        }
    }

    /// Stores the bits of `value` that are active, which the others are clear of. RAX and RCX may change.
    pub(super) fn put_mask(&mut self, to: Mem, value: K, active: Active, lanes: usize) {
        match active {
            Active::All if lanes < 8 => {
                self.asm.v(KMOVB_G, (C, value));
                self.asm.extend(1, false, A, to);
                self.asm.alu_imm(Alu::And, false, A, -1 << lanes);
                self.asm.alu(Alu::Or, false, A, C);
                self.asm.store(1, to, A);
            }
            Active::All => self.asm.v(mask_store(lanes), (to, value)),
            Active::By(k) => {
                self.asm.v(mask_load(lanes), (OLD, to));
                self.asm.v(KANDNQ.y(), (OLD, k, OLD));
                self.asm.v(KORQ.y(), (value, value, OLD));
                self.asm.v(mask_store(lanes), (to, value));
            }
            Active::Lanes(_) => unreachable!("there are opmasks"),
        }
    }
}
