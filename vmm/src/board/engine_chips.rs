//! The AIA's chips of a machine without M-mode: those of the board, or an engine's in their place, so that devices, device
//! tree and resets do not see a difference. They move from one to the other when the engine changes.
//!
//! While they are the engine's, the guest's loads and stores do not come here, but for those that the chips would ignore:
//! the engine answers them. What goes in is wires and MSIs; the levels of the wires are kept here, since an engine need
//! not tell them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use accel::irqchip::{AplicState, InterruptFileState};
use accel::{AccelError, GuestRam, Irqchip, IrqchipConfig, IrqchipOffer, IrqchipPlace, IrqchipState};
use devices::fdt::{FdtNode, Placement};
use devices::intc::aplic::{self, AplicCore, AplicDomain, Delivery, DomainRegisters, MsiBase, Sources};
use devices::intc::imsic::{self, InterruptFile};
use devices::intc::{Aplic, Imsic};
use devices::{HartLines, IrqSink, MmioDevice, MsiSink, SavedState, StateError};

use super::imsics::Imsics;

/// State of the chips as chips of the board have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipsState {
    pub aplic: AplicCore,
    /// By hart, then guest.
    pub files: Vec<InterruptFile>,
}

/// Which chips a board has, and where.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub harts: u32,
    /// Guest interrupt files of a hart.
    pub guests: u8,
    /// Of the APLIC.
    pub address: u64,
    pub sources: u32,
    /// Of hart 0's IMSIC.
    pub imsic: u64,
    /// Interrupt identities that the guest is told of.
    pub identities: u32,
}

impl Shape {
    fn level(&self) -> imsic::Level {
        imsic::Level::Supervisor { guests: self.guests }
    }

    /// An APLIC of the board out of reset.
    fn core(&self) -> AplicCore {
        let base = MsiBase { address: self.imsic, guest_bits: self.level().guest_bits() };
        AplicCore::supervisor_only(self.sources, self.harts, Delivery::Msi { guests: self.guests > 0 }, base)
    }

    /// An APLIC with nothing in it but what engines have of `core`.
    fn plain(&self, core: &AplicCore) -> AplicCore {
        let mut plain = self.core();
        plain.supervisor_mut().set_registers(&core.supervisor().registers());
        plain
    }

    fn files(&self) -> Vec<InterruptFile> {
        vec![InterruptFile::default(); (self.harts * self.level().files()) as usize]
    }
}

/// Chips of an engine.
#[derive(Clone)]
struct Bound {
    chips: Arc<dyn Irqchip>,
    config: IrqchipConfig,
}

/// The far end of MSIs: interrupt files, whoever has them, and memory.
struct Files {
    shape: Shape,
    board: Arc<Imsics>,
    /// A leaf: the engine is told inside.
    engine: RwLock<Option<Bound>>,
}

impl Files {
    fn engine(&self) -> RwLockReadGuard<'_, Option<Bound>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn imsic(&self) -> &Imsic {
        &self.board.supervisor.1
    }
}

impl MsiSink for Files {
    fn send(&self, address: u64, data: u32) {
        if let Some(bound) = &*self.engine()
            && let Some(offset) = address.checked_sub(self.shape.imsic)
            && offset < self.shape.level().window(self.shape.harts)
        {
            return bound.chips.send_msi(address, data);
        }
        self.board.send(address, data);
    }
}

/// The chips, whoever has them.
///
/// Locks: `moving`, then `inputs` or the chips' own.
pub struct EngineChips {
    shape: Shape,
    files: Arc<Files>,
    aplic: Arc<Aplic>,
    /// Read while a wire is driven, and written while the chips move: no change of a wire is between two of them.
    moving: RwLock<()>,
    /// Levels of the wires of an engine's APLIC. Held while the engine is told, so that it hears of changes in their order.
    inputs: Mutex<Sources>,
}

impl EngineChips {
    /// The chips are the board's until they are [bound](Self::bind).
    pub fn new(shape: Shape, lines: &Arc<dyn HartLines>, ram: &Arc<GuestRam>) -> Arc<Self> {
        let imsic = Arc::new(Imsic::new(shape.level(), shape.harts, Arc::clone(lines)));
        let board = Imsics { machine: None, supervisor: (shape.imsic, imsic), ram: Arc::clone(ram) };
        let files = Arc::new(Files { shape, board: Arc::new(board), engine: RwLock::default() });
        let aplic = Aplic::new(shape.core(), shape.harts, Arc::clone(lines), Arc::clone(&files) as _);
        Arc::new(Self { shape, files, aplic, moving: RwLock::default(), inputs: Mutex::default() })
    }

