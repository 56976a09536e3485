//! `mip`, `mie`, `mideleg`, `medeleg`, and the views that lower modes have of them.
//!
//! `csr.mip` holds only what software wrote. A read shows the lines of chips besides, and read-modify-write
//! instructions start from the software bits alone, so that a line never sticks in them. `sip` and `sie` are
//! windows on the bits that `mideleg` gives to S-mode, `hip` and `hie` on those of the hypervisor extension, `vsip` and
//! `vsie` on those that `hideleg` gives to VS-mode, one place lower.

use arch::cause::Exception;
use arch::csr::{envcfg, mip};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;
use crate::tcg::interrupts::{self, LOCAL, guest_view, guest_virtual_view, supervisor_view, virtual_view};
use crate::tcg::trap;

const SUPERVISOR: u64 = mip::SSIP | mip::STIP | mip::SEIP;
const MACHINE: u64 = mip::MSIP | mip::MTIP | mip::MEIP;

/// Exceptions that M-mode can give away: all but its own ECALL.
const DELEGABLE_EXCEPTIONS: u64 = Exception::InstructionAddressMisaligned.bit()
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

/// LCOFIP, where counters have overflow interrupts.
fn overflow(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::Sscofpmf) { mip::LCOFIP } else { 0 }
}

/// Those that come with the hypervisor extension.
const DELEGABLE_WITH_H: u64 = Exception::EcallFromVs.bit()
    | Exception::InstructionGuestPageFault.bit()
    | Exception::LoadGuestPageFault.bit()
    | Exception::VirtualInstruction.bit()
    | Exception::StoreGuestPageFault.bit();

pub(super) fn delegable_exceptions(isa: &IsaConfig) -> u64 {
    let checks = isa.has(Ext::Zicfilp) || isa.has(Ext::Zicfiss);
    DELEGABLE_EXCEPTIONS
        | if isa.has(Ext::H) { DELEGABLE_WITH_H } else { 0 }
        | if checks { Exception::SoftwareCheck.bit() } else { 0 }
}

/// Interrupts that M-mode can give away.
pub(super) fn delegable_interrupts(isa: &IsaConfig) -> u64 {
    SUPERVISOR | overflow(isa)
}

/// Bits of `mideleg` that are read-only one: what the hypervisor extension adds goes past M-mode.
pub(super) fn always_delegated(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::H) { mip::HS_INTERRUPTS } else { 0 }
}

pub(super) fn enabled_bits(isa: &IsaConfig) -> u64 {
    let supervisor = if isa.has(Ext::S) { SUPERVISOR } else { 0 };
    MACHINE | supervisor | overflow(isa) | always_delegated(isa)
}

pub(super) fn read_mip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    trap::mip(s, env.lines())
}

pub(super) fn read_sip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    interrupts::sip(s, trap::mip(s, env.lines()))
}

/// The part of `mip` that read-modify-write instructions start from.
pub(super) fn software_mip(s: &HartState) -> u64 {
    s.csr.mip | software_hip(s)
}

pub(super) fn software_sip(s: &HartState) -> u64 {
    interrupts::sip(s, s.csr.mip)
}

pub(super) fn write_mip(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let mut mask = if env.isa().has(Ext::S) { SUPERVISOR } else { 0 } | overflow(env.isa());
    if s.csr.menvcfg & envcfg::STCE != 0 {
        // STIP is the comparator's alone.
        mask &= !mip::STIP;
    }
    // While M-mode filters external interrupts, SEIP is the signal alone.
    mask &= !(s.csr.mvien & mip::SEIP);
    s.csr.mip = merge(s.csr.mip, v, mask);
    write_vssip(s, v, always_delegated(env.isa()))
}

/// VSSIP alone can be written in `hip`, `mip` and, one place lower, `vsip`: it is that of `hvip`.
fn write_vssip(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    s.csr.hvip = merge(s.csr.hvip, v, mask & mip::VSSIP);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_sip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    write_supervisor(s, v, u64::MAX)
}

