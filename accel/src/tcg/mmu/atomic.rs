//! Atomic read-modify-write on guest RAM: AMOs and compare-and-swap (Zaamo, Zabha, Zacas) of 1 to 16 bytes.
//!
//! Load-reserved and store-conditional are elsewhere. An address that is not a multiple of the access's size raises an
//! exception, unless the hart has Zama16b and all bytes lie in one naturally aligned block of 16: then the access is
//! performed as a compare-and-swap of the block. Hosts that have none do such accesses, and AMOCAS.Q, half by half under a
//! lock that the other atomics take there, too: none of them is lost or comes between. A plain access of another hart may
//! see one half changed and not yet the other.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::ext::Ext;

use super::walk::Access;
use crate::tcg::hart::Hart;
use crate::tcg::ir::{AmoOp, Width};
use crate::tcg::triggers::Touch;

/// Bytes of the block in which misaligned accesses are atomic (Zama16b).
const GRANULE: u64 = 16;

impl Hart {
    /// Whether a misaligned access is as good as an aligned one: Zama16b is there and the access stays in a granule.
    pub fn in_granule(&self, va: u64, len: u64) -> bool {
        (va & (GRANULE - 1)) + len <= GRANULE && self.vm.isa.has(Ext::Zama16b)
    }

    /// Host address for an AMO of `len` bytes; `None` if a trap was taken. Write permission is always needed.
    fn amo_place(&mut self, va: u64, len: u64) -> Option<*mut u8> {
        self.access_or_trap(self.mask.apply(va), len, Touch::Update)?;
        if va & (len - 1) != 0 && !self.in_granule(va, len) {
            self.raise(Access::Store.misaligned(self.mask.apply(va)));
            return None;
        }
        self.atomic_ram(va, len, Access::Store)
    }

    /// An AMO at a virtual address; returns the old value, sign-extended, or anything if it left the block.
    pub fn amo(&mut self, op: AmoOp, width: Width, va: u64, v: u64) -> u64 {
        let Some(host) = self.amo_place(va, width.bytes()) else { return 0 };
        let v = width.extend(v, true);
        let mut there = self.vm.ram.reservations.at(host);
        let old = update(host, width, |old| Some(op.eval(width.extend(old, true), v)));
        there.stored(self.id, width.bytes());
        width.extend(old, true)
    }

    /// Stores the low bytes of `v` at an aligned place in RAM; returns what was there, sign-extended.
    pub(super) fn swap_at(&self, host: *mut u8, width: Width, v: u64) -> u64 {
        let mut there = self.vm.ram.reservations.at(host);
        there.stored(self.id, width.bytes());
        width.extend(update(host, width, |_| Some(v)), true)
    }

    /// Stores `v` at a virtual address if what is there equals `expected`, both of the low bits that `width` says.
    /// Returns what was there, sign-extended, or anything if it left the block.
    pub fn compare_and_swap(&mut self, width: Width, va: u64, expected: u64, v: u64) -> u64 {
        let Some(host) = self.amo_place(va, width.bytes()) else { return 0 };
        let expected = width.extend(expected, false);
        let mut there = self.vm.ram.reservations.at(host);
        let old = update(host, width, |old| (old == expected).then_some(v));
        if old == expected {
            there.stored(self.id, width.bytes());
        }
        width.extend(old, true)
    }

    /// The same of 16 bytes; `None` if a trap was taken.
    pub fn compare_and_swap_16(&mut self, va: u64, expected: u128, v: u128) -> Option<u128> {
        let host = self.amo_place(va, 16)?;
        let mut there = self.vm.ram.reservations.at(host);
        let old = cas_16(host.cast(), expected, v);
        if old == expected {
            there.stored(self.id, 16);
        }
        Some(old)
    }