    /// The board's interrupt files, for an engine that has none.
    pub fn imsics(&self) -> Arc<Imsics> {
        Arc::clone(&self.files.board)
    }

    /// What an engine is to make that offers this; `None`: the chips are the board's with it.
    pub fn config(&self, offer: IrqchipOffer) -> Option<IrqchipConfig> {
        let Shape { address, sources, imsic, identities, .. } = self.shape;
        if offer.place == IrqchipPlace::Board {
            return None;
        }
        if offer.identities < identities {
            let has = offer.identities;
            tracing::warn!("the engine's IMSICs have {has} identities, and the guest knows of {identities}: not used");
            return None;
        }
        let aplic = (offer.place == IrqchipPlace::Engine).then_some((address, sources));
        Some(IrqchipConfig { aplic, imsic, guest_bits: self.shape.level().guest_bits(), identities })
    }

    /// They are this engine's. Before the machine is switched on.
    pub fn bind(&self, chips: Arc<dyn Irqchip>, config: IrqchipConfig) {
        *self.files.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(Bound { chips, config });
    }

    fn inputs(&self) -> MutexGuard<'_, Sources> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has the chips. They move only while no hart runs.
    fn bound(&self) -> Option<Bound> {
        self.files.engine().clone()
    }

    /// The engine, if it has the APLIC.
    fn engines_aplic(&self) -> Option<Bound> {
        self.bound().filter(|bound| bound.config.aplic.is_some())
    }

    /// The harts are stopped.
    pub fn state(&self) -> Result<ChipsState, AccelError> {
        self.state_with(&self.inputs())
    }

    fn state_with(&self, inputs: &Sources) -> Result<ChipsState, AccelError> {
        let Some(bound) = self.bound() else {
            return Ok(ChipsState { aplic: self.aplic.state(), files: self.files.imsic().state() });
        };
        let state = bound.chips.state()?;
        let aplic = match state.aplic {
            None => self.aplic.state(),
            Some(registers) => {
                let mut core = self.shape.core();
                core.supervisor_mut().set_registers(&DomainRegisters { inputs: *inputs, ..from_engine(registers) });
                core
            }
        };
        let guests = usize::from(self.shape.guests);
        let with_guests = |file| [file_from_engine(file)].into_iter().chain(vec![InterruptFile::default(); guests]);
        Ok(ChipsState { aplic, files: state.files.iter().flat_map(with_guests).collect() })
    }

    /// Puts a state in place. The harts are stopped.
    pub fn set_state(&self, state: &ChipsState) -> Result<(), AccelError> {
        let mut inputs = self.inputs();
        let Some(bound) = self.bound() else {
            drop(inputs);
            self.put_on_board(state, true);
            return Ok(());
        };
        bound.put(self.shape, state)?;
        *inputs = state.aplic.supervisor().registers().inputs;
        drop(inputs);
        if bound.config.aplic.is_none() {
            self.aplic.set_state(state.aplic.clone());
        }
        Ok(())
    }

    /// Into the chips of the board: the APLIC, and with `files` the IMSICs.
    fn put_on_board(&self, state: &ChipsState, files: bool) {
        if files {
            self.files.imsic().set_state(&state.files);
        }
        self.aplic.set_state(state.aplic.clone());
    }

    /// The state for a snapshot; nothing if the engine does not tell.
    fn saved(&self) -> Option<ChipsState> {
        self.state().inspect_err(|error| tracing::error!("{}", crate::error_chain(error))).ok()
    }

    /// Changes the state by a snapshot's.
    fn restore(&self, change: impl FnOnce(&mut ChipsState) -> Result<(), StateError>) -> Result<(), StateError> {
        let failed = |error: AccelError| StateError::Unfit(crate::error_chain(&error));
        let mut state = self.state().map_err(failed)?;
        change(&mut state)?;
        self.set_state(&state).map_err(failed)
    }

    /// As out of reset; the wires stay as they are, and devices that drive them meanwhile wait.
    fn reset(&self, bound: &Bound) {
        let inputs = self.inputs();
        let mut aplic = self.shape.core();
        let registers = DomainRegisters { inputs: *inputs, ..DomainRegisters::default() };
        aplic.supervisor_mut().set_registers(&registers);
        if let Err(error) = bound.put(self.shape, &ChipsState { aplic, files: self.shape.files() }) {
            tracing::error!("the engine's interrupt controllers stay as they were: {}", crate::error_chain(&error));
        }
    }

