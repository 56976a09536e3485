//! Pointer masking as programs meet it (Smmpm, Smnpm, Ssnpm).
//!
//! Privileged spec, "Pointer Masking Extensions".

mod guest;

use accel::HartState;
use arch::csr::{MENVCFG, MSECCFG, envcfg, mstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

const DATA: u64 = RAM + 0x5_0000;
/// No RAM, no device.
const HOLE: u64 = 0x4000_0000;

const PMM7: u64 = 2 << envcfg::PMM_SHIFT;
const PMM16: u64 = 3 << envcfg::PMM_SHIFT;

fn isa() -> IsaConfig {
    isa_with(&[Ext::Smmpm, Ext::Smnpm, Ext::Ssnpm])
}

/// Runs `program` in M-mode, x8 = a tagged address of DATA, traps leading to the stop code.
fn machine(tag: u64, pmm: u64, program: impl Fn(&mut Asm), check: impl Fn(&str, &Guest, &HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.word(word(Op::Ebreak, 0, 0, 0, 0));
        g.load(&a);
        g.write64(DATA, 0x1122_3344_5566_7788);
        let mut s = g.machine(0, CODE, STOP);
        s.csr.mseccfg = pmm;
        s.csr.mstatus |= mstatus::FS;
        (s.x[8], s.x[9]) = (DATA | tag, 7);
        let end = g.run(&s);
        check(name, &g, &end);
    }
}

#[test]
fn every_kind_of_access_is_masked() {
    for (tag, pmm) in [(0xfe << 56, PMM7), (0xabcd << 48, PMM16), (1 << 57, PMM7), (1 << 48, PMM16)] {
        machine(
            tag,
            pmm,
            |a| {
                a.i(Op::Ld, 10, 8, 0).s(Op::Sd, 9, 8, 8).i(Op::Ld, 11, 8, 8);
                a.amo(Op::AmoaddD, 12, 9, 8, 0).amo(Op::LrD, 13, 0, 8, 0).amo(Op::ScD, 14, 9, 8, 0);
                // Across words, and across the page.
                a.i(Op::Lw, 15, 8, 6).li(5, 0xffc).r(Op::Add, 5, 5, 8).s(Op::Sd, 9, 5, 0).i(Op::Ld, 16, 5, 0);
                a.i(Op::Fld, 1, 8, 8).s(Op::Fsd, 1, 8, 16).i(Op::Ld, 17, 8, 16);
                a.i(Op::Addi, 6, 8, 64).s(Op::Sd, 9, 6, 0).i(Op::CboZero, 0, 6, 0).i(Op::Ld, 18, 6, 0);
            },
            |name, g, s| {
                assert_eq!(s.csr.mcause, 3, "{name} {tag:#x}: {:#x}", s.csr.mtval);
                let old = 0x1122_3344_5566_7788;
                assert_eq!((s.x[10], s.x[11], s.x[12], s.x[13], s.x[14]), (old, 7, old, old + 7, 0), "{name}");
                assert_eq!((s.x[15], s.x[16], s.x[17], s.x[18]), (7 << 16, 7, 7, 0), "{name}");
                assert_eq!((g.read64(DATA), g.read64(DATA + 0xffc)), (7, 7), "{name}");
            },
        );
    }
}

#[test]
fn bits_below_the_masked_ones_count() {
    for (tag, pmm) in [(1 << 56, PMM7), (1 << 47, PMM16), (1 << 63, 0), (1 << 57, 0)] {
        machine(
            tag,
            pmm,
            |a| {
                a.i(Op::Ld, 10, 8, 0);
            },
            |name, _, s| assert_eq!((s.csr.mcause, s.csr.mtval), (5, DATA | tag), "{name}"),
        );
    }
}

#[test]
fn a_fault_reports_the_masked_address_and_a_jump_is_not_masked() {
    for (load, cause) in [(true, 5), (false, 7)] {
        machine(
            0,
            PMM16,
            |a| {
                a.li(5, HOLE | 0xabcd << 48);
                if load {
                    a.i(Op::Lw, 10, 5, 4)
                } else {
                    a.s(Op::Sw, 10, 5, 4)
                };
            },
            |name, _, s| assert_eq!((s.csr.mcause, s.csr.mtval), (cause, HOLE + 4), "{name}"),
        );
    }
    machine(
        0,
        PMM16,
        |a| {
            a.li(5, HOLE | 0xabcd << 48).amo(Op::AmoaddD, 0, 0, 5, 0);
        },
        |name, _, s| assert_eq!((s.csr.mcause, s.csr.mtval), (7, HOLE), "{name}"),
    );
    machine(
        0xabcd << 48,
        PMM16,
        |a| {
            a.i(Op::Jalr, 0, 8, 0);
        },
        |name, _, s| assert_eq!((s.csr.mcause, s.csr.mtval), (1, DATA | 0xabcd << 48), "{name}"),
    );
}

#[test]
fn changes_take_effect_at_once() {
    let tag = 0xfe << 56;
    machine(
        tag,
        0,
        |a| {
            a.li(5, PMM7).csrs(MSECCFG, 5).i(Op::Ld, 10, 8, 0).csrc(MSECCFG, 5).i(Op::Ld, 11, 8, 0);
        },
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.x[10]), (5, DATA | tag, 0x1122_3344_5566_7788), "{name}");
        },
    );
    // MXR ends it, also where nothing is translated.
    machine(
        tag,
        PMM7,
        |a| {
            a.li(5, mstatus::MXR).i(Op::Ld, 10, 8, 0).csrs(arch::csr::MSTATUS, 5).i(Op::Ld, 11, 8, 0);
        },
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.x[10]), (5, DATA | tag, 0x1122_3344_5566_7788), "{name}");
        },
    );
}

