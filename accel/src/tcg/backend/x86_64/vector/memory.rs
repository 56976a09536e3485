//! Loads and stores of what stands in one piece: unit-stride (fault-only-first too), whole registers, masks. The first
//! and the last byte are looked up in the TLB at once; what crosses a page, faults, or is watched goes to the function.

use super::super::asm::{Cc, Mem, Shift, mem_index};
use super::super::emit_mem::Last;
use super::lanes::{Active, MOVE, Part, STORE};
use super::places::{MOST, Place};
use super::*;
use crate::tcg::helpers::vector::memory::{Moved, moved};

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    /// Elements up to `vl`.
    Unit { store: bool, data: Group, fault_only_first: bool },
    /// So many bytes, whatever `vl` is.
    Whole { store: bool, bytes: usize },
    /// A mask of VLMAX bits.
    Mask { store: bool, bytes: usize },
    /// Elements in several places.
    Each { store: bool, data: Group, place: Place },
}

pub fn plan(i: &Insn, _: &Vectors) -> Option<Plan> {
    let each = |store, data, place| {
        let possible = i.c.unmasked() && i.s.vl <= MOST;
        possible.then_some(Plan::Each { store, data, place })
    };
    Some(match moved(i.op, &i.c, &i.s)? {
        Moved::Strided { store, data } => return each(store, data, Place::Stride),
        Moved::Indexed { store, data, index } => return each(store, data, Place::Index(index)),
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
            Plan::Each { .. } => 16,
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
            Plan::Each { store, data, place } => self.move_each(i, store, &data, place, part),
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
        let r = self.vectors.scratch(0);
        let chunks = Chunks::of(bytes, 64);
        let lanes = chunks.len.bytes() >> eew;
        for at in chunks.offsets() {
            let (slot, place) = (v_slot(&i.s, data.reg, at), Mem { base: D, index: None, disp: at as i32 });
            let active = self.active(i, part, !i.c.unmasked(), at >> eew, lanes);
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
}
