//! Vector instructions in host code: AVX-512, what AVX2 can do of it, and calls of the instructions' functions
//! (`helpers::vector`) for all the rest. Those functions are what the code here has to agree with, bit by bit.
//!
//! The way of an instruction: [`Backend::vector`] knows `vtype` (behind a `vset{i}vl{i}` of the block) or guesses it (see
//! `helpers::vector::assumed`), asks the families in turn for a [`Plan`], and emits it for `vl` = VLMAX. Any other `vl`
//! leads to a stub in which the same plan is emitted with masks. What is illegal, what no family has, and agnostic
//! elements that become ones have no plan: their function is called.
//!
//! A guess is looked at once: behind the first instruction made for it, it is known. Where it was wrong the function is
//! called and the block is left, so that what follows is a block of its own, made for what `vtype` was there.
//!
//! A group of registers is one run of bytes in memory. It is taken in [`Chunks`] of a host register; elements that are
//! not to be written get their old values back, so that registers are stored whole. Nothing stays in host registers
//! from one instruction to the next.
//!
//! | Host registers | Hold |
//! |---|---|
//! | RAX RCX RDX | scratch, as everywhere |
//! | with AVX-512: ZMM16 and on, K1 to K6 | scratch; they need no VZEROUPPER |
//! | without: YMM0 to YMM3, YMM10 to YMM15 | scratch; their upper parts are cleared behind each instruction |
//!
//! | File | Instructions |
//! |---|---|
//! | `config` | `vset{i}vl{i}` |
//! | `places` | strided and indexed loads and stores |
//! | `memory` | unit-stride, whole-register and mask loads and stores |
//! | `integer` | integer arithmetic of single width, merges and moves |
//! | `bits` | rotations, reversals and counts of bits |
//! | `crypto` | rounds of AES, GHASH, SHA-256, carry-less products |
//! | `carry` | sums and differences with carry |
//! | `compare` | integer comparisons |
//! | `mask` | logic of masks, counts and searches in them, indices |
//! | `permute` | moves of scalars and whole registers, slides, gathers, compression |
//! | `fixed` | fixed-point arithmetic |
//! | `widen` | integer arithmetic between widths |
//! | `reduce` | reductions |
//! | `float` | floating-point arithmetic of single width, sign injection, merges and moves |
//! | `float_compare` | floating-point comparisons |
//! | `float_convert` | conversions, and arithmetic that widens single precision |
//! | `element` | moves between element 0 and f registers |

mod bits;
mod carry;
mod compare;
mod config;
#[cfg(test)]
mod coverage;
mod crypto;
mod element;
mod fixed;
mod float;
mod float_compare;
mod float_convert;
mod integer;
mod lanes;
mod mask;
mod memory;
mod permute;
mod places;
mod reduce;
mod widen;

use std::mem::offset_of;

use arch::isa::Op as G;

use super::asm::vex::Len;
use super::asm::{Alu, Cc, Mem, Reg, Xmm};
use super::thunks::vector_code;
use super::{Backend, Features, StubKind, field};
use crate::tcg::HostSimd;
use crate::tcg::hart::Hart;
use crate::tcg::helpers::vector::Call;
use crate::tcg::helpers::vector::assumed;
use crate::tcg::helpers::vector::config::supported;
use crate::tcg::helpers::vector::shape::{Group, Shape, VectorUnit, scale};
use crate::tcg::ir::{Dst, Op, Val};
use lanes::Part;

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

const WORD: Mem = field(offset_of!(Hart, vector_word));
const VL: Mem = field(offset_of!(Hart, s.csr.vl));
const VTYPE: Mem = field(offset_of!(Hart, s.csr.vtype));
const VSTART: Mem = field(offset_of!(Hart, s.csr.vstart));

/// Bytes that vector instructions of a block may take before the others are calls, their stubs counted as they are
/// asked for. A block has to keep within [`super::MAX_BLOCK_BYTES`].
const ROOM: usize = 16 << 10;
/// Chunks of a group that are worth code of their own.
const MOST_CHUNKS: usize = 4;

