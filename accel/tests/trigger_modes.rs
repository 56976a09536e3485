//! In which modes triggers fire, and where their exceptions go: not in the handler's own mode before it is ready.
//!
//! Debug spec, "Native Triggers": without `tcontrol`, nothing matches in M-mode while MIE is 0, nor in S- and VS-mode
//! while SIE is 0 and breakpoints are delegated to them.

mod guest;

use accel::{Mode, TriggerState};
use arch::csr::{hstatus, icount, itrigger, mcontrol6, mip, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use guest::hyper::*;
use guest::*;

const BREAKPOINT: u64 = 3;
const INT: u64 = 1 << 63;

fn model() -> IsaConfig {
    let isa = hyper::isa();
    IsaConfig { exts: isa.exts.union(&ExtSet::of(&[Ext::Sdtrig])).closure(), ..isa }
}

const MODES: [(Mode, bool); 5] = [
    (Mode::Machine, false),
    (Mode::Supervisor, false),
    (Mode::User, false),
    (Mode::Supervisor, true),
    (Mode::User, true),
];

/// The bits of a mode in the three kinds of triggers.
fn bits(n: usize) -> [u64; 3] {
    [
        [mcontrol6::M, mcontrol6::S, mcontrol6::U, mcontrol6::VS, mcontrol6::VU][n],
        [icount::M, icount::S, icount::U, icount::VS, icount::VU][n],
        [itrigger::M, itrigger::S, itrigger::U, itrigger::VS, itrigger::VU][n],
    ]
}

#[test]
fn each_mode_by_delegation_and_enable() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        let mut a = Asm::at(CODE);
        a.nop().nop().i(Op::Ld, 10, 8, 0).ecall();
        g.load(&a);
        for (n, (mode, virt)) in MODES.into_iter().enumerate() {
            let [address, count, _] = bits(n);
            // What is set, where it fires and what it reports.
            let triggers = [
                (6 << 60 | address | mcontrol6::EXECUTE, CODE + 4, CODE + 4, CODE + 4, mcontrol6::HIT0),
                (6 << 60 | address | mcontrol6::LOAD, PAGE_A, CODE + 8, PAGE_A, mcontrol6::HIT0),
                (3 << 60 | count | 1 << icount::COUNT_SHIFT, 0, CODE + 4, 0, icount::HIT),
            ];
            for (tdata1, tdata2, epc, tval, hit) in triggers {
                for (medeleg, hedeleg, enabled) in (0..8).map(|n| (n & 1 != 0, n & 2 != 0, n & 4 != 0)) {
                    let mut s = start(&g, mode, virt);
                    let bit = |on: bool| if on { 1 << BREAKPOINT } else { 0 };
                    s.csr.medeleg = s.csr.medeleg & !bit(true) | bit(medeleg);
                    s.csr.hedeleg = bit(hedeleg);
                    // The enable of the mode; those of others are the opposite.
                    let ie = |on: bool, field: u64| if on == enabled { field } else { 0 };
                    s.csr.mstatus |= ie(mode == Mode::Machine, mstatus::MIE);
                    s.csr.mstatus |= ie(mode == Mode::Supervisor && !virt, mstatus::SIE);
                    s.csr.vsstatus |= ie(mode == Mode::Supervisor && virt, mstatus::SIE);
                    s.csr.triggers[0] = TriggerState { tdata1, tdata2, tdata3: 0 };
                    s.x[8] = PAGE_A;
                    let end = g.run(&s);
                    let at = format!("{name} {mode:?} {virt} {tdata1:#x} {medeleg} {hedeleg} {enabled}");
                    let fires = match mode {
                        Mode::Machine => enabled,
                        Mode::Supervisor if virt => enabled || !(medeleg && hedeleg),
                        Mode::Supervisor => enabled || !medeleg,
                        Mode::User => true,
                    };
                    let c = &end.csr;
                    let causes = [c.mcause, c.scause, c.vscause].map(|cause| cause == BREAKPOINT);
                    if !fires {
                        assert_eq!(causes, [false; 3], "{at}");
                        continue;
                    }
                    let seen = match (mode == Mode::Machine || !medeleg, virt && hedeleg) {
                        (true, _) => {
                            assert_eq!(causes, [true, false, false], "{at}");
                            assert_eq!(c.mstatus & mstatus::GVA != 0, virt && tval != 0, "{at}");
                            (c.mepc, c.mtval)
                        }
                        (_, true) => {
                            assert!(causes[2], "{at}");
                            (c.vsepc, c.vstval)
                        }
                        _ => {
                            assert_eq!(causes, [false, true, false], "{at}");
                            assert_eq!(c.hstatus & hstatus::GVA != 0, virt && tval != 0, "{at}");
                            (c.sepc, c.stval)
                        }
                    };
                    assert_eq!(seen, (epc, tval), "{at}");
                    assert_ne!(end.csr.triggers[0].tdata1 & hit, 0, "{at}");
                }
            }
        }
    }
}

