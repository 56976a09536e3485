//! Store-conditional against other harts and devices that store between LR and SC, also what was there before.
//!
//! Unprivileged spec, "Load-Reserved/Store-Conditional Instructions".

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use guest::*;
use vm_memory::{Bytes, GuestAddress};

const CODE: u64 = RAM + 0x1_0000;
const OTHER_CODE: u64 = RAM + 0x2_0000;
const DATA: u64 = RAM + 0x5_0000;
/// Where the harts tell each other how far they are: on another page than the reserved word.
const TALK: u64 = RAM + 0x6_0000;
const ROUNDS: u64 = 4;

/// Registers of all programs here: the reserved word, the talk, what SC stores, rounds left, failures.
const WORD: u8 = 8;
const SAID: u8 = 9;
const NEW: u8 = 12;
const LEFT: u8 = 13;
const FAILED: u8 = 14;

type Program = fn(&mut Asm);

/// A machine whose harts may use vectors and zero cache blocks.
fn machine(options: &accel::tcg::TcgOptions, harts: u32) -> Guest {
    let isa = arch::model::find("max").expect("a model that the program has").config();
    let g = Guest::with_isa(options.clone(), harts, isa);
    g.write64(DATA, 5);
    g
}

fn state(g: &Guest, hart: u32, pc: u64, rounds: u64) -> accel::HartState {
    let mut s = g.supervisor(hart, pc);
    // FS and VS are on, and so is CBZE.
    s.csr.mstatus |= 1 << 13 | 1 << 9;
    s.csr.menvcfg |= 1 << 7;
    for (r, v) in [(WORD, DATA), (SAID, TALK), (NEW, 9), (LEFT, rounds)] {
        s.x[usize::from(r)] = v;
    }
    s
}

/// v8 = the doubleword at `WORD`, one element.
fn load_vector(a: &mut Asm) {
    a.word(3 << 30 | 0x18 << 20 | 1 << 15 | 7 << 12 | 0x57);
    a.word(1 << 25 | u32::from(WORD) << 15 | 7 << 12 | 8 << 7 | 0x07);
}

fn store_vector(a: &mut Asm) {
    a.word(1 << 25 | u32::from(WORD) << 15 | 7 << 12 | 8 << 7 | 0x27);
}

