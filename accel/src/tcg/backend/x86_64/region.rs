//! Regions: the code of a loop with a register map of its own.
//!
//! A region is entered from blocks, so at its entry and at its exits the registers are where blocks have them. The map
//! differs from theirs by *swaps*: a host register whose pinned guest register the region uses less than another one
//! holds that other one inside, and the pinned one lives in memory meanwhile. Pinned registers that stay where they are
//! cost nothing on the way in and out. Those that the region does not use at all may make room in the same way for what
//! it needs itself (`addends`).
//!
//! Calls to Rust know nothing of the map. Before one, all guest registers are written to where Rust finds them (`save`);
//! after it, those in registers that it may have changed are loaded again (`reload`). Both are written once a region.
//! If Rust leaves, everything is in place.

use super::addends::Addend;
use super::asm::{Alu, Asm, Forward};
use super::f_regs::FState;
use super::regs::{PINS, RegMap, is_volatile};
use super::strides::{alone, looks_of};
use super::*;
use crate::tcg::ir::Cond;
use crate::tcg::region::Region;

/// A host register that holds another guest register inside than outside.
#[derive(Debug, Clone, Copy)]
struct Swap {
    reg: Reg,
    outside: u8,
    inside: u8,
    /// The region may write the one inside.
    written: bool,
}

/// What is known of a node of the region.
#[derive(Debug)]
struct Node {
    start: i64,
    /// Where its code begins, once it does.
    place: Option<u64>,
    /// Instructions before it that are not counted yet when it is entered, once somebody leads to it: so that on most ways
    /// around a loop the count is changed once.
    uncounted: Option<u16>,
}

/// A jump to a node that is still to come.
#[derive(Debug)]
struct Waiting {
    to: i64,
    /// Instructions to be counted on the way.
    count: u16,
    jump: Forward,
}

/// The region that is being compiled.
#[derive(Debug)]
pub(super) struct State {
    swaps: Vec<Swap>,
    pub(super) addends: Vec<Addend>,
    /// Offset of the node at which it is entered.
    head: u16,
    nodes: Vec<Node>,
    /// Jumps to nodes that are still to come.
    waiting: Vec<Waiting>,
    /// Everything is counted before a node is entered.
    exact: bool,
    /// Instructions to be counted before the next node, if the way there is no jump.
    falls: Option<u16>,
    /// Routines around calls to Rust.
    save: u64,
    reload: u64,
    /// What each node finds of the f registers.
    f: FState,
}

/// The guest registers that count most get host registers, pinned ones their own. Those that do as well in memory make
/// room for as many `others`.
fn choose(region: &Region, others: usize) -> (RegMap, Vec<u8>, Vec<Swap>) {
    let mut map = RegMap::blocks();
    let mut chosen = region.used[..region.used.len().min(PINS.len())].to_vec();
    while PINS.len() - chosen.len() < others
        && let Some(i) = chosen.iter().rposition(|&x| region.anywhere >> x & 1 != 0)
    {
        chosen.remove(i);
    }
    let mut free = PINS.iter().filter(|(x, _)| !chosen.contains(x));
    let mut swaps = Vec::new();
    for &inside in &chosen {
        if map.get(inside).is_some() {
            continue;
        }
        let &(outside, reg) = free.next().expect("no more are chosen than there are registers");
        map.replace(outside, inside);
        swaps.push(Swap { reg, outside, inside, written: region.written >> inside & 1 != 0 });
    }
    (map, chosen, swaps)
}

