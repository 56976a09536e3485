//! ICMP echo: the network's own addresses answer at once, others are asked through the host's unprivileged echo
//! sockets (`IPPROTO_ICMP` datagram sockets), where the host allows them (`net.ipv4.ping_group_range`).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};

use super::checksum::Sum;
use super::lan::{Lan, Mac, PROTO_ICMP, Unreachable};
use super::poller::Source;
use super::slab::{Key, Slab};

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const IDLE: Duration = Duration::from_secs(30);
const BURST: usize = 16;

/// One `ping` in the guest.
#[derive(Debug)]
struct Flow {
    guest: Ipv4Addr,
    /// The guest's identifier; the host's socket has one of its own.
    id: [u8; 2],
    mac: Mac,
    socket: OwnedFd,
    last_used: Instant,
}

#[derive(Debug, Default)]
pub struct Ping {
    flows: Slab<Flow>,
    by_guest: HashMap<(Ipv4Addr, [u8; 2]), Key>,
}

impl Ping {
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes an ICMP message from the guest.
    pub fn input(&mut self, lan: &mut Lan, mac: Mac, ends: (Ipv4Addr, Ipv4Addr), message: &[u8], now: Instant) {
        let (guest, to) = ends;
        let Some(&[kind, code, _, _, id0, id1, _, _]) = message.first_chunk::<8>() else { return };
        if (kind, code) != (ECHO_REQUEST, 0) || Sum::default().add(message).finish() != 0 {
            return;
        }
        if lan.config.is_ours(to) {
            let mut answer = message.to_vec();
            answer[0] = ECHO_REPLY;
            answer[2..4].fill(0);
            return lan.send_icmp(mac, to, guest, answer);
        }
        let sent = match lan.host_address(SocketAddrV4::new(to, 0)) {
            None => Err(Errno::ACCESS),
            Some(real) => self.flow(lan, mac, guest, [id0, id1], now).and_then(|key| {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                sendto(&self.flows[key].socket, message, flags, &real)
            }),
        };
        if let Err(error) = sent {
            tracing::debug!("user network: no echo request to {to}: {error}");
            let head = *message.first_chunk().expect("eight bytes");
            let code = Unreachable::from_errno(error).unwrap_or(Unreachable::Host);
            lan.send_unreachable(code, mac, guest, to, PROTO_ICMP, head);
        }
    }

    fn flow(&mut self, lan: &Lan, mac: Mac, guest: Ipv4Addr, id: [u8; 2], now: Instant) -> Result<Key, Errno> {
        if let Some(&key) = self.by_guest.get(&(guest, id)) {
            self.flows[key].last_used = now;
            return Ok(key);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
        if self.flows.len() >= lan.config.limits.ping_flows {
            let oldest = self.flows.iter().min_by_key(|(_, f)| f.last_used).map(|(key, _)| key);
            oldest.into_iter().for_each(|key| self.close(key));
        }
        let key = self.flows.insert(Flow { guest, id, mac, socket, last_used: now });
        self.by_guest.insert((guest, id), key);
        let added = lan.poller.add_readable(&self.flows[key].socket, Source::Ping(key));
        added.inspect_err(|_| self.close(key))?;
        Ok(key)
    }

    /// Passes echo replies on, with the identifier the guest knows.
    pub fn on_ready(&mut self, lan: &mut Lan, key: Key, now: Instant) {
        let mut scratch = vec![0; 65_536];
        for _ in 0..BURST {
            let Some(flow) = self.flows.get_mut(key) else { return };
            match recvfrom(&flow.socket, &mut scratch[..], RecvFlags::DONTWAIT) {
                Ok((_, n, Some(from))) if n >= 8 && scratch[0] == ECHO_REPLY => {
                    let Ok(from) = SocketAddrV4::try_from(from) else { continue };
                    flow.last_used = now;
                    let mut answer = scratch[..n].to_vec();
                    answer[2..4].fill(0);
                    answer[4..6].copy_from_slice(&flow.id);
                    lan.send_icmp(flow.mac, *lan.as_guest_sees(from).ip(), flow.guest, answer);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => tracing::debug!("user network: echo socket: {error}"),
            }
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(flow) = self.flows.remove(key) {
            self.by_guest.remove(&(flow.guest, flow.id));
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let idle = |f: &Flow| now.saturating_duration_since(f.last_used) >= IDLE;
        let keys: Vec<Key> = self.flows.iter().filter(|(_, f)| idle(f)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
    }
}
