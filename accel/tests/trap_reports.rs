//! What a trap out of a guest reports, and which of several exceptions it is: `htinst` of every kind of access, the
//! addresses of misaligned ones, GVA, and the order of exceptions.
//!
//! Privileged spec, "Transformed Instruction or Pseudoinstruction for `mtinst` or `htinst`", "Synchronous exception
//! priority"; debug spec, "Priority".

mod guest;

use accel::{HartState, TriggerState};
use arch::csr::{hstatus, mcontrol6, mip, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::pte::{A, D, R, U};
use guest::hyper::*;
use guest::*;

/// Guest physical addresses that nothing is behind.
const OUT: u64 = 0x1_0000_0000;
const NEXT: u64 = VA + 0x1000;
const ECALL_VS: u64 = 10;
const BREAKPOINT: u64 = 3;

fn model() -> IsaConfig {
    let isa = hyper::isa();
    let more = ExtSet::of(&[
        Ext::Zcb,
        Ext::Zfhmin,
        Ext::Zabha,
        Ext::Zacas,
        Ext::Zalasr,
        Ext::Zicbom,
        Ext::Zicboz,
        Ext::V,
        Ext::Sdtrig,
    ]);
    IsaConfig { exts: isa.exts.union(&more).closure(), vlen: 128, ..isa }
}

fn drop<T>(_: T) {}

/// A guest about to run `program`, with everything switched on; x8, x9 and x2 are VA.
fn world(g: &Guest, program: impl Fn(&mut Asm)) -> (HartState, Stages) {
    let (mut s, st) = in_guest(g, |a| {
        program(a);
        a.ecall();
    });
    let all = mstatus::FS | mstatus::VS;
    s.csr.mstatus |= all;
    s.csr.vsstatus |= all;
    s.csr.henvcfg = s.csr.menvcfg;
    (s.csr.vl, s.csr.vtype) = (4, E32);
    (s.x[8], s.x[9], s.x[2]) = (VA, VA, VA);
    (s, st)
}

/// Every load and store: its encoding, whether it faults as a load, and what `htinst` shows of it.
fn accesses() -> Vec<(u32, bool, u64)> {
    use Op::*;
    let mut all = Vec::new();
    let (load_kept, store_kept, atomic_dropped) = (0x7fff, 0x01f0_707f, 31 << 15);
    for op in [Lb, Lbu, Lh, Lhu, Lw, Lwu, Ld, Flh, Flw, Fld] {
        let insn = word(op, 12, 8, 0, 0x10);
        all.push((insn, true, u64::from(insn & load_kept)));
    }
    for op in [Sb, Sh, Sw, Sd, Fsh, Fsw, Fsd] {
        let insn = word(op, 0, 8, 12, 0x10);
        all.push((insn, false, u64::from(insn & store_kept)));
    }
    // The compressed ones are those that they stand for, with bit 1 clear.
    let compressed = [
        (0x4010, Lw),
        (0x6010, Ld),
        (0x2010, Fld),
        (0x4602, Lw),
        (0x6602, Ld),
        (0x2602, Fld),
        (0x8010, Lbu),
        (0x8410, Lhu),
        (0x8450, Lh),
        (0xc010, Sw),
        (0xe010, Sd),
        (0xa010, Fsd),
        (0xc032, Sw),
        (0xe032, Sd),
        (0xa032, Fsd),
        (0x8810, Sb),
        (0x8c10, Sh),
    ];
    for (n, (half, op)) in compressed.into_iter().enumerate() {
        let insn = if n < 9 { word(op, 12, 8, 0, 0) & load_kept } else { word(op, 0, 8, 12, 0) & store_kept };
        all.push((half, n < 9, u64::from(insn & !2)));
    }
    for (op, load) in [
        (LrW, true),
        (LrD, true),
        (AmoswapW, false),
        (AmoaddD, false),
        (AmomaxuW, false),
        (AmoaddB, false),
        (AmoorH, false),
        (AmocasW, false),
        (AmocasD, false),
    ] {
        let insn = word(op, 12, 9, if load { 0 } else { 13 }, 0) | 3 << 25;
        all.push((insn, load, u64::from(insn & !atomic_dropped)));
    }
    let insn = word(AmocasQ, 12, 9, 14, 0);
    all.push((insn, false, u64::from(insn & !atomic_dropped)));
    // No transformation is defined for these.
    for (insn, load) in [
        (word(LdAq, 12, 9, 0, 0), true),
        (word(SdRl, 0, 9, 12, 0), false),
        (word(CboZero, 0, 9, 0, 0), false),
        (word(CboFlush, 0, 9, 0, 0), false),
        (0x0204_e407, true),
        (0x0204_e427, false),
        (0x2284_e407, true),
    ] {
        all.push((insn, load, 0));
    }
    all
}

#[test]
fn every_access_shows_its_transformation() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        for (insn, load, shown) in accesses() {
            let emit = |a: &mut Asm| drop(if insn & 3 == 3 { a.word(insn) } else { a.half(insn as u16) });
            let (mut s, mut st) = world(&g, emit);
            st.vs_map(&g, VA, OUT, RWX);
            let cause = if load { 21 } else { 23 };
            for delegated in [true, false] {
                s.csr.medeleg |= 1 << cause;
                if !delegated {
                    s.csr.medeleg &= !(1 << cause);
                }
                let end = g.run(&s);
                let c = &end.csr;
                let (seen, tval, tval2, tinst, gva) = if delegated {
                    (c.scause, c.stval, c.htval, c.htinst, c.hstatus & hstatus::GVA != 0)
                } else {
                    (c.mcause, c.mtval, c.mtval2, c.mtinst, c.mstatus & mstatus::GVA != 0)
                };
                let at = format!("{name} {insn:#x} {delegated}");
                assert_eq!((seen, tval & !0x10, gva), (cause, VA, true), "{at}");
                assert_eq!((tval2, tinst), ((OUT + tval - VA) >> 2, shown), "{at}");
            }
        }
    }
}

