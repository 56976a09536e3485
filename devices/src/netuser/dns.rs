//! The name-server relay: queries to the network's DNS address go to the host's resolvers, answers come back.
//!
//! It does not read names. A query that no resolver takes is answered SERVFAIL, so that the guest need not wait.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use super::config::Resolvers;
use super::lan::{Lan, Mac};
use super::poller::Source;
use super::slab::{Key, Slab};

pub const PORT: u16 = 53;
/// A guest's socket that is silent for so long is forgotten.
const IDLE: Duration = Duration::from_secs(15);
/// A query repeated after so long without an answer goes to the next resolver.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queries are a few hundred bytes; the start of a longer one suffices to answer SERVFAIL.
const KEPT: usize = 1500;
/// How often the resolver file's date is looked at.
const RECHECK: Duration = Duration::from_secs(1);

/// Name servers in the form of resolv.conf(5).
pub fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        words.next()?.parse::<IpAddr>().ok()
    });
    servers.map(|ip| SocketAddr::new(ip, PORT)).collect()
}

fn read_file(path: &Path) -> Vec<SocketAddr> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_resolv_conf(&text),
        Err(error) => {
            tracing::debug!("user network: no name servers, {}: {error}", path.display());
            Vec::new()
        }
    }
}

/// Where a TCP query goes.
pub fn first_resolver(resolvers: &Resolvers) -> Option<SocketAddr> {
    match resolvers {
        Resolvers::Fixed(servers) => servers.first().copied(),
        Resolvers::File(path) => read_file(path).first().copied(),
    }
}

/// One guest port that asks.
#[derive(Debug)]
struct Flow {
    guest: SocketAddrV4,
    mac: Mac,
    /// Connected to the resolver with this number.
    socket: OwnedFd,
    resolver: usize,
    /// The newest query, and since when it has no answer.
    query: Vec<u8>,
    unanswered: Option<Instant>,
    last_used: Instant,
}

#[derive(Debug)]
pub struct Dns {
    flows: Slab<Flow>,
    by_guest: HashMap<SocketAddrV4, Key>,
    servers: Vec<SocketAddr>,
    checked: Option<Instant>,
    modified: Option<SystemTime>,
    scratch: Vec<u8>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            flows: Slab::default(),
            by_guest: HashMap::new(),
            servers: Vec::new(),
            checked: None,
            modified: None,
            scratch: vec![0; 65_536],
        }
    }
}

impl Dns {
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes a query from the guest.
    pub fn query(&mut self, lan: &mut Lan, mac: Mac, guest: SocketAddrV4, query: &[u8], now: Instant) {
        self.refresh(&lan.config.resolvers, now);
        let key = match self.by_guest.get(&guest) {
            Some(&key) => key,
            None => match self.open(lan, mac, guest, now) {
                Ok(key) => key,
                Err(error) => {
                    tracing::debug!("user network: no name server answers: {error}");
                    return reply(lan, mac, guest, &servfail(query));
                }
            },
        };
        let flow = &mut self.flows[key];
        let repeated = flow.unanswered.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        flow.query.clear();
        flow.query.extend_from_slice(&query[..query.len().min(KEPT)]);
        flow.last_used = now;
        if repeated || flow.unanswered.is_none() {
            flow.unanswered = Some(now);
        }
        let moved = if repeated { self.next_resolver(lan, key) } else { Ok(()) };
        let sent = moved.and_then(|()| send_now(&self.flows[key].socket, query));
        if let Err(error) = sent {
            self.failed(lan, key, error);
        }
    }

    /// Moves a flow to the next resolver, around the list.
    fn next_resolver(&mut self, lan: &Lan, key: Key) -> Result<(), Errno> {
        let flow = &mut self.flows[key];
        flow.resolver = (flow.resolver + 1) % self.servers.len().max(1);
        // A new socket: the next resolver may be of the other family. Closing the old one takes it out of the poller.
        flow.socket = connect_to(*self.servers.get(flow.resolver).ok_or(Errno::DESTADDRREQ)?)?;
        lan.poller.add_readable(&flow.socket, Source::Dns(key))
    }

    fn open(&mut self, lan: &mut Lan, mac: Mac, guest: SocketAddrV4, now: Instant) -> Result<Key, Errno> {
        let (resolver, socket) = connect_first(&self.servers)?;
        if self.flows.len() >= lan.config.limits.dns_flows {
            let oldest = self.flows.iter().min_by_key(|(_, f)| f.last_used).map(|(key, _)| key);
            oldest.into_iter().for_each(|key| self.close(key));
        }
        let flow = Flow { guest, mac, socket, resolver, query: Vec::new(), unanswered: None, last_used: now };
        let key = self.flows.insert(flow);
        self.by_guest.insert(guest, key);
        let added = lan.poller.add_readable(&self.flows[key].socket, Source::Dns(key));
        added.inspect_err(|_| self.close(key))?;
        Ok(key)
    }

