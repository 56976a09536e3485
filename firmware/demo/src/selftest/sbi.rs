//! The SBI: what is there, and how it refuses.

use core::arch::asm;

use super::{Outcome, Problem, Test, ensure, equal};
use crate::sbi::{self, Ret, call};
use crate::{hart, harts, memory};

fn error(what: &str, ret: Ret, want: isize) -> Outcome {
    ensure!(ret.error == want, "{what}: error {}, want {want}", ret.error);
    Ok(())
}

fn base() -> Outcome {
    let version = call(sbi::BASE, 0, [0; 5]);
    ensure!(version.error == 0 && version.value >= 2, "version {:#x}", version.value);
    for (name, eid) in
        [("TIME", sbi::TIME), ("sPI", sbi::IPI), ("RFENCE", sbi::RFENCE), ("HSM", sbi::HSM), ("SRST", sbi::SRST)]
    {
        ensure!(sbi::probe(eid), "no {name} extension");
    }
    ensure!(!sbi::probe(0x0a00_0001), "an extension that cannot be there was found");
    error("unknown extension", call(0x0a00_0001, 0, [0; 5]), sbi::NOT_SUPPORTED)?;
    error("unknown function", call(sbi::TIME, 99, [0; 5]), sbi::NOT_SUPPORTED)
}

/// All registers but a0 and a1 survive a call.
fn registers() -> Outcome {
    let mut sum: usize;
    // SAFETY: a call without an effect; every register is named.
    unsafe {
        asm!(
            "li a2, 2", "li a3, 3", "li a4, 4", "li a5, 5",
            "li t0, 6", "li t1, 7", "li t2, 8", "li t3, 9", "li t4, 10", "li t5, 11", "li t6, 12",
            "ecall",
            "add a0, a2, a3", "add a0, a0, a4", "add a0, a0, a5", "add a0, a0, a6", "add a0, a0, a7",
            "add a0, a0, t0", "add a0, a0, t1", "add a0, a0, t2", "add a0, a0, t3", "add a0, a0, t4",
            "add a0, a0, t5", "add a0, a0, t6",
            inout("a0") 0usize => sum, out("a1") _, out("a2") _, out("a3") _, out("a4") _, out("a5") _,
            inout("a6") 0usize => _, inout("a7") sbi::BASE => _,
            out("t0") _, out("t1") _, out("t2") _, out("t3") _, out("t4") _, out("t5") _, out("t6") _,
        );
    }
    sum -= sbi::BASE;
    equal("sum of registers", sum, 77)
}

fn hart_lists() -> Outcome {
    let missing = crate::machine().harts().iter().map(|h| h.id).max().unwrap_or(0) + 1;
    error("IPI to a missing hart", sbi::send_ipi(1, missing), sbi::INVALID_PARAM)?;
    error("IPI to a far hart", sbi::send_ipi(1, 1 << 20), sbi::INVALID_PARAM)?;
    error("fence of a missing hart", call(sbi::RFENCE, 0, [1, missing, 0, 0, 0]), sbi::INVALID_PARAM)?;
    error("IPI to nobody", sbi::send_ipi(0, hart::this().id), 0)?;
    error("fence of everybody", call(sbi::RFENCE, 0, [0, usize::MAX, 0, 0, 0]), 0)
}

fn hart_states() -> Outcome {
    let me = hart::this().id;
    let status = sbi::hart_status(me);
    error("status", status, 0)?;
    equal("own status", status.value, 0)?;
    error("status of a missing hart", sbi::hart_status(1 << 20), sbi::INVALID_PARAM)?;
    error("start of a missing hart", sbi::hart_start(1 << 20, harts::entry_address(), 0), sbi::INVALID_PARAM)?;
    error("start of itself", sbi::hart_start(me, harts::entry_address(), 0), sbi::ALREADY_AVAILABLE)?;
    error("suspend to a reserved state", call(sbi::HSM, 3, [1, 0, 0, 0, 0]), sbi::INVALID_PARAM)
}

fn reset_arguments() -> Outcome {
    error("reserved reset type", call(sbi::SRST, 0, [0x1000, 0, 0, 0, 0]), sbi::INVALID_PARAM)?;
    error("reserved reset reason", call(sbi::SRST, 0, [0, 0x1000, 0, 0, 0]), sbi::INVALID_PARAM)
}

fn debug_console() -> Outcome {
    if !sbi::probe(sbi::DBCN) {
        return Err(Problem::Skip("no DBCN"));
    }
    let page = memory::pages(1, memory::PAGE);
    let text = b"(a line by DBCN)\r\n";
    // SAFETY: a page of our own.
    unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), page as *mut u8, text.len()) };
    let mut done = 0;
    while done < text.len() {
        let ret = call(sbi::DBCN, 0, [text.len() - done, page + done, 0, 0, 0]);
        error("write", ret, 0)?;
        ensure!(ret.value <= text.len() - done, "wrote {} bytes of {}", ret.value, text.len() - done);
        done += ret.value;
    }
    error("write of nothing", call(sbi::DBCN, 0, [0, page, 0, 0, 0]), 0)?;
    // Firmware that takes every address to be memory would fall over this one.
    if sbi::is_vireo() {
        error("write from nowhere", call(sbi::DBCN, 0, [1, 1 << 50, 0, 0, 0]), sbi::INVALID_PARAM)?;
    }
    ensure!(call(sbi::DBCN, 0, [1, page, 1, 0, 0]).error < 0, "a write past 64 bits worked");
    Ok(())
}

/// How suspend to RAM refuses; this program has nothing to wake it.
fn system_suspend() -> Outcome {
    if !sbi::probe(sbi::SUSP) {
        return Err(Problem::Skip("no SUSP"));
    }
    let suspend = |kind, address| call(sbi::SUSP, 0, [kind, address, 0, 0, 0]);
    error("reserved sleep type", suspend(1, harts::entry_address()), sbi::INVALID_PARAM)?;
    if sbi::is_vireo() {
        error("resume at nowhere", suspend(0, 1 << 50), sbi::INVALID_ADDRESS)?;
    }
    if harts::other().is_some() {
        error("while harts run", suspend(0, harts::entry_address()), sbi::DENIED)?;
    }
    Ok(())
}

pub const TESTS: &[Test] = &[
    Test { name: "sbi-base", run: base },
    Test { name: "sbi-registers", run: registers },
    Test { name: "sbi-hart-lists", run: hart_lists },
    Test { name: "sbi-hart-states", run: hart_states },
    Test { name: "sbi-reset-arguments", run: reset_arguments },
    Test { name: "sbi-debug-console", run: debug_console },
    Test { name: "sbi-system-suspend", run: system_suspend },
];
