//! The user network, and what a guest may send into it. It reaches nothing outside of this process.
//!
//! An input is a sequence of frames: two bytes of length, a byte whose bits say what is made right, the card's header, and
//! the frame.

use std::time::Instant;

use devices::backend::net::{MAX_FRAME, NetBackend, NetHdr, Offloads};
use devices::netuser::{UserNet, UserNetConfig};
use vm_memory::ByteValued;

use crate::{Run, Target};

pub const NETWORK: Target = Target { name: "network", rounds: 4000, seeds, words: WORDS, open };

const WORDS: &[&[u8]] = &[
    &[8, 0, 0x45, 0],
    &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    &[10, 0, 2, 2],
    &[10, 0, 2, 3],
    &[10, 0, 2, 15],
    &[255, 255, 255, 255],
    &[0, 67],
    &[0, 53],
    &[0, 69],
    &[99, 130, 83, 99, 53, 1, 1],
    &[99, 130, 83, 99, 53, 1, 3, 50, 4, 10, 0, 2, 15, 255],
    &[0x20, 0],
    &[0x3f, 0xff],
    b"octet\0tsize\x000\0",
    &[0xc0, 0x0c],
];

const MACS: [u8; 12] = [0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn sum(bytes: &[u8]) -> [u8; 2] {
    let sum =
        bytes.chunks(2).fold(0u32, |sum, two| sum + (u32::from(two[0]) << 8) + two.get(1).map_or(0, |b| u32::from(*b)));
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

fn ip(protocol: u8, to: [u8; 4], data: &[u8]) -> Vec<u8> {
    let len = (20 + data.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15];
    packet.extend(to);
    packet.extend(data);
    [&MACS[..], &[8, 0], &packet].concat()
}

fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let words = [from, to, 8 + data.len() as u16, 0];
    words.iter().flat_map(|word| word.to_be_bytes()).chain(data.iter().copied()).collect()
}

fn tcp(flags: u8, seq: u32, data: &[u8]) -> Vec<u8> {
    let mut packet =
        [&[0x80, 1, 0, 80][..], &seq.to_be_bytes(), &[0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]].concat();
    packet.extend(data);
    packet
}

fn one(frame: &[u8]) -> Vec<u8> {
    let len = (frame.len() as u16).to_le_bytes();
    [&len[..], &[3], &[0; NetHdr::LEN], frame].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let arp =
        [&MACS[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MACS[6..], &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat();
    let mut discover = vec![1, 1, 6, 0, 1, 2, 3, 4];
    discover.resize(28, 0);
    discover.extend(&MACS[6..]);
    discover.resize(236, 0);
    discover.extend([99, 130, 83, 99, 53, 1, 1, 55, 4, 1, 3, 6, 15, 255]);
    let query = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x07example\x03com\0", &[0, 1, 0, 1]].concat();
    let host = [10, 0, 2, 2];
    let frames = [
        arp,
        ip(17, [255; 4], &udp(68, 67, &discover)),
        ip(17, [10, 0, 2, 3], &udp(1000, 53, &query)),
        ip(17, host, &udp(1000, 69, b"\0\x01file\0octet\0tsize\x000\0blksize\x001428\0")),
        ip(1, host, &[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]),
        ip(6, host, &tcp(2, 1000, &[])),
        ip(6, host, &tcp(0x10, 1001, b"GET / HTTP/1.0\r\n\r\n")),
        ip(6, host, &tcp(1, 1019, &[])),
    ];
    let mut all: Vec<_> = frames.iter().map(|frame| one(frame)).collect();
    all.push(frames.iter().flat_map(|frame| one(frame)).collect());
    all
}

fn open() -> Run {
    let mut buffer = vec![0; MAX_FRAME];
    Box::new(move |mut input| {
        let config = UserNetConfig { restrict: true, ..Default::default() };
        let mut net = UserNet::start(config).expect("a network");
        net.start(Offloads::CSUM | Offloads::TSO4);
        while let Some((head, rest)) = input.split_at_checked(3 + NetHdr::LEN) {
            let len = usize::from(u16::from_le_bytes([head[0], head[1]])).min(rest.len());
            let (frame, rest) = rest.split_at(len);
            let mut frame = frame.to_vec();
            // Checksums are right again, so that the damage goes deeper; without the card's help there is nothing to do.
            if head[2] & 1 != 0 && frame.len() >= 34 {
                frame[24..26].fill(0);
                let right = sum(&frame[14..34]);
                frame[24..26].copy_from_slice(&right);
            }
            let mut header = NetHdr::default();
            if head[2] & 2 == 0 {
                header.as_mut_slice().copy_from_slice(&head[3..]);
            }
            net.send(&header, &frame);
            if head[2] & 4 == 0 {
                net.service(Instant::now());
                while net.recv(&mut buffer).is_some() {}
            }
            input = rest;
        }
        net.service(Instant::now());
        while net.recv(&mut buffer).is_some() {}
    })
}
