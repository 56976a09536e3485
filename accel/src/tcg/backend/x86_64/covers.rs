//! One look at the TLB for several accesses of a block: those with the same base register that is not written between
//! them, as a function's accesses by its stack pointer or those to the fields of a structure.
//!
//! The first of a *group* looks whether all of it, from the lowest byte to the highest, is in one page of the TLB. If so,
//! the page's addend is kept, and the others take it from there; where accesses have recent pages, the group has one
//! entry of them, otherwise a field of the hart ([`Hart::covers`]). If not, an addend of 0 is kept, and each access
//! looks for its own page, by a routine that all of them share. So a check for others is never a fault: an access that
//! faults does so where it stands, with everything before it done.
//!
//! Accesses of a group with nothing between them are a *run*: the first has the addend in RCX, where the others, its
//! *followers*, find it. If there is none, all of the run is done in the stub of the first.
//!
//! Invariants: a group is in one block or node, and its first access writes what is kept on every way to the others. An
//! addend is good until the next safepoint (`smp`), and there is none inside a block. Only Rust changes the hart's own TLB
//! meanwhile: calls to it that may do so inside of a group set all fields to 0 (`thunks`), what drops a recent page leaves
//! 0 there, and groups end at operations that change what the tables mean.

use super::asm::{Alu, Cc, Reg, mem, mem_index};
use super::emit_mem::{Last, RecentAccess};
use super::f_regs::FState;
use super::*;
use crate::tcg::hart::COVERS;
use crate::tcg::ir::Width;
use crate::tcg::mmu::tlb::{TLB_ENTRIES, Tables};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

/// The most bytes of a group. More would not often be in one page.
const SPAN_MAX: i32 = 1024;
/// The same where it has a recent page, as a power of two, and the least that entries are made for.
const RECENT_SPAN: u8 = 8;
pub(super) const RECENT_SPAN_MIN: u8 = 5;
/// The most groups of a block with recent pages: each is to have an entry of its own.
const RECENT_GROUPS: usize = 16;

/// What an access has to do with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cover {
    /// Of the groups of its kind in the block.
    group: u8,
    recent: bool,
    /// Lowest offset of the group, and the highest of a last byte, if this is its first access.
    first: Option<(i32, i32)>,
    /// The access before it has left the addend in RCX.
    follows: bool,
    /// Accesses that follow this one.
    followers: u16,
}

/// An access that takes its addend from a group: to `rest` bytes behind `addr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CoveredAccess {
    addr: Reg,
    rest: i32,
    width: Width,
    write: bool,
    /// What the first of a group does when it finds no addend for it.
    first: Option<First>,
    /// Where it goes on with the addend in RCX, as an offset in the code.
    hit: usize,
    /// Those that follow it, in [`Covers::followers`], and how many.
    followers: (usize, u16),
}

/// An access that takes its addend from RCX.
#[derive(Debug, Clone, Copy)]
struct Follower {
    op: Op,
    cur: u32,
    /// Where its code ends, as an offset in the code.
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Recent(RecentAccess),
    Field(u8),
}

/// The groups of a block.
#[derive(Debug, Default)]
pub(super) struct Covers {
    /// For each operation.
    plan: Vec<Option<Cover>>,
    open: Vec<Open>,
    /// Groups so far, without and with recent pages.
    groups: [u8; 2],
    /// That of the operation that is emitted.
    pub now: Option<Cover>,
    /// Entries of the groups with recent pages, as they come.
    entries: [u16; RECENT_GROUPS],
    /// Those that were emitted.
    followers: Vec<Follower>,
}

/// A group that is being looked for.
#[derive(Debug)]
struct Open {
    base: u8,
    write: bool,
    recent: bool,
    low: i32,
    high: i32,
    first: usize,
    /// The members after it.
    others: Vec<usize>,
}

/// Whether addends outlive the operation, if it calls no Rust.
fn keeps_addends(op: &Op) -> bool {
    op.is_plain() || matches!(op, Op::CheckAligned { .. })
}

impl Covers {
    /// Finds the groups in `ops`. `recent`: whether the accesses of the instruction at an offset have recent pages.
    pub fn plan(&mut self, ops: &[Op], recent: impl Fn(u16) -> bool) {
        self.plan.clear();
        self.plan.resize(ops.len(), None);
        self.groups = [0; 2];
        let mut has_recent = false;
        for (i, op) in ops.iter().enumerate() {
            if let Op::Insn { offset, .. } = *op {
                has_recent = recent(offset);
            }
            if !keeps_addends(op) {
                self.close(|_| true);
                continue;
            }
            if let Some((Val::X(base), offset, bytes, write)) = op.access() {
                self.add(i, (base, write, has_recent), (offset, offset + bytes - 1));
            }
            if let Some(Dst::X(r)) = op.operands().2 {
                self.close(|o| o.base == r);
            }
        }
        self.close(|_| true);
        self.find_runs(ops);
    }

