//! Loads and stores of what stands in one piece: unit-stride (fault-only-first and segments too), whole registers, masks. The first
//! and the last byte are looked up in the TLB at once; what crosses a page, faults, or is watched goes to the function.

use super::super::asm::rows::*;
use super::super::asm::vex::Len;
use super::super::asm::{Alu, Cc, Mem, Shift, mem, mem_index};
use super::super::emit_mem::Last;
use super::lanes::{Active, LANES, MOVE, Part, STORE};
use super::places::{MOST, Place};
use super::*;
use crate::tcg::helpers::vector::memory::{Moved, moved};
use crate::tcg::helpers::vector::shape::group_len;

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    /// Elements up to `vl`.
    Unit { store: bool, data: Group, fault_only_first: bool },
    /// So many bytes, whatever `vl` is.
    Whole { store: bool, bytes: usize },
    /// A mask of VLMAX bits.
    Mask { store: bool, bytes: usize },
    /// Elements in several places.
    Each { store: bool, data: Group, place: Place, fields: usize },
    /// Segments of several fields in one piece.
    Segments { store: bool, data: Group, fields: usize },
}

pub fn plan(i: &Insn, _: &Vectors) -> Option<Plan> {
    let each =
        |store, data, place, fields| (i.s.vl * fields <= MOST).then_some(Plan::Each { store, data, place, fields });
    Some(match moved(i.op, &i.c, &i.s)? {
        Moved::Strided { store, data, fields } => return each(store, data, Place::Stride, fields),
        Moved::Indexed { store, data, index, fields } => return each(store, data, Place::Index(index), fields),
        Moved::Segments { store, data, fields } => Plan::Segments { store, data, fields },
        Moved::Elements { store, data, fault_only_first } => Plan::Unit { store, data, fault_only_first },
        Moved::Registers { store, bytes } => Plan::Whole { store, bytes },
        Moved::Mask { store } if i.s.vl >= 8 => Plan::Mask { store, bytes: i.s.vl / 8 },
        Moved::Mask { .. } => return None,
    })
}

impl Plan {
    pub fn counts(&self) -> bool {
        !matches!(self, Plan::Whole { .. })
    }

    pub fn bytes(&self, i: &Insn) -> usize {
        match self {
            Plan::Unit { data, .. } => i.group_bytes(data),
            Plan::Whole { bytes, .. } => *bytes,
            // Short ones need no masks.
            Plan::Mask { bytes, .. } => 16.max(*bytes),
            Plan::Each { .. } | Plan::Segments { .. } => 16,
        }
    }

    /// `vl` may be less afterwards.
    pub fn may_shorten(&self) -> bool {
        matches!(self, Plan::Unit { fault_only_first: true, .. })
    }
}

impl Backend {
    pub(super) fn vector_memory(&mut self, i: &Insn, plan: &Plan, part: Part) {
        match *plan {
            Plan::Unit { store, data, .. } if part == Part::All && i.c.unmasked() => {
                self.move_bytes(i, store, data.reg, i.group_bytes(&data));
            }
            Plan::Unit { store, data, .. } => self.move_elements(i, store, &data, part),
            Plan::Mask { store, bytes } if part == Part::All => self.move_bytes(i, store, i.c.vd(), bytes),
            Plan::Mask { .. } => {
                self.set_cur();
                self.vector_call(&i.whole);
            }
            Plan::Whole { store, bytes } => self.move_bytes(i, store, i.c.vd(), bytes),
            Plan::Each { store, data, place, fields } => self.move_each(i, store, &data, place, fields, part),
            Plan::Segments { store, data, fields } => self.move_segments(i, store, &data, fields, part),
        }
    }

    /// `bytes` from the start of register `reg`, a power of two.
    fn move_bytes(&mut self, i: &Insn, store: bool, reg: usize, bytes: usize) {
        let addr = self.in_reg(A, i.a);
        let m = self.look_up(&i.whole, addr, Last::Offset(bytes as i32 - 1), -4096, store);
        if bytes < 16 {
            let slot = v_slot(&i.s, reg, 0);
            let (to, from) = if store { (m, slot) } else { (slot, m) };
            self.asm.extend(bytes as u64, false, D, from);
            return self.asm.store(bytes as u64, to, D);
        }
        let r = self.vectors.scratch(0);
        let chunks = Chunks::of(bytes, self.vectors.widest());
        for at in chunks.offsets() {
            let (slot, place) = (v_slot(&i.s, reg, at), Mem { disp: m.disp + at as i32, ..m });
            let (to, from) = if store { (place, slot) } else { (slot, place) };
            self.v_load(chunks.len, r, from);
            self.v_store(chunks.len, to, r);
        }
    }

