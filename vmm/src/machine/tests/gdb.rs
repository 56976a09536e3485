//! Machines with gdb at their server.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use accel::debug::{DebugConfig, DebugStop, WatchKind, Watchpoint};

use super::monitor::{connect, started, with_socket};
use super::*;

/// What gdb sends and understands.
pub struct Client(pub UnixStream);

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn text(hex: &str) -> String {
    let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    String::from_utf8((0..hex.len()).step_by(2).map(byte).collect()).unwrap()
}

impl Client {
    pub fn at(path: &Path) -> Self {
        Self(connect(path))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn packet(&mut self, body: &[u8]) {
        let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.send(&[b"$", body, format!("#{sum:02x}").as_bytes()].concat());
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        (self.0.read(&mut byte).expect("the server answers") > 0).then(|| byte[0])
    }

    /// The next packet's body, with what is run-length encoded spelled out.
    pub fn answer(&mut self) -> String {
        while self.byte().expect("the server stays") != b'$' {}
        let mut body: Vec<u8> = Vec::new();
        let mut sum = 0u8;
        loop {
            let byte = self.byte().expect("a packet ends");
            if byte == b'#' {
                break;
            }
            sum = sum.wrapping_add(byte);
            if body.last() == Some(&b'*') {
                body.pop();
                let last = *body.last().unwrap();
                body.extend(vec![last; usize::from(byte) - 29]);
            } else if body.last() == Some(&b'}') {
                body.pop();
                body.push(byte ^ 0x20);
            } else {
                body.push(byte);
            }
        }
        let said = [self.byte().unwrap(), self.byte().unwrap()];
        assert_eq!(String::from_utf8_lossy(&said), format!("{sum:02x}"));
        // The last answer of all has nobody to thank for it.
        let _ = self.0.write_all(b"+");
        String::from_utf8(body).unwrap()
    }

    pub fn ask(&mut self, body: &str) -> String {
        self.packet(body.as_bytes());
        assert_eq!(self.byte(), Some(b'+'), "{body}");
        self.answer()
    }

    /// The answer to a monitor's command.
    pub fn monitor(&mut self, command: &str) -> String {
        let mut all = String::new();
        let mut answer = self.ask(&format!("qRcmd,{}", hex(command.as_bytes())));
        while answer != "OK" {
            all += &text(answer.strip_prefix('O').expect("text for the console"));
            answer = self.answer();
        }
        all
    }

    pub fn status(&mut self) -> String {
        self.monitor("info status")
    }
}

/// Runs a machine on an engine whose harts execute `scripts`, and gdb at it.
pub fn with_gdb(
    words: &[&str],
    scripts: Vec<Vec<Vec<Step>>>,
    client: impl FnOnce(&Path, &Mock) + Send,
) -> (Ending, Mock) {
    with_socket("-gdb", words, Mock::new(scripts), client)
}

/// A kernel for machines whose harts execute nothing, and the folder that it is in.
fn blank_kernel() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0; 64]).unwrap();
    let path = kernel.to_str().unwrap().to_owned();
    (dir, path)
}

const DEBUG: &str = "VM status: paused (debug)\n";

#[test]
fn a_machine_is_debugged_and_let_go() {
    let (ending, mock) = with_gdb(&["-smp", "2"], vec![], |path, mock| {
        started(mock, 1);
        let mut gdb = Client::at(path);
        assert!(gdb.ask("qSupported:multiprocess-;swbreak+").contains("qXfer:features:read+"));
        assert!(gdb.ask("?").starts_with("T05thread:01;"));
        assert_eq!(gdb.status(), DEBUG);
        assert_eq!(gdb.ask("qfThreadInfo"), "m01,02");
        assert_eq!((gdb.ask("T2"), gdb.ask("T3")), ("OK".into(), "E01".into()));
        assert_eq!(gdb.ask("Hg1"), "OK");
        // On it goes, until Ctrl-C.
        gdb.packet(b"vCont;c");
        gdb.send(b"\x03");
        assert!(gdb.answer().starts_with("T02thread:01;"));
        assert_eq!(gdb.status(), DEBUG);
        assert_eq!(gdb.ask("D"), "OK");
        drop(gdb);
        // Who comes back finds it again.
        let mut gdb = Client::at(path);
        assert_eq!(gdb.status(), DEBUG);
        gdb.packet(b"k");
    });
    assert_eq!((ending, mock.events(0)), (Ending::Code(0), vec![Event::Started(ENTRY)]));
}

