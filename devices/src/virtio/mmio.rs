//! Virtio over MMIO (virtio 1.3, 4.2): the modern register layout (version 2) and the legacy one (version 1, 4.2.4).
//!
//! Registers are 32 bits wide and answer only such accesses; the configuration space from 0x100 takes any width.
//! The interrupt line is a level: high while InterruptStatus is not zero.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::device::{DeviceEvents, DeviceState, VirtioDevice};
use super::transport::{Transport, TransportState, status};
use super::worker::Doorbell;
use crate::backend::net::Sockets;
use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::state::expect;
use crate::unlocked::Scope;
use crate::{GuestRam, IoEvents, IrqLine, MmioDevice, SavedState, StateError};

/// Bytes that a slot decodes.
pub const SIZE: u64 = 0x200;
/// "virt", little endian.
const MAGIC: u32 = 0x7472_6976;
/// "QEMU": guests and firmware look for no other.
const VENDOR: u32 = 0x554d_4551;

/// Register offsets (virtio 1.3, 4.2.2 and 4.2.4).
mod reg {
    pub const MAGIC: u64 = 0x00;
    pub const VERSION: u64 = 0x04;
    pub const DEVICE_ID: u64 = 0x08;
    pub const VENDOR_ID: u64 = 0x0c;
    pub const DEVICE_FEATURES: u64 = 0x10;
    pub const DEVICE_FEATURES_SEL: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SEL: u64 = 0x24;
    /// Legacy.
    pub const GUEST_PAGE_SIZE: u64 = 0x28;
    pub const QUEUE_SEL: u64 = 0x30;
    pub const QUEUE_NUM_MAX: u64 = 0x34;
    pub const QUEUE_NUM: u64 = 0x38;
    /// Legacy.
    pub const QUEUE_ALIGN: u64 = 0x3c;
    /// Legacy.
    pub const QUEUE_PFN: u64 = 0x40;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const INTERRUPT_STATUS: u64 = 0x60;
    pub const INTERRUPT_ACK: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_DESC_LOW: u64 = 0x80;
    pub const QUEUE_DESC_HIGH: u64 = 0x84;
    pub const QUEUE_DRIVER_LOW: u64 = 0x90;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x94;
    pub const QUEUE_DEVICE_LOW: u64 = 0xa0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0xa4;
    /// Shared memory: length and base of a region that does not exist read as all ones.
    pub const SHM_LEN_LOW: u64 = 0xb0;
    pub const SHM_BASE_HIGH: u64 = 0xbc;
    pub const QUEUE_RESET: u64 = 0xc0;
    pub const CONFIG_GENERATION: u64 = 0xfc;
    pub const CONFIG: u64 = 0x100;
}

/// Bits of InterruptStatus.
const INT_USED: u32 = 1;
const INT_CONFIG: u32 = 2;

/// Of a slot's saved state.
const STATE_VERSION: u32 = 2;

/// The device's way to the driver: interrupt status, line, and the bit that asks for a reset.
struct Signals {
    legacy: bool,
    line: IrqLine,
    /// InterruptStatus. Written only under `order`, read freely.
    pending: AtomicU32,
    /// Makes a change of `pending` and of the line one step. A leaf: nothing else is locked under it.
    order: Mutex<()>,
    needs_reset: AtomicBool,
    generation: AtomicU32,
}

impl Signals {
    fn update(&self, change: impl FnOnce(u32) -> u32) {
        let _scope = Scope::open();
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let new = change(self.pending.load(Ordering::Relaxed));
        self.pending.store(new, Ordering::Release);
        self.line.set(new != 0);
    }

    /// The state of a wire whose other end is restored by itself.
    fn restore(&self, pending: u32) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.pending.store(pending, Ordering::Release);
        self.line.restore(pending != 0);
    }

    fn reset(&self) {
        self.needs_reset.store(false, Ordering::Release);
        self.update(|_| 0);
    }
}

impl DeviceEvents for Signals {
    fn used(&self, _queue: u16) {
        self.update(|p| p | INT_USED);
    }

    fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.update(|p| p | INT_CONFIG);
    }

    fn needs_reset(&self) {
        // Legacy drivers know neither the status bit nor what to do about it.
        if !self.legacy && !self.needs_reset.swap(true, Ordering::AcqRel) {
            self.config_changed();
        }
    }
}

