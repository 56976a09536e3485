//! Floating point. No operation is fused and none reordered, so that the bits are the same everywhere.

use super::{Kernel, mix_in, take};

#[cfg(target_arch = "riscv64")]
fn sqrt(x: f64) -> f64 {
    let root;
    // SAFETY: works on registers only.
    unsafe { core::arch::asm!("fsqrt.d {}, {}", out(freg) root, in(freg) x, options(pure, nomem, nostack)) };
    root
}

#[cfg(not(target_arch = "riscv64"))]
fn sqrt(x: f64) -> f64 {
    x.sqrt()
}

const STEPS: usize = 100;
const BODIES: usize = 5;

#[derive(Clone, Copy)]
struct Body {
    place: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

/// A heavy one in the middle, and four that go round it.
fn bodies() -> [Body; BODIES] {
    let light = |x: f64, y: f64, z: f64, vx: f64, vy: f64, vz: f64, mass: f64| Body {
        place: [x, y, z],
        speed: [vx, vy, vz],
        mass,
    };
    [
        light(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0),
        light(5.0, 0.0, -0.125, 0.0, 2.75, 0.0, 0.04),
        light(0.0, 9.0, 0.25, -2.0, 0.0, 0.0625, 0.0125),
        light(-13.0, 1.0, 0.5, -0.125, -1.75, 0.0, 0.002),
        light(2.0, -20.0, 0.0, 1.375, 0.25, 0.03125, 0.0025),
    ]
}

fn energy(bodies: &[Body; BODIES]) -> f64 {
    let mut sum = 0.0;
    for (i, a) in bodies.iter().enumerate() {
        let [x, y, z] = a.speed;
        sum += 0.5 * a.mass * (x * x + y * y + z * z);
        for b in &bodies[i + 1..] {
            let d: [f64; 3] = core::array::from_fn(|axis| a.place[axis] - b.place[axis]);
            sum -= a.mass * b.mass / sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
        }
    }
    sum
}

fn step(bodies: &mut [Body; BODIES], time: f64) {
    for i in 0..BODIES {
        for j in i + 1..BODIES {
            let d: [f64; 3] = core::array::from_fn(|axis| bodies[i].place[axis] - bodies[j].place[axis]);
            let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            let pull = time / (square * sqrt(square));
            let (mass_i, mass_j) = (bodies[i].mass, bodies[j].mass);
            for (axis, distance) in d.into_iter().enumerate() {
                bodies[i].speed[axis] -= distance * mass_j * pull;
                bodies[j].speed[axis] += distance * mass_i * pull;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.place[axis] += time * body.speed[axis];
        }
    }
}

/// The energy at the end of the steps.
fn n_body(_: &mut [u64]) -> u64 {
    let mut bodies = core::hint::black_box(bodies());
    for _ in 0..STEPS {
        step(&mut bodies, 1.0 / 128.0);
    }
    energy(&bodies).to_bits()
}

/// Order of the matrices.
const ORDER: usize = 48;
/// Additions and multiplications of a product.
const GEMM_FLOPS: u64 = 2 * (ORDER * ORDER * ORDER) as u64;

/// Check sum of the products: entries are small whole numbers, so that nothing is rounded.
const GEMM_SUM: u64 = 0x6530_4a59_d4bd_4b07;

fn entry_a(i: usize) -> i64 {
    (i % 17) as i64 - 8
}

fn entry_b(i: usize) -> i64 {
    (i % 23) as i64 - 11
}

macro_rules! gemm {
    ($name:ident, $type:ty) => {
        /// A product of two matrices, the inner loop along rows.
        fn $name(mut memory: &mut [u64]) -> u64 {
            let a = take::<$type>(&mut memory, ORDER * ORDER);
            let b = take::<$type>(&mut memory, ORDER * ORDER);
            let c = take::<$type>(&mut memory, ORDER * ORDER);
            for i in 0..ORDER * ORDER {
                a[i] = entry_a(i) as $type;
                b[i] = entry_b(i) as $type;
                c[i] = 0.0;
            }
            for i in 0..ORDER {
                for k in 0..ORDER {
                    let factor = a[i * ORDER + k];
                    let (from, to) = (&b[k * ORDER..][..ORDER], &mut c[i * ORDER..][..ORDER]);
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += factor * *from;
                    }
                }
            }
            c.iter().fold(0, |sum, value| mix_in(sum, *value as i64 as u64))
        }
    };
}

gemm!(gemm_f64, f64);
gemm!(gemm_f32, f32);

/// Points of the picture, and iterations at most.
const WIDTH: u32 = 48;
const HEIGHT: u32 = 32;
const ITERATIONS: u64 = 64;

/// The set of Mandelbrot: how many iterations all points took.
fn mandelbrot(_: &mut [u64]) -> u64 {
    let (width, height) = (core::hint::black_box(WIDTH), core::hint::black_box(HEIGHT));
    let mut sum = 0;
    for row in 0..height {
        for column in 0..width {
            // From -2.25 to 0.75, and from -1 to 1, in steps that are exact.
            let (cx, cy) = (f64::from(column) / 16.0 - 2.25, f64::from(row) / 16.0 - 1.0);
            let (mut x, mut y, mut count) = (0.0, 0.0, 0);
            while count < ITERATIONS && x * x + y * y <= 4.0 {
                (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
                count += 1;
            }
            sum += count;
        }
    }
    sum
}

/// Arguments of the polynomials.
const ARGUMENTS: u64 = 512;
/// Operations: for each two polynomials of degree 11 and 8 in Horner's form, the argument and two sums.
const POLYNOMIAL_FLOPS: u64 = ARGUMENTS * 31;

/// `sin x` by Taylor's polynomial, |x| at most 1 or so.
fn sine(x: f64) -> f64 {
    let z = x * x;
    x * (1.0
        + z * (-1.0 / 6.0
            + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z * (1.0 / 362_880.0 + z * (-1.0 / 39_916_800.0))))))
}

