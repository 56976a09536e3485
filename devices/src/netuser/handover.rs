//! The network on its way to another program on this host: connections, datagram sockets and forwarded ports go along, each
//! as plain state with its descriptor.
//!
//! The guest stands still meanwhile, and neither side touches a socket: the one that gives goes on with all of them if the
//! other does not take the guest, and otherwise forgets them without a word to anybody ([`Sockets::let_go`]). What waits in
//! a connection's buffers is part of its state; what waits in the host's socket stays there.
//!
//! What does not go along is asked again: questions to name servers, echoes, files by TFTP, parts of datagrams, and frames
//! that the guest has not taken.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketType, getsockname, ipproto, sockopt};
use serde::{Deserialize, Serialize};

use super::config::Transport;
use super::lan::Mac;
use super::{Forward, UserNet, tcp, udp};
use crate::backend::net::{Handed, Sockets};
use crate::state::{SavedState, StateError};

const VERSION: u32 = 1;
/// More than any network holds.
const NEIGHBOURS_MAX: usize = 1024;

/// What goes along; all but the first have a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Link(Link),
    Tcp(Box<tcp::Carried>),
    Udp(udp::Carried),
    /// The socket of a forwarded TCP port.
    Listener,
}

/// What is known of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    neighbours: Vec<(Ipv4Addr, Mac)>,
    leases: Vec<(Ipv4Addr, Mac)>,
    next_port: u16,
}

/// What a descriptor has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Listener,
    Datagrams,
}

fn part(part: &Part, socket: Option<Arc<OwnedFd>>) -> Handed {
    Handed { state: SavedState::of(VERSION, part), socket }
}

fn unfit(what: &str) -> StateError {
    StateError::Unfit(format!("user network: {what}"))
}

/// The descriptor of a part, if it is one of this kind.
fn expect_socket(socket: Option<&Arc<OwnedFd>>, kind: Kind) -> Result<&Arc<OwnedFd>, StateError> {
    let socket = socket.ok_or_else(|| unfit("a descriptor is missing"))?;
    let is = || -> rustix::io::Result<bool> {
        let family = matches!(sockopt::socket_domain(socket)?, AddressFamily::INET | AddressFamily::INET6);
        let listens = sockopt::socket_acceptconn(socket)?;
        let (of, protocol) = match kind {
            Kind::Datagrams => (SocketType::DGRAM, ipproto::UDP),
            Kind::Connection | Kind::Listener => (SocketType::STREAM, ipproto::TCP),
        };
        let is_one = sockopt::socket_type(socket)? == of && sockopt::socket_protocol(socket)? == Some(protocol);
        Ok(family && is_one && listens == (kind == Kind::Listener))
    };
    match is() {
        Ok(true) => Ok(socket),
        Ok(false) | Err(_) => Err(unfit(match kind {
            Kind::Connection => "a descriptor is no TCP connection",
            Kind::Listener => "a descriptor is no TCP socket that listens",
            Kind::Datagrams => "a descriptor is no UDP socket",
        })),
    }
}

/// A part with everything in it looked at.
fn read(handed: &Handed) -> Result<(Part, Option<Arc<OwnedFd>>), StateError> {
    let part: Part = handed.state.read(VERSION)?;
    let (kind, state) = match &part {
        Part::Link(link) => {
            if handed.socket.is_some() {
                return Err(unfit("a descriptor belongs to nothing"));
            }
            if link.neighbours.len().max(link.leases.len()) > NEIGHBOURS_MAX {
                return Err(unfit("more neighbours than there can be"));
            }
            return Ok((part, None));
        }
        Part::Tcp(flow) => (Kind::Connection, flow.check()),
        Part::Udp(flow) => (Kind::Datagrams, flow.check()),
        Part::Listener => (Kind::Listener, Ok(())),
    };
    state.map_err(|what| unfit(&format!("the state of a connection: {what}")))?;
    let socket = Arc::clone(expect_socket(handed.socket.as_ref(), kind)?);
    Ok((part, Some(socket)))
}

