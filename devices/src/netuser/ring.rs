//! A byte queue between a socket and a TCP window. Grows in steps on demand, up to what its user allows.

/// Bytes in order. Capacity is nothing until the first byte.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Makes the capacity at least `capacity`.
    pub fn grow(&mut self, capacity: usize) {
        if capacity <= self.bytes.len() {
            return;
        }
        let mut bytes = vec![0; capacity];
        let (a, b) = self.range(0, self.len);
        bytes[..a.len()].copy_from_slice(a);
        bytes[a.len()..a.len() + b.len()].copy_from_slice(b);
        self.bytes = bytes;
        self.head = 0;
    }

    /// Gives the memory of an empty ring back.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// `len` bytes from `start` (counted from the oldest byte), in two pieces; the second may be empty.
    pub fn range(&self, start: usize, len: usize) -> (&[u8], &[u8]) {
        assert!(start + len <= self.len, "range in the ring");
        if len == 0 {
            return (&[], &[]);
        }
        let at = (self.head + start) % self.bytes.len();
        let first = len.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..len - first])
    }

    /// Free space that follows the newest byte without a gap.
    pub fn free_slice(&mut self) -> &mut [u8] {
        let (size, free) = (self.bytes.len(), self.bytes.len() - self.len);
        if free == 0 {
            return &mut [];
        }
        let at = (self.head + self.len) % size;
        let end = size.min(at + free);
        &mut self.bytes[at..end]
    }

    /// Counts bytes as written that a caller put into `free_slice`.
    pub fn commit(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.len, "commit within the ring");
        self.len += n;
    }

    /// Appends as far as there is room; returns how much.
    pub fn push(&mut self, mut data: &[u8]) -> usize {
        let before = self.len;
        while !data.is_empty() {
            let free = self.free_slice();
            let n = free.len().min(data.len());
            if n == 0 {
                break;
            }
            free[..n].copy_from_slice(&data[..n]);
            self.commit(n);
            data = &data[n..];
        }
        self.len - before
    }

    /// Drops the oldest bytes.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "consume what is there");
        self.len -= n;
        // An empty ring starts over, so that the next read gets all its space in one piece.
        self.head = if self.len == 0 { 0 } else { (self.head + n) % self.bytes.len() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_queue() {
        let mut ring = Ring::default();
        let mut model = std::collections::VecDeque::new();
        let mut x = 1u32;
        for step in 0..5000u32 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (x >> 16) as usize % 40;
            match x >> 30 {
                0 | 1 => {
                    let data: Vec<u8> = (0..n).map(|i| (step as usize + i) as u8).collect();
                    let took = ring.push(&data);
                    assert_eq!(took, n.min(ring.capacity() - model.len()));
                    model.extend(&data[..took]);
                }
                2 => {
                    let n = n.min(model.len());
                    ring.consume(n);
                    model.drain(..n);
                }
                _ => ring.grow((ring.capacity() + n).min(100)),
            }
            let (a, b) = ring.range(0, ring.len());
            assert_eq!([a, b].concat(), Vec::from(model.clone()));
        }
        assert_eq!(ring.capacity(), 100);
        ring.consume(ring.len());
        ring.release();
        assert_eq!(ring.capacity(), 0);
    }
}
