//! From an exact (or sticky) significand to an encoded value: the one place where results are rounded.
//!
//! Between operations a significand is a `u64` whose leading one stands at bit 62, whatever the format;
//! the value is `sig / 2^62 * 2^(exp - BIAS)`. Bits below the format's precision decide the rounding, and
//! the lowest of them is sticky: it is set if anything non-zero was dropped below it.

use super::format::{Format, exponent, with_sign};
use super::{NX, OF, Rm, UF};

/// Where the leading one of a normalised significand stands.
pub const TOP: u32 = 62;

/// Shifts right by `n`; what is lost is or-ed into the lowest bit. Any `n` is good.
#[inline(always)]
pub fn shift_right_jam(v: u64, n: u32) -> u64 {
    if n < 64 { v >> n | (v & ((1 << n) - 1) != 0) as u64 } else { (v != 0) as u64 }
}

/// [`shift_right_jam`] for the products of a fused multiply-add.
#[inline(always)]
pub fn shift_right_jam128(v: u128, n: u32) -> u128 {
    if n < 128 { v >> n | (v & ((1 << n) - 1) != 0) as u128 } else { (v != 0) as u128 }
}

/// Biased exponent and significand (leading one at [`TOP`]) of a finite number that is not zero.
#[inline(always)]
pub fn normalised<F: Format>(v: u64) -> (i32, u64) {
    let exp = exponent::<F>(v);
    let frac = v & F::FRAC_MASK;
    if exp != 0 {
        (exp, (frac | F::HIDDEN) << (TOP - F::FRAC))
    } else {
        let up = frac.leading_zeros() - (63 - TOP);
        (1 + (TOP - F::FRAC) as i32 - up as i32, frac << up)
    }
}

/// What is added at bit `n - 1` and below so that truncating `n` bits rounds as `rm` says (a tie under
/// [`Rm::Rne`] needs its last bit cleared afterwards).
#[inline(always)]
pub fn increment(rm: Rm, negative: bool, n: u32) -> u64 {
    let all = (1u64 << n) - 1;
    match rm {
        Rm::Rne | Rm::Rmm => 1 << (n - 1),
        Rm::Rtz => 0,
        Rm::Rdn => all * negative as u64,
        Rm::Rup => all * !negative as u64,
    }
}

/// Rounds `sig / 2^62 * 2^(exp - BIAS)` to the format and raises OF, UF and NX. `sig` is normalised.
#[inline]
pub fn round<F: Format>(negative: bool, mut exp: i32, mut sig: u64, rm: Rm, flags: &mut u32) -> u64 {
    let drop = TOP - F::FRAC;
    let mask = (1u64 << drop) - 1;
    let inc = increment(rm, negative, drop);
    // In the field of a normal number the hidden bit adds one to the exponent.
    let mut field = exp - 1;
    if field as u32 >= (F::EXP_MAX - 2) as u32 {
        if exp < 1 {
            // Tininess is detected after rounding: as if the exponent had no lower bound.
            let tiny = exp < 0 || sig + inc < 1 << (TOP + 1);
            sig = shift_right_jam(sig, (1 - exp) as u32);
            exp = 1;
            field = 0;
            if tiny && sig & mask != 0 {
                *flags |= UF;
            }
        }
        if exp >= F::EXP_MAX || (exp == F::EXP_MAX - 1 && sig + inc >= 1 << (TOP + 1)) {
            *flags |= OF | NX;
            // Modes that round this sign towards zero stop at the largest finite number.
            return with_sign::<F>(negative, F::INF - (inc == 0) as u64);
        }
    }
    let dropped = sig & mask;
    let mut sig = (sig + inc) >> drop;
    if dropped != 0 {
        *flags |= NX;
        if dropped == 1 << (drop - 1) && rm == Rm::Rne {
            sig &= !1;
        }
    }
    with_sign::<F>(negative, ((field as u64) << F::FRAC) + sig)
}

/// As [`round`], for a significand whose leading one may stand anywhere at or below bit 63, in units where
/// bit 62 weighs `2^(exp - BIAS)`. It must not be zero.
#[inline]
pub fn normalise_and_round<F: Format>(negative: bool, exp: i32, sig: u64, rm: Rm, flags: &mut u32) -> u64 {
    let zeros = sig.leading_zeros() as i32;
    let sig = if zeros == 0 { sig >> 1 | sig & 1 } else { sig << (zeros - 1) };
    round::<F>(negative, exp + 1 - zeros, sig, rm, flags)
}

/// A zero that came from numbers of opposite sign: negative only when rounding down.
#[inline(always)]
pub fn exact_zero<F: Format>(rm: Rm) -> u64 {
    with_sign::<F>(rm == Rm::Rdn, 0)
}

#[cfg(test)]
mod tests {
    use super::super::format::{F16, F32, F64};
    use super::*;

    #[test]
    fn jamming_keeps_what_is_lost_as_one_bit() {
        assert_eq!(shift_right_jam(0b1100, 2), 0b11);
        assert_eq!(shift_right_jam(0b1101, 2), 0b11);
        assert_eq!(shift_right_jam(0b1001, 2), 0b11);
        assert_eq!(shift_right_jam(1 << 63, 63), 1);
        assert_eq!(shift_right_jam(1, 64), 1);
        assert_eq!(shift_right_jam(0, 5000), 0);
        assert_eq!(shift_right_jam(7, 0), 7);
        assert_eq!(shift_right_jam128(1, 200), 1);
        assert_eq!(shift_right_jam128(5 << 64, 64), 5);
    }

    #[test]
    fn normalised_puts_the_leading_one_at_the_top() {
        assert_eq!(normalised::<F32>(0x3f80_0000), (127, 1 << TOP));
        assert_eq!(normalised::<F32>(1), (-22, 1 << TOP));
        assert_eq!(normalised::<F64>(1 << 51), (0, 1 << TOP));
        assert_eq!(normalised::<F16>(0x0400), (1, 1 << TOP));
    }

    #[test]
    fn overflow_stops_at_the_largest_number_or_goes_to_infinity() {
        for (rm, negative, want) in [
            (Rm::Rne, false, 0x7f80_0000),
            (Rm::Rmm, true, 0xff80_0000),
            (Rm::Rtz, false, 0x7f7f_ffff),
            (Rm::Rdn, false, 0x7f7f_ffff),
            (Rm::Rdn, true, 0xff80_0000),
            (Rm::Rup, true, 0xff7f_ffff),
        ] {
            let mut flags = 0;
            assert_eq!(round::<F32>(negative, 255, 1 << TOP, rm, &mut flags), want, "{rm:?}");
            assert_eq!(flags, OF | NX);
        }
    }

    #[test]
    fn tininess_is_detected_after_rounding() {
        // Just below the smallest normal number: rounds up to it. Tiny only if 24 bits of precision would
        // not have carried.
        let mut flags = 0;
        assert_eq!(round::<F32>(false, 0, u64::MAX >> 1, Rm::Rne, &mut flags), 0x0080_0000);
        assert_eq!(flags, NX);
        flags = 0;
        let below = (1 << (TOP + 1)) - (1 << (TOP - 23));
        assert_eq!(round::<F32>(false, 0, below, Rm::Rne, &mut flags), 0x0080_0000);
        assert_eq!(flags, NX | UF);
    }
}
