//! Vectors, of whatever length the harts have; each result is compared with the same by plain instructions.

use core::arch::global_asm;

use runtime::{csr, csr_clear, csr_set, machine};

use crate::kernels::Random;
use crate::session::{Check, Outcome, Points, Problem, Row, Session, Suite, Work};

pub const SUITE: Suite = Suite {
    name: "vector",
    rows: &[
        row("saxpy", "flop", "an addition or multiplication in z = a x + y, 4096 numbers of f32", saxpy),
        row("gemm", "flop", "an addition or multiplication in a product of 64x64 matrices of f32", gemm),
        row("dot", "op", "one widening multiply-add in a product of two rows of 4096 i16", dot),
        row("memcpy", "byte", "16 KiB are copied", memcpy),
        row("strlen", "byte", "the end of a text of 4 KiB is found by fault-only-first loads", strlen),
        row("upper", "byte", "16 KiB of text, small letters made large under a mask", upper),
        row("count", "byte", "how often a byte is in 16 KiB", count),
        row("masked", "op", "one number of z = x > y ? x - y : z, 4096 of i32", masked),
        row("strided", "op", "one number of a column of a 256x64 matrix of i32, summed up", strided),
        row("gather", "op", "one indexed load of i32, 4096 from 16 KiB in no order", gather),
        row("scatter", "op", "one indexed store of i32, 4096 to 16 KiB in no order", scatter),
        row("reverse", "op", "one of 8192 numbers of i16 that change order, by vrgather", reverse),
    ],
};

const fn row(name: &'static str, unit: &'static str, what: &'static str, run: fn(&Session) -> Outcome) -> Row {
    Row { name, unit, points: Points::One, what, work: Work::Code(run) }
}