/// `e^x` the same way.
fn exponential(x: f64) -> f64 {
    1.0 + x
        * (1.0
            + x * (0.5
                + x * (1.0 / 6.0
                    + x * (1.0 / 24.0
                        + x * (1.0 / 120.0 + x * (1.0 / 720.0 + x * (1.0 / 5040.0 + x * (1.0 / 40_320.0))))))))
}

fn polynomials(_: &mut [u64]) -> u64 {
    let scale = core::hint::black_box(1.0 / ARGUMENTS as f64);
    let mut sum = 0.0;
    for i in 0..ARGUMENTS {
        let x = i as f64 * scale;
        sum += sine(x) + exponential(x);
    }
    sum.to_bits()
}

/// Numbers that are converted.
const CONVERSIONS: u64 = 4 * 1024;

/// Whole numbers to doubles to single ones and back.
fn conversions(_: &mut [u64]) -> u64 {
    let mut sum = 0;
    let start = core::hint::black_box(0x1234_5678_9abci64);
    for i in 0..CONVERSIONS as i64 / 4 {
        let double = (start - i * 0x1_2345_6789) as f64;
        let single = double as f32;
        sum = mix_in(sum, (single as i64 as u64) ^ f64::from(single).to_bits());
    }
    sum
}

/// Divisions and roots.
const DIVISIONS: u64 = 2 * 1024;

/// Newton's steps to the root of two, from many places, with the hardware's own root beside them.
fn divisions(_: &mut [u64]) -> u64 {
    let mut sum = 0.0;
    let two = core::hint::black_box(2.0);
    for i in 0..DIVISIONS / 2 {
        let x = 1.0 + i as f64 / 1024.0;
        sum += two / x + sqrt(x);
    }
    f64::to_bits(sum)
}

macro_rules! kernel {
    ($KERNEL:ident, $name:literal, $unit:literal, $per:expr, $what:literal, $bytes:expr, $run:ident, $want:expr) => {
        pub const $KERNEL: Kernel =
            Kernel { name: $name, unit: $unit, per: $per, what: $what, bytes: $bytes, run: $run, want: $want };
    };
}

kernel!(
    N_BODY,
    "n-body",
    "op",
    STEPS as u64,
    "one step of five bodies that pull each other",
    0,
    n_body,
    0xbfca_37ad_0ce2_92e3
);
kernel!(
    GEMM_F64,
    "gemm-f64",
    "flop",
    GEMM_FLOPS,
    "an addition or multiplication in a product of 48x48 matrices of f64",
    3 * 8 * ORDER * ORDER,
    gemm_f64,
    GEMM_SUM
);
kernel!(
    GEMM_F32,
    "gemm-f32",
    "flop",
    GEMM_FLOPS,
    "an addition or multiplication in a product of 48x48 matrices of f32",
    3 * 8 * ORDER * ORDER,
    gemm_f32,
    GEMM_SUM
);
kernel!(MANDELBROT, "mandelbrot", "op", 1, "48x32 points, up to 64 iterations each", 0, mandelbrot, 0x7f8a);
kernel!(
    POLYNOMIALS,
    "polynomials",
    "flop",
    POLYNOMIAL_FLOPS,
    "an addition or multiplication in sines and exponentials by Taylor's polynomials",
    0,
    polynomials,
    0x4091_6761_fcad_543c
);
kernel!(
    CONVERSIONS_KERNEL,
    "conversions",
    "op",
    CONVERSIONS,
    "one conversion: i64 to f64 to f32, and that to i64 and f64",
    0,
    conversions,
    0x7478_6746_dea0_0000
);
kernel!(
    DIVISIONS_KERNEL,
    "div-sqrt",
    "op",
    DIVISIONS,
    "one division or square root of f64",
    0,
    divisions,
    0x40a4_d821_1db0_f72c
);
