//! Integer operations, and the operation that each emitter takes.

use super::asm::{Alu, Cc, Reg, Shift, mem, mem_index};
use super::thunks::{bin_code, un_code};
use super::*;
use crate::tcg::ir::{BinOp, Cond, Helper, Target, UnOp};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

fn small(v: i64) -> Option<i32> {
    i32::try_from(v).ok()
}

pub(super) fn cc(c: Cond) -> Cc {
    match c {
        Cond::Eq => Cc::E,
        Cond::Ne => Cc::Ne,
        Cond::Lt => Cc::L,
        Cond::Ge => Cc::Ge,
        Cond::Ltu => Cc::B,
        Cond::Geu => Cc::Ae,
    }
}

/// The condition with its operands exchanged.
fn swapped(c: Cc) -> Cc {
    match c {
        Cc::L => Cc::G,
        Cc::B => Cc::A,
        other => other,
    }
}

impl Backend {
    /// Makes the code of `op`.
    pub(super) fn emit(&mut self, op: &Op, code: &mut CodeCache) {
        self.widen_for(op);
        self.emit_op(op, code);
        self.note_result(op);
        self.note_late(op);
    }

    fn emit_op(&mut self, op: &Op, code: &mut CodeCache) {
        match *op {
            Op::Insn { offset, .. } => {
                self.mark(offset);
                self.cur = u32::from(offset) | u32::from(self.done) << 16;
                self.done += 1;
            }
            Op::Mov { d, s } => self.mov(d, s),
            Op::Bin { op, d, a, b } => self.bin(op, d, a, b),
            Op::Un { op, d, a } => self.un(op, d, a),
            Op::Late { op: shift, d, a, n } => {
                if !self.do_late(op) {
                    self.widen_words(self.words_loose(a));
                    self.bin(shift, Dst::X(d), Val::X(a), Val::C(i64::from(n)));
                }
            }
            Op::PcRel { d, offset } => {
                let t = self.target_reg(d, &[]);
                self.asm.mov(true, t, PAGE_BASE);
                self.add_imm(t, offset);
                self.finish(d, t);
            }
            Op::Load { .. } | Op::Store { .. } | Op::LoadF { .. } | Op::StoreF { .. } => self.memory(op),
            Op::Amo { .. } | Op::Cas { .. } | Op::Lr { .. } | Op::Sc { .. } => self.atomic(op),
            Op::CheckAligned { width, addr, .. } if width.bytes() > 1 => {
                let r = self.in_reg(A, addr);
                self.asm.test_low(r, width.bytes() as u8 - 1);
                let misaligned = self.asm.jcc_forward(Cc::Ne);
                self.stub(misaligned, StubKind::Slow(*op));
            }
            Op::CheckAligned { .. } => {}
            Op::FenceStoreLoad { devices } => {
                if !std::mem::take(&mut self.fence_done) && (devices || self.smp) {
                    self.barrier();
                }
            }
            Op::FpCheck { checks, .. } => {
                self.asm.test_byte(FP_MISSING, checks);
                let missing = self.asm.jcc_forward(Cc::Ne);
                self.stub(missing, StubKind::Slow(*op));
            }
            Op::FpCsr { csr, kind, write, d, src, .. } => self.fcsr(csr, kind, write, d, src),
            Op::Fp { op: fp, rm, d, a, b, c } => self.fp(op, fp, rm, d, [a, b, c]),
            Op::Vector { .. } => self.vector(op),
            Op::Call { helper: Helper::FenceI, .. } => self.fence_i(op),
            Op::Call { helper: Helper::Trace, .. } => {
                self.call(Helper::Trace, None, [Val::C(self.asm.base as i64), Val::C(0), Val::C(0)]);
                self.vectors.forget();
            }
            Op::Call { helper, d, args } => {
                if !self.vector_csr(helper, d, args[0]) {
                    self.call(helper, d, args);
                    self.vectors.forget();
                }
            }
            Op::ReadState { .. } | Op::WriteState { .. } | Op::ReadGated { .. } => self.csr(op),
            Op::Status { .. } => {
                self.csr(op);
                self.vectors.forget();
            }
            Op::BranchIf { cond, a, b, target } => {
                let cc = self.compare(cond, a, b);
                if target.offset == i64::from(self.start) {
                    // A loop: one jump is enough.
                    let (leaves, f) = (self.asm.jcc_forward(cc.inverse()), self.f.now);
                    self.jump(target.offset, self.cur as u16, self.done, self.since, code);
                    self.asm.bind(leaves);
                    self.f.now = f;
                    return;
                }
                let from = self.asm.jcc_forward(cc);
                let (from_offset, done, since) = (self.cur as u16, self.done, self.since);
                let kind = StubKind::Taken { offset: target.offset, from: from_offset, done, since };
                self.stub(from, kind);
            }
            Op::Linkage(linkage) => self.linkage = Some(linkage),
            Op::Jump { target: Target { offset } } => {
                let (from, done) = (self.cur as u16, self.done);
                self.jump(offset, from, done, self.since, code);
            }
            Op::JumpReg { addr } => {
                self.f_sync();
                self.load_to(A, addr);
                self.retire(self.done, self.since);
                self.leave_region();
                self.asm.alu_imm(Alu::Cmp, false, POLL, 0);
                self.asm.jcc(Cc::Ne, self.thunks.poll);
                match self.linkage.take() {
                    None => self.probe_jump(),
                    Some(Linkage::Call(link)) => self.call_by_cache(link),
                    Some(Linkage::Return) => self.return_by_stack(),
                }
            }
        }
    }

