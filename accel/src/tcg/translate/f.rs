//! F, D, Zfh, Zfhmin, Zfbfmin and Zfa, and their CSRs.

use arch::csr::{FCSR, FFLAGS, FRM};
use arch::isa::{Insn, Op as G};

use crate::tcg::csr::CsrOp;
use crate::tcg::helpers::softfloat::{Fmt, FpKind, FpOp, RegFile, Rm};
use crate::tcg::ir::{Builder, FDst, FVal, Op, Width, fp_check, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    if let Some((kind, write)) = super::zicsr::kind(i)
        && let number @ (FFLAGS | FRM | FCSR) = i.imm as u16 & 0xfff
        && b.has_csr(number)
    {
        csr(b, i, kind, write);
        return true;
    }
    let memory = memory(i.op);
    let op = operation(i.op);
    if memory.is_none() && op.is_none() {
        return false;
    }
    // Reserved rounding modes are illegal instructions, which touch nothing: not even FS.
    if matches!(i.rm, 5 | 6) && op.is_some_and(|o| o.kind.rounds()) {
        return false;
    }
    let reads_only = matches!(memory, Some((false, _))) || op.is_some_and(|o| reads_only(o.kind));
    let mut checks = if reads_only { fp_check::ON } else { fp_check::DIRTY };
    if op.is_some_and(|o| o.kind.rounds()) && i.rm == 7 {
        checks |= fp_check::NATIVE_FRM;
    }
    b.fp_check(checks, i.raw);
    if let Some((load, width)) = memory {
        let base = x(i.rs1);
        b.push(match load {
            true => Op::LoadF { fd: i.rd, base, offset: i.imm, width },
            false => Op::StoreF { fs: i.rs2, base, offset: i.imm, width },
        });
        return true;
    }
    if let Some(op) = op {
        arithmetic(b, i, op);
    }
    true
}

/// A CSR instruction on the flags or the rounding mode.
fn csr(b: &mut Builder, i: &Insn, kind: CsrOp, write: bool) {
    let csr = i.imm as u16 & 0xfff;
    b.fp_check(if write { fp_check::DIRTY } else { fp_check::ON }, i.raw);
    let src = super::zicsr::source(i);
    b.push(Op::FpCsr { csr, kind, write, d: Builder::dst(i.rd), src, raw: i.raw });
    if write && csr != FFLAGS {
        b.frm_changed();
    }
}

/// The rounding mode has been found not to be reserved.
fn arithmetic(b: &mut Builder, i: &Insn, op: FpOp) {
    // 7 is the mode of `frm`.
    let rm = if op.kind.rounds() { Rm::from_bits(i.rm.into()) } else { None };
    let n = op.kind.operands();
    let none = FVal::C(0);
    let a = match (op.kind, op.kind.source()) {
        (FpKind::Li, _) => FVal::C(i.rs1),
        (_, RegFile::X) => FVal::X(i.rs1),
        (_, RegFile::F) => FVal::F(i.rs1),
    };
    let second = if n > 1 { FVal::F(i.rs2) } else { none };
    let third = if n > 2 { FVal::F(i.rs3) } else { none };
    let d = match op.kind.destination() {
        RegFile::X => FDst::X(i.rd),
        RegFile::F => FDst::F(i.rd),
    };
    b.push(Op::Fp { op, rm, d, a, b: second, c: third });
}

/// Operations that change neither an f register nor the flags.
fn reads_only(kind: FpKind) -> bool {
    kind.destination() == RegFile::X && !kind.raises()
}

/// Loads (`true`) and stores with their width.
fn memory(op: G) -> Option<(bool, Width)> {
    Some(match op {
        G::Flw => (true, Width::W),
        G::Fsw => (false, Width::W),
        G::Fld => (true, Width::D),
        G::Fsd => (false, Width::D),
        G::Flh => (true, Width::H),
        G::Fsh => (false, Width::H),
        _ => return None,
    })
}

macro_rules! operations {
    ($($g:ident => $kind:ident $fmt:ident,)*) => {
        /// What the instruction computes, and in which format.
        fn operation(op: G) -> Option<FpOp> {
            Some(match op {
                $(G::$g => FpOp { kind: FpKind::$kind, fmt: Fmt::$fmt },)*
                _ => return None,
            })
        }
    };
}

