//! Trap vectors and the addresses that traps return to.

use arch::ext::{Ext, IsaConfig};

/// A written `xtvec`, made legal: MODE is direct or vectored; a write of a reserved mode changes nothing.
pub(super) fn tvec(old: u64, v: u64) -> u64 {
    if v & 2 == 0 { v } else { old }
}

/// A written `xepc`, made legal: instructions stand at even addresses, without compressed ones at multiples of four.
pub(in crate::tcg) fn epc(isa: &IsaConfig, v: u64) -> u64 {
    v & epc_mask(isa)
}

/// The bits of `xepc` that there are.
pub(super) fn epc_mask(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::Zca) { !1 } else { !3 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{read, write};
    use super::*;
    use arch::csr;

    #[test]
    fn reserved_vector_modes_are_never_held() {
        let mut env = Env::default();
        let mut s = env.hart();
        for n in [csr::MTVEC, csr::STVEC] {
            for (written, held) in
                [(0x8000_0001u64, 0x8000_0001u64), (0x1002, 0x8000_0001), (0x1003, 0x8000_0001), (4, 4)]
            {
                write(&mut s, &mut env, n, written).unwrap();
                assert_eq!(read(&s, &env, n), Ok(held));
            }
        }
    }

    #[test]
    fn epc_is_aligned_as_instructions_are() {
        for (mut env, mask) in [(Env::default(), !1), (Env::without(&[Ext::C, Ext::Zca]), !3)] {
            let mut s = env.hart();
            for n in [csr::MEPC, csr::SEPC] {
                write(&mut s, &mut env, n, u64::MAX).unwrap();
                assert_eq!(read(&s, &env, n), Ok(mask));
            }
        }
    }
}
