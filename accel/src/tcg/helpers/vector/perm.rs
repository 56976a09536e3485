//! Permutations (V, "Vector Permutation Instructions").

use super::elem::{Elem, by_sew, get, mask_bit, set};
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::VectorRegs;
use crate::tcg::hart::Hart;

/// Element 0, sign-extended, whatever `vl` and `vstart` are; LMUL does not count.
fn to_scalar(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    Ok(by_sew!(s.sew, T => s.get::<T>(&h.s.v, c.vs2(), 0).sext()) as u64)
}

fn from_scalar(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    by_sew!(s.sew, T => s.write_scalar(&mut h.s.v, &c, T::low(c.x1)));
    Ok(0)
}

/// The destination may overlap no source.
pub fn apart(s: &Shape, c: &Call, d: Group, sources: &[Group]) -> Result<(), Stop> {
    s.check(c, d, sources)?;
    require(sources.iter().all(|source| !source.overlaps(&d)))
}

impl Shape {
    /// Moves elements up by `offset`; `fill` is what comes to element 0, if something does. Elements below are kept.
    #[inline(always)]
    pub fn slide_up<T: Elem>(&self, v: &mut VectorRegs, c: &Call, offset: u64, fill: Option<T>) {
        let d = Group { reg: c.vd(), emul: self.lmul, eew: self.sew };
        let kept = if fill.is_some() { 0 } else { offset.min(self.vl as u64) as usize };
        let moved = Shape { vstart: self.vstart.max(kept), ..*self };
        moved.write::<T>(v, c, d, |v, i| match fill {
            Some(x) if i == 0 => x,
            _ => self.get(v, c.vs2(), i - offset as usize),
        });
        // With all body elements kept the tail is still a tail.
        self.tail(v, d);
    }

    /// Moves elements down by `offset`; `fill` is what comes to the last one, where zeros would.
    #[inline(always)]
    pub fn slide_down<T: Elem>(&self, v: &mut VectorRegs, c: &Call, offset: u64, fill: Option<T>) {
        let d = Group { reg: c.vd(), emul: self.lmul, eew: self.sew };
        let vlmax = self.vlmax() as u64;
        self.write::<T>(v, c, d, |v, i| match fill {
            Some(x) if i + 1 == self.vl => x,
            _ => match offset.checked_add(i as u64) {
                Some(from) if from < vlmax => self.get(v, c.vs2(), from as usize),
                _ => T::ZERO,
            },
        });
    }
}

fn slide_up(h: &mut Hart, c: Call, offset: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    apart(&s, &c, s.same(c.vd())?, &[s.same(c.vs2())?])?;
    by_sew!(s.sew, T => s.slide_up::<T>(&mut h.s.v, &c, offset, None));
    Ok(0)
}

fn slide_down(h: &mut Hart, c: Call, offset: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, false)?;
    by_sew!(s.sew, T => s.slide_down::<T>(&mut h.s.v, &c, offset, None));
    Ok(0)
}

/// Slides up by one element; `x` comes in.
pub fn slide1_up(h: &mut Hart, c: Call, x: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    apart(&s, &c, s.same(c.vd())?, &[s.same(c.vs2())?])?;
    by_sew!(s.sew, T => s.slide_up::<T>(&mut h.s.v, &c, 1, Some(T::low(x))));
    Ok(0)
}

/// Slides down by one element; `x` comes in.
pub fn slide1_down(h: &mut Hart, c: Call, x: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    s.check_same(&c, false)?;
    by_sew!(s.sew, T => s.slide_down::<T>(&mut h.s.v, &c, 1, Some(T::low(x))));
    Ok(0)
}

/// Element `index` of vs2, zero if there is none.
#[inline(always)]
fn gathered<T: Elem>(s: &Shape, v: &VectorRegs, c: &Call, index: u64) -> T {
    if index < s.vlmax() as u64 { s.get(v, c.vs2(), index as usize) } else { T::ZERO }
}

fn gather(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let d = s.same(c.vd())?;
    apart(&s, &c, d, &[s.same(c.vs2())?, s.same(c.vs1())?])?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |v, i| gathered(&s, v, &c, s.get::<T>(v, c.vs1(), i).zext())));
    Ok(0)
}

fn gather_16(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let d = s.same(c.vd())?;
    apart(&s, &c, d, &[s.same(c.vs2())?, s.group(c.vs1(), 1)?])?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |v, i| gathered(&s, v, &c, s.get::<u16>(v, c.vs1(), i).zext())));
    Ok(0)
}

/// The same element for all.
fn gather_one(h: &mut Hart, c: Call, index: u64) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let d = s.same(c.vd())?;
    apart(&s, &c, d, &[s.same(c.vs2())?])?;
    by_sew!(s.sew, T => {
        let x = gathered::<T>(&s, &h.s.v, &c, index);
        s.write::<T>(&mut h.s.v, &c, d, |_, _| x);
    });
    Ok(0)
}

/// Elements whose bit in vs1 is set go to the front; what remains of vd is its tail.
fn compress(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let (d, a, b) = (s.same(c.vd())?, s.same(c.vs2())?, Group::mask(c.vs1()));
    require(s.vstart == 0)?;
    apart(&s, &c, d, &[a, b])?;
    if s.vl == 0 {
        return Ok(0);
    }
    let v = &mut h.s.v;
    let mut n = 0;
    by_sew!(s.sew, T => for i in 0..s.vl {
        if mask_bit(v, s.vlenb, c.vs1(), i) {
            let x = get::<T>(v, s.at::<T>(c.vs2(), i));
            set(v, s.at::<T>(c.vd(), n), x);
            n += 1;
        }
    });
    if s.tail_ones {
        let start = c.vd() * s.vlenb;
        v.0[start + (n << s.sew)..start + (s.vlenb << s.lmul.max(0))].fill(0xff);
    }
    Ok(0)
}

/// `N` whole registers, whatever `vl` and LMUL are; `vstart` counts elements of SEW.
fn whole<const N: usize>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    require(c.vd().is_multiple_of(N) && c.vs2().is_multiple_of(N))?;
    let (from, to, len) = (c.vs2() * s.vlenb, c.vd() * s.vlenb, N * s.vlenb);
    let done = (s.vstart << s.sew).min(len);
    h.s.v.0.copy_within(from + done..from + len, to + done);
    Ok(0)
}

functions! {
    VmvXS => to_scalar,
    VmvSX => from_scalar,
    VslideupVx => |h, c| slide_up(h, c, c.x1),
    VslideupVi => |h, c| slide_up(h, c, c.uimm()),
    VslidedownVx => |h, c| slide_down(h, c, c.x1),
    VslidedownVi => |h, c| slide_down(h, c, c.uimm()),
    Vslide1upVx => |h, c| slide1_up(h, c, c.x1),
    Vslide1downVx => |h, c| slide1_down(h, c, c.x1),
    VrgatherVv => gather,
    VrgatherVx => |h, c| gather_one(h, c, c.x1),
    VrgatherVi => |h, c| gather_one(h, c, c.uimm()),
    Vrgatherei16Vv => gather_16,
    VcompressVm => compress,
    Vmv1rV => whole::<1>,
    Vmv2rV => whole::<2>,
    Vmv4rV => whole::<4>,
    Vmv8rV => whole::<8>,
}