/// An access across pages faults where its first byte of the second page is; `htinst` shows how far that is.
#[test]
fn misaligned_accesses_show_the_distance() {
    use Op::*;
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        for (op, size, load) in [
            (Lh, 2, true),
            (Lwu, 4, true),
            (Ld, 8, true),
            (Fld, 8, true),
            (Sh, 2, false),
            (Sw, 4, false),
            (Fsd, 8, false),
        ] {
            for distance in 1..size {
                let insn = if load { word(op, 12, 8, 0, 0x10) } else { word(op, 0, 8, 12, 0x10) };
                // The base is made just before, so that it may be in a host register alone.
                let (mut s, mut st) = world(&g, |a| {
                    a.word(word(Addi, 8, 8, 0, 0x20));
                    a.word(insn);
                });
                s.x[8] = NEXT - distance - 0x30;
                let kept = if load { 0x7fff } else { 0x01f0_707f };
                let shown = |distance: u64| u64::from(insn & kept) | distance << 15;
                let cause = if load { 21 } else { 23 };
                // The second page alone; both; the first alone.
                for (first, second, fault, distance) in [
                    (PAGE_A - RAM, OUT, NEXT, distance),
                    (OUT, OUT + 0x1000, NEXT - distance, 0),
                    (OUT, PAGE_B - RAM, NEXT - distance, 0),
                ] {
                    st.vs_map(&g, VA, first, RWX);
                    st.vs_map(&g, NEXT, second, RWX);
                    let end = g.run(&s);
                    let gpa = if fault == NEXT { second } else { OUT + (fault & 0xfff) };
                    let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
                    assert_eq!(seen, (cause, fault, gpa >> 2, shown(distance)), "{name} {op:?} {distance}");
                }
                // The guest's own fault is told in the same words, but for the guest physical address.
                let slot = st.vs_map(&g, NEXT, 0, 0);
                g.write64(slot, 0);
                st.vs_map(&g, VA, PAGE_A - RAM, RWX);
                let end = g.run(&s);
                assert_eq!((end.csr.scause, end.csr.stval), (if load { 13 } else { 15 }, NEXT), "{name} {op:?}");
                assert_eq!((end.csr.htval, end.csr.htinst), (0, shown(distance)), "{name} {op:?}");
            }
        }
    }
}

