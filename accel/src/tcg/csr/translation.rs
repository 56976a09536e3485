//! `satp`.

use arch::csr::{mstatus, satp};
use arch::ext::{IsaConfig, SatpMode};

use super::{CsrEffect, CsrEnv};
use crate::{HartState, Mode};

/// S-mode loses `satp` to `mstatus.TVM`.
pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> bool {
    !(s.mode == Mode::Supervisor && s.csr.mstatus & mstatus::TVM != 0)
}

pub(super) fn read_satp(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.satp
}

/// All 16 bits of ASID and all 44 of PPN are there. A write with an unsupported MODE has no effect at all.
pub(super) fn write_satp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let supported = SatpMode::from_encoding(v >> satp::MODE_SHIFT).is_some_and(|m| m <= env.isa().satp_mode);
    if !supported || s.csr.satp == v {
        return CsrEffect::empty();
    }
    s.csr.satp = v;
    CsrEffect::SATP | CsrEffect::TRANSLATION
}
