//! All TCP connections of a network: opening, refusing, forwarding, timers, and whose turn it is to send.

mod flow;
mod segment;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, connect, socket_with, sockopt};

pub use self::flow::Carried;
use self::flow::{Flow, Phase};
use self::segment::{Flags, HEADER, Header, Segment};
use super::checksum::Sum;
use super::lan::{Lan, Mac, PROTO_TCP, TRANSPORT, Unreachable};
use super::poller::{Ready, Source};
use super::slab::{Key, Slab};
use crate::backend::net::NetHdr;

/// Ports for forwarded connections whose client has no address the guest could see (RFC 6335's dynamic range).
const FIRST_PORT: u16 = 49_152;

/// A host port that leads into the guest.
#[derive(Debug)]
pub struct Listener {
    pub socket: Arc<OwnedFd>,
    /// Where in the guest it leads.
    pub guest: SocketAddrV4,
}

#[derive(Debug)]
pub struct Tcp {
    flows: Slab<Flow>,
    by_ends: HashMap<(SocketAddrV4, SocketAddrV4), Key>,
    listeners: Vec<Listener>,
    /// Flows that may have a segment to send; each goes to the end after a segment.
    ready: VecDeque<Key>,
    /// One entry or more for each flow with a deadline; entries may be stale.
    timers: BinaryHeap<Reverse<(Instant, Key)>>,
    next_port: u16,
    started: Instant,
    secret: RandomState,
}

impl Tcp {
    pub fn new(now: Instant) -> Self {
        Self {
            flows: Slab::default(),
            by_ends: HashMap::new(),
            listeners: Vec::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            next_port: FIRST_PORT,
            started: now,
            secret: RandomState::new(),
        }
    }

