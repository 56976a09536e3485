//! Which exception an instruction raises in which mode: illegal where no supervisor could allow it, virtual where a
//! hypervisor has to answer for it. The specification's list, row by row.
//!
//! Privileged spec, "Trap Cause Codes" of the hypervisor extension; "Svinval", "Sstc", "Entropy Source", "Zicbom".

mod guest;

use accel::{HartState, Mode};
use arch::csr::{self, counteren, envcfg, hstatus, mip, mseccfg, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use guest::hyper::*;
use guest::*;

/// In this order the tables have their columns: M, HS, U, VS, VU.
const MODES: [(Mode, bool); 5] = [
    (Mode::Machine, false),
    (Mode::Supervisor, false),
    (Mode::User, false),
    (Mode::Supervisor, true),
    (Mode::User, true),
];

/// Illegal and virtual.
const I: u64 = 2;
const V: u64 = 22;

fn everything() -> IsaConfig {
    let isa = hyper::isa();
    let more =
        ExtSet::of(&[Ext::Svinval, Ext::Sstc, Ext::Zkr, Ext::Zicbom, Ext::Zicboz, Ext::Smrnmi, Ext::Zihpm, Ext::V]);
    IsaConfig { exts: isa.exts.union(&more).closure(), vlen: 128, ..isa }
}

fn r(op: Op) -> u32 {
    word(op, 0, 0, 0, 0)
}

fn read(n: u16) -> u32 {
    word(Op::Csrrs, 5, 0, 0, i32::from(n))
}

fn write(n: u16) -> u32 {
    word(Op::Csrrw, 0, 5, 0, i32::from(n))
}

type Setup = fn(&mut HartState);
type Row = (&'static str, u32, Setup, [u64; 5]);

/// All is allowed that can be.
fn open(s: &mut HartState) {
    s.csr.medeleg = 0;
    let caches = envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
    (s.csr.menvcfg, s.csr.henvcfg, s.csr.senvcfg) = (caches | envcfg::STCE, caches | envcfg::STCE, caches);
    (s.csr.mcounteren, s.csr.hcounteren, s.csr.scounteren) = (u32::MAX.into(), u32::MAX.into(), u32::MAX.into());
    s.csr.mseccfg |= mseccfg::SSEED | mseccfg::USEED;
    s.csr.mstatus |= mstatus::FS | mstatus::VS;
    s.csr.vsstatus |= mstatus::FS | mstatus::VS;
    s.csr.nmi_masked = false;
    // WFI goes on by what is pending and not taken.
    s.csr.mie = mip::SSIP | mip::VSSIP;
    s.csr.hideleg = mip::VS_INTERRUPTS;
    match (s.mode, s.virt) {
        (Mode::Supervisor, true) => s.csr.hvip = mip::VSSIP,
        (Mode::Supervisor | Mode::Machine, false) => s.csr.mip = mip::SSIP,
        _ => {}
    }
}

fn run(rows: &[Row]) {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, everything());
        // Where returns lead.
        let there = CODE + 0x1000;
        let mut a = Asm::at(there);
        a.ecall();
        g.load(&a);
        for (what, insn, setup, expected) in rows {
            for ((mode, virt), expected) in MODES.into_iter().zip(*expected) {
                let mut a = Asm::at(CODE);
                if insn & 3 == 3 {
                    a.word(*insn)
                } else {
                    a.half(*insn as u16)
                };
                a.ecall();
                g.load(&a);
                let mut s = start(&g, mode, virt);
                open(&mut s);
                setup(&mut s);
                (s.csr.mepc, s.csr.sepc, s.csr.vsepc, s.csr.mnepc) = (there, there, there, there);
                (s.x[8], s.x[6]) = (PAGE_A, PAGE_A);
                let end = g.run(&s);
                let at = format!("{name}: {what} in {mode:?} {virt}");
                if expected == 0 {
                    // ECALL from HS-mode is answered without a trap.
                    assert!(matches!(end.csr.mcause, 0 | 8..=11), "{at}: {}", end.csr.mcause);
                } else {
                    let seen = (end.csr.mcause, end.csr.mtval, end.csr.mepc);
                    assert_eq!(seen, (expected, u64::from(*insn), CODE), "{at}");
                    assert_eq!((end.csr.mtinst, end.csr.mtval2, end.csr.mstatus & mstatus::GVA), (0, 0, 0), "{at}");
                }
            }
        }
    }
}