    /// Begins to move the chips into those of an engine that has some, or to the board: they get the state. Devices that
    /// drive wires wait until that is over, and no hart runs.
    ///
    /// # Errors
    /// One of the engines does not give or take the state; all stays as it is.
    pub fn prepare(&self, to: Option<(Arc<dyn Irqchip>, IrqchipConfig)>) -> Result<Moving<'_>, AccelError> {
        let still = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let state = self.state()?;
        let to = to.map(|(chips, config)| Bound { chips, config });
        if let Some(bound) = &to {
            if bound.config.aplic.is_some() && self.shape.plain(&state.aplic) != state.aplic {
                let what = "an APLIC that is big-endian, or has interrupts forced or thresholds set".to_owned();
                return Err(AccelError::Unsupported { name: "the engine", what });
            }
            bound.put(self.shape, &state)?;
        }
        Ok(Moving { chips: self, _still: still, state, to })
    }

    /// What stands on the bus for the IMSICs.
    pub fn imsic(self: &Arc<Self>) -> EngineImsic {
        EngineImsic(Arc::clone(self))
    }

    /// What stands on the bus for an APLIC whose MSIs go to the IMSICs with this phandle.
    pub fn aplic_device(self: &Arc<Self>, msi_parent: u32) -> EngineAplic {
        let board = self.aplic.device(aplic::Level::Supervisor).expect("it has this level alone");
        EngineAplic { chips: Arc::clone(self), board, msi_parent }
    }
}

impl Bound {
    /// Gives the engine's chips a state.
    fn put(&self, shape: Shape, state: &ChipsState) -> Result<(), AccelError> {
        let words = (shape.identities as usize + 1) / 64;
        let own = state.files.iter().step_by(shape.level().files() as usize);
        let files = own.map(|file| file_to_engine(file, words)).collect();
        let aplic = self.config.aplic.map(|_| to_engine(state.aplic.supervisor().registers()));
        self.chips.set_state(&IrqchipState { aplic, files })
    }
}

/// Chips on their way: nobody drives their wires.
pub struct Moving<'a> {
    chips: &'a EngineChips,
    _still: RwLockWriteGuard<'a, ()>,
    state: ChipsState,
    to: Option<Bound>,
}

impl Moving<'_> {
    /// The vCPUs that the chips have driven go away: lines of chips that are the board's no more go down.
    pub fn leave(&self) {
        if self.to.is_some() {
            self.chips.files.imsic().set_state(&self.chips.shape.files());
        }
    }

    /// The new vCPUs are there: the chips are those of the new engine, or drive their lines.
    pub fn arrive(self) {
        let Self { chips, state, to, .. } = self;
        let (board_files, board_aplic) =
            to.as_ref().map_or((true, true), |bound| (false, bound.config.aplic.is_none()));
        *chips.inputs() = state.aplic.supervisor().registers().inputs;
        *chips.files.engine.write().unwrap_or_else(PoisonError::into_inner) = to;
        if board_aplic {
            chips.put_on_board(&state, board_files);
        }
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
        let _still = self.moving.read().unwrap_or_else(PoisonError::into_inner);
        let Some(bound) = self.engines_aplic() else { return self.aplic.set_level(source, level) };
        if !(1..=self.shape.sources).contains(&source) {
            return;
        }
        let mut inputs = self.inputs();
        let bit = 1 << source;
        *inputs = if level { *inputs | bit } else { *inputs & !bit };
        bound.chips.set_line(source, level);
    }
}

/// In the place of the supervisor level's IMSICs.
pub struct EngineImsic(Arc<EngineChips>);

impl EngineImsic {
    /// The board's, if nobody has taken their place.
    fn board(&self) -> Option<&Imsic> {
        let files = &self.0.files;
        files.engine().is_none().then(|| files.imsic())
    }
}

impl MmioDevice for EngineImsic {
    fn name(&self) -> &str {
        "riscv.imsic"
    }

    fn size(&self) -> u64 {
        self.0.shape.level().window(self.0.shape.harts)
    }

    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(imsic) = self.board() {
            imsic.write(offset, data);
        }
    }

    /// All of the engine's chips at once: its APLIC has none of its own.
    fn reset(&self) {
        match self.0.bound() {
            None => self.0.files.imsic().reset(),
            Some(bound) => self.0.reset(&bound),
        }
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
        vec![imsic::node(self.0.shape.level(), self.0.shape.identities, at)]
    }
}

/// In the place of the supervisor level's APLIC.
pub struct EngineAplic {
    chips: Arc<EngineChips>,
    board: AplicDomain,
    msi_parent: u32,
}

