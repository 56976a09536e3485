//! The board `spike`: what the ISA simulator of that name has, at QEMU's addresses. Bare programs and test suites run
//! on it: they end, print and leave a signature through HTIF.

pub mod map;
mod wire;
