//! Guest memory as instructions see it: translation, protection, and the TLB that remembers both.

pub mod pmp;
pub mod walk;
