//! The frame of a program: what M-mode does around each step, and where things are.
//!
//! A step is straight code of its own: it writes the registers and words of memory of its setup, and then enters its
//! body by MRET or SRET. The body ends in an ECALL. Whatever traps goes to M-mode, which
//! writes what it finds and goes on with the next step. Nothing is undone in between: a step finds what those before it
//! left, so that bits that stick are seen.
//!
//! The frame keeps x30 and x31; M-mode uses x1 and x2 besides. Bodies have x5 to x15.

use std::fmt::Write;

use arch::csr::{self, mstatus};
use arch::ext::IsaConfig;
use arch::isa::{Decoder, Op::*};

use crate::differential::asm::{Code, Word, csrr, csrw, imm, reg, store, word};
use crate::differential::guest::{RAM, power_off, silence_timer};

/// M-mode's code and the bodies that run in M-mode. Its size is a power of two, as that of all areas.
pub const MACHINE_CODE: u64 = RAM;
pub const MACHINE_CODE_SIZE: u64 = 0x8_0000;
/// Bodies of the other modes.
pub const BODIES: u64 = RAM + 0x8_0000;
pub const BODIES_SIZE: u64 = 0x8_0000;
/// M-mode's constants and results.
pub const MACHINE_DATA: u64 = RAM + 0x10_0000;
pub const MACHINE_DATA_SIZE: u64 = 0x10_0000;
const RESULTS: u64 = MACHINE_DATA + 0x8_0000;
/// What the steps are about: data and tables of the theme.
pub const TEST: u64 = RAM + 0x20_0000;
pub const TEST_SIZE: u64 = 0x4_0000;
pub const SIZE: usize = (TEST + TEST_SIZE - RAM) as usize;

/// A mode that a body can run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    M,
    S,
    U,
    VS,
    VU,
}

impl Level {
    pub fn is_virtual(self) -> bool {
        matches!(self, Self::VS | Self::VU)
    }
}

/// What M-mode writes before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Csr(u16, u64),
    /// A doubleword at an address.
    Store(u64, u64),
}

/// One thing that is done.
#[derive(Debug, Clone)]
pub struct Step {
    pub setup: Vec<Setup>,
    pub level: Level,
    /// Written last, with the bits that say which mode to enter.
    pub mstatus: u64,
    /// x10 to x13.
    pub x: [u64; 4],
    pub body: Vec<Word>,
    /// What to add to the address of the body for its mode to find it.
    pub alias: u64,
    /// Physical address of a doubleword that is looked at afterwards.
    pub peek: u64,
}

/// Words of a result ahead of the CSRs.
const FIRST_CSR: usize = 5;
const NAMES: [&str; FIRST_CSR] = ["x5", "x6", "x7", "mstatus", "memory"];

/// What a step left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    words: Vec<u64>,
    csrs: Vec<u16>,
}

impl Seen {
    /// x5 to x7.
    pub fn x(&mut self, n: usize) -> &mut u64 {
        &mut self.words[n - 5]
    }

    pub fn mstatus(&mut self) -> &mut u64 {
        &mut self.words[3]
    }

    /// The doubleword that was looked at.
    pub fn memory(&mut self) -> &mut u64 {
        &mut self.words[4]
    }

    pub fn has(&self, number: u16) -> bool {
        self.csrs.contains(&number)
    }

    /// A register that the program looks at.
    pub fn csr(&mut self, number: u16) -> &mut u64 {
        let i = self.csrs.iter().position(|n| *n == number).unwrap_or_else(|| panic!("CSR {number:#x} is not read"));
        &mut self.words[FIRST_CSR + i]
    }

    /// What differs, by name.
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        for (i, (a, b)) in self.words.iter().zip(&other.words).enumerate().filter(|(_, (a, b))| a != b) {
            let name = NAMES.get(i).map_or_else(|| name(self.csrs[i - FIRST_CSR]), |name| (*name).to_owned());
            let _ = writeln!(text, "  {name}: ours {a:#x}, theirs {b:#x}");
        }
        text
    }
}

/// The name of a CSR.
pub fn name(number: u16) -> String {
    csr::by_number(number).map_or_else(|| format!("{number:#x}"), |row| row.name.to_owned())
}

/// A program of steps.
#[derive(Debug, Clone)]
pub struct Program {
    /// What M-mode writes once, in order.
    pub start: Vec<Setup>,
    pub steps: Vec<Step>,
    /// Registers looked at after each step.
    pub read: Vec<u16>,
    /// Doublewords of memory that are not zero at first.
    pub memory: Vec<(u64, u64)>,
}

/// A program in memory.
pub struct Image {
    pub bytes: Vec<u8>,
    /// Where the bodies are.
    pub bodies: Vec<u64>,
}

/// Constants of a step, from where x31 points: where its body is, mstatus, x10 to x13, whether SRET enters it, the
/// address looked at, where the constants of the next step are, and the address of the step's code.
const BODY: i32 = 0;
const MSTATUS: i32 = 8;
const X: i32 = 16;
const GUEST: i32 = 48;
const PEEK: i32 = 56;
const NEXT: i32 = 64;
const CODE: i32 = 72;
const CONSTANTS: usize = 80;

