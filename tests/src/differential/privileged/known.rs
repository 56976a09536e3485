//! Differences that many themes meet.

use arch::csr::{self, mip, mstatus};

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
        what: "managing a cache block where nothing is does not fault in QEMU",
        spec: "unprivileged, \"Page-Fault, Guest-Page-Fault, and Access-Fault Exceptions\" of CMOs: management is permitted \
               whenever a load or a store is, and raises a store access-fault exception where it is not",
        applies: qemu,
        forgive: |step, ours, theirs| {
            let manages =
                has_block_operation(step) && step.body.iter().all(|w| w.raw & 0x707f != 0x200f || w.raw >> 20 < 3);
            // The environment call behind it.
            if manages && matches!((*ours.csr(csr::MCAUSE), *theirs.csr(csr::MCAUSE)), (7, 8..=11)) {
                for number in [csr::MCAUSE, csr::MEPC, csr::MTVAL] {
                    if ours.has(number) {
                        *theirs.csr(number) = *ours.csr(number);
                    }
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
    Known {
        what: "mtinst or htinst holds zero on one of the two, the transformed instruction on the other",
        spec: "privileged, \"Transformed Instruction or Pseudoinstruction for mtinst or htinst\": for standard instructions \
               the value may always be zero, but for guest-page faults of implicit accesses",
        applies: always,
        forgive: |_, ours, theirs| {
            for (cause, tinst) in [(csr::MCAUSE, csr::MTINST), (csr::SCAUSE, csr::HTINST)] {
                let there = ours.has(tinst) && ours.has(cause) && ours.csr(cause) == theirs.csr(cause);
                if there && (*theirs.csr(tinst) == 0 || *ours.csr(tinst) == 0) {
                    *theirs.csr(tinst) = *ours.csr(tinst);
                }
            }
        },
    },
    Known {
        what: "GVA of mstatus is never cleared, and set by illegal instructions too",
        spec: "privileged, \"Machine Status\": for any other trap into M-mode, GVA is set to 0",
        applies: qemu,
        forgive: |_, ours, theirs| {
            *theirs.mstatus() = *theirs.mstatus() & !mstatus::GVA | *ours.mstatus() & mstatus::GVA;
        },
    },
    Known {
        what: "hvip shows bits of mip that are not its own",
        spec: "privileged, \"Hypervisor Interrupt\": bits of hvip that are not writable are read-only zeros",
        applies: qemu,
        forgive: |_, ours, theirs| {
            if ours.has(csr::HVIP) {
                *theirs.csr(csr::HVIP) &= mip::VS_INTERRUPTS;
            }
        },
    },
    Known {
        what: "SD of vsstatus reads as zero",
        spec: "privileged, \"Virtual Supervisor Status\": vsstatus is VS-mode's version of sstatus; \"Extension Context \
               Status\": SD is a read-only bit that summarizes whether FS, VS or XS is dirty",
        applies: qemu,
        forgive: |_, ours, theirs| {
            if ours.has(csr::VSSTATUS) {
                let sd = *ours.csr(csr::VSSTATUS) & mstatus::SD;
                *theirs.csr(csr::VSSTATUS) |= sd;
            }
        },
    },
    Known {
        what: "mtval and stval of an illegal or virtual instruction hold zero",
        spec: "privileged, \"mtval\": on an illegal-instruction exception mtval may hold the instruction's bits or zero",
        applies: qemu,
        forgive: |_, ours, theirs| {
            for (cause, tval) in traps(ours) {
                let same = ours.csr(cause) == theirs.csr(cause);
                if same && matches!(*ours.csr(cause), 2 | 22) && *theirs.csr(tval) == 0 {
                    *theirs.csr(tval) = *ours.csr(tval);
                }
            }
        },
    },
    Known {
        what: "HLVX faults as a fetch",
        spec: "privileged, \"Hypervisor Virtual-Machine Load and Store\": HLVX instructions still raise the same exceptions as \
               other load instructions",
        applies: qemu,
        forgive: |step, ours, theirs| {
            let faults = traps(ours).any(|(cause, _)| matches!(*ours.csr(cause), 5 | 13 | 21));
            if has_word(&step.body, 0xf1f0_707f, 0x6030_4073) && faults {
                *theirs = ours.clone();
            }
        },
    },
    Known {
        what: "a cache-block operation on an address where nothing is, is an access fault",
        spec: "unprivileged, \"Zicbom\": such an instruction is permitted whenever a load or a store is; which addresses are \
               vacant is a matter of the platform's physical memory attributes",
        applies: spike,
        forgive: |step, ours, theirs| {
            let differs = *theirs.csr(csr::MCAUSE) == 7 && matches!(*ours.csr(csr::MCAUSE), 8..=11);
            if has_block_operation(step) && differs {
                *theirs = ours.clone();
            }
        },
    },
];