operations! {
    FmaddS => Madd S,
    FmsubS => Msub S,
    FnmsubS => Nmsub S,
    FnmaddS => Nmadd S,
    FaddS => Add S,
    FsubS => Sub S,
    FmulS => Mul S,
    FdivS => Div S,
    FsqrtS => Sqrt S,
    FsgnjS => Sgnj S,
    FsgnjnS => Sgnjn S,
    FsgnjxS => Sgnjx S,
    FminS => Min S,
    FmaxS => Max S,
    FleS => Le S,
    FltS => Lt S,
    FeqS => Eq S,
    FclassS => Class S,
    FliS => Li S,
    FminmS => Minm S,
    FmaxmS => Maxm S,
    FroundS => Round S,
    FroundnxS => RoundNx S,
    FleqS => Leq S,
    FltqS => Ltq S,
    FcvtWS => ToW S,
    FcvtSW => FromW S,
    FcvtWuS => ToWu S,
    FcvtSWu => FromWu S,
    FcvtLS => ToL S,
    FcvtSL => FromL S,
    FcvtLuS => ToLu S,
    FcvtSLu => FromLu S,
    FmaddD => Madd D,
    FmsubD => Msub D,
    FnmsubD => Nmsub D,
    FnmaddD => Nmadd D,
    FaddD => Add D,
    FsubD => Sub D,
    FmulD => Mul D,
    FdivD => Div D,
    FsqrtD => Sqrt D,
    FsgnjD => Sgnj D,
    FsgnjnD => Sgnjn D,
    FsgnjxD => Sgnjx D,
    FminD => Min D,
    FmaxD => Max D,
    FleD => Le D,
    FltD => Lt D,
    FeqD => Eq D,
    FclassD => Class D,
    FliD => Li D,
    FminmD => Minm D,
    FmaxmD => Maxm D,
    FroundD => Round D,
    FroundnxD => RoundNx D,
    FleqD => Leq D,
    FltqD => Ltq D,
    FcvtWD => ToW D,
    FcvtDW => FromW D,
    FcvtWuD => ToWu D,
    FcvtDWu => FromWu D,
    FcvtLD => ToL D,
    FcvtDL => FromL D,
    FcvtLuD => ToLu D,
    FcvtDLu => FromLu D,
    FmaddH => Madd H,
    FmsubH => Msub H,
    FnmsubH => Nmsub H,
    FnmaddH => Nmadd H,
    FaddH => Add H,
    FsubH => Sub H,
    FmulH => Mul H,
    FdivH => Div H,
    FsqrtH => Sqrt H,
    FsgnjH => Sgnj H,
    FsgnjnH => Sgnjn H,
    FsgnjxH => Sgnjx H,
    FminH => Min H,
    FmaxH => Max H,
    FleH => Le H,
    FltH => Lt H,
    FeqH => Eq H,
    FclassH => Class H,
    FliH => Li H,
    FminmH => Minm H,
    FmaxmH => Maxm H,
    FroundH => Round H,
    FroundnxH => RoundNx H,
    FleqH => Leq H,
    FltqH => Ltq H,
    FcvtWH => ToW H,
    FcvtHW => FromW H,
    FcvtWuH => ToWu H,
    FcvtHWu => FromWu H,
    FcvtLH => ToL H,
    FcvtHL => FromL H,
    FcvtLuH => ToLu H,
    FcvtHLu => FromLu H,
    FcvtSBf16 => FromBf16 S,
    FcvtBf16S => FromS Bf16,
    FcvtSD => FromD S,
    FcvtDS => FromS D,
    FcvtSH => FromH S,
    FcvtHS => FromS H,
    FcvtDH => FromH D,
    FcvtHD => FromD H,
    FcvtmodWD => ToWMod D,
    FmvXW => MvToX S,
    FmvWX => MvToF S,
    FmvXD => MvToX D,
    FmvDX => MvToF D,
    FmvXH => MvToX H,
    FmvHX => MvToF H,
}