#[test]
fn registers_and_memory_are_read_and_written() {
    with_gdb(&["-S", "-smp", "2"], vec![], |path, _| {
        let mut gdb = Client::at(path);
        assert_eq!(gdb.status(), "VM status: paused (prelaunch)\n");
        // The state that the hart starts from is there before it starts.
        assert_eq!(gdb.ask("p20"), hex(&ENTRY.to_le_bytes()));
        let all = gdb.ask("g");
        assert_eq!((all.len(), &all[32 * 16..]), (33 * 16, hex(&ENTRY.to_le_bytes()).as_str()));
        assert_eq!(gdb.ask("P5=0102030405060708"), "OK");
        assert_eq!(gdb.ask("p5"), "0102030405060708");
        assert_eq!(gdb.ask("P0=0102030405060708"), "OK");
        assert_eq!(gdb.ask("p0"), "0000000000000000");
        assert_eq!(gdb.ask(&format!("G{}", "11".repeat(33 * 8))), "OK");
        assert_eq!((gdb.ask("p20"), gdb.ask("p0")), ("11".repeat(8), "00".repeat(8)));
        assert_eq!(gdb.ask("P21=0000000000001234"), "OK");
        assert_eq!(gdb.ask("p21"), "0000000000001234");
        // The engine without a CPU has no CSRs.
        assert_eq!(gdb.ask("p141"), "E16");
        assert_eq!(gdb.ask("P20=01"), "E16");
        // The other hart has registers of its own.
        assert_eq!((gdb.ask("Hg2"), gdb.ask("p5")), ("OK".into(), "00".repeat(8)));
        for nobody in ["Hg3", "Hgffff", "Hg-1", "Hc3", "qThreadExtraInfo,9"] {
            assert_eq!(gdb.ask(nobody), "E16", "{nobody}");
        }
        // What is refused changes nothing: it is still the second one that gdb means.
        assert_eq!((gdb.ask("P5=0102030405060708"), gdb.ask("pzz")), ("OK".into(), "E01".into()));
        assert_eq!(
            (gdb.ask("p5"), gdb.ask("Hg1"), gdb.ask("p5")),
            ("0102030405060708".into(), "OK".into(), "11".repeat(8))
        );

        assert_eq!(gdb.ask("M80000ffe,4:11223344"), "OK");
        assert_eq!(gdb.ask("m80000ffe,4"), "11223344");
        assert_eq!(gdb.ask("m10001000,4"), hex(b"virt"));
        for bad in ["m40000000,4", "mffffffffffffffff,8", "M40000000,1:00", "m7ffffffe,4"] {
            assert_eq!(gdb.ask(bad), "E0e", "{bad}");
        }
        for bad in ["M80000ffe,4:112233", "M80000ffe,2:112233", "X80000ffe,3:}\u{3}b", "cx"] {
            assert_eq!(gdb.ask(bad), "E16", "{bad}");
        }
        assert_eq!((gdb.ask("X80000ffe,3:}\u{3}b!"), gdb.ask("m80000ffe,3")), ("OK".into(), "236221".into()));
        assert_eq!(gdb.ask("M80000ffe,4:11223344"), "OK");
        assert_eq!(gdb.ask("qqemu.PhyMemMode"), "0");
        assert_eq!(gdb.ask("Qqemu.PhyMemMode:1"), "OK");
        assert_eq!((gdb.ask("qqemu.PhyMemMode"), gdb.ask("m80000ffe,2")), ("1".into(), "1122".into()));
        gdb.packet(b"k");
    });
}

#[test]
fn a_packet_gets_one_answer_of_bounded_length() {
    with_gdb(&["-S"], vec![], |path, _| {
        let mut gdb = Client::at(path);
        let supported = gdb.ask("qSupported:swbreak+");
        assert!(supported.starts_with("PacketSize=1000;"), "{supported}");
        for physical in ["Qqemu.PhyMemMode:0", "Qqemu.PhyMemMode:1"] {
            assert_eq!(gdb.ask(physical), "OK");
            assert_eq!(gdb.ask("m80000000,800").len(), 0x1000);
            for long in ["m80000000,801", "m80000000,80000000", "mffffffff80000000,ffffffff", "m0,ffffffffffffffff"] {
                assert_eq!(gdb.ask(long), "E16", "{long}");
            }
            // It is not there from a page on.
            assert_eq!(gdb.ask("m87fffc00,800"), "E0e");
        }
        gdb.packet(b"k");
    });
}

