//! What every vector instruction starts from: whether it may run, how long and how wide it is, which registers it may
//! name, and the walk over its elements.
//!
//! V, "Vector Type (`vtype`) Register", "Vector Operands", "Prestart, Active, Inactive, Body, and Tail Element
//! Definitions" and "Vector Masking".

use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};

use super::elem::{Elem, get, mask_bit, set, set_mask_bit};
use super::{Call, Stop};
use crate::tcg::csr::status;
use crate::tcg::hart::Hart;
use crate::{HartState, VectorRegs};

/// `vtype.vill`.
pub const VILL: u64 = 1 << 63;

/// Whether vector instructions and CSRs may be used now.
#[inline]
pub fn enabled(s: &HartState) -> bool {
    !status::is_off(s, mstatus::VS)
}

/// Marks the vector state dirty, as each instruction that writes it does.
pub fn make_dirty(s: &mut HartState) {
    status::set_dirty(s, mstatus::VS);
}

/// What the ISA says of a hart's vectors, at hand.
#[derive(Debug, Clone, Copy)]
pub struct VectorUnit {
    /// Bytes of a register.
    pub vlenb: usize,
    /// log2 of the bytes of the widest element: 2 or 3.
    pub elen: u8,
    /// High halves of 64-bit products exist (V has them, Zve64* do not).
    pub wide_products: bool,
    /// Arithmetic on elements of half precision (Zvfh), conversions from and to them (Zvfhmin), and arithmetic on those of
    /// double precision (Zve64d). All harts with the instructions have single precision.
    pub half: bool,
    pub half_conversions: bool,
    pub double: bool,
    /// SHA-512 besides SHA-256 (Zvknhb).
    pub sha512: bool,
    /// Agnostic elements become all ones, else they keep their values.
    pub tail_ones: bool,
    pub inactive_ones: bool,
    /// `vl` is half of AVL, rounded up, where AVL is between VLMAX and twice that.
    pub half_avl: bool,
    /// `vset{i}vl{i} x0, x0` that changes VLMAX sets `vill`.
    pub keep_vlmax: bool,
}

impl VectorUnit {
    pub fn of(isa: &IsaConfig) -> Self {
        Self {
            vlenb: isa.vlen as usize / 8,
            elen: if isa.has(Ext::Zve64x) { 3 } else { 2 },
            wide_products: isa.has(Ext::V),
            half: isa.has(Ext::Zvfh),
            half_conversions: isa.has(Ext::Zvfhmin),
            double: isa.has(Ext::Zve64d),
            sha512: isa.has(Ext::Zvknhb),
            tail_ones: isa.rvv.ta_all_1s,
            inactive_ones: isa.rvv.ma_all_1s,
            half_avl: isa.rvv.vl_half_avl,
            keep_vlmax: isa.rvv.vsetvl_x0_vill,
        }
    }
}

/// The fields of a legal `vtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VType {
    /// SEW = 8 << sew.
    pub sew: u8,
    /// LMUL = 2^lmul, -3 to 3.
    pub lmul: i8,
    pub tail_agnostic: bool,
    pub mask_agnostic: bool,
}

impl VType {
    /// The fields of `bits`, which do not have `vill`.
    #[inline]
    pub fn of(bits: u64) -> Self {
        Self {
            sew: (bits >> 3 & 3) as u8,
            lmul: (bits as i8) << 5 >> 5,
            tail_agnostic: bits & 1 << 6 != 0,
            mask_agnostic: bits & 1 << 7 != 0,
        }
    }

    /// VLMAX = LMUL * VLEN / SEW.
    #[inline]
    pub fn vlmax(self, vlenb: usize) -> usize {
        scale(vlenb, self.lmul) >> self.sew
    }
}

/// `n * 2^log2`.
#[inline]
pub fn scale(n: usize, log2: i8) -> usize {
    if log2 < 0 { n >> -log2 } else { n << log2 }
}

/// Registers of a group with EMUL = 2^emul.
#[inline]
pub fn group_len(emul: i8) -> usize {
    1 << emul.max(0)
}

/// Registers that a vector operand names: the first, EMUL and log2 of the bytes of an element.
/// A mask has EMUL 0 and the EEW [`MASK`].
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub reg: usize,
    pub emul: i8,
    pub eew: u8,
}

/// The EEW of a [`Group`] that is a mask, one bit an element.
pub const MASK: u8 = u8::MAX;

