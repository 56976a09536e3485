//! Accesses of devices: each leaves the guest.

use runtime::machine;

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Problem, Session};

/// Index of the UART's scratch register, which keeps what is written and does nothing.
const SCRATCH: usize = 7;

fn scratch_register() -> Result<usize, Problem> {
    let uart = machine().find("ns16550a").ok_or(Problem::Skip("no UART"))?;
    Ok(uart.base + (SCRATCH << uart.reg_shift))
}

pub fn read(s: &Session) -> Outcome {
    let register = scratch_register()?;
    // SAFETY: the device tree says that a UART is there.
    unsafe { (register as *mut u8).write_volatile(0x5a) };
    s.measure(TIMES, &mut |k| {
        let got: u64;
        // SAFETY: as above.
        unsafe { repeat!(k, "lbu {x}, 0({p})", x = out(reg) got, p = in(reg) register, options(nostack)) };
        Check::new(got, 0x5a)
    })
}

pub fn write(s: &Session) -> Outcome {
    let register = scratch_register()?;
    s.measure(TIMES, &mut |k| {
        // SAFETY: as above.
        let got = unsafe {
            repeat!(k, "sb {k}, 0({p})", p = in(reg) register, options(nostack));
            (register as *const u8).read_volatile()
        };
        Check::new(u64::from(got), 1)
    })
}

pub fn rtc(s: &Session) -> Outcome {
    let rtc = machine().find("google,goldfish-rtc").ok_or(Problem::Skip("no real-time clock"))?.base;
    // SAFETY: the device tree says that the clock is there. The low half latches the high one.
    let now = || unsafe {
        let low = (rtc as *const u32).read_volatile();
        u64::from((rtc as *const u32).add(1).read_volatile()) << 32 | u64::from(low)
    };
    s.measure(TIMES, &mut |k| {
        let before = now();
        // SAFETY: as above.
        unsafe { repeat!(k, "lw {x}, 0({p})", x = out(reg) _, p = in(reg) rtc, options(nostack)) };
        Check::new(u64::from(now() > before), 1)
    })
}
