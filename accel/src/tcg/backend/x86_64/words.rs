//! Results of 32 bits whose sign is extended late.
//!
//! `addw` and its like leave the sign extension of 32 bits. Most of what reads them wants no more than the 32: other such
//! instructions, stores, comparisons of two of them, bitwise operations on two of them, which give one again. So a result
//! stays in its host register as it is, *loose*, and is extended when something reads all of it, or nobody does before it
//! is overwritten and it never is.
//!
//! Invariants: only what lives in a host register is loose, and every loose register is a word. Whatever may leave the
//! code or call Rust finds nothing loose: operations that do so themselves are preceded by [`Backend::widen_all`], and
//! stubs begin by extending what was loose where they are jumped to from (which keeps the flags). Places where ways meet,
//! the starts of blocks and nodes, find nothing loose and know no words.

use super::*;
use crate::tcg::ir::{BinOp, UnOp, Width};

/// What is known of the upper halves of guest registers, a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Words {
    /// Their values are the sign extensions of 32 bits.
    known: u32,
    /// Of their host registers only the low 32 bits count.
    loose: u32,
    /// The operation that is being emitted left its result loose.
    made: bool,
}

fn bit(v: Val) -> u32 {
    if let Val::X(r) = v { 1 << r } else { 0 }
}

/// Whether the operation is done bit by bit.
fn is_bitwise(op: BinOp) -> bool {
    matches!(op, BinOp::And | BinOp::Or | BinOp::Xor | BinOp::Andn | BinOp::Orn | BinOp::Xnor)
}

/// Whether it reads 32 bits of both operands and extends the sign of its result.
fn is_word_op(op: BinOp) -> bool {
    use BinOp::*;
    matches!(op, AddW | SubW | SllW | SrlW | SraW | RolW | RorW | MulW | DivW | DivuW | RemW | RemuW)
}

/// A mask that leaves nothing of an upper half.
fn is_low_mask(v: Val) -> bool {
    matches!(v, Val::C(0..=0x7fff_ffff))
}

impl Words {
    fn is_word(&self, v: Val) -> bool {
        match v {
            Val::X(r) => self.known >> r & 1 != 0,
            Val::T(_) => false,
            Val::C(c) => i32::try_from(c).is_ok(),
        }
    }

    fn is_loose(&self, v: Val) -> bool {
        self.loose & bit(v) != 0
    }

