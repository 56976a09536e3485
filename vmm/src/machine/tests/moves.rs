//! The end of a move: who goes on with the guest, and what of the host's goes along.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::gdb::Client;
use super::monitor::{Person, connect, with_person, with_socket};
use super::*;
use crate::monitor::hmp;
use crate::snapshot::{Channel, Decision, GO};

/// A free port, for two machines to have one after the other.
fn forwarding() -> (SocketAddr, [String; 4]) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let net = format!("user,id=n,hostfwd=tcp:{port}-:22");
    (port, ["-netdev".to_owned(), net, "-device".to_owned(), "virtio-net-device,netdev=n".to_owned()])
}

fn words<'a>(more: &'a [String], last: &[&'a str]) -> Vec<&'a str> {
    ["-m", "6M"].into_iter().chain(more.iter().map(String::as_str)).chain(last.iter().copied()).collect()
}

/// All that a writer sends until it waits, without its descriptors.
fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The last section is empty and has this name.
    let end = |bytes: &[u8]| bytes.len() > 92 && bytes[bytes.len() - 92..].starts_with(b"end\0");
    while !end(&bytes) {
        let mut some = [0; 1 << 16];
        let n = stream.read(&mut some).unwrap();
        assert_ne!(n, 0, "the writer waits");
        bytes.extend_from_slice(&some[..n]);
    }
    bytes
}

fn until(p: &mut Person, command: &str, text: &str) -> String {
    loop {
        let answer = p.ask(command);
        if answer.contains(text) {
            return answer;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Says a command with a descriptor along.
fn hand(p: &mut Person, command: &str, fd: impl AsFd) -> String {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let line = format!("{command}\n");
    sendmsg(&p.0, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::NOSIGNAL).unwrap();
    p.answer().replace("\r\n", "\n").strip_prefix(&line).expect("the command is echoed").to_owned()
}

/// Through a pipe whose ends two monitors were handed.
#[test]
fn a_machine_moves_by_descriptors() {
    let (mut read, write) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).unwrap();
        bytes
    });
    with_person(&["-m", "6M"], |mut p, _| {
        assert_eq!(p.ask("getfd x"), "Error: No file descriptor supplied via SCM_RIGHTS\n");
        assert_eq!(p.ask("migrate fd:x"), "Error: File descriptor named 'x' has not been found\n");
        assert!(hand(&mut p, "getfd 1", &write).contains("expects a name not starting with a digit"));
        assert_eq!(hand(&mut p, "getfd x", &write), "");
        assert_eq!(p.ask("closefd x"), "");
        assert_eq!(p.ask("closefd x"), "Error: File descriptor named 'x' not found\n");
        assert_eq!(hand(&mut p, "getfd x", write), "");
        assert!(p.ask("migrate fd:x").contains("completed"));
        assert_eq!(p.ask("migrate fd:x"), "Error: File descriptor named 'x' has not been found\n");
    });
    let bytes = reader.join().unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    let writer = thread::spawn(move || write.write_all(&bytes).unwrap());
    with_person(&["-m", "6M", "-incoming", "defer"], |mut p, _| {
        assert_eq!(hand(&mut p, "getfd y", read), "");
        assert_eq!(p.ask("migrate_incoming fd:y"), "");
        until(&mut p, "info status", "VM status: running");
    });
    writer.join().unwrap();
}

