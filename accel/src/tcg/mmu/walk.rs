//! Address translation: from a virtual address to a physical one, by the page tables in guest memory.
//!
//! Pure but for the page-table accesses themselves, which go through [`PhysMem`]. Nothing is cached here (`tlb`
//! does that), and the PMP check of the translated access is the caller's; that of the page-table accesses is ours.
//!
//! Privileged spec, "Virtual Address Translation Process", Sv39, Sv48, Sv57, Svnapot, Svpbmt, Svade, Svadu.

use arch::cause::Exception;
use arch::csr::{envcfg, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};
use arch::pte::{self, Pbmt};
use bitflags::bitflags;

use super::pmp;
use crate::tcg::trap::{Trap, previous_mode};
use crate::{HartState, Mode, PmpState};

bitflags! {
    /// What may be done to a page; R, W, X as in `pmpcfg`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Perms: u8 {
        const R = 1 << 0;
        const W = 1 << 1;
        const X = 1 << 2;
        /// The page belongs to U-mode (`pte.U`).
        const U = 1 << 3;
        const RWX = Self::R.bits() | Self::W.bits() | Self::X.bits();
    }
}

impl Perms {
    /// Of a page-table entry, where they stand in this order from bit 1.
    fn of(entry: u64) -> Self {
        Self::from_bits_truncate((entry >> 1) as u8)
    }
}

/// What an instruction does to memory. AMOs and store-conditionals are stores, load-reserveds loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    Fetch,
    Load,
    Store,
}

impl Access {
    /// The permission that PMP and page tables ask for.
    pub const fn needs(self) -> Perms {
        match self {
            Access::Fetch => Perms::X,
            Access::Load => Perms::R,
            Access::Store => Perms::W,
        }
    }

    /// The page fault of this access.
    pub fn page_fault(self, va: u64) -> Trap {
        let cause = match self {
            Access::Fetch => Exception::InstructionPageFault,
            Access::Load => Exception::LoadPageFault,
            Access::Store => Exception::StorePageFault,
        };
        Trap::of(cause, va)
    }

    /// The access fault of this access.
    pub fn access_fault(self, va: u64) -> Trap {
        let cause = match self {
            Access::Fetch => Exception::InstructionAccessFault,
            Access::Load => Exception::LoadAccessFault,
            Access::Store => Exception::StoreAccessFault,
        };
        Trap::of(cause, va)
    }

    /// The misalignment exception of this access.
    pub fn misaligned(self, va: u64) -> Trap {
        let cause = match self {
            Access::Fetch => Exception::InstructionAddressMisaligned,
            Access::Load => Exception::LoadAddressMisaligned,
            Access::Store => Exception::StoreAddressMisaligned,
        };
        Trap::of(cause, va)
    }
}

/// Page tables as the walker reaches them. Page tables have to stand in RAM: `None` is an access fault.
pub trait PhysMem {
    /// The eight bytes at `pa`, read at once (little endian); `pa` is aligned.
    fn read_pte(&self, pa: u64) -> Option<u64>;
    /// Replaces `old` by `new` at once if the eight bytes at `pa` still are `old`; whether it did.
    fn cas_pte(&self, pa: u64, old: u64, new: u64) -> Option<bool>;
}

/// All that a translation depends on besides the page tables.
#[derive(Debug, Clone, Copy)]
pub struct Regime<'a> {
    /// The effective privilege mode of the access.
    pub mode: Mode,
    pub satp: u64,
    /// `mstatus.SUM` and `mstatus.MXR`.
    pub sum: bool,
    pub mxr: bool,
    /// A and D bits are set here (Svadu, `menvcfg.ADUE`); else a clear one is a page fault (Svade).
    pub set_ad: bool,
    /// `menvcfg.PBMTE`.
    pub pbmt: bool,
    /// Svnapot.
    pub napot: bool,
    pub pmp: &'a PmpState,
    /// Implemented PMP entries.
    pub pmp_entries: u8,
}

impl<'a> Regime<'a> {
    /// For instruction fetches.
    pub fn fetch(s: &'a HartState, isa: &IsaConfig) -> Self {
        Self::of(s, isa, s.mode)
    }

    /// For explicit loads and stores: `mstatus.MPRV` counts.
    pub fn data(s: &'a HartState, isa: &IsaConfig) -> Self {
        Self::of(s, isa, data_mode(s))
    }

    fn of(s: &'a HartState, isa: &IsaConfig, mode: Mode) -> Self {
        Self {
            mode,
            satp: s.csr.satp,
            sum: s.csr.mstatus & mstatus::SUM != 0,
            mxr: s.csr.mstatus & mstatus::MXR != 0,
            set_ad: s.csr.menvcfg & envcfg::ADUE != 0,
            pbmt: s.csr.menvcfg & envcfg::PBMTE != 0,
            napot: isa.has(Ext::Svnapot),
            pmp: &s.csr.pmp,
            pmp_entries: isa.pmp_entries,
        }
    }

    /// Accesses to page tables are S-mode's to PMP, whoever they are for.
    fn may_access_pte(&self, slot: u64, access: Access) -> bool {
        pmp::verdict(self.pmp, self.pmp_entries, slot, 8, Mode::Supervisor).allows(access)
    }

    /// How addresses are translated.
    pub fn satp_mode(&self) -> SatpMode {
        if self.mode == Mode::Machine {
            return SatpMode::Bare;
        }
        // `satp` never holds a mode that is not supported.
        SatpMode::from_encoding(self.satp >> satp::MODE_SHIFT).unwrap_or(SatpMode::Bare)
    }
}

/// The effective privilege mode of loads and stores.
pub fn data_mode(s: &HartState) -> Mode {
    if s.mode == Mode::Machine && s.csr.mstatus & mstatus::MPRV != 0 { previous_mode(s.csr.mstatus) } else { s.mode }
}

