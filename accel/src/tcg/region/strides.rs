//! Loops whose accesses move on by the same distance each round: one look at a page is for all the rounds that stand in
//! their node ([`unroll`](super::unroll)).
//!
//! It comes before the first round, where nothing has happened yet. Loads and stores by one register share it: of RAM in
//! the TLB, what may be stored to may be loaded from (`Hart::place`). If what all rounds access by a register is not in one
//! page, one round is gone around alone, with a look for each access: that is a node of its own, from which the way back
//! leads to the looks again.

use crate::tcg::ir::{BinOp, Dst, Op, Val};

/// The most bytes of what is looked for at once.
const SPAN: i32 = 256;
/// The most looks of a node.
const MOST: usize = 3;

/// What all rounds of a node access by a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Offset of the first instruction that does.
    pub insn: u16,
    pub base: u8,
    pub write: bool,
    /// Loads are meant, too: what may be stored to may be loaded from.
    pub both: bool,
    /// Offsets of the first byte and of the last one from what the register holds at the start.
    pub low: i32,
    pub high: i32,
}

impl Look {
    /// Whether it is for the access `op`.
    pub fn is_of(&self, op: &Op) -> bool {
        op.access().is_some_and(|(base, _, _, write)| self.is_for(base, write))
    }

    /// Whether it is for the accesses of this direction by `base`.
    pub fn is_for(&self, base: Val, write: bool) -> bool {
        (self.write == write || self.both) && base == Val::X(self.base)
    }

    /// One for all that is accessed by the register, if it has two.
    fn join(&mut self, other: &Self) -> bool {
        let (low, high) = (self.low.min(other.low), self.high.max(other.high));
        let joins = self.base == other.base && high - low < SPAN;
        if joins {
            *self = Self { write: true, both: true, low, high, ..*self };
        }
        joins
    }
}

/// How far `op` moves the register that it writes.
fn step(op: &Op) -> Option<(u8, i32)> {
    match *op {
        Op::Bin { op: BinOp::Add, d: Dst::X(d), a, b: Val::C(k) } if a == Val::X(d) => {
            Some((d, i32::try_from(k).ok()?))
        }
        _ => None,
    }
}

