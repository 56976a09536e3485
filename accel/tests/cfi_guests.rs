//! Landing pads (Zicfilp) and shadow stacks (Zicfiss) in virtual machines: which register enables them in which mode,
//! what becomes of an expectation on the way up and down, and whose fault it is when both stages have a say.
//!
//! Privileged spec, "Control-flow Integrity (CFI)", "Two-Stage Address Translation".

mod guest;

use accel::{HartState, Mode};
use arch::csr::{SSP, envcfg, hstatus, mseccfg, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::pte::{A, D, R, U, W, X};
use guest::hyper::*;
use guest::*;

const SSPUSH: u32 = 0xce10_4073;
const SSPOPCHK: u32 = 0xcdc0_c073;
const C_SSPUSH: u16 = 0x6081;
const SSRDP_X9: u32 = 0xcdc0_44f3;

const SOFTWARE_CHECK: u64 = 18;
const ECALL_VU: u64 = 8;
const ECALL_HS: u64 = 9;
const ECALL_VS: u64 = 10;

const HS: (Mode, bool) = (Mode::Supervisor, false);
const U_: (Mode, bool) = (Mode::User, false);
const VS: (Mode, bool) = (Mode::Supervisor, true);
const VU: (Mode, bool) = (Mode::User, true);

fn with_cfi() -> IsaConfig {
    let isa = hyper::isa();
    let more = ExtSet::of(&[Ext::Zicfilp, Ext::Zicfiss, Ext::Zimop, Ext::Zcmop, Ext::Svadu]);
    IsaConfig { exts: isa.exts.union(&more).closure(), ..isa }
}

/// Without translation: M-mode, or the mode that `medeleg` and `hedeleg` name, takes all traps.
fn untranslated(
    (mode, virt): (Mode, bool),
    program: impl Fn(&mut Asm),
    setup: impl Fn(&mut HartState),
    check: impl Fn(&str, &HartState),
) {
    for (name, options) in modes().into_iter().take(2) {
        let mut g = guest_of(options, with_cfi());
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.ecall();
        g.load(&a);
        let mut s = start(&g, mode, virt);
        s.csr.medeleg = 0;
        setup(&mut s);
        check(name, &g.run(&s));
    }
}

/// An indirect jump by x6 over the next instruction to one that is no landing pad.
fn jump(a: &mut Asm) {
    let target = a.here() + 8 * 4 + 4 + 4;
    a.li(6, target).i(Op::Jalr, 0, 6, 0).nop();
    assert_eq!(a.here(), target);
    a.i(Op::Addi, 20, 20, 1);
}

/// The registers in which LPE is set.
#[derive(Clone, Copy, Debug)]
struct Enabled {
    m: bool,
    s: bool,
    h: bool,
    u: bool,
}

impl Enabled {
    fn set(self, s: &mut HartState) {
        let lpe = |on| if on { envcfg::LPE } else { 0 };
        s.csr.menvcfg |= lpe(self.s);
        s.csr.henvcfg |= lpe(self.h);
        s.csr.senvcfg |= lpe(self.u);
        s.csr.mseccfg |= if self.m { mseccfg::MLPE } else { 0 };
    }

    /// All, or all but this mode's; or this mode's alone, or none.
    fn cases(mode: (Mode, bool)) -> [(Self, bool); 4] {
        let own = match mode {
            (Mode::Machine, _) => [true, false, false, false],
            HS => [false, true, false, false],
            VS => [false, false, true, false],
            _ => [false, false, false, true],
        };
        let of = |[m, s, h, u]: [bool; 4]| Self { m, s, h, u };
        [(of([true; 4]), true), (of(own.map(|b| !b)), false), (of(own), true), (of([false; 4]), false)]
    }
}

#[test]
fn each_mode_has_its_own_enable_of_landing_pads() {
    for mode in [HS, U_, VS, VU] {
        for (enabled, checked) in Enabled::cases(mode) {
            untranslated(
                mode,
                jump,
                |s| enabled.set(s),
                |name, s| {
                    let expected = if checked { (SOFTWARE_CHECK, 2, 0) } else { (s.csr.mcause, 0, 1) };
                    assert_eq!((s.csr.mcause, s.csr.mtval, s.x[20]), expected, "{name} {mode:?} {enabled:?}");
                    let saved = s.csr.mstatus & (mstatus::MPELP | mstatus::SPELP);
                    assert_eq!(saved, if checked { mstatus::MPELP } else { 0 }, "{name} {mode:?}");
                    assert!(!s.elp, "{name} {mode:?}: the handler's jumps start afresh");
                },
            );
        }
    }
}

/// The expectation is kept for the mode that takes the trap, and for no other.
#[test]
fn a_trap_keeps_the_expectation_where_it_goes() {
    let all = Enabled { m: false, s: false, h: true, u: true };
    let (bit, m, vs) = (1 << SOFTWARE_CHECK, mstatus::MPELP, mstatus::SPELP);
    for from in [VS, VU] {
        for (medeleg, hedeleg, in_mstatus, in_vsstatus) in [(0, bit, m, 0), (bit, 0, vs, 0), (bit, bit, 0, vs)] {
            untranslated(
                from,
                jump,
                |s| {
                    all.set(s);
                    (s.csr.medeleg, s.csr.hedeleg) = (medeleg, hedeleg);
                },
                |name, s| {
                    let status = (s.csr.mstatus & (mstatus::MPELP | mstatus::SPELP), s.csr.vsstatus & mstatus::SPELP);
                    let at = format!("{name} {from:?} {medeleg:#x} {hedeleg:#x}");
                    assert_eq!(status, (in_mstatus, in_vsstatus), "{at}");
                    let cause = [s.csr.mcause, s.csr.scause, s.csr.vscause];
                    let taken = [medeleg == 0, medeleg != 0 && hedeleg == 0, medeleg & hedeleg != 0];
                    for (cause, taken) in cause.into_iter().zip(taken) {
                        assert_eq!(cause == SOFTWARE_CHECK, taken, "{at}");
                    }
                },
            );
        }
    }
}

/// A return makes the expectation hold again if the mode it returns to has landing pads, and forgets it in any case.
#[test]
fn returns_follow_the_enable_of_the_mode_they_lead_to() {
    const THERE: u64 = CODE + 0x100;
    let nothing = word(Op::Addi, 20, 20, 0, 1);
    for (ret, from) in [(Op::Mret, (Mode::Machine, false)), (Op::Sret, HS), (Op::Sret, VS)] {
        let to = match from {
            (Mode::Machine, _) => vec![HS, U_, VS, VU],
            HS => vec![HS, U_, VS, VU],
            _ => vec![VS, VU],
        };
        for to in to {
            for (enabled, checked) in Enabled::cases(to) {
                for expecting in [true, false] {
                    untranslated(
                        from,
                        |a| {
                            a.plain(ret).pad_to(0x100);
                            a.word(nothing);
                        },
                        |s| {
                            enabled.set(s);
                            let (spp, spv) = (to.0 == Mode::Supervisor, if to.1 { hstatus::SPV } else { 0 });
                            let mode = if spp { mstatus::SPP | 1 << mstatus::MPP_SHIFT } else { 0 };
                            s.csr.mstatus |= mode | if to.1 { mstatus::MPV } else { 0 };
                            s.csr.vsstatus |= mode & mstatus::SPP;
                            s.csr.hstatus |= spv;
                            (s.csr.mepc, s.csr.sepc, s.csr.vsepc) = (THERE, THERE, THERE);
                            // The other fields say the opposite.
                            let all = [mstatus::MPELP, mstatus::SPELP];
                            let own = if ret == Op::Mret { all[0] } else { all[1] };
                            let others = all[0] | all[1];
                            let (here, elsewhere) = if expecting { (own, 0) } else { (0, others) };
                            if from == VS {
                                s.csr.vsstatus |= here & mstatus::SPELP;
                                s.csr.mstatus |= elsewhere;
                            } else {
                                s.csr.mstatus |= here | elsewhere & !own;
                                s.csr.vsstatus |= elsewhere & mstatus::SPELP;
                            }
                        },
                        |name, s| {
                            let at = format!("{name} {from:?} -> {to:?} {enabled:?} {expecting}");
                            let traps = checked && expecting;
                            assert_eq!((s.csr.mcause == SOFTWARE_CHECK, s.x[20] == 0), (traps, traps), "{at}");
                            let own = match from {
                                VS => s.csr.vsstatus & mstatus::SPELP,
                                HS => s.csr.mstatus & mstatus::SPELP,
                                // Set anew by the trap that ends the program.
                                _ => 0,
                            };
                            assert_eq!(own, 0, "{at}");
                        },
                    );
                }
            }
        }
    }
}

/// Runs `program` in a guest with VA mapped by these flags in either stage, traps going to HS-mode. x8 is eight bytes
/// below the pointer.
fn stages(
    mode: Mode,
    flags: (u64, u64),
    program: impl Fn(&mut Asm),
    setup: impl Fn(&mut HartState),
    check: impl Fn(&str, &HartState),
) {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, with_cfi());
        let (mut s, mut st) = in_guest(&g, |a| {
            program(a);
            a.ecall();
        });
        s.mode = mode;
        if mode == Mode::User {
            st.vs_map(&g, CODE, CODE - RAM, RWX | U);
        }
        st.vs_map(&g, VA, PAGE_A - RAM, flags.0);
        st.g_map(&g, PAGE_A - RAM, PAGE_A, flags.1);
        let all = envcfg::SSE | envcfg::CBCFE | envcfg::CBZE;
        s.csr.menvcfg |= all;
        (s.csr.henvcfg, s.csr.senvcfg) = (all, all);
        (s.csr.ssp, s.x[8], s.x[9], s.x[1]) = (VA + 0x100, VA + 0xf8, 7, 0);
        setup(&mut s);
        check(name, &g.run(&s));
    }
}

