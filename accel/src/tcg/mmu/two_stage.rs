//! Two-stage translation: a guest virtual address becomes a guest physical one by the guest's tables (VS-stage), and
//! that a physical one by the hypervisor's (G-stage). The guest's tables stand at guest physical addresses, so that
//! reading them takes the second stage too.
//!
//! Both stages are [`Stage`]; what is here is how they are put together, and how their faults are told apart.
//!
//! Privileged spec, "Two-Stage Address Translation", "Guest-Page Faults".

use arch::csr::hgatp;
use arch::ext::SatpMode;
use arch::pte::{self, Pbmt};

use super::walk::{Access, Fault, Guest, Perms, PhysMem, Physical, Regime, Stage, Tables, Walk};
use crate::Mode;
use crate::tcg::trap::Trap;

/// Pseudoinstructions of `htinst` and `mtinst` for implicit accesses to the guest's tables.
const READ_ENTRY: u64 = 0x3000;
const WRITE_ENTRY: u64 = 0x3020;

/// Translates `va` by both stages; as [`super::walk::translate`].
pub(super) fn translate<M: PhysMem + ?Sized>(
    r: &Regime,
    guest: &Guest,
    mem: &M,
    va: u64,
    access: Access,
) -> Result<Walk, Trap> {
    let physical = Physical { r, mem };
    let tables = GuestTables { implicit: Stage { mxr: false, exec_loads: false, ..second(r, guest) }, physical };
    let first = r.stage().walk(&tables, va, access).map_err(|fault| match fault {
        GuestFault::Own(Fault::Page) => access.page_fault(va),
        GuestFault::Own(Fault::Access) => access.access_fault(va),
        GuestFault::Table { gpa, tinst } => Trap { tinst, ..access.guest_page_fault(va, gpa) },
    })?;
    let stage = second(r, guest);
    let last = stage.walk(&tables.physical, first.pa, access).map_err(|fault| match fault {
        Fault::Page => access.guest_page_fault(va, first.pa),
        Fault::Access => access.access_fault(va),
    })?;
    Ok(Walk {
        pa: last.pa,
        page_shift: first.page_shift,
        global: first.global,
        perms: first.perms & (last.perms | Perms::U),
        dirty: first.dirty && last.dirty,
        pbmt: if first.pbmt == Pbmt::Pma { last.pbmt } else { first.pbmt },
    })
}

/// The second stage. All its accesses are user-level.
fn second(r: &Regime, guest: &Guest) -> Stage {
    Stage {
        // `hgatp` never holds a mode that is not supported.
        scheme: SatpMode::from_encoding(guest.hgatp >> hgatp::MODE_SHIFT).unwrap_or(SatpMode::Bare),
        widened: true,
        root: (guest.hgatp & hgatp::PPN & !hgatp::ROOT_ALIGN) << pte::PAGE_SHIFT,
        mode: Mode::User,
        sum: false,
        mxr: guest.mxr,
        set_ad: guest.set_ad,
        pbmt: guest.pbmt,
        napot: r.napot,
        reserved: r.reserved,
        exec_loads: r.exec_loads,
    }
}

/// The guest's tables, reached through the second stage. Its permissions are those of a load or a store, whatever
/// the access is that needs them, and MXR is for explicit loads only.
struct GuestTables<'a, M: ?Sized> {
    implicit: Stage,
    physical: Physical<'a, M>,
}

/// Faults of the first stage.
enum GuestFault {
    Own(Fault),
    /// The second stage failed for an entry at this guest physical address.
    Table {
        gpa: u64,
        tinst: u64,
    },
}

impl From<Fault> for GuestFault {
    fn from(fault: Fault) -> Self {
        Self::Own(fault)
    }
}

impl<M: PhysMem + ?Sized> GuestTables<'_, M> {
    /// Where the entry at `gpa` really is.
    fn place(&self, gpa: u64, access: Access, tinst: u64) -> Result<u64, GuestFault> {
        let walk = self.implicit.walk(&self.physical, gpa, access).map_err(|fault| match fault {
            Fault::Page => GuestFault::Table { gpa, tinst },
            Fault::Access => GuestFault::Own(Fault::Access),
        })?;
        Ok(walk.pa)
    }
}

impl<M: PhysMem + ?Sized> Tables for GuestTables<'_, M> {
    type Fault = GuestFault;

    fn read(&self, slot: u64) -> Result<u64, GuestFault> {
        let pa = self.place(slot, Access::Load, READ_ENTRY)?;
        Ok(self.physical.read(pa)?)
    }

    fn swap(&self, slot: u64, old: u64, new: u64) -> Result<bool, GuestFault> {
        let pa = self.place(slot, Access::Store, WRITE_ENTRY)?;
        Ok(self.physical.swap(pa, old, new)?)
    }
}
