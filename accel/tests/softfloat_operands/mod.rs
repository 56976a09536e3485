//! Operands for the soft float tests: corners of the formats and near misses of them, far more often than
//! uniform bits would give.

// Each test program uses its own part of this.
#![allow(dead_code)]

use accel::tcg::helpers::softfloat::{Fmt, FpKind, FpOp, Rm, exec};
pub use accel::testing::Rng;
use accel::testing::number;

/// Operand sets tried for each operation and rounding mode; `VIREO_FP_ROUNDS` overrides the default.
pub fn rounds(default: usize) -> usize {
    number("VIREO_FP_ROUNDS", default as u64) as usize
}

/// In `-n..=n`.
pub fn around(rng: &mut Rng, n: i64) -> i64 {
    rng.below(2 * n as u64 + 1) as i64 - n
}

/// The numbers of a format's row, written down again.
#[derive(Clone, Copy)]
pub struct Shape {
    pub width: u32,
    pub frac: u32,
}

impl Shape {
    pub fn of(fmt: Fmt) -> Shape {
        let (width, frac) = match fmt {
            Fmt::S => (32, 23),
            Fmt::D => (64, 52),
            Fmt::H => (16, 10),
            Fmt::Bf16 => (16, 7),
        };
        Shape { width, frac }
    }

    pub fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    pub fn max_exp(self) -> i64 {
        (1 << (self.width - 1 - self.frac)) - 1
    }

    pub fn bias(self) -> i64 {
        self.max_exp() / 2
    }

    pub fn nan(self) -> u64 {
        ((self.max_exp() as u64) << 1 | 1) << (self.frac - 1)
    }

    pub fn exp(self, v: u64) -> i64 {
        (v >> self.frac) as i64 & self.max_exp()
    }

    /// The encoding; the exponent is clamped to its field.
    pub fn make(self, negative: u64, exp: i64, frac: u64) -> u64 {
        let exp = exp.clamp(0, self.max_exp()) as u64;
        (negative & 1) << (self.width - 1) | exp << self.frac | frac & ((1 << self.frac) - 1)
    }

    /// A register that holds `v`.
    pub fn boxed(self, v: u64) -> u64 {
        v | !self.mask()
    }

    /// The value an operation reads from a register.
    pub fn unbox(self, reg: u64) -> u64 {
        if reg & !self.mask() == !self.mask() { reg & self.mask() } else { self.nan() }
    }

    fn random_frac(self, rng: &mut Rng) -> u64 {
        let all = (1u64 << self.frac) - 1;
        let at = rng.below(self.frac as u64) as u32;
        let bits = rng.next() & all;
        match rng.below(12) {
            0 => 0,
            1 => all,
            2 => 1 << at,
            3 => all ^ 1 << at,
            4 => all >> at,
            5 => all << at & all,
            // A tie at any place, and its neighbours.
            6 => (bits >> at | 1) << at,
            7 => ((bits >> at | 1) << at).wrapping_sub(1) & all,
            8 => ((bits >> at | 1) << at).wrapping_add(1) & all,
            9 => rng.below(4),
            _ => bits,
        }
    }

    fn random_exp(self, rng: &mut Rng) -> i64 {
        let (bias, frac) = (self.bias(), self.frac as i64);
        match rng.below(12) {
            0 => 0,
            1 => rng.below(3) as i64,
            2 => self.max_exp(),
            3 => self.max_exp() - 1 - rng.below(3) as i64,
            4 => bias + around(rng, 3),
            5 => bias + frac + around(rng, 3),
            6 => bias + [31, 32, 63, 64, 84][rng.below(5) as usize] + around(rng, 2),
            7 => bias + around(rng, 2 * frac),
            8 => rng.below(frac as u64 + 4) as i64,
            _ => rng.below(self.max_exp() as u64 + 1) as i64,
        }
    }

    pub fn random(self, rng: &mut Rng) -> u64 {
        let exp = self.random_exp(rng);
        let negative = rng.next();
        self.make(negative, exp, self.random_frac(rng))
    }

