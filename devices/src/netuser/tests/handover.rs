//! Connections that go to another stack in whatever they are about to do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread::spawn;

use smoltcp::socket::tcp::State;

use super::tcp::{ALL, echo, finish, forwarded, run_guest_while, service};
use super::*;
use crate::backend::net::Handed;
use crate::state::{SavedState, StateError};

/// The configuration of a stack that takes over what leads to this port of the guest's.
fn same_port(net: &UserNet, guest_port: u16) -> UserNetConfig {
    forwarded(&[&format!("tcp:{}-:{guest_port}", net.forwarded()[0])])
}

/// A connection that echoes through stack after stack while data goes both ways; some frames are lost on top.
#[test]
fn data_goes_on_both_ways() {
    for lossy in [false, true] {
        let total = if lossy { 2 << 20 } else { 16 << 20 };
        let (address, thread) = service(echo, 1);
        let mut w = World::new(UserNetConfig::default(), ALL);
        let handle = w.tcp_socket(1 << 18);
        w.connect(handle, through_gateway(address), 40_000);
        let mut n = 0u32;
        w.wire.lose = Box::new(move |_| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            lossy && n >> 24 == 0
        });
        let (mut next, mut moves, mut buffered) = (0, 0, 0);
        // Those that gave everything away are asked still, and have nothing to say.
        let mut before: Option<UserNet> = None;
        run_guest_while(&mut w, handle, total, total, |w, bytes| {
            if let Some(net) = &mut before {
                net.service(Instant::now());
                assert_eq!((net.flows(), net.lan.tcp_buffered), ([0; 4], 0));
                assert!(net.recv(&mut vec![0; MAX_FRAME]).is_none());
            }
            if bytes >= next {
                next = bytes + total / 32;
                buffered = buffered.max(w.net.lan.tcp_buffered);
                before = Some(w.move_to(UserNetConfig::default()));
                moves += 1;
            }
        });
        finish(&mut w, thread);
        assert!(moves > 10 && buffered > 0, "{moves} moves, {buffered} bytes in buffers");
        w.until(|w| w.net.tcp.len() == 0);
        assert_eq!(w.net.lan.tcp_buffered, 0);
    }
}

/// Into the guest, with the client's direction closed early, and the port as well.
#[test]
fn a_forwarded_port_and_its_half_closed_connection() {
    const IN: usize = 1 << 20;
    const OUT: usize = 4 << 20;
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let port = w.net.forwarded()[0];
    let client = move || {
        let mut stream = TcpStream::connect(port).unwrap();
        stream.write_all(&pattern(0, IN)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, OUT));
    };
    for _ in 0..2 {
        let first = spawn(client);
        let handle = w.accept(1 << 16, 8080);
        let mut next = 0;
        run_guest_while(&mut w, handle, OUT, IN, |w, bytes| {
            if bytes >= next {
                next = bytes + (256 << 10);
                let config = same_port(&w.net, 8080);
                w.move_to(config);
                assert_eq!(w.net.forwarded(), [port]);
            }
        });
        finish(&mut w, first);
        w.until(|w| w.net.tcp.len() == 0);
        // A new connection to the port, which is another program's by now, in the next round.
    }
}

/// A reader that is slow: what waits for it was acknowledged to the guest long ago.
#[test]
fn what_the_host_has_not_read_goes_along() {
    const TOTAL: usize = 12 << 20;
    let (go, wait) = std::sync::mpsc::channel();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let serve = move |mut stream: TcpStream| {
        wait.lock().unwrap().recv().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, TOTAL));
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_004);
    let mut held = 0;
    run_guest_while(&mut w, handle, TOTAL, 0, |w, _| {
        if held == 0 && w.net.lan.tcp_buffered > 64 << 10 && w.net.tcp.waiting_for_host() > 64 << 10 {
            w.move_to(UserNetConfig::default());
            held = w.net.tcp.waiting_for_host();
            assert!(held > 64 << 10);
            go.send(()).unwrap();
        }
    });
    finish(&mut w, thread);
    w.until(|w| w.net.tcp.len() == 0);
}

