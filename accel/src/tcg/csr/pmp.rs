//! `pmpcfg0` to `pmpcfg14` and `pmpaddr0` to `pmpaddr63`: legal values and locks.
//!
//! What the registers permit is in `mmu/pmp.rs`.

use arch::csr::{PMPADDR0, PMPCFG0, pmpcfg};

use super::{CsrEffect, CsrEnv};
use crate::HartState;
use crate::tcg::mmu::pmp::matching;

/// The first of the eight entries in `pmpcfg` number `n`.
fn first_entry(n: u16) -> usize {
    usize::from(n - PMPCFG0) * 4
}

pub(super) fn read_cfg(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    let first = first_entry(n);
    let bytes = std::array::from_fn(|i| s.csr.pmp.cfg[first + i]);
    u64::from_le_bytes(bytes)
}

pub(super) fn write_cfg(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let first = first_entry(n);
    let implemented = usize::from(env.isa().pmp_entries);
    for (i, cfg) in (first..implemented).zip(v.to_le_bytes()) {
        if s.csr.pmp.cfg[i] & pmpcfg::L == 0 {
            s.csr.pmp.cfg[i] = legal(cfg);
        }
    }
    CsrEffect::PMP
}

/// Write without read is reserved: it becomes no access.
fn legal(cfg: u8) -> u8 {
    let cfg = cfg & (pmpcfg::L | pmpcfg::A | pmpcfg::X | pmpcfg::W | pmpcfg::R);
    if cfg & (pmpcfg::R | pmpcfg::W) == pmpcfg::W { cfg & !pmpcfg::W } else { cfg }
}

pub(super) fn read_addr(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    s.csr.pmp.addr[usize::from(n - PMPADDR0)]
}

pub(super) fn write_addr(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = usize::from(n - PMPADDR0);
    let pmp = &mut s.csr.pmp;
    // A locked TOR entry also locks the bottom of its range, which is the address of the entry before.
    let bottom_of_locked =
        pmp.cfg.get(i + 1).is_some_and(|next| next & pmpcfg::L != 0 && matching(*next) == pmpcfg::TOR);
    if i >= usize::from(env.isa().pmp_entries) || pmp.cfg[i] & pmpcfg::L != 0 || bottom_of_locked {
        return CsrEffect::empty();
    }
    pmp.addr[i] = v & pmpcfg::ADDR;
    CsrEffect::PMP
}