const SHADOW: u64 = W | A | D;
const GUEST_RW: u64 = R | W | A | D | U;

type Program = fn(&mut Asm);
const PUSH: Program = |a| drop(a.word(SSPUSH));
const C_PUSH: Program = |a| drop(a.half(C_SSPUSH));
const POP: Program = |a| drop(a.word(SSPOPCHK));
const SWAP: Program = |a| drop(a.amo(Op::SsamoswapD, 10, 9, 8, 0));
const LOAD: Program = |a| drop(a.i(Op::Ld, 10, 8, 0));
const LR: Program = |a| drop(a.amo(Op::LrD, 10, 0, 8, 0));
const STORE: Program = |a| drop(a.s(Op::Sd, 9, 8, 0));
const SC: Program = |a| drop(a.amo(Op::LrD, 10, 0, 8, 0).amo(Op::ScD, 10, 9, 8, 0));
const AMO: Program = |a| drop(a.amo(Op::AmoorD, 10, 9, 8, 0));
const JUMP: Program = |a| drop(a.i(Op::Jalr, 0, 8, 0));
const CLEAN: Program = |a| drop(a.i(Op::CboClean, 0, 8, 0));
const ZERO: Program = |a| drop(a.i(Op::CboZero, 0, 8, 0));

fn drop<T>(_: T) {}

