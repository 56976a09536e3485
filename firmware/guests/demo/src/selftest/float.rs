//! Floating point: values, flags, rounding modes, NaNs (F and D).

use core::arch::asm;

use super::{Outcome, Problem, Test, ensure, equal};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::trap::{self, guarded};

const NX: usize = 1;
const UF: usize = 2;
const OF: usize = 4;
const DZ: usize = 8;
const NV: usize = 16;

const INF: u64 = 0x7ff0_0000_0000_0000;
const QNAN: u64 = 0x7ff8_0000_0000_0000;
const SNAN: u64 = 0x7ff0_0000_0000_0001;
const MAX: u64 = 0x7fef_ffff_ffff_ffff;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const NEG: u64 = 1 << 63;
/// The smallest normal and subnormal numbers, and one half.
const TINY: u64 = 0x0010_0000_0000_0000;
const TINIEST: u64 = 1;
const HALF: u64 = 0x3fe0_0000_0000_0000;

/// Runs an instruction on bit patterns in f registers; gives the result's bits and the flags it raised.
macro_rules! fp {
    (@ $text:expr, $a:expr, $b:expr, $c:expr) => {{
        let (a, b, c): (u64, u64, u64) = ($a, $b, $c);
        let (bits, flags): (usize, usize);
        // SAFETY: changes f registers and fflags only.
        unsafe {
            asm!("fmv.d.x ft0, {a}", "fmv.d.x ft1, {b}", "fmv.d.x ft2, {c}", "fsflags x0", $text, "frflags {f}",
                "fmv.x.d {r}, ft3", a = in(reg) a, b = in(reg) b, c = in(reg) c, f = out(reg) flags, r = out(reg) bits,
                out("ft0") _, out("ft1") _, out("ft2") _, out("ft3") _);
        }
        (bits, flags)
    }};
    ($insn:literal $rm:literal, $a:expr) => { fp!(@ concat!($insn, " ft3, ft0", $rm), $a, 0, 0) };
    ($insn:literal $rm:literal, $a:expr, $b:expr) => { fp!(@ concat!($insn, " ft3, ft0, ft1", $rm), $a, $b, 0) };
    ($insn:literal $rm:literal, $a:expr, $b:expr, $c:expr) => {
        fp!(@ concat!($insn, " ft3, ft0, ft1, ft2", $rm), $a, $b, $c)
    };
}

/// An instruction whose result is an x register.
macro_rules! to_x {
    (@ $text:expr, $a:expr, $b:expr) => {{
        let (a, b): (u64, u64) = ($a, $b);
        let (value, flags): (usize, usize);
        // SAFETY: as `fp`.
        unsafe {
            asm!("fmv.d.x ft0, {a}", "fmv.d.x ft1, {b}", "fsflags x0", $text, "frflags {f}",
                a = in(reg) a, b = in(reg) b, r = out(reg) value, f = out(reg) flags, out("ft0") _, out("ft1") _);
        }
        (value, flags)
    }};
    ($insn:literal $rm:literal, $a:expr) => { to_x!(@ concat!($insn, " {r}, ft0", $rm), $a, 0) };
    ($insn:literal $rm:literal, $a:expr, $b:expr) => { to_x!(@ concat!($insn, " {r}, ft0, ft1", $rm), $a, $b) };
}

fn is(what: &str, got: (usize, usize), bits: u64, flags: usize) -> Outcome {
    equal(what, got.0, bits as usize)?;
    ensure!(got.1 == flags, "{what}: flags {:#x}, want {flags:#x}", got.1);
    Ok(())
}

const fn bits(value: f64) -> u64 {
    value.to_bits()
}

/// A single-precision number, NaN-boxed.
const fn boxed(value: f32) -> u64 {
    0xffff_ffff_0000_0000 | value.to_bits() as u64
}

