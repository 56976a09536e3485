//! A virtual machine for tests: VS-stage and G-stage tables in RAM, and harts that end where a trap takes them.

use super::*;
use accel::Mode;
use arch::csr::{self, hstatus, mstatus};
use arch::pte::{U, V};

/// M-mode ends at [`STOP`]; HS-mode and VS-mode here.
pub const HS_STOP: u64 = RAM + 0x9000;
pub const VS_STOP: u64 = RAM + 0xa000;

pub fn isa() -> IsaConfig {
    arch::model::parse("rv64,h=on,svade=off").expect("a model with H")
}

/// A machine whose traps to M-mode and HS-mode end the program.
pub fn guest(options: TcgOptions) -> Guest {
    guest_of(options, isa())
}

/// As [`guest`], of another model.
pub fn guest_of(options: TcgOptions, isa: IsaConfig) -> Guest {
    let g = Guest::with_isa(options, 1, isa);
    g.stop_code(STOP);
    for (at, op) in [(HS_STOP, Op::Ecall), (VS_STOP, Op::Ecall)] {
        let mut a = Asm::at(at);
        // Vectored interrupts come in behind.
        (0..16).for_each(|_| {
            a.plain(op);
        });
        g.load(&a);
    }
    g
}

/// A hart at [`CODE`] in this mode, where M-mode gave away what it can.
pub fn start(g: &Guest, mode: Mode, virt: bool) -> HartState {
    let mut s = g.supervisor(0, CODE);
    (s.mode, s.virt) = (mode, virt);
    (s.csr.mtvec, s.csr.stvec, s.csr.vstvec) = (STOP, HS_STOP, VS_STOP);
    s.x[31] = END;
    s
}

/// Tables of a guest: VS-stage Sv39 and G-stage Sv39x4, both in RAM. Guest physical addresses begin at 0; code runs
/// at the same virtual address as its physical one, through guest physical `CODE - RAM`.
pub struct Stages {
    pub vs: Paging,
    pub g: Paging,
}

/// Guest physical 0 is here.
pub const GUEST_RAM: u64 = RAM;
pub const VA: u64 = 0x40_0000;
pub const PAGE_A: u64 = RAM + 0x20_0000;
pub const PAGE_B: u64 = RAM + 0x20_1000;

impl Stages {
    pub fn new(g: &Guest, root: u64) -> Self {
        // The root of the second stage takes four pages.
        g.write(root, &[0; 0x1_0000]);
        let mut stages = Self { g: Paging::new(root), vs: Paging::new(root + 0x8000) };
        stages.g = Paging { root, ..Paging::new(root + 0x3000) };
        for gpa in (0..0x40_0000).step_by(0x20_0000) {
            stages.g.map(g, gpa, GUEST_RAM + gpa, RWX | U, 1);
        }
        // The guest's own tables: entries hold guest physical addresses.
        let mut identity = |va: u64, gpa: u64, flags: u64| stages.vs_map(g, va, gpa, flags);
        for page in [CODE, VS_STOP] {
            identity(page, page - RAM, RWX);
        }
        stages.vs_map(g, VA, PAGE_A - RAM, RWX);
        stages
    }

    /// Maps one page of guest physical addresses below 4 MiB by an entry of its own, its neighbours as they were;
    /// returns the address of the entry.
    pub fn g_map(&mut self, g: &Guest, gpa: u64, pa: u64, flags: u64) -> u64 {
        let big = self.g.slot(g, gpa, 1);
        let entry = g.read64(big);
        if entry & RWX != 0 {
            let (table, start) = (self.g.slot_page(), arch::pte::ppn(entry) << 12);
            (0..512).for_each(|i| g.write64(table + 8 * i, leaf(start + 0x1000 * i, RWX | U)));
            g.write64(big, table >> 2 | V);
        }
        let slot = self.g.slot(g, gpa, 0);
        g.write64(slot, leaf(pa, flags));
        slot
    }

    /// As [`Paging::map`] of a small page, with guest physical addresses in the pointers.
    pub fn vs_map(&mut self, g: &Guest, va: u64, gpa: u64, flags: u64) -> u64 {
        let slot = self.vs_slot(g, va, 0);
        g.write64(slot, leaf(gpa, flags));
        slot
    }

    /// As [`Paging::slot`], with guest physical addresses in the pointers.
    pub fn vs_slot(&mut self, g: &Guest, va: u64, level: u32) -> u64 {
        let mut table = self.vs.root;
        for at in (level + 1..3).rev() {
            let slot = table + 8 * arch::pte::index(va, at);
            let entry = g.read64(slot);
            table = if entry & V != 0 {
                (arch::pte::ppn(entry) << 12) + GUEST_RAM
            } else {
                let new = self.vs.slot_page();
                g.write(new, &[0; 4096]);
                g.write64(slot, (new - GUEST_RAM) >> 2 | V);
                new
            };
        }
        table + 8 * arch::pte::index(va, level)
    }

    pub fn enter(&self, s: &mut HartState, asid: u64, vmid: u64) {
        s.csr.vsatp = 8 << 60 | asid << 44 | (self.vs.root - GUEST_RAM) >> 12;
        s.csr.hgatp = 8 << 60 | vmid << 44 | self.g.root >> 12;
    }
}

pub const TABLES: u64 = RAM + 0x30_0000;

/// A VS-mode hart in a fresh guest, about to run `program`.
pub fn in_guest(g: &Guest, program: impl Fn(&mut Asm)) -> (HartState, Stages) {
    let stages = Stages::new(g, TABLES);
    let mut a = Asm::at(CODE);
    program(&mut a);
    g.load(&a);
    let mut s = start(g, Mode::Supervisor, true);
    stages.enter(&mut s, 1, 1);
    (s, stages)
}

/// HS-mode enters VS-mode at [`CODE`] and goes on when an ECALL comes back. Uses x5.
pub fn visit_guest(a: &mut Asm) {
    a.li(5, hstatus::SPV).csrs(csr::HSTATUS, 5).li(5, mstatus::SPP).csrs(csr::SSTATUS, 5);
    let back = a.here() + 8 * 4 + 4 + 8 * 4 + 4 + 4;
    a.li(5, back).csrw(csr::STVEC, 5).li(5, CODE).csrw(csr::SEPC, 5).plain(Op::Sret);
    assert_eq!(a.here(), back);
}