/// Triggers on exceptions and interrupts fire before the handler's first instruction: those of handlers in M-mode
/// never, those of others where breakpoints go to a mode above the handler's.
#[test]
fn traps_by_where_they_and_breakpoints_go() {
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        let mut a = Asm::at(CODE);
        a.word(0).ecall();
        g.load(&a);
        for (n, (mode, virt)) in MODES.into_iter().enumerate() {
            for interrupt in [false, true] {
                // How far the trap goes down, and how far breakpoints do: 0 stays in M-mode, 1 HS, 2 VS.
                for (trap, breakpoints) in (0..9).map(|n| (n / 3, n % 3)) {
                    let mut s = start(&g, mode, virt);
                    let beyond = |level| {
                        let breakpoint = if breakpoints > level { 1 << BREAKPOINT } else { 0 };
                        breakpoint | if trap > level { 1 << ILLEGAL } else { 0 }
                    };
                    (s.csr.medeleg, s.csr.hedeleg) = (beyond(0), beyond(1));
                    let kind = if interrupt { 4 } else { 5 };
                    let mut code = 2;
                    if interrupt {
                        // That of the guest, of HS-mode or of M-mode.
                        let (pending, number) = [(mip::MSIP, 3), (mip::SSIP, 1), (mip::VSSIP, 1)][trap];
                        if trap == 2 {
                            s.csr.hvip = pending
                        } else {
                            s.csr.mip = pending
                        };
                        (s.csr.mie, s.csr.hideleg, code) = (pending, mip::VS_INTERRUPTS, number);
                        s.csr.mstatus |= mstatus::MIE | mstatus::SIE;
                        s.csr.vsstatus |= mstatus::SIE;
                    }
                    s.csr.triggers[0] = TriggerState { tdata1: kind << 60 | bits(n)[2], tdata2: 1 << code, tdata3: 0 };
                    // Who takes the trap: nothing goes below the mode that it comes from.
                    let lowest = match (mode, virt) {
                        (Mode::Machine, _) => 0,
                        (_, false) => 1,
                        _ => 2,
                    };
                    let taken = trap.min(lowest);
                    if interrupt && taken != trap {
                        // It is not taken at all.
                        continue;
                    }
                    let end = g.run(&s);
                    let at = format!("{name} {mode:?} {virt} {interrupt} {trap} {breakpoints}");
                    // The breakpoint comes from the handler's mode.
                    let fires = taken > 0 && breakpoints < taken;
                    let c = &end.csr;
                    let hit = c.triggers[0].tdata1 & itrigger::HIT != 0;
                    assert_eq!(hit, fires, "{at}");
                    let first = if interrupt { INT | code } else { 2 };
                    assert_eq!([c.mcause, c.scause, c.vscause][taken], first, "{at}");
                    if fires {
                        let (cause, epc, tval) = match breakpoints {
                            0 => (c.mcause, c.mepc, c.mtval),
                            _ => (c.scause, c.sepc, c.stval),
                        };
                        let handler = [STOP, HS_STOP, VS_STOP][taken];
                        assert_eq!((cause, epc, tval), (BREAKPOINT, handler, 0), "{at}");
                    }
                }
            }
        }
    }
}
