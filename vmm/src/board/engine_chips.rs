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
mod tests;