#[test]
fn actions_that_make_no_sense_let_nothing_run() {
    let step = vec![Step::Exit(VcpuExit::Debug(DebugStop::Step))];
    let (_dir, kernel) = blank_kernel();
    // Without a firmware all harts start.
    let words = ["-S", "-smp", "2", "-bios", "none", "-kernel", &kernel];
    with_gdb(&words, vec![vec![vec![]], vec![step]], |path, _| {
        let mut gdb = Client::at(path);
        for bad in
            ["vCont", "vCont;", "vCont;s", "vCont;s:9", "vCont;s:p1.9", "vCont;c:p1.9", "vCont;c;q", "vCont;c:1;"]
        {
            assert_eq!(gdb.ask(bad), "E16", "{bad}");
        }
        assert_eq!(gdb.status(), "VM status: paused (prelaunch)\n");
        // The hart that stopped last is the one that gdb means, whatever is refused behind that.
        gdb.packet(b"vCont;s:2");
        assert_eq!(gdb.answer(), "T05thread:02;");
        assert_eq!((gdb.ask("P5=0102030405060708"), gdb.ask("pzz")), ("OK".into(), "E01".into()));
        assert_eq!((gdb.ask("Hg2"), gdb.ask("p5")), ("OK".into(), "0102030405060708".into()));
        gdb.packet(b"k");
    });
}

#[test]
fn a_hart_goes_on_at_another_address() {
    with_gdb(&["-S", "-smp", "2"], vec![], |path, mock| {
        let mut gdb = Client::at(path);
        gdb.packet(b"c80000400");
        started(mock, 1);
        gdb.send(b"\x03");
        assert!(gdb.answer().starts_with("T02thread:01;"));
        assert_eq!((gdb.ask("Hc2"), gdb.ask("Hg2")), ("OK".into(), "OK".into()));
        gdb.packet(b"c80000800");
        gdb.send(b"\x03");
        assert!(gdb.answer().starts_with("T02thread:01;"));
        assert_eq!(gdb.ask("p20"), hex(&0x8000_0400_u64.to_le_bytes()));
        assert_eq!((gdb.ask("Hg2"), gdb.ask("p20")), ("OK".into(), hex(&0x8000_0800_u64.to_le_bytes())));
        gdb.packet(b"k");
    });
}

#[test]
fn the_description_comes_in_parts() {
    with_gdb(&[], vec![], |path, _| {
        let mut gdb = Client::at(path);
        let mut xml = String::new();
        loop {
            let part = gdb.ask(&format!("qXfer:features:read:target.xml:{:x},7fb", xml.len()));
            let Some(part) = part.strip_prefix('m') else {
                assert_eq!(part, "l");
                break;
            };
            xml += part;
        }
        assert!(xml.starts_with("<?xml") && xml.ends_with("</target>\n"), "{xml}");
        assert_eq!(gdb.ask("qXfer:features:read:other.xml:0,10"), "E16");
        gdb.packet(b"k");
    });
}

#[test]
fn breakpoints_and_steps_stop_the_machine() {
    let stop = |stop| Step::Exit(VcpuExit::Debug(stop));
    let script = vec![stop(DebugStop::Breakpoint), stop(DebugStop::Step)];
    let (ending, mock) = with_gdb(&["-S"], vec![vec![script]], |path, _| {
        let mut gdb = Client::at(path);
        assert_eq!((gdb.ask("Z0,80000004,4"), gdb.ask("Z0,80000004,4")), ("OK".into(), "OK".into()));
        gdb.packet(b"vCont;c");
        assert_eq!(gdb.answer(), "T05thread:01;swbreak:;");
        assert_eq!(gdb.status(), DEBUG);
        // However often it was set.
        assert_eq!((gdb.ask("z0,80000004,4"), gdb.ask("z0,80000004,4")), ("OK".into(), "E16".into()));
        gdb.packet(b"vCont;s:1");
        assert_eq!(gdb.answer(), "T05thread:01;");
        gdb.packet(b"k");
    });
    let breakpoint = DebugConfig { breakpoints: vec![0x8000_0004], ..DebugConfig::default() };
    let step = DebugConfig { single_step: true, hold_interrupts: true, ..DebugConfig::default() };
    let debugged = |config: &DebugConfig| Event::Debugged(config.clone());
    // Twice: when it goes on, and when it has stopped.
    let expected = [Event::Started(ENTRY), debugged(&breakpoint), debugged(&breakpoint), debugged(&step)];
    assert_eq!((ending, mock.events(0)), (Ending::Code(0), expected.to_vec()));
}

