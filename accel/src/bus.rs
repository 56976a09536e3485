//! The one way out of an engine to devices.

use crate::semihost::Semihosting;

/// The access reached nothing, or a device refused its width: the hart takes an access fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusFault;

/// What answers guest physical addresses that are not RAM. Implemented by the board.
///
/// `data` is 1, 2, 4 or 8 bytes long, little endian; `gpa` is aligned to its length.
/// Called from vCPU threads, concurrently.
pub trait GuestBus: Send + Sync {
    /// A load: fills all of `data`.
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault>;
    /// A store of all of `data`.
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault>;

    /// Whether something is at `gpa` that loads or stores may reach: cache-block management is permitted there.
    fn answers(&self, gpa: u64) -> bool;

    /// Guest physical addresses in RAM whose pages the bus watches: a host interface may stand in memory. Asked once,
    /// when the machine is made; engines that cannot watch memory refuse a machine that wants it.
    fn watched(&self) -> Vec<u64> {
        Vec::new()
    }

    /// A hart has stored `len` bytes at `gpa`, in a watched page. Called after the store, on the hart's thread; not
    /// for atomics and stores by parts of other widths.
    fn stored(&self, _gpa: u64, _len: u64) {}

    /// Who answers semihosting calls, if the machine has them; without, their breakpoints are breakpoints.
    fn semihosting(&self) -> Option<&dyn Semihosting> {
        None
    }

    /// Some hart has written to a watched page by any means. Called at latest at the hart's next backward or indirect
    /// jump; again and again while it answers `true`.
    fn settle(&self) -> bool {
        false
    }
}
