//! The registers of the hypervisor extension, and which of them stand in for supervisor registers while V is 1.
//!
//! The virtual supervisor registers behave as their supervisor counterparts; what is here is what differs. Interrupt
//! registers are in `interrupt`.
//!
//! Privileged spec, "Hypervisor and Virtual Supervisor CSRs"; "Sstc" for `vstimecmp`.

use arch::cause::Exception;
use arch::csr::{self, counteren, envcfg, hgatp, hstatus, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};

use super::{CsrEffect, CsrEnv, Denied, in_machine, interrupt, merge, require};
use crate::{HartState, Mode};

/// The virtual supervisor register that an access to supervisor register `n` reaches while V is 1, if there is one:
/// all of them stand 0x100 above.
pub(super) fn substitute(n: u16) -> Option<u16> {
    matches!(
        n,
        csr::SSTATUS
            | csr::SIE
            | csr::STVEC
            | csr::SSCRATCH..=csr::SIP
            | csr::STIMECMP
            | csr::SCTRCTL
            | csr::SISELECT..=csr::SIREG6
            | csr::STOPEI
            | csr::STOPI
            | csr::SATP
    )
    .then_some(n + 0x100)
}

/// The state as HS-mode would have it, to ask whether it could do what V being 1 prevents. What FS and VS of
/// `vsstatus` prevent is never a virtual-instruction exception, so that they count here too.
pub(super) fn as_hypervisor(s: &HartState) -> HartState {
    let mut hs = s.clone();
    (hs.mode, hs.virt) = (Mode::Supervisor, false);
    hs.csr.mstatus &= !mstatus::TVM;
    for field in [mstatus::FS, mstatus::VS] {
        if s.csr.vsstatus & field == 0 {
            hs.csr.mstatus &= !field;
        }
    }
    hs
}

/// `henvcfg` where `menvcfg` leaves its fields to it; the others are read-only zero.
pub(crate) fn henvcfg(s: &HartState) -> u64 {
    s.csr.henvcfg & (s.csr.menvcfg | !WITHHELD)
}

/// Fields of `henvcfg` that are read-only zero while the same field of `menvcfg` is zero.
const WITHHELD: u64 = envcfg::STCE | envcfg::PBMTE | envcfg::ADUE | envcfg::DTE | envcfg::SSE;

pub(super) fn read_henvcfg(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    henvcfg(s)
}

pub(super) fn write_henvcfg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let withheld = WITHHELD & !s.csr.menvcfg;
    let mask = super::envcfg::legal_pmm(super::envcfg::writable_by_hypervisor(env.isa()) & !withheld, v);
    let old = s.csr.henvcfg;
    s.csr.henvcfg = merge(old, super::envcfg::legal_cbie(v), mask);
    super::envcfg::forget_sdt(s);
    super::envcfg::effect(old ^ s.csr.henvcfg, env)
}

/// VSXL is fixed at 64 bits and VSBE at little-endian. VGEIN keeps its value if a number beyond GEILEN is written.
pub(super) fn write_hstatus(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    use hstatus::*;
    let mut mask = VTSR | VTW | VTVM | HU | SPVP | SPV | GVA;
    if env.isa().has(Ext::Ssnpm) && v & HUPMM != 1 << HUPMM_SHIFT {
        mask |= HUPMM;
    }
    if (v & VGEIN) >> VGEIN_SHIFT <= u64::from(env.isa().geilen) {
        mask |= VGEIN;
    }
    let old = s.csr.hstatus;
    s.csr.hstatus = merge(old, v, mask);
    let mut effect = CsrEffect::empty();
    effect.set(CsrEffect::INTERRUPTS, (old ^ s.csr.hstatus) & VGEIN != 0);
    effect.set(CsrEffect::MODE, (old ^ s.csr.hstatus) & (VTSR | VTW | VTVM | HU) != 0);
    effect
}

/// Exceptions that the hypervisor never gives to its guest: calls from above it, its own faults, and those of the
/// machine.
const NOT_FOR_GUESTS: u64 = Exception::EcallFromS.bit()
    | Exception::EcallFromVs.bit()
    | Exception::EcallFromM.bit()
    | Exception::DoubleTrap.bit()
    | Exception::InstructionGuestPageFault.bit()
    | Exception::LoadGuestPageFault.bit()
    | Exception::VirtualInstruction.bit()
    | Exception::StoreGuestPageFault.bit();

