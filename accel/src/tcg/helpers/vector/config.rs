//! `vsetvli`, `vsetivli` and `vsetvl` (V, "Configuration-Setting Instructions").

use super::shape::{VILL, VType, VectorUnit};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;

functions! {
    Vsetvli => |h, c| {
        let avl = avl(h, c);
        Ok(configure(h, avl, u64::from(c.raw >> 20 & 0x7ff)))
    },
    Vsetivli => |h, c| Ok(configure(h, Avl::Elements(c.uimm()), u64::from(c.raw >> 20 & 0x3ff))),
    Vsetvl => vsetvl,
}

/// The application vector length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Avl {
    Elements(u64),
    /// As many as there can be.
    Max,
    /// What `vl` is.
    Keep,
}

fn vsetvl(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let avl = avl(h, c);
    Ok(configure(h, avl, c.x2))
}

fn avl(_: &Hart, c: Call) -> Avl {
    match (c.vs1(), c.vd()) {
        (0, 0) => Avl::Keep,
        (0, _) => Avl::Max,
        _ => Avl::Elements(c.x1),
    }
}

/// Whether a hart has the configuration. Fractions of a register are for elements up to that fraction of ELEN.
pub fn supported(unit: &VectorUnit, vtype: u64) -> bool {
    let (sew, lmul) = (vtype >> 3 & 7, VType::of(vtype).lmul);
    let widest = i64::from(unit.elen) + i64::from(lmul.min(0));
    vtype >> 8 == 0 && vtype & 7 != 4 && sew as i64 <= widest
}

/// Sets `vtype` and `vl`; returns the new `vl`.
fn configure(h: &mut Hart, avl: Avl, vtype: u64) -> u64 {
    let (unit, csr) = (&h.vector, &mut h.s.csr);
    let vlmax = vlmax(unit, vtype);
    let old = csr.vtype;
    // To keep vl where VLMAX changes is reserved.
    let lost =
        unit.keep_vlmax && avl == Avl::Keep && (old & VILL != 0 || VType::of(old).vlmax(unit.vlenb) as u64 != vlmax);
    if vlmax == 0 || lost {
        (csr.vtype, csr.vl) = (VILL, 0);
        return 0;
    }
    csr.vtype = vtype;
    csr.vl = match avl {
        Avl::Elements(n) => length(unit, n, vlmax),
        Avl::Max => vlmax,
        Avl::Keep => csr.vl.min(vlmax),
    };
    csr.vl
}

/// VLMAX of a configuration; 0 if the hart does not have it.
pub fn vlmax(unit: &VectorUnit, vtype: u64) -> u64 {
    if supported(unit, vtype) { VType::of(vtype).vlmax(unit.vlenb) as u64 } else { 0 }
}

/// `vl` for an AVL of `n`.
pub fn length(unit: &VectorUnit, n: u64, vlmax: u64) -> u64 {
    if n > vlmax && n < 2 * vlmax && unit.half_avl { n.div_ceil(2) } else { n.min(vlmax) }
}
