//! The goldfish real-time clock: nanoseconds since 1970, and an alarm.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::machine::Machine;

static BASE: AtomicUsize = AtomicUsize::new(0);
static IRQ: AtomicU32 = AtomicU32::new(0);

const TIME_LOW: usize = 0x00;
const TIME_HIGH: usize = 0x04;
const ALARM_LOW: usize = 0x08;
const ALARM_HIGH: usize = 0x0c;
const IRQ_ENABLED: usize = 0x10;
const CLEAR_ALARM: usize = 0x14;
const CLEAR_INTERRUPT: usize = 0x1c;

pub fn init(machine: &Machine) {
    if let Some(rtc) = machine.find("google,goldfish-rtc") {
        BASE.store(rtc.base, Ordering::Relaxed);
        IRQ.store(rtc.irq, Ordering::Relaxed);
    }
}

pub fn irq() -> Option<u32> {
    Some(IRQ.load(Ordering::Relaxed)).filter(|_| BASE.load(Ordering::Relaxed) != 0)
}

fn register(offset: usize) -> *mut u32 {
    (BASE.load(Ordering::Relaxed) + offset) as *mut u32
}

fn read(offset: usize) -> u32 {
    // SAFETY: the device tree says that an RTC is there.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as above.
    unsafe { register(offset).write_volatile(value) }
}

/// Nanoseconds since 1970. Reading the low half latches the high one.
pub fn now() -> u64 {
    let low = u64::from(read(TIME_LOW));
    u64::from(read(TIME_HIGH)) << 32 | low
}

/// Interrupts when `now` reaches `deadline`.
pub fn alarm(deadline: u64) {
    write(IRQ_ENABLED, 1);
    write(ALARM_HIGH, (deadline >> 32) as u32);
    write(ALARM_LOW, deadline as u32);
}

/// Answers the alarm's interrupt, if `source` is it; says whether it was.
pub fn quiet(source: u32) -> bool {
    let mine = irq() == Some(source);
    if mine {
        write(CLEAR_INTERRUPT, 1);
        write(CLEAR_ALARM, 1);
        write(IRQ_ENABLED, 0);
    }
    mine
}
