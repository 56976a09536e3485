//! Page-table entries of all sorts: any bits in entries of any level of Sv39, Sv48 and Sv57, and an access through them
//! with the privilege of S-mode or U-mode.
//!
//! Every step writes one entry, a leaf or a pointer, makes one access and looks at the entry again. All levels have a slot
//! for a leaf and one for a pointer to the next table; what comes after a pointer is a leaf of a page that permits all.

use arch::csr::{self, envcfg, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};
use arch::isa::Op::*;
use arch::pte;

use super::program::TEST;
use super::{Known, Level, Program, Setup, Step, Theme, known};
use crate::differential::asm::{Word, imm, reg, store, word};
use crate::differential::rng::Rng;

pub static THEME: Theme =
    Theme { name: "page-table entries", isa, program, known: KNOWN, not_in_qemu: &[], left_out: |_| None };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig { satp_mode: SatpMode::Sv57, ..IsaConfig::default() };
    for ext in [Ext::Svade, Ext::Svadu, Ext::Svnapot, Ext::Svpbmt, Ext::Svrsw60t59b] {
        isa.exts.insert(ext);
    }
    isa
}

const STEPS: usize = 400;

/// The table of a level.
const fn table(level: u64) -> u64 {
    TEST + level * 0x1000
}

/// A page for leaves behind pointers, and 64 KiB of data that a range of pages may be.
const DATA: u64 = TEST + 0x1_0000;
const DATA_SIZE: u64 = 0x1_0000;
/// In each table: the way to the next, the random leaf, the random pointer. The last table has 16 leaves from `LEAF` on.
const WAY: u64 = 5;
const LEAF: u64 = 16;
const POINTER: u64 = 7;
/// U-mode finds the bodies here.
const USER_ALIAS: u64 = 0x4000_0000;

const FULL: u64 = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;

fn program(isa: &IsaConfig, rng: &mut Rng) -> Program {
    let mut memory: Vec<_> = (0..DATA_SIZE / 8).map(|i| (DATA + i * 8, trapping(rng))).collect();
    // Bodies, in every mode: the lower parts of all addresses go through entry 0 of the upper tables.
    memory.extend([(table(2) + 8, 0x8000_0000 >> 2 | FULL | pte::U), (table(2) + 16, 0x8000_0000 >> 2 | FULL)]);
    for level in 1..5 {
        memory.push((table(level) + WAY * 8, table(level - 1) >> 2 | pte::V));
        if level > 2 {
            memory.push((table(level), table(level - 1) >> 2 | pte::V));
        }
    }
    // Behind random pointers: a leaf for S-mode and one for U-mode.
    for (index, user) in [(1, 0), (2, pte::U)] {
        memory.push((table(0) + index * 8, DATA >> 2 | FULL | user));
    }
    let steps = (0..STEPS).map(|_| step(isa, rng)).collect();
    let read = vec![csr::MCAUSE, csr::MEPC, csr::MTVAL, csr::SATP];
    Program { start: allow_all(), steps, read, memory }
}

/// Lower modes may access all memory.
pub fn allow_all() -> Vec<Setup> {
    vec![Setup::Csr(csr::PMPADDR0, csr::pmpcfg::ADDR), Setup::Csr(csr::PMPCFG0, 0x1f)]
}

/// ECALL, C.EBREAK and zeros: from any halfword of it no instruction completes.
pub fn trapping(rng: &mut Rng) -> u64 {
    let half = |rng: &mut Rng| rng.pick(&[0x0000_0073, 0x9002_9002, 0x0000_9002, 0x9002_0000, 0x0073_9002]);
    half(rng) | half(rng) << 32
}