fn rounding() -> Outcome {
    let third = 0x3fd5_5555_5555_5555;
    let three = bits(3.0);
    is("1/3 rne", fp!("fdiv.d" ", rne", ONE, three), third, NX)?;
    is("1/3 rtz", fp!("fdiv.d" ", rtz", ONE, three), third, NX)?;
    is("1/3 rdn", fp!("fdiv.d" ", rdn", ONE, three), third, NX)?;
    is("1/3 rup", fp!("fdiv.d" ", rup", ONE, three), third + 1, NX)?;
    is("1/3 rmm", fp!("fdiv.d" ", rmm", ONE, three), third, NX)?;
    is("-1/3 rdn", fp!("fdiv.d" ", rdn", ONE | NEG, three), (third + 1) | NEG, NX)?;
    is("-1/3 rup", fp!("fdiv.d" ", rup", ONE | NEG, three), third | NEG, NX)?;
    is("sqrt 2 rne", fp!("fsqrt.d" ", rne", bits(2.0)), 0x3ff6_a09e_667f_3bcd, NX)?;
    is("sqrt 2 rtz", fp!("fsqrt.d" ", rtz", bits(2.0)), 0x3ff6_a09e_667f_3bcc, NX)?;
    is("sqrt 4", fp!("fsqrt.d" ", rne", bits(4.0)), bits(2.0), 0)?;
    // A tie: 1 + 2^-53.
    let tie = bits(1.0 / 9007199254740992.0);
    is("tie rne", fp!("fadd.d" ", rne", ONE, tie), ONE, NX)?;
    is("tie rmm", fp!("fadd.d" ", rmm", ONE, tie), ONE + 1, NX)?;
    is("x-x rdn", fp!("fsub.d" ", rdn", ONE, ONE), NEG, 0)?;
    is("x-x rne", fp!("fsub.d" ", rne", ONE, ONE), 0, 0)?;
    // Single precision: 2^24 + 1.
    is("2^24+1 rne", fp!("fadd.s" ", rne", boxed(16777216.0), boxed(1.0)), boxed(16777216.0), NX)?;
    is("2^24+1 rup", fp!("fadd.s" ", rup", boxed(16777216.0), boxed(1.0)), boxed(16777218.0), NX)?;
    is("1/3 single", fp!("fdiv.s" ", rne", boxed(1.0), boxed(3.0)), 0xffff_ffff_3eaa_aaab, NX)
}

/// The dynamic mode in `frm`, and its reserved values.
fn dynamic_rounding() -> Outcome {
    csr_write!("frm", 3);
    let up = fp!("fdiv.d" ", dyn", ONE, bits(3.0));
    csr_write!("frm", 1);
    let down = fp!("fdiv.d" ", dyn", ONE, bits(3.0));
    csr_write!("frm", 5);
    let reserved = guarded(probe_fadd, 0, 0);
    csr_write!("frm", 0);
    is("frm rup", up, 0x3fd5_5555_5555_5556, NX)?;
    is("frm rtz", down, 0x3fd5_5555_5555_5555, NX)?;
    ensure!(reserved.is_err_and(|t| t.cause == trap::ILLEGAL), "frm 5 was accepted");
    Ok(())
}

fn exceptions() -> Outcome {
    is("max+max rne", fp!("fadd.d" ", rne", MAX, MAX), INF, OF | NX)?;
    is("max+max rtz", fp!("fadd.d" ", rtz", MAX, MAX), MAX, OF | NX)?;
    is("-max-max rup", fp!("fsub.d" ", rup", MAX | NEG, MAX), MAX | NEG, OF | NX)?;
    is("exact subnormal", fp!("fmul.d" ", rne", TINY, HALF), TINY / 2, 0)?;
    is("tiniest/2 rne", fp!("fmul.d" ", rne", TINIEST, HALF), 0, UF | NX)?;
    is("tiniest/2 rup", fp!("fmul.d" ", rup", TINIEST, HALF), TINIEST, UF | NX)?;
    is("0/0", fp!("fdiv.d" ", rne", 0, 0), QNAN, NV)?;
    is("1/-0", fp!("fdiv.d" ", rne", ONE, NEG), INF | NEG, DZ)?;
    is("inf/0", fp!("fdiv.d" ", rne", INF, 0), INF, 0)?;
    is("inf-inf", fp!("fsub.d" ", rne", INF, INF), QNAN, NV)?;
    is("0*inf", fp!("fmul.d" ", rne", 0, INF), QNAN, NV)?;
    is("sqrt -1", fp!("fsqrt.d" ", rne", ONE | NEG), QNAN, NV)?;
    is("sqrt -0", fp!("fsqrt.d" ", rne", NEG), NEG, 0)
}

