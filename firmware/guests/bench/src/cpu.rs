//! Whole numbers: small programs, one hart.

use crate::kernels::{bytecode, compress, crc, hash, mix, queens, sieve, sort};
use crate::session::{Row, Suite};

pub const SUITE: Suite = Suite {
    name: "cpu",
    rows: &[
        Row::kernel(&sort::KERNEL),
        Row::kernel(&hash::KERNEL),
        Row::kernel(&sieve::KERNEL),
        Row::kernel(&crc::KERNEL),
        Row::kernel(&compress::KERNEL),
        Row::kernel(&bytecode::KERNEL),
        Row::kernel(&queens::KERNEL),
        Row::kernel(&mix::KERNEL),
    ],
};
