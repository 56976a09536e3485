//! Random blocks: what they start from and which instructions they hold.
//!
//! Instructions come from the table's rows with random operands; what would leave the block, never end or touch
//! memory outside the block's slot is built as a group of instructions instead. A group can be left out of a block
//! without a change to the others, which is how a failing block is made small.

use std::ops::RangeInclusive;

use arch::csr;
use arch::ext::{Ext, IsaConfig, SatpMode};
use arch::isa::{Decoder, Field, Insn, Op, Operands, Row, encode_row, rows};

use super::asm::{Word, csrw, imm, reg, store, word};
use super::guest::{Guest, SUPERVISOR_HANDLER, USER_ALIAS};
use super::paging;
use super::rng::{BOX, Rng};

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Computation, memory and control flow in M-mode.
    Compute,
    /// CSR instructions in M-mode among the rest.
    Csr,
    /// Any mode, with translation, faults, delegation and returns from traps.
    Privileged,
}

/// A register's value, which may depend on where the block's slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Plain(u64),
    /// Offset in the slot's data, as S-mode and M-mode see it.
    Data(u64),
    /// The same as U-mode sees it.
    UserData(u64),
    /// Offset in the block's virtual pages.
    Virtual(u64),
    /// Address of the slot's page table.
    Table,
    /// A page-table entry for the slot's first data page, with these low bits.
    Entry(u64),
}

/// Instructions that belong together.
pub type Group = Vec<Word>;

/// A block before it is placed.
#[derive(Debug, Clone)]
pub struct Block {
    pub profile: Profile,
    pub seed: u64,
    pub groups: Vec<Group>,
    pub x: [Value; 32],
    pub f: [u64; 32],
    pub csrs: Vec<u64>,
    pub skip: u64,
    /// Starts in U-mode under translation: the code's alias is entered.
    pub user_alias: bool,
    /// Flags of the virtual pages.
    pub pages: Vec<u64>,
    pub data: Vec<u8>,
}

/// Registers that blocks read over, so that results become operands.
const HOT: usize = 6;

/// What blocks do not hold, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("WFI, WRS.NTO and WRS.STO", "they wait for something that never comes"),
    (
        "misaligned LR and SC",
        "QEMU's SC compares addresses before it looks at alignment; the A extension asks for an exception",
    ),
    ("odd values for mepc and sepc", "QEMU 10 keeps bit 0 of sepc; the specification: it is always zero"),
    ("pmpaddr16 to 63, pmpcfg4 to 14", "with 16 entries the others may read as zero or not exist: they do not in QEMU"),
    ("medeleg bits of other extensions and reserved causes", "WARL: QEMU keeps those of H and of double traps"),
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
    ("stimecmp", "compares with a clock that runs on while the block does"),
    ("mvendorid marchid mimpid", "name the implementation"),
];

/// CSRs that are written with certain values only, since the reference keeps bits it should not.
struct Legal {
    csrs: RangeInclusive<u16>,
    /// Bits that may be anything, and bits that are set.
    mask: u64,
    ones: u64,
    /// Clearing bits one by one could leave a value that is not legal.
    clear: bool,
}

const LEGAL: [Legal; 10] = [
    Legal { csrs: csr::MEDELEG..=csr::MEDELEG, mask: DELEGABLE, ones: 0, clear: true },
    Legal { csrs: csr::PMPADDR0..=csr::PMPADDR63, mask: csr::pmpcfg::ADDR, ones: 0, clear: true },
    // mideleg and mie; then mip, sie and sip.
    Legal { csrs: csr::MIDELEG..=csr::MIE, mask: INTERRUPTS, ones: 0, clear: true },
    Legal { csrs: csr::MIP..=csr::MIP, mask: 0x22, ones: 0, clear: true },
    Legal { csrs: csr::MCOUNTEREN..=csr::MCOUNTEREN, mask: 7, ones: 0, clear: true },
    Legal { csrs: csr::SCOUNTEREN..=csr::SCOUNTEREN, mask: 7, ones: 0, clear: true },
    Legal { csrs: csr::MENVCFG..=csr::MENVCFG, mask: ENVCFG, ones: 0, clear: false },
    Legal { csrs: csr::MSTATUS..=csr::MSTATUS, mask: STATUS, ones: 0xa << 32 | csr::mstatus::FS, clear: false },
    Legal { csrs: csr::SSTATUS..=csr::SSTATUS, mask: STATUS, ones: 0x2 << 32 | csr::mstatus::FS, clear: false },
    Legal { csrs: csr::SENVCFG..=csr::SENVCFG, mask: 0xd1, ones: 0, clear: false },
];

