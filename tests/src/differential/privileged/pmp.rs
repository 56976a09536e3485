//! Physical memory protection and Smepmp: random rules over a few pages, accesses near their borders from all modes,
//! with and without tables that lie among those pages.
//!
//! The first entries keep M-mode's own areas and the code of other modes usable whatever `mseccfg` says. MML and MMWP
//! stay set until reset, so each program has its own; with RLB the rules that lock can be changed again.

use arch::csr::{self, mseccfg, mstatus, pmpcfg, satp};
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;
use arch::pte;

use super::leaves::trapping;
use super::program::{BODIES, BODIES_SIZE, MACHINE_CODE, MACHINE_CODE_SIZE, MACHINE_DATA, MACHINE_DATA_SIZE, TEST};
use super::{Known, Level, Program, Setup, Step, Theme};
use crate::differential::asm::{Word, imm, reg, store, word};
use crate::differential::rng::Rng;

pub static THEME: Theme = Theme { name: "pmp", isa, program, known: KNOWN, not_in_qemu: &[], left_out: |_| None };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig::default();
    isa.exts.insert(Ext::Smepmp);
    isa
}

/// Entries that are the frame's.
const OWN: usize = 5;
const ENTRIES: usize = 16;
const PAGES: u64 = 8;
/// Tables behind the pages.
const ROOT: u64 = TEST + PAGES * 0x1000;
const MIDDLE: u64 = ROOT + 0x1000;
const LAST: u64 = ROOT + 0x2000;
const END: u64 = ROOT + 0x3000;
/// Virtual addresses of the pages for S-mode, and for U-mode; and of the bodies for U-mode.
const VIRTUAL: u64 = 0x1_0000_0000;
const VIRTUAL_USER: u64 = VIRTUAL + PAGES * 0x1000;
const USER_ALIAS: u64 = 0x4000_0000;

const STEPS: usize = 300;

fn napot(at: u64, size: u64) -> u64 {
    at >> 2 | (size / 8 - 1)
}

fn program(_: &IsaConfig, rng: &mut Rng) -> Program {
    let bits = rng.below(8);
    let policy = bits & (mseccfg::MML | mseccfg::MMWP);
    // Rules that lock stay without RLB: such programs soon have only locked entries.
    let bypass = if rng.one_in(4) { 0 } else { mseccfg::RLB };
    let locked = policy & mseccfg::MML != 0;
    let lock = |cfg: u8| if locked || policy & mseccfg::MMWP != 0 { cfg | pmpcfg::L } else { cfg };
    let napot_mode = pmpcfg::NAPOT << pmpcfg::A_SHIFT;
    let own = [
        (napot(MACHINE_CODE, MACHINE_CODE_SIZE), lock(pmpcfg::R | pmpcfg::X | napot_mode)),
        (napot(MACHINE_DATA, MACHINE_DATA_SIZE), lock(pmpcfg::R | pmpcfg::W | napot_mode)),
        (napot(0, 1 << 31), lock(pmpcfg::R | pmpcfg::W | napot_mode)),
        // Bodies can be executed by the lower modes, and read.
        (napot(BODIES, BODIES_SIZE), pmpcfg::R | pmpcfg::X | napot_mode),
        // M-mode writes entries of the tables before a step: with MML no rule lets it and the others.
        (0, 0),
    ];
    let mut start = Vec::new();
    for (i, (addr, _)) in own.iter().enumerate() {
        start.push(Setup::Csr(csr::PMPADDR0 + i as u16, *addr));
    }
    let cfg = own.iter().enumerate().fold(0, |all, (i, (_, cfg))| all | u64::from(*cfg) << (i * 8));
    start.push(Setup::Csr(csr::MSECCFG, mseccfg::RLB));
    start.push(Setup::Csr(csr::PMPCFG0, cfg));
    start.push(Setup::Csr(csr::MSECCFG, policy | mseccfg::RLB));
    let steps = (0..if bypass == 0 { STEPS / 4 } else { STEPS }).map(|i| step(rng, cfg, bypass, policy, i == 0));
    let steps = steps.collect();
    let mut read = vec![csr::MCAUSE, csr::MEPC, csr::MTVAL, csr::MSECCFG, csr::PMPCFG0, csr::PMPCFG2];
    read.extend(csr::PMPADDR0 + OWN as u16..csr::PMPADDR0 + ENTRIES as u16);
    Program { start, steps, read, memory: memory(rng) }
}

