//! Guests that write to known pages, for the log of pages that were written to, whatever the engine.

use std::collections::BTreeSet;

use accel::dirty::PAGE;
use accel::testing::Registers as _;
use vm_memory::{Bytes, GuestAddress};

use super::{Asm, CODE, END, Guest, Op, RAM, finish};

/// Where programs write, in x10.
pub const DATA: u64 = RAM + 0x40_0000;
/// Programs wait until this word is as large as x9.
const GO: u64 = RAM + 0x3f_f000;

/// A part of a program, and the pages behind [`DATA`] that it writes to.
pub type Part = (fn(&mut Asm) -> &mut Asm, &'static [u64]);

/// What every hart can do. x11 is some value, x10 is [`DATA`], x5 to x8 are free.
pub const PARTS: &[Part] = &[
    (|a| a.s(Op::Sd, 11, 10, 0), &[0]),
    // Once more, though it was written to before; and a new one.
    (|a| store(store(a, 0), 1), &[0, 1]),
    (|a| a, &[]),
    (|a| at(a, 2).i(Op::Ld, 6, 5, 0), &[]),
    (|a| at(a, 2).amo(Op::AmoaddD, 6, 11, 5, 0), &[2]),
    (|a| at(a, 3).amo(Op::LrD, 6, 0, 5, 0).amo(Op::ScD, 7, 11, 5, 0), &[3]),
    (|a| at(a, 5).s(Op::Sb, 11, 5, -1).s(Op::Sh, 11, 5, 0), &[4, 5]),
    (|a| store(store(store(a, 1), 7), 1), &[1, 7]),
    (|a| store(a, 1000), &[1000]),
];

/// x5 is the start of a page behind [`DATA`].
pub fn at(a: &mut Asm, page: u64) -> &mut Asm {
    a.li(5, DATA + page * PAGE)
}

pub fn store(a: &mut Asm, page: u64) -> &mut Asm {
    at(a, page).s(Op::Sd, 11, 5, 0x7f8)
}

/// Runs the parts on hart 0 one after another, as one program; after each the log has just its pages, and what was
/// written from outside.
pub fn parts_are_logged(g: &mut Guest, name: &str, parts: &[Part], prepare: impl Fn(&mut accel::HartState)) {
    let mut a = Asm::at(CODE);
    for (part, _) in parts {
        part(&mut a);
        a.i(Op::Addi, 9, 9, 1).s(Op::Sd, 0, 31, 0);
        let wait = a.here();
        a.i(Op::Ld, 5, 12, 0).b(Op::Bltu, 5, 9, wait);
    }
    g.load(&a);
    g.write64(GO, 0);
    let mut state = g.supervisor(0, CODE);
    (state.x[9], state.x[10], state.x[11], state.x[12], state.x[31]) = (0, DATA, 0x55, GO, END);
    prepare(&mut state);
    g.harts[0].set_state(&state);
    g.vm.start_dirty_log().expect("a log");
    for (n, (_, pages)) in (1u64..).zip(parts) {
        finish(&mut g.harts[0]);
        // A write of a device.
        g.write64(GO, n);
        let mut expected: BTreeSet<u64> = pages.iter().map(|page| DATA + page * PAGE).collect();
        expected.insert(GO);
        let log = g.vm.take_dirty_log().expect("the log");
        assert_eq!(log.iter().collect::<BTreeSet<_>>(), expected, "{name}: part {n}");
        assert_eq!(log.count(), expected.len() as u64, "{name}: part {n}");
    }
    g.vm.stop_dirty_log().expect("the end of the log");
}

/// Pages that [`copies_are_complete`] works on.
const PAGES: u64 = 64;
/// Takings of the log while the harts write.
const ROUNDS: usize = 100;

/// Every hart writes all over the same pages, while they are copied as the log says: in the end the copy is exact.
pub fn copies_are_complete(g: &mut Guest, name: &str) {
    let mut a = Asm::at(CODE);
    let top = a.here();
    a.i(Op::Addi, 6, 6, 1);
    // The next page, by a generator that comes to all of them.
    a.i(Op::Slli, 7, 5, 2).r(Op::Add, 5, 5, 7).i(Op::Addi, 5, 5, 17).i(Op::Andi, 5, 5, PAGES as i32 - 1);
    a.i(Op::Slli, 7, 5, 12).r(Op::Add, 7, 7, 10);
    a.s(Op::Sd, 6, 7, 0).amo(Op::AmoaddD, 0, 6, 7, 0).s(Op::Sw, 6, 7, 0x100);
    a.i(Op::Ld, 8, 12, 0).b(Op::Beq, 8, 0, top);
    a.s(Op::Sd, 0, 31, 0);
    let here = a.here();
    a.j(0, here);
    g.load(&a);
    g.write64(GO, 0);
    let states: Vec<_> = (0..g.harts.len() as u32)
        .map(|id| {
            let mut s = g.supervisor(id, CODE);
            s.x[5] = u64::from(id) * 7;
            (s.x[10], s.x[12], s.x[31]) = (DATA + 8 * u64::from(id), GO, END + 8 * u64::from(id));
            s
        })
        .collect();
    for (hart, state) in g.harts.iter_mut().zip(&states) {
        hart.set_state(state);
    }
    let (vm, ram) = (g.vm.clone(), g.ram.clone());
    let mut copy = vec![0; (PAGES * PAGE) as usize];
    ram.read_slice(&mut copy, GuestAddress(DATA)).unwrap();
    vm.start_dirty_log().expect("a log");
    let mut seen = 0;
    let mut follow = |copy: &mut Vec<u8>| {
        for gpa in vm.take_dirty_log().expect("the log").iter() {
            if let Some(start) = gpa.checked_sub(DATA).filter(|offset| *offset < PAGES * PAGE) {
                let page = &mut copy[start as usize..(start + PAGE) as usize];
                ram.read_slice(page, GuestAddress(gpa)).unwrap();
                seen += 1;
            }
        }
    };
    // The first copy is of a moment of which the log knows nothing.
    ram.read_slice(&mut copy, GuestAddress(DATA)).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = g.harts.iter_mut().map(|hart| scope.spawn(move || finish(hart).pc)).collect();
        for _ in 0..ROUNDS {
            follow(&mut copy);
            std::thread::yield_now();
        }
        ram.write_obj(1u64, GuestAddress(GO)).unwrap();
        for thread in threads {
            thread.join().expect("a hart's thread");
        }
    });
    follow(&mut copy);
    vm.stop_dirty_log().expect("the end of the log");
    let mut last = vec![0; copy.len()];
    ram.read_slice(&mut last, GuestAddress(DATA)).unwrap();
    let wrong: Vec<_> = (0..PAGES as usize).filter(|n| copy[n * 4096..][..4096] != last[n * 4096..][..4096]).collect();
    assert!(wrong.is_empty(), "{name}: stores to pages {wrong:?} are not in the log");
    assert!(seen > 0, "{name}: nothing was written");
}
