//! Address translation: from a virtual address to a physical one, by the page tables in guest memory.
//!
//! Pure but for the page-table accesses themselves, which go through [`PhysMem`]. Nothing is cached here (`tlb`
//! does that), and the PMP check of the translated access is the caller's; that of the page-table accesses is ours.
//! A guest's addresses go through two stages, which are the same algorithm; what the second adds is in `two_stage`.
//!
//! Privileged spec, "Virtual Address Translation Process", Sv39, Sv48, Sv57, Svnapot, Svpbmt, Svade, Svadu.

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
    r.stage().walk(&Physical { r, mem }, va, access).map_err(|fault| match fault {
        Fault::Page => access.page_fault(va),
        Fault::Access => access.access_fault(va),
    })
}

/// Why a stage could not translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Page,
    Access,
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
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::*;
    use crate::PmpState;
    use arch::csr::pmpcfg;

    /// Sparse memory; `holes` are pages that are not RAM.
    #[derive(Default, Clone)]
    struct Mem {
        words: RefCell<BTreeMap<u64, u64>>,
        holes: Vec<u64>,
        /// How many swaps find that another hart set A meanwhile.
        races: Cell<u32>,
    }

    impl Mem {
        fn put(&self, pa: u64, v: u64) {
            self.words.borrow_mut().insert(pa, v);
        }

        fn get(&self, pa: u64) -> u64 {
            self.words.borrow().get(&pa).copied().unwrap_or(0)
        }
    }

    impl PhysMem for Mem {
        fn read_pte(&self, pa: u64) -> Option<u64> {
            assert_eq!(pa % 8, 0);
            (!self.holes.contains(&(pa >> 12))).then(|| self.get(pa))
        }

        fn cas_pte(&self, pa: u64, old: u64, new: u64) -> Option<bool> {
            if self.races.get() > 0 {
                self.races.set(self.races.get() - 1);
                self.put(pa, self.get(pa) | pte::A);
            }
            let now = self.read_pte(pa)?;
            if now == old {
                self.put(pa, new);
            }
            Some(now == old)
        }
    }

    fn open_pmp() -> PmpState {
        let mut pmp = PmpState::default();
        pmp.cfg[0] = pmpcfg::NAPOT << pmpcfg::A_SHIFT | pmpcfg::R | pmpcfg::W | pmpcfg::X;
        pmp.addr[0] = pmpcfg::ADDR;
        pmp
    }

    fn regime(pmp: &PmpState, mode: SatpMode) -> Regime<'_> {
        Regime {
            mode: Mode::Supervisor,
            satp: mode.encoding() << satp::MODE_SHIFT | ROOT >> 12,
            sum: false,
            mxr: false,
            set_ad: false,
            dry: false,
            pbmt: false,
            napot: false,
            shadow_pages: false,
            shadow: false,
            reserved: pte::RESERVED,
            exec_loads: false,
            guest: None,
            pmp: Pmp { regs: pmp, entries: 16, seccfg: 0 },
            windows: None,
        }
    }

    const ROOT: u64 = 0x8000_1000;
    const RWXAD: u64 = pte::V | pte::R | pte::W | pte::X | pte::A | pte::D;

    fn entry(pa: u64, flags: u64) -> u64 {
        pa >> 12 << pte::PPN_SHIFT | flags
    }

    /// Tables that lead `va` to the entry `leaf` at `level`; table of level n at 0x9000_0000 + n pages.
    fn map(mode: SatpMode, va: u64, level: u32, leaf: u64) -> Mem {
        let mem = Mem::default();
        let mut table = ROOT;
        for at in (level..mode.levels()).rev() {
            let slot = table + pte::index(va, at) * 8;
            table = 0x9000_0000 + u64::from(at) * 0x1000;
            mem.put(slot, if at == level { leaf } else { entry(table, pte::V) });
        }
        mem
    }

    /// Where [`map`] put the leaf.
    fn slot_of(mode: SatpMode, va: u64, level: u32) -> u64 {
        let table = if level + 1 == mode.levels() { ROOT } else { 0x9000_0000 + u64::from(level + 1) * 0x1000 };
        table + pte::index(va, level) * 8
    }

    const VA: u64 = 0x12_3456_7abc;
    const MODES: [SatpMode; 3] = [SatpMode::Sv39, SatpMode::Sv48, SatpMode::Sv57];

    #[test]
    fn bare_and_machine_mode_do_not_translate() {
        let pmp = open_pmp();
        let mem = Mem::default();
        let mut r = regime(&pmp, SatpMode::Bare);
        assert_eq!(translate(&r, &mem, u64::MAX, Access::Store).unwrap().pa, u64::MAX);
        r = regime(&pmp, SatpMode::Sv39);
        r.mode = Mode::Machine;
        let w = translate(&r, &mem, VA, Access::Fetch).unwrap();
        assert_eq!((w.pa, w.perms, w.dirty), (VA, Perms::RWX | Perms::U, true));
    }

    #[test]
    fn leaves_at_every_level_of_every_mode() {
        let pmp = open_pmp();
        for mode in MODES {
            for level in 0..mode.levels() {
                let size = pte::leaf_size(level);
                let base = 0x5_a5a5_a5a5_a000 & !(size - 1);
                let mem = map(mode, VA, level, entry(base, RWXAD));
                let w = translate(&regime(&pmp, mode), &mem, VA, Access::Load).unwrap();
                assert_eq!(w.pa, base | VA & (size - 1), "{mode:?} {level}");
                assert_eq!(1 << w.page_shift, size);
                assert_eq!(w.perms, Perms::RWX);
                // The same leaf one page further is misaligned at all levels but the last.
                let mem = map(mode, VA, level, entry(base + 0x1000, RWXAD));
                let r = translate(&regime(&pmp, mode), &mem, VA, Access::Load);
                assert_eq!(r.is_ok(), level == 0, "{mode:?} {level}");
            }
        }
    }

    #[test]
    fn addresses_have_to_be_canonical() {
        let pmp = open_pmp();
        for mode in MODES {
            let top = 1u64 << (mode.virt_bits() - 1);
            for va in [top, !top, 1 << 63] {
                let mem = map(mode, va, 0, entry(0x8000_0000, RWXAD));
                let e = translate(&regime(&pmp, mode), &mem, va, Access::Store);
                assert_eq!(e, Err(Trap::of(Exception::StorePageFault, va)), "{mode:?} {va:#x}");
            }
            for va in [top - 1, top.wrapping_neg()] {
                let mem = map(mode, va, 0, entry(0x8000_0000, RWXAD));
                assert!(translate(&regime(&pmp, mode), &mem, va, Access::Store).is_ok(), "{mode:?} {va:#x}");
            }
        }
    }

    #[test]
    fn faults_name_the_access_and_the_address() {
        let pmp = open_pmp();
        let r = regime(&pmp, SatpMode::Sv39);
        let mem = Mem::default();
        for (access, page, hole) in [(Access::Fetch, 12, 1), (Access::Load, 13, 5), (Access::Store, 15, 7)] {
            assert_eq!(translate(&r, &mem, VA, access), Err(Trap::new(page, VA)));
            let bad = Mem { holes: vec![ROOT >> 12], ..Mem::default() };
            assert_eq!(translate(&r, &bad, VA, access), Err(Trap::new(hole, VA)));
        }
    }

    #[test]
    fn permissions_by_mode_sum_and_mxr() {
        let pmp = open_pmp();
        let ad = pte::V | pte::A | pte::D;
        let ok = |flags: u64, mode: Mode, sum: bool, mxr: bool, access: Access| {
            let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, ad | flags));
            let r = Regime { mode, sum, mxr, ..regime(&pmp, SatpMode::Sv39) };
            translate(&r, &mem, VA, access).is_ok()
        };
        use Access::*;
        use Mode::*;
        // U-mode needs U.
        assert!(ok(pte::R | pte::U, User, false, false, Load));
        assert!(!ok(pte::R, User, true, false, Load));
        // S-mode and user pages: with SUM, and never to execute.
        assert!(!ok(pte::R | pte::U, Supervisor, false, false, Load));
        assert!(ok(pte::R | pte::W | pte::U, Supervisor, true, false, Store));
        assert!(!ok(pte::X | pte::U, Supervisor, true, false, Fetch));
        assert!(ok(pte::X | pte::U, User, false, false, Fetch));
        // MXR makes execute-only readable, not writable.
        assert!(!ok(pte::X, Supervisor, false, false, Load));
        assert!(ok(pte::X, Supervisor, false, true, Load));
        assert!(!ok(pte::X, Supervisor, false, true, Store));
        assert!(!ok(pte::R | pte::X, Supervisor, false, false, Store));
        // W without R is reserved.
        assert!(!ok(pte::W, Supervisor, false, false, Store));
        assert!(!ok(pte::W | pte::X, Supervisor, false, true, Fetch));
    }

    #[test]
    fn reserved_bits_fault() {
        let pmp = open_pmp();
        let r = Regime { pbmt: true, napot: true, ..regime(&pmp, SatpMode::Sv39) };
        for bit in 54..=60 {
            let leaf = entry(0x8000_0000, RWXAD) | 1 << bit;
            assert!(translate(&r, &map(SatpMode::Sv39, VA, 0, leaf), VA, Access::Load).is_err(), "leaf, bit {bit}");
        }
        let bits = [4, 6, 7].into_iter().chain(54..=63);
        for bit in bits {
            let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, RWXAD));
            let slot = slot_of(SatpMode::Sv39, VA, 1);
            mem.put(slot, mem.get(slot) | 1 << bit);
            assert!(translate(&r, &mem, VA, Access::Load).is_err(), "pointer, bit {bit}");
        }
        // RSW is software's, in leaves and pointers; G is allowed in both.
        let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, RWXAD) | pte::RSW);
        let slot = slot_of(SatpMode::Sv39, VA, 1);
        mem.put(slot, mem.get(slot) | pte::RSW | pte::G);
        assert!(translate(&r, &mem, VA, Access::Load).unwrap().global);
        // A pointer at the last level points nowhere.
        assert!(translate(&r, &map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, pte::V)), VA, Access::Load).is_err());
    }

    #[test]
    fn napot_is_64_kib_at_the_last_level() {
        let pmp = open_pmp();
        let leaf = entry(0x8012_8000, RWXAD) | pte::N;
        let on = Regime { napot: true, ..regime(&pmp, SatpMode::Sv39) };
        let w = translate(&on, &map(SatpMode::Sv39, VA, 0, leaf), VA, Access::Load).unwrap();
        assert_eq!((w.pa, w.page_shift), (0x8012_0000 | VA & 0xffff, 16));
        assert!(translate(&regime(&pmp, SatpMode::Sv39), &map(SatpMode::Sv39, VA, 0, leaf), VA, Access::Load).is_err());
        for low in (0..16).filter(|&low| low != 8) {
            let leaf = entry(0x8012_0000 | low << 12, RWXAD) | pte::N;
            assert!(translate(&on, &map(SatpMode::Sv39, VA, 0, leaf), VA, Access::Load).is_err(), "{low:#b}");
        }
        let mega = entry(0x8000_0000, RWXAD) | pte::N;
        assert!(translate(&on, &map(SatpMode::Sv39, VA, 1, mega), VA, Access::Load).is_err());
    }

    #[test]
    fn memory_types_need_pbmte() {
        let pmp = open_pmp();
        let off = regime(&pmp, SatpMode::Sv39);
        let on = Regime { pbmt: true, ..off };
        let leaf = |t: u64| map(SatpMode::Sv39, VA, 1, entry(0x8000_0000, RWXAD) | t << pte::PBMT_SHIFT);
        let types = [0, 1, 2, 3].map(|t| translate(&on, &leaf(t), VA, Access::Load).ok().map(|w| w.pbmt));
        assert_eq!(types, [Some(Pbmt::Pma), Some(Pbmt::Nc), Some(Pbmt::Io), None]);
        let types = [0, 1, 2, 3].map(|t| translate(&off, &leaf(t), VA, Access::Load).is_ok());
        assert_eq!(types, [true, false, false, false]);
    }

    #[test]
    fn clear_a_and_d_bits_fault_with_svade() {
        let pmp = open_pmp();
        let r = regime(&pmp, SatpMode::Sv39);
        let at = |flags: u64, access: Access| {
            let leaf = entry(0x8000_0000, pte::V | pte::R | pte::W | pte::X | flags);
            let mem = map(SatpMode::Sv39, VA, 0, leaf);
            let walk = translate(&r, &mem, VA, access);
            assert_eq!(mem.get(slot_of(SatpMode::Sv39, VA, 0)), leaf, "nothing may be written");
            walk.map(|w| w.dirty).ok()
        };
        assert_eq!(at(0, Access::Load), None);
        assert_eq!(at(pte::D, Access::Load), None);
        assert_eq!(at(pte::A, Access::Load), Some(false));
        assert_eq!(at(pte::A, Access::Fetch), Some(false));
        assert_eq!(at(pte::A, Access::Store), None);
        assert_eq!(at(pte::A | pte::D, Access::Store), Some(true));
        assert_eq!(at(pte::A | pte::D, Access::Load), Some(true));
    }

    #[test]
    fn a_and_d_bits_are_set_with_svadu() {
        let pmp = open_pmp();
        let r = Regime { set_ad: true, ..regime(&pmp, SatpMode::Sv39) };
        let leaf = entry(0x8000_0000, pte::V | pte::R | pte::W);
        let slot = slot_of(SatpMode::Sv39, VA, 0);
        let mem = map(SatpMode::Sv39, VA, 0, leaf);
        assert!(!translate(&r, &mem, VA, Access::Load).unwrap().dirty);
        assert_eq!(mem.get(slot), leaf | pte::A);
        assert!(translate(&r, &mem, VA, Access::Store).unwrap().dirty);
        assert_eq!(mem.get(slot), leaf | pte::A | pte::D);
        // An access that is not permitted leaves no trace.
        let mem = map(SatpMode::Sv39, VA, 0, leaf);
        assert!(translate(&r, &mem, VA, Access::Fetch).is_err());
        assert_eq!(mem.get(slot), leaf);
    }

    #[test]
    fn a_lost_race_for_the_entry_reads_it_again() {
        let pmp = open_pmp();
        let r = Regime { set_ad: true, ..regime(&pmp, SatpMode::Sv39) };
        let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, pte::V | pte::R | pte::W));
        mem.races.set(1);
        let w = translate(&r, &mem, VA, Access::Store).unwrap();
        assert!(w.dirty);
        assert_eq!(mem.get(slot_of(SatpMode::Sv39, VA, 0)) & (pte::A | pte::D), pte::A | pte::D);
        assert_eq!(mem.races.get(), 0);
    }

    #[test]
    fn page_tables_are_under_pmp() {
        // Tables readable but not writable: reads pass, setting A is an access fault of the original access.
        let mut pmp = open_pmp();
        pmp.cfg[0] &= !pmpcfg::W;
        let r = Regime { set_ad: true, ..regime(&pmp, SatpMode::Sv39) };
        let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, pte::V | pte::X));
        assert_eq!(translate(&r, &mem, VA, Access::Fetch), Err(Trap::of(Exception::InstructionAccessFault, VA)));
        let mem = map(SatpMode::Sv39, VA, 0, entry(0x8000_0000, pte::V | pte::X | pte::A));
        assert!(translate(&r, &mem, VA, Access::Fetch).is_ok());
        // Not readable.
        pmp.cfg[0] &= !pmpcfg::R;
        let r = regime(&pmp, SatpMode::Sv39);
        assert_eq!(translate(&r, &mem, VA, Access::Load), Err(Trap::of(Exception::LoadAccessFault, VA)));
    }

    #[test]
    fn mprv_lends_loads_and_stores_the_previous_mode() {
        let mut s = HartState { mode: Mode::Machine, ..HartState::default() };
        s.csr.mstatus = mstatus::MPRV | 1 << mstatus::MPP_SHIFT;
        let isa = IsaConfig::default();
        assert_eq!(Regime::data(&s, &isa).mode, Mode::Supervisor);
        assert_eq!(Regime::fetch(&s, &isa).mode, Mode::Machine);
        s.csr.mstatus &= !mstatus::MPRV;
        assert_eq!(Regime::data(&s, &isa).mode, Mode::Machine);
    }

    /// The specification's algorithm again: bit by bit, recursive, no shared constants.
    /// `Err(true)` is an access fault, `Err(false)` a page fault; `Ok` is address, size, global, final entry.
    fn reference(r: &Regime, mem: &Mem, va: u64, access: Access) -> Result<(u64, u64, bool, u64), bool> {
        let levels = match r.satp >> 60 {
            8 => 3,
            9 => 4,
            10 => 5,
            _ => return Ok((va, 4096, true, 0)),
        };
        let bits = 12 + 9 * levels;
        let sign = va >> (bits - 1) & 1;
        if (bits..64).any(|b| va >> b & 1 != sign) {
            return Err(false);
        }
        step(r, mem, va, access, (r.satp % (1 << 44)) * 4096, levels - 1, false)
    }

    fn step(
        r: &Regime,
        mem: &Mem,
        va: u64,
        access: Access,
        table: u64,
        level: u32,
        global: bool,
    ) -> Result<(u64, u64, bool, u64), bool> {
        let size = 4096 * 512u64.pow(level);
        let at = table + va / size % 512 * 8;
        let pte = mem.read_pte(at).ok_or(true)?;
        let bit = |n: u32| pte >> n & 1 == 1;
        let (v, rd, wr, ex, user, g) = (bit(0), bit(1), bit(2), bit(3), bit(4), bit(5));
        let frame = pte >> 10 & 0xfff_ffff_ffff;
        if !v || wr && !rd || (54..=60).any(bit) {
            return Err(false);
        }
        if !rd && !ex {
            let reserved = [4, 6, 7, 61, 62, 63].into_iter().any(bit);
            return if level == 0 || reserved {
                Err(false)
            } else {
                step(r, mem, va, access, frame * 4096, level - 1, global || g)
            };
        }
        let memory_type = bit(61) || bit(62);
        let bad_type = bit(61) && bit(62) || memory_type && !r.pbmt;
        let bad_napot = bit(63) && (!r.napot || level > 0 || frame % 16 != 8);
        let misaligned = frame * 4096 % size != 0;
        let right = match access {
            Access::Fetch => ex,
            Access::Load => rd || ex && r.mxr,
            Access::Store => wr,
        };
        let owner = match (r.mode, user) {
            (Mode::User, true) | (Mode::Supervisor, false) => true,
            (Mode::Supervisor, true) => r.sum && access != Access::Fetch,
            _ => false,
        };
        if bad_type || bad_napot || misaligned || !right || !owner {
            return Err(false);
        }
        let mut done = pte | 1 << 6;
        if access == Access::Store {
            done |= 1 << 7;
        }
        if done != pte && !r.set_ad {
            return Err(false);
        }
        mem.put(at, done);
        let size = if bit(63) { 65536 } else { size };
        Ok((frame * 4096 / size * size + va % size, size, global || g, done))
    }

    /// splitmix64: the same trees in every run.
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }

        fn one_in(&mut self, n: u64) -> bool {
            self.next().is_multiple_of(n)
        }

        fn pick<T: Copy>(&mut self, of: &[T]) -> T {
            of[(self.next() % of.len() as u64) as usize]
        }

        /// A page-table entry that leads on, ends, or is broken in one way.
        fn entry(&mut self) -> u64 {
            if self.one_in(2) {
                let mut e = entry(TABLES + self.next() % 6 * 0x1000, pte::V);
                if self.one_in(30) {
                    e |= 1 << (self.next() % 64);
                }
                return e;
            }
            let frame = (self.next() & 0xfff_ffff_ffff) & !(self.pick(&[0, 0, 0x1ff, 0x3_ffff, 0x7ff_ffff, 0xf]));
            let mut e = entry(frame << 12, self.next() & 0x3ff);
            if !self.one_in(10) {
                e |= pte::V;
            }
            if self.one_in(8) {
                e |= pte::N;
                if self.one_in(2) {
                    e = e & !(0xf << 10) | 8 << 10;
                }
            }
            if self.one_in(8) {
                e |= self.next() & pte::PBMT;
            }
            if self.one_in(30) {
                e |= 1 << (54 + self.next() % 7);
            }
            e
        }
    }

    const TABLES: u64 = 0x8000_1000;

    #[test]
    fn random_trees_agree_with_the_specification_read_slowly() {
        let mut rng = Rng(1);
        let pmp = open_pmp();
        let (mut walks, mut faults, mut updates) = (0, 0, 0);
        for _ in 0..400 {
            let mut mem = Mem::default();
            // Six tables that may point to each other, four entries in use in each.
            for table in 0..6 {
                for index in [0, 1, 0x100, 0x1ff] {
                    mem.put(TABLES + table * 0x1000 + index * 8, rng.entry());
                }
            }
            if rng.one_in(4) {
                mem.holes.push((TABLES >> 12) + rng.next() % 6);
            }
            let mode = rng.pick(&MODES);
            for _ in 0..60 {
                let r = Regime {
                    mode: rng.pick(&[Mode::User, Mode::Supervisor]),
                    sum: rng.one_in(2),
                    mxr: rng.one_in(2),
                    set_ad: rng.one_in(2),
                    pbmt: rng.one_in(2),
                    napot: rng.one_in(2),
                    ..regime(&pmp, mode)
                };
                let mut va = rng.next() & 0xfff;
                for level in 0..mode.levels() {
                    va |= rng.pick(&[0, 1, 0x100, 0x1ff]) << (12 + 9 * level);
                }
                let unused = 64 - mode.virt_bits();
                if !rng.one_in(20) {
                    va = ((va << unused) as i64 >> unused) as u64;
                }
                let access = rng.pick(&[Access::Fetch, Access::Load, Access::Store]);
                let other = mem.clone();
                let before = mem.words.borrow().clone();
                let expected = reference(&r, &other, va, access);
                match translate(&r, &mem, va, access) {
                    Ok(w) => {
                        let (pa, size, global, done) = expected.expect("reference faults");
                        assert_eq!((w.pa, 1 << w.page_shift, w.global), (pa, size, global), "{va:#x} {r:?}");
                        assert_eq!(w.dirty, done & pte::D != 0);
                        assert_eq!(u64::from(w.perms.bits()), done >> 1 & 0xf);
                        assert_eq!(w.pbmt as u64, done >> 61 & 3);
                        walks += 1;
                    }
                    Err(t) => {
                        let fault = if expected.expect_err("reference translates") {
                            access.access_fault(va)
                        } else {
                            access.page_fault(va)
                        };
                        assert_eq!(t, fault);
                        faults += 1;
                    }
                }
                assert_eq!(*mem.words.borrow(), *other.words.borrow(), "entries afterwards");
                updates += u32::from(before != *mem.words.borrow());
            }
        }
        assert!(walks > 500 && faults > 500 && updates > 50, "too tame: {walks} {faults} {updates}");
    }
}
