//! CSRs that generated code reads and writes by itself.
//!
//! A row of the [`table`](super::table) says where its register lives. The functions of this folder read and write by
//! that place too, so that a CSR instruction means the same by a call and in generated code. What is left to decide at
//! translation is whether the access is allowed: privilege and V are part of a block's mode, read-only numbers and
//! absent extensions never change, and whatever else may deny an access is behind a [`Gate`], one bit each of a word of
//! the hart (`Hart::by_call`) that generated code tests. Behind a closed gate the instruction is a call, which traps if
//! it must.

use arch::ext::IsaConfig;

use super::{hypervisor, stateen, table};
use crate::{HartState, Mode};

/// A 64-bit register in [`HartState`], by its offset. Only [`state_field!`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateField(u32);

impl StateField {
    /// For [`state_field!`], which sees to it that there is a `u64` at `offset`.
    pub(super) const fn at(offset: usize) -> Self {
        assert!(offset + 8 <= size_of::<HartState>() && offset.is_multiple_of(8));
        Self(offset as u32)
    }

    /// Bytes from the start of the state.
    pub const fn offset(self) -> usize {
        self.0 as usize
    }

    pub fn get(self, s: &HartState) -> u64 {
        // SAFETY: there is a u64 at the offset (`at`), and any bytes are one.
        unsafe { (&raw const *s).byte_add(self.offset()).cast::<u64>().read() }
    }

    pub fn set(self, s: &mut HartState, v: u64) {
        // SAFETY: as in `get`.
        unsafe { (&raw mut *s).byte_add(self.offset()).cast::<u64>().write(v) }
    }
}

/// The place of a register of `HartState::csr`.
macro_rules! state_field {
    ($name:ident) => {{
        const fn is_a_word(_: fn(&crate::CsrState) -> &u64) {}
        is_a_word(|c| &c.$name);
        super::inline::StateField::at(
            std::mem::offset_of!(crate::HartState, csr) + std::mem::offset_of!(crate::CsrState, $name),
        )
    }};
}

pub(super) use state_field;

/// Where a register lives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Nowhere in one piece: only the functions of its row know.
    Computed,
    /// In a word of the state. Writes go by the row's function.
    Word(StateField),
    /// In a word that takes what is written, and-ed with a mask, and sets nothing off.
    Plain(StateField, fn(&IsaConfig) -> u64),
    /// In a word, behind a gate. Writes go by the row's function.
    Gated(StateField, Gate),
    /// It advances with the hart or the clock.
    Live(Live),
    /// `sstatus` as HS-mode sees it.
    Status,
}

/// A number that is not in the state at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    Cycle,
    Time,
    Instret,
}

/// What may deny a read, besides privilege; bits of `Hart::by_call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    /// The counter enables, and whether the counter is one that follows retired instructions.
    Cycle = 1,
    Time = 2,
    Instret = 4,
    /// `mstatus.TVM`, `hstatus.VTVM`.
    Satp = 8,
}

impl Live {
    pub const fn gate(self) -> Gate {
        match self {
            Live::Cycle => Gate::Cycle,
            Live::Time => Gate::Time,
            Live::Instret => Gate::Instret,
        }
    }
}

/// What generated code does for a CSR instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inline {
    /// Reads the word.
    Read(StateField),
    /// Reads the word if the gate is open.
    Gated(StateField, Gate),
    /// Reads the number if its gate is open.
    Live(Live),
    /// Reads the word and writes to the bits of the mask.
    Write(StateField, u64),
    /// Reads `sstatus`, and may write it.
    Status,
}

