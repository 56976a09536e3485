//! The estimates VFREC7 and VFRSQRT7, accurate to seven bits.
//!
//! The specification gives them as tables from the leading bits of the operand to those of the result. Every entry is
//! the function's value in the middle of the operand's interval, rounded to nearest, so the tables are computed here.

use super::format::{Format, exponent, is_nan, is_signaling, magnitude, sign, with_sign};
use super::{DZ, NV, NX, OF, Rm};

/// Bits of a result's fraction.
const BITS: u32 = 7;

/// By seven bits of the operand's fraction.
static RECIPROCAL: [u8; 128] = {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        // 2 / (1 + (i + 1/2) / 128), of which the leading one is left out.
        let d = 257 + 2 * i as u32;
        table[i] = ((2 * (256 << 8) + d) / (2 * d) - 128) as u8;
        i += 1;
    }
    table
};

/// By the lowest bit of the operand's exponent and six bits of its fraction.
static ROOT: [u8; 128] = {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        // 2 / sqrt(m), the middle of the interval being m = 1 + (i + 1/2) / 64, twice that for an even exponent field:
        // the bias is odd.
        let m = (129 + 2 * (i as u64 & 63)) << (i < 64) as u32;
        let twice = ((256u64 * 256 * 128 * 4) / m).isqrt();
        table[i] = (twice.div_ceil(2) - 128) as u8;
        i += 1;
    }
    table
};

/// Biased exponent, which is zero or less for a subnormal number, and fraction of a number that is not zero.
fn normalised<F: Format>(v: u64) -> (i32, u64) {
    let (exp, frac) = (exponent::<F>(v), v & F::FRAC_MASK);
    if exp != 0 {
        return (exp, frac);
    }
    let zeros = frac.leading_zeros() - (64 - F::FRAC);
    (-(zeros as i32), frac << (zeros + 1) & F::FRAC_MASK)
}

fn nan<F: Format>(v: u64, flags: &mut u32) -> u64 {
    if is_signaling::<F>(v) {
        *flags |= NV;
    }
    F::NAN
}

/// An estimate of `1 / v`. Only an overflow depends on the rounding mode.
pub fn reciprocal<F: Format>(v: u64, rm: Rm, flags: &mut u32) -> u64 {
    let negative = sign::<F>(v);
    if is_nan::<F>(v) {
        return nan::<F>(v, flags);
    }
    match magnitude::<F>(v) {
        0 => {
            *flags |= DZ;
            return with_sign::<F>(negative, F::INF);
        }
        m if m == F::INF => return with_sign::<F>(negative, 0),
        _ => {}
    }
    let (exp, frac) = normalised::<F>(v);
    let exp = 2 * F::BIAS - 1 - exp;
    if exp > 2 * F::BIAS {
        *flags |= NX | OF;
        let towards_zero = rm == Rm::Rtz || rm == if negative { Rm::Rup } else { Rm::Rdn };
        return with_sign::<F>(negative, F::INF - towards_zero as u64);
    }
    let frac = u64::from(RECIPROCAL[(frac >> (F::FRAC - BITS)) as usize]) << (F::FRAC - BITS);
    let m = if exp > 0 { (exp as u64) << F::FRAC | frac } else { (F::HIDDEN | frac) >> (1 - exp) };
    with_sign::<F>(negative, m)
}

/// An estimate of `1 / sqrt(v)`.
pub fn reciprocal_root<F: Format>(v: u64, flags: &mut u32) -> u64 {
    let negative = sign::<F>(v);
    if is_nan::<F>(v) {
        return nan::<F>(v, flags);
    }
    if magnitude::<F>(v) == 0 {
        *flags |= DZ;
        return with_sign::<F>(negative, F::INF);
    }
    if negative {
        *flags |= NV;
        return F::NAN;
    }
    if v == F::INF {
        return 0;
    }
    let (exp, frac) = normalised::<F>(v);
    let index = (exp as u64 & 1) << 6 | frac >> (F::FRAC - 6);
    let exp = (3 * F::BIAS - 1 - exp) >> 1;
    (exp as u64) << F::FRAC | u64::from(ROOT[index as usize]) << (F::FRAC - BITS)
}

#[cfg(test)]
mod tests {
    use super::super::format::{Bf16, F16, F32, F64};
    use super::*;

