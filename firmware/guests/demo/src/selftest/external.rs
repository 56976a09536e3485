//! External interrupts: a device, the PLIC or APLIC, this hart.

use super::{Outcome, Problem, Test, ensure, equal};
use crate::{console, hart, harts, irq, rtc, trap};

fn uart() -> Outcome {
    if !irq::available() || irq::uart_irq() == 0 {
        return Err(Problem::Skip("no UART behind an interrupt controller"));
    }
    let source = irq::uart_irq();
    for _ in 0..3 {
        let served = irq::served();
        // An empty transmitter interrupts at once; the handler switches it off.
        irq::silence_uart(true);
        console::set_interrupts(console::IER_TX);
        let came = irq::wait_for(harts::patience(), || irq::served() != served);
        irq::silence_uart(false);
        console::set_interrupts(console::IER_RX);
        ensure!(came, "the UART did not interrupt");
        equal("source", irq::last() as usize, source as usize)?;
    }
    Ok(())
}

/// A source that is disabled, or not above the threshold, is pending but does not interrupt.
fn masking() -> Outcome {
    if !irq::available() || irq::uart_irq() == 0 {
        return Err(Problem::Skip("no UART behind an interrupt controller"));
    }
    let source = irq::uart_irq();
    let taken = || hart::this().taken(trap::EXTERNAL);
    let before = taken();
    irq::silence_uart(true);
    irq::mask(true);
    console::set_interrupts(console::IER_TX);
    let pending = harts::spin_until(|| irq::pending(source));
    let above = taken();
    irq::enable(source, false);
    irq::mask(false);
    // Long enough for an interrupt that should not be there.
    irq::wait_for(crate::machine().timebase / 1000, || taken() != before);
    let disabled = taken();
    irq::enable(source, true);
    let came = irq::wait_for(harts::patience(), || taken() != before);
    irq::silence_uart(false);
    console::set_interrupts(console::IER_RX);
    ensure!(pending, "not pending");
    equal("taken while masked", above, before)?;
    equal("taken while disabled", disabled, before)?;
    ensure!(came, "it did not come in the end");
    Ok(())
}

fn rtc_alarm() -> Outcome {
    let Some(source) = rtc::irq().filter(|_| irq::available()) else {
        return Err(Problem::Skip("no RTC behind an interrupt controller"));
    };
    irq::enable(source, true);
    let served = irq::served();
    let deadline = rtc::now() + 2_000_000;
    rtc::alarm(deadline);
    let came = irq::wait_for(harts::patience(), || irq::served() != served);
    let now = rtc::now();
    irq::enable(source, false);
    ensure!(came, "the alarm did not interrupt");
    equal("source", irq::last() as usize, source as usize)?;
    ensure!(now >= deadline, "{} ns too early", deadline - now);
    Ok(())
}

pub const TESTS: &[Test] = &[
    Test { name: "external-uart", run: uart },
    Test { name: "external-masking", run: masking },
    Test { name: "external-rtc-alarm", run: rtc_alarm },
];
