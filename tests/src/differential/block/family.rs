//! Which kind of group an instruction belongs to.

use arch::isa::Op;

/// Instructions whose operands are chosen alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Family {
    /// Any operands will do.
    Plain,
    /// The address register is one of the bases, anywhere in a page.
    Memory,
    /// The address register is that for atomics, mostly aligned: AMOs, load-acquire and store-release.
    Amo,
    /// The same, and what is compared should often be there.
    Cas,
    CacheBlock,
    Branch,
    /// The result has to be used.
    Round,
    /// The operand has to be a 16-bit number in its box.
    Boxed,
    /// Vector registers and integer registers.
    Vector,
    /// The same, and memory at a base.
    VectorMemory,
    /// Made by functions of their own, or left out.
    Special,
}

impl Family {
    pub const COUNT: usize = Family::Special as usize + 1;

    pub fn of(op: Op) -> Self {
        use Op::*;
        let name = op.name();
        match op {
            Lb | Lh | Lw | Ld | Lbu | Lhu | Lwu | Sb | Sh | Sw | Sd => Family::Memory,
            Flh | Flw | Fld | Fsh | Fsw | Fsd => Family::Memory,
            CboZero | CboClean | CboFlush | CboInval => Family::CacheBlock,
            Beq | Bne | Blt | Bge | Bltu | Bgeu => Family::Branch,
            FroundH | FroundS | FroundD | FroundnxH | FroundnxS | FroundnxD => Family::Round,
            FcvtSBf16 => Family::Boxed,
            Csrrw | Csrrs | Csrrc | Csrrwi | Csrrsi | Csrrci => Family::Special,
            LrW | LrD | ScW | ScD => Family::Special,
            Jal | Jalr | Ecall | Ebreak | Mret | Sret | Wfi | WrsNto | WrsSto => Family::Special,
            AmocasB | AmocasH | AmocasW | AmocasD | AmocasQ => Family::Cas,
            _ if name.starts_with("amo") || name.ends_with(".aq") || name.ends_with(".rl") => Family::Amo,
            // Hypervisor instructions have no groups yet.
            _ if name.starts_with('h') => Family::Special,
            Vsetvli | Vsetivli | Vsetvl => Family::Special,
            _ if name.starts_with("vlseg") && name.ends_with("ff.v") => Family::Special,
            _ if name.starts_with("vsha2") || name == "vfwmaccbf16.vf" => Family::Special,
            _ if name.starts_with('v') && op.row().operands.contains("(rs1)") => Family::VectorMemory,
            _ if name.starts_with('v') => Family::Vector,
            _ => Family::Plain,
        }
    }
}
