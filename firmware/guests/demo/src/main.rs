//! The embedded demo guest of Vireo: looks at the machine it runs on, tests it, and gives a prompt.
//!
//! With `selftest` among the boot arguments it tests itself and powers the machine off.

#![no_std]
#![no_main]

mod bench;
mod info;
mod selftest;
mod shell;

use runtime::{Boot, console, csr, hart, harts, irq, machine, memory, page_table, rtc, sbi, trap};

use console::println;

#[unsafe(no_mangle)]
fn guest_main(boot: &Boot) -> ! {
    let m = machine();
    println!();
    println!(
        "Vireo demo guest {} on '{}': {} hart(s), {} MiB",
        env!("CARGO_PKG_VERSION"),
        m.model,
        m.hart_count,
        m.memory_size >> 20
    );
    if !boot.has_tree {
        println!("there is no device tree at {:#x}", boot.fdt);
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

/// Tests the machine, then switches it off; a failure is the reason it gives.
fn selftest_and_poweroff() -> ! {
    let passed = selftest::run("");
    sbi::power_off(passed)
}
