//! The soft float in bfloat16, which Berkeley SoftFloat lacks: the exact result is computed in double precision
//! rounded to odd (enough bits are left that the second rounding is the only one that counts), and rounded to
//! bfloat16 here, by integer arithmetic on the encoding.

mod softfloat_operands;

use accel::tcg::helpers::softfloat::{Fmt, FpKind, FpOp, NV, NX, OF, Rm, UF, exec};
use softfloat_operands::{Rng, Shape, check, random_int, rounds};
use softfloat_wrapper::{ExceptionFlags, F32, F64, Float, RoundingMode};

const ROUNDS: usize = 40_000;

fn double(bf16: u64) -> F64 {
    F32::from_bits((bf16 as u32) << 16).to_f64(RoundingMode::TiesToEven)
}

/// Runs `f`, which must round towards zero, and collects its flags.
fn flagged<T>(f: impl FnOnce(RoundingMode) -> T) -> (T, u32) {
    ExceptionFlags::from_bits(0).set();
    let v = f(RoundingMode::TowardZero);
    let mut flags = ExceptionFlags::default();
    flags.get();
    (v, flags.to_bits() as u32)
}

/// A double truncated to `drop` fewer bits, rounded by the mode.
fn drop_bits(v: u64, drop: u32, negative: bool, rm: Rm) -> u64 {
    let (kept, rest, half) = (v >> drop, v & ((1 << drop) - 1), 1 << (drop - 1));
    let away = match rm {
        Rm::Rne => rest > half || (rest == half && kept & 1 != 0),
        Rm::Rtz => false,
        Rm::Rdn => negative && rest != 0,
        Rm::Rup => !negative && rest != 0,
        Rm::Rmm => rest >= half,
    };
    (kept + away as u64) << drop
}

/// Rounds a double (with the flags of the operation that truncated it) to bfloat16.
fn narrow((v, raised): (F64, u32), rm: Rm) -> (u64, u32) {
    let bits = v.to_bits();
    if v.is_nan() {
        return (0x7fc0, raised);
    }
    let (negative, sign) = (bits >> 63 != 0, bits >> 48 & 0x8000);
    // Round to odd: what was cut off lives on in the last bit.
    let magnitude = bits & (u64::MAX >> 1) | (raised & NX != 0) as u64;
    let mut flags = raised & !NX;
    if magnitude == 0x7ff << 52 || magnitude == 0 {
        return (sign | if magnitude == 0 { 0 } else { 0x7f80 }, flags);
    }
    // Without bounds of the exponent first: that decides overflow and tininess.
    let unbounded = drop_bits(magnitude, 45, negative, rm);
    let smallest = (1023 - 126) << 52;
    if unbounded >= (1023 + 128) << 52 {
        let to_infinity = match rm {
            Rm::Rne | Rm::Rmm => true,
            Rm::Rtz => false,
            Rm::Rdn => negative,
            Rm::Rup => !negative,
        };
        return (sign | if to_infinity { 0x7f80 } else { 0x7f7f }, flags | OF | NX);
    }
    if magnitude >= smallest {
        flags |= if unbounded != magnitude { NX } else { 0 };
        return (sign | ((unbounded >> 45) - ((1023 - 127) << 7)), flags);
    }
    // In units of 2^-133, the spacing of subnormals, with 40 sticky bits below.
    let exp = (magnitude >> 52) as i32 - 1023;
    let sig = ((magnitude & ((1 << 52) - 1)) | 1 << 52) as u128;
    let up = exp - 52 + 133 + 40;
    let fixed = match up {
        0.. => sig << up,
        -127..0 => sig >> -up | (sig & ((1 << -up) - 1) != 0) as u128,
        _ => 1,
    } as u64;
    let rounded = drop_bits(fixed, 40, negative, rm);
    if rounded != fixed {
        flags |= NX | if unbounded < smallest { UF } else { 0 };
    }
    (sign | rounded >> 40, flags)
}

fn arithmetic_reference(kind: FpKind, regs: [u64; 3], rm: Rm) -> (u64, u32) {
    let shape = Shape::of(Fmt::Bf16);
    let operands = regs.map(|reg| shape.unbox(reg));
    let [a, b, c] = operands.map(double);
    let minus = |v: F64| F64::from_bits(v.to_bits() ^ 1 << 63);
    // What is multiplied (by one, for a sum) and what is added, if anything is.
    let one = double(0x3f80);
    let (x, y, z) = match kind {
        FpKind::Add => (a, one, Some(b)),
        FpKind::Sub => (a, one, Some(minus(b))),
        FpKind::Madd => (a, b, Some(c)),
        FpKind::Msub => (a, b, Some(minus(c))),
        FpKind::Nmsub => (minus(a), b, Some(c)),
        FpKind::Nmadd => (minus(a), b, Some(minus(c))),
        _ => (a, b, None),
    };
    let (exact, mut raised) = flagged(|m| match (kind, z) {
        (FpKind::Mul, _) => x.mul(y, m),
        (FpKind::Div, _) => x.div(y, m),
        (FpKind::Sqrt, _) => x.sqrt(m),
        (_, Some(z)) => x.fused_mul_add(y, z, m),
        _ => unreachable!("{kind:?} is no arithmetic"),
    });
    // Widening quieted signaling NaNs: look at the operands themselves.
    if operands[..kind.operands()].iter().any(|&v| v & 0x7fff > 0x7f80 && v & 0x40 == 0) {
        raised |= NV;
    }
    let (value, flags) = narrow((exact, raised), rm);
    // Truncation gives plus to an exact zero of terms of opposite sign; rounding down gives minus.
    let cancelled = |z: F64| exact.is_positive_zero() && !(x.sign() == y.sign() && z.is_positive());
    let minus_zero = rm == Rm::Rdn && raised & NX == 0 && z.is_some_and(cancelled);
    (shape.boxed(if minus_zero { 0x8000 } else { value }), flags)
}

