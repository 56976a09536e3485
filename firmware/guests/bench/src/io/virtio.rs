//! Virtio over MMIO: the transport, both layouts of its registers, and a split queue (virtio 1.3, 2.7 and 4.2).
//!
//! As drivers do, a queue interrupts only while somebody sleeps until it does.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use runtime::machine::Device as Node;
use runtime::memory::PAGE;
use runtime::{irq, machine};

use crate::session::{Outcome, Problem, Session};

/// Registers.
mod reg {
    pub const MAGIC: usize = 0x00;
    pub const VERSION: usize = 0x04;
    pub const DEVICE_ID: usize = 0x08;
    pub const DEVICE_FEATURES: usize = 0x10;
    pub const DEVICE_FEATURES_SEL: usize = 0x14;
    pub const DRIVER_FEATURES: usize = 0x20;
    pub const DRIVER_FEATURES_SEL: usize = 0x24;
    pub const GUEST_PAGE_SIZE: usize = 0x28;
    pub const QUEUE_SEL: usize = 0x30;
    pub const QUEUE_NUM_MAX: usize = 0x34;
    pub const QUEUE_NUM: usize = 0x38;
    pub const QUEUE_ALIGN: usize = 0x3c;
    pub const QUEUE_PFN: usize = 0x40;
    pub const QUEUE_READY: usize = 0x44;
    pub const QUEUE_NOTIFY: usize = 0x50;
    pub const INTERRUPT_STATUS: usize = 0x60;
    pub const INTERRUPT_ACK: usize = 0x64;
    pub const STATUS: usize = 0x70;
    pub const QUEUE_DESC: usize = 0x80;
    pub const QUEUE_DRIVER: usize = 0x90;
    pub const QUEUE_DEVICE: usize = 0xa0;
    pub const CONFIG: usize = 0x100;
}

const MAGIC: u32 = 0x7472_6976;
/// The layout of registers before virtio 1.0.
const LEGACY: u32 = 1;
const MODERN: u32 = 2;

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;

/// Bit 0 of the upper word of features: the device keeps to virtio 1.0.
const VERSION_1: u32 = 1;

/// Kinds of devices.
pub const NET: u32 = 1;
pub const BLOCK: u32 = 2;

/// Orders memory and devices.
fn barrier() {
    // SAFETY: orders accesses.
    unsafe { core::arch::asm!("fence iorw, iorw") };
}

/// A device that this program drives; it is reset when the benchmark is over.
pub struct Device {
    base: usize,
    pub legacy: bool,
    source: u32,
}

