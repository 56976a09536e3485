//! Queens on a board that do not see each other: recursion and bits.

use super::Kernel;

const QUEENS: u32 = 8;

/// Ways to fill the rows that are left. `columns`, `left`, `right`: what is attacked in this row.
fn place(columns: u32, left: u32, right: u32) -> u64 {
    let full = (1 << QUEENS) - 1;
    if columns == full {
        return 1;
    }
    let mut free = full & !(columns | left | right);
    let mut ways = 0;
    while free != 0 {
        let queen = free & free.wrapping_neg();
        free ^= queen;
        ways += place(columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    ways
}

fn run(_: &mut [u64]) -> u64 {
    place(core::hint::black_box(0), 0, 0)
}

pub const KERNEL: Kernel = Kernel {
    name: "queens",
    unit: "op",
    per: 1,
    what: "all ways to place 8 queens on a board, by recursion",
    bytes: 0,
    run,
    want: 92,
};
