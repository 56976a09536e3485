//! A gdb server that is sent nonsense.

use std::io::Read;
use std::path::Path;

use super::gdb::{Client, hex, with_gdb};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// How packets begin that only look, and those that change the guest or let it go on.
const LOOKS: &[&str] = &[
    "?",
    "g",
    "p",
    "m",
    "H",
    "Hg",
    "Hc",
    "T",
    "qC",
    "qfThreadInfo",
    "qsThreadInfo",
    "qSupported:",
    "qAttached:",
    "qXfer:features:read:target.xml:",
    "qXfer:",
    "qThreadExtraInfo,",
    "qRcmd,",
    "qqemu.",
    "Qqemu.sstep=",
    "Qqemu.PhyMemMode:",
    "vCont?",
    "vMustReplyEmpty",
    "vFile:",
    "vAttach;",
    "Z0,",
    "Z1,",
    "Z2,",
    "z3,",
    "z4,",
    "Z",
    "z",
    "QStartNoAckMode",
    "QNonStop:",
    "!",
    "x",
    "qOffsets",
    "qSymbol::",
    "qTStatus",
    "b",
    "i",
    "_M",
    "",
];
const DOES: &[&str] =
    &["M", "X", "G", "P", "c", "s", "C", "S", "vCont;c", "vCont;s:", "vCont;", "D", "vRun;", "R", "QC"];
const PARTS: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "p1.1",
    "p1.-1",
    "p0.0",
    "ffffffffffffffff",
    "80001000",
    "10000000",
    "7fffffffffffffff0",
    ",",
    ";",
    ":",
    "=",
    ".",
    "4",
    "8",
    "1000",
    "fff",
    "target.xml",
    "#",
    "$",
    "}",
    "*",
    "~",
    "zz",
    "\u{7f}",
    "swbreak+",
    "multiprocess+",
];

fn hostile(random: &mut Random, heads: &[&str]) -> Vec<u8> {
    let mut body = random.pick(heads).as_bytes().to_vec();
    for _ in 0..random.below(6) {
        match random.below(8) {
            0 => body.extend((0..random.below(20)).map(|_| random.below(256) as u8)),
            _ => body.extend(random.pick(PARTS).as_bytes()),
        }
    }
    if random.below(200) == 0 {
        body.extend(std::iter::repeat_n(b'0', random.below(10_000)));
    }
    body
}

/// What the server is made to say at the end.
const LAST: &str = "0x4711beef";

/// Sends packets, good frames and bad ones, until the server has answered a last one.
fn storm(path: &Path, seed: u64, heads: &[&str]) {
    let mut random = Random(seed);
    let mut gdb = Client::at(path);
    let mut answers = gdb.0.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let last = hex(LAST.as_bytes());
        let (mut all, mut chunk) = (Vec::<u8>::new(), [0; 4096]);
        while !all.windows(last.len()).any(|w| w == last.as_bytes()) {
            match answers.read(&mut chunk).expect("the server answers") {
                0 => panic!("the server hung up"),
                n => all.extend(&chunk[..n]),
            }
            all.drain(..all.len().saturating_sub(8192));
        }
    });
    for _ in 0..3000 {
        let body = hostile(&mut random, heads);
        // That is the end, as it should be.
        if body.starts_with(b"k") || body.starts_with(b"vKill") {
            continue;
        }
        match random.below(30) {
            0 => gdb.send(&(0..random.below(300)).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
            1 => gdb.send(&[b"$", body.as_slice(), b"#zz"].concat()),
            2 => gdb.send(b"-\x03+$"),
            _ => gdb.packet(&body),
        }
    }
    // What is open is closed, and a machine that runs is interrupted.
    gdb.send(b"#00#00+");
    for _ in 0..3 {
        gdb.packet(format!("qRcmd,{}", hex(format!("print/x {LAST}").as_bytes())).as_bytes());
    }
    reader.join().unwrap_or_else(|_| panic!("seed {seed}"));
}

#[test]
fn hostile_packets_leave_server_and_guest_as_they_were() {
    with_gdb(&["-S", "-smp", "2"], vec![], |path, _| {
        let look = |gdb: &mut Client| {
            let asked = ["Qqemu.PhyMemMode:0", "Hg1", "g", "m80000000,200", "Hg2", "g", "p20"];
            asked.map(|body| gdb.ask(body))
        };
        let mut gdb = Client::at(path);
        let before = look(&mut gdb);
        drop(gdb);
        for seed in 1..=4 {
            storm(path, seed, LOOKS);
            let mut gdb = Client::at(path);
            assert_eq!(look(&mut gdb), before, "seed {seed}");
            assert!(gdb.status().contains("paused"), "seed {seed}");
        }
        let all = [LOOKS, DOES].concat();
        for seed in 5..=8 {
            storm(path, seed, &all);
            let mut gdb = Client::at(path);
            assert!(gdb.ask("?").starts_with("T05"), "seed {seed}");
        }
        Client::at(path).packet(b"k");
    });
}
