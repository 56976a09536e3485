//! The registers of the hypervisor extension, and which of them stand in for supervisor registers while V is 1.
//!
//! The virtual supervisor registers behave as their supervisor counterparts; what is here is what differs. Interrupt
//! registers are in `interrupt`.
//!
//! Privileged spec, "Hypervisor and Virtual Supervisor CSRs"; "Sstc" for `vstimecmp`.

use arch::cause::Exception;
use arch::csr::{self, counteren, envcfg, hgatp, hstatus, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};

use super::{CsrEffect, CsrEnv, Denied, in_machine, interrupt, merge, require};
use crate::{HartState, Mode};

/// The virtual supervisor register that an access to supervisor register `n` reaches while V is 1, if there is one:
/// all of them stand 0x100 above.
pub(super) fn substitute(n: u16) -> Option<u16> {
    matches!(
        n,
        csr::SSTATUS
            | csr::SIE
            | csr::STVEC
            | csr::SSCRATCH..=csr::SIP
            | csr::STIMECMP
            | csr::SCTRCTL
            | csr::SISELECT..=csr::SIREG6
            | csr::STOPEI
            | csr::STOPI
            | csr::SATP
    )
    .then_some(n + 0x100)
}

/// The state as HS-mode would have it, to ask whether it could do what V being 1 prevents. What FS and VS of
/// `vsstatus` prevent is never a virtual-instruction exception, so that they count here too.
pub(super) fn as_hypervisor(s: &HartState) -> HartState {
    let mut hs = s.clone();
    (hs.mode, hs.virt) = (Mode::Supervisor, false);
    hs.csr.mstatus &= !mstatus::TVM;
    for field in [mstatus::FS, mstatus::VS] {
        if s.csr.vsstatus & field == 0 {
            hs.csr.mstatus &= !field;
        }
    }
    hs
}

/// `henvcfg` where `menvcfg` leaves its fields to it; the others are read-only zero.
pub(crate) fn henvcfg(s: &HartState) -> u64 {
    s.csr.henvcfg & (s.csr.menvcfg | !WITHHELD)
}

/// Fields of `henvcfg` that are read-only zero while the same field of `menvcfg` is zero.
const WITHHELD: u64 = envcfg::STCE | envcfg::PBMTE | envcfg::ADUE | envcfg::DTE;

pub(super) fn read_henvcfg(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    henvcfg(s)
}

pub(super) fn write_henvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let withheld = WITHHELD & !s.csr.menvcfg;
    let mask = super::envcfg::legal(super::envcfg::writable_by_hypervisor(env.isa()) & !withheld, v);
    let old = s.csr.henvcfg;
    s.csr.henvcfg = merge(old, v, mask);
    super::envcfg::forget_sdt(s);
    super::envcfg::effect(old ^ s.csr.henvcfg, env)
}

/// VSXL is fixed at 64 bits and VSBE at little-endian. VGEIN keeps its value if a number beyond GEILEN is written.
pub(super) fn write_hstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    use hstatus::*;
    let mut mask = VTSR | VTW | VTVM | HU | SPVP | SPV | GVA;
    if env.isa().has(Ext::Ssnpm) && v & HUPMM != 1 << HUPMM_SHIFT {
        mask |= HUPMM;
    }
    if (v & VGEIN) >> VGEIN_SHIFT <= u64::from(env.isa().geilen) {
        mask |= VGEIN;
    }
    let old = s.csr.hstatus;
    s.csr.hstatus = merge(old, v, mask);
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::INTERRUPTS, (old ^ s.csr.hstatus) & VGEIN != 0);
    effect.set(CsrEffect::MODE, (old ^ s.csr.hstatus) & (VTSR | VTW | VTVM | HU) != 0);
    effect
}

/// Exceptions that the hypervisor never gives to its guest: calls from above it, its own faults, and those of the
/// machine.
const NOT_FOR_GUESTS: u64 = Exception::EcallFromS.bit()
    | Exception::EcallFromVs.bit()
    | Exception::EcallFromM.bit()
    | Exception::DoubleTrap.bit()
    | Exception::InstructionGuestPageFault.bit()
    | Exception::LoadGuestPageFault.bit()
    | Exception::VirtualInstruction.bit()
    | Exception::StoreGuestPageFault.bit();

pub(super) fn write_hedeleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hedeleg = v & interrupt::delegable_exceptions(env.isa()) & !NOT_FOR_GUESTS;
    CsrEffect::empty()
}

pub(super) fn write_hcounteren(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hcounteren = u64::from(v as u32);
    CsrEffect::MODE
}

pub(super) fn write_htimedelta(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.htimedelta = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}

/// As that of `stimecmp`, and in VS-mode by `henvcfg` and `hcounteren` besides.
pub(super) fn vstimecmp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    let by_machine = s.csr.menvcfg & envcfg::STCE != 0 && s.csr.mcounteren & counteren::TM != 0;
    let by_hypervisor = henvcfg(s) & envcfg::STCE != 0 && s.csr.hcounteren & counteren::TM != 0;
    require(in_machine(s) || by_machine && (!s.virt || by_hypervisor))
}

pub(super) fn write_vstimecmp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.vstimecmp = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}

pub(super) fn hgatp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!(s.mode == Mode::Supervisor && s.csr.mstatus & mstatus::TVM != 0))
}

/// Every field is legalised on its own: an unsupported MODE leaves that field as it was. VMID has all its 14 bits, also
/// while MODE is Bare: software counts them so.
pub(super) fn write_hgatp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.hgatp;
    let supported = SatpMode::from_encoding(v >> hgatp::MODE_SHIFT).is_some_and(|m| m <= env.isa().satp_mode);
    let mode = if supported { v } else { old } & hgatp::MODE;
    s.csr.hgatp = mode | v & (hgatp::PPN & !hgatp::ROOT_ALIGN | hgatp::VMID);
    if s.csr.hgatp == old { CsrEffect::empty() } else { CsrEffect::TRANSLATION }
}

/// VS-mode loses `satp` to `hstatus.VTVM`; HS-mode has `vsatp` whatever TVM says.
pub(super) fn vsatp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!(s.virt && s.csr.hstatus & hstatus::VTVM != 0))
}

/// As `satp`: a write with an unsupported MODE has no effect at all, in HS-mode too.
pub(super) fn write_vsatp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let supported = SatpMode::from_encoding(v >> satp::MODE_SHIFT).is_some_and(|m| m <= env.isa().satp_mode);
    if !supported || s.csr.vsatp == v {
        return CsrEffect::empty();
    }
    s.csr.vsatp = v;
    if s.virt { CsrEffect::SATP | CsrEffect::TRANSLATION } else { CsrEffect::TRANSLATION }
}

/// Guest external interrupts that exist: bits GEILEN to 1.
fn guest_externals(geilen: u8) -> u64 {
    ((2 << geilen.min(62)) - 1) & !1
}

pub(super) fn read_hgeip(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.hgeip() & guest_externals(env.isa().geilen)
}

pub(super) fn write_hgeie(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hgeie = v & guest_externals(env.isa().geilen);
    CsrEffect::INTERRUPTS
}

/// `hstatus` at reset.
pub(super) fn hstatus_at_reset(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::H) { mstatus::XL_64 << hstatus::VSXL_SHIFT } else { 0 }
}
