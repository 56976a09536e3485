//! Jumps, calls, and code that is written.

use core::arch::{asm, global_asm};

use runtime::memory::PAGE;

use super::{TIMES, repeat};
use crate::session::{Check, Outcome, Session};

global_asm!(
    r#"
    .section .text
    .balign 8
jump_target:
    .rept 64
    addi    a0, a0, 1
    .option push
    .option norvc
    ret
    .option pop
    .balign 8
    .endr
    "#
);

unsafe extern "C" {
    /// 64 functions, eight bytes each, that add one to a0.
    static jump_target: u8;
}

const TARGET_LEN: usize = 8;

pub fn call_return(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let mut count = 0u64;
        // SAFETY: the function changes a0 only.
        unsafe { repeat!(k, "call jump_target", inout("a0") count, out("ra") _, options(nomem, nostack)) };
        Check::new(count, k * TIMES)
    })
}

pub fn indirect(s: &Session) -> Outcome {
    let targets = s.point as usize;
    // A pass has 64 calls, however many targets there are.
    let table = s.slice::<usize>(TIMES as usize)?;
    for (i, entry) in table.iter_mut().enumerate() {
        *entry = &raw const jump_target as usize + i % targets * TARGET_LEN;
    }
    let (start, end) = (table.as_ptr() as usize, table.as_ptr() as usize + size_of_val(table));
    s.measure(TIMES, &mut |k| {
        let mut count = 0u64;
        for _ in 0..k {
            // SAFETY: the functions change a0 only.
            unsafe {
                asm!("2:", "ld {t}, 0({p})", "addi {p}, {p}, 8", "jalr {t}", "bne {p}, {end}, 2b",
                    t = out(reg) _, p = inout(reg) start => _, end = in(reg) end, inout("a0") count, out("ra") _,
                    options(nostack));
            }
        }
        Check::new(count, k * TIMES)
    })
}

/// Instructions, encoded: `addi rd, rs, imm`, `jal zero, offset`, `bne a1, zero, offset`, `ret`.
const fn addi(rd: u32, rs: u32, imm: i32) -> u32 {
    0x13 | rd << 7 | rs << 15 | (imm as u32) << 20
}

const fn jump_by(offset: i32) -> u32 {
    let o = offset as u32;
    0x6f | (o >> 20 & 1) << 31 | (o >> 1 & 0x3ff) << 21 | (o >> 11 & 1) << 20 | (o >> 12 & 0xff) << 12
}

const fn bnez_a1(offset: i32) -> u32 {
    let o = offset as u32;
    0x1063 | 11 << 15 | (o >> 12 & 1) << 31 | (o >> 5 & 0x3f) << 25 | (o >> 1 & 0xf) << 8 | (o >> 11 & 1) << 7
}

const RET: u32 = 0x8067;
const A0: u32 = 10;
const A1: u32 = 11;

fn fence_i_now() {
    // SAFETY: makes written code visible.
    unsafe { asm!("fence.i") };
}

/// 32 pairs of jumps, to and fro between two places that are `distance` bytes apart, each with an `addi a0, a0, 1`.
fn to_and_fro(s: &Session, distance: usize) -> Outcome {
    const PAIRS: usize = TIMES as usize / 2;
    let here = s.code(2 * PAGE)?;
    let put = |address: usize, code: [u32; 2]| {
        // SAFETY: fresh pages.
        unsafe { (address as *mut [u32; 2]).write(code) };
    };
    let there = here + distance;
    for i in 0..PAIRS {
        put(here + 8 * i, [addi(A0, A0, 1), jump_by(distance as i32 - 4)]);
        put(there + 8 * i, [addi(A0, A0, 1), jump_by(8 - 4 - distance as i32)]);
    }
    let tail = here + 8 * PAIRS;
    put(tail, [addi(A1, A1, -1), bnez_a1(-(8 * PAIRS as i32) - 4)]);
    put(tail + 8, [RET, RET]);
    fence_i_now();
    s.measure(TIMES, &mut |k| {
        let mut count = 0u64;
        // SAFETY: the code above, which changes a0 and a1.
        unsafe {
            asm!("jalr {f}", f = in(reg) here, inout("a0") count, inout("a1") k => _, out("ra") _, options(nostack));
        }
        Check::new(count, k * TIMES)
    })
}

pub fn near(s: &Session) -> Outcome {
    to_and_fro(s, PAGE / 2)
}

pub fn cross_page(s: &Session) -> Outcome {
    to_and_fro(s, PAGE)
}

pub fn fence_i(s: &Session) -> Outcome {
    s.measure(TIMES, &mut |k| {
        let mut count = 0u64;
        // SAFETY: forgets nothing but fetched code.
        unsafe { repeat!(k, "fence.i\naddi {x}, {x}, 1", x = inout(reg) count, options(nostack)) };
        Check::new(count, k * TIMES)
    })
}

pub fn code_patch(s: &Session) -> Outcome {
    let code = s.code(PAGE)? as *mut u32;
    // SAFETY: fresh memory.
    unsafe { code.add(1).write(RET) };
    s.measure(1, &mut |k| {
        let (mut sum, mut want) = (0u64, 0u64);
        for i in 0..k {
            let step = (i & 0x3ff) as i32;
            // SAFETY: a function that changes a0.
            unsafe {
                code.write_volatile(addi(A0, A0, step));
                asm!("fence.i", "jalr {f}", f = in(reg) code, inout("a0") sum, out("ra") _, options(nostack));
            }
            want += step as u64;
        }
        Check::new(sum, want)
    })
}
