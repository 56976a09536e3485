//! The Advanced Interrupt Architecture at the hart (Smaia, Ssaia): interrupt files, priorities of major interrupts,
//! top interrupts and virtual interrupts.
//!
//! Not here: the IMSIC itself, which is a chip of the board behind [`Imsic`](crate::Imsic).
//!
//! AIA, chapters "Control and Status Registers (CSRs) Added to Harts", "Incoming MSI Controller (IMSIC)" and
//! "Interrupts for Machine and Supervisor Levels".

use arch::csr::{self, envcfg, hvictl, mip};
use arch::ext::{Ext, IsaConfig};

use super::indirect::{Indirect, Window};
use super::{CsrEffect, CsrEnv, Denied, Illegal, interrupt, merge, require};
use crate::tcg::interrupts::{self, LOCAL, World, guest_file};
use crate::{HartState, InterruptFile, Mode};

/// The interrupt file behind a window; `None` if there is no IMSIC, or VGEIN names no guest file of it.
fn file(s: &HartState, isa: &IsaConfig, window: Window) -> Option<InterruptFile> {
    let file = match window {
        Window::Machine => InterruptFile::Machine,
        Window::Supervisor => InterruptFile::Supervisor,
        Window::VirtualSupervisor => InterruptFile::Guest(guest_file(s, isa)?),
    };
    isa.imsic.then_some(file)
}

/// Why a register that VS level knows of and cannot reach may not be accessed.
fn inaccessible(s: &HartState) -> Denied {
    if s.virt { Denied::Virtual } else { Illegal }
}

/// S-mode may not touch its interrupt file while M-mode filters external interrupts (bit 9 of `mvien`).
fn filtered(s: &HartState, window: Window) -> bool {
    window == Window::Supervisor && s.mode == Mode::Supervisor && s.csr.mvien & mip::SEIP != 0
}

/// Whether a window belongs to the AIA.
fn has_window(isa: &IsaConfig, window: Window) -> bool {
    isa.has(if window == Window::Machine { Ext::Smaia } else { Ext::Ssaia })
}

// Interrupt files.

pub(super) fn file_access(s: &HartState, isa: &IsaConfig, r: Indirect) -> Result<(), Denied> {
    require(has_window(isa, r.window))?;
    // With 64 bits a register, the odd halves of the eip and eie arrays do not exist.
    let exists = r.select < 0x80 || r.select.is_multiple_of(2);
    if r.alias != 1 || !exists || file(s, isa, r.window).is_none() {
        return Err(inaccessible(s));
    }
    require(!filtered(s, r.window))
}

pub(super) fn read_file(s: &HartState, env: &dyn CsrEnv, r: Indirect) -> u64 {
    access_file(s, env, r, 0, 0)
}

pub(super) fn update_file(
    s: &mut HartState,
    env: &mut dyn CsrEnv,
    r: Indirect,
    clear: u64,
    set: u64,
) -> (u64, CsrEffect) {
    (access_file(s, env, r, clear, set), CsrEffect::INTERRUPTS)
}

fn access_file(s: &HartState, env: &dyn CsrEnv, r: Indirect, clear: u64, set: u64) -> u64 {
    match (env.imsic(), file(s, env.isa(), r.window)) {
        (Some(imsic), Some(file)) => imsic.access(s.csr.hart_id as u32, file, r.select as u8, clear, set),
        _ => 0,
    }
}

fn topei_window(n: u16) -> Window {
    match n {
        csr::MTOPEI => Window::Machine,
        csr::STOPEI => Window::Supervisor,
        _ => Window::VirtualSupervisor,
    }
}

/// `mtopei`, `stopei` and `vstopei` come with an IMSIC.
pub(super) fn topei_access(s: &HartState, isa: &IsaConfig, n: u16) -> Result<(), Denied> {
    let window = topei_window(n);
    file(s, isa, window).ok_or_else(|| inaccessible(s))?;
    require(!filtered(s, window))
}

pub(super) fn read_topei(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    top(s, env, n, false)
}

/// A write claims; what is written does not matter.
pub(super) fn update_topei(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, _: u64, _: u64) -> (u64, CsrEffect) {
    (top(s, env, n, true), CsrEffect::INTERRUPTS)
}

fn top(s: &HartState, env: &dyn CsrEnv, n: u16, claim: bool) -> u64 {
    match (env.imsic(), file(s, env.isa(), topei_window(n))) {
        (Some(imsic), Some(file)) => imsic.top(s.csr.hart_id as u32, file, claim),
        _ => 0,
    }
}

// Priorities of major interrupts.

