//! virtio devices, and drivers that keep to no rule.
//!
//! The first byte of an input chooses the device; operations follow, each a byte with its operands.

use std::sync::Arc;

use devices::backend::block::{BlockOptions, open_raw};
use devices::netuser::{UserNet, UserNetConfig};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::{BlkConfig, VirtioBlk};
use devices::virtio::console::{PortConfig, VirtioConsole};
use devices::virtio::mmio::VirtioMmio;
use devices::virtio::net::{NetConfig, VirtioNet};
use devices::virtio::rng::{RngSource, VirtioRng};
use devices::{GuestRam, IrqLine, IrqSink, MmioDevice};
use vm_memory::{Bytes, GuestAddress};

use super::choice;
use crate::{Run, Target};

pub const VIRTIO: Target = Target { name: "virtio", rounds: 1500, seeds, words: WORDS, open };

const BASE: u64 = 0x8000_0000;
const SIZE: usize = 256 << 10;
/// Where an obedient driver has the rings of queue 0; others follow.
const RINGS: u64 = 0x1_0000;

/// What an operation's first byte says.
const NEGOTIATE: u8 = 0;
const DESCRIPTOR: u8 = 1;
const AVAILABLE: u8 = 2;
const KICK: u8 = 3;
const WRITE: u8 = 4;
const READ: u8 = 5;
const FILL: u8 = 6;
const RESET: u8 = 7;
const SAVE: u8 = 8;
const OPERATIONS: u8 = 9;

const WORDS: &[&[u8]] = &[
    &[NEGOTIATE],
    &[KICK, 0],
    &[KICK, 1],
    &[AVAILABLE, 0, 0],
    &[AVAILABLE, 1, 0],
    &[RESET],
    &[SAVE],
    &[READ, 0x70, 0],
    // Chained, written by the device, indirect.
    &[DESCRIPTOR, 0, 0, 0, 0, 0x80, 0x10, 0, 0, 0, 1, 1],
    &[DESCRIPTOR, 0, 1, 0, 0, 0x90, 0, 2, 0, 0, 3, 2],
    &[DESCRIPTOR, 0, 2, 0, 0, 0xa0, 1, 0, 0, 0, 2, 0],
    &[DESCRIPTOR, 1, 0, 0, 0, 0x80, 0x40, 0, 0, 0, 4, 0],
    &[0xff, 0xff, 0xff, 0xff],
];

