//! The kernel's AIA by the attributes of its device: what it is told to be, and its state in registers.
//!
//! Nothing here needs a RISC-V host. The numbers are those of Linux, arch/riscv/include/uapi/asm/kvm.h
//! (`KVM_DEV_RISCV_AIA_*`). An APLIC's registers do when they are written what the architecture says, and do not just
//! take a value: the order of the writes in [`store`] makes them do so.
//!
//! Where the kernel has no IMSICs it hands on the CSRs that reach them: [`access_csr`].

use std::io;

use super::options::AiaMode;
use crate::irqchip::{AplicState, InterruptFileState};
use crate::{Imsic, InterruptFile, IrqchipConfig, IrqchipState};

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

/// Whether a hart's file asks for its attention.
pub fn signals(device: &impl Attributes, config: &IrqchipConfig, hart: u32) -> io::Result<bool> {
    let file = load_file(device, hart, u64::from(config.identities + 1) / 64)?;
    Ok(file.delivery && file.top() != 0)
}

/// Makes a hart's line what its file says, after the hart's pending bits were written.
pub fn refresh(device: &impl Attributes, hart: u32) -> io::Result<()> {
    // The kernel looks at the file after each write to it.
    let attribute = u64::from(hart) << VCPU_SHIFT | EIDELIVERY;
    set64(device, IMSIC, attribute, get64(device, IMSIC, attribute)?)
}

