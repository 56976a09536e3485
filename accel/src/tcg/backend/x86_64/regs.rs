//! Which guest integer registers live in which host registers while code runs.
//!
//! Blocks share one map ([`PINS`]), so that they enter each other by plain jumps. Code that is entered and left at few
//! places may have a map of its own, made for what it does, and moves registers at its entries and exits.

use super::asm::Reg;

/// Guest registers that live in host registers in every block.
pub const PINS: [(u8, Reg); 10] = [
    (10, Reg::Rsi),
    (11, Reg::Rdi),
    (12, Reg::R8),
    (13, Reg::R9),
    (14, Reg::R10),
    (15, Reg::R11),
    (8, Reg::Rbx),
    (2, Reg::R12),
    (1, Reg::R13),
    (9, Reg::R14),
];

/// Whether a call to Rust may change a host register.
pub const fn is_volatile(r: Reg) -> bool {
    !matches!(r, Reg::Rbx | Reg::R12 | Reg::R13 | Reg::R14)
}

/// Where each guest register lives: in a host register, no two in one, or in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegMap([Option<Reg>; 32]);

impl RegMap {
    /// That of blocks.
    pub fn blocks() -> Self {
        let mut map = [None; 32];
        for (x, r) in PINS {
            map[usize::from(x)] = Some(r);
        }
        Self(map)
    }

    /// Gives the host register of `out` to `to`.
    pub fn replace(&mut self, out: u8, to: u8) {
        self.0[usize::from(to)] = self.0[usize::from(out)].take();
    }

    /// Its host register is for something else.
    pub fn free(&mut self, x: u8) {
        self.0[usize::from(x)] = None;
    }

    /// The host register of a guest register.
    pub fn get(&self, x: u8) -> Option<Reg> {
        self.0[usize::from(x)]
    }
}
