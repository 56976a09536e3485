//! A few lines of assembler for the code around the blocks.

use arch::isa::{Op, Operands, encode};

/// An instruction word and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    pub raw: u32,
    pub len: u8,
}

/// A full-size instruction. Operands that do not fit are a bug of the caller.
pub fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Word {
    let operands = Operands { rd, rs1, rs2, imm, ..Operands::default() };
    let raw = encode(op, &operands).unwrap_or_else(|error| panic!("{error}"));
    Word { raw, len: 4 }
}

/// `op rd, rs1, imm`; loads and jumps too.
pub fn imm(op: Op, rd: u8, rs1: u8, imm: i32) -> Word {
    word(op, rd, rs1, 0, imm)
}

/// `op rd, rs1, rs2`.
pub fn reg(op: Op, rd: u8, rs1: u8, rs2: u8) -> Word {
    word(op, rd, rs1, rs2, 0)
}

/// A store of `rs2` at `base + imm`.
pub fn store(op: Op, rs2: u8, base: u8, imm: i32) -> Word {
    word(op, 0, base, rs2, imm)
}

/// `csrrw x0, csr, rs1`.
pub fn csrw(csr: u16, rs1: u8) -> Word {
    word(Op::Csrrw, 0, rs1, 0, csr.into())
}

/// `csrrs rd, csr, x0`.
pub fn csrr(rd: u8, csr: u16) -> Word {
    word(Op::Csrrs, rd, 0, 0, csr.into())
}

/// Code with labels for branches forward and backward.
#[derive(Debug, Default)]
pub struct Code {
    pub words: Vec<Word>,
    labels: Vec<Option<usize>>,
    branches: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
pub struct Label(usize);

impl Code {
    pub fn push(&mut self, word: Word) {
        self.words.push(word);
    }

    pub fn extend(&mut self, words: impl IntoIterator<Item = Word>) {
        self.words.extend(words);
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.words.len());
    }

    /// A branch, or `jal` to x0.
    pub fn branch(&mut self, op: Op, rs1: u8, rs2: u8, to: Label) {
        self.branches.push((self.words.len(), to.0));
        self.words.push(word(op, 0, rs1, rs2, 0));
    }

    /// A constant below 2^31.
    pub fn li(&mut self, rd: u8, value: u64) {
        let upper = (value + 0x800) & !0xfff;
        assert!(upper < 1 << 32, "{value:#x}");
        self.push(imm(Op::Lui, rd, 0, upper as u32 as i32));
        self.push(imm(Op::Addi, rd, rd, (value as i64 - upper as i64) as i32));
        // `lui` extends the sign of bit 31.
        self.push(imm(Op::Slli, rd, rd, 32));
        self.push(imm(Op::Srli, rd, rd, 32));
    }

    /// The code as bytes; all words are full size.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in self.branches {
            let target = self.labels[label].expect("a label that is used is bound");
            let decoded = arch::isa::Decoder::new(&arch::ext::IsaConfig::default())
                .decode(self.words[at].raw)
                .expect("it was encoded here");
            let offset = (target as i32 - at as i32) * 4;
            self.words[at] = word(decoded.op, decoded.rd, decoded.rs1, decoded.rs2, offset);
        }
        self.words.iter().flat_map(|word| word.raw.to_le_bytes()).collect()
    }
}