/// Selector registers and, for legacy drivers, the page arithmetic of queues.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioRegs {
    pub device_features_sel: u32,
    pub driver_features_sel: u32,
    pub queue_sel: u32,
    /// GuestPageSize; 0 until the driver sets it.
    pub page_size: u32,
    /// QueueAlign and QueuePFN by queue.
    pub legacy_queues: Vec<(u32, u32)>,
}

/// A slot's whole state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioState {
    pub regs: MmioRegs,
    pub transport: TransportState,
    pub device: DeviceState,
    pub interrupt_status: u32,
    pub generation: u32,
    pub needs_reset: bool,
}

struct Inner {
    regs: MmioRegs,
    transport: Transport,
}

struct Occupied {
    inner: Mutex<Inner>,
    signals: Arc<Signals>,
    doorbell: Arc<Doorbell>,
    device_type: u32,
    queues: u32,
    /// Mirror of `Transport::is_running`, so that a kick needs no lock.
    running: AtomicBool,
}

/// A virtio-mmio slot, with a device in it or empty.
pub struct VirtioMmio {
    name: String,
    legacy: bool,
    slot: Option<Occupied>,
}

impl VirtioMmio {
    /// A slot with a device. `legacy` selects the register layout and protocol of version 1.
    pub fn new(
        name: impl Into<String>,
        device: Box<dyn VirtioDevice>,
        legacy: bool,
        mem: Arc<GuestRam>,
        line: IrqLine,
    ) -> io::Result<Self> {
        let doorbell = Arc::new(Doorbell::new()?);
        let signals = Arc::new(Signals {
            legacy,
            line,
            pending: AtomicU32::new(0),
            order: Mutex::new(()),
            needs_reset: AtomicBool::new(false),
            generation: AtomicU32::new(0),
        });
        let device_type = device.device_type();
        let events: Arc<dyn DeviceEvents> = Arc::clone(&signals) as _;
        let transport = Transport::new(device, legacy, mem, events, Arc::clone(&doorbell));
        let queues = transport.queue_count() as u32;
        let inner = Mutex::new(Inner { regs: initial_regs(queues), transport });
        let running = AtomicBool::new(false);
        let slot = Occupied { inner, signals, doorbell, device_type, queues, running };
        Ok(Self { name: name.into(), legacy, slot: Some(slot) })
    }

    /// A slot without a device: device id 0, which drivers pass over.
    pub fn empty(name: impl Into<String>, legacy: bool) -> Self {
        Self { name: name.into(), legacy, slot: None }
    }

    /// The device's name, if there is one.
    pub fn device_name(&self) -> Option<String> {
        self.slot.as_ref().map(|s| s.lock().transport.device().name().to_owned())
    }

    /// Tells the driver that the configuration space changed.
    pub fn config_changed(&self) {
        if let Some(slot) = &self.slot {
            slot.signals.config_changed();
        }
    }

    /// The state of a paused slot; `None` for an empty one.
    pub fn save(&self) -> Option<MmioState> {
        let slot = self.slot.as_ref()?;
        let inner = slot.lock();
        let (transport, device) = inner.transport.save();
        Some(MmioState {
            regs: inner.regs.clone(),
            transport,
            device,
            interrupt_status: slot.signals.pending.load(Ordering::Acquire),
            generation: slot.signals.generation.load(Ordering::Acquire),
            needs_reset: slot.signals.needs_reset.load(Ordering::Acquire),
        })
    }

    /// Takes a saved state over, the level of the line included, which is not driven. The device stays paused.
    pub fn restore(&self, state: &MmioState) {
        let Some(slot) = &self.slot else { return };
        let mut inner = slot.lock();
        inner.transport.restore(&state.transport, &state.device);
        inner.regs = state.regs.clone();
        inner.regs.legacy_queues.resize(slot.queues as usize, (0, 0));
        slot.signals.generation.store(state.generation, Ordering::Release);
        slot.signals.needs_reset.store(state.needs_reset, Ordering::Release);
        slot.signals.restore(state.interrupt_status);
        slot.mirror(&inner);
    }

