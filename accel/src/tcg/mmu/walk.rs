//! Address translation: from a virtual address to a physical one, by the page tables in guest memory.
//!
//! Pure but for the page-table accesses themselves, which go through [`PhysMem`]. Nothing is cached here (`tlb`
//! does that), and the PMP check of the translated access is the caller's; that of the page-table accesses is ours.
//! A guest's addresses go through two stages, which are the same algorithm; what the second adds is in `two_stage`.
//!
//! Privileged spec, "Virtual Address Translation Process", Sv39, Sv48, Sv57, Svnapot, Svpbmt, Svade, Svadu.

use std::sync::atomic::{AtomicU64, Ordering};

use arch::cause::Exception;
use arch::csr::{envcfg, hstatus, mstatus, satp};
use arch::ext::{Ext, IsaConfig, SatpMode};
use arch::pte::{self, Pbmt};
use bitflags::bitflags;

use super::pmp::{self, Pmp};
use super::two_stage;
use crate::tcg::cfi;
use crate::tcg::csr::hypervisor::henvcfg;
use crate::tcg::trap::{Trap, data_virt, previous_mode};
use crate::{HartState, Mode};

bitflags! {
    /// What may be done to a page; R, W, X as in `pmpcfg`.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

    /// The guest-page fault of this access; `gpa` is the guest physical address that could not be translated.
    pub fn guest_page_fault(self, va: u64, gpa: u64) -> Trap {
        let cause = match self {
            Access::Fetch => Exception::InstructionGuestPageFault,
            Access::Load => Exception::LoadGuestPageFault,
            Access::Store => Exception::StoreGuestPageFault,
        };
        Trap { tval2: gpa >> 2, ..Trap::of(cause, va) }
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
    /// All RAM around `pa` that stands in one piece in the host, for atomic reads by the host's address.
    fn span(&self, _pa: u64) -> Option<pmp::Span> {
        None
    }
    /// Replaces `old` by `new` at once if the eight bytes at `pa` still are `old`; whether it did.
    fn cas_pte(&self, pa: u64, old: u64, new: u64) -> Option<bool>;
}

/// All that a translation depends on besides the page tables.
#[derive(Debug, Clone, Copy)]
pub struct Regime<'a> {
    /// The effective privilege mode of the access.
    pub mode: Mode,
    /// `satp`, of a guest `vsatp`.
    pub satp: u64,
    /// `mstatus.SUM` and `mstatus.MXR`; of a guest `vsstatus.SUM`, and MXR if any of the two is set.
    pub sum: bool,
    pub mxr: bool,
    /// A and D bits are set here (Svadu; ADUE of `menvcfg`, of a guest that of `henvcfg`); else a clear one is a page
    /// fault (Svade).
    pub set_ad: bool,
    /// Only asks: A and D stay as they are, where setting them would be permitted.
    pub dry: bool,
    /// PBMTE of `menvcfg`, of a guest that of `henvcfg`.
    pub pbmt: bool,
    /// Svnapot.
    pub napot: bool,
    /// Pages may be of shadow stacks (`R` = 0, `W` = 1, `X` = 0), which is reserved otherwise.
    pub shadow_pages: bool,
    /// The access is one of a shadow stack instruction.
    pub shadow: bool,
    /// Bits of an entry that have to be zero: Svrsw60t59b gives two of them to software.
    pub reserved: u64,
    /// HLVX: loads need execute permission in place of read permission.
    pub exec_loads: bool,
    /// The second stage, if the access is a guest's.
    pub guest: Option<Guest>,
    pub pmp: Pmp<'a>,
    /// Remembers what PMP said, for callers that walk often.
    pub windows: Option<&'a pmp::Windows>,
}

/// What the second stage of a guest's translation depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    pub hgatp: u64,
    /// MXR of HS-level: `vsstatus.MXR` does not count here.
    pub mxr: bool,
    /// ADUE and PBMTE of `menvcfg`.
    pub set_ad: bool,
    pub pbmt: bool,
}

impl<'a> Regime<'a> {
    /// For instruction fetches.
    pub fn fetch(s: &'a HartState, isa: &IsaConfig) -> Self {
        Self::of(s, isa, s.mode, s.virt)
    }

