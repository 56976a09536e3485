//! The hypervisor extension from the specification's text: what traps in which mode, what a trap reports to whom,
//! interrupts of guests, and that translations of one guest are never used for another.

mod guest;

use accel::tcg::csr::Denied::{self, Illegal, Virtual};
use accel::tcg::interrupts::{self, World};
use accel::tcg::trap::{self, Trap};
use accel::{HartState, Mode};
use arch::csr::{self, counteren, envcfg, hstatus, mip, mstatus};
use arch::pte::{U, V};
use guest::hyper::*;
use guest::*;

const INT: u64 = 1 << 63;

// What traps.

const M: (Mode, bool) = (Mode::Machine, false);
const HS: (Mode, bool) = (Mode::Supervisor, false);
const U_: (Mode, bool) = (Mode::User, false);
const VS: (Mode, bool) = (Mode::Supervisor, true);
const VU: (Mode, bool) = (Mode::User, true);

/// The answers for M, HS, U, VS and VU.
fn matrix(check: impl Fn(&HartState) -> Result<(), Denied>, mstatus: u64, hstatus: u64) -> [Result<(), Denied>; 5] {
    [M, HS, U_, VS, VU].map(|(mode, virt)| {
        let mut s = HartState { mode, virt, ..HartState::default() };
        s.csr.misa = isa().misa();
        s.csr.mstatus |= mstatus;
        s.csr.hstatus |= hstatus;
        check(&s)
    })
}

#[test]
fn privileged_instructions_by_mode() {
    let (yes, ill, vir) = (Ok(()), Err(Illegal), Err(Virtual));
    type Check = fn(&HartState) -> Result<(), Denied>;
    let (sret, wfi, sfence): (Check, Check, Check) = (trap::check_sret, trap::check_wfi, trap::check_sfence_vma);
    let all = mstatus::TSR | mstatus::TVM | mstatus::TW;
    let guests = hstatus::VTSR | hstatus::VTVM | hstatus::VTW;
    for (check, m, h, expected) in [
        (sret, 0, 0, [yes, yes, ill, yes, vir]),
        (sret, mstatus::TSR, 0, [yes, ill, ill, yes, vir]),
        (sret, all & !mstatus::TSR, hstatus::VTSR, [yes, yes, ill, vir, vir]),
        (sret, 0, guests & !hstatus::VTSR, [yes, yes, ill, yes, vir]),
        (wfi, 0, 0, [yes, yes, ill, yes, vir]),
        (wfi, mstatus::TW, hstatus::VTW, [yes, ill, ill, ill, ill]),
        (wfi, 0, hstatus::VTW, [yes, yes, ill, vir, vir]),
        (sfence, 0, 0, [yes, yes, ill, yes, vir]),
        (sfence, mstatus::TVM, 0, [yes, ill, ill, yes, vir]),
        (sfence, 0, hstatus::VTVM, [yes, yes, ill, vir, vir]),
        (trap::check_sfence_inval, all, guests, [yes, yes, ill, yes, vir]),
        (trap::check_hfence_vvma, all, guests, [yes, yes, ill, vir, vir]),
        (trap::check_hfence_gvma, 0, 0, [yes, yes, ill, vir, vir]),
        (trap::check_hfence_gvma, mstatus::TVM, 0, [yes, ill, ill, vir, vir]),
        (trap::check_hypervisor_access, all, 0, [yes, yes, ill, vir, vir]),
        (trap::check_hypervisor_access, 0, hstatus::HU, [yes, yes, yes, vir, vir]),
    ] {
        assert_eq!(matrix(check, m, h), expected, "{m:#x} {h:#x}");
    }
}

