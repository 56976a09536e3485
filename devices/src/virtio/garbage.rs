//! Drivers that break every rule: no device may panic, hang, or fail to work after a reset.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::blk::{BlkConfig, VirtioBlk};
use super::console::{PortConfig, VirtioConsole};
use super::device::VirtioDevice;
use super::net::{NetConfig, VirtioNet};
use super::rng::{RngSource, VirtioRng};
use super::testing::{Driver, RAM_BASE, RAM_SIZE};
use crate::MmioDevice;
use crate::backend::block::{AioMode, BlockOptions, open_raw};
use crate::backend::net::{NetBackend, NetCaps, NetHdr, Offloads, SendResult};

/// xorshift64*: seeds are fixed, so a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// Values that break arithmetic, more often than plain noise does.
    fn nasty(&mut self) -> u64 {
        let ram_end = RAM_BASE + RAM_SIZE as u64;
        let edges = [0, 1, 2, 3, 0xffff, 0x8000, 0xffff_ffff, u64::MAX, u64::MAX - 15, RAM_BASE, RAM_BASE - 1, ram_end];
        match self.below(4) {
            0 => edges[self.below(edges.len() as u64) as usize],
            1 => RAM_BASE + self.below(RAM_SIZE as u64),
            2 => 1 << self.below(64),
            _ => self.roll(),
        }
    }
}

/// A back end that returns every frame.
struct Mirror(Vec<(NetHdr, Vec<u8>)>, std::os::fd::OwnedFd);

impl NetBackend for Mirror {
    fn describe(&self) -> String {
        "mirror".to_owned()
    }
    fn caps(&self) -> NetCaps {
        NetCaps { from_guest: Offloads::all(), to_guest: Offloads::all(), mtu: None }
    }
    fn start(&mut self, _: Offloads) {}
    fn send(&mut self, hdr: &NetHdr, frame: &[u8]) -> SendResult {
        if self.0.len() < 16 {
            self.0.push((*hdr, frame.to_vec()));
        }
        SendResult::Done
    }
    fn recv(&mut self, buf: &mut [u8]) -> Option<(NetHdr, usize)> {
        let (hdr, frame) = self.0.pop()?;
        buf[..frame.len()].copy_from_slice(&frame);
        Some((hdr, frame.len()))
    }
    fn pause_rx(&mut self, _: bool) {}
    fn event_fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }
    fn service(&mut self, _: Instant) {}
}

fn disk(aio: AioMode) -> Box<dyn VirtioDevice> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0x42; 65536]).unwrap();
    let options = BlockOptions { aio, discard: true, ..Default::default() };
    // The open descriptor outlives the name.
    let backend = open_raw(file.path(), &options).unwrap();
    Box::new(VirtioBlk::new("blk", backend, BlkConfig { queues: 2, ..Default::default() }).unwrap())
}

/// Every kind of device, with the number of its queues.
fn devices() -> Vec<(Box<dyn VirtioDevice>, u32)> {
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let port = |nr| PortConfig { nr, name: format!("p{nr}"), console: nr == 0, endpoint: None };
    let net = VirtioNet::new("net", Box::new(Mirror(Vec::new(), bell)), NetConfig::new([2; 6])).unwrap();
    vec![
        (disk(AioMode::Auto), 2),
        (disk(AioMode::Threads), 2),
        (Box::new(net), 3),
        (Box::new(VirtioRng::new("rng", RngSource::Host)), 1),
        (Box::new(VirtioConsole::new("con", 3, vec![port(0), port(2)], None).unwrap()), 8),
    ]
}

