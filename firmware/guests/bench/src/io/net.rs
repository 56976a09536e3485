//! The network card: ICMP echoes to the router of the user network, 10.0.2.2.

use super::virtio::{Device, NET, Queue, WRITE, Wait};
use crate::session::{Check, Outcome, Problem, Session};

/// This machine's address and the router's.
const OUR_IP: [u8; 4] = [10, 0, 2, 15];
const ROUTER_IP: [u8; 4] = [10, 0, 2, 2];
/// If the device tells no address of its own.
const OUR_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const BROADCAST: [u8; 6] = [0xff; 6];

const ETHERNET: usize = 14;
const IP: usize = 20;
const ICMP: usize = 8;
const ARP: usize = 28;
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_IP: [u8; 2] = [0x08, 0x00];
const PROTOCOL_ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const IDENTIFIER: [u8; 2] = *b"Vi";

const BUFFER: usize = 2048;
const RECEIVE_BUFFERS: u16 = 64;
/// Frames under way, at most.
const SEND_BUFFERS: u16 = 32;

/// The device's header of a frame: without what was not negotiated it is all zeros. Before virtio 1.0 it had no count
/// of buffers.
fn header_len(legacy: bool) -> usize {
    if legacy { 10 } else { 12 }
}

struct Card {
    receive: Queue,
    send: Queue,
    /// Buffers of both, placed so that what ICMP carries is aligned to eight bytes.
    received: usize,
    sent: usize,
    header: usize,
    mac: [u8; 6],
    router: [u8; 6],
    echo: Echo,
    /// The next slot to send from, and how many are with the device.
    slot: u16,
    busy: u16,
    device: Device,
}

/// What came in.
enum Frame {
    /// An echo is back: its number, and whether it is what was sent.
    Echo(u16, bool),
    /// The router told its address.
    Router([u8; 6]),
    /// Somebody asks for ours.
    Asked([u8; 6], [u8; 4]),
    Other,
}

fn bytes(address: usize, len: usize) -> &'static mut [u8] {
    // SAFETY: a part of a buffer of ours that the device does not use, for the time until it is given to it.
    unsafe { core::slice::from_raw_parts_mut(address as *mut u8, len) }
}

/// The sum of 16-bit words that checksums are made of, carries added in.
fn sum_of(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let pairs: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    pairs + rest.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>()
}