#[test]
fn both_stages_have_a_say_in_shadow_stacks() {
    const FINE: u64 = ECALL_VS;
    let rw = R | W | A | D;
    // First stage, second stage, what is done, its cause.
    let cases: [(u64, u64, Program, u64); 36] = [
        (SHADOW, GUEST_RW, PUSH, FINE),
        (SHADOW, GUEST_RW, C_PUSH, FINE),
        (SHADOW, GUEST_RW, POP, FINE),
        (SHADOW, GUEST_RW, SWAP, FINE),
        (SHADOW, GUEST_RW | X, SWAP, FINE),
        (SHADOW, GUEST_RW, LOAD, FINE),
        (SHADOW, GUEST_RW, LR, FINE),
        (SHADOW, GUEST_RW, CLEAN, FINE),
        (SHADOW, GUEST_RW, STORE, 7),
        (SHADOW, GUEST_RW, SC, 7),
        (SHADOW, GUEST_RW, AMO, 7),
        (SHADOW, GUEST_RW, ZERO, 7),
        (SHADOW, GUEST_RW | X, JUMP, 1),
        // Read and write permission of the second stage, also for what only reads.
        (SHADOW, R | A | D | U, PUSH, 23),
        (SHADOW, R | A | D | U, C_PUSH, 23),
        (SHADOW, R | A | D | U, POP, 23),
        (SHADOW, R | A | D | U, SWAP, 23),
        (SHADOW, R | X | A | D | U, POP, 23),
        (SHADOW, R | A | D | U, LOAD, FINE),
        (SHADOW, 0, PUSH, 23),
        (SHADOW, 0, POP, 23),
        (SHADOW, rw, PUSH, 23),
        // There are no shadow stack pages in the second stage.
        (SHADOW, SHADOW | U, PUSH, 23),
        (SHADOW, SHADOW | U, POP, 23),
        (SHADOW, SHADOW | U, LOAD, 21),
        (rw, SHADOW | U, LOAD, 21),
        // The first stage comes first.
        (0, 0, PUSH, 15),
        (R | A, 0, PUSH, 15),
        (R | A, GUEST_RW, POP, 15),
        (R | A, GUEST_RW, SWAP, 15),
        (rw, 0, PUSH, 7),
        (rw, GUEST_RW, POP, 7),
        (rw | X, GUEST_RW, SWAP, 7),
        (X | A, GUEST_RW | X, POP, 7),
        (SHADOW, 0, STORE, 7),
        (SHADOW | U, GUEST_RW, PUSH, 15),
    ];
    for (n, (first, second, program, cause)) in cases.into_iter().enumerate() {
        stages(
            Mode::Supervisor,
            (first, second),
            program,
            |_| {},
            |name, s| {
                assert_eq!(s.csr.scause, cause, "{name}: case {n}, {:#x}", s.csr.stval);
                if cause != FINE {
                    let pop = s.csr.stval == VA + 0x100;
                    assert!(pop || s.csr.stval == VA + 0xf8, "{name}: case {n}");
                    assert_ne!(s.csr.hstatus & hstatus::GVA, 0, "{name}: case {n}");
                }
                if cause >= 20 {
                    assert_eq!(s.csr.htval, (PAGE_A - RAM + (s.csr.stval & 0xfff)) >> 2, "{name}: case {n}");
                    // Pushes and pops have no transformation; a swap is an atomic, and a load one of those it knows.
                    let transformed = [(SWAP as usize, 0x4890_352f), (LOAD as usize, 0x0000_3503)];
                    let found = transformed.iter().find(|t| t.0 == program as usize);
                    assert_eq!(s.csr.htinst, found.map_or(0, |t| t.1), "{name}: case {n}");
                }
                if cause == FINE && program as usize != POP as usize {
                    let pushes = program as usize == PUSH as usize || program as usize == C_PUSH as usize;
                    assert_eq!(s.csr.ssp, VA + if pushes { 0xf8 } else { 0x100 }, "{name}: case {n}");
                }
            },
        );
    }
}

