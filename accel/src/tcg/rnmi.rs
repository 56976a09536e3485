//! Traps that must not happen, and those that cannot be masked: double traps in M-mode (Smdbltrp) and resumable
//! non-maskable interrupts (Smrnmi).
//!
//! An NMI leaves `mepc`, `mcause` and `mstatus` alone: it has registers of its own, and MNRET returns from it. A trap
//! that M-mode is not ready for (`mstatus.MDT` is set, or an NMI is being handled) is delivered like one, or, where
//! that is not possible either, ends the hart: the critical-error state is [`MpState::Failed`].
//!
//! Privileged spec, "Double Trap Control in `mstatus` Register", "Smrnmi", "Smdbltrp".

use arch::csr::{mnstatus, mstatus, xcause};
use arch::ext::{Ext, IsaConfig};

use super::trap::Trap;
use crate::tcg::csr::{Denied, Illegal};
use crate::{HartState, Mode, MpState};

/// Whether a trap into M-mode would be one that M-mode is not ready for.
pub(super) fn unexpected(s: &HartState, isa: &IsaConfig) -> bool {
    let handling_nmi = isa.has(Ext::Smdbltrp) && s.mode == Mode::Machine && s.csr.nmi_masked;
    s.csr.mstatus & mstatus::MDT != 0 || handling_nmi
}

/// An unexpected trap: to the NMI handler if that may be entered, else nothing changes any more.
pub(super) fn double_trap(s: &mut HartState, isa: &IsaConfig, t: Trap, epc: u64) {
    if !isa.has(Ext::Smrnmi) || s.csr.nmi_masked {
        s.mp = MpState::Failed;
        return;
    }
    enter(s, isa, t.cause, epc, Mode::Machine, false);
}

/// Takes an NMI before the instruction at `epc`. There is one source, which has no number.
pub(super) fn take_nmi(s: &mut HartState, isa: &IsaConfig, epc: u64) {
    let (mode, virt) = (s.mode, s.virt);
    enter(s, isa, xcause::INTERRUPT, epc, mode, virt);
}

fn enter(s: &mut HartState, isa: &IsaConfig, cause: u64, epc: u64, mode: Mode, virt: bool) {
    let c = &mut s.csr;
    (c.mnepc, c.mncause) = (epc, cause);
    c.mnstatus = (mode as u64) << mnstatus::MNPP_SHIFT | if virt { mnstatus::MNPV } else { 0 };
    c.mnstatus |= if std::mem::take(&mut s.elp) { mnstatus::MNPELP } else { 0 };
    c.nmi_masked = true;
    (s.mode, s.virt) = (Mode::Machine, false);
    s.pc = isa.rnmi_interrupt_vector;
}

/// MNRET: returns to the mode and place that `mnstatus` and `mnepc` name. The decoder knows it with Smrnmi alone.
pub fn mnret(s: &mut HartState) -> Result<(), Denied> {
    if s.mode != Mode::Machine {
        return Err(Illegal);
    }
    let c = &mut s.csr;
    s.mode = match (c.mnstatus & mnstatus::MNPP) >> mnstatus::MNPP_SHIFT {
        0 => Mode::User,
        1 => Mode::Supervisor,
        _ => Mode::Machine,
    };
    s.virt = s.mode != Mode::Machine && c.mnstatus & mnstatus::MNPV != 0;
    c.nmi_masked = false;
    s.pc = c.mnepc;
    let elp = c.mnstatus & mnstatus::MNPELP != 0;
    c.mnstatus &= !mnstatus::MNPELP;
    s.elp = super::cfi::restored(s, elp);
    if s.mode != Mode::Machine {
        s.csr.mstatus &= !(mstatus::MPRV | mstatus::MDT);
    }
    clear_sdt(s);
    Ok(())
}

