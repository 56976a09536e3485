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
    let tables = GuestTables {
        implicit: Stage { mxr: false, exec_loads: false, read_write: false, ..second(r, guest) },
        physical,
    };
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
        shadow_pages: false,
        shadow: false,
        read_write: r.shadow,
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::super::walk::translate;
    use super::*;
    use crate::{HartState, PmpState};
    use arch::csr::{envcfg, hstatus, mstatus};
    use arch::ext::IsaConfig;
    use arch::pte::{A, D, G, R, U, V, W, X};

    #[derive(Default)]
    struct Mem(RefCell<BTreeMap<u64, u64>>);

    impl Mem {
        fn put(&self, pa: u64, v: u64) {
            self.0.borrow_mut().insert(pa, v);
        }
        fn get(&self, pa: u64) -> u64 {
            self.0.borrow().get(&pa).copied().unwrap_or(0)
        }
    }

    impl PhysMem for Mem {
        fn read_pte(&self, pa: u64) -> Option<u64> {
            Some(self.get(pa))
        }
        fn cas_pte(&self, pa: u64, old: u64, new: u64) -> Option<bool> {
            let same = self.get(pa) == old;
            if same {
                self.put(pa, new);
            }
            Some(same)
        }
    }

    /// Root tables of both stages, and the other tables behind them.
    const G_ROOT: u64 = 0x8000_4000;
    const VS_ROOT: u64 = 0x10_0000;
    /// Guest physical pages are mapped this much higher.
    const SHIFT: u64 = 0x9000_0000;
    const VA: u64 = 0x12_3456_7abc;
    const GPA: u64 = 0x20_0000;
    const LEAF: u64 = V | R | W | X | A | D;
    /// A level of table takes one page from here on, by the address it is for.
    const G_TABLES: u64 = 0x8800_0000;

    struct World {
        mem: Mem,
        s: HartState,
    }

    fn shape(mode: u64) -> u32 {
        mode as u32 - 5
    }

    impl World {
        /// A VS-mode hart with vsatp and hgatp in these modes; VA leads to GPA, and every table and page is mapped.
        fn new(vs: u64, g: u64) -> Self {
            let mut s = HartState { mode: Mode::Supervisor, virt: true, ..HartState::default() };
            (s.csr.vsatp, s.csr.hgatp) = (vs << 60 | VS_ROOT >> 12, g << 60 | G_ROOT >> 12);
            s.csr.pmp = PmpState::default();
            (s.csr.pmp.cfg[0], s.csr.pmp.addr[0]) = (0x1f, u64::MAX >> 10);
            let mut w = Self { mem: Mem::default(), s };
            let mut table = VS_ROOT;
            for level in (0..shape(vs)).rev() {
                w.map(table, LEAF | U);
                let next = VS_ROOT + 0x1000 * u64::from(level + 1);
                let entry = if level == 0 { GPA >> 2 | LEAF } else { next >> 2 | V };
                w.put_guest(table + 8 * pte::index(VA, level), entry);
                table = next;
            }
            w.map(GPA, LEAF | U);
            w
        }

        /// Where the entry of the second stage for `gpa` is, its tables made.
        fn g_slot(&self, gpa: u64) -> u64 {
            let levels = shape(self.s.csr.hgatp >> 60);
            let top = 12 + 9 * (levels - 1);
            let mut slot = G_ROOT + 8 * (gpa >> top);
            for level in (0..levels - 1).rev() {
                let next = G_TABLES + u64::from(level) * 0x100_0000 + (gpa >> (21 + 9 * level) << 12) % 0x100_0000;
                self.mem.put(slot, next >> 2 | V);
                slot = next + 8 * pte::index(gpa, level);
            }
            slot
        }

        fn map(&mut self, gpa: u64, flags: u64) {
            let slot = self.g_slot(gpa);
            self.mem.put(slot, (gpa & !0xfff).wrapping_add(SHIFT) >> 2 | flags);
        }

        fn put_guest(&self, gpa: u64, v: u64) {
            self.mem.put(gpa + SHIFT, v);
        }

        /// The guest's leaf entry for VA.
        fn vs_leaf(&self) -> u64 {
            let levels = shape(self.s.csr.vsatp >> 60);
            VS_ROOT + if levels == 1 { 0 } else { 0x2000 } + 8 * pte::index(VA, 0)
        }

        fn go(&self, access: Access) -> Result<Walk, Trap> {
            let isa = IsaConfig { pmp_entries: 16, ..IsaConfig::default() };
            let r = if self.s.virt { Regime::fetch(&self.s, &isa) } else { Regime::hypervisor(&self.s, &isa) };
            translate(&r, &self.mem, VA, access)
        }
    }

    const ACCESSES: [(Access, u64, u64); 3] =
        [(Access::Fetch, 12, 20), (Access::Load, 13, 21), (Access::Store, 15, 23)];

    fn fault(result: Result<Walk, Trap>) -> (u64, u64, u64, u64) {
        let t = result.expect_err("a fault");
        (t.cause, t.tval, t.tval2, t.tinst)
    }

    #[test]
    fn both_stages_in_every_mode() {
        for vs in 8..=10 {
            for g in 8..=10 {
                let w = World::new(vs, g);
                for (access, ..) in ACCESSES {
                    let walk = w.go(access).unwrap();
                    assert_eq!(walk.pa, GPA + SHIFT + (VA & 0xfff), "{vs} {g}");
                    assert_eq!((walk.page_shift, walk.dirty, walk.global), (12, true, false));
                }
            }
        }
    }

    #[test]
    fn the_second_stage_names_the_guest_physical_address() {
        for (access, _, cause) in ACCESSES {
            for entry in [0, LEAF, V | A | D | U, LEAF & !A | U] {
                let w = World::new(8, 9);
                w.mem.put(w.g_slot(GPA), GPA.wrapping_add(SHIFT) >> 2 | entry);
                assert_eq!(fault(w.go(access)), (cause, VA, (GPA | VA & 0xfff) >> 2, 0), "{access:?} {entry:#x}");
            }
        }
    }

    #[test]
    fn the_first_stage_faults_as_ever() {
        for (access, cause, _) in ACCESSES {
            for entry in [0, LEAF | U, V | A | D] {
                let w = World::new(10, 8);
                w.put_guest(w.vs_leaf(), GPA >> 2 | entry);
                // For a table that is not there, or a page of the user's, or one without permissions.
                let pointer_at_the_end = entry == V | A | D;
                assert!(!pointer_at_the_end || w.go(access).is_err());
                assert_eq!(fault(w.go(access)), (cause, VA, 0, 0), "{access:?} {entry:#x}");
            }
        }
    }

    #[test]
    fn a_table_that_the_second_stage_does_not_map() {
        for (access, _, cause) in ACCESSES {
            for flags in [0, LEAF, V | X | A | D | U] {
                let mut w = World::new(8, 8);
                // MXR lets explicit loads alone read what may only be executed.
                w.s.csr.mstatus |= mstatus::MXR;
                w.map(VS_ROOT + 0x2000, flags);
                let gpa = w.vs_leaf();
                assert_eq!(fault(w.go(access)), (cause, VA, gpa >> 2, 0x3000), "{access:?} {flags:#x}");
            }
        }
    }

    #[test]
    fn accessed_and_dirty_bits_in_both_stages() {
        let mut w = World::new(8, 8);
        w.put_guest(w.vs_leaf(), GPA >> 2 | LEAF & !(A | D));
        assert_eq!(w.go(Access::Load).unwrap_err().cause, 13, "neither may set them");
        w.s.csr.menvcfg = envcfg::ADUE;
        assert_eq!(w.go(Access::Load).unwrap_err().cause, 13, "the guest's are the hypervisor's to give");
        w.s.csr.henvcfg = envcfg::ADUE;
        w.s.csr.menvcfg = 0;
        assert_eq!(w.go(Access::Load).unwrap_err().cause, 13, "and M-mode's before");
        w.s.csr.menvcfg = envcfg::ADUE;
        // The entry's page cannot be written: the write of the entry faults, as the access that needs it.
        for (access, _, cause) in ACCESSES {
            w.map(VS_ROOT + 0x2000, V | R | A | D | U);
            let gpa = w.vs_leaf();
            assert_eq!(fault(w.go(access)), (cause, VA, gpa >> 2, 0x3020), "{access:?}");
        }
        w.map(VS_ROOT + 0x2000, V | R | W | A | U);
        w.map(GPA, V | R | W | X | U);
        assert!(!w.go(Access::Load).unwrap().dirty);
        assert_eq!(w.mem.get(w.vs_leaf() + SHIFT) & (A | D), A);
        assert_eq!(w.mem.get(w.g_slot(VS_ROOT + 0x2000)) & D, D, "writing the entry made its page dirty");
        assert_eq!(w.mem.get(w.g_slot(GPA)) & (A | D), A);
        assert!(w.go(Access::Store).unwrap().dirty);
        assert_eq!(w.mem.get(w.g_slot(GPA)) & (A | D), A | D);
    }

    #[test]
    fn mxr_of_each_level() {
        for (vs_flags, g_flags, vs_mxr, hs_mxr, ok) in [
            (V | X | A, LEAF | U, false, false, false),
            (V | X | A, LEAF | U, true, false, true),
            (V | X | A, LEAF | U, false, true, true),
            (LEAF, V | X | A | U, true, false, false),
            (LEAF, V | X | A | U, false, true, true),
            (V | X | A, V | X | A | U, true, true, true),
        ] {
            let mut w = World::new(8, 8);
            w.put_guest(w.vs_leaf(), GPA >> 2 | vs_flags);
            w.map(GPA, g_flags);
            w.s.csr.vsstatus |= if vs_mxr { mstatus::MXR } else { 0 };
            w.s.csr.mstatus |= if hs_mxr { mstatus::MXR } else { 0 };
            assert_eq!(w.go(Access::Load).is_ok(), ok, "{vs_flags:#x} {g_flags:#x} {vs_mxr} {hs_mxr}");
        }
    }

    #[test]
    fn sum_is_the_guests_and_spvp_chooses_the_mode() {
        let mut w = World::new(8, 8);
        w.put_guest(w.vs_leaf(), GPA >> 2 | LEAF | U);
        w.s.csr.mstatus |= mstatus::SUM;
        assert!(w.go(Access::Load).is_err());
        w.s.csr.vsstatus |= mstatus::SUM;
        assert!(w.go(Access::Load).is_ok());
        // As HLV from HS-mode.
        w.s.virt = false;
        w.s.csr.vsstatus = 0;
        assert!(w.go(Access::Load).is_ok(), "as VU-mode");
        w.s.csr.hstatus |= hstatus::SPVP;
        assert!(w.go(Access::Load).is_err(), "as VS-mode");
    }

    #[test]
    fn a_stage_that_is_bare() {
        let mut w = World::new(8, 8);
        w.s.csr.vsatp = 0;
        // VA is a guest physical address now, in range but not mapped.
        assert_eq!(fault(w.go(Access::Load)), (21, VA, VA >> 2, 0));
        w.s.csr.hgatp = 0;
        assert_eq!(w.go(Access::Load).unwrap().pa, VA);
    }

    #[test]
    fn guest_physical_addresses_are_two_bits_wider_and_zero_extended() {
        for (mode, bits) in [(8, 41), (9, 50), (10, 59)] {
            let mut w = World::new(8, mode);
            w.s.csr.vsatp = 0;
            let isa = IsaConfig::default();
            let last = (1u64 << bits) - 0x1000;
            let slot = w.g_slot(last);
            w.mem.put(slot, 0x8000_0000 >> 2 | LEAF | U);
            let r = Regime::fetch(&w.s, &isa);
            assert_eq!(translate(&r, &w.mem, last | 8, Access::Load).unwrap().pa, 0x8000_0008, "{mode}");
            for gpa in [1 << bits | last, 1 << 63 | last, 1 << bits] {
                let t = translate(&r, &w.mem, gpa, Access::Load).unwrap_err();
                assert_eq!((t.cause, t.tval, t.tval2), (21, gpa, gpa >> 2), "{mode}");
            }
        }
    }

    #[test]
    fn global_is_the_first_stages_and_execute_replaces_read_for_hlvx() {
        let w = World::new(8, 8);
        w.mem.put(w.g_slot(GPA), GPA.wrapping_add(SHIFT) >> 2 | LEAF | U | G);
        assert!(!w.go(Access::Load).unwrap().global);
        w.put_guest(w.vs_leaf(), GPA >> 2 | LEAF | G);
        assert!(w.go(Access::Load).unwrap().global);
        let isa = IsaConfig::default();
        for (vs, g, ok) in
            [(V | X | A, V | X | A | U, true), (V | R | A, LEAF | U, false), (LEAF, V | R | A | U, false)]
        {
            w.put_guest(w.vs_leaf(), GPA >> 2 | vs);
            w.mem.put(w.g_slot(GPA), GPA.wrapping_add(SHIFT) >> 2 | g);
            let r = Regime { exec_loads: true, ..Regime::fetch(&w.s, &isa) };
            let result = translate(&r, &w.mem, VA, Access::Load);
            assert_eq!(result.is_ok(), ok, "{vs:#x} {g:#x}");
            assert!(result.is_ok() || matches!(fault(result).0, 13 | 21), "faults are those of loads");
        }
    }
}
