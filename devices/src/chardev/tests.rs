//! Every back end against a real peer: sockets, pseudo terminals, pipes and files.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// A test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A user that remembers what it was told.
#[derive(Default)]
struct Recorder {
    log: Mutex<Vec<String>>,
}

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
    fn saw(&self, what: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line == what)
    }
}

impl ChardevClient for Recorder {
    fn input_ready(&self) {
        self.log.lock().unwrap().push("input".into());
    }
    fn output_ready(&self) {
        self.log.lock().unwrap().push("output".into());
    }
    fn event(&self, event: ChardevEvent) {
        self.log.lock().unwrap().push(format!("{event:?}"));
    }
}

/// A device, one user, and the event loop of both.
struct Bench {
    chardev: Arc<Chardev>,
    endpoint: Endpoint,
    user: Arc<Recorder>,
}

fn client_of(user: &Arc<Recorder>) -> Weak<dyn ChardevClient> {
    Arc::downgrade(&(user.clone() as Arc<dyn ChardevClient>))
}

impl Bench {
    fn new(backend: BackendConfig) -> Self {
        Self::with(ChardevConfig::new("test", backend))
    }

    fn with(config: ChardevConfig) -> Self {
        let chardev = Chardev::open(&config).unwrap();
        let endpoint = chardev.endpoint().unwrap();
        let user = Arc::new(Recorder::default());
        endpoint.connect(client_of(&user));
        let bench = Self { chardev, endpoint, user };
        bench.settle();
        bench
    }

    /// Runs the event loop as long as there is something to do at once.
    fn settle(&self) {
        while self.step(Duration::ZERO) {}
    }

    /// One round of the event loop; `false` if nothing happened in time.
    fn step(&self, timeout: Duration) -> bool {
        let fd = self.chardev.poll_fd();
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0;
        if ready {
            self.chardev.service();
        }
        ready
    }

    /// Runs the event loop until `done`.
    fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            assert!(self.step(PATIENCE), "no {what}");
        }
    }

    fn read_all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut chunk = [0; 100];
        while let n @ 1.. = self.endpoint.read(&mut chunk) {
            all.extend_from_slice(&chunk[..n]);
        }
        all
    }

    fn expect_input(&self, want: &[u8]) {
        let mut got = Vec::new();
        self.until("input", |b| {
            got.extend(b.read_all());
            got.len() >= want.len()
        });
        assert_eq!(got, want);
    }

    /// Writes all, running the event loop when the device is full.
    fn send(&self, mut data: &[u8]) {
        while !data.is_empty() {
            data = &data[self.endpoint.write(data)..];
            self.settle();
        }
    }
}

