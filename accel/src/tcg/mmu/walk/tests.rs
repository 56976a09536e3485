//! Tests of single-stage translation, from the specification's text.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;
use crate::PmpState;
use crate::testing::Rng;
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

impl Rng {
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
    let mut rng = Rng::new(1);
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
