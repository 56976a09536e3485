//! Exceptions are precise: `sepc` is the instruction, `stval` what it did wrong, and nothing else changed.

use super::{Outcome, Problem, Test, ensure, equal};
use crate::csr::{self, csr_clear, csr_read, csr_set, csr_write};
use crate::trap::{self, Probe, guarded};
use crate::{hart, memory};

core::arch::global_asm!(
    r#"
    .balign 4
probe_illegal32:
    .word   0xffffffff
    ret
probe_illegal16:
    .half   0
    ret
probe_ebreak:
    .option push
    .option norvc
    ebreak
    .option pop
    ret
    .globl probe_load, probe_store
probe_load:
    ld      a0, 0(a0)
    ret
probe_store:
    sd      a1, 0(a0)
    ret
// The fault comes in the middle of a block; what stands before it has happened, what follows has not.
probe_middle:
    li      a2, 11
    li      a3, 22
    sd      a2, 0(a1)
probe_middle_fault:
    ld      a3, 0(a0)
    sd      a2, 8(a1)
    ret
    .globl probe_jump
probe_jump:
    jr      a0

    // Vectored mode: only the software interrupt has a handler of its own.
    .balign 256
vector_table:
    .option push
    .option norvc
    j       trap_entry
    j       vector_software
    .rept   14
    j       trap_entry
    .endr
    .option pop
vector_software:
    csrci   sip, 2
    sret
    "#
);

unsafe extern "C" {
    fn probe_illegal32(a: usize, b: usize) -> usize;
    fn probe_illegal16(a: usize, b: usize) -> usize;
    fn probe_ebreak(a: usize, b: usize) -> usize;
    fn probe_middle(a: usize, b: usize) -> usize;
    static probe_middle_fault: u8;
    static vector_table: u8;
}

unsafe extern "C" {
    pub fn probe_load(a: usize, b: usize) -> usize;
    pub fn probe_store(a: usize, b: usize) -> usize;
    pub fn probe_jump(a: usize, b: usize) -> usize;
}

/// A physical address with nothing behind it.
const NOWHERE: usize = 1 << 50;

fn instructions() -> Outcome {
    for (probe, bits) in [(probe_illegal32 as Probe, 0xffff_ffff), (probe_illegal16, 0)] {
        let Err(t) = guarded(probe, 0, 0) else {
            return Err(super::failure(format_args!("{bits:#x} was executed")));
        };
        equal("cause", t.cause, trap::ILLEGAL)?;
        equal("sepc", t.epc, probe as *const () as usize)?;
        ensure!(t.tval == 0 || t.tval == bits, "stval {:#x} for {bits:#x}", t.tval);
    }
    let Err(t) = guarded(probe_ebreak, 0, 0) else { return Err(super::failure(format_args!("ebreak went on"))) };
    equal("cause", t.cause, trap::BREAKPOINT)?;
    let at = probe_ebreak as *const () as usize;
    equal("sepc", t.epc, at)?;
    ensure!(t.tval == 0 || t.tval == at, "stval {:#x}", t.tval);
    Ok(())
}

fn access_faults() -> Outcome {
    for (name, probe, cause) in [
        ("load", probe_load as Probe, trap::LOAD_ACCESS),
        ("store", probe_store, trap::STORE_ACCESS),
        ("fetch", probe_jump, trap::FETCH_ACCESS),
    ] {
        let Err(t) = guarded(probe, NOWHERE, 1) else {
            return Err(super::failure(format_args!("a {name} of nowhere worked")));
        };
        equal(name, t.cause, cause)?;
        equal("stval", t.tval, NOWHERE)?;
        equal("sepc", t.epc, if cause == trap::FETCH_ACCESS { NOWHERE } else { probe as *const () as usize })?;
    }
    Ok(())
}

fn precise() -> Outcome {
    let page = memory::pages(1, memory::PAGE);
    let Err(t) = guarded(probe_middle, NOWHERE, page) else {
        return Err(super::failure(format_args!("a load of nowhere worked")));
    };
    equal("sepc", t.epc, &raw const probe_middle_fault as usize)?;
    // SAFETY: this hart's frame and a page of our own, both written behind the compiler's back.
    let (a3, before, after) = unsafe {
        (
            (&raw const hart::this().frame[13]).read_volatile(),
            (page as *const usize).read_volatile(),
            ((page + 8) as *const usize).read_volatile(),
        )
    };
    equal("rd of the load", a3, 22)?;
    equal("the store before it", before, 11)?;
    equal("the store after it", after, 0)
}

fn vectored() -> Outcome {
    csr_clear!("sstatus", csr::SIE);
    let before = hart::this().taken(trap::SOFTWARE);
    let table = &raw const vector_table as usize;
    csr_write!("stvec", table | 1);
    let mode = csr_read!("stvec");
    let enabled = csr_set!("sie", csr::SSI);
    csr_set!("sip", csr::SSI);
    csr_set!("sstatus", csr::SIE);
    csr_clear!("sstatus", csr::SIE);
    let pending = csr_read!("sip") & csr::SSI;
    csr_clear!("sip", csr::SSI);
    // Exceptions go to the base in either mode. Not an illegal instruction: old firmware below forwards those to
    // an odd address here.
    let exception = guarded(probe_ebreak, 0, 0);
    csr_write!("sie", enabled);
    trap::restore_vector();
    csr_set!("sstatus", csr::SIE);
    if mode & 1 == 0 {
        return Err(Problem::Skip("no vectored mode"));
    }
    equal("stvec", mode, table | 1)?;
    equal("SSIP after its vector", pending, 0)?;
    equal("interrupts through the base", hart::this().taken(trap::SOFTWARE), before)?;
    ensure!(exception.is_err_and(|t| t.cause == trap::BREAKPOINT), "the exception was lost");
    Ok(())
}

pub const TESTS: &[Test] = &[
    Test { name: "exception-instruction", run: instructions },
    Test { name: "exception-access", run: access_faults },
    Test { name: "exception-precise", run: precise },
    Test { name: "exception-vectored", run: vectored },
];
