//! `pmpcfg0` to `pmpcfg14` and `pmpaddr0` to `pmpaddr63`: legal values and locks.
//!
//! What the registers permit is in `mmu/pmp.rs`.

use arch::csr::{PMPADDR0, PMPCFG0, mseccfg, pmpcfg};

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
        let cfg = legal(cfg, s.csr.mseccfg);
        let refused = no_new_code(s) && is_machine_code(cfg);
        if !locked(s, i) && !refused {
            s.csr.pmp.cfg[i] = cfg;
        }
    }
    CsrEffect::PMP
}

/// Whether entry `i` cannot be changed.
fn locked(s: &HartState, i: usize) -> bool {
    s.csr.pmp.cfg[i] & pmpcfg::L != 0 && s.csr.mseccfg & mseccfg::RLB == 0
}

/// Whether rules that M-mode could execute by cannot be added.
fn no_new_code(s: &HartState) -> bool {
    s.csr.mseccfg & (mseccfg::MML | mseccfg::RLB) == mseccfg::MML
}

/// Whether this is, under MML, a rule that lets M-mode execute: its own or shared code. An entry that is off is no rule
/// yet, but WARL as all fields are it is refused too, as other implementations do.
fn is_machine_code(cfg: u8) -> bool {
    let [r, w, x] = [pmpcfg::R, pmpcfg::W, pmpcfg::X].map(|bit| cfg & bit != 0);
    let executable = if w { !r } else { x };
    cfg & pmpcfg::L != 0 && executable
}

/// Write without read is reserved unless MML gives it a meaning: it becomes no access.
fn legal(cfg: u8, seccfg: u64) -> u8 {
    let cfg = cfg & (pmpcfg::L | pmpcfg::A | pmpcfg::X | pmpcfg::W | pmpcfg::R);
    if seccfg & mseccfg::MML != 0 {
        return cfg;
    }
    if cfg & (pmpcfg::R | pmpcfg::W) == pmpcfg::W { cfg & !pmpcfg::W } else { cfg }
}

pub(super) fn read_addr(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    s.csr.pmp.addr[usize::from(n - PMPADDR0)]
}

