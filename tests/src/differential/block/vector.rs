//! Vector instructions. All vector registers are loaded from the second page of the block's data before the first
//! instruction and stored there after the last; `vl`, `vtype`, `vstart` and `vcsr` end in integer registers.
//!
//! A group that touches memory sets its own configuration, stride and indices, so that it stays inside the block's
//! slot or its virtual pages.

use arch::csr;
use arch::isa::{Field, Insn, Op, Row};

use super::{Draft, Family, Group, Value};
use crate::differential::asm::{Word, csrr, csrw, imm, reg, word};
use crate::differential::rng::Rng;

/// Bytes that a vector access may be away from its base register: as many as eight of the longest registers have.
const REACH: u64 = 1024;

/// What `vtype` and `vl` are where a group begins, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Config {
    /// As in `vtype`.
    bits: u64,
    /// `vl` is at most this.
    vl: u64,
}

impl Config {
    fn sew(&self) -> u8 {
        (self.bits >> 3 & 7) as u8
    }

    /// log2 of LMUL.
    fn lmul(&self) -> i8 {
        (self.bits as i8) << 5 >> 5
    }

    /// Whether a hart with 64-bit elements has it.
    fn is_legal(&self) -> bool {
        self.lmul() != -4 && self.sew() < 4 && self.sew() as i8 <= 3 + self.lmul().min(0)
    }

    fn vlmax(&self, vlen: u32) -> u64 {
        let bits = if self.lmul() < 0 { vlen >> -self.lmul() } else { vlen << self.lmul() };
        u64::from(bits >> 3 >> self.sew())
    }
}

/// Bytes of vector registers: elements of all widths, many of them corners.
pub(super) fn elements(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        let width = rng.pick(&[1usize, 2, 4, 8]);
        let top = 1u64 << (width * 8 - 1);
        for _ in 0..8 / width {
            let value = match rng.below(10) {
                0 => 0,
                1 => rng.below(4),
                2 => u64::MAX,
                3 => top,
                4 => top - 1,
                5 => top + 1,
                6 => rng.float() >> if width == 8 { 0 } else { rng.pick(&[0, 32]) },
                _ => rng.bits(),
            };
            bytes.extend(&value.to_le_bytes()[..width]);
        }
    }
    bytes
}

/// Whether some register may be read with two element widths, v0 as a mask included: see [`super::LEFT_OUT`].
fn reads_two_widths(row: &Row, raw: u32) -> bool {
    let has = |name: &str| row.operands.split([',', '(', ')']).any(|operand| operand == name);
    let (vd, vs1, vs2) = (raw >> 7 & 31, raw >> 15 & 31, raw >> 20 & 31);
    let masks_only = row.mnemonic.ends_with(".m") || row.mnemonic.ends_with(".mm");
    let masked = raw & 1 << 25 == 0 && !masks_only;
    if masked && (has("vs1") && vs1 == 0 || has("vs2") && vs2 == 0 || has("vs3") && vd == 0) {
        return true;
    }
    let name = row.mnemonic;
    // The largest groups are eight registers.
    let near = |a: u32, b: u32| a >> 3 == b >> 3;
    let accumulates = name.contains("macc") || name.contains("msac");
    let wide = name.starts_with("vw") || name.starts_with("vfw");
    let two_sources = wide || name.ends_with(".wv") || ["vcompress.vm", "vrgatherei16.vv"].contains(&name);
    has("vs1") && has("vs2") && two_sources && near(vs1, vs2)
        || has("vs3") && has("vs2") && (near(vd, vs2) || near(vd + 7, vs2))
        || wide && accumulates && (has("vs1") && near(vd, vs1) || near(vd, vs2))
}

