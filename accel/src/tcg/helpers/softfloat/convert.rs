//! Conversions between formats, to and from integers, rounding to integral values, and the constants of FLI.

use super::format::{Format, exponent, is_nan, is_signaling, magnitude, sign, with_sign};
use super::round::{increment, normalise_and_round, normalised, round};
use super::{NV, NX, Rm};

/// From one format to another. Widening is exact.
#[inline(never)]
pub fn convert<From: Format, To: Format>(v: u64, rm: Rm, flags: &mut u32) -> u64 {
    let m = magnitude::<From>(v);
    if m > From::INF {
        if is_signaling::<From>(v) {
            *flags |= NV;
        }
        return To::NAN;
    }
    let negative = sign::<From>(v);
    if m == From::INF {
        return with_sign::<To>(negative, To::INF);
    }
    if m == 0 {
        return with_sign::<To>(negative, 0);
    }
    let (exp, sig) = normalised::<From>(v);
    round::<To>(negative, exp - From::BIAS + To::BIAS, sig, rm, flags)
}

/// As [`convert`], rounding to odd: truncated, and the last bit set if that was inexact.
pub fn convert_to_odd<From: Format, To: Format>(v: u64, flags: &mut u32) -> u64 {
    let mut raised = 0;
    let r = convert::<From, To>(v, Rm::Rtz, &mut raised);
    *flags |= raised;
    // What overflows has become the largest number, whose last bit is set anyway.
    r | (raised & NX != 0) as u64
}

/// An integer type of the FCVT instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    pub bits: u32,
    pub signed: bool,
}

impl Int {
    pub const W: Int = Int { bits: 32, signed: true };
    pub const WU: Int = Int { bits: 32, signed: false };
    pub const L: Int = Int { bits: 64, signed: true };
    pub const LU: Int = Int { bits: 64, signed: false };

    /// Of `bits` bits, at most 64.
    pub const fn of(bits: u32, signed: bool) -> Int {
        Int { bits, signed }
    }

    /// Largest magnitude of this type among values of the given sign.
    const fn limit(self, negative: bool) -> u64 {
        match (self.signed, negative) {
            (true, false) => (1 << (self.bits - 1)) - 1,
            (true, true) => 1 << (self.bits - 1),
            (false, false) => u64::MAX >> (64 - self.bits),
            (false, true) => 0,
        }
    }
}

/// A finite number as an integer magnitude and what follows the point, in units of 2^-64 and sticky.
/// `None` if the magnitude needs more than 64 bits, as infinities and NaNs do.
#[inline(always)]
fn split<F: Format>(v: u64) -> Option<(u64, u64)> {
    let field = exponent::<F>(v);
    let exp = field - F::BIAS;
    if exp < -1 {
        return Some((0, (magnitude::<F>(v) != 0) as u64));
    }
    // |v| >= 1/2, so a number is normal in every format.
    let sig = ((v & F::FRAC_MASK) | F::HIDDEN) << (63 - F::FRAC);
    match exp {
        -1 => Some((0, sig)),
        63 => Some((sig, 0)),
        // The infinity of a small format would pass for a number.
        0..63 if field != F::EXP_MAX => Some((sig >> (63 - exp), sig << (exp + 1))),
        _ => None,
    }
}

/// One if `int` (with the fraction `frac`, as in [`split`]) rounds away from zero.
#[inline(always)]
fn round_away(int: u64, frac: u64, negative: bool, rm: Rm) -> u64 {
    const HALF: u64 = 1 << 63;
    let away = match rm {
        Rm::Rne => frac > HALF || (frac == HALF && int & 1 != 0),
        Rm::Rmm => frac >= HALF,
        Rm::Rtz => false,
        Rm::Rdn => negative && frac != 0,
        Rm::Rup => !negative && frac != 0,
    };
    away as u64
}