/// Bits of `hedeleg` that can be written whatever the hart raises, unlike those of `medeleg`.
const ALWAYS_FOR_GUESTS: u64 = Exception::SoftwareCheck.bit() | Exception::HardwareError.bit();

pub(super) fn write_hedeleg(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hedeleg = v & (interrupt::delegable_exceptions(env.isa()) | ALWAYS_FOR_GUESTS) & !NOT_FOR_GUESTS;
    CsrEffect::empty()
}

pub(super) fn write_hcounteren(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hcounteren = u64::from(v as u32);
    CsrEffect::MODE
}

pub(super) fn write_htimedelta(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.htimedelta = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}

/// As that of `stimecmp`, and in VS-mode by `henvcfg` and `hcounteren` besides.
pub(super) fn vstimecmp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    let by_machine = s.csr.menvcfg & envcfg::STCE != 0 && s.csr.mcounteren & counteren::TM != 0;
    let by_hypervisor = henvcfg(s) & envcfg::STCE != 0 && s.csr.hcounteren & counteren::TM != 0;
    require(in_machine(s) || by_machine && (!s.virt || by_hypervisor))
}

pub(super) fn write_vstimecmp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.vstimecmp = v;
    env.stimecmp_changed();
    CsrEffect::INTERRUPTS
}

pub(super) fn hgatp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!(s.mode == Mode::Supervisor && s.csr.mstatus & mstatus::TVM != 0))
}

/// Every field is legalised on its own: an unsupported MODE leaves that field as it was. VMID has all its 14 bits, also
/// while MODE is Bare: software counts them so.
pub(super) fn write_hgatp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let old = s.csr.hgatp;
    let supported = SatpMode::from_encoding(v >> hgatp::MODE_SHIFT).is_some_and(|m| m <= env.isa().satp_mode);
    let mode = if supported { v } else { old } & hgatp::MODE;
    s.csr.hgatp = mode | v & (hgatp::PPN & !hgatp::ROOT_ALIGN | hgatp::VMID);
    if s.csr.hgatp == old { CsrEffect::empty() } else { CsrEffect::TRANSLATION }
}

/// VS-mode loses `satp` to `hstatus.VTVM`; HS-mode has `vsatp` whatever TVM says.
pub(super) fn vsatp_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!(s.virt && s.csr.hstatus & hstatus::VTVM != 0))
}

/// As `satp`: a write with an unsupported MODE has no effect at all, in HS-mode too.
pub(super) fn write_vsatp(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let supported = SatpMode::from_encoding(v >> satp::MODE_SHIFT).is_some_and(|m| m <= env.isa().satp_mode);
    if !supported || s.csr.vsatp == v {
        return CsrEffect::empty();
    }
    s.csr.vsatp = v;
    if s.virt { CsrEffect::SATP | CsrEffect::TRANSLATION } else { CsrEffect::TRANSLATION }
}

/// Guest external interrupts that exist: bits GEILEN to 1.
fn guest_externals(geilen: u8) -> u64 {
    ((2 << geilen.min(62)) - 1) & !1
}

pub(super) fn read_hgeip(_: &HartState, env: &dyn CsrEnv, _: u16) -> u64 {
    env.hgeip() & guest_externals(env.isa().geilen)
}

pub(super) fn write_hgeie(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hgeie = v & guest_externals(env.isa().geilen);
    CsrEffect::INTERRUPTS
}

