//! UDP through the host: one socket for each guest port in use, so that any peer can answer it (RFC 4787,
//! endpoint-independent mapping), and one for each forwarded port.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, recvmsg, sendto,
    socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

use super::lan::{Lan, Mac, PROTO_UDP, Unreachable};
use super::poller::{Ready, Source};
use super::slab::{Key, Slab};

/// How long a silent mapping lives (RFC 4787, REQ-5, asks for more than two minutes).
const IDLE: Duration = Duration::from_secs(240);
/// Peers of a forwarded port whose real addresses are remembered.
const PEERS: usize = 256;
/// Datagrams read at one go from one socket, so that none starves the others.
const BURST: usize = 64;

#[derive(Debug)]
struct Flow {
    guest: SocketAddrV4,
    /// The guest's card; unknown until a forwarded port's guest spoke.
    mac: Option<Mac>,
    socket: Arc<OwnedFd>,
    last_used: Instant,
    /// Forwarded ports only.
    forward: Option<Peers>,
}

/// Who spoke to a forwarded port: as the guest sees it, and really. The newest last.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers(Vec<(SocketAddrV4, SocketAddrV4)>);

/// A socket's state on its way to another program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    guest: SocketAddrV4,
    mac: Option<Mac>,
    idle: Duration,
    /// Of forwarded ports, and of no others.
    pub peers: Option<Peers>,
}

impl Carried {
    /// What of it makes no sense.
    pub fn check(&self) -> Result<(), &'static str> {
        match &self.peers {
            _ if self.guest.port() == 0 => Err("its port is 0"),
            None if self.mac.is_none_or(|mac| mac[0] & 1 != 0) => Err("its guest has no address"),
            Some(peers) if peers.0.len() > PEERS => Err("it has more peers than it can"),
            _ => Ok(()),
        }
    }
}

impl Peers {
    fn heard(&mut self, seen: SocketAddrV4, real: SocketAddrV4) {
        if self.0.last() == Some(&(seen, real)) {
            return;
        }
        self.0.retain(|peer| peer.0 != seen);
        if self.0.len() == PEERS {
            self.0.remove(0);
        }
        self.0.push((seen, real));
    }

    fn real(&self, seen: SocketAddrV4) -> Option<SocketAddrV4> {
        self.0.iter().rev().find(|peer| peer.0 == seen).map(|peer| peer.1)
    }
}

#[derive(Debug)]
pub struct Udp {
    flows: Slab<Flow>,
    by_guest: HashMap<SocketAddrV4, Key>,
    forwards: Vec<Key>,
    scratch: Vec<u8>,
}

impl Udp {
    pub fn new() -> Self {
        Self { flows: Slab::default(), by_guest: HashMap::new(), forwards: Vec::new(), scratch: vec![0; 65_536] }
    }

    /// Forwards one more port: a bound socket, where in the guest it leads, and who spoke to it before.
    pub fn forward(
        &mut self,
        socket: Arc<OwnedFd>,
        guest: SocketAddrV4,
        peers: Peers,
        lan: &Lan,
        now: Instant,
    ) -> Result<(), Errno> {
        let forward = Some(peers);
        let key = self.flows.insert(Flow { guest, mac: None, socket, last_used: now, forward });
        let added = lan.poller.add_readable(&self.flows[key].socket, Source::Udp(key));
        added.inspect_err(|_| drop(self.flows.remove(key)))?;
        self.forwards.push(key);
        Ok(())
    }

    /// All that is open, with its socket.
    pub fn carry(&self, now: Instant) -> impl Iterator<Item = (Carried, Arc<OwnedFd>)> {
        let carried = move |flow: &Flow| Carried {
            guest: flow.guest,
            mac: flow.mac,
            idle: now.saturating_duration_since(flow.last_used),
            peers: flow.forward.clone(),
        };
        self.flows.iter().map(move |(_, flow)| (carried(flow), Arc::clone(&flow.socket)))
    }

