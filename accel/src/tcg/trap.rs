//! Traps: taking them, returning from them, and which privileged instructions a
//! mode may execute.
//!
//! Everything here is a function of the plain state. After [`take_trap`], [`mret`] and [`sret`] the privilege mode
//! may have changed, and with it the translation context and which interrupts are enabled.
//!
//! Privileged spec, chapters "Machine-Level ISA", "Supervisor-Level ISA" and "Hypervisor Extension".

use arch::cause::Exception;
use arch::csr::{envcfg, hstatus, mip, misa, mstatus, tvec, xcause};
use arch::ext::{Ext, IsaConfig};

use super::{cfi, rnmi};
use crate::tcg::csr::hypervisor::henvcfg;
use crate::tcg::csr::{
    Denied::{self, Illegal, Virtual},
    require,
};
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
    /// `tval` is zero and no address, though others with this cause have one.
    pub no_address: bool,
    /// Of an access that crosses a page and faults in the second: bytes from its start to there.
    pub offset: u8,
    /// Who takes an interrupt that was selected; `cause` is then as that mode sees it. Exceptions go by delegation.
    pub target: Option<Target>,
}

impl Trap {
    /// `cause` as in `mcause`.
    pub const fn new(cause: u64, tval: u64) -> Self {
        Self { cause, tval, tval2: 0, tinst: 0, gva: false, no_address: false, offset: 0, target: None }
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

    /// An interrupt for a mode; `cause` as its cause register will show it.
    pub const fn interrupt(cause: u64, target: Target) -> Self {
        Self { target: Some(target), ..Self::new(cause, 0) }
    }
}

/// Enters the trap handler; `epc` is the address of the instruction that trapped or was interrupted.
///
/// A mode that is not ready for another trap (SDT) passes it on to M-mode as a double trap. If M-mode is not ready
/// either, see [`rnmi`].
#[inline(always)]
pub fn take_trap(s: &mut HartState, isa: &IsaConfig, t: Trap, epc: u64) {
    match t.target.unwrap_or_else(|| target(s, t.cause)) {
        // Where the cause is known to the caller, little is left of this.
        Target::Supervisor if s.csr.mstatus & mstatus::SDT == 0 => enter_supervisor(s, t, epc),
        target => take_elsewhere(s, isa, t, epc, target),
    }
}

/// [`take_trap`] but for the usual one.
#[inline(never)]
fn take_elsewhere(s: &mut HartState, isa: &IsaConfig, t: Trap, epc: u64, target: Target) {
    match target {
        Target::VirtualSupervisor if s.csr.vsstatus & mstatus::SDT == 0 => enter_virtual_supervisor(s, t, epc),
        _ if rnmi::unexpected(s, isa) => rnmi::double_trap(s, isa, t, epc),
        Target::Machine => enter_machine(s, isa, t, epc),
        Target::Supervisor | Target::VirtualSupervisor => {
            enter_machine(s, isa, t, epc);
            (s.csr.mcause, s.csr.mtval2) = (Exception::DoubleTrap.code(), t.cause);
            s.pc = handler(s.csr.mtvec, s.csr.mcause);
        }
    }
}

/// The mode that takes a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Machine,
    /// HS-mode, if there is a hypervisor extension.
    Supervisor,
    VirtualSupervisor,
}

/// Who takes a trap with this cause: each mode may delegate to the one below, never below the mode that trapped.
#[inline(always)]
fn target(s: &HartState, cause: u64) -> Target {
    let c = &s.csr;
    let interrupt = cause & xcause::INTERRUPT != 0;
    let (by_machine, by_hypervisor) = if interrupt { (c.mideleg, c.hideleg) } else { (c.medeleg, c.hedeleg) };
    let delegated = |deleg: u64| deleg >> (cause & 63) & 1 != 0;
    if s.mode == Mode::Machine || !delegated(by_machine) {
        Target::Machine
    } else if !s.virt || !delegated(by_hypervisor) {
        Target::Supervisor
    } else {
        Target::VirtualSupervisor
    }
}