    fn read_register(&self, offset: u64) -> u32 {
        match offset {
            reg::MAGIC => return MAGIC,
            reg::VERSION => return if self.legacy { 1 } else { 2 },
            reg::VENDOR_ID => return VENDOR,
            _ => {}
        }
        let Some(slot) = &self.slot else { return 0 };
        match offset {
            reg::DEVICE_ID => slot.device_type,
            reg::INTERRUPT_STATUS => slot.signals.pending.load(Ordering::Acquire),
            reg::CONFIG_GENERATION if !self.legacy => slot.signals.generation.load(Ordering::Acquire),
            _ => {
                let inner = slot.lock();
                let needs_reset = slot.signals.needs_reset.load(Ordering::Acquire);
                inner.read(offset, self.legacy, needs_reset)
            }
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        let Some(slot) = &self.slot else { return };
        match offset {
            reg::QUEUE_NOTIFY => slot.kick(value, self.legacy),
            reg::INTERRUPT_ACK => slot.signals.update(|p| p & !value),
            reg::STATUS if value as u8 == 0 => slot.reset_by_driver(),
            _ => {
                let mut inner = slot.lock();
                if self.legacy {
                    inner.write_legacy(offset, value);
                } else {
                    inner.write_modern(offset, value);
                }
                slot.mirror(&inner);
            }
        }
    }
}

impl MmioDevice for VirtioMmio {
    /// Kicks wait until [`Self::resume`]. A register access of a hart that is not stopped may start the device again.
    fn pause(&self) {
        if let Some(slot) = &self.slot {
            slot.lock().transport.pause();
        }
    }

    /// Goes on after [`Self::pause`] or [`Self::restore`].
    fn resume(&self) {
        if let Some(slot) = &self.slot {
            let mut inner = slot.lock();
            inner.transport.start_if_due();
            slot.mirror(&inner);
        }
    }

    fn save_state(&self) -> Option<SavedState> {
        self.save()
            .map(|state| SavedState::of(STATE_VERSION, &(self.slot.as_ref().map_or(0, |slot| slot.device_type), state)))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let slot = self.slot.as_ref().ok_or(StateError::Stateless)?;
        let (device_type, state): (u32, MmioState) = state.read(STATE_VERSION)?;
        expect("virtio device id", device_type, slot.device_type)?;
        expect("queues", state.regs.legacy_queues.len(), slot.queues as usize)?;
        slot.lock().transport.check(&state.transport, &state.device)?;
        self.restore(&state);
        Ok(())
    }

