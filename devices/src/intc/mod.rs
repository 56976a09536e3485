//! Interrupt controllers and the timers and software interrupts of the harts.

pub mod aclint;
pub mod plic;

pub use aclint::{Clint, Mswi, Mtimer, Sswi};
pub use plic::{Plic, PlicContext};
