//! Random loops between random changes of everything that decides what an address means: tables of both stages, `satp`,
//! `vsatp` and `hgatp`, SUM, MXR and MPRV, PMP, pointer masking, the environment's options, triggers.
//!
//! What an access shall do is said by the interpreter without a TLB (`tlb_entries: 0`): it walks the tables for each.
//! All other modes have to do the same, whatever they remember of translations. The program keeps the rules: it fences
//! what the specification wants fenced, and no more.
//!
//! A program runs in M-mode. It calls loops in all modes, or in M-mode with the data of another; each ends by an illegal
//! instruction. The handler notes every trap, and skips loads and stores that do not work.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::csr::{envcfg, mcontrol6, mstatus};
use arch::pte::{A, D, G, N, R, U, V, W, X};
use guest::*;

const HANDLER: u64 = RAM + 0x8000;
/// Loops, [`LOOP`] bytes each.
const LOOPS: u64 = RAM + 0x7_0000;
const LOOP: u64 = 0x80;
const LOOP_COUNT: u64 = 10;
/// What the handler knows, and what it writes down.
const NOTES: u64 = RAM + 0x8_0000;
const LOG: u64 = RAM + 0x10_0000;
const LOG_SIZE: usize = 1 << 20;
const TABLES: u64 = RAM + 0x20_0000;
const TABLES_SIZE: usize = 0x1_0000;
/// Two address spaces of three tables each, and the second stage with a root of four pages.
const ROOTS: [u64; 2] = [TABLES, TABLES + 0x3000];
const G_ROOT: u64 = TABLES + 0x8000;
const G_MIDDLE: u64 = TABLES + 0xc000;
const G_LEAVES: u64 = TABLES + 0xd000;
/// Two for each page.
const FRAMES: u64 = RAM + 0x40_0000;
const FRAMES_SIZE: usize = 0x2_0000;
const LARGE: u64 = RAM + 0x80_0000;
const LARGE_SIZE: usize = 0x4_0000;

const VA: u64 = 0x4000_0000;
const PAGES: u64 = 16;
const LARGE_VA: u64 = VA + 0x20_0000;
/// The loops for S-mode, and for U-mode.
const CODE_VA: [u64; 2] = [VA + 0x40_0000, VA + 0x40_1000];
/// Pages that are the same in both spaces, since they may be global.
const GLOBAL: u64 = 14;

const SATP: u16 = 0x180;
const SENVCFG: u16 = 0x10a;
const VSSTATUS: u16 = 0x200;
const VSATP: u16 = 0x280;
const MSTATUS: u16 = 0x300;
const MENVCFG: u16 = 0x30a;
const MSCRATCH: u16 = 0x340;
const MEPC: u16 = 0x341;
const MCAUSE: u16 = 0x342;
const PMPCFG0: u16 = 0x3a0;
const PMPADDR0: u16 = 0x3b0;
const HSTATUS: u16 = 0x600;
const HENVCFG: u16 = 0x60a;
const HGATP: u16 = 0x680;
const MSECCFG: u16 = 0x747;
const TDATA1: u16 = 0x7a1;
const TDATA2: u16 = 0x7a2;
/// What is noted of a trap: cause, value, pc, both other values, the status, instructions so far.
const NOTED: [u16; 7] = [0x342, 0x343, 0x341, 0x34b, 0x34a, 0x300, 0xb02];

/// Illegal: writes a counter that is read only.
const UNIMP: u32 = 0xc000_1073;
/// Counts the rounds of the program; the handler and the loops leave it alone.
const ROUNDS: u8 = 9;
const BACK: u8 = 30;
const COUNT: u8 = 14;
const POINTERS: [u8; 2] = [12, 13];
const STRIDES: [u8; 2] = [15, 16];

fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.below(list.len() as u64) as usize]
}

