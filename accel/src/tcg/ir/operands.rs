//! What an operation reads and writes.

use super::{Dst, FDst, FVal, Op, Val};

/// Integers that are read; floating-point registers that are read or written; the integer that is written.
pub type Operands = ([Option<Val>; 3], [Option<u8>; 4], Option<Dst>);

impl Op {
    /// Registers, temporaries and constants of the operation. Few callers want all of them, and get no more.
    #[inline(always)]
    pub fn operands(&self) -> Operands {
        let none = [None; 4];
        match *self {
            Op::Insn { .. } | Op::Linkage(_) | Op::Jump { .. } | Op::FenceStoreLoad { .. } | Op::FpCheck { .. } => {
                ([None; 3], none, None)
            }
            Op::Mov { d, s } => ([Some(s), None, None], none, Some(d)),
            Op::Bin { d, a, b, .. } => ([Some(a), Some(b), None], none, Some(d)),
            Op::Un { d, a, .. } => ([Some(a), None, None], none, Some(d)),
            Op::Late { d, a, .. } => ([Some(Val::X(a)), None, None], none, Some(Dst::X(d))),
            Op::PcRel { d, .. } => ([None; 3], none, Some(d)),
            Op::Load { d, base, .. } => ([Some(base), None, None], none, d),
            Op::Store { base, src, .. } => ([Some(base), Some(src), None], none, None),
            Op::LoadF { fd, base, .. } => ([Some(base), None, None], [Some(fd), None, None, None], None),
            Op::StoreF { fs, base, .. } => ([Some(base), None, None], [Some(fs), None, None, None], None),
            Op::Amo { d, addr, src, .. } | Op::Sc { d, addr, src, .. } => ([Some(addr), Some(src), None], none, d),
            Op::Cas { d, addr, expected, src, .. } => ([Some(addr), Some(expected), Some(src)], none, d),
            Op::CheckAligned { addr, .. } => ([Some(addr), None, None], none, None),
            Op::Lr { d, addr, .. } => ([Some(addr), None, None], none, d),
            Op::Fp { d, a, b, c, .. } => {
                let f = |v| if let FVal::F(r) = v { Some(r) } else { None };
                let xs = |v| if let FVal::X(r) = v { (r != 0).then_some(Val::X(r)) } else { None };
                match d {
                    FDst::F(r) => ([xs(a), xs(b), xs(c)], [f(a), f(b), f(c), Some(r)], None),
                    FDst::X(r) => ([xs(a), xs(b), xs(c)], [f(a), f(b), f(c), None], (r != 0).then_some(Dst::X(r))),
                }
            }
            Op::FpCsr { d, src, .. } => ([Some(src), None, None], none, d),
            Op::Vector { d, a, b, .. } => ([Some(a), Some(b), None], none, d),
            Op::ReadState { d, .. } | Op::ReadGated { d, .. } => ([None; 3], none, Some(d)),
            Op::WriteState { src, .. } => ([Some(src), None, None], none, None),
            Op::Status { d, src, .. } => ([Some(src), None, None], none, d),
            Op::Call { d, args, .. } => (args.map(Some), none, d),
            Op::BranchIf { a, b, .. } => ([Some(a), Some(b), None], none, None),
            Op::JumpReg { addr } => ([Some(addr), None, None], none, None),
        }
    }

    /// Base, offset, bytes and direction (`true`: a store) of a plain load or store.
    pub fn access(&self) -> Option<(Val, i32, i32, bool)> {
        match *self {
            Op::Load { base, offset, width, .. } | Op::LoadF { base, offset, width, .. } => {
                Some((base, offset, width.bytes() as i32, false))
            }
            Op::Store { base, offset, width, .. } | Op::StoreF { base, offset, width, .. } => {
                Some((base, offset, width.bytes() as i32, true))
            }
            _ => None,
        }
    }
}
