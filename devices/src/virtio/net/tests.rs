//! A card behind both transports, over a back end that loops, blocks and counts.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use vm_memory::ByteValued;

use super::*;
use crate::MmioDevice;
use crate::backend::net::{MAX_FRAME, NetCaps, NetHdr, SendResult};
use crate::virtio::testing::Driver;

/// What the test and its back end share.
#[derive(Default)]
struct Wire {
    /// From the guest.
    sent: Vec<(NetHdr, Vec<u8>)>,
    /// For the guest.
    waiting: VecDeque<(NetHdr, Vec<u8>)>,
    full: bool,
    paused: bool,
    started: Vec<Offloads>,
    /// Every frame that is sent comes back.
    echo: bool,
    sender: Option<std::thread::ThreadId>,
}

struct FakeBackend {
    wire: Arc<Mutex<Wire>>,
    bell: Arc<OwnedFd>,
    caps: NetCaps,
}

impl NetBackend for FakeBackend {
    fn describe(&self) -> String {
        "fake".to_owned()
    }
    fn caps(&self) -> NetCaps {
        self.caps
    }
    fn start(&mut self, to_guest: Offloads) {
        self.wire.lock().unwrap().started.push(to_guest);
    }
    fn send(&mut self, hdr: &NetHdr, frame: &[u8]) -> SendResult {
        let mut wire = self.wire.lock().unwrap();
        if wire.full {
            return SendResult::Full;
        }
        wire.sent.push((*hdr, frame.to_vec()));
        wire.sender = Some(std::thread::current().id());
        if wire.echo {
            wire.waiting.push_back((*hdr, frame.to_vec()));
        }
        SendResult::Done
    }
    fn recv(&mut self, buf: &mut [u8]) -> Option<(NetHdr, usize)> {
        assert!(buf.len() >= MAX_FRAME);
        let (hdr, frame) = self.wire.lock().unwrap().waiting.pop_front()?;
        buf[..frame.len()].copy_from_slice(&frame);
        Some((hdr, frame.len()))
    }
    fn pause_rx(&mut self, paused: bool) {
        self.wire.lock().unwrap().paused = paused;
    }
    fn event_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
    fn service(&mut self, _: Instant) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

struct Net {
    d: Driver,
    wire: Arc<Mutex<Wire>>,
    bell: Arc<OwnedFd>,
    buf: u64,
}

impl Net {
    fn new(legacy: bool, without: u64) -> Self {
        Self::with_link(legacy, without).0
    }

    fn with_link(legacy: bool, without: u64) -> (Self, Arc<Link>) {
        let wire = Arc::new(Mutex::new(Wire::default()));
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let all = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6;
        let caps = NetCaps { from_guest: all, to_guest: all, mtu: Some(1500) };
        let backend = FakeBackend { wire: Arc::clone(&wire), bell: Arc::clone(&bell), caps };
        let device = VirtioNet::new("virtio-net", Box::new(backend), NetConfig::new(MAC)).unwrap();
        let link = device.link();
        let mut d = Driver::ready(Box::new(device), legacy, 3, without);
        let buf = d.alloc(1 << 20);
        (Self { d, wire, bell, buf }, link)
    }

    fn wake(&self) {
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes()).unwrap();
    }

    fn arrive(&self, hdr: NetHdr, frame: Vec<u8>) {
        self.wire.lock().unwrap().waiting.push_back((hdr, frame));
        self.wake();
    }

    fn command(&mut self, bytes: &[u8]) -> u8 {
        let at = self.buf + 0xf0000;
        self.d.write_bytes(at, bytes);
        self.d.put(at + 0x8000, 0xffu8);
        self.d.submit(2, &[(at, 2, false), (at + 2, bytes.len() as u32 - 2, false), (at + 0x8000, 1, true)]);
        self.d.wait_used(2);
        self.d.get(at + 0x8000)
    }
}

fn frame(len: usize, to: [u8; 6]) -> Vec<u8> {
    let mut f: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
    f[..6].copy_from_slice(&to);
    f
}

