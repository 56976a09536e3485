//! The one way out of an engine to devices.

/// The access reached nothing, or a device refused its width: the hart takes an access fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusFault;

/// What answers guest physical addresses that are not RAM. Implemented by the board.
///
/// `data` is 1, 2, 4 or 8 bytes long, little endian; `gpa` is aligned to its length.
/// Called from vCPU threads, concurrently.
pub trait GuestBus: Send + Sync {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault>;
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault>;
}