#[test]
fn cache_block_instructions_by_mode() {
    let (yes, ill, vir) = (Ok(()), Err(Illegal), Err(Virtual));
    for (m, h, s, expected) in [
        (0, 1, 1, [yes, ill, ill, ill, ill]),
        (1, 0, 1, [yes, yes, yes, vir, vir]),
        (1, 1, 0, [yes, yes, ill, yes, vir]),
        (1, 0, 0, [yes, yes, ill, vir, vir]),
        (1, 1, 1, [yes; 5]),
    ] {
        for (bit, check) in [
            (envcfg::CBZE, trap::check_cbo_zero as fn(&HartState) -> Result<(), Denied>),
            (envcfg::CBCFE, trap::check_cbo_clean_flush),
            (1 << envcfg::CBIE_SHIFT, |s| trap::check_cbo_inval(s).map(|_| ())),
        ] {
            let got = matrix(
                |state| {
                    let mut state = state.clone();
                    (state.csr.menvcfg, state.csr.henvcfg, state.csr.senvcfg) = (m * bit, h * bit, s * bit);
                    check(&state)
                },
                0,
                0,
            );
            assert_eq!(got, expected, "{m} {h} {s} {bit:#x}");
        }
    }
}

/// In every way to run: the exception that one instruction raises in VS-mode and VU-mode.
#[test]
fn virtual_instructions_report_their_bits() {
    let hlv = word(Op::HlvD, 5, 6, 0, 0);
    let hsv = word(Op::HsvB, 0, 6, 5, 0);
    let cases = [
        (hlv, 22, 22),
        (hsv, 22, 22),
        (word(Op::HfenceVvma, 0, 0, 0, 0), 22, 22),
        (word(Op::HinvalGvma, 0, 0, 0, 0), 22, 22),
        (word(Op::Csrrs, 5, 0, 0, i32::from(csr::HSTATUS)), 22, 22),
        (word(Op::Csrrw, 0, 5, 0, i32::from(csr::VSATP)), 22, 22),
        (word(Op::Csrrs, 5, 0, 0, i32::from(csr::MSTATUS)), 2, 2),
        (word(Op::Csrrs, 5, 0, 0, i32::from(csr::SSTATUS)), 8, 22),
        (word(Op::Mret, 0, 0, 0, 0), 2, 2),
        (word(Op::SfenceVma, 0, 0, 0, 0), 8, 22),
        (word(Op::SfenceInvalIr, 0, 0, 0, 0), 8, 22),
        (word(Op::Csrrs, 5, 0, 0, i32::from(csr::TIME)), 22, 22),
    ];
    for (name, options) in modes() {
        let mut g = guest(options);
        for (insn, in_vs, in_vu) in cases {
            for (mode, expected) in [(Mode::Supervisor, in_vs), (Mode::User, in_vu)] {
                let mut a = Asm::at(CODE);
                a.word(insn).ecall();
                g.load(&a);
                let mut s = start(&g, mode, true);
                // All that VS-mode does not see goes to HS-mode; here its own ECALL tells that nothing trapped.
                s.csr.hedeleg = 0;
                let end = g.run(&s);
                let legal = expected == 8;
                let cause = if legal && mode == Mode::Supervisor { 10 } else { expected };
                assert_eq!(end.csr.scause, cause, "{name} {insn:#x} {mode:?}");
                let tval = if legal { 0 } else { u64::from(insn) };
                assert_eq!((end.csr.stval, end.csr.htval, end.csr.htinst), (tval, 0, 0), "{name} {insn:#x}");
                let status = end.csr.hstatus & (hstatus::SPV | hstatus::SPVP | hstatus::GVA);
                let spvp = if mode == Mode::Supervisor { hstatus::SPVP } else { 0 };
                assert_eq!(status, hstatus::SPV | spvp, "{name} {insn:#x}");
                assert!(!end.virt && end.mode == Mode::Supervisor, "{name}");
            }
        }
    }
}

// Where traps go.