    /// Nothing to do while the pace of RAM is what it was.
    fn fence_i(&mut self, op: &Op) {
        self.asm.mov(true, A, PACE_AT);
        self.asm.mov(true, A, mem(A, 0));
        self.asm.alu(Alu::Cmp, true, A, PACE_SEEN);
        let changed = self.asm.jcc_forward(Cc::Ne);
        self.stub(changed, StubKind::Slow(*op));
        self.asm.alu_imm(Alu::Add, true, FENCES_I, 1);
        self.land_stubs(op);
    }

    fn call(&mut self, helper: Helper, d: Option<Dst>, args: [Val; 3]) {
        for (reg, v) in [(A, args[0]), (D, args[1]), (C, args[2])] {
            self.load_to(reg, v);
        }
        self.set_cur();
        let thunk = self.thunks.helper(helper);
        if helper.ends_block() {
            return self.leave_by(thunk);
        }
        self.call_out(thunk);
        self.f_clobbered();
        if let Some(d) = d {
            self.finish(d, A);
        }
    }

    /// Where an operand is.
    pub(super) fn loc(&self, v: Val) -> Loc {
        match v {
            Val::X(r) => self.map.get(r).map_or(Loc::Mem(x_slot(r)), Loc::Reg),
            Val::T(t) => Loc::Mem(t_slot(t)),
            Val::C(c) => Loc::Imm(c),
        }
    }

    pub(super) fn dst(&self, d: Dst) -> Loc {
        self.loc(d.into())
    }

    /// `reg = v`.
    pub(super) fn load_to(&mut self, reg: Reg, v: Val) {
        match self.loc(v) {
            Loc::Reg(r) if r == reg => {}
            Loc::Reg(r) => self.asm.mov(true, reg, r),
            Loc::Mem(m) => self.asm.mov(true, reg, m),
            Loc::Imm(i) => self.asm.mov_imm_keep_flags(reg, i),
        }
    }

    /// The low 32 bits, zero-extended.
    fn load32_to(&mut self, reg: Reg, v: Val) {
        match self.loc(v) {
            Loc::Reg(r) => self.asm.mov(false, reg, r),
            Loc::Mem(m) => self.asm.mov(false, reg, m),
            Loc::Imm(i) => self.asm.mov_imm_keep_flags(reg, i64::from(i as u32)),
        }
    }

    /// The low 32 bits, with anything above them.
    fn load_low_to(&mut self, reg: Reg, v: Val) {
        if self.loc(v) != Loc::Reg(reg) {
            self.load32_to(reg, v);
        }
    }

    /// The register that holds `v`, which is loaded to `scratch` if it is in none.
    pub(super) fn in_reg(&mut self, scratch: Reg, v: Val) -> Reg {
        match self.loc(v) {
            Loc::Reg(r) => r,
            _ => {
                self.load_to(scratch, v);
                scratch
            }
        }
    }