impl Draft<'_> {
    /// Registers that only this file writes: the address of the registers' image, two temporaries, four results.
    fn image(&self) -> u8 {
        self.legal[0]
    }

    fn temporaries(&self) -> (u8, u8) {
        (self.legal[1], self.legal[2])
    }

    pub(super) fn vector_addresses(&mut self, x: &mut [Value; 32], translated: bool) {
        for (i, r) in self.bases.into_iter().enumerate() {
            // Near the end of the page, so that accesses cross it.
            let offset = match self.rng.below(3) {
                0 => 4096 - self.rng.below(64),
                1 => (REACH + self.rng.below(3000)) & !7,
                _ => REACH + self.rng.below(3000),
            };
            x[usize::from(r)] = match translated {
                true => Value::Virtual(self.base_pages[i] << 12 | offset & 0xfff),
                false => Value::Data(offset),
            };
        }
        x[usize::from(self.image())] = Value::Data(4096);
    }

    pub(super) fn vector_groups(&mut self) -> Vec<Group> {
        // Nothing is left of the block before.
        let mut start = vec![csrw(csr::VSTART, 0)];
        start.extend(self.whole_file(Op::Vl8re8V));
        let avl = self.rng.below(16);
        start.push(word(Op::Vsetivli, 0, avl as u8, 0, 0));
        self.config = Config { bits: 0, vl: avl };
        let mut groups = vec![start];
        for _ in 0..4 + self.rng.below(20) {
            let group = self.vector_group();
            groups.push(group);
        }
        let mut results: Group = [csr::VSTART, csr::VL, csr::VTYPE, csr::VCSR]
            .into_iter()
            .zip(&self.legal[3..])
            .map(|(number, r)| csrr(*r, number))
            .collect();
        results.extend(self.whole_file(Op::Vs8rV));
        groups.push(results);
        groups
    }

    /// Loads or stores all vector registers.
    fn whole_file(&self, op: Op) -> Group {
        let (t, u) = self.temporaries();
        let mut group = vec![csrr(t, csr::VLENB), imm(Op::Slli, t, t, 3), imm(Op::Addi, u, self.image(), 0)];
        for register in [0, 8, 16, 24] {
            let raw = op.row().pattern.bits | register << 7 | u32::from(u) << 15;
            group.push(Word { raw, len: 4 });
            group.push(reg(Op::Add, u, u, t));
        }
        group
    }

    fn vector_group(&mut self) -> Group {
        match self.rng.below(24) {
            0..4 => self.configure(),
            4..9 => self.vector_memory(),
            9 => vec![reg(self.rng.pick(&[Op::Add, Op::Mul, Op::Srl]), self.target(), self.source(), self.source())],
            10 if self.rng.one_in(2) => self.vector_csr(),
            _ => {
                let mut group = if self.rng.one_in(3) { self.configure() } else { Vec::new() };
                if self.rng.one_in(8) && !self.g.avoid.vstart_of_arithmetic {
                    group.extend(self.vstart());
                }
                group.push(self.vector_arithmetic());
                group
            }
        }
    }

    /// A random configuration, by any of the three instructions.
    fn configure(&mut self) -> Group {
        let (t, u) = self.temporaries();
        let vlen = self.g.isa().vlen;
        let bits = match self.rng.below(32) {
            0 => self.rng.below(1 << 11),
            1 => self.rng.below(1 << 8),
            _ => loop {
                let config = Config { bits: self.rng.below(1 << 8), vl: 0 };
                if config.is_legal() {
                    break config.bits;
                }
            },
        };
        let new = Config { bits, vl: 0 };
        let vlmax = if new.is_legal() { new.vlmax(vlen) } else { 0 };
        let avl = match self.rng.below(10) {
            0 => 0,
            1 => 1,
            2 => vlmax.saturating_sub(1),
            3 => vlmax + 1,
            4 => self.rng.below(2 * vlmax + 2),
            _ => vlmax,
        };
        let mut vl = avl.min(vlmax);
        let rd = if self.rng.one_in(3) { 0 } else { self.target() };
        let vtype = bits as i32;
        let group = match self.rng.below(8) {
            0 if self.rng.one_in(2) => {
                vl = self.config.vl.min(vlmax);
                vec![word(Op::Vsetvli, 0, 0, 0, vtype)]
            }
            1 => {
                vl = vlmax;
                vec![word(Op::Vsetvli, self.target(), 0, 0, vtype)]
            }
            2 => {
                let avl = self.rng.below(32);
                vl = avl.min(vlmax);
                vec![word(Op::Vsetivli, rd, avl as u8, 0, vtype & 0x3ff)]
            }
            3 => vec![imm(Op::Addi, t, 0, avl as i32), imm(Op::Addi, u, 0, vtype), reg(Op::Vsetvl, rd, t, u)],
            _ => vec![imm(Op::Addi, t, 0, avl as i32), word(Op::Vsetvli, rd, t, 0, vtype)],
        };
        self.config = Config { bits, vl };
        group
    }

    fn vstart(&mut self) -> Group {
        let (t, _) = self.temporaries();
        let value = match self.rng.below(4) {
            0 => self.rng.below(2048),
            1 => self.config.vl,
            _ => self.rng.below(self.config.vl + 1),
        };
        vec![imm(Op::Addi, t, 0, value as i32), csrw(csr::VSTART, t)]
    }

    fn vector_csr(&mut self) -> Group {
        let number = self.rng.pick(&[csr::VXSAT, csr::VXRM, csr::VCSR, csr::VL, csr::VTYPE, csr::VLENB, csr::VSTART]);
        let mut group = vec![self.csr_word(number)];
        self.forget_vstart(&mut group);
        group
    }

    /// A vector register, mostly the first of a group.
    fn vector_register(&mut self) -> u32 {
        let lmul = self.config.lmul().max(0) as u32;
        let log2 = if self.rng.one_in(12) { 0 } else { lmul + self.rng.below(2) as u32 };
        (self.rng.below(32) as u32 >> log2 << log2) & 31
    }

    /// A word of the row with random operands.
    fn vector_word(&mut self, row: &'static Row) -> Option<(Insn, Word)> {
        let pattern = &row.pattern;
        let mut raw = pattern.bits | self.rng.bits() as u32 & !pattern.mask;
        let has = |name: &str| row.operands.split([',', '(', ')']).any(|operand| operand == name);
        for piece in pattern.pieces.iter().filter(|piece| piece.width == 5) {
            let value = match piece.field {
                Field::Rd if has("rd") => self.target().into(),
                Field::Rs1 if has("rs1") => self.source().into(),
                Field::Rs2 if has("rs2") => self.source().into(),
                Field::Rd | Field::Rs1 | Field::Rs2 | Field::Rs3 => self.vector_register(),
                _ => continue,
            };
            raw = raw & !piece.mask() | value << piece.lsb;
        }
        let insn = self.g.decoder.decode(raw).filter(|insn| std::ptr::eq(insn.row(), row))?;
        (!reads_two_widths(row, raw)).then_some((insn, Word { raw, len: 4 }))
    }

    fn vector_arithmetic(&mut self) -> Word {
        loop {
            let row = self.rng.pick(self.g.rows(Family::Vector));
            let scalar = matches!(row.op, Op::VmvSX | Op::VfmvSF) && self.g.isa().rvv.ta_all_1s;
            let reduction = matches!(row.op, Op::VfredusumVs | Op::VfwredusumVs) && self.g.avoid.unordered_sums;
            match self.vector_word(row) {
                Some((_, word)) if !scalar && !reduction => return word,
                _ => {}
            }
        }
    }

    /// The configuration that is known, with a `vl` that is known.
    fn reconfigure(&mut self, group: &mut Group) {
        let (t, _) = self.temporaries();
        group.push(imm(Op::Addi, t, 0, self.config.vl as i32));
        group.push(word(Op::Vsetvli, 0, t, 0, self.config.bits as i32));
    }

    fn vector_memory(&mut self) -> Group {
        let mut group = if self.rng.one_in(2) { self.configure() } else { Vec::new() };
        let (t, u) = self.temporaries();
        let (insn, chosen) = loop {
            let row = self.rng.pick(self.g.rows(Family::VectorMemory));
            let Some((insn, word)) = self.vector_word(row) else { continue };
            // EEW and EMUL; most of those that cannot be are others' business.
            let eew = [0, 9, 9, 9, 9, 1, 2, 3][(insn.raw >> 12 & 7) as usize];
            let emul = self.config.lmul() + eew - self.config.sew() as i8;
            let indexed = insn.raw >> 26 & 1 != 0;
            let data = if indexed { self.config.lmul() } else { emul };
            let fields = 1 + (insn.raw >> 29) as i32;
            let fits = (-3..=3).contains(&emul) && fields << data.max(0) <= 8;
            if fits || self.rng.one_in(16) {
                break (insn, word);
            }
        };
        let base = self.rng.pick(&self.bases);
        let mut raw = chosen.raw & !(31 << 15) | u32::from(base) << 15;
        match insn.raw >> 26 & 3 {
            // Elements of fault-only-first loads stay in a page.
            0 if insn.op.name().ends_with("ff.v") => {
                group.push(imm(Op::Andi, t, base, -8));
                raw = raw & !(31 << 15) | u32::from(t) << 15;
            }
            // Strided.
            2 => {
                let bound = (REACH / self.config.vl.max(1)) as i64;
                let stride = self.rng.below(2 * bound as u64 + 1) as i64 - bound;
                self.reconfigure(&mut group);
                group.push(imm(Op::Addi, t, 0, stride as i32));
                raw = raw & !(31 << 20) | u32::from(t) << 20;
            }
            // Indexed: the indices are made small.
            1 | 3 => {
                let eew = [0, 9, 9, 9, 9, 1, 2, 3][(insn.raw >> 12 & 7) as usize];
                let emul = self.config.lmul() + eew - self.config.sew() as i8;
                let index = Config { bits: (emul as u64 & 7) | (eew as u64) << 3, vl: 0 };
                if !(-3..=3).contains(&emul) || !index.is_legal() {
                    return group;
                }
                group.push(imm(Op::Addi, u, 0, REACH as i32 - 1));
                group.push(word(Op::Vsetvli, t, 0, 0, index.bits as i32));
                let group_of_index = (raw >> 20 & 31) >> emul.max(0) << emul.max(0);
                if group_of_index == 0 && raw & 1 << 25 == 0 {
                    // Also the mask.
                    return group;
                }
                raw = raw & !(31 << 20) | group_of_index << 20;
                let mask = Op::VandVx.row().pattern.bits | 1 << 25 | group_of_index << 20 | u32::from(u) << 15;
                group.push(Word { raw: mask | group_of_index << 7, len: 4 });
                self.reconfigure(&mut group);
            }
            _ => {}
        }
        if raw >> 26 & 3 == 0 && raw >> 20 & 31 == 8 {
            // A `vstart` that an earlier trap left may be beyond whole registers.
            let mut start = self.rng.below(2) as u8;
            if self.g.avoid.unaligned_whole_registers {
                start = 0;
                group.push(imm(Op::Andi, t, base, -8));
                raw = raw & !(31 << 15) | u32::from(t) << 15;
            }
            group.push(word(Op::Csrrwi, 0, start, 0, csr::VSTART.into()));
        } else if self.rng.one_in(8) {
            let start = self.vstart();
            // The temporary may be a base or a stride already.
            let at = group.len() - usize::from(raw >> 26 & 3 == 2 || raw >> 15 & 31 == u32::from(t));
            group.splice(at..at, start);
        }
        group.push(Word { raw, len: 4 });
        if insn.op.name().ends_with("ff.v") {
            // QEMU goes on with the old `vl` until its translation ends.
            group.push(word(Op::FenceI, 0, 0, 0, 0));
        }
        self.forget_vstart(&mut group);
        group
    }

    /// Moves what a trap may have left in `vstart` elsewhere.
    fn forget_vstart(&mut self, group: &mut Group) {
        if self.g.avoid.vstart_of_arithmetic {
            group.push(word(Op::Csrrwi, self.target(), 0, 0, csr::VSTART.into()));
        }
    }
}
