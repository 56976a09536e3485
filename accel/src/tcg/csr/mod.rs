//! Control and status registers: what a CSR instruction reads, writes and sets off.
//!
//! A CSR is a row of [`table`]: how it is read, how it is written (with every write legalised, as WARL asks) and
//! who may reach it at the moment. What an engine has to redo after a write comes back as a [`CsrEffect`]. The
//! functions work on the plain state; what is not state (time, running counters, lines of chips) is asked of a
//! [`CsrEnv`].
//!
//! Not here: CSRs as facts, which are rows of [`arch::csr`].
//!
//! Unprivileged spec, "Zicsr"; privileged spec, "Control and Status Registers (CSRs)".

use arch::csr::counteren;
use arch::ext::IsaConfig;
use bitflags::bitflags;

use crate::tcg::trap::Trap;
use crate::{HartState, Imsic, Mode};

mod aia;
mod counter;
pub mod ctr;
mod delegation;
mod entropy;
mod envcfg;
pub(crate) mod fp;
pub(crate) mod hypervisor;
mod indirect;
mod inline;
mod interrupt;
mod pmp;
pub mod reset;
mod rnmi;
mod security;
mod stateen;
pub(crate) mod status;
mod table;
mod translation;
mod trap_setup;
mod trigger;
mod vector;

pub use entropy::{host_entropy, seed};
pub use inline::{Gate, Inline, Live, StateField, inline};
pub use reset::{reset, reset_supervisor};
pub(super) use trap_setup::epc;

/// Why an instruction may not execute here: which exception the caller raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Illegal instruction.
    Illegal,
    /// Virtual instruction: HS-mode could execute it, V being 1 prevents it.
    Virtual,
}

pub use Denied::{Illegal, Virtual};

impl Denied {
    /// The exception; `insn` is the encoding of the instruction, zero-extended.
    pub const fn trap(self, insn: u32) -> Trap {
        match self {
            Self::Illegal => Trap::illegal(insn),
            Self::Virtual => Trap::virtual_instruction(insn),
        }
    }
}

/// An [`Illegal`] denial unless `legal`.
pub(super) fn require(legal: bool) -> Result<(), Denied> {
    if legal { Ok(()) } else { Err(Illegal) }
}

bitflags! {
    /// What an engine has to look at again after a CSR was written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CsrEffect: u32 {
        /// An interrupt may have become takeable: ask [`interrupts::pending`](crate::tcg::interrupts::pending).
        const INTERRUPTS = 1 << 0;
        /// A field that decides which instructions are legal changed: FS, VS, TVM, TW, TSR, counter enables,
        /// environment configurations.
        const MODE = 1 << 1;
        /// The translation of loads and stores changed: SUM, MXR, MPRV, MPP under MPRV, `satp`, ADUE, PBMTE.
        const TRANSLATION = 1 << 2;
        /// `satp` holds another value.
        const SATP = 1 << 3;
        /// PMP changed: whatever was derived from it is void.
        const PMP = 1 << 4;
        /// `frm` holds another value.
        const FRM = 1 << 5;
        /// `fflags` were written.
        const FFLAGS = 1 << 6;
        /// A counter, its configuration or `mcountinhibit` was written; [`CsrEnv`] was told.
        const COUNTERS = 1 << 7;
        /// The selected trigger was written.
        const TRIGGER = 1 << 8;
    }
}

/// What CSRs show of the world outside the state.
///
/// Before a CSR instruction the engine brings the state up to date: the counters hold what happened so far, `fflags`
/// that live in a host register go into `fcsr`, and software interrupts that others raised (`raise_ssip`) are or-ed into `csr.mip`, where the guest
/// can clear them.
pub trait CsrEnv {
    fn isa(&self) -> &IsaConfig;
    /// `mtime`.
    fn time(&self) -> u64;
    /// A counter, its configuration or `mcountinhibit` was written. Bit n of `written`: counter n, so that the next
    /// instruction reads the written value; the others count this instruction by the old configuration.
    fn counters_changed(&mut self, written: u32);
    /// Bits of `mip` that lines and timers drive now. STIP is among them while `time >= stimecmp`, if
    /// `menvcfg.STCE` is set; likewise VSTIP by `vstimecmp`.
    fn lines(&self) -> u64;
    /// Lines of the guest external interrupts, as `hgeip` shows them.
    fn hgeip(&self) -> u64;
    /// `stimecmp`, `vstimecmp`, `htimedelta` or an STCE changed: once the instruction is done, [`lines`](Self::lines)
    /// has STIP and VSTIP by the new state.
    fn stimecmp_changed(&mut self);
    /// Fresh random bits of the host; `None` if it fails to give any.
    fn entropy(&self) -> Option<u16> {
        None
    }
    /// The interrupt files, if there are any.
    fn imsic(&self) -> Option<&dyn Imsic> {
        None
    }
}

