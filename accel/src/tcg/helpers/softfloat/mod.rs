//! RISC-V floating point in integer arithmetic: what the `F`, `D`, `Zfh`, `Zfbfmin` and `Zfa` instructions mean.
//!
//! [`exec`] is the meaning of every floating-point operation of the IR, and the slow path of generated code
//! (RMM, NaNs, conversions that saturate). It never uses the host's floating point: while a hart runs, the
//! host's control register holds guest state. Results and flags are those of the unprivileged specification:
//! NaN results are canonical, tininess is detected after rounding, narrow values in f registers are NaN-boxed.
//!
//! Not here: choosing the rounding mode (DYN is resolved, and reserved modes trap, before an operation gets
//! this far), `mstatus.FS`, and loads and stores.

pub(super) mod arith;
pub(super) mod compare;
pub(super) mod convert;
pub(super) mod estimate;
pub(super) mod format;
mod op;
mod round;

pub use format::{Bf16, F16, F32, F64, Fmt, Format};
pub use op::{FpKind, FpOp, RegFile};

use compare::NanRule;
use convert::Int;
use format::{boxed, sign, unbox};

/// Inexact.
pub const NX: u32 = 1;
/// Underflow.
pub const UF: u32 = 2;
/// Overflow.
pub const OF: u32 = 4;
/// Division by zero.
pub const DZ: u32 = 8;
/// Invalid operation.
pub const NV: u32 = 16;

/// Rounding modes, encoded as in the `frm` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Rm {
    /// To nearest, ties to even.
    #[default]
    Rne = 0,
    /// Towards zero.
    Rtz = 1,
    /// Down, towards minus infinity.
    Rdn = 2,
    /// Up, towards plus infinity.
    Rup = 3,
    /// To nearest, ties to the larger magnitude.
    Rmm = 4,
}

impl Rm {
    pub const ALL: [Rm; 5] = [Rm::Rne, Rm::Rtz, Rm::Rdn, Rm::Rup, Rm::Rmm];

    /// From the low three bits of `frm` or of an instruction's `rm` field; `None` for the reserved modes and DYN.
    pub const fn from_bits(bits: u64) -> Option<Rm> {
        match bits & 7 {
            0 => Some(Rm::Rne),
            1 => Some(Rm::Rtz),
            2 => Some(Rm::Rdn),
            3 => Some(Rm::Rup),
            4 => Some(Rm::Rmm),
            _ => None,
        }
    }
}

/// Executes one operation on raw register contents and returns the raw contents of the destination.
///
/// `a`, `b` and `c` are `rs1`, `rs2` and `rs3`: 64-bit f registers (NaN-boxed; a bad box reads as the canonical
/// NaN), or an x register where [`FpKind::source`] says so; for [`FpKind::Li`], `a` is the number of the
/// constant. Unused operands and `rm` are ignored where the operation has none. The result is NaN-boxed for
/// an f register and sign-extended for an x register. Exceptions are or-ed into `flags`, as in `fflags`.
#[inline]
pub fn exec(op: FpOp, a: u64, b: u64, c: u64, rm: Rm, flags: &mut u32) -> u64 {
    match op.fmt {
        Fmt::S => run::<F32>(op.kind, a, b, c, rm, flags),
        Fmt::D => run::<F64>(op.kind, a, b, c, rm, flags),
        Fmt::H => run::<F16>(op.kind, a, b, c, rm, flags),
        Fmt::Bf16 => run::<Bf16>(op.kind, a, b, c, rm, flags),
    }
}