global_asm!(
    r#"
    .section .text
    .option push
    .option arch, +v

// a0 = count, a1 = x, a2 = y, a3 = z, fa0 = a
vector_saxpy:
    vsetvli t0, a0, e32, m4, ta, ma
    vle32.v v8, (a1)
    vle32.v v16, (a2)
    vfmacc.vf v16, fa0, v8
    vse32.v v16, (a3)
    sub     a0, a0, t0
    slli    t0, t0, 2
    add     a1, a1, t0
    add     a2, a2, t0
    add     a3, a3, t0
    bnez    a0, vector_saxpy
    ret

// a0 = order, a1 = a, a2 = b, a3 = c
vector_gemm:
    mv      t6, a0
    slli    t5, a0, 2
1:  mv      t4, a0
    mv      t3, a2
2:  vsetvli t0, t4, e32, m4, ta, ma
    vmv.v.i v8, 0
    mv      a4, a1
    mv      a5, t3
    mv      a6, a0
3:  flw     ft0, 0(a4)
    vle32.v v16, (a5)
    vfmacc.vf v8, ft0, v16
    addi    a4, a4, 4
    add     a5, a5, t5
    addi    a6, a6, -1
    bnez    a6, 3b
    vse32.v v8, (a3)
    sub     t4, t4, t0
    slli    t0, t0, 2
    add     a3, a3, t0
    add     t3, t3, t0
    bnez    t4, 2b
    add     a1, a1, t5
    addi    t6, t6, -1
    bnez    t6, 1b
    ret

// a0 = count, a1 = x, a2 = y; returns the sum
vector_dot:
    vsetvli t0, zero, e32, m8, ta, ma
    vmv.v.i v16, 0
1:  vsetvli t0, a0, e16, m4, tu, ma
    vle16.v v0, (a1)
    vle16.v v4, (a2)
    vwmacc.vv v16, v0, v4
    sub     a0, a0, t0
    slli    t0, t0, 1
    add     a1, a1, t0
    add     a2, a2, t0
    bnez    a0, 1b
    vsetvli t0, zero, e32, m8, ta, ma
    vmv.s.x v0, zero
    vredsum.vs v0, v16, v0
    vmv.x.s a0, v0
    ret

// a0 = to, a1 = from, a2 = bytes
vector_memcpy:
    vsetvli t0, a2, e8, m8, ta, ma
    vle8.v  v8, (a1)
    vse8.v  v8, (a0)
    sub     a2, a2, t0
    add     a1, a1, t0
    add     a0, a0, t0
    bnez    a2, vector_memcpy
    ret

// a0 = text; returns its length
vector_strlen:
    mv      a1, a0
1:  vsetvli t0, zero, e8, m8, ta, ma
    vle8ff.v v8, (a1)
    csrr    t0, vl
    vmseq.vi v0, v8, 0
    vfirst.m t1, v0
    bgez    t1, 2f
    add     a1, a1, t0
    j       1b
2:  add     a1, a1, t1
    sub     a0, a1, a0
    ret

// a0 = to, a1 = from, a2 = bytes
vector_upper:
    li      t2, 'a'
    li      t3, 26
    li      t4, -32
1:  vsetvli t0, a2, e8, m8, ta, mu
    vle8.v  v8, (a1)
    vsub.vx v16, v8, t2
    vmsltu.vx v0, v16, t3
    vadd.vx v8, v8, t4, v0.t
    vse8.v  v8, (a0)
    sub     a2, a2, t0
    add     a1, a1, t0
    add     a0, a0, t0
    bnez    a2, 1b
    ret

// a0 = bytes, a1 = from, a2 = which; returns how many
vector_count:
    li      a3, 0
1:  vsetvli t0, a0, e8, m8, ta, ma
    vle8.v  v8, (a1)
    vmseq.vx v0, v8, a2
    vcpop.m t1, v0
    add     a3, a3, t1
    sub     a0, a0, t0
    add     a1, a1, t0
    bnez    a0, 1b
    mv      a0, a3
    ret

// a0 = count, a1 = x, a2 = y, a3 = z
vector_masked:
    vsetvli t0, a0, e32, m4, ta, mu
    vle32.v v8, (a1)
    vle32.v v12, (a2)
    vle32.v v16, (a3)
    vmslt.vv v0, v12, v8
    vsub.vv v16, v8, v12, v0.t
    vse32.v v16, (a3)
    sub     a0, a0, t0
    slli    t0, t0, 2
    add     a1, a1, t0
    add     a2, a2, t0
    add     a3, a3, t0
    bnez    a0, vector_masked
    ret

// a0 = count, a1 = first, a2 = distance; returns the sum
vector_strided:
    vsetvli t0, zero, e32, m1, ta, ma
    vmv.s.x v4, zero
1:  vsetvli t0, a0, e32, m4, ta, ma
    vlse32.v v8, (a1), a2
    vredsum.vs v4, v8, v4
    sub     a0, a0, t0
    mul     t1, t0, a2
    add     a1, a1, t1
    bnez    a0, 1b
    vmv.x.s a0, v4
    ret

// a0 = count, a1 = offsets, a2 = table, a3 = to
vector_gather:
    vsetvli t0, a0, e32, m4, ta, ma
    vle32.v v8, (a1)
    vluxei32.v v16, (a2), v8
    vse32.v v16, (a3)
    sub     a0, a0, t0
    slli    t0, t0, 2
    add     a1, a1, t0
    add     a3, a3, t0
    bnez    a0, vector_gather
    ret

// a0 = count, a1 = offsets, a2 = table, a3 = from
vector_scatter:
    vsetvli t0, a0, e32, m4, ta, ma
    vle32.v v8, (a1)
    vle32.v v16, (a3)
    vsuxei32.v v16, (a2), v8
    sub     a0, a0, t0
    slli    t0, t0, 2
    add     a1, a1, t0
    add     a3, a3, t0
    bnez    a0, vector_scatter
    ret

// a0 = count, a1 = from, a2 = end of where it goes
vector_reverse:
    vsetvli t0, a0, e16, m2, ta, ma
    vle16.v v8, (a1)
    vid.v   v12
    addi    t1, t0, -1
    vrsub.vx v12, v12, t1
    vrgather.vv v16, v8, v12
    slli    t1, t0, 1
    sub     a2, a2, t1
    vse16.v v16, (a2)
    add     a1, a1, t1
    sub     a0, a0, t0
    bnez    a0, vector_reverse
    ret
    .option pop
    "#
);

