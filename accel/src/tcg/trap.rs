//! Traps: taking them, returning from them, choosing the interrupt to take, and which privileged instructions a
//! mode may execute.
//!
//! Everything here is a function of the plain state. After [`take_trap`], [`mret`] and [`sret`] the privilege mode
//! may have changed, and with it the translation context and which interrupts are enabled.
//!
//! Privileged spec, chapters "Machine-Level ISA" and "Supervisor-Level ISA".

use arch::cause::{Exception, Interrupt};
use arch::csr::{envcfg, mip, misa, mstatus, tvec, xcause};

use crate::tcg::csr::{Denied, Illegal, require};
use crate::{HartState, Mode};

/// An exception that an instruction raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// As in `mcause`; bit 63 clear.
    pub cause: u64,
    /// As in `mtval`: the faulting address, or the instruction for an illegal one.
    pub tval: u64,
    /// As in `mtval2` and `htval`: of a guest-page fault, the guest physical address shifted right by 2.
    pub tval2: u64,
    /// As in `mtinst` and `htinst`: the transformed instruction, a pseudoinstruction, or zero.
    pub tinst: u64,
    /// `tval` is a guest virtual address although V is 0 (HLV and HSV). Where the state tells so, it need not be set.
    pub gva: bool,
}

impl Trap {
    /// `cause` as in `mcause`.
    pub const fn new(cause: u64, tval: u64) -> Self {
        Self { cause, tval, tval2: 0, tinst: 0, gva: false }
    }

    pub const fn of(cause: Exception, tval: u64) -> Self {
        Self::new(cause.code(), tval)
    }

    /// Illegal instruction; `insn` is its encoding, 16 or 32 bits, zero-extended.
    pub const fn illegal(insn: u32) -> Self {
        Self::of(Exception::IllegalInstruction, insn as u64)
    }

    /// Virtual instruction; `insn` as for an illegal one.
    pub const fn virtual_instruction(insn: u32) -> Self {
        Self::of(Exception::VirtualInstruction, insn as u64)
    }

    /// An interrupt; `cause` as [`pending_interrupt`] gives it.
    pub const fn interrupt(cause: u64) -> Self {
        Self::new(cause, 0)
    }
}

/// Enters the trap handler; `epc` is the address of the instruction that trapped or was interrupted.
pub fn take_trap(s: &mut HartState, t: Trap, epc: u64) {
    let Trap { cause, tval, .. } = t;
    let c = &mut s.csr;
    let deleg = if cause & xcause::INTERRUPT != 0 { c.mideleg } else { c.medeleg };
    let delegated = s.mode != Mode::Machine && deleg >> (cause & 63) & 1 != 0;
    let vector = if delegated {
        c.mstatus = move_bit(c.mstatus, mstatus::SIE, mstatus::SPIE) & !mstatus::SIE;
        c.mstatus = with(c.mstatus, mstatus::SPP, s.mode == Mode::Supervisor);
        (c.sepc, c.scause, c.stval) = (epc, cause, tval);
        s.mode = Mode::Supervisor;
        c.stvec
    } else {
        c.mstatus = move_bit(c.mstatus, mstatus::MIE, mstatus::MPIE) & !mstatus::MIE;
        c.mstatus = c.mstatus & !mstatus::MPP | (s.mode as u64) << mstatus::MPP_SHIFT;
        (c.mepc, c.mcause, c.mtval) = (epc, cause, tval);
        s.mode = Mode::Machine;
        c.mtvec
    };
    let vectored = vector & tvec::MODE == tvec::VECTORED && cause & xcause::INTERRUPT != 0;
    s.pc = (vector & tvec::BASE).wrapping_add(if vectored { 4 * (cause & 63) } else { 0 });
}

/// `mstatus.MPP`. Its reserved encoding is never held.
pub fn previous_mode(mstatus: u64) -> Mode {
    match (mstatus & mstatus::MPP) >> mstatus::MPP_SHIFT {
        0 => Mode::User,
        1 => Mode::Supervisor,
        _ => Mode::Machine,
    }
}

/// MRET: returns to the mode and place that `mstatus.MPP` and `mepc` name.
pub fn mret(s: &mut HartState) -> Result<(), Denied> {
    if s.mode != Mode::Machine {
        return Err(Illegal);
    }
    let c = &mut s.csr;
    s.mode = previous_mode(c.mstatus);
    c.mstatus = move_bit(c.mstatus, mstatus::MPIE, mstatus::MIE) | mstatus::MPIE;
    // The least privileged mode there is.
    let least = if c.misa & misa::letter('U') != 0 { 0 } else { mstatus::MPP };
    c.mstatus = c.mstatus & !mstatus::MPP | least;
    if s.mode != Mode::Machine {
        c.mstatus &= !mstatus::MPRV;
    }
    s.pc = c.mepc;
    Ok(())
}

