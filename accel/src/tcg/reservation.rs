//! Load-reserved and store-conditional among several harts: when SC may store, and when it must not.
//!
//! SC must fail if another hart's store to the reservation set, here a line of 64 bytes (Za64rs), or a device's write to
//! the bytes that LR read, can be observed to have come between. Comparing the word with what LR read misses stores that
//! put the old value back, or stored just that value (ABA). Counting stores would cost every store; so this is done only
//! where it can matter.
//!
//! # Quiet pairs
//!
//! Let there be no access to memory of the hart's own, and nothing else that could tell it what others did, in program
//! order between an LR and an SC of the same address and size; only arithmetic, branches and fences. All LR/SC loops to
//! which the specification promises progress are so, and practically all that there are. For such a pair **a
//! compare-and-swap is exact**. Take an execution in which it succeeds, and move the LR in the global memory order to
//! just before the SC, and with it nothing else. Then:
//!
//! - The LR reads what it did read: the compare-and-swap found just these bytes there. So the load value axiom holds.
//! - No store is between LR and SC, so the atomicity axiom holds.
//! - What had to be before the LR still is. What has to be behind it (`aq`, a dependency, a fence) stands behind it in
//!   program order, hence is the SC or follows the SC, which the host performs as a full barrier.
//!
//! So the execution is one of the memory model with no store in between: nobody, with any accesses, can observe one.
//! (With a load between LR and SC that argument ends: it may have to stay behind the LR, and may have seen what another
//! hart stored before it went to the reserved word.)
//!
//! An SC knows that it is of a quiet pair in two ways. In one block, by the operations before it ([`Since`]). From one
//! block to the next (a pair across a page, a branch between them): where a quiet way leads out of a block with an LR,
//! [`Hart::res_left`] takes the number of instructions retired so far. If it still is that number at the entry of the
//! block in which the SC stands, and the way to the SC is quiet, then the hart came straight from there: every block
//! retires something, or leaves by a trap, which ends the reservation, or by the caller of the engine, which forgets the
//! number. The number is never used again, so LR does not have to reset it.
//!
//! # Monitored pages
//!
//! Any other pair needs an *exact* LR. It *monitors* the page (4 KiB of RAM): no hart holds a writable TLB entry of it,
//! and none is made, so that every store goes through Rust and [`Monitored::stored`], which drops the other harts' exact
//! reservations of the lines it stores to. The SC succeeds if the hart's is still there. LR's registering and reading,
//! every store with its dropping, and SC's check and swap each hold one lock ([`Reservations::monitor`]), so they are in
//! a total order, which is the order of the stores to these lines: SC succeeds if and only if no store of another hart
//! comes between.
//!
//! What could slip past is a store that does not know yet that the page is monitored. *Withdrawing* the writable entries:
//!
//! 1. The page is entered in the table (not yet as withdrawn), and [`Reservations::count`] is not 0 from here on.
//! 2. The hart announces code (`VmShared::announce_code`), which tells each other hart to forget all its writable
//!    entries at its next poll, and waits until all harts have (`code_settled`) or are not running: those poll before
//!    they run again. Its own entries it drops itself.
//! 3. The page is marked as withdrawn. Only now may an exact LR register.
//!
//! Take any store by another hart to the page. If it begins (the TLB is probed, or the table looked at) before that hart
//! answers the announcement, it also ends before: a hart answers between blocks, or on its way into step 2 for an LR of
//! its own, and then no store of its own is under way and its code holds no host address. It happens before step 3, thus
//! before the LR. If it begins after the answer, it finds no TLB entry, except one that was made after the answer; and
//! whoever makes one looks at the table first (`Hart::place`), as whoever stores without one does ([`Reservations::at`]).
//! The answer orders these looks behind step 1. So no fences are needed around the looks: where they can be stale, the
//! announcement is not answered.
//!
//! Two harts that withdraw at the same time take turns ([`Reservations::withdrawing`]); each answers the other's
//! announcement while it waits. No lock is held that a store needs.
//!
//! | Who stores | How it meets the monitor |
//! |---|---|
//! | Loads and stores of generated code, `Hart::store`, vector stores by probe | hold a writable entry, or come to the next rows |
//! | `Hart::store` without entry, its parts across pages; vector elements | under the lock, each page for itself |
//! | AMO, AMOCAS, SSAMOSWAP, SC of a quiet pair, without entry | under the lock; if they store nothing they drop nothing |
//! | CBO.ZERO, HSV, SSPUSH | under the lock |
//! | A and D bits set by a page walk | under the lock, for no hart: also the own reservation is dropped |
//! | Devices | see below |
//!
//! Misaligned stores drop all lines they touch. A hart's own stores go through the lock, too, but do not end its
//! reservation. When memory is withdrawn for translated code (`ram`), entries only go.
//!
//! A monitored page that sees [`PATIENCE`] stores without an exact LR stops being monitored, and reservations in it are
//! dropped. So do pages without a reservation when there are too many.
//!
//! Devices (and the SBI) write through the guest memory's own methods and leave a mark in its bitmap. The exact LR
//! takes the mark of its page away before it reads; an exact SC fails if there is a new one, or if somebody else took
//! one. The mark comes after the bytes but before anything that the device does next, so who was told of the write by
//! the device finds it. What can be missed is a device's write of the very bytes that are there, in the instant before
//! its mark.
//!
//! # Which LR is exact
//!
//! LR does not know what follows it, so it mostly is not exact. It is where an access to memory certainly comes before
//! any SC ([`certainly_loud`]). Otherwise, when an SC finds that it does not belong to a quiet pair and its LR was not
//! exact, it fails, as it may in loops that are not constrained, and the hart's next [`BUDGET`] LRs are all exact,
//! counted anew whenever such an SC comes. So programs that need exact LRs see one failure in the beginning, and those
//! that do not (all that anybody knows) pay next to nothing: no store, AMO or SC does more than on a machine of one
//! hart, and an LR looks at one word of its hart.
//!
//! On a machine of one hart nobody else stores, and all of this is off.
//!
//! Unprivileged spec, "Load-Reserved/Store-Conditional Instructions", "RVWMO Memory Consistency Model".

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use rustc_hash::FxHashMap;