fn handler() -> Asm {
    const BASE: u8 = 31;
    let mut a = Asm::at(HANDLER);
    a.csrrw(BASE, MSCRATCH, BASE);
    (5..9).for_each(|r| {
        a.s(Op::Sd, r, BASE, 8 * i32::from(r));
    });
    // The place in the log goes round.
    a.i(Op::Ld, 6, BASE, 128).i(Op::Ld, 7, BASE, 136).r(Op::Add, 7, 7, 6);
    a.i(Op::Addi, 6, 6, 64).i(Op::Slli, 6, 6, 44).i(Op::Srli, 6, 6, 44).s(Op::Sd, 6, BASE, 128);
    for (csr, at) in NOTED.into_iter().zip((0..).step_by(8)) {
        a.csrr(5, csr).s(Op::Sd, 5, 7, at);
    }
    let restore = |a: &mut Asm| {
        (5..9).for_each(|r| {
            a.i(Op::Ld, r, BASE, 8 * i32::from(r));
        });
        a.csrrw(BASE, MSCRATCH, BASE).plain(Op::Mret);
    };
    let data_causes = [3, 4, 5, 6, 7, 13, 15, 21, 23].into_iter().fold(0, |set, cause| set | 1 << cause);
    a.csrr(5, MCAUSE).li(6, data_causes).r(Op::Srl, 6, 6, 5).i(Op::Andi, 6, 6, 1);
    let skip = a.forward(Op::Bne, 6, 0);
    a.csrw(MEPC, BACK).li(5, mstatus::MPP).csrs(MSTATUS, 5).li(5, mstatus::MPV).csrc(MSTATUS, 5);
    restore(&mut a);
    a.bind(skip).csrr(5, MEPC).i(Op::Addi, 5, 5, 4).csrw(MEPC, 5);
    restore(&mut a);
    a
}

/// Loads, stores and atomics by two pointers, which go on by their strides.
fn random_loop(rng: &mut Rng, at: u64) -> Asm {
    const LOADS: [Op; 8] = [Op::Lb, Op::Lhu, Op::Lw, Op::Lwu, Op::Ld, Op::Ld, Op::Ld, Op::Lbu];
    const STORES: [Op; 4] = [Op::Sb, Op::Sh, Op::Sw, Op::Sd];
    let mut a = Asm::at(at);
    for _ in 0..1 + rng.below(7) {
        let pointer = pick(rng, &POINTERS);
        let (value, offset) = (pick(rng, &[10, 11, 17, 0]), pick(rng, &[0, 8, 8, -8, 64, 0, 2040, 3]));
        match rng.below(10) {
            0..=3 => a.i(pick(rng, &LOADS), value, pointer, offset),
            4..=5 => a.s(pick(rng, &STORES), value, pointer, offset),
            6 => a.amo(pick(rng, &[Op::AmoaddD, Op::AmoorW, Op::AmoswapD]), value, 11, pointer, 0),
            7 => a.r(Op::Add, 10, 10, 11),
            _ => a.r(Op::Add, pointer, pointer, pick(rng, &STRIDES)),
        };
    }
    a.i(Op::Xori, 11, 11, 0x155).r(Op::Add, 10, 10, 17);
    a.i(Op::Addi, COUNT, COUNT, -1).b(Op::Bne, COUNT, 0, at).word(UNIMP);
    assert!(a.code.len() as u64 <= LOOP);
    a
}

/// The address spaces of one stage's numbers: which tables a number stands for, and which numbers were fenced since the
/// tables changed.
#[derive(Clone, Copy)]
struct Asids {
    /// By number: the space, if there is one.
    space: [Option<usize>; 4],
}

struct Maker<'a> {
    rng: &'a mut Rng,
    a: Asm,
    host: Asids,
    guest: Asids,
    /// The current number of the virtual machine, and the numbers that need a fence before they are used.
    vmid: usize,
    stale: [bool; 2],
    /// The page that was changed last.
    changed: u64,
    last: Call,
}

/// A loop, what it is about, and its mode: M-mode with the data of another is `machine`.
#[derive(Clone, Copy, Default)]
struct Call {
    pointers: [u64; 2],
    strides: [u64; 2],
    count: u64,
    number: u64,
    user: bool,
    virt: bool,
    machine: bool,
}

/// Most programs are about few pages.
fn random_page(rng: &mut Rng) -> u64 {
    if rng.below(4) == 0 { rng.below(PAGES) } else { pick(rng, &[0, 3, 8, 9, 14]) }
}