    /// For explicit loads and stores: `mstatus.MPRV` counts.
    pub fn data(s: &'a HartState, isa: &IsaConfig) -> Self {
        Self::of(s, isa, data_mode(s), data_virt(s))
    }

    /// For the loads and stores of HLV and HSV: as VS-mode's or VU-mode's, by `hstatus.SPVP`.
    pub fn hypervisor(s: &'a HartState, isa: &IsaConfig) -> Self {
        let mode = if s.csr.hstatus & hstatus::SPVP != 0 { Mode::Supervisor } else { Mode::User };
        Self::of(s, isa, mode, true)
    }

    fn of(s: &'a HartState, isa: &IsaConfig, mode: Mode, virt: bool) -> Self {
        let c = &s.csr;
        let (sum, mxr) = (|status| status & mstatus::SUM != 0, |status| status & mstatus::MXR != 0);
        let machine = Self {
            mode,
            satp: c.satp,
            sum: sum(c.mstatus),
            mxr: mxr(c.mstatus),
            set_ad: c.menvcfg & envcfg::ADUE != 0,
            dry: false,
            pbmt: c.menvcfg & envcfg::PBMTE != 0,
            napot: isa.has(Ext::Svnapot),
            shadow_pages: cfi::shadow_pages(s, virt),
            shadow: false,
            reserved: if isa.has(Ext::Svrsw60t59b) { pte::RESERVED & !pte::RSW60T59 } else { pte::RESERVED },
            exec_loads: false,
            guest: None,
            pmp: Pmp::of(s, isa),
            windows: None,
        };
        if !virt {
            return machine;
        }
        let henvcfg = henvcfg(s);
        Self {
            satp: c.vsatp,
            sum: sum(c.vsstatus),
            mxr: mxr(c.vsstatus | c.mstatus),
            set_ad: henvcfg & envcfg::ADUE != 0,
            pbmt: henvcfg & envcfg::PBMTE != 0,
            guest: Some(Guest { hgatp: c.hgatp, mxr: machine.mxr, set_ad: machine.set_ad, pbmt: machine.pbmt }),
            ..machine
        }
    }

    /// Accesses to page tables are S-mode's to PMP, whoever they are for.
    fn may_access_pte(&self, slot: u64, access: Access) -> bool {
        let verdict = match self.windows {
            Some(w) => w.verdict(self.pmp, slot, 8, Mode::Supervisor),
            None => pmp::verdict(self.pmp, slot, 8, Mode::Supervisor),
        };
        verdict.allows(access)
    }

    /// How addresses are translated; of a guest, in the first stage.
    pub fn satp_mode(&self) -> SatpMode {
        if self.mode == Mode::Machine {
            return SatpMode::Bare;
        }
        // `satp` never holds a mode that is not supported.
        SatpMode::from_encoding(self.satp >> satp::MODE_SHIFT).unwrap_or(SatpMode::Bare)
    }

    /// The only stage, or the first of two.
    pub(super) fn stage(&self) -> Stage {
        Stage {
            scheme: self.satp_mode(),
            widened: false,
            root: (self.satp & satp::PPN) << pte::PAGE_SHIFT,
            mode: self.mode,
            sum: self.sum,
            mxr: self.mxr,
            set_ad: self.set_ad,
            pbmt: self.pbmt,
            napot: self.napot,
            shadow_pages: self.shadow_pages,
            shadow: self.shadow,
            read_write: false,
            reserved: self.reserved,
            exec_loads: self.exec_loads,
        }
    }
}

/// The effective privilege mode of loads and stores.
pub fn data_mode(s: &HartState) -> Mode {
    let modified = s.csr.mstatus & mstatus::MPRV != 0 && !s.csr.nmi_masked;
    if s.mode == Mode::Machine && modified { previous_mode(s.csr.mstatus) } else { s.mode }
}

