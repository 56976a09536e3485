//! Hand-written guests for tests of the translator: a small assembler, a machine of several harts with one
//! device that ends the program, and page tables.
//!
//! A program ends by a store to [`END`] (which kicks its hart) or by an S-mode `ecall`. The stop code at
//! [`Guest::stop_code`] reads `minstret` into x30 first, and takes the address of the device from x31.
#![allow(dead_code, reason = "each test uses its own part")]

pub mod hyper;
pub mod random;
pub mod setup;
pub mod world;
pub mod writes;

use std::sync::Arc;

use accel::tcg::{HostSimd, Tcg, TcgOptions, csr};
use accel::testing::Registers as _;
use accel::{Clock, GuestRam, HartState, Irqchip, Vcpu, VcpuExit, Vm};
use arch::ext::{Ext, ExtSet, IsaConfig};
pub use arch::isa::Op;
use arch::isa::{Operands, encode};
use setup::Setup;
use vm_memory::{Bytes, GuestAddress};

pub const RAM: u64 = 0x8000_0000;
pub const SIZE: usize = 16 << 20;
/// Where most programs begin, and where their traps go: to the stop code.
pub const CODE: u64 = RAM + 0x1_0000;
pub const STOP: u64 = RAM + 0x8000;
/// A store to `END + 8 * hart` ends that hart's program.
pub const END: u64 = 0x10_0000;
/// Reads as 16 bits of code, `nop`: a device to execute from.
pub const ROM: u64 = 0x20_0000;

/// What traps lead to: `csrr x31, sepc; addi x31, x31, 4; csrw sepc, x31; sret`.
pub const SKIP: [u32; 4] = [0x1410_2ff3, 0x004f_8f93, 0x141f_9073, 0x1020_0073];

/// Cause of an illegal instruction.
pub const ILLEGAL: u64 = 2;

/// SEW and LMUL in `vtype`; tails and masked elements undisturbed.
pub const E8: u64 = 0;
pub const E16: u64 = 1 << 3;
pub const E32: u64 = 2 << 3;
pub const E64: u64 = 3 << 3;
pub const M2: u64 = 1;
pub const M4: u64 = 2;
pub const M8: u64 = 3;
pub const MF2: u64 = 7;

/// The default harts with `exts` and what these need.
pub fn isa_with(exts: &[Ext]) -> IsaConfig {
    let isa = IsaConfig::default();
    IsaConfig { exts: isa.exts.union(&ExtSet::of(exts)).closure(), ..isa }
}

/// All that the program has but double traps.
pub fn isa_of_worlds() -> IsaConfig {
    let mut isa = arch::model::find("max").expect("a model that the program has").config();
    [Ext::Smdbltrp, Ext::Ssdbltrp].into_iter().for_each(|ext| isa.exts.remove(ext));
    isa
}

/// Every way to run, the interpreter included. Without a code generator the last ones are the first.
pub fn modes() -> Vec<(&'static str, TcgOptions)> {
    let d = TcgOptions::default;
    let everywhere = [
        ("interpreter", TcgOptions { jit: false, ..d() }),
        ("one instruction a block", TcgOptions { block_insns: 1, ..d() }),
        ("tiny TLB", TcgOptions { tlb_entries: 1, ..d() }),
    ];
    let generated = [
        ("jit", d()),
        ("no links", TcgOptions { chain: false, jump_cache: false, ..d() }),
        ("tiny cache", TcgOptions { tb_size: Some(1 << 18), block_insns: 4, ..d() }),
        ("random eviction", TcgOptions { evict: 2, ..d() }),
        ("code dropped by sleep", TcgOptions { idle_code: 0, hot: 1, ..d() }),
        ("loops at once", TcgOptions { hot: 1, ..d() }),
        ("loops at once, tiny blocks and cache", TcgOptions { hot: 1, tb_size: Some(1 << 18), block_insns: 3, ..d() }),
        ("loops at once, evicted", TcgOptions { hot: 1, evict: 3, tlb_entries: 1, ..d() }),
    ];
    everywhere.into_iter().chain(generated.into_iter().filter(|_| cfg!(target_arch = "x86_64"))).collect()
}

/// Every way to run but the interpreter, for comparisons with that.
pub fn forced_modes() -> Vec<(&'static str, TcgOptions)> {
    modes().split_off(1)
}