/// The bits of `mask` in `sip`. STIP and SEIP are cleared where they come from.
fn write_supervisor(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    let mask = mask & (mip::SSIP | LOCAL);
    s.csr.mip = merge(s.csr.mip, v, mask & supervisor_view(s));
    s.csr.mvip = merge(s.csr.mvip, v, mask & virtual_view(s));
    CsrEffect::INTERRUPTS
}

pub(super) fn write_mie(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mie = v & enabled_bits(env.isa());
    CsrEffect::INTERRUPTS
}

pub(super) fn read_sie(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    interrupts::sie(s)
}

pub(super) fn write_sie(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    enable_supervisor(s, v, u64::MAX)
}

/// The bits of `mask` in `sie`.
fn enable_supervisor(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    s.csr.mie = merge(s.csr.mie, v, mask & supervisor_view(s));
    s.csr.sie_virtual = merge(s.csr.sie_virtual, v, mask & virtual_view(s));
    CsrEffect::INTERRUPTS
}

pub(super) fn write_mideleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mideleg = v & delegable_interrupts(env.isa()) | always_delegated(env.isa());
    CsrEffect::INTERRUPTS
}

pub(super) fn write_medeleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.medeleg = v & delegable_exceptions(env.isa());
    CsrEffect::empty()
}

pub(super) fn read_hideleg(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    interrupts::hideleg(s)
}

/// Local interrupts can be given on as far as M-mode has given them.
pub(super) fn write_hideleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let given = if env.isa().has(Ext::Ssaia) { LOCAL & (s.csr.mideleg | s.csr.mvien) } else { 0 };
    s.csr.hideleg = v & (mip::VS_INTERRUPTS | given);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_hvip(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let local = if env.isa().has(Ext::Ssaia) { LOCAL } else { 0 };
    s.csr.hvip = v & (mip::VS_INTERRUPTS | local);
    CsrEffect::INTERRUPTS
}

pub(super) fn read_hip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    trap::mip(s, env.lines()) & mip::HS_INTERRUPTS
}

pub(super) fn software_hip(s: &HartState) -> u64 {
    s.csr.hvip & mip::VSSIP
}

pub(super) fn write_hip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    write_vssip(s, v, mip::VSSIP)
}

pub(super) fn read_hie(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.mie & mip::HS_INTERRUPTS
}

pub(super) fn write_hie(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mie = merge(s.csr.mie, v, mip::HS_INTERRUPTS);
    CsrEffect::INTERRUPTS
}

pub(super) fn read_vsip(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    interrupts::vsip(s, trap::mip(s, env.lines()))
}

pub(super) fn software_vsip(s: &HartState) -> u64 {
    interrupts::vsip(s, software_mip(s))
}

pub(super) fn write_vsip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let hideleg = interrupts::hideleg(s);
    write_supervisor(s, v, hideleg & LOCAL);
    s.csr.hvip = merge(s.csr.hvip, v, guest_virtual_view(s));
    write_vssip(s, v << 1, guest_view(s))
}

pub(super) fn read_vsie(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    interrupts::vsie(s)
}

