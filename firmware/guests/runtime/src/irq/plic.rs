//! The PLIC: the boot hart's S-mode context.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::SUPERVISOR_EXTERNAL;
use crate::fdt;
use crate::machine::Machine;

static BASE: AtomicUsize = AtomicUsize::new(0);
static CONTEXT: AtomicUsize = AtomicUsize::new(0);

const PENDING: usize = 0x1000;
const ENABLE: usize = 0x2000;
const ENABLE_STRIDE: usize = 0x80;
const THRESHOLD: usize = 0x20_0000;
const CLAIM: usize = 0x20_0004;
const CONTEXT_STRIDE: usize = 0x1000;
/// Higher than any priority that is given.
const ALL_MASKED: u32 = 7;

fn register(offset: usize) -> *mut u32 {
    (BASE.load(Ordering::Relaxed) + offset) as *mut u32
}

fn read(offset: usize) -> u32 {
    // SAFETY: the device tree says that a PLIC is there.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as above.
    unsafe { register(offset).write_volatile(value) }
}

fn of_context(offset: usize, stride: usize) -> usize {
    offset + stride * CONTEXT.load(Ordering::Relaxed)
}

/// Finds one that reaches the boot hart.
pub fn init(machine: &Machine, boot_intc: u32) -> bool {
    let Some(plic) = machine.find("riscv,plic0").or_else(|| machine.find("sifive,plic-1.0.0")) else { return false };
    // The place of a pair in the list is the number of the context.
    let Some(context) = fdt::place_of(plic.interrupts_extended, boot_intc, SUPERVISOR_EXTERNAL) else { return false };
    CONTEXT.store(context, Ordering::Relaxed);
    BASE.store(plic.base, Ordering::Relaxed);
    mask(false);
    true
}

pub fn enable(source: u32, on: bool) {
    let at = of_context(ENABLE, ENABLE_STRIDE) + 4 * (source as usize / 32);
    let bit = 1 << (source % 32);
    let old = read(at);
    write(at, if on { old | bit } else { old & !bit });
    // Last, as QEMU 7.2 looks at its inputs again only when a priority changes.
    write(4 * source as usize, u32::from(on));
}

pub fn mask(on: bool) {
    write(of_context(THRESHOLD, CONTEXT_STRIDE), if on { ALL_MASKED } else { 0 });
}

pub fn pending(source: u32) -> bool {
    read(PENDING + 4 * (source as usize / 32)) >> (source % 32) & 1 != 0
}

pub fn claim() -> u32 {
    read(of_context(CLAIM, CONTEXT_STRIDE))
}

pub fn complete(source: u32) {
    write(of_context(CLAIM, CONTEXT_STRIDE), source);
}
