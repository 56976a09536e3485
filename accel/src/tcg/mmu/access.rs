//! The slow path of memory accesses: translation, TLB refill, devices, misaligned and page-crossing accesses.
//!
//! Every function takes the trap itself and returns `None` when the access faults: the caller only has to
//! leave the block.
//!
//! RAM is read by acquire loads and written by release stores: program order but for a store before a load, which is
//! total store ordering (Ztso). Generated code for x86-64 has that from the host.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use arch::cause::Exception;

use super::pmp::{Pmp, Verdict};
use super::tlb::{self, Range};
use super::walk::{self, Access, Regime, Walk};
use crate::Mode;
use crate::tcg::counters::Miss;
use crate::tcg::hart::Hart;
use crate::tcg::mmu::tlb::TLB_ENTRIES;
use crate::tcg::smp::POLL_WATCH;
use crate::tcg::trap::{self, Trap};
use crate::tcg::triggers::Touch;

/// Where a virtual address leads.
pub(super) enum Place {
    Ram(*mut u8),
    Device(u64),
}

impl Hart {
    /// Translates `va` for loads and stores with the effective privilege.
    fn translate(&self, va: u64, access: Access) -> Result<Walk, Trap> {
        if let Some(single) = self.selections.data() {
            let pmp = (Pmp::of(&self.s, &self.vm.isa), &self.pmp);
            return single.translate(pmp, &self.vm.ram, va, access);
        }
        let regime = Regime { windows: Some(&self.pmp), ..Regime::data(&self.s, &self.vm.isa) };
        walk::translate(&regime, &self.vm.ram, va, access)
    }

    /// What PMP says of `len` bytes at `pa`.
    pub fn pmp_verdict(&self, pa: u64, len: u64, mode: Mode) -> Verdict {
        self.pmp.verdict(Pmp::of(&self.s, &self.vm.isa), pa, len, mode)
    }

    /// A store to RAM at `pa` is about to be made, by whatever means: leaves the marks that others look for. `true` if
    /// the bus watches the page: then the next store has to come here, too.
    pub fn will_store(&self, pa: u64) -> bool {
        self.vm.ram.mark_writable(pa);
        let watched = self.vm.ram.is_watched(pa);
        if watched {
            // However the store is done: it has been by the next poll.
            self.shared().notify(POLL_WATCH);
        }
        watched
    }

    /// Refills the TLB for the usual access: one stage translates it, to RAM where PMP has no boundary, and nobody looks on.
    /// `None`: it is not known to be one.
    #[inline(never)]
    fn refill(&mut self, va: u64, len: u64, access: Access) -> Option<*mut u8> {
        let single = self.selections.data()?;
        // What the log shows takes the longer way.
        if va & 0xfff > 4096 - len || !self.unwatched || single.mode() == Mode::Machine || self.tracing.walks {
            return None;
        }
        let (ram, allowed) = self.pmp.ram();
        let w = single.look(&ram, self.mask.apply(va), access)?;
        let host = ram.at(w.pa & !0xfff, 4096)?.wrapping_add((w.pa & 0xfff) as usize);
        if !allowed.contains(access.needs()) {
            return None;
        }
        let store = access == Access::Store;
        if store && (self.will_store(w.pa) || self.vm.ram.reservations.monitors(host)) {
            return None;
        }
        self.count_miss(if store { Miss::Store } else { Miss::Load });
        self.tlb.fill(va, (host as u64).wrapping_sub(va), store, w.global, w.page_shift);
        Some(host)
    }

    /// Translates `va` (all `len` bytes in one page) and refills the TLB where the page allows it.
    fn place(&mut self, va: u64, len: u64, access: Access) -> Result<Place, Trap> {
        self.count_miss(if access == Access::Store { Miss::Store } else { Miss::Load });
        let tagged = va;
        let va = self.mask.apply(tagged);
        let w = self.translate(va, access);
        self.trace_walk(va, access, &w);
        let w = w?;
        let mode = walk::data_mode(&self.s);
        let store = access == Access::Store;
        let page = w.pa & !0xfff;
        let whole = if self.pmp_verdict(page, 4096, mode).allows(access) { self.vm.ram.host(page, 4096) } else { None };
        let host = match whole {
            Some(start) => start.wrapping_add((w.pa & 0xfff) as usize),
            None if !self.pmp_verdict(w.pa, len, mode).allows(access) => return Err(access.access_fault(va)),
            None => match self.vm.ram.host(w.pa, len) {
                Some(host) => host,
                None => return Ok(Place::Device(w.pa)),
            },
        };
        let watched = store && self.will_store(w.pa);
        let monitored = store && self.vm.ram.reservations.monitors(host);
        // Whoever looks on at loads only: a page that may be stored to without a look may be loaded from, too (`strides`).
        let observed = !self.unwatched && self.watches_data(va);
        if whole.is_some() && !watched && !monitored && !observed {
            let addend = (host as u64).wrapping_sub(tagged);
            self.tlb.fill(tagged, addend, store, w.global, w.page_shift);
        }
        Ok(Place::Ram(host))
    }

