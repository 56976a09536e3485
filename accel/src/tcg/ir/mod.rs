//! The intermediate representation: what a guest instruction means, once, for the interpreter and every backend.

pub mod block;
pub mod fold;
pub mod interp;
pub mod op;
mod operands;
pub mod verify;

pub use block::{Builder, IrBlock, x};
pub use op::{
    AmoOp, BinOp, Cond, Dst, FDst, FVal, Gated, Helper, Op, TEMPS, Target, UnOp, Val, Width, csr_code, fp_check,
};
