//! A hart's state in a vCPU's registers, and back: one row a CSR.
//!
//! KVM has no M-mode: what only M-mode sees stays as it was in the [`HartState`]. STIP and SEIP of `sip` are lines, of
//! the kernel's timer and of the interrupt controller, and no state; SSIP is.

use std::io;

use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};

use super::one_reg::{self as reg, OneReg, RegId};
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
const SUPERVISOR: u64 =
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
    field!(reg::csr(3), sscratch),
    field!(reg::csr(4), sepc),
    field!(reg::csr(5), scause),
    field!(reg::csr(6), stval),
    Row {
        id: reg::csr(7),
        needs: None,
        get: |s| s.csr.mip & HartIrq::SupervisorSoftware.mask(),
        set: |s, v| merge(&mut s.csr.mip, v, HartIrq::SupervisorSoftware.mask()),
    },
    field!(reg::csr(8), satp),
    field!(reg::csr(9), scounteren),
    field!(reg::csr(10), senvcfg),
    Row { needs: Some(Ext::Ssaia), ..field!(reg::csr_aia(0), siselect) },
    Row { needs: Some(Ext::Ssaia), ..field!(reg::csr_aia(1), siprio[0]) },
    Row { needs: Some(Ext::Ssaia), ..field!(reg::csr_aia(2), siprio[1]) },
    Row { needs: Some(Ext::Smstateen), ..field!(reg::SSTATEEN0, sstateen[0]) },
    Row { needs: Some(Ext::V), ..field!(reg::VSTART, vstart) },
    Row { needs: Some(Ext::V), ..field!(reg::VL, vl) },
    Row { needs: Some(Ext::V), ..field!(reg::VTYPE, vtype) },
    Row { needs: Some(Ext::V), ..field!(reg::VCSR, vcsr) },
];

/// Places in [`CSRS`]: those of the kernel's list.
const SSTATUS: usize = 0;
const SEPC: usize = 4;
const SCAUSE: usize = 5;
const STVAL: usize = 6;

fn merge(slot: &mut u64, value: u64, mask: u64) {
    *slot = *slot & !mask | value & mask;
}

/// Reads all that the vCPU holds into `s`.
pub fn load(regs: &impl OneReg, isa: &IsaConfig, s: &mut HartState) -> io::Result<()> {
    s.pc = regs.get(reg::PC)?;
    s.mode = if regs.get(reg::MODE)? == 0 { Mode::User } else { Mode::Supervisor };
    s.virt = false;
    for n in 1..32 {
        s.x[n] = regs.get(reg::x(n))?;
    }
    for row in CSRS.iter().filter(|row| row.needs.is_none_or(|ext| isa.has(ext))) {
        (row.set)(s, regs.get(row.id)?);
    }
    // With Sstc the guest sets its deadline itself, and the kernel only calls a timer armed that SBI has set.
    let armed = isa.has(Ext::Sstc) || regs.find(reg::TIMER_STATE)? == Some(1);
    s.csr.stimecmp = if armed { regs.get(reg::TIMER_COMPARE)? } else { u64::MAX };
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
    for row in CSRS.iter().filter(|row| row.needs.is_none_or(|ext| isa.has(ext))) {
        regs.set(row.id, (row.get)(s))?;
    }
    regs.set(reg::TIMER_COMPARE, s.csr.stimecmp)?;
    let armed = u64::from(s.csr.stimecmp != u64::MAX);
    // The kernel refuses to turn off a timer that is off.
    if !isa.has(Ext::Sstc) && (armed != 0 || regs.find(reg::TIMER_STATE)? == Some(1)) {
        regs.set(reg::TIMER_STATE, armed)?;
    }
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
        (c.siselect, c.siprio, c.sstateen[0]) = (0x30, [11, 12, 0, 0, 0, 0, 0, 0], 13);
        s
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let isa = isa(&[Ext::V, Ext::Ssaia, Ext::Smstateen]);
        let (regs, s) = (Registers::default(), state());
        store(&regs, &isa, &s).unwrap();
        let mut back = HartState::default();
        load(&regs, &isa, &mut back).unwrap();
        assert_eq!(back, s);
        assert_eq!(regs.get(reg::csr(10)).unwrap(), 8, "senvcfg is the last of the general CSRs");
        assert_eq!(regs.0.borrow()[&reg::v(31, 32)], s.v.0[31 * 32..32 * 32]);
    }

    #[test]
    fn what_only_machine_mode_sees_stays() {
        let regs = Registers::default();
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
        let (regs, isa) = (Registers::default(), isa(&[Ext::Sstc]));
        store(&regs, &isa, &state()).unwrap();
        regs.set(reg::TIMER_STATE, 0).unwrap();
        let mut s = HartState::default();
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!(s.csr.stimecmp, 9);
        (s.csr.stimecmp, s.csr.scause, s.x[5], s.pc) = (1, 5, 7, 8);
        store_trap(&regs, &s).unwrap();
        let known = [reg::TIMER_COMPARE, reg::csr(5), reg::x(5), reg::PC].map(|id| regs.get(id).unwrap());
        assert_eq!(known, [9, 5, 7, 8]);
    }

    #[test]
    fn no_deadline_is_a_timer_that_is_off() {
        let (regs, mut isa) = (Registers::default(), isa(&[]));
        isa.exts.remove(Ext::Sstc);
        let mut s = state();
        s.csr.stimecmp = u64::MAX;
        store(&regs, &isa, &s).unwrap();
        assert_eq!(regs.find(reg::TIMER_STATE).unwrap(), None, "it was off");
        regs.set(reg::TIMER_STATE, 1).unwrap();
        store(&regs, &isa, &s).unwrap();
        assert_eq!(regs.get(reg::TIMER_STATE).unwrap(), 0);
        load(&regs, &isa, &mut s).unwrap();
        assert_eq!(s.csr.stimecmp, u64::MAX);
    }
}
