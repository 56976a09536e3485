//! The AIA's chips where they are the engine's: what stands in their place on the board, so that devices, device tree
//! and resets do not see a difference.
//!
//! The guest's loads and stores do not come here, but for those that the chips would ignore: the engine answers them.
//! What goes in is wires and MSIs; the levels of the wires are kept here, since an engine need not tell them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use accel::irqchip::{AplicState, InterruptFileState};
use accel::{AccelError, GuestRam, Irqchip, IrqchipConfig, IrqchipState};
use devices::fdt::{FdtNode, Placement};
use devices::intc::aplic::{self, AplicCore, Delivery, DomainRegisters, MsiBase, Sources};
use devices::intc::imsic::{self, InterruptFile};
use devices::{IrqSink, MmioDevice, MsiSink, SavedState, StateError};
use vm_memory::{Bytes, GuestAddress};

/// State of the chips as chips of the board would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipsState {
    /// If the APLIC is the engine's.
    pub aplic: Option<AplicCore>,
    /// By hart, then guest.
    pub files: Vec<InterruptFile>,
}

/// The chips; the engine's are bound when its vCPUs are made.
pub struct EngineChips {
    pub config: IrqchipConfig,
    harts: u32,
    level: imsic::Level,
    ram: Arc<GuestRam>,
    chips: OnceLock<Arc<dyn Irqchip>>,
    /// Levels of the APLIC's wires. Held while the engine is told, so that it hears of changes in their order.
    inputs: Mutex<Sources>,
}

impl EngineChips {
    /// Chips for harts with so many guest interrupt files.
    pub fn new(config: IrqchipConfig, harts: u32, guests: u8, ram: Arc<GuestRam>) -> Arc<Self> {
        let level = imsic::Level::Supervisor { guests };
        Arc::new(Self { config, harts, level, ram, chips: OnceLock::new(), inputs: Mutex::default() })
    }

    /// Once, before the machine is switched on.
    pub fn bind(&self, chips: Arc<dyn Irqchip>) {
        assert!(self.chips.set(chips).is_ok(), "the engine's chips are bound once");
    }

