//! Mask instructions (V, "Vector Mask Instructions").

use super::elem::{Elem, by_sew, mask_bit, set_mask_bit};
use super::shape::{Group, Shape, require};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;

/// A logical operation on eight bits of two masks.
type Logic = fn(u8, u8) -> u8;

/// Masks have no LMUL and no alignment; `vm` is set in the encoding.
fn logic(h: &mut Hart, c: Call, f: Logic) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let v = &mut h.s.v;
    let (d, a, b) = (c.vd() * s.vlenb, c.vs2() * s.vlenb, c.vs1() * s.vlenb);
    let mut i = s.vstart;
    while i < s.vl {
        let byte = i / 8;
        let value = f(v.0[a + byte], v.0[b + byte]);
        if i % 8 == 0 && s.vl - i >= 8 {
            v.0[d + byte] = value;
            i += 8;
        } else {
            set_mask_bit(v, s.vlenb, c.vd(), i, value >> (i % 8) & 1 != 0);
            i += 1;
        }
    }
    s.mask_tail(v, c.vd());
    Ok(0)
}

/// The indices of active elements whose bit in vs2 is set.
fn set_bits<'a>(s: &'a Shape, h: &'a Hart, c: &'a Call) -> impl Iterator<Item = usize> + 'a {
    (0..s.vl).filter(|i| s.active(&h.s.v, c, *i) && mask_bit(&h.s.v, s.vlenb, c.vs2(), *i))
}

fn count(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    require(s.vstart == 0)?;
    Ok(set_bits(&s, h, &c).count() as u64)
}

fn first(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    require(s.vstart == 0)?;
    Ok(set_bits(&s, h, &c).next().map_or(u64::MAX, |i| i as u64))
}

/// The bits of vd `before` the first set one in vs2, `at` it and `after` it.
fn around_first(h: &mut Hart, c: Call, before: bool, at: bool) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    require(s.vstart == 0 && c.vd() != c.vs2() && (c.unmasked() || c.vd() != 0))?;
    let first = set_bits(&s, h, &c).next().unwrap_or(usize::MAX);
    s.write_mask(&mut h.s.v, &c, true, |_, i| i < first && before || i == first && at);
    Ok(0)
}

fn iota(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let (d, a) = (s.same(c.vd())?, Group::mask(c.vs2()));
    require(s.vstart == 0)?;
    s.check(&c, d, &[a])?;
    require(!d.overlaps(&a))?;
    let mut sum = 0;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |v, i| {
        let before = sum;
        sum += u64::from(mask_bit(v, s.vlenb, c.vs2(), i));
        T::low(before)
    }));
    Ok(0)
}

fn id(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let d = s.same(c.vd())?;
    s.masked_destination(&c, &d)?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &c, d, |_, i| T::low(i as u64)));
    Ok(0)
}

functions! {
    VmandMm => |h, c| logic(h, c, |a, b| a & b),
    VmnandMm => |h, c| logic(h, c, |a, b| !(a & b)),
    VmandnMm => |h, c| logic(h, c, |a, b| a & !b),
    VmxorMm => |h, c| logic(h, c, |a, b| a ^ b),
    VmorMm => |h, c| logic(h, c, |a, b| a | b),
    VmnorMm => |h, c| logic(h, c, |a, b| !(a | b)),
    VmornMm => |h, c| logic(h, c, |a, b| a | !b),
    VmxnorMm => |h, c| logic(h, c, |a, b| !(a ^ b)),
    VcpopM => count,
    VfirstM => first,
    VmsbfM => |h, c| around_first(h, c, true, false),
    VmsifM => |h, c| around_first(h, c, true, true),
    VmsofM => |h, c| around_first(h, c, false, true),
    ViotaM => iota,
    VidV => id,
}
