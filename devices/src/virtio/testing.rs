//! A driver for tests: negotiates, builds chains in guest memory, kicks, waits.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use super::VirtioMmio;
use super::device::{VirtioDevice, feature};
use crate::{GuestRam, IoEvents, IrqLine, IrqSink, MmioDevice};

pub const RAM_BASE: u64 = 0x8000_0000;
pub const RAM_SIZE: usize = 16 << 20;
/// How long a test waits for what must come; only a failing test ever waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn ram() -> Arc<GuestRam> {
    Arc::new(GuestRam::from_ranges(&[(GuestAddress(RAM_BASE), RAM_SIZE)]).unwrap())
}

/// The interrupt controller's input, watched.
#[derive(Default)]
pub struct Pin {
    pub level: Mutex<bool>,
    changed: Condvar,
    pub edges: AtomicU64,
}

impl IrqSink for Pin {
    fn set_level(&self, _source: u32, level: bool) {
        *self.level.lock().unwrap() = level;
        self.edges.fetch_add(u64::from(level), Ordering::SeqCst);
        self.changed.notify_all();
    }
}

impl Pin {
    pub fn wait_high(&self) {
        let level = self.level.lock().unwrap();
        let (_level, timeout) = self.changed.wait_timeout_while(level, PATIENCE, |l| !*l).unwrap();
        assert!(!timeout.timed_out(), "no interrupt");
    }

    pub fn is_high(&self) -> bool {
        *self.level.lock().unwrap()
    }
}

/// A kernel that runs harts: turns their stores into events where it was told to.
#[derive(Default)]
pub struct Kernel {
    events: Mutex<HashMap<(u64, u32), OwnedFd>>,
    /// Stores that became events.
    pub swallowed: AtomicU64,
    /// Assignments are refused.
    pub full: AtomicBool,
}

impl Kernel {
    /// A hart stores; `false`: the device has to hear of it. Under the lock, as the kernel lets no store be under way
    /// when an assignment ends.
    fn store(&self, offset: u64, value: u32) -> bool {
        let events = self.events.lock().unwrap();
        let Some(event) = events.get(&(offset, value)) else { return false };
        rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
        self.swallowed.fetch_add(1, Ordering::SeqCst);
        true
    }

    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::SeqCst)
    }

    /// Queues whose kicks are events, in order.
    pub fn queues(&self) -> Vec<u32> {
        let mut queues: Vec<_> = self.events.lock().unwrap().keys().map(|(_, queue)| *queue).collect();
        queues.sort_unstable();
        queues
    }
}

impl IoEvents for Kernel {
    fn assign(&self, offset: u64, value: u32, event: BorrowedFd<'_>) -> bool {
        if self.full.load(Ordering::SeqCst) {
            return false;
        }
        let old = self.events.lock().unwrap().insert((offset, value), event.try_clone_to_owned().unwrap());
        assert!(old.is_none(), "assigned twice");
        true
    }

    fn deassign(&self, offset: u64, value: u32, _: BorrowedFd<'_>) {
        let old = self.events.lock().unwrap().remove(&(offset, value));
        assert!(old.is_some(), "ended without a beginning");
    }
}

/// A queue from the driver's side.
#[derive(Clone, Debug)]
pub struct Ring {
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub size: u16,
    pub avail_idx: u16,
    pub used_idx: u16,
    next_desc: u16,
}

/// A buffer of a chain: address, length, device-writable.
pub type Buffer = (u64, u32, bool);

pub struct Driver {
    pub dev: Arc<VirtioMmio>,
    pub mem: Arc<GuestRam>,
    pub pin: Arc<Pin>,
    pub legacy: bool,
    pub rings: Vec<Ring>,
    pub features: u64,
    next_free: u64,
    pub use_indirect: AtomicBool,
    kernel: Option<Arc<Kernel>>,
}