    /// A value whose exponent is near `exp`, or any.
    fn near(self, rng: &mut Rng, exp: i64) -> u64 {
        let spread = [1, 3, self.frac as i64 + 4, 2 * self.frac as i64 + 6][rng.below(4) as usize];
        let negative = rng.next();
        let exp = exp + around(rng, spread);
        self.make(negative, exp, self.random_frac(rng))
    }

    /// `v` moved by a few units of the last place, perhaps with the other sign.
    fn neighbour(self, rng: &mut Rng, v: u64) -> u64 {
        (v.wrapping_add(around(rng, 2) as u64) ^ (rng.next() & 1) << (self.width - 1)) & self.mask()
    }

    /// Unboxed operands: `b` and `c` are often chosen so that the operation cancels, ties, or lands near
    /// overflow or underflow.
    pub fn operands(self, rng: &mut Rng, fmt: Fmt) -> [u64; 3] {
        let a = self.random(rng);
        let ea = self.exp(a);
        let b = match rng.below(8) {
            0 => self.neighbour(rng, a),
            // For sums.
            1 | 2 => self.near(rng, ea),
            // Products near the lower and the upper end of the range, quotients likewise.
            3 => self.near(rng, self.bias() - ea),
            4 => self.near(rng, self.max_exp() + self.bias() - ea),
            5 => self.near(rng, ea + self.bias()),
            6 => self.near(rng, ea - self.bias()),
            _ => self.random(rng),
        };
        let c = match rng.below(4) {
            // Near the product, so that a fused multiply-add cancels.
            0 | 1 => {
                let mul = FpOp::new(FpKind::Mul, fmt);
                let product = exec(mul, self.boxed(a), self.boxed(b), 0, Rm::Rtz, &mut 0) & self.mask();
                if rng.below(2) == 0 { self.neighbour(rng, product) } else { self.near(rng, self.exp(product)) }
            }
            2 => self.near(rng, ea),
            _ => self.random(rng),
        };
        [a, b, c]
    }

    /// The register for a value; one narrow value in 64 is badly boxed.
    pub fn register(self, rng: &mut Rng, v: u64) -> u64 {
        let reg = self.boxed(v);
        if rng.below(64) == 0 && self.width < 64 {
            reg ^ 1 << (self.width as u64 + rng.below(64 - self.width as u64))
        } else {
            reg
        }
    }
}

/// An x register for a conversion: around powers of two, with ties at any place.
pub fn random_int(rng: &mut Rng) -> u64 {
    let at = rng.below(64) as u32;
    let bits = rng.next();
    let v = match rng.below(8) {
        0 => around(rng, 4) as u64,
        1 => (1u64 << at).wrapping_add(around(rng, 2) as u64),
        2 => (u64::MAX >> at).wrapping_add(around(rng, 2) as u64),
        3 => u64::MAX << at,
        4 => ((bits >> at | 1) << at).wrapping_add(around(rng, 1) as u64),
        5 => bits >> at | 1 << (63 - at),
        6 => (bits >> at | 1) << rng.below(at as u64 + 1),
        _ => bits,
    };
    if rng.below(2) == 0 { v } else { v.wrapping_neg() }
}

/// Runs one operation and compares result and flags with the reference; says how to repeat a mismatch.
pub fn check(op: FpOp, regs: [u64; 3], rm: Rm, want: (u64, u32)) {
    let mut flags = 0;
    let got = exec(op, regs[0], regs[1], regs[2], rm, &mut flags);
    if (got, flags) != want {
        let [a, b, c] = regs;
        panic!(
            "{op}: exec(FpOp::new(FpKind::{:?}, Fmt::{:?}), {a:#x}, {b:#x}, {c:#x}, Rm::{rm:?}, &mut flags)\n \
             gave {got:#018x} with flags {flags:#04x},\n want {:#018x} with flags {:#04x}",
            op.kind, op.fmt, want.0, want.1
        );
    }
}