fn taken(mode: Mode, virt: bool, t: Trap, setup: impl Fn(&mut HartState)) -> HartState {
    let mut s = HartState { mode, virt, ..HartState::default() };
    setup(&mut s);
    trap::take_trap(&mut s, &isa(), t, 0x1234);
    s
}

#[test]
fn delegation_goes_down_by_steps() {
    for (m, h, mode, virt, to) in [
        (false, true, Mode::User, true, M),
        (true, false, Mode::User, true, HS),
        (true, true, Mode::User, true, VS),
        (true, true, Mode::Supervisor, true, VS),
        (true, true, Mode::User, false, HS),
        (true, true, Mode::Supervisor, false, HS),
        (true, true, Mode::Machine, false, M),
    ] {
        let s = taken(mode, virt, Trap::new(13, 0x5000), |s| {
            s.csr.medeleg = u64::from(m) << 13;
            s.csr.hedeleg = u64::from(h) << 13;
            s.csr.mstatus = mstatus::SIE | mstatus::MIE;
            s.csr.vsstatus = mstatus::SIE;
            s.csr.hstatus = hstatus::SPVP;
        });
        assert_eq!((s.mode, s.virt), to, "{m} {h} {mode:?} {virt}");
        let spp = if mode == Mode::Supervisor { mstatus::SPP } else { 0 };
        if to == M {
            let mpv = if virt { mstatus::MPV | mstatus::GVA } else { 0 };
            assert_eq!(s.csr.mstatus & (mstatus::MPV | mstatus::GVA), mpv);
            assert_eq!((s.csr.mcause, s.csr.mtval, s.csr.mepc), (13, 0x5000, 0x1234));
        } else if to == HS {
            let was = if virt { hstatus::SPV | hstatus::GVA } else { 0 };
            assert_eq!(s.csr.hstatus & (hstatus::SPV | hstatus::GVA), was);
            // From V=0, SPVP is left alone.
            let spvp = if virt && mode == Mode::User { 0 } else { hstatus::SPVP };
            assert_eq!(s.csr.hstatus & hstatus::SPVP, spvp);
            assert_eq!(s.csr.mstatus & (mstatus::SPP | mstatus::SIE | mstatus::SPIE), spp | mstatus::SPIE);
            assert_eq!((s.csr.scause, s.csr.stval, s.csr.sepc), (13, 0x5000, 0x1234));
        } else {
            assert_eq!(s.csr.vsstatus & (mstatus::SPP | mstatus::SIE | mstatus::SPIE), spp | mstatus::SPIE);
            assert_eq!((s.csr.vscause, s.csr.vstval, s.csr.vsepc), (13, 0x5000, 0x1234));
            assert_eq!((s.csr.hstatus, s.csr.mstatus & mstatus::SIE), (hstatus::SPVP, mstatus::SIE));
        }
    }
}

#[test]
fn returns_follow_spv_and_mpv() {
    for (mpp, mpv, to) in [(0, 0, U_), (1, 0, HS), (3, 0, M), (0, 1, VU), (1, 1, VS), (3, 1, M)] {
        let mut s = HartState { mode: Mode::Machine, ..HartState::default() };
        s.csr.misa = isa().misa();
        s.csr.mstatus = (mpp << mstatus::MPP_SHIFT) | (mpv * mstatus::MPV) | mstatus::MPRV;
        trap::mret(&mut s).unwrap();
        assert_eq!((s.mode, s.virt), to);
        assert_eq!(s.csr.mstatus & (mstatus::MPP | mstatus::MPV), 0);
        assert_eq!(s.csr.mstatus & mstatus::MPRV != 0, to == M);
    }
    for (spp, spv, to) in [(0, 0, U_), (1, 0, HS), (0, 1, VU), (1, 1, VS)] {
        let mut s = HartState { mode: Mode::Supervisor, ..HartState::default() };
        s.csr.mstatus = spp * mstatus::SPP;
        s.csr.hstatus = (spv * hstatus::SPV) | hstatus::SPVP;
        s.csr.sepc = 0x44;
        trap::sret(&mut s).unwrap();
        assert_eq!(((s.mode, s.virt), s.pc), (to, 0x44));
        assert_eq!((s.csr.mstatus & mstatus::SPP, s.csr.hstatus), (0, hstatus::SPVP));
    }
    for (spp, to) in [(0, VU), (1, VS)] {
        let mut s = HartState { mode: Mode::Supervisor, virt: true, ..HartState::default() };
        (s.csr.vsstatus, s.csr.mstatus) = ((spp * mstatus::SPP) | mstatus::SPIE, mstatus::SPP);
        (s.csr.vsepc, s.csr.sepc, s.csr.hstatus) = (0x48, 0x44, hstatus::SPV);
        trap::sret(&mut s).unwrap();
        assert_eq!(((s.mode, s.virt), s.pc), (to, 0x48));
        assert_eq!((s.csr.vsstatus, s.csr.mstatus), (mstatus::SIE | mstatus::SPIE, mstatus::SPP));
        assert_eq!(s.csr.hstatus, hstatus::SPV);
    }
}

