//! The entropy source `seed` (Zkr).
//!
//! Every access that is allowed delivers 16 fresh bits of the host's random number generator; there is no state. The
//! value written is ignored, but without a write there is no access at all (unprivileged spec, "Entropy Source
//! Extension").

use arch::csr::mseccfg::{SSEED, USEED};
use arch::ext::IsaConfig;

use super::{CsrEffect, CsrEnv, Denied, require};
use crate::{HartState, Mode};

/// Field OPST: 16 bits of entropy, or a source that failed.
const ES16: u64 = 2 << 30;
const DEAD: u64 = 3 << 30;

/// 16 bits of the host's random number generator; `None` while it has none.
pub fn host_entropy() -> Option<u16> {
    let mut bits = [0; 2];
    match rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(2) => Some(u16::from_ne_bytes(bits)),
        _ => None,
    }
}

/// What `seed` reads with these bits.
pub fn seed(bits: Option<u16>) -> u64 {
    bits.map_or(DEAD, |bits| ES16 | u64::from(bits))
}

pub(super) fn update(_: &mut HartState, env: &mut dyn CsrEnv, _: u16, _: u64, _: u64) -> (u64, CsrEffect) {
    (seed(env.entropy()), CsrEffect::empty())
}

/// M-mode always may, the others where `mseccfg` says so; a guest never.
pub(super) fn access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(match s.mode {
        Mode::Machine => true,
        Mode::Supervisor => s.csr.mseccfg & SSEED != 0 && !s.virt,
        Mode::User => s.csr.mseccfg & USEED != 0 && !s.virt,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrOp, Illegal, Virtual, csr_op, read, write};
    use super::*;
    use arch::csr;
    use arch::ext::Ext;

    fn env() -> Env {
        let mut env = Env::default();
        env.isa.exts.insert(Ext::Zkr);
        env.isa.exts.insert(Ext::H);
        env
    }

    #[test]
    fn an_access_has_to_write() {
        let mut env = env();
        let mut s = env.hart();
        assert_eq!(read(&s, &env, csr::SEED), Err(Illegal));
        for (op, may) in [(CsrOp::Rw, true), (CsrOp::Rs, false), (CsrOp::Rc, false)] {
            assert_eq!(csr_op(&mut s, &mut env, csr::SEED, op, 0, may).is_ok(), may, "{op:?}");
        }
        let before = s.clone();
        for op in [CsrOp::Rw, CsrOp::Rs, CsrOp::Rc] {
            let (value, effect) = csr_op(&mut s, &mut env, csr::SEED, op, u64::MAX, true).unwrap();
            assert_eq!((value, effect), (ES16 | 0x5eed, CsrEffect::empty()));
        }
        assert_eq!(s, before);
    }

    /// The table of the specification's section "Access Control to `seed`".
    #[test]
    fn who_may_is_said_by_mseccfg() {
        let mut env = env();
        for (sseed, useed) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut s = env.hart();
            s.csr.mseccfg = if sseed { SSEED } else { 0 } | if useed { USEED } else { 0 };
            let by_guest = if sseed { Err(Virtual) } else { Err(Illegal) };
            for (mode, virt, expected) in [
                (Mode::Machine, false, Ok(())),
                (Mode::Supervisor, false, if sseed { Ok(()) } else { Err(Illegal) }),
                (Mode::User, false, if useed { Ok(()) } else { Err(Illegal) }),
                (Mode::Supervisor, true, by_guest),
                (Mode::User, true, by_guest),
            ] {
                (s.mode, s.virt) = (mode, virt);
                let result = write(&mut s, &mut env, csr::SEED, 0).map(|_| ());
                assert_eq!(result, expected, "{mode:?} {virt} {sseed} {useed}");
                assert_eq!(read(&s, &env, csr::SEED), Err(Illegal), "{mode:?} {virt} {sseed} {useed}");
            }
        }
    }

    #[test]
    fn a_kernel_without_firmware_below_it_has_the_source() {
        let mut env = env();
        let mut s = super::super::reset_supervisor(&env.isa, 0, 0, 0);
        assert_eq!(write(&mut s, &mut env, csr::SEED, 0).map(drop), Ok(()));
        s.mode = Mode::User;
        assert_eq!(write(&mut s, &mut env, csr::SEED, 0).map(drop), Err(Illegal));
    }

    #[test]
    fn the_bits_of_mseccfg_are_there_with_the_source() {
        let mut env = env();
        let mut s = env.hart();
        write(&mut s, &mut env, csr::MSECCFG, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::MSECCFG).unwrap() & (SSEED | USEED), SSEED | USEED);
        let mut env = Env::without(&[Ext::Zkr]);
        let mut s = env.hart();
        assert_eq!(write(&mut s, &mut env, csr::SEED, 0), Err(Illegal));
    }
}