fn receive(peer: &mut impl Read, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    peer.read_exact(&mut data).unwrap();
    data
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn unix_server(path: PathBuf) -> BackendConfig {
    let address = SocketAddress::Unix(path);
    BackendConfig::listening(address)
}

/// A server with a connected client.
fn pair(mux: bool) -> (Dir, Bench, UnixStream) {
    let dir = Dir::new();
    let mut config = ChardevConfig::new("test", unix_server(dir.path("s")));
    config.mux = mux;
    let bench = Bench::with(config);
    let peer = UnixStream::connect(dir.path("s")).unwrap();
    // Only so that a failure is not a hang.
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    bench.until("connection", |b| b.chardev.is_connected());
    bench.settle();
    (dir, bench, peer)
}

#[test]
fn null_takes_everything() {
    let b = Bench::new(BackendConfig::Null);
    assert_eq!(b.endpoint.write(&[0; 1 << 20]), 1 << 20);
    assert_eq!(b.endpoint.available(), 0);
}

#[test]
fn a_device_has_one_user_unless_shared() {
    let b = Bench::new(BackendConfig::Null);
    let refused = b.chardev.endpoint().unwrap_err();
    assert!(refused.to_string().contains("'test' is used"), "{refused}");
}

#[test]
fn file_takes_output_and_gives_input() {
    let dir = Dir::new();
    fs::write(dir.path("out"), "old ").unwrap();
    let data = pattern(50_000);
    fs::write(dir.path("in"), &data).unwrap();
    let backend = |append| BackendConfig::File { path: dir.path("out"), append, input: Some(dir.path("in")) };
    let b = Bench::new(backend(true));
    b.send(b"new");
    b.expect_input(&data);
    drop(b);
    assert_eq!(fs::read(dir.path("out")).unwrap(), b"old new");
    let b = Bench::new(backend(false));
    b.endpoint.write(b"only");
    assert!(b.chardev.drain(PATIENCE));
    assert_eq!(fs::read(dir.path("out")).unwrap(), b"only");
    let path = dir.path("no/such");
    let error = Chardev::open(&ChardevConfig::new("x", BackendConfig::File { path, append: false, input: None }));
    assert!(matches!(error.err(), Some(ChardevError::Open { .. })));
}

#[test]
fn log_file_gets_what_nobody_reads() {
    let dir = Dir::new();
    for append in [false, true] {
        let mut config = ChardevConfig::new("test", unix_server(dir.path("s")));
        config.logfile = Some(dir.path("log"));
        config.logappend = append;
        let b = Bench::with(config);
        b.send(b"line\n");
    }
    assert_eq!(fs::read(dir.path("log")).unwrap(), b"line\nline\n");
    let mut config = ChardevConfig::new("test", BackendConfig::Null);
    config.logfile = Some(dir.path("log"));
    Bench::with(config).send(b"null\n");
    assert_eq!(fs::read(dir.path("log")).unwrap(), b"null\n");
}

#[test]
fn ring_keeps_the_newest_output() {
    let b = Bench::new(BackendConfig::RingBuf { size: 8 });
    b.endpoint.write(b"0123456789");
    assert_eq!(b.chardev.read_ring(3), b"234");
    b.settle();
    assert_eq!(b.chardev.read_ring(99), b"56789");
    let bad = ChardevConfig::new("x", BackendConfig::RingBuf { size: 5 });
    assert!(matches!(Chardev::open(&bad).err(), Some(ChardevError::RingSize { .. })));
}

#[test]
fn server_serves_one_client_after_another() {
    let (dir, b, mut peer) = pair(false);
    assert_eq!(b.user.take(), ["Opened"]);
    for round in 0..3u8 {
        b.send(&[b'o', round]);
        assert_eq!(receive(&mut peer, 2), [b'o', round]);
        peer.write_all(&[b'i', round]).unwrap();
        b.expect_input(&[b'i', round]);
        drop(peer);
        b.until("hang-up", |b| !b.chardev.is_connected());
        b.settle();
        b.send(b"nobody hears this");
        peer = UnixStream::connect(dir.path("s")).unwrap();
        b.until("connection", |b| b.chardev.is_connected());
        b.settle();
        let log = b.user.take();
        assert!(log.ends_with(&["Closed".into(), "Opened".into()]), "{log:?}");
    }
    drop(b);
    assert!(!dir.path("s").exists(), "the socket's name is removed");
}

#[test]
fn only_a_server_with_wait_waits() {
    let dir = Dir::new();
    for backend in [unix_server(dir.path("s")), BackendConfig::Null, BackendConfig::Pty { link: None }] {
        let b = Bench::new(backend);
        assert!(!b.chardev.awaits_peer());
        b.chardev.wait_for_peer().unwrap();
        assert!(!b.chardev.is_connected());
    }
}

#[test]
fn what_a_client_sent_before_it_left_still_arrives() {
    let (_dir, b, mut peer) = pair(false);
    peer.write_all(b"last words").unwrap();
    drop(peer);
    b.endpoint.write(b"too late");
    b.expect_input(b"last words");
    b.until("hang-up", |b| !b.chardev.is_connected());
}

#[test]
fn a_peer_that_does_not_read_holds_the_output_and_loses_nothing() {
    let (_dir, b, mut peer) = pair(false);
    let data = pattern(4 << 20);
    let mut sent = 0;
    loop {
        let n = b.endpoint.write(&data[sent..]);
        sent += n;
        b.settle();
        if n == 0 {
            break;
        }
    }
    assert!(sent < data.len(), "the device is bounded");
    b.user.take();
    let mut got = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while got.len() < sent {
        let n = peer.read(&mut chunk).unwrap();
        got.extend_from_slice(&chunk[..n]);
        b.settle();
    }
    assert_eq!(got, data[..sent]);
    assert!(b.user.saw("output"), "the user is told of the room");
    assert!(b.endpoint.write(b"x") == 1);
}

/// They wait, in their order and not without end, for who asks for them.
#[test]
fn descriptors_come_along_over_unix_sockets() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    let (dir, b, peer) = pair(false);
    let hand = |name: &str| {
        let file = fs::File::create(dir.path(name)).unwrap();
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&peer, &[std::io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        b.expect_input(b"x");
    };
    assert!(b.chardev.take_descriptor().is_none());
    for i in 0..20 {
        hand(&i.to_string());
    }
    for i in 0..16 {
        let fd = b.chardev.take_descriptor().unwrap_or_else(|| panic!("{i} is there"));
        let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        assert_eq!(name, dir.path(&i.to_string()));
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
    assert!(b.chardev.take_descriptor().is_none(), "more are closed");
}

/// Users, who may keep the device, notice nothing.
#[test]
fn what_is_closed_leaves_nothing_behind() {
    let (dir, b, mut peer) = pair(false);
    let place = dir.path("s");
    assert!(place.exists());
    b.send(b"the last word");
    assert!(b.chardev.drain(PATIENCE));
    let answer = std::thread::spawn(move || {
        let heard = receive(&mut peer, 13);
        peer.write_all(b"+").unwrap();
        (heard, peer)
    });
    b.chardev.hear_out(PATIENCE);
    b.chardev.close();
    assert!(!place.exists() && !b.chardev.is_connected());
    let (heard, mut peer) = answer.join().unwrap();
    assert_eq!(heard, b"the last word");
    // Cut off, because nobody has read the answer.
    assert!(!matches!(peer.read(&mut [0]), Ok(1)));
    assert_eq!(b.endpoint.write(b"swallowed"), 9);
    assert!(b.chardev.drain(PATIENCE));
}

#[test]
fn drain_waits_for_the_peer_and_gives_up_in_the_end() {
    let (_dir, b, mut peer) = pair(false);
    let data = pattern(4 << 20);
    let mut sent = 0;
    while let n @ 1.. = b.endpoint.write(&data[sent..]) {
        sent += n;
        b.settle();
    }
    assert!(!b.chardev.drain(Duration::from_millis(1)));
    let reader = std::thread::spawn(move || receive(&mut peer, sent));
    assert!(b.chardev.drain(PATIENCE));
    assert_eq!(reader.join().unwrap(), data[..sent]);
}

#[test]
fn input_waits_for_a_user_that_does_not_read() {
    let (_dir, b, peer) = pair(false);
    let data = pattern(1 << 20);
    let writer = std::thread::spawn({
        let (data, mut peer) = (data.clone(), peer);
        move || peer.write_all(&data)
    });
    b.until("input", |b| b.endpoint.available() > 0);
    b.settle();
    b.expect_input(&data);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_server_does_not_take_the_place_of_another() {
    let dir = Dir::new();
    let config = ChardevConfig::new("test", unix_server(dir.path("s")));
    let first = Chardev::open(&config).unwrap();
    assert!(matches!(Chardev::open(&config).err(), Some(ChardevError::Listen { .. })));
    drop(first);
    // A name that a killed program left behind.
    drop(UnixListener::bind(dir.path("s")).unwrap());
    assert!(dir.path("s").exists());
    drop(Chardev::open(&config).unwrap());
    fs::write(dir.path("s"), "precious").unwrap();
    assert!(Chardev::open(&config).is_err());
    assert_eq!(fs::read(dir.path("s")).unwrap(), b"precious");
}

#[test]
fn tcp_server_says_where_it_listens_and_waits() {
    let address = SocketAddress::Tcp { host: "127.0.0.1".into(), port: 0, only: None };
    let backend =
        BackendConfig::Socket { address, server: true, wait: true, reconnect: None, nodelay: true, telnet: false };
    let b = Bench::new(backend);
    let notice = b.chardev.notice().unwrap().to_owned();
    let place = notice.rsplit("tcp:").next().unwrap().to_owned();
    assert!(notice.contains("waits for a connection"), "{notice}");
    let peer = std::thread::spawn(move || {
        let mut peer = std::net::TcpStream::connect(place).unwrap();
        peer.write_all(b"hello").unwrap();
        receive(&mut peer, 2)
    });
    assert!(b.chardev.awaits_peer());
    b.chardev.wait_for_peer().unwrap();
    assert!(!b.chardev.awaits_peer());
    b.expect_input(b"hello");
    b.send(b"ok");
    assert_eq!(peer.join().unwrap(), b"ok");
}

fn unix_client(path: PathBuf, reconnect: Option<Duration>) -> BackendConfig {
    let address = SocketAddress::Unix(path);
    BackendConfig::Socket { address, server: false, wait: false, reconnect, nodelay: false, telnet: false }
}

#[test]
fn client_connects_at_once_or_fails() {
    let dir = Dir::new();
    let config = ChardevConfig::new("test", unix_client(dir.path("s"), None));
    let error = Chardev::open(&config).err().unwrap();
    assert!(error.to_string().contains("cannot connect to unix:"), "{error}");
    let listener = UnixListener::bind(dir.path("s")).unwrap();
    let b = Bench::with(config);
    let (mut peer, _) = listener.accept().unwrap();
    b.send(b"hi");
    assert_eq!(receive(&mut peer, 2), b"hi");
}

#[test]
fn client_connects_again() {
    let dir = Dir::new();
    let b = Bench::new(unix_client(dir.path("s"), Some(Duration::from_millis(5))));
    assert!(!b.chardev.is_connected());
    for _ in 0..3 {
        let listener = UnixListener::bind(dir.path("s")).unwrap();
        b.until("connection", |b| b.chardev.is_connected());
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"hi").unwrap();
        b.expect_input(b"hi");
        drop((peer, listener));
        fs::remove_file(dir.path("s")).unwrap();
        b.until("hang-up", |b| !b.chardev.is_connected());
    }
}

#[test]
fn tcp_client_connects_again() {
    // Nobody listens on a port that was just given up; a listener comes later.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddress::Tcp { host: "127.0.0.1".into(), port, only: None };
    let reconnect = Some(Duration::from_millis(5));
    let b = Bench::new(BackendConfig::Socket {
        address,
        server: false,
        wait: false,
        reconnect,
        nodelay: false,
        telnet: false,
    });
    for _ in 0..2 {
        b.until("connection", |b| b.chardev.is_connected());
        let (mut peer, _) = listener.accept().unwrap();
        b.send(b"hi");
        assert_eq!(receive(&mut peer, 2), b"hi");
        drop(peer);
        b.until("hang-up", |b| !b.chardev.is_connected());
    }
}

#[test]
fn pty_comes_and_goes_with_who_opens_it() {
    let dir = Dir::new();
    let link = dir.path("console");
    let b = Bench::new(BackendConfig::Pty { link: Some(link.clone()) });
    assert!(b.chardev.notice().unwrap().contains("/dev/pts/"));
    assert!(!b.chardev.is_connected());
    b.send(b"nobody hears this");
    for _ in 0..2 {
        let open = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&link);
        let mut peer = open.unwrap();
        b.until("connection", |b| b.chardev.is_connected());
        b.settle();
        b.send(b"a\nb");
        assert_eq!(receive(&mut peer, 3), b"a\nb", "raw in both directions");
        peer.write_all(b"x\r\x03\x04y").unwrap();
        b.expect_input(b"x\r\x03\x04y");
        drop(peer);
        b.until("hang-up", |b| !b.chardev.is_connected());
        b.settle();
    }
    drop(b);
    assert!(fs::symlink_metadata(link).is_err(), "the link is removed");
}

#[test]
fn pipes_in_two_files_or_one() {
    let dir = Dir::new();
    let config = ChardevConfig::new("test", BackendConfig::Pipe { path: dir.path("p") });
    assert!(Chardev::open(&config).is_err(), "there is no pipe");
    for name in ["p.in", "p.out"] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path(name),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
    }
    let b = Bench::with(config);
    let mut reader = fs::File::open(dir.path("p.out")).unwrap();
    b.send(b"out");
    assert_eq!(receive(&mut reader, 3), b"out");
    for _ in 0..2 {
        fs::write(dir.path("p.in"), "in").unwrap();
        b.expect_input(b"in");
    }
    b.settle();
    fs::write(dir.path("f"), "").unwrap();
    let file = ChardevConfig::new("test", BackendConfig::Pipe { path: dir.path("f") });
    assert!(Chardev::open(&file).is_err(), "a plain file is no pipe");
}

