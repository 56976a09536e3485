//! What the hart's state means for translated code: which TLB context answers for its addresses, and what of it is
//! derived for blocks and for the slow paths of accesses.
//!
//! All of it follows from the privilege mode, a few bits of the status registers, and much that hardly ever changes
//! (`satp`, environment configurations, PMP, counter enables). Traps and their returns change the former only, and do so
//! all the time: what was derived is remembered by it (see [`Selections`]) until anything of the latter changes.

use arch::csr::mstatus;

use super::cfi::{self, flags};
use super::csr;
use super::hart::Hart;
use super::mmu::pointer_mask::PointerMask;
use super::mmu::tlb::{ContextKey, Tables};
use super::mmu::walk::{self, Regime, Single};
use super::triggers::{self, Armed};
use super::{ctr, trap};
use crate::Mode;

/// What [`Hart::select_context`] found for one combination of modes.
#[derive(Debug, Clone, Copy)]
struct Selection {
    tables: *mut Tables,
    context: usize,
    mask: PointerMask,
    cfi: u8,
    by_call: u8,
    /// How loads and stores are translated, and fetches, where one stage does it.
    data: Option<Single>,
    fetch: Option<Single>,
}

/// No combination of modes.
const NONE: u64 = u64::MAX;

/// Places for what was found; a kernel and its programs need three to five.
const PLACES: usize = 8;

/// The selections since something changed that they do not name. Whoever changes such a thing (every CSR instruction
/// that is a call and writes, every change of the state from outside, whatever the counters' limits follow) forgets them.
#[derive(Debug)]
pub struct Selections {
    by: [u64; PLACES],
    places: [Selection; PLACES],
    next: usize,
    /// The place of what is selected; [`PLACES`]: none.
    current: usize,
    /// Whether the modes do not decide alone, if that is known; see [`Hart::modes`].
    undecided: Option<bool>,
}

impl Default for Selections {
    fn default() -> Self {
        let none = Selection {
            tables: std::ptr::null_mut(),
            context: 0,
            mask: PointerMask::default(),
            cfi: 0,
            by_call: 0,
            data: None,
            fetch: None,
        };
        Self { by: [NONE; PLACES], places: [none; PLACES], next: 0, current: PLACES, undecided: None }
    }
}

impl Selections {
    pub fn forget(&mut self) {
        self.by = [NONE; PLACES];
        (self.next, self.current, self.undecided) = (0, PLACES, None);
    }

    /// Whether what was found by `by` is what is selected.
    #[inline]
    fn is(&self, by: u64) -> bool {
        by != NONE && self.by.get(self.current) == Some(&by)
    }

    #[inline]
    fn find(&mut self, by: u64) -> Option<&Selection> {
        self.current = self.by.iter().position(|&place| place == by)?;
        Some(&self.places[self.current])
    }

    fn add(&mut self, by: u64, selection: Selection) {
        (self.by[self.next], self.places[self.next]) = (by, selection);
        self.current = self.next;
        self.next = (self.next + 1) % PLACES;
    }

    /// How loads and stores are translated, if it is known.
    #[inline]
    pub fn data(&self) -> Option<&Single> {
        self.places.get(self.current)?.data.as_ref()
    }

    /// How fetches are translated, if it is known.
    #[inline]
    pub fn fetch(&self) -> Option<&Single> {
        self.places.get(self.current)?.fetch.as_ref()
    }
}

impl Hart {
    /// What the current translation context depends on.
    pub fn context_key(&self) -> ContextKey {
        let m = self.s.csr.mstatus;
        let data = walk::data_mode(&self.s);
        // In M-mode fetches are not translated, so that loads and stores alone decide whose addresses these are.
        let virt = trap::data_virt(&self.s);
        let (satp, status) = self.translation_registers(virt);
        let paging = if self.s.mode.min(data) == Mode::Machine { 0 } else { (satp >> 60) as u8 };
        let translated = paging != 0;
        ContextKey {
            counting: self.counting.armed,
            masked: self.mask.bits(),
            recording: ctr::recording(&self.s),
            cfi: self.cfi,
            mode: self.s.mode as u8,
            data_mode: data as u8,
            sum: translated && data == Mode::Supervisor && status & mstatus::SUM != 0,
            mxr: translated && data != Mode::Machine && status & mstatus::MXR != 0,
            host_mxr: virt && m & mstatus::MXR != 0,
            paging,
            satp: if translated && (self.s.mode == Mode::User || data == Mode::User) { satp } else { 0 },
            virt,
            hgatp: if virt { self.s.csr.hgatp } else { 0 },
        }
    }

