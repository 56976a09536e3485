//! Control-flow integrity: indirect jumps to landing pads and elsewhere with random labels (Zicfilp), and instructions of the
//! shadow stack on pages of all kinds (Zicfiss), in all modes and under all enables.

use arch::csr::{self, envcfg, hstatus, mseccfg, mstatus, satp};
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;
use arch::pte;

use super::leaves::allow_all;
use super::program::TEST;
use super::{Known, Level, Program, Setup, Step, Theme};
use crate::differential::asm::{Word, imm, reg, store, word};
use crate::differential::reference::Reference;
use crate::differential::rng::Rng;

pub static THEME: Theme =
    Theme { name: "control-flow integrity", isa, program, known: KNOWN, not_in_qemu: &[], left_out };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig::default();
    for ext in [Ext::H, Ext::Zicfilp, Ext::Zicfiss, Ext::Zimop, Ext::Zcmop] {
        isa.exts.insert(ext);
    }
    isa.exts = isa.exts.closure();
    isa
}

/// QEMU 10 and 11 differ in so much that only Spike is compared with.
fn left_out(reference: &Reference) -> Option<&'static str> {
    let why = "QEMU lets shadow stacks be anywhere where nothing is translated (\"Zicfiss\": a store/AMO access-fault \
               exception), leaves SSE of senvcfg writable and in effect without that of menvcfg (\"Zicfiss\": read-only zero), \
               keeps bit 2 of ssp, and takes SPELP of vsstatus for a return to a guest (\"Zicfilp\": that of mstatus)";
    reference.qemu().map(|_| why)
}

const STEPS: usize = 400;
const ROOT: u64 = TEST;
const MIDDLE: u64 = TEST + 0x1000;
const LAST: u64 = TEST + 0x2000;
const DATA: u64 = TEST + 0x4000;
const PAGES: u64 = 8;
const VIRTUAL: u64 = 0x1_0000_0000;
const USER_ALIAS: u64 = 0x4000_0000;

/// Permissions of the pages of a mode: shadow stacks (write without read) among them.
const PERMS: [u64; 8] =
    [pte::W, pte::R | pte::W, pte::R, pte::W, pte::R | pte::X, pte::X, pte::W | pte::X, pte::R | pte::W | pte::X];

fn program(_: &IsaConfig, rng: &mut Rng) -> Program {
    let full = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;
    let mut memory: Vec<_> = (0..PAGES * 0x1000 / 8).map(|i| (DATA + i * 8, rng.below(3) * 0x1_0000)).collect();
    memory.extend([
        (ROOT + 8, 0x8000_0000 >> 2 | full | pte::U),
        (ROOT + 16, 0x8000_0000 >> 2 | full),
        (ROOT + 32, MIDDLE >> 2 | pte::V),
        (MIDDLE, LAST >> 2 | pte::V),
    ]);
    for i in 0..2 * PAGES {
        let used = if rng.one_in(4) { rng.bits() & (pte::A | pte::D) } else { pte::A | pte::D };
        let user = if i < PAGES { 0 } else { pte::U };
        memory.push((LAST + i * 8, (DATA + i % PAGES * 0x1000) >> 2 | pte::V | PERMS[i as usize % 8] | used | user));
    }
    let steps = (0..STEPS).map(|_| step(rng)).collect();
    let read = vec![
        csr::MCAUSE,
        csr::MEPC,
        csr::MTVAL,
        csr::SSP,
        csr::SCAUSE,
        csr::SEPC,
        csr::STVAL,
        csr::SSTATUS,
        csr::VSSTATUS,
        csr::MENVCFG,
        csr::SENVCFG,
        csr::HENVCFG,
    ];
    Program { start: allow_all(), steps, read, memory }
}