#[test]
fn frames_leave_with_their_headers() {
    for (legacy, without, header) in
        [(false, 0, 12), (true, 0, 12), (true, feature::MRG_RXBUF, 10), (false, feature::MRG_RXBUF, 12)]
    {
        let mut n = Net::new(legacy, without);
        assert_eq!(n.d.config::<12>(0), [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 1, 0, 0xdc, 5]);
        let big = frame(60_000, [2; 6]);
        let hdr = NetHdr {
            flags: 1,
            gso_type: 1,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 0,
        };
        n.d.write_bytes(n.buf, &hdr.as_slice()[..header]);
        n.d.write_bytes(n.buf + 4096, &big);
        n.d.submit(1, &[(n.buf, header as u32, false), (n.buf + 4096, 60_000, false)]);
        assert_eq!(n.d.wait_used(1).1, 0);
        let wire = n.wire.lock().unwrap();
        assert_eq!(wire.sent, [(hdr, big)]);
        assert_eq!(wire.started, [Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6]);
    }
}

#[test]
fn a_big_frame_fills_several_buffers_at_once() {
    let mut n = Net::new(false, 0);
    let big = frame(10_000, MAC);
    n.arrive(NetHdr { gso_type: 1, gso_size: 1448, ..Default::default() }, big.clone());
    let wire = Arc::clone(&n.wire);
    n.d.wait("rx paused without buffers", || wire.lock().unwrap().paused);
    for i in 0..8u64 {
        n.d.add(0, &[(n.buf + 4096 * i, 2048, true)]);
    }
    n.d.kick(0);
    let first = n.d.wait_used(0);
    assert_eq!(first.1, 2048);
    // The others are there as soon as the first is.
    let rest: Vec<u32> = (0..4).map(|_| n.d.poll_used(0).expect("all buffers of a frame").1).collect();
    assert_eq!(rest, [2048, 2048, 2048, 10_012 - 4 * 2048]);
    assert!(n.d.poll_used(0).is_none());
    assert_eq!(n.d.get::<u16>(n.buf + 10), 5, "num_buffers");
    let mut got = n.d.bytes(n.buf + 12, 2036);
    (1..5).for_each(|i| got.extend(n.d.bytes(n.buf + 4096 * i, 2048)));
    assert_eq!(got[..10_000], big);
    n.arrive(NetHdr::default(), frame(60, MAC));
    assert_eq!(n.d.wait_used(0).1, 72, "the other buffers are still good");
}

#[test]
fn without_merging_a_frame_has_one_buffer_or_is_dropped() {
    for legacy in [false, true] {
        let mut n = Net::new(legacy, feature::MRG_RXBUF);
        for i in 0..3u64 {
            n.d.add(0, &[(n.buf + 4096 * i, 10, true), (n.buf + 4096 * i + 64, 1536, true)]);
        }
        n.d.kick(0);
        n.arrive(NetHdr::default(), frame(5000, MAC));
        n.arrive(NetHdr::default(), frame(100, MAC));
        let header = if legacy { 10 } else { 12 };
        assert_eq!(n.d.wait_used(0).1, 100 + header);
        assert!(n.d.poll_used(0).is_none());
        if !legacy {
            assert_eq!(n.d.get::<u16>(n.buf + 64), 1, "num_buffers in the second descriptor");
        }
    }
}

#[test]
fn a_full_back_end_holds_the_guest_back_and_loses_nothing() {
    let mut n = Net::new(false, 0);
    n.wire.lock().unwrap().full = true;
    for i in 0..50u64 {
        let at = n.buf + 256 * i;
        n.d.write_bytes(at + 12, &frame(60 + i as usize, [2; 6]));
        n.d.add(1, &[(at, 12 + 60 + i as u32, false)]);
    }
    n.d.kick(1);
    n.d.kick(1);
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(n.d.poll_used(1).is_none());
    n.wire.lock().unwrap().full = false;
    n.wake();
    for _ in 0..50 {
        n.d.wait_used(1);
    }
    let lengths: Vec<usize> = n.wire.lock().unwrap().sent.iter().map(|s| s.1.len()).collect();
    assert_eq!(lengths, (60..110).collect::<Vec<_>>());
}

