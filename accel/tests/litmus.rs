//! Litmus tests of RVWMO on real threads: many rounds, and never an outcome that the memory model forbids.
//!
//! Each hart runs its few accesses in a loop over fresh locations (a line of each array a round) and writes what it
//! read to a log. A start line, `x20`, keeps the harts within a round of each other.
//!
//! Unprivileged spec, "RVWMO Memory Consistency Model".

mod guest;

use accel::tcg::TcgOptions;
use guest::*;

const CODE: u64 = RAM + 0x1_0000;
const ROUNDS: u64 = 4000;
/// Rounds where there may be more harts than cores, which then wait for each other's time slices.
const MANY_HARTS_ROUNDS: u64 = 200;
/// Locations: one line a round.
const X: u64 = RAM + 0x20_0000;
const Y: u64 = RAM + 0x30_0000;
const LOG: u64 = RAM + 0x40_0000;
const LOG_SIZE: u64 = 0x8_0000;
const LINE: u64 = 64;
/// One counter a round: who has arrived.
const GATE: u64 = RAM + 0x80_0000;

/// Registers of a body: addresses of x and y, and what goes to the log.
const RX: u8 = 8;
const RY: u8 = 9;
const R0: u8 = 10;
const R1: u8 = 11;
/// Holds 1, and 2.
const ONE: u8 = 12;
const TWO: u8 = 13;

type Body = fn(&mut Asm);

/// Runs a test with one body a hart; `(R0, R1)` of each hart go to `forbidden`, with final x and y.
fn litmus(what: &str, bodies: &[Body], forbidden: impl Fn(&[(u64, u64)], u64, u64) -> bool) {
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
            let wait = a.here();
            a.i(Op::Ld, 5, 20, 0).b(Op::Blt, 5, 21, wait);
            body(&mut a);
            a.s(Op::Sd, R0, 22, 0).s(Op::Sd, R1, 22, 8);
            a.i(Op::Addi, RX, RX, LINE as i32).i(Op::Addi, RY, RY, LINE as i32);
            a.i(Op::Addi, 20, 20, LINE as i32).i(Op::Addi, 22, 22, 16).i(Op::Addi, 23, 23, -1);
            a.b(Op::Bne, 23, 0, start);
            a.ecall();
            g.load(&a);
            let mut s = g.supervisor(hart as u32, start);
            (s.x[usize::from(RX)], s.x[usize::from(RY)]) = (X, Y);
            (s.x[usize::from(ONE)], s.x[usize::from(TWO)]) = (1, 2);
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
            let (x, y) = (g.read64(X + LINE * round), g.read64(Y + LINE * round));
            assert!(!forbidden(&seen, x, y), "{what}, {name}, round {round}: {seen:?}, x {x}, y {y}");
        }
    }
}

/// `fence pred, succ` by the bits I O R W.
fn fence(a: &mut Asm, pred: i32, succ: i32) {
    a.word(((pred << 4 | succ) as u32) << 20 | 0xf);
}

const R: i32 = 2;
const W: i32 = 1;

/// Store buffering: (0, 0) needs a store to pass a load.
fn store_buffering(what: &str, first: Body, second: Body) {
    litmus(what, &[first, second], |s, _, _| s[0].0 == 0 && s[1].0 == 0);
}

#[test]
fn sb_with_fences() {
    store_buffering(
        "SB+fence.rw.rw",
        |a| {
            a.s(Op::Sd, ONE, RX, 0);
            fence(a, R | W, R | W);
            a.i(Op::Ld, R0, RY, 0);
        },
        |a| {
            a.s(Op::Sd, ONE, RY, 0);
            fence(a, W, R);
            a.i(Op::Ld, R0, RX, 0);
        },
    );
}

#[test]
fn sb_by_exchanges() {
    store_buffering(
        "SB+amoswap",
        |a| {
            a.amo(Op::AmoswapD, 0, ONE, RX, 3).amo(Op::LrD, R0, 0, RY, 2);
        },
        |a| {
            a.amo(Op::AmoswapW, 0, ONE, RY, 1).amo(Op::AmoaddW, R0, 0, RX, 2);
        },
    );
}

/// A load-reserved with both bits is sequentially consistent: earlier stores come before it.
#[test]
fn sb_by_load_reserved_aqrl() {
    store_buffering(
        "SB+lr.aqrl",
        |a| {
            a.s(Op::Sd, ONE, RX, 0).amo(Op::LrD, R0, 0, RY, 3);
        },
        |a| {
            a.s(Op::Sd, ONE, RY, 0).amo(Op::LrW, R0, 0, RX, 3);
        },
    );
}