fn enter_machine(s: &mut HartState, isa: &IsaConfig, t: Trap, epc: u64) {
    let in_nmi = s.mode == Mode::Machine && s.csr.nmi_masked;
    let gva = t.gva || names_guest_address(s, &t);
    let c = &mut s.csr;
    c.mstatus = move_bit(c.mstatus, mstatus::MIE, mstatus::MPIE) & !mstatus::MIE;
    c.mstatus = c.mstatus & !mstatus::MPP | (s.mode as u64) << mstatus::MPP_SHIFT;
    c.mstatus = with(c.mstatus, mstatus::MPV, s.virt);
    c.mstatus = with(c.mstatus, mstatus::GVA, gva);
    c.mstatus = with(c.mstatus, mstatus::MPELP, std::mem::take(&mut s.elp));
    if isa.has(Ext::Smdbltrp) {
        c.mstatus |= mstatus::MDT;
    }
    (c.mepc, c.mcause, c.mtval) = (epc, t.cause, t.tval);
    (c.mtval2, c.mtinst) = (t.tval2, t.tinst);
    s.pc = if in_nmi { isa.rnmi_exception_vector } else { handler(c.mtvec, t.cause) };
    (s.mode, s.virt) = (Mode::Machine, false);
}

#[inline(always)]
fn enter_supervisor(s: &mut HartState, t: Trap, epc: u64) {
    let gva = t.gva || names_guest_address(s, &t);
    let supervisor = s.mode == Mode::Supervisor;
    let c = &mut s.csr;
    c.mstatus = enter_status(c.mstatus, supervisor, c.menvcfg & envcfg::DTE != 0, std::mem::take(&mut s.elp));
    c.hstatus = with(c.hstatus, hstatus::SPV, s.virt);
    c.hstatus = with(c.hstatus, hstatus::GVA, gva);
    if s.virt {
        c.hstatus = with(c.hstatus, hstatus::SPVP, supervisor);
    }
    (c.sepc, c.scause, c.stval) = (epc, t.cause, t.tval);
    (c.htval, c.htinst) = (t.tval2, t.tinst);
    s.pc = handler(c.stvec, t.cause);
    (s.mode, s.virt) = (Mode::Supervisor, false);
}

fn enter_virtual_supervisor(s: &mut HartState, t: Trap, epc: u64) {
    let cause = if t.target.is_some() { t.cause } else { guest_cause(t.cause) };
    let double_traps = henvcfg(s) & envcfg::DTE != 0;
    let c = &mut s.csr;
    c.vsstatus = enter_status(c.vsstatus, s.mode == Mode::Supervisor, double_traps, std::mem::take(&mut s.elp));
    (c.vsepc, c.vscause, c.vstval) = (epc, cause, t.tval);
    s.pc = handler(c.vstvec, cause);
    s.mode = Mode::Supervisor;
}

/// `sstatus` or `vsstatus` after a trap into its mode; where there are `double_traps` it takes no other for now.
pub(super) fn enter_status(status: u64, from_supervisor: bool, double_traps: bool, elp: bool) -> u64 {
    let status = with(status, mstatus::SPELP, elp);
    let stacked = move_bit(status, mstatus::SIE, mstatus::SPIE) & !mstatus::SIE;
    with(stacked, mstatus::SPP, from_supervisor) | if double_traps { mstatus::SDT } else { 0 }
}

/// A cause as VS-mode sees it: its interrupts have the numbers of the supervisor's.
fn guest_cause(cause: u64) -> u64 {
    let is_virtual = cause & xcause::INTERRUPT != 0 && mip::VS_INTERRUPTS >> (cause & 63) & 1 != 0;
    if is_virtual { cause - 1 } else { cause }
}

/// Where the handler of a trap with this cause begins.
fn handler(vector: u64, cause: u64) -> u64 {
    let vectored = vector & tvec::MODE == tvec::VECTORED && cause & xcause::INTERRUPT != 0;
    (vector & tvec::BASE).wrapping_add(if vectored { 4 * (cause & xcause::CODE) } else { 0 })
}

/// Exceptions whose `tval` is the address of the instruction.
const FETCH_FAULTS: u64 = Exception::InstructionAddressMisaligned.bit()
    | Exception::InstructionAccessFault.bit()
    | Exception::Breakpoint.bit()
    | Exception::InstructionPageFault.bit()
    | Exception::InstructionGuestPageFault.bit();

/// Exceptions whose `tval` is the address of a load or store.
const DATA_FAULTS: u64 = Exception::LoadAddressMisaligned.bit()
    | Exception::LoadAccessFault.bit()
    | Exception::StoreAddressMisaligned.bit()
    | Exception::StoreAccessFault.bit()
    | Exception::LoadPageFault.bit()
    | Exception::StorePageFault.bit()
    | Exception::LoadGuestPageFault.bit()
    | Exception::StoreGuestPageFault.bit();

/// Whether an exception is one of an explicit memory access.
pub fn is_data_fault(cause: u64) -> bool {
    cause < 64 && DATA_FAULTS >> cause & 1 != 0
}