    /// Goes on with a mapping of another program's, whose state was checked.
    pub fn adopt(&mut self, carried: Carried, socket: Arc<OwnedFd>, lan: &Lan, now: Instant) {
        let Carried { guest, mac, idle, .. } = carried;
        if !lan.is_guest(*guest.ip()) || self.by_guest.contains_key(&guest) {
            return;
        }
        if self.by_guest.len() >= lan.config.limits.udp_flows {
            self.evict();
        }
        let last_used = now.checked_sub(idle).unwrap_or(now);
        let key = self.flows.insert(Flow { guest, mac, socket, last_used, forward: None });
        match lan.poller.add_readable(&self.flows[key].socket, Source::Udp(key)) {
            Ok(()) => drop(self.by_guest.insert(guest, key)),
            Err(_) => drop(self.flows.remove(key)),
        }
    }

    /// Closes everything, or leaves it to another program that has it, too.
    pub fn let_go(&mut self, lan: &Lan) {
        for (_, flow) in self.flows.iter() {
            lan.poller.remove(&flow.socket);
        }
        *self = Self::new();
    }

    /// Mappings that can expire.
    pub fn len(&self) -> usize {
        self.by_guest.len()
    }

    /// Takes a datagram from the guest.
    pub fn input(&mut self, lan: &mut Lan, mac: Mac, guest: SocketAddrV4, to: SocketAddrV4, data: &[u8], now: Instant) {
        let sent = match self.forward_for(guest, to) {
            Some((key, real)) => {
                let flow = &mut self.flows[key];
                flow.last_used = now;
                send_datagram(&flow.socket, data, real)
            }
            None => {
                let Some(real) = lan.host_address(to) else {
                    return unreachable(lan, Unreachable::Prohibited, mac, guest, to, data.len());
                };
                self.mapping(lan, mac, guest, now).and_then(|key| send_datagram(&self.flows[key].socket, data, real))
            }
        };
        if let Err(error) = sent {
            match Unreachable::from_errno(error) {
                Some(code) => unreachable(lan, code, mac, guest, to, data.len()),
                None => tracing::debug!("user network: datagram from {guest} to {to} dropped: {error}"),
            }
        }
    }

    /// The forwarded port of this guest port that `to` spoke to.
    fn forward_for(&self, guest: SocketAddrV4, to: SocketAddrV4) -> Option<(Key, SocketAddrV4)> {
        self.forwards.iter().find_map(|key| {
            let flow = &self.flows[*key];
            (flow.guest == guest).then(|| flow.forward.as_ref()?.real(to)).flatten().map(|real| (*key, real))
        })
    }

    /// The socket of a guest port, made if need be.
    fn mapping(&mut self, lan: &mut Lan, mac: Mac, guest: SocketAddrV4, now: Instant) -> Result<Key, Errno> {
        if let Some(&key) = self.by_guest.get(&guest) {
            let flow = &mut self.flows[key];
            flow.last_used = now;
            flow.mac = Some(mac);
            return Ok(key);
        }
        if self.by_guest.len() >= lan.config.limits.udp_flows {
            self.evict();
        }
        let socket = match new_socket() {
            Err(Errno::MFILE | Errno::NFILE) if self.evict() => new_socket(),
            other => other,
        }?;
        let key =
            self.flows.insert(Flow { guest, mac: Some(mac), socket: Arc::new(socket), last_used: now, forward: None });
        self.by_guest.insert(guest, key);
        let added = lan.poller.add_readable(&self.flows[key].socket, Source::Udp(key));
        added.inspect_err(|_| self.close(key))?;
        Ok(key)
    }

    /// Passes datagrams and errors on to the guest.
    pub fn on_ready(&mut self, lan: &mut Lan, key: Key, ready: Ready, now: Instant) {
        if ready.intersects(Ready::ERR) {
            self.read_errors(lan, key);
        }
        for _ in 0..BURST {
            let Some(flow) = self.flows.get_mut(key) else { return };
            match recvfrom(&flow.socket, &mut self.scratch[..], RecvFlags::DONTWAIT) {
                Ok((_, n, Some(from))) => {
                    let Ok(real) = SocketAddrV4::try_from(from) else { continue };
                    let seen = lan.as_guest_sees(real);
                    flow.last_used = now;
                    if let Some(peers) = &mut flow.forward {
                        peers.heard(seen, real);
                        flow.mac = lan.neighbour(*flow.guest.ip());
                    }
                    match flow.mac {
                        Some(mac) => lan.send_udp(mac, seen, flow.guest, &self.scratch[..n]),
                        // The datagram is lost, as on a wire; the peer's next one finds the guest.
                        None => lan.send_arp_request(*flow.guest.ip()),
                    }
                }
                Ok((_, _, None)) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The error queue has the details.
                Err(_) => self.read_errors(lan, key),
            }
        }
    }

