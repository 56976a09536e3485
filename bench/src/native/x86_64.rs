//! The rows of x86-64. Each is what a person would write there for the guest's operation: `syscall` for `ecall`, `mfence`
//! for `fence rw,rw`, a register of 256 bits for one of V.

use std::arch::asm;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};

use super::{COPIES, Row, timed};

pub const ROWS: &[Row] = &[
    Row { benchmark: "add", time: add },
    Row { benchmark: "mul", time: mul },
    Row { benchmark: "div", time: div },
    Row { benchmark: "load", time: load },
    Row { benchmark: "store", time: store },
    Row { benchmark: "fadd", time: fadd },
    Row { benchmark: "fmadd", time: fmadd },
    Row { benchmark: "vector-load", time: vector_load },
    Row { benchmark: "vector-store", time: vector_store },
    Row { benchmark: "vector-fma", time: vector_fma },
    Row { benchmark: "rdtime", time: rdtsc },
    Row { benchmark: "user-ecall", time: syscall },
    Row { benchmark: "tlb@32768", time: refill },
    Row { benchmark: "call-return", time: call },
    Row { benchmark: "jump-cross-page", time: cross_page },
    Row { benchmark: "fence-rw-rw", time: mfence },
    Row { benchmark: "fence-w-w", time: sfence },
    Row { benchmark: "fence-r-rw", time: lfence },
    Row { benchmark: "amo", time: locked_add },
    Row { benchmark: "lr-sc", time: compare_exchange },
];

/// A loop around 64 copies of a body, as in the guest.
macro_rules! repeat {
    ($passes:expr, $body:expr $(, $($operand:tt)*)?) => {
        timed(COPIES, || {
            // SAFETY: the bodies below work on the registers and the memory that their operands name.
            unsafe {
                asm!("2:", ".rept 64", $body, ".endr", "dec {k}", "jnz 2b", k = inout(reg) $passes => _
                    $(, $($operand)*)?)
            }
        })
    };
}

type Time = Option<(Duration, u64)>;

fn add(passes: u64) -> Time {
    repeat!(passes, "add {x}, {y}", x = inout(reg) 0u64 => _, y = in(reg) 3u64, options(nomem, nostack))
}

fn mul(passes: u64) -> Time {
    repeat!(passes, "imul {x}, {y}", x = inout(reg) 1u64 => _, y = in(reg) 3u64, options(nomem, nostack))
}

fn div(passes: u64) -> Time {
    repeat!(passes, "xor rax, {q}\nadd rax, {a}\nxor edx, edx\ndiv {b}", q = in(reg) 0xfedc_ba98_7654_3210u64 / 0x89ab_cdef,
        a = in(reg) 0xfedc_ba98_7654_3210u64, b = in(reg) 0x89ab_cdefu64,
        inout("rax") 0xfedc_ba98_7654_3210u64 / 0x89ab_cdef => _, out("rdx") _, options(nomem, nostack))
}

fn load(passes: u64) -> Time {
    let mut cell = 0u64;
    cell = &raw const cell as u64;
    repeat!(passes, "mov {x}, [{x}]", x = inout(reg) &raw const cell => _, options(nostack))
}

fn store(passes: u64) -> Time {
    let mut cell = 0u64;
    repeat!(passes, "mov [{p}], {p}", p = in(reg) &raw mut cell, options(nostack))
}

fn fadd(passes: u64) -> Time {
    let time = repeat!(passes, "addsd {a}, {y}\naddsd {b}, {y}\naddsd {c}, {y}\naddsd {d}, {y}",
        a = inout(xmm_reg) 0.0f64 => _, b = inout(xmm_reg) 0.0f64 => _, c = inout(xmm_reg) 0.0f64 => _,
        d = inout(xmm_reg) 0.0f64 => _, y = in(xmm_reg) 1.0f64, options(nomem, nostack));
    four(time)
}

/// Bodies of four operations.
fn four(time: Time) -> Time {
    time.map(|(time, operations)| (time, 4 * operations))
}

/// Whether there are fused multiplications and registers of 256 bits.
fn has_fma() -> bool {
    is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx")
}