    /// The addresses around `va` that may be loaded from without a look at each of their pages: a larger page, or all of
    /// RAM without translation. `va` was loaded from before.
    pub fn mapped_alike(&self, va: u64) -> Option<Range> {
        let plain = self.mask.apply(va);
        // Of two stages the size of the second is not known.
        if trap::data_virt(&self.s) || self.armed.watches_any_data() || self.stops.watches_any_data() {
            return None;
        }
        let w = self.translate(plain, Access::Load).ok()?;
        let pa = match self.context_key().paging {
            0 => self.vm.ram.region_around(w.pa)?,
            _ if w.page_shift > 12 => {
                let size = 1u64 << w.page_shift;
                (w.pa & !(size - 1), size)
            }
            _ => return None,
        };
        let (start, size) = pa;
        let host = self.vm.ram.host(start, size)? as u64;
        let allowed = self.pmp_verdict(start, size, walk::data_mode(&self.s)).allows(Access::Load);
        let base = va.wrapping_sub(w.pa - start);
        allowed.then_some(Range { base, size, addend: host.wrapping_sub(base) })
    }

    /// Host address for `len` bytes at `va`, if they are RAM in one page and the TLB has them.
    pub fn probe(&self, va: u64, len: u64, store: bool) -> Option<*mut u8> {
        // SAFETY: `tables` are the current context's arrays, alive as long as the hart.
        let t = unsafe { &*self.tables };
        let e = if store { &t.write } else { &t.read }[tlb::tlb_index(va) & (TLB_ENTRIES - 1)];
        (e.tag == va.wrapping_add(len - 1) & !0xfff).then(|| va.wrapping_add(e.addend) as *mut u8)
    }

    /// Loads `len` bytes, zero-extended.
    #[inline]
    pub fn load(&mut self, va: u64, len: u64) -> Option<u64> {
        if let Some(host) = self.probe(va, len, false) {
            return Some(read_host(host, len));
        }
        self.stats.slow_accesses += 1;
        if let Some(host) = self.refill(va, len, Access::Load) {
            return Some(read_host(host, len));
        }
        match self.load_slow(va, len) {
            Ok(v) => Some(v),
            Err(t) => {
                self.raise(t);
                None
            }
        }
    }

    /// As [`Hart::load`], but leaves a trap to the caller.
    pub fn try_load(&mut self, va: u64, len: u64) -> Result<u64, Trap> {
        match self.probe(va, len, false) {
            Some(host) => Ok(read_host(host, len)),
            None => self.load_slow(va, len),
        }
    }

    /// As [`Hart::store`], but leaves a trap to the caller.
    pub fn try_store(&mut self, va: u64, len: u64, v: u64) -> Result<(), Trap> {
        match self.probe(va, len, true) {
            Some(host) => {
                write_host(host, len, v);
                Ok(())
            }
            None => self.store_slow(va, len, v),
        }
    }

    fn load_slow(&mut self, va: u64, len: u64) -> Result<u64, Trap> {
        self.check_access(self.mask.apply(va), len, Touch::Load)?;
        if va & 0xfff > 4096 - len {
            // Both pages are translated before anything is read; each byte then stands on its own.
            let (first, low, high) = self.crossing(va, len, Access::Load)?;
            return Ok(bytes_of(low, first) | bytes_of(high, len - first) << (8 * first));
        }
        match self.place(va, len, Access::Load)? {
            Place::Ram(host) => Ok(read_host(host, len)),
            Place::Device(_) if va & (len - 1) != 0 => Err(Access::Load.misaligned(self.mask.apply(va))),
            Place::Device(pa) => {
                self.stats.mmio += 1;
                self.tell_time();
                let mut data = [0; 8];
                match self.vm.bus.read(pa, &mut data[..len as usize]) {
                    Ok(()) => Ok(u64::from_le_bytes(data)),
                    Err(_) => Err(Access::Load.access_fault(self.mask.apply(va))),
                }
            }
        }
    }

    /// Stores the low `len` bytes of `v`; `None` if a trap was taken.
    #[inline]
    pub fn store(&mut self, va: u64, len: u64, v: u64) -> Option<()> {
        if let Some(host) = self.probe(va, len, true) {
            write_host(host, len, v);
            return Some(());
        }
        self.stats.slow_accesses += 1;
        if let Some(host) = self.refill(va, len, Access::Store) {
            self.write_place(host, len, v);
            return Some(());
        }
        match self.store_slow(va, len, v) {
            Ok(()) => Some(()),
            Err(t) => {
                self.raise(t);
                None
            }
        }
    }

