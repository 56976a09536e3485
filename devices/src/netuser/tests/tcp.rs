//! Connections both ways: data, closing, refusal, loss, bounds.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread::{JoinHandle, spawn};

use smoltcp::socket::tcp::State;

use super::*;

pub const ALL: Offloads = Offloads::CSUM.union(Offloads::TSO4);
const BIG: usize = 64 << 20;

/// A service on the loopback that gives each connection to `serve`.
pub fn service(
    serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
    connections: usize,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = spawn(move || {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                let serve = serve.clone();
                spawn(move || serve(stream))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
    (address, thread)
}

/// Sends everything back until the client's end.
pub fn echo(mut stream: TcpStream) {
    let mut buf = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buf).unwrap() {
            0 => return,
            n => stream.write_all(&buf[..n]).unwrap(),
        }
    }
}

/// Lets the service take what is still on its way.
pub fn finish(w: &mut World, thread: JoinHandle<()>) {
    w.until(|_| thread.is_finished());
    thread.join().unwrap();
}

/// The guest writes `total` pattern bytes and closes, and reads `expected` pattern bytes and the end.
fn run_guest(w: &mut World, handle: SocketHandle, total: usize, expected: usize) {
    run_guest_while(w, handle, total, expected, |_, _| {});
}

/// The same; `each` is called over and over, with the bytes that have gone either way.
pub fn run_guest_while(
    w: &mut World,
    handle: SocketHandle,
    total: usize,
    expected: usize,
    mut each: impl FnMut(&mut World, usize),
) {
    let (mut sent, mut received, mut closed) = (0, 0, false);
    let chunk = pattern(0, 1 << 20);
    // The pattern's period is longer than what is compared in one piece.
    let bytes_at = |offset: usize, len: usize| -> Vec<u8> {
        if offset + len <= chunk.len() { chunk[offset..offset + len].to_vec() } else { pattern(offset, len) }
    };
    w.until(|w| {
        each(w, sent + received);
        let socket = w.tcp(handle);
        while sent < total && socket.can_send() {
            sent += socket.send_slice(&bytes_at(sent, (total - sent).min(1 << 16))).unwrap();
        }
        if sent == total && !closed && socket.may_send() {
            socket.close();
            closed = true;
        }
        while socket.can_recv() {
            received += socket
                .recv(|data| {
                    assert!(data == bytes_at(received, data.len()), "data differs near {received}");
                    (data.len(), data.len())
                })
                .unwrap();
        }
        assert!(received <= expected);
        received == expected && closed && !socket.may_recv()
    });
    assert_eq!(received, expected);
}

fn echo_of(total: usize, config: UserNetConfig, offloads: Offloads) -> World {
    let (address, thread) = service(echo, 1);
    let mut w = World::new(config, offloads);
    let handle = w.tcp_socket(1 << 20);
    w.connect(handle, through_gateway(address), 40_000);
    run_guest(&mut w, handle, total, total);
    finish(&mut w, thread);
    w.until(|w| w.net.tcp.len() == 0);
    assert_eq!(w.net.lan.tcp_buffered, 0);
    w
}

#[test]
fn guest_to_host_echo_with_large_segments() {
    let w = echo_of(BIG, UserNetConfig::default(), ALL);
    assert!(w.wire.largest > 60_000, "largest frame {}", w.wire.largest);
}

#[test]
fn guest_to_host_echo_without_offloads() {
    let w = echo_of(8 << 20, UserNetConfig::default(), Offloads::empty());
    assert_eq!(w.wire.largest, 1514);
}

#[test]
fn guest_to_host_echo_with_a_large_mtu() {
    echo_of(8 << 20, UserNetConfig { mtu: 65_535, ..Default::default() }, Offloads::CSUM);
}

/// Frames to the guest that hold no data, SYN or FIN: acknowledgements alone.
fn count_acknowledgements(w: &mut World) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counter = Rc::clone(&count);
    w.wire.lose = Box::new(move |frame| {
        let to_guest = frame[..6] == GUEST_MAC;
        let length = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let tcp = frame[12..14] == [8, 0] && frame[23] == 6;
        // Data offset and flags of the TCP header behind an IP header without options.
        if to_guest && tcp && 34 + usize::from(frame[46] >> 4) * 4 == length && frame[47] == 0x10 {
            counter.set(counter.get() + 1);
        }
        false
    });
    count
}