fn conversion_reference(kind: FpKind, a: u64, rm: Rm) -> (u64, u32) {
    let exact = match kind {
        FpKind::FromW => flagged(|m| F64::from_i32(a as i32, m)),
        FpKind::FromWu => flagged(|m| F64::from_u32(a as u32, m)),
        FpKind::FromL => flagged(|m| F64::from_i64(a as i64, m)),
        FpKind::FromLu => flagged(|m| F64::from_u64(a, m)),
        FpKind::FromS => flagged(|m| F32::from_bits(Shape::of(Fmt::S).unbox(a) as u32).to_f64(m)),
        FpKind::FromD => {
            let v = F64::from_bits(a);
            (v, if v.is_signaling_nan() { NV } else { 0 })
        }
        _ => unreachable!("{kind:?} is no conversion"),
    };
    let (value, flags) = narrow(exact, rm);
    (Shape::of(Fmt::Bf16).boxed(value), flags)
}

#[test]
fn arithmetic() {
    let shape = Shape::of(Fmt::Bf16);
    for kind in [
        FpKind::Add,
        FpKind::Sub,
        FpKind::Mul,
        FpKind::Div,
        FpKind::Sqrt,
        FpKind::Madd,
        FpKind::Msub,
        FpKind::Nmsub,
        FpKind::Nmadd,
    ] {
        for rm in Rm::ALL {
            let mut rng = Rng::new(kind as u64 * 8 + rm as u64);
            for _ in 0..rounds(ROUNDS) {
                let regs = shape.operands(&mut rng, Fmt::Bf16).map(|v| shape.register(&mut rng, v));
                check(FpOp::new(kind, Fmt::Bf16), regs, rm, arithmetic_reference(kind, regs, rm));
            }
        }
    }
}

#[test]
fn from_integers_and_other_formats() {
    for kind in [FpKind::FromW, FpKind::FromWu, FpKind::FromL, FpKind::FromLu, FpKind::FromS, FpKind::FromD] {
        for rm in Rm::ALL {
            let mut rng = Rng::new(kind as u64 * 8 + rm as u64);
            for _ in 0..rounds(ROUNDS) {
                let a = match kind {
                    FpKind::FromS => {
                        let single = Shape::of(Fmt::S);
                        let v = single.random(&mut rng);
                        single.register(&mut rng, v)
                    }
                    FpKind::FromD => Shape::of(Fmt::D).random(&mut rng),
                    _ => random_int(&mut rng),
                };
                check(FpOp::new(kind, Fmt::Bf16), [a, 0, 0], rm, conversion_reference(kind, a, rm));
            }
        }
    }
}

/// Widening is exact: every operand. To single precision it is a shift.
#[test]
fn every_operand_to_single() {
    for v in 0..=0xffffu64 {
        let nan = v & 0x7fff > 0x7f80;
        let flags = if nan && v & 0x40 == 0 { NV } else { 0 };
        let single = if nan { 0x7fc0_0000 } else { v << 16 };
        let want = (single | 0xffff_ffff_0000_0000, flags);
        check(FpOp::new(FpKind::FromBf16, Fmt::S), [v | !0xffff, 0, 0], Rm::Rne, want);
    }
}

/// What widening does not change is what single precision gives.
#[test]
fn every_operand_as_in_single() {
    for rm in Rm::ALL {
        for v in 0..=0xffffu64 {
            let regs = [v | !0xffff, 0, 0];
            let wide = [v << 16 | !0xffff_ffff, 0, 0];
            for kind in [FpKind::ToW, FpKind::ToWu, FpKind::ToL, FpKind::ToLu, FpKind::ToWMod, FpKind::Class] {
                check(FpOp::new(kind, Fmt::Bf16), regs, rm, run(kind, wide, rm));
            }
            for kind in [FpKind::Round, FpKind::RoundNx] {
                let (single, flags) = run(kind, wide, rm);
                check(FpOp::new(kind, Fmt::Bf16), regs, rm, (single as u32 as u64 >> 16 | !0xffff, flags));
            }
        }
    }
}

fn run(kind: FpKind, regs: [u64; 3], rm: Rm) -> (u64, u32) {
    let mut flags = 0;
    let v = exec(FpOp::new(kind, Fmt::S), regs[0], regs[1], regs[2], rm, &mut flags);
    (v, flags)
}
