//! What firmware in M-mode does to the supervisor above it, where no such firmware runs and the caller of the engine
//! stands in for it: go back to where a trap came from, pass a trap on, enter and leave the handler of a software event.
//!
//! Functions of the plain state, to be used in [`Vcpu::try_change`](crate::Vcpu::try_change).
//!
//! SBI spec 3.0, "Software Event Injection" and "Software Event Completion".

use arch::csr::{envcfg, hstatus, mstatus};
use arch::ext::{Ext, IsaConfig};

use super::cfi;
use super::csr::epc;
use super::trap::{self, Trap, enter_status, take_trap, with};
use crate::{HartState, Mode};

/// MRET: the hart is where it was when it trapped into M-mode.
pub fn go_back(s: &mut HartState) {
    debug_assert_eq!(s.mode, Mode::Machine, "nothing trapped");
    // It is legal in M-mode, so that there is no error to tell of.
    let _ = trap::mret(s);
}

/// Gives the trap that brought the hart into M-mode to the supervisor, or to a guest that gets it by delegation.
pub fn pass_on(s: &mut HartState, isa: &IsaConfig) {
    let c = &s.csr;
    let gva = c.mstatus & mstatus::GVA != 0;
    let trap = Trap { tval2: c.mtval2, tinst: c.mtinst, gva, ..Trap::new(c.mcause, c.mtval) };
    go_back(s);
    let (pc, delegated) = (s.pc, s.csr.medeleg);
    s.csr.medeleg |= 1 << (trap.cause & 63);
    take_trap(s, isa, trap, pc);
    s.csr.medeleg = delegated;
}

/// What a software event interrupts, besides what the handler's own `sepc` and `sstatus` tell: `sepc`, flags (the bits of
/// the attribute INTERRUPTED_FLAGS), a6, a7.
pub type Interrupted = [u64; 4];

/// The bits of INTERRUPTED_FLAGS in `mstatus` and `hstatus`, by number.
const FLAGS: [(u64, bool); 6] = [
    (mstatus::SPP, false),
    (mstatus::SPIE, false),
    (hstatus::SPV, true),
    (hstatus::SPVP, true),
    (mstatus::SPELP, false),
    (mstatus::SDT, false),
];

/// Enters the handler of a software event at `entry`, with `arg` in a7.
pub fn enter_event(s: &mut HartState, entry: u64, arg: u64) -> Interrupted {
    let supervisor = s.mode == Mode::Supervisor;
    let c = &mut s.csr;
    let flags = (0..).zip(FLAGS).fold(0, |flags, (n, (bit, of_hypervisor))| {
        let register = if of_hypervisor { c.hstatus } else { c.mstatus };
        flags | u64::from(register & bit != 0) << n
    });
    let interrupted = [c.sepc, flags, s.x[16], s.x[17]];
    c.mstatus = enter_status(c.mstatus, supervisor, c.menvcfg & envcfg::DTE != 0, std::mem::take(&mut s.elp));
    c.hstatus = with(c.hstatus, hstatus::SPV, s.virt);
    if s.virt {
        c.hstatus = with(c.hstatus, hstatus::SPVP, supervisor);
    }
    c.sepc = s.pc;
    (s.x[16], s.x[17]) = (c.hart_id, arg);
    (s.mode, s.virt, s.pc) = (Mode::Supervisor, false, entry);
    interrupted
}