/// To an integer, sign-extended to 64 bits if it is signed or has 32 bits; an unsigned one is zero-extended else. What
/// does not fit is invalid and saturates; a NaN counts as too large.
#[inline(never)]
pub fn to_int<F: Format>(v: u64, int: Int, rm: Rm, flags: &mut u32) -> u64 {
    let negative = sign::<F>(v) && !is_nan::<F>(v);
    let limit = int.limit(negative);
    let rounded = split::<F>(v).and_then(|(whole, frac)| {
        // No carry out: 64 significant integer bits leave no fraction.
        let magnitude = whole + round_away(whole, frac, negative, rm);
        (magnitude <= limit).then_some((magnitude, frac != 0))
    });
    let magnitude = match rounded {
        Some((magnitude, inexact)) => {
            *flags |= NX * inexact as u32;
            magnitude
        }
        None => {
            *flags |= NV;
            limit
        }
    };
    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
    if int.bits == 32 { value as i32 as u64 } else { value }
}

/// FCVTMOD.W.D: truncated modulo 2^32; infinities and NaNs give zero. Flags are those of FCVT.W.D.
pub fn to_int_modular<F: Format>(v: u64, flags: &mut u32) -> u64 {
    to_int::<F>(v, Int::W, Rm::Rtz, flags);
    let exp = exponent::<F>(v);
    if exp == F::EXP_MAX || exp < F::BIAS {
        return 0;
    }
    let sig = (v & F::FRAC_MASK) | F::HIDDEN;
    let up = exp - F::BIAS - F::FRAC as i32;
    let whole = match up {
        ..0 => sig >> -up,
        0..32 => sig << up,
        _ => 0,
    };
    (if sign::<F>(v) { whole.wrapping_neg() } else { whole }) as i32 as u64
}

/// From an integer: the low `int.bits` bits of `x`, which are 32 or 64.
#[inline(never)]
pub fn from_int<F: Format>(x: u64, int: Int, rm: Rm, flags: &mut u32) -> u64 {
    let x = match (int.bits, int.signed) {
        (32, true) => x as i32 as u64,
        (32, false) => x as u32 as u64,
        _ => x,
    };
    let negative = int.signed && (x as i64) < 0;
    let magnitude = if negative { x.wrapping_neg() } else { x };
    if magnitude == 0 {
        return 0;
    }
    normalise_and_round::<F>(negative, F::BIAS + super::round::TOP as i32, magnitude, rm, flags)
}

/// To an integral value in the same format (FROUND). `exact` also raises NX if that changed it (FROUNDNX).
pub fn round_to_integral<F: Format>(v: u64, rm: Rm, exact: bool, flags: &mut u32) -> u64 {
    let exp = exponent::<F>(v);
    if exp == F::EXP_MAX && is_nan::<F>(v) {
        if is_signaling::<F>(v) {
            *flags |= NV;
        }
        return F::NAN;
    }
    if exp >= F::BIAS + F::FRAC as i32 || magnitude::<F>(v) == 0 {
        return v;
    }
    let negative = sign::<F>(v);
    let result = if exp < F::BIAS {
        let frac = if exp == F::BIAS - 1 { F::HIDDEN | v & F::FRAC_MASK } else { 1 };
        let away = round_away(0, frac << (63 - F::FRAC), negative, rm);
        with_sign::<F>(negative, F::ONE * away)
    } else {
        // The encoding is an integer in units of the last place, so a carry moves into the exponent by itself.
        let drop = F::BIAS as u32 + F::FRAC - exp as u32;
        let mask = (1u64 << drop) - 1;
        let tie = v & mask == 1 << (drop - 1) && rm == Rm::Rne;
        let rounded = v.wrapping_add(increment(rm, negative, drop)) & !mask;
        if tie { rounded & !(1 << drop) } else { rounded }
    };
    if exact && result != v {
        *flags |= NX;
    }
    result
}

/// The constants of FLI by the number in the `rs1` field: 2^exponent with two bits of fraction. `None` marks
/// the entries that depend on the format.
const FLI: [Option<(i32, u64)>; 32] = [
    None,
    None,
    Some((-16, 0)),
    Some((-15, 0)),
    Some((-8, 0)),
    Some((-7, 0)),
    Some((-4, 0)),
    Some((-3, 0)),
    Some((-2, 0)),
    Some((-2, 1)),
    Some((-2, 2)),
    Some((-2, 3)),
    Some((-1, 0)),
    Some((-1, 1)),
    Some((-1, 2)),
    Some((-1, 3)),
    Some((0, 0)),
    Some((0, 1)),
    Some((0, 2)),
    Some((0, 3)),
    Some((1, 0)),
    Some((1, 1)),
    Some((1, 2)),
    Some((2, 0)),
    Some((3, 0)),
    Some((4, 0)),
    Some((7, 0)),
    Some((8, 0)),
    Some((15, 0)),
    Some((16, 0)),
    None,
    None,
];