#[test]
fn the_control_queue_sets_filters_addresses_and_offloads() {
    let mut n = Net::new(false, 0);
    assert_eq!(n.command(&[0, 0, 0]), 0, "promiscuous off");
    assert_eq!(n.command(&[0, 9, 0]), 1, "no such mode");
    assert_eq!(n.command(&[1, 1, 2, 3, 4, 5, 6, 7]), 0);
    assert_eq!(n.d.config::<6>(0), [2, 3, 4, 5, 6, 7]);
    assert_eq!(n.command(&[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1]), 0);
    assert_eq!(n.command(&[1, 0, 9, 0, 0, 0]), 1, "short table");
    assert_eq!(n.command(&[9, 0, 0]), 1, "no such class");
    let mut offloads = vec![5, 0];
    offloads.extend(feature::GUEST_CSUM.to_le_bytes());
    assert_eq!(n.command(&offloads), 0);
    assert_eq!(n.wire.lock().unwrap().started.last(), Some(&Offloads::CSUM));
    assert_eq!(n.command(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 1]), 1, "offload that was not negotiated");
    for i in 0..4u64 {
        n.d.add(0, &[(n.buf + 4096 * i, 2048, true)]);
    }
    n.d.kick(0);
    n.arrive(NetHdr::default(), frame(60, MAC)); // the old address: filtered
    n.arrive(NetHdr::default(), frame(61, [2, 3, 4, 5, 6, 7]));
    n.arrive(NetHdr::default(), frame(62, [1, 0, 0x5e, 0, 0, 2])); // not in the table
    n.arrive(NetHdr::default(), frame(63, [1, 0, 0x5e, 0, 0, 1]));
    n.arrive(NetHdr::default(), frame(64, [0xff; 6]));
    let lengths: Vec<u32> = (0..3).map(|_| n.d.wait_used(0).1 - 12).collect();
    assert_eq!(lengths, [61, 63, 64]);
    n.d.w(0x70, 0);
    assert_eq!(n.d.config::<6>(0), MAC, "reset restores the address");
}

#[test]
fn hostile_buffers_and_frames_do_no_harm() {
    // Merged buffers of one byte each can never hold a header.
    let mut n = Net::new(false, 0);
    n.d.submit(0, &[(n.buf, 11, true)]);
    n.arrive(NetHdr::default(), frame(60, MAC));
    n.d.wait_needs_reset();
    // A queue full of tiny buffers: the frame is dropped, and the next one that fits arrives.
    let mut n = Net::new(false, 0);
    for i in 0..256u64 {
        n.d.add(0, &[(n.buf + 16 * i, 12, true)]);
    }
    n.d.kick(0);
    n.arrive(NetHdr::default(), frame(60_000, MAC));
    n.arrive(NetHdr::default(), frame(60, MAC));
    assert_eq!(n.d.wait_used(0).1, 12);
    // No header, no data, far too much data.
    let mut n = Net::new(false, 0);
    n.d.submit(1, &[(n.buf, 12, false)]);
    n.d.submit(1, &[(n.buf, 70_000, false), (n.buf, 70_000, false)]);
    n.d.wait_used(1);
    n.d.wait_used(1);
    assert!(n.wire.lock().unwrap().sent.is_empty());
    n.d.submit(1, &[(n.buf, 11, false)]);
    n.d.wait_needs_reset();
}

#[test]
fn pausing_keeps_the_card_as_it_is() {
    let mut n = Net::new(false, 0);
    assert_eq!(n.command(&[0, 0, 0]), 0);
    n.d.dev.pause();
    let state = n.d.dev.save().unwrap();
    let DeviceState::Net { filter, .. } = &state.device else { panic!("{state:?}") };
    assert!(!filter.promiscuous);
    n.d.dev.reset();
    n.d.dev.restore(&state);
    n.d.dev.resume();
    n.d.submit(0, &[(n.buf, 2048, true)]);
    n.arrive(NetHdr::default(), frame(60, [2; 6]));
    n.arrive(NetHdr::default(), frame(70, MAC));
    assert_eq!(n.d.wait_used(0).1, 82);
}