impl Device {
    /// The first device of a kind, reset, ready for its queues, with those of the features 0 to 31 that are wanted
    /// and there.
    pub fn find(kind: u32, wanted: u32, none: &'static str) -> Result<Self, Problem> {
        let is = |node: &&Node| {
            node.is("virtio,mmio")
                && read_register(node.base, reg::MAGIC) == MAGIC
                && read_register(node.base, reg::DEVICE_ID) == kind
        };
        let node = machine().devices().iter().find(is).ok_or(Problem::Skip(none))?;
        let mut device = Self { base: node.base, legacy: false, source: node.irq };
        let version = device.read(reg::VERSION);
        device.legacy = version == LEGACY;
        device.write(reg::STATUS, 0);
        device.write(reg::STATUS, ACKNOWLEDGE);
        device.write(reg::STATUS, ACKNOWLEDGE | DRIVER);
        device.write(reg::DEVICE_FEATURES_SEL, 0);
        let offered = device.read(reg::DEVICE_FEATURES);
        device.write(reg::DRIVER_FEATURES_SEL, 0);
        device.write(reg::DRIVER_FEATURES, offered & wanted);
        match version {
            LEGACY => device.write(reg::GUEST_PAGE_SIZE, PAGE as u32),
            MODERN => {
                device.write(reg::DEVICE_FEATURES_SEL, 1);
                let offered = device.read(reg::DEVICE_FEATURES);
                device.write(reg::DRIVER_FEATURES_SEL, 1);
                device.write(reg::DRIVER_FEATURES, offered & VERSION_1);
                device.write(reg::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
                if device.read(reg::STATUS) & FEATURES_OK == 0 {
                    return Err(Problem::Fail("the device does not accept its features"));
                }
            }
            _ => return Err(Problem::Fail("the device has a version that is not known")),
        }
        Ok(device)
    }

    fn read(&self, register: usize) -> u32 {
        read_register(self.base, register)
    }

    fn write(&self, register: usize, value: u32) {
        write_register(self.base, register, value);
    }

    /// A byte of the device's configuration.
    pub fn config_byte(&self, at: usize) -> u8 {
        // SAFETY: the device tree says that the device is there.
        unsafe { ((self.base + reg::CONFIG + at) as *const u8).read_volatile() }
    }

    /// Sets up a queue of at most `limit` descriptors.
    pub fn queue(&self, s: &Session, index: u32, limit: u32) -> Result<Queue, Problem> {
        self.write(reg::QUEUE_SEL, index);
        let size = self.read(reg::QUEUE_NUM_MAX).min(limit);
        if size == 0 {
            return Err(Problem::Fail("the device lacks a queue"));
        }
        // One layout for both kinds of registers: the used ring begins at a page.
        let size = 1 << size.ilog2();
        let used = (16 * size as usize + 6 + 2 * size as usize).next_multiple_of(PAGE);
        let bytes = used + (6 + 8 * size as usize).next_multiple_of(PAGE);
        let base = s.slice::<u64>(bytes / 8)?.as_mut_ptr() as usize;
        let queue = Queue {
            notify: self.base + reg::QUEUE_NOTIFY,
            index,
            size: size as u16,
            descriptors: base,
            available: base + 16 * size as usize,
            used: base + used,
            offered: 0,
            taken: 0,
        };
        self.write(reg::QUEUE_NUM, size);
        if self.legacy {
            self.write(reg::QUEUE_ALIGN, PAGE as u32);
            self.write(reg::QUEUE_PFN, (base / PAGE) as u32);
        } else {
            for (register, address) in [
                (reg::QUEUE_DESC, queue.descriptors),
                (reg::QUEUE_DRIVER, queue.available),
                (reg::QUEUE_DEVICE, queue.used),
            ] {
                self.write(register, address as u32);
                self.write(register + 4, (address >> 32) as u32);
            }
            self.write(reg::QUEUE_READY, 1);
        }
        queue.interrupt(false);
        Ok(queue)
    }

    /// The queues are there: the device starts.
    pub fn start(&self) {
        let status = self.read(reg::STATUS);
        self.write(reg::STATUS, status | DRIVER_OK);
    }

    pub fn line(&self) -> Line {
        Line { base: self.base, source: self.source }
    }
}

/// How a device interrupts.
#[derive(Clone, Copy)]
pub struct Line {
    base: usize,
    source: u32,
}

impl Drop for Device {
    fn drop(&mut self) {
        // Its queues and buffers are taken back.
        self.write(reg::STATUS, 0);
    }
}

/// The device whose interrupt is on.
static INTERRUPTING: AtomicUsize = AtomicUsize::new(0);
static SOURCE: AtomicU32 = AtomicU32::new(0);

fn acknowledge(source: u32) {
    if source == SOURCE.load(Ordering::Acquire) {
        let base = INTERRUPTING.load(Ordering::Acquire);
        write_register(base, reg::INTERRUPT_ACK, read_register(base, reg::INTERRUPT_STATUS));
    }
}

fn read_register(base: usize, register: usize) -> u32 {
    // SAFETY: the device tree says that a virtio device is there.
    unsafe { ((base + register) as *const u32).read_volatile() }
}

fn write_register(base: usize, register: usize, value: u32) {
    // SAFETY: as above.
    unsafe { ((base + register) as *mut u32).write_volatile(value) }
}

/// The buffer goes on in the next descriptor; the device writes to it.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;

/// A split queue. The device reads and writes its memory while it is in use.
pub struct Queue {
    notify: usize,
    index: u32,
    pub size: u16,
    descriptors: usize,
    available: usize,
    used: usize,
    /// Heads that were made available, and used ones that were taken back.
    offered: u16,
    taken: u16,
}

/// `flags` of the available ring: no interrupt, please; of the used ring: no notification, please.
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

impl Queue {
    fn half(&self, address: usize) -> *mut u16 {
        address as *mut u16
    }

