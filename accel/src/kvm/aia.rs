//! The kernel's AIA by the attributes of its device: what it is told to be, and its state in registers.
//!
//! Nothing here needs a RISC-V host. The numbers are those of Linux, arch/riscv/include/uapi/asm/kvm.h
//! (`KVM_DEV_RISCV_AIA_*`). An APLIC's registers do when they are written what the architecture says, and do not just
//! take a value: the order of the writes in [`store`] makes them do so.

use std::io;

use super::options::AiaMode;
use crate::irqchip::{AplicState, InterruptFileState};
use crate::{IrqchipConfig, IrqchipState};

/// Groups of attributes.
const CONFIG: u32 = 0;
const ADDR: u32 = 1;
const CTRL: u32 = 2;
const APLIC: u32 = 3;
const IMSIC: u32 = 4;

/// `CONFIG`, 32 bits each.
const MODE: u64 = 0;
const IDS: u64 = 1;
const SOURCES: u64 = 2;
const HART_BITS: u64 = 5;
const GUEST_BITS: u64 = 6;

/// `ADDR`, 64 bits each: the APLIC's, then the vCPUs'.
const ADDR_APLIC: u64 = 0;
const ADDR_IMSIC: u64 = 1;

const CTRL_INIT: u64 = 0;

/// `APLIC`: offsets of registers, 32 bits each.
const DOMAINCFG: u64 = 0;
const SOURCECFG: u64 = 0;
const SETIP: u64 = 0x1c00;
const IN_CLRIP: u64 = 0x1d00;
const SETIE: u64 = 0x1e00;
const CLRIE: u64 = 0x1f00;
const GENMSI: u64 = 0x3000;
const TARGET: u64 = 0x3000;

const CFG_IE: u32 = 1 << 8;
const MODE_MASK: u32 = 7;
const DETACHED: u32 = 1;
/// The modes that invert the wire.
const INVERTED: [u32; 2] = [5, 7];

/// `IMSIC`: the vCPU above bit 12, below it the register as in `*iselect`; 64 bits each.
const VCPU_SHIFT: u32 = 12;
const EIDELIVERY: u64 = 0x70;
const EITHRESHOLD: u64 = 0x72;
const EIP0: u64 = 0x80;
const EIE0: u64 = 0xc0;

