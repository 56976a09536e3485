//! What a virtio device is, whatever bus carries it.
//!
//! A device offers features, a configuration space and queues. The transport runs the negotiation; once a driver is
//! ready it hands the queues over in an [`Activation`], and the device serves them on its own worker thread until
//! [`VirtioDevice::stop`].

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::queue::VirtQueue;
use super::worker::Doorbell;
use crate::GuestRam;
use crate::backend::net::Sockets;

/// Device ids (virtio 1.3, 5).
pub mod id {
    pub const NET: u32 = 1;
    pub const BLOCK: u32 = 2;
    pub const CONSOLE: u32 = 3;
    pub const RNG: u32 = 4;
    pub const INPUT: u32 = 18;
}

/// Feature bits that belong to queues and transports (virtio 1.3, 6). The transport offers them.
pub mod feature {
    pub const ANY_LAYOUT: u64 = 1 << 27;
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
    pub const RING_RESET: u64 = 1 << 40;
}

/// How a running device reaches its driver. Implemented by transports; called from worker threads.
pub trait DeviceEvents: Send + Sync {
    /// Chains were given back on this queue.
    fn used(&self, queue: u16);
    /// The configuration space changed.
    fn config_changed(&self);
    /// The driver broke the rules and must reset the device (virtio 1.3, 2.1.2).
    fn needs_reset(&self);
}

/// All that a device needs to run.
pub struct Activation {
    /// By number; `None` where the driver set no queue up.
    pub queues: Vec<Option<VirtQueue>>,
    pub mem: Arc<GuestRam>,
    /// What the driver accepted, transport bits included.
    pub features: u64,
    pub events: Arc<dyn DeviceEvents>,
    /// Where the transport leaves the driver's kicks.
    pub doorbell: Arc<Doorbell>,
}

impl Activation {
    /// Whether the driver accepted all of these features.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }
}

/// What a device remembers besides its queues.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// Nothing.
    #[default]
    Stateless,
    /// The driver's choice of cache mode, requests to try again, and the bytes that the driver knows the disk to have; older
    /// states do not say those.
    Block {
        write_cache: bool,
        parked: Vec<super::blk::Parked>,
        #[serde(default)]
        capacity: Option<u64>,
    },
    /// The receive filter and the MAC address, whether the link is meant to be up, and whether the driver was told that it
    /// is; older states do not say those.
    Net {
        mac: [u8; 6],
        filter: super::net::RxFilter,
        #[serde(default = "up")]
        link: bool,
        #[serde(default = "up")]
        told: bool,
    },
    /// What the configuration space shows, and events (type, code, value) that the driver has not heard of.
    Input { select: u8, subsel: u8, events: Vec<(u16, u16, u32)> },
    /// What ports are open.
    Console(super::console::ConsoleState),
}

fn up() -> bool {
    true
}

/// A device behind a transport. The transport serialises the calls.
pub trait VirtioDevice: Send {
    /// One of [`id`].
    fn device_type(&self) -> u32;
    /// For thread names, `info` and messages, e.g. `virtio-blk`.
    fn name(&self) -> &str;
    /// What the device itself offers; the transport adds its own bits.
    fn features(&self) -> u64;
    /// The largest size of each queue, powers of two. At most 64 queues.
    fn queue_sizes(&self) -> Vec<u16>;
    /// Reads the configuration space; what lies outside it reads as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// Writes the configuration space; what is not writable ignores it.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}
    /// Starts serving the queues. Not called while running.
    fn activate(&mut self, activation: Activation) -> io::Result<()>;
    /// Stops: when this returns no thread of the device touches guest memory or the queues, and no request is in
    /// flight. Returns the queues, so that the device can go on where it was. Empty if it did not run.
    fn stop(&mut self) -> Vec<Option<VirtQueue>>;
    /// Power-on state. Called after `stop`.
    fn reset(&mut self);
    /// Called while stopped.
    fn save(&self) -> DeviceState {
        DeviceState::Stateless
    }
    /// Called while stopped. A state of another kind is ignored.
    fn restore(&mut self, _state: &DeviceState) {}
    /// What may go along with the guest to another program. Called while stopped.
    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        None
    }
}

/// Copies the part of a configuration space that an access covers; zero outside.
pub fn read_config_bytes(config: &[u8], offset: u64, data: &mut [u8]) {
    for (i, byte) in data.iter_mut().enumerate() {
        let at = usize::try_from(offset).ok().and_then(|o| o.checked_add(i));
        *byte = at.and_then(|at| config.get(at)).copied().unwrap_or(0);
    }
}
