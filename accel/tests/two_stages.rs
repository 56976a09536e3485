//! Page-table entries of both stages of a guest's translation: encodings that are reserved, ranges (Svnapot), memory
//! types (Svpbmt), bits for software (Svrsw60t59b), and A and D set by hardware in either stage (Svadu).
//!
//! Privileged spec, "Virtual Address Translation Process", "Svnapot", "Svpbmt", "Svadu", "Svrsw60t59b", "Guest Physical
//! Address Translation".

mod guest;

use accel::{HartState, Mode};
use arch::csr::{envcfg, hstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::pte::{A, D, G, N, PBMT_SHIFT, R, RSW, U, V, W, X};
use guest::hyper::*;
use guest::*;

const ECALL_VS: u64 = 10;
const ENTRY_READ: u64 = 0x3000;
const ENTRY_WRITE: u64 = 0x3020;
/// A guest virtual address and the guest physical one behind it, both in tables of their own.
const AT: u64 = 0x1_4000_0000;
const GPA: u64 = 0x1_8000_0000;
/// Where that is.
const PAGE: u64 = RAM + 0x40_0000;

fn model(more: &[Ext]) -> IsaConfig {
    let isa = hyper::isa();
    let all = ExtSet::of(&[Ext::Svnapot, Ext::Svpbmt, Ext::Svadu]).union(&ExtSet::of(more));
    let mut exts = isa.exts.union(&all).closure();
    if more.is_empty() {
        exts.remove(Ext::Svrsw60t59b);
    }
    IsaConfig { exts, ..isa }
}

/// A guest with AT mapped to GPA and that to PAGE, and the addresses of both entries.
fn world(g: &Guest, program: impl Fn(&mut Asm)) -> (HartState, Stages, [u64; 2]) {
    let (mut s, mut st) = in_guest(g, program);
    let first = st.vs_map(g, AT, GPA, RWX);
    let second = st.g.map(g, GPA, PAGE, RWX | U, 0);
    s.x[8] = AT + 0x18;
    (s, st, [first, second])
}

fn pbmt(kind: u64) -> u64 {
    kind << PBMT_SHIFT
}

/// PPN bits that make an entry with N set a range of 64 KiB.
const RANGE: u64 = 8 << 10;

#[test]
fn reserved_encodings_of_leaves() {
    let (m, h) = (envcfg::PBMTE, envcfg::PBMTE << 1);
    // Bits of the entry, PBMTE of menvcfg and henvcfg, and whether the entry is good in the first and second stage.
    let mut cases: Vec<(u64, u64, bool, bool)> = vec![(0, m, true, true)];
    cases.extend((54..59).map(|bit| (1 << bit, m | h, false, false)));
    for kind in [1, 2] {
        cases.push((pbmt(kind), 0, false, false));
        cases.push((pbmt(kind), h, false, false));
        cases.push((pbmt(kind), m, false, true));
        cases.push((pbmt(kind), m | h, true, true));
    }
    cases.push((pbmt(3), m | h, false, false));
    cases.push((N | RANGE, 0, true, true));
    cases.push((N | RANGE | pbmt(1), m | h, true, true));
    cases.extend((0..16).filter(|n| *n != 8).map(|n| (N | n << 10, m | h, false, false)));
    for with_software_bits in [false, true] {
        let extra = [Ext::Svrsw60t59b];
        let isa = model(if with_software_bits { &extra } else { &[] });
        let bits = [1 << 59, 1 << 60, 3 << 59].map(|b| (b, m | h, with_software_bits, with_software_bits));
        for (name, options) in modes().into_iter().take(3) {
            let mut g = guest_of(options, isa.clone());
            let (s, _, slots) = world(&g, |a| drop(a.i(Op::Ld, 10, 8, 0).ecall()));
            g.write64(PAGE + 0x18, 77);
            let good = slots.map(|slot| g.read64(slot));
            for (bits, pbmte, first, second) in cases.iter().chain(&bits).copied() {
                for (stage, fine) in [(0, first), (1, second)] {
                    g.write64(slots[0], good[0]);
                    g.write64(slots[1], good[1]);
                    g.write64(slots[stage], good[stage] | bits);
                    let mut s = s.clone();
                    s.csr.menvcfg = s.csr.menvcfg & !envcfg::PBMTE | pbmte & envcfg::PBMTE;
                    s.csr.henvcfg = pbmte >> 1 & envcfg::PBMTE;
                    let end = g.run(&s);
                    let seen = (end.csr.scause, end.csr.stval, end.csr.htval);
                    let expected = match (fine, stage) {
                        (true, _) => (ECALL_VS, 0, 0),
                        (_, 0) => (13, AT + 0x18, 0),
                        _ => (21, AT + 0x18, (GPA + 0x18) >> 2),
                    };
                    assert_eq!(seen, expected, "{name} stage {stage} {bits:#x} {pbmte:#x}");
                    assert_eq!(end.x[10] == 77, fine, "{name} stage {stage} {bits:#x}");
                }
            }
        }
    }
}

#[test]
fn reserved_encodings_of_pointers_and_large_pages() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model(&[]));
        let (mut s, mut st, slots) = world(&g, |a| drop(a.i(Op::Ld, 10, 8, 0).ecall()));
        s.csr.menvcfg |= envcfg::PBMTE;
        s.csr.henvcfg |= envcfg::PBMTE;
        let pointers = [st.vs_slot(&g, AT, 1), st.g.slot(&g, GPA, 1)];
        let good = pointers.map(|slot| g.read64(slot));
        for (stage, cause, htval) in [(0, 13, 0), (1, 21, (GPA + 0x18) >> 2)] {
            let mut check = |what: &str, entry: u64, fine: bool| {
                g.write64(pointers[stage], entry);
                let end = g.run(&s);
                let expected = if fine { (ECALL_VS, 0) } else { (cause, htval) };
                assert_eq!((end.csr.scause, end.csr.htval), expected, "{name} stage {stage}: {what} {entry:#x}");
                g.write64(pointers[stage], good[stage]);
            };
            // A and D, U, memory types and N are for leaves; G may stand anywhere, and so may bits for software.
            for (bits, fine) in [
                (G, true),
                (RSW, true),
                (A, false),
                (D, false),
                (U, false),
                (N, false),
                (pbmt(1), false),
                (1 << 54, false),
                (1 << 58, false),
                (1 << 60, false),
            ] {
                check("pointer", good[stage] | bits, fine);
            }
            // Write without read, whatever X is; no such thing as a pointer behind the last level is below.
            let user = if stage == 1 { U } else { 0 };
            let leaf = |base: u64, flags: u64| leaf(base, flags | A | D | user);
            let base = if stage == 0 { GPA } else { PAGE };
            for flags in [W, W | X] {
                check("permissions", leaf(base, flags), false);
            }
            check("misaligned", leaf(base + 0x1000, RWX), false);
            check("range of large pages", leaf(base, RWX) | N, false);
            check("not valid", leaf(base, RWX) & !V, false);
            check("large page", leaf(base, RWX), true);
        }
        // A pointer at the last level.
        for (stage, cause) in [(0, 13), (1, 21)] {
            let old = g.read64(slots[stage]);
            g.write64(slots[stage], old & !(RWX | U));
            assert_eq!(g.run(&s).csr.scause, cause, "{name} {stage}");
            g.write64(slots[stage], old);
        }
    }
}

