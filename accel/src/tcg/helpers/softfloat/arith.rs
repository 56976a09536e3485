//! Addition, multiplication, division, square root and fused multiply-add.
//!
//! Operands and results are encoded values of the format. Each function computes one exact or sticky
//! significand and lets [`round`](super::round::round) do the rest, so every format and mode shares the code.

use super::format::{Format, exponent, is_nan, is_signaling, magnitude, sign, with_sign};
use super::round::{TOP, exact_zero, normalise_and_round, normalised, round, shift_right_jam, shift_right_jam128};
use super::{DZ, NV, Rm};

/// The result when an operand is a NaN: the canonical one, invalid if any operand signals.
#[cold]
fn nan_result<F: Format>(operands: &[u64], flags: &mut u32) -> u64 {
    if operands.iter().any(|&v| is_signaling::<F>(v)) {
        *flags |= NV;
    }
    F::NAN
}

/// The result of an operation that has none: inf - inf, 0 * inf, 0 / 0, the root of a negative.
#[cold]
fn invalid<F: Format>(flags: &mut u32) -> u64 {
    *flags |= NV;
    F::NAN
}

#[inline(never)]
pub fn add<F: Format>(a: u64, b: u64, rm: Rm, flags: &mut u32) -> u64 {
    // |a| >= |b| from here on; the sum has the sign of the larger.
    let (a, b) = if magnitude::<F>(a) < magnitude::<F>(b) { (b, a) } else { (a, b) };
    let negative = sign::<F>(a);
    let subtract = sign::<F>(a) != sign::<F>(b);
    let (ea, eb) = (exponent::<F>(a), exponent::<F>(b));
    if ea == F::EXP_MAX {
        return if is_nan::<F>(a) {
            nan_result::<F>(&[a, b], flags)
        } else if eb == F::EXP_MAX && subtract {
            invalid::<F>(flags)
        } else {
            a
        };
    }
    // The hidden bit goes to bit 61, so that a carry ends at bit 62. Subnormals need no normalisation here.
    let place = |v: u64, exp: i32| ((v & F::FRAC_MASK) | if exp != 0 { F::HIDDEN } else { 0 }) << (TOP - 1 - F::FRAC);
    let exp = ea.max(1);
    let sa = place(a, ea);
    let sb = shift_right_jam(place(b, eb), (exp - eb.max(1)) as u32);
    let sum = if subtract { sa - sb } else { sa + sb };
    if sum == 0 {
        return if subtract { exact_zero::<F>(rm) } else { with_sign::<F>(negative, 0) };
    }
    normalise_and_round::<F>(negative, exp + 1, sum, rm, flags)
}

/// `-v`. A NaN stays one, and whether it signals.
#[inline(always)]
pub fn negate<F: Format>(v: u64) -> u64 {
    v ^ F::SIGN
}

#[inline(never)]
pub fn mul<F: Format>(a: u64, b: u64, rm: Rm, flags: &mut u32) -> u64 {
    let negative = sign::<F>(a ^ b);
    let (ma, mb) = (magnitude::<F>(a), magnitude::<F>(b));
    if ma >= F::INF || mb >= F::INF {
        return if ma > F::INF || mb > F::INF {
            nan_result::<F>(&[a, b], flags)
        } else if ma == 0 || mb == 0 {
            invalid::<F>(flags)
        } else {
            with_sign::<F>(negative, F::INF)
        };
    }
    if ma == 0 || mb == 0 {
        return with_sign::<F>(negative, 0);
    }
    let (ea, sa) = normalised::<F>(a);
    let (eb, sb) = normalised::<F>(b);
    // 2^125 <= product < 2^127; its upper word is the result's significand, up to one place.
    let product = sa as u128 * (sb << 1) as u128;
    let sig = (product >> 64) as u64 | (product as u64 != 0) as u64;
    let exp = ea + eb - F::BIAS;
    if sig >> TOP == 0 {
        round::<F>(negative, exp, sig << 1, rm, flags)
    } else {
        round::<F>(negative, exp + 1, sig, rm, flags)
    }
}