pub(super) fn write_addr(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = usize::from(n - PMPADDR0);
    // A locked TOR entry also locks the bottom of its range, which is the address of the entry before.
    let next = s.csr.pmp.cfg.get(i + 1).copied().unwrap_or(0);
    let bottom_of_locked = matching(next) == pmpcfg::TOR && locked(s, i + 1);
    if i >= usize::from(env.isa().pmp_entries) || locked(s, i) || bottom_of_locked {
        return CsrEffect::empty();
    }
    s.csr.pmp.addr[i] = v & pmpcfg::ADDR;
    CsrEffect::PMP
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrEffect, Illegal, read, write};
    use arch::csr::pmpcfg::{self, A_SHIFT, L, NA4, NAPOT, R, TOR, W, X};
    use arch::csr::{PMPADDR0, PMPCFG0, PMPCFG2, PMPCFG4, mseccfg};

    #[test]
    fn eight_entries_a_register() {
        let mut env = Env::default();
        let mut s = env.hart();
        write(&mut s, &mut env, PMPCFG0, 0x1f1d_1b19_0f0d_0b09).unwrap();
        write(&mut s, &mut env, PMPCFG2, 0x07).unwrap();
        assert_eq!(s.csr.pmp.cfg[..9], [0x09, 0x0b, 0x0d, 0x0f, 0x19, 0x1b, 0x1d, 0x1f, 0x07]);
        assert_eq!(read(&s, &env, PMPCFG0), Ok(0x1f1d_1b19_0f0d_0b09));
        // Odd registers are those of 32-bit harts.
        assert_eq!(read(&s, &env, PMPCFG0 + 1), Err(Illegal));
    }

    #[test]
    fn reserved_bits_and_write_without_read_are_dropped() {
        let mut env = Env::default();
        let mut s = env.hart();
        write(&mut s, &mut env, PMPCFG0, u64::from(0x60 | W | X | NA4 << A_SHIFT)).unwrap();
        assert_eq!(s.csr.pmp.cfg[0], X | NA4 << A_SHIFT);
        write(&mut s, &mut env, PMPADDR0, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, PMPADDR0), Ok(pmpcfg::ADDR));
    }

    #[test]
    fn a_locked_entry_ignores_writes() {
        let mut env = Env::default();
        let mut s = env.hart();
        write(&mut s, &mut env, PMPADDR0, 0x1234).unwrap();
        write(&mut s, &mut env, PMPCFG0, u64::from(L | R | NAPOT << A_SHIFT)).unwrap();
        assert_eq!(write(&mut s, &mut env, PMPADDR0, 0), Ok(CsrEffect::empty()));
        write(&mut s, &mut env, PMPCFG0, u64::from(R | W | X) << 8).unwrap();
        assert_eq!(s.csr.pmp.addr[0], 0x1234);
        assert_eq!(s.csr.pmp.cfg[..2], [L | R | NAPOT << A_SHIFT, R | W | X]);
    }

    #[test]
    fn a_locked_tor_entry_locks_its_bottom() {
        let mut env = Env::default();
        let mut s = env.hart();
        for (cfg, writable) in
            [(L | TOR << A_SHIFT, false), (TOR << A_SHIFT, true), (L | NAPOT << A_SHIFT, true), (L, true)]
        {
            s.csr.pmp.cfg[5] = cfg;
            s.csr.pmp.addr[4] = 1;
            write(&mut s, &mut env, PMPADDR0 + 4, 2).unwrap();
            assert_eq!(s.csr.pmp.addr[4] == 2, writable, "{cfg:#x}");
        }
    }

    #[test]
    fn under_lockdown_no_code_of_machine_mode_is_added() {
        let mut env = Env::default();
        let mut s = env.hart();
        s.csr.mseccfg = mseccfg::MML;
        for low in 0..8u8 {
            for a in [0, TOR, NA4, NAPOT] {
                for lock in [0, L] {
                    let cfg = lock | a << A_SHIFT | low;
                    s.csr.pmp.cfg[0] = 0;
                    write(&mut s, &mut env, PMPCFG0, cfg.into()).unwrap();
                    // Execute-only, read and execute, and both kinds of shared code.
                    let code = lock != 0 && matches!(low, 2 | 4 | 5 | 6);
                    assert_eq!(s.csr.pmp.cfg[0], if code { 0 } else { cfg }, "{cfg:#x}");
                    s.csr.mseccfg |= mseccfg::RLB;
                    write(&mut s, &mut env, PMPCFG0, cfg.into()).unwrap();
                    assert_eq!(s.csr.pmp.cfg[0], cfg, "{cfg:#x}");
                    s.csr.mseccfg &= !mseccfg::RLB;
                }
            }
        }
    }

    #[test]
    fn the_bypass_opens_locks() {
        let mut env = Env::default();
        let mut s = env.hart();
        (s.csr.pmp.cfg[0], s.csr.pmp.cfg[1]) = (L | R, L | TOR << A_SHIFT);
        write(&mut s, &mut env, PMPADDR0, 5).unwrap();
        assert_eq!(s.csr.pmp.addr[0], 0);
        s.csr.mseccfg = mseccfg::RLB;
        write(&mut s, &mut env, PMPADDR0, 5).unwrap();
        write(&mut s, &mut env, PMPCFG0, 0).unwrap();
        assert_eq!((s.csr.pmp.addr[0], s.csr.pmp.cfg[0], s.csr.pmp.cfg[1]), (5, 0, 0));
    }

    #[test]
    fn entries_beyond_the_implemented_read_zero() {
        let mut env = Env::default();
        let mut s = env.hart();
        let before = s.clone();
        for n in [PMPCFG4, PMPADDR0 + 16, PMPADDR0 + 63] {
            write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, n), Ok(0));
        }
        assert_eq!(s, before);
        env.isa.pmp_entries = 0;
        assert_eq!(read(&s, &env, PMPCFG0), Err(Illegal));
    }
}