/// FLI: the constant number `index` (its low five bits count). 2^-16 and 2^-15 are subnormal in binary16,
/// and 2^16 is its infinity; no flag is raised for that.
pub fn constant<F: Format>(index: u64) -> u64 {
    let index = index as usize & 31;
    match FLI[index] {
        Some((exp, frac)) => {
            let sig = (4 | frac) << (super::round::TOP - 2);
            round::<F>(false, exp + F::BIAS, sig, Rm::Rne, &mut 0)
        }
        None => match index {
            0 => with_sign::<F>(true, F::ONE),
            1 => F::HIDDEN,
            30 => F::INF,
            _ => F::NAN,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Bf16, F16, F32, F64};
    use super::super::{OF, UF};
    use super::*;

    #[test]
    fn constants_are_those_of_the_table() {
        let single: [u64; 32] = [
            0xbf80_0000,
            0x0080_0000,
            0x3780_0000,
            0x3800_0000,
            0x3b80_0000,
            0x3c00_0000,
            0x3d80_0000,
            0x3e00_0000,
            0x3e80_0000,
            0x3ea0_0000,
            0x3ec0_0000,
            0x3ee0_0000,
            0x3f00_0000,
            0x3f20_0000,
            0x3f40_0000,
            0x3f60_0000,
            0x3f80_0000,
            0x3fa0_0000,
            0x3fc0_0000,
            0x3fe0_0000,
            0x4000_0000,
            0x4020_0000,
            0x4040_0000,
            0x4080_0000,
            0x4100_0000,
            0x4180_0000,
            0x4300_0000,
            0x4380_0000,
            0x4700_0000,
            0x4780_0000,
            0x7f80_0000,
            0x7fc0_0000,
        ];
        for (i, want) in single.into_iter().enumerate() {
            assert_eq!(constant::<F32>(i as u64), want, "fli.s {i}");
            if i != 1 {
                assert_eq!(constant::<F64>(i as u64), convert::<F32, F64>(want, Rm::Rne, &mut 0), "fli.d {i}");
                assert_eq!(constant::<F16>(i as u64), convert::<F32, F16>(want, Rm::Rne, &mut 0), "fli.h {i}");
            }
        }
        assert_eq!(constant::<F64>(1), 0x0010_0000_0000_0000);
        assert_eq!((constant::<F16>(1), constant::<F16>(2), constant::<F16>(3)), (0x0400, 0x0100, 0x0200));
        assert_eq!((constant::<F16>(28), constant::<F16>(29)), (0x7800, 0x7c00));
    }

    #[test]
    fn integers_saturate_as_the_table_of_valid_inputs_says() {
        let nan = F64::NAN | F64::SIGN;
        let minf = F64::INF | F64::SIGN;
        // input, w, wu, l, lu
        let min32 = i32::MIN as i64 as u64;
        let max32 = i32::MAX as u64;
        let table = [
            (F64::INF, max32, u64::MAX, i64::MAX as u64, u64::MAX),
            (nan, max32, u64::MAX, i64::MAX as u64, u64::MAX),
            (minf, min32, 0, i64::MIN as u64, 0),
        ];
        for (v, w, wu, l, lu) in table {
            for (int, want) in [(Int::W, w), (Int::WU, wu), (Int::L, l), (Int::LU, lu)] {
                let mut flags = 0;
                assert_eq!(to_int::<F64>(v, int, Rm::Rne, &mut flags), want, "{v:#x} {int:?}");
                assert_eq!(flags, NV);
            }
        }
        let mut flags = 0;
        // -0.5 to unsigned: zero and inexact when it rounds to zero, invalid when it does not.
        let v = 0xbfe0_0000_0000_0000;
        assert_eq!(to_int::<F64>(v, Int::WU, Rm::Rne, &mut flags), 0);
        assert_eq!(flags, NX);
        flags = 0;
        assert_eq!(to_int::<F64>(v, Int::WU, Rm::Rdn, &mut flags), 0);
        assert_eq!(flags, NV);
        flags = 0;
        // 2^31 as an unsigned word is sign-extended.
        assert_eq!(to_int::<F64>(0x41e0_0000_0000_0000, Int::WU, Rm::Rne, &mut flags), 0xffff_ffff_8000_0000);
        assert_eq!(flags, 0);
    }

    #[test]
    fn narrow_integers_saturate_at_their_own_limits() {
        for (bits, v, signed, unsigned) in [
            (8, 0x4380_0000, 127, 255),          // 256
            (8, 0xc300_0000, -128i64 as u64, 0), // -128
            (16, 0x4780_0000, 32767, 65535),     // 65536
        ] {
            assert_eq!(to_int::<F32>(v, Int::of(bits, true), Rm::Rne, &mut 0), signed);
            assert_eq!(to_int::<F32>(v, Int::of(bits, false), Rm::Rne, &mut 0), unsigned);
        }
    }

    #[test]
    fn rounding_to_odd_sets_the_last_bit_of_what_is_inexact() {
        for (v, want, want_flags) in [
            (0x3f80_0000, 0x3c00, 0),       // exact
            (0x3f80_0001, 0x3c01, NX),      // just above one
            (0xbf80_3fff, 0xbc01, NX),      // already odd when truncated
            (0x7f7f_ffff, 0x7bff, NX | OF), // too large: the largest number
            (0x0000_0001, 0x0001, NX | UF), // too small: the smallest number
            (0x7f80_0000, 0x7c00, 0),       // infinity
            (0x7f80_0001, F16::NAN, NV),
        ] {
            let mut flags = 0;
            assert_eq!(convert_to_odd::<F32, F16>(v, &mut flags), want, "{v:#x}");
            assert_eq!(flags, want_flags, "{v:#x}");
        }
    }

    #[test]
    fn modular_conversion_wraps() {
        // input, result, flags
        let table: [(u64, u64, u32); 12] = [
            (F64::ONE, 1, 0),
            (0xbff8_0000_0000_0000, -1i64 as u64, NX),          // -1.5
            (0x41e0_0000_0000_0000, 0xffff_ffff_8000_0000, NV), // 2^31
            (0xc1e0_0000_0000_0000, 0xffff_ffff_8000_0000, 0),  // -2^31
            (0xc1e0_0000_0000_1000, 0xffff_ffff_8000_0000, NX), // just below -2^31
            (0x41f0_0000_0010_0000, 1, NV),                     // 2^32 + 1
            (0x4340_0000_0000_0001, 2, NV),                     // 2^53 + 2
            (0x4530_0000_0000_0001, 0, NV),                     // 2^84 + 2^32
            (0x4520_0000_0000_0001, 0xffff_ffff_8000_0000, NV), // 2^83 + 2^31
            (F64::INF | F64::SIGN, 0, NV),
            (F64::NAN, 0, NV),
            (0x3fe0_0000_0000_0000, 0, NX), // 0.5
        ];
        for (v, want, want_flags) in table {
            let mut flags = 0;
            assert_eq!(to_int_modular::<F64>(v, &mut flags), want, "{v:#x}");
            assert_eq!(flags, want_flags, "{v:#x}");
        }
    }

    #[test]
    fn rounding_to_integral_carries_and_keeps_the_sign_of_zero() {
        let mut flags = 0;
        let below_two = 0x3fff_ffff;
        assert_eq!(round_to_integral::<F32>(below_two, Rm::Rne, false, &mut flags), 0x4000_0000);
        assert_eq!(round_to_integral::<F32>(0xbf00_0000, Rm::Rne, false, &mut flags), 0x8000_0000);
        assert_eq!(flags, 0);
        assert_eq!(round_to_integral::<F32>(0xbf00_0000, Rm::Rmm, true, &mut flags), 0xbf80_0000);
        assert_eq!(flags, NX);
        assert_eq!(round_to_integral::<Bf16>(0x4020, Rm::Rne, true, &mut flags), 0x4000);
    }
}