/// A store-conditional with `rl`, then a load-reserved with `aq`: both RCsc, in order.
#[test]
fn sb_by_conditional_release_and_acquire() {
    fn body(a: &mut Asm, x: u8, y: u8) {
        let again = a.here();
        a.amo(Op::LrD, 5, 0, x, 0).amo(Op::ScD, 6, ONE, x, 1).b(Op::Bne, 6, 0, again);
        a.amo(Op::LrD, R0, 0, y, 2);
    }
    store_buffering("SB+sc.rl+lr.aq", |a| body(a, RX, RY), |a| body(a, RY, RX));
}

/// Message passing: the flag without the message needs a load to pass a load, or a store a store.
fn message_passing(what: &str, writer: Body, reader: Body) {
    litmus(what, &[writer, reader], |s, _, _| s[1].0 == 1 && s[1].1 == 0);
}

#[test]
fn mp_with_fences() {
    message_passing(
        "MP+fences",
        |a| {
            a.s(Op::Sd, ONE, RX, 0);
            fence(a, W, W);
            a.s(Op::Sd, ONE, RY, 0);
        },
        |a| {
            a.i(Op::Ld, R0, RY, 0);
            fence(a, R, R);
            a.i(Op::Ld, R1, RX, 0);
        },
    );
}

#[test]
fn mp_with_annotations() {
    message_passing(
        "MP+amo.rl+lr.aq",
        |a| {
            a.s(Op::Sd, ONE, RX, 0).amo(Op::AmoswapD, 0, ONE, RY, 1);
        },
        |a| {
            a.amo(Op::LrD, R0, 0, RY, 2).i(Op::Ld, R1, RX, 0);
        },
    );
}

#[test]
fn mp_by_tso_fence() {
    fn tso(a: &mut Asm) {
        a.plain(Op::FenceTso);
    }
    message_passing(
        "MP+fence.tso",
        |a| {
            a.s(Op::Sw, ONE, RX, 0);
            tso(a);
            a.s(Op::Sw, ONE, RY, 0);
        },
        |a| {
            a.i(Op::Lw, R0, RY, 0);
            tso(a);
            a.i(Op::Lw, R1, RX, 0);
        },
    );
}

/// Load buffering: both loads see the store that follows the other.
#[test]
fn lb_with_fences() {
    litmus(
        "LB+fence.r.w",
        &[
            |a| {
                a.i(Op::Ld, R0, RX, 0);
                fence(a, R, W);
                a.s(Op::Sd, ONE, RY, 0);
            },
            |a| {
                a.i(Op::Ld, R0, RY, 0);
                fence(a, R, W);
                a.s(Op::Sd, ONE, RX, 0);
            },
        ],
        |s, _, _| s[0].0 == 1 && s[1].0 == 1,
    );
}

/// Independent reads of independent writes: two readers must agree on an order.
#[test]
fn iriw_with_fences() {
    litmus(
        "IRIW+fence.r.r",
        &[
            |a| {
                a.s(Op::Sd, ONE, RX, 0);
            },
            |a| {
                a.s(Op::Sd, ONE, RY, 0);
            },
            |a| {
                a.i(Op::Ld, R0, RX, 0);
                fence(a, R, R);
                a.i(Op::Ld, R1, RY, 0);
            },
            |a| {
                a.i(Op::Ld, R0, RY, 0);
                fence(a, R, R);
                a.i(Op::Ld, R1, RX, 0);
            },
        ],
        |s, _, _| s[2] == (1, 0) && s[3] == (1, 0),
    );
}

/// Coherence of reads: one location never goes back.
#[test]
fn corr() {
    litmus(
        "CoRR",
        &[
            |a| {
                a.s(Op::Sd, ONE, RX, 0);
            },
            |a| {
                a.i(Op::Ld, R0, RX, 0).i(Op::Ld, R1, RX, 0);
            },
        ],
        |s, _, _| s[1] == (1, 0),
    );
}

/// Two writers to two locations: both first stores cannot be last.
#[test]
fn two_and_two_writes() {
    litmus(
        "2+2W+fence.w.w",
        &[
            |a| {
                a.s(Op::Sd, ONE, RX, 0);
                fence(a, W, W);
                a.s(Op::Sd, TWO, RY, 0);
            },
            |a| {
                a.s(Op::Sd, ONE, RY, 0);
                fence(a, W, W);
                a.s(Op::Sd, TWO, RX, 0);
            },
        ],
        |_, x, y| x == 1 && y == 1,
    );
}

/// A load that is served by the hart's own atomic store still comes after it for everybody.
#[test]
fn sb_through_own_atomic() {
    litmus(
        "SB+amo+own",
        &[
            |a| {
                a.amo(Op::AmoaddD, 0, ONE, RX, 0).i(Op::Ld, 5, RX, 0);
                fence(a, R, R);
                a.i(Op::Ld, R0, RY, 0);
            },
            |a| {
                a.amo(Op::AmoaddD, 0, ONE, RY, 0).i(Op::Ld, 5, RY, 0);
                fence(a, R, R);
                a.i(Op::Ld, R0, RX, 0);
            },
        ],
        |s, _, _| s[0].0 == 0 && s[1].0 == 0,
    );
}
