//! Interrupt lines into a hart.

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
    /// The bit of this line in `mip`.
    pub const fn mask(self) -> u64 {
        1 << self as u8
    }
}