impl Group {
    #[inline]
    pub fn mask(reg: usize) -> Self {
        Self { reg, emul: 0, eew: MASK }
    }

    #[inline]
    fn end(&self) -> usize {
        self.reg + group_len(self.emul)
    }

    #[inline]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.reg < other.end() && other.reg < self.end()
    }
}

/// A vector instruction's length and widths, and what happens to elements that it does not compute.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub vl: usize,
    pub vstart: usize,
    /// SEW = 8 << sew.
    pub sew: u8,
    pub lmul: i8,
    pub vlenb: usize,
    /// The tail becomes all ones.
    pub tail_ones: bool,
    /// Inactive elements become all ones.
    pub inactive_ones: bool,
    /// The tail of a mask, which is agnostic whatever `vta` says, becomes all ones.
    pub mask_tail_ones: bool,
    /// Of the widest element, see [`VectorUnit`].
    pub elen: u8,
}

type Check = Result<(), Stop>;

/// Illegal unless `ok`.
#[inline]
pub fn require(ok: bool) -> Check {
    if ok { Ok(()) } else { Err(Stop::Illegal) }
}

impl Shape {
    /// Illegal if `vill` is set.
    #[inline]
    pub fn of(h: &Hart) -> Result<Self, Stop> {
        let csr = &h.s.csr;
        require(csr.vtype & VILL == 0)?;
        let (t, unit) = (VType::of(csr.vtype), &h.vector);
        Ok(Self {
            // Never more than there is room for, whatever state the hart was given.
            vl: (csr.vl as usize).min(t.vlmax(unit.vlenb)),
            vstart: csr.vstart as usize,
            sew: t.sew,
            lmul: t.lmul,
            vlenb: unit.vlenb,
            tail_ones: unit.tail_ones && t.tail_agnostic,
            inactive_ones: unit.inactive_ones && t.mask_agnostic,
            mask_tail_ones: unit.tail_ones,
            elen: unit.elen,
        })
    }

    /// With a legal `vtype`, for checks: the longest there can be.
    pub fn of_type(unit: &VectorUnit, vtype: u64) -> Self {
        let t = VType::of(vtype);
        Self {
            vl: t.vlmax(unit.vlenb),
            sew: t.sew,
            lmul: t.lmul,
            tail_ones: unit.tail_ones && t.tail_agnostic,
            inactive_ones: unit.inactive_ones && t.mask_agnostic,
            mask_tail_ones: unit.tail_ones,
            ..Self::without_type(unit)
        }
    }

    /// What instructions that do not look at `vtype` and `vl` start from.
    pub fn without_type(unit: &VectorUnit) -> Self {
        Self {
            vl: 0,
            vstart: 0,
            sew: 0,
            lmul: 0,
            vlenb: unit.vlenb,
            tail_ones: false,
            inactive_ones: false,
            mask_tail_ones: false,
            elen: unit.elen,
        }
    }

    pub fn vlmax(&self) -> usize {
        scale(self.vlenb, self.lmul) >> self.sew
    }

    /// The register group of an operand with EEW = 8 << eew and as many elements as SEW and LMUL give: illegal if EEW or
    /// EMUL do not exist, or the register is not the first of a group.
    #[inline]
    pub fn group(&self, reg: usize, eew: u8) -> Result<Group, Stop> {
        let emul = self.lmul + eew as i8 - self.sew as i8;
        require(eew <= self.elen && (-3..=3).contains(&emul) && reg.is_multiple_of(group_len(emul)))?;
        Ok(Group { reg, emul, eew })
    }

    /// The group of an operand with EEW = SEW.
    #[inline]
    pub fn same(&self, reg: usize) -> Result<Group, Stop> {
        self.group(reg, self.sew)
    }

    /// The group of an operand with EEW = 2 * SEW.
    #[inline]
    pub fn wide(&self, reg: usize) -> Result<Group, Stop> {
        self.group(reg, self.sew + 1)
    }

    /// A masked instruction may not write v0, unless what it writes is a mask or a scalar.
    #[inline]
    pub fn masked_destination(&self, c: &Call, d: &Group) -> Check {
        require(c.unmasked() || d.reg != 0)
    }

    /// A destination may overlap a source of another EEW in its lowest-numbered part if it is the narrower of the two, and
    /// in its own highest-numbered part if it is the wider one and the source is no fraction of a register.
    #[inline]
    pub fn destination(&self, d: &Group, sources: &[Group]) -> Check {
        for s in sources.iter().filter(|s| s.eew != d.eew && s.overlaps(d)) {
            let wider = s.eew == MASK || d.eew != MASK && d.eew > s.eew;
            let legal = if wider { s.emul >= 0 && s.end() == d.end() && s.eew != MASK } else { s.reg == d.reg };
            require(legal)?;
        }
        Ok(())
    }

