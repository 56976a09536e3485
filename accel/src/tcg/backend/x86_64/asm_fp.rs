//! Scalar floating-point instructions of three operands: VEX where the host has AVX, else SSE with a copy before.
//!
//! Prefixes are those of SSE: 0 and 0x66 for packed singles and doubles, 0xf3 and 0xf2 for scalars. XMM1 is lost where
//! SSE needs room. Memory operands of packed instructions are aligned.

use super::asm::{Reg, Rm, Xmm};
use super::*;

const X1: Xmm = Xmm(1);

/// The prefix of scalar instructions.
pub(super) const fn scalar(double: bool) -> u8 {
    if double { 0xf2 } else { 0xf3 }
}

/// What VEX calls a prefix.
fn pp(prefix: u8) -> u8 {
    match prefix {
        0x66 => 1,
        0xf3 => 2,
        0xf2 => 3,
        _ => 0,
    }
}

impl Backend {
    /// `d = a op b`; the upper part of `d` is that of `a`.
    pub(super) fn fop(&mut self, prefix: u8, opcode: u8, d: Xmm, a: Xmm, b: impl Into<Rm>) {
        let b = b.into();
        if self.features.avx {
            return self.asm.vex_0f(pp(prefix), false, opcode, d.0, a.0, b);
        }
        let b = if b == Rm::X(d) && d != a {
            self.fmov(X1, d);
            X1.into()
        } else {
            b
        };
        self.fmov(d, a);
        self.asm.sse(prefix, opcode, false, d.0, b);
    }

    /// `d = op a` of a scalar; the rest of `d` is anything.
    pub(super) fn fop_upper(&mut self, opcode: u8, double: bool, d: Xmm, a: Rm) {
        match a {
            Rm::X(x) if self.features.avx => self.fop(scalar(double), opcode, d, x, a),
            _ => {
                // Clear it, not to wait for it.
                if a != Rm::X(d) {
                    self.fop(0, 0x57, d, d, d);
                }
                self.fop(scalar(double), opcode, d, d, a);
            }
        }
    }

    /// ROUNDSD or ROUNDSS; the rest of `d` is anything.
    pub(super) fn fround(&mut self, double: bool, d: Xmm, a: Rm, mode: u8) {
        let opcode = if double { 0x0b } else { 0x0a };
        if a != Rm::X(d) {
            self.fop(0, 0x57, d, d, d);
        }
        if self.features.avx {
            self.asm.vex_map(3, 1, false, opcode, d.0, d.0, a);
        } else {
            self.asm.sse3a(opcode, d.0, a);
        }
        self.asm.imm8(mode);
    }

    /// Fused multiply and add, opcode of the 213 or 231 form.
    pub(super) fn ffma(&mut self, opcode: u8, double: bool, d: Xmm, second: Xmm, third: impl Into<Rm>) {
        self.asm.vex_map(2, 1, double, opcode, d.0, second.0, third.into());
    }

    /// UCOMIS (0x2e) or COMIS (0x2f).
    pub(super) fn fcompare(&mut self, opcode: u8, double: bool, a: Xmm, b: impl Into<Rm>) {
        let prefix = if double { 0x66 } else { 0 };
        self.two(prefix, opcode, false, a.0, b.into());
    }

    /// `d` = `r`, a signed integer, of 64 bits if `wide`.
    pub(super) fn ffrom_int(&mut self, double: bool, wide: bool, d: Xmm, r: Reg) {
        // The upper part stays: clear it, not to wait for it.
        self.fop(0, 0x57, d, d, d);
        if self.features.avx {
            self.asm.vex_0f(pp(scalar(double)), wide, 0x2a, d.0, d.0, r.into());
        } else {
            self.asm.sse(scalar(double), 0x2a, wide, d.0, r);
        }
    }

    /// `r` = an integer, rounded by MXCSR or truncated.
    pub(super) fn fto_int(&mut self, double: bool, wide: bool, by_mxcsr: bool, r: Reg, a: Rm) {
        let opcode = if by_mxcsr { 0x2d } else { 0x2c };
        self.two(scalar(double), opcode, wide, r as u8, a);
    }

    /// All 128 bits.
    pub(super) fn fmov(&mut self, d: Xmm, a: Xmm) {
        if d != a {
            self.two(0, 0x28, false, d.0, a.into());
        }
    }

    /// The rest of `d` becomes zero.
    pub(super) fn fmov_load(&mut self, double: bool, d: Xmm, m: Mem) {
        self.two(scalar(double), 0x10, false, d.0, m.into());
    }

    pub(super) fn fmov_store(&mut self, double: bool, m: Mem, a: Xmm) {
        self.two(scalar(double), 0x11, false, a.0, m.into());
    }

    /// `d` = `r`, 64 or 32 bits; the rest becomes zero.
    pub(super) fn fmov_from(&mut self, double: bool, d: Xmm, r: Reg) {
        self.two(0x66, 0x6e, double, d.0, r.into());
    }

    /// `r` = the low 64 or 32 bits of `a`, zero-extended.
    pub(super) fn fmov_to(&mut self, double: bool, r: Reg, a: Xmm) {
        self.two(0x66, 0x7e, double, a.0, r.into());
    }

    /// An instruction of two operands.
    fn two(&mut self, prefix: u8, opcode: u8, wide: bool, reg: u8, rm: Rm) {
        if self.features.avx {
            self.asm.vex_0f(pp(prefix), wide, opcode, reg, 0, rm);
        } else {
            self.asm.sse(prefix, opcode, wide, reg, rm);
        }
    }
}
