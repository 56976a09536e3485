//! Checks that a block is well formed; run on every block in debug builds.
//!
//! Checked: the first operation is a mark; marks ascend without a gap; the last operation and no other ends
//! the block; registers are below 32; a temporary is written before it is read within its instruction; x0 is
//! never a destination.

use super::{Dst, FDst, FVal, IrBlock, Op, TEMPS, Val};

/// Returns what is wrong with `block`.
pub fn verify(block: &IrBlock) -> Result<(), String> {
    let mut next = block.start;
    let mut insns = 0;
    let mut live = [false; TEMPS];
    for (i, op) in block.ops.iter().enumerate() {
        let fail = |what: &str| Err(format!("op {i} {op:?}: {what}"));
        if i == 0 && !matches!(op, Op::Insn { .. }) {
            return fail("block does not begin with an instruction");
        }
        if op.ends_block() != (i + 1 == block.ops.len()) {
            return fail("exactly the last operation must end the block");
        }
        if let Op::Insn { offset, len } = *op {
            if offset != next {
                return fail("instructions leave a gap");
            }
            next = offset + u16::from(len);
            insns += 1;
            live = [false; TEMPS];
        }
        let (reads, fregs, write) = operands(op);
        for v in reads.into_iter().flatten() {
            match v {
                Val::X(r) if r == 0 || r > 31 => return fail("bad register operand"),
                Val::T(t) if !live.get(usize::from(t)).copied().unwrap_or(false) => {
                    return fail("temporary read before it is written");
                }
                _ => {}
            }
        }
        if fregs.into_iter().flatten().any(|r| r > 31) {
            return fail("bad floating-point register");
        }
        match write {
            Some(Dst::X(r)) if r == 0 || r > 31 => return fail("bad destination"),
            Some(Dst::T(t)) => match live.get_mut(usize::from(t)) {
                Some(l) => *l = true,
                None => return fail("no such temporary"),
            },
            _ => {}
        }
    }
    if insns != block.insns || next != block.end {
        return Err(format!(
            "block counts {} instructions to {:#x}, found {insns} to {next:#x}",
            block.insns, block.end
        ));
    }
    Ok(())
}

pub type Operands = ([Option<Val>; 3], [Option<u8>; 4], Option<Dst>);

/// Integer operands, floating-point registers and integer destination of an operation. Few callers want all of it, and get
/// no more.
#[inline(always)]
pub fn operands(op: &Op) -> Operands {
    let none = [None; 4];
    match *op {
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
