//! Interrupt controllers that an engine has itself, in place of the board's: the AIA's, at supervisor level.
//!
//! Before a board is built, [`Accel::irqchip`](crate::Accel::irqchip) tells which chips are the engine's. Their places
//! go with the [`VmConfig`](crate::VmConfig), and when every vCPU is made [`Vm::start_irqchip`](crate::Vm::start_irqchip)
//! brings them to life. The guest's loads and stores do not come out of the engine then; the board's devices drive
//! the chips through an [`Irqchip`], and its device tree is the same as with chips of its own.
//!
//! Their state is plain and in the architecture's terms (RISC-V AIA 1.0), so that it can move into chips of the board
//! and back.

use std::os::fd::BorrowedFd;

use crate::AccelError;

/// Who has the AIA's chips, an APLIC that sends MSIs and the harts' IMSICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrqchipPlace {
    /// All are the board's.
    #[default]
    Board,
    /// The IMSICs are the engine's, the APLIC is the board's.
    Split,
    /// All are the engine's.
    Engine,
}

/// What an engine offers a machine with IMSICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqchipOffer {
    pub place: IrqchipPlace,
    /// The most interrupt identities that an IMSIC of it can have; 63 or more.
    pub identities: u32,
}

impl Default for IrqchipOffer {
    fn default() -> Self {
        Self { place: IrqchipPlace::Board, identities: u32::MAX }
    }
}

/// Chips that the engine is to make, all of hart ids `0..harts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqchipConfig {
    /// Its address and sources 1 to the number; `None`: the board's own sends to the IMSICs.
    pub aplic: Option<(u64, u32)>,
    /// Address of hart 0's IMSIC. The pages of a hart are 4 KiB each, `1 << guest_bits` of them, and the next hart's
    /// follow.
    pub imsic: u64,
    /// Bits of a page's number that select a guest's interrupt file. The files themselves are not the engine's.
    pub guest_bits: u32,
    /// Identities 1 to this; 64 n - 1.
    pub identities: u32,
}

/// An APLIC's supervisor-level domain that sends MSIs. Little-endian: engines have no other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AplicState {
    /// `domaincfg.IE`.
    pub delivers: bool,
    /// By source, and so is `target`; entry 0 is no source.
    pub sourcecfg: Vec<u32>,
    pub target: Vec<u32>,
    /// Sets of sources: bit N is source N.
    pub pending: u128,
    pub enabled: u128,
    /// The wires' levels.
    pub inputs: u128,
    pub genmsi: u32,
}

/// The supervisor-level interrupt file of a hart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterruptFileState {
    /// `eidelivery`.
    pub delivery: bool,
    /// `eithreshold`.
    pub threshold: u16,
    /// Bit I % 64 of word I / 64 is identity I.
    pub pending: Vec<u64>,
    pub enabled: Vec<u64>,
}

impl InterruptFileState {
    /// The strongest interrupt that is pending, enabled and passes the threshold; 0 if there is none.
    pub fn top(&self) -> u32 {
        let words = (0u32..).zip(self.pending.iter().zip(&self.enabled).map(|(p, e)| p & e));
        let first = words.filter(|(_, set)| *set != 0).map(|(i, set)| i * 64 + set.trailing_zeros()).next();
        first.filter(|i| self.threshold == 0 || *i < u32::from(self.threshold)).unwrap_or(0)
    }
}

/// All of an engine's chips.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IrqchipState {
    /// `None` where the APLIC is the board's.
    pub aplic: Option<AplicState>,
    /// By hart.
    pub files: Vec<InterruptFileState>,
}

/// An engine's interrupt controllers. All but the state may be called from any thread at any time, and nothing blocks
/// for longer than a system call.
pub trait Irqchip: Send + Sync {
    /// Drives the wire of the APLIC's source; without effect where the APLIC is the board's.
    fn set_line(&self, source: u32, level: bool);
    /// A write of `data` to an IMSIC's page. Identities and pages that do not exist take nothing.
    fn send_msi(&self, address: u64, data: u32);
    /// What input `gsi` of the engine stands for from now on: this MSI, or nothing. The numbers up to that of the last
    /// source are the APLIC's wires where it is the engine's, and cannot be given away.
    fn route_msi(&self, gsi: u32, msi: Option<(u64, u32)>) -> Result<(), AccelError>;
    /// From now on, or no longer: each write to the event descriptor `fd` is an MSI by the route of `gsi`, without
    /// anybody of this program in between. A wire's level cannot be told so: an event is an edge.
    fn irqfd(&self, gsi: u32, fd: BorrowedFd<'_>, on: bool) -> Result<(), AccelError>;
    /// The harts are stopped.
    fn state(&self) -> Result<IrqchipState, AccelError>;
    /// Puts a state of chips with this configuration in place. The harts are stopped.
    fn set_state(&self, state: &IrqchipState) -> Result<(), AccelError>;
}
