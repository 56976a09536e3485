//! Atomics: AMOs, compare-and-swap, LR and SC; and full barriers.
//!
//! # A machine of one hart takes no locks
//!
//! What is left to be atomic against there are the threads of devices, which load and store and never read, modify and
//! write. A load and a store of the host are as good against them as one locked instruction, but for this: what a device
//! writes to *the bytes of the operand* between the two is lost, some nanoseconds in which a locked instruction would have
//! let it in before or after. Other bytes of the word stay the device's, since only the operand is stored. The devices of
//! these machines are virtio's, and there each byte belongs to one side at a time: a driver does not write what its
//! device may write, so no atomic of it can meet such a write. An SC fails if a device has changed the word since the LR,
//! up to these nanoseconds; a compare-and-swap that fails stores nothing, so waiting by it for a device's write is safe.
//!
//! `aq` and `rl` order accesses "as viewed by other RISC-V harts" (unprivileged spec, "Specifying Ordering of Atomic
//! Instructions"), of which there are none; FENCE is for "other RISC-V harts and external devices", and stays a barrier. So
//! drivers use it: the barriers of virtio in Linux (`virt_mb`, `virt_store_mb`) are fences, as is `smp_mb__after_atomic`.
//! The rest of the order is the host's, which lets nothing but a load pass an earlier store.
//!
//! # Fences behind stores
//!
//! A locked instruction is a full barrier, and costs as much as a barrier alone. So where a fence comes behind a store or an
//! atomic, with no other access in between, that is done by a locked instruction, and the fence by nothing. A store is
//! XCHG then. That must not cross a line of the cache, where some hosts take microseconds and some refuse: a
//! misaligned store goes the slow way.

use super::asm::{Alu, Cc, Reg, mem};
use super::emit_mem::Align;
use super::*;
use crate::tcg::ir::interp::reservation_tag;
use crate::tcg::ir::{AmoOp, Width};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

/// What an AMO is in one instruction, if it is.
fn alu(op: AmoOp) -> Option<Alu> {
    match op {
        AmoOp::Add => Some(Alu::Add),
        AmoOp::And => Some(Alu::And),
        AmoOp::Or => Some(Alu::Or),
        AmoOp::Xor => Some(Alu::Xor),
        _ => None,
    }
}

/// When the old value stays, compared with the operand.
fn keeps(op: AmoOp) -> Cc {
    match op {
        AmoOp::Min => Cc::L,
        AmoOp::Max => Cc::G,
        AmoOp::Minu => Cc::B,
        _ => Cc::A,
    }
}

impl Backend {
    pub(super) fn atomic(&mut self, op: &Op) {
        let locked = self.smp || self.fenced;
        match *op {
            Op::Amo { op: amo, width, d, addr, src } => {
                let m = self.probe(op, addr, 0, width, true, Align::Required);
                if locked {
                    self.asm.lea(true, C, m);
                    self.amo(amo, width, src);
                    self.finish_old(width, d);
                } else {
                    self.amo_alone(amo, width, d, (addr, m), src);
                }
            }
            Op::Cas { width, d, addr, expected, src } => {
                let m = self.probe(op, addr, 0, width, true, Align::Required);
                self.asm.lea(true, C, m);
                if locked {
                    self.load_to(A, expected);
                    self.load_to(D, src);
                    self.asm.lock();
                    self.asm.cmpxchg(width.bytes(), mem(C, 0), D);
                    self.finish_old(width, d);
                } else {
                    self.cas_alone(width, d, expected, src);
                }
            }
            Op::Lr { .. } if self.exact => {
                self.set_cur();
                self.slow(op);
            }
            Op::Lr { width, d, addr } => {
                let m = self.probe(op, addr, 0, width, false, Align::Required);
                let tag = reservation_tag(width) as i32;
                self.asm.lea(true, C, Mem { disp: tag, ..m });
                if self.smp {
                    self.asm.alu_imm(Alu::Cmp, false, EXACT_LRS, 0);
                    let exact = self.asm.jcc_forward(Cc::Ne);
                    self.stub(exact, StubKind::Slow(*op));
                    self.asm.store_imm(1, RES_EXACT, 0);
                }
                let t = d.map_or(A, |d| self.target_reg(d, &[]));
                self.asm.extend(width.bytes(), true, t, mem(C, -tag));
                self.asm.store(8, RES_ADDR, C);
                self.asm.store(8, RES_VALUE, t);
                if let Some(d) = d {
                    self.finish(d, t);
                }
            }
            Op::Sc { .. } if self.is_loud() => {
                self.set_cur();
                self.slow(op);
            }
            Op::Sc { width, d, addr, src } => {
                let m = self.probe(op, addr, 0, width, true, Align::Required);
                self.sc(op, locked, (width, m), d, src);
            }
            _ => unreachable!("only atomics come here"),
        }
        self.land_stubs(op);
    }

    /// Whether an SC takes more than a comparison.
    fn is_loud(&self) -> bool {
        self.smp && self.since != Since::Reserved
    }

