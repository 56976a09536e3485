//! Programs for the hypervisor extension: single instructions in any mode, with random registers of the hypervisor and
//! random tables of both stages.
//!
//! A program is a list of steps. M-mode sets up the registers of a step, enters its mode by MRET or SRET, and there one
//! instruction and an ECALL stand. Whatever traps goes to M-mode, which writes what it finds: the trap, the result, and
//! all registers of the extension. Tables keep what earlier steps did to them, so that accessed and dirty bits are
//! compared too.

use arch::csr::{self, envcfg, hstatus, mstatus};
use arch::isa::{Op, Op::*};
use arch::pte;

use super::asm::{Code, csrr, csrw, imm, reg, store, word};
use super::guest::{RAM, power_off, set_handler, silence_timer};
use super::rng::Rng;

/// Registers set before each step; `mstatus` and `mepc` come last.
const SETUP: &[u16] = &[
    csr::MENVCFG,
    csr::HENVCFG,
    csr::SENVCFG,
    csr::MCOUNTEREN,
    csr::HCOUNTEREN,
    csr::SCOUNTEREN,
    csr::MEDELEG,
    csr::MIE,
    csr::HIDELEG,
    csr::HVIP,
    csr::HSTATUS,
    csr::VSSTATUS,
    csr::SATP,
    csr::VSATP,
    csr::HGATP,
    csr::STIMECMP,
    csr::VSTIMECMP,
    csr::PMPADDR0,
    csr::PMPCFG0,
];

/// Registers read after each step.
const READ: &[u16] = &[
    csr::MCAUSE,
    csr::MEPC,
    csr::MTVAL,
    csr::MTVAL2,
    csr::MTINST,
    csr::HSTATUS,
    csr::HEDELEG,
    csr::HIDELEG,
    csr::HIE,
    csr::HIP,
    csr::HVIP,
    csr::HGEIE,
    csr::HENVCFG,
    csr::HCOUNTEREN,
    csr::HTIMEDELTA,
    csr::HTVAL,
    csr::HTINST,
    csr::HGATP,
    csr::VSSTATUS,
    csr::VSIE,
    csr::VSIP,
    csr::VSTVEC,
    csr::VSSCRATCH,
    csr::VSEPC,
    csr::VSCAUSE,
    csr::VSTVAL,
    csr::VSATP,
    csr::MIDELEG,
    csr::MEDELEG,
    csr::MIE,
    csr::MIP,
    csr::SIE,
    csr::SIP,
    csr::SSTATUS,
    csr::SSCRATCH,
    csr::SENVCFG,
];

/// Words of a step: address, mstatus, x10, x11, whether the mode is M, then [`SETUP`].
const INPUT: usize = 5 + SETUP.len();
/// Words of a result: x5, mstatus, then [`READ`].
const RESULT: usize = 2 + READ.len();

pub const STEPS: usize = 400;

/// Bits of `hvip`: QEMU does not let M-mode write VSTIP while `menvcfg.STCE` is set.
const HVIP: u64 = 0x404;

/// Where the parts of the program are.
const INPUTS: u64 = RAM + 0x1_0000;
const RESULTS: u64 = INPUTS + (INPUT * 8 * STEPS) as u64;
const INSNS: u64 = RAM + 0x8_0000;
/// Root of the second stage (16 KiB), then its tables, then the guest's.
const TABLES: u64 = RAM + 0xa_0000;
const DATA: u64 = RAM + 0xc_0000;
const PAGES: u64 = 64;
pub const SIZE: usize = 0x10_0000;
/// Their virtual addresses. Nothing is there physically.
const PAGES_AT: u64 = 5 << 30;
/// Guest physical addresses of the pages, which random entries map.
const GUEST_PAGES: u64 = 0x1_0000_0000;
/// The page of these that is a table of the guest's.
const TABLE_PAGE: u64 = PAGES - 1;
/// VU-mode sees the code here.
const USER_CODE: u64 = 0x4000_0000;