    fn inputs(&self) -> MutexGuard<'_, Sources> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> Option<u32> {
        self.config.aplic.map(|(_, sources)| sources)
    }

    /// An APLIC of the board as the engine's is out of reset.
    fn aplic(&self) -> Option<AplicCore> {
        let imsic::Level::Supervisor { guests } = self.level else { return None };
        let base = MsiBase { address: self.config.imsic, guest_bits: self.config.guest_bits };
        Some(AplicCore::supervisor_only(self.sources()?, self.harts, Delivery::Msi { guests: guests > 0 }, base))
    }

    /// `None` before the machine was made. The harts are stopped.
    pub fn state(&self) -> Result<Option<ChipsState>, AccelError> {
        let Some(chips) = self.chips.get() else { return Ok(None) };
        let inputs = self.inputs();
        let state = chips.state()?;
        let aplic = self.aplic().zip(state.aplic).map(|(mut core, registers)| {
            core.supervisor_mut().set_registers(&DomainRegisters { inputs: *inputs, ..from_engine(registers) });
            core
        });
        let guests = self.level.files() as usize - 1;
        let with_guests = |file| [file_from_engine(file)].into_iter().chain(vec![InterruptFile::default(); guests]);
        Ok(Some(ChipsState { aplic, files: state.files.iter().flat_map(with_guests).collect() }))
    }

    /// Puts a state of chips of the board in place. The harts are stopped.
    pub fn set_state(&self, state: &ChipsState) -> Result<(), AccelError> {
        self.put(&mut self.inputs(), state)
    }

    /// With the wires' lock held.
    fn put(&self, inputs: &mut Sources, state: &ChipsState) -> Result<(), AccelError> {
        let Some(chips) = self.chips.get() else { return Ok(()) };
        let aplic = state.aplic.as_ref().map(|core| core.supervisor().registers());
        if let Some(registers) = &aplic {
            *inputs = registers.inputs;
        }
        let words = (self.config.identities as usize + 1) / 64;
        let own = state.files.iter().step_by(self.level.files() as usize);
        let files = own.map(|file| file_to_engine(file, words)).collect();
        chips.set_state(&IrqchipState { aplic: aplic.map(to_engine), files })
    }

    /// The state for a snapshot; nothing if the engine does not tell.
    fn saved(&self) -> Option<ChipsState> {
        let told = self.state();
        told.inspect_err(|error| tracing::error!("{}", crate::error_chain(error))).ok().flatten()
    }

    /// Changes the state by a snapshot's.
    fn restore(&self, change: impl FnOnce(&mut ChipsState) -> Result<(), StateError>) -> Result<(), StateError> {
        let failed = |error: AccelError| StateError::Unfit(crate::error_chain(&error));
        let Some(mut state) = self.state().map_err(failed)? else { return Err(StateError::Stateless) };
        change(&mut state)?;
        self.set_state(&state).map_err(failed)
    }

    /// As out of reset; the wires stay as they are, and devices that drive them meanwhile wait.
    fn reset(&self) {
        let mut inputs = self.inputs();
        let files = vec![InterruptFile::default(); (self.harts * self.level.files()) as usize];
        let mut aplic = self.aplic();
        if let Some(core) = &mut aplic {
            core.supervisor_mut().set_registers(&DomainRegisters { inputs: *inputs, ..DomainRegisters::default() });
        }
        if let Err(error) = self.put(&mut inputs, &ChipsState { aplic, files }) {
            tracing::error!("the engine's interrupt controllers stay as they were: {}", crate::error_chain(&error));
        }
    }

    /// What stands on the bus for the IMSICs.
    pub fn imsic(self: &Arc<Self>) -> EngineImsic {
        EngineImsic(Arc::clone(self))
    }

    /// What stands on the bus for an APLIC whose MSIs go to the IMSICs with this phandle.
    pub fn aplic_device(self: &Arc<Self>, msi_parent: u32) -> EngineAplic {
        EngineAplic { chips: Arc::clone(self), msi_parent }
    }
}

fn from_engine(s: AplicState) -> DomainRegisters {
    let AplicState { delivers, sourcecfg, target, pending, enabled, inputs, genmsi } = s;
    DomainRegisters { delivers, sourcecfg, target, pending, enabled, inputs, genmsi }
}

fn to_engine(r: DomainRegisters) -> AplicState {
    let DomainRegisters { delivers, sourcecfg, target, pending, enabled, inputs, genmsi } = r;
    AplicState { delivers, sourcecfg, target, pending, enabled, inputs, genmsi }
}

fn file_from_engine(s: &InterruptFileState) -> InterruptFile {
    let mut file = InterruptFile { delivery: s.delivery, threshold: s.threshold, ..InterruptFile::default() };
    file.pending.iter_mut().zip(&s.pending).for_each(|(to, from)| *to = *from);
    file.enabled.iter_mut().zip(&s.enabled).for_each(|(to, from)| *to = *from);
    file
}

fn file_to_engine(f: &InterruptFile, words: usize) -> InterruptFileState {
    let take = |of: &[u64]| of.iter().copied().take(words).collect();
    InterruptFileState {
        delivery: f.delivery,
        threshold: f.threshold,
        pending: take(&f.pending),
        enabled: take(&f.enabled),
    }
}

impl IrqSink for EngineChips {
    fn set_level(&self, source: u32, level: bool) {
        if !self.sources().is_some_and(|last| (1..=last).contains(&source)) {
            return;
        }
        let mut inputs = self.inputs();
        let bit = 1 << source;
        *inputs = if level { *inputs | bit } else { *inputs & !bit };
        if let Some(chips) = self.chips.get() {
            chips.set_line(source, level);
        }
    }
}

