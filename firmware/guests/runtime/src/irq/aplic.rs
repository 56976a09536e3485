//! The supervisor's APLIC, by itself or with the boot hart's IMSIC (AIA specification, chapters 3 and 4).

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SUPERVISOR_EXTERNAL;
use crate::csr::csr_write;
use crate::fdt;
use crate::machine::Machine;

static BASE: AtomicUsize = AtomicUsize::new(0);
/// Index of the boot hart in the domain.
static HART: AtomicUsize = AtomicUsize::new(0);
/// Interrupts go to the hart's IMSIC as messages; the identity is the source's number.
static MESSAGES: AtomicBool = AtomicBool::new(false);

const DOMAINCFG: usize = 0x0000;
const DOMAINCFG_IE: u32 = 1 << 8;
const DOMAINCFG_DM: u32 = 1 << 2;
const SOURCECFG: usize = 0x0000;
/// Source mode: active while the wire is high.
const LEVEL_HIGH: u32 = 6;
const SETIP: usize = 0x1c00;
const SETIPNUM: usize = 0x1cdc;
const SETIENUM: usize = 0x1edc;
const CLRIENUM: usize = 0x1fdc;
const TARGET: usize = 0x3000;
const TARGET_HART: usize = 18;
const IDC: usize = 0x4000;
const IDC_STRIDE: usize = 32;
const IDELIVERY: usize = 0x00;
const ITHRESHOLD: usize = 0x08;
const CLAIMI: usize = 0x1c;
/// The one that all sources have.
const PRIORITY: u32 = 1;

/// Registers of the IMSIC, reached by `siselect` and `sireg`.
const EIDELIVERY: usize = 0x70;
const EITHRESHOLD: usize = 0x72;
const EIP: usize = 0x80;
const EIE: usize = 0xc0;

fn register(offset: usize) -> *mut u32 {
    (BASE.load(Ordering::Relaxed) + offset) as *mut u32
}

fn read(offset: usize) -> u32 {
    // SAFETY: the device tree says that an APLIC is there.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as above.
    unsafe { register(offset).write_volatile(value) }
}

fn idc(offset: usize) -> usize {
    IDC + IDC_STRIDE * HART.load(Ordering::Relaxed) + offset
}

fn messages() -> bool {
    MESSAGES.load(Ordering::Relaxed)
}

/// CSRs of AIA by their numbers: the assembler does not expect the names.
fn imsic_write(register: usize, value: usize) {
    csr_write!("0x150", register);
    csr_write!("0x151", value);
}

fn imsic_read(register: usize) -> usize {
    csr_write!("0x150", register);
    crate::csr::csr_read!("0x151")
}

/// The register of 64 identities, and the bit of one in it: only registers with even numbers are there.
fn bit_of(array: usize, source: u32) -> (usize, usize) {
    (array + 2 * (source as usize / 64), 1 << (source % 64))
}

/// Finds a domain that reaches the boot hart, by wire or by messages.
pub fn init(machine: &Machine, boot_intc: u32) -> bool {
    let place = |list| fdt::place_of(list, boot_intc, SUPERVISOR_EXTERNAL);
    for aplic in machine.devices().iter().filter(|d| d.is("riscv,aplic")) {
        let imsic = machine.devices().iter().find(|d| aplic.msi_parent != 0 && d.phandle == aplic.msi_parent);
        let Some(hart) = place(imsic.unwrap_or(aplic).interrupts_extended) else { continue };
        BASE.store(aplic.base, Ordering::Relaxed);
        HART.store(hart, Ordering::Relaxed);
        MESSAGES.store(imsic.is_some(), Ordering::Relaxed);
        if messages() {
            imsic_write(EIDELIVERY, 1);
            write(DOMAINCFG, DOMAINCFG_IE | DOMAINCFG_DM);
        } else {
            write(DOMAINCFG, DOMAINCFG_IE);
            write(idc(IDELIVERY), 1);
        }
        mask(false);
        return true;
    }
    false
}

pub fn enable(source: u32, on: bool) {
    if on {
        let detail = if messages() { source } else { PRIORITY };
        write(SOURCECFG + 4 * source as usize, LEVEL_HIGH);
        write(TARGET + 4 * source as usize, (HART.load(Ordering::Relaxed) << TARGET_HART) as u32 | detail);
    }
    if messages() {
        let (register, bit) = bit_of(EIE, source);
        let old = imsic_read(register);
        imsic_write(register, if on { old | bit } else { old & !bit });
    }
    write(if on { SETIENUM } else { CLRIENUM }, source);
}

pub fn mask(on: bool) {
    if messages() {
        imsic_write(EITHRESHOLD, usize::from(on));
    } else {
        write(idc(ITHRESHOLD), if on { PRIORITY } else { 0 });
    }
}

pub fn pending(source: u32) -> bool {
    if messages() {
        let (register, bit) = bit_of(EIP, source);
        imsic_read(register) & bit != 0
    } else {
        read(SETIP + 4 * (source as usize / 32)) >> (source % 32) & 1 != 0
    }
}

pub fn claim() -> u32 {
    if messages() {
        let top: usize;
        // SAFETY: `stopei`: a write claims what it reads.
        unsafe { core::arch::asm!("csrrw {}, 0x15c, zero", out(reg) top) };
        (top >> 16) as u32
    } else {
        read(idc(CLAIMI)) >> 16
    }
}

/// A message tells of a wire that goes high: one that is high still would not be told of again.
pub fn complete(source: u32) {
    if messages() {
        write(SETIPNUM, source);
    }
}