    fn with_sockets(&self, f: &mut dyn FnMut(&mut dyn Sockets)) {
        if let Some(slot) = &self.slot
            && let Some(sockets) = slot.lock().transport.device_mut().sockets()
        {
            f(sockets);
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        SIZE
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(at) = offset.checked_sub(reg::CONFIG) {
            if let Some(slot) = &self.slot {
                slot.lock().transport.device().read_config(at, data);
            }
        } else if let Ok(word) = <&mut [u8; 4]>::try_from(data)
            && offset.is_multiple_of(4)
        {
            *word = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(at) = offset.checked_sub(reg::CONFIG) {
            if let Some(slot) = &self.slot {
                slot.lock().transport.device_mut().write_config(at, data);
            }
        } else if let Ok(word) = <[u8; 4]>::try_from(data)
            && offset.is_multiple_of(4)
        {
            self.write_register(offset, u32::from_le_bytes(word));
        }
    }

    fn reset(&self) {
        if let Some(slot) = &self.slot {
            slot.reset();
        }
    }

    /// While the device runs, kicks are events. Before, and while it is paused, they come to the register: an early kick
    /// of a legacy driver has to start the device.
    fn connect(&self, events: Arc<dyn IoEvents>) {
        if let Some(slot) = &self.slot
            && let Err(error) = slot.doorbell.connect(events, reg::QUEUE_NOTIFY, slot.queues as usize)
        {
            tracing::warn!(slot = self.name, %error, "no event descriptors: kicks leave the guest");
        }
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new(format!("virtio_mmio@{:x}", at.base)).with_interrupt(at);
        vec![node.with("reg", at.reg()).with("compatible", FdtValue::Str("virtio,mmio".to_owned())).with_phandle(at)]
    }
}

fn initial_regs(queues: u32) -> MmioRegs {
    // Without QueueAlign a driver means pages.
    MmioRegs { legacy_queues: vec![(4096, 0); queues as usize], ..Default::default() }
}

impl Occupied {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // State is plain and every step leaves it whole, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror(&self, inner: &Inner) {
        self.running.store(inner.transport.is_running(), Ordering::Release);
    }

    fn kick(&self, queue: u32, legacy: bool) {
        if queue >= self.queues {
            return;
        }
        self.doorbell.kick(queue as u16);
        if legacy && !self.running.load(Ordering::Acquire) {
            let mut inner = self.lock();
            inner.transport.kicked_early();
            self.mirror(&inner);
        }
    }

    /// As at power on.
    fn reset(&self) {
        self.reset_to(initial_regs(self.queues));
    }

    /// The page size belongs to the guest, not to the use of the device: Linux's driver writes it once, before the
    /// reset with which it begins.
    fn reset_by_driver(&self) {
        let page_size = self.lock().regs.page_size;
        self.reset_to(MmioRegs { page_size, ..initial_regs(self.queues) });
    }

    fn reset_to(&self, regs: MmioRegs) {
        let mut inner = self.lock();
        inner.transport.reset();
        inner.regs = regs;
        self.mirror(&inner);
        self.signals.reset();
    }
}

impl Inner {
    fn read(&self, offset: u64, legacy: bool, needs_reset: bool) -> u32 {
        let (regs, transport) = (&self.regs, &self.transport);
        let ready = transport.queue(regs.queue_sel).is_some_and(|q| q.ready);
        match offset {
            reg::DEVICE_FEATURES => transport.offered_features(regs.device_features_sel),
            // A queue in use is not available to a legacy driver.
            reg::QUEUE_NUM_MAX if legacy && ready => 0,
            reg::QUEUE_NUM_MAX => transport.max_size(regs.queue_sel).into(),
            reg::QUEUE_PFN if legacy => regs.legacy_queues.get(regs.queue_sel as usize).map_or(0, |q| q.1),
            reg::QUEUE_READY if !legacy => ready.into(),
            reg::STATUS => u32::from(transport.status() | if needs_reset { status::NEEDS_RESET } else { 0 }),
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH if !legacy => u32::MAX,
            _ => 0,
        }
    }

    fn write_modern(&mut self, offset: u64, value: u32) {
        let (regs, transport) = (&mut self.regs, &mut self.transport);
        let queue = regs.queue_sel;
        match offset {
            reg::DEVICE_FEATURES_SEL => regs.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => regs.driver_features_sel = value,
            reg::DRIVER_FEATURES => transport.set_driver_features(regs.driver_features_sel, value),
            reg::QUEUE_SEL => regs.queue_sel = value,
            reg::QUEUE_NUM => transport.set_layout(queue, |l| l.size = u16::try_from(value).unwrap_or(0)),
            reg::QUEUE_READY => transport.set_ready(queue, value & 1 != 0),
            reg::STATUS => transport.set_status(value as u8),
            reg::QUEUE_DESC_LOW => transport.set_layout(queue, |l| set_low(&mut l.desc, value)),
            reg::QUEUE_DESC_HIGH => transport.set_layout(queue, |l| set_high(&mut l.desc, value)),
            reg::QUEUE_DRIVER_LOW => transport.set_layout(queue, |l| set_low(&mut l.avail, value)),
            reg::QUEUE_DRIVER_HIGH => transport.set_layout(queue, |l| set_high(&mut l.avail, value)),
            reg::QUEUE_DEVICE_LOW => transport.set_layout(queue, |l| set_low(&mut l.used, value)),
            reg::QUEUE_DEVICE_HIGH => transport.set_layout(queue, |l| set_high(&mut l.used, value)),
            reg::QUEUE_RESET if value == 1 => transport.reset_queue(queue),
            _ => {}
        }
    }