const AS_IT_IS: Setup = |_| {};
const TVM: Setup = |s| s.csr.mstatus |= mstatus::TVM;
const VTVM: Setup = |s| s.csr.hstatus |= hstatus::VTVM;

#[test]
fn fences_and_address_spaces() {
    let mut rows: Vec<Row> = Vec::new();
    for fence in [Op::SfenceVma, Op::SinvalVma] {
        rows.push(("fence", r(fence), AS_IT_IS, [0, 0, I, 0, V]));
        rows.push(("fence, TVM", r(fence), TVM, [0, I, I, 0, V]));
        rows.push(("fence, VTVM", r(fence), VTVM, [0, 0, I, V, V]));
    }
    for fence in [Op::SfenceWInval, Op::SfenceInvalIr] {
        for setup in [AS_IT_IS, TVM, VTVM] {
            rows.push(("order", r(fence), setup, [0, 0, I, 0, V]));
        }
    }
    for fence in [Op::HfenceVvma, Op::HinvalVvma] {
        for setup in [AS_IT_IS, TVM, VTVM] {
            rows.push(("vvma", r(fence), setup, [0, 0, I, V, V]));
        }
    }
    for fence in [Op::HfenceGvma, Op::HinvalGvma] {
        rows.push(("gvma", r(fence), AS_IT_IS, [0, 0, I, V, V]));
        rows.push(("gvma, TVM", r(fence), TVM, [0, I, I, V, V]));
        rows.push(("gvma, VTVM", r(fence), VTVM, [0, 0, I, V, V]));
    }
    rows.push(("satp", read(csr::SATP), AS_IT_IS, [0, 0, I, 0, V]));
    rows.push(("satp, TVM", read(csr::SATP), TVM, [0, I, I, 0, V]));
    rows.push(("satp, VTVM", read(csr::SATP), VTVM, [0, 0, I, V, V]));
    rows.push(("hgatp", read(csr::HGATP), AS_IT_IS, [0, 0, I, V, V]));
    rows.push(("hgatp, TVM", read(csr::HGATP), TVM, [0, I, I, V, V]));
    rows.push(("vsatp, TVM", read(csr::VSATP), TVM, [0, 0, I, V, V]));
    run(&rows);
}

#[test]
fn waiting_and_returning() {
    run(&[
        ("wfi", r(Op::Wfi), AS_IT_IS, [0, 0, I, 0, V]),
        ("wfi, TW", r(Op::Wfi), |s| s.csr.mstatus |= mstatus::TW, [0, I, I, I, I]),
        ("wfi, VTW", r(Op::Wfi), |s| s.csr.hstatus |= hstatus::VTW, [0, 0, I, V, V]),
        (
            "wfi, TW and VTW",
            r(Op::Wfi),
            |s| {
                s.csr.mstatus |= mstatus::TW;
                s.csr.hstatus |= hstatus::VTW;
            },
            [0, I, I, I, I],
        ),
        ("sret", r(Op::Sret), AS_IT_IS, [0, 0, I, 0, V]),
        ("sret, TSR", r(Op::Sret), |s| s.csr.mstatus |= mstatus::TSR, [0, I, I, 0, V]),
        ("sret, VTSR", r(Op::Sret), |s| s.csr.hstatus |= hstatus::VTSR, [0, 0, I, V, V]),
        ("mret", r(Op::Mret), AS_IT_IS, [0, I, I, I, I]),
        ("mnret", r(Op::Mnret), AS_IT_IS, [0, I, I, I, I]),
    ]);
}

