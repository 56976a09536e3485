//! A copy of one half of memory to the other, as large as no cache of a core.

use super::{Kernel, take};

const LEN: usize = 2 << 20;
const WORDS: usize = LEN / 8;

fn run(mut memory: &mut [u64]) -> u64 {
    let from = take::<i64>(&mut memory, WORDS);
    let to = take::<i64>(&mut memory, WORDS);
    // Other words each time, so that what is copied is not there before.
    let last = to[WORDS - 1];
    from[0] = last.wrapping_add(1);
    from[WORDS - 1] = last.wrapping_add(1);
    for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
        *to = *from;
    }
    u64::from(to[0] == last.wrapping_add(1) && to[WORDS - 1] == to[0] && to[WORDS / 2] == from[WORDS / 2])
}

pub const KERNEL: Kernel = Kernel {
    name: "copy",
    unit: "byte",
    per: LEN as u64,
    what: "bytes copied, 2 MiB at a time, each hart its own",
    bytes: 2 * LEN,
    run,
    want: 1,
};
