//! Page tables of Sv39, Sv48 and Sv57 (privileged specification, chapter "Supervisor-Level ISA").

use core::arch::asm;

use crate::csr::{csr_read, csr_write};
use crate::memory::{self, PAGE};

pub const V: usize = 1;
pub const R: usize = 1 << 1;
pub const W: usize = 1 << 2;
pub const X: usize = 1 << 3;
pub const U: usize = 1 << 4;
pub const A: usize = 1 << 6;
pub const D: usize = 1 << 7;
pub const RW: usize = R | W;

/// Index of a level: 0 is 4 KiB pages, 1 is 2 MiB, 2 is 1 GiB ...
pub type Level = usize;

/// Bytes that an entry of a level maps.
pub fn level_size(level: Level) -> usize {
    PAGE << (9 * level)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    pub name: &'static str,
    /// `satp.MODE`.
    pub number: usize,
    pub levels: usize,
}

pub const MODES: &[Mode] = &[
    Mode { name: "sv39", number: 8, levels: 3 },
    Mode { name: "sv48", number: 9, levels: 4 },
    Mode { name: "sv57", number: 10, levels: 5 },
];

impl Mode {
    /// First address of the upper half.
    pub fn high_half(self) -> usize {
        usize::MAX << (12 + 9 * self.levels - 1)
    }

    /// The hart takes this mode.
    pub fn is_there(self) -> bool {
        let space = Space::new(self);
        csr_write!("satp", space.satp(0));
        let there = csr_read!("satp") == space.satp(0);
        csr_write!("satp", 0);
        there
    }
}

/// An address space: the lower half maps physical memory as it is.
#[derive(Clone, Copy)]
pub struct Space {
    pub mode: Mode,
    root: usize,
}

fn entry_at(table: usize, address: usize, level: Level) -> *mut usize {
    let index = address >> (12 + 9 * level) & 511;
    (table + 8 * index) as *mut usize
}

impl Space {
    pub fn new(mode: Mode) -> Self {
        let space = Self { mode, root: memory::pages(1, PAGE) };
        // The largest leaves there are: the whole lower half, or its first entry, which is more than enough.
        let top = mode.levels - 1;
        for i in 0..if mode.levels == 3 { 256 } else { 1 } {
            let address = i * level_size(top);
            space.map(address, address, RW | X | A | D, top);
        }
        space
    }

    /// `satp` for it.
    pub fn satp(&self, asid: usize) -> usize {
        self.mode.number << 60 | asid << 44 | self.root >> 12
    }

    /// The entry of `address` at `level`; tables above it are made.
    pub fn entry(&self, address: usize, level: Level) -> *mut usize {
        let mut table = self.root;
        for above in (level + 1..self.mode.levels).rev() {
            let entry = entry_at(table, address, above);
            // SAFETY: a page table of ours.
            unsafe {
                if entry.read_volatile() & V == 0 {
                    entry.write_volatile((memory::pages(1, PAGE) >> 12) << 10 | V);
                }
                table = (entry.read_volatile() >> 10) << 12;
            }
        }
        entry_at(table, address, level)
    }

    /// Sets a leaf, whatever was there. No fence.
    pub fn map(&self, address: usize, physical: usize, flags: usize, level: Level) {
        self.set(address, (physical >> 12) << 10 | flags | V, level);
    }

    /// Sets an entry. No fence.
    pub fn set(&self, address: usize, entry: usize, level: Level) {
        // SAFETY: a page table of ours.
        unsafe { self.entry(address, level).write_volatile(entry) }
    }

    pub fn get(&self, address: usize, level: Level) -> usize {
        // SAFETY: a page table of ours.
        unsafe { self.entry(address, level).read_volatile() }
    }

    /// Runs `f` with this space switched on, then off again.
    pub fn within<T>(&self, f: impl FnOnce() -> T) -> T {
        fence();
        csr_write!("satp", self.satp(0));
        let result = f();
        csr_write!("satp", 0);
        fence();
        result
    }
}

/// `sfence.vma` of everything.
pub fn fence() {
    // SAFETY: forgets translations only.
    unsafe { asm!("sfence.vma") };
}

/// `sfence.vma` of one address.
pub fn fence_address(address: usize) {
    // SAFETY: as above.
    unsafe { asm!("sfence.vma {}, zero", in(reg) address) };
}

/// `sfence.vma` of one address in one address space.
pub fn fence_address_asid(address: usize, asid: usize) {
    // SAFETY: as above.
    unsafe { asm!("sfence.vma {}, {}", in(reg) address, in(reg) asid) };
}