// Interrupts.

#[test]
fn virtual_interrupts_go_where_hideleg_says() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let mut a = Asm::at(CODE);
        a.nop();
        let here = a.here();
        a.nop().j(0, here);
        g.load(&a);
        for (bit, code) in [(mip::VSSIP, 2), (mip::VSTIP, 6), (mip::VSEIP, 10)] {
            for delegated in [false, true] {
                let mut s = start(&g, Mode::Supervisor, true);
                (s.csr.hvip, s.csr.mie) = (bit, bit);
                s.csr.vsstatus |= mstatus::SIE;
                (s.csr.stvec, s.csr.vstvec) = (HS_STOP | 1, VS_STOP | 1);
                s.csr.hideleg = if delegated { mip::VS_INTERRUPTS } else { 0 };
                let end = g.run(&s);
                if delegated {
                    // VS-mode's handler makes an ECALL, which HS-mode takes.
                    assert_eq!((end.csr.vscause, end.csr.scause), (INT | (code - 1), 10), "{name} {code}");
                    assert_eq!(end.csr.sepc, VS_STOP + 4 * (code - 1), "{name} {code}");
                } else {
                    assert_eq!((end.csr.scause, end.csr.htinst), (INT | code, 0), "{name} {code}");
                    assert_eq!(end.csr.hstatus & (hstatus::SPV | hstatus::GVA), hstatus::SPV, "{name} {code}");
                }
            }
        }
    }
}

#[test]
fn a_guests_interrupts_wait_for_its_enable_and_for_v() {
    let pending = |mode, virt, vsie: bool, hideleg| {
        let mut s = HartState { mode, virt, ..HartState::default() };
        (s.csr.mideleg, s.csr.hideleg, s.csr.mie) = (0x1666, hideleg, 0x1666);
        s.csr.vsstatus = if vsie { mstatus::SIE } else { 0 };
        let world = World { mip: mip::VSTIP, isa: &isa(), imsic: None };
        interrupts::pending(&s, &world).map(|t| t.cause)
    };
    let all = mip::VS_INTERRUPTS;
    assert_eq!(pending(Mode::Supervisor, true, true, all), Some(INT | 5), "by the guest's number");
    assert_eq!(pending(Mode::Supervisor, true, false, all), None);
    assert_eq!(pending(Mode::User, true, false, all), Some(INT | 5));
    for mode in [Mode::User, Mode::Supervisor] {
        assert_eq!(pending(mode, false, true, all), None, "{mode:?}: V is 0");
    }
    assert_eq!(pending(Mode::User, false, false, 0), Some(INT | 6), "HS-mode's own now");
    assert_eq!(pending(Mode::Supervisor, false, false, 0), None, "sstatus.SIE is clear");
    assert_eq!(pending(Mode::Supervisor, true, false, 0), Some(INT | 6), "below HS-mode always");
}

