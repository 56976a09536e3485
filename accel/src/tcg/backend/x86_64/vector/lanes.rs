//! Which elements of a chunk are written: masks from `vl` and v0, and stores that keep the others.
//!
//! With AVX-512 they are opmasks. Without, they are lanes of ones and zeros in a register: for `vl` a window of a table
//! that is ones first, for v0 its bits spread over the lanes. Instructions compute all lanes then; what would raise flags
//! or be counted in others is cleared of them before.

use super::super::asm::rows::*;
use super::super::asm::vex::{K, Len, Operand, Row};
use super::super::asm::{Alu, Cc, Mem, Shift, Xmm, mem, mem_index};
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
    /// Those with ones in the register, which is [`LANES`].
    Lanes(Xmm),
}

/// Moves between registers by element width, which a mask tells apart.
pub const MOVE: [&Row; 4] = [VMOVDQU8, VMOVDQU16, VMOVDQU32, VMOVDQU64];
/// The same to memory.
pub const STORE: [&Row; 4] = [VMOVDQU8_ST, VMOVDQU16_ST, VMOVDQU32_ST, VMOVDQU64_ST];

/// What [`Backend::active`] answers with, and what it uses beside.
pub const ACTIVE: K = K(1);
const MASK: K = K(2);
/// The same without opmasks.
pub const LANES: Xmm = Xmm(15);
/// Scratch of what makes and uses lanes.
pub const SPREAD: Xmm = Xmm(14);

/// Constants that lanes are made from. In order, and aligned, so that no load is split.
#[repr(C, align(64))]
struct Patterns {
    ones: [u8; 32],
    zeros: [u8; 64],
    /// For each byte the one of eight times fewer.
    bytes: [u8; 32],
    /// Single bits, by element width.
    bits0: [u8; 32],
    bits1: [u16; 16],
    bits2: [u32; 16],
    bits3: [u64; 12],
}

static PATTERNS: Patterns = {
    let mut p = Patterns {
        ones: [0xff; 32],
        zeros: [0; 64],
        bytes: [0; 32],
        bits0: [0; 32],
        bits1: [0; 16],
        bits2: [0; 16],
        bits3: [0; 12],
    };
    let mut i = 0;
    while i < 32 {
        p.bytes[i] = i as u8 / 8;
        p.bits0[i] = 1 << (i % 8);
        if i < 16 {
            p.bits1[i] = 1 << i;
            p.bits2[i] = 1 << i;
        }
        if i < 12 {
            p.bits3[i] = 1 << i;
        }
        i += 1;
    }
    p
};

