//! What control and status registers hold of what M-mode writes to them, here and in QEMU.
//!
//! A program without loops writes a value, puts the old one back and stores what it read in between, for every register
//! that the hart has and a few dozen values; then the same for the registers behind the windows of indirect access.
//! All of it twice: with everything closed to less privileged modes, as out of reset, and with everything open.

mod spike;

use arch::csr::{self, Csr};
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;

use super::asm::{Code, Word, csrr, csrw, imm, store, word};
use super::guest::{FINISHER, FINISHER_PASS, MTIMECMP, RAM};
use super::reference::Reference;
use super::rng::Rng;

/// Where the values that are written begin, and where the answers.
const VALUES: u64 = 8 << 20;
const ANSWERS: u64 = 24 << 20;
/// Bytes that the image covers.
const SIZE: usize = 48 << 20;
/// `mcause` as the handler shows it where nothing trapped.
const NO_TRAP: u64 = 99;

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub csr: u16,
    /// In `miselect`, `siselect` or `vsiselect`, for their windows.
    pub select: Option<u64>,
    pub value: u64,
    /// Less privileged modes may do what M-mode can let them.
    pub open: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What the register held.
    pub held: u64,
    /// `mcause` of the trap, if there was one.
    pub trap: Option<u64>,
}

/// Whether a CSR belongs to some.
type IsOne = fn(u16) -> bool;

/// Registers that are not written, and why.
pub const LEFT_OUT: &[(IsOne, &str)] = &[
    (|n| matches!(n, csr::MCYCLE | csr::MINSTRET | csr::CYCLE..=csr::HPMCOUNTER31), "they run"),
    (|n| matches!(n, csr::MVENDORID..=csr::MIMPID), "they say whose hart it is"),
    (|n| matches!(n, csr::SEED), "it never reads the same twice"),
    (|n| matches!(n, csr::PMPCFG0..=csr::PMPADDR63 | csr::MSECCFG), "locks stay; random blocks write legal values"),
    (|n| matches!(n, csr::TSELECT..=csr::MCONTEXT | csr::SCONTEXT | csr::HCONTEXT), "the number of triggers differs"),
    (|n| matches!(n, csr::MTOPEI | csr::STOPEI | csr::VSTOPEI), "neither hart has an IMSIC"),
    (|n| matches!(n, csr::SSP), "it takes an environment configuration that enables it"),
];

fn is_written(row: &Csr, isa: &IsaConfig) -> bool {
    row.available(isa) && !LEFT_OUT.iter().any(|(is, _)| is(row.number)) && window(row.number).is_none()
}

/// The selecting register of a window.
fn window(n: u16) -> Option<u16> {
    matches!(n & !0x307, 0x050).then_some(n & !7).filter(|select| n != *select)
}

/// The values that are written to a register.
fn values(rng: &mut Rng) -> Vec<u64> {
    let bits = (0..64).map(|bit| 1 << bit);
    let fields = [0, u64::MAX, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa, 0xffff_ffff, 0xffff_ffff_0000_0000];
    let random = (0..8).map(|_| rng.bits());
    bits.chain(fields).chain(random).collect()
}

/// All writes to a hart with this ISA, in order.
pub fn probes(isa: &IsaConfig, seed: u64) -> Vec<Probe> {
    let mut rng = Rng::new(seed);
    let mut probes = Vec::new();
    for open in [false, true] {
        for row in csr::all().iter().filter(|row| is_written(row, isa)) {
            // What cannot be written is read once.
            let once = if row.is_read_only() { 1 } else { usize::MAX };
            let values = values(&mut rng).into_iter().take(once);
            probes.extend(values.map(|value| Probe { csr: row.number, select: None, value, open }));
        }
        for row in csr::all().iter().filter(|row| row.available(isa) && window(row.number).is_some()) {
            // What is behind other numbers is reserved, or an interrupt file.
            for select in (0x2e..0x62).chain([0, 0x1ff, 0x200, 0x2ff, 0x7ff]) {
                for value in [u64::MAX, rng.bits()] {
                    probes.push(Probe { csr: row.number, select: Some(select), value, open });
                }
            }
        }
    }
    probes
}

