//! The console: a 16550 UART found in the device tree, or the SBI's debug console.
//!
//! Output is polled. Input comes by interrupt where the UART's line reaches this hart (see `irq.rs`), and is
//! polled otherwise.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::sbi;

/// Registers of the UART, in units of its register stride.
const RBR_THR: usize = 0;
const IER: usize = 1;
const LSR: usize = 5;

const LSR_DATA_READY: u8 = 1;
const LSR_THR_EMPTY: u8 = 1 << 5;

/// IER: interrupt on received data, on an empty transmitter.
pub const IER_RX: u8 = 1;
pub const IER_TX: u8 = 2;

static UART: AtomicUsize = AtomicUsize::new(0);
static SHIFT: AtomicUsize = AtomicUsize::new(0);
/// Only one hart prints a line at a time.
static LOCK: AtomicBool = AtomicBool::new(false);

/// Bytes received by interrupt: a ring with one writer (the interrupt handler) and one reader (the shell),
/// on the same hart.
static RING: [AtomicU32; RING_LEN] = [const { AtomicU32::new(0) }; RING_LEN];
static RING_IN: AtomicUsize = AtomicUsize::new(0);
static RING_OUT: AtomicUsize = AtomicUsize::new(0);
const RING_LEN: usize = 256;

/// Uses the UART at `base` from now on.
pub fn init(base: usize, shift: usize) {
    SHIFT.store(shift, Ordering::Relaxed);
    UART.store(base, Ordering::Release);
    set_interrupts(0);
}

pub fn has_uart() -> bool {
    UART.load(Ordering::Acquire) != 0
}

fn register(index: usize) -> *mut u8 {
    (UART.load(Ordering::Relaxed) + (index << SHIFT.load(Ordering::Relaxed))) as *mut u8
}

fn read(index: usize) -> u8 {
    // SAFETY: the device tree says that a UART is there.
    unsafe { register(index).read_volatile() }
}

fn write(index: usize, value: u8) {
    // SAFETY: as above.
    unsafe { register(index).write_volatile(value) }
}

/// Which events of the UART raise its interrupt.
pub fn set_interrupts(mask: u8) {
    if has_uart() {
        write(IER, mask);
    }
}

fn put(byte: u8) {
    if has_uart() {
        while read(LSR) & LSR_THR_EMPTY == 0 {}
        write(RBR_THR, byte);
    } else {
        sbi::call(sbi::DBCN, 2, [usize::from(byte), 0, 0, 0, 0]);
    }
}

/// A byte straight from the device, if there is one.
fn poll() -> Option<u8> {
    if has_uart() {
        return (read(LSR) & LSR_DATA_READY != 0).then(|| read(RBR_THR));
    }
    let mut byte = 0u8;
    let got = sbi::call(sbi::DBCN, 1, [1, &raw mut byte as usize, 0, 0, 0]);
    // SAFETY: a plain byte that the SBI may have written through the pointer.
    (got.ok() == Ok(1)).then(|| unsafe { (&raw const byte).read_volatile() })
}

/// The interrupt handler's part: empties the UART into the ring. Bytes that do not fit are lost, as on hardware.
pub fn receive() {
    while let Some(byte) = poll() {
        let at = RING_IN.load(Ordering::Relaxed);
        if at - RING_OUT.load(Ordering::Relaxed) < RING_LEN {
            RING[at % RING_LEN].store(u32::from(byte), Ordering::Relaxed);
            RING_IN.store(at + 1, Ordering::Release);
        }
    }
}

/// Whether [`get`] would return a byte.
pub fn pending() -> bool {
    RING_OUT.load(Ordering::Relaxed) != RING_IN.load(Ordering::Acquire)
}

/// The next byte, if one has come in.
pub fn get() -> Option<u8> {
    let at = RING_OUT.load(Ordering::Relaxed);
    if at == RING_IN.load(Ordering::Acquire) {
        return None;
    }
    RING_OUT.store(at + 1, Ordering::Relaxed);
    Some(RING[at % RING_LEN].load(Ordering::Relaxed) as u8)
}

struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

/// Writes formatted text; whole calls do not mix.
pub fn print_fmt(args: fmt::Arguments) {
    while LOCK.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    let _ = fmt::Write::write_fmt(&mut Console, args);
    LOCK.store(false, Ordering::Release);
}

/// For a panic, whose hart may hold the lock.
pub fn print_anyway(args: fmt::Arguments) {
    let _ = fmt::Write::write_fmt(&mut Console, args);
}

/// Prints text.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::print_fmt(format_args!($($arg)*)) };
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print_fmt(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::console::print_fmt(format_args!("{}\n", format_args!($($arg)*))) };
}

pub use crate::{print, println};
