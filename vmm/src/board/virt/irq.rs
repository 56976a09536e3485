//! Interrupt numbers at the PLIC and the APLIC.

/// Of the first virtio-mmio transport; the others follow.
pub const VIRTIO: u32 = 1;
pub const UART: u32 = 10;
pub const RTC: u32 = 11;
/// Inputs of the PLIC: 1 to this.
pub const SOURCES: u32 = 95;
/// Inputs of the APLIC: 1 to this.
pub const APLIC_SOURCES: u32 = 96;

/// Of transport `slot`.
pub const fn virtio(slot: u8) -> u32 {
    VIRTIO + slot as u32
}
