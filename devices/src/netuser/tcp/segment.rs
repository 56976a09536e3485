//! TCP segments as bytes (RFC 9293, section 3.1), and sequence arithmetic.

use std::net::SocketAddrV4;

use smoltcp::wire::TcpPacket;

use super::super::checksum::Sum;
use super::super::lan::{Lan, Mac, PROTO_TCP, TRANSPORT};
use crate::backend::net::{NetHdr, Offloads};

/// Bytes of a TCP header without options.
pub const HEADER: usize = 20;

bitflags::bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u8 {
        const FIN = 0x01;
        const SYN = 0x02;
        const RST = 0x04;
        const PSH = 0x08;
        const ACK = 0x10;
    }
}

/// How far `to` lies behind `from` on the circle of sequence numbers; negative if before.
pub fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// A segment from the guest.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    /// As in the header, not scaled.
    pub window: u16,
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub data: &'a [u8],
}

impl<'a> Segment<'a> {
    /// `None` for a header that does not fit the packet. Options that make no sense count as absent.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let tcp = TcpPacket::new_checked(packet).ok()?;
        let flags = Flags::from_bits_truncate(packet[13]);
        let options = match flags.contains(Flags::SYN) {
            true => tcp.options_summary().unwrap_or_default(),
            false => Default::default(),
        };
        Some(Self {
            src_port: tcp.src_port(),
            dst_port: tcp.dst_port(),
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack_number().0 as u32,
            flags,
            window: tcp.window_len(),
            mss: options.max_segment_size,
            window_scale: options.window_scale,
            data: &packet[usize::from(tcp.header_len())..],
        })
    }

    /// Sequence numbers it takes: data, SYN and FIN.
    pub fn len(&self) -> u32 {
        let flags = self.flags.intersection(Flags::SYN | Flags::FIN);
        self.data.len() as u32 + flags.bits().count_ones()
    }
}

/// A segment to the guest, but for its data.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    pub mac: Mac,
    pub src: SocketAddrV4,
    pub dst: SocketAddrV4,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub window: u16,
    /// A multiple of four bytes.
    pub options: &'a [u8],
    /// Data is cut into pieces of this size, by the guest if need be.
    pub mss: usize,
}

impl Header<'_> {
    /// Makes the frame in `buf` with `data` behind the header. More than `mss` bytes of data want `Offloads::TSO4`.
    pub fn write(&self, lan: &mut Lan, buf: &mut [u8], data: (&[u8], &[u8])) -> (NetHdr, usize) {
        let header = HEADER + self.options.len();
        let start = TRANSPORT + header;
        let middle = start + data.0.len();
        let end = middle + data.1.len();
        let frame = &mut buf[..end];
        frame[start..middle].copy_from_slice(data.0);
        frame[middle..end].copy_from_slice(data.1);
        let tcp = &mut frame[TRANSPORT..];
        tcp[0..2].copy_from_slice(&self.src.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.dst.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        tcp[12] = (header / 4) as u8 * 16;
        tcp[13] = self.flags.bits();
        tcp[14..16].copy_from_slice(&self.window.to_be_bytes());
        tcp[16..20].fill(0);
        tcp[HEADER..header].copy_from_slice(self.options);

        let mut hdr = NetHdr::default();
        let pseudo = Sum::pseudo_header(*self.src.ip(), *self.dst.ip(), PROTO_TCP, tcp.len());
        let sum = if lan.offloads.contains(Offloads::CSUM) {
            hdr.flags = NetHdr::NEEDS_CSUM;
            hdr.csum_start = TRANSPORT as u16;
            hdr.csum_offset = 16;
            pseudo.folded()
        } else {
            pseudo.add(tcp).finish()
        };
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        if end - start > self.mss {
            hdr.gso_type = NetHdr::GSO_TCPV4;
            hdr.gso_size = self.mss as u16;
            hdr.hdr_len = start as u16;
        }
        lan.write_headers(frame, self.mac, *self.src.ip(), *self.dst.ip(), PROTO_TCP);
        (hdr, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(distance(u32::MAX, 1), 2);
        assert_eq!(distance(1, u32::MAX), -2);
    }

    #[test]
    fn short_and_lying_headers_are_refused() {
        let mut packet = [0u8; 24];
        packet[12] = 0x60;
        packet[13] = 0x02;
        packet[20..24].copy_from_slice(&[2, 4, 5, 0xb4]);
        assert_eq!(Segment::parse(&packet).unwrap().mss, Some(1460));
        for len in 0..24 {
            assert!(Segment::parse(&packet[..len]).is_none(), "{len}");
        }
        packet[12] = 0x40;
        assert!(Segment::parse(&packet).is_none());
        packet[12] = 0x60;
        packet[21] = 0;
        assert_eq!(Segment::parse(&packet).unwrap().mss, None);
    }
}
