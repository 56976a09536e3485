//! `satp`.

use arch::csr::{mstatus, satp};
use arch::ext::{IsaConfig, SatpMode};

use super::{CsrEffect, CsrEnv, Denied, require};
use crate::{HartState, Mode};

/// S-mode loses `satp` to `mstatus.TVM`.
pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!(s.mode == Mode::Supervisor && s.csr.mstatus & mstatus::TVM != 0))
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

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, read, write};
    use super::*;
    use arch::csr;

    #[test]
    fn an_unsupported_mode_leaves_all_of_satp_alone() {
        let mut env = Env::default();
        env.isa.satp_mode = SatpMode::Sv48;
        let mut s = env.hart();
        let good = satp::SV39 << satp::MODE_SHIFT | 0xabcd << satp::ASID_SHIFT | 0xfff_ffff_ffff;
        assert_eq!(write(&mut s, &mut env, csr::SATP, good), Ok(CsrEffect::SATP | CsrEffect::TRANSLATION));
        assert_eq!(read(&s, &env, csr::SATP), Ok(good));
        for mode in (0..16).filter(|mode| ![satp::BARE, satp::SV39, satp::SV48].contains(mode)) {
            assert_eq!(write(&mut s, &mut env, csr::SATP, mode << satp::MODE_SHIFT | 1), Ok(CsrEffect::empty()));
            assert_eq!(read(&s, &env, csr::SATP), Ok(good), "mode {mode}");
        }
        for v in [satp::SV48 << satp::MODE_SHIFT, 0] {
            write(&mut s, &mut env, csr::SATP, v).unwrap();
            assert_eq!(read(&s, &env, csr::SATP), Ok(v));
        }
    }

    #[test]
    fn tvm_keeps_it_from_supervisor_mode() {
        let mut env = Env::default();
        let mut s = env.hart();
        s.csr.mstatus |= mstatus::TVM;
        assert!(write(&mut s, &mut env, csr::SATP, 0).is_ok());
        s.mode = Mode::Supervisor;
        assert_eq!(read(&s, &env, csr::SATP), Err(Illegal));
        assert_eq!(write(&mut s, &mut env, csr::SATP, 0), Err(Illegal));
        s.csr.mstatus &= !mstatus::TVM;
        assert!(read(&s, &env, csr::SATP).is_ok());
    }
}
