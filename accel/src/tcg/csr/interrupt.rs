//! `mip`, `mie`, `sip`, `sie`, `mideleg` and `medeleg`.
//!
//! `csr.mip` holds only what software wrote. A read shows the lines of chips besides, and read-modify-write
//! instructions start from the software bits alone, so that a line never sticks in them. `sip` and `sie` are
//! windows on the bits that `mideleg` gives to S-mode.

use arch::cause::Exception;
use arch::csr::{envcfg, mip};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;
use crate::tcg::trap;

const SUPERVISOR: u64 = mip::SSIP | mip::STIP | mip::SEIP;
const MACHINE: u64 = mip::MSIP | mip::MTIP | mip::MEIP;

/// Exceptions that M-mode can give away: all but its own ECALL.
pub(super) const DELEGABLE_EXCEPTIONS: u64 = Exception::InstructionAddressMisaligned.bit()
    | Exception::InstructionAccessFault.bit()
    | Exception::IllegalInstruction.bit()
    | Exception::Breakpoint.bit()
    | Exception::LoadAddressMisaligned.bit()
    | Exception::LoadAccessFault.bit()
    | Exception::StoreAddressMisaligned.bit()
    | Exception::StoreAccessFault.bit()
    | Exception::EcallFromU.bit()
    | Exception::EcallFromS.bit()
    | Exception::InstructionPageFault.bit()
    | Exception::LoadPageFault.bit()
    | Exception::StorePageFault.bit();

/// Interrupts that M-mode can give away.
pub(super) const DELEGABLE_INTERRUPTS: u64 = SUPERVISOR;

fn enabled_bits(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::S) { MACHINE | SUPERVISOR } else { MACHINE }
}

pub(super) fn read_mip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    trap::mip(s, env.lines())
}

pub(super) fn read_sip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    trap::mip(s, env.lines()) & s.csr.mideleg
}

/// The part of `mip` that read-modify-write instructions start from.
pub(super) fn software_mip(s: &HartState) -> u64 {
    s.csr.mip
}

pub(super) fn software_sip(s: &HartState) -> u64 {
    s.csr.mip & s.csr.mideleg
}

pub(super) fn write_mip(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let mut mask = if env.isa().has(Ext::S) { SUPERVISOR } else { 0 };
    if s.csr.menvcfg & envcfg::STCE != 0 {
        // STIP is the comparator's alone.
        mask &= !mip::STIP;
    }
    s.csr.mip = merge(s.csr.mip, v, mask);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_sip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    // STIP and SEIP are cleared where they come from.
    s.csr.mip = merge(s.csr.mip, v, mip::SSIP & s.csr.mideleg);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_mie(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mie = v & enabled_bits(env.isa());
    CsrEffect::INTERRUPTS
}

pub(super) fn read_sie(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.mie & s.csr.mideleg
}

pub(super) fn write_sie(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mie = merge(s.csr.mie, v, s.csr.mideleg);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_mideleg(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mideleg = v & DELEGABLE_INTERRUPTS;
    CsrEffect::INTERRUPTS
}

pub(super) fn write_medeleg(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.medeleg = v & DELEGABLE_EXCEPTIONS;
    CsrEffect::empty()
}
