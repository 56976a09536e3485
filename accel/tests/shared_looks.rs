//! Accesses by one register share a look at the TLB: what is different of a second page, of some bytes, or from one access
//! to the next, still counts for each of them. Every way to run does what the interpreter does.

mod guest;

use accel::{HartState, TriggerState};
use arch::csr::{mcontrol6, mstatus};
use arch::ext::Ext;
use arch::pte::{A, D, G, R, U, W};
use guest::*;

const TABLES: u64 = RAM + 0x10_0000;
/// Two pages; programs access both sides of the border between them.
const VA: u64 = 0x40_0000;
const BORDER: u64 = VA + 0x1000;
/// What they are mapped to, and what others are mapped to later: not in this order, so that no page's addend is good for
/// another one.
const FIRST: u64 = RAM + 0x5_0000;
const SECOND: u64 = RAM + 0x3_0000;
const THIRD: u64 = RAM + 0x7_0000;

/// Where programs stand: in a page that they write to.
const PROGRAM: u64 = CODE + 0x800;

const DATA: [u64; 3] = [FIRST, SECOND, THIRD];

/// A guest with the border mapped, the second page by `second` if it is, and the rest of RAM alike.
fn guest(options: accel::tcg::TcgOptions, first: u64, second: Option<u64>) -> (Guest, Paging) {
    let isa = isa_with(&[Ext::Sdtrig]);
    let g = Guest::with_isa(options, 1, isa);
    let mut p = Paging::new(TABLES);
    for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
        p.map(&g, pa, pa, RWX | G, 0);
    }
    let slot = p.map(&g, VA, FIRST, 0, 0);
    g.write64(slot, first);
    if let Some(second) = second {
        let slot = p.slot(&g, BORDER, 0);
        g.write64(slot, second);
    }
    let mut a = Asm::at(STOP);
    a.ecall();
    g.load(&a);
    for (n, page) in DATA.into_iter().enumerate() {
        (0..512).for_each(|i| g.write64(page + 8 * i, (n as u64 + 1) << 32 | i));
    }
    (g, p)
}

/// Rounds of `body` with the base in `r`, which moves on by 16 after each.
fn rounds(a: &mut Asm, r: u8, body: impl Fn(&mut Asm)) {
    // The tables were written to from outside.
    a.sfence(0, 0);
    let head = a.here();
    body(a);
    a.i(Op::Addi, 18, 18, 1).i(Op::Addi, r, r, 16).i(Op::Addi, 19, 19, -1).b(Op::Bne, 19, 0, head).ecall();
}

/// Runs the program in every mode, by a register that has a host register and one that has none, from the border for one
/// round and from before it for many; what the interpreter has at the end is expected of all.
fn same_everywhere(
    what: &str,
    (first, second): (u64, Option<u64>),
    prepare: impl Fn(&Guest, &Paging, &mut HartState),
    body: impl Fn(&mut Asm, u8),
) -> Vec<HartState> {
    let mut all = Vec::new();
    for (r, back, count) in [(8, 0, 1), (20, 0, 1), (8, 96, 12), (20, 96, 12), (8, 0xf00, 300)] {
        let mut expected = None;
        for (name, options) in modes() {
            let (mut g, p) = guest(options, first, second);
            let mut a = Asm::at(PROGRAM);
            rounds(&mut a, r, |a| body(a, r));
            g.load(&a);
            let mut s = g.paged(&p, PROGRAM);
            s.csr.mstatus |= mstatus::FS;
            for x in 10..18 {
                s.x[x] = 0x1111_1111_1111 * x as u64;
            }
            (s.x[usize::from(r)], s.x[19]) = (BORDER - back, count);
            // Twice: the second time everything is translated.
            prepare(&g, &p, &mut s);
            g.run(&s);
            prepare(&g, &p, &mut s);
            let end = g.run(&s);
            let memory: Vec<_> = DATA.iter().map(|&page| g.read(page, 4096)).collect();
            let got = (end.pc, end.x, end.f, end.csr.clone(), memory);
            match &expected {
                None => {
                    expected = Some(got);
                    all.push(end);
                }
                Some(e) => {
                    let what = format!("{what}, {name}, base x{r}, {back:#x} before the border");
                    assert_eq!((got.0, got.1, got.2), (e.0, e.1, e.2), "{what}");
                    assert!(got.3 == e.3, "{what}: {:?}\n{:?}", got.3, e.3);
                    assert!(got.4 == e.4, "{what}: memory differs");
                }
            }
        }
    }
    all
}