/// A reserved encoding in the second stage, under an entry of the first.
#[test]
fn the_guests_tables_stand_on_good_entries_too() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model(&[]));
        let (s, mut st, slots) = world(&g, |a| drop(a.i(Op::Ld, 10, 8, 0).ecall()));
        let gpa = slots[0] - RAM;
        for bits in [1 << 54, 1 << 58, 1 << 60, pbmt(3), N] {
            let slot = st.g_map(&g, gpa, slots[0] & !0xfff, RWX | U);
            let entry = g.read64(slot);
            g.write64(slot, entry | bits);
            let end = g.run(&s);
            let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
            assert_eq!(seen, (21, AT + 0x18, gpa >> 2, ENTRY_READ), "{name} {bits:#x}");
            g.write64(slot, entry);
        }
    }
}

#[test]
fn ranges_in_either_stage() {
    for (name, options) in modes() {
        for (first, second) in [(true, false), (false, true), (true, true)] {
            let mut g = guest_of(options.clone(), model(&[]));
            let (mut s, mut st, _) = world(&g, |a| drop(a.i(Op::Ld, 10, 8, 0).i(Op::Ld, 11, 9, 0).ecall()));
            for i in 0..16 {
                g.write64(PAGE + 0x1000 * i, 100 + i);
                let (page, range) = (0x1000 * i, N | RANGE);
                let slot = st.vs_map(&g, AT + page, GPA + page, RWX);
                if first {
                    g.write64(slot, leaf(GPA, RWX) | range);
                }
                let slot = st.g.map(&g, GPA + page, PAGE + page, RWX | U, 0);
                if second {
                    g.write64(slot, leaf(PAGE, RWX | U) | range);
                }
            }
            (s.x[8], s.x[9]) = (AT + 0x5000, AT + 0xf000);
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.x[10], end.x[11]), (ECALL_VS, 105, 115), "{name} {first} {second}");
        }
    }
}