impl Program {
    /// Words of a result.
    fn result(&self) -> usize {
        FIRST_CSR + self.read.len()
    }

    pub fn image(&self) -> Image {
        Builder::new(self).build()
    }

    /// What the step left, from the memory of a machine that ran the program.
    pub fn seen(&self, memory: &[u8], step: usize) -> Seen {
        let at = (RESULTS - RAM) as usize + step * self.result() * 8;
        let words = memory[at..at + self.result() * 8].chunks_exact(8);
        let words = words.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect();
        Seen { words, csrs: self.read.clone() }
    }

    /// The memory that the steps are about.
    pub fn memory<'a>(&self, memory: &'a [u8]) -> &'a [u8] {
        &memory[(TEST - RAM) as usize..(TEST + TEST_SIZE - RAM) as usize]
    }

    /// For a developer to read.
    pub fn listing(&self, isa: &IsaConfig) -> String {
        let decoder = Decoder::new(isa);
        let bodies = self.image().bodies;
        let mut text = String::new();
        let setup = |text: &mut String, what: &Setup| {
            let _ = match what {
                Setup::Csr(number, value) => writeln!(text, "  {} = {value:#x}", name(*number)),
                Setup::Store(at, value) => writeln!(text, "  [{at:#x}] = {value:#x}"),
            };
        };
        let _ = writeln!(text, " at the start:");
        self.start.iter().for_each(|what| setup(&mut text, what));
        for (i, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, " step {i}:");
            step.setup.iter().for_each(|what| setup(&mut text, what));
            let _ = writeln!(text, "  in {:?} with mstatus {:#x} and x10.. {:x?}:", step.level, step.mstatus, step.x);
            let mut at = bodies[i].wrapping_add(step.alias);
            for Word { raw, len } in &step.body {
                let asm = decoder.decode(*raw).map_or_else(|| "(no instruction)".into(), |i| arch::isa::disasm(&i, at));
                let _ = writeln!(text, "    {at:#x}: {raw:0width$x}  {asm}", width = usize::from(*len) * 2);
                at = at.wrapping_add(u64::from(*len));
            }
        }
        text
    }
}

/// Puts a program into memory.
struct Builder<'a> {
    program: &'a Program,
    bytes: Vec<u8>,
    /// Where the next constants go.
    constants: u64,
}