/// The checksum of IP and ICMP that goes with a sum.
fn checksum(mut sum: u64) -> [u8; 2] {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Whether the checksum inside of `len` bytes is right, eight bytes at a time: the order of bytes does not matter to it.
fn adds_up(address: usize, len: usize) -> bool {
    let mut sum = 0u64;
    for at in (0..len).step_by(8) {
        // SAFETY: a part of a receive buffer, aligned to eight bytes.
        let (more, carry) = sum.overflowing_add(unsafe { ((address + at) as *const u64).read_volatile() });
        sum = more + u64::from(carry);
    }
    checksum((sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48)) == [0, 0]
}

/// What the echoes of a benchmark have in common.
#[derive(Clone, Copy)]
struct Echo {
    /// Bytes, a multiple of eight.
    payload: usize,
    /// Sum of the payload and the identifier.
    sum: u64,
}

/// A byte of the payload.
fn payload_byte(at: usize) -> u8 {
    (at as u8).wrapping_mul(7).wrapping_add(3)
}

impl Echo {
    fn new(payload: usize) -> Self {
        let bytes: u64 = (0..payload).map(|at| u64::from(payload_byte(at)) << if at % 2 == 0 { 8 } else { 0 }).sum();
        Self { payload, sum: bytes + sum_of(&IDENTIFIER) }
    }

    fn checksum(&self, kind: u8, sequence: u16) -> [u8; 2] {
        checksum(self.sum + (u64::from(kind) << 8) + u64::from(sequence))
    }

    /// Bytes of ICMP.
    fn len(&self) -> usize {
        ICMP + self.payload
    }
}

impl Card {
    fn open(s: &Session, echo: Echo) -> Result<Self, Problem> {
        let device = Device::find(NET, 0, "no virtio-net device on virtio-mmio")?;
        let mac = core::array::from_fn(|at| device.config_byte(at));
        let mac = if mac == [0; 6] { OUR_MAC } else { mac };
        let receive = device.queue(s, 0, RECEIVE_BUFFERS.into())?;
        let send = device.queue(s, 1, SEND_BUFFERS.into())?;
        let header = header_len(device.legacy);
        let pad = (header + ETHERNET + IP).next_multiple_of(8) - (header + ETHERNET + IP);
        let buffers = |count: u16| -> Result<usize, Problem> {
            let slice = s.slice::<u64>((usize::from(count) + 1) * BUFFER / 8)?;
            Ok(slice.as_mut_ptr() as usize + pad)
        };
        let (received, sent) = (buffers(receive.size)?, buffers(send.size)?);
        let router = BROADCAST;
        let mut card = Self { receive, send, received, sent, header, mac, router, echo, slot: 0, busy: 0, device };
        card.device.start();
        for slot in 0..card.receive.size {
            card.refill(slot);
        }
        card.receive.kick();
        card.find_router()?;
        card.prepare(&echo)?;
        Ok(card)
    }

    /// Gives a receive buffer to the device, without a word to it.
    fn refill(&mut self, slot: u16) {
        let address = self.received + usize::from(slot) * BUFFER;
        self.receive.describe(slot, address, BUFFER as u32, WRITE, 0);
        self.receive.offer(slot);
    }

    /// Asks who 10.0.2.2 is.
    fn find_router(&mut self) -> Outcome {
        for _ in 0..3 {
            self.send_arp(1, BROADCAST, [0; 6], ROUTER_IP)?;
            self.send.kick();
            while Wait::Poll.until(&self.receive) {
                if let Some(Frame::Router(mac)) = self.take()? {
                    self.router = mac;
                    return Ok(());
                }
            }
        }
        Err(Problem::Skip("nobody is 10.0.2.2: the card is not on a user network"))
    }

    /// Room for a frame of `len` bytes, zeroed but for its addresses and type.
    fn frame(&mut self, len: usize, to: [u8; 6], kind: [u8; 2]) -> Result<&'static mut [u8], Problem> {
        if !self.make_room() {
            return Err(Problem::Fail("the card does not send"));
        }
        // Frames are sent in order, so that the oldest slot is free.
        let address = self.sent + usize::from(self.slot) * BUFFER;
        let all = bytes(address, self.header + len);
        all.fill(0);
        let frame = &mut all[self.header..];
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&self.mac);
        frame[12..14].copy_from_slice(&kind);
        Ok(frame)
    }

    /// Gives the frame to the device, without a word to it.
    fn offer(&mut self, len: usize) {
        let address = self.sent + usize::from(self.slot) * BUFFER;
        self.send.describe(self.slot, address, (self.header + len) as u32, 0, 0);
        self.send.offer(self.slot);
        self.slot = (self.slot + 1) % self.send.size;
        self.busy += 1;
    }

    fn send_arp(&mut self, operation: u8, to: [u8; 6], target: [u8; 6], ip: [u8; 4]) -> Outcome {
        let mac = self.mac;
        let arp = &mut self.frame(ETHERNET + ARP, to, TYPE_ARP)?[ETHERNET..];
        arp[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        arp[8..14].copy_from_slice(&mac);
        arp[14..18].copy_from_slice(&OUR_IP);
        arp[18..24].copy_from_slice(&target);
        arp[24..28].copy_from_slice(&ip);
        self.offer(ETHERNET + ARP);
        Ok(())
    }

    /// Makes all frames that are sent echoes: only the sequence number and the checksum are missing.
    fn prepare(&mut self, echo: &Echo) -> Outcome {
        while self.busy != 0 {
            if !Wait::Poll.until(&self.send) {
                return Err(Problem::Fail("the card does not send"));
            }
            self.send.take();
            self.busy -= 1;
        }
        for _ in 0..self.send.size {
            let frame = self.frame(ETHERNET + IP + echo.len(), self.router, TYPE_IP)?;
            let (ip, icmp) = frame[ETHERNET..].split_at_mut(IP);
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&((IP + echo.len()) as u16).to_be_bytes());
            ip[8] = 64;
            ip[9] = PROTOCOL_ICMP;
            ip[12..16].copy_from_slice(&OUR_IP);
            ip[16..20].copy_from_slice(&ROUTER_IP);
            let sum = checksum(sum_of(ip));
            ip[10..12].copy_from_slice(&sum);
            icmp[0] = ECHO_REQUEST;
            icmp[4..6].copy_from_slice(&IDENTIFIER);
            icmp[ICMP..].iter_mut().enumerate().for_each(|(at, byte)| *byte = payload_byte(at));
            self.slot = (self.slot + 1) % self.send.size;
        }
        Ok(())
    }

    /// Whether a frame can be sent, or will be able to.
    fn make_room(&mut self) -> bool {
        if self.busy == self.send.size && !Wait::Poll.until(&self.send) {
            return false;
        }
        while self.send.take().is_some() {
            self.busy -= 1;
        }
        true
    }

    /// Gives a prepared echo to the device, without a word to it.
    fn send_echo(&mut self, echo: &Echo, sequence: u16) {
        let icmp = bytes(self.sent + usize::from(self.slot) * BUFFER + self.header + ETHERNET + IP, ICMP);
        icmp[2..4].copy_from_slice(&echo.checksum(ECHO_REQUEST, sequence));
        icmp[6..8].copy_from_slice(&sequence.to_be_bytes());
        self.offer(ETHERNET + IP + echo.len());
    }

    /// A frame that came in; its buffer goes back to the device at once.
    fn take(&mut self) -> Result<Option<Frame>, Problem> {
        let Some((slot, len)) = self.receive.take() else { return Ok(None) };
        let slot = slot % self.receive.size;
        let len = (len as usize).clamp(self.header, BUFFER);
        let frame = &bytes(self.received + usize::from(slot) * BUFFER, len)[self.header..];
        let what = self.read(frame);
        self.refill(slot);
        if let Frame::Asked(mac, ip) = what {
            self.send_arp(2, mac, mac, ip)?;
            self.send.kick();
            let echo = self.echo;
            self.prepare(&echo)?;
        }
        Ok(Some(what))
    }

    fn read(&self, frame: &[u8]) -> Frame {
        let is = |at: usize, what: &[u8]| frame.get(at..at + what.len()) == Some(what);
        let arp = ETHERNET;
        if is(12, &TYPE_ARP) && frame.len() >= ETHERNET + ARP {
            let mac = core::array::from_fn(|i| frame[arp + 8 + i]);
            let ip = core::array::from_fn(|i| frame[arp + 14 + i]);
            return match frame[arp + 7] {
                1 if is(arp + 24, &OUR_IP) => Frame::Asked(mac, ip),
                2 if ip == ROUTER_IP => Frame::Router(mac),
                _ => Frame::Other,
            };
        }
        let icmp = ETHERNET + IP;
        let echo = [ETHERNET + 9, icmp].map(|at| frame.get(at).copied()) == [Some(PROTOCOL_ICMP), Some(ECHO_REPLY)];
        if !(is(12, &TYPE_IP) && is(ETHERNET, &[0x45]) && echo && is(icmp + 4, &IDENTIFIER)) {
            return Frame::Other;
        }
        let sequence = u16::from_be_bytes([frame[icmp + 6], frame[icmp + 7]]);
        // The length that IP says: short frames are padded.
        let total = usize::from(u16::from_be_bytes([frame[ETHERNET + 2], frame[ETHERNET + 3]]));
        let whole = total == IP + self.echo.len() && frame.len() >= ETHERNET + total;
        let right = whole
            && frame[icmp + 2..icmp + 4] == self.echo.checksum(ECHO_REPLY, sequence)
            && adds_up(frame.as_ptr() as usize + icmp, self.echo.len())
            && [0, self.echo.payload - 1].iter().all(|at| frame[icmp + ICMP + at] == payload_byte(*at));
        Frame::Echo(sequence, right)
    }
}

