//! Control and status registers.

use runtime::{csr, csr_clear, csr_read, csr_set, csr_write};

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Session};

pub fn read(s: &Session) -> Outcome {
    let want = csr_read!("sscratch") as u64;
    s.measure(TIMES, &mut |k| {
        let got: u64;
        // SAFETY: reads a register.
        unsafe { repeat!(k, "csrr {x}, sscratch", x = out(reg) got, options(nomem, nostack)) };
        Check::new(got, want)
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

pub fn time(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let (mut last, mut backward) = (csr_read!("time") as u64, 0u64);
        // SAFETY: reads a register.
        unsafe {
            repeat!(k, "csrr {x}, time\nsltu {y}, {x}, {last}\nadd {n}, {n}, {y}\nmv {last}, {x}", x = out(reg) _,
                y = out(reg) _, last = inout(reg) last, n = inout(reg) backward, options(nomem, nostack));
        }
        core::hint::black_box(last);
        Check::new(backward, 0)
    })
}

pub fn instret(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let start = csr_read!("instret") as u64;
        let last: u64;
        // SAFETY: reads a register.
        unsafe { repeat!(k, "csrr {x}, instret", x = out(reg) last, options(nomem, nostack)) };
        // Machines need not count exactly, but they do not count back.
        Check::new(u64::from(last >= start), 1)
    })
}
