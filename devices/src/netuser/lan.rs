//! The guest's side of the network: addresses, neighbours, and frames waiting for the guest.
//!
//! Frames here are small or datagrams; TCP makes its segments only when the card asks for them. The queue is bounded
//! and drops its newest frame when full, as a switch does.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::io::Errno;

use super::checksum::Sum;
use super::config::UserNetConfig;
use super::poller::Poller;
use crate::backend::net::{NetHdr, Offloads};

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
pub const ETHERNET: usize = 14;
pub const IPV4: usize = 20;
pub const UDP: usize = 8;
/// Ethernet and IPv4 headers: where the transport header starts in frames made here.
pub const TRANSPORT: usize = ETHERNET + IPV4;

pub const PROTO_ICMP: u8 = 1;
pub const PROTO_TCP: u8 = 6;
pub const PROTO_UDP: u8 = 17;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;

/// Frames and bytes that wait for the guest at most; a burst of full-size datagrams fits.
const QUEUE_FRAMES: usize = 1024;
const QUEUE_BYTES: usize = 2 << 20;
/// Guest addresses remembered. A guest has one, or a few with containers in it.
const NEIGHBOURS: usize = 64;

/// Why a destination cannot be reached: codes of ICMP type 3 (RFC 792, RFC 1812 section 5.2.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    Net = 0,
    Host = 1,
    Port = 3,
    Prohibited = 13,
}

impl Unreachable {
    /// What a socket's error says of the destination.
    pub fn from_errno(error: Errno) -> Option<Self> {
        match error {
            Errno::CONNREFUSED => Some(Self::Port),
            Errno::NETUNREACH | Errno::NETDOWN => Some(Self::Net),
            Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::TIMEDOUT => Some(Self::Host),
            Errno::ACCESS | Errno::PERM => Some(Self::Prohibited),
            _ => None,
        }
    }
}

/// The guest's side, as every protocol here sees it.
#[derive(Debug)]
pub struct Lan {
    pub config: UserNetConfig,
    pub poller: Poller,
    /// What frames to the guest may leave undone.
    pub offloads: Offloads,
    /// Bytes of memory in all TCP buffers.
    pub tcp_buffered: usize,
    neighbours: HashMap<Ipv4Addr, Mac>,
    queue: VecDeque<(NetHdr, Vec<u8>)>,
    queued_bytes: usize,
    ident: u16,
}

impl Lan {
    pub fn new(config: UserNetConfig, poller: Poller) -> Self {
        Self {
            config,
            poller,
            offloads: Offloads::empty(),
            tcp_buffered: 0,
            neighbours: HashMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            ident: 0,
        }
    }

    /// The hardware address of one of our IPv4 addresses.
    pub fn mac_of_ours(ip: Ipv4Addr) -> Mac {
        let [a, b, c, d] = ip.octets();
        [0x52, 0x55, a, b, c, d]
    }

    /// The card of a guest's address, if it ever spoke.
    pub fn neighbour(&self, ip: Ipv4Addr) -> Option<Mac> {
        self.neighbours.get(&ip).copied()
    }