/// SRET: returns to the mode and place that `sstatus.SPP` and `sepc` name.
pub fn sret(s: &mut HartState) -> Result<(), Denied> {
    check_sret(s)?;
    let c = &mut s.csr;
    s.mode = if c.mstatus & mstatus::SPP != 0 { Mode::Supervisor } else { Mode::User };
    c.mstatus = move_bit(c.mstatus, mstatus::SPIE, mstatus::SIE) | mstatus::SPIE;
    c.mstatus &= !(mstatus::SPP | mstatus::MPRV);
    s.pc = c.sepc;
    Ok(())
}

/// `status` with the bit `to` set as the bit `from` is.
fn move_bit(status: u64, from: u64, to: u64) -> u64 {
    with(status, to, status & from != 0)
}

fn with(status: u64, bit: u64, on: bool) -> u64 {
    if on { status | bit } else { status & !bit }
}

/// `mip` as software reads it: the bits software owns or-ed with the lines of chips and timers.
pub fn mip(s: &HartState, lines: u64) -> u64 {
    // With Sstc in use the line alone is STIP; what M-mode wrote there before does not show.
    let hidden = if s.csr.menvcfg & envcfg::STCE != 0 { mip::STIP } else { 0 };
    s.csr.mip & !hidden | lines
}

/// The interrupt to take now, as a value of `mcause`, if any is pending and enabled. `mip` as from [`mip`].
pub fn pending_interrupt(s: &HartState, mip: u64) -> Option<u64> {
    let c = &s.csr;
    let pending = mip & c.mie;
    if pending == 0 {
        return None;
    }
    let machine = s.mode != Mode::Machine || c.mstatus & mstatus::MIE != 0;
    let supervisor = match s.mode {
        Mode::Machine => false,
        Mode::Supervisor => c.mstatus & mstatus::SIE != 0,
        Mode::User => true,
    };
    let for_machine = if machine { pending & !c.mideleg } else { 0 };
    let for_supervisor = if supervisor { pending & c.mideleg } else { 0 };
    first(for_machine).or_else(|| first(for_supervisor)).map(|code| code | xcause::INTERRUPT)
}

/// The strongest of a set of interrupts for one mode.
fn first(set: u64) -> Option<u64> {
    Interrupt::BY_PRIORITY.iter().find(|i| set & i.bit() != 0).map(|i| i.code())
}

/// Whether WFI resumes: an interrupt is pending and locally enabled, whatever the global enables and delegation say.
pub fn wfi_wakes(s: &HartState, mip: u64) -> bool {
    mip & s.csr.mie != 0
}

/// The cause of an ECALL.
pub fn ecall_cause(mode: Mode) -> u64 {
    let cause = match mode {
        Mode::User => Exception::EcallFromU,
        Mode::Supervisor => Exception::EcallFromS,
        Mode::Machine => Exception::EcallFromM,
    };
    cause.code()
}

/// Whether the hart has an S-mode at all.
fn has_supervisor(s: &HartState) -> bool {
    s.csr.misa & misa::letter('S') != 0
}

/// Illegal in S-mode if `bit` of `mstatus` is set, always in U-mode, never in M-mode.
fn trapped_by(s: &HartState, bit: u64) -> Result<(), Denied> {
    require(match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => s.csr.mstatus & bit == 0,
        Mode::User => false,
    })
}

/// Whether SRET may execute (`mstatus.TSR`).
pub fn check_sret(s: &HartState) -> Result<(), Denied> {
    trapped_by(s, mstatus::TSR)
}

/// Whether WFI may execute (`mstatus.TW`). The time limit of TW is zero here, and so is that of U-mode where there is
/// an S-mode to trap to.
pub fn check_wfi(s: &HartState) -> Result<(), Denied> {
    let may_wait = s.mode != Mode::User || !has_supervisor(s);
    let waits = may_wait && s.csr.mstatus & mstatus::TW == 0;
    require(s.mode == Mode::Machine || waits)
}

/// Whether SFENCE.VMA and SINVAL.VMA may execute (`mstatus.TVM`).
pub fn check_sfence_vma(s: &HartState) -> Result<(), Denied> {
    trapped_by(s, mstatus::TVM)
}

/// Whether SFENCE.W.INVAL and SFENCE.INVAL.IR may execute; TVM does not trap them.
pub fn check_sfence_inval(s: &HartState) -> Result<(), Denied> {
    require(s.mode != Mode::User)
}

