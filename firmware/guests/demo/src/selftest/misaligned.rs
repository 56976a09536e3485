//! Misaligned loads and stores: whoever answers them, they have to give the right bytes.

use core::arch::asm;

use super::{Outcome, Test, ensure, equal};
use crate::memory::{self, PAGE};
use crate::trap::guarded;

core::arch::global_asm!(
    r#"
probe_amoadd:
    amoadd.d a0, a1, (a0)
    ret
probe_lr:
    lr.d    a0, (a0)
    ret
    "#
);

unsafe extern "C" {
    fn probe_amoadd(a: usize, b: usize) -> usize;
    fn probe_lr(a: usize, b: usize) -> usize;
}

fn accesses() -> Outcome {
    let pages = memory::pages(2, PAGE);
    // SAFETY: two pages of our own.
    let bytes = unsafe { core::slice::from_raw_parts_mut(pages as *mut u8, 2 * PAGE) };
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (i * 7 + 3) as u8;
    }
    let expect = |at: usize, len: usize| (0..len).rev().fold(0usize, |v, i| v << 8 | ((at + i) * 7 + 3) & 0xff);
    // Inside of a cache line, across two, and across two pages.
    for start in [8, 56, PAGE - 8] {
        for at in start..start + 9 {
            let (half, word, double): (usize, usize, usize);
            // SAFETY: inside of the two pages.
            unsafe {
                asm!("lhu {h}, ({a})", "lwu {w}, ({a})", "ld {d}, ({a})",
                    h = out(reg) half, w = out(reg) word, d = out(reg) double, a = in(reg) pages + at);
            }
            equal("lhu", half, expect(at, 2))?;
            equal("lwu", word, expect(at, 4))?;
            equal("ld", double, expect(at, 8))?;
        }
    }
    for start in [8, 56, PAGE - 8] {
        for at in start..start + 9 {
            let value = 0x1122_3344_5566_7788usize + at;
            // SAFETY: inside of the two pages.
            unsafe {
                asm!("sd zero, ({b})", "sd zero, 8({b})", "sd {v}, ({a})", v = in(reg) value, a = in(reg) pages + at, b = in(reg) pages + at - 4)
            };
            // SAFETY: as above; byte by byte.
            let got = (0..8)
                .rev()
                .fold(0usize, |v, i| v << 8 | unsafe { ((pages + at + i) as *const u8).read_volatile() } as usize);
            equal("sd", got, value)?;
            let around = [pages + at - 4, pages + at + 11].map(|a| {
                // SAFETY: as above.
                unsafe { (a as *const u8).read_volatile() }
            });
            ensure!(around == [0, 0], "sd touched what is beside it");
        }
    }
    Ok(())
}

/// A misaligned AMO is either right, or a trap without an effect.
fn atomics() -> Outcome {
    let page = memory::pages(1, PAGE);
    for (name, result) in [("amo", guarded(probe_amoadd, page + 1, 5)), ("lr", guarded(probe_lr, page + 2, 0))] {
        if let Err(trap) = result {
            ensure!((4..=7).contains(&trap.cause), "{name}: cause {}", trap.cause);
            equal("stval", trap.tval, if name == "amo" { page + 1 } else { page + 2 })?;
        }
        let done = name == "amo" && result.is_ok();
        // SAFETY: a page of our own.
        let got = unsafe { ((page + 1) as *const u8).read_volatile() };
        if name == "amo" {
            equal("memory", usize::from(got), if done { 5 } else { 0 })?;
        }
    }
    Ok(())
}

pub const TESTS: &[Test] =
    &[Test { name: "misaligned-access", run: accesses }, Test { name: "misaligned-atomic", run: atomics }];
