//! What a kernel does: system calls, switches between programs, page faults, copy on write.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use runtime::hart::{Hart, Trap};
use runtime::memory::{self, Global, PAGE};
use runtime::page_table::{A, D, R, RW, Space, U, W, X};
use runtime::trap::{self, LOAD_PAGE, STORE_PAGE, USER_ECALL};
use runtime::{csr, csr_clear, csr_set, csr_write, page_table};

use crate::micro::{has_asids, space};
use crate::session::{Check, Outcome, Points, Row, Session, Suite, Work};

pub const SUITE: Suite = Suite {
    name: "system",
    rows: &[
        row("syscall", "a call from U-mode, with all registers saved and a handler in Rust", syscall),
        row("context-switch", "to another stack, its saved registers and its address space", context_switch),
        row("page-fault", "a store to a page that is not there: it is cleared and mapped", page_fault),
        row("fork", "64 pages are shared for copy on write with another address space, which writes to all", fork),
        row("unmap", "64 pages are mapped, loaded from and unmapped, with a fence of everything after each", unmap),
    ],
};

const fn row(name: &'static str, what: &'static str, run: fn(&Session) -> Outcome) -> Row {
    Row { name, unit: "op", points: Points::One, what, work: Work::Code(run) }
}

global_asm!(
    r#"
    .section .text
// a0: rounds, a1: where `user_calls` is in U-mode. The handler comes back here by `ra`, in S-mode.
enter_user_calls:
    csrw    sepc, a1
    li      t0, 0x100
    csrc    sstatus, t0
    mv      a1, a0
    li      a0, 0
    sret

    .balign 8
    .option push
    .option norvc
user_calls:
    li      a7, 1
1:  ecall
    addi    a1, a1, -1
    bnez    a1, 1b
    li      a7, 0
    ecall
user_calls_end:
    .option pop

// a0: the `Context` to leave, a1: the one to go to.
switch_context:
    sd      ra, 0(a0)
    sd      sp, 8(a0)
    sd      s0, 16(a0)
    sd      s1, 24(a0)
    sd      s2, 32(a0)
    sd      s3, 40(a0)
    sd      s4, 48(a0)
    sd      s5, 56(a0)
    sd      s6, 64(a0)
    sd      s7, 72(a0)
    sd      s8, 80(a0)
    sd      s9, 88(a0)
    sd      s10, 96(a0)
    sd      s11, 104(a0)
    ld      t0, {satp}(a1)
    csrw    satp, t0
    ld      t0, {fence}(a1)
    beqz    t0, 1f
    sfence.vma
1:  ld      ra, 0(a1)
    ld      sp, 8(a1)
    ld      s0, 16(a1)
    ld      s1, 24(a1)
    ld      s2, 32(a1)
    ld      s3, 40(a1)
    ld      s4, 48(a1)
    ld      s5, 56(a1)
    ld      s6, 64(a1)
    ld      s7, 72(a1)
    ld      s8, 80(a1)
    ld      s9, 88(a1)
    ld      s10, 96(a1)
    ld      s11, 104(a1)
    ret

// The other program: s0 is its context, s1 the first one's, s2 where it counts (in its own address space).
other_program:
    ld      t0, 0(s2)
    addi    t0, t0, 1
    sd      t0, 0(s2)
    mv      a0, s0
    mv      a1, s1
    call    switch_context
    j       other_program
    "#,
    satp = const offset_of!(Context, satp),
    fence = const offset_of!(Context, fence),
);

unsafe extern "C" {
    fn enter_user_calls(rounds: u64, entry: usize) -> u64;
    static user_calls: u8;
    static user_calls_end: u8;
    fn switch_context(from: *mut Context, to: *mut Context);
    fn other_program();
}

/// A program that does not run.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Context {
    ra: usize,
    sp: usize,
    saved: [usize; 12],
    satp: usize,
    /// Translations of the last one have to be forgotten.
    fence: usize,
}

/// Call 1 counts up its a0; call 0 ends the program.
fn serve_call(hart: &mut Hart, trap: &Trap) -> bool {
    if trap.cause != USER_ECALL {
        return false;
    }
    match hart.frame[17] {
        1 => {
            hart.frame[10] += 1;
            hart.frame[0] += 4;
        }
        _ => {
            hart.frame[0] = hart.frame[1];
            csr_set!("sstatus", csr::SPP);
        }
    }
    true
}

