//! Zba, Zbb, Zbc, Zbs and Zicond.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{BinOp, Builder, UnOp, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    if let Some(op) = unary(i.op) {
        b.un(op, i.rd, x(i.rs1));
    } else if let Some(op) = register(i.op) {
        b.bin(op, i.rd, x(i.rs1), x(i.rs2));
    } else if let Some(op) = immediate(i.op) {
        b.bin(op, i.rd, x(i.rs1), Val::C(i64::from(i.imm)));
    } else {
        return false;
    }
    true
}

fn unary(op: G) -> Option<UnOp> {
    Some(match op {
        G::Clz => UnOp::Clz,
        G::Clzw => UnOp::ClzW,
        G::Ctz => UnOp::Ctz,
        G::Ctzw => UnOp::CtzW,
        G::Cpop => UnOp::Cpop,
        G::Cpopw => UnOp::CpopW,
        G::SextB => UnOp::SextB,
        G::SextH => UnOp::SextH,
        G::ZextH => UnOp::ZextH,
        G::Rev8 => UnOp::Rev8,
        G::OrcB => UnOp::OrcB,
        _ => return None,
    })
}

fn register(op: G) -> Option<BinOp> {
    Some(match op {
        G::AddUw => BinOp::AddUw,
        G::Sh1add => BinOp::Sh1add,
        G::Sh2add => BinOp::Sh2add,
        G::Sh3add => BinOp::Sh3add,
        G::Sh1addUw => BinOp::Sh1addUw,
        G::Sh2addUw => BinOp::Sh2addUw,
        G::Sh3addUw => BinOp::Sh3addUw,
        G::Andn => BinOp::Andn,
        G::Orn => BinOp::Orn,
        G::Xnor => BinOp::Xnor,
        G::Max => BinOp::Max,
        G::Maxu => BinOp::Maxu,
        G::Min => BinOp::Min,
        G::Minu => BinOp::Minu,
        G::Rol => BinOp::Rol,
        G::Rolw => BinOp::RolW,
        G::Ror => BinOp::Ror,
        G::Rorw => BinOp::RorW,
        G::Clmul => BinOp::Clmul,
        G::Clmulh => BinOp::Clmulh,
        G::Clmulr => BinOp::Clmulr,
        G::Bclr => BinOp::Bclr,
        G::Bext => BinOp::Bext,
        G::Binv => BinOp::Binv,
        G::Bset => BinOp::Bset,
        G::CzeroEqz => BinOp::CzeroEqz,
        G::CzeroNez => BinOp::CzeroNez,
        _ => return None,
    })
}

fn immediate(op: G) -> Option<BinOp> {
    Some(match op {
        G::SlliUw => BinOp::SllUw,
        G::Rori => BinOp::Ror,
        G::Roriw => BinOp::RorW,
        G::Bclri => BinOp::Bclr,
        G::Bexti => BinOp::Bext,
        G::Binvi => BinOp::Binv,
        G::Bseti => BinOp::Bset,
        _ => return None,
    })
}