    /// Whether the device interrupts when it has used a buffer.
    fn interrupt(&self, on: bool) {
        // SAFETY: the queue's memory.
        unsafe { self.half(self.available).write_volatile(if on { 0 } else { NO_INTERRUPT }) };
        barrier();
    }

    /// Describes a buffer.
    pub fn describe(&self, at: u16, address: usize, len: u32, flags: u16, next: u16) {
        let descriptor = self.descriptors + 16 * usize::from(at % self.size);
        // SAFETY: the queue's memory, of which this descriptor is not in use.
        unsafe {
            (descriptor as *mut u64).write_volatile(address as u64);
            ((descriptor + 8) as *mut u32).write_volatile(len);
            self.half(descriptor + 12).write_volatile(flags);
            self.half(descriptor + 14).write_volatile(next);
        }
    }

    /// Gives the buffers that begin with a descriptor to the device, which may not know of it yet.
    pub fn offer(&mut self, head: u16) {
        let slot = self.available + 4 + 2 * usize::from(self.offered % self.size);
        self.offered = self.offered.wrapping_add(1);
        // SAFETY: the queue's memory.
        unsafe {
            self.half(slot).write_volatile(head);
            barrier();
            self.half(self.available + 2).write_volatile(self.offered);
        }
    }

    /// Tells the device, unless it says that it looks by itself.
    pub fn kick(&self) {
        barrier();
        // SAFETY: the queue's memory, and the device's register.
        unsafe {
            if self.half(self.used).read_volatile() & NO_NOTIFY == 0 {
                (self.notify as *mut u32).write_volatile(self.index);
            }
        }
    }

    /// Whether [`Queue::take`] would give something.
    pub fn ready(&self) -> bool {
        // SAFETY: the queue's memory.
        (unsafe { self.half(self.used + 2).read_volatile() }) != self.taken
    }

    /// A head that the device is done with, and how much it wrote.
    pub fn take(&mut self) -> Option<(u16, u32)> {
        if !self.ready() {
            return None;
        }
        barrier();
        let entry = self.used + 4 + 8 * usize::from(self.taken % self.size);
        self.taken = self.taken.wrapping_add(1);
        // SAFETY: the queue's memory.
        unsafe { Some(((entry as *const u32).read_volatile() as u16, ((entry + 4) as *const u32).read_volatile())) }
    }
}

/// How to wait for a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// By looking at the queue all the time.
    Poll,
    /// By sleeping until it interrupts.
    Interrupt,
}

impl Wait {
    /// Runs `f` with the device's interrupt on, if that is what is waited for.
    pub fn with(self, line: Line, f: impl FnOnce() -> Outcome) -> Outcome {
        if self == Self::Poll {
            return f();
        }
        if !irq::available() {
            return Err(Problem::Skip("the machine has no PLIC or APLIC"));
        }
        INTERRUPTING.store(line.base, Ordering::Release);
        SOURCE.store(line.source, Ordering::Release);
        irq::set_handler(Some(acknowledge));
        irq::enable(line.source, true);
        let outcome = f();
        irq::enable(line.source, false);
        irq::set_handler(None);
        outcome
    }

    /// Waits until the device has used a buffer, or for long enough to know that it will not. Says which.
    pub fn until(self, queue: &Queue) -> bool {
        match self {
            Self::Poll => poll(queue),
            // A timer for each wait would be measured, too: an interrupt that does not come is for the host to find out.
            Self::Interrupt => {
                queue.interrupt(true);
                irq::wait_until(|| queue.ready());
                queue.interrupt(false);
                true
            }
        }
    }
}

fn poll(queue: &Queue) -> bool {
    /// Looks at the queue between two at the clock.
    const LOOKS: u32 = 10_000;
    let mut end = 0;
    loop {
        for _ in 0..LOOKS {
            if queue.ready() {
                return true;
            }
            core::hint::spin_loop();
        }
        let now = irq::time();
        if end == 0 {
            end = now + 5 * machine().timebase;
        } else if now > end {
            return false;
        }
    }
}