use super::hart::{Hart, NO_RESERVATION};
use super::ir::{Helper, Op};

/// Bytes of a reservation set.
const LINE: u64 = 64;
/// Stores to a monitored page, without an exact LR, after which nobody seems to need it any more.
const PATIENCE: u32 = 4096;
/// LRs that are exact after an SC that needed one.
pub const BUDGET: u32 = 256;
/// Monitored pages beyond one for each hart.
const SPARE_PAGES: usize = 64;
/// The `hart` of a store that ends everybody's reservation.
pub const NOBODY: u32 = u32::MAX;

/// What lies between the last LR of a block, or its entry, and some operation in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// The block was entered, and since then nothing accessed memory.
    #[default]
    Entry = 0,
    /// An LR, and since then nothing accessed memory.
    Reserved = 1,
    /// Something that accessed memory, or may have.
    Loud = 2,
}

impl Since {
    /// What it is behind `op`.
    pub fn after(self, op: &Op) -> Self {
        match op {
            Op::Lr { .. } => Self::Reserved,
            _ if is_quiet(op) => self,
            _ => Self::Loud,
        }
    }

    /// What it is behind all of `ops`, from the entry of the block on.
    pub fn behind(ops: &[Op]) -> Self {
        match ops.iter().rposition(|op| !is_quiet(op)) {
            None => Self::Entry,
            Some(i) if matches!(ops[i], Op::Lr { .. }) => Self::Reserved,
            Some(_) => Self::Loud,
        }
    }

    pub fn from_bits(v: u64) -> Self {
        match v {
            0 => Self::Entry,
            1 => Self::Reserved,
            _ => Self::Loud,
        }
    }
}

