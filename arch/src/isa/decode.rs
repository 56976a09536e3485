//! Words to instructions.

use super::Insn;

use super::insn::Op;
use super::pattern::{Field, Pattern, Piece};
use super::table::rows;
use crate::ext::IsaConfig;

/// The length in bytes of the instruction that starts with `low`, its first 16 bits. Encodings longer than 32 bits
/// are reserved and count as 4.
pub const fn insn_len(low: u16) -> u8 {
    if low & 3 == 3 { 4 } else { 2 }
}

/// The most pieces of an immediate in a row: those of `c.j`.
const MAX_PIECES: usize = 8;

/// A register, or another field that is one run of bits: `(word >> shift & mask) + add`.
#[derive(Debug, Clone, Copy, Default)]
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

/// A row in the form the decoder reads.
#[derive(Debug, Clone)]
struct Candidate {
    mask: u32,
    bits: u32,
    excluded: [(u32, u32); 2],
    op: Op,
    row: u16,
    len: u8,
    rd: Run,
    rs1: Run,
    rs2: Run,
    rs3: Run,
    rm: Run,
    /// What the immediate is without its pieces.
    imm: i32,
    sign_shift: u8,
    piece_count: u8,
    /// Of the immediate: lowest bit and mask in the word, lowest bit in the value.
    pieces: [(u8, u32, u8); MAX_PIECES],
}

/// Decodes the instructions of one ISA. Words of extensions it lacks decode to nothing.
#[derive(Debug, Clone)]
pub struct Decoder {
    candidates: Vec<Candidate>,
    /// Bucket to the first of its indices in `lists`; a list ends with `END`.
    full: Vec<u16>,
    compressed: Vec<u16>,
    lists: Vec<u16>,
}

const END: u16 = u16::MAX;

/// Bits that tell full-size instructions apart: funct7, funct3 and the opcode without its two low ones.
const FULL_KEY: u32 = 0xfe00_707c;
/// Bits that tell compressed instructions apart: 15:10, 6:5 and 1:0.
const COMPRESSED_KEY: u32 = 0xfc63;

fn full_bucket(raw: u32) -> usize {
    (raw >> 25 << 8 | (raw >> 12 & 7) << 5 | (raw >> 2 & 31)) as usize
}

fn compressed_bucket(raw: u32) -> usize {
    ((raw >> 10 & 63) << 4 | (raw >> 5 & 3) << 2 | raw & 3) as usize
}

impl Decoder {
    pub fn new(isa: &IsaConfig) -> Self {
        let mut available: Vec<usize> = (0..rows().len()).filter(|row| rows()[*row].available(isa)).collect();
        // The row that fixes more bits goes first: a special form stands before the general one.
        available.sort_by_key(|row| std::cmp::Reverse(rows()[*row].pattern.mask.count_ones()));
        let candidates: Vec<Candidate> = available.iter().map(|row| Candidate::new(*row)).collect();
        let mut decoder = Self { candidates, full: Vec::new(), compressed: Vec::new(), lists: Vec::new() };
        decoder.full = decoder.buckets(4, FULL_KEY, full_bucket);
        decoder.compressed = decoder.buckets(2, COMPRESSED_KEY, compressed_bucket);
        decoder
    }