impl Backend {
    /// Makes host code for `region`, to be pushed at the arena's cursor, and the offset of its entry in it. `None` if it
    /// would be too much.
    pub fn compile_region(&mut self, region: &Region, code: &mut CodeCache) -> Option<(&[u8], u64)> {
        self.begin(code);
        // No jump leads to the start of the code.
        self.start = u16::MAX;
        self.slots = Some(Vec::new());
        self.cur = u32::from(region.head);
        let places = self.addend_places(region);
        let (map, inside, swaps) = choose(region, places.len());
        self.map = map;
        // SC asks whether the count is what it was behind LR.
        let exact =
            self.smp && region.nodes.iter().flat_map(|n| &n.ops).any(|op| matches!(op, Op::Lr { .. } | Op::Sc { .. }));
        let uncounted = |start| (exact || start == region.head).then_some(0);
        let node = |n: &IrBlock| Node { start: i64::from(n.start), place: None, uncounted: uncounted(n.start) };
        let round = |n: &IrBlock| Node { start: alone(n.start), ..node(n) };
        let nodes = region.nodes.iter().map(node).chain(region.rounds.iter().map(round)).collect();
        self.mark(Mark::COLD);
        let addends = self.take_addends(places, &inside);
        let (save, reload) = self.routines(&swaps, &addends);
        let entry = self.asm.here() - self.asm.base;
        for s in &swaps {
            self.asm.store(8, x_slot(s.outside), s.reg);
            self.asm.mov(true, s.reg, x_slot(s.inside));
        }
        for a in &addends {
            self.asm.store(8, x_slot(a.outside), a.reg);
            self.asm.mov(true, a.reg, a.slot.addend());
        }
        let f = FState::default();
        let head = region.head;
        let (waiting, falls) = (Vec::new(), None);
        self.region = Some(State { swaps, addends, head, nodes, waiting, exact, falls, save, reload, f });
        let f = self.f_enter_region(region);
        if let Some(state) = &mut self.region {
            state.f = f;
        }
        if region.nodes[0].start != region.head {
            self.go_inside(i64::from(region.head));
        }
        let mut fits = true;
        self.vectors.start_block();
        for (i, node) in region.nodes.iter().enumerate() {
            self.vectors.expect(region.vtypes[i]);
            self.begin_node(i64::from(node.start));
            let search = region.search_at(node.start);
            if let Some(search) = search {
                self.before_search(node.start, search);
            }
            self.look_ahead(node.start, looks_of(region, node));
            if let Some(search) = search {
                self.skip(search);
            }
            self.node(node, region, region.nodes.get(i + 1), code);
            fits &= self.asm.code.len() < MAX_BLOCK_BYTES / 2 && !self.vectors.is_spent();
            if !fits {
                break;
            }
        }
        self.looks.clear();
        if fits {
            for round in &region.rounds {
                self.begin_node(alone(round.start));
                self.node(round, region, None, code);
            }
            self.mark(Mark::COLD);
            self.end(code);
        }
        self.last_map = std::mem::replace(&mut self.map, RegMap::blocks());
        let state = self.region.take();
        if !fits || self.asm.code.len() > MAX_BLOCK_BYTES {
            code.free_slots(self.links.drain(..).map(|l| l.slot));
            return None;
        }
        debug_assert!(state.is_some_and(|s| s.waiting.is_empty()), "a jump leads nowhere");
        Some((&self.asm.code, entry))
    }

    /// The routines around calls to Rust.
    fn routines(&mut self, swaps: &[Swap], addends: &[Addend]) -> (u64, u64) {
        let clean = |x: u8| swaps.iter().any(|s| s.inside == x && !s.written);
        let mapped: Vec<(u8, Reg)> = (1..32).filter_map(|x| Some((x, self.map.get(x)?))).collect();
        let save = self.asm.here();
        for &(x, r) in mapped.iter().filter(|(x, _)| !clean(*x)) {
            self.asm.store(8, x_slot(x), r);
        }
        self.asm.ret();
        let reload = self.asm.here();
        for &(x, r) in mapped.iter().filter(|(_, r)| is_volatile(*r)) {
            self.asm.mov(true, r, x_slot(x));
        }
        for a in addends {
            self.asm.mov(true, a.reg, a.slot.addend());
        }
        self.asm.ret();
        (save, reload)
    }

    fn begin_node(&mut self, start: i64) {
        self.forget_words();
        self.vectors.forget();
        self.ways_in(start);
        let Some(state) = &self.region else { return };
        // An LR in the node before is as one in the block before. No instruction here crosses a page.
        (self.since, self.single, self.f.now) = (Since::Entry, false, state.f);
    }

