//! Branches, jumps and loops. Whatever way they take, the block goes on behind the group.

use arch::isa::{Op, Operands, encode_row, rows};

use super::{Draft, Family, Group};
use crate::differential::asm::{Word, imm, word};

impl Draft<'_> {
    pub(super) fn control_flow(&mut self) -> Group {
        match self.rng.below(6) {
            0..3 => self.branch(),
            3 => self.jump(),
            4 => self.indirect(),
            _ => self.counted_loop(),
        }
    }

    /// A few instructions and the offsets between them.
    pub(super) fn body(&mut self, keep: u8) -> (Vec<Word>, Vec<i32>) {
        let words: Vec<_> = (0..1 + self.rng.below(4)).map(|_| self.plain_keeping(keep)).collect();
        let ends = words.iter().scan(0, |end, word| {
            *end += i32::from(word.len);
            Some(*end)
        });
        let ends = ends.collect();
        (words, ends)
    }

    pub(super) fn branch(&mut self) -> Group {
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        loop {
            let (insn, word) = self.pick_row(Family::Branch);
            let operands = Operands { imm: i32::from(word.len) + over, ..Operands::from(&insn) };
            if let Ok(raw) = encode_row(insn.row(), &operands) {
                let mut group = vec![Word { raw, ..word }];
                group.extend(body);
                return group;
            }
        }
    }

    pub(super) fn jump(&mut self) -> Group {
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        let rd = if self.rng.one_in(3) { 0 } else { self.target() };
        let compressed = rows().iter().find(|row| row.mnemonic == "c.j" && row.available(&self.g.isa));
        let jump = match compressed {
            Some(row) if self.rng.one_in(2) => {
                let operands = Operands { imm: 2 + over, ..Operands::default() };
                Word { raw: encode_row(row, &operands).expect("near"), len: 2 }
            }
            _ => word(Op::Jal, rd, 0, 0, 4 + over),
        };
        let mut group = vec![jump];
        group.extend(body);
        group
    }

    /// A jump through a register, also by way of compressed forms and with bit 0 of the target set.
    pub(super) fn indirect(&mut self) -> Group {
        let t = self.target();
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        let mut group = vec![imm(Op::Auipc, t, 0, 0)];
        let name = self.rng.pick(&["jalr", "jalr", "c.jr", "c.jalr"]);
        match rows().iter().find(|row| row.mnemonic == name && row.pattern.len == 2 && row.available(&self.g.isa)) {
            Some(row) => {
                group.push(imm(Op::Addi, t, t, 4 + 4 + 2 + over));
                let raw = row.pattern.bits | u32::from(t) << 7;
                // x1 is where c.jalr links.
                if name == "c.jalr" && self.reserved.contains(&1) {
                    group.push(word(Op::Jalr, 0, t, 0, 2));
                } else {
                    group.push(Word { raw, len: 2 });
                    group.extend(body);
                    return group;
                }
                group.extend(body);
                group
            }
            None => {
                let rd = if self.rng.one_in(3) { 0 } else { self.target() };
                let odd = self.rng.below(2) as i32;
                group.push(word(Op::Jalr, rd, t, 0, 4 + 4 + over + odd));
                group.extend(body);
                group
            }
        }
    }

    pub(super) fn counted_loop(&mut self) -> Group {
        let counter = self.target();
        let (body, ends) = self.body(counter);
        let mut group = vec![imm(Op::Addi, counter, 0, 1 + self.rng.below(5) as i32)];
        group.extend(body);
        group.push(imm(Op::Addi, counter, counter, -1));
        let back = ends.last().copied().unwrap_or(0) + 4;
        group.push(word(Op::Bne, 0, counter, 0, -back));
        group
    }
}
