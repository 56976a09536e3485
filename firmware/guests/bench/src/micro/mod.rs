//! Single operations: what an engine does by itself, and what it must leave the guest for.

mod atomic;
mod csr;
mod fresh;
mod instruction;
mod interrupt;
mod jump;
mod mmio;
mod numbers;
mod paging;
mod trap;

use crate::session::{Outcome, Points, Row, Session, Suite, Work};

/// A loop around 64 copies of a body, so that the loop is not what is measured. `k` is how often it goes round.
macro_rules! repeat {
    ($k:expr, $body:expr $(, $($operand:tt)*)?) => {
        core::arch::asm!("2:", ".rept 64", $body, ".endr", "addi {k}, {k}, -1", "bnez {k}, 2b",
            k = inout(reg) $k => _, $($($operand)*)?)
    };
}

use repeat;

pub use atomic::{COUNTER, add_by_amo};
pub use paging::{has_asids, space};

/// Copies in a [`repeat`].
pub const TIMES: u64 = 64;

pub const SUITE: Suite = Suite {
    name: "micro",
    rows: &[
        op("add", "one dependent add", instruction::add),
        op("mul", "one dependent mul", instruction::mul),
        op("div", "one dependent divu of a 64-bit by a 32-bit number", instruction::div),
        op("load", "one dependent ld from one address", instruction::load),
        op("store", "one sd to one address", instruction::store),
        op("branch", "one beq, taken every second time", instruction::branch),
        op("fadd", "one fadd.d, of four in turn that depend on the last but three", numbers::fadd),
        op("fmadd", "one fmadd.d, of four in turn that depend on the last but three", numbers::fmadd),
        op("vector-load", "one vle32.v of one register", numbers::vector_load),
        op("vector-store", "one vse32.v of one register", numbers::vector_store),
        op("vector-fma", "one vfmacc.vv of one register, of four in turn", numbers::vector_fma),
        op("csr-read", "one csrr of sscratch, added up", csr::read),
        op("csr-write", "one csrw of sscratch", csr::write),
        op("rdtime", "one csrr of time, compared with the last one", csr::time),
        op("rdinstret", "one csrr of instret, compared with the last one", csr::instret),
        op("trap", "ebreak in S-mode, its handler of four instructions, sret", trap::breakpoint),
        op("user-ecall", "ecall from U-mode, its handler of four instructions, sret", trap::user_ecall),
        op("sbi-call", "one sbi_get_spec_version", trap::sbi_call),
        op("timer-now", "the timer is set to now, and its interrupt taken", interrupt::timer_now),
        op("timer-stimecmp", "stimecmp is set to now, and its interrupt taken (Sstc)", interrupt::timer_stimecmp),
        op("timer-sleep", "the timer is set 200 us ahead, and wakes the hart from wfi", interrupt::timer_sleep),
        op("ipi-self", "a hart sends itself an IPI and takes it", interrupt::ipi_self),
        op("ipi-round-trip", "an IPI to a hart that sleeps in wfi, and one back", interrupt::ipi_round_trip),
        op("handoff", "a word goes to a hart that polls for it, and comes back", interrupt::handoff),
        op("remote-sfence", "sbi_remote_sfence_vma of one page on another hart", interrupt::remote_sfence),
        op("remote-fence-i", "sbi_remote_fence_i on another hart", interrupt::remote_fence_i),
        op("mmio-read", "one byte load from the UART's scratch register", mmio::read),
        op("mmio-write", "one byte store to the UART's scratch register", mmio::write),
        op("mmio-rtc", "one word load of the real-time clock's low half", mmio::rtc),
        op("sfence-page", "sfence.vma of a page, and a load from it", paging::sfence_page),
        op("sfence-page-alone", "sfence.vma of a page of which no translation is kept", paging::sfence_page_alone),
        op("sfence-all", "sfence.vma of everything, and a load", paging::sfence_all),
        Row {
            name: "tlb",
            unit: "op",
            points: Points::At("pages", &[64, 512, 4096, 32768]),
            what: "one load that depends on the last one, from the next of so many 4 KiB pages",
            work: Work::Code(paging::tlb),
        },
        op("satp-switch", "satp to another ASID, and a load from a page that differs", paging::satp_switch),
        op("satp-switch-flush", "satp to another table, sfence.vma, and a load", paging::satp_switch_flush),
        op("call-return", "one call of a function that adds one, and its return", jump::call_return),
        Row {
            name: "indirect-jump",
            unit: "op",
            points: Points::At("targets", &[1, 4, 16, 64]),
            what: "one jalr of one place to the next of so many functions, and its return",
            work: Work::Code(jump::indirect),
        },
        op("jump", "one add and a direct jump in the same page", jump::near),
        op("jump-cross-page", "one add and a direct jump to another page", jump::cross_page),
        op("fence-rw-rw", "one sd and a fence rw,rw", atomic::fence_rw_rw),
        op("fence-w-w", "one sd and a fence w,w", atomic::fence_w_w),
        op("fence-r-rw", "one ld and a fence r,rw", atomic::fence_r_rw),
        op("fence-i", "one fence.i", jump::fence_i),
        op("code-patch", "an instruction is written, fence.i, and it runs", jump::code_patch),
        op("fresh-code", "one of 1016 instructions that are written, after one fence.i, and run once", fresh::code),
        op("lr-sc", "one lr.d and sc.d, alone", atomic::lr_sc),
        op("lr-sc-contended", "one lr.d and sc.d that succeeded, two harts on one word", atomic::lr_sc_contended),
        op("amo", "one amoadd.d, alone", atomic::amo),
        op("amo-contended", "one amoadd.d, two harts on one word", atomic::amo_contended),
    ],
};

const fn op(name: &'static str, what: &'static str, run: fn(&Session) -> Outcome) -> Row {
    Row { name, unit: "op", points: Points::One, what, work: Work::Code(run) }
}