/// A successful translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Of the byte asked for, not of its page.
    pub pa: u64,
    /// log2 of the size of the mapping: 12, 16 (Svnapot), 21, 30, 39 or 48. 12 without translation. Of a guest, in the
    /// first stage: what its fences name.
    pub page_shift: u8,
    /// Mapped alike in all address spaces.
    pub global: bool,
    /// R, W, X and U of the leaf, as they stand there. SUM and MXR are not folded in. Of a guest, what both stages give.
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
    if let Some(guest) = &r.guest
        && r.mode != Mode::Machine
    {
        return two_stage::translate(r, guest, mem, va, access);
    }
    r.stage().walk(&Physical { r, mem }, va, access).map_err(|fault| fault.trap(va, access))
}

/// What is left of a [`Regime`] where addresses go through one stage: a hart keeps it from one translation to the next.
#[derive(Debug, Clone, Copy)]
pub struct Single(Stage);

impl Single {
    /// `None` where there are two stages.
    pub fn of(r: &Regime) -> Option<Self> {
        (r.guest.is_none() || r.mode == Mode::Machine).then(|| Self(r.stage()))
    }

    /// The effective privilege mode of the access.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// As [`translate`].
    #[inline]
    pub fn translate<M: PhysMem>(
        &self,
        (pmp, windows): (Pmp, &pmp::Windows),
        mem: &M,
        va: u64,
        access: Access,
    ) -> Result<Walk, Trap> {
        self.0.walk(&Direct { pmp, windows, mem }, va, access).map_err(|fault| fault.trap(va, access))
    }

    /// As [`translate`], with tables in `ram` alone. `None`: a fault, or something that has to be looked at more closely;
    /// nothing has changed.
    #[inline(always)]
    pub fn look(&self, ram: &pmp::Span, va: u64, access: Access) -> Option<Walk> {
        self.0.walk_here(&Spanned(ram), va, access).ok()
    }
}

/// Tables in RAM that S-mode may read, of which nothing is written.
struct Spanned<'a>(&'a pmp::Span);

/// What [`Spanned`] tells of faults.
struct Unclear;

impl From<Fault> for Unclear {
    fn from(_: Fault) -> Self {
        Self
    }
}

impl Tables for Spanned<'_> {
    type Fault = Unclear;

    #[inline(always)]
    fn read(&self, slot: u64) -> Result<u64, Unclear> {
        read_in(self.0, slot).ok_or(Unclear)
    }

    fn swap(&self, _: u64, _: u64, _: u64) -> Result<bool, Unclear> {
        Err(Unclear)
    }
}

/// The entry at `slot`, if it is in `ram`.
#[inline(always)]
fn read_in(ram: &pmp::Span, slot: u64) -> Option<u64> {
    let entry = ram.at(slot, pte::ENTRY_SIZE)?.cast::<AtomicU64>();
    // SAFETY: the span is RAM, which stays mapped and is only reached by atomics and raw pointers.
    entry.is_aligned().then(|| unsafe { &*entry }.load(Ordering::Acquire))
}

/// Tables at physical addresses, for a [`Single`] stage.
struct Direct<'a, M> {
    pmp: Pmp<'a>,
    windows: &'a pmp::Windows,
    mem: &'a M,
}

impl<M: PhysMem> Direct<'_, M> {
    #[cold]
    fn read_elsewhere(&self, slot: u64) -> Result<u64, Fault> {
        if !self.windows.verdict(self.pmp, slot, 8, Mode::Supervisor).allows(Access::Load) {
            return Err(Fault::Access);
        }
        let entry = self.mem.read_pte(slot).ok_or(Fault::Access)?;
        if let Some(ram) = self.mem.span(slot) {
            self.windows.remember_tables(ram, slot);
        }
        Ok(entry)
    }
}

impl<M: PhysMem> Tables for Direct<'_, M> {
    type Fault = Fault;

    #[inline]
    fn read(&self, slot: u64) -> Result<u64, Fault> {
        match read_in(&self.windows.ram().0, slot) {
            Some(entry) => Ok(entry),
            None => self.read_elsewhere(slot),
        }
    }

    #[cold]
    fn swap(&self, slot: u64, old: u64, new: u64) -> Result<bool, Fault> {
        if !self.windows.verdict(self.pmp, slot, 8, Mode::Supervisor).allows(Access::Store) {
            return Err(Fault::Access);
        }
        self.mem.cas_pte(slot, old, new).ok_or(Fault::Access)
    }
}

