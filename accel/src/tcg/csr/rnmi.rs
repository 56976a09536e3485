//! `mnscratch`, `mnepc`, `mncause` and `mnstatus`: what a non-maskable interrupt leaves instead of the registers of a
//! trap (Smrnmi).
//!
//! NMIE is stored inverted, so that harts without the extension need not set it.

use arch::csr::mnstatus::*;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;

pub(super) fn read_mnstatus(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.mnstatus | if s.csr.nmi_masked { 0 } else { NMIE }
}

/// Which bits of `mnstatus` software can change, but for NMIE.
fn writable(isa: &IsaConfig) -> u64 {
    let mut mask = MNPP;
    if isa.has(Ext::H) {
        mask |= MNPV;
    }
    if isa.has(Ext::Zicfilp) {
        mask |= MNPELP;
    }
    mask
}

/// NMIE can be set and not cleared. MNPP keeps its value if a mode is written that the hart does not have.
pub(super) fn write_mnstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let isa = env.isa();
    let mut mask = writable(isa);
    let exists = match (v & MNPP) >> MNPP_SHIFT {
        0 => isa.has(Ext::U),
        1 => isa.has(Ext::S),
        mode => mode == 3,
    };
    if !exists {
        mask &= !MNPP;
    }
    s.csr.mnstatus = merge(s.csr.mnstatus, v, mask);
    s.csr.nmi_masked &= v & NMIE == 0;
    // MPRV counts only while NMIE is set.
    CsrEffect::INTERRUPTS | CsrEffect::TRANSLATION
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, read, write};
    use super::*;
    use arch::csr;

    fn env() -> Env {
        let mut env = Env::default();
        env.isa.exts.insert(Ext::Smrnmi);
        env
    }

    #[test]
    fn nmie_is_clear_at_reset_and_only_ever_set() {
        let mut env = env();
        let mut s = env.hart();
        assert_eq!(read(&s, &env, csr::MNSTATUS), Ok(0));
        for (written, held) in [(0, 0), (NMIE, NMIE), (0, NMIE)] {
            write(&mut s, &mut env, csr::MNSTATUS, written).unwrap();
            assert_eq!(read(&s, &env, csr::MNSTATUS), Ok(held));
        }
    }

    #[test]
    fn mnpp_holds_modes_and_mnpv_needs_a_hypervisor() {
        let mut env = env();
        let mut s = env.hart();
        for (written, held) in [(1, 1), (2, 1), (3, 3), (2, 3), (0, 0)] {
            write(&mut s, &mut env, csr::MNSTATUS, written << MNPP_SHIFT | MNPV).unwrap();
            assert_eq!(read(&s, &env, csr::MNSTATUS), Ok(held << MNPP_SHIFT));
        }
        env.isa.exts.insert(Ext::H);
        write(&mut s, &mut env, csr::MNSTATUS, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::MNSTATUS), Ok(MNPP | MNPV | NMIE));
    }

    #[test]
    fn the_others_are_registers_of_machine_mode() {
        let mut env = env();
        let mut s = env.hart();
        for (n, held) in [(csr::MNSCRATCH, u64::MAX), (csr::MNEPC, !1), (csr::MNCAUSE, u64::MAX)] {
            write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, n), Ok(held));
            s.mode = crate::Mode::Supervisor;
            assert_eq!(read(&s, &env, n), Err(Illegal));
            s.mode = crate::Mode::Machine;
            assert_eq!(read(&s, &Env::default(), n), Err(Illegal), "without Smrnmi");
        }
    }
}