/// Whether an exception with this cause writes a guest virtual address to `tval`.
#[inline(always)]
fn names_guest_address(s: &HartState, t: &Trap) -> bool {
    let fetch = t.cause < 64 && FETCH_FAULTS >> t.cause & 1 != 0 && !t.no_address;
    fetch && s.virt || is_data_fault(t.cause) && data_virt(s)
}

/// Whether the trap shows its instruction in `htinst` or `mtinst`: a guest's load or store whose trap does not go to the
/// guest itself. For others zero is shown, which is always allowed.
#[inline]
pub fn shows_instruction(s: &HartState, t: &Trap) -> bool {
    is_data_fault(t.cause) && (t.gva || data_virt(s)) && target(s, t.cause) != Target::VirtualSupervisor
}

/// Whether loads and stores are translated as though V were 1.
pub fn data_virt(s: &HartState) -> bool {
    let m = s.csr.mstatus;
    let modified = s.mode == Mode::Machine
        && !s.csr.nmi_masked
        && m & (mstatus::MPRV | mstatus::MPV) == mstatus::MPRV | mstatus::MPV;
    s.virt || modified && previous_mode(m) != Mode::Machine
}

/// `mstatus.MPP`. Its reserved encoding is never held.
pub fn previous_mode(mstatus: u64) -> Mode {
    match (mstatus & mstatus::MPP) >> mstatus::MPP_SHIFT {
        0 => Mode::User,
        1 => Mode::Supervisor,
        _ => Mode::Machine,
    }
}

/// MRET: returns to the mode and place that `mstatus.MPP`, `mstatus.MPV` and `mepc` name.
pub fn mret(s: &mut HartState) -> Result<(), Denied> {
    if s.mode != Mode::Machine {
        return Err(Illegal);
    }
    let c = &mut s.csr;
    s.mode = previous_mode(c.mstatus);
    s.virt = s.mode != Mode::Machine && c.mstatus & mstatus::MPV != 0;
    c.mstatus = move_bit(c.mstatus, mstatus::MPIE, mstatus::MIE) | mstatus::MPIE;
    // The least privileged mode there is.
    let least = if c.misa & misa::letter('U') != 0 { 0 } else { mstatus::MPP };
    c.mstatus = c.mstatus & !(mstatus::MPP | mstatus::MPV) | least;
    if s.mode != Mode::Machine {
        c.mstatus &= !mstatus::MPRV;
    }
    c.mstatus &= !mstatus::MDT;
    s.pc = c.mepc;
    let elp = c.mstatus & mstatus::MPELP != 0;
    c.mstatus &= !mstatus::MPELP;
    s.elp = cfi::restored(s, elp);
    rnmi::clear_sdt(s);
    Ok(())
}

/// SRET: returns to the mode and place that `sstatus.SPP`, `hstatus.SPV` and `sepc` name, or in VS-mode
/// `vsstatus.SPP` and `vsepc`.
#[inline]
pub fn sret(s: &mut HartState) -> Result<(), Denied> {
    check_sret(s)?;
    let c = &mut s.csr;
    let status = if s.virt { &mut c.vsstatus } else { &mut c.mstatus };
    s.mode = if *status & mstatus::SPP != 0 { Mode::Supervisor } else { Mode::User };
    let elp = *status & mstatus::SPELP != 0;
    let cleared = mstatus::SPP | mstatus::SDT | mstatus::SPELP;
    *status = (move_bit(*status, mstatus::SPIE, mstatus::SIE) | mstatus::SPIE) & !cleared;
    s.pc = if s.virt { c.vsepc } else { c.sepc };
    if !s.virt {
        s.virt = c.hstatus & hstatus::SPV != 0;
        c.hstatus &= !hstatus::SPV;
        // MDT is set in M-mode alone.
        c.mstatus &= !(mstatus::MPRV | mstatus::MDT);
        rnmi::clear_sdt(s);
    }
    s.elp = cfi::restored(s, elp);
    Ok(())
}

/// `status` with the bit `to` set as the bit `from` is.
fn move_bit(status: u64, from: u64, to: u64) -> u64 {
    with(status, to, status & from != 0)
}

pub(super) fn with(status: u64, bit: u64, on: bool) -> u64 {
    if on { status | bit } else { status & !bit }
}

/// `mip` as software reads it: the bits software owns or-ed with the lines of chips and timers.
pub fn mip(s: &HartState, lines: u64) -> u64 {
    // With Sstc in use the line alone is STIP; what M-mode wrote there before does not show.
    let timer = if s.csr.menvcfg & envcfg::STCE != 0 { mip::STIP } else { 0 };
    // The software-writable SEIP shows only while M-mode does not filter external interrupts.
    let hidden = timer | s.csr.mvien & mip::SEIP;
    s.csr.mip & !hidden | s.csr.hvip & mip::VS_INTERRUPTS | lines
}

