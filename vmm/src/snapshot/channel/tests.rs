use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix};

use super::*;
use crate::snapshot::decision::READY;

/// To write to, for one who does not give up.
fn create(channel: &Channel) -> Result<Sink, SnapshotError> {
    channel.create(Arc::new(Decision::new().unwrap()))
}

#[test]
fn texts() {
    for text in ["file:/a/b", "file:a,map=on", "exec:cat >x:y", "unix:/s", "tcp:localhost:80", "tcp::0"] {
        assert_eq!(Channel::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "file",
        "file:",
        "udp:1:2",
        "tcp:host",
        "tcp:1:65536",
        "file:a,map=x",
        "fd:",
        "fd:a",
        "fd:-1",
        "fd:1000000",
    ] {
        assert!(Channel::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_file_is_there_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let channel = Channel::File { path: path.clone(), map: false };
    let mut sink = create(&channel).unwrap();
    sink.write_all(b"half").unwrap();
    drop(sink);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    let mut sink = create(&channel).unwrap();
    sink.write_all(b"whole").unwrap();
    assert!(!path.exists());
    sink.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
}

/// Of these two one is to write to, and one to read from.
fn by_descriptors(to: impl Into<OwnedFd>, from: impl Into<OwnedFd>) -> (Channel, Channel) {
    let fd = |fd: OwnedFd| Channel::Fd(Descriptor::new("x".to_owned(), fd));
    (fd(to.into()), fd(from.into()))
}

/// Nobody answers, so that the last byte is what the reader waits for.
#[test]
fn a_pipe_has_all_of_it_when_that_is_decided() {
    for cancel in [false, true] {
        let (read, write) = std::io::pipe().unwrap();
        let (to, from) = by_descriptors(write, read);
        assert!(!to.is_answered() && !to.is_local());
        let (source, answer) = from.listen().unwrap().accept().unwrap();
        assert!(matches!(answer, Answer::Nobody));
        let Source::Stream(mut stream) = source else { panic!("a pipe is a stream") };
        let decision = Arc::new(Decision::new().unwrap());
        let mut sink = to.create(Arc::clone(&decision)).unwrap();
        drop(to);
        // More than goes into a pipe at once, in pieces of all sizes.
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all
            });
            for piece in bytes[..100].chunks(1).chain(bytes[100..].chunks(777_777)) {
                sink.write_all(piece).unwrap();
                sink.flush().unwrap();
            }
            if cancel {
                assert!(decision.cancel());
                assert!(sink.commit().is_err());
            } else {
                assert!(!sink.commit().unwrap());
            }
            let end = bytes.len() - usize::from(cancel);
            assert!(reader.join().unwrap() == bytes[..end], "cancelled: {cancel}");
        });
    }
}

/// As `file:`, and from the place where it is.
#[test]
fn a_file_that_is_open_is_written_and_read() {
    let mut file = tempfile::tempfile().unwrap();
    let (to, from) = by_descriptors(file.try_clone().unwrap(), file.try_clone().unwrap());
    let mut sink = create(&to).unwrap();
    sink.write_all(b"whole").unwrap();
    sink.commit().unwrap();
    file.rewind().unwrap();
    assert!(matches!(from.listen().unwrap(), Listening::File(_, false)));
    file.seek(std::io::SeekFrom::Start(2)).unwrap();
    let (Source::Stream(mut stream), Answer::Nobody) = from.listen().unwrap().accept().unwrap() else {
        panic!("the rest of a file is a stream")
    };
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "ole");
    // What cannot be a way says so.
    let (one, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let (to, from) = by_descriptors(one, other);
    let text = crate::error_chain(&create(&to).err().unwrap());
    assert!(text.contains("cannot use 'fd:x': it is a socket for packets"), "{text}");
    assert!(from.listen().is_err());
}

type Reader = fn(Stream, Answer);

