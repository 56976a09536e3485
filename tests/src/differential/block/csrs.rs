//! CSR instructions, and the values that are written to registers of which the reference keeps bits it should not.

use std::ops::RangeInclusive;

use arch::csr;
use arch::isa::Op;

use super::{Draft, Group};
use crate::differential::asm::{Word, word};

/// CSRs that are written with certain values only, since the reference keeps bits it should not.
pub(super) struct Legal {
    pub csrs: RangeInclusive<u16>,
    /// Bits that may be anything, and bits that are set.
    pub mask: u64,
    pub ones: u64,
    /// Clearing bits one by one could leave a value that is not legal.
    pub clear: bool,
}

impl Legal {
    pub(super) fn is_environment(&self) -> bool {
        [csr::MENVCFG, csr::SENVCFG].iter().any(|number| self.csrs.contains(number))
    }
}

/// Where `stvec` is in [`LEGAL`].
const VECTOR: usize = 10;

pub(super) const LEGAL: [Legal; 11] = [
    Legal { csrs: csr::MEDELEG..=csr::MEDELEG, mask: DELEGABLE, ones: 0, clear: true },
    Legal { csrs: csr::PMPADDR0..=csr::PMPADDR63, mask: csr::pmpcfg::ADDR, ones: 0, clear: true },
    // mideleg and mie; then mip, sie and sip.
    Legal { csrs: csr::MIDELEG..=csr::MIE, mask: INTERRUPTS, ones: 0, clear: true },
    Legal { csrs: csr::MIP..=csr::MIP, mask: 0x22, ones: 0, clear: true },
    Legal { csrs: csr::MCOUNTEREN..=csr::MCOUNTEREN, mask: 7, ones: 0, clear: true },
    Legal { csrs: csr::SCOUNTEREN..=csr::SCOUNTEREN, mask: 7, ones: 0, clear: true },
    Legal { csrs: csr::MENVCFG..=csr::MENVCFG, mask: ENVCFG, ones: 0, clear: false },
    Legal { csrs: csr::MSTATUS..=csr::MSTATUS, mask: STATUS, ones: 0xa << 32 | csr::mstatus::FS, clear: false },
    Legal { csrs: csr::SSTATUS..=csr::SSTATUS, mask: STATUS, ones: 0x2 << 32 | csr::mstatus::FS, clear: false },
    Legal { csrs: csr::SENVCFG..=csr::SENVCFG, mask: 0xd1, ones: 0, clear: false },
    // No reserved mode.
    Legal { csrs: csr::STVEC..=csr::STVEC, mask: !2, ones: 0, clear: true },
];

/// Interrupts of S-mode.
const INTERRUPTS: u64 = 0x222;
/// FIOM, CBIE without its reserved value, CBCFE, CBZE, ADUE and PBMTE.
const ENVCFG: u64 = 0xd1 | 3 << 61;
/// Fields of mstatus that neither size registers, nor order bytes, nor belong to an extension; FS is always Dirty.
/// Without MPRV: a random satp or PMP entry would show what else is in the address space of the two machines.
const STATUS: u64 = 0x7c_19aa;

/// Exceptions that `medeleg` can give away on a hart without H, but for misaligned fetches, which C does away with.
pub(super) const DELEGABLE: u64 = 0xb3fe;

pub(super) fn is_accessed(number: u16) -> bool {
    let counter = matches!(number, csr::CYCLE..=csr::HPMCOUNTER31 | csr::MCYCLE..=csr::MHPMCOUNTER31)
        || matches!(number, csr::MHPMEVENT3..=csr::MHPMEVENT31 | csr::MCOUNTINHIBIT)
        || matches!(number, 0x5a8 | 0x7a0..=0x7af)
        || matches!(number, csr::PMPCFG4..=csr::PMPCFG14 | csr::PMPADDR16..=csr::PMPADDR63)
        // 32-bit halves, which do not exist here.
        || matches!(number, 0xc80..=0xc9f | 0xb80..=0xb9f | 0x720..=0x73f);
    let random = matches!(number, csr::SEED | csr::MSECCFG);
    !counter && !random && !matches!(number, csr::STIMECMP | csr::MVENDORID | csr::MARCHID | csr::MIMPID)
}

impl Draft<'_> {
    pub(super) fn fcsr(&mut self) -> Group {
        let number = self.rng.pick(&[csr::FFLAGS, csr::FRM, csr::FCSR]);
        vec![self.csr_word(number)]
    }

    /// Any of the six instructions on the CSR.
    pub(super) fn csr_word(&mut self, number: u16) -> Word {
        let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc, Op::Csrrwi, Op::Csrrsi, Op::Csrrci]);
        let rd = if self.rng.one_in(8) { 0 } else { self.target() };
        let rs1 = if self.rng.one_in(4) { 0 } else { self.source() };
        word(op, rd, rs1, 0, number.into())
    }

    /// Reads and writes the CSR with a register that is legal for it.
    pub(super) fn legal_word(&mut self, number: u16, source: u8) -> Word {
        let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc]);
        word(op, self.target(), source, 0, number.into())
    }

    pub(super) fn csr_number(&mut self) -> u16 {
        let g = self.g;
        // PMP registers are many and alike.
        loop {
            let number = self.rng.pick(&g.csr_numbers);
            if !matches!(number, csr::PMPADDR0..=csr::PMPADDR63) || self.rng.one_in(6) {
                return number;
            }
        }
    }

    pub(super) fn csr_access(&mut self) -> Group {
        let number = self.csr_number();
        match number {
            // The handler needs them: exchange and put back.
            csr::MTVEC | csr::MSCRATCH => {
                let rd = self.target();
                let back = self.target();
                let source = if number == csr::MTVEC { self.legal[VECTOR] } else { self.source() };
                vec![word(Op::Csrrw, rd, source, 0, number.into()), word(Op::Csrrw, back, rd, 0, number.into())]
            }
            csr::MISA if self.g.avoid.misa => vec![word(Op::Csrrs, self.target(), 0, 0, number.into())],
            csr::MEPC | csr::SEPC => vec![self.legal_word(number, self.table)],
            csr::PMPCFG0..=csr::PMPCFG14 => {
                // Clearing bits could leave W without R.
                let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs]);
                vec![word(op, self.target(), self.entry, 0, number.into())]
            }
            _ => vec![self.free_csr_word(number)],
        }
    }

    /// Any instruction on the CSR, with a legal operand if it needs one.
    pub(super) fn free_csr_word(&mut self, number: u16) -> Word {
        let Some(i) = LEGAL.iter().position(|legal| legal.csrs.contains(&number)) else {
            return self.csr_word(number);
        };
        let ops: &[Op] = if LEGAL[i].clear { &[Op::Csrrw, Op::Csrrs, Op::Csrrc] } else { &[Op::Csrrw, Op::Csrrs] };
        word(self.rng.pick(ops), self.target(), self.legal[i], 0, number.into())
    }
}
