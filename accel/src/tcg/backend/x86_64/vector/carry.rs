//! Additions and subtractions with carry, and the carries alone: v0 is an operand, not a mask. By opmasks; without them
//! they are functions' work.

use super::super::asm::Xmm;
use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Operand};
use super::compare::{EQ, LT, UNSIGNED};
use super::float::on;
use super::integer::{ADD, SUB};
use super::lanes::{Active, Part, mask_load};
use super::*;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    sub: bool,
    /// The result is the mask of carries or borrows.
    out: bool,
    /// The value of all of the second operand; vs1 if there is none.
    scalar: Option<Val>,
}

/// Carries out and in.
const OUT: K = K(3);
const IN: K = K(5);
const MORE: K = K(6);

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let immediate = Val::C(i.c.simm() as i64);
    let (sub, out, scalar) = match i.op {
        G::VadcVvm => (false, false, None),
        G::VadcVxm => (false, false, Some(i.a)),
        G::VadcVim => (false, false, Some(immediate)),
        G::VsbcVvm => (true, false, None),
        G::VsbcVxm => (true, false, Some(i.a)),
        G::VmadcVvm | G::VmadcVv => (false, true, None),
        G::VmadcVxm | G::VmadcVx => (false, true, Some(i.a)),
        G::VmadcVim | G::VmadcVi => (false, true, Some(immediate)),
        G::VmsbcVvm | G::VmsbcVv => (true, true, None),
        G::VmsbcVxm | G::VmsbcVx => (true, true, Some(i.a)),
        _ => return None,
    };
    let (s, c) = (&i.s, &i.c);
    let a = s.same(c.vs2()).ok()?;
    let sources = [a, if scalar.is_none() { s.same(c.vs1()).ok()? } else { a }];
    if out {
        s.destination(&Group::mask(c.vd()), &sources).ok()?;
        s.sources(c, &sources).ok()?;
    } else {
        s.check(c, s.same(c.vd()).ok()?, &sources).ok()?;
    }
    v.avx512().then_some(Plan { sub, out, scalar })
}

impl Backend {
    pub(super) fn vector_carry(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> sew);
        let [a, b, r, ones, old] = [0, 1, 2, 3, 4].map(|n| self.vectors.scratch(n));
        if let Some(v) = plan.scalar {
            self.v_splat(len, b, sew, v);
        }
        self.asm.v(VPTERNLOGQ.len(len), (ones, ones, ones, 0xffu8));
        for at in chunks.offsets() {
            let first = at >> sew;
            let active = self.active(i, part, false, first, lanes, sew);
            self.v_load(len, a, v_slot(&i.s, i.c.vs2(), at));
            if plan.scalar.is_none() {
                self.v_load(len, b, v_slot(&i.s, i.c.vs1(), at));
            }
            // `vm` says whether there is a carry in.
            if !i.c.unmasked() {
                self.asm.v(mask_load(lanes), (IN, v_slot(&i.s, 0, first / 8)));
            }
            if plan.out {
                self.carries(i, plan, len, active, [a, b, r, ones]);
                self.put_mask(v_slot(&i.s, i.c.vd(), first / 8), OUT, active, lanes);
                continue;
            }
            let (row, back) = if plan.sub { (SUB, ADD) } else { (ADD, SUB) };
            let n = usize::from(sew);
            self.asm.v(row[n].len(len), (r, a, b));
            self.asm.v(back[n].len(len).k(IN), (r, r, ones));
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, old);
        }
    }

    /// `OUT` = the active carries of `a + b` or borrows of `a - b`.
    fn carries(&mut self, i: &Insn, plan: &Plan, len: Len, active: Active, [a, b, r, ones]: [Xmm; 4]) {
        let n = usize::from(i.s.sew);
        // With a carry in, what would be just short of one counts too.
        let (x, y, short): (Xmm, Operand, [Xmm; 2]) = if plan.sub {
            (a, b.into(), [a, b])
        } else {
            self.asm.v(ADD[n].len(len), (r, a, b));
            (r, a.into(), [r, ones])
        };
        self.asm.v(on(UNSIGNED[n], len, active), (OUT, x, y, LT));
        if !i.c.unmasked() {
            if let Active::By(k) = active {
                self.asm.v(KANDQ, (IN, IN, k));
            }
            self.asm.v(UNSIGNED[n].len(len).k(IN), (MORE, short[0], short[1], EQ));
            self.asm.v(KORQ, (OUT, OUT, MORE));
        }
    }
}
