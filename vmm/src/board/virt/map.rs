//! The memory map.
//!
//! ```text
//! 0x0000_1000  boot ROM              0x1000_0000  UART
//! 0x0010_0000  finisher              0x1000_1000  virtio-mmio, eight of 4 KiB
//! 0x0010_1000  real-time clock       0x2000_0000  flash, two banks of 32 MiB
//! 0x0200_0000  CLINT (M-mode only)   0x8000_0000  RAM
//! 0x02f0_0000  SSWI (aclint=on)
//! 0x0c00_0000  PLIC, or M-mode's APLIC (aia=)
//! 0x0d00_0000  S-mode's APLIC (aia=)
//! 0x2400_0000  M-mode's IMSICs (aia=aplic-imsic)
//! 0x2800_0000  S-mode's IMSICs with their guests' (aia=aplic-imsic)
//! ```

use devices::fdt::Placement;

/// A place: base and the size that the device tree tells, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub base: u64,
    pub size: u64,
}

impl Window {
    /// What stands there, without interrupts.
    pub fn place(self) -> Placement {
        Placement::at(self.base, self.size)
    }
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
/// In the place of the PLIC.
pub const APLIC_M: Window = at(PLIC.base, 0x8000);
pub const APLIC_S: Window = at(0xd00_0000, 0x8000);
/// Room for the interrupt files of all harts that a board can have; what the device tree tells is what is used of it.
pub const IMSIC_M: Window = at(0x2400_0000, 0x400_0000);
pub const IMSIC_S: Window = at(0x2800_0000, 0x400_0000);
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

/// What can stand beside each other, for whoever wants to look at all of it; virtio and flash once for all of theirs.
/// Parts of a window under another name (MSWI, MTIMER, the APLIC of M-mode) are not listed.
pub const ALL: &[(&str, Window)] = &[
    ("mrom", MROM),
    ("finisher", FINISHER),
    ("rtc", RTC),
    ("clint", CLINT),
    ("sswi", SSWI),
    ("plic", PLIC),
    ("aplic-s", APLIC_S),
    ("uart", UART),
    ("virtio", at(VIRTIO.base, VIRTIO.size * VIRTIO_COUNT as u64)),
    ("flash", at(FLASH.base, 2 * FLASH.size)),
    ("imsic-m", IMSIC_M),
    ("imsic-s", IMSIC_S),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap() {
        let mut all = ALL.to_vec();
        all.sort_by_key(|(_, w)| w.base);
        for pair in all.windows(2) {
            let [(name, a), (next, b)] = pair else { unreachable!() };
            assert!(a.base + a.size <= b.base, "{name} and {next}");
        }
        assert!(all.last().is_some_and(|(_, w)| w.base + w.size <= RAM_BASE));
    }

    #[test]
    fn names_for_parts_are_inside_the_whole() {
        for (part, whole) in [(MSWI, CLINT), (MTIMER, CLINT), (APLIC_M, PLIC)] {
            assert!(whole.base <= part.base && part.base + part.size <= whole.base + whole.size);
        }
    }
}