/// Less and less of the host's vector extensions in code of vector instructions.
pub fn simd_modes() -> Vec<(&'static str, TcgOptions)> {
    let with = |simd| TcgOptions { simd, ..TcgOptions::default() };
    let levels = [("AVX2", with(HostSimd::Avx2)), ("no vector extensions", with(HostSimd::None))];
    levels.into_iter().filter(|_| cfg!(target_arch = "x86_64")).collect()
}

/// A guest program under construction.
pub struct Asm {
    pub base: u64,
    pub code: Vec<u8>,
}

/// A forward branch or jump whose target is not known yet.
#[must_use]
pub struct Hole {
    at: u64,
    op: Op,
    operands: Operands,
}

impl Asm {
    pub fn at(base: u64) -> Self {
        Self { base, code: Vec::new() }
    }

    pub fn here(&self) -> u64 {
        self.base + self.code.len() as u64
    }

    pub fn word(&mut self, w: u32) -> &mut Self {
        self.code.extend(w.to_le_bytes());
        self
    }

    pub fn half(&mut self, h: u16) -> &mut Self {
        self.code.extend(h.to_le_bytes());
        self
    }

    /// Appends `nop`s up to `offset` in the page.
    pub fn pad_to(&mut self, offset: u64) -> &mut Self {
        while self.here() & 0xfff != offset {
            self.half(0x0001);
        }
        self
    }

    fn put(&mut self, op: Op, operands: Operands) -> &mut Self {
        let w = encode(op, &operands).unwrap_or_else(|e| panic!("{e}"));
        self.word(w)
    }

    /// `op rd, rs1, rs2`.
    pub fn r(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8) -> &mut Self {
        self.put(op, Operands { rd, rs1, rs2, ..Operands::default() })
    }

    /// `op rd, rs1, imm`, also loads, `jalr` and CSR instructions (`imm` = number).
    pub fn i(&mut self, op: Op, rd: u8, rs1: u8, imm: i32) -> &mut Self {
        self.put(op, Operands { rd, rs1, imm, ..Operands::default() })
    }

    /// `op rs2, imm(rs1)`.
    pub fn s(&mut self, op: Op, rs2: u8, rs1: u8, imm: i32) -> &mut Self {
        self.put(op, Operands { rs1, rs2, imm, ..Operands::default() })
    }

    pub fn plain(&mut self, op: Op) -> &mut Self {
        self.put(op, Operands::default())
    }

    /// An atomic with its `aq` and `rl` bits.
    pub fn amo(&mut self, op: Op, rd: u8, rs2: u8, rs1: u8, aq_rl: u32) -> &mut Self {
        let w = encode(op, &Operands { rd, rs1, rs2, ..Operands::default() }).unwrap_or_else(|e| panic!("{e}"));
        self.word(w | aq_rl << 25)
    }

    pub fn nop(&mut self) -> &mut Self {
        self.i(Op::Addi, 0, 0, 0)
    }

    /// `op rs1, rs2, target`, target known.
    pub fn b(&mut self, op: Op, rs1: u8, rs2: u8, target: u64) -> &mut Self {
        let imm = target.wrapping_sub(self.here()) as i32;
        self.put(op, Operands { rs1, rs2, imm, ..Operands::default() })
    }

    /// `jal rd, target`, target known.
    pub fn j(&mut self, rd: u8, target: u64) -> &mut Self {
        let imm = target.wrapping_sub(self.here()) as i32;
        self.put(Op::Jal, Operands { rd, imm, ..Operands::default() })
    }

    /// A branch (or `jal rs1`) forward, to be filled by [`Asm::bind`].
    pub fn forward(&mut self, op: Op, rs1: u8, rs2: u8) -> Hole {
        let operands = match op {
            Op::Jal => Operands { rd: rs1, ..Operands::default() },
            _ => Operands { rs1, rs2, ..Operands::default() },
        };
        let hole = Hole { at: self.here(), op, operands };
        self.word(0);
        hole
    }

    pub fn bind(&mut self, hole: Hole) -> &mut Self {
        self.bind_to(hole, self.here())
    }

