//! The timer, through the SBI and through `stimecmp`.

use core::sync::atomic::Ordering;

use super::{Outcome, Problem, Test, ensure, equal};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::{hart, irq, sbi, trap};

/// A millisecond or so.
fn soon() -> u64 {
    irq::time() + crate::machine().timebase / 1000
}

/// Arms by `arm`, sleeps, and looks at what the handler saw.
fn fires(arm: fn(u64)) -> Outcome {
    for _ in 0..5 {
        let before = hart::this().taken(trap::TIMER);
        let deadline = soon();
        arm(deadline);
        csr_set!("sie", csr::STI);
        irq::wait_until(|| hart::this().taken(trap::TIMER) != before);
        let seen = hart::this().timer_seen.load(Ordering::Acquire) as u64;
        ensure!(seen >= deadline, "{} ticks too early", deadline - seen);
        equal("interrupts", hart::this().taken(trap::TIMER), before + 1)?;
    }
    arm(u64::MAX);
    Ok(())
}

fn by_sbi() -> Outcome {
    if irq::sbi_timer_is_lost() {
        return Err(Problem::Skip("KVM forgets deadlines of SBI where harts have Sstc"));
    }
    fires(sbi::set_timer)
}

/// `sip.STIP` follows the deadline, whether or not the interrupt is taken.
fn pending() -> Outcome {
    csr_clear!("sstatus", csr::SIE);
    csr_clear!("sie", csr::STI);
    let stip = || csr_read!("sip") & csr::STI;
    irq::set_timer(u64::MAX);
    let never = stip();
    irq::set_timer(soon());
    let came = crate::harts::spin_until(|| stip() != 0);
    irq::set_timer(u64::MAX);
    let cleared = stip();
    irq::set_timer(0);
    let past = crate::harts::spin_until(|| stip() != 0);
    irq::set_timer(u64::MAX);
    csr_set!("sstatus", csr::SIE);
    equal("STIP without a deadline", never, 0)?;
    ensure!(came, "STIP did not come");
    equal("STIP after set_timer(never)", cleared, 0)?;
    ensure!(past, "a deadline in the past did not fire");
    Ok(())
}

fn set_stimecmp(deadline: u64) {
    // stimecmp by its number: older assemblers do not know the name.
    csr_write!("0x14d", deadline as usize);
}

fn by_stimecmp() -> Outcome {
    if !crate::machine().has("sstc") {
        return Err(Problem::Skip("no Sstc"));
    }
    fires(set_stimecmp)?;
    set_stimecmp(0x1234_5678_9abc_def0);
    equal("stimecmp", csr_read!("0x14d"), 0x1234_5678_9abc_def0)?;
    set_stimecmp(u64::MAX);
    Ok(())
}

/// `wfi` ends when an interrupt is pending and enabled in `sie`, though `sstatus.SIE` is off.
fn wfi_wakes() -> Outcome {
    csr_clear!("sstatus", csr::SIE);
    let before = hart::this().taken(trap::TIMER);
    irq::arm_timer(soon());
    let end = irq::time() + crate::harts::patience();
    // It may also end for no reason.
    while csr_read!("sip") & csr::STI == 0 && irq::time() < end {
        irq::wfi();
    }
    let pending = csr_read!("sip") & csr::STI;
    let taken = hart::this().taken(trap::TIMER);
    csr_set!("sstatus", csr::SIE);
    irq::disarm_timer();
    irq::set_timer(u64::MAX);
    ensure!(pending != 0, "the timer did not come");
    equal("interrupts taken while off", taken, before)?;
    equal("interrupts taken then", hart::this().taken(trap::TIMER), before + 1)
}

/// The real-time clock runs, and not backwards.
fn rtc() -> Outcome {
    if crate::rtc::irq().is_none() {
        return Err(Problem::Skip("no RTC"));
    }
    let first = crate::rtc::now();
    // 2020-01-01.
    ensure!(first > 1_577_836_800_000_000_000, "it is {} s after 1970", first / 1_000_000_000);
    ensure!(crate::harts::spin_until(|| crate::rtc::now() > first), "it stands still");
    Ok(())
}

pub const TESTS: &[Test] = &[
    Test { name: "timer-sbi", run: by_sbi },
    Test { name: "timer-pending", run: pending },
    Test { name: "timer-stimecmp", run: by_stimecmp },
    Test { name: "timer-wfi", run: wfi_wakes },
    Test { name: "timer-rtc", run: rtc },
];
