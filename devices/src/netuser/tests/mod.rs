//! The network end to end: a second stack (smoltcp) plays the guest, sockets on the host's loopback play the world.

mod datagram;
mod handover;
mod hostile;
mod tcp;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp as guest_tcp, udp as guest_udp};
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};

use super::checksum::Sum;
use super::lan::{ETHERNET, PROTO_TCP, PROTO_UDP, TRANSPORT};
use super::*;
use crate::backend::net::{Handed, MAX_FRAME};

pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const GUEST_MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// Generous: only a hang meets it.
const WATCHDOG: Duration = Duration::from_secs(120);

type Lose = Box<dyn FnMut(&[u8]) -> bool>;

/// The guest's card: frames both ways, and a way to lose some.
pub struct Wire {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: VecDeque<Vec<u8>>,
    offloads: Offloads,
    mtu: usize,
    /// Drops this frame, in either direction.
    pub lose: Lose,
    /// Largest frame the guest got.
    pub largest: usize,
}

pub struct Rx(Vec<u8>);
pub struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.to_guest.pop_front()?;
        Some((Rx(frame), Tx(&mut self.from_guest)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Tx<'_>> {
        // A short queue, as a card's ring.
        (self.from_guest.len() < 256).then_some(Tx(&mut self.from_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = self.mtu + ETHERNET;
        if self.offloads.contains(Offloads::CSUM) {
            caps.checksum.tcp = Checksum::None;
        }
        caps
    }
}

/// A guest on a user network.
pub struct World {
    pub net: UserNet,
    pub wire: Wire,
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    started: Instant,
    buf: Vec<u8>,
}

impl World {
    pub fn new(config: UserNetConfig, offloads: Offloads) -> Self {
        let mtu = usize::from(config.mtu);
        let mut net = UserNet::start(config).unwrap();
        net.start(offloads);
        let mut wire = Wire {
            to_guest: VecDeque::new(),
            from_guest: VecDeque::new(),
            offloads,
            mtu,
            lose: Box::new(|_| false),
            largest: 0,
        };
        let started = Instant::now();
        let config = Config::new(EthernetAddress(GUEST_MAC).into());
        let mut iface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        iface.update_ip_addrs(|ips| ips.push(IpCidr::new(GUEST.into(), 24)).unwrap());
        iface.routes_mut().add_default_ipv4_route(HOST).unwrap();
        Self { net, wire, iface, sockets: SocketSet::new(Vec::new()), started, buf: vec![0; MAX_FRAME] }
    }

    /// The network goes to another program, as far as that can be played in one: descriptors are copies, as the kernel makes
    /// them, and the stack that gave them stays, without a say. Returns it.
    pub fn move_to(&mut self, config: UserNetConfig) -> UserNet {
        let parts = copies(&self.net.hand_over());
        let mut there = UserNet::start_waiting(config).unwrap();
        there.check(&parts).unwrap();
        there.adopt(parts);
        self.net.let_go(true);
        there.start(self.wire.offloads);
        std::mem::replace(&mut self.net, there)
    }

    fn time(&self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(self.started.elapsed().as_micros() as i64)
    }

    /// Lets everything happen that can happen now. `false` if nothing did.
    pub fn turn(&mut self) -> bool {
        let mut busy = self.guest_turn();
        self.net.service(Instant::now());
        while self.wire.to_guest.len() < 256
            && let Some((hdr, len)) = self.net.recv(&mut self.buf)
        {
            busy = true;
            let frame = checked(&hdr, &self.buf[..len], self.wire.offloads, self.wire.mtu);
            if !(self.wire.lose)(&frame) {
                self.wire.largest = self.wire.largest.max(len);
                self.wire.to_guest.push_back(frame);
            }
        }
        busy || !self.wire.to_guest.is_empty()
    }

    /// The guest alone has its turn. `false` if it sent nothing.
    pub fn guest_turn(&mut self) -> bool {
        let mut busy = false;
        let time = self.time();
        self.iface.poll(time, &mut self.wire, &mut self.sockets);
        while let Some(frame) = self.wire.from_guest.pop_front() {
            busy = true;
            if !(self.wire.lose)(&frame) {
                self.inject(&frame);
            }
        }
        busy
    }

    /// Sends a frame as the guest's card would.
    pub fn inject(&mut self, frame: &[u8]) {
        let mut hdr = NetHdr::default();
        let tcp = frame.len() > TRANSPORT && frame[12..14] == [8, 0] && frame[23] == PROTO_TCP;
        if tcp && self.wire.offloads.contains(Offloads::CSUM) {
            hdr = NetHdr { flags: NetHdr::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..hdr };
        }
        assert_eq!(self.net.send(&hdr, frame), SendResult::Done);
    }

    /// Sleeps as the card's thread does, at most until the guest's or the network's next timer.
    fn sleep(&mut self) {
        let time = self.time();
        let mut wait = Duration::from_millis(50);
        if let Some(delay) = self.iface.poll_delay(time, &self.sockets) {
            wait = wait.min(Duration::from_micros(delay.total_micros()));
        }
        if let Some(deadline) = self.net.deadline() {
            wait = wait.min(deadline.saturating_duration_since(Instant::now()));
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ };
        poll(&mut [PollFd::from_borrowed_fd(self.net.event_fd(), PollFlags::IN)], Some(&wait)).unwrap();
    }

    /// Runs until `done` says so.
    #[track_caller]
    pub fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        loop {
            let busy = self.turn();
            if done(self) {
                return;
            }
            assert!(started.elapsed() < WATCHDOG, "nothing came of it");
            if !busy {
                self.sleep();
            }
        }
    }

    pub fn tcp_socket(&mut self, buffer: usize) -> SocketHandle {
        let bytes = || guest_tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = guest_tcp::Socket::new(bytes(), bytes());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut guest_tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Begins a connection from the guest.
    pub fn connect(&mut self, handle: SocketHandle, to: SocketAddrV4, from_port: u16) {
        let to = IpEndpoint::from((*to.ip(), to.port()));
        let socket = self.sockets.get_mut::<guest_tcp::Socket>(handle);
        socket.connect(self.iface.context(), to, from_port).unwrap();
    }

    /// Accepts a client that is at a port of the guest's.
    pub fn accept(&mut self, buffer: usize, port: u16) -> SocketHandle {
        let handle = self.tcp_socket(buffer);
        self.tcp(handle).listen(port).unwrap();
        self.until(|w| w.tcp(handle).state() == guest_tcp::State::Established);
        handle
    }

    pub fn udp_socket(&mut self, port: u16) -> SocketHandle {
        let bytes = || guest_udp::PacketBuffer::new(vec![guest_udp::PacketMetadata::EMPTY; 64], vec![0; 200_000]);
        let mut socket = guest_udp::Socket::new(bytes(), bytes());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut guest_udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends raw bytes to the network and returns all frames it sends back at once.
    pub fn exchange(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.inject(frame);
        self.net.service(Instant::now());
        self.drain()
    }

    /// Collects frames for the guest, which sees none of them, until `enough` of them are there.
    #[track_caller]
    pub fn collect(&mut self, enough: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let (started, mut frames) = (Instant::now(), Vec::new());
        while !enough(&frames) {
            assert!(started.elapsed() < WATCHDOG, "nothing came of it");
            self.sleep();
            self.net.service(Instant::now());
            frames.extend(self.drain());
        }
        frames
    }

    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some((hdr, len)) = self.net.recv(&mut self.buf) {
            frames.push(checked(&hdr, &self.buf[..len], self.wire.offloads, self.wire.mtu));
        }
        frames
    }
}

/// The same parts with descriptors of their own.
pub fn copies(parts: &[Handed]) -> Vec<Handed> {
    let copy = |socket: &Arc<OwnedFd>| Arc::new(socket.try_clone().unwrap());
    parts.iter().map(|h| Handed { state: h.state.clone(), socket: h.socket.as_ref().map(copy) }).collect()
}

/// Checks that a frame keeps to what the guest agreed to, and finishes its checksum.
fn checked(hdr: &NetHdr, frame: &[u8], offloads: Offloads, mtu: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if hdr.gso_type == NetHdr::GSO_NONE {
        assert!(frame.len() <= mtu + ETHERNET, "frame of {} bytes", frame.len());
    } else {
        assert!(offloads.contains(Offloads::TSO4) && hdr.flags & NetHdr::NEEDS_CSUM != 0, "{hdr:?}");
        assert_eq!((hdr.gso_type, hdr.hdr_len), (NetHdr::GSO_TCPV4, 54));
        assert!(usize::from(hdr.gso_size) <= mtu - 40 && hdr.gso_size > 0);
    }
    if hdr.flags & NetHdr::NEEDS_CSUM != 0 {
        assert!(offloads.contains(Offloads::CSUM));
        assert_eq!((hdr.csum_start, hdr.csum_offset), (34, 16));
        let sum = Sum::default().add(&frame[34..]).finish();
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
    }
    if frame[12..14] == [8, 0] {
        assert_eq!(Sum::default().add(&frame[14..34]).finish(), 0, "header checksum");
        assert_eq!(u16::from_be_bytes([frame[16], frame[17]]) as usize, frame.len() - ETHERNET);
        let address = |at: usize| Ipv4Addr::from([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let fragment = frame[20] & 0x3f != 0 || frame[21] != 0;
        if !fragment && matches!(frame[23], PROTO_TCP | PROTO_UDP) {
            let pseudo = Sum::pseudo_header(address(26), address(30), frame[23], frame.len() - TRANSPORT);
            assert_eq!(pseudo.add(&frame[TRANSPORT..]).finish(), 0, "transport checksum");
        }
    }
    frame
}

/// A frame from the guest with an IP packet in it.
pub fn ip_frame(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut lan = Lan::new(UserNetConfig::default(), Poller::new().unwrap());
    let mut frame = vec![0; TRANSPORT + payload.len()];
    frame[TRANSPORT..].copy_from_slice(payload);
    lan.write_headers(&mut frame, [0x52, 0x55, 10, 0, 2, 2], src, dst, protocol);
    frame[6..12].copy_from_slice(&GUEST_MAC);
    frame
}

/// A frame from the guest with a datagram in it.
pub fn udp_frame(src: SocketAddrV4, dst: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&src.port().to_be_bytes());
    packet.extend_from_slice(&dst.port().to_be_bytes());
    packet.extend_from_slice(&(8 + data.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(data);
    ip_frame(*src.ip(), *dst.ip(), PROTO_UDP, &packet)
}

pub fn at(ip: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip, port)
}

/// Where the guest finds a service on the host's loopback.
pub fn through_gateway(address: SocketAddr) -> SocketAddrV4 {
    at(HOST, address.port())
}

/// Bytes that differ everywhere: `len` of them from offset `start` of an endless stream.
pub fn pattern(start: usize, len: usize) -> Vec<u8> {
    (start..start + len).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8 ^ (i >> 16) as u8).collect()
}
