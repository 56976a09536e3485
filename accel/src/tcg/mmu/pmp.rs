//! Physical memory protection: which bytes a mode may touch, and how.
//!
//! Functions of the registers as they stand; callers cache the answers per page and forget them after a CSR write
//! that reports [`CsrEffect::PMP`](crate::tcg::csr::CsrEffect::PMP). The grain is four bytes (G = 0).
//! Not here: the rules for writing the registers (`csr/pmp.rs`).
//!
//! Privileged spec, "Physical Memory Protection", "Smepmp".

use std::cell::Cell;

use arch::csr::{mseccfg, pmpcfg};
use arch::ext::IsaConfig;

use super::walk::{Access, Perms};
use crate::{HartState, Mode, PmpState};

/// All that PMP depends on.
#[derive(Debug, Clone, Copy)]
pub struct Pmp<'a> {
    pub regs: &'a PmpState,
    /// Implemented entries, the first ones.
    pub entries: u8,
    /// `mseccfg`: MML and MMWP.
    pub seccfg: u64,
}

impl<'a> Pmp<'a> {
    pub fn of(s: &'a HartState, isa: &IsaConfig) -> Self {
        Self { regs: &s.csr.pmp, entries: isa.pmp_entries, seccfg: s.csr.mseccfg }
    }

    fn locked_down(self) -> bool {
        self.seccfg & mseccfg::MML != 0
    }

    fn ranges(self) -> impl Iterator<Item = Range> {
        (0..usize::from(self.entries).min(self.regs.cfg.len())).filter_map(move |i| range(self.regs, i))
    }

    /// What is allowed where no entry matches.
    fn background(self, mode: Mode) -> Perms {
        match mode {
            Mode::Machine if self.seccfg & mseccfg::MMWP != 0 => Perms::empty(),
            Mode::Machine if self.locked_down() => Perms::R | Perms::W,
            Mode::Machine => Perms::RWX,
            // S and U have nothing by default, but without any entry there is nothing to protect.
            _ if self.entries == 0 => Perms::RWX,
            _ => Perms::empty(),
        }
    }
}

/// An entry that can match: the bytes `lo .. hi`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    lo: u64,
    hi: u64,
    perms: Perms,
    locked: bool,
}

impl Range {
    /// What the entry grants an access of `mode` that it matches.
    fn grants(&self, mode: Mode, locked_down: bool) -> Perms {
        let machine = mode == Mode::Machine;
        match locked_down {
            false if machine && !self.locked => Perms::RWX,
            false => self.perms,
            true => self.grants_locked_down(machine),
        }
    }

    /// The same while `mseccfg.MML` is set: an entry is for M-mode (L) or for the others, or shared.
    fn grants_locked_down(&self, machine: bool) -> Perms {
        let (r, w, x) = (Perms::R, Perms::W, Perms::X);
        let for_one = if machine == self.locked { self.perms } else { Perms::empty() };
        if self.locked && self.perms == Perms::RWX {
            // Data that both may read.
            return r;
        }
        if self.perms.contains(w) && !self.perms.contains(r) {
            let more = self.perms.contains(x);
            return match (self.locked, machine) {
                // Shared data: X says whether the others may write, too.
                (false, true) => r | w,
                (false, false) => {
                    if more {
                        r | w
                    } else {
                        r
                    }
                }
                // Shared code: X says whether M-mode may read, too.
                (true, true) => {
                    if more {
                        r | x
                    } else {
                        x
                    }
                }
                (true, false) => x,
            };
        }
        for_one
    }
}

/// What PMP says of a whole region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every access inside the region is allowed exactly as these say.
    Uniform(Perms),
    /// An entry begins or ends inside: each access has to be checked by itself.
    SubPage,
}

impl Verdict {
    /// Whether an access to the whole region is allowed. Over [`Verdict::SubPage`] none is: the first entry that
    /// matches a byte does not match them all.
    pub fn allows(self, access: Access) -> bool {
        match self {
            Verdict::Uniform(perms) => perms.contains(access.needs()),
            Verdict::SubPage => false,
        }
    }
}

/// Whether `mode` may access the `len` bytes from `pa`; `len` is not zero.
pub fn check(s: &HartState, isa: &IsaConfig, pa: u64, len: u64, access: Access, mode: Mode) -> bool {
    verdict(Pmp::of(s, isa), pa, len, mode).allows(access)
}