    /// Whether the result of an operation is a word.
    fn result(&self, op: &Op) -> bool {
        let both = |a, b| self.is_word(a) && self.is_word(b);
        match *op {
            Op::Mov { s, .. } => self.is_word(s),
            Op::Load { width, signed, .. } => matches!(width, Width::B | Width::H) || width == Width::W && signed,
            Op::Un { op, .. } => {
                matches!(op, UnOp::SextB | UnOp::SextH | UnOp::SextW | UnOp::ZextB | UnOp::ZextH)
            }
            Op::Late { op, .. } => is_word_op(op),
            Op::Bin { op, a, b, .. } => match op {
                _ if is_word_op(op) => true,
                BinOp::And if is_low_mask(a) || is_low_mask(b) => true,
                _ if is_bitwise(op) => both(a, b),
                BinOp::Slt | BinOp::Sltu | BinOp::Bext => true,
                BinOp::Srl => matches!(b, Val::C(33..=63)),
                BinOp::Sra => matches!(b, Val::C(32..=63)),
                BinOp::Min | BinOp::Max | BinOp::Minu | BinOp::Maxu => both(a, b),
                BinOp::CzeroEqz | BinOp::CzeroNez => self.is_word(a),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Backend {
    /// Where ways meet.
    pub(super) fn forget_words(&mut self) {
        debug_assert_eq!(self.words.loose, 0, "a loose word would be met");
        debug_assert!(self.late.is_empty(), "what is not done would be met");
        self.words = Words::default();
        self.exchanged = None;
    }

    /// What a stub that is jumped to from here has to extend.
    pub(super) fn loose_words(&self) -> u32 {
        self.words.loose
    }

    /// Extends the words of `set`. Flags stay.
    pub(super) fn widen_words(&mut self, set: u32) {
        for x in (1..32).filter(|x| set >> x & 1 != 0) {
            let r = self.map.get(x).expect("what is loose lives in a host register");
            self.asm.extend(4, true, r, r);
        }
        self.words.loose &= !set;
    }

    /// The set of `x`, if that is loose.
    pub(super) fn words_loose(&self, x: u8) -> u32 {
        self.words.loose & 1 << x
    }

    pub(super) fn widen_all(&mut self) {
        self.widen_words(self.words.loose);
    }

    /// At the start of a stub: extends what was loose at the jump to it. Nothing is known of words in stubs.
    pub(super) fn widen_in_stub(&mut self, set: u32) {
        self.words = Words { loose: set, ..Words::default() };
        self.widen_all();
    }

    /// Before an operation: extends what it needs all of.
    pub(super) fn widen_for(&mut self, op: &Op) {
        if self.words.loose == 0 {
            return;
        }
        // What reads of its operands no more than the low half.
        let low = match *op {
            Op::Insn { .. } | Op::PcRel { .. } | Op::FenceStoreLoad { .. } => 0,
            Op::Late { a, .. } => 1 << a,
            Op::Load { .. } | Op::LoadF { .. } | Op::StoreF { .. } => 0,
            Op::Store { base, src, width, .. } if width != Width::D => bit(src) & !bit(base),
            Op::Store { .. } => 0,
            Op::Mov { d, s } => self.stays_loose(d, s, s),
            Op::Un { op, a, .. } => match op {
                UnOp::SextB | UnOp::SextH | UnOp::SextW | UnOp::ZextB | UnOp::ZextH | UnOp::ZextW => bit(a),
                _ => 0,
            },
            Op::Bin { op, d, a, b } => match op {
                _ if is_word_op(op) => bit(a) | bit(b),
                BinOp::And if is_low_mask(a) || is_low_mask(b) => bit(a) | bit(b),
                _ if is_bitwise(op) => self.stays_loose(d, a, b),
                BinOp::Slt | BinOp::Sltu => self.compared_loose(a, b),
                BinOp::Sll if matches!(b, Val::C(32..=63)) => bit(a),
                BinOp::SllUw | BinOp::AddUw | BinOp::Sh1addUw | BinOp::Sh2addUw | BinOp::Sh3addUw => bit(a) & !bit(b),
                _ => 0,
            },
            // A jump back is made without a stub.
            Op::BranchIf { a, b, target, .. } if target.offset != i64::from(self.start) => self.compared_loose(a, b),
            _ => return self.widen_all(),
        };
        let read = op.operands().0.into_iter().flatten().fold(0, |set, v| set | bit(v));
        self.widen_words(self.words.loose & read & !low);
    }

    /// Operands that an operation on words may find loose because its result may be so, too.
    fn stays_loose(&self, d: Dst, a: Val, b: Val) -> u32 {
        let words = self.words.is_word(a) && self.words.is_word(b);
        if words && matches!(self.dst(d), Loc::Reg(_)) { bit(a) | bit(b) } else { 0 }
    }

    /// Operands that may be compared as they are: two words are in the order of their low halves, signed or not.
    fn compared_loose(&self, a: Val, b: Val) -> u32 {
        if self.words.is_word(a) && self.words.is_word(b) { bit(a) | bit(b) } else { 0 }
    }

    /// Whether a comparison needs all of its operands.
    pub(super) fn compares_all(&self, a: Val, b: Val) -> bool {
        !self.words.is_loose(a) && !self.words.is_loose(b)
    }

    /// Whether extending the sign of `a` into `d` changes nothing.
    pub(super) fn is_extended(&self, d: Dst, a: Val) -> bool {
        Val::from(d) == a && self.words.is_word(a)
    }

    /// After an operation: what is known of its result.
    pub(super) fn note_result(&mut self, op: &Op) {
        let made = std::mem::take(&mut self.words.made);
        let words = self.words;
        let loose = match *op {
            Op::Mov { s, .. } => words.is_loose(s),
            Op::Un { op: UnOp::SextW, d, a } if self.is_extended(d, a) => words.is_loose(a),
            Op::Bin { op, a, b, .. } if is_bitwise(op) => {
                let masked = op == BinOp::And && (is_low_mask(a) || is_low_mask(b));
                !masked && (words.is_loose(a) || words.is_loose(b))
            }
            // They may write more than their result.
            Op::Call { .. } | Op::Vector { .. } | Op::Status { .. } => {
                self.words = Words::default();
                return;
            }
            _ => made,
        };
        let Some(Dst::X(r)) = op.operands().2 else { return };
        let set = |bits: u32, on: bool| bits & !(1 << r) | u32::from(on) << r;
        let word = words.result(op);
        debug_assert!(word || !loose, "{op:?} leaves more than a word loose");
        self.words.known = set(words.known, word);
        self.words.loose = set(words.loose, loose);
    }

    /// `d` = the low 32 bits of `t`, sign-extended now or later.
    pub(super) fn finish32(&mut self, d: Dst, t: Reg) {
        match self.dst(d) {
            Loc::Reg(r) => {
                if r != t {
                    self.asm.mov(false, r, t);
                }
                self.words.made = true;
            }
            _ => {
                self.asm.extend(4, true, t, t);
                self.finish(d, t);
            }
        }
    }
}