/// Loads and stores on both sides of where the base leads.
fn around(a: &mut Asm, r: u8) {
    a.s(Op::Sd, 11, r, -16).s(Op::Sw, 12, r, -8).i(Op::Ld, 13, r, -16).i(Op::Fld, 5, r, -8).i(Op::Lw, 14, r, 0);
    a.i(Op::Ld, 15, r, 8).s(Op::Fsd, 5, r, 0).s(Op::Sh, 17, r, 8).s(Op::Sd, 16, r, -4).i(Op::Ld, 10, r, -3);
}

#[test]
fn the_second_page_is_another_kind_of_page() {
    let kinds = [
        ("memory", Some(leaf(SECOND, RWX)), 0, 0),
        ("read-only", Some(leaf(SECOND, R | A)), 15, BORDER),
        ("not dirty", Some(leaf(SECOND, R | W | A)), 0, 0),
        ("a user's", Some(leaf(SECOND, R | W | U | A | D)), 13, BORDER),
        ("not mapped", None, 13, BORDER),
        ("no memory", Some(leaf(RAM + SIZE as u64, RWX)), 5, BORDER),
        ("a device", Some(leaf(ROM, RWX)), 0, 0),
        ("the page itself", Some(leaf(FIRST, RWX)), 0, 0),
        ("code", Some(leaf(CODE & !0xfff, RWX)), 0, 0),
    ];
    for (what, second, cause, at) in kinds {
        let ends = same_everywhere(what, (leaf(FIRST, RWX), second), |_, _, _| {}, around);
        if cause != 0 {
            assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (cause, at), "{what}");
            assert_eq!(ends[0].x[18], 0, "{what}");
        }
    }
}

/// The same with nothing between the stores, nor between the loads, the last of which is of their base.
fn in_rows(a: &mut Asm, r: u8) {
    a.s(Op::Sd, 11, r, -16).s(Op::Sw, 12, r, -8).s(Op::Sd, 0, r, 0).s(Op::Sh, 17, r, 8).s(Op::Sd, 16, r, -4);
    a.r(Op::Addw, 13, 13, 16).r(Op::Subw, 20 ^ r ^ 8, 11, 17);
    a.i(Op::Ld, 13, r, -16).i(Op::Lw, 14, r, 0).i(Op::Lbu, 15, r, 9).i(Op::Ld, 0, r, 8).i(Op::Ld, 10, r, -3);
    a.i(Op::Addi, 7, r, 0).i(Op::Lh, 17, r, 2).i(Op::Ld, 16, r, 8).i(Op::Ld, r, r, -8).i(Op::Addi, r, 7, 0);
}

#[test]
fn rows_of_accesses_reach_into_a_page_of_another_kind() {
    let kinds = [
        ("memory", Some(leaf(SECOND, RWX)), 0),
        ("read-only", Some(leaf(SECOND, R | A)), 15),
        ("not mapped", None, 15),
        ("a device", Some(leaf(ROM, RWX)), 0),
        ("the page itself", Some(leaf(FIRST, RWX)), 0),
        ("what follows in memory", Some(leaf(FIRST + 0x1000, RWX)), 0),
        ("the same that may only be read", Some(leaf(FIRST + 0x1000, R | A)), 15),
    ];
    for (what, second, cause) in kinds {
        let ends = same_everywhere(what, (leaf(FIRST, RWX), second), |_, _, _| {}, in_rows);
        if cause != 0 {
            assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (cause, BORDER), "{what}");
        }
    }
    // With loads alone the fault is one of theirs.
    let loads = |a: &mut Asm, r: u8| drop(a.i(Op::Ld, 13, r, -16).i(Op::Ld, 14, r, -8).i(Op::Lw, 15, r, 0));
    let ends = same_everywhere("loads", (leaf(FIRST, RWX), None), |_, _, _| {}, loads);
    assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (13, BORDER));
    assert_eq!((ends[0].x[13] >> 32, ends[0].x[14] >> 32), (1, 1));
}

