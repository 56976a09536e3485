//! Integer reductions (V, "Vector Reduction Operations"): element 0 of vs1 and all active elements of vs2 to element 0
//! of vd.

use super::elem::{Elem, by_sew, by_sew_wide, set};
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::VectorRegs;
use crate::tcg::hart::Hart;

trait Reduction {
    fn eval<T: Elem>(sum: T, x: T) -> T;
}

macro_rules! reductions {
    ($($name:ident |$a:ident, $b:ident| $e:expr;)*) => { $(
        struct $name;
        impl Reduction for $name {
            #[inline(always)]
            fn eval<T: Elem>($a: T, $b: T) -> T {
                $e
            }
        }
    )* };
}

reductions! {
    Sum |a, b| a.add(b);
    And |a, b| a.and(b);
    Or |a, b| a.or(b);
    Xor |a, b| a.xor(b);
    Minu |a, b| a.min(b);
    Min |a, b| T::of_signed(a.signed().min(b.signed()));
    Maxu |a, b| a.max(b);
    Max |a, b| T::of_signed(a.signed().max(b.signed()));
}

impl Shape {
    /// Checks of a reduction whose scalar has EEW = 8 << eew. The scalars' registers need no alignment, and the
    /// destination may overlap everything.
    pub fn check_reduction(&self, c: &Call, eew: u8) -> Result<(), Stop> {
        require(self.vstart == 0 && eew <= self.elen)?;
        self.sources(c, &[self.same(c.vs2())?, Group { reg: c.vs1(), emul: 0, eew }])
    }

    /// Writes the scalar in element 0 of vd; the others are its tail. Nothing if there was nothing to do.
    pub fn write_scalar<T: Elem>(&self, v: &mut VectorRegs, c: &Call, value: T) {
        if self.vstart < self.vl {
            let start = c.vd() * self.vlenb;
            set(v, start, value);
            if self.tail_ones {
                v.0[start + T::BYTES..start + self.vlenb].fill(0xff);
            }
        }
    }

    /// Folds the active elements of vs2, as `load` gives them, over element 0 of vs1.
    #[inline(always)]
    pub fn reduce<T: Elem>(
        &self,
        v: &mut VectorRegs,
        c: &Call,
        load: impl Fn(&VectorRegs, usize) -> T,
        mut f: impl FnMut(T, T) -> T,
    ) {
        let mut sum = self.get::<T>(v, c.vs1(), 0);
        for i in 0..self.vl {
            if self.active(v, c, i) {
                sum = f(sum, load(v, i));
            }
        }
        self.write_scalar(v, c, sum);
    }
}

fn reduction<O: Reduction>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_reduction(&c, s.sew)?;
    by_sew!(s.sew, T => s.reduce::<T>(&mut h.s.v, &c, |v, i| s.get(v, c.vs2(), i), O::eval));
    Ok(0)
}

fn widening_sum<const SIGNED: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_reduction(&c, s.sew + 1)?;
    by_sew_wide!(s.sew, T W => s.reduce::<W>(
        &mut h.s.v,
        &c,
        |v, i| {
            let x = s.get::<T>(v, c.vs2(), i);
            W::low(if SIGNED { x.sext() as u64 } else { x.zext() })
        },
        Sum::eval,
    ));
    Ok(0)
}

functions! {
    VredsumVs => reduction::<Sum>,
    VredandVs => reduction::<And>,
    VredorVs => reduction::<Or>,
    VredxorVs => reduction::<Xor>,
    VredminuVs => reduction::<Minu>,
    VredminVs => reduction::<Min>,
    VredmaxuVs => reduction::<Maxu>,
    VredmaxVs => reduction::<Max>,
    VwredsumuVs => widening_sum::<false>,
    VwredsumVs => widening_sum::<true>,
}