/// What the other hart does, and whether that is a store to the reservation set.
const OTHERS: &[(&str, Program, bool)] = &[
    (
        "swap and swap back",
        |a| {
            a.amo(Op::AmoswapD, 10, NEW, WORD, 0).amo(Op::AmoswapD, 0, 10, WORD, 0);
        },
        true,
    ),
    (
        "the upper half, by words",
        |a| {
            a.i(Op::Addi, 5, WORD, 4).amo(Op::AmoswapW, 10, NEW, 5, 0).amo(Op::AmoswapW, 0, 10, 5, 0);
        },
        true,
    ),
    (
        "an AMO that changes nothing",
        |a| {
            a.amo(Op::AmoorD, 0, 0, WORD, 0);
        },
        true,
    ),
    (
        "a compare-and-swap of equal values",
        |a| {
            a.i(Op::Ld, 10, WORD, 0).amo(Op::AmocasD, 10, 10, WORD, 0);
        },
        true,
    ),
    (
        "SC, and back by a store",
        |a| {
            let again = a.here();
            a.amo(Op::LrD, 10, 0, WORD, 0).amo(Op::ScD, 11, NEW, WORD, 0).b(Op::Bne, 11, 0, again);
            a.s(Op::Sd, 10, WORD, 0);
        },
        true,
    ),
    (
        "there and back by stores",
        |a| {
            a.i(Op::Ld, 10, WORD, 0).s(Op::Sd, NEW, WORD, 0).s(Op::Sd, 10, WORD, 0);
        },
        true,
    ),
    (
        "the same value",
        |a| {
            a.i(Op::Ld, 10, WORD, 0).s(Op::Sd, 10, WORD, 0);
        },
        true,
    ),
    (
        "the same byte",
        |a| {
            a.i(Op::Lb, 10, WORD, 1).s(Op::Sb, 10, WORD, 1);
        },
        true,
    ),
    (
        "the same halfword by a store-release",
        |a| {
            a.i(Op::Lh, 10, WORD, 0).amo(Op::ShRl, 0, 10, WORD, 1);
        },
        true,
    ),
    (
        "a vector with the same value",
        |a| {
            load_vector(a);
            store_vector(a);
        },
        true,
    ),
    (
        "a float with the same value",
        |a| {
            a.i(Op::Fld, 1, WORD, 0).s(Op::Fsd, 1, WORD, 0);
        },
        true,
    ),
    (
        "a misaligned store from the line before",
        |a| {
            a.i(Op::Ld, 10, WORD, -4).s(Op::Sd, 10, WORD, -4);
        },
        true,
    ),
    (
        "a block of zeros, also where there are zeros",
        |a| {
            a.word(4 << 20 | u32::from(WORD) << 15 | 2 << 12 | 0x0f);
        },
        true,
    ),
    (
        "another value",
        |a| {
            a.s(Op::Sb, LEFT, WORD, 0);
        },
        true,
    ),
    (
        "loads, and another line of the page",
        |a| {
            a.i(Op::Ld, 10, WORD, 0).i(Op::Addi, 5, WORD, 64).amo(Op::AmoaddD, 10, NEW, 5, 0);
            a.s(Op::Sd, NEW, WORD, 128).amo(Op::LrD, 10, 0, WORD, 0);
        },
        false,
    ),
    (
        "a compare-and-swap of other values",
        |a| {
            a.i(Op::Addi, 10, 0, 77).amo(Op::AmocasD, 10, NEW, WORD, 0);
        },
        false,
    ),
    (
        "an SC that fails",
        |a| {
            a.amo(Op::ScD, 10, NEW, WORD, 0);
        },
        false,
    ),
];

/// Between LR and SC the hart lets somebody else do something, by stores and loads.
fn reserver(lr: Op, sc: Op, branch: bool) -> Asm {
    let mut a = Asm::at(CODE);
    let start = a.here();
    a.amo(lr, 10, 0, WORD, 0);
    // The way that is taken might as well have led to the SC.
    let hole = branch.then(|| a.forward(Op::Bne, 10, 10));
    a.s(Op::Sd, LEFT, SAID, 0);
    let wait = a.here();
    a.i(Op::Ld, 5, SAID, 8).b(Op::Bne, 5, LEFT, wait);
    if let Some(hole) = hole {
        a.bind(hole);
    }
    a.amo(sc, 11, NEW, WORD, 0).r(Op::Add, FAILED, FAILED, 11);
    a.i(Op::Addi, LEFT, LEFT, -1).b(Op::Bne, LEFT, 0, start).ecall();
    a
}

/// The other hart stores between LR and SC, ordered by other accesses: SC fails, whatever was stored. Without a store
/// it succeeds, but for the first one at most.
#[test]
fn a_store_conditional_sees_every_store() {
    for (what, other, stored) in OTHERS {
        for (name, options) in modes() {
            for (lr, sc, branch) in [(Op::LrD, Op::ScD, false), (Op::LrW, Op::ScW, false), (Op::LrD, Op::ScD, true)] {
                if lr == Op::LrW && *what == "the upper half, by words" {
                    continue;
                }
                let mut g = machine(&options, 2);
                g.load(&reserver(lr, sc, branch));
                let mut b = Asm::at(OTHER_CODE);
                let start = b.here();
                b.i(Op::Ld, 5, SAID, 0).b(Op::Bne, 5, LEFT, start);
                other(&mut b);
                b.s(Op::Sd, LEFT, SAID, 8).i(Op::Addi, LEFT, LEFT, -1).b(Op::Bne, LEFT, 0, start).ecall();
                g.load(&b);
                let states = [state(&g, 0, CODE, ROUNDS), state(&g, 1, OTHER_CODE, ROUNDS)];
                let failed = g.run_all(&states)[0].x[usize::from(FAILED)];
                let right = if *stored { failed == ROUNDS } else { failed <= 1 };
                assert!(right, "{what}, {name}, {lr:?}, {branch}: {failed} of {ROUNDS} failed");
            }
        }
    }
}