/// How a CSR instruction combines its operand with the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CsrOp {
    /// CSRRW, CSRRWI.
    Rw,
    /// CSRRS, CSRRSI.
    Rs,
    /// CSRRC, CSRRCI.
    Rc,
}

impl CsrOp {
    /// What is written.
    fn apply(self, old: u64, src: u64) -> u64 {
        match self {
            Self::Rw => src,
            Self::Rs => old | src,
            Self::Rc => old & !src,
        }
    }
}

/// Finds the behaviour of CSR `n`, if it may be accessed now. While V is 1, what HS-mode may access and the guest may
/// not is a virtual-instruction exception.
fn find(s: &HartState, isa: &IsaConfig, n: u16, write: bool) -> Result<(&'static table::Row, u16), Denied> {
    match admit(s, isa, n, write) {
        Err(Illegal) if s.virt && indirect::is_window(n) => Err(indirect::denied_to_guest(s, isa, n)),
        Err(Illegal) if s.virt && admit(&hypervisor::as_hypervisor(s), isa, n, write).is_ok() => Err(Virtual),
        result => result,
    }
}

/// The behaviour of CSR `n`, and the number of the register that is really accessed.
fn admit(s: &HartState, isa: &IsaConfig, n: u16, write: bool) -> Result<(&'static table::Row, u16), Denied> {
    if privilege(s) < arch::csr::lowest_privilege(n) || write && arch::csr::is_read_only(n) {
        return Err(Illegal);
    }
    let n = if s.virt { hypervisor::substitute(n).unwrap_or(n) } else { n };
    let entry = table::find(n).ok_or(Illegal)?;
    require(entry.available(isa))?;
    require(write || !entry.row.only_written)?;
    stateen::check(s, isa, n)?;
    aia::check_control(s, n, write)?;
    (entry.row.access)(s, isa, n)?;
    Ok((entry.row, n))
}

/// The field of `mstatus` (FS or VS) that keeps CSR `n` from everybody while it says Off; 0 if none does.
pub fn unit(n: u16) -> u64 {
    use arch::csr::*;
    match n {
        FFLAGS | FRM | FCSR => mstatus::FS,
        VSTART | VXSAT | VXRM | VCSR | VL | VTYPE | VLENB => mstatus::VS,
        _ => 0,
    }
}

/// The current privilege as bits 9:8 of CSR numbers have it, where HS-mode stands above S-mode.
fn privilege(s: &HartState) -> u8 {
    privilege_of(s.mode, s.virt)
}

fn privilege_of(mode: Mode, virt: bool) -> u8 {
    match mode {
        Mode::Supervisor if !virt => 2,
        mode => mode as u8,
    }
}

/// The [`Gate`]s that the CSRs shut in the current mode.
pub fn gates_shut(s: &HartState, isa: &IsaConfig) -> u8 {
    let counters = counter::readable(s, isa);
    let shut = |legal: bool, gate: Gate| if legal { 0 } else { gate as u8 };
    let satp = if s.virt { hypervisor::vsatp_access(s, isa, 0) } else { translation::access(s, isa, 0) };
    shut(counters & counteren::CY != 0, Gate::Cycle)
        | shut(counters & counteren::TM != 0, Gate::Time)
        | shut(counters & counteren::IR != 0, Gate::Instret)
        | shut(satp.is_ok(), Gate::Satp)
}

/// The value of CSR `n` as an instruction reads it.
pub fn read(s: &HartState, env: &dyn CsrEnv, n: u16) -> Result<u64, Denied> {
    let (row, n) = find(s, env.isa(), n, false)?;
    Ok(row.value(s, env, n))
}