unsafe extern "C" {
    fn vector_saxpy(count: usize, x: *const f32, y: *const f32, z: *mut f32, a: f32);
    fn vector_gemm(order: usize, a: *const f32, b: *const f32, c: *mut f32);
    fn vector_dot(count: usize, x: *const i16, y: *const i16) -> i32;
    fn vector_memcpy(to: *mut u8, from: *const u8, bytes: usize);
    fn vector_strlen(text: *const u8) -> usize;
    fn vector_upper(to: *mut u8, from: *const u8, bytes: usize);
    fn vector_count(bytes: usize, from: *const u8, which: u8) -> usize;
    fn vector_masked(count: usize, x: *const i32, y: *const i32, z: *mut i32);
    fn vector_strided(count: usize, first: *const i32, distance: usize) -> i32;
    fn vector_gather(count: usize, offsets: *const u32, table: *const i32, to: *mut i32);
    fn vector_scatter(count: usize, offsets: *const u32, table: *mut i32, from: *const i32);
    fn vector_reverse(count: usize, from: *const i16, end: *mut i16);
}

const COUNT: usize = 4096;
const BYTES: usize = 16 << 10;
/// Order of the matrices.
const ORDER: usize = 64;

/// Runs `measure` with vectors on.
fn with_vectors(measure: impl FnOnce() -> Outcome) -> Outcome {
    if !machine().has("v") {
        return Err(Problem::Skip("the harts have no V"));
    }
    csr_set!("sstatus", csr::VS);
    let outcome = measure();
    csr_clear!("sstatus", csr::VS);
    outcome
}

/// How many of them are the same.
fn same<T: PartialEq>(got: &[T], want: &[T]) -> Check {
    Check::new(got.iter().zip(want).filter(|(got, want)| got == want).count() as u64, want.len() as u64)
}

fn saxpy(s: &Session) -> Outcome {
    let (x, y) = (s.slice::<f32>(COUNT)?, s.slice::<f32>(COUNT)?);
    let (z, want) = (s.slice::<f32>(COUNT)?, s.slice::<f32>(COUNT)?);
    for i in 0..COUNT {
        // Whole numbers: whether the operation is fused does not show.
        (x[i], y[i]) = ((i % 97) as f32, (i % 101) as f32 - 50.0);
        want[i] = 3.0 * x[i] + y[i];
    }
    with_vectors(|| {
        s.measure(2 * COUNT as u64, &mut |k| {
            z.fill(0.0);
            for _ in 0..k {
                // SAFETY: slices of that length.
                unsafe { vector_saxpy(COUNT, x.as_ptr(), y.as_ptr(), z.as_mut_ptr(), 3.0) };
            }
            same(z, want)
        })
    })
}

fn gemm(s: &Session) -> Outcome {
    const SQUARE: usize = ORDER * ORDER;
    let (a, b) = (s.slice::<f32>(SQUARE)?, s.slice::<f32>(SQUARE)?);
    let (c, want) = (s.slice::<f32>(SQUARE)?, s.slice::<f32>(SQUARE)?);
    for i in 0..SQUARE {
        (a[i], b[i]) = ((i % 17) as f32 - 8.0, (i % 23) as f32 - 11.0);
    }
    for i in 0..SQUARE {
        want[i] = (0..ORDER).map(|k| a[i / ORDER * ORDER + k] * b[k * ORDER + i % ORDER]).sum();
    }
    with_vectors(|| {
        s.measure(2 * (SQUARE * ORDER) as u64, &mut |k| {
            c.fill(0.0);
            for _ in 0..k {
                // SAFETY: matrices of that order.
                unsafe { vector_gemm(ORDER, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) };
            }
            same(c, want)
        })
    })
}