#[test]
fn mux_switches_and_escapes() {
    let (_dir, b, mut peer) = pair(true);
    let monitor = Arc::new(Recorder::default());
    let second = b.chardev.endpoint().unwrap();
    second.connect(client_of(&monitor));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    b.chardev.set_host_handler(move |request| log.lock().unwrap().push(request));
    b.settle();
    b.user.take();
    monitor.take();

    peer.write_all(b"one\x01b\x01ctwo\x01x\x01s\x01\x01").unwrap();
    b.until("request", |_| asked.lock().unwrap().len() == 2);
    assert_eq!(*asked.lock().unwrap(), [HostRequest::Exit, HostRequest::SaveDisks]);
    assert_eq!(b.user.take(), ["input", "Break", "FocusOut"]);
    assert_eq!(monitor.take(), ["FocusIn", "input"]);
    let mut buf = [0; 9];
    assert_eq!((b.endpoint.read(&mut buf), &buf[..3]), (3, &b"one"[..]));
    assert_eq!((second.read(&mut buf), &buf[..4]), (4, &b"two\x01"[..]));

    second.write(b"from the second\n");
    b.settle();
    assert_eq!(receive(&mut peer, 16), b"from the second\n");
    peer.write_all(b"\x01h").unwrap();
    let help = mux::help(true).len();
    let reader = std::thread::spawn(move || (receive(&mut peer, help), peer));
    while !reader.is_finished() {
        b.step(Duration::from_millis(10));
    }
    let (help, mut peer) = reader.join().unwrap();
    assert_eq!(help, mux::help(true).as_bytes());

    peer.write_all(b"\x01t\x01c back").unwrap();
    b.until("focus", |b| b.user.saw("FocusIn"));
    b.expect_input(b" back");
    b.send(b"stamped\n");
    let line = receive(&mut peer, "[00:00:00.000] stamped\n".len());
    assert!(line.starts_with(b"[00:") && line.ends_with(b"] stamped\n"), "{line:?}");
}

