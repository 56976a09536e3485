//! Everything that is not a stream: ARP, DHCP, the name-server relay, UDP, ICMP.

use std::net::UdpSocket;

use dhcproto::v4::{DhcpOption, Message, MessageType};
use dhcproto::{Decodable, Decoder, Encodable};

use super::*;

fn world() -> World {
    World::new(UserNetConfig::default(), Offloads::empty())
}

/// A bound loopback socket of the world.
fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A port that refuses datagrams from all but one peer, so that it stays closed as long as the socket lives.
fn closed_port() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn payload(frame: &[u8]) -> &[u8] {
    &frame[42..]
}

fn ports(frame: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([frame[34], frame[35]]), u16::from_be_bytes([frame[36], frame[37]]))
}

#[test]
fn dhcp_gives_a_lease_over_the_wire() {
    let mut w = world();
    let mut message = Message::default();
    message.set_chaddr(&GUEST_MAC).set_xid(5);
    message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
    let frame = udp_frame(at(Ipv4Addr::UNSPECIFIED, 68), at(Ipv4Addr::BROADCAST, 67), &message.to_vec().unwrap());
    let replies = w.exchange(&frame);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0][..6], GUEST_MAC);
    assert_eq!(ports(&replies[0]), (67, 68));
    let offer = Message::decode(&mut Decoder::new(payload(&replies[0]))).unwrap();
    assert_eq!((offer.yiaddr(), offer.opts().msg_type()), (GUEST, Some(MessageType::Offer)));
}

#[test]
fn arp_answers_for_our_addresses_only() {
    let mut w = world();
    let ask = |target: Ipv4Addr| {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&GUEST_MAC);
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&GUEST_MAC);
        frame.extend_from_slice(&GUEST.octets());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target.octets());
        frame
    };
    for ours in [HOST, DNS] {
        let replies = w.exchange(&ask(ours));
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0][..6], GUEST_MAC);
        assert_eq!(replies[0][20..22], [0, 2]);
        assert_eq!(replies[0][28..32], ours.octets());
    }
    for other in [GUEST, Ipv4Addr::new(10, 0, 2, 77), Ipv4Addr::new(192, 0, 2, 1)] {
        assert!(w.exchange(&ask(other)).is_empty(), "{other}");
    }
}

