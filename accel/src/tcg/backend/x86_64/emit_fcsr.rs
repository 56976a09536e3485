//! `fflags`, `frm` and `fcsr` without calls.
//!
//! The flags are those in `fcsr`, where software has left them, and those in MXCSR. A write puts all of them into
//! `fcsr` and clears those of the host. FS has been looked at before.

use super::asm::{Alu, Reg, Shift, mem_index};
use super::*;
use crate::tcg::csr::CsrOp;
use crate::tcg::hart::FcsrTables;
use crate::tcg::ir::fp_check;

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

const FFLAGS: u16 = arch::csr::FFLAGS;
const FRM: u16 = arch::csr::FRM;
const HOST_FLAGS: i32 = 0x3f;
const HOST_RC: i32 = 3 << 13;

const FCSR: Mem = field(offset_of!(Hart, s.csr.fcsr));

/// An entry of one of the tables.
fn entry(table: usize, index: Reg, scale: u8) -> Mem {
    let Mem { base, disp, .. } = field(offset_of!(Hart, fcsr_tables) + table);
    mem_index(base, index, scale, disp)
}

impl Backend {
    /// `csr` is one of the three.
    pub(super) fn fcsr(&mut self, csr: u16, kind: CsrOp, write: bool, d: Option<Dst>, src: Val) {
        if d.is_some() || write && kind != CsrOp::Rw {
            self.read_fcsr(csr);
        }
        if write {
            self.load_to(D, src);
            match kind {
                CsrOp::Rw => {}
                CsrOp::Rs => self.asm.alu(Alu::Or, false, D, A),
                CsrOp::Rc => {
                    self.asm.not(D);
                    self.asm.alu(Alu::And, false, D, A);
                }
            }
            self.write_fcsr(csr);
        }
        if let Some(d) = d {
            self.finish(d, A);
        }
    }

    /// RAX = the CSR.
    fn read_fcsr(&mut self, csr: u16) {
        if csr == FRM {
            self.asm.mov(false, A, FCSR);
            self.asm.shift_imm(Shift::Shr, false, A, 5);
            return;
        }
        self.asm.stmxcsr(FP_SCRATCH);
        self.asm.mov(false, A, FP_SCRATCH);
        self.asm.alu_imm(Alu::And, false, A, HOST_FLAGS);
        self.asm.extend(1, false, A, entry(offset_of!(FcsrTables, fflags), A, 1));
        self.asm.alu(Alu::Or, false, A, FCSR);
        if csr == FFLAGS {
            self.asm.alu_imm(Alu::And, false, A, 0x1f);
        }
    }

    /// The CSR = what fits of RDX; RAX stays.
    fn write_fcsr(&mut self, csr: u16) {
        self.asm.stmxcsr(FP_SCRATCH);
        let mut changes = 0;
        if csr == FFLAGS {
            self.asm.alu_imm(Alu::And, false, D, 0x1f);
            self.asm.alu_imm(Alu::And, false, FCSR, !0x1f);
            self.asm.alu_store(Alu::Or, FCSR, D);
        } else {
            if csr == FRM {
                self.asm.alu_imm(Alu::And, false, D, 7);
                self.asm.shift_imm(Shift::Shl, false, D, 5);
                self.asm.alu_imm(Alu::And, false, FCSR, 0x1f);
                self.asm.alu_store(Alu::Or, FCSR, D);
            } else {
                self.asm.extend(1, false, D, D);
                self.asm.store(8, FCSR, D);
            }
            self.asm.shift_imm(Shift::Shr, false, D, 5);
            changes |= HOST_RC;
        }
        if csr != FRM {
            changes |= HOST_FLAGS;
        }
        self.asm.alu_imm(Alu::And, false, FP_SCRATCH, !changes);
        if csr != FFLAGS {
            self.asm.mov(false, C, entry(offset_of!(FcsrTables, mxcsr), D, 4));
            self.asm.alu_store(Alu::Or, FP_SCRATCH, C);
            self.asm.extend(1, false, C, entry(offset_of!(FcsrTables, missing), D, 1));
            self.asm.extend(1, false, D, FP_MISSING);
            self.asm.alu_imm(Alu::And, false, D, !i32::from(fp_check::NATIVE_FRM | fp_check::NEAREST_FRM));
            self.asm.alu(Alu::Or, false, D, C);
            self.asm.store(1, FP_MISSING, D);
        }
        self.asm.ldmxcsr(FP_SCRATCH);
    }
}
