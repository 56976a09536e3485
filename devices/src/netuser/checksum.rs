//! The Internet checksum (RFC 1071).

use std::net::Ipv4Addr;

/// An unfolded one's-complement sum of 16-bit big-endian words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The pseudo-header of TCP and UDP (RFC 9293, section 3.1).
    pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> Self {
        let halves = |ip: Ipv4Addr| u64::from(ip.to_bits() >> 16) + u64::from(ip.to_bits() & 0xffff);
        Self(halves(src) + halves(dst) + u64::from(protocol) + len as u64)
    }

    /// Adds bytes that start at an even offset; an odd last byte is padded with zero.
    #[must_use]
    pub fn add(self, bytes: &[u8]) -> Self {
        let mut sum = 0u64;
        let mut words = bytes.chunks_exact(4);
        // Four bytes at a time into 64 bits: a frame of 64 KiB cannot overflow, and the loop vectorises.
        for w in &mut words {
            sum += u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
        }
        let mut sum = (sum >> 16) + (sum & 0xffff);
        for (i, b) in words.remainder().iter().enumerate() {
            sum += u64::from(*b) << if i % 2 == 0 { 8 } else { 0 };
        }
        Self(self.0 + sum)
    }

    /// The folded sum, not complemented: what a checksum field holds that a device completes later.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// The checksum to store. Zero over a packet that includes a right checksum.
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_example_in_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().add(&bytes).folded(), 0xddf2);
    }

    #[test]
    fn agrees_with_word_by_word_addition_at_all_lengths() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in (0..64).chain([1459, 1460, 65_535, 70_000]) {
            let mut want = 0u32;
            for pair in bytes[..len].chunks(2) {
                want += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                want = (want & 0xffff) + (want >> 16);
            }
            assert_eq!(Sum::default().add(&bytes[..len]).folded(), want as u16, "length {len}");
        }
    }
}