#[test]
fn the_guests_timer_follows_its_own_time() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let mut a = Asm::at(CODE);
        // vstimecmp is stimecmp here: a little after the guest's now. Then it waits.
        a.csrr(5, csr::TIME).i(Op::Addi, 5, 5, 200).csrw(csr::STIMECMP, 5).plain(Op::Wfi);
        let here = a.here();
        a.j(0, here);
        g.load(&a);
        let mut s = start(&g, Mode::Supervisor, true);
        s.csr.henvcfg = envcfg::STCE;
        s.csr.hcounteren = counteren::TM;
        s.csr.htimedelta = 0u64.wrapping_sub(1 << 40);
        (s.csr.hideleg, s.csr.mie) = (mip::VSTIP, mip::VSTIP);
        s.csr.vsstatus |= mstatus::SIE;
        let end = g.run(&s);
        assert_eq!((end.csr.vscause, end.csr.scause), (INT | 5, 10), "{name}");
        assert_eq!(end.csr.vstimecmp, end.x[5], "{name}");
        assert!(end.x[5] > u64::MAX - (1 << 41), "{name}: the guest's time is before the machine's zero");
    }
}

// Memory.

#[test]
fn guest_page_faults_report_both_addresses_and_the_instruction() {
    for (name, options) in modes() {
        let mut g = guest(options);
        // Each access of VA, and what htinst shows: the instruction without base and immediate.
        type Emit = fn(&mut Asm);
        let cases: [(Emit, u64, u64); 6] = [
            (
                |a| {
                    a.i(Op::Lw, 6, 8, 4);
                },
                21,
                0x2303,
            ),
            (
                |a| {
                    a.s(Op::Sd, 6, 8, 4);
                },
                23,
                0x60_3023,
            ),
            (
                |a| {
                    a.half(0x4050);
                },
                21,
                0x2601,
            ),
            (
                |a| {
                    a.half(0xe014);
                },
                23,
                0xd0_3021,
            ),
            (
                |a| {
                    a.amo(Op::AmoaddW, 6, 7, 9, 3);
                },
                23,
                0x0670_232f,
            ),
            (
                |a| {
                    a.amo(Op::LrD, 6, 0, 9, 0);
                },
                21,
                0x1000_332f,
            ),
        ];
        for (emit, cause, tinst) in cases {
            let (mut s, mut st) = in_guest(&g, emit);
            // c.lw a2, 4(s0) and c.sd a3, 0(s0) use s0, which is x8; atomics x9.
            (s.x[8], s.x[9]) = (VA, VA + 8);
            let slot = st.vs_map(&g, VA, 0x1_0000_0000, RWX);
            let end = g.run(&s);
            assert_eq!(end.csr.scause, cause, "{name} {tinst:#x}");
            let offset = end.csr.stval - VA;
            assert!([0, 4, 8].contains(&offset), "{name} {offset}");
            assert_eq!(end.csr.htval, (0x1_0000_0000 + offset) >> 2, "{name} {tinst:#x}");
            assert_eq!((end.csr.htinst, end.csr.sepc), (tinst, CODE), "{name}");
            assert_eq!(end.csr.hstatus & (hstatus::GVA | hstatus::SPV), hstatus::GVA | hstatus::SPV, "{name}");
            // The guest's own page fault goes to the guest, and shows nothing to the hypervisor.
            g.write64(slot, 0);
            s.csr.hedeleg = 0xb1ff;
            let end = g.run(&s);
            let own = if cause == 21 { 13 } else { 15 };
            assert_eq!((end.csr.vscause, end.csr.vstval, end.csr.scause), (own, VA + offset, 10), "{name}");
        }
    }
}

