//! Random blocks: what they start from and which instructions they hold.
//!
//! Instructions come from the table's rows with random operands; what would leave the block, never end or touch
//! memory outside the block's slot is built as a group of instructions instead. A group can be left out of a block
//! without a change to the others, which is how a failing block is made small.
//!
//! [`Family`] says which instructions need what care; a file here makes the groups of one or a few families.

mod csrs;
mod family;
mod flow;
mod left_out;
mod memory;
mod privileged;
mod state;
mod vector;

pub use family::Family;
pub use left_out::LEFT_OUT;

use arch::csr;
use arch::ext::{Ext, IsaConfig};
use arch::isa::{Decoder, Field, Insn, Op, Row, rows};

use super::asm::{Word, word};
use super::guest::{Guest, SLOT_DATA};
use super::paging;
use super::rng::{BOX, HALF_BOX, Rng};
use csrs::LEGAL;

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Computation, memory and control flow in M-mode.
    Compute,
    /// CSR instructions in M-mode among the rest.
    Csr,
    /// Any mode, with translation, faults, delegation and returns from traps.
    Privileged,
    /// Vectors, in M-mode or under translation.
    Vector,
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

/// Makes blocks for one ISA.
pub struct Generator {
    isa: IsaConfig,
    decoder: Decoder,
    guest: Guest,
    /// By family.
    rows: [Vec<&'static Row>; Family::COUNT],
    csr_numbers: Vec<u16>,
    /// The accessed and dirty bits of entries may be clear: the reference can be told what to do then.
    pub clear_accessed: bool,
    avoid: Avoid,
}

/// What blocks leave alone because of one reference: see [`LEFT_OUT`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Avoid {
    /// Whole vector registers at addresses that are not of doublewords.
    pub unaligned_whole_registers: bool,
    pub misaligned_atomics: bool,
    /// Vector instructions other than loads and stores while `vstart` is not zero.
    pub vstart_of_arithmetic: bool,
    /// Management of cache blocks where nothing may be.
    pub unmapped_management: bool,
    /// Unordered sums of floating-point numbers.
    pub unordered_sums: bool,
    /// Writes of `misa`.
    pub misa: bool,
    /// FIOM in the environment configurations.
    pub fiom: bool,
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
    /// The vector configuration at this point.
    config: vector::Config,
}

