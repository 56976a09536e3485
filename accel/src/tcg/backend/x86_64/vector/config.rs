//! `vsetvli` and `vsetivli`: `vtype` is a constant of the code behind them. `vsetvl`, and what the hart has not, are
//! calls.

use super::super::asm::{Alu, Cc};
use super::*;
use crate::tcg::helpers::vector::config::{length, vlmax};
use crate::tcg::ir::Helper;
use arch::csr;

/// Where `vl` comes from.
enum Length {
    Constant(u64),
    /// The least of VLMAX and a value.
    Least(Val),
    /// The least of VLMAX and what it was.
    Keep,
}

impl Backend {
    /// Sets `vtype` and `vl`; `false` if `whole` does something else, or is to be called.
    pub(super) fn set_vector_config(&mut self, whole: &Op) -> bool {
        let Op::Vector { op, raw, d, a, .. } = *whole else { unreachable!("a vector instruction") };
        let unit = self.vectors.unit;
        let (vtype, rs1) = (u64::from(raw >> 20), raw >> 15 & 31);
        let (vtype, immediate) = match op {
            G::Vsetvli => (vtype & 0x7ff, None),
            G::Vsetivli => (vtype & 0x3ff, Some(u64::from(rs1))),
            _ => return false,
        };
        let most = vlmax(&unit, vtype);
        if most == 0 {
            return self.no_vector_config();
        }
        let len = match (immediate, rs1, d) {
            (Some(n), ..) => Length::Constant(length(&unit, n, most)),
            (None, 0, None) if unit.keep_vlmax => return self.no_vector_config(),
            (None, 0, None) => Length::Keep,
            (None, 0, Some(_)) => Length::Constant(most),
            _ if unit.half_avl => return self.no_vector_config(),
            _ => Length::Least(a),
        };
        let word = vtype as u32;
        self.put_vtype(whole, word);
        match len {
            Length::Constant(n) => {
                self.asm.store_imm(8, VL, n as i32);
                if let Some(d) = d {
                    self.asm.mov_imm(A, n as i64);
                    self.finish(d, A);
                }
            }
            Length::Least(v) => {
                self.load_to(A, v);
                self.least(most);
                self.asm.store(8, VL, A);
                if let Some(d) = d {
                    self.finish(d, A);
                }
            }
            Length::Keep => {
                self.asm.mov(true, A, VL);
                self.least(most);
                self.asm.store(8, VL, A);
            }
        }
        self.land_stubs(whole);
        (self.vectors.known, self.vectors.bounded) = (Some(word), true);
        self.vectors.full = matches!(len, Length::Constant(n) if n == most);
        true
    }

    /// Reads of `vl`, `vtype` and `vlenb` where vectors are known to be on; `false` if this is something else.
    pub(in super::super) fn vector_csr(&mut self, helper: Helper, d: Option<Dst>, code: Val) -> bool {
        let (Helper::Csr, Val::C(code), Some(word)) = (helper, code, self.vectors.known) else { return false };
        // No write, see `Helper::Csr`.
        if code >> 16 & 1 != 0 {
            return false;
        }
        let value = match code as u16 & 0xfff {
            csr::VL => None,
            csr::VTYPE => Some(i64::from(word)),
            csr::VLENB => Some(self.vectors.unit.vlenb as i64),
            _ => return false,
        };
        if let Some(d) = d {
            let t = self.target_reg(d, &[]);
            match value {
                Some(value) => self.asm.mov_imm(t, value),
                None => self.asm.mov(true, t, VL),
            }
            self.finish(d, t);
        }
        true
    }

    fn no_vector_config(&mut self) -> bool {
        self.vectors.forget();
        self.vectors.guess = None;
        false
    }

    /// RAX = the least of itself and `most`.
    fn least(&mut self, most: u64) {
        self.asm.mov_imm(C, most as i64);
        self.asm.alu(Alu::Cmp, true, A, C);
        self.asm.cmov(Cc::A, A, C);
    }

    /// `vtype` = what `word` says, `vstart` = 0.
    fn put_vtype(&mut self, whole: &Op, word: u32) {
        match self.vectors.known {
            Some(known) if known == word => {}
            Some(_) => {
                self.asm.store_imm(8, VTYPE, word as i32);
                self.asm.store_imm(4, WORD, word as i32);
            }
            None => {
                // In a loop it is the same each time.
                self.asm.alu_imm(Alu::Cmp, false, WORD, word as i32);
                let same = self.asm.jcc_forward(Cc::E);
                self.asm.test_byte(Mem { disp: WORD.disp + 1, ..WORD }, (assumed::CLEAN >> 8) as u8);
                let clean = self.asm.jcc_forward(Cc::Ne);
                self.stub(clean, StubKind::Slow(*whole));
                self.asm.store_imm(8, VTYPE, word as i32);
                self.asm.store_imm(8, VSTART, 0);
                self.asm.store_imm(4, WORD, word as i32);
                self.asm.bind(same);
            }
        }
    }
}
