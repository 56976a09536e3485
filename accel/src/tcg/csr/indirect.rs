//! Indirect registers: what `mireg`, `sireg` and `vsireg` (and with Smcsrind and Sscsrind their siblings 2 to 6) show
//! of the number in `miselect`, `siselect` and `vsiselect`.
//!
//! One row of [`ROWS`] stands for a range of select numbers in some windows. Numbers without a row are reserved and
//! raise an illegal-instruction exception.
//!
//! AIA, "Control and Status Registers (CSRs) Added to Harts"; privileged spec, "Smcsrind/Sscsrind Indirect CSR
//! Access".

use arch::csr;
use arch::ext::{Ext, IsaConfig};

use super::{CsrEffect, CsrEnv, Denied, Illegal, aia, ctr, delegation, stateen};
use crate::{HartState, Mode};

/// Whose registers a window shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    Machine,
    Supervisor,
    /// `vsiselect`, also where VS-mode reaches it as `siselect`.
    VirtualSupervisor,
}

/// An indirect register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Indirect {
    pub window: Window,
    /// Which alias shows it: 1 for `*ireg`, 2 for `*ireg2`, up to 6.
    pub alias: u8,
    /// The number in `*iselect`.
    pub select: u64,
}

/// Clears the bits of the first mask, sets those of the second, returns the old value.
pub(super) type Update = fn(&mut HartState, &mut dyn CsrEnv, Indirect, u64, u64) -> (u64, CsrEffect);

/// A range of indirect registers.
pub(super) struct Row {
    pub first: u64,
    pub last: u64,
    /// Whether it exists and may be accessed now. An alias or a window that the range does not have is refused here.
    pub access: fn(&HartState, &IsaConfig, Indirect) -> Result<(), Denied>,
    pub read: fn(&HartState, &dyn CsrEnv, Indirect) -> u64,
    pub update: Update,
}

/// Ranges do not overlap.
static ROWS: &[Row] = &[
    // Priorities of major interrupts.
    Row { first: 0x30, last: 0x3f, access: aia::iprio_access, read: aia::read_iprio, update: aia::update_iprio },
    // Delegated counters.
    Row { first: 0x40, last: 0x5f, access: delegation::access, read: delegation::read, update: delegation::update },
    // Control-transfer records.
    Row { first: 0x200, last: 0x2ff, access: ctr::access, read: ctr::read, update: ctr::update },
    // Interrupt files of the IMSIC.
    Row { first: 0x70, last: 0xff, access: aia::file_access, read: aia::read_file, update: aia::update_file },
];

fn row(select: u64) -> Option<&'static Row> {
    ROWS.iter().find(|row| (row.first..=row.last).contains(&select))
}

/// What alias CSR `n` shows now.
fn register(s: &HartState, n: u16) -> Indirect {
    // Numbers 1 to 3 and 5 to 7 in the low digit; 4 is something else.
    let digit = (n & 7) as u8;
    let alias = if digit > 3 { digit - 1 } else { digit };
    let (window, select) = match n & !7 {
        csr::MISELECT => (Window::Machine, s.csr.miselect),
        csr::SISELECT => (Window::Supervisor, s.csr.siselect),
        _ => (Window::VirtualSupervisor, s.csr.vsiselect),
    };
    Indirect { window, alias, select }
}

/// The value that a write leaves in `*iselect`: 9 bits (AIA), or 12 with indirect CSR access.
pub(super) fn select(isa: &IsaConfig, v: u64) -> u64 {
    let wide = isa.has(Ext::Smcsrind) || isa.has(Ext::Sscsrind);
    v & if wide { 0xfff } else { 0x1ff }
}

/// Whether alias CSR `n` may be accessed now.
pub(super) fn access(s: &HartState, isa: &IsaConfig, n: u16) -> Result<(), Denied> {
    let register = register(s, n);
    let row = row(register.select).ok_or(Illegal)?;
    if register.window != Window::Machine {
        stateen::check_indirect(s, isa, register.select)?;
    }
    (row.access)(s, isa, register)
}

/// Whether CSR `n` shows indirect registers of supervisor level or VS level.
pub(super) fn is_window(n: u16) -> bool {
    matches!(n, csr::SIREG..=csr::SIREG6 | csr::VSIREG..=csr::VSIREG6)
}

/// Why a guest may not access such a CSR where it is illegal to it. What HS-mode's own window shows does not matter:
/// a guest is kept from `vsireg`, and VU-mode from `sireg`, by a virtual-instruction exception, and so is VS-mode where
/// the hypervisor's state enable closes the windows, unless M-mode's closes them for all lower modes; a register that is not there is illegal for the guest as for anybody.
pub(super) fn denied_to_guest(s: &HartState, isa: &IsaConfig, n: u16) -> Denied {
    let direct = csr::lowest_privilege(n) == csr::lowest_privilege(csr::VSIREG);
    let exists = csr::by_number(n).is_some_and(|csr| csr.available(isa));
    let allowed = !isa.has(Ext::Smstateen) || s.csr.mstateen[0] & csr::stateen0::CSRIND != 0;
    let by_hypervisor = stateen::check(s, isa, n).is_err();
    if exists && allowed && (direct || s.mode == Mode::User || by_hypervisor) { Denied::Virtual } else { Illegal }
}

/// Only after [`access`] agreed.
pub(super) fn read(s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
    let register = register(s, n);
    row(register.select).map_or(0, |row| (row.read)(s, env, register))
}

/// Only after [`access`] agreed.
pub(super) fn update(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, clear: u64, set: u64) -> (u64, CsrEffect) {
    let register = register(s, n);
    row(register.select).map_or((0, CsrEffect::empty()), |row| (row.update)(s, env, register, clear, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        for (i, a) in ROWS.iter().enumerate() {
            assert!(a.first <= a.last);
            assert!(ROWS[i + 1..].iter().all(|b| a.last < b.first || b.last < a.first), "{:#x}", a.first);
        }
    }

    #[test]
    fn aliases_are_counted_past_the_gap() {
        let s = HartState {
            csr: crate::CsrState { miselect: 7, vsiselect: 9, ..Default::default() },
            ..Default::default()
        };
        let of = |n| register(&s, n);
        let machine = [csr::MIREG, csr::MIREG2, csr::MIREG3, csr::MIREG4, csr::MIREG5, csr::MIREG6];
        for (alias, n) in (1..).zip(machine) {
            assert_eq!(of(n), Indirect { window: Window::Machine, alias, select: 7 });
        }
        assert_eq!(of(csr::SIREG), Indirect { window: Window::Supervisor, alias: 1, select: 0 });
        assert_eq!(of(csr::VSIREG6), Indirect { window: Window::VirtualSupervisor, alias: 6, select: 9 });
    }
}
