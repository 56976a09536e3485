//! From a descriptor chain to an operation on the image (virtio 1.3, 5.2.6).

use std::io;

use super::config::{MAX_RANGE_SECTORS, SERIAL_LEN};
use crate::backend::block::{GuestBuffers, Op, SECTOR};
use crate::virtio::queue::{Chain, QueueFault, VirtQueue};

/// Request types.
mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// The status byte of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// Bytes of the header: type, reserved, sector.
pub const HEADER: usize = 16;
/// Bytes of a range in a discard or write-zeroes request: sector, sectors, flags.
const RANGE: usize = 16;
/// The flag of a write-zeroes range that lets the host drop the storage.
const UNMAP: u32 = 1;

/// What to do about a chain.
pub enum Action {
    /// Ask the image: operation, byte offset, data.
    Submit(Op, u64, GuestBuffers),
    /// Answer now, with this many bytes written besides the status.
    Answer(Status, usize),
}

/// What requests are checked against.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes.
    pub capacity: u64,
    pub block: u64,
    pub read_only: bool,
    pub serial: [u8; SERIAL_LEN],
}

impl Limits {
    /// The byte offset of a range inside the disk.
    fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR)?;
        let end = offset.checked_add(len)?;
        let whole = offset.is_multiple_of(self.block) && len.is_multiple_of(self.block);
        (whole && end <= self.capacity).then_some(offset)
    }
}

/// Decodes a request. An error is a chain that has no place for an answer.
pub fn decode(chain: &Chain, queue: &VirtQueue, limits: &Limits, durable: bool) -> Result<Action, QueueFault> {
    let mut reader = chain.reader(queue.mem());
    let mut header = [0; HEADER];
    if reader.read(&mut header) < HEADER {
        return Err(QueueFault::BadRequest(chain.head(), "a header"));
    }
    let Some(room) = chain.write_len().checked_sub(1) else {
        return Err(QueueFault::BadRequest(chain.head(), "a status byte"));
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let sector = u64::from(word(12)) << 32 | u64::from(word(8));
    let failed = Ok(Action::Answer(Status::IoError, 0));
    Ok(match word(0) {
        kind::IN => {
            let Some(offset) = limits.place(sector, room as u64) else { return failed };
            let data = buffers(queue, &chain.writer(queue.mem()).rest(room));
            submit(Op::Read, offset, data)
        }
        kind::OUT => {
            let len = chain.read_len() - HEADER;
            let Some(offset) = limits.place(sector, len as u64) else { return failed };
            if limits.read_only {
                return failed;
            }
            submit(Op::Write { durable }, offset, buffers(queue, &reader.rest(len)))
        }
        kind::FLUSH => Action::Submit(Op::Flush, 0, GuestBuffers::default()),
        kind::GET_ID => {
            let written = chain.writer(queue.mem()).write(&limits.serial[..room.min(SERIAL_LEN)]);
            Action::Answer(Status::Ok, written)
        }
        kind::DISCARD | kind::WRITE_ZEROES => {
            // One range only, as the configuration space says.
            if chain.read_len() - HEADER != RANGE {
                return Ok(Action::Answer(Status::Unsupported, 0));
            }
            let mut range = [0; RANGE];
            reader.read(&mut range);
            decode_range(word(0) == kind::DISCARD, &range, limits, durable)
        }
        _ => Action::Answer(Status::Unsupported, 0),
    })
}

fn decode_range(discard: bool, range: &[u8; RANGE], limits: &Limits, durable: bool) -> Action {
    let word = |at: usize| u32::from_le_bytes([range[at], range[at + 1], range[at + 2], range[at + 3]]);
    let (sector, sectors, flags) = (u64::from(word(4)) << 32 | u64::from(word(0)), word(8), word(12));
    if flags & !(if discard { 0 } else { UNMAP }) != 0 {
        return Action::Answer(Status::Unsupported, 0);
    }
    let len = u64::from(sectors) * SECTOR;
    let Some(offset) = limits.place(sector, len).filter(|_| sectors <= MAX_RANGE_SECTORS && !limits.read_only) else {
        return Action::Answer(Status::IoError, 0);
    };
    if len == 0 {
        return Action::Answer(Status::Ok, 0);
    }
    let op = if discard { Op::Discard { len } } else { Op::WriteZeroes { len, unmap: flags & UNMAP != 0, durable } };
    Action::Submit(op, offset, GuestBuffers::default())
}

fn buffers(queue: &VirtQueue, segments: &[crate::virtio::queue::Segment]) -> io::Result<GuestBuffers> {
    GuestBuffers::new(queue.mem(), segments.iter().map(|s| (s.addr, s.len)))
}

fn submit(op: Op, offset: u64, data: io::Result<GuestBuffers>) -> Action {
    match data {
        Ok(data) if data.is_empty() => Action::Answer(Status::Ok, 0),
        Ok(data) => Action::Submit(op, offset, data),
        Err(_) => Action::Answer(Status::IoError, 0),
    }
}