/// What the specification says of an access, from the bits of the entries and who may set them: cause, `htval` is that
/// of the guest's table, `htinst` (1: the instruction), and the entries afterwards.
fn expected(store: bool, adue: (bool, bool), first: u64, table: u64, second: u64) -> (u64, bool, u64, [u64; 3]) {
    let (by_second, by_first) = adue;
    let guest_fault = if store { 23 } else { 21 };
    let own_fault = if store { 15 } else { 13 };
    let (mut first, mut table, mut second) = (first, table, second);
    // The entry of the first stage is read through the second.
    if table & A == 0 && !by_second {
        return (guest_fault, true, ENTRY_READ, [first, table, second]);
    }
    table |= A;
    let needed = if store { A | D } else { A };
    if first & needed != needed {
        if !by_first {
            return (own_fault, false, 1, [first, table, second]);
        }
        // It is written, which is a store for the second stage.
        table |= D;
        first |= needed;
    }
    if second & needed != needed {
        if !by_second {
            return (guest_fault, false, 1, [first, table, second]);
        }
        second |= needed;
    }
    (ECALL_VS, false, 0, [first, table, second])
}

#[test]
fn accessed_and_dirty_in_both_stages() {
    let states = [0, A, A | D];
    for (name, options) in modes().into_iter().take(3) {
        for store in [false, true] {
            let mut g = guest_of(options.clone(), model(&[Ext::Svrsw60t59b]));
            let (s, mut st, slots) = world(&g, |a| {
                if store {
                    a.s(Op::Sd, 9, 8, 0)
                } else {
                    a.i(Op::Ld, 10, 8, 0)
                };
                a.ecall();
            });
            let table = st.g_map(&g, slots[0] - RAM, slots[0] & !0xfff, RWX | U);
            let places = [slots[0], table, slots[1]];
            // Bits for software are left alone.
            let keep = RSW | 3 << 59;
            let good = places.map(|slot| g.read64(slot) & !(A | D) | keep);
            for (m, h) in [(false, false), (false, true), (true, false), (true, true)] {
                for n in 0..27 {
                    let bits = [states[n / 9], states[n / 3 % 3], states[n % 3]];
                    (0..3).for_each(|i| g.write64(places[i], good[i] | bits[i]));
                    let mut s = s.clone();
                    let adue = |on: bool| if on { envcfg::ADUE } else { 0 };
                    s.csr.menvcfg = s.csr.menvcfg & !envcfg::ADUE | adue(m);
                    s.csr.henvcfg = adue(h);
                    let end = g.run(&s);
                    let (cause, of_table, htinst, after) = expected(store, (m, m && h), bits[0], bits[1], bits[2]);
                    let at = format!("{name} {store} {m} {h} {bits:x?}");
                    assert_eq!(end.csr.scause, cause, "{at}");
                    let htval = match cause {
                        21 | 23 if of_table => (slots[0] - RAM) >> 2,
                        21 | 23 => (GPA + 0x18) >> 2,
                        _ => 0,
                    };
                    assert_eq!(end.csr.htval, htval, "{at}");
                    if htinst != 1 {
                        assert_eq!(end.csr.htinst, htinst, "{at}");
                    }
                    let seen: Vec<_> = (0..3).map(|i| g.read64(places[i]) ^ good[i]).collect();
                    assert_eq!(seen, after, "{at}");
                }
            }
        }
    }
}