impl Sockets for UserNet {
    fn hand_over(&mut self) -> Vec<Handed> {
        let now = Instant::now();
        let link = Link {
            neighbours: self.lan.neighbours(),
            leases: self.dhcp.leases().to_vec(),
            next_port: self.tcp.next_port(),
        };
        let mut parts = vec![part(&Part::Link(link), None)];
        parts.extend(self.tcp.carry(now).map(|(flow, socket)| part(&Part::Tcp(flow.into()), Some(socket))));
        parts.extend(self.tcp.listeners().map(|socket| part(&Part::Listener, Some(socket))));
        parts.extend(self.udp.carry(now).map(|(flow, socket)| part(&Part::Udp(flow), Some(socket))));
        parts
    }

    fn check(&self, parts: &[Handed]) -> Result<(), StateError> {
        let mut ends = HashSet::new();
        for handed in parts {
            if let (Part::Tcp(flow), _) = read(handed)?
                && !ends.insert((flow.guest, flow.remote))
            {
                return Err(unfit("a connection is there twice"));
            }
        }
        Ok(())
    }

    fn adopt(&mut self, parts: Vec<Handed>) {
        let now = Instant::now();
        // What was checked is read.
        for (part, socket) in parts.iter().filter_map(|handed| read(handed).ok()) {
            match (part, socket) {
                (Part::Link(link), _) => {
                    for (ip, mac) in link.neighbours {
                        self.lan.learn(ip, mac);
                    }
                    self.dhcp.set_leases(link.leases, &self.lan.config);
                    self.tcp.set_next_port(link.next_port);
                }
                (Part::Tcp(flow), Some(socket)) => self.tcp.adopt(*flow, socket, &mut self.lan, now),
                (Part::Udp(flow), Some(socket)) => match flow.peers {
                    None => self.udp.adopt(flow, socket, &self.lan, now),
                    Some(peers) => self.take_port(Transport::Udp, socket, peers, now),
                },
                (Part::Listener, Some(socket)) => {
                    self.take_port(Transport::Tcp, socket, udp::Peers::default(), now);
                }
                (_, None) => {}
            }
        }
        self.next_sweep = (self.udp.len() > 0).then(|| now + super::SWEEP);
        self.update_wake();
    }

    fn let_go(&mut self, taken: bool) {
        self.tcp.let_go(taken, &mut self.lan);
        self.udp.let_go(&self.lan);
        (self.dns, self.ping) = Default::default();
        for forward in &mut self.forwards {
            forward.address = None;
        }
        self.next_sweep = None;
        self.update_wake();
    }
}

impl UserNet {
    /// A forwarded port of another program: it is used if the same is asked for here, and was not to be had.
    fn take_port(&mut self, transport: Transport, socket: Arc<OwnedFd>, peers: udp::Peers, now: Instant) {
        let address = getsockname(&socket).ok().and_then(|address| SocketAddrV4::try_from(address).ok());
        let wanted =
            |f: &&mut Forward| f.address.is_none() && f.rule.transport == transport && Some(f.rule.host) == address;
        let Some(forward) = self.forwards.iter_mut().find(wanted) else { return };
        // Nobody waits in a call, whoever made it.
        let flags = fcntl_getfl(&socket).and_then(|flags| fcntl_setfl(&socket, flags | OFlags::NONBLOCK));
        let done = flags.and_then(|()| match transport {
            Transport::Tcp => self.tcp.listen(tcp::Listener { socket, guest: forward.guest }, &self.lan),
            Transport::Udp => self.udp.forward(socket, forward.guest, peers, &self.lan, now),
        });
        match done {
            Ok(()) => forward.address = address,
            Err(error) => tracing::warn!("user network: cannot watch hostfwd={}: {error}", forward.rule),
        }
    }
}
