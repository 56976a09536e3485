//! Interrupt controllers and the timers and software interrupts of the harts.

pub mod aclint;
pub mod aplic;
pub mod imsic;
pub mod plic;

pub use aclint::{Clint, Mswi, Mtimer, Sswi};
pub use aplic::Aplic;
pub use imsic::Imsic;
pub use plic::{Plic, PlicContext};