#[test]
fn accesses_for_a_guest_show_theirs() {
    use Op::*;
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        for op in [HlvB, HlvBu, HlvH, HlvHu, HlvW, HlvWu, HlvD, HlvxHu, HlvxWu, HsvB, HsvH, HsvW, HsvD] {
            let load = !matches!(op, HsvB | HsvH | HsvW | HsvD);
            let insn = if load { word(op, 12, 8, 0, 0) } else { word(op, 0, 8, 12, 0) };
            let wide = matches!(op, HlvW | HlvWu | HlvD | HlvxWu | HsvW | HsvD);
            for distance in if wide { vec![0, 1, 3] } else { vec![0] } {
                let (mut s, mut st) = world(&g, |a| drop(a.word(insn)));
                st.vs_map(&g, NEXT, OUT, RWX);
                (s.virt, s.x[8]) = (false, NEXT - distance);
                s.csr.hstatus |= hstatus::SPVP;
                let end = g.run(&s);
                let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
                let shown = u64::from(insn & !(31 << 15)) | distance << 15;
                assert_eq!(seen, (if load { 21 } else { 23 }, NEXT, OUT >> 2, shown), "{name} {op:?} {distance}");
                // The trap is HS-mode's own; the address is a guest's.
                let status = end.csr.hstatus & (hstatus::SPV | hstatus::GVA | hstatus::SPVP);
                assert_eq!(status, hstatus::GVA | hstatus::SPVP, "{name} {op:?}");
            }
        }
    }
}

/// Operations on cache blocks report the address in rs1, and the guest physical one that belongs to it.
#[test]
fn cache_blocks_report_the_address_that_was_named() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        for op in [Op::CboZero, Op::CboClean, Op::CboFlush, Op::CboInval] {
            for offset in [0, 0x25, 0x7ff, 0xfff] {
                let (mut s, mut st) = world(&g, |a| drop(a.i(op, 0, 8, 0)));
                s.x[8] = VA + offset;
                st.vs_map(&g, VA, OUT, RWX);
                let end = g.run(&s);
                let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
                assert_eq!(seen, (23, VA + offset, (OUT + offset) >> 2, 0), "{name} {op:?} {offset:#x}");
                // The guest's table is out of reach: its address is not changed.
                let slot = st.vs_slot(&g, VA + (5 << 30), 2);
                g.write64(slot, OUT >> 2 | 1);
                s.x[8] = VA + (5 << 30) + offset;
                let end = g.run(&s);
                let table = OUT + 8 * arch::pte::index(s.x[8], 1);
                let seen = (end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst);
                assert_eq!(seen, (23, s.x[8], table >> 2, 0x3000), "{name} {op:?} {offset:#x}");
            }
        }
    }
}

