//! What a guest meets before and below its kernel: the device tree, the loaders, the reset vector, the
//! built-in SBI and the embedded guests.
//!
//! This crate knows neither engines nor devices: what it needs of a machine it asks for through
//! [`sbi::SbiHost`] or takes as plain values.

pub mod bench;
pub mod boot;
pub mod demo;
pub mod fdt;
pub mod fw_dynamic;
pub mod load;
pub mod machine_tree;
pub mod reset_vector;
pub mod sbi;
