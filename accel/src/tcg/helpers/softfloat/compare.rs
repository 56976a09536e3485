//! Comparisons, minimum and maximum, classification and sign injection: nothing here rounds.

use super::NV;
use super::format::{Format, is_nan, is_signaling, magnitude, sign};

/// Raises NV if either operand is a signaling NaN; says whether either is a NaN.
#[inline(always)]
fn any_nan<F: Format>(a: u64, b: u64, flags: &mut u32) -> bool {
    let nan = is_nan::<F>(a) || is_nan::<F>(b);
    if nan && (is_signaling::<F>(a) || is_signaling::<F>(b)) {
        *flags |= NV;
    }
    nan
}

/// An integer that orders numbers as they compare, except that -0 is just below +0.
#[inline(always)]
fn order<F: Format>(v: u64) -> i64 {
    let m = magnitude::<F>(v) as i64;
    if sign::<F>(v) { !m } else { m }
}

#[inline(always)]
fn both_zero<F: Format>(a: u64, b: u64) -> bool {
    magnitude::<F>(a | b) == 0
}

/// Quiet equality.
pub fn eq<F: Format>(a: u64, b: u64, flags: &mut u32) -> bool {
    !any_nan::<F>(a, b, flags) && (a == b || both_zero::<F>(a, b))
}

/// `a < b` by the quiet comparison.
pub fn lt_quiet<F: Format>(a: u64, b: u64, flags: &mut u32) -> bool {
    !any_nan::<F>(a, b, flags) && order::<F>(a) < order::<F>(b) && !both_zero::<F>(a, b)
}

/// `a <= b` by the quiet comparison.
pub fn le_quiet<F: Format>(a: u64, b: u64, flags: &mut u32) -> bool {
    !any_nan::<F>(a, b, flags) && (order::<F>(a) <= order::<F>(b) || both_zero::<F>(a, b))
}

/// A signaling comparison from a quiet one: any NaN is invalid.
#[inline(always)]
pub fn signaling<F: Format>(a: u64, b: u64, flags: &mut u32, quiet: fn(u64, u64, &mut u32) -> bool) -> bool {
    if is_nan::<F>(a) || is_nan::<F>(b) {
        *flags |= NV;
        return false;
    }
    quiet(a, b, flags)
}

/// What a minimum or maximum gives when an operand is a NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanRule {
    /// The other operand: FMIN and FMAX (IEEE 754-2019 minimumNumber, maximumNumber).
    Number,
    /// The canonical NaN: FMINM and FMAXM (IEEE 754-2019 minimum, maximum).
    Propagate,
}

/// The smaller (`largest` false) or larger of two values; -0 is less than +0.
pub fn min_max<F: Format>(a: u64, b: u64, largest: bool, rule: NanRule, flags: &mut u32) -> u64 {
    if any_nan::<F>(a, b, flags) {
        return match rule {
            NanRule::Number if !is_nan::<F>(a) => a,
            NanRule::Number if !is_nan::<F>(b) => b,
            _ => F::NAN,
        };
    }
    if (order::<F>(a) < order::<F>(b)) != largest { a } else { b }
}

/// The ten-bit mask of FCLASS.
pub fn classify<F: Format>(v: u64) -> u64 {
    let m = magnitude::<F>(v);
    if m > F::INF {
        return if is_signaling::<F>(v) { 1 << 8 } else { 1 << 9 };
    }
    let distance = match m {
        0 => 0,
        m if m < F::HIDDEN => 1,
        m if m < F::INF => 2,
        _ => 3,
    };
    if sign::<F>(v) { 1 << (3 - distance) } else { 1 << (4 + distance) }
}

/// `a` with the sign of `s`. NaNs are not made canonical.
#[inline(always)]
pub fn inject_sign<F: Format>(a: u64, s: u64) -> u64 {
    magnitude::<F>(a) | s & F::SIGN
}

#[cfg(test)]
mod tests {
    use super::super::format::{F16, F32, F64};
    use super::*;

    const NEG_ZERO: u64 = F32::SIGN;
    const SNAN: u64 = F32::INF | 1;
    const QNAN: u64 = F32::NAN | F32::SIGN | 5;

    #[test]
    fn minimum_and_maximum_follow_the_specification() {
        use NanRule::{Number, Propagate};
        // a, b, fmin, fmax, fminm, fmaxm, flags
        let one = F32::ONE;
        let table = [
            (0, NEG_ZERO, NEG_ZERO, 0, NEG_ZERO, 0, 0),
            (NEG_ZERO, 0, NEG_ZERO, 0, NEG_ZERO, 0, 0),
            (one, one | NEG_ZERO, one | NEG_ZERO, one, one | NEG_ZERO, one, 0),
            (F32::INF, one, one, F32::INF, one, F32::INF, 0),
            (QNAN, one, one, one, F32::NAN, F32::NAN, 0),
            (one, QNAN, one, one, F32::NAN, F32::NAN, 0),
            (SNAN, one, one, one, F32::NAN, F32::NAN, NV),
            (one, SNAN, one, one, F32::NAN, F32::NAN, NV),
            (QNAN, QNAN, F32::NAN, F32::NAN, F32::NAN, F32::NAN, 0),
            (SNAN, QNAN, F32::NAN, F32::NAN, F32::NAN, F32::NAN, NV),
        ];
        for (a, b, min, max, minm, maxm, want_flags) in table {
            for (largest, rule, want) in
                [(false, Number, min), (true, Number, max), (false, Propagate, minm), (true, Propagate, maxm)]
            {
                let mut flags = 0;
                assert_eq!(min_max::<F32>(a, b, largest, rule, &mut flags), want, "{a:#x} {b:#x} {largest} {rule:?}");
                assert_eq!(flags, want_flags, "{a:#x} {b:#x}");
            }
        }
    }

    #[test]
    fn every_class_has_its_bit() {
        let classes = [
            F64::INF | F64::SIGN,
            F64::ONE | F64::SIGN,
            F64::SIGN | 1,
            F64::SIGN,
            0,
            F64::FRAC_MASK,
            F64::HIDDEN,
            F64::INF,
            F64::INF | 1,
            F64::NAN | F64::SIGN,
        ];
        for (bit, v) in classes.into_iter().enumerate() {
            assert_eq!(classify::<F64>(v), 1 << bit, "{v:#x}");
        }
        assert_eq!(classify::<F16>(0x8001), 1 << 2);
    }

    #[test]
    fn only_signaling_comparisons_mind_a_quiet_nan() {
        for (a, quiet_flags) in [(QNAN, 0), (SNAN, NV)] {
            let mut flags = 0;
            assert!(!eq::<F32>(a, a, &mut flags));
            assert!(!lt_quiet::<F32>(0, a, &mut flags));
            assert!(!le_quiet::<F32>(a, a, &mut flags));
            assert_eq!(flags, quiet_flags);
            assert!(!signaling::<F32>(0, a, &mut flags, le_quiet::<F32>));
            assert_eq!(flags, NV);
        }
        let mut flags = 0;
        assert!(eq::<F32>(0, NEG_ZERO, &mut flags));
        assert!(!lt_quiet::<F32>(NEG_ZERO, 0, &mut flags));
        assert!(le_quiet::<F32>(0, NEG_ZERO, &mut flags));
        assert_eq!(flags, 0);
    }

    #[test]
    fn sign_injection_keeps_a_nan_as_it_is() {
        assert_eq!(inject_sign::<F32>(SNAN, NEG_ZERO), SNAN | NEG_ZERO);
        assert_eq!(inject_sign::<F32>(QNAN, 0), QNAN & !NEG_ZERO);
    }
}
