//! Atomics: one hart, then all of them at once (A).

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::{Outcome, Problem, Test, ensure, equal};
use crate::{harts, memory};

/// Runs an AMO on `word` and gives what it read.
macro_rules! amo {
    ($insn:literal, $word:expr, $value:expr) => {{
        let value: usize = $value as isize as usize;
        let old: usize;
        // SAFETY: `word` is a local variable.
        unsafe { asm!(concat!($insn, " {o}, {v}, ({a})"), o = out(reg) old, v = in(reg) value, a = in(reg) &raw mut $word) };
        old
    }};
}

macro_rules! check {
    ($($insn:literal $before:expr, $value:expr => $after:expr;)*) => {
        $({
            let mut word: u64 = $before as i64 as u64;
            let before = word as usize;
            let old = amo!($insn, word, $value);
            let is_word = $insn.as_bytes()[$insn.len() - 1] == b'w';
            let want = if is_word { before as i32 as usize } else { before };
            equal($insn, old, want)?;
            // SAFETY: a local variable, changed behind the compiler's back.
            equal($insn, unsafe { (&raw const word).read_volatile() } as usize, $after as i64 as usize)?;
        })*
    };
}

const HIGH: i64 = 0x1234_5678_0000_0000;

fn operations() -> Outcome {
    check! {
        "amoswap.d" 5, -1 => -1;
        "amoadd.d" i64::MAX, 1 => i64::MIN;
        "amoxor.d" 0xff, 0x0f => 0xf0;
        "amoand.d" -1, 0x55 => 0x55;
        "amoor.d" 0x50, 0x05 => 0x55;
        "amomin.d" 1, -1 => -1;
        "amomax.d" 1, -1 => 1;
        "amominu.d" 1, -1 => 1;
        "amomaxu.d" 1, -1 => -1;
        // The word forms leave the other half alone and sign-extend what they read.
        "amoswap.w" HIGH | 0x8000_0000, 7 => HIGH | 7;
        "amoadd.w" HIGH | 0xffff_ffff, 1 => HIGH;
        "amoxor.w" HIGH | 0xff, 0x0f => HIGH | 0xf0;
        "amoand.w" HIGH | 0xff, 0x0f => HIGH | 0x0f;
        "amoor.w" HIGH, -1 => HIGH | 0xffff_ffff;
        "amomin.w" HIGH | 1, -1 => HIGH | 0xffff_ffff;
        "amomax.w" HIGH | 0xffff_ffff, 1 => HIGH | 1;
        "amominu.w" HIGH | 0xffff_ffff, 1 => HIGH | 1;
        "amomaxu.w" HIGH | 0xffff_ffff, 1 => HIGH | 0xffff_ffff;
    }
    Ok(())
}

fn reservations() -> Outcome {
    let pages = memory::pages(2, memory::PAGE);
    let (loaded, first, second, elsewhere): (usize, usize, usize, usize);
    // SAFETY: two pages of our own.
    unsafe {
        asm!(
            "lr.d.aq {l}, ({a})",
            "addi    {l}, {l}, 1",
            "sc.d.rl {f}, {l}, ({a})",
            "sc.d    {s}, zero, ({a})",
            "lr.d    {l}, ({a})",
            "sc.d    {e}, zero, ({b})",
            l = out(reg) loaded, f = out(reg) first, s = out(reg) second, e = out(reg) elsewhere,
            a = in(reg) pages, b = in(reg) pages + memory::PAGE,
        );
    }
    equal("sc after lr", first, 0)?;
    ensure!(second != 0, "a second sc succeeded");
    ensure!(elsewhere != 0, "an sc to another page succeeded");
    equal("stored", loaded, 1)?;
    let (word, result): (usize, usize);
    // SAFETY: as above.
    unsafe {
        asm!("sw {v}, ({a})", "lr.w {w}, ({a})", "sc.w {r}, zero, ({a})",
            v = in(reg) 0x8000_0000usize, a = in(reg) pages, w = out(reg) word, r = out(reg) result);
    }
    equal("lr.w", word, 0xffff_ffff_8000_0000)?;
    equal("sc.w", result, 0)
}

