//! Random numbers that are the same everywhere, and how many a run shall draw.

/// xorshift64*: a seed gives the same numbers on every host. The state is never zero: it would stay zero.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// Neighbouring seeds start far apart, and any number is one.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In `0..n`, of which there must be one.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
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

/// The number in an environment variable, `default` if it is not set.
///
/// # Panics
/// It is something else than a number.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}
