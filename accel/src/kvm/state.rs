//! A hart's state in a vCPU's registers, and back: one row a CSR.
//!
//! KVM has no M-mode: what only M-mode sees stays as it was in the [`HartState`]. STIP and SEIP of `sip` are lines, of
//! the kernel's timer and of the interrupt controller, and no state; SSIP is.
//!
//! The kernel's timer is `stimecmp`, whoever sets it. On hosts with Sstc the vCPU's register is that of the hart, and
//! `state` says nothing. On others the kernel has a timer of its own for SBI's calls: armed, or off once it has raised
//! STIP, when the deadline is the past one that it still shows.

use std::io;

use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};

use super::isa;
use super::one_reg::{self as reg, OneReg, RegId};
use super::sbi;
use crate::tcg::interrupts::GUEST_PRIORITIES;
use crate::{HartIrq, HartState, Mode};

/// A CSR as KVM and as [`HartState`] have it.
struct Row {
    id: RegId,
    /// Without it there is no such register.
    needs: Option<Ext>,
    get: fn(&HartState) -> u64,
    set: fn(&mut HartState, u64),
}

/// Supervisor interrupts.
pub const SUPERVISOR: u64 =
    HartIrq::SupervisorSoftware.mask() | HartIrq::SupervisorTimer.mask() | HartIrq::SupervisorExternal.mask() | LCOFI;
const LCOFI: u64 = 1 << 13;

/// `$field` of the CSR state, whole.
macro_rules! field {
    ($id:expr, $($field:tt)+) => {
        Row { id: $id, needs: None, get: |s| s.csr.$($field)+, set: |s, v| s.csr.$($field)+ = v }
    };
}

static CSRS: &[Row] = &[
    Row {
        id: reg::csr(0),
        needs: None,
        get: |s| s.csr.mstatus & mstatus::SSTATUS & !mstatus::SD,
        set: |s, v| merge(&mut s.csr.mstatus, v, mstatus::SSTATUS & !mstatus::SD),
    },
    Row {
        id: reg::csr(1),
        needs: None,
        get: |s| s.csr.mie & SUPERVISOR,
        set: |s, v| merge(&mut s.csr.mie, v, SUPERVISOR),
    },
    field!(reg::csr(2), stvec),
    field!(reg::SSCRATCH, sscratch),
    field!(reg::csr(4), sepc),
    field!(reg::csr(5), scause),
    field!(reg::csr(6), stval),
    Row {
        id: reg::csr(7),
        needs: None,
        get: |s| s.csr.mip & HartIrq::SupervisorSoftware.mask(),
        set: |s, v| merge(&mut s.csr.mip, v, HartIrq::SupervisorSoftware.mask()),
    },
    field!(reg::SATP, satp),
    field!(reg::csr(9), scounteren),
    field!(reg::csr(10), senvcfg),
    Row { needs: Some(Ext::Ssaia), ..field!(reg::csr_aia(0), siselect) },
    Row {
        id: reg::csr_aia(1),
        needs: Some(Ext::Ssaia),
        get: |s| gather(&s.csr.siprio, 0),
        set: |s, v| scatter(&mut s.csr.siprio, 0, v),
    },
    Row {
        id: reg::csr_aia(2),
        needs: Some(Ext::Ssaia),
        get: |s| gather(&s.csr.siprio, 1),
        set: |s, v| scatter(&mut s.csr.siprio, 1, v),
    },
    Row { needs: Some(Ext::Smstateen), ..field!(reg::SSTATEEN0, sstateen[0]) },
    Row { needs: Some(Ext::V), ..field!(reg::VSTART, vstart) },
    Row { needs: Some(Ext::V), ..field!(reg::VL, vl) },
    Row { needs: Some(Ext::V), ..field!(reg::VTYPE, vtype) },
    Row { needs: Some(Ext::V), ..field!(reg::VCSR, vcsr) },
];

/// Places in [`CSRS`]: those of the kernel's list.
const SSTATUS: usize = 0;
const SIE: usize = 1;
const SEPC: usize = 4;
const SCAUSE: usize = 5;
const STVAL: usize = 6;
const SIP: usize = 7;

/// Kernels before 6.7 keep none for a guest.
const SENVCFG: RegId = reg::csr(10);

fn merge(slot: &mut u64, value: u64, mask: u64) {
    *slot = *slot & !mask | value & mask;
}

/// KVM's priorities are in the form of `hviprio1` and `hviprio2`.
fn gather(siprio: &[u64; 8], word: usize) -> u64 {
    let byte = |&code: &u8| siprio[usize::from(code / 8)] >> (8 * (code % 8)) & 0xff;
    let places = GUEST_PRIORITIES[8 * word..8 * word + 8].iter().enumerate();
    places.filter(|(_, code)| **code != 0).map(|(place, code)| byte(code) << (8 * place)).sum()
}