fn syscall(s: &Session) -> Outcome {
    let space = space()?;
    let frame = s.code(PAGE)?;
    let (start, end) = (&raw const user_calls as usize, &raw const user_calls_end as usize);
    // SAFETY: our own code to our own page.
    unsafe {
        core::ptr::copy_nonoverlapping(start as *const u8, frame as *mut u8, end - start);
        core::arch::asm!("fence.i");
    }
    let entry = space.mode.high_half() + 0x1000_0000;
    space.map(entry, frame, R | X | U | A | D, 0);
    trap::set_handler(Some(serve_call));
    let outcome = space.within(|| {
        s.measure(1, &mut |k| {
            // Between here and U-mode an interrupt would change `sepc`.
            csr_clear!("sstatus", csr::SIE);
            // SAFETY: comes back by the handler, with the registers of a call.
            let got = unsafe { enter_user_calls(k, entry) };
            csr_set!("sstatus", csr::SIE);
            Check::new(got, k)
        })
    });
    trap::set_handler(None);
    outcome
}

fn context_switch(s: &Session) -> Outcome {
    let (one, two) = (space()?, space()?);
    let asids = has_asids()?;
    let (frame, stack) = (memory::pages(1, PAGE), memory::pages(1, PAGE) + PAGE);
    // Only the other program sees it there.
    let counter = two.mode.high_half() + 0x1000_0000;
    two.map(counter, frame, RW | A | D, 0);
    let fence = usize::from(!asids);
    let contexts = s.slice::<Context>(2)?.as_mut_ptr();
    let (first, other) = (contexts, contexts.wrapping_add(1));
    let mut saved = [0; 12];
    saved[..3].copy_from_slice(&[other as usize, first as usize, counter]);
    // SAFETY: fresh memory, and nothing runs there yet.
    unsafe {
        (*first).satp = one.satp(usize::from(asids));
        (*first).fence = fence;
        other.write(Context {
            ra: other_program as *const () as usize,
            sp: stack,
            saved,
            satp: two.satp(2 * usize::from(asids)),
            fence,
        });
    }
    page_table::fence();
    // SAFETY: the counter, which the other program changes.
    let count = || unsafe { (frame as *const u64).read_volatile() };
    let outcome = s.measure(2, &mut |k| {
        let before = count();
        for _ in 0..k {
            // SAFETY: the other program keeps to its stack, and comes back.
            unsafe { switch_context(first, other) };
        }
        Check::new(count() - before, k)
    });
    csr_write!("satp", 0);
    page_table::fence();
    outcome
}

/// Pages of a program.
const PAGES: usize = 64;

/// What the page fault handler works with.
struct Faults {
    space: Space,
    /// First address of the pages.
    start: usize,
    /// Frames for them that nobody uses, in a row.
    frames: usize,
}

/// Set while a benchmark lets the handler below serve faults. Only the boot hart comes here.
static FAULTS: Global<Option<Faults>> = Global::new(None);
static SERVED: AtomicUsize = AtomicUsize::new(0);

/// A page that is not there is cleared and mapped; one that must not be written is copied.
fn serve_fault(_: &mut Hart, trap: &Trap) -> bool {
    // SAFETY: the program that was interrupted does not hold a reference.
    let Some(faults) = (unsafe { &*FAULTS.pointer() }) else { return false };
    let page = trap.tval & !(PAGE - 1);
    let index = page.wrapping_sub(faults.start) / PAGE;
    if !matches!(trap.cause, LOAD_PAGE | STORE_PAGE) || index >= PAGES {
        return false;
    }
    let (entry, frame) = (faults.space.get(page, 0), faults.frames + index * PAGE);
    // SAFETY: the frame is for this page, and in no other use.
    unsafe {
        if entry == 0 {
            core::ptr::write_bytes(frame as *mut u8, 0, PAGE);
        } else {
            let old = (entry >> 10) << 12;
            core::ptr::copy_nonoverlapping(old as *const u8, frame as *mut u8, PAGE);
        }
    }
    faults.space.map(page, frame, RW | A | D, 0);
    page_table::fence_address(page);
    SERVED.fetch_add(1, Ordering::Relaxed);
    true
}

