//! The bare-metal program around the blocks: memory layout, dispatcher and trap handler.
//!
//! The dispatcher loads a block's [`Input`] and enters it with `mret`. Every way out of a block is a trap to M-mode:
//! the handler logs it, and either skips the instruction and goes on (if the input's mask says so) or writes the
//! block's results and dispatches the next one. After the last block it powers the machine off through the finisher.
//! Nothing is printed: who ran the program reads its memory.

use arch::csr;
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;

use super::asm::{Code, csrr, csrw, imm, reg, store, word};

pub const RAM: u64 = 0x8000_0000;
pub const RAM_SIZE: u64 = 64 << 20;
/// The device that powers the machine off, and the value that does.
pub const FINISHER: u64 = 0x10_0000;
pub const FINISHER_PASS: u32 = 0x5555;
/// The machine timer's deadline, which is set to never once.
pub const MTIMECMP: u64 = 0x200_4000;

/// Where a trap to S-mode goes: it ends the block with a breakpoint.
pub const SUPERVISOR_HANDLER: u64 = RAM + 0x800;
/// Page tables that all blocks share.
pub const TABLES: u64 = RAM + 0x1000;
/// The blocks' slots; the blocks' code follows.
const SLOTS: u64 = RAM + 0x1_0000;

/// U-mode sees physical memory here, if it is translated.
pub const USER_ALIAS: u64 = 0xc000_0000;

/// The blocks' own memory: two pages of data, then a page table, then the records of the block's input and result.
pub const SLOT: u64 = 0x4000;
pub const SLOT_TABLE: u64 = 0x2000;
const SLOT_RECORDS: u64 = 0x3000;
pub const SLOT_DATA: usize = 0x2000;
/// Where a block's private virtual pages are: 2 MiB a slot.
pub const VIRTUAL: u64 = 0x1_0000_0000;
pub const VIRTUAL_SLOT: u64 = 2 << 20;
/// Their tables hold this many slots.
pub const MAX_BLOCKS: usize = 4 * 512;

/// Traps a block may log.
pub const LOG: usize = 16;
const LOG_ENTRY: usize = 4;

/// A record of 64-bit words, and where its parts start.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub x: usize,
    pub f: usize,
    pub csrs: usize,
    pub log: usize,
    words: usize,
}

const LOG_AT: i32 = 0;
const CONTINUE: i32 = 1;
const LOG_END: i32 = 2;
const NEXT: i32 = 3;

impl Record {
    fn new(csrs: usize) -> Self {
        let csr = 4 + 64;
        let log = csr + csrs;
        let words = (log + LOG * LOG_ENTRY).next_multiple_of(8);
        assert!(2 * words as u64 * 8 <= SLOT - SLOT_RECORDS, "two records of {words} words");
        Self { x: 4, f: 4 + 32, csrs: csr, log, words }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.words as u64 * 8
    }
}

/// State that a block starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub pc: u64,
    /// `x[0]` is not used.
    pub x: [u64; 32],
    pub f: [u64; 32],
    /// In the order of [`Guest::csrs`].
    pub csrs: Vec<u64>,
    /// Bit n: go on after a trap with cause n.
    pub skip: u64,
}

/// What a block left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub x: Vec<u64>,
    pub f: Vec<u64>,
    pub csrs: Vec<u64>,
    /// mcause, mepc, mtval, mstatus.
    pub log: Vec<[u64; 4]>,
}

/// The program for harts with a given ISA.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The registers set before and read after each block.
    pub csrs: Vec<u16>,
    pub record: Record,
}

impl Guest {
    pub fn new(isa: &IsaConfig) -> Self {
        // FCSR is read while mstatus.FS is forced on; mstatus itself comes from the log.
        let mut csrs = vec![
            csr::FCSR,
            csr::MEDELEG,
            csr::MIDELEG,
            csr::MIE,
            csr::MIP,
            csr::MCOUNTEREN,
            csr::MENVCFG,
            csr::MCOUNTINHIBIT,
            csr::STVEC,
            csr::SCOUNTEREN,
            csr::SENVCFG,
            csr::SSCRATCH,
            csr::SEPC,
            csr::SCAUSE,
            csr::STVAL,
            csr::SATP,
            csr::PMPCFG0,
            csr::PMPCFG2,
        ];
        csrs.extend(csr::PMPADDR0..csr::PMPADDR16);
        if isa.has(Ext::Sstc) {
            csrs.push(csr::STIMECMP);
        }
        // Last, so that no trap can change it between here and `mret`.
        csrs.push(csr::MSTATUS);
        let record = Record::new(csrs.len());
        Self { csrs, record }
    }

