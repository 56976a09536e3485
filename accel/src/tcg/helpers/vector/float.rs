//! Vector floating point but for conversions (V, "Vector Floating-Point Instructions"; Zvfh, Zvfbfwma).
//!
//! Elements are computed by the soft float of the scalar instructions, so rounding, flags and NaNs are theirs; `native`
//! does common ones by the host's instructions instead. All instructions need `mstatus.FS` on and a legal `frm`, whether
//! they round or not, and an element width that is a floating-point type of the hart.

use super::elem::Elem;
#[cfg(target_arch = "x86_64")]
use super::native::{self, Addend, Native};
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;
use crate::tcg::helpers::softfloat::arith::{add, div, fma, mul, negate, sqrt};
use crate::tcg::helpers::softfloat::compare::{self, NanRule, classify, inject_sign, min_max};
use crate::tcg::helpers::softfloat::convert::convert;
use crate::tcg::helpers::softfloat::estimate::{reciprocal, reciprocal_root};
use crate::tcg::helpers::softfloat::format::{boxed, unbox};
use crate::tcg::helpers::softfloat::{Bf16, F16, F32, F64, Format, Rm};
use crate::tcg::helpers::system::make_fp_dirty;
use crate::tcg::ir::fp_check;

/// The rounding mode of an instruction, and the flags that its elements raised.
#[derive(Debug)]
pub struct Env {
    pub rm: Rm,
    pub flags: u32,
}

impl Env {
    /// Illegal if floating point is off or `frm` is reserved.
    pub fn of(h: &Hart) -> Result<Self, Stop> {
        require(h.fp_missing & fp_check::ON == 0)?;
        let rm = Rm::from_bits(h.s.csr.fcsr >> 5).ok_or(Stop::Illegal)?;
        Ok(Self { rm, flags: 0 })
    }

    /// Adds the flags to `fcsr`.
    pub fn finish(self, h: &mut Hart) -> Result<u64, Stop> {
        if self.flags != 0 {
            h.s.csr.fcsr |= u64::from(self.flags);
            make_fp_dirty(h);
        }
        Ok(0)
    }
}

/// Illegal if the hart has no arithmetic on floating-point elements of this width.
pub fn arithmetic(h: &Hart, sew: u8) -> Result<(), Stop> {
    require(match sew {
        1 => h.vector.half,
        2 => true,
        3 => h.vector.double,
        _ => false,
    })
}

/// Evaluates an expression with `$F` the format and `$T` the element type of SEW.
macro_rules! by_format {
    ($sew:expr, $F:ident $T:ident => $e:expr) => {
        match $sew {
            1 => {
                type $F = F16;
                type $T = u16;
                $e
            }
            2 => {
                type $F = F32;
                type $T = u32;
                $e
            }
            _ => {
                type $F = F64;
                type $T = u64;
                $e
            }
        }
    };
}

/// The same with `$G` the format and `$U` the element type of twice SEW.
macro_rules! by_format_wide {
    ($sew:expr, $F:ident $T:ident $G:ident $U:ident => $e:expr) => {
        match $sew {
            1 => {
                type $F = F16;
                type $T = u16;
                type $G = F32;
                type $U = u32;
                $e
            }
            _ => {
                type $F = F32;
                type $T = u32;
                type $G = F64;
                type $U = u64;
                $e
            }
        }
    };
}
pub(super) use {by_format, by_format_wide};

/// An operation on the old element of vd, that of vs2, and that of vs1 or a scalar.
pub trait Ternary {
    /// What does the same on the host.
    #[cfg(target_arch = "x86_64")]
    const NATIVE: Option<Native> = None;
    fn eval<F: Format>(e: &mut Env, d: u64, a: u64, b: u64) -> u64;
}

/// After the meaning of an operation, what does the same on the host if there is such a thing.
macro_rules! operations {
    ($($name:ident |$e:pat_param, $d:pat_param, $a:pat_param, $b:pat_param| $value:expr $(, $native:expr)?;)*) => { $(
        struct $name;
        impl Ternary for $name {
            $(
                #[cfg(target_arch = "x86_64")]
                const NATIVE: Option<Native> = Some($native);
            )?
            #[inline(always)]
            fn eval<F: Format>($e: &mut Env, $d: u64, $a: u64, $b: u64) -> u64 {
                $value
            }
        }
    )* };
}

