//! Which guest instruction a piece of host code belongs to, for samples ([`sampler`](crate::tcg::observe::sampler)). Kept
//! only while somebody takes some.
//!
//! Code that was dropped stays where it is until other code comes in its place, and so does what is known of it: a sample of
//! a block that was dropped a moment ago is right.

use std::collections::BTreeMap;

use crate::tcg::observe::Mark;

/// Where a guest register lives in a piece of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the hart's state.
    Memory,
    /// In the host register of this number.
    Host(u8),
}

/// What is known of a piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its bytes.
    pub len: u32,
    /// The guest's physical page, and where that was mapped when the code was made.
    pub page: u64,
    pub mapped: u64,
    /// Offset in the page of what stands for code without a mark.
    pub start: u16,
    /// By place in the code.
    pub marks: Box<[Mark]>,
    /// Of `ra`, `sp`, `s0` and `tp`.
    pub homes: [Home; 4],
}

impl Placed {
    /// Offset in its page of the guest instruction whose code is `at` bytes from the start; `None` if nobody knows which.
    pub fn guest(&self, at: u32) -> Option<u16> {
        let next = self.marks.partition_point(|mark| mark.host <= at);
        let mark = self.marks[..next].last()?;
        (mark.guest != Mark::COLD).then_some(mark.guest)
    }
}

/// Pieces of code by their address.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<u64, Placed>);

impl Places {
    pub fn add(&mut self, address: u64, placed: Placed) {
        let end = address + u64::from(placed.len);
        // What was there is gone.
        let first = self.0.range(..address).next_back().filter(|(at, p)| *at + u64::from(p.len) > address);
        let old: Vec<u64> = first.into_iter().chain(self.0.range(address..end)).map(|(at, _)| *at).collect();
        old.iter().for_each(|at| {
            self.0.remove(at);
        });
        self.0.insert(address, placed);
    }

    /// The piece that `address` is in, and how far from its start.
    pub fn find(&self, address: u64) -> Option<(&Placed, u32)> {
        let (start, placed) = self.0.range(..=address).next_back()?;
        let at = u32::try_from(address - start).ok()?;
        (at < placed.len).then_some((placed, at))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(len: u32, page: u64, marks: &[(u32, u16)]) -> Placed {
        let marks = marks.iter().map(|&(host, guest)| Mark { host, guest }).collect();
        Placed { len, page, mapped: 0, start: 7, marks, homes: [Home::Memory; 4] }
    }

    #[test]
    fn code_is_found_until_other_code_takes_its_place() {
        let mut places = Places::default();
        places.add(0x100, placed(0x20, 1, &[]));
        places.add(0x120, placed(0x10, 2, &[]));
        places.add(0x140, placed(0x10, 3, &[]));
        let page = |places: &Places, at| places.find(at).map(|(p, at)| (p.page, at));
        let found = [0xff, 0x100, 0x11f, 0x120, 0x12f, 0x130, 0x14f, 0x150].map(|at| page(&places, at));
        let expected = [None, Some((1, 0)), Some((1, 0x1f)), Some((2, 0)), Some((2, 15)), None, Some((3, 15)), None];
        assert_eq!(found, expected);
        places.add(0x118, placed(0x10, 4, &[]));
        let found = [0x100, 0x117, 0x118, 0x127, 0x128, 0x140].map(|at| page(&places, at));
        assert_eq!(found, [None, None, Some((4, 0)), Some((4, 15)), None, Some((3, 0))]);
    }

    #[test]
    fn marks_say_which_instruction() {
        let p = placed(0x40, 1, &[(4, 0x10), (8, 0x14), (20, Mark::COLD), (24, 0x10), (30, 0x14)]);
        let guest = [0, 3, 4, 7, 8, 19, 20, 24, 29, 30, 63].map(|at| p.guest(at));
        let (a, b) = (Some(0x10), Some(0x14));
        assert_eq!(guest, [None, None, a, a, b, b, None, a, a, b, b]);
    }
}
