//! Counters that M-mode delegates to S-mode (Smcdeleg, Ssccfg): `scountinhibit`, and the indirect registers 0x40 to
//! 0x5f, which are the counters themselves and their configurations.
//!
//! A counter is delegated while `menvcfg.CDE` and its bit of `mcounteren` are set. S-mode then sees all of it but
//! MINH, which reads zero and keeps its value.
//!
//! Privileged spec, "Smcdeleg".

use arch::csr::{self, counteren, envcfg, mhpmevent};
use arch::ext::{Ext, IsaConfig};

use super::indirect::{Indirect, Window};
use super::{CsrEffect, CsrEnv, Denied, Illegal, counter, merge, require};
use crate::HartState;

/// The select number of counter 0.
const FIRST: u64 = 0x40;

fn enabled(s: &HartState) -> bool {
    s.csr.menvcfg & envcfg::CDE != 0
}

/// Whether delegation is virtualized: then the hypervisor emulates a guest's counters.
pub(super) fn virtualized(s: &HartState) -> bool {
    s.virt && enabled(s)
}

pub(super) fn access(s: &HartState, isa: &IsaConfig, r: Indirect) -> Result<(), Denied> {
    require(isa.has(Ext::Smcdeleg))?;
    match r.window {
        Window::Machine => return Err(Illegal),
        Window::VirtualSupervisor => return Err(if virtualized(s) { Denied::Virtual } else { Illegal }),
        Window::Supervisor => {}
    }
    let i = r.select - FIRST;
    let delegated = enabled(s) && i != 1 && s.csr.mcounteren >> i & 1 != 0;
    let underlying = match (r.alias, i) {
        (1, 0..=2) => isa.has(Ext::Zicntr),
        (2, 0..=2) => isa.has(Ext::Smcntrpmf),
        (1 | 2, _) => isa.has(Ext::Zihpm),
        // 3 and 6 hold nothing, 4 and 5 the upper halves of 32-bit harts.
        _ => false,
    };
    require(delegated && underlying)
}

/// The M-mode register behind an indirect one.
fn behind(r: Indirect) -> u16 {
    let i = (r.select - FIRST) as u16;
    match (r.alias, i) {
        (1, _) => csr::MCYCLE + i,
        (_, 0) => csr::MCYCLECFG,
        (_, 2) => csr::MINSTRETCFG,
        _ => csr::MHPMEVENT3 - 3 + i,
    }
}

fn whole(s: &HartState, env: &dyn CsrEnv, r: Indirect) -> u64 {
    match behind(r) {
        csr::MCYCLECFG => s.csr.mcyclecfg,
        csr::MINSTRETCFG => s.csr.minstretcfg,
        n @ csr::MHPMEVENT3..=csr::MHPMEVENT31 => counter::read_event(s, env, n),
        n => counter::read_counter(s, env, n),
    }
}

/// The bits that S-mode may not touch.
fn hidden(r: Indirect) -> u64 {
    if r.alias == 2 { mhpmevent::MINH } else { 0 }
}

pub(super) fn read(s: &HartState, env: &dyn CsrEnv, r: Indirect) -> u64 {
    whole(s, env, r) & !hidden(r)
}

pub(super) fn update(s: &mut HartState, env: &mut dyn CsrEnv, r: Indirect, clear: u64, set: u64) -> (u64, CsrEffect) {
    let old = whole(s, env, r);
    let v = merge(old & !clear | set, old, hidden(r));
    let effect = match behind(r) {
        n @ csr::MCYCLECFG => counter::write_mcyclecfg(s, env, n, v),
        n @ csr::MINSTRETCFG => counter::write_minstretcfg(s, env, n, v),
        n @ csr::MHPMEVENT3..=csr::MHPMEVENT31 => counter::write_event(s, env, n, v),
        n => counter::write_counter(s, env, n, v),
    };
    (old & !hidden(r), effect)
}

/// `scountinhibit` is there while counters are delegated, but for a guest.
pub(super) fn inhibit_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(enabled(s) && !s.virt)
}

/// The bits of `mcountinhibit` that `scountinhibit` shows.
fn inhibit_mask(s: &HartState) -> u64 {
    s.csr.mcounteren & !counteren::TM
}

