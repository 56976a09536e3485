//! Counters, their enables and `stimecmp`.
//!
//! What runs is the business of [`counters`](crate::tcg::counters), which brings the state up to date before an
//! instruction reads it and is told of every write. Counters that `pmu-mask` leaves out are read-only zero.
//!
//! Privileged spec, "Hardware Performance Monitor", "Counter-Enable" registers, "Sscofpmf", "Smcntrpmf", "Sstc".

use arch::csr::{CYCLE, counteren, envcfg, event, mhpmevent};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, Denied, delegation, in_machine, require};
use crate::tcg::counters::implemented;
use crate::{HartState, Mode};

/// The counters that may be read in the current mode, by their bits of the enables. `mcounteren` is for all modes
/// but M, `hcounteren` for those of a guest, `scounteren` for U and VU.
pub(super) fn readable(s: &HartState, isa: &IsaConfig) -> u64 {
    let c = &s.csr;
    let by_machine = if s.mode == Mode::Machine { u64::MAX } else { c.mcounteren };
    let by_hypervisor = if s.virt { c.hcounteren } else { u64::MAX };
    let by_supervisor = if s.mode == Mode::User && isa.has(Ext::S) { c.scounteren } else { u64::MAX };
    by_machine & by_hypervisor & by_supervisor
}

/// Whether the counter behind bit `bit` of the enables may be read in the current mode.
fn enabled(s: &HartState, isa: &IsaConfig, bit: u64) -> bool {
    readable(s, isa) & bit != 0
}

pub(super) fn shadow_access(s: &HartState, isa: &IsaConfig, n: u16) -> Result<(), Denied> {
    require(enabled(s, isa, 1 << (n - CYCLE)))
}

pub(super) fn read_time(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.time().wrapping_add(if s.virt { s.csr.htimedelta } else { 0 })
}

/// Bit of the counter's enables, of both its numbers.
fn index(n: u16) -> usize {
    usize::from(n & 31)
}

pub(super) fn read_counter(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    match index(n) {
        0 => s.csr.mcycle,
        2 => s.csr.minstret,
        i => s.csr.mhpmcounter[i],
    }
}

pub(super) fn write_counter(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = index(n);
    match i {
        0 => s.csr.mcycle = v,
        2 => s.csr.minstret = v,
        _ if implemented(env.isa()) >> i & 1 == 0 => return CsrEffect::empty(),
        _ => s.csr.mhpmcounter[i] = v,
    }
    env.counters_changed(1 << i);
    CsrEffect::COUNTERS
}

/// The bits that keep a counter still in the modes that there are.
fn inhibit_bits(isa: &IsaConfig) -> u64 {
    let mut bits = mhpmevent::MINH;
    for (ext, bit) in
        [(Ext::S, mhpmevent::SINH), (Ext::U, mhpmevent::UINH), (Ext::H, mhpmevent::VSINH | mhpmevent::VUINH)]
    {
        if isa.has(ext) {
            bits |= bit;
        }
    }
    bits
}

pub(super) fn read_event(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    s.csr.mhpmevent[index(n)]
}

/// An event that harts do not know becomes none.
pub(super) fn write_event(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let (i, isa) = (index(n), env.isa());
    if implemented(isa) >> i & 1 == 0 {
        return CsrEffect::empty();
    }
    let selected = v & mhpmevent::EVENT;
    let selected = if event::ALL.contains(&selected) { selected } else { event::NONE };
    let filter = if isa.has(Ext::Sscofpmf) { inhibit_bits(isa) | mhpmevent::OF } else { 0 };
    s.csr.mhpmevent[i] = selected | v & filter;
    env.counters_changed(0);
    CsrEffect::COUNTERS
}

pub(super) fn write_mcyclecfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mcyclecfg = v & inhibit_bits(env.isa());
    env.counters_changed(0);
    CsrEffect::COUNTERS
}

pub(super) fn write_minstretcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.minstretcfg = v & inhibit_bits(env.isa());
    env.counters_changed(0);
    CsrEffect::COUNTERS
}

/// Where counters are delegated, a guest has only what the hypervisor makes of them.
pub(super) fn scountovf_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!delegation::virtualized(s))
}

