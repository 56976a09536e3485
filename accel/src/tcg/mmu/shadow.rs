//! Shadow stacks (Zicfiss): what their instructions do, in memory that only they may write.
//!
//! Their accesses are translated anew each time, since the TLB's entries tell nothing of the kind of page. Whatever goes
//! wrong with one is reported as of a store, also of SSPOPCHK, which only reads.
//!
//! Unprivileged spec, "Shadow Stack (Zicfiss)"; privileged spec, "Shadow Stack Memory Protection".

use arch::cause::Exception;
use arch::ext::SatpMode;

use super::access::read_host;
use super::walk::{self, Access, Regime};
use crate::tcg::cfi;
use crate::tcg::hart::Hart;
use crate::tcg::ir::Width;
use crate::tcg::trap::Trap;
use crate::tcg::triggers::Touch;

const ENTRY: u64 = 8;

impl Hart {
    /// SSPUSH. `ssp` moves only if the store was done.
    pub fn shadow_push(&mut self, link: u64) {
        let top = self.s.csr.ssp.wrapping_sub(ENTRY);
        match self.shadow_place(top, ENTRY, Touch::Store) {
            Ok(host) => {
                self.write_place(host, ENTRY, link);
                self.s.csr.ssp = top;
            }
            Err(t) => self.raise(t),
        }
    }

    /// SSPOPCHK. `ssp` moves only if the check passed.
    pub fn shadow_pop(&mut self, link: u64) {
        let top = self.s.csr.ssp;
        match self.shadow_place(top, ENTRY, Touch::Load) {
            Ok(host) if read_host(host, ENTRY) == link => self.s.csr.ssp = top.wrapping_add(ENTRY),
            Ok(_) => self.raise(cfi::shadow_stack_fault()),
            Err(t) => self.raise(t),
        }
    }

    /// SSAMOSWAP, if it may execute; `raw` is the instruction. Returns the old value, sign-extended.
    pub fn shadow_swap(&mut self, va: u64, v: u64, width: Width, raw: u32) -> u64 {
        if let Err(denied) = cfi::check_shadow_stack(&self.s) {
            self.raise(denied.trap(raw));
            return 0;
        }
        if va & (width.bytes() - 1) != 0 {
            if self.access_or_trap(self.mask.apply(va), width.bytes(), Touch::Update).is_none() {
                return 0;
            }
            self.raise(Access::Store.misaligned(self.mask.apply(va)));
            return 0;
        }
        match self.shadow_place(va, width.bytes(), Touch::Update) {
            Ok(host) => self.swap_at(host, width, v),
            Err(t) => {
                self.raise(t);
                0
            }
        }
    }

    /// Host address of `len` bytes at `va`, which have to be an aligned part of a shadow stack.
    fn shadow_place(&mut self, va: u64, len: u64, touch: Touch) -> Result<*mut u8, Trap> {
        let va = self.mask.apply(va);
        self.check_access(va, len, touch)?;
        let access = if touch == Touch::Load { Access::Load } else { Access::Store };
        let refused = Access::Store.access_fault(va);
        let (walk, mode) = {
            let regime = Regime { windows: Some(&self.pmp), shadow: true, ..Regime::data(&self.s, &self.vm.isa) };
            // Without page tables nothing says that memory is a shadow stack.
            if regime.satp_mode() == SatpMode::Bare || va & (len - 1) != 0 {
                return Err(refused);
            }
            let walk = walk::translate(&regime, &self.vm.ram, va, access).map_err(as_store);
            self.trace_walk(va, access, &walk);
            (walk?, regime.mode)
        };
        let verdict = self.pmp_verdict(walk.pa, len, mode);
        if !verdict.allows(Access::Load) || !verdict.allows(Access::Store) {
            return Err(refused);
        }
        // Devices are not idempotent.
        let host = self.vm.ram.host(walk.pa, len).ok_or(refused)?;
        if access == Access::Store {
            self.will_store(walk.pa);
        }
        Ok(host)
    }
}

/// The fault as that of a store.
fn as_store(t: Trap) -> Trap {
    let store = [
        (Exception::LoadAccessFault, Exception::StoreAccessFault),
        (Exception::LoadPageFault, Exception::StorePageFault),
        (Exception::LoadGuestPageFault, Exception::StoreGuestPageFault),
    ];
    let found = store.iter().find(|(load, _)| load.code() == t.cause);
    Trap { cause: found.map_or(t.cause, |(_, store)| store.code()), ..t }
}