/// What has no address of a guest has neither GVA nor anything in `htval` and `htinst`.
#[test]
fn other_traps_show_nothing() {
    type Setup = fn(&Guest, &mut Stages, &mut HartState);
    let nothing: Setup = |_, _, _| {};
    let illegal = word(Op::Csrrs, 5, 0, 0, 0x300);
    let hfence = word(Op::HfenceGvma, 0, 0, 0, 0);
    // Instruction, cause, stval, GVA, htval.
    let cases: [(&str, u32, Setup, u64, u64, bool, u64); 9] = [
        ("illegal", illegal, nothing, 2, illegal as u64, false, 0),
        ("virtual", hfence, nothing, 22, hfence as u64, false, 0),
        ("ecall", word(Op::Ecall, 0, 0, 0, 0), nothing, ECALL_VS, 0, false, 0),
        ("ebreak", word(Op::Ebreak, 0, 0, 0, 0), nothing, BREAKPOINT, CODE, true, 0),
        ("c.ebreak", 0x9002, nothing, BREAKPOINT, CODE, true, 0),
        ("fetch", word(Op::Jalr, 0, 8, 0, 0), |g, st, _| drop(st.vs_map(g, VA, PAGE_A - RAM, R | A)), 12, VA, true, 0),
        (
            "fetch, second stage",
            word(Op::Jalr, 0, 8, 0, 0x24),
            |g, st, _| drop(st.vs_map(g, VA, OUT, RWX)),
            20,
            VA + 0x24,
            true,
            (OUT + 0x24) >> 2,
        ),
        (
            "fetch across pages",
            word(Op::Jalr, 0, 8, 0, 0),
            |g, st, s| {
                g.write(PAGE_A + 0xffe, &[0x03, 0x30]);
                st.vs_map(g, NEXT, OUT, RWX);
                s.x[8] = NEXT - 2;
            },
            20,
            NEXT,
            true,
            OUT >> 2,
        ),
        (
            "count",
            word(Op::Addi, 0, 0, 0, 0),
            |_, _, s| {
                let tdata1 = 3 << 60 | 1 << 10 | arch::csr::icount::VS;
                s.csr.triggers[0] = TriggerState { tdata1, ..TriggerState::default() };
            },
            BREAKPOINT,
            0,
            false,
            0,
        ),
    ];
    for (name, options) in modes() {
        for (what, insn, setup, cause, stval, gva, htval) in cases {
            let mut g = guest_of(options.clone(), model());
            let emit = |a: &mut Asm| drop(if insn & 3 == 3 { a.word(insn) } else { a.half(insn as u16) });
            let (mut s, mut st) = world(&g, emit);
            setup(&g, &mut st, &mut s);
            // What an earlier trap left.
            (s.csr.htval, s.csr.htinst, s.csr.stval) = (77, 77, 77);
            s.csr.hstatus |= hstatus::GVA;
            let end = g.run(&s);
            let seen = (end.csr.scause, end.csr.stval, end.csr.hstatus & hstatus::GVA != 0, end.csr.htval);
            assert_eq!(seen, (cause, stval, gva, htval), "{name} {what}");
            assert_eq!(end.csr.htinst, 0, "{name} {what}");
        }
        // An interrupt of HS-mode that takes a guest away.
        let mut g = guest_of(options, model());
        let (mut s, _) = world(&g, |a| drop(a.nop()));
        (s.csr.mip, s.csr.mie) = (mip::SSIP, mip::SSIP);
        (s.csr.htval, s.csr.htinst, s.csr.stval) = (77, 77, 77);
        s.csr.hstatus |= hstatus::GVA;
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.csr.stval, end.csr.htval, end.csr.htinst), (1 << 63 | 1, 0, 0, 0), "{name}");
        assert_eq!(end.csr.hstatus & (hstatus::GVA | hstatus::SPV), hstatus::SPV, "{name}");
    }
}

/// PMP keeps everybody below M-mode off the page at `pa`.
fn forbid(s: &mut HartState, pa: u64) {
    s.csr.pmp.cfg[1] = s.csr.pmp.cfg[0];
    s.csr.pmp.addr[1] = s.csr.pmp.addr[0];
    s.csr.pmp.cfg[0] = 0x18;
    s.csr.pmp.addr[0] = (pa & !0xfff) >> 2 | 0x1ff;
}

fn watch(s: &mut HartState, what: u64, address: u64) {
    s.csr.triggers[0] = TriggerState { tdata1: 6 << 60 | mcontrol6::VS | what, tdata2: address, tdata3: 0 };
}

