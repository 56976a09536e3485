//! What the machine's devices have of the host's and give along to a program on the same host.

use std::sync::Arc;

use devices::MmioDevice;
use devices::backend::net::Sockets;

use super::Machine;
use crate::snapshot::{Shared, SnapshotError, device_name, state_error};

impl Machine {
    /// Calls `f` with everything that may go along, by the names of the devices' sections. The machine is stopped.
    fn each_sharing(&self, mut f: impl FnMut(String, &mut dyn Sockets)) {
        for (base, device) in self.board.bus.iter() {
            let device: &Arc<dyn MmioDevice> = device;
            device.with_sockets(&mut |sockets| f(device_name(&**device, base), sockets));
        }
    }

    /// All of it. It stays in use here until [`Machine::let_go`].
    pub(super) fn share(&self) -> Shared {
        let mut all = Shared::new();
        self.each_sharing(|name, sockets| drop(all.insert(name, sockets.hand_over())));
        all
    }

    /// Whether the devices can go on with what has come along.
    pub(super) fn check_shared(&self, shared: &Shared) -> Result<(), SnapshotError> {
        let mut wrong = None;
        self.each_sharing(|name, sockets| {
            if let Some(parts) = shared.get(&name)
                && let Err(error) = sockets.check(parts)
            {
                wrong.get_or_insert(state_error(&name, &error));
            }
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Goes on with what was checked. What no device here has a use for (another kind of network) is closed.
    pub(super) fn adopt(&self, mut shared: Shared) {
        self.each_sharing(|name, sockets| {
            if let Some(parts) = shared.remove(&name) {
                sockets.adopt(parts);
            }
        });
    }

    /// The guest lives elsewhere, and what it had here with it if that was `taken`.
    pub(super) fn let_go(&self, taken: bool) {
        self.each_sharing(|_, sockets| sockets.let_go(taken));
    }
}
