//! Integer arithmetic of single width.

use super::elem::{Elem, by_sew};
use super::shape::{Second, Shape};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;

/// An operation on the old element of vd, that of vs2, and that of vs1 or a scalar.
trait Ternary {
    fn eval<T: Elem>(d: T, a: T, b: T) -> T;
}

macro_rules! operations {
    ($($name:ident |$d:pat_param, $a:ident, $b:ident| $e:expr;)*) => { $(
        struct $name;
        impl Ternary for $name {
            #[inline(always)]
            fn eval<T: Elem>($d: T, $a: T, $b: T) -> T {
                $e
            }
        }
    )* };
}

operations! {
    Add |_, a, b| a.add(b);
    Sub |_, a, b| a.sub(b);
    Rsub |_, a, b| b.sub(a);
    Minu |_, a, b| a.min(b);
    Min |_, a, b| T::of_signed(a.signed().min(b.signed()));
    Maxu |_, a, b| a.max(b);
    Max |_, a, b| T::of_signed(a.signed().max(b.signed()));
    And |_, a, b| a.and(b);
    Or |_, a, b| a.or(b);
    Xor |_, a, b| a.xor(b);
    Sll |_, a, b| a.sll(b);
    Srl |_, a, b| a.srl(b);
    Sra |_, a, b| a.sra(b);
    Mul |_, a, b| a.mul(b);
    Divu |_, a, b| if b == T::ZERO { T::ONES } else { T::low(a.zext() / b.zext()) };
    Div |_, a, b| if b == T::ZERO { T::ONES } else { T::low(a.sext().wrapping_div(b.sext()) as u64) };
    Remu |_, a, b| if b == T::ZERO { a } else { T::low(a.zext() % b.zext()) };
    Rem |_, a, b| if b == T::ZERO { a } else { T::low(a.sext().wrapping_rem(b.sext()) as u64) };
    Mulhu |_, a, b| T::low(((u128::from(a.zext()) * u128::from(b.zext())) >> T::BITS) as u64);
    Mulh |_, a, b| T::low(((i128::from(a.sext()) * i128::from(b.sext())) >> T::BITS) as u64);
    Mulhsu |_, a, b| T::low(((i128::from(a.sext()) * i128::from(b.zext())) >> T::BITS) as u64);
    Madd |d, a, b| b.mul(d).add(a);
    Nmsub |d, a, b| a.sub(b.mul(d));
    Macc |d, a, b| b.mul(a).add(d);
    Nmsac |d, a, b| d.sub(b.mul(a));
}

fn vv<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, true)?;
    by_sew!(s.sew, T N => s.map::<T, N>(&mut h.s.v, &c, Second::Vector, O::eval::<T>));
    Ok(0)
}

fn scalar<O: Ternary>(h: &mut Hart, c: Call, x: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, false)?;
    by_sew!(s.sew, T N => s.map::<T, N>(&mut h.s.v, &c, Second::Scalar(T::low(x)), O::eval::<T>));
    Ok(0)
}

fn vx<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<O>(h, c, c.x1)
}

fn vi<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<O>(h, c, c.simm())
}

/// With an unsigned immediate.
fn vu<O: Ternary>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    scalar::<O>(h, c, c.uimm())
}

/// High halves of products: of 64-bit elements V has them, Zve64* do not.
fn high<O: Ternary, const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    super::shape::require(s.sew < 3 || h.vector.wide_products)?;
    if VECTOR { vv::<O>(h, c) } else { vx::<O>(h, c) }
}

functions! {
    VaddVv => vv::<Add>,
    VaddVx => vx::<Add>,
    VaddVi => vi::<Add>,
    VsubVv => vv::<Sub>,
    VsubVx => vx::<Sub>,
    VrsubVx => vx::<Rsub>,
    VrsubVi => vi::<Rsub>,
    VminuVv => vv::<Minu>,
    VminuVx => vx::<Minu>,
    VminVv => vv::<Min>,
    VminVx => vx::<Min>,
    VmaxuVv => vv::<Maxu>,
    VmaxuVx => vx::<Maxu>,
    VmaxVv => vv::<Max>,
    VmaxVx => vx::<Max>,
    VandVv => vv::<And>,
    VandVx => vx::<And>,
    VandVi => vi::<And>,
    VorVv => vv::<Or>,
    VorVx => vx::<Or>,
    VorVi => vi::<Or>,
    VxorVv => vv::<Xor>,
    VxorVx => vx::<Xor>,
    VxorVi => vi::<Xor>,
    VsllVv => vv::<Sll>,
    VsllVx => vx::<Sll>,
    VsllVi => vu::<Sll>,
    VsrlVv => vv::<Srl>,
    VsrlVx => vx::<Srl>,
    VsrlVi => vu::<Srl>,
    VsraVv => vv::<Sra>,
    VsraVx => vx::<Sra>,
    VsraVi => vu::<Sra>,
    VmulVv => vv::<Mul>,
    VmulVx => vx::<Mul>,
    VmulhVv => high::<Mulh, true>,
    VmulhVx => high::<Mulh, false>,
    VmulhuVv => high::<Mulhu, true>,
    VmulhuVx => high::<Mulhu, false>,
    VmulhsuVv => high::<Mulhsu, true>,
    VmulhsuVx => high::<Mulhsu, false>,
    VdivuVv => vv::<Divu>,
    VdivuVx => vx::<Divu>,
    VdivVv => vv::<Div>,
    VdivVx => vx::<Div>,
    VremuVv => vv::<Remu>,
    VremuVx => vx::<Remu>,
    VremVv => vv::<Rem>,
    VremVx => vx::<Rem>,
    VmaddVv => vv::<Madd>,
    VmaddVx => vx::<Madd>,
    VnmsubVv => vv::<Nmsub>,
    VnmsubVx => vx::<Nmsub>,
    VmaccVv => vv::<Macc>,
    VmaccVx => vx::<Macc>,
    VnmsacVv => vv::<Nmsac>,
    VnmsacVx => vx::<Nmsac>,
}