    /// No register may be read with two EEWs, v0 as the mask included.
    #[inline]
    pub fn sources(&self, c: &Call, sources: &[Group]) -> Check {
        let mask = Group::mask(0);
        // The usual case in a hurry.
        if c.unmasked() && sources.iter().all(|s| s.eew == sources[0].eew) {
            return Ok(());
        }
        for (i, s) in sources.iter().enumerate() {
            require(c.unmasked() || s.eew == MASK || !s.overlaps(&mask))?;
            require(sources[i + 1..].iter().all(|t| s.eew == t.eew || !s.overlaps(t)))?;
        }
        Ok(())
    }

    /// All checks of an instruction that writes the vector `d`.
    #[inline]
    pub fn check(&self, c: &Call, d: Group, sources: &[Group]) -> Check {
        self.masked_destination(c, &d)?;
        self.destination(&d, sources)?;
        self.sources(c, sources)
    }

    /// All checks of an instruction whose vector operands all have EEW = SEW: vd and vs2, and vs1 if it has one.
    #[inline]
    pub fn check_same(&self, c: &Call, vs1: bool) -> Check {
        let (d, s2) = (self.same(c.vd())?, self.same(c.vs2())?);
        let s1 = if vs1 { self.same(c.vs1())? } else { s2 };
        self.check(c, d, &[s2, s1])
    }

    /// Byte of element `i` of the group that begins at `reg`.
    #[inline(always)]
    pub fn at<T: Elem>(&self, reg: usize, i: usize) -> usize {
        reg * self.vlenb + i * T::BYTES
    }

    /// Element `i` of the group that begins at `reg`.
    #[inline(always)]
    pub fn get<T: Elem>(&self, v: &VectorRegs, reg: usize, i: usize) -> T {
        get(v, self.at::<T>(reg, i))
    }

    /// Whether element `i` is active.
    #[inline(always)]
    pub fn active(&self, v: &VectorRegs, c: &Call, i: usize) -> bool {
        c.unmasked() || mask_bit(v, self.vlenb, 0, i)
    }

    /// Computes the elements of vd in ascending order from the registers as the elements before left them, which the
    /// rules for overlaps make safe; then sees to inactive elements and the tail.
    #[inline(always)]
    pub fn write<D: Elem>(&self, v: &mut VectorRegs, c: &Call, d: Group, mut f: impl FnMut(&VectorRegs, usize) -> D) {
        for i in self.vstart..self.vl {
            if self.active(v, c, i) {
                let value = f(v, i);
                set(v, self.at::<D>(d.reg, i), value);
            } else if self.inactive_ones {
                set(v, self.at::<D>(d.reg, i), D::ONES);
            }
        }
        self.tail(v, d);
    }

    /// As [`Shape::write`] for a destination of EEW = SEW and operations on the old element, that of vs2 and that of vs1
    /// or a scalar, 16 bytes at a time where nothing is left out.
    #[inline(always)]
    pub fn map<T: Elem, const N: usize>(
        &self,
        v: &mut VectorRegs,
        c: &Call,
        second: Second<T>,
        f: impl Fn(T, T, T) -> T,
    ) {
        let (d, a) = (c.vd() * self.vlenb, c.vs2() * self.vlenb);
        if !c.unmasked() || self.vstart != 0 {
            let d = Group { reg: c.vd(), emul: self.lmul, eew: self.sew };
            return self.write(v, c, d, |v, i| {
                let b = match second {
                    Second::Vector => self.get(v, c.vs1(), i),
                    Second::Scalar(x) => x,
                };
                f(get(v, self.at::<T>(c.vd(), i)), self.get(v, c.vs2(), i), b)
            });
        }
        let whole = self.vl / N;
        match second {
            Second::Vector => {
                let b = c.vs1() * self.vlenb;
                for k in 0..whole {
                    let (x, y, z) = (block::<T, N>(v, d, k), block::<T, N>(v, a, k), block::<T, N>(v, b, k));
                    set_block::<T, N>(v, d, k, std::array::from_fn(|j| f(x[j], y[j], z[j])));
                }
                for i in whole * N..self.vl {
                    let at = i * T::BYTES;
                    let value = f(get(v, d + at), get(v, a + at), get(v, b + at));
                    set(v, d + at, value);
                }
            }
            Second::Scalar(z) => {
                for k in 0..whole {
                    let (x, y) = (block::<T, N>(v, d, k), block::<T, N>(v, a, k));
                    set_block::<T, N>(v, d, k, std::array::from_fn(|j| f(x[j], y[j], z)));
                }
                for i in whole * N..self.vl {
                    let at = i * T::BYTES;
                    let value = f(get(v, d + at), get(v, a + at), z);
                    set(v, d + at, value);
                }
            }
        }
        self.tail(v, Group { reg: c.vd(), emul: self.lmul, eew: self.sew });
    }

