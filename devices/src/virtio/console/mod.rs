//! virtio-console (virtio 1.3, 5.3): consoles and byte streams ("serial ports") between guest and host.
//!
//! Port 0 is a console that any driver finds. With MULTIPORT a control queue announces all ports, with names for the
//! programs in the guest that look for them (`/dev/virtio-ports/NAME`). The far end of a port is a character device.

mod port;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use port::{PortConfig, PortState};

use super::device::{Activation, DeviceState, VirtioDevice, id, read_config_bytes};
use super::queue::VirtQueue;
use super::worker::Worker;
use crate::StateError;
use port::{Port, owes};
use task::ConsoleTask;

/// Feature bits (virtio 1.3, 5.3.3).
mod feature {
    pub const SIZE: u64 = 1 << 0;
    pub const MULTIPORT: u64 = 1 << 1;
    pub const EMERG_WRITE: u64 = 1 << 2;
}

/// Most ports: with two queues each, and two for control, they fill the doorbell.
pub const MAX_PORTS: u32 = 31;
const DATA_QUEUE_SIZE: u16 = 128;
const CONTROL_QUEUE_SIZE: u16 = 32;
/// Where `emerg_wr` is in the configuration space.
const EMERG_WR: u64 = 8;

/// Why a console cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConsoleConfigError {
    #[error("max_ports={0} is not from 1 to {MAX_PORTS}")]
    MaxPorts(u32),
    #[error("port number {nr} is not below max_ports={max}")]
    PortNumber { nr: u32, max: u32 },
    #[error("port number {0} is used twice")]
    PortTaken(u32),
    #[error("port 0 is kept for a console; give '{0}' another number")]
    NotConsole(String),
    #[error("two ports are named '{0}'")]
    NameTaken(String),
}

/// The device.
pub struct VirtioConsole {
    name: String,
    max_ports: u32,
    /// Columns and rows, if the far end has a size.
    size: Option<(u16, u16)>,
    ports: Arc<[Port]>,
    state: ConsoleState,
    worker: Option<Worker<ConsoleTask>>,
}

/// What the control queue has agreed on.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// The driver knows ports.
    pub driver_ready: bool,
    /// By port number.
    pub ports: Vec<PortState>,
}

impl ConsoleState {
    /// Whether a state from elsewhere is one that a device can have.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let legal = |port: &PortState| port.owed & !owes::ALL == 0 && u32::try_from(port.sent).is_ok();
        if self.ports.len() > MAX_PORTS as usize || !self.ports.iter().all(legal) {
            return Err(StateError::Unfit("ports that a device cannot have".into()));
        }
        Ok(())
    }
}

impl VirtioConsole {
    /// One console and nothing else.
    pub fn single(name: impl Into<String>, port: PortConfig) -> Result<Self, ConsoleConfigError> {
        Self::new(name, 1, vec![port], None)
    }

    /// Ports by number, fewer than `max_ports`. More than one port, or `max_ports` above 1, needs a driver that knows
    /// MULTIPORT.
    pub fn new(
        name: impl Into<String>,
        max_ports: u32,
        ports: Vec<PortConfig>,
        size: Option<(u16, u16)>,
    ) -> Result<Self, ConsoleConfigError> {
        if !(1..=MAX_PORTS).contains(&max_ports) {
            return Err(ConsoleConfigError::MaxPorts(max_ports));
        }
        for (i, port) in ports.iter().enumerate() {
            if port.nr >= max_ports {
                return Err(ConsoleConfigError::PortNumber { nr: port.nr, max: max_ports });
            }
            if port.nr == 0 && !port.console {
                return Err(ConsoleConfigError::NotConsole(port.name.clone()));
            }
            if ports[..i].iter().any(|p| p.nr == port.nr) {
                return Err(ConsoleConfigError::PortTaken(port.nr));
            }
            if !port.name.is_empty() && ports[..i].iter().any(|p| p.name == port.name) {
                return Err(ConsoleConfigError::NameTaken(port.name.clone()));
            }
        }
        let ports = ports.into_iter().map(Port::new).collect();
        let state = fresh_state(max_ports);
        Ok(Self { name: name.into(), max_ports, size, ports, state, worker: None })
    }
}

fn fresh_state(max_ports: u32) -> ConsoleState {
    ConsoleState { driver_ready: false, ports: vec![PortState::default(); max_ports as usize] }
}

impl VirtioDevice for VirtioConsole {
    fn device_type(&self) -> u32 {
        id::CONSOLE
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        let optional = [(self.size.is_some(), feature::SIZE), (self.max_ports > 1, feature::MULTIPORT)];
        optional.iter().filter(|o| o.0).fold(feature::EMERG_WRITE, |all, o| all | o.1)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![DATA_QUEUE_SIZE; 2];
        if self.max_ports > 1 {
            sizes.extend([CONTROL_QUEUE_SIZE; 2]);
            sizes.resize(2 + 2 * self.max_ports as usize, DATA_QUEUE_SIZE);
        }
        sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let (columns, rows) = self.size.unwrap_or((0, 0));
        let mut space = Vec::with_capacity(12);
        space.extend(columns.to_le_bytes());
        space.extend(rows.to_le_bytes());
        space.extend(self.max_ports.to_le_bytes());
        space.extend([0; 4]);
        read_config_bytes(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        // A driver in distress writes a character before any queue exists (virtio 1.3, 5.3.4).
        if offset == EMERG_WR
            && let Some(port) = self.ports.iter().find(|p| p.config.nr == 0)
        {
            port.write(&data[..1]);
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let doorbell = Arc::clone(&activation.doorbell);
        let mask = (0..activation.queues.len()).fold(0u64, |m, q| m | 1 << q);
        for port in self.ports.iter() {
            port.attach(&doorbell, task::queue_of(port.config.nr));
        }
        let state = std::mem::replace(&mut self.state, fresh_state(self.max_ports));
        let multiport = activation.has(feature::MULTIPORT);
        let task = ConsoleTask::new(activation.queues, Arc::clone(&self.ports), state, multiport);
        self.worker = Some(Worker::spawn(&self.name, task, mask, doorbell)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<VirtQueue>> {
        let Some(task) = self.worker.take().and_then(Worker::stop) else { return Vec::new() };
        let (queues, state) = task.into_parts();
        self.state = state;
        queues
    }

    fn reset(&mut self) {
        self.state = fresh_state(self.max_ports);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Console(self.state.clone())
    }

    fn restore(&mut self, state: &DeviceState) {
        if let DeviceState::Console(state) = state {
            self.state = state.clone();
            self.state.ports.resize(self.max_ports as usize, PortState::default());
        }
    }
}