/// A successful translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Of the byte asked for, not of its page.
    pub pa: u64,
    /// log2 of the size of the mapping: 12, 16 (Svnapot), 21, 30, 39 or 48. 12 without translation.
    pub page_shift: u8,
    /// Mapped alike in all address spaces.
    pub global: bool,
    /// R, W, X and U of the leaf, as they stand there. SUM and MXR are not folded in.
    pub perms: Perms,
    /// D is set: later stores need no walk.
    pub dirty: bool,
    /// Memory type (Svpbmt).
    pub pbmt: Pbmt,
}

/// Reserved in an entry that points to a table, besides what is reserved everywhere.
const RESERVED_IN_POINTER: u64 = pte::N | pte::PBMT | pte::D | pte::A | pte::U;

/// Translates `va`. A fault's `tval` is `va`.
///
/// With Svadu this sets A, and D for a store, in the leaf: call it for accesses that really are going to happen.
pub fn translate<M: PhysMem + ?Sized>(r: &Regime, mem: &M, va: u64, access: Access) -> Result<Walk, Trap> {
    let mode = r.satp_mode();
    if mode == SatpMode::Bare {
        return Ok(identity(va));
    }
    if !mode.is_canonical(va) {
        return Err(access.page_fault(va));
    }
    let mut table = (r.satp & satp::PPN) << pte::PAGE_SHIFT;
    let mut global = false;
    let mut level = mode.levels() - 1;
    loop {
        let slot = table + pte::index(va, level) * pte::ENTRY_SIZE;
        let entry = read(r, mem, slot).ok_or_else(|| access.access_fault(va))?;
        if entry & pte::V == 0 || entry & pte::RESERVED != 0 || pte::is_reserved_permission(entry) {
            return Err(access.page_fault(va));
        }
        global |= entry & pte::G != 0;
        if entry & (pte::R | pte::X) != 0 {
            let leaf = Leaf { slot, level, global };
            match leaf.finish(r, mem, va, entry, access)? {
                Some(walk) => return Ok(walk),
                // The entry changed under our hands: look at it again.
                None => continue,
            }
        }
        if level == 0 || entry & RESERVED_IN_POINTER != 0 {
            return Err(access.page_fault(va));
        }
        table = pte::ppn(entry) << pte::PAGE_SHIFT;
        level -= 1;
    }
}

/// No translation: everything is where it seems to be.
fn identity(va: u64) -> Walk {
    Walk { pa: va, page_shift: 12, global: true, perms: Perms::RWX | Perms::U, dirty: true, pbmt: Pbmt::Pma }
}

fn read<M: PhysMem + ?Sized>(r: &Regime, mem: &M, slot: u64) -> Option<u64> {
    if r.may_access_pte(slot, Access::Load) { mem.read_pte(slot) } else { None }
}

/// Where a leaf was found.
struct Leaf {
    slot: u64,
    level: u32,
    /// G of this entry or one above it.
    global: bool,
}

impl Leaf {
    /// Steps 5 to 8 of the specification's algorithm; `None` if the entry has to be read again.
    fn finish<M>(&self, r: &Regime, mem: &M, va: u64, entry: u64, access: Access) -> Result<Option<Walk>, Trap>
    where
        M: PhysMem + ?Sized,
    {
        let shift = self.page_shift(r, entry).ok_or_else(|| access.page_fault(va))?;
        if !allowed(r, entry, access) {
            return Err(access.page_fault(va));
        }
        let mut wanted = entry | pte::A;
        if access == Access::Store {
            wanted |= pte::D;
        }
        if wanted != entry {
            if !r.set_ad {
                return Err(access.page_fault(va));
            }
            if !r.may_access_pte(self.slot, Access::Store) {
                return Err(access.access_fault(va));
            }
            if !mem.cas_pte(self.slot, entry, wanted).ok_or_else(|| access.access_fault(va))? {
                return Ok(None);
            }
        }
        let offset = (1 << shift) - 1;
        Ok(Some(Walk {
            pa: (pte::ppn(entry) << pte::PAGE_SHIFT) & !offset | va & offset,
            page_shift: shift,
            global: self.global,
            perms: Perms::of(entry),
            dirty: wanted & pte::D != 0,
            pbmt: Pbmt::of(entry).unwrap_or(Pbmt::Pma),
        }))
    }

    /// log2 of the size of the mapping; `None` if the entry is malformed.
    fn page_shift(&self, r: &Regime, entry: u64) -> Option<u8> {
        let pbmt = Pbmt::of(entry)?;
        if pbmt != Pbmt::Pma && !r.pbmt {
            return None;
        }
        let ppn = pte::ppn(entry);
        if entry & pte::N != 0 {
            let well_formed = self.level == 0 && ppn & pte::NAPOT_64K_BITS == pte::NAPOT_64K;
            return (r.napot && well_formed).then_some(16);
        }
        let shift = pte::PAGE_SHIFT + pte::LEVEL_BITS * self.level;
        let aligned = (ppn << pte::PAGE_SHIFT).trailing_zeros() >= shift;
        aligned.then_some(shift as u8)
    }
}

/// Whether the permissions of a leaf allow the access.
fn allowed(r: &Regime, entry: u64, access: Access) -> bool {
    let user = entry & pte::U != 0;
    let by_mode = match r.mode {
        Mode::User => user,
        _ => !user || r.sum && access != Access::Fetch,
    };
    by_mode
        && match access {
            Access::Fetch => entry & pte::X != 0,
            Access::Load => entry & pte::R != 0 || r.mxr && entry & pte::X != 0,
            Access::Store => entry & pte::W != 0,
        }
}