/// One instruction in one mode.
#[derive(Debug, Clone)]
pub struct Step {
    pub op: Op,
    pub raw: u32,
    /// The CSR of a CSR instruction.
    pub csr: Option<u16>,
    pub mpp: u64,
    pub mpv: bool,
    x10: u64,
    x11: u64,
    mstatus: u64,
    setup: Vec<u64>,
}

/// A program as an image of RAM.
pub struct Program {
    pub steps: Vec<Step>,
    pub image: Vec<u8>,
}

/// What a step left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(pub Vec<u64>);

impl Seen {
    /// Of a register of [`READ`].
    pub fn csr(&mut self, number: u16) -> &mut u64 {
        let i = READ.iter().position(|n| *n == number).expect("it is read");
        &mut self.0[2 + i]
    }

    /// What differs, by name.
    pub fn difference(&self, other: &Self) -> String {
        let name = |i: usize| match i {
            0 => "x5".to_owned(),
            1 => "mstatus".to_owned(),
            _ => csr::by_number(READ[i - 2]).map_or_else(String::new, |row| row.name.to_owned()),
        };
        let differ = (0..RESULT).filter(|i| self.0[*i] != other.0[*i]);
        differ.map(|i| format!("{} {:#x} {:#x}", name(i), self.0[i], other.0[i])).collect::<Vec<_>>().join(", ")
    }
}

impl Program {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let steps: Vec<Step> = (0..STEPS).map(|_| step(&mut rng)).collect();
        let mut image = vec![0; SIZE];
        let mut put = |at: u64, bytes: &[u8]| {
            let at = (at - RAM) as usize;
            image[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(RAM, &code());
        for (i, step) in steps.iter().enumerate() {
            let at = INSNS + 8 * i as u64;
            put(at, &step.raw.to_le_bytes());
            put(at + 4, &word(Ecall, 0, 0, 0, 0).raw.to_le_bytes());
            let user = step.mpv && step.mpp == 0 && step.setup[13] != 0;
            let pc = if user { at + USER_CODE } else { at };
            let words = [pc, step.mstatus, step.x10, step.x11, u64::from(step.mpp == 3)];
            for (n, v) in words.iter().chain(&step.setup).enumerate() {
                put(INPUTS + ((i * INPUT + n) * 8) as u64, &v.to_le_bytes());
            }
        }
        for (at, v) in tables(&mut rng) {
            put(at, &v.to_le_bytes());
        }
        Self { steps, image }
    }

    pub fn seen(&self, memory: &[u8], step: usize) -> Seen {
        let at = (RESULTS - RAM) as usize + step * RESULT * 8;
        let words = memory[at..at + RESULT * 8].chunks_exact(8);
        Seen(words.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect())
    }

    /// Tables and data.
    pub fn memory<'a>(&self, memory: &'a [u8]) -> &'a [u8] {
        &memory[(TABLES - RAM) as usize..(DATA + PAGES * 0x1000 - RAM) as usize]
    }
}