impl<'a> Builder<'a> {
    fn new(program: &'a Program) -> Self {
        Self { program, bytes: vec![0; SIZE], constants: MACHINE_DATA }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - RAM) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn build(mut self) -> Image {
        let steps = &self.program.steps;
        let results = RESULTS + (steps.len() * self.program.result() * 8) as u64;
        assert!(
            results <= MACHINE_DATA + MACHINE_DATA_SIZE,
            "{} steps of {} words",
            steps.len(),
            self.program.result()
        );
        let mut c = Code::default();
        // The first constants are those of the start; each step's follow.
        let first = self.constants + self.program.start.iter().map(|s| constants(s).len() as u64 * 8).sum::<u64>();
        let enter = self.frame(&mut c, first);
        let (mut lower, mut bodies) = (BODIES, Vec::new());
        for step in steps {
            let code = RAM + c.words.len() as u64 * 4;
            let mut offset = CONSTANTS as i32;
            let values: Vec<u64> = step.setup.iter().flat_map(constants).collect();
            step.setup.iter().for_each(|what| write_setup(&mut c, what, &mut offset));
            c.branch(Jal, 0, 0, enter);
            let bytes: Vec<u8> = step.body.iter().flat_map(|word| word.raw.to_le_bytes()).collect();
            assert!(step.body.iter().all(|word| word.len == 4), "bodies are of full-size instructions");
            let body = if step.level == Level::M {
                let at = RAM + c.words.len() as u64 * 4;
                c.extend(step.body.iter().copied().chain([word(Ecall, 0, 0, 0, 0)]));
                at
            } else {
                self.put(lower, &bytes);
                self.put(lower + bytes.len() as u64, &word(Ecall, 0, 0, 0, 0).raw.to_le_bytes());
                lower += bytes.len() as u64 + 4;
                lower - bytes.len() as u64 - 4
            };
            bodies.push(body);
            let next = self.constants + (CONSTANTS + values.len() * 8) as u64;
            let guest = u64::from(by_sret(self.program, step));
            let x = step.x;
            let record = [
                body.wrapping_add(step.alias),
                mstatus_of(self.program, step),
                x[0],
                x[1],
                x[2],
                x[3],
                guest,
                step.peek,
            ];
            let all: Vec<u64> = record.into_iter().chain([next, code]).chain(values).collect();
            self.put(self.constants, &all.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
            self.constants = next;
        }
        let end = RAM + c.words.len() as u64 * 4;
        self.put(self.constants + CODE as u64, &end.to_le_bytes());
        power_off(&mut c);
        let code = c.finish();
        assert!(code.len() as u64 <= MACHINE_CODE_SIZE, "{} bytes of code", code.len());
        assert!(lower <= BODIES + BODIES_SIZE && self.constants + (CONSTANTS as u64) < RESULTS);
        self.put(MACHINE_CODE, &code);
        for (at, value) in &self.program.memory {
            self.put(*at, &value.to_le_bytes());
        }
        Image { bytes: self.bytes, bodies }
    }

    /// The handler, the start and the way into a body, whose label is returned. The constants of the first step are at
    /// `first`.
    fn frame(&mut self, c: &mut Code, first: u64) -> crate::differential::asm::Label {
        let (over, enter) = (c.label(), c.label());
        c.branch(Jal, 0, 0, over);
        // The handler, at the address that mtvec gets.
        c.push(csrr(1, csr::MSTATUS));
        for (i, r) in [5, 6, 7, 1].into_iter().enumerate() {
            c.push(store(Sd, r, 30, i as i32 * 8));
        }
        // MPRV and MDT would be in the way of what follows.
        c.push(csrw(csr::MSTATUS, 0));
        c.push(imm(Ld, 1, 31, PEEK));
        c.push(imm(Ld, 1, 1, 0));
        c.push(store(Sd, 1, 30, 4 * 8));
        for (i, number) in self.program.read.iter().enumerate() {
            c.push(csrr(1, *number));
            c.push(store(Sd, 1, 30, (FIRST_CSR + i) as i32 * 8));
        }
        c.push(imm(Addi, 30, 30, self.program.result() as i32 * 8));
        c.push(imm(Ld, 31, 31, NEXT));
        c.push(imm(Ld, 1, 31, CODE));
        c.push(imm(Jalr, 0, 1, 0));
        c.bind(enter);
        for number in [csr::MCAUSE, csr::MTVAL] {
            c.push(csrw(number, 0));
        }
        c.push(imm(Ld, 1, 31, BODY));
        c.push(csrw(csr::MEPC, 1));
        c.push(csrw(csr::SEPC, 1));
        c.push(reg(SfenceVma, 0, 0, 0));
        for r in 5..16 {
            c.push(imm(Addi, r, 0, 0));
        }
        for i in 0..4 {
            c.push(imm(Ld, 10 + i, 31, X + i32::from(i) * 8));
        }
        c.push(imm(Ld, 1, 31, MSTATUS));
        c.push(imm(Ld, 2, 31, GUEST));
        c.push(csrw(csr::MSTATUS, 1));
        let machine = c.label();
        c.branch(Beq, 2, 0, machine);
        c.push(word(Sret, 0, 0, 0, 0));
        c.bind(machine);
        c.push(word(Mret, 0, 0, 0, 0));
        c.bind(over);
        c.li(1, MACHINE_CODE + 4);
        c.push(csrw(csr::MTVEC, 1));
        c.push(csrw(csr::MSTATUS, 0));
        silence_timer(c, 1, 2);
        c.li(30, RESULTS);
        c.li(31, self.constants);
        let mut offset = 0;
        for what in &self.program.start {
            write_setup(c, what, &mut offset);
            let values = constants(what);
            self.put(self.constants, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
            self.constants += values.len() as u64 * 8;
        }
        c.li(31, first);
        c.push(imm(Ld, 1, 31, CODE));
        c.push(imm(Jalr, 0, 1, 0));
        enter
    }
}

/// The constants that a setup takes.
fn constants(what: &Setup) -> Vec<u64> {
    match *what {
        Setup::Csr(_, value) => vec![value],
        Setup::Store(at, value) => vec![at, value],
    }
}

fn write_setup(c: &mut Code, what: &Setup, offset: &mut i32) {
    c.push(imm(Ld, 1, 31, *offset));
    match *what {
        Setup::Csr(number, _) => c.push(csrw(number, 1)),
        Setup::Store(..) => {
            c.push(imm(Ld, 2, 31, *offset + 8));
            c.push(store(Sd, 2, 1, 0));
        }
    }
    *offset += constants(what).len() as i32 * 8;
}

/// Whether SRET enters the step's mode. MPV of QEMU 10 cannot be written, so if there are guests, all is entered that way
/// but M-mode; hstatus.SPV is the step's to set up.
fn by_sret(program: &Program, step: &Step) -> bool {
    step.level != Level::M && program.steps.iter().any(|step| step.level.is_virtual())
}

/// `mstatus` that enters the step's mode.
fn mstatus_of(program: &Program, step: &Step) -> u64 {
    let supervisor = matches!(step.level, Level::S | Level::VS);
    let machine = 3 << mstatus::MPP_SHIFT;
    let previous = match (by_sret(program, step), step.level) {
        (true, _) => machine | if supervisor { mstatus::SPP } else { 0 },
        (false, Level::M) => machine,
        (false, _) => u64::from(supervisor) << mstatus::MPP_SHIFT,
    };
    step.mstatus & !(mstatus::MPP | mstatus::SPP) | previous | 0xa << mstatus::UXL_SHIFT
}