/// Sends five bytes, with a descriptor, to somebody who does `read` with them. `None`: nobody gives up.
fn transfer(to: Channel, listening: Listening, read: Reader, cancel: bool) -> Result<bool, SnapshotError> {
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (source, answer) = listening.accept().unwrap();
            let Source::Stream(mut stream) = source else { panic!("a socket is a stream") };
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"guest");
            read(stream, answer);
        });
        let decision = Arc::new(Decision::new().unwrap());
        let mut sink = to.create(Arc::clone(&decision))?;
        drop(to);
        sink.attach([Arc::new(File::open("/dev/null").unwrap().into())]);
        sink.write_all(b"guest").unwrap();
        let committing = scope.spawn(|| sink.commit());
        if cancel {
            assert!(decision.cancel());
        }
        let done = committing.join().unwrap();
        reader.join().unwrap();
        done
    })
}

/// All kinds of sockets, with what came of them.
fn both(read: Reader, cancel: bool) -> [Result<bool, SnapshotError>; 3] {
    let dir = tempfile::tempdir().unwrap();
    let listening = Channel::parse("tcp::0").unwrap().listen().unwrap();
    let tcp = Channel::Tcp(format!(":{}", listening.port().unwrap()));
    let unix = Channel::Unix(dir.path().join("socket"));
    let there = unix.listen().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let (to, from) = by_descriptors(one, other);
    assert!(to.is_answered() && to.is_local());
    let connected = from.listen().unwrap();
    drop(from);
    [transfer(tcp, listening, read, cancel), transfer(unix, there, read, cancel), transfer(to, connected, read, cancel)]
}

fn confirm(stream: &mut Stream, answer: &mut Answer) -> Result<(), SnapshotError> {
    let with = !stream.descriptors().is_empty();
    answer.confirm(Some(stream), with)
}

#[test]
fn sockets_agree() {
    let [tcp, unix, pair] = both(
        |mut stream, mut answer| {
            confirm(&mut stream, &mut answer).unwrap();
            answer.give(Ok(())).unwrap();
        },
        false,
    );
    assert!(!tcp.unwrap(), "descriptors do not go over TCP");
    assert!(unix.unwrap() && pair.unwrap());
}

/// Whatever the reader does short of saying that it goes on, the guest does not.
#[test]
fn who_does_not_go_on_is_not_believed_to() {
    let no = || SnapshotError::Unknown("x".into());
    let early: Reader = |_, answer| answer.give(Err(&SnapshotError::Unknown("x".into()))).unwrap();
    let late: Reader = |mut stream, mut answer| {
        confirm(&mut stream, &mut answer).unwrap();
        answer.give(Err(&SnapshotError::Unknown("x".into()))).unwrap();
    };
    for read in [early, late] {
        for done in both(read, false) {
            assert!(done.unwrap_err().to_string().contains(&no().to_string()));
        }
    }
    let gone: Reader = |_, _| {};
    let gone_late: Reader = |mut stream, mut answer| confirm(&mut stream, &mut answer).unwrap();
    // Without a look at the word that it should go.
    let deaf: Reader = |mut stream, mut answer| {
        let Answer::Socket(socket) = &mut answer else { panic!("a socket") };
        socket.write_all(READY[0]).unwrap();
        stream.read_exact(&mut []).unwrap();
    };
    for read in [gone, gone_late, deaf] {
        let [tcp, unix, pair] = both(read, false);
        assert!(matches!(unix, Err(SnapshotError::Refused(_))), "{unix:?}");
        assert!(matches!(pair, Err(SnapshotError::Refused(_))), "{pair:?}");
        // A connection that breaks says less.
        assert!(matches!(tcp, Err(SnapshotError::Refused(_) | SnapshotError::Undecided(_))), "{tcp:?}");
    }
}

/// A writer that gives up while nobody answers is free at once, and the reader is told to go by nobody.
#[test]
fn a_writer_gives_up() {
    let waits: Reader = |mut stream, _answer| assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    for done in both(waits, true) {
        assert!(done.unwrap_err().to_string().contains("cancelled"));
    }
    let asks: Reader = |mut stream, mut answer| {
        // Not before the writer has hung up.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert!(confirm(&mut stream, &mut answer).is_err());
    };
    for done in both(asks, true) {
        assert!(done.is_err());
    }
}

#[test]
fn programs_tell_by_their_status() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut sink = create(&Channel::Exec(format!("cat > {}", path.display()))).unwrap();
    sink.write_all(b"x").unwrap();
    sink.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
    let error = create(&Channel::Exec("exit 3".into())).unwrap().commit().unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
}

