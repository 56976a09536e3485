//! Physical memory protection as programs meet it: regions inside a page, accesses that leave a region, code, and
//! Smepmp's table.
//!
//! Privileged spec, "Physical Memory Protection", "Smepmp".

mod guest;

use arch::csr::{mseccfg, mstatus, pmpcfg};
use arch::ext::{Ext, IsaConfig};
use guest::*;

const DATA: u64 = RAM + 0x5_0000;

const TOR: u8 = pmpcfg::TOR << pmpcfg::A_SHIFT;
const NA4: u8 = pmpcfg::NA4 << pmpcfg::A_SHIFT;
const NAPOT: u8 = pmpcfg::NAPOT << pmpcfg::A_SHIFT;
const R: u8 = pmpcfg::R;
const W: u8 = pmpcfg::W;
const X: u8 = pmpcfg::X;
const L: u8 = pmpcfg::L;

/// `pmpaddr` of a naturally aligned region.
fn napot(base: u64, size: u64) -> u64 {
    base >> 2 | (size / 8 - 1)
}

/// Runs one instruction (and `ebreak` behind it) in M-mode with these entries, loads and stores with the privilege of
/// `mode`; returns `mcause` and `mtval`.
fn access(g: &mut Guest, entries: &[(u8, u64)], seccfg: u64, mode: u64, insn: impl Fn(&mut Asm)) -> (u64, u64) {
    g.stop_code(STOP);
    let mut a = Asm::at(CODE);
    insn(&mut a);
    let word = word(Op::Ebreak, 0, 0, 0, 0);
    a.word(word);
    g.load(&a);
    let mut s = g.machine(0, CODE, STOP);
    (s.csr.pmp.cfg, s.csr.pmp.addr) = ([0; 64], [0; 64]);
    for (i, &(cfg, addr)) in entries.iter().enumerate() {
        (s.csr.pmp.cfg[i], s.csr.pmp.addr[i]) = (cfg, addr);
    }
    s.csr.mseccfg = seccfg;
    s.csr.mstatus |= mstatus::MPRV | mode << mstatus::MPP_SHIFT;
    s.x[8] = DATA;
    let end = g.run(&s);
    (end.csr.mcause, end.csr.mtval)
}

const EVERYTHING: (u8, u64) = (NAPOT | R | W | X, pmpcfg::ADDR);

#[test]
fn regions_inside_a_page_are_exact_for_data() {
    // Entries, and which of the first 64 bytes of the page U-mode may read and write.
    type Case = (&'static [(u8, u64)], fn(u64) -> bool, fn(u64) -> bool);
    const CASES: [Case; 5] = [
        (&[(NA4 | R, (DATA + 16) >> 2), EVERYTHING], |_| true, |b| !(16..20).contains(&b)),
        (&[(NAPOT, (DATA + 24) >> 2), EVERYTHING], |b| !(24..32).contains(&b), |b| !(24..32).contains(&b)),
        (&[(0, (DATA + 8) >> 2), (TOR | R | W, (DATA + 36) >> 2)], |b| (8..36).contains(&b), |b| (8..36).contains(&b)),
        // A top below its bottom matches nothing; what counts is the entry behind.
        (&[(0, (DATA + 36) >> 2), (TOR, (DATA + 8) >> 2), (NAPOT | R, DATA >> 2 | 7)], |_| true, |_| false),
        // The first entry that matches decides.
        (
            &[(NA4 | R | W, DATA >> 2), (NAPOT, DATA >> 2 | 3), EVERYTHING],
            |b| !(4..32).contains(&b),
            |b| !(4..32).contains(&b),
        ),
    ];
    // Where a region begins or ends: an access with bytes on both sides fails whatever the two would allow.
    const EDGES: [&[u64]; 5] = [&[16, 20], &[24, 32], &[8, 36], &[], &[4, 32]];
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        for (n, ((entries, may_read, may_write), edges)) in CASES.iter().zip(EDGES).enumerate() {
            for (load, store, len) in [(Op::Lbu, Op::Sb, 1), (Op::Lw, Op::Sw, 4), (Op::Ld, Op::Sd, 8)] {
                for at in (0..56).step_by(if len == 1 { 3 } else { 2 }) {
                    let divided = edges.iter().any(|&e| at < e && e < at + len);
                    let all = |may: fn(u64) -> bool| !divided && (at..at + len).all(may);
                    let read = access(&mut g, entries, 0, 0, |a| {
                        a.i(load, 9, 8, at as i32);
                    });
                    let expected = if all(*may_read) { (3, CODE + 4) } else { (5, DATA + at) };
                    assert_eq!(read, expected, "{name}: case {n}, load of {len} at {at}");
                    let written = access(&mut g, entries, 0, 0, |a| {
                        a.s(store, 9, 8, at as i32);
                    });
                    let expected = if all(*may_write) { (3, CODE + 4) } else { (7, DATA + at) };
                    assert_eq!(written, expected, "{name}: case {n}, store of {len} at {at}");
                }
            }
        }
    }
}

