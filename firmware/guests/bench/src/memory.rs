//! Memory: how long a load takes and how much gets through, by how much memory is in use. Paging is off.

use core::arch::asm;

use crate::session::{Check, Outcome, Points, Row, Session, Suite, Work};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Sizes of a curve over all caches.
const SIZES: Points =
    Points::At("bytes", &[4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB]);
const FEW_SIZES: Points = Points::At("bytes", &[16 * KIB, 256 * KIB, 4 * MIB, 64 * MIB]);
const STRIDES: Points = Points::At("stride", &[8, 64, 256, 1024, 4096]);

pub const SUITE: Suite = Suite {
    name: "memory",
    rows: &[
        row(
            "latency",
            "op",
            SIZES,
            "one load that depends on the last one, from a random line of so many bytes",
            latency,
        ),
        row("read", "byte", FEW_SIZES, "bytes read, 8 at a time, from first to last", read),
        row("write", "byte", FEW_SIZES, "bytes written, 8 at a time, from first to last", write),
        row("copy", "byte", FEW_SIZES, "bytes copied, 8 at a time, from one half of so many to the other", copy),
        row("stride", "op", STRIDES, "one load, so many bytes behind the last one, in 16 MiB", stride),
    ],
};

const fn row(
    name: &'static str,
    unit: &'static str,
    points: Points,
    what: &'static str,
    run: fn(&Session) -> Outcome,
) -> Row {
    Row { name, unit, points, what, work: Work::Code(run) }
}

const LINE: u64 = 64;

/// The line after a line: a full period of a linear congruential generator modulo a power of two, which no prefetcher
/// foresees.
const FACTOR: u64 = 0x5851_f42d_4c95_7f2d;
const STEP: u64 = 0x1405_7b7e_f767_814f;

/// The line `count` lines after the first.
fn line_after(mut count: u64, lines: u64) -> u64 {
    // The step is x -> factor * x + step; doubled, it is x -> factor^2 * x + (factor + 1) * step.
    let (mut at, mut factor, mut step) = (0u64, FACTOR, STEP);
    while count != 0 {
        if count & 1 != 0 {
            at = at.wrapping_mul(factor).wrapping_add(step);
        }
        step = step.wrapping_mul(factor.wrapping_add(1));
        factor = factor.wrapping_mul(factor);
        count >>= 1;
    }
    at % lines
}

fn latency(s: &Session) -> Outcome {
    const TIMES: u64 = 64;
    let lines = s.point / LINE;
    let base = s.memory(s.point as usize)? as u64;
    for line in 0..lines {
        let next = line.wrapping_mul(FACTOR).wrapping_add(STEP) % lines;
        // SAFETY: fresh memory of `point` bytes.
        unsafe { ((base + line * LINE) as *mut u64).write(base + next * LINE) };
    }
    // On from where the last round ended: a short round alone does not see all lines.
    let (mut at, mut steps) = (base, 0u64);
    s.measure(TIMES, &mut |k| {
        // SAFETY: each line points to a line.
        unsafe {
            asm!("2:", ".rept 64", "ld {x}, 0({x})", ".endr", "addi {k}, {k}, -1", "bnez {k}, 2b",
                x = inout(reg) at, k = inout(reg) k => _, options(nostack, readonly));
        }
        steps += k * TIMES;
        Check::new(at, base + line_after(steps, lines) * LINE)
    })
}

/// Memory of words that are their place.
fn words(s: &Session, bytes: u64) -> Result<&'static mut [u64], crate::session::Problem> {
    let start = s.memory(bytes as usize)? as *mut u64;
    let len = bytes as usize / 8;
    // SAFETY: fresh memory of that length, made of plain numbers.
    unsafe {
        (0..len).for_each(|i| start.add(i).write(i as u64));
        Ok(core::slice::from_raw_parts_mut(start, len))
    }
}

