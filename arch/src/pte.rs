//! Page-table entries of Sv39, Sv48 and Sv57 (privileged specification, chapter "Supervisor-level ISA"), with Svnapot
//! and Svpbmt. The bits only; the walk is the engine's.

use crate::ext::SatpMode;

pub const V: u64 = 1 << 0;
pub const R: u64 = 1 << 1;
pub const W: u64 = 1 << 2;
pub const X: u64 = 1 << 3;
pub const U: u64 = 1 << 4;
pub const G: u64 = 1 << 5;
pub const A: u64 = 1 << 6;
pub const D: u64 = 1 << 7;
/// For software.
pub const RSW: u64 = 3 << 8;
/// 44 bits of physical page number.
pub const PPN: u64 = ((1 << 44) - 1) << PPN_SHIFT;
pub const PPN_SHIFT: u32 = 10;
/// Bits 60:54; a set bit is a page fault.
pub const RESERVED: u64 = 0x7f << 54;
/// Bits 60:59, which Svrsw60t59b gives to software.
pub const RSW60T59: u64 = 3 << 59;
/// Memory type (Svpbmt); reserved without it.
pub const PBMT: u64 = 3 << 61;
pub const PBMT_SHIFT: u32 = 61;
/// The entry is one of a naturally aligned power of two (Svnapot); reserved without it.
pub const N: u64 = 1 << 63;

pub const PAGE_SHIFT: u32 = 12;
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Bits of the virtual address that choose an entry at each level.
pub const LEVEL_BITS: u32 = 9;
pub const ENTRIES: u64 = 1 << LEVEL_BITS;
/// In bytes.
pub const ENTRY_SIZE: u64 = 8;
/// Width of a physical address.
pub const PHYS_BITS: u32 = 56;

/// The low bits of PPN that say an entry with N set is a 64 KiB range; all other values are reserved.
pub const NAPOT_64K_BITS: u64 = 0xf;
pub const NAPOT_64K: u64 = 0x8;

/// Memory type of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Pbmt {
    /// As the physical memory attributes say.
    Pma = 0,
    /// Non-cacheable, idempotent, weakly ordered.
    Nc = 1,
    /// Non-cacheable, non-idempotent, strongly ordered.
    Io = 2,
}

impl Pbmt {
    /// Of an entry; `None` is the reserved value.
    pub const fn of(pte: u64) -> Option<Self> {
        match (pte & PBMT) >> PBMT_SHIFT {
            0 => Some(Self::Pma),
            1 => Some(Self::Nc),
            2 => Some(Self::Io),
            _ => None,
        }
    }
}

/// Physical page number of an entry.
pub const fn ppn(pte: u64) -> u64 {
    (pte & PPN) >> PPN_SHIFT
}

/// The entry points to the next level: valid with none of R, W and X.
pub const fn is_pointer(pte: u64) -> bool {
    pte & (V | R | W | X) == V
}

/// W without R, which is reserved.
pub const fn is_reserved_permission(pte: u64) -> bool {
    pte & (R | W) == W
}

/// Size in bytes of a leaf at `level`, where level 0 is a 4 KiB page.
pub const fn leaf_size(level: u32) -> u64 {
    PAGE_SIZE << (LEVEL_BITS * level)
}

/// Index of the entry for `addr` in the table at `level`.
pub const fn index(addr: u64, level: u32) -> u64 {
    addr >> (PAGE_SHIFT + LEVEL_BITS * level) & (ENTRIES - 1)
}

impl SatpMode {
    /// The mode with this value in `satp.MODE`, whether or not the hart supports it.
    pub const fn from_encoding(mode: u64) -> Option<Self> {
        match mode {
            0 => Some(Self::Bare),
            8 => Some(Self::Sv39),
            9 => Some(Self::Sv48),
            10 => Some(Self::Sv57),
            _ => None,
        }
    }

    /// Levels of page tables; 0 without translation.
    pub const fn levels(self) -> u32 {
        match self {
            Self::Bare => 0,
            Self::Sv39 => 3,
            Self::Sv48 => 4,
            Self::Sv57 => 5,
        }
    }

    /// Width of a virtual address.
    pub const fn virt_bits(self) -> u32 {
        match self {
            Self::Bare => 64,
            _ => PAGE_SHIFT + LEVEL_BITS * self.levels(),
        }
    }

    /// Whether the bits above the width equal the highest bit inside it, as every access requires.
    pub const fn is_canonical(self, addr: u64) -> bool {
        let unused = 64 - self.virt_bits();
        ((addr << unused) as i64 >> unused) as u64 == addr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_the_number_of_levels() {
        assert_eq!([SatpMode::Sv39, SatpMode::Sv48, SatpMode::Sv57].map(SatpMode::virt_bits), [39, 48, 57]);
        assert_eq!([0, 1, 2].map(leaf_size), [4 << 10, 2 << 20, 1 << 30]);
        assert_eq!(index(0x40_2010_0000, 2), 0x100);
        for mode in [SatpMode::Bare, SatpMode::Sv39, SatpMode::Sv48, SatpMode::Sv57] {
            assert_eq!(SatpMode::from_encoding(mode.encoding()), Some(mode));
        }
    }

    #[test]
    fn canonical_addresses_repeat_the_top_bit() {
        assert!(SatpMode::Sv39.is_canonical(0x3f_ffff_ffff));
        assert!(!SatpMode::Sv39.is_canonical(0x40_0000_0000));
        assert!(SatpMode::Sv39.is_canonical(0xffff_ffc0_0000_0000));
        assert!(SatpMode::Bare.is_canonical(1 << 63));
    }

    #[test]
    fn every_bit_belongs_to_one_field() {
        let fields = [V, R, W, X, U, G, A, D, RSW, PPN, RESERVED, PBMT, N];
        assert_eq!(fields.iter().fold(0, |all, field| all ^ field), u64::MAX);
    }
}
