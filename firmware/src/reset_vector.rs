//! The reset vector: the few instructions in the boot ROM where every hart starts in M-mode.
//!
//! They load a0 = `mhartid`, a1 = the device tree's address, a2 = the address of the
//! [`FwDynamicInfo`] behind them, and jump to the start address. Layout as QEMU's `virt`.

use crate::fw_dynamic::FwDynamicInfo;

/// Where the boot ROM is mapped, and every hart's pc after reset.
pub const BASE: u64 = 0x1000;

/// Where the structure stands that a2 points to.
pub const FW_DYNAMIC_ADDRESS: u64 = BASE + 0x28;

/// Bytes of the boot ROM that are used.
pub const LEN: usize = 0x28 + FwDynamicInfo::LEN;

const CODE: [u32; 6] = [
    0x0000_0297, // auipc t0, 0
    0x0282_8613, // addi  a2, t0, 0x28
    0xf140_2573, // csrr  a0, mhartid
    0x0202_b583, // ld    a1, 0x20(t0)
    0x0182_b283, // ld    t0, 0x18(t0)
    0x0002_8067, // jr    t0
];

/// The boot ROM's contents.
pub fn reset_vector(start: u64, fdt: u64, next: FwDynamicInfo) -> [u8; LEN] {
    let mut rom = [0; LEN];
    for (at, word) in CODE.iter().enumerate() {
        rom[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
    }
    rom[0x18..0x20].copy_from_slice(&start.to_le_bytes());
    rom[0x20..0x28].copy_from_slice(&fdt.to_le_bytes());
    rom[0x28..].copy_from_slice(&next.to_bytes());
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_where_the_code_looks_for_them() {
        let rom = reset_vector(0x8000_0000, 0x87e0_0000, FwDynamicInfo { next_address: 0x8020_0000 });
        let long = |at: usize| u64::from_le_bytes(rom[at..at + 8].try_into().unwrap());
        assert_eq!(&rom[..4], &[0x97, 0x02, 0, 0]);
        assert_eq!((long(0x18), long(0x20)), (0x8000_0000, 0x87e0_0000));
        assert_eq!(long((FW_DYNAMIC_ADDRESS - BASE) as usize), 0x4942_534f);
        assert_eq!(long(0x28 + 16), 0x8020_0000);
    }

    /// Runs the six instructions by hand: the immediates must reach the words behind the code.
    #[test]
    fn the_immediates_agree_with_the_layout() {
        let imm = |word: u32| word as i32 >> 20;
        assert_eq!(imm(CODE[1]) as u64, FW_DYNAMIC_ADDRESS - BASE);
        assert_eq!(imm(CODE[3]), 0x20);
        assert_eq!(imm(CODE[4]), 0x18);
        assert_eq!(imm(CODE[2]) as u32 & 0xfff, 0xf14);
    }
}