pub(super) fn read_inhibit(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.mcountinhibit & inhibit_mask(s)
}

pub(super) fn write_inhibit(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let v = merge(s.csr.mcountinhibit, v, inhibit_mask(s));
    counter::write_mcountinhibit(s, env, n, v)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrOp, csr_op, read as csr_read, write as csr_write};
    use super::*;
    use crate::Mode;
    use arch::csr::event;
    use mhpmevent::{MINH, OF, SINH};

    fn env() -> Env {
        let mut env = Env::default();
        for ext in [Ext::Smcdeleg, Ext::Ssccfg, Ext::Sscsrind, Ext::Sscofpmf, Ext::Smcntrpmf] {
            env.isa.exts.insert(ext);
        }
        env
    }

    fn supervisor(env: &Env, select: u64) -> HartState {
        let mut s = env.hart();
        s.mode = Mode::Supervisor;
        s.csr.menvcfg |= envcfg::CDE;
        s.csr.mcounteren = 0xffff_ffff;
        s.csr.siselect = select;
        s
    }

    #[test]
    fn counters_and_their_configurations_stand_behind_the_window() {
        let mut env = env();
        for (select, counter, config) in [
            (0x40, csr::MCYCLE, csr::MCYCLECFG),
            (0x42, csr::MINSTRET, csr::MINSTRETCFG),
            (0x43, csr::MHPMCOUNTER3, csr::MHPMEVENT3),
            (0x52, csr::MHPMCOUNTER3 + 15, csr::MHPMEVENT3 + 15),
        ] {
            let mut s = supervisor(&env, select);
            assert_eq!(csr_write(&mut s, &mut env, csr::SIREG, 77), Ok(CsrEffect::COUNTERS));
            assert_eq!(env.counters.take(), Some(1 << (select - 0x40)));
            assert_eq!(csr_write(&mut s, &mut env, csr::SIREG2, SINH | MINH), Ok(CsrEffect::COUNTERS));
            assert_eq!((csr_read(&s, &env, csr::SIREG), csr_read(&s, &env, csr::SIREG2)), (Ok(77), Ok(SINH)));
            s.mode = Mode::Machine;
            assert_eq!((csr_read(&s, &env, counter), csr_read(&s, &env, config)), (Ok(77), Ok(SINH)));
        }
    }

    #[test]
    fn minh_is_hidden_and_kept() {
        let mut env = env();
        let mut s = supervisor(&env, 0x43);
        s.csr.mhpmevent[3] = MINH | OF | event::CYCLES;
        assert_eq!(csr_read(&s, &env, csr::SIREG2), Ok(OF | event::CYCLES));
        let (old, _) = csr_op(&mut s, &mut env, csr::SIREG2, CsrOp::Rc, OF | MINH, true).unwrap();
        assert_eq!((old, s.csr.mhpmevent[3]), (OF | event::CYCLES, MINH | event::CYCLES));
        csr_op(&mut s, &mut env, csr::SIREG2, CsrOp::Rw, event::INSTRUCTIONS, true).unwrap();
        assert_eq!(s.csr.mhpmevent[3], MINH | event::INSTRUCTIONS);
    }

    #[test]
    fn what_is_not_delegated_is_illegal() {
        let env = env();
        let ok = |s: &HartState, n| csr_read(s, &env, n) != Err(Illegal);
        for (select, delegated) in (0x40..0x60).map(|select| (select, select != 0x41)) {
            let mut s = supervisor(&env, select);
            for (n, there) in [
                (csr::SIREG, true),
                (csr::SIREG2, true),
                (csr::SIREG3, false),
                (csr::SIREG4, false),
                (csr::SIREG5, false),
                (csr::SIREG6, false),
            ] {
                for mode in [Mode::Supervisor, Mode::Machine] {
                    s.mode = mode;
                    assert_eq!(ok(&s, n), delegated && there, "{select:#x} {n:#x}");
                }
            }
            s.csr.mcounteren = !(1 << (select - 0x40)) & 0xffff_ffff;
            assert!(!ok(&s, csr::SIREG));
            s.csr.mcounteren = 0xffff_ffff;
            s.csr.menvcfg &= !envcfg::CDE;
            assert!(!ok(&s, csr::SIREG));
        }
    }

    #[test]
    fn each_part_needs_its_extension() {
        for (ext, select, n) in [
            (Ext::Zicntr, 0x40, csr::SIREG),
            (Ext::Smcntrpmf, 0x42, csr::SIREG2),
            (Ext::Zihpm, 0x43, csr::SIREG),
            (Ext::Zihpm, 0x43, csr::SIREG2),
            (Ext::Smcdeleg, 0x43, csr::SIREG),
        ] {
            let mut env = env();
            let s = supervisor(&env, select);
            assert!(csr_read(&s, &env, n).is_ok());
            env.isa.exts.remove(ext);
            assert_eq!(csr_read(&s, &env, n), Err(Illegal), "{ext:?}");
        }
    }

    #[test]
    fn a_guests_window_is_its_hypervisors_to_emulate() {
        use Denied::Virtual;
        let mut env = env();
        [Ext::H, Ext::Smstateen, Ext::Ssstateen].into_iter().for_each(|ext| env.isa.exts.insert(ext));
        let csrind = csr::stateen0::CSRIND;
        let mut s = supervisor(&env, 0x43);
        s.csr.vsiselect = 0x43;
        (s.csr.mstateen[0], s.csr.hstateen[0]) = (csrind, csrind);
        assert!(csr_read(&s, &env, csr::SIREG).is_ok());
        assert_eq!(csr_read(&s, &env, csr::VSIREG), Err(Illegal), "HS-mode");
        s.virt = true;
        let both = |s: &HartState| [csr::SIREG, csr::VSIREG, csr::VSISELECT].map(|n| csr_read(s, &env, n));
        assert_eq!(both(&s), [Err(Virtual); 3]);
        s.mode = Mode::User;
        assert_eq!(both(&s), [Err(Virtual); 3]);
        s.mode = Mode::Supervisor;
        // Nothing to emulate where nothing is delegated.
        s.csr.menvcfg &= !envcfg::CDE;
        assert_eq!(both(&s), [Err(Illegal), Err(Virtual), Err(Virtual)]);
        // A number that nobody knows is illegal, although HS-mode's own number is fine.
        s.csr.menvcfg |= envcfg::CDE;
        s.csr.vsiselect = 0x123;
        assert_eq!(csr_read(&s, &env, csr::SIREG), Err(Illegal));
        s.csr.hstateen[0] = 0;
        assert_eq!(csr_read(&s, &env, csr::SIREG), Err(Virtual), "kept by the hypervisor, whatever is selected");
        assert_eq!(csr_read(&s, &env, csr::SISELECT), Err(Virtual));
        s.csr.mstateen[0] = 0;
        assert_eq!(both(&s), [Err(Illegal); 3]);
        assert_eq!(csr_read(&s, &env, csr::SISELECT), Err(Illegal));
        // The other registers of delegation.
        assert_eq!([csr::SCOUNTINHIBIT, csr::SCOUNTOVF].map(|n| csr_read(&s, &env, n)), [Err(Virtual); 2]);
        s.csr.menvcfg &= !envcfg::CDE;
        assert_eq!([csr::SCOUNTINHIBIT, csr::SCOUNTOVF].map(|n| csr_read(&s, &env, n)), [Err(Illegal), Ok(0)]);
    }

    #[test]
    fn scountinhibit_is_the_delegated_part() {
        let mut env = env();
        let mut s = supervisor(&env, 0);
        s.csr.mcounteren = 0b1011;
        s.csr.mcountinhibit = 0b10100;
        csr_write(&mut s, &mut env, csr::SCOUNTINHIBIT, u64::MAX).unwrap();
        assert_eq!(s.csr.mcountinhibit, 0b11101, "TM is not among them");
        assert_eq!(csr_read(&s, &env, csr::SCOUNTINHIBIT), Ok(0b1001));
        csr_write(&mut s, &mut env, csr::SCOUNTINHIBIT, 0).unwrap();
        assert_eq!(s.csr.mcountinhibit, 0b10100);
        s.csr.menvcfg &= !envcfg::CDE;
        for mode in [Mode::Supervisor, Mode::Machine] {
            s.mode = mode;
            assert_eq!(csr_read(&s, &env, csr::SCOUNTINHIBIT), Err(Illegal));
        }
    }
}
