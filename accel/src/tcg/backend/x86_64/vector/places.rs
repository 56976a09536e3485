//! Strided and indexed loads and stores: one element after the other, each looked up in the TLB for itself. From the
//! first element on that is not there, the function takes over: it begins at `vstart`.

use super::super::asm::{Alu, Cc, mem_index};
use super::super::emit_mem::Last;
use super::lanes::Part;
use super::memory::field_slot;
use super::*;

/// Where the elements are, from the value of rs1 on.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// The value of rs2 apart.
    Stride,
    /// Each behind an offset of its own.
    Index(Group),
}

/// Elements of a group that has code, of all fields together.
pub const MOST: usize = 32;

impl Backend {
    pub(super) fn move_each(&mut self, i: &Insn, store: bool, data: &Group, place: Place, fields: usize, part: Part) {
        let size = 1u64 << data.eew;
        let mut done = Vec::new();
        if let Place::Stride = place {
            self.load_to(A, i.a);
        }
        for n in 0..i.s.vl {
            if part == Part::Some {
                self.asm.alu_imm(Alu::Cmp, true, VL, n as i32);
                done.push(self.asm.jcc_forward(Cc::E));
            }
            let mut inactive = None;
            // The next one is a stride further, whether this one moves or not.
            if let (Place::Stride, 1..) = (place, n) {
                let stride = self.in_reg(C, i.b);
                self.asm.alu(Alu::Add, true, A, stride);
            }
            if !i.c.unmasked() {
                self.asm.test_byte(v_slot(&i.s, 0, n / 8), 1 << (n % 8));
                inactive = Some(self.asm.jcc_forward(Cc::E));
            }
            match place {
                Place::Stride => {}
                Place::Index(index) => {
                    let offset = v_slot(&i.s, index.reg, n << index.eew);
                    self.asm.extend(1 << index.eew, false, A, offset);
                    let base = self.in_reg(C, i.a);
                    self.asm.alu(Alu::Add, true, A, base);
                }
            }
            let stub = StubKind::SlowFrom(i.whole, n as u16);
            self.look_up_or(stub, A, Last::Offset((fields as u64 * size) as i32 - 1), -4096, store);
            for f in 0..fields {
                let (there, here) = (mem_index(A, C, 1, (f as u64 * size) as i32), field_slot(i, data, f, n));
                let (to, from) = if store { (there, here) } else { (here, there) };
                self.asm.extend(size, false, D, from);
                self.asm.store(size, to, D);
            }
            if let Some(inactive) = inactive {
                self.asm.bind(inactive);
            }
        }
        done.into_iter().for_each(|end| self.asm.bind(end));
    }

    /// What is called next begins at this element.
    pub(in super::super) fn vector_start(&mut self, element: u16) {
        self.asm.store_imm(8, VSTART, i32::from(element));
    }
}