    /// Turns what the host learnt by ICMP into ICMP for the guest. Bounded: the queue refills only by new datagrams.
    fn read_errors(&mut self, lan: &mut Lan, key: Key) {
        for _ in 0..BURST {
            let Some(flow) = self.flows.get(key) else { return };
            // The socket's error is that of the queue's first entry.
            let error = sockopt::socket_error(&flow.socket).ok().and_then(Result::err);
            let mut iov = [IoSliceMut::new(&mut self.scratch)];
            let mut control = RecvAncillaryBuffer::default();
            let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
            let Ok(message) = recvmsg(&flow.socket, &mut iov, &mut control, flags) else { return };
            let to = message.address.and_then(|to| SocketAddrV4::try_from(to).ok());
            let code = error.and_then(Unreachable::from_errno);
            if let (Some(real), Some(code), Some(mac)) = (to, code, flow.mac) {
                let (guest, seen) = (flow.guest, lan.as_guest_sees(real));
                unreachable(lan, code, mac, guest, seen, message.bytes);
            }
        }
    }

    /// Forgets the mapping idle for longest.
    fn evict(&mut self) -> bool {
        let oldest = self.by_guest.values().min_by_key(|key| self.flows[**key].last_used).copied();
        oldest.is_some_and(|key| {
            self.close(key);
            true
        })
    }

    fn close(&mut self, key: Key) {
        if let Some(flow) = self.flows.remove(key) {
            self.by_guest.remove(&flow.guest);
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let idle = |f: &Flow| f.forward.is_none() && now.saturating_duration_since(f.last_used) >= IDLE;
        let keys: Vec<Key> = self.flows.iter().filter(|(_, f)| idle(f)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
    }
}

fn send_datagram(socket: &OwnedFd, data: &[u8], to: SocketAddrV4) -> Result<(), Errno> {
    match sendto(socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &to) {
        Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
        // An error of an earlier datagram was waiting: it is reported from the error queue, this one goes again.
        Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
            sendto(socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &to).map(|_| ())
        }
        Err(error) => Err(error),
    }
}

/// An unbound socket that keeps the errors its datagrams meet.
fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    keep_errors(&socket);
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(socket)
}

/// Sets IP_RECVERR: errors name the datagram they are about. Without it the guest would not learn of closed ports.
pub fn keep_errors(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the life of `socket`, and the option value is one `c_int`, as its size says.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        tracing::debug!("user network: IP_RECVERR: {}", std::io::Error::last_os_error());
    }
}

fn unreachable(lan: &mut Lan, code: Unreachable, mac: Mac, guest: SocketAddrV4, to: SocketAddrV4, len: usize) {
    let mut head = [0; 8];
    head[0..2].copy_from_slice(&guest.port().to_be_bytes());
    head[2..4].copy_from_slice(&to.port().to_be_bytes());
    head[4..6].copy_from_slice(&((len + super::lan::UDP) as u16).to_be_bytes());
    lan.send_unreachable(code, mac, *guest.ip(), *to.ip(), PROTO_UDP, head);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_bounded_and_the_newest_wins() {
        let mut peers = Peers::default();
        let addr = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        for port in 1..=1000 {
            peers.heard(addr(port), addr(port + 1));
        }
        assert_eq!(peers.0.len(), PEERS);
        assert_eq!((peers.real(addr(1)), peers.real(addr(1000))), (None, Some(addr(1001))));
        peers.heard(addr(900), addr(7));
        assert_eq!((peers.real(addr(900)), peers.0.len()), (Some(addr(7)), PEERS));
    }
}