    /// A register to compute `d` in: its own, unless one of `reads` is it (they are read later), else RAX.
    pub(super) fn target_reg(&self, d: Dst, reads: &[Val]) -> Reg {
        match self.dst(d) {
            Loc::Reg(r) if reads.iter().all(|v| self.loc(*v) != Loc::Reg(r)) => r,
            _ => A,
        }
    }

    /// `d = t`.
    pub(super) fn finish(&mut self, d: Dst, t: Reg) {
        match self.dst(d) {
            Loc::Reg(r) if r == t => {}
            Loc::Reg(r) => self.asm.mov(true, r, t),
            Loc::Mem(m) => self.asm.store(8, m, t),
            Loc::Imm(_) => unreachable!("a destination is no constant"),
        }
    }

    pub(super) fn add_imm(&mut self, reg: Reg, v: i64) {
        match small(v) {
            Some(0) => {}
            Some(v) => self.asm.alu_imm(Alu::Add, true, reg, v),
            None => {
                self.asm.mov_imm(C, v);
                self.asm.alu(Alu::Add, true, reg, C);
            }
        }
    }

    /// `reg op= v`; a constant beyond 32 bits goes through `scratch`.
    fn alu_val(&mut self, op: Alu, wide: bool, reg: Reg, v: Val, scratch: Reg) {
        match self.loc(v) {
            Loc::Reg(r) => self.asm.alu(op, wide, reg, r),
            Loc::Mem(m) => self.asm.alu(op, wide, reg, m),
            Loc::Imm(i) => match small(if wide { i } else { i64::from(i as i32) }) {
                Some(0) if op == Alu::Cmp => self.asm.test(wide, reg, reg),
                Some(i) => self.asm.alu_imm(op, wide, reg, i),
                None => {
                    self.asm.mov_imm_keep_flags(scratch, i);
                    self.asm.alu(op, wide, reg, scratch);
                }
            },
        }
    }

    /// Sets the flags for `cond`.
    pub(super) fn compare(&mut self, cond: Cond, a: Val, b: Val) -> Cc {
        let (cc, wide) = (cc(cond), self.compares_all(a, b));
        match (self.loc(a), self.loc(b)) {
            (Loc::Mem(m), Loc::Reg(r)) if matches!(cc, Cc::E | Cc::Ne | Cc::L | Cc::B) => {
                self.asm.alu(Alu::Cmp, wide, r, m);
                swapped(cc)
            }
            (Loc::Mem(m), Loc::Imm(i)) if small(i).is_some() => {
                self.asm.alu_imm(Alu::Cmp, true, m, i as i32);
                cc
            }
            _ => {
                let r = self.in_reg(A, a);
                self.alu_val(Alu::Cmp, wide, r, b, C);
                cc
            }
        }
    }

    pub(super) fn mov(&mut self, d: Dst, s: Val) {
        match (self.dst(d), self.loc(s)) {
            (Loc::Reg(r), _) => self.load_to(r, s),
            (Loc::Mem(m), Loc::Imm(i)) if small(i).is_some() => self.asm.store_imm(8, m, i as i32),
            _ => {
                let t = self.in_reg(A, s);
                self.finish(d, t);
            }
        }
    }

    /// A two-operand instruction of the first group, on 64 bits.
    fn alu(&mut self, op: Alu, commutes: bool, d: Dst, a: Val, b: Val) {
        let (a, b) = if commutes && (self.dst(d) == self.loc(b) || matches!(a, Val::C(_))) { (b, a) } else { (a, b) };
        if let (Loc::Mem(m), true) = (self.dst(d), Val::from(d) == a) {
            match self.loc(b) {
                Loc::Reg(r) => return self.asm.alu_store(op, m, r),
                Loc::Imm(i) if small(i).is_some() => return self.asm.alu_imm(op, true, m, i as i32),
                _ => {}
            }
        }
        if op == Alu::Add
            && let (Loc::Reg(r), Loc::Reg(x)) = (self.dst(d), self.loc(a))
            && r != x
        {
            match self.loc(b) {
                Loc::Reg(y) => return self.asm.lea(true, r, mem_index(x, y, 1, 0)),
                Loc::Imm(i) if small(i).is_some() => return self.asm.lea(true, r, mem(x, i as i32)),
                _ => {}
            }
        }
        let t = self.target_reg(d, &[b]);
        self.load_to(t, a);
        self.alu_val(op, true, t, b, C);
        self.finish(d, t);
    }

