//! The hypervisor extension against a reference: every register from every mode, and accesses through random tables of two
//! stages; see `tests::differential::hyper`.
//!
//! The same variables as for `differential_blocks` name the reference, the number of programs (8 unless told) and the seed.

use accel::tcg::TcgOptions;
use arch::csr::{self, mstatus};
use arch::ext::IsaConfig;
use arch::isa::Op;
use tests::differential::engine;
use tests::differential::hyper::{Program, STEPS, Seen, Step};
use tests::differential::reference::Reference;

/// Takes a difference out of what both saw: ours first.
type Forgive = fn(&Step, &mut Seen, &mut Seen);

/// Who has the difference.
type Applies = fn(&Reference) -> bool;

fn always(_: &Reference) -> bool {
    true
}

fn qemu(reference: &Reference) -> bool {
    reference.qemu().is_some()
}

/// Differences that are no bugs of ours, each with the reason.
const KNOWN: &[(&str, Applies, Forgive)] = &[
    ("counters count host time in QEMU, and other instructions in Spike", always, |step, ours, theirs| {
        if matches!(step.csr, Some(csr::TIME | csr::CYCLE | csr::INSTRET)) {
            theirs.0[0] = ours.0[0];
        }
    }),
    (
        "FIOM is read-only zero: \"if satp.MODE is read-only zero (always Bare), the implementation may make FIOM \
         read-only zero\"; nothing else depends on it here",
        Reference::is_spike,
        |step, ours, theirs| {
            for number in [csr::HENVCFG, csr::SENVCFG] {
                *theirs.csr(number) |= *ours.csr(number) & 1;
                if step.csr == Some(number) {
                    theirs.0[0] |= ours.0[0] & 1;
                }
            }
        },
    ),
    (
        "managing a cache block where nothing is does not fault in QEMU: \"permitted whenever a load or a store is\"",
        qemu,
        |step, ours, theirs| {
            let pair = (*ours.csr(csr::MCAUSE), *theirs.csr(csr::MCAUSE));
            if step.op == Op::CboClean && matches!(pair, (7, 8..=11)) {
                for number in [csr::MCAUSE, csr::MEPC, csr::MTVAL] {
                    *theirs.csr(number) = *ours.csr(number);
                }
            }
        },
    ),
    (
        "mtinst is zero but for faults of the guest's tables: \"may always be zero\" (\"Transformed Instruction\")",
        Reference::is_spike,
        |_, ours, theirs| {
            let pseudo = matches!(*ours.csr(csr::MTINST), 0x3000 | 0x3020);
            if !pseudo && *theirs.csr(csr::MTINST) == 0 {
                *theirs.csr(csr::MTINST) = *ours.csr(csr::MTINST);
            }
        },
    ),
    (
        "mtinst of a trap without a guest's address: \"may always be zero\" (\"Transformed Instruction\")",
        qemu,
        |_, ours, theirs| {
            if ours.0[1] & mstatus::GVA == 0 && *ours.csr(csr::MTINST) == 0 {
                *theirs.csr(csr::MTINST) = 0;
            }
        },
    ),
    (
        "mstatus.GVA is never cleared, and set by illegal instructions too: \"for any other trap into M-mode, GVA is set \
         to 0\"",
        qemu,
        |_, ours, theirs| {
            theirs.0[1] = theirs.0[1] & !mstatus::GVA | ours.0[1] & mstatus::GVA;
        },
    ),
    ("vsstatus.SD reads as zero: \"SD and XS summarize the extension context status\"", qemu, |_, ours, theirs| {
        let sd = *ours.csr(csr::VSSTATUS) & mstatus::SD;
        *theirs.csr(csr::VSSTATUS) |= sd;
        if matches!(step_csr(ours, theirs), (a, b) if a == b | mstatus::SD) {
            theirs.0[0] = ours.0[0];
        }
    }),
    (
        "HLVX faults as a fetch: \"they still raise the same exceptions as other load instructions\"",
        qemu,
        |step, ours, theirs| {
            let pair = (*ours.csr(csr::MCAUSE), *theirs.csr(csr::MCAUSE));
            if matches!(step.op, Op::HlvxHu | Op::HlvxWu) && matches!(pair, (13 | 21, 12 | 20) | (5, 1)) {
                for number in [csr::MCAUSE, csr::MTVAL2, csr::MTINST] {
                    *theirs.csr(number) = *ours.csr(number);
                }
            }
        },
    ),
    (
        "hvip shows bits of mip that are not its own: \"bits of hvip that are not writable are read-only zeros\"",
        qemu,
        |step, _, theirs| {
            *theirs.csr(csr::HVIP) &= 0x444;
            if step.csr == Some(csr::HVIP) && *theirs.csr(csr::MCAUSE) & !3 == 8 {
                theirs.0[0] &= 0x444;
            }
        },
    ),
    (
        "a cache-block operation reports the block: \"the faulting effective address (i.e. the value of rs1)\"",
        qemu,
        |step, ours, theirs| {
            let blocks = |v: u64, shift: u32| v >> (6 - shift);
            let pairs = [(csr::MTVAL, 0), (csr::MTVAL2, 2)].map(|(n, shift)| (n, shift, *ours.csr(n), *theirs.csr(n)));
            for (number, shift, a, b) in pairs {
                if step.op == Op::CboClean && blocks(a, shift) == blocks(b, shift) {
                    *theirs.csr(number) = a;
                }
            }
        },
    ),
    ("hgatp with MODE Bare: \"the remaining fields in hgatp must be set to zeros\"", qemu, |_, ours, theirs| {
        if *ours.csr(csr::HGATP) >> 60 == 0 && *theirs.csr(csr::HGATP) >> 60 == 0 {
            *theirs.csr(csr::HGATP) = *ours.csr(csr::HGATP);
        }
    }),
    (
        "any store whose guest's tables fault is the write of a table: \"a write pseudoinstruction is used for the \
         case that the machine is attempting automatically to update bits A and/or D in VS-level page tables; all other \
         implicit memory accesses for VS-stage address translation will be reads\"",
        |r| r.qemu().is_some_and(|major| major >= 11),
        |step, ours, theirs| {
            let stores =
                matches!(step.op, Op::Sb | Op::Sh | Op::Sw | Op::Sd | Op::HsvB | Op::HsvH | Op::HsvW | Op::HsvD);
            let pair = (*ours.csr(csr::MTINST), *theirs.csr(csr::MTINST));
            if stores && pair == (0x3000, 0x3020) && *ours.csr(csr::MCAUSE) == 23 {
                *theirs.csr(csr::MTINST) = 0x3000;
            }
        },
    ),
    ("mtval of an illegal or virtual instruction: its bits or zero (\"mtval\")", qemu, |_, ours, theirs| {
        if matches!(*ours.csr(csr::MCAUSE), 2 | 22) && *ours.csr(csr::MCAUSE) == *theirs.csr(csr::MCAUSE) {
            *theirs.csr(csr::MTVAL) = *ours.csr(csr::MTVAL);
        }
    }),
];