/// The OF bits of all event selectors, those of counters that the mode may read.
pub(super) fn read_scountovf(s: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    let set = |i: &usize| s.csr.mhpmevent[*i] & mhpmevent::OF != 0 && enabled(s, env.isa(), 1 << i);
    (3..32).filter(set).fold(0, |bits, i| bits | 1 << i)
}

pub(super) fn write_mcountinhibit(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mcountinhibit = v & (counteren::CY | counteren::IR | u64::from(implemented(env.isa())));
    env.counters_changed(0);
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

    /// With everything about counters.
    fn counting() -> Env {
        let mut env = Env::default();
        [Ext::Sscofpmf, Ext::Smcntrpmf].into_iter().for_each(|ext| env.isa.exts.insert(ext));
        env
    }

    #[test]
    fn a_write_of_a_counter_is_told() {
        let mut env = counting();
        let mut s = env.hart();
        for (n, shadow, bit) in [
            (csr::MCYCLE, csr::CYCLE, 0),
            (csr::MINSTRET, csr::INSTRET, 2),
            (csr::MHPMCOUNTER3, csr::HPMCOUNTER3, 3),
            (csr::MHPMCOUNTER3 + 15, csr::HPMCOUNTER3 + 15, 18),
        ] {
            assert_eq!(write(&mut s, &mut env, n, u64::MAX - bit), Ok(CsrEffect::COUNTERS));
            assert_eq!([n, shadow].map(|n| read(&s, &env, n)), [Ok(u64::MAX - bit); 2]);
            assert_eq!(env.counters.take(), Some(1 << bit));
        }
        for n in [csr::MCOUNTINHIBIT, csr::MHPMEVENT3, csr::MCYCLECFG, csr::MINSTRETCFG] {
            assert_eq!(write(&mut s, &mut env, n, 1), Ok(CsrEffect::COUNTERS));
            assert_eq!(env.counters.take(), Some(0));
        }
    }

    #[test]
    fn counters_that_are_left_out_are_zero() {
        let mut env = counting();
        let mut s = env.hart();
        let before = s.clone();
        for i in 19..32 {
            for n in [csr::MHPMCOUNTER3 - 3 + i, csr::MHPMEVENT3 - 3 + i] {
                write(&mut s, &mut env, n, u64::MAX).unwrap();
                assert_eq!(read(&s, &env, n), Ok(0));
            }
        }
        assert_eq!(s, before);
        write(&mut s, &mut env, csr::MCOUNTINHIBIT, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::MCOUNTINHIBIT), Ok(0x7_fffd));
    }

    #[test]
    fn selectors_hold_known_events_and_the_bits_of_their_extensions() {
        use mhpmevent::*;
        let inhibit = MINH | SINH | UINH;
        for (mut env, kept) in [
            (counting(), OF | inhibit),
            (Env::default(), 0),
            (Env { isa: Env::without(&[Ext::S]).isa, ..counting() }, 0),
        ] {
            let mut s = env.hart();
            for e in event::ALL {
                write(&mut s, &mut env, csr::MHPMEVENT3, !EVENT | e).unwrap();
                assert_eq!(read(&s, &env, csr::MHPMEVENT3), Ok(kept | e));
            }
            for unknown in [3, 0x1000_0000_0001, EVENT] {
                write(&mut s, &mut env, csr::MHPMEVENT3, unknown).unwrap();
                assert_eq!(read(&s, &env, csr::MHPMEVENT3), Ok(0));
            }
        }
        let mut env = counting();
        let mut s = env.hart();
        for n in [csr::MCYCLECFG, csr::MINSTRETCFG] {
            write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, n), Ok(inhibit), "no OF, and nothing of a hypervisor");
        }
    }

    #[test]
    fn scountovf_shows_what_the_mode_may_read() {
        let mut env = counting();
        let mut s = env.hart();
        for i in [3, 4, 18] {
            write(&mut s, &mut env, csr::MHPMEVENT3 + i - 3, mhpmevent::OF).unwrap();
        }
        s.csr.mcounteren = 1 << 4 | 1 << 5;
        assert_eq!(read(&s, &env, csr::SCOUNTOVF), Ok(1 << 3 | 1 << 4 | 1 << 18));
        s.mode = Mode::Supervisor;
        assert_eq!(read(&s, &env, csr::SCOUNTOVF), Ok(1 << 4));
        s.mode = Mode::User;
        assert!(read(&s, &env, csr::SCOUNTOVF).is_err());
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
