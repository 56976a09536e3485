//! Which guest registers a region uses most: those deep in its loops count more than those in few.

use super::target;
use crate::tcg::ir::verify::operands;
use crate::tcg::ir::{Dst, IrBlock, Op, Val};

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

/// The guest registers that are used, those that count most first, and a bit for each that may be written.
pub fn registers(nodes: &[IrBlock]) -> (Vec<u8>, u32) {
    let mut weights = [0u64; 32];
    let mut written = 0;
    each(nodes, |op, weight| {
        let (reads, _, write) = operands(op);
        for v in reads.into_iter().flatten().chain(write.map(Val::from)) {
            if let Val::X(r) = v {
                weights[usize::from(r)] += weight;
            }
        }
        if let Some(Dst::X(r)) = write {
            written |= 1 << r;
        }
    });
    let mut used: Vec<u8> = (1..32).filter(|&r| weights[usize::from(r)] != 0).collect();
    used.sort_by_key(|&r| std::cmp::Reverse(weights[usize::from(r)]));
    (used, written)
}