    /// Sorts the candidates of length `len` into buckets. Buckets of equal content share one list.
    fn buckets(&mut self, len: u8, key: u32, bucket_of: impl Fn(u32) -> usize) -> Vec<u16> {
        let mut members = vec![0u16; 1 << key.count_ones()];
        // A list is a node: its last candidate and the list before that. Node 0 is the empty list.
        let mut nodes: Vec<(u16, u16)> = vec![(END, 0)];
        // Of each node, the one that was made last to extend it; its candidate tells whether it is this one's.
        let mut extended: Vec<u16> = vec![0];
        for (index, candidate) in self.candidates.iter().enumerate().filter(|(_, c)| c.len == len) {
            let free = key & !candidate.mask;
            let mut filling = 0u32;
            loop {
                let list = &mut members[bucket_of(candidate.bits | filling)];
                let longer = &mut extended[usize::from(*list)];
                if nodes[usize::from(*longer)].0 != index as u16 {
                    nodes.push((index as u16, *list));
                    *longer = (nodes.len() - 1) as u16;
                    *list = *longer;
                    extended.push(0);
                } else {
                    *list = *longer;
                }
                // The next subset of the free bits, in counting order.
                filling = filling.wrapping_sub(free) & free;
                if filling == 0 {
                    break;
                }
            }
        }
        let starts: Vec<u16> = (0..nodes.len())
            .map(|list| {
                let chain = std::iter::successors(Some(nodes[list]), |node| Some(nodes[usize::from(node.1)]));
                let mut list: Vec<u16> = chain.map(|node| node.0).take_while(|index| *index != END).collect();
                list.reverse();
                self.lists.extend(list.iter().chain([&END]));
                (self.lists.len() - 1 - list.len()) as u16
            })
            .collect();
        members.into_iter().map(|list| starts[usize::from(list)]).collect()
    }

    /// Decodes `raw`; the upper half is ignored if the lower one is a compressed instruction.
    /// Illegal and reserved words are `None`.
    pub fn decode(&self, raw: u32) -> Option<Insn> {
        let (raw, start) = if insn_len(raw as u16) == 4 {
            (raw, self.full[full_bucket(raw)])
        } else {
            (raw & 0xffff, self.compressed[compressed_bucket(raw)])
        };
        self.lists[usize::from(start)..]
            .iter()
            .take_while(|index| **index != END)
            .map(|index| &self.candidates[usize::from(*index)])
            .find(|candidate| candidate.matches(raw))
            .map(|candidate| candidate.extract(raw))
    }
}

impl Candidate {
    fn new(row: usize) -> Self {
        let pattern = &rows()[row].pattern;
        let imm: Vec<&Piece> = pattern.pieces.iter().filter(|piece| piece.field == Field::Imm).collect();
        let fixed = |field| pattern.fixed.iter().find(|(fixed, _)| *fixed == field).map_or(0, |(_, value)| *value);
        let run = |field| run_of(pattern, field, fixed(field) as u8);
        Self {
            mask: pattern.mask,
            bits: pattern.bits,
            // A pair that no word has: nothing is excluded.
            excluded: std::array::from_fn(|i| pattern.excluded.get(i).copied().unwrap_or((0, 1))),
            op: rows()[row].op,
            row: row as u16,
            len: pattern.len,
            rd: run(Field::Rd),
            rs1: run(Field::Rs1),
            rs2: run(Field::Rs2),
            rs3: run(Field::Rs3),
            rm: run(Field::Rm),
            imm: fixed(Field::Imm),
            sign_shift: pattern.sign_shift,
            piece_count: imm.len() as u8,
            pieces: std::array::from_fn(|i| imm.get(i).map_or((0, 0, 0), |p| (p.lsb, (1 << p.width) - 1, p.at))),
        }
    }

    fn matches(&self, raw: u32) -> bool {
        raw & self.mask == self.bits && self.excluded.iter().all(|(mask, value)| raw & mask != *value)
    }

    fn extract(&self, raw: u32) -> Insn {
        let pieces = &self.pieces[..usize::from(self.piece_count)];
        let imm = pieces.iter().fold(0, |imm, (lsb, mask, at)| imm | (raw >> lsb & mask) << at);
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
            row: self.row,
        }
    }
}

/// The run of a field other than the immediate; `fixed` if it has no bits in the word.
fn run_of(pattern: &Pattern, field: Field, fixed: u8) -> Run {
    let pieces = pattern.pieces.iter().filter(|piece| piece.field == field);
    let run = pieces.map(|p| (p.lsb - p.at, p.mask() >> (p.lsb - p.at), p.bias)).reduce(|a, b| {
        // `aq` and `rl` stand side by side.
        assert_eq!(a.0, b.0, "the pieces of {field:?} are not one run");
        (a.0, a.1 | b.1, a.2)
    });
    run.map_or(Run { add: fixed, ..Run::default() }, |(shift, mask, add)| Run { shift, mask: mask as u8, add })
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
