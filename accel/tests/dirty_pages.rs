//! The log of pages that were written to, on the translator: exact, whatever the kind of store, and nothing is missed
//! while harts run.

mod guest;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use accel::tcg::{Tcg, TcgOptions};
use accel::testing::Registers as _;
use arch::csr::{envcfg, mstatus};
use guest::setup::Setup;
use guest::writes::{self, DATA, PARTS, Part, at};
use guest::{Asm, E64, Guest, Op, RAM, modes};
use vm_memory::{Bytes, GuestAddress};

/// A loop that makes no progress for so long hangs.
const WATCHDOG: Duration = Duration::from_secs(120);

fn max(options: TcgOptions, harts: u32) -> Guest {
    let isa = arch::model::find("max").unwrap().config();
    Setup { harts, isa, ..Setup::default() }.start(&Tcg { options })
}

/// What not every host's harts have, and stores that the translator breaks into parts.
const MORE: &[Part] = &[
    (|a| at(a, 2).r(Op::CboZero, 0, 5, 0), &[2]),
    (|a| at(a, 4).s(Op::Sd, 11, 5, -4), &[3, 4]),
    // Asks for the right to store, whether it does or not.
    (|a| at(a, 6).amo(Op::AmocasD, 11, 11, 5, 0), &[6]),
    (vector_across, &[8, 9]),
    (vector_masked, &[12]),
];

/// Four elements, two on each side.
fn vector_across(a: &mut Asm) -> &mut Asm {
    at(a, 9).i(Op::Addi, 5, 5, -16).word(vse64(8, 5, true))
}

/// Only the first of four elements, the others being in the next page.
fn vector_masked(a: &mut Asm) -> &mut Asm {
    at(a, 13).i(Op::Addi, 5, 5, -8).word(vse64(8, 5, false))
}

fn vse64(vs3: u32, rs1: u32, vm: bool) -> u32 {
    Op::Vse64V.row().pattern.bits & !(1 << 25) | vs3 << 7 | rs1 << 15 | u32::from(vm) << 25
}

#[test]
fn the_log_has_the_pages_written_to_and_no_others() {
    let parts = [PARTS, MORE].concat();
    for (name, options) in modes() {
        let mut g = max(options, 1);
        writes::parts_are_logged(&mut g, name, &parts, |state| {
            state.csr.mstatus |= mstatus::VS;
            (state.csr.vtype, state.csr.vl, state.v.0[0]) = (E64 | guest::M2, 4, 1);
        });
    }
}

#[test]
fn what_a_page_walk_writes_is_in_the_log() {
    // Sv39: the first gigabyte leads to RAM, as RAM itself. Hardware sets A and D.
    const TABLE: u64 = RAM + 0x10_0000;
    for (name, options) in modes() {
        let mut g = max(options, 1);
        g.write64(TABLE, RAM >> 2 | 0xf);
        g.write64(TABLE + 16, RAM >> 2 | 0xcf);
        let mut a = Asm::at(guest::CODE);
        a.li(5, DATA - RAM).s(Op::Sd, 11, 5, 0).s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        g.load(&a);
        let mut state = g.supervisor(0, guest::CODE);
        state.csr.menvcfg |= envcfg::ADUE;
        state.csr.satp = 8 << 60 | TABLE >> 12;
        // The device that ends the program is in the fourth gigabyte.
        g.write64(TABLE + 24, 0xcf);
        state.x[31] = (3 << 30) + guest::END;
        g.vm.start_dirty_log().unwrap();
        g.run(&state);
        let log: Vec<_> = g.vm.take_dirty_log().unwrap().iter().collect();
        assert_eq!(log, [TABLE, DATA], "{name}");
    }
}

#[test]
fn nothing_is_missed_while_harts_run() {
    for (name, options) in modes() {
        writes::copies_are_complete(&mut max(options, 2), name);
    }
}

/// Bodies of loops, whose round is x6: stores by a register for each page, walking through a page, by one register on one
/// and both sides of the end of a page, of vectors, of atomics, and others. Register 10 + n leads to page n, but for x15,
/// which leads to the end of page 5.
const LOOPS: &[Part] = &[
    (|a| a.s(Op::Sd, 6, 10, 0).s(Op::Sb, 6, 11, 0).s(Op::Sh, 6, 12, 0x7f0), &[0, 1, 2]),
    (
        |a| {
            a.i(Op::Slli, 7, 6, 3).i(Op::Andi, 7, 7, 0x7f8).r(Op::Add, 8, 7, 13).s(Op::Sd, 6, 8, 0);
            a.r(Op::Add, 8, 7, 14).i(Op::Ld, 9, 8, 8).s(Op::Sd, 9, 8, 16)
        },
        &[3, 4],
    ),
    (|a| a.s(Op::Sd, 6, 15, -24).i(Op::Ld, 9, 15, -8).s(Op::Sd, 6, 15, -16).s(Op::Sd, 6, 15, -8), &[5]),
    (|a| a.s(Op::Sd, 6, 15, -8).i(Op::Ld, 9, 15, -16).s(Op::Sw, 6, 15, 0).s(Op::Sd, 6, 15, 8), &[5, 6]),
    (|a| a.word(vse64(8, 17, true)), &[7]),
    (|a| a.amo(Op::AmoaddD, 9, 6, 18, 0).amo(Op::LrD, 9, 0, 19, 0).amo(Op::ScD, 9, 6, 19, 0), &[8, 9]),
    (|a| a.s(Op::Fsd, 6, 20, 8).r(Op::CboZero, 0, 21, 0), &[10, 11]),
];