/// The guest's table may be read and not written: setting a bit there faults as the access that needs it.
#[test]
fn a_table_that_may_not_be_written() {
    for (name, options) in modes().into_iter().take(3) {
        for (op, cause) in [(Op::Ld, 21), (Op::Sd, 23), (Op::Jalr, 20)] {
            let mut g = guest_of(options.clone(), model(&[]));
            let (mut s, mut st, slots) = world(&g, |a| {
                if op == Op::Sd {
                    a.s(op, 9, 8, 0)
                } else {
                    a.i(op, 0, 8, 0)
                };
                a.ecall();
            });
            s.csr.henvcfg |= envcfg::ADUE;
            let entry = g.read64(slots[0]) & !(A | D);
            g.write64(slots[0], entry);
            st.g_map(&g, slots[0] - RAM, slots[0] & !0xfff, R | A | D | U);
            let end = g.run(&s);
            let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
            assert_eq!(seen, (cause, AT + 0x18, (slots[0] - RAM) >> 2, ENTRY_WRITE), "{name} {op:?}");
            assert_eq!(g.read64(slots[0]), entry, "{name} {op:?}");
        }
    }
}

/// One hart accesses a guest's page, which sets A and D in both stages, and clears them; another changes the bits for
/// software of the same entries. No change of either is lost.
#[test]
fn no_change_of_an_entry_is_lost() {
    const ROUNDS: u64 = 300;
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 2, model(&[]));
        let (mut s, _, slots) = world(&g, |_| {});
        // HSV walks both tables each time. x9 and x16 are the entries, x11 counts what was not set.
        let mut a = Asm::at(CODE);
        let again = a.here();
        a.r(Op::HsvD, 0, 8, 13);
        for entry in [9, 16] {
            a.amo(Op::AmoandD, 10, 14, entry, 0).i(Op::Andi, 10, 10, (A | D) as i32);
            let fine = a.forward(Op::Beq, 10, 12);
            a.i(Op::Addi, 11, 11, 1);
            a.bind(fine);
        }
        a.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, again).ecall();
        g.load(&a);
        let mut b = Asm::at(CODE + 0x1000);
        let again = b.here();
        for entry in [9, 16] {
            b.amo(Op::AmoxorD, 10, 12, entry, 0).amo(Op::AmoxorD, 11, 12, entry, 0);
            b.r(Op::Xor, 10, 10, 11).r(Op::And, 10, 10, 12);
            let fine = b.forward(Op::Beq, 10, 12);
            b.i(Op::Addi, 15, 15, 1);
            b.bind(fine);
        }
        b.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, again).ecall();
        g.load(&b);
        (s.virt, s.mode) = (false, Mode::Supervisor);
        s.csr.hstatus |= hstatus::SPVP;
        s.csr.menvcfg |= envcfg::ADUE;
        s.csr.henvcfg |= envcfg::ADUE;
        (s.x[9], s.x[16], s.x[13]) = (slots[0], slots[1], ROUNDS);
        (s.x[12], s.x[14]) = (A | D, !(A | D));
        let mut t = g.supervisor(1, CODE + 0x1000);
        (t.x[9], t.x[16], t.x[12], t.x[13]) = (slots[0], slots[1], 1 << 8, 4 * ROUNDS);
        let end = g.run_all(&[s, t]);
        assert_eq!((end[0].x[11], end[1].x[15], end[0].csr.scause), (0, 0, 0), "{name}");
    }
}

fn drop<T>(_: T) {}

