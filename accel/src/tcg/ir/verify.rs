//! Checks that a block is well formed; run on every block in debug builds.
//!
//! Checked: the first operation is a mark; marks ascend without a gap; the last operation and no other ends
//! the block; registers are below 32; a temporary is written before it is read within its instruction; x0 is
//! never a destination.

use super::{Dst, IrBlock, Op, TEMPS, Val};

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
        let (reads, fregs, write) = op.operands();
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
