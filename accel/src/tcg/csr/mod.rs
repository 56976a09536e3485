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

use arch::ext::IsaConfig;
use bitflags::bitflags;

use crate::tcg::trap::Trap;
use crate::{HartState, Mode};

mod counter;
mod envcfg;
mod fp;
mod interrupt;
mod pmp;
pub mod reset;
mod status;
mod table;
mod translation;
mod trap_setup;

pub use reset::{reset, reset_supervisor};

/// The instruction is illegal here: the caller raises an illegal-instruction exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illegal;

impl Illegal {
    /// The exception; `insn` is the encoding of the instruction, zero-extended.
    pub const fn trap(self, insn: u32) -> Trap {
        Trap::illegal(insn)
    }
}

bitflags! {
    /// What an engine has to look at again after a CSR was written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CsrEffect: u32 {
        /// An interrupt may have become takeable: ask [`pending_interrupt`](crate::tcg::trap::pending_interrupt).
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
        /// A counter or `mcountinhibit` was written; [`CsrEnv`] was told.
        const COUNTERS = 1 << 7;
    }
}

/// What CSRs show of the world outside the state.
///
/// Before a CSR instruction the engine brings the state up to date: `fflags` that live in a host register go into
/// `fcsr`, and software interrupts that others raised (`raise_ssip`) are or-ed into `csr.mip`, where the guest
/// can clear them.
pub trait CsrEnv {
    fn isa(&self) -> &IsaConfig;
    /// `mtime`.
    fn time(&self) -> u64;
    /// `mcycle` and `minstret` as an instruction reads them, itself not counted.
    fn cycle(&self) -> u64;
    fn instret(&self) -> u64;
    /// A write of `mcycle` or `minstret`: the next instruction reads `v`, whatever `mcountinhibit` says.
    fn set_cycle(&mut self, v: u64);
    fn set_instret(&mut self, v: u64);
    /// Bits of `mip` that lines and timers drive now. STIP is among them while `time >= stimecmp`, if
    /// `menvcfg.STCE` is set.
    fn lines(&self) -> u64;
    /// `stimecmp` or `menvcfg.STCE` changed: once the instruction is done, [`lines`](Self::lines) has STIP by the new
    /// state.
    fn stimecmp_changed(&mut self);
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

/// Finds the behaviour of CSR `n`, if it may be accessed now.
fn find(s: &HartState, isa: &IsaConfig, n: u16, write: bool) -> Result<&'static table::Row, Illegal> {
    if (s.mode as u8) < arch::csr::lowest_privilege(n) || write && arch::csr::is_read_only(n) {
        return Err(Illegal);
    }
    let (csr, row) = table::find(n).ok_or(Illegal)?;
    if csr.available(isa) && (row.access)(s, isa, n) { Ok(row) } else { Err(Illegal) }
}

/// The value of CSR `n` as an instruction reads it.
pub fn read(s: &HartState, env: &dyn CsrEnv, n: u16) -> Result<u64, Illegal> {
    let row = find(s, env.isa(), n, false)?;
    Ok((row.read)(s, env, n))
}

/// Writes CSR `n` as an instruction would.
pub fn write(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> Result<CsrEffect, Illegal> {
    let row = find(s, env.isa(), n, true)?;
    Ok((row.write)(s, env, n, v))
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
) -> Result<(u64, CsrEffect), Illegal> {
    let row = find(s, env.isa(), n, write)?;
    let old = (row.read)(s, env, n);
    if !write {
        return Ok((old, CsrEffect::empty()));
    }
    let base = row.software.map_or(old, |software| software(s));
    let new = match op {
        CsrOp::Rw => src,
        CsrOp::Rs => base | src,
        CsrOp::Rc => base & !src,
    };
    Ok((old, (row.write)(s, env, n, new)))
}

/// `old` with the bits of `mask` taken from `new`.
fn merge(old: u64, new: u64, mask: u64) -> u64 {
    old & !mask | new & mask
}

/// Whether the hart is in M-mode, where enables for lower modes do not count.
fn in_machine(s: &HartState) -> bool {
    s.mode == Mode::Machine
}