    /// Forwards one more port, whose socket is non-blocking. Its events carry its index.
    pub fn listen(&mut self, listener: Listener, lan: &Lan) -> Result<(), Errno> {
        lan.poller.add_stream(&listener.socket, Source::Listener(self.listeners.len()))?;
        self.listeners.push(listener);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes an IP payload from the guest. `trusted`: its checksum is left to us and not to be looked at.
    pub fn input(
        &mut self,
        lan: &mut Lan,
        mac: Mac,
        ends: (Ipv4Addr, Ipv4Addr),
        packet: &[u8],
        trusted: bool,
        now: Instant,
    ) {
        let (src, dst) = ends;
        if !trusted && Sum::pseudo_header(src, dst, PROTO_TCP, packet.len()).add(packet).finish() != 0 {
            return;
        }
        let Some(segment) = Segment::parse(packet).filter(|s| s.src_port != 0 && s.dst_port != 0) else { return };
        let (guest, remote) = (SocketAddrV4::new(src, segment.src_port), SocketAddrV4::new(dst, segment.dst_port));
        if let Some(&key) = self.by_ends.get(&(guest, remote)) {
            if !self.flows[key].on_segment(&segment, mac, lan, now) {
                Self::answer_with_reset(lan, mac, guest, remote, &segment);
            }
            self.touch(key);
        } else if segment.flags & (Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN) == Flags::SYN {
            self.open(lan, mac, guest, remote, &segment, now);
        } else if !segment.flags.contains(Flags::RST) {
            Self::answer_with_reset(lan, mac, guest, remote, &segment);
        }
    }

    /// Where a connection to `remote` really goes.
    fn target(lan: &Lan, remote: SocketAddrV4, resolver: Option<SocketAddr>) -> Option<SocketAddr> {
        if let Some(rule) = lan.config.guest_fwd.iter().find(|rule| rule.server == remote) {
            return Some(rule.target);
        }
        if *remote.ip() == lan.config.dns && remote.port() == 53 && !lan.config.restrict {
            return resolver;
        }
        lan.host_address(remote).map(SocketAddr::V4)
    }

    fn open(
        &mut self,
        lan: &mut Lan,
        mac: Mac,
        guest: SocketAddrV4,
        remote: SocketAddrV4,
        syn: &Segment<'_>,
        now: Instant,
    ) {
        let resolver = || super::dns::first_resolver(&lan.config.resolvers);
        let wants_dns = *remote.ip() == lan.config.dns;
        let target = Self::target(lan, remote, if wants_dns { resolver() } else { None });
        let Some(target) = target else {
            return Self::answer_with_reset(lan, mac, guest, remote, syn);
        };
        self.make_room(lan);
        let socket = match start_connect(target) {
            Err(Errno::MFILE | Errno::NFILE) if self.evict(lan) => start_connect(target),
            other => other,
        };
        let iss = self.initial_sequence(guest, remote, now);
        let opened = socket.and_then(|socket| {
            let key = self.flows.insert(Flow::from_guest((guest, remote), mac, socket, iss, syn, lan, now));
            self.by_ends.insert((guest, remote), key);
            let added = lan.poller.add_stream(self.flows[key].socket(), Source::Tcp(key));
            added.inspect_err(|_| self.remove(key, lan))
        });
        if let Err(error) = opened {
            Self::refuse(lan, mac, guest, remote, syn.seq, error);
        }
    }

    /// Tells the guest that a connection cannot be made, by what the host's error means.
    fn refuse(lan: &mut Lan, mac: Mac, guest: SocketAddrV4, remote: SocketAddrV4, seq: u32, error: Errno) {
        tracing::debug!("user network: no connection from {guest} to {remote}: {error}");
        match Unreachable::from_errno(error) {
            None | Some(Unreachable::Port) => Self::reset(lan, mac, guest, remote, 0, Some(seq.wrapping_add(1))),
            Some(code) => {
                let mut head = [0; 8];
                head[0..2].copy_from_slice(&guest.port().to_be_bytes());
                head[2..4].copy_from_slice(&remote.port().to_be_bytes());
                head[4..8].copy_from_slice(&seq.to_be_bytes());
                lan.send_unreachable(code, mac, *guest.ip(), *remote.ip(), PROTO_TCP, head);
            }
        }
    }

    /// RFC 9293, section 3.10.7.1: the reset that a segment of no connection gets.
    fn answer_with_reset(lan: &mut Lan, mac: Mac, guest: SocketAddrV4, remote: SocketAddrV4, segment: &Segment<'_>) {
        if segment.flags.contains(Flags::ACK) {
            Self::reset(lan, mac, guest, remote, segment.ack, None);
        } else {
            Self::reset(lan, mac, guest, remote, 0, Some(segment.seq.wrapping_add(segment.len())));
        }
    }

    fn reset(lan: &mut Lan, mac: Mac, guest: SocketAddrV4, remote: SocketAddrV4, seq: u32, ack: Option<u32>) {
        let flags = if ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        let ack = ack.unwrap_or(0);
        let header = Header {
            mac,
            src: remote,
            dst: guest,
            seq,
            ack,
            flags,
            window: 0,
            options: &[],
            mss: usize::from(u16::MAX),
        };
        let mut frame = vec![0; TRANSPORT + HEADER];
        let (hdr, _) = header.write(lan, &mut frame, (&[], &[]));
        lan.push(hdr, frame);
    }

    /// RFC 6528: a clock of 64 ns steps plus a secret of the connection, so that a reused port starts ahead.
    fn initial_sequence(&self, guest: SocketAddrV4, remote: SocketAddrV4, now: Instant) -> u32 {
        let ticks = now.saturating_duration_since(self.started).as_nanos() / 64;
        (ticks as u32).wrapping_add(self.secret.hash_one((guest, remote)) as u32)
    }

    // ---- host side ----

    pub fn on_ready(&mut self, lan: &mut Lan, key: Key, ready: Ready) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        if let Err(error) = flow.on_host_ready(ready, lan) {
            let (guest, remote, mac) = (flow.guest, flow.remote, flow.mac);
            let (_, expected) = flow.edges();
            self.remove(key, lan);
            if let Some(mac) = mac {
                Self::refuse(lan, mac, guest, remote, expected.wrapping_sub(1), error);
            }
            return;
        }
        self.touch(key);
    }