impl Driver {
    /// A device in a slot, nothing negotiated.
    pub fn new(device: Box<dyn VirtioDevice>, legacy: bool) -> Self {
        let (mem, pin) = (ram(), Arc::new(Pin::default()));
        let line = IrqLine::new(Arc::clone(&pin) as Arc<dyn IrqSink>, 1);
        let dev = VirtioMmio::new("virtio-mmio", device, legacy, Arc::clone(&mem), line).unwrap();
        let use_indirect = AtomicBool::new(false);
        let next_free = RAM_BASE + 0x10000;
        let (dev, rings, kernel) = (Arc::new(dev), Vec::new(), None);
        Self { dev, mem, pin, legacy, rings, features: 0, next_free, use_indirect, kernel }
    }

    /// As [`Self::new`], on an engine that turns kicks into events.
    pub fn on_kernel(device: Box<dyn VirtioDevice>, legacy: bool) -> (Self, Arc<Kernel>) {
        let (mut driver, kernel) = (Self::new(device, legacy), Arc::new(Kernel::default()));
        driver.dev.connect(Arc::clone(&kernel) as _);
        driver.kernel = Some(Arc::clone(&kernel));
        (driver, kernel)
    }

    /// A device that has been negotiated with all offered features but those in `without`.
    pub fn ready(device: Box<dyn VirtioDevice>, legacy: bool, queues: u32, without: u64) -> Self {
        let mut driver = Self::new(device, legacy);
        driver.negotiate(queues, without);
        driver
    }

    pub fn r(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.dev.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    pub fn w(&self, offset: u64, value: u32) {
        if !self.kernel.as_ref().is_some_and(|kernel| kernel.store(offset, value)) {
            self.dev.write(offset, &value.to_le_bytes());
        }
    }

    pub fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.dev.read(0x100 + offset, &mut bytes);
        bytes
    }

    /// Pages of guest memory, zeroed.
    pub fn alloc(&mut self, len: usize) -> u64 {
        let at = self.next_free;
        self.next_free += (len as u64).next_multiple_of(4096);
        assert!(self.next_free <= RAM_BASE + RAM_SIZE as u64, "test uses too much guest memory");
        self.mem.write_slice(&vec![0; len], GuestAddress(at)).unwrap();
        at
    }

    /// Resets the device and makes all of memory free again.
    pub fn rewind(&mut self) {
        self.w(0x70, 0);
        self.next_free = RAM_BASE + 0x10000;
    }

    pub fn offered(&self) -> u64 {
        self.w(0x14, 0);
        let low = self.r(0x10);
        self.w(0x14, 1);
        u64::from(self.r(0x10)) << 32 | u64::from(low)
    }

    pub fn negotiate(&mut self, queues: u32, without: u64) {
        self.w(0x70, 0);
        self.w(0x70, 1);
        self.w(0x70, 3);
        self.features = self.offered() & !without;
        assert_eq!(self.features & feature::VERSION_1 != 0, !self.legacy);
        self.w(0x24, 0);
        self.w(0x20, self.features as u32);
        self.w(0x24, 1);
        self.w(0x20, (self.features >> 32) as u32);
        if self.legacy {
            self.w(0x28, 4096);
        } else {
            self.w(0x70, 11);
            assert_eq!(self.r(0x70), 11, "features refused");
        }
        self.rings = (0..queues).map(|q| self.place_ring(q)).collect();
        self.w(0x70, if self.legacy { 7 } else { 15 });
    }

    /// Puts a queue of the largest size into fresh memory.
    pub fn place_ring(&mut self, queue: u32) -> Ring {
        self.w(0x30, queue);
        let size = self.r(0x34) as u16;
        assert!(size.is_power_of_two(), "queue {queue} of size {size}");
        let n = u64::from(size);
        let (avail_len, used_len) = (6 + 2 * n, 6 + 8 * n);
        let gap = (16 * n + avail_len).next_multiple_of(4096);
        let desc = self.alloc((gap + used_len) as usize);
        let (avail, used) = (desc + 16 * n, desc + gap);
        self.w(0x38, size.into());
        if self.legacy {
            self.w(0x3c, 4096);
            self.w(0x40, (desc / 4096) as u32);
        } else {
            for (at, addr) in [(0x80, desc), (0x90, avail), (0xa0, used)] {
                self.w(at, addr as u32);
                self.w(at + 4, (addr >> 32) as u32);
            }
            self.w(0x44, 1);
        }
        Ring { desc, avail, used, size, avail_idx: 0, used_idx: 0, next_desc: 0 }
    }

