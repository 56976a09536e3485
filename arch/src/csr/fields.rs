//! Fields of CSRs, named as the privileged specification prints them. A field of several bits is a mask in place, with
//! a `_SHIFT` where its value is wanted.

/// `misa`.
pub mod misa {
    /// The value of MXL for 64 bits, in place.
    pub const MXL_64: u64 = 2 << 62;

    /// The bit of a single-letter extension, given in upper case.
    pub const fn letter(letter: char) -> u64 {
        1 << (letter as u32 - 'A' as u32)
    }
}

/// `mstatus` and, for the bits it shows, `sstatus`.
pub mod mstatus {
    pub const SIE: u64 = 1 << 1;
    pub const MIE: u64 = 1 << 3;
    pub const SPIE: u64 = 1 << 5;
    pub const UBE: u64 = 1 << 6;
    pub const MPIE: u64 = 1 << 7;
    pub const SPP: u64 = 1 << 8;
    pub const VS: u64 = 3 << 9;
    pub const VS_SHIFT: u32 = 9;
    pub const MPP: u64 = 3 << 11;
    pub const MPP_SHIFT: u32 = 11;
    pub const FS: u64 = 3 << 13;
    pub const FS_SHIFT: u32 = 13;
    pub const XS: u64 = 3 << 15;
    pub const MPRV: u64 = 1 << 17;
    pub const SUM: u64 = 1 << 18;
    pub const MXR: u64 = 1 << 19;
    pub const TVM: u64 = 1 << 20;
    pub const TW: u64 = 1 << 21;
    pub const TSR: u64 = 1 << 22;
    pub const SPELP: u64 = 1 << 23;
    pub const SDT: u64 = 1 << 24;
    pub const UXL: u64 = 3 << 32;
    pub const UXL_SHIFT: u32 = 32;
    pub const SXL: u64 = 3 << 34;
    pub const SXL_SHIFT: u32 = 34;
    pub const SBE: u64 = 1 << 36;
    pub const MBE: u64 = 1 << 37;
    pub const GVA: u64 = 1 << 38;
    pub const MPV: u64 = 1 << 39;
    pub const MPELP: u64 = 1 << 41;
    pub const MDT: u64 = 1 << 42;
    pub const SD: u64 = 1 << 63;

    /// What `sstatus` shows of `mstatus` on a hart without further extensions.
    pub const SSTATUS: u64 = SIE | SPIE | UBE | SPP | VS | FS | XS | SUM | MXR | UXL | SD;

    /// Values of FS, VS and XS.
    pub const OFF: u64 = 0;
    pub const INITIAL: u64 = 1;
    pub const CLEAN: u64 = 2;
    pub const DIRTY: u64 = 3;

    /// Value of UXL and SXL for 64 bits.
    pub const XL_64: u64 = 2;
}

/// `mnstatus`.
pub mod mnstatus {
    pub const NMIE: u64 = 1 << 3;
    pub const MNPV: u64 = 1 << 7;
    pub const MNPELP: u64 = 1 << 9;
    pub const MNPP: u64 = 3 << 11;
    pub const MNPP_SHIFT: u32 = 11;
}

/// `mip`, `mie`, `mideleg` and their supervisor views.
pub mod mip {
    pub const SSIP: u64 = 1 << 1;
    pub const VSSIP: u64 = 1 << 2;
    pub const MSIP: u64 = 1 << 3;
    pub const STIP: u64 = 1 << 5;
    pub const VSTIP: u64 = 1 << 6;
    pub const MTIP: u64 = 1 << 7;
    pub const SEIP: u64 = 1 << 9;
    pub const VSEIP: u64 = 1 << 10;
    pub const MEIP: u64 = 1 << 11;
    pub const SGEIP: u64 = 1 << 12;
    pub const LCOFIP: u64 = 1 << 13;

    /// The interrupts that the hypervisor asserts for its guest, which sees each under the number below.
    pub const VS_INTERRUPTS: u64 = VSSIP | VSTIP | VSEIP;
    /// The interrupts that the hypervisor extension adds: what `hip` and `hie` show.
    pub const HS_INTERRUPTS: u64 = VS_INTERRUPTS | SGEIP;
}

