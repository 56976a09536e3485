//! The sieve of Eratosthenes, a byte a number.

use super::{Kernel, take};

const LIMIT: usize = 1 << 16;

fn run(mut memory: &mut [u64]) -> u64 {
    let composite = take::<u8>(&mut memory, LIMIT);
    composite.fill(0);
    let mut count = 0;
    for i in 2..LIMIT {
        if composite[i] == 0 {
            count += 1;
            let mut multiple = i * i;
            while multiple < LIMIT {
                composite[multiple] = 1;
                multiple += i;
            }
        }
    }
    count
}

pub const KERNEL: Kernel =
    Kernel { name: "sieve", unit: "op", per: 1, what: "the primes below 65536", bytes: LIMIT, run, want: 6542 };
