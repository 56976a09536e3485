//! Counters, their enables and `stimecmp`.
//!
//! `mcycle` and `minstret` run outside the state and are asked of the environment. The event counters
//! `mhpmcounter3` to `31` and their selectors are read-only zero: no event is counted.
//!
//! Privileged spec, "Hardware Performance Monitor", "Counter-Enable" registers, "Sstc".

use arch::csr::{CYCLE, counteren, envcfg};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, in_machine};
use crate::{HartState, Mode};

/// Whether the counter behind bit `bit` of the enables may be read in the current mode.
fn enabled(s: &HartState, isa: &IsaConfig, bit: u64) -> bool {
    match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => s.csr.mcounteren & bit != 0,
        Mode::User => s.csr.mcounteren & bit != 0 && (s.csr.scounteren & bit != 0 || !isa.has(Ext::S)),
    }
}

pub(super) fn shadow_access(s: &HartState, isa: &IsaConfig, n: u16) -> bool {
    enabled(s, isa, 1 << (n - CYCLE))
}

pub(super) fn read_cycle(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.cycle()
}

pub(super) fn read_time(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.time()
}

pub(super) fn read_instret(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.instret()
}

pub(super) fn write_mcycle(_: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    env.set_cycle(v);
    CsrEffect::COUNTERS
}

pub(super) fn write_minstret(_: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    env.set_instret(v);
    CsrEffect::COUNTERS
}

pub(super) fn write_mcountinhibit(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.mcountinhibit;
    // The write takes effect after this instruction, which therefore counts by the old setting.
    let counted = |bit: u64| u64::from(old & bit == 0);
    let cycle = env.cycle().wrapping_add(counted(counteren::CY));
    let instret = env.instret().wrapping_add(counted(counteren::IR));
    s.csr.mcountinhibit = v & (counteren::CY | counteren::IR);
    env.set_cycle(cycle);
    env.set_instret(instret);
    CsrEffect::COUNTERS
}

/// The enables are 32 bits wide, all of them writable.
pub(super) fn write_mcounteren(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mcounteren = u64::from(v as u32);
    CsrEffect::MODE
}

pub(super) fn write_scounteren(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.scounteren = u64::from(v as u32);
    CsrEffect::MODE
}

pub(super) fn stimecmp_access(s: &HartState, _: &IsaConfig, _: u16) -> bool {
    let given = s.csr.menvcfg & envcfg::STCE != 0 && s.csr.mcounteren & counteren::TM != 0;
    in_machine(s) || given
}

pub(super) fn write_stimecmp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.stimecmp = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}
