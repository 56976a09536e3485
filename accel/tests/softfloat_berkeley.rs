//! The soft float against Berkeley SoftFloat: values and flags of every operation in single, double and half
//! precision, in every rounding mode. What SoftFloat lacks is composed here from what it has, by the words of
//! the specification.

mod softfloat_operands;

use accel::tcg::helpers::softfloat::{Fmt, FpKind, FpOp, NV, NX, Rm, exec};
use softfloat_operands::{Rng, Shape, around, check, random_int, rounds};
use softfloat_wrapper::{ExceptionFlags, F16, F32, F64, Float, RoundingMode};

const FORMATS: [Fmt; 3] = [Fmt::S, Fmt::D, Fmt::H];
const ROUNDS: usize = 40_000;

/// SoftFloat's types behind plain 64-bit values.
trait Reference: Float + Copy {
    const SHAPE: Shape;
    fn of(v: u64) -> Self;
    fn bits64(self) -> u64;
}

macro_rules! reference {
    ($($name:ident: $width:literal, $frac:literal, $int:ty;)*) => {$(
        impl Reference for $name {
            const SHAPE: Shape = Shape { width: $width, frac: $frac };
            fn of(v: u64) -> Self {
                Self::from_bits(v as $int)
            }
            fn bits64(self) -> u64 {
                self.to_bits() as u64
            }
        }
    )*};
}

reference! {
    F16: 16, 10, u16;
    F32: 32, 23, u32;
    F64: 64, 52, u64;
}

fn mode(rm: Rm) -> RoundingMode {
    match rm {
        Rm::Rne => RoundingMode::TiesToEven,
        Rm::Rtz => RoundingMode::TowardZero,
        Rm::Rdn => RoundingMode::TowardNegative,
        Rm::Rup => RoundingMode::TowardPositive,
        Rm::Rmm => RoundingMode::TiesToAway,
    }
}

/// Runs `f` and collects the flags it raises in SoftFloat (its state is per thread).
fn flagged<T>(f: impl FnOnce() -> T) -> (T, u32) {
    ExceptionFlags::from_bits(0).set();
    let v = f();
    let mut flags = ExceptionFlags::default();
    flags.get();
    (v, flags.to_bits() as u32)
}

fn negated<T: Reference>(v: T) -> T {
    T::of(v.bits64() ^ 1 << (T::SHAPE.width - 1))
}

/// FMIN and FMAX (`number`), FMINM and FMAXM, as the manual defines them.
fn min_max<T: Reference>(a: T, b: T, largest: bool, number: bool) -> (u64, u32) {
    let flags = if a.is_signaling_nan() || b.is_signaling_nan() { NV } else { 0 };
    let value = match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let zeros = a.is_zero() && b.is_zero();
            let a_is_less = if zeros { a.is_negative() } else { a.lt_quiet(b) };
            if a_is_less != largest { a.bits64() } else { b.bits64() }
        }
        (true, false) if number => b.bits64(),
        (false, true) if number => a.bits64(),
        _ => T::SHAPE.nan(),
    };
    (value, flags)
}

fn classify<T: Reference>(v: T) -> u64 {
    let classes = [
        v.is_negative_infinity(),
        v.is_negative_normal(),
        v.is_negative_subnormal(),
        v.is_negative_zero(),
        v.is_positive_zero(),
        v.is_positive_subnormal(),
        v.is_positive_normal(),
        v.is_positive_infinity(),
        v.is_signaling_nan(),
        v.is_nan() && !v.is_signaling_nan(),
    ];
    assert_eq!(classes.iter().filter(|&&class| class).count(), 1);
    classes.iter().rposition(|&class| class).map(|bit| 1 << bit).unwrap()
}

fn to_f64<T: Reference>(v: T) -> F64 {
    v.to_f64(RoundingMode::TiesToEven)
}

/// The truncated value modulo 2^32, by an exact remainder in double precision.
fn to_int_modular<T: Reference>(v: T) -> (u64, u32) {
    let (_, flags) = flagged(|| v.to_i32(RoundingMode::TowardZero, true));
    if v.is_nan() || v.is_positive_infinity() || v.is_negative_infinity() {
        return (0, flags);
    }
    let whole = to_f64(v).round_to_integral(RoundingMode::TowardZero);
    let rest = whole.rem(F64::from_bits(0x41f0_0000_0000_0000), RoundingMode::TiesToEven);
    (rest.to_i64(RoundingMode::TowardZero, false) as i32 as u64, flags)
}

