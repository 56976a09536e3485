//! RV64I, Zifencei and Zihintpause.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{BinOp, BinOp::*, Builder, Cond, Dst, Helper, Op, Val, Width, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    let (rd, a, r2) = (i.rd, x(i.rs1), x(i.rs2));
    let c = Val::C(i64::from(i.imm));
    if let Some((op, constant)) = arithmetic(i.op) {
        b.bin_here(op, rd, a, if constant { c } else { r2 });
        return true;
    }
    match i.op {
        G::Lui => b.mov(rd, c),
        G::Auipc => {
            let offset = i64::from(b.offset).wrapping_add(i64::from(i.imm));
            pc_rel(b, rd, offset);
        }
        G::Jal => {
            let (next, target) = (b.next(), b.target(i.imm));
            // A jump that traps does not link.
            if !b.is_misaligned(target) {
                pc_rel(b, rd, next);
                b.linkage(rd, 0);
            }
            b.jump(target);
        }
        G::Jalr => jalr(b, i),
        G::Beq => b.branch(Cond::Eq, a, r2, i.imm),
        G::Bne => b.branch(Cond::Ne, a, r2, i.imm),
        G::Blt => b.branch(Cond::Lt, a, r2, i.imm),
        G::Bge => b.branch(Cond::Ge, a, r2, i.imm),
        G::Bltu => b.branch(Cond::Ltu, a, r2, i.imm),
        G::Bgeu => b.branch(Cond::Geu, a, r2, i.imm),
        G::Lb => b.load(rd, a, i.imm, Width::B, true),
        G::Lh => b.load(rd, a, i.imm, Width::H, true),
        G::Lw => b.load(rd, a, i.imm, Width::W, true),
        G::Ld => b.load(rd, a, i.imm, Width::D, true),
        G::Lbu => b.load(rd, a, i.imm, Width::B, false),
        G::Lhu => b.load(rd, a, i.imm, Width::H, false),
        G::Lwu => b.load(rd, a, i.imm, Width::W, false),
        G::Sb => b.store(a, i.imm, r2, Width::B),
        G::Sh => b.store(a, i.imm, r2, Width::H),
        G::Sw => b.store(a, i.imm, r2, Width::W),
        G::Sd => b.store(a, i.imm, r2, Width::D),
        G::Fence => fence(b, i.imm),
        // fence.tso orders everything but stores before loads; the host's memory model does that already.
        G::FenceTso => {}
        // A hint that other threads of the core may use the pipeline: nothing to do for a thread of its own.
        G::Pause => {}
        G::FenceI => b.call(Helper::FenceI, 0, [Val::C(0); 3]),
        G::Ecall => b.call(Helper::Ecall, 0, [Val::C(0); 3]),
        G::Ebreak => b.call(Helper::Ebreak, 0, [Val::C(0); 3]),
        _ => return false,
    }
    true
}

/// The operation of an instruction that computes from a register and a constant or another register, and whether it is
/// the former.
#[inline(always)]
fn arithmetic(op: G) -> Option<(BinOp, bool)> {
    Some(match op {
        G::Addi => (Add, true),
        G::Slti => (Slt, true),
        G::Sltiu => (Sltu, true),
        G::Xori => (Xor, true),
        G::Ori => (Or, true),
        G::Andi => (And, true),
        G::Slli => (Sll, true),
        G::Srli => (Srl, true),
        G::Srai => (Sra, true),
        G::Addiw => (AddW, true),
        G::Slliw => (SllW, true),
        G::Srliw => (SrlW, true),
        G::Sraiw => (SraW, true),
        G::Add => (Add, false),
        G::Sub => (Sub, false),
        G::Sll => (Sll, false),
        G::Slt => (Slt, false),
        G::Sltu => (Sltu, false),
        G::Xor => (Xor, false),
        G::Srl => (Srl, false),
        G::Sra => (Sra, false),
        G::Or => (Or, false),
        G::And => (And, false),
        G::Addw => (AddW, false),
        G::Subw => (SubW, false),
        G::Sllw => (SllW, false),
        G::Srlw => (SrlW, false),
        G::Sraw => (SraW, false),
        _ => return None,
    })
}

fn pc_rel(b: &mut Builder, rd: u8, offset: i64) {
    if rd != 0 {
        b.push(Op::PcRel { d: Dst::X(rd), offset });
    }
}

fn jalr(b: &mut Builder, i: &Insn) {
    // The target is computed before rd is written: they may be the same register.
    let addr = if i.imm == 0 && i.rd != i.rs1 {
        x(i.rs1)
    } else {
        b.push(Op::Bin { op: Add, d: Dst::T(0), a: x(i.rs1), b: Val::C(i64::from(i.imm)) });
        Val::T(0)
    };
    if b.four_byte {
        b.call(Helper::CheckJump, 0, [addr, Val::C(0), Val::C(0)]);
    }
    let next = b.next();
    pc_rel(b, i.rd, next);
    b.linkage(i.rd, i.rs1);
    b.push(Op::JumpReg { addr });
}

/// Only a fence from earlier writes to later reads costs anything on a host with total store order.
/// `imm` = fm, predecessor and successor sets (I O R W each); device output counts as a write.
///
/// It does so on a machine of one hart, too: devices are served by threads that read and write guest memory at the same
/// time. A virtio driver makes a chain available and *then* reads whether the device wants a kick (its `avail_event` or
/// flags); the device says that it wants one and *then* reads whether there is a chain (`Virtqueue::enable_kicks`). The
/// same the other way round: the driver writes `used_event` and then reads the used index, the device moves that index
/// and then reads `used_event`. If the hart's read could pass its own write, both sides could miss each other and the
/// queue would stand still. Nothing else of the hart comes in between: a kick is an exit, but here it is left out. To
/// take the cost away from the hart (by `membarrier` on the device's side) every batch of completions would have to pay
/// a system call and an interrupt of the hart's thread, which is far more than this.
fn fence(b: &mut Builder, imm: i32) {
    let (pred, succ) = (imm >> 4 & 15, imm & 15);
    if pred & 0b0101 != 0 && succ & 0b1010 != 0 {
        b.push(Op::FenceStoreLoad { devices: true });
    }
}
