//! Words to instructions.
//!
//! The table of all instructions there are is made while the crate is compiled; an ISA is a choice among its rows.

use super::Insn;

use super::insn::Op;
use super::pattern::{Field, Pattern};
use super::table::{COUNT, PATTERNS, rows, text};
use crate::ext::IsaConfig;

/// The length in bytes of the instruction that starts with `low`, its first 16 bits. Encodings longer than 32 bits
/// are reserved and count as 4.
pub const fn insn_len(low: u16) -> u8 {
    if low & 3 == 3 { 4 } else { 2 }
}

/// The most pieces of an immediate in a row: those of `c.j`.
const MAX_PIECES: usize = 8;

/// A register, or another field that is one run of bits: `(word >> shift & mask) + add`.
#[derive(Debug, Clone, Copy)]
struct Run {
    shift: u8,
    mask: u8,
    add: u8,
}

impl Run {
    fn get(self, raw: u32) -> u8 {
        ((raw >> self.shift) as u8 & self.mask) + self.add
    }
}

/// A part of an immediate: `word << up >> down << at`.
#[derive(Debug, Clone, Copy)]
struct Part {
    up: u8,
    down: u8,
    at: u8,
}

/// A row in the form the decoder reads.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    mask: u32,
    bits: u32,
    excluded: [(u32, u32); 2],
    op: Op,
    len: u8,
    rd: Run,
    rs1: Run,
    rs2: Run,
    rs3: Run,
    rm: Run,
    /// What the immediate is without its parts.
    imm: i32,
    sign_shift: u8,
    part_count: u8,
    parts: [Part; MAX_PIECES],
}

/// Decodes the instructions of one ISA. Words of extensions it lacks decode to nothing.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// A bit a row.
    available: [u64; COUNT.div_ceil(64)],
}

/// A link of a list of rows to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    row: u16,
    next: u16,
}

/// The node that ends all lists.
const END: u16 = 0;

/// Nodes that there may be; what is not used costs nothing but room in the program's file.
const NODES: usize = 4096;

/// Lists of rows by bits that tell instructions apart, those that fix more bits first. Lists share their ends.
struct Lists {
    full: [u16; 1 << FULL_KEY.count_ones()],
    compressed: [u16; 1 << COMPRESSED_KEY.count_ones()],
    nodes: [Node; NODES],
    used: usize,
}

/// Bits that tell full-size instructions apart: funct7, funct3 and the opcode without its two low ones.
const FULL_KEY: u32 = 0xfe00_707c;
/// Bits that tell compressed instructions apart: 15:10, 6:5 and 1:0.
const COMPRESSED_KEY: u32 = 0xfc63;

const fn full_bucket(raw: u32) -> usize {
    (raw >> 25 << 8 | (raw >> 12 & 7) << 5 | (raw >> 2 & 31)) as usize
}

const fn compressed_bucket(raw: u32) -> usize {
    ((raw >> 10 & 63) << 4 | (raw >> 5 & 3) << 2 | raw & 3) as usize
}

static CANDIDATES: [Candidate; COUNT] = {
    let (mut candidates, mut row) = ([Candidate::new(0); COUNT], 1);
    while row < COUNT {
        candidates[row] = Candidate::new(row);
        row += 1;
    }
    candidates
};

static LISTS: Lists = Lists::of_all_rows();

impl Lists {
    const fn of_all_rows() -> Self {
        let mut lists = Self {
            full: [END; 1 << FULL_KEY.count_ones()],
            compressed: [END; 1 << COMPRESSED_KEY.count_ones()],
            nodes: [Node { row: u16::MAX, next: END }; NODES],
            used: 1,
        };
        // Of each node, the one that was made last to stand before it; its row tells whether it is this row's.
        let mut before = [END; NODES];
        // What is added later is tried earlier. The row that fixes more bits goes first: a special form stands before the
        // general one. Of equals, the first in the table.
        let mut ones = 0;
        while ones <= 32 {
            let mut row = COUNT;
            while row > 0 {
                row -= 1;
                if PATTERNS[row].mask.count_ones() == ones {
                    lists.add(row, &mut before);
                }
            }
            ones += 1;
        }
        lists
    }

    /// Puts the row before all lists that it belongs to.
    const fn add(&mut self, row: usize, before: &mut [u16; NODES]) {
        let Pattern { len, mask, bits, .. } = PATTERNS[row];
        let key = if len == 4 { FULL_KEY } else { COMPRESSED_KEY };
        let free = key & !mask;
        let mut filling = 0u32;
        loop {
            let list = match len {
                4 => &mut self.full[full_bucket(bits | filling)],
                _ => &mut self.compressed[compressed_bucket(bits | filling)],
            };
            let longer = &mut before[*list as usize];
            if *longer == END || self.nodes[*longer as usize].row as usize != row {
                self.nodes[self.used] = Node { row: row as u16, next: *list };
                *longer = self.used as u16;
                self.used += 1;
            }
            *list = *longer;
            // The next subset of the free bits, in counting order.
            filling = filling.wrapping_sub(free) & free;
            if filling == 0 {
                break;
            }
        }
    }
}