/// Entries of all tables.
fn tables(rng: &mut Rng) -> Vec<(u64, u64)> {
    let leaf = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;
    let (g_mid, g_last, vs_root, vs_mid, vs_last) =
        (TABLES + 0x4000, TABLES + 0x5000, TABLES + 0x8000, TABLES + 0x9000, TABLES + 0xa000);
    let mut all = vec![
        // The second stage: RAM as it is, and the random pages.
        (TABLES + 8 * 2, RAM >> 2 | leaf | pte::U),
        (TABLES + 8 * 4, g_mid >> 2 | pte::V),
        (g_mid, g_last >> 2 | pte::V),
        // The first: pages at `PAGES_AT`, the same behind a table that is one of them, code for VS-mode and for VU-mode.
        (vs_root + 8 * 5, vs_mid >> 2 | pte::V),
        (vs_root + 8 * 6, (GUEST_PAGES + TABLE_PAGE * 0x1000) >> 2 | pte::V),
        (vs_root + 8 * 2, RAM >> 2 | leaf),
        (vs_root + 8 * 3, RAM >> 2 | leaf | pte::U),
        (vs_mid, vs_last >> 2 | pte::V),
        (DATA + TABLE_PAGE * 0x1000, vs_last >> 2 | pte::V),
    ];
    let mut flags = |user: bool| {
        let perms = rng.pick(&[pte::R, pte::R | pte::W, pte::R | pte::W | pte::X, pte::X, pte::R | pte::X, pte::W, 0]);
        let common = pte::R | pte::W | pte::X;
        let perms = if rng.one_in(3) { common } else { perms };
        let user = if rng.one_in(6) { !user } else { user };
        let valid = if rng.one_in(10) { 0 } else { pte::V };
        let used = if rng.one_in(3) { rng.bits() & (pte::A | pte::D) } else { pte::A | pte::D };
        perms | valid | used | if user { pte::U } else { 0 } | rng.bits() & pte::G
    };
    for i in 0..PAGES {
        // QEMU lets MXR help the guest's page tables; the specification: it is for explicit loads.
        let readable = if i == TABLE_PAGE { pte::R } else { 0 };
        all.push((g_last + 8 * i, (DATA + i * 0x1000) >> 2 | flags(true) | readable));
        let user = i % 2 == 0;
        // The table's own page is never a page of the guest's.
        all.push((vs_last + 8 * i, (GUEST_PAGES + (i * 7 % TABLE_PAGE) * 0x1000) >> 2 | flags(user)));
    }
    all
}

