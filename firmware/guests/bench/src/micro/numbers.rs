//! Floating point and vectors: what one instruction costs. Four chains, so that no instruction waits for the last one.

use core::arch::asm;

use runtime::{csr, csr_clear, csr_set, machine};

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Problem, Session};

/// Instructions in a copy of a body.
const CHAINS: u64 = 4;

/// As many ones as there were instructions: exact below 2^53.
fn counted(sums: [f64; 4], k: u64) -> Check {
    Check::new(sums.iter().map(|sum| *sum as u64).sum(), k * TIMES * CHAINS)
}

pub fn fadd(s: &Session) -> Outcome {
    s.measure(TIMES * CHAINS, &mut |k| {
        let (mut a, mut b, mut c, mut d) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        // SAFETY: works on registers only.
        unsafe {
            repeat!(k, "fadd.d {a}, {a}, {y}\nfadd.d {b}, {b}, {y}\nfadd.d {c}, {c}, {y}\nfadd.d {d}, {d}, {y}",
                a = inout(freg) a, b = inout(freg) b, c = inout(freg) c, d = inout(freg) d, y = in(freg) 1.0f64,
                options(nomem, nostack));
        }
        counted([a, b, c, d], k)
    })
}

pub fn fmadd(s: &Session) -> Outcome {
    s.measure(TIMES * CHAINS, &mut |k| {
        let (mut a, mut b, mut c, mut d) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        // SAFETY: as above.
        unsafe {
            repeat!(k, "fmadd.d {a}, {a}, {y}, {y}\nfmadd.d {b}, {b}, {y}, {y}\nfmadd.d {c}, {c}, {y}, {y}\n\
                fmadd.d {d}, {d}, {y}, {y}", a = inout(freg) a, b = inout(freg) b, c = inout(freg) c,
                d = inout(freg) d, y = in(freg) 1.0f64, options(nomem, nostack));
        }
        counted([a, b, c, d], k)
    })
}

/// Runs `measure` with vectors on, and two buffers as long as the longest register.
fn with_vectors(s: &Session, measure: impl FnOnce(&mut [u32], &mut [u32]) -> Outcome) -> Outcome {
    /// Numbers in a register of 65,536 bits.
    const LONGEST: usize = 2048;
    if !machine().has("v") {
        return Err(Problem::Skip("the harts have no V"));
    }
    let (from, to) = (s.slice::<u32>(LONGEST)?, s.slice::<u32>(LONGEST)?);
    csr_set!("sstatus", csr::VS);
    let outcome = measure(from, to);
    csr_clear!("sstatus", csr::VS);
    outcome
}

/// Sets `vtype` to registers of 32-bit numbers; returns how many one holds.
fn registers() -> usize {
    let vl;
    // SAFETY: changes vector state, which is ours.
    unsafe {
        asm!(".option push", ".option arch, +v", "vsetvli {vl}, zero, e32, m1, ta, ma", ".option pop",
            vl = out(reg) vl, options(nostack));
    }
    vl
}

pub fn vector_load(s: &Session) -> Outcome {
    with_vectors(s, |from, to| {
        from.fill_with({
            let mut number = 0;
            move || {
                number += 1;
                number
            }
        });
        let vl = registers();
        s.measure(TIMES, &mut |k| {
            to.fill(0);
            // SAFETY: loads from our buffer, and stores a register to the other.
            unsafe {
                asm!(".option push", ".option arch, +v", "2:", ".rept 64", "vle32.v v8, ({p})", ".endr",
                    "addi {k}, {k}, -1", "bnez {k}, 2b", "vse32.v v8, ({q})", ".option pop",
                    k = inout(reg) k => _, p = in(reg) from.as_ptr(), q = in(reg) to.as_mut_ptr(), options(nostack));
            }
            Check::new((to[..vl] == from[..vl]).into(), 1)
        })
    })
}

pub fn vector_store(s: &Session) -> Outcome {
    with_vectors(s, |from, to| {
        from.fill(7);
        let vl = registers();
        s.measure(TIMES, &mut |k| {
            to.fill(0);
            // SAFETY: loads a register from our buffer, and stores to the other.
            unsafe {
                asm!(".option push", ".option arch, +v", "vle32.v v8, ({p})", "2:", ".rept 64", "vse32.v v8, ({q})",
                    ".endr", "addi {k}, {k}, -1", "bnez {k}, 2b", ".option pop",
                    k = inout(reg) k => _, p = in(reg) from.as_ptr(), q = in(reg) to.as_mut_ptr(), options(nostack));
            }
            Check::new((to[..vl] == from[..vl]).into(), 1)
        })
    })
}

pub fn vector_fma(s: &Session) -> Outcome {
    with_vectors(s, |from, to| {
        let vl = registers();
        // Zero times anything, added to what is there: the numbers stay, and none is subnormal.
        from.fill(0);
        s.measure(TIMES * CHAINS, &mut |k| {
            to.fill(1.5f32.to_bits());
            // SAFETY: loads registers from our buffers, and stores one of them.
            unsafe {
                asm!(".option push", ".option arch, +v", "vle32.v v16, ({p})", "vle32.v v8, ({q})",
                    "vmv.v.v v9, v8", "vmv.v.v v10, v8", "vmv.v.v v11, v8", "2:", ".rept 64",
                    "vfmacc.vv v8, v16, v16", "vfmacc.vv v9, v16, v16", "vfmacc.vv v10, v16, v16",
                    "vfmacc.vv v11, v16, v16", ".endr", "addi {k}, {k}, -1", "bnez {k}, 2b",
                    "vfadd.vv v8, v8, v9", "vfadd.vv v8, v8, v10", "vfadd.vv v8, v8, v11", "vse32.v v8, ({q})",
                    ".option pop", k = inout(reg) k => _, p = in(reg) from.as_ptr(), q = in(reg) to.as_mut_ptr(),
                    options(nostack));
            }
            Check::new(to[..vl].iter().all(|n| f32::from_bits(*n) == 6.0).into(), 1)
        })
    })
}