impl Generator {
    pub fn new(isa: &IsaConfig, clear_accessed: bool, avoid: Avoid) -> Self {
        let mut families: [Vec<&'static Row>; Family::COUNT] = Default::default();
        for row in rows().iter().filter(|row| row.available(isa)) {
            families[Family::of(row.op) as usize].push(row);
        }
        let csr_numbers = (0..1 << 12)
            .filter(|number| csrs::is_accessed(*number))
            .filter(|number| csr::by_number(*number).is_some_and(|csr| csr.available(isa)))
            .collect();
        Self {
            decoder: Decoder::new(isa),
            guest: Guest::new(isa),
            rows: families,
            csr_numbers,
            clear_accessed,
            avoid,
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

    /// The rows of a family that the hart has.
    pub fn rows(&self, family: Family) -> &[&'static Row] {
        &self.rows[family as usize]
    }

    /// Rows that blocks are made of.
    pub fn row_count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum::<usize>() - self.rows(Family::Special).len()
    }

    /// The block of a seed.
    pub fn block(&self, profile: Profile, seed: u64) -> Block {
        let mut rng = Rng::new(seed);
        let mut x = [Value::Plain(0); 32];
        let mut integers = rng.related(Rng::integer, &[0]);
        for value in &mut x[1..] {
            *value = Value::Plain(integers(&mut rng));
        }
        let mut floats = rng.related(Rng::float, &[0, BOX, HALF_BOX]);
        let f = std::array::from_fn(|_| floats(&mut rng));
        let mut data: Vec<u8> = (0..SLOT_DATA / 8).flat_map(|_| rng.word().to_le_bytes()).collect();
        if profile == Profile::Vector {
            let elements = vector::elements(&mut rng, SLOT_DATA / 2);
            data.splice(SLOT_DATA / 2.., elements);
        }
        let mut state = self.state(&mut rng, profile);
        let (groups, skip) = {
            let mut draft = Draft::new(self, &mut rng, profile, state.fences_trap);
            draft.addresses(&mut x, state.mode, state.translated);
            let groups = if profile == Profile::Vector {
                draft.vector_addresses(&mut x, state.translated);
                draft.vector_groups()
            } else {
                let count = 4 + draft.rng.below(28);
                (0..count).map(|_| draft.group()).collect()
            };
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
            pages: if matches!(profile, Profile::Privileged | Profile::Vector) {
                paging::random_pages(self, &mut rng)
            } else {
                Vec::new()
            },
            data,
        }
    }
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
        let misaligned =
            !matches!(profile, Profile::Privileged | Profile::Vector) && rng.one_in(16) && !g.avoid.misaligned_atomics;
        let config = vector::Config::default();
        Self {
            g,
            rng,
            profile,
            hot,
            bases,
            atomic,
            fences_trap,
            misaligned,
            reserved,
            table,
            entry,
            legal,
            base_pages,
            config,
        }
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
        // Mostly aligned for 16 bytes; the reference raises another exception where they are not.
        let halves = self.profile != Profile::Privileged && self.rng.one_in(4);
        let unit = if halves && !self.g.avoid.misaligned_atomics { 8 } else { 16 };
        let offset = 2048 + self.rng.below(4000 / unit) * unit;
        let offset = offset + if self.misaligned { 1 + self.rng.below(15) } else { 0 };
        x[usize::from(self.atomic)] = match (mode, translated && self.rng.one_in(2)) {
            (_, true) => Value::Virtual(self.rng.below(paging::PAGES as u64) << 12 | offset & 0xfff),
            (0, false) if translated => Value::UserData(offset),
            _ => Value::Data(offset),
        };
        if self.profile != Profile::Compute {
            for (r, legal) in self.legal.into_iter().zip(LEGAL) {
                let fiom = u64::from(self.g.avoid.fiom && legal.is_environment());
                x[usize::from(r)] = Value::Plain(self.rng.bits() & legal.mask & !fiom | legal.ones);
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
            (_, 30) if self.rng.one_in(6) => self.boxed(),
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
        for piece in pattern.pieces.iter() {
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

    fn has(&self, family: Family) -> bool {
        !self.g.rows(family).is_empty()
    }

    /// A word of a family that the hart has, which writes to no reserved register.
    fn pick_row(&mut self, family: Family) -> (Insn, Word) {
        let g = self.g;
        loop {
            let row = self.rng.pick(g.rows(family));
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
        loop {
            let (insn, word) = self.pick_row(Family::Plain);
            let left_out =
                self.profile == Profile::Privileged && matches!(insn.op, Op::SfenceWInval | Op::SfenceInvalIr);
            if (r == 0 || insn.rd != r) && !left_out {
                return word;
            }
        }
    }

    /// A conversion of a 16-bit number, behind a move that puts one into its box.
    fn boxed(&mut self) -> Group {
        if !self.has(Family::Boxed) {
            return vec![self.plain()];
        }
        let (insn, convert) = self.pick_row(Family::Boxed);
        vec![word(Op::FmvHX, insn.rs1, self.source(), 0, 0), convert]
    }

    /// A word that means nothing on this hart.
    fn reserved_word(&mut self) -> Group {
        loop {
            let row = self.rng.pick(self.g.rows(Family::Plain));
            let flipped =
                (row.pattern.bits | self.rng.bits() as u32 & !row.pattern.mask) ^ 1 << (2 + self.rng.below(30));
            let len = arch::isa::insn_len(flipped as u16) as u8;
            let raw = if len == 2 { flipped & 0xffff } else { flipped };
            // Of the operations 6 and 7 of AMO: see LEFT_OUT.
            let ordered = self.g.isa().has(Ext::Zalasr) && raw & 0x7f == 0x2f && raw >> 28 == 3;
            if len <= 4 && !ordered && self.g.decoder.decode(raw).is_none() {
                return vec![Word { raw, len }];
            }
        }
    }
}
