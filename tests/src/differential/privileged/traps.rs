//! Where traps go: random delegation, enables and pending bits of interrupts, and an instruction that traps or not, in any
//! mode. Handlers of S-mode and VS-mode are ECALLs, so that M-mode always has the last word.

use arch::csr::{self, hstatus, mip, mstatus};
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;

use super::leaves::allow_all;
use super::program::TEST;
use super::{Known, Level, Program, Setup, Step, Theme, known};
use crate::differential::asm::{Word, csrr, imm, reg, store, word};
use crate::differential::rng::Rng;

pub static THEME: Theme =
    Theme { name: "traps", isa, program, known: KNOWN, not_in_qemu: &[Ext::Sscofpmf], left_out: |_| None };

fn isa() -> IsaConfig {
    let mut isa = IsaConfig::default();
    isa.exts.insert(Ext::H);
    isa.exts.insert(Ext::Sscofpmf);
    isa
}

const STEPS: usize = 300;
/// Tables of vectors: an ECALL at each word.
const S_VECTORS: u64 = TEST;
const VS_VECTORS: u64 = TEST + 0x1000;
const VECTORS: u64 = 64;
/// Nothing is there.
const NOWHERE: u64 = 1 << 44;

/// Exceptions that may be delegated: not the ECALL that ends S-mode's handler, and not misaligned fetches, which there are
/// none of with C.
const DELEGABLE: u64 = 0x00f0_b5fe;
/// Not the ECALL that ends that of VS-mode.
const GUEST_DELEGABLE: u64 = 0xb1fe;

fn program(isa: &IsaConfig, rng: &mut Rng) -> Program {
    let ecall = u64::from(word(Ecall, 0, 0, 0, 0).raw);
    let vectors = [S_VECTORS, VS_VECTORS].into_iter().flat_map(|at| (0..VECTORS / 2).map(move |i| at + i * 8));
    let memory = vectors.map(|at| (at, ecall | ecall << 32)).collect();
    let read = [
        csr::MCAUSE,
        csr::MEPC,
        csr::MTVAL,
        csr::MTVAL2,
        csr::MTINST,
        csr::MIP,
        csr::MIE,
        csr::MIDELEG,
        csr::MEDELEG,
        csr::SSTATUS,
        csr::SCAUSE,
        csr::SEPC,
        csr::STVAL,
        csr::SIP,
        csr::SIE,
        csr::HSTATUS,
        csr::HTVAL,
        csr::HTINST,
        csr::HIP,
        csr::HIE,
        csr::HVIP,
        csr::VSSTATUS,
        csr::VSCAUSE,
        csr::VSEPC,
        csr::VSTVAL,
        csr::VSIP,
        csr::VSIE,
    ];
    let read = read.into_iter().filter(|n| csr::by_number(*n).is_some_and(|row| row.available(isa))).collect();
    let steps = (0..STEPS).map(|_| step(isa, rng)).collect();
    let vectors = [(csr::STVEC, S_VECTORS), (csr::VSTVEC, VS_VECTORS)].map(|(n, at)| Setup::Csr(n, at));
    Program { start: allow_all().into_iter().chain(vectors).collect(), steps, read, memory }
}