/// `hstatus` at reset.
pub(super) fn hstatus_at_reset(isa: &IsaConfig) -> u64 {
    if isa.has(Ext::H) { mstatus::XL_64 << hstatus::VSXL_SHIFT } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrOp, Illegal, Virtual, csr_op, read, write};
    use super::*;
    use arch::csr::mip;

    fn env() -> Env {
        let mut env = Env::default();
        env.isa.exts.insert(Ext::H);
        env
    }

    /// A hart in HS-mode, VS-mode or VU-mode under a supervisor that M-mode gave all it can.
    fn hart(env: &Env, mode: Mode, virt: bool) -> HartState {
        let mut s = super::super::reset_supervisor(&env.isa, 0, 0, 0);
        (s.mode, s.virt) = (mode, virt);
        s
    }

    const HS: (Mode, bool) = (Mode::Supervisor, false);
    const VS: (Mode, bool) = (Mode::Supervisor, true);
    const U: (Mode, bool) = (Mode::User, false);
    const VU: (Mode, bool) = (Mode::User, true);

    fn reads(env: &Env, n: u16, setup: impl Fn(&mut HartState)) -> [Result<(), Denied>; 4] {
        [HS, VS, U, VU].map(|(mode, virt)| {
            let mut s = hart(env, mode, virt);
            setup(&mut s);
            read(&s, env, n).map(|_| ())
        })
    }

    /// The specification's list of virtual-instruction exceptions, as far as it is about CSRs.
    #[test]
    fn who_may_access_what() {
        let env = env();
        let (yes, ill, vir) = (Ok(()), Err(Illegal), Err(Virtual));
        for row in csr::all().iter().filter(|row| row.available(&env.isa)) {
            let n = row.number;
            let expected = match csr::lowest_privilege(n) {
                3 => [ill; 4],
                2 if n == csr::VSTIMECMP => continue,
                2 => [yes, vir, ill, vir],
                1 => [yes, yes, ill, vir],
                _ => continue,
            };
            let got = reads(&env, n, |s| {
                s.csr.henvcfg = envcfg::STCE;
                s.csr.hcounteren = u64::MAX;
            });
            assert_eq!(got, expected, "{}", row.name);
        }
        // A write of a read-only register is illegal even in a guest that may not read it.
        let mut s = hart(&env, Mode::Supervisor, true);
        assert_eq!(write(&mut s, &mut { env }, csr::HGEIP, 0), ill.map(|()| CsrEffect::empty()));
    }

    #[test]
    fn counters_are_the_hypervisors_to_give() {
        let env = env();
        let (yes, ill, vir) = (Ok(()), Err(Illegal), Err(Virtual));
        for n in [csr::CYCLE, csr::TIME, csr::INSTRET, csr::HPMCOUNTER3, csr::HPMCOUNTER31] {
            let bit = 1u64 << (n - csr::CYCLE);
            for (m, h, s, expected) in [
                (0, 0, 0, [ill; 4]),
                (0, bit, bit, [ill; 4]),
                (bit, 0, bit, [yes, vir, yes, vir]),
                (bit, bit, 0, [yes, yes, ill, vir]),
                (bit, bit, bit, [yes; 4]),
            ] {
                let got = reads(&env, n, |state| {
                    (state.csr.mcounteren, state.csr.hcounteren, state.csr.scounteren) = (m, h, s);
                });
                assert_eq!(got, expected, "{n:#x} {m:#x} {h:#x} {s:#x}");
            }
        }
    }

    #[test]
    fn traps_of_satp_hgatp_and_stimecmp() {
        let env = env();
        let (yes, ill, vir) = (Ok(()), Err(Illegal), Err(Virtual));
        let tvm = |s: &mut HartState| s.csr.mstatus |= mstatus::TVM;
        let vtvm = |s: &mut HartState| s.csr.hstatus |= hstatus::VTVM;
        assert_eq!(reads(&env, csr::SATP, tvm), [ill, yes, ill, vir]);
        assert_eq!(reads(&env, csr::SATP, vtvm), [yes, vir, ill, vir]);
        assert_eq!(reads(&env, csr::HGATP, tvm), [ill, vir, ill, vir]);
        assert_eq!(reads(&env, csr::VSATP, tvm), [yes, vir, ill, vir]);
        let clock = |menvcfg, mcounteren, henvcfg, hcounteren| {
            move |s: &mut HartState| {
                (s.csr.menvcfg, s.csr.henvcfg) = (menvcfg, henvcfg);
                (s.csr.mcounteren, s.csr.hcounteren) = (mcounteren, hcounteren);
            }
        };
        let (stce, tm) = (envcfg::STCE, counteren::TM);
        assert_eq!(reads(&env, csr::STIMECMP, clock(stce, tm, stce, tm)), [yes, yes, ill, vir]);
        assert_eq!(reads(&env, csr::STIMECMP, clock(stce, tm, 0, tm)), [yes, vir, ill, vir]);
        assert_eq!(reads(&env, csr::STIMECMP, clock(stce, tm, stce, 0)), [yes, vir, ill, vir]);
        assert_eq!(reads(&env, csr::STIMECMP, clock(0, tm, stce, tm)), [ill; 4]);
        assert_eq!(reads(&env, csr::VSTIMECMP, clock(stce, 0, stce, tm)), [ill; 4]);
        assert_eq!(reads(&env, csr::VSTIMECMP, clock(stce, tm, 0, 0)), [yes, vir, ill, vir]);
    }

    #[test]
    fn a_unit_that_is_off_is_always_illegal() {
        let env = env();
        for (m, vs, expected) in [
            (0, 0, [Err(Illegal); 4]),
            (mstatus::FS, 0, [Ok(()), Err(Illegal), Ok(()), Err(Illegal)]),
            (0, mstatus::FS, [Err(Illegal); 4]),
            (mstatus::FS, mstatus::FS, [Ok(()); 4]),
        ] {
            let got = reads(&env, csr::FCSR, |s| {
                s.csr.mstatus |= m;
                s.csr.vsstatus |= vs;
            });
            assert_eq!(got, expected, "{m:#x} {vs:#x}");
        }
    }

    #[test]
    fn a_guest_writes_its_own_registers() {
        let mut env = env();
        for n in [csr::STVEC, csr::SSCRATCH, csr::SEPC, csr::SCAUSE, csr::STVAL, csr::SATP, csr::SSTATUS] {
            let mut s = hart(&env, Mode::Supervisor, true);
            let before = s.clone();
            let v = if n == csr::SSTATUS { mstatus::SUM | mstatus::SPP } else { 0x1234_5678 };
            write(&mut s, &mut env, n, v).unwrap();
            let seen = read(&s, &env, n).unwrap();
            assert_ne!(seen, 0, "{n:#x}");
            s.virt = false;
            assert_eq!(read(&s, &env, n + 0x100), Ok(seen), "{n:#x}");
            assert_eq!(read(&s, &env, n), read(&HartState { virt: false, ..before }, &env, n), "{n:#x}");
        }
    }

    #[test]
    fn what_the_registers_hold() {
        let mut env = env();
        env.isa.geilen = 5;
        let mut s = hart(&env, Mode::Supervisor, false);
        s.mode = Mode::Machine;
        for (n, ones, zeros) in [
            (csr::HSTATUS, 2 << 32 | 0x70_03c0, 2 << 32),
            (csr::HEDELEG, 0xc_b1ff, 0),
            (csr::HIDELEG, 0x444, 0),
            (csr::HVIP, 0x444, 0),
            (csr::HIP, 0x4, 0),
            (csr::HIE, 0x1444, 0),
            (csr::HGEIE, 0x3e, 0),
            (csr::HCOUNTEREN, 0xffff_ffff, 0),
            (csr::HTIMEDELTA, u64::MAX, 0),
            (csr::HTVAL, u64::MAX, 0),
            (csr::HTINST, u64::MAX, 0),
            (csr::MTVAL2, u64::MAX, 0),
            (csr::MTINST, u64::MAX, 0),
            (csr::VSEPC, !1, 0),
            (csr::VSCAUSE, u64::MAX, 0),
            (csr::MIDELEG, 0x1666, 0x1444),
            (csr::MEDELEG, 0xf0_b7ff, 0),
        ] {
            for (v, held) in [(u64::MAX, ones), (0, zeros)] {
                write(&mut s, &mut env, n, v).unwrap();
                assert_eq!(read(&s, &env, n), Ok(held), "{n:#x}");
            }
        }
        // VGEIN holds numbers up to GEILEN.
        for (written, held) in [(5, 5), (6, 5), (63, 5), (1, 1)] {
            write(&mut s, &mut env, csr::HSTATUS, written << hstatus::VGEIN_SHIFT).unwrap();
            assert_eq!((read(&s, &env, csr::HSTATUS).unwrap() & hstatus::VGEIN) >> hstatus::VGEIN_SHIFT, held);
        }
    }

    #[test]
    fn hgatp_is_legalised_field_by_field() {
        let mut env = env();
        env.isa.satp_mode = SatpMode::Sv48;
        let mut s = hart(&env, Mode::Supervisor, false);
        let mut put = |v| {
            write(&mut s, &mut env, csr::HGATP, v).unwrap();
            read(&s, &env, csr::HGATP).unwrap()
        };
        assert_eq!(put(u64::MAX >> 4), 0x3fff << 44 | 0xfff_ffff_fffc);
        assert_eq!(put(9 << 60 | 7 << 44 | 0x80007), 9 << 60 | 7 << 44 | 0x80004);
        // Sv57x4 is not there: the mode stays, the rest is written.
        assert_eq!(put(10 << 60 | 1 << 44 | 0x90000), 9 << 60 | 1 << 44 | 0x90000);
    }

    #[test]
    fn henvcfg_has_what_menvcfg_leaves_to_it() {
        let mut env = env();
        let mut s = hart(&env, Mode::Supervisor, false);
        let all = envcfg::STCE | envcfg::PBMTE | envcfg::ADUE;
        s.csr.menvcfg |= all;
        write(&mut s, &mut env, csr::HENVCFG, u64::MAX).unwrap();
        assert_eq!(read(&s, &env, csr::HENVCFG).unwrap() & all, all);
        s.csr.menvcfg &= !envcfg::ADUE;
        assert_eq!(read(&s, &env, csr::HENVCFG).unwrap() & all, all & !envcfg::ADUE);
        s.csr.menvcfg = 0;
        assert_eq!(read(&s, &env, csr::HENVCFG).unwrap() & all, 0);
    }

    #[test]
    fn interrupts_have_many_names() {
        let mut env = env();
        let mut s = hart(&env, Mode::Machine, false);
        write(&mut s, &mut env, csr::HVIP, mip::VS_INTERRUPTS).unwrap();
        assert_eq!([csr::MIP, csr::HIP].map(|n| read(&s, &env, n)), [Ok(0x444); 2]);
        assert_eq!([csr::SIP, csr::VSIP].map(|n| read(&s, &env, n)), [Ok(0); 2]);
        write(&mut s, &mut env, csr::HIDELEG, mip::VSSIP | mip::VSEIP).unwrap();
        assert_eq!(read(&s, &env, csr::VSIP), Ok(0x202));
        // VSSIP alone can be cleared by its other names.
        csr_op(&mut s, &mut env, csr::VSIP, CsrOp::Rc, 0x222, true).unwrap();
        assert_eq!((s.csr.hvip, read(&s, &env, csr::MIP)), (0x440, Ok(0x440)));
        csr_op(&mut s, &mut env, csr::MIP, CsrOp::Rs, 0x444, true).unwrap();
        assert_eq!(s.csr.hvip, 0x444);
        write(&mut s, &mut env, csr::HIP, 0).unwrap();
        assert_eq!(s.csr.hvip, 0x440);
        // Lines show, and do not stick.
        env.lines = mip::VSTIP | mip::SGEIP;
        s.csr.hvip = 0;
        csr_op(&mut s, &mut env, csr::HIP, CsrOp::Rs, 0, true).unwrap();
        assert_eq!((s.csr.hvip, read(&s, &env, csr::HIP)), (0, Ok(0x1040)));
        // The enables are one register.
        write(&mut s, &mut env, csr::MIE, u64::MAX).unwrap();
        assert_eq!([csr::HIE, csr::VSIE].map(|n| read(&s, &env, n)), [Ok(0x1444), Ok(0x202)]);
        assert_eq!(read(&s, &env, csr::SIE), Ok(0x222));
        write(&mut s, &mut env, csr::VSIE, 0x200).unwrap();
        assert_eq!(read(&s, &env, csr::HIE), Ok(0x1440));
        // A guest sees them as its own.
        (s.mode, s.virt) = (Mode::Supervisor, true);
        assert_eq!([csr::SIP, csr::SIE].map(|n| read(&s, &env, n)), [Ok(0), Ok(0x200)]);
    }

    #[test]
    fn time_in_a_guest_is_another() {
        let env = env();
        let mut s = hart(&env, Mode::Supervisor, true);
        (s.csr.hcounteren, s.csr.htimedelta) = (counteren::TM, 0u64.wrapping_sub(700));
        assert_eq!(read(&s, &env, csr::TIME), Ok(77));
        s.virt = false;
        assert_eq!(read(&s, &env, csr::TIME), Ok(777));
    }
}
