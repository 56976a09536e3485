//! The embedded demo guest of Vireo: a small S-mode program that looks at the machine it runs on, tests it, and
//! gives a prompt.
//!
//! It is entered as a Linux kernel is (a0 = hart id, a1 = device tree, S-mode, MMU off), so it runs on any SBI
//! machine: the built-in SBI, OpenSBI, KVM. With `selftest` among the boot arguments it tests itself and powers
//! the machine off.

#![no_std]
#![no_main]

mod bench;
mod console;
mod csr;
mod fdt;
mod hart;
mod harts;
mod info;
mod irq;
mod machine;
mod memory;
mod page_table;
mod rtc;
mod sbi;
mod selftest;
mod shell;
mod start;
mod trap;

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use console::println;
use csr::csr_set;
use hart::Hart;
use machine::Machine;
use memory::Global;

/// Filled in before anything looks at it and before any other hart runs, and never changed after.
static MACHINE: Global<MaybeUninit<Machine>> = Global::new(MaybeUninit::uninit());

pub fn machine() -> &'static Machine {
    // SAFETY: see above.
    unsafe { (*MACHINE.pointer()).assume_init_ref() }
}

const TRAP_STACK_PAGES: usize = 4;
const STACK_PAGES: usize = 8;

/// Memory for a hart.
fn new_hart(id: usize) -> &'static mut Hart {
    let pages = size_of::<Hart>().div_ceil(memory::PAGE);
    let hart = memory::pages(pages, memory::PAGE) as *mut Hart;
    // SAFETY: fresh zeroed memory, and a `Hart` of zeros is valid.
    let hart = unsafe { &mut *hart };
    hart.id = id;
    hart.trap_stack_top = memory::pages(TRAP_STACK_PAGES, memory::PAGE) + TRAP_STACK_PAGES * memory::PAGE;
    hart.stack_top = memory::pages(STACK_PAGES, memory::PAGE) + STACK_PAGES * memory::PAGE;
    hart
}

/// The boot hart, on its own stack, with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn boot_main(id: usize, fdt: usize) -> ! {
    let hart = new_hart(id);
    // SAFETY: `tp` is this program's pointer to the hart's memory, which nothing else uses.
    unsafe { core::arch::asm!("mv tp, {}", in(reg) core::ptr::from_mut(hart)) };
    trap::init(hart);
    csr_set!("sstatus", csr::FS);

    // SAFETY: the boot protocol passes a device tree; the other harts do not run yet.
    let (tree, m) = unsafe { (fdt::Fdt::at(fdt), (*MACHINE.pointer()).write(Machine::unknown())) };
    if let Some(tree) = tree {
        m.read(&tree);
        m.fdt = fdt..fdt + tree.len;
    }
    if let Some(uart) = m.find("ns16550a") {
        console::init(uart.base, uart.reg_shift as usize);
    }
    let boot_intc = m.harts().iter().find(|h| h.id == id).map_or(0, |h| h.intc);
    rtc::init(m);
    irq::init(m, boot_intc);
    csr_set!("sstatus", csr::SIE);

    println!();
    println!(
        "Vireo demo guest {} on '{}': {} hart(s), {} MiB",
        env!("CARGO_PKG_VERSION"),
        m.model,
        m.hart_count,
        m.memory_size >> 20
    );
    if tree.is_none() {
        println!("there is no device tree at {fdt:#x}");
    }
    let online = harts::start_all();
    if online != m.hart_count {
        println!("{online} harts are online");
    }
    if m.bootargs.split(' ').any(|word| word == "selftest") {
        selftest_and_poweroff();
    }
    println!("Type 'help' for commands.");
    shell::run_forever()
}

/// Any other hart.
#[unsafe(no_mangle)]
extern "C" fn hart_main(_id: usize, hart: &'static Hart) -> ! {
    harts::work(hart)
}

/// Tests the machine, then switches it off; a failure is the reason it gives.
fn selftest_and_poweroff() -> ! {
    let passed = selftest::run("");
    sbi::reset(0, usize::from(!passed));
    println!("the SBI cannot power off");
    loop {
        irq::wfi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    console::print_anyway(format_args!("\npanic: {info}\n"));
    sbi::reset(0, 1);
    loop {
        core::hint::spin_loop();
    }
}