    fn node(&mut self, node: &IrBlock, region: &Region, next: Option<&IrBlock>, code: &mut CodeCache) {
        let ops = node.ops.as_slice();
        self.covers.plan(if self.looks.is_empty() { ops } else { &[] }, |offset| !region.scattered.contains(&offset));
        for (i, op) in ops.iter().enumerate() {
            self.covers.select(i);
            self.exact = self.smp && matches!(op, Op::Lr { .. }) && certainly_loud(&ops[i + 1..]);
            if let Op::Insn { offset, .. } = *op {
                self.recent = !region.scattered.contains(&offset);
            }
            self.fenced = self.takes_fence(&ops[i..]);
            match *op {
                Op::BranchIf { cond, a, b, target } if self.is_inside(target.offset) => {
                    self.branch_inside(cond, a, b, target.offset);
                }
                Op::Jump { target } if self.is_inside(target.offset) => {
                    self.jump_inside(target.offset, next.is_some_and(|n| i64::from(n.start) == target.offset));
                }
                _ => match self.find_sum(&ops[i..], |offset| !region.scattered.contains(&offset)) {
                    Some(sum) => self.put_off(sum),
                    None => self.emit(op, code),
                },
            }
            self.fence_done |= std::mem::take(&mut self.fenced);
            self.since = self.since.after(op);
        }
    }

    /// The start of a node, and before it what is counted on the ways in: those with most to count come first, and fall
    /// through to the next.
    fn ways_in(&mut self, start: i64) {
        let Some(state) = &mut self.region else { return };
        let mut ways: Vec<Waiting> = state.waiting.extract_if(.., |w| w.to == start).collect();
        ways.sort_by_key(|w| std::cmp::Reverse(w.count));
        let mut left = ways.first().map_or(0, |w| w.count);
        let over = match state.falls.take() {
            Some(count) if count >= left => {
                self.count(count - left);
                None
            }
            Some(count) => {
                self.count(count);
                Some(self.asm.jmp_forward())
            }
            None => None,
        };
        for way in ways {
            self.count(left - way.count);
            left = way.count;
            self.asm.bind(way.jump);
        }
        self.count(left);
        over.into_iter().for_each(|over| self.asm.bind(over));
        let here = self.asm.here();
        let Some(state) = &mut self.region else { return };
        let Some(node) = state.nodes.iter_mut().find(|n| n.start == start) else { return };
        node.place = Some(here);
        self.done = *node.uncounted.get_or_insert(0);
    }

    fn count(&mut self, n: u16) {
        if n != 0 {
            self.asm.alu_imm(Alu::Add, true, RETIRED, i32::from(n));
        }
    }

    /// Offset of the code that is made, by which it is found in the code cache.
    pub(super) fn entry_offset(&self) -> u16 {
        self.region.as_ref().map_or(self.start, |r| r.head)
    }

    fn is_inside(&self, offset: i64) -> bool {
        self.region.as_ref().is_some_and(|s| s.nodes.iter().any(|n| n.start == offset))
    }

    /// Goes to a node; conditions and counts were looked after.
    pub(super) fn go_inside(&mut self, offset: i64) {
        match self.place_of(offset) {
            Some(place) => self.asm.jmp(place),
            None => {
                let jump = self.asm.jmp_forward();
                self.wait_for(offset, 0, jump);
            }
        }
    }

    fn place_of(&self, offset: i64) -> Option<u64> {
        self.region.as_ref()?.nodes.iter().find(|n| n.start == offset)?.place
    }

    pub(super) fn wait_for(&mut self, to: i64, count: u16, jump: Forward) {
        self.region.as_mut().expect("a region is compiled").waiting.push(Waiting { to, count, jump });
    }

    /// What is to be counted on the way from here to the node at `offset`, which is still to come, if that can be done
    /// there; otherwise it is counted here.
    fn count_on_way(&mut self, offset: i64) -> u16 {
        let done = self.done;
        if let Some(state) = &mut self.region
            && !state.exact
            && let Some(node) = state.nodes.iter_mut().find(|n| n.start == offset && n.place.is_none())
            && let Some(count) = done.checked_sub(*node.uncounted.get_or_insert(done))
        {
            return count;
        }
        self.count_to(offset);
        0
    }

    /// The node at `start`, which is still to come, is entered with so many instructions uncounted.
    pub(super) fn enters_with(&mut self, start: i64, uncounted: u16) {
        if let Some(node) = self.region.as_mut().and_then(|s| s.nodes.iter_mut().find(|n| n.start == start)) {
            node.uncounted = Some(uncounted);
        }
    }