fn step(isa: &IsaConfig, rng: &mut Rng) -> Step {
    let level = rng.pick(&[Level::M, Level::S, Level::S, Level::U, Level::VS, Level::VS, Level::VU]);
    let overflow = if isa.has(Ext::Sscofpmf) { mip::LCOFIP } else { 0 };
    let interrupts = mip::SSIP | mip::STIP | mip::SEIP | overflow;
    let some = |rng: &mut Rng, mask: u64| if rng.one_in(2) { rng.bits() & mask } else { 0 };
    let mode = |rng: &mut Rng| rng.below(2);
    let mut setup: Vec<Setup> = [
        (csr::MIE, 0),
        (csr::MIDELEG, rng.bits() & interrupts),
        (csr::MEDELEG, rng.bits() & rng.bits() & DELEGABLE),
        (csr::HEDELEG, rng.bits() & GUEST_DELEGABLE),
        (csr::HIDELEG, rng.bits() & mip::VS_INTERRUPTS),
        (csr::STVEC, S_VECTORS | mode(rng)),
        (csr::VSTVEC, VS_VECTORS | mode(rng)),
        (csr::SCAUSE, 0),
        (csr::STVAL, 0),
        (csr::HTVAL, 0),
        (csr::HTINST, 0),
        (csr::VSCAUSE, 0),
        (csr::VSEPC, 0),
        (csr::VSTVAL, 0),
        (csr::MTVAL2, 0),
        (csr::MTINST, 0),
        (csr::MCOUNTEREN, rng.below(8)),
        (csr::SCOUNTEREN, rng.below(8)),
        (csr::HCOUNTEREN, rng.below(8)),
        (csr::MIP, some(rng, interrupts)),
        (csr::HVIP, some(rng, mip::VS_INTERRUPTS)),
        (csr::MIE, rng.bits() & (interrupts | mip::HS_INTERRUPTS)),
        (csr::VSSTATUS, 2 << 32 | rng.bits() & (mstatus::SIE | mstatus::SPIE | mstatus::SPP | mstatus::FS)),
    ]
    .map(|(number, value)| Setup::Csr(number, value))
    .into();
    let spv = if level.is_virtual() { hstatus::SPV } else { 0 };
    let traps = [hstatus::VTSR, hstatus::VTW, hstatus::VTVM, hstatus::HU].map(|b| if rng.one_in(3) { b } else { 0 });
    let state = rng.bits() & (hstatus::SPVP | hstatus::GVA);
    setup.push(Setup::Csr(csr::HSTATUS, 2 << 32 | spv | state | traps.iter().sum::<u64>()));
    let mut status = rng.bits() & (mstatus::SIE | mstatus::SPIE | mstatus::MPIE | mstatus::FS);
    for bit in [mstatus::TVM, mstatus::TSR, mstatus::TW] {
        status |= if rng.one_in(3) { bit } else { 0 };
    }
    let (body, x) = body(rng, level);
    Step { setup, level, mstatus: status, x, body, alias: 0, peek: TEST }
}

/// What the mode does, with x10 to x13.
fn body(rng: &mut Rng, level: Level) -> (Vec<Word>, [u64; 4]) {
    let zero = [0, 0, 0, 0];
    let nop = imm(Addi, 0, 0, 0);
    match rng.below(12) {
        0 => (vec![nop], zero),
        1 => (vec![word(Ecall, 0, 0, 0, 0)], zero),
        2 => (vec![word(Ebreak, 0, 0, 0, 0)], zero),
        3 => {
            (vec![Word { raw: rng.pick(&[0, u32::MAX, 0xc000_1073, 0x0000_705b, 0x1050_0073 | 1 << 7]), len: 4 }], zero)
        }
        4 => {
            let op = rng.pick(&[Lb, Lw, Ld]);
            (vec![imm(op, 5, 10, 0)], [NOWHERE, 0, 0, 0])
        }
        5 => {
            let op = rng.pick(&[Sb, Sw, Sd]);
            (vec![store(op, 11, 10, 0)], [NOWHERE, 0, 0, 0])
        }
        6 => (vec![imm(Jalr, 5, 10, 0)], [NOWHERE, 0, 0, 0]),
        7 => {
            let atomic = rng.pick(&[reg(AmoaddW, 5, 10, 11), reg(LrW, 5, 10, 0), reg(AmoswapD, 5, 10, 11)]);
            (vec![atomic], [NOWHERE, 1, 0, 0])
        }
        8 => {
            // Returns may go: to what follows them.
            let op = rng.pick(&[SfenceVma, SinvalVma, HfenceVvma, HfenceGvma, SfenceWInval, Mret, Sret]);
            let op = if matches!(op, Mret | Sret) && matches!(level, Level::M) { SfenceVma } else { op };
            let op = if op == Sret && matches!(level, Level::S | Level::VS) { SfenceVma } else { op };
            (vec![word(op, 0, 0, 0, 0)], zero)
        }
        9 => {
            let op = rng.pick(&[HlvD, HlvxWu, HlvB]);
            (vec![word(op, 5, 10, 0, 0)], [rng.pick(&[NOWHERE, TEST]), 0, 0, 0])
        }
        10 => {
            let number = rng.pick(&[
                csr::SIP,
                csr::SIE,
                csr::SSTATUS,
                csr::SATP,
                csr::STVAL,
                csr::MSTATUS,
                csr::MIE,
                csr::HIE,
                csr::HGATP,
                csr::VSATP,
                csr::VSSTATUS,
                csr::VSIP,
                csr::FCSR,
                csr::MVENDORID,
                csr::SCOUNTEREN,
            ]);
            // QEMU leaves MPV and GVA of traps from guests in mstatus.
            let number = if number == csr::MSTATUS && level == Level::M { csr::MSCRATCH } else { number };
            (vec![csrr(5, number), nop], zero)
        }
        // Enables, and makes pending.
        _ => {
            let number =
                rng.pick(&[csr::SIE, csr::SIP, csr::SSTATUS, csr::MIE, csr::MIP, csr::HVIP, csr::HIE, csr::VSIE]);
            let guest = mip::VS_INTERRUPTS;
            // QEMU lets guests' bits be set by mip, and takes those of vsie for both the guest's and the host's.
            let guest = match number {
                csr::MIP => mip::VSSIP,
                csr::SIE | csr::SIP | csr::VSIE => 0,
                _ => guest,
            };
            let value = rng.bits() & (mip::SSIP | mip::STIP | mip::SEIP | guest);
            (vec![word(Csrrs, 5, 10, 0, number.into()), nop], [value, 0, 0, 0])
        }
    }
}