    /// The same on 32 bits with a sign-extended result.
    fn alu32(&mut self, op: Alu, d: Dst, a: Val, b: Val) {
        let (a, b) = if op == Alu::Add && self.dst(d) == self.loc(b) { (b, a) } else { (a, b) };
        let t = self.target_reg(d, &[]);
        match (op, self.loc(a), self.loc(b)) {
            (Alu::Add, Loc::Reg(x), Loc::Imm(i)) if x != t => self.asm.lea(false, t, mem(x, i as i32)),
            (Alu::Add, Loc::Reg(x), Loc::Reg(y)) if x != t => self.asm.lea(false, t, mem_index(x, y, 1, 0)),
            _ => {
                let t = self.target_reg(d, &[b]);
                self.load_low_to(t, a);
                self.alu_val(op, false, t, b, C);
                return self.finish32(d, t);
            }
        }
        self.finish32(d, t);
    }

    pub(super) fn bin(&mut self, op: BinOp, d: Dst, a: Val, b: Val) {
        match op {
            BinOp::Add => self.alu(Alu::Add, true, d, a, b),
            BinOp::Sub => self.alu(Alu::Sub, false, d, a, b),
            BinOp::And => self.alu(Alu::And, true, d, a, b),
            BinOp::Or => self.alu(Alu::Or, true, d, a, b),
            BinOp::Xor => self.alu(Alu::Xor, true, d, a, b),
            BinOp::AddW => self.alu32(Alu::Add, d, a, b),
            BinOp::SubW => self.alu32(Alu::Sub, d, a, b),
            BinOp::Andn | BinOp::Orn => {
                self.load_to(C, b);
                self.asm.not(C);
                self.load_to(A, a);
                self.asm.alu(if op == BinOp::Andn { Alu::And } else { Alu::Or }, true, A, C);
                self.finish(d, A);
            }
            BinOp::Xnor => {
                self.load_to(A, a);
                self.alu_val(Alu::Xor, true, A, b, C);
                self.asm.not(A);
                self.finish(d, A);
            }
            BinOp::Sll => self.shift(Shift::Shl, true, d, a, b),
            BinOp::Srl => self.shift(Shift::Shr, true, d, a, b),
            BinOp::Sra => self.shift(Shift::Sar, true, d, a, b),
            BinOp::Rol => self.shift(Shift::Rol, true, d, a, b),
            BinOp::Ror => self.shift(Shift::Ror, true, d, a, b),
            BinOp::SllW => self.shift(Shift::Shl, false, d, a, b),
            BinOp::SrlW => self.shift(Shift::Shr, false, d, a, b),
            BinOp::SraW => self.shift(Shift::Sar, false, d, a, b),
            BinOp::RolW => self.shift(Shift::Rol, false, d, a, b),
            BinOp::RorW => self.shift(Shift::Ror, false, d, a, b),
            BinOp::FunnelW => self.funnel(d, a, b),
            BinOp::SllUw => {
                let t = if matches!(b, Val::C(_)) { self.target_reg(d, &[]) } else { A };
                self.load32_to(t, a);
                match b {
                    Val::C(n) => self.asm.shift_imm(Shift::Shl, true, t, n as u8 & 63),
                    _ => {
                        self.load_to(C, b);
                        self.asm.shift_cl(Shift::Shl, true, t);
                    }
                }
                self.finish(d, t);
            }
            BinOp::Slt => self.set(Cond::Lt, d, a, b),
            BinOp::Sltu => self.set(Cond::Ltu, d, a, b),
            BinOp::Mul => self.mul(true, d, a, b),
            BinOp::MulW => self.mul(false, d, a, b),
            BinOp::Mulh | BinOp::Mulhu => {
                self.load_to(C, b);
                self.load_to(A, a);
                self.asm.mul_wide(op == BinOp::Mulh, C);
                self.finish(d, D);
            }
            BinOp::Mulhsu => {
                // high(a * b) = high of the unsigned product, minus b if a is negative.
                self.load_to(C, b);
                self.load_to(A, a);
                self.asm.mul_wide(false, C);
                self.load_to(A, a);
                self.asm.shift_imm(Shift::Sar, true, A, 63);
                self.asm.alu(Alu::And, true, A, C);
                self.asm.alu(Alu::Sub, true, D, A);
                self.finish(d, D);
            }
            BinOp::Div => self.div(true, true, false, d, a, b),
            BinOp::Divu => self.div(true, false, false, d, a, b),
            BinOp::Rem => self.div(true, true, true, d, a, b),
            BinOp::Remu => self.div(true, false, true, d, a, b),
            BinOp::DivW => self.div(false, true, false, d, a, b),
            BinOp::DivuW => self.div(false, false, false, d, a, b),
            BinOp::RemW => self.div(false, true, true, d, a, b),
            BinOp::RemuW => self.div(false, false, true, d, a, b),
            BinOp::Min => self.select(Cc::G, d, a, b),
            BinOp::Max => self.select(Cc::L, d, a, b),
            BinOp::Minu => self.select(Cc::A, d, a, b),
            BinOp::Maxu => self.select(Cc::B, d, a, b),
            BinOp::Sh1add => self.shadd(2, false, d, a, b),
            BinOp::Sh2add => self.shadd(4, false, d, a, b),
            BinOp::Sh3add => self.shadd(8, false, d, a, b),
            BinOp::AddUw => self.shadd(1, true, d, a, b),
            BinOp::Sh1addUw => self.shadd(2, true, d, a, b),
            BinOp::Sh2addUw => self.shadd(4, true, d, a, b),
            BinOp::Sh3addUw => self.shadd(8, true, d, a, b),
            BinOp::Bset => self.bit(5, d, a, b),
            BinOp::Bclr => self.bit(6, d, a, b),
            BinOp::Binv => self.bit(7, d, a, b),
            BinOp::Bext => {
                let r = self.in_reg(A, a);
                match b {
                    Val::C(n) => self.asm.bit_imm(4, r, n as u8 & 63),
                    _ => {
                        let n = self.in_reg(C, b);
                        self.asm.bit_reg(4, r, n);
                    }
                }
                self.asm.setcc(Cc::B, A);
                self.finish(d, A);
            }
            BinOp::CzeroEqz => self.czero(Cc::E, d, a, b),
            BinOp::CzeroNez => self.czero(Cc::Ne, d, a, b),
            _ => self.bin_other(op, d, a, b),
        }
    }