fn dot(s: &Session) -> Outcome {
    let (x, y) = (s.slice::<i16>(COUNT)?, s.slice::<i16>(COUNT)?);
    let mut random = Random(21);
    x.fill_with(|| random.next() as i16);
    y.fill_with(|| (random.next() >> 16) as i16);
    let want = x.iter().zip(&*y).fold(0i32, |sum, (x, y)| sum.wrapping_add(i32::from(*x) * i32::from(*y)));
    with_vectors(|| {
        s.measure(COUNT as u64, &mut |k| {
            // SAFETY: slices of that length.
            let good = (0..k).filter(|_| unsafe { vector_dot(COUNT, x.as_ptr(), y.as_ptr()) } == want).count();
            Check::new(good as u64, k)
        })
    })
}

/// Text with letters of both kinds, digits and spaces, no byte of which is 0.
fn text(s: &Session, len: usize) -> Result<&'static mut [u8], Problem> {
    let text = s.slice::<u8>(len)?;
    let mut random = Random(22);
    text.fill_with(|| b"abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789{}"[random.below(65) as usize]);
    Ok(text)
}

fn memcpy(s: &Session) -> Outcome {
    let (from, to) = (text(s, BYTES)?, s.slice::<u8>(BYTES)?);
    with_vectors(|| {
        s.measure(BYTES as u64, &mut |k| {
            to.fill(0);
            for _ in 0..k {
                // SAFETY: slices of that length.
                unsafe { vector_memcpy(to.as_mut_ptr(), from.as_ptr(), BYTES) };
            }
            same(to, from)
        })
    })
}

fn strlen(s: &Session) -> Outcome {
    const LEN: usize = 4095;
    let text = text(s, LEN + 1)?;
    text[LEN] = 0;
    with_vectors(|| {
        s.measure(LEN as u64, &mut |k| {
            // SAFETY: the text ends with a zero.
            let good = (0..k).filter(|_| unsafe { vector_strlen(text.as_ptr()) } == LEN).count();
            Check::new(good as u64, k)
        })
    })
}

fn upper(s: &Session) -> Outcome {
    let (from, to, want) = (text(s, BYTES)?, s.slice::<u8>(BYTES)?, s.slice::<u8>(BYTES)?);
    want.copy_from_slice(from);
    want.make_ascii_uppercase();
    with_vectors(|| {
        s.measure(BYTES as u64, &mut |k| {
            to.fill(0);
            for _ in 0..k {
                // SAFETY: slices of that length.
                unsafe { vector_upper(to.as_mut_ptr(), from.as_ptr(), BYTES) };
            }
            same(to, want)
        })
    })
}

fn count(s: &Session) -> Outcome {
    let from = text(s, BYTES)?;
    let want = from.iter().filter(|b| **b == b'e').count();
    with_vectors(|| {
        s.measure(BYTES as u64, &mut |k| {
            // SAFETY: a slice of that length.
            let good = (0..k).filter(|_| unsafe { vector_count(BYTES, from.as_ptr(), b'e') } == want).count();
            Check::new(good as u64, k)
        })
    })
}

/// Numbers with no order.
fn numbers(s: &Session, seed: u32, len: usize) -> Result<&'static mut [i32], Problem> {
    let numbers = s.slice::<i32>(len)?;
    let mut random = Random(seed);
    numbers.fill_with(|| random.next() as i32 >> 4);
    Ok(numbers)
}