fn seeds() -> Vec<Vec<u8>> {
    let read = [
        &[NEGOTIATE][..],
        // A request of a disk at 0x8000, and frames, and bytes.
        &[FILL, 0x00, 0x80, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[DESCRIPTOR, 0, 0, 0, 0, 0x80, 0x10, 0, 0, 0, 1, 1],
        &[DESCRIPTOR, 0, 1, 0, 0, 0x90, 0, 2, 0, 0, 3, 2],
        &[DESCRIPTOR, 0, 2, 0, 0, 0xa0, 1, 0, 0, 0, 2, 0],
        &[AVAILABLE, 0, 0, KICK, 0],
        &[DESCRIPTOR, 1, 0, 0, 0, 0x80, 0x10, 0, 0, 0, 1, 1],
        &[DESCRIPTOR, 1, 1, 0, 0, 0x90, 0x40, 0, 0, 0, 0, 0],
        &[AVAILABLE, 1, 0, KICK, 1, READ, 0x60, 0, SAVE, RESET],
    ]
    .concat();
    (0..8).map(|kind| [&[kind], &read[..]].concat()).collect()
}

struct Nowhere;

impl IrqSink for Nowhere {
    fn set_level(&self, _: u32, _: bool) {}
}

fn device(kind: u8, image: &std::path::Path) -> Box<dyn VirtioDevice> {
    match kind & 3 {
        0 => {
            let options = BlockOptions { discard: true, ..Default::default() };
            let disk = open_raw(image, &options).expect("an image");
            Box::new(VirtioBlk::new("disk", disk, BlkConfig { queues: 2, ..Default::default() }).expect("a disk"))
        }
        1 => {
            let config = UserNetConfig { restrict: true, ..Default::default() };
            let net = Box::new(UserNet::start(config).expect("a network"));
            Box::new(VirtioNet::new("net", net, NetConfig::new([2; 6])).expect("a card"))
        }
        2 => Box::new(VirtioRng::new("rng", RngSource::Host)),
        _ => {
            let port = |nr| PortConfig { nr, name: format!("p{nr}"), console: nr == 0, endpoint: None };
            Box::new(VirtioConsole::new("con", 3, vec![port(0), port(2)], None).expect("a console"))
        }
    }
}

/// What drives a device.
struct Driver {
    ram: Arc<GuestRam>,
    device: VirtioMmio,
    legacy: bool,
    /// How many chains were offered, by queue.
    offered: [u16; 8],
}

impl Driver {
    fn write(&self, offset: u64, value: u32) {
        self.device.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.device.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    fn table(queue: u8) -> u64 {
        RINGS + u64::from(queue & 7) * 0x2000
    }

    /// As the specification has it, with queues of 16 entries at most.
    fn negotiate(&mut self) {
        self.offered = [0; 8];
        for status in [0, 1, 3] {
            self.write(0x70, status);
        }
        for select in [0, 1] {
            self.write(0x14, select);
            let features = self.read(0x10);
            self.write(0x24, select);
            self.write(0x20, features);
        }
        self.write(0x70, 11);
        self.write(0x28, 4096);
        for queue in 0..8u8 {
            self.write(0x30, queue.into());
            self.write(0x38, self.read(0x34).min(16));
            let table = BASE + Self::table(queue);
            if self.legacy {
                self.write(0x3c, 4096);
                self.write(0x40, (table >> 12) as u32);
                continue;
            }
            for (register, at) in [(0x80, table), (0x90, table + 256), (0xa0, table + 4096)] {
                self.write(register, at as u32);
                self.write(register + 4, (at >> 32) as u32);
            }
            self.write(0x44, 1);
        }
        self.write(0x70, 15);
    }

    /// Does an operation; what is left of the input.
    fn step<'a>(&mut self, input: &'a [u8]) -> Option<&'a [u8]> {
        let (operation, rest) = input.split_first()?;
        let operands = |n: usize| rest.split_at_checked(n);
        let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        match operation % OPERATIONS {
            NEGOTIATE => {
                self.negotiate();
                Some(rest)
            }
            DESCRIPTOR => {
                let (of, rest) = operands(11)?;
                let at = Self::table(of[0]) + u64::from(of[1] & 15) * 16;
                let address = u64::from_le_bytes([of[2], of[3], of[4], 0, 0, 0, 0, 0]);
                // Above the end of RAM with the highest bit.
                let address =
                    if of[4] & 0x80 == 0 { BASE + address * 0x100 % (SIZE as u64 + 0x100) } else { u64::MAX - address };
                let len = u32::from_le_bytes([of[5], of[6], of[7], of[8]]);
                let mut bytes = [address.to_le_bytes(), [0; 8]].concat();
                bytes[8..12].copy_from_slice(&len.to_le_bytes());
                (bytes[12], bytes[14]) = (of[9], of[10]);
                let _ = self.ram.write_slice(&bytes, GuestAddress(BASE + at));
                Some(rest)
            }
            AVAILABLE => {
                let (of, rest) = operands(2)?;
                let ring = BASE + Self::table(of[0]) + 256;
                let offered = &mut self.offered[usize::from(of[0] & 7)];
                let slot = ring + 4 + u64::from(*offered % 16) * 2;
                *offered = offered.wrapping_add(1);
                let _ = self.ram.write_obj(u16::from(of[1]), GuestAddress(slot));
                let _ = self.ram.write_obj(*offered, GuestAddress(ring + 2));
                Some(rest)
            }
            KICK => {
                let (of, rest) = operands(1)?;
                self.write(0x50, of[0].into());
                Some(rest)
            }
            WRITE => {
                let (of, rest) = operands(7)?;
                let len = 1 << (of[2] & 3);
                let bytes = [&of[3..7], &[0; 4]].concat();
                let offset = u64::from(half(of)) & 0xfff & !(len as u64 - 1);
                self.device.write(offset, &bytes[..len]);
                Some(rest)
            }
            READ => {
                let (of, rest) = operands(2)?;
                self.read(u64::from(half(of)) & 0xffc);
                Some(rest)
            }
            FILL => {
                let (of, rest) = operands(4)?;
                let (bytes, rest) = rest.split_at(usize::from(of[3]).min(rest.len()));
                let at = u64::from_le_bytes([of[0], of[1], of[2], 0, 0, 0, 0, 0]) % SIZE as u64;
                let _ = self.ram.write_slice(bytes, GuestAddress(BASE + at));
                Some(rest)
            }
            RESET => {
                self.write(0x70, 0);
                Some(rest)
            }
            _ => {
                self.device.pause();
                if let Some(state) = self.device.save_state() {
                    self.device.restore_state(&state).expect("a device takes what it gave");
                }
                self.device.resume();
                Some(rest)
            }
        }
    }
}

fn open() -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = folder.path().join("image");
    std::fs::write(&image, vec![0x42; 65536]).expect("room on the disk");
    Box::new(move |input| {
        let _ = &folder;
        let (kind, mut rest) = choice(input);
        let legacy = kind & 4 != 0;
        let ram: Arc<GuestRam> = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), SIZE)]).expect("memory"));
        let line = IrqLine::new(Arc::new(Nowhere), 1);
        let device = VirtioMmio::new("virtio", device(kind, &image), legacy, Arc::clone(&ram), line);
        let mut driver = Driver { ram, device: device.expect("a transport"), legacy, offered: [0; 8] };
        while let Some(next) = driver.step(rest) {
            rest = next;
        }
        // After a reset it is as good as new.
        driver.device.reset();
        driver.ram.write_slice(&[0; 0x1_0000], GuestAddress(BASE + RINGS)).expect("RAM");
        assert_eq!((driver.read(0), driver.read(0x70)), (u32::from_le_bytes(*b"virt"), 0));
        driver.negotiate();
        assert_eq!(driver.read(0x70) & 0x40, 0, "a device that was reset wants no reset");
        driver.device.reset();
    })
}