    /// Brings the f registers to what nodes find.
    fn f_to_node(&mut self) {
        if let Some(State { f, .. }) = self.region {
            self.f_go_on_with(f);
        }
    }

    /// Counts the instructions up to here but for those that the node at `offset` takes over; these are done on all ways
    /// from here, and not counted.
    fn count_to(&mut self, offset: i64) {
        let Some(state) = &mut self.region else { return };
        let Some(node) = state.nodes.iter_mut().find(|n| n.start == offset) else { return };
        let left = *node.uncounted.get_or_insert(self.done);
        let (done, now) = (self.done, i32::from(self.done) - i32::from(left));
        if now >= 0 {
            self.retire(done - left, self.since);
        } else {
            self.asm.alu_imm(Alu::Add, true, RETIRED, now);
        }
        self.done = left;
    }

    /// A branch to a node. Instructions are counted before it, the same on both ways, and where it goes back the poll bits
    /// are looked at, so that the way around the loop is one jump.
    fn branch_inside(&mut self, cond: Cond, a: Val, b: Val, offset: i64) {
        let from = i64::from(self.cur as u16);
        self.widen_all();
        self.f_to_node();
        let count = self.count_on_way(offset);
        if offset <= from {
            debug_assert_eq!(count, 0, "a way back to a node that is still to come");
            self.asm.alu_imm(Alu::Cmp, false, POLL, 0);
            let poll = self.asm.jcc_forward(asm::Cc::Ne);
            // The branch is still to be done.
            self.stub(poll, StubKind::PollInside { offset: from, uncounted: i32::from(self.done) - 1 });
        }
        let cc = self.compare(cond, a, b);
        match self.place_of(offset) {
            Some(place) => self.asm.jcc(cc, place),
            None => {
                let jump = self.asm.jcc_forward(cc);
                self.wait_for(offset, count, jump);
            }
        }
    }

    /// A jump to a node, which may be the `next` one.
    fn jump_inside(&mut self, offset: i64, next: bool) {
        let from = i64::from(self.cur as u16);
        self.widen_all();
        self.f_to_node();
        if next && offset > from {
            let count = self.count_on_way(offset);
            if let Some(state) = &mut self.region {
                state.falls = Some(count);
            }
            return;
        }
        self.count_to(offset);
        if offset <= from {
            self.asm.alu_imm(Alu::Cmp, false, POLL, 0);
            let poll = self.asm.jcc_forward(asm::Cc::Ne);
            self.stub(poll, StubKind::PollInside { offset, uncounted: i32::from(self.done) });
        }
        self.go_inside(offset);
    }

    /// A poll bit was seen inside: leaves for `offset`, before which so many instructions are not counted.
    pub(super) fn poll_inside(&mut self, offset: i64, uncounted: i32) {
        self.f_sync();
        if uncounted != 0 {
            self.asm.alu_imm(Alu::Add, true, RETIRED, uncounted);
        }
        self.leave_region();
        self.asm.mov_imm(Reg::Rax, offset);
        self.asm.jmp(self.thunks.poll_offset);
    }

    /// On the way out of a region: registers go where blocks have them. Flags, RAX and RDX stay.
    pub(super) fn leave_region(&mut self) {
        let Some(state) = &self.region else { return };
        put_back(&mut self.asm, &state.swaps);
        for a in &state.addends {
            self.asm.mov(true, a.reg, x_slot(a.outside));
        }
    }

    /// Goes to a thunk that does not come back.
    pub(super) fn leave_by(&mut self, thunk: u64) {
        self.f_forget();
        let Some(state) = &self.region else { return self.asm.jmp(thunk) };
        self.asm.call(state.save);
        self.asm.jmp(self.thunks.bare(thunk));
    }

    /// Calls a thunk that calls Rust: guest registers are kept, or control does not come back.
    pub(super) fn call_out(&mut self, thunk: u64) {
        self.f_forget();
        let Some(state) = &self.region else { return self.asm.call(thunk) };
        self.asm.call(state.save);
        self.asm.call(self.thunks.bare(thunk));
        self.asm.call(state.reload);
    }
}

fn put_back(asm: &mut Asm, swaps: &[Swap]) {
    for s in swaps {
        if s.written {
            asm.store(8, x_slot(s.inside), s.reg);
        }
        asm.mov(true, s.reg, x_slot(s.outside));
    }
}
