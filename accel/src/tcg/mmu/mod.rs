//! Guest memory as instructions see it: translation, protection, and the TLB that remembers both.

mod access;
pub mod pmp;
pub mod tlb;
pub mod walk;