operations! {
    Add |e, _, a, b| add::<F>(a, b, e.rm, &mut e.flags), Native::Add;
    Sub |e, _, a, b| add::<F>(a, negate::<F>(b), e.rm, &mut e.flags), Native::Sub;
    Rsub |e, _, a, b| add::<F>(b, negate::<F>(a), e.rm, &mut e.flags), Native::Rsub;
    Mul |e, _, a, b| mul::<F>(a, b, e.rm, &mut e.flags), Native::Mul;
    Div |e, _, a, b| div::<F>(a, b, e.rm, &mut e.flags), Native::Div;
    Rdiv |e, _, a, b| div::<F>(b, a, e.rm, &mut e.flags), Native::Rdiv;
    Min |e, _, a, b| min_max::<F>(a, b, false, NanRule::Number, &mut e.flags);
    Max |e, _, a, b| min_max::<F>(a, b, true, NanRule::Number, &mut e.flags);
    Sgnj |_, _, a, b| inject_sign::<F>(a, b);
    Sgnjn |_, _, a, b| inject_sign::<F>(a, !b);
    Sgnjx |_, _, a, b| inject_sign::<F>(a, a ^ b);
    Madd |e, d, a, b| fma::<F>(b, d, a, e.rm, &mut e.flags), fused(Addend::Vs2, false, false);
    Nmadd |e, d, a, b| fma::<F>(negate::<F>(b), d, negate::<F>(a), e.rm, &mut e.flags), fused(Addend::Vs2, true, true);
    Msub |e, d, a, b| fma::<F>(b, d, negate::<F>(a), e.rm, &mut e.flags), fused(Addend::Vs2, false, true);
    Nmsub |e, d, a, b| fma::<F>(negate::<F>(b), d, a, e.rm, &mut e.flags), fused(Addend::Vs2, true, false);
    Macc |e, d, a, b| fma::<F>(b, a, d, e.rm, &mut e.flags), fused(Addend::Vd, false, false);
    Nmacc |e, d, a, b| fma::<F>(negate::<F>(b), a, negate::<F>(d), e.rm, &mut e.flags), fused(Addend::Vd, true, true);
    Msac |e, d, a, b| fma::<F>(b, a, negate::<F>(d), e.rm, &mut e.flags), fused(Addend::Vd, false, true);
    Nmsac |e, d, a, b| fma::<F>(negate::<F>(b), a, d, e.rm, &mut e.flags), fused(Addend::Vd, true, false);
    Sqrt |e, _, a, _| sqrt::<F>(a, e.rm, &mut e.flags), Native::Sqrt;
    Rsqrt7 |e, _, a, _| reciprocal_root::<F>(a, &mut e.flags);
    Rec7 |e, _, a, _| reciprocal::<F>(a, e.rm, &mut e.flags);
    Class |_, _, a, _| classify::<F>(a);
    Scalar |_, _, _, b| b;
}

/// A fused multiply-add of the host.
#[cfg(target_arch = "x86_64")]
const fn fused(addend: Addend, negate_product: bool, negate_addend: bool) -> Native {
    Native::Fma { addend, negate_product, negate_addend }
}

/// Comparisons: the element of vs2 with that of vs1 or a scalar.
trait Comparison {
    fn eval<F: Format>(flags: &mut u32, a: u64, b: u64) -> bool;
}

macro_rules! comparisons {
    ($($name:ident |$flags:ident, $a:ident, $b:ident| $value:expr;)*) => { $(
        struct $name;
        impl Comparison for $name {
            #[inline(always)]
            fn eval<F: Format>($flags: &mut u32, $a: u64, $b: u64) -> bool {
                $value
            }
        }
    )* };
}