/// What M-mode opens before the second half: `mcounteren`, `menvcfg`, state enables and the hypervisor's.
fn opening(isa: &IsaConfig) -> impl Iterator<Item = u16> + '_ {
    let enables = [csr::MCOUNTEREN, csr::MENVCFG, csr::HCOUNTEREN, csr::HENVCFG];
    let states = (csr::MSTATEEN0..=csr::MSTATEEN3).chain(csr::HSTATEEN0..=csr::HSTATEEN3);
    let all = enables.into_iter().chain(states);
    all.filter(|n| csr::by_number(*n).is_some_and(|row| row.available(isa)))
}

const VALUE: u8 = 5;
const OLD: u8 = 6;
const HELD: u8 = 7;
const CAUSE: u8 = 8;
const SELECT: u8 = 9;
const NEXT_VALUE: u8 = 30;
const NEXT_ANSWER: u8 = 31;

fn write(rd: u8, csr: u16, rs: u8) -> Word {
    word(Csrrw, rd, rs, 0, csr.into())
}

/// The program and its values.
pub fn image(isa: &IsaConfig, probes: &[Probe]) -> Vec<u8> {
    let mut c = Code::default();
    let over = c.label();
    c.branch(Jal, 0, 0, over);
    // The handler: names the cause and skips the instruction.
    for word in [csrr(CAUSE, csr::MCAUSE), csrr(10, csr::MEPC), imm(Addi, 10, 10, 4), csrw(csr::MEPC, 10)] {
        c.push(word);
    }
    c.push(word(Mret, 0, 0, 0, 0));
    c.bind(over);
    c.li(1, RAM + 4);
    c.push(csrw(csr::MTVEC, 1));
    c.li(1, MTIMECMP);
    c.push(imm(Addi, 2, 0, -1));
    c.push(store(Sd, 2, 1, 0));
    c.li(1, csr::mstatus::FS | if isa.has(Ext::Zve32x) { csr::mstatus::VS } else { 0 });
    c.push(csrw(csr::MSTATUS, 1));
    c.li(NEXT_VALUE, RAM + VALUES);
    c.li(NEXT_ANSWER, RAM + ANSWERS);
    let mut open = false;
    for probe in probes {
        if probe.open && !open {
            open = true;
            c.push(imm(Addi, 1, 0, -1));
            opening(isa).for_each(|n| c.push(csrw(n, 1)));
        }
        let select = probe.select.zip(window(probe.csr));
        if let Some((select, by)) = select {
            c.push(imm(Addi, SELECT, 0, select as i32));
            c.push(csrw(by, SELECT));
        }
        c.push(imm(Ld, VALUE, NEXT_VALUE, 0));
        c.push(imm(Addi, HELD, 0, 0));
        c.push(imm(Addi, CAUSE, 0, NO_TRAP as i32));
        if csr::is_read_only(probe.csr) {
            c.push(csrr(HELD, probe.csr));
            c.push(imm(Addi, 0, 0, 0));
        } else {
            // Nothing may come between: the value can change what memory accesses do.
            c.push(write(OLD, probe.csr, VALUE));
            c.push(csrr(HELD, probe.csr));
            c.push(csrw(probe.csr, OLD));
        }
        c.push(store(Sd, HELD, NEXT_ANSWER, 0));
        c.push(store(Sd, CAUSE, NEXT_ANSWER, 8));
        c.push(imm(Addi, NEXT_VALUE, NEXT_VALUE, 8));
        c.push(imm(Addi, NEXT_ANSWER, NEXT_ANSWER, 16));
    }
    c.li(1, FINISHER);
    c.li(2, FINISHER_PASS.into());
    c.push(store(Sw, 2, 1, 0));
    let stop = c.label();
    c.bind(stop);
    c.branch(Jal, 0, 0, stop);
    let mut memory = c.finish();
    assert!(memory.len() as u64 <= VALUES && VALUES + probes.len() as u64 * 8 <= ANSWERS);
    memory.resize(SIZE, 0);
    for (i, probe) in probes.iter().enumerate() {
        let at = VALUES as usize + i * 8;
        memory[at..at + 8].copy_from_slice(&probe.value.to_le_bytes());
    }
    memory
}