fn masked(s: &Session) -> Outcome {
    let (x, y) = (numbers(s, 23, COUNT)?, numbers(s, 24, COUNT)?);
    let (z, want) = (s.slice::<i32>(COUNT)?, s.slice::<i32>(COUNT)?);
    for i in 0..COUNT {
        want[i] = if x[i] > y[i] { x[i] - y[i] } else { -7 };
    }
    with_vectors(|| {
        s.measure(COUNT as u64, &mut |k| {
            z.fill(-7);
            for _ in 0..k {
                // SAFETY: slices of that length.
                unsafe { vector_masked(COUNT, x.as_ptr(), y.as_ptr(), z.as_mut_ptr()) };
            }
            same(z, want)
        })
    })
}

fn strided(s: &Session) -> Outcome {
    const ROWS: usize = 256;
    let matrix = numbers(s, 25, ROWS * ORDER)?;
    let column = |at: usize| matrix[at..].iter().step_by(ORDER).fold(0i32, |sum, n| sum.wrapping_add(*n));
    let want = (0..ORDER).fold(0i32, |sum, at| sum.wrapping_mul(3).wrapping_add(column(at)));
    with_vectors(|| {
        s.measure((ROWS * ORDER) as u64, &mut |k| {
            let mut good = 0;
            for _ in 0..k {
                let got = (0..ORDER).fold(0i32, |sum, at| {
                    // SAFETY: a column of the matrix.
                    let column = unsafe { vector_strided(ROWS, matrix[at..].as_ptr(), 4 * ORDER) };
                    sum.wrapping_mul(3).wrapping_add(column)
                });
                good += u64::from(got == want);
            }
            Check::new(good, k)
        })
    })
}

/// Byte offsets of all numbers of a table, in no order.
fn offsets(s: &Session) -> Result<&'static mut [u32], Problem> {
    let offsets = s.slice::<u32>(COUNT)?;
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = 4 * ((i as u32).wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % COUNT as u32);
    }
    Ok(offsets)
}

fn gather(s: &Session) -> Outcome {
    let (offsets, table) = (offsets(s)?, numbers(s, 26, COUNT)?);
    let (to, want) = (s.slice::<i32>(COUNT)?, s.slice::<i32>(COUNT)?);
    for (want, offset) in want.iter_mut().zip(&*offsets) {
        *want = table[*offset as usize / 4];
    }
    with_vectors(|| {
        s.measure(COUNT as u64, &mut |k| {
            to.fill(0);
            for _ in 0..k {
                // SAFETY: slices of that length, and offsets inside of the table.
                unsafe { vector_gather(COUNT, offsets.as_ptr(), table.as_ptr(), to.as_mut_ptr()) };
            }
            same(to, want)
        })
    })
}

fn scatter(s: &Session) -> Outcome {
    let (offsets, from) = (offsets(s)?, numbers(s, 27, COUNT)?);
    let (table, want) = (s.slice::<i32>(COUNT)?, s.slice::<i32>(COUNT)?);
    for (from, offset) in from.iter().zip(&*offsets) {
        want[*offset as usize / 4] = *from;
    }
    with_vectors(|| {
        s.measure(COUNT as u64, &mut |k| {
            table.fill(0);
            for _ in 0..k {
                // SAFETY: as above.
                unsafe { vector_scatter(COUNT, offsets.as_ptr(), table.as_mut_ptr(), from.as_ptr()) };
            }
            same(table, want)
        })
    })
}

fn reverse(s: &Session) -> Outcome {
    const COUNT: usize = 8192;
    let (from, to, want) = (s.slice::<i16>(COUNT)?, s.slice::<i16>(COUNT)?, s.slice::<i16>(COUNT)?);
    for (i, number) in from.iter_mut().enumerate() {
        *number = i as i16;
    }
    want.copy_from_slice(from);
    want.reverse();
    with_vectors(|| {
        s.measure(COUNT as u64, &mut |k| {
            to.fill(0);
            for _ in 0..k {
                // SAFETY: slices of that length.
                unsafe { vector_reverse(COUNT, from.as_ptr(), to.as_mut_ptr_range().end) };
            }
            same(to, want)
        })
    })
}