comparisons! {
    Eq |flags, a, b| compare::eq::<F>(a, b, flags);
    Ne |flags, a, b| !compare::eq::<F>(a, b, flags);
    Lt |flags, a, b| compare::signaling::<F>(a, b, flags, compare::lt_quiet::<F>);
    Le |flags, a, b| compare::signaling::<F>(a, b, flags, compare::le_quiet::<F>);
    Gt |flags, a, b| compare::signaling::<F>(b, a, flags, compare::lt_quiet::<F>);
    Ge |flags, a, b| compare::signaling::<F>(b, a, flags, compare::le_quiet::<F>);
}

/// The scalar operand: rs1 names an f register, in which a narrow value has to be NaN-boxed.
fn scalar<F: Format>(h: &Hart, c: &Call) -> u64 {
    unbox::<F>(h.s.f[c.vs1()])
}

/// All operands of width SEW, vs2 and vs1 or a scalar.
fn same<O: Ternary, const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    s.check_same(&c, VECTOR)?;
    #[cfg(target_arch = "x86_64")]
    if let Some(op) = O::NATIVE
        && s.sew >= 2
        && native::can(op, e.rm)
    {
        if s.sew == 2 {
            let x = (!VECTOR).then(|| scalar::<F32>(h, &c) as u32);
            native::map::<O, F32, u32, 4>(op, &mut e, &s, &mut h.s.v, &c, x);
        } else {
            let x = (!VECTOR).then(|| scalar::<F64>(h, &c));
            native::map::<O, F64, u64, 2>(op, &mut e, &s, &mut h.s.v, &c, x);
        }
        return e.finish(h);
    }
    same_in_software::<O, VECTOR>(h, &c, &s, &mut e)?;
    e.finish(h)
}

fn same_in_software<O: Ternary, const VECTOR: bool>(
    h: &mut Hart,
    c: &Call,
    s: &Shape,
    e: &mut Env,
) -> Result<(), Stop> {
    let d = s.same(c.vd())?;
    by_format!(s.sew, F T => {
        let x = scalar::<F>(h, c);
        s.write::<T>(&mut h.s.v, c, d, |v, i| {
            let get = |reg| s.get::<T>(v, reg, i).zext();
            let b = if VECTOR { get(c.vs1()) } else { x };
            T::low(O::eval::<F>(e, get(c.vd()), get(c.vs2()), b))
        });
    });
    Ok(())
}

fn vv<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    same::<O, true>(h, c)
}

fn vf<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    same::<O, false>(h, c)
}

/// Of vs2 alone. What stands in the place of vs1 belongs to the encoding.
fn unary<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    same::<O, false>(h, c)
}

/// Which operands of a widening instruction have twice SEW, besides the destination.
const NONE: u8 = 0;
const VS2: u8 = 1;
/// The old value of the destination.
const VD: u8 = 2;

/// The result has twice SEW; operands of width SEW are widened first, which is exact.
fn wide<O: Ternary, const VECTOR: bool, const WIDE: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    arithmetic(h, s.sew + 1)?;
    let d = widening_operands(&s, &c, VECTOR, WIDE)?;
    by_format_wide!(s.sew, F T G U => {
        let x = convert::<F, G>(scalar::<F>(h, &c), e.rm, &mut e.flags);
        // A signalling NaN in the scalar is invalid where an element is computed, and only there.
        let scalar_flags = std::mem::take(&mut e.flags);
        s.write::<U>(&mut h.s.v, &c, d, |v, i| {
            let widened = |reg, flags: &mut u32| {
                convert::<F, G>(s.get::<T>(v, reg, i).zext(), Rm::Rne, flags)
            };
            let a = if WIDE == VS2 {
                s.get::<U>(v, c.vs2(), i).zext()
            } else {
                widened(c.vs2(), &mut e.flags)
            };
            let b = if VECTOR {
                widened(c.vs1(), &mut e.flags)
            } else {
                e.flags |= scalar_flags;
                x
            };
            U::low(O::eval::<G>(&mut e, s.get::<U>(v, c.vd(), i).zext(), a, b))
        });
    });
    e.finish(h)
}

