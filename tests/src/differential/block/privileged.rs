//! Groups of privileged blocks: mode changes, page-table entries, CSRs of any mode.

use arch::csr;
use arch::isa::Op;

use super::{Draft, Group};
use crate::differential::asm::{csrw, imm, reg, store, word};
use crate::differential::guest::{RAM, USER_ALIAS};

impl Draft<'_> {
    pub(super) fn privileged(&mut self) -> Group {
        match self.rng.below(10) {
            0 => vec![word(Op::Ecall, 0, 0, 0, 0)],
            1 => self.return_to_user(),
            2 => self.return_from_trap(),
            3 => {
                let bits = self.rng.pick(&[csr::mstatus::SUM, csr::mstatus::MXR]);
                let t = self.target();
                let op = self.rng.pick(&[Op::Csrrs, Op::Csrrc]);
                vec![imm(Op::Lui, t, 0, bits as i32), word(op, 0, t, 0, csr::SSTATUS.into())]
            }
            4 | 5 if !self.fences_trap => self.change_entry(),
            6 => self.modify_privilege(),
            _ => self.privileged_csr(),
        }
    }

    /// CSR instructions of any mode whose effect cannot keep the block from ending.
    pub(super) fn privileged_csr(&mut self) -> Group {
        loop {
            let number = self.csr_number();
            match number {
                // These decide where the block's own code and traps are.
                csr::SATP | csr::STVEC | csr::MTVEC | csr::MSCRATCH | csr::MEDELEG | csr::MIDELEG | csr::MSTATUS => {
                    return vec![word(Op::Csrrs, self.target(), 0, 0, number.into())];
                }
                csr::SSTATUS | csr::PMPCFG0..=csr::PMPADDR63 => continue,
                csr::MISA if self.g.avoid.misa => continue,
                // The table's address is even.
                csr::MEPC | csr::SEPC => return vec![self.legal_word(number, self.table)],
                _ => return vec![self.free_csr_word(number)],
            }
        }
    }

    /// A new entry in the slot's page table, and the fence that makes it seen.
    pub(super) fn change_entry(&mut self) -> Group {
        let i = self.rng.below(3) as usize;
        let change = store(Op::Sd, self.entry, self.table, self.base_pages[i] as i32 * 8);
        let address = if self.rng.one_in(2) { 0 } else { self.bases[i] };
        vec![change, reg(Op::SfenceVma, 0, address, 0)]
    }

    /// Loads and stores of M-mode with another mode's privilege.
    pub(super) fn modify_privilege(&mut self) -> Group {
        let t = self.target();
        let mpp = self.rng.pick(&[0, 1, 3]);
        let mut group = vec![
            imm(Op::Lui, t, 0, 0x2000),
            imm(Op::Addi, t, t, -0x800),
            word(Op::Csrrc, 0, t, 0, csr::MSTATUS.into()),
            imm(Op::Lui, t, 0, (csr::mstatus::MPRV | if mpp == 0 { 0 } else { 0x1000 }) as i32),
        ];
        if mpp != 0 {
            group.push(imm(Op::Addi, t, t, if mpp == 1 { -0x800 } else { 0x7ff }));
        }
        group.push(word(Op::Csrrs, 0, t, 0, csr::MSTATUS.into()));
        for _ in 0..1 + self.rng.below(3) {
            group.extend(self.memory());
        }
        group.push(imm(Op::Lui, t, 0, csr::mstatus::MPRV as i32));
        group.push(word(Op::Csrrc, 0, t, 0, csr::MSTATUS.into()));
        group
    }

    /// From M-mode or S-mode to U-mode; U-mode skips over it as illegal.
    pub(super) fn return_to_user(&mut self) -> Group {
        let (t, u) = self.two_targets();
        let mut group = vec![
            imm(Op::Addi, u, 0, 0x100),
            word(Op::Csrrc, 0, u, 0, csr::SSTATUS.into()),
            imm(Op::Auipc, t, 0, 0),
            imm(Op::Lui, u, 0, (USER_ALIAS - RAM) as i32),
            reg(Op::Or, t, t, u),
        ];
        group.push(imm(Op::Addi, t, t, 6 * 4));
        group[5] = imm(Op::Addi, t, t, 6 * 4);
        group.push(csrw(csr::SEPC, t));
        group.push(word(Op::Sret, 0, 0, 0, 0));
        group
    }

    /// MRET or SRET to S-mode.
    pub(super) fn return_from_trap(&mut self) -> Group {
        let (t, u) = self.two_targets();
        if self.rng.one_in(2) {
            return vec![
                imm(Op::Addi, u, 0, 0x100),
                word(Op::Csrrs, 0, u, 0, csr::SSTATUS.into()),
                imm(Op::Auipc, t, 0, 0),
                imm(Op::Addi, t, t, 4 * 4),
                csrw(csr::SEPC, t),
                word(Op::Sret, 0, 0, 0, 0),
            ];
        }
        vec![
            imm(Op::Lui, u, 0, 0x1000),
            word(Op::Csrrc, 0, u, 0, csr::MSTATUS.into()),
            imm(Op::Lui, u, 0, 0x1000),
            imm(Op::Addi, u, u, -0x800),
            word(Op::Csrrs, 0, u, 0, csr::MSTATUS.into()),
            imm(Op::Auipc, t, 0, 0),
            imm(Op::Addi, t, t, 4 * 4),
            csrw(csr::MEPC, t),
            word(Op::Mret, 0, 0, 0, 0),
        ]
    }

    pub(super) fn two_targets(&mut self) -> (u8, u8) {
        let t = self.target();
        loop {
            let u = self.target();
            if u != t {
                return (t, u);
            }
        }
    }
}
