//! RAM keeps what is written, from one end to the other.

use super::{Outcome, Test, ensure};
use crate::memory::{self, PAGE};

/// One word in every 4 MiB of the free RAM. The device tree is left alone; it and other things that a loader
/// puts near the end of RAM are why the last megabytes are not looked at.
fn places(free: usize) -> impl Iterator<Item = usize> {
    let m = crate::machine();
    let first = free + (16 << 20);
    let last = (m.memory_base + m.memory_size).saturating_sub(8 << 20);
    (first..last).step_by(4 << 20).filter(|at| !m.fdt.contains(at) && !m.fdt.contains(&(at + 7)))
}

fn whole() -> Outcome {
    ensure!(crate::machine().memory_size != 0, "the device tree names no memory");
    let free = memory::pages(1, PAGE);
    for at in places(free) {
        // SAFETY: free RAM, as the device tree says.
        unsafe { (at as *mut usize).write_volatile(!at) };
    }
    for at in places(free) {
        // SAFETY: as above.
        let got = unsafe { (at as *const usize).read_volatile() };
        ensure!(got == !at, "{at:#x} holds {got:#x}");
    }
    Ok(())
}

pub const TESTS: &[Test] = &[Test { name: "memory-places", run: whole }];