/// Interrupts of S-mode.
const INTERRUPTS: u64 = 0x222;
/// FIOM, CBIE without its reserved value, CBCFE, CBZE, ADUE and PBMTE.
const ENVCFG: u64 = 0xd1 | 3 << 61;
/// Fields of mstatus that neither size registers, nor order bytes, nor belong to an extension; FS is always Dirty.
/// Without MPRV: a random satp or PMP entry would show what else is in the address space of the two machines.
const STATUS: u64 = 0x7c_19aa;

/// Exceptions that `medeleg` can give away on a hart without H.
const DELEGABLE: u64 = 0xb3ff;

fn is_accessed(number: u16) -> bool {
    let counter = matches!(number, csr::CYCLE..=csr::HPMCOUNTER31 | csr::MCYCLE..=csr::MHPMCOUNTER31)
        || matches!(number, csr::MHPMEVENT3..=csr::MHPMEVENT31 | csr::MCOUNTINHIBIT)
        || matches!(number, 0x5a8 | 0x7a0..=0x7af)
        || matches!(number, csr::PMPCFG4..=csr::PMPCFG14 | csr::PMPADDR16..=csr::PMPADDR63)
        // 32-bit halves, which do not exist here.
        || matches!(number, 0xc80..=0xc9f | 0xb80..=0xb9f | 0x720..=0x73f);
    !counter && !matches!(number, csr::STIMECMP | csr::MVENDORID | csr::MARCHID | csr::MIMPID)
}

fn is_memory(op: Op) -> bool {
    use Op::*;
    matches!(op, Lb | Lh | Lw | Ld | Lbu | Lhu | Lwu | Sb | Sh | Sw | Sd | Flw | Fld | Fsw | Fsd)
}

fn is_cache_block(op: Op) -> bool {
    matches!(op, Op::CboZero | Op::CboClean | Op::CboFlush | Op::CboInval)
}

fn is_branch(op: Op) -> bool {
    use Op::*;
    matches!(op, Beq | Bne | Blt | Bge | Bltu | Bgeu)
}

fn is_round(op: Op) -> bool {
    matches!(op, Op::FroundS | Op::FroundD | Op::FroundnxS | Op::FroundnxD)
}

fn is_csr(op: Op) -> bool {
    use Op::*;
    matches!(op, Csrrw | Csrrs | Csrrc | Csrrwi | Csrrsi | Csrrci)
}

/// What only a group can hold, and what would wait for something that never comes.
fn is_plain(op: Op) -> bool {
    use Op::*;
    let name = op.name();
    !(is_memory(op) || is_cache_block(op) || is_branch(op) || is_csr(op) || is_round(op))
        && !(name.starts_with("amo") || name.starts_with("lr.") || name.starts_with("sc."))
        && !matches!(op, Jal | Jalr | Ecall | Ebreak | Mret | Sret | Wfi | WrsNto | WrsSto)
}

/// Makes blocks for one ISA.
pub struct Generator {
    isa: IsaConfig,
    decoder: Decoder,
    guest: Guest,
    plain: Vec<&'static Row>,
    memory: Vec<&'static Row>,
    branches: Vec<&'static Row>,
    amos: Vec<&'static Row>,
    rounds: Vec<&'static Row>,
    cache_blocks: Vec<&'static Row>,
    csr_numbers: Vec<u16>,
    /// The accessed and dirty bits of entries may be clear: the reference can be told what to do then.
    pub clear_accessed: bool,
}

/// The block being made.
struct Draft<'a> {
    g: &'a Generator,
    rng: &'a mut Rng,
    profile: Profile,
    hot: [u8; HOT],
    /// Registers with addresses; the first is one that compressed instructions reach, the second is sp.
    bases: [u8; 3],
    /// Address for atomics.
    atomic: u8,
    /// SFENCE.VMA traps: a changed entry need not be seen.
    fences_trap: bool,
    /// It is not aligned.
    misaligned: bool,
    /// Registers that instructions must not write.
    reserved: Vec<u8>,
    /// Address of the slot's page table and an entry for it.
    table: u8,
    entry: u8,
    /// Operands that are legal for the CSRs of [`LEGAL`].
    legal: [u8; LEGAL.len()],
    /// Which virtual page the bases point into.
    base_pages: [u64; 3],
}

