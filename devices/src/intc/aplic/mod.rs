//! The advanced platform-level interrupt controller (RISC-V AIA 1.0, "Advanced Platform-Level Interrupt Controller
//! (APLIC)"): wires in, lines into harts or MSIs out.
//!
//! [`Domain`] is one interrupt domain, [`AplicCore`] the hierarchy of them: a machine-level root with a supervisor-level
//! child, or a supervisor-level root alone, where no M-mode is below the guest. Both are plain state. [`Aplic`] attaches
//! them: a lock, the wires, and one [`AplicDomain`] on the bus for each.
//!
//! A root at supervisor level has all sources from the start, as M-mode software would delegate them, and its MSI
//! addresses are wired in.

mod domain;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use domain::{Delivery, Domain, DomainRegisters, Idc, Message, SOURCES_MAX, Sources};

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::unlocked::Scope;
use crate::{HartLines, IrqSink, MmioDevice, MsiSink, SavedState, StateError};

/// Most harts whose interrupt delivery control structures fit.
pub const HARTS_MAX: u32 = 512;

/// Bytes of address space of a domain.
pub const SIZE: u64 = 0x8000;

/// The privilege level that a domain's interrupts go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    Machine,
    Supervisor,
}

impl Level {
    /// The harts' line, as a bit of `mip`.
    pub fn irq(self) -> u8 {
        match self {
            Self::Machine => 11,
            Self::Supervisor => 9,
        }
    }
}

/// Where the interrupt files of a level stand when software does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsiBase {
    /// Of hart 0.
    pub address: u64,
    /// Bits of a page's number that select the guest; the hart's index is above them.
    pub guest_bits: u32,
}

/// `mmsiaddrcfg`, `mmsiaddrcfgh`, `smsiaddrcfg` and `smsiaddrcfgh`, of a machine-level root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct MsiAddresses {
    registers: [u32; 4],
}

/// What each of the four registers can hold: L HHXS LHXS HHXW LHXW PPN; LHXS PPN.
const MSI_WRITABLE: [u32; 4] = [!0, 0x9f77_ffff, !0, 0x0070_0fff];
const LOCK: u32 = 1 << 31;

impl MsiAddresses {
    fn write(&mut self, i: u32, value: u32) {
        if self.registers[1] & LOCK == 0 {
            self.registers[i as usize] = value & MSI_WRITABLE[i as usize];
        }
    }

    fn address(&self, level: Level, m: Message) -> u64 {
        let [low, high, s_low, s_high] = self.registers;
        let field = |value: u32, shift: u32, width: u32| value >> shift & ((1 << width) - 1);
        let (low, own_high) = if level == Level::Machine { (low, high) } else { (s_low, s_high) };
        let ppn = u64::from(field(own_high, 0, 12)) << 32 | u64::from(low);
        let (lhxw, hhxw, hhxs) = (field(high, 12, 4), field(high, 16, 3), field(high, 24, 5));
        let group = u64::from(m.hart >> lhxw & ((1 << hhxw) - 1));
        let hart = u64::from(m.hart & ((1 << lhxw) - 1));
        (ppn | group << (hhxs + 12) | hart << field(own_high, 20, 3) | u64::from(m.guest)) << 12
    }
}

/// The chip: its domains, root first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AplicCore {
    domains: Vec<(Level, Domain)>,
    /// Where a root at supervisor level sends MSIs.
    base: Option<MsiBase>,
    addresses: MsiAddresses,
    /// Addresses and data of MSIs that have to leave.
    outgoing: Vec<(u64, u32)>,
}

impl AplicCore {
    /// A machine-level root with a supervisor-level child.
    pub fn with_machine_level(sources: u32, harts: u32, delivery: Delivery) -> Self {
        // MSIs of the machine level have no guests.
        let machine = match delivery {
            Delivery::Msi { .. } => Delivery::Msi { guests: false },
            direct => direct,
        };
        let root = Domain::new(sources, harts, machine, true, true);
        let child = Domain::new(sources, harts, delivery, false, false);
        Self {
            domains: vec![(Level::Machine, root), (Level::Supervisor, child)],
            base: None,
            addresses: MsiAddresses::default(),
            outgoing: Vec::new(),
        }
    }

    /// A supervisor-level root alone; `base` says where MSIs go.
    pub fn supervisor_only(sources: u32, harts: u32, delivery: Delivery, base: MsiBase) -> Self {
        let root = Domain::new(sources, harts, delivery, true, false);
        Self {
            domains: vec![(Level::Supervisor, root)],
            base: Some(base),
            addresses: MsiAddresses::default(),
            outgoing: Vec::new(),
        }
    }

    /// As an APLIC saves it.
    pub fn save(&self) -> SavedState {
        SavedState::of(1, self)
    }

