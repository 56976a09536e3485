//! How control leaves a block: jumps and links, the count of its instructions, and the stubs behind it.

use super::asm::{Alu, Cc, Forward, Reg};
use super::f_regs::FState;
use super::thunks::probe_jump;
use super::*;
use crate::tcg::ir::Helper;

const A: Reg = Reg::Rax;
const D: Reg = Reg::Rdx;

/// Length of a vector instruction.
const VECTOR_INSN: i64 = 4;

impl Backend {
    pub(super) fn stub(&mut self, from: Forward, kind: StubKind) {
        let back = self.asm.code.len();
        let (f, loose, fenced) = (self.f.now, self.loose_words(), self.fenced);
        self.stubs.push(Stub { from, back, cur: self.cur, loose, late: self.late, f, after: f, fenced, kind });
    }

    /// The stubs of `op`, emitted last, come back behind the whole operation.
    pub(super) fn land_stubs(&mut self, op: &Op) {
        let end = self.asm.code.len();
        self.covers.landed(end);
        for stub in self.stubs.iter_mut().rev() {
            if stub.cur != self.cur {
                break;
            }
            if matches!(stub.kind, StubKind::Slow(o) | StubKind::ScFails(o) | StubKind::SlowFrom(o, _) | StubKind::Partial(o, _) | StubKind::Recent(o, _) | StubKind::Covered(o, _) | StubKind::Sum(o, _) if o == *op)
            {
                (stub.back, stub.after) = (end, self.f.now);
            }
        }
    }

    pub(super) fn emit_stub(&mut self, stub: Stub, code: &mut CodeCache) {
        self.asm.bind(stub.from);
        (self.cur, self.f.now) = (stub.cur, stub.f);
        self.widen_in_stub(stub.loose);
        self.late = Late::default();
        self.late_in_stub(stub.late);
        match stub.kind {
            StubKind::Taken { offset, from, done, since } => self.jump(offset, from, done, since, code),
            StubKind::Poll { offset } => {
                self.f_sync();
                self.asm.mov_imm(A, offset);
                self.asm.jmp(self.thunks.poll_offset);
            }
            StubKind::Partial(op, word) => {
                self.vector_partial(&op, word);
                self.f_become(stub.after);
                self.asm.jmp(self.asm.base + stub.back as u64);
            }
            StubKind::OtherVtype { op, done, since } => {
                self.set_cur();
                self.f_forget();
                self.vector_call(&op);
                let from = stub.cur as u16;
                self.jump(i64::from(from) + VECTOR_INSN, from, done, since, code);
            }
            StubKind::PollInside { offset, uncounted } => self.poll_inside(offset, uncounted),
            StubKind::Hot { offset, site, len, counter } => {
                self.f_sync();
                self.asm.mov_imm(A, offset);
                self.asm.call(self.thunks.hot);
                let back = site.wrapping_sub(self.asm.here()) as u32;
                self.asm.data(u32::from(len) | u32::from(counter) << 16);
                self.asm.data(back);
            }
            StubKind::Unpaired => self.return_unpaired(),
            StubKind::FindCallee { on } => self.find_callee(on),
            StubKind::ReturnsFull { on } => self.returns_full(on),
            StubKind::Covered(op, access) => {
                self.covered_stub(&op, &access, stub.back, stub.after);
            }
            StubKind::Recent(op, access) => {
                let miss = self.recent_miss(&access);
                self.emit_stub(
                    Stub { from: miss, loose: 0, late: Late::default(), kind: StubKind::Slow(op), ..stub },
                    code,
                );
            }
            StubKind::Sum(load, sum) => self.sum_stub(&load, &sum, stub.back),
            StubKind::Rounds(start, access) => self.go_alone(start, &access),
            StubKind::Slow(op) | StubKind::SlowFrom(op, _) => {
                if let StubKind::SlowFrom(_, element) = stub.kind {
                    self.vector_start(element);
                }
                self.check_scalar(&op, &stub.after);
                self.slow_here(&op, stub.after);
                self.go_back(stub.fenced, stub.back);
            }
            StubKind::ScFails(op) => {
                if let Op::Sc { d, .. } = op {
                    self.sc_result(d, 1);
                }
                self.go_back(stub.fenced, stub.back);
            }
            StubKind::Interpret => {
                self.set_cur();
                let thunk = self.thunks.helper(Helper::Interpret);
                self.call_out(thunk);
            }
            StubKind::Nan { x, double, product } => {
                self.canonical_nan(x, double, product);
                self.asm.jmp(self.asm.base + stub.back as u64);
            }
        }
    }

    /// Goes on behind the operation, with the fence that it takes over done.
    fn go_back(&mut self, fenced: bool, back: usize) {
        if fenced {
            self.barrier();
        }
        self.asm.jmp(self.asm.base + back as u64);
    }

