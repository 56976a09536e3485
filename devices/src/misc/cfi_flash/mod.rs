//! A bank of CFI flash (Intel command set): two 16-bit chips side by side on a 32-bit bus, 32 MiB together.
//!
//! `chip` is the command machine, `image` what the bank holds. This file joins them and attaches the bank
//! to its board.

mod chip;
mod image;

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::{MmioDevice, SavedState, StateError};

pub use chip::Chip;
pub use image::{FlashError, FlashImage};

/// Bytes of a bank.
pub const BANK_SIZE: u64 = 32 << 20;
/// Bytes of an erase block of the bank: one block of 128 KiB in each chip.
pub const SECTOR_SIZE: u64 = 256 << 10;

/// Bytes of the bus.
const WIDTH: usize = 4;

struct Bank {
    chip: Chip,
    image: FlashImage,
}

/// A bank on its board.
pub struct CfiFlash {
    name: String,
    banks_in_node: u64,
    bank: Mutex<Bank>,
}

impl CfiFlash {
    /// A bank that holds `image`. `banks_in_node` banks, this one the first of them, are described by one
    /// node of the device tree; 0: another bank's node describes this one.
    pub fn new(name: impl Into<String>, image: FlashImage, banks_in_node: u32) -> Self {
        let bank = Bank { chip: Chip::default(), image };
        Self { name: name.into(), banks_in_node: banks_in_node.into(), bank: Mutex::new(bank) }
    }

    fn bank(&self) -> MutexGuard<'_, Bank> {
        self.bank.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether reads give the contents: then, and only then, the bank may be mapped as read-only memory.
    pub fn in_read_array(&self) -> bool {
        self.bank().chip.in_read_array()
    }

    /// Where the contents lie in this process, and how many bytes of the bank. Valid as long as the bank is;
    /// `None` while it was never programmed and has no file. Guests may be given it to read.
    pub fn contents(&self) -> Option<(NonNull<u8>, usize)> {
        self.bank().image.memory()
    }

    /// Reads the contents, whatever mode the bank is in. Beyond the bank everything is erased.
    pub fn read_contents(&self, offset: u64, data: &mut [u8]) {
        self.bank().image.read(offset, data);
    }

    /// A copy of the command machine's state, without the contents.
    pub fn state(&self) -> Chip {
        self.bank().chip.clone()
    }

    /// Puts back a copied state.
    pub fn set_state(&self, state: Chip) {
        self.bank().chip = state;
    }
}

