//! virtio-net (virtio 1.3, 5.1): a network card.
//!
//! Frames go between the guest's queues and a [`NetBackend`] on one worker thread. Checksums and segmentation are left
//! to the other side wherever both agree: the card only ever copies.

mod filter;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use filter::RxFilter;

use super::device::{Activation, DeviceState, VirtioDevice, id, read_config_bytes};
use super::queue::VirtQueue;
use super::worker::Worker;
use crate::backend::net::{NetBackend, Offloads, Sockets};
use task::NetTask;

/// Feature bits (virtio 1.3, 5.1.3).
mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const GUEST_ECN: u64 = 1 << 9;
    pub const GUEST_UFO: u64 = 1 << 10;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const HOST_ECN: u64 = 1 << 13;
    pub const HOST_UFO: u64 = 1 << 14;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const CTRL_RX: u64 = 1 << 18;
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
}

/// Queues by number.
const RX: usize = 0;
const TX: usize = 1;
const CTRL: usize = 2;
/// The control queue's size; one command at a time is usual.
const CTRL_SIZE: u16 = 64;

/// A card's properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConfig {
    pub mac: [u8; 6],
    /// Powers of two from 64 to 1024.
    pub rx_queue_size: u16,
    pub tx_queue_size: u16,
    /// Feature bits not to offer (`csum=off`, `mrg_rxbuf=off` ...), by number as in the specification.
    pub without: u64,
    /// `host_mtu=`; the back end's if not set.
    pub mtu: Option<u16>,
}

impl NetConfig {
    pub fn new(mac: [u8; 6]) -> Self {
        Self { mac, rx_queue_size: 256, tx_queue_size: 256, without: 0, mtu: None }
    }
}

/// A property that a card cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetConfigError {
    #[error("{0}_queue_size={1} is not a power of two from 64 to 1024")]
    QueueSize(&'static str, u16),
    #[error("mac is a multicast address: {0:02x?}")]
    Mac([u8; 6]),
    #[error("host_mtu={0} is below 68")]
    Mtu(u16),
}

/// The cable of a card, which somebody may pull out: then frames are lost both ways. It stays as it is when the guest
/// resets the card or goes elsewhere.
#[derive(Debug)]
pub struct Link(AtomicBool);

impl Link {
    /// The card stands still; it tells the driver when it goes on.
    pub fn set(&self, up: bool) {
        self.0.store(up, Ordering::Relaxed);
    }

    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the driver's register accesses and the worker both touch.
struct Shared {
    link: Arc<Link>,
    /// The address in the low 48 bits. Set by either.
    mac: AtomicU64,
    /// Whether cable and back end are up, as the driver was told. Set by the worker.
    link_up: AtomicBool,
}

impl Shared {
    fn mac(&self) -> [u8; 6] {
        let b = self.mac.load(Ordering::Relaxed).to_le_bytes();
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    }

    fn set_mac(&self, mac: [u8; 6]) {
        let [a, b, c, d, e, f] = mac;
        self.mac.store(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), Ordering::Relaxed);
    }
}

/// The device.
pub struct VirtioNet {
    name: String,
    config: NetConfig,
    offered: u64,
    mtu: Option<u16>,
    /// Not while the worker has it.
    backend: Option<Box<dyn NetBackend>>,
    filter: RxFilter,
    shared: Arc<Shared>,
    worker: Option<Worker<NetTask>>,
    /// Whether the driver may write the MAC address into the configuration space.
    legacy_mac: bool,
}

impl VirtioNet {
    /// A card over a back end. `config` is checked.
    pub fn new(
        name: impl Into<String>,
        backend: Box<dyn NetBackend>,
        config: NetConfig,
    ) -> Result<Self, NetConfigError> {
        for (which, size) in [("rx", config.rx_queue_size), ("tx", config.tx_queue_size)] {
            if !size.is_power_of_two() || !(64..=1024).contains(&size) {
                return Err(NetConfigError::QueueSize(which, size));
            }
        }
        if config.mac[0] & 1 != 0 {
            return Err(NetConfigError::Mac(config.mac));
        }
        let caps = backend.caps();
        let mtu = config.mtu.or(caps.mtu);
        if let Some(mtu) = mtu.filter(|&m| m < 68) {
            return Err(NetConfigError::Mtu(mtu));
        }
        let mut offered = always_offered() | host_features(caps.from_guest) | guest_features(caps.to_guest);
        if caps.to_guest.contains(Offloads::CSUM) {
            offered |= feature::CTRL_GUEST_OFFLOADS;
        }
        if mtu.is_some() {
            offered |= feature::MTU;
        }
        offered &= !config.without;
        let (link, link_up) = (Arc::new(Link(AtomicBool::new(true))), AtomicBool::new(backend.link_up()));
        let shared = Arc::new(Shared { link, mac: AtomicU64::new(0), link_up });
        shared.set_mac(config.mac);
        let (filter, backend) = (RxFilter::default(), Some(backend));
        Ok(Self { name: name.into(), config, offered, mtu, backend, filter, shared, worker: None, legacy_mac: true })
    }