fn scatter(siprio: &mut [u64; 8], word: usize, value: u64) {
    let places = GUEST_PRIORITIES[8 * word..8 * word + 8].iter().enumerate();
    for (place, code) in places.filter(|(_, code)| **code != 0) {
        let shift = 8 * (code % 8);
        merge(&mut siprio[usize::from(code / 8)], (value >> (8 * place) & 0xff) << shift, 0xff << shift);
    }
}

fn rows(isa: &IsaConfig) -> impl Iterator<Item = &'static Row> {
    CSRS.iter().filter(|row| row.needs.is_none_or(|ext| isa.has(ext)))
}

/// Whether [`load`] and [`store`] carry the register.
pub fn holds(id: RegId, isa: &IsaConfig) -> bool {
    let core = id == reg::PC || id == reg::MODE || (1..32).any(|n| id == reg::x(n));
    let timer = [reg::TIMER_COMPARE, reg::TIMER_STATE].contains(&id);
    let float = if isa.has(Ext::D) {
        id == reg::FCSR_DOUBLE || (0..32).any(|n| id == reg::f_double(n))
    } else {
        id.is_single() && isa.has(Ext::F)
    };
    let vector = isa.has(Ext::V) && id.is_vector() && id.size() == isa.vlen as usize / 8;
    core || timer || float || vector || rows(isa).any(|row| row.id == id)
}

/// When the timer interrupt is due; `u64::MAX` for never.
pub fn deadline(regs: &impl OneReg) -> io::Result<u64> {
    let fired = || Ok::<_, io::Error>(regs.get(reg::csr(SIP as u64))? & HartIrq::SupervisorTimer.mask() != 0);
    let armed = has_stimecmp(regs)? || regs.get(reg::TIMER_STATE)? == 1 || fired()?;
    if armed { regs.get(reg::TIMER_COMPARE) } else { Ok(u64::MAX) }
}

/// Whether the timer is the hart's own. The kernel can take Sstc from no vCPU, whatever the machine's ISA says.
fn has_stimecmp(regs: &impl OneReg) -> io::Result<bool> {
    Ok(regs.find(isa::register(Ext::Sstc))? == Some(1))
}

fn set_deadline(regs: &impl OneReg, to: u64) -> io::Result<()> {
    if has_stimecmp(regs)? {
        return regs.set(reg::TIMER_COMPARE, to);
    }
    let armed = regs.get(reg::TIMER_STATE)? == 1;
    if armed && regs.get(reg::TIMER_COMPARE)? == to {
        return Ok(());
    }
    if armed {
        // The kernel refuses to turn off a timer that is off.
        regs.set(reg::TIMER_STATE, 0)?;
    }
    regs.set(reg::TIMER_COMPARE, to)?;
    if to != u64::MAX {
        // Kernels take the 1 for the deadline, too: the interrupt comes at once, which guests have to bear anyway, and the
        // deadline that shows has to be written again.
        regs.set(reg::TIMER_STATE, 1)?;
        regs.set(reg::TIMER_COMPARE, to)?;
    }
    Ok(())
}

/// Reads all that the vCPU holds into `s`.
pub fn load(regs: &impl OneReg, isa: &IsaConfig, s: &mut HartState) -> io::Result<()> {
    s.pc = regs.get(reg::PC)?;
    s.mode = if regs.get(reg::MODE)? == 0 { Mode::User } else { Mode::Supervisor };
    s.virt = false;
    for n in 1..32 {
        s.x[n] = regs.get(reg::x(n))?;
    }
    for row in rows(isa) {
        match regs.find(row.id)? {
            Some(value) => (row.set)(s, value),
            None if row.id == SENVCFG => {}
            None => return regs.get(row.id).map(drop),
        }
    }
    s.csr.stimecmp = deadline(regs)?;
    sbi::load(regs, s)?;
    if isa.has(Ext::D) {
        for n in 0..32 {
            s.f[n] = regs.get(reg::f_double(n))?;
        }
        s.csr.fcsr = regs.get(reg::FCSR_DOUBLE)?;
    } else if isa.has(Ext::F) {
        for n in 0..32 {
            s.f[n] = regs.get(reg::f_single(n))? | 0xffff_ffff << 32;
        }
        s.csr.fcsr = regs.get(reg::FCSR_SINGLE)?;
    }
    if isa.has(Ext::V) {
        let vlenb = isa.vlen as usize / 8;
        for n in 0..32 {
            regs.read(reg::v(n, vlenb), &mut s.v.0[n * vlenb..(n + 1) * vlenb])?;
        }
    }
    Ok(())
}

