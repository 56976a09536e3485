//! A ring buffer: the newest output, kept in memory for the monitor.

use std::collections::VecDeque;

use super::ChardevError;

#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    size: usize,
}

impl Ring {
    /// `size` is a power of two.
    pub fn new(id: &str, size: usize) -> Result<Self, ChardevError> {
        if !size.is_power_of_two() || size > 1 << 30 {
            return Err(ChardevError::RingSize { id: id.to_owned(), size });
        }
        Ok(Self { bytes: VecDeque::new(), size })
    }

    /// Adds output; the oldest makes room.
    pub fn push(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(self.size)..];
        let excess = (self.bytes.len() + data.len()).saturating_sub(self.size);
        self.bytes.drain(..excess);
        self.bytes.extend(data);
    }

    /// Takes up to `max` bytes, the oldest first.
    pub fn take(&mut self, max: usize) -> Vec<u8> {
        self.bytes.drain(..max.min(self.bytes.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest() {
        let mut ring = Ring::new("r", 4).unwrap();
        ring.push(b"ab");
        ring.push(b"cde");
        assert_eq!(ring.take(2), b"bc");
        ring.push(b"0123456789");
        assert_eq!(ring.take(99), b"6789");
        assert_eq!(ring.take(1), b"");
    }

    #[test]
    fn size_is_a_power_of_two() {
        for size in [0, 3, 1 << 31] {
            assert!(matches!(Ring::new("r", size), Err(ChardevError::RingSize { .. })));
        }
    }
}
