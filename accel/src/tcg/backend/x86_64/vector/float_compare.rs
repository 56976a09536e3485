//! Floating-point comparisons of single and double precision, a bit for each element goes into vd. A quiet
//! NaN compares as the specification says, flags included, so there is nothing left for the functions.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Operand};
use super::float::{Regs, native, on};
use super::lanes::{Active, Part};
use super::*;
use crate::tcg::ir::fp_check;

/// The host's predicate for vs2 and the other operand, and whether that is vs1.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    predicate: u8,
    vector: bool,
}

// Equality flags signalling NaNs only, order every NaN.
const EQ: u8 = 0x00;
const NE: u8 = 0x04;
const LT: u8 = 0x01;
const LE: u8 = 0x02;
const GE: u8 = 0x0d;
const GT: u8 = 0x0e;

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (predicate, vector) = match i.op {
        G::VmfeqVv => (EQ, true),
        G::VmfeqVf => (EQ, false),
        G::VmfneVv => (NE, true),
        G::VmfneVf => (NE, false),
        G::VmfltVv => (LT, true),
        G::VmfltVf => (LT, false),
        G::VmfleVv => (LE, true),
        G::VmfleVf => (LE, false),
        G::VmfgtVf => (GT, false),
        G::VmfgeVf => (GE, false),
        _ => return None,
    };
    let s2 = i.s.same(i.c.vs2()).ok()?;
    let s1 = if vector { i.s.same(i.c.vs1()).ok()? } else { s2 };
    i.s.destination(&Group::mask(i.c.vd()), &[s2, s1]).ok()?;
    i.s.sources(&i.c, &[s2, s1]).ok()?;
    (native(v, i.s.sew) && !i.s.mask_tail_ones).then_some(Plan { predicate, vector })
}

const BITS: K = K(3);

impl Backend {
    pub(super) fn vector_float_compare(&mut self, i: &Insn, plan: &Plan, part: Part) {
        self.fp_ready(i, fp_check::DIRTY | fp_check::NATIVE_FRM);
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (sew, len) = (i.s.sew, chunks.len);
        let lanes = len.bytes() >> sew;
        let regs = self.vectors.regs();
        if !plan.vector {
            self.f_splat(i, len, regs.b);
        }
        if !self.vectors.avx512() {
            return self.float_compare_lanes(i, plan, part, chunks);
        }
        let row = [VCMPPS_K, VCMPPD_K][usize::from(sew - 2)];
        let masked = !i.c.unmasked();
        // Masks that are loaded by the byte have more bits than there are lanes.
        let part = if masked && lanes < 8 { Part::Some } else { part };
        for at in chunks.offsets() {
            let active = self.active(i, part, masked, at >> sew, lanes, sew);
            self.v_load(len, regs.t, v_slot(&i.s, i.c.vs2(), at));
            let second: Operand = if plan.vector { v_slot(&i.s, i.c.vs1(), at).into() } else { regs.b.into() };
            self.asm.v(on(row, len, active), (BITS, regs.t, second, plan.predicate));
            self.put_mask(v_slot(&i.s, i.c.vd(), (at >> sew) / 8), BITS, active, lanes);
        }
    }

    /// Without opmasks: what is not active compares zeros.
    fn float_compare_lanes(&mut self, i: &Insn, plan: &Plan, part: Part, chunks: Chunks) {
        let (sew, len) = (i.s.sew, chunks.len);
        let lanes = len.bytes() >> sew;
        let Regs { b, t, u } = self.vectors.regs();
        let row = [VCMPPS_V, VCMPPD_V][usize::from(sew - 2)];
        let masked = !i.c.unmasked();
        for at in chunks.offsets() {
            let active = self.active(i, part, masked, at >> sew, lanes, sew);
            self.v_only(len, t, v_slot(&i.s, i.c.vs2(), at), active);
            let second: Operand = if plan.vector { v_slot(&i.s, i.c.vs1(), at).into() } else { b.into() };
            let second = match active {
                Active::All => second,
                _ => {
                    self.v_only(len, u, second, active);
                    u.into()
                }
            };
            self.asm.v(row.len(len), (t, t, second, plan.predicate));
            self.bits_of_lanes(len, t, sew);
            self.put_bits(i, part, masked, at >> sew, lanes);
        }
    }
}