/// After a reset a device is as good as new: its first output queue takes a buffer, or its first input queue exists.
fn still_works(d: &mut Driver, queues: u32) {
    d.negotiate(queues, 0);
    assert_eq!(d.r(0x70) & 0x40, 0);
    let (header, data) = (d.alloc(4096), d.alloc(4096));
    match d.r(0x08) {
        1 => {
            d.submit(1, &[(header, 12, false), (data, 60, false)]);
            d.wait_used(1);
        }
        2 => {
            d.put(header, 0u32);
            d.put(header + 8, 1u64);
            d.submit(0, &[(header, 16, false), (data, 512, true), (header + 64, 1, true)]);
            d.wait_used(0);
            assert_eq!(d.get::<u8>(header + 64), 0);
        }
        3 => {
            d.submit(1, &[(data, 60, false)]);
            d.wait_used(1);
        }
        _ => {
            d.submit(0, &[(data, 60, true)]);
            assert_eq!(d.wait_used(0).1, 60);
        }
    }
}

#[test]
fn random_register_accesses() {
    for legacy in [false, true] {
        for (device, queues) in devices() {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(queues) << 8 | u64::from(legacy));
            let mut d = Driver::new(device, legacy);
            for _ in 0..4000 {
                let width = 1 << dice.below(4);
                let offset = match dice.below(3) {
                    0 => dice.below(0x200 / width) * width,
                    _ => dice.below(0x110 / 4) * 4,
                };
                if dice.below(4) == 0 {
                    d.dev.read(offset, &mut vec![0; width as usize]);
                } else {
                    d.dev.write(offset, &dice.nasty().to_le_bytes()[..width as usize]);
                }
            }
            still_works(&mut d, queues);
        }
    }
}

#[test]
fn random_rings_and_descriptors() {
    for legacy in [false, true] {
        for (which, (device, queues)) in devices().into_iter().enumerate() {
            let mut dice = Dice(0xdead_beef_cafe_f00d + which as u64 * 2 + u64::from(legacy));
            let mut d = Driver::ready(device, legacy, queues, 0);
            for round in 0..150 {
                let base = d.rings[0].desc;
                let queue = dice.below(queues.into()) as usize;
                let ring = d.rings[queue].clone();
                for _ in 0..dice.below(12) {
                    let (i, next) = (dice.below(16) as u16, dice.below(20) as u16);
                    let len = if dice.below(3) == 0 { dice.nasty() } else { dice.below(2000) };
                    let addr = if dice.below(3) == 0 { dice.nasty() } else { base + 0x40000 + dice.below(0x10000) };
                    d.put_desc(ring.desc, i, addr, len as u32, dice.below(8) as u16, next);
                }
                // A plausible request now and then, so that the devices get past the first check.
                let body = base + 0x40000;
                d.put(body, dice.below(14) as u32);
                d.put(body + 8, dice.below(140));
                d.put_desc(ring.desc, 0, body, 16 + dice.below(2) as u32 * 16, 1, 1);
                d.put_desc(ring.desc, 1, body + 64, dice.below(1025) as u32, 2, 0);
                for _ in 0..dice.below(5) {
                    let head = if dice.below(8) == 0 { dice.roll() as u16 } else { dice.below(16) as u16 };
                    d.make_available(queue, head);
                }
                if dice.below(10) == 0 {
                    d.rings[queue].avail_idx = dice.roll() as u16;
                }
                d.kick(queue);
                if dice.below(10) == 0 {
                    d.dev.pause();
                    d.dev.resume();
                }
                if round % 5 == 4 {
                    d.negotiate(queues, 0);
                }
                if round % 50 == 49 {
                    // Memory for rings is not endless in this test.
                    d.rewind();
                    d.negotiate(queues, 0);
                }
            }
            d.rewind();
            still_works(&mut d, queues);
        }
    }
}