#[test]
fn an_answer_carries_the_acknowledgement() {
    let (answered, answer) = std::sync::mpsc::channel();
    let serve = move |mut stream: TcpStream| {
        let mut buf = [0; 7];
        while stream.read_exact(&mut buf).is_ok() {
            stream.write_all(&buf).unwrap();
            answered.send(()).unwrap();
        }
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_000);
    w.until(|w| w.tcp(handle).may_send());
    let alone = count_acknowledgements(&mut w);
    for _ in 0..5 {
        w.tcp(handle).send_slice(b"request").unwrap();
        // The network looks at its sockets once the answer is there, however long that takes.
        assert!(w.guest_turn());
        answer.recv().unwrap();
        w.until(|w| w.tcp(handle).recv_queue() == 7);
        w.tcp(handle).recv(|data| (data.len(), ())).unwrap();
        assert_eq!(alone.get(), 0);
    }
    w.tcp(handle).close();
    finish(&mut w, thread);
}

#[test]
fn without_an_answer_the_acknowledgement_comes_alone() {
    let (address, thread) = service(|mut stream| assert!(stream.read_to_end(&mut Vec::new()).is_ok()), 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_000);
    w.until(|w| w.tcp(handle).may_send());
    let alone = count_acknowledgements(&mut w);
    for round in 1..=5 {
        w.tcp(handle).send_slice(b"nobody answers").unwrap();
        w.until(|w| w.tcp(handle).send_queue() == 0);
        assert_eq!(alone.get(), round);
    }
    w.tcp(handle).close();
    finish(&mut w, thread);
}

#[test]
fn losses_both_ways_are_repaired() {
    for offloads in [Offloads::empty(), ALL] {
        let (address, thread) = service(echo, 1);
        let mut w = World::new(UserNetConfig::default(), offloads);
        // Rarely from the guest: the other stack's recovery is slow, and a real card's queue loses nothing.
        let mut seen = [0u32; 2];
        w.wire.lose = Box::new(move |frame| {
            let from_guest = frame[6..12] == GUEST_MAC;
            let count = &mut seen[usize::from(from_guest)];
            *count += 1;
            frame.len() > 42 && *count % if from_guest { 499 } else { 31 } == 7
        });
        let handle = w.tcp_socket(1 << 17);
        w.connect(handle, through_gateway(address), 40_001);
        run_guest(&mut w, handle, 1 << 20, 1 << 20);
        finish(&mut w, thread);
    }
}

pub fn forwarded(rules: &[&str]) -> UserNetConfig {
    let host_fwd = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    UserNetConfig { host_fwd, ..Default::default() }
}

