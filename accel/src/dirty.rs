//! Which pages of RAM were written to: what a snapshot of a running machine, or its migration, has to copy again.
//!
//! Every engine answers [`Vm::start_dirty_log`](crate::Vm::start_dirty_log) and its companions with these. Harts'
//! stores are the engine's to see; those of devices, firmware calls and loaders leave a mark in the bitmap of
//! [`GuestRam`] in any case.

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::GuestRam;

/// Bytes that one bit stands for, whatever the pages of the host.
pub const PAGE: u64 = 4096;

/// A set of pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirtyPages {
    /// As the regions of RAM, in their order.
    pub regions: Vec<DirtyRegion>,
}

/// Pages of one region of RAM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirtyRegion {
    /// Guest physical address of the first page.
    pub start: u64,
    /// Bit `n % 64` of word `n / 64` is the page at `start + n * PAGE`.
    pub words: Vec<u64>,
}

impl DirtyPages {
    /// Guest physical addresses, in ascending order within a region.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.regions.iter().flat_map(|region| {
            let words = region.words.iter().zip((region.start..).step_by(64 * PAGE as usize));
            words.flat_map(|(&word, at)| Bits(word).map(move |bit| at + u64::from(bit) * PAGE))
        })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.regions.iter().flat_map(|region| &region.words).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Adds those of `other`, a set of the same machine.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.regions.iter_mut().zip(&other.regions) {
            for (word, bits) in own.words.iter_mut().zip(&others.words) {
                *word |= bits;
            }
        }
    }

    /// Takes the marks of writes from outside of the harts.
    pub fn of_devices(ram: &GuestRam) -> Self {
        let regions = ram.iter().map(|region| {
            let words = by_pages(ram::marked_pages(region).get_and_reset(), region.len());
            DirtyRegion { start: region.start_addr().0, words }
        });
        Self { regions: regions.collect() }
    }
}

/// The numbers of the bits that are set.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

/// A bitmap of the host's pages over `size` bytes as one of [`PAGE`] bytes.
pub fn by_pages(host: Vec<u64>, size: u64) -> Vec<u64> {
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE);
    spread(host, page / PAGE, size.div_ceil(PAGE))
}

/// Each bit becomes `ratio` bits, of which there are `pages` in all.
fn spread(host: Vec<u64>, ratio: u64, pages: u64) -> Vec<u64> {
    if ratio <= 1 {
        return host;
    }
    let mut words = vec![0; pages.div_ceil(64) as usize];
    for (i, word) in (0u64..).zip(host) {
        for bit in Bits(word) {
            let first = (64 * i + u64::from(bit)) * ratio;
            (first..(first + ratio).min(pages)).for_each(|page| words[(page / 64) as usize] |= 1 << (page % 64));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn pages(start: u64, words: &[u64]) -> DirtyPages {
        DirtyPages { regions: vec![DirtyRegion { start, words: words.to_vec() }] }
    }

    #[test]
    fn addresses_of_pages() {
        let set = pages(0x8000_0000, &[1 | 1 << 63, 0, 2]);
        let expected = [0x8000_0000, 0x8000_0000 + 63 * PAGE, 0x8000_0000 + 129 * PAGE];
        assert_eq!(set.iter().collect::<Vec<_>>(), expected);
        assert_eq!(set.count(), 3);
        let mut sum = set;
        sum.merge(&pages(0x8000_0000, &[3, 0, 0]));
        assert_eq!(sum, pages(0x8000_0000, &[3 | 1 << 63, 0, 2]));
    }

    #[test]
    fn larger_pages_of_the_host() {
        assert_eq!(spread(vec![0b101], 1, 3), [0b101]);
        assert_eq!(spread(vec![1 | 1 << 5], 16, 96), [0xffff, 0xffff << 16]);
        assert_eq!(spread(vec![0b10], 16, 20), [0xf << 16]);
    }

    #[test]
    fn marks_of_devices_are_taken_once() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0x1000), 0x8000), (GuestAddress(0x10_0000), 0x4000)]).unwrap();
        ram.write_obj(1u64, GuestAddress(0x2ffc)).unwrap();
        ram.write_obj(1u8, GuestAddress(0x10_3fff)).unwrap();
        let set = DirtyPages::of_devices(&ram);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0x2000, 0x3000, 0x10_3000]);
        assert_eq!(DirtyPages::of_devices(&ram).count(), 0);
    }
}