    /// Remembers who has an address; `true` if that was news.
    pub fn learn(&mut self, ip: Ipv4Addr, mac: Mac) -> bool {
        if !self.is_guest(ip) || mac[0] & 1 != 0 {
            return false;
        }
        if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&ip) {
            self.neighbours.clear();
        }
        self.neighbours.insert(ip, mac) != Some(mac)
    }

    /// Everybody that was heard of.
    pub fn neighbours(&self) -> Vec<(Ipv4Addr, Mac)> {
        self.neighbours.iter().map(|(ip, mac)| (*ip, *mac)).collect()
    }

    /// Whether a guest may have this address.
    pub fn is_guest(&self, ip: Ipv4Addr) -> bool {
        let net = self.config.net;
        net.contains(ip) && ip != net.address && ip != net.broadcast() && !self.config.is_ours(ip)
    }

    /// Where on the host a guest's packet to `to` goes; `None` if nowhere.
    pub fn host_address(&self, to: SocketAddrV4) -> Option<SocketAddrV4> {
        let ip = *to.ip();
        if self.config.restrict {
            None
        } else if ip == self.config.host {
            Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, to.port()))
        } else if self.config.net.contains(ip)
            || ip.is_loopback()
            || ip.is_multicast()
            || ip.is_broadcast()
            || ip.octets()[0] == 0
        {
            None
        } else {
            Some(to)
        }
    }

    /// How the guest sees a host-side peer. The host itself, and hosts whose addresses collide with ours, are the gateway.
    pub fn as_guest_sees(&self, from: SocketAddrV4) -> SocketAddrV4 {
        if from.ip().is_loopback() || self.config.net.contains(*from.ip()) {
            SocketAddrV4::new(self.config.host, from.port())
        } else {
            from
        }
    }

    /// Bytes of IP payload that one packet on the link carries.
    fn max_payload(&self) -> usize {
        usize::from(self.config.mtu) - IPV4
    }

    pub fn has_frames(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn pop(&mut self) -> Option<(NetHdr, Vec<u8>)> {
        let (hdr, frame) = self.queue.pop_front()?;
        self.queued_bytes -= frame.len();
        Some((hdr, frame))
    }

    pub fn push(&mut self, hdr: NetHdr, frame: Vec<u8>) {
        if self.queue.len() >= QUEUE_FRAMES || self.queued_bytes + frame.len() > QUEUE_BYTES {
            tracing::debug!("user network: the guest takes no frames, one dropped");
            return;
        }
        self.queued_bytes += frame.len();
        self.queue.push_back((hdr, frame));
    }

    /// Writes Ethernet and IPv4 headers in front of `frame[TRANSPORT..]`, which holds the whole IP payload.
    pub fn write_headers(&mut self, frame: &mut [u8], mac: Mac, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) {
        self.ident = self.ident.wrapping_add(1);
        let ident = self.ident;
        write_headers(frame, mac, src, dst, protocol, ident, 0);
    }

    /// Queues an IP packet whose transport header, checksum done, starts `payload`; fragments it if it is too long.
    pub fn send_ip(&mut self, mac: Mac, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) {
        self.ident = self.ident.wrapping_add(1);
        // Fragments but the last are multiples of eight bytes (RFC 791, section 3.2).
        let whole = payload.len() <= self.max_payload();
        let step = if whole { self.max_payload() } else { self.max_payload() & !7 };
        let last = payload.len().saturating_sub(1) / step;
        for (i, part) in payload.chunks(step).enumerate() {
            let mut frame = vec![0; TRANSPORT + part.len()];
            frame[TRANSPORT..].copy_from_slice(part);
            let more = if i < last { 0x2000 } else { 0 };
            let offset = (i * step / 8) as u16;
            write_headers(&mut frame, mac, src, dst, protocol, self.ident, more | offset);
            self.push(NetHdr::default(), frame);
        }
    }

    pub fn send_udp(&mut self, mac: Mac, src: SocketAddrV4, dst: SocketAddrV4, data: &[u8]) {
        let len = UDP + data.len();
        if len + IPV4 > usize::from(u16::MAX) {
            return;
        }
        let mut packet = Vec::with_capacity(len);
        packet.extend_from_slice(&src.port().to_be_bytes());
        packet.extend_from_slice(&dst.port().to_be_bytes());
        packet.extend_from_slice(&(len as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(data);
        let sum = Sum::pseudo_header(*src.ip(), *dst.ip(), PROTO_UDP, len).add(&packet).finish();
        // Zero would mean "no checksum" (RFC 768).
        packet[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        self.send_ip(mac, *src.ip(), *dst.ip(), PROTO_UDP, &packet);
    }

    /// Queues an ICMP message whose checksum field is still zero.
    pub fn send_icmp(&mut self, mac: Mac, src: Ipv4Addr, dst: Ipv4Addr, mut message: Vec<u8>) {
        let sum = Sum::default().add(&message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.send_ip(mac, src, dst, PROTO_ICMP, &message);
    }

    /// Tells a guest that its packet found no way. `head` is the packet's first eight transport bytes.
    pub fn send_unreachable(
        &mut self,
        code: Unreachable,
        mac: Mac,
        from: Ipv4Addr,
        to: Ipv4Addr,
        protocol: u8,
        head: [u8; 8],
    ) {
        let mut original = vec![0; TRANSPORT];
        original.extend_from_slice(&head);
        write_headers(&mut original, mac, from, to, protocol, 0, 0);
        let mut message = vec![3, code as u8, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&original[ETHERNET..]);
        // A closed port is reported by its owner, a missing way by the router.
        let reporter = if code == Unreachable::Port { to } else { self.config.host };
        self.send_icmp(mac, reporter, from, message);
    }

    /// An ARP packet (RFC 826): operation 1 asks, 2 answers.
    fn arp(operation: u8, src_mac: Mac, src: Ipv4Addr, dst_mac: Mac, dst: Ipv4Addr) -> Vec<u8> {
        let mut frame = Vec::with_capacity(42);
        frame.extend_from_slice(if operation == 1 { &BROADCAST } else { &dst_mac });
        frame.extend_from_slice(&src_mac);
        frame.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend_from_slice(&src_mac);
        frame.extend_from_slice(&src.octets());
        frame.extend_from_slice(&dst_mac);
        frame.extend_from_slice(&dst.octets());
        frame
    }

    /// Asks who has `ip`.
    pub fn send_arp_request(&mut self, ip: Ipv4Addr) {
        let host = self.config.host;
        self.push(NetHdr::default(), Self::arp(1, Self::mac_of_ours(host), host, [0; 6], ip));
    }

    /// Takes an ARP packet, without its Ethernet header. Returns an address just learnt.
    pub fn arp_input(&mut self, packet: &[u8]) -> Option<Ipv4Addr> {
        let packet = packet.first_chunk::<28>()?;
        if packet[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let mac: Mac = packet[8..14].try_into().expect("six bytes");
        let address = |at: usize| Ipv4Addr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let (sender, target) = (address(14), address(24));
        let news = self.learn(sender, mac);
        if packet[6..8] == [0, 1] && self.config.is_ours(target) && sender != target {
            let reply = Self::arp(2, Self::mac_of_ours(target), target, mac, sender);
            self.push(NetHdr::default(), reply);
        }
        news.then_some(sender)
    }
}

/// See [`Lan::write_headers`]. `fragment`: flags and offset word of the IPv4 header.
fn write_headers(frame: &mut [u8], mac: Mac, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ident: u16, fragment: u16) {
    let total = (frame.len() - ETHERNET) as u16;
    frame[0..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&Lan::mac_of_ours(src));
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    let ip = &mut frame[ETHERNET..TRANSPORT];
    ip[0] = 0x45;
    ip[1] = 0;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[4..6].copy_from_slice(&ident.to_be_bytes());
    ip[6..8].copy_from_slice(&fragment.to_be_bytes());
    ip[8] = 64;
    ip[9] = protocol;
    ip[10..12].fill(0);
    ip[12..16].copy_from_slice(&src.octets());
    ip[16..20].copy_from_slice(&dst.octets());
    let sum = Sum::default().add(ip).finish();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
}