/// A client that waits in the port's queue while the network moves, and one whose SYN the guest has not answered.
#[test]
fn clients_that_wait_are_taken_along() {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let port = w.net.forwarded()[0];
    let mut early = TcpStream::connect(port).unwrap();
    early.write_all(b"early").unwrap();
    w.until(|w| w.net.tcp.len() == 1);
    // Nobody has accepted this one.
    let mut late = TcpStream::connect(port).unwrap();
    late.write_all(b"later").unwrap();
    assert_eq!(w.net.tcp.len(), 1);
    let config = same_port(&w.net, 8080);
    w.move_to(config);
    assert_eq!(w.net.tcp.len(), 1);
    let handles = [w.tcp_socket(4096), w.tcp_socket(4096)];
    for handle in handles {
        w.tcp(handle).listen(8080).unwrap();
    }
    w.until(|w| handles.iter().all(|h| w.tcp(*h).recv_queue() == 5));
    let mut heard: Vec<Vec<u8>> = handles.iter().map(|h| w.tcp(*h).recv(|d| (5, d.to_vec())).unwrap()).collect();
    heard.sort();
    assert_eq!(heard, [b"early", b"later"]);
}

/// The guest's SYN waits for a host that has no room for it; there is some when the network is elsewhere.
#[test]
fn a_connect_under_way_comes_to_its_end() {
    let server = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&server, &at(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&server, 0).unwrap();
    let server = TcpListener::from(server);
    let address = server.local_addr().unwrap();
    let crowd = TcpStream::connect(address).unwrap();
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(4096);
    w.connect(handle, through_gateway(address), 40_001);
    w.until(|w| w.net.tcp.len() == 1);
    w.turn();
    assert_eq!(w.tcp(handle).state(), State::SynSent);
    w.move_to(UserNetConfig::default());
    let (accepted, _) = server.accept().unwrap();
    drop((accepted, crowd));
    w.until(|w| w.tcp(handle).state() == State::Established);
    let (mut stream, _) = server.accept().unwrap();
    w.tcp(handle).send_slice(b"there").unwrap();
    let mut said = [0; 5];
    stream.set_nonblocking(true).unwrap();
    w.until(|_| stream.read_exact(&mut said).is_ok());
    assert_eq!(&said, b"there");
}

/// What the guest has not acknowledged is sent again by whoever has the connection then.
#[test]
fn retransmission_goes_on() {
    let (address, thread) = service(|mut s: TcpStream| s.write_all(&pattern(0, 100_000)).unwrap(), 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    // All data is lost, also what comes in the turn that opens the connection; what opens it carries none.
    w.wire.lose = Box::new(|frame| frame[..6] == GUEST_MAC && frame.len() > 100);
    let handle = w.tcp_socket(1 << 18);
    w.connect(handle, through_gateway(address), 40_002);
    w.until(|w| w.tcp(handle).state() == State::Established);
    w.until(|_| thread.is_finished());
    w.until(|w| w.net.tcp.deadline().is_some() && w.net.lan.tcp_buffered > 0);
    let due = w.net.tcp.deadline().unwrap();
    w.move_to(UserNetConfig::default());
    // The timer is the same, as far as time goes.
    let after = w.net.tcp.deadline().unwrap();
    assert!(due.max(after) - due.min(after) < Duration::from_secs(1), "{due:?} {after:?}");
    w.wire.lose = Box::new(|_| false);
    run_guest_while(&mut w, handle, 0, 100_000, |_, _| {});
    thread.join().unwrap();
}

/// Who tried to give everything away, and was refused, goes on as if nothing had been.
#[test]
fn a_move_that_fails_costs_nothing() {
    let (address, thread) = service(echo, 1);
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_003);
    let mut next = 0;
    run_guest_while(&mut w, handle, 4 << 20, 4 << 20, |w, bytes| {
        if bytes >= next {
            next = bytes + (256 << 10);
            let parts = copies(&w.net.hand_over());
            let there = UserNet::start_waiting(same_port(&w.net, 8080)).unwrap();
            there.check(&parts).unwrap();
        }
    });
    finish(&mut w, thread);
    let port = w.net.forwarded()[0];
    let client = TcpStream::connect(port).unwrap();
    w.accept(4096, 8080);
    drop(client);
}