impl EngineAplic {
    /// The board's, if none has taken its place.
    fn board(&self) -> Option<&AplicDomain> {
        self.chips.engines_aplic().is_none().then_some(&self.board)
    }
}

impl MmioDevice for EngineAplic {
    fn name(&self) -> &str {
        "riscv.aplic"
    }

    fn size(&self) -> u64 {
        aplic::SIZE
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        match self.board() {
            Some(board) => board.read(offset, data),
            None => data.fill(0),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(board) = self.board() {
            board.write(offset, data);
        }
    }

    /// An engine's with the IMSICs.
    fn reset(&self) {
        if let Some(board) = self.board() {
            board.reset();
        }
    }

    /// As the board's own would.
    fn save_state(&self) -> Option<SavedState> {
        self.chips.saved().map(|state| state.aplic.save())
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        self.chips.restore(|chips| {
            chips.aplic = chips.aplic.read(state)?;
            Ok(())
        })
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        vec![aplic::node(self.chips.shape.sources, None, Some(self.msi_parent), at)]
    }
}

#[cfg(test)]
mod tests {
    use accel::mock::{Mock, MockIrqchip};
    use accel::{Accel, Clock, HartIrq, Vm, VmConfig};

    use super::*;
    use crate::board::memory;
    use crate::board::wires::{BoardBus, HartWires};
    use crate::config::{MemoryLock, RamConfig};
    use devices::MmioBus;
    use vm_memory::{Bytes, GuestAddress};

    const IMSIC: u64 = 0x2800_0000;

    fn offer(place: IrqchipPlace, identities: u32) -> IrqchipOffer {
        IrqchipOffer { place, identities }
    }

    /// Chips of a board for two harts, with the wires to them.
    fn on_board(identities: u32) -> (Arc<EngineChips>, Arc<HartWires>) {
        let ram = memory::make(0x8000_0000, 1 << 20, &RamConfig::default(), MemoryLock::Off).unwrap().ram;
        let wires = Arc::new(HartWires::new(Arc::new(Clock::new(10_000_000))));
        let shape = Shape { harts: 2, guests: 1, address: 0xd00_0000, sources: 96, imsic: IMSIC, identities };
        (EngineChips::new(shape, &(Arc::clone(&wires) as Arc<dyn HartLines>), &ram), wires)
    }

    /// A machine of the mock with these of its own chips.
    fn vm(chips: &EngineChips, mock: &Mock, irqchip: Option<IrqchipConfig>) -> Arc<dyn Vm> {
        let ram = &chips.files.board.ram;
        let config = VmConfig {
            ram: (**ram).clone(),
            bus: Arc::new(BoardBus::new(MmioBus::new(), None, None)),
            clock: Arc::new(Clock::new(10_000_000)),
            harts: 2,
            isa: arch::ext::IsaConfig::default(),
            builtin_sbi: true,
            machine_traps: true,
            imsic: None,
            irqchip,
        };
        mock.create_vm(config).unwrap()
    }

    fn chips(identities: u32) -> (Arc<EngineChips>, Arc<MockIrqchip>) {
        let (chips, _) = on_board(identities);
        let config = chips.config(offer(IrqchipPlace::Engine, identities)).unwrap();
        let mock = Mock::default();
        let vm = vm(&chips, &mock, Some(config));
        chips.bind(vm.start_irqchip().unwrap().unwrap(), config);
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
        chips.set_state(&ChipsState { aplic: aplic.state(), files: imsic.state() }).unwrap();
        let held = mock.state().unwrap();
        let a = held.aplic.as_ref().unwrap();
        assert_eq!((a.sourcecfg[96], a.target[11], a.inputs, a.genmsi), (7, 1 << 18 | 11, 1 << 10, 1 << 18 | 77));
        assert_eq!((a.pending, a.enabled), (1 << 10 | 1 << 11 | 1 << 96, 1 << 96));
        assert_eq!((held.files[1].pending[3], held.files[1].enabled[3], held.files[0].threshold), (1 << 8, 6, 99));
        assert_eq!(chips.state().unwrap(), ChipsState { aplic: aplic.state(), files: imsic.state() });
    }