fn step(rng: &mut Rng) -> Step {
    let (mpp, mpv) = rng.pick(&[(3, false), (1, false), (1, false), (0, false), (1, true), (1, true), (0, true)]);
    let memory = rng.one_in(2);
    let mut setup = vec![0; SETUP.len()];
    let mut set = |n: u16, v: u64| setup[SETUP.iter().position(|c| *c == n).expect("it is set up")] = v;
    let gates = envcfg::STCE | envcfg::PBMTE | envcfg::ADUE;
    let cbo = |rng: &mut Rng| rng.pick(&[0, 0x10, 0x30, 0x40, 0x80, 0xd0, 0xf0]);
    set(csr::MENVCFG, rng.bits() & gates | cbo(rng));
    set(csr::HENVCFG, rng.bits() & gates | cbo(rng));
    set(csr::SENVCFG, cbo(rng));
    for n in [csr::MCOUNTEREN, csr::HCOUNTEREN, csr::SCOUNTEREN] {
        set(n, rng.below(8));
    }
    set(csr::STIMECMP, u64::MAX);
    set(csr::VSTIMECMP, u64::MAX);
    set(csr::PMPADDR0, csr::pmpcfg::ADDR);
    set(csr::PMPCFG0, 0x1f);
    set(csr::HIDELEG, rng.bits() & 0x444);
    let traps =
        [hstatus::VTSR, hstatus::VTW, hstatus::VTVM, hstatus::HU].map(|bit| if rng.one_in(3) { bit } else { 0 });
    let state = rng.bits() & (hstatus::SPVP | hstatus::GVA) | if mpv { hstatus::SPV } else { 0 };
    set(csr::HSTATUS, 2 << 32 | traps.iter().sum::<u64>() | state);
    set(csr::VSSTATUS, 2 << 32 | rng.bits() & (mstatus::SUM | mstatus::MXR | mstatus::SPP | mstatus::FS));
    let (vsatp, hgatp) = (8 << 60 | (TABLES + 0x8000) >> 12, 8 << 60 | TABLES >> 12);
    let translated = memory || rng.one_in(2);
    set(csr::VSATP, if translated && !rng.one_in(12) { vsatp | rng.below(3) << 44 } else { 0 });
    set(csr::HGATP, if translated && !rng.one_in(12) { hgatp | rng.below(3) << 44 } else { 0 });
    // Lower modes are entered by SRET: QEMU 10 does not let software write MPV.
    let mut status = 0xa << 32 | 3 << mstatus::MPP_SHIFT | if mpp == 1 { mstatus::SPP } else { 0 };
    status |= rng.bits() & (mstatus::MXR | mstatus::SUM | mstatus::FS);
    for bit in [mstatus::TVM, mstatus::TSR, mstatus::TW] {
        status |= if rng.one_in(6) { bit } else { 0 };
    }
    if memory {
        return access(rng, mpp, mpv, status, setup);
    }
    let (number, value) = register(rng, mpp, mpv);
    // An interrupt that the step itself enables would come at a moment that is not said.
    let enables = [csr::HIE, csr::VSIE, csr::MIE, csr::SIE, csr::HIDELEG, csr::HVIP, csr::HIP, csr::VSIP, csr::SIP];
    if mpp == 3 || !enables.contains(&number) {
        setup[SETUP.iter().position(|c| *c == csr::HVIP).expect("it is set up")] = rng.bits() & HVIP;
    }
    if !rng.one_in(6) {
        let op = rng.pick(&[Csrrw, Csrrw, Csrrs, Csrrc]);
        // Clearing single bits could leave reserved values.
        let partial = matches!(number, csr::HENVCFG | csr::SENVCFG | csr::HGATP | csr::VSATP | csr::SATP);
        let op = if partial { Csrrw } else { op };
        // The comparators go with a clock that runs on; QEMU lets writes of mip clear VSEIP, which is read-only.
        let clock = matches!(number, csr::STIMECMP | csr::VSTIMECMP);
        let op = if clock || number == csr::MIP { Csrrs } else { op };
        let source = if clock || rng.one_in(3) && !partial { 0 } else { 10 };
        let raw = word(op, 5, source, 0, number.into()).raw;
        return Step { op, raw, csr: Some(number), mpp, mpv, x10: value, x11: 0, mstatus: status, setup };
    }
    let op =
        rng.pick(&[HfenceVvma, HfenceGvma, HinvalVvma, HinvalGvma, SfenceVma, SinvalVma, CboClean, Mret, HlvB, HsvB]);
    // A return that is allowed would go anywhere.
    let op = if op == Mret && mpp == 3 { HfenceVvma } else { op };
    if matches!(op, HlvB | HsvB) {
        same_gates(&mut setup);
    }
    let rs1 = if matches!(op, CboClean | HlvB | HsvB) { 10 } else { rng.pick(&[0, 10]) };
    let raw = match op {
        Mret => word(op, 0, 0, 0, 0).raw,
        HlvB => word(op, 5, rs1, 0, 0).raw,
        CboClean => word(op, 0, rs1, 0, 0).raw,
        _ => word(op, 0, rs1, 11, 0).raw,
    };
    Step { op, raw, csr: None, mpp, mpv, x10: PAGES_AT + 0x3008, x11: 1, mstatus: status, setup }
}

/// A load or store at one of the random pages.
fn access(rng: &mut Rng, mpp: u64, mpv: bool, mut status: u64, setup: Vec<u64>) -> Step {
    let hyper = [HlvB, HlvBu, HlvH, HlvHu, HlvW, HlvWu, HlvD, HlvxHu, HlvxWu, HsvB, HsvH, HsvW, HsvD];
    // No AMOs: QEMU with one hart makes a load and a store of them, and translates twice.
    let plain = [Lb, Lhu, Lw, Ld, Sb, Sh, Sw, Sd, LrW];
    let op = if mpv || mpp == 3 && rng.one_in(2) { rng.pick(&plain) } else { rng.pick(&hyper) };
    if mpp == 3 && plain.contains(&op) {
        // As another mode, with the tables of the guest.
        return borrowed(rng, op, status, setup);
    }
    if !mpv && mpp == 1 {
        status &= !mstatus::SUM;
    }
    finish(rng, op, mpp, mpv, status, setup)
}