#[test]
fn hypervisor_instructions() {
    for insn in [
        word(Op::HlvB, 5, 6, 0, 0),
        word(Op::HlvD, 5, 6, 0, 0),
        word(Op::HlvxHu, 5, 6, 0, 0),
        word(Op::HlvxWu, 5, 6, 0, 0),
        word(Op::HsvB, 0, 6, 5, 0),
        word(Op::HsvD, 0, 6, 5, 0),
    ] {
        run(&[
            ("guest access", insn, AS_IT_IS, [0, 0, I, V, V]),
            ("guest access, HU", insn, |s| s.csr.hstatus |= hstatus::HU, [0, 0, 0, V, V]),
        ]);
    }
}

#[test]
fn registers_of_each_level() {
    let mut rows: Vec<Row> = Vec::new();
    for n in [csr::HSTATUS, csr::HEDELEG, csr::HVIP, csr::HTVAL, csr::HTINST, csr::HENVCFG, csr::HTIMEDELTA] {
        rows.push(("hypervisor register", read(n), AS_IT_IS, [0, 0, I, V, V]));
        rows.push(("its write", write(n), AS_IT_IS, [0, 0, I, V, V]));
    }
    for n in [csr::VSSTATUS, csr::VSTVEC, csr::VSEPC, csr::VSCAUSE, csr::VSTVAL, csr::VSIE, csr::VSTIMECMP] {
        rows.push(("guest's register", read(n), AS_IT_IS, [0, 0, I, V, V]));
    }
    for n in [csr::SSTATUS, csr::STVEC, csr::SEPC, csr::SCAUSE, csr::STVAL, csr::SSCRATCH, csr::SENVCFG] {
        rows.push(("supervisor's register", read(n), AS_IT_IS, [0, 0, I, 0, V]));
    }
    for n in [csr::MSTATUS, csr::MIDELEG, csr::MSCRATCH, csr::MHARTID, csr::MTVAL2] {
        rows.push(("machine's register", read(n), AS_IT_IS, [0, I, I, I, I]));
    }
    // What nobody may do is illegal for all: writing a read-only register, or one that is not there.
    rows.push(("hgeip", read(csr::HGEIP), AS_IT_IS, [0, 0, I, V, V]));
    rows.push(("write of hgeip", write(csr::HGEIP), AS_IT_IS, [I; 5]));
    rows.push(("write of cycle", write(csr::CYCLE), AS_IT_IS, [I; 5]));
    rows.push(("no register", read(0x5ff), AS_IT_IS, [I; 5]));
    rows.push(("no hypervisor register", read(0x6ff), AS_IT_IS, [I; 5]));
    // High halves exist on 32-bit harts alone.
    for n in [0xc80, 0xc81, 0x615, 0x61a] {
        rows.push(("high half", read(n), AS_IT_IS, [I; 5]));
    }
    run(&rows);
}

