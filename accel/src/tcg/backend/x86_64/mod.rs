//! x86-64: IR to host code in one pass over a register map, which is the same for all blocks (`regs`).
//!
//! | Host register | Holds |
//! |---|---|
//! | RBP | the hart, 128 bytes in, so that most of `x` is within a byte's displacement |
//! | R15 | arrays of the current TLB context |
//! | RSI RDI R8 R9 R10 R11 | a0 a1 a2 a3 a4 a5 |
//! | RBX R12 R13 R14 | s0 sp ra s1 |
//! | RAX RCX RDX, XMM0 to XMM3 | scratch |
//! | XMM4 to XMM15 | f registers of the block (`f_regs`); free after `f_forget` |
//! | ZMM16 to ZMM31, k1 to k7 | scratch of vector code |
//! | RSP | host stack, 16-byte aligned while a block runs, with the return stack on it (`returns`) |
//! | MXCSR | the guest's rounding mode and sticky flags |
//!
//! The other guest registers live in memory. Every operation leaves the integer registers where they belong, but for
//! signs that nobody has looked at (`words`) and parts of folded instructions that only a trap could see (`late`): the
//! stubs of faults and exits make these up, and write f registers back. Blocks enter each other by plain jumps, with
//! nothing owed and all f registers in memory.

mod addends;
pub mod asm;
mod asm_fp;
#[cfg(test)]
mod asm_tests;
mod covers;
mod emit;
mod emit_atomic;
mod emit_csr;
mod emit_fcsr;
mod emit_flow;
mod emit_fp;
mod emit_mem;
mod f_regs;
mod late;
#[cfg(test)]
mod pinned;
mod region;
mod regs;
mod returns;
mod search;
mod strides;
mod sums;
mod thunks;
mod vector;
mod words;

use std::mem::offset_of;

use asm::{Asm, Mem, Reg};

use super::MAX_BLOCK_BYTES;
use crate::tcg::HostSimd;
use crate::tcg::code_cache::places::Home;
use crate::tcg::code_cache::{CodeCache, LinkSite};
use crate::tcg::hart::{Exit, FConst, HEATS, Hart, HartBox, HotJump};
use crate::tcg::helpers::vector::shape::VectorUnit;
use crate::tcg::ir::op::Linkage;
use crate::tcg::ir::{Dst, IrBlock, Op, Val};
use crate::tcg::observe::Mark;
use crate::tcg::region::strides::Look;
use crate::tcg::reservation::{Since, certainly_loud};
use crate::tcg::smp::HartShared;
use addends::Place;
use covers::{CoveredAccess, Covers};
use emit_mem::RecentSlot;
use f_regs::{FRegs, FState};
use late::Late;
use regs::RegMap;
use sums::Sum;
use thunks::Thunks;
use vector::Vectors;
use words::Words;

const HART: Reg = Reg::Rbp;
const TABLES: Reg = Reg::R15;
/// What RBP points past the start of [`Hart`].
const BIAS: i32 = 128;

const fn field(offset: usize) -> Mem {
    Mem { base: HART, index: None, disp: offset as i32 - BIAS }
}

const fn x_slot(r: u8) -> Mem {
    field(offset_of!(Hart, s.x) + 8 * r as usize)
}

const fn f_slot(r: u8) -> Mem {
    field(offset_of!(Hart, s.f) + 8 * r as usize)
}

const fn t_slot(t: u8) -> Mem {
    field(offset_of!(Hart, temps) + 8 * t as usize)
}

/// A constant of [`FP_CONSTANTS`](crate::tcg::hart::FP_CONSTANTS).
const fn f_const(c: FConst) -> Mem {
    field(offset_of!(Hart, fp_constants) + 16 * c as usize)
}

/// Where MXCSR goes for a moment.
const FP_SCRATCH: Mem = t_slot(0);

const fn heat(counter: u16) -> Mem {
    field(offset_of!(Hart, heat) + 4 * counter as usize)
}