/// The number of a page in the window of small ones, near enough.
fn page_at(va: u64) -> u64 {
    (va >> 12) % PAGES
}

fn leaf_slot(space: usize, page: u64) -> u64 {
    ROOTS[space] + 0x2000 + 8 * page
}

fn large_slot(space: usize) -> u64 {
    ROOTS[space] + 0x1000 + 8
}

fn frame(page: u64, other: bool) -> u64 {
    FRAMES + 0x1_0000 * u64::from(other) + (page << 12)
}

fn satp(space: usize, asid: u64) -> u64 {
    8 << 60 | asid << 44 | ROOTS[space] >> 12
}

fn hgatp(vmid: usize) -> u64 {
    8 << 60 | (vmid as u64) << 44 | G_ROOT >> 12
}

impl Maker<'_> {
    fn set(&mut self, csr: u16, v: u64) {
        self.a.li(5, v).csrw(csr, 5);
    }

    /// Bits of a CSR.
    fn put(&mut self, csr: u16, mask: u64, v: u64) {
        self.a.li(5, mask).csrc(csr, 5).li(5, v & mask).csrs(csr, 5);
    }

    fn store(&mut self, at: u64, v: u64) {
        self.a.li(5, at).li(6, v).s(Op::Sd, 6, 5, 0);
    }

    fn fence(&mut self, op: Op, rs1: u8, rs2: u8) {
        self.a.r(op, 0, rs1, rs2);
    }

    /// Forgets all of both stages in every virtual machine.
    fn fence_all(&mut self) {
        self.fence(Op::SfenceVma, 0, 0);
        self.fence(Op::HfenceGvma, 0, 0);
        for vmid in [1 - self.vmid, self.vmid] {
            self.set(HGATP, hgatp(vmid));
            self.fence(Op::HfenceVvma, 0, 0);
        }
        self.stale = [false; 2];
    }

    /// After entries of `space` changed that translate `va`; `one`: it is one entry.
    fn fence_tables(&mut self, space: Option<usize>, va: u64, one: bool) {
        for (op, asids) in [(Op::SfenceVma, self.host), (Op::HfenceVvma, self.guest)] {
            let numbers: Vec<u64> =
                (0..4).filter(|&i| asids.space[i as usize].is_some_and(|s| Some(s) == space)).collect();
            self.a.li(5, va);
            let page = if one && self.rng.below(4) != 0 { 5 } else { 0 };
            // What is global is not a matter of numbers.
            if space.is_none() || self.rng.below(2) == 0 {
                self.fence(op, page, 0);
            } else {
                for number in numbers {
                    self.a.li(6, number);
                    self.fence(op, page, 6);
                }
            }
        }
        self.stale[1 - self.vmid] = true;
    }

    fn entry(&mut self, page: u64) -> u64 {
        let rng = &mut *self.rng;
        let flags = pick(rng, &[R | W, R | W, R | W, R | W, R | W, R | W, R | W, R, X, X, R | X]);
        let user = if rng.below(3) != 0 { U } else { 0 };
        let used = pick(rng, &[A | D, A | D, A | D, A | D, A | D, A | D, A, 0, D]);
        let kind = if rng.below(12) == 0 { pick(rng, &[1 << 61, 2 << 61, 3 << 61, 1 << 54]) } else { 0 };
        let global = if page >= GLOBAL { G } else { 0 };
        let to = match rng.below(12) {
            0 => ROM,
            1 => return 0,
            n => frame(page, n & 1 != 0),
        };
        leaf(to, flags | user | used | global) | kind
    }

    /// As likely as not one that the last loop was about.
    fn page_to_change(&mut self) -> u64 {
        match self.rng.below(4) {
            n @ 0..2 => page_at(self.last.pointers[n as usize]),
            _ => random_page(self.rng),
        }
    }

    fn change_tables(&mut self) {
        let space = self.rng.below(2) as usize;
        match self.rng.below(10) {
            0 => {
                let flags = pick(self.rng, &[R | W, R | W, R]) | pick(self.rng, &[U, 0]) | pick(self.rng, &[A, A | D]);
                self.store(large_slot(space), leaf(LARGE, flags));
                let at = LARGE_VA + (self.rng.below(512) << 12);
                self.fence_tables(Some(space), at, true);
            }
            1 => {
                // 64 KiB by one entry, sixteen times.
                let flags =
                    pick(self.rng, &[R | W, R | W, R]) | pick(self.rng, &[U, U, 0]) | pick(self.rng, &[A, A | D]);
                let entry = leaf(frame(8, self.rng.below(2) != 0), flags) | N;
                (0..GLOBAL).for_each(|page| self.store(leaf_slot(space, page), entry));
                (GLOBAL..PAGES).for_each(|page| (0..2).for_each(|s| self.store(leaf_slot(s, page), entry & !N)));
                self.fence_tables(None, VA, false);
            }
            _ => {
                let page = self.page_to_change();
                let entry = self.entry(page);
                self.changed = VA + (page << 12);
                if page >= GLOBAL {
                    (0..2).for_each(|s| self.store(leaf_slot(s, page), entry));
                    self.fence_tables(None, VA + (page << 12), true);
                } else {
                    self.store(leaf_slot(space, page), entry);
                    let at = VA + (page << 12) + 8 * self.rng.below(512);
                    self.fence_tables(Some(space), at, true);
                }
            }
        }
    }

    /// An entry of the second stage.
    fn change_second_stage(&mut self) {
        let (page, other) = (self.page_to_change(), self.rng.below(2) != 0);
        let from = frame(page, other);
        self.changed = VA + (page << 12);
        let flags = pick(self.rng, &[R | W, R | W, R, X]) | pick(self.rng, &[A | D, A | D, A, 0]) | U;
        let entry = match self.rng.below(6) {
            0 => 0,
            1 => leaf(from, flags & !U),
            n => leaf(frame(page, n & 1 != 0), flags),
        };
        self.store(G_LEAVES + 8 * (from >> 12 & 511), entry);
        match self.rng.below(3) {
            0 => self.fence(Op::HfenceGvma, 0, 0),
            1 => {
                self.a.li(5, from >> 2);
                self.fence(Op::HfenceGvma, 5, 0);
            }
            _ => {
                self.a.li(5, from >> 2).li(6, self.vmid as u64);
                self.fence(Op::HfenceGvma, 5, 6);
                self.stale[1 - self.vmid] = true;
            }
        }
    }

    /// Another address space, or none. A number that stood for other tables is fenced.
    fn change_space(&mut self) {
        let (csr, op, guest) = pick(self.rng, &[(SATP, Op::SfenceVma, false), (VSATP, Op::HfenceVvma, true)]);
        if self.rng.below(8) == 0 {
            return self.set(csr, 0);
        }
        let (space, asid) = (self.rng.below(2) as usize, self.rng.below(3));
        self.set(csr, satp(space, asid));
        let asids = if guest { &mut self.guest } else { &mut self.host };
        let before = asids.space[asid as usize].replace(space);
        if before.is_some_and(|before| before != space) {
            self.a.li(6, asid);
            self.fence(op, 0, 6);
            if guest {
                self.stale[1 - self.vmid] = true;
            }
        }
    }

    fn change_machine(&mut self) {
        if self.rng.below(6) == 0 {
            self.set(HGATP, 0);
            // Later fences shall be for a machine that is known.
            return;
        }
        self.vmid = self.rng.below(2) as usize;
        self.set(HGATP, hgatp(self.vmid));
        if std::mem::take(&mut self.stale[self.vmid]) {
            self.fence(Op::HfenceGvma, 0, 0);
            self.fence(Op::HfenceVvma, 0, 0);
        }
    }

    fn change_pmp(&mut self) {
        let page = self.page_to_change();
        let at = pick(self.rng, &[frame(page, false), frame(page, true), frame(page, true), LARGE + 0x1000]);
        // 8 bytes, a page, 64 KiB.
        let size = pick(self.rng, &[8u64, 4096, 0x1_0000]);
        let allowed = pick(self.rng, &[0, 1, 3, 7]);
        let kind = pick(self.rng, &[0, 0x18, 0x18]);
        self.set(PMPADDR0, at >> 2 | (size / 8 - 1));
        self.put(PMPCFG0, 0xff, kind | allowed);
        self.fence_all();
    }

    fn change_trigger(&mut self) {
        let at = match self.rng.below(3) {
            0 => LARGE_VA + 8 * self.rng.below(2048),
            1 => self.changed + 8 * self.rng.below(16),
            _ => VA + 8 * self.rng.below(PAGES * 512),
        };
        let what = pick(self.rng, &[mcontrol6::LOAD, mcontrol6::STORE, mcontrol6::LOAD | mcontrol6::STORE, 0]);
        let modes = mcontrol6::U | mcontrol6::S | mcontrol6::M | mcontrol6::VU | mcontrol6::VS;
        let how = pick(self.rng, &[mcontrol6::EQUAL, mcontrol6::EQUAL, mcontrol6::NAPOT]);
        self.set(TDATA1, 0);
        self.set(TDATA2, if how == mcontrol6::NAPOT { at | 0x7f } else { at });
        self.set(TDATA1, 6 << 60 | what | modes | how << mcontrol6::MATCH_SHIFT);
    }

    fn change_something(&mut self) {
        match self.rng.below(16) {
            0..=2 => self.change_tables(),
            3..=4 => self.change_second_stage(),
            5..=6 => self.change_space(),
            7 => self.change_machine(),
            8 => self.change_pmp(),
            9 => self.change_trigger(),
            10..=11 => {
                let csr = pick(self.rng, &[MSTATUS, MSTATUS, VSSTATUS]);
                let v = self.rng.next();
                self.put(csr, mstatus::SUM | mstatus::MXR, v);
            }
            12..=13 => {
                let csr = pick(self.rng, &[MENVCFG, SENVCFG, HENVCFG, MSECCFG]);
                let v = pick(self.rng, &[0, 2, 3]) << envcfg::PMM_SHIFT;
                self.put(csr, envcfg::PMM, v);
            }
            14 => {
                let (csr, v) = (pick(self.rng, &[MENVCFG, MENVCFG, HENVCFG]), self.rng.next());
                self.put(csr, envcfg::ADUE | envcfg::PBMTE, v);
                self.fence_all();
            }
            _ => match self.rng.below(4) {
                0 => drop(self.a.plain(Op::FenceI)),
                // Of loads and stores as a guest's.
                1 => {
                    let v = self.rng.next();
                    self.put(HSTATUS, 1 << 8, v);
                }
                _ => {
                    let (page, other) = (self.rng.below(PAGES), self.rng.below(2) != 0);
                    let (at, v) = (frame(page, other) + 8 * self.rng.below(512), self.rng.next());
                    self.store(at, v);
                }
            },
        }
    }

    fn pointer(&mut self) -> u64 {
        let rng = &mut *self.rng;
        let at = match rng.below(16) {
            0..=2 => LARGE_VA + 8 * rng.below(4096),
            3 => FRAMES + 8 * rng.below(8192),
            4 => LARGE + 8 * rng.below(4096),
            5 => VA + 8 * rng.below(PAGES * 512) + rng.below(8),
            6..=10 => self.changed + 8 * rng.below(512),
            _ => VA + (random_page(rng) << 12) + 8 * rng.below(512),
        };
        match rng.below(8) {
            0 => at | rng.next() << 57,
            1 => at | rng.next() << 48,
            _ => at,
        }
    }

    fn random_call(&mut self) -> Call {
        let strides = [8, 8, 0, 0x1000, 0x1008, -0x1000i64 as u64, 0x2000];
        Call {
            pointers: [self.pointer(), self.pointer()],
            strides: STRIDES.map(|_| pick(self.rng, &strides)),
            count: 1 + self.rng.below(20),
            number: self.rng.below(LOOP_COUNT),
            user: self.rng.below(2) != 0,
            virt: self.rng.below(2) == 0,
            machine: self.rng.below(3) == 0,
        }
    }

    /// Runs a loop in some mode, mostly one that ran before.
    fn call(&mut self) {
        if self.rng.below(3) == 0 {
            self.last = self.random_call();
        }
        let Call { pointers, strides, count, number, user, virt, machine } = self.last;
        for (r, v) in POINTERS.into_iter().zip(pointers).chain(STRIDES.into_iter().zip(strides)) {
            self.a.li(r, v);
        }
        self.a.li(COUNT, count);
        let modes = mstatus::MPP | mstatus::MPV | mstatus::MPRV;
        let to = if user { 0 } else { 1 << 11 } | if virt { mstatus::MPV } else { 0 };
        self.put(MSTATUS, modes, to | if machine { mstatus::MPRV } else { 0 });
        let from = if machine { LOOPS } else { CODE_VA[usize::from(user)] };
        // Eight instructions an address, and the two behind.
        let back = self.a.here() + 4 * (8 + 8 + 2);
        self.a.li(BACK, back).li(5, from + number * LOOP);
        if machine {
            self.a.i(Op::Jalr, 0, 5, 0).nop();
        } else {
            self.a.csrw(MEPC, 5).plain(Op::Mret);
        }
        assert_eq!(self.a.here(), back);
        self.a.li(5, mstatus::MPRV).csrc(MSTATUS, 5);
    }
}