fn run<F: Format>(kind: FpKind, ra: u64, rb: u64, rc: u64, rm: Rm, flags: &mut u32) -> u64 {
    let (a, b, c) = (unbox::<F>(ra), unbox::<F>(rb), unbox::<F>(rc));
    let value = match kind {
        FpKind::Add => arith::add::<F>(a, b, rm, flags),
        FpKind::Sub => arith::add::<F>(a, arith::negate::<F>(b), rm, flags),
        FpKind::Mul => arith::mul::<F>(a, b, rm, flags),
        FpKind::Div => arith::div::<F>(a, b, rm, flags),
        FpKind::Sqrt => arith::sqrt::<F>(a, rm, flags),
        FpKind::Madd => arith::fma::<F>(a, b, c, rm, flags),
        FpKind::Msub => arith::fma::<F>(a, b, arith::negate::<F>(c), rm, flags),
        FpKind::Nmsub => arith::fma::<F>(arith::negate::<F>(a), b, c, rm, flags),
        FpKind::Nmadd => arith::fma::<F>(arith::negate::<F>(a), b, arith::negate::<F>(c), rm, flags),

        FpKind::Min => compare::min_max::<F>(a, b, false, NanRule::Number, flags),
        FpKind::Max => compare::min_max::<F>(a, b, true, NanRule::Number, flags),
        FpKind::Minm => compare::min_max::<F>(a, b, false, NanRule::Propagate, flags),
        FpKind::Maxm => compare::min_max::<F>(a, b, true, NanRule::Propagate, flags),
        FpKind::Sgnj => compare::inject_sign::<F>(a, b),
        FpKind::Sgnjn => compare::inject_sign::<F>(a, !b),
        FpKind::Sgnjx => compare::inject_sign::<F>(a, a ^ b),

        FpKind::Eq => return compare::eq::<F>(a, b, flags) as u64,
        FpKind::Lt => return compare::signaling::<F>(a, b, flags, compare::lt_quiet::<F>) as u64,
        FpKind::Le => return compare::signaling::<F>(a, b, flags, compare::le_quiet::<F>) as u64,
        FpKind::Ltq => return compare::lt_quiet::<F>(a, b, flags) as u64,
        FpKind::Leq => return compare::le_quiet::<F>(a, b, flags) as u64,
        FpKind::Class => return compare::classify::<F>(a),

        FpKind::ToW => return convert::to_int::<F>(a, Int::W, rm, flags),
        FpKind::ToWu => return convert::to_int::<F>(a, Int::WU, rm, flags),
        FpKind::ToL => return convert::to_int::<F>(a, Int::L, rm, flags),
        FpKind::ToLu => return convert::to_int::<F>(a, Int::LU, rm, flags),
        FpKind::ToWMod => return convert::to_int_modular::<F>(a, flags),
        FpKind::FromW => convert::from_int::<F>(ra, Int::W, rm, flags),
        FpKind::FromWu => convert::from_int::<F>(ra, Int::WU, rm, flags),
        FpKind::FromL => convert::from_int::<F>(ra, Int::L, rm, flags),
        FpKind::FromLu => convert::from_int::<F>(ra, Int::LU, rm, flags),

        FpKind::FromS => convert::convert::<F32, F>(unbox::<F32>(ra), rm, flags),
        FpKind::FromD => convert::convert::<F64, F>(ra, rm, flags),
        FpKind::FromH => convert::convert::<F16, F>(unbox::<F16>(ra), rm, flags),
        FpKind::FromBf16 => convert::convert::<Bf16, F>(unbox::<Bf16>(ra), rm, flags),

        FpKind::Round => convert::round_to_integral::<F>(a, rm, false, flags),
        FpKind::RoundNx => convert::round_to_integral::<F>(a, rm, true, flags),
        FpKind::Li => convert::constant::<F>(ra),
        FpKind::MvToF => ra & F::MASK,
        FpKind::MvToX => {
            let v = ra & F::MASK;
            return if sign::<F>(v) { boxed::<F>(v) } else { v };
        }
    };
    boxed::<F>(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(kind: FpKind, fmt: Fmt) -> FpOp {
        FpOp { kind, fmt }
    }

    #[test]
    fn results_are_boxed_and_bad_boxes_are_nans() {
        let mut flags = 0;
        let one = 0xffff_ffff_3f80_0000;
        assert_eq!(exec(op(FpKind::Add, Fmt::S), one, one, 0, Rm::Rne, &mut flags), 0xffff_ffff_4000_0000);
        assert_eq!(exec(op(FpKind::Add, Fmt::S), one, 0x3f80_0000, 0, Rm::Rne, &mut flags), 0xffff_ffff_7fc0_0000);
        assert_eq!(exec(op(FpKind::Sgnjn, Fmt::S), 0, one, 0, Rm::Rne, &mut flags), 0xffff_ffff_ffc0_0000);
        assert_eq!(exec(op(FpKind::Class, Fmt::H), one, 0, 0, Rm::Rne, &mut flags), 1 << 9);
        assert_eq!(flags, 0);
    }

    #[test]
    fn moves_do_not_look_at_the_box() {
        let mut flags = 0;
        assert_eq!(exec(op(FpKind::MvToX, Fmt::S), 0xff80_0001, 0, 0, Rm::Rne, &mut flags), 0xffff_ffff_ff80_0001);
        assert_eq!(exec(op(FpKind::MvToX, Fmt::S), 0x1234_0000_7f80_0001, 0, 0, Rm::Rne, &mut flags), 0x7f80_0001);
        assert_eq!(exec(op(FpKind::MvToX, Fmt::H), 0x8001, 0, 0, Rm::Rne, &mut flags), 0xffff_ffff_ffff_8001);
        assert_eq!(exec(op(FpKind::MvToX, Fmt::D), u64::MAX - 7, 0, 0, Rm::Rne, &mut flags), u64::MAX - 7);
        assert_eq!(exec(op(FpKind::MvToF, Fmt::S), 0x1234_7f80_0001, 0, 0, Rm::Rne, &mut flags), 0xffff_ffff_7f80_0001);
        assert_eq!(exec(op(FpKind::MvToF, Fmt::D), 0x1234, 0, 0, Rm::Rne, &mut flags), 0x1234);
        assert_eq!(flags, 0);
    }

    #[test]
    fn reserved_rounding_modes_have_no_name() {
        assert_eq!([5, 6, 7].map(Rm::from_bits), [None; 3]);
        assert_eq!(Rm::ALL.map(|rm| Rm::from_bits(rm as u64)), Rm::ALL.map(Some));
    }
}