/// The attributes of a device.
pub trait Attributes {
    /// Reads an attribute, which has just the size of `data`.
    fn get(&self, group: u32, attribute: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes an attribute, which has just the size of `data`; some have none.
    fn set(&self, group: u32, attribute: u64, data: &[u8]) -> io::Result<()>;
}

fn named(what: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}

fn get32(device: &impl Attributes, group: u32, attribute: u64) -> io::Result<u32> {
    let mut data = [0; 4];
    device.get(group, attribute, &mut data).map_err(|e| named(&format!("attribute {group}:{attribute:#x}"), &e))?;
    Ok(u32::from_ne_bytes(data))
}

fn set32(device: &impl Attributes, group: u32, attribute: u64, value: u32) -> io::Result<()> {
    let failed = |e| named(&format!("attribute {group}:{attribute:#x} to {value:#x}"), &e);
    device.set(group, attribute, &value.to_ne_bytes()).map_err(failed)
}

fn get64(device: &impl Attributes, group: u32, attribute: u64) -> io::Result<u64> {
    let mut data = [0; 8];
    device.get(group, attribute, &mut data).map_err(|e| named(&format!("attribute {group}:{attribute:#x}"), &e))?;
    Ok(u64::from_ne_bytes(data))
}

fn set64(device: &impl Attributes, group: u32, attribute: u64, value: u64) -> io::Result<()> {
    let failed = |e| named(&format!("attribute {group}:{attribute:#x} to {value:#x}"), &e);
    device.set(group, attribute, &value.to_ne_bytes()).map_err(failed)
}

/// The most identities that an IMSIC of a device which was just made can have.
pub fn identities(device: &impl Attributes) -> io::Result<u32> {
    get32(device, CONFIG, IDS)
}

/// Asks for a mode. A device that was just made is in the best that the host has; guest interrupt files that the host
/// does not have are refused.
pub fn set_mode(device: &impl Attributes, mode: AiaMode) -> io::Result<()> {
    match mode {
        AiaMode::Auto => Ok(()),
        AiaMode::Emul => set32(device, CONFIG, MODE, 0),
        AiaMode::HwAccel => set32(device, CONFIG, MODE, 1),
    }
}

/// Tells what there is, and where. The vCPUs are made.
pub fn start(device: &impl Attributes, config: &IrqchipConfig, harts: u32) -> io::Result<()> {
    let failed = |what: String| move |e| named(&what, &e);
    let set = |attribute, value, what: &str| {
        set32(device, CONFIG, attribute, value).map_err(|e| named(&format!("{what} {value}"), &e))
    };
    set(IDS, config.identities, "number of identities")?;
    if let Some((address, sources)) = config.aplic {
        set(SOURCES, sources, "number of sources")?;
        set64(device, ADDR, ADDR_APLIC, address).map_err(failed(format!("APLIC at {address:#x}")))?;
    }
    set(HART_BITS, harts.next_power_of_two().trailing_zeros(), "bits of a hart's index")?;
    set(GUEST_BITS, config.guest_bits, "bits of a guest's index")?;
    for hart in 0..harts {
        let address = config.imsic + ((u64::from(hart) << config.guest_bits) << 12);
        let what = failed(format!("IMSIC of hart {hart} at {address:#x}"));
        set64(device, ADDR, ADDR_IMSIC + u64::from(hart), address).map_err(what)?;
    }
    device.set(CTRL, CTRL_INIT, &[]).map_err(failed("start".to_owned()))
}

/// Bits of word `k` of a set of sources.
fn word(set: u128, k: u64) -> u32 {
    (set >> (32 * k)) as u32
}

/// The words of the arrays of bits.
fn words(sources: u32) -> std::ops::RangeInclusive<u64> {
    0..=u64::from(sources / 32)
}

/// Reads the state of the chips. The harts are stopped.
pub fn load(device: &impl Attributes, config: &IrqchipConfig, harts: u32) -> io::Result<IrqchipState> {
    let aplic = config.aplic.map(|(_, sources)| load_aplic(device, sources)).transpose()?;
    let words = u64::from(config.identities + 1) / 64;
    let files = (0..harts).map(|hart| load_file(device, hart, words)).collect::<io::Result<_>>()?;
    Ok(IrqchipState { aplic, files })
}

fn load_aplic(device: &impl Attributes, sources: u32) -> io::Result<AplicState> {
    let get = |offset| get32(device, APLIC, offset);
    let by_source = |first: u64| {
        let values = (1..=u64::from(sources)).map(|source| get(first + 4 * source));
        [Ok(0)].into_iter().chain(values).collect::<io::Result<Vec<u32>>>()
    };
    let set = |first: u64| {
        words(sources).try_fold(0, |set, k| Ok::<_, io::Error>(set | u128::from(get(first + 4 * k)?) << (32 * k)))
    };
    let sourcecfg = by_source(SOURCECFG)?;
    let inverted = (1..=sources).filter(|i| INVERTED.contains(&(sourcecfg[*i as usize] & MODE_MASK)));
    let inverted = inverted.fold(0, |set, i| set | 1 << i);
    Ok(AplicState {
        delivers: get(DOMAINCFG)? & CFG_IE != 0,
        target: by_source(TARGET)?,
        pending: set(SETIP)?,
        enabled: set(SETIE)?,
        // What the chip tells is the rectified value, and nothing of sources that are not active.
        inputs: set(IN_CLRIP)? ^ inverted,
        genmsi: get(GENMSI)?,
        sourcecfg,
    })
}

fn load_file(device: &impl Attributes, hart: u32, words: u64) -> io::Result<InterruptFileState> {
    let get = |register| get64(device, IMSIC, u64::from(hart) << VCPU_SHIFT | register);
    let array = |first| (0..words).map(|k| get(first + 2 * k)).collect::<io::Result<Vec<_>>>();
    Ok(InterruptFileState {
        delivery: get(EIDELIVERY)? != 0,
        threshold: get(EITHRESHOLD)? as u16,
        pending: array(EIP0)?,
        enabled: array(EIE0)?,
    })
}

/// Writes the state of the chips. `set_line` drives a wire of the APLIC. The harts are stopped.
///
/// Sources whose mode is Detached take any pending bit, and wires do not change it: so wires and pending bits come
/// first, and modes after. The extempore MSI leaves when its register is written, and with it whatever is pending once
/// the domain delivers; the files come last, and do not know of the first. What the second sends was on its way.
pub fn store(device: &impl Attributes, set_line: impl Fn(u32, bool), state: &IrqchipState) -> io::Result<()> {
    if let Some(aplic) = &state.aplic {
        store_aplic(device, set_line, aplic)?;
    }
    for (hart, file) in (0u32..).zip(&state.files) {
        let set = |register, value| set64(device, IMSIC, u64::from(hart) << VCPU_SHIFT | register, value);
        set(EIDELIVERY, 0)?;
        for (k, (pending, enabled)) in (0..).zip(file.pending.iter().zip(&file.enabled)) {
            set(EIP0 + 2 * k, *pending)?;
            set(EIE0 + 2 * k, *enabled)?;
        }
        set(EITHRESHOLD, u64::from(file.threshold))?;
        set(EIDELIVERY, u64::from(file.delivery))?;
    }
    if let Some(AplicState { delivers: true, .. }) = state.aplic {
        set32(device, APLIC, DOMAINCFG, CFG_IE)?;
    }
    Ok(())
}

/// All but the delivery.
fn store_aplic(device: &impl Attributes, set_line: impl Fn(u32, bool), s: &AplicState) -> io::Result<()> {
    let set = |offset, value| set32(device, APLIC, offset, value);
    let sources = s.sourcecfg.len() as u32 - 1;
    set(DOMAINCFG, 0)?;
    for source in 1..=sources {
        set(SOURCECFG + 4 * u64::from(source), DETACHED)?;
        set_line(source, s.inputs >> source & 1 != 0);
    }
    for k in words(sources) {
        set(IN_CLRIP + 4 * k, !0)?;
        set(CLRIE + 4 * k, !0)?;
        set(SETIP + 4 * k, word(s.pending, k))?;
        set(SETIE + 4 * k, word(s.enabled, k))?;
    }
    for (source, (cfg, target)) in (0..).zip(s.sourcecfg.iter().zip(&s.target)).skip(1) {
        set(SOURCECFG + 4 * source, *cfg)?;
        set(TARGET + 4 * source, *target)?;
    }
    set(GENMSI, s.genmsi)
}
