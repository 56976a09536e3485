//! A split virtqueue as devices use it: whole request chains out, lengths back, one notification a batch.
//!
//! A thin layer over `virtio_queue::Queue`, which walks rings and descriptors. Added here: a chain is checked as a
//! whole before a device sees it (virtio 1.3, 2.7), and whatever a broken or hostile driver does ends in one place:
//! the queue stops for good and the driver is told that the device needs a reset (2.1.2). Memory in use is bounded
//! by the queue's size and [`MAX_SEGMENTS`].

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, ByteValued, Bytes, GuestAddress, GuestMemory, Permissions};

use super::device::DeviceEvents;
use crate::GuestRam;

/// Most buffers in one chain. The host's vectored calls take no more (`IOV_MAX`).
pub const MAX_SEGMENTS: usize = 1024;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (virtio 1.3, 2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;

/// Why a queue cannot go on. Always the driver's doing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueueFault {
    #[error("the queue's size or an address is not valid")]
    BadRing,
    #[error("the available ring cannot be read or its index ran away")]
    BadAvailable,
    #[error("descriptor chain {0} is empty, endless or leaves its table")]
    BadChain(u16),
    #[error("descriptor chain {0} has a buffer outside RAM")]
    OutsideRam(u16),
    #[error("descriptor chain {0} has a device-readable buffer after a writable one")]
    BadOrder(u16),
    #[error("descriptor chain {0} has more than {MAX_SEGMENTS} buffers")]
    TooLong(u16),
    #[error("more chains made available than the queue holds")]
    TooMany,
    #[error("the used ring cannot be written")]
    BadUsed,
    #[error("request in chain {0} lacks {1}")]
    BadRequest(u16, &'static str),
}

/// Where a queue is in memory and how far it has got: what a driver programs, and all a snapshot needs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLayout {
    /// Entries; a power of two, at most the device's maximum.
    pub size: u16,
    /// Guest physical addresses of descriptor table, available ring and used ring.
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    /// Ring indices; 0 in a fresh queue.
    pub next_avail: u16,
    pub next_used: u16,
}

/// A buffer inside guest RAM. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub addr: GuestAddress,
    pub len: u32,
}

/// One request: buffers the device reads, then buffers it writes. Checked to be inside RAM.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of `segments` are device-readable.
    readable: usize,
    read_len: u32,
    write_len: u32,
}

impl Chain {
    /// Index that names the chain in the rings.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that the device may read.
    pub fn read_len(&self) -> usize {
        self.read_len as usize
    }

    /// Bytes that the device may write.
    pub fn write_len(&self) -> usize {
        self.write_len as usize
    }

    pub fn readable(&self) -> &[Segment] {
        &self.segments[..self.readable]
    }

    pub fn writable(&self) -> &[Segment] {
        &self.segments[self.readable..]
    }

    /// A cursor over what the driver wrote.
    pub fn reader<'a>(&'a self, mem: &'a GuestRam) -> Reader<'a> {
        Reader(Cursor { mem, segments: self.readable(), offset: 0 })
    }

    /// A cursor over the room for the answer.
    pub fn writer<'a>(&'a self, mem: &'a GuestRam) -> Writer<'a> {
        Writer(Cursor { mem, segments: self.writable(), offset: 0 })
    }

    /// Writes a byte at the very end of the writable part (block requests keep their status there).
    /// `false` if there is no writable byte.
    pub fn write_last_byte(&self, mem: &GuestRam, value: u8) -> bool {
        let Some(last) = self.writable().last() else { return false };
        copy_in(mem, last.addr.unchecked_add(u64::from(last.len) - 1), &[value])
    }
}

/// A chain as plain numbers: for a request that outlives the queue's worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChain {
    head: u16,
    /// Guest physical address and bytes of each buffer.
    segments: Vec<(u64, u32)>,
    /// How many of them are device-readable.
    readable: usize,
}

/// Copies from guest RAM; the general way, which may cross regions, takes several times as long.
fn copy_out(mem: &GuestRam, addr: GuestAddress, to: &mut [u8]) -> bool {
    match vm_memory::GuestMemoryBackend::get_slice(mem, addr, to.len()) {
        Ok(slice) => slice.read_slice(to, 0).is_ok(),
        Err(_) => mem.read_slice(to, addr).is_ok(),
    }
}

