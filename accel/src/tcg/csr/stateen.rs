//! State enables (Smstateen, Ssstateen): `mstateen0` to `3`, `hstateen0` to `3` and `sstateen0` to `3`, and which
//! registers their bits keep from less privileged modes.
//!
//! `mstateen` counts in all modes but M, `hstateen` besides in those of a guest, `sstateen` besides in U and VU. What
//! they prevent is an illegal instruction, or a virtual one if only the guest is kept from it. A bit of a lower
//! register that is clear in one above reads zero and keeps the value it had. Bits of state that the hart does not
//! have are read-only zero; there is no custom state, and P1P13 is of RV32's `hedelegh` alone.
//!
//! Privileged spec, "Smstateen/Ssstateen".

use arch::csr;
use arch::csr::stateen0::*;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, Denied, merge, require};
use crate::{HartState, Mode};

/// The bits of `mstateen` number `i` that the hart has.
fn implemented(isa: &IsaConfig, i: usize) -> u64 {
    if i != 0 {
        return SE;
    }
    let has = |exts: &[Ext]| exts.iter().any(|ext| isa.has(*ext));
    let fields = [
        (has(&[Ext::S]), ENVCFG),
        (has(&[Ext::Sscsrind, Ext::Ssaia]), CSRIND),
        (has(&[Ext::Ssaia]), AIA | IMSIC),
        (has(&[Ext::Sdtrig]), CONTEXT),
        (has(&[Ext::Ssctr, Ext::Smctr]), CTR),
        (has(&[Ext::Zfinx]), FCSR),
        (has(&[Ext::Zcmt]), JVT),
    ];
    fields.iter().filter(|(there, _)| *there).fold(SE, |bits, (_, field)| bits | field)
}

/// What M-mode enables for lower modes: everything, if it has no say.
fn by_machine(s: &HartState, isa: &IsaConfig, i: usize) -> u64 {
    if isa.has(Ext::Smstateen) { s.csr.mstateen[i] } else { u64::MAX }
}

/// Whether bit `bit` of state enable `i` lets the current mode at the state behind it.
fn enabled(s: &HartState, isa: &IsaConfig, i: usize, bit: u64) -> bool {
    let machine = by_machine(s, isa, i) & bit != 0;
    let guest = !s.virt || s.csr.hstateen[i] & bit != 0;
    // The upper half is about state that U-mode cannot reach anyway.
    let user = s.mode != Mode::User || bit > u64::from(u32::MAX) || s.csr.sstateen[i] & bit != 0;
    s.mode == Mode::Machine || machine && guest && user
}

/// The bit that stands before a register.
fn gate(isa: &IsaConfig, n: u16) -> Option<(usize, u64)> {
    let bit = match n {
        csr::SSTATEEN0..=csr::SSTATEEN3 | csr::HSTATEEN0..=csr::HSTATEEN3 => return Some((usize::from(n & 3), SE)),
        csr::SENVCFG | csr::HENVCFG => ENVCFG,
        csr::SISELECT..=csr::SIREG6 | csr::VSISELECT..=csr::VSIREG6 => CSRIND,
        csr::STOPEI | csr::VSTOPEI => IMSIC,
        csr::STOPI | csr::VSTOPI | csr::HVIEN | csr::HVICTL | csr::HVIPRIO1 | csr::HVIPRIO2 => AIA,
        csr::SCONTEXT | csr::HCONTEXT => CONTEXT,
        csr::SCTRCTL | csr::SCTRSTATUS | csr::SCTRDEPTH | csr::VSCTRCTL => CTR,
        csr::FFLAGS..=csr::FCSR if !isa.has(Ext::F) => FCSR,
        csr::JVT => JVT,
        _ => return None,
    };
    Some((0, bit))
}

/// Whether some state enable stands before CSR `n` in some mode.
pub(super) fn has_gate(isa: &IsaConfig, n: u16) -> bool {
    isa.has(Ext::Ssstateen) && gate(isa, n).is_some()
}

/// Whether the state enables let the current mode at CSR `n`.
pub(super) fn check(s: &HartState, isa: &IsaConfig, n: u16) -> Result<(), Denied> {
    if s.mode == Mode::Machine || !isa.has(Ext::Ssstateen) {
        return Ok(());
    }
    let Some((i, bit)) = gate(isa, n) else { return Ok(()) };
    require(enabled(s, isa, i, bit))
}