#[test]
fn what_spans_the_border_goes_back_and_forth() {
    let pages = (leaf(FIRST, RWX), Some(leaf(SECOND, RWX)));
    same_everywhere(
        "back and forth",
        pages,
        |_, _, s| s.x[7] = 0x40,
        |a, r| {
            around(a, r);
            a.r(Op::Xor, r, r, 7);
        },
    );
}

#[test]
fn loads_do_not_look_for_stores() {
    let only_loads = (leaf(FIRST, R | A), Some(leaf(SECOND, R | A)));
    let ends = same_everywhere(
        "read-only",
        only_loads,
        |_, _, _| {},
        |a, r| {
            a.i(Op::Ld, 13, r, -16).i(Op::Ld, 14, r, -8).s(Op::Sd, 11, r, -16).s(Op::Sd, 12, r, -8);
        },
    );
    assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (15, BORDER - 16));
}

#[test]
fn some_bytes_of_a_page_are_protected_or_watched() {
    let pages = (leaf(FIRST, RWX), Some(leaf(SECOND, RWX)));
    let body = |a: &mut Asm, r: u8| {
        a.s(Op::Sd, 11, r, -32).s(Op::Sd, 12, r, -24).s(Op::Sd, 13, r, -16).s(Op::Sd, 14, r, -8).i(Op::Ld, 15, r, -32);
        a.i(Op::Ld, 16, r, -16).i(Op::Ld, 17, r, -8);
    };
    // Eight bytes that may only be read.
    let protect = |_: &Guest, _: &Paging, s: &mut HartState| {
        (s.csr.pmp.cfg[0], s.csr.pmp.addr[0]) = (0x19, (FIRST + 0xff0) >> 2);
        (s.csr.pmp.cfg[1], s.csr.pmp.addr[1]) = (0x1f, u64::MAX >> 10);
    };
    let ends = same_everywhere("protected", pages, protect, body);
    assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (7, BORDER - 16));
    let watch = |_: &Guest, _: &Paging, s: &mut HartState| {
        s.csr.medeleg |= 1 << 3;
        // Where the handler is S-mode's, nothing is stopped with interrupts off.
        s.csr.mstatus |= mstatus::SIE;
        let tdata1 = 6 << 60 | mcontrol6::S | mcontrol6::LOAD;
        s.csr.triggers[0] = TriggerState { tdata1, tdata2: BORDER - 16, tdata3: 0 };
    };
    let ends = same_everywhere("watched", pages, watch, body);
    assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (3, BORDER - 16));
}

/// Accesses to the first page, `change`, and the same accesses.
fn before_and_after(a: &mut Asm, r: u8, change: impl Fn(&mut Asm)) {
    a.i(Op::Addi, r, r, -0x700);
    a.i(Op::Ld, 10, r, 0).i(Op::Ld, 11, r, 8).s(Op::Sd, 10, r, 16).s(Op::Sd, 11, r, 24);
    change(a);
    a.i(Op::Ld, 12, r, 0).i(Op::Ld, 13, r, 8).s(Op::Sd, 12, r, 32).s(Op::Sd, 13, r, 40).i(Op::Addi, r, r, 0x700);
}