#[test]
fn counters() {
    let mut rows: Vec<Row> = Vec::new();
    for n in [csr::CYCLE, csr::TIME, csr::INSTRET, csr::HPMCOUNTER3, csr::HPMCOUNTER31] {
        rows.push(("counter", read(n), AS_IT_IS, [0; 5]));
        rows.push(("counter, not of U", read(n), |s| s.csr.scounteren = 0, [0, 0, I, 0, V]));
        rows.push(("counter, not of VS", read(n), |s| s.csr.hcounteren = 0, [0, 0, 0, V, V]));
        rows.push((
            "counter, of HS alone",
            read(n),
            |s| (s.csr.hcounteren, s.csr.scounteren) = (0, 0),
            [0, 0, I, V, V],
        ));
        rows.push(("counter, of M alone", read(n), |s| s.csr.mcounteren = 0, [0, I, I, I, I]));
        rows.push((
            "counter, of M and VS",
            read(n),
            |s| (s.csr.mcounteren, s.csr.scounteren) = (0, 0),
            [0, I, I, I, I],
        ));
    }
    rows.push(("stimecmp", read(csr::STIMECMP), AS_IT_IS, [0, 0, I, 0, V]));
    rows.push(("stimecmp, STCE of h", read(csr::STIMECMP), |s| s.csr.henvcfg &= !envcfg::STCE, [0, 0, I, V, V]));
    rows.push(("stimecmp, STCE of m", read(csr::STIMECMP), |s| s.csr.menvcfg &= !envcfg::STCE, [0, I, I, I, I]));
    rows.push(("stimecmp, TM of h", read(csr::STIMECMP), |s| s.csr.hcounteren &= !counteren::TM, [0, 0, I, V, V]));
    rows.push(("stimecmp, TM of m", read(csr::STIMECMP), |s| s.csr.mcounteren &= !counteren::TM, [0, I, I, I, I]));
    run(&rows);
}

#[test]
fn units_that_are_off_and_cache_blocks() {
    let fadd = word(Op::FaddD, 1, 2, 3, 0);
    let mut rows: Vec<Row> = vec![
        ("fadd", fadd, AS_IT_IS, [0; 5]),
        ("fadd, FS of mstatus", fadd, |s| s.csr.mstatus &= !mstatus::FS, [I; 5]),
        ("fadd, FS of vsstatus", fadd, |s| s.csr.vsstatus &= !mstatus::FS, [0, 0, 0, I, I]),
        ("fcsr, FS of vsstatus", read(csr::FCSR), |s| s.csr.vsstatus &= !mstatus::FS, [0, 0, 0, I, I]),
        ("vl, VS of mstatus", read(csr::VL), |s| s.csr.mstatus &= !mstatus::VS, [I; 5]),
        ("vl, VS of vsstatus", read(csr::VL), |s| s.csr.vsstatus &= !mstatus::VS, [0, 0, 0, I, I]),
    ];
    // Without a write the seed may not be accessed at all; with one U-mode by USEED, S-mode by SSEED.
    let seed = write(csr::SEED);
    rows.push(("seed", seed, AS_IT_IS, [0, 0, 0, V, V]));
    rows.push(("seed, SSEED off", seed, |s| s.csr.mseccfg &= !mseccfg::SSEED, [0, I, 0, I, I]));
    rows.push(("seed, USEED off", seed, |s| s.csr.mseccfg &= !mseccfg::USEED, [0, 0, I, V, V]));
    for (op, bits) in [(Op::CboZero, 0), (Op::CboClean, 1), (Op::CboFlush, 1), (Op::CboInval, 2)] {
        let insn = word(op, 0, 6, 0, 0);
        let off: [[Setup; 3]; 3] = [
            [
                |s| s.csr.menvcfg &= !envcfg::CBZE,
                |s| s.csr.henvcfg &= !envcfg::CBZE,
                |s| s.csr.senvcfg &= !envcfg::CBZE,
            ],
            [
                |s| s.csr.menvcfg &= !envcfg::CBCFE,
                |s| s.csr.henvcfg &= !envcfg::CBCFE,
                |s| s.csr.senvcfg &= !envcfg::CBCFE,
            ],
            [
                |s| s.csr.menvcfg &= !envcfg::CBIE,
                |s| s.csr.henvcfg &= !envcfg::CBIE,
                |s| s.csr.senvcfg &= !envcfg::CBIE,
            ],
        ];
        rows.push(("cache block", insn, AS_IT_IS, [0; 5]));
        rows.push(("cache block, m", insn, off[bits][0], [0, I, I, I, I]));
        rows.push(("cache block, h", insn, off[bits][1], [0, 0, 0, V, V]));
        rows.push(("cache block, s", insn, off[bits][2], [0, 0, I, 0, V]));
    }
    run(&rows);
}