    /// Makes a branch or jump lead to `target`.
    pub fn bind_to(&mut self, hole: Hole, target: u64) -> &mut Self {
        let imm = target.wrapping_sub(hole.at) as i32;
        let w = encode(hole.op, &Operands { imm, ..hole.operands }).unwrap_or_else(|e| panic!("{e}"));
        let at = (hole.at - self.base) as usize;
        self.code[at..at + 4].copy_from_slice(&w.to_le_bytes());
        self
    }

    /// `rd = v`, always eight instructions long so that places do not move.
    pub fn li(&mut self, rd: u8, v: u64) -> &mut Self {
        // 32 bits by lui and addiw, then three pieces of 11, 11 and 10 bits.
        let top = (v >> 32) as u32 as i32;
        let high = top.wrapping_add(0x800) >> 12;
        self.word((high as u32) << 12 | u32::from(rd) << 7 | 0x37);
        self.i(Op::Addiw, rd, rd, top.wrapping_sub(high << 12));
        for (bits, shift) in [(11, 21), (11, 10), (10, 0)] {
            self.i(Op::Slli, rd, rd, bits);
            self.i(Op::Ori, rd, rd, (v >> shift & ((1 << bits) - 1)) as i32);
        }
        self
    }

    pub fn csrw(&mut self, n: u16, rs: u8) -> &mut Self {
        self.i(Op::Csrrw, 0, rs, signed12(n))
    }

    pub fn csrrw(&mut self, rd: u8, n: u16, rs: u8) -> &mut Self {
        self.i(Op::Csrrw, rd, rs, signed12(n))
    }

    pub fn csrr(&mut self, rd: u8, n: u16) -> &mut Self {
        self.i(Op::Csrrs, rd, 0, signed12(n))
    }

    pub fn csrs(&mut self, n: u16, rs: u8) -> &mut Self {
        self.i(Op::Csrrs, 0, rs, signed12(n))
    }

    pub fn csrc(&mut self, n: u16, rs: u8) -> &mut Self {
        self.i(Op::Csrrc, 0, rs, signed12(n))
    }

    /// `sfence.vma rs1, rs2`.
    pub fn sfence(&mut self, rs1: u8, rs2: u8) -> &mut Self {
        self.r(Op::SfenceVma, 0, rs1, rs2)
    }

    /// Ends an S-mode program.
    pub fn ecall(&mut self) -> &mut Self {
        self.plain(Op::Ecall)
    }
}

/// Number of a CSR as the decoder gives it.
fn signed12(n: u16) -> i32 {
    i32::from(n)
}

/// The word of one instruction.
pub fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> u32 {
    encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// A machine of `harts` harts.
pub struct Guest {
    pub ram: GuestRam,
    pub isa: IsaConfig,
    pub clock: Arc<Clock>,
    pub vm: Arc<dyn Vm>,
    /// Interrupt controllers of the engine's.
    pub irqchip: Option<Arc<dyn Irqchip>>,
    pub harts: Vec<Box<dyn Vcpu>>,
}

impl Guest {
    pub fn new(options: TcgOptions, harts: u32) -> Self {
        Self::with_isa(options, harts, IsaConfig::default())
    }

    pub fn with_isa(options: TcgOptions, harts: u32, isa: IsaConfig) -> Self {
        Setup { harts, isa, ..Setup::default() }.start(&Tcg { options })
    }

    /// Without software in M-mode: traps into it leave `run`.
    pub fn without_machine_mode(options: TcgOptions, isa: IsaConfig) -> Self {
        Setup { isa, machine_traps: true, ..Setup::default() }.start(&Tcg { options })
    }

    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(gpa)).expect("inside RAM");
    }

    pub fn load(&self, asm: &Asm) {
        self.write(asm.base, &asm.code);
    }

    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(gpa)).expect("inside RAM");
        bytes
    }

    pub fn write64(&self, gpa: u64, v: u64) {
        self.write(gpa, &v.to_le_bytes());
    }

    pub fn read64(&self, gpa: u64) -> u64 {
        self.ram.read_obj(GuestAddress(gpa)).expect("inside RAM")
    }

    /// Writes the stop code to `gpa`; see the module's head.
    pub fn stop_code(&self, gpa: u64) {
        let mut a = Asm::at(gpa);
        a.csrr(30, arch::csr::MINSTRET).s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        self.load(&a);
    }

    /// M-mode state of hart `id` at `pc`, traps leading to `stop`.
    pub fn machine(&self, id: u32, pc: u64, stop: u64) -> HartState {
        let mut s = csr::reset(&self.isa, u64::from(id));
        s.pc = pc;
        s.csr.mtvec = stop;
        s.x[31] = END + 8 * u64::from(id);
        // All of memory is open to lower modes.
        s.csr.pmp.cfg[0] = 0x1f;
        s.csr.pmp.addr[0] = u64::MAX >> 10;
        s
    }

    /// S-mode state of hart `id` at `pc`.
    pub fn supervisor(&self, id: u32, pc: u64) -> HartState {
        csr::reset_supervisor(&self.isa, u64::from(id), pc, 0)
    }

    /// S-mode state of hart 0 at `pc`, in address space 1 of `p`; traps lead to [`STOP`].
    pub fn paged(&self, p: &Paging, pc: u64) -> HartState {
        let mut s = self.supervisor(0, pc);
        s.csr.satp = p.satp(1);
        s.csr.stvec = STOP;
        s
    }

    /// Runs hart 0 from `state` to the end of its program.
    pub fn run(&mut self, state: &HartState) -> HartState {
        self.harts[0].set_state(state);
        self.resume()
    }

    /// Lets hart 0 go on.
    pub fn resume(&mut self) -> HartState {
        finish(&mut self.harts[0])
    }

    /// Runs all harts, each on a thread of its own, from `states` to the ends of their programs.
    pub fn run_all(&mut self, states: &[HartState]) -> Vec<HartState> {
        for (v, s) in self.harts.iter_mut().zip(states) {
            v.set_state(s);
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = self.harts.iter_mut().map(|v| scope.spawn(move || finish(v))).collect();
            threads.into_iter().map(|t| t.join().expect("a hart's thread")).collect()
        })
    }
}