    fn write_legacy(&mut self, offset: u64, value: u32) {
        let (regs, transport) = (&mut self.regs, &mut self.transport);
        let queue = regs.queue_sel;
        match offset {
            reg::DEVICE_FEATURES_SEL => regs.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => regs.driver_features_sel = value,
            reg::DRIVER_FEATURES => transport.set_driver_features(regs.driver_features_sel, value),
            reg::GUEST_PAGE_SIZE => regs.page_size = value,
            reg::QUEUE_SEL => regs.queue_sel = value,
            reg::QUEUE_NUM => transport.set_layout(queue, |l| l.size = u16::try_from(value).unwrap_or(0)),
            reg::QUEUE_ALIGN => {
                if let Some(q) = regs.legacy_queues.get_mut(queue as usize) {
                    q.0 = value;
                }
            }
            reg::QUEUE_PFN => self.set_pfn(value),
            reg::STATUS => transport.set_status(value as u8),
            _ => {}
        }
    }

    /// One write places all three parts of a legacy queue, or takes it away (virtio 1.3, 2.7.2).
    fn set_pfn(&mut self, pfn: u32) {
        let queue = self.regs.queue_sel;
        let Some((align, old)) = self.regs.legacy_queues.get_mut(queue as usize) else { return };
        *old = pfn;
        let (align, page) = (u64::from(*align), u64::from(self.regs.page_size));
        self.transport.set_ready(queue, false);
        if pfn == 0 {
            return;
        }
        // Nonsense in either register makes addresses that no ring may have, and the queue is refused at the start.
        let desc = u64::from(pfn) * page;
        self.transport.set_layout(queue, |l| {
            let size = u64::from(l.size);
            l.desc = desc;
            l.avail = desc + 16 * size;
            // flags, idx, the ring and used_event lie before the used ring.
            l.used = (l.avail + 6 + 2 * size).checked_next_multiple_of(align).unwrap_or(u64::MAX);
        });
        self.transport.set_ready(queue, true);
    }
}

fn set_low(field: &mut u64, value: u32) {
    *field = *field & !0xffff_ffff | u64::from(value);
}

fn set_high(field: &mut u64, value: u32) {
    *field = *field & 0xffff_ffff | u64::from(value) << 32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::rng::{RngSource, VirtioRng};
    use crate::virtio::testing::Driver;

    fn rng() -> Box<VirtioRng> {
        Box::new(VirtioRng::new("rng", RngSource::Host))
    }

    #[test]
    fn an_empty_slot_has_id_zero() {
        for (legacy, version) in [(false, 2), (true, 1)] {
            let slot = VirtioMmio::empty("slot", legacy);
            let words: Vec<u32> = (0..4)
                .map(|i| {
                    let mut w = [0; 4];
                    slot.read(4 * i, &mut w);
                    u32::from_le_bytes(w)
                })
                .collect();
            assert_eq!(words, [0x7472_6976, version, 0, 0x554d_4551]);
            (0..SIZE / 4).for_each(|i| slot.write(4 * i, &[0xff; 4]));
            slot.reset();
        }
    }

    #[test]
    fn features_are_refused_unless_offered_and_modern() {
        for (low, high, granted) in [(0, 1, true), (0, 0, false), (1, 1, false), (0, 1 << 20 | 1, false)] {
            let d = Driver::new(rng(), false);
            [1, 3].iter().for_each(|&s| d.w(0x70, s));
            for (page, bits) in [(0, low), (1, high)] {
                d.w(0x24, page);
                d.w(0x20, bits);
            }
            d.w(0x70, 11);
            assert_eq!(d.r(0x70) == 11, granted, "{low:#x} {high:#x}");
            d.w(0x70, 15);
            assert_eq!(d.dev.slot.as_ref().unwrap().running.load(Ordering::Relaxed), granted);
        }
    }

    #[test]
    fn registers_answer_words_only_and_configuration_any_width() {
        let d = Driver::new(rng(), false);
        let mut byte = [9];
        d.dev.read(0, &mut byte);
        assert_eq!(byte, [0]);
        let mut long = [9; 8];
        d.dev.read(0, &mut long);
        assert_eq!(long, [0; 8]);
        d.dev.write(0x70, &[1]);
        assert_eq!(d.r(0x70), 0);
        assert_eq!((d.r(0xb0), d.r(0xbc)), (u32::MAX, u32::MAX), "no shared memory");
        d.dev.read(0x1f8, &mut long);
        assert_eq!(long, [0; 8]);
    }

    /// Old drivers set DRIVER_OK first and place the queue afterwards, or kick before DRIVER_OK.
    #[test]
    fn legacy_queues_may_come_late_or_be_kicked_early() {
        for early_kick in [false, true] {
            let mut d = Driver::new(rng(), true);
            [1, 3].iter().for_each(|&s| d.w(0x70, s));
            d.w(0x20, 0);
            if !early_kick {
                d.w(0x70, 7);
            }
            d.w(0x28, 4096);
            let ring = d.place_ring(0);
            d.rings.push(ring);
            assert_eq!(d.r(0x40), (d.rings[0].desc / 4096) as u32);
            let buf = d.alloc(64);
            d.submit(0, &[(buf, 8, true)]);
            assert_eq!(d.wait_used(0).1, 8);
            d.w(0x40, 0);
            assert_eq!(d.r(0x40), 0);
            d.rings[0] = d.place_ring(0);
            d.submit(0, &[(buf, 9, true)]);
            assert_eq!(d.wait_used(0).1, 9, "a queue that moved starts at its beginning");
        }
    }

    #[test]
    fn the_page_size_of_a_legacy_guest_outlives_its_reset() {
        let mut d = Driver::new(rng(), true);
        d.w(0x28, 4096);
        [0, 1, 3].iter().for_each(|&s| d.w(0x70, s));
        d.w(0x20, 0);
        let ring = d.place_ring(0);
        d.rings.push(ring);
        d.w(0x70, 7);
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 8, true)]);
        assert_eq!(d.wait_used(0).1, 8);
    }

    #[test]
    fn a_queue_can_be_reset_by_itself() {
        let mut d = Driver::ready(rng(), false, 1, 0);
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 8, true)]);
        d.wait_used(0);
        d.w(0xc0, 1);
        assert_eq!((d.r(0xc0), d.r(0x44)), (0, 0));
        d.rings[0] = d.place_ring(0);
        d.submit(0, &[(buf, 9, true)]);
        assert_eq!(d.wait_used(0).1, 9);
    }

    #[test]
    fn interrupts_are_a_level_and_reset_lowers_it() {
        let mut d = Driver::ready(rng(), false, 1, 0);
        let generation = d.r(0xfc);
        d.dev.config_changed();
        assert_eq!((d.r(0x60), d.r(0xfc), d.pin.is_high()), (2, generation + 1, true));
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 8, true)]);
        d.wait("both reasons", || d.r(0x60) == 3);
        d.w(0x64, 1);
        assert!(d.pin.is_high());
        d.w(0x64, 2);
        assert!(!d.pin.is_high());
        d.dev.config_changed();
        d.dev.reset();
        assert_eq!((d.r(0x60), d.r(0x70), d.pin.is_high()), (0, 0, false));
    }

    #[test]
    fn without_event_index_the_flag_silences_interrupts() {
        let event_idx = crate::virtio::device::feature::EVENT_IDX;
        let mut d = Driver::ready(rng(), false, 1, event_idx);
        let buf = d.alloc(64);
        let avail = d.rings[0].avail;
        d.put(avail, 1u16);
        d.submit(0, &[(buf, 8, true)]);
        d.wait_used(0);
        d.put(avail, 0u16);
        assert_eq!(d.r(0x60), 0);
        d.submit(0, &[(buf, 8, true)]);
        d.wait_used(0);
        d.pin.wait_high();
    }

    #[test]
    fn kicks_are_events_as_long_as_the_device_runs() {
        for legacy in [false, true] {
            let (mut d, kernel) = Driver::on_kernel(rng(), legacy);
            d.w(0x50, 0);
            assert!(kernel.queues().is_empty(), "nothing runs");
            d.negotiate(1, 0);
            assert_eq!(kernel.queues(), [0]);
            let buf = d.alloc(64);
            d.submit(0, &[(buf, 8, true)]);
            assert_eq!((d.wait_used(0).1, kernel.swallowed()), (8, 1));
            d.w(0x50, 1);
            assert_eq!(kernel.swallowed(), 1, "a queue that is not there");

            d.dev.pause();
            assert!(kernel.queues().is_empty(), "paused");
            // Made before the pause ended, and before the worker was there.
            d.submit(0, &[(buf, 9, true)]);
            d.dev.resume();
            assert_eq!((d.wait_used(0).1, kernel.swallowed(), kernel.queues()), (9, 1, vec![0]));

            let state = {
                d.dev.pause();
                d.dev.save().unwrap()
            };
            d.dev.resume();
            d.dev.restore(&state);
            assert!(kernel.queues().is_empty(), "restored, and not going yet");
            d.dev.resume();
            d.submit(0, &[(buf, 10, true)]);
            assert_eq!((d.wait_used(0).1, kernel.swallowed()), (10, 2));

            if legacy {
                d.w(0x40, 0);
            } else {
                d.w(0xc0, 1);
            }
            assert!(kernel.queues().is_empty(), "no queue");
            d.rings[0] = d.place_ring(0);
            d.submit(0, &[(buf, 11, true)]);
            assert_eq!((d.wait_used(0).1, kernel.swallowed()), (11, 3));

            d.w(0x70, 0);
            assert!(kernel.queues().is_empty(), "reset by the driver");
            d.rewind();
            d.negotiate(1, 0);
            assert_eq!(kernel.queues(), [0]);
            d.dev.reset();
            assert!(kernel.queues().is_empty(), "reset by the machine");
            d.rewind();
            d.negotiate(1, 0);
            drop(d);
            assert!(kernel.queues().is_empty(), "gone");
        }
    }

    /// The kick comes to the register, and is the device's start.
    #[test]
    fn an_early_kick_starts_a_legacy_device_on_an_engine_with_events() {
        let (mut d, kernel) = Driver::on_kernel(rng(), true);
        [1, 3].iter().for_each(|&s| d.w(0x70, s));
        d.w(0x20, 0);
        d.w(0x28, 4096);
        let ring = d.place_ring(0);
        d.rings.push(ring);
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 8, true)]);
        assert_eq!((d.wait_used(0).1, kernel.swallowed(), kernel.queues()), (8, 0, vec![0]));
        d.submit(0, &[(buf, 9, true)]);
        assert_eq!((d.wait_used(0).1, kernel.swallowed()), (9, 1));
    }

    #[test]
    fn a_full_kernel_leaves_kicks_to_the_register() {
        let (mut d, kernel) = Driver::on_kernel(rng(), false);
        kernel.full.store(true, Ordering::SeqCst);
        d.negotiate(1, 0);
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 8, true)]);
        assert_eq!((d.wait_used(0).1, kernel.swallowed()), (8, 0));
        d.dev.pause();
        d.dev.resume();
    }

    /// Requests one after the other, each waited for, while another thread stops and starts the device: a kick that is
    /// lost stops everything.
    #[test]
    fn no_kick_is_lost_while_the_device_stops_and_starts() {
        let (mut d, kernel) = Driver::on_kernel(rng(), false);
        d.negotiate(1, 0);
        let (dev, done) = (Arc::clone(&d.dev), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turns = 0u32;
                while !done.load(Ordering::SeqCst) {
                    dev.pause();
                    if turns.is_multiple_of(3) {
                        std::thread::yield_now();
                    }
                    dev.resume();
                    if turns.is_multiple_of(2) {
                        std::thread::sleep(std::time::Duration::from_micros(100));
                    }
                    turns += 1;
                }
            });
            let buf = d.alloc(64);
            for i in 0..3000 {
                let len = i % 60 + 1;
                d.submit(0, &[(buf, len, true)]);
                assert_eq!(d.wait_used(0).1, len);
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!((1..3000).contains(&kernel.swallowed()), "both ways were taken: {}", kernel.swallowed());
    }

    #[test]
    fn the_node_is_what_drivers_look_for() {
        let slot = VirtioMmio::empty("slot", false);
        let at = Placement { interrupt: vec![1], interrupt_parent: 3, ..Placement::at(0x1000_1000, 0x1000) };
        let nodes = slot.fdt(&at);
        let node = FdtNode::new("virtio_mmio@10001000")
            .with("interrupts", FdtValue::Cells(vec![1]))
            .with("interrupt-parent", FdtValue::U32(3))
            .with("reg", FdtValue::Cells(vec![0, 0x1000_1000, 0, 0x1000]))
            .with("compatible", FdtValue::Str("virtio,mmio".to_owned()));
        assert_eq!(nodes, [node]);
    }
}