    /// The operation by a call to Rust, which goes on behind it.
    pub(super) fn emit_slow(&mut self, op: &Op, after: FState, back: usize) {
        self.slow_here(op, after);
        self.asm.jmp(self.asm.base + back as u64);
    }

    /// The same, going on here.
    pub(super) fn slow_here(&mut self, op: &Op, after: FState) {
        if !self.slow_access(op) {
            self.set_cur();
            self.f_forget();
            self.slow(op);
        }
        self.f_become(after);
    }

    /// Tells Rust which instruction calls.
    pub(super) fn set_cur(&mut self) {
        self.asm.store_imm(4, CUR, self.cur as i32);
    }

    /// Counts the instructions of the block, which is left, with `since` before.
    pub(super) fn retire(&mut self, n: u16, since: Since) {
        // An instruction alone is a block where it crosses a page, maybe between an LR and an SC.
        let passing = self.smp && since == Since::Entry && self.single;
        if passing {
            self.asm.mov(true, D, RETIRED);
        }
        if n != 0 {
            self.asm.alu_imm(Alu::Add, true, RETIRED, i32::from(n));
        }
        if passing {
            self.asm.alu(Alu::Cmp, true, D, RES_LEFT);
            let elsewhere = self.asm.jcc_forward(Cc::Ne);
            self.asm.alu_imm(Alu::Add, true, D, 1);
            self.asm.store(8, RES_LEFT, D);
            self.asm.bind(elsewhere);
        }
        if self.smp && since == Since::Reserved {
            self.asm.mov(true, D, RETIRED);
            self.asm.store(8, RES_LEFT, D);
        }
    }

    /// On a way to the function of a vector instruction: what the code behind the instruction knows of its scalar has to be
    /// true whichever way it was come by, and the function does not mind.
    fn check_scalar(&mut self, op: &Op, after: &FState) {
        if let Op::Vector { raw, .. } = *op {
            let r = (raw >> 15 & 31) as u8;
            if after.is_boxed(r) {
                self.check_box(r);
            }
        }
    }

    /// Leaves the block for `offset` in its page (or beyond), after `done` instructions, from `from`.
    pub(super) fn jump(&mut self, offset: i64, from: u16, done: u16, since: Since, code: &mut CodeCache) {
        let call = if let Some(Linkage::Call(link)) = self.linkage.take() { Some(link) } else { None };
        let around = offset == i64::from(self.start) && call.is_none();
        if !around {
            self.f_sync();
        }
        self.retire(done, since);
        self.leave_region();
        // Every cycle goes backward somewhere: only there interrupts are looked for.
        if offset <= i64::from(from) {
            self.asm.alu_imm(Alu::Cmp, false, POLL, 0);
            let f = self.asm.jcc_forward(Cc::Ne);
            self.stub(f, StubKind::Poll { offset });
        }
        let near = around || (0..4094).contains(&offset);
        if near && self.profile && offset <= i64::from(from) && call.is_none() {
            self.count_jump(offset);
        }
        // What begins in the last two bytes may be an instruction that crosses into another page. Links cannot lead there,
        // since nothing would see that page being mapped elsewhere; the jump cache can.
        if near {
            if around {
                let to = self.f_jump_to_head().unwrap_or_else(|| {
                    self.f_sync();
                    self.asm.base
                });
                self.asm.jmp(to);
                return;
            }
            // Becomes a jump when it is linked.
            let slot = code.new_slot();
            if let Some(link) = call {
                self.call_below(link);
            }
            self.asm.call(self.thunks.link);
            let patch = self.asm.here() - 4;
            self.asm.data(slot);
            self.links.push(LinkSite { slot, offset: offset as u16, patch });
        } else {
            self.asm.mov(true, A, PAGE_BASE);
            self.add_imm(A, offset);
            match call {
                None => self.probe_jump(),
                Some(link) => self.call_by_cache(link),
            }
        }
    }

    /// Counts a jump back to `offset`, which leaves when it was taken often. The code can be jumped over when it has done
    /// its duty, see `CodeCache::stop_counting`.
    fn count_jump(&mut self, offset: i64) {
        let counter = self.next_counter;
        self.next_counter = (counter + 1) % HEATS as u16;
        let site = self.asm.here();
        self.asm.alu_imm(Alu::Sub, false, heat(counter), 1);
        let hot = self.asm.jcc_forward(Cc::S);
        let len = (self.asm.here() - site) as u8;
        self.stub(hot, StubKind::Hot { offset, site, len, counter });
    }

    /// Goes to the virtual address in RAX by the jump cache.
    pub(super) fn probe_jump(&mut self) {
        probe_jump(&mut self.asm, self.thunks.lookup);
    }
}
