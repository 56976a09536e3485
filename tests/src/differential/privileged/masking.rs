//! Pointer masking: accesses whose addresses have random upper bits, in all modes, with each of the fields that say how
//! many of them are ignored; translated and not, with MXR, and by MPRV and the hypervisor's loads and stores.

use arch::csr::{self, envcfg, hstatus, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};
use arch::isa::Op::*;
use arch::pte;

use super::leaves::{allow_all, trapping};
use super::program::TEST;
use super::{Known, Level, Program, Setup, Step, Theme, known};
use crate::differential::asm::{Word, imm, reg, store, word};
use crate::differential::reference::Reference;
use crate::differential::rng::Rng;

pub static THEME: Theme =
    Theme { name: "pointer masking", isa, program, known: KNOWN, not_in_qemu: &[Ext::Smmpm], left_out };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig { satp_mode: SatpMode::Sv57, ..IsaConfig::default() };
    for ext in [Ext::H, Ext::Smmpm, Ext::Smnpm, Ext::Ssnpm] {
        isa.exts.insert(ext);
    }
    isa
}

fn left_out(reference: &Reference) -> Option<&'static str> {
    let old = reference.qemu().is_some_and(|major| major < 11);
    old.then_some("QEMU 10 asks menvcfg for VS-mode too, and masks addresses of HLV and HSV by the page")
}

const STEPS: usize = 400;

const fn table(level: u64) -> u64 {
    TEST + level * 0x1000
}

const DATA: u64 = TEST + 0x1_0000;
/// Pages of S-mode from `WAY` on in the last table, and of U-mode behind them.
const PAGES: u64 = 4;
const WAY: u64 = 5;
const USER_ALIAS: u64 = 0x4000_0000;

fn program(isa: &IsaConfig, rng: &mut Rng) -> Program {
    let full = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;
    let mut memory: Vec<_> = (0..PAGES * 0x1000 / 8).map(|i| (DATA + i * 8, trapping(rng))).collect();
    memory.extend([(table(2) + 8, 0x8000_0000 >> 2 | full | pte::U), (table(2) + 16, 0x8000_0000 >> 2 | full)]);
    for level in 1..5 {
        // In both halves of the address space: the sign of an address may come from a bit that is masked.
        for way in [WAY, WAY + 256] {
            memory.push((table(level) + way * 8, table(level - 1) >> 2 | pte::V));
        }
        if level > 2 {
            memory.push((table(level), table(level - 1) >> 2 | pte::V));
        }
    }
    for i in 0..PAGES {
        let page = (DATA + i * 0x1000) >> 2;
        // MXR makes a difference to pages that can only be executed.
        let perms = if i == 0 { pte::X } else { pte::R | pte::W | pte::X };
        let leaf = page | pte::V | pte::A | pte::D | perms;
        memory.extend([(table(0) + (WAY + i) * 8, leaf), (table(0) + (WAY + PAGES + i) * 8, leaf | pte::U)]);
    }
    let steps = (0..STEPS).map(|_| step(isa, rng)).collect();
    let read = vec![csr::MCAUSE, csr::MEPC, csr::MTVAL, csr::MENVCFG, csr::SENVCFG, csr::HENVCFG, csr::HSTATUS];
    Program { start: allow_all(), steps, read, memory }
}