/// Why a stage could not translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Page,
    Access,
}

impl Fault {
    #[cold]
    fn trap(self, va: u64, access: Access) -> Trap {
        match self {
            Fault::Page => access.page_fault(va),
            Fault::Access => access.access_fault(va),
        }
    }
}

/// The tables of a stage.
pub(super) trait Tables {
    /// Their faults; those of the stage itself can be told in the same words.
    type Fault: From<Fault>;
    /// As [`PhysMem::read_pte`], at an address of the stage's tables.
    fn read(&self, slot: u64) -> Result<u64, Self::Fault>;
    /// As [`PhysMem::cas_pte`].
    fn swap(&self, slot: u64, old: u64, new: u64) -> Result<bool, Self::Fault>;
}

/// Tables at physical addresses.
pub(super) struct Physical<'a, M: ?Sized> {
    pub r: &'a Regime<'a>,
    pub mem: &'a M,
}

impl<M: PhysMem + ?Sized> Tables for Physical<'_, M> {
    type Fault = Fault;

    fn read(&self, slot: u64) -> Result<u64, Fault> {
        if !self.r.may_access_pte(slot, Access::Load) {
            return Err(Fault::Access);
        }
        self.mem.read_pte(slot).ok_or(Fault::Access)
    }

    fn swap(&self, slot: u64, old: u64, new: u64) -> Result<bool, Fault> {
        if !self.r.may_access_pte(slot, Access::Store) {
            return Err(Fault::Access);
        }
        if self.r.dry {
            return Ok(true);
        }
        self.mem.cas_pte(slot, old, new).ok_or(Fault::Access)
    }
}

/// A stage of translation: the specification's algorithm, and what differs between the stages as data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub scheme: SatpMode,
    /// The second stage: addresses are two bits wider and the root table is four times as large.
    pub widened: bool,
    /// Address of the root table.
    pub root: u64,
    pub mode: Mode,
    pub sum: bool,
    pub mxr: bool,
    pub set_ad: bool,
    pub pbmt: bool,
    pub napot: bool,
    pub shadow_pages: bool,
    pub shadow: bool,
    /// Loads and stores both need read and write permission.
    pub read_write: bool,
    pub reserved: u64,
    pub exec_loads: bool,
}

impl Stage {
    pub(super) fn walk<T: Tables>(&self, tables: &T, va: u64, access: Access) -> Result<Walk, T::Fault> {
        self.walk_here(tables, va, access)
    }

    /// [`walk`](Self::walk), as part of the caller.
    #[inline(always)]
    fn walk_here<T: Tables>(&self, tables: &T, va: u64, access: Access) -> Result<Walk, T::Fault> {
        if self.scheme == SatpMode::Bare {
            return Ok(identity(va));
        }
        if !self.is_in_range(va) {
            return Err(Fault::Page.into());
        }
        let mut table = self.root;
        let mut global = false;
        let mut level = self.scheme.levels() - 1;
        let mut index = va >> (pte::PAGE_SHIFT + pte::LEVEL_BITS * level) & self.root_mask();
        loop {
            let slot = table + index * pte::ENTRY_SIZE;
            let entry = tables.read(slot)?;
            if entry & pte::V == 0 || entry & self.reserved != 0 || self.has_reserved_permission(entry) {
                return Err(Fault::Page.into());
            }
            let global_here = global || entry & pte::G != 0;
            if entry & (pte::R | pte::W | pte::X) != 0 {
                let leaf = Leaf { slot, level, global: global_here };
                match leaf.finish(self, tables, va, entry, access)? {
                    Some(walk) => return Ok(walk),
                    // The entry changed under our hands: look at it again.
                    None => continue,
                }
            }
            if level == 0 || entry & RESERVED_IN_POINTER != 0 {
                return Err(Fault::Page.into());
            }
            table = pte::ppn(entry) << pte::PAGE_SHIFT;
            level -= 1;
            index = pte::index(va, level);
            global = global_here;
        }
    }

