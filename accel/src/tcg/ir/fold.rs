//! Folds what compilers write in several instructions where the extensions for it are missing (Zba, Zbb): rotations,
//! extensions of bytes, halves and words, shifts before additions, constants in two parts.
//!
//! | Guest | Becomes |
//! |---|---|
//! | `slliw t, a, k`; `srliw u, a, 32-k`; `or d, t, u` | `roriw` |
//! | `slli t, a, k`; `srliw u, a, 32-k`; `or d, t, u` | a funnel shift: `roriw`, but for the upper half |
//! | `slli t, a, 32`; `srli d, t, 32` and its likes | `zext.w`, `slli.uw`, `sext.h` ... |
//! | `slli t, a, 2`; `add d, t, b` | `sh2add` |
//! | `lui t, ...`; `addi d, t, ...` | one constant, one distance from the page |
//!
//! The last operation takes over, and those before it are left out, because nobody asks for their results any more:
//! each of their registers is written again before it is read. Where an access to memory or a branch stands between, a
//! trap or another block may still see them: there they become [`Op::Late`], which is done only on such a way out. What
//! cannot be shown to be unread stays, and then nothing is folded: no operation is ever added.
//!
//! Only generated code is folded. The interpreter runs what the lowerings wrote, which is what the result is tested by.

use super::{BinOp, Dst, IrBlock, Op, UnOp, Val};

/// What an operation means for results that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Goes on with the next one.
    On,
    /// May leave from a stub, with the registers as they are before it.
    Out,
    /// Anything else.
    Unknown,
}

/// `meets`: whether a branch to an offset stays in code where other ways come in.
fn way(op: &Op, meets: &impl Fn(i64) -> bool) -> Way {
    match op {
        Op::Insn { .. } | Op::Mov { .. } | Op::Bin { .. } | Op::Un { .. } | Op::PcRel { .. } | Op::Late { .. } => {
            Way::On
        }
        Op::Load { .. } | Op::Store { .. } | Op::LoadF { .. } | Op::StoreF { .. } => Way::Out,
        Op::BranchIf { target, .. } if !meets(target.offset) => Way::Out,
        _ => Way::Unknown,
    }
}

/// What becomes of an operation whose result one other operation wants no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dropped,
    Late,
}

const NEVER: usize = usize::MAX;

struct Fold<'a, M> {
    ops: &'a mut Vec<Op>,
    meets: M,
    /// Which operation wrote each register last, if that is known.
    written: [usize; 32],
}

/// Folds the operations of `block`. `meets`: whether a branch to an offset in the page stays in code where other ways
/// come in, rather than leaving by a stub.
pub fn fold(block: &mut IrBlock, meets: impl Fn(i64) -> bool) {
    let mut fold = Fold { ops: &mut block.ops, meets, written: [NEVER; 32] };
    let mut at = 0;
    while at < fold.ops.len() {
        at = fold.look(at) + 1;
    }
}

/// Register, constant.
fn imm(a: Val, b: Val) -> Option<(u8, u32)> {
    if let (Val::X(a), Val::C(n)) = (a, b) { Some((a, n as u32)) } else { None }
}