/// The reference's answer as register contents and flags.
fn reference<T: Reference>(kind: FpKind, regs: [u64; 3], rm: Rm) -> (u64, u32) {
    let [a, b, c] = regs.map(|reg| T::of(T::SHAPE.unbox(reg)));
    let x = regs[0];
    let m = mode(rm);
    let boxed = |(v, flags): (T, u32)| (T::SHAPE.boxed(v.bits64()), flags);
    let boxed_bits = |(v, flags): (u64, u32)| (T::SHAPE.boxed(v), flags);
    let truth = |(v, flags): (bool, u32)| (v as u64, flags);
    match kind {
        FpKind::Add => boxed(flagged(|| a.add(b, m))),
        FpKind::Sub => boxed(flagged(|| a.sub(b, m))),
        FpKind::Mul => boxed(flagged(|| a.mul(b, m))),
        FpKind::Div => boxed(flagged(|| a.div(b, m))),
        FpKind::Sqrt => boxed(flagged(|| a.sqrt(m))),
        FpKind::Madd => boxed(flagged(|| a.fused_mul_add(b, c, m))),
        FpKind::Msub => boxed(flagged(|| a.fused_mul_add(b, negated(c), m))),
        FpKind::Nmsub => boxed(flagged(|| negated(a).fused_mul_add(b, c, m))),
        FpKind::Nmadd => boxed(flagged(|| negated(a).fused_mul_add(b, negated(c), m))),
        FpKind::Min => boxed_bits(min_max(a, b, false, true)),
        FpKind::Max => boxed_bits(min_max(a, b, true, true)),
        FpKind::Minm => boxed_bits(min_max(a, b, false, false)),
        FpKind::Maxm => boxed_bits(min_max(a, b, true, false)),
        FpKind::Sgnj | FpKind::Sgnjn | FpKind::Sgnjx => {
            let mut v = a;
            match kind {
                FpKind::Sgnj => v.set_sign(b.sign()),
                FpKind::Sgnjn => v.set_sign(negated(b).sign()),
                _ => v.set_sign(if b.is_negative() { negated(a).sign() } else { a.sign() }),
            }
            boxed((v, 0))
        }
        FpKind::Eq => truth(flagged(|| a.eq(b))),
        FpKind::Lt => truth(flagged(|| a.lt(b))),
        FpKind::Le => truth(flagged(|| a.le(b))),
        FpKind::Ltq => truth(flagged(|| a.lt_quiet(b))),
        FpKind::Leq => truth(flagged(|| a.le_quiet(b))),
        FpKind::Class => (classify(a), 0),
        FpKind::ToW => flagged(|| a.to_i32(m, true) as u64),
        FpKind::ToWu => flagged(|| a.to_u32(m, true) as i32 as u64),
        FpKind::ToL => flagged(|| a.to_i64(m, true) as u64),
        FpKind::ToLu => flagged(|| a.to_u64(m, true)),
        FpKind::ToWMod => to_int_modular(a),
        FpKind::FromW => boxed(flagged(|| T::from_i32(x as i32, m))),
        FpKind::FromWu => boxed(flagged(|| T::from_u32(x as u32, m))),
        FpKind::FromL => boxed(flagged(|| T::from_i64(x as i64, m))),
        FpKind::FromLu => boxed(flagged(|| T::from_u64(x, m))),
        FpKind::FromS => boxed(convert(F32::of(F32::SHAPE.unbox(x)), m)),
        FpKind::FromD => boxed(convert(F64::of(x), m)),
        FpKind::FromH => boxed(convert(F16::of(F16::SHAPE.unbox(x)), m)),
        FpKind::Round => boxed(flagged(|| a.round_to_integral(m))),
        FpKind::RoundNx => {
            let (v, flags) = flagged(|| a.round_to_integral(m));
            let changed = !a.is_nan() && v.bits64() != a.bits64();
            boxed((v, flags | if changed { NX } else { 0 }))
        }
        FpKind::FromBf16 | FpKind::Li | FpKind::MvToF | FpKind::MvToX => unreachable!("{kind:?} has no reference"),
    }
}

