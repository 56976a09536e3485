//! Fixed-point arithmetic (V, "Vector Fixed-Point Arithmetic Instructions"): rounding by `vxrm`, saturation to `vxsat`.

use super::elem::{Elem, by_sew};
use super::shape::{Shape, require};
use super::widen::{Narrowing, narrow_wi, narrow_wv, narrow_wx};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;

/// The rounding mode, and whether a result was saturated.
pub struct FixedPoint {
    rm: u8,
    saturated: bool,
}

impl FixedPoint {
    pub fn of(h: &Hart) -> Self {
        Self { rm: (h.s.csr.vcsr >> 1 & 3) as u8, saturated: false }
    }

    /// Brings saturation into `vxsat`.
    pub fn finish(self, h: &mut Hart) {
        h.s.csr.vcsr |= u64::from(self.saturated);
    }

    /// `v >> shift`, rounded.
    #[inline(always)]
    fn shift(&self, v: i128, shift: u32) -> i128 {
        if shift == 0 {
            return v;
        }
        let half = v >> (shift - 1) & 1 != 0;
        let up = match self.rm {
            // To nearest, up at the middle.
            0 => half,
            // To nearest, to even at the middle.
            1 => half && (v & ((1 << (shift - 1)) - 1) != 0 || v >> shift & 1 != 0),
            // Down.
            2 => false,
            // To odd.
            _ => v >> shift & 1 == 0 && v & ((1 << shift) - 1) != 0,
        };
        (v >> shift) + i128::from(up)
    }

    #[inline(always)]
    fn clip(&mut self, v: i128, low: i128, high: i128) -> i128 {
        self.saturated |= v < low || v > high;
        v.clamp(low, high)
    }

    /// The nearest signed element.
    #[inline(always)]
    fn clip_signed<T: Elem>(&mut self, v: i128) -> T {
        T::low(self.clip(v, -(1 << (T::BITS - 1)), (1 << (T::BITS - 1)) - 1) as u64)
    }

    /// The nearest unsigned element.
    #[inline(always)]
    fn clip_unsigned<T: Elem>(&mut self, v: i128) -> T {
        T::low(self.clip(v, 0, (1 << T::BITS) - 1) as u64)
    }
}

#[inline(always)]
fn u<T: Elem>(x: T) -> i128 {
    i128::from(x.zext())
}

#[inline(always)]
fn s<T: Elem>(x: T) -> i128 {
    i128::from(x.sext())
}

trait Operation {
    fn eval<T: Elem>(x: &mut FixedPoint, a: T, b: T) -> T;
}

macro_rules! operations {
    ($($name:ident |$x:ident, $a:ident, $b:ident| $e:expr;)*) => { $(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn eval<T: Elem>($x: &mut FixedPoint, $a: T, $b: T) -> T {
                $e
            }
        }
    )* };
}

operations! {
    Saddu |x, a, b| x.clip_unsigned(u(a) + u(b));
    Sadd |x, a, b| x.clip_signed(s(a) + s(b));
    Ssubu |x, a, b| x.clip_unsigned(u(a) - u(b));
    Ssub |x, a, b| x.clip_signed(s(a) - s(b));
    Aaddu |x, a, b| T::low(x.shift(u(a) + u(b), 1) as u64);
    Aadd |x, a, b| T::low(x.shift(s(a) + s(b), 1) as u64);
    Asubu |x, a, b| T::low(x.shift(u(a) - u(b), 1) as u64);
    Asub |x, a, b| T::low(x.shift(s(a) - s(b), 1) as u64);
    Smul |x, a, b| {
        let product = x.shift(s(a) * s(b), T::BITS - 1);
        x.clip_signed(product)
    };
    Ssrl |x, a, b| T::low(x.shift(u(a), b.zext() as u32 & (T::BITS - 1)) as u64);
    Ssra |x, a, b| T::low(x.shift(s(a), b.zext() as u32 & (T::BITS - 1)) as u64);
}

/// `x`: the scalar in place of vs1.
fn perform<O: Operation>(h: &mut Hart, c: Call, scalar: Option<u64>) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, scalar.is_none())?;
    let d = s.same(c.vd())?;
    let mut x = FixedPoint::of(h);
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |v, i| {
        let b = match scalar {
            None => s.get(v, c.vs1(), i),
            Some(b) => T::low(b),
        };
        O::eval::<T>(&mut x, s.get(v, c.vs2(), i), b)
    }));
    x.finish(h);
    Ok(0)
}

