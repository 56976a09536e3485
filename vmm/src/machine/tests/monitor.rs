//! Machines with somebody at their monitor.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::*;

const PROMPT: &str = "(vireo) ";

/// Generous: only a hang meets it, however busy the host is.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Somebody at the monitor's socket.
pub struct Person(pub UnixStream);

/// Connects as soon as the machine listens.
pub fn connect(path: &Path) -> UnixStream {
    let stream = loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

impl Person {
    pub fn at(path: &Path) -> Self {
        let mut person = Self(connect(path));
        let banner = person.answer();
        assert!(banner.starts_with("Vireo ") && banner.contains("type 'help'"), "{banner}");
        person
    }

    /// What comes up to the next prompt.
    pub fn answer(&mut self) -> String {
        let mut text = Vec::new();
        while !text.ends_with(PROMPT.as_bytes()) {
            let mut byte = [0];
            match self.0.read(&mut byte).expect("the monitor answers") {
                0 => panic!("the monitor hung up behind '{}'", String::from_utf8_lossy(&text)),
                _ => text.push(byte[0]),
            }
        }
        String::from_utf8_lossy(&text[..text.len() - PROMPT.len()]).into_owned()
    }

    /// The answer to a command, without its echo.
    pub fn ask(&mut self, command: &str) -> String {
        self.0.write_all(format!("{command}\n").as_bytes()).unwrap();
        let answer = self.answer().replace("\r\n", "\n");
        let answer = answer.strip_prefix(&format!("{command}\n")).expect("the command is echoed");
        answer.to_owned()
    }
}

/// Ends the machine, whatever became of the person.
pub struct Leaving(pub Arc<Control>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.request(Request::Quit(Cause::User));
    }
}

/// Runs a machine whose harts do nothing, and somebody at its monitor.
pub fn with_person(words: &[&str], person: impl FnOnce(Person, &Mock) + Send) -> (Ending, Mock) {
    with_socket("-monitor", words, Mock::default(), |path, mock| person(Person::at(path), mock))
}

/// Runs a machine, and somebody who knows the socket of `option`.
pub fn with_socket(
    option: &str,
    words: &[&str],
    mock: Mock,
    somebody: impl FnOnce(&Path, &Mock) + Send,
) -> (Ending, Mock) {
    with_prepared(option, words, mock, |_| {}, somebody)
}

/// The same, of a machine that something is done to before.
pub fn with_prepared(
    option: &str,
    words: &[&str],
    mock: Mock,
    prepare: impl FnOnce(&mut Machine),
    somebody: impl FnOnce(&Path, &Mock) + Send,
) -> (Ending, Mock) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let device = format!("unix:{},server=on,wait=off", path.display());
    let words = [&["-nodefaults", option, &device], words].concat();
    let mut machine = Machine::new(config(&words), &mock).unwrap();
    prepare(&mut machine);
    let ending = thread::scope(|s| {
        let (path, mock, control) = (&path, &mock, Arc::clone(&machine.control));
        s.spawn(move || {
            let _leaving = Leaving(control);
            somebody(path, mock);
        });
        machine.run().unwrap()
    });
    (ending, mock)
}

