//! Instructions that touch memory. Their address registers hold addresses in the block's slot or its virtual pages.

use arch::isa::{Field, Op, Operands};

use super::{Draft, Family, Group, Profile};
use crate::differential::asm::{Word, reg, store, word};

impl Draft<'_> {
    /// Gives the word's base register; compressed forms reach the first base alone, or sp.
    pub(super) fn with_base(&mut self, word: Word, base: u8) -> Word {
        let insn = self.g.decoder.decode(word.raw).expect("made by the decoder's table");
        let mut raw = word.raw;
        for piece in insn.row().pattern.pieces.iter().filter(|piece| piece.field == Field::Rs1) {
            let value = if piece.width == 5 { base } else { self.bases[0] - 8 };
            raw = raw & !piece.mask() | u32::from(value) << piece.lsb;
        }
        Word { raw, ..word }
    }

    pub(super) fn memory(&mut self) -> Group {
        let (_, word) = self.pick_row(Family::Memory);
        let base = self.rng.pick(&self.bases);
        vec![self.with_base(word, base)]
    }

    /// FROUND and the store that needs its result.
    pub(super) fn round(&mut self) -> Group {
        if !self.has(Family::Round) {
            return vec![self.plain()];
        }
        let (insn, word) = self.pick_row(Family::Round);
        vec![word, store(Op::Fsd, insn.rd, self.rng.pick(&self.bases), self.rng.below(256) as i32 * 8 - 1024)]
    }

    pub(super) fn cache_block(&mut self) -> Group {
        if !self.has(Family::CacheBlock) {
            return self.memory();
        }
        let (insn, word) = self.pick_row(Family::CacheBlock);
        let manages = matches!(insn.op, Op::CboClean | Op::CboFlush | Op::CboInval);
        // M-mode takes virtual addresses for physical ones there.
        if manages && self.profile == Profile::Privileged && self.g.avoid.unmapped_management {
            return self.memory();
        }
        let base = self.rng.pick(&self.bases);
        vec![self.with_base(word, base)]
    }

    pub(super) fn atomic(&mut self) -> Group {
        if self.has(Family::Cas) && self.rng.one_in(3) {
            return self.compare_and_swap();
        }
        if self.has(Family::Amo) && (self.misaligned || self.rng.one_in(2)) {
            let (base, word) = (self.atomic, self.amo());
            return vec![self.with_base(word, base)];
        }
        if self.profile != Profile::Compute {
            let op = self.rng.pick(&[Op::LrW, Op::LrD]);
            return vec![word(op, self.target(), self.atomic, 0, 0)];
        }
        let (lr, sc) = self.rng.pick(&[(Op::LrW, Op::ScW), (Op::LrD, Op::ScD)]);
        let (ordering, rd) = (self.rng.below(4) as u8, self.target());
        let atomic = |op: Op, rd: u8, base: u8, rs2: u8| {
            let operands = Operands { rd, rs1: base, rs2, rm: ordering, ..Operands::default() };
            Word { raw: arch::isa::encode(op, &operands).expect("registers fit"), len: 4 }
        };
        let store = atomic(sc, self.target(), self.atomic, self.source());
        match self.rng.below(8) {
            // Without a reservation.
            0 => vec![store],
            // Somewhere else than the reservation, by far more than a reservation set.
            1 => vec![atomic(lr, rd, self.atomic, 0), word(Op::Addi, rd, self.atomic, 0, 1024), {
                let elsewhere = rd;
                atomic(sc, self.target(), elsewhere, self.source())
            }],
            // Twice: the first one ends the reservation.
            2 => vec![atomic(lr, rd, self.atomic, 0), store, store],
            _ => {
                let mut group = vec![atomic(lr, rd, self.atomic, 0)];
                for _ in 0..self.rng.below(4) {
                    group.push(self.constrained());
                }
                group.push(store);
                group
            }
        }
    }

    /// An AMO, a load-acquire or a store-release.
    fn amo(&mut self) -> Word {
        loop {
            let (insn, word) = self.pick_row(Family::Amo);
            // See LEFT_OUT. Store-releases have no rd.
            if insn.rd != 0 || !insn.op.name().ends_with(".aq") {
                return word;
            }
        }
    }

    /// AMOCAS, of a value that was loaded a moment before or of any.
    fn compare_and_swap(&mut self) -> Group {
        let (insn, cas) = loop {
            let (insn, cas) = self.pick_row(Family::Cas);
            let second_is_reserved = insn.op == Op::AmocasQ && self.reserved.contains(&(insn.rd + 1));
            if insn.rd != 0 && !second_is_reserved {
                break (insn, cas);
            }
        };
        let base = self.atomic;
        let load = |op: Op, rd: u8, offset: i32| word(op, rd, base, 0, offset);
        let mut group = match insn.op {
            _ if self.rng.one_in(3) => Vec::new(),
            Op::AmocasB => vec![load(Op::Lbu, insn.rd, 0)],
            Op::AmocasH => vec![load(Op::Lh, insn.rd, 0)],
            Op::AmocasW => vec![load(Op::Lwu, insn.rd, 0)],
            Op::AmocasQ => vec![load(Op::Ld, insn.rd, 0), load(Op::Ld, insn.rd + 1, 8)],
            _ => vec![load(Op::Ld, insn.rd, 0)],
        };
        group.push(self.with_base(cas, base));
        group
    }

    /// What may stand between LR and SC (unprivileged specification, "Eventual Success of Store-Conditional
    /// Instructions"): base integer instructions that neither touch memory nor jump.
    pub(super) fn constrained(&mut self) -> Word {
        let op = self.rng.pick(&[Op::Add, Op::Sub, Op::Xor, Op::And, Op::Or, Op::Slt, Op::Addw, Op::Sra]);
        reg(op, self.target(), self.source(), self.source())
    }
}
