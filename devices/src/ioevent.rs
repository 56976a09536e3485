//! Stores that become events: what an engine may offer so that a driver's kick costs no visit to this program.

use std::os::fd::BorrowedFd;

/// Makes stores to a device's registers write to event descriptors. Implemented by the board over the engine; `offset`
/// counts from the device's base.
pub trait IoEvents: Send + Sync {
    /// From now on a guest's store of the 32-bit number `value` at `offset` adds one to the counter of `event`, while an
    /// engine runs that can do so, and [`MmioDevice::write`](crate::MmioDevice::write) does not hear of it. Otherwise it
    /// does, as of stores of other values or widths. `false`: nothing has changed.
    fn assign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) -> bool;
    /// Ends [`Self::assign`] with the same arguments: when this returns, stores reach the device again, and no store
    /// will change `event`.
    fn deassign(&self, offset: u64, value: u32, event: BorrowedFd<'_>);
}
