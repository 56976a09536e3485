//! Integer arithmetic between widths: widening, narrowing and extension.

use super::elem::{Elem, by_sew, by_sew_wide};
use super::fixed::FixedPoint;
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::VectorRegs;
use crate::tcg::hart::Hart;

/// An operation on the old element of vd and the operands, both extended to twice SEW.
trait Widening {
    /// How vs2 and the other operand are extended.
    const SIGNED: [bool; 2];
    /// The old element counts.
    const ACCUMULATES: bool = false;
    fn eval<W: Elem>(d: W, a: W, b: W) -> W;
}

macro_rules! widening {
    ($($name:ident $a_signed:literal $b_signed:literal $accumulates:literal |$d:pat_param, $a:ident, $b:ident| $e:expr;)*) => { $(
        struct $name;
        impl Widening for $name {
            const SIGNED: [bool; 2] = [$a_signed, $b_signed];
            const ACCUMULATES: bool = $accumulates;
            #[inline(always)]
            fn eval<W: Elem>($d: W, $a: W, $b: W) -> W {
                $e
            }
        }
    )* };
}

widening! {
    Addu false false false |_, a, b| a.add(b);
    Add true true false |_, a, b| a.add(b);
    Subu false false false |_, a, b| a.sub(b);
    Sub true true false |_, a, b| a.sub(b);
    Mulu false false false |_, a, b| a.mul(b);
    Mulsu true false false |_, a, b| a.mul(b);
    Mul true true false |_, a, b| a.mul(b);
    Maccu false false true |d, a, b| b.mul(a).add(d);
    Macc true true true |d, a, b| b.mul(a).add(d);
    Maccsu false true true |d, a, b| b.mul(a).add(d);
    Maccus true false true |d, a, b| b.mul(a).add(d);
}

#[inline(always)]
fn extend<T: Elem, W: Elem>(x: T, signed: bool) -> W {
    W::low(if signed { x.sext() as u64 } else { x.zext() })
}

/// `WIDE`: vs2 has twice SEW already. `VECTOR`: the other operand is vs1, not rs1.
fn widen<O: Widening, const WIDE: bool, const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let d = s.wide(c.vd())?;
    let a = if WIDE { s.wide(c.vs2())? } else { s.same(c.vs2())? };
    let b = if VECTOR { s.same(c.vs1())? } else { a };
    let old = if O::ACCUMULATES { d } else { a };
    s.check(&c, d, &[a, b, old])?;
    by_sew_wide!(s.sew, T W => {
        let x = extend::<T, W>(T::low(c.x1), O::SIGNED[1]);
        s.write::<W>(&mut h.s.v, &c, d, |v, i| {
            let a = if WIDE { s.get(v, c.vs2(), i) } else { extend(s.get::<T>(v, c.vs2(), i), O::SIGNED[0]) };
            let b = if VECTOR { extend(s.get::<T>(v, c.vs1(), i), O::SIGNED[1]) } else { x };
            O::eval(s.get(v, c.vd(), i), a, b)
        });
    });
    Ok(0)
}

fn vv<O: Widening>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    widen::<O, false, true>(h, c)
}

fn vx<O: Widening>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    widen::<O, false, false>(h, c)
}

fn wv<O: Widening>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    widen::<O, true, true>(h, c)
}

fn wx<O: Widening>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    widen::<O, true, false>(h, c)
}

/// A shift of an element of twice SEW that keeps SEW bits.
pub trait Narrowing {
    /// `shift` is less than twice SEW.
    fn eval<T: Elem, W: Elem>(x: &mut FixedPoint, a: W, shift: u32) -> T;
}

/// Where the shift amount of a narrowing instruction comes from.
enum Amount {
    Vector,
    Scalar(u64),
}

fn narrow<O: Narrowing>(h: &mut Hart, c: Call, amount: Amount) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let (d, a) = (s.same(c.vd())?, s.wide(c.vs2())?);
    let b = if matches!(amount, Amount::Vector) { s.same(c.vs1())? } else { a };
    s.check(&c, d, &[a, b])?;
    let mut x = FixedPoint::of(h);
    by_sew_wide!(s.sew, T W => s.write::<T>(&mut h.s.v, &c, d, |v, i| {
        let shift = match amount {
            Amount::Vector => s.get::<T>(v, c.vs1(), i).zext(),
            Amount::Scalar(n) => n,
        };
        O::eval::<T, W>(&mut x, s.get(v, c.vs2(), i), shift as u32 & (W::BITS - 1))
    }));
    x.finish(h);
    Ok(0)
}