impl Generator {
    pub fn new(isa: &IsaConfig, clear_accessed: bool) -> Self {
        let available: Vec<_> = rows().iter().filter(|row| row.available(isa)).collect();
        let of = |f: &dyn Fn(Op) -> bool| available.iter().copied().filter(|row| f(row.op)).collect::<Vec<_>>();
        let decoder = Decoder::new(isa);
        let csr_numbers = (0..1 << 12)
            .filter(|number| is_accessed(*number) && csr::by_number(*number).is_some_and(|csr| csr.available(isa)))
            .collect();
        Self {
            decoder,
            guest: Guest::new(isa),
            plain: of(&is_plain),
            memory: of(&is_memory),
            branches: of(&is_branch),
            amos: of(&|op| op.name().starts_with("amo")),
            rounds: of(&is_round),
            cache_blocks: of(&is_cache_block),
            csr_numbers,
            clear_accessed,
            isa: isa.clone(),
        }
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub fn isa(&self) -> &IsaConfig {
        &self.isa
    }

    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Rows that blocks are made of.
    pub fn row_count(&self) -> usize {
        self.plain.len()
            + self.memory.len()
            + self.branches.len()
            + self.amos.len()
            + self.rounds.len()
            + self.cache_blocks.len()
    }

    /// The block of a seed.
    pub fn block(&self, profile: Profile, seed: u64) -> Block {
        let mut rng = Rng::new(seed);
        let mut x = [Value::Plain(0); 32];
        let mut integers = rng.related(Rng::integer, &[0]);
        for value in &mut x[1..] {
            *value = Value::Plain(integers(&mut rng));
        }
        let mut floats = rng.related(Rng::float, &[0, BOX]);
        let f = std::array::from_fn(|_| floats(&mut rng));
        let data = (0..super::guest::SLOT_DATA / 8).flat_map(|_| rng.word().to_le_bytes()).collect();
        let mut state = self.state(&mut rng, profile);
        let (groups, skip) = {
            let mut draft = Draft::new(self, &mut rng, profile, state.fences_trap);
            draft.addresses(&mut x, state.mode, state.translated);
            let count = 4 + draft.rng.below(28);
            let groups = (0..count).map(|_| draft.group()).collect();
            // Misaligned, access and page faults of data, illegal instructions, ecalls.
            let skip = if draft.rng.one_in(16) { 0 } else { 0xabf4 };
            (groups, skip)
        };
        // Nothing may hide the breakpoint that ends the block.
        let medeleg = self.guest.csr_index(csr::MEDELEG);
        state.csrs[medeleg] &= !(1 << 3);
        Block {
            profile,
            seed,
            groups,
            x,
            f,
            csrs: state.csrs,
            skip,
            user_alias: state.mode == 0 && state.translated,
            pages: if profile == Profile::Privileged { paging::random_pages(self, &mut rng) } else { Vec::new() },
            data,
        }
    }

    fn state(&self, rng: &mut Rng, profile: Profile) -> State {
        let mut csrs = vec![0; self.guest.csrs.len()];
        let mut set = |number: u16, value: u64| {
            if let Some(index) = self.guest.csrs.iter().position(|n| *n == number) {
                csrs[index] = value;
            }
        };
        let frm = if rng.one_in(12) { 5 + rng.below(3) } else { rng.below(5) };
        set(csr::FCSR, frm << 5 | if rng.one_in(2) { 0 } else { rng.below(32) });
        let clean: &[u64] = if profile == Profile::Compute { &[1, 2, 3, 3] } else { &[3] };
        let fs = if rng.one_in(24) { 0 } else { rng.pick(clean) };
        let mut mstatus = fs << csr::mstatus::FS_SHIFT;
        set(csr::STIMECMP, u64::MAX);
        set(csr::STVEC, SUPERVISOR_HANDLER);
        // Everything is allowed, unless a block says otherwise.
        set(csr::PMPADDR0, csr::pmpcfg::ADDR);
        set(csr::PMPCFG0, 0x1f);
        let mut mode = 3;
        let mut translated = false;
        if profile != Profile::Compute {
            for number in [csr::SSCRATCH, csr::SEPC, csr::SCAUSE, csr::STVAL] {
                set(number, rng.integer() & if number == csr::SEPC { !1 } else { u64::MAX });
            }
        }
        if profile == Profile::Privileged {
            mode = rng.pick(&[0, 1, 1, 3]);
            let satp = self.satp(rng);
            translated = satp >> 60 != 0;
            set(csr::SATP, satp);
            set(csr::MEDELEG, if rng.one_in(3) { rng.bits() & DELEGABLE } else { 0 });
            set(csr::MCOUNTEREN, rng.below(8));
            set(csr::SCOUNTEREN, rng.below(8));
            let adue = csr::envcfg::ADUE & if self.isa.has(Ext::Svadu) { rng.bits() } else { 0 };
            let pbmte = csr::envcfg::PBMTE & if self.isa.has(Ext::Svpbmt) { rng.bits() } else { 0 };
            let blocks = |rng: &mut Rng| match rng.below(3) {
                0 => 0,
                1 => csr::envcfg::CBIE | csr::envcfg::CBCFE | csr::envcfg::CBZE,
                _ => rng.pick(&[0x10, 0x30, 0x40, 0x80]),
            };
            set(csr::MENVCFG, adue | pbmte | blocks(rng));
            set(csr::SENVCFG, blocks(rng));
            let bits = csr::mstatus::SUM | csr::mstatus::MXR | csr::mstatus::SPP;
            mstatus |= rng.bits() & bits;
            for bit in [csr::mstatus::TVM, csr::mstatus::TSR, csr::mstatus::TW] {
                mstatus |= if rng.one_in(8) { bit } else { 0 };
            }
        }
        set(csr::MSTATUS, mstatus | mode << csr::mstatus::MPP_SHIFT);
        State { csrs, mode, translated, fences_trap: mstatus & csr::mstatus::TVM != 0 }
    }

    fn satp(&self, rng: &mut Rng) -> u64 {
        let modes: Vec<_> = [SatpMode::Sv39, SatpMode::Sv48, SatpMode::Sv57]
            .into_iter()
            .filter(|mode| *mode <= self.isa.satp_mode)
            .collect();
        if modes.is_empty() || rng.one_in(8) {
            return 0;
        }
        let mode = rng.pick(&modes);
        mode.encoding() << 60 | rng.below(4) << 44 | paging::root(mode) >> 12
    }
}

struct State {
    csrs: Vec<u64>,
    mode: u64,
    translated: bool,
    fences_trap: bool,
}

impl<'a> Draft<'a> {
    fn new(g: &'a Generator, rng: &'a mut Rng, profile: Profile, fences_trap: bool) -> Self {
        let mut free: Vec<u8> = (1..32).filter(|r| *r != 2).collect();
        let mut take = |rng: &mut Rng, low: u8, high: u8| loop {
            let at = rng.below(free.len() as u64) as usize;
            if (low..=high).contains(&free[at]) {
                return free.swap_remove(at);
            }
        };
        // Those that compressed instructions reach are few: first.
        let hot = std::array::from_fn(|i| take(rng, if i < 3 { 8 } else { 1 }, if i < 3 { 15 } else { 31 }));
        let bases = [take(rng, 8, 15), 2, take(rng, 1, 31)];
        let (atomic, table, entry) = (take(rng, 1, 31), take(rng, 1, 31), take(rng, 1, 31));
        let legal = std::array::from_fn(|_| take(rng, 1, 31));
        let mut reserved = vec![bases[0], bases[1], bases[2], atomic];
        if profile != Profile::Compute {
            reserved.extend([table, entry]);
            reserved.extend(legal);
        }
        let base_pages = std::array::from_fn(|_| rng.below(paging::PAGES as u64 - 2) + 1);
        let misaligned = profile != Profile::Privileged && rng.one_in(16);
        Self { g, rng, profile, hot, bases, atomic, fences_trap, misaligned, reserved, table, entry, legal, base_pages }
    }

