//! Permutations: moves of scalars and whole registers, slides by constants, gathers from a group of up to two host
//! registers, compression of one.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Row};
use super::super::asm::{Alu, Cc, mem_index};
use super::lanes::{ACTIVE, Active, MOVE, Part, mask_load};
use super::*;
use crate::tcg::helpers::vector::perm::apart;

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    ToScalar,
    FromScalar,
    Registers {
        bytes: usize,
    },
    /// Down by so many elements, or by one with a scalar at the end.
    Down(usize),
    Down1,
    /// Up by so many elements, or by one with a scalar at the start.
    Up(usize),
    Up1,
    /// Each element by its index.
    Gather,
    /// One element for all.
    GatherOne(Val),
    Compress,
}

/// What is chosen besides active lanes.
const CHOICE: K = K(3);

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (s, c, features) = (&i.s, &i.c, &v.features);
    let same = |reg| s.same(reg).ok();
    let moves_apart = || apart(s, c, same(c.vd())?, &[same(c.vs2())?]).ok();
    let registers = |n: usize| {
        let legal = c.vd().is_multiple_of(n) && c.vs2().is_multiple_of(n);
        legal.then_some(Plan::Registers { bytes: n * s.vlenb })
    };
    let plan = match i.op {
        G::VmvXS => return Some(Plan::ToScalar),
        G::VmvSX => return Some(Plan::FromScalar),
        G::Vmv1rV => return registers(1),
        G::Vmv2rV => return registers(2),
        G::Vmv4rV => return registers(4),
        G::Vmv8rV => return registers(8),
        G::VslidedownVi => {
            s.check_same(c, false).ok()?;
            Plan::Down(c.uimm() as usize)
        }
        // Where the last element is has to be known.
        G::Vslide1downVx if i.bytes() >= 16 => {
            s.check_same(c, false).ok()?;
            Plan::Down1
        }
        G::VslideupVi => {
            moves_apart()?;
            Plan::Up(c.uimm() as usize)
        }
        G::Vslide1upVx => {
            moves_apart()?;
            Plan::Up1
        }
        G::VrgatherVi => {
            moves_apart()?;
            Plan::GatherOne(Val::C(c.uimm() as i64))
        }
        G::VrgatherVx => {
            moves_apart()?;
            Plan::GatherOne(i.a)
        }
        G::VrgatherVv => {
            apart(s, c, same(c.vd())?, &[same(c.vs2())?, same(c.vs1())?]).ok()?;
            (i.bytes() <= 128 && (s.sew > 0 || features.vbmi)).then_some(Plan::Gather)?
        }
        G::VcompressVm => {
            apart(s, c, same(c.vd())?, &[same(c.vs2())?, Group::mask(c.vs1())]).ok()?;
            (i.bytes() <= 64 && (s.sew > 1 || features.vbmi2)).then_some(Plan::Compress)?
        }
        _ => return None,
    };
    v.avx512().then_some(plan)
}

impl Plan {
    pub fn counts(&self) -> bool {
        !matches!(self, Plan::ToScalar | Plan::Registers { .. })
    }

    pub fn bytes(&self, i: &Insn) -> usize {
        match self {
            Plan::ToScalar | Plan::FromScalar => 16,
            Plan::Registers { bytes } => *bytes,
            _ => i.bytes(),
        }
    }
}