/// The values that the instruction read.
fn step_csr(ours: &Seen, theirs: &Seen) -> (u64, u64) {
    (ours.0[0], theirs.0[0])
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

#[test]
fn registers_and_two_stages() {
    let reference = Reference::find_recent().unwrap_or_else(|error| panic!("{error:#}"));
    let (isa, _) = reference.common(&IsaConfig::default()).unwrap_or_else(|error| panic!("{error:#}"));
    let known: Vec<_> = KNOWN.iter().filter(|(_, applies, _)| applies(&reference)).collect();
    known.iter().for_each(|(what, ..)| println!("known difference: {what}"));
    let first = number("VIREO_DIFFERENTIAL_SEED", 1);
    let interpreter = TcgOptions { jit: false, ..TcgOptions::default() };
    let mut failures = Vec::new();
    for seed in first..first + number("VIREO_DIFFERENTIAL_PROGRAMS", 8) {
        let program = Program::new(seed);
        let theirs = reference.run(&isa, &program.image).unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        for (name, options) in [("jit", TcgOptions::default()), ("interpreter", interpreter.clone())] {
            let (ours, hung) = engine::run(&isa, &options, &program.image).expect("the engine runs");
            assert_eq!(hung, None, "seed {seed} on the {name} hangs");
            for i in 0..STEPS {
                let step = &program.steps[i];
                let (mut a, mut b) = (program.seen(&ours, i), program.seen(&theirs, i));
                known.iter().for_each(|(.., forgive)| forgive(step, &mut a, &mut b));
                if a != b {
                    let csr = step.csr.and_then(csr::by_number).map_or("", |row| row.name);
                    let place = format!("seed {seed}, step {i} on the {name}");
                    failures.push(format!(
                        "{place}: {:?} {csr} MPP {} MPV {}: {}\n  {step:x?}",
                        step.op,
                        step.mpp,
                        step.mpv,
                        a.difference(&b)
                    ));
                }
            }
            if program.memory(&ours) != program.memory(&theirs) {
                failures.push(format!("seed {seed} on the {name}: tables or data differ"));
            }
        }
    }
    let shown = failures.len().min(12);
    assert!(failures.is_empty(), "{} differences, ours first:\n{}", failures.len(), failures[..shown].join("\n"));
}
