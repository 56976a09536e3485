//! The engine that runs harts by KVM, by guests made here: its registers, its kicks, its timers, and what its exits do.
//!
//! It builds anywhere and runs on a RISC-V host with KVM only, so that nothing runs unless it is asked for:
//! `cargo test -p accel --test kvm -- --ignored --test-threads 1`. `cargo kvm-lane` runs it on emulated hosts.

#[path = "../guest/mod.rs"]
mod guest;

mod debug;
mod dirty;
mod exits;
mod harts;
mod interrupts;
mod irqchip;
mod kicks;
mod machine;
mod registers;
mod sleep;
mod vectors;
