//! Which slots and which large pages may hold something, so that a flush touches no more.

use std::ops::Range;

use rustc_hash::FxHashSet;

/// A set of slots. What is empty costs next to nothing to go through.
pub(super) struct Slots<const WORDS: usize> {
    /// Groups of words that may have a bit set.
    any: u64,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Slots<WORDS> {
    /// Words in a group.
    const GROUP: usize = WORDS.div_ceil(64);

    pub(super) const EMPTY: Self = Self { any: 0, words: [0; WORDS] };

    #[inline]
    pub(super) fn add(&mut self, slot: usize) {
        self.any |= 1 << (slot / 64 / Self::GROUP);
        self.words[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    pub(super) fn has(&self, slot: usize) -> bool {
        self.words[slot / 64] >> (slot % 64) & 1 != 0
    }

    /// Drops the slots of which `keep` says so.
    #[inline]
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut any = self.any;
        while any != 0 {
            let group = any.trailing_zeros() as usize;
            any &= any - 1;
            let mut left = 0;
            for word in group * Self::GROUP..((group + 1) * Self::GROUP).min(WORDS) {
                let mut bits = self.words[word];
                while bits != 0 {
                    let slot = 64 * word + bits.trailing_zeros() as usize;
                    if !keep(slot) {
                        self.words[word] &= !(1 << (slot % 64));
                    }
                    bits &= bits - 1;
                }
                left |= self.words[word];
            }
            if left == 0 {
                self.any &= !(1 << group);
            }
        }
    }

    /// The slots of the set in `range`, which consists of whole words.
    pub(super) fn within(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        (range.start / 64..range.end / 64).flat_map(|word| {
            let mut bits = self.words[word];
            std::iter::from_fn(move || {
                let slot = (bits != 0).then(|| 64 * word + bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                slot
            })
        })
    }

    /// Takes all slots out.
    #[inline]
    pub(super) fn drain(&mut self, mut each: impl FnMut(usize)) {
        self.retain(|slot| {
            each(slot);
            false
        });
    }
}

/// A set of pages larger than 4 KiB.
#[derive(Default)]
pub(super) struct LargePages {
    /// Page number and shift in one word.
    pages: FxHashSet<u64>,
    /// Bit n: some page has shift n.
    shifts: u64,
    /// The bits of [`LargePages::sieve`] of all pages: most that are asked for have another one.
    sieve: u64,
    /// What was added last, since fills come in runs.
    last: u64,
    /// There were more than [`LargePages::LIMIT`]: everything may be one.
    overflown: bool,
}

impl LargePages {
    /// Tables that refer to themselves map any number of pages without costing the guest any memory.
    pub(super) const LIMIT: usize = 4096;

    pub(super) fn key(va: u64, shift: u8) -> u64 {
        va >> shift << 6 | u64::from(shift)
    }

    pub(super) fn sieve(key: u64) -> u64 {
        1 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }

    pub(super) fn add(&mut self, va: u64, shift: u8) {
        let key = Self::key(va, shift);
        if shift > 12 && key != self.last {
            self.last = key;
            self.shifts |= 1 << shift;
            self.overflown |= self.pages.len() >= Self::LIMIT;
            if !self.overflown {
                self.sieve |= Self::sieve(key);
                self.pages.insert(key);
            }
        }
    }

    pub(super) fn hold(&self, va: u64) -> bool {
        let mut shifts = self.shifts;
        if self.overflown {
            return true;
        }
        while shifts != 0 {
            let key = Self::key(va, shifts.trailing_zeros() as u8);
            if self.sieve & Self::sieve(key) != 0 && self.pages.contains(&key) {
                return true;
            }
            shifts &= shifts - 1;
        }
        false
    }

    pub(super) fn clear(&mut self) {
        self.pages.clear();
        (self.shifts, self.sieve, self.last, self.overflown) = (0, 0, 0, false);
    }
}
