//! Loads and stores (V, "Vector Loads and Stores").
//!
//! Elements are accessed in order, the fields of a segment one after the other. At the element that traps `vstart`
//! becomes its index, and all before it are done. Accesses go the way of scalar ones; only runs of elements that the
//! TLB has are copied whole.

use super::elem::{Elem, by_sew, get, set};
use super::shape::{Group, Shape, group_len, require};
use super::widen::get_extended;
use super::{Call, Stop, functions};
use crate::VectorRegs;
use crate::tcg::hart::Hart;
use crate::tcg::stops::STOP;
use crate::tcg::trap::Trap;
use arch::isa::Op;

const LOAD: bool = false;
const STORE: bool = true;

/// What is moved: `fields` groups of registers from `data` on, one behind the other.
struct Transfer {
    store: bool,
    data: Group,
    fields: usize,
    /// Elements, where `vl` does not count.
    len: usize,
}

impl Transfer {
    /// The groups have to exist: eight registers at most, up to v31.
    #[inline]
    fn new(c: &Call, store: bool, data: Group, len: usize) -> Result<Self, Stop> {
        let registers = c.fields() * group_len(data.emul);
        require(registers <= 8 && data.reg + registers <= 32)?;
        Ok(Self { store, data, fields: c.fields(), len })
    }

    /// Bytes of an element.
    #[inline]
    fn size(&self) -> usize {
        1 << self.data.eew
    }

    #[inline]
    fn field(&self, f: usize) -> Group {
        Group { reg: self.data.reg + f * group_len(self.data.emul), ..self.data }
    }

    /// Where field `f` of element `i` is in the registers.
    #[inline]
    fn at(&self, s: &Shape, i: usize, f: usize) -> usize {
        self.field(f).reg * s.vlenb + i * self.size()
    }

    /// Checks of masks and sources; `index` has the indices, if they are in registers.
    #[inline]
    fn check(&self, s: &Shape, c: &Call, index: Option<Group>) -> Result<(), Stop> {
        if self.store {
            if c.unmasked() && index.is_none() {
                return Ok(());
            }
            for f in 0..self.fields {
                let sources = [self.field(f), index.unwrap_or(self.field(f))];
                s.sources(c, &sources)?;
            }
            return Ok(());
        }
        s.masked_destination(c, &self.data)?;
        let Some(index) = index else { return Ok(()) };
        s.sources(c, &[index])?;
        s.destination(&self.data, &[index])?;
        // The groups of a segment may not overlap the indices at all.
        require(self.fields == 1 || (0..self.fields).all(|f| !self.field(f).overlaps(&index)))
    }

    /// Moves field `f` of element `i` from or to `va`.
    #[inline]
    fn move_one(&self, h: &mut Hart, s: &Shape, va: u64, i: usize, f: usize) -> Result<(), Trap> {
        let at = self.at(s, i, f);
        if self.store {
            let value = read(&h.s.v, at, self.data.eew);
            h.try_store(va, self.size() as u64, value)
        } else {
            let value = h.try_load(va, self.size() as u64)?;
            write(&mut h.s.v, at, self.data.eew, value);
            Ok(())
        }
    }

    /// All active elements; `address` is that of an element's first field.
    fn run(&self, h: &mut Hart, s: &Shape, c: &Call, address: impl Fn(&VectorRegs, usize) -> u64) -> Result<(), Stop> {
        for i in s.vstart..self.len {
            if !s.active(&h.s.v, c, i) {
                self.inactive(h, s, i);
                continue;
            }
            let va = address(&h.s.v, i);
            for f in 0..self.fields {
                let va = va.wrapping_add((f * self.size()) as u64);
                if let Err(trap) = self.move_one(h, s, va, i, f) {
                    h.s.csr.vstart = i as u64;
                    return Err(Stop::Trap(trap));
                }
            }
        }
        self.tail(h, s, self.len);
        Ok(())
    }