/// `hstatus`.
pub mod hstatus {
    pub const VSBE: u64 = 1 << 5;
    pub const GVA: u64 = 1 << 6;
    pub const SPV: u64 = 1 << 7;
    pub const SPVP: u64 = 1 << 8;
    pub const HU: u64 = 1 << 9;
    pub const VGEIN: u64 = 0x3f << 12;
    pub const VGEIN_SHIFT: u32 = 12;
    pub const VTVM: u64 = 1 << 20;
    pub const VTW: u64 = 1 << 21;
    pub const VTSR: u64 = 1 << 22;
    pub const VSXL: u64 = 3 << 32;
    pub const VSXL_SHIFT: u32 = 32;
    pub const HUPMM: u64 = 3 << 48;
    pub const HUPMM_SHIFT: u32 = 48;
}

/// `hvictl`.
pub mod hvictl {
    pub const IPRIO: u64 = 0xff;
    pub const IPRIOM: u64 = 1 << 8;
    pub const DPR: u64 = 1 << 9;
    pub const IID: u64 = 0xfff << 16;
    pub const IID_SHIFT: u32 = 16;
    pub const VTI: u64 = 1 << 30;
}

/// `hgatp`.
pub mod hgatp {
    pub const PPN: u64 = (1 << 44) - 1;
    pub const VMID: u64 = 0x3fff << 44;
    pub const VMID_SHIFT: u32 = 44;
    pub const MODE: u64 = 0xf << 60;
    pub const MODE_SHIFT: u32 = 60;
    /// The root table is four pages and aligned so: these bits of PPN are zero.
    pub const ROOT_ALIGN: u64 = 3;
}

/// `mtvec`, `stvec` and `vstvec`.
pub mod tvec {
    pub const BASE: u64 = !3;
    pub const MODE: u64 = 3;
    pub const DIRECT: u64 = 0;
    pub const VECTORED: u64 = 1;
}

/// `mcause`, `scause` and `vscause`.
pub mod xcause {
    pub const INTERRUPT: u64 = 1 << 63;
    pub const CODE: u64 = !INTERRUPT;
}

/// `mcounteren`, `scounteren`, `hcounteren` and, but for TM, `mcountinhibit`.
pub mod counteren {
    pub const CY: u64 = 1 << 0;
    pub const TM: u64 = 1 << 1;
    pub const IR: u64 = 1 << 2;
    /// HPM3 to HPM31.
    pub const HPM: u64 = 0xffff_fff8;
}

/// `menvcfg`; `senvcfg` and `henvcfg` have the same bits where they have them.
pub mod envcfg {
    pub const FIOM: u64 = 1 << 0;
    pub const LPE: u64 = 1 << 2;
    pub const SSE: u64 = 1 << 3;
    pub const CBIE: u64 = 3 << 4;
    pub const CBIE_SHIFT: u32 = 4;
    pub const CBCFE: u64 = 1 << 6;
    pub const CBZE: u64 = 1 << 7;
    pub const PMM: u64 = 3 << 32;
    pub const PMM_SHIFT: u32 = 32;
    pub const DTE: u64 = 1 << 59;
    pub const CDE: u64 = 1 << 60;
    pub const ADUE: u64 = 1 << 61;
    pub const PBMTE: u64 = 1 << 62;
    pub const STCE: u64 = 1 << 63;

    /// Values of CBIE. The value 2 is reserved.
    pub const CBIE_TRAP: u64 = 0;
    pub const CBIE_FLUSH: u64 = 1;
    pub const CBIE_INVALIDATE: u64 = 3;
}

/// `mstateen0`, `hstateen0` and `sstateen0`; of the others SE alone.
pub mod stateen0 {
    pub const FCSR: u64 = 1 << 1;
    pub const JVT: u64 = 1 << 2;
    pub const CTR: u64 = 1 << 54;
    pub const CONTEXT: u64 = 1 << 57;
    pub const IMSIC: u64 = 1 << 58;
    pub const AIA: u64 = 1 << 59;
    pub const CSRIND: u64 = 1 << 60;
    pub const ENVCFG: u64 = 1 << 62;
    /// SE0, and bit 63 of each of the others.
    pub const SE: u64 = 1 << 63;
}