pub(super) fn iprio_access(s: &HartState, isa: &IsaConfig, r: Indirect) -> Result<(), Denied> {
    require(has_window(isa, r.window))?;
    if r.window == Window::VirtualSupervisor {
        return Err(inaccessible(s));
    }
    // With 64 bits a register, the odd-numbered ones do not exist.
    require(r.alias == 1 && r.select.is_multiple_of(2))
}

fn iprio(s: &mut HartState, r: Indirect) -> &mut u64 {
    let array = if r.window == Window::Machine { &mut s.csr.miprio } else { &mut s.csr.siprio };
    &mut array[(r.select & 0xf) as usize / 2]
}

pub(super) fn read_iprio(s: &HartState, _: &dyn CsrEnv, r: Indirect) -> u64 {
    let array = if r.window == Window::Machine { &s.csr.miprio } else { &s.csr.siprio };
    array[(r.select & 0xf) as usize / 2]
}

pub(super) fn update_iprio(
    s: &mut HartState,
    env: &mut dyn CsrEnv,
    r: Indirect,
    clear: u64,
    set: u64,
) -> (u64, CsrEffect) {
    let writable = iprio_writable(env.isa(), r);
    let register = iprio(s, r);
    let old = *register;
    *register = (old & !clear | set) & writable;
    (old, CsrEffect::INTERRUPTS)
}

/// The bytes of an iprio register that can be set: those of interrupts that can be enabled at this level, but for
/// the external interrupt of the level itself, which has its number from the controller. Without an IMSIC nothing
/// tells the hart that number, and all priorities are the default ones.
fn iprio_writable(isa: &IsaConfig, r: Indirect) -> u64 {
    if !isa.imsic {
        return 0;
    }
    let settable = match r.window {
        Window::Machine => interrupt::enabled_bits(isa) & !(mip::MEIP | mip::HS_INTERRUPTS),
        _ => mip::SSIP | mip::STIP | interrupt::always_delegated(isa) | LOCAL,
    };
    let first = (r.select & 0xf) * 4;
    (0..8).filter(|i| settable >> (first + i) & 1 != 0).fold(0, |mask, i| mask | 0xff << (8 * i))
}

// Top interrupts.

pub(super) fn read_topi(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    let world = World::of(s, env);
    match n {
        csr::MTOPI => interrupts::mtopi(s, &world),
        csr::STOPI => interrupts::stopi(s, &world),
        _ => interrupts::vstopi(s, &world),
    }
}

// Virtual interrupts for supervisor level.

/// Every interrupt that M-mode may filter or assert.
const VIRTUAL: u64 = mip::SSIP | mip::SEIP | LOCAL;

pub(super) fn write_mvien(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.mvien = v & VIRTUAL;
    CsrEffect::INTERRUPTS
}

/// The bits of `mvip` that are aliases of what software wrote to `mip`.
fn aliases(s: &HartState) -> u64 {
    let timer = if s.csr.menvcfg & envcfg::STCE == 0 { mip::STIP } else { 0 };
    timer | mip::SEIP | mip::SSIP & !s.csr.mvien
}

pub(super) fn read_mvip(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    let aliases = aliases(s);
    s.csr.mip & aliases | s.csr.mvip & VIRTUAL & !aliases
}

pub(super) fn write_mvip(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    let aliases = aliases(s);
    s.csr.mip = merge(s.csr.mip, v, aliases);
    s.csr.mvip = merge(s.csr.mvip, v, VIRTUAL & !aliases);
    CsrEffect::INTERRUPTS
}

// Virtual interrupts for VS level.

/// Bytes of `hviprio1`: those of numbers 0, 4 and 8 are read-only zero.
pub(super) const HVIPRIO1: u64 = 0xffff_ff00_ff00_ff00;

pub(super) fn write_hvien(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.hvien = v & LOCAL;
    CsrEffect::INTERRUPTS
}

pub(super) fn write_hvictl(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    use hvictl::*;
    s.csr.hvictl = v & (VTI | IID | DPR | IPRIOM | IPRIO);
    CsrEffect::INTERRUPTS
}

pub(super) fn write_hviprio(s: &mut HartState, _: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    match n {
        csr::HVIPRIO1 => s.csr.hviprio1 = v & HVIPRIO1,
        _ => s.csr.hviprio2 = v,
    }
    CsrEffect::INTERRUPTS
}

/// While the hypervisor controls what interrupt its guest sees (`hvictl.VTI`), it emulates the registers by which the
/// guest could change that.
pub(super) fn check_control(s: &HartState, n: u16, write: bool) -> Result<(), Denied> {
    let controlled = matches!(n, csr::VSIP | csr::VSIE) || n == csr::VSTIMECMP && write;
    let guest = s.virt && s.mode == Mode::Supervisor;
    if guest && controlled && s.csr.hvictl & hvictl::VTI != 0 { Err(Denied::Virtual) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
