//! Conversions between floating-point formats and integers (V, "Vector Floating-Point Instructions", the three sections
//! on type conversion; Zvfhmin, Zvfbfmin).

use super::elem::Elem;
use super::float::{Env, arithmetic, by_format, by_format_wide};
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;
use crate::tcg::helpers::softfloat::convert::{Int, convert, convert_to_odd, from_int, to_int};
use crate::tcg::helpers::softfloat::{Bf16, F16, F32, F64, Format, Rm};

/// Widths of a conversion's source and destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Widths {
    Same,
    /// From SEW to twice SEW.
    Widen,
    /// From twice SEW to SEW.
    Narrow,
}

/// How a float becomes an integer: in `frm` or truncated.
const DYNAMIC: bool = false;
const TRUNCATED: bool = true;

const SIGNED: bool = true;
const UNSIGNED: bool = false;

/// Checks the registers; returns the destination.
fn operands(s: &Shape, c: &Call, widths: Widths) -> Result<Group, Stop> {
    let (d, source) = match widths {
        Widths::Same => (s.same(c.vd())?, s.same(c.vs2())?),
        Widths::Widen => (s.wide(c.vd())?, s.same(c.vs2())?),
        Widths::Narrow => (s.same(c.vd())?, s.wide(c.vs2())?),
    };
    s.check(c, d, &[source])?;
    Ok(d)
}

/// Computes elements of type `D` from those of type `S`.
fn each<S: Elem, D: Elem>(h: &mut Hart, c: &Call, s: &Shape, d: Group, mut f: impl FnMut(u64) -> u64) {
    s.write::<D>(&mut h.s.v, c, d, |v, i| D::low(f(s.get::<S>(v, c.vs2(), i).zext())));
}

fn integer<F: Format, D: Elem>(e: &mut Env, v: u64, signed: bool, truncated: bool) -> u64 {
    let rm = if truncated { Rm::Rtz } else { e.rm };
    to_int::<F>(v, Int::of(D::BITS, signed), rm, &mut e.flags)
}

fn float<S: Elem, F: Format>(e: &mut Env, v: u64, signed: bool) -> u64 {
    let (v, int) = if signed { (S::low(v).sext() as u64, Int::L) } else { (v, Int::LU) };
    from_int::<F>(v, int, e.rm, &mut e.flags)
}

/// VFCVT.X[U].F.V and its truncating form.
fn to_integer<const S: bool, const Z: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let d = operands(&s, &c, Widths::Same)?;
    by_format!(s.sew, F T => each::<T, T>(h, &c, &s, d, |v| integer::<F, T>(&mut e, v, S, Z)));
    e.finish(h)
}

/// VFCVT.F.X[U].V.
fn from_integer<const S: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let d = operands(&s, &c, Widths::Same)?;
    by_format!(s.sew, F T => each::<T, T>(h, &c, &s, d, |v| float::<T, F>(&mut e, v, S)));
    e.finish(h)
}

/// VFWCVT.X[U].F.V and its truncating form.
fn to_wide_integer<const S: bool, const Z: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let d = operands(&s, &c, Widths::Widen)?;
    by_format_wide!(s.sew, F T _G U => each::<T, U>(h, &c, &s, d, |v| integer::<F, U>(&mut e, v, S, Z)));
    e.finish(h)
}

/// Evaluates an expression with `$T` the integer of SEW, `$G` the format and `$U` the integer of twice SEW.
macro_rules! by_integer_wide {
    ($sew:expr, $T:ident $G:ident $U:ident => $e:expr) => {
        match $sew {
            0 => {
                type $T = u8;
                type $G = F16;
                type $U = u16;
                $e
            }
            1 => {
                type $T = u16;
                type $G = F32;
                type $U = u32;
                $e
            }
            _ => {
                type $T = u32;
                type $G = F64;
                type $U = u64;
                $e
            }
        }
    };
}

/// VFWCVT.F.X[U].V.
fn from_narrow_integer<const S: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew + 1)?;
    let d = operands(&s, &c, Widths::Widen)?;
    by_integer_wide!(s.sew, T G U => each::<T, U>(h, &c, &s, d, |v| float::<T, G>(&mut e, v, S)));
    e.finish(h)
}

/// VFNCVT.X[U].F.W and its truncating form.
fn to_narrow_integer<const S: bool, const Z: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew + 1)?;
    let d = operands(&s, &c, Widths::Narrow)?;
    by_integer_wide!(s.sew, T G U => each::<U, T>(h, &c, &s, d, |v| integer::<G, T>(&mut e, v, S, Z)));
    e.finish(h)
}