/// What the backend knows of the vector state at the current instruction.
#[derive(Debug)]
pub struct Vectors {
    unit: VectorUnit,
    features: Features,
    /// The word (see `assumed`) that code is made for where nothing is known.
    guess: Option<u32>,
    /// The word is this one.
    known: Option<u32>,
    /// `vl` is no more than VLMAX: it was set here.
    bounded: bool,
    /// `vl` is VLMAX.
    full: bool,
    /// Bytes emitted.
    spent: usize,
}

impl Vectors {
    pub fn new(unit: VectorUnit, features: Features) -> Self {
        Self { unit, features, guess: None, known: None, bounded: false, full: false, spent: 0 }
    }

    /// A block begins; the hart's word is `now`.
    pub fn assume(&mut self, now: u32) {
        self.guess = assumed::plain(now);
    }

    /// What follows in a region is likely to meet this word.
    pub fn expect(&mut self, word: Option<u32>) {
        self.guess = word;
    }

    pub fn start_block(&mut self) {
        self.forget();
        self.spent = 0;
    }

    /// Something may have changed `vtype`, `vstart` or VS.
    pub fn forget(&mut self) {
        (self.known, self.bounded, self.full) = (None, false, false);
    }

    /// Whether the code should end before the next instruction: there is no room for more.
    pub fn is_spent(&self) -> bool {
        self.spent > ROOM
    }

    fn avx512(&self) -> bool {
        self.features.simd == HostSimd::Avx512
    }

    /// Scratch register `n`; without AVX-512 there are five.
    fn scratch(&self, n: u8) -> Xmm {
        Xmm(if self.avx512() { 16 + n } else { [0, 1, 2, 3, 13][usize::from(n)] })
    }

    /// Whether code uses XMM registers that are f registers' elsewhere.
    pub fn few_f_registers(&self) -> bool {
        self.features.simd == HostSimd::Avx2
    }

    /// The widest host register.
    fn widest(&self) -> usize {
        if self.avx512() { 64 } else { 32 }
    }
}

/// A vector instruction at a `vtype`.
#[derive(Debug, Clone, Copy)]
struct Insn {
    whole: Op,
    op: G,
    c: Call,
    d: Option<Dst>,
    /// Values of rs1 and rs2.
    a: Val,
    b: Val,

    s: Shape,
}

/// How an instruction is done; legal, and possible on this host.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Memory(memory::Plan),
    Integer(integer::Plan),
    Bits(bits::Plan),
    Carry(carry::Plan),
    Crypto(crypto::Plan),
    Compare(compare::Plan),
    Mask(mask::Plan),
    Permute(permute::Plan),
    Fixed(fixed::Plan),
    Widen(widen::Plan),
    Reduce(reduce::Plan),
    Float(float::Plan),
    FloatCompare(float_compare::Plan),
    FloatConvert(float_convert::Plan),
    Element(element::Plan),
}

impl Plan {
    /// Whether `vl` matters at all.
    fn counts(&self) -> bool {
        match self {
            Plan::Memory(p) => p.counts(),
            Plan::Permute(p) => p.counts(),
            Plan::Element(_) => false,
            _ => true,
        }
    }

    /// Registers it writes or reads as one run of bytes; 16 where that is not what it does.
    fn bytes(&self, i: &Insn) -> usize {
        match self {
            Plan::Memory(p) => p.bytes(i),
            Plan::Mask(p) => p.bytes(i),
            Plan::Permute(p) => p.bytes(i),
            Plan::Fixed(p) => p.bytes(i),
            Plan::Widen(p) => p.bytes(i),
            Plan::FloatConvert(p) => p.bytes(i),
            Plan::Element(_) => 16,
            _ => i.bytes(),
        }
    }

    /// Works on registers as long as [`Plan::bytes`] says, and no longer.
    fn is_simple(&self) -> bool {
        matches!(self, Plan::Memory(_) | Plan::Integer(_))
    }