impl MmioDevice for CfiFlash {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        BANK_SIZE
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        let bank = self.bank();
        if bank.chip.in_read_array() {
            return bank.image.read(offset, data);
        }
        for (at, byte) in (offset..).zip(data) {
            let word = bank.chip.read(at).unwrap_or(0);
            *byte = word.to_le_bytes()[(at % 2) as usize];
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > BANK_SIZE) {
            return;
        }
        let mut bank = self.bank();
        let Bank { chip, image } = &mut *bank;
        for (cycle, at) in data.chunks(WIDTH).zip((offset..).step_by(WIDTH)) {
            chip.write(at, cycle, image);
        }
    }

    fn reset(&self) {
        self.bank().chip.reset();
    }

    /// With the contents, unless a file keeps them.
    fn save_state(&self) -> Option<SavedState> {
        let bank = self.bank();
        Some(SavedState::of(1, &(&bank.chip, bank.image.save())))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let (chip, contents): (Chip, Option<Vec<image::Page>>) = state.read(1)?;
        if !chip.is_legal() {
            return Err(StateError::Unfit("a write buffer that no command fills so".into()));
        }
        let mut bank = self.bank();
        bank.image.restore(contents.as_deref())?;
        bank.chip = chip;
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        if self.banks_in_node == 0 {
            return Vec::new();
        }
        let banks: Vec<(u64, u64)> = (0..self.banks_in_node).map(|i| (at.base + i * at.size, at.size)).collect();
        let node = FdtNode::new(format!("flash@{:x}", at.base))
            .with("bank-width", FdtValue::U32(WIDTH as u32))
            .with("reg", FdtValue::reg(&banks))
            .with("compatible", FdtValue::Str("cfi-flash".into()));
        vec![node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn erased() -> CfiFlash {
        CfiFlash::new("virt.flash0", FlashImage::erased(), 2)
    }

    fn read(flash: &CfiFlash, offset: u64) -> u32 {
        let mut data = [0; 4];
        flash.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(flash: &CfiFlash, offset: u64, value: u32) {
        flash.write(offset, &value.to_le_bytes());
    }

    /// The same command to both chips.
    fn command(flash: &CfiFlash, offset: u64, command: u32) {
        write(flash, offset, command | command << 16);
    }

    fn program(flash: &CfiFlash, offset: u64, value: u32) {
        command(flash, offset, 0x40);
        write(flash, offset, value);
    }

    #[test]
    fn starts_erased_and_readable() {
        let flash = erased();
        assert!(flash.in_read_array());
        assert_eq!(read(&flash, 0), u32::MAX);
        assert_eq!(read(&flash, BANK_SIZE - 4), u32::MAX);
        assert!(flash.contents().is_none(), "an unused bank costs nothing");
    }

    #[test]
    fn query_describes_the_bank() {
        let flash = erased();
        command(&flash, 0x55 * 4, 0x98);
        let byte = |address: u64| {
            let word = read(&flash, address * 4);
            assert_eq!(word & 0xffff, word >> 16, "both chips answer");
            word & 0xffff
        };
        assert_eq!([byte(0x10), byte(0x11), byte(0x12)], [b'Q', b'R', b'Y'].map(u32::from));
        assert_eq!([byte(0x13), byte(0x14)], [1, 0], "Intel command set");
        assert_eq!(2 * (1 << byte(0x27)), BANK_SIZE, "two chips make the bank");
        assert_eq!(byte(0x2c), 1, "one region");
        let blocks = (byte(0x2d) | byte(0x2e) << 8) + 1;
        let block = (byte(0x2f) | byte(0x30) << 8) * 256;
        assert_eq!((blocks, u64::from(block) * 2), (128, SECTOR_SIZE));
        assert_eq!(SECTOR_SIZE, 256 << 10);
        let extended = u64::from(byte(0x15) | byte(0x16) << 8);
        assert_eq!([0, 1, 2].map(|i| byte(extended + i)), [b'P', b'R', b'I'].map(u32::from));
        command(&flash, 0, 0xff);
        assert_eq!(read(&flash, 0x40), u32::MAX);
    }

    #[test]
    fn identifies_itself() {
        let flash = erased();
        command(&flash, 0, 0x90);
        assert_eq!((read(&flash, 0), read(&flash, 4), read(&flash, 8)), (0x0089_0089, 0x0018_0018, 0));
    }

    #[test]
    fn programming_only_clears_bits_and_erasing_sets_a_sector() {
        let flash = erased();
        let at = SECTOR_SIZE + 16;
        program(&flash, at, 0x1234_5678);
        assert_eq!(read(&flash, at), 0x0080_0080, "status follows");
        assert!(!flash.in_read_array());
        command(&flash, at, 0xff);
        assert_eq!(read(&flash, at), 0x1234_5678);
        program(&flash, at, 0xff00_ff0f);
        program(&flash, SECTOR_SIZE - 4, 7);
        program(&flash, 2 * SECTOR_SIZE, 8);
        command(&flash, 0, 0xff);
        assert_eq!(read(&flash, at), 0x1200_5608);
        command(&flash, SECTOR_SIZE, 0x20);
        command(&flash, SECTOR_SIZE, 0xd0);
        assert_eq!(read(&flash, 0), 0x0080_0080);
        command(&flash, 0, 0xff);
        assert_eq!([at, SECTOR_SIZE - 4, 2 * SECTOR_SIZE].map(|o| read(&flash, o)), [u32::MAX, 7, 8]);
    }

    #[test]
    fn buffered_program() {
        let flash = erased();
        command(&flash, 0x100, 0xe8);
        assert_eq!(read(&flash, 0x100) & 0x0080_0080, 0x0080_0080, "the buffer is free");
        command(&flash, 0x100, 3);
        for i in 0..4u32 {
            write(&flash, 0x100 + 4 * u64::from(i), 0xa000_b000 + i);
        }
        let mut data = [0; 4];
        flash.read_contents(0x100, &mut data);
        assert_eq!(data, [0xff; 4], "nothing is programmed before it is confirmed");
        command(&flash, 0x100, 0xd0);
        assert_eq!(read(&flash, 0), 0x0080_0080);
        command(&flash, 0, 0xff);
        let words: Vec<u32> = (0..5).map(|i| read(&flash, 0x100 + 4 * i)).collect();
        assert_eq!(words, [0xa000_b000, 0xa000_b001, 0xa000_b002, 0xa000_b003, u32::MAX]);
    }

    #[test]
    fn wrong_sequences_are_reported_and_cleared() {
        let flash = erased();
        command(&flash, 0, 0x20);
        command(&flash, 0, 0x55);
        assert_eq!(read(&flash, 0), 0x00b0_00b0);
        command(&flash, 0, 0x50);
        command(&flash, 0, 0x70);
        assert_eq!(read(&flash, 0), 0x0080_0080);
        // More words than the buffer holds.
        command(&flash, 0, 0xe8);
        command(&flash, 0, 0x7fff);
        assert_eq!(read(&flash, 0), 0x00b0_00b0);
        command(&flash, 0, 0x50);
        // Words of a buffer in two blocks.
        command(&flash, 0, 0xe8);
        command(&flash, 0, 1);
        write(&flash, 0, 1);
        write(&flash, SECTOR_SIZE, 2);
        assert_eq!(read(&flash, 0), 0x0090_0090);
        command(&flash, 0, 0xff);
        assert_eq!((read(&flash, 0), read(&flash, SECTOR_SIZE)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn narrow_cycles_drive_the_whole_bank() {
        let flash = erased();
        flash.write(2, &[0x90, 0]);
        assert_eq!(read(&flash, 0), 0x0089_0089);
        flash.write(1, &[0xff]);
        assert!(flash.in_read_array());
        for (offset, data) in [(8, &[0x34, 0x12][..]), (10, &[0x78, 0x56]), (12, &[0x9a]), (13, &[0xbc])] {
            flash.write(offset, &[0x40]);
            flash.write(offset, data);
        }
        flash.write(8, &[0xff]);
        assert_eq!([read(&flash, 8), read(&flash, 12)], [0x5678_1234, 0xffff_bc9a]);
        flash.write(0, &[0xe8, 0]);
        flash.write(0, &[1, 0]);
        flash.write(16, &[1, 2]);
        flash.write(18, &[3, 4]);
        flash.write(0, &[0xd0, 0]);
        flash.write(0, &[0xff, 0]);
        assert_eq!(read(&flash, 16), 0x0403_0201);
    }

    #[test]
    fn a_wide_access_is_two_cycles() {
        let flash = erased();
        let mut data = [0; 8];
        flash.write(0, &[0x40, 0, 0x40, 0, 1, 2, 3, 4]);
        command(&flash, 0, 0xff);
        flash.read(0, &mut data);
        assert_eq!(data, [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
    }

    #[test]
    fn locking_is_accepted_and_reset_reads_again() {
        let flash = erased();
        for second in [0x01, 0xd0, 0x2f] {
            command(&flash, 0, 0x60);
            command(&flash, 0, second);
            assert_eq!(read(&flash, 0), 0x0080_0080);
        }
        program(&flash, 0, 0);
        flash.reset();
        assert!(flash.in_read_array());
        assert_eq!(read(&flash, 0), 0, "contents survive");
    }

    #[test]
    fn device_tree_of_both_banks() {
        let nodes = erased().fdt(&Placement::at(0x2000_0000, BANK_SIZE));
        let reg = FdtValue::reg(&[(0x2000_0000, BANK_SIZE), (0x2200_0000, BANK_SIZE)]);
        assert_eq!(nodes[0].properties[1], ("reg".to_owned(), reg));
        assert!(
            CfiFlash::new("virt.flash1", FlashImage::erased(), 0)
                .fdt(&Placement::at(0x2000_0000, BANK_SIZE))
                .is_empty()
        );
    }

    proptest! {
        // Each case touches the whole bank's memory.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_access_panics(accesses in prop::collection::vec((0u64..64, 0usize..4, any::<u64>(), any::<bool>(), prop::sample::select(vec![0u8, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xff])), 200)) {
            let flash = erased();
            for (place, width, value, load, code) in accesses {
                let len = 1u64 << width;
                // Both ends of the bank and places in between.
                let offset = (place * (BANK_SIZE / 480 * 8)).min(BANK_SIZE - len);
                let mut data = value.to_le_bytes();
                if load {
                    flash.read(offset, &mut data[..len as usize]);
                } else {
                    if value % 2 == 0 { data = [code; 8]; }
                    flash.write(offset, &data[..len as usize]);
                }
            }
        }
    }
}
