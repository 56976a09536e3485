//! Search loops: a small loop that loads one element after another until one of them compares as wanted, and does nothing
//! else ([`unroll`](super::unroll) finds small loops). What `strlen`, `memchr`, a partition and `position` are made of.
//!
//! Where such a loop ends is what the host foretells worst: an element that is as likely to end it as not costs a branch
//! foretold wrongly every other time, and those are most of the loop's time. So the code compares many elements at once
//! with the host's vectors, *skips* the rounds that certainly go on, and then goes around once as the loop says. That
//! round makes every decision, so what was skipped need not be the most possible, and registers that a round writes
//! before it may leave the loop need not be right before it.
//!
//! Loads of elements that the guest may not get to have no effect: all that is loaded at once lies in RAM behind one
//! look ([`strides`](super::strides)). Harts may see stores of others to different elements in any order, but for
//! Ztso, where the loads of harts that have company stay apart ([`Code::searches`](super::form::Code)).

use super::strides::Look;
use super::target;
use crate::tcg::ir::{BinOp, Cond, Dst, IrBlock, Op, Val, Width};

/// Bytes that are compared at once.
pub const BYTES: i32 = 32;

/// A comparison `value cond with` of what changes from round to round with what does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    pub cond: Cond,
    pub with: Val,
    /// It is `with cond value`.
    pub swapped: bool,
}

impl Test {
    fn of(cond: Cond, a: Val, b: Val, value: u8) -> Option<Self> {
        match (a == Val::X(value), b == Val::X(value)) {
            (true, false) => Some(Self { cond, with: b, swapped: false }),
            (false, true) => Some(Self { cond, with: a, swapped: true }),
            _ => None,
        }
    }
}

/// How a search loop knows that there are no more elements, by a register that steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// It goes on while this holds for the register.
    pub goes_on: Test,
    pub register: u8,
    /// What the register was moved by in the round before it is compared.
    pub moved: i32,
    pub step: i32,
}

/// Where a register that steps while its bound lets it go on comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// What it is compared with.
    Bound,
    /// 0, going down from below what it is compared with.
    Zero,
}

impl Bound {
    /// What the register steps to, by which code can tell that the bound holds for some rounds if it does for the first and
    /// the last; `None`: it cannot.
    pub fn ahead(&self) -> Option<Ahead> {
        let up = self.step > 0;
        let (below, unsigned) = match (self.goes_on.cond, self.goes_on.swapped) {
            (Cond::Ne, _) => return Some(Ahead::Bound),
            (Cond::Eq, _) => return None,
            (cond @ (Cond::Lt | Cond::Ltu), swapped) => (!swapped, cond == Cond::Ltu),
            (cond @ (Cond::Ge | Cond::Geu), swapped) => (swapped, cond == Cond::Geu),
        };
        match (below, up) {
            (true, true) | (false, false) => Some(Ahead::Bound),
            (true, false) => unsigned.then_some(Ahead::Zero),
            (false, true) => None,
        }
    }
}

/// A node that is a search loop, or begins with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// All that is loaded at once.
    pub look: Look,
    pub width: Width,
    pub signed: bool,
    /// Elements come from higher to lower addresses.
    pub descends: bool,
    /// It ends when this holds for an element.
    pub ends: Test,
    pub bound: Option<Bound>,
    /// Registers that step in each round, and how far.
    pub steps: Vec<(u8, i32)>,
    /// Instructions of a round.
    pub insns: u16,
}

impl Search {
    /// Elements that are compared at once.
    pub fn lanes(&self) -> i32 {
        BYTES / self.width.bytes() as i32
    }

    /// What `node` searches, if it does.
    pub fn find(node: &IrBlock) -> Option<Self> {
        let is_back = |op: &Op| target(op) == Some(i64::from(node.start));
        let back = node.ops.iter().position(is_back)?;
        // What comes behind has no looks.
        if node.ops[back + 1..].iter().any(|op| !matches!(op, Op::Insn { .. } | Op::Jump { .. })) {
            return None;
        }
        let mut round = Round::default();
        for op in &node.ops[..=back] {
            round.add(op, is_back(op))?;
        }
        round.search()
    }
}

