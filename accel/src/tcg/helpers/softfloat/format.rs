//! Binary floating-point formats: one row each, and all that follows from it.
//!
//! A value is the low `WIDTH` bits of a `u64`. Everything else about a format (bias, infinities, the
//! canonical NaN, NaN-boxing) is derived here, so that a new format is a new row and nothing more.

/// Names a format where it must be a value (in an instruction) and not a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fmt {
    /// binary32, the `F` extension.
    S = 0,
    /// binary64, the `D` extension.
    D = 1,
    /// binary16, the `Zfh` and `Zfhmin` extensions.
    H = 2,
    /// bfloat16, the `Zfbfmin` extension. The ISA gives it no value of the `fmt` field: it is our number.
    Bf16 = 4,
}

impl Fmt {
    pub const ALL: [Fmt; 4] = [Fmt::S, Fmt::D, Fmt::H, Fmt::Bf16];

    /// The assembler's suffix: `s`, `d`, `h`, `bf16`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Fmt::S => "s",
            Fmt::D => "d",
            Fmt::H => "h",
            Fmt::Bf16 => "bf16",
        }
    }
}

/// A format as a type. Implementors give the two numbers of the row.
pub trait Format {
    /// Bits of an encoded value.
    const WIDTH: u32;
    /// Bits of the fraction field, the hidden bit not counted.
    const FRAC: u32;

    /// The exponent field with all bits set: infinities and NaNs.
    const EXP_MAX: i32 = (1 << (Self::WIDTH - 1 - Self::FRAC)) - 1;
    const BIAS: i32 = Self::EXP_MAX >> 1;
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// All bits of an encoded value.
    const MASK: u64 = u64::MAX >> (64 - Self::WIDTH);
    /// The hidden bit, which is also the lowest bit of the exponent field.
    const HIDDEN: u64 = 1 << Self::FRAC;
    const FRAC_MASK: u64 = Self::HIDDEN - 1;
    /// Positive infinity. Magnitudes above it are NaNs.
    const INF: u64 = (Self::EXP_MAX as u64) << Self::FRAC;
    /// The most significant fraction bit: set in a quiet NaN, clear in a signaling one.
    const QUIET: u64 = Self::HIDDEN >> 1;
    /// The canonical NaN: positive, quiet, no payload.
    const NAN: u64 = Self::INF | Self::QUIET;
    const ONE: u64 = (Self::BIAS as u64) << Self::FRAC;
}

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident { width: $width:expr, frac: $frac:expr })*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Format for $name {
            const WIDTH: u32 = $width;
            const FRAC: u32 = $frac;
        }
    )*};
}

formats! {
    /// IEEE 754 binary16.
    F16 { width: 16, frac: 10 }
    /// bfloat16: the upper half of a binary32.
    Bf16 { width: 16, frac: 7 }
    /// IEEE 754 binary32.
    F32 { width: 32, frac: 23 }
    /// IEEE 754 binary64.
    F64 { width: 64, frac: 52 }
}

/// Reads a value from a 64-bit f register: a narrow value whose upper bits are not all ones reads as the
/// canonical NaN (`D` extension, "NaN Boxing of Narrower Values").
#[inline(always)]
pub fn unbox<F: Format>(reg: u64) -> u64 {
    if reg | F::MASK == u64::MAX { reg & F::MASK } else { F::NAN }
}

/// The contents of a 64-bit f register that holds `v`.
#[inline(always)]
pub fn boxed<F: Format>(v: u64) -> u64 {
    v | !F::MASK
}

#[inline(always)]
pub fn sign<F: Format>(v: u64) -> bool {
    v & F::SIGN != 0
}

/// The value without its sign. Magnitudes of numbers order as integers do.
#[inline(always)]
pub fn magnitude<F: Format>(v: u64) -> u64 {
    v & (F::SIGN - 1)
}

/// The biased exponent field.
#[inline(always)]
pub fn exponent<F: Format>(v: u64) -> i32 {
    (magnitude::<F>(v) >> F::FRAC) as i32
}

#[inline(always)]
pub fn is_nan<F: Format>(v: u64) -> bool {
    magnitude::<F>(v) > F::INF
}

#[inline(always)]
pub fn is_signaling<F: Format>(v: u64) -> bool {
    is_nan::<F>(v) && v & F::QUIET == 0
}

/// `v` with the sign `negative`; `v` must be a magnitude.
#[inline(always)]
pub fn with_sign<F: Format>(negative: bool, v: u64) -> u64 {
    v | (negative as u64) << (F::WIDTH - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_give_the_constants_of_the_specification() {
        assert_eq!((F16::NAN, F16::INF, F16::ONE, F16::BIAS), (0x7e00, 0x7c00, 0x3c00, 15));
        assert_eq!((Bf16::NAN, Bf16::INF, Bf16::ONE, Bf16::BIAS), (0x7fc0, 0x7f80, 0x3f80, 127));
        assert_eq!((F32::NAN, F32::INF, F32::ONE, F32::BIAS), (0x7fc0_0000, 0x7f80_0000, 0x3f80_0000, 127));
        assert_eq!(
            (F64::NAN, F64::INF, F64::ONE, F64::BIAS),
            (0x7ff8_0000_0000_0000, 0x7ff0_0000_0000_0000, 0x3ff0_0000_0000_0000, 1023)
        );
    }

    #[test]
    fn a_bad_box_reads_as_the_canonical_nan() {
        assert_eq!(unbox::<F32>(0xffff_ffff_3f80_0000), 0x3f80_0000);
        assert_eq!(unbox::<F32>(0xffff_fffe_3f80_0000), 0x7fc0_0000);
        assert_eq!(unbox::<F32>(0x3f80_0000), 0x7fc0_0000);
        assert_eq!(unbox::<F16>(0xffff_ffff_ffff_3c00), 0x3c00);
        assert_eq!(unbox::<F16>(0xffff_ffff_7fff_3c00), 0x7e00);
        assert_eq!(unbox::<F64>(0x3f80_0000), 0x3f80_0000);
        assert_eq!(boxed::<F32>(0x3f80_0000), 0xffff_ffff_3f80_0000);
        assert_eq!(boxed::<F64>(1), 1);
    }
}
