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

/// Longest list of pieces in a row: `c.j` has eight of the immediate.
const MAX_PIECES: usize = 10;

/// A row in the form the decoder reads.
#[derive(Debug, Clone)]
struct Candidate {
    mask: u32,
    bits: u32,
    excluded: [(u32, u32); 2],
    pieces: [Piece; MAX_PIECES],
    piece_count: u8,
    sign_shift: u8,
    /// Operands that are the same for every word of the row.
    template: Insn,
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
        let mut members = vec![Vec::new(); 1 << key.count_ones()];
        for (index, candidate) in self.candidates.iter().enumerate().filter(|(_, c)| c.template.len == len) {
            let free = key & !candidate.mask;
            let mut filling = 0u32;
            loop {
                members[bucket_of(candidate.bits | filling)].push(index as u16);
                // The next subset of the free bits, in counting order.
                filling = filling.wrapping_sub(free) & free;
                if filling == 0 {
                    break;
                }
            }
        }
        let mut known = std::collections::HashMap::new();
        members
            .into_iter()
            .map(|list| {
                *known.entry(list).or_insert_with_key(|list| {
                    let start = self.lists.len() as u16;
                    self.lists.extend(list.iter().copied().chain([END]));
                    start
                })
            })
            .collect()
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
        let Pattern { len, mask, bits, ref pieces, ref fixed, ref excluded, sign_shift } = rows()[row].pattern;
        let nothing = Piece { field: Field::Imm, lsb: 0, width: 0, at: 0, bias: 0 };
        let mut template =
            Insn { op: Op::Addi, rd: 0, rs1: 0, rs2: 0, rs3: 0, rm: 0, imm: 0, len, raw: 0, row: row as u16 };
        template.op = rows()[row].op;
        for (field, value) in fixed {
            match field {
                Field::Rd => template.rd = *value as u8,
                Field::Rs1 => template.rs1 = *value as u8,
                Field::Rs2 => template.rs2 = *value as u8,
                Field::Rs3 => template.rs3 = *value as u8,
                Field::Rm => template.rm = *value as u8,
                Field::Imm => template.imm = *value,
            }
        }
        Self {
            mask,
            bits,
            // A pair that no word has: nothing is excluded.
            excluded: std::array::from_fn(|i| excluded.get(i).copied().unwrap_or((0, 1))),
            pieces: std::array::from_fn(|i| pieces.get(i).copied().unwrap_or(nothing)),
            piece_count: pieces.len() as u8,
            sign_shift,
            template,
        }
    }

    fn matches(&self, raw: u32) -> bool {
        raw & self.mask == self.bits && self.excluded.iter().all(|(mask, value)| raw & mask != *value)
    }

    fn extract(&self, raw: u32) -> Insn {
        let mut insn = self.template;
        insn.raw = raw;
        let mut imm = 0u32;
        for piece in &self.pieces[..usize::from(self.piece_count)] {
            let value = raw >> piece.lsb & ((1 << piece.width) - 1);
            let register = value as u8 + piece.bias;
            match piece.field {
                Field::Rd => insn.rd = register,
                Field::Rs1 => insn.rs1 = register,
                Field::Rs2 => insn.rs2 = register,
                Field::Rs3 => insn.rs3 = register,
                Field::Rm => insn.rm |= register << piece.at,
                Field::Imm => imm |= value << piece.at,
            }
        }
        insn.imm |= (imm << self.sign_shift) as i32 >> self.sign_shift;
        insn
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
}
