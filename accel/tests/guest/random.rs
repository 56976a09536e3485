//! Random numbers that are the same everywhere, and how many a run shall draw.

use arch::isa::Row;

/// The number in an environment variable, `default` if it is not set.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

/// Small random numbers that are the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    /// A value that is often a corner.
    pub fn corner(&mut self) -> u64 {
        const CORNERS: [u64; 22] = [
            0,
            1,
            2,
            u64::MAX,
            i64::MAX as u64,
            1 << 63,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0xffff_ffff_8000_0000,
            0xffff_ffff_7fc0_0000,
            0xffff_ffff_7f80_0000,
            0xffff_ffff_ff80_0001,
            0xffff_ffff_3f80_0000,
            0xffff_ffff_0000_0001,
            0x7ff8_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0xfff0_0000_0000_0001,
            0x3ff0_0000_0000_0000,
            0x0000_0000_0000_0003,
            0x7fef_ffff_ffff_ffff,
            0x41e0_0000_0000_0000,
        ];
        match self.below(4) {
            0 => CORNERS[self.below(CORNERS.len() as u64) as usize],
            1 => self.next() >> self.below(64),
            2 => (self.next() as i64 >> self.below(64)) as u64,
            _ => self.next(),
        }
    }
}

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