/// Writes all that the vCPU can hold of `s`.
pub fn store(regs: &impl OneReg, isa: &IsaConfig, s: &HartState) -> io::Result<()> {
    store_core(regs, s)?;
    for row in rows(isa) {
        if row.id != SENVCFG || regs.find(row.id)?.is_some() {
            regs.set(row.id, (row.get)(s))?;
        }
    }
    set_deadline(regs, s.csr.stimecmp)?;
    sbi::store(regs, s)?;
    if isa.has(Ext::D) {
        for n in 0..32 {
            regs.set(reg::f_double(n), s.f[n])?;
        }
        regs.set(reg::FCSR_DOUBLE, s.csr.fcsr)?;
    } else if isa.has(Ext::F) {
        for n in 0..32 {
            regs.set(reg::f_single(n), s.f[n])?;
        }
        regs.set(reg::FCSR_SINGLE, s.csr.fcsr)?;
    }
    if isa.has(Ext::V) {
        let vlenb = isa.vlen as usize / 8;
        for n in 0..32 {
            regs.write(reg::v(n, vlenb), &s.v.0[n * vlenb..(n + 1) * vlenb])?;
        }
    }
    Ok(())
}

/// Writes what a trap into S-mode changes, and the general registers. Nothing else is touched: deadlines and pending
/// interrupts go on meanwhile.
pub fn store_trap(regs: &impl OneReg, s: &HartState) -> io::Result<()> {
    store_core(regs, s)?;
    for row in [SSTATUS, SEPC, SCAUSE, STVAL].map(|at| &CSRS[at]) {
        regs.set(row.id, (row.get)(s))?;
    }
    Ok(())
}

/// The same of an instruction that was stepped over: as a trap, and `sie`.
pub fn store_step(regs: &impl OneReg, s: &HartState) -> io::Result<()> {
    store_trap(regs, s)?;
    regs.set(CSRS[SIE].id, (CSRS[SIE].get)(s))
}