    #[test]
    fn wires_reach_the_engine_and_outlive_a_reset() {
        let (chips, mock) = chips(127);
        let inputs = || mock.state().unwrap().aplic.unwrap().inputs;
        [5, 10, 0, 97, 1000].iter().for_each(|source| chips.set_level(*source, true));
        assert_eq!(inputs(), 1 << 5 | 1 << 10);
        let (aplic, imsic) = boards();
        chips.set_state(&ChipsState { aplic: aplic.state(), files: imsic.state() }).unwrap();
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
            chips.files.send(address, 7);
        }
        assert_eq!(mock.msis(), [(IMSIC, 7), (IMSIC + 0x3000, 7)]);
        assert_eq!(chips.files.board.ram.read_obj::<u32>(GuestAddress(0x8000_0100)).unwrap().to_le(), 7);
    }

    /// From the board into an engine and back, whatever part of them the engine has: nothing changes, and the harts' lines
    /// are driven by the board's alone.
    #[test]
    fn chips_move_with_the_engine() {
        for place in [IrqchipPlace::Engine, IrqchipPlace::Split] {
            let (chips, wires) = on_board(255);
            let mock = Mock::default();
            let board = vm(&chips, &mock, None);
            let vcpus: Vec<_> = (0..2).map(|hart| board.create_vcpu(hart).unwrap()).collect();
            wires.bind(vcpus.iter().map(|v| v.handle()).collect());
            let lines = |vcpus: &[Box<dyn accel::Vcpu>]| [0, 1].map(|h| vcpus[h].handle().inputs().lines);
            let (aplic, imsic) = boards();
            let state = ChipsState { aplic: aplic.state(), files: imsic.state() };
            chips.set_state(&state).unwrap();
            // An interrupt of hart 1, which waits.
            chips.files.imsic().access(1, 0, 0x72, 0, 0);
            for (register, bits) in [(0x70, 1), (0xc0, 1 << 9), (0x80, 1 << 9)] {
                chips.files.imsic().access(1, 0, register, 0, bits);
            }
            chips.files.imsic().access(1, 0, 0x72, !0, 0);
            let high = HartIrq::SupervisorExternal.mask();
            assert_eq!(lines(&vcpus), [0, high]);
            let state = chips.state().unwrap();

            let config = chips.config(offer(place, 255)).unwrap();
            let engine = vm(&chips, &mock, Some(config));
            let others: Vec<_> = (0..2).map(|hart| engine.create_vcpu(hart).unwrap()).collect();
            let to = engine.start_irqchip().unwrap().unwrap();
            drop(chips.prepare(Some((Arc::clone(&to), config))).unwrap());
            assert_eq!((chips.state().unwrap(), lines(&vcpus)), (state.clone(), [0, high]), "a move that is given up");
            let moving = chips.prepare(Some((to, config))).unwrap();
            moving.leave();
            (0..).zip(&others).for_each(|(hart, vcpu)| wires.rebind(hart, vcpu.handle()));
            moving.arrive();
            // Guests' files are not the engine's.
            let mut without_guests = state.clone();
            without_guests.files.iter_mut().skip(1).step_by(2).for_each(|f| *f = InterruptFile::default());
            assert_eq!(chips.state().unwrap(), without_guests, "{place:?}");
            assert_eq!(lines(&others), [0, 0], "the engine drives its harts itself");
            assert_eq!(mock.irqchip().unwrap().state().unwrap().aplic.is_some(), place == IrqchipPlace::Engine);
            chips.files.send(IMSIC, 3);
            assert_eq!(mock.irqchip().unwrap().msis(), [(IMSIC, 3)]);
            chips.set_level(10, false);
            chips.set_level(96, true);

            let back = vm(&chips, &Mock::default(), None);
            let vcpus: Vec<_> = (0..2).map(|hart| back.create_vcpu(hart).unwrap()).collect();
            let moving = chips.prepare(None).unwrap();
            moving.leave();
            (0..).zip(&vcpus).for_each(|(hart, vcpu)| wires.rebind(hart, vcpu.handle()));
            moving.arrive();
            assert_eq!(lines(&vcpus), [0, high]);
            let inputs = chips.state().unwrap().aplic.supervisor().registers().inputs;
            assert_eq!(inputs, 1 << 96, "{place:?}");
            assert_eq!(chips.state().unwrap().files, without_guests.files);
        }
    }

    #[test]
    fn an_engine_with_fewer_identities_than_the_guest_knows_has_none_of_the_chips() {
        let (chips, _) = on_board(255);
        assert!(chips.config(offer(IrqchipPlace::Engine, 63)).is_none());
        assert!(chips.config(offer(IrqchipPlace::Board, u32::MAX)).is_none());
        assert_eq!(chips.config(offer(IrqchipPlace::Split, 2047)).unwrap().identities, 255);
    }
}
