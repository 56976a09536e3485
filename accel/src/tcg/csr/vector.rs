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

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, read, write};
    use super::*;
    use arch::csr::{self, mstatus};
    use arch::ext::Ext;

    const ALL: [u16; 7] = [csr::VSTART, csr::VXSAT, csr::VXRM, csr::VCSR, csr::VL, csr::VTYPE, csr::VLENB];

    fn hart(vlen: u32) -> (HartState, Env) {
        let mut env = Env::default();
        env.isa.exts.insert(Ext::Zve32x);
        env.isa.vlen = vlen;
        let mut s = env.hart();
        s.csr.mstatus |= mstatus::INITIAL << mstatus::VS_SHIFT;
        (s, env)
    }

    #[test]
    fn out_of_reset_no_type_is_set() {
        let (s, env) = hart(512);
        assert_eq!(ALL.map(|n| read(&s, &env, n)), [0, 0, 0, 0, 0, vector::VILL, 64].map(Ok));
    }

    #[test]
    fn off_or_absent_means_illegal() {
        let (mut s, mut env) = hart(128);
        s.csr.mstatus &= !mstatus::VS;
        ALL.iter().for_each(|n| assert_eq!(read(&s, &env, *n), Err(Illegal), "{n:#x}"));
        s.csr.mstatus |= mstatus::VS;
        env.isa.exts.remove(Ext::Zve32x);
        ALL.iter().for_each(|n| assert_eq!(read(&s, &env, *n), Err(Illegal), "{n:#x}"));
    }

    #[test]
    fn vstart_has_room_for_the_last_index_and_no_more() {
        for vlen in [128, 1024] {
            let (mut s, mut env) = hart(vlen);
            write(&mut s, &mut env, csr::VSTART, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, csr::VSTART), Ok(u64::from(vlen) - 1));
        }
    }

    #[test]
    fn vcsr_is_vxrm_and_vxsat() {
        let (mut s, mut env) = hart(128);
        write(&mut s, &mut env, csr::VXRM, 6).unwrap();
        write(&mut s, &mut env, csr::VXSAT, 3).unwrap();
        assert_eq!(read(&s, &env, csr::VCSR), Ok(5));
        write(&mut s, &mut env, csr::VCSR, u64::MAX).unwrap();
        assert_eq!([csr::VXRM, csr::VXSAT, csr::VCSR].map(|n| read(&s, &env, n)), [Ok(3), Ok(1), Ok(7)]);
    }

    #[test]
    fn a_write_makes_the_state_dirty_and_a_read_does_not() {
        let (mut s, mut env) = hart(128);
        read(&s, &env, csr::VCSR).unwrap();
        assert_eq!(s.csr.mstatus & mstatus::VS, mstatus::INITIAL << mstatus::VS_SHIFT);
        write(&mut s, &mut env, csr::VSTART, 0).unwrap();
        assert_eq!(s.csr.mstatus & mstatus::VS, mstatus::VS);
        assert_eq!(write(&mut s, &mut env, csr::VL, 1), Err(Illegal));
    }
}
