//! Plain instructions: what one costs when nothing is in its way.

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Session};

pub fn add(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let (step, mut x) = (3u64, 0u64);
        // SAFETY: works on registers only.
        unsafe { repeat!(k, "add {x}, {x}, {y}", x = inout(reg) x, y = in(reg) step, options(nomem, nostack)) };
        Check::new(x, (k * TIMES).wrapping_mul(step))
    })
}

pub fn mul(s: &Session) -> Outcome {
    let base = 0x9e37_79b9_7f4a_7c15u64;
    s.measure(TIMES, &mut |k| {
        let mut x = 1u64;
        // SAFETY: as above.
        unsafe { repeat!(k, "mul {x}, {x}, {y}", x = inout(reg) x, y = in(reg) base, options(nomem, nostack)) };
        // The same power by squaring.
        let (mut want, mut power, mut left) = (1u64, base, k * TIMES);
        while left != 0 {
            if left & 1 != 0 {
                want = want.wrapping_mul(power);
            }
            power = power.wrapping_mul(power);
            left >>= 1;
        }
        Check::new(x, want)
    })
}

pub fn div(s: &Session) -> Outcome {
    // The next dividend is made of the last quotient, and is the same: a translator does not know that.
    let (dividend, divisor) = (0xfedc_ba98_7654_3210u64, 0x89ab_cdefu64);
    let quotient = dividend / divisor;
    s.measure(TIMES, &mut |k| {
        let mut x = quotient;
        // SAFETY: as above.
        unsafe {
            repeat!(k, "xor {x}, {x}, {q}\nadd {x}, {x}, {a}\ndivu {x}, {x}, {b}", x = inout(reg) x,
                q = in(reg) quotient, a = in(reg) dividend, b = in(reg) divisor, options(nomem, nostack));
        }
        Check::new(x, quotient)
    })
}

pub fn load(s: &Session) -> Outcome {
    let cell = s.slice::<u64>(8)?;
    let address = cell.as_ptr() as u64;
    cell[0] = address;
    s.measure(TIMES, &mut |k| {
        let mut x = address;
        // SAFETY: the cell points to itself.
        unsafe { repeat!(k, "ld {x}, 0({x})", x = inout(reg) x, options(nostack)) };
        Check::new(x, address)
    })
}

pub fn store(s: &Session) -> Outcome {
    let cell = s.slice::<u64>(8)?.as_mut_ptr();
    s.measure(TIMES, &mut |k| {
        // SAFETY: our own cell.
        let got = unsafe {
            repeat!(k, "sd {k}, 0({p})", p = in(reg) cell, options(nostack));
            cell.read_volatile()
        };
        Check::new(got, 1)
    })
}

pub fn branch(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let (mut x, mut taken) = (0u64, 0u64);
        // SAFETY: works on registers only.
        unsafe {
            repeat!(k, "xori {x}, {x}, 1\nbeqz {x}, 3f\naddi {t}, {t}, 1\n3:",
                x = inout(reg) x, t = inout(reg) taken, options(nomem, nostack));
        }
        Check::new(taken * 2 + x, k * TIMES)
    })
}
