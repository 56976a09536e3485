//! What a chip on the memory-mapped bus is.

use std::sync::Arc;

use crate::backend::net::Sockets;
use crate::fdt::{FdtNode, Placement};
use crate::{IoEvents, SavedState, StateError};

/// A memory-mapped chip. Locks are the device's own; never notify, raise or log to a socket under one.
///
/// Accesses are 1, 2, 4 or 8 bytes, little endian, inside `size()`. A device ignores or zero-fills what its
/// registers do not define; it never panics on a guest's access.
pub trait MmioDevice: Send + Sync {
    /// For `info mtree` and error messages.
    fn name(&self) -> &str;
    /// Bytes of address space it decodes, not zero.
    fn size(&self) -> u64;
    /// A load: fills all of `data`. What reading changes is changed.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// A store.
    fn write(&self, offset: u64, data: &[u8]);
    /// Power-on state. The harts are stopped.
    fn reset(&self);
    /// The harts are stopped: what the device does on threads of its own stops, too, with no request half done, until
    /// [`MmioDevice::resume`]. Inputs from outside may still change its registers.
    fn pause(&self) {}
    /// What [`MmioDevice::pause`] stopped goes on, with what came meanwhile.
    fn resume(&self) {}
    /// What a snapshot keeps of it, in a format that this device defines; `None`: there is nothing that changes. The harts
    /// are stopped and the device is paused.
    fn save_state(&self) -> Option<SavedState>;
    /// Takes a saved state over, or leaves all as it is. The harts are stopped and the device stays paused. The levels of
    /// its wires are part of the state of the chips at their other ends: nothing is driven between devices.
    fn restore_state(&self, state: &SavedState) -> Result<(), StateError>;
    /// Calls `f` with what may go along with the guest to another program on this host, if there is such. The harts are
    /// stopped and the device is paused.
    fn with_sockets(&self, _f: &mut dyn FnMut(&mut dyn Sockets)) {}
    /// An engine may make stores to registers into events. Called at most once, before the guest runs; for devices
    /// that have a use for it.
    fn connect(&self, _events: Arc<dyn IoEvents>) {}
    /// The nodes that describe it; written beside the device, collected by the board.
    fn fdt(&self, _at: &Placement) -> Vec<FdtNode> {
        Vec::new()
    }
}
