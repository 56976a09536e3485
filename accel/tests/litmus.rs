//! Litmus tests of RVWMO on real threads: many rounds, and never an outcome that the memory model forbids.
//!
//! A test is a row of [`TESTS`]: what each hart does, and an outcome that must not be. Each hart runs its few accesses
//! in a loop over fresh locations (a line of each array a round) and writes what it read to a log. A start line, `x20`,
//! keeps the harts within a round of each other.
//!
//! Unprivileged spec, "RVWMO Memory Consistency Model".

mod guest;

use accel::tcg::TcgOptions;
use guest::*;

const ROUNDS: u64 = 4000;
/// Rounds where there may be more harts than cores, which then wait for each other's time slices.
const MANY_HARTS_ROUNDS: u64 = 500;
/// Locations: one line a round.
const X: u64 = RAM + 0x20_0000;
const Y: u64 = RAM + 0x30_0000;
const Z: u64 = RAM + 0x60_0000;
const LOG: u64 = RAM + 0x40_0000;
const LOG_SIZE: u64 = 0x8_0000;
const LINE: u64 = 64;
/// One counter a round: who has arrived.
const GATE: u64 = RAM + 0x80_0000;

/// Registers of a body: addresses of x, y and z, and what goes to the log.
const RX: u8 = 8;
const RY: u8 = 9;
const RZ: u8 = 14;
const R0: u8 = 10;
const R1: u8 = 11;
/// Holds 1, 2 and 3.
const ONE: u8 = 12;
const TWO: u8 = 13;
const THREE: u8 = 15;

