//! One TCP connection: the guest's end is terminated here, the other end is a stream socket of the host.
//!
//! What is ours of RFC 9293: windows with scaling, retransmission with RTT measurement (RFC 6298), fast retransmission,
//! zero-window probes, half-close both ways, resets. What is not: segments out of order are dropped (the link keeps order,
//! the guest repeats them), and there is no congestion control (the link is a queue in memory with back pressure).
//!
//! Data acknowledged to the guest is in the host's socket or in `rx`; data read from the host stays in `tx` until the
//! guest acknowledges it. Both have a fixed limit: a side that does not read stops the other.

mod carried;

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use serde::{Deserialize, Serialize};

pub use self::carried::Carried;
use super::super::lan::{Lan, Mac};
use super::super::poller::Ready;
use super::super::ring::Ring;
use super::segment::{Flags, Header, Segment, distance};
use crate::backend::net::{NetHdr, Offloads};

/// Guest to host: bytes accepted but not yet taken by the host's socket.
const RX_MAX: usize = 128 << 10;
/// Host to guest: bytes in flight or waiting.
const TX_MAX: usize = 256 << 10;
/// Either, once all connections together hold more than they should.
const SMALL: usize = 16 << 10;
/// Window scale we offer: `RX_MAX` and its remainders fit in 16 bits.
const OUR_SCALE: u8 = 4;
/// MSS of a peer that names none (RFC 9293, section 3.7.1).
const DEFAULT_MSS: usize = 536;
/// Smaller values in a SYN are raised to this: one byte a frame helps nobody.
const MIN_MSS: usize = 64;
/// How long an acknowledgement waits for data to carry it. Far below the half second that is allowed (RFC 9293, section
/// 3.8.6.3): a guest that sends two small pieces one after the other waits so long between them.
const ACK_DELAY: Duration = Duration::from_millis(2);
/// Data of the largest segment: what an IPv4 packet holds.
const MAX_SEGMENT: usize = 65_535 - 40;

const RTO_FIRST: Duration = Duration::from_secs(1);
const RTO_MIN: Duration = Duration::from_millis(300);
const RTO_MAX: Duration = Duration::from_secs(60);
/// A SYN to the guest is repeated at least this often: the guest may be booting.
const SYN_RTO_MAX: Duration = Duration::from_secs(4);
/// A guest that answers no SYN for this long refuses the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(75);
/// Retransmissions of the same data before the connection counts as dead; about ten minutes.
const RETRIES: u32 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The guest's SYN waits for the host's `connect`.
    Connecting,
    /// Our SYN is on its way to the guest (a forwarded port).
    SynSent,
    /// Our SYN-ACK is.
    SynReceived,
    /// Established, and all closing states: see `guest_fin`, `host_eof`, `fin_acked`.
    Open,
    /// The guest gets a reset next.
    Reset,
    /// To be removed.
    Dead,
}

#[derive(Debug)]
pub struct Flow {
    pub guest: SocketAddrV4,
    /// The other end, as the guest sees it.
    pub remote: SocketAddrV4,
    pub mac: Option<Mac>,
    pub phase: Phase,
    pub last_used: Instant,
    /// When the guest's silence counts.
    deadline: Option<Instant>,
    /// In the table's list of flows that may have something to send.
    pub queued: bool,
    /// The earliest entry of this flow in the table's timer heap.
    pub timer_at: Option<Instant>,
    /// Shared only while the flow is on its way to another program.
    socket: Arc<OwnedFd>,
    created: Instant,

    // Guest to host.
    rcv_next: u32,
    /// Right edge of the window the guest may use; never moves back.
    rcv_edge: u32,
    /// Our window's scale, zero unless both sides have the option.
    rcv_scale: u8,
    rx: Ring,
    guest_fin: bool,
    host_shut: bool,

    // Host to guest. `tx` starts at `snd_una`; the FIN follows its last byte.
    iss: u32,
    snd_una: u32,
    snd_next: u32,
    snd_max: u32,
    snd_window: u32,
    snd_scale: u8,
    /// Sequence and acknowledgement of the segment `snd_window` comes from.
    window_from: (u32, u32),
    mss: usize,
    tx: Ring,
    host_readable: bool,
    host_eof: bool,
    fin_acked: bool,

