//! The benchmark guest of Vireo: the same program with the same inputs on every engine. It measures the machine it
//! runs on, checks each result, prints a record a line, and powers the machine off.
//!
//! It compares engines, it does not judge them: the host takes the time of each round by its own clock, too. The
//! format of the records and the boot arguments: `guests/README.md`.

#![no_std]
#![no_main]

mod cpu;
mod fp;
mod io;
mod kernels;
mod memory;
mod micro;
mod options;
mod session;
mod smp;
mod system;
mod vector;

use core::arch::global_asm;

use options::Options;
use runtime::{Boot, csr, csr_clear, csr_read, csr_set, harts, machine, println, sbi};
use session::{Session, Suite};

/// Of the records; changes when a host that knows the last one would misread them.
const VERSION: u32 = 1;

const SUITES: &[Suite] =
    &[micro::SUITE, cpu::SUITE, fp::SUITE, vector::SUITE, memory::SUITE, system::SUITE, io::SUITE, smp::SUITE];

// First of all, for whoever measures how long a machine takes to come here: the record `@boot`, by the SBI's console, which
// needs nothing that would have to be found or set up.
global_asm!(
    r#"
    .section .head.first, "ax"
    mv      s0, a0
    mv      s1, a1
    li      a0, 9
    lla     a1, 1f
    li      a2, 0
    li      a6, {console_write}
    li      a7, {dbcn}
    ecall
    mv      a0, s0
    mv      a1, s1
    j       2f
1:  .ascii  "\r\n@boot\r\n"
    .balign 4, 0
2:
    "#,
    console_write = const 0,
    dbcn = const sbi::DBCN,
);

#[unsafe(no_mangle)]
fn guest_main(boot: &Boot) -> ! {
    if !sbi::probe(sbi::DBCN) {
        println!("\n@boot");
    }
    let m = machine();
    let online = harts::start_all();
    let isa = if m.isa.is_empty() { "unknown" } else { m.isa };
    println!("@guest version={VERSION} harts={online} timebase={} isa={isa} vlen={}", m.timebase, vlen());
    if !boot.has_tree {
        println!("@note reason=there is no device tree");
    }
    if online != m.hart_count {
        println!("@note reason={online} of {} harts are online", m.hart_count);
    }
    let options = Options::parse(m.bootargs, |name| SUITES.iter().any(|s| s.name == name));
    let mut good = true;
    for suite in SUITES.iter().filter(|s| options.wants(s.name)) {
        for row in suite.rows {
            if contains(suite.name, row.name, options.only) && options.wants_row(suite.name, row.name) {
                good &= Session::run_row(suite.name, row, &options);
            }
        }
    }
    println!("@done");
    sbi::power_off(good)
}

/// Whether `suite/name` contains `part`.
fn contains(suite: &str, name: &str, part: &str) -> bool {
    let len = suite.len() + 1 + name.len();
    let byte = |i: usize| match i.checked_sub(suite.len()) {
        None => suite.as_bytes()[i],
        Some(0) => b'/',
        Some(i) => name.as_bytes()[i - 1],
    };
    let part = part.as_bytes();
    part.len() <= len && (0..=len - part.len()).any(|at| (0..part.len()).all(|i| byte(at + i) == part[i]))
}

/// Bits of a vector register, 0 without vectors.
fn vlen() -> usize {
    if !machine().has("v") {
        return 0;
    }
    csr_set!("sstatus", csr::VS);
    // vlenb, by its number: the assembler does not expect vectors here.
    let bits = 8 * csr_read!("0xc22");
    csr_clear!("sstatus", csr::VS);
    bits
}