    /// Gives the reserved registers their values.
    fn addresses(&mut self, x: &mut [Value; 32], mode: u64, translated: bool) {
        for (i, r) in self.bases.into_iter().enumerate() {
            // Near the end of the first page, so that accesses cross it.
            let offset = match self.rng.below(3) {
                0 => 4096 - self.rng.below(16),
                1 => (2048 + self.rng.below(4080)) & !7,
                _ => 2048 + self.rng.below(4080),
            };
            x[usize::from(r)] = match (mode, translated && !self.rng.one_in(if mode == 3 { 2 } else { 4 })) {
                (_, true) => Value::Virtual(self.base_pages[i] << 12 | offset & 0xfff),
                (0, false) if translated => Value::UserData(offset),
                _ => Value::Data(offset),
            };
        }
        let offset = 2048 + self.rng.below(500) * 8 + if self.misaligned { 1 + self.rng.below(7) } else { 0 };
        x[usize::from(self.atomic)] = match (mode, translated && self.rng.one_in(2)) {
            (_, true) => Value::Virtual(self.rng.below(paging::PAGES as u64) << 12 | offset & 0xfff),
            (0, false) if translated => Value::UserData(offset),
            _ => Value::Data(offset),
        };
        if self.profile != Profile::Compute {
            for (r, legal) in self.legal.into_iter().zip(LEGAL) {
                x[usize::from(r)] = Value::Plain(self.rng.bits() & legal.mask | legal.ones);
            }
        }
        if self.profile == Profile::Privileged {
            x[usize::from(self.table)] = Value::Table;
            x[usize::from(self.entry)] = Value::Entry(paging::random_flags(self.g, self.rng));
        } else if self.profile == Profile::Csr {
            // For pmpcfg: a locked entry would outlive the block; bits 6:5 and W without R are reserved.
            let bytes: [u8; 8] = std::array::from_fn(|_| {
                let byte = self.rng.bits() as u8 & 0x1f;
                if byte & 3 == 2 { byte & !2 } else { byte }
            });
            x[usize::from(self.entry)] = Value::Plain(u64::from_le_bytes(bytes));
            // For mepc and sepc.
            x[usize::from(self.table)] = Value::Plain(self.rng.integer() & !1);
        }
    }

