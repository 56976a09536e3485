//! Search loops ([`region::search`](crate::tcg::region::search)): many elements are compared at once, and the rounds that
//! certainly go on are skipped.
//!
//! This stands at the start of the loop's node, behind the look for all that is loaded. There it is left, for the node
//! that is one round, where an element cannot be what is searched for or the loop's bound is near. Behind it comes one
//! round as the guest has it. Rounds are counted in bytes: so many as an element has are a round.

use super::asm::rows::*;
use super::asm::vex::Row;
use super::asm::{Alu, Cc, Shift, Xmm, mem_index};
use super::strides::alone;
use super::*;
use crate::tcg::ir::{Cond, Width};
use crate::tcg::region::search::{Ahead, Bound, Search, Test};

const A: Reg = Reg::Rax;
const C: Reg = Reg::Rcx;
const D: Reg = Reg::Rdx;

/// What is searched for, and the elements.
const WANTED: Xmm = Xmm(0);
const FOUND: Xmm = Xmm(1);
const SIGNS: Xmm = Xmm(2);

/// How lanes are compared: the elements with what is wanted.
#[derive(Debug, Clone, Copy)]
enum Lanes {
    Equal,
    /// Signed.
    Above,
    Below,
    /// Unsigned.
    AtLeast,
    AtMost,
}

/// The comparison, and whether it says the contrary.
fn lanes(test: Test, unsigned: bool) -> (Lanes, bool) {
    use Lanes::*;
    let signed = match (test.cond, test.swapped) {
        (Cond::Eq, _) => (Equal, false),
        (Cond::Ne, _) => (Equal, true),
        (Cond::Lt | Cond::Ltu, false) => (Below, false),
        (Cond::Ge | Cond::Geu, false) => (Below, true),
        (Cond::Lt | Cond::Ltu, true) => (Above, false),
        (Cond::Ge | Cond::Geu, true) => (Above, true),
    };
    match signed {
        (Below, not) if unsigned => (AtLeast, !not),
        (Above, not) if unsigned => (AtMost, !not),
        signed => signed,
    }
}