/// Name, what the harts do, and the forbidden outcome.
///
/// An action is one of: `x=1` (store; `x.w=1` of a word), `r0=x` (load), `fence PRED,SUCC`, `fence.tso`,
/// `r0=lr x`, `swap x=1` (amoswap without result), `r0=swap x=1`, `r0=add x` (amoadd of zero: an atomic load),
/// `llsc x=1` (LR and SC, again until it succeeds), `r0=llsc x=1` (with what LR read); atomics take a suffix `.aq`, `.rl`
/// or `.aqrl`. Registers are zero at first, and so are locations. An outcome names registers as `HART:REG=VALUE`, and
/// final values of locations.
const TESTS: &[(&str, &[&str], &str)] = &[
    // Store buffering: both loads see nothing only if a store passes a load.
    ("SB+fence.rw.rw+fence.w.r", &["x=1; fence rw,rw; r0=y", "y=1; fence w,r; r0=x"], "0:r0=0 1:r0=0"),
    ("SB+swap.aqrl+swap.rl", &["swap.aqrl x=1; r0=lr.aq y", "swap.rl y=1; r0=add.aq x"], "0:r0=0 1:r0=0"),
    ("SB+lr.aqrls", &["x=1; r0=lr.aqrl y", "y=1; r0=lr.aqrl x"], "0:r0=0 1:r0=0"),
    ("SB+sc.rl+lr.aq", &["llsc.rl x=1; r0=lr.aq y", "llsc.rl y=1; r0=lr.aq x"], "0:r0=0 1:r0=0"),
    ("SB+own", &["swap x=1; r1=x; fence r,r; r0=y", "swap y=1; r1=y; fence r,r; r0=x"], "0:r0=0 1:r0=0"),
    ("SB+words", &["x.w=1; fence rw,rw; r0=y.w", "y.w=1; fence rw,rw; r0=x.w"], "0:r0=0 1:r0=0"),
    // Message passing: the flag without the message.
    ("MP+fence.w.w+fence.r.r", &["x=1; fence w,w; y=1", "r0=y; fence r,r; r1=x"], "1:r0=1 1:r1=0"),
    ("MP+swap.rl+lr.aq", &["x=1; swap.rl y=1", "r0=lr.aq y; r1=x"], "1:r0=1 1:r1=0"),
    ("MP+llsc.rl+add.aq", &["x=1; llsc.rl y=1", "r0=add.aq y; r1=x"], "1:r0=1 1:r1=0"),
    ("MP+fence.tsos", &["x.w=1; fence.tso; y.w=1", "r0=y.w; fence.tso; r1=x.w"], "1:r0=1 1:r1=0"),
    ("MP+swap.aqrl+fence.r.rw", &["swap.aqrl x=1; y=1", "r0=y; fence r,rw; r1=x"], "1:r0=1 1:r1=0"),
    // Load buffering: each load sees the store behind the other.
    ("LB+fence.r.ws", &["r0=x; fence r,w; y=1", "r0=y; fence r,w; x=1"], "0:r0=1 1:r0=1"),
    ("LB+lr.aq+swap.rl", &["r0=lr.aq x; y=1", "r0=y; swap.rl x=1"], "0:r0=1 1:r0=1"),
    ("LB+fence.tsos", &["r0=x; fence.tso; y=1", "r0=y; fence.tso; x=1"], "0:r0=1 1:r0=1"),
    // Without any fence: what Ztso promises, and every hart here keeps.
    ("MP (Ztso)", &["x=1; y=1", "r0=y; r1=x"], "1:r0=1 1:r1=0"),
    ("LB (Ztso)", &["r0=x; y=1", "r0=y; x=1"], "0:r0=1 1:r0=1"),
    ("S (Ztso)", &["x=2; y=1", "r0=y; x=1"], "1:r0=1 x=2"),
    ("2+2W (Ztso)", &["x=1; y=2", "y=1; x=2"], "x=1 y=1"),
    ("WRC (Ztso)", &["x=1", "r0=x; y=1", "r0=y; r1=x"], "1:r0=1 2:r0=1 2:r1=0"),
    // Stores and final values.
    ("S+fence.w.w+fence.r.w", &["x=2; fence w,w; y=1", "r0=y; fence r,w; x=1"], "1:r0=1 x=2"),
    ("R+fence.w.w+fence.w.r", &["x=1; fence w,w; y=1", "y=2; fence w,r; r0=x"], "y=2 1:r0=0"),
    ("2+2W+fence.w.ws", &["x=1; fence w,w; y=2", "y=1; fence w,w; x=2"], "x=1 y=1"),
    ("2+2W+swap.rls", &["x=1; swap.rl y=2", "y=1; swap.rl x=2"], "x=1 y=1"),
    // Coherence of one location needs no fence.
    ("CoRR", &["x=1", "r0=x; r1=x"], "1:r0=1 1:r1=0"),
    ("CoRR+lr", &["x=1", "r0=lr x; r1=x"], "1:r0=1 1:r1=0"),
    ("CoRR+add", &["swap x=1", "r0=add x; r1=x"], "1:r0=1 1:r1=0"),
    ("CoWW", &["x=1; x=2", "r0=x; r1=x"], "1:r0=2 1:r1=1"),
    ("CoWW+final", &["x=1; x=2"], "x=1"),
    ("CoWR", &["x=1; r0=x", "x=2"], "0:r0=0"),
    ("CoRW", &["r0=x; x=1", "x=2"], "0:r0=2 x=2"),
    ("CoRW1", &["r0=x; x=1"], "0:r0=1"),
    // Atomicity: nothing comes between the two halves.
    ("Atomic+swaps", &["r0=swap x=1", "r0=swap x=2"], "0:r0=0 1:r0=0"),
    ("Atomic+llscs", &["r0=llsc x=1", "r0=llsc x=2"], "0:r0=0 1:r0=0"),
    ("Atomic+llsc+swap", &["r0=llsc x=1", "r0=swap x=2"], "0:r0=0 1:r0=0"),
    ("Atomic+llsc+store", &["r0=llsc x=1", "x=2"], "0:r0=0 x=0"),
    ("Atomic+llsc+store.final", &["r0=llsc x=1; r1=x", "x=2"], "0:r0=2 x=2"),
    // Three and four harts: stores are seen by all others at once.
    ("WRC+fences", &["x=1", "r0=x; fence rw,rw; y=1", "r0=y; fence r,r; r1=x"], "1:r0=1 2:r0=1 2:r1=0"),
    ("WRC+rl+aq", &["x=1", "r0=x; swap.rl y=1", "r0=lr.aq y; r1=x"], "1:r0=1 2:r0=1 2:r1=0"),
    ("ISA2+fences", &["x=1; fence w,w; y=1", "r0=y; fence r,w; z=1", "r0=z; fence r,r; r1=x"], "1:r0=1 2:r0=1 2:r1=0"),
    ("ISA2+rl+aq", &["x=1; swap.rl y=1", "r0=lr.aq y; swap.rl z=1", "r0=lr.aq z; r1=x"], "1:r0=1 2:r0=1 2:r1=0"),
    (
        "IRIW+fence.r.rs",
        &["x=1", "y=1", "r0=x; fence r,r; r1=y", "r0=y; fence r,r; r1=x"],
        "2:r0=1 2:r1=0 3:r0=1 3:r1=0",
    ),
    ("IRIW+lr.aqs", &["swap x=1", "llsc y=1", "r0=lr.aq x; r1=y", "r0=lr.aq y; r1=x"], "2:r0=1 2:r1=0 3:r0=1 3:r1=0"),
    (
        "IRIW+add.aqrls",
        &["x=1", "y=1", "r0=add.aqrl x; r1=add.aqrl y", "r0=add.aqrl y; r1=add.aqrl x"],
        "2:r0=1 2:r1=0 3:r0=1 3:r1=0",
    ),
    ("3.SB+fences", &["x=1; fence w,r; r0=y", "y=1; fence w,r; r0=z", "z=1; fence w,r; r0=x"], "0:r0=0 1:r0=0 2:r0=0"),
];

