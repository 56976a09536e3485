//! `mstatus`, `sstatus` and `misa`.
//!
//! `sstatus` is a window on `mstatus`. SD is computed on a read; what is stored there does not count.
//!
//! Privileged spec, "Machine Status (`mstatus` and `mstatush`) Registers".

use arch::csr::mstatus::*;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, merge};
use crate::HartState;

/// Which bits of `mstatus` software can change.
pub(super) fn writable(isa: &IsaConfig) -> u64 {
    let mut mask = MIE | MPIE | MPP;
    if isa.has(Ext::U) {
        mask |= MPRV | TW;
    }
    if isa.has(Ext::S) {
        mask |= SIE | SPIE | SPP | SUM | MXR | TVM | TSR;
    }
    if isa.has(Ext::F) {
        mask |= FS;
    }
    if isa.has(Ext::Zve32x) {
        mask |= VS;
    }
    mask
}

/// The value at reset: SXL and UXL are fixed at 64 bits.
pub(super) fn at_reset(isa: &IsaConfig) -> u64 {
    let uxl = if isa.has(Ext::U) { XL_64 << UXL_SHIFT } else { 0 };
    let sxl = if isa.has(Ext::S) { XL_64 << SXL_SHIFT } else { 0 };
    uxl | sxl
}

fn mpp_is_legal(isa: &IsaConfig, status: u64) -> bool {
    match (status & MPP) >> MPP_SHIFT {
        0 => isa.has(Ext::U),
        1 => isa.has(Ext::S),
        3 => true,
        _ => false,
    }
}

fn with_sd(status: u64) -> u64 {
    let dirty = [FS, VS, XS].iter().any(|field| status & field == *field);
    if dirty { status | SD } else { status & !SD }
}

pub(super) fn read_mstatus(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    with_sd(s.csr.mstatus)
}

pub(super) fn read_sstatus(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    with_sd(s.csr.mstatus) & SSTATUS
}

pub(super) fn write_mstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let isa = env.isa();
    let mut mask = writable(isa);
    if !mpp_is_legal(isa, v) {
        mask &= !MPP;
    }
    set(s, v, mask)
}

pub(super) fn write_sstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set(s, v, writable(env.isa()) & SSTATUS)
}

fn set(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    let old = s.csr.mstatus;
    let new = merge(old, v, mask);
    s.csr.mstatus = new;
    effect(old, new)
}

/// What a change of `mstatus` asks for.
fn effect(old: u64, new: u64) -> CsrEffect {
    let changed = old ^ new;
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::INTERRUPTS, changed & (SIE | MIE) != 0);
    effect.set(CsrEffect::MODE, changed & (FS | VS | TVM | TW | TSR) != 0);
    let mut translation = SUM | MXR | MPRV;
    if new & MPRV != 0 {
        translation |= MPP;
    }
    effect.set(CsrEffect::TRANSLATION, changed & translation != 0);
    effect
}

/// Marks the floating-point state dirty, as each instruction that writes it does.
pub(super) fn set_fs_dirty(s: &mut HartState) -> CsrEffect {
    set(s, FS, FS)
}