    /// `satp` and `sstatus`, or a guest's `vsatp` and `vsstatus`.
    fn translation_registers(&self, virt: bool) -> (u64, u64) {
        let c = &self.s.csr;
        if virt { (c.vsatp, c.vsstatus) } else { (c.satp, c.mstatus) }
    }

    /// Makes the TLB context, and what is derived for blocks, fit the state: after traps, xRET and writes to mstatus or
    /// satp.
    #[inline]
    pub fn select_context(&mut self) {
        let by = self.modes();
        self.unwatched = by != NONE;
        if self.selections.is(by) {
            return;
        }
        if by != NONE
            && let Some(found) = self.selections.find(by)
        {
            (self.mask, self.cfi, self.by_call, self.tables) = (found.mask, found.cfi, found.by_call, found.tables);
            self.tlb.switch(found.context);
            return;
        }
        self.derive_context(by);
    }

    #[cold]
    fn derive_context(&mut self, by: u64) {
        self.selections.current = PLACES;
        self.mask = PointerMask::of(&self.s);
        self.cfi = self.cfi_flags();
        self.armed = Armed::of(&self.s);
        self.code_watched = self.armed.watches_any_code() || self.stops.are_set();
        self.shut_gates();
        let key = self.context_key();
        let recycled = self.tlb.recycled;
        self.tables = self.tlb.select(key, self.translation_registers(key.virt).0);
        if self.tlb.recycled != recycled {
            self.selections.forget();
        }
        if by != NONE {
            let (tables, context) = (self.tables, self.tlb.current());
            let (mask, cfi, by_call) = (self.mask, self.cfi, self.by_call);
            let data = Single::of(&Regime::data(&self.s, &self.vm.isa));
            let fetch = Single::of(&Regime::fetch(&self.s, &self.vm.isa));
            self.selections.add(by, Selection { tables, context, mask, cfi, by_call, data, fetch });
        }
    }

    /// The modes that select a context while nothing else changes; [`NONE`] where more than they decide. `armed` is not
    /// among what they select, since it is then that of a hart without triggers.
    #[inline]
    fn modes(&mut self) -> u64 {
        const STATUS: u64 = mstatus::SUM | mstatus::MXR | mstatus::MPRV;
        let (s, counting, stops) = (&self.s, &self.counting, &self.stops);
        let undecided = self.selections.undecided.get_or_insert_with(|| {
            self.tlb.keeps_none()
                || !ctr::is_off(s)
                || triggers::are_set(s)
                || stops.are_set()
                || counting.follows_mode()
        });
        let c = &self.s.csr;
        if *undecided || c.nmi_masked {
            return NONE;
        }
        let modified = if c.mstatus & mstatus::MPRV != 0 { mstatus::MPP | mstatus::MPV } else { 0 };
        let guest = (c.vsstatus & (mstatus::SUM | mstatus::MXR)) << 32;
        c.mstatus & (STATUS | modified) | guest | self.s.mode as u64 | u64::from(self.s.virt) << 2
    }

    /// Brings `by_call` up to date: after changes of the mode, of who may read counters, and of what they count.
    pub fn shut_gates(&mut self) {
        self.by_call = csr::gates_shut(&self.s, &self.vm.isa) | self.uncounted();
    }

    fn cfi_flags(&self) -> u8 {
        let s = &self.s;
        let flag = |on, flag| if on { flag } else { 0 };
        flag(cfi::landing_pads(s), flags::LANDING_PADS)
            | flag(cfi::shadow_stack(s), flags::SHADOW_STACK)
            | flag(cfi::shadow_pages(s, trap::data_virt(s)), flags::SHADOW_PAGES)
    }
}