/// Whether `op` neither accesses memory nor learns anything from outside of the hart.
fn is_quiet(op: &Op) -> bool {
    match op {
        Op::Call { helper, .. } => {
            matches!(
                helper,
                Helper::CheckLimit | Helper::Transfer | Helper::CheckJump | Helper::MisalignedJump | Helper::Trace
            )
        }
        Op::Insn { .. }
        | Op::Linkage(_)
        | Op::Mov { .. }
        | Op::Bin { .. }
        | Op::Un { .. }
        | Op::Late { .. }
        | Op::PcRel { .. } => true,
        Op::FenceStoreLoad { .. } | Op::FpCheck { .. } | Op::FpCsr { .. } | Op::Fp { .. } => true,
        Op::BranchIf { .. } | Op::Jump { .. } | Op::JumpReg { .. } => true,
        _ => false,
    }
}

/// Whether `op` may end the run of the block.
fn leaves(op: &Op) -> bool {
    matches!(op, Op::BranchIf { .. } | Op::Jump { .. } | Op::JumpReg { .. })
}

/// Whether an LR with `rest` behind it in its block meets an access to memory on every way that leads to an SC.
pub fn certainly_loud(rest: &[Op]) -> bool {
    let first = rest.iter().find(|op| !is_quiet(op) || leaves(op));
    first.is_some_and(|op| match op {
        // Waits for the reserved word to change, and mostly there is no SC.
        Op::Call { helper: Helper::Wrs, .. } => false,
        Op::Sc { .. } | Op::Lr { .. } => false,
        op => !leaves(op),
    })
}

/// What all harts share of it.
pub struct Reservations {
    harts: u32,
    /// Pages in [`Monitor::pages`]: while there are none, stores need not look. Written under `monitor`.
    count: AtomicUsize,
    /// Innermost lock.
    monitor: Mutex<Monitor>,
    /// Held from step 1 to step 3.
    withdrawing: Mutex<()>,
}

/// Addresses are those of the host.
#[derive(Default)]
struct Monitor {
    pages: FxHashMap<u64, Page>,
    /// Exact reservations: hart and line, one a hart.
    held: Vec<(u32, u64)>,
}

#[derive(Default)]
struct Page {
    withdrawn: bool,
    /// Since the last exact LR.
    stores: u32,
}

/// A place in RAM that is about to be stored to; if its page is monitored, with the lock.
#[must_use]
pub struct Monitored<'a>(Option<Held<'a>>);

struct Held<'a> {
    all: &'a Reservations,
    monitor: MutexGuard<'a, Monitor>,
    host: u64,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn page_of(host: u64) -> u64 {
    host & !0xfff
}

impl Reservations {
    pub fn new(harts: u32) -> Self {
        Self { harts, count: AtomicUsize::new(0), monitor: Mutex::default(), withdrawing: Mutex::new(()) }
    }

    /// Whether there is anybody to guard against.
    pub fn shared(&self) -> bool {
        self.harts > 1
    }

    /// Whether no writable TLB entry of the page may be made.
    pub fn monitors(&self, host: *mut u8) -> bool {
        self.count.load(Ordering::Relaxed) != 0 && lock(&self.monitor).pages.contains_key(&page_of(host as u64))
    }

