//! virtio-blk (virtio 1.3, 5.2): a disk.
//!
//! The device checks requests and answers them; a [`BlockBackend`] moves the bytes. One worker serves all queues.

mod config;
mod errors;
mod request;
mod stats;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use config::{BlkConfig, BlkConfigError};
pub use errors::{Answer, DiskError, DiskErrors, ErrorPolicy, OnError};
pub use stats::{BlkStats, Count};
pub use task::Parked;

use super::device::{Activation, DeviceState, VirtioDevice, id, read_config_bytes};
use super::queue::VirtQueue;
use super::worker::Worker;
use crate::backend::block::BlockBackend;
use task::BlkTask;

/// Feature bits (virtio 1.3, 5.2.3).
mod feature {
    pub const SEG_MAX: u64 = 1 << 2;
    pub const GEOMETRY: u64 = 1 << 4;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const CONFIG_WCE: u64 = 1 << 11;
    pub const MQ: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Where `writeback` is in the configuration space.
const WRITEBACK_OFFSET: u64 = 32;

/// The device.
pub struct VirtioBlk {
    name: String,
    config: BlkConfig,
    /// Not while the worker has it.
    backend: Option<Box<dyn BlockBackend>>,
    /// Bytes of the image; the last known of one that the worker has.
    capacity: u64,
    /// Bytes that the driver knows of. It is told when there are others, as soon as the device runs.
    known: u64,
    /// `writeback` of the configuration space. Written by the driver's register accesses, read by the worker.
    write_cache: Arc<AtomicBool>,
    stats: Arc<BlkStats>,
    errors: Option<Arc<dyn DiskErrors>>,
    /// Requests that are tried again when the device runs again.
    parked: Vec<Parked>,
    worker: Option<Worker<BlkTask>>,
}

impl VirtioBlk {
    /// A disk over an image. `config` is checked.
    pub fn new(
        name: impl Into<String>,
        backend: Box<dyn BlockBackend>,
        config: BlkConfig,
    ) -> Result<Self, BlkConfigError> {
        config.check()?;
        let (capacity, write_cache) = (backend.len(), Arc::new(AtomicBool::new(config.write_cache)));
        let (name, backend) = (name.into(), Some(backend));
        let (stats, errors, parked, worker) = (Arc::default(), None, Vec::new(), None);
        Ok(Self { name, config, backend, capacity, known: capacity, write_cache, stats, errors, parked, worker })
    }

    pub fn stats(&self) -> Arc<BlkStats> {
        Arc::clone(&self.stats)
    }

    /// Who hears of requests that fail. Without anybody a machine cannot stop for them: then they are reported to the driver.
    pub fn tell_errors(&mut self, errors: Arc<dyn DiskErrors>) {
        self.errors = Some(errors);
    }
}

impl VirtioDevice for VirtioBlk {
    fn device_type(&self) -> u32 {
        id::BLOCK
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        let c = &self.config;
        let optional = [
            (c.read_only, feature::RO),
            (c.config_wce, feature::CONFIG_WCE),
            (c.queues > 1, feature::MQ),
            (c.discard && !c.read_only, feature::DISCARD),
            (c.write_zeroes && !c.read_only, feature::WRITE_ZEROES),
        ];
        let always = feature::SEG_MAX | feature::GEOMETRY | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        optional.iter().filter(|o| o.0).fold(always, |all, o| all | o.1)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![self.config.queue_size; usize::from(self.config.queues)]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let capacity = self.backend.as_ref().map_or(self.capacity, |backend| backend.len());
        let space = self.config.space(capacity, self.write_cache.load(Ordering::Relaxed));
        read_config_bytes(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if self.config.config_wce && offset == WRITEBACK_OFFSET && data.len() == 1 {
            self.write_cache.store(data[0] & 1 != 0, Ordering::Relaxed);
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let backend = self.backend.take().ok_or_else(|| io::Error::other("the disk's worker was lost"))?;
        self.capacity = backend.len();
        if self.known != self.capacity {
            self.known = self.capacity;
            activation.events.config_changed();
        }
        // A driver that knows nothing of caches must not have one (virtio 1.3, 5.2.6.2).
        let knows_caches = activation.features & (feature::FLUSH | feature::CONFIG_WCE) != 0;
        let (queues, doorbell) = (activation.queues, activation.doorbell);
        let mask = (0..queues.len()).fold(0, |m, q| m | 1 << q);
        let cache = knows_caches.then(|| Arc::clone(&self.write_cache));
        let mut task = BlkTask::new(queues, backend, &self.config, cache, Arc::clone(&self.stats));
        task.on_errors(self.errors.clone(), std::mem::take(&mut self.parked));
        self.worker = Some(Worker::spawn(&self.name, task, mask, doorbell)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<VirtQueue>> {
        let Some(task) = self.worker.take().and_then(Worker::stop) else { return Vec::new() };
        let (queues, backend, parked) = task.into_parts();
        (self.backend, self.parked) = (Some(backend), parked);
        queues
    }

    fn reset(&mut self) {
        self.parked.clear();
        // A driver that begins reads it anew.
        self.known = self.backend.as_ref().map_or(self.capacity, |backend| backend.len());
        self.write_cache.store(self.config.write_cache, Ordering::Relaxed);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block {
            write_cache: self.write_cache.load(Ordering::Relaxed),
            parked: self.parked.clone(),
            capacity: Some(self.known),
        }
    }

    fn restore(&mut self, state: &DeviceState) {
        if let DeviceState::Block { write_cache, parked, capacity } = state {
            // Where the guest comes from the image may have become another size since it was opened here.
            if let Some(backend) = &mut self.backend {
                if let Err(error) = backend.measure() {
                    tracing::warn!(device = self.name, %error, "cannot look at the size of the image");
                }
                self.known = capacity.unwrap_or_else(|| backend.len());
            }
            self.write_cache.store(*write_cache, Ordering::Relaxed);
            self.parked.clone_from(parked);
        }
    }
}