/// What an access to CSR `number` by the guest reads, if it is one of a supervisor-level interrupt file of the board:
/// the bits of `mask` are written. `None` is an illegal instruction.
pub fn access_csr(imsic: &dyn Imsic, hart: u32, siselect: u64, number: u16, value: u64, mask: u64) -> Option<u64> {
    let file = InterruptFile::Supervisor;
    match (number, siselect) {
        (arch::csr::STOPEI, _) => Some(imsic.top(hart, file, mask != 0)),
        // With 64 bits a register, the odd-numbered ones of the arrays do not exist.
        (arch::csr::SIREG, 0x70..=0x7f) => Some(imsic.access(hart, file, siselect as u8, mask, value & mask)),
        (arch::csr::SIREG, 0x80..=0xff) if siselect.is_multiple_of(2) => {
            Some(imsic.access(hart, file, siselect as u8, mask, value & mask))
        }
        _ => None,
    }
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
            // Kernels to date write no more than the lower half of a register, and read no more, where they keep the
            // file in software. Pending bits may change meanwhile, so that they tell nothing.
            let held = get64(device, IMSIC, (u64::from(hart) << VCPU_SHIFT) | (EIE0 + 2 * k))?;
            if held != *enabled {
                let what = format!("hart {hart} enables {held:#x} of identities from {} on, not {enabled:#x}", 64 * k);
                return Err(io::Error::other(what));
            }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    const SOURCES: u32 = 96;
    const HARTS: u32 = 2;

    #[derive(Clone, Copy, Default)]
    struct Source {
        cfg: u32,
        target: u32,
        pending: bool,
        enabled: bool,
        input: bool,
    }

    impl Source {
        fn rectified(&self) -> bool {
            matches!(self.cfg, 4..=7) && self.input != INVERTED.contains(&self.cfg)
        }
    }

    /// A device that does what the kernel's does.
    struct Device {
        delivers: RefCell<bool>,
        genmsi: RefCell<u32>,
        sources: RefCell<Vec<Source>>,
        /// IMSIC registers by attribute.
        files: RefCell<BTreeMap<u64, u64>>,
        /// Other attributes, in the order of their writes.
        told: RefCell<Vec<(u32, u64, u64)>>,
    }

    impl Device {
        fn new() -> Self {
            Self {
                delivers: RefCell::default(),
                genmsi: RefCell::default(),
                sources: RefCell::new(vec![Source::default(); SOURCES as usize + 1]),
                files: RefCell::default(),
                told: RefCell::default(),
            }
        }

        fn send(&self, target: u32) {
            let (hart, identity) = (u64::from(target >> 18), u64::from(target & 0x7ff));
            if identity != 0 {
                let register = (hart << 12) | (EIP0 + 2 * (identity / 64));
                *self.files.borrow_mut().entry(register).or_default() |= 1 << (identity % 64);
            }
        }

        fn forward(&self) {
            for source in self.sources.borrow_mut().iter_mut().filter(|s| s.pending && s.enabled) {
                if *self.delivers.borrow() {
                    source.pending = false;
                    self.send(source.target);
                }
            }
        }

        fn set_line(&self, source: u32, level: bool) {
            let mut sources = self.sources.borrow_mut();
            let source = &mut sources[source as usize];
            let before = source.rectified();
            source.input = level;
            source.pending |= source.rectified() && (!before || source.cfg >= 6);
            drop(sources);
            self.forward();
        }

        fn write_aplic(&self, offset: u64, value: u32) {
            let bits = |f: &dyn Fn(&mut Source, u32)| {
                let mut sources = self.sources.borrow_mut();
                let first = (offset as usize & 0x7f) / 4 * 32;
                let named = (0..32).filter(|bit| value >> bit & 1 != 0).map(|bit| first + bit);
                named.filter(|i| (1..=SOURCES as usize).contains(i)).for_each(|i| f(&mut sources[i], i as u32));
            };
            match offset {
                0 => *self.delivers.borrow_mut() = value & CFG_IE != 0,
                0x4..0x1000 => self.sources.borrow_mut()[offset as usize / 4].cfg = value & 7,
                SETIP..0x1c80 => bits(&|s, _| {
                    s.pending |= s.cfg != 0 && (s.cfg < 6 || s.rectified());
                }),
                IN_CLRIP..0x1d80 => bits(&|s, _| s.pending &= s.cfg == 0),
                SETIE..0x1e80 => bits(&|s, _| s.enabled = true),
                CLRIE..0x1f80 => bits(&|s, _| s.enabled = false),
                GENMSI => {
                    *self.genmsi.borrow_mut() = value;
                    self.send(value);
                }
                0x3004..0x4000 => self.sources.borrow_mut()[offset as usize % 0x1000 / 4].target = value,
                _ => panic!("no register at {offset:#x}"),
            }
            self.forward();
        }

        fn read_aplic(&self, offset: u64) -> u32 {
            let sources = self.sources.borrow();
            let bits = |f: &dyn Fn(&Source) -> bool| {
                let first = (offset as usize & 0x7f) / 4 * 32;
                let is_set = |bit: &usize| sources.get(first + bit).is_some_and(f);
                (0..32).filter(is_set).fold(0, |word, bit| word | 1 << bit)
            };
            match offset {
                0 => 0x8000_0004 | if *self.delivers.borrow() { CFG_IE } else { 0 },
                0x4..0x1000 => sources[offset as usize / 4].cfg,
                SETIP..0x1c80 => bits(&|s| s.pending),
                IN_CLRIP..0x1d80 => bits(&Source::rectified),
                SETIE..0x1e80 => bits(&|s| s.enabled),
                GENMSI => *self.genmsi.borrow(),
                0x3004..0x4000 => sources[offset as usize % 0x1000 / 4].target,
                _ => panic!("no register at {offset:#x}"),
            }
        }
    }

    impl Attributes for Device {
        fn get(&self, group: u32, attribute: u64, data: &mut [u8]) -> io::Result<()> {
            match group {
                APLIC => data.copy_from_slice(&self.read_aplic(attribute).to_ne_bytes()),
                IMSIC => {
                    let value = self.files.borrow().get(&attribute).copied().unwrap_or(0);
                    data.copy_from_slice(&value.to_ne_bytes());
                }
                _ => return Err(io::Error::from_raw_os_error(libc::ENXIO)),
            }
            Ok(())
        }

        fn set(&self, group: u32, attribute: u64, data: &[u8]) -> io::Result<()> {
            let mut value = [0; 8];
            value[..data.len()].copy_from_slice(data);
            let value = u64::from_ne_bytes(value);
            match (group, data.len()) {
                (APLIC, 4) => self.write_aplic(attribute, value as u32),
                (IMSIC, 8) => drop(self.files.borrow_mut().insert(attribute, value)),
                (CONFIG, 4) | (ADDR, 8) | (CTRL, 0) => self.told.borrow_mut().push((group, attribute, value)),
                _ => panic!("{} bytes for group {group}", data.len()),
            }
            Ok(())
        }
    }

    fn config() -> IrqchipConfig {
        IrqchipConfig { aplic: Some((0xd00_0000, SOURCES)), imsic: 0x2800_0000, guest_bits: 2, identities: 255 }
    }

    /// Something in every register: sources in every mode, with and without pending and enabled bits that their wires
    /// say nothing of.
    fn state() -> IrqchipState {
        let source = |i: u32| if i == 0 { 0 } else { [1, 4, 5, 6, 7][i as usize % 5] };
        let file = |n: u64| InterruptFileState {
            delivery: n == 0,
            threshold: 100 + n as u16,
            pending: vec![2 << n, 0, 4, 1 << 63],
            enabled: vec![!1, n, 0, !0],
        };
        IrqchipState {
            aplic: Some(AplicState {
                delivers: true,
                sourcecfg: (0..=SOURCES).map(source).collect(),
                target: (0..=SOURCES).map(|i| if i == 0 { 0 } else { (i & 1) << 18 | i }).collect(),
                pending: 0x0f0f << 30,
                enabled: 0x1_0000_0000_0000_0000_5555_5554,
                inputs: !(1 | 0b11_1111 << 20) & ((1 << 97) - 1),
                genmsi: 1 << 18 | 200,
            }),
            files: vec![file(0), file(1)],
        }
    }

    /// Inputs of detached sources are not told.
    fn without_detached(mut state: IrqchipState) -> IrqchipState {
        let aplic = state.aplic.as_mut().unwrap();
        let detached = (0..=SOURCES).filter(|i| aplic.sourcecfg[*i as usize] < 4);
        aplic.inputs &= !detached.fold(0, |set, i| set | 1 << i);
        state
    }

    #[test]
    fn a_device_hears_all_before_it_starts() {
        let device = Device::new();
        start(&device, &IrqchipConfig { imsic: 0x2800_0000, ..config() }, 3).unwrap();
        let expected = [
            (CONFIG, 1, 255),
            (CONFIG, 2, 96),
            (ADDR, 0, 0xd00_0000),
            (CONFIG, 5, 2),
            (CONFIG, 6, 2),
            (ADDR, 1, 0x2800_0000),
            (ADDR, 2, 0x2800_4000),
            (ADDR, 3, 0x2800_8000),
            (CTRL, 0, 0),
        ];
        assert_eq!(*device.told.borrow(), expected);
        device.told.borrow_mut().clear();
        start(&device, &IrqchipConfig { aplic: None, guest_bits: 0, ..config() }, 1).unwrap();
        let split = [(CONFIG, 1, 255), (CONFIG, 5, 0), (CONFIG, 6, 0), (ADDR, 1, 0x2800_0000), (CTRL, 0, 0)];
        assert_eq!(*device.told.borrow(), split);
        device.told.borrow_mut().clear();
        [AiaMode::Auto, AiaMode::Emul, AiaMode::HwAccel].iter().for_each(|m| set_mode(&device, *m).unwrap());
        assert_eq!(*device.told.borrow(), [(CONFIG, 0, 0), (CONFIG, 0, 1)]);
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let device = Device::new();
        let set_line = |source, level| device.set_line(source, level);
        // Pending and enabled at once would have been sent.
        let mut wanted = state();
        let aplic = wanted.aplic.as_mut().unwrap();
        aplic.pending &= !aplic.enabled;
        store(&device, set_line, &wanted).unwrap();
        assert_eq!(load(&device, &config(), HARTS).unwrap(), without_detached(wanted.clone()));
        // Over what is there already, and what that has pending.
        let empty = IrqchipState {
            aplic: Some(AplicState { sourcecfg: vec![0; 97], target: vec![0; 97], ..AplicState::default() }),
            files: vec![InterruptFileState { pending: vec![0; 4], enabled: vec![0; 4], ..Default::default() }; 2],
        };
        store(&device, set_line, &empty).unwrap();
        assert_eq!(load(&device, &config(), HARTS).unwrap(), empty);
        store(&device, set_line, &wanted).unwrap();
        assert_eq!(load(&device, &config(), HARTS).unwrap(), without_detached(wanted));
    }

    #[test]
    fn what_was_on_its_way_arrives_once() {
        let device = Device::new();
        let mut wanted = state();
        let aplic = wanted.aplic.as_mut().unwrap();
        (aplic.pending, aplic.enabled) = (1 << 70, 1 << 70);
        store(&device, |source, level| device.set_line(source, level), &wanted).unwrap();
        wanted.aplic.as_mut().unwrap().pending = 0;
        wanted.files[0].pending[1] = 1 << (70 - 64);
        assert_eq!(load(&device, &config(), HARTS).unwrap(), without_detached(wanted));
    }

    /// A device that keeps 32 of 64 bits.
    struct Half(Device);

    impl Attributes for Half {
        fn get(&self, group: u32, attribute: u64, data: &mut [u8]) -> io::Result<()> {
            self.0.get(group, attribute, data)
        }

        fn set(&self, group: u32, attribute: u64, data: &[u8]) -> io::Result<()> {
            let mut data = data.to_vec();
            data.iter_mut().skip(4).for_each(|byte| *byte = 0);
            self.0.set(group, attribute, &data)
        }
    }

    #[test]
    fn what_a_device_does_not_hold_is_told() {
        let device = Half(Device::new());
        let mut file = InterruptFileState { enabled: vec![0, 3], pending: vec![0, 0], ..Default::default() };
        store(&device, |_, _| {}, &IrqchipState { aplic: None, files: vec![file.clone()] }).unwrap();
        file.enabled[1] = 1 << 40 | 1;
        let error = store(&device, |_, _| {}, &IrqchipState { aplic: None, files: vec![file] }).unwrap_err();
        assert_eq!(error.to_string(), "hart 0 enables 0x1 of identities from 64 on, not 0x10000000001");
    }

    #[test]
    fn a_file_signals_what_is_below_its_threshold() {
        let device = Device::new();
        let signals = |file: InterruptFileState| {
            store(&device, |_, _| {}, &IrqchipState { aplic: None, files: vec![file] }).unwrap();
            refresh(&device, 0).unwrap();
            signals(&device, &config(), 0).unwrap()
        };
        let file = |delivery, threshold, pending, enabled| InterruptFileState {
            delivery,
            threshold,
            pending: vec![0, 0, pending, 0],
            enabled: vec![0, 0, enabled, 0],
        };
        assert!(signals(file(true, 0, 6, 4)) && signals(file(true, 131, 6, 4)));
        assert!(!signals(file(true, 130, 6, 4)) && !signals(file(true, 0, 2, 4)) && !signals(file(false, 0, 6, 4)));
    }

    /// Tells what it was asked.
    #[derive(Default)]
    struct Files(Mutex<Vec<(u8, u64, u64)>>);

    impl Imsic for Files {
        fn access(&self, hart: u32, file: InterruptFile, register: u8, clear: u64, set: u64) -> u64 {
            assert_eq!((hart, file), (1, InterruptFile::Supervisor));
            self.0.lock().unwrap().push((register, clear, set));
            7
        }

        fn top(&self, hart: u32, _: InterruptFile, claim: bool) -> u64 {
            u64::from(hart) << 16 | u64::from(claim)
        }
    }

    #[test]
    fn the_guests_registers_of_a_boards_file() {
        let files = Files::default();
        let access = |siselect, number, value, mask| access_csr(&files, 1, siselect, number, value, mask);
        assert_eq!(access(0x70, arch::csr::SIREG, !0, 1), Some(7));
        assert_eq!(access(0xc2, arch::csr::SIREG, 5, 0), Some(7));
        assert_eq!(*files.0.lock().unwrap(), [(0x70, 1, 1), (0xc2, 0, 0)]);
        for siselect in [0x30, 0x6f, 0x81, 0xff, 0x100, u64::MAX] {
            assert_eq!(access(siselect, arch::csr::SIREG, 0, 0), None, "{siselect:#x}");
        }
        assert_eq!(access(0, arch::csr::STOPEI, 0, 0), Some(1 << 16));
        assert_eq!(access(0, arch::csr::STOPEI, 0, !0), Some(1 << 16 | 1));
        assert_eq!(access(0x70, arch::csr::SEED, 0, 0), None);
    }

    #[test]
    fn an_error_tells_the_attribute() {
        let device = Device::new();
        let error = identities(&device).unwrap_err();
        assert!(error.to_string().starts_with("attribute 0:0x1: "), "{error}");
    }
}