    /// To be held while the bytes at `host`, in one page, are changed without a TLB entry.
    pub fn at(&self, host: *mut u8) -> Monitored<'_> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Monitored(None);
        }
        let (host, monitor) = (host as u64, lock(&self.monitor));
        let there = monitor.pages.contains_key(&page_of(host));
        Monitored(there.then(|| Held { all: self, monitor, host }))
    }

    /// Registers an exact reservation for `hart` and calls `read`, if the page is withdrawn.
    fn reserve<T>(&self, hart: u32, host: *mut u8, read: impl FnOnce() -> T) -> Option<T> {
        let mut monitor = lock(&self.monitor);
        let page = monitor.pages.get_mut(&page_of(host as u64)).filter(|page| page.withdrawn)?;
        page.stores = 0;
        monitor.held.retain(|&(other, _)| other != hart);
        monitor.held.push((hart, host as u64 & !(LINE - 1)));
        Some(read())
    }

    /// Calls `swap`, which tells whether it stored, if the exact reservation of `hart` is still there, and takes it.
    fn conditional(&self, hart: u32, host: *mut u8, swap: impl FnOnce() -> bool) -> bool {
        let mut monitor = lock(&self.monitor);
        let held = (hart, host as u64 & !(LINE - 1));
        if !monitor.held.contains(&held) {
            return false;
        }
        monitor.held.retain(|&other| other != held);
        let stored = swap();
        if stored {
            monitor.store(hart, host as u64, 1);
        }
        stored
    }

    /// Step 1 of withdrawing; `false` if the page is withdrawn.
    fn begin(&self, page: u64) -> bool {
        let mut monitor = lock(&self.monitor);
        if monitor.pages.get(&page).is_some_and(|page| page.withdrawn) {
            return false;
        }
        if monitor.pages.len() >= SPARE_PAGES + self.harts as usize {
            let Monitor { pages, held } = &mut *monitor;
            pages.retain(|&page, _| held.iter().any(|&(_, line)| page_of(line) == page));
        }
        monitor.pages.entry(page).or_default();
        self.counted(&monitor);
        true
    }

    /// Step 3.
    fn withdrawn(&self, page: u64) {
        if let Some(page) = lock(&self.monitor).pages.get_mut(&page) {
            page.withdrawn = true;
        }
    }

    fn counted(&self, monitor: &Monitor) {
        self.count.store(monitor.pages.len(), Ordering::Relaxed);
    }
}

impl Monitor {
    /// `hart` stores to `len` bytes: others lose their reservations of these lines.
    fn store(&mut self, hart: u32, host: u64, len: u64) {
        let (first, last) = (host & !(LINE - 1), (host + len - 1) & !(LINE - 1));
        self.held.retain(|&(other, line)| other == hart || line < first || line > last);
    }
}

impl Monitored<'_> {
    /// `hart` has stored to `len` bytes, or is about to.
    pub fn stored(&mut self, hart: u32, len: u64) {
        let Some(Held { all, monitor, host }) = &mut self.0 else { return };
        monitor.store(hart, *host, len);
        let at = page_of(*host);
        let Some(page) = monitor.pages.get_mut(&at) else { return };
        page.stores += 1;
        if page.withdrawn && page.stores > PATIENCE {
            monitor.pages.remove(&at);
            monitor.held.retain(|&(_, line)| page_of(line) != at);
            all.counted(monitor);
        }
    }
}

impl Hart {
    /// Whether this LR is to be exact; `demanded` if the translator knows that it has to.
    pub fn reserves_exactly(&mut self, demanded: bool) -> bool {
        let budget = self.exact_lrs != 0;
        self.exact_lrs = self.exact_lrs.saturating_sub(1);
        (demanded || budget) && self.vm.ram.reservations.shared()
    }

    /// Reads the word at `host` by `read` and reserves it exactly.
    pub fn reserve(&mut self, host: *mut u8, read: impl Fn() -> u64) -> u64 {
        let vm = Arc::clone(&self.vm);
        loop {
            let hart = self.id;
            let read_marked = || {
                self.res_version = vm.ram.device_writes(host);
                read()
            };
            if let Some(value) = vm.ram.reservations.reserve(hart, host, read_marked) {
                return value;
            }
            self.withdraw(page_of(host as u64));
        }
    }