/// Appends one action.
fn action(a: &mut Asm, text: &str) {
    if let Some(sets) = text.strip_prefix("fence ") {
        let bits = |set: &str| set.chars().map(|c| if c == 'r' { 2 } else { 1 }).sum::<u32>();
        let (pred, succ) = sets.split_once(',').expect("two sets");
        a.word((bits(pred) << 4 | bits(succ)) << 20 | 0xf);
        return;
    }
    if text == "fence.tso" {
        a.plain(Op::FenceTso);
        return;
    }
    let (rd, rest) = match text.strip_prefix("r0=").map(|r| (R0, r)).or(text.strip_prefix("r1=").map(|r| (R1, r))) {
        Some(found) => found,
        None => (0, text),
    };
    let (verb, place) = rest.split_once(' ').unwrap_or(("", rest));
    let (place, value) = place.split_once('=').unwrap_or((place, ""));
    let (place, is_word) = place.strip_suffix(".w").map_or((place, false), |p| (p, true));
    let at = match place {
        "x" => RX,
        "y" => RY,
        "z" => RZ,
        _ => panic!("no location {place} in {text}"),
    };
    let value = match value {
        "" => 0,
        "1" => ONE,
        "2" => TWO,
        "3" => THREE,
        _ => panic!("no value {value} in {text}"),
    };
    let (verb, aq_rl) = match verb.split_once('.') {
        Some((verb, "aq")) => (verb, 2),
        Some((verb, "rl")) => (verb, 1),
        Some((verb, "aqrl")) => (verb, 3),
        _ => (verb, 0),
    };
    match (verb, is_word) {
        ("", false) if value == 0 => a.i(Op::Ld, rd, at, 0),
        ("", true) if value == 0 => a.i(Op::Lw, rd, at, 0),
        ("", false) => a.s(Op::Sd, value, at, 0),
        ("", true) => a.s(Op::Sw, value, at, 0),
        ("lr", _) => a.amo(Op::LrD, rd, 0, at, aq_rl),
        ("swap", _) => a.amo(Op::AmoswapD, rd, value, at, aq_rl),
        ("add", _) => a.amo(Op::AmoaddD, rd, 0, at, aq_rl),
        ("llsc", _) => {
            let again = a.here();
            a.amo(Op::LrD, rd, 0, at, aq_rl & 2).amo(Op::ScD, 6, value, at, aq_rl & 1).b(Op::Bne, 6, 0, again)
        }
        _ => panic!("no action {text}"),
    };
}