#[test]
fn host_to_guest_through_a_forwarded_port() {
    for restrict in [false, true] {
        let mut w = World::new(UserNetConfig { restrict, ..forwarded(&["tcp:127.0.0.1:0-:8080"]) }, ALL);
        let port = w.net.forwarded()[0];
        let client = spawn(move || {
            let mut stream = TcpStream::connect(port).unwrap();
            let mut writer = stream.try_clone().unwrap();
            let writer = spawn(move || {
                for i in 0..BIG >> 16 {
                    writer.write_all(&pattern(i << 16, 1 << 16)).unwrap();
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            writer.join().unwrap();
            all
        });
        let handle = w.accept(1 << 20, 8080);
        let peer = w.tcp(handle).remote_endpoint().unwrap();
        assert_eq!(peer.addr, HOST.into());
        run_guest(&mut w, handle, 5 << 20, BIG);
        assert!(client.join().unwrap() == pattern(0, 5 << 20));
        w.until(|w| w.net.tcp.len() == 0);
    }
}

#[test]
fn a_closed_guest_port_resets_the_client() {
    let mut w = World::new(forwarded(&["tcp:127.0.0.1:0-:81"]), ALL);
    let port = w.net.forwarded()[0];
    let client = spawn(move || TcpStream::connect(port).unwrap().read(&mut [0; 8]));
    // The client's handshake ends with the host; the guest's reset follows.
    w.until(|_| client.is_finished());
    assert_eq!(client.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(w.net.tcp.len(), 0);
}

#[test]
fn a_closed_host_port_resets_the_guest() {
    // Bound, so that nobody else gets the port, but not listening.
    let bound = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&bound, &at(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&bound).unwrap()).unwrap();
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(4096);
    w.connect(handle, through_gateway(address), 40_002);
    w.until(|w| w.tcp(handle).state() == State::Closed);
    assert_eq!(w.net.tcp.len(), 0);
}

#[test]
fn restricted_guests_and_strange_addresses_are_refused() {
    let (address, _thread) = service(|_| panic!("a restricted guest came through"), 1);
    let mut w = World::new(UserNetConfig { restrict: true, ..Default::default() }, ALL);
    for to in [through_gateway(address), at(Ipv4Addr::new(192, 0, 2, 1), 80), at(DNS, 53)] {
        let handle = w.tcp_socket(4096);
        w.connect(handle, to, 40_003);
        w.until(|w| w.tcp(handle).state() == State::Closed);
    }
    let mut w = World::new(UserNetConfig::default(), ALL);
    for to in [at(DNS, 80), at(Ipv4Addr::LOCALHOST, address.port())] {
        let handle = w.tcp_socket(4096);
        w.connect(handle, to, 40_004);
        w.until(|w| w.tcp(handle).state() == State::Closed);
    }
    assert_eq!(w.net.tcp.len(), 0);
}

#[test]
fn guestfwd_leads_out_even_when_restricted() {
    let (address, thread) = service(echo, 1);
    let rule = format!("tcp:10.0.2.100:6667-tcp:{address}").parse().unwrap();
    let mut w = World::new(UserNetConfig { restrict: true, guest_fwd: vec![rule], ..Default::default() }, ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, at(Ipv4Addr::new(10, 0, 2, 100), 6667), 40_005);
    run_guest(&mut w, handle, 100_000, 100_000);
    finish(&mut w, thread);
}

#[test]
fn the_guest_closes_first_and_still_reads() {
    // The service answers only after the guest's end of stream.
    let serve = |mut stream: TcpStream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, 300_000));
        stream.write_all(&pattern(0, 700_000)).unwrap();
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_006);
    run_guest(&mut w, handle, 300_000, 700_000);
    finish(&mut w, thread);
}

#[test]
fn the_host_closes_first_and_still_reads() {
    let serve = |mut stream: TcpStream| {
        stream.write_all(&pattern(0, 10_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, 500_000));
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_007);
    w.until(|w| w.tcp(handle).state() == State::CloseWait);
    run_guest(&mut w, handle, 500_000, 10_000);
    finish(&mut w, thread);
    w.until(|w| w.net.tcp.len() == 0);
}

#[test]
fn a_reset_by_the_host_reaches_the_guest() {
    let serve = |stream: TcpStream| sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_008);
    w.until(|w| w.tcp(handle).state() == State::Closed);
    finish(&mut w, thread);
    assert_eq!(w.net.tcp.len(), 0);
}

#[test]
fn a_reset_by_the_guest_reaches_the_host() {
    let serve = |mut stream: TcpStream| {
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 16);
    w.connect(handle, through_gateway(address), 40_009);
    w.until(|w| w.tcp(handle).state() == State::Established);
    w.tcp(handle).abort();
    finish(&mut w, thread);
    assert_eq!(w.net.tcp.len(), 0);
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    // Neither end reads at first: buffers must fill and stay within their limits, then everything arrives.
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let serve = move |mut stream: TcpStream| {
        let mut writer = stream.try_clone().unwrap();
        let writer = spawn(move || writer.write_all(&pattern(0, BIG / 4)).unwrap());
        wait.lock().unwrap().recv().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, BIG / 4));
        writer.join().unwrap();
    };
    let (address, thread) = service(serve, 1);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let handle = w.tcp_socket(1 << 17);
    w.connect(handle, through_gateway(address), 40_010);
    let (data, mut sent) = (pattern(0, BIG / 4), 0);
    let mut idle = 0;
    w.until(|w| {
        let n = w.tcp(handle).can_send().then(|| w.tcp(handle).send_slice(&data[sent..]).unwrap());
        sent += n.unwrap_or(0);
        idle = if n.unwrap_or(0) == 0 { idle + 1 } else { 0 };
        assert!(w.net.lan.tcp_buffered <= 384 << 10, "{} bytes buffered", w.net.lan.tcp_buffered);
        idle == 100
    });
    go.send(()).unwrap();
    let mut received = 0;
    w.until(|w| {
        let socket = w.tcp(handle);
        if sent < data.len() && socket.can_send() {
            sent += socket.send_slice(&data[sent..]).unwrap();
        } else if sent == data.len() && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            received += socket.recv(|d| (d.len(), d.len())).unwrap();
        }
        received == data.len() && sent == data.len() && !w.tcp(handle).may_recv()
    });
    finish(&mut w, thread);
}