/// After a return from M-mode: below the mode that SDT is about, traps are expected again.
pub(super) fn clear_sdt(s: &mut HartState) {
    if s.mode == Mode::User || s.virt {
        s.csr.mstatus &= !mstatus::SDT;
    }
    if s.mode == Mode::User && s.virt {
        s.csr.vsstatus &= !mstatus::SDT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::csr;
    use crate::tcg::interrupts::{self, World};
    use crate::tcg::trap::{mret, sret, take_trap};
    use arch::csr::{envcfg, hstatus, mseccfg};
    use mstatus::*;

    const M: u64 = 0x8000_0000;
    const S: u64 = 0x8010_0000;
    const VS: u64 = 0x8020_0000;
    const NMI: u64 = 0x9000_0000;
    const NMI_EXCEPTION: u64 = 0x9000_1000;
    const EPC: u64 = 0x1_2344;

    fn isa(exts: &[Ext]) -> IsaConfig {
        let mut isa = IsaConfig::default();
        exts.iter().for_each(|ext| isa.exts.insert(*ext));
        isa.exts.insert(Ext::H);
        (isa.rnmi_interrupt_vector, isa.rnmi_exception_vector) = (NMI, NMI_EXCEPTION);
        isa
    }

    fn hart(isa: &IsaConfig, mode: Mode) -> HartState {
        let mut s = csr::reset(isa, 0);
        s.mode = mode;
        (s.csr.mtvec, s.csr.stvec, s.csr.vstvec) = (M, S, VS);
        s
    }

    /// A hart that has left reset: NMIs and traps are welcome.
    fn open(isa: &IsaConfig, mode: Mode) -> HartState {
        let mut s = hart(isa, mode);
        s.csr.mstatus &= !MDT;
        s.csr.nmi_masked = false;
        s
    }

    fn illegal() -> Trap {
        Trap::illegal(0x1234)
    }

    #[test]
    fn reset_expects_no_trap_and_masks_nmis() {
        let s = hart(&isa(&[Ext::Smdbltrp, Ext::Smrnmi]), Mode::Machine);
        assert!(s.csr.mstatus & MDT != 0 && s.csr.nmi_masked);
        let s = hart(&isa(&[]), Mode::Machine);
        assert!(s.csr.mstatus & MDT == 0 && !s.csr.nmi_masked);
        let isa = isa(&[Ext::Smdbltrp, Ext::Smrnmi]);
        let s = csr::reset_supervisor(&isa, 0, 0, 0);
        assert!(s.csr.mstatus & MDT == 0 && !s.csr.nmi_masked, "M-mode software has opened both");
    }

    #[test]
    fn a_trap_into_machine_mode_sets_mdt_and_returns_clear_it() {
        let isa = isa(&[Ext::Smdbltrp]);
        for ret in [mret, sret] {
            let mut s = open(&isa, Mode::User);
            take_trap(&mut s, &isa, illegal(), EPC);
            assert_eq!((s.pc, s.csr.mepc, s.csr.mstatus & MDT), (M, EPC, MDT));
            ret(&mut s).unwrap();
            assert_eq!((s.mode, s.csr.mstatus & MDT), (Mode::User, 0));
        }
        // Without the extension the bit is nobody's.
        let none = self::isa(&[]);
        let mut s = open(&none, Mode::User);
        take_trap(&mut s, &none, illegal(), EPC);
        assert_eq!(s.csr.mstatus & MDT, 0);
    }

    #[test]
    fn a_second_trap_ends_the_hart_with_nothing_changed() {
        let isa = isa(&[Ext::Smdbltrp]);
        for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
            let mut s = open(&isa, mode);
            s.csr.mstatus |= MDT;
            let before = s.clone();
            take_trap(&mut s, &isa, illegal(), EPC);
            assert_eq!(s.mp, MpState::Failed);
            assert_eq!(s, HartState { mp: MpState::Failed, ..before });
        }
    }

    #[test]
    fn a_second_trap_goes_to_the_nmi_handler_if_there_is_one() {
        let isa = isa(&[Ext::Smdbltrp, Ext::Smrnmi]);
        let mut s = open(&isa, Mode::Machine);
        s.csr.mstatus |= MDT;
        let status = s.csr.mstatus;
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!((s.pc, s.csr.mnepc, s.csr.mncause), (NMI, EPC, 2));
        assert_eq!((s.csr.mnstatus, s.csr.nmi_masked), (mnstatus::MNPP, true));
        assert_eq!((s.csr.mstatus, s.csr.mepc, s.csr.mcause), (status, 0, 0));
        // A third one has nowhere to go.
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!((s.mp, s.pc), (MpState::Failed, NMI));
    }

    #[test]
    fn an_nmi_is_taken_whatever_mdt_says_and_leaves_it() {
        let isa = isa(&[Ext::Smdbltrp, Ext::Smrnmi]);
        for (mode, virt) in [(Mode::User, true), (Mode::Supervisor, false), (Mode::Machine, false)] {
            for mdt in [0, MDT] {
                let mut s = open(&isa, mode);
                s.virt = virt;
                s.csr.mstatus |= mdt | MIE;
                take_nmi(&mut s, &isa, EPC);
                assert_eq!((s.mode, s.virt, s.pc), (Mode::Machine, false, NMI));
                assert_eq!((s.csr.mnepc, s.csr.mncause), (EPC, 1 << 63));
                assert_eq!(s.csr.mnstatus & mnstatus::MNPP, (mode as u64) << 11);
                assert_eq!(s.csr.mnstatus & mnstatus::MNPV != 0, virt);
                assert_eq!(s.csr.mstatus & (MDT | MIE), mdt | MIE);
                s.csr.mie = u64::MAX;
                let world = World { mip: u64::MAX, isa: &isa, imsic: None };
                assert_eq!(interrupts::pending(&s, &world), None, "all interrupts are off");
                s.csr.mstatus |= MPRV;
                mnret(&mut s).unwrap();
                assert_eq!((s.mode, s.virt, s.pc, s.csr.nmi_masked), (mode, virt, EPC, false));
                let kept = if mode == Mode::Machine { mdt | MPRV } else { 0 };
                assert_eq!(s.csr.mstatus & (MDT | MPRV), kept);
            }
        }
        let mut s = open(&isa, Mode::Supervisor);
        assert_eq!(mnret(&mut s), Err(Illegal));
    }

    /// The expectation of a landing pad is set aside, and holds again if the mode returned to has landing pads.
    #[test]
    fn an_nmi_keeps_the_expectation_of_a_landing_pad() {
        let isa = isa(&[Ext::Smrnmi, Ext::Zicfilp]);
        let all = [(Mode::Machine, false), (Mode::Supervisor, false), (Mode::User, false)];
        for (mode, virt) in all.into_iter().chain([(Mode::Supervisor, true), (Mode::User, true)]) {
            for (expected, enabled) in [(true, true), (true, false), (false, true)] {
                let mut s = open(&isa, mode);
                (s.virt, s.elp) = (virt, expected);
                let lpe = envcfg::LPE;
                // Those of the other modes are the opposite.
                let own = |is: bool| if is == enabled { lpe } else { 0 };
                s.csr.mseccfg = if own(mode == Mode::Machine) != 0 { mseccfg::MLPE } else { 0 };
                s.csr.menvcfg = own(mode == Mode::Supervisor && !virt);
                s.csr.henvcfg = own(mode == Mode::Supervisor && virt);
                s.csr.senvcfg = own(mode == Mode::User);
                take_nmi(&mut s, &isa, EPC);
                assert_eq!((s.elp, s.csr.mnstatus & mnstatus::MNPELP != 0), (false, expected), "{mode:?} {virt}");
                assert_eq!(s.csr.mstatus & (MPELP | SPELP), 0, "the others are left alone");
                mnret(&mut s).unwrap();
                assert_eq!((s.elp, s.csr.mnstatus & mnstatus::MNPELP), (expected && enabled, 0), "{mode:?} {virt}");
            }
        }
    }

    #[test]
    fn exceptions_of_an_nmi_handler_have_their_own_vector() {
        let isa = isa(&[Ext::Smrnmi]);
        let mut s = open(&isa, Mode::Machine);
        s.csr.nmi_masked = true;
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!((s.pc, s.csr.mepc, s.csr.mcause), (NMI_EXCEPTION, EPC, 2));
        assert!(s.csr.nmi_masked);
        // Not those of a mode below.
        let mut s = open(&isa, Mode::User);
        s.csr.nmi_masked = true;
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!(s.pc, M);
    }

    /// Delegates illegal instructions to S-mode, and on to VS-mode.
    fn delegating(isa: &IsaConfig, mode: Mode, virt: bool) -> HartState {
        let mut s = open(isa, mode);
        s.virt = virt;
        (s.csr.medeleg, s.csr.hedeleg) = (1 << 2, 1 << 2);
        (s.csr.menvcfg, s.csr.henvcfg) = (envcfg::DTE, envcfg::DTE);
        s
    }

    #[test]
    fn a_trap_into_supervisor_mode_sets_sdt_and_a_second_one_is_a_double_trap() {
        let isa = isa(&[Ext::Ssdbltrp, Ext::Smdbltrp]);
        let mut s = delegating(&isa, Mode::User, false);
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!((s.pc, s.mode, s.csr.mstatus & SDT), (S, Mode::Supervisor, SDT));
        s.csr.mstatus |= MIE;
        take_trap(&mut s, &isa, illegal(), EPC + 8);
        assert_eq!((s.pc, s.mode), (M, Mode::Machine));
        assert_eq!((s.csr.mcause, s.csr.mtval2, s.csr.mepc, s.csr.mtval), (16, 2, EPC + 8, 0x1234));
        assert_eq!(s.csr.mstatus & (MPP | MPIE | MIE | MDT | SDT), 1 << MPP_SHIFT | MPIE | MDT | SDT);
        assert_eq!((s.csr.sepc, s.csr.scause), (EPC, 2), "what S-mode knows is as it was");
        // Back to S-mode it is still not ready, to U-mode it is.
        let mut u = s.clone();
        mret(&mut s).unwrap();
        assert_eq!((s.mode, s.csr.mstatus & SDT), (Mode::Supervisor, SDT));
        u.csr.mstatus &= !MPP;
        mret(&mut u).unwrap();
        assert_eq!((u.mode, u.csr.mstatus & SDT), (Mode::User, 0));
        sret(&mut s).unwrap();
        assert_eq!(s.csr.mstatus & SDT, 0);
    }

    #[test]
    fn without_dte_nothing_is_a_double_trap() {
        let isa = isa(&[Ext::Ssdbltrp]);
        for (menvcfg, henvcfg) in [(0, envcfg::DTE), (0, 0)] {
            for virt in [false, true] {
                let mut s = delegating(&isa, Mode::User, virt);
                (s.csr.menvcfg, s.csr.henvcfg) = (menvcfg, henvcfg);
                take_trap(&mut s, &isa, illegal(), EPC);
                take_trap(&mut s, &isa, illegal(), EPC + 8);
                assert_eq!(s.mode, Mode::Supervisor);
                assert_eq!((s.csr.mstatus | s.csr.vsstatus) & SDT, 0);
            }
        }
    }

    #[test]
    fn a_guest_has_its_own_sdt() {
        let isa = isa(&[Ext::Ssdbltrp]);
        let mut s = delegating(&isa, Mode::User, true);
        take_trap(&mut s, &isa, illegal(), EPC);
        assert_eq!((s.pc, s.virt, s.csr.vsstatus & SDT, s.csr.mstatus & SDT), (VS, true, SDT, 0));
        let first = s.clone();
        take_trap(&mut s, &isa, illegal(), EPC + 8);
        assert_eq!((s.mode, s.virt, s.csr.mcause, s.csr.mtval2), (Mode::Machine, false, 16, 2));
        assert_eq!(s.csr.mstatus & MPV, MPV);
        // SRET of the guest makes it ready, so does a return to VU-mode from above.
        let mut s = first.clone();
        sret(&mut s).unwrap();
        assert_eq!((s.mode, s.virt, s.csr.vsstatus & SDT), (Mode::User, true, 0));
        let mut s = first;
        (s.mode, s.virt) = (Mode::Supervisor, false);
        s.csr.hstatus |= hstatus::SPV;
        s.csr.mstatus |= SDT;
        sret(&mut s).unwrap();
        assert_eq!((s.mode, s.virt, s.csr.vsstatus & SDT, s.csr.mstatus & SDT), (Mode::User, true, 0, 0));
    }
}