    /// `vl` may be less afterwards.
    fn may_shorten(&self) -> bool {
        matches!(self, Plan::Memory(p) if p.may_shorten())
    }
}

impl Insn {
    /// Bytes of an operand with EEW = SEW.
    fn bytes(&self) -> usize {
        scale(self.s.vlenb, self.s.lmul)
    }

    /// An operand group.
    fn group_bytes(&self, g: &Group) -> usize {
        scale(self.s.vlenb, g.emul)
    }
}

impl Backend {
    /// A vector instruction: inline as far as possible.
    pub(super) fn vector(&mut self, whole: &Op) {
        let start = self.asm.code.len();
        if self.set_vector_config(whole) {
            return;
        }
        let known = self.vectors.known;
        let Some(word) = known.or(self.vectors.guess) else {
            return self.vector_by_call(whole);
        };
        let Some((i, plan)) = self.plan(whole, word) else {
            return self.vector_by_call(whole);
        };
        if known.is_none() {
            self.asm.alu_imm(Alu::Cmp, false, WORD, word as i32);
            let other = self.asm.jcc_forward(Cc::Ne);
            self.stub(other, StubKind::OtherVtype { op: *whole, done: self.done, since: self.since.after(whole) });
            self.vectors.known = Some(word);
        }
        // What is less than a host register needs masks anyway.
        let short = plan.counts() && plan.bytes(&i) < 16;
        let part = if short { Part::Some } else { Part::All };
        if short && !self.vectors.bounded {
            self.asm.alu_imm(Alu::Cmp, true, VL, i.s.vl as i32);
            let beyond = self.asm.jcc_forward(Cc::A);
            self.stub(beyond, StubKind::Slow(*whole));
        }
        if plan.counts() && !(short || self.vectors.full) {
            self.asm.alu_imm(Alu::Cmp, true, VL, i.s.vl as i32);
            let partial = self.asm.jcc_forward(Cc::Ne);
            self.stub(partial, StubKind::Partial(*whole, word));
        }
        self.emit_plan(&i, &plan, part);
        // What is no longer than the lower half leaves the upper ones clear.
        if !self.vectors.avx512() && (plan.bytes(&i) > 16 || part == Part::Some || !plan.is_simple()) {
            self.asm.vzeroupper();
        }
        self.vectors.full &= !plan.may_shorten();
        self.land_stubs(whole);
        // Stubs are longer, and most instructions have one.
        self.vectors.spent += 4 * (self.asm.code.len() - start);
    }

    /// An instruction without a plan.
    fn vector_by_call(&mut self, whole: &Op) {
        self.set_cur();
        self.vector_call(whole);
        if matches!(whole, Op::Vector { op: G::Vsetvl, .. }) {
            self.vectors.forget();
        }
        // Fault-only-first loads make it less.
        self.vectors.full = false;
    }

    /// The stub for a `vl` that is not VLMAX.
    pub(super) fn vector_partial(&mut self, whole: &Op, word: u32) {
        let (i, plan) = self.plan_anyway(whole, word).expect("there was a plan in the block");
        // No more than there is room for, whatever state the hart was given: the function knows what to do then.
        let beyond = self.asm.jcc_forward(Cc::A);
        self.stub(beyond, StubKind::Slow(*whole));
        self.emit_plan(&i, &plan, Part::Some);
        if !self.vectors.avx512() {
            self.asm.vzeroupper();
        }
        self.land_stubs(whole);
    }

    /// Calls the instruction's function.
    pub(super) fn vector_call(&mut self, whole: &Op) {
        let Op::Vector { op, raw, d, a, b } = *whole else { unreachable!("a vector instruction") };
        self.load_to(A, a);
        self.load_to(D, b);
        self.asm.mov_imm(C, vector_code(op, raw));
        self.call_out(self.thunks.vector);
        self.f_clobbered();
        if let Some(d) = d {
            self.finish(d, A);
        }
    }