/// Pages of words that trap wherever one jumps, and the tables.
fn memory(rng: &mut Rng) -> Vec<(u64, u64)> {
    let leaf = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;
    let mut all: Vec<_> = (0..PAGES * 0x1000 / 8).map(|i| (TEST + i * 8, trapping(rng))).collect();
    all.extend([
        (ROOT + 8, 0x8000_0000 >> 2 | leaf | pte::U),
        (ROOT + 8 * 2, 0x8000_0000 >> 2 | leaf),
        (ROOT + 8 * 4, MIDDLE >> 2 | pte::V),
        (MIDDLE, LAST >> 2 | pte::V),
    ]);
    for i in 0..2 * PAGES {
        let user = if i >= PAGES { pte::U } else { 0 };
        let used = if rng.one_in(3) { rng.bits() & (pte::A | pte::D) } else { pte::A | pte::D };
        let perms = rng.pick(&[pte::R | pte::W | pte::X, pte::R | pte::W | pte::X, pte::R | pte::W, pte::R, pte::X]);
        all.push((LAST + 8 * i, (TEST + (i % PAGES) * 0x1000) >> 2 | pte::V | perms | used | user));
    }
    all
}

/// A rule over some of the pages: address and configuration.
fn rule(rng: &mut Rng, policy: u64) -> (u64, u8) {
    let at = match rng.below(4) {
        // The tables, and entries of the last of them.
        0 => ROOT + rng.below(3) * 0x1000 + if rng.one_in(2) { rng.below(512) * 8 } else { 0 },
        1 => LAST + rng.below(2 * PAGES) * 8,
        _ => TEST + (rng.below(END - TEST) & !3),
    };
    let size = match rng.below(4) {
        0 => 8,
        1 => 8 << rng.below(4),
        2 => 0x1000,
        _ => 8 << rng.below(13),
    };
    let mode = rng.pick(&[pmpcfg::OFF, pmpcfg::TOR, pmpcfg::NA4, pmpcfg::NAPOT, pmpcfg::NAPOT, pmpcfg::NAPOT]);
    let addr = match mode {
        pmpcfg::NAPOT => napot(at & !(size - 1), size),
        _ => at >> 2,
    };
    let perms = if rng.one_in(4) { 7 } else { rng.below(8) as u8 };
    // Write without read is reserved without MML, and QEMU keeps it.
    let reserved = policy & mseccfg::MML == 0 && perms & 3 == pmpcfg::W;
    let perms = if reserved { perms & !pmpcfg::W } else { perms };
    let lock = if rng.one_in(3) { pmpcfg::L } else { 0 };
    (addr, perms | mode << pmpcfg::A_SHIFT | lock)
}

