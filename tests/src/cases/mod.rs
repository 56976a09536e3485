//! The table of guest tests: a name, what it needs, and a function that fails with a reason.
//!
//! Cheap ones come first. To add one, write it in the file of its theme and put a row into that file's `CASES`.

mod aia;
mod bench;
mod debugger;
mod demo;
mod disk;
pub(crate) mod engines;
mod firmware;
mod hwprobe;
mod hypervisor;
mod input;
pub(crate) mod kvm;
mod linux;
mod memory;
mod net;
mod profile;
mod rva23;
mod snapshot;
mod spike;
mod userland;

pub use userland::HOST_TOOLS;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::harness::Env;

/// A test of the whole program.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Env) -> Result<()>,
}

/// The stage that needs gdb.
pub const DEBUGGER: &str = "gdb";

/// Every case, by stage.
pub const STAGES: &[(&str, &[Case])] = &[
    ("bad input", input::CASES),
    ("demo guest", demo::CASES),
    ("memory", memory::CASES),
    ("bench", bench::CASES),
    ("test programs", spike::CASES),
    ("logs and profiles", profile::CASES),
    ("Linux", linux::CASES),
    (DEBUGGER, debugger::CASES),
    ("disks", disk::CASES),
    ("snapshots", snapshot::CASES),
    ("engines", engines::CASES),
    ("network", net::CASES),
    ("firmware", firmware::CASES),
    ("advanced interrupts", aia::CASES),
    ("hypervisor", hypervisor::CASES),
    ("programs in the guest", userland::CASES),
    ("vector programs", rva23::CASES),
    ("CPU models in Linux", hwprobe::CASES),
];

/// The cases of `cargo kvm-lane`.
pub const KVM_LANE: &[Case] = kvm::CASES;

/// Runs cases of one stage whose name contains `filter`; how many passed and failed.
pub fn run(env: &Env, cases: &[Case], filter: &str) -> (usize, usize) {
    let (mut passed, mut failed) = (0, 0);
    for case in cases.iter().filter(|c| c.name.contains(filter)) {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(env)));
        let seconds = start.elapsed().as_secs_f64();
        let reason = match outcome {
            Ok(Ok(())) => {
                passed += 1;
                println!("  ok      {:<48} {seconds:>6.1} s", case.name);
                continue;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the test itself panicked".to_owned(),
        };
        failed += 1;
        println!("  FAILED  {:<48} {seconds:>6.1} s\n    {reason}", case.name);
    }
    (passed, failed)
}

/// Fails unless `text` contains `part`.
fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    if !text.contains(part) {
        bail!("{what} should contain {part:?}, but is:\n{text}");
    }
    Ok(())
}

/// Fails unless both are equal.
fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<()> {
    if got != wanted {
        bail!("{what} is {got:?}, but should be {wanted:?}");
    }
    Ok(())
}