const HOT_SITE: Mem = field(offset_of!(Hart, hot) + offset_of!(HotJump, site));
/// Length of the code that counts, and its counter.
const HOT_CODE: Mem = field(offset_of!(Hart, hot) + offset_of!(HotJump, len));
const RETIRED: Mem = field(offset_of!(Hart, retired));
const CUR: Mem = field(offset_of!(Hart, cur));
const BY_CALL: Mem = field(offset_of!(Hart, by_call));
const HELD: Mem = field(offset_of!(Hart, held));
const CYCLE_OFFSET: Mem = field(offset_of!(Hart, cycle_offset));
const INSTRET_OFFSET: Mem = field(offset_of!(Hart, instret_offset));
const STATUS: Mem = field(offset_of!(Hart, s.csr.mstatus));
const FP_MISSING: Mem = field(offset_of!(Hart, fp_missing));
const EXIT: Mem = field(offset_of!(Hart, exit));
const LINK: Mem = field(offset_of!(Hart, link));
const PC: Mem = field(offset_of!(Hart, s.pc));
const PAGE_BASE: Mem = field(offset_of!(Hart, page_base));
const MXCSR: Mem = field(offset_of!(Hart, mxcsr));
const HOST_MXCSR: Mem = field(offset_of!(Hart, host_mxcsr));
const CALLED_FROM: Mem = field(offset_of!(Hart, called_from));
const STACK_BASE: Mem = field(offset_of!(Hart, stack_base));
const TABLES_FIELD: Mem = field(offset_of!(Hart, tables));
const PAGE_CHANGES: Mem = field(offset_of!(Hart, page_changes.left));
const RES_ADDR: Mem = field(offset_of!(Hart, res_addr));
const RES_VALUE: Mem = field(offset_of!(Hart, res_value));
const RES_LEFT: Mem = field(offset_of!(Hart, res_left));
const RES_EXACT: Mem = field(offset_of!(Hart, res_exact));
const PACE_AT: Mem = field(offset_of!(Hart, pace_at));
const PACE_SEEN: Mem = field(offset_of!(Hart, pace_seen));
const FENCES_I: Mem = field(offset_of!(Hart, stats.fence_i));
const EXACT_LRS: Mem = field(offset_of!(Hart, exact_lrs));
/// The poll word stands before the hart in its [`HartBox`].
const POLL: Mem = Mem {
    base: HART,
    index: None,
    disp: offset_of!(HartBox, shared) as i32 + offset_of!(HartShared, poll) as i32
        - offset_of!(HartBox, hart) as i32
        - BIAS,
};

/// Host features that change what is emitted.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "what the host has, whether it is used or not")]
pub struct Features {
    pub bmi2: bool,
    /// SHLD is as quick as a multiplication.
    pub shld: bool,
    pub lzcnt: bool,
    pub bmi1: bool,
    pub popcnt: bool,
    pub fma: bool,
    pub avx: bool,
    pub sse41: bool,
    pub ssse3: bool,
    pub pclmul: bool,
    pub aes: bool,
    /// What vector code may use; the rest are parts of it that not every host has.
    pub simd: HostSimd,
    /// Byte permutations.
    pub vbmi: bool,
    /// Compression and expansion of bytes and words, shifts of pairs.
    pub vbmi2: bool,
    /// Counts of set bits, and of the bits selected: of bytes and words, of longer elements.
    pub bitalg: bool,
    pub vpopcntdq: bool,
    pub gfni: bool,
    /// 256-bit and 512-bit forms.
    pub vaes: bool,
    pub vpclmulqdq: bool,
    pub sha: bool,
}

impl Features {
    /// What tests of emitted code assume, whatever the host has.
    #[cfg(test)]
    const PINNED: Self = Self {
        bmi2: true,
        shld: true,
        lzcnt: true,
        bmi1: true,
        popcnt: true,
        fma: true,
        avx: true,
        sse41: true,
        ssse3: true,
        pclmul: true,
        aes: true,
        simd: HostSimd::Avx512,
        vbmi: true,
        vbmi2: true,
        bitalg: true,
        vpopcntdq: true,
        gfni: true,
        vaes: true,
        vpclmulqdq: true,
        sha: true,
    };

    /// What the host has, its vector instructions no further than `limit`.
    pub fn detect(limit: HostSimd) -> Self {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi2");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512vl");
        let has = match (avx512, avx2) {
            (true, _) => HostSimd::Avx512,
            (_, true) => HostSimd::Avx2,
            _ => HostSimd::None,
        };
        let simd = has.min(limit);
        let (avx, evex) = (simd != HostSimd::None, simd == HostSimd::Avx512);
        Self {
            bmi2: is_x86_feature_detected!("bmi2"),
            shld: is_intel(),
            lzcnt: is_x86_feature_detected!("lzcnt"),
            bmi1: is_x86_feature_detected!("bmi1"),
            popcnt: is_x86_feature_detected!("popcnt"),
            // What has it has AVX.
            fma: limit != HostSimd::None && is_x86_feature_detected!("fma"),
            avx: limit != HostSimd::None && is_x86_feature_detected!("avx"),
            sse41: is_x86_feature_detected!("sse4.1"),
            ssse3: is_x86_feature_detected!("ssse3"),
            pclmul: is_x86_feature_detected!("pclmulqdq"),
            aes: is_x86_feature_detected!("aes"),
            simd,
            vbmi: evex && is_x86_feature_detected!("avx512vbmi"),
            vbmi2: evex && is_x86_feature_detected!("avx512vbmi2"),
            bitalg: evex && is_x86_feature_detected!("avx512bitalg"),
            vpopcntdq: evex && is_x86_feature_detected!("avx512vpopcntdq"),
            gfni: avx && is_x86_feature_detected!("gfni"),
            vaes: avx && is_x86_feature_detected!("vaes"),
            vpclmulqdq: avx && is_x86_feature_detected!("vpclmulqdq"),
            sha: avx && is_x86_feature_detected!("sha"),
        }
    }
}