/// Checks the registers of a widening instruction; returns the destination.
fn widening_operands(s: &Shape, c: &Call, vector: bool, wide: u8) -> Result<Group, Stop> {
    let d = s.wide(c.vd())?;
    let s2 = if wide == VS2 { s.wide(c.vs2())? } else { s.same(c.vs2())? };
    let s1 = if vector { s.same(c.vs1())? } else { s2 };
    if wide == VD {
        s.check(c, d, &[s2, s1, d])?;
    } else {
        s.check(c, d, &[s2, s1])?;
    }
    Ok(d)
}

/// VFWMACCBF16: the product of BF16 elements is added to single precision.
fn wide_bf16<const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    require(s.sew == 1)?;
    let d = widening_operands(&s, &c, VECTOR, VD)?;
    let widened = |v, flags: &mut u32| convert::<Bf16, F32>(v, Rm::Rne, flags);
    let x = scalar::<Bf16>(h, &c);
    s.write::<u32>(&mut h.s.v, &c, d, |v, i| {
        let get = |reg| u64::from(s.get::<u16>(v, reg, i));
        let a = widened(get(c.vs2()), &mut e.flags);
        let b = widened(if VECTOR { get(c.vs1()) } else { x }, &mut e.flags);
        Macc::eval::<F32>(&mut e, s.get::<u32>(v, c.vd(), i).into(), a, b) as u32
    });
    e.finish(h)
}

/// The result is a mask.
fn mask<O: Comparison, const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let s2 = s.same(c.vs2())?;
    let s1 = if VECTOR { s.same(c.vs1())? } else { s2 };
    s.destination(&Group::mask(c.vd()), &[s2, s1])?;
    s.sources(&c, &[s2, s1])?;
    by_format!(s.sew, F T => {
        let x = scalar::<F>(h, &c);
        s.write_mask(&mut h.s.v, &c, true, |v, i| {
            let get = |reg| s.get::<T>(v, reg, i).zext();
            O::eval::<F>(&mut e.flags, get(c.vs2()), if VECTOR { get(c.vs1()) } else { x })
        });
    });
    e.finish(h)
}

/// VFMERGE.VFM: v0 chooses between the scalar and vs2 for every element.
fn merge(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    s.check_same(&c, false)?;
    let d = s.same(c.vd())?;
    let every = Call { raw: c.raw | 1 << 25, ..c };
    by_format!(s.sew, F T => {
        let x = T::low(scalar::<F>(h, &c));
        s.write::<T>(&mut h.s.v, &every, d, |v, i| if s.active(v, &c, i) { x } else { s.get(v, c.vs2(), i) });
    });
    e.finish(h)
}

/// VFMV.V.F.
fn splat(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    same::<Scalar, false>(h, c)
}

