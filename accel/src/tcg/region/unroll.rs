//! Small loops are gone around twice in their nodes, tiny ones four times, so that the count of instructions and the look
//! at the poll bits come once for all these rounds. In a loop of five instructions they are a quarter of its code.
//!
//! All rounds but the last end with the branch back turned round: it leaves where the loop ends, and else goes on with
//! the next.

use super::target;
use crate::tcg::ir::{IrBlock, Op, Target};

/// Most instructions of such a loop.
const MAX_INSNS: usize = 12;
/// Most instructions of one that is gone around four times.
const TINY: usize = 6;

/// The operation with which `block` goes back to its own start, behind which it is a small loop, and where it goes on
/// when it does not: `None` if it always does. The last, or the first if the loop up to there is too large.
fn way_back(block: &IrBlock) -> Option<(usize, Option<u16>)> {
    let is_back = |op: &Op| target(op) == Some(i64::from(block.start));
    let (last, first) = (block.ops.iter().rposition(is_back)?, block.ops.iter().position(is_back)?);
    small(block, last).or_else(|| small(block, first))
}

/// The same if it is operation `at`.
fn small(block: &IrBlock, at: usize) -> Option<(usize, Option<u16>)> {
    let round = &block.ops[..at];
    // What is plain is made of few host instructions, and knows nothing of how often it was done.
    let insns = round.iter().filter(|op| matches!(op, Op::Insn { .. })).count();
    if insns > MAX_INSNS || !round.iter().all(Op::is_plain) {
        return None;
    }
    if matches!(block.ops[at], Op::Jump { .. }) {
        return Some((at, None));
    }
    // The branch is to be the end of its instruction.
    match *block.ops.get(at + 1)? {
        Op::Insn { offset, .. } => Some((at, Some(offset))),
        Op::Jump { target } => Some((at, Some(u16::try_from(target.offset).ok()?))),
        _ => None,
    }
}

/// Where a small loop that is all of the start of `block` goes on when it ends: a node is to begin there.
pub fn end(block: &IrBlock) -> Option<u16> {
    way_back(block)?.1
}

/// Puts further rounds behind the first if `block` begins with a small loop. Marks do not ascend in it any more, and its
/// instructions are counted once.
pub fn unroll(block: &mut IrBlock) {
    let Some((at, end)) = way_back(block) else { return };
    let mut round = block.ops[..at].to_vec();
    if let (Op::BranchIf { cond, a, b, .. }, Some(end)) = (block.ops[at], end) {
        round.push(Op::BranchIf { cond: cond.inverse(), a, b, target: Target { offset: i64::from(end) } });
    }
    let insns = round.iter().filter(|op| matches!(op, Op::Insn { .. })).count();
    for _ in 1..if insns > TINY { 2 } else { 4 } {
        block.ops.splice(..0, round.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::{BinOp, Cond, Dst, Val, Width};

    fn insn(offset: u16) -> Op {
        Op::Insn { offset, len: 4 }
    }

    fn branch(cond: Cond, offset: i64) -> Op {
        Op::BranchIf { cond, a: Val::X(5), b: Val::X(6), target: Target { offset } }
    }

    fn jump(offset: i64) -> Op {
        Op::Jump { target: Target { offset } }
    }

    fn add() -> Op {
        Op::Bin { op: BinOp::Add, d: Dst::X(5), a: Val::X(5), b: Val::C(1) }
    }

    fn block(ops: Vec<Op>) -> IrBlock {
        let insns = ops.iter().filter(|op| matches!(op, Op::Insn { .. })).count() as u16;
        IrBlock { ops, start: 8, end: 8 + 4 * insns, insns }
    }

    #[test]
    fn a_branch_back_becomes_one_out() {
        let mut b = block(vec![insn(8), add(), insn(12), branch(Cond::Ne, 8), insn(16), jump(40)]);
        assert_eq!(end(&b), Some(16));
        unroll(&mut b);
        let last = [insn(8), add(), insn(12), branch(Cond::Ne, 8), insn(16), jump(40)];
        for round in b.ops[..12].chunks(4) {
            assert_eq!(round, [insn(8), add(), insn(12), branch(Cond::Eq, 16)]);
        }
        assert_eq!(b.ops[12..], last);
        assert_eq!((b.insns, b.end), (3, 20));
    }

    #[test]
    fn a_jump_back_is_left_out_once() {
        let mut b = block(vec![insn(8), branch(Cond::Ltu, 60), insn(12), add(), insn(16), jump(8)]);
        assert_eq!(end(&b), None);
        let first = b.ops[..5].to_vec();
        let all = b.ops.clone();
        unroll(&mut b);
        assert!(b.ops[..15].chunks(5).all(|round| round == first));
        assert_eq!(b.ops[15..], all);
        assert_eq!(b.insns, 3);
    }

    #[test]
    fn who_is_not_tiny_has_two_rounds() {
        for (insns, rounds) in [(TINY, 4), (TINY + 1, 2)] {
            let mut ops: Vec<Op> = (1..insns as u16).flat_map(|i| [insn(4 + 4 * i), add()]).collect();
            ops.extend([insn(4 + 4 * insns as u16), branch(Cond::Ne, 8), jump(100)]);
            let mut b = block(ops);
            unroll(&mut b);
            assert_eq!(b.ops.iter().filter(|&&op| op == add()).count(), rounds * (insns - 1));
        }
    }

    #[test]
    fn a_large_loop_may_begin_with_a_small_one() {
        let mut ops = vec![insn(8), add(), insn(12), branch(Cond::Ne, 8)];
        ops.extend((4..=4 + MAX_INSNS as u16).flat_map(|i| [insn(4 * i), add()]));
        ops.extend([branch(Cond::Lt, 8), jump(100)]);
        assert_eq!(end(&block(ops)), Some(16));
        // The last one counts if the whole is small.
        let ops = vec![insn(8), add(), insn(12), branch(Cond::Ne, 8), insn(16), branch(Cond::Lt, 8), jump(20)];
        assert_eq!(end(&block(ops)), Some(20));
    }

    #[test]
    fn what_is_large_or_counts_stays() {
        let mut large: Vec<Op> = (0..=MAX_INSNS as u16).flat_map(|i| [insn(8 + 4 * i), add()]).collect();
        large.extend([branch(Cond::Ne, 8), jump(100)]);
        let lr = Op::Lr { width: Width::D, d: None, addr: Val::X(7) };
        let counts = vec![insn(8), lr, insn(12), branch(Cond::Ne, 8), jump(16)];
        let elsewhere = vec![insn(8), add(), insn(12), branch(Cond::Ne, 4), jump(16)];
        for ops in [large, counts, elsewhere] {
            let mut b = block(ops.clone());
            unroll(&mut b);
            assert_eq!(b.ops, ops);
            assert_eq!(end(&b), None);
        }
    }
}