    fn group(&mut self) -> Group {
        match (self.profile, self.rng.below(32)) {
            (Profile::Csr, 0..16) => self.csr_access(),
            (Profile::Privileged, 0..10) => self.memory(),
            (Profile::Privileged, 10..19) => self.privileged(),
            (_, 16..21) => self.memory(),
            (_, 21..23) => self.atomic(),
            (_, 23..26) => self.control_flow(),
            (_, 26) => self.cache_block(),
            (_, 27) => self.fcsr(),
            (_, 28) if self.rng.one_in(3) => self.reserved_word(),
            (_, 29) if self.rng.one_in(3) => self.round(),
            _ => vec![self.plain()],
        }
    }

    /// A register to read: often one that a group wrote.
    fn source(&mut self) -> u8 {
        if self.rng.one_in(2) { self.rng.pick(&self.hot) } else { self.rng.below(32) as u8 }
    }

    /// A register to write; not x0.
    fn target(&mut self) -> u8 {
        if self.rng.one_in(2) {
            return self.rng.pick(&self.hot);
        }
        loop {
            let r = 1 + self.rng.below(31) as u8;
            if !self.reserved.contains(&r) {
                return r;
            }
        }
    }

    /// A word of the row with random operands, most of them hot registers.
    fn random_operands(&mut self, row: &Row) -> Option<(Insn, Word)> {
        let pattern = &row.pattern;
        let mask = if pattern.len == 2 { 0xffff } else { u32::MAX };
        let mut raw = (pattern.bits | self.rng.bits() as u32 & !pattern.mask) & mask;
        for piece in &pattern.pieces {
            let value = match (piece.field, piece.width) {
                (Field::Rm, 3) if !self.rng.one_in(24) => self.rng.pick(&[0, 1, 2, 3, 4, 7, 7, 7]),
                (Field::Rd | Field::Rs1 | Field::Rs2 | Field::Rs3, 5) if self.rng.one_in(2) => {
                    self.rng.pick(&self.hot).into()
                }
                (Field::Rd | Field::Rs1 | Field::Rs2, 3) if self.rng.one_in(2) => u32::from(self.hot[0] - 8),
                _ => continue,
            };
            raw = raw & !piece.mask() | value << piece.lsb;
        }
        // Reserved words and more special rows are other rows' business.
        let insn = self.g.decoder.decode(raw).filter(|insn| std::ptr::eq(insn.row(), row))?;
        Some((insn, Word { raw, len: pattern.len }))
    }