/// An engine that has breakpoints in memory needs memory there, for one hart at least.
#[test]
fn a_breakpoint_where_nothing_is_stops_nobody() {
    let script = vec![Step::Exit(VcpuExit::Debug(DebugStop::Breakpoint))];
    with_gdb(&["-S", "-smp", "2"], vec![vec![script]], |path, _| {
        let mut gdb = Client::at(path);
        assert_eq!((gdb.ask("Z0,1,4"), gdb.ask("Z0,3,4")), ("OK".into(), "OK".into()));
        gdb.packet(b"vCont;c");
        let said = gdb.answer();
        let said = text(said.strip_prefix('O').expect("text for the console"));
        let why = "cannot set the breakpoint at 0x1: no hart has memory mapped there now";
        assert_eq!(said, format!("{why}; with -accel kvm,debug-switch=on the guest goes to tcg for that\n"));
        assert!(gdb.answer().starts_with("T02thread:01;"));
        assert_eq!(gdb.status(), "VM status: paused (prelaunch)\n");
        // The other one is there for hart 1.
        assert_eq!(gdb.ask("z0,1,4"), "OK");
        gdb.packet(b"vCont;c");
        assert_eq!(gdb.answer(), "T05thread:01;swbreak:;");
        gdb.packet(b"k");
    });
}

#[test]
fn watchpoints_stop_the_machine_and_go_away() {
    let hit = |address, kind| Step::Exit(VcpuExit::Debug(DebugStop::Watchpoint { address, kind }));
    let script = vec![hit(0x8000_1001, WatchKind::Write), hit(0x8000_1002, WatchKind::Read), hit(8, WatchKind::Access)];
    let (ending, mock) = with_gdb(&["-S"], vec![vec![script]], |path, _| {
        let mut gdb = Client::at(path);
        for (set, kind) in
            [("Z2,80001000,4", "watch:80001001"), ("Z3,80001000,8", "rwatch:80001002"), ("Z4,8,1", "awatch:08")]
        {
            assert_eq!(gdb.ask(set), "OK");
            gdb.packet(b"vCont;c");
            assert_eq!(gdb.answer(), format!("T05thread:01;{kind};"));
            let clear = set.replace('Z', "z");
            assert_eq!((gdb.ask(&clear), gdb.ask(&clear)), ("OK".into(), "E16".into()));
        }
        // Past the end of the address space, and of nothing.
        assert_eq!((gdb.ask("Z2,ffffffffffffffff,2"), gdb.ask("Z2,10,0")), ("E16".into(), "E16".into()));
        assert_eq!(gdb.ask("Z2,ffffffffffffffff,1"), "OK");
        gdb.packet(b"k");
    });
    let configs = mock.events(0).into_iter().filter_map(|event| match event {
        Event::Debugged(config) => Some(config.watchpoints),
        _ => None,
    });
    let watch = |start, len, kind| vec![Watchpoint { start, len, kind }];
    let (a, b, c) = (
        watch(0x8000_1000, 4, WatchKind::Write),
        watch(0x8000_1000, 8, WatchKind::Read),
        watch(8, 1, WatchKind::Access),
    );
    // Twice each: when it goes on, and when it has stopped.
    assert_eq!(
        (ending, configs.collect::<Vec<_>>()),
        (Ending::Code(0), vec![a.clone(), a, b.clone(), b, c.clone(), c])
    );
}

