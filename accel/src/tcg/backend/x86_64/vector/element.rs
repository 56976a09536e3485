//! Element 0 and f registers.

use super::super::asm::rows::*;
use super::super::asm::{Alu, Cc, Rm};
use super::float::native;
use super::*;
use crate::tcg::ir::fp_check;

#[derive(Debug, Clone, Copy)]
pub enum Plan {
    /// An f register = element 0 of vs2.
    ToF,
    /// Element 0 of vd = an f register.
    FromF,
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    match i.op {
        G::VfmvFS if native(v, i.s.sew) => Some(Plan::ToF),
        G::VfmvSF if native(v, i.s.sew) => Some(Plan::FromF),
        _ => None,
    }
}

impl Backend {
    pub(super) fn vector_element(&mut self, i: &Insn, plan: &Plan) {
        let double = i.s.sew == 3;
        match plan {
            Plan::ToF => {
                self.fp_ready(i, fp_check::DIRTY | fp_check::NATIVE_FRM);
                let r = i.c.vd() as u8;
                let x = self.f_target(r);
                self.asm.v(if double { VMOVSD } else { VMOVSS }, (x, v_slot(&i.s, i.c.vs2(), 0)));
                self.f_written(r, x, double, !double);
            }
            Plan::FromF => {
                self.fp_ready(i, fp_check::ON | fp_check::NATIVE_FRM);
                let from = self.f_operand(i);
                // Nothing happens where there is no body.
                self.asm.alu_imm(Alu::Cmp, true, VL, 0);
                let nothing = self.asm.jcc_forward(Cc::E);
                let to = v_slot(&i.s, i.c.vd(), 0);
                if let Rm::X(x) = from {
                    self.asm.v(if double { VMOVSD_ST } else { VMOVSS_ST }, (to, x));
                } else {
                    self.asm.mov(double, A, from);
                    self.asm.store(1 << i.s.sew, to, A);
                }
                self.asm.bind(nothing);
            }
        }
    }
}
