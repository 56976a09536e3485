//! Random numbers that are the same everywhere, and values where arithmetic goes wrong.

use accel::testing;

/// A seed gives the same program on every host.
#[derive(Debug, Clone)]
pub struct Rng(testing::Rng);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(testing::Rng::new(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next()
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.0.one_in(n)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0.pick(from)
    }

    /// A value of an integer register.
    pub fn integer(&mut self) -> u64 {
        match self.below(5) {
            0 => self.pick(INTEGERS),
            1 => self.bits() >> self.below(64),
            2 => (self.bits() as i64 >> self.below(64)) as u64,
            3 => i64::from(self.bits() as i32 >> self.below(32)) as u64,
            _ => self.bits(),
        }
    }

    /// A value of a floating-point register: doubles, boxed singles and 16-bit formats, and some whose box is broken.
    pub fn float(&mut self) -> u64 {
        match self.below(20) {
            0..6 => self.double(),
            6..12 => BOX | u64::from(self.single()),
            12..17 => HALF_BOX | u64::from(self.half()),
            17 => self.bits() << 32 | u64::from(self.single()),
            18 => self.pick(&[BOX, !0 << 48, 0]) | self.pick(&[0, 0xffff_0000, 0x8000_0000]) | u64::from(self.half()),
            _ => self.bits(),
        }
    }

    /// The bits of a double.
    pub fn double(&mut self) -> u64 {
        match self.below(6) {
            0 | 1 => self.pick(DOUBLES) ^ self.below(2) << 63,
            // Numbers whose exponents are close, so that sums cancel and products stay in range.
            2 => self.bits() & 0x800f_ffff_ffff_ffff | (1023 + self.below(8)) << 52,
            3 => (self.below(2048) as f64 / 8.0 - 128.0).to_bits(),
            4 => self.bits() & 0x800f_ffff_ffff_ffff | self.pick(&[0, 1, 2, 1022, 2045, 2046, 1075, 1086, 1054]) << 52,
            _ => self.bits(),
        }
    }

    /// The bits of a single.
    pub fn single(&mut self) -> u32 {
        match self.below(6) {
            0 | 1 => self.pick(SINGLES) ^ (self.below(2) as u32) << 31,
            2 => self.bits() as u32 & 0x807f_ffff | (127 + self.below(6) as u32) << 23,
            3 => (self.below(2048) as f32 / 8.0 - 128.0).to_bits(),
            4 => self.bits() as u32 & 0x807f_ffff | self.pick(&[0, 1, 2, 126, 253, 254, 150, 158, 190]) << 23,
            _ => self.bits() as u32,
        }
    }

    /// A half or a bfloat16: which of them, the instruction decides.
    pub fn half(&mut self) -> u16 {
        match self.below(6) {
            0 | 1 => self.pick(HALVES) ^ (self.below(2) as u16) << 15,
            // Halves, then bfloat16s, near 1.
            2 => self.bits() as u16 & 0x83ff | (15 + self.below(5) as u16) << 10,
            3 => self.bits() as u16 & 0x807f | (127 + self.below(5) as u16) << 7,
            4 => self.bits() as u16 & 0x83ff | self.pick(&[0, 1, 2, 14, 24, 25, 29, 30]) << 10,
            _ => self.bits() as u16,
        }
    }

    /// A source of values of a kind. Half of the sources know a few values, their opposites and neighbours only, so that
    /// operands are often equal, or the two zeros.
    pub fn related(&mut self, value: fn(&mut Self) -> u64, zeros: &[u64]) -> impl FnMut(&mut Self) -> u64 + use<> {
        let first = if self.one_in(2) { self.pick(zeros) } else { value(self) };
        let pool = self.one_in(2).then(|| [first, value(self)]);
        move |rng| match pool {
            None => value(rng),
            Some(pool) => {
                let picked = rng.pick(&pool);
                match rng.below(8) {
                    0..2 => picked,
                    // The sign of a double, of a single in its box, and of a half.
                    2 => picked ^ 1 << 15,
                    3 | 4 => picked ^ 1 << 63,
                    5 | 6 => picked ^ 1 << 31,
                    _ => picked.wrapping_add(rng.pick(&[1, u64::MAX])),
                }
            }
        }
    }

    /// A word of data memory.
    pub fn word(&mut self) -> u64 {
        if self.one_in(2) { self.float() } else { self.integer() }
    }
}

