//! What a hart is when it comes out of reset, and when a supervisor execution environment starts it.

use arch::cause::Exception;
use arch::csr::{envcfg, mseccfg, mstatus, pmpcfg};
use arch::ext::{Ext, IsaConfig};

use super::{hypervisor, interrupt, stateen, status, trigger};
use crate::tcg::helpers::vector::VILL;
use crate::{CsrState, HartState, Mode};

/// Where M-mode starts: the board's boot ROM.
const RESET_VECTOR: u64 = 0x1000;

/// The M-mode hart: in the boot ROM, no translation, nothing enabled, delegated or protected.
pub fn reset(isa: &IsaConfig, hart_id: u64) -> HartState {
    HartState {
        pc: RESET_VECTOR,
        mode: Mode::Machine,
        csr: CsrState {
            hart_id,
            mstatus: status::at_reset(isa),
            misa: isa.misa(),
            menvcfg: initial_menvcfg(isa),
            nmi_masked: isa.has(Ext::Smrnmi),
            // Never, until somebody asks for it.
            stimecmp: u64::MAX,
            // No configuration has been set yet.
            vtype: if isa.has(Ext::Zve32x) { VILL } else { 0 },
            mideleg: interrupt::always_delegated(isa),
            hstatus: hypervisor::hstatus_at_reset(isa),
            vsstatus: status::virtual_at_reset(isa),
            vstimecmp: u64::MAX,
            triggers: trigger::at_reset(isa),
            ..CsrState::default()
        },
        ..HartState::default()
    }
}

/// Software that does not know `menvcfg` gets the extensions that the hart advertises: memory types always, and
/// hardware updates of A and D if it was not also promised faults (Svade).
fn initial_menvcfg(isa: &IsaConfig) -> u64 {
    let pbmte = if isa.has(Ext::Svpbmt) { envcfg::PBMTE } else { 0 };
    let adue = if isa.has(Ext::Svadu) && !isa.has(Ext::Svade) { envcfg::ADUE } else { 0 };
    pbmte | adue
}

/// The S-mode hart as SBI starts it (SBI spec, "Hart State Management"): at `pc` with `a0` the hart id and `a1`
/// as given, no translation and no interrupts. M-mode is where software would leave it: all that S-mode can be given
/// is given. ECALL from S-mode alone is not delegated: it is for whoever answers SBI calls.
pub fn reset_supervisor(isa: &IsaConfig, hart_id: u64, pc: u64, a1: u64) -> HartState {
    let mut s = reset(isa, hart_id);
    s.pc = pc;
    s.mode = Mode::Supervisor;
    s.x[10] = hart_id;
    s.x[11] = a1;
    s.csr.medeleg = interrupt::delegable_exceptions(isa) & !Exception::EcallFromS.bit();
    s.csr.mideleg |= interrupt::delegable_interrupts(isa);
    s.csr.mcounteren = u64::from(u32::MAX);
    s.csr.scounteren = u64::from(u32::MAX);
    let cache_ops = envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
    s.csr.mstatus &= !mstatus::MDT;
    s.csr.nmi_masked = false;
    s.csr.mstateen = stateen::all(isa);
    s.csr.menvcfg |= (cache_ops | envcfg::STCE | envcfg::CDE) & super::envcfg::writable(isa);
    // Linux reads the entropy source as soon as the device tree names it.
    s.csr.mseccfg |= if isa.has(Ext::Zkr) { mseccfg::SSEED } else { 0 };
    if isa.pmp_entries > 0 {
        s.csr.pmp.cfg[0] = pmpcfg::NAPOT << pmpcfg::A_SHIFT | pmpcfg::R | pmpcfg::W | pmpcfg::X;
        s.csr.pmp.addr[0] = pmpcfg::ADDR;
    }
    s
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{read, write};
    use super::*;
    use crate::tcg::mmu::pmp;
    use crate::tcg::mmu::walk::Access;
    use arch::csr;

    #[test]
    fn out_of_reset() {
        let s = reset(&IsaConfig::default(), 7);
        assert_eq!((s.pc, s.mode, s.csr.mstatus), (0x1000, Mode::Machine, 0xa_0000_0000));
        assert_eq!((s.csr.hart_id, s.csr.satp, s.csr.mie, s.csr.mideleg, s.csr.medeleg), (7, 0, 0, 0x1444, 0));
        assert_eq!(s.csr.misa, IsaConfig::default().misa());
        assert_eq!(s.x, [0; 32]);
    }

    #[test]
    fn advertised_translation_extensions_work_from_reset() {
        let with = |exts: &[Ext]| {
            let mut isa = Env::without(&[Ext::Svadu, Ext::Svade, Ext::Svpbmt]).isa;
            exts.iter().for_each(|ext| isa.exts.insert(*ext));
            reset(&isa, 0).csr.menvcfg
        };
        assert_eq!(with(&[]), 0);
        assert_eq!(with(&[Ext::Svadu]), envcfg::ADUE);
        assert_eq!(with(&[Ext::Svade]), 0);
        assert_eq!(with(&[Ext::Svade, Ext::Svadu, Ext::Svpbmt]), envcfg::PBMTE);
    }

    #[test]
    fn a_supervisor_hart_can_use_all_it_is_told_of() {
        let mut env = Env::default();
        let mut s = reset_supervisor(&env.isa, 5, 0x8020_0000, 0x9fe0_0000);
        assert_eq!((s.pc, s.mode, s.x[10], s.x[11]), (0x8020_0000, Mode::Supervisor, 5, 0x9fe0_0000));
        assert_eq!((s.csr.satp, s.csr.mie), (0, 0));
        assert_eq!(read(&s, &env, csr::SSTATUS).unwrap() & csr::mstatus::SIE, 0);
        assert_eq!(read(&s, &env, csr::SIE), Ok(0));
        for n in [csr::CYCLE, csr::TIME, csr::INSTRET, csr::HPMCOUNTER31, csr::STIMECMP] {
            assert!(read(&s, &env, n).is_ok(), "{n:#x}");
        }
        write(&mut s, &mut env, csr::SIE, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::SIE), Ok(0x222));
        for mode in [Mode::User, Mode::Supervisor] {
            s.mode = mode;
            assert!(pmp::check(&s, &env.isa, 0x8000_0000, 8, Access::Store, mode));
        }
        s.mode = Mode::User;
        assert!(crate::tcg::trap::check_cbo_zero(&s).is_err(), "senvcfg is the kernel's to give");
        s.mode = Mode::Supervisor;
        assert!(crate::tcg::trap::check_cbo_zero(&s).is_ok());
        // All but its own ECALL comes to S-mode.
        assert_eq!(s.csr.medeleg, 0xb1ff);
        assert_eq!(s.csr.mideleg, 0x222);
    }

    #[test]
    fn menvcfg_holds_only_what_the_hart_has() {
        let env = Env::without(&[Ext::Sstc, Ext::Zicbom, Ext::Zicboz, Ext::Svadu, Ext::Svpbmt]);
        assert_eq!(reset_supervisor(&env.isa, 0, 0, 0).csr.menvcfg, 0);
    }
}
