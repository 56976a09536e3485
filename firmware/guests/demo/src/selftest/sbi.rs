//! The SBI: what is there, and how it refuses.

use core::arch::{asm, global_asm};
use core::ptr::{addr_of, addr_of_mut};

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
    // KVM fences those that there are.
    if !sbi::is_kvm() {
        error("fence of a missing hart", call(sbi::RFENCE, 0, [1, missing, 0, 0, 0]), sbi::INVALID_PARAM)?;
    }
    error("IPI to nobody", sbi::send_ipi(0, hart::this().id), 0)?;
    error("fence of everybody", call(sbi::RFENCE, 0, [0, usize::MAX, 0, 0, 0]), 0)
}

fn hart_states() -> Outcome {
    let me = hart::this().id;
    let status = sbi::hart_status(me);
    error("status", status, 0)?;
    equal("own status", status.value, 0)?;
    // KVM's answer is the status 0 with an error that is lost.
    if !sbi::is_kvm() {
        error("status of a missing hart", sbi::hart_status(1 << 20), sbi::INVALID_PARAM)?;
    }
    error("start of a missing hart", sbi::hart_start(1 << 20, harts::entry_address(), 0), sbi::INVALID_PARAM)?;
    error("start of itself", sbi::hart_start(me, harts::entry_address(), 0), sbi::ALREADY_AVAILABLE)?;
    error("suspend to a reserved state", call(sbi::HSM, 3, [1, 0, 0, 0, 0]), sbi::INVALID_PARAM)
}