/// Waits until hart 0 has started so often.
pub fn started(mock: &Mock, times: usize) {
    while mock.events(0).len() < times {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn whoever_hangs_up_has_said_it_and_nobody_else_hears_the_answer() {
    with_socket("-monitor", &[], Mock::default(), |path, mock| {
        started(mock, 1);
        for _ in 0..20 {
            for (command, status) in [("stop", "paused"), ("cont", "running")] {
                let mut one = connect(path);
                one.write_all(format!("{command}\nhelp\ninfo mtree\n").as_bytes()).unwrap();
                drop(one);
                // The banner comes first.
                let mut other = Person::at(path);
                assert_eq!(other.ask("info status"), format!("VM status: {status}\n"));
            }
        }
        let mut last = Person::at(path);
        last.0.write_all(b"quit\n").unwrap();
    });
}

#[test]
fn a_machine_stops_and_goes_on() {
    let (ending, mock) = with_person(&["-smp", "2"], |mut p, mock| {
        started(mock, 1);
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert_eq!(p.ask("stop"), "");
        assert_eq!(p.ask("info status"), "VM status: paused\n");
        assert_eq!(p.ask("stop"), "");
        assert_eq!(p.ask("c"), "");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"quit\n").unwrap();
    });
    assert_eq!(ending, Ending::Code(0));
    assert_eq!(mock.events(0), [Event::Started(ENTRY)]);
}

#[test]
fn a_machine_waits_for_its_monitor() {
    let (ending, mock) = with_person(&["-S"], |mut p, mock| {
        assert_eq!(p.ask("info status"), "VM status: paused (prelaunch)\n");
        assert!(p.ask("info cpus").starts_with("* hart 0: started, pc="));
        p.ask("c");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        started(mock, 1);
        p.0.write_all(b"q\n").unwrap();
    });
    assert_eq!((ending, mock.events(0)), (Ending::Code(0), vec![Event::Started(ENTRY)]));
    // One that is never let go never runs.
    let (ending, mock) = with_person(&["-S"], |mut p, _| p.0.write_all(b"q\n").unwrap());
    assert_eq!((ending, mock.events(0)), (Ending::Code(0), vec![]));
}

#[test]
fn a_reset_starts_anew_and_what_stood_stands() {
    let (_, mock) = with_person(&[], |mut p, mock| {
        started(mock, 1);
        p.ask("system_reset");
        started(mock, 2);
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.ask("stop");
        p.ask("system_reset");
        assert_eq!(p.ask("info status"), "VM status: paused (prelaunch)\n");
        p.ask("cont");
        started(mock, 3);
        p.0.write_all(b"q\n").unwrap();
    });
    assert_eq!(mock.events(0), [Event::Started(ENTRY), Event::Started(ENTRY), Event::Started(ENTRY)]);
}

#[test]
fn memory_and_registers_show() {
    with_person(&["-smp", "2"], |mut p, _| {
        // The device tree's magic number is somewhere in RAM; the reset vector is none here. RAM is zero at its start.
        assert_eq!(p.ask("xp/2xw 0x80000000"), "0000000080000000: 0x00000000 0x00000000\n");
        assert_eq!(p.ask("x/1dg 0x80000000+8"), "0000000080000008:                    0\n");
        // A register of a chip.
        assert_eq!(p.ask("xp /1xw 0x10001000"), "0000000010001000: 0x74726976\n");
        assert_eq!(p.ask("xp 0x40000000"), "Error: nothing answers at physical address 0x40000000\n");
        // What is there shows, and how is remembered.
        assert_eq!(
            p.ask("xp/2xg 0x87fffff8"),
            "0000000087fffff8: 0x0000000000000000\nError: nothing answers at physical address 0x88000000\n"
        );
        assert_eq!(p.ask("x 0x80000000"), "0000000080000000: 0x0000000000000000\n");
        assert_eq!(p.ask("xp/w 0x80000000"), "0000000080000000: 0x00000000\n");
        assert_eq!((p.ask("p/o 8"), p.ask("p/o 0"), p.ask("p/d 010")), ("010\n".into(), "0\n".into(), "8\n".into()));
        let host = p.ask("gpa2hva 0x80000010");
        assert!(host.starts_with("Host virtual address for 0x80000010 (ram) is 0x"), "{host}");
        assert_eq!(p.ask("gpa2hva 0x10001000"), "Error: memory at address 0x10001000 is not RAM\n");
        assert_eq!(p.ask("gpa2hva 0x40000000"), "Error: nothing answers at physical address 0x40000000\n");
        assert_eq!(p.ask("gva2gpa 0x1234"), "gpa: 0x1234\n");
        assert_eq!(p.ask("p/x 3*(4+1)"), "0xf\n");
        assert_eq!(p.ask("cpu 1"), "hart 1\n");
        assert_eq!(p.ask("cpu 2"), "Error: '2' is no hart: they are 0 to 1\n");
        let registers = p.ask("info registers -a");
        assert!(registers.contains("CPU#0\n") && registers.contains("CPU#1\n"), "{registers}");
        assert!(registers.contains(" x2/sp    0000000000000000"), "{registers}");
        let tree = p.ask("info mtree");
        assert!(tree.contains("0000000080000000-0000000087ffffff: ram ram\n"), "{tree}");
        assert!(tree.contains("0000000010000000-"), "{tree}");
        assert_eq!(p.ask("info mem"), "No translation or protection\n");
        assert!(p.ask("log").contains("guest_errors  "));
        assert_eq!(p.ask("log help"), p.ask("log"));
        p.0.write_all(b"q\n").unwrap();
    });
}

#[test]
fn nonsense_is_answered() {
    with_person(&[], |mut p, _| {
        assert_eq!(p.ask("frobnicate"), "Error: unknown command: 'frobnicate'; see help\n");
        assert_eq!(p.ask("info frob"), "Error: unknown subject: 'frob'; info alone lists them\n");
        assert_eq!(p.ask("stop now"), "Error: 'now' is one word too many: stop takes no arguments\n");
        assert_eq!(p.ask("info name x"), "Error: 'x' is one word too many: info name takes no arguments\n");
        assert_eq!(p.ask("gdbserver none x"), "Error: 'x' is one word too many: gdbserver takes [DEVICE|none]\n");
        for command in ["x", "x/4x", "xp /2x"] {
            let name = command.split(['/', ' ']).next().unwrap();
            let lacks = format!("Error: {name} lacks an argument: it takes [/FMT] ADDR\n");
            assert_eq!(p.ask(command), lacks, "{command}");
        }
        assert_eq!(p.ask("savevm"), "Error: savevm lacks an argument: it takes NAME\n");
        assert_eq!(p.ask("x/99999999x 0"), "Error: count 99999999 is not 1 to 65536\n");
        assert_eq!(p.ask(""), "");
        assert!(p.ask("help").contains("system_reset"));
        let subjects = p.ask("info");
        assert!(subjects.contains("info registers"));
        assert_eq!((p.ask("help info"), p.ask("? i")), (subjects.clone(), subjects));
        assert!(p.ask("help info status").starts_with("info status"));
        assert_eq!(p.ask("help stop now"), "Error: stop has no subjects as 'now'; info has\n");
        // Bytes of any kind, and no end: the machine goes on.
        // No more than fits on the way, for nobody reads the echo meanwhile.
        for _ in 0..8 {
            p.0.write_all(&[0xff; 4096]).unwrap();
            p.0.write_all(&[0x1b; 7]).unwrap();
        }
        p.0.write_all(b"\x03").unwrap();
        p.answer();
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

#[test]
fn disks_networks_and_consoles_show() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    // Emulated hosts, as RISC-V hosts of tests are, know nothing of O_DIRECT.
    let (cache, shown) =
        if cfg!(target_arch = "riscv64") { ("writeback", "writeback\n") } else { ("none", "writeback, direct\n") };
    let drive = format!("file={},format=raw,if=none,id=d0,readonly=on,cache={cache}", disk.display());
    let words = ["-drive", &drive, "-device", "virtio-blk-device,drive=d0,id=disk0", "-chardev", "ringbuf,id=r"];
    let net = ["-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n,id=card,mac=52:54:00:00:00:01"];
    with_person(&[&words[..], &net].concat(), |mut p, _| {
        // The name may lead elsewhere by now.
        std::fs::remove_file(&disk).unwrap();
        let blocks = p.ask("info block");
        let expected = format!("d0: {} (raw, read-only)\n    Attached to:      disk0\n", disk.display());
        assert!(blocks.starts_with(&expected) && blocks.contains("4096 bytes\n"), "{blocks}");
        assert!(blocks.ends_with(shown), "{blocks}");
        let networks = "card: type=nic,model=virtio-net-device,macaddr=52:54:00:00:00:01\n \\ n: type=user\n";
        assert_eq!(p.ask("info network"), networks);
        // By the card's name and by the network's.
        assert_eq!(p.ask("set_link card off"), "");
        let down = networks.replace(":01\n", ":01,link=down\n");
        assert_eq!(p.ask("info network"), down);
        p.ask("system_reset");
        assert_eq!(p.ask("info network"), down);
        assert_eq!((p.ask("set_link n on"), p.ask("info network")), (String::new(), networks.to_owned()));
        assert_eq!(p.ask("set_link x on"), "Error: Device 'x' not found\n");
        assert_eq!(p.ask("set_link n up"), "Error: 'up': on or off is allowed\n");
        let consoles = p.ask("info chardev");
        assert!(consoles.contains("r: filename=ringbuf\n"), "{consoles}");
        assert!(consoles.contains("compat_monitor0: filename=unix:"), "{consoles}");
        let flat = p.ask("info mtree -f");
        assert!(
            flat.starts_with("FlatView") && flat.contains("0000000080000000-0000000087ffffff: ram ram\n"),
            "{flat}"
        );
        assert_eq!(p.ask("info mtree x"), "Error: 'x' is not -f\n");
        p.0.write_all(b"q\n").unwrap();
    });
}

#[test]
fn a_line_that_is_too_long_is_no_command() {
    with_person(&[], |mut p, _| {
        p.0.write_all(format!("stop {}\n", "x".repeat(8000)).as_bytes()).unwrap();
        let answer = p.answer();
        assert!(answer.ends_with("\r\nError: a line has at most 4096 bytes\r\n"), "{answer}");
        assert_eq!(answer.matches('\x07').count(), 1);
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"quit\n").unwrap();
        // Nothing is asked behind the last command.
        let mut last = String::new();
        p.0.read_to_string(&mut last).unwrap();
        assert_eq!(last, "quit\r\n");
    });
}

/// Answers that nobody reads do not pile up, and nobody else waits for them.
#[test]
fn a_reader_that_sleeps_does_not_stop_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    let chardev = format!("socket,id=o,path={},server=on,wait=off", other.display());
    with_person(&["-chardev", &chardev, "-mon", "o"], |mut p, _| {
        let mut sleeper = Person::at(&other);
        sleeper.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // Until not even the questions are taken any more.
        while sleeper.0.write_all(b"help\n").is_ok() {}
        assert_eq!(p.ask("info status"), "VM status: running\n");
        p.0.write_all(b"q\n").unwrap();
    });
}
