//! Small benchmarks. Each checks its result, so that a fast wrong engine is found out.
//!
//! The times are the guest's (`time`); instructions are `instret`, which some machines do not count exactly.

use core::hint::black_box;

use crate::console::println;
use crate::csr::{self, csr_read};
use crate::memory::{self, PAGE};
use crate::{irq, sbi};

struct Bench {
    name: &'static str,
    /// Does the work and gives a number that must be `expect`.
    run: fn(Scratch) -> u64,
    expect: u64,
}

/// Memory for all of them, page aligned.
#[derive(Clone, Copy)]
struct Scratch(usize);

const SCRATCH_LEN: usize = 2 << 20;

impl Scratch {
    /// The first `len` items of it.
    fn slice<T>(self, len: usize) -> &'static mut [T] {
        assert!(len * size_of::<T>() <= SCRATCH_LEN);
        // SAFETY: our own memory, of plain numbers; each benchmark takes one slice at a time.
        unsafe { core::slice::from_raw_parts_mut(self.0 as *mut T, len) }
    }
}

/// A linear congruential generator (Numerical Recipes).
fn next(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed
}

/// Primes below 2,000,000.
fn sieve(scratch: Scratch) -> u64 {
    let composite = scratch.slice::<u8>(2_000_000);
    composite.fill(0);
    let mut count = 0;
    for i in 2..composite.len() {
        if composite[i] == 0 {
            count += 1;
            for multiple in (i * i..composite.len()).step_by(i) {
                composite[multiple] = 1;
            }
        }
    }
    count
}

/// CRC-32 of 1 MiB, eight bits at a time by a table.
fn crc32(scratch: Scratch) -> u64 {
    let words = scratch.slice::<u32>((1 << 18) + 256);
    let (table, data) = words.split_at_mut(256);
    for (i, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(i as u32, |c, _| c >> 1 ^ if c & 1 != 0 { 0xedb8_8320 } else { 0 });
    }
    let mut seed = 1;
    data.fill_with(|| next(&mut seed));
    let crc = data.iter().flat_map(|w| w.to_le_bytes()).fold(!0u32, |c, b| table[(c as u8 ^ b) as usize] ^ c >> 8);
    u64::from(!crc)
}

/// Heap sort of 100,000 numbers; the result says whether they are in order, and which is in the middle.
fn sort(scratch: Scratch) -> u64 {
    let data = scratch.slice::<u32>(100_000);
    let mut seed = 2;
    data.fill_with(|| next(&mut seed));
    let sift = |data: &mut [u32], mut root: usize| loop {
        let mut child = 2 * root + 1;
        if child >= data.len() {
            break;
        }
        if child + 1 < data.len() && data[child] < data[child + 1] {
            child += 1;
        }
        if data[root] >= data[child] {
            break;
        }
        data.swap(root, child);
        root = child;
    };
    for root in (0..data.len() / 2).rev() {
        sift(data, root);
    }
    for end in (1..data.len()).rev() {
        data.swap(0, end);
        sift(&mut data[..end], 0);
    }
    let sorted = data.windows(2).all(|pair| pair[0] <= pair[1]);
    u64::from(data[data.len() / 2]) | u64::from(sorted) << 32
}

const ORDER: usize = 96;

/// A product of two matrices of doubles.
fn matrix(scratch: Scratch) -> u64 {
    let all = scratch.slice::<f64>(3 * ORDER * ORDER);
    let (a, rest) = all.split_at_mut(ORDER * ORDER);
    let (b, c) = rest.split_at_mut(ORDER * ORDER);
    for i in 0..ORDER * ORDER {
        a[i] = (i % 17) as f64 * 0.5;
        b[i] = (i % 23) as f64 - 11.0;
    }
    for row in 0..ORDER {
        for column in 0..ORDER {
            c[row * ORDER + column] = (0..ORDER).map(|k| a[row * ORDER + k] * b[k * ORDER + column]).sum();
        }
    }
    c.iter().enumerate().map(|(i, v)| v * (i % 7) as f64).sum::<f64>().to_bits()
}

/// 64 MiB in pieces of 1 MiB.
fn copy(scratch: Scratch) -> u64 {
    let data = scratch.slice::<u64>(SCRATCH_LEN / 8);
    let (from, to) = data.split_at_mut(SCRATCH_LEN / 16);
    for i in 0..64u64 {
        from[i as usize] = i;
        to.copy_from_slice(black_box(from));
    }
    to[..64].iter().sum()
}

/// A walk through 64 Ki linked slots in a scattered order.
fn chase(scratch: Scratch) -> u64 {
    let links = scratch.slice::<usize>(1 << 16);
    for (i, link) in links.iter_mut().enumerate() {
        // A full-period sequence modulo 2^16.
        *link = (i * 25_173 + 13_849) & 0xffff;
    }
    let mut at = 0;
    for _ in 0..1_000_000 {
        at = links[at];
    }
    at as u64
}

fn fibonacci(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fibonacci(black_box(n) - 1) + fibonacci(n - 2) }
}

/// Calls and returns.
fn calls(_: Scratch) -> u64 {
    fibonacci(25)
}

/// Reads of a CSR that is only a register.
fn csr(_: Scratch) -> u64 {
    (0..200_000).map(|_| u64::from(csr_read!("sscratch") != 0)).sum()
}

/// Reads of the clock.
fn clock(_: Scratch) -> u64 {
    let mut last = 0;
    let mut forward = 0;
    for _ in 0..200_000 {
        let now = csr_read!("time");
        forward += u64::from(now >= last);
        last = now;
    }
    forward
}

/// The cheapest SBI call.
fn ecall(_: Scratch) -> u64 {
    (0..50_000).map(|_| u64::from(sbi::call(sbi::BASE, 0, [0; 5]).error == 0)).sum()
}

const BENCHES: &[Bench] = &[
    Bench { name: "sieve", run: sieve, expect: 148_933 },
    Bench { name: "crc32", run: crc32, expect: 0x9c6e_f345 },
    Bench { name: "sort", run: sort, expect: 0x1_7f73_35fd },
    Bench { name: "matrix", run: matrix, expect: 0xc0eb_3710_0000_0000 },
    Bench { name: "memcpy", run: copy, expect: 63 * 64 / 2 },
    Bench { name: "chase", run: chase, expect: 0xf5c0 },
    Bench { name: "calls", run: calls, expect: 75_025 },
    Bench { name: "csr-read", run: csr, expect: 200_000 },
    Bench { name: "rdtime", run: clock, expect: 200_000 },
    Bench { name: "ecall", run: ecall, expect: 50_000 },
];

/// Instructions so far, or 0 where they are not told.
fn instret() -> usize {
    if csr::has_instret() { csr_read!("instret") } else { 0 }
}

/// Runs all, or the one that is named.
pub fn run(only: &str) {
    let scratch = Scratch(memory::pages(SCRATCH_LEN / PAGE, PAGE));
    println!("name            ms  instructions/1000  per us");
    for bench in BENCHES.iter().filter(|b| only.is_empty() || b.name == only) {
        let (time, instret) = (irq::time(), instret());
        let result = (bench.run)(scratch);
        let instructions = self::instret().wrapping_sub(instret) as u64;
        let micros = ((irq::time() - time) * 1_000_000 / crate::machine().timebase).max(1);
        let (ms, thousands, rate) = (micros / 1000, instructions / 1000, instructions / micros);
        println!("{:<10} {ms:>7} {thousands:>18} {rate:>7}", bench.name);
        if result != bench.expect {
            println!("FAIL bench-{}: got {result:#x}, want {:#x}", bench.name, bench.expect);
        }
    }
}
