//! Who called: the chain of frames that code with frame pointers leaves on its stack.
//!
//! A function with a frame has its return address eight bytes below the address in `s0`, and below that the `s0` of its
//! caller (psABI, "Frame Pointer Convention"). A leaf may keep its caller's `s0` alone, where the return address would be.
//! What has no frames leaves anything in `s0`: a chain is followed only as long as it looks like one.

use super::{FRAMES, Sample};

/// Guest memory, read without a trace.
pub trait Memory {
    /// The eight bytes at a virtual address, which is a multiple of eight; `None` if nothing is there.
    fn read(&mut self, va: u64) -> Option<u64>;
}

/// The registers that stacks are found by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    pub ra: u64,
    pub sp: u64,
    pub s0: u64,
    pub tp: u64,
}

/// No frame is larger, in bytes.
const FRAME_MAX: u64 = 1 << 20;
/// How often a chain may go on in another stack: kernels change theirs for interrupts.
const STACKS_MAX: u32 = 2;

/// Fills in who called the function at `sample.pc`.
pub fn unwind(sample: &mut Sample, registers: &Registers, memory: &mut impl Memory) {
    let &Registers { ra, sp, s0, .. } = registers;
    let half = |va: u64| va >> 63;
    sample.ra = if is_code(ra) { ra } else { 0 };
    sample.depth = 0;
    let (mut fp, mut below, mut stacks) = (s0, sp, 0);
    while usize::from(sample.depth) < FRAMES {
        if fp & 7 != 0 || fp < 16 || half(fp) != half(sp) {
            return;
        }
        if fp.wrapping_sub(below).wrapping_sub(1) >= FRAME_MAX && fp != below {
            stacks += 1;
            if half(fp) == 0 || stacks > STACKS_MAX || below == sp {
                return;
            }
        }
        let Some(mut back) = memory.read(fp - 8) else { return };
        let mut next = memory.read(fp - 16);
        let looks_like_a_frame = back & 7 == 0 && back.wrapping_sub(fp).wrapping_sub(1) < FRAME_MAX;
        if sample.depth == 0 && looks_like_a_frame {
            // A leaf, whose return address is where it was.
            (back, next) = (ra, Some(back));
            sample.ra = 0;
        }
        if !is_code(back) {
            return;
        }
        sample.frames[usize::from(sample.depth)] = back;
        sample.depth += 1;
        let Some(next) = next.filter(|next| *next != fp) else { return };
        (below, fp) = (fp, next);
    }
}

/// Whether a function may be called from there.
fn is_code(va: u64) -> bool {
    va > 1 && va & 1 == 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Stack(BTreeMap<u64, u64>);

    impl Memory for Stack {
        fn read(&mut self, va: u64) -> Option<u64> {
            assert!(va.is_multiple_of(8), "{va:#x}");
            self.0.get(&va).copied()
        }
    }

    fn unwound(ra: u64, sp: u64, s0: u64, words: &[(u64, u64)]) -> (u64, Vec<u64>) {
        let mut sample = Sample::default();
        unwind(&mut sample, &Registers { ra, sp, s0, tp: 0 }, &mut Stack(words.iter().copied().collect()));
        (sample.ra, sample.frames().to_vec())
    }

    const S: u64 = 0xffff_ffc0_0000_1000;

    /// A frame at `fp`: return address and the caller's.
    fn frame(fp: u64, back: u64, next: u64) -> [(u64, u64); 2] {
        [(fp.wrapping_sub(8), back), (fp.wrapping_sub(16), next)]
    }

    #[test]
    fn frames_are_followed_to_their_end() {
        let words = [frame(S + 32, 0x100, S + 64), frame(S + 64, 0x200, S + 96), frame(S + 96, 0, 0)].concat();
        assert_eq!(unwound(0x100, S, S + 32, &words), (0x100, vec![0x100, 0x200]));
        // A leaf that keeps its caller's frame only.
        let words = [vec![(S + 8, S + 64)], frame(S + 64, 0x200, 0).to_vec()].concat();
        assert_eq!(unwound(0x300, S, S + 16, &words), (0, vec![0x300, 0x200]));
        // An empty stack pointer's distance: the frame begins at it.
        assert_eq!(unwound(0x100, S + 32, S + 32, &frame(S + 32, 0x100, 0)), (0x100, vec![0x100]));
    }

    #[test]
    fn a_kernel_may_change_its_stack_and_a_program_may_not() {
        let other = S + (8 << 20);
        let words =
            [frame(S + 32, 0x100, other), frame(other, 0x200, S - 0x1000), frame(S - 0x1000, 0x300, 0)].concat();
        assert_eq!(unwound(2, S, S + 32, &words).1, [0x100, 0x200, 0x300]);
        let low = |va: u64| va & 0x7f_ffff_ffff;
        let words: Vec<_> = words.iter().map(|(at, v)| (low(*at), low(*v))).collect();
        assert_eq!(unwound(2, low(S), low(S + 32), &words).1, [0x100]);
        // Not from the one's stack to the other's.
        let words = [frame(S + 32, 0x100, 0x2000), frame(0x2000, 0x200, 0)].concat();
        assert_eq!(unwound(2, S, S + 32, &words).1, [0x100]);
    }

    #[test]
    fn what_is_no_chain_ends_it() {
        for s0 in [0, 8, 15, S + 33, S - 8, S + (2 << 20), u64::MAX, 0x1000] {
            let near = frame(s0 & !7, 0x100, S + 64);
            let words: Vec<_> = near.iter().map(|(at, v)| (*at & !7, *v)).collect();
            assert_eq!(unwound(0x40, S, s0, &words), (0x40, vec![]), "{s0:#x}");
        }
        // Memory that is not there, addresses that are no code, and a circle.
        assert_eq!(unwound(0x41, S, S + 32, &[]), (0, vec![]));
        assert_eq!(unwound(0, S, S + 32, &frame(S + 32, 0x101, S + 64)), (0, vec![]));
        assert_eq!(unwound(0, S, S + 32, &frame(S + 32, 0x100, S + 32)), (0, vec![0x100]));
        let words = [frame(S + 32, 0x100, S + 64), frame(S + 64, 0x200, S + 32)].concat();
        assert!(unwound(0, S, S + 32, &words).1.len() <= FRAMES);
    }
}
