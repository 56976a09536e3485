//! A connection on its way to another program: everything of it but its socket.
//!
//! Moments are told as distances from the one at which it was written. What is read comes from outside: every number is
//! looked at before a flow is made of it.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::super::super::ring::Ring;
use super::{
    Flow, Lan, MIN_MSS, Mac, OUR_SCALE, OwnedFd, Phase, RETRIES, RTO_MAX, RTO_MIN, RX_MAX, SMALL, TX_MAX, distance,
    our_mss,
};

/// No distance in time that counts is longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// A [`Flow`], field by field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    pub guest: SocketAddrV4,
    pub remote: SocketAddrV4,
    mac: Option<Mac>,
    phase: Phase,
    /// Ages.
    last_used: Duration,
    created: Duration,
    /// From now on.
    deadline: Option<Duration>,
    ack_by: Option<Duration>,

    rcv_next: u32,
    rcv_edge: u32,
    rcv_scale: u8,
    rx: ByteBuf,
    guest_fin: bool,
    host_shut: bool,

    iss: u32,
    snd_una: u32,
    snd_next: u32,
    snd_max: u32,
    snd_window: u32,
    snd_scale: u8,
    window_from: (u32, u32),
    mss: u16,
    tx: ByteBuf,
    host_readable: bool,
    host_eof: bool,
    fin_acked: bool,

    acks: u32,
    syn_now: bool,
    probe_now: bool,
    resend_one: bool,
    duplicate_acks: u32,
    recover: Option<u32>,
    rto: Duration,
    rtt: Option<(Duration, Duration)>,
    /// The moment as an age.
    timed: Option<(u32, Duration)>,
    retries: u32,
}

fn bytes(ring: &Ring) -> ByteBuf {
    let (a, b) = ring.range(0, ring.len());
    ByteBuf::from([a, b].concat())
}

/// A ring with these bytes, of a size that the flow goes on growing from.
fn ring(bytes: &[u8], least: usize, lan: &mut Lan) -> Ring {
    let mut ring = Ring::default();
    if !bytes.is_empty() {
        ring.grow(bytes.len().next_power_of_two().max(least));
        ring.push(bytes);
    }
    lan.tcp_buffered += ring.capacity();
    ring
}

impl Flow {
    /// All of it but the socket.
    pub fn carry(&self, now: Instant) -> Carried {
        let age = |at: Instant| now.saturating_duration_since(at);
        let left = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        Carried {
            guest: self.guest,
            remote: self.remote,
            mac: self.mac,
            phase: self.phase,
            last_used: age(self.last_used),
            created: age(self.created),
            deadline: left(self.deadline),
            ack_by: left(self.ack_by),
            rcv_next: self.rcv_next,
            rcv_edge: self.rcv_edge,
            rcv_scale: self.rcv_scale,
            rx: bytes(&self.rx),
            guest_fin: self.guest_fin,
            host_shut: self.host_shut,
            iss: self.iss,
            snd_una: self.snd_una,
            snd_next: self.snd_next,
            snd_max: self.snd_max,
            snd_window: self.snd_window,
            snd_scale: self.snd_scale,
            window_from: self.window_from,
            mss: self.mss as u16,
            tx: bytes(&self.tx),
            host_readable: self.host_readable,
            host_eof: self.host_eof,
            fin_acked: self.fin_acked,
            acks: self.acks,
            syn_now: self.syn_now,
            probe_now: self.probe_now,
            resend_one: self.resend_one,
            duplicate_acks: self.duplicate_acks,
            recover: self.recover,
            rto: self.rto,
            rtt: self.rtt,
            timed: self.timed.map(|(seq, at)| (seq, age(at))),
            retries: self.retries,
        }
    }
}