/// VFNCVT.F.X[U].W.
fn from_wide_integer<const S: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let d = operands(&s, &c, Widths::Narrow)?;
    by_format_wide!(s.sew, F T _G U => each::<U, T>(h, &c, &s, d, |v| float::<U, F>(&mut e, v, S)));
    e.finish(h)
}

/// Illegal unless there are conversions between the formats of SEW and twice SEW: of half precision they are an extension
/// of their own.
fn formats(h: &Hart, sew: u8) -> Result<(), Stop> {
    require(match sew {
        1 => h.vector.half_conversions,
        2 => h.vector.double,
        _ => false,
    })
}

/// VFWCVT.F.F.V.
fn widen(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    formats(h, s.sew)?;
    let d = operands(&s, &c, Widths::Widen)?;
    by_format_wide!(s.sew, F T G U => each::<T, U>(h, &c, &s, d, |v| convert::<F, G>(v, e.rm, &mut e.flags)));
    e.finish(h)
}

/// VFNCVT.F.F.W.
fn narrow(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    formats(h, s.sew)?;
    let d = operands(&s, &c, Widths::Narrow)?;
    by_format_wide!(s.sew, F T G U => each::<U, T>(h, &c, &s, d, |v| convert::<G, F>(v, e.rm, &mut e.flags)));
    e.finish(h)
}

/// VFNCVT.ROD.F.F.W, which the half-precision conversions alone do not have.
fn narrow_to_odd(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    arithmetic(h, s.sew + 1)?;
    let d = operands(&s, &c, Widths::Narrow)?;
    by_format_wide!(s.sew, F T G U => each::<U, T>(h, &c, &s, d, |v| convert_to_odd::<G, F>(v, &mut e.flags)));
    e.finish(h)
}

/// VFWCVTBF16.F.F.V.
fn widen_bf16(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    require(s.sew == 1)?;
    let d = operands(&s, &c, Widths::Widen)?;
    each::<u16, u32>(h, &c, &s, d, |v| convert::<Bf16, F32>(v, e.rm, &mut e.flags));
    e.finish(h)
}

/// VFNCVTBF16.F.F.W.
fn narrow_bf16(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    require(s.sew == 1)?;
    let d = operands(&s, &c, Widths::Narrow)?;
    each::<u32, u16>(h, &c, &s, d, |v| convert::<F32, Bf16>(v, e.rm, &mut e.flags));
    e.finish(h)
}

functions! {
    VfcvtXuFV => to_integer::<UNSIGNED, DYNAMIC>,
    VfcvtXFV => to_integer::<SIGNED, DYNAMIC>,
    VfcvtFXuV => from_integer::<UNSIGNED>,
    VfcvtFXV => from_integer::<SIGNED>,
    VfcvtRtzXuFV => to_integer::<UNSIGNED, TRUNCATED>,
    VfcvtRtzXFV => to_integer::<SIGNED, TRUNCATED>,
    VfwcvtXuFV => to_wide_integer::<UNSIGNED, DYNAMIC>,
    VfwcvtXFV => to_wide_integer::<SIGNED, DYNAMIC>,
    VfwcvtFXuV => from_narrow_integer::<UNSIGNED>,
    VfwcvtFXV => from_narrow_integer::<SIGNED>,
    VfwcvtFFV => widen,
    VfwcvtRtzXuFV => to_wide_integer::<UNSIGNED, TRUNCATED>,
    VfwcvtRtzXFV => to_wide_integer::<SIGNED, TRUNCATED>,
    VfncvtXuFW => to_narrow_integer::<UNSIGNED, DYNAMIC>,
    VfncvtXFW => to_narrow_integer::<SIGNED, DYNAMIC>,
    VfncvtFXuW => from_wide_integer::<UNSIGNED>,
    VfncvtFXW => from_wide_integer::<SIGNED>,
    VfncvtFFW => narrow,
    VfncvtRodFFW => narrow_to_odd,
    VfncvtRtzXuFW => to_narrow_integer::<UNSIGNED, TRUNCATED>,
    VfncvtRtzXFW => to_narrow_integer::<SIGNED, TRUNCATED>,
    Vfwcvtbf16FFV => widen_bf16,
    Vfncvtbf16FFW => narrow_bf16,
}
