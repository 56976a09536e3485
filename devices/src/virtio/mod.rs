//! Virtio devices (virtio 1.3) and the transport that carries them.
//!
//! `transport` runs the negotiation with a driver and owns a device; `mmio` is the register file in front of it;
//! `queue` checks and walks virtqueues; `worker` is the thread that serves them; one folder a device.
//!
//! Threads: a vCPU's register access takes the transport's lock, except for kicks and interrupt acknowledgement,
//! which take none that is held for long. A device's task owns queues and back end; its worker serves them, or the vCPU
//! that kicks, whoever has the task's lock. Serving never takes the transport's lock and reaches the driver through
//! [`DeviceEvents`] only.

pub mod blk;
pub mod console;
pub mod device;
pub mod input;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod rng;
pub mod transport;
pub mod worker;

#[cfg(test)]
mod garbage;
#[cfg(test)]
pub(crate) mod testing;

pub use device::{Activation, DeviceEvents, DeviceState, VirtioDevice};
pub use mmio::VirtioMmio;
pub use queue::{Chain, QueueFault, VirtQueue};
