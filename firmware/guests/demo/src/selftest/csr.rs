//! Supervisor CSRs: what can be written, and who may not.

use core::arch::asm;

use super::{Outcome, Problem, Test, ensure, equal};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::trap::{self, Probe, guarded};

/// Interrupts stay off while `f` plays with registers that the trap handler needs.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    csr_clear!("sstatus", csr::SIE);
    let result = f();
    csr_set!("sstatus", csr::SIE);
    result
}

fn registers() -> Outcome {
    let (scratch, epc, cause) = quietly(|| {
        let saved = csr_read!("sscratch");
        csr_write!("sscratch", 0xdead_beef_0123_4567);
        let scratch = csr_read!("sscratch");
        csr_write!("sscratch", saved);
        csr_write!("sepc", 0x8020_0003);
        let epc = csr_read!("sepc");
        csr_write!("scause", 13);
        (scratch, epc, csr_read!("scause"))
    });
    equal("sscratch", scratch, 0xdead_beef_0123_4567)?;
    equal("sepc", epc, 0x8020_0002)?;
    equal("scause", cause, 13)?;
    let vector = quietly(|| {
        csr_write!("stvec", 0x8020_0000 | 2);
        let vector = csr_read!("stvec");
        trap::restore_vector();
        vector
    });
    ensure!(vector & 3 < 2, "stvec took a reserved mode: {vector:#x}");
    let satp = quietly(|| {
        csr_write!("satp", 15 << 60 | 0x12345);
        let satp = csr_read!("satp");
        csr_write!("satp", 0);
        satp
    });
    equal("satp with a reserved mode", satp, 0)
}

fn interrupt_registers() -> Outcome {
    let (enabled, pending) = quietly(|| {
        let saved = csr_read!("sie");
        csr_write!("sie", usize::MAX);
        let enabled = csr_read!("sie");
        csr_write!("sie", saved & !csr::SSI);
        csr_set!("sip", csr::SSI | csr::STI | csr::SEI);
        let pending = csr_read!("sip");
        csr_clear!("sip", csr::SSI);
        csr_write!("sie", saved);
        (enabled, pending)
    });
    let standard = csr::SSI | csr::STI | csr::SEI;
    equal("sie", enabled & 0xfff, standard)?;
    equal("sip.SSIP", pending & csr::SSI, csr::SSI)?;
    equal("sip.STIP is read only", pending & csr::STI, 0)?;
    equal("sip cleared", csr_read!("sip") & csr::SSI, 0)?;
    equal("sstatus.UXL", csr_read!("sstatus") >> 32 & 3, 2)
}

core::arch::global_asm!(
    r#"
probe_read_mstatus:
    csrr    a0, mstatus
    ret
probe_read_missing:
    csrr    a0, 0x18f
    ret
probe_write_time:
    csrw    0xc01, a0
    ret
probe_set_time_nothing:
    csrrs   a0, time, zero
    ret
    "#
);

unsafe extern "C" {
    fn probe_read_mstatus(a: usize, b: usize) -> usize;
    fn probe_read_missing(a: usize, b: usize) -> usize;
    fn probe_write_time(a: usize, b: usize) -> usize;
    fn probe_set_time_nothing(a: usize, b: usize) -> usize;
}

fn privilege() -> Outcome {
    for (name, probe) in [
        ("mstatus", probe_read_mstatus as Probe),
        ("csr 0x18f", probe_read_missing),
        ("write of time", probe_write_time),
    ] {
        let address = probe as *const () as usize;
        let Err(t) = guarded(probe, 0, 0) else { return Err(super::failure(format_args!("{name} did not trap"))) };
        equal(name, t.cause, trap::ILLEGAL)?;
        equal("sepc", t.epc, address)?;
        // SAFETY: the instruction itself.
        let word = unsafe { (address as *const u32).read_unaligned() } as usize;
        ensure!(t.tval == word || t.tval == 0, "stval {:#x} is neither 0 nor {word:#x}", t.tval);
    }
    ensure!(guarded(probe_set_time_nothing, 0, 0).is_ok(), "reading time by csrrs trapped");
    Ok(())
}

/// 100,000 times a loop of two instructions.
fn counted_loop() -> (usize, usize) {
    let (before, after): (usize, usize);
    // SAFETY: registers only.
    unsafe {
        asm!("csrr {b}, instret", "1: addi {n}, {n}, -1", "bnez {n}, 1b", "csrr {a}, instret",
            b = out(reg) before, a = out(reg) after, n = inout(reg) LOOPS => _);
    }
    (before, after)
}

const LOOPS: usize = 100_000;

/// `instret` counts instructions exactly, if it counts them at all.
fn instret() -> Outcome {
    if crate::sbi::is_kvm() {
        return Err(Problem::Skip("KVM reads instret as zero until the PMU counts"));
    }
    let (before, after) = quietly(counted_loop);
    let (got, want) = (after.wrapping_sub(before), 2 * LOOPS + 1);
    ensure!(after > before, "instret did not advance");
    let off = got.abs_diff(want);
    if off * 50 > want {
        return Err(Problem::Skip("instret does not count instructions here"));
    }
    equal("instructions", got, want)
}

fn counters() -> Outcome {
    let cycle = csr::has_cycle();
    ensure!(cycle || crate::sbi::is_kvm(), "cycle cannot be read");
    let read = || (csr_read!("time"), if cycle { csr_read!("cycle") } else { 0 });
    let mut last = read();
    for _ in 0..1000 {
        let now = read();
        ensure!(now.0 >= last.0, "time went back by {}", last.0 - now.0);
        ensure!(now.1 >= last.1, "cycle went back by {}", last.1 - now.1);
        last = now;
    }
    Ok(())
}

pub const TESTS: &[Test] = &[
    Test { name: "csr-registers", run: registers },
    Test { name: "csr-interrupts", run: interrupt_registers },
    Test { name: "csr-privilege", run: privilege },
    Test { name: "csr-counters", run: counters },
    Test { name: "csr-instret", run: instret },
];
