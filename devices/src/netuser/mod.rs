//! User-mode network: a small network behind the guest's card, made of the host's ordinary sockets. No privileges needed.
//!
//! The guest finds a gateway that is also the DHCP server and stands for the host (10.0.2.2 reaches the host's loopback),
//! a name server, and the world through the host's own connections. Forwarding rules lead from host ports into the guest.
//! It is not a router: only TCP, UDP and ICMP echo pass, and the guest's addresses are never seen outside.
//!
//! - `lan`: the guest's side: frames, ARP, addresses; `fragment`: reassembly.
//! - `tcp`, `udp`, `ping`, `dns`: a table each of flows, with the host's sockets in them; every table is bounded.
//! - `dhcp`: leases; `tftp`: files to boot from.
//! - `handover`: all of it on its way to another program, with the guest.
//!
//! One thread, the card's, owns it all (see [`crate::backend::net`]): no locks. All sockets sit behind one epoll descriptor.

mod checksum;
pub mod config;
mod dhcp;
mod dns;
mod fragment;
mod handover;
mod lan;
mod ping;
mod poller;
mod ring;
mod slab;
mod tcp;
mod tftp;
mod udp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};
use smoltcp::wire::{Ipv4Packet, UdpPacket};

pub use self::config::{GuestFwd, HostFwd, Ipv4Net, Limits, Resolvers, Transport, UserNetConfig, UserNetError};
use self::dhcp::DhcpServer;
use self::dns::Dns;
use self::fragment::{PacketId, Reassembler};
use self::lan::{ETHERNET, Lan, Mac, PROTO_ICMP, PROTO_TCP, PROTO_UDP};
use self::ping::Ping;
use self::poller::{Poller, Source};
use self::tcp::{Listener, Tcp};
use self::tftp::Tftp;
use self::udp::Udp;
use crate::backend::net::{NetBackend, NetCaps, NetHdr, Offloads, SendResult, Sockets};

/// How often idle datagram flows are looked for, while there are any.
const SWEEP: Duration = Duration::from_secs(10);
/// Waiting connections of a forwarded port; the host may allow fewer.
const BACKLOG: i32 = 128;
/// A forwarded port that another program still has: how long it is tried again soon and without a word, and how often.
const SOON: Duration = Duration::from_secs(2);
const AGAIN_SOON: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);

/// A forwarding rule.
#[derive(Debug)]
struct Forward {
    rule: HostFwd,
    /// Where in the guest it leads.
    guest: SocketAddrV4,
    /// Where it listens, if it does.
    address: Option<SocketAddrV4>,
}

/// Ports are missing, and tried again.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    next: Instant,
    told: bool,
}

/// A running user network.
#[derive(Debug)]
pub struct UserNet {
    lan: Lan,
    tcp: Tcp,
    udp: Udp,
    dns: Dns,
    ping: Ping,
    dhcp: DhcpServer,
    tftp: Tftp,
    fragments: Reassembler,
    forwards: Vec<Forward>,
    missing: Option<Missing>,
    paused: bool,
    next_sweep: Option<Instant>,
}

impl UserNet {
    /// Checks the configuration and opens the forwarded ports.
    pub fn start(config: UserNetConfig) -> Result<Self, UserNetError> {
        Self::open(config, false)
    }

    /// The same for a machine whose guest is still elsewhere, perhaps with ports that are forwarded to it there: one that is
    /// in use is no error. It comes along with the guest ([`Sockets::adopt`]), or is opened when the card starts.
    pub fn start_waiting(config: UserNetConfig) -> Result<Self, UserNetError> {
        Self::open(config, true)
    }

    fn open(config: UserNetConfig, waiting: bool) -> Result<Self, UserNetError> {
        config.validate()?;
        let setup = |what| move |error: Errno| UserNetError::Setup { what, source: error.into() };
        let now = Instant::now();
        let poller = Poller::new().map_err(setup("no epoll descriptor"))?;
        let forward = |rule: &HostFwd| Forward {
            rule: rule.clone(),
            guest: SocketAddrV4::new(config.guest_of(rule), rule.guest_port),
            address: None,
        };
        let forwards = config.host_fwd.iter().map(forward).collect();
        let mut net = Self {
            tcp: Tcp::new(now),
            udp: Udp::new(),
            dns: Dns::default(),
            ping: Ping::default(),
            dhcp: DhcpServer::default(),
            tftp: Tftp::default(),
            fragments: Reassembler::default(),
            forwards,
            missing: None,
            paused: false,
            next_sweep: None,
            lan: Lan::new(config, poller),
        };
        match net.open_ports(now) {
            Err((_, Errno::ADDRINUSE)) if waiting => Ok(net),
            Err((rule, error)) => Err(UserNetError::Listen { rule, source: error.into() }),
            Ok(()) => Ok(net),
        }
    }