/// The other way round.
fn copy_in(mem: &GuestRam, addr: GuestAddress, from: &[u8]) -> bool {
    match vm_memory::GuestMemoryBackend::get_slice(mem, addr, from.len()) {
        Ok(slice) => slice.write_slice(from, 0).is_ok(),
        Err(_) => mem.write_slice(from, addr).is_ok(),
    }
}

struct Cursor<'a> {
    mem: &'a GuestRam,
    segments: &'a [Segment],
    /// Bytes of the first segment already passed.
    offset: u32,
}

impl Cursor<'_> {
    fn remaining(&self) -> usize {
        self.segments.iter().map(|s| s.len as usize).sum::<usize>() - self.offset as usize
    }

    /// The next stretch of at most `max` bytes, and steps over it.
    fn take(&mut self, max: usize) -> Option<(GuestAddress, usize)> {
        let first = self.segments.first()?;
        let addr = first.addr.unchecked_add(u64::from(self.offset));
        let len = max.min((first.len - self.offset) as usize);
        self.offset += len as u32;
        if self.offset == first.len {
            self.segments = &self.segments[1..];
            self.offset = 0;
        }
        Some((addr, len))
    }

    fn skip(&mut self, mut count: usize) {
        while count > 0
            && let Some((_, len)) = self.take(count)
        {
            count -= len;
        }
    }

    /// What lies ahead, at most `max` bytes of it.
    fn rest(&self, max: usize) -> Vec<Segment> {
        let mut out = Vec::with_capacity(self.segments.len());
        let mut ahead = Cursor { mem: self.mem, segments: self.segments, offset: self.offset };
        let mut left = max;
        while left > 0
            && let Some((addr, len)) = ahead.take(left)
        {
            out.push(Segment { addr, len: len as u32 });
            left -= len;
        }
        out
    }
}

/// Reads a chain's device-readable bytes in order.
pub struct Reader<'a>(Cursor<'a>);

impl Reader<'_> {
    pub fn remaining(&self) -> usize {
        self.0.remaining()
    }

    /// Fills the front of `buf` with what is left; returns how much that was.
    pub fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len()
            && let Some((addr, len)) = self.0.take(buf.len() - done)
        {
            if !copy_out(self.0.mem, addr, &mut buf[done..done + len]) {
                break;
            }
            done += len;
        }
        done
    }

    /// A value in little-endian layout; `None` if the chain is too short.
    pub fn read_obj<T: ByteValued + Default>(&mut self) -> Option<T> {
        let mut value = T::default();
        let bytes = value.as_mut_slice();
        (self.read(bytes) == bytes.len()).then_some(value)
    }

    pub fn skip(&mut self, count: usize) {
        self.0.skip(count);
    }

    /// The buffers ahead, at most `max` bytes of them.
    pub fn rest(&self, max: usize) -> Vec<Segment> {
        self.0.rest(max)
    }
}

/// Writes a chain's device-writable bytes in order.
pub struct Writer<'a>(Cursor<'a>);

impl Writer<'_> {
    pub fn remaining(&self) -> usize {
        self.0.remaining()
    }

    /// Writes as much of `data` as there is room for; returns how much that was.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len()
            && let Some((addr, len)) = self.0.take(data.len() - done)
        {
            if !copy_in(self.0.mem, addr, &data[done..done + len]) {
                break;
            }
            done += len;
        }
        done
    }

    pub fn skip(&mut self, count: usize) {
        self.0.skip(count);
    }

    /// The buffers ahead, at most `max` bytes of them.
    pub fn rest(&self, max: usize) -> Vec<Segment> {
        self.0.rest(max)
    }
}

/// A queue that a driver has set up and a worker serves. One thread owns it.
pub struct VirtQueue {
    queue: Queue,
    mem: Arc<GuestRam>,
    index: u16,
    events: Arc<dyn DeviceEvents>,
    /// Chains popped and not yet pushed.
    in_flight: u16,
    event_idx: bool,
    /// Used index when the driver's wish for interrupts was last looked at.
    announced: u16,
    broken: bool,
    /// Chains to reuse, so that a request costs no allocation.
    spare: Vec<Chain>,
}