    /// Raises the exception of a load-acquire or store-release (Zalasr) at a misaligned address that Zama16b does not
    /// make good.
    pub fn check_aligned(&mut self, va: u64, width: Width, store: bool) {
        if va & (width.bytes() - 1) != 0 && !self.in_granule(va, width.bytes()) {
            let (access, touch) = if store { (Access::Store, Touch::Store) } else { (Access::Load, Touch::Load) };
            if self.access_or_trap(self.mask.apply(va), width.bytes(), touch).is_none() {
                return;
            }
            self.raise(access.misaligned(self.mask.apply(va)));
        }
    }
}

/// Replaces the value at `host` by what `f` makes of it, or leaves it; returns the old one, zero-extended. The address
/// may be misaligned inside a granule.
fn update(host: *mut u8, width: Width, f: impl Fn(u64) -> Option<u64>) -> u64 {
    if host as u64 & (width.bytes() - 1) != 0 {
        return update_in_granule(host, width, f);
    }
    let _lock = (!has_cas_16()).then(|| lock_of(host));
    macro_rules! on {
        ($atomic:ty, $int:ty) => {{
            // SAFETY: the caller translated an aligned access of this width; guest RAM is only reached by raw pointers
            // and atomics.
            let place = unsafe { &*host.cast::<$atomic>() };
            let next = |old: $int| f(u64::from(old)).map(|new| new as $int);
            u64::from(place.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|old| old))
        }};
    }
    match width {
        Width::B => on!(AtomicU8, u8),
        Width::H => on!(AtomicU16, u16),
        Width::W => on!(AtomicU32, u32),
        Width::D => on!(AtomicU64, u64),
    }
}

fn update_in_granule(host: *mut u8, width: Width, f: impl Fn(u64) -> Option<u64>) -> u64 {
    let block = (host as u64 & !(GRANULE - 1)) as *mut u128;
    let shift = 8 * (host as u64 & (GRANULE - 1)) as u32;
    let mask = u128::from(width.extend(u64::MAX, false)) << shift;
    // What the block probably holds: if not, the first exchange tells.
    let mut expected = 0;
    loop {
        let old = ((expected & mask) >> shift) as u64;
        // Also a value that stays has to be seen to be there at one moment.
        let next = f(old).map_or(expected, |new| expected & !mask | u128::from(new) << shift & mask);
        let seen = cas_16(block, expected, next);
        if seen == expected {
            return old;
        }
        expected = seen;
    }
}

/// Whether the host compares and swaps 16 bytes.
fn has_cas_16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("cmpxchg16b");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The lock of the granule with this address, on hosts without such an instruction. Harts that use different memory
/// seldom meet.
fn lock_of(place: *const u8) -> MutexGuard<'static, ()> {
    static LOCKS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
    let lock = &LOCKS[(place as u64 / GRANULE) as usize % LOCKS.len()];
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stores `new` at the aligned `place` if it holds `expected`; returns what it held.
fn cas_16(place: *mut u128, expected: u128, new: u128) -> u128 {
    debug_assert!(place.is_aligned());
    #[cfg(target_arch = "x86_64")]
    if has_cas_16() {
        // SAFETY: the host has the instruction; the caller translated 16 aligned bytes at `place`.
        return unsafe { cas_16_native(place, expected, new) };
    }
    cas_16_locked(place, expected, new)
}