    /// Opens all forwarded ports that are not open; or says which one cannot be.
    fn open_ports(&mut self, now: Instant) -> Result<(), (String, Errno)> {
        let mut refused = None;
        for forward in self.forwards.iter_mut().filter(|forward| forward.address.is_none()) {
            let opened = open_forward(&forward.rule).and_then(|(socket, address)| {
                let socket = Arc::new(socket);
                match forward.rule.transport {
                    Transport::Tcp => self.tcp.listen(Listener { socket, guest: forward.guest }, &self.lan)?,
                    Transport::Udp => {
                        self.udp.forward(socket, forward.guest, udp::Peers::default(), &self.lan, now)?;
                    }
                }
                Ok(address)
            });
            match opened {
                Ok(address) => forward.address = Some(address),
                // One in use may be for others; anything else is worse.
                Err(error) if refused.as_ref().is_none_or(|(_, worst)| *worst == Errno::ADDRINUSE) => {
                    refused = Some((forward.rule.to_string(), error));
                }
                Err(_) => {}
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Tries again to open what is missing. One line tells if that goes on, and one when it is over.
    fn open_missing(&mut self, now: Instant) {
        let Some(missing) = self.missing.filter(|missing| missing.next <= now) else { return };
        let soon = now.saturating_duration_since(missing.since) < SOON;
        let next = now + if soon { AGAIN_SOON } else { AGAIN };
        self.missing = match self.open_ports(now) {
            Ok(()) => {
                if missing.told {
                    tracing::warn!("network '{}': all of its host ports are forwarded now", self.lan.config.id);
                }
                None
            }
            Err((rule, error)) => {
                if !soon && !missing.told {
                    let id = &self.lan.config.id;
                    tracing::warn!("network '{id}': hostfwd={rule} waits for its host port: {error}");
                }
                Some(Missing { next, told: missing.told || !soon, ..missing })
            }
        };
    }

    /// Where each `hostfwd` rule listens, in the configuration's order; tells the port a rule with port 0 got.
    pub fn forwarded(&self) -> Vec<SocketAddrV4> {
        self.forwards.iter().map(|forward| forward.address.unwrap_or(forward.rule.host)).collect()
    }

    /// Open flows: TCP, UDP, name server, echo.
    pub fn flows(&self) -> [usize; 4] {
        [self.tcp.len(), self.udp.len(), self.dns.len(), self.ping.len()]
    }

    fn ipv4(&mut self, mac: Mac, packet: &[u8], trusted: bool, now: Instant) {
        let Ok(ip) = Ipv4Packet::new_checked(packet) else { return };
        if ip.version() != 4 || !ip.verify_checksum() {
            return;
        }
        let (src, dst, protocol) = (ip.src_addr(), ip.dst_addr(), u8::from(ip.next_header()));
        // Only a client without an address yet may have none of ours.
        if !self.lan.is_guest(src) && !src.is_unspecified() {
            return;
        }
        if self.lan.learn(src, mac) {
            self.tcp.neighbour_up(src);
        }
        let payload = &packet[usize::from(ip.header_len())..usize::from(ip.total_len())];
        if !ip.more_frags() && ip.frag_offset() == 0 {
            return self.transport(mac, (src, dst), protocol, payload, trusted, now);
        }
        let id = PacketId { src, dst, protocol, ident: ip.ident() };
        let whole = self.fragments.input(id, usize::from(ip.frag_offset()), ip.more_frags(), payload, now);
        if let Some(whole) = whole {
            self.transport(mac, (src, dst), protocol, &whole, false, now);
        }
    }

    fn transport(
        &mut self,
        mac: Mac,
        ends: (Ipv4Addr, Ipv4Addr),
        protocol: u8,
        payload: &[u8],
        trusted: bool,
        now: Instant,
    ) {
        let nameless = ends.0.is_unspecified();
        match protocol {
            PROTO_UDP => self.udp_input(mac, ends, payload, trusted, now),
            PROTO_TCP if !nameless => self.tcp.input(&mut self.lan, mac, ends, payload, trusted, now),
            PROTO_ICMP if !nameless => self.ping.input(&mut self.lan, mac, ends, payload, now),
            _ => {}
        }
    }

    fn udp_input(&mut self, mac: Mac, ends: (Ipv4Addr, Ipv4Addr), packet: &[u8], trusted: bool, now: Instant) {
        let (src, dst) = ends;
        let Ok(udp) = UdpPacket::new_checked(packet) else { return };
        if !trusted && udp.checksum() != 0 && !udp.verify_checksum(&src.into(), &dst.into()) {
            return;
        }
        let (from, to) = (SocketAddrV4::new(src, udp.src_port()), SocketAddrV4::new(dst, udp.dst_port()));
        let config = &self.lan.config;
        if to.port() == dhcp::SERVER_PORT && (dst == config.host || dst.is_broadcast() || dst == config.net.broadcast())
        {
            if let Some(reply) = self.dhcp.answer(config, udp.payload()) {
                let (server, client) =
                    (SocketAddrV4::new(config.host, dhcp::SERVER_PORT), SocketAddrV4::new(reply.to, dhcp::CLIENT_PORT));
                self.lan.send_udp(reply.mac, server, client, &reply.message);
            }
            return;
        }
        let group = dst.is_broadcast() || dst.is_multicast() || dst == config.net.broadcast();
        if src.is_unspecified() || from.port() == 0 || to.port() == 0 || group {
            return;
        }
        if dst == config.host && self.tftp.wants(&self.lan, from, to.port()) {
            return self.tftp.input(&mut self.lan, mac, from, to.port(), udp.payload(), now);
        }
        if dst == config.dns && to.port() == dns::PORT && !config.restrict {
            self.dns.query(&mut self.lan, mac, from, udp.payload(), now);
        } else {
            self.udp.input(&mut self.lan, mac, from, to, udp.payload(), now);
        }
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    /// Makes the descriptor readable exactly while frames wait that the guest can take.
    fn update_wake(&mut self) {
        let waiting = self.lan.has_frames() || self.tcp.has_ready();
        self.lan.poller.set_awake(waiting && !self.paused);
    }
}

impl NetBackend for UserNet {
    fn describe(&self) -> String {
        let restrict = if self.lan.config.restrict { "on" } else { "off" };
        format!("user,net={},restrict={restrict}", self.lan.config.net)
    }

    fn caps(&self) -> NetCaps {
        NetCaps {
            from_guest: Offloads::CSUM | Offloads::TSO4 | Offloads::ECN,
            to_guest: Offloads::CSUM | Offloads::TSO4,
            mtu: (self.lan.config.mtu != 1500).then_some(self.lan.config.mtu),
        }
    }

    fn start(&mut self, to_guest: Offloads) {
        let mut offloads = to_guest & self.caps().to_guest;
        // Segmentation is only defined for frames whose checksum is left open (virtio 1.3, 5.1.3.1).
        if !offloads.contains(Offloads::CSUM) {
            offloads = Offloads::empty();
        }
        self.lan.offloads = offloads;
        self.paused = false;
        if self.missing.is_none() && self.forwards.iter().any(|forward| forward.address.is_none()) {
            let now = Instant::now();
            self.missing = Some(Missing { since: now, next: now, told: false });
        }
        self.update_wake();
    }

    fn send(&mut self, hdr: &NetHdr, frame: &[u8]) -> SendResult {
        let now = Instant::now();
        if let Some((header, packet)) = frame.split_first_chunk::<ETHERNET>()
            && self.lan.config.ipv4
        {
            let group = header[0] & 1 != 0 && header[..6] != lan::BROADCAST;
            let mac: Mac = header[6..12].try_into().expect("six bytes");
            match header[12..14] {
                _ if group || mac[0] & 1 != 0 => {}
                [0x08, 0x00] => self.ipv4(mac, packet, hdr.flags & NetHdr::NEEDS_CSUM != 0, now),
                [0x08, 0x06] => {
                    if let Some(ip) = self.lan.arp_input(packet) {
                        self.tcp.neighbour_up(ip);
                    }
                }
                _ => {}
            }
        }
        SendResult::Done
    }

    fn recv(&mut self, buf: &mut [u8]) -> Option<(NetHdr, usize)> {
        let made = match self.lan.pop() {
            Some((hdr, frame)) => {
                buf[..frame.len()].copy_from_slice(&frame);
                Some((hdr, frame.len()))
            }
            None => self.tcp.emit(&mut self.lan, buf, Instant::now()),
        };
        if made.is_none() {
            self.update_wake();
        }
        made
    }

    fn pause_rx(&mut self, paused: bool) {
        self.paused = paused;
        self.update_wake();
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.lan.poller.fd()
    }

    fn deadline(&self) -> Option<Instant> {
        let missing = self.missing.map(|missing| missing.next);
        [self.tcp.deadline(), self.tftp.deadline(), self.next_sweep, missing].into_iter().flatten().min()
    }

    fn service(&mut self, now: Instant) {
        for (source, ready) in self.lan.poller.take_ready() {
            match source {
                Source::Tcp(key) => self.tcp.on_ready(&mut self.lan, key, ready),
                Source::Listener(index) => self.tcp.on_listener(&mut self.lan, index, now),
                Source::Udp(key) => self.udp.on_ready(&mut self.lan, key, ready, now),
                Source::Dns(key) => self.dns.on_ready(&mut self.lan, key, now),
                Source::Ping(key) => self.ping.on_ready(&mut self.lan, key, now),
                Source::Wake => {}
            }
        }
        self.settle(now);
        self.update_wake();
    }

    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        Some(self)
    }

    fn settle(&mut self, now: Instant) {
        self.open_missing(now);
        self.tcp.on_timers(self.paused, now);
        self.tftp.on_timers(&mut self.lan, now);
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.udp.expire(now);
            self.dns.expire(now);
            self.ping.expire(now);
            let any = self.udp.len() + self.dns.len() + self.ping.len() > 0;
            self.next_sweep = any.then_some(now + SWEEP);
        }
    }
}

/// The host's socket of a forwarding rule, and its address.
fn open_forward(rule: &HostFwd) -> Result<(OwnedFd, SocketAddrV4), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = match rule.transport {
        Transport::Tcp => {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            // Connections of an earlier run that linger must not keep the port.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &rule.host)?;
            listen(&socket, BACKLOG)?;
            socket
        }
        Transport::Udp => {
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
            bind(&socket, &rule.host)?;
            udp::keep_errors(&socket);
            socket
        }
    };
    let address = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests;
