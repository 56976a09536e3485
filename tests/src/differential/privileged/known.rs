//! Differences that many themes meet.

use arch::csr;

use super::{Known, Seen, Step};
use crate::differential::asm::Word;
use crate::differential::reference::Reference;

pub fn always(_: &Reference) -> bool {
    true
}

pub fn qemu(reference: &Reference) -> bool {
    reference.qemu().is_some()
}

pub fn spike(reference: &Reference) -> bool {
    reference.is_spike()
}

/// Whether the body has an instruction whose bits under the mask are these.
pub fn has_word(body: &[Word], mask: u32, bits: u32) -> bool {
    body.iter().any(|word| word.raw & mask == bits)
}

/// Whether a cache-block operation is in the body.
fn has_block_operation(step: &Step) -> bool {
    has_word(&step.body, 0x707f, 0x200f)
}

/// Whether an AMO, LR or SC is in the body.
fn has_atomic(step: &Step) -> bool {
    has_word(&step.body, 0x7f, 0x2f)
}

/// The trap registers of M-mode, and those of S-mode if they are looked at.
pub fn traps(seen: &Seen) -> impl Iterator<Item = (u16, u16)> + use<> {
    let pairs = [(csr::MCAUSE, csr::MTVAL), (csr::SCAUSE, csr::STVAL), (csr::VSCAUSE, csr::VSTVAL)];
    let there = pairs.map(|(cause, tval)| (seen.has(cause) && seen.has(tval)).then_some((cause, tval)));
    there.into_iter().flatten()
}

pub static COMMON: &[Known] = &[
    Known {
        what: "a fault of a cache-block operation reports the beginning of the block",
        spec: "unprivileged, \"Zicbom\", faults: the relevant *tval CSR is written with the faulting effective address \
               (i.e. the value of rs1)",
        applies: always,
        forgive: |step, ours, theirs| {
            for (cause, tval) in traps(ours) {
                let same = ours.csr(cause) == theirs.csr(cause);
                if has_block_operation(step) && same && *ours.csr(tval) & !63 == *theirs.csr(tval) {
                    *theirs.csr(tval) = *ours.csr(tval);
                }
            }
        },
    },
    Known {
        what: "a misaligned access is an access fault or a page fault elsewhere, a misaligned address here",
        spec: "privileged, \"mcause\": address-misaligned exceptions of loads, stores and AMOs may have either higher or \
               lower priority than access faults and page faults",
        applies: always,
        forgive: |_, ours, theirs| {
            for (cause, _) in traps(ours) {
                let pair = (*ours.csr(cause), *theirs.csr(cause));
                if matches!(pair, (4, 5 | 7 | 13 | 15) | (6, 5 | 7 | 13 | 15)) {
                    *theirs.csr(cause) = *ours.csr(cause);
                }
            }
        },
    },
    Known {
        what: "the load of an AMO may fault before the page is seen to be read-only",
        spec: "privileged, \"Exception priority\": a page fault of an explicit access comes before an access fault of it",
        applies: qemu,
        forgive: |step, ours, theirs| {
            for (cause, _) in traps(ours) {
                if has_atomic(step) && (*ours.csr(cause), *theirs.csr(cause)) == (15, 7) {
                    *theirs.csr(cause) = 15;
                }
            }
        },
    },
];