/// The upper half of a register that holds a single.
pub const BOX: u64 = 0xffff_ffff << 32;

/// The upper part of a register that holds a half or a bfloat16.
pub const HALF_BOX: u64 = !0xffff;

const INTEGERS: &[u64] = &[
    0,
    1,
    2,
    7,
    31,
    32,
    63,
    64,
    u64::MAX,
    u64::MAX - 1,
    i64::MAX as u64,
    1 << 63,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_7fff_ffff,
    0x8000_0000_0000_0001,
    0x0102_0408_1020_4080,
    0x00ff_0000_00ff_0000,
    0x5555_5555_5555_5555,
    // The first integers that have no single and no double.
    0x100_0001,
    0x20_0000_0000_0001,
];

/// Doubles by their bits; the sign is added at random.
const DOUBLES: &[u64] = &[
    0,
    1,
    2,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x3ff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3fef_ffff_ffff_ffff,
    0x3fe0_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    0x4000_0000_0000_0000,
    // 2^31, 2^32, 2^63 and 2^64, and the doubles before them.
    0x41e0_0000_0000_0000,
    0x41df_ffff_ffff_ffff,
    0x41df_ffff_ffc0_0000,
    0x41f0_0000_0000_0000,
    0x41ef_ffff_ffe0_0000,
    0x43e0_0000_0000_0000,
    0x43df_ffff_ffff_ffff,
    0x43f0_0000_0000_0000,
    0x43ef_ffff_ffff_ffff,
    // The limits of singles: the largest, half a step above it, the smallest normal and subnormal, and half of that.
    0x47ef_ffff_e000_0000,
    0x47ef_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x380f_ffff_f000_0000,
    0x36a0_0000_0000_0000,
    0x3690_0000_0000_0000,
    0x7fe0_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    // NaNs: canonical, quiet with a payload, signalling.
    0x7ff8_0000_0000_0000,
    0x7ff8_0000_0000_1234,
    0x7fff_ffff_ffff_ffff,
    0x7ff0_0000_0000_0001,
    0x7ff4_0000_0000_0000,
];

/// Singles by their bits, chosen as the doubles.
const SINGLES: &[u32] = &[
    0,
    1,
    2,
    0x007f_ffff,
    0x0080_0000,
    0x0080_0001,
    0x3f80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x3f00_0000,
    0x3fc0_0000,
    0x4000_0000,
    0x4f00_0000,
    0x4eff_ffff,
    0x4f80_0000,
    0x4f7f_ffff,
    0x5f00_0000,
    0x5eff_ffff,
    0x5f80_0000,
    0x5f7f_ffff,
    0x7f00_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0x7fc0_0000,
    0x7fc0_1234,
    0x7fff_ffff,
    0x7f80_0001,
    0x7fa0_0000,
];

/// Halves, and bfloat16s whose upper half they are of a single, by their bits.
const HALVES: &[u16] = &[
    0, 1, 2, 0x03ff, 0x0400, 0x0401, // Around the smallest normal half.
    0x3c00, 0x3c01, 0x3bff, 0x3800, 0x3e00, 0x4000, // 1 and its neighbours, 1/2, 3/2, 2.
    0x6400, 0x6800, 0x7800, 0x77ff, 0x7bff, // 2^10, 2^11, 2^15, below it, the largest.
    0x7c00, 0x7e00, 0x7e12, 0x7fff, 0x7c01, 0x7d00, // Infinity; NaNs: quiet, quiet, quiet, signalling.
    0x007f, 0x0080, 0x0081, 0x3f80, 0x3f81, 0x3f7f, // The same for bfloat16.
    0x4f00, 0x4eff, 0x5f00, 0x5f80, 0x477f, 0x4780, 0x7f7f, 0x7f80, 0x7fc0, 0x7fc1, 0x7f81, 0x7fa0,
];