/// Somebody reads everything and says nothing: monitors are served meanwhile, and may give up at once.
#[test]
fn a_silent_reader_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let way = dir.path().join("way");
    with_person(&["-m", "6M"], |mut p, _| {
        let listener = UnixListener::bind(&way).unwrap();
        for stops in [false, true] {
            p.ask(&format!("migrate -d unix:{}", way.display()));
            let (mut stream, _) = listener.accept().unwrap();
            read_all(&mut stream);
            let status = until(&mut p, "info migrate", "standing still");
            assert!(status.contains("Migration status: device") && status.contains("silent for 30 s"), "{status}");
            assert_eq!(p.ask("info status"), "VM status: paused (finish-migrate)\n");
            assert!(p.ask("cont").contains("Error: the guest is being moved"));
            assert!(p.ask("migrate file:/nonexistent/x").contains("is being moved already"));
            if stops {
                p.ask("stop");
            }
            assert_eq!(p.ask("migrate_cancel"), "");
            until(&mut p, "info migrate", "Migration status: cancelled");
            // Nobody was told to go on.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            assert_eq!(p.ask("info status"), if stops { "VM status: paused\n" } else { "VM status: running\n" });
        }
        p.ask("cont");
        // What the guest and others ask for is done when it is known who has the guest.
        p.ask(&format!("migrate -d unix:{}", way.display()));
        let (mut stream, _) = listener.accept().unwrap();
        read_all(&mut stream);
        until(&mut p, "info migrate", "standing still");
        p.0.write_all(b"system_reset\n").unwrap();
        p.answer();
        drop(stream);
        until(&mut p, "info migrate", "failed");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

/// Until its thread has seen that, others do.
#[test]
fn a_move_that_is_given_up_says_so_at_once() {
    let mut machine = Machine::new(config(&["-nodefaults", "-m", "6M"]), &Mock::default()).unwrap();
    machine.migrate(Channel::parse("exec:cat >/dev/null").unwrap()).unwrap();
    while machine.migration().name() == "setup" {
        machine.look_after_moves().unwrap();
    }
    assert_eq!(machine.migration().name(), "active");
    machine.cancel_migration().unwrap();
    let ask = |machine: &mut Machine| {
        let (hart, shown, waits) = (&mut 0, &mut hmp::Format::default(), &mut None);
        let mut out = String::new();
        let mut context = hmp::Context { machine, hart, shown, out: &mut out, waits, is_person: true };
        hmp::execute("info migrate", &mut context);
        out
    };
    let told = ask(&mut machine);
    assert!(told.starts_with("Migration status: cancelling\ntotal time: "), "{told}");
    while machine.is_moving() {
        machine.look_after_moves().unwrap();
    }
    assert_eq!(ask(&mut machine), "Migration status: cancelled\n");
}

/// Nobody takes the connection: monitors are served meanwhile, and may give up at once; so may the program.
#[test]
fn a_connection_that_hangs_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (way, other) = (dir.path().join("way"), dir.path().join("other"));
    let device = format!("unix:{},server=on,wait=off", other.display());
    with_person(&["-m", "6M", "-monitor", &device], |mut p, _| {
        let listener = UnixListener::bind(&way).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _queue = UnixStream::connect(&way).unwrap();
        let command = format!("migrate unix:{}\n", way.display());
        p.0.write_all(command.as_bytes()).unwrap();
        let mut q = Person::at(&other);
        until(&mut q, "info migrate", "Migration status: setup");
        assert_eq!(q.ask("info status"), "VM status: running\n");
        assert!(q.ask("migrate file:/nonexistent/x").contains("is being moved already"));
        assert_eq!(q.ask("migrate_cancel"), "");
        assert!(p.answer().ends_with("Migration status: cancelled\r\n"));
        // Nothing of it is in the way of the next one.
        q.ask(&format!("migrate -d unix:{}", way.display()));
        assert_eq!(q.ask("info migrate"), "Migration status: setup\n");
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        read_all(&mut stream);
        drop(stream);
        let status = until(&mut q, "info migrate", "failed");
        assert!(status.contains("has hung up"), "{status}");
        let _queue = UnixStream::connect(&way).unwrap();
        q.ask(&format!("migrate -d unix:{}", way.display()));
        assert_eq!(q.ask("info migrate"), "Migration status: setup\n");
        q.0.write_all(b"q\n").unwrap();
    });
}

/// Who waits hears why there is no way, and who does not can ask.
#[test]
fn there_is_no_way() {
    let dir = tempfile::tempdir().unwrap();
    let way = format!("unix:{}", dir.path().join("way").display());
    with_person(&["-m", "6M"], |mut p, _| {
        let why = format!("cannot move the machine to '{way}': cannot connect to '{way}': No such file");
        let answer = p.ask(&format!("migrate {way}"));
        assert!(answer.starts_with(&format!("Error: {why}")) && answer.lines().count() == 1, "{answer}");
        assert_eq!(p.ask(&format!("migrate -d {way}")), "");
        let status = until(&mut p, "info migrate", "failed");
        assert!(status.starts_with(&format!("Migration status: failed ({why}")), "{status}");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

/// A file whose RAM can be mapped is all written while the guest stands still: who gives up has no file, and the guest goes on.
#[test]
fn a_mapped_file_can_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("snapshot");
    with_person(&["-m", "1G"], |mut p, _| {
        p.ask("migrate_set_capability mapped-ram on");
        assert!(p.ask("migrate unix:/x").contains("in files only: mapped-ram is for file:PATH"));
        // Looking at a GiB takes longer than a line.
        let command = format!("migrate -d file:{}\n", place.display());
        p.0.write_all(format!("{command}info status\nmigrate_cancel\n").as_bytes()).unwrap();
        p.answer();
        let status = p.answer();
        assert!(status.contains("finish-migrate"), "{status}");
        assert!(!p.answer().contains("Error"));
        until(&mut p, "info migrate", "Migration status: cancelled");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        let done = p.ask(&command.replace("-d ", "").replace('\n', ""));
        assert!(done.contains("Migration status: completed") && done.contains("rounds: 1\n"), "{done}");
        assert_eq!(p.ask("info status"), "VM status: paused (postmigrate)\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

/// Who has asked for a move and left keeps nobody waiting; what else was said before is done behind it.
#[test]
fn whoever_leaves_a_move_alone_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let end = dir.path().join("end");
    with_socket("-monitor", &["-m", "6M"], Mock::default(), |path, _| {
        let mut one = connect(path);
        let command = format!("cat >/dev/null; until [ -e {} ]; do sleep 0.01; done", end.display());
        one.write_all(format!("migrate exec:{command}\n").as_bytes()).unwrap();
        drop(one);
        let mut other = Person::at(path);
        until(&mut other, "info migrate", "Migration status: device");
        // Too late: the program has all of it.
        assert!(other.ask("migrate -d exec:true").contains("the machine is being moved already"));
        assert!(other.ask("migrate -d").contains("migrate needs a place"));
        assert!(other.ask("migrate -d file:/x,map=on").contains("being moved already"));
        File::create(&end).unwrap();
        until(&mut other, "info migrate", "Migration status: completed");
        other.0.write_all(b"quit\n").unwrap();
    });
    let place = dir.path().join("file");
    let ending = with_socket("-monitor", &["-m", "6M"], Mock::default(), |path, _| {
        let mut one = connect(path);
        one.write_all(format!("migrate file:{}\nquit\n", place.display()).as_bytes()).unwrap();
        drop(one);
        // A machine that ends before its move leaves nothing.
        while !place.exists() && UnixStream::connect(path).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(ending.0, Ending::Code(0));
    assert!(place.exists());
}

/// A move goes by its limits, those that are set meanwhile as well.
#[test]
fn a_limit_holds_a_move_up_until_it_is_lifted() {
    with_person(&["-m", "6M"], |mut p, _| {
        let all = p.ask("info migrate_parameters");
        assert!(all.contains("downtime-limit: 300 ms (") && all.contains("max-bandwidth: 0 bytes/second ("), "{all}");
        for (words, why) in [
            ("", "migrate_set_parameter lacks an argument: it takes downtime-limit|max-bandwidth VALUE"),
            ("multifd-channels 2", "'multifd-channels' is no parameter of moves; downtime-limit and max-bandwidth are"),
            ("downtime-limit 2000001", "downtime-limit 2000001: 0 to 2000000 ms are allowed"),
            ("downtime-limit -1", "downtime-limit -1: 0 to 2000000 ms are allowed"),
            ("max-bandwidth x", "max-bandwidth x: must be a size such as 512M"),
        ] {
            let answer = p.ask(&format!("migrate_set_parameter {words}"));
            assert!(answer.starts_with(&format!("Error: {why}")), "{answer}");
        }
        assert_eq!(p.ask("info migrate_parameters"), all);
        assert_eq!(p.ask("migrate_set_parameter max-bandwidth 2"), "");
        assert!(p.ask("info migrate_parameters").contains("max-bandwidth: 2097152 bytes/second"));
        for lifts in [false, true] {
            p.ask("migrate_set_parameter max-bandwidth 1B");
            p.ask("migrate -d exec:cat >/dev/null");
            until(&mut p, "info migrate", "Migration status: active");
            thread::sleep(Duration::from_millis(300));
            assert!(p.ask("info migrate").contains("Migration status: active"));
            assert_eq!(p.ask("info status"), "VM status: running\n");
            if lifts {
                p.ask("migrate_set_parameter max-bandwidth 0");
                until(&mut p, "info migrate", "completed");
            } else {
                p.ask("migrate_cancel");
                until(&mut p, "info migrate", "cancelled");
            }
        }
        p.0.write_all(b"q\n").unwrap();
    });
}

/// What a debugger would write to a guest that is on its way would be lost.
#[test]
fn gdb_writes_nothing_to_a_guest_that_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (way, gdb) = (dir.path().join("way"), dir.path().join("gdb"));
    let device = format!("unix:{},server=on,wait=off", gdb.display());
    with_person(&["-m", "6M", "-gdb", &device], |mut p, _| {
        let listener = UnixListener::bind(&way).unwrap();
        p.ask(&format!("migrate -d unix:{}", way.display()));
        let (mut stream, _) = listener.accept().unwrap();
        read_all(&mut stream);
        until(&mut p, "info migrate", "standing still");
        let mut gdb = Client::at(&gdb);
        let (write, read) = ("M80000000,1:5a", "m80000000,1");
        let before = gdb.ask(read);
        assert_eq!((before.len(), gdb.ask(write), gdb.ask("P5=0100000000000000")), (2, "E01".into(), "E01".into()));
        assert_eq!(gdb.ask(read), before);
        assert_eq!(p.ask("migrate_cancel"), "");
        until(&mut p, "info migrate", "Migration status: cancelled");
        assert_eq!((gdb.ask(write), gdb.ask(read)), ("OK".into(), "5a".into()));
        p.0.write_all(b"q\n").unwrap();
    });
}

/// Behind the word that the other side should go on, nobody can give up; and the guest goes on here only if it certainly
/// does not there.
#[test]
fn it_is_decided_once() {
    let dir = tempfile::tempdir().unwrap();
    let way = dir.path().join("way");
    with_person(&["-m", "6M"], |mut p, _| {
        let listener = UnixListener::bind(&way).unwrap();
        let told = |p: &mut Person| {
            p.ask(&format!("migrate -d unix:{}", way.display()));
            let (mut stream, _) = listener.accept().unwrap();
            read_all(&mut stream);
            stream.write_all(b"ready-").unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, *GO);
            stream
        };
        let silent = told(&mut p);
        assert!(p.ask("migrate_cancel").contains("Error: it is too late"));
        assert_eq!(p.ask("info status"), "VM status: paused (finish-migrate)\n");
        drop(silent);
        until(&mut p, "info migrate", "has hung up");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        let mut refuses = told(&mut p);
        refuses.write_all(b"there is no room").unwrap();
        drop(refuses);
        until(&mut p, "info migrate", "does not take it: there is no room");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        let mut takes = told(&mut p);
        takes.write_all(b"taken").unwrap();
        until(&mut p, "info migrate", "completed");
        assert_eq!(p.ask("info status"), "VM status: paused (postmigrate)\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

/// Whether somebody can connect to a socket, without doing it. It has its name before.
fn listens(way: &Path) -> bool {
    let (way, all) = (way.to_str().unwrap(), std::fs::read_to_string("/proc/net/unix").unwrap());
    // `SO_ACCEPTCON`
    all.lines().any(|line| line.ends_with(way) && line.split_whitespace().nth(3) == Some("00010000"))
}

/// A machine waits for a guest at `way`; `f` brings it, and tells whether it is taken. What the machine ends with.
fn incoming(more: &[String], way: &Path, f: impl FnOnce() -> bool) -> Option<String> {
    let _ = std::fs::remove_file(way);
    let from = format!("unix:{}", way.display());
    thread::scope(|s| {
        let words = [&["-nodefaults", "-S"][..], &words(more, &["-incoming", &from])].concat();
        let mut config = config(&words);
        let machine = s.spawn(move || {
            let mock = Mock::default();
            take_irqchip(&mut config, &mock).unwrap();
            let machine = Machine::new(config, &mock).unwrap();
            let control = Arc::clone(&machine.control);
            (thread::spawn(move || machine.run().map_err(|e| crate::error_chain(&e))), control)
        });
        let (machine, control) = machine.join().unwrap();
        while !listens(way) {
            thread::sleep(Duration::from_millis(1));
        }
        if f() {
            control.request(Request::Quit(Cause::User));
        }
        machine.join().unwrap().err()
    })
}

/// The port's queue goes along: who came while the guest was here is served where it is then. Other descriptors are refused.
#[test]
fn ports_go_along_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (way, other) = (dir.path().join("way"), dir.path().join("other"));
    let (port, net) = forwarding();
    with_person(&words(&net, &[]), |mut p, _| {
        let mut early = TcpStream::connect(port).unwrap();
        // Not to a program that has lost the descriptors, or that gets others.
        let listener = UnixListener::bind(&other).unwrap();
        p.ask(&format!("migrate -d unix:{}", other.display()));
        let (mut stream, _) = listener.accept().unwrap();
        let bytes = read_all(&mut stream);
        drop(stream);
        until(&mut p, "info migrate", "failed");
        let send = |descriptors: usize| {
            let mut result = None;
            let ended = incoming(&net, &way, || {
                let mut sink = Channel::Unix(way.clone()).create(Arc::new(Decision::new().unwrap())).unwrap();
                sink.attach((0..descriptors).map(|_| Arc::new(File::open("/dev/null").unwrap().into())));
                sink.write_all(&bytes).unwrap();
                let done = result.insert(sink.commit().map_err(|error| error.to_string()));
                done.is_ok()
            });
            (result.unwrap(), ended)
        };
        assert_eq!(send(0), (Ok(false), None));
        for (descriptors, why) in [(1, "a descriptor is no TCP socket that listens"), (700, "700 descriptors came")] {
            let (result, ended) = send(descriptors);
            let (result, ended) = (result.unwrap_err(), ended.unwrap());
            assert!(result.contains(why) && ended.contains(why) && !ended.contains('\n'), "{result}; {ended}");
        }
        // And now really.
        let answer = incoming(&net, &way, || {
            let answer = p.ask(&format!("migrate unix:{}", way.display()));
            assert!(answer.contains("completed"), "{answer}");
            p.0.write_all(b"q\n").unwrap();
            early.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert_eq!(early.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            drop(TcpStream::connect(port).unwrap());
            true
        });
        assert_eq!(answer, None);
    });
}