/// Of several things that are wrong with an access, the first in the specification's order is reported.
#[test]
fn exceptions_have_their_order() {
    use mcontrol6::{EXECUTE, LOAD, STORE};
    type Setup = fn(&Guest, &mut Stages, &mut HartState);
    const HOLE: u64 = VA + 0x8000;
    let ld = word(Op::Ld, 12, 8, 0, 0);
    let sd = word(Op::Sd, 0, 8, 12, 0);
    let lr = word(Op::LrD, 12, 8, 0, 0);
    let amo = word(Op::AmoaddD, 12, 8, 13, 0);
    let jump = word(Op::Jalr, 0, 8, 0, 0);
    let out: Setup = |g, st, _| drop(st.vs_map(g, VA, OUT, RWX));
    let readable_out: Setup = |g, st, _| drop(st.vs_map(g, VA, OUT, R | A));
    let cases: Vec<(&str, u32, u64, Setup, u64)> = vec![
        // Breakpoints come before everything that has to do with addresses.
        ("load watched, page missing", ld, HOLE, |_, _, s| watch(s, LOAD, HOLE), BREAKPOINT),
        (
            "store watched, guest page missing",
            sd,
            VA,
            |g, st, s| {
                st.vs_map(g, VA, OUT, RWX);
                watch(s, STORE, VA);
            },
            BREAKPOINT,
        ),
        ("misaligned AMO watched", amo, VA + 0xc, |_, _, s| watch(s, STORE, VA + 0xc), BREAKPOINT),
        ("fetch watched, page missing", jump, HOLE, |_, _, s| watch(s, EXECUTE, HOLE), BREAKPOINT),
        (
            "fetch watched, guest page missing",
            jump,
            VA,
            |g, st, s| {
                st.vs_map(g, VA, OUT, RWX);
                watch(s, EXECUTE, VA);
            },
            BREAKPOINT,
        ),
        // Atomics are checked for alignment first, loads and stores last.
        ("misaligned AMO, page missing", amo, HOLE + 0xc, |_, _, _| {}, 6),
        ("misaligned LR, guest page missing", lr, VA + 4, out, 4),
        ("misaligned load, page missing", ld, HOLE + 4, |_, _, _| {}, 13),
        ("misaligned store, guest page missing", sd, VA + 4, out, 23),
        // The first stage before the second, and both before physical memory protection.
        ("no permission, guest page missing", sd, VA, readable_out, 15),
        ("user's page, guest page missing", ld, VA, |g, st, _| drop(st.vs_map(g, VA, OUT, RWX | U)), 13),
        (
            "no permission of either stage",
            sd,
            VA,
            |g, st, _| {
                st.vs_map(g, VA, PAGE_A - RAM, R | A);
                st.g_map(g, PAGE_A - RAM, PAGE_A, R | A | U);
            },
            15,
        ),
        (
            "no permission of the second stage, memory forbidden",
            sd,
            VA,
            |g, st, s| {
                st.g_map(g, PAGE_A - RAM, PAGE_A, R | A | U);
                forbid(s, PAGE_A);
            },
            23,
        ),
        ("memory forbidden", ld, VA, |_, _, s| forbid(s, PAGE_A), 5),
        ("memory forbidden to a store", sd, VA, |_, _, s| forbid(s, PAGE_A), 7),
        ("memory forbidden to an AMO", amo, VA, |_, _, s| forbid(s, PAGE_A), 7),
        ("memory forbidden to a fetch", jump, VA, |_, _, s| forbid(s, PAGE_A), 1),
        // A table out of reach: an access fault of the access that needs it, however bad its entry would be.
        (
            "table forbidden",
            ld,
            VA,
            |g, st, s| {
                let slot = st.vs_map(g, VA, OUT, R);
                forbid(s, slot);
            },
            5,
        ),
        (
            "table of the second stage forbidden",
            sd,
            VA,
            |g, st, s| {
                // Tables of its own.
                let slot = st.g.map(g, OUT, PAGE_A, R | A | U, 0);
                st.vs_map(g, VA, OUT, RWX);
                forbid(s, slot);
            },
            7,
        ),
        (
            "table behind a hole",
            jump,
            VA + (5 << 30),
            |g, st, _| {
                let slot = st.vs_slot(g, VA + (5 << 30), 2);
                g.write64(slot, OUT >> 2 | 1);
            },
            20,
        ),
        // Across pages: the first that is found, from the first page on.
        ("first forbidden, second missing", ld, NEXT - 4, |_, _, s| forbid(s, PAGE_A), 5),
        (
            "second forbidden",
            ld,
            NEXT - 4,
            |g, st, s| {
                st.vs_map(g, NEXT, PAGE_B - RAM, RWX);
                forbid(s, PAGE_B);
            },
            5,
        ),
        ("second of the guest missing", sd, NEXT - 4, |g, st, _| drop(st.vs_map(g, NEXT, OUT, RWX)), 23),
        // What the instruction is comes before what it accesses.
        ("not for guests, page missing", word(Op::HlvD, 12, 8, 0, 0), HOLE, |_, _, _| {}, 22),
        ("cache block withheld, page missing", word(Op::CboZero, 0, 8, 0, 0), HOLE, |_, _, s| s.csr.henvcfg = 0, 22),
        ("unit off, page missing", word(Op::Fld, 1, 8, 0, 0), HOLE, |_, _, s| s.csr.vsstatus &= !mstatus::FS, 2),
        ("fetch before illegal", jump, VA, |g, st, _| drop(st.vs_map(g, VA, PAGE_A - RAM, R | A | D)), 12),
        ("illegal there", jump, VA, |_, _, _| {}, 2),
    ];
    for (name, options) in modes().into_iter().take(5) {
        for (what, insn, address, setup, cause) in &cases {
            let mut g = guest_of(options.clone(), model());
            let (mut s, mut st) = world(&g, |a| drop(a.word(*insn)));
            s.x[8] = *address;
            setup(&g, &mut st, &mut s);
            let end = g.run(&s);
            assert_eq!(end.csr.scause, *cause, "{name} {what}: {:#x}", end.csr.stval);
            let second = *what == "second forbidden" || what.starts_with("second of");
            let tval = match cause {
                2 if *insn == jump => 0,
                2 | 22 => u64::from(*insn),
                _ if second => NEXT,
                _ => *address,
            };
            assert_eq!(end.csr.stval, tval, "{name} {what}");
            assert_eq!(end.csr.hstatus & hstatus::GVA != 0, ![2, 22].contains(cause), "{name} {what}");
            assert_eq!(end.csr.htval != 0, [20, 21, 23].contains(cause), "{name} {what}");
        }
    }
}

