//! `mseccfg`: security policies of the machine.
//!
//! WARL: a field is there with its extension, the rest reads zero. Those of PMP (Smepmp) are one-way: MML and MMWP stay
//! set, and RLB stays clear once an entry is locked without it.
//!
//! Privileged spec, "Machine Security Configuration Register", "Smepmp", "Pointer Masking", "Landing Pad".

use arch::csr::mseccfg::{MLPE, MML, MMWP, PMM, RLB, SSEED, USEED};
use arch::csr::pmpcfg;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, envcfg, merge};
use crate::HartState;

pub(super) fn write_mseccfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.mseccfg;
    let mut mask = envcfg::legal_pmm(writable(env.isa()), v);
    if old & RLB == 0 && s.csr.pmp.cfg.iter().any(|cfg| cfg & pmpcfg::L != 0) {
        mask &= !RLB;
    }
    s.csr.mseccfg = merge(old, v, mask) | old & (MML | MMWP);
    let changed = old ^ s.csr.mseccfg;
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::MODE, changed & !(MML | MMWP | RLB | PMM | MLPE) != 0);
    effect.set(CsrEffect::PMP, changed & (MML | MMWP | RLB) != 0);
    effect.set(CsrEffect::TRANSLATION, changed & (PMM | MLPE) != 0);
    effect
}

/// Bits that software may set, and clear unless they are one-way.
fn writable(isa: &IsaConfig) -> u64 {
    let mut mask = 0;
    if isa.has(Ext::Zkr) {
        mask |= if isa.has(Ext::S) { SSEED } else { 0 } | if isa.has(Ext::U) { USEED } else { 0 };
    }
    // Without entries there is no policy for them to have.
    if isa.has(Ext::Smepmp) && isa.pmp_entries > 0 {
        mask |= MML | MMWP | RLB;
    }
    for (ext, field) in [(Ext::Smmpm, PMM), (Ext::Zicfilp, MLPE)] {
        if isa.has(ext) {
            mask |= field;
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{read, write};
    use super::*;
    use arch::csr::{MSECCFG, PMPCFG0};

    fn env() -> Env {
        let mut env = Env::default();
        [Ext::Smepmp, Ext::Smmpm].into_iter().for_each(|ext| env.isa.exts.insert(ext));
        env
    }

    #[test]
    fn lockdown_and_policy_stay_set() {
        let mut env = env();
        let mut s = env.hart();
        write(&mut s, &mut env, MSECCFG, MML | RLB).unwrap();
        write(&mut s, &mut env, MSECCFG, 0).unwrap();
        assert_eq!(read(&s, &env, MSECCFG), Ok(MML));
        write(&mut s, &mut env, MSECCFG, MMWP).unwrap();
        assert_eq!(read(&s, &env, MSECCFG), Ok(MML | MMWP));
    }

    #[test]
    fn the_bypass_cannot_be_set_once_an_entry_is_locked() {
        let mut env = env();
        let mut s = env.hart();
        write(&mut s, &mut env, MSECCFG, RLB).unwrap();
        // A disabled entry counts.
        write(&mut s, &mut env, PMPCFG0, u64::from(pmpcfg::L)).unwrap();
        write(&mut s, &mut env, MSECCFG, RLB).unwrap();
        assert_eq!(read(&s, &env, MSECCFG), Ok(RLB));
        write(&mut s, &mut env, MSECCFG, 0).unwrap();
        write(&mut s, &mut env, MSECCFG, RLB).unwrap();
        assert_eq!(read(&s, &env, MSECCFG), Ok(0));
    }

    #[test]
    fn the_reserved_mask_length_keeps_the_old_one() {
        let mut env = env();
        let mut s = env.hart();
        for (written, held) in [(2, 2), (1, 2), (3, 3), (0, 0), (1, 0)] {
            write(&mut s, &mut env, MSECCFG, written << 32).unwrap();
            assert_eq!(read(&s, &env, MSECCFG), Ok(held << 32));
        }
    }
}