static KNOWN: &[Known] = &[
    Known {
        what: "of several interrupts the one with the lowest number comes first",
        spec: "privileged, \"Supervisor Interrupt Pending and Enable\": SEI, SSI, STI, LCOFI is the order of decreasing \
               priority; \"Hypervisor Interrupt\": SEI, SSI, STI, SGEI, VSEI, VSSI, VSTI",
        applies: known::qemu,
        forgive: |_, ours, theirs| {
            for cause in [csr::MCAUSE, csr::SCAUSE, csr::VSCAUSE] {
                let (a, b) = (*ours.csr(cause), *theirs.csr(cause));
                if a >> 63 == 1 && b >> 63 == 1 && b < a {
                    *theirs = ours.clone();
                }
            }
        },
    },
    Known {
        what: "counter overflows come before guests' interrupts",
        spec: "privileged, \"Hypervisor Interrupt\": SEI, SSI, STI, SGEI, VSEI, VSSI, VSTI, LCOFI is the order of decreasing \
               priority",
        applies: known::spike,
        forgive: |_, ours, theirs| {
            for cause in [csr::MCAUSE, csr::SCAUSE] {
                let [a, b] = [*ours.csr(cause), *theirs.csr(cause)].map(|c| c ^ 1 << 63);
                if matches!((a, b), (2 | 6 | 10 | 12, 13)) {
                    *theirs = ours.clone();
                }
            }
        },
    },
    Known {
        what: "GVA of hstatus is clear after a breakpoint of a guest, whose address is in stval, and after traps to VS-mode",
        spec: "privileged, \"Hypervisor Status\": GVA is written by the implementation whenever a trap is taken into HS-mode; \
               for any trap that writes a guest virtual address to stval, GVA is set to 1",
        applies: known::qemu,
        forgive: |_, ours, theirs| {
            *theirs.csr(csr::HSTATUS) =
                *theirs.csr(csr::HSTATUS) & !hstatus::GVA | *ours.csr(csr::HSTATUS) & hstatus::GVA;
        },
    },
    Known {
        what: "CSRRS of sie or sip of a guest reads bits as clear that are set",
        spec: "privileged, \"Virtual Supervisor Interrupt\": when V=1, vsip and vsie substitute for sip and sie; bits of \
               vsie are aliases of those of hie where hideleg is set",
        applies: known::qemu,
        forgive: |step, ours, theirs| {
            let reads = [csr::SIE, csr::SIP].map(|number| word(Csrrs, 5, 0, 0, number.into()).raw);
            let any = reads.iter().any(|raw| known::has_word(&step.body, !(0x1f << 15), *raw));
            if step.level.is_virtual() && any && *theirs.x(5) & !*ours.x(5) == 0 {
                *theirs.x(5) = *ours.x(5);
            }
        },
    },
    Known {
        what: "CSRRS of hvip reads bits of mip that are not its own",
        spec: "privileged, \"Hypervisor Interrupt\": bits of hvip that are not writable are read-only zeros",
        applies: known::qemu,
        forgive: |step, _, theirs| {
            let read = word(Csrrs, 5, 0, 0, csr::HVIP.into()).raw;
            if known::has_word(&step.body, !(0x1f << 15), read) {
                *theirs.x(5) &= mip::VS_INTERRUPTS;
            }
        },
    },
    Known {
        what: "SFENCE.W.INVAL does not trap in U-mode and VU-mode",
        spec: "privileged, \"Svinval\": attempting to execute SFENCE.W.INVAL in U-mode raises an illegal-instruction exception, \
               in VU-mode a virtual-instruction exception",
        applies: known::qemu,
        forgive: |step, ours, theirs| {
            if known::has_word(&step.body, u32::MAX, 0x1800_0073) && matches!(step.level, Level::U | Level::VU) {
                *theirs = ours.clone();
            }
        },
    },
];
