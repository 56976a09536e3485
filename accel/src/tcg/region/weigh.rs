//! Which guest registers a region uses most: those deep in its loops count more than those in few.

use super::target;
use crate::tcg::ir::{BinOp, Cond, Dst, IrBlock, Op, Val};

/// Deeper loops do not count more.
const MAX_DEPTH: u32 = 4;

/// The loops of a region: a jump back makes one of all that stands between it and its target.
fn loops(nodes: &[IrBlock]) -> Vec<(i64, i64)> {
    let mut loops: Vec<(i64, i64)> = Vec::new();
    let mut at = 0;
    for op in nodes.iter().flat_map(|n| &n.ops) {
        if let Op::Insn { offset, .. } = *op {
            at = i64::from(offset);
        }
        let Some(to) = target(op) else { continue };
        if to > at || !nodes.iter().any(|n| i64::from(n.start) == to) {
            continue;
        }
        match loops.iter_mut().find(|(head, _)| *head == to) {
            Some((_, last)) => *last = at.max(*last),
            None => loops.push((to, at)),
        }
    }
    loops
}

/// Calls `f` for each operation, with how much it counts.
pub fn each(nodes: &[IrBlock], mut f: impl FnMut(&Op, u64)) {
    let loops = loops(nodes);
    let mut weight = 1;
    for op in nodes.iter().flat_map(|n| &n.ops) {
        if let Op::Insn { offset, .. } = *op {
            let around = loops.iter().filter(|(head, last)| (*head..=*last).contains(&i64::from(offset))).count();
            weight = 8u64.pow((around as u32).min(MAX_DEPTH));
        }
        f(op, weight);
    }
}

/// Registers that an operation reads where an operand in memory is as good as one in a register, a bit each.
fn read_anywhere(op: &Op) -> u32 {
    let bit = |v: Val| if let Val::X(r) = v { 1 << r } else { 0u32 };
    match *op {
        Op::BranchIf { cond, a, b, .. } => {
            let swaps = matches!(cond, Cond::Eq | Cond::Ne | Cond::Lt | Cond::Ltu) && matches!(b, Val::X(_));
            if bit(a) == bit(b) { 0 } else { bit(b) & !bit(a) | if swaps { bit(a) } else { 0 } }
        }
        Op::Bin { op: BinOp::Add | BinOp::Sub | BinOp::And | BinOp::Or | BinOp::Xor, d, a, b } if a == d.into() => {
            bit(b) & !bit(a)
        }
        _ => 0,
    }
}

/// How a region uses the guest registers.
pub struct Usage {
    /// Those it uses, those that count most first.
    pub used: Vec<u8>,
    /// Those it may write, a bit each.
    pub written: u32,
    /// Those that do as well in memory: they are only read, where an operand may be there.
    pub anywhere: u32,
}

pub fn registers(nodes: &[IrBlock]) -> Usage {
    let mut weights = [0u64; 32];
    let (mut written, mut held) = (0, 0);
    each(nodes, |op, weight| {
        let (reads, _, write) = op.operands();
        for v in reads.into_iter().flatten().chain(write.map(Val::from)) {
            if let Val::X(r) = v {
                weights[usize::from(r)] += weight;
                held |= 1 << r & !read_anywhere(op);
            }
        }
        if let Some(Dst::X(r)) = write {
            written |= 1 << r;
        }
    });
    let mut used: Vec<u8> = (1..32).filter(|&r| weights[usize::from(r)] != 0).collect();
    used.sort_by_key(|&r| std::cmp::Reverse(weights[usize::from(r)]));
    Usage { used, written, anywhere: !(written | held) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::{Target, Width};

    #[test]
    fn limits_do_as_well_in_memory() {
        let branch = |cond, a, b| Op::BranchIf { cond, a: Val::X(a), b: Val::X(b), target: Target { offset: 0 } };
        let add = |d, a, b| Op::Bin { op: BinOp::Add, d: Dst::X(d), a: Val::X(a), b: Val::X(b) };
        let anywhere = |ops: &[Op]| registers(&[IrBlock { ops: ops.to_vec(), ..IrBlock::default() }]).anywhere;
        assert_eq!(anywhere(&[add(5, 5, 6), branch(Cond::Geu, 5, 7), branch(Cond::Ne, 8, 5)]), !(1 << 5));
        let load = Op::Load { d: None, base: Val::X(6), offset: 0, width: Width::W, signed: true };
        for held in [branch(Cond::Geu, 6, 5), branch(Cond::Ne, 6, 6), add(5, 6, 5), add(5, 7, 6), add(6, 6, 7), load] {
            assert_eq!(anywhere(&[held, branch(Cond::Ne, 5, 6)]) >> 6 & 1, 0, "{held:?}");
        }
    }
}
