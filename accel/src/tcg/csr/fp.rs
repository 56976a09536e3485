//! `fflags`, `frm` and `fcsr`: three views of one register, gone while FS is Off.
//!
//! `frm` holds the reserved rounding modes too; instructions that round by them are illegal.

use arch::csr::fcsr::{FFLAGS, FRM, FRM_SHIFT};
use arch::csr::mstatus;
use arch::ext::IsaConfig;

use super::{CsrEffect, CsrEnv, merge, status};
use crate::HartState;

pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> bool {
    s.csr.mstatus & mstatus::FS != 0
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
    let mut effect = status::set_fs_dirty(s);
    effect.set(CsrEffect::FFLAGS, mask & FFLAGS != 0);
    effect.set(CsrEffect::FRM, (old ^ s.csr.fcsr) & FRM != 0);
    effect
}