#[test]
fn faults_of_the_guests_tables_show_a_pseudoinstruction() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let (mut s, mut st) = in_guest(&g, |a| {
            a.i(Op::Ld, 6, 8, 0);
        });
        s.x[8] = VA;
        // The pointer of the guest leads out of its memory.
        let pointer = st.vs.root + 8 * arch::pte::index(VA, 2);
        g.write64(pointer, 0x2_0000_0000 >> 2 | V);
        // Code and data share that pointer: take another for the data.
        s.x[8] = VA + (1 << 30) * 5;
        g.write64(st.vs.root + 8 * arch::pte::index(s.x[8], 2), 0x2_0000_0000 >> 2 | V);
        st.vs_map(&g, CODE, CODE - RAM, RWX);
        let end = g.run(&s);
        let slot = 0x2_0000_0000 + 8 * arch::pte::index(s.x[8], 1);
        assert_eq!((end.csr.scause, end.csr.stval), (21, s.x[8]), "{name}");
        assert_eq!((end.csr.htval, end.csr.htinst), (slot >> 2, 0x3000), "{name}");
        // A store, and a fetch: the cause is theirs.
        for (program, cause) in [
            (
                Box::new(|a: &mut Asm| {
                    a.s(Op::Sb, 6, 8, 0);
                }) as Box<dyn Fn(&mut Asm)>,
                23,
            ),
            (
                Box::new(|a: &mut Asm| {
                    a.i(Op::Jalr, 0, 8, 0);
                }),
                20,
            ),
        ] {
            let mut a = Asm::at(CODE);
            program(&mut a);
            g.load(&a);
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.csr.htval, end.csr.htinst), (cause, slot >> 2, 0x3000), "{name}");
        }
    }
}

#[test]
fn hlv_and_hsv_reach_into_the_guest() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let (s, _) = in_guest(&g, |a| {
            a.r(Op::HlvB, 10, 8, 0).r(Op::HlvBu, 11, 8, 0).r(Op::HlvH, 12, 8, 0).r(Op::HlvHu, 13, 8, 0);
            a.r(Op::HlvW, 14, 8, 0).r(Op::HlvWu, 15, 8, 0).r(Op::HlvD, 16, 8, 0).r(Op::HlvxWu, 17, 8, 0);
            a.r(Op::HsvB, 0, 9, 20).ecall();
        });
        let mut s = HartState { virt: false, ..s };
        s.csr.hstatus |= hstatus::SPVP;
        g.write64(PAGE_A, 0x8182_8384_8586_8788);
        (s.x[8], s.x[9], s.x[20]) = (VA, VA + 9, 0x5a);
        let end = g.run(&s);
        assert_eq!(
            end.x[10..18],
            [
                0xffff_ffff_ffff_ff88,
                0x88,
                0xffff_ffff_ffff_8788,
                0x8788,
                0xffff_ffff_8586_8788,
                0x8586_8788,
                0x8182_8384_8586_8788,
                0x8586_8788
            ],
            "{name}"
        );
        assert_eq!(g.read64(PAGE_A + 8), 0x5a00, "{name}");
        // As VU-mode the page is out of reach; the trap is HS-mode's own, and names a guest's address.
        s.csr.hstatus &= !hstatus::SPVP;
        s.csr.medeleg = 0;
        let end = g.run(&s);
        assert_eq!((end.csr.mcause, end.csr.mtval, end.csr.mepc), (13, VA, CODE), "{name}");
        let status = end.csr.mstatus & (mstatus::GVA | mstatus::MPV);
        assert_eq!((status, end.csr.mtinst), (mstatus::GVA, 0x6000_4573), "{name}");
    }
}