    /// What only some hosts have an instruction for.
    fn bin_other(&mut self, op: BinOp, d: Dst, a: Val, b: Val) {
        let f = self.features;
        self.load_to(A, a);
        self.load_to(D, b);
        match op {
            BinOp::Pack => {
                self.asm.shift_imm(Shift::Shl, true, D, 32);
                self.asm.mov(false, A, A);
                self.asm.alu(Alu::Or, true, A, D);
            }
            BinOp::PackH => {
                self.asm.extend(1, false, A, A);
                self.asm.extend(1, false, D, D);
                self.asm.shift_imm(Shift::Shl, false, D, 8);
                self.asm.alu(Alu::Or, false, A, D);
            }
            BinOp::PackW => {
                self.asm.extend(2, false, A, A);
                self.asm.shift_imm(Shift::Shl, false, D, 16);
                self.asm.alu(Alu::Or, false, A, D);
                self.asm.extend(4, true, A, A);
            }
            BinOp::Clmul | BinOp::Clmulh | BinOp::Clmulr if f.pclmul => self.clmul(op),
            BinOp::Aes64Es | BinOp::Aes64Esm | BinOp::Aes64Ds | BinOp::Aes64Dsm if f.aes => self.aes_round(op),
            BinOp::Xperm8 if f.ssse3 => self.xperm8(),
            _ => {
                self.asm.mov_imm(C, bin_code(op));
                self.call_out(self.thunks.eval);
            }
        }
        self.finish(d, A);
    }

    /// XMM0 = RAX, XMM1 = RDX.
    fn operands_to_xmm(&mut self) {
        self.asm.sse(0x66, 0x6e, true, 0, A);
        self.asm.sse(0x66, 0x6e, true, 1, D);
    }