    /// Takes all writable TLB entries of a page away. Called before the LR does anything, so that no store is under way.
    fn withdraw(&mut self, page: u64) {
        let vm = Arc::clone(&self.vm);
        let _turn = loop {
            match vm.ram.reservations.withdrawing.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(e)) => break e.into_inner(),
                Err(TryLockError::WouldBlock) => self.answer(),
            }
        };
        if !vm.ram.reservations.begin(page) {
            return;
        }
        let number = vm.announce_code(self.id, || true);
        self.tlb.drop_writes_to(page);
        while vm.code_settled(self.id) < number {
            self.answer();
        }
        vm.ram.reservations.withdrawn(page);
    }

    /// Waits a moment for other harts, which may wait for this one.
    fn answer(&mut self) {
        self.give_up_writes();
        std::thread::yield_now();
    }

    /// Performs `swap`, which tells whether it stored, for an SC to the reserved word at `host`, if it may. `since`: what is before it in its block.
    pub fn store_conditionally(&mut self, host: *mut u8, len: u64, since: Since, swap: impl Fn() -> bool) -> bool {
        let vm = Arc::clone(&self.vm);
        let quiet = match since {
            Since::Reserved => true,
            Since::Entry => self.res_left == self.retired,
            Since::Loud => false,
        };
        if quiet || !vm.ram.reservations.shared() {
            let mut there = vm.ram.reservations.at(host);
            let stored = swap();
            if stored {
                there.stored(self.id, len);
            }
            return stored;
        }
        if !self.res_exact {
            self.exact_lrs = BUDGET;
            return false;
        }
        if self.exact_lrs != 0 {
            self.exact_lrs = BUDGET;
        }
        vm.ram.reservations.conditional(self.id, host, || vm.ram.device_writes(host) == self.res_version && swap())
    }

    /// A quiet way from an LR leaves its block.
    pub fn reservation_left(&mut self, since: Since, retired_at_entry: u64) {
        let reserved = self.res_addr != NO_RESERVATION;
        if reserved && (since == Since::Reserved || since == Since::Entry && self.res_left == retired_at_entry) {
            self.res_left = self.retired;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::ir::{Cond, Dst, Target, Val, Width};

    const PAGE: u64 = 0x7000;

    fn at(address: u64) -> *mut u8 {
        std::ptr::without_provenance_mut(address as usize)
    }

    fn monitored(r: &Reservations, page: u64) {
        assert!(r.begin(page));
        r.withdrawn(page);
    }

    #[test]
    fn only_a_store_of_another_hart_to_the_line_ends_a_reservation() {
        let stores: [(u32, u64, u64, bool); 6] = [
            (1, PAGE + 64, 8, false),
            (1, PAGE + 127, 1, false),
            (1, PAGE + 60, 8, false),
            (NOBODY, PAGE + 72, 8, false),
            (0, PAGE + 72, 8, true),
            (1, PAGE + 128, 64, true),
        ];
        for (hart, host, len, stays) in stores {
            let r = Reservations::new(2);
            monitored(&r, PAGE);
            assert_eq!(r.reserve(0, at(PAGE + 72), || 7), Some(7));
            r.at(at(host)).stored(hart, len);
            assert_eq!(r.conditional(0, at(PAGE + 72), || true), stays, "{len} bytes at {host:#x} by {hart}");
            assert!(!r.conditional(0, at(PAGE + 72), || true), "used up");
        }
    }

    #[test]
    fn of_two_conditionals_one_succeeds() {
        let r = Reservations::new(2);
        monitored(&r, PAGE);
        (0..2).for_each(|hart| assert!(r.reserve(hart, at(PAGE), || ()).is_some()));
        assert!(!r.conditional(0, at(PAGE), || false), "its comparison failed");
        assert!(r.conditional(1, at(PAGE), || true), "nothing was stored");
        (0..2).for_each(|hart| assert!(r.reserve(hart, at(PAGE), || ()).is_some()));
        assert!(r.conditional(0, at(PAGE), || true));
        assert!(!r.conditional(1, at(PAGE), || true));
    }

    #[test]
    fn a_page_is_monitored_from_the_first_step_on_and_reserved_after_the_last() {
        let r = Reservations::new(2);
        assert!(!r.monitors(at(PAGE)));
        assert!(r.begin(PAGE));
        assert!(r.monitors(at(PAGE + 0xfff)) && !r.monitors(at(PAGE + 0x1000)));
        assert_eq!(r.reserve(0, at(PAGE), || ()), None);
        r.withdrawn(PAGE);
        assert_eq!(r.reserve(0, at(PAGE), || ()), Some(()));
        assert!(!r.begin(PAGE), "nothing is left to do");
    }

    #[test]
    fn patience_ends() {
        let r = Reservations::new(2);
        monitored(&r, PAGE);
        assert!(r.reserve(0, at(PAGE), || ()).is_some());
        for _ in 0..PATIENCE {
            r.at(at(PAGE + 64)).stored(1, 8);
        }
        assert!(r.conditional(0, at(PAGE), || true), "still there");
        assert!(r.reserve(0, at(PAGE), || ()).is_some());
        for _ in 0..=PATIENCE {
            assert!(r.monitors(at(PAGE)));
            r.at(at(PAGE + 64)).stored(1, 8);
        }
        assert!(!r.monitors(at(PAGE)));
        assert!(!r.conditional(0, at(PAGE), || true));
    }

    #[test]
    fn pages_are_bounded_and_reserved_ones_stay() {
        let r = Reservations::new(2);
        let pages = |r: &Reservations| lock(&r.monitor).pages.len();
        for n in 1..1000 {
            monitored(&r, n << 12);
            if n <= 2 {
                assert!(r.reserve(n as u32, at(n << 12), || ()).is_some());
            }
            assert!(pages(&r) <= SPARE_PAGES + 2);
        }
        (1..=2).for_each(|n| assert!(r.conditional(n as u32, at(n << 12), || true)));
    }

    fn lr() -> Op {
        Op::Lr { width: Width::D, d: Some(Dst::X(10)), addr: Val::X(8) }
    }

    fn sc() -> Op {
        Op::Sc { width: Width::D, d: Some(Dst::X(11)), addr: Val::X(8), src: Val::X(12) }
    }

    fn load() -> Op {
        Op::Load { d: Some(Dst::X(5)), base: Val::X(9), offset: 0, width: Width::D, signed: true }
    }

    fn branch() -> Op {
        Op::BranchIf { cond: Cond::Eq, a: Val::X(10), b: Val::C(0), target: Target { offset: 0 } }
    }

    fn helper(helper: Helper) -> Op {
        Op::Call { helper, d: None, args: [Val::C(0); 3] }
    }

    #[test]
    fn what_lies_before_an_operation() {
        let moved = Op::Mov { d: Dst::X(5), s: Val::X(6) };
        let cases: [(&[Op], Since); 8] = [
            (&[], Since::Entry),
            (&[helper(Helper::CheckLimit), moved, branch()], Since::Entry),
            (&[load(), lr(), moved, branch(), Op::FenceStoreLoad { devices: true }], Since::Reserved),
            (&[lr(), load()], Since::Loud),
            (&[lr(), sc()], Since::Loud),
            (&[lr(), helper(Helper::Csr)], Since::Loud),
            (&[sc(), moved], Since::Loud),
            (&[lr(), load(), lr()], Since::Reserved),
        ];
        for (ops, since) in cases {
            assert_eq!(Since::behind(ops), since, "{ops:?}");
            assert_eq!(ops.iter().fold(Since::Entry, Since::after), since, "{ops:?}");
        }
    }

    #[test]
    fn an_lr_is_exact_where_an_access_is_certain_to_follow() {
        let moved = Op::Mov { d: Dst::X(5), s: Val::X(6) };
        let cases: [(&[Op], bool); 6] = [
            (&[moved, load(), sc()], true),
            (&[helper(Helper::Csr), sc()], true),
            (&[moved, sc(), load()], false),
            (&[branch(), load()], false),
            (&[moved, helper(Helper::Wrs), load()], false),
            (&[moved], false),
        ];
        for (ops, loud) in cases {
            assert_eq!(certainly_loud(ops), loud, "{ops:?}");
        }
    }
}
