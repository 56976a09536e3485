//! Guest memory as instructions see it: translation, protection, and the TLB that remembers both.

mod access;
mod atomic;
pub mod hyper;
pub mod pmp;
pub mod pointer_mask;
pub mod recent;
mod shadow;
pub mod tlb;
mod two_stage;
pub mod walk;