    /// RAX = the product of RAX and RDX without carries, or its upper half.
    fn clmul(&mut self, op: BinOp) {
        self.operands_to_xmm();
        self.asm.pclmul(0, 1);
        if op != BinOp::Clmulh {
            self.asm.sse(0x66, 0x7e, true, 0, A);
        }
        if op != BinOp::Clmul {
            // The upper half to the lower.
            self.asm.sse(0x66, 0x6d, false, 0, asm::Xmm(0));
            self.asm.sse(0x66, 0x7e, true, 0, if op == BinOp::Clmulh { A } else { D });
        }
        if op == BinOp::Clmulr {
            self.asm.shift_imm(Shift::Shr, true, A, 63);
            self.asm.lea(true, A, mem_index(A, D, 2, 0));
        }
    }

    /// RAX = the first two columns of the round of which RAX and RDX are the state.
    fn aes_round(&mut self, op: BinOp) {
        let opcode = match op {
            BinOp::Aes64Esm => 0xdc,
            BinOp::Aes64Es => 0xdd,
            BinOp::Aes64Dsm => 0xde,
            _ => 0xdf,
        };
        self.operands_to_xmm();
        self.asm.sse(0x66, 0x6c, false, 0, asm::Xmm(1));
        // A round key of zero.
        self.asm.sse(0x66, 0xef, false, 1, asm::Xmm(1));
        self.asm.sse38(opcode, 0, 1);
        self.asm.sse(0x66, 0x7e, true, 0, A);
    }

    /// RAX = the bytes of RAX that RDX names.
    fn xperm8(&mut self) {
        // The host takes four bits of an index and makes zero where bit 7 is set: 8 to 15 name the upper half, which is
        // zero, and adding 0x70 sets bit 7 of all above.
        self.asm.sse(0x66, 0x6e, true, 0, D);
        self.asm.mov_imm(D, 0x7070_7070_7070_7070);
        self.asm.sse(0x66, 0x6e, true, 1, D);
        self.asm.sse(0x66, 0xdc, false, 0, asm::Xmm(1));
        self.asm.sse(0x66, 0x6e, true, 1, A);
        self.asm.sse38(0, 1, 0);
        self.asm.sse(0x66, 0x7e, true, 1, A);
    }

    fn shift(&mut self, op: Shift, wide: bool, d: Dst, a: Val, b: Val) {
        if let Val::C(n) = b {
            let n = n as u8 & if wide { 63 } else { 31 };
            if matches!(op, Shift::Rol | Shift::Ror) && self.features.bmi2 && Val::from(d) != a {
                let bits = if wide { 64 } else { 32 };
                return self.rotate(wide, d, a, if op == Shift::Rol { (bits - n) % bits } else { n });
            }
            if !wide && op == Shift::Shr && n != 0 {
                // Bit 31 is clear: there is no sign to extend.
                let t = self.target_reg(d, &[]);
                self.load_low_to(t, a);
                self.asm.shift_imm(op, false, t, n);
                return self.finish(d, t);
            }
            let t = self.target_reg(d, &[]);
            if wide {
                self.load_to(t, a)
            } else {
                self.load_low_to(t, a)
            }
            self.asm.shift_imm(op, wide, t, n);
            return if wide { self.finish(d, t) } else { self.finish32(d, t) };
        }
        if self.features.bmi2 && matches!(op, Shift::Shl | Shift::Shr | Shift::Sar) {
            let n = self.in_reg(C, b);
            let t = self.target_reg(d, &[]);
            match self.loc(a) {
                Loc::Reg(r) => self.asm.shiftx(op, wide, t, r, n),
                Loc::Mem(m) => self.asm.shiftx(op, wide, t, m, n),
                Loc::Imm(i) => {
                    self.asm.mov_imm(A, i);
                    self.asm.shiftx(op, wide, t, A, n);
                }
            }
            return if wide { self.finish(d, t) } else { self.finish32(d, t) };
        }
        self.load_to(C, b);
        self.load_to(A, a);
        self.asm.shift_cl(op, wide, A);
        if wide { self.finish(d, A) } else { self.finish32(d, A) }
    }

