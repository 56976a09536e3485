//! What an S-mode program needs to run on a RISC-V machine with an SBI: the entry, traps, the other harts, page
//! tables, calls into the SBI, interrupts, a console, the device tree.
//!
//! A program is entered as a Linux kernel is (a0 = hart id, a1 = device tree, S-mode, MMU off), so it runs on any
//! SBI machine: the built-in SBI, OpenSBI, KVM. It has a function `guest_main`, which gets the boot hart.

#![no_std]

pub mod console;
pub mod csr;
pub mod fdt;
pub mod hart;
pub mod harts;
pub mod irq;
pub mod machine;
pub mod memory;
pub mod page_table;
pub mod rtc;
pub mod sbi;
mod start;
pub mod trap;

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use hart::Hart;
use machine::Machine;
use memory::Global;

/// How the program was entered.
pub struct Boot {
    /// Where the boot protocol said the device tree is.
    pub fdt: usize,
    /// One was there.
    pub has_tree: bool,
}

unsafe extern "Rust" {
    /// The program: on the boot hart, with interrupts on, no other hart running yet.
    safe fn guest_main(boot: &Boot) -> !;
}

/// Filled in before anything looks at it and before any other hart runs, and never changed after.
static MACHINE: Global<MaybeUninit<Machine>> = Global::new(MaybeUninit::uninit());

/// The machine as its device tree describes it.
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

    guest_main(&Boot { fdt, has_tree: tree.is_some() })
}

/// Any other hart.
#[unsafe(no_mangle)]
extern "C" fn hart_main(_id: usize, hart: &'static Hart) -> ! {
    harts::work(hart)
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    console::print_anyway(format_args!("\npanic: {info}\n"));
    sbi::power_off(false)
}