    /// Copies `count` elements from the `i`th on.
    ///
    /// # Safety
    /// At `host` are as many bytes of guest RAM, which no Rust reference reaches and which may be accessed so.
    unsafe fn copy(&self, h: &mut Hart, s: &Shape, i: usize, count: usize, host: *mut u8) {
        let at = self.at(s, i, 0);
        let bytes = &mut h.s.v.0[at..at + count * self.size()];
        // SAFETY: the caller's promise.
        unsafe {
            if self.store {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len());
            } else {
                std::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), bytes.len());
            }
        }
    }

    /// All elements from `base` on, one behind the other: as far as the TLB has the page in one piece.
    fn run_contiguous(&self, h: &mut Hart, s: &Shape, base: u64) -> Result<(), Stop> {
        let size = self.size();
        let mut i = s.vstart;
        while i < self.len {
            let va = base.wrapping_add((i * size) as u64);
            let in_page = (4096 - (va & 0xfff) as usize) / size;
            let count = in_page.min(self.len - i);
            let run = if count > 1 { h.probe(va, (count * size) as u64, self.store) } else { None };
            let Some(host) = run else {
                if let Err(trap) = self.move_one(h, s, va, i, 0) {
                    h.s.csr.vstart = i as u64;
                    return Err(Stop::Trap(trap));
                }
                i += 1;
                continue;
            };
            // SAFETY: `probe` answered for these bytes.
            unsafe { self.copy(h, s, i, count, host) };
            i += count;
        }
        self.tail(h, s, self.len);
        Ok(())
    }

    #[inline]
    fn inactive(&self, h: &mut Hart, s: &Shape, i: usize) {
        if !self.store && s.inactive_ones {
            for f in 0..self.fields {
                write(&mut h.s.v, self.at(s, i, f), self.data.eew, u64::MAX);
            }
        }
    }

    /// The tails of all fields behind `len` elements, if there was something to do.
    #[inline]
    fn tail(&self, h: &mut Hart, s: &Shape, len: usize) {
        if !self.store && s.tail_ones && s.vstart < self.len {
            for f in 0..self.fields {
                let start = self.field(f).reg * s.vlenb;
                h.s.v.0[start + len * self.size()..start + group_len(self.data.emul) * s.vlenb].fill(0xff);
            }
        }
    }
}

#[inline]
fn read(v: &VectorRegs, at: usize, eew: u8) -> u64 {
    by_sew!(eew, T => get::<T>(v, at).zext())
}

#[inline]
fn write(v: &mut VectorRegs, at: usize, eew: u8, value: u64) {
    by_sew!(eew, T => set(v, at, T::low(value)));
}

fn unit<const STORE: bool, const EEW: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let t = Transfer::new(&c, STORE, s.group(c.vd(), EEW)?, s.vl)?;
    t.check(&s, &c, None)?;
    if t.fields == 1 && c.unmasked() {
        t.run_contiguous(h, &s, c.x1)?;
    } else {
        let stride = t.fields * t.size();
        t.run(h, &s, &c, |_, i| c.x1.wrapping_add((i * stride) as u64))?;
    }
    Ok(0)
}

/// As a unit-stride load, but a trap at any element behind the first makes `vl` end there. A trigger that would have
/// raised it has then not fired.
fn fault_only_first<const EEW: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let t = Transfer::new(&c, LOAD, s.group(c.vd(), EEW)?, s.vl)?;
    t.check(&s, &c, None)?;
    let size = t.size() as u64;
    if t.fields == 1 && c.unmasked() && s.vstart < t.len {
        let (i, count) = (s.vstart, t.len - s.vstart);
        // What crosses into another page goes the long way.
        if let Some(host) = h.probe(c.x1.wrapping_add(i as u64 * size), count as u64 * size, LOAD) {
            // SAFETY: `probe` answered for these bytes.
            unsafe { t.copy(h, &s, i, count, host) };
            t.tail(h, &s, t.len);
            return Ok(0);
        }
    }
    let triggers = h.s.csr.triggers;
    let mut len = t.len;
    for i in s.vstart..t.len {
        if !s.active(&h.s.v, &c, i) {
            t.inactive(h, &s, i);
            continue;
        }
        let mut values = [0; 8];
        let va = |f: usize| c.x1.wrapping_add((i * t.fields + f) as u64 * size);
        match (0..t.fields).try_for_each(|f| h.try_load(va(f), size).map(|value| values[f] = value)) {
            Ok(()) => (0..t.fields).for_each(|f| write(&mut h.s.v, t.at(&s, i, f), EEW, values[f])),
            Err(trap) if i == 0 || trap.cause == STOP => {
                h.s.csr.vstart = i as u64;
                return Err(Stop::Trap(trap));
            }
            Err(_) => {
                len = i;
                h.s.csr.vl = i as u64;
                h.s.csr.triggers = triggers;
                break;
            }
        }
    }
    t.tail(h, &s, len);
    Ok(0)
}

fn strided<const STORE: bool, const EEW: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let t = Transfer::new(&c, STORE, s.group(c.vd(), EEW)?, s.vl)?;
    t.check(&s, &c, None)?;
    t.run(h, &s, &c, |_, i| c.x1.wrapping_add(c.x2.wrapping_mul(i as u64)))?;
    Ok(0)
}

