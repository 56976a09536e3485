//! The disk. Only its first megabytes are read, and nothing is written unless its first sector says that it was made
//! for this.

use super::virtio::{BLOCK, Device, NEXT, Queue, WRITE, Wait};
use crate::session::{Check, Outcome, Problem, Session};

/// What the first sector of a disk begins with that may be written.
const MAGIC: &[u8; 15] = b"VIREOBENCHDISK1";

const SECTOR: usize = 512;
/// What is read and written of a disk, at most; the first block of it is only read.
const REGION: usize = 16 << 20;
const SMALL: usize = 4 << 10;
const LARGE: usize = 256 << 10;
/// Requests under way, at most: each takes three descriptors.
const DEPTH_MAX: usize = 32;

/// The feature of a cache that is written back when it is told to: without it, each write would wait for the medium.
const FLUSH: u32 = 1 << 9;

const READ: u32 = 0;
const WRITE_OUT: u32 = 1;

/// A request: its header, and behind it the byte for the device's answer.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    kind: u32,
    reserved: u32,
    sector: u64,
    status: u64,
}

const NOT_ANSWERED: u64 = 0xff;

struct Disk {
    queue: Queue,
    requests: *mut Request,
    /// Bytes of the disk that are used.
    region: usize,
    device: Device,
}

impl Disk {
    fn open(s: &Session) -> Result<Self, Problem> {
        let device = Device::find(BLOCK, FLUSH, "no virtio-blk device on virtio-mmio")?;
        let capacity = (0..8).rev().fold(0u64, |n, at| n << 8 | u64::from(device.config_byte(at)));
        let region = capacity.saturating_mul(SECTOR as u64).min(REGION as u64) as usize & !(LARGE - 1);
        if region < 2 * LARGE {
            return Err(Problem::Skip("the disk is smaller than 512 KiB"));
        }
        let queue = device.queue(s, 0, 128)?;
        if usize::from(queue.size) < 3 * DEPTH_MAX {
            return Err(Problem::Fail("the disk's queue is too short for 32 requests"));
        }
        let requests = s.slice::<Request>(DEPTH_MAX)?.as_mut_ptr();
        device.start();
        Ok(Self { queue, requests, region, device })
    }

    /// Gives a request to the device, without a word to it.
    fn submit(&mut self, slot: usize, kind: u32, place: usize, memory: usize, len: usize) {
        let request = self.requests.wrapping_add(slot);
        let sector = (place / SECTOR) as u64;
        // SAFETY: the slot is not in use.
        unsafe { request.write_volatile(Request { kind, reserved: 0, sector, status: NOT_ANSWERED }) };
        let head = 3 * slot as u16;
        let direction = if kind == READ { WRITE } else { 0 };
        self.queue.describe(head, request as usize, 16, NEXT, head + 1);
        self.queue.describe(head + 1, memory, len as u32, NEXT | direction, head + 2);
        self.queue.describe(head + 2, request as usize + 16, 1, WRITE, 0);
        self.queue.offer(head);
    }

    /// A slot whose request is done, and whether the device says that all went well.
    fn complete(&mut self) -> Option<(usize, bool)> {
        let (head, _) = self.queue.take()?;
        let slot = usize::from(head) / 3 % DEPTH_MAX;
        // SAFETY: the device has given it back.
        let status = unsafe { (*self.requests.wrapping_add(slot)).status };
        Some((slot, status == 0))
    }

    /// One transfer outside of the measurement.
    fn transfer(&mut self, kind: u32, place: usize, memory: usize, len: usize) -> Outcome {
        self.submit(0, kind, place, memory, len);
        self.queue.kick();
        if !Wait::Poll.until(&self.queue) {
            return Err(Problem::Fail("the disk does not answer"));
        }
        match self.complete() {
            Some((_, true)) => Ok(()),
            _ => Err(Problem::Fail("the disk answers with an error")),
        }
    }
}

/// How requests are made.
struct Plan {
    kind: u32,
    len: usize,
    depth: usize,
    wait: Wait,
}

/// Words of a transfer that are compared: its first, its last, and one between.
fn probe(memory: usize, len: usize) -> [u64; 3] {
    // SAFETY: a buffer of ours of that length; the device may have written it.
    [0, len / 16 * 8, len - 8].map(|at| unsafe { ((memory + at) as *const u64).read_volatile() })
}