/// Runs until the program ends.
pub fn finish(v: &mut Box<dyn Vcpu>) -> HartState {
    match v.run().expect("the engine runs") {
        VcpuExit::Sbi(_) | VcpuExit::Kicked => v.state(),
        other => panic!("unexpected exit {other:?}"),
    }
}

/// A guest of one hart whose first 2 MiB of RAM are mapped alike by tables from `base` on, globally, page by page. A trap
/// ends its program.
pub fn paged(options: TcgOptions, base: u64) -> (Guest, Paging) {
    let g = Guest::new(options, 1);
    let mut p = Paging::new(base);
    for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
        p.map(&g, pa, pa, RWX | arch::pte::G, 0);
    }
    let mut a = Asm::at(STOP);
    a.ecall();
    g.load(&a);
    (g, p)
}

/// Sv39 tables in guest RAM, from `base` on.
pub struct Paging {
    pub root: u64,
    pub next: u64,
}

impl Paging {
    pub fn new(base: u64) -> Self {
        Self { root: base, next: base + 0x1000 }
    }

    pub fn satp(&self, asid: u64) -> u64 {
        8 << 60 | asid << 44 | self.root >> 12
    }

    /// A fresh page for a table.
    pub fn slot_page(&mut self) -> u64 {
        self.next += 0x1000;
        self.next - 0x1000
    }

    /// Address of the entry for `va` at `level`, making the tables above it.
    pub fn slot(&mut self, g: &Guest, va: u64, level: u32) -> u64 {
        let mut table = self.root;
        for at in (level + 1..3).rev() {
            let slot = table + 8 * arch::pte::index(va, at);
            let entry = g.read64(slot);
            table = if entry & arch::pte::V != 0 {
                arch::pte::ppn(entry) << 12
            } else {
                let new = self.next;
                self.next += 0x1000;
                g.write(new, &[0; 4096]);
                g.write64(slot, new >> 2 | arch::pte::V);
                new
            };
        }
        table + 8 * arch::pte::index(va, level)
    }

    /// Maps the page of `level` at `va` with these flags (V is added); returns the address of the entry.
    pub fn map(&mut self, g: &Guest, va: u64, pa: u64, flags: u64, level: u32) -> u64 {
        let slot = self.slot(g, va, level);
        g.write64(slot, leaf(pa, flags));
        slot
    }
}

pub const RWX: u64 = arch::pte::R | arch::pte::W | arch::pte::X | arch::pte::A | arch::pte::D;

/// A leaf entry.
pub fn leaf(pa: u64, flags: u64) -> u64 {
    pa >> 2 | flags | arch::pte::V
}
