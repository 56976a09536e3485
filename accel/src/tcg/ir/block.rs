//! A block of IR and the builder that lowerings write to.

use arch::ext::{Ext, IsaConfig};

use super::op::{BinOp, Cond, Dst, Helper, Linkage, Op, Target, UnOp, Val, Width, fp_check};
use crate::tcg::csr;
use crate::tcg::hart::BlockMode;

/// The IR of one superblock: single entry, side exits at branches, all instructions in one guest page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IrBlock {
    pub ops: Vec<Op>,
    /// Offset of the first instruction in its page.
    pub start: u16,
    /// Offset just past the last instruction; may exceed the page when the last one crosses it.
    pub end: u16,
    /// Number of guest instructions.
    pub insns: u16,
}

impl IrBlock {
    /// Whether it may go back to its own start.
    pub fn is_loop(&self) -> bool {
        let start = i64::from(self.start);
        self.ops.iter().any(|op| match op {
            Op::BranchIf { target, .. } | Op::Jump { target } => target.offset == start,
            _ => false,
        })
    }
}

/// Appends operations to a block, dropping what has no effect.
#[derive(Debug, Default)]
pub struct Builder {
    pub block: IrBlock,
    /// Offset of the instruction being lowered.
    pub offset: u16,
    /// Its length.
    pub len: u8,
    /// All instructions stand at multiples of four (IALIGN = 32): jumps elsewhere trap.
    pub four_byte: bool,
    /// Floating-point checks that this block has made.
    fp_checked: u8,
    /// The mode the block is for.
    pub mode: BlockMode,
    /// The physical page in which it stands.
    pub page: u64,
    isa: IsaConfig,
}

/// Register operand; x0 is the constant zero.
pub fn x(r: u8) -> Val {
    if r == 0 { Val::C(0) } else { Val::X(r) }
}

impl Builder {
    pub fn new(isa: &IsaConfig) -> Self {
        Self { four_byte: !isa.has(Ext::Zca), isa: isa.clone(), ..Self::default() }
    }

    /// Whether the hart has CSR `n`.
    pub fn has_csr(&self, n: u16) -> bool {
        arch::csr::by_number(n).is_some_and(|row| row.available(&self.isa))
    }

    /// What generated code does for CSR `n` in the block's mode, see [`csr::inline`].
    pub fn inline_csr(&self, n: u16, write: bool) -> Option<csr::Inline> {
        csr::inline(&self.isa, self.mode.privilege(), self.mode.virt(), n, write)
    }

    /// Starts a new block at `start`, keeping the buffer.
    pub fn reset(&mut self, start: u16) {
        self.block.ops.clear();
        self.block.start = start;
        self.block.end = start;
        self.block.insns = 0;
        self.offset = start;
        self.len = 0;
        self.fp_checked = 0;
    }

    /// Begins a guest instruction.
    pub fn insn(&mut self, offset: u16, len: u8) {
        self.offset = offset;
        self.len = len;
        self.block.insns += 1;
        self.block.end = offset + u16::from(len);
        self.push(Op::Insn { offset, len });
    }

    pub fn push(&mut self, op: Op) {
        self.block.ops.push(op);
    }

    /// Makes sure that `checks` hold from here on; `raw` is the instruction that needs them.
    pub fn fp_check(&mut self, checks: u8, raw: u32) {
        let checks = checks & !self.fp_checked;
        if checks != 0 {
            self.push(Op::FpCheck { checks, raw });
            let implied = if checks & fp_check::DIRTY != 0 { fp_check::ON } else { 0 };
            self.fp_checked |= checks | implied;
        }
    }

    /// `frm` has been written.
    pub fn frm_changed(&mut self) {
        self.fp_checked &= !fp_check::NATIVE_FRM;
    }

    /// A destination register, `None` for x0.
    pub fn dst(r: u8) -> Option<Dst> {
        (r != 0).then_some(Dst::X(r))
    }