fn nans() -> Outcome {
    is("qnan+1", fp!("fadd.d" ", rne", QNAN | 0x123, ONE), QNAN, 0)?;
    is("snan+1", fp!("fadd.d" ", rne", SNAN, ONE), QNAN, NV)?;
    is("min -0 +0", fp!("fmin.d" "", NEG, 0), NEG, 0)?;
    is("max -0 +0", fp!("fmax.d" "", NEG, 0), 0, 0)?;
    is("min qnan 1", fp!("fmin.d" "", QNAN, ONE), ONE, 0)?;
    is("max snan 1", fp!("fmax.d" "", SNAN, ONE), ONE, NV)?;
    is("min qnan qnan", fp!("fmin.d" "", QNAN | NEG, QNAN | 7), QNAN, 0)?;
    // A single that is not NaN-boxed is a NaN.
    is("unboxed", fp!("fadd.s" ", rne", 0x3f80_0000, boxed(1.0)), 0xffff_ffff_7fc0_0000, 0)?;
    is("fsgnjn unboxed", fp!("fsgnjn.s" "", 0x3f80_0000, boxed(1.0)), 0xffff_ffff_ffc0_0000, 0)?;
    is("fsgnjx", fp!("fsgnjx.d" "", SNAN | NEG, NEG), SNAN, 0)?;
    is("feq qnan", to_x!("feq.d" "", QNAN, ONE), 0, 0)?;
    is("feq snan", to_x!("feq.d" "", SNAN, ONE), 0, NV)?;
    is("flt qnan", to_x!("flt.d" "", QNAN, ONE), 0, NV)?;
    is("fle -0 +0", to_x!("fle.d" "", NEG, 0), 1, 0)?;
    is("flt -0 +0", to_x!("flt.d" "", NEG, 0), 0, 0)
}

fn fused() -> Outcome {
    // (1 + e)^2 - (1 + 2e) = e^2, exactly, with e = 2^-52.
    let (a, c) = (ONE + 1, (ONE + 2) | NEG);
    is("fmadd", fp!("fmadd.d" ", rne", a, a, c), 0x3970_0000_0000_0000, 0)?;
    let (two, three, one) = (bits(2.0), bits(3.0), ONE);
    is("fmadd", fp!("fmadd.d" ", rne", two, three, one), bits(7.0), 0)?;
    is("fmsub", fp!("fmsub.d" ", rne", two, three, one), bits(5.0), 0)?;
    is("fnmsub", fp!("fnmsub.d" ", rne", two, three, one), bits(-5.0), 0)?;
    is("fnmadd", fp!("fnmadd.d" ", rne", two, three, one), bits(-7.0), 0)?;
    is("0*inf+qnan", fp!("fmadd.d" ", rne", 0, INF, QNAN), QNAN, NV)?;
    is("fmadd.s", fp!("fmadd.s" ", rne", boxed(2.0), boxed(3.0), boxed(0.5)), boxed(6.5), 0)
}