#[test]
fn mprv_borrows_the_guests_eyes() {
    for (name, options) in modes() {
        let mut g = guest(options);
        g.write64(PAGE_A, 77);
        let (s, _) = in_guest(&g, |a| {
            a.i(Op::Ld, 6, 8, 0).i(Op::Ld, 7, 9, 0);
        });
        let mut s = HartState { mode: Mode::Machine, virt: false, ..s };
        s.csr.mstatus |= mstatus::MPRV | mstatus::MPV | 1 << mstatus::MPP_SHIFT;
        (s.x[8], s.x[9]) = (VA, VA + 0x1000);
        let end = g.run(&s);
        assert_eq!((end.x[6], end.csr.mcause, end.csr.mtval), (77, 13, VA + 0x1000), "{name}");
        assert_ne!(end.csr.mstatus & mstatus::GVA, 0, "{name}");
    }
}

/// Two virtual machines with the same guest addresses, entered by turns without any fence.
#[test]
fn guests_are_told_apart_by_vmid_and_asid() {
    for (name, options) in modes() {
        let mut g = guest(options);
        g.write64(PAGE_A, 0xa);
        g.write64(PAGE_B, 0xb);
        let (mut s, _) = in_guest(&g, |a| {
            a.i(Op::Ld, 6, 8, 0).ecall();
        });
        s.x[8] = VA;
        let mut other = Stages::new(&g, TABLES + 0x4_0000);
        // The other machine has its page elsewhere by the second stage; and by the first in another address space.
        other.vs_map(&g, VA, PAGE_B - RAM, RWX);
        let first = (s.csr.vsatp, s.csr.hgatp);
        let mut t = s.clone();
        other.enter(&mut t, 1, 2);
        let second = (t.csr.vsatp, t.csr.hgatp);
        // HS-mode drives them: it sets the registers, enters, and comes back at HS_STOP.
        let mut a = Asm::at(RAM + 0x2_0000);
        a.csrw(csr::STVEC, 20);
        for turn in 0..6 {
            let (vsatp, hgatp) = if turn % 2 == 0 { first } else { second };
            a.li(5, vsatp).csrw(csr::VSATP, 5).li(5, hgatp).csrw(csr::HGATP, 5);
            a.li(5, hstatus::SPV).csrs(csr::HSTATUS, 5).li(5, mstatus::SPP).csrs(csr::SSTATUS, 5);
            // Where the guest's ECALL comes back to: behind the SRET.
            let back = a.here() + 8 * 4 + 4 + 8 * 4 + 4 + 4;
            a.li(5, back).csrw(csr::STVEC, 5).li(5, CODE).csrw(csr::SEPC, 5).plain(Op::Sret);
            assert_eq!(a.here(), back);
            a.i(Op::Addi, 10 + turn, 6, 0);
        }
        a.ecall();
        g.load(&a);
        let mut hs = HartState { virt: false, pc: RAM + 0x2_0000, ..s };
        hs.x[20] = HS_STOP;
        let end = g.run(&hs);
        assert_eq!(end.x[10..16], [0xa, 0xb, 0xa, 0xb, 0xa, 0xb], "{name}");
    }
}

