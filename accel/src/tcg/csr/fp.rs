//! `fflags`, `frm` and `fcsr`: three views of one register, gone while FS is Off.
//!
//! `frm` holds the reserved rounding modes too; instructions that round by them are illegal.

use arch::csr::fcsr::{FFLAGS, FRM, FRM_SHIFT};
use arch::csr::mstatus;
use arch::ext::IsaConfig;

use super::{CsrEffect, CsrEnv, Denied, merge, require, status};
use crate::HartState;

pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!status::is_off(s, mstatus::FS))
}

pub(super) fn read_fflags(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.fcsr & FFLAGS
}

pub(super) fn read_frm(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    (s.csr.fcsr & FRM) >> FRM_SHIFT
}

pub(super) fn read_fcsr(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.fcsr & (FFLAGS | FRM)
}

pub(super) fn write_fflags(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v, FFLAGS)
}

pub(super) fn write_frm(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v << FRM_SHIFT, FRM)
}

pub(super) fn write_fcsr(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v, FFLAGS | FRM)
}

fn set(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    let old = s.csr.fcsr;
    s.csr.fcsr = merge(old, v, mask);
    let mut effect = status::set_dirty(s, mstatus::FS);
    effect.set(CsrEffect::FFLAGS, mask & FFLAGS != 0);
    effect.set(CsrEffect::FRM, (old ^ s.csr.fcsr) & FRM != 0);
    effect
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrOp, Illegal, csr_op, read, write};
    use super::*;
    use arch::csr;
    use arch::csr::mstatus::{CLEAN, DIRTY, FS, FS_SHIFT};

    #[test]
    fn off_means_illegal() {
        let mut env = Env::default();
        let mut s = env.hart();
        for n in [csr::FFLAGS, csr::FRM, csr::FCSR] {
            assert_eq!(read(&s, &env, n), Err(Illegal));
            assert_eq!(write(&mut s, &mut env, n, 0), Err(Illegal));
        }
    }

    #[test]
    fn three_views_of_one_register() {
        let mut env = Env::default();
        let mut s = env.hart();
        s.csr.mstatus |= CLEAN << FS_SHIFT;
        write(&mut s, &mut env, csr::FCSR, u64::MAX).unwrap();
        assert_eq!([csr::FFLAGS, csr::FRM, csr::FCSR].map(|n| read(&s, &env, n)), [Ok(0x1f), Ok(7), Ok(0xff)]);
        write(&mut s, &mut env, csr::FFLAGS, 0x15).unwrap();
        write(&mut s, &mut env, csr::FRM, 0xfffa).unwrap();
        assert_eq!(read(&s, &env, csr::FCSR), Ok(2 << 5 | 0x15));
    }

    #[test]
    fn a_write_makes_the_state_dirty_and_a_read_does_not() {
        let mut env = Env::default();
        let mut s = env.hart();
        s.csr.mstatus |= CLEAN << FS_SHIFT;
        read(&s, &env, csr::FCSR).unwrap();
        csr_op(&mut s, &mut env, csr::FFLAGS, CsrOp::Rs, 0, false).unwrap();
        assert_eq!(s.csr.mstatus & FS, CLEAN << FS_SHIFT);
        let effect = write(&mut s, &mut env, csr::FFLAGS, 0).unwrap();
        assert_eq!(s.csr.mstatus & FS, DIRTY << FS_SHIFT);
        assert_eq!(effect, CsrEffect::MODE | CsrEffect::FFLAGS);
        assert_eq!(write(&mut s, &mut env, csr::FRM, 3), Ok(CsrEffect::FRM));
        assert_eq!(write(&mut s, &mut env, csr::FCSR, 3 << 5), Ok(CsrEffect::FFLAGS));
    }
}