#[test]
fn escapes_work_behind_input_that_nobody_takes() {
    let (_dir, b, mut peer) = pair(true);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    b.chardev.set_host_handler(move |request| log.lock().unwrap().push(request));
    peer.write_all(&[b'.'; 20_000]).unwrap();
    peer.write_all(b"\x01x").unwrap();
    b.until("request", |_| !asked.lock().unwrap().is_empty());
    assert_eq!(b.endpoint.available(), 20_000);
}

#[test]
fn the_event_loop_runs_a_device_as_subscriber() {
    use event_manager::{EventManager, SubscriberOps};
    let dir = Dir::new();
    let chardev = Chardev::open(&ChardevConfig::new("test", unix_server(dir.path("s")))).unwrap();
    let endpoint = chardev.endpoint().unwrap();
    let mut manager = EventManager::<Arc<Chardev>>::new().unwrap();
    manager.add_subscriber(chardev.clone());
    let mut peer = UnixStream::connect(dir.path("s")).unwrap();
    peer.write_all(b"hi").unwrap();
    while endpoint.available() < 2 {
        assert!(manager.run_with_timeout(PATIENCE.as_millis() as i32).unwrap() > 0);
    }
    drop(peer);
    while chardev.is_connected() {
        assert!(manager.run_with_timeout(PATIENCE.as_millis() as i32).unwrap() > 0);
    }
}