/// A misaligned access of a device is misaligned; one that cannot reach it faults before that.
#[test]
fn misaligned_accesses_of_devices() {
    for (name, options) in modes().into_iter().take(3) {
        for (present, crossing, cause) in [(true, false, 4), (true, true, 4), (false, false, 21), (false, true, 21)] {
            for by_hypervisor in [false, true] {
                let mut g = guest_of(options.clone(), model());
                let (mut s, mut st) = world(&g, |a| {
                    drop(if by_hypervisor { a.r(Op::HlvW, 12, 8, 0) } else { a.i(Op::Lw, 12, 8, 0) });
                });
                (s.virt, s.csr.hstatus) = (!by_hypervisor, s.csr.hstatus | hstatus::SPVP);
                s.x[8] = if crossing { NEXT - 2 } else { NEXT + 2 };
                st.vs_map(&g, NEXT, OUT, RWX);
                if present {
                    st.g.map(&g, OUT, ROM, RWX | U, 0);
                }
                let end = g.run(&s);
                let tval = if crossing && !present { NEXT } else { s.x[8] };
                assert_eq!((end.csr.scause, end.csr.stval), (cause, tval), "{name} {present} {crossing}");
                assert_ne!(end.csr.hstatus & hstatus::GVA, 0, "{name}");
            }
        }
    }
}