#[inline(never)]
pub fn div<F: Format>(a: u64, b: u64, rm: Rm, flags: &mut u32) -> u64 {
    let negative = sign::<F>(a ^ b);
    let (ma, mb) = (magnitude::<F>(a), magnitude::<F>(b));
    if ma >= F::INF || mb >= F::INF {
        return if ma > F::INF || mb > F::INF {
            nan_result::<F>(&[a, b], flags)
        } else if ma == mb {
            invalid::<F>(flags)
        } else {
            with_sign::<F>(negative, if ma == F::INF { F::INF } else { 0 })
        };
    }
    if mb == 0 {
        if ma == 0 {
            return invalid::<F>(flags);
        }
        *flags |= DZ;
        return with_sign::<F>(negative, F::INF);
    }
    if ma == 0 {
        return with_sign::<F>(negative, 0);
    }
    let (ea, mut sa) = normalised::<F>(a);
    let (eb, sb) = normalised::<F>(b);
    let mut exp = ea - eb + F::BIAS;
    if sa < sb {
        sa <<= 1;
        exp -= 1;
    }
    // sb <= sa < 2 * sb: the quotient's leading one is known.
    let sig = if F::FRAC < 30 {
        // The operands are zero below bit 32, and 32 bits of quotient are enough.
        let (n, d) = (sa, sb >> 32);
        let (q, r) = (n / d, n % d);
        q << (TOP - 32) | (r != 0) as u64
    } else {
        let (q, r) = divide_128_by_64((sa as u128) << TOP, sb);
        q | (r != 0) as u64
    };
    round::<F>(negative, exp, sig, rm, flags)
}

/// Quotient and remainder; the quotient must fit 64 bits.
#[inline(always)]
fn divide_128_by_64(n: u128, d: u64) -> (u64, u64) {
    let d = d as u128;
    ((n / d) as u64, (n % d) as u64)
}

#[inline(never)]
pub fn sqrt<F: Format>(a: u64, rm: Rm, flags: &mut u32) -> u64 {
    let ma = magnitude::<F>(a);
    if ma > F::INF {
        return nan_result::<F>(&[a], flags);
    }
    if ma == 0 {
        return a;
    }
    if sign::<F>(a) {
        return invalid::<F>(flags);
    }
    if ma == F::INF {
        return a;
    }
    let (exp, mut sig) = normalised::<F>(a);
    let mut exp = exp - F::BIAS;
    if exp & 1 != 0 {
        sig <<= 1;
        exp -= 1;
    }
    // 2^62 <= sig < 2^64 and the exponent is even: the root's leading one is known.
    let high = sig.isqrt();
    let rest = sig - high * high;
    let root = if F::FRAC < 30 {
        high << (TOP - 31) | (rest != 0) as u64
    } else {
        // The root of sig * 2^62, digit by digit in base 2^31: the division gives the second digit or one more.
        let low = (rest << 30) / high;
        let root = (high << 31) + low;
        let (n, square) = ((sig as u128) << TOP, root as u128 * root as u128);
        (root - (square > n) as u64) | (square != n) as u64
    };
    round::<F>(false, (exp >> 1) + F::BIAS, root, rm, flags)
}

/// `a * b + c` with one rounding. Infinity times zero is invalid even when `c` is a quiet NaN.
#[inline(never)]
pub fn fma<F: Format>(a: u64, b: u64, c: u64, rm: Rm, flags: &mut u32) -> u64 {
    let mut negative = sign::<F>(a ^ b);
    let (ma, mb, mc) = (magnitude::<F>(a), magnitude::<F>(b), magnitude::<F>(c));
    if ma >= F::INF || mb >= F::INF || mc >= F::INF {
        return fma_special::<F>(a, b, c, flags);
    }
    if ma == 0 || mb == 0 {
        return if mc != 0 || sign::<F>(c) == negative { c } else { exact_zero::<F>(rm) };
    }
    let (ea, sa) = normalised::<F>(a);
    let (eb, sb) = normalised::<F>(b);
    // The product with its leading one at bit 125, so that a carry ends at bit 126.
    let mut product = sa as u128 * (sb << 1) as u128;
    let mut exp = ea + eb - F::BIAS + 1;
    if product >> 126 != 0 {
        // Two significands of at most 53 bits: the low bits are zero.
        product >>= 1;
    } else {
        exp -= 1;
    }
    let mut sum = product;
    if mc != 0 {
        let (ec, sc) = normalised::<F>(c);
        let subtract = sign::<F>(c) != negative;
        let addend = (sc as u128) << (125 - TOP);
        // Jamming is safe below a subtraction: when more than zero bits are shifted out, the exponents differ
        // by two or more and at most one leading bit cancels.
        let (larger, smaller) = if exp >= ec {
            (product, shift_right_jam128(addend, (exp - ec) as u32))
        } else {
            let aligned = shift_right_jam128(product, (ec - exp) as u32);
            negative = sign::<F>(c);
            exp = ec;
            (addend, aligned)
        };
        if !subtract {
            sum = larger + smaller;
        } else if larger == smaller {
            return exact_zero::<F>(rm);
        } else {
            // With equal exponents the addend may still be the larger.
            negative ^= larger < smaller;
            sum = larger.abs_diff(smaller);
        }
    }
    // Leading one to bit 126, then the upper word is the significand.
    let zeros = sum.leading_zeros() as i32;
    let sum = sum << (zeros - 1);
    let sig = (sum >> 64) as u64 | (sum as u64 != 0) as u64;
    round::<F>(negative, exp + 2 - zeros, sig, rm, flags)
}