    /// What to do for the instruction at the `vtype` in `word`, if the block has room for it.
    fn plan(&self, whole: &Op, word: u32) -> Option<(Insn, Plan)> {
        if self.vectors.is_spent() {
            return None;
        }
        self.plan_anyway(whole, word)
    }

    fn plan_anyway(&self, whole: &Op, word: u32) -> Option<(Insn, Plan)> {
        let Op::Vector { op, raw, d, a, b } = *whole else { unreachable!("a vector instruction") };
        let unit = &self.vectors.unit;
        let vtype = u64::from(word);
        if self.vectors.features.simd == HostSimd::None
            || unit.tail_ones
            || unit.inactive_ones
            || !supported(unit, vtype)
        {
            return None;
        }
        let s = Shape::of_type(unit, vtype);
        let i = Insn { whole: *whole, op, c: Call { raw, x1: 0, x2: 0 }, d, a, b, s };
        let v = &self.vectors;
        let plan = memory::plan(&i, v)
            .map(Plan::Memory)
            .or_else(|| integer::plan(&i, v).map(Plan::Integer))
            .or_else(|| compare::plan(&i).map(Plan::Compare))
            .or_else(|| mask::plan(&i).map(Plan::Mask))
            .or_else(|| permute::plan(&i, v).map(Plan::Permute))
            .or_else(|| float::plan(&i, v).map(Plan::Float))
            .or_else(|| float_compare::plan(&i, v).map(Plan::FloatCompare))
            .or_else(|| float_convert::plan(&i, v).map(Plan::FloatConvert))
            .or_else(|| widen::plan(&i, v).map(Plan::Widen))
            .or_else(|| reduce::plan(&i, v).map(Plan::Reduce))
            .or_else(|| fixed::plan(&i, v).map(Plan::Fixed))
            .or_else(|| element::plan(&i, v).map(Plan::Element))
            .or_else(|| bits::plan(&i, v).map(Plan::Bits))
            .or_else(|| crypto::plan(&i, v).map(Plan::Crypto))
            .or_else(|| carry::plan(&i, v).map(Plan::Carry))?;
        (plan.bytes(&i) <= MOST_CHUNKS * 64).then_some((i, plan))
    }

    fn emit_plan(&mut self, i: &Insn, plan: &Plan, part: Part) {
        match plan {
            Plan::Memory(p) => self.vector_memory(i, p, part),
            Plan::Integer(p) => self.vector_integer(i, p, part),
            Plan::Bits(p) => self.vector_bits(i, p, part),
            Plan::Carry(p) => self.vector_carry(i, p, part),
            Plan::Crypto(p) => self.vector_crypto(i, p, part),
            Plan::Compare(p) => self.vector_compare(i, p, part),
            Plan::Mask(p) => self.vector_mask(i, p, part),
            Plan::Permute(p) => self.vector_permute(i, p, part),
            Plan::Fixed(p) => self.vector_fixed(i, p, part),
            Plan::Widen(p) => self.vector_widen(i, p, part),
            Plan::Reduce(p) => self.vector_reduce(i, p, part),
            Plan::Float(p) => self.vector_float(i, p, part),
            Plan::FloatCompare(p) => self.vector_float_compare(i, p, part),
            Plan::FloatConvert(p) => self.vector_float_convert(i, p, part),
            Plan::Element(p) => self.vector_element(i, p),
        }
    }
}

/// Byte `at` of register `reg`.
fn v_slot(s: &Shape, reg: usize, at: usize) -> Mem {
    field(offset_of!(Hart, s.v) + reg * s.vlenb + at)
}

/// A run of bytes in pieces of one host register each.
#[derive(Debug, Clone, Copy)]
struct Chunks {
    len: Len,
    count: usize,
}

impl Chunks {
    fn of(bytes: usize, widest: usize) -> Self {
        let size = bytes.clamp(16, widest);
        Self { len: Len::of(size), count: bytes.div_ceil(size) }
    }

    /// The place of each in the run.
    fn offsets(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |n| n * self.len.bytes())
    }
}
