//! The transformed instruction that `htinst` and `mtinst` show of a load, store or atomic that trapped.
//!
//! Nothing else has a transformation. The pseudoinstructions of faults in a guest's page tables come with the fault.
//!
//! Privileged spec, "Transformed Instruction or Pseudoinstruction for mtinst or htinst".

use arch::isa::{Insn, Op};

/// The transformation of `insn`, whose encoding is `raw`; zero where none is defined. `offset` is how far the
/// address that faulted lies behind the one that was accessed.
pub fn transform(insn: &Insn, raw: u32, offset: u8) -> u64 {
    const RS1: u32 = 31 << 15;
    let place = (u32::from(offset) & 31) << 15;
    let transformed = match insn.op {
        Op::Lb | Op::Lbu | Op::Lh | Op::Lhu | Op::Lw | Op::Lwu | Op::Ld | Op::Flh | Op::Flw | Op::Fld => {
            insn.op.row().pattern.bits | u32::from(insn.rd) << 7 | place
        }
        Op::Sb | Op::Sh | Op::Sw | Op::Sd | Op::Fsh | Op::Fsw | Op::Fsd => {
            insn.op.row().pattern.bits | u32::from(insn.rs2) << 20 | place
        }
        _ if is_atomic(insn.op, raw) || is_hypervisor_access(insn.op) => raw & !RS1 | place,
        _ => return 0,
    };
    let full_size = if insn.len == 2 { 0 } else { 2 };
    u64::from(transformed & !2 | full_size)
}

/// LR, SC and AMOs; their major opcode has the load-acquire and store-release instructions too.
fn is_atomic(op: Op, raw: u32) -> bool {
    let ordered = matches!(op, Op::LbAq | Op::LhAq | Op::LwAq | Op::LdAq | Op::SbRl | Op::ShRl | Op::SwRl | Op::SdRl);
    raw & 0x7f == 0x2f && !ordered
}

/// HLV, HLVX and HSV. Their minor opcode also has the shadow stack instructions.
fn is_hypervisor_access(op: Op) -> bool {
    use Op::*;
    matches!(op, HlvB | HlvBu | HlvH | HlvHu | HlvW | HlvWu | HlvD | HlvxHu | HlvxWu)
        || matches!(op, HsvB | HsvH | HsvW | HsvD)
}

/// The immediate that a transformable instruction adds to rs1 for its address.
pub fn displacement(insn: &Insn, raw: u32) -> u64 {
    if is_atomic(insn.op, raw) || is_hypervisor_access(insn.op) { 0 } else { insn.imm as i64 as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch::isa::Decoder;

    fn of(raw: u32, offset: u8) -> u64 {
        let isa = arch::model::parse("max").unwrap();
        transform(&Decoder::new(&isa).decode(raw).unwrap(), raw, offset)
    }

    #[test]
    fn loads_and_stores_lose_immediate_and_base() {
        // ld a0, 16(a1); sd a0, 16(a1); flw fa0, -4(sp).
        assert_eq!(of(0x0105_b503, 0), 0x0000_3503);
        assert_eq!(of(0x00a5_b823, 0), 0x00a0_3023);
        assert_eq!(of(0xffc1_2507, 0), 0x0000_2507);
        // lw a5, 6(a0) whose third byte is on the next page.
        assert_eq!(of(0x0065_2783, 2), 0x0001_2783);
    }

    #[test]
    fn atomics_keep_all_but_the_base() {
        // amoadd.d.aqrl a0, a1, (a2); lr.w t0, (a0).
        assert_eq!(of(0x06b6_352f, 0), 0x06b0_352f);
        assert_eq!(of(0x1005_22af, 0), 0x1000_22af);
        // hlv.d a0, (a1); hlvx.wu a0, (a1); hsv.w a0, (a1), two bytes on.
        assert_eq!(of(0x6c05_c573, 0), 0x6c00_4573);
        assert_eq!(of(0x6835_c573, 0), 0x6830_4573);
        assert_eq!(of(0x6aa5_c073, 2), 0x6aa1_4073);
    }

    #[test]
    fn compressed_ones_are_expanded_and_say_so() {
        // c.lw a0, 4(a1) is lw a0, 4(a1); c.sdsp ra, 8(sp) is sd ra, 8(sp).
        assert_eq!(of(0x41c8, 0), 0x0000_2501);
        assert_eq!(of(0xe406, 0), 0x0010_3021);
    }

    #[test]
    fn others_have_none() {
        // add a0, a0, a1; cbo.zero (a0); vle64.v v1, (a0); ld.aq a0, (a1).
        for raw in [0x00b5_0533, 0x0045_200f, 0x0205_7087, 0x3405_b52f] {
            assert_eq!(of(raw, 0), 0, "{raw:#x}");
        }
        // sspush ra; sspopchk t0; c.sspush ra: of the opcode of hlv, but none.
        for raw in [0xce10_4073, 0xcdc2_c073, 0x6081] {
            assert_eq!(of(raw, 0), 0, "{raw:#x}");
        }
    }
}
