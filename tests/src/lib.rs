//! What `cargo linux` and `cargo verify` are made of: packages of another architecture, a Linux guest made from
//! them, a harness that drives guests over their console, and the table of guest tests.
//!
//! Nothing here is part of the product.

pub mod apt;
pub mod bench;
pub mod cases;
pub mod cpio;
pub mod differential;
pub mod elf;
pub mod exits;
pub mod fuzz;
pub mod guest;
pub mod harness;
pub mod host;
pub mod kvm;
pub mod linux;
pub mod riscv_host;
pub mod rootfs;
pub mod soak;
pub mod suite;
pub mod tools;
pub mod verify;