/// Frames are lost while the link is down, and the driver is told, once each; resets and moves leave it as it is.
#[test]
fn a_link_goes_down_and_up() {
    let (mut n, link) = Net::with_link(false, 0);
    for i in 0..4 {
        n.d.add(0, &[(n.buf + 2048 * i, 2048, true)]);
    }
    n.d.kick(0);
    let carrier = |n: &Net| n.d.config::<2>(6)[0];
    let set = |n: &mut Net, up: bool| {
        n.d.dev.pause();
        link.set(up);
        n.d.dev.resume();
        let what = if up { "the link to be up" } else { "the link to be down" };
        n.d.wait(what, || n.d.r(0x60) & 2 != 0);
        n.d.w(0x64, 2);
        assert_eq!(carrier(n), u8::from(up));
    };
    assert_eq!(carrier(&n), 1);
    set(&mut n, false);
    n.arrive(NetHdr::default(), frame(60, MAC));
    n.d.wait("the frame to be lost", || n.wire.lock().unwrap().waiting.is_empty());
    n.d.submit(1, &[(n.buf + 0x8000, 12, false), (n.buf + 0x9000, 60, false)]);
    n.d.wait_used(1);
    assert!(n.wire.lock().unwrap().sent.is_empty());
    n.d.dev.pause();
    let down = n.d.dev.save().unwrap();
    n.d.dev.resume();
    set(&mut n, true);
    n.arrive(NetHdr::default(), frame(70, MAC));
    assert_eq!(n.d.wait_used(0).1, 82, "the first that the guest gets");
    n.d.submit(1, &[(n.buf + 0x8000, 12, false), (n.buf + 0x9000, 60, false)]);
    n.d.wait_used(1);
    assert_eq!(n.wire.lock().unwrap().sent.len(), 1);
    // As it was saved, and as the driver knows it.
    n.d.dev.pause();
    n.d.dev.restore(&down);
    assert!(!link.is_up());
    n.d.dev.resume();
    assert_eq!((carrier(&n), n.d.r(0x60) & 2), (0, 0));
    n.d.dev.reset();
    assert!(!link.is_up());
}

#[test]
fn bad_properties_are_named() {
    let make = |config| {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let backend = FakeBackend { wire: Arc::default(), bell, caps: NetCaps::default() };
        VirtioNet::new("n", Box::new(backend), config).map(|_| ()).unwrap_err().to_string()
    };
    assert!(make(NetConfig { rx_queue_size: 100, ..NetConfig::new(MAC) }).contains("rx_queue_size=100"));
    assert!(make(NetConfig::new([1; 6])).contains("multicast"));
    assert!(make(NetConfig { mtu: Some(10), ..NetConfig::new(MAC) }).contains("host_mtu=10"));
}

/// A frame and its answer, all on the thread that kicks; a long frame is the worker's.
#[test]
fn a_hart_sends_short_frames_itself() {
    let mut n = Net::new(false, 0);
    n.wire.lock().unwrap().echo = true;
    let me = std::thread::current().id();
    let (buf, send) = (n.buf, n.buf + (256 << 10));
    let mut echo = |len: usize| {
        n.d.submit(0, &[(buf, 128 << 10, true)]);
        n.d.write_bytes(send, &[0; 12]);
        n.d.write_bytes(send + 12, &frame(len, MAC));
        n.d.submit(1, &[(send, 12 + len as u32, false)]);
        assert_eq!(n.d.wait_used(0).1, 12 + len as u32);
        n.d.wait_used(1);
        n.wire.lock().unwrap().sender == Some(me)
    };
    // The worker may be at its first look while the first frames come.
    while !echo(100) {}
    assert!(!echo(9000));
    while !echo(100) {}
}
