//! The board `spike`: what the ISA simulator of that name has, at QEMU's addresses; PLIC and UART, which QEMU's board lacks, at
//! the simulator's. Bare programs and test suites run
//! on it: they end, print and leave a signature through HTIF.

pub mod map;
mod wire;
