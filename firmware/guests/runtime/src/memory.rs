//! Memory from behind the image: handed out in order, taken back only as a whole.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// A variable that its owner alone keeps from being used twice at a time.
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: every use of the pointer says why it is alone.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub const fn pointer(&self) -> *mut T {
        self.0.get()
    }
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static _start: u8;
    static _end: u8;
}

/// First address of the image.
pub fn image_start() -> usize {
    &raw const _start as usize
}

/// One past the image, page aligned.
pub fn image_end() -> usize {
    &raw const _end as usize
}

/// First address that is not handed out: the end of RAM, or the device tree near it.
fn limit() -> usize {
    let m = crate::machine();
    let end = m.memory_base + m.memory_size;
    if (image_end()..end).contains(&m.fdt.start) { m.fdt.start } else { end }
}

/// Bytes that can still be handed out.
pub fn left() -> usize {
    limit().saturating_sub(mark())
}

/// What is handed out from now on starts here or above.
pub fn mark() -> usize {
    NEXT.load(Ordering::Acquire).max(image_end())
}

/// Takes back all that was handed out since [`mark`] gave this address. Nothing of it may be in use.
pub fn release(mark: usize) {
    NEXT.store(mark, Ordering::Release);
}

/// Memory with whatever is in it, aligned to `align` bytes (a power of two, at least a page), if there is enough.
pub fn take(bytes: usize, align: usize) -> Option<usize> {
    let mut start = 0;
    let taken = NEXT.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
        start = next.max(image_end()).next_multiple_of(align.max(PAGE));
        let end = start.checked_add(bytes.next_multiple_of(PAGE))?;
        (end <= limit()).then_some(end)
    });
    taken.is_ok().then_some(start)
}

/// `count` zeroed pages, aligned to `align` bytes (a power of two, at least a page).
pub fn pages(count: usize, align: usize) -> usize {
    let mut start = 0;
    let _ = NEXT.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
        start = next.max(image_end()).next_multiple_of(align.max(PAGE));
        Some(start + count * PAGE)
    });
    // SAFETY: RAM behind the image that nobody else was given. The loader puts the device tree near the end of
    // RAM; what this program takes is a few megabytes.
    unsafe { core::ptr::write_bytes(start as *mut u8, 0, count * PAGE) };
    start
}