    #[test]
    fn tables_are_the_specifications() {
        let some = |table: &[u8; 128], step| table.iter().step_by(step).copied().collect::<Vec<_>>();
        assert_eq!(some(&RECIPROCAL, 9), [127, 110, 96, 83, 71, 61, 52, 43, 35, 28, 22, 16, 11, 5, 1]);
        assert_eq!(some(&ROOT, 9), [52, 41, 31, 23, 16, 10, 5, 0, 113, 99, 87, 77, 69, 61, 54]);
        assert_eq!((ROOT[63], ROOT[64], RECIPROCAL[127]), (0, 127, 0));
    }

    /// The examples in the specification's notes.
    #[test]
    fn examples() {
        let mut flags = 0;
        assert_eq!(reciprocal_root::<F32>(0x0071_8abc, &mut flags), 0x5f08_0000);
        assert_eq!(reciprocal_root::<F32>(0x7f76_5432, &mut flags), 0x1f82_0000);
        assert_eq!(reciprocal::<F32>(0x0071_8abc, Rm::Rne, &mut flags), 0x7e90_0000);
        assert_eq!(reciprocal::<F32>(0x7f76_5432, Rm::Rne, &mut flags), 0x0021_4000);
        assert_eq!(flags, 0);
    }

    #[test]
    fn exceptional_operands() {
        let with_flags = |op: &dyn Fn(&mut u32) -> u64| {
            let mut flags = 0;
            let v = op(&mut flags);
            (v, flags)
        };
        let minus = F32::SIGN;
        for (v, root, recip) in [
            (0, (F32::INF, DZ), (F32::INF, DZ)),
            (minus, (F32::INF | minus, DZ), (F32::INF | minus, DZ)),
            (F32::INF, (0, 0), (0, 0)),
            (F32::INF | minus, (F32::NAN, NV), (minus, 0)),
            (F32::INF | 1, (F32::NAN, NV), (F32::NAN, NV)),
            (F32::NAN | minus | 7, (F32::NAN, 0), (F32::NAN, 0)),
            (F32::ONE | minus, (F32::NAN, NV), (0xbf7f_0000, 0)),
            (minus | 1, (F32::NAN, NV), (F32::INF | minus, NX | OF)),
        ] {
            assert_eq!(with_flags(&|f| reciprocal_root::<F32>(v, f)), root, "{v:#x}");
            assert_eq!(with_flags(&|f| reciprocal::<F32>(v, Rm::Rne, f)), recip, "{v:#x}");
        }
    }

    #[test]
    fn a_reciprocal_that_overflows_follows_the_rounding_mode() {
        let largest = F16::INF - 1;
        for (rm, plus, minus) in [
            (Rm::Rne, F16::INF, F16::INF),
            (Rm::Rtz, largest, largest),
            (Rm::Rdn, largest, F16::INF),
            (Rm::Rup, F16::INF, largest),
            (Rm::Rmm, F16::INF, F16::INF),
        ] {
            let mut flags = 0;
            // Two leading zeros in the fraction: below 2^-(bias + 1).
            assert_eq!(reciprocal::<F16>(0x00ff, rm, &mut flags), plus);
            assert_eq!(reciprocal::<F16>(0x80ff, rm, &mut flags), F16::SIGN | minus);
            assert_eq!(flags, NX | OF);
        }
        // One leading zero is in range still.
        assert_eq!(reciprocal::<F16>(0x0100, Rm::Rne, &mut 0), 0x7bf8);
    }

    /// Seven bits: a relative error of less than 2^-7, for every operand of the 16-bit formats.
    #[test]
    fn estimates_are_accurate() {
        fn value<F: Format>(v: u64) -> f64 {
            f64::from_bits(super::super::convert::convert::<F, F64>(v, Rm::Rne, &mut 0))
        }
        fn all<F: Format>() {
            for v in 1..F::INF {
                let mut flags = 0;
                let (x, r) = (value::<F>(v), value::<F>(reciprocal::<F>(v, Rm::Rne, &mut flags)));
                assert!(flags != 0 || (r * x - 1.0).abs() < 1.0 / 128.0 || r < value::<F>(F::HIDDEN), "1 / {x}: {r}");
                let root = value::<F>(reciprocal_root::<F>(v, &mut 0));
                assert!((root * x.sqrt() - 1.0).abs() < 1.0 / 128.0, "1 / sqrt({x}): {root}");
            }
        }
        all::<F16>();
        all::<Bf16>();
    }
}