impl Decoder {
    pub fn new(isa: &IsaConfig) -> Self {
        let mut available = [0; COUNT.div_ceil(64)];
        for (i, _) in rows().iter().enumerate().filter(|(_, row)| row.available(isa)) {
            available[i / 64] |= 1 << (i % 64);
        }
        Self { available }
    }

    fn has(&self, row: u16) -> bool {
        self.available[usize::from(row / 64)] >> (row % 64) & 1 != 0
    }

    /// Decodes `raw`; the upper half is ignored if the lower one is a compressed instruction.
    /// Illegal and reserved words are `None`.
    pub fn decode(&self, raw: u32) -> Option<Insn> {
        let (raw, list) = if insn_len(raw as u16) == 4 {
            (raw, LISTS.full[full_bucket(raw)])
        } else {
            (raw & 0xffff, LISTS.compressed[compressed_bucket(raw)])
        };
        let mut node = LISTS.nodes[usize::from(list)];
        while node.row != u16::MAX {
            let candidate = &CANDIDATES[usize::from(node.row)];
            if candidate.matches(raw) && self.has(node.row) {
                return Some(candidate.extract(raw, node.row));
            }
            node = LISTS.nodes[usize::from(node.next)];
        }
        None
    }
}

impl Candidate {
    const fn new(row: usize) -> Self {
        let pattern = &PATTERNS[row];
        let mut candidate = Self {
            mask: pattern.mask,
            bits: pattern.bits,
            // A pair that no word has: nothing is excluded.
            excluded: [(0, 1); 2],
            op: text(row).op,
            len: pattern.len,
            rd: run_of(pattern, Field::Rd),
            rs1: run_of(pattern, Field::Rs1),
            rs2: run_of(pattern, Field::Rs2),
            rs3: run_of(pattern, Field::Rs3),
            rm: run_of(pattern, Field::Rm),
            imm: fixed(pattern, Field::Imm),
            sign_shift: pattern.sign_shift,
            part_count: 0,
            parts: [Part { up: 0, down: 0, at: 0 }; MAX_PIECES],
        };
        let (excluded, mut i) = (pattern.excluded.as_slice(), 0);
        while i < excluded.len() {
            candidate.excluded[i] = excluded[i];
            i += 1;
        }
        let (pieces, mut i) = (pattern.pieces.as_slice(), 0);
        while i < pieces.len() {
            let piece = pieces[i];
            if matches!(piece.field, Field::Imm) {
                let part = Part { up: 32 - piece.lsb - piece.width, down: 32 - piece.width, at: piece.at };
                candidate.parts[candidate.part_count as usize] = part;
                candidate.part_count += 1;
            }
            i += 1;
        }
        candidate
    }

    fn matches(&self, raw: u32) -> bool {
        raw & self.mask == self.bits && self.excluded.iter().all(|(mask, value)| raw & mask != *value)
    }

    fn extract(&self, raw: u32, row: u16) -> Insn {
        let parts = &self.parts[..usize::from(self.part_count)];
        let imm = parts.iter().fold(0, |imm, part| imm | raw << part.up >> part.down << part.at);
        Insn {
            op: self.op,
            rd: self.rd.get(raw),
            rs1: self.rs1.get(raw),
            rs2: self.rs2.get(raw),
            rs3: self.rs3.get(raw),
            rm: self.rm.get(raw),
            imm: self.imm | (imm << self.sign_shift) as i32 >> self.sign_shift,
            len: self.len,
            raw,
            row,
        }
    }
}

/// The value of a field that has no bits in the word.
const fn fixed(pattern: &Pattern, field: Field) -> i32 {
    let (fixed, mut i) = (pattern.fixed.as_slice(), 0);
    while i < fixed.len() {
        if fixed[i].0 as u8 == field as u8 {
            return fixed[i].1;
        }
        i += 1;
    }
    0
}

