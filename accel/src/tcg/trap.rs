//! Traps: taking them, returning from them, choosing the interrupt to take, and which privileged instructions a
//! mode may execute.
//!
//! Everything here is a function of the plain state. After [`take_trap`], [`mret`] and [`sret`] the privilege mode
//! may have changed, and with it the translation context and which interrupts are enabled.
//!
//! Privileged spec, chapters "Machine-Level ISA" and "Supervisor-Level ISA".

use arch::cause::{Exception, Interrupt};
use arch::csr::{envcfg, mip, misa, mstatus, tvec, xcause};

use crate::tcg::csr::Illegal;
use crate::{HartState, Mode};

/// An exception that an instruction raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// As in `mcause`; bit 63 clear.
    pub cause: u64,
    /// As in `mtval`: the faulting address, or the instruction for an illegal one.
    pub tval: u64,
}

impl Trap {
    /// `cause` as in `mcause`.
    pub const fn new(cause: u64, tval: u64) -> Self {
        Self { cause, tval }
    }

    pub const fn of(cause: Exception, tval: u64) -> Self {
        Self::new(cause.code(), tval)
    }

    /// Illegal instruction; `insn` is its encoding, 16 or 32 bits, zero-extended.
    pub const fn illegal(insn: u32) -> Self {
        Self::of(Exception::IllegalInstruction, insn as u64)
    }
}

/// Enters the trap handler: `cause` is what `mcause` will say (bit 63: an interrupt), `epc` the address of the
/// instruction that trapped or was interrupted.
pub fn take_trap(s: &mut HartState, cause: u64, tval: u64, epc: u64) {
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
pub fn mret(s: &mut HartState) -> Result<(), Illegal> {
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
pub fn sret(s: &mut HartState) -> Result<(), Illegal> {
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

fn require(legal: bool) -> Result<(), Illegal> {
    if legal { Ok(()) } else { Err(Illegal) }
}

/// Illegal in S-mode if `bit` of `mstatus` is set, always in U-mode, never in M-mode.
fn trapped_by(s: &HartState, bit: u64) -> Result<(), Illegal> {
    require(match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => s.csr.mstatus & bit == 0,
        Mode::User => false,
    })
}

/// Whether SRET may execute (`mstatus.TSR`).
pub fn check_sret(s: &HartState) -> Result<(), Illegal> {
    trapped_by(s, mstatus::TSR)
}

/// Whether WFI may execute (`mstatus.TW`). The time limit of TW and of U-mode is zero here.
pub fn check_wfi(s: &HartState) -> Result<(), Illegal> {
    trapped_by(s, mstatus::TW)
}

/// Whether SFENCE.VMA and SINVAL.VMA may execute (`mstatus.TVM`).
pub fn check_sfence_vma(s: &HartState) -> Result<(), Illegal> {
    trapped_by(s, mstatus::TVM)
}

/// Whether SFENCE.W.INVAL and SFENCE.INVAL.IR may execute; TVM does not trap them.
pub fn check_sfence_inval(s: &HartState) -> Result<(), Illegal> {
    require(s.mode != Mode::User)
}

/// Whether a field of the environment configurations is set for the current mode.
fn env_enabled(s: &HartState, bits: u64) -> bool {
    let c = &s.csr;
    match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => c.menvcfg & bits != 0,
        Mode::User => c.menvcfg & bits != 0 && c.senvcfg & bits != 0,
    }
}

/// Whether CBO.CLEAN and CBO.FLUSH may execute (CBCFE).
pub fn check_cbo_clean_flush(s: &HartState) -> Result<(), Illegal> {
    require(env_enabled(s, envcfg::CBCFE))
}

/// Whether CBO.ZERO may execute (CBZE).
pub fn check_cbo_zero(s: &HartState) -> Result<(), Illegal> {
    require(env_enabled(s, envcfg::CBZE))
}

/// What CBO.INVAL does where it may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CboInval {
    Flush,
    Invalidate,
}

/// Whether CBO.INVAL may execute (CBIE), and as what.
pub fn check_cbo_inval(s: &HartState) -> Result<CboInval, Illegal> {
    require(env_enabled(s, envcfg::CBIE))?;
    let is_flush = |cfg: u64| (cfg & envcfg::CBIE) >> envcfg::CBIE_SHIFT == envcfg::CBIE_FLUSH;
    Ok(match s.mode {
        Mode::Machine => CboInval::Invalidate,
        Mode::Supervisor if is_flush(s.csr.menvcfg) => CboInval::Flush,
        Mode::User if is_flush(s.csr.menvcfg) || is_flush(s.csr.senvcfg) => CboInval::Flush,
        _ => CboInval::Invalidate,
    })
}
