//! Mask instructions: 64 elements at a time in general registers.

use super::super::asm::rows::*;
use super::super::asm::vex::Row;
use super::super::asm::{Alu, Cc, Shift, mem, mem_index};
use super::lanes::Part;
use super::*;

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    Logic(Logic),
    Count,
    First,
    Around(Around),
    /// The index of each element.
    Index,
    /// How many bits are set before it.
    Ranks,
}

/// `vs2 op vs1`.
#[derive(Debug, Clone, Copy)]
pub struct Logic {
    op: Alu,
    /// vs1 is inverted first.
    invert_second: bool,
    /// The result is inverted.
    invert: bool,
}

/// Which bits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    Before,
    Including,
    Only,
}

/// Bytes in order: more than there are elements in a group that has code.
static INDEX: [u8; 256] = {
    let mut index = [0; 256];
    let mut i = 0;
    while i < 256 {
        index[i] = i as u8;
        i += 1;
    }
    index
};

pub fn plan(i: &Insn) -> Option<Plan> {
    let logic = |op, invert_second, invert| Some(Plan::Logic(Logic { op, invert_second, invert }));
    let around = |which| {
        let legal = i.c.vd() != i.c.vs2() && (i.c.unmasked() || i.c.vd() != 0);
        (legal && i.s.vl <= 64).then_some(Plan::Around(which))
    };
    match i.op {
        G::VmandMm => logic(Alu::And, false, false),
        G::VmnandMm => logic(Alu::And, false, true),
        G::VmandnMm => logic(Alu::And, true, false),
        G::VmxorMm => logic(Alu::Xor, false, false),
        G::VmorMm => logic(Alu::Or, false, false),
        G::VmnorMm => logic(Alu::Or, false, true),
        G::VmornMm => logic(Alu::Or, true, false),
        G::VmxnorMm => logic(Alu::Xor, false, true),
        G::VcpopM => Some(Plan::Count),
        G::VfirstM => Some(Plan::First),
        G::VmsbfM => around(Around::Before),
        G::VmsifM => around(Around::Including),
        G::VmsofM => around(Around::Only),
        G::ViotaM => {
            let (d, a) = (i.s.same(i.c.vd()).ok()?, Group::mask(i.c.vs2()));
            i.s.check(&i.c, d, &[a]).ok()?;
            (!d.overlaps(&a)).then_some(Plan::Ranks)
        }
        G::VidV => {
            let d = i.s.same(i.c.vd()).ok()?;
            i.s.masked_destination(&i.c, &d).ok()?;
            Some(Plan::Index)
        }
        _ => None,
    }
}

impl Plan {
    pub fn bytes(&self, i: &Insn) -> usize {
        match self {
            Plan::Index | Plan::Ranks => i.bytes(),
            // Not in pieces of a host register; VLMAX is limited all the same.
            _ => (i.s.vl).max(16),
        }
    }
}

impl Backend {
    pub(super) fn vector_mask(&mut self, i: &Insn, plan: &Plan, part: Part) {
        // Less than a byte is merged with what is there.
        let part = if i.s.vl < 8 { Part::Some } else { part };
        match *plan {
            Plan::Logic(logic) => self.mask_logic(i, logic, part),
            Plan::Count => {
                self.asm.mov_imm(D, 0);
                for word in 0..i.s.vl.div_ceil(64) {
                    self.selected(i, part, word);
                    self.asm.count(0xb8, true, C, C);
                    self.asm.alu(Alu::Add, true, D, C);
                }
                self.result(i);
            }
            Plan::First => {
                self.asm.mov_imm(D, -1);
                for word in (0..i.s.vl.div_ceil(64)).rev() {
                    self.selected(i, part, word);
                    self.asm.count(0xbc, true, A, C);
                    if word != 0 {
                        self.asm.lea(true, A, mem(A, word as i32 * 64));
                    }
                    // TZCNT carries if there is no bit.
                    self.asm.cmov(Cc::Ae, D, A);
                }
                self.result(i);
            }
            Plan::Around(which) => self.around_first(i, which, part),
            Plan::Index => self.indices(i, part),
            Plan::Ranks => self.ranks(i),
        }
    }

    /// rd = RDX.
    fn result(&mut self, i: &Insn) {
        if let Some(d) = i.d {
            self.finish(d, D);
        }
    }

    /// RCX = bits of vs2 that count, of elements from `64 * word` on. RAX may change.
    fn selected(&mut self, i: &Insn, part: Part, word: usize) {
        let (a, v0) = (v_slot(&i.s, i.c.vs2(), word * 8), v_slot(&i.s, 0, word * 8));
        if part == Part::Some {
            self.below_vl(64 * word);
            self.asm.alu(Alu::And, true, C, a);
        } else {
            self.asm.extend((i.s.vl / 8).min(8) as u64, false, C, a);
        }
        if !i.c.unmasked() {
            self.asm.alu(Alu::And, true, C, v0);
        }
    }

