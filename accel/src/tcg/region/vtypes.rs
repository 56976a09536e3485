//! What `vtype` the vector instructions of a region are likely to meet. Generated code looks, so a wrong answer costs
//! no more than time: the region is left there.

use arch::isa::Op as G;

use super::target;
use crate::tcg::ir::{IrBlock, Op};

/// The word (see `helpers::vector::assumed`) at the start of each node where the one at `head` meets `word`, along the
/// way on which the node is found first. `None`: nothing is known.
pub fn at_starts(nodes: &[IrBlock], head: u16, word: Option<u32>) -> Vec<Option<u32>> {
    let mut words = vec![None; nodes.len()];
    let mut seen = vec![false; nodes.len()];
    let mut ways = vec![(i64::from(head), word)];
    while let Some((to, mut word)) = ways.pop() {
        let Some(i) = nodes.iter().position(|n| i64::from(n.start) == to) else { continue };
        if std::mem::replace(&mut seen[i], true) {
            continue;
        }
        words[i] = word;
        for op in &nodes[i].ops {
            if let Op::Vector { op, raw, .. } = *op {
                word = behind(op, raw, word);
            }
            ways.extend(target(op).map(|to| (to, word)));
        }
    }
    words
}

/// The word behind an instruction before which it is `word`.
fn behind(op: G, raw: u32, word: Option<u32>) -> Option<u32> {
    match op {
        // What is beyond these bits is reserved, and nothing is made for it.
        G::Vsetvli | G::Vsetivli => Some(raw >> 20 & 0xff),
        G::Vsetvl => None,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::{Cond, Target, Val};

    fn node(start: u16, vtype: Option<u32>, to: &[i64]) -> IrBlock {
        let set = |vtype: u32| Op::Vector { op: G::Vsetvli, raw: vtype << 20, d: None, a: Val::C(0), b: Val::C(0) };
        let branch =
            |&offset: &i64| Op::BranchIf { cond: Cond::Eq, a: Val::X(1), b: Val::C(0), target: Target { offset } };
        let ops = vtype.map(set).into_iter().chain(to.iter().map(branch)).collect();
        IrBlock { ops, start, ..IrBlock::default() }
    }

    #[test]
    fn a_node_meets_what_was_set_on_the_way() {
        let nodes = [node(0, None, &[8]), node(4, Some(0xc8), &[0, 8]), node(8, Some(0xd0), &[4]), node(12, None, &[])];
        assert_eq!(at_starts(&nodes, 4, Some(0xd9)), [Some(0xc8), Some(0xd9), Some(0xc8), None]);
        assert_eq!(at_starts(&nodes, 0, None), [None, Some(0xd0), None, None]);
    }
}
