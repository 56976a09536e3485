//! Interrupts: the timer, and devices behind the PLIC.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::hart::Hart;
use crate::machine::Machine;
use crate::{console, fdt, sbi};

/// Base of the PLIC, 0 if there is none that reaches the boot hart.
static PLIC: AtomicUsize = AtomicUsize::new(0);
/// The boot hart's S-mode context.
static CONTEXT: AtomicUsize = AtomicUsize::new(0);
static UART_IRQ: AtomicU32 = AtomicU32::new(0);
/// Interrupts served, and the source of the last one.
static SERVED: AtomicUsize = AtomicUsize::new(0);
static LAST: AtomicU32 = AtomicU32::new(0);
/// The transmitter test watches for an empty transmitter instead of input.
static SILENCE_UART: AtomicBool = AtomicBool::new(false);

const SUPERVISOR_EXTERNAL: u32 = 9;

fn plic(offset: usize) -> *mut u32 {
    (PLIC.load(Ordering::Relaxed) + offset) as *mut u32
}

fn plic_read(offset: usize) -> u32 {
    // SAFETY: the device tree says that a PLIC is there.
    unsafe { plic(offset).read_volatile() }
}

fn plic_write(offset: usize, value: u32) {
    // SAFETY: as above.
    unsafe { plic(offset).write_volatile(value) }
}

/// Finds the PLIC and lets UART input interrupt the boot hart.
pub fn init(machine: &Machine, boot_intc: u32) {
    let Some(plic) = machine.find("riscv,plic0").or_else(|| machine.find("sifive,plic-1.0.0")) else { return };
    let mut cells = fdt::cells(plic.interrupts_extended);
    let mut index = 0;
    // The place of a pair in the list is the number of the context.
    while let (Some(phandle), Some(irq)) = (cells.next(), cells.next()) {
        if phandle == boot_intc && irq == SUPERVISOR_EXTERNAL {
            CONTEXT.store(index, Ordering::Relaxed);
            PLIC.store(plic.base, Ordering::Relaxed);
        }
        index += 1;
    }
    if PLIC.load(Ordering::Relaxed) == 0 {
        return;
    }
    set_threshold(0);
    if let Some(uart) = machine.find("ns16550a").filter(|_| console::has_uart()) {
        UART_IRQ.store(uart.irq, Ordering::Relaxed);
        enable(uart.irq, true);
        console::set_interrupts(console::IER_RX);
    }
    csr_set!("sie", csr::SEI);
}

/// Whether devices can interrupt this machine's boot hart.
pub fn available() -> bool {
    PLIC.load(Ordering::Relaxed) != 0
}

pub fn uart_irq() -> u32 {
    UART_IRQ.load(Ordering::Relaxed)
}

pub fn context() -> usize {
    CONTEXT.load(Ordering::Relaxed)
}

/// Lets a source reach the boot hart, or no more.
pub fn enable(source: u32, on: bool) {
    let at = 0x2000 + 0x80 * context() + 4 * (source as usize / 32);
    let bit = 1 << (source % 32);
    let old = plic_read(at);
    plic_write(at, if on { old | bit } else { old & !bit });
    // Last, as QEMU 7.2 looks at its inputs again only when a priority changes.
    plic_write(4 * source as usize, u32::from(on));
}

pub fn set_threshold(threshold: u32) {
    plic_write(0x20_0000 + 0x1000 * context(), threshold);
}

/// Whether a source waits to be claimed.
pub fn pending(source: u32) -> bool {
    plic_read(0x1000 + 4 * (source as usize / 32)) >> (source % 32) & 1 != 0
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
    let claim = 0x20_0004 + 0x1000 * context();
    loop {
        let source = plic_read(claim);
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
        plic_write(claim, source);
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