fn conversions() -> Outcome {
    is("w nan", to_x!("fcvt.w.d" ", rtz", QNAN), 0x7fff_ffff, NV)?;
    is("w -inf", to_x!("fcvt.w.d" ", rtz", INF | NEG), 0xffff_ffff_8000_0000, NV)?;
    is("wu -1", to_x!("fcvt.wu.d" ", rtz", bits(-1.0)), 0, NV)?;
    is("wu -0.5", to_x!("fcvt.wu.d" ", rtz", bits(-0.5)), 0, NX)?;
    is("wu 3e9", to_x!("fcvt.wu.d" ", rtz", bits(3e9)), 3_000_000_000u32 as i32 as u64, 0)?;
    is("l 1e19", to_x!("fcvt.l.d" ", rtz", bits(1e19)), i64::MAX as u64, NV)?;
    is("lu 1e19", to_x!("fcvt.lu.d" ", rtz", bits(1e19)), 10_000_000_000_000_000_000, 0)?;
    is("2.5 rne", to_x!("fcvt.w.d" ", rne", bits(2.5)), 2, NX)?;
    is("2.5 rmm", to_x!("fcvt.w.d" ", rmm", bits(2.5)), 3, NX)?;
    is("2.5 rup", to_x!("fcvt.w.d" ", rup", bits(2.5)), 3, NX)?;
    is("-2.5 rdn", to_x!("fcvt.w.d" ", rdn", bits(-2.5)), -3i64 as u64, NX)?;
    is("s 1e300", fp!("fcvt.s.d" ", rne", bits(1e300)), boxed(f32::INFINITY), OF | NX)?;
    is("s snan", fp!("fcvt.s.d" ", rne", SNAN), 0xffff_ffff_7fc0_0000, NV)?;
    is("d boxed", fp!("fcvt.d.s" "", boxed(1.5)), bits(1.5), 0)?;
    is("d unboxed", fp!("fcvt.d.s" "", bits(1.5)), QNAN, 0)?;
    let (rounded, flags): (usize, usize);
    // SAFETY: changes an f register and fflags only.
    unsafe {
        asm!("fsflags x0", "fcvt.d.l ft0, {a}, rne", "frflags {f}", "fmv.x.d {r}, ft0",
            a = in(reg) (1usize << 53) + 1, f = out(reg) flags, r = out(reg) rounded, out("ft0") _);
    }
    is("d from 2^53+1", (rounded, flags), bits(9007199254740992.0), NX)?;
    is("fmv.x.w", to_x!("fmv.x.w" "", boxed(-1.0)), 0xffff_ffff_bf80_0000, 0)
}

fn classes() -> Outcome {
    let rows = [INF | NEG, ONE | NEG, TINIEST | NEG, NEG, 0, TINIEST, ONE, INF, SNAN, QNAN];
    for (class, value) in rows.into_iter().enumerate() {
        is("fclass.d", to_x!("fclass.d" "", value), 1 << class, 0)?;
    }
    is("fclass.s unboxed", to_x!("fclass.s" "", ONE), 1 << 9, 0)
}

core::arch::global_asm!(
    r#"
probe_fadd:
    .option push
    .option arch, +d
    fadd.d  ft0, ft0, ft0, dyn
    .option pop
    ret
    "#
);

unsafe extern "C" {
    fn probe_fadd(a: usize, b: usize) -> usize;
}

/// `sstatus.FS`: off makes instructions illegal, a write makes it dirty.
fn state() -> Outcome {
    csr_clear!("sstatus", csr::FS);
    let off = guarded(probe_fadd, 0, 0);
    csr_set!("sstatus", 1 << 13);
    let initial = guarded(probe_fadd, 0, 0);
    let after = csr_read!("sstatus");
    csr_set!("sstatus", csr::FS);
    match off {
        Err(t) if t.cause == trap::ILLEGAL => equal("sepc", t.epc, probe_fadd as *const () as usize)?,
        Err(t) => return equal("cause", t.cause, trap::ILLEGAL),
        Ok(_) => return Err(Problem::Skip("FS is always on")),
    }
    ensure!(initial.is_ok(), "trapped with FS initial");
    equal("FS", after & csr::FS, csr::FS)?;
    equal("SD", after >> 63, 1)
}

pub const TESTS: &[Test] = &[
    Test { name: "float-rounding", run: rounding },
    Test { name: "float-dynamic-rounding", run: dynamic_rounding },
    Test { name: "float-exceptions", run: exceptions },
    Test { name: "float-nan", run: nans },
    Test { name: "float-fused", run: fused },
    Test { name: "float-conversions", run: conversions },
    Test { name: "float-classes", run: classes },
    Test { name: "float-state", run: state },
];
