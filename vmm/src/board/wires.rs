//! What joins devices and engine: the bus as the engine sees it, and the harts as devices see them.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use accel::semihost::Semihosting;
use accel::{BusFault, Clock, GuestBus, HartIrq, VcpuHandle, Vm};
use devices::misc::Htif;
use devices::{HartLines, IoEvents, MmioBus, MmioDevice, unlocked};

/// The board's bus behind the engine's loads and stores, and the host interface that may stand in RAM.
pub struct BoardBus {
    bus: MmioBus,
    pub htif: Option<Arc<Htif>>,
    semihosting: Option<Box<dyn Semihosting>>,
}

impl BoardBus {
    pub fn new(bus: MmioBus, htif: Option<Arc<Htif>>, semihosting: Option<Box<dyn Semihosting>>) -> Self {
        Self { bus, htif, semihosting }
    }

    /// Every device with its base, in address order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<dyn MmioDevice>)> {
        self.bus.iter()
    }

    /// Tells the devices of the engine's way to turn stores into events, if it has one. Once, before the guest runs.
    pub fn connect(&self, vm: &Arc<dyn Vm>) {
        if !vm.has_io_events() {
            return;
        }
        for (base, device) in self.bus.iter() {
            let (vm, failed) = (Arc::downgrade(vm), AtomicBool::new(false));
            device.connect(Arc::new(DeviceIoEvents { vm, base, failed }));
        }
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

/// A device's stores that the engine turns into events.
struct DeviceIoEvents {
    /// The machine owns the bus, so the bus must not own the machine.
    vm: Weak<dyn Vm>,
    base: u64,
    /// A failure was reported; more of them would say the same.
    failed: AtomicBool,
}

impl DeviceIoEvents {
    fn set(&self, offset: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> bool {
        let Some(vm) = self.vm.upgrade() else { return false };
        let done = vm.set_io_event(self.base + offset, value, event, on);
        if let Err(error) = &done
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("{}: the guest's kicks are slower", crate::error_chain(error));
        }
        done.is_ok()
    }
}

impl IoEvents for DeviceIoEvents {
    fn assign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) -> bool {
        self.set(offset, value, event, true)
    }

    fn deassign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) {
        self.set(offset, value, event, false);
    }
}

/// The harts' input side. Chips hold it from the start; the vCPUs are bound when the engine has made them.
pub struct HartWires {
    clock: Arc<Clock>,
    /// What the SBI's timers were set to last, by hart: for snapshots.
    sbi_timers: OnceLock<Vec<AtomicU64>>,
    handles: OnceLock<Vec<Arc<dyn VcpuHandle>>>,
}

impl HartWires {
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, sbi_timers: OnceLock::new(), handles: OnceLock::new() }
    }

    /// By hart id; once.
    pub fn bind(&self, handles: Vec<Arc<dyn VcpuHandle>>) {
        let timers = handles.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
        let new = self.sbi_timers.set(timers).is_ok() && self.handles.set(handles).is_ok();
        assert!(new, "the harts are bound once");
    }

    /// By hart id; empty before [`Self::bind`].
    pub fn handles(&self) -> &[Arc<dyn VcpuHandle>] {
        self.handles.get().map_or(&[], Vec::as_slice)
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The SBI's timer of a hart whose guest has none of its own: when it is due, in ticks; `u64::MAX` for never.
    pub fn set_sbi_timer(&self, hart: u32, deadline: u64) {
        if let (Some(timers), Some(handle)) = (self.sbi_timers.get(), self.handles().get(hart as usize)) {
            timers[hart as usize].store(deadline, Ordering::Relaxed);
            handle.set_sbi_timer(deadline);
        }
    }

    /// What [`Self::set_sbi_timer`] was told last.
    pub fn sbi_timer(&self, hart: u32) -> u64 {
        let timer = self.sbi_timers.get().and_then(|timers| timers.get(hart as usize));
        timer.map_or(u64::MAX, |timer| timer.load(Ordering::Relaxed))
    }

    /// Every deadline has to be looked at again.
    pub fn clock_changed(&self) {
        self.handles().iter().for_each(|h| h.clock_changed());
    }

    /// A hart that does not exist has no wires: nothing on the board names one.
    fn with(&self, hart: u32, f: impl FnOnce(&Arc<dyn VcpuHandle>)) {
        if let Some(handle) = self.handles().get(hart as usize) {
            f(handle);
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