/// The verdict on the 4 KiB page that holds `pa`, for accesses that stay inside it.
pub fn page_verdict(s: &HartState, isa: &IsaConfig, pa: u64, mode: Mode) -> Verdict {
    verdict(Pmp::of(s, isa), pa & !0xfff, 0x1000, mode)
}

/// The verdict on the `len` bytes from `pa`; `len` is not zero.
pub fn verdict(pmp: Pmp, pa: u64, len: u64, mode: Mode) -> Verdict {
    let last = pa.saturating_add(len - 1);
    match pmp.ranges().find(|r| r.lo <= last && pa < r.hi) {
        Some(r) if r.lo <= pa && last < r.hi => Verdict::Uniform(r.grants(mode, pmp.locked_down())),
        Some(_) => Verdict::SubPage,
        None => Verdict::Uniform(pmp.background(mode)),
    }
}

/// A range that no entry begins or ends in, and what may be done there: firmware programs many entries, and
/// nearly every access falls between the same two boundaries.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    lo: u64,
    /// Exclusive.
    hi: u64,
    perms: Option<Perms>,
}

/// RAM that S-mode may read, where it stands in the host.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Physical address of the first byte.
    pub start: u64,
    /// In bytes.
    pub len: u64,
    pub host: *mut u8,
}

impl Span {
    /// The host address of `len` bytes at `pa`, if they are in it; `len` is not zero.
    #[inline(always)]
    pub fn at(&self, pa: u64, len: u64) -> Option<*mut u8> {
        let offset = pa.wrapping_sub(self.start);
        // Of an empty span nothing fits.
        (offset < self.len && self.len - offset >= len).then(|| self.host.wrapping_add(offset as usize))
    }
}

impl Default for Span {
    fn default() -> Self {
        Self { start: 0, len: 0, host: std::ptr::null_mut() }
    }
}

/// The windows used last, for M-mode and for the others. Void when a PMP register changes.
#[derive(Debug, Default)]
pub struct Windows {
    machine: Cell<Window>,
    other: Cell<Window>,
    /// Where page tables stand that were read last, and what S-mode and U-mode may do there.
    tables: Cell<Span>,
    allowed: Cell<Perms>,
}

impl Windows {
    /// [`verdict`], remembered.
    #[inline]
    pub fn verdict(&self, pmp: Pmp, pa: u64, len: u64, mode: Mode) -> Verdict {
        let w = self.of(mode).get();
        match w.perms {
            Some(perms) if w.lo <= pa && pa.saturating_add(len) <= w.hi => Verdict::Uniform(perms),
            _ => self.look(pmp, pa, len, mode),
        }
    }

    /// All that is remembered of RAM that S-mode may read, and what S-mode and U-mode may do there.
    #[inline]
    pub fn ram(&self) -> (Span, Perms) {
        (self.tables.get(), self.allowed.get())
    }

    /// Remembers what of `ram`, which is RAM as a whole, S-mode may read in the window used last, if `pa` is in both.
    pub fn remember_tables(&self, ram: Span, pa: u64) {
        let w = self.other.get();
        let (start, end) = (w.lo.max(ram.start), w.hi.min(ram.start + ram.len));
        let perms = w.perms.unwrap_or(Perms::empty());
        if perms.contains(Perms::R) && start <= pa && pa < end {
            self.allowed.set(perms);
            let host = ram.host.wrapping_add((start - ram.start) as usize);
            self.tables.set(Span { start, len: end - start, host });
        }
    }

    fn of(&self, mode: Mode) -> &Cell<Window> {
        if mode == Mode::Machine { &self.machine } else { &self.other }
    }

    #[cold]
    fn look(&self, pmp: Pmp, pa: u64, len: u64, mode: Mode) -> Verdict {
        let v = verdict(pmp, pa, len, mode);
        if let Verdict::Uniform(perms) = v {
            let (mut lo, mut hi) = (0, u64::MAX);
            for r in pmp.ranges() {
                for edge in [r.lo, r.hi] {
                    if edge <= pa { lo = edge.max(lo) } else { hi = edge.min(hi) }
                }
            }
            self.of(mode).set(Window { lo, hi, perms: Some(perms) });
        }
        v
    }

    pub fn clear(&self) {
        self.machine.take();
        self.other.take();
        self.tables.take();
    }
}

/// Field A of an entry.
pub fn matching(cfg: u8) -> u8 {
    (cfg & pmpcfg::A) >> pmpcfg::A_SHIFT
}