/// Others have a microprogram for some instructions that are one operation there.
fn is_intel() -> bool {
    let id = std::arch::x86_64::__cpuid(0);
    [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// Where an operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loc {
    Reg(Reg),
    Mem(Mem),
    Imm(i64),
}

/// Code that is reached rarely, emitted after the block.
#[derive(Debug)]
struct Stub {
    /// The jump that leads here.
    from: asm::Forward,
    /// Where the block goes on, as an offset in the code.
    back: usize,
    /// Offset of the instruction in its page | instructions before it << 16.
    cur: u32,
    /// Registers that were loose at the jump, see `words`.
    loose: u32,
    /// What had not been done there.
    late: Late,
    /// What is known of the f registers here, and what has to hold there.
    f: FState,
    after: FState,
    /// The operation performs the fence behind it.
    fenced: bool,
    kind: StubKind,
}

#[derive(Debug, Clone, Copy)]
enum StubKind {
    /// The taken side of a branch, after `done` instructions.
    Taken {
        offset: i64,
        from: u16,
        done: u16,
        since: Since,
    },
    /// A poll bit was seen on the way to a place known at translation.
    Poll {
        offset: i64,
    },
    /// The same inside a region, where so many instructions before that place are not counted.
    PollInside {
        offset: i64,
        uncounted: i32,
    },
    /// A jump back to `offset` was taken often; where it counts.
    Hot {
        offset: i64,
        site: u64,
        len: u8,
        counter: u16,
    },
    /// A return to another place than the last call was made from.
    Unpaired,
    /// The first slot of the jump cache is not that of a call, which goes on at this offset in the code.
    FindCallee {
        on: usize,
    },
    /// The return stack is full; the call goes on at this offset in the code.
    ReturnsFull {
        on: usize,
    },
    Slow(Op),
    /// An SC that stores nothing.
    ScFails(Op),
    /// The interpreter performs the instruction.
    Interpret,
    /// `x` is a NaN and becomes the canonical one; `product`: what the host multiplied to get it.
    Nan {
        x: asm::Xmm,
        double: bool,
        product: Option<[asm::Rm; 2]>,
    },
    /// A vector instruction, after `done` with it, meets another `vtype` than its code is made for.
    OtherVtype {
        op: Op,
        done: u16,
        since: Since,
    },
    /// A vector instruction from this element on.
    SlowFrom(Op, u16),
    /// A vector instruction that `vl` keeps from whole registers; what its code takes for granted (see
    /// `helpers::vector::assumed`).
    Partial(Op, u32),
    /// An access of a group has no addend from it.
    Covered(Op, CoveredAccess),
    /// The page of an access is not the one that its loop touched last.
    Recent(Op, emit_mem::RecentAccess),
    /// The same of a load at a sum that was put off.
    Sum(Op, Op),
    /// What all rounds of the node at this offset access is not in the page that they touched last.
    Rounds(u16, emit_mem::RecentAccess),
}

/// The compiler of one hart.
pub struct Backend {
    asm: Asm,
    thunks: Thunks,
    /// Where guest registers live in the code that is made, and in the region that was made last.
    map: RegMap,
    last_map: RegMap,
    features: Features,
    vectors: Vectors,
    /// There are other harts, against which `reservation` guards.
    smp: bool,
    /// The region that is compiled, if it is one.
    region: Option<region::State>,
    /// Jumps back count how often they are taken.
    profile: bool,
    /// Counter of the next one.
    next_counter: u16,
    /// What is before the current operation.
    since: Since,
    /// The LR that is compiled has to be exact.
    exact: bool,
    /// The operation that is compiled performs the fence behind it, see `emit_atomic`.
    fenced: bool,
    /// The next fence is done already.
    fence_done: bool,
    /// The block is one instruction.
    single: bool,
    f: FRegs,
    words: Words,
    /// The register whose halves RDX has exchanged, as long as no code comes behind this offset.
    exchanged: Option<(Val, usize)>,
    late: Late,
    /// The address of the next load, which is not made.
    sum: Option<Sum>,
    /// What the next jump is.
    linkage: Option<Linkage>,
    covers: Covers,
    /// The looks for all accesses of the node, and their entries.
    looks: Vec<(Look, RecentSlot)>,
    /// The block is a loop, whose accesses have recent pages.
    recent: bool,
    /// How many of them there were so far, by size.
    recents: [u16; emit_mem::RECENT_SIZES],
    /// The entries that accesses of the region have: an instruction may stand in it twice.
    slots: Option<Vec<(Place, RecentSlot)>>,
    stubs: Vec<Stub>,
    /// Room for the stubs that are emitted.
    ending: Vec<Stub>,
    links: Vec<LinkSite>,
    /// Where guest instructions begin, if somebody wants to know.
    marks: Option<Vec<Mark>>,
    /// The same of the paths that are rarely taken.
    cold_marks: Vec<Mark>,
    /// The other thunks: those that tell samples more, or those that do not.
    other_thunks: Option<Thunks>,
    cur: u32,
    done: u16,
    /// Offset of the block's start in its page, and where its code begins: jumps to itself need no slot.
    start: u16,
}

impl Backend {
    /// Puts the thunks into the arena of `code`.
    pub fn new(code: &mut CodeCache, smp: bool, unit: VectorUnit, simd: HostSimd) -> Option<Self> {
        let features = Features::detect(simd);
        let mut asm = Asm { no_evex: features.simd < HostSimd::Avx512, ..Asm::default() };
        let thunks = Thunks::emit(&mut asm, &mut code.arena, false);
        code.arena.fix();
        code.unlinked = thunks.link;
        Some(Self {
            asm,
            thunks,
            map: RegMap::blocks(),
            last_map: RegMap::blocks(),
            features,
            vectors: Vectors::new(unit, features),
            smp,
            region: None,
            profile: false,
            next_counter: 0,
            since: Since::Entry,
            exact: false,
            fenced: false,
            fence_done: false,
            single: false,
            f: FRegs::default(),
            words: Words::default(),
            exchanged: None,
            late: Late::default(),
            sum: None,
            linkage: None,
            covers: Covers::default(),
            looks: Vec::new(),
            recent: false,
            recents: [0; emit_mem::RECENT_SIZES],
            slots: None,
            stubs: Vec::new(),
            ending: Vec::new(),
            links: Vec::new(),
            marks: None,
            cold_marks: Vec::new(),
            other_thunks: None,
            cur: 0,
            done: 0,
            start: 0,
        })
    }

    /// Vector instructions of the next block are likely to meet the state that is now `word`, see
    /// `helpers::vector::assumed`.
    pub fn assume_vectors(&mut self, word: u32) {
        self.vectors.assume(word);
    }

    /// Makes host code for `block`, to be pushed at the arena's cursor. `scattered`: its accesses are known to go from
    /// page to page.
    pub fn compile(&mut self, block: &IrBlock, scattered: bool, code: &mut CodeCache) -> &[u8] {
        self.recent = !scattered && block.is_loop();
        self.generate(block, code, true);
        if self.asm.code.len() > MAX_BLOCK_BYTES {
            // Moving f registers takes most of the room of stubs, of which a block may have many.
            code.free_slots(self.links.iter().map(|l| l.slot));
            self.generate(block, code, false);
        }
        &self.asm.code
    }

    /// The code made last.
    pub fn compiled(&self) -> &[u8] {
        &self.asm.code
    }

    /// Makes the code of `block`, its f registers in XMM registers if `floats`.
    fn generate(&mut self, block: &IrBlock, code: &mut CodeCache, floats: bool) {
        self.begin(code);
        self.start = block.start;
        self.single = block.insns == 1;
        self.f_begin(block, floats);
        self.vectors.start_block();
        let recent = self.recent;
        self.covers.plan(&block.ops, |_| recent);
        for (i, op) in block.ops.iter().enumerate() {
            self.covers.select(i);
            self.exact = self.smp && matches!(op, Op::Lr { .. }) && certainly_loud(&block.ops[i + 1..]);
            if let Op::Insn { offset, .. } = *op
                && self.vectors.is_spent()
            {
                self.end_before(offset, code);
                break;
            }
            self.fenced = self.takes_fence(&block.ops[i..]);
            self.emit(op, code);
            self.fence_done |= std::mem::take(&mut self.fenced);
            self.since = self.since.after(op);
        }
        self.mark(Mark::COLD);
        self.end(code);
    }

    /// The instruction at `offset` and what follows are for another block.
    fn end_before(&mut self, offset: u16, code: &mut CodeCache) {
        self.widen_all();
        self.jump(i64::from(offset), self.cur as u16, self.done, self.since, code);
    }

    fn begin(&mut self, code: &CodeCache) {
        self.asm.reset(code.arena.cursor());
        self.stubs.clear();
        self.links.clear();
        self.slots = None;
        if let Some(marks) = &mut self.marks {
            marks.clear();
        }
        self.cold_marks.clear();
        self.words = Words::default();
        self.exchanged = None;
        self.late = Late::default();
        self.covers.begin();
        self.done = 0;
        self.since = Since::Entry;
        (self.fenced, self.fence_done) = (false, false);
        self.linkage = None;
    }

    /// The cold parts.
    fn end(&mut self, code: &mut CodeCache) {
        self.covers.now = None;
        // The stubs of LR and SC are those of their fast paths.
        (self.exact, self.since) = (false, Since::Reserved);
        // Stubs may ask for stubs.
        while !self.stubs.is_empty() {
            std::mem::swap(&mut self.stubs, &mut self.ending);
            let mut ending = std::mem::take(&mut self.ending);
            ending.drain(..).for_each(|stub| {
                if self.marks.is_some() {
                    self.cold_marks.push(Mark { host: self.asm.code.len() as u32, guest: stub.cur as u16 });
                }
                self.emit_stub(stub, code);
            });
            self.ending = ending;
        }
    }

    /// Names, addresses and sizes of the code that is no block.
    pub fn thunks(&self) -> Vec<(String, u64, usize)> {
        self.thunks.listed()
    }

    /// Whether [`marks`](Self::marks) are made from now on.
    pub fn keep_marks(&mut self, on: bool) {
        self.marks = on.then(Vec::new);
    }

    /// Where guest instructions begin in the block compiled last.
    pub fn marks(&self) -> &[Mark] {
        self.marks.as_deref().unwrap_or_default()
    }

    /// The same with those of paths that are rarely taken.
    pub fn all_marks(&self) -> Box<[Mark]> {
        let mut all = self.marks().to_vec();
        all.extend(&self.cold_marks);
        // A stub comes behind the mark at its own place.
        all.sort_by_key(|mark| mark.host);
        all.into()
    }

    /// Where a block has a guest register, or the region that was made last.
    pub fn home(&self, x: u8, region: bool) -> Home {
        let map = if region { &self.last_map } else { &self.map };
        map.get(x).map_or(Home::Memory, |r| Home::Host(r as u8))
    }

    /// Whether code that is made from now on calls Rust in a way that samples can see where it was, and all guest
    /// registers. No other code is there.
    pub fn show_calls(&mut self, on: bool, code: &mut CodeCache) {
        if self.thunks.shown == on {
            return;
        }
        let wanted = self.other_thunks.take().unwrap_or_else(|| {
            let thunks = Thunks::emit(&mut self.asm, &mut code.arena, on);
            code.arena.fix();
            thunks
        });
        self.other_thunks = Some(std::mem::replace(&mut self.thunks, wanted));
        code.unlinked = self.thunks.link;
    }

    /// The code of the guest instruction at `guest` begins here.
    fn mark(&mut self, guest: u16) {
        if let Some(marks) = &mut self.marks {
            marks.push(Mark { host: self.asm.code.len() as u32, guest });
        }
    }

    /// Whether the blocks compiled from here on count their jumps back.
    pub fn profile(&mut self, on: bool) {
        self.profile = on;
    }

    /// The direct jumps of the block or region compiled last.
    pub fn links(&self) -> &[LinkSite] {
        &self.links
    }

    /// Runs host code until it comes back.
    pub fn enter(&self, hart: &mut Hart, code: u64) -> Exit {
        hart.exit = Exit::None;
        // SAFETY: `code` is a live block of this hart's arena (jump caches and links are cleared when a block
        // is dropped), `enter` was emitted there by `Thunks::emit` with this signature, and the hart is ours.
        let reason = unsafe {
            let enter: unsafe extern "sysv64" fn(*mut Hart, u64) -> u32 = std::mem::transmute(self.thunks.enter);
            enter(hart, code)
        };
        match reason {
            1 => Exit::Resume,
            2 => Exit::Lookup,
            3 => Exit::Link,
            4 => Exit::Poll,
            5 => Exit::Sbi,
            6 => Exit::Wfi,
            7 => Exit::Interpret,
            9 => Exit::Hot,
            10 => Exit::Debug,
            _ => unreachable!("exit reasons come from `Exit`"),
        }
    }
}
