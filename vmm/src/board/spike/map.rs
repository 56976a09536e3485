//! The memory map.
//!
//! ```text
//! 0x0000_1000  boot ROM
//! 0x0100_0000  HTIF, where the program has no symbols for it
//! 0x0200_0000  CLINT (M-mode only)
//! 0x0c00_0000  PLIC
//! 0x1000_0000  UART
//! 0x8000_0000  RAM
//! ```

use crate::board::virt::map::Window;

pub const MROM: Window = Window { base: 0x1000, size: 0xf000 };
pub const HTIF: Window = Window { base: 0x100_0000, size: 0x1000 };
pub const CLINT: Window = Window { base: 0x200_0000, size: 0x1_0000 };
pub const PLIC: Window = Window { base: 0xc00_0000, size: 0x100_0000 };
/// Interrupts that the PLIC tells apart.
pub const PLIC_SOURCES: u32 = 31;
pub const UART: Window = Window { base: 0x1000_0000, size: 0x100 };
pub const UART_IRQ: u32 = 1;