/// The run of a field other than the immediate.
const fn run_of(pattern: &Pattern, field: Field) -> Run {
    let (pieces, mut i) = (pattern.pieces.as_slice(), 0);
    let mut run: Option<Run> = None;
    while i < pieces.len() {
        let piece = pieces[i];
        if piece.field as u8 == field as u8 {
            let shift = piece.lsb - piece.at;
            let mask = (piece.mask() >> shift) as u8;
            run = Some(match run {
                None => Run { shift, mask, add: piece.bias },
                // `aq` and `rl` stand side by side.
                Some(run) if run.shift == shift => Run { shift, mask: run.mask | mask, add: run.add },
                Some(_) => panic!("the pieces of a field are not one run"),
            });
        }
        i += 1;
    }
    match run {
        Some(run) => run,
        None => Run { shift: 0, mask: 0, add: fixed(pattern, field) as u8 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::Ext;

    fn decode(raw: u32) -> Option<Insn> {
        Decoder::new(&IsaConfig::default()).decode(raw)
    }

    #[test]
    fn operands_come_from_their_bits() {
        let insn = decode(0xfe20_8ee3).unwrap(); // beq ra, sp, -4
        assert_eq!((insn.op, insn.rs1, insn.rs2, insn.imm, insn.len), (Op::Beq, 1, 2, -4, 4));
        let insn = decode(0x8000_0537).unwrap(); // lui a0, 0x80000
        assert_eq!((insn.op, insn.rd, insn.imm), (Op::Lui, 10, i32::MIN));
        let insn = decode(0x4035_d513).unwrap(); // srai a0, a1, 3
        assert_eq!((insn.op, insn.rd, insn.rs1, insn.imm), (Op::Srai, 10, 11, 3));
        let insn = decode(0x1ec5_b6af).unwrap(); // sc.d.aqrl a3, a2, (a1)
        assert_eq!((insn.op, insn.rd, insn.rs1, insn.rs2, insn.rm), (Op::ScD, 13, 11, 12, 3));
        let insn = decode(0x0ff0_000f).unwrap(); // fence iorw, iorw
        assert_eq!((insn.op, insn.imm), (Op::Fence, 0xff));
        let insn = decode(0xf140_2573).unwrap(); // csrrs a0, mhartid, zero
        assert_eq!((insn.op, insn.rd, insn.imm), (Op::Csrrs, 10, 0xf14));
    }

    #[test]
    fn compressed_words_expand() {
        let insn = decode(0xffff_1141).unwrap(); // c.addi sp, -16
        assert_eq!((insn.op, insn.rd, insn.rs1, insn.imm, insn.len, insn.raw), (Op::Addi, 2, 2, -16, 2, 0x1141));
        let insn = decode(0x8082).unwrap(); // ret
        assert_eq!((insn.op, insn.rd, insn.rs1, insn.imm), (Op::Jalr, 0, 1, 0));
        assert_eq!(decode(0), None);
    }

    #[test]
    fn an_absent_extension_does_not_decode() {
        let mut isa = IsaConfig::default();
        isa.exts.remove(Ext::Zmmul);
        assert_eq!(Decoder::new(&isa).decode(0x02c5_8533), None); // mul a0, a1, a2
        assert!(decode(0x02c5_8533).is_some());
    }

    /// Of extensions that overlap, the smaller one has its part and no more.
    #[test]
    fn a_subset_decodes_its_own_instructions_alone() {
        let of = |exts: &[Ext]| {
            let exts = crate::ext::ExtSet::of(exts).closure();
            let decoder = Decoder::new(&IsaConfig { exts, ..IsaConfig::default() });
            move |op: Op| {
                let pattern = &op.row().pattern;
                // Operands that are neither zero nor odd.
                let rest = 0x0020_8100 & !pattern.mask;
                decoder.decode(pattern.bits | rest).is_some_and(|insn| insn.op == op)
            }
        };
        let has = of(&[Ext::I, Ext::Zfhmin]);
        assert!([Op::Flh, Op::Fsh, Op::FmvXH, Op::FmvHX, Op::FcvtSH, Op::FcvtHS].into_iter().all(&has));
        assert!(![Op::FcvtDH, Op::FcvtHD, Op::FaddH, Op::FsgnjH, Op::FcvtWH, Op::FliH].into_iter().any(&has));
        assert!(of(&[Ext::I, Ext::Zfhmin, Ext::D])(Op::FcvtDH));
        let has = of(&[Ext::I, Ext::Zbkb]);
        assert!([Op::Rol, Op::Roriw, Op::Andn, Op::Rev8, Op::Pack, Op::Packw, Op::Brev8].into_iter().all(&has));
        assert!(![Op::Clz, Op::OrcB, Op::Max, Op::SextB, Op::Clmul, Op::Xperm8].into_iter().any(&has));
        let has = of(&[Ext::I, Ext::Zbkc, Ext::Zbkx]);
        assert!([Op::Clmul, Op::Clmulh, Op::Xperm4, Op::Xperm8].into_iter().all(&has));
        assert!(![Op::Clmulr, Op::Pack].into_iter().any(&has));
    }
}