    /// A saved state of an APLIC like `self`.
    ///
    /// # Errors
    /// It is not that.
    pub fn read(&self, state: &SavedState) -> Result<Self, StateError> {
        let new: Self = state.read(1)?;
        let same = self.base == new.base && self.domains.len() == new.domains.len();
        let mut pairs = self.domains.iter().zip(&new.domains);
        if !same || !new.outgoing.is_empty() || !pairs.all(|(here, new)| here.0 == new.0 && new.1.fits(&here.1)) {
            return Err(StateError::Unfit("it is of an APLIC with other domains, sources or harts".into()));
        }
        Ok(new)
    }

    fn domain(&mut self, i: usize) -> &mut Domain {
        &mut self.domains[i].1
    }

    /// The supervisor-level domain: the last one.
    pub fn supervisor(&self) -> &Domain {
        &self.domains[self.domains.len() - 1].1
    }

    pub fn supervisor_mut(&mut self) -> &mut Domain {
        self.domain(self.domains.len() - 1)
    }

    fn reset(&mut self, i: usize) {
        self.domain(i).reset();
        if i == 0 {
            self.addresses = MsiAddresses::default();
            let sources = self.domains[0].1.sources();
            for (_, child) in &mut self.domains[1..] {
                (1..=sources).for_each(|source| child.delegated(source, false));
            }
        }
    }

    /// A device drives its input. Sources that do not exist are ignored.
    fn set_level(&mut self, source: u32, level: bool) {
        for i in 0..self.domains.len() {
            self.domain(i).input(source, level);
            self.forward(i);
        }
    }

    fn send(&mut self, i: usize, m: Message) {
        let level = self.domains[i].0;
        let address = match self.base {
            Some(base) => base.address + ((u64::from(m.hart) << base.guest_bits | u64::from(m.guest)) << 12),
            None => self.addresses.address(level, m),
        };
        self.outgoing.push((address, m.identity));
    }

    /// Lets go what a domain has to send.
    fn forward(&mut self, i: usize) {
        for m in self.domain(i).take_messages() {
            self.send(i, m);
        }
    }

    fn set_sourcecfg(&mut self, i: usize, source: u32, value: u32) {
        if self.domain(i).set_sourcecfg(source, value) {
            let here = self.domain(i).delegates(source);
            self.domain(i + 1).delegated(source, here);
        }
    }

    /// The MSI address registers exist at a machine-level root that sends MSIs.
    fn has_addresses(&self, i: usize) -> bool {
        let (level, domain) = &self.domains[i];
        i == 0 && *level == Level::Machine && domain.sends_msis()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reg {
    DomainCfg,
    /// Of source N + 1.
    SourceCfg(u32),
    /// `mmsiaddrcfg`, its upper half, `smsiaddrcfg`, its upper half.
    MsiAddress(u32),
    SetIp(u32),
    SetIpNum,
    InClrIp(u32),
    ClrIpNum,
    SetIe(u32),
    SetIeNum,
    ClrIe(u32),
    ClrIeNum,
    SetIpNumLe,
    SetIpNumBe,
    GenMsi,
    /// Of source N + 1.
    Target(u32),
    /// Hart in the upper bits, word 0 to 7 in the lower three.
    Idc(u32),
}

/// Words of an interrupt delivery control structure.
const IDELIVERY: u32 = 0;
const IFORCE: u32 = 1;
const ITHRESHOLD: u32 = 2;
const TOPI: u32 = 6;
const CLAIMI: u32 = 7;

fn map(harts: u32) -> RegMap<Reg> {
    RegMap::new(SIZE)
        .array(0x4000, 4, harts * 8, 4, Reg::Idc)
        .reg(0x1cdc, 4, Reg::SetIpNum)
        .reg(0x1ddc, 4, Reg::ClrIpNum)
        .reg(0x0000, 4, Reg::DomainCfg)
        .reg(0x1edc, 4, Reg::SetIeNum)
        .reg(0x1fdc, 4, Reg::ClrIeNum)
        .reg(0x2000, 4, Reg::SetIpNumLe)
        .reg(0x2004, 4, Reg::SetIpNumBe)
        .reg(0x3000, 4, Reg::GenMsi)
        .array(0x0004, 4, 1023, 4, Reg::SourceCfg)
        .array(0x1bc0, 4, 4, 4, Reg::MsiAddress)
        .array(0x1c00, 4, 32, 4, Reg::SetIp)
        .array(0x1d00, 4, 32, 4, Reg::InClrIp)
        .array(0x1e00, 4, 32, 4, Reg::SetIe)
        .array(0x1f00, 4, 32, 4, Reg::ClrIe)
        .array(0x3004, 4, 1023, 4, Reg::Target)
}

/// The registers of one domain.
struct View<'a> {
    core: &'a mut AplicCore,
    domain: usize,
}

impl View<'_> {
    fn ordered(&self, value: u32) -> u32 {
        if self.core.domains[self.domain].1.big_endian() { value.swap_bytes() } else { value }
    }
}

