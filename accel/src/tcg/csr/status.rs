//! `mstatus`, `sstatus`, `vsstatus` and `misa`.
//!
//! `sstatus` is a window on `mstatus`. SD is computed on a read; what is stored there does not count.
//!
//! Privileged spec, "Machine Status (`mstatus` and `mstatush`) Registers".

use arch::csr::envcfg;
use arch::csr::mstatus::*;
use arch::ext::{Ext, IsaConfig};

use super::hypervisor::henvcfg;
use super::{CsrEffect, CsrEnv, CsrOp, merge};
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
    if isa.has(Ext::H) {
        mask |= MPV | GVA;
    }
    if isa.has(Ext::Zicfilp) {
        mask |= MPELP | if isa.has(Ext::S) { SPELP } else { 0 };
    }
    if isa.has(Ext::F) {
        mask |= FS;
    }
    if isa.has(Ext::Zve32x) {
        mask |= VS;
    }
    mask
}

/// The value at reset: SXL and UXL are fixed at 64 bits, MPP is the least privileged mode, no trap is expected.
pub(super) fn at_reset(isa: &IsaConfig) -> u64 {
    let uxl = if isa.has(Ext::U) { XL_64 << UXL_SHIFT } else { MPP };
    let sxl = if isa.has(Ext::S) { XL_64 << SXL_SHIFT } else { 0 };
    let mdt = if isa.has(Ext::Smdbltrp) { MDT } else { 0 };
    uxl | sxl | mdt
}

/// The value of `vsstatus` at reset.
pub(super) fn virtual_at_reset(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::H) { XL_64 << UXL_SHIFT } else { 0 }
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
    supervisor_view(s)
}

pub(super) fn write_mstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let isa = env.isa();
    let mut mask = writable(isa) | sdt(s.csr.menvcfg);
    if isa.has(Ext::Smdbltrp) {
        mask |= MDT;
    }
    if !mpp_is_legal(isa, v) {
        mask &= !MPP;
    }
    set(s, v, mask)
}

pub(super) fn write_sstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    set_supervisor(s, env.isa(), v)
}

/// A CSR instruction on `sstatus` where the mode allows it and V is 0: the same as by [`csr_op`](super::csr_op).
pub fn change_sstatus(s: &mut HartState, isa: &IsaConfig, op: CsrOp, src: u64, write: bool) -> (u64, CsrEffect) {
    let old = supervisor_view(s);
    if !write {
        return (old, CsrEffect::empty());
    }
    (old, set_supervisor(s, isa, op.apply(old, src)))
}

fn supervisor_view(s: &HartState) -> u64 {
    with_sd(s.csr.mstatus) & (SSTATUS | SDT | SPELP)
}

fn set_supervisor(s: &mut HartState, isa: &IsaConfig, v: u64) -> CsrEffect {
    set(s, v, writable(isa) & (SSTATUS | SPELP) | sdt(s.csr.menvcfg))
}

/// SDT, where this environment configuration lets it be.
fn sdt(envcfg: u64) -> u64 {
    if envcfg & envcfg::DTE != 0 { SDT } else { 0 }
}

/// A written status: where traps are not welcome, no interrupt is.
fn without_interrupts(mut status: u64) -> u64 {
    for (disable, enable) in [(SDT, SIE), (MDT, MIE)] {
        if status & disable != 0 {
            status &= !enable;
        }
    }
    status
}

fn set(s: &mut HartState, v: u64, mask: u64) -> CsrEffect {
    let old = s.csr.mstatus;
    let new = without_interrupts(merge(old, v, mask));
    s.csr.mstatus = new;
    effect(old, new)
}

pub(super) fn read_vsstatus(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    with_sd(s.csr.vsstatus)
}

/// The fields of `vsstatus` are those of `sstatus`; UXL is fixed at 64 bits here too.
pub(super) fn write_vsstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.vsstatus;
    let mask = writable(env.isa()) & (SSTATUS | SPELP) | sdt(henvcfg(s));
    s.csr.vsstatus = without_interrupts(merge(old, v, mask));
    effect(old, s.csr.vsstatus)
}

/// Whether a unit's field (FS or VS) is Off where it counts: in `mstatus`, and for a guest in `vsstatus` too.
pub fn is_off(s: &HartState, field: u64) -> bool {
    s.csr.mstatus & field == 0 || s.virt && s.csr.vsstatus & field == 0
}

/// Whether a unit's field (FS or VS) already says Dirty wherever it counts.
pub fn is_dirty(s: &HartState, field: u64) -> bool {
    s.csr.mstatus & field == field && (!s.virt || s.csr.vsstatus & field == field)
}

/// Makes a unit's field (FS or VS) Dirty wherever it counts, as each instruction that changes the unit's state does.
pub fn set_dirty(s: &mut HartState, field: u64) -> CsrEffect {
    let before = (s.csr.mstatus, s.csr.vsstatus);
    s.csr.mstatus |= field;
    if s.virt {
        s.csr.vsstatus |= field;
    }
    if before == (s.csr.mstatus, s.csr.vsstatus) { CsrEffect::empty() } else { CsrEffect::MODE }
}

