//! Guest memory as a debugger sees it: through the hart's own page tables, whatever their permissions, and without leaving
//! a trace in them.

use std::sync::atomic::Ordering;

use arch::ext::IsaConfig;
use vm_memory::{Bytes, GuestAddress};

use crate::tcg::mmu::pmp::Pmp;
use crate::tcg::mmu::walk::{Access, Guest, PhysMem, Regime, translate};
use crate::{GuestRam, HartState, Mode};

/// What a debugger wants of a hart ([`Vcpu::set_debug`](crate::Vcpu::set_debug)); nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DebugConfig {
    /// `run` returns [`DebugStop::Step`] behind the first instruction that it executes. Breakpoints do not stop that one, and
    /// WFI does not wait.
    pub single_step: bool,
    /// Virtual addresses, whatever the mode and address space. `run` returns [`DebugStop::Breakpoint`] before the
    /// instruction there is executed, also where the hart is at one already. Engines that have them in memory set them where
    /// these addresses are mapped now ([`Vcpu::set_debug`](crate::Vcpu::set_debug)).
    pub breakpoints: Vec<u64>,
    /// `run` returns [`DebugStop::Watchpoint`] before an access to one of these takes effect.
    pub watchpoints: Vec<Watchpoint>,
    /// Interrupts wait until this is off again.
    pub hold_interrupts: bool,
}

/// Bytes whose loads, stores or both stop a hart: what its instructions access, not what devices and page walks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchpoint {
    /// A virtual address, whatever the mode and address space.
    pub start: u64,
    /// Bytes; the range does not wrap around.
    pub len: u64,
    pub kind: WatchKind,
}

/// Which accesses of the range stop the hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchKind {
    Read,
    Write,
    /// Either.
    Access,
}

/// Why a debugger gets the hart back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DebugStop {
    Step,
    Breakpoint,
    /// With the first byte of the access that is watched, and what kind of watchpoint is there.
    Watchpoint {
        address: u64,
        kind: WatchKind,
    },
}

/// Page tables in RAM, to be read only.
pub(crate) struct Tables<'a>(pub &'a GuestRam);

impl PhysMem for Tables<'_> {
    fn read_pte(&self, pa: u64) -> Option<u64> {
        self.0.load(GuestAddress(pa), Ordering::Acquire).ok()
    }

    fn cas_pte(&self, _: u64, _: u64, _: u64) -> Option<bool> {
        None
    }
}

/// The physical address behind a virtual one of the hart's data accesses; `None` if it is not mapped. Permissions, PMP
/// and A and D bits do not count, and of a hart in U-mode the supervisor's pages are seen, too.
pub fn physical_address(state: &HartState, isa: &IsaConfig, ram: &GuestRam, va: u64) -> Option<u64> {
    let regime = Regime::data(state, isa);
    let regime = Regime {
        sum: true,
        mxr: true,
        // Clear A and D bits are no faults then, and stay clear.
        set_ad: true,
        dry: true,
        guest: regime.guest.map(|guest| Guest { mxr: true, set_ad: true, ..guest }),
        pmp: Pmp { entries: 0, seccfg: 0, ..regime.pmp },
        ..regime
    };
    let modes = [regime.mode, Mode::Supervisor];
    let tried = if regime.mode == Mode::User { &modes[..] } else { &modes[..1] };
    tried.iter().find_map(|&mode| {
        let walk = translate(&Regime { mode, ..regime }, &Tables(ram), va, Access::Load);
        walk.ok().map(|walk| walk.pa)
    })
}
