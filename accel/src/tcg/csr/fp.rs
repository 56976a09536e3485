//! `fflags`, `frm` and `fcsr`: three views of one register, gone while FS is Off.
//!
//! `frm` holds the reserved rounding modes too; instructions that round by them are illegal.

use arch::csr::fcsr::{FFLAGS, FRM, FRM_SHIFT};
use arch::csr::{self, mstatus};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, CsrOp, Denied, merge, require, status};
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

/// A CSR instruction on `fflags`, `frm` or `fcsr` while FS lets it and no state enable is in the way: the same as by
/// [`csr_op`](super::csr_op).
pub fn change_fcsr(s: &mut HartState, n: u16, op: CsrOp, src: u64, write: bool) -> u64 {
    let (mask, shift) = match n {
        csr::FFLAGS => (FFLAGS, 0),
        csr::FRM => (FRM, FRM_SHIFT),
        _ => (FFLAGS | FRM, 0),
    };
    let old = (s.csr.fcsr & mask) >> shift;
    if write {
        set(s, op.apply(old, src) << shift, mask);
    }
    old
}

/// Whether [`change_fcsr`] may be asked.
pub fn is_at_hand(s: &HartState, isa: &IsaConfig) -> bool {
    isa.has(Ext::F) && !status::is_off(s, mstatus::FS)
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
    use super::super::{Illegal, csr_op, read, write};
    use super::*;
    use arch::csr::mstatus::{CLEAN, DIRTY, FS, FS_SHIFT};

    #[test]
    fn the_short_way_is_the_same() {
        let mut env = Env::default();
        for (n, fcsr, src) in
            (0..3 * 64u64).map(|i| (csr::FFLAGS + (i % 3) as u16, (i * 0x55) & 0xff, (i * 0x9e37) % 0x1ff))
        {
            for (op, write) in [(CsrOp::Rw, true), (CsrOp::Rs, true), (CsrOp::Rc, true), (CsrOp::Rs, false)] {
                let mut s = env.hart();
                s.csr.mstatus |= CLEAN << FS_SHIFT;
                s.csr.fcsr = fcsr;
                assert!(is_at_hand(&s, &env.isa));
                let mut short = s.clone();
                let old = csr_op(&mut s, &mut env, n, op, src, write).unwrap().0;
                assert_eq!(change_fcsr(&mut short, n, op, src, write), old, "{n:#x} {fcsr:#x} {op:?} {src:#x}");
                assert!(short == s, "{n:#x} {fcsr:#x} {op:?} {src:#x}");
            }
        }
    }

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