const ROUNDS: usize = 10_000;

static SUM: AtomicU64 = AtomicU64::new(0);
static HALVES: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static RESERVED: AtomicU64 = AtomicU64::new(0);
static LOCK: AtomicU32 = AtomicU32::new(0);
static GUARDED: AtomicUsize = AtomicUsize::new(0);
static READY: AtomicUsize = AtomicUsize::new(0);

/// Everybody waits for everybody, so that they really compete.
fn barrier(harts: usize) {
    READY.fetch_add(1, Ordering::AcqRel);
    harts::spin_until(|| READY.load(Ordering::Acquire) >= harts);
}

fn compete(harts: usize) -> usize {
    let me = crate::hart::this().id;
    barrier(harts);
    for _ in 0..ROUNDS {
        SUM.fetch_add(1, Ordering::Relaxed);
        HALVES[me & 1].fetch_add(1, Ordering::Relaxed);
        // SAFETY: adds 1 by LR/SC.
        unsafe {
            asm!("1: lr.d {t}, ({a})", "addi {t}, {t}, 1", "sc.d {t}, {t}, ({a})", "bnez {t}, 1b",
                t = out(reg) _, a = in(reg) RESERVED.as_ptr());
        }
        while LOCK.swap(1, Ordering::Acquire) != 0 {
            core::hint::spin_loop();
        }
        // Not atomic: the lock protects it.
        GUARDED.store(GUARDED.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        LOCK.store(0, Ordering::Release);
    }
    0
}

fn contended() -> Outcome {
    let harts = 1 + harts::others().count();
    if harts < 2 {
        return Err(Problem::Skip("one hart"));
    }
    READY.store(0, Ordering::Relaxed);
    for counter in [&SUM, &RESERVED] {
        counter.store(0, Ordering::Relaxed);
    }
    HALVES.iter().for_each(|h| h.store(0, Ordering::Relaxed));
    GUARDED.store(0, Ordering::Release);
    ensure!(harts::run_everywhere(compete, harts), "a hart did not come back");
    let want = harts * ROUNDS;
    equal("amoadd.d", SUM.load(Ordering::Acquire) as usize, want)?;
    let halves: usize = HALVES.iter().map(|h| h.load(Ordering::Acquire) as usize).sum();
    equal("amoadd.w", halves, want)?;
    equal("lr/sc", RESERVED.load(Ordering::Acquire) as usize, want)?;
    equal("spinlock", GUARDED.load(Ordering::Acquire), want)
}

static DATA: AtomicUsize = AtomicUsize::new(0);
static FLAG: AtomicUsize = AtomicUsize::new(0);

fn publish(rounds: usize) -> usize {
    for i in 1..=rounds {
        DATA.store(i, Ordering::Relaxed);
        FLAG.store(i, Ordering::Release);
    }
    0
}

/// Who sees the flag sees the data.
fn message_passing() -> Outcome {
    let Some(other) = harts::other() else { return Err(Problem::Skip("one hart")) };
    DATA.store(0, Ordering::Relaxed);
    FLAG.store(0, Ordering::Release);
    other.start(publish, 10 * ROUNDS);
    let mut stale = 0;
    let done = harts::spin_until(|| {
        let flag = FLAG.load(Ordering::Acquire);
        stale += usize::from(DATA.load(Ordering::Relaxed) < flag);
        flag == 10 * ROUNDS
    });
    ensure!(other.finish().is_some() && done, "the other hart did not come back");
    equal("stale reads", stale, 0)
}

pub const TESTS: &[Test] = &[
    Test { name: "atomic-operations", run: operations },
    Test { name: "atomic-reservations", run: reservations },
    Test { name: "atomic-contended", run: contended },
    Test { name: "atomic-message-passing", run: message_passing },
];