    /// What agnostic tail elements of the destination become. Nothing if there was nothing to do: then the tail is not
    /// touched either.
    #[inline]
    pub fn tail(&self, v: &mut VectorRegs, d: Group) {
        if self.tail_ones && self.vstart < self.vl {
            let start = d.reg * self.vlenb;
            v.0[start + (self.vl << d.eew)..start + (self.vlenb << d.emul.max(0))].fill(0xff);
        }
    }

    /// Computes the bits of a mask in register vd from the registers as they were before the instruction. Where
    /// `masked` is false v0 is an operand, not the mask.
    #[inline(always)]
    pub fn write_mask(
        &self,
        v: &mut VectorRegs,
        c: &Call,
        masked: bool,
        mut f: impl FnMut(&VectorRegs, usize) -> bool,
    ) {
        let mut bits = [0u8; crate::MAX_VLEN / 8];
        let start = c.vd() * self.vlenb;
        bits[..self.vlenb].copy_from_slice(&v.0[start..start + self.vlenb]);
        let mut first = self.vstart;
        if first == 0 && (!masked || c.unmasked()) {
            // Whole bytes at once.
            first = self.vl & !7;
            for (n, byte) in bits[..first / 8].iter_mut().enumerate() {
                *byte = (0..8).fold(0, |byte, bit| byte | u8::from(f(v, 8 * n + bit)) << bit);
            }
        }
        let mut put = |i: usize, bit: bool| bits[i / 8] = bits[i / 8] & !(1 << (i % 8)) | u8::from(bit) << (i % 8);
        for i in first..self.vl {
            if !masked || self.active(v, c, i) {
                put(i, f(v, i));
            } else if self.inactive_ones {
                put(i, true);
            }
        }
        v.0[start..start + self.vlenb].copy_from_slice(&bits[..self.vlenb]);
        self.mask_tail(v, c.vd());
    }

    /// The tail of a mask in register `reg`.
    pub fn mask_tail(&self, v: &mut VectorRegs, reg: usize) {
        if self.mask_tail_ones && self.vstart < self.vl {
            (self.vl..self.vlenb * 8).for_each(|i| set_mask_bit(v, self.vlenb, reg, i, true));
        }
    }
}

/// The operand beside vs2.
#[derive(Debug, Clone, Copy)]
pub enum Second<T> {
    /// vs1.
    Vector,
    Scalar(T),
}

/// The `k`-th run of `N` elements from byte `base` on.
#[inline(always)]
fn block<T: Elem, const N: usize>(v: &VectorRegs, base: usize, k: usize) -> [T; N] {
    let at = base + k * N * T::BYTES;
    assert!(at + N * T::BYTES <= v.0.len());
    // SAFETY: inside the array, as was just checked; every `Elem` is an integer, for which all bytes are values.
    unsafe { v.0.as_ptr().add(at).cast::<[T; N]>().read_unaligned() }
}