/// The same with a device, which writes by its own means.
#[test]
fn a_store_conditional_sees_devices() {
    for (name, options) in modes() {
        for stores in [true, false] {
            let mut g = machine(&options, 2);
            g.load(&reserver(Op::LrD, Op::ScD, false));
            let (ram, done) = (g.ram.clone(), AtomicBool::new(false));
            let start = state(&g, 0, CODE, ROUNDS);
            let failed = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::SeqCst) {
                        let said: u64 = ram.load(GuestAddress(TALK), Ordering::SeqCst).expect("inside RAM");
                        if said != last {
                            last = said;
                            let word: u64 = ram.read_obj(GuestAddress(DATA)).expect("inside RAM");
                            if stores {
                                ram.write_obj(word, GuestAddress(DATA)).expect("inside RAM");
                            }
                            ram.store(said, GuestAddress(TALK + 8), Ordering::SeqCst).expect("inside RAM");
                        }
                        std::thread::yield_now();
                    }
                });
                let end = g.run(&start);
                done.store(true, Ordering::SeqCst);
                end.x[usize::from(FAILED)]
            });
            assert!(if stores { failed == ROUNDS } else { failed <= 1 }, "{name}: {failed} of {ROUNDS} failed");
        }
    }
}

/// Pairs with nothing but arithmetic between them need no second try, also across blocks.
#[test]
fn a_quiet_pair_succeeds_at_once() {
    let pairs: [(&str, Program); 5] = [
        ("one block", |a| {
            a.amo(Op::LrD, 10, 0, WORD, 0).i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, WORD, 0);
        }),
        ("across a page", |a| {
            a.pad_to(0xffc).amo(Op::LrD, 10, 0, WORD, 0).i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, WORD, 0);
        }),
        ("across a page, with an instruction on both", |a| {
            a.pad_to(0xffa).amo(Op::LrD, 10, 0, WORD, 0).i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, WORD, 0);
        }),
        ("a branch that is taken", |a| {
            a.amo(Op::LrD, 10, 0, WORD, 0);
            let hole = a.forward(Op::Beq, 0, 0);
            a.nop().bind(hole).i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, WORD, 0);
        }),
        ("an indirect jump", |a| {
            let here = a.here();
            a.li(7, here + 8 * 4 + 12).amo(Op::LrD, 10, 0, WORD, 0).i(Op::Jalr, 0, 7, 0).nop();
            a.i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, WORD, 0);
        }),
    ];
    for (what, pair) in pairs {
        for (name, options) in modes() {
            let mut g = machine(&options, 2);
            let mut a = Asm::at(CODE);
            pair(&mut a);
            a.ecall();
            g.load(&a);
            let start = state(&g, 0, CODE, 1);
            let end = g.run(&start);
            assert_eq!((end.x[11], g.read64(DATA)), (0, 6), "{what}, {name}");
        }
    }
}

