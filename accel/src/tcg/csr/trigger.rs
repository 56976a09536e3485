//! Registers of triggers (Sdtrig): `tselect`, `tdata1` to `tdata3`, `tinfo`, and the contexts that triggers can be
//! bound to.
//!
//! Every trigger can be an address match (`mcontrol6`), an instruction count, or a match of interrupts or exceptions,
//! each in all modes that the hart has. They raise breakpoint exceptions; there is no debug mode. Any address and any
//! power-of-two range can be matched, data cannot. `tcontrol` is not there: see [`triggers`](crate::tcg::triggers).
//!
//! Debug spec, "Trigger Module Registers".

use arch::csr::{self, icount, itrigger, mcontrol6, tdata1, textra, tinfo};
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv};
use crate::tcg::triggers;
use crate::{HartState, TRIGGERS, TriggerState};

/// Bits of `scontext`.
pub(super) const SCONTEXT: u64 = textra::SVALUE >> textra::SVALUE_SHIFT;

/// A trigger that is off.
const OFF: u64 = tdata1::DISABLED << tdata1::TYPE_SHIFT;

pub(super) fn at_reset(isa: &IsaConfig) -> [TriggerState; TRIGGERS] {
    let tdata1 = if isa.has(Ext::Sdtrig) { OFF } else { 0 };
    [TriggerState { tdata1, ..TriggerState::default() }; TRIGGERS]
}

/// A number of a trigger that there is not leaves the old one.
pub(super) fn write_select(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    if env.isa().has(Ext::Sdtrig) && v < TRIGGERS as u64 {
        s.csr.tselect = v;
    }
    CsrEffect::empty()
}

/// The selected trigger's place.
fn selected(s: &HartState) -> usize {
    s.csr.tselect as usize % TRIGGERS
}

pub(super) fn read_data(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    let t = &s.csr.triggers[selected(s)];
    match n {
        _ if !env.isa().has(Ext::Sdtrig) => 0,
        csr::TDATA1 => t.tdata1,
        csr::TDATA2 => t.tdata2,
        _ => t.tdata3,
    }
}

pub(super) fn write_data(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let isa = env.isa();
    if !isa.has(Ext::Sdtrig) {
        return CsrEffect::empty();
    }
    let i = selected(s);
    let t = &mut s.csr.triggers[i];
    match n {
        csr::TDATA1 => t.tdata1 = legal_tdata1(isa, i, t.tdata2, v),
        csr::TDATA2 => t.tdata2 = legal_tdata2(t.tdata1, v),
        _ => t.tdata3 = legal_tdata3(isa, v),
    }
    CsrEffect::TRIGGER
}

pub(super) fn read_info(_: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    let types = [tdata1::ICOUNT, tdata1::ITRIGGER, tdata1::ETRIGGER, tdata1::MCONTROL6, tdata1::DISABLED];
    types.iter().fold(tinfo::VERSION_1, |info, kind| info | 1 << kind)
}

/// `mcontext` and `hcontext`, which are the same register.
pub(super) fn write_mcontext(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mcontext = v & if env.isa().has(Ext::H) { 0x3fff } else { 0x1fff };
    CsrEffect::empty()
}

/// The largest range of a power of two is half the address space.
fn is_napot(tdata2: u64) -> bool {
    tdata2 << 1 != u64::MAX - 1
}

/// `tdata1` of trigger `i` after `v` was written: what is not there, `dmode` and actions among it, is zero.
fn legal_tdata1(isa: &IsaConfig, i: usize, tdata2: u64, v: u64) -> u64 {
    let modes = |s: u64, u: u64, virt: u64| {
        let bits = [(Ext::S, s), (Ext::U, u), (Ext::H, virt)];
        bits.iter().filter(|(ext, _)| isa.has(*ext)).fold(0, |all, (_, bits)| all | bits)
    };
    let kind = v & 0xf << tdata1::TYPE_SHIFT;
    match kind >> tdata1::TYPE_SHIFT {
        tdata1::MCONTROL6 => {
            use mcontrol6::*;
            let plain = M | LOAD | STORE | EXECUTE | HIT0 | modes(S, U, VS | VU);
            // There is nothing behind the last one to chain it to.
            let chain = if i + 1 < TRIGGERS { CHAIN } else { 0 };
            kind | v & (plain | chain) | legal_match(v, tdata2) | legal_size(v)
        }
        tdata1::ICOUNT => {
            use icount::*;
            kind | v & (M | HIT | COUNT | PENDING | modes(S, U, VS | VU))
        }
        tdata1::ITRIGGER | tdata1::ETRIGGER => {
            use itrigger::*;
            kind | v & (M | HIT | modes(S, U, VS | VU))
        }
        _ => OFF,
    }
}