#[test]
fn many_connections_at_once() {
    const N: usize = 200;
    let (address, thread) = service(echo, N);
    let mut w = World::new(UserNetConfig::default(), ALL);
    let data = pattern(0, 20_000);
    let mut flows: Vec<(SocketHandle, usize, Vec<u8>)> = Vec::new();
    for i in 0..N {
        let handle = w.tcp_socket(4096);
        w.connect(handle, through_gateway(address), 41_000 + i as u16);
        flows.push((handle, 0, Vec::new()));
    }
    w.until(|w| {
        for (handle, sent, received) in &mut flows {
            let socket = w.tcp(*handle);
            if *sent < data.len() && socket.can_send() {
                *sent += socket.send_slice(&data[*sent..]).unwrap();
            }
            while socket.can_recv() {
                socket.recv(|d| (d.len(), received.extend_from_slice(d))).unwrap();
            }
            if received.len() == data.len() && socket.may_send() {
                socket.close();
            }
        }
        flows.iter().all(|(_, _, received)| received.len() == data.len()) && w.net.tcp.len() == 0
    });
    assert!(flows.iter().all(|(_, _, received)| *received == data));
    finish(&mut w, thread);
    assert_eq!(w.net.lan.tcp_buffered, 0);
}

#[test]
fn the_connection_idle_for_longest_gives_way() {
    let (address, _thread) = service(echo, 4);
    let limits = Limits { tcp_flows: 2, ..Default::default() };
    let mut w = World::new(UserNetConfig { limits, ..Default::default() }, ALL);
    let handles: Vec<_> = (0..3).map(|_| w.tcp_socket(4096)).collect();
    for (i, handle) in handles.iter().enumerate() {
        w.connect(*handle, through_gateway(address), 42_000 + i as u16);
        w.until(|w| w.tcp(*handle).state() == State::Established);
    }
    w.until(|w| w.tcp(handles[0]).state() == State::Closed);
    assert_eq!(w.net.tcp.len(), 2);
    assert_eq!(w.tcp(handles[1]).state(), State::Established);
}

#[test]
fn a_guest_that_forgot_a_connection_may_open_it_anew() {
    let (address, _thread) = service(echo, 2);
    let mut w = World::new(UserNetConfig::default(), ALL);
    for _ in 0..2 {
        // The second round is a rebooted guest that uses the same port.
        w.sockets = SocketSet::new(Vec::new());
        let handle = w.tcp_socket(4096);
        w.connect(handle, through_gateway(address), 43_000);
        w.until(|w| w.tcp(handle).state() == State::Established);
        w.tcp(handle).send_slice(b"hello").unwrap();
        w.until(|w| w.tcp(handle).recv_queue() == 5);
    }
    assert_eq!(w.net.tcp.len(), 1);
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let rule = format!("tcp:127.0.0.1:{}-:22", taken.local_addr().unwrap().port());
    let error = UserNet::start(forwarded(&[&rule])).unwrap_err();
    assert!(error.to_string().contains(&format!("{}-:22", taken.local_addr().unwrap().port())), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("in use"));
}

#[test]
fn dns_over_tcp_goes_to_the_resolver() {
    let (address, thread) = service(echo, 1);
    let config = UserNetConfig { resolvers: Resolvers::Fixed(vec![address]), ..Default::default() };
    let mut w = World::new(config, ALL);
    let handle = w.tcp_socket(4096);
    w.connect(handle, at(DNS, 53), 44_000);
    run_guest(&mut w, handle, 1000, 1000);
    finish(&mut w, thread);
}
