//! Zicfilp and Zicfiss: indirect jumps that expect a landing pad, and what becomes of may-be-operations where there is a
//! shadow stack. LPAD is AUIPC to x0, and does nothing by itself.

use arch::isa::{Insn, Op as G};

use crate::tcg::cfi::{expects_pad, flags};
use crate::tcg::ir::{BinOp, Builder, Dst, Helper, Op, Val, Width, x};

/// SSPUSH and SSPOPCHK of x1 and x5, their compressed forms, and SSRDP without its register.
const SSPUSH: [(u32, u8); 3] = [(0xce10_4073, 1), (0xce50_4073, 5), (0x6081, 1)];
const SSPOPCHK: [(u32, u8); 3] = [(0xcdc0_c073, 1), (0xcdc2_c073, 5), (0x6281, 5)];
const SSRDP: u32 = 0xcdc0_4073;

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    match i.op {
        G::SsamoswapW => shadow_swap(b, i, Width::W),
        G::SsamoswapD => shadow_swap(b, i, Width::D),
        G::Jalr if b.mode.cfi_flags() & flags::LANDING_PADS != 0 && expects_pad(i.rs1) => guarded_jump(b, i),
        // A compressed may-be-operation is `addi x0, x0, 0` by now.
        G::MopRN | G::MopRrN | G::Addi if b.mode.cfi_flags() & flags::SHADOW_STACK != 0 => shadow_stack(b, i),
        _ => false,
    }
}

fn shadow_swap(b: &mut Builder, i: &Insn, width: Width) -> bool {
    let code = u64::from(i.raw) | u64::from(width == Width::D) << 32;
    b.call(Helper::ShadowSwap, i.rd, [x(i.rs1), x(i.rs2), Val::C(code as i64)]);
    true
}

/// The target is computed before rd is written: they may be the same register.
fn guarded_jump(b: &mut Builder, i: &Insn) -> bool {
    b.push(Op::Bin { op: BinOp::Add, d: Dst::T(0), a: x(i.rs1), b: Val::C(i64::from(i.imm)) });
    if b.four_byte {
        b.call(Helper::CheckJump, 0, [Val::T(0), Val::C(0), Val::C(0)]);
    }
    if i.rd != 0 {
        let offset = b.next();
        b.push(Op::PcRel { d: Dst::X(i.rd), offset });
    }
    b.call(Helper::JumpToPad, 0, [Val::T(0), Val::C(0), Val::C(0)]);
    true
}

fn shadow_stack(b: &mut Builder, i: &Insn) -> bool {
    let zero = Val::C(0);
    let find = |rows: &[(u32, u8)]| rows.iter().find(|row| row.0 == i.raw).map(|row| row.1);
    if let Some(link) = find(&SSPUSH) {
        b.call(Helper::ShadowPush, 0, [x(link), zero, zero]);
    } else if let Some(link) = find(&SSPOPCHK) {
        b.call(Helper::ShadowPop, 0, [x(link), zero, zero]);
    } else if i.rd != 0 && i.raw == SSRDP | u32::from(i.rd) << 7 {
        b.call(Helper::ShadowPointer, i.rd, [zero, zero, zero]);
    } else {
        return false;
    }
    true
}
