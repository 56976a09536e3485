//! The devices' stores that an engine turns into events, whatever engine runs the harts.
//!
//! What devices have asked for stays while the engine changes: where the next one has no events, or no room for them, the
//! stores come to the bus, which is a kick as well, only slower.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use accel::Vm;
use devices::IoEvents;

/// A store that a device wants to be an event.
struct Wanted {
    gpa: u64,
    value: u32,
    event: OwnedFd,
    /// It is one in the machine that is connected.
    set: bool,
}

#[derive(Default)]
struct State {
    /// The machine owns the bus, so the bus must not own the machine.
    vm: Option<Weak<dyn Vm>>,
    wanted: Vec<Wanted>,
    /// A failure was reported; more of them would say the same.
    failed: bool,
}

impl State {
    /// The machine, if its engine turns stores into events.
    fn vm(&self) -> Option<Arc<dyn Vm>> {
        self.vm.as_ref().and_then(Weak::upgrade).filter(|vm| vm.has_io_events())
    }

    fn set(&mut self, vm: &dyn Vm, gpa: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> bool {
        let done = vm.set_io_event(gpa, value, event, on);
        if let Err(error) = &done
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!("{}: the guest's kicks are slower", crate::error_chain(error));
        }
        done.is_ok()
    }
}

/// All of a board's. Locked while the engine is told: nothing else is locked inside.
#[derive(Default)]
pub struct Stores(Mutex<State>);

impl Stores {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the device at this address.
    pub fn of_device(self: &Arc<Self>, base: u64) -> DeviceIoEvents {
        DeviceIoEvents { stores: Arc::clone(self), base }
    }

    /// The events are this machine's from now on, and not the last one's.
    pub fn connect(&self, vm: &Arc<dyn Vm>) {
        let mut state = self.lock();
        let mut wanted = std::mem::take(&mut state.wanted);
        if let Some(old) = state.vm() {
            for w in wanted.iter().filter(|w| w.set) {
                state.set(&*old, w.gpa, w.value, w.event.as_fd(), false);
            }
        }
        state.vm = Some(Arc::downgrade(vm));
        state.failed = false;
        let new = state.vm();
        for w in &mut wanted {
            w.set = new.as_ref().is_some_and(|new| state.set(&**new, w.gpa, w.value, w.event.as_fd(), true));
        }
        state.wanted = wanted;
    }
}

/// A device's way to have stores turned into events.
pub struct DeviceIoEvents {
    stores: Arc<Stores>,
    base: u64,
}

impl IoEvents for DeviceIoEvents {
    fn assign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) -> bool {
        let gpa = self.base + offset;
        let Ok(own) = event.try_clone_to_owned() else { return false };
        let mut state = self.stores.lock();
        let set = state.vm().is_some_and(|vm| state.set(&*vm, gpa, value, event, true));
        state.wanted.push(Wanted { gpa, value, event: own, set });
        true
    }

    fn deassign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) {
        let gpa = self.base + offset;
        let mut state = self.stores.lock();
        let Some(i) = state.wanted.iter().position(|w| (w.gpa, w.value) == (gpa, value)) else { return };
        let wanted = state.wanted.swap_remove(i);
        if let Some(vm) = state.vm().filter(|_| wanted.set) {
            state.set(&*vm, gpa, value, event, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use accel::mock::Mock;
    use accel::{Accel, Clock, GuestRam, VmConfig};
    use devices::MmioBus;
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::board::wires::BoardBus;

    fn vm(mock: &Mock) -> Arc<dyn Vm> {
        let config = VmConfig {
            ram: GuestRam::new(),
            bus: Arc::new(BoardBus::new(MmioBus::new(), None, None)),
            clock: Arc::new(Clock::new(10_000_000)),
            harts: 1,
            isa: arch::ext::IsaConfig::default(),
            builtin_sbi: true,
            machine_traps: true,
            imsic: None,
            irqchip: None,
        };
        mock.create_vm(config).unwrap()
    }

    /// Whether a store is an event in the machine.
    fn is_set(vm: &Arc<dyn Vm>, gpa: u64, value: u32) -> bool {
        let probe = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let there = vm.set_io_event(gpa, value, probe.as_fd(), true).is_err();
        if !there {
            vm.set_io_event(gpa, value, probe.as_fd(), false).unwrap();
        }
        there
    }

    #[test]
    fn what_devices_want_goes_where_the_harts_go() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let stores = Arc::new(Stores::default());
        let device = stores.of_device(0x1000);
        // Before there is a machine, and under an engine without events.
        assert!(device.assign(0x50, 0, event.as_fd()));
        let without = vm(&Mock::default());
        stores.connect(&without);
        assert!(device.assign(0x50, 1, event.as_fd()) && device.assign(0x50, 2, event.as_fd()));
        device.deassign(0x50, 2, event.as_fd());
        let [first, second] = [(); 2].map(|()| vm(&Mock::default().with_io_events()));
        let set = |vm| [0, 1, 2].map(|value| is_set(vm, 0x1050, value));
        stores.connect(&first);
        assert_eq!(set(&first), [true, true, false]);
        device.deassign(0x50, 0, event.as_fd());
        assert_eq!(set(&first), [false, true, false]);
        stores.connect(&second);
        assert_eq!((set(&first), set(&second)), ([false; 3], [false, true, false]));
        stores.connect(&without);
        assert_eq!(set(&second), [false; 3]);
        device.deassign(0x50, 1, event.as_fd());
        device.deassign(0x50, 1, event.as_fd());
        // A machine that is gone wants nothing back.
        stores.connect(&first);
        assert!(device.assign(0x50, 7, event.as_fd()));
        drop(first);
        stores.connect(&second);
        assert!(is_set(&second, 0x1057 - 7, 7));
    }
}
