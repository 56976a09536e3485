//! Pages from behind the image: handed out, never taken back.

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