impl Backend {
    pub(super) fn vector_permute(&mut self, i: &Insn, plan: &Plan, part: Part) {
        match *plan {
            Plan::ToScalar => {
                if let Some(d) = i.d {
                    let t = self.target_reg(d, &[]);
                    self.asm.extend(1 << i.s.sew, true, t, v_slot(&i.s, i.c.vs2(), 0));
                    self.finish(d, t);
                }
            }
            Plan::FromScalar => self.first_from_scalar(i, part),
            Plan::Registers { bytes } => {
                let chunks = Chunks::of(bytes, self.vectors.widest());
                let r = self.vectors.scratch(0);
                for at in chunks.offsets() {
                    self.v_load(chunks.len, r, v_slot(&i.s, i.c.vs2(), at));
                    self.v_store(chunks.len, v_slot(&i.s, i.c.vd(), at), r);
                }
            }
            Plan::Down(n) => self.slide_down(i, n, None, part),
            Plan::Down1 if part == Part::All => self.slide_down(i, 1, Some(i.a), part),
            Plan::Down1 => {
                self.set_cur();
                self.vector_call(&i.whole);
            }
            Plan::Up(n) => self.slide_up(i, n, None, part),
            Plan::Up1 => self.slide_up(i, 1, Some(i.a), part),
            Plan::Gather => self.gather(i, part),
            Plan::GatherOne(index) => self.gather_one(i, index, part),
            Plan::Compress => self.compress(i, part),
        }
    }

    fn first_from_scalar(&mut self, i: &Insn, part: Part) {
        let mut nothing = None;
        if part == Part::Some {
            self.asm.alu_imm(Alu::Cmp, true, VL, 0);
            nothing = Some(self.asm.jcc_forward(Cc::E));
        }
        let r = self.in_reg(A, i.a);
        self.asm.store(1 << i.s.sew, v_slot(&i.s, i.c.vd(), 0), r);
        if let Some(nothing) = nothing {
            self.asm.bind(nothing);
        }
    }

    /// CHOICE = these bits. RAX changes.
    fn choose(&mut self, bits: u64) {
        self.asm.mov_imm(A, bits as i64);
        self.asm.v(KMOVQ_R, (CHOICE, A));
    }