impl MsiSink for EngineChips {
    fn send(&self, address: u64, data: u32) {
        match address.checked_sub(self.config.imsic) {
            Some(offset) if offset < self.level.window(self.harts) => {
                if let Some(chips) = self.chips.get() {
                    chips.send_msi(address, data);
                }
            }
            _ if self.ram.write_slice(&data.to_le_bytes(), GuestAddress(address)).is_ok() => {}
            _ => tracing::debug!("MSI {data} for {address:#x}: nothing is there"),
        }
    }
}

/// In the place of the supervisor level's IMSICs.
pub struct EngineImsic(Arc<EngineChips>);

impl MmioDevice for EngineImsic {
    fn name(&self) -> &str {
        "riscv.imsic"
    }

    fn size(&self) -> u64 {
        self.0.level.window(self.0.harts)
    }

    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) {}

    /// All of the engine's chips at once: its APLIC has none of its own.
    fn reset(&self) {
        self.0.reset();
    }

    /// As the board's own would.
    fn save_state(&self) -> Option<SavedState> {
        self.0.saved().map(|state| imsic::save_files(&state.files))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        self.0.restore(|chips| {
            chips.files = imsic::read_files(state, chips.files.len())?;
            Ok(())
        })
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![imsic::node(self.0.level, self.0.config.identities, at)]
    }
}

/// In the place of the supervisor level's APLIC.
pub struct EngineAplic {
    chips: Arc<EngineChips>,
    msi_parent: u32,
}

impl MmioDevice for EngineAplic {
    fn name(&self) -> &str {
        "riscv.aplic"
    }

    fn size(&self) -> u64 {
        aplic::SIZE
    }

    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) {}

    /// With the IMSICs.
    fn reset(&self) {}

    /// As the board's own would.
    fn save_state(&self) -> Option<SavedState> {
        self.chips.saved()?.aplic.map(|aplic| aplic.save())
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        self.chips.restore(|chips| {
            let aplic = chips.aplic.as_mut().ok_or(StateError::Stateless)?;
            *aplic = aplic.read(state)?;
            Ok(())
        })
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![aplic::node(self.chips.sources().unwrap_or(0), None, Some(self.msi_parent), at)]
    }
}

#[cfg(test)]
mod tests {
    use accel::mock::{Mock, MockIrqchip};
    use accel::{Accel, Clock, VmConfig};

    use super::*;
    use crate::board::memory;
    use crate::board::wires::{BoardBus, HartWires};
    use crate::config::{MemoryLock, RamConfig};
    use devices::MmioBus;
    use devices::intc::{Aplic, Imsic};

    const IMSIC: u64 = 0x2800_0000;

    fn chips(identities: u32) -> (Arc<EngineChips>, Arc<MockIrqchip>) {
        let config = IrqchipConfig { aplic: Some((0xd00_0000, 96)), imsic: IMSIC, guest_bits: 1, identities };
        let ram = memory::make(0x8000_0000, 1 << 20, &RamConfig::default(), MemoryLock::Off).unwrap().ram;
        let mock = Mock::default();
        let vm = mock.create_vm(VmConfig {
            ram: (*ram).clone(),
            bus: Arc::new(BoardBus::new(MmioBus::new(), None, None)),
            clock: Arc::new(Clock::new(10_000_000)),
            harts: 2,
            isa: arch::ext::IsaConfig::default(),
            builtin_sbi: true,
            machine_traps: true,
            imsic: None,
            irqchip: Some(config),
        });
        let chips = EngineChips::new(config, 2, 1, ram);
        chips.bind(vm.unwrap().start_irqchip().unwrap().unwrap());
        (chips, mock.irqchip().unwrap())
    }

