//! The mask ROM that holds the reset vector.

use std::sync::{PoisonError, RwLock};

use crate::{MmioDevice, SavedState, StateError};

/// Read-only memory; writes are ignored. The board may also map [`Mrom::contents`] as memory.
pub struct Mrom {
    size: u64,
    contents: RwLock<Vec<u8>>,
}

/// The contents do not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{len} bytes do not fit into the boot ROM of {size} bytes")]
pub struct MromFull {
    len: usize,
    size: u64,
}

impl Mrom {
    /// A ROM of `size` bytes, all zero.
    pub fn new(size: u64) -> Self {
        Self { size, contents: RwLock::new(Vec::new()) }
    }

    /// Puts new contents in, from its first byte; the rest is zero. The harts are stopped.
    pub fn load(&self, contents: Vec<u8>) -> Result<(), MromFull> {
        if contents.len() as u64 > self.size {
            return Err(MromFull { len: contents.len(), size: self.size });
        }
        *self.contents.write().unwrap_or_else(PoisonError::into_inner) = contents;
        Ok(())
    }

    /// What was loaded, without the zeros after it.
    pub fn contents(&self) -> Vec<u8> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MmioDevice for Mrom {
    fn name(&self) -> &str {
        "riscv_virt_board.mrom"
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        let contents = self.contents.read().unwrap_or_else(PoisonError::into_inner);
        let from = contents.get(offset as usize..).unwrap_or(&[]);
        let n = from.len().min(data.len());
        data[..n].copy_from_slice(&from[..n]);
        data[n..].fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) {}

    fn reset(&self) {}

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &self.contents()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        self.load(state.read(1)?).map_err(|error| StateError::Unfit(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_contents_then_zeros() {
        let rom = Mrom::new(16);
        assert_eq!(rom.load(vec![1; 17]), Err(MromFull { len: 17, size: 16 }));
        rom.load(vec![1, 2, 3, 4, 5]).unwrap();
        rom.write(0, &[9; 4]);
        let read = |offset| {
            let mut data = [0xee; 4];
            rom.read(offset, &mut data);
            data
        };
        assert_eq!([read(0), read(4), read(12)], [[1, 2, 3, 4], [5, 0, 0, 0], [0; 4]]);
        assert_eq!(read(u64::MAX - 3), [0; 4]);
        assert_eq!(rom.contents(), [1, 2, 3, 4, 5]);
    }
}