    /// The active elements of a group.
    fn move_elements(&mut self, i: &Insn, store: bool, data: &Group, part: Part) {
        let eew = usize::from(data.eew);
        let bytes = i.group_bytes(data);
        self.load_to(A, i.a);
        let mut nothing = None;
        let last = if part == Part::Some {
            self.asm.mov(true, D, VL);
            if eew != 0 {
                self.asm.shift_imm(Shift::Shl, true, D, eew as u8);
            }
            self.asm.test(true, D, D);
            nothing = Some(self.asm.jcc_forward(Cc::E));
            self.asm.lea(true, D, mem_index(A, D, 1, -1));
            Last::InRdx
        } else {
            Last::Offset(bytes as i32 - 1)
        };
        let m = self.look_up(&i.whole, A, last, -4096, store);
        self.asm.lea(true, D, m);
        if !self.vectors.avx512() {
            match (i.c.unmasked(), data.eew) {
                (true, eew) => self.move_below_vl(i, store, data.reg, eew),
                (false, 2 | 3) => self.move_lanes(i, store, data, part),
                (false, _) => self.move_one_by_one(i, store, data, part),
            }
            if let Some(nothing) = nothing {
                self.asm.bind(nothing);
            }
            return;
        }
        let r = self.vectors.scratch(0);
        let chunks = Chunks::of(bytes, 64);
        let lanes = chunks.len.bytes() >> eew;
        for at in chunks.offsets() {
            let (slot, place) = (v_slot(&i.s, data.reg, at), Mem { base: D, index: None, disp: at as i32 });
            let active = self.active(i, part, !i.c.unmasked(), at >> eew, lanes, data.eew);
            self.v_load(chunks.len, r, slot);
            let Active::By(k) = active else { unreachable!("elements move under a mask") };
            if store {
                self.asm.v(STORE[eew].len(chunks.len).k(k), (place, r));
            } else {
                self.asm.v(MOVE[eew].len(chunks.len).k(k), (r, place));
                self.v_store(chunks.len, slot, r);
            }
        }
        if let Some(nothing) = nothing {
            self.asm.bind(nothing);
        }
    }

    /// Without opmasks, the elements below `vl`, to or from RDX on: pieces of halving length. No byte is moved twice:
    /// another hart may see it the first time.
    fn move_below_vl(&mut self, i: &Insn, store: bool, reg: usize, eew: u8) {
        let r = self.vectors.scratch(0);
        let slot = v_slot(&i.s, reg, 0);
        self.asm.lea(true, A, slot);
        self.asm.mov(true, C, VL);
        if eew != 0 {
            self.asm.shift_imm(Shift::Shl, true, C, eew);
        }
        let (from, to) = if store { (A, D) } else { (D, A) };
        let round = self.asm.here();
        self.asm.alu_imm(Alu::Sub, true, C, 32);
        let rest = self.asm.jcc_forward(Cc::B);
        self.v_load(Len::Y, r, mem(from, 0));
        self.v_store(Len::Y, mem(to, 0), r);
        self.asm.alu_imm(Alu::Add, true, A, 32);
        self.asm.alu_imm(Alu::Add, true, D, 32);
        self.asm.jmp(round);
        self.asm.bind(rest);
        // RCX is less by 32, which changes none of these bits.
        for log2 in (eew..5).rev() {
            let bytes = 1 << log2;
            self.asm.test_low(C, bytes);
            let none = self.asm.jcc_forward(Cc::E);
            let (f, t) = (mem(from, 0), mem(to, 0));
            match log2 {
                4 => {
                    self.v_load(Len::X, r, f);
                    self.v_store(Len::X, t, r);
                }
                3 => {
                    self.asm.v(VMOVQ, (r, f));
                    self.asm.v(VMOVQ_ST, (t, r));
                }
                2 => {
                    self.asm.v(VMOVD, (r, f));
                    self.asm.v(VMOVD_ST, (t, r));
                }
                1 => {
                    self.asm.v(VPINSRW, (r, r, f, 0u8));
                    self.asm.v(VPEXTRW, (t, r, 0u8));
                }
                _ => {
                    self.asm.v(VPINSRB, (r, r, f, 0u8));
                    self.asm.v(VPEXTRB, (t, r, 0u8));
                }
            }
            if log2 != eew {
                self.asm.alu_imm(Alu::Add, true, A, i32::from(bytes));
                self.asm.alu_imm(Alu::Add, true, D, i32::from(bytes));
            }
            self.asm.bind(none);
        }
    }