    fn pick_row(&mut self, rows: &[&'static Row]) -> (Insn, Word) {
        loop {
            let row = self.rng.pick(rows);
            if let Some((insn, word)) = self.random_operands(row)
                && !self.reserved.contains(&insn.rd)
            {
                return (insn, word);
            }
        }
    }

    fn plain(&mut self) -> Word {
        self.plain_keeping(0)
    }

    fn plain_keeping(&mut self, r: u8) -> Word {
        let g = self.g;
        loop {
            let (insn, word) = self.pick_row(&g.plain);
            let left_out =
                self.profile == Profile::Privileged && matches!(insn.op, Op::SfenceWInval | Op::SfenceInvalIr);
            if (r == 0 || insn.rd != r) && !left_out {
                return word;
            }
        }
    }

    /// Gives the word's base register; compressed forms reach the first base alone, or sp.
    fn with_base(&mut self, word: Word, base: u8) -> Word {
        let insn = self.g.decoder.decode(word.raw).expect("made by the decoder's table");
        let mut raw = word.raw;
        for piece in insn.row().pattern.pieces.iter().filter(|piece| piece.field == Field::Rs1) {
            let value = if piece.width == 5 { base } else { self.bases[0] - 8 };
            raw = raw & !piece.mask() | u32::from(value) << piece.lsb;
        }
        Word { raw, ..word }
    }

    fn memory(&mut self) -> Group {
        let g = self.g;
        let (_, word) = self.pick_row(&g.memory);
        let base = self.rng.pick(&self.bases);
        vec![self.with_base(word, base)]
    }

    /// FROUND and the store that needs its result.
    fn round(&mut self) -> Group {
        let g = self.g;
        if g.rounds.is_empty() {
            return vec![self.plain()];
        }
        let (insn, word) = self.pick_row(&g.rounds);
        vec![word, store(Op::Fsd, insn.rd, self.rng.pick(&self.bases), self.rng.below(256) as i32 * 8 - 1024)]
    }

    fn cache_block(&mut self) -> Group {
        let g = self.g;
        if g.cache_blocks.is_empty() {
            return self.memory();
        }
        let (_, word) = self.pick_row(&g.cache_blocks);
        let base = self.rng.pick(&self.bases);
        vec![self.with_base(word, base)]
    }

    fn atomic(&mut self) -> Group {
        let g = self.g;
        if !g.amos.is_empty() && (self.misaligned || self.rng.one_in(2)) {
            let (_, word) = self.pick_row(&g.amos);
            let base = self.atomic;
            return vec![self.with_base(word, base)];
        }
        if self.profile != Profile::Compute {
            let op = self.rng.pick(&[Op::LrW, Op::LrD]);
            return vec![word(op, self.target(), self.atomic, 0, 0)];
        }
        let (lr, sc) = self.rng.pick(&[(Op::LrW, Op::ScW), (Op::LrD, Op::ScD)]);
        let (ordering, rd) = (self.rng.below(4) as u8, self.target());
        let atomic = |op: Op, rd: u8, base: u8, rs2: u8| {
            let operands = Operands { rd, rs1: base, rs2, rm: ordering, ..Operands::default() };
            Word { raw: arch::isa::encode(op, &operands).expect("registers fit"), len: 4 }
        };
        let store = atomic(sc, self.target(), self.atomic, self.source());
        match self.rng.below(8) {
            // Without a reservation.
            0 => vec![store],
            // Somewhere else than the reservation, by far more than a reservation set.
            1 => vec![atomic(lr, rd, self.atomic, 0), word(Op::Addi, rd, self.atomic, 0, 1024), {
                let elsewhere = rd;
                atomic(sc, self.target(), elsewhere, self.source())
            }],
            // Twice: the first one ends the reservation.
            2 => vec![atomic(lr, rd, self.atomic, 0), store, store],
            _ => {
                let mut group = vec![atomic(lr, rd, self.atomic, 0)];
                for _ in 0..self.rng.below(4) {
                    group.push(self.constrained());
                }
                group.push(store);
                group
            }
        }
    }

    /// What may stand between LR and SC (unprivileged specification, "Eventual Success of Store-Conditional
    /// Instructions"): base integer instructions that neither touch memory nor jump.
    fn constrained(&mut self) -> Word {
        let op = self.rng.pick(&[Op::Add, Op::Sub, Op::Xor, Op::And, Op::Or, Op::Slt, Op::Addw, Op::Sra]);
        reg(op, self.target(), self.source(), self.source())
    }

    fn control_flow(&mut self) -> Group {
        match self.rng.below(6) {
            0..3 => self.branch(),
            3 => self.jump(),
            4 => self.indirect(),
            _ => self.counted_loop(),
        }
    }

    /// A few instructions and the offsets between them.
    fn body(&mut self, keep: u8) -> (Vec<Word>, Vec<i32>) {
        let words: Vec<_> = (0..1 + self.rng.below(4)).map(|_| self.plain_keeping(keep)).collect();
        let ends = words.iter().scan(0, |end, word| {
            *end += i32::from(word.len);
            Some(*end)
        });
        let ends = ends.collect();
        (words, ends)
    }

    fn branch(&mut self) -> Group {
        let g = self.g;
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        loop {
            let (insn, word) = self.pick_row(&g.branches);
            let operands = Operands { imm: i32::from(word.len) + over, ..Operands::from(&insn) };
            if let Ok(raw) = encode_row(insn.row(), &operands) {
                let mut group = vec![Word { raw, ..word }];
                group.extend(body);
                return group;
            }
        }
    }

    fn jump(&mut self) -> Group {
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        let rd = if self.rng.one_in(3) { 0 } else { self.target() };
        let compressed = rows().iter().find(|row| row.mnemonic == "c.j" && row.available(&self.g.isa));
        let jump = match compressed {
            Some(row) if self.rng.one_in(2) => {
                let operands = Operands { imm: 2 + over, ..Operands::default() };
                Word { raw: encode_row(row, &operands).expect("near"), len: 2 }
            }
            _ => word(Op::Jal, rd, 0, 0, 4 + over),
        };
        let mut group = vec![jump];
        group.extend(body);
        group
    }

    /// A jump through a register, also by way of compressed forms and with bit 0 of the target set.
    fn indirect(&mut self) -> Group {
        let t = self.target();
        let (body, ends) = self.body(0);
        let over = self.rng.pick(&ends);
        let mut group = vec![imm(Op::Auipc, t, 0, 0)];
        let name = self.rng.pick(&["jalr", "jalr", "c.jr", "c.jalr"]);
        match rows().iter().find(|row| row.mnemonic == name && row.pattern.len == 2 && row.available(&self.g.isa)) {
            Some(row) => {
                group.push(imm(Op::Addi, t, t, 4 + 4 + 2 + over));
                let raw = row.pattern.bits | u32::from(t) << 7;
                // x1 is where c.jalr links.
                if name == "c.jalr" && self.reserved.contains(&1) {
                    group.push(word(Op::Jalr, 0, t, 0, 2));
                } else {
                    group.push(Word { raw, len: 2 });
                    group.extend(body);
                    return group;
                }
                group.extend(body);
                group
            }
            None => {
                let rd = if self.rng.one_in(3) { 0 } else { self.target() };
                let odd = self.rng.below(2) as i32;
                group.push(word(Op::Jalr, rd, t, 0, 4 + 4 + over + odd));
                group.extend(body);
                group
            }
        }
    }

    fn counted_loop(&mut self) -> Group {
        let counter = self.target();
        let (body, ends) = self.body(counter);
        let mut group = vec![imm(Op::Addi, counter, 0, 1 + self.rng.below(5) as i32)];
        group.extend(body);
        group.push(imm(Op::Addi, counter, counter, -1));
        let back = ends.last().copied().unwrap_or(0) + 4;
        group.push(word(Op::Bne, 0, counter, 0, -back));
        group
    }

    fn fcsr(&mut self) -> Group {
        let number = self.rng.pick(&[csr::FFLAGS, csr::FRM, csr::FCSR]);
        vec![self.csr_word(number)]
    }

    /// Any of the six instructions on the CSR.
    fn csr_word(&mut self, number: u16) -> Word {
        let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc, Op::Csrrwi, Op::Csrrsi, Op::Csrrci]);
        let rd = if self.rng.one_in(8) { 0 } else { self.target() };
        let rs1 = if self.rng.one_in(4) { 0 } else { self.source() };
        word(op, rd, rs1, 0, number.into())
    }

