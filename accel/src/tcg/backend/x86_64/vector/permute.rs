//! Permutations: moves of scalars and whole registers, slides, gathers and compression. What no permutation of the host
//! does goes element by element, in a loop.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Row};
use super::super::asm::{Alu, Cc, Mem, Shift, mem_index};
use super::compare::UNSIGNED;
use super::lanes::{ACTIVE, Active, LANES, MOVE, Part, SPREAD, mask_load};
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
    /// Down and up by as many elements as a register says.
    DownBy,
    UpBy,
    /// Each element by its index.
    Gather,
    /// The same in a loop; log2 of the bytes of an index.
    Each {
        index: u8,
    },
    /// One element for all.
    GatherOne(Val),
    Compress,
    /// The same in a loop.
    CompressEach,
}

/// What is chosen besides active lanes.
const CHOICE: K = K(3);

// A slide reads up to a group away from the registers, before and behind them: that is still the hart.
const _: () = {
    let start = offset_of!(Hart, s.v);
    assert!(start >= 512 && start + size_of::<crate::VectorRegs>() + 1024 <= size_of::<Hart>());
};

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
        G::Vslide1downVx => {
            s.check_same(c, false).ok()?;
            Plan::Down1
        }
        G::VslideupVi => {
            moves_apart()?;
            Plan::Up(c.uimm() as usize)
        }
        G::VslidedownVx => {
            s.check_same(c, false).ok()?;
            Plan::DownBy
        }
        G::VslideupVx => {
            moves_apart()?;
            Plan::UpBy
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
            let whole = i.bytes() <= if v.avx512() { 128 } else { 32 };
            let permuted = whole && (s.sew > 0 || features.vbmi || !v.avx512());
            if permuted { Plan::Gather } else { Plan::Each { index: s.sew } }
        }
        G::VcompressVm => {
            apart(s, c, same(c.vd())?, &[same(c.vs2())?, Group::mask(c.vs1())]).ok()?;
            let whole = v.avx512() && i.bytes() <= 64 && (s.sew > 1 || features.vbmi2);
            if whole { Plan::Compress } else { Plan::CompressEach }
        }
        G::Vrgatherei16Vv => {
            apart(s, c, same(c.vd())?, &[same(c.vs2())?, s.group(c.vs1(), 1).ok()?]).ok()?;
            Plan::Each { index: 1 }
        }
        _ => return None,
    };
    Some(plan)
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
            Plan::Down1 if part == Part::All && self.vectors.avx512() => self.slide_down(i, 1, Some(i.a), part),
            Plan::Down1 => {
                self.slide_down(i, 1, None, part);
                self.put_last(i, i.a);
            }
            Plan::DownBy => self.slide_down_by(i, part),
            Plan::UpBy => self.slide_up_by(i, part),
            Plan::Up(n) => self.slide_up(i, n, None, part),
            Plan::Up1 => self.slide_up(i, 1, Some(i.a), part),
            Plan::Gather if self.vectors.avx512() => self.gather(i, part),
            Plan::Gather => self.gather_bytes(i, part),
            Plan::Each { index } => self.gather_each(i, index),
            Plan::CompressEach => self.compress_each(i, part),
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
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let len = chunks.len;
        let lanes = len.bytes() >> sew;
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
            } else if self.vectors.avx512() {
                self.choose((1u64 << there) - 1);
                self.asm.v(MOVE[usize::from(sew)].len(len).kz(CHOICE), (r, from));
            } else {
                self.first_lanes(len, r, there, sew);
                self.asm.v(VPAND.len(len), (r, r, from));
            }
            if last.is_some() && first + lanes >= i.s.vl {
                self.choose(1 << (i.s.vl - 1 - first));
                self.asm.v(MOVE[usize::from(sew)].len(len).k(CHOICE), (r, scalar));
            }
            let active = self.active(i, part, !i.c.unmasked(), first, lanes, sew);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn slide_up(&mut self, i: &Insn, n: usize, fill: Option<Val>, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
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
                if self.vectors.avx512() {
                    self.choose(1);
                    self.asm.v(MOVE[usize::from(sew)].len(len).k(CHOICE), (r, scalar));
                } else {
                    self.first_lanes(len, temp, 1, sew);
                    self.asm.v(VPBLENDVB.len(len), (r, r, scalar, temp));
                }
            }
            let mut active = self.active(i, part, !i.c.unmasked(), first, lanes, sew);
            if kept != 0 && !self.vectors.avx512() {
                self.first_lanes(len, SPREAD, kept, sew);
                if active == Active::All {
                    self.asm.v(VPCMPEQD_V.len(len), (LANES, LANES, LANES));
                }
                self.asm.v(VPANDN.len(len), (LANES, SPREAD, LANES));
                active = Active::Lanes(LANES);
            } else if kept != 0 {
                self.choose(u64::MAX << kept);
                active = match active {
                    Active::All => Active::By(CHOICE),
                    Active::By(k) => {
                        self.asm.v(KANDQ.y(), (k, k, CHOICE));
                        Active::By(k)
                    }
                    Active::Lanes(_) => unreachable!("there are opmasks"),
                };
            }
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn gather(&mut self, i: &Insn, part: Part) {
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
            self.asm.v(UNSIGNED[sew].len(len), (CHOICE, index, limit, 1));
            if chunks.count == 2 {
                self.asm.v(TWO[sew].len(len).kz(CHOICE), (index, low, high));
            } else {
                self.asm.v(ONE[sew].len(len).kz(CHOICE), (index, index, low));
            }
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes, i.s.sew);
            self.v_put(chunks.len, v_slot(&i.s, i.c.vd(), at), index, active, i.s.sew, temp);
        }
    }

    /// Without AVX-512, of up to 32 bytes: bytes by their places, or 32-bit words by theirs.
    fn gather_bytes(&mut self, i: &Insn, part: Part) {
        let sew = i.s.sew;
        let len = Len::of(i.bytes());
        let lanes = len.bytes() >> sew;
        let [index, valid, low, high, limit] = [0, 1, 2, 3, 4].map(|n| self.vectors.scratch(n));
        let from = v_slot(&i.s, i.c.vs2(), 0);
        self.v_load(len, index, v_slot(&i.s, i.c.vs1(), 0));
        // An index is valid if the last one is not below it. Of 64 bits, if the upper half is clear besides.
        self.v_splat(len, limit, sew.min(2), Val::C(i.s.vl as i64 - 1));
        let (least, equal) =
            [(VPMINUB, VPCMPEQB_V), (VPMINUW, VPCMPEQW_V), (VPMINUD, VPCMPEQD_V)][usize::from(sew.min(2))];
        if sew == 3 {
            self.asm.v(VPSRLQ_I.len(len), (limit, limit, 32u8));
        }
        self.asm.v(least.len(len), (valid, index, limit));
        self.asm.v(if sew == 3 { VPCMPEQQ_V } else { equal }.len(len), (valid, valid, index));
        if sew >= 2 {
            if sew == 3 {
                // Both halves of each.
                self.asm.v(VPSLLQ_I.len(len), (low, index, 33u8));
                self.asm.v(VPSLLQ_I.len(len), (high, index, 1u8));
                self.asm.v(VPOR.len(len), (index, low, high));
                self.asm.mov_imm(A, 1i64 << 32);
                self.v_splat_reg(len, low, 3, A);
                self.asm.v(VPADDD.len(len), (index, index, low));
            }
            self.v_load(len, low, from);
            self.asm.v(VPERMD.y(), (index, index, low));
        } else {
            if sew == 1 {
                self.v_splat(len, low, 1, Val::C(0x0202));
                self.asm.v(VPMULLW.len(len), (index, index, low));
                self.v_splat(len, low, 1, Val::C(0x0100));
                self.asm.v(VPADDW.len(len), (index, index, low));
            }
            if len == Len::X {
                self.v_load(len, low, from);
                self.asm.v(VPSHUFB.x(), (index, low, index));
            } else {
                self.asm.v(VBROADCASTI128.y(), (low, from));
                self.asm.v(VBROADCASTI128.y(), (high, Mem { disp: from.disp + 16, ..from }));
                self.asm.v(VPSHUFB.y(), (low, low, index));
                self.asm.v(VPSHUFB.y(), (high, high, index));
                // Bit 4 of the index says which; it becomes the highest of its byte.
                self.asm.v(VPSLLW_I.y(), (index, index, 3u8));
                self.asm.v(VPBLENDVB.y(), (index, low, high, index));
            }
        }
        self.asm.v(VPAND.len(len), (index, index, valid));
        let active = self.active(i, part, !i.c.unmasked(), 0, lanes, sew);
        self.v_put(len, v_slot(&i.s, i.c.vd(), 0), index, active, sew, low);
    }

    /// RDX = the least of a register and VLMAX. RAX changes.
    fn slide_amount(&mut self, i: &Insn) {
        self.load_to(D, i.a);
        self.asm.mov_imm(A, i.s.vl as i64);
        self.asm.alu(Alu::Cmp, true, D, A);
        self.asm.cmov(Cc::A, D, A);
    }

    /// RAX = the same, but nothing below 0 and no more than `most`. RCX changes.
    fn clamp(&mut self, most: usize) {
        self.asm.mov_imm(C, 0);
        self.asm.test(true, A, A);
        self.asm.cmov(Cc::S, A, C);
        self.asm.mov_imm(C, most as i64);
        self.asm.alu(Alu::Cmp, true, A, C);
        self.asm.cmov(Cc::A, A, C);
    }

    fn slide_down_by(&mut self, i: &Insn, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> sew);
        let [r, temp] = [0, 2].map(|n| self.vectors.scratch(n));
        self.slide_amount(i);
        for at in chunks.offsets() {
            let first = at >> sew;
            // What is behind the group is read, and becomes zero.
            let group = v_slot(&i.s, i.c.vs2(), at);
            let from = mem_index(group.base, D, 1 << sew, group.disp);
            self.asm.mov_imm(A, (i.s.vl - first.min(i.s.vl)) as i64);
            self.asm.alu(Alu::Sub, true, A, D);
            self.clamp(lanes);
            if self.vectors.avx512() {
                self.asm.mov_imm(C, -1);
                self.asm.v(BZHI, (C, C, A));
                self.asm.v(KMOVQ_R, (CHOICE, C));
                self.asm.v(MOVE[usize::from(sew)].len(len).kz(CHOICE), (r, from));
            } else {
                self.lanes_below_rax(len, sew);
                self.asm.v(VPAND.len(len), (r, LANES, from));
            }
            let active = self.active(i, part, !i.c.unmasked(), first, lanes, sew);
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    fn slide_up_by(&mut self, i: &Insn, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> sew);
        let [r, kept, temp] = [0, 1, 2].map(|n| self.vectors.scratch(n));
        self.slide_amount(i);
        for at in chunks.offsets() {
            let first = at >> sew;
            let group = v_slot(&i.s, i.c.vs2(), at);
            self.asm.mov(true, A, D);
            self.asm.neg(true, A);
            // What is before the group belongs to elements that are kept.
            self.v_load(len, r, mem_index(group.base, A, 1 << sew, group.disp));
            self.asm.mov(true, A, D);
            self.asm.alu_imm(Alu::Sub, true, A, first as i32);
            self.clamp(lanes);
            if self.vectors.avx512() {
                self.asm.mov_imm(C, -1);
                self.asm.v(BZHI, (C, C, A));
                self.asm.not(C);
                self.asm.v(KMOVQ_R, (CHOICE, C));
            } else {
                self.lanes_below_rax(len, sew);
                self.asm.v(VMOVDQU.len(len), (kept, LANES));
            }
            let active = match self.active(i, part, !i.c.unmasked(), first, lanes, sew) {
                Active::All if self.vectors.avx512() => Active::By(CHOICE),
                Active::By(k) => {
                    self.asm.v(KANDQ.y(), (k, k, CHOICE));
                    Active::By(k)
                }
                active => {
                    if active == Active::All {
                        self.asm.v(VPCMPEQD_V.len(len), (LANES, LANES, LANES));
                    }
                    self.asm.v(VPANDN.len(len), (LANES, kept, LANES));
                    Active::Lanes(LANES)
                }
            };
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    /// Element by element, by indices of so many bytes.
    fn gather_each(&mut self, i: &Insn, eew: u8) {
        let sew = i.s.sew;
        let [to, from, index, v0] = [i.c.vd(), i.c.vs2(), i.c.vs1(), 0].map(|reg| v_slot(&i.s, reg, 0));
        let at = |m: Mem, r, log2: u8| mem_index(m.base, r, 1 << log2, m.disp);
        self.asm.mov_imm(D, 0);
        let round = self.asm.here();
        self.asm.alu(Alu::Cmp, true, D, VL);
        let done = self.asm.jcc_forward(Cc::Ae);
        let mut inactive = None;
        if !i.c.unmasked() {
            self.asm.mov(true, A, D);
            self.asm.shift_imm(Shift::Shr, true, A, 6);
            self.asm.mov(true, A, at(v0, A, 3));
            self.asm.bit_reg(4, A, D);
            inactive = Some(self.asm.jcc_forward(Cc::Ae));
        }
        self.asm.extend(1 << eew, false, A, at(index, D, eew));
        self.asm.alu_imm(Alu::Cmp, true, A, i.s.vl as i32);
        // Ones if there is such an element, else zeros: it is element 0 then, and none of it.
        self.asm.carry_mask(C);
        self.asm.alu(Alu::And, true, A, C);
        self.asm.alu(Alu::And, true, C, at(from, A, sew));
        self.asm.store(1 << sew, at(to, D, sew), C);
        if let Some(inactive) = inactive {
            self.asm.bind(inactive);
        }
        self.asm.alu_imm(Alu::Add, true, D, 1);
        self.asm.jmp(round);
        self.asm.bind(done);
    }

    /// Those elements one after the other.
    fn compress_each(&mut self, i: &Insn, part: Part) {
        let sew = i.s.sew;
        let (to, from) = (v_slot(&i.s, i.c.vd(), 0), v_slot(&i.s, i.c.vs2(), 0));
        self.asm.mov_imm(D, 0);
        for first in (0..i.s.vl).step_by(64) {
            if part == Part::Some {
                self.below_vl(first);
            } else {
                self.asm.mov_imm(C, if i.s.vl < 64 { (1 << i.s.vl) - 1 } else { -1 });
            }
            self.asm.alu(Alu::And, true, C, v_slot(&i.s, i.c.vs1(), first / 8));
            let round = self.asm.here();
            self.asm.count(0xbc, true, A, C);
            // TZCNT carries if there is no bit.
            let done = self.asm.jcc_forward(Cc::B);
            self.asm.bit_reg(6, C, A);
            let place = mem_index(from.base, A, 1 << sew, from.disp + (first << sew) as i32);
            self.asm.extend(1 << sew, false, A, place);
            self.asm.store(1 << sew, mem_index(to.base, D, 1 << sew, to.disp), A);
            self.asm.alu_imm(Alu::Add, true, D, 1);
            self.asm.jmp(round);
            self.asm.bind(done);
        }
    }

    /// Element `vl` - 1 of vd = a scalar, if it is active.
    fn put_last(&mut self, i: &Insn, x: Val) {
        let (to, v0) = (v_slot(&i.s, i.c.vd(), 0), v_slot(&i.s, 0, 0));
        self.asm.mov(true, A, VL);
        self.asm.alu_imm(Alu::Sub, true, A, 1);
        let nothing = self.asm.jcc_forward(Cc::B);
        let mut inactive = None;
        if !i.c.unmasked() {
            self.asm.mov(true, C, A);
            self.asm.shift_imm(Shift::Shr, true, C, 6);
            self.asm.mov(true, C, mem_index(v0.base, C, 8, v0.disp));
            self.asm.bit_reg(4, C, A);
            inactive = Some(self.asm.jcc_forward(Cc::Ae));
        }
        let r = self.in_reg(D, x);
        self.asm.store(1 << i.s.sew, mem_index(to.base, A, 1 << i.s.sew, to.disp), r);
        if let Some(inactive) = inactive {
            self.asm.bind(inactive);
        }
        self.asm.bind(nothing);
    }

    fn gather_one(&mut self, i: &Insn, index: Val, part: Part) {
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
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
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes, sew);
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
        if self.active(i, part, false, 0, lanes, i.s.sew) != Active::All {
            self.asm.v(KANDQ.y(), (CHOICE, CHOICE, ACTIVE));
        }
        self.v_load(len, r, v_slot(&i.s, i.c.vs2(), 0));
        self.v_load(len, to, d);
        self.asm.v(ROWS[sew].len(len).k(CHOICE), (to, r));
        self.v_store(len, d, to);
    }
}