/// Whether they let the current mode at the control-transfer records.
pub(super) fn check_ctr(s: &HartState, isa: &IsaConfig) -> Result<(), Denied> {
    check_bit(s, isa, CTR)
}

/// The same for the register behind select number `select` of a window that supervisor level has.
pub(super) fn check_indirect(s: &HartState, isa: &IsaConfig, select: u64) -> Result<(), Denied> {
    let bit = match select {
        0x30..=0x3f => AIA,
        0x70..=0xff => IMSIC,
        0x200..=0x2ff => CTR,
        _ => return Ok(()),
    };
    check_bit(s, isa, bit)
}

/// A bit of the upper half of state enable 0.
fn check_bit(s: &HartState, isa: &IsaConfig, bit: u64) -> Result<(), Denied> {
    let allowed = s.mode == Mode::Machine || !isa.has(Ext::Ssstateen) || by_machine(s, isa, 0) & bit != 0;
    require(allowed)?;
    // What M-mode allows and the hypervisor does not is the hypervisor's to emulate.
    if isa.has(Ext::Ssstateen) && !enabled(s, isa, 0, bit) { Err(Denied::Virtual) } else { Ok(()) }
}

pub(super) fn read_mstateen(s: &HartState, _: &dyn CsrEnv, n: u16) -> u64 {
    s.csr.mstateen[usize::from(n & 3)]
}

pub(super) fn write_mstateen(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = usize::from(n & 3);
    s.csr.mstateen[i] = v & implemented(env.isa(), i);
    CsrEffect::MODE
}

/// All that M-mode can enable, as software that is only an M-mode beneath one kernel sets it.
pub(super) fn all(isa: &IsaConfig) -> [u64; 4] {
    std::array::from_fn(|i| if isa.has(Ext::Smstateen) { implemented(isa, i) } else { 0 })
}

pub(super) fn read_hstateen(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    let i = usize::from(n & 3);
    s.csr.hstateen[i] & by_machine(s, env.isa(), i)
}

pub(super) fn write_hstateen(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = usize::from(n & 3);
    let mask = implemented(env.isa(), i) & by_machine(s, env.isa(), i);
    s.csr.hstateen[i] = merge(s.csr.hstateen[i], v, mask);
    CsrEffect::MODE
}

/// The bits of `sstateen` that those above do not hold at zero.
fn user_bits(s: &HartState, isa: &IsaConfig, i: usize) -> u64 {
    let guest = if s.virt { s.csr.hstateen[i] } else { u64::MAX };
    implemented(isa, i) & by_machine(s, isa, i) & guest & u64::from(u32::MAX)
}

pub(super) fn read_sstateen(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    let i = usize::from(n & 3);
    s.csr.sstateen[i] & user_bits(s, env.isa(), i)
}