/// Leaves the handler of a software event for what it interrupted.
pub fn leave_event(s: &mut HartState, isa: &IsaConfig, interrupted: Interrupted) {
    let [sepc, flags, a6, a7] = interrupted;
    let c = &mut s.csr;
    s.pc = c.sepc;
    s.mode = if c.mstatus & mstatus::SPP != 0 { Mode::Supervisor } else { Mode::User };
    s.virt = isa.has(Ext::H) && c.hstatus & hstatus::SPV != 0;
    let elp = c.mstatus & mstatus::SPELP != 0;
    c.mstatus = with(c.mstatus, mstatus::SIE, c.mstatus & mstatus::SPIE != 0);
    for (n, (bit, of_hypervisor)) in (0..).zip(FLAGS) {
        let there = match bit {
            _ if of_hypervisor => isa.has(Ext::H),
            mstatus::SPELP => isa.has(Ext::Zicfilp),
            mstatus::SDT => c.menvcfg & envcfg::DTE != 0,
            _ => true,
        };
        let register = if of_hypervisor { &mut c.hstatus } else { &mut c.mstatus };
        *register = with(*register, bit, there && flags >> n & 1 != 0);
    }
    c.sepc = epc(isa, sepc);
    (s.x[16], s.x[17]) = (a6, a7);
    s.elp = cfi::restored(s, elp);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::csr::reset_supervisor;
    use arch::cause::Exception;

    const PC: u64 = 0x8020_0000;

    fn hart(exts: &[Ext]) -> (HartState, IsaConfig) {
        let mut isa = IsaConfig::default();
        exts.iter().for_each(|ext| isa.exts.insert(*ext));
        let mut s = reset_supervisor(&isa, 3, PC, 0);
        (s.csr.sepc, s.csr.stvec) = (0x1234, 0x8030_0000);
        (s.x[16], s.x[17]) = (6, 7);
        (s, isa)
    }

    #[test]
    fn an_event_and_its_completion_leave_everything_as_it_was() {
        let (mut s, isa) = hart(&[Ext::H, Ext::Zicfilp, Ext::Ssdbltrp]);
        s.csr.menvcfg |= envcfg::DTE | envcfg::LPE;
        let modes = [(Mode::Supervisor, false), (Mode::User, false), (Mode::Supervisor, true), (Mode::User, true)];
        for (mode, virt) in modes {
            for bits in [0, mstatus::SIE, mstatus::SPIE | mstatus::SPP, mstatus::SDT | mstatus::SPP, mstatus::SPELP] {
                (s.mode, s.virt) = (mode, virt);
                s.csr.mstatus = s.csr.mstatus
                    & !(mstatus::SIE | mstatus::SPIE | mstatus::SPP | mstatus::SDT | mstatus::SPELP)
                    | bits;
                s.csr.hstatus ^= hstatus::SPV | if mode == Mode::User { hstatus::SPVP } else { 0 };
                s.elp = mode == Mode::Supervisor && !virt && bits == 0;
                let before = s.clone();
                let interrupted = enter_event(&mut s, 0x9000_0000, 42);
                assert_eq!((s.pc, s.mode, s.virt, s.elp), (0x9000_0000, Mode::Supervisor, false, false));
                assert_eq!((s.x[16], s.x[17], s.csr.sepc), (3, 42, PC));
                let m = s.csr.mstatus;
                assert_eq!(m & mstatus::SPP != 0, mode == Mode::Supervisor);
                assert_eq!((m & mstatus::SPIE != 0, m & mstatus::SIE), (bits == mstatus::SIE, 0));
                assert_ne!(m & mstatus::SDT, 0);
                assert_eq!(s.csr.hstatus & hstatus::SPV != 0, virt);
                leave_event(&mut s, &isa, interrupted);
                // SPVP is only overwritten by an event that interrupts a guest, and is restored.
                assert!(s == before, "{mode:?} {virt} {bits:#x}");
            }
        }
    }

    #[test]
    fn flags_are_in_the_order_of_the_specification() {
        let (mut s, isa) = hart(&[Ext::H, Ext::Zicfilp, Ext::Ssdbltrp]);
        s.csr.menvcfg |= envcfg::DTE;
        let all = mstatus::SPP | mstatus::SPIE | mstatus::SPELP | mstatus::SDT;
        s.csr.mstatus |= all;
        s.csr.hstatus |= hstatus::SPV | hstatus::SPVP;
        let interrupted = enter_event(&mut s, 0x9000_0000, 0);
        assert_eq!(interrupted, [0x1234, 0x3f, 6, 7]);
        leave_event(&mut s, &isa, [0x8000_0001, 0b0101, 8, 9]);
        assert_eq!((s.csr.sepc, s.x[16], s.x[17]), (0x8000_0000, 8, 9), "the handler may have changed them");
        assert_eq!(s.csr.mstatus & all, mstatus::SPP);
        assert_eq!(s.csr.hstatus & (hstatus::SPV | hstatus::SPVP), hstatus::SPV);
    }

    #[test]
    fn bits_of_extensions_that_are_not_there_stay_zero() {
        let (mut s, mut isa) = hart(&[]);
        isa.exts.remove(Ext::H);
        let _ = enter_event(&mut s, 0x9000_0000, 0);
        leave_event(&mut s, &isa, [0, 0x3f, 0, 0]);
        assert_eq!(s.csr.mstatus & (mstatus::SPELP | mstatus::SDT), 0);
        assert_eq!((s.csr.hstatus & (hstatus::SPV | hstatus::SPVP), s.virt), (0, false));
    }

    #[test]
    fn a_trap_that_was_not_delegated_is_as_one_that_was() {
        for (mode, virt, hedeleg) in [
            (Mode::Supervisor, false, 0),
            (Mode::User, false, 0),
            (Mode::User, true, 0),
            (Mode::User, true, Exception::Breakpoint.bit()),
        ] {
            let (mut s, isa) = hart(&[Ext::H]);
            (s.mode, s.virt, s.csr.hedeleg, s.csr.vstvec) = (mode, virt, hedeleg, 0x8040_0000);
            let trap = Trap::of(Exception::Breakpoint, 0x77);
            let mut delegated = s.clone();
            take_trap(&mut delegated, &isa, trap, PC);
            s.csr.medeleg &= !Exception::Breakpoint.bit();
            take_trap(&mut s, &isa, trap, PC);
            assert_eq!(s.mode, Mode::Machine);
            pass_on(&mut s, &isa);
            assert_eq!(s.csr.medeleg & Exception::Breakpoint.bit(), 0);
            s.csr.medeleg = delegated.csr.medeleg;
            // M-mode's own registers are nobody's.
            let machine = mstatus::MPP | mstatus::MPIE | mstatus::MPV | mstatus::GVA;
            s.csr.mstatus = s.csr.mstatus & !machine | delegated.csr.mstatus & machine;
            let c = &mut s.csr;
            (c.mepc, c.mcause, c.mtval) = (delegated.csr.mepc, delegated.csr.mcause, delegated.csr.mtval);
            assert!(s == delegated, "{mode:?} {virt}");
        }
    }
}
