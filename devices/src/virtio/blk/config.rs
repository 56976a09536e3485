//! What a disk is made of, and its configuration space (virtio 1.3, 5.2.4).

use super::errors::ErrorPolicy;
use crate::backend::block::SECTOR;

/// Bytes of a disk's serial number.
pub const SERIAL_LEN: usize = 20;
/// Sectors in one discard or write-zeroes request: what a byte count of 31 bits holds.
pub const MAX_RANGE_SECTORS: u32 = i32::MAX as u32 / SECTOR as u32;

/// A disk's properties. The defaults are those of a plain `-device virtio-blk-device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkConfig {
    /// Answer to GET_ID; at most 20 bytes.
    pub serial: String,
    pub read_only: bool,
    /// 1 to 64.
    pub queues: u16,
    /// A power of two from 4 to 1024.
    pub queue_size: u16,
    /// Unit of addressing in bytes, a power of two from 512 to 2 MiB.
    pub logical_block_size: u32,
    /// A power of two, not below the logical one.
    pub physical_block_size: u32,
    /// Hints in bytes, 0 for none, multiples of the logical block size.
    pub min_io_size: u32,
    pub opt_io_size: u32,
    /// Whether the disk starts with its write cache on, and whether the driver may switch it.
    pub write_cache: bool,
    pub config_wce: bool,
    pub discard: bool,
    pub write_zeroes: bool,
    pub on_error: ErrorPolicy,
}

impl Default for BlkConfig {
    fn default() -> Self {
        Self {
            serial: String::new(),
            read_only: false,
            queues: 1,
            queue_size: 256,
            logical_block_size: 512,
            physical_block_size: 512,
            min_io_size: 0,
            opt_io_size: 0,
            write_cache: true,
            config_wce: true,
            discard: true,
            write_zeroes: true,
            on_error: ErrorPolicy::default(),
        }
    }
}

/// A property that a disk cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlkConfigError {
    #[error("serial '{0}' is longer than {SERIAL_LEN} bytes")]
    Serial(String),
    #[error("num-queues={0} is not from 1 to 64")]
    Queues(u16),
    #[error("queue-size={0} is not a power of two from 4 to 1024")]
    QueueSize(u16),
    #[error("logical_block_size={0} is not a power of two from 512 to 2097152")]
    Logical(u32),
    #[error("physical_block_size={0} is not a power of two from the logical block size to 2097152")]
    Physical(u32),
    #[error("{0}={1} is not a multiple of the logical block size")]
    IoSize(&'static str, u32),
    #[error("min_io_size={0} is more than 65535 logical blocks")]
    MinIo(u32),
}

impl BlkConfig {
    pub(super) fn check(&self) -> Result<(), BlkConfigError> {
        let power = |v: u32, low: u32| v.is_power_of_two() && (low..=2 << 20).contains(&v);
        if self.serial.len() > SERIAL_LEN {
            return Err(BlkConfigError::Serial(self.serial.clone()));
        }
        if !(1..=64).contains(&self.queues) {
            return Err(BlkConfigError::Queues(self.queues));
        }
        if !self.queue_size.is_power_of_two() || !(4..=1024).contains(&self.queue_size) {
            return Err(BlkConfigError::QueueSize(self.queue_size));
        }
        if !power(self.logical_block_size, 512) {
            return Err(BlkConfigError::Logical(self.logical_block_size));
        }
        if !power(self.physical_block_size, self.logical_block_size) {
            return Err(BlkConfigError::Physical(self.physical_block_size));
        }
        for (name, value) in [("min_io_size", self.min_io_size), ("opt_io_size", self.opt_io_size)] {
            if !value.is_multiple_of(self.logical_block_size) {
                return Err(BlkConfigError::IoSize(name, value));
            }
        }
        if self.min_io_size / self.logical_block_size > u32::from(u16::MAX) {
            return Err(BlkConfigError::MinIo(self.min_io_size));
        }
        Ok(())
    }

    /// `struct virtio_blk_config` of a disk of `capacity` bytes.
    pub(super) fn space(&self, capacity: u64, write_cache: bool) -> Vec<u8> {
        let block = self.logical_block_size;
        let exponent = (self.physical_block_size / block).trailing_zeros() as u8;
        let (cylinders, heads, sectors) = geometry(capacity / SECTOR);
        let mut space = Vec::with_capacity(60);
        space.extend((capacity / SECTOR).to_le_bytes());
        space.extend(0u32.to_le_bytes()); // size_max: no limit, and not offered
        // Header and status take a descriptor each.
        space.extend(u32::from(self.queue_size - 2).to_le_bytes());
        space.extend(cylinders.to_le_bytes());
        space.extend([heads, sectors]);
        space.extend(block.to_le_bytes());
        space.extend([exponent, 0]); // alignment_offset 0
        space.extend(((self.min_io_size / block) as u16).to_le_bytes());
        space.extend((self.opt_io_size / block).to_le_bytes());
        space.extend([write_cache.into(), 0]);
        space.extend(self.queues.to_le_bytes());
        space.extend(MAX_RANGE_SECTORS.to_le_bytes());
        space.extend(1u32.to_le_bytes()); // max_discard_seg
        space.extend((block / SECTOR as u32).to_le_bytes());
        space.extend(MAX_RANGE_SECTORS.to_le_bytes());
        space.extend(1u32.to_le_bytes()); // max_write_zeroes_seg
        space.extend([1, 0, 0, 0]); // write_zeroes_may_unmap
        space
    }
}

/// The geometry old programs expect to see: 16 heads of 63 sectors, as many cylinders as fit the field.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let cylinders = (sectors / (16 * 63)).clamp(2, 16383);
    (cylinders as u16, 16, 63)
}