/// What a place of a disk of ours holds: nowhere else the same.
fn stamp(memory: usize, len: usize, place: usize) {
    for at in (0..len).step_by(8) {
        let word = ((place + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: as above.
        unsafe { ((memory + at) as *mut u64).write_volatile(word) };
    }
}

/// Some requests, and what is known of the disk.
struct Work<'a> {
    disk: Disk,
    plan: &'a Plan,
    /// What the region of the disk holds, in memory.
    copy: usize,
    /// Where requests read to, one beside the other.
    buffers: usize,
    /// Where the request of each slot is on the disk.
    places: [usize; DEPTH_MAX],
    /// Requests so far.
    count: usize,
}

/// What was written is read back for so many of the last requests of a round.
const READ_BACK: usize = 4;

impl Work<'_> {
    /// A place for a request: all of them in turn, in no order. None of the first 256 KiB, which say whose disk it is.
    fn place(&self, count: usize) -> usize {
        let blocks = 1 << ((self.disk.region - LARGE) / self.plan.len).ilog2();
        LARGE + count.wrapping_mul(0x9e37_79b1) % blocks * self.plan.len
    }

    fn submit(&mut self, slot: usize) {
        let Plan { kind, len, .. } = *self.plan;
        let place = self.place(self.count);
        self.places[slot] = place;
        let memory = if kind == READ {
            self.buffers + slot * len
        } else {
            // Another word each time, so that a write that is lost shows.
            // SAFETY: a word of the copy, which no request uses.
            unsafe { ((self.copy + place) as *mut u64).write_volatile(self.count as u64) };
            self.copy + place
        };
        self.count += 1;
        self.disk.submit(slot, kind, place, memory, len);
    }

    /// The request of a slot has brought what it should.
    fn is_right(&self, slot: usize) -> bool {
        let Plan { kind, len, .. } = *self.plan;
        kind == WRITE_OUT || probe(self.buffers + slot * len, len) == probe(self.copy + self.places[slot], len)
    }

    /// `k` requests, some under way at a time. The check counts those that went well.
    fn round(&mut self, k: u64) -> Check {
        let (mut submitted, mut done, mut good) = (0, 0, 0);
        while submitted < k.min(self.plan.depth as u64) {
            self.submit(submitted as usize);
            submitted += 1;
        }
        self.disk.queue.kick();
        while done < k && self.plan.wait.until(&self.disk.queue) {
            let before = submitted;
            while let Some((slot, well)) = self.disk.complete() {
                done += 1;
                good += u64::from(well && self.is_right(slot));
                if submitted < k {
                    self.submit(slot);
                    submitted += 1;
                }
            }
            if submitted != before {
                self.disk.queue.kick();
            }
        }
        if self.plan.kind == WRITE_OUT && done == k {
            good -= (1..=READ_BACK.min(k as usize)).filter(|back| !self.was_written(self.count - back)).count() as u64;
        }
        Check::new(good, k)
    }

    fn was_written(&mut self, count: usize) -> bool {
        let (place, len) = (self.place(count), self.plan.len);
        let read = self.disk.transfer(READ, place, self.buffers, len);
        read.is_ok() && probe(self.buffers, len) == probe(self.copy + place, len)
    }
}

fn requests(s: &Session, plan: &Plan) -> Outcome {
    let mut disk = Disk::open(s)?;
    let copy = s.memory(disk.region)?;
    disk.transfer(READ, 0, copy, LARGE)?;
    // SAFETY: the first bytes of our own buffer.
    let ours = unsafe { (copy as *const [u8; 15]).read_volatile() } == *MAGIC;
    if plan.kind == WRITE_OUT && !ours {
        return Err(Problem::Skip("the disk was not made for this: its first sector does not say so"));
    }
    // What is read later is compared with what is read now.
    for place in (LARGE..disk.region).step_by(LARGE) {
        if ours {
            stamp(copy + place, LARGE, place);
            disk.transfer(WRITE_OUT, place, copy + place, LARGE)?;
        } else {
            disk.transfer(READ, place, copy + place, LARGE)?;
        }
    }
    let buffers = s.memory(plan.depth * plan.len)?;
    let line = disk.device.line();
    let mut work = Work { disk, plan, copy, buffers, places: [0; DEPTH_MAX], count: 0 };
    let per = if plan.len == SMALL { 1 } else { plan.len as u64 };
    plan.wait.with(line, || s.measure(per, &mut |k| work.round(k)))
}

const READ_ONE: Plan = Plan { kind: READ, len: SMALL, depth: 1, wait: Wait::Interrupt };
const READ_DEEP: Plan = Plan { depth: DEPTH_MAX, ..READ_ONE };
const READ_LARGE: Plan = Plan { len: LARGE, depth: 4, ..READ_ONE };

pub fn read_one(s: &Session) -> Outcome {
    requests(s, &READ_ONE)
}

pub fn read_one_poll(s: &Session) -> Outcome {
    requests(s, &Plan { wait: Wait::Poll, ..READ_ONE })
}

pub fn read_deep(s: &Session) -> Outcome {
    requests(s, &READ_DEEP)
}

pub fn read_large(s: &Session) -> Outcome {
    requests(s, &READ_LARGE)
}

pub fn write_one(s: &Session) -> Outcome {
    requests(s, &Plan { kind: WRITE_OUT, ..READ_ONE })
}

pub fn write_deep(s: &Session) -> Outcome {
    requests(s, &Plan { kind: WRITE_OUT, ..READ_DEEP })
}

pub fn write_large(s: &Session) -> Outcome {
    requests(s, &Plan { kind: WRITE_OUT, ..READ_LARGE })
}