    /// `d` = `a` rotated right by `n`, without a copy.
    fn rotate(&mut self, wide: bool, d: Dst, a: Val, n: u8) {
        let t = self.target_reg(d, &[]);
        match self.loc(a) {
            Loc::Reg(r) => self.asm.rorx(wide, t, r, n),
            Loc::Mem(m) => self.asm.rorx(wide, t, m, n),
            Loc::Imm(i) => {
                self.asm.mov_imm(A, i);
                self.asm.rorx(wide, t, A, n);
            }
        }
        if wide { self.finish(d, t) } else { self.finish32(d, t) }
    }

    /// `d` = the low half of `a` over which all of it stands, shifted right: its upper half comes in from the right if it
    /// is shifted left.
    fn funnel(&mut self, d: Dst, a: Val, b: Val) {
        let Val::C(n) = b else { unreachable!("only made with a constant") };
        let n = n as u8 & 31;
        let t = self.target_reg(d, &[]);
        if self.features.shld {
            if self.exchanged != Some((a, self.asm.code.len())) {
                match self.loc(a) {
                    Loc::Reg(r) if self.features.bmi2 => self.asm.rorx(true, D, r, 32),
                    _ => {
                        self.load_to(D, a);
                        self.asm.shift_imm(Shift::Rol, true, D, 32);
                    }
                }
            }
            self.load_to(t, a);
            self.asm.shld(t, D, 32 - n);
            self.finish(d, t);
            self.exchanged = (Val::from(d) != a).then_some((a, self.asm.code.len()));
            return;
        }
        self.load32_to(C, a);
        self.asm.shift_imm(Shift::Shr, false, C, n);
        self.load_to(t, a);
        self.asm.shift_imm(Shift::Shl, true, t, 32 - n);
        self.asm.alu(Alu::Or, true, t, C);
        self.finish(d, t);
    }

    fn set(&mut self, cond: Cond, d: Dst, a: Val, b: Val) {
        // 0 < b, unsigned, is b != 0.
        let (cond, a, b) = if cond == Cond::Ltu && a == Val::C(0) { (Cond::Ne, b, a) } else { (cond, a, b) };
        let cc = self.compare(cond, a, b);
        let t = self.target_reg(d, &[]);
        self.asm.setcc(cc, t);
        self.finish(d, t);
    }

    fn mul(&mut self, wide: bool, d: Dst, a: Val, b: Val) {
        let (a, b) = if matches!(a, Val::C(_)) { (b, a) } else { (a, b) };
        let t = self.target_reg(d, &[b]);
        self.load_to(t, a);
        match self.loc(b) {
            Loc::Reg(r) => self.asm.imul(wide, t, r),
            Loc::Mem(m) => self.asm.imul(wide, t, m),
            Loc::Imm(i) => {
                self.asm.mov_imm(C, i);
                self.asm.imul(wide, t, C);
            }
        }
        if wide { self.finish(d, t) } else { self.finish32(d, t) }
    }

    fn div(&mut self, wide: bool, signed: bool, rem: bool, d: Dst, a: Val, b: Val) {
        self.load_to(C, b);
        self.load_to(A, a);
        self.asm.test(wide, C, C);
        let zero = self.asm.jcc_forward(Cc::E);
        let minus_one = signed.then(|| {
            // The most negative number by -1 would trap on the host.
            self.asm.alu_imm(Alu::Cmp, wide, C, -1);
            self.asm.jcc_forward(Cc::E)
        });
        self.asm.div(wide, signed, C);
        if rem {
            self.asm.mov(true, A, D);
        }
        let mut ends = vec![self.asm.jmp_forward()];
        self.asm.bind(zero);
        if !rem {
            self.asm.mov_imm(A, -1);
        }
        if let Some(minus_one) = minus_one {
            ends.push(self.asm.jmp_forward());
            self.asm.bind(minus_one);
            if rem {
                self.asm.mov_imm(A, 0);
            } else {
                self.asm.neg(wide, A);
            }
        }
        ends.into_iter().for_each(|e| self.asm.bind(e));
        if wide { self.finish(d, A) } else { self.finish32(d, A) }
    }

