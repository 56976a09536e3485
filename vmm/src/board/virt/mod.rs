//! The board `virt`: QEMU's memory map and interrupt numbers, so that its guests run unchanged.

pub mod irq;
mod irqchip;
pub mod map;
mod wire;