struct Program {
    main: Asm,
    loops: Vec<Asm>,
    frames: Vec<u8>,
    /// Of both spaces.
    entries: Vec<[u64; 2]>,
}

fn program(rng: &mut Rng) -> Program {
    let loops = (0..LOOP_COUNT).map(|n| random_loop(rng, LOOPS + n * LOOP)).collect();
    let frames = (0..FRAMES_SIZE / 8).flat_map(|_| rng.next().to_le_bytes()).collect();
    let none = Asids { space: [None; 4] };
    let mut maker = Maker {
        rng,
        a: Asm::at(CODE),
        host: none,
        guest: none,
        vmid: 0,
        stale: [false; 2],
        changed: VA,
        last: Call { pointers: [VA, LARGE_VA], count: 1, ..Call::default() },
    };
    let entries = (0..PAGES).map(|page| {
        let first = maker.entry(page);
        [first, if page < GLOBAL { maker.entry(page) } else { first }]
    });
    let entries = entries.collect();
    maker.a.i(Op::Addi, ROUNDS, 0, 3);
    let top = maker.a.here();
    maker.set(SATP, satp(0, 0));
    maker.set(VSATP, satp(1, 1));
    maker.fence_all();
    (maker.host.space[0], maker.guest.space[1]) = (Some(0), Some(1));
    for _ in 0..10 + maker.rng.below(30) {
        if maker.rng.below(3) == 0 {
            maker.call();
        }
        maker.change_something();
        maker.call();
    }
    let mut a = maker.a;
    a.i(Op::Addi, ROUNDS, ROUNDS, -1);
    let over = a.forward(Op::Beq, ROUNDS, 0);
    a.j(0, top).bind(over).csrr(30, 0xb02).li(5, END).s(Op::Sd, 0, 5, 0);
    let here = a.here();
    a.j(0, here);
    assert!(a.here() <= LOOPS, "the program is {} bytes long", a.code.len());
    Program { main: a, loops, frames, entries }
}