    /// Passes answers on.
    pub fn on_ready(&mut self, lan: &mut Lan, key: Key, now: Instant) {
        // A guard against a resolver that floods; what remains is reported again.
        for _ in 0..64 {
            let Some(flow) = self.flows.get_mut(key) else { return };
            match recv(&flow.socket, &mut self.scratch[..], RecvFlags::DONTWAIT) {
                Ok((_, n)) => {
                    flow.unanswered = None;
                    flow.last_used = now;
                    reply(lan, flow.mac, flow.guest, &self.scratch[..n]);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(error) => self.failed(lan, key, error),
            }
        }
    }

    /// A resolver cannot be reached: the next one gets the query, or the guest the bad news.
    fn failed(&mut self, lan: &mut Lan, key: Key, mut error: Errno) {
        while self.flows[key].unanswered.is_some() && self.flows[key].resolver + 1 < self.servers.len() {
            let moved = self.next_resolver(lan, key);
            let flow = &self.flows[key];
            match moved.and_then(|()| send_now(&flow.socket, &flow.query)) {
                Ok(_) => return,
                Err(next) => error = next,
            }
        }
        tracing::debug!("user network: no name server answers: {error}");
        let flow = &self.flows[key];
        if flow.unanswered.is_some() {
            reply(lan, flow.mac, flow.guest, &servfail(&flow.query));
        }
        self.close(key);
    }

    fn close(&mut self, key: Key) {
        if let Some(flow) = self.flows.remove(key) {
            self.by_guest.remove(&flow.guest);
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let idle = |f: &Flow| now.saturating_duration_since(f.last_used) >= IDLE;
        let keys: Vec<Key> = self.flows.iter().filter(|(_, f)| idle(f)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
    }

    /// Reads the resolver file again if it changed.
    fn refresh(&mut self, resolvers: &Resolvers, now: Instant) {
        let path = match resolvers {
            Resolvers::Fixed(servers) => {
                self.servers.clone_from(servers);
                return;
            }
            Resolvers::File(path) => path,
        };
        if self.checked.is_some_and(|at| now.saturating_duration_since(at) < RECHECK) {
            return;
        }
        self.checked = Some(now);
        let modified = std::fs::metadata(path).and_then(|m| m.modified()).ok();
        if modified.is_none() || modified != self.modified {
            self.modified = modified;
            self.servers = read_file(path);
        }
    }
}

fn send_now(socket: &OwnedFd, data: &[u8]) -> Result<usize, Errno> {
    send(socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn connect_to(server: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    connect(&socket, &server)?;
    Ok(socket)
}

/// A socket connected to the first resolver that the host can address, and that resolver's number.
fn connect_first(servers: &[SocketAddr]) -> Result<(usize, OwnedFd), Errno> {
    let mut error = Errno::DESTADDRREQ;
    for (number, server) in servers.iter().enumerate() {
        match connect_to(*server) {
            Ok(socket) => return Ok((number, socket)),
            Err(next) => error = next,
        }
    }
    Err(error)
}

fn reply(lan: &mut Lan, mac: Mac, guest: SocketAddrV4, message: &[u8]) {
    let from = SocketAddrV4::new(lan.config.dns, PORT);
    lan.send_udp(mac, from, guest, message);
}

/// The answer "server failure" to a query (RFC 1035, section 4.1), with its question as far as it can be read.
fn servfail(query: &[u8]) -> Vec<u8> {
    let Some(header) = query.first_chunk::<12>() else { return Vec::new() };
    let question = question_len(&query[12..]).filter(|_| header[4..6] == [0, 1]);
    let mut answer = header.to_vec();
    // QR, the query's opcode and RD; RA and RCODE 2.
    answer[2] = 0x80 | header[2] & 0x79;
    answer[3] = 0x82;
    answer[4..12].copy_from_slice(&[0, question.is_some() as u8, 0, 0, 0, 0, 0, 0]);
    answer.extend_from_slice(&query[12..12 + question.unwrap_or(0)]);
    answer
}

/// Bytes of the question at the start of `bytes`: name, type and class.
fn question_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*bytes.get(at)?);
        at += 1 + len;
        if len == 0 {
            return (bytes.len() >= at + 4).then_some(at + 4);
        }
        if len > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text =
            "# comment\nsearch example\nnameserver 192.0.2.1\nnameserver  2001:db8::1 \nnameserver junk\noptions x\n";
        let want: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(parse_resolv_conf(text), want);
        assert!(parse_resolv_conf("").is_empty());
    }

    #[test]
    fn failure_keeps_id_and_question() {
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01extra";
        assert_eq!(servfail(query), b"\x12\x34\x81\x82\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01");
        for len in 0..query.len() {
            let _ = servfail(&query[..len]);
        }
        assert_eq!(servfail(&[0xff; 40]).len(), 12);
    }
}