fn step(rng: &mut Rng, own: u64, bypass: u64, policy: u64, first: bool) -> Step {
    let mut setup = Vec::new();
    let mut near = Vec::new();
    if first || !rng.one_in(4) {
        let mut cfgs = [0u8; ENTRIES];
        cfgs[..8].copy_from_slice(&own.to_le_bytes());
        let used = OWN + rng.below((ENTRIES - OWN + 1) as u64) as usize;
        for (i, cfg) in cfgs.iter_mut().enumerate().take(used).skip(OWN) {
            let (addr, flags) = rule(rng, policy);
            setup.push(Setup::Csr(csr::PMPADDR0 + i as u16, addr));
            *cfg = flags;
            near.push(addr << 2 & !0xfff | (addr << 2 & 0xfff & !7));
        }
        if !rng.one_in(3) {
            // All for everybody who has no rule before, in the end.
            let last = ENTRIES - 1;
            setup.push(Setup::Csr(csr::PMPADDR0 + last as u16, pmpcfg::ADDR));
            cfgs[last] = rng.pick(&[0x1f, 0x1f, 0x1b, 0x9f, 0x19]);
        }
        let word = |i: usize| u64::from_le_bytes(cfgs[i..i + 8].try_into().expect("8 bytes"));
        setup.push(Setup::Csr(csr::PMPCFG0, word(0)));
        setup.push(Setup::Csr(csr::PMPCFG2, word(8)));
    }
    if bypass == 0 || rng.one_in(8) {
        setup.push(Setup::Csr(csr::MSECCFG, policy & rng.bits() | bypass));
    }
    setup.push(Setup::Csr(csr::MENVCFG, if rng.one_in(2) { csr::envcfg::ADUE } else { 0 } | csr::envcfg::CBZE));
    let level = rng.pick(&[Level::M, Level::M, Level::S, Level::S, Level::U]);
    let borrowed = level == Level::M && rng.one_in(2);
    let translated = rng.one_in(2);
    setup.push(Setup::Csr(csr::SATP, if translated { satp::SV39 << satp::MODE_SHIFT | ROOT >> 12 } else { 0 }));
    let user = level == Level::U || borrowed && rng.one_in(2);
    let (mut body, x13) = if borrowed {
        let mode = if user { 0 } else { 1 << mstatus::MPP_SHIFT };
        (vec![word(Csrrs, 0, 13, 0, csr::MSTATUS.into())], mstatus::MPRV | mode)
    } else {
        (Vec::new(), 0)
    };
    let (access, size) = access(rng);
    body.extend(access);
    let physical = match near.is_empty() || rng.one_in(3) {
        true => TEST + rng.below(END - TEST),
        false => rng.pick(&near).wrapping_add(rng.below(24)).wrapping_sub(8),
    };
    // Of a misaligned store some bytes may be written although others may not.
    let is_load = matches!(body.last(), Some(word) if word.raw & 0x7b == 3);
    let physical = if is_load && rng.one_in(3) { physical } else { physical & !(size - 1) };
    let address = if translated && (level != Level::M || borrowed) {
        (if user { VIRTUAL_USER } else { VIRTUAL }) + physical % (PAGES * 0x1000)
    } else {
        physical
    };
    let alias = if translated && level == Level::U { (USER_ALIAS).wrapping_sub(0x8000_0000) } else { 0 };
    let status = rng.bits() & (mstatus::SUM | mstatus::MXR) | mstatus::FS;
    Step { setup, level, mstatus: status, x: [address, trapping(rng), 1, x13], body, alias, peek: MACHINE_DATA }
}

/// One access at x10, and its natural alignment. No cache-block operations: they are unspecified where rules differ within
/// a block (unprivileged, "Zicboz").
fn access(rng: &mut Rng) -> (Vec<Word>, u64) {
    match rng.below(16) {
        0..4 => {
            let (op, size) = rng.pick(&[(Lb, 1), (Lhu, 2), (Lw, 4), (Ld, 8), (Fld, 8), (Flw, 4)]);
            (vec![imm(op, 5, 10, 0)], size)
        }
        4..8 => {
            let (op, size) = rng.pick(&[(Sb, 1), (Sh, 2), (Sw, 4), (Sd, 8)]);
            (vec![store(op, 11, 10, 0)], size)
        }
        8..13 => (vec![imm(Jalr, 5, 10, 0)], 2),
        13 => {
            let (op, size) = rng.pick(&[(AmoswapW, 4), (AmoswapD, 8), (AmoorW, 4)]);
            (vec![reg(op, 5, 10, 11)], size)
        }
        _ => (vec![reg(LrD, 5, 10, 0)], 8),
    }
}

static KNOWN: &[Known] = &[];