/// What is left: registers, the log, tables and data.
#[derive(PartialEq, Eq)]
struct End {
    state: HartState,
    log: Vec<u8>,
    memory: Vec<u8>,
}

fn run(g: &mut Guest, p: &Program) -> End {
    g.load(&handler());
    g.load(&p.main);
    p.loops.iter().for_each(|a| g.load(a));
    g.write(NOTES, &[0; 256]);
    g.write64(NOTES + 136, LOG);
    g.write(LOG, &vec![0; LOG_SIZE]);
    g.write(TABLES, &vec![0; TABLES_SIZE]);
    g.write(FRAMES, &p.frames);
    g.write(LARGE, &vec![0x5a; LARGE_SIZE]);
    for (space, root) in ROOTS.into_iter().enumerate() {
        g.write64(root + 8, (root + 0x1000) >> 2 | V);
        g.write64(root + 0x1000, (root + 0x2000) >> 2 | V);
        g.write64(large_slot(space), leaf(LARGE, R | W | A | D));
        // The code, by a table that both spaces share.
        g.write64(root + 0x1000 + 16, (TABLES + 0xe000) >> 2 | V);
        p.entries.iter().zip(0..).for_each(|(entry, page)| g.write64(leaf_slot(space, page), entry[space]));
    }
    g.write64(TABLES + 0xe000, leaf(LOOPS, R | X | A | D));
    g.write64(TABLES + 0xe008, leaf(LOOPS, R | X | U | A | D));
    g.write64(G_ROOT + 16, G_MIDDLE >> 2 | V);
    for n in 0..8 {
        g.write64(G_MIDDLE + 8 * n, leaf(RAM + (n << 21), RWX | U));
    }
    g.write64(G_MIDDLE + 16, G_LEAVES >> 2 | V);
    (0..512).for_each(|n| g.write64(G_LEAVES + 8 * n, leaf(FRAMES + (n << 12), RWX | U)));
    let mut s = g.machine(0, CODE, HANDLER);
    s.csr.mscratch = NOTES;
    // The second entry is for all that the first one is not for.
    (s.csr.pmp.cfg[0], s.csr.pmp.addr[0]) = (0, 0);
    (s.csr.pmp.cfg[1], s.csr.pmp.addr[1]) = (0x1f, u64::MAX >> 10);
    s.csr.menvcfg = envcfg::ADUE | envcfg::PBMTE;
    let mut end = g.run(&s);
    // When the kick is seen is not a matter of the program.
    (end.pc, end.csr.minstret, end.csr.mcycle) = (0, 0, 0);
    let memory = [(TABLES, TABLES_SIZE), (FRAMES, FRAMES_SIZE), (LARGE, LARGE_SIZE), (NOTES, 256)];
    End { state: end, log: g.read(LOG, LOG_SIZE), memory: memory.iter().flat_map(|&(at, n)| g.read(at, n)).collect() }
}