/// Ordered and unordered alike: the indices have EEW, the data SEW.
fn indexed<const STORE: bool, const EEW: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let t = Transfer::new(&c, STORE, s.same(c.vd())?, s.vl)?;
    let index = s.group(c.vs2(), EEW)?;
    t.check(&s, &c, Some(index))?;
    t.run(h, &s, &c, |v, i| c.x1.wrapping_add(get_extended(&s, v, EEW, c.vs2(), i, false)))?;
    Ok(0)
}

/// A mask: as many bytes as `vl` has bits in it.
fn mask<const STORE: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    // The tail of a mask is agnostic in any case.
    let s = Shape { tail_ones: s.mask_tail_ones, ..s };
    let data = Group { reg: c.vd(), emul: 0, eew: 0 };
    Transfer::new(&c, STORE, data, s.vl.div_ceil(8))?.run_contiguous(h, &s, c.x1)?;
    Ok(0)
}

/// Whole registers, whatever `vtype` and `vl` are.
fn whole<const STORE: bool, const EEW: u8>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    require(EEW <= h.vector.elen && c.vd().is_multiple_of(c.fields()))?;
    let (vlenb, vstart) = (h.vector.vlenb, h.s.csr.vstart as usize);
    let s = Shape { vstart, vlenb, ..Shape::without_type(&h.vector) };
    let data = Group { reg: c.vd(), emul: 0, eew: EEW };
    let t = Transfer { store: STORE, data, fields: 1, len: (c.fields() * vlenb) >> EEW };
    t.run_contiguous(h, &s, c.x1)?;
    Ok(0)
}

/// What an instruction moves in one piece.
#[derive(Debug, Clone, Copy)]
pub enum Moved {
    /// Elements up to `vl`.
    Elements { store: bool, data: Group, fault_only_first: bool },
    /// As many bytes as `vl` has bits in it.
    Mask { store: bool },
    /// Bytes, whatever `vl` is.
    Registers { store: bool, bytes: usize },
    /// Segments up to `vl`, each the value of rs2 behind the one before. `data` is the first field's group.
    Strided { store: bool, data: Group, fields: usize },
    /// Segments up to `vl`, each behind an offset.
    Indexed { store: bool, data: Group, index: Group, fields: usize },
    /// Segments of several fields up to `vl`, one behind the other.
    Segments { store: bool, data: Group, fields: usize },
}

/// What `op` moves if it is legal; fault-only-first segments excepted.
pub fn moved(op: Op, c: &Call, s: &Shape) -> Option<Moved> {
    match op {
        Op::VlmV => return Some(Moved::Mask { store: LOAD }),
        Op::VsmV => return Some(Moved::Mask { store: STORE }),
        _ => {}
    }
    if let Some((store, eew)) = whole_registers(op) {
        let legal = eew <= s.elen && c.vd().is_multiple_of(c.fields());
        return legal.then_some(Moved::Registers { store, bytes: c.fields() * s.vlenb });
    }
    let fields = c.fields();
    let checked = |store, data, index| {
        let t = Transfer::new(c, store, data, s.vl).ok()?;
        t.check(s, c, index).ok()?;
        Some(t.data)
    };
    if fields > 1 {
        let (store, place, eew) = segments(op, c)?;
        return Some(match place {
            Place::Behind => Moved::Segments { store, data: checked(store, s.group(c.vd(), eew).ok()?, None)?, fields },
            Place::Stride => Moved::Strided { store, data: checked(store, s.group(c.vd(), eew).ok()?, None)?, fields },
            Place::Index => {
                let index = s.group(c.vs2(), eew).ok()?;
                Moved::Indexed { store, data: checked(store, s.same(c.vd()).ok()?, Some(index))?, index, fields }
            }
        });
    }
    let moved = if let Some((store, eew, fault_only_first)) = unit_stride(op) {
        let data = checked(store, s.group(c.vd(), eew).ok()?, None)?;
        Moved::Elements { store, data, fault_only_first }
    } else if let Some((store, eew)) = strided_elements(op) {
        Moved::Strided { store, data: checked(store, s.group(c.vd(), eew).ok()?, None)?, fields }
    } else {
        let (store, eew) = indexed_elements(op)?;
        let index = s.group(c.vs2(), eew).ok()?;
        Moved::Indexed { store, data: checked(store, s.same(c.vd()).ok()?, Some(index))?, index, fields }
    };
    Some(moved)
}

/// Where segments are.
enum Place {
    Behind,
    Stride,
    Index,
}

