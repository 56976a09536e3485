//! The return stack: guest calls are made by `call` and guest returns by `ret`, so that the host foretells where they
//! lead. Where they really lead is for the jump cache to say, as for every indirect jump.
//!
//! A call pushes the guest's return address and the host's, which leads to a look-up of RAX in the jump cache, right
//! behind the call. A return that finds its address on top takes the frame off; any other drops all frames. So frames
//! may be old, wrong, or of other address spaces: they need no care when anything changes. Only their code has to be
//! there, hence none outlives the way out to Rust, where code is freed.
//!
//! ```text
//! base + 16   the host's stack pointer at the entry, twice
//! base        a frame whose code is a look-up, too: a guest might guess its address
//! below       frames of calls, as many as fit into a page
//! ```

use super::asm::{Alu, Asm, Cc, Forward, Reg, mem};
use super::thunks::{compare_jump, take_jump};
use super::*;

/// Bits of the stack pointer that are zero when the stack is full.
const FULL: i32 = 0xff0;

/// Makes an empty stack at the entry to generated code; RAX is free. The code of its lowest frame is to be bound.
pub fn begin(asm: &mut Asm) -> Forward {
    asm.mov(true, Reg::Rax, Reg::Rsp);
    asm.alu_imm(Alu::And, true, Reg::Rsp, -4096);
    asm.push(Reg::Rax);
    asm.push(Reg::Rax);
    asm.push(Reg::Rax);
    let lookup = asm.lea_forward(Reg::Rax);
    asm.push(Reg::Rax);
    asm.store(8, STACK_BASE, Reg::Rsp);
    lookup
}

/// Gives the host its stack back.
pub fn end(asm: &mut Asm) {
    reset(asm);
    asm.mov(true, Reg::Rsp, mem(Reg::Rsp, 16));
}

/// Drops all frames of calls.
pub fn reset(asm: &mut Asm) {
    asm.mov(true, Reg::Rsp, STACK_BASE);
}

impl Backend {
    /// Pushes the guest's half of a frame: what is in the link register.
    fn push_link(&mut self, link: u8) {
        let r = self.in_reg(Reg::Rcx, Val::X(link));
        self.asm.push(r);
    }

    /// What the host returns to, and what happens where frames are too many.
    fn land_return(&mut self) {
        self.asm.alu_imm(Alu::Add, true, Reg::Rsp, 8);
        self.probe_jump();
    }

    fn check_room(&mut self) {
        self.asm.test_imm(Reg::Rsp, FULL);
        let full = self.asm.jcc_forward(Cc::E);
        let on = self.asm.code.len();
        self.stub(full, StubKind::ReturnsFull { on });
    }

    /// Calls the virtual address in RAX.
    pub(super) fn call_by_cache(&mut self, link: u8) {
        compare_jump(&mut self.asm);
        let miss = self.asm.jcc_forward(Cc::Ne);
        take_jump(&mut self.asm);
        let on = self.asm.code.len();
        self.stub(miss, StubKind::FindCallee { on });
        self.check_room();
        self.push_link(link);
        self.asm.call_reg(Reg::Rdx);
        self.land_return();
    }

    /// Calls what is emitted next: the jump that is to be linked.
    pub(super) fn call_below(&mut self, link: u8) {
        self.check_room();
        self.push_link(link);
        let below = self.asm.call_forward();
        self.land_return();
        self.asm.bind(below);
    }

    /// Returns to the virtual address in RAX.
    pub(super) fn return_by_stack(&mut self) {
        self.asm.alu(Alu::Cmp, true, Reg::Rax, mem(Reg::Rsp, 8));
        let unpaired = self.asm.jcc_forward(Cc::Ne);
        self.stub(unpaired, StubKind::Unpaired);
        self.asm.ret();
    }

    pub(super) fn return_unpaired(&mut self) {
        reset(&mut self.asm);
        self.probe_jump();
    }

    /// A call that has to search longer is a call all the same, or its return and all behind it would find no frames.
    pub(super) fn find_callee(&mut self, on: usize) {
        self.asm.call(self.thunks.find);
        let on = self.asm.base + on as u64;
        self.asm.jmp(on);
    }

    pub(super) fn returns_full(&mut self, on: usize) {
        reset(&mut self.asm);
        let on = self.asm.base + on as u64;
        self.asm.jmp(on);
    }
}
