//! Control-flow integrity: landing pads (Zicfilp) and who may use shadow stacks (Zicfiss).
//!
//! Blocks are translated for a mode with or without landing pads and shadow stacks, so that neither costs anything
//! where it is off. With landing pads, an indirect jump that has to end at one leaves to the run loop, which looks at the
//! instruction there before it goes on; LPAD itself then does nothing. Accesses to shadow stacks are in `mmu/shadow`.
//!
//! Privileged spec, "Control-flow Integrity (CFI)"; unprivileged spec, the same.

use arch::cause::Exception;
use arch::csr::{envcfg, misa, mseccfg};

use super::csr::hypervisor::henvcfg;
use super::csr::{Denied, Illegal, Virtual, require};
use super::trap::Trap;
use crate::{HartState, Mode};

/// What of it is on in the current mode: part of a block's mode and of a TLB context's key.
pub mod flags {
    /// Landing pads are expected (xLPE).
    pub const LANDING_PADS: u8 = 1;
    /// Shadow stack instructions are no may-be-operations (xSSE).
    pub const SHADOW_STACK: u8 = 2;
    /// Pages can be of shadow stacks, as far as loads and stores go. Of no concern to blocks.
    pub const SHADOW_PAGES: u8 = 4;
}

/// Values of `tval` of a software check.
const LANDING_PAD_FAULT: u64 = 2;
const SHADOW_STACK_FAULT: u64 = 3;

pub fn landing_pad_fault() -> Trap {
    Trap::of(Exception::SoftwareCheck, LANDING_PAD_FAULT)
}

pub fn shadow_stack_fault() -> Trap {
    Trap::of(Exception::SoftwareCheck, SHADOW_STACK_FAULT)
}

fn has_supervisor(s: &HartState) -> bool {
    s.csr.misa & misa::letter('S') != 0
}

/// xLPE.
pub fn landing_pads(s: &HartState) -> bool {
    let c = &s.csr;
    match s.mode {
        Mode::Machine => c.mseccfg & mseccfg::MLPE != 0,
        Mode::Supervisor if s.virt => c.henvcfg & envcfg::LPE != 0,
        Mode::User if has_supervisor(s) => c.senvcfg & envcfg::LPE != 0,
        _ => c.menvcfg & envcfg::LPE != 0,
    }
}

/// `senvcfg.SSE` as it reads: zero while a register above withholds it.
pub fn user_shadow_stack(s: &HartState) -> bool {
    s.csr.senvcfg & envcfg::SSE != 0 && shadow_pages(s, s.virt)
}

/// Whether page tables, a guest's or the host's, may map shadow stacks.
pub fn shadow_pages(s: &HartState, virt: bool) -> bool {
    let by = if virt { henvcfg(s) } else { s.csr.menvcfg };
    by & envcfg::SSE != 0
}

/// xSSE.
pub fn shadow_stack(s: &HartState) -> bool {
    match s.mode {
        Mode::Machine => false,
        Mode::Supervisor => shadow_pages(s, s.virt),
        Mode::User => has_supervisor(s) && user_shadow_stack(s),
    }
}

/// Whether `ssp` may be accessed and SSAMOSWAP may execute.
pub fn check_shadow_stack(s: &HartState) -> Result<(), Denied> {
    require(has_supervisor(s))?;
    if s.mode == Mode::Machine {
        return Ok(());
    }
    require(s.csr.menvcfg & envcfg::SSE != 0)?;
    match shadow_stack(s) {
        true => Ok(()),
        false if s.virt => Err(Virtual),
        false => Err(Illegal),
    }
}

/// ELP after a return to the current mode, where `before` is what was set aside when it was left.
pub fn restored(s: &HartState, before: bool) -> bool {
    before && landing_pads(s)
}

/// Whether `insn` at `pc` is the landing pad that the jump there expects, with the label in x7 if it has one.
pub fn lands(s: &HartState, pc: u64, insn: u32) -> bool {
    let label = insn >> 12;
    pc & 3 == 0 && insn & 0xfff == LPAD && (label == 0 || label == (s.x[7] as u32) >> 12)
}

/// LPAD without its label: AUIPC to x0.
const LPAD: u32 = 0x17;