/// What the fields of an instruction say that moves segments of several fields, fault-only-first excepted: whether it
/// stores, where they are, and EEW, of the indices if there are some.
fn segments(op: Op, c: &Call) -> Option<(bool, Place, u8)> {
    let store = match c.raw & 0x7f {
        0x07 => LOAD,
        0x27 => STORE,
        _ => return None,
    };
    debug_assert!(function(op).is_some(), "an access of this family");
    let place = match (c.raw >> 26 & 3, c.vs2()) {
        (0, 0) => Place::Behind,
        (2, _) => Place::Stride,
        (1 | 3, _) => Place::Index,
        _ => return None,
    };
    let eew = match c.raw >> 12 & 7 {
        0 => 0,
        width @ 5..=7 => width as u8 - 4,
        _ => return None,
    };
    Some((store, place, eew))
}

/// EEW of unit-stride loads and stores, and whether only the first element may fault.
fn unit_stride(op: Op) -> Option<(bool, u8, bool)> {
    Some(match op {
        Op::Vle8V => (LOAD, 0, false),
        Op::Vle16V => (LOAD, 1, false),
        Op::Vle32V => (LOAD, 2, false),
        Op::Vle64V => (LOAD, 3, false),
        Op::Vle8ffV => (LOAD, 0, true),
        Op::Vle16ffV => (LOAD, 1, true),
        Op::Vle32ffV => (LOAD, 2, true),
        Op::Vle64ffV => (LOAD, 3, true),
        Op::Vse8V => (STORE, 0, false),
        Op::Vse16V => (STORE, 1, false),
        Op::Vse32V => (STORE, 2, false),
        Op::Vse64V => (STORE, 3, false),
        _ => return None,
    })
}

/// EEW of strided loads and stores.
fn strided_elements(op: Op) -> Option<(bool, u8)> {
    Some(match op {
        Op::Vlse8V => (LOAD, 0),
        Op::Vlse16V => (LOAD, 1),
        Op::Vlse32V => (LOAD, 2),
        Op::Vlse64V => (LOAD, 3),
        Op::Vsse8V => (STORE, 0),
        Op::Vsse16V => (STORE, 1),
        Op::Vsse32V => (STORE, 2),
        Op::Vsse64V => (STORE, 3),
        _ => return None,
    })
}

/// EEW of the indices of indexed loads and stores.
fn indexed_elements(op: Op) -> Option<(bool, u8)> {
    Some(match op {
        Op::Vluxei8V | Op::Vloxei8V => (LOAD, 0),
        Op::Vluxei16V | Op::Vloxei16V => (LOAD, 1),
        Op::Vluxei32V | Op::Vloxei32V => (LOAD, 2),
        Op::Vluxei64V | Op::Vloxei64V => (LOAD, 3),
        Op::Vsuxei8V | Op::Vsoxei8V => (STORE, 0),
        Op::Vsuxei16V | Op::Vsoxei16V => (STORE, 1),
        Op::Vsuxei32V | Op::Vsoxei32V => (STORE, 2),
        Op::Vsuxei64V | Op::Vsoxei64V => (STORE, 3),
        _ => return None,
    })
}

/// EEW of whole-register loads and stores.
fn whole_registers(op: Op) -> Option<(bool, u8)> {
    Some(match op {
        Op::Vl1re8V | Op::Vl2re8V | Op::Vl4re8V | Op::Vl8re8V => (LOAD, 0),
        Op::Vl1re16V | Op::Vl2re16V | Op::Vl4re16V | Op::Vl8re16V => (LOAD, 1),
        Op::Vl1re32V | Op::Vl2re32V | Op::Vl4re32V | Op::Vl8re32V => (LOAD, 2),
        Op::Vl1re64V | Op::Vl2re64V | Op::Vl4re64V | Op::Vl8re64V => (LOAD, 3),
        Op::Vs1rV | Op::Vs2rV | Op::Vs4rV | Op::Vs8rV => (STORE, 0),
        _ => return None,
    })
}

