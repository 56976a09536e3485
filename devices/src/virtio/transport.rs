//! The negotiation between a driver and a device, common to every bus (virtio 1.3, 2.1, 2.2, 3.1).
//!
//! Holds what a driver programs (status, features, where queues are), decides when the device runs, and is the only
//! one to start and stop it. A queue that appears, moves or vanishes while the device runs stops it for a moment:
//! the indices come back from the worker, and it starts again with the new set.
//!
//! Legacy drivers (virtio 1.3, 2.2.3 and the "Legacy Interface" sections) have no FEATURES_OK, and some set DRIVER_OK
//! before their queues or kick before DRIVER_OK; a legacy device therefore runs as soon as a queue exists and either came.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::device::{Activation, DeviceEvents, DeviceState, VirtioDevice, feature};
use super::queue::{QueueLayout, VirtQueue};
use super::worker::Doorbell;
use crate::state::expect;
use crate::{GuestRam, StateError};

/// Bits of the device status field (virtio 1.3, 2.1).
pub mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    /// The device's bit, never the driver's.
    pub const NEEDS_RESET: u8 = 0x40;
    pub const FAILED: u8 = 0x80;
}

/// A queue as the driver has programmed it so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSetup {
    pub layout: QueueLayout,
    pub ready: bool,
}

/// What a driver has programmed: a plain copy of it is a snapshot.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// Without `NEEDS_RESET`.
    pub status: u8,
    pub driver_features: u64,
    pub queues: Vec<QueueSetup>,
    /// A legacy driver has kicked.
    pub kicked: bool,
}

/// A device and its negotiation.
pub struct Transport {
    device: Box<dyn VirtioDevice>,
    mem: Arc<GuestRam>,
    events: Arc<dyn DeviceEvents>,
    doorbell: Arc<Doorbell>,
    legacy: bool,
    offered: u64,
    max_sizes: Vec<u16>,
    state: TransportState,
    running: bool,
}

impl Transport {
    pub fn new(
        device: Box<dyn VirtioDevice>,
        legacy: bool,
        mem: Arc<GuestRam>,
        events: Arc<dyn DeviceEvents>,
        doorbell: Arc<Doorbell>,
    ) -> Self {
        let max_sizes = device.queue_sizes();
        assert!(max_sizes.len() <= 64, "a doorbell has 64 bits");
        let mut offered = device.features() | feature::INDIRECT_DESC | feature::EVENT_IDX;
        if legacy {
            offered = offered & u64::from(u32::MAX) | feature::ANY_LAYOUT;
        } else {
            offered |= feature::VERSION_1 | feature::RING_RESET;
        }
        let state = TransportState::default();
        let mut new = Self { device, mem, events, doorbell, legacy, offered, max_sizes, state, running: false };
        new.state = new.initial_state();
        new
    }

    fn initial_state(&self) -> TransportState {
        let fresh = |&size| QueueSetup { layout: QueueLayout { size, ..Default::default() }, ready: false };
        TransportState { queues: self.max_sizes.iter().map(fresh).collect(), ..Default::default() }
    }

    pub fn device(&self) -> &dyn VirtioDevice {
        &*self.device
    }

