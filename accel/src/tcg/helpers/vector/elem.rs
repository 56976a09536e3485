//! Elements: the integers of a vector register, by width.

use crate::VectorRegs;

/// An element of 8, 16, 32 or 64 bits. The type itself is unsigned; a signed reading is asked for by name.
pub trait Elem: Copy + Eq + Ord + 'static {
    /// The same width, signed.
    type Signed: Copy + Ord;
    /// In bytes.
    const BYTES: usize;
    const BITS: u32;
    /// `EEW = 8 << LOG2`.
    const LOG2: u8;
    const ZERO: Self;
    const ONES: Self;
    /// The low bits of `v`.
    fn low(v: u64) -> Self;
    /// Zero-extended.
    fn zext(self) -> u64;
    /// Sign-extended.
    fn sext(self) -> i64;
    fn signed(self) -> Self::Signed;
    fn of_signed(v: Self::Signed) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    /// Shifts by the low bits of `b`, as many as the width needs.
    fn sll(self, b: Self) -> Self;
    fn srl(self, b: Self) -> Self;
    fn sra(self, b: Self) -> Self;
}

macro_rules! elements {
    ($($t:ident $s:ident)*) => { $(
        impl Elem for $t {
            type Signed = $s;
            const BYTES: usize = size_of::<$t>();
            const BITS: u32 = $t::BITS;
            const LOG2: u8 = size_of::<$t>().trailing_zeros() as u8;
            const ZERO: Self = 0;
            const ONES: Self = $t::MAX;
            #[inline(always)]
            fn low(v: u64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn zext(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn sext(self) -> i64 {
                i64::from(self as $s)
            }
            #[inline(always)]
            fn signed(self) -> $s {
                self as $s
            }
            #[inline(always)]
            fn of_signed(v: $s) -> Self {
                v as $t
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline(always)]
            fn and(self, b: Self) -> Self {
                self & b
            }
            #[inline(always)]
            fn or(self, b: Self) -> Self {
                self | b
            }
            #[inline(always)]
            fn xor(self, b: Self) -> Self {
                self ^ b
            }
            #[inline(always)]
            fn sll(self, b: Self) -> Self {
                self << (b & ($t::BITS - 1) as $t)
            }
            #[inline(always)]
            fn srl(self, b: Self) -> Self {
                self >> (b & ($t::BITS - 1) as $t)
            }
            #[inline(always)]
            fn sra(self, b: Self) -> Self {
                (self as $s >> (b & ($t::BITS - 1) as $t)) as $t
            }
        }
    )* };
}

elements! {
    u8 i8
    u16 i16
    u32 i32
    u64 i64
}

/// The element at byte `at` of the registers.
#[inline(always)]
pub fn get<T: Elem>(v: &VectorRegs, at: usize) -> T {
    assert!(at <= v.0.len() - T::BYTES);
    // SAFETY: inside the array, as was just checked; every `Elem` is an integer, for which all bytes are values.
    unsafe { v.0.as_ptr().add(at).cast::<T>().read_unaligned() }
}

/// Writes the element at byte `at` of the registers.
#[inline(always)]
pub fn set<T: Elem>(v: &mut VectorRegs, at: usize, value: T) {
    assert!(at <= v.0.len() - T::BYTES);
    // SAFETY: inside the array, as was just checked.
    unsafe { v.0.as_mut_ptr().add(at).cast::<T>().write_unaligned(value) }
}

/// Bit `i` of the mask in register `reg`.
#[inline(always)]
pub fn mask_bit(v: &VectorRegs, vlenb: usize, reg: usize, i: usize) -> bool {
    v.0[reg * vlenb + i / 8] >> (i % 8) & 1 != 0
}

/// Sets bit `i` of the mask in register `reg`.
#[inline(always)]
pub fn set_mask_bit(v: &mut VectorRegs, vlenb: usize, reg: usize, i: usize, bit: bool) {
    let byte = &mut v.0[reg * vlenb + i / 8];
    *byte = *byte & !(1 << (i % 8)) | u8::from(bit) << (i % 8);
}

/// Evaluates an expression with `$T` the element type of SEW and `$N` how many of them make 16 bytes.
macro_rules! by_sew {
    ($sew:expr, $T:ident $N:ident => $e:expr) => {
        match $sew {
            0 => {
                type $T = u8;
                const $N: usize = 16;
                $e
            }
            1 => {
                type $T = u16;
                const $N: usize = 8;
                $e
            }
            2 => {
                type $T = u32;
                const $N: usize = 4;
                $e
            }
            _ => {
                type $T = u64;
                const $N: usize = 2;
                $e
            }
        }
    };
    ($sew:expr, $T:ident => $e:expr) => {
        match $sew {
            0 => {
                type $T = u8;
                $e
            }
            1 => {
                type $T = u16;
                $e
            }
            2 => {
                type $T = u32;
                $e
            }
            _ => {
                type $T = u64;
                $e
            }
        }
    };
}

/// The same with `$W` the element type of twice SEW; SEW = 64 does not get here.
macro_rules! by_sew_wide {
    ($sew:expr, $T:ident $W:ident => $e:expr) => {
        match $sew {
            0 => {
                type $T = u8;
                type $W = u16;
                $e
            }
            1 => {
                type $T = u16;
                type $W = u32;
                $e
            }
            _ => {
                type $T = u32;
                type $W = u64;
                $e
            }
        }
    };
}

pub(super) use {by_sew, by_sew_wide};