#[test]
fn an_idle_device_leaves_the_event_loop_asleep() {
    // Hang-ups and full queues must not keep the descriptor readable.
    let (_dir, b, mut peer) = pair(false);
    peer.write_all(&[0; 8192]).unwrap();
    drop(peer);
    b.settle();
    assert!(b.endpoint.available() > 0);
    assert!(!b.step(Duration::ZERO), "input is full and the peer is gone: nothing to do");
    while !b.read_all().is_empty() {
        b.settle();
    }
    b.until("hang-up", |b| !b.chardev.is_connected());
    b.settle();
    assert!(!b.step(Duration::ZERO));
}

/// This test program's `name`, to be run again with a new terminal as its standard input and output.
fn in_a_terminal(name: &str) -> (std::process::Command, fs::File, rustix::fd::OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
    let slave = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again
        .args(["--ignored", "--exact", "--nocapture", name])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(std::process::Stdio::null());
    (again, master.into(), slave.into())
}

fn read_until(master: &mut fs::File, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        all.extend(receive(master, 1));
    }
    all
}

#[test]
#[ignore = "the child of stdio_is_raw_and_comes_back"]
fn stdio_child() {
    let open = || Chardev::open(&ChardevConfig::new("con", BackendConfig::Stdio { signal: false }));
    let b = Bench::new(BackendConfig::Stdio { signal: false });
    assert!(matches!(open().err(), Some(ChardevError::StdioTaken { .. })));
    b.send(b"ready\n");
    b.expect_input(b"\x03\r\x04");
    b.send(b"done\n");
    assert!(b.chardev.drain(PATIENCE));
    // No destructor runs: the way back is the exit handler's.
    std::process::exit(7);
}

