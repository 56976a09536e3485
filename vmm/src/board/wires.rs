//! What joins devices and engine: the bus as the engine sees it, and the harts as devices see them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use accel::semihost::Semihosting;
use accel::{BusFault, Clock, GuestBus, HartIrq, VcpuHandle, Vm};
use devices::misc::Htif;
use devices::{HartLines, MmioBus, MmioDevice, unlocked};

use super::io_events::Stores;

/// The board's bus behind the engine's loads and stores, and the host interface that may stand in RAM.
pub struct BoardBus {
    bus: MmioBus,
    pub htif: Option<Arc<Htif>>,
    semihosting: Option<Box<dyn Semihosting>>,
    stores: Arc<Stores>,
}

impl BoardBus {
    /// With the devices' ways to have stores turned into events, for engines that can.
    pub fn new(bus: MmioBus, htif: Option<Arc<Htif>>, semihosting: Option<Box<dyn Semihosting>>) -> Self {
        let stores = Arc::new(Stores::default());
        for (base, device) in bus.iter() {
            device.connect(Arc::new(stores.of_device(base)));
        }
        Self { bus, htif, semihosting, stores }
    }

    /// Every device with its base, in address order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<dyn MmioDevice>)> {
        self.bus.iter()
    }

    /// Stores that devices want to be events are so in this machine from now on, if its engine can, and in no other. No
    /// hart runs.
    pub fn connect(&self, vm: &Arc<dyn Vm>) {
        self.stores.connect(vm);
    }
}

impl GuestBus for BoardBus {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault> {
        if self.bus.read(gpa, data) {
            return Ok(());
        }
        tracing::debug!("load of {} bytes at {gpa:#x}: nothing is there", data.len());
        Err(BusFault)
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault> {
        if self.bus.write(gpa, data) {
            return Ok(());
        }
        tracing::debug!("store of {} bytes at {gpa:#x}: nothing is there", data.len());
        Err(BusFault)
    }

    fn answers(&self, gpa: u64) -> bool {
        self.bus.find(gpa).is_some()
    }

    fn watched(&self) -> Vec<u64> {
        self.htif.as_ref().map_or(Vec::new(), |htif| htif.watched())
    }

    fn stored(&self, gpa: u64, len: u64) {
        if let Some(htif) = &self.htif {
            htif.stored(gpa, len);
        }
    }

    fn semihosting(&self) -> Option<&dyn Semihosting> {
        self.semihosting.as_deref()
    }

    fn settle(&self) -> bool {
        self.htif.as_ref().is_some_and(|htif| htif.settle())
    }
}

/// A hart's handle, in a line of its own: harts drive each other's lines all the time.
#[repr(align(128))]
struct Wire(RwLock<Arc<dyn VcpuHandle>>);

impl Wire {
    /// With the vCPU that is there now; nobody takes it away meanwhile. A leaf: nothing else is locked inside.
    fn with<R>(&self, f: impl FnOnce(&Arc<dyn VcpuHandle>) -> R) -> R {
        f(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The harts' input side. Chips hold it from the start; the vCPUs are bound when the engine has made them, and others may
/// take their place.
pub struct HartWires {
    clock: Arc<Clock>,
    /// What the SBI's timers were set to last, by hart: for snapshots.
    sbi_timers: OnceLock<Vec<AtomicU64>>,
    wires: OnceLock<Vec<Wire>>,
}

impl HartWires {
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, sbi_timers: OnceLock::new(), wires: OnceLock::new() }
    }

    /// By hart id; once.
    pub fn bind(&self, handles: Vec<Arc<dyn VcpuHandle>>) {
        let timers = handles.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
        let wires = handles.into_iter().map(|handle| Wire(RwLock::new(handle))).collect();
        let new = self.sbi_timers.set(timers).is_ok() && self.wires.set(wires).is_ok();
        assert!(new, "the harts are bound once");
    }

    /// Another vCPU takes the place of a hart's, with all that was driven into that one: no change is between them. The
    /// harts are stopped, and chips need not be.
    pub fn rebind(&self, hart: u32, handle: Arc<dyn VcpuHandle>) {
        let mut bound = self.wires()[hart as usize].0.write().unwrap_or_else(PoisonError::into_inner);
        handle.set_inputs(&bound.inputs());
        *bound = handle;
    }

    /// By hart id; empty before [`Self::bind`].
    fn wires(&self) -> &[Wire] {
        self.wires.get().map_or(&[], Vec::as_slice)
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes every vCPU leave the guest.
    pub fn kick_all(&self) {
        self.wires().iter().for_each(|wire| wire.with(|h| h.kick()));
    }

    pub fn kick(&self, hart: u32) {
        self.with(hart, |h| h.kick());
    }

    /// The SBI's timer of a hart whose guest has none of its own: when it is due, in ticks; `u64::MAX` for never.
    pub fn set_sbi_timer(&self, hart: u32, deadline: u64) {
        if let Some(timer) = self.sbi_timers.get().and_then(|timers| timers.get(hart as usize)) {
            timer.store(deadline, Ordering::Relaxed);
            self.with(hart, |h| h.set_sbi_timer(deadline));
        }
    }

    /// What [`Self::set_sbi_timer`] was told last.
    pub fn sbi_timer(&self, hart: u32) -> u64 {
        let timer = self.sbi_timers.get().and_then(|timers| timers.get(hart as usize));
        timer.map_or(u64::MAX, |timer| timer.load(Ordering::Relaxed))
    }

    /// What was driven into a hart.
    #[cfg(test)]
    pub fn inputs(&self, hart: u32) -> accel::HartInputs {
        self.wires()[hart as usize].with(|h| h.inputs())
    }

    /// Every deadline has to be looked at again.
    pub fn clock_changed(&self) {
        self.wires().iter().for_each(|wire| wire.with(|h| h.clock_changed()));
    }

    /// A hart that does not exist has no wires: nothing on the board names one.
    fn with(&self, hart: u32, f: impl FnOnce(&Arc<dyn VcpuHandle>)) {
        if let Some(wire) = self.wires().get(hart as usize) {
            wire.with(f);
        }
    }
}

/// Wakes a hart that sleeps when the chip that drives its line has let its locks go: the hart wants them at once.
fn wake_later(handle: &Arc<dyn VcpuHandle>) {
    let handle = Arc::clone(handle);
    unlocked::after(move || handle.wake());
}

impl HartLines for HartWires {
    fn set_irq(&self, hart: u32, irq: u8, level: bool) {
        let irq = match irq {
            1 => HartIrq::SupervisorSoftware,
            3 => HartIrq::MachineSoftware,
            5 => HartIrq::SupervisorTimer,
            7 => HartIrq::MachineTimer,
            9 => HartIrq::SupervisorExternal,
            11 => HartIrq::MachineExternal,
            _ => unreachable!("no chip drives line {irq}"),
        };
        self.with(hart, |h| {
            if h.set_irq_quietly(irq, level) {
                wake_later(h);
            }
        });
    }

    fn set_guest_irq(&self, hart: u32, guest: u8, level: bool) {
        self.with(hart, |h| {
            if h.set_guest_irq_quietly(guest, level) {
                wake_later(h);
            }
        });
    }

    fn raise_ssip(&self, hart: u32) {
        self.with(hart, |h| h.raise_ssip());
    }

    fn set_mtimecmp(&self, hart: u32, ticks: u64) {
        self.with(hart, |h| h.set_mtimecmp(ticks));
    }

    fn mtime(&self) -> u64 {
        self.clock.now()
    }

    fn set_mtime(&self, ticks: u64) {
        self.clock.set(ticks);
        self.clock_changed();
    }
}