#[test]
fn steps_are_as_gdb_wants_them() {
    let step = || vec![Step::Exit(VcpuExit::Debug(DebugStop::Step))];
    let (_, mock) = with_gdb(&["-S"], vec![vec![[step(), step(), step()].concat()]], |path, mock| {
        let mut gdb = Client::at(path);
        assert_eq!(gdb.ask("qqemu.Supported"), "sstepbits;sstep;PhyMemMode");
        assert_eq!(gdb.ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4");
        assert_eq!(gdb.ask("qqemu.sstep"), "0x7");
        gdb.packet(b"vCont;s:1");
        assert_eq!(gdb.answer(), "T05thread:01;");
        for (bits, answer) in [("1", "OK"), ("0x5", "OK"), ("8", "E16"), ("", "E16"), ("zz", "E16"), ("1ff", "E16")] {
            assert_eq!(gdb.ask(&format!("Qqemu.sstep={bits}")), answer, "{bits}");
        }
        assert_eq!(gdb.ask("qqemu.sstep"), "0x5");
        gdb.packet(b"vCont;s:1");
        assert_eq!(gdb.answer(), "T05thread:01;");
        // What is not enabled is no step: the hart just goes on.
        assert_eq!(gdb.ask("Qqemu.sstep=0"), "OK");
        gdb.packet(b"vCont;s:1");
        assert_eq!(gdb.answer(), "T05thread:01;");
        // One start, and twice the steps' configuration.
        assert_eq!(mock.events(0).len(), 1 + 2);
        gdb.packet(b"k");
    });
    let step = |hold_interrupts| DebugConfig { single_step: true, hold_interrupts, ..DebugConfig::default() };
    assert_eq!(mock.events(0)[1..], [Event::Debugged(step(true)), Event::Debugged(step(false))]);
}

#[test]
fn time_stands_still_in_a_step() {
    let (_dir, kernel) = blank_kernel();
    with_gdb(&["-S", "-bios", "none", "-kernel", &kernel], vec![], |path, _| {
        let mut gdb = Client::at(path);
        // A hart that does not come back, for a while.
        let time_after = |gdb: &mut Client, action: &str| {
            gdb.packet(action.as_bytes());
            std::thread::sleep(Duration::from_millis(2));
            gdb.send(b"\x03");
            assert!(gdb.answer().starts_with("T02thread:01;"), "{action}");
            let mtime = gdb.ask("m200bff8,8");
            u64::from_str_radix(&mtime, 16).unwrap().swap_bytes()
        };
        assert_eq!(time_after(&mut gdb, "vCont;s:1"), 0);
        let run = time_after(&mut gdb, "vCont;c");
        assert!(run > 0);
        assert_eq!(time_after(&mut gdb, "vCont;s:1"), run);
        assert_eq!(gdb.ask("Qqemu.sstep=3"), "OK");
        assert!(time_after(&mut gdb, "vCont;s:1") > run);
        gdb.packet(b"k");
    });
}

#[test]
fn gdb_hears_of_the_end_and_of_other_stops() {
    let (ending, _) = with_gdb(&["-S"], vec![vec![vec![power_off(7)]]], |path, _| {
        let mut gdb = Client::at(path);
        gdb.packet(b"c");
        assert_eq!(gdb.answer(), "W07");
    });
    assert_eq!(ending, Ending::Code(7));
    with_gdb(&["-S", "-no-shutdown"], vec![vec![vec![power_off(7)]]], |path, _| {
        let mut gdb = Client::at(path);
        gdb.packet(b"vCont;c");
        assert!(gdb.answer().starts_with("T03thread:01;"));
        // It cannot go on, and gdb is told so.
        gdb.packet(b"vCont;c");
        assert!(text(gdb.answer().strip_prefix('O').unwrap()).contains("has powered off"));
        assert!(gdb.answer().starts_with("T03thread:01;"));
        gdb.packet(b"k");
    });
}

/// gdb calls it an error if nobody hears its confirmation.
#[test]
fn gdb_confirms_that_it_has_killed() {
    let (ending, _) = with_gdb(&["-S"], vec![], |path, _| {
        let mut gdb = Client::at(path);
        for garbled in ["vKill;2", "vKill;1x", "D;2"] {
            assert_eq!(gdb.ask(garbled), "E16", "{garbled}");
        }
        gdb.packet(b"vKill;1");
        let mut answer = [0; 7];
        gdb.0.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+$OK#9a");
        std::thread::sleep(Duration::from_millis(50));
        gdb.send(b"+");
    });
    assert_eq!(ending, Ending::Code(0));
}

#[test]
fn nonsense_is_refused_and_the_server_stays() {
    with_gdb(&[], vec![], |path, _| {
        let mut gdb = Client::at(path);
        assert!(gdb.ask("qSupported:multiprocess+").contains("PacketSize="));
        gdb.send(b"$g#00");
        assert_eq!(gdb.byte(), Some(b'-'));
        let registers = gdb.ask("g");
        // The answer did not arrive.
        gdb.send(b"-");
        assert_eq!(gdb.answer(), registers);
        for bad in ["p", "pzz", "m", "m1", "G00", "Hgx", "vCont;q", "Z9,0,0", "z0", "P", "qXfer:features:read", "T"] {
            let answer = gdb.ask(bad);
            assert!(answer.is_empty() || answer.starts_with('E'), "{bad}: {answer}");
        }
        assert_eq!((gdb.ask(""), gdb.ask("frobnicate"), gdb.ask("qRcmd,zz")), ("".into(), "".into(), "E16".into()));
        assert_eq!(gdb.ask(&"x".repeat(20_000)), "E01");
        gdb.send(&[0xff; 4096]);
        gdb.send(b"\x03+++");
        // What was agreed on still holds.
        assert!(gdb.ask("?").starts_with("T05thread:p01.01;"));
        // Whatever is said to a running machine stops it.
        gdb.packet(b"vCont;c");
        gdb.packet(b"g");
        assert!(gdb.answer().starts_with("T02thread:p01.01;"));
        assert_eq!(gdb.ask("g").len(), 33 * 16);
        gdb.packet(b"vKill;1");
        assert_eq!(gdb.answer(), "OK");
    });
}
