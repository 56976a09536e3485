//! `menvcfg` and `senvcfg`: what less privileged modes may use.

use arch::csr::envcfg::*;
use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};

use super::hypervisor::henvcfg;
use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;
use crate::tcg::cfi;

/// The fields that `senvcfg` has too.
fn common(isa: &IsaConfig) -> u64 {
    let mut mask = FIOM;
    if isa.has(Ext::Zicbom) {
        mask |= CBIE | CBCFE;
    }
    if isa.has(Ext::Zicboz) {
        mask |= CBZE;
    }
    if isa.has(Ext::Zicfilp) {
        mask |= LPE;
    }
    if isa.has(Ext::Zicfiss) && isa.has(Ext::S) {
        mask |= SSE;
    }
    mask
}

/// Which bits of `senvcfg` software can change.
fn writable_by_supervisor(isa: &IsaConfig) -> u64 {
    common(isa) | if isa.has(Ext::Ssnpm) { PMM } else { 0 }
}

/// Which bits of `henvcfg` software can change, where `menvcfg` does not withhold them.
pub(super) fn writable_by_hypervisor(isa: &IsaConfig) -> u64 {
    let pmm = if isa.has(Ext::Ssnpm) { PMM } else { 0 };
    writable(isa) & !(CDE | PMM) | pmm
}

/// Which bits of `menvcfg` software can change.
pub(super) fn writable(isa: &IsaConfig) -> u64 {
    let mut mask = common(isa);
    for (ext, bit) in [
        (Ext::Svadu, ADUE),
        (Ext::Svpbmt, PBMTE),
        (Ext::Sstc, STCE),
        (Ext::Smcdeleg, CDE),
        (Ext::Smnpm, PMM),
        (Ext::Ssdbltrp, DTE),
    ] {
        if isa.has(ext) {
            mask |= bit;
        }
    }
    mask
}

/// `v` with no access in the place of CBIE's reserved encoding, as Sail and Spike have it.
pub(super) fn legal_cbie(v: u64) -> u64 {
    if v & CBIE == 2 << CBIE_SHIFT { v & !CBIE } else { v }
}

/// `mask` without PMM where `v` has its reserved encoding, so that the field keeps its value. It stands at the same
/// place in `mseccfg`.
pub(super) fn legal_pmm(mask: u64, v: u64) -> u64 {
    if v & PMM == 1 << PMM_SHIFT { mask & !PMM } else { mask }
}

pub(super) fn write_menvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.menvcfg;
    s.csr.menvcfg = merge(old, legal_cbie(v), legal_pmm(writable(env.isa()), v));
    forget_sdt(s);
    effect(old ^ s.csr.menvcfg, env)
}

/// SDT is read-only zero where DTE is clear.
pub(super) fn forget_sdt(s: &mut HartState) {
    if s.csr.menvcfg & DTE == 0 {
        s.csr.mstatus &= !mstatus::SDT;
    }
    if henvcfg(s) & DTE == 0 {
        s.csr.vsstatus &= !mstatus::SDT;
    }
}

/// What a change of these fields of `menvcfg` or `henvcfg` asks for.
pub(super) fn effect(changed: u64, env: &mut dyn CsrEnv) -> CsrEffect {
    let mut effect = CsrEffect::empty();
    if changed & STCE != 0 {
        env.stimecmp_changed();
        effect |= CsrEffect::INTERRUPTS;
    }
    effect.set(CsrEffect::MODE, changed & (FIOM | CBIE | CBCFE | CBZE | STCE | CDE) != 0);
    effect.set(CsrEffect::TRANSLATION, changed & (ADUE | PBMTE | PMM | LPE | SSE) != 0);
    effect
}

/// SSE reads zero while a register above withholds it.
pub(super) fn read_senvcfg(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    if cfi::user_shadow_stack(s) { s.csr.senvcfg } else { s.csr.senvcfg & !SSE }
}

pub(super) fn write_senvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.senvcfg;
    let withheld = if cfi::shadow_pages(s, s.virt) { 0 } else { SSE };
    s.csr.senvcfg = merge(old, legal_cbie(v), legal_pmm(writable_by_supervisor(env.isa()), v) & !withheld);
    let changed = old ^ s.csr.senvcfg;
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::MODE, changed & !(PMM | LPE | SSE) != 0);
    effect.set(CsrEffect::TRANSLATION, changed & (PMM | LPE | SSE) != 0);
    effect
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{read, write};
    use super::*;
    use arch::csr;

    #[test]
    fn fields_exist_with_their_extensions() {
        let all = FIOM | CBIE | CBCFE | CBZE;
        let cases: [(&[Ext], u64); 5] = [
            (&[], all | ADUE | PBMTE | STCE),
            (&[Ext::Zicbom], FIOM | CBZE | ADUE | PBMTE | STCE),
            (&[Ext::Zicboz], all & !CBZE | ADUE | PBMTE | STCE),
            (&[Ext::Svadu], all | PBMTE | STCE),
            (&[Ext::Svpbmt, Ext::Sstc], all | ADUE),
        ];
        for (absent, held) in cases {
            let mut env = Env::without(absent);
            let mut s = env.hart();
            write(&mut s, &mut env, csr::MENVCFG, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, csr::MENVCFG), Ok(held), "without {absent:?}");
            write(&mut s, &mut env, csr::SENVCFG, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, csr::SENVCFG), Ok(held & all), "without {absent:?}");
        }
    }

    #[test]
    fn the_reserved_cbie_becomes_zero() {
        let mut env = Env::default();
        let mut s = env.hart();
        for n in [csr::MENVCFG, csr::SENVCFG] {
            for (written, held) in [(1, 1), (2, 0), (3, 3), (2, 0), (0, 0)] {
                write(&mut s, &mut env, n, written << CBIE_SHIFT | CBZE).unwrap();
                assert_eq!(read(&s, &env, n), Ok(held << CBIE_SHIFT | CBZE));
            }
        }
    }

    #[test]
    fn effects_follow_the_fields() {
        let mut env = Env::default();
        let mut s = env.hart();
        let base = s.csr.menvcfg;
        let mut set = |v: u64| write(&mut s, &mut env, csr::MENVCFG, v).unwrap();
        assert_eq!(set(base), CsrEffect::empty());
        assert_eq!(set(base | STCE), CsrEffect::INTERRUPTS | CsrEffect::MODE);
        assert_eq!(set(base | STCE | ADUE), CsrEffect::TRANSLATION);
        assert_eq!(set(base | STCE | ADUE | CBZE), CsrEffect::MODE);
        assert_eq!(env.timer_changes, 1);
    }
}