fn convert<From: Reference, To: Reference>(v: From, m: RoundingMode) -> (To, u32) {
    let (bits, flags) = flagged(|| match To::SHAPE.width {
        16 => v.to_f16(m).bits64(),
        32 => v.to_f32(m).bits64(),
        _ => v.to_f64(m).bits64(),
    });
    (To::of(bits), flags)
}

fn reference_of(op: FpOp, regs: [u64; 3], rm: Rm) -> (u64, u32) {
    match op.fmt {
        Fmt::S => reference::<F32>(op.kind, regs, rm),
        Fmt::D => reference::<F64>(op.kind, regs, rm),
        Fmt::H => reference::<F16>(op.kind, regs, rm),
        Fmt::Bf16 => unreachable!("no reference"),
    }
}

/// What `a` of an operation is.
enum Source {
    Int,
    Float(Fmt),
}

fn source(op: FpOp) -> Source {
    match op.kind {
        FpKind::FromW | FpKind::FromWu | FpKind::FromL | FpKind::FromLu => Source::Int,
        FpKind::FromS => Source::Float(Fmt::S),
        FpKind::FromD => Source::Float(Fmt::D),
        FpKind::FromH => Source::Float(Fmt::H),
        _ => Source::Float(op.fmt),
    }
}

fn random_registers(rng: &mut Rng, op: FpOp) -> [u64; 3] {
    match source(op) {
        Source::Int => [random_int(rng), 0, 0],
        Source::Float(fmt) => {
            let shape = Shape::of(fmt);
            shape.operands(rng, fmt).map(|v| shape.register(rng, v))
        }
    }
}

fn compare(kinds: &[FpKind], formats: &[Fmt]) {
    for &fmt in formats {
        for &kind in kinds {
            let op = FpOp::new(kind, fmt);
            for rm in Rm::ALL {
                let mut rng = Rng::new(u64::from(op.bits()) << 8 | rm as u64);
                for _ in 0..rounds(ROUNDS) {
                    let regs = random_registers(&mut rng, op);
                    check(op, regs, rm, reference_of(op, regs, rm));
                }
            }
        }
    }
}

#[test]
fn sums_and_differences() {
    compare(&[FpKind::Add, FpKind::Sub], &FORMATS);
}

#[test]
fn products() {
    compare(&[FpKind::Mul], &FORMATS);
}

#[test]
fn quotients() {
    compare(&[FpKind::Div], &FORMATS);
}

#[test]
fn roots() {
    compare(&[FpKind::Sqrt], &FORMATS);
}

#[test]
fn fused_multiply_adds_single_and_half() {
    compare(&[FpKind::Madd, FpKind::Msub, FpKind::Nmsub, FpKind::Nmadd], &[Fmt::S, Fmt::H]);
}

#[test]
fn fused_multiply_adds_double() {
    compare(&[FpKind::Madd, FpKind::Msub, FpKind::Nmsub, FpKind::Nmadd], &[Fmt::D]);
}

#[test]
fn minimum_and_maximum() {
    compare(&[FpKind::Min, FpKind::Max, FpKind::Minm, FpKind::Maxm], &FORMATS);
}

#[test]
fn comparisons() {
    compare(&[FpKind::Eq, FpKind::Lt, FpKind::Le, FpKind::Ltq, FpKind::Leq], &FORMATS);
}

#[test]
fn signs_and_classes() {
    compare(&[FpKind::Sgnj, FpKind::Sgnjn, FpKind::Sgnjx, FpKind::Class], &FORMATS);
}

#[test]
fn to_integers() {
    compare(&[FpKind::ToW, FpKind::ToWu, FpKind::ToL, FpKind::ToLu, FpKind::ToWMod], &FORMATS);
}

#[test]
fn from_integers() {
    compare(&[FpKind::FromW, FpKind::FromWu, FpKind::FromL, FpKind::FromLu], &FORMATS);
}

#[test]
fn between_formats() {
    compare(&[FpKind::FromD, FpKind::FromH], &[Fmt::S]);
    compare(&[FpKind::FromS, FpKind::FromH], &[Fmt::D]);
    compare(&[FpKind::FromS, FpKind::FromD], &[Fmt::H]);
}