    pub fn device_mut(&mut self) -> &mut dyn VirtioDevice {
        &mut *self.device
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    /// 32 bits of the offered features; page 0 is the low half.
    pub fn offered_features(&self, page: u32) -> u32 {
        half(self.offered, page)
    }

    /// 32 bits of what the driver accepted.
    pub fn driver_features(&self, page: u32) -> u32 {
        half(self.state.driver_features, page)
    }

    /// The driver accepts features; ignored once that is settled.
    pub fn set_driver_features(&mut self, page: u32, value: u32) {
        let settled = self.running || self.state.status & status::FEATURES_OK != 0;
        let shift = match page {
            _ if settled => return,
            0 => 0,
            1 if !self.legacy => 32,
            _ => return,
        };
        let mask = u64::from(u32::MAX) << shift;
        self.state.driver_features = self.state.driver_features & !mask | u64::from(value) << shift;
    }

    /// Without `NEEDS_RESET`, which the bus keeps.
    pub fn status(&self) -> u8 {
        self.state.status
    }

    /// The driver writes the status field; not for zero, which is [`Self::reset`]. Bits once set stay set.
    pub fn set_status(&mut self, value: u8) {
        let mut new = self.state.status | value & !status::NEEDS_RESET;
        if !self.legacy && value & !self.state.status & status::FEATURES_OK != 0 {
            let accepted = self.state.driver_features;
            if accepted & !self.offered != 0 || accepted & feature::VERSION_1 == 0 {
                let device = self.device.name();
                tracing::debug!(device, accepted, offered = self.offered, "driver's features refused");
                new &= !status::FEATURES_OK;
            }
        }
        self.state.status = new;
        self.start_if_due();
    }

    pub fn queue_count(&self) -> usize {
        self.max_sizes.len()
    }

    /// Largest size of a queue, 0 if there is no such queue.
    pub fn max_size(&self, queue: u32) -> u16 {
        self.max_sizes.get(queue as usize).copied().unwrap_or(0)
    }

    pub fn queue(&self, queue: u32) -> Option<&QueueSetup> {
        self.state.queues.get(queue as usize)
    }

    /// The driver programs a queue; ignored while the queue is in use.
    pub fn set_layout(&mut self, queue: u32, change: impl FnOnce(&mut QueueLayout)) {
        if let Some(q) = self.state.queues.get_mut(queue as usize).filter(|q| !q.ready) {
            change(&mut q.layout);
        }
    }

    /// The driver puts a queue into use or takes it away.
    pub fn set_ready(&mut self, queue: u32, ready: bool) {
        if self.queue(queue).is_none_or(|q| q.ready == ready) {
            return;
        }
        self.pause();
        let q = &mut self.state.queues[queue as usize];
        q.ready = ready;
        (q.layout.next_avail, q.layout.next_used) = (0, 0);
        self.start_if_due();
    }

    /// Forgets a queue altogether (virtio 1.3, 2.6.1).
    pub fn reset_queue(&mut self, queue: u32) {
        self.set_ready(queue, false);
        let size = self.max_size(queue);
        self.set_layout(queue, |l| *l = QueueLayout { size, ..Default::default() });
    }

    /// A legacy driver kicked a device that does not run yet.
    pub fn kicked_early(&mut self) {
        self.state.kicked = true;
        self.start_if_due();
    }

    /// The device reset of the driver, and of the machine.
    pub fn reset(&mut self) {
        self.pause();
        self.device.reset();
        self.state = self.initial_state();
    }

    /// Starts the device if the driver has got that far. Also ends [`Self::pause`].
    pub fn start_if_due(&mut self) {
        let due = if self.legacy {
            let asked = self.state.status & status::DRIVER_OK != 0 || self.state.kicked;
            asked && self.state.queues.iter().any(|q| q.ready)
        } else {
            let ok = status::DRIVER_OK | status::FEATURES_OK;
            self.state.status & ok == ok
        };
        if due && !self.running {
            self.start();
        }
    }

    fn start(&mut self) {
        let features = self.state.driver_features & self.offered;
        let event_idx = features & feature::EVENT_IDX != 0;
        let mut queues = Vec::with_capacity(self.max_sizes.len());
        for (i, (q, &max)) in self.state.queues.iter().zip(&self.max_sizes).enumerate() {
            if !q.ready {
                queues.push(None);
                continue;
            }
            let (mem, events) = (Arc::clone(&self.mem), Arc::clone(&self.events));
            match VirtQueue::new(i as u16, &q.layout, max, event_idx, mem, events) {
                Ok(queue) => queues.push(Some(queue)),
                Err(fault) => {
                    let device = self.device.name();
                    tracing::debug!(device, queue = i, layout = ?q.layout, %fault, "device does not start");
                    self.events.needs_reset();
                    return;
                }
            }
        }
        let (mem, events) = (Arc::clone(&self.mem), Arc::clone(&self.events));
        let ready = queues.iter().enumerate().fold(0, |all, (i, q)| all | u64::from(q.is_some()) << i);
        let activation = Activation { queues, mem, features, events, doorbell: Arc::clone(&self.doorbell) };
        match self.device.activate(activation) {
            Ok(()) => {
                self.running = true;
                self.doorbell.begin_events(ready);
            }
            Err(error) => {
                tracing::error!(device = self.device.name(), %error, "cannot start the device's worker");
                self.events.needs_reset();
            }
        }
    }

    /// Stops the device where it is: afterwards nothing of it touches guest memory and no request is in flight.
    pub fn pause(&mut self) {
        if !self.running {
            return;
        }
        self.running = false;
        self.doorbell.end_events();
        let queues = self.device.stop();
        if queues.is_empty() {
            // The worker died and took the indices along.
            self.events.needs_reset();
        }
        for q in queues.into_iter().flatten() {
            self.state.queues[usize::from(q.index())].layout = q.layout();
        }
    }

    /// Everything that a paused device and its driver agreed on.
    pub fn save(&self) -> (TransportState, DeviceState) {
        (self.state.clone(), self.device.save())
    }

    /// Whether a state from elsewhere is one of such a device. Layouts of queues are checked when the device starts.
    pub fn check(&self, state: &TransportState, device: &DeviceState) -> Result<(), StateError> {
        expect("queues", state.queues.len(), self.max_sizes.len())?;
        // Before FEATURES_OK a driver may have written anything.
        let settled = state.status & status::FEATURES_OK != 0;
        let unknown = state.driver_features & !self.offered;
        if settled && !self.legacy && unknown != 0 {
            return Err(StateError::Unfit(format!(
                "the guest uses features {unknown:#x}, which it does not offer here"
            )));
        }
        if std::mem::discriminant(device) != std::mem::discriminant(&self.device.save()) {
            return Err(StateError::Unfit(format!("{} has no such state", self.device.name())));
        }
        match device {
            DeviceState::Console(console) => console.check(),
            DeviceState::Net { filter, .. } => filter.check(),
            DeviceState::Input { events, .. } => super::input::check(events),
            DeviceState::Stateless | DeviceState::Block { .. } => Ok(()),
        }
    }

    /// Takes over a saved state. The device stays paused.
    pub fn restore(&mut self, state: &TransportState, device: &DeviceState) {
        self.pause();
        self.device.reset();
        self.device.restore(device);
        let mut queues = state.queues.clone();
        queues.resize(self.max_sizes.len(), QueueSetup::default());
        self.state = TransportState { queues, ..state.clone() };
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.pause();
    }
}

fn half(value: u64, page: u32) -> u32 {
    match page {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}