    pub fn link(&self) -> Arc<Link> {
        Arc::clone(&self.shared.link)
    }
}

fn always_offered() -> u64 {
    let control = feature::CTRL_VQ | feature::CTRL_RX | feature::CTRL_RX_EXTRA | feature::CTRL_MAC_ADDR;
    feature::MAC | feature::STATUS | feature::MRG_RXBUF | control
}

/// Features that let the guest send what the back end takes.
fn host_features(from_guest: Offloads) -> u64 {
    let table = [
        (Offloads::CSUM, feature::CSUM),
        (Offloads::TSO4, feature::HOST_TSO4),
        (Offloads::TSO6, feature::HOST_TSO6),
        (Offloads::ECN, feature::HOST_ECN),
        (Offloads::UFO, feature::HOST_UFO),
    ];
    table.iter().filter(|t| from_guest.contains(t.0)).fold(0, |all, t| all | t.1)
}

const GUEST_FEATURES: [(Offloads, u64); 5] = [
    (Offloads::CSUM, feature::GUEST_CSUM),
    (Offloads::TSO4, feature::GUEST_TSO4),
    (Offloads::TSO6, feature::GUEST_TSO6),
    (Offloads::ECN, feature::GUEST_ECN),
    (Offloads::UFO, feature::GUEST_UFO),
];

/// Features that let the back end send what the guest takes.
fn guest_features(to_guest: Offloads) -> u64 {
    GUEST_FEATURES.iter().filter(|t| to_guest.contains(t.0)).fold(0, |all, t| all | t.1)
}

/// The other way round: what a guest with these features (or offload bits, which have the same places) takes.
fn guest_offloads(features: u64) -> Offloads {
    GUEST_FEATURES.iter().filter(|t| features & t.1 != 0).map(|t| t.0).collect()
}

impl VirtioDevice for VirtioNet {
    fn device_type(&self) -> u32 {
        id::NET
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![self.config.rx_queue_size, self.config.tx_queue_size, CTRL_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut space = Vec::with_capacity(12);
        space.extend(self.shared.mac());
        space.extend(u16::from(self.shared.link_up.load(Ordering::Relaxed)).to_le_bytes());
        space.extend(1u16.to_le_bytes()); // max_virtqueue_pairs
        space.extend(self.mtu.unwrap_or(0).to_le_bytes());
        read_config_bytes(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        // Legacy drivers without CTRL_MAC_ADDR set the address here; modern ones must not try (virtio 1.3, 5.1.4).
        let Ok(at) = usize::try_from(offset) else { return };
        let mut mac = self.shared.mac();
        if self.legacy_mac
            && let Some(part) = mac.get_mut(at..at.saturating_add(data.len()))
        {
            part.copy_from_slice(data);
            self.shared.set_mac(mac);
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let backend = self.backend.take().ok_or_else(|| io::Error::other("the card's worker was lost"))?;
        self.legacy_mac = !activation.has(super::device::feature::VERSION_1);
        let doorbell = Arc::clone(&activation.doorbell);
        let filter = std::mem::take(&mut self.filter);
        let task = NetTask::new(activation, backend, filter, Arc::clone(&self.shared));
        self.worker = Some(Worker::spawn(&self.name, task, 0b111, doorbell)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<VirtQueue>> {
        let Some(task) = self.worker.take().and_then(Worker::stop) else { return Vec::new() };
        let (queues, backend, filter) = task.into_parts();
        (self.backend, self.filter) = (Some(backend), filter);
        queues
    }

    fn reset(&mut self) {
        self.shared.set_mac(self.config.mac);
        self.filter = RxFilter::default();
        self.legacy_mac = true;
    }

    fn save(&self) -> DeviceState {
        let Shared { link, link_up, .. } = &*self.shared;
        let (link, told) = (link.is_up(), link_up.load(Ordering::Relaxed));
        DeviceState::Net { mac: self.shared.mac(), filter: self.filter.clone(), link, told }
    }

    fn restore(&mut self, state: &DeviceState) {
        if let DeviceState::Net { mac, filter, link, told } = state {
            self.shared.link.set(*link);
            self.shared.link_up.store(*told, Ordering::Relaxed);
            self.shared.set_mac(*mac);
            self.filter = filter.clone();
        }
    }

    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        self.backend.as_mut()?.sockets()
    }
}