    fn slide_down(&mut self, i: &Insn, n: usize, last: Option<Val>, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), 64);
        let len = chunks.len;
        let lanes = len.bytes() >> sew;
        let mv = MOVE[usize::from(sew)].len(len);
        let [r, scalar, temp] = [0, 1, 2].map(|n| self.vectors.scratch(n));
        if let Some(x) = last {
            self.v_splat(len, scalar, sew, x);
        }
        for at in chunks.offsets() {
            let first = at >> sew;
            let from = v_slot(&i.s, i.c.vs2(), at + (n << sew));
            // Elements that there are: the others become zero.
            let there = i.s.vl.saturating_sub(first + n).min(lanes);
            if there == lanes {
                self.v_load(len, r, from);
            } else {
                self.choose((1u64 << there) - 1);
                self.asm.v(mv.kz(CHOICE), (r, from));
            }
            if last.is_some() && first + lanes >= i.s.vl {
                self.choose(1 << (i.s.vl - 1 - first));
                self.asm.v(mv.k(CHOICE), (r, scalar));
            }
            let active = self.active(i, part, !i.c.unmasked(), first, lanes);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn slide_up(&mut self, i: &Insn, n: usize, fill: Option<Val>, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), 64);
        let len = chunks.len;
        let lanes = len.bytes() >> sew;
        let [r, scalar, temp] = [0, 1, 2].map(|n| self.vectors.scratch(n));
        if let Some(x) = fill {
            self.v_splat(len, scalar, sew, x);
        }
        for at in chunks.offsets() {
            let first = at >> sew;
            let kept = if fill.is_some() { 0 } else { n.saturating_sub(first).min(lanes) };
            if kept == lanes {
                continue;
            }
            // What is before the group belongs to elements that are kept or filled.
            let from = v_slot(&i.s, i.c.vs2(), at);
            self.v_load(len, r, Mem { disp: from.disp - (n << sew) as i32, ..from });
            if fill.is_some() && at == 0 {
                self.choose(1);
                self.asm.v(MOVE[usize::from(sew)].len(len).k(CHOICE), (r, scalar));
            }
            let mut active = self.active(i, part, !i.c.unmasked(), first, lanes);
            if kept != 0 {
                self.choose(u64::MAX << kept);
                active = match active {
                    Active::All => Active::By(CHOICE),
                    Active::By(k) => {
                        self.asm.v(KANDQ.y(), (k, k, CHOICE));
                        Active::By(k)
                    }
                };
            }
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn gather(&mut self, i: &Insn, part: Part) {
        const BELOW: [&Row; 4] = [VPCMPUB, VPCMPUW, VPCMPUD, VPCMPUQ];
        const ONE: [&Row; 4] = [VPERMB, VPERMW, VPERMD, VPERMQ_V];
        const TWO: [&Row; 4] = [VPERMI2B, VPERMI2W, VPERMI2D, VPERMI2Q];
        let sew = usize::from(i.s.sew);
        let chunks = Chunks::of(i.bytes(), 64);
        let lanes = chunks.len.bytes() >> sew;
        // Elements of four and eight bytes are permuted in 32 bytes at least.
        let len = if sew > 1 { chunks.len.max(Len::Y) } else { chunks.len };
        let [index, low, high, limit, temp] = [0, 1, 2, 3, 4].map(|n| self.vectors.scratch(n));
        self.v_load(len, low, v_slot(&i.s, i.c.vs2(), 0));
        if chunks.count == 2 {
            self.v_load(len, high, v_slot(&i.s, i.c.vs2(), 64));
        }
        self.v_splat(len, limit, i.s.sew, Val::C(i.s.vl as i64));
        for at in chunks.offsets() {
            self.v_load(len, index, v_slot(&i.s, i.c.vs1(), at));
            self.asm.v(BELOW[sew].len(len), (CHOICE, index, limit, 1));
            if chunks.count == 2 {
                self.asm.v(TWO[sew].len(len).kz(CHOICE), (index, low, high));
            } else {
                self.asm.v(ONE[sew].len(len).kz(CHOICE), (index, index, low));
            }
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes);
            self.v_put(chunks.len, v_slot(&i.s, i.c.vd(), at), index, active, i.s.sew, temp);
        }
    }

    fn gather_one(&mut self, i: &Insn, index: Val, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), 64);
        let lanes = chunks.len.bytes() >> sew;
        let [r, temp] = [0, 1].map(|n| self.vectors.scratch(n));
        let from = v_slot(&i.s, i.c.vs2(), 0);
        // RCX = the element, or zero if there is none.
        self.load_to(A, index);
        self.asm.mov_imm(D, 0);
        self.asm.alu_imm(Alu::Cmp, true, A, i.s.vl as i32);
        self.asm.cmov(Cc::Ae, A, D);
        self.asm.extend(1 << sew, false, C, mem_index(from.base, A, 1 << sew, from.disp));
        self.asm.cmov(Cc::Ae, C, D);
        self.v_splat_reg(chunks.len, r, sew, C);
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes);
            self.v_put(chunks.len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn compress(&mut self, i: &Insn, part: Part) {
        const ROWS: [&Row; 4] = [VPCOMPRESSB, VPCOMPRESSW, VPCOMPRESSD, VPCOMPRESSQ];
        let sew = usize::from(i.s.sew);
        let len = Chunks::of(i.bytes(), 64).len;
        let lanes = len.bytes() >> sew;
        let [r, to] = [0, 1].map(|n| self.vectors.scratch(n));
        let d = v_slot(&i.s, i.c.vd(), 0);
        self.asm.v(mask_load(lanes), (CHOICE, v_slot(&i.s, i.c.vs1(), 0)));
        if self.active(i, part, false, 0, lanes) != Active::All {
            self.asm.v(KANDQ.y(), (CHOICE, CHOICE, ACTIVE));
        }
        self.v_load(len, r, v_slot(&i.s, i.c.vs2(), 0));
        self.v_load(len, to, d);
        self.asm.v(ROWS[sew].len(len).k(CHOICE), (to, r));
        self.v_store(len, d, to);
    }
}
