//! Packets of gdb's protocol.
//!
//! An input's first byte says what its lines are: with bit 0 bodies of packets that only look, and everything stays as it
//! was; else with bit 1 bodies of any packets, else bytes as they come.

use super::{caged, choice};
use crate::guest::Guest;
use crate::{Run, Target};

pub const GDB: Target = Target { name: "gdb", rounds: 250, seeds, words: WORDS, open };

const WORDS: &[&[u8]] = &[
    b"\n?\n",
    b"\ng\n",
    b"\nHg",
    b"\nHc",
    b"\nm80200000,100\n",
    b"\np",
    b"\nqfThreadInfo\nqsThreadInfo\n",
    b"\nqSupported:multiprocess+;swbreak+\n",
    b"\nqXfer:features:read:target.xml:",
    b"\nqThreadExtraInfo,",
    b"\nqRcmd,",
    b"\nqqemu.sstep\nQqemu.sstep=",
    b"\nQqemu.PhyMemMode:1\n",
    b"\nvCont?\n",
    b"\nvMustReplyEmpty\n",
    b"\nvFile:",
    b"\nvAttach;",
    b"\nZ0,80200020,4\n",
    b"\nZ1,",
    b"\nZ2,80200008,8\n",
    b"\nz3,",
    b"\nQStartNoAckMode\n",
    b"\nQNonStop:",
    b"\nT",
    b"\nM80200008,8:",
    b"\nX80200008,",
    b"\nG",
    b"\nP20=",
    b"\nP1041=",
    b"\nc\n",
    b"\ns\n",
    b"\nC05\n",
    b"\nvCont;c\n",
    b"\nvCont;s:1;c\n",
    b"\nvCont;s:p1.2\n",
    b"\nD\n",
    b"\nR00\n",
    b"\nvRun;",
    b"\nk\n",
    b"\nvKill;1\n",
    b"p1.-1",
    b"p0.0",
    b"-1",
    b"ffffffffffffffff",
    b"7fffffffffffffff0",
    b",",
    b";",
    b":",
    b"=",
    b"#",
    b"$",
    b"}",
    b"*",
    b"~",
    b"+",
    b"-",
    b"\x03",
    b"$g#67",
    b"$c#63",
    b"\nqC\n",
    b"\nqAttached:",
    b"\nqOffsets\n",
    b"\nqSymbol::\n",
    b"\nqTStatus\n",
    b"\n!\n",
    b"\nb",
    b"\ni",
    b"\n_M",
    b"\nx",
    b"\nQC\n",
    b"80001000",
    b"10000000",
    b"fff",
    b"target.xml",
    b"zz",
    b"\x7f",
];

fn seeds() -> Vec<Vec<u8>> {
    let looks = "qSupported:multiprocess+;swbreak+\nvCont?\n?\nqC\nqAttached:1\nHg1\ng\np20\np1041\nm80200000,40\n\
                 qfThreadInfo\nqsThreadInfo\nqThreadExtraInfo,2\nqXfer:features:read:target.xml:0,ffb\n\
                 Qqemu.PhyMemMode:1\nm0,8\nZ0,80200020,4\nz0,80200020,4\nZ2,80200008,8";
    let does = "qSupported\n?\nHc1\nM80200008,4:01020304\nP5=0100000000000000\nZ0,80200020,4\nvCont;c\ng\n\
                z0,80200020,4\nvCont;s:1\nX80200008,2:a}\x03\ns\nc80200010\nD\n?";
    let raw = "+$qSupported#37+$?#3f+\x03-$g#00$m0,4#zz$c#63\x03$D#44";
    let command: String = "info registers -a".bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![[b"\x01", looks.as_bytes()].concat(), [b"\x02", does.as_bytes()].concat()];
    all.push([b"\x00", raw.as_bytes()].concat());
    all.push([b"\x02qRcmd,", command.as_bytes()].concat());
    all.push([b"\x02m0,".to_vec(), b"0".repeat(100_000)].concat());
    all.push([b"\x00".to_vec(), b"$".repeat(50_000), b"#".repeat(50_000)].concat());
    all.push([b"\x01".to_vec(), b"g\n".repeat(500)].concat());
    let mut random = fastrand::Rng::with_seed(1);
    all.extend([1, 2, 1, 2].map(|way| storm(&mut random, way)));
    all
}

/// Many packets that begin as some do, and end anyhow.
fn storm(random: &mut fastrand::Rng, way: u8) -> Vec<u8> {
    let mut all = vec![way];
    for _ in 0..100 {
        for _ in 0..1 + random.u8(..6) {
            let word = random.choice(WORDS).copied().unwrap_or_default();
            all.extend(word.iter().filter(|byte| **byte != b'\n'));
        }
        all.push(b'\n');
    }
    all
}

/// Packets that change the guest, let it go on, or run a monitor's command that may.
fn does(body: &[u8]) -> bool {
    let heads: &[&[u8]] =
        &[b"M", b"X", b"G", b"P", b"c", b"s", b"C", b"S", b"vCont;", b"D", b"vRun", b"R", b"k", b"vKill", b"qRcmd"];
    // What stands behind a '#' is another packet.
    heads.iter().any(|head| body.starts_with(head)) || body.contains(&b'#')
}

fn framed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

/// What the server is made to say at the end, in digits.
const LAST: &str = "0x4711beef";

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn look(guest: &mut Guest) -> Option<[String; 3]> {
    Some([guest.ask("info registers -a")?, guest.ask("xp/64xg 0x80200000")?, guest.ask("info status")?])
}

fn open() -> Run {
    let folder = caged();
    let mut guest = Guest::start(folder.path());
    Box::new(move |input| {
        let _ = &folder;
        let (way, bytes) = choice(input);
        let looks = way & 1 != 0;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|body| !(looks && does(body)));
        let input = if way & 3 == 0 { bytes.to_vec() } else { lines.flat_map(framed).collect() };
        // gdb finds a machine that stands.
        let before = looks.then(|| guest.ask("stop").and_then(|_| look(&mut guest))).flatten();
        // What is open is closed, and a machine that runs is interrupted.
        let ask = framed(format!("qRcmd,{}", hex(&format!("print/x {LAST}"))).as_bytes());
        let last = [b"#00#00+", &ask[..], &ask, &ask].concat();
        let said = guest.converse("gdb", &input, &last, &hex(LAST));
        if said.is_none() {
            return guest.again();
        }
        if let Some(before) = before {
            let after = look(&mut guest).expect("the machine goes on");
            for (before, after) in before.iter().zip(&after) {
                for (before, after) in before.lines().zip(after.lines()) {
                    assert_eq!(before, after, "who looks changes nothing");
                }
            }
        }
        // gdb may do what it likes to the guest, but not to the machine.
        if !looks {
            guest.ask("system_reset");
        }
        assert!(guest.counts());
    })
}