    /// When an acknowledgement is due that data for the guest may still carry.
    ack_by: Option<Instant>,
    /// Acknowledgements due: one, or several when the guest must see duplicates to notice a loss.
    acks: u32,
    syn_now: bool,
    probe_now: bool,
    resend_one: bool,
    duplicate_acks: u32,
    /// In recovery until this is acknowledged.
    recover: Option<u32>,
    rto: Duration,
    /// Smoothed round trip and its variance.
    rtt: Option<(Duration, Duration)>,
    /// A sequence number and when it was sent first.
    timed: Option<(u32, Instant)>,
    retries: u32,
}

impl Flow {
    fn new(
        guest: SocketAddrV4,
        remote: SocketAddrV4,
        socket: Arc<OwnedFd>,
        iss: u32,
        phase: Phase,
        now: Instant,
    ) -> Self {
        Self {
            guest,
            remote,
            mac: None,
            phase,
            last_used: now,
            deadline: None,
            queued: false,
            timer_at: None,
            socket,
            created: now,
            rcv_next: 0,
            rcv_edge: 0,
            rcv_scale: 0,
            rx: Ring::default(),
            guest_fin: false,
            host_shut: false,
            iss,
            snd_una: iss,
            snd_next: iss,
            snd_max: iss,
            snd_window: 0,
            snd_scale: 0,
            window_from: (0, 0),
            mss: DEFAULT_MSS,
            tx: Ring::default(),
            host_readable: false,
            host_eof: false,
            fin_acked: false,
            ack_by: None,
            acks: 0,
            syn_now: false,
            probe_now: false,
            resend_one: false,
            duplicate_acks: 0,
            recover: None,
            rto: RTO_FIRST,
            rtt: None,
            timed: None,
            retries: 0,
        }
    }

    /// A connection the guest opens with `syn`; `socket` is connecting.
    pub fn from_guest(
        (guest, remote): (SocketAddrV4, SocketAddrV4),
        mac: Mac,
        socket: OwnedFd,
        iss: u32,
        syn: &Segment<'_>,
        lan: &Lan,
        now: Instant,
    ) -> Self {
        let mut flow = Self::new(guest, remote, Arc::new(socket), iss, Phase::Connecting, now);
        flow.mac = Some(mac);
        flow.take_syn(syn, lan);
        flow
    }

    /// A connection to a forwarded port; `socket` is connected.
    pub fn to_guest(guest: SocketAddrV4, remote: SocketAddrV4, socket: OwnedFd, iss: u32, now: Instant) -> Self {
        let mut flow = Self::new(guest, remote, Arc::new(socket), iss, Phase::SynSent, now);
        flow.syn_now = true;
        flow
    }

    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    #[cfg(test)]
    pub fn waiting_for_host(&self) -> usize {
        self.rx.len()
    }

    /// Bytes of memory in its buffers.
    pub fn buffered(&self) -> usize {
        self.rx.capacity() + self.tx.capacity()
    }

    /// When [`Flow::on_time`] wants to be called.
    pub fn due(&self) -> Option<Instant> {
        [self.deadline, self.ack_by].into_iter().flatten().min()
    }

    /// An acknowledgement is due; data on its way will carry it.
    fn ack_soon(&mut self) {
        self.acks = self.acks.max(1);
    }

    /// Learns the guest's sequence numbers and options from its SYN.
    fn take_syn(&mut self, syn: &Segment<'_>, lan: &Lan) {
        self.rcv_next = syn.seq.wrapping_add(1);
        self.rcv_edge = self.rcv_next;
        self.mss = our_mss(lan).min(syn.mss.map_or(DEFAULT_MSS, usize::from).max(MIN_MSS));
        if let Some(scale) = syn.window_scale {
            self.snd_scale = scale.min(14);
            self.rcv_scale = OUR_SCALE;
        }
        self.snd_window = u32::from(syn.window);
        self.window_from = (syn.seq, syn.ack);
    }

    // ---- host side ----

