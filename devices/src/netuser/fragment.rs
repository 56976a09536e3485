//! Reassembly of IPv4 fragments from the guest (RFC 791, section 3.2), in bounded memory.
//!
//! Overlapping fragments are never legitimate here: they discard their packet (as RFC 5722 rules for IPv6).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Packets under assembly; the oldest gives way.
const PACKETS: usize = 16;
/// RFC 1122, section 3.3.2, allows 60 to 120 s for the Internet; this link has no long ways.
const LIFETIME: Duration = Duration::from_secs(30);
const MAX_PAYLOAD: usize = 65_515;

/// What the fragments of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketId {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    pub ident: u16,
}

#[derive(Debug)]
struct Partial {
    id: PacketId,
    since: Instant,
    payload: Vec<u8>,
    /// Received ranges, sorted, adjacent ones merged.
    ranges: Vec<(usize, usize)>,
    total: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Reassembler {
    partial: Vec<Partial>,
}

impl Reassembler {
    /// Takes a fragment; returns the payload of a packet that is whole with it.
    pub fn input(&mut self, id: PacketId, offset: usize, more: bool, data: &[u8], now: Instant) -> Option<Vec<u8>> {
        self.partial.retain(|p| now.saturating_duration_since(p.since) < LIFETIME);
        let end = offset + data.len();
        let at = self.partial.iter().position(|p| p.id == id);
        if data.is_empty() || end > MAX_PAYLOAD || more && !data.len().is_multiple_of(8) {
            if let Some(at) = at {
                self.partial.remove(at);
            }
            return None;
        }
        let at = at.unwrap_or_else(|| {
            if self.partial.len() == PACKETS {
                self.partial.remove(0);
            }
            self.partial.push(Partial { id, since: now, payload: Vec::new(), ranges: Vec::new(), total: None });
            self.partial.len() - 1
        });
        if !self.partial[at].add(offset, end, more, data) {
            self.partial.remove(at);
            return None;
        }
        let partial = &self.partial[at];
        let whole = partial.total.is_some_and(|total| partial.ranges == [(0, total)]);
        whole.then(|| self.partial.remove(at).payload)
    }
}

impl Partial {
    /// `false` if the fragment contradicts the others.
    fn add(&mut self, offset: usize, end: usize, more: bool, data: &[u8]) -> bool {
        if !more && self.total.replace(end).is_some_and(|total| total != end) {
            return false;
        }
        if self.total.is_some_and(|total| end > total || self.ranges.last().is_some_and(|r| r.1 > total)) {
            return false;
        }
        let at = self.ranges.partition_point(|r| r.0 < offset);
        if self.ranges.get(at).is_some_and(|next| next.0 < end) {
            return false;
        }
        if at.checked_sub(1).is_some_and(|before| self.ranges[before].1 > offset) {
            return false;
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
        }
        self.payload[offset..end].copy_from_slice(data);
        self.ranges.insert(at, (offset, end));
        self.ranges.dedup_by(|later, earlier| {
            let adjacent = earlier.1 == later.0;
            if adjacent {
                earlier.1 = later.1;
            }
            adjacent
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ident: u16) -> PacketId {
        PacketId { src: Ipv4Addr::new(10, 0, 2, 15), dst: Ipv4Addr::new(10, 0, 2, 2), protocol: 17, ident }
    }

    #[test]
    fn any_order_gives_the_packet() {
        let data: Vec<u8> = (0..60u8).collect();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let (mut r, now) = (Reassembler::default(), Instant::now());
            let mut whole = None;
            for i in order {
                assert_eq!(whole, None);
                let part = &data[i * 24..60.min(i * 24 + 24)];
                whole = r.input(id(1), i * 24, i < 2, part, now);
            }
            assert_eq!(whole.as_deref(), Some(&data[..]), "{order:?}");
            assert!(r.partial.is_empty());
        }
    }

    #[test]
    fn contradictions_discard_the_packet() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        assert!(r.input(id(1), 0, true, &[0; 16], now).is_none());
        assert!(r.input(id(1), 8, true, &[0; 16], now).is_none());
        assert!(r.partial.is_empty(), "overlap");
        r.input(id(2), 0, true, &[0; 7], now);
        r.input(id(2), 65_528, false, &[0; 100], now);
        assert!(r.partial.is_empty(), "odd length, beyond the largest packet");
        r.input(id(3), 16, false, &[0; 8], now);
        r.input(id(3), 32, true, &[0; 8], now);
        assert!(r.partial.is_empty(), "behind the last fragment");
    }

    #[test]
    fn memory_is_bounded_and_packets_expire() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        for i in 0..1000 {
            r.input(id(i), 65_000, true, &[0; 8], now);
        }
        assert_eq!(r.partial.len(), PACKETS);
        r.input(id(5000), 0, true, &[0; 8], now + LIFETIME);
        assert_eq!(r.partial.len(), 1);
    }
}