fn vv<O: Operation>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    perform::<O>(h, c, None)
}

fn vx<O: Operation>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    perform::<O>(h, c, Some(c.x1))
}

fn vi<O: Operation>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    perform::<O>(h, c, Some(c.simm()))
}

fn vu<O: Operation>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    perform::<O>(h, c, Some(c.uimm()))
}

/// Products of 64-bit elements V has, Zve64* do not.
fn smul<const VECTOR: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    require(Shape::of(h)?.sew < 3 || h.vector.wide_products)?;
    if VECTOR { vv::<Smul>(h, c) } else { vx::<Smul>(h, c) }
}

struct Clipu;
impl Narrowing for Clipu {
    #[inline(always)]
    fn eval<T: Elem, W: Elem>(x: &mut FixedPoint, a: W, shift: u32) -> T {
        let shifted = x.shift(u(a), shift);
        x.clip_unsigned(shifted)
    }
}

struct Clip;
impl Narrowing for Clip {
    #[inline(always)]
    fn eval<T: Elem, W: Elem>(x: &mut FixedPoint, a: W, shift: u32) -> T {
        let shifted = x.shift(s(a), shift);
        x.clip_signed(shifted)
    }
}

functions! {
    VsadduVv => vv::<Saddu>,
    VsadduVx => vx::<Saddu>,
    VsadduVi => vi::<Saddu>,
    VsaddVv => vv::<Sadd>,
    VsaddVx => vx::<Sadd>,
    VsaddVi => vi::<Sadd>,
    VssubuVv => vv::<Ssubu>,
    VssubuVx => vx::<Ssubu>,
    VssubVv => vv::<Ssub>,
    VssubVx => vx::<Ssub>,
    VaadduVv => vv::<Aaddu>,
    VaadduVx => vx::<Aaddu>,
    VaaddVv => vv::<Aadd>,
    VaaddVx => vx::<Aadd>,
    VasubuVv => vv::<Asubu>,
    VasubuVx => vx::<Asubu>,
    VasubVv => vv::<Asub>,
    VasubVx => vx::<Asub>,
    VsmulVv => smul::<true>,
    VsmulVx => smul::<false>,
    VssrlVv => vv::<Ssrl>,
    VssrlVx => vx::<Ssrl>,
    VssrlVi => vu::<Ssrl>,
    VssraVv => vv::<Ssra>,
    VssraVx => vx::<Ssra>,
    VssraVi => vu::<Ssra>,
    VnclipuWv => narrow_wv::<Clipu>,
    VnclipuWx => narrow_wx::<Clipu>,
    VnclipuWi => narrow_wi::<Clipu>,
    VnclipWv => narrow_wv::<Clip>,
    VnclipWx => narrow_wx::<Clip>,
    VnclipWi => narrow_wi::<Clip>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_round_by_the_mode() {
        // 5/4, 6/4, 7/4, 10/4 and -6/4, by each mode: to nearest up, to nearest even, down, to odd.
        for (v, rounded) in
            [(5, [1, 1, 1, 1]), (6, [2, 2, 1, 1]), (7, [2, 2, 1, 1]), (10, [3, 2, 2, 3]), (-6, [-1, -2, -2, -1])]
        {
            for (rm, rounded) in rounded.into_iter().enumerate() {
                let x = FixedPoint { rm: rm as u8, saturated: false };
                assert_eq!(x.shift(v, 2), rounded, "{v} by mode {rm}");
                assert_eq!(x.shift(v, 0), v);
            }
        }
    }

    #[test]
    fn clipping_says_so() {
        let mut x = FixedPoint { rm: 0, saturated: false };
        assert_eq!((x.clip_signed::<u8>(-128), x.clip_unsigned::<u8>(255), x.saturated), (0x80, 0xff, false));
        assert_eq!((x.clip_signed::<u8>(128), x.saturated), (0x7f, true));
        x.saturated = false;
        assert_eq!((x.clip_unsigned::<u64>(-1), x.saturated), (0, true));
        x.saturated = false;
        assert_eq!((Smul::eval::<u64>(&mut x, 1 << 63, 1 << 63), x.saturated), (i64::MAX as u64, true));
    }
}