/// The instructions for each width.
type Rows = [&'static Row; 4];
const EQUAL: Rows = [VPCMPEQB_V, VPCMPEQW_V, VPCMPEQD_V, VPCMPEQQ_V];
const ABOVE: Rows = [VPCMPGTB_V, VPCMPGTW_V, VPCMPGTD_V, VPCMPGTQ_V];
/// There are none for 64 bits without AVX-512.
const MIN: [&Row; 3] = [VPMINUB, VPMINUW, VPMINUD];
const MAX: [&Row; 3] = [VPMAXUB, VPMAXUW, VPMAXUD];
const BROADCAST: Rows = [VPBROADCASTB, VPBROADCASTW, VPBROADCASTD, VPBROADCASTQ];

impl Backend {
    /// Whether regions may have search loops: loads of several elements at once are not in the order that Ztso asks for.
    pub fn searches(&self, total_order: bool) -> bool {
        let Features { avx, bmi1, lzcnt, simd, .. } = self.features;
        avx && bmi1 && lzcnt && simd >= HostSimd::Avx2 && !(self.smp && total_order)
    }

    /// At the start of the node at `start`, before its look: leaves what is not for [`Self::skip`].
    pub(super) fn before_search(&mut self, start: u16, search: &Search) {
        self.enters_with(alone(start), self.done);
        let Search { ends, width, signed, .. } = *search;
        if let (Val::X(_), true) = (ends.with, width != Width::D) {
            let with = self.in_reg(A, ends.with);
            self.asm.extend(width.bytes(), signed, D, with);
            self.asm.alu(Alu::Cmp, true, D, with);
            self.alone_if(Cc::Ne, start);
        }
        if let Some(bound) = search.bound {
            self.check_bound(start, &bound, search.lanes() - 1);
        }
    }

    fn alone_if(&mut self, cc: Cc, start: u16) {
        let jump = self.asm.jcc_forward(cc);
        self.wait_for(alone(start), 0, jump);
    }

    /// Goes alone unless the bound lets `rounds` rounds and one more go on.
    fn check_bound(&mut self, start: u16, bound: &Bound, rounds: i32) {
        let Bound { goes_on: Test { cond, with, .. }, register, moved, step } = *bound;
        let span = rounds * step.abs();
        let value = self.address_in(Val::X(register), moved);
        let signed = matches!(cond, Cond::Lt | Cond::Ge);
        let strict = matches!(cond, Cond::Lt | Cond::Ltu) || cond == Cond::Ne;
        // What is past the bound, and less than the span before it.
        let past = |signed| match (signed, strict) {
            (false, true) => Cc::Be,
            (false, false) => Cc::B,
            (true, true) => Cc::Le,
            (true, false) => Cc::L,
        };
        if bound.ahead() == Some(Ahead::Zero) {
            self.load_to(D, with);
            self.asm.alu(Alu::Cmp, true, D, value);
            self.alone_if(past(false), start);
            self.asm.alu_imm(Alu::Cmp, true, value, span);
            return self.alone_if(Cc::B, start);
        }
        if step > 0 {
            self.load_to(D, with);
            self.asm.alu(Alu::Sub, true, D, value);
        } else {
            let with = self.in_reg(C, with);
            self.asm.mov(true, D, value);
            self.asm.alu(Alu::Sub, true, D, with);
        }
        if cond != Cond::Ne {
            self.alone_if(past(signed), start);
        }
        self.asm.alu_imm(Alu::Cmp, true, D, span);
        self.alone_if(past(false), start);
    }

    /// Behind the look: skips rounds.
    pub(super) fn skip(&mut self, search: &Search) {
        let Some(&(look, slot)) = self.looks.first() else { return };
        let base = self.in_reg(A, Val::X(look.base));
        let elements = match self.addend_reg(slot) {
            Some(addend) => mem_index(addend, base, 1, look.low),
            None => {
                self.asm.mov(true, C, slot.addend());
                mem_index(C, base, 1, look.low)
            }
        };
        self.asm.v(VMOVDQU.y(), (FOUND, elements));
        let not = self.compare_elements(search);
        self.asm.v(VPMOVMSKB.y(), (A, FOUND));
        self.asm.vzeroupper();
        // A bit for each byte of an element with which it ends.
        if not {
            self.asm.alu_imm(Alu::Xor, false, A, -1);
        } else {
            self.asm.test(false, A, A);
        }
        let most = self.asm.jcc_forward(Cc::E);
        if search.descends {
            self.asm.count(0xbd, false, A, A);
        } else {
            self.asm.count(0xbc, false, A, A);
        }
        let size = search.width as u8;
        if size != 0 {
            self.asm.mov(false, D, A);
            self.asm.shift_imm(Shift::Shr, false, D, size);
        }
        let rounds = if size == 0 { A } else { D };
        for &(register, step) in &search.steps {
            self.step_by(register, step, search.width, rounds);
        }
        self.asm.imul_imm(true, C, rounds, search.insns.into());
        self.asm.alu_store(Alu::Add, RETIRED, C);
        let some = self.asm.jmp_forward();
        // All of them go on: the last one shows where.
        self.asm.bind(most);
        let rounds = search.lanes() - 1;
        for &(register, step) in &search.steps {
            let Loc::Reg(r) = self.loc(Val::X(register)) else {
                self.asm.alu_imm(Alu::Add, true, x_slot(register), rounds * step);
                continue;
            };
            self.asm.alu_imm(Alu::Add, true, r, rounds * step);
        }
        self.asm.alu_imm(Alu::Add, true, RETIRED, rounds * i32::from(search.insns));
        self.asm.bind(some);
    }

    /// Makes every byte of the elements in [`FOUND`] that end the loop 0xff and the others 0, or the contrary if so told.
    fn compare_elements(&mut self, search: &Search) -> bool {
        let Search { ends, width, signed, .. } = *search;
        let unsigned = !signed && width != Width::D || matches!(ends.cond, Cond::Ltu | Cond::Geu);
        let row = width as usize;
        if ends.with == Val::C(0) || ends.with == Val::X(0) {
            self.asm.v(VPXOR.x(), (WANTED, WANTED, WANTED));
        } else {
            let with = self.in_reg(D, ends.with);
            self.asm.v(VMOVQ, (WANTED, with));
            self.asm.v(BROADCAST[row].y(), (WANTED, WANTED));
        }
        let Some((min, max)) = MIN.get(row).zip(MAX.get(row)) else {
            if unsigned {
                // With the signs turned round, the order is that of signed numbers.
                self.asm.v(VPCMPEQQ_V.y(), (SIGNS, SIGNS, SIGNS));
                self.asm.v(VPSLLQ_I.y(), (SIGNS, SIGNS, 63u8));
                self.asm.v(VPXOR.y(), (WANTED, WANTED, SIGNS));
                self.asm.v(VPXOR.y(), (FOUND, FOUND, SIGNS));
            }
            return self.compare_rows(lanes(ends, false), row);
        };
        match lanes(ends, unsigned) {
            (Lanes::AtLeast, not) => {
                self.asm.v(max.y(), (WANTED, WANTED, FOUND));
                self.compare_rows((Lanes::Equal, not), row)
            }
            (Lanes::AtMost, not) => {
                self.asm.v(min.y(), (WANTED, WANTED, FOUND));
                self.compare_rows((Lanes::Equal, not), row)
            }
            signed => self.compare_rows(signed, row),
        }
    }

    fn compare_rows(&mut self, (lanes, not): (Lanes, bool), row: usize) -> bool {
        match lanes {
            Lanes::Above => self.asm.v(ABOVE[row].y(), (FOUND, FOUND, WANTED)),
            Lanes::Below => self.asm.v(ABOVE[row].y(), (FOUND, WANTED, FOUND)),
            _ => self.asm.v(EQUAL[row].y(), (FOUND, FOUND, WANTED)),
        }
        not
    }

    /// `register` steps as often as the register `rounds` says; RAX is as many times the width. Changes RCX.
    fn step_by(&mut self, register: u8, step: i32, width: Width, rounds: Reg) {
        let (by, op) = match step {
            _ if step == width.bytes() as i32 => (A, Alu::Add),
            _ if step == -(width.bytes() as i32) => (A, Alu::Sub),
            1 => (rounds, Alu::Add),
            -1 => (rounds, Alu::Sub),
            _ => {
                self.asm.imul_imm(true, C, rounds, step);
                (C, Alu::Add)
            }
        };
        match self.loc(Val::X(register)) {
            Loc::Reg(r) => self.asm.alu(op, true, r, by),
            _ => self.asm.alu_store(op, x_slot(register), by),
        }
    }
}