fn pattern(offset: usize) -> i64 {
    &raw const PATTERNS as i64 + offset as i64
}

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
    /// The active lanes among `lanes` from element `first` on, in [`ACTIVE`] (without opmasks in [`LANES`]) if not all
    /// are; `masked`: v0 decides too. Elements are 1 << `eew` bytes each.
    /// Changes RAX and RCX, if `part` is some.
    pub(super) fn active(&mut self, i: &Insn, part: Part, masked: bool, first: usize, lanes: usize, eew: u8) -> Active {
        if !self.vectors.avx512() {
            return self.active_lanes(i, part, masked, first, lanes, eew);
        }
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

    fn active_lanes(&mut self, i: &Insn, part: Part, masked: bool, first: usize, lanes: usize, eew: u8) -> Active {
        let len = Len::of(lanes << eew);
        if part == Part::Some {
            self.lanes_below_vl(len, first, lanes, eew);
        }
        if masked {
            let to = if part == Part::Some { SPREAD } else { LANES };
            self.spread(len, to, v_slot(&i.s, 0, first / 8), first, eew);
            if part == Part::Some {
                self.asm.v(VPAND.len(len), (LANES, LANES, SPREAD));
            }
        }
        if masked || part == Part::Some { Active::Lanes(LANES) } else { Active::All }
    }

    /// [`LANES`] = ones in the elements below `vl`, of `lanes` from `first` on. RAX and RCX change.
    fn lanes_below_vl(&mut self, len: Len, first: usize, lanes: usize, eew: u8) {
        self.asm.mov(true, A, VL);
        if first != 0 {
            self.asm.mov_imm(C, 0);
            self.asm.alu_imm(Alu::Sub, true, A, first as i32);
            self.asm.cmov(Cc::B, A, C);
        }
        self.asm.mov_imm(C, lanes as i64);
        self.asm.alu(Alu::Cmp, true, A, C);
        self.asm.cmov(Cc::A, A, C);
        self.lanes_below_rax(len, eew);
    }

    /// [`LANES`] = ones in as many elements as RAX says, no more than there are. RAX and RCX change.
    pub(super) fn lanes_below_rax(&mut self, len: Len, eew: u8) {
        self.asm.neg(true, A);
        self.asm.mov_imm(C, pattern(offset_of!(Patterns, zeros)));
        self.asm.v(VMOVDQU.len(len), (LANES, mem_index(C, A, 1 << eew, 0)));
    }

    /// `to` = ones in the first `lanes` elements, zeros in the others. RAX changes.
    pub(super) fn first_lanes(&mut self, len: Len, to: Xmm, lanes: usize, eew: u8) {
        self.asm.mov_imm(A, pattern(offset_of!(Patterns, zeros) - (lanes << eew).min(32)));
        self.asm.v(VMOVDQU.len(len), (to, mem(A, 0)));
    }

    /// `to` = the bits of a mask, from element `first` on, which is in the byte at `bits`. RAX changes.
    pub(super) fn spread(&mut self, len: Len, to: Xmm, bits: Mem, first: usize, eew: u8) {
        let (splat, equal, constants) = match eew {
            0 => (VPBROADCASTD, VPCMPEQB_V, offset_of!(Patterns, bytes)),
            1 => (VPBROADCASTW, VPCMPEQW_V, offset_of!(Patterns, bits1)),
            2 => (VPBROADCASTD, VPCMPEQD_V, offset_of!(Patterns, bits2)),
            _ => (VPBROADCASTQ, VPCMPEQQ_V, offset_of!(Patterns, bits3)),
        };
        self.asm.v(splat.len(len), (to, bits));
        self.asm.mov_imm(A, pattern(constants + ((first % 8) << eew)));
        let mut single = mem(A, 0);
        if eew == 0 {
            self.asm.v(VPSHUFB.len(len), (to, to, single));
            single.disp = (offset_of!(Patterns, bits0) - offset_of!(Patterns, bytes)) as i32;
        }
        self.asm.v(VPAND.len(len), (to, to, single));
        self.asm.v(equal.len(len), (to, to, single));
    }

    /// RDX = a bit for each lane of `v`, all of whose bits are the same, clear above them. `v` may change.
    pub(super) fn bits_of_lanes(&mut self, len: Len, v: Xmm, eew: u8) {
        match eew {
            0 => self.asm.v(VPMOVMSKB.len(len), (D, v)),
            1 if len == Len::X => {
                self.asm.v(VPACKSSWB.x(), (v, v, v));
                self.asm.v(VPMOVMSKB.x(), (D, v));
                self.asm.extend(1, false, D, D);
            }
            1 => {
                self.asm.v(VEXTRACTI128.y(), (SPREAD, v, 1u8));
                self.asm.v(VPACKSSWB.x(), (v, v, SPREAD));
                self.asm.v(VPMOVMSKB.x(), (D, v));
            }
            2 => self.asm.v(VMOVMSKPS.len(len), (D, v)),
            _ => self.asm.v(VMOVMSKPD.len(len), (D, v)),
        }
    }

    /// Stores bits of a mask, those in RDX, for the active ones of `lanes` elements from `first` on. RAX and RCX change.
    pub(super) fn put_bits(&mut self, i: &Insn, part: Part, masked: bool, first: usize, lanes: usize) {
        let size = (lanes / 8).max(1) as u64;
        let (to, v0) = (v_slot(&i.s, i.c.vd(), first / 8), v_slot(&i.s, 0, first / 8));
        if part == Part::All && !masked && lanes >= 8 {
            return self.asm.store(size, to, D);
        }
        let within = (first % 8) as u8;
        if within != 0 {
            self.asm.shift_imm(Shift::Shl, true, D, within);
        }
        if part == Part::Some {
            // From the first element of the byte on: those before are not among these lanes.
            self.below_vl(first - usize::from(within));
        } else {
            self.asm.mov_imm(C, -1);
        }
        if lanes < 32 {
            self.asm.alu_imm(Alu::And, false, C, ((1i32 << lanes) - 1) << within);
        }
        if masked {
            self.asm.extend(size, false, A, v0);
            self.asm.alu(Alu::And, true, C, A);
        }
        self.asm.extend(size, false, A, to);
        self.asm.alu(Alu::Xor, true, D, A);
        self.asm.alu(Alu::And, true, D, C);
        self.asm.alu(Alu::Xor, true, A, D);
        self.asm.store(size, to, A);
    }

    /// `to` = the active lanes of `from`, zeros in the others.
    pub(super) fn v_only(&mut self, len: Len, to: Xmm, from: impl Into<Operand>, active: Active) {
        match (active, from.into()) {
            (Active::Lanes(m), from) => self.asm.v(VPAND.len(len), (to, m, from)),
            (_, Operand::V(from)) if from == to => {}
            (_, from) => {
                let row = if self.vectors.avx512() { VMOVDQU64 } else { VMOVDQU };
                self.asm.v(row.len(len), (to, from));
            }
        }
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
            Active::Lanes(m) => {
                self.v_load(len, temp, to);
                self.asm.v(VPBLENDVB.len(len), (temp, temp, value, m));
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
