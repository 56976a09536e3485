//! Interrupts: the timer, and devices behind a PLIC or an APLIC.

mod aplic;
mod plic;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::hart::Hart;
use crate::machine::Machine;
use crate::{console, sbi};

/// Which controller reaches the boot hart.
static CONTROLLER: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = 0;
const PLIC: u32 = 1;
const APLIC: u32 = 2;

static UART_IRQ: AtomicU32 = AtomicU32::new(0);
/// Interrupts served, and the source of the last one.
static SERVED: AtomicUsize = AtomicUsize::new(0);
static LAST: AtomicU32 = AtomicU32::new(0);
/// The transmitter test watches for an empty transmitter instead of input.
static SILENCE_UART: AtomicBool = AtomicBool::new(false);

const SUPERVISOR_EXTERNAL: u32 = 9;

/// Does it with the controller that is there.
macro_rules! controller {
    ($f:ident($($argument:expr),*)) => {
        match CONTROLLER.load(Ordering::Relaxed) {
            PLIC => plic::$f($($argument),*),
            APLIC => aplic::$f($($argument),*),
            _ => Default::default(),
        }
    };
}

/// Finds the interrupt controller and lets UART input interrupt the boot hart.
pub fn init(machine: &Machine, boot_intc: u32) {
    let found = match () {
        () if plic::init(machine, boot_intc) => PLIC,
        () if aplic::init(machine, boot_intc) => APLIC,
        () => return,
    };
    CONTROLLER.store(found, Ordering::Relaxed);
    if let Some(uart) = machine.find("ns16550a").filter(|_| console::has_uart()) {
        UART_IRQ.store(uart.irq, Ordering::Relaxed);
        enable(uart.irq, true);
        console::set_interrupts(console::IER_RX);
    }
    csr_set!("sie", csr::SEI);
}

/// Whether devices can interrupt this machine's boot hart.
pub fn available() -> bool {
    CONTROLLER.load(Ordering::Relaxed) != NONE
}

pub fn uart_irq() -> u32 {
    UART_IRQ.load(Ordering::Relaxed)
}

/// Lets a source reach the boot hart, or no more.
pub fn enable(source: u32, on: bool) {
    controller!(enable(source, on))
}

/// Keeps all sources from the boot hart, or no more.
pub fn mask(on: bool) {
    controller!(mask(on))
}

/// Whether a source waits to be claimed.
pub fn pending(source: u32) -> bool {
    controller!(pending(source))
}

pub fn served() -> usize {
    SERVED.load(Ordering::Acquire)
}

pub fn last() -> u32 {
    LAST.load(Ordering::Acquire)
}

/// While set, the UART's interrupt is answered by switching its events off.
pub fn silence_uart(on: bool) {
    SILENCE_UART.store(on, Ordering::Release);
}

static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Interrupts of sources that this library knows nothing about go to `handler`, which has to quiet them.
pub fn set_handler(handler: Option<fn(u32)>) {
    HANDLER.store(handler.map_or(0, |f| f as usize), Ordering::Release);
}

/// The external interrupt's handler.
pub fn serve(_hart: &Hart) {
    loop {
        let source = controller!(claim());
        if source == 0 {
            return;
        }
        if source == uart_irq() {
            if SILENCE_UART.load(Ordering::Acquire) {
                console::set_interrupts(0);
            }
            console::receive();
        } else if !crate::rtc::quiet(source) {
            let handler = HANDLER.load(Ordering::Acquire);
            // SAFETY: 0 or what `set_handler` stored.
            let handler = unsafe { core::mem::transmute::<usize, Option<fn(u32)>>(handler) };
            handler.inspect(|handle| handle(source));
        }
        LAST.store(source, Ordering::Release);
        SERVED.fetch_add(1, Ordering::AcqRel);
        controller!(complete(source));
    }
}

/// Whether SBI's timer cannot be relied on: where harts have Sstc, KVM forgets a deadline set by SBI if it schedules the
/// vCPU away before the guest goes on (Linux 6.12, `kvm_riscv_vcpu_timer_save`).
pub fn sbi_timer_is_lost() -> bool {
    sbi::is_kvm() && crate::machine().has("sstc")
}

/// The timer interrupt is pending from `deadline` on; by SBI, where that works.
pub fn set_timer(deadline: u64) {
    if sbi_timer_is_lost() {
        // stimecmp by its number: older assemblers do not know the name.
        csr_write!("0x14d", deadline as usize);
    } else {
        sbi::set_timer(deadline);
    }
}

/// Asks for a timer interrupt at `deadline`.
pub fn arm_timer(deadline: u64) {
    set_timer(deadline);
    csr_set!("sie", csr::STI);
}

/// No timer interrupt any more.
pub fn disarm_timer() {
    csr_clear!("sie", csr::STI);
}

/// Runs `wait` with interrupts off; what is pending is served after each `wfi`. Stops when `done` says so.
pub fn wait_until(done: impl Fn() -> bool) {
    loop {
        csr_clear!("sstatus", csr::SIE);
        if done() {
            break;
        }
        wfi();
        csr_set!("sstatus", csr::SIE);
    }
    csr_set!("sstatus", csr::SIE);
}

/// As [`wait_until`], but gives up after some ticks of the clock; says whether `done` came true.
pub fn wait_for(ticks: u64, done: impl Fn() -> bool) -> bool {
    let end = time() + ticks;
    arm_timer(end);
    wait_until(|| {
        // The handler switched the timer off; it has to wake the next wait, too.
        done() || time() >= end
    });
    disarm_timer();
    set_timer(u64::MAX);
    done()
}

pub fn wfi() {
    // SAFETY: wakes on any enabled interrupt, taken or not.
    unsafe { core::arch::asm!("wfi") };
}

pub fn time() -> u64 {
    csr_read!("time") as u64
}