#[test]
fn regions_inside_a_page_are_exact_for_code() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        // Eight instructions of four bytes, then the end.
        let mut a = Asm::at(DATA);
        for _ in 0..8 {
            a.i(Op::Addi, 10, 10, 1);
        }
        a.word(word(Op::Ecall, 0, 0, 0, 0));
        g.load(&a);
        // Not executable: nothing, the word at 16, half of the instruction at 12 (which a region of 4 bytes at 12 + 4
        // cannot cut, so by code that is two bytes off), the rest of the page.
        for (entries, start, end, done) in [
            (vec![EVERYTHING], DATA, (8, 0), 8),
            (vec![(NA4 | R, (DATA + 16) >> 2), EVERYTHING], DATA, (1, DATA + 16), 4),
            (vec![(TOR | R | X, (DATA + 20) >> 2)], DATA, (1, DATA + 20), 5),
            (vec![(0, (DATA + 8) >> 2), EVERYTHING], DATA, (8, 0), 8),
            (vec![(NAPOT | X, DATA >> 2 | 1), (NAPOT | R | W, pmpcfg::ADDR)], DATA, (1, DATA + 16), 4),
        ] {
            let (cause, tval) = enter_user(&mut g, &entries, start);
            assert_eq!((cause.0, cause.1, tval), (end.0, end.1, done), "{name} {entries:?}");
        }
        // An instruction whose second half may not be fetched: the fault is at that half.
        let mut a = Asm::at(DATA);
        a.half(1);
        for _ in 0..8 {
            a.i(Op::Addi, 10, 10, 1);
        }
        g.load(&a);
        let (end, done) = enter_user(&mut g, &[(NA4 | R, (DATA + 16) >> 2), EVERYTHING], DATA);
        assert_eq!((end, done), ((1, DATA + 16), 3), "{name}");
    }
}

/// Goes to U-mode at `pc`; returns `mcause` and `mtval`, and x10, which counts.
fn enter_user(g: &mut Guest, entries: &[(u8, u64)], pc: u64) -> ((u64, u64), u64) {
    g.stop_code(STOP);
    let mut s = g.machine(0, pc, STOP);
    (s.csr.pmp.cfg, s.csr.pmp.addr) = ([0; 64], [0; 64]);
    for (i, &(cfg, addr)) in entries.iter().enumerate() {
        (s.csr.pmp.cfg[i], s.csr.pmp.addr[i]) = (cfg, addr);
    }
    s.mode = accel::Mode::User;
    let end = g.run(&s);
    ((end.csr.mcause, end.csr.mtval), end.x[10])
}

/// Every entry of the table under `mseccfg.MML`, by real accesses.
#[test]
fn lockdown_by_the_table() {
    const TABLE: [(&str, &str); 16] = [
        ("", ""),
        ("", "x"),
        ("rw", "r"),
        ("rw", "rw"),
        ("", "r"),
        ("", "rx"),
        ("", "rw"),
        ("", "rwx"),
        ("", ""),
        ("x", ""),
        ("x", "x"),
        ("rx", "x"),
        ("r", ""),
        ("rx", ""),
        ("rw", ""),
        ("r", "r"),
    ];
    let mut isa = IsaConfig::default();
    isa.exts.insert(Ext::Smepmp);
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa.clone());
        for (n, (machine, other)) in TABLE.iter().enumerate() {
            let n = n as u8;
            let cfg = NAPOT
                | if n & 8 != 0 { L } else { 0 }
                | if n & 4 != 0 { R } else { 0 }
                | if n & 2 != 0 { W } else { 0 }
                | if n & 1 != 0 { X } else { 0 };
            // The program itself and the device that ends it; code of all modes shares a region.
            let entries = [
                (NAPOT | L | R | X, napot(RAM, 0x2_0000)),
                (NAPOT | L | R | W, napot(END, 0x1000)),
                (cfg, napot(DATA, 0x1000)),
            ];
            g.write(DATA, &word(Op::Ecall, 0, 0, 0, 0).to_le_bytes());
            for (mode, may) in [(3, machine), (0, other), (1, other)] {
                let load = access(&mut g, &entries, mseccfg::MML, mode, |a| {
                    a.i(Op::Lw, 9, 8, 8);
                });
                assert_eq!(load.0, if may.contains('r') { 3 } else { 5 }, "{name}: load, {n:04b} in {mode}");
                let store = access(&mut g, &entries, mseccfg::MML, mode, |a| {
                    a.s(Op::Sw, 9, 8, 8);
                });
                assert_eq!(store.0, if may.contains('w') { 3 } else { 7 }, "{name}: store, {n:04b} in {mode}");
            }
            // Code: a jump there in M-mode, a return there to U-mode.
            let jump = access(&mut g, &entries, mseccfg::MML, 3, |a| {
                a.i(Op::Jalr, 0, 8, 0);
            });
            assert_eq!(jump.0, if machine.contains('x') { 11 } else { 1 }, "{name}: jump, {n:04b}");
            let jump = access(&mut g, &entries, mseccfg::MML, 0, |a| {
                a.csrw(arch::csr::MEPC, 8).plain(Op::Mret);
            });
            assert_eq!(jump.0, if other.contains('x') { 8 } else { 1 }, "{name}: user, {n:04b}");
        }
    }
}

/// MMWP: M-mode has only what an entry gives it. Setting it takes effect on the next access.
#[test]
fn the_whitelist_policy_denies_what_no_entry_names() {
    let mut isa = IsaConfig::default();
    isa.exts.insert(Ext::Smepmp);
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa.clone());
        let entries = [(NAPOT | R | X, napot(RAM, 0x2_0000)), (NAPOT | R | W, napot(END, 0x1000))];
        let program = |bit: i32| {
            move |a: &mut Asm| {
                a.i(Op::Ld, 9, 8, 0).i(Op::Csrrsi, 0, bit as u8, i32::from(arch::csr::MSECCFG)).i(Op::Ld, 9, 8, 0);
            }
        };
        assert_eq!(access(&mut g, &entries, 0, 3, program(2)), (5, DATA), "{name}");
        assert_eq!(access(&mut g, &entries, 0, 3, program(4)).0, 3, "{name}");
    }
}