/// M-mode's loads and stores by MPRV: `mret` to M-mode keeps MPRV, but takes MPP and MPV away, so that there is nothing
/// to borrow from. They go through HLV in M-mode instead.
fn borrowed(rng: &mut Rng, _: Op, status: u64, setup: Vec<u64>) -> Step {
    let op = rng.pick(&[HlvD, HsvD, HlvxHu, HlvW]);
    finish(rng, op, 3, false, status, setup)
}

/// QEMU asks `menvcfg` alone for the accesses of HLV and HSV; the first stage is under `henvcfg`.
fn same_gates(setup: &mut [u64]) {
    let gates = envcfg::PBMTE | envcfg::ADUE;
    setup[1] = setup[1] & !gates | setup[0] & gates;
}

fn finish(rng: &mut Rng, op: Op, mpp: u64, mpv: bool, mstatus: u64, mut setup: Vec<u64>) -> Step {
    if !mpv {
        same_gates(&mut setup);
    }
    if matches!(op, HlvxHu | HlvxWu) {
        // For QEMU these are fetches, which SUM does not help; the specification: as other loads.
        setup[11] &= !mstatus::SUM;
    }
    let page = PAGES_AT + rng.below(PAGES) * 0x1000 + if rng.one_in(6) { 1 << 30 } else { 0 };
    let size = match op {
        Lb | Sb | HlvB | HlvBu | HsvB => 1,
        Lhu | Sh | HlvH | HlvHu | HlvxHu | HsvH => 2,
        Lw | Sw | HlvW | HlvWu | HlvxWu | HsvW | LrW => 4,
        _ => 8,
    };
    let offset = rng.below(0x1000 / size) * size;
    let x10 = page + offset;
    let raw = match op {
        Lb | Lhu | Lw | Ld => imm(op, 5, 10, 0).raw,
        Sb | Sh | Sw | Sd => store(op, 11, 10, 0).raw,
        LrW => word(op, 5, 10, 0, 0).raw,
        HsvB | HsvH | HsvW | HsvD => word(op, 0, 10, 11, 0).raw,
        _ => word(op, 5, 10, 0, 0).raw,
    };
    Step { op, raw, csr: None, mpp, mpv, x10, x11: rng.word(), mstatus, setup }
}

/// A register, and a value that is legal for it where QEMU keeps what it should not.
fn register(rng: &mut Rng, mpp: u64, mpv: bool) -> (u16, u64) {
    let v = if rng.one_in(3) { rng.integer() } else { rng.word() };
    let status =
        2 << 32 | v & (mstatus::SIE | mstatus::SPIE | mstatus::SPP | mstatus::SUM | mstatus::MXR | mstatus::FS);
    let address = |modes: &[u64], v: u64, rng: &mut Rng| rng.pick(modes) << 60 | v & 0x03ff_ffff_ffff_fffc;
    let (hgatp, vsatp) = (address(&[0, 8, 9, 10], v, rng), address(&[0, 8, 9, 10], v, rng));
    let cbie = rng.pick(&[0, 0x10, 0x30]);
    let machine = [
        (csr::MIDELEG, v & 0x222),
        (csr::MIE, v & 0x1666),
        // QEMU forgets STIP when STCE is set meanwhile.
        (csr::MIP, v & 6),
        (csr::MTVAL2, v),
        (csr::MTINST, v),
        (csr::SATP, vsatp),
    ];
    let all = [
        (csr::HSTATUS, 2 << 32 | v & 0x70_03c0),
        (csr::HEDELEG, v & 0xb1ff),
        (csr::HIDELEG, v & 0x444),
        (csr::HIE, v),
        (csr::HIP, v),
        (csr::HVIP, v & HVIP),
        (csr::HGEIE, v),
        (csr::HGEIP, v),
        (csr::HENVCFG, v & (0xc1 | 7 << 61) | cbie),
        (csr::HCOUNTEREN, v & 7),
        (csr::HTIMEDELTA, v),
        (csr::HTVAL, v),
        // WARL: QEMU keeps what traps write only.
        (csr::HTINST, 0),
        (csr::HGATP, hgatp),
        (csr::VSSTATUS, status),
        // QEMU takes bits 10, 6 and 2 of these as written, and the shifted ones besides.
        (csr::VSIE, v & 0x222),
        (csr::VSIP, v & 0x222),
        (csr::VSTVEC, v & !2),
        (csr::VSSCRATCH, v),
        (csr::VSEPC, v & !1),
        (csr::VSCAUSE, v),
        (csr::VSTVAL, v),
        (csr::VSATP, vsatp),
        (csr::VSTIMECMP, u64::MAX),
        (csr::STIMECMP, u64::MAX),
        (csr::SSTATUS, status),
        (csr::SIE, v & 0x222),
        (csr::SIP, v & 0x222),
        (csr::SSCRATCH, v),
        (csr::SENVCFG, v & 0xc1 | cbie),
        (csr::SCOUNTEREN, v & 7),
        (csr::TIME, v),
        (csr::CYCLE, v),
        (csr::INSTRET, v),
    ];
    if mpp == 3 && rng.one_in(4) {
        return rng.pick(&machine);
    }
    loop {
        let (number, v) = rng.pick(&all);
        // VS-mode would lose its own code.
        if !(mpv && number == csr::SATP) {
            return (number, v);
        }
    }
}