/// How CSR `n` is accessed in a mode by generated code; `None`: by a call. `write` is as for
/// [`csr_op`](super::csr_op).
pub fn inline(isa: &IsaConfig, mode: Mode, virt: bool, n: u16, write: bool) -> Option<Inline> {
    if super::privilege_of(mode, virt) < arch::csr::lowest_privilege(n) || write && arch::csr::is_read_only(n) {
        return None;
    }
    let n = if virt { hypervisor::substitute(n).unwrap_or(n) } else { n };
    let entry = table::find(n).filter(|entry| entry.available(isa) && !stateen::has_gate(isa, n))?;
    match entry.row.place {
        Place::Word(field) if !write => Some(Inline::Read(field)),
        Place::Plain(field, _) if !write => Some(Inline::Read(field)),
        Place::Plain(field, mask) => Some(Inline::Write(field, mask(isa))),
        Place::Gated(field, gate) if !write => Some(Inline::Gated(field, gate)),
        Place::Live(live) if !write => Some(Inline::Live(live)),
        Place::Status => Some(Inline::Status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{CsrEffect, CsrEnv, gates_shut, read, write};
    use super::*;
    use arch::csr;
    use arch::ext::Ext;
    use proptest::prelude::*;

    const MODES: [(Mode, bool); 5] = [
        (Mode::User, false),
        (Mode::Supervisor, false),
        (Mode::Machine, false),
        (Mode::User, true),
        (Mode::Supervisor, true),
    ];

    fn env() -> Env {
        let mut env = Env::default();
        let more = [Ext::H, Ext::Ssaia, Ext::Smaia, Ext::Sscsrind, Ext::Smcsrind, Ext::Ssstateen, Ext::Smstateen];
        more.into_iter().for_each(|ext| env.isa.exts.insert(ext));
        env
    }

    /// What decides about accesses, at random.
    fn state(env: &Env, r: &[u64; 8]) -> HartState {
        let mut s = env.hart();
        let c = &mut s.csr;
        (c.mcounteren, c.scounteren, c.hcounteren) = (r[0], r[1], r[2]);
        (c.mstatus, c.vsstatus, c.hstatus) = (c.mstatus ^ r[3] & csr::mstatus::TVM, r[3], r[4] & csr::hstatus::VTVM);
        (c.mstateen[0], c.hstateen[0], c.sstateen[0]) = (r[5], r[6], r[7]);
        (c.hvictl, c.menvcfg, c.henvcfg) = (r[0] >> 32, r[1] >> 32, r[2] >> 32);
        s
    }

    proptest! {
        #[test]
        fn what_is_inline_is_allowed_and_the_same(r in prop::array::uniform8(any::<u64>()), v: u64) {
            let mut env = env();
            let start = state(&env, &r);
            for (mode, virt) in MODES {
                for n in 0..1 << 12 {
                    let mut s = start.clone();
                    (s.mode, s.virt) = (mode, virt);
                    if let Some(how) = inline(&env.isa, mode, virt, n, false) {
                        let got = read(&s, &env, n);
                        let open = |gate: Gate| gates_shut(&s, env.isa()) & gate as u8 == 0;
                        match how {
                            Inline::Read(field) => prop_assert_eq!(got, Ok(field.get(&s)), "{:#x} in {:?}", n, mode),
                            Inline::Gated(field, gate) if open(gate) => prop_assert_eq!(got, Ok(field.get(&s))),
                            Inline::Live(live) if open(live.gate()) => prop_assert!(got.is_ok(), "{:#x}", n),
                            // The call decides.
                            Inline::Gated(..) | Inline::Live(_) => {}
                            Inline::Status => prop_assert!(got.is_ok()),
                            Inline::Write(..) => prop_assert!(false, "not asked for"),
                        }
                    }
                    if let Some(Inline::Write(field, mask)) = inline(&env.isa, mode, virt, n, true) {
                        let mut by_call = s.clone();
                        prop_assert_eq!(write(&mut by_call, &mut env, n, v), Ok(CsrEffect::empty()), "{:#x}", n);
                        field.set(&mut s, v & mask);
                        prop_assert!(by_call == s, "{:#x} in {:?}", n, mode);
                    }
                }
            }
        }
    }

    #[test]
    fn a_gate_is_shut_no_more_than_it_has_to_be() {
        let env = env();
        let mut s = env.hart();
        for (mode, virt) in MODES {
            (s.mode, s.virt) = (mode, virt);
            (s.csr.mcounteren, s.csr.scounteren, s.csr.hcounteren) = (7, 7, 7);
            assert_eq!(gates_shut(&s, env.isa()), 0, "{mode:?}");
            (s.csr.mcounteren, s.csr.scounteren, s.csr.hcounteren) = (5, 7, 7);
            let shut = if mode == Mode::Machine { 0 } else { Gate::Time as u8 };
            assert_eq!(gates_shut(&s, env.isa()), shut, "{mode:?}");
        }
    }

    #[test]
    fn the_registers_of_trap_handlers_are_inline() {
        let env = env();
        let at = |mode, n, write| inline(&env.isa, mode, false, n, write).is_some();
        for n in [csr::SSCRATCH, csr::SEPC, csr::SCAUSE, csr::STVAL, csr::SSTATUS] {
            assert!(at(Mode::Supervisor, n, false) && at(Mode::Supervisor, n, true), "{n:#x}");
            assert!(!at(Mode::User, n, false) && !at(Mode::User, n, true), "{n:#x}");
        }
        for n in [csr::STVEC, csr::SATP, csr::CYCLE, csr::TIME, csr::INSTRET] {
            assert!(at(Mode::Supervisor, n, false) && !at(Mode::Supervisor, n, true), "{n:#x}");
        }
        for n in [csr::MSCRATCH, csr::MEPC, csr::MCAUSE, csr::MTVAL] {
            assert!(at(Mode::Machine, n, true) && !at(Mode::Supervisor, n, true), "{n:#x}");
        }
        assert_eq!(
            inline(&env.isa, Mode::Supervisor, true, csr::SSCRATCH, true),
            inline(&env.isa, Mode::Machine, false, csr::VSSCRATCH, true)
        );
        assert_eq!(inline(&env.isa, Mode::Supervisor, true, csr::SSTATUS, false), None);
    }
}