/// Runs `measure` with the handler.
fn with_faults(faults: Faults, measure: impl FnOnce() -> Outcome) -> Outcome {
    // SAFETY: the handler is not in use.
    unsafe { *FAULTS.pointer() = Some(faults) };
    trap::set_handler(Some(serve_fault));
    let outcome = measure();
    trap::set_handler(None);
    outcome
}

fn load(address: usize) -> u64 {
    // SAFETY: a page of the benchmark's; it may fault, and is there afterwards.
    unsafe { (address as *const u64).read_volatile() }
}

fn store(address: usize, value: u64) {
    // SAFETY: as above.
    unsafe { (address as *mut u64).write_volatile(value) }
}

fn page_fault(s: &Session) -> Outcome {
    let space = space()?;
    let start = space.mode.high_half() + 0x1000_0000;
    let frames = s.memory(PAGES * PAGE)?;
    let pages = || (0..PAGES).map(|i| start + i * PAGE);
    // Its tables are there before the first fault.
    space.set(start, 0, 0);
    with_faults(Faults { space, start, frames }, || {
        space.within(|| {
            s.measure(PAGES as u64, &mut |k| {
                let before = SERVED.load(Ordering::Relaxed);
                let mut sum = 0;
                for _ in 0..k {
                    // Each page is clear when it comes, so that the last word is the only one.
                    pages().for_each(|page| store(page + 8, 1));
                    sum += pages().map(|page| load(page) + load(page + 8)).sum::<u64>();
                    pages().for_each(|page| store(page, 5));
                    pages().for_each(|page| space.set(page, 0, 0));
                    page_table::fence();
                }
                let served = (SERVED.load(Ordering::Relaxed) - before) as u64;
                Check::new(served + sum, 2 * k * PAGES as u64)
            })
        })
    })
}

fn fork(s: &Session) -> Outcome {
    let (parent, child) = (space()?, space()?);
    let start = parent.mode.high_half() + 0x1000_0000;
    let (shared, frames) = (s.memory(PAGES * PAGE)?, s.memory(PAGES * PAGE)?);
    let pages = || (0..PAGES).map(|i| start + i * PAGE);
    for i in 0..PAGES {
        store(shared + i * PAGE, i as u64);
        store(shared + i * PAGE + 8, 0);
        parent.map(start + i * PAGE, shared + i * PAGE, RW | A | D, 0);
    }
    with_faults(Faults { space: child, start, frames }, || {
        parent.within(|| {
            s.measure(1, &mut |k| {
                let mut good = 0;
                for i in 1..=k {
                    for page in pages() {
                        let entry = parent.get(page, 0) & !W;
                        parent.set(page, entry, 0);
                        child.set(page, entry, 0);
                    }
                    csr_write!("satp", child.satp(0));
                    page_table::fence();
                    pages().for_each(|page| store(page + 8, i));
                    let theirs: u64 = pages().map(|page| load(page) + load(page + 8)).sum();
                    csr_write!("satp", parent.satp(0));
                    for page in pages() {
                        parent.set(page, parent.get(page, 0) | W, 0);
                    }
                    page_table::fence();
                    let ours: u64 = pages().map(|page| load(page) + load(page + 8)).sum();
                    let numbers = (PAGES * (PAGES - 1) / 2) as u64;
                    good += u64::from(ours == numbers && theirs == numbers + i * PAGES as u64);
                }
                Check::new(good, k)
            })
        })
    })
}

fn unmap(s: &Session) -> Outcome {
    let space = space()?;
    let start = space.mode.high_half() + 0x1000_0000;
    let frames = s.memory(PAGES * PAGE)?;
    (0..PAGES).for_each(|i| store(frames + i * PAGE, i as u64));
    space.within(|| {
        s.measure(1, &mut |k| {
            let mut good = 0;
            for round in 0..k as usize {
                // Another page each time, so that a translation that was kept would show.
                let frame = |i: usize| (i + round) % PAGES;
                (0..PAGES).for_each(|i| space.map(start + i * PAGE, frames + frame(i) * PAGE, RW | A | D, 0));
                page_table::fence();
                let right = (0..PAGES).all(|i| load(start + i * PAGE) == frame(i) as u64);
                (0..PAGES).for_each(|i| space.set(start + i * PAGE, 0, 0));
                page_table::fence();
                good += u64::from(right);
            }
            Check::new(good, k)
        })
    })
}