/// A guest that went where descriptors do not go: both ends of its connections learn it, and the ports are free.
#[test]
fn what_nobody_takes_is_reset() {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let port = w.net.forwarded()[0];
    let mut client = TcpStream::connect(port).unwrap();
    let handle = w.accept(4096, 8080);
    let config = same_port(&w.net, 8080);
    let mut there = UserNet::start_waiting(config).unwrap();
    // The port is in use: it is opened as soon as it is free, without a second word from anybody.
    there.start(ALL);
    there.settle(Instant::now());
    w.net.let_go(false);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(TcpStream::connect(port).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    w.net = there;
    assert!(w.net.deadline().is_some());
    w.until(|w| w.net.missing.is_none());
    // The guest learns it when it says something.
    w.tcp(handle).send_slice(b"x").unwrap();
    w.until(|w| w.tcp(handle).state() == State::Closed);
    let _client = TcpStream::connect(port).unwrap();
    w.accept(4096, 8080);
}

/// A guest that goes on after all, where it was: its ports come back.
#[test]
fn ports_come_back() {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080", "udp:127.0.0.1:0-:8080"]), ALL);
    w.net.let_go(false);
    w.net.start(ALL);
    w.until(|w| w.net.missing.is_none());
    assert!(w.net.forwarded().iter().all(|port| port.port() != 0));
}

/// The command line decides which ports there are; connections come along whatever it says.
#[test]
fn other_ports_and_the_same_connections() {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let port = w.net.forwarded()[0];
    let mut client = TcpStream::connect(port).unwrap();
    let handle = w.accept(4096, 8080);
    drop(w.move_to(forwarded(&["tcp:127.0.0.1:0-:8081"])));
    assert_ne!(w.net.forwarded()[0], port);
    assert_eq!(TcpStream::connect(port).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    w.tcp(handle).send_slice(b"still").unwrap();
    client.set_nonblocking(true).unwrap();
    let mut said = [0; 5];
    w.until(|_| client.read_exact(&mut said).is_ok());
    assert_eq!(&said, b"still");
}

/// Datagram sockets keep their ports on the host's side, and forwarded ones those who spoke.
#[test]
fn datagrams_find_their_way_back() {
    let mut w = World::new(forwarded(&["udp:127.0.0.1:0-:9000"]), Offloads::empty());
    let port = w.net.forwarded()[0];
    let peer = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let (server, client) = (peer(), peer());
    let (out, inside) = (w.udp_socket(7000), w.udp_socket(9000));
    let to = through_gateway(server.local_addr().unwrap());
    w.udp(out).send_slice(b"question", IpEndpoint::from((*to.ip(), to.port()))).unwrap();
    let mut buf = [0; 64];
    let mut from = None;
    w.until(|_| server.recv_from(&mut buf).inspect(|got| from = Some(got.1)).is_ok());
    client.send_to(b"knock", port).unwrap();
    w.until(|w| w.udp(inside).can_recv());
    let (_, meta) = w.udp(inside).recv().unwrap();
    w.move_to(forwarded(&[&format!("udp:{port}-:9000")]));
    assert_eq!(w.net.flows()[1], 1);
    server.send_to(b"answer", from.unwrap()).unwrap();
    w.until(|w| w.udp(out).can_recv());
    assert_eq!(w.udp(out).recv().unwrap().0, b"answer");
    w.udp(inside).send_slice(b"who is there", meta.endpoint).unwrap();
    w.until(|_| client.recv_from(&mut buf).inspect(|got| from = Some(got.1)).is_ok());
    assert_eq!((&buf[..12], from.unwrap()), (&b"who is there"[..], SocketAddr::V4(port)));
}

/// A stack with one connection of each kind, and its parts.
fn one_of_each() -> (World, Vec<Handed>, Vec<TcpStream>) {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:8080"]), ALL);
    let mut client = TcpStream::connect(w.net.forwarded()[0]).unwrap();
    let handle = w.tcp_socket(16);
    w.tcp(handle).listen(8080).unwrap();
    client.write_all(&pattern(0, 1000)).unwrap();
    w.until(|w| w.tcp(handle).recv_queue() == 16 && w.net.lan.tcp_buffered > 0);
    let out = w.udp_socket(7000);
    w.udp(out).send_slice(b"x", IpEndpoint::from((HOST, 9))).unwrap();
    w.until(|w| w.net.flows()[1] == 1);
    let parts = w.net.hand_over();
    (w, parts, vec![client])
}

fn refusal(parts: &[Handed]) -> Option<StateError> {
    UserNet::start_waiting(UserNetConfig::default()).unwrap().check(parts).err()
}

#[test]
fn descriptors_that_are_something_else_are_refused() {
    let (_w, parts, clients) = one_of_each();
    assert_eq!(refusal(&parts), None);
    assert_eq!(parts.iter().filter(|part| part.socket.is_some()).count(), 3);
    let tcp: Arc<OwnedFd> = Arc::new(clients[0].try_clone().unwrap().into());
    let listener: Arc<OwnedFd> = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap().into());
    let udp: Arc<OwnedFd> = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap().into());
    let file: Arc<OwnedFd> = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
    let unix: Arc<OwnedFd> = Arc::new(std::os::unix::net::UnixStream::pair().unwrap().0.into());
    for i in 0..parts.len() {
        let mut fit = 0;
        for socket in [None, Some(&tcp), Some(&listener), Some(&udp), Some(&file), Some(&unix)] {
            let mut parts = parts.clone();
            parts[i].socket = socket.cloned();
            match refusal(&parts) {
                None => fit += 1,
                Some(error) => {
                    let text = error.to_string();
                    assert!(text.contains("descriptor") && !text.contains('\n'), "{text}");
                }
            }
        }
        assert_eq!(fit, 1, "part {i}");
    }
}