/// What was seen of a round so far.
#[derive(Debug, Default)]
struct Round {
    insn: u16,
    insns: u16,
    load: Option<Load>,
    steps: Vec<(u8, i32)>,
    /// Conditions under which it goes on, and how far each register had stepped before.
    tests: Vec<(Cond, Val, Val, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Load {
    d: u8,
    base: u8,
    offset: i32,
    width: Width,
    signed: bool,
    insn: u16,
}

impl Round {
    /// `None` for what a search loop has not.
    fn add(&mut self, op: &Op, is_back: bool) -> Option<()> {
        match *op {
            Op::Insn { offset, .. } => {
                (self.insn, self.insns) = (offset, self.insns + 1);
            }
            Op::Load { d: Some(Dst::X(d)), base: Val::X(base), offset, width, signed } if self.load.is_none() => {
                let offset = offset + self.moved(base, self.steps.len());
                self.load = Some(Load { d, base, offset, width, signed, insn: self.insn });
            }
            Op::Bin { op: BinOp::Add, d: Dst::X(d), a, b: Val::C(k) } if a == Val::X(d) => {
                let step = i32::try_from(k).ok().filter(|k| (1..1 << 11).contains(&k.abs()))?;
                if self.steps.iter().any(|(r, _)| *r == d) {
                    return None;
                }
                self.steps.push((d, step));
            }
            Op::BranchIf { cond, a, b, .. } => {
                let cond = if is_back { cond } else { cond.inverse() };
                self.tests.push((cond, a, b, self.steps.len()));
            }
            Op::Jump { .. } if is_back => {}
            _ => return None,
        }
        Some(())
    }

    /// What the first `steps` steps move register `r` by.
    fn moved(&self, r: u8, steps: usize) -> i32 {
        self.steps[..steps].iter().find(|(x, _)| *x == r).map_or(0, |(_, k)| *k)
    }

    fn search(self) -> Option<Search> {
        let load = self.load?;
        let step = |r| self.moved(r, self.steps.len());
        let bytes = load.width.bytes() as i32;
        let changes = |v: Val| matches!(v, Val::X(r) if r == load.d || step(r) != 0);
        if step(load.base).abs() != bytes || step(load.d) != 0 || load.d == load.base {
            return None;
        }
        let (mut ends, mut bound) = (None, None);
        for &(cond, a, b, steps) in &self.tests {
            if let Some(test) = Test::of(cond.inverse(), a, b, load.d) {
                if changes(test.with) || ends.replace(test).is_some() {
                    return None;
                }
                continue;
            }
            let register = [a, b].into_iter().find_map(|v| match v {
                Val::X(r) if step(r) != 0 => Some(r),
                _ => None,
            })?;
            let goes_on = Test::of(cond, a, b, register).filter(|test| !changes(test.with))?;
            let this = Bound { goes_on, register, moved: self.moved(register, steps), step: step(register) };
            if bound.replace(this).is_some() || this.ahead().is_none() {
                return None;
            }
        }
        let ends = ends.filter(|test| can_be(test.with, load.width, load.signed))?;
        let descends = step(load.base) < 0;
        let low = if descends { load.offset + bytes - BYTES } else { load.offset };
        let look = Look { insn: load.insn, base: load.base, write: false, both: false, low, high: low + BYTES - 1 };
        let Load { width, signed, .. } = load;
        Some(Search { look, width, signed, descends, ends, bound, steps: self.steps, insns: self.insns })
    }
}

/// Whether `v` may be what a load gives.
fn can_be(v: Val, width: Width, signed: bool) -> bool {
    match v {
        Val::X(_) => true,
        Val::T(_) => false,
        Val::C(c) => width.extend(c as u64, signed) == c as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::Target;

    const START: u16 = 8;

    fn insn(offset: u16) -> Op {
        Op::Insn { offset, len: 4 }
    }

    fn load(d: u8, base: u8, offset: i32, width: Width) -> Op {
        Op::Load { d: Some(Dst::X(d)), base: Val::X(base), offset, width, signed: true }
    }

    fn add(d: u8, k: i64) -> Op {
        Op::Bin { op: BinOp::Add, d: Dst::X(d), a: Val::X(d), b: Val::C(k) }
    }

    fn branch(cond: Cond, a: u8, b: u8, offset: i64) -> Op {
        Op::BranchIf { cond, a: Val::X(a), b: Val::X(b), target: Target { offset } }
    }

    fn node(ops: &[Op]) -> IrBlock {
        // Each operation is an instruction.
        let all = (0..).zip(ops).flat_map(|(i, op)| [insn(START + 4 * i), *op]);
        let insns = ops.len() as u16;
        IrBlock { ops: all.collect(), start: START, end: START + 4 * insns, insns }
    }

    /// `while x12[x14++] < x15` up to x13 elements.
    fn partition() -> [Op; 5] {
        [
            load(5, 12, 0, Width::W),
            branch(Cond::Geu, 5, 15, 200),
            add(14, 1),
            add(12, 4),
            branch(Cond::Ltu, 14, 13, START.into()),
        ]
    }

    #[test]
    fn a_search_is_a_load_a_comparison_and_steps() {
        let found = Search::find(&node(&partition())).unwrap();
        let look = Look { insn: START, base: 12, write: false, both: false, low: 0, high: 31 };
        let ends = Test { cond: Cond::Geu, with: Val::X(15), swapped: false };
        let goes_on = Test { cond: Cond::Ltu, with: Val::X(13), swapped: false };
        let bound = Some(Bound { goes_on, register: 14, moved: 1, step: 1 });
        let steps = vec![(14, 1), (12, 4)];
        let (width, signed, descends) = (Width::W, true, false);
        assert_eq!(found, Search { look, width, signed, descends, ends, bound, steps, insns: 5 });
        assert_eq!(found.lanes(), 8);
        // The way back may be the comparison, the step come before the load, and elements from above.
        let ops = [add(12, -1), load(5, 12, 7, Width::B), branch(Cond::Ne, 0, 5, START.into())];
        let found = Search::find(&node(&ops)).unwrap();
        assert_eq!((found.look.low, found.look.high), (6 - 31, 6));
        assert_eq!(found.ends, Test { cond: Cond::Eq, with: Val::X(0), swapped: true });
        assert!(found.descends && found.bound.is_none() && found.lanes() == 32);
        // What is behind it is only where it goes on.
        let jump = Op::Jump { target: Target { offset: 100 } };
        let ops = [&partition()[..], &[jump]].concat();
        assert!(Search::find(&node(&ops)).is_some());
        assert!(Search::find(&node(&[&partition()[..], &[add(7, 1), jump]].concat())).is_none());
    }

    #[test]
    fn other_loops_are_none() {
        type Change<'a> = (&'a str, usize, Op);
        let store = Op::Store { base: Val::X(12), offset: 0, src: Val::X(5), width: Width::W };
        let changes: [Change; 11] = [
            ("loads from what was loaded", 0, load(12, 12, 0, Width::W)),
            ("loads elements of another size", 0, load(5, 12, 0, Width::H)),
            ("has no comparison of the element", 1, branch(Cond::Geu, 6, 15, 200)),
            ("compares with what steps", 1, branch(Cond::Geu, 5, 14, 200)),
            ("compares elements with each other", 1, branch(Cond::Geu, 5, 5, 200)),
            ("steps by what was loaded", 3, Op::Bin { op: BinOp::Add, d: Dst::X(12), a: Val::X(12), b: Val::X(5) }),
            ("steps too far", 2, add(14, 1 << 31)),
            ("steps twice", 2, add(12, 1)),
            ("stores", 2, store),
            ("goes on at one place only", 4, branch(Cond::Eq, 14, 13, START.into())),
            ("goes away from its bound", 4, branch(Cond::Lt, 13, 14, START.into())),
        ];
        for (what, at, op) in changes {
            let mut ops = partition();
            ops[at] = op;
            assert_eq!(Search::find(&node(&ops)), None, "{what}");
        }
        let two_bounds = [&partition()[..3], &[branch(Cond::Eq, 14, 7, 100)], &partition()[3..]].concat();
        assert_eq!(Search::find(&node(&two_bounds)), None);
    }

    #[test]
    fn constants_are_such_as_may_be_loaded() {
        let with = |c: i64, width, signed| {
            let mut ops = partition();
            ops[0] = Op::Load { d: Some(Dst::X(5)), base: Val::X(12), offset: 0, width, signed };
            ops[3] = add(12, width.bytes() as i64);
            let target = Target { offset: 200 };
            ops[1] = Op::BranchIf { cond: Cond::Eq, a: Val::X(5), b: Val::C(c), target };
            Search::find(&node(&ops)).is_some()
        };
        assert!(with(0, Width::B, false) && with(255, Width::B, false) && !with(256, Width::B, false));
        assert!(with(-1, Width::H, true) && !with(0x8000, Width::H, true) && !with(-1, Width::H, false));
        assert!(with(-1, Width::D, true) && !with(1 << 31, Width::W, true) && with(1 << 31, Width::W, false));
    }
}