    /// Writes the low `len` bytes of `v` to a place in RAM, all in one page, that was translated without the TLB.
    pub(super) fn write_place(&self, host: *mut u8, len: u64, v: u64) {
        let mut there = self.vm.ram.reservations.at(host);
        there.stored(self.id, len);
        write_host(host, len, v);
    }

    fn store_slow(&mut self, va: u64, len: u64, v: u64) -> Result<(), Trap> {
        self.check_access(self.mask.apply(va), len, Touch::Store)?;
        if va & 0xfff > 4096 - len {
            let (first, low, high) = self.crossing(va, len, Access::Store)?;
            for i in 0..len {
                let at = if i < first { low.wrapping_add(i as usize) } else { high.wrapping_add((i - first) as usize) };
                self.write_place(at, 1, v >> (8 * i));
            }
            return Ok(());
        }
        match self.place(va, len, Access::Store)? {
            Place::Ram(host) => {
                self.write_place(host, len, v);
                if let Some(gpa) = self.vm.ram.watched(host) {
                    self.vm.bus.stored(gpa, len);
                }
            }
            Place::Device(_) if va & (len - 1) != 0 => return Err(Access::Store.misaligned(self.mask.apply(va))),
            Place::Device(pa) => {
                self.stats.mmio += 1;
                self.tell_time();
                let data = v.to_le_bytes();
                self.vm
                    .bus
                    .write(pa, &data[..len as usize])
                    .map_err(|_| Access::Store.access_fault(self.mask.apply(va)))?;
            }
        }
        Ok(())
    }

    /// Where the two parts of an access that crosses a page are: how many bytes stand in the first page, and both host
    /// addresses. Nothing changes, A and D bits included, unless both parts may be accessed.
    fn crossing(&mut self, va: u64, len: u64, access: Access) -> Result<(u64, *mut u8, *mut u8), Trap> {
        let first = 4096 - (va & 0xfff);
        let parts = [(va, first), (va.wrapping_add(first), len - first)];
        for (part, len) in parts {
            let behind = part.wrapping_sub(va) as u8;
            if !self.is_ram(part, len, access).map_err(|t| Trap { offset: behind, ..t })? {
                // Only RAM can be met by parts. The exception is that of the whole access.
                return Err(access.misaligned(self.mask.apply(va)));
            }
        }
        let mut host = parts.map(|_| std::ptr::null_mut());
        for (host, (part, len)) in host.iter_mut().zip(parts) {
            *host = match self.probe(part, len, access == Access::Store) {
                Some(host) => host,
                None => match self.place(part, len, access)? {
                    Place::Ram(host) => host,
                    // Another hart mapped it elsewhere since it was looked at.
                    Place::Device(_) => return Err(access.misaligned(self.mask.apply(va))),
                },
            };
        }
        Ok((first, host[0], host[1]))
    }

    /// Whether the access may be done and is to RAM; `len` bytes in one page. Changes nothing.
    fn is_ram(&self, va: u64, len: u64, access: Access) -> Result<bool, Trap> {
        if self.probe(va, len, access == Access::Store).is_some() {
            return Ok(true);
        }
        let va = self.mask.apply(va);
        let regime = Regime { windows: Some(&self.pmp), dry: true, ..Regime::data(&self.s, &self.vm.isa) };
        let pa = walk::translate(&regime, &self.vm.ram, va, access)?.pa;
        if !self.pmp_verdict(pa, len, walk::data_mode(&self.s)).allows(access) {
            return Err(access.access_fault(va));
        }
        Ok(self.vm.ram.host(pa, len).is_some())
    }

    /// Host address of an aligned word for LR (`store` false) and SC; `None` if a trap was taken.
    pub fn atomic_place(&mut self, va: u64, len: u64, store: bool) -> Option<*mut u8> {
        let access = if store { Access::Store } else { Access::Load };
        self.access_or_trap(self.mask.apply(va), len, if store { Touch::Store } else { Touch::Load })?;
        if va & (len - 1) != 0 {
            self.raise(access.misaligned(self.mask.apply(va)));
            return None;
        }
        self.atomic_ram(va, len, access)
    }

    /// Host address of `len` bytes in one page for an atomic access; `None` if a trap was taken.
    /// Atomics on devices are access faults: the I/O regions of this board do not support them.
    pub(super) fn atomic_ram(&mut self, va: u64, len: u64, access: Access) -> Option<*mut u8> {
        if let Some(host) = self.probe(va, len, access == Access::Store) {
            return Some(host);
        }
        match self.place(va, len, access) {
            Ok(Place::Ram(host)) => Some(host),
            Ok(Place::Device(_)) => {
                self.raise(access.access_fault(self.mask.apply(va)));
                None
            }
            Err(t) => {
                self.raise(t);
                None
            }
        }
    }

