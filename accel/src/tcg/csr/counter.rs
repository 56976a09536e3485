//! Counters, their enables and `stimecmp`.
//!
//! `mcycle` and `minstret` run outside the state and are asked of the environment. The event counters
//! `mhpmcounter3` to `31` and their selectors are read-only zero: no event is counted.
//!
//! Privileged spec, "Hardware Performance Monitor", "Counter-Enable" registers, "Sstc".

use arch::csr::{CYCLE, counteren, envcfg};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, Denied, in_machine, require};
use crate::{HartState, Mode};

/// Whether the counter behind bit `bit` of the enables may be read in the current mode.
fn enabled(s: &HartState, isa: &IsaConfig, bit: u64) -> bool {
    match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => s.csr.mcounteren & bit != 0,
        Mode::User => s.csr.mcounteren & bit != 0 && (s.csr.scounteren & bit != 0 || !isa.has(Ext::S)),
    }
}

pub(super) fn shadow_access(s: &HartState, isa: &IsaConfig, n: u16) -> Result<(), Denied> {
    require(enabled(s, isa, 1 << (n - CYCLE)))
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

pub(super) fn stimecmp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    let given = s.csr.menvcfg & envcfg::STCE != 0 && s.csr.mcounteren & counteren::TM != 0;
    require(in_machine(s) || given)
}

pub(super) fn write_stimecmp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.stimecmp = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, read, write};
    use super::*;
    use arch::csr;

    #[test]
    fn enables_gate_each_counter_by_mode() {
        let env = Env::default();
        for n in csr::CYCLE..=csr::HPMCOUNTER31 {
            let bit = 1 << (n - csr::CYCLE);
            for (m, sup, allowed) in [
                (0, 0, [false, false, true]),
                (bit, 0, [false, true, true]),
                (0, bit, [false, false, true]),
                (bit, bit, [true, true, true]),
                (!bit & 0xffff_ffff, !bit & 0xffff_ffff, [false, false, true]),
            ] {
                let mut s = env.hart();
                (s.csr.mcounteren, s.csr.scounteren) = (m, sup);
                let got = [Mode::User, Mode::Supervisor, Mode::Machine].map(|mode| {
                    s.mode = mode;
                    read(&s, &env, n).is_ok()
                });
                assert_eq!(got, allowed, "{n:#x} {m:#x} {sup:#x}");
            }
        }
    }

    #[test]
    fn without_supervisor_mode_mcounteren_is_user_modes() {
        let env = Env::without(&[Ext::S]);
        let mut s = env.hart();
        s.mode = Mode::User;
        assert_eq!(read(&s, &env, csr::TIME), Err(Illegal));
        s.csr.mcounteren = counteren::TM;
        assert_eq!(read(&s, &env, csr::TIME), Ok(777));
    }

    #[test]
    fn counters_read_and_write_the_environment() {
        let mut env = Env::default();
        let mut s = env.hart();
        assert_eq!([csr::CYCLE, csr::TIME, csr::INSTRET].map(|n| read(&s, &env, n)), [Ok(1000), Ok(777), Ok(2000)]);
        assert_eq!(write(&mut s, &mut env, csr::MCYCLE, 5), Ok(CsrEffect::COUNTERS));
        assert_eq!(write(&mut s, &mut env, csr::MINSTRET, u64::MAX), Ok(CsrEffect::COUNTERS));
        assert_eq!((env.cycle, env.instret), (5, u64::MAX));
        assert_eq!(read(&s, &env, csr::MINSTRET), Ok(u64::MAX));
    }

    #[test]
    fn inhibiting_starts_after_the_write() {
        let mut env = Env::default();
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MCOUNTINHIBIT, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::MCOUNTINHIBIT), Ok(counteren::CY | counteren::IR));
        // The writing instruction still counts.
        assert_eq!((env.cycle, env.instret), (1001, 2001));
        write(&mut s, &mut env, csr::MCOUNTINHIBIT, counteren::CY).unwrap();
        // This one no longer did.
        assert_eq!((env.cycle, env.instret), (1001, 2001));
    }

    #[test]
    fn event_counters_are_zero() {
        let mut env = Env::default();
        let mut s = env.hart();
        let before = s.clone();
        for n in (csr::MHPMCOUNTER3..=csr::MHPMCOUNTER31).chain(csr::MHPMEVENT3..=csr::MHPMEVENT31) {
            write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, n), Ok(0));
        }
        assert_eq!(s, before);
    }

    #[test]
    fn enables_are_32_bits() {
        let mut env = Env::default();
        let mut s = env.hart();
        for n in [csr::MCOUNTEREN, csr::SCOUNTEREN] {
            assert_eq!(write(&mut s, &mut env, n, u64::MAX), Ok(CsrEffect::MODE));
            assert_eq!(read(&s, &env, n), Ok(0xffff_ffff));
        }
    }

    #[test]
    fn stimecmp_needs_stce_and_tm_below_machine_mode() {
        let mut env = Env::default();
        let mut s = env.hart();
        assert_eq!(read(&s, &env, csr::STIMECMP), Ok(u64::MAX));
        for (stce, tm, ok) in [(false, false, false), (true, false, false), (false, true, false), (true, true, true)] {
            s.csr.menvcfg = if stce { envcfg::STCE } else { 0 };
            s.csr.mcounteren = if tm { counteren::TM } else { 0 };
            s.mode = Mode::Supervisor;
            assert_eq!(write(&mut s, &mut env, csr::STIMECMP, 9).is_ok(), ok, "STCE {stce} TM {tm}");
            s.mode = Mode::Machine;
            assert!(read(&s, &env, csr::STIMECMP).is_ok());
        }
        assert_eq!((s.csr.stimecmp, env.timer_changes), (9, 1));
        s.mode = Mode::User;
        assert!(read(&s, &env, csr::STIMECMP).is_err());
    }
}