/// The bytes that entry `i` matches; `None` if it is off or empty.
fn range(regs: &PmpState, i: usize) -> Option<Range> {
    let cfg = regs.cfg[i];
    let addr = regs.addr[i] & pmpcfg::ADDR;
    let (lo, hi) = match matching(cfg) {
        pmpcfg::TOR => (if i == 0 { 0 } else { (regs.addr[i - 1] & pmpcfg::ADDR) << 2 }, addr << 2),
        pmpcfg::NA4 => (addr << 2, (addr << 2) + 4),
        pmpcfg::NAPOT => {
            // The lowest zero bit marks the size: yyy0 is 8 bytes, yy01 is 16 ...
            let ones = addr.trailing_ones();
            let size = 8 << ones;
            let lo = (addr << 2) & !(size - 1);
            (lo, lo + size)
        }
        _ => return None,
    };
    let perms = Perms::from_bits_truncate(cfg & (pmpcfg::R | pmpcfg::W | pmpcfg::X));
    (lo < hi).then_some(Range { lo, hi, perms, locked: cfg & pmpcfg::L != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn a_window_says_what_the_entries_say() {
        let mut rng = Rng::new(1);
        let mut random = |n| rng.below(n);
        for _ in 0..300 {
            let mut regs = PmpState::default();
            for i in 0..4 {
                regs.cfg[i] = random(256) as u8;
                regs.addr[i] = random(64);
            }
            let windows = Windows::default();
            let pmp = Pmp { regs: &regs, entries: 4, seccfg: random(4) };
            for _ in 0..200 {
                let (pa, len) = (random(300), 1 << random(4));
                let mode = if random(2) == 0 { Mode::Machine } else { Mode::Supervisor };
                assert_eq!(windows.verdict(pmp, pa, len, mode), verdict(pmp, pa, len, mode), "{pa:#x} {regs:?}");
            }
        }
    }

    use pmpcfg::{L, R, W, X};

    const TOR: u8 = pmpcfg::TOR << pmpcfg::A_SHIFT;
    const NA4: u8 = pmpcfg::NA4 << pmpcfg::A_SHIFT;
    const NAPOT: u8 = pmpcfg::NAPOT << pmpcfg::A_SHIFT;

    /// A hart with these entries (configuration, `pmpaddr`) first.
    fn hart(entries: &[(u8, u64)]) -> HartState {
        let mut s = HartState::default();
        for (i, &(cfg, addr)) in entries.iter().enumerate() {
            s.csr.pmp.cfg[i] = cfg;
            s.csr.pmp.addr[i] = addr;
        }
        s
    }

    fn isa(pmp_entries: u8) -> IsaConfig {
        IsaConfig { pmp_entries, ..IsaConfig::default() }
    }

    fn allowed(s: &HartState, pa: u64, len: u64, access: Access, mode: Mode) -> bool {
        check(s, &isa(16), pa, len, access, mode)
    }

    #[test]
    fn without_a_match_only_machine_mode_passes() {
        let s = hart(&[]);
        assert!(allowed(&s, 0x8000_0000, 8, Access::Store, Mode::Machine));
        assert!(!allowed(&s, 0x8000_0000, 8, Access::Load, Mode::Supervisor));
        assert!(!allowed(&s, 0x8000_0000, 8, Access::Load, Mode::User));
    }

    #[test]
    fn without_entries_all_pass() {
        assert!(check(&hart(&[]), &isa(0), 0x1000, 4, Access::Fetch, Mode::User));
        assert_eq!(page_verdict(&hart(&[]), &isa(0), 0x1000, Mode::User), Verdict::Uniform(Perms::RWX));
    }

    #[test]
    fn entries_that_are_not_implemented_do_not_count() {
        let s = hart(&[(NAPOT | R, u64::MAX >> 10), (NAPOT | R | W, u64::MAX >> 10)]);
        assert!(check(&s, &isa(1), 0, 8, Access::Load, Mode::User));
        assert!(!check(&s, &isa(1), 0, 8, Access::Store, Mode::User));
    }

    #[test]
    fn all_ones_napot_is_everything() {
        let s = hart(&[(NAPOT | R | W | X, (1 << 54) - 1)]);
        for pa in [0, 0x8000_0000, (1 << 56) - 8] {
            assert!(allowed(&s, pa, 8, Access::Store, Mode::User));
        }
        assert_eq!(page_verdict(&s, &isa(16), 0x8000_0123, Mode::User), Verdict::Uniform(Perms::RWX));
    }

    #[test]
    fn napot_sizes_follow_the_trailing_ones() {
        // yyy0: eight bytes; 011: 32 bytes.
        let s = hart(&[(NAPOT | R, 0x1000 >> 2), (NAPOT | R, 0x2000 >> 2 | 0b11)]);
        assert!(allowed(&s, 0x1000, 8, Access::Load, Mode::User));
        assert!(!allowed(&s, 0x1008, 1, Access::Load, Mode::User));
        assert!(!allowed(&s, 0x1001, 8, Access::Load, Mode::User), "the last byte is outside");
        assert!(allowed(&s, 0x2018, 8, Access::Load, Mode::User));
        assert!(!allowed(&s, 0x2020, 1, Access::Load, Mode::User));
    }

    #[test]
    fn tor_reaches_from_the_address_before() {
        // Entry 0 is off: only its address counts, as the bottom of entry 1.
        let s = hart(&[(0, 0x1000 >> 2), (TOR | R | W, 0x3000 >> 2)]);
        assert!(!allowed(&s, 0xffc, 4, Access::Load, Mode::User));
        assert!(allowed(&s, 0x1000, 4, Access::Load, Mode::User));
        assert!(allowed(&s, 0x2ff8, 8, Access::Store, Mode::User));
        assert!(!allowed(&s, 0x3000, 1, Access::Load, Mode::User));
        // The bottom of entry 0 is zero.
        let s = hart(&[(TOR | R, 0x1000 >> 2)]);
        assert!(allowed(&s, 0, 8, Access::Load, Mode::User));
        // A top not above the bottom matches nothing.
        let s = hart(&[(0, 0x3000 >> 2), (TOR | R, 0x1000 >> 2)]);
        assert!(!allowed(&s, 0x2000, 1, Access::Load, Mode::User));
    }

    #[test]
    fn the_first_match_decides_and_has_to_match_all_bytes() {
        // The specification's example: bytes 0xc to 0xf, an access to 0x8 to 0xf.
        let s = hart(&[(NA4 | R | W | X, 0xc >> 2), (NAPOT | R | W | X, (1 << 54) - 1)]);
        assert!(!allowed(&s, 0x8, 8, Access::Load, Mode::User));
        assert!(allowed(&s, 0x8, 4, Access::Load, Mode::User));
        assert!(allowed(&s, 0xc, 4, Access::Load, Mode::User));
        // It fails in M-mode too, locked or not.
        assert!(!allowed(&s, 0x8, 8, Access::Load, Mode::Machine));
        assert_eq!(page_verdict(&s, &isa(16), 0, Mode::Machine), Verdict::SubPage);
        // A stronger entry without permissions hides a weaker one.
        let s = hart(&[(NAPOT, 0x1fff >> 2), (NAPOT | R | W | X, (1 << 54) - 1)]);
        assert!(!allowed(&s, 0x1000, 4, Access::Load, Mode::Supervisor));
        assert!(allowed(&s, 0x1000, 4, Access::Load, Mode::Machine));
    }

    #[test]
    fn a_lock_binds_machine_mode() {
        let s = hart(&[(L | NAPOT | R, 0x1fff >> 2)]);
        assert!(allowed(&s, 0x1000, 4, Access::Load, Mode::Machine));
        assert!(!allowed(&s, 0x1000, 4, Access::Store, Mode::Machine));
        assert!(allowed(&s, 0x4000, 4, Access::Store, Mode::Machine));
        assert_eq!(page_verdict(&s, &isa(16), 0x1000, Mode::Machine), Verdict::Uniform(Perms::R));
    }

    /// The specification's table for MML: entry, what M-mode may, what the others may.
    const LOCKED_DOWN: [(&str, &str, &str); 16] = [
        ("", "", ""),
        ("x", "", "x"),
        ("w", "rw", "r"),
        ("wx", "rw", "rw"),
        ("r", "", "r"),
        ("rx", "", "rx"),
        ("rw", "", "rw"),
        ("rwx", "", "rwx"),
        ("l", "", ""),
        ("lx", "x", ""),
        ("lw", "x", "x"),
        ("lwx", "rx", "x"),
        ("lr", "r", ""),
        ("lrx", "rx", ""),
        ("lrw", "rw", ""),
        ("lrwx", "r", "r"),
    ];

    #[test]
    fn lockdown_follows_the_table() {
        let bits = |text: &str| {
            text.chars().fold(0, |all, c| {
                all | match c {
                    'l' => L,
                    'r' => R,
                    'w' => W,
                    _ => X,
                }
            })
        };
        for (entry, machine, other) in LOCKED_DOWN {
            let mut s = hart(&[(NAPOT | bits(entry), 0x1fff >> 2)]);
            s.csr.mseccfg = mseccfg::MML;
            for (mode, may) in [(Mode::Machine, machine), (Mode::Supervisor, other), (Mode::User, other)] {
                let perms = Perms::from_bits_truncate(bits(may));
                assert_eq!(page_verdict(&s, &isa(16), 0x1000, mode), Verdict::Uniform(perms), "{entry} {mode:?}");
            }
        }
    }

    #[test]
    fn without_a_match_the_policy_decides_for_machine_mode() {
        let mut s = hart(&[]);
        for (seccfg, perms) in [
            (0, Perms::RWX),
            (mseccfg::RLB, Perms::RWX),
            (mseccfg::MML, Perms::R | Perms::W),
            (mseccfg::MMWP, Perms::empty()),
            (mseccfg::MML | mseccfg::MMWP, Perms::empty()),
        ] {
            s.csr.mseccfg = seccfg;
            assert_eq!(page_verdict(&s, &isa(16), 0x1000, Mode::Machine), Verdict::Uniform(perms), "{seccfg}");
            assert_eq!(page_verdict(&s, &isa(16), 0x1000, Mode::User), Verdict::Uniform(Perms::empty()));
        }
    }

    #[test]
    fn hostile_register_values_do_not_overflow() {
        let s = hart(&[(NAPOT | R, u64::MAX), (TOR | R, u64::MAX), (NA4 | R, u64::MAX)]);
        assert!(allowed(&s, u64::MAX >> 8, 1, Access::Load, Mode::User));
        assert!(!allowed(&s, u64::MAX, 8, Access::Load, Mode::User));
    }

    /// Whether entry `i` matches the byte at `pa`, straight from the table of the specification.
    fn matches(s: &HartState, i: usize, pa: u64) -> bool {
        let word = pa >> 2;
        let addr = s.csr.pmp.addr[i];
        match s.csr.pmp.cfg[i] >> 3 & 3 {
            0 => false,
            1 => (i == 0 || s.csr.pmp.addr[i - 1] <= word) && word < addr,
            2 => word == addr,
            _ => {
                let mut ignored = 1;
                while addr >> (ignored - 1) & 1 == 1 {
                    ignored += 1;
                }
                word >> ignored == addr >> ignored
            }
        }
    }

    fn slow_check(s: &HartState, pa: u64, len: u64, access: Access, mode: Mode) -> bool {
        let byte = |pa: u64| (0..16).find(|&i| matches(s, i, pa));
        let Some(first) = (pa..pa + len).filter_map(byte).min() else { return mode == Mode::Machine };
        if !(pa..pa + len).all(|pa| matches(s, first, pa)) {
            return false;
        }
        let cfg = s.csr.pmp.cfg[first];
        let bit = match access {
            Access::Load => 0,
            Access::Store => 1,
            Access::Fetch => 2,
        };
        cfg >> 7 == 0 && mode == Mode::Machine || cfg >> bit & 1 != 0
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_byte_by_byte_matching(
            entries in proptest::collection::vec((proptest::num::u8::ANY, 0u64..64), 0..5),
            pa in 0u64..256,
            len in 1u64..17,
        ) {
            let s = hart(&entries);
            for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
                for access in [Access::Fetch, Access::Load, Access::Store] {
                    proptest::prop_assert_eq!(
                        allowed(&s, pa, len, access, mode),
                        slow_check(&s, pa, len, access, mode),
                        "{:?} {:?}", access, mode
                    );
                }
            }
        }

        #[test]
        fn a_uniform_page_answers_for_every_access_inside(
            entries in proptest::collection::vec((proptest::num::u8::ANY, 0u64..0x1000), 0..5),
            offset in 0u64..0xff8,
        ) {
            let s = hart(&entries);
            for mode in [Mode::User, Mode::Machine] {
                if let Verdict::Uniform(perms) = page_verdict(&s, &isa(16), 0x1000, mode) {
                    for access in [Access::Fetch, Access::Load, Access::Store] {
                        proptest::prop_assert_eq!(
                            perms.contains(access.needs()),
                            slow_check(&s, 0x1000 + offset, 8, access, mode)
                        );
                    }
                }
            }
        }
    }
}