#[test]
fn a_user_page_is_the_users_and_withheld_pages_are_reserved() {
    let user = SHADOW | U;
    let off = |bit: u64| move |s: &mut HartState| s.csr.henvcfg &= !bit;
    stages(
        Mode::User,
        (user, GUEST_RW),
        PUSH,
        |_| {},
        |name, s| {
            assert_eq!((s.csr.scause, s.csr.ssp), (ECALL_VU, VA + 0xf8), "{name}");
        },
    );
    stages(Mode::User, (SHADOW, GUEST_RW), PUSH, |_| {}, |name, s| assert_eq!(s.csr.scause, 15, "{name}"));
    // SUM lets VS-mode push to it.
    stages(
        Mode::Supervisor,
        (user, GUEST_RW),
        PUSH,
        |s| s.csr.vsstatus |= mstatus::SUM,
        |name, s| {
            assert_eq!((s.csr.scause, s.csr.ssp), (ECALL_VS, VA + 0xf8), "{name}");
        },
    );
    // Where a level above has it off, the encoding is reserved and the instructions do nothing.
    for mode in [Mode::Supervisor, Mode::User] {
        let flags = (if mode == Mode::User { user } else { SHADOW }, GUEST_RW);
        stages(mode, flags, LOAD, off(envcfg::SSE), |name, s| {
            assert_eq!((s.csr.scause, s.csr.stval), (13, VA + 0xf8), "{name} {mode:?}");
        });
        stages(mode, flags, PUSH, off(envcfg::SSE), |name, s| {
            assert_eq!((s.csr.scause, s.csr.ssp), (if mode == Mode::User { 8 } else { 10 }, VA + 0x100), "{name}");
        });
        stages(
            mode,
            flags,
            LOAD,
            |s| s.csr.menvcfg &= !envcfg::SSE,
            |name, s| {
                assert_eq!((s.csr.scause, s.csr.stval), (13, VA + 0xf8), "{name} {mode:?}");
            },
        );
    }
    // The guest's supervisor withholds it from its user: the page remains one of a shadow stack.
    stages(
        Mode::User,
        (user, GUEST_RW),
        LOAD,
        |s| s.csr.senvcfg = 0,
        |name, s| {
            assert_eq!(s.csr.scause, ECALL_VU, "{name}");
        },
    );
    stages(Mode::User, (user, GUEST_RW), STORE, |s| s.csr.senvcfg = 0, |name, s| assert_eq!(s.csr.scause, 7, "{name}"));
    stages(
        Mode::User,
        (user, GUEST_RW),
        PUSH,
        |s| s.csr.senvcfg = 0,
        |name, s| {
            assert_eq!((s.csr.scause, s.csr.ssp), (ECALL_VU, VA + 0x100), "{name}");
        },
    );
}