    /// Finds what follows what in `ops`.
    fn find_runs(&mut self, ops: &[Op]) {
        let mut head: Option<usize> = None;
        for (i, op) in ops.iter().enumerate() {
            let group = |i: usize| self.plan[i].map(|c| (c.group, c.recent));
            match op {
                Op::Insn { .. } => {}
                Op::Load { .. } | Op::Store { .. } if group(i).is_some() => match head {
                    Some(before) if group(before) == group(i) => {
                        if let Some(c) = &mut self.plan[i] {
                            c.follows = true;
                        }
                        if let Some(c) = &mut self.plan[before] {
                            c.followers += 1;
                        }
                    }
                    _ => head = Some(i),
                },
                _ => head = None,
            }
        }
    }

    /// Nothing is emitted yet.
    pub fn begin(&mut self) {
        self.followers.clear();
    }

    /// The code of an access ends at `end`.
    pub fn landed(&mut self, end: usize) {
        if self.now.is_some_and(|c| c.follows)
            && let Some(f) = self.followers.last_mut()
        {
            f.end = end;
        }
    }

    /// Operation `i`, an access to the bytes from `low` to `high`, joins the group with this key or begins one.
    fn add(&mut self, i: usize, key: (u8, bool, bool), (low, high): (i32, i32)) {
        let (base, write, recent) = key;
        let most = if recent { 1 << RECENT_SPAN } else { SPAN_MAX };
        let mine = |o: &Open| (o.base, o.write, o.recent) == key;
        if let Some(o) = self.open.iter_mut().find(|o| mine(o)) {
            let all = (o.low.min(low), o.high.max(high));
            if all.1 - all.0 < most {
                (o.low, o.high) = all;
                o.others.push(i);
                return;
            }
            self.close(mine);
        }
        self.open.push(Open { base, write, recent, low, high, first: i, others: Vec::new() });
    }

    /// Ends the groups for which `which` holds, those of one access for nothing.
    fn close(&mut self, which: impl Fn(&Open) -> bool) {
        for o in self.open.extract_if(.., |o| which(o)) {
            let groups = &mut self.groups[usize::from(o.recent)];
            let most = if o.recent { RECENT_GROUPS } else { COVERS };
            if o.others.is_empty() || usize::from(*groups) >= most {
                continue;
            }
            let cover = Cover { group: *groups, recent: o.recent, first: None, follows: false, followers: 0 };
            self.plan[o.first] = Some(Cover { first: Some((o.low, o.high)), ..cover });
            o.others.iter().for_each(|&i| self.plan[i] = Some(cover));
            *groups += 1;
        }
    }

    /// Operation `i` is emitted next.
    pub fn select(&mut self, i: usize) {
        self.now = self.plan.get(i).copied().flatten();
    }
}

/// Where the addend of a group without a recent page is kept.
pub(super) const fn cover_field(group: u8) -> Mem {
    field(offset_of!(Hart, covers) + 8 * group as usize)
}

impl Backend {
    /// The host address of an access of a group.
    pub(super) fn probe_covered(
        &mut self,
        op: &Op,
        cover: Cover,
        (base, offset, width, write): (Val, i32, Width, bool),
    ) -> Mem {
        if cover.follows {
            self.covers.followers.push(Follower { op: *op, cur: self.cur, end: 0 });
            return mem_index(C, self.in_reg(A, base), 1, offset);
        }
        let followers = (self.covers.followers.len(), cover.followers);
        let mut access = CoveredAccess { addr: A, rest: offset, width, write, first: None, hit: 0, followers };
        let miss = match cover.first {
            Some((low, high)) if cover.recent => {
                let size = (32 - (high - low).leading_zeros() as u8).max(RECENT_SPAN_MIN);
                let (m, miss, recent) = self.compare_recent((base, low), size, write);
                self.covers.entries[usize::from(cover.group)] = recent.slot();
                self.asm.mov(true, C, recent.addend());
                access.first = Some(First::Recent(recent));
                (access.addr, access.rest) = (m.index.map_or(A, |(r, _)| r), m.disp + offset - low);
                miss
            }
            Some((low, high)) => {
                let addr = self.address_in(base, low);
                let table = self.compare_page(addr, Last::Offset(high - low), -4096, write);
                let miss = self.asm.jcc_forward(Cc::Ne);
                self.asm.mov(true, C, mem_index(TABLES, C, 1, table + 8));
                self.asm.store(8, cover_field(cover.group), C);
                access.first = Some(First::Field(cover.group));
                (access.addr, access.rest) = (addr, offset - low);
                miss
            }
            None => {
                let kept = if cover.recent {
                    RecentAccess::addend_of(self.covers.entries[usize::from(cover.group)], write)
                } else {
                    cover_field(cover.group)
                };
                match self.loc(base) {
                    Loc::Reg(r) => access.addr = r,
                    _ => self.load_to(A, base),
                }
                self.asm.mov(true, C, kept);
                self.asm.test(true, C, C);
                self.asm.jcc_forward(Cc::E)
            }
        };
        access.hit = self.asm.code.len();
        self.stub(miss, StubKind::Covered(*op, access));
        mem_index(C, access.addr, 1, access.rest)
    }