    pub fn put<T: vm_memory::ByteValued>(&self, addr: u64, value: T) {
        self.mem.write_obj(value, GuestAddress(addr)).unwrap();
    }

    pub fn get<T: vm_memory::ByteValued>(&self, addr: u64) -> T {
        self.mem.read_obj(GuestAddress(addr)).unwrap()
    }

    pub fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.mem.read_slice(&mut data, GuestAddress(addr)).unwrap();
        data
    }

    pub fn write_bytes(&self, addr: u64, data: &[u8]) {
        self.mem.write_slice(data, GuestAddress(addr)).unwrap();
    }

    pub fn put_desc(&self, table: u64, i: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = table + 16 * u64::from(i);
        self.put(at, addr);
        self.put(at + 8, len);
        self.put(at + 12, flags);
        self.put(at + 14, next);
    }

    /// Adds a chain and makes it available without a kick. Returns the head.
    pub fn add(&mut self, queue: usize, buffers: &[Buffer]) -> u16 {
        let indirect = self.use_indirect.load(Ordering::Relaxed).then(|| self.alloc(16 * buffers.len()));
        let ring = &mut self.rings[queue];
        let (size, desc, head) = (ring.size, ring.desc, ring.next_desc);
        let count = if indirect.is_some() { 1 } else { buffers.len() as u16 };
        ring.next_desc = (head + count) % size;
        let (table, first) = indirect.map_or((desc, head), |t| (t, 0));
        for (i, &(addr, len, write)) in buffers.iter().enumerate() {
            let last = i + 1 == buffers.len();
            let wrap = if indirect.is_some() { u16::MAX } else { size };
            let (at, next) = ((first + i as u16) % wrap, (first + i as u16 + 1) % wrap);
            self.put_desc(table, at, addr, len, u16::from(!last) | u16::from(write) << 1, if last { 0 } else { next });
        }
        if let Some(table) = indirect {
            self.put_desc(desc, head, table, 16 * buffers.len() as u32, 4, 0);
        }
        self.make_available(queue, head);
        head
    }

    pub fn make_available(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let slot = ring.avail + 4 + 2 * u64::from(ring.avail_idx % ring.size);
        ring.avail_idx = ring.avail_idx.wrapping_add(1);
        let (avail, idx) = (ring.avail, ring.avail_idx);
        self.put(slot, head);
        self.mem.store(idx, GuestAddress(avail + 2), Ordering::Release).unwrap();
    }

    pub fn kick(&self, queue: usize) {
        self.w(0x50, queue as u32);
    }

    pub fn submit(&mut self, queue: usize, buffers: &[Buffer]) -> u16 {
        let head = self.add(queue, buffers);
        self.kick(queue);
        head
    }

    /// The next used entry if it is there: head and length.
    pub fn poll_used(&mut self, queue: usize) -> Option<(u16, u32)> {
        let ring = &mut self.rings[queue];
        let idx: u16 = self.mem.load(GuestAddress(ring.used + 2), Ordering::Acquire).unwrap();
        if idx == ring.used_idx {
            return None;
        }
        let at = ring.used + 4 + 8 * u64::from(ring.used_idx % ring.size);
        ring.used_idx = ring.used_idx.wrapping_add(1);
        // Ask for an interrupt at the next one.
        let (event, want) = (ring.avail + 4 + 2 * u64::from(ring.size), ring.used_idx);
        self.put(event, want);
        Some((self.get::<u32>(at) as u16, self.get(at + 4)))
    }

    pub fn wait_used(&mut self, queue: usize) -> (u16, u32) {
        let start = Instant::now();
        loop {
            if let Some(used) = self.poll_used(queue) {
                return used;
            }
            assert!(start.elapsed() < PATIENCE, "no answer on queue {queue}");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Waits for the device to ask for a reset.
    pub fn wait_needs_reset(&self) {
        let start = Instant::now();
        while self.r(0x70) & 0x40 == 0 {
            assert!(start.elapsed() < PATIENCE, "the device did not give up");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    pub fn wait(&self, what: &str, mut until: impl FnMut() -> bool) {
        let start = Instant::now();
        while !until() {
            assert!(start.elapsed() < PATIENCE, "never happened: {what}");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
