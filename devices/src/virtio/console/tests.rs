//! Consoles behind both transports, with real character devices at the far end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::MmioDevice;
use crate::chardev::{BackendConfig, Chardev, ChardevConfig, SocketAddress};
use crate::virtio::testing::Driver;

/// A character device on a socket, its event loop, and the peer.
struct Far {
    peer: UnixStream,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Far {
    fn new() -> (Self, crate::chardev::Endpoint) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = SocketAddress::Unix(path.clone());
        let backend = BackendConfig::listening(address);
        let chardev = Chardev::open(&ChardevConfig::new("far", backend)).unwrap();
        let endpoint = chardev.endpoint().unwrap();
        let peer = UnixStream::connect(path).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let tick = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            while !stopping.load(Ordering::Relaxed) {
                let fd = chardev.poll_fd();
                let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&tick));
                chardev.service();
            }
        });
        (Self { peer, stop, thread: Some(thread), _dir: dir }, endpoint)
    }

    fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.peer.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn bytes_pass_both_ways() {
    for legacy in [false, true] {
        let (mut far, endpoint) = Far::new();
        let device = VirtioConsole::single("console", PortConfig::console(endpoint)).unwrap();
        let mut d = Driver::ready(Box::new(device), legacy, 2, 0);
        let buf = d.alloc(8192);
        d.write_bytes(buf, b"to the host");
        d.submit(1, &[(buf, 4, false), (buf + 4, 7, false)]);
        d.wait_used(1);
        far.expect(b"to the host");
        far.peer.write_all(b"to the guest").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        d.submit(0, &[(buf + 4096, 5, true)]);
        assert_eq!(d.wait_used(0).1, 5);
        d.submit(0, &[(buf + 4101, 64, true)]);
        assert_eq!(d.wait_used(0).1, 7);
        assert_eq!(d.bytes(buf + 4096, 12), b"to the guest");
        d.submit(0, &[(buf, 64, true)]);
        far.peer.write_all(b"later").unwrap();
        assert_eq!(d.wait_used(0).1, 5);
        d.dev.write(0x108, &u32::from(b'!').to_le_bytes());
        far.expect(b"!");
    }
}

#[test]
fn a_slow_reader_gets_every_byte_once_even_over_a_pause() {
    let (mut far, endpoint) = Far::new();
    let device = VirtioConsole::single("console", PortConfig::console(endpoint)).unwrap();
    let mut d = Driver::ready(Box::new(device), false, 2, 0);
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i / 3) as u8).collect();
    let buf = d.alloc(data.len());
    d.write_bytes(buf, &data);
    d.submit(1, &[(buf, data.len() as u32, false)]);
    far.expect(&data[..10]);
    std::thread::sleep(Duration::from_millis(10));
    d.dev.pause();
    let DeviceState::Console(state) = d.dev.save().unwrap().device else { panic!() };
    assert!(state.ports[0].sent > 0, "stopped in the middle");
    d.dev.resume();
    far.expect(&data[10..]);
    d.wait_used(1);
}

/// The control messages that the driver was sent: port, event, value, the rest.
fn messages(d: &mut Driver, at: u64, count: usize) -> Vec<(u32, u16, u16, Vec<u8>)> {
    (0..count)
        .map(|_| {
            d.submit(2, &[(at, 64, true)]);
            let len = d.wait_used(2).1 as usize;
            (d.get(at), d.get(at + 4), d.get(at + 6), d.bytes(at + 8, len - 8))
        })
        .collect()
}

fn say(d: &mut Driver, at: u64, nr: u32, event: u16, value: u16) {
    d.put(at, nr);
    d.put(at + 4, event);
    d.put(at + 6, value);
    d.submit(3, &[(at, 8, false)]);
    d.wait_used(3);
}

#[test]
fn ports_are_announced_named_and_opened() {
    let (mut far, endpoint) = Far::new();
    let console = PortConfig { nr: 0, name: String::new(), console: true, endpoint: None };
    let agent = PortConfig { nr: 3, name: "org.agent.0".to_owned(), console: false, endpoint: Some(endpoint) };
    let device = VirtioConsole::new("serial", 4, vec![console, agent], Some((80, 25))).unwrap();
    let mut d = Driver::ready(Box::new(device), false, 10, 0);
    assert_eq!(d.config::<8>(0), [80, 0, 25, 0, 4, 0, 0, 0]);
    let (at, out) = (d.alloc(4096), d.alloc(4096));
    say(&mut d, out, 0xffff_ffff, 0, 1);
    assert_eq!(messages(&mut d, at, 2), [(0, 1, 1, vec![]), (3, 1, 1, vec![])]);
    say(&mut d, out, 0, 3, 1);
    assert_eq!(messages(&mut d, at, 2), [(0, 4, 1, vec![]), (0, 6, 1, vec![])]);
    say(&mut d, out, 3, 3, 1);
    let told = messages(&mut d, at, 2);
    assert_eq!(told[0], (3, 7, 1, b"org.agent.0\0".to_vec()));
    assert_eq!((told[1].0, told[1].1), (3, 6));
    if told[1].2 == 0 {
        assert_eq!(messages(&mut d, at, 1), [(3, 6, 1, vec![])], "the far end's arrival");
    }
    // Input waits until a program opens the port.
    far.peer.write_all(b"hi").unwrap();
    d.submit(8, &[(at + 512, 16, true)]);
    std::thread::sleep(Duration::from_millis(5));
    assert!(d.poll_used(8).is_none());
    say(&mut d, out, 3, 6, 1);
    assert_eq!(d.wait_used(8).1, 2);
    d.write_bytes(at, b"ok");
    d.submit(9, &[(at, 2, false)]);
    far.expect(b"ok");
    far.peer.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(messages(&mut d, at, 1), [(3, 6, 0, vec![])], "and its departure");
    say(&mut d, out, 77, 3, 1); // no such port
    d.submit(3, &[(out, 5, false)]); // no whole message
    d.wait_used(3);
    // A port that does not exist swallows output.
    d.submit(5, &[(out, 100, false)]);
    d.wait_used(5);
}

#[test]
fn bad_ports_are_named() {
    let port = |nr, console, name: &str| PortConfig { nr, name: name.to_owned(), console, endpoint: None };
    let bad = |max, ports| VirtioConsole::new("c", max, ports, None).map(|_| ()).unwrap_err();
    assert_eq!(bad(32, vec![]), ConsoleConfigError::MaxPorts(32));
    assert_eq!(bad(2, vec![port(2, true, "")]), ConsoleConfigError::PortNumber { nr: 2, max: 2 });
    assert_eq!(bad(9, vec![port(1, true, ""), port(1, false, "")]), ConsoleConfigError::PortTaken(1));
    assert_eq!(bad(9, vec![port(0, false, "x")]), ConsoleConfigError::NotConsole("x".to_owned()));
    assert_eq!(bad(9, vec![port(1, false, "x"), port(2, false, "x")]), ConsoleConfigError::NameTaken("x".to_owned()));
}