pub(super) fn write_sstateen(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let i = usize::from(n & 3);
    let mask = user_bits(s, env.isa(), i);
    s.csr.sstateen[i] = merge(s.csr.sstateen[i], v, mask);
    CsrEffect::MODE
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, read, write};
    use super::*;

    fn env(exts: &[Ext]) -> Env {
        let mut env = Env::without(&[Ext::Sdtrig]);
        [Ext::Smstateen, Ext::Ssstateen].iter().chain(exts).for_each(|ext| env.isa.exts.insert(*ext));
        env
    }

    fn at(env: &Env, mode: Mode, virt: bool) -> HartState {
        let mut s = env.hart();
        (s.mode, s.virt) = (mode, virt);
        s
    }

    #[test]
    fn bits_exist_with_the_state_behind_them() {
        let base = SE | ENVCFG;
        for (exts, off, bits) in [
            (vec![], vec![], base),
            (vec![Ext::Sscsrind], vec![], base | CSRIND),
            (vec![Ext::Ssaia], vec![], base | CSRIND | AIA | IMSIC),
            (vec![Ext::Sdtrig], vec![], base | CONTEXT),
            (vec![Ext::Ssctr], vec![], base | CTR),
            (vec![Ext::Zfinx], vec![Ext::F, Ext::D], base | FCSR),
            (vec![Ext::Zcmt], vec![], base | JVT),
        ] {
            let mut env = env(&exts);
            off.iter().for_each(|ext| env.isa.exts.remove(*ext));
            let mut s = env.hart();
            write(&mut s, &mut env, csr::MSTATEEN0, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, csr::MSTATEEN0), Ok(bits), "{exts:?}");
            for n in csr::MSTATEEN1..=csr::MSTATEEN3 {
                write(&mut s, &mut env, n, u64::MAX).unwrap();
                assert_eq!(read(&s, &env, n), Ok(SE));
            }
            write(&mut s, &mut env, csr::SSTATEEN0, u64::MAX).unwrap();
            assert_eq!(read(&s, &env, csr::SSTATEEN0), Ok(bits & 0xffff_ffff));
        }
    }

    #[test]
    fn reset_closes_everything_and_a_supervisor_environment_opens_it() {
        let env = env(&[]);
        assert_eq!(env.hart().csr.mstateen, [0; 4]);
        let s = super::super::reset_supervisor(&env.isa, 0, 0, 0);
        assert_eq!(s.csr.mstateen, [SE | ENVCFG, SE, SE, SE]);
        for n in [csr::SENVCFG, csr::SSTATEEN0, csr::SSTATEEN3] {
            assert!(read(&s, &env, n).is_ok(), "{n:#x}");
        }
    }

    #[test]
    fn machine_mode_keeps_registers_from_supervisor_mode() {
        let mut env = env(&[Ext::Sscsrind, Ext::Sdtrig]);
        for (n, bit, i) in [
            (csr::SENVCFG, ENVCFG, 0),
            (csr::SSTATEEN0, SE, 0),
            (csr::SSTATEEN2, SE, 2),
            (csr::SISELECT, CSRIND, 0),
            (csr::SCONTEXT, CONTEXT, 0),
        ] {
            let mut s = at(&env, Mode::Supervisor, false);
            s.csr.mstateen = [!bit; 4];
            assert_eq!(read(&s, &env, n), Err(Illegal), "{n:#x}");
            assert_eq!(write(&mut s, &mut env, n, 0), Err(Illegal), "{n:#x}");
            s.mode = Mode::Machine;
            assert!(read(&s, &env, n).is_ok(), "{n:#x}");
            s.mode = Mode::Supervisor;
            s.csr.mstateen = [0; 4];
            s.csr.mstateen[i] = bit;
            assert!(read(&s, &env, n).is_ok(), "{n:#x}");
            env.isa.exts.remove(Ext::Smstateen);
            s.csr.mstateen = [0; 4];
            assert!(read(&s, &env, n).is_ok(), "{n:#x}: supervisor level alone");
            env.isa.exts.insert(Ext::Smstateen);
        }
    }

    #[test]
    fn what_is_zero_above_is_read_only_zero_below() {
        let mut env = env(&[Ext::Zcmt]);
        let mut s = env.hart();
        write(&mut s, &mut env, csr::SSTATEEN0, JVT).unwrap();
        assert_eq!(read(&s, &env, csr::SSTATEEN0), Ok(0));
        s.csr.mstateen[0] = JVT;
        assert_eq!(read(&s, &env, csr::SSTATEEN0), Ok(0), "the write had no effect");
        write(&mut s, &mut env, csr::SSTATEEN0, JVT).unwrap();
        assert_eq!(read(&s, &env, csr::SSTATEEN0), Ok(JVT));
        s.csr.mstateen[0] = 0;
        assert_eq!(read(&s, &env, csr::SSTATEEN0), Ok(0));
    }

    #[test]
    fn user_mode_needs_all_levels() {
        let env = env(&[Ext::Zfinx]);
        for (m, sup, ok) in [(0, 0, false), (FCSR, 0, false), (0, FCSR, false), (FCSR, FCSR, true)] {
            let mut s = at(&env, Mode::User, false);
            s.csr.mstateen[0] = m;
            s.csr.sstateen[0] = sup;
            assert_eq!(enabled(&s, &env.isa, 0, FCSR), ok);
            s.mode = Mode::Supervisor;
            assert_eq!(enabled(&s, &env.isa, 0, FCSR), m != 0);
        }
        // A guest's user mode asks three.
        for set in 0..8u64 {
            let bit = |i: u32| if set >> i & 1 != 0 { FCSR } else { 0 };
            let mut s = at(&env, Mode::User, true);
            (s.csr.mstateen[0], s.csr.hstateen[0], s.csr.sstateen[0]) = (bit(0), bit(1), bit(2));
            assert_eq!(enabled(&s, &env.isa, 0, FCSR), set == 7);
            s.mode = Mode::Supervisor;
            assert_eq!(enabled(&s, &env.isa, 0, FCSR), set & 3 == 3);
        }
    }
}