/// What a loop stores to is in the log that is started while it runs, and in each one that is taken: it would go on by
/// entries of before, if nobody took them away.
#[test]
fn a_loop_that_goes_on_is_in_every_log() {
    let together: Part = (|a| LOOPS.iter().fold(a, |a, (part, _)| part(a)), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for (name, options) in modes() {
        for (n, part) in LOOPS.iter().chain([&together]).enumerate() {
            // With a second hart LR and SC are done otherwise.
            let harts = 1 + n as u32 % 2;
            loop_is_logged(&mut max(options.clone(), harts), &format!("{name}, loop {n}"), part);
        }
    }
}

fn loop_is_logged(g: &mut Guest, name: &str, (part, pages): &Part) {
    const ROUND: u64 = DATA + 0x10_0000;
    const ENOUGH: u64 = ROUND + 4096;
    let mut a = Asm::at(guest::CODE);
    let top = a.here();
    a.i(Op::Addi, 6, 6, 1);
    part(&mut a);
    a.s(Op::Sd, 6, 22, 0).i(Op::Ld, 9, 23, 0).b(Op::Beq, 9, 0, top).s(Op::Sd, 0, 31, 0);
    let here = a.here();
    a.j(0, here);
    g.load(&a);
    g.write64(ENOUGH, 0);
    let mut state = g.supervisor(0, guest::CODE);
    state.csr.mstatus |= mstatus::VS | mstatus::FS;
    (state.csr.vtype, state.csr.vl) = (E64 | guest::M2, 4);
    (0..12).for_each(|page| state.x[10 + page] = DATA + 4096 * page as u64);
    state.x[15] += 4096;
    (state.x[22], state.x[23], state.x[31]) = (ROUND, ENOUGH, guest::END);
    let (vm, ram) = (g.vm.clone(), g.ram.clone());
    // Waits for a few whole rounds.
    let rounds = |n: u64| {
        let round = || ram.load::<u64>(GuestAddress(ROUND), Ordering::SeqCst).unwrap();
        let (first, begun) = (round(), Instant::now());
        while round() < first + n {
            assert!(begun.elapsed() < WATCHDOG, "{name}: the loop stands still");
            std::thread::sleep(Duration::from_micros(20));
        }
    };
    let hart = &mut g.harts[0];
    hart.set_state(&state);
    let expected: Vec<_> = pages.iter().map(|page| DATA + 4096 * page).chain([ROUND]).collect();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || guest::finish(hart).pc);
        let mut wrong = None;
        // Long enough for the loop to become a region.
        rounds(4_000);
        for _ in 0..2 {
            vm.start_dirty_log().unwrap();
            for n in 0..4 {
                rounds(2 + n * 16);
                let log: Vec<_> = vm.take_dirty_log().unwrap().iter().collect();
                if log != expected {
                    wrong.get_or_insert(log);
                }
            }
            vm.stop_dirty_log().unwrap();
            rounds(100);
        }
        ram.store(1u64, GuestAddress(ENOUGH), Ordering::SeqCst).unwrap();
        thread.join().expect("a hart's thread");
        assert_eq!(wrong, None, "{name}: not {expected:x?}");
    });
}

#[test]
fn a_log_begins_empty_and_ends() {
    let mut g = max(TcgOptions::default(), 1);
    let run = |g: &mut Guest| {
        let mut a = Asm::at(guest::CODE);
        writes::store(&mut a, 3).ecall();
        g.load(&a);
        let state = g.supervisor(0, guest::CODE);
        g.run(&state);
    };
    run(&mut g);
    assert_eq!(g.vm.take_dirty_log().unwrap().count(), 0, "it was not started");
    run(&mut g);
    g.vm.start_dirty_log().unwrap();
    assert_eq!(g.vm.take_dirty_log().unwrap().count(), 0, "what was written before is not in it");
    run(&mut g);
    // The code was loaded, too.
    let log: Vec<_> = g.vm.take_dirty_log().unwrap().iter().collect();
    assert_eq!(log, [guest::CODE, DATA + 3 * 4096]);
    run(&mut g);
    g.vm.stop_dirty_log().unwrap();
    g.vm.start_dirty_log().unwrap();
    assert_eq!(g.vm.take_dirty_log().unwrap().count(), 0, "an old log is gone");
}