functions! {
    VlmV => mask::<LOAD>,
    VsmV => mask::<STORE>,
    Vle8V => unit::<LOAD, 0>,
    Vle16V => unit::<LOAD, 1>,
    Vle32V => unit::<LOAD, 2>,
    Vle64V => unit::<LOAD, 3>,
    Vle8ffV => fault_only_first::<0>,
    Vle16ffV => fault_only_first::<1>,
    Vle32ffV => fault_only_first::<2>,
    Vle64ffV => fault_only_first::<3>,
    Vlse8V => strided::<LOAD, 0>,
    Vlse16V => strided::<LOAD, 1>,
    Vlse32V => strided::<LOAD, 2>,
    Vlse64V => strided::<LOAD, 3>,
    Vluxei8V => indexed::<LOAD, 0>,
    Vluxei16V => indexed::<LOAD, 1>,
    Vluxei32V => indexed::<LOAD, 2>,
    Vluxei64V => indexed::<LOAD, 3>,
    Vloxei8V => indexed::<LOAD, 0>,
    Vloxei16V => indexed::<LOAD, 1>,
    Vloxei32V => indexed::<LOAD, 2>,
    Vloxei64V => indexed::<LOAD, 3>,
    Vse8V => unit::<STORE, 0>,
    Vse16V => unit::<STORE, 1>,
    Vse32V => unit::<STORE, 2>,
    Vse64V => unit::<STORE, 3>,
    Vsse8V => strided::<STORE, 0>,
    Vsse16V => strided::<STORE, 1>,
    Vsse32V => strided::<STORE, 2>,
    Vsse64V => strided::<STORE, 3>,
    Vsuxei8V => indexed::<STORE, 0>,
    Vsuxei16V => indexed::<STORE, 1>,
    Vsuxei32V => indexed::<STORE, 2>,
    Vsuxei64V => indexed::<STORE, 3>,
    Vsoxei8V => indexed::<STORE, 0>,
    Vsoxei16V => indexed::<STORE, 1>,
    Vsoxei32V => indexed::<STORE, 2>,
    Vsoxei64V => indexed::<STORE, 3>,
    Vlseg2e8V => unit::<LOAD, 0>,
    Vlseg2e16V => unit::<LOAD, 1>,
    Vlseg2e32V => unit::<LOAD, 2>,
    Vlseg2e64V => unit::<LOAD, 3>,
    Vlseg2e8ffV => fault_only_first::<0>,
    Vlseg2e16ffV => fault_only_first::<1>,
    Vlseg2e32ffV => fault_only_first::<2>,
    Vlseg2e64ffV => fault_only_first::<3>,
    Vlsseg2e8V => strided::<LOAD, 0>,
    Vlsseg2e16V => strided::<LOAD, 1>,
    Vlsseg2e32V => strided::<LOAD, 2>,
    Vlsseg2e64V => strided::<LOAD, 3>,
    Vluxseg2ei8V => indexed::<LOAD, 0>,
    Vluxseg2ei16V => indexed::<LOAD, 1>,
    Vluxseg2ei32V => indexed::<LOAD, 2>,
    Vluxseg2ei64V => indexed::<LOAD, 3>,
    Vloxseg2ei8V => indexed::<LOAD, 0>,
    Vloxseg2ei16V => indexed::<LOAD, 1>,
    Vloxseg2ei32V => indexed::<LOAD, 2>,
    Vloxseg2ei64V => indexed::<LOAD, 3>,
    Vsseg2e8V => unit::<STORE, 0>,
    Vsseg2e16V => unit::<STORE, 1>,
    Vsseg2e32V => unit::<STORE, 2>,
    Vsseg2e64V => unit::<STORE, 3>,
    Vssseg2e8V => strided::<STORE, 0>,
    Vssseg2e16V => strided::<STORE, 1>,
    Vssseg2e32V => strided::<STORE, 2>,
    Vssseg2e64V => strided::<STORE, 3>,
    Vsuxseg2ei8V => indexed::<STORE, 0>,
    Vsuxseg2ei16V => indexed::<STORE, 1>,
    Vsuxseg2ei32V => indexed::<STORE, 2>,
    Vsuxseg2ei64V => indexed::<STORE, 3>,
    Vsoxseg2ei8V => indexed::<STORE, 0>,
    Vsoxseg2ei16V => indexed::<STORE, 1>,
    Vsoxseg2ei32V => indexed::<STORE, 2>,
    Vsoxseg2ei64V => indexed::<STORE, 3>,
    Vlseg3e8V => unit::<LOAD, 0>,
    Vlseg3e16V => unit::<LOAD, 1>,
    Vlseg3e32V => unit::<LOAD, 2>,
    Vlseg3e64V => unit::<LOAD, 3>,
    Vlseg3e8ffV => fault_only_first::<0>,
    Vlseg3e16ffV => fault_only_first::<1>,
    Vlseg3e32ffV => fault_only_first::<2>,
    Vlseg3e64ffV => fault_only_first::<3>,
    Vlsseg3e8V => strided::<LOAD, 0>,
    Vlsseg3e16V => strided::<LOAD, 1>,
    Vlsseg3e32V => strided::<LOAD, 2>,
    Vlsseg3e64V => strided::<LOAD, 3>,
    Vluxseg3ei8V => indexed::<LOAD, 0>,
    Vluxseg3ei16V => indexed::<LOAD, 1>,
    Vluxseg3ei32V => indexed::<LOAD, 2>,
    Vluxseg3ei64V => indexed::<LOAD, 3>,
    Vloxseg3ei8V => indexed::<LOAD, 0>,
    Vloxseg3ei16V => indexed::<LOAD, 1>,
    Vloxseg3ei32V => indexed::<LOAD, 2>,
    Vloxseg3ei64V => indexed::<LOAD, 3>,
    Vsseg3e8V => unit::<STORE, 0>,
    Vsseg3e16V => unit::<STORE, 1>,
    Vsseg3e32V => unit::<STORE, 2>,
    Vsseg3e64V => unit::<STORE, 3>,
    Vssseg3e8V => strided::<STORE, 0>,
    Vssseg3e16V => strided::<STORE, 1>,
    Vssseg3e32V => strided::<STORE, 2>,
    Vssseg3e64V => strided::<STORE, 3>,
    Vsuxseg3ei8V => indexed::<STORE, 0>,
    Vsuxseg3ei16V => indexed::<STORE, 1>,
    Vsuxseg3ei32V => indexed::<STORE, 2>,
    Vsuxseg3ei64V => indexed::<STORE, 3>,
    Vsoxseg3ei8V => indexed::<STORE, 0>,
    Vsoxseg3ei16V => indexed::<STORE, 1>,
    Vsoxseg3ei32V => indexed::<STORE, 2>,
    Vsoxseg3ei64V => indexed::<STORE, 3>,
    Vlseg4e8V => unit::<LOAD, 0>,
    Vlseg4e16V => unit::<LOAD, 1>,
    Vlseg4e32V => unit::<LOAD, 2>,
    Vlseg4e64V => unit::<LOAD, 3>,
    Vlseg4e8ffV => fault_only_first::<0>,
    Vlseg4e16ffV => fault_only_first::<1>,
    Vlseg4e32ffV => fault_only_first::<2>,
    Vlseg4e64ffV => fault_only_first::<3>,
    Vlsseg4e8V => strided::<LOAD, 0>,
    Vlsseg4e16V => strided::<LOAD, 1>,
    Vlsseg4e32V => strided::<LOAD, 2>,
    Vlsseg4e64V => strided::<LOAD, 3>,
    Vluxseg4ei8V => indexed::<LOAD, 0>,
    Vluxseg4ei16V => indexed::<LOAD, 1>,
    Vluxseg4ei32V => indexed::<LOAD, 2>,
    Vluxseg4ei64V => indexed::<LOAD, 3>,
    Vloxseg4ei8V => indexed::<LOAD, 0>,
    Vloxseg4ei16V => indexed::<LOAD, 1>,
    Vloxseg4ei32V => indexed::<LOAD, 2>,
    Vloxseg4ei64V => indexed::<LOAD, 3>,
    Vsseg4e8V => unit::<STORE, 0>,
    Vsseg4e16V => unit::<STORE, 1>,
    Vsseg4e32V => unit::<STORE, 2>,
    Vsseg4e64V => unit::<STORE, 3>,
    Vssseg4e8V => strided::<STORE, 0>,
    Vssseg4e16V => strided::<STORE, 1>,
    Vssseg4e32V => strided::<STORE, 2>,
    Vssseg4e64V => strided::<STORE, 3>,
    Vsuxseg4ei8V => indexed::<STORE, 0>,
    Vsuxseg4ei16V => indexed::<STORE, 1>,
    Vsuxseg4ei32V => indexed::<STORE, 2>,
    Vsuxseg4ei64V => indexed::<STORE, 3>,
    Vsoxseg4ei8V => indexed::<STORE, 0>,
    Vsoxseg4ei16V => indexed::<STORE, 1>,
    Vsoxseg4ei32V => indexed::<STORE, 2>,
    Vsoxseg4ei64V => indexed::<STORE, 3>,
    Vlseg5e8V => unit::<LOAD, 0>,
    Vlseg5e16V => unit::<LOAD, 1>,
    Vlseg5e32V => unit::<LOAD, 2>,
    Vlseg5e64V => unit::<LOAD, 3>,
    Vlseg5e8ffV => fault_only_first::<0>,
    Vlseg5e16ffV => fault_only_first::<1>,
    Vlseg5e32ffV => fault_only_first::<2>,
    Vlseg5e64ffV => fault_only_first::<3>,
    Vlsseg5e8V => strided::<LOAD, 0>,
    Vlsseg5e16V => strided::<LOAD, 1>,
    Vlsseg5e32V => strided::<LOAD, 2>,
    Vlsseg5e64V => strided::<LOAD, 3>,
    Vluxseg5ei8V => indexed::<LOAD, 0>,
    Vluxseg5ei16V => indexed::<LOAD, 1>,
    Vluxseg5ei32V => indexed::<LOAD, 2>,
    Vluxseg5ei64V => indexed::<LOAD, 3>,
    Vloxseg5ei8V => indexed::<LOAD, 0>,
    Vloxseg5ei16V => indexed::<LOAD, 1>,
    Vloxseg5ei32V => indexed::<LOAD, 2>,
    Vloxseg5ei64V => indexed::<LOAD, 3>,
    Vsseg5e8V => unit::<STORE, 0>,
    Vsseg5e16V => unit::<STORE, 1>,
    Vsseg5e32V => unit::<STORE, 2>,
    Vsseg5e64V => unit::<STORE, 3>,
    Vssseg5e8V => strided::<STORE, 0>,
    Vssseg5e16V => strided::<STORE, 1>,
    Vssseg5e32V => strided::<STORE, 2>,
    Vssseg5e64V => strided::<STORE, 3>,
    Vsuxseg5ei8V => indexed::<STORE, 0>,
    Vsuxseg5ei16V => indexed::<STORE, 1>,
    Vsuxseg5ei32V => indexed::<STORE, 2>,
    Vsuxseg5ei64V => indexed::<STORE, 3>,
    Vsoxseg5ei8V => indexed::<STORE, 0>,
    Vsoxseg5ei16V => indexed::<STORE, 1>,
    Vsoxseg5ei32V => indexed::<STORE, 2>,
    Vsoxseg5ei64V => indexed::<STORE, 3>,
    Vlseg6e8V => unit::<LOAD, 0>,
    Vlseg6e16V => unit::<LOAD, 1>,
    Vlseg6e32V => unit::<LOAD, 2>,
    Vlseg6e64V => unit::<LOAD, 3>,
    Vlseg6e8ffV => fault_only_first::<0>,
    Vlseg6e16ffV => fault_only_first::<1>,
    Vlseg6e32ffV => fault_only_first::<2>,
    Vlseg6e64ffV => fault_only_first::<3>,
    Vlsseg6e8V => strided::<LOAD, 0>,
    Vlsseg6e16V => strided::<LOAD, 1>,
    Vlsseg6e32V => strided::<LOAD, 2>,
    Vlsseg6e64V => strided::<LOAD, 3>,
    Vluxseg6ei8V => indexed::<LOAD, 0>,
    Vluxseg6ei16V => indexed::<LOAD, 1>,
    Vluxseg6ei32V => indexed::<LOAD, 2>,
    Vluxseg6ei64V => indexed::<LOAD, 3>,
    Vloxseg6ei8V => indexed::<LOAD, 0>,
    Vloxseg6ei16V => indexed::<LOAD, 1>,
    Vloxseg6ei32V => indexed::<LOAD, 2>,
    Vloxseg6ei64V => indexed::<LOAD, 3>,
    Vsseg6e8V => unit::<STORE, 0>,
    Vsseg6e16V => unit::<STORE, 1>,
    Vsseg6e32V => unit::<STORE, 2>,
    Vsseg6e64V => unit::<STORE, 3>,
    Vssseg6e8V => strided::<STORE, 0>,
    Vssseg6e16V => strided::<STORE, 1>,
    Vssseg6e32V => strided::<STORE, 2>,
    Vssseg6e64V => strided::<STORE, 3>,
    Vsuxseg6ei8V => indexed::<STORE, 0>,
    Vsuxseg6ei16V => indexed::<STORE, 1>,
    Vsuxseg6ei32V => indexed::<STORE, 2>,
    Vsuxseg6ei64V => indexed::<STORE, 3>,
    Vsoxseg6ei8V => indexed::<STORE, 0>,
    Vsoxseg6ei16V => indexed::<STORE, 1>,
    Vsoxseg6ei32V => indexed::<STORE, 2>,
    Vsoxseg6ei64V => indexed::<STORE, 3>,
    Vlseg7e8V => unit::<LOAD, 0>,
    Vlseg7e16V => unit::<LOAD, 1>,
    Vlseg7e32V => unit::<LOAD, 2>,
    Vlseg7e64V => unit::<LOAD, 3>,
    Vlseg7e8ffV => fault_only_first::<0>,
    Vlseg7e16ffV => fault_only_first::<1>,
    Vlseg7e32ffV => fault_only_first::<2>,
    Vlseg7e64ffV => fault_only_first::<3>,
    Vlsseg7e8V => strided::<LOAD, 0>,
    Vlsseg7e16V => strided::<LOAD, 1>,
    Vlsseg7e32V => strided::<LOAD, 2>,
    Vlsseg7e64V => strided::<LOAD, 3>,
    Vluxseg7ei8V => indexed::<LOAD, 0>,
    Vluxseg7ei16V => indexed::<LOAD, 1>,
    Vluxseg7ei32V => indexed::<LOAD, 2>,
    Vluxseg7ei64V => indexed::<LOAD, 3>,
    Vloxseg7ei8V => indexed::<LOAD, 0>,
    Vloxseg7ei16V => indexed::<LOAD, 1>,
    Vloxseg7ei32V => indexed::<LOAD, 2>,
    Vloxseg7ei64V => indexed::<LOAD, 3>,
    Vsseg7e8V => unit::<STORE, 0>,
    Vsseg7e16V => unit::<STORE, 1>,
    Vsseg7e32V => unit::<STORE, 2>,
    Vsseg7e64V => unit::<STORE, 3>,
    Vssseg7e8V => strided::<STORE, 0>,
    Vssseg7e16V => strided::<STORE, 1>,
    Vssseg7e32V => strided::<STORE, 2>,
    Vssseg7e64V => strided::<STORE, 3>,
    Vsuxseg7ei8V => indexed::<STORE, 0>,
    Vsuxseg7ei16V => indexed::<STORE, 1>,
    Vsuxseg7ei32V => indexed::<STORE, 2>,
    Vsuxseg7ei64V => indexed::<STORE, 3>,
    Vsoxseg7ei8V => indexed::<STORE, 0>,
    Vsoxseg7ei16V => indexed::<STORE, 1>,
    Vsoxseg7ei32V => indexed::<STORE, 2>,
    Vsoxseg7ei64V => indexed::<STORE, 3>,
    Vlseg8e8V => unit::<LOAD, 0>,
    Vlseg8e16V => unit::<LOAD, 1>,
    Vlseg8e32V => unit::<LOAD, 2>,
    Vlseg8e64V => unit::<LOAD, 3>,
    Vlseg8e8ffV => fault_only_first::<0>,
    Vlseg8e16ffV => fault_only_first::<1>,
    Vlseg8e32ffV => fault_only_first::<2>,
    Vlseg8e64ffV => fault_only_first::<3>,
    Vlsseg8e8V => strided::<LOAD, 0>,
    Vlsseg8e16V => strided::<LOAD, 1>,
    Vlsseg8e32V => strided::<LOAD, 2>,
    Vlsseg8e64V => strided::<LOAD, 3>,
    Vluxseg8ei8V => indexed::<LOAD, 0>,
    Vluxseg8ei16V => indexed::<LOAD, 1>,
    Vluxseg8ei32V => indexed::<LOAD, 2>,
    Vluxseg8ei64V => indexed::<LOAD, 3>,
    Vloxseg8ei8V => indexed::<LOAD, 0>,
    Vloxseg8ei16V => indexed::<LOAD, 1>,
    Vloxseg8ei32V => indexed::<LOAD, 2>,
    Vloxseg8ei64V => indexed::<LOAD, 3>,
    Vsseg8e8V => unit::<STORE, 0>,
    Vsseg8e16V => unit::<STORE, 1>,
    Vsseg8e32V => unit::<STORE, 2>,
    Vsseg8e64V => unit::<STORE, 3>,
    Vssseg8e8V => strided::<STORE, 0>,
    Vssseg8e16V => strided::<STORE, 1>,
    Vssseg8e32V => strided::<STORE, 2>,
    Vssseg8e64V => strided::<STORE, 3>,
    Vsuxseg8ei8V => indexed::<STORE, 0>,
    Vsuxseg8ei16V => indexed::<STORE, 1>,
    Vsuxseg8ei32V => indexed::<STORE, 2>,
    Vsuxseg8ei64V => indexed::<STORE, 3>,
    Vsoxseg8ei8V => indexed::<STORE, 0>,
    Vsoxseg8ei16V => indexed::<STORE, 1>,
    Vsoxseg8ei32V => indexed::<STORE, 2>,
    Vsoxseg8ei64V => indexed::<STORE, 3>,
    Vl1re8V => whole::<LOAD, 0>,
    Vl1re16V => whole::<LOAD, 1>,
    Vl1re32V => whole::<LOAD, 2>,
    Vl1re64V => whole::<LOAD, 3>,
    Vl2re8V => whole::<LOAD, 0>,
    Vl2re16V => whole::<LOAD, 1>,
    Vl2re32V => whole::<LOAD, 2>,
    Vl2re64V => whole::<LOAD, 3>,
    Vl4re8V => whole::<LOAD, 0>,
    Vl4re16V => whole::<LOAD, 1>,
    Vl4re32V => whole::<LOAD, 2>,
    Vl4re64V => whole::<LOAD, 3>,
    Vl8re8V => whole::<LOAD, 0>,
    Vl8re16V => whole::<LOAD, 1>,
    Vl8re32V => whole::<LOAD, 2>,
    Vl8re64V => whole::<LOAD, 3>,
    Vs1rV => whole::<STORE, 0>,
    Vs2rV => whole::<STORE, 0>,
    Vs4rV => whole::<STORE, 0>,
    Vs8rV => whole::<STORE, 0>,
}
