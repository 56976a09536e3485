//! What makes a store-conditional fail after another hart's atomic operation, also where that put the old value back.
//!
//! A store-conditional is a compare-and-swap with the value that the load-reserved saw, so a word that changed makes
//! it fail whoever changed it. What a comparison cannot see is a word that changed and changed back (ABA). So there is
//! a version for each 64-byte line of guest RAM (the reservation set, Za64rs), kept in a table by a few bits of the
//! line's address:
//!
//! - An AMO or a compare-and-swap takes the version's lock (bit 0), performs the operation, and releases the lock by
//!   counting up, which also counts the version.
//! - LR reads the version, then the value. If the lock was taken it notes an odd version, which no SC finds again.
//! - SC takes the lock, fails if the version is another than LR's (or another hart holds the lock), swaps if the value
//!   is LR's, and releases the lock by counting up.
//!
//! Between the version that LR read and the lock that SC took at the same version no other lock was taken, so no AMO,
//! compare-and-swap or SC on the line took place in between, whole or in part: of these, none is missed. Lines that
//! share a version only make an SC fail that need not, and it is tried again; some SC always succeeds, since only one
//! that does counts the version. The lock is held for a few host instructions that cannot fault.
//!
//! Not covered: plain stores. They are a host instruction behind a TLB probe, and counting each (or taking writable
//! TLB entries of every page with an LR away from the other harts, which for kernels is nearly all of their heap) would
//! cost every program much. So an SC still succeeds after *plain* stores of other harts that left the value LR saw:
//! one that stored just this value, which is indistinguishable from having come before the LR unless the
//! hart orders it by other accesses after the LR, and two or more that went and came back. A lock that is taken by SC
//! or AMO and released by a plain store is exact, because taking it counted.
//!
//! A machine of one hart has no table: nobody else stores.
//!
//! Unprivileged spec, "Load-Reserved/Store-Conditional Instructions".

use std::sync::atomic::{AtomicU64, Ordering};

/// log2 of the bytes of guest RAM that have a version of their own.
pub const LINE_SHIFT: u32 = 6;
const LINES: usize = 1 << 12;
/// Takes the offset of a line's version in the table out of a host address.
pub const OFFSET_MASK: u32 = ((LINES - 1) << LINE_SHIFT) as u32;
/// The lock, the lowest bit of a version.
const LOCKED: u64 = 1;
/// `AtomicU64`s in what one version takes up: a host cache line, so that harts at work on different lines stay apart.
const STRIDE: usize = 1 << (LINE_SHIFT - 3);

/// The versions of all lines.
pub struct Reservations {
    versions: Box<[Padded]>,
}

#[repr(C, align(64))]
#[derive(Default)]
struct Padded([AtomicU64; STRIDE]);

/// The lock of a line, held.
pub struct Line<'a>(Option<&'a AtomicU64>);

impl Reservations {
    pub fn new(harts: u32) -> Self {
        let n = if harts > 1 { LINES } else { 0 };
        Self { versions: (0..n).map(|_| Padded::default()).collect() }
    }

    /// Whether there is anybody to guard against.
    pub fn shared(&self) -> bool {
        !self.versions.is_empty()
    }

    /// Address of the table, for generated code.
    pub fn table(&self) -> u64 {
        self.versions.as_ptr() as u64
    }

    fn version(&self, host: *mut u8) -> Option<&AtomicU64> {
        let at = (host as usize & OFFSET_MASK as usize) >> LINE_SHIFT;
        self.versions.get(at).map(|line| &line.0[0])
    }

    /// What LR has to remember, read before the value.
    pub fn observe(&self, host: *mut u8) -> u64 {
        self.version(host).map_or(0, |v| v.load(Ordering::Acquire))
    }

    /// Keeps other atomic operations off the line until the value is dropped.
    pub fn lock(&self, host: *mut u8) -> Line<'_> {
        let Some(version) = self.version(host) else { return Line(None) };
        let mut rounds = 0u32;
        while version.fetch_or(LOCKED, Ordering::SeqCst) & LOCKED != 0 {
            while version.load(Ordering::Relaxed) & LOCKED != 0 {
                rounds += 1;
                // The holder is a few instructions from the end, unless its thread has no core.
                if rounds < 100 { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
        Line(Some(version))
    }

    /// As [`lock`](Self::lock), if nothing took place on the line since `observed`.
    pub fn lock_unchanged(&self, host: *mut u8, observed: u64) -> Option<Line<'_>> {
        let Some(version) = self.version(host) else { return Some(Line(None)) };
        let free = observed & LOCKED == 0;
        let taken =
            || version.compare_exchange(observed, observed | LOCKED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // Made only where the lock was taken: it is given back when the value goes.
        (free && taken()).then(|| Line(Some(version)))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(version) = self.0 {
            version.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: usize) -> *mut u8 {
        std::ptr::without_provenance_mut(address)
    }

    #[test]
    fn an_operation_on_the_line_is_noticed_and_others_are_not() {
        let r = Reservations::new(2);
        let seen = r.observe(at(0x1008));
        drop(r.lock(at(0x1040)));
        assert!(r.lock_unchanged(at(0x1008), seen).is_some(), "the next line is another");
        assert!(r.lock_unchanged(at(0x1008), seen).is_none(), "the first success counted");
        let seen = r.observe(at(0x1008));
        drop(r.lock(at(0x1038)));
        assert!(r.lock_unchanged(at(0x1008), seen).is_none(), "the same line");
    }

    #[test]
    fn an_operation_under_way_lets_no_conditional_through() {
        let r = Reservations::new(2);
        let before = r.observe(at(0x40));
        let line = r.lock(at(0x40));
        let during = r.observe(at(0x40));
        assert!(r.lock_unchanged(at(0x40), before).is_none());
        assert!(r.lock_unchanged(at(0x40), during).is_none());
        assert_eq!(r.observe(at(0x40)), during, "still locked");
        drop(line);
        assert!(r.lock_unchanged(at(0x40), before).is_none());
        assert!(r.lock_unchanged(at(0x40), during).is_none());
    }

    #[test]
    fn one_hart_alone_needs_no_versions() {
        let r = Reservations::new(1);
        assert!(!r.shared());
        let seen = r.observe(at(0x40));
        drop(r.lock(at(0x40)));
        assert!(r.lock_unchanged(at(0x40), seen).is_some());
    }
}
