//! Bit manipulation and carry-less multiplication (Zvbb, Zvkb, Zvbc).

use super::elem::{Elem, by_sew, by_sew_wide};
use super::shape::{Second, Shape, require};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;
use crate::tcg::ir::BinOp;

/// An operation on the element of vs2 and that of vs1 or a scalar.
trait Binary {
    fn eval<T: Elem>(a: T, b: T) -> T;
}

macro_rules! operations {
    ($($name:ident |$a:ident, $b:pat_param| $e:expr;)*) => { $(
        struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn eval<T: Elem>($a: T, $b: T) -> T {
                $e
            }
        }
    )* };
}

/// Bits above an element in the 64-bit value that holds it.
const fn above<T: Elem>() -> u32 {
    64 - T::BITS
}

operations! {
    Andn |a, b| a.and(b.xor(T::ONES));
    Rol |a, b| a.sll(b).or(a.srl(T::ZERO.sub(b)));
    Ror |a, b| a.srl(b).or(a.sll(T::ZERO.sub(b)));
    Brev |a, _| T::low(a.zext().reverse_bits() >> above::<T>());
    Brev8 |a, _| T::low(a.zext().reverse_bits().swap_bytes());
    Rev8 |a, _| T::low(a.zext().swap_bytes() >> above::<T>());
    Clz |a, _| T::low(u64::from(a.zext().leading_zeros() - above::<T>()));
    Ctz |a, _| T::low(u64::from(a.zext().trailing_zeros().min(T::BITS)));
    Cpop |a, _| T::low(u64::from(a.zext().count_ones()));
    Clmul |a, b| T::low(BinOp::Clmul.eval(a.zext(), b.zext()));
    Clmulh |a, b| T::low(BinOp::Clmulh.eval(a.zext(), b.zext()));
}

fn vv<O: Binary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, true)?;
    by_sew!(s.sew, T N => s.map::<T, N>(&mut h.s.v, &c, Second::Vector, |_, a, b| O::eval::<T>(a, b)));
    Ok(0)
}

fn scalar<O: Binary>(h: &mut Hart, c: Call, x: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, false)?;
    by_sew!(s.sew, T N => s.map::<T, N>(&mut h.s.v, &c, Second::Scalar(T::low(x)), |_, a, b| O::eval::<T>(a, b)));
    Ok(0)
}

fn vx<O: Binary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<O>(h, c, c.x1)
}

/// Of vs2 alone.
fn unary<O: Binary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<O>(h, c, 0)
}

/// VROR.VI: bit 26 is the immediate's sixth.
fn ror_immediate(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<Ror>(h, c, c.uimm() | u64::from(c.raw >> 26 & 1) << 5)
}

/// Carry-less products are of 64-bit elements only.
fn carryless<O: Binary, const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    require(Shape::of(h)?.sew == 3)?;
    if VECTOR { vv::<O>(h, c) } else { vx::<O>(h, c) }
}

/// VWSLL: elements of vs2 shifted left in twice their width, by vs1 or `scalar`.
fn widening_shift(h: &mut Hart, c: Call, scalar: Option<u64>) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let (d, s2) = (s.wide(c.vd())?, s.same(c.vs2())?);
    let s1 = if scalar.is_none() { s.same(c.vs1())? } else { s2 };
    s.check(&c, d, &[s2, s1])?;
    by_sew_wide!(s.sew, T W => s.write::<W>(&mut h.s.v, &c, d, |v, i| {
        let by = scalar.unwrap_or_else(|| s.get::<T>(v, c.vs1(), i).zext());
        W::low(s.get::<T>(v, c.vs2(), i).zext()).sll(W::low(by))
    }));
    Ok(0)
}

functions! {
    VandnVv => vv::<Andn>,
    VandnVx => vx::<Andn>,
    VrolVv => vv::<Rol>,
    VrolVx => vx::<Rol>,
    VrorVv => vv::<Ror>,
    VrorVx => vx::<Ror>,
    VrorVi => ror_immediate,
    Vbrev8V => unary::<Brev8>,
    Vrev8V => unary::<Rev8>,
    VbrevV => unary::<Brev>,
    VclzV => unary::<Clz>,
    VctzV => unary::<Ctz>,
    VcpopV => unary::<Cpop>,
    VwsllVv => |h, c| widening_shift(h, c, None),
    VwsllVx => |h, c| widening_shift(h, c, Some(c.x1)),
    VwsllVi => |h, c| widening_shift(h, c, Some(c.uimm())),
    VclmulVv => carryless::<Clmul, true>,
    VclmulVx => carryless::<Clmul, false>,
    VclmulhVv => carryless::<Clmulh, true>,
    VclmulhVx => carryless::<Clmulh, false>,
}