/// What HFENCE.VVMA, HFENCE.GVMA and SFENCE.VMA in the guest order.
#[test]
fn fences_make_new_tables_seen() {
    for (name, options) in modes() {
        for fence in
            [word(Op::SfenceVma, 0, 0, 0, 0), word(Op::SfenceVma, 0, 8, 0, 0), word(Op::SinvalVma, 0, 8, 12, 0)]
        {
            let mut g = guest(options.clone());
            g.write64(PAGE_A, 0xa);
            g.write64(PAGE_B, 0xb);
            // The guest maps its page elsewhere through a window on its table, and fences.
            let (mut s, mut st) = in_guest(&g, |a| {
                a.i(Op::Ld, 6, 8, 0).s(Op::Sd, 10, 11, 0).word(fence).i(Op::Ld, 7, 8, 0).ecall();
            });
            let slot = st.vs_map(&g, VA, PAGE_A - RAM, RWX);
            st.vs_map(&g, VA + 0x1000, (slot & !0xfff) - RAM, RWX);
            (s.x[8], s.x[10], s.x[11], s.x[12]) = (VA, leaf(PAGE_B - RAM, RWX), VA + 0x1000 + (slot & 0xfff), 1);
            let end = g.run(&s);
            assert_eq!((end.x[6], end.x[7], end.csr.scause), (0xa, 0xb, 10), "{name} {fence:#x}");
        }
        for fence in [
            word(Op::HfenceVvma, 0, 0, 0, 0),
            word(Op::HfenceVvma, 0, 8, 12, 0),
            word(Op::HinvalVvma, 0, 0, 12, 0),
            word(Op::HfenceGvma, 0, 0, 0, 0),
            word(Op::HfenceGvma, 0, 13, 12, 0),
            word(Op::HinvalGvma, 0, 0, 12, 0),
        ] {
            let mut g = guest(options.clone());
            g.write64(PAGE_A, 0xa);
            g.write64(PAGE_B, 0xb);
            let (mut s, mut st) = in_guest(&g, |a| {
                a.i(Op::Ld, 6, 8, 0).ecall();
            });
            let gvma = fence >> 25 & 0x20 != 0;
            // The guest is entered once before the change and once after it; by hand, as the machine's owner.
            let slot = if gvma {
                let big = st.g.slot(&g, PAGE_A - RAM, 1);
                let table = RAM + 0x3f_0000;
                (0..512).for_each(|i| g.write64(table + 8 * i, leaf(PAGE_A + 0x1000 * i, RWX | U)));
                g.write64(big, table >> 2 | V);
                table
            } else {
                st.vs_map(&g, VA, PAGE_A - RAM, RWX)
            };
            let new = if gvma { leaf(PAGE_B, RWX | U) } else { leaf(PAGE_B - RAM, RWX) };
            let mut a = Asm::at(RAM + 0x2_0000);
            for turn in 0..2 {
                if turn == 1 {
                    a.s(Op::Sd, 10, 11, 0).word(fence);
                }
                a.li(5, hstatus::SPV).csrs(csr::HSTATUS, 5).li(5, mstatus::SPP).csrs(csr::SSTATUS, 5);
                let back = a.here() + 8 * 4 + 4 + 8 * 4 + 4 + 4;
                a.li(5, back).csrw(csr::STVEC, 5).li(5, CODE).csrw(csr::SEPC, 5).plain(Op::Sret);
                a.i(Op::Addi, 20 + turn, 6, 0);
            }
            a.ecall();
            g.load(&a);
            (s.virt, s.pc) = (false, RAM + 0x2_0000);
            (s.x[8], s.x[10], s.x[11], s.x[12], s.x[13]) = (VA, new, slot, 1, (PAGE_A - RAM) >> 2);
            let end = g.run(&s);
            assert_eq!(end.x[20..22], [0xa, 0xb], "{name} {fence:#x}");
        }
    }
}

#[test]
fn floating_point_needs_both_fields_and_makes_both_dirty() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let (s, _) = in_guest(&g, |a| {
            a.r(Op::FmvDX, 1, 5, 0).ecall();
        });
        for (m, vs, cause) in [(0, 1, 2), (1, 0, 2), (0, 0, 2), (1, 1, 10), (1, 3, 10), (3, 2, 10)] {
            let mut s = s.clone();
            s.csr.mstatus = s.csr.mstatus & !mstatus::FS | m << mstatus::FS_SHIFT;
            s.csr.vsstatus = s.csr.vsstatus & !mstatus::FS | vs << mstatus::FS_SHIFT;
            let end = g.run(&s);
            assert_eq!(end.csr.scause, cause, "{name} {m} {vs}");
            if cause == 10 {
                let fs = |status: u64| (status & mstatus::FS) >> mstatus::FS_SHIFT;
                assert_eq!((fs(end.csr.mstatus), fs(end.csr.vsstatus)), (3, 3), "{name} {m} {vs}");
            }
        }
    }
}