/// Any byte of a state may be another: it is refused, or a connection of some kind comes of it. Nothing else happens.
#[test]
fn states_that_make_no_sense_harm_nobody() {
    let (mut w, parts, _clients) = one_of_each();
    let mut x = 7u32;
    let mut random = move || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x >> 8
    };
    let (mut refused, mut taken) = (0, 0);
    for round in 0..3000 {
        let mut parts = copies(&parts);
        let i = random() as usize % parts.len();
        let bytes = &mut parts[i].state.bytes;
        for _ in 0..1 + round % 3 {
            let at = random() as usize % bytes.len().min(700);
            bytes[at] = [0, 0xff, 0x80, 1, random() as u8][random() as usize % 5];
        }
        let mut there = UserNet::start_waiting(UserNetConfig::default()).unwrap();
        if there.check(&parts).is_err() {
            refused += 1;
            continue;
        }
        taken += 1;
        there.adopt(parts);
        there.start(ALL);
        std::mem::swap(&mut w.net, &mut there);
        for ahead in 0..20 {
            w.turn();
            w.net.service(Instant::now() + Duration::from_secs(ahead * 20));
        }
        w.net.let_go(true);
        assert_eq!(w.net.lan.tcp_buffered, 0);
        std::mem::swap(&mut w.net, &mut there);
    }
    assert!(refused > 100 && taken > 100, "{refused} refused, {taken} taken");
    // Layouts of other versions, and what is there twice.
    let mut newer = parts.clone();
    newer[0].state.version += 1;
    assert_eq!(refusal(&newer), Some(StateError::Version { found: 2, known: 1 }));
    let twice = [&parts[..], &parts[..]].concat();
    assert!(refusal(&twice).unwrap().to_string().contains("twice"));
    let nothing = [Handed { state: SavedState { version: 1, bytes: Vec::new() }, socket: None }];
    assert!(refusal(&nothing).is_some());
}