fn step(isa: &IsaConfig, rng: &mut Rng) -> Step {
    let (mode, levels) = rng.pick(&[(satp::SV39, 3), (satp::SV48, 4), (satp::SV57, 5)]);
    // Most entries are leaves of the last level.
    let level = if rng.one_in(2) { 0 } else { rng.below(levels) };
    let pointer = level > 0 && rng.one_in(3);
    let user = rng.one_in(2);
    let borrowed = rng.one_in(4);
    let (mut body, size) = loop {
        let found = access(rng);
        // M-mode's fetches are not translated.
        if !(borrowed && known::has_word(&found.0, 0x7f, 0x67)) {
            break found;
        }
    };
    let offset = rng.below(DATA_SIZE - 64) & !(size - 1);
    let offset = if misaligned(&body) && rng.one_in(4) { offset | rng.below(size) } else { offset };
    let (slot, value, below) = if pointer {
        let bits = if rng.one_in(2) { 0 } else { 1 << rng.below(64) } | if rng.one_in(12) { 0 } else { pte::V };
        // Not where QEMU's board has its PCI bus.
        let bits = bits & !(1 << 32);
        let target = if rng.one_in(16) { 1 << 44 } else { table(level - 1) };
        // The rest of the way, to the leaf of this privilege.
        let rest = (1..level).fold(0, |va, l| va | WAY << (12 + 9 * l));
        (POINTER, target >> 2 ^ bits, rest | if user { 2 } else { 1 } << 12 | offset & 0xfff)
    } else {
        let slot = if level == 0 { LEAF + (offset >> 12 & 15) } else { LEAF };
        (slot, leaf(isa, rng, level, user, offset), (DATA + offset) & ((0x1000 << (9 * level)) - 1))
    };
    let mut va = below | slot << (12 + 9 * level);
    for l in level + 1..levels {
        va |= WAY << (12 + 9 * l);
    }
    if rng.one_in(24) {
        // Not canonical.
        va ^= 1 << (11 + 9 * levels + rng.below(64 - 11 - 9 * levels));
    }
    let at = table(level) + slot * 8;
    let gates = rng.bits() & (envcfg::ADUE | envcfg::PBMTE);
    let mut setup = vec![
        Setup::Store(at, value),
        Setup::Csr(csr::MENVCFG, gates | block_gates(rng)),
        Setup::Csr(csr::SENVCFG, block_gates(rng)),
        Setup::Csr(csr::SATP, mode << satp::MODE_SHIFT | rng.below(4) << satp::ASID_SHIFT | table(levels - 1) >> 12),
    ];
    if rng.one_in(2) {
        // What the data was: an earlier step may have stored there.
        setup.push(Setup::Store(DATA + (offset & !7), trapping(rng)));
    }
    let mut status = rng.bits() & (mstatus::SUM | mstatus::MXR) | mstatus::FS;
    let level = match (borrowed, user) {
        (true, _) => Level::M,
        (false, true) => Level::U,
        (false, false) => Level::S,
    };
    let mut x13 = 0;
    if borrowed {
        x13 = mstatus::MPRV | if user { 0 } else { 1 << mstatus::MPP_SHIFT };
        body.insert(0, word(Csrrs, 0, 13, 0, csr::MSTATUS.into()));
    } else if rng.one_in(8) {
        // Cleared by the way there.
        status |= mstatus::MPRV;
    }
    let alias = if level == Level::U { USER_ALIAS.wrapping_sub(0x8000_0000) } else { 0 };
    Step { setup, level, mstatus: status, x: [va, trapping(rng), 1, x13], body, alias, peek: at }
}

/// Which cache-block operations are allowed; CBIE has no reserved value.
fn block_gates(rng: &mut Rng) -> u64 {
    rng.bits() & (envcfg::CBCFE | envcfg::CBZE) | rng.pick(&[0, 1, 3, 3]) << envcfg::CBIE_SHIFT
}