/// The looks that are enough for all accesses of a node with these operations, if there are such.
pub fn looks(ops: &[Op]) -> Option<Vec<Look>> {
    let (mut found, mut moved, mut insn): (Vec<Look>, [i32; 32], _) = (Vec::new(), [0; 32], 0);
    let (mut accesses, mut fixed) = (0, 0u32);
    for op in ops {
        match (op.access(), step(op)) {
            _ if matches!(op, Op::LoadF { .. } | Op::StoreF { .. }) => return None,
            (Some((base, offset, bytes, write)), _) => {
                let Val::X(r) = base else { return None };
                let low = offset + moved[usize::from(r)];
                let high = low + bytes - 1;
                accesses += 1;
                match found.iter_mut().find(|l| l.is_for(base, write)) {
                    Some(l) => (l.low, l.high) = (l.low.min(low), l.high.max(high)),
                    None => found.push(Look { insn, base: r, write, both: false, low, high }),
                }
            }
            (None, Some((r, k))) => {
                let to = &mut moved[usize::from(r)];
                *to = to.checked_add(k).filter(|to| to.abs() < 1 << 16)?;
                continue;
            }
            // Calls to Rust could change what pages are.
            (None, None) if op.is_arithmetic() || matches!(op, Op::Jump { .. }) => {}
            _ => return None,
        }
        if let Op::Insn { offset, .. } = *op {
            insn = offset;
        }
        if let Some(Dst::X(r)) = op.operands().2 {
            fixed |= 1 << r;
        }
    }
    let found = found.into_iter().fold(Vec::new(), |mut joined: Vec<Look>, look| {
        if !joined.iter_mut().any(|l| l.join(&look)) {
            joined.push(look);
        }
        joined
    });
    let is_good = |l: &Look| fixed >> l.base & 1 == 0 && l.high - l.low < SPAN;
    (!found.is_empty() && found.len() <= MOST && 2 * found.len() <= accesses && found.iter().all(is_good))
        .then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::{Cond, Target, Width};

    fn insn(offset: u16) -> Op {
        Op::Insn { offset, len: 4 }
    }

    fn load(d: u8, base: u8, offset: i32) -> Op {
        Op::Load { d: Some(Dst::X(d)), base: Val::X(base), offset, width: Width::W, signed: true }
    }

    fn store(src: u8, base: u8, offset: i32) -> Op {
        Op::Store { base: Val::X(base), offset, src: Val::X(src), width: Width::D }
    }

    fn add(d: u8, b: Val) -> Op {
        Op::Bin { op: BinOp::Add, d: Dst::X(d), a: Val::X(d), b }
    }

    fn rounds(round: &[Op]) -> Vec<Op> {
        let branch = Op::BranchIf { cond: Cond::Ne, a: Val::X(5), b: Val::X(6), target: Target { offset: 0 } };
        [round, &[branch], round, &[branch]].concat()
    }

    #[test]
    fn a_look_is_for_what_all_rounds_access_by_a_register() {
        let round =
            [insn(4), load(5, 10, -4), insn(8), store(5, 11, 16), insn(12), add(10, Val::C(-4)), add(11, Val::C(8))];
        let found = looks(&rounds(&round)).unwrap();
        let read = Look { insn: 4, base: 10, write: false, both: false, low: -8, high: -1 };
        let write = Look { insn: 8, base: 11, write: true, both: false, low: 16, high: 31 };
        assert_eq!(found, [read, write]);
        assert!(read.is_of(&round[1]) && !read.is_of(&round[3]) && !read.is_of(&load(5, 11, 0)));
    }

    #[test]
    fn loads_and_stores_by_one_register_have_one_look() {
        let round = [insn(4), load(5, 10, -4), insn(8), store(5, 10, 0), insn(12), add(10, Val::C(-4))];
        let both = Look { insn: 4, base: 10, write: true, both: true, low: -8, high: 7 };
        assert_eq!(looks(&rounds(&round)).unwrap(), [both]);
        assert!(both.is_of(&round[1]) && both.is_of(&round[3]) && !both.is_of(&load(5, 11, 0)));
        // They would not often be in one page.
        let apart = [insn(4), load(5, 10, -4), insn(8), store(5, 10, SPAN - 16), insn(12), add(10, Val::C(8))];
        assert_eq!(looks(&rounds(&apart)).unwrap().iter().map(|l| l.both).collect::<Vec<_>>(), [false; 2]);
    }

    #[test]
    fn what_comes_behind_a_step_counts_it() {
        let round = [insn(4), load(5, 10, 0), insn(8), add(10, Val::C(32)), insn(12), load(6, 10, 0)];
        assert_eq!(
            looks(&rounds(&round)).unwrap(),
            [Look { insn: 4, base: 10, write: false, both: false, low: 0, high: 67 }]
        );
    }

    #[test]
    fn registers_that_go_elsewhere_have_none() {
        let lr = Op::Lr { width: Width::D, d: None, addr: Val::X(7) };
        let far = [insn(4), load(5, 10, 0), add(10, Val::C(SPAN.into()))];
        let huge = [insn(4), load(5, 10, 0), add(10, Val::C(1 << 31))];
        let other = [insn(4), load(5, 10, 0), add(10, Val::X(11))];
        let followed = [insn(4), load(10, 10, 0)];
        let (calls, constant) = (
            [insn(4), load(5, 10, 0), lr],
            [insn(4), Op::Load { d: None, base: Val::C(64), offset: 0, width: Width::B, signed: true }],
        );
        for round in [&far[..], &huge, &other, &followed, &calls, &constant, &[insn(4), add(5, Val::C(1))]] {
            assert_eq!(looks(&rounds(round)), None, "{round:?}");
        }
        let many: Vec<Op> = (10..11 + MOST as u8).map(|base| load(5, base, 0)).collect();
        assert_eq!(looks(&rounds(&many)), None);
        // A look for each access would be no gain.
        assert_eq!(looks(&[insn(4), load(5, 10, 0)]), None);
    }
}