#[test]
fn udp_echo_small_and_fragmented() {
    let mut w = world();
    let server = peer();
    let to = through_gateway(server.local_addr().unwrap());
    let handle = w.udp_socket(5000);
    for len in [1, 1000, 1472] {
        let data = pattern(len, len);
        w.udp(handle).send_slice(&data, IpEndpoint::from((*to.ip(), to.port()))).unwrap();
        let mut buf = [0; 2000];
        let mut from = None;
        w.until(|_| server.recv_from(&mut buf).inspect(|got| from = Some(*got)).is_ok());
        let (n, client) = from.unwrap();
        assert!(buf[..n] == data);
        server.send_to(&buf[..n], client).unwrap();
        w.until(|w| w.udp(handle).can_recv());
        let (got, meta) = w.udp(handle).recv().unwrap();
        assert!(got == data);
        assert_eq!((meta.endpoint.addr, meta.endpoint.port), (HOST.into(), to.port()));
    }
    assert_eq!(w.net.flows()[1], 1);

    // A long datagram: fragments from the guest, fragments back.
    let mut udp = udp_frame(at(GUEST, 5001), to, &pattern(0, 20_000))[34..].to_vec();
    udp[6..8].fill(0);
    for (i, part) in udp.chunks(1480).enumerate().rev() {
        let mut frame = ip_frame(GUEST, HOST, PROTO_UDP, part);
        let more = if (i + 1) * 1480 < udp.len() { 0x2000 } else { 0 };
        frame[18..20].copy_from_slice(&[0, 9]);
        frame[20..22].copy_from_slice(&(more | (i * 1480 / 8) as u16).to_be_bytes());
        frame[24..26].fill(0);
        let sum = Sum::default().add(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        w.inject(&frame);
    }
    let mut buf = vec![0; 65_536];
    let mut from = None;
    w.until(|_| server.recv_from(&mut buf).inspect(|got| from = Some(*got)).is_ok());
    let (n, client) = from.unwrap();
    assert!(buf[..n] == pattern(0, 20_000));
    server.send_to(&buf[..n], client).unwrap();
    let parts = w.collect(|frames| frames.len() == 14);
    let mut reassembler = Reassembler::default();
    let id = PacketId { src: HOST, dst: GUEST, protocol: 17, ident: 0 };
    let whole = parts.iter().find_map(|frame| {
        let word = u16::from_be_bytes([frame[20], frame[21]]);
        let (offset, more) = (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0);
        reassembler.input(id, offset, more, &frame[34..], Instant::now())
    });
    assert!(whole.unwrap()[8..] == pattern(0, 20_000));
}

#[test]
fn any_peer_may_answer_a_mapped_port() {
    let mut w = world();
    let (first, second) = (peer(), peer());
    w.inject(&udp_frame(at(GUEST, 6000), through_gateway(first.local_addr().unwrap()), b"hello"));
    let mut buf = [0; 100];
    let mut from = None;
    w.until(|_| first.recv_from(&mut buf).inspect(|got| from = Some(got.1)).is_ok());
    second.send_to(b"from another port", ("127.0.0.1", from.unwrap().port())).unwrap();
    let frames = w.collect(|frames| !frames.is_empty());
    assert_eq!(payload(&frames[0]), b"from another port");
    assert_eq!(ports(&frames[0]), (second.local_addr().unwrap().port(), 6000));
}

/// ICMP messages among frames: type, code, and what they quote.
fn icmp(frames: &[Vec<u8>]) -> Vec<(u8, u8, Vec<u8>)> {
    let icmp = frames.iter().filter(|f| f[12..14] == [8, 0] && f[23] == 1);
    icmp.inspect(|f| assert_eq!(Sum::default().add(&f[34..]).finish(), 0))
        .map(|f| (f[34], f[35], f[42..].to_vec()))
        .collect()
}

#[test]
fn a_closed_udp_port_is_reported() {
    let mut w = world();
    let (_kept, closed) = closed_port();
    let frame = udp_frame(at(GUEST, 6001), through_gateway(closed), b"anyone?");
    w.inject(&frame);
    let frames = w.collect(|frames| !frames.is_empty());
    let errors = icmp(&frames);
    assert_eq!((errors[0].0, errors[0].1), (3, 3));
    // The quoted packet is the one sent: protocol, addresses, ports, length.
    assert_eq!(errors[0].2[9], 17);
    assert_eq!(errors[0].2[12..20], [GUEST.octets(), HOST.octets()].concat());
    assert_eq!(errors[0].2[20..26], frame[34..40]);
}

#[test]
fn the_gateway_answers_echo_requests() {
    let mut w = World::new(UserNetConfig { restrict: true, ..Default::default() }, Offloads::empty());
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend_from_slice(&pattern(0, 1400));
    let sum = Sum::default().add(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let frames = w.exchange(&ip_frame(GUEST, HOST, 1, &message));
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][34], 0);
    assert_eq!(frames[0][38..], message[4..]);
    // Outside there is nothing for a restricted guest.
    let frames = w.exchange(&ip_frame(GUEST, Ipv4Addr::new(192, 0, 2, 1), 1, &message));
    assert_eq!(icmp(&frames).iter().map(|m| (m.0, m.1)).collect::<Vec<_>>(), [(3, 13)]);
    // A bad checksum has no answer.
    message[3] ^= 1;
    assert!(w.exchange(&ip_frame(GUEST, HOST, 1, &message)).is_empty());
}

#[test]
fn name_server_relay_passes_queries_and_answers() {
    let resolver = peer();
    let resolvers = Resolvers::Fixed(vec![resolver.local_addr().unwrap()]);
    let mut w = World::new(UserNetConfig { resolvers, ..Default::default() }, Offloads::empty());
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let handle = w.udp_socket(7000);
    w.udp(handle).send_slice(query, IpEndpoint::from((DNS, 53))).unwrap();
    let mut buf = [0; 512];
    let mut from = None;
    w.until(|_| resolver.recv_from(&mut buf).inspect(|got| from = Some(*got)).is_ok());
    assert_eq!(buf[..from.unwrap().0], query[..]);
    resolver.send_to(b"the answer", from.unwrap().1).unwrap();
    w.until(|w| w.udp(handle).can_recv());
    let (data, meta) = w.udp(handle).recv().unwrap();
    assert_eq!(data, b"the answer");
    assert_eq!((meta.endpoint.addr, meta.endpoint.port), (DNS.into(), 53));
}