    fn mask_logic(&mut self, i: &Insn, logic: Logic, part: Part) {
        for word in 0..i.s.vl.div_ceil(64) {
            let [d, a, b] = [i.c.vd(), i.c.vs2(), i.c.vs1()].map(|reg| v_slot(&i.s, reg, word * 8));
            if part == Part::Some {
                self.below_vl(64 * word);
            }
            let size = if part == Part::Some { 8 } else { (i.s.vl / 8).min(8) as u64 };
            self.asm.extend(size, false, A, b);
            if logic.invert_second {
                self.asm.not(A);
            }
            if size == 8 {
                self.asm.alu(logic.op, true, A, a);
            } else {
                self.asm.extend(size, false, D, a);
                self.asm.alu(logic.op, true, A, D);
            }
            if logic.invert {
                self.asm.not(A);
            }
            if part == Part::Some {
                self.merge_word(d, C);
            } else {
                self.asm.store(size, d, A);
            }
        }
    }

    /// The bits of `to` that are set in `which` = those of RAX.
    fn merge_word(&mut self, to: Mem, which: Reg) {
        self.asm.alu(Alu::Xor, true, A, to);
        self.asm.alu(Alu::And, true, A, which);
        self.asm.alu_store(Alu::Xor, to, A);
    }

    /// One word holds all elements.
    fn around_first(&mut self, i: &Insn, which: Around, part: Part) {
        let [d, a, v0] = [i.c.vd(), i.c.vs2(), 0].map(|reg| v_slot(&i.s, reg, 0));
        let merge = part == Part::Some || !i.c.unmasked();
        let size = (i.s.vl / 8).min(8) as u64;
        if merge {
            self.below_vl(0);
            self.asm.mov(true, D, C);
            if !i.c.unmasked() {
                self.asm.alu(Alu::And, true, D, v0);
            }
            self.asm.mov(true, C, D);
            self.asm.alu(Alu::And, true, C, a);
        } else {
            self.asm.extend(size, false, C, a);
        }
        match which {
            Around::Only => {
                self.asm.mov(true, A, C);
                self.asm.neg(true, A);
                self.asm.alu(Alu::And, true, A, C);
            }
            Around::Including => {
                self.asm.lea(true, A, mem(C, -1));
                self.asm.alu(Alu::Xor, true, A, C);
            }
            Around::Before => {
                self.asm.lea(true, A, mem(C, -1));
                self.asm.not(C);
                self.asm.alu(Alu::And, true, A, C);
            }
        }
        if merge {
            self.merge_word(d, D);
        } else {
            self.asm.store(size, d, A);
        }
    }

    fn indices(&mut self, i: &Insn, part: Part) {
        let bytes = if self.vectors.avx512() { VMOVDQU8 } else { VMOVDQU };
        let rows: [&Row; 4] = [bytes, VPMOVZXBW, VPMOVZXBD, VPMOVZXBQ];
        let sew = i.s.sew;
        let chunks = Chunks::of(i.bytes(), self.vectors.widest());
        let lanes = chunks.len.bytes() >> sew;
        let [r, temp] = [0, 1].map(|n| self.vectors.scratch(n));
        for at in chunks.offsets() {
            let active = self.active(i, part, !i.c.unmasked(), at >> sew, lanes, sew);
            self.asm.mov_imm(A, INDEX.as_ptr() as i64 + (at >> sew) as i64);
            self.asm.v(rows[usize::from(sew)].len(chunks.len), (r, mem(A, 0)));
            self.v_put(chunks.len, v_slot(&i.s, i.c.vd(), at), r, active, sew, temp);
        }
    }

    /// One element after the other.
    fn ranks(&mut self, i: &Insn) {
        let [d, a, v0] = [i.c.vd(), i.c.vs2(), 0].map(|reg| v_slot(&i.s, reg, 0));
        // RAX counts elements, RDX bits.
        self.asm.mov_imm(A, 0);
        self.asm.mov_imm(D, 0);
        let round = self.asm.here();
        self.asm.alu(Alu::Cmp, true, A, VL);
        let done = self.asm.jcc_forward(Cc::Ae);
        let bit = |b: &mut Self, mask: Mem| {
            b.asm.mov(true, C, A);
            b.asm.shift_imm(Shift::Shr, true, C, 6);
            b.asm.mov(true, C, mem_index(mask.base, C, 8, mask.disp));
            b.asm.bit_reg(4, C, A);
            b.asm.jcc_forward(Cc::Ae)
        };
        let inactive = (!i.c.unmasked()).then(|| bit(self, v0));
        self.asm.store(1 << i.s.sew, mem_index(d.base, A, 1 << i.s.sew, d.disp), D);
        let clear = bit(self, a);
        self.asm.alu_imm(Alu::Add, true, D, 1);
        self.asm.bind(clear);
        if let Some(inactive) = inactive {
            self.asm.bind(inactive);
        }
        self.asm.alu_imm(Alu::Add, true, A, 1);
        self.asm.jmp(round);
        self.asm.bind(done);
    }
}