    /// RAX = what was at RCX, not extended.
    fn amo(&mut self, op: AmoOp, width: Width, src: Val) {
        let size = width.bytes();
        let wide = width == Width::D;
        let m = mem(C, 0);
        match op {
            AmoOp::Swap | AmoOp::Add => {
                self.load_to(A, src);
                if op == AmoOp::Add {
                    self.asm.lock();
                    self.asm.xadd(size, m, A);
                } else {
                    self.asm.xchg(size, m, A);
                }
            }
            _ => {
                // Narrow values are compared in their extended form.
                let signed = matches!(op, AmoOp::Min | AmoOp::Max);
                self.asm.extend(size, signed, A, m);
                let again = self.asm.here();
                self.load_to(D, src);
                if alu(op).is_none() && size < 4 {
                    self.asm.extend(size, signed, A, A);
                    self.asm.extend(size, signed, D, D);
                }
                self.amo_result(op, wide, A);
                self.asm.lock();
                self.asm.cmpxchg(size, m, D);
                self.asm.jcc(Cc::Ne, again);
            }
        }
    }

    /// RDX = what the AMO stores, out of `old` and RDX.
    fn amo_result(&mut self, op: AmoOp, wide: bool, old: Reg) {
        match alu(op) {
            Some(alu) => self.asm.alu(alu, wide, D, old),
            None => {
                self.asm.alu(Alu::Cmp, wide, old, D);
                self.asm.cmov(keeps(op), D, old);
            }
        }
    }

    /// An AMO on a machine of one hart. `addr`: where it is, for the guest and for the host.
    fn amo_alone(&mut self, op: AmoOp, width: Width, d: Option<Dst>, (addr, m): (Val, Mem), src: Val) {
        let size = width.bytes();
        if d.is_none()
            && let Some(alu) = alu(op)
        {
            let r = self.in_reg(D, src);
            return self.asm.alu_store_sized(size, alu, m, r);
        }
        let old = d.map_or(A, |d| self.target_reg(d, &[addr, src]));
        let m = match m.index {
            Some((index, _)) if index == old => {
                self.asm.lea(true, C, m);
                mem(C, 0)
            }
            _ => m,
        };
        // Sign-extended values are in the order of the unsigned ones, too.
        self.asm.extend(size, true, old, m);
        let new = if op == AmoOp::Swap {
            self.in_reg(D, src)
        } else {
            self.load_to(D, src);
            if alu(op).is_none() && size < 4 {
                self.asm.extend(size, true, D, D);
            }
            self.amo_result(op, width == Width::D, old);
            D
        };
        self.asm.store(size, m, new);
        if let Some(d) = d {
            self.finish(d, old);
        }
    }

    /// A compare-and-swap at RCX on a machine of one hart.
    fn cas_alone(&mut self, width: Width, d: Option<Dst>, expected: Val, src: Val) {
        let size = width.bytes();
        self.asm.extend(size, true, A, mem(C, 0));
        self.load_to(D, expected);
        if size < 4 {
            self.asm.extend(size, true, D, D);
        }
        self.asm.alu(Alu::Cmp, width == Width::D, A, D);
        let differs = self.asm.jcc_forward(Cc::Ne);
        let new = self.in_reg(D, src);
        self.asm.store(size, mem(C, 0), new);
        self.asm.bind(differs);
        if let Some(d) = d {
            self.finish(d, A);
        }
    }

    /// `d` = the old value, whose low bytes are in RAX.
    fn finish_old(&mut self, width: Width, d: Option<Dst>) {
        if let Some(d) = d {
            if width != Width::D {
                self.asm.extend(width.bytes(), true, A, A);
            }
            self.finish(d, A);
        }
    }

    fn sc(&mut self, op: &Op, locked: bool, (width, m): (Width, Mem), d: Option<Dst>, src: Val) {
        let (size, tag) = (width.bytes(), reservation_tag(width) as i32);
        self.asm.lea(true, C, Mem { disp: tag, ..m });
        let m = mem(C, -tag);
        self.asm.alu(Alu::Cmp, true, C, RES_ADDR);
        self.asm.store_imm(8, RES_ADDR, -1);
        let elsewhere = self.asm.jcc_forward(Cc::Ne);
        self.stub(elsewhere, StubKind::ScFails(*op));
        self.asm.mov(true, A, RES_VALUE);
        let changed = if locked {
            self.load_to(D, src);
            self.asm.lock();
            self.asm.cmpxchg(size, m, D);
            self.asm.jcc_forward(Cc::Ne)
        } else {
            self.asm.alu(Alu::Cmp, width == Width::D, A, m);
            let changed = self.asm.jcc_forward(Cc::Ne);
            let new = self.in_reg(D, src);
            self.asm.store(size, m, new);
            changed
        };
        self.stub(changed, StubKind::ScFails(*op));
        self.sc_result(d, 0);
    }

    pub(super) fn sc_result(&mut self, d: Option<Dst>, failed: i64) {
        if let Some(d) = d {
            self.mov(d, Val::C(failed));
        }
    }

    /// Earlier stores are before later loads.
    pub(super) fn barrier(&mut self) {
        self.asm.lock();
        self.asm.alu_imm(Alu::Or, false, mem(Reg::Rsp, 0), 0);
    }

    /// Whether the first of `ops` performs the fence behind it, too.
    pub(super) fn takes_fence(&self, ops: &[Op]) -> bool {
        let can = match ops[0] {
            Op::Store { .. } => self.covers.now.is_none(),
            Op::Amo { .. } | Op::Cas { .. } => true,
            Op::Sc { .. } => !self.is_loud(),
            _ => false,
        };
        can && matches!(
            ops[1..].iter().find(|op| !op.is_arithmetic()),
            Some(&Op::FenceStoreLoad { devices }) if devices || self.smp
        )
    }
}
