//! What blocks leave out, each with the reason.

/// What blocks do not hold, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("WFI, WRS.NTO and WRS.STO", "they wait for something that never comes"),
    (
        "misaligned LR and SC",
        "QEMU's SC compares addresses before it looks at alignment; the A extension asks for an exception",
    ),
    ("AMOCAS with rd = x0", "QEMU writes to a register that it then takes for x0"),
    (
        "reserved words near load-acquires and store-releases",
        "QEMU 11 does not look at the unused operand; Zalasr: rs2 of the one and rd of the other are zero",
    ),
    (
        "load-acquires with rd = x0",
        "QEMU 11 writes to a constant that it then takes for zero, as the high half of a dividend too, and ends with \
         SIGFPE; the specification: x0 is hardwired to zero",
    ),
    (
        "VSHA2* in blocks (they are compared one by one)",
        "QEMU 10 refuses fractions of a register even if they hold an element group; the specification: LMUL * VLEN counts",
    ),
    (
        "misaligned AMOs, on Spike (compared on QEMU)",
        "Spike raises an access fault, but performs them at addresses whose translation it remembers; the specification: \
         an exception is generated",
    ),
    (
        "vector instructions other than loads and stores with vstart that is not zero, on Spike",
        "they raise an illegal-instruction exception in Spike; the specification: permitted for a vstart that the \
         implementation can never produce",
    ),
    (
        "vfredusum and vfwredusum in blocks, on Spike (they are compared one by one)",
        "without active elements Spike makes the scalar's NaN canonical; the specification: permitted",
    ),
    (
        "management of cache blocks in blocks of all modes, on QEMU (compared on Spike)",
        "QEMU does not fault where nothing is; the specification: permitted wherever a load or a store is",
    ),
    ("writes of misa, on Spike", "WARL: extensions can be turned off in Spike"),
    (
        "FIOM of menvcfg and senvcfg, on Spike",
        "read-only zero in Spike; the specification allows that where satp.MODE is read-only zero",
    ),
    ("stvec and mtvec with a reserved mode", "WARL: Spike takes the address all the same"),
    ("fault-only-first loads of segments, and of elements that cross a page", "QEMU 10 aborts on them"),
    (
        "vector instructions behind a fault-only-first load, but for a FENCE.I between them",
        "QEMU goes on with the vl from before it; the specification: vl is reduced",
    ),
    (
        "vector registers read with two element widths, v0 as the mask included",
        "the specification: reserved, here an illegal instruction; QEMU 10 and 11 perform it",
    ),
    ("vmv.s.x and vfmv.s.f where agnostic elements become ones", "QEMU keeps their tails; the specification: either"),
    (
        "whole-register loads and stores with vstart beyond their elements",
        "the specification: reserved; QEMU 10 aborts on them",
    ),
    (
        "whole-register loads and stores that are not aligned to 8 bytes, on QEMU 11 (compared on others)",
        "QEMU 11 moves 8 bytes at a time, and if a page that is not there begins among them it moves none and leaves the \
         first of them in vstart; the specification: the element on which the trap was taken",
    ),
    (
        "FCVT.S.BF16 of a register that is not NaN-boxed, VFWMACCBF16.VF in blocks (it is compared alone)",
        "QEMU takes the canonical NaN of a half for the bits of a bfloat16; the specification: it is the canonical NaN",
    ),
    ("odd values for mepc and sepc", "QEMU 10 keeps bit 0 of sepc; the specification: it is always zero"),
    ("pmpaddr16 to 63, pmpcfg4 to 14", "with 16 entries the others may read as zero or not exist: they do not in QEMU"),
    ("medeleg bits of other extensions and reserved causes", "WARL: QEMU keeps those of H and of double traps"),
    ("medeleg bit 0", "WARL: where C is, no fetch is misaligned; it is read-only zero in Spike"),
    ("mideleg, mie and mip bits of other extensions", "WARL: QEMU keeps those of H and of local interrupts"),
    ("mstatus.UXL, SXL and the endianness bits", "WARL: QEMU keeps the reserved value 3 in UXL"),
    ("Svnapot entries with clear A or D", "QEMU sets A and D before it sees that the entry is reserved"),
    ("counter-enable bits of hpmcounter3 to 31", "QEMU has 16 of them"),
    ("menvcfg and senvcfg: CBIE = 2 and bits of other extensions", "WARL: QEMU 10 keeps the reserved value, and CDE"),
    ("PBMT = 3", "the specification: reserved, a page fault; QEMU 10 ignores it"),
    ("SFENCE.W.INVAL and SFENCE.INVAL.IR outside M-mode blocks", "QEMU 10 allows them in U-mode"),
    (
        "FS Initial and Clean where mstatus can be read, mcause and mtval of traps that were skipped",
        "known differences would be seen in registers",
    ),
    ("misaligned AMOs where traps can be delegated", "QEMU raises another exception, which is delegated apart"),
    (
        "menvcfg.STCE set by a block",
        "QEMU shows a software-set STIP after it; Sstc: the bit reflects the comparator alone",
    ),
    ("SEIP with SSIP or STIP", "QEMU takes the lowest number first; the specification: SEI, SSI, STI"),
    ("pmpaddr bits 63 to 54", "QEMU 10 keeps them; the specification: WARL, zero"),
    ("pmpcfg bits 6 and 5, and W without R", "QEMU 10 keeps them; the specification: WARL zero, and reserved"),
    ("locked PMP entries", "they last until reset, and all blocks run between two"),
    ("SC under translation or MPRV", "QEMU's SC that has no reservation does not look at its address; it may"),
    ("tselect, tdata1 to 3 and what belongs to them", "a hart without triggers may have them read zero or not at all"),
    ("FROUND whose result nothing uses", "QEMU's optimiser drops it together with the flags it raises"),
    ("cycle time instret mcycle minstret hpmcounter* mhpmcounter* mhpmevent* mcountinhibit", "count host time in QEMU"),
    ("seed, and mseccfg, which opens it", "random bits"),
    ("stimecmp", "compares with a clock that runs on while the block does"),
    ("mvendorid marchid mimpid", "name the implementation"),
];