fn step(isa: &IsaConfig, rng: &mut Rng) -> Step {
    // The field's values but the reserved one.
    let pmm = |rng: &mut Rng| rng.pick(&[0, 2, 3]) << envcfg::PMM_SHIFT;
    let level = rng.pick(&[Level::M, Level::M, Level::S, Level::U, Level::VS, Level::VU]);
    let (mode, levels) = rng.pick(&[(0, 0), (satp::SV39, 3), (satp::SV48, 4), (satp::SV57, 5)]);
    let table = if mode == 0 { 0 } else { mode << satp::MODE_SHIFT | table(levels - 1) >> 12 };
    let spv = if level.is_virtual() { hstatus::SPV } else { 0 };
    let hypervisor = !level.is_virtual() && rng.one_in(4);
    let guest = level.is_virtual() || hypervisor;
    let blocks = envcfg::CBCFE;
    let mut setup = vec![
        Setup::Csr(csr::MENVCFG, blocks | pmm(rng)),
        Setup::Csr(csr::SENVCFG, blocks | pmm(rng)),
        Setup::Csr(csr::HENVCFG, blocks | pmm(rng)),
        Setup::Csr(
            csr::HSTATUS,
            2 << 32 | spv | hstatus::HU | rng.bits() & hstatus::SPVP | rng.pick(&[0, 2, 3]) << hstatus::HUPMM_SHIFT,
        ),
        Setup::Csr(csr::SATP, if guest { 0 } else { table }),
        Setup::Csr(csr::VSATP, if guest { table } else { 0 }),
        Setup::Csr(csr::HGATP, 0),
        Setup::Csr(csr::VSSTATUS, 2 << 32 | rng.bits() & (mstatus::MXR | mstatus::SUM)),
    ];
    let borrowed = level == Level::M && !hypervisor && rng.one_in(2);
    let user = match level {
        Level::U | Level::VU => true,
        Level::M => borrowed && rng.one_in(2),
        _ => false,
    };
    let (mut body, x13) = if borrowed {
        let mode = if user { 0 } else { 1 << mstatus::MPP_SHIFT };
        let mxr = rng.bits() & (mstatus::MXR | mstatus::SUM);
        (vec![word(Csrrs, 0, 13, 0, csr::MSTATUS.into())], mstatus::MPRV | mode | mxr)
    } else {
        (Vec::new(), 0)
    };
    body.push(if hypervisor { hypervisor_access(rng) } else { access(rng, borrowed) });
    let translated = mode != 0 && (level != Level::M || borrowed || hypervisor);
    let offset = rng.below(PAGES * 0x1000 / 8) * 8;
    let pages_of_user = if user ^ rng.one_in(4) { PAGES } else { 0 };
    let address = if translated {
        let way = (1..levels).fold((WAY + pages_of_user) << 12, |va, l| va | WAY << (12 + 9 * l));
        let bits = 12 + 9 * levels;
        let low = (way + offset) | if rng.one_in(2) { 1 << (bits - 1) } else { 0 };
        // Canonical.
        ((low << (64 - bits)) as i64 >> (64 - bits)) as u64
    } else {
        DATA + offset
    };
    if isa.has(Ext::Smmpm) {
        setup.push(Setup::Csr(csr::MSECCFG, pmm(rng)));
    }
    // What the step loads is not what another stored.
    let peek = DATA + offset;
    setup.push(Setup::Store(peek, trapping(rng)));
    let tag = match rng.below(4) {
        0 => 0,
        1 => rng.bits() & 0x7f << 57,
        2 => rng.bits() & 0xffff << 48,
        _ => 1 << (45 + rng.below(19)),
    };
    let alias =
        if mode != 0 && matches!(level, Level::U | Level::VU) { USER_ALIAS.wrapping_sub(0x8000_0000) } else { 0 };
    let status = rng.bits() & (mstatus::SUM | mstatus::MXR) | mstatus::FS;
    // A hypervisor's user has no alias: its own code is not translated.
    let alias = if hypervisor { 0 } else { alias };
    Step { setup, level, mstatus: status, x: [address ^ tag, trapping(rng), 1, x13], body, alias, peek }
}

fn access(rng: &mut Rng, borrowed: bool) -> Word {
    match rng.below(if borrowed { 9 } else { 10 }) {
        0..3 => imm(rng.pick(&[Lb, Lhu, Lw, Ld]), 5, 10, rng.pick(&[0, 0, 1])),
        3..5 => store(rng.pick(&[Sb, Sh, Sw, Sd]), 11, 10, 0),
        5 => reg(rng.pick(&[AmoaddD, AmoswapW]), 5, 10, 11),
        6 => reg(LrD, 5, 10, 0),
        7 => reg(CboClean, 0, 10, 0),
        8 => imm(Fld, 5, 10, 0),
        // Fetches are not masked.
        _ => imm(Jalr, 5, 10, 0),
    }
}

fn hypervisor_access(rng: &mut Rng) -> Word {
    match rng.pick(&[HlvD, HlvBu, HlvxWu, HsvD, HsvB]) {
        op @ (HsvD | HsvB) => word(op, 0, 10, 11, 0),
        op => word(op, 5, 10, 0, 0),
    }
}

/// Whether MXR is set, for M-mode's access with or without MPRV or for others.
fn readable(step: &Step) -> bool {
    let guest = step.setup.iter().any(|what| matches!(what, Setup::Csr(csr::VSSTATUS, v) if v & mstatus::MXR != 0));
    (step.mstatus | step.x[3]) & mstatus::MXR != 0 || guest
}

static KNOWN: &[Known] = &[
    Known {
        what: "MXR does not end pointer masking, or not that of mstatus for guests",
        spec: "\"Pointer Masking\": when MXR is in effect at the effective privilege mode where explicit memory access is \
               performed, pointer masking does not apply",
        applies: known::qemu,
        forgive: |step, ours, theirs| {
            if readable(step) {
                *theirs = ours.clone();
            }
        },
    },
    Known {
        what: "MXR does not end pointer masking of M-mode's own accesses",
        spec: "\"Pointer Masking\": this includes cases where page-based virtual memory is not in effect; M-mode translation \
               is treated as equivalent to Bare",
        applies: known::spike,
        forgive: |step, ours, theirs| {
            if readable(step) && step.level == Level::M && step.x[3] == 0 {
                *theirs = ours.clone();
            }
        },
    },
];