/// `mctrctl`, `sctrctl` and `vsctrctl`.
pub mod ctrctl {
    pub const U: u64 = 1 << 0;
    pub const S: u64 = 1 << 1;
    pub const M: u64 = 1 << 2;
    pub const RASEMU: u64 = 1 << 7;
    pub const STE: u64 = 1 << 8;
    pub const MTE: u64 = 1 << 9;
    pub const BPFRZ: u64 = 1 << 11;
    pub const LCOFIFRZ: u64 = 1 << 12;
    pub const EXCINH: u64 = 1 << 33;
    pub const INTRINH: u64 = 1 << 34;
    pub const TRETINH: u64 = 1 << 35;
    /// All bits about types of transfers: type n is bit 32 + n, and types 6 and 7 are reserved.
    pub const TYPES: u64 = 0xff3e << 32;
}

/// `sctrstatus`.
pub mod sctrstatus {
    pub const WRPTR: u64 = 0xff;
    pub const FROZEN: u64 = 1 << 31;
}

/// `mseccfg`.
pub mod mseccfg {
    pub const MML: u64 = 1 << 0;
    pub const MMWP: u64 = 1 << 1;
    pub const RLB: u64 = 1 << 2;
    pub const USEED: u64 = 1 << 8;
    pub const SSEED: u64 = 1 << 9;
    pub const MLPE: u64 = 1 << 10;
    pub const PMM: u64 = 3 << 32;
}

/// `satp` and `vsatp`.
pub mod satp {
    pub const PPN: u64 = (1 << 44) - 1;
    pub const ASID: u64 = 0xffff << 44;
    pub const ASID_SHIFT: u32 = 44;
    pub const MODE: u64 = 0xf << 60;
    pub const MODE_SHIFT: u32 = 60;

    /// Values of MODE.
    pub const BARE: u64 = 0;
    pub const SV39: u64 = 8;
    pub const SV48: u64 = 9;
    pub const SV57: u64 = 10;
}

/// One byte of `pmpcfg`.
pub mod pmpcfg {
    pub const R: u8 = 1 << 0;
    pub const W: u8 = 1 << 1;
    pub const X: u8 = 1 << 2;
    pub const A: u8 = 3 << 3;
    pub const A_SHIFT: u32 = 3;
    pub const L: u8 = 1 << 7;

    /// Values of A.
    pub const OFF: u8 = 0;
    pub const TOR: u8 = 1;
    pub const NA4: u8 = 2;
    pub const NAPOT: u8 = 3;

    /// Bits of `pmpaddr` that a 64-bit hart has.
    pub const ADDR: u64 = (1 << 54) - 1;
}

/// `fcsr`.
pub mod fcsr {
    /// Inexact.
    pub const NX: u64 = 1 << 0;
    /// Underflow.
    pub const UF: u64 = 1 << 1;
    /// Overflow.
    pub const OF: u64 = 1 << 2;
    /// Divide by zero.
    pub const DZ: u64 = 1 << 3;
    /// Invalid operation.
    pub const NV: u64 = 1 << 4;
    pub const FFLAGS: u64 = 0x1f;
    pub const FRM: u64 = 7 << 5;
    pub const FRM_SHIFT: u32 = 5;

    /// Values of FRM and of an instruction's rm field: to nearest, ties to even.
    pub const RNE: u8 = 0;
    /// Towards zero.
    pub const RTZ: u8 = 1;
    /// Down.
    pub const RDN: u8 = 2;
    /// Up.
    pub const RUP: u8 = 3;
    /// To nearest, ties to the larger magnitude.
    pub const RMM: u8 = 4;
    /// In an instruction: as FRM says.
    pub const DYN: u8 = 7;
}

/// `mhpmevent` with Sscofpmf, `mcyclecfg` and `minstretcfg`.
pub mod mhpmevent {
    /// The event selector.
    pub const EVENT: u64 = (1 << 56) - 1;
    pub const VUINH: u64 = 1 << 58;
    pub const VSINH: u64 = 1 << 59;
    pub const UINH: u64 = 1 << 60;
    pub const SINH: u64 = 1 << 61;
    pub const MINH: u64 = 1 << 62;
    pub const OF: u64 = 1 << 63;
    /// All bits that keep a counter still in a mode.
    pub const INHIBIT: u64 = VUINH | VSINH | UINH | SINH | MINH;
}

