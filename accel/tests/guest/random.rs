//! Random instructions.

use accel::testing::Rng;
use arch::isa::Row;

/// A random instruction of `rows`. The bits `low` of vector register numbers are zero, so that they begin a group;
/// addresses are in register `base`, and no register of `kept` is written.
pub fn vector_insn(rng: &mut Rng, rows: &[&'static Row], low: u32, base: u32, kept: &[u32]) -> u32 {
    loop {
        let row = rows[rng.below(rows.len() as u64) as usize];
        let operands = row.operands;
        let mut cleared = low << 7;
        cleared |= if operands.contains("vs2") { low << 20 } else { 0 };
        cleared |= if operands.contains("vs1") { low << 15 } else { 0 };
        let mut raw = row.pattern.bits | rng.next() as u32 & !row.pattern.mask & !cleared;
        if operands.contains("(rs1)") {
            // Most indices and strides lead out of RAM: those instructions trap.
            raw = raw & !(31 << 15) | base << 15;
        }
        if !operands.starts_with("rd") || !kept.contains(&(raw >> 7 & 31)) {
            return raw;
        }
    }
}