fn fmadd(passes: u64) -> Time {
    let body = || {
        repeat!(passes, "vfmadd213sd {a}, {y}, {y}\nvfmadd213sd {b}, {y}, {y}\nvfmadd213sd {c}, {y}, {y}\n\
            vfmadd213sd {d}, {y}, {y}", a = inout(xmm_reg) 0.0f64 => _, b = inout(xmm_reg) 0.0f64 => _,
            c = inout(xmm_reg) 0.0f64 => _, d = inout(xmm_reg) 0.0f64 => _, y = in(xmm_reg) 1.0f64,
            options(nomem, nostack))
    };
    has_fma().then(body).and_then(four)
}

/// A line, so that a register of 256 bits does not cross one.
#[repr(align(64))]
struct Line([u8; 64]);

fn vector_load(passes: u64) -> Time {
    let line = Line([0; 64]);
    let body = || repeat!(passes, "vmovdqu ymm8, [{p}]", p = in(reg) line.0.as_ptr(), out("ymm8") _, options(nostack));
    has_fma().then(body).flatten()
}

fn vector_store(passes: u64) -> Time {
    let mut line = Line([0; 64]);
    let body =
        || repeat!(passes, "vmovdqu [{p}], ymm8", p = in(reg) line.0.as_mut_ptr(), out("ymm8") _, options(nostack));
    has_fma().then(body).flatten()
}

fn vector_fma(passes: u64) -> Time {
    let body = || {
        timed(COPIES, || {
            // SAFETY: works on registers only, and the processor has them.
            unsafe {
                asm!("vxorps xmm8, xmm8, xmm8", "vxorps xmm9, xmm9, xmm9", "vxorps xmm10, xmm10, xmm10",
                    "vxorps xmm11, xmm11, xmm11", "vxorps xmm12, xmm12, xmm12", "2:", ".rept 64",
                    "vfmadd231ps ymm8, ymm12, ymm12", "vfmadd231ps ymm9, ymm12, ymm12",
                    "vfmadd231ps ymm10, ymm12, ymm12", "vfmadd231ps ymm11, ymm12, ymm12", ".endr", "dec {k}",
                    "jnz 2b", "vzeroupper", k = inout(reg) passes => _, out("ymm8") _, out("ymm9") _, out("ymm10") _,
                    out("ymm11") _, out("ymm12") _, options(nomem, nostack));
            }
        })
    };
    has_fma().then(body).and_then(four)
}

fn rdtsc(passes: u64) -> Time {
    repeat!(passes, "rdtsc\nshl rdx, 32\nor rax, rdx\ncmp rax, {last}\nadc {n}, 0\nmov {last}, rax", n = inout(reg) 0u64 => _,
        last = inout(reg) 0u64 => _, out("rax") _, out("rdx") _, options(nomem, nostack))
}

/// The shortest: what there is of it is the way to the kernel and back.
fn syscall(passes: u64) -> Time {
    const GETPPID: u64 = 110;
    repeat!(passes, "mov eax, {n:e}\nsyscall", n = in(reg) GETPPID, out("rax") _, out("rcx") _, out("r11") _,
        options(nostack))
}

fn call(passes: u64) -> Time {
    // Below the stack pointer may be data of the caller that a call would overwrite: no `nostack`.
    repeat!(passes, "call 66f\njmp 67f\n66: inc {x}\nret\n67:", x = inout(reg) 0u64 => _)
}

fn mfence(passes: u64) -> Time {
    let mut cell = 0u64;
    repeat!(passes, "mov [{p}], {p}\nmfence", p = in(reg) &raw mut cell, options(nostack))
}

fn sfence(passes: u64) -> Time {
    let mut cell = 0u64;
    repeat!(passes, "mov [{p}], {p}\nsfence", p = in(reg) &raw mut cell, options(nostack))
}

fn lfence(passes: u64) -> Time {
    let cell = 1u64;
    repeat!(passes, "mov {x}, [{p}]\nlfence", p = in(reg) &raw const cell, x = out(reg) _, options(nostack))
}

fn locked_add(passes: u64) -> Time {
    let mut cell = 0u64;
    repeat!(passes, "lock add qword ptr [{p}], 1", p = in(reg) &raw mut cell, options(nostack))
}