/// Whether a field of the environment configurations is set for the current mode.
fn env_enabled(s: &HartState, bits: u64) -> bool {
    let c = &s.csr;
    match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => c.menvcfg & bits != 0,
        Mode::User => c.menvcfg & bits != 0 && (c.senvcfg & bits != 0 || !has_supervisor(s)),
    }
}

/// Whether CBO.CLEAN and CBO.FLUSH may execute (CBCFE).
pub fn check_cbo_clean_flush(s: &HartState) -> Result<(), Denied> {
    require(env_enabled(s, envcfg::CBCFE))
}

/// Whether CBO.ZERO may execute (CBZE).
pub fn check_cbo_zero(s: &HartState) -> Result<(), Denied> {
    require(env_enabled(s, envcfg::CBZE))
}

/// What CBO.INVAL does where it may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CboInval {
    Flush,
    Invalidate,
}

/// Whether CBO.INVAL may execute (CBIE), and as what.
pub fn check_cbo_inval(s: &HartState) -> Result<CboInval, Denied> {
    require(env_enabled(s, envcfg::CBIE))?;
    let is_flush = |cfg: u64| (cfg & envcfg::CBIE) >> envcfg::CBIE_SHIFT == envcfg::CBIE_FLUSH;
    Ok(match s.mode {
        Mode::Machine => CboInval::Invalidate,
        Mode::Supervisor if is_flush(s.csr.menvcfg) => CboInval::Flush,
        Mode::User if is_flush(s.csr.menvcfg) || is_flush(s.csr.senvcfg) => CboInval::Flush,
        _ => CboInval::Invalidate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::csr;
    use arch::csr::mstatus::*;
    use arch::ext::{Ext, IsaConfig};

    const M_TVEC: u64 = 0x8000_0000;
    const S_TVEC: u64 = 0xffff_ffff_8000_0000;
    const EPC: u64 = 0x1_2346;

    fn hart(mode: Mode) -> HartState {
        let mut s = csr::reset(&IsaConfig::default(), 0);
        s.mode = mode;
        (s.csr.mtvec, s.csr.stvec) = (M_TVEC, S_TVEC);
        s
    }

    const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];

    #[test]
    fn a_trap_to_machine_mode_stacks_mode_and_enable() {
        for mode in MODES {
            for mie in [0, MIE] {
                let mut s = hart(mode);
                s.csr.mstatus |= mie | SIE;
                take_trap(&mut s, Trap::new(2, 0xdead), EPC);
                assert_eq!((s.mode, s.pc), (Mode::Machine, M_TVEC));
                assert_eq!((s.csr.mepc, s.csr.mcause, s.csr.mtval), (EPC, 2, 0xdead));
                assert_eq!(previous_mode(s.csr.mstatus), mode);
                assert_eq!(s.csr.mstatus & (MIE | MPIE), mie << 4);
                assert_eq!(s.csr.mstatus & (SIE | SPIE | SPP), SIE);
                assert_eq!((s.csr.sepc, s.csr.scause, s.csr.stval), (0, 0, 0));
            }
        }
    }

    #[test]
    fn delegated_exceptions_go_to_supervisor_mode_but_never_from_machine_mode() {
        for mode in MODES {
            let mut s = hart(mode);
            s.csr.medeleg = 1 << 13;
            s.csr.mstatus |= SIE | MIE;
            take_trap(&mut s, Trap::new(13, 0x1000), EPC);
            if mode == Mode::Machine {
                assert_eq!((s.mode, s.csr.mcause), (Mode::Machine, 13));
                continue;
            }
            assert_eq!((s.mode, s.pc), (Mode::Supervisor, S_TVEC));
            assert_eq!((s.csr.sepc, s.csr.scause, s.csr.stval), (EPC, 13, 0x1000));
            assert_eq!(s.csr.mstatus & SPP != 0, mode == Mode::Supervisor);
            assert_eq!(s.csr.mstatus & (SIE | SPIE | MIE), SPIE | MIE);
            assert_eq!(s.csr.mcause, 0);
        }
        // Its neighbour in medeleg does not count, nor does mideleg for an exception.
        let mut s = hart(Mode::User);
        (s.csr.medeleg, s.csr.mideleg) = (!(1 << 13), 1 << 13);
        take_trap(&mut s, Trap::new(13, 0), EPC);
        assert_eq!(s.mode, Mode::Machine);
    }

    #[test]
    fn only_interrupts_are_vectored() {
        let mut s = hart(Mode::User);
        (s.csr.mtvec, s.csr.stvec) = (M_TVEC | 1, S_TVEC | 1);
        s.csr.mideleg = 1 << 5;
        let fresh = s.clone();
        take_trap(&mut s, Trap::new(1 << 63 | 7, 0), EPC);
        assert_eq!((s.pc, s.csr.mcause), (M_TVEC + 4 * 7, 1 << 63 | 7));
        s = fresh.clone();
        take_trap(&mut s, Trap::new(1 << 63 | 5, 0), EPC);
        assert_eq!((s.pc, s.mode), (S_TVEC + 4 * 5, Mode::Supervisor));
        s = fresh;
        take_trap(&mut s, Trap::new(7, 0), EPC);
        assert_eq!(s.pc, M_TVEC);
    }

    #[test]
    fn mret_undoes_a_trap() {
        for mode in MODES {
            for mie in [0, MIE] {
                let mut s = hart(mode);
                s.csr.mstatus |= mie;
                take_trap(&mut s, Trap::new(3, 0), EPC);
                mret(&mut s).unwrap();
                assert_eq!((s.mode, s.pc), (mode, EPC));
                assert_eq!(s.csr.mstatus & (MIE | MPIE | MPP), mie | MPIE);
            }
        }
    }

    #[test]
    fn sret_undoes_a_trap() {
        for mode in [Mode::User, Mode::Supervisor] {
            for sie in [0, SIE] {
                let mut s = hart(mode);
                s.csr.medeleg = 1 << 3;
                s.csr.mstatus |= sie;
                take_trap(&mut s, Trap::new(3, 0), EPC);
                sret(&mut s).unwrap();
                assert_eq!((s.mode, s.pc), (mode, EPC));
                assert_eq!(s.csr.mstatus & (SIE | SPIE | SPP), sie | SPIE);
            }
        }
    }

    #[test]
    fn mprv_ends_when_machine_mode_is_left() {
        for (mpp, kept) in [(0, false), (1, false), (3, true)] {
            let mut s = hart(Mode::Machine);
            s.csr.mstatus |= MPRV | mpp << MPP_SHIFT;
            mret(&mut s).unwrap();
            assert_eq!(s.csr.mstatus & MPRV != 0, kept, "MPP {mpp}");
        }
        let mut s = hart(Mode::Machine);
        s.csr.mstatus |= MPRV | SPP;
        sret(&mut s).unwrap();
        assert_eq!((s.mode, s.csr.mstatus & MPRV), (Mode::Supervisor, 0));
    }

    #[test]
    fn returns_are_for_their_modes() {
        for mode in MODES {
            assert_eq!(mret(&mut hart(mode)).is_ok(), mode == Mode::Machine);
            assert_eq!(sret(&mut hart(mode)).is_ok(), mode != Mode::User);
            let mut s = hart(mode);
            s.csr.mstatus |= TSR;
            let before = s.clone();
            assert_eq!(sret(&mut s).is_ok(), mode == Mode::Machine);
            assert_eq!(s == before, mode != Mode::Machine, "an illegal SRET changes nothing");
        }
    }

    #[test]
    fn without_user_mode_mret_leaves_mpp_at_machine() {
        let mut isa = IsaConfig::default();
        isa.exts.remove(Ext::S);
        isa.exts.remove(Ext::U);
        let mut s = csr::reset(&isa, 0);
        s.csr.mstatus |= MPP;
        mret(&mut s).unwrap();
        assert_eq!(s.csr.mstatus & MPP, MPP);
    }

    #[test]
    fn interrupts_by_priority() {
        let mut s = hart(Mode::User);
        s.csr.mie = u64::MAX;
        let mut left = 0xaaa;
        for code in [11, 3, 7, 9, 1, 5] {
            assert_eq!(pending_interrupt(&s, left), Some(1 << 63 | code));
            left &= !(1 << code);
        }
        assert_eq!(pending_interrupt(&s, left), None);
        // Those of M-mode come first, even the weakest.
        s.csr.mideleg = 1 << 9;
        assert_eq!(pending_interrupt(&s, 1 << 9 | 1 << 5), Some(1 << 63 | 5));
    }

    /// The two conditions as the specification prints them, for every mode, enable and delegation.
    #[test]
    fn an_interrupt_is_taken_where_its_mode_allows_it() {
        for mode in MODES {
            for bits in 0..16u64 {
                let [mie, sie, delegated, enabled] = [0, 1, 2, 3].map(|b| bits >> b & 1 == 1);
                let mut s = hart(mode);
                s.csr.mstatus |= if mie { MIE } else { 0 } | if sie { SIE } else { 0 };
                s.csr.mideleg = u64::from(delegated) << 1;
                s.csr.mie = u64::from(enabled) << 1;
                let to_m = enabled && !delegated && (mode != Mode::Machine || mie);
                let to_s = enabled && delegated && (mode == Mode::User || mode == Mode::Supervisor && sie);
                let taken = pending_interrupt(&s, 1 << 1);
                assert_eq!(taken, (to_m || to_s).then_some(1 << 63 | 1), "{mode:?} {bits:#b}");
                if let Some(cause) = taken {
                    take_trap(&mut s, Trap::new(cause, 0), EPC);
                    assert_eq!(s.mode, if to_s { Mode::Supervisor } else { Mode::Machine });
                }
            }
        }
    }

    #[test]
    fn wfi_wakes_by_local_enables_alone() {
        let mut s = hart(Mode::Machine);
        s.csr.mideleg = 0x222;
        assert!(!wfi_wakes(&s, 1 << 5));
        s.csr.mie = 1 << 5;
        assert!(wfi_wakes(&s, 1 << 5));
        assert_eq!(pending_interrupt(&s, 1 << 5), None);
    }

    /// Which of U, S and M may.
    fn who(check: fn(&HartState) -> bool, status: u64, menvcfg: u64, senvcfg: u64) -> [bool; 3] {
        MODES.map(|mode| {
            let mut s = hart(mode);
            s.csr.mstatus |= status;
            (s.csr.menvcfg, s.csr.senvcfg) = (menvcfg, senvcfg);
            check(&s)
        })
    }

    #[test]
    fn trapped_instructions() {
        let wfi = |s: &HartState| check_wfi(s).is_ok();
        assert_eq!(who(wfi, 0, 0, 0), [false, true, true]);
        assert_eq!(who(wfi, TW, 0, 0), [false, false, true]);
        let sfence = |s: &HartState| check_sfence_vma(s).is_ok();
        assert_eq!(who(sfence, 0, 0, 0), [false, true, true]);
        assert_eq!(who(sfence, TVM, 0, 0), [false, false, true]);
        let inval = |s: &HartState| check_sfence_inval(s).is_ok();
        assert_eq!(who(inval, TVM, 0, 0), [false, true, true]);
        assert_eq!(MODES.map(ecall_cause), [8, 9, 11]);
    }

    #[test]
    fn without_supervisor_mode_only_machine_mode_restricts_user_mode() {
        let mut isa = IsaConfig::default();
        isa.exts.remove(Ext::S);
        let mut s = csr::reset(&isa, 0);
        s.mode = Mode::User;
        assert!(check_wfi(&s).is_ok());
        s.csr.mstatus |= TW;
        assert!(check_wfi(&s).is_err());
        s.csr.menvcfg = 0;
        assert!(check_cbo_zero(&s).is_err());
        s.csr.menvcfg = envcfg::CBZE;
        assert!(check_cbo_zero(&s).is_ok());
    }

    #[test]
    fn cache_block_instructions_need_every_level_above() {
        let zero = |s: &HartState| check_cbo_zero(s).is_ok();
        let clean = |s: &HartState| check_cbo_clean_flush(s).is_ok();
        for (check, bit) in [(zero as fn(&HartState) -> bool, envcfg::CBZE), (clean, envcfg::CBCFE)] {
            assert_eq!(who(check, 0, 0, bit), [false, false, true]);
            assert_eq!(who(check, 0, bit, 0), [false, true, true]);
            assert_eq!(who(check, 0, bit, bit), [true, true, true]);
            assert_eq!(who(check, 0, !bit, !bit), [false, false, true]);
        }
    }

    #[test]
    fn cbo_inval_flushes_where_any_level_says_so() {
        use CboInval::*;
        let act = |m: u64, sup: u64| {
            MODES.map(|mode| {
                let mut s = hart(mode);
                (s.csr.menvcfg, s.csr.senvcfg) = (m << envcfg::CBIE_SHIFT, sup << envcfg::CBIE_SHIFT);
                check_cbo_inval(&s).ok()
            })
        };
        assert_eq!(act(0, 3), [None, None, Some(Invalidate)]);
        assert_eq!(act(1, 0), [None, Some(Flush), Some(Invalidate)]);
        assert_eq!(act(1, 3), [Some(Flush), Some(Flush), Some(Invalidate)]);
        assert_eq!(act(3, 1), [Some(Flush), Some(Invalidate), Some(Invalidate)]);
        assert_eq!(act(3, 3), [Some(Invalidate), Some(Invalidate), Some(Invalidate)]);
    }
}