/// The cause of an ECALL.
pub fn ecall_cause(s: &HartState) -> u64 {
    let cause = match s.mode {
        Mode::User => Exception::EcallFromU,
        Mode::Supervisor if s.virt => Exception::EcallFromVs,
        Mode::Supervisor => Exception::EcallFromS,
        Mode::Machine => Exception::EcallFromM,
    };
    cause.code()
}

/// Whether the hart has an S-mode at all.
fn has_supervisor(s: &HartState) -> bool {
    s.csr.misa & misa::letter('S') != 0
}

/// A supervisor instruction that a bit of `mstatus` keeps from HS-mode and a bit of `hstatus` from VS-mode.
fn supervisor_only(s: &HartState, trap: u64, guest_trap: u64) -> Result<(), Denied> {
    match (s.mode, s.virt) {
        (Mode::Machine, _) => Ok(()),
        (Mode::Supervisor, false) => require(s.csr.mstatus & trap == 0),
        (Mode::Supervisor, true) if s.csr.hstatus & guest_trap == 0 => Ok(()),
        (_, true) => Err(Virtual),
        (Mode::User, false) => Err(Illegal),
    }
}

/// A hypervisor instruction that a bit of `mstatus` keeps from HS-mode.
fn hypervisor_only(s: &HartState, trap: u64) -> Result<(), Denied> {
    match (s.mode, s.virt) {
        (_, true) => Err(Virtual),
        (Mode::Machine, _) => Ok(()),
        (Mode::Supervisor, _) => require(s.csr.mstatus & trap == 0),
        (Mode::User, _) => Err(Illegal),
    }
}

/// Whether SRET may execute (`mstatus.TSR`, `hstatus.VTSR`).
pub fn check_sret(s: &HartState) -> Result<(), Denied> {
    supervisor_only(s, mstatus::TSR, hstatus::VTSR)
}

/// Whether WFI may execute (`mstatus.TW`, `hstatus.VTW`). The time limits of TW and VTW are zero here, and so is that
/// of U-mode where there is an S-mode to trap to.
pub fn check_wfi(s: &HartState) -> Result<(), Denied> {
    if s.mode == Mode::Machine {
        return Ok(());
    }
    require(s.csr.mstatus & mstatus::TW == 0)?;
    match (s.mode, s.virt) {
        (Mode::User, false) => require(!has_supervisor(s)),
        (Mode::User, true) => Err(Virtual),
        (_, true) if s.csr.hstatus & hstatus::VTW != 0 => Err(Virtual),
        _ => Ok(()),
    }
}

/// Whether SFENCE.VMA and SINVAL.VMA may execute (`mstatus.TVM`, `hstatus.VTVM`).
pub fn check_sfence_vma(s: &HartState) -> Result<(), Denied> {
    supervisor_only(s, mstatus::TVM, hstatus::VTVM)
}

/// Whether SFENCE.W.INVAL and SFENCE.INVAL.IR may execute; TVM and VTVM do not trap them.
pub fn check_sfence_inval(s: &HartState) -> Result<(), Denied> {
    supervisor_only(s, 0, 0)
}

/// Whether HFENCE.VVMA and HINVAL.VVMA may execute; TVM does not trap them.
pub fn check_hfence_vvma(s: &HartState) -> Result<(), Denied> {
    hypervisor_only(s, 0)
}

/// Whether HFENCE.GVMA and HINVAL.GVMA may execute (`mstatus.TVM`).
pub fn check_hfence_gvma(s: &HartState) -> Result<(), Denied> {
    hypervisor_only(s, mstatus::TVM)
}

/// Whether HLV, HLVX and HSV may execute (`hstatus.HU`).
pub fn check_hypervisor_access(s: &HartState) -> Result<(), Denied> {
    if s.mode == Mode::User && !s.virt && s.csr.hstatus & hstatus::HU != 0 {
        return Ok(());
    }
    hypervisor_only(s, 0)
}

/// Whether a field of the environment configurations is set for the current mode. `menvcfg`, and `senvcfg` for
/// U-mode, make an instruction illegal; what `henvcfg`, and `senvcfg` for VU-mode, withhold is virtual.
fn env_enabled(s: &HartState, bits: u64) -> Result<(), Denied> {
    let c = &s.csr;
    if s.mode == Mode::Machine {
        return Ok(());
    }
    require(c.menvcfg & bits != 0)?;
    let user = s.mode != Mode::User || c.senvcfg & bits != 0;
    match s.virt {
        true if user && c.henvcfg & bits != 0 => Ok(()),
        true => Err(Virtual),
        false => require(user || !has_supervisor(s)),
    }
}