    /// The host's socket changed; `now` for timers that start.
    pub fn on_host_ready(&mut self, ready: Ready, lan: &mut Lan) -> Result<(), Errno> {
        if self.phase == Phase::Connecting {
            if ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) {
                sockopt::socket_error(&self.socket)??;
                self.phase = Phase::SynReceived;
                self.syn_now = true;
            }
            return Ok(());
        }
        if ready.intersects(Ready::IN | Ready::RDHUP | Ready::HUP | Ready::ERR) {
            self.host_readable = true;
        }
        if ready.intersects(Ready::OUT | Ready::HUP | Ready::ERR) {
            self.drain_rx(lan);
        }
        Ok(())
    }

    /// The guest can be reached now: no need to wait before its SYN goes out again.
    pub fn retry_syn(&mut self) {
        if self.phase == Phase::SynSent {
            self.syn_now = true;
            self.rto = RTO_FIRST;
        }
    }

    /// Sequence number that a segment for the guest from outside the usual way bears, and what it acknowledges.
    pub fn edges(&self) -> (u32, u32) {
        (self.snd_max, self.rcv_next)
    }

    /// Breaks the connection for the host's peer.
    pub fn abort_host(&self) {
        // Closing with a zero linger time sends a reset. A socket that is not connected any more needs none.
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    /// The host's end is gone: the guest learns it by a reset.
    fn reset_guest(&mut self, error: Errno) {
        tracing::debug!("user network: connection {} to {} broken: {error}", self.guest, self.remote);
        self.phase = Phase::Reset;
    }

    /// Hands data to the host's socket; what it does not take waits in `rx`.
    fn deliver(&mut self, mut data: &[u8], lan: &mut Lan) {
        while self.rx.is_empty() && !data.is_empty() {
            match send(&self.socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => data = &data[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return self.reset_guest(error),
            }
        }
        if !data.is_empty() {
            let before = self.rx.capacity();
            self.rx.grow((self.rx.len() + data.len()).next_power_of_two());
            lan.tcp_buffered += self.rx.capacity() - before;
            self.rx.push(data);
        }
    }

    /// Moves `rx` on to the host, and the guest's FIN behind it.
    fn drain_rx(&mut self, lan: &mut Lan) {
        while !self.rx.is_empty() {
            let data = self.rx.range(0, self.rx.len()).0;
            match send(&self.socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => self.rx.consume(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return self.reset_guest(error),
            }
        }
        if self.rx.is_empty() {
            lan.tcp_buffered -= self.rx.capacity();
            self.rx.release();
            if self.guest_fin && !self.host_shut {
                self.host_shut = true;
                // Fails only if the peer reset the connection, which the next read reports.
                let _ = shutdown(&self.socket, Shutdown::Write);
            }
        }
        // Tell the guest of a window that opened by a good part.
        let grown = distance(self.rcv_edge, self.rcv_next.wrapping_add(self.rx_space(lan) as u32));
        let left = distance(self.rcv_next, self.rcv_edge);
        if grown >= (RX_MAX / 2) as i32 || grown >= 2 * self.mss as i32 && left < self.mss as i32 {
            self.ack_soon();
        }
    }

    /// Reads from the host as much as the send buffer may hold.
    fn pull(&mut self, lan: &mut Lan) {
        while self.host_readable && !self.host_eof {
            if self.tx.len() == self.tx.capacity() {
                let limit = if lan.tcp_buffered < lan.config.limits.tcp_buffer { TX_MAX } else { SMALL };
                let before = self.tx.capacity();
                self.tx.grow((before * 4).clamp(SMALL, limit));
                lan.tcp_buffered += self.tx.capacity() - before;
            }
            let free = self.tx.free_slice();
            if free.is_empty() {
                return;
            }
            match recv(&self.socket, free, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.host_eof = true,
                Ok((_, n)) => self.tx.commit(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.host_readable = false,
                Err(error) => return self.reset_guest(error),
            }
        }
        if self.tx.is_empty() && lan.tcp_buffered > lan.config.limits.tcp_buffer / 2 {
            lan.tcp_buffered -= self.tx.capacity();
            self.tx.release();
        }
    }

    // ---- from the guest ----

    /// Takes a segment of this connection; `false` if it belongs to an older one and wants a reset.
    pub fn on_segment(&mut self, segment: &Segment<'_>, mac: Mac, lan: &mut Lan, now: Instant) -> bool {
        self.last_used = now;
        match self.phase {
            Phase::Connecting if segment.flags.contains(Flags::RST) => {
                self.abort_host();
                self.phase = Phase::Dead;
            }
            Phase::Connecting | Phase::Reset | Phase::Dead => {}
            Phase::SynSent => {
                self.mac = Some(mac);
                return self.on_syn_ack(segment, lan);
            }
            Phase::SynReceived | Phase::Open => {
                self.mac = Some(mac);
                self.on_open_segment(segment, lan, now);
            }
        }
        true
    }

    /// The guest's answer to our SYN (RFC 9293, section 3.10.7.3).
    fn on_syn_ack(&mut self, segment: &Segment<'_>, lan: &Lan) -> bool {
        if !segment.flags.contains(Flags::ACK) {
            return true;
        }
        if segment.ack != self.iss.wrapping_add(1) {
            return false;
        }
        if segment.flags.contains(Flags::RST) {
            self.abort_host();
            self.phase = Phase::Dead;
        } else if segment.flags.contains(Flags::SYN) {
            self.take_syn(segment, lan);
            self.established(segment.ack);
            self.ack_soon();
        }
        true
    }

    fn established(&mut self, ack: u32) {
        self.phase = Phase::Open;
        self.snd_una = ack;
        self.snd_next = ack;
        self.snd_max = ack;
        self.deadline = None;
        self.retries = 0;
        self.rto = RTO_FIRST;
        self.syn_now = false;
        // An event may have come while there was nobody to read for.
        self.host_readable = true;
    }

    /// RFC 9293, section 3.10.7.4.
    fn on_open_segment(&mut self, segment: &Segment<'_>, lan: &mut Lan, now: Instant) {
        let offset = distance(self.rcv_next, segment.seq);
        let window = distance(self.rcv_next, self.rcv_edge).max(0);
        if segment.flags.contains(Flags::RST) {
            if (0..=window.max(1)).contains(&offset) {
                self.abort_host();
                self.phase = Phase::Dead;
            }
            return;
        }
        if segment.flags.contains(Flags::SYN) {
            // Our SYN-ACK may be lost; otherwise it is a challenge (RFC 5961): a guest that forgot the connection
            // answers our acknowledgement with a reset, and tries again.
            match self.phase {
                Phase::SynReceived if offset == -1 => self.syn_now = true,
                _ => self.ack_soon(),
            }
            return;
        }
        if !segment.flags.contains(Flags::ACK) {
            return;
        }
        if self.phase == Phase::SynReceived {
            if segment.ack != self.iss.wrapping_add(1) {
                self.phase = Phase::Reset;
                return;
            }
            self.established(segment.ack);
        }
        if !self.on_ack(segment, now) {
            return;
        }
        self.on_data(segment, offset, lan, now);
    }

    /// Takes acknowledgement and window; `false` if the segment acknowledges what was never sent.
    fn on_ack(&mut self, segment: &Segment<'_>, now: Instant) -> bool {
        let acked = distance(self.snd_una, segment.ack);
        if distance(self.snd_max, segment.ack) > 0 {
            self.ack_soon();
            return false;
        }
        let window = u32::from(segment.window) << self.snd_scale;
        let fresher = distance(self.window_from.0, segment.seq) > 0
            || self.window_from.0 == segment.seq && distance(self.window_from.1, segment.ack) >= 0;
        let window_changed = window != self.snd_window;
        if acked >= 0 && fresher {
            self.snd_window = window;
            self.window_from = (segment.seq, segment.ack);
        }
        if acked > 0 {
            self.on_progress(segment.ack, acked as usize, now);
        } else if acked == 0 && segment.len() == 0 && !window_changed && self.snd_max != self.snd_una {
            self.duplicate_acks += 1;
            if self.duplicate_acks == 3 && self.recover.is_none() {
                self.resend_one = true;
                self.recover = Some(self.snd_max);
            }
        }
        // A guest that answers probes is alive, however long it does not read.
        if self.snd_window == 0 {
            self.retries = 0;
        }
        // A window that opened ends the probing.
        if self.snd_window > 0 && self.snd_max == self.snd_una {
            self.deadline = None;
            self.retries = 0;
        }
        true
    }

    /// The guest acknowledged `acked` sequence numbers up to `ack`.
    fn on_progress(&mut self, ack: u32, acked: usize, now: Instant) {
        let data = acked.min(self.tx.len());
        self.tx.consume(data);
        if acked > data {
            self.fin_acked = true;
        }
        self.snd_una = ack;
        if distance(self.snd_una, self.snd_next) < 0 {
            self.snd_next = ack;
        }
        if let Some((seq, sent)) = self.timed
            && distance(seq, ack) > 0
        {
            self.timed = None;
            self.measure(now.saturating_duration_since(sent));
        }
        self.duplicate_acks = 0;
        match self.recover {
            // A partial acknowledgement: the next hole is at its edge (RFC 6582).
            Some(recover) if distance(ack, recover) > 0 => self.resend_one = true,
            _ => self.recover = None,
        }
        self.retries = 0;
        self.rto = self.base_rto();
        self.deadline = (self.snd_max != self.snd_una).then(|| now + self.rto);
    }

    /// RFC 6298, section 2.
    fn measure(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            None => (sample, sample / 2),
            Some((smooth, variance)) => ((smooth * 7 + sample) / 8, (variance * 3 + smooth.abs_diff(sample)) / 4),
        });
    }

    fn base_rto(&self) -> Duration {
        self.rtt.map_or(RTO_FIRST, |(smooth, variance)| (smooth + variance * 4).clamp(RTO_MIN, RTO_MAX))
    }

    /// Takes data and FIN. `offset`: the segment's place relative to what is expected.
    fn on_data(&mut self, segment: &Segment<'_>, offset: i32, lan: &mut Lan, now: Instant) {
        if segment.len() == 0 {
            // A keep-alive or window probe below the window wants an answer.
            if offset != 0 {
                self.ack_soon();
            }
            return;
        }
        if offset > 0 {
            // A hole. Three equal acknowledgements make the guest fill it at once (RFC 5681, section 3.2).
            self.acks = (self.acks + 1).min(3);
            return;
        }
        // A request: its answer will probably carry the acknowledgement, and save the guest an interrupt. No more than
        // every second segment waits (RFC 9293, section 3.8.6.3).
        let small = offset == 0 && segment.data.len() < self.mss && !segment.flags.contains(Flags::FIN);
        if small && self.acks == 0 && self.ack_by.is_none() && !self.guest_fin {
            self.ack_by = Some(now + ACK_DELAY);
        } else {
            self.ack_soon();
        }
        if self.guest_fin {
            return;
        }
        let old = offset.unsigned_abs() as usize;
        let Some(data) = segment.data.get(old..) else { return };
        let window = distance(self.rcv_next, self.rcv_edge).max(0) as usize;
        let accepted = data.len().min(window);
        if accepted > 0 {
            self.rcv_next = self.rcv_next.wrapping_add(accepted as u32);
            self.deliver(&data[..accepted], lan);
        }
        if accepted < data.len() {
            self.ack_soon();
        }
        if segment.flags.contains(Flags::FIN) && accepted == data.len() {
            self.rcv_next = self.rcv_next.wrapping_add(1);
            self.guest_fin = true;
            if self.phase == Phase::Open {
                self.drain_rx(lan);
            }
        }
    }

    // ---- to the guest ----

    /// Makes the next segment for the guest, if one is due.
    pub fn emit(&mut self, lan: &mut Lan, buf: &mut [u8], now: Instant) -> Option<(NetHdr, usize)> {
        let made = match self.phase {
            Phase::Connecting | Phase::Dead => None,
            Phase::SynSent | Phase::SynReceived => self.emit_syn(lan, buf, now),
            Phase::Open => self.emit_open(lan, buf, now),
            Phase::Reset => None,
        };
        // Reading from the host may have found the connection broken.
        if self.phase == Phase::Reset {
            self.abort_host();
            self.phase = Phase::Dead;
            return Some(self.write(Flags::RST | Flags::ACK, self.snd_max, (0, 0), &[], lan, buf));
        }
        // Both directions are closed and acknowledged: the guest, which closed last or first, is done with us.
        if self.phase == Phase::Open && self.fin_acked && self.host_shut && self.acks == 0 {
            self.phase = Phase::Dead;
        }
        made
    }

    fn emit_syn(&mut self, lan: &mut Lan, buf: &mut [u8], now: Instant) -> Option<(NetHdr, usize)> {
        if !std::mem::take(&mut self.syn_now) {
            return None;
        }
        self.deadline = Some(now + self.rto);
        if self.mac.is_none() {
            self.mac = lan.neighbour(*self.guest.ip());
        }
        if self.mac.is_none() {
            lan.send_arp_request(*self.guest.ip());
            return None;
        }
        let mss = our_mss(lan).min(usize::from(u16::MAX)) as u16;
        let [mss_high, mss_low] = mss.to_be_bytes();
        // MSS, a no-op for alignment, window scale; the latter in an answer only if the guest offered it.
        let options = [2, 4, mss_high, mss_low, 1, 3, 3, OUR_SCALE];
        let (flags, options) = match self.phase {
            Phase::SynSent => (Flags::SYN, &options[..]),
            _ if self.rcv_scale > 0 => (Flags::SYN | Flags::ACK, &options[..]),
            _ => (Flags::SYN | Flags::ACK, &options[..4]),
        };
        self.snd_max = self.iss.wrapping_add(1);
        self.snd_next = self.snd_max;
        Some(self.write(flags, self.iss, (0, 0), options, lan, buf))
    }

    fn emit_open(&mut self, lan: &mut Lan, buf: &mut [u8], now: Instant) -> Option<(NetHdr, usize)> {
        if std::mem::take(&mut self.probe_now) {
            // One byte before the window: the guest answers with its window and drops the rest.
            return Some(self.write(Flags::ACK, self.snd_una.wrapping_sub(1), (0, 0), &[], lan, buf));
        }
        self.pull(lan);
        if self.phase != Phase::Open {
            return None;
        }
        let in_flight = (distance(self.snd_una, self.snd_next).max(0) as usize).min(self.tx.len());
        if std::mem::take(&mut self.resend_one) && in_flight > 0 {
            let n = in_flight.min(self.max_segment(lan));
            self.timed = None;
            self.deadline = Some(now + self.rto);
            return Some(self.write(Flags::ACK, self.snd_una, (0, n), &[], lan, buf));
        }
        let n = self.sendable(in_flight, lan);
        if n > 0 {
            let last = in_flight + n == self.tx.len();
            let flags = if last { Flags::ACK | Flags::PSH } else { Flags::ACK };
            let made = self.write(flags, self.snd_next, (in_flight, n), &[], lan, buf);
            self.sent(n as u32, now);
            return Some(made);
        }
        // The FIN is in flight if the guest was sent one number more than there is data.
        let fin_in_flight = distance(self.snd_una, self.snd_next) > self.tx.len() as i32;
        if self.host_eof && !self.fin_acked && in_flight == self.tx.len() && !fin_in_flight {
            let made = self.write(Flags::FIN | Flags::ACK, self.snd_next, (0, 0), &[], lan, buf);
            self.sent(1, now);
            return Some(made);
        }
        if self.snd_window == 0 && self.tx.len() > in_flight && self.snd_max == self.snd_una && self.deadline.is_none()
        {
            self.deadline = Some(now + self.rto);
        }
        (self.acks > 0).then(|| self.write(Flags::ACK, self.snd_max, (0, 0), &[], lan, buf))
    }

    /// Data bytes that one segment may carry.
    fn max_segment(&self, lan: &Lan) -> usize {
        if lan.offloads.contains(Offloads::TSO4) { MAX_SEGMENT / self.mss * self.mss } else { self.mss }
    }

    /// How many bytes behind those in flight go into the next segment; zero if none should.
    fn sendable(&self, in_flight: usize, lan: &Lan) -> usize {
        let waiting = self.tx.len() - in_flight;
        let window = (self.snd_window as usize).saturating_sub(in_flight);
        let n = waiting.min(window).min(self.max_segment(lan));
        if n < waiting && n > self.mss {
            return n / self.mss * self.mss;
        }
        // A sliver of window is not worth a segment while an acknowledgement will come (RFC 9293, section 3.8.6.2.1).
        if n < waiting && n < self.mss && in_flight > 0 {
            return 0;
        }
        n
    }

    /// Book-keeping after `n` new sequence numbers went out.
    fn sent(&mut self, n: u32, now: Instant) {
        let first_time = self.snd_next == self.snd_max;
        if first_time && self.timed.is_none() {
            self.timed = Some((self.snd_next, now));
        }
        self.snd_next = self.snd_next.wrapping_add(n);
        if distance(self.snd_max, self.snd_next) > 0 {
            self.snd_max = self.snd_next;
        }
        if self.deadline.is_none() {
            self.deadline = Some(now + self.rto);
        }
        self.last_used = now;
    }

    /// Writes a segment with `data` (start and length in `tx`), and the acknowledgement that is due anyway.
    fn write(
        &mut self,
        flags: Flags,
        seq: u32,
        data: (usize, usize),
        options: &[u8],
        lan: &mut Lan,
        buf: &mut [u8],
    ) -> (NetHdr, usize) {
        let edge = self.rcv_next.wrapping_add(self.rx_space(lan) as u32);
        if distance(self.rcv_edge, edge) > 0 {
            self.rcv_edge = edge;
        }
        let window = distance(self.rcv_next, self.rcv_edge).max(0) as u32;
        let syn = flags.contains(Flags::SYN);
        // The window in a SYN is never scaled (RFC 7323, section 2.2).
        let scale = if syn { 0 } else { self.rcv_scale };
        let window = (window >> scale).min(u32::from(u16::MAX));
        let pure = flags == Flags::ACK && data.1 == 0;
        self.acks = if self.acks > 1 { self.acks - u32::from(pure) } else { 0 };
        if flags.contains(Flags::ACK) {
            self.ack_by = None;
        }
        let header = Header {
            mac: self.mac.unwrap_or(super::super::lan::BROADCAST),
            src: self.remote,
            dst: self.guest,
            seq,
            ack: if flags.contains(Flags::ACK) { self.rcv_next } else { 0 },
            flags,
            window: window as u16,
            options,
            mss: self.mss,
        };
        header.write(lan, buf, self.tx.range(data.0, data.1))
    }

    /// Bytes the guest may send beyond `rcv_next`.
    fn rx_space(&self, lan: &Lan) -> usize {
        let limit = if lan.tcp_buffered < lan.config.limits.tcp_buffer { RX_MAX } else { SMALL };
        limit.saturating_sub(self.rx.len())
    }

    /// The moment that `due` names has come.
    pub fn on_time(&mut self, paused: bool, now: Instant) {
        if self.ack_by.is_some_and(|at| at <= now) {
            self.ack_by = None;
            self.ack_soon();
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.on_timer(paused, now);
        }
    }

    /// `deadline` has passed. While the guest takes no frames (`paused`) time does not count against it.
    fn on_timer(&mut self, paused: bool, now: Instant) {
        self.deadline = None;
        if paused && self.phase != Phase::SynSent {
            self.deadline = Some(now + self.rto);
            return;
        }
        match self.phase {
            Phase::SynSent | Phase::SynReceived => {
                if now.saturating_duration_since(self.created) > CONNECT_TIMEOUT {
                    self.abort_host();
                    self.phase = Phase::Dead;
                    return;
                }
                self.syn_now = true;
                self.rto = (self.rto * 2).min(SYN_RTO_MAX);
            }
            Phase::Open if self.snd_max != self.snd_una => {
                self.retries += 1;
                if self.retries > RETRIES {
                    return self.reset_guest(Errno::TIMEDOUT);
                }
                // Start over from the first unacknowledged byte.
                self.snd_next = self.snd_una;
                self.timed = None;
                self.recover = None;
                self.duplicate_acks = 0;
                self.rto = (self.rto * 2).min(RTO_MAX);
                // Nothing would go out into a closed window: ask for it.
                self.probe_now = self.snd_window == 0;
                self.deadline = Some(now + self.rto);
            }
            Phase::Open if !self.tx.is_empty() && self.snd_window == 0 => {
                self.probe_now = true;
                self.rto = (self.rto * 2).min(RTO_MAX);
                self.deadline = Some(now + self.rto);
            }
            _ => {}
        }
    }
}

/// The MSS we offer: what the link's MTU leaves.
fn our_mss(lan: &Lan) -> usize {
    usize::from(lan.config.mtu) - 40
}