/// What a change of `mstatus` asks for.
fn effect(old: u64, new: u64) -> CsrEffect {
    let changed = old ^ new;
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::INTERRUPTS, changed & (SIE | MIE) != 0);
    effect.set(CsrEffect::MODE, changed & (FS | VS | TVM | TW | TSR) != 0);
    let mut translation = SUM | MXR | MPRV;
    if new & MPRV != 0 {
        translation |= MPP | MPV;
    }
    effect.set(CsrEffect::TRANSLATION, changed & translation != 0);
    effect
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{csr_op, read, write};
    use super::*;
    use arch::csr;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_is_the_same(m: u64, dte: bool, v: u64, write: bool, kind in 0..3usize) {
            let mut env = Env::default();
            [arch::ext::Ext::Ssdbltrp, arch::ext::Ext::Zicfilp].into_iter().for_each(|ext| env.isa.exts.insert(ext));
            let mut s = env.hart();
            s.csr.menvcfg |= if dte { envcfg::DTE } else { 0 };
            crate::tcg::csr::write(&mut s, &mut env, csr::MSTATUS, m).unwrap();
            s.mode = crate::Mode::Supervisor;
            let mut short = s.clone();
            let op = [CsrOp::Rw, CsrOp::Rs, CsrOp::Rc][kind];
            let expected = csr_op(&mut s, &mut env, csr::SSTATUS, op, v, write).unwrap();
            prop_assert_eq!(change_sstatus(&mut short, &env.isa, op, v, write), expected);
            prop_assert!(short == s);
        }
    }

    #[test]
    fn reset_value_and_fixed_fields() {
        let mut env = Env::default();
        let mut s = env.hart();
        assert_eq!(read(&s, &env, csr::MSTATUS), Ok(0xa_0000_0000));
        write(&mut s, &mut env, csr::MSTATUS, u64::MAX).unwrap();
        let all = SIE | MIE | SPIE | MPIE | SPP | MPP | FS | MPRV | SUM | MXR | TVM | TW | TSR | SD;
        assert_eq!(read(&s, &env, csr::MSTATUS), Ok(0xa_0000_0000 | all));
        write(&mut s, &mut env, csr::MSTATUS, 0).unwrap();
        assert_eq!(read(&s, &env, csr::MSTATUS), Ok(0xa_0000_0000));
    }

    #[test]
    fn sd_says_dirty() {
        let mut env = Env::default();
        let mut s = env.hart();
        for (fs, sd) in [(OFF, 0), (INITIAL, 0), (CLEAN, 0), (DIRTY, SD)] {
            write(&mut s, &mut env, csr::SSTATUS, fs << FS_SHIFT).unwrap();
            assert_eq!(read(&s, &env, csr::SSTATUS).unwrap() & (FS | SD), fs << FS_SHIFT | sd);
            assert_eq!(read(&s, &env, csr::MSTATUS).unwrap() & SD, sd);
        }
        // Nobody can write it.
        write(&mut s, &mut env, csr::MSTATUS, SD).unwrap();
        assert_eq!(read(&s, &env, csr::MSTATUS).unwrap() & SD, 0);
    }

    #[test]
    fn mpp_keeps_its_value_when_the_reserved_one_is_written() {
        let mut env = Env::default();
        let mut s = env.hart();
        for (written, held) in [(1, 1), (2, 1), (3, 3), (2, 3), (0, 0), (2, 0)] {
            write(&mut s, &mut env, csr::MSTATUS, written << MPP_SHIFT).unwrap();
            assert_eq!((s.csr.mstatus & MPP) >> MPP_SHIFT, held);
        }
    }

    #[test]
    fn without_supervisor_mode_its_fields_are_zero() {
        let mut env = Env::without(&[Ext::S]);
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MSTATUS, !MPP | 1 << MPP_SHIFT).unwrap();
        let v = read(&s, &env, csr::MSTATUS).unwrap();
        assert_eq!(v & (SIE | SPIE | SPP | SUM | MXR | TVM | TSR | SXL | MPP), 0);
        assert_eq!(v & (MPRV | TW), MPRV | TW);
    }

    #[test]
    fn effects_name_what_changed() {
        let mut env = Env::default();
        let mut s = env.hart();
        let mut toggle = |bits: u64| csr_op(&mut s, &mut env, csr::MSTATUS, CsrOp::Rs, bits, true).unwrap().1;
        assert_eq!(toggle(SIE), CsrEffect::INTERRUPTS);
        assert_eq!(toggle(SIE), CsrEffect::empty());
        assert_eq!(toggle(SUM), CsrEffect::TRANSLATION);
        assert_eq!(toggle(TVM), CsrEffect::MODE);
        assert_eq!(toggle(1 << FS_SHIFT), CsrEffect::MODE);
        // MPP matters to translation under MPRV only.
        assert_eq!(toggle(1 << MPP_SHIFT), CsrEffect::empty());
        assert_eq!(toggle(MPRV), CsrEffect::TRANSLATION);
        assert_eq!(toggle(3 << MPP_SHIFT), CsrEffect::TRANSLATION);
        assert_eq!(toggle(SPP | SPIE | MPIE), CsrEffect::empty());
    }

    proptest! {
        #[test]
        fn sstatus_is_a_window_on_mstatus(a: u64, b: u64) {
            let mut env = Env::default();
            let mut s = env.hart();
            write(&mut s, &mut env, csr::MSTATUS, a).unwrap();
            let m = read(&s, &env, csr::MSTATUS).unwrap();
            prop_assert_eq!(read(&s, &env, csr::SSTATUS), Ok(m & SSTATUS));
            write(&mut s, &mut env, csr::SSTATUS, b).unwrap();
            let after = read(&s, &env, csr::MSTATUS).unwrap();
            prop_assert_eq!(after & !SSTATUS, m & !SSTATUS, "fields outside the window");
            // Writing the window is writing mstatus with its other fields as they were.
            let mut t = env.hart();
            write(&mut t, &mut env, csr::MSTATUS, a).unwrap();
            write(&mut t, &mut env, csr::MSTATUS, m & !SSTATUS | b & SSTATUS).unwrap();
            prop_assert_eq!(s, t);
        }
    }
}