/// Whether CBO.CLEAN and CBO.FLUSH may execute (CBCFE).
pub fn check_cbo_clean_flush(s: &HartState) -> Result<(), Denied> {
    env_enabled(s, envcfg::CBCFE)
}

/// Whether CBO.ZERO may execute (CBZE).
pub fn check_cbo_zero(s: &HartState) -> Result<(), Denied> {
    env_enabled(s, envcfg::CBZE)
}

/// What CBO.INVAL does where it may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CboInval {
    Flush,
    Invalidate,
}

/// Whether CBO.INVAL may execute (CBIE), and as what.
pub fn check_cbo_inval(s: &HartState) -> Result<CboInval, Denied> {
    env_enabled(s, envcfg::CBIE)?;
    let c = &s.csr;
    let is_flush = |cfg: u64| (cfg & envcfg::CBIE) >> envcfg::CBIE_SHIFT == envcfg::CBIE_FLUSH;
    let flush = s.mode != Mode::Machine
        && (is_flush(c.menvcfg) || s.virt && is_flush(c.henvcfg) || s.mode == Mode::User && is_flush(c.senvcfg));
    Ok(if flush { CboInval::Flush } else { CboInval::Invalidate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::{csr, interrupts};
    use arch::csr::mstatus::*;
    use arch::ext::{Ext, IsaConfig};

    fn isa() -> IsaConfig {
        IsaConfig::default()
    }

    const M_TVEC: u64 = 0x8000_0000;
    const S_TVEC: u64 = 0xffff_ffff_8000_0000;
    const EPC: u64 = 0x1_2346;

    fn hart(mode: Mode) -> HartState {
        let mut s = csr::reset(&IsaConfig::default(), 0);
        s.mode = mode;
        (s.csr.mtvec, s.csr.stvec) = (M_TVEC, S_TVEC);
        s
    }

    /// The cause of the interrupt to take with this `mip`.
    fn pending_interrupt(s: &HartState, mip: u64) -> Option<u64> {
        let isa = IsaConfig::default();
        interrupts::pending(s, &interrupts::World { mip, isa: &isa, imsic: None }).map(|t| t.cause)
    }

    fn wfi_wakes(s: &HartState, mip: u64) -> bool {
        let isa = IsaConfig::default();
        interrupts::wakes(s, &interrupts::World { mip, isa: &isa, imsic: None })
    }

    const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];

    #[test]
    fn a_trap_to_machine_mode_stacks_mode_and_enable() {
        for mode in MODES {
            for mie in [0, MIE] {
                let mut s = hart(mode);
                s.csr.mstatus |= mie | SIE;
                take_trap(&mut s, &isa(), Trap::new(2, 0xdead), EPC);
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
            take_trap(&mut s, &isa(), Trap::new(13, 0x1000), EPC);
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
        take_trap(&mut s, &isa(), Trap::new(13, 0), EPC);
        assert_eq!(s.mode, Mode::Machine);
    }

    #[test]
    fn only_interrupts_are_vectored() {
        let mut s = hart(Mode::User);
        (s.csr.mtvec, s.csr.stvec) = (M_TVEC | 1, S_TVEC | 1);
        s.csr.mideleg = 1 << 5;
        let fresh = s.clone();
        take_trap(&mut s, &isa(), Trap::new(1 << 63 | 7, 0), EPC);
        assert_eq!((s.pc, s.csr.mcause), (M_TVEC + 4 * 7, 1 << 63 | 7));
        s = fresh.clone();
        take_trap(&mut s, &isa(), Trap::new(1 << 63 | 5, 0), EPC);
        assert_eq!((s.pc, s.mode), (S_TVEC + 4 * 5, Mode::Supervisor));
        s = fresh;
        take_trap(&mut s, &isa(), Trap::new(7, 0), EPC);
        assert_eq!(s.pc, M_TVEC);
    }

    #[test]
    fn mret_undoes_a_trap() {
        for mode in MODES {
            for mie in [0, MIE] {
                let mut s = hart(mode);
                s.csr.mstatus |= mie;
                take_trap(&mut s, &isa(), Trap::new(3, 0), EPC);
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
                take_trap(&mut s, &isa(), Trap::new(3, 0), EPC);
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
                    take_trap(&mut s, &isa(), Trap::new(cause, 0), EPC);
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
        assert_eq!(MODES.map(|mode| ecall_cause(&hart(mode))), [8, 9, 11]);
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