/// A stage that is Bare: of the first nothing can be a shadow stack, of the second everything can.
#[test]
fn bare_stages() {
    for (n, program) in [PUSH, POP, SWAP].into_iter().enumerate() {
        stages(
            Mode::Supervisor,
            (SHADOW, GUEST_RW),
            program,
            |s| s.csr.vsatp = 0,
            |name, s| {
                // Code is not where it was either, but guest physical CODE - RAM is.
                assert_eq!(s.csr.scause, 20, "{name} {n}: the code itself is out of the guest's memory");
            },
        );
        stages(
            Mode::Supervisor,
            (SHADOW, GUEST_RW),
            program,
            |s| (s.csr.vsatp, s.pc) = (0, CODE - RAM),
            |name, s| assert_eq!((s.csr.scause, s.csr.htval), (7, 0), "{name} {n}"),
        );
    }
}

/// Another mode's shadow stack pages, by HLV and HSV, and by MPRV.
#[test]
fn accesses_from_outside() {
    let cases: [(Program, u64); 4] = [
        (|a| drop(a.r(Op::HlvD, 10, 8, 0)), ECALL_HS),
        (|a| drop(a.r(Op::HlvxWu, 10, 8, 0)), 13),
        (|a| drop(a.r(Op::HsvD, 0, 8, 9)), 7),
        // In HS-mode, without page tables.
        (SWAP, 7),
    ];
    for (n, (program, cause)) in cases.into_iter().enumerate() {
        stages(
            Mode::Supervisor,
            (SHADOW, GUEST_RW | X),
            program,
            |s| {
                s.virt = false;
                s.csr.hstatus |= hstatus::SPVP;
                s.csr.medeleg &= !(1 << ECALL_HS);
            },
            |name, s| {
                let got = if cause == ECALL_HS { 0 } else { cause };
                assert_eq!(s.csr.scause, got, "{name} {n}");
            },
        );
    }
    // SSAMOSWAP in M-mode: physical memory is no shadow stack, that of the mode which MPRV names is one.
    for (mprv, mpp, mpv, cause) in [(0, 1, 1, 7), (1, 3, 1, 7), (1, 1, 1, 11), (1, 1, 0, 7), (1, 0, 1, 15)] {
        stages(
            Mode::Machine,
            (SHADOW, GUEST_RW),
            SWAP,
            |s| {
                s.virt = false;
                s.csr.mstatus |= (mprv * mstatus::MPRV) | (mpp << mstatus::MPP_SHIFT) | (mpv * mstatus::MPV);
                // The stop code is reached with MPRV on: to M-mode itself it is none.
                s.csr.mtvec = STOP;
            },
            |name, s| {
                let address = if mprv == 1 && mpv == 1 && mpp != 3 { mstatus::GVA } else { 0 };
                assert_eq!(s.csr.mcause, cause, "{name} {mprv} {mpp} {mpv}");
                if cause != 11 {
                    assert_eq!(
                        (s.csr.mtval, s.csr.mstatus & mstatus::GVA),
                        (VA + 0xf8, address),
                        "{name} {mprv} {mpp}"
                    );
                }
            },
        );
    }
}