/// A leaf for the data, with random bits.
fn leaf(isa: &IsaConfig, rng: &mut Rng, level: u64, user: bool, offset: u64) -> u64 {
    let page = (DATA + if level == 0 { offset & !0xfff } else { 0 }) & !((0x1000 << (9 * level)) - 1);
    let mut entry = page >> 2 | pte::V | pte::A | pte::D;
    entry |= rng.pick(&[
        pte::R | pte::W | pte::X,
        pte::R | pte::W | pte::X,
        pte::R | pte::W,
        pte::R,
        pte::X,
        pte::R | pte::X,
        pte::W,
        pte::W | pte::X,
        0,
    ]);
    entry |= if user ^ rng.one_in(5) { pte::U } else { 0 };
    entry |= rng.bits() & (pte::G | pte::RSW);
    if rng.one_in(2) {
        entry ^= rng.pick(&[pte::A, pte::D, pte::A | pte::D]);
    }
    if rng.one_in(12) {
        entry ^= pte::V;
    }
    if rng.one_in(5) {
        entry |= rng.bits() & pte::PBMT;
    }
    if rng.one_in(8) {
        entry |= 1 << (54 + rng.below(7));
    }
    if isa.has(Ext::Svnapot) && rng.one_in(4) {
        // Of 64 KiB, or of a reserved size.
        let low = if rng.one_in(4) { rng.below(16) } else { pte::NAPOT_64K };
        entry = entry & !(pte::NAPOT_64K_BITS << pte::PPN_SHIFT) | pte::N | low << pte::PPN_SHIFT;
    } else if level > 0 && rng.one_in(6) {
        // Misaligned.
        entry ^= 1 << (u64::from(pte::PPN_SHIFT) + rng.below(9 * level));
    } else if rng.one_in(20) {
        // Nothing is there.
        entry ^= 1 << 42;
    }
    entry
}

/// One access at x10, and its natural alignment.
fn access(rng: &mut Rng) -> (Vec<Word>, u64) {
    match rng.below(16) {
        0..5 => {
            let (op, size) = rng.pick(&[(Lb, 1), (Lhu, 2), (Lw, 4), (Ld, 8), (Fld, 8)]);
            (vec![imm(op, 5, 10, 0)], size)
        }
        5..9 => {
            let (op, size) = rng.pick(&[(Sb, 1), (Sh, 2), (Sw, 4), (Sd, 8)]);
            (vec![store(op, 11, 10, 0)], size)
        }
        9..12 => (vec![imm(Jalr, 5, 10, 0)], 2),
        12 => {
            let (op, size) = rng.pick(&[(AmoswapW, 4), (AmoswapD, 8), (AmoorW, 4), (AmoaddD, 8)]);
            (vec![reg(op, 5, 10, 11)], size)
        }
        13 => (vec![reg(LrD, 5, 10, 0)], 8),
        // A pair that succeeds.
        14 => (vec![reg(LrW, 5, 10, 0), reg(ScW, 6, 10, 11)], 4),
        _ => (vec![reg(rng.pick(&[CboZero, CboClean, CboFlush, CboInval]), 0, 10, 0)], 1),
    }
}

/// Whether the access may be misaligned. Of a store some bytes could be written although others are not.
fn misaligned(body: &[Word]) -> bool {
    matches!(body.last(), Some(word) if word.raw & 0x7b == 3)
}

static KNOWN: &[Known] = &[
    Known {
        what: "an AMO that may not store sets the accessed bit before it faults",
        spec: "privileged, \"Addressing and Memory Protection\": the A bit may also be set as a result of speculation, even \
               if the access ultimately is not performed architecturally",
        applies: known::qemu,
        forgive: |step, ours, theirs| {
            if known::has_word(&step.body, 0x7f, 0x2f) && *theirs.memory() == *ours.memory() | pte::A {
                *theirs.memory() = *ours.memory();
            }
        },
    },
    Known {
        what: "the accessed and dirty bits of a reserved Svnapot entry are set before it faults",
        spec: "privileged, \"Virtual Address Translation Process\": reserved encodings raise a page fault in step 3, the bits are \
               set in step 9",
        applies: known::qemu,
        forgive: |_, ours, theirs| {
            if *ours.memory() & pte::N != 0 && (*ours.memory() ^ *theirs.memory()) & !(pte::A | pte::D) == 0 {
                *theirs.memory() = *ours.memory();
            }
        },
    },
];