fn step(rng: &mut Rng) -> Step {
    let level = rng.pick(&[Level::M, Level::S, Level::S, Level::U, Level::VS, Level::VU]);
    let translated = !rng.one_in(4);
    let gates = |rng: &mut Rng| {
        let mut bits = 0;
        for bit in [envcfg::LPE, envcfg::SSE] {
            bits |= if rng.one_in(4) { 0 } else { bit };
        }
        bits
    };
    let table = if translated { satp::SV39 << satp::MODE_SHIFT | ROOT >> 12 } else { 0 };
    let guest = level.is_virtual();
    let landing = rng.one_in(2);
    let (body, offset) = if landing { (jump(rng), 0) } else { (shadow(rng), rng.below(PAGES * 0x200) * 8) };
    let offset = if rng.one_in(24) { offset | 4 } else { offset };
    let user = matches!(level, Level::U | Level::VU) ^ rng.one_in(6);
    let address = match translated && level != Level::M {
        true => VIRTUAL + offset + if user { PAGES * 0x1000 } else { 0 },
        false => DATA + offset,
    };
    let spv = if guest { hstatus::SPV } else { 0 };
    let setup = vec![
        Setup::Csr(csr::MSECCFG, if rng.one_in(2) { mseccfg::MLPE } else { 0 }),
        Setup::Csr(csr::MENVCFG, gates(rng) | if rng.one_in(2) { envcfg::ADUE } else { 0 }),
        Setup::Csr(csr::SENVCFG, gates(rng)),
        Setup::Csr(csr::HENVCFG, gates(rng) | if rng.one_in(2) { envcfg::ADUE } else { 0 }),
        Setup::Csr(csr::MEDELEG, 0),
        Setup::Csr(csr::SATP, if guest { 0 } else { table }),
        Setup::Csr(csr::VSATP, if guest { table } else { 0 }),
        Setup::Csr(csr::HGATP, 0),
        Setup::Csr(csr::HSTATUS, 2 << 32 | spv),
        Setup::Csr(csr::VSSTATUS, 2 << 32 | rng.bits() & (mstatus::SPELP | mstatus::SUM | mstatus::MXR)),
        Setup::Csr(csr::SSP, address),
    ];
    let expected = if rng.one_in(4) { rng.bits() & (mstatus::MPELP | mstatus::SPELP) } else { 0 };
    let status = rng.bits() & (mstatus::SUM | mstatus::MXR) | expected;
    let alias =
        if translated && matches!(level, Level::U | Level::VU) { USER_ALIAS.wrapping_sub(0x8000_0000) } else { 0 };
    Step { setup, level, mstatus: status, x: [address, rng.below(3) * 0x1_0000, 0, 0], body, alias, peek: LAST }
}

/// `lpad label`: AUIPC to x0.
fn lpad(label: u64) -> Word {
    Word { raw: 0x17 | (label as u32) << 12, len: 4 }
}

/// A jump to the instruction after next, a landing pad or not, with the label in x7.
fn jump(rng: &mut Rng) -> Vec<Word> {
    let label = rng.below(3);
    // Not x1, x5 and x7: these are returns and jumps that software guards.
    let by = rng.pick(&[10, 10, 10, 5, 7]);
    let target = match rng.below(4) {
        0 => imm(Addi, 0, 0, 0),
        _ => lpad(if rng.one_in(3) { rng.below(3) } else { label }),
    };
    let low = if by == 7 { 0 } else { label as i32 };
    let mut code = vec![
        word(Lui, 7, 0, 0, low << 12),
        imm(Auipc, by, 0, 0),
        imm(Jalr, rng.pick(&[0, 6]), by, 8),
        target,
        imm(Addi, 6, 0, 1),
    ];
    if rng.one_in(6) {
        // What MPELP and SPELP ask for.
        code.insert(0, lpad(0));
    }
    code
}

/// Instructions of the shadow stack, whose pointer is x10, and others on its pages.
fn shadow(rng: &mut Rng) -> Vec<Word> {
    let push = |r: u32| Word { raw: 0xce00_4073 | r << 20, len: 4 };
    let pop = |r: u32| Word { raw: 0xcdc0_4073 | r << 15, len: 4 };
    let rdp = Word { raw: 0xcdc0_4073 | 6 << 7, len: 4 };
    let r = rng.pick(&[1, 5]);
    let value = imm(Addi, r as u8, 11, 0);
    match rng.below(9) {
        0 => vec![value, push(r), rdp],
        1 => vec![value, pop(r), rdp],
        2 => vec![value, push(r), pop(rng.pick(&[1, 5])), rdp],
        3 => vec![reg(rng.pick(&[SsamoswapW, SsamoswapD]), 6, 10, 11)],
        4 => vec![imm(rng.pick(&[Lw, Ld, Lb]), 6, 10, 0)],
        5 => vec![store(rng.pick(&[Sw, Sd, Sb]), 11, 10, 0)],
        6 => vec![reg(AmoaddW, 6, 10, 11)],
        7 => vec![word(Csrrs, 6, 0, 0, csr::SSP.into())],
        _ => vec![rdp, word(Csrrw, 5, 11, 0, csr::SSP.into()), rdp],
    }
}

static KNOWN: &[Known] = &[];