impl Registers<Reg> for View<'_> {
    fn read(&mut self, reg: Reg) -> u64 {
        let value = match reg {
            Reg::Idc(i) if i % 8 == CLAIMI => self.core.domain(self.domain).claim(i / 8),
            _ => return self.peek(reg),
        };
        u64::from(self.ordered(value))
    }

    fn peek(&self, reg: Reg) -> u64 {
        let d = &self.core.domains[self.domain].1;
        let value = match reg {
            Reg::DomainCfg => d.domaincfg(),
            Reg::SourceCfg(i) => d.sourcecfg(i + 1),
            Reg::MsiAddress(i) if self.core.has_addresses(self.domain) => self.core.addresses.registers[i as usize],
            Reg::SetIp(k) => d.setip(k),
            Reg::InClrIp(k) => d.in_clrip(k),
            Reg::SetIe(k) => d.setie(k),
            Reg::GenMsi => d.genmsi(),
            Reg::Target(i) => d.target(i + 1),
            Reg::Idc(i) => match i % 8 {
                IDELIVERY => u32::from(d.idc(i / 8).delivery),
                IFORCE => u32::from(d.idc(i / 8).force),
                ITHRESHOLD => d.idc(i / 8).threshold,
                TOPI | CLAIMI => d.topi(i / 8),
                _ => 0,
            },
            _ => 0,
        };
        u64::from(self.ordered(value))
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let raw = value as u32;
        let value = self.ordered(raw);
        let i = self.domain;
        let has_addresses = self.core.has_addresses(i);
        let d = self.core.domain(i);
        match reg {
            Reg::DomainCfg => d.set_domaincfg(value),
            Reg::SourceCfg(source) => self.core.set_sourcecfg(i, source + 1, value),
            Reg::MsiAddress(n) if has_addresses => self.core.addresses.write(n, value),
            Reg::MsiAddress(_) => {}
            Reg::SetIp(k) => d.set_setip(k, value),
            Reg::SetIpNum => d.set_setipnum(value),
            Reg::SetIpNumLe => d.set_setipnum(raw),
            Reg::SetIpNumBe => d.set_setipnum(raw.swap_bytes()),
            Reg::InClrIp(k) => d.set_in_clrip(k, value),
            Reg::ClrIpNum => d.set_clripnum(value),
            Reg::SetIe(k) => d.set_setie(k, value),
            Reg::SetIeNum => d.set_setienum(value),
            Reg::ClrIe(k) => d.set_clrie(k, value),
            Reg::ClrIeNum => d.set_clrienum(value),
            Reg::GenMsi => {
                // Behind whatever was to leave before.
                if let Some(m) = d.set_genmsi(value) {
                    self.core.forward(i);
                    self.core.send(i, m);
                }
            }
            Reg::Target(source) => d.set_target(source + 1, value),
            Reg::Idc(n) => match n % 8 {
                IDELIVERY => d.set_idelivery(n / 8, value),
                IFORCE => d.set_iforce(n / 8, value),
                ITHRESHOLD => d.set_ithreshold(n / 8, value),
                _ => {}
            },
        }
        self.core.forward(i);
    }
}

/// What was last driven into the harts, by domain and hart.
struct Wires {
    driven: Vec<bool>,
    /// Scratch: lines that have to move, and MSIs that have to leave.
    moves: Vec<(usize, bool)>,
    messages: Vec<(u64, u32)>,
}

/// The chip with its wires.
///
/// Locks: `wires` before `core`. Nothing is called under `core`; `wires` keeps what leaves in order, so that an
/// extempore MSI comes after all before it.
pub struct Aplic {
    levels: Vec<Level>,
    harts: u32,
    direct: bool,
    core: Mutex<AplicCore>,
    wires: Mutex<Wires>,
    lines: Arc<dyn HartLines>,
    msis: Arc<dyn MsiSink>,
}

impl Aplic {
    /// Hart indices are the hart ids `0..harts`.
    pub fn new(core: AplicCore, harts: u32, lines: Arc<dyn HartLines>, msis: Arc<dyn MsiSink>) -> Arc<Self> {
        assert!((1..=HARTS_MAX).contains(&harts), "an APLIC serves 1 to {HARTS_MAX} harts");
        let levels: Vec<_> = core.domains.iter().map(|(level, _)| *level).collect();
        let driven = vec![false; levels.len() * harts as usize];
        Arc::new(Self {
            direct: !core.domains[0].1.sends_msis(),
            levels,
            harts,
            core: Mutex::new(core),
            wires: Mutex::new(Wires { driven, moves: Vec::new(), messages: Vec::new() }),
            lines,
            msis,
        })
    }

