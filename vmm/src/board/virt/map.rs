//! The memory map.
//!
//! ```text
//! 0x0000_1000  boot ROM              0x1000_0000  UART
//! 0x0010_0000  finisher              0x1000_1000  virtio-mmio, eight of 4 KiB
//! 0x0010_1000  real-time clock       0x2000_0000  flash, two banks of 32 MiB
//! 0x0200_0000  CLINT (M-mode only)   0x8000_0000  RAM
//! 0x02f0_0000  SSWI (aclint=on)
//! 0x0c00_0000  PLIC
//! ```

/// A place: base and the size that the device tree tells, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub base: u64,
    pub size: u64,
}

const fn at(base: u64, size: u64) -> Window {
    Window { base, size }
}

pub const MROM: Window = at(0x1000, 0xf000);
pub const FINISHER: Window = at(0x10_0000, 0x1000);
pub const RTC: Window = at(0x10_1000, 0x1000);
pub const CLINT: Window = at(0x200_0000, 0x1_0000);
/// The two halves of the CLINT under `aclint=on`.
pub const MSWI: Window = at(CLINT.base, 0x4000);
pub const MTIMER: Window = at(MSWI.base + MSWI.size, 0x8000);
pub const SSWI: Window = at(0x2f0_0000, 0x4000);
pub const PLIC: Window = at(0xc00_0000, 0x60_0000);
pub const UART: Window = at(0x1000_0000, 0x100);
/// Of the first of [`VIRTIO_COUNT`] transports, one behind the other.
pub const VIRTIO: Window = at(0x1000_1000, 0x1000);
pub const VIRTIO_COUNT: u8 = 8;
/// Of the first of two banks.
pub const FLASH: Window = at(0x2000_0000, 0x200_0000);
pub use crate::board::RAM_BASE;

/// Transport `slot`.
pub const fn virtio(slot: u8) -> Window {
    at(VIRTIO.base + slot as u64 * VIRTIO.size, VIRTIO.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap() {
        let mut all =
            vec![MROM, FINISHER, RTC, CLINT, SSWI, PLIC, UART, FLASH, at(FLASH.base + FLASH.size, FLASH.size)];
        all.extend((0..VIRTIO_COUNT).map(virtio));
        all.sort_by_key(|w| w.base);
        assert!(all.windows(2).all(|w| w[0].base + w[0].size <= w[1].base), "{all:x?}");
        assert!(all.last().is_some_and(|w| w.base + w.size <= RAM_BASE));
    }
}