    /// `d = a cc b ? b : a`.
    fn select(&mut self, cc: Cc, d: Dst, a: Val, b: Val) {
        self.load_to(A, a);
        let r = self.in_reg(C, b);
        self.asm.alu(Alu::Cmp, true, A, r);
        self.asm.cmov(cc, A, r);
        self.finish(d, A);
    }

    fn shadd(&mut self, scale: u8, uw: bool, d: Dst, a: Val, b: Val) {
        let x = match (uw, self.loc(a)) {
            (false, Loc::Reg(r)) => r,
            (false, _) => self.in_reg(A, a),
            (true, _) => {
                self.load32_to(A, a);
                A
            }
        };
        let y = self.in_reg(C, b);
        let t = self.target_reg(d, &[]);
        self.asm.lea(true, t, mem_index(y, x, scale, 0));
        self.finish(d, t);
    }

    fn bit(&mut self, op: u8, d: Dst, a: Val, b: Val) {
        let t = self.target_reg(d, &[b]);
        self.load_to(t, a);
        match b {
            Val::C(n) => self.asm.bit_imm(op, t, n as u8 & 63),
            _ => {
                let n = self.in_reg(C, b);
                self.asm.bit_reg(op, t, n);
            }
        }
        self.finish(d, t);
    }

    /// `d = b cc 0 ? 0 : a`.
    fn czero(&mut self, cc: Cc, d: Dst, a: Val, b: Val) {
        self.load_to(A, a);
        self.asm.mov_imm(D, 0);
        let r = self.in_reg(C, b);
        self.asm.test(true, r, r);
        self.asm.cmov(cc, A, D);
        self.finish(d, A);
    }

    fn un(&mut self, op: UnOp, d: Dst, a: Val) {
        let (size, signed) = match op {
            UnOp::SextB => (1, true),
            UnOp::SextH => (2, true),
            UnOp::SextW => (4, true),
            UnOp::ZextB => (1, false),
            UnOp::ZextH => (2, false),
            UnOp::ZextW => (4, false),
            _ => return self.un_other(op, d, a),
        };
        if op == UnOp::SextW && self.is_extended(d, a) {
            return;
        }
        let t = self.target_reg(d, &[]);
        match self.loc(a) {
            Loc::Reg(r) => self.asm.extend(size, signed, t, r),
            Loc::Mem(m) => self.asm.extend(size, signed, t, m),
            Loc::Imm(i) => {
                self.asm.mov_imm(A, i);
                self.asm.extend(size, signed, t, A);
            }
        }
        self.finish(d, t);
    }

    fn un_other(&mut self, op: UnOp, d: Dst, a: Val) {
        let f = self.features;
        let count = match op {
            UnOp::Clz if f.lzcnt => Some((0xbd, true)),
            UnOp::ClzW if f.lzcnt => Some((0xbd, false)),
            UnOp::Ctz if f.bmi1 => Some((0xbc, true)),
            UnOp::CtzW if f.bmi1 => Some((0xbc, false)),
            UnOp::Cpop if f.popcnt => Some((0xb8, true)),
            UnOp::CpopW if f.popcnt => Some((0xb8, false)),
            _ => None,
        };
        self.load_to(A, a);
        match (op, count) {
            (_, Some((opcode, wide))) => self.asm.count(opcode, wide, A, A),
            (UnOp::Not, _) => self.asm.not(A),
            (UnOp::Rev8, _) => self.asm.bswap(A),
            (UnOp::Aes64Im, _) if f.aes => {
                self.asm.sse(0x66, 0x6e, true, 0, A);
                self.asm.sse38(0xdb, 0, 0);
                self.asm.sse(0x66, 0x7e, true, 0, A);
            }
            (UnOp::OrcB, _) => {
                self.asm.sse(0x66, 0x6e, true, 0, A);
                self.asm.sse(0x66, 0xef, false, 1, asm::Xmm(1));
                self.asm.sse(0x66, 0x74, false, 0, asm::Xmm(1));
                self.asm.sse(0x66, 0x7e, true, 0, A);
                self.asm.not(A);
            }
            _ => {
                self.asm.mov_imm(C, un_code(op));
                self.call_out(self.thunks.eval);
            }
        }
        self.finish(d, A);
    }
}