fn compare_exchange(passes: u64) -> Time {
    let mut cell = 0u64;
    repeat!(passes, "mov rax, [{p}]\nlea {x}, [rax + 1]\nlock cmpxchg [{p}], {x}", p = in(reg) &raw mut cell,
        x = out(reg) _, out("rax") _, options(nostack))
}

const PAGE: usize = 4096;

/// Two pages of code: 32 pairs of jumps to and fro between them, each with an addition, as the guest's.
fn cross_page(passes: u64) -> Time {
    static CODE: OnceLock<Option<usize>> = OnceLock::new();
    let code = (*CODE.get_or_init(jumping_code))?;
    timed(COPIES, || {
        // SAFETY: the code below, which changes rax and rcx and returns.
        unsafe { asm!("call {f}", f = in(reg) code, out("rax") _, inout("rcx") passes => _) }
    })
}

fn jumping_code() -> Option<usize> {
    // SAFETY: a fresh mapping.
    let pages = unsafe {
        mmap_anonymous(std::ptr::null_mut(), 2 * PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).ok()?
    };
    const INC_RAX: [u8; 3] = [0x48, 0xff, 0xc0];
    const STRIDE: usize = 8;
    let mut bytes = vec![0xcc; 2 * PAGE];
    let mut put = |at: usize, target: usize| {
        bytes[at..at + 3].copy_from_slice(&INC_RAX);
        bytes[at + 3] = 0xe9;
        let distance = target as i32 - (at + STRIDE) as i32;
        bytes[at + 4..at + 8].copy_from_slice(&distance.to_le_bytes());
    };
    let pairs = COPIES as usize / 2;
    for i in 0..pairs {
        put(i * STRIDE, PAGE + i * STRIDE);
        put(PAGE + i * STRIDE, (i + 1) * STRIDE);
    }
    // dec rcx; jnz to the start; ret
    let end = pairs * STRIDE;
    bytes[end..end + 5].copy_from_slice(&[0x48, 0xff, 0xc9, 0x0f, 0x85]);
    bytes[end + 5..end + 9].copy_from_slice(&(-(end as i32) - 9).to_le_bytes());
    bytes[end + 9] = 0xc3;
    // SAFETY: the mapping above, of that length, which nobody else knows; it stays for ever.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), pages.cast(), bytes.len());
        mprotect(pages, bytes.len(), MprotectFlags::READ | MprotectFlags::EXEC).ok()?;
    }
    Some(pages as usize)
}

/// Loads from more pages than the processor keeps translations of; the pages go to few frames in turn, so that their
/// data is in a cache. As the guest's: in 64 pages each has its word in another line.
fn refill(passes: u64) -> Time {
    const PAGES: usize = 32768;
    static START: OnceLock<Option<usize>> = OnceLock::new();
    let start = (*START.get_or_init(|| aliases(PAGES)))?;
    timed(PAGES as u64, || {
        for _ in 0..passes {
            let mut at = start;
            for _ in 0..PAGES {
                // SAFETY: the way through the pages above; a word says how far the next is.
                at += unsafe { (at as *const usize).read_volatile() };
            }
            std::hint::black_box(at);
        }
    })
}

fn aliases(pages: usize) -> Option<usize> {
    const FRAMES: usize = 16;
    const LINE: usize = 64;
    const GROUP: usize = PAGE / LINE;
    let file = memfd_create("aliases", MemfdFlags::CLOEXEC).ok()?;
    ftruncate(&file, (FRAMES * PAGE) as u64).ok()?;
    let rw = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: fresh mappings, the later ones over the first.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), pages * PAGE, ProtFlags::empty(), MapFlags::PRIVATE) };
    let start = NonNull::new(start.ok()?)?;
    for at in (0..pages * PAGE).step_by(FRAMES * PAGE) {
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE;
        // SAFETY: inside the mapping above.
        unsafe { mmap(start.as_ptr().byte_add(at), FRAMES * PAGE, rw, flags, &file, 0).ok()? };
    }
    let start = start.as_ptr() as usize;
    for i in 0..FRAMES * GROUP {
        let step = if i % GROUP == GROUP - 1 { PAGE - (GROUP - 1) * LINE } else { PAGE + LINE };
        // SAFETY: the frames, through their first pages.
        unsafe { ((start + i * LINE) as *mut usize).write(step) };
    }
    Some(start)
}
