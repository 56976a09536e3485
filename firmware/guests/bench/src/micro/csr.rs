//! Control and status registers.

use runtime::{csr, csr_clear, csr_read, csr_set, csr_write};

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Problem, Session};

pub fn read(s: &Session) -> Outcome {
    let want = csr_read!("sscratch") as u64;
    s.measure(TIMES, &mut |k| {
        let mut sum = 0u64;
        // SAFETY: reads a register. The sum keeps a translator from leaving reads out.
        unsafe {
            repeat!(k, "csrr {x}, sscratch\nadd {sum}, {sum}, {x}", x = out(reg) _, sum = inout(reg) sum,
                options(nomem, nostack));
        }
        Check::new(sum, want.wrapping_mul(k * TIMES))
    })
}

pub fn write(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        // A trap would use the register.
        csr_clear!("sstatus", csr::SIE);
        let saved = csr_read!("sscratch");
        // SAFETY: the register is ours: no trap comes.
        unsafe { repeat!(k, "csrw sscratch, {k}", options(nomem, nostack)) };
        let got = csr_read!("sscratch");
        csr_write!("sscratch", saved);
        csr_set!("sstatus", csr::SIE);
        Check::new(got as u64, 1)
    })
}

/// A counter, which must not count back.
macro_rules! counter {
    ($name:ident, $csr:literal) => {
        fn $name(s: &Session) -> Outcome {
            s.measure(TIMES, &mut |k| {
                let (mut last, mut backward) = (csr_read!($csr) as u64, 0u64);
                // SAFETY: reads a register.
                unsafe {
                    repeat!(k, concat!("csrr {x}, ", $csr, "\nsltu {y}, {x}, {last}\nadd {n}, {n}, {y}\nmv {last}, {x}"),
                        x = out(reg) _, y = out(reg) _, last = inout(reg) last, n = inout(reg) backward,
                        options(nomem, nostack));
                }
                core::hint::black_box(last);
                Check::new(backward, 0)
            })
        }
    };
}

counter!(read_time, "time");
counter!(read_instret, "instret");

pub fn time(s: &Session) -> Outcome {
    read_time(s)
}

pub fn instret(s: &Session) -> Outcome {
    if !csr::has_instret() {
        return Err(Problem::Skip("the machine does not let instret be read"));
    }
    read_instret(s)
}
