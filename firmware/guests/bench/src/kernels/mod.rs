//! Computations that need nothing but memory. They know nothing of the machine, so that they are tested on the host,
//! too (`firmware/tests/bench_kernels.rs`).

pub mod bytecode;
pub mod compress;
pub mod copy;
pub mod crc;
pub mod float;
pub mod hash;
pub mod mix;
pub mod queens;
pub mod sieve;
pub mod sort;

/// A computation that needs nothing but memory, and has one right result.
pub struct Kernel {
    pub name: &'static str,
    pub unit: &'static str,
    /// Units of a run.
    pub per: u64,
    pub what: &'static str,
    /// Bytes of memory it needs; what is in them at its start is of no importance.
    pub bytes: usize,
    pub run: fn(&mut [u64]) -> u64,
    pub want: u64,
}

impl Kernel {
    /// Runs it some times. Returns its result, or the first that was wrong.
    pub fn repeat(&self, memory: &mut [u64], times: u64) -> u64 {
        let mut result = self.want;
        for _ in 0..times {
            let got = core::hint::black_box((self.run)(core::hint::black_box(&mut *memory)));
            if result == self.want {
                result = got;
            }
        }
        result
    }
}

/// A linear congruential generator (Numerical Recipes).
pub struct Random(pub u32);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// A number below `limit`, of the better bits.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }
}

/// Numbers of any size and no other rule.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for i16 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for i64 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// Takes the first `len` numbers of a type from `memory`.
pub fn take<'a, T: Plain>(memory: &mut &'a mut [u64], len: usize) -> &'a mut [T] {
    let (first, rest) = core::mem::take(memory).split_at_mut((len * size_of::<T>()).div_ceil(8));
    *memory = rest;
    // SAFETY: any bits make a plain number, and none is larger or more aligned than a u64.
    let (_, numbers, _) = unsafe { first.align_to_mut::<T>() };
    &mut numbers[..len]
}

/// Folds a number into a check sum; the order counts.
pub fn mix_in(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}