impl Carried {
    /// What of it makes no sense.
    pub fn check(&self) -> Result<(), &'static str> {
        let window = distance(self.rcv_next, self.rcv_edge);
        let next = distance(self.snd_una, self.snd_next);
        let sent = distance(self.snd_una, self.snd_max);
        let fin_sent = sent > self.tx.len() as i32;
        let open = self.phase == Phase::Open;
        let opening = matches!(self.phase, Phase::Connecting | Phase::SynSent | Phase::SynReceived);
        let times = [self.deadline, self.ack_by, Some(self.rto), self.rtt.map(|r| r.0), self.rtt.map(|r| r.1)];
        let wrong = [
            (self.guest.port() == 0 || self.remote.port() == 0, "a port is 0"),
            (self.phase == Phase::Dead, "it is over"),
            (self.mac.is_none() && self.phase != Phase::SynSent, "its guest has no address"),
            (self.mac.is_some_and(|mac| mac[0] & 1 != 0), "its guest's address is a group's"),
            (self.rx.len() > RX_MAX || self.tx.len() > TX_MAX, "its buffers hold more than they can"),
            (window < -1 || self.rx.len() as i32 + window.max(0) > RX_MAX as i32, "its receive window"),
            (self.rcv_scale != 0 && self.rcv_scale != OUR_SCALE || self.snd_scale > 14, "a window scale"),
            (self.snd_window > u32::from(u16::MAX) << 14, "its send window"),
            (usize::from(self.mss) < MIN_MSS, "its segments' size"),
            ((open || opening) && !(0..=sent).contains(&next), "what it has sent"),
            (opening && (!(0..=1).contains(&sent) || self.snd_una != self.iss), "what it has sent"),
            (opening && !(self.tx.is_empty() && self.rx.is_empty()), "it has data before it is open"),
            (open && sent > self.tx.len() as i32 + 1, "it has sent more than it holds"),
            (open && fin_sent && !self.host_eof, "it has sent an end that there is not"),
            (self.fin_acked && !(self.host_eof && self.tx.is_empty() && sent == 0), "its end is not acknowledged"),
            (self.host_shut && !(self.guest_fin && self.rx.is_empty()), "its guest has not ended"),
            (self.acks > 3, "its acknowledgements"),
            (self.retries > RETRIES, "it has been tried too often"),
            (times.into_iter().flatten().any(|time| time > LONGEST), "its timers"),
        ];
        wrong.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, what)| Err(*what))
    }

    /// The flow again, from a state that was checked.
    pub fn flow(self, socket: Arc<OwnedFd>, lan: &mut Lan, now: Instant) -> Flow {
        let since = |age: Duration| now.checked_sub(age).unwrap_or(now);
        let mut flow = Flow::new(self.guest, self.remote, socket, self.iss, self.phase, now);
        flow.mac = self.mac;
        flow.last_used = since(self.last_used);
        flow.created = since(self.created);
        flow.deadline = self.deadline.map(|left| now + left.min(LONGEST));
        flow.ack_by = self.ack_by.map(|left| now + left.min(LONGEST));
        (flow.rcv_next, flow.rcv_edge, flow.rcv_scale) = (self.rcv_next, self.rcv_edge, self.rcv_scale);
        flow.rx = ring(&self.rx, 0, lan);
        (flow.guest_fin, flow.host_shut) = (self.guest_fin, self.host_shut);
        (flow.snd_una, flow.snd_next, flow.snd_max) = (self.snd_una, self.snd_next, self.snd_max);
        (flow.snd_window, flow.snd_scale, flow.window_from) = (self.snd_window, self.snd_scale, self.window_from);
        // The link may be narrower here.
        flow.mss = usize::from(self.mss).min(our_mss(lan).max(MIN_MSS));
        flow.tx = ring(&self.tx, SMALL, lan);
        (flow.host_readable, flow.host_eof, flow.fin_acked) = (self.host_readable, self.host_eof, self.fin_acked);
        (flow.acks, flow.syn_now, flow.probe_now) = (self.acks, self.syn_now, self.probe_now);
        (flow.resend_one, flow.recover) = (self.resend_one, self.recover);
        // Only its first three count.
        flow.duplicate_acks = self.duplicate_acks.min(1 << 16);
        flow.rto = self.rto.clamp(RTO_MIN, RTO_MAX);
        flow.rtt = self.rtt;
        flow.timed = self.timed.map(|(seq, age)| (seq, since(age)));
        flow.retries = self.retries;
        flow
    }
}
