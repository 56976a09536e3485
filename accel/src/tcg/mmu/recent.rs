//! Whether loops gain from an entry of the TLB for each of their accesses (`tlb::Recent`).
//!
//! While an access stays in a page it saves a look-up. Where it goes to another page each time, it costs one more and
//! a branch that was foretold wrongly. The changes of all loops of a hart are counted together; the loop that has the
//! last of a number of them is very likely one with many.

/// Changes that are counted before anybody looks.
const SAMPLE: i32 = 256;
/// From this many instructions for a change on recent pages pay.
const WORTHWHILE: u64 = 128;

/// Counts how often accesses of loops changed their pages.
#[derive(Debug, Clone, Copy)]
pub struct PageChanges {
    /// Changes until somebody looks; generated code counts down below zero.
    pub left: i32,
    /// Instructions that had retired when somebody looked last.
    since: u64,
}

impl Default for PageChanges {
    fn default() -> Self {
        Self { left: SAMPLE, since: 0 }
    }
}

impl PageChanges {
    /// Begins to count anew; `true` if the changes came too fast. `retired`: instructions by now.
    pub fn too_many(&mut self, retired: u64) -> bool {
        let instructions = retired.wrapping_sub(self.since);
        *self = Self { left: SAMPLE, since: retired };
        instructions < SAMPLE as u64 * WORTHWHILE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_too_many_if_few_instructions_lie_between_them() {
        let mut changes = PageChanges { left: -1, since: 1000 };
        assert!(changes.too_many(1000 + 256 * 32));
        assert_eq!(changes.left, SAMPLE);
        assert!(!changes.too_many(1000 + 256 * 32 + 256 * 128));
    }
}
