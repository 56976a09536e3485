//! RISC-V as facts: tables of instructions, CSRs, causes, page-table entries, extensions and profiles.
//! No I/O, no threads, no unsafe.
#![forbid(unsafe_code)]

pub mod cause;
pub mod csr;
pub mod ext;
pub mod isa;
pub mod model;
pub mod pte;
pub mod reg;
