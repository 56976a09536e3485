//! Arithmetic of single and double precision by the host's own instructions, where they mean the same.
//!
//! Sixteen bytes of elements at a time. The host rounds as the guest asks and detects underflow after rounding, as the
//! specification wants; its sticky flags are collected around the loop. Where a result is a NaN the elements are computed
//! again in software, which has the canonical NaN and the flags (those that the host has raised by then are among them).
//! Elements that are not active are replaced by ones, with which no operation here raises a flag.
//!
//! Not here: rounding to nearest with ties away, which the host does not have, and half precision.

use std::arch::asm;
use std::arch::x86_64::__m128i;

use super::Call;
use super::elem::{Elem, get, set};
use super::float::{Env, Ternary};
use super::shape::{Group, Shape};
use crate::VectorRegs;
use crate::tcg::hart::{mxcsr_for, mxcsr_to_fflags};
use crate::tcg::helpers::softfloat::{Format, Rm};

/// What the host computes of `d`, the old element of vd, `a`, that of vs2, and `b`, that of vs1 or a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    Add,
    Sub,
    /// `b - a`
    Rsub,
    Mul,
    Div,
    /// `b / a`
    Rdiv,
    Sqrt,
    /// The product of `b` with `a` or `d`, and the other of the two, with their signs.
    Fma {
        addend: Addend,
        negate_product: bool,
        negate_addend: bool,
    },
}

/// Which element is added to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addend {
    Vd,
    Vs2,
}

/// Whether the host can do `op` with this rounding mode.
pub fn can(op: Native, rm: Rm) -> bool {
    rm != Rm::Rmm && (!matches!(op, Native::Fma { .. }) || is_x86_feature_detected!("fma"))
}

/// The host's control register while a loop runs; the value before.
fn enter(rm: Rm) -> u32 {
    let (mut saved, own) = (0u32, mxcsr_for((rm as u64) << 5));
    // SAFETY: the register gets a value without reserved bits, all exceptions masked; no floating-point code of the
    // compiler runs until `leave`.
    unsafe {
        asm!("stmxcsr [{0}]", "ldmxcsr [{1}]", in(reg) &mut saved, in(reg) &own, options(nostack));
    }
    saved
}

/// Puts the register back as it was before [`enter`]; returns the flags raised since, as in `fflags`.
fn leave(saved: u32) -> u32 {
    let mut now = 0u32;
    // SAFETY: the value was read from the register before.
    unsafe {
        asm!("stmxcsr [{0}]", "ldmxcsr [{1}]", in(reg) &mut now, in(reg) &saved, options(nostack));
    }
    mxcsr_to_fflags(now) as u32
}

macro_rules! two {
    ($single:literal, $double:literal, $wide:expr, $x:expr, $y:expr) => {{
        let mut r: __m128i = $x;
        // SAFETY: an instruction of every x86-64 on registers; it changes the flags of MXCSR, which may be.
        unsafe {
            if $wide {
                asm!(concat!($double, " {0}, {1}"), inout(xmm_reg) r, in(xmm_reg) $y, options(nomem, nostack));
            } else {
                asm!(concat!($single, " {0}, {1}"), inout(xmm_reg) r, in(xmm_reg) $y, options(nomem, nostack));
            }
        }
        r
    }};
}

macro_rules! three {
    ($name:literal, $wide:expr, $x:expr, $y:expr, $z:expr) => {{
        let mut r: __m128i = $z;
        // SAFETY: the host has FMA, see `can`; as above.
        unsafe {
            if $wide {
                asm!(concat!($name, "pd {0}, {1}, {2}"), inout(xmm_reg) r, in(xmm_reg) $x, in(xmm_reg) $y,
                     options(nomem, nostack));
            } else {
                asm!(concat!($name, "ps {0}, {1}, {2}"), inout(xmm_reg) r, in(xmm_reg) $x, in(xmm_reg) $y,
                     options(nomem, nostack));
            }
        }
        r
    }};
}

#[inline(always)]
fn compute(op: Native, wide: bool, d: __m128i, a: __m128i, b: __m128i) -> __m128i {
    match op {
        Native::Add => two!("addps", "addpd", wide, a, b),
        Native::Sub => two!("subps", "subpd", wide, a, b),
        Native::Rsub => two!("subps", "subpd", wide, b, a),
        Native::Mul => two!("mulps", "mulpd", wide, a, b),
        Native::Div => two!("divps", "divpd", wide, a, b),
        Native::Rdiv => two!("divps", "divpd", wide, b, a),
        Native::Sqrt => two!("sqrtps", "sqrtpd", wide, a, a),
        Native::Fma { addend, negate_product, negate_addend } => {
            let (y, z) = match addend {
                Addend::Vd => (a, d),
                Addend::Vs2 => (d, a),
            };
            match (negate_product, negate_addend) {
                (false, false) => three!("vfmadd231", wide, b, y, z),
                (false, true) => three!("vfmsub231", wide, b, y, z),
                (true, false) => three!("vfnmadd231", wide, b, y, z),
                (true, true) => three!("vfnmsub231", wide, b, y, z),
            }
        }
    }
}