#[cold]
fn fma_special<F: Format>(a: u64, b: u64, c: u64, flags: &mut u32) -> u64 {
    let (ma, mb) = (magnitude::<F>(a), magnitude::<F>(b));
    if (ma == F::INF && mb == 0) || (ma == 0 && mb == F::INF) {
        return invalid::<F>(flags);
    }
    if is_nan::<F>(a) || is_nan::<F>(b) || is_nan::<F>(c) {
        return nan_result::<F>(&[a, b, c], flags);
    }
    if ma != F::INF && mb != F::INF {
        return c;
    }
    let negative = sign::<F>(a ^ b);
    if magnitude::<F>(c) == F::INF && sign::<F>(c) != negative {
        return invalid::<F>(flags);
    }
    with_sign::<F>(negative, F::INF)
}

#[cfg(test)]
mod tests {
    use super::super::format::{F32, F64};
    use super::super::{NX, UF};
    use super::*;

    fn with_flags(op: impl FnOnce(&mut u32) -> u64) -> (u64, u32) {
        let mut flags = 0;
        let v = op(&mut flags);
        (v, flags)
    }

    #[test]
    fn zeros_of_opposite_sign_sum_to_plus_zero_except_downwards() {
        for (rm, want) in [(Rm::Rne, 0), (Rm::Rdn, F32::SIGN), (Rm::Rup, 0), (Rm::Rtz, 0), (Rm::Rmm, 0)] {
            assert_eq!(with_flags(|f| add::<F32>(0, F32::SIGN, rm, f)), (want, 0));
            assert_eq!(with_flags(|f| add::<F32>(F32::ONE, F32::ONE | F32::SIGN, rm, f)), (want, 0));
            assert_eq!(with_flags(|f| add::<F32>(F32::SIGN, F32::SIGN, rm, f)), (F32::SIGN, 0));
            assert_eq!(with_flags(|f| fma::<F32>(F32::ONE, F32::ONE, F32::ONE | F32::SIGN, rm, f)), (want, 0));
        }
    }

    #[test]
    fn infinity_times_zero_plus_quiet_nan_is_invalid() {
        assert_eq!(with_flags(|f| fma::<F64>(F64::INF, 0, F64::NAN, Rm::Rne, f)), (F64::NAN, NV));
        assert_eq!(with_flags(|f| fma::<F64>(F64::INF, F64::ONE, F64::NAN, Rm::Rne, f)), (F64::NAN, 0));
    }

    #[test]
    fn division_by_zero_is_not_invalid_unless_of_zero() {
        assert_eq!(with_flags(|f| div::<F64>(F64::ONE, F64::SIGN, Rm::Rne, f)), (F64::INF | F64::SIGN, DZ));
        assert_eq!(with_flags(|f| div::<F64>(0, 0, Rm::Rne, f)), (F64::NAN, NV));
        assert_eq!(with_flags(|f| div::<F64>(F64::INF, 0, Rm::Rne, f)), (F64::INF, 0));
    }

    #[test]
    fn a_third_is_inexact_and_the_square_of_the_smallest_number_underflows() {
        let three = 0x4008_0000_0000_0000;
        assert_eq!(with_flags(|f| div::<F64>(F64::ONE, three, Rm::Rne, f)), (0x3fd5_5555_5555_5555, NX));
        assert_eq!(with_flags(|f| div::<F64>(F64::ONE, three, Rm::Rup, f)), (0x3fd5_5555_5555_5556, NX));
        assert_eq!(with_flags(|f| mul::<F64>(1, 1, Rm::Rne, f)), (0, NX | UF));
        assert_eq!(with_flags(|f| mul::<F64>(1, 1, Rm::Rup, f)), (1, NX | UF));
    }

    #[test]
    fn roots() {
        let four = 0x4010_0000_0000_0000;
        assert_eq!(with_flags(|f| sqrt::<F64>(four, Rm::Rne, f)), (0x4000_0000_0000_0000, 0));
        assert_eq!(with_flags(|f| sqrt::<F64>(0x4000_0000_0000_0000, Rm::Rne, f)), (0x3ff6_a09e_667f_3bcd, NX));
        assert_eq!(with_flags(|f| sqrt::<F64>(F64::SIGN, Rm::Rne, f)), (F64::SIGN, 0));
        assert_eq!(with_flags(|f| sqrt::<F64>(F64::ONE | F64::SIGN, Rm::Rne, f)), (F64::NAN, NV));
    }
}