/// What the program left in memory.
pub fn answers(probes: &[Probe], memory: &[u8]) -> Vec<Answer> {
    let word = |at: usize| u64::from_le_bytes(memory[at..at + 8].try_into().expect("8 bytes"));
    (0..probes.len())
        .map(|i| {
            let at = ANSWERS as usize + i * 16;
            let cause = word(at + 8);
            Answer { held: word(at), trap: (cause != NO_TRAP).then_some(cause) }
        })
        .collect()
}

/// A difference that is no bug of ours.
pub struct Known {
    pub what: &'static str,
    /// The specification's sentence, or why it is silent.
    pub spec: &'static str,
    pub applies: fn(&Probe, &Answer, &Answer) -> bool,
}

/// Whether nothing but bits of `mask` differs in what the register held.
fn only(mask: u64, a: &Answer, b: &Answer) -> bool {
    a.trap.is_none() && b.trap.is_none() && (a.held ^ b.held) & !mask == 0
}

/// Numbers of counters that the hart does not have: the reference's board leaves out those from 19 on too.
fn is_absent_counter(p: &Probe) -> bool {
    let select = p.select.filter(|_| matches!(p.csr, csr::SIREG..=csr::SIREG6));
    let counter = match p.csr {
        csr::MHPMCOUNTER3..=csr::MHPMCOUNTER31 | csr::MHPMEVENT3..=csr::MHPMEVENT31 => p.csr & 31,
        _ => select.and_then(|select| select.checked_sub(0x40)).unwrap_or(0) as u16,
    };
    (19..32).contains(&counter)
}

/// The registers of control-transfer records behind a window.
fn is_record(p: &Probe) -> bool {
    p.select.is_some_and(|select| (0x200..=0x2ff).contains(&select))
}

/// Differences of a reference: [`KNOWN`] are QEMU's.
pub fn known(reference: &Reference) -> &'static [Known] {
    if reference.is_spike() { spike::KNOWN } else { KNOWN }
}

/// A difference of both references.
const LOCAL_INTERRUPTS: Known = Known {
    what: "there are local interrupts from 14 on, and none for counter overflows on this CPU",
    spec: "privileged, \"Sscofpmf\": the LCOFIE bit is bit 13 of mie; interrupts 14 and up are for platforms or AIA's",
    applies: |p, a, b| {
        let machine = matches!(p.csr, csr::MIE | csr::MVIEN | csr::MVIP | csr::MIDELEG);
        (machine || matches!(p.csr, csr::HIDELEG | csr::HVIEN)) && only(!0x1fff, a, b)
    },
};

/// A difference of both references.
const PENDING: Known = Known {
    what: "other timers and lines are pending in mip, hip and hvip",
    spec: "\"Sstc\": the comparators' values at reset are not given; a guest's bits of mip are those of hvip",
    applies: |p, a, b| match p.csr {
        csr::MIP | csr::HIP => only(0x460, a, b),
        csr::HVIP => only(!0x1fff | 0x60, a, b),
        _ => false,
    },
};