/// Event selectors that harts know. The choice is ours, the numbers are those of the same events in the SBI PMU
/// extension (event_idx), so that no table has to say which event has which selector.
pub mod event {
    pub const NONE: u64 = 0;
    pub const CYCLES: u64 = 0x1;
    pub const INSTRUCTIONS: u64 = 0x2;
    /// Translations of loads that the TLB did not hold.
    pub const DTLB_READ_MISS: u64 = 0x10019;
    /// Of stores and atomics.
    pub const DTLB_WRITE_MISS: u64 = 0x1001b;
    /// Of fetches.
    pub const ITLB_READ_MISS: u64 = 0x10021;

    pub const ALL: [u64; 5] = [CYCLES, INSTRUCTIONS, DTLB_READ_MISS, DTLB_WRITE_MISS, ITLB_READ_MISS];
}

/// `tdata1` of a trigger, whatever its type.
pub mod tdata1 {
    pub const TYPE_SHIFT: u32 = 60;
    /// Types.
    pub const ICOUNT: u64 = 3;
    pub const ITRIGGER: u64 = 4;
    pub const ETRIGGER: u64 = 5;
    pub const MCONTROL6: u64 = 6;
    pub const DISABLED: u64 = 15;
}

/// `tdata1` of an address match (`mcontrol6`).
pub mod mcontrol6 {
    pub const LOAD: u64 = 1 << 0;
    pub const STORE: u64 = 1 << 1;
    pub const EXECUTE: u64 = 1 << 2;
    pub const U: u64 = 1 << 3;
    pub const S: u64 = 1 << 4;
    pub const M: u64 = 1 << 6;
    pub const MATCH_SHIFT: u32 = 7;
    pub const MATCH: u64 = 0xf << MATCH_SHIFT;
    /// Values of MATCH.
    pub const EQUAL: u64 = 0;
    pub const NAPOT: u64 = 1;
    pub const GE: u64 = 2;
    pub const LT: u64 = 3;
    pub const MASK_LOW: u64 = 4;
    pub const MASK_HIGH: u64 = 5;
    /// In MATCH: where the others would not match.
    pub const NOT: u64 = 8;
    pub const CHAIN: u64 = 1 << 11;
    pub const SIZE_SHIFT: u32 = 16;
    pub const SIZE: u64 = 7 << SIZE_SHIFT;
    pub const HIT0: u64 = 1 << 22;
    pub const VU: u64 = 1 << 23;
    pub const VS: u64 = 1 << 24;
}

/// `tdata1` of an instruction count (`icount`).
pub mod icount {
    pub const U: u64 = 1 << 6;
    pub const S: u64 = 1 << 7;
    pub const PENDING: u64 = 1 << 8;
    pub const M: u64 = 1 << 9;
    pub const COUNT_SHIFT: u32 = 10;
    pub const COUNT: u64 = 0x3fff << COUNT_SHIFT;
    pub const HIT: u64 = 1 << 24;
    pub const VU: u64 = 1 << 25;
    pub const VS: u64 = 1 << 26;
}

/// `tdata1` of triggers on interrupts and exceptions (`itrigger`, `etrigger`).
pub mod itrigger {
    pub const U: u64 = 1 << 6;
    pub const S: u64 = 1 << 7;
    pub const M: u64 = 1 << 9;
    pub const VU: u64 = 1 << 11;
    pub const VS: u64 = 1 << 12;
    pub const HIT: u64 = 1 << 58;
}

/// `tdata3` (`textra64`).
pub mod textra {
    pub const SSELECT: u64 = 3;
    pub const SVALUE_SHIFT: u32 = 2;
    pub const SVALUE: u64 = 0x3_ffff_ffff << SVALUE_SHIFT;
    pub const SBYTEMASK_SHIFT: u32 = 36;
    pub const SBYTEMASK: u64 = 0x1f << SBYTEMASK_SHIFT;
    pub const MHSELECT_SHIFT: u32 = 48;
    pub const MHSELECT: u64 = 7 << MHSELECT_SHIFT;
    pub const MHVALUE_SHIFT: u32 = 51;
    pub const MHVALUE: u64 = 0x1fff << MHVALUE_SHIFT;
}

/// `tinfo`.
pub mod tinfo {
    /// Version 1.0 of the extension.
    pub const VERSION_1: u64 = 1 << 24;
}