#[test]
fn what_addresses_mean_changes_between_accesses() {
    let mut pages = (leaf(FIRST, RWX), Some(leaf(SECOND, RWX)));
    // The first page leads elsewhere, and back in the next round: x7 is what its entry changes by.
    for (what, rs1) in [("all", 0), ("one address", 9)] {
        let prepare = |g: &Guest, p: &Paging, s: &mut HartState| {
            let mut p = Paging { root: p.root, next: p.next };
            let slot = p.slot(g, VA, 0);
            g.write64(slot, leaf(FIRST, RWX));
            (s.x[5], s.x[6], s.x[7], s.x[9]) = (leaf(FIRST, RWX), slot, leaf(FIRST, 0) ^ leaf(THIRD, 0), VA);
        };
        let ends = same_everywhere(what, pages, prepare, |a, r| {
            before_and_after(a, r, |a| {
                a.r(Op::Xor, 5, 5, 7).s(Op::Sd, 5, 6, 0);
                a.sfence(rs1, 0);
            });
        });
        assert_eq!((ends[0].x[10] >> 32, ends[0].x[12] >> 32), (1, 3), "{what}");
    }
    let prepare = |g: &Guest, p: &Paging, s: &mut HartState| {
        let mut q = Paging::new(TABLES + 0x4_0000);
        for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
            q.map(g, pa, pa, RWX | G, 0);
        }
        q.map(g, VA, THIRD, RWX, 0);
        q.map(g, BORDER, SECOND, RWX, 0);
        (s.x[6], s.x[7]) = (p.satp(1), p.satp(1) ^ q.satp(2));
    };
    let ends = same_everywhere("satp", pages, prepare, |a, r| {
        before_and_after(a, r, |a| drop(a.r(Op::Xor, 6, 6, 7).csrw(arch::csr::SATP, 6)));
    });
    assert_eq!((ends[0].x[10] >> 32, ends[0].x[12] >> 32), (1, 3));
    // Another page by the same register.
    let ends = same_everywhere(
        "the register",
        pages,
        |_, _, s| s.x[7] = 0x1000,
        |a, r| {
            before_and_after(a, r, |a| drop(a.r(Op::Add, r, r, 7)));
            a.r(Op::Sub, r, r, 7);
        },
    );
    assert_eq!((ends[0].x[10] >> 32, ends[0].x[12] >> 32), (1, 2));
    // Only while SUM is set.
    pages = (leaf(FIRST, R | W | U | A | D), Some(leaf(SECOND, R | W | U | A | D)));
    let ends = same_everywhere(
        "SUM",
        pages,
        |_, _, s| (s.x[7], s.csr.mstatus) = (1 << 18, s.csr.mstatus | 1 << 18),
        |a, r| {
            before_and_after(a, r, |a| drop(a.csrc(arch::csr::SSTATUS, 7)));
        },
    );
    assert_eq!((ends[0].csr.scause, ends[0].csr.stval), (13, BORDER - 0x700));
}

#[test]
fn machine_mode_accesses_as_another_mode() {
    for (name, options) in modes() {
        for base in [8, 20] {
            let (mut g, mut p) = guest(options.clone(), leaf(SECOND, RWX), None);
            p.map(&g, FIRST, THIRD, RWX, 0);
            g.stop_code(STOP);
            let mut a = Asm::at(PROGRAM);
            a.i(Op::Ld, 10, base, 0).i(Op::Ld, 11, base, 8).csrs(arch::csr::MSTATUS, 7);
            a.i(Op::Ld, 12, base, 0).i(Op::Ld, 13, base, 8).csrc(arch::csr::MSTATUS, 7);
            a.i(Op::Ld, 14, base, 0).i(Op::Ld, 15, base, 8).j(0, STOP);
            g.load(&a);
            let mut s = g.machine(0, PROGRAM, STOP);
            s.csr.satp = p.satp(0);
            s.csr.mstatus |= 1 << mstatus::MPP_SHIFT;
            (s.x[7], s.x[base as usize]) = (mstatus::MPRV, FIRST);
            let end = g.run(&s);
            let pages: Vec<u64> = end.x[10..16].iter().map(|v| v >> 32).collect();
            assert_eq!(pages, [1, 1, 3, 3, 1, 1], "{name}, base x{base}");
        }
    }
}

fn drop<T>(_: T) {}
