//! `vstart`, `vxsat`, `vxrm`, `vcsr`, `vl`, `vtype` and `vlenb`, gone while VS is Off.
//!
//! V, "Vector Extension Programmer's Model". `vl` and `vtype` are written by `vset{i}vl{i}` alone.

use arch::ext::IsaConfig;

use super::{CsrEffect, CsrEnv, Denied, merge, require};
use crate::HartState;
use crate::tcg::helpers::vector;

/// Fields of `vcsr`.
const VXSAT: u64 = 1;
const VXRM_SHIFT: u32 = 1;
const VXRM: u64 = 3 << VXRM_SHIFT;

pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(vector::enabled(s))
}

pub(super) fn read_vxsat(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.vcsr & VXSAT
}

pub(super) fn read_vxrm(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    (s.csr.vcsr & VXRM) >> VXRM_SHIFT
}

pub(super) fn read_vcsr(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.vcsr
}

pub(super) fn read_vlenb(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    u64::from(env.isa().vlen / 8)
}

/// Holds the index of any element that a group of registers can have, and no more bits.
pub(super) fn write_vstart(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.vstart = v & u64::from(env.isa().vlen - 1);
    dirty(s)
}

pub(super) fn write_vxsat(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v, VXSAT)
}

pub(super) fn write_vxrm(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v << VXRM_SHIFT, VXRM)
}

pub(super) fn write_vcsr(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v, VXSAT | VXRM)
}

fn set(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    s.csr.vcsr = merge(s.csr.vcsr, v, mask);
    dirty(s)
}

fn dirty(s: &mut HartState) -> CsrEffect {
    vector::make_dirty(s);
    CsrEffect::empty()
}