/// The field MATCH; what there is not becomes an exact match.
fn legal_match(v: u64, tdata2: u64) -> u64 {
    use mcontrol6::*;
    let kind = (v & MATCH) >> MATCH_SHIFT;
    let known = match kind & !NOT {
        EQUAL | MASK_LOW | MASK_HIGH => true,
        NAPOT => is_napot(tdata2),
        GE | LT => kind & NOT == 0,
        _ => false,
    };
    if known { v & MATCH } else { 0 }
}

/// The field SIZE: accesses of 1, 2, 4, 8 and 16 bytes, instructions of 2 and 4; what there is not becomes any size.
fn legal_size(v: u64) -> u64 {
    let size = v & mcontrol6::SIZE;
    if triggers::size_of(v).is_some() { size } else { 0 }
}

fn legal_tdata2(tdata1: u64, v: u64) -> u64 {
    let range = triggers::kind(tdata1) == tdata1::MCONTROL6
        && (tdata1 & mcontrol6::MATCH) >> mcontrol6::MATCH_SHIFT & !mcontrol6::NOT == mcontrol6::NAPOT;
    if range && !is_napot(v) { v & !(1 << 62) } else { v }
}

fn legal_tdata3(isa: &IsaConfig, v: u64) -> u64 {
    use textra::*;
    let host = match (v & MHSELECT) >> MHSELECT_SHIFT {
        0 | 4 => v & (MHSELECT | MHVALUE),
        1 | 2 | 5 | 6 if isa.has(Ext::H) => v & (MHSELECT | MHVALUE),
        _ => v & MHVALUE,
    };
    let select = if v & SSELECT == 3 { 0 } else { v & SSELECT };
    let supervisor = if isa.has(Ext::S) { v & (SVALUE | SBYTEMASK) | select } else { 0 };
    host | supervisor
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{read, write};
    use super::*;
    use arch::csr::{MCONTEXT, TDATA1, TDATA2, TDATA3, TINFO, TSELECT};

    fn after(env: &mut Env, s: &mut HartState, n: u16, v: u64) -> u64 {
        write(s, env, n, v).unwrap();
        read(s, env, n).unwrap()
    }

    fn env() -> (Env, HartState) {
        let mut env = Env::default();
        env.isa.exts.insert(Ext::Sdtrig);
        let s = env.hart();
        (env, s)
    }

    #[test]
    fn a_debugger_finds_two_triggers_that_are_off() {
        let (mut env, mut s) = env();
        for i in 0..2 {
            assert_eq!(after(&mut env, &mut s, TSELECT, i), i);
            assert_eq!(read(&s, &env, TINFO), Ok(1 << 24 | 0x8078));
            assert_eq!(read(&s, &env, TDATA1), Ok(15 << 60));
        }
        assert_ne!(after(&mut env, &mut s, TSELECT, 2), 2);
        assert_eq!(after(&mut env, &mut s, TDATA1, 0), 15 << 60);
        assert!(read(&s, &env, 0x7a5).is_err(), "there is no tcontrol");
    }

    #[test]
    fn types_that_are_not_there_are_off() {
        let (mut env, mut s) = env();
        for kind in 0..16 {
            let legal = [3, 4, 5, 6, 15].contains(&kind);
            assert_eq!(after(&mut env, &mut s, TDATA1, kind << 60) >> 60, if legal { kind } else { 15 });
        }
    }

    #[test]
    fn fields_that_are_not_there_read_zero() {
        let (mut env, mut s) = env();
        let all = (1 << 60) - 1;
        // No dmode, no hit1, no data, no action, no guests; match 15 and size 7 are none.
        use mcontrol6::*;
        let plain = M | S | U | LOAD | STORE | EXECUTE | HIT0;
        assert_eq!(after(&mut env, &mut s, TDATA1, 6 << 60 | all), 6 << 60 | plain | CHAIN);
        write(&mut s, &mut env, TSELECT, 1).unwrap();
        assert_eq!(after(&mut env, &mut s, TDATA1, 6 << 60 | all), 6 << 60 | plain);
        assert_eq!(after(&mut env, &mut s, TDATA1, 3 << 60 | all), 3 << 60 | 0x1ff_ffc0);
        assert_eq!(after(&mut env, &mut s, TDATA1, 4 << 60 | all), 4 << 60 | 1 << 58 | 0x2c0);
        assert_eq!(after(&mut env, &mut s, TDATA1, 5 << 60 | all), 5 << 60 | 1 << 58 | 0x2c0);
        env.isa.exts.insert(Ext::H);
        assert_eq!(after(&mut env, &mut s, TDATA1, 6 << 60 | all), 6 << 60 | plain | VS | VU);
        assert_eq!(after(&mut env, &mut s, TDATA1, 5 << 60 | all), 5 << 60 | 1 << 58 | 0x1ac0);
    }

    #[test]
    fn matches_and_sizes_are_those_that_there_are() {
        let (mut env, mut s) = env();
        for kind in 0..16 {
            let legal = [0, 1, 2, 3, 4, 5, 8, 9, 12, 13].contains(&kind);
            let v = 6 << 60 | kind << mcontrol6::MATCH_SHIFT;
            assert_eq!(after(&mut env, &mut s, TDATA1, v), if legal { v } else { 6 << 60 }, "{kind}");
        }
        for size in 0..8 {
            let legal = [0, 1, 2, 3, 5, 6].contains(&size);
            let v = 6 << 60 | size << mcontrol6::SIZE_SHIFT;
            assert_eq!(after(&mut env, &mut s, TDATA1, v), if legal { v } else { 6 << 60 }, "{size}");
        }
    }

    /// The sequence by which the specification finds maskmax6.
    #[test]
    fn the_largest_range_is_half_of_all() {
        let (mut env, mut s) = env();
        assert_eq!(after(&mut env, &mut s, TDATA2, u64::MAX), u64::MAX);
        let napot = 6 << 60 | 1 << mcontrol6::MATCH_SHIFT;
        assert_eq!(after(&mut env, &mut s, TDATA1, napot), 6 << 60, "tdata2 is no range, and stays");
        assert_eq!(read(&s, &env, TDATA2), Ok(u64::MAX));
        write(&mut s, &mut env, TDATA2, 0).unwrap();
        assert_eq!(after(&mut env, &mut s, TDATA1, napot), napot);
        assert_eq!(after(&mut env, &mut s, TDATA2, u64::MAX), !(1 << 62));
        assert_eq!(after(&mut env, &mut s, TDATA2, u64::MAX >> 1), u64::MAX >> 2);
        assert_eq!(after(&mut env, &mut s, TDATA2, u64::MAX >> 2), u64::MAX >> 2);
    }

    #[test]
    fn contexts_are_bounded() {
        let (mut env, mut s) = env();
        let supervisor = textra::SVALUE | textra::SBYTEMASK;
        assert_eq!(after(&mut env, &mut s, TDATA3, u64::MAX), textra::MHVALUE | supervisor);
        for (select, h) in [(0, false), (1, true), (2, true), (4, false), (5, true), (6, true)] {
            env.isa.exts.remove(Ext::H);
            let v = select << textra::MHSELECT_SHIFT | 1;
            assert_eq!(after(&mut env, &mut s, TDATA3, v), if h { 1 } else { v }, "{select}");
            env.isa.exts.insert(Ext::H);
            assert_eq!(after(&mut env, &mut s, TDATA3, v), v, "{select}");
        }
        assert_eq!(after(&mut env, &mut s, MCONTEXT, u64::MAX), 0x3fff);
        assert_eq!(read(&s, &env, csr::HCONTEXT), Ok(0x3fff));
        assert_eq!(after(&mut env, &mut s, csr::SCONTEXT, u64::MAX), 0x3_ffff_ffff);
    }
}