/// The compiler's own function for it goes by way of a library when it is inlined into a caller without the feature.
///
/// # Safety
/// The host has CMPXCHG16B, `place` is aligned and points to 16 bytes of guest RAM.
#[cfg(target_arch = "x86_64")]
unsafe fn cas_16_native(place: *mut u128, expected: u128, new: u128) -> u128 {
    let (mut low, mut high) = (expected as u64, (expected >> 64) as u64);
    // SAFETY: as above. RBX is not for us to name, so it is exchanged and put back.
    unsafe {
        std::arch::asm!(
            "xchg {new}, rbx",
            "lock cmpxchg16b [rdi]",
            "mov rbx, {new}",
            new = inout(reg) new as u64 => _,
            in("rdi") place,
            in("rcx") (new >> 64) as u64,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
    }
    u128::from(low) | u128::from(high) << 64
}

/// Where the host has no such instruction. Plain stores of other harts are not overwritten.
fn cas_16_locked(place: *mut u128, expected: u128, new: u128) -> u128 {
    let _lock = lock_of(place.cast());
    let halves = place.cast::<AtomicU64>();
    // SAFETY: as in `cas_16`.
    let (low, high) = unsafe { (&*halves, &*halves.add(1)) };
    let whole = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
    let old = whole(low.load(Ordering::SeqCst), high.load(Ordering::SeqCst));
    if old != expected {
        return old;
    }
    let (from, to) = ((expected as u64, (expected >> 64) as u64), (new as u64, (new >> 64) as u64));
    let exchange = |half: &AtomicU64, from, to| half.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    if let Err(seen) = exchange(low, from.0, to.0) {
        return whole(seen, from.1);
    }
    if let Err(seen) = exchange(high, from.1, to.1) {
        // Nothing was exchanged after all, unless somebody has stored there meanwhile: then that stands.
        let _ = exchange(low, to.0, from.0);
        return whole(from.0, seen);
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Block([u8; 16]);

    fn block() -> Block {
        Block(std::array::from_fn(|i| i as u8))
    }

    #[test]
    fn a_narrow_update_changes_its_bytes_alone() {
        for width in [Width::B, Width::H, Width::W, Width::D] {
            let len = width.bytes() as usize;
            for at in 0..=16 - len {
                let mut b = block();
                // SAFETY: inside the block.
                let old = update(unsafe { b.0.as_mut_ptr().add(at) }, width, |old| Some(!old));
                assert_eq!(old.to_le_bytes()[..len], block().0[at..at + len], "{width:?} at {at}");
                for (i, byte) in b.0.into_iter().enumerate() {
                    let inside = (at..at + len).contains(&i);
                    assert_eq!(byte, if inside { !(i as u8) } else { i as u8 }, "{width:?} at {at}");
                }
                let mut b = block();
                // SAFETY: inside the block.
                let old = update(unsafe { b.0.as_mut_ptr().add(at) }, width, |_| None);
                assert_eq!(old.to_le_bytes()[..len], block().0[at..at + len], "{width:?} at {at}");
                assert_eq!(b.0, block().0);
            }
        }
    }

    #[test]
    fn halves_under_the_lock_lose_nothing() {
        const N: u64 = 20_000;
        let mut b = Block([0; 16]);
        let place = (&raw mut b).cast::<u128>() as usize;
        std::thread::scope(|threads| {
            // A plain counter in the high half, and one of six bytes across both.
            threads.spawn(move || {
                // SAFETY: `b` outlives the threads.
                let half = unsafe { &*((place + 12) as *const AtomicU32) };
                for _ in 0..N {
                    half.fetch_add(1, Ordering::SeqCst);
                }
            });
            threads.spawn(move || {
                for _ in 0..N {
                    let mut expected = 0;
                    loop {
                        let counter = (expected >> 48 & 0xffff_ffff) + 1;
                        let new = expected & !(0xffff_ffff << 48) | counter << 48;
                        let seen = cas_16_locked(place as *mut u128, expected, new);
                        if seen == expected {
                            break;
                        }
                        expected = seen;
                    }
                }
            });
        });
        let end = u128::from_le_bytes(b.0);
        assert_eq!((end >> 96, end >> 48 & 0xffff_ffff), (u128::from(N), u128::from(N)));
    }

    #[test]
    fn sixteen_bytes_are_exchanged_if_all_are_equal() {
        for cas in [cas_16, cas_16_locked] {
            let mut b = block();
            let place = (&raw mut b).cast::<u128>();
            let old = u128::from_le_bytes(block().0);
            assert_eq!(cas(place, old ^ 1 << 127, 5), old);
            assert_eq!(b.0, block().0);
            assert_eq!(cas(place, old, 5), old);
            assert_eq!(u128::from_le_bytes(b.0), 5);
        }
    }
}