/// Whether everything that `outcome` names is so.
fn came_about(outcome: &str, seen: &[(u64, u64)], places: [u64; 3]) -> bool {
    outcome.split(' ').all(|term| {
        let (what, value) = term.split_once('=').expect("a value");
        let is = match what.split_once(':') {
            Some((hart, reg)) => {
                let (r0, r1) = seen[hart.parse::<usize>().expect("a hart")];
                if reg == "r0" { r0 } else { r1 }
            }
            None => places["xyz".find(what).expect("a location")],
        };
        is == value.parse::<u64>().expect("a number")
    })
}

/// Runs a test in both ways of execution.
fn litmus(what: &str, bodies: &[&str], forbidden: &str) {
    for (name, options) in
        [("jit", TcgOptions::default()), ("interpreter", TcgOptions { jit: false, ..TcgOptions::default() })]
    {
        let harts = bodies.len() as u32;
        let rounds = if harts > 2 { MANY_HARTS_ROUNDS } else { ROUNDS };
        let mut g = Guest::new(options, harts);
        let mut states = Vec::new();
        for (hart, body) in bodies.iter().enumerate() {
            let mut a = Asm::at(CODE + 0x1000 * hart as u64);
            let start = a.here();
            a.i(Op::Addi, R0, 0, 0).i(Op::Addi, R1, 0, 0);
            a.amo(Op::AmoaddD, 0, ONE, 20, 3);
            // Waiting gives the core away: there may be more harts than cores.
            let wait = a.here();
            a.amo(Op::LrD, 5, 0, 20, 0);
            let go = a.forward(Op::Bge, 5, 21);
            a.plain(Op::WrsNto).j(0, wait);
            a.bind(go);
            body.split("; ").for_each(|text| action(&mut a, text));
            a.s(Op::Sd, R0, 22, 0).s(Op::Sd, R1, 22, 8);
            for r in [RX, RY, RZ, 20] {
                a.i(Op::Addi, r, r, LINE as i32);
            }
            a.i(Op::Addi, 22, 22, 16).i(Op::Addi, 23, 23, -1);
            a.b(Op::Bne, 23, 0, start);
            a.ecall();
            g.load(&a);
            let mut s = g.supervisor(hart as u32, start);
            for (r, v) in [(RX, X), (RY, Y), (RZ, Z), (ONE, 1), (TWO, 2), (THREE, 3)] {
                s.x[usize::from(r)] = v;
            }
            (s.x[20], s.x[21], s.x[22], s.x[23]) = (GATE, u64::from(harts), LOG + LOG_SIZE * hart as u64, rounds);
            states.push(s);
        }
        g.run_all(&states);
        let log = |hart: u64, round: u64| {
            let at = LOG + LOG_SIZE * hart + 16 * round;
            (g.read64(at), g.read64(at + 8))
        };
        for round in 0..rounds {
            let seen: Vec<_> = (0..u64::from(harts)).map(|h| log(h, round)).collect();
            let places = [X, Y, Z].map(|at| g.read64(at + LINE * round));
            assert!(!came_about(forbidden, &seen, places), "{what}, {name}, round {round}: {seen:?}, {places:?}");
        }
    }
}

#[test]
fn no_forbidden_outcome() {
    for (what, bodies, forbidden) in TESTS {
        litmus(what, bodies, forbidden);
    }
}

/// The machinery does notice: an outcome that each round has is found.
#[test]
#[should_panic(expected = "always")]
fn an_outcome_that_is_there_is_seen() {
    litmus("always", &["x=3; r0=x", "r1=swap y=2"], "0:r0=3 1:r1=0 x=3 y=2");
}