pub fn narrow_wv<O: Narrowing>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    narrow::<O>(h, c, Amount::Vector)
}

pub fn narrow_wx<O: Narrowing>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    narrow::<O>(h, c, Amount::Scalar(c.x1))
}

pub fn narrow_wi<O: Narrowing>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    narrow::<O>(h, c, Amount::Scalar(c.uimm()))
}

struct Logical;
impl Narrowing for Logical {
    #[inline(always)]
    fn eval<T: Elem, W: Elem>(_: &mut FixedPoint, a: W, shift: u32) -> T {
        T::low(a.zext() >> shift)
    }
}

struct Arithmetic;
impl Narrowing for Arithmetic {
    #[inline(always)]
    fn eval<T: Elem, W: Elem>(_: &mut FixedPoint, a: W, shift: u32) -> T {
        T::low((a.sext() >> shift) as u64)
    }
}

/// The element of EEW = 8 << eew at index `i` of the group that begins at `reg`, extended to 64 bits.
#[inline(always)]
pub fn get_extended(s: &Shape, v: &VectorRegs, eew: u8, reg: usize, i: usize, signed: bool) -> u64 {
    by_sew!(eew, T => extend::<T, u64>(s.get::<T>(v, reg, i), signed))
}

/// Extension from SEW >> `LOG2`.
fn extension<const LOG2: u8, const SIGNED: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    require(s.sew >= LOG2)?;
    let eew = s.sew - LOG2;
    let (d, a): (Group, Group) = (s.same(c.vd())?, s.group(c.vs2(), eew)?);
    s.check(&c, d, &[a])?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |v, i| T::low(get_extended(&s, v, eew, c.vs2(), i, SIGNED))));
    Ok(0)
}

functions! {
    VwadduVv => vv::<Addu>,
    VwadduVx => vx::<Addu>,
    VwadduWv => wv::<Addu>,
    VwadduWx => wx::<Addu>,
    VwaddVv => vv::<Add>,
    VwaddVx => vx::<Add>,
    VwaddWv => wv::<Add>,
    VwaddWx => wx::<Add>,
    VwsubuVv => vv::<Subu>,
    VwsubuVx => vx::<Subu>,
    VwsubuWv => wv::<Subu>,
    VwsubuWx => wx::<Subu>,
    VwsubVv => vv::<Sub>,
    VwsubVx => vx::<Sub>,
    VwsubWv => wv::<Sub>,
    VwsubWx => wx::<Sub>,
    VwmuluVv => vv::<Mulu>,
    VwmuluVx => vx::<Mulu>,
    VwmulsuVv => vv::<Mulsu>,
    VwmulsuVx => vx::<Mulsu>,
    VwmulVv => vv::<Mul>,
    VwmulVx => vx::<Mul>,
    VwmaccuVv => vv::<Maccu>,
    VwmaccuVx => vx::<Maccu>,
    VwmaccVv => vv::<Macc>,
    VwmaccVx => vx::<Macc>,
    VwmaccsuVv => vv::<Maccsu>,
    VwmaccsuVx => vx::<Maccsu>,
    VwmaccusVx => vx::<Maccus>,
    VnsrlWv => narrow_wv::<Logical>,
    VnsrlWx => narrow_wx::<Logical>,
    VnsrlWi => narrow_wi::<Logical>,
    VnsraWv => narrow_wv::<Arithmetic>,
    VnsraWx => narrow_wx::<Arithmetic>,
    VnsraWi => narrow_wi::<Arithmetic>,
    VzextVf2 => extension::<1, false>,
    VzextVf4 => extension::<2, false>,
    VzextVf8 => extension::<3, false>,
    VsextVf2 => extension::<1, true>,
    VsextVf4 => extension::<2, true>,
    VsextVf8 => extension::<3, true>,
}
