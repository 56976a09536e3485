//! Interrupts on their way into a hart: lines, and the interrupt files that software reads through CSRs.

/// A level-sensitive line that a chip of the board drives into one hart.
/// The discriminant is the bit in `mip` (privileged spec, "Machine Interrupt Registers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HartIrq {
    SupervisorSoftware = 1,
    MachineSoftware = 3,
    SupervisorTimer = 5,
    MachineTimer = 7,
    SupervisorExternal = 9,
    MachineExternal = 11,
}

impl HartIrq {
    pub const ALL: [Self; 6] = [
        Self::SupervisorSoftware,
        Self::MachineSoftware,
        Self::SupervisorTimer,
        Self::MachineTimer,
        Self::SupervisorExternal,
        Self::MachineExternal,
    ];

    /// The bit of this line in `mip`.
    pub const fn mask(self) -> u64 {
        1 << self as u8
    }
}

/// What others have driven into a hart, at one moment: a vCPU that takes another one's place takes this over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HartInputs {
    /// Levels of the lines, as bits of `mip`.
    pub lines: u64,
    /// Levels of the guest external interrupts, as bits of `hgeip`.
    pub guest_lines: u64,
    pub nmi: bool,
    /// SSIP was set from outside and is not in the hart's state yet.
    pub ssip: bool,
    /// Deadlines in ticks; `u64::MAX` for never.
    pub mtimecmp: u64,
    pub sbi_timer: u64,
}

impl Default for HartInputs {
    fn default() -> Self {
        Self { lines: 0, guest_lines: 0, nmi: false, ssip: false, mtimecmp: u64::MAX, sbi_timer: u64::MAX }
    }
}

/// An interrupt file of a hart's IMSIC (AIA, "Incoming MSI Controller (IMSIC)").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterruptFile {
    Machine,
    Supervisor,
    /// 1 to GEILEN, as in `hstatus.VGEIN`.
    Guest(u8),
}

/// The IMSICs of all harts, as the harts' CSRs see them. The chips are the board's: MSIs reach them over the bus, and
/// they drive the harts' external lines as any chip does. An engine that has IMSICs of its own needs none of this.
///
/// A hart calls these while it executes an instruction; MSIs arrive from other threads at any time. Files that do not
/// exist read zero and ignore writes.
pub trait Imsic: Send + Sync {
    /// A register of the file by its number in `*iselect`, 0x70 to 0xff, 64 bits wide: clears the bits of `clear`, sets
    /// those of `set`, and returns what was there before. One step, so that no MSI is lost between; `clear` and `set`
    /// of zero only read.
    fn access(&self, hart: u32, file: InterruptFile, register: u8, clear: u64, set: u64) -> u64;
    /// The value of `*topei`: the identity of the strongest interrupt in bits 26:16 and 10:0, or zero. A claim also
    /// clears its pending bit.
    fn top(&self, hart: u32, file: InterruptFile, claim: bool) -> u64;
}