impl<M: Fn(i64) -> bool> Fold<'_, M> {
    /// Looks at operation `at`; returns where it is now.
    fn look(&mut self, mut at: usize) -> usize {
        if way(&self.ops[at], &self.meets) == Way::Unknown {
            self.written = [NEVER; 32];
            return at;
        }
        while let Some((new, parts)) = self.folded(at) {
            let Some(fates) = self.fates(at, &parts) else { break };
            self.ops[at] = new;
            let mut gone = Vec::new();
            for (&part, fate) in parts.iter().zip(fates) {
                match fate {
                    Fate::Dropped => gone.push(part),
                    Fate::Late => self.postpone(part),
                }
            }
            gone.sort_unstable();
            for part in gone.into_iter().rev() {
                self.remove(part);
                at -= 1;
            }
        }
        if let Some(Dst::X(d)) = self.ops[at].operands().2 {
            self.written[usize::from(d)] = at;
        }
        at
    }

    fn remove(&mut self, part: usize) {
        self.ops.remove(part);
        for w in &mut self.written {
            match *w {
                NEVER => {}
                at if at == part => *w = NEVER,
                at if at > part => *w -= 1,
                _ => {}
            }
        }
    }

    fn postpone(&mut self, part: usize) {
        if let Op::Bin { op, d: Dst::X(d), a: Val::X(a), b: Val::C(n) } = self.ops[part] {
            self.ops[part] = Op::Late { op, d, a, n: n as u8 };
        }
    }

    /// The operation that wrote `v`.
    fn def(&self, v: Val) -> Option<(usize, Op)> {
        let Val::X(r) = v else { return None };
        let at = self.written[usize::from(r)];
        Some((at, *self.ops.get(at)?))
    }

    /// A shift by a constant that wrote `v`, what it shifted, and by how much.
    fn shifted(&self, v: Val) -> Option<(usize, BinOp, u8, u32)> {
        let (at, Op::Bin { op, a, b, .. }) = self.def(v)? else { return None };
        let (from, n) = imm(a, b)?;
        Some((at, op, from, n))
    }

    /// Whether register `r` holds what operation `at` found in it, but for what `at` itself wrote.
    fn holds(&self, r: u8, at: usize) -> bool {
        let last = self.written[usize::from(r)];
        last == NEVER || last <= at
    }

    /// What operation `at` becomes, and the operations that it then needs no more.
    fn folded(&self, at: usize) -> Option<(Op, Vec<usize>)> {
        match self.ops[at] {
            Op::Bin { op, d, a, b: b @ Val::C(n) } => {
                let (part, def) = self.def(a)?;
                match def {
                    Op::Mov { s: Val::C(c), .. } => {
                        Some((Op::Mov { d, s: Val::C(op.eval(c as u64, n as u64) as i64) }, vec![part]))
                    }
                    Op::PcRel { offset, .. } if op == BinOp::Add => {
                        Some((Op::PcRel { d, offset: offset.wrapping_add(n) }, vec![part]))
                    }
                    _ => self.two_shifts(op, d, a, b),
                }
            }
            Op::Bin { op, d, a, b } => self.rotation(op, d, a, b).or_else(|| {
                (op == BinOp::Add).then(|| self.shift_add(d, a, b).or_else(|| self.shift_add(d, b, a))).flatten()
            }),
            _ => None,
        }
    }

    fn two_shifts(&self, op: BinOp, d: Dst, a: Val, b: Val) -> Option<(Op, Vec<usize>)> {
        let (part, first, from, left) = self.shifted(a)?;
        let (_, right) = imm(a, b)?;
        if !self.holds(from, part) {
            return None;
        }
        let a = Val::X(from);
        let un = |op| Op::Un { op, d, a };
        let bin = |op, n: u32| Op::Bin { op, d, a, b: Val::C(i64::from(n)) };
        let new = match (first, op, left, right) {
            (BinOp::Sll, BinOp::Srl, 32, 32) => un(UnOp::ZextW),
            (BinOp::Sll, BinOp::Srl, 48, 48) | (BinOp::SllW, BinOp::SrlW, 16, 16) => un(UnOp::ZextH),
            (BinOp::Sll, BinOp::Srl, 56, 56) | (BinOp::SllW, BinOp::SrlW, 24, 24) => un(UnOp::ZextB),
            (BinOp::Sll, BinOp::Sra, 32, 32) => un(UnOp::SextW),
            (BinOp::Sll, BinOp::Sra, 48, 48) | (BinOp::SllW, BinOp::SraW, 16, 16) => un(UnOp::SextH),
            (BinOp::Sll, BinOp::Sra, 56, 56) | (BinOp::SllW, BinOp::SraW, 24, 24) => un(UnOp::SextB),
            (BinOp::Sll, BinOp::Srl, 32, 1..32) => bin(BinOp::SllUw, 32 - right),
            (BinOp::Sll, BinOp::Srl, 32, 33..64) => bin(BinOp::SrlW, right - 32),
            _ => return None,
        };
        Some((new, vec![part]))
    }

    /// Bits of one value from both ends, in any way of putting them together.
    fn rotation(&self, op: BinOp, d: Dst, a: Val, b: Val) -> Option<(Op, Vec<usize>)> {
        if !matches!(op, BinOp::Or | BinOp::Xor | BinOp::Add | BinOp::AddW) {
            return None;
        }
        let (x, y) = (self.shifted(a)?, self.shifted(b)?);
        let (left, right) = if matches!(x.1, BinOp::Sll | BinOp::SllW) { (x, y) } else { (y, x) };
        let (rotate, bits) = match (left.1, right.1) {
            (BinOp::SllW, BinOp::SrlW) => (BinOp::RolW, 32),
            (BinOp::Sll, BinOp::SrlW) if op == BinOp::AddW => (BinOp::RolW, 32),
            (BinOp::Sll, BinOp::SrlW) => (BinOp::FunnelW, 32),
            (BinOp::Sll, BinOp::Srl) if op != BinOp::AddW => (BinOp::Rol, 64),
            _ => return None,
        };
        let (first, second, from) = (left.0.min(right.0), left.0.max(right.0), left.2);
        // Both have shifted the same, and only the second may have been in its place.
        let writes = |i: usize| self.ops[i].operands().2 == Some(Dst::X(from));
        let same = right.2 == from && self.holds(from, second) && !(first..second).any(writes);
        if !same || left.3 == 0 || right.3 == 0 || left.3 + right.3 != bits {
            return None;
        }
        let by = if rotate == BinOp::FunnelW { right.3 } else { left.3 };
        let new = Op::Bin { op: rotate, d, a: Val::X(from), b: Val::C(i64::from(by)) };
        Some((new, vec![first, second]))
    }

    /// `t + b` where `t` was shifted by little.
    fn shift_add(&self, d: Dst, t: Val, b: Val) -> Option<(Op, Vec<usize>)> {
        if t == b || matches!(b, Val::C(_)) {
            return None;
        }
        let (part, op, from) = match self.def(t)? {
            (part, Op::Un { op: UnOp::ZextW, a: Val::X(from), .. }) => (part, BinOp::AddUw, from),
            _ => {
                let (part, op, from, n) = self.shifted(t)?;
                let op = match (op, n) {
                    (BinOp::Sll, 1) => BinOp::Sh1add,
                    (BinOp::Sll, 2) => BinOp::Sh2add,
                    (BinOp::Sll, 3) => BinOp::Sh3add,
                    (BinOp::SllUw, 1) => BinOp::Sh1addUw,
                    (BinOp::SllUw, 2) => BinOp::Sh2addUw,
                    (BinOp::SllUw, 3) => BinOp::Sh3addUw,
                    _ => return None,
                };
                (part, op, from)
            }
        };
        self.holds(from, part).then(|| (Op::Bin { op, d, a: Val::X(from), b }, vec![part]))
    }

    /// What becomes of `parts` if operation `at` reads none of their results any more; `None` if one has to stay.
    fn fates(&self, at: usize, parts: &[usize]) -> Option<Vec<Fate>> {
        parts.iter().map(|&part| self.fate(part, at)).collect()
    }

    fn fate(&self, part: usize, reader: usize) -> Option<Fate> {
        let (sources, _, Some(Dst::X(d))) = self.ops[part].operands() else { return None };
        let from = if let Some(Val::X(a)) = sources[0] { Some(a) } else { None };
        let shift = matches!(self.ops[part], Op::Bin { op: BinOp::Sll | BinOp::Srl | BinOp::SllW | BinOp::SrlW, .. });
        let may_wait = shift && from.is_some_and(|a| a != d);
        let (mut fate, mut source_lost) = (Fate::Dropped, !may_wait);
        for (i, op) in self.ops.iter().enumerate().skip(part + 1) {
            let (reads, _, write) = op.operands();
            if i != reader && reads.into_iter().flatten().any(|v| v == Val::X(d)) {
                return None;
            }
            match way(op, &self.meets) {
                Way::On => {}
                Way::Out if !source_lost => fate = Fate::Late,
                _ => return None,
            }
            if write == Some(Dst::X(d)) {
                return Some(fate);
            }
            source_lost |= write.is_some_and(|w| from.is_some_and(|a| w == Dst::X(a)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Width;
    use super::*;
    use crate::tcg::ir::{Cond, Target};

    const A0: u8 = 10;
    const A1: u8 = 11;
    const T0: u8 = 5;
    const T1: u8 = 6;

    fn bin(op: BinOp, d: u8, a: u8, b: Val) -> Op {
        Op::Bin { op, d: Dst::X(d), a: Val::X(a), b }
    }

    fn c(op: BinOp, d: u8, a: u8, n: i64) -> Op {
        bin(op, d, a, Val::C(n))
    }

    fn load(d: u8, base: u8) -> Op {
        Op::Load { d: Some(Dst::X(d)), base: Val::X(base), offset: 0, width: Width::W, signed: true }
    }

    fn clear(d: u8) -> Op {
        Op::Mov { d: Dst::X(d), s: Val::C(0) }
    }

    fn folded(ops: &[Op]) -> Vec<Op> {
        let mut block = IrBlock { ops: ops.to_vec(), ..IrBlock::default() };
        fold(&mut block, |to| to == 0);
        block.ops
    }

    fn rotation(middle: &[Op]) -> Vec<Op> {
        let mut ops = vec![c(BinOp::SllW, T0, A0, 7), c(BinOp::SrlW, T1, A0, 25)];
        ops.extend(middle);
        ops.push(bin(BinOp::Or, A1, T0, Val::X(T1)));
        ops
    }

    #[test]
    fn a_rotation_is_one_operation() {
        let ops = [rotation(&[]), vec![clear(T0), clear(T1)]].concat();
        assert_eq!(folded(&ops), [c(BinOp::RolW, A1, A0, 7), clear(T0), clear(T1)]);
        // Into one of its own registers, the other one seen by who leaves.
        let ops =
            [c(BinOp::SrlW, T1, A0, 25), c(BinOp::SllW, T0, A0, 7), bin(BinOp::Xor, T0, T1, Val::X(T0)), load(T1, A1)];
        let late = Op::Late { op: BinOp::SrlW, d: T1, a: A0, n: 25 };
        assert_eq!(folded(&ops), [late, c(BinOp::RolW, T0, A0, 7), load(T1, A1)]);
    }

    #[test]
    fn what_is_read_or_seen_stays() {
        let last = [clear(T0), clear(T1)];
        for ops in [
            rotation(&[]),
            [rotation(&[]).as_slice(), &[c(BinOp::Add, A0, T0, 1)], &last].concat(),
            [rotation(&[]).as_slice(), &[Op::Jump { target: Target { offset: 64 } }]].concat(),
            // The value is another one when it is put together.
            [rotation(&[clear(A0)]).as_slice(), &last].concat(),
            // Who leaves could not make it again.
            [rotation(&[]).as_slice(), &[load(A0, A0), load(A0, A0)], &last].concat(),
            // A way comes in there that has not shifted.
            [
                rotation(&[]).as_slice(),
                &[Op::BranchIf { cond: Cond::Eq, a: Val::X(A0), b: Val::C(0), target: Target { offset: 0 } }],
                &last,
            ]
            .concat(),
            [&[c(BinOp::SllW, A0, A0, 7), c(BinOp::SrlW, T1, A0, 25), bin(BinOp::Or, A1, A0, Val::X(T1))], &last[..]]
                .concat(),
        ] {
            assert_eq!(folded(&ops), ops);
        }
    }

    #[test]
    fn the_source_may_be_the_last_to_be_shifted() {
        let ops = [c(BinOp::Srl, T0, A0, 60), c(BinOp::Sll, A0, A0, 4), bin(BinOp::Or, A0, A0, Val::X(T0)), clear(T0)];
        assert_eq!(folded(&ops), [c(BinOp::Rol, A0, A0, 4), clear(T0)]);
    }

    #[test]
    fn shifts_in_a_row_fold_further() {
        let ops = [c(BinOp::Sll, T0, A0, 32), c(BinOp::Srl, T0, T0, 30), bin(BinOp::Add, T0, A1, Val::X(T0))];
        assert_eq!(folded(&ops), [bin(BinOp::Sh2addUw, T0, A0, Val::X(A1))]);
        let ops = [c(BinOp::Sll, A0, A0, 48), c(BinOp::Sra, A0, A0, 48)];
        assert_eq!(folded(&ops), [Op::Un { op: UnOp::SextH, d: Dst::X(A0), a: Val::X(A0) }]);
        // Not while a load could show the half of it.
        let ops = [c(BinOp::Sll, A0, A0, 48), load(A1, T0), c(BinOp::Sra, A0, A0, 48)];
        assert_eq!(folded(&ops), ops);
    }

    #[test]
    fn folded_pairs_compute_the_same() {
        let pairs = [BinOp::Sll, BinOp::SllW].into_iter().flat_map(|l| {
            let rights = [BinOp::Srl, BinOp::Sra, BinOp::SrlW, BinOp::SraW].into_iter();
            rights.flat_map(move |r| (0..64i64).flat_map(move |n| (0..64i64).map(move |m| (l, r, n, m))))
        });
        let values = [0, 1, 0x8000_0000, 0x7fff_ffff_8001_7f80, u64::MAX, 0x0123_4567_89ab_cdef];
        let mut found = 0;
        for (l, r, n, m) in pairs {
            let ops = [c(l, T0, A0, n), c(r, T0, T0, m)];
            let [new] = folded(&ops)[..] else { continue };
            found += 1;
            for v in values {
                let want = r.eval(l.eval(v, n as u64), m as u64);
                let got = match new {
                    Op::Un { op, .. } => op.eval(v),
                    Op::Bin { op, b: Val::C(n), .. } => op.eval(v, n as u64),
                    _ => unreachable!(),
                };
                assert_eq!(got, want, "{l:?} {n}, {r:?} {m} as {new:?} of {v:#x}");
            }
        }
        assert!(found > 64);
    }

    #[test]
    fn rotations_compute_the_same() {
        let values = [0, 1, 0x8000_0000, 0x7fff_ffff_8001_7f80, u64::MAX, 0x0123_4567_89ab_cdef];
        let mut found = Vec::new();
        for (l, r, bits) in
            [(BinOp::SllW, BinOp::SrlW, 32), (BinOp::Sll, BinOp::SrlW, 32), (BinOp::Sll, BinOp::Srl, 64)]
        {
            for join in [BinOp::Or, BinOp::Xor, BinOp::Add, BinOp::AddW] {
                for n in 0..bits {
                    let ops = [c(l, T0, A0, n), c(r, T1, A0, bits - n), bin(join, T0, T0, Val::X(T1)), clear(T1)];
                    let [Op::Bin { op, b: Val::C(by), .. }, _] = folded(&ops)[..] else { continue };
                    found.push(op);
                    for v in values {
                        let (left, right) = (l.eval(v, n as u64), r.eval(v, (bits - n) as u64));
                        assert_eq!(op.eval(v, by as u64), join.eval(left, right), "{l:?} {join:?} {n} of {v:#x}");
                    }
                }
            }
        }
        let count = |op| found.iter().filter(|&&o| o == op).count();
        assert_eq!([BinOp::RolW, BinOp::FunnelW, BinOp::Rol].map(count), [5 * 31, 3 * 31, 3 * 63]);
    }

    #[test]
    fn constants_are_put_together() {
        let ops = [Op::Mov { d: Dst::X(T0), s: Val::C(0x12000) }, c(BinOp::AddW, T0, T0, -1)];
        assert_eq!(folded(&ops), [Op::Mov { d: Dst::X(T0), s: Val::C(0x11fff) }]);
        let ops = [Op::PcRel { d: Dst::X(T0), offset: 0x1000 }, c(BinOp::Add, T0, T0, -8)];
        assert_eq!(folded(&ops), [Op::PcRel { d: Dst::X(T0), offset: 0xff8 }]);
    }
}