    /// Virtual addresses are sign-extended, guest physical ones zero-extended.
    fn is_in_range(&self, va: u64) -> bool {
        if self.widened { va >> (self.scheme.virt_bits() + 2) == 0 } else { self.scheme.is_canonical(va) }
    }

    /// The bits of an index into the root table.
    fn root_mask(&self) -> u64 {
        if self.widened { 4 * pte::ENTRIES - 1 } else { pte::ENTRIES - 1 }
    }

    fn has_reserved_permission(&self, entry: u64) -> bool {
        pte::is_reserved_permission(entry) && !self.is_shadow_page(entry)
    }

    /// Whether the leaf maps a shadow stack.
    fn is_shadow_page(&self, entry: u64) -> bool {
        self.shadow_pages && entry & (pte::R | pte::W | pte::X) == pte::W
    }

    /// Whether the permissions of a leaf allow the access, and how it fails. A fault that the guest's kernel cannot mend
    /// by copying a page is an access fault: a shadow stack is written by others, or is none and not read-only.
    fn check(&self, entry: u64, access: Access) -> Result<(), Fault> {
        let user = entry & pte::U != 0;
        let by_mode = match self.mode {
            Mode::User => user,
            _ => !user || self.sum && access != Access::Fetch,
        };
        let loads = access == Access::Load && !self.exec_loads;
        match (self.is_shadow_page(entry), self.shadow) {
            _ if !by_mode => Err(Fault::Page),
            (true, true) => Ok(()),
            (true, false) if loads => Ok(()),
            // HLVX is a load, of a page that is not executable.
            (true, false) if access == Access::Load => Err(Fault::Page),
            (true, false) => Err(Fault::Access),
            (false, true) if entry & (pte::R | pte::W | pte::X) == pte::R => Err(Fault::Page),
            (false, true) => Err(Fault::Access),
            (false, false) if self.allows(entry, access) => Ok(()),
            (false, false) => Err(Fault::Page),
        }
    }

    /// Whether the permissions of an ordinary leaf allow the access.
    fn allows(&self, entry: u64, access: Access) -> bool {
        if self.read_write {
            return entry & (pte::R | pte::W) == pte::R | pte::W;
        }
        match access {
            Access::Fetch => entry & pte::X != 0,
            Access::Load if self.exec_loads => entry & pte::X != 0,
            Access::Load => entry & pte::R != 0 || self.mxr && entry & pte::X != 0,
            Access::Store => entry & pte::W != 0,
        }
    }
}

/// No translation: everything is where it seems to be.
fn identity(va: u64) -> Walk {
    Walk { pa: va, page_shift: 12, global: true, perms: Perms::RWX | Perms::U, dirty: true, pbmt: Pbmt::Pma }
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
    #[inline(always)]
    fn finish<T: Tables>(
        &self,
        stage: &Stage,
        tables: &T,
        va: u64,
        entry: u64,
        access: Access,
    ) -> Result<Option<Walk>, T::Fault> {
        let shift = self.page_shift(stage, entry).ok_or(Fault::Page)?;
        stage.check(entry, access)?;
        let mut wanted = entry | pte::A;
        if access == Access::Store {
            wanted |= pte::D;
        }
        if wanted != entry {
            if !stage.set_ad {
                return Err(Fault::Page.into());
            }
            if !tables.swap(self.slot, entry, wanted)? {
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
    fn page_shift(&self, stage: &Stage, entry: u64) -> Option<u8> {
        let pbmt = Pbmt::of(entry)?;
        if pbmt != Pbmt::Pma && !stage.pbmt {
            return None;
        }
        let ppn = pte::ppn(entry);
        if entry & pte::N != 0 {
            let well_formed = self.level == 0 && ppn & pte::NAPOT_64K_BITS == pte::NAPOT_64K;
            return (stage.napot && well_formed).then_some(16);
        }
        let shift = pte::PAGE_SHIFT + pte::LEVEL_BITS * self.level;
        let aligned = (ppn << pte::PAGE_SHIFT).trailing_zeros() >= shift;
        aligned.then_some(shift as u8)
    }
}

#[cfg(test)]
mod tests;
