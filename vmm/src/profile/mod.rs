//! Names of the guest's code.

pub mod symbols;