/// VFMV.F.S: element 0 to an f register, whatever `vl` and `vstart` are.
fn to_scalar(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (_, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    let value = by_format!(s.sew, F T => boxed::<F>(s.get::<T>(&h.s.v, c.vs2(), 0).zext()));
    h.s.f[c.vd()] = value;
    make_fp_dirty(h);
    Ok(0)
}

/// Writes element 0 of register vd, the others of which are the tail. Nothing happens where there is no body.
fn write_first<T: Elem>(s: &Shape, h: &mut Hart, c: &Call, value: T) {
    if s.vstart < s.vl {
        super::elem::set(&mut h.s.v, s.at::<T>(c.vd(), 0), value);
        let one = Shape { vl: 1, vstart: 0, ..*s };
        one.tail(&mut h.s.v, Group { reg: c.vd(), emul: 0, eew: T::LOG2 });
    }
}

/// VFMV.S.F.
fn from_scalar(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    by_format!(s.sew, F T => {
        let x = T::low(scalar::<F>(h, &c));
        write_first(&s, h, &c, x);
    });
    e.finish(h)
}

/// VFSLIDE1UP.VF: the scalar comes in at element 0.
fn slide1up(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    s.check_same(&c, false)?;
    // Elements are read after lower ones were written. Groups of one length are the same or apart.
    require(c.vd() != c.vs2())?;
    let d = s.same(c.vd())?;
    by_format!(s.sew, F T => {
        let x = T::low(scalar::<F>(h, &c));
        s.write::<T>(&mut h.s.v, &c, d, |v, i| if i == 0 { x } else { s.get(v, c.vs2(), i - 1) });
    });
    e.finish(h)
}

/// VFSLIDE1DOWN.VF: the scalar comes in at element `vl` - 1.
fn slide1down(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    s.check_same(&c, false)?;
    let d = s.same(c.vd())?;
    by_format!(s.sew, F T => {
        let x = T::low(scalar::<F>(h, &c));
        s.write::<T>(&mut h.s.v, &c, d, |v, i| if i + 1 == s.vl { x } else { s.get(v, c.vs2(), i + 1) });
    });
    e.finish(h)
}

/// What all reductions check: `vstart` has to be zero; vs1 and vd are single registers and may overlap anything. `eew` is
/// that of vs1 and vd.
fn reduction_operands(s: &Shape, c: &Call, eew: u8) -> Result<(), Stop> {
    require(s.vstart == 0 && eew <= s.elen)?;
    s.sources(c, &[s.same(c.vs2())?, Group { reg: c.vs1(), emul: 0, eew }])
}

/// vs1[0] and the active elements of vs2, in order: a permitted tree for the unordered sum as well. Without active
/// elements the scalar is copied as it is.
fn reduce<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    reduction_operands(&s, &c, s.sew)?;
    #[cfg(target_arch = "x86_64")]
    if O::NATIVE == Some(Native::Add) && s.sew >= 2 && e.rm != Rm::Rmm {
        let done =
            if s.sew == 2 { sum_natively::<u32>(h, &c, &s, &mut e) } else { sum_natively::<u64>(h, &c, &s, &mut e) };
        if done {
            return e.finish(h);
        }
    }
    by_format!(s.sew, F T => {
        let mut sum = s.get::<T>(&h.s.v, c.vs1(), 0).zext();
        for i in (0..s.vl).filter(|i| s.active(&h.s.v, &c, *i)) {
            sum = O::eval::<F>(&mut e, 0, sum, s.get::<T>(&h.s.v, c.vs2(), i).zext());
        }
        write_first(&s, h, &c, T::low(sum));
    });
    e.finish(h)
}

/// A sum by the host's addition, unless it is a NaN or a scalar alone.
#[cfg(target_arch = "x86_64")]
fn sum_natively<T: Elem>(h: &mut Hart, c: &Call, s: &Shape, e: &mut Env) -> bool {
    let sum = native::sum::<T>(e, s, &h.s.v, c, s.get(&h.s.v, c.vs1(), 0));
    if let Some(sum) = sum {
        write_first(s, h, c, sum);
    }
    sum.is_some()
}

/// The same with elements of twice SEW in vs1 and vd.
fn reduce_wide<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let (mut e, s) = (Env::of(h)?, Shape::of(h)?);
    arithmetic(h, s.sew)?;
    arithmetic(h, s.sew + 1)?;
    reduction_operands(&s, &c, s.sew + 1)?;
    by_format_wide!(s.sew, F T G U => {
        let mut sum = s.get::<U>(&h.s.v, c.vs1(), 0).zext();
        for i in (0..s.vl).filter(|i| s.active(&h.s.v, &c, *i)) {
            let x = convert::<F, G>(s.get::<T>(&h.s.v, c.vs2(), i).zext(), Rm::Rne, &mut e.flags);
            sum = O::eval::<G>(&mut e, 0, sum, x);
        }
        write_first(&s, h, &c, U::low(sum));
    });
    e.finish(h)
}