/// One bit for each lane that is a NaN. A signalling one raises a flag: between [`enter`] and [`leave`] only.
#[inline(always)]
fn nans(wide: bool, r: __m128i) -> u32 {
    let bits: u32;
    // SAFETY: instructions of every x86-64 on registers; assembly, lest the comparison be moved to where the register is
    // the guest's.
    unsafe {
        if wide {
            asm!("cmpunordpd {0}, {0}", "movmskpd {1:e}, {0}", inout(xmm_reg) r => _, out(reg) bits, options(nomem, nostack));
        } else {
            asm!("cmpunordps {0}, {0}", "movmskps {1:e}, {0}", inout(xmm_reg) r => _, out(reg) bits, options(nomem, nostack));
        }
    }
    bits
}

#[inline(always)]
fn pack<T: Elem, const N: usize>(lanes: [T; N]) -> __m128i {
    const { assert!(N * T::BYTES == 16) }
    // SAFETY: 16 bytes, as was just checked; all of them are values of either type.
    unsafe { std::mem::transmute_copy(&lanes) }
}

#[inline(always)]
fn unpack<T: Elem, const N: usize>(v: __m128i) -> [T; N] {
    const { assert!(N * T::BYTES == 16) }
    // SAFETY: as above.
    unsafe { std::mem::transmute_copy(&v) }
}

/// The elements from element `i` of the group at `reg` on.
#[inline(always)]
fn lanes<T: Elem, const N: usize>(s: &Shape, v: &VectorRegs, reg: usize, i: usize) -> [T; N] {
    let at = s.at::<T>(reg, i);
    std::array::from_fn(|j| get(v, at + j * T::BYTES))
}

/// Computes vd by `op`, which is what `O` means. The caller has made all checks, [`can`] among them.
pub fn map<O: Ternary, F: Format, T: Elem, const N: usize>(
    op: Native,
    e: &mut Env,
    s: &Shape,
    v: &mut VectorRegs,
    c: &Call,
    scalar: Option<T>,
) {
    let wide = T::BYTES == 8;
    let one = T::low(F::ONE);
    let before = enter(e.rm);
    // A register is a multiple of 16 bytes, so all of a run is inside the registers.
    for base in (s.vstart / N * N..s.vl).step_by(N) {
        let body = |j: usize| base + j >= s.vstart && base + j < s.vl;
        let (d, a) = (lanes::<T, N>(s, v, c.vd(), base), lanes::<T, N>(s, v, c.vs2(), base));
        let b = match scalar {
            None => lanes::<T, N>(s, v, c.vs1(), base),
            Some(x) => [x; N],
        };
        let whole = c.unmasked() && body(0) && body(N - 1);
        let active: [bool; N] = std::array::from_fn(|j| whole || body(j) && s.active(v, c, base + j));
        let r = if whole {
            compute(op, wide, pack(d), pack(a), pack(b))
        } else {
            let fill = |x: [T; N]| pack(std::array::from_fn::<T, N, _>(|j| if active[j] { x[j] } else { one }));
            compute(op, wide, fill(d), fill(a), fill(b))
        };
        let mut results: [T; N] = unpack(r);
        if nans(wide, r) != 0 {
            for j in (0..N).filter(|j| active[*j]) {
                results[j] = T::low(O::eval::<F>(e, d[j].zext(), a[j].zext(), b[j].zext()));
            }
        }
        for j in 0..N {
            let at = s.at::<T>(c.vd(), base + j);
            if active[j] {
                set(v, at, results[j]);
            } else if s.inactive_ones && body(j) {
                set(v, at, T::ONES);
            }
        }
    }
    e.flags |= leave(before);
    s.tail(v, Group { reg: c.vd(), emul: s.lmul, eew: s.sew });
}

/// The ordered sum of `first` and the active elements of vs2, or `None` if it is a NaN, which is for software.
pub fn sum<T: Elem>(e: &mut Env, s: &Shape, v: &VectorRegs, c: &Call, first: T) -> Option<T> {
    let wide = T::BYTES == 8;
    let before = enter(e.rm);
    let scalar = |x: T| pack::<u64, 2>([x.zext(), 0]);
    let mut sum = scalar(first);
    for i in (0..s.vl).filter(|i| s.active(v, c, *i)) {
        sum = two!("addss", "addsd", wide, sum, scalar(s.get::<T>(v, c.vs2(), i)));
    }
    let nan = nans(wide, sum) & 1 != 0;
    let flags = leave(before);
    if nan {
        return None;
    }
    e.flags |= flags;
    Some(T::low(unpack::<u64, 2>(sum)[0]))
}
