//! Differences that are no bugs of ours, each with the sentence of the specification that allows it.

use arch::csr;

use super::block::{Block, Generator};
use super::guest::SLOT_DATA;
use super::image::Observed;
use super::reference::Reference;

/// A difference.
pub struct Known {
    /// What differs.
    pub what: &'static str,
    /// What the specification says.
    pub spec: &'static str,
    /// Whose it is.
    pub applies: fn(&Reference) -> bool,
    /// Takes the difference out of both observations, ours first.
    pub forgive: fn(&Generator, &Block, &mut Observed, &mut Observed),
}

/// Reads and changes a field of all traps of both logs, pairwise.
fn traps(ours: &mut Observed, theirs: &mut Observed, mut f: impl FnMut(&mut [u64; 4], &mut [u64; 4])) {
    ours.outcome.log.iter_mut().zip(&mut theirs.outcome.log).for_each(|(a, b)| f(a, b));
}

/// All of them.
pub static KNOWN: &[Known] = &[
    Known {
        what: "the floating-point state becomes dirty also when the instruction changes nothing or traps",
        spec: "privileged, \"Extension Context Status\": FS may conservatively be set to Dirty; implementations may choose \
               to track the dirtiness imprecisely",
        applies: |_| true,
        forgive: |_, _, ours, theirs| {
            let fs = csr::mstatus::FS;
            traps(ours, theirs, |a, b| {
                if a[3] & fs == fs && b[3] & fs != fs && b[3] & fs != 0 {
                    b[3] |= fs | csr::mstatus::SD;
                }
            });
        },
    },
    Known {
        what: "a misaligned AMO raises the exception of a load in QEMU",
        spec: "unprivileged, \"Zaamo\": a misaligned address of an AMO generates an address-misaligned exception; \
               privileged, \"mcause\": exception 6 is of stores and AMOs, 4 of loads alone",
        applies: |r| r.qemu().is_some(),
        forgive: |g, _, ours, theirs| {
            // Loads never raise this exception here.
            traps(ours, theirs, |a, b| {
                if (a[0], b[0]) == (6, 4) {
                    b[0] = 6;
                }
            });
            let scause = g.guest().csr_index(csr::SCAUSE);
            if (ours.outcome.csrs[scause], theirs.outcome.csrs[scause]) == (6, 4) {
                theirs.outcome.csrs[scause] = 6;
            }
        },
    },
    Known {
        what: "an illegal instruction leaves zero in mtval, or for MRET, SRET and SFENCE.VMA the word of an earlier one",
        spec: "privileged, \"mtval\": on an illegal-instruction exception mtval may hold the instruction's bits or zero",
        applies: |r| r.qemu().is_some(),
        forgive: |g, block, ours, theirs| {
            let is_in_block = |bits: u64| block.groups.iter().flatten().any(|word| u64::from(word.raw) == bits);
            traps(ours, theirs, |a, b| {
                if (a[0], b[0], a[1]) == (2, 2, b[1]) && is_in_block(a[2]) && (b[2] == 0 || is_in_block(b[2])) {
                    b[2] = a[2];
                }
            });
            let (scause, stval) = (g.guest().csr_index(csr::SCAUSE), g.guest().csr_index(csr::STVAL));
            let (a, b) = (&ours.outcome.csrs, &mut theirs.outcome.csrs);
            if (a[scause], b[scause]) == (2, 2) && is_in_block(a[stval]) && (b[stval] == 0 || is_in_block(b[stval])) {
                b[stval] = a[stval];
            }
        },
    },
    Known {
        what: "a misaligned access outside memory is an access fault there, a misaligned address here",
        spec: "privileged, \"mcause\": address-misaligned exceptions of loads, stores and AMOs may have either higher or \
               lower priority than access faults and page faults",
        applies: |_| true,
        forgive: |g, _, ours, theirs| {
            traps(ours, theirs, |a, b| {
                if matches!((a[0], b[0]), (4, 5) | (6, 7)) && a[2] == b[2] {
                    b[0] = a[0];
                }
            });
            let scause = g.guest().csr_index(csr::SCAUSE);
            let (a, b) = (&ours.outcome.csrs, &mut theirs.outcome.csrs);
            if matches!((a[scause], b[scause]), (4, 5) | (6, 7)) {
                b[scause] = a[scause];
            }
        },
    },
    Known {
        what: "a fault of a cache-block instruction leaves the block's address in mtval",
        spec: "unprivileged, \"Zicbom\", faults: the relevant *tval CSR is written with the faulting effective address \
               (i.e. the value of rs1)",
        applies: |_| true,
        forgive: |g, block, ours, theirs| {
            if !block.groups.iter().flatten().any(|word| word.raw & 0x707f == 0x200f) {
                return;
            }
            let is_block = |cause: u64, a: u64, b: u64| matches!(cause, 5 | 7 | 13 | 15) && b == a & !63;
            traps(ours, theirs, |a, b| {
                if a[0] == b[0] && is_block(a[0], a[2], b[2]) {
                    b[2] = a[2];
                }
            });
            let (scause, stval) = (g.guest().csr_index(csr::SCAUSE), g.guest().csr_index(csr::STVAL));
            let (a, b) = (&ours.outcome.csrs, &mut theirs.outcome.csrs);
            if is_block(a[scause], a[stval], b[stval]) {
                b[stval] = a[stval];
            }
        },
    },
    Known {
        what: "an AMO that may not store sets the accessed bit in QEMU before it faults",
        spec: "privileged, \"Addressing and Memory Protection\": the A bit may also be set as a result of speculation, even \
               if the access ultimately is not performed architecturally",
        applies: |r| r.qemu().is_some(),
        forgive: |_, block, ours, theirs| {
            if !block.groups.iter().flatten().any(|word| word.raw & 0x7f == 0x2f) {
                return;
            }
            for (a, b) in ours.slot[SLOT_DATA..].iter().zip(&mut theirs.slot[SLOT_DATA..]) {
                if *b == *a | 0x40 {
                    *b = *a;
                }
            }
        },
    },
    Known {
        what: "EBREAK leaves zero in mtval",
        spec: "privileged, \"mtval\": if mtval is written with a nonzero value when a breakpoint exception occurs, it \
               will contain the faulting virtual address",
        applies: |r| r.qemu().is_some_and(|major| major < 8),
        forgive: |_, _, ours, theirs| {
            traps(ours, theirs, |a, b| {
                if (a[0], b[0]) == (3, 3) && b[2] == 0 {
                    b[2] = a[2];
                }
            });
        },
    },
    Known {
        what: "a misaligned store whose second page faults has stored its first part, and made that page dirty",
        spec: "unprivileged, \"Load and Store Instructions\": misaligned accesses are not guaranteed to execute atomically; \
               privileged, \"mtval\": it holds the address of the portion that faulted",
        applies: Reference::is_spike,
        forgive: |_, _, ours, theirs| {
            // The portion begins a page.
            let portion = |entry: &[u64; 4]| matches!(entry[0], 7 | 15) && entry[2] & 0xfff == 0;
            if !ours.outcome.log.iter().any(portion) {
                return;
            }
            for (at, (a, b)) in ours.slot.iter().zip(&mut theirs.slot).enumerate() {
                let page_end = at < SLOT_DATA && at & 0xfff >= 0xff8;
                let used = at >= SLOT_DATA && at % 8 == 0 && *b == *a | 0xc0;
                if page_end || used {
                    *b = *a;
                }
            }
        },
    },
];