    pub fn csr_index(&self, number: u16) -> usize {
        self.csrs.iter().position(|n| *n == number).unwrap_or_else(|| panic!("CSR {number:#x} is not in the record"))
    }

    pub fn input_at(&self, block: usize) -> u64 {
        Self::slot_at(block) + SLOT_RECORDS
    }

    pub fn result_at(&self, block: usize) -> u64 {
        self.input_at(block) + self.record.size()
    }

    /// Address of the block's slot; that of a block that there is not is where the code of the others begins.
    pub fn slot_at(block: usize) -> u64 {
        SLOTS + block as u64 * SLOT
    }

    /// An input record.
    pub fn input_bytes(&self, block: usize, input: &Input) -> Vec<u8> {
        let r = &self.record;
        let mut words = vec![0u64; r.words];
        words[0] = self.result_at(block);
        words[1] = input.pc;
        words[r.x..r.x + 32].copy_from_slice(&input.x);
        words[r.f..r.f + 32].copy_from_slice(&input.f);
        words[r.csrs..r.log].copy_from_slice(&input.csrs);
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// The result record as it is before the block ran: the handler's own variables.
    pub fn result_bytes(&self, block: usize, input: &Input) -> Vec<u8> {
        let mut words = vec![0u64; self.record.words];
        let log = self.result_at(block) + self.record.log as u64 * 8;
        words[LOG_AT as usize] = log;
        words[CONTINUE as usize] = input.skip;
        words[LOG_END as usize] = log + (LOG * LOG_ENTRY * 8) as u64;
        words[NEXT as usize] = self.input_at(block + 1);
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    pub fn outcome(&self, block: usize, memory: &[u8]) -> Outcome {
        let start = (self.result_at(block) - RAM) as usize;
        let words: Vec<u64> = memory[start..start + self.record.words * 8]
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
            .collect();
        let r = &self.record;
        let log_start = self.result_at(block) + r.log as u64 * 8;
        let logged = (words[LOG_AT as usize].wrapping_sub(log_start) / (LOG_ENTRY as u64 * 8)).min(LOG as u64) as usize;
        Outcome {
            x: words[r.x..r.x + 32].to_vec(),
            f: words[r.f..r.f + 32].to_vec(),
            csrs: words[r.csrs..r.log].to_vec(),
            log: words[r.log..r.log + logged * LOG_ENTRY]
                .chunks_exact(LOG_ENTRY)
                .map(|entry| [entry[0], entry[1], entry[2], entry[3]])
                .collect(),
        }
    }

    /// The code at the start of RAM, for `blocks` blocks.
    pub fn code(&self, blocks: usize) -> Vec<u8> {
        let mut c = Code::default();
        let next = c.label();
        set_handler(&mut c, |c| self.handler(c, next));
        silence_timer(&mut c, 5, 6);
        c.li(31, self.input_at(0));
        c.bind(next);
        self.dispatcher(&mut c, blocks);
        let code = c.finish();
        assert!(code.len() as u64 <= SUPERVISOR_HANDLER - RAM, "{} bytes", code.len());
        code
    }

    /// x31 is the input.
    fn dispatcher(&self, c: &mut Code, blocks: usize) {
        let r = &self.record;
        let go = c.label();
        c.li(1, self.input_at(blocks));
        c.branch(Bne, 1, 31, go);
        power_off(c);

        c.bind(go);
        c.push(imm(Ld, 1, 31, 0));
        c.push(csrw(csr::MSCRATCH, 1));
        c.li(1, csr::mstatus::FS);
        c.push(csrw(csr::MSTATUS, 1));
        for i in 0..32 {
            c.push(imm(Fld, i, 31, (r.f as i32 + i32::from(i)) * 8));
        }
        for (i, number) in self.csrs.iter().enumerate() {
            c.push(imm(Ld, 1, 31, (r.csrs + i) as i32 * 8));
            c.push(csrw(*number, 1));
        }
        c.push(imm(Ld, 1, 31, 8));
        c.push(csrw(csr::MEPC, 1));
        c.push(csrw(csr::MCAUSE, 0));
        c.push(csrw(csr::MTVAL, 0));
        // Neither an old reservation nor an old translation is part of the block's input.
        c.push(reg(ScD, 1, 31, 1));
        c.push(reg(SfenceVma, 0, 0, 0));
        for i in 1..32 {
            c.push(imm(Ld, i, 31, (r.x as i32 + i32::from(i)) * 8));
        }
        c.push(word(Mret, 0, 0, 0, 0));
    }

    /// Entered with the result record in mscratch.
    fn handler(&self, c: &mut Code, next: super::asm::Label) {
        let r = &self.record;
        let x = |i: u8| (r.x as i32 + i32::from(i)) * 8;
        c.push(word(Csrrw, 31, 31, 0, csr::MSCRATCH.into()));
        // A block may leave MPRV set; what follows is about physical addresses.
        c.push(store(Sd, 1, 31, x(1)));
        c.push(csrr(1, csr::MSCRATCH));
        c.push(store(Sd, 1, 31, x(31)));
        c.push(csrw(csr::MSCRATCH, 31));
        for i in 2..31 {
            c.push(store(Sd, i, 31, x(i)));
        }
        c.push(imm(Ld, 5, 31, LOG_AT * 8));
        for (i, number) in [csr::MCAUSE, csr::MEPC, csr::MTVAL, csr::MSTATUS].into_iter().enumerate() {
            c.push(csrr(6 + i as u8, number));
            c.push(store(Sd, 6 + i as u8, 5, i as i32 * 8));
        }
        c.push(imm(Addi, 5, 5, LOG_ENTRY as i32 * 8));
        c.push(store(Sd, 5, 31, LOG_AT * 8));

        let end = c.label();
        c.branch(Blt, 6, 0, end);
        c.push(imm(Ld, 10, 31, CONTINUE * 8));
        c.push(reg(Srl, 10, 10, 6));
        c.push(imm(Andi, 10, 10, 1));
        c.branch(Beq, 10, 0, end);
        c.push(imm(Ld, 10, 31, LOG_END * 8));
        c.branch(Bgeu, 5, 10, end);
        // Skip the instruction at mepc. All code lies in the lower half of 0x8000_0000.., wherever its alias is.
        c.push(imm(Slli, 11, 7, 36));
        c.push(imm(Srli, 11, 11, 36));
        c.li(12, RAM);
        c.push(reg(Or, 11, 11, 12));
        c.push(imm(Lhu, 11, 11, 0));
        c.push(imm(Andi, 11, 11, 3));
        c.push(imm(Sltiu, 11, 11, 3));
        c.push(imm(Slli, 11, 11, 1));
        c.push(imm(Addi, 7, 7, 4));
        c.push(reg(Sub, 7, 7, 11));
        c.push(csrw(csr::MEPC, 7));
        // Logged, and with known differences: not for the block to read.
        c.push(csrw(csr::MCAUSE, 0));
        c.push(csrw(csr::MTVAL, 0));
        for i in 1..32 {
            if i != 31 {
                c.push(imm(Ld, i, 31, x(i)));
            }
        }
        c.push(imm(Ld, 31, 31, x(31)));
        c.push(word(Mret, 0, 0, 0, 0));

        c.bind(end);
        c.li(1, csr::mstatus::FS);
        c.push(word(Csrrs, 0, 1, 0, csr::MSTATUS.into()));
        for i in 0..32 {
            c.push(store(Fsd, i, 31, (r.f as i32 + i32::from(i)) * 8));
        }
        for (i, number) in self.csrs.iter().enumerate() {
            c.push(csrr(1, *number));
            c.push(store(Sd, 1, 31, (r.csrs + i) as i32 * 8));
        }
        c.push(imm(Ld, 31, 31, NEXT * 8));
        c.branch(Jal, 0, 0, next);
    }
}

/// The start of a program: jumps over the trap handler that `write` appends, and makes mtvec lead to it. Takes x5.
pub fn set_handler(c: &mut Code, write: impl FnOnce(&mut Code)) {
    assert!(c.words.is_empty(), "mtvec wants it aligned to 4");
    let over = c.label();
    c.branch(Jal, 0, 0, over);
    write(c);
    c.bind(over);
    // The handler's address, from that of the `auipc`.
    c.push(imm(Auipc, 5, 0, 0));
    let back = (c.words.len() as i32 - 2) * 4;
    c.push(imm(Addi, 5, 5, -back));
    c.push(csrw(csr::MTVEC, 5));
}

/// The timer of QEMU's board is pending out of reset. Takes two registers.
pub fn silence_timer(c: &mut Code, address: u8, value: u8) {
    c.li(address, MTIMECMP);
    c.push(imm(Addi, value, 0, -1));
    c.push(store(Sd, value, address, 0));
}

/// The end of a program: nothing is executed behind it. Takes x1 and x2.
pub fn power_off(c: &mut Code) {
    c.li(1, FINISHER);
    c.li(2, FINISHER_PASS.into());
    c.push(store(Sw, 2, 1, 0));
    let stop = c.label();
    c.bind(stop);
    c.branch(Jal, 0, 0, stop);
}