#[inline(always)]
fn set_block<T: Elem, const N: usize>(v: &mut VectorRegs, base: usize, k: usize, values: [T; N]) {
    let at = base + k * N * T::BYTES;
    assert!(at + N * T::BYTES <= v.0.len());
    // SAFETY: inside the array, as was just checked.
    unsafe { v.0.as_mut_ptr().add(at).cast::<[T; N]>().write_unaligned(values) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sew: u8, lmul: i8) -> Shape {
        let unit = VectorUnit::of(&IsaConfig::default());
        Shape { sew, lmul, elen: 3, vl: 4, ..Shape::without_type(&unit) }
    }

    fn call(masked: bool) -> Call {
        Call { raw: if masked { 0 } else { 1 << 25 }, x1: 0, x2: 0 }
    }

    #[test]
    fn fields_of_vtype() {
        let t = VType::of(0b1101_1111);
        assert_eq!((t.sew, t.lmul, t.tail_agnostic, t.mask_agnostic), (3, -1, true, true));
        assert_eq!((VType::of(5).lmul, VType::of(3).lmul), (-3, 3));
        assert_eq!((VType::of(3).vlmax(16), VType::of(5).vlmax(16), VType::of(3 << 3).vlmax(16)), (128, 2, 2));
    }

    #[test]
    fn a_group_has_its_width_and_its_registers() {
        let s = shape(1, 1);
        assert_eq!(s.group(4, 0).unwrap().emul, 0);
        assert_eq!(s.wide(4).unwrap().emul, 2);
        assert!(s.wide(6).is_err() && s.same(6).is_ok() && s.same(7).is_err());
        assert!(shape(0, 3).wide(0).is_err(), "sixteen registers");
        assert!(shape(3, 0).wide(0).is_err(), "128 bits");
        assert!(shape(3, 0).group(1, 0).is_ok() && shape(3, -1).group(1, 0).is_err(), "a sixteenth");
    }

    #[test]
    fn overlaps_of_different_widths() {
        let s = shape(0, 0);
        let (d, wide) = (s.same(3).unwrap(), s.wide(2).unwrap());
        assert!(s.destination(&d, &[wide]).is_err() && s.destination(&s.same(2).unwrap(), &[wide]).is_ok());
        assert!(s.destination(&wide, &[d]).is_ok() && s.destination(&wide, &[s.same(2).unwrap()]).is_err());
        let half = shape(0, -1);
        assert!(half.destination(&half.wide(3).unwrap(), &[half.same(3).unwrap()]).is_err(), "a fraction");
        assert!(s.destination(&Group::mask(2), &[wide]).is_ok() && s.destination(&Group::mask(3), &[wide]).is_err());
        assert!(s.destination(&d, &[Group::mask(3)]).is_err());
    }

    #[test]
    fn sources_have_one_width() {
        let s = shape(0, 0);
        let (a, b) = (s.same(3).unwrap(), s.wide(2).unwrap());
        assert!(s.sources(&call(false), &[a, a]).is_ok() && s.sources(&call(false), &[a, b]).is_err());
        let zero = s.same(0).unwrap();
        assert!(s.sources(&call(false), &[zero]).is_ok() && s.sources(&call(true), &[zero]).is_err());
        assert!(s.sources(&call(true), &[Group::mask(0)]).is_ok());
    }

    #[test]
    fn elements_that_are_not_computed_keep_or_become_ones() {
        let c = Call { raw: 8 << 7, ..call(true) };
        let run = |s: Shape| {
            let mut v = VectorRegs::default();
            v.0[0] = 0b1010;
            let d = Group { reg: 8, emul: 0, eew: 0 };
            s.write::<u8>(&mut v, &c, d, |_, i| 0x10 + i as u8);
            v.0[8 * s.vlenb..8 * s.vlenb + 6].to_vec()
        };
        assert_eq!(run(shape(0, 0)), [0, 0x11, 0, 0x13, 0, 0]);
        assert_eq!(run(Shape { vstart: 2, ..shape(0, 0) }), [0, 0, 0, 0x13, 0, 0]);
        let ones = Shape { tail_ones: true, inactive_ones: true, ..shape(0, 0) };
        assert_eq!(run(ones), [0xff, 0x11, 0xff, 0x13, 0xff, 0xff]);
        assert_eq!(run(Shape { vstart: 4, ..ones }), [0; 6], "nothing to do, the tail included");
    }

    #[test]
    fn sixteen_bytes_at_a_time_and_one_by_one_agree() {
        for vl in 0..=32 {
            let s = Shape { vl, vlenb: 16, ..shape(1, 2) };
            let c = Call { raw: 8 << 7 | 12 << 15 | 16 << 20 | 1 << 25, ..call(false) };
            let mut fast = VectorRegs::default();
            fast.0.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 7) as u8);
            let mut slow = fast.clone();
            s.map::<u16, 8>(&mut fast, &c, Second::Vector, |d, a, b| d.add(a.mul(b)));
            let d = s.same(8).unwrap();
            s.write::<u16>(&mut slow, &c, d, |v, i| {
                s.get::<u16>(v, 8, i).add(s.get::<u16>(v, 16, i).mul(s.get(v, 12, i)))
            });
            assert!(fast == slow, "vl {vl}");
        }
    }
}