fn difference(want: &End, got: &End) -> String {
    let mut out = String::new();
    let records = want.log.chunks(64).zip(got.log.chunks(64)).enumerate();
    if let Some((n, (a, b))) = records.into_iter().find(|(_, (a, b))| a != b) {
        let words = |r: &[u8]| r.chunks(8).map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect::<Vec<_>>();
        out += &format!(
            "trap {n}: cause, value, pc, mtval2, mtinst, mstatus, minstret {:x?}\n    / {:x?}\n",
            words(a),
            words(b)
        );
    }
    for r in (0..32).filter(|&r| want.state.x[r] != got.state.x[r]) {
        out += &format!("x{r}: {:#x} / {:#x}\n", want.state.x[r], got.state.x[r]);
    }
    if want.state.csr != got.state.csr {
        out += &format!("{:x?}\n    / {:x?}\n", want.state.csr, got.state.csr);
    }
    let at: Vec<usize> = (0..want.memory.len()).filter(|&i| want.memory[i] != got.memory[i]).take(8).collect();
    out + &format!("bytes of tables, frames, the large page and notes that differ: {at:x?}\n")
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 40 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn translations_are_those_of_their_time() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 40), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa_of_worlds();
    let guest = |options| Guest::with_isa(options, 1, isa.clone());
    let mut reference = guest(TcgOptions { jit: false, tlb_entries: 0, ..TcgOptions::default() });
    let mut others: Vec<_> = modes().into_iter().map(|(name, options)| (name, guest(options))).collect();
    let (mut traps, mut moved) = (0, 0);
    for seed in first..first + rounds {
        let p = program(&mut Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let want = run(&mut reference, &p);
        traps += want.log.chunks(64).filter(|r| r[0] != 0).count() as u64;
        moved += want.state.x[30];
        for (name, g) in &mut others {
            let got = run(g, &p);
            assert!(got == want, "{name}, seed {seed}: {}", difference(&want, &got));
        }
    }
    assert!(traps > 100 * rounds, "{} traps a program", traps / rounds);
    assert!(moved > 10_000 * rounds, "{} instructions a program", moved / rounds);
}
