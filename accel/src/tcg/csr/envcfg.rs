//! `menvcfg` and `senvcfg`: what less privileged modes may use.

use arch::csr::envcfg::*;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;

/// The fields that `senvcfg` has too.
fn common(isa: &IsaConfig) -> u64 {
    let mut mask = FIOM;
    if isa.has(Ext::Zicbom) {
        mask |= CBIE | CBCFE;
    }
    if isa.has(Ext::Zicboz) {
        mask |= CBZE;
    }
    mask
}

/// Which bits of `menvcfg` software can change.
pub(super) fn writable(isa: &IsaConfig) -> u64 {
    let mut mask = common(isa);
    for (ext, bit) in [(Ext::Svadu, ADUE), (Ext::Svpbmt, PBMTE), (Ext::Sstc, STCE)] {
        if isa.has(ext) {
            mask |= bit;
        }
    }
    mask
}

/// `mask` without CBIE if `v` has its reserved encoding, so that the field keeps its value.
fn legal(mask: u64, v: u64) -> u64 {
    if v & CBIE == 2 << CBIE_SHIFT { mask & !CBIE } else { mask }
}

pub(super) fn write_menvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.menvcfg;
    s.csr.menvcfg = merge(old, v, legal(writable(env.isa()), v));
    let changed = old ^ s.csr.menvcfg;
    let mut effect = CsrEffect::empty();
    if changed & STCE != 0 {
        env.stimecmp_changed();
        effect |= CsrEffect::INTERRUPTS;
    }
    effect.set(CsrEffect::MODE, changed & (FIOM | CBIE | CBCFE | CBZE | STCE) != 0);
    effect.set(CsrEffect::TRANSLATION, changed & (ADUE | PBMTE) != 0);
    effect
}

pub(super) fn write_senvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.senvcfg;
    s.csr.senvcfg = merge(old, v, legal(common(env.isa()), v));
    if old == s.csr.senvcfg { CsrEffect::empty() } else { CsrEffect::MODE }
}