/// A listener on this host whose queue is full, and who is in it.
fn full(path: &Path) -> (UnixListener, Vec<OwnedFd>) {
    let listener = UnixListener::bind(path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut queue = Vec::new();
    loop {
        let socket = socket::new(AddressFamily::UNIX).unwrap();
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()) {
            Ok(()) => queue.push(socket),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return (listener, queue);
            }
        }
    }
}

#[test]
fn who_waits_for_a_connection_gives_up_or_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (listener, queue) = full(&path);
    let connect = |gives_up: bool, until: &dyn Fn()| {
        let decision = Arc::new(Decision::new().unwrap());
        std::thread::scope(|scope| {
            let theirs = Arc::clone(&decision);
            let connecting = scope.spawn(|| Channel::Unix(path.clone()).create(theirs).map(drop));
            // There is nothing to see of one that waits.
            std::thread::sleep(Duration::from_millis(30));
            assert!(!connecting.is_finished());
            if gives_up {
                decision.cancel();
            }
            until();
            connecting.join().unwrap()
        })
    };
    let given_up = connect(true, &|| ()).unwrap_err();
    assert!(crate::error_chain(&given_up).ends_with("it was cancelled"), "{given_up}");
    connect(false, &|| queue.iter().for_each(|_| drop(listener.accept().unwrap()))).unwrap();
}

/// A port whose queue is full does not answer.
#[test]
fn who_waits_for_a_port_gives_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let decision = Arc::new(Decision::new().unwrap());
    let (gives_up, mut queue) = (Arc::clone(&decision), Vec::new());
    let (done, last) = std::sync::mpsc::channel();
    let connecting = std::thread::spawn(move || {
        let failed = loop {
            match Socket::tcp(&address.to_string(), &decision) {
                Ok(socket) => queue.push(socket),
                Err(error) => break error,
            }
            done.send(()).unwrap();
        };
        (failed, queue.len())
    });
    while last.recv_timeout(Duration::from_millis(200)).is_ok() {}
    gives_up.cancel();
    let (failed, queue) = connecting.join().unwrap();
    assert_eq!((failed.to_string().as_str(), queue > 0), ("it was cancelled", true));
}

#[test]
fn nobody_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let why = |channel: Channel| crate::error_chain(&create(&channel).map(drop).unwrap_err());
    let missing = why(Channel::Unix(path.clone()));
    assert!(missing.starts_with("cannot connect to 'unix:/") && missing.contains("No such file"), "{missing}");
    drop(UnixListener::bind(&path).unwrap());
    let gone = why(Channel::Unix(path));
    assert!(gone.contains("refused"), "{gone}");
    let long = why(Channel::Unix("x".repeat(200).into()));
    assert!(long.contains("too long"), "{long}");
    // Nobody has this port any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for address in [format!(":{port}"), format!("localhost:{port}")] {
        let refused = why(Channel::Tcp(address));
        assert!(refused.contains("refused"), "{refused}");
    }
}

/// One that fails before it has everything says why by its status, at both ends.
#[test]
fn programs_that_fail_early_tell_it_too() {
    let write = |command: &str| {
        let mut sink = create(&Channel::Exec(command.into())).unwrap();
        crate::error_chain(&loop {
            if let Err(error) = sink.write_all(&[1; 1 << 16]) {
                break error;
            }
        })
    };
    assert_eq!(write("exit 3"), "'exec:exit 3' failed: exit status: 3");
    assert_eq!(write("exec <&-; sleep 0.05; exit 4"), "'exec:exec <&-; sleep 0.05; exit 4' failed: exit status: 4");
    assert!(write("kill -9 $$").ends_with("failed: signal: 9 (SIGKILL)"));
    assert_eq!(write("true"), "the program does not read all of it");
    let cut = || SnapshotError::Truncated("its header".into());
    let read = |command: &str, error| {
        let (_source, mut answer) = Channel::Exec(command.into()).listen().unwrap().accept().unwrap();
        answer.explain(error).to_string()
    };
    assert_eq!(read("echo x; exit 3", cut()), "'exec:echo x; exit 3' failed: exit status: 3");
    assert_eq!(read("true", cut()), cut().to_string());
    assert_eq!(read("exit 3", SnapshotError::Unknown("x".into())), SnapshotError::Unknown("x".into()).to_string());
}