#[test]
fn to_integral_values() {
    compare(&[FpKind::Round, FpKind::RoundNx], &FORMATS);
}

/// Half precision is small enough to try every operand of what has only one.
#[test]
fn every_half_precision_operand() {
    let shape = Shape::of(Fmt::H);
    let unary = [FpKind::Sqrt, FpKind::Class, FpKind::ToWu, FpKind::ToL, FpKind::Round, FpKind::RoundNx];
    for rm in Rm::ALL {
        for v in 0..=0xffff {
            let regs = [shape.boxed(v), 0, 0];
            for kind in unary {
                let op = FpOp::new(kind, Fmt::H);
                check(op, regs, rm, reference_of(op, regs, rm));
            }
        }
    }
    for fmt in [Fmt::S, Fmt::D] {
        let op = FpOp::new(FpKind::FromH, fmt);
        for v in 0..=0xffff {
            let regs = [shape.boxed(v), 0, 0];
            check(op, regs, Rm::Rne, reference_of(op, regs, Rm::Rne));
        }
    }
}

/// Flags accumulate: an operation never clears one.
#[test]
fn flags_are_sticky() {
    let shape = Shape::of(Fmt::D);
    let mut rng = Rng::new(1);
    for kind in FpKind::ALL {
        for _ in 0..100 {
            let regs = shape.operands(&mut rng, Fmt::D);
            let mut flags = 0x1f;
            exec(FpOp::new(kind, Fmt::D), regs[0], regs[1], regs[2], Rm::Rne, &mut flags);
            assert_eq!(flags, 0x1f, "{kind:?}");
        }
    }
}

/// Nanoseconds an operation, here and in SoftFloat, on ordinary numbers:
/// `cargo test --release -p accel --test softfloat_berkeley -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    use std::hint::black_box;
    use std::time::Instant;

    const COUNT: usize = 4096;
    const REPEATS: usize = 200;
    println!("{:<14} {:>8} {:>10}", "", "here ns", "Berkeley");
    for fmt in [Fmt::S, Fmt::D] {
        let shape = Shape::of(fmt);
        let mut rng = Rng::new(7);
        let mut number = || {
            let exp = shape.bias() + around(&mut rng, 20);
            shape.make(0, exp, rng.next())
        };
        let operands: Vec<[u64; 3]> = (0..COUNT).map(|_| [number(), number(), number()]).collect();
        let registers: Vec<[u64; 3]> = operands.iter().map(|v| v.map(|v| shape.boxed(v))).collect();
        for kind in [FpKind::Add, FpKind::Mul, FpKind::Div, FpKind::Sqrt, FpKind::Madd, FpKind::ToL] {
            let op = black_box(FpOp::new(kind, fmt));
            let time = |run: &dyn Fn(usize) -> u64| {
                let best = (0..REPEATS).map(|_| {
                    let start = Instant::now();
                    black_box((0..COUNT).fold(0, |sum, i| sum ^ run(i)));
                    start.elapsed()
                });
                best.min().unwrap_or_default().as_nanos() as f64 / COUNT as f64
            };
            let here = time(&|i| {
                let [a, b, c] = registers[i];
                exec(op, a, b, c, Rm::Rne, &mut 0)
            });
            let there = match fmt {
                Fmt::S => time(&|i| bare::<F32>(kind, operands[i])),
                _ => time(&|i| bare::<F64>(kind, operands[i])),
            };
            println!("{:<14} {here:>8.1} {there:>10.1}", op.to_string());
        }
    }
}

/// An operation of SoftFloat with nothing around it.
fn bare<T: Reference>(kind: FpKind, operands: [u64; 3]) -> u64 {
    let [a, b, c] = operands.map(T::of);
    let m = RoundingMode::TiesToEven;
    match kind {
        FpKind::Add => a.add(b, m).bits64(),
        FpKind::Mul => a.mul(b, m).bits64(),
        FpKind::Div => a.div(b, m).bits64(),
        FpKind::Sqrt => a.sqrt(m).bits64(),
        FpKind::Madd => a.fused_mul_add(b, c, m).bits64(),
        _ => a.to_i64(m, true) as u64,
    }
}