    /// Without opmasks, active elements of four and eight bytes, from RDX on.
    fn move_lanes(&mut self, i: &Insn, store: bool, data: &Group, part: Part) {
        let eew = data.eew;
        let [r, old] = [0, 1].map(|n| self.vectors.scratch(n));
        let (load, put) = if eew == 2 { (VPMASKMOVD, VPMASKMOVD_ST) } else { (VPMASKMOVQ, VPMASKMOVQ_ST) };
        let chunks = Chunks::of(i.group_bytes(data), self.vectors.widest());
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> eew);
        for at in chunks.offsets() {
            let (slot, place) = (v_slot(&i.s, data.reg, at), Mem { base: D, index: None, disp: at as i32 });
            let active = self.active(i, part, true, at >> eew, lanes, eew);
            if store {
                self.v_load(len, r, slot);
                self.asm.v(put.len(len), (place, LANES, r));
            } else {
                self.asm.v(load.len(len), (r, LANES, place));
                self.v_put(len, slot, r, active, eew, old);
            }
        }
    }

    /// Without opmasks, active elements of one and two bytes, from RDX on.
    fn move_one_by_one(&mut self, i: &Insn, store: bool, data: &Group, part: Part) {
        let size = 1u8 << data.eew;
        let r = self.vectors.scratch(0);
        let elements = i.group_bytes(data) >> data.eew;
        for first in (0..elements).step_by(64) {
            if part == Part::Some {
                self.below_vl(first);
            } else {
                self.asm.mov_imm(C, if elements < 64 { (1 << elements) - 1 } else { -1 });
            }
            self.asm.alu(Alu::And, true, C, v_slot(&i.s, 0, first / 8));
            let round = self.asm.here();
            self.asm.count(0xbc, true, A, C);
            // TZCNT carries if there is no bit.
            let done = self.asm.jcc_forward(Cc::B);
            self.asm.bit_reg(6, C, A);
            let slot = v_slot(&i.s, data.reg, first << data.eew);
            let here = mem_index(slot.base, A, size, slot.disp);
            let there = mem_index(D, A, size, (first << data.eew) as i32);
            let (to, from) = if store { (there, here) } else { (here, there) };
            if size == 1 {
                self.asm.v(VPINSRB, (r, r, from, 0u8));
                self.asm.v(VPEXTRB, (to, r, 0u8));
            } else {
                self.asm.v(VPINSRW, (r, r, from, 0u8));
                self.asm.v(VPEXTRW, (to, r, 0u8));
            }
            self.asm.jmp(round);
            self.asm.bind(done);
        }
    }

    /// Segments one after the other, found in the TLB together.
    fn move_segments(&mut self, i: &Insn, store: bool, data: &Group, fields: usize, part: Part) {
        let size = 1usize << data.eew;
        let segment = fields * size;
        self.load_to(A, i.a);
        let mut nothing = None;
        let last = if part == Part::Some {
            self.asm.mov_imm(D, segment as i64);
            self.asm.imul(true, D, VL);
            self.asm.test(true, D, D);
            nothing = Some(self.asm.jcc_forward(Cc::E));
            self.asm.lea(true, D, mem_index(A, D, 1, -1));
            Last::InRdx
        } else {
            Last::Offset((segment * i.s.vl) as i32 - 1)
        };
        let m = self.look_up(&i.whole, A, last, -4096, store);
        self.asm.lea(true, D, m);
        self.asm.mov_imm(A, 0);
        let round = self.asm.here();
        let mut inactive = None;
        if !i.c.unmasked() {
            let v0 = v_slot(&i.s, 0, 0);
            self.asm.mov(true, C, A);
            self.asm.shift_imm(Shift::Shr, true, C, 6);
            self.asm.mov(true, C, mem_index(v0.base, C, 8, v0.disp));
            self.asm.bit_reg(4, C, A);
            inactive = Some(self.asm.jcc_forward(Cc::Ae));
        }
        for f in 0..fields {
            let here = field_slot(i, data, f, 0);
            let here = mem_index(here.base, A, size as u8, here.disp);
            let there = mem(D, (f * size) as i32);
            let (to, from) = if store { (there, here) } else { (here, there) };
            self.asm.extend(size as u64, false, C, from);
            self.asm.store(size as u64, to, C);
        }
        if let Some(inactive) = inactive {
            self.asm.bind(inactive);
        }
        self.asm.alu_imm(Alu::Add, true, D, segment as i32);
        self.asm.alu_imm(Alu::Add, true, A, 1);
        self.asm.alu(Alu::Cmp, true, A, VL);
        self.asm.jcc(Cc::B, round);
        if let Some(nothing) = nothing {
            self.asm.bind(nothing);
        }
    }
}

/// Element `n` of field `f` of a segment whose first is `data`.
pub(super) fn field_slot(i: &Insn, data: &Group, f: usize, n: usize) -> Mem {
    v_slot(&i.s, data.reg + f * group_len(data.emul), n << data.eew)
}
