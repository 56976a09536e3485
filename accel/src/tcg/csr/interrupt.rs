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

/// LCOFIP, where counters have overflow interrupts.
fn overflow(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::Sscofpmf) { mip::LCOFIP } else { 0 }
}

/// Interrupts that M-mode can give away.
pub(super) fn delegable_interrupts(isa: &IsaConfig) -> u64 {
    SUPERVISOR | overflow(isa)
}

fn enabled_bits(isa: &IsaConfig) -> u64 {
    let supervisor = if isa.has(Ext::S) { SUPERVISOR } else { 0 };
    MACHINE | supervisor | overflow(isa)
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
    let mut mask = if env.isa().has(Ext::S) { SUPERVISOR } else { 0 } | overflow(env.isa());
    if s.csr.menvcfg & envcfg::STCE != 0 {
        // STIP is the comparator's alone.
        mask &= !mip::STIP;
    }
    s.csr.mip = merge(s.csr.mip, v, mask);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_sip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    // STIP and SEIP are cleared where they come from.
    s.csr.mip = merge(s.csr.mip, v, (mip::SSIP | mip::LCOFIP) & s.csr.mideleg);
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

pub(super) fn write_mideleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mideleg = v & delegable_interrupts(env.isa());
    CsrEffect::INTERRUPTS
}

pub(super) fn write_medeleg(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.medeleg = v & DELEGABLE_EXCEPTIONS;
    CsrEffect::empty()
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
