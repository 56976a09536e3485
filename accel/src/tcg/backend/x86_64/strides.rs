//! Nodes of several rounds whose accesses move on by the same distance in each: one look at a page before all of them
//! ([`region::strides`](crate::tcg::region::strides)).
//!
//! The looks are those of groups with a recent page (`covers`). Behind them no access of the node looks again, and
//! nothing in it calls Rust, so the pages stay what they were until the poll at its end. What is not in one page leads to
//! the node that is one round.

use super::asm::{Alu, Cc, mem_index};
use super::covers::RECENT_SPAN_MIN;
use super::emit_mem::RecentAccess;
use super::*;
use crate::tcg::region::Region;
use crate::tcg::region::strides::{Look, looks};

const C: Reg = Reg::Rcx;

/// What the node that is one round of the one at `start` is found by: no target has it.
pub(super) fn alone(start: u16) -> i64 {
    i64::from(start) | 1 << 48
}

/// The looks for the node at `start`, if it has such.
pub(super) fn looks_of(region: &Region, node: &IrBlock) -> Vec<Look> {
    if let Some(search) = region.search_at(node.start) {
        return vec![search.look];
    }
    let has_round = region.rounds.iter().any(|r| r.start == node.start);
    if has_round { looks(&node.ops).unwrap_or_default() } else { Vec::new() }
}

/// What `look` has its entry by.
pub(super) fn place(look: &Look) -> Place {
    let size = (32 - (look.high - look.low).leading_zeros() as u8).max(RECENT_SPAN_MIN);
    Place { insn: look.insn, offset: look.low, size, write: look.write }
}

impl Backend {
    /// At the start of the node at `start`: looks at the pages of all of its accesses.
    pub(super) fn look_ahead(&mut self, start: u16, looks: Vec<Look>) {
        self.looks.clear();
        let slots: Vec<RecentSlot> = looks.iter().map(|l| self.recent_slot(place(l))).collect();
        // Others may have the entry of one, but none of its own looks.
        if (1..slots.len()).any(|i| slots[..i].contains(&slots[i])) {
            return;
        }
        self.enters_with(alone(start), self.done);
        let again = self.asm.code.len();
        for (look, slot) in looks.into_iter().zip(slots) {
            let place = place(&look);
            self.cur = u32::from(look.insn) | u32::from(self.done) << 16;
            let (_, miss, access) = self.compare_recent((Val::X(look.base), look.low), place.size, look.write);
            // Rust may have changed what the looks before it saw.
            self.stub(miss, StubKind::Rounds(start, access.from(again)));
            self.looks.push((look, slot));
        }
    }

    /// The host address of an access for which the node has looked.
    pub(super) fn looked_at(&mut self, base: Val, offset: i32, write: bool) -> Option<Mem> {
        let slot = self.looks.iter().find(|(l, _)| l.is_for(base, write))?.1;
        let r = self.in_reg(Reg::Rax, base);
        if let Some(addend) = self.addend_reg(slot) {
            return Some(mem_index(addend, r, 1, offset));
        }
        self.asm.mov(true, C, slot.addend());
        Some(mem_index(C, r, 1, offset))
    }

    /// Stub of a look: goes to the single round if the node's accesses are not in one page of the TLB. That counts as
    /// a change of pages, lest it happen in each round of a loop for an access that it does not do.
    pub(super) fn go_alone(&mut self, start: u16, access: &RecentAccess) {
        let miss = self.recent_miss(access);
        self.asm.bind(miss);
        self.asm.alu_imm(Alu::Sub, false, PAGE_CHANGES, 1);
        let enough = self.asm.jcc_forward(Cc::L);
        self.go_inside(alone(start));
        self.asm.bind(enough);
        // Groups leave the address in RAX.
        self.tell_of_changes(access);
        self.go_inside(alone(start));
    }
}
