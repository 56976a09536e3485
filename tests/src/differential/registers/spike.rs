//! What control and status registers of Spike hold otherwise.

use arch::csr::{self, envcfg};

use super::{Known, LOCAL_INTERRUPTS, PENDING, Probe, only};

/// A counter or selector that counts nothing in Spike.
fn is_event_counter(p: &Probe) -> bool {
    matches!(p.csr, csr::MHPMCOUNTER3..=csr::MHPMCOUNTER31 | csr::MHPMEVENT3..=csr::MHPMEVENT31)
}

/// Of a window on delegated counters.
fn is_delegated_counter(p: &Probe) -> bool {
    p.select.is_some_and(|select| (0x40..0x60).contains(&select))
}

/// What a selector of an event that nothing counts can hold.
const SELECTOR: u64 = 0x3f << 58;

pub static KNOWN: &[Known] = &[
    Known {
        what: "a reserved mode of a trap vector is another mode, and the address is taken",
        spec: "privileged, \"Machine Trap-Vector Base-Address\": mtvec is WARL",
        applies: |p, a, b| {
            let vector = matches!(p.csr, csr::MTVEC | csr::STVEC | csr::VSTVEC);
            vector && p.value & 2 != 0 && only(u64::MAX, a, b)
        },
    },
    Known {
        what: "FIOM is read-only zero, reserved values of CBIE and PMM become others, PBMTE of henvcfg does not wait for that \
               of menvcfg",
        spec: "privileged, \"Machine Environment Configuration\": all fields are WARL; if menvcfg.PBMTE=0, henvcfg.PBMTE is \
               read-only zero",
        applies: |p, a, b| {
            let cbie = if p.value & envcfg::CBIE == 2 << envcfg::CBIE_SHIFT { envcfg::CBIE } else { 0 };
            let pmm = if p.value & envcfg::PMM == 1 << envcfg::PMM.trailing_zeros() { envcfg::PMM } else { 0 };
            let pbmte = if p.csr == csr::HENVCFG && !p.open { envcfg::PBMTE } else { 0 };
            matches!(p.csr, csr::MENVCFG | csr::SENVCFG | csr::HENVCFG) && only(1 | cbie | pmm | pbmte, a, b)
        },
    },
    Known {
        what: "state enables have C, which enables custom state, and none of AIA, IMSIC and CONTEXT",
        spec: "privileged, \"Smstateen\": bits that control state that a hart does not implement are read-only zero",
        applies: |p, a, b| {
            let upper = matches!(p.csr, csr::MSTATEEN0 | csr::HSTATEEN0) && only(1 | 7 << 57, a, b);
            upper || p.csr == csr::SSTATEEN0 && only(1, a, b)
        },
    },
    Known {
        what: "bits of counters that are not there can be set",
        spec: "privileged, \"Machine Counter-Inhibit\" and \"Counter-Enable\": fields are WARL",
        applies: |p, a, b| {
            let enable = matches!(p.csr, csr::MCOUNTEREN | csr::SCOUNTEREN | csr::HCOUNTEREN);
            (enable || matches!(p.csr, csr::MCOUNTINHIBIT | csr::SCOUNTINHIBIT)) && only(0xffff_fff8, a, b)
        },
    },
    Known {
        what: "event counters and selectors are read-only zero, or selectors hold numbers of no event",
        spec: "privileged, \"Hardware Performance Monitor\": a legal implementation is to make both the counter and its \
               event selector read-only zero; the meaning of events is the platform's",
        applies: |p, a, b| is_event_counter(p) && only(u64::MAX, a, b),
    },
    Known {
        what: "delegated counters can be read but not written, and their filters show M-mode's, or are there without them",
        spec: "privileged, \"Smcdeleg\": sireg accesses the counters themselves, and the MINH bit is read-only zero for \
               S-mode's view of configurations",
        applies: |p, a, b| {
            let counter = p.csr == csr::SIREG && a.trap.is_none() && b.trap == Some(2);
            let filter = p.csr == csr::SIREG2 && only(SELECTOR | csr::mhpmevent::EVENT | 3 << 56, a, b);
            is_delegated_counter(p) && (counter || filter || only(u64::MAX, a, b) && p.csr == csr::SIREG)
        },
    },
    Known {
        what: "select registers hold all of their bits",
        spec: "privileged, \"Sscsrind\": the select registers are WARL, with a smallest range of legal values",
        applies: |p, a, b| matches!(p.csr, csr::MISELECT | csr::SISELECT | csr::VSISELECT) && only(!0xfff, a, b),
    },
    Known {
        what: "an unsupported mode of vsatp leaves that field alone",
        spec: "privileged, \"Virtual Supervisor Address Translation and Protection\": a write with an unsupported MODE value is \
               either ignored as it is for satp, or the fields of vsatp are treated as WARL in the normal way",
        applies: |p, a, b| p.csr == csr::VSATP && !matches!(p.value >> 60, 0 | 8..=10) && only(u64::MAX, a, b),
    },
    Known {
        what: "extensions can be turned off",
        spec: "privileged, \"Machine ISA\": misa is WARL",
        applies: |p, a, b| p.csr == csr::MISA && only(0x03ff_ffff, a, b),
    },
    Known {
        what: "misaligned fetches cannot be delegated, and hardware errors to other modes than here",
        spec: "privileged, \"Machine Trap Delegation\": an implementation can choose to subset the delegatable traps",
        applies: |p, a, b| matches!(p.csr, csr::MEDELEG | csr::HEDELEG) && only(1 | 1 << 19, a, b),
    },
    Known {
        what: "interrupt numbers of hvictl have six bits",
        spec: "AIA, \"Hypervisor virtual interrupt control\": IID is WLRL, and need only hold the numbers that are implemented",
        applies: |p, a, b| p.csr == csr::HVICTL && only(0x3f << 22, a, b),
    },
    Known {
        what: "priorities of major interrupts are read-only zero",
        spec: "AIA, \"Major interrupt priorities\": each priority is WARL, and all may be read-only zero",
        applies: |p, a, b| {
            let array = p.select.is_some_and(|select| (0x30..=0x3f).contains(&select));
            (array || matches!(p.csr, csr::HVIPRIO1 | csr::HVIPRIO2)) && only(u64::MAX, a, b)
        },
    },
    LOCAL_INTERRUPTS,
    PENDING,
];
