//! Who may access which register: every CSR from any mode, under random enables of counters, state and environment.
//! Nothing is changed: a write sets or clears no bits.

use arch::csr::{self, envcfg, hstatus, mstatus};
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;

use super::leaves::allow_all;
use super::program::TEST;
use super::{Known, Level, Program, Setup, Step, Theme, known};
use crate::differential::asm::word;
use crate::differential::rng::Rng;

pub static THEME: Theme =
    Theme { name: "register access", isa, program, known: KNOWN, not_in_qemu: &[Ext::Sdtrig], left_out: |_| None };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig::default();
    for ext in [Ext::H, Ext::Smstateen, Ext::Ssstateen, Ext::Sstc, Ext::Sscofpmf, Ext::Smcntrpmf] {
        isa.exts.insert(ext);
    }
    isa.exts = isa.exts.closure();
    isa
}

const STEPS: usize = 400;

fn program(isa: &IsaConfig, rng: &mut Rng) -> Program {
    let all: Vec<u16> = csr::all().iter().filter(|row| row.available(isa)).map(|row| row.number).collect();
    let steps = (0..STEPS).map(|_| step(&all, rng)).collect();
    Program { start: allow_all(), steps, read: vec![csr::MCAUSE, csr::MEPC], memory: Vec::new() }
}

/// Off or dirty: when the others become dirty is not said exactly.
fn floats(rng: &mut Rng) -> u64 {
    if rng.one_in(2) { mstatus::FS } else { 0 }
}

fn step(all: &[u16], rng: &mut Rng) -> Step {
    let level = rng.pick(&[Level::S, Level::S, Level::U, Level::VS, Level::VS, Level::VU]);
    let bits = |rng: &mut Rng| if rng.one_in(3) { u64::MAX } else { rng.bits() };
    let mut setup = vec![
        Setup::Csr(csr::MCOUNTEREN, bits(rng) & 0x7_ffff),
        Setup::Csr(csr::SCOUNTEREN, bits(rng) & 0x7_ffff),
        Setup::Csr(csr::HCOUNTEREN, bits(rng) & 0x7_ffff),
        Setup::Csr(csr::MENVCFG, bits(rng) & envcfg::STCE),
        Setup::Csr(csr::HENVCFG, bits(rng) & envcfg::STCE),
        Setup::Csr(csr::VSSTATUS, 2 << 32 | floats(rng)),
    ];
    for i in 0..4 {
        setup.push(Setup::Csr(csr::MSTATEEN0 + i, bits(rng)));
        setup.push(Setup::Csr(csr::HSTATEEN0 + i, bits(rng)));
        setup.push(Setup::Csr(csr::SSTATEEN0 + i, bits(rng)));
    }
    let spv = if level.is_virtual() { hstatus::SPV } else { 0 };
    let traps = if rng.one_in(3) { hstatus::VTVM } else { 0 };
    setup.push(Setup::Csr(csr::HSTATUS, 2 << 32 | spv | traps));
    let number = if rng.one_in(8) { rng.below(1 << 12) as u16 } else { rng.pick(all) };
    let op = rng.pick(&[Csrrs, Csrrc]);
    let source = if rng.one_in(2) { 0 } else { 10 };
    let status = floats(rng) | if rng.one_in(4) { mstatus::TVM } else { 0 };
    let body = vec![word(op, 5, source, 0, number.into())];
    Step { setup, level, mstatus: status, x: [0; 4], body, alias: 0, peek: TEST }
}

static KNOWN: &[Known] = &[
    Known {
        what: "values are those of another hart; whether they can be read is compared",
        spec: "the values that registers can hold are compared by differential_registers",
        applies: known::always,
        forgive: |_, ours, theirs| *theirs.x(5) = *ours.x(5),
    },
    Known {
        what: "mstateen0.CONTEXT does not close hcontext",
        spec: "privileged, \"Smstateen\": the CONTEXT bit controls access to the scontext and hcontext CSRs of Sdtrig",
        applies: known::spike,
        forgive: |step, ours, theirs| {
            let reads = word(Csrrs, 5, 0, 0, csr::HCONTEXT.into()).raw;
            // CSRRS or CSRRC.
            if known::has_word(&step.body, !(0x1f << 15 | 1 << 12), reads) && *ours.csr(csr::MCAUSE) == 2 {
                *theirs = ours.clone();
            }
        },
    },
    Known {
        what: "henvcfg is a virtual instruction for VU-mode and VS-mode where mstateen0.ENVCFG closes it",
        spec: "privileged, \"Smstateen\": if a bit of mstateen is zero, attempts to access the state from less privileged modes \
           raise an illegal-instruction exception; virtual instructions are those that HS-mode may execute",
        applies: known::qemu,
        forgive: |step, ours, theirs| {
            let reads = word(Csrrs, 5, 0, 0, csr::HENVCFG.into()).raw;
            let pair = (*ours.csr(csr::MCAUSE), *theirs.csr(csr::MCAUSE));
            if known::has_word(&step.body, !(0x1f << 15 | 1 << 12), reads) && pair == (2, 22) {
                *theirs = ours.clone();
            }
        },
    },
];
