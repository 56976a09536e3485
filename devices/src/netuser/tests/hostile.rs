//! A guest that sends nonsense: nothing panics, nothing grows.

use super::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }
}

/// A network whose guest can reach nothing outside this process, whatever it sends.
fn closed_world() -> World {
    let host_fwd = vec!["tcp:127.0.0.1:0-:80".parse().unwrap(), "udp:127.0.0.1:0-:80".parse().unwrap()];
    World::new(UserNetConfig { restrict: true, host_fwd, ..Default::default() }, Offloads::CSUM | Offloads::TSO4)
}

fn header(r: &mut Random) -> NetHdr {
    NetHdr {
        flags: r.next() as u8,
        gso_type: r.next() as u8,
        hdr_len: r.next() as u16,
        gso_size: r.next() as u16,
        csum_start: r.next() as u16,
        csum_offset: r.next() as u16,
        num_buffers: r.next() as u16,
    }
}

fn tcp_packet(r: &mut Random) -> Vec<u8> {
    let mut packet = vec![0; 20 + r.below(60)];
    packet.iter_mut().for_each(|b| *b = r.next() as u8);
    packet[..4].copy_from_slice(&[0, 80, 0, 80]);
    packet[12] = if r.below(4) > 0 { 0x50 } else { r.next() as u8 };
    packet
}

#[test]
fn random_bytes() {
    let (mut w, mut r) = (closed_world(), Random(1));
    for _ in 0..20_000 {
        let len = r.below(200);
        let mut frame: Vec<u8> = (0..len).map(|_| r.next() as u8).collect();
        if len > 14 && r.below(2) == 0 {
            frame[12..14].copy_from_slice(&[8, if r.below(4) == 0 { 6 } else { 0 }]);
        }
        let hdr = header(&mut r);
        assert_eq!(w.net.send(&hdr, &frame), SendResult::Done);
        if r.below(16) == 0 {
            w.net.service(Instant::now());
            w.drain();
        }
    }
}

#[test]
fn damaged_frames_of_every_kind() {
    let (mut w, mut r) = (closed_world(), Random(2));
    for round in 0..40_000 {
        let src = if r.below(8) == 0 { Ipv4Addr::from(r.next() as u32) } else { GUEST };
        let dst = [HOST, DNS, GUEST, Ipv4Addr::BROADCAST, Ipv4Addr::from(r.next() as u32)][r.below(5)];
        let noise: Vec<u8> = (0..r.below(80)).map(|_| r.next() as u8).collect();
        let mut frame = match r.below(4) {
            0 => ip_packet(&mut r, src, dst),
            1 => udp_frame(at(src, r.next() as u16), at(dst, [67, 53, 69, 80, 0][r.below(5)]), &noise),
            2 => ip_frame(src, dst, 1, &noise),
            _ => ip_frame(src, dst, PROTO_TCP, &tcp_packet(&mut r)),
        };
        for _ in 0..r.below(4) {
            let at = r.below(frame.len());
            frame[at] = r.next() as u8;
        }
        if r.below(3) > 0 && frame.len() >= 34 {
            // The header's checksum is right again, so that the damage goes deeper.
            frame[24..26].fill(0);
            let sum = Sum::default().add(&frame[14..34]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame.truncate(if r.below(4) == 0 { r.below(frame.len() + 1) } else { frame.len() });
        let hdr = header(&mut r);
        w.net.send(&hdr, &frame);
        if round % 64 == 0 {
            w.net.service(Instant::now());
            w.drain();
        }
    }
    let [tcp, udp, dns, ping] = w.net.flows();
    assert_eq!([tcp, udp, dns, ping], [0; 4]);
    assert_eq!(w.net.lan.tcp_buffered, 0);
}

/// Random fragment fields.
fn ip_packet(r: &mut Random, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let data: Vec<u8> = (0..r.below(300)).map(|_| r.next() as u8).collect();
    let mut frame = ip_frame(src, dst, [1, 6, 17, 99][r.below(4)], &data);
    let word = r.next() as u16 & 0x3fff;
    frame[20..22].copy_from_slice(&word.to_be_bytes());
    frame
}

#[test]
fn garbage_into_open_connections() {
    let mut w = closed_world();
    let port = w.net.forwarded()[0];
    let mut r = Random(3);
    for round in 0..300 {
        // A forwarded connection whose guest answers with noise, at first with matching sequence numbers.
        let client = std::net::TcpStream::connect(port).unwrap();
        w.net.lan.learn(GUEST, GUEST_MAC);
        let is_syn = |f: &&Vec<u8>| f[12..14] == [8, 0] && f[23] == PROTO_TCP && f[47] == 2;
        let frames = w.collect(|frames| frames.iter().any(|f| is_syn(&f)));
        let syn = frames.iter().find(is_syn).unwrap();
        let iss = u32::from_be_bytes(syn[38..42].try_into().unwrap());
        for step in 0..40u32 {
            let mut packet = tcp_packet(&mut r);
            packet[2..4].copy_from_slice(&syn[34..36]);
            if r.below(4) > 0 {
                packet[4..8].copy_from_slice(&(1000 + step + r.below(40) as u32).to_be_bytes());
                packet[8..12].copy_from_slice(&iss.wrapping_add(1 + r.below(3) as u32).to_be_bytes());
            }
            if step == 0 {
                packet[12..14].copy_from_slice(&[0x50, 0x12]);
                packet[4..8].copy_from_slice(&1000u32.to_be_bytes());
                packet[8..12].copy_from_slice(&iss.wrapping_add(1).to_be_bytes());
            } else if round % 2 == 0 {
                packet[13] &= !4;
            }
            w.inject(&ip_frame(GUEST, HOST, PROTO_TCP, &packet));
            w.net.service(Instant::now());
            w.drain();
        }
        drop(client);
        w.net.service(Instant::now());
        w.drain();
    }
    assert!(w.net.lan.tcp_buffered < 300 * (512 << 10));
    assert!(w.net.tcp.len() <= 300);
}

#[test]
fn a_guest_that_never_reads_fills_a_bounded_queue() {
    let mut w = closed_world();
    w.net.pause_rx(true);
    let frame = udp_frame(at(GUEST, 1), at(HOST, 2), &[0; 1000]);
    let syn = ip_frame(GUEST, HOST, PROTO_TCP, &[0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    for _ in 0..10_000 {
        w.inject(&frame);
        w.inject(&syn);
    }
    let waiting = w.drain();
    assert_eq!(waiting.len(), 1024);
}

#[test]
fn paused_frames_do_not_keep_the_descriptor_readable() {
    let mut w = closed_world();
    let readable = |w: &World| {
        let mut fds = [PollFd::from_borrowed_fd(w.net.event_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    };
    assert!(!readable(&w));
    w.inject(&udp_frame(at(GUEST, 1), at(HOST, 2), b"x"));
    w.net.service(Instant::now());
    assert!(readable(&w), "an answer waits");
    w.net.pause_rx(true);
    assert!(!readable(&w));
    w.net.pause_rx(false);
    assert!(readable(&w));
    assert_eq!(w.drain().len(), 1);
    assert!(!readable(&w));
}