/// A loop with a function call and a spill between LR and SC ends.
#[test]
fn a_loud_loop_ends() {
    const HARTS: u32 = 3;
    const N: u64 = 500;
    for (name, options) in modes() {
        let mut g = machine(&options, HARTS);
        g.write64(DATA, 0);
        let mut a = Asm::at(CODE + 0x3000);
        a.i(Op::Addi, 10, 10, 1).s(Op::Sd, 10, SAID, 0).i(Op::Jalr, 0, 1, 0);
        g.load(&a);
        let states: Vec<_> = (0..HARTS)
            .map(|hart| {
                let mut a = Asm::at(CODE + 0x1000 * u64::from(hart));
                let start = a.here();
                // A quiet pair on another line of the page in between uses LRs up.
                a.i(Op::Addi, 5, WORD, 64).amo(Op::LrD, 6, 0, 5, 0).i(Op::Addi, 6, 6, 1).amo(Op::ScD, 6, 6, 5, 0);
                a.amo(Op::LrD, 10, 0, WORD, 0).j(1, CODE + 0x3000).i(Op::Ld, 10, SAID, 0);
                a.amo(Op::ScD, 11, 10, WORD, 0).b(Op::Bne, 11, 0, start);
                a.i(Op::Addi, LEFT, LEFT, -1).b(Op::Bne, LEFT, 0, start).ecall();
                g.load(&a);
                let mut s = state(&g, hart, start, N);
                s.x[usize::from(SAID)] = TALK + 64 * u64::from(hart);
                s
            })
            .collect();
        g.run_all(&states);
        assert_eq!(g.read64(DATA), N * u64::from(HARTS), "{name}");
    }
}

/// One hart counts in `y` before each change of `x` and back; the other reads `y` twice between LR and SC of `x`. If
/// `y` moved by two or more, a whole change lies between, and the SC must have failed.
#[test]
fn racing_stores_are_seen() {
    const N: u64 = 20_000;
    let writers: [(&str, Program); 5] = [
        ("there and back", |a| {
            a.s(Op::Sd, NEW, WORD, 0).s(Op::Sd, 0, WORD, 0);
        }),
        ("the same value", |a| {
            a.s(Op::Sw, 0, WORD, 0);
        }),
        ("a byte", |a| {
            a.s(Op::Sb, 0, WORD, 3);
        }),
        ("a vector", store_vector),
        ("an AMO", |a| {
            a.amo(Op::AmoorD, 0, 0, WORD, 0);
        }),
    ];
    for (what, writer) in writers {
        for (name, options) in modes() {
            let mut g = machine(&options, 2);
            g.write64(DATA, 0);
            let n = if options.jit && options.block_insns != 1 { N } else { N / 10 };
            let mut a = Asm::at(CODE);
            let start = a.here();
            a.amo(Op::LrD, 10, 0, WORD, 2).i(Op::Ld, 5, SAID, 0);
            a.i(Op::Addi, 7, 0, 40);
            let delay = a.here();
            a.i(Op::Addi, 7, 7, -1).b(Op::Bne, 7, 0, delay);
            a.i(Op::Ld, 6, SAID, 0).amo(Op::ScD, 11, 0, WORD, 1);
            // x15 counts successes although y moved by two or more.
            a.r(Op::Sub, 6, 6, 5).i(Op::Sltiu, 6, 6, 2).r(Op::Or, 6, 6, 11).i(Op::Sltiu, 6, 6, 1);
            a.r(Op::Add, 15, 15, 6).r(Op::Add, FAILED, FAILED, 11);
            a.i(Op::Addi, LEFT, LEFT, -1).b(Op::Bne, LEFT, 0, start).s(Op::Sd, NEW, SAID, 64).ecall();
            g.load(&a);
            let mut b = Asm::at(OTHER_CODE);
            load_vector(&mut b);
            let start = b.here();
            b.i(Op::Addi, 5, 5, 1).s(Op::Sd, 5, SAID, 0);
            writer(&mut b);
            b.i(Op::Ld, 6, SAID, 64).b(Op::Beq, 6, 0, start).ecall();
            g.load(&b);
            let states = [state(&g, 0, CODE, n), state(&g, 1, OTHER_CODE, 0)];
            let end = g.run_all(&states);
            assert_eq!(end[0].x[15], 0, "{what}, {name}: successes over a store ({} failures)", end[0].x[14]);
        }
    }
}
