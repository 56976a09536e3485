//! The log of pages that were written to, on the translator: exact, whatever the kind of store, and nothing is missed
//! while harts run.

mod guest;

use accel::tcg::{Tcg, TcgOptions};
use arch::csr::{envcfg, mstatus};
use guest::setup::Setup;
use guest::writes::{self, DATA, PARTS, Part, at};
use guest::{Asm, E64, Guest, Op, RAM, modes};

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