#[test]
fn without_a_name_server_the_guest_hears_servfail() {
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let (_kept, closed) = closed_port();
    let missing = std::path::PathBuf::from("/nonexistent/resolv.conf");
    for resolvers in [Resolvers::Fixed(vec![]), Resolvers::File(missing), Resolvers::Fixed(vec![closed, closed])] {
        let mut w = World::new(UserNetConfig { resolvers, ..Default::default() }, Offloads::empty());
        let handle = w.udp_socket(7001);
        w.udp(handle).send_slice(query, IpEndpoint::from((DNS, 53))).unwrap();
        w.until(|w| w.udp(handle).can_recv());
        let (data, _) = w.udp(handle).recv().unwrap();
        assert_eq!(data[..4], [0x12, 0x34, 0x81, 0x82]);
        assert_eq!(w.net.flows()[2], 0);
    }
}

#[test]
fn a_dead_name_server_gives_way_to_the_next() {
    let resolver = peer();
    let (_kept, closed) = closed_port();
    let resolvers = Resolvers::Fixed(vec![closed, resolver.local_addr().unwrap()]);
    let mut w = World::new(UserNetConfig { resolvers, ..Default::default() }, Offloads::empty());
    let handle = w.udp_socket(7002);
    w.udp(handle).send_slice(b"a query of some length", IpEndpoint::from((DNS, 53))).unwrap();
    let mut buf = [0; 512];
    w.until(|_| resolver.recv_from(&mut buf).is_ok());
    assert_eq!(&buf[..22], b"a query of some length");
}

#[test]
fn the_resolver_file_is_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
    let resolvers = Resolvers::File(path.clone());
    assert_eq!(super::super::dns::first_resolver(&resolvers), Some("192.0.2.1:53".parse().unwrap()));
    std::fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
    assert_eq!(super::super::dns::first_resolver(&resolvers), Some("192.0.2.2:53".parse().unwrap()));
}

#[test]
fn udp_through_a_forwarded_port() {
    for restrict in [false, true] {
        let host_fwd = vec!["udp:127.0.0.1:0-:9000".parse().unwrap()];
        let mut w = World::new(UserNetConfig { restrict, host_fwd, ..Default::default() }, Offloads::empty());
        let port = w.net.forwarded()[0];
        let handle = w.udp_socket(9000);
        let client = peer();
        // The first datagrams may be lost while the guest's card is unknown.
        let mut last = Instant::now();
        client.send_to(b"ping", port).unwrap();
        w.until(|w| {
            if last.elapsed() > Duration::from_millis(100) {
                last = Instant::now();
                client.send_to(b"ping", port).unwrap();
            }
            w.udp(handle).can_recv()
        });
        let (data, meta) = w.udp(handle).recv().unwrap();
        assert_eq!(data, b"ping");
        assert_eq!((meta.endpoint.addr, meta.endpoint.port), (HOST.into(), client.local_addr().unwrap().port()));
        w.udp(handle).send_slice(b"pong", meta.endpoint).unwrap();
        let mut buf = [0; 16];
        let mut from = None;
        w.until(|_| client.recv_from(&mut buf).inspect(|got| from = Some(*got)).is_ok());
        assert_eq!((&buf[..4], from.unwrap().1), (&b"pong"[..], SocketAddr::V4(port)));
    }
}

#[test]
fn restricted_guests_send_no_datagrams() {
    let mut w = World::new(UserNetConfig { restrict: true, ..Default::default() }, Offloads::empty());
    let server = peer();
    let frames = w.exchange(&udp_frame(at(GUEST, 1), through_gateway(server.local_addr().unwrap()), b"x"));
    assert_eq!(icmp(&frames).iter().map(|m| (m.0, m.1)).collect::<Vec<_>>(), [(3, 13)]);
    assert!(server.recv_from(&mut [0; 8]).is_err());
    assert_eq!(w.net.flows(), [0; 4]);
}

#[test]
fn idle_datagram_flows_are_forgotten_and_their_number_is_bounded() {
    let limits = Limits { udp_flows: 8, dns_flows: 4, ..Default::default() };
    let resolver = peer();
    let resolvers = Resolvers::Fixed(vec![resolver.local_addr().unwrap()]);
    let mut w = World::new(UserNetConfig { limits, resolvers, ..Default::default() }, Offloads::empty());
    let server = peer();
    for port in 1..=100 {
        w.inject(&udp_frame(at(GUEST, port), through_gateway(server.local_addr().unwrap()), b"x"));
        w.inject(&udp_frame(at(GUEST, port), at(DNS, 53), b"x"));
    }
    assert_eq!(w.net.flows(), [0, 8, 4, 0]);
    assert!(w.net.deadline().is_some());
    let later = Instant::now() + Duration::from_secs(1000);
    w.net.service(later);
    assert_eq!(w.net.flows(), [0; 4]);
    assert!(w.net.deadline().is_none(), "an idle network wants no timer");
}
