//! The state of a machine as a snapshot has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use devices::{MmioDevice, SavedState, StateError};
use firmware::sbi::State;

use super::Machine;
use crate::snapshot::{Identity, Loader, MachineState, Run, SnapshotError, device_name, state_error};

/// The host interface, which is not on every board's bus.
const HTIF: &str = "htif";
const SEMIHOSTING: &str = "semihosting";

impl Machine {
    /// What this machine is.
    pub(super) fn identity(&self) -> Identity {
        Identity::of(&self.config, self.engine, self.board.clock.frequency())
    }

    /// Reads snapshots of such machines.
    pub(super) fn loader(&self) -> Loader {
        let devices = self.devices_with_state().into_keys().collect();
        let (ram, disks) = (Arc::clone(&self.board.ram), self.kept.disks.clone());
        Loader { here: self.identity(), ram, devices, disks, progress: Arc::default() }
    }

    /// Every device with a state, by the names that their sections have. The machine is stopped.
    fn devices_with_state(&self) -> BTreeMap<String, SavedState> {
        let on_bus = self.board.bus.iter().filter(|(_, device)| device.name() != HTIF);
        let states = on_bus.filter_map(|(base, device)| Some((device_name(&**device, base), device.save_state()?)));
        let mut all: BTreeMap<_, _> = states.collect();
        if let Some(state) = self.board.bus.htif.as_ref().and_then(|htif| htif.save_state()) {
            all.insert(HTIF.to_owned(), state);
        }
        if let Some(host) = accel::GuestBus::semihosting(&*self.board.bus) {
            all.insert(SEMIHOSTING.to_owned(), SavedState { version: 1, bytes: host.save() });
        }
        all
    }

    /// Gives a device its state.
    fn restore_device(&self, name: &str, state: &SavedState) -> Result<(), SnapshotError> {
        let done = match name {
            HTIF => self.board.bus.htif.as_ref().map(|htif| htif.restore_state(state)),
            SEMIHOSTING => accel::GuestBus::semihosting(&*self.board.bus).map(|host| match state.version {
                1 => host.restore(&state.bytes).map_err(StateError::Malformed),
                found => Err(StateError::Version { found, known: 1 }),
            }),
            _ => {
                let named = |(base, device): &(u64, &Arc<dyn MmioDevice>)| device_name(&***device, *base) == name;
                self.board.bus.iter().find(named).map(|(_, device)| device.restore_state(state))
            }
        };
        match done {
            None => Err(SnapshotError::Unknown(name.to_owned())),
            Some(done) => done.map_err(|error| state_error(name, &error)),
        }
    }

    /// All but RAM; `running`: whether the guest goes on when it is loaded. The machine is stopped.
    pub(super) fn machine_state(&self, running: bool) -> Result<MachineState, SnapshotError> {
        let failed = |what| SnapshotError::State { name: "harts".to_owned(), what };
        let harts = (0..self.hart_count()).map(|hart| self.harts.save(hart));
        let harts = harts.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let run = Run { time: self.board.clock.now(), running };
        Ok(MachineState { run, harts, sbi: self.harts.sbi.save(), devices: self.devices_with_state() })
    }

    /// Takes all but RAM over; or leaves everything as it was. The machine is stopped.
    pub(super) fn restore(&mut self, state: MachineState) -> Result<(), SnapshotError> {
        for (hart, saved) in state.harts.iter().enumerate() {
            let bad = |what| SnapshotError::State { name: format!("hart.{hart}"), what };
            saved.check(&self.config.isa).map_err(bad)?;
        }
        if self.harts.vm().starts_harts() {
            // Such an engine answers these calls itself, and there is no way to tell it what was called before.
            let states = [(); 2].map(|()| State::new(self.hart_count(), &self.config.isa));
            let bad = |what| SnapshotError::State { name: "sbi".to_owned(), what };
            states[1].restore(state.sbi.clone()).map_err(|error| bad(error.to_string()))?;
            let used = states[1].different(&states[0]);
            if !used.is_empty() {
                return Err(bad(format!("{} does not take what was used of it: {}", self.engine, used.join(", "))));
            }
        }
        let before = self.machine_state(false)?;
        self.put(state).inspect_err(|_| {
            // What was there a moment ago fits.
            if let Err(error) = self.put(before) {
                tracing::error!("the machine is not what it was: {}", crate::error_chain(&error));
            }
        })
    }

    fn put(&self, state: MachineState) -> Result<(), SnapshotError> {
        let MachineState { run, harts, sbi, devices } = state;
        self.board.clock.set(run.time);
        self.harts
            .sbi
            .restore(sbi)
            .map_err(|e| SnapshotError::State { name: "sbi".to_owned(), what: e.to_string() })?;
        for (name, state) in &devices {
            self.restore_device(name, state)?;
        }
        for (hart, saved) in (0..).zip(harts) {
            let failed = |what| SnapshotError::State { name: format!("hart.{hart}"), what };
            self.harts.restore(hart, saved).map_err(failed)?;
        }
        self.control.forget_guest_requests();
        self.board.wires.clock_changed();
        Ok(())
    }
}