impl VirtQueue {
    /// Checks what the driver programmed and makes the queue ready.
    pub fn new(
        index: u16,
        layout: &QueueLayout,
        max_size: u16,
        event_idx: bool,
        mem: Arc<GuestRam>,
        events: Arc<dyn DeviceEvents>,
    ) -> Result<Self, QueueFault> {
        let mut queue = Queue::new(max_size).map_err(|_| QueueFault::BadRing)?;
        let placed = queue
            .try_set_size(layout.size)
            .and_then(|()| queue.try_set_desc_table_address(GuestAddress(layout.desc)))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(layout.avail)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(layout.used)));
        placed.map_err(|_| QueueFault::BadRing)?;
        queue.set_event_idx(event_idx);
        queue.set_next_avail(layout.next_avail);
        queue.set_next_used(layout.next_used);
        queue.set_ready(true);
        if layout.avail == 0 || !queue.is_valid(&*mem) {
            return Err(QueueFault::BadRing);
        }
        let (announced, spare) = (layout.next_used, Vec::new());
        Ok(Self { queue, mem, index, events, in_flight: 0, event_idx, announced, broken: false, spare })
    }

    /// Number of the queue in its device.
    pub fn index(&self) -> u16 {
        self.index
    }

    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    pub fn mem(&self) -> &Arc<GuestRam> {
        &self.mem
    }

    /// Where the queue is and how far it has got. Whole only while no chain is in flight.
    pub fn layout(&self) -> QueueLayout {
        QueueLayout {
            size: self.queue.size(),
            desc: self.queue.desc_table(),
            avail: self.queue.avail_ring(),
            used: self.queue.used_ring(),
            next_avail: self.queue.next_avail(),
            next_used: self.queue.next_used(),
        }
    }

    /// Chains popped and not yet given back.
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// The next request, or `None` if there is none or the queue is broken.
    pub fn pop(&mut self) -> Option<Chain> {
        if self.broken {
            return None;
        }
        match self.try_pop() {
            Ok(chain) => chain,
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    fn try_pop(&mut self) -> Result<Option<Chain>, QueueFault> {
        let next = self.queue.next_avail();
        let mut available = self.queue.iter(&*self.mem).map_err(|_| QueueFault::BadAvailable)?;
        let Some(descriptors) = available.next() else {
            // The iterator ends also where the ring cannot be read.
            return match self.queue.avail_idx(&*self.mem, Ordering::Acquire) {
                Ok(_) => Ok(None),
                Err(_) => Err(QueueFault::BadAvailable),
            };
        };
        if self.in_flight >= self.queue.size() {
            self.queue.set_next_avail(next);
            return Err(QueueFault::TooMany);
        }
        let head = descriptors.head_index();
        let mut chain = self.spare.pop().unwrap_or_default();
        chain.segments.clear();
        (chain.head, chain.readable, chain.read_len, chain.write_len) = (head, 0, 0, 0);
        let mut complete = false;
        for d in descriptors {
            complete = !d.has_next();
            if d.len() == 0 {
                continue;
            }
            if chain.segments.len() == MAX_SEGMENTS {
                return Err(QueueFault::TooLong(head));
            }
            if !self.mem.check_range(d.addr(), d.len() as usize, Permissions::ReadWrite) {
                return Err(QueueFault::OutsideRam(head));
            }
            // The sums cannot wrap: the walk ends before a chain reaches 4 GiB.
            if d.is_write_only() {
                chain.write_len += d.len();
            } else if chain.readable < chain.segments.len() {
                return Err(QueueFault::BadOrder(head));
            } else {
                chain.readable += 1;
                chain.read_len += d.len();
            }
            chain.segments.push(Segment { addr: d.addr(), len: d.len() });
        }
        // A walk that met a loop, a bad index or a bad table ends on a descriptor with a successor, or on none.
        if !complete {
            return Err(QueueFault::BadChain(head));
        }
        self.in_flight += 1;
        Ok(Some(chain))
    }

    /// Puts the chain popped last back, to be popped again. Chains popped since must have been put back before.
    pub fn unpop(&mut self, chain: Chain) {
        self.queue.go_to_previous_position();
        self.in_flight -= 1;
        self.spare.push(chain);
    }

    /// Puts a chain away that is not answered yet, until [`Self::take_back`], perhaps of another queue in its place.
    pub fn set_aside(&mut self, chain: Chain) -> SavedChain {
        let segments = chain.segments.iter().map(|s| (s.addr.raw_value(), s.len)).collect();
        let saved = SavedChain { head: chain.head, segments, readable: chain.readable };
        self.in_flight -= 1;
        self.spare.push(chain);
        saved
    }

    /// Goes on with a chain that was put away. It may come from a file: one that is none breaks the queue.
    pub fn take_back(&mut self, saved: &SavedChain) -> Option<Chain> {
        if self.broken {
            return None;
        }
        match self.try_take_back(saved) {
            Ok(chain) => Some(chain),
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    fn try_take_back(&mut self, saved: &SavedChain) -> Result<Chain, QueueFault> {
        let SavedChain { head, ref segments, readable } = *saved;
        if self.in_flight >= self.queue.size() {
            return Err(QueueFault::TooMany);
        }
        if head >= self.queue.size() || readable > segments.len() {
            return Err(QueueFault::BadChain(head));
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(QueueFault::TooLong(head));
        }
        let mut chain = Chain { head, readable, ..self.spare.pop().unwrap_or_default() };
        chain.segments.clear();
        (chain.read_len, chain.write_len) = (0, 0);
        for (i, &(addr, len)) in segments.iter().enumerate() {
            let addr = GuestAddress(addr);
            if len == 0 || !self.mem.check_range(addr, len as usize, Permissions::ReadWrite) {
                return Err(QueueFault::OutsideRam(head));
            }
            let sum = if i < readable { &mut chain.read_len } else { &mut chain.write_len };
            *sum = sum.checked_add(len).ok_or(QueueFault::BadChain(head))?;
            chain.segments.push(Segment { addr, len });
        }
        self.in_flight += 1;
        Ok(chain)
    }

    /// Gives a chain back with the number of bytes written to it. The driver hears of it at [`Self::announce`].
    pub fn push(&mut self, chain: Chain, written: u32) {
        self.in_flight -= 1;
        if !self.broken && self.queue.add_used(&*self.mem, chain.head, written).is_err() {
            self.fail(QueueFault::BadUsed);
        }
        self.spare.push(chain);
    }

    /// Gives several chains back in one step: the driver sees all of them or none.
    pub fn push_together(&mut self, chains: &mut Vec<(Chain, u32)>) {
        // All but the last go into the ring behind its index; giving back the last moves the index over all of them.
        let Some((last, written)) = chains.pop() else { return };
        for (chain, written) in chains.drain(..) {
            let next = self.queue.next_used();
            let slot = self.queue.used_ring() + 4 + 8 * u64::from(next % self.queue.size());
            let entry = u64::from(chain.head) | u64::from(written) << 32;
            if !self.broken && self.mem.write_obj(entry.to_le(), GuestAddress(slot)).is_err() {
                self.fail(QueueFault::BadUsed);
            }
            self.queue.set_next_used(next.wrapping_add(1));
            self.in_flight -= 1;
            self.spare.push(chain);
        }
        self.push(last, written);
    }

    /// Interrupts the driver if chains were given back and it wants to know. Once after a batch.
    pub fn announce(&mut self) {
        let used = self.queue.next_used();
        if used != self.announced && !self.broken {
            let old = std::mem::replace(&mut self.announced, used);
            if self.wants_interrupt(old, used) {
                self.events.used(self.index);
            }
        }
    }

    /// The driver's wish (virtio 1.3, 2.7.7): by event index if that was negotiated, else by flag.
    fn wants_interrupt(&self, old: u16, new: u16) -> bool {
        // The used index must be out before we look whether the driver waits for it.
        fence(Ordering::SeqCst);
        let avail = self.queue.avail_ring();
        let word = |at: u64| self.mem.load::<u16>(GuestAddress(at), Ordering::Relaxed).map(u16::from_le);
        if self.event_idx {
            let event = word(avail + 4 + 2 * u64::from(self.queue.size()));
            return event.is_ok_and(|e| new.wrapping_sub(e).wrapping_sub(1) < new.wrapping_sub(old));
        }
        word(avail).is_ok_and(|flags| flags & AVAIL_NO_INTERRUPT == 0)
    }

    /// Asks the driver for kicks. `true`: requests came in meanwhile and a kick may never come, so look again.
    pub fn enable_kicks(&mut self) -> bool {
        if self.broken {
            return false;
        }
        match self.queue.enable_notification(&*self.mem) {
            Ok(more) => more,
            Err(_) => {
                self.fail(QueueFault::BadUsed);
                false
            }
        }
    }

    /// Tells the driver that kicks are not needed now. A hint only.
    pub fn disable_kicks(&mut self) {
        if !self.broken && self.queue.disable_notification(&*self.mem).is_err() {
            self.fail(QueueFault::BadUsed);
        }
    }

    /// Gives up on the queue: the driver broke a rule that nothing can be answered to.
    pub fn fail(&mut self, fault: QueueFault) {
        if !self.broken {
            self.broken = true;
            tracing::debug!(queue = self.index, %fault, "virtqueue stopped, device needs reset");
            self.events.needs_reset();
        }
    }

    /// Whether the queue has stopped for good.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}