/// What a hypervisor changes between two visits of its guest counts at the second, without a fence.
#[test]
fn changes_between_visits_count_at_once() {
    use arch::csr::{HENVCFG, SSTATUS, VSSTATUS, mstatus};
    let good = RWX;
    let execute_only = X | A | D;
    // Register and bit; flags of the page in either stage; what a load raises where the bit is clear.
    for (register, bit, first, second, cause) in [
        (VSSTATUS, mstatus::SUM, good | U, good | U, 13),
        (VSSTATUS, mstatus::MXR, execute_only, good | U, 13),
        (SSTATUS, mstatus::MXR, execute_only, good | U, 13),
        (SSTATUS, mstatus::MXR, good, execute_only | U, 21),
        (HENVCFG, envcfg::SSE, W | A | D, good | U, 13),
    ] {
        for (name, options) in modes() {
            let mut g = guest_of(options, model(&[Ext::Zicfiss]));
            let (mut s, _, slots) = world(&g, |a| drop(a.i(Op::Ld, 10, 8, 0).ecall()));
            g.write64(PAGE + 0x18, 77);
            g.write64(slots[0], leaf(GPA, first));
            g.write64(slots[1], leaf(PAGE, second));
            let mut a = Asm::at(RAM + 0x2_0000);
            for turn in 0..3 {
                a.i(Op::Addi, 10, 0, 0);
                visit_guest(&mut a);
                a.r(Op::Add, 20 + turn, 10, 0).csrr(24 + turn, arch::csr::SCAUSE);
                // Off after the first visit, on after the second.
                if turn == 0 {
                    a.csrc(register, 9)
                } else {
                    a.csrs(register, 9)
                };
            }
            a.ecall();
            g.load(&a);
            (s.virt, s.pc, s.x[9]) = (false, RAM + 0x2_0000, bit);
            s.csr.menvcfg |= envcfg::SSE;
            match register {
                VSSTATUS => s.csr.vsstatus |= bit,
                SSTATUS => s.csr.mstatus |= bit,
                _ => s.csr.henvcfg |= bit,
            }
            let end = g.run(&s);
            let at = format!("{name} {register:#x} {bit:#x}");
            assert_eq!(end.x[20..23], [77, 0, 77], "{at}");
            assert_eq!(end.x[24..27], [ECALL_VS, cause, ECALL_VS], "{at}");
        }
    }
}

/// A store across pages that cannot be done as a whole leaves A and D of both pages as they were: one of the guest,
/// and one that the hypervisor makes for it.
#[test]
fn a_crossing_store_that_faults_makes_nothing_dirty() {
    const OUT: u64 = 0x1_c000_0000;
    for (name, options) in modes() {
        for by_hypervisor in [false, true] {
            for missing in [None, Some(GPA + 0x1000), Some(OUT)] {
                let mut g = guest_of(options.clone(), model(&[]));
                let (mut s, mut st, slots) = world(&g, |a| {
                    if by_hypervisor {
                        a.r(Op::HsvD, 0, 8, 9)
                    } else {
                        a.s(Op::Sd, 9, 8, 0)
                    };
                    a.ecall();
                });
                s.csr.henvcfg |= envcfg::ADUE;
                s.x[8] = AT + 0xffc;
                // The second page is missing in the first stage, in the second one, or there.
                let next = st.vs_map(&g, AT + 0x1000, missing.unwrap_or(0), if missing.is_some() { RWX } else { 0 });
                if missing.is_none() {
                    g.write64(next, 0);
                }
                let clean = slots.map(|slot| g.read64(slot) & !(A | D));
                (0..2).for_each(|i| g.write64(slots[i], clean[i]));
                (s.virt, s.csr.hstatus) = (!by_hypervisor, s.csr.hstatus | hstatus::SPVP);
                let end = g.run(&s);
                let at = format!("{name} {by_hypervisor} {missing:x?}");
                assert_eq!((end.csr.scause, end.csr.stval), (missing.map_or(15, |_| 23), AT + 0x1000), "{at}");
                assert_eq!(slots.map(|slot| g.read64(slot)), clean, "{at}");
                // Where it can be done both pages are dirty.
                st.vs_map(&g, AT + 0x1000, GPA + 0x1000, RWX & !(A | D));
                let last = st.g.map(&g, GPA + 0x1000, PAGE + 0x1000, (RWX | U) & !(A | D), 0);
                g.run(&s);
                for slot in slots.into_iter().chain([next, last]) {
                    assert_eq!(g.read64(slot) & (A | D), A | D, "{at}");
                }
            }
        }
    }
}