/// The code of M-mode. x31 is the step, x30 its result.
fn code() -> Vec<u8> {
    let mut c = Code::default();
    let (next, go) = (c.label(), c.label());
    set_handler(&mut c, |c| {
        c.push(csrr(1, csr::MSTATUS));
        c.push(store(Sd, 5, 30, 0));
        c.push(store(Sd, 1, 30, 8));
        for (i, number) in READ.iter().enumerate() {
            c.push(csrr(1, *number));
            c.push(store(Sd, 1, 30, (2 + i as i32) * 8));
        }
        c.push(imm(Addi, 30, 30, RESULT as i32 * 8));
        c.push(imm(Addi, 31, 31, INPUT as i32 * 8));
        c.branch(Jal, 0, 0, next);
    });
    silence_timer(&mut c, 5, 6);
    c.li(31, INPUTS);
    c.li(30, RESULTS);
    c.bind(next);
    c.li(1, INPUTS + (INPUT * 8 * STEPS) as u64);
    c.branch(Bne, 1, 31, go);
    power_off(&mut c);
    c.bind(go);
    for (i, number) in SETUP.iter().enumerate() {
        c.push(imm(Ld, 1, 31, (5 + i as i32) * 8));
        c.push(csrw(*number, 1));
    }
    for number in [csr::MCAUSE, csr::MTVAL, csr::MTVAL2, csr::MTINST] {
        c.push(csrw(number, 0));
    }
    c.push(imm(Ld, 1, 31, 0));
    c.push(csrw(csr::MEPC, 1));
    c.push(csrw(csr::SEPC, 1));
    c.push(reg(SfenceVma, 0, 0, 0));
    c.push(reg(HfenceGvma, 0, 0, 0));
    c.push(imm(Ld, 10, 31, 16));
    c.push(imm(Ld, 11, 31, 24));
    c.push(imm(Addi, 5, 0, 0));
    c.push(imm(Ld, 1, 31, 8));
    c.push(csrw(csr::MSTATUS, 1));
    c.push(imm(Ld, 1, 31, 32));
    let machine = c.label();
    c.branch(Bne, 1, 0, machine);
    c.push(word(Sret, 0, 0, 0, 0));
    c.bind(machine);
    c.push(word(Mret, 0, 0, 0, 0));
    let code = c.finish();
    assert!(code.len() < 0x1_0000, "the inputs begin behind the code");
    code
}