/// Differences of QEMU.
pub static KNOWN: &[Known] = &[
    Known {
        what: "counters that are not there trap in QEMU, and their selectors hold what is written",
        spec: "privileged, \"Hardware Performance Monitor\": a legal implementation is to make both the counter and its \
               event selector read-only zero",
        applies: |p, a, _| is_absent_counter(p) && *a == Answer { held: 0, trap: None },
    },
    Known {
        what: "event selectors hold numbers of no event in QEMU",
        spec: "privileged, \"Hardware Performance Monitor\": mhpmevent is WARL, the meaning of events is the platform's",
        applies: |p, a, b| {
            let selector = matches!(p.csr, csr::MHPMEVENT3..=csr::MHPMEVENT31)
                || p.csr == csr::SIREG2 && p.select.is_some_and(|select| (0x43..0x60).contains(&select));
            selector && only(csr::mhpmevent::EVENT | 3 << 56, a, b)
        },
    },
    Known {
        what: "bits of counters that are not there cannot be set in QEMU",
        spec: "privileged, \"Counter-Enable\": fields are WARL; Sscounterenw asks for those of counters that are there",
        applies: |p, a, b| {
            matches!(p.csr, csr::MCOUNTEREN | csr::SCOUNTEREN | csr::HCOUNTEREN) && only(0xfff8_0000, a, b)
        },
    },
    Known {
        what: "reserved bits stick in mcyclecfg and minstretcfg of QEMU",
        spec: "privileged, \"Smcntrpmf\": bits 57:0 are WPRI, bit 63 is zero",
        applies: |p, a, b| {
            let window = p.csr == csr::SIREG2 && matches!(p.select, Some(0x40 | 0x42));
            (window || matches!(p.csr, csr::MCYCLECFG | csr::MINSTRETCFG)) && only(!(0x1f << 58), a, b)
        },
    },
    Known {
        what: "scountinhibit is there in QEMU while no counter is delegated",
        spec: "privileged, \"Smcdeleg\": when menvcfg.CDE=0, attempts to access scountinhibit raise an \
               illegal-instruction exception",
        applies: |p, a, _| p.csr == csr::SCOUNTINHIBIT && !p.open && a.trap == Some(2),
    },
    Known {
        what: "reserved values of CBIE stick in QEMU, and one of PMM becomes zero in its henvcfg",
        spec: "unprivileged, \"Control and Status Register State\" of CMOs, and privileged, \"Ssnpm\": both fields are WARL; \
               CBIE's value 10 and PMM's 01 are reserved",
        applies: |p, a, b| {
            use csr::envcfg::*;
            let cbie = if p.value & CBIE == 2 << CBIE_SHIFT { CBIE } else { 0 };
            let pmm = if p.value & PMM == 1 << PMM_SHIFT && p.csr == csr::HENVCFG { PMM } else { 0 };
            matches!(p.csr, csr::MENVCFG | csr::SENVCFG | csr::HENVCFG) && only(cbie | pmm, a, b)
        },
    },
    Known {
        what: "sstateen holds bits of its upper half in QEMU",
        spec: "privileged, \"Smstateen\": the upper 32 bits control state that is inherently inaccessible to user level, so \
               no corresponding bits in sstateen are applicable",
        applies: |p, a, b| matches!(p.csr, csr::SSTATEEN0..=csr::SSTATEEN3) && only(0xffff_ffff << 32, a, b),
    },
    Known {
        what: "mstateen0 holds P1P13 in QEMU",
        spec: "privileged, \"Smstateen\": bits that control state that a hart does not implement are read-only zero; P1P13 \
               controls hedelegh, which 64-bit harts do not have",
        applies: |p, a, b| matches!(p.csr, csr::MSTATEEN0 | csr::HSTATEEN0) && only(1 << 56, a, b),
    },
    Known {
        what: "mstateen0 does not hold CONTEXT in QEMU, which has no scontext (nor P1P13 as above)",
        spec: "privileged, \"Smstateen\": CONTEXT controls access to scontext and hcontext of Sdtrig",
        applies: |p, a, b| matches!(p.csr, csr::MSTATEEN0 | csr::HSTATEEN0) && only(3 << 56, a, b),
    },
    Known {
        what: "the lowest bit sticks in the epc registers of QEMU",
        spec: "privileged, \"Machine Exception Program Counter\": the low bit of mepc is always zero",
        applies: |p, a, b| matches!(p.csr, csr::MEPC | csr::SEPC | csr::VSEPC | csr::MNEPC) && only(1, a, b),
    },
    Known {
        what: "QEMU lets UXL and SXL hold 32 bits",
        spec: "privileged, \"Base ISA Control in mstatus\": an implementation may make UXL and SXL read-only",
        applies: |p, a, b| matches!(p.csr, csr::MSTATUS | csr::SSTATUS) && only(0xf << 32, a, b),
    },
    Known {
        what: "GVA and MPV of mstatus are not written in QEMU",
        spec: "privileged, \"Virtualization Support in mstatus\": MPV is what MRET returns to, and MPV and GVA are no \
               read-only fields",
        applies: |p, a, b| p.csr == csr::MSTATUS && only(0xcf << 32, a, b),
    },
    Known {
        what: "reserved bits of hstatus stick in QEMU, and VGEIN without guest external interrupts",
        spec: "privileged, \"Hypervisor Status\": other bits are WPRI; if GEILEN is zero, VGEIN is read-only zero",
        applies: |p, a, b| {
            use csr::hstatus::*;
            p.csr == csr::HSTATUS && only(!(GVA | SPV | SPVP | HU | VTVM | VTW | VTSR), a, b)
        },
    },
    Known {
        what: "an unsupported mode leaves all of hgatp alone in QEMU, and the lowest bits of PPN and 16 of VMID stick",
        spec: "privileged, \"Hypervisor Guest Address Translation and Protection\": a write with an unsupported MODE is not \
               ignored as it is for satp; the lowest two bits of the PPN are always zero; VMIDLEN is at most 14",
        applies: |p, a, b| p.csr == csr::HGATP && only(!(0xf << 60), a, b),
    },
    Known {
        what: "htinst holds nothing that is written in QEMU",
        spec: "privileged, \"Hypervisor Trap Instruction\": htinst is WARL and need only hold what the implementation writes",
        applies: |p, _, b| p.csr == csr::HTINST && *b == Answer { held: 0, trap: None },
    },
    Known {
        what: "DPR of hvictl cannot be set in QEMU",
        spec: "AIA, \"Hypervisor virtual interrupt control\": DPR is a field of hvictl",
        applies: |p, a, b| p.csr == csr::HVICTL && only(1 << 9, a, b),
    },
    Known {
        what: "all bits of vsstatus stick in QEMU",
        spec: "privileged, \"Virtual Supervisor Status\": vsstatus is VS-mode's version of sstatus, whose other bits are WPRI",
        applies: |p, a, b| {
            use csr::mstatus::*;
            p.csr == csr::VSSTATUS && only(!(SIE | SPIE | SPP | VS | FS | SUM | MXR | SDT), a, b)
        },
    },
    Known {
        what: "medeleg has a bit for software-check exceptions in QEMU whatever the hart can raise",
        spec: "privileged, \"Machine Trap Delegation\": medeleg is WARL, an implementation can choose to subset the delegatable \
               traps",
        applies: |p, a, b| p.csr == csr::MEDELEG && only(1 << 18, a, b),
    },
    Known {
        what: "hedeleg has no bit for hardware errors in QEMU",
        spec: "privileged, \"Hypervisor Trap Delegation\": bit 19 of hedeleg must be writable",
        applies: |p, a, b| p.csr == csr::HEDELEG && only(1 << 19, a, b),
    },
    LOCAL_INTERRUPTS,
    PENDING,
    Known {
        what: "priorities of major interrupts can be set in QEMU without an interrupt controller that uses them",
        spec: "AIA, \"Major interrupt priorities\": each priority is WARL, and all may be read-only zero",
        applies: |p, a, b| p.select.is_some_and(|s| (0x30..=0x3f).contains(&s)) && a.held == 0 && only(u64::MAX, a, b),
    },
    Known {
        what: "delegated cycle and instret run on while they are looked at, in QEMU by host time",
        spec: "they are counters",
        applies: |p, a, b| p.csr == csr::SIREG && matches!(p.select, Some(0x40 | 0x42)) && only(u64::MAX, a, b),
    },
    Known {
        what: "records hold mispredictions and cycles in QEMU, which never counts them",
        spec: "privileged, \"Smctr\": MISP, CC and CCV are optional, and read-only zero where they are not implemented",
        applies: |p, a, b| is_record(p) && only(0xffff_8000 | 1, a, b),
    },
    Known {
        what: "a depth that there is not becomes the largest in QEMU",
        spec: "privileged, \"Smctr\": DEPTH is WARL, 101 to 111 are reserved",
        applies: |p, a, b| p.csr == csr::SCTRDEPTH && p.value & 7 > 4 && only(7, a, b),
    },
];