/// Whether a JALR by this register expects a landing pad: returns (x1, x5) and jumps that software guards itself (x7)
/// do not.
pub fn expects_pad(rs1: u8) -> bool {
    !matches!(rs1, 1 | 5 | 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::csr;
    use crate::tcg::trap::{mret, sret, take_trap};
    use arch::csr::mstatus::{MPELP, SPELP};
    use arch::ext::{Ext, IsaConfig};

    fn isa() -> IsaConfig {
        let mut isa = IsaConfig::default();
        [Ext::H, Ext::Zicfilp, Ext::Zicfiss].into_iter().for_each(|ext| isa.exts.insert(ext));
        isa
    }

    fn hart(mode: Mode, virt: bool) -> HartState {
        let mut s = csr::reset(&isa(), 0);
        (s.mode, s.virt) = (mode, virt);
        s
    }

    const ALL: [(Mode, bool); 5] = [
        (Mode::Machine, false),
        (Mode::Supervisor, false),
        (Mode::Supervisor, true),
        (Mode::User, false),
        (Mode::User, true),
    ];

    #[test]
    fn each_mode_has_its_enable() {
        for (mode, virt) in ALL {
            let mut s = hart(mode, virt);
            assert!(!landing_pads(&s) && !shadow_stack(&s));
            match (mode, virt) {
                (Mode::Machine, _) => s.csr.mseccfg = mseccfg::MLPE,
                (Mode::Supervisor, false) => s.csr.menvcfg = envcfg::LPE,
                (Mode::Supervisor, true) => s.csr.henvcfg = envcfg::LPE,
                (Mode::User, _) => s.csr.senvcfg = envcfg::LPE,
            }
            assert!(landing_pads(&s), "{mode:?} {virt}");
        }
    }

    #[test]
    fn shadow_stacks_need_every_level_above() {
        let sse = envcfg::SSE;
        let may = |mode, virt, m, h, u| {
            let mut s = hart(mode, virt);
            (s.csr.menvcfg, s.csr.henvcfg, s.csr.senvcfg) = (m, h, u);
            (shadow_stack(&s), check_shadow_stack(&s))
        };
        use Mode::*;
        assert_eq!(may(Machine, false, sse, sse, sse), (false, Ok(())));
        assert_eq!(may(Supervisor, false, 0, sse, sse), (false, Err(Illegal)));
        assert_eq!(may(Supervisor, false, sse, 0, 0), (true, Ok(())));
        assert_eq!(may(User, false, sse, 0, 0), (false, Err(Illegal)));
        assert_eq!(may(User, false, 0, 0, sse), (false, Err(Illegal)));
        assert_eq!(may(User, false, sse, 0, sse), (true, Ok(())));
        assert_eq!(may(Supervisor, true, sse, 0, sse), (false, Err(Virtual)));
        assert_eq!(may(Supervisor, true, 0, sse, sse), (false, Err(Illegal)));
        assert_eq!(may(Supervisor, true, sse, sse, 0), (true, Ok(())));
        assert_eq!(may(User, true, sse, 0, sse), (false, Err(Virtual)));
        assert_eq!(may(User, true, sse, sse, 0), (false, Err(Virtual)));
        assert_eq!(may(User, true, sse, sse, sse), (true, Ok(())));
    }

    #[test]
    fn traps_set_the_expectation_aside_and_returns_restore_it() {
        for (mode, virt) in ALL {
            for enabled in [false, true] {
                let mut s = hart(mode, virt);
                if enabled {
                    (s.csr.mseccfg, s.csr.menvcfg) = (mseccfg::MLPE, envcfg::LPE);
                    (s.csr.henvcfg, s.csr.senvcfg) = (envcfg::LPE, envcfg::LPE);
                }
                s.elp = true;
                take_trap(&mut s, &isa(), Trap::new(3, 0), 0x1000);
                assert!(!s.elp && s.csr.mstatus & MPELP != 0);
                mret(&mut s).unwrap();
                assert_eq!((s.elp, s.csr.mstatus & MPELP), (enabled, 0), "{mode:?} {virt}");
            }
        }
        for virt in [false, true] {
            let mut s = hart(Mode::User, virt);
            (s.csr.medeleg, s.csr.hedeleg, s.csr.senvcfg) = (1 << 3, 1 << 3, envcfg::LPE);
            s.elp = true;
            take_trap(&mut s, &isa(), Trap::new(3, 0), 0x1000);
            let status = |s: &HartState| if virt { s.csr.vsstatus } else { s.csr.mstatus };
            assert!(!s.elp && s.virt == virt && status(&s) & SPELP != 0);
            sret(&mut s).unwrap();
            assert!(s.elp && status(&s) & SPELP == 0);
        }
    }

    #[test]
    fn a_landing_pad_is_aligned_and_has_the_label() {
        let mut s = hart(Mode::User, false);
        s.x[7] = 0xffff_ffff_1234_5abc;
        assert!(lands(&s, 0x1000, 0x0000_0017) && lands(&s, 0x1000, 0x1234_5017));
        assert!(!lands(&s, 0x1002, 0x0000_0017), "misaligned");
        assert!(!lands(&s, 0x1000, 0x1234_6017), "another label");
        assert!(!lands(&s, 0x1000, 0x0000_0097), "auipc ra");
    }
}