fn reset_arguments() -> Outcome {
    // KVM takes any reason, and would reset.
    if sbi::is_kvm() {
        return error("reserved reset type", call(sbi::SRST, 0, [0x1000, 0, 0, 0, 0]), sbi::NOT_SUPPORTED);
    }
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

/// Features that every hart has, and how the others are refused. What is not there answers so, also for unknown values.
fn firmware_features() -> Outcome {
    if !sbi::probe(sbi::FWFT) {
        return error("a call of a missing FWFT", call(sbi::FWFT, 1, [0; 5]), sbi::NOT_SUPPORTED);
    }
    let get = |feature| call(sbi::FWFT, 1, [feature, 0, 0, 0, 0]);
    let set = |feature, value, flags| call(sbi::FWFT, 0, [feature, value, flags, 0, 0]);
    for reserved in [6, 0x3fff_ffff, 0x8000_0000, 0xbfff_ffff] {
        error("reserved feature", get(reserved), sbi::DENIED)?;
        error("set of a reserved feature", set(reserved, 1, 0), sbi::DENIED)?;
    }
    for feature in 0..6 {
        let held = get(feature);
        if held.error == sbi::NOT_SUPPORTED {
            error("set of a missing feature", set(feature, 0, 0), sbi::NOT_SUPPORTED)?;
            continue;
        }
        error("get", held, 0)?;
        error("a value that there is not", set(feature, 1 << 40, 0), sbi::INVALID_PARAM)?;
        error("a flag that there is not", set(feature, held.value, 2), sbi::INVALID_PARAM)?;
        error("set to what it is", set(feature, held.value, 0), 0)?;
        equal("feature after that", get(feature).value, held.value)?;
    }
    Ok(())
}

/// A trigger is installed, read and removed; it never fires.
fn debug_triggers() -> Outcome {
    if !sbi::probe(sbi::DBTR) {
        return error("a call of a missing DBTR", call(sbi::DBTR, 0, [0; 5]), sbi::NOT_SUPPORTED);
    }
    let there = call(sbi::DBTR, 0, [0; 5]).value;
    ensure!(there > 0, "no triggers");
    let page = memory::pages(1, memory::PAGE);
    error("install without memory", call(sbi::DBTR, 3, [1, 0, 0, 0, 0]), sbi::NO_SHMEM)?;
    if sbi::is_vireo() {
        error("memory with flags", call(sbi::DBTR, 1, [page, 0, 1, 0, 0]), sbi::INVALID_PARAM)?;
    }
    error("memory", call(sbi::DBTR, 1, [page, 0, 0, 0, 0]), 0)?;
    if sbi::is_vireo() {
        error("too many", call(sbi::DBTR, 3, [there + 1, 0, 0, 0, 0]), sbi::BAD_RANGE)?;
    }
    let entry = page as *mut usize;
    // Stores of U-mode to an address that has none.
    let store = 6 << 60 | 1 << 3 | 1 << 1;
    // SAFETY: a page of our own.
    unsafe {
        for (i, word) in [99, store, 8, 0].into_iter().enumerate() {
            entry.add(i).write_volatile(word);
        }
    }
    error("install", call(sbi::DBTR, 3, [1, 0, 0, 0, 0]), 0)?;
    // SAFETY: as above.
    let word = |i| unsafe { entry.add(i).read_volatile() };
    equal("index", word(0), 0)?;
    let read = call(sbi::DBTR, 2, [0, 1, 0, 0, 0]);
    let found = (word(0), word(1), word(2));
    error("uninstall", call(sbi::DBTR, 5, [0, 1, 0, 0, 0]), 0)?;
    error("read", read, 0)?;
    ensure!(found == (3, store, 8), "state, tdata1 and tdata2 are {found:x?}");
    error("no memory", call(sbi::DBTR, 1, [usize::MAX, usize::MAX, 0, 0, 0]), 0)
}

/// How often the handler ran, and the hart that it was told of.
static mut EVENTS: [usize; 2] = [0; 2];

// The handler has a6 and a7 alone: the hart, and its argument, which is where `EVENTS` is.
global_asm!(
    ".balign 4",
    "demo_software_event:",
    "sd a6, 8(a7)",
    "ld a6, 0(a7)",
    "addi a6, a6, 1",
    "sd a6, 0(a7)",
    "li a7, {sse}",
    "li a6, 6",
    "ecall",
    sse = const sbi::SSE,
);

unsafe extern "C" {
    fn demo_software_event();
}

/// An event that this hart injects into itself, while events are masked and while they are not.
fn software_events() -> Outcome {
    if !sbi::probe(sbi::SSE) {
        return error("a call of a missing SSE", call(sbi::SSE, 9, [0; 5]), sbi::NOT_SUPPORTED);
    }
    const EVENT: usize = 0xffff_0000;
    let me = hart::this().id;
    let sse = |fid, args: [usize; 3]| call(sbi::SSE, fid, [args[0], args[1], args[2], 0, 0]);
    // SAFETY: the handler runs on this hart alone, between two instructions of this function.
    let events = || unsafe { addr_of!(EVENTS).read_volatile() };
    // SAFETY: as above.
    unsafe { addr_of_mut!(EVENTS).write_volatile([0, usize::MAX]) };
    error("masked at first", sse(9, [0; 3]), sbi::ALREADY_STOPPED)?;
    error("an unknown event", sse(4, [2, 0, 0]), sbi::INVALID_PARAM)?;
    error("enable of an unused event", sse(4, [EVENT, 0, 0]), sbi::INVALID_STATE)?;
    let entry = demo_software_event as *const () as usize;
    error("register", sse(2, [EVENT, entry, addr_of!(EVENTS) as usize]), 0)?;
    error("enable", sse(4, [EVENT, 0, 0]), 0)?;
    error("inject", sse(7, [EVENT, me, 0]), 0)?;
    equal("events while masked", events()[0], 0)?;
    error("unmask", sse(8, [0; 3]), 0)?;
    ensure!(events() == [1, me], "after unmasking: count and hart are {:?}", events());
    error("unmask again", sse(8, [0; 3]), sbi::ALREADY_STARTED)?;
    error("inject", sse(7, [EVENT, me, 0]), 0)?;
    equal("events", events()[0], 2)?;
    error("mask", sse(9, [0; 3]), 0)?;
    error("disable", sse(5, [EVENT, 0, 0]), 0)?;
    error("unregister", sse(3, [EVENT, 0, 0]), 0)
}

pub const TESTS: &[Test] = &[
    Test { name: "sbi-base", run: base },
    Test { name: "sbi-registers", run: registers },
    Test { name: "sbi-hart-lists", run: hart_lists },
    Test { name: "sbi-hart-states", run: hart_states },
    Test { name: "sbi-reset-arguments", run: reset_arguments },
    Test { name: "sbi-debug-console", run: debug_console },
    Test { name: "sbi-system-suspend", run: system_suspend },
    Test { name: "sbi-firmware-features", run: firmware_features },
    Test { name: "sbi-debug-triggers", run: debug_triggers },
    Test { name: "sbi-software-events", run: software_events },
];