/// The mask of the mode that MPRV names counts.
#[test]
fn mprv_masks_as_the_mode_it_names() {
    let tag = 0xfe << 56;
    machine(
        tag,
        0,
        |a| {
            a.li(5, PMM7).csrs(MENVCFG, 5).li(6, mstatus::MPRV | 1 << mstatus::MPP_SHIFT);
            a.csrs(arch::csr::MSTATUS, 6).i(Op::Ld, 10, 8, 0).csrc(MENVCFG, 5).i(Op::Ld, 11, 8, 0);
        },
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.x[10]), (5, DATA | tag, 0x1122_3344_5566_7788), "{name}");
        },
    );
}

/// Virtual addresses are extended by their sign, reports are of the masked address, and a fence by the plain address
/// reaches what was remembered under a tag.
#[test]
fn virtual_addresses_are_extended_by_their_sign() {
    const LOW: u64 = 0x40_0000;
    const HIGH: u64 = 0xffff_ffff_ffc0_0000;
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        let mut p = Paging::new(RAM + 0x10_0000);
        for pa in (RAM..RAM + 0x8_0000).step_by(4096) {
            p.map(&g, pa, pa, RWX, 0);
        }
        let slot = p.map(&g, LOW, DATA, RWX, 0);
        p.map(&g, HIGH, DATA + 0x1000, RWX, 0);
        let (first, second, third) = (11, 22, 33);
        g.write64(DATA, first);
        g.write64(DATA + 0x1000, second);
        g.write64(DATA + 0x2000, third);
        let mut stop = Asm::at(STOP);
        stop.ecall();
        g.load(&stop);
        let mut a = Asm::at(CODE);
        a.i(Op::Ld, 10, 8, 0).i(Op::Ld, 11, 9, 0);
        a.i(Op::Ld, 5, 6, 0).s(Op::Sd, 7, 6, 0).li(12, LOW).sfence(12, 0).i(Op::Ld, 13, 8, 0);
        a.li(14, 0x4321 << 48 | 0x12_3456).i(Op::Ld, 15, 14, 0);
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.csr.satp, s.csr.stvec, s.csr.menvcfg) = (p.satp(0), STOP, s.csr.menvcfg | PMM16);
        // The page tables are not mapped: the entry is changed through a second mapping of its page.
        let alias = 0x60_0000;
        p.map(&g, alias, slot & !0xfff, RWX, 0);
        (s.x[6], s.x[7]) = (alias | slot & 0xfff, leaf(DATA + 0x2000, RWX));
        (s.x[8], s.x[9]) = (LOW | 0x8765 << 48, HIGH ^ 0x1234 << 48);
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[11], end.x[13]), (first, second, third), "{name}");
        assert_eq!((end.csr.scause, end.csr.stval), (13, 0x12_3456), "{name}");
    }
}