    /// Stub of an access that has no addend from its group, and of those that follow it: they look for their own pages.
    /// `f`: what is known of the f registers, here and where it goes on.
    pub(super) fn covered_stub(&mut self, op: &Op, a: &CoveredAccess, back: usize, f: FState) {
        let (start, count) = a.followers;
        let run: Vec<Follower> = self.covers.followers[start..].iter().take(count.into()).copied().collect();
        let Some(last) = run.last() else {
            self.covered_miss(a);
            return self.emit_slow(op, f, back);
        };
        self.forget_group(a);
        self.look_alone(op, f);
        for follower in &run {
            self.cur = follower.cur;
            self.look_alone(&follower.op, f);
        }
        self.asm.jmp(self.asm.base + last.end as u64);
    }

    /// An access of a run whose group has no addend.
    fn look_alone(&mut self, op: &Op, f: FState) {
        let (base, offset, width, write) = match *op {
            Op::Load { base, offset, width, .. } => (base, offset, width, false),
            Op::Store { base, offset, width, .. } => (base, offset, width, true),
            _ => unreachable!("runs have no others"),
        };
        self.address(base, offset);
        self.asm.call(self.thunks.look[usize::from(write)][width as usize]);
        let found = self.asm.jcc_forward(Cc::E);
        self.slow_here(op, f);
        let done = self.asm.jmp_forward();
        self.asm.bind(found);
        self.access(op, mem_index(C, A, 1, 0));
        self.asm.bind(done);
    }

    /// Stub of an access that has no addend from its group: it looks for its own page. Goes on behind this code, with
    /// the address in RAX, where that is not in the TLB either.
    fn covered_miss(&mut self, a: &CoveredAccess) {
        self.forget_group(a);
        if a.rest != 0 {
            self.asm.lea(true, A, mem(a.addr, a.rest));
        } else if a.addr != A {
            self.asm.mov(true, A, a.addr);
        }
        self.asm.call(self.thunks.look[usize::from(a.write)][a.width as usize]);
        if a.addr == A && a.rest != 0 {
            self.asm.lea(true, C, mem(C, -a.rest));
        }
        let hit = self.asm.base + a.hit as u64;
        self.asm.jcc(Cc::E, hit);
    }

    /// The first access of a group looks again. Goes on behind this code where there is no addend for all of it.
    fn forget_group(&mut self, a: &CoveredAccess) {
        match a.first {
            Some(First::Recent(recent)) => {
                let miss = self.recent_miss(&recent);
                self.asm.bind(miss);
                self.asm.store_imm(8, recent.limit(), 0);
                self.asm.store_imm(8, recent.addend(), 0);
            }
            Some(First::Field(group)) => self.asm.store_imm(8, cover_field(group), 0),
            None => {}
        }
    }
}

/// The routine that an access without an addend calls, with its address in RAX: the flags say whether all of it is in a
/// page of the TLB, and RCX is the page's addend then. Changes RDX.
pub(super) fn look(asm: &mut Asm, width: Width, write: bool) -> u64 {
    let at = asm.here();
    asm.mov(false, C, A);
    asm.shift_imm(asm::Shift::Shr, false, C, 8);
    asm.alu_imm(Alu::And, false, C, ((TLB_ENTRIES - 1) << 4) as i32);
    asm.lea(true, D, mem(A, width.bytes() as i32 - 1));
    asm.alu_imm(Alu::And, true, D, -4096);
    let table = if write { offset_of!(Tables, write) } else { offset_of!(Tables, read) } as i32;
    asm.alu(Alu::Cmp, true, D, mem_index(TABLES, C, 1, table));
    asm.mov(true, C, mem_index(TABLES, C, 1, table + 8));
    asm.ret();
    at
}

/// The routine that a group with a recent page calls when it is not in one page of the TLB, with the addresses of its first
/// byte in RAX and of its last in RDX: the flags say whether the pages of both are in the TLB with one addend. That is
/// RCX then, and RDX the page of the first byte.
pub(super) fn look_twice(asm: &mut Asm, write: bool) -> u64 {
    let table = if write { offset_of!(Tables, write) } else { offset_of!(Tables, read) } as i32;
    let index = |asm: &mut Asm, of: Reg| {
        asm.mov(false, C, of);
        asm.shift_imm(asm::Shift::Shr, false, C, 8);
        asm.alu_imm(Alu::And, false, C, ((TLB_ENTRIES - 1) << 4) as i32);
    };
    let at = asm.here();
    index(asm, D);
    asm.alu_imm(Alu::And, true, D, -4096);
    asm.alu(Alu::Cmp, true, D, mem_index(TABLES, C, 1, table));
    let missing = asm.jcc_forward(Cc::Ne);
    asm.mov(true, D, mem_index(TABLES, C, 1, table + 8));
    index(asm, A);
    asm.alu(Alu::Cmp, true, D, mem_index(TABLES, C, 1, table + 8));
    let apart = asm.jcc_forward(Cc::Ne);
    asm.mov(true, D, A);
    asm.alu_imm(Alu::And, true, D, -4096);
    asm.alu(Alu::Cmp, true, D, mem_index(TABLES, C, 1, table));
    asm.mov(true, C, mem_index(TABLES, C, 1, table + 8));
    asm.bind(missing);
    asm.bind(apart);
    asm.ret();
    at
}