    /// A board's chips with something in every register.
    fn boards() -> (Arc<Aplic>, Imsic) {
        let wires = Arc::new(HartWires::new(Arc::new(Clock::new(10_000_000))));
        let imsic = Imsic::new(imsic::Level::Supervisor { guests: 1 }, 2, Arc::clone(&wires) as _);
        let base = MsiBase { address: IMSIC, guest_bits: 1 };
        let core = AplicCore::supervisor_only(96, 2, Delivery::Msi { guests: true }, base);
        struct Nowhere;
        impl MsiSink for Nowhere {
            fn send(&self, _: u64, _: u32) {}
        }
        let aplic = Aplic::new(core, 2, wires, Arc::new(Nowhere));
        let d = aplic.device(aplic::Level::Supervisor).unwrap();
        let write = |offset: u64, value: u32| d.write(offset, &value.to_le_bytes());
        // Level, edge, and a source that is high and not enabled.
        for (source, mode) in [(10, 6), (11, 4), (96, 7)] {
            write(4 * source, mode);
            write(0x3000 + 4 * source, 1 << 18 | source as u32);
        }
        write(0x1edc, 96);
        write(0x1cdc, 11);
        write(0x3000, 1 << 18 | 77);
        aplic.set_level(10, true);
        for hart in 0..2 {
            imsic.access(hart, 0, 0x70, 0, 1);
            imsic.access(hart, 0, 0x72, 0, 99);
            imsic.access(hart, 0, 0xc6, 0, u64::from(hart) + 5);
        }
        imsic.receive(0x2000, 200);
        (aplic, imsic)
    }

    #[test]
    fn a_boards_state_moves_into_the_engine_and_back() {
        let (chips, mock) = chips(255);
        let (aplic, imsic) = boards();
        chips.set_state(&ChipsState { aplic: Some(aplic.state()), files: imsic.state() }).unwrap();
        let held = mock.state().unwrap();
        let a = held.aplic.as_ref().unwrap();
        assert_eq!((a.sourcecfg[96], a.target[11], a.inputs, a.genmsi), (7, 1 << 18 | 11, 1 << 10, 1 << 18 | 77));
        assert_eq!((a.pending, a.enabled), (1 << 10 | 1 << 11 | 1 << 96, 1 << 96));
        assert_eq!((held.files[1].pending[3], held.files[1].enabled[3], held.files[0].threshold), (1 << 8, 6, 99));
        assert_eq!(chips.state().unwrap(), Some(ChipsState { aplic: Some(aplic.state()), files: imsic.state() }));
    }

    #[test]
    fn wires_reach_the_engine_and_outlive_a_reset() {
        let (chips, mock) = chips(127);
        let inputs = || mock.state().unwrap().aplic.unwrap().inputs;
        [5, 10, 0, 97, 1000].iter().for_each(|source| chips.set_level(*source, true));
        assert_eq!(inputs(), 1 << 5 | 1 << 10);
        let (aplic, imsic) = boards();
        chips.set_state(&ChipsState { aplic: Some(aplic.state()), files: imsic.state() }).unwrap();
        chips.set_level(3, true);
        chips.imsic().reset();
        let s = mock.state().unwrap();
        let expected = AplicState {
            inputs: 1 << 3 | 1 << 10,
            sourcecfg: vec![0; 97],
            target: vec![0; 97],
            ..AplicState::default()
        };
        assert_eq!(s.aplic, Some(expected));
        let file = InterruptFileState { pending: vec![0; 2], enabled: vec![0; 2], ..InterruptFileState::default() };
        assert_eq!(s.files, [file.clone(), file]);
    }

    #[test]
    fn messages_reach_the_engine_or_memory() {
        let (chips, mock) = chips(255);
        for address in [IMSIC, IMSIC + 0x3000, IMSIC + 0x4000, 0x8000_0100, 0x1000] {
            chips.send(address, 7);
        }
        assert_eq!(mock.msis(), [(IMSIC, 7), (IMSIC + 0x3000, 7)]);
        assert_eq!(chips.ram.read_obj::<u32>(GuestAddress(0x8000_0100)).unwrap().to_le(), 7);
    }
}