/// The rules of access to `ssp`, which SSAMOSWAP follows too.
#[test]
fn who_may_touch_the_pointer() {
    let (ill, vir) = (2, 22);
    // SSE of menvcfg, henvcfg and senvcfg; what it is in S, U, VS and VU.
    for (m, h, u, expected) in [
        (0, 1, 1, [ill, ill, ill, ill]),
        (1, 0, 1, [0, 0, vir, vir]),
        (1, 1, 0, [0, ill, 0, vir]),
        (1, 0, 0, [0, ill, vir, vir]),
        (1, 1, 1, [0, 0, 0, 0]),
    ] {
        for (mode, expected) in [HS, U_, VS, VU].into_iter().zip(expected) {
            for word in [0x0110_24f3, word(Op::SsamoswapW, 10, 8, 9, 0), SSRDP_X9] {
                assert_eq!(SSP, 0x11);
                untranslated(
                    mode,
                    |a| drop(a.word(word)),
                    |s| {
                        s.csr.menvcfg |= m * envcfg::SSE;
                        (s.csr.henvcfg, s.csr.senvcfg) = (h * envcfg::SSE, u * envcfg::SSE);
                        (s.csr.ssp, s.x[8], s.x[9]) = (0x1238, PAGE_A, 5);
                    },
                    |name, s| {
                        let at = format!("{name} {mode:?} {m}{h}{u} {word:#x}");
                        match (word, expected) {
                            // A may-be-operation where it is off.
                            (SSRDP_X9, _) => {
                                assert_eq!(s.x[9], if expected == 0 { 0x1238 } else { 0 }, "{at}");
                            }
                            (0x0110_24f3, 0) => assert_eq!(s.x[9], 0x1238, "{at}"),
                            // Nothing is a shadow stack without page tables.
                            (_, 0) => assert_eq!((s.csr.mcause, s.csr.mtval), (7, PAGE_A), "{at}"),
                            _ => assert_eq!((s.csr.mcause, s.csr.mtval), (expected, u64::from(word)), "{at}"),
                        }
                    },
                );
            }
        }
    }
}

/// A hart that expects a landing pad: what is found wrong before the check, and what after it.
#[test]
fn the_check_has_its_place_among_exceptions() {
    use arch::csr::{mcontrol6, mip};
    type Setup = fn(&Guest, &mut Stages, &mut HartState);
    const INT: u64 = 1 << 63;
    let lpad = 0x0000_0017;
    let ebreak = word(Op::Ebreak, 0, 0, 0, 0);
    let nothing: Setup = |_, _, _| {};
    let cases: [(&str, u32, Setup, u64, u64); 12] = [
        ("lpad", lpad, nothing, ECALL_VS, 0),
        ("a label", lpad | 0x12345 << 12, |_, _, s| s.x[7] = 0x1234_5fff, ECALL_VS, 0),
        ("another label", lpad | 0x12345 << 12, |_, _, s| s.x[7] = 0x1234_6000, SOFTWARE_CHECK, 2),
        ("no lpad", word(Op::Addi, 5, 5, 0, 1), nothing, SOFTWARE_CHECK, 2),
        ("illegal", 0, nothing, SOFTWARE_CHECK, 2),
        ("virtual", word(Op::HfenceGvma, 0, 0, 0, 0), nothing, SOFTWARE_CHECK, 2),
        ("ecall", word(Op::Ecall, 0, 0, 0, 0), nothing, SOFTWARE_CHECK, 2),
        ("ebreak", ebreak, nothing, SOFTWARE_CHECK, 2),
        ("interrupted", 0, |_, _, s| (s.csr.mip, s.csr.mie) = (mip::SSIP, mip::SSIP), INT | 1, 0),
        ("watched", 0, |_, _, s| s.csr.triggers[0].tdata1 = 6 << 60 | mcontrol6::VS | mcontrol6::EXECUTE, 3, CODE),
        ("no page", 0, |g, st, _| drop(st.vs_map(g, CODE, CODE - RAM, R | A)), 12, CODE),
        ("no page of the guest", 0, |g, st, _| drop(st.vs_map(g, CODE, 0x1_0000_0000, RWX)), 20, CODE),
    ];
    let mut isa = with_cfi();
    isa.exts.insert(Ext::Sdtrig);
    for (name, options) in modes() {
        for (what, insn, setup, cause, tval) in cases {
            let mut g = guest_of(options.clone(), isa.clone());
            let (mut s, mut st) = in_guest(&g, |a| drop(a.word(insn).ecall()));
            s.csr.menvcfg |= envcfg::LPE;
            s.csr.henvcfg |= envcfg::LPE;
            (s.elp, s.csr.triggers[0].tdata2) = (true, CODE);
            setup(&g, &mut st, &mut s);
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.csr.stval), (cause, tval), "{name} {what}");
            // The trap comes with the expectation, unless that has been met.
            let kept = end.csr.mstatus & mstatus::SPELP != 0;
            assert_eq!((kept, end.elp), (cause != ECALL_VS, false), "{name} {what}");
            let gva = matches!(cause, 3 | 12 | 20);
            assert_eq!(end.csr.hstatus & hstatus::GVA != 0, gva, "{name} {what}");
        }
    }
}