fn store_core(regs: &impl OneReg, s: &HartState) -> io::Result<()> {
    regs.set(reg::PC, s.pc)?;
    regs.set(reg::MODE, u64::from(s.mode != Mode::User))?;
    (1..32).try_for_each(|n| regs.set(reg::x(n), s.x[n]))
}

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    /// Registers that hold what is written to them.
    #[derive(Default)]
    pub struct Registers(RefCell<HashMap<RegId, Vec<u8>>>);

    impl OneReg for Registers {
        fn read(&self, id: RegId, data: &mut [u8]) -> io::Result<()> {
            let regs = self.0.borrow();
            let value = regs.get(&id).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
            data.copy_from_slice(value);
            Ok(())
        }

        fn write(&self, id: RegId, data: &[u8]) -> io::Result<()> {
            assert_eq!(data.len(), id.size());
            self.0.borrow_mut().insert(id, data.to_vec());
            Ok(())
        }

        fn list(&self) -> io::Result<Vec<RegId>> {
            Ok(self.0.borrow().keys().copied().collect())
        }
    }

    /// A vCPU of a host with Sstc, or without.
    fn vcpu(sstc: bool) -> Registers {
        let regs = Registers::default();
        regs.set(isa::register(Ext::Sstc), u64::from(sstc)).unwrap();
        regs.set(reg::TIMER_STATE, 0).unwrap();
        regs
    }

    /// One of a kernel that keeps senvcfg.
    fn newer_vcpu() -> Registers {
        let regs = vcpu(true);
        regs.set(SENVCFG, 0).unwrap();
        regs
    }

    fn isa(exts: &[Ext]) -> IsaConfig {
        let isa = IsaConfig::default();
        let exts = isa.exts.union(&arch::ext::ExtSet::of(exts)).closure();
        IsaConfig { exts, vlen: 256, ..isa }
    }

    fn state() -> HartState {
        let mut s = HartState { pc: 0x8020_0000, mode: Mode::Supervisor, ..HartState::default() };
        for n in 1..32u64 {
            s.x[n as usize] = n << 40 | n;
        }
        for n in 0..32u64 {
            s.f[n as usize] = u64::MAX << 32 | n;
        }
        s.v.0[..1024].iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8);
        let c = &mut s.csr;
        c.mstatus = mstatus::SIE | mstatus::SUM | mstatus::FS;
        (c.mie, c.mip) = (SUPERVISOR, HartIrq::SupervisorSoftware.mask());
        (c.stvec, c.sscratch, c.sepc, c.scause, c.stval) = (1 << 40, 2, 3 << 40, 4, 5);
        (c.satp, c.scounteren, c.senvcfg, c.stimecmp, c.fcsr) = (6, 7, 8, 9, 0x21);
        (c.vstart, c.vl, c.vtype, c.vcsr) = (1, 2, 3, 4);
        (c.siselect, c.siprio, c.sstateen[0]) = (0x30, [0x0b00_0000_0c00, 0x0d << 40, 0x0e, 0, 0, 0, 0, 0], 13);
        s
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let isa = isa(&[Ext::V, Ext::Ssaia, Ext::Smstateen]);
        let (regs, s) = (newer_vcpu(), state());
        store(&regs, &isa, &s).unwrap();
        let mut back = HartState::default();
        load(&regs, &isa, &mut back).unwrap();
        assert_eq!(back, s);
        assert_eq!(regs.get(reg::csr(10)).unwrap(), 8, "senvcfg is the last of the general CSRs");
        assert_eq!(regs.0.borrow()[&reg::v(31, 32)], s.v.0[31 * 32..32 * 32]);
        let priorities = [1, 2].map(|n| regs.get(reg::csr_aia(n)).unwrap());
        assert_eq!(priorities, [0x0d00_0b00_0c00, 0x0e], "interrupts 1, 5 and 13; 16");
    }

    #[test]
    fn an_older_kernel_has_no_senvcfg() {
        let (regs, isa) = (vcpu(true), isa(&[]));
        store(&regs, &isa, &state()).unwrap();
        assert_eq!(regs.find(SENVCFG).unwrap(), None);
        let mut s = HartState::default();
        s.csr.senvcfg = 5;
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!(s.csr.senvcfg, 5);
        regs.0.borrow_mut().remove(&reg::csr(9));
        assert!(load(&regs, &isa, &mut s).unwrap_err().to_string().contains("0x8030000003000009"));
    }

    #[test]
    fn what_only_machine_mode_sees_stays() {
        let regs = vcpu(true);
        let isa = isa(&[]);
        store(&regs, &isa, &state()).unwrap();
        let mut s = HartState::default();
        (s.csr.mtvec, s.csr.mstatus, s.csr.mie) = (1, mstatus::MIE, 1 << 3);
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!((s.csr.mtvec, s.csr.mie), (1, SUPERVISOR | 1 << 3));
        assert_eq!(s.csr.mstatus, state().csr.mstatus | mstatus::MIE);
        assert_eq!(regs.find(reg::VL).unwrap(), None, "no vectors");
    }

    #[test]
    fn a_guest_that_sets_its_deadline_itself_keeps_it() {
        let (regs, mut isa) = (vcpu(true), isa(&[]));
        // The machine's ISA may be without it; the vCPU is not.
        isa.exts.remove(Ext::Sstc);
        store(&regs, &isa, &state()).unwrap();
        let mut s = HartState::default();
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!(s.csr.stimecmp, 9);
        (s.csr.stimecmp, s.csr.scause, s.x[5], s.pc) = (1, 5, 7, 8);
        store_trap(&regs, &s).unwrap();
        let known = [reg::TIMER_COMPARE, reg::csr(5), reg::x(5), reg::PC].map(|id| regs.get(id).unwrap());
        assert_eq!(known, [9, 5, 7, 8]);
    }

    #[test]
    fn the_kernels_timer_is_armed_off_or_has_fired() {
        let (regs, isa) = (vcpu(false), isa(&[]));
        let mut s = state();
        s.csr.stimecmp = u64::MAX;
        store(&regs, &isa, &s).unwrap();
        assert_eq!(regs.get(reg::TIMER_STATE).unwrap(), 0);
        s.csr.stimecmp = 100;
        store(&regs, &isa, &s).unwrap();
        assert_eq!((regs.get(reg::TIMER_STATE).unwrap(), deadline(&regs).unwrap()), (1, 100));
        // Fired: off, and the interrupt is pending until the guest sets the next deadline.
        regs.set(reg::TIMER_STATE, 0).unwrap();
        assert_eq!(deadline(&regs).unwrap(), u64::MAX);
        regs.set(reg::csr(7), HartIrq::SupervisorTimer.mask()).unwrap();
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!((s.csr.stimecmp, s.csr.mip), (100, 0));
        s.csr.stimecmp = u64::MAX;
        regs.set(reg::TIMER_STATE, 1).unwrap();
        store(&regs, &isa, &s).unwrap();
        assert_eq!(regs.get(reg::TIMER_STATE).unwrap(), 0);
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!(s.csr.stimecmp, u64::MAX);
    }
}