/// One chain that a device must not accept, by what is wrong with it.
fn bad_chain(case: usize, d: &mut Driver) {
    let data = d.alloc(4096);
    let table = d.rings[0].desc;
    match case {
        0 => d.put_desc(table, 0, data, 16, 1, 0),              // loops on itself
        1 => d.put_desc(table, 0, data, 16, 1, 0xfff0),         // successor outside the table
        2 => d.put_desc(table, 0, data, 16, 4, 0),              // indirect table of garbage
        3 => d.put_desc(table, 0, data, 17, 4, 0),              // indirect table of an odd length
        4 => d.put_desc(table, 0, RAM_BASE - 8, 16, 2, 0),      // half outside RAM
        5 => d.put_desc(table, 0, u64::MAX - 3, 16, 2, 0),      // wraps
        6 => d.put_desc(table, 0, 0x1000_1000, 16, 2, 0),       // a device's registers
        7 => d.put_desc(table, 0, RAM_BASE, 0xffff_ffff, 2, 0), // longer than RAM
        _ => {
            // Readable after writable.
            d.put_desc(table, 0, data, 16, 3, 1);
            d.put_desc(table, 1, data, 16, 0, 0);
        }
    }
    if case == 2 {
        // An indirect table inside an indirect table.
        d.put_desc(data, 0, data, 16, 4, 0);
    }
    d.make_available(0, 0);
    d.kick(0);
}

#[test]
fn each_bad_chain_asks_for_a_reset() {
    for case in 0..9 {
        let mut d = Driver::ready(Box::new(VirtioRng::new("rng", RngSource::Host)), false, 1, 0);
        bad_chain(case, &mut d);
        d.wait_needs_reset();
        assert_eq!(d.poll_used(0), None, "case {case}");
        still_works(&mut d, 1);
        // A legacy device has no way to say so; it goes quiet, and a reset helps as well.
        let mut d = Driver::ready(Box::new(VirtioRng::new("rng", RngSource::Host)), true, 1, 0);
        bad_chain(case, &mut d);
        still_works(&mut d, 1);
    }
}

#[test]
fn an_available_index_that_ran_away_asks_for_a_reset() {
    let d = Driver::ready(Box::new(VirtioRng::new("rng", RngSource::Host)), false, 1, 0);
    let avail = d.rings[0].avail;
    d.mem.store(9u16, GuestAddress(avail + 2), Ordering::Release).unwrap();
    d.kick(0);
    d.wait_needs_reset();
    assert_eq!(d.r(0x60) & 2, 2);
}

#[test]
fn queues_in_bad_places_do_not_start() {
    // Address of the descriptor table, the two rings, and the size.
    let ok = RAM_BASE + 0x20000;
    let cases: [(u64, u64, u64, u32); 9] = [
        (0x1000_1000, ok, ok + 0x1000, 8),
        (ok, 0, ok + 0x1000, 8),
        (ok, ok + 0x1000, RAM_BASE + RAM_SIZE as u64 - 4, 8),
        (u64::MAX - 15, ok, ok + 0x1000, 8),
        (ok + 1, ok + 0x1000, ok + 0x2000, 8),
        (ok, ok + 0x1001, ok + 0x2000, 8),
        (ok, ok + 0x1000, ok + 0x2002, 8),
        (ok, ok + 0x1000, ok + 0x2000, 7),
        (ok, ok + 0x1000, ok + 0x2000, 16),
    ];
    for (desc, avail, used, size) in cases {
        let mut d = Driver::new(Box::new(VirtioRng::new("rng", RngSource::Host)), false);
        [1, 3].iter().for_each(|&s| d.w(0x70, s));
        d.w(0x24, 1);
        d.w(0x20, 1);
        d.w(0x70, 11);
        d.w(0x38, size);
        for (at, addr) in [(0x80, desc), (0x90, avail), (0xa0, used)] {
            d.w(at, addr as u32);
            d.w(at + 4, (addr >> 32) as u32);
        }
        d.w(0x44, 1);
        d.w(0x70, 15);
        assert_eq!(d.r(0x70), 0x4f, "{desc:#x} {avail:#x} {used:#x} {size}");
        d.w(0x50, 0);
        still_works(&mut d, 1);
    }
}