    /// Zeroes the naturally aligned block of `len` bytes around `va`; `None` if a trap was taken.
    pub fn zero_block(&mut self, va: u64, len: u64) -> Option<()> {
        let start = va & !(len - 1);
        let host = match self.probe(start, len, true) {
            Some(host) => host,
            None => match self.place(start, len, Access::Store) {
                Ok(Place::Ram(host)) => host,
                Ok(Place::Device(_)) => {
                    self.raise(Access::Store.access_fault(self.mask.apply(va)));
                    return None;
                }
                Err(t) => {
                    // The address that was named, and the guest physical one that belongs to it. That of a table is
                    // another, which comes with a pseudoinstruction.
                    let named = t.cause == Exception::StoreGuestPageFault.code() && t.tinst == 0;
                    let tval2 = t.tval2 + if named { (va - start) >> 2 } else { 0 };
                    self.raise(Trap { tval: self.mask.apply(va), tval2, ..t });
                    return None;
                }
            },
        };
        let mut there = self.vm.ram.reservations.at(host);
        there.stored(self.id, len);
        for i in (0..len).step_by(8) {
            // SAFETY: `place` answered for the whole block, which does not leave its page.
            write_host(unsafe { host.add(i as usize) }, 8, 0);
        }
        Some(())
    }

    /// Checks that a store to `va` is permitted.
    pub fn store_check(&mut self, va: u64) -> Option<()> {
        let place = self.place(va, 1, Access::Store);
        self.or_trap(place).map(|_| ())
    }

    /// Checks a cache-block operation, which is permitted where a load or a store is, and faults as a store.
    pub fn cbo_check(&mut self, va: u64) -> Option<()> {
        let place = match self.place(va, 1, Access::Load) {
            Ok(place) => place,
            Err(_) => {
                let place = self.place(va, 1, Access::Store);
                self.or_trap(place)?
            }
        };
        if let Place::Device(pa) = place
            && !self.vm.bus.answers(pa)
        {
            self.raise(Access::Store.access_fault(self.mask.apply(va)));
            return None;
        }
        Some(())
    }

    fn or_trap(&mut self, place: Result<Place, Trap>) -> Option<Place> {
        place.map_err(|trap| self.raise(trap)).ok()
    }
}

/// Reads `len` (1, 2, 4, 8) bytes, in one access where they are aligned or, as Zama16b asks, in one block of 16.
pub(super) fn read_host(host: *mut u8, len: u64) -> u64 {
    if !(host as u64).is_multiple_of(len) {
        // One load instruction each, which x86-64 (and AArch64 with LSE2) performs at once inside 16 bytes.
        // SAFETY: the caller translated `len` bytes at `host`; guest RAM is only ever reached by raw pointers.
        return unsafe {
            match len {
                2 => u64::from(u16::from_le(host.cast::<u16>().read_unaligned())),
                4 => u64::from(u32::from_le(host.cast::<u32>().read_unaligned())),
                _ => u64::from_le(host.cast::<u64>().read_unaligned()),
            }
        };
    }
    // SAFETY: aligned, inside guest RAM (translated by the caller).
    unsafe {
        match len {
            1 => u64::from((*host.cast::<AtomicU8>()).load(Ordering::Acquire)),
            2 => u64::from((*host.cast::<AtomicU16>()).load(Ordering::Acquire)),
            4 => u64::from((*host.cast::<AtomicU32>()).load(Ordering::Acquire)),
            _ => (*host.cast::<AtomicU64>()).load(Ordering::Acquire),
        }
    }
}

/// Reads `len` bytes one by one.
fn bytes_of(host: *mut u8, len: u64) -> u64 {
    (0..len).fold(0, |v, i| v | read_host(host.wrapping_add(i as usize), 1) << (8 * i))
}

/// Writes the low `len` bytes of `v`, in one access as [`read_host`] reads.
pub(super) fn write_host(host: *mut u8, len: u64, v: u64) {
    if !(host as u64).is_multiple_of(len) {
        // SAFETY: the caller translated `len` bytes at `host`; guest RAM is only ever reached by raw pointers.
        return unsafe {
            match len {
                2 => host.cast::<u16>().write_unaligned((v as u16).to_le()),
                4 => host.cast::<u32>().write_unaligned((v as u32).to_le()),
                _ => host.cast::<u64>().write_unaligned(v.to_le()),
            }
        };
    }
    // SAFETY: aligned, inside guest RAM (translated by the caller).
    unsafe {
        match len {
            1 => (*host.cast::<AtomicU8>()).store(v as u8, Ordering::Release),
            2 => (*host.cast::<AtomicU16>()).store(v as u16, Ordering::Release),
            4 => (*host.cast::<AtomicU32>()).store(v as u32, Ordering::Release),
            _ => (*host.cast::<AtomicU64>()).store(v, Ordering::Release),
        }
    }
}
