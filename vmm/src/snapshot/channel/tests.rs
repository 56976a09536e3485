use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use super::*;
use crate::snapshot::decision::READY;

#[test]
fn texts() {
    for text in ["file:/a/b", "file:a,map=on", "exec:cat >x:y", "unix:/s", "tcp:localhost:80", "tcp::0"] {
        assert_eq!(Channel::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "file", "file:", "udp:1:2", "tcp:host", "tcp:1:65536", "file:a,map=x"] {
        assert!(Channel::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_file_is_there_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let channel = Channel::File { path: path.clone(), map: false };
    let mut sink = channel.create().unwrap();
    sink.write_all(b"half").unwrap();
    drop(sink);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    let mut sink = channel.create().unwrap();
    sink.write_all(b"whole").unwrap();
    assert!(!path.exists());
    sink.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
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
        let mut sink = to.create()?;
        sink.attach([Arc::new(File::open("/dev/null").unwrap().into())]);
        sink.write_all(b"guest").unwrap();
        let decision = sink.decision();
        let committing = scope.spawn(|| sink.commit());
        if cancel {
            assert!(decision.cancel());
        }
        let done = committing.join().unwrap();
        reader.join().unwrap();
        done
    })
}

/// Both kinds of sockets, with what came of them.
fn both(read: Reader, cancel: bool) -> [Result<bool, SnapshotError>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let listening = Channel::parse("tcp::0").unwrap().listen().unwrap();
    let tcp = Channel::Tcp(format!(":{}", listening.port().unwrap()));
    let unix = Channel::Unix(dir.path().join("socket"));
    let there = unix.listen().unwrap();
    [transfer(tcp, listening, read, cancel), transfer(unix, there, read, cancel)]
}

fn confirm(stream: &mut Stream, answer: &mut Answer) -> Result<(), SnapshotError> {
    let with = !stream.descriptors().is_empty();
    answer.confirm(Some(stream), with)
}

#[test]
fn sockets_agree() {
    let [tcp, unix] = both(
        |mut stream, mut answer| {
            confirm(&mut stream, &mut answer).unwrap();
            answer.give(Ok(())).unwrap();
        },
        false,
    );
    assert!(!tcp.unwrap(), "descriptors do not go over TCP");
    assert!(unix.unwrap());
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
        let [tcp, unix] = both(read, false);
        assert!(matches!(unix, Err(SnapshotError::Refused(_))), "{unix:?}");
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
    let mut sink = Channel::Exec(format!("cat > {}", path.display())).create().unwrap();
    sink.write_all(b"x").unwrap();
    sink.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
    let error = Channel::Exec("exit 3".into()).create().unwrap().commit().unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
}
