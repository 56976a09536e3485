//! A set of extensions as bits.

use std::fmt;

use super::table::{EXTENSIONS, Ext};

const WORDS: usize = EXTENSIONS.len().div_ceil(64);

/// A set of extensions; iterates in canonical order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ExtSet([u64; WORDS]);

impl ExtSet {
    pub const EMPTY: Self = Self([0; WORDS]);

    pub const fn of(exts: &[Ext]) -> Self {
        let mut set = Self::EMPTY;
        let mut i = 0;
        while i < exts.len() {
            set.0[exts[i] as usize / 64] |= 1 << (exts[i] as usize % 64);
            i += 1;
        }
        set
    }

    pub const fn contains(&self, ext: Ext) -> bool {
        self.0[ext as usize / 64] >> (ext as usize % 64) & 1 != 0
    }

    pub fn insert(&mut self, ext: Ext) {
        self.0[ext as usize / 64] |= 1 << (ext as usize % 64);
    }

    pub fn remove(&mut self, ext: Ext) {
        self.0[ext as usize / 64] &= !(1 << (ext as usize % 64));
    }

    pub fn set(&mut self, ext: Ext, on: bool) {
        if on { self.insert(ext) } else { self.remove(ext) }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    pub fn iter(&self) -> impl Iterator<Item = Ext> + use<> {
        let set = *self;
        EXTENSIONS.iter().map(|row| row.ext).filter(move |ext| set.contains(*ext))
    }

    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    pub fn difference(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// This set with everything its members imply. `C` and `D` together imply `Zcd`.
    pub fn closure(&self) -> Self {
        let mut set = *self;
        loop {
            let mut next = set;
            for ext in set.iter() {
                next = next.union(&Self::of(ext.row().implies));
            }
            if next.contains(Ext::C) && next.contains(Ext::D) {
                next.insert(Ext::Zcd);
            }
            if next == set {
                return set;
            }
            set = next;
        }
    }
}

impl FromIterator<Ext> for ExtSet {
    fn from_iter<T: IntoIterator<Item = Ext>>(iter: T) -> Self {
        let mut set = Self::EMPTY;
        iter.into_iter().for_each(|ext| set.insert(ext));
        set
    }
}

impl fmt::Debug for ExtSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