/// How echoes are sent.
struct Plan {
    payload: usize,
    /// Under way at a time.
    window: u64,
    wait: Wait,
    /// Units of one.
    per: u64,
}

fn echoes(s: &Session, plan: &Plan) -> Outcome {
    let mut card = Card::open(s, Echo::new(plan.payload))?;
    let line = card.device.line();
    // Goes on from round to round: an echo that comes late belongs to none.
    let mut sequence = 0u16;
    plan.wait.with(line, || s.measure(plan.per, &mut |k| Check::new(round(&mut card, plan, &mut sequence, k), k)))
}

/// `k` echoes; returns how many came back as they should, each once.
fn round(card: &mut Card, plan: &Plan, sequence: &mut u16, k: u64) -> u64 {
    let first = *sequence;
    let echo = card.echo;
    let (mut sent, mut back, mut good) = (0, 0, 0);
    while back < k {
        let before = sent;
        while sent < k && sent - back < plan.window && card.make_room() {
            card.send_echo(&echo, *sequence);
            *sequence = sequence.wrapping_add(1);
            sent += 1;
        }
        if sent != before {
            card.send.kick();
        }
        if !plan.wait.until(&card.receive) {
            break;
        }
        while let Ok(Some(frame)) = card.take() {
            if let Frame::Echo(number, right) = frame {
                // They come back in order.
                good += u64::from(right && number == first.wrapping_add(back as u16));
                back += 1;
            }
        }
        card.receive.kick();
    }
    good
}

const SMALL: Plan = Plan { payload: 56, window: 1, wait: Wait::Interrupt, per: 1 };

pub fn echo(s: &Session) -> Outcome {
    echoes(s, &SMALL)
}

pub fn echo_poll(s: &Session) -> Outcome {
    echoes(s, &Plan { wait: Wait::Poll, ..SMALL })
}

pub fn echo_deep(s: &Session) -> Outcome {
    echoes(s, &Plan { window: 16, ..SMALL })
}

pub fn echo_large(s: &Session) -> Outcome {
    echoes(s, &Plan { payload: 1400, window: 16, per: 2 * 1400, ..SMALL })
}
