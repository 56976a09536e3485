//! Vector instructions (V, Zve*): their whole meaning, for the interpreter and generated code alike.
//!
//! The translator makes one `Op::Vector` of a vector instruction; it carries the instruction's bits and the values of
//! the integer registers it reads. [`run`] is what both engines call: it finds the instruction's function in a table,
//! checks that vectors are on, and afterwards clears `vstart`, marks the state dirty or takes the trap.
//!
//! # A new vector instruction
//!
//! 1. its row in `arch::isa::insn` (operands `rs1`, `rs2` and a leading `rd` tell the translator which integer registers
//!    it reads and writes; `fs1` and `fd` are read and written by the function itself);
//! 2. a line `Op => function` in the `function` of its family's file, which [`TABLE`] asks in turn;
//! 3. the function, an [`Exec`]: it takes a [`Shape`] from the hart, does all checks of legality before it changes
//!    anything, and then computes elements by [`Shape::map`], [`Shape::write`] or [`Shape::write_mask`], which know
//!    of masks, `vstart` and tails. The element type comes from SEW by `by_sew!`.
//!
//! An [`Exec`] returns the value for rd, if the instruction has one.
//!
//! Not here: `vsetvl`'s CSRs (`csr::vector`) and translation (`translate::v`).

use std::sync::LazyLock;

use arch::isa::Op;

use crate::tcg::hart::Hart;
use crate::tcg::trap::Trap;

pub mod assumed;
mod compare;
pub mod config;
pub mod crypto;
mod crypto_bits;
mod elem;
mod fixed;
mod float;
mod float_convert;
mod integer;
mod mask;
pub mod memory;
#[cfg(target_arch = "x86_64")]
mod native;
pub mod perm;
mod reduce;
pub mod shape;
mod widen;

pub use shape::{VILL, VectorUnit, enabled, make_dirty};

/// The operands of a vector instruction.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its bits.
    pub raw: u32,
    /// The values of rs1 and rs2, 0 where it does not read them.
    pub x1: u64,
    pub x2: u64,
}

impl Call {
    pub fn vd(&self) -> usize {
        (self.raw >> 7 & 31) as usize
    }

    pub fn vs1(&self) -> usize {
        (self.raw >> 15 & 31) as usize
    }

    pub fn vs2(&self) -> usize {
        (self.raw >> 20 & 31) as usize
    }

    /// All elements are active; else v0 says which.
    #[inline(always)]
    pub fn unmasked(&self) -> bool {
        self.raw & 1 << 25 != 0
    }

    /// Fields of a segment, 1 to 8.
    pub fn fields(&self) -> usize {
        (self.raw >> 29) as usize + 1
    }

    /// The immediate in the place of vs1, sign-extended.
    pub fn simm(&self) -> u64 {
        ((self.raw << 12) as i32 >> 27) as u64
    }

    /// The same, zero-extended.
    pub fn uimm(&self) -> u64 {
        u64::from(self.raw >> 15 & 31)
    }
}

/// Why an instruction did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Illegal or reserved; nothing has changed.
    Illegal,
    /// An element's access trapped; `vstart` names it.
    Trap(Trap),
}

/// What a vector instruction does; the value is for rd.
pub type Exec = fn(&mut Hart, Call) -> Result<u64, Stop>;

/// The families of instructions.
const FAMILIES: &[fn(Op) -> Option<Exec>] = &[
    config::function,
    memory::function,
    integer::function,
    compare::function,
    widen::function,
    reduce::function,
    fixed::function,
    mask::function,
    perm::function,
    float::function,
    float_convert::function,
    crypto_bits::function,
    crypto::function,
];

/// By operation: its function, if it is a vector instruction.
static TABLE: LazyLock<Vec<Option<Exec>>> = LazyLock::new(|| {
    let function = |op: &Op| FAMILIES.iter().find_map(|family| family(*op));
    Op::ALL.iter().map(function).collect()
});

/// Whether `op` is a vector instruction.
pub fn knows(op: Op) -> bool {
    TABLE[op as usize].is_some()
}

/// What generated code passes to [`run_indexed`].
pub fn index(op: Op) -> u64 {
    op as u64
}

/// Performs the vector instruction `op` with the bits `raw`; `x1` and `x2` are the values of rs1 and rs2. The result is
/// for rd, and meaningless if `hart.exit` was set.
pub fn run(h: &mut Hart, op: Op, raw: u32, x1: u64, x2: u64) -> u64 {
    run_indexed(h, op as usize, raw, x1, x2)
}

/// As [`run`], `op` by its [`index`].
pub fn run_indexed(h: &mut Hart, op: usize, raw: u32, x1: u64, x2: u64) -> u64 {
    let result = match TABLE[op] {
        Some(exec) if enabled(&h.s) => exec(h, Call { raw, x1, x2 }),
        _ => Err(Stop::Illegal),
    };
    let value = match result {
        Ok(value) => {
            h.s.csr.vstart = 0;
            make_dirty(&mut h.s);
            value
        }
        Err(Stop::Illegal) => {
            h.raise(Trap::illegal(raw));
            0
        }
        Err(Stop::Trap(trap)) => {
            make_dirty(&mut h.s);
            h.raise(trap);
            0
        }
    };
    h.vector_word = assumed::word(&h.s);
    value
}

/// Makes the `function` of a family: operations and what performs them.
macro_rules! functions {
    ($($op:ident => $exec:expr,)*) => {
        /// What performs `op`, if it is of this family.
        pub(super) fn function(op: arch::isa::Op) -> Option<super::Exec> {
            Some(match op {
                $(arch::isa::Op::$op => $exec,)*
                _ => return None,
            })
        }
    };
}
use functions;
