//! Which elements of a chunk are written: opmasks from `vl` and v0, and stores that keep the others.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Row};
use super::super::asm::{Alu, Cc, Mem, Xmm};
use super::*;

/// The elements that an emission computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `vl` is VLMAX, and that is a whole number of host registers.
    All,
    /// Those below `vl`.
    Some,
}

/// The lanes of a chunk that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    All,
    By(K),
}

/// Moves between registers by element width, which a mask tells apart.
pub const MOVE: [&Row; 4] = [VMOVDQU8, VMOVDQU16, VMOVDQU32, VMOVDQU64];
/// The same to memory.
pub const STORE: [&Row; 4] = [VMOVDQU8_ST, VMOVDQU16_ST, VMOVDQU32_ST, VMOVDQU64_ST];

/// What [`Backend::active`] answers with, and what it uses beside.
pub const ACTIVE: K = K(1);
const MASK: K = K(2);

/// Loads a mask of `lanes` bits, rounded up to bytes.
pub fn mask_load(lanes: usize) -> &'static Row {
    match lanes {
        ..=8 => KMOVB,
        16 => KMOVW,
        32 => KMOVD,
        _ => KMOVQ,
    }
}

/// Stores so many, in whole bytes.
pub fn mask_store(lanes: usize) -> &'static Row {
    match lanes {
        ..=8 => KMOVB_ST,
        16 => KMOVW_ST,
        32 => KMOVD_ST,
        _ => KMOVQ_ST,
    }
}

impl Backend {
    /// The active lanes among `lanes` from element `first` on, in [`ACTIVE`] if not all are; `masked`: v0 decides too.
    /// Changes RAX and RCX, if `part` is some.
    pub(super) fn active(&mut self, i: &Insn, part: Part, masked: bool, first: usize, lanes: usize) -> Active {
        if part == Part::Some {
            self.below_vl(first);
            self.asm.v(KMOVQ_R, (ACTIVE, C));
        }
        if masked {
            let into = if part == Part::Some { MASK } else { ACTIVE };
            self.asm.v(mask_load(lanes), (into, v_slot(&i.s, 0, first / 8)));
            if part == Part::Some {
                self.asm.v(KANDQ.y(), (ACTIVE, ACTIVE, MASK));
            }
        }
        if masked || part == Part::Some { Active::By(ACTIVE) } else { Active::All }
    }

    /// RCX = a bit for each of 64 elements from `first` on, set if it is below `vl`. RAX changes.
    pub(super) fn below_vl(&mut self, first: usize) {
        const { assert!(MOST_CHUNKS * 64 <= 256, "BZHI looks at eight bits of the index") };
        if first != 0 {
            self.asm.mov_imm(C, 0);
        }
        self.asm.mov(true, A, VL);
        if first != 0 {
            self.asm.alu_imm(Alu::Sub, true, A, first as i32);
            self.asm.cmov(Cc::B, A, C);
        }
        self.asm.mov_imm(C, -1);
        self.asm.v(BZHI, (C, C, A));
    }

    /// Loads a host register.
    pub(super) fn v_load(&mut self, len: Len, to: Xmm, from: Mem) {
        let row = if self.vectors.avx512() { VMOVDQU64 } else { VMOVDQU };
        self.asm.v(row.len(len), (to, from));
    }

    /// Stores a host register.
    pub(super) fn v_store(&mut self, len: Len, to: Mem, from: Xmm) {
        let row = if self.vectors.avx512() { VMOVDQU64_ST } else { VMOVDQU_ST };
        self.asm.v(row.len(len), (to, from));
    }

    /// Stores the active elements of `value`, 1 << `eew` bytes each; `temp` may change.
    pub(super) fn v_put(&mut self, len: Len, to: Mem, value: Xmm, active: Active, eew: u8, temp: Xmm) {
        match active {
            Active::All => self.v_store(len, to, value),
            Active::By(k) => {
                self.v_load(len, temp, to);
                self.asm.v(MOVE[usize::from(eew)].len(len).k(k), (temp, value));
                self.v_store(len, to, temp);
            }
        }
    }

    /// All elements of `to`, 1 << `sew` bytes each, = the low part of `v`. RAX may change.
    pub(super) fn v_splat(&mut self, len: Len, to: Xmm, sew: u8, v: Val) {
        if v == Val::C(0) {
            let row = if self.vectors.avx512() { VPXORD } else { VPXOR };
            return self.asm.v(row.len(len), (to, to, to));
        }
        let r = self.in_reg(A, v);
        self.v_splat_reg(len, to, sew, r);
    }

    /// The same of a register.
    pub(super) fn v_splat_reg(&mut self, len: Len, to: Xmm, sew: u8, r: Reg) {
        if self.vectors.avx512() {
            let row = [VPBROADCASTB_R, VPBROADCASTW_R, VPBROADCASTD_R, VPBROADCASTQ_R][usize::from(sew)];
            return self.asm.v(row.len(len), (to, r));
        }
        self.asm.v(if sew == 3 { VMOVQ } else { VMOVD }, (to, r));
        let row = [VPBROADCASTB, VPBROADCASTW, VPBROADCASTD, VPBROADCASTQ][usize::from(sew)];
        self.asm.v(row.len(len), (to, to));
    }
}