    /// Reads and writes the CSR with a register that is legal for it.
    fn legal_word(&mut self, number: u16, source: u8) -> Word {
        let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc]);
        word(op, self.target(), source, 0, number.into())
    }

    fn csr_number(&mut self) -> u16 {
        let g = self.g;
        // PMP registers are many and alike.
        loop {
            let number = self.rng.pick(&g.csr_numbers);
            if !matches!(number, csr::PMPADDR0..=csr::PMPADDR63) || self.rng.one_in(6) {
                return number;
            }
        }
    }

    fn csr_access(&mut self) -> Group {
        let number = self.csr_number();
        match number {
            // The handler needs them: exchange and put back.
            csr::MTVEC | csr::MSCRATCH => {
                let rd = self.target();
                let back = self.target();
                vec![word(Op::Csrrw, rd, self.source(), 0, number.into()), word(Op::Csrrw, back, rd, 0, number.into())]
            }
            csr::MEPC | csr::SEPC => vec![self.legal_word(number, self.table)],
            csr::PMPCFG0..=csr::PMPCFG14 => {
                // Clearing bits could leave W without R.
                let op = self.rng.pick(&[Op::Csrrw, Op::Csrrs]);
                vec![word(op, self.target(), self.entry, 0, number.into())]
            }
            _ => vec![self.free_csr_word(number)],
        }
    }

    /// Any instruction on the CSR, with a legal operand if it needs one.
    fn free_csr_word(&mut self, number: u16) -> Word {
        let Some(i) = LEGAL.iter().position(|legal| legal.csrs.contains(&number)) else {
            return self.csr_word(number);
        };
        let ops: &[Op] = if LEGAL[i].clear { &[Op::Csrrw, Op::Csrrs, Op::Csrrc] } else { &[Op::Csrrw, Op::Csrrs] };
        word(self.rng.pick(ops), self.target(), self.legal[i], 0, number.into())
    }

    fn privileged(&mut self) -> Group {
        match self.rng.below(10) {
            0 => vec![word(Op::Ecall, 0, 0, 0, 0)],
            1 => self.return_to_user(),
            2 => self.return_from_trap(),
            3 => {
                let bits = self.rng.pick(&[csr::mstatus::SUM, csr::mstatus::MXR]);
                let t = self.target();
                let op = self.rng.pick(&[Op::Csrrs, Op::Csrrc]);
                vec![imm(Op::Lui, t, 0, bits as i32), word(op, 0, t, 0, csr::SSTATUS.into())]
            }
            4 | 5 if !self.fences_trap => self.change_entry(),
            6 => self.modify_privilege(),
            _ => self.privileged_csr(),
        }
    }

    /// CSR instructions of any mode whose effect cannot keep the block from ending.
    fn privileged_csr(&mut self) -> Group {
        loop {
            let number = self.csr_number();
            match number {
                // These decide where the block's own code and traps are.
                csr::SATP | csr::STVEC | csr::MTVEC | csr::MSCRATCH | csr::MEDELEG | csr::MIDELEG | csr::MSTATUS => {
                    return vec![word(Op::Csrrs, self.target(), 0, 0, number.into())];
                }
                csr::SSTATUS | csr::PMPCFG0..=csr::PMPADDR63 => continue,
                // The table's address is even.
                csr::MEPC | csr::SEPC => return vec![self.legal_word(number, self.table)],
                _ => return vec![self.free_csr_word(number)],
            }
        }
    }

    /// A new entry in the slot's page table, and the fence that makes it seen.
    fn change_entry(&mut self) -> Group {
        let i = self.rng.below(3) as usize;
        let change = store(Op::Sd, self.entry, self.table, self.base_pages[i] as i32 * 8);
        let address = if self.rng.one_in(2) { 0 } else { self.bases[i] };
        vec![change, reg(Op::SfenceVma, 0, address, 0)]
    }

    /// Loads and stores of M-mode with another mode's privilege.
    fn modify_privilege(&mut self) -> Group {
        let t = self.target();
        let mpp = self.rng.pick(&[0, 1, 3]);
        let mut group = vec![
            imm(Op::Lui, t, 0, 0x2000),
            imm(Op::Addi, t, t, -0x800),
            word(Op::Csrrc, 0, t, 0, csr::MSTATUS.into()),
            imm(Op::Lui, t, 0, (csr::mstatus::MPRV | if mpp == 0 { 0 } else { 0x1000 }) as i32),
        ];
        if mpp != 0 {
            group.push(imm(Op::Addi, t, t, if mpp == 1 { -0x800 } else { 0x7ff }));
        }
        group.push(word(Op::Csrrs, 0, t, 0, csr::MSTATUS.into()));
        for _ in 0..1 + self.rng.below(3) {
            group.extend(self.memory());
        }
        group.push(imm(Op::Lui, t, 0, csr::mstatus::MPRV as i32));
        group.push(word(Op::Csrrc, 0, t, 0, csr::MSTATUS.into()));
        group
    }

    /// From M-mode or S-mode to U-mode; U-mode skips over it as illegal.
    fn return_to_user(&mut self) -> Group {
        let (t, u) = self.two_targets();
        let mut group = vec![
            imm(Op::Addi, u, 0, 0x100),
            word(Op::Csrrc, 0, u, 0, csr::SSTATUS.into()),
            imm(Op::Auipc, t, 0, 0),
            imm(Op::Lui, u, 0, (USER_ALIAS - super::guest::RAM) as i32),
            reg(Op::Or, t, t, u),
        ];
        group.push(imm(Op::Addi, t, t, 6 * 4));
        group[5] = imm(Op::Addi, t, t, 6 * 4);
        group.push(csrw(csr::SEPC, t));
        group.push(word(Op::Sret, 0, 0, 0, 0));
        group
    }

    /// MRET or SRET to S-mode.
    fn return_from_trap(&mut self) -> Group {
        let (t, u) = self.two_targets();
        if self.rng.one_in(2) {
            return vec![
                imm(Op::Addi, u, 0, 0x100),
                word(Op::Csrrs, 0, u, 0, csr::SSTATUS.into()),
                imm(Op::Auipc, t, 0, 0),
                imm(Op::Addi, t, t, 4 * 4),
                csrw(csr::SEPC, t),
                word(Op::Sret, 0, 0, 0, 0),
            ];
        }
        vec![
            imm(Op::Lui, u, 0, 0x1000),
            word(Op::Csrrc, 0, u, 0, csr::MSTATUS.into()),
            imm(Op::Lui, u, 0, 0x1000),
            imm(Op::Addi, u, u, -0x800),
            word(Op::Csrrs, 0, u, 0, csr::MSTATUS.into()),
            imm(Op::Auipc, t, 0, 0),
            imm(Op::Addi, t, t, 4 * 4),
            csrw(csr::MEPC, t),
            word(Op::Mret, 0, 0, 0, 0),
        ]
    }

    fn two_targets(&mut self) -> (u8, u8) {
        let t = self.target();
        loop {
            let u = self.target();
            if u != t {
                return (t, u);
            }
        }
    }

    /// A word that means nothing on this hart.
    fn reserved_word(&mut self) -> Group {
        loop {
            let row = self.rng.pick(&self.g.plain);
            let flipped =
                (row.pattern.bits | self.rng.bits() as u32 & !row.pattern.mask) ^ 1 << (2 + self.rng.below(30));
            let len = arch::isa::insn_len(flipped as u16) as u8;
            let raw = if len == 2 { flipped & 0xffff } else { flipped };
            if len <= 4 && self.g.decoder.decode(raw).is_none() {
                return vec![Word { raw, len }];
            }
        }
    }
}