    /// Takes all connections that wait at a forwarded port.
    pub fn on_listener(&mut self, lan: &mut Lan, index: usize, now: Instant) {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Some(listener) = self.listeners.get(index) else { return };
            match acceptfrom_with(&listener.socket, flags) {
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddrV4::try_from(peer).ok());
                    self.forward(lan, self.listeners[index].guest, socket, peer, now);
                }
                Err(Errno::MFILE | Errno::NFILE) if self.evict(lan) => {}
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    tracing::warn!(
                        "user network: cannot accept a connection for {}: {error}",
                        self.listeners[index].guest
                    );
                    return;
                }
            }
        }
    }

    fn forward(
        &mut self,
        lan: &mut Lan,
        guest: SocketAddrV4,
        socket: OwnedFd,
        peer: Option<SocketAddrV4>,
        now: Instant,
    ) {
        self.make_room(lan);
        let seen = peer.map(|peer| lan.as_guest_sees(peer));
        // The host's own clients share one address with other services of the gateway: they get ports of our choice.
        let seen = seen.filter(|seen| *seen.ip() != lan.config.host && !self.by_ends.contains_key(&(guest, *seen)));
        let Some(remote) = seen.or_else(|| self.free_port(lan.config.host, guest)) else { return };
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let iss = self.initial_sequence(guest, remote, now);
        let key = self.flows.insert(Flow::to_guest(guest, remote, socket, iss, now));
        self.by_ends.insert((guest, remote), key);
        if let Err(error) = lan.poller.add_stream(self.flows[key].socket(), Source::Tcp(key)) {
            tracing::warn!("user network: cannot watch a connection: {error}");
            self.flows[key].abort_host();
            return self.remove(key, lan);
        }
        self.touch(key);
    }

    fn free_port(&mut self, host: Ipv4Addr, guest: SocketAddrV4) -> Option<SocketAddrV4> {
        (FIRST_PORT..=u16::MAX).find_map(|_| {
            let remote = SocketAddrV4::new(host, self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            (!self.by_ends.contains_key(&(guest, remote))).then_some(remote)
        })
    }

    /// A guest's card became known: forwarded connections need not wait any longer.
    pub fn neighbour_up(&mut self, ip: Ipv4Addr) {
        let waiting: Vec<Key> =
            self.flows.iter().filter(|(_, f)| *f.guest.ip() == ip && f.mac.is_none()).map(|(k, _)| k).collect();
        for key in waiting {
            self.flows[key].retry_syn();
            self.touch(key);
        }
    }

    // ---- to another program ----

    /// All connections as they stand, with their sockets.
    pub fn carry(&self, now: Instant) -> impl Iterator<Item = (Carried, Arc<OwnedFd>)> {
        let alive = self.flows.iter().filter(|(_, flow)| flow.phase != Phase::Dead);
        alive.map(move |(_, flow)| (flow.carry(now), Arc::clone(flow.socket())))
    }

    pub fn listeners(&self) -> impl Iterator<Item = Arc<OwnedFd>> {
        self.listeners.iter().map(|listener| Arc::clone(&listener.socket))
    }

    /// Goes on with a connection of another program; its state was checked. One that cannot be here is broken, and the
    /// guest learns it with its next segment.
    pub fn adopt(&mut self, carried: Carried, socket: Arc<OwnedFd>, lan: &mut Lan, now: Instant) {
        self.make_room(lan);
        let ends = (carried.guest, carried.remote);
        let flow = carried.flow(socket, lan, now);
        let known = lan.is_guest(*ends.0.ip()) && !self.by_ends.contains_key(&ends);
        let key = self.flows.insert(flow);
        // What is ready already is told once more.
        let watched = if known {
            lan.poller.add_stream(self.flows[key].socket(), Source::Tcp(key))
        } else {
            Err(Errno::ADDRNOTAVAIL)
        };
        if let Err(error) = watched {
            tracing::warn!("user network: connection {} to {} ends here: {error}", ends.0, ends.1);
            if let Some(flow) = self.flows.remove(key) {
                flow.abort_host();
                lan.tcp_buffered -= flow.buffered();
            }
            return;
        }
        self.by_ends.insert(ends, key);
        self.touch(key);
    }

    /// Bytes that were acknowledged to the guest and that no host has taken yet.
    #[cfg(test)]
    pub fn waiting_for_host(&self) -> usize {
        self.flows.iter().map(|(_, flow)| flow.waiting_for_host()).sum()
    }

    pub fn next_port(&self) -> u16 {
        self.next_port
    }

    pub fn set_next_port(&mut self, port: u16) {
        self.next_port = port.max(FIRST_PORT);
    }

    /// Forgets all connections and listeners. What another program has `taken` lives on there; the rest is broken.
    pub fn let_go(&mut self, taken: bool, lan: &mut Lan) {
        for (_, flow) in self.flows.iter() {
            if !taken {
                flow.abort_host();
            }
            lan.poller.remove(flow.socket());
            lan.tcp_buffered -= flow.buffered();
        }
        for listener in self.listeners.drain(..) {
            lan.poller.remove(&listener.socket);
        }
        (self.flows, self.by_ends) = (Slab::default(), HashMap::new());
        self.ready.clear();
        self.timers.clear();
    }

    // ---- bounds ----

    fn make_room(&mut self, lan: &mut Lan) {
        while self.flows.len() >= lan.config.limits.tcp_flows && self.evict(lan) {}
    }

    /// Resets the connection that was silent for longest; `false` without any.
    fn evict(&mut self, lan: &mut Lan) -> bool {
        let Some((key, flow)) = self.flows.iter().min_by_key(|(_, flow)| flow.last_used) else { return false };
        tracing::debug!("user network: connection {} to {} gives way to a new one", flow.guest, flow.remote);
        flow.abort_host();
        let (seq, ack) = flow.edges();
        if let Some(mac) = flow.mac {
            let (guest, remote) = (flow.guest, flow.remote);
            let seq = if flow.phase == Phase::Connecting { 0 } else { seq };
            Self::reset(lan, mac, guest, remote, seq, Some(ack));
        }
        self.remove(key, lan);
        true
    }

    fn remove(&mut self, key: Key, lan: &mut Lan) {
        if let Some(flow) = self.flows.remove(key) {
            self.by_ends.remove(&(flow.guest, flow.remote));
            lan.tcp_buffered -= flow.buffered();
        }
    }

    // ---- turns and timers ----

    /// Something happened to a flow: it may have something to send, and its deadline may have moved.
    fn touch(&mut self, key: Key) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        if !flow.queued {
            flow.queued = true;
            self.ready.push_back(key);
        }
        self.schedule(key);
    }

    fn schedule(&mut self, key: Key) {
        let flow = &mut self.flows[key];
        if let Some(deadline) = flow.due()
            && flow.timer_at.is_none_or(|at| deadline < at)
        {
            flow.timer_at = Some(deadline);
            self.timers.push(Reverse((deadline, key)));
        }
    }

    /// Whether `emit` may have a segment.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Makes the next segment for the guest in `buf`, if there is one.
    pub fn emit(&mut self, lan: &mut Lan, buf: &mut [u8], now: Instant) -> Option<(NetHdr, usize)> {
        while let Some(key) = self.ready.pop_front() {
            let Some(flow) = self.flows.get_mut(key) else { continue };
            let made = flow.emit(lan, buf, now);
            flow.queued = made.is_some() && flow.phase != Phase::Dead;
            if flow.queued {
                self.ready.push_back(key);
            }
            if flow.phase == Phase::Dead {
                self.remove(key, lan);
            } else {
                self.schedule(key);
            }
            if made.is_some() {
                return made;
            }
        }
        None
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    pub fn on_timers(&mut self, paused: bool, now: Instant) {
        while let Some(Reverse((at, key))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let Some(flow) = self.flows.get_mut(key).filter(|f| f.timer_at == Some(at)) else { continue };
            flow.timer_at = None;
            if flow.due().is_some_and(|due| due <= now) {
                flow.on_time(paused, now);
                self.touch(key);
            } else {
                self.schedule(key);
            }
        }
    }
}

/// A socket on its way to `target`.
fn start_connect(target: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    // The guest's own Nagle decides; ours would only delay what it sent.
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