pub(super) fn write_vsie(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let hideleg = interrupts::hideleg(s);
    enable_supervisor(s, v, hideleg & LOCAL);
    s.csr.vsie_virtual = merge(s.csr.vsie_virtual, v, guest_virtual_view(s));
    s.csr.mie = merge(s.csr.mie, v << 1, guest_view(s));
    CsrEffect::INTERRUPTS
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrOp, csr_op, read, write};
    use super::*;
    use arch::csr;

    #[test]
    fn only_what_exists_can_be_enabled_or_delegated() {
        let mut env = Env::default();
        let mut s = env.hart();
        for (n, held) in [(csr::MIE, 0xaaa), (csr::MIDELEG, 0x222), (csr::MEDELEG, 0xb3ff), (csr::MIP, 0x222)] {
            write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, n), Ok(held), "{n:#x}");
        }
    }

    #[test]
    fn lines_show_in_mip_and_cannot_be_written() {
        let mut env = Env { lines: mip::MTIP | mip::MSIP | mip::MEIP, ..Env::default() };
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MIP, 0).unwrap();
        assert_eq!(read(&s, &env, csr::MIP), Ok(env.lines));
        assert_eq!(s.csr.mip, 0);
    }

    /// The specification's note on SEIP: B is the software bit, E the signal.
    #[test]
    fn the_external_line_never_sticks_in_seip() {
        for (b, e, bit) in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)] {
            for (op, expected) in [(CsrOp::Rs, b | bit), (CsrOp::Rw, bit), (CsrOp::Rc, b & !bit)] {
                let mut env = Env { lines: e * mip::SEIP, ..Env::default() };
                let mut s = env.hart();
                s.csr.mip = b * mip::SEIP;
                let (old, _) = csr_op(&mut s, &mut env, csr::MIP, op, bit * mip::SEIP, true).unwrap();
                assert_eq!(old, (b | e) * mip::SEIP, "{op:?} B={b} E={e}");
                assert_eq!(s.csr.mip, expected * mip::SEIP, "{op:?} B={b} E={e} t1={bit}");
            }
        }
    }

    #[test]
    fn supervisor_sees_and_writes_only_what_is_delegated() {
        let mut env = Env { lines: mip::STIP | mip::MTIP, ..Env::default() };
        let mut s = env.hart();
        s.csr.mip = mip::SSIP | mip::SEIP;
        s.csr.mie = mip::MEIP | mip::SSIP | mip::STIP;
        s.csr.mideleg = mip::SSIP | mip::STIP;
        assert_eq!(read(&s, &env, csr::SIP), Ok(mip::SSIP | mip::STIP));
        assert_eq!(read(&s, &env, csr::SIE), Ok(mip::SSIP | mip::STIP));
        write(&mut s, &mut env, csr::SIE, mip::SEIP | mip::STIP).unwrap();
        assert_eq!(s.csr.mie, mip::MEIP | mip::STIP);
        // Only SSIP is writable in sip, and only if delegated.
        write(&mut s, &mut env, csr::SIP, 0).unwrap();
        assert_eq!(s.csr.mip, mip::SEIP);
        s.csr.mideleg = 0;
        write(&mut s, &mut env, csr::SIP, u64::MAX).unwrap();
        assert_eq!(s.csr.mip, mip::SEIP);
    }

    #[test]
    fn clearing_one_bit_of_sip_does_not_catch_a_line() {
        let mut env = Env { lines: mip::SSIP | mip::SEIP, ..Env::default() };
        let mut s = env.hart();
        s.csr.mideleg = 0x222;
        csr_op(&mut s, &mut env, csr::SIP, CsrOp::Rc, mip::SEIP, true).unwrap();
        assert_eq!(s.csr.mip, 0);
    }

    #[test]
    fn the_comparator_takes_stip_over() {
        let mut env = Env::default();
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MIP, mip::STIP).unwrap();
        assert_eq!(read(&s, &env, csr::MIP), Ok(mip::STIP));
        write(&mut s, &mut env, csr::MENVCFG, envcfg::STCE).unwrap();
        assert_eq!(read(&s, &env, csr::MIP), Ok(0));
        write(&mut s, &mut env, csr::MIP, 0).unwrap();
        env.lines = mip::STIP;
        assert_eq!(read(&s, &env, csr::MIP), Ok(mip::STIP));
        // What was written before is not lost.
        env.lines = 0;
        write(&mut s, &mut env, csr::MENVCFG, 0).unwrap();
        assert_eq!(read(&s, &env, csr::MIP), Ok(mip::STIP));
    }

    #[test]
    fn a_hart_without_supervisor_mode_has_no_supervisor_interrupts() {
        let mut env = Env::without(&[Ext::S]);
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MIE, u64::MAX).unwrap();
        write(&mut s, &mut env, csr::MIP, u64::MAX).unwrap();
        assert_eq!((s.csr.mie, s.csr.mip), (0x888, 0));
    }
}