functions! {
    VfaddVv => vv::<Add>,
    VfaddVf => vf::<Add>,
    VfsubVv => vv::<Sub>,
    VfsubVf => vf::<Sub>,
    VfrsubVf => vf::<Rsub>,
    VfmulVv => vv::<Mul>,
    VfmulVf => vf::<Mul>,
    VfdivVv => vv::<Div>,
    VfdivVf => vf::<Div>,
    VfrdivVf => vf::<Rdiv>,
    VfminVv => vv::<Min>,
    VfminVf => vf::<Min>,
    VfmaxVv => vv::<Max>,
    VfmaxVf => vf::<Max>,
    VfsgnjVv => vv::<Sgnj>,
    VfsgnjVf => vf::<Sgnj>,
    VfsgnjnVv => vv::<Sgnjn>,
    VfsgnjnVf => vf::<Sgnjn>,
    VfsgnjxVv => vv::<Sgnjx>,
    VfsgnjxVf => vf::<Sgnjx>,

    VfwaddVv => wide::<Add, true, NONE>,
    VfwaddVf => wide::<Add, false, NONE>,
    VfwsubVv => wide::<Sub, true, NONE>,
    VfwsubVf => wide::<Sub, false, NONE>,
    VfwmulVv => wide::<Mul, true, NONE>,
    VfwmulVf => wide::<Mul, false, NONE>,
    VfwaddWv => wide::<Add, true, VS2>,
    VfwaddWf => wide::<Add, false, VS2>,
    VfwsubWv => wide::<Sub, true, VS2>,
    VfwsubWf => wide::<Sub, false, VS2>,

    VfmaddVv => vv::<Madd>,
    VfmaddVf => vf::<Madd>,
    VfnmaddVv => vv::<Nmadd>,
    VfnmaddVf => vf::<Nmadd>,
    VfmsubVv => vv::<Msub>,
    VfmsubVf => vf::<Msub>,
    VfnmsubVv => vv::<Nmsub>,
    VfnmsubVf => vf::<Nmsub>,
    VfmaccVv => vv::<Macc>,
    VfmaccVf => vf::<Macc>,
    VfnmaccVv => vv::<Nmacc>,
    VfnmaccVf => vf::<Nmacc>,
    VfmsacVv => vv::<Msac>,
    VfmsacVf => vf::<Msac>,
    VfnmsacVv => vv::<Nmsac>,
    VfnmsacVf => vf::<Nmsac>,
    VfwmaccVv => wide::<Macc, true, VD>,
    VfwmaccVf => wide::<Macc, false, VD>,
    VfwnmaccVv => wide::<Nmacc, true, VD>,
    VfwnmaccVf => wide::<Nmacc, false, VD>,
    VfwmsacVv => wide::<Msac, true, VD>,
    VfwmsacVf => wide::<Msac, false, VD>,
    VfwnmsacVv => wide::<Nmsac, true, VD>,
    VfwnmsacVf => wide::<Nmsac, false, VD>,
    Vfwmaccbf16Vv => wide_bf16::<true>,
    Vfwmaccbf16Vf => wide_bf16::<false>,

    VfsqrtV => unary::<Sqrt>,
    Vfrsqrt7V => unary::<Rsqrt7>,
    Vfrec7V => unary::<Rec7>,
    VfclassV => unary::<Class>,

    VmfeqVv => mask::<Eq, true>,
    VmfeqVf => mask::<Eq, false>,
    VmfleVv => mask::<Le, true>,
    VmfleVf => mask::<Le, false>,
    VmfltVv => mask::<Lt, true>,
    VmfltVf => mask::<Lt, false>,
    VmfneVv => mask::<Ne, true>,
    VmfneVf => mask::<Ne, false>,
    VmfgtVf => mask::<Gt, false>,
    VmfgeVf => mask::<Ge, false>,

    VfmergeVfm => merge,
    VfmvVF => splat,
    VfmvFS => to_scalar,
    VfmvSF => from_scalar,
    Vfslide1upVf => slide1up,
    Vfslide1downVf => slide1down,

    VfredusumVs => reduce::<Add>,
    VfredosumVs => reduce::<Add>,
    VfredminVs => reduce::<Min>,
    VfredmaxVs => reduce::<Max>,
    VfwredusumVs => reduce_wide::<Add>,
    VfwredosumVs => reduce_wide::<Add>,
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::VectorRegs;
    use crate::testing::Rng;

    impl Rng {
        /// A number of any size, often one of those where something happens.
        fn element<F: Format>(&mut self) -> u64 {
            let (kind, bits) = (self.next() >> 33, self.next());
            let corners =
                [0, 1, F::HIDDEN - 1, F::HIDDEN, F::ONE, F::ONE + 1, F::INF - 1, F::INF, F::INF + 1, F::NAN + 5];
            let near_one = bits & (F::FRAC_MASK | F::SIGN) | (F::BIAS as u64 + kind % 4) << F::FRAC;
            match kind / 4 % 8 {
                0 | 1 => corners[(bits >> 8) as usize % corners.len()] | bits << (F::WIDTH - 1) & F::SIGN,
                2..6 => near_one,
                6 => bits & F::FRAC_MASK | (bits >> 62) << F::FRAC,
                _ => bits & F::MASK,
            }
        }
    }

    const VLENB: usize = 32;

    fn compare<O: Ternary, F: Format, T: Elem, const N: usize>(random: &mut Rng) {
        let op = O::NATIVE.expect("the host has it");
        for round in 0..400 {
            let mut v = VectorRegs::default();
            for at in (0..4 * VLENB).step_by(T::BYTES) {
                super::super::elem::set(&mut v, at, T::low(random.element::<F>()));
            }
            let rm = [Rm::Rne, Rm::Rtz, Rm::Rdn, Rm::Rup][round % 4];
            if !native::can(op, rm) {
                return;
            }
            // vd 1, vs2 2, vs1 3, the mask 0.
            let raw = 1 << 7 | 3 << 15 | 2 << 20 | u32::from(round % 3 != 0) << 25;
            let c = Call { raw, x1: 0, x2: 0 };
            let vlmax = VLENB / T::BYTES;
            let s = Shape {
                vl: if round % 5 == 0 { random.next() as usize % (vlmax + 1) } else { vlmax },
                vstart: if round % 7 == 0 { random.next() as usize % vlmax } else { 0 },
                sew: T::LOG2,
                lmul: 0,
                vlenb: VLENB,
                tail_ones: round % 2 == 0,
                inactive_ones: round % 4 < 2,
                mask_tail_ones: false,
                elen: 3,
            };
            let scalar = (round % 11 < 4).then(|| T::low(random.element::<F>()));
            let (mut soft, mut expected) = (v.clone(), Env { rm, flags: 0 });
            let d = Group { reg: 1, emul: 0, eew: T::LOG2 };
            s.write::<T>(&mut soft, &c, d, |v, i| {
                let get = |reg| s.get::<T>(v, reg, i).zext();
                T::low(O::eval::<F>(&mut expected, get(1), get(2), scalar.map_or_else(|| get(3), T::zext)))
            });
            let (mut host, mut e) = (v.clone(), Env { rm, flags: 0 });
            native::map::<O, F, T, N>(op, &mut e, &s, &mut host, &c, scalar);
            assert!(host == soft, "{op:?} {rm:?} round {round}: {:x?}, {:x?}", &host.0[..128], &soft.0[..128]);
            assert_eq!(e.flags, expected.flags, "{op:?} {rm:?} round {round}");
        }
    }

    #[test]
    fn the_host_computes_what_software_does() {
        let random = &mut Rng(0x9e37_79b9_7f4a_7c15);
        macro_rules! each {
            ($($op:ident)*) => { $(
                compare::<$op, F32, u32, 4>(random);
                compare::<$op, F64, u64, 2>(random);
            )* };
        }
        each!(Add Sub Rsub Mul Div Rdiv Sqrt Madd Nmadd Msub Nmsub Macc Nmacc Msac Nmsac);
    }

    /// A signalling NaN that nothing is added to leaves no flag anywhere, the host's own register included.
    #[test]
    fn a_sum_of_nothing_raises_nothing() {
        let s = Shape {
            vl: 4,
            vstart: 0,
            sew: 2,
            lmul: 0,
            vlenb: VLENB,
            tail_ones: false,
            inactive_ones: false,
            mask_tail_ones: false,
            elen: 3,
        };
        let mut e = Env { rm: Rm::Rne, flags: 0 };
        let control = || {
            let mut now = 0u32;
            // SAFETY: it stores the register.
            unsafe { std::arch::asm!("stmxcsr [{0}]", in(reg) &mut now, options(nostack)) };
            now
        };
        let before = control();
        let masked = Call { raw: 2 << 20, x1: 0, x2: 0 };
        let sum = native::sum::<u32>(&mut e, &s, &VectorRegs::default(), &masked, F32::INF as u32 + 1);
        assert_eq!((sum, e.flags, control()), (None, 0, before));
    }
}
