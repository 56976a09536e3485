//! Pointer masking in virtual machines: whose setting counts, what kind of address it is, and what a trap reports.
//!
//! Privileged spec, "Pointer Masking Extensions": "Memory Accesses Subject to Pointer Masking", "Ssnpm", "Interaction
//! with Two-Stage Address Translation".

mod guest;

use accel::{HartState, Mode};
use arch::csr::{self, envcfg, hstatus, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::pte::U;
use guest::hyper::*;
use guest::*;

const PMM7: u64 = 2 << envcfg::PMM_SHIFT;
const PMM16: u64 = 3 << envcfg::PMM_SHIFT;
const TAG7: u64 = 0xb2 << 56;
const TAG16: u64 = 0xabcd << 48;
/// A page in the upper half of addresses.
const HIGH: u64 = 0xffff_ffff_ffc0_0000;

const ECALL_VU: u64 = 8;
const ECALL_VS: u64 = 10;

fn with_masking() -> IsaConfig {
    let isa = hyper::isa();
    let more = ExtSet::of(&[Ext::Smmpm, Ext::Smnpm, Ext::Ssnpm, Ext::Zicboz, Ext::V]);
    IsaConfig { exts: isa.exts.union(&more).closure(), vlen: 128, ..isa }
}

/// Runs `program` in a guest whose VA and HIGH are PAGE_A and PAGE_B; traps go to HS-mode. x8 is VA with a tag of 7
/// bits, x9 with one of 16, x18 HIGH with one of 16.
fn run(
    mode: Mode,
    program: impl Fn(&mut Asm),
    setup: impl Fn(&Guest, &mut Stages, &mut HartState),
    check: impl Fn(&str, &Guest, &HartState),
) {
    for (name, options) in modes() {
        let mut g = guest_of(options, with_masking());
        let (mut s, mut st) = in_guest(&g, |a| {
            program(a);
            a.ecall();
        });
        let user = if mode == Mode::User { U } else { 0 };
        st.vs_map(&g, CODE, CODE - RAM, RWX | user);
        st.vs_map(&g, VA, PAGE_A - RAM, RWX | user);
        st.vs_map(&g, HIGH, PAGE_B - RAM, RWX | user);
        g.write64(PAGE_A, 11);
        g.write64(PAGE_B, 22);
        s.mode = mode;
        s.csr.menvcfg |= envcfg::CBZE;
        (s.csr.henvcfg, s.csr.senvcfg) = (envcfg::CBZE, envcfg::CBZE);
        s.csr.mstatus |= mstatus::FS | mstatus::VS;
        s.csr.vsstatus |= mstatus::FS | mstatus::VS;
        (s.x[8], s.x[9], s.x[18], s.x[7]) = (VA ^ TAG7, VA ^ TAG16, HIGH ^ TAG16, 77);
        setup(&g, &mut st, &mut s);
        let end = g.run(&s);
        check(name, &g, &end);
    }
}

fn drop<T>(_: T) {}

#[test]
fn each_mode_of_a_guest_has_its_register() {
    for mode in [Mode::Supervisor, Mode::User] {
        // henvcfg, senvcfg; menvcfg and mseccfg say the opposite of the one that counts.
        for own in [0, PMM7, PMM16] {
            let other = if own == 0 { PMM16 } else { 0 };
            let setup = |_: &Guest, _: &mut Stages, s: &mut HartState| {
                let (h, u) = if mode == Mode::Supervisor { (own, other) } else { (other, own) };
                s.csr.henvcfg |= h;
                s.csr.senvcfg |= u;
                s.csr.menvcfg |= other;
                s.csr.mseccfg |= other;
                s.csr.hstatus |= other << 16;
            };
            let ecall = if mode == Mode::User { ECALL_VU } else { ECALL_VS };
            for (rs, fits, value) in [(8, own != 0, 11), (9, own == PMM16, 11), (18, own == PMM16, 22)] {
                run(
                    mode,
                    |a| drop(a.i(Op::Ld, 10, rs, 0)),
                    setup,
                    |name, _, s| {
                        let at = format!("{name} {mode:?} {own:#x} x{rs}");
                        if fits {
                            assert_eq!((s.csr.scause, s.x[10]), (ecall, value), "{at}");
                        } else {
                            assert_eq!(s.csr.scause, 13, "{at}");
                            // What is left of the tag is reported.
                            let masked = match own {
                                PMM7 => ((s.x[usize::from(rs)] << 7) as i64 >> 7) as u64,
                                _ => s.x[usize::from(rs)],
                            };
                            assert_eq!((s.csr.stval, s.csr.htval), (masked, 0), "{at}");
                        }
                    },
                );
            }
        }
    }
}

#[test]
fn every_kind_of_access() {
    run(
        Mode::Supervisor,
        |a| {
            a.i(Op::Ld, 10, 9, 0).s(Op::Sd, 7, 9, 8).amo(Op::AmoaddD, 11, 7, 9, 0);
            a.amo(Op::LrD, 12, 0, 9, 0).amo(Op::ScD, 13, 7, 9, 0);
            a.i(Op::Fld, 1, 9, 8).s(Op::Fsd, 1, 9, 16).i(Op::Lw, 14, 9, 6);
            // vsetivli x0, 2, e64; vle64.v v1, (x9); vse64.v v1, (x18).
            a.word(0xcd81_7057).word(0x0204_f087).word(0x0209_70a7);
            a.i(Op::Addi, 5, 9, 64).s(Op::Sd, 7, 5, 0).i(Op::CboZero, 0, 5, 0);
        },
        |_, _, s| s.csr.henvcfg |= PMM16,
        |name, g, s| {
            assert_eq!(s.csr.scause, ECALL_VS, "{name}: {:#x} {:#x}", s.csr.sepc, s.csr.stval);
            assert_eq!((s.x[10], s.x[11], s.x[12], s.x[13]), (11, 11, 88, 0), "{name}");
            assert_eq!([0, 8, 16, 64].map(|o| g.read64(PAGE_A + o)), [77, 77, 77, 0], "{name}");
            assert_eq!([0, 8].map(|o| g.read64(PAGE_B + o)), [77, 77], "{name}");
        },
    );
}

/// A guest that does not translate has physical addresses: zeros take the place of the tag.
#[test]
fn addresses_of_a_bare_first_stage_are_physical() {
    for mode in [Mode::Supervisor, Mode::User] {
        for (address, fits) in [(0x20_0000 | TAG16, true), (0x20_0000 | 1 << 47, false), (0x20_0000 | 1 << 63, true)] {
            run(
                mode,
                |a| drop(a.i(Op::Ld, 10, 5, 0)),
                |_, _, s| {
                    (s.csr.vsatp, s.pc, s.x[5]) = (0, CODE - RAM, address);
                    s.csr.henvcfg |= PMM16;
                    s.csr.senvcfg |= PMM16;
                },
                |name, _, s| {
                    if fits {
                        assert!([ECALL_VU, ECALL_VS].contains(&s.csr.scause), "{name} {address:#x}");
                        assert_eq!(s.x[10], 11, "{name}");
                    } else {
                        let gpa = address & ((1 << 48) - 1);
                        assert_eq!((s.csr.scause, s.csr.stval, s.csr.htval), (21, gpa, gpa >> 2), "{name}");
                    }
                },
            );
        }
    }
}

/// Guest-page faults: the masked address, the guest physical one, and in `htinst` the distance of the part that faulted.
#[test]
fn traps_report_masked_addresses() {
    const OUT: u64 = 0x1_0000_0000;
    for (first, second, offset, distance) in [(OUT, OUT + 0x1000, 4, 0), (PAGE_A - RAM, OUT, 0xffd, 3)] {
        run(
            Mode::Supervisor,
            |a| drop(a.li(5, (VA ^ TAG16) + offset).s(Op::Sd, 7, 5, 0)),
            |g, st, s| {
                st.vs_map(g, VA, first, RWX);
                st.vs_map(g, VA + 0x1000, second, RWX);
                s.csr.henvcfg |= PMM16;
            },
            |name, _, s| {
                assert_eq!((s.csr.scause, s.csr.stval), (23, VA + offset + distance), "{name}");
                assert_eq!(s.csr.htval, (OUT + if distance == 0 { offset } else { 0 }) >> 2, "{name}");
                assert_eq!(s.csr.htinst, 0x0070_3023 | distance << 15, "{name}");
                assert_ne!(s.csr.hstatus & hstatus::GVA, 0, "{name}");
            },
        );
    }
    // The guest's own handler sees the masked address too; a jump is not masked.
    run(
        Mode::Supervisor,
        |a| drop(a.li(5, (VA + 0x8000) ^ TAG16).i(Op::Lb, 10, 5, 0)),
        |_, _, s| {
            s.csr.henvcfg |= PMM16;
            s.csr.hedeleg = 1 << 13;
        },
        |name, _, s| assert_eq!((s.csr.vscause, s.csr.vstval), (13, VA + 0x8000), "{name}"),
    );
    run(
        Mode::Supervisor,
        |a| drop(a.i(Op::Jalr, 0, 9, 0)),
        |_, _, s| s.csr.henvcfg |= PMM16,
        |name, _, s| assert_eq!((s.csr.scause, s.csr.stval), (12, VA ^ TAG16), "{name}"),
    );
}

/// HLV and HSV: the setting of the mode they act for, but HUPMM for U-mode's accesses as VU-mode. HLVX is never masked.
#[test]
fn accesses_on_behalf_of_a_guest() {
    let hupmm = |pmm: u64| pmm << (hstatus::HUPMM_SHIFT - envcfg::PMM_SHIFT);
    // Who executes it, as whom, and which of henvcfg, senvcfg and HUPMM counts.
    for (from, spvp, counts) in [
        (Mode::Supervisor, true, 0),
        (Mode::Supervisor, false, 1),
        (Mode::Machine, true, 0),
        (Mode::Machine, false, 1),
        (Mode::User, true, 0),
        (Mode::User, false, 2),
    ] {
        for on in [true, false] {
            for (insn, load) in [(Op::HlvD, true), (Op::HsvW, false), (Op::HlvxWu, true)] {
                run(
                    if spvp { Mode::Supervisor } else { Mode::User },
                    |a| {
                        let (rd, rs2) = if load { (10, 0) } else { (0, 7) };
                        a.r(insn, rd, 9, rs2);
                    },
                    |_, _, s| {
                        (s.mode, s.virt) = (from, false);
                        let pmm = |n| if (n == counts) == on { PMM16 } else { 0 };
                        s.csr.henvcfg |= pmm(0);
                        s.csr.senvcfg |= pmm(1);
                        s.csr.hstatus |= hupmm(pmm(2)) | hstatus::HU | if spvp { hstatus::SPVP } else { 0 };
                        // Neither the mode's own setting nor MPRV changes anything.
                        (s.csr.menvcfg, s.csr.mseccfg) = (pmm(3), pmm(3));
                        s.csr.medeleg = 0;
                    },
                    |name, g, s| {
                        let at = format!("{name} {from:?} {spvp} {on} {insn:?}");
                        if on && insn != Op::HlvxWu {
                            assert!(s.csr.mcause == 0 || (8..=11).contains(&s.csr.mcause), "{at}: {}", s.csr.mcause);
                            let seen = if load { s.x[10] } else { g.read64(PAGE_A) };
                            assert_eq!(seen, if load { 11 } else { 77 }, "{at}");
                        } else {
                            let cause = if load { 13 } else { 15 };
                            assert_eq!((s.csr.mcause, s.csr.mtval), (cause, VA ^ TAG16), "{at}");
                            assert_ne!(s.csr.mstatus & mstatus::GVA, 0, "{at}");
                        }
                    },
                );
            }
        }
    }
}

/// MPRV lends the setting of the mode that MPP and MPV name; MXR of either level ends it.
#[test]
fn borrowed_eyes_and_executable_readable() {
    for (mpp, h, u, fits) in [(1, PMM16, 0, true), (1, 0, PMM16, false), (0, 0, PMM16, true), (0, PMM16, 0, false)] {
        run(
            if mpp == 1 { Mode::Supervisor } else { Mode::User },
            |a| drop(a.i(Op::Ld, 10, 9, 0).word(0)),
            |_, _, s| {
                (s.mode, s.virt) = (Mode::Machine, false);
                s.csr.mstatus |= mstatus::MPRV | mstatus::MPV | mpp << mstatus::MPP_SHIFT;
                s.csr.henvcfg |= h;
                s.csr.senvcfg |= u;
            },
            |name, _, s| {
                let at = format!("{name} {mpp} {h:#x} {u:#x}");
                if fits {
                    assert_eq!((s.csr.mcause, s.x[10]), (ILLEGAL, 11), "{at}");
                } else {
                    assert_eq!((s.csr.mcause, s.csr.mtval), (13, VA ^ TAG16), "{at}");
                }
            },
        );
    }
    for (hs, vs) in [(true, false), (false, true)] {
        for bare in [false, true] {
            run(
                Mode::Supervisor,
                |a| drop(a.i(Op::Ld, 10, 9, 0)),
                |_, _, s| {
                    s.csr.henvcfg |= PMM16;
                    s.csr.mstatus |= if hs { mstatus::MXR } else { 0 };
                    s.csr.vsstatus |= if vs { mstatus::MXR } else { 0 };
                    if bare {
                        (s.csr.vsatp, s.pc, s.x[9]) = (0, CODE - RAM, 0x20_0000 ^ TAG16);
                    }
                },
                |name, _, s| {
                    let cause = if bare { 21 } else { 13 };
                    let address = if bare { 0x20_0000 } else { VA } ^ TAG16;
                    assert_eq!((s.csr.scause, s.csr.stval), (cause, address), "{name} {hs} {vs} {bare}");
                },
            );
        }
    }
}

/// A change of the setting needs no fence; a fence names addresses without tags.
#[test]
fn changes_count_at_once_and_fences_are_not_masked() {
    run(
        Mode::Supervisor,
        |a| {
            // The guest maps its page elsewhere while the TLB has it under two tags.
            a.i(Op::Ld, 10, 9, 0).i(Op::Ld, 11, 12, 0).i(Op::Ld, 5, 14, 0).s(Op::Sd, 13, 14, 0).sfence(15, 0);
            a.i(Op::Ld, 16, 9, 0).i(Op::Ld, 17, 12, 0);
        },
        |g, st, s| {
            s.csr.henvcfg |= PMM16;
            let slot = st.vs_map(g, VA, PAGE_A - RAM, RWX);
            let window = VA + 0x10_0000;
            st.vs_map(g, window, (slot & !0xfff) - RAM, RWX);
            (s.x[12], s.x[13], s.x[14], s.x[15]) = (VA, leaf(PAGE_B - RAM, RWX), window | slot & 0xfff, VA);
        },
        |name, _, s| {
            assert_eq!(s.csr.scause, ECALL_VS, "{name}");
            assert_eq!((s.x[10], s.x[11], s.x[16], s.x[17]), (11, 11, 22, 22), "{name}");
        },
    );
    // HS-mode takes the setting away between two visits.
    for (name, options) in modes() {
        let mut g = guest_of(options, with_masking());
        let (mut s, _) = in_guest(&g, |a| drop(a.i(Op::Ld, 10, 9, 0).ecall()));
        let mut a = Asm::at(RAM + 0x2_0000);
        visit_guest(&mut a);
        a.r(Op::Add, 11, 10, 0).i(Op::Addi, 10, 0, 0).csrc(csr::HENVCFG, 12);
        visit_guest(&mut a);
        a.ecall();
        g.load(&a);
        g.write64(PAGE_A, 11);
        (s.virt, s.pc) = (false, RAM + 0x2_0000);
        (s.csr.henvcfg, s.x[9], s.x[12]) = (PMM16, VA ^ TAG16, PMM16);
        let end = g.run(&s);
        assert_eq!((end.x[11], end.x[10], end.csr.scause, end.csr.stval), (11, 0, 13, VA ^ TAG16), "{name}");
    }
}