    pub fn mov(&mut self, rd: u8, s: Val) {
        if rd != 0 && s != Val::X(rd) {
            self.push(Op::Mov { d: Dst::X(rd), s });
        }
    }

    pub fn bin(&mut self, op: BinOp, rd: u8, a: Val, b: Val) {
        self.bin_here(op, rd, a, b);
    }

    /// [`bin`](Self::bin) as part of the caller, for the instructions that most code consists of.
    #[inline(always)]
    pub fn bin_here(&mut self, op: BinOp, rd: u8, a: Val, b: Val) {
        if rd == 0 {
            return;
        }
        let s = match (op, a, b) {
            (_, Val::C(a), Val::C(b)) => Val::C(op.eval(a as u64, b as u64) as i64),
            (BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor, a, Val::C(0)) => a,
            (BinOp::Add | BinOp::Or | BinOp::Xor, Val::C(0), b) => b,
            (BinOp::AddW, a, Val::C(0)) => return self.un(UnOp::SextW, rd, a),
            (BinOp::And, a, Val::C(0xff)) => return self.un(UnOp::ZextB, rd, a),
            _ => return self.push(Op::Bin { op, d: Dst::X(rd), a, b }),
        };
        self.mov(rd, s);
    }

    pub fn un(&mut self, op: UnOp, rd: u8, a: Val) {
        if rd == 0 {
            return;
        }
        match a {
            Val::C(a) => self.mov(rd, Val::C(op.eval(a as u64) as i64)),
            _ => self.push(Op::Un { op, d: Dst::X(rd), a }),
        }
    }

    pub fn load(&mut self, rd: u8, base: Val, offset: i32, width: Width, signed: bool) {
        self.push(Op::Load { d: Self::dst(rd), base, offset, width, signed });
    }

    pub fn store(&mut self, base: Val, offset: i32, src: Val, width: Width) {
        self.push(Op::Store { base, offset, src, width });
    }

    pub fn branch(&mut self, cond: Cond, a: Val, b: Val, imm: i32) {
        let target = self.target(imm);
        match (a, b) {
            (Val::C(a), Val::C(b)) if !cond.eval(a as u64, b as u64) => {}
            (Val::C(_), Val::C(_)) => self.jump(target),
            _ if self.is_misaligned(target) => {
                // The branch not taken leaves, the other one traps.
                let next = Target { offset: self.next() };
                self.push(Op::BranchIf { cond: cond.inverse(), a, b, target: next });
                self.jump(target);
            }
            _ => self.push(Op::BranchIf { cond, a, b, target }),
        }
    }

    /// Says what the jump that comes next is by the registers it links in and goes through.
    pub fn linkage(&mut self, rd: u8, rs1: u8) {
        if let Some(linkage) = Linkage::of(rd, rs1) {
            self.push(Op::Linkage(linkage));
        }
    }

    /// Ends the block by a jump to a place known now, or by the exception that it raises.
    pub fn jump(&mut self, target: Target) {
        if self.is_misaligned(target) {
            self.call(Helper::MisalignedJump, 0, [Val::C(target.offset), Val::C(0), Val::C(0)]);
        } else {
            self.push(Op::Jump { target });
        }
    }

    pub fn is_misaligned(&self, target: Target) -> bool {
        self.four_byte && target.offset & 2 != 0
    }

    /// The place `imm` bytes from this instruction.
    pub fn target(&self, imm: i32) -> Target {
        Target { offset: i64::from(self.offset) + i64::from(imm) }
    }

    /// Offset of the instruction after this one.
    pub fn next(&self) -> i64 {
        i64::from(self.offset) + i64::from(self.len)
    }

    /// What was checked may not hold any more: a CSR instruction may have changed it.
    pub fn forget_checks(&mut self) {
        self.fp_checked = 0;
    }

    pub fn call(&mut self, helper: Helper, rd: u8, args: [Val; 3]) {
        self.forget_checks();
        self.push(Op::Call { helper, d: Self::dst(rd), args });
    }
}
