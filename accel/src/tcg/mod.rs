//! The dynamic binary translator.

pub mod csr;
pub mod helpers;
pub mod mmu;
pub mod trap;