/// Writes CSR `n` as an instruction would.
pub fn write(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> Result<CsrEffect, Denied> {
    let (row, n) = find(s, env.isa(), n, true)?;
    Ok(match row.update {
        Some(update) => update(s, env, n, u64::MAX, v).1,
        None => row.store(s, env, n, v),
    })
}

/// A whole CSR instruction: returns the old value and what the write set off.
///
/// `write` is false for CSRRS and CSRRC with `x0` or a zero immediate: these only read, also read-only CSRs.
pub fn csr_op(
    s: &mut HartState,
    env: &mut dyn CsrEnv,
    n: u16,
    op: CsrOp,
    src: u64,
    write: bool,
) -> Result<(u64, CsrEffect), Denied> {
    let (row, n) = find(s, env.isa(), n, write)?;
    if write && let Some(update) = row.update {
        let (clear, set) = match op {
            CsrOp::Rw => (u64::MAX, src),
            CsrOp::Rs => (0, src),
            CsrOp::Rc => (src, 0),
        };
        return Ok(update(s, env, n, clear, set));
    }
    let old = row.value(s, env, n);
    if !write {
        return Ok((old, CsrEffect::empty()));
    }
    let base = row.software.map_or(old, |software| software(s));
    Ok((old, row.store(s, env, n, op.apply(base, src))))
}

/// `old` with the bits of `mask` taken from `new`.
fn merge(old: u64, new: u64, mask: u64) -> u64 {
    old & !mask | new & mask
}

/// Whether the hart is in M-mode, where enables for lower modes do not count.
fn in_machine(s: &HartState) -> bool {
    s.mode == Mode::Machine
}

/// A world for tests of single CSRs.
#[cfg(test)]
mod testing {
    use super::*;
    use arch::ext::Ext;

    pub struct Env {
        pub isa: IsaConfig,
        /// What [`CsrEnv::counters_changed`] was told last.
        pub counters: Option<u32>,
        pub lines: u64,
        pub timer_changes: u32,
        pub hgeip: u64,
    }

    impl Default for Env {
        /// A hart with all that the engine has an opinion on; the hypervisor's tests add what is theirs.
        fn default() -> Self {
            let mut isa = IsaConfig::default();
            let is_h = |ext: &Ext| arch::ext::ExtSet::of(&[*ext]).closure().contains(Ext::H);
            isa.exts = isa.exts.iter().filter(|ext| !is_h(ext)).collect();
            for ext in [Ext::Svpbmt, Ext::Svadu, Ext::Svade, Ext::Svnapot, Ext::Sstc, Ext::Zicbom, Ext::Zicboz] {
                isa.exts.insert(ext);
            }
            isa.pmp_entries = 16;
            isa.satp_mode = arch::ext::SatpMode::Sv57;
            Self { isa, counters: None, lines: 0, timer_changes: 0, hgeip: 0 }
        }
    }

    impl Env {
        pub fn without(exts: &[Ext]) -> Self {
            let mut env = Self::default();
            exts.iter().for_each(|ext| env.isa.exts.remove(*ext));
            env
        }

        pub fn hart(&self) -> HartState {
            reset(&self.isa, 3)
        }
    }

    impl CsrEnv for Env {
        fn isa(&self) -> &IsaConfig {
            &self.isa
        }
        fn time(&self) -> u64 {
            777
        }
        fn counters_changed(&mut self, written: u32) {
            self.counters = Some(written);
        }
        fn lines(&self) -> u64 {
            self.lines
        }
        fn hgeip(&self) -> u64 {
            self.hgeip
        }
        fn stimecmp_changed(&mut self) {
            self.timer_changes += 1;
        }
        fn entropy(&self) -> Option<u16> {
            Some(0x5eed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Env;
    use super::*;
    use arch::csr;

    /// Every CSR that a hart of this ISA has.
    fn numbers(env: &Env) -> Vec<u16> {
        csr::all().iter().filter(|row| row.available(&env.isa)).map(|row| row.number).collect()
    }

    #[test]
    fn every_csr_of_a_ready_extension_has_behaviour() {
        for row in csr::all() {
            let ready = row.exts.iter().any(|all| all.iter().all(|ext| ext.is_ready()));
            assert!(table::find(row.number).is_some() || !ready, "{}", row.name);
        }
        for n in 0..1 << 12 {
            assert_eq!(table::find(n).is_some(), table::has_row(n) && csr::by_number(n).is_some(), "{n:#x}");
            // Only the odd pmpcfg, which 64-bit harts lack, are in a row without being known.
            let odd_pmpcfg = (csr::PMPCFG0..=csr::PMPCFG14 + 1).contains(&n) && n % 2 == 1;
            assert_eq!(table::has_row(n) && csr::by_number(n).is_none(), odd_pmpcfg, "{n:#x}");
        }
    }

    #[test]
    fn privilege_and_read_only_follow_the_number() {
        let mut env = Env::default();
        for n in numbers(&env) {
            for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
                let mut s = reset_supervisor(&env.isa, 0, 0, 0);
                s.csr.mstatus |= csr::mstatus::FS;
                s.mode = mode;
                let may = mode as u8 >= csr::lowest_privilege(n);
                assert_eq!(read(&s, &env, n).is_ok(), may, "read {n:#x} in {mode:?}");
                let may_write = may && !csr::is_read_only(n);
                assert_eq!(write(&mut s, &mut env, n, 0).is_ok(), may_write, "write {n:#x} in {mode:?}");
            }
        }
    }

    #[test]
    fn unknown_csrs_are_illegal() {
        let mut env = Env::default();
        let mut s = env.hart();
        for n in (0..1 << 12).filter(|&n| csr::by_number(n).is_none()).chain([0x1000, u16::MAX]) {
            assert_eq!(read(&s, &env, n), Err(Illegal), "{n:#x}");
            assert_eq!(write(&mut s, &mut env, n, 0), Err(Illegal), "{n:#x}");
        }
        assert_eq!(s, env.hart());
    }

    #[test]
    fn csrs_of_absent_extensions_are_illegal() {
        use arch::ext::Ext::*;
        for (ext, n) in [
            (Sstc, csr::STIMECMP),
            (S, csr::SSTATUS),
            (S, csr::SATP),
            (S, csr::MEDELEG),
            (U, csr::MCOUNTEREN),
            (F, csr::FCSR),
            (Zicntr, csr::TIME),
            (Zihpm, csr::HPMCOUNTER3),
        ] {
            let mut s = Env::default().hart();
            s.csr.mstatus |= csr::mstatus::FS;
            assert!(read(&s, &Env::default(), n).is_ok(), "{n:#x}");
            assert_eq!(read(&s, &Env::without(&[ext]), n), Err(Illegal), "{n:#x} without {ext:?}");
        }
    }

    #[test]
    fn availability_is_that_of_the_facts() {
        let full = Env::default();
        let bare = Env { isa: IsaConfig { pmp_entries: 0, ..full.isa.clone() }, ..Env::default() };
        let without: Vec<Env> = full.isa.exts.iter().map(|ext| Env::without(&[ext])).collect();
        for env in without.iter().chain([&full, &bare]) {
            for row in csr::all() {
                let Some(entry) = table::find(row.number) else { continue };
                assert_eq!(entry.available(&env.isa), row.available(&env.isa), "{}", row.name);
            }
        }
    }

    #[test]
    fn set_and_clear_work_on_the_old_value() {
        let mut env = Env::default();
        let mut s = env.hart();
        let mut op = |op, src, write| csr_op(&mut s, &mut env, csr::MSCRATCH, op, src, write).unwrap().0;
        assert_eq!(op(CsrOp::Rw, 0b1100, true), 0);
        assert_eq!(op(CsrOp::Rs, 0b0110, true), 0b1100);
        assert_eq!(op(CsrOp::Rc, 0b1000, true), 0b1110);
        assert_eq!(op(CsrOp::Rs, 0b1001, false), 0b0110);
        assert_eq!(op(CsrOp::Rw, 0, true), 0b0110);
    }

    #[test]
    fn reading_a_read_only_csr_is_no_write() {
        let mut env = Env::default();
        let mut s = env.hart();
        assert_eq!(csr_op(&mut s, &mut env, csr::MHARTID, CsrOp::Rs, 0, false).unwrap().0, 3);
        assert_eq!(csr_op(&mut s, &mut env, csr::MHARTID, CsrOp::Rs, 0, true), Err(Illegal));
        assert_eq!(csr_op(&mut s, &mut env, csr::MHARTID, CsrOp::Rw, 0, true), Err(Illegal));
    }

    #[test]
    fn identity_comes_from_the_isa() {
        let mut env = Env::default();
        (env.isa.mvendorid, env.isa.marchid, env.isa.mimpid) = (1, 2, 3);
        let s = env.hart();
        let ids = [csr::MVENDORID, csr::MARCHID, csr::MIMPID, csr::MHARTID, csr::MCONFIGPTR];
        assert_eq!(ids.map(|n| read(&s, &env, n)), [Ok(1), Ok(2), Ok(3), Ok(3), Ok(0)]);
        assert_eq!(read(&s, &env, csr::MISA), Ok(env.isa.misa()));
    }

    #[test]
    fn without_sdtrig_there_are_no_triggers() {
        let mut env = Env::without(&[arch::ext::Ext::Sdtrig]);
        let mut s = env.hart();
        for n in [csr::TSELECT, csr::TDATA1, csr::TDATA2, csr::TDATA3] {
            assert!(write(&mut s, &mut env, n, u64::MAX).is_ok());
            assert_eq!(read(&s, &env, n), Ok(0));
        }
    }

    proptest::proptest! {
        /// WARL: what was read may be written back, and then reads the same.
        #[test]
        fn writing_back_what_was_read_changes_nothing(
            first in proptest::collection::vec((proptest::num::u16::ANY, proptest::num::u64::ANY), 40),
        ) {
            let mut env = Env::default();
            let mut s = env.hart();
            s.csr.mstatus |= csr::mstatus::FS;
            let numbers = numbers(&env);
            for (n, v) in first {
                let n = numbers[usize::from(n) % numbers.len()];
                if csr::is_read_only(n) || read(&s, &env, n).is_err() {
                    continue;
                }
                write(&mut s, &mut env, n, v).unwrap();
                // fflags, frm and fcsr vanish while FS is Off; the field itself is tested elsewhere.
                s.csr.mstatus |= csr::mstatus::FS;
                let value = read(&s, &env, n).unwrap();
                let before = s.clone();
                let effect = write(&mut s, &mut env, n, value).unwrap();
                proptest::prop_assert_eq!(read(&s, &env, n), Ok(value), "{:#x}", n);
                proptest::prop_assert_eq!(&s, &before, "{:#x}", n);
                let quiet = CsrEffect::MODE | CsrEffect::TRANSLATION | CsrEffect::SATP | CsrEffect::FRM;
                let enables = [csr::MCOUNTEREN, csr::SCOUNTEREN].contains(&n);
                proptest::prop_assert!(enables || !effect.intersects(quiet), "{:#x} {:?}", n, effect);
            }
        }

        /// What a lower mode does never reaches M-mode's own fields.
        #[test]
        fn supervisor_writes_leave_machine_state_alone(
            ops in proptest::collection::vec((proptest::num::u16::ANY, proptest::num::u64::ANY), 40),
            mideleg in proptest::num::u64::ANY,
        ) {
            let mut env = Env::default();
            let mut s = reset_supervisor(&env.isa, 0, 0, 0);
            s.mode = Mode::Machine;
            write(&mut s, &mut env, csr::MIDELEG, mideleg).unwrap();
            write(&mut s, &mut env, csr::MIE, u64::MAX).unwrap();
            s.mode = Mode::Supervisor;
            let before = s.clone();
            let numbers = numbers(&env);
            for (n, v) in ops {
                let _ = write(&mut s, &mut env, numbers[usize::from(n) % numbers.len()], v);
            }
            let machine = !csr::mstatus::SSTATUS;
            proptest::prop_assert_eq!(s.csr.mstatus & machine, before.csr.mstatus & machine);
            proptest::prop_assert_eq!(s.csr.mie & !s.csr.mideleg, before.csr.mie & !s.csr.mideleg);
            proptest::prop_assert_eq!(s.csr.mip & !s.csr.mideleg, before.csr.mip & !s.csr.mideleg);
            s.csr.mstatus = before.csr.mstatus;
            s.csr.mie = before.csr.mie;
            s.csr.mip = before.csr.mip;
            let supervisor = crate::CsrState {
                stvec: s.csr.stvec,
                sscratch: s.csr.sscratch,
                sepc: s.csr.sepc,
                scause: s.csr.scause,
                stval: s.csr.stval,
                satp: s.csr.satp,
                scounteren: s.csr.scounteren,
                senvcfg: s.csr.senvcfg,
                stimecmp: s.csr.stimecmp,
                fcsr: s.csr.fcsr,
                scontext: s.csr.scontext,
                ..before.csr.clone()
            };
            proptest::prop_assert_eq!(s.csr, supervisor);
        }
    }
}