#[test]
fn stdio_is_raw_and_comes_back() {
    use rustix::termios::{LocalModes, OutputModes, tcgetattr};
    let (mut again, mut master, slave) = in_a_terminal("chardev::tests::stdio_child");
    let before = tcgetattr(&slave).unwrap();
    let mut child = again.spawn().unwrap();
    read_until(&mut master, b"ready\r\n");
    let raw = tcgetattr(&slave).unwrap();
    let gone = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    assert!(!raw.local_modes.intersects(gone), "{:?}", raw.local_modes);
    assert!(raw.output_modes.contains(OutputModes::OPOST));
    let flags = rustix::fs::fcntl_getfl(&slave).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "the shell's descriptor is left alone");
    master.write_all(b"\x03\r\x04").unwrap();
    read_until(&mut master, b"done\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[test]
fn telnet_takes_its_commands_out_and_escapes() {
    let dir = Dir::new();
    let address = SocketAddress::Unix(dir.path("s"));
    let backend =
        BackendConfig::Socket { address, server: true, wait: false, reconnect: None, nodelay: false, telnet: true };
    let b = Bench::new(backend);
    let mut peer = UnixStream::connect(dir.path("s")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    b.until("connection", |b| b.chardev.is_connected());
    assert_eq!(receive(&mut peer, 12), super::telnet::HELLO);
    peer.write_all(b"\xff\xfd\x01\xff\xfd\x03h\xff\xffi\r\0").unwrap();
    b.expect_input(b"h\xffi\r");
    b.send(b"a\xff\xffb");
    assert_eq!(receive(&mut peer, 6), b"a\xff\xff\xff\xffb");
}

#[test]
fn addresses_are_of_the_version_that_was_asked_for() {
    let listen = |host: &str, only| {
        let address = SocketAddress::Tcp { host: host.into(), port: 0, only: Some(only) };
        let backend = BackendConfig::listening(address);
        Chardev::open(&ChardevConfig::new("test", backend)).map(|chardev| chardev.far_end())
    };
    assert!(listen("127.0.0.1", IpVersion::V4).unwrap().starts_with("disconnected:tcp:127.0.0.1:"));
    let error = listen("127.0.0.1", IpVersion::V6).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("no IPv6 address"), "{error}");
    assert!(listen("::1", IpVersion::V4).is_err());
    assert!(listen("", IpVersion::V4).unwrap().starts_with("disconnected:tcp:0.0.0.0:"));
}