fn read(s: &Session) -> Outcome {
    let words = words(s, s.point)?;
    let want = words.len() as u64 * (words.len() as u64 - 1) / 2;
    let range = words.as_ptr_range();
    s.measure(s.point, &mut |k| {
        let mut good = 0;
        for _ in 0..k {
            let (mut one, mut two) = (0u64, 0u64);
            // SAFETY: reads the words, whose number is a multiple of eight.
            unsafe {
                asm!("2:", "ld {a}, 0({p})", "ld {b}, 8({p})", "add {one}, {one}, {a}", "ld {a}, 16({p})",
                    "add {two}, {two}, {b}", "ld {b}, 24({p})", "add {one}, {one}, {a}", "ld {a}, 32({p})",
                    "add {two}, {two}, {b}", "ld {b}, 40({p})", "add {one}, {one}, {a}", "ld {a}, 48({p})",
                    "add {two}, {two}, {b}", "ld {b}, 56({p})", "addi {p}, {p}, 64", "add {one}, {one}, {a}",
                    "add {two}, {two}, {b}", "bne {p}, {end}, 2b", a = out(reg) _, b = out(reg) _,
                    one = inout(reg) one, two = inout(reg) two, p = inout(reg) range.start => _,
                    end = in(reg) range.end, options(nostack, readonly));
            }
            good += u64::from(one.wrapping_add(two) == want);
        }
        Check::new(good, k)
    })
}

/// Some of the words are looked at, spread over all; says whether each is what it has to be.
fn sampled(words: &[u64], good: impl Fn(usize, u64) -> bool) -> Check {
    const SAMPLES: usize = 512;
    let hits = |n: &usize| {
        let at = n * (words.len() - 1) / (SAMPLES - 1);
        // SAFETY: written by assembly; volatile, as the compiler does not see it.
        good(at, unsafe { (&raw const words[at]).read_volatile() })
    };
    Check::new((0..SAMPLES).filter(hits).count() as u64, SAMPLES as u64)
}

fn write(s: &Session) -> Outcome {
    let words = words(s, s.point)?;
    let range = words.as_mut_ptr_range();
    let mut mark = 0u64;
    s.measure(s.point, &mut |k| {
        for _ in 0..k {
            mark += 0x0101_0101_0101;
            // SAFETY: writes the words, whose number is a multiple of eight.
            unsafe {
                asm!("2:", "sd {v}, 0({p})", "sd {v}, 8({p})", "sd {v}, 16({p})", "sd {v}, 24({p})",
                    "sd {v}, 32({p})", "sd {v}, 40({p})", "sd {v}, 48({p})", "sd {v}, 56({p})",
                    "addi {p}, {p}, 64", "bne {p}, {end}, 2b", v = in(reg) mark,
                    p = inout(reg) range.start => _, end = in(reg) range.end, options(nostack));
            }
        }
        sampled(words, |_, word| word == mark)
    })
}

fn copy(s: &Session) -> Outcome {
    let all = words(s, s.point)?;
    let (from, to) = all.split_at_mut(all.len() / 2);
    let range = from.as_ptr_range();
    let target = to.as_mut_ptr();
    s.measure(s.point / 2, &mut |k| {
        for _ in 0..k {
            // SAFETY: from one half to the other; the number of words is a multiple of four.
            unsafe {
                asm!("2:", "ld {a}, 0({p})", "ld {b}, 8({p})", "ld {c}, 16({p})", "ld {d}, 24({p})",
                    "addi {p}, {p}, 32", "sd {a}, 0({q})", "sd {b}, 8({q})", "sd {c}, 16({q})", "sd {d}, 24({q})",
                    "addi {q}, {q}, 32", "bne {p}, {end}, 2b", a = out(reg) _, b = out(reg) _, c = out(reg) _,
                    d = out(reg) _, p = inout(reg) range.start => _, q = inout(reg) target => _,
                    end = in(reg) range.end, options(nostack));
            }
        }
        sampled(to, |at, word| word == at as u64)
    })
}

fn stride(s: &Session) -> Outcome {
    let words = words(s, 16 * MIB)?;
    let step = s.point / 8;
    let count = words.len() as u64 / step;
    let want = step * (count * (count - 1) / 2);
    let range = words.as_ptr_range();
    s.measure(count, &mut |k| {
        let mut good = 0;
        for _ in 0..k {
            let mut sum = 0u64;
            // SAFETY: reads words at multiples of the stride, whose number is a multiple of eight.
            unsafe {
                asm!("2:", ".rept 8", "ld {a}, 0({p})", "add {p}, {p}, {step}", "add {sum}, {sum}, {a}", ".endr",
                    "bne {p}, {end}, 2b", a = out(reg) _, sum = inout(reg) sum, step = in(reg) s.point,
                    p = inout(reg) range.start => _, end = in(reg) range.end, options(nostack, readonly));
            }
            good += u64::from(sum == want);
        }
        Check::new(good, k)
    })
}
