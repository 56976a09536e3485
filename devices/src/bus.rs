//! The memory-mapped bus: address ranges to devices. Built once, then read without a lock.

use std::sync::Arc;

use crate::MmioDevice;

/// Why a device cannot be attached.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    #[error("device '{name}' at {base:#x} has no size or wraps around the address space")]
    BadRange { name: String, base: u64 },
    #[error("device '{name}' at {base:#x}+{size:#x} overlaps '{other}' at {other_base:#x}")]
    Overlap { name: String, base: u64, size: u64, other: String, other_base: u64 },
}

/// Device ranges, sorted by base.
#[derive(Default, Clone)]
pub struct MmioBus {
    slots: Vec<(u64, u64, Arc<dyn MmioDevice>)>,
}

impl MmioBus {
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a device at `base`; overlap and zero size are errors.
    pub fn insert(&mut self, base: u64, device: Arc<dyn MmioDevice>) -> Result<(), BusError> {
        let (name, size) = (device.name().to_owned(), device.size());
        let Some(end) = base.checked_add(size).filter(|_| size != 0) else {
            return Err(BusError::BadRange { name, base });
        };
        let at = self.slots.partition_point(|s| s.0 < base);
        let clash = |s: &(u64, u64, Arc<dyn MmioDevice>)| s.0 < end && base < s.0 + s.1;
        let neighbours = [at.checked_sub(1), Some(at)];
        for s in neighbours.into_iter().flatten().filter_map(|i| self.slots.get(i)) {
            if clash(s) {
                return Err(BusError::Overlap { name, base, size, other: s.2.name().to_owned(), other_base: s.0 });
            }
        }
        self.slots.insert(at, (base, size, device));
        Ok(())
    }

    /// The device that decodes `addr` and the offset in it.
    pub fn find(&self, addr: u64) -> Option<(&Arc<dyn MmioDevice>, u64)> {
        let i = self.slots.partition_point(|s| s.0 <= addr).checked_sub(1)?;
        let (base, size, device) = &self.slots[i];
        (addr - base < *size).then_some((device, addr - base))
    }

    /// Every device with its base, in address order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<dyn MmioDevice>)> {
        self.slots.iter().map(|(b, _, d)| (*b, d))
    }

    /// `false` if nothing decodes the whole access.
    pub fn read(&self, addr: u64, data: &mut [u8]) -> bool {
        match self.find(addr) {
            Some((d, off)) if off + data.len() as u64 <= d.size() => {
                d.read(off, data);
                true
            }
            _ => false,
        }
    }

    /// `false` if nothing decodes the whole access.
    pub fn write(&self, addr: u64, data: &[u8]) -> bool {
        match self.find(addr) {
            Some((d, off)) if off + data.len() as u64 <= d.size() => {
                d.write(off, data);
                true
            }
            _ => false,
        }
    }
}