    /// What stands on the bus for a level, if there is a domain for it.
    pub fn device(self: &Arc<Self>, level: Level) -> Option<AplicDomain> {
        let index = self.levels.iter().position(|l| *l == level)?;
        Some(AplicDomain { aplic: Arc::clone(self), index, map: map(self.harts), child: None, msi_parent: None })
    }

    fn core(&self) -> MutexGuard<'_, AplicCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends MSIs and brings the lines up to date with the chip. Called after every change, without `core`.
    fn drive(&self) {
        let _scope = Scope::open();
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let Wires { driven, moves, messages } = &mut *wires;
        {
            let mut core = self.core();
            std::mem::swap(&mut core.outgoing, messages);
            if self.direct {
                let harts = self.harts as usize;
                moves.extend(driven.iter().enumerate().filter_map(|(i, &was)| {
                    let is = core.domains[i / harts].1.signals((i % harts) as u32);
                    (is != was).then_some((i, is))
                }));
            }
        }
        for (i, level) in moves.drain(..) {
            driven[i] = level;
            let harts = self.harts as usize;
            self.lines.set_irq((i % harts) as u32, self.levels[i / harts].irq(), level);
        }
        for (address, data) in messages.drain(..) {
            self.msis.send(address, data);
        }
    }

    /// A copy of the chip's state.
    pub fn state(&self) -> AplicCore {
        self.core().clone()
    }

    /// Puts back a state taken from an APLIC with the same domains. The harts are stopped.
    pub fn set_state(&self, state: AplicCore) {
        *self.core() = state;
        self.drive();
    }
}

impl IrqSink for Aplic {
    fn set_level(&self, source: u32, level: bool) {
        self.core().set_level(source, level);
        self.drive();
    }
}

/// A domain's control region on the bus.
pub struct AplicDomain {
    aplic: Arc<Aplic>,
    index: usize,
    map: RegMap<Reg>,
    /// phandle of the domain that sources are delegated to.
    child: Option<u32>,
    /// phandle of the IMSICs that MSIs go to.
    msi_parent: Option<u32>,
}

impl AplicDomain {
    /// What the device tree tells of the domains and controllers around it, by phandle.
    #[must_use]
    pub fn with_relatives(self, child: Option<u32>, msi_parent: Option<u32>) -> Self {
        Self { child, msi_parent, ..self }
    }
}

/// Other accesses than those of aligned words are ignored.
fn is_word(offset: u64, len: usize) -> bool {
    len == 4 && offset.is_multiple_of(4)
}

impl MmioDevice for AplicDomain {
    fn name(&self) -> &str {
        "riscv.aplic"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if !is_word(offset, data.len()) {
            return;
        }
        self.map.read(&mut View { core: &mut self.aplic.core(), domain: self.index }, offset, data);
        // Only a claim changes anything.
        if offset >= 0x4000 {
            self.aplic.drive();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if is_word(offset, data.len()) {
            self.map.write(&mut View { core: &mut self.aplic.core(), domain: self.index }, offset, data);
            self.aplic.drive();
        }
    }

    fn reset(&self) {
        self.aplic.core().reset(self.index);
        self.aplic.drive();
    }

    /// The first domain has the state of all.
    fn save_state(&self) -> Option<SavedState> {
        (self.index == 0).then(|| self.aplic.state().save())
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        if self.index != 0 {
            return Err(StateError::Stateless);
        }
        let state = self.aplic.core().read(state)?;
        self.aplic.set_state(state);
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let sources = self.aplic.core().domains[self.index].1.sources();
        vec![node(sources, self.child, self.msi_parent, at)]
    }
}

/// What the device tree says of a domain, whoever has it: `child` is the domain below and `msi_parent` the IMSICs that
/// get MSIs, by phandle.
pub fn node(sources: u32, child: Option<u32>, msi_parent: Option<u32>, at: &Placement) -> FdtNode {
    let mut node = FdtNode::new(format!("interrupt-controller@{:x}", at.base)).with_phandle(at);
    if let Some(child) = child {
        node = node
            .with("riscv,delegation", FdtValue::Cells(vec![child, 1, sources]))
            .with("riscv,children", FdtValue::U32(child));
    }
    node = node.with("riscv,num-sources", FdtValue::U32(sources)).with("reg", at.reg());
    node = match msi_parent {
        Some(imsics) => node.with("msi-parent", FdtValue::U32(imsics)),
        None => node.with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone())),
    };
    node.with("interrupt-controller", FdtValue::Empty)
        .with("#interrupt-cells", FdtValue::U32(2))
        .with("#address-cells", FdtValue::U32(0))
        .with("compatible", FdtValue::Strs(vec!["qemu,aplic".into(), "riscv,aplic".into()]))
}

#[cfg(test)]
mod tests;
