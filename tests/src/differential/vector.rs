//! Single vector instructions, each from a state of its own: the program around them, and the states.
//!
//! Random blocks meet few of the combinations of `vtype`, `vl`, `vstart`, rounding mode and corner values that a vector
//! instruction has. Here a case is one instruction and all that it depends on, and a program is some thousand cases: it
//! loads the state, executes the instruction, and writes down what it left behind. A trap is part of the outcome.
//!
//! Not here: loads and stores, whose addresses need a block's memory.

use std::fmt::Write;

use arch::csr;
use arch::ext::{Ext, IsaConfig};
use arch::isa::Op::*;
use arch::isa::{Decoder, Field, Insn, Row, disasm, rows};

use super::asm::{Code, csrr, csrw, imm, reg, store, word};
use super::block::Avoid;
use super::guest::{FINISHER, FINISHER_PASS, RAM};
use super::reference::Reference;
use super::rng::Rng;

/// Scalar operands are in these registers, of which the third is for results.
const SCALARS: [u8; 3] = [10, 11, 12];

/// Words at the start of a record: the state before, then the state after.
const CODE: usize = 0;
const AVL: usize = 1;
const VTYPE: usize = 2;
const VSTART: usize = 3;
const FCSR: usize = 4;
const MSTATUS: usize = 5;
const VCSR: usize = 6;
const X: usize = 7;
const F: usize = 10;
const AFTER: usize = 13;
/// mcause, mstatus, fcsr, vcsr, vl, vtype, vstart, x12, f12.
const AFTER_NAMES: [&str; 9] = ["mcause", "mstatus", "fcsr", "vcsr", "vl", "vtype", "vstart", "x12", "f12"];
const CAUSE: usize = AFTER;
/// The vector registers before and after follow, from a multiple of 64 bytes.
const HEADER: usize = 256;

const CASES_AT: u64 = RAM + 0x10_0000;
const STUBS_AT: u64 = RAM + 0x1000;
/// Cases in a program at most: their code has to end before the records.
pub const MAX_CASES: usize = 2048;

/// An instruction and what it starts from.
#[derive(Debug, Clone)]
pub struct Case {
    pub raw: u32,
    header: [u64; AFTER],
    registers: Vec<u8>,
}

/// What a case left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    state: [u64; AFTER_NAMES.len()],
    registers: Vec<u8>,
}

impl Outcome {
    pub fn trapped(&self) -> bool {
        self.state[0] != 0
    }
}

/// Makes cases for one ISA.
pub struct Cases {
    isa: IsaConfig,
    /// `vstart` is not always zero.
    vstart: bool,
    decoder: Decoder,
    rows: Vec<&'static Row>,
}

/// Rows that can be a case.
fn is_case(row: &Row) -> bool {
    let configuration = matches!(row.op, Vsetvli | Vsetivli | Vsetvl);
    row.mnemonic.starts_with('v') && row.pattern.len == 4 && !row.operands.contains('(') && !configuration
}

impl Cases {
    /// Cases of the rows that `wanted` chooses among those the ISA has, within what the reference does.
    pub fn new(isa: &IsaConfig, avoid: Avoid, wanted: impl Fn(&Row) -> bool) -> Self {
        let rows = rows().iter().filter(|row| row.available(isa) && is_case(row) && wanted(row)).collect();
        Self { isa: isa.clone(), vstart: !avoid.vstart_of_arithmetic, decoder: Decoder::new(isa), rows }
    }

    pub fn isa(&self) -> &IsaConfig {
        &self.isa
    }

    pub fn rows(&self) -> &[&'static Row] {
        &self.rows
    }

    pub fn decode(&self, case: &Case) -> Insn {
        self.decoder.decode(case.raw).expect("made from a row")
    }

    fn vlenb(&self) -> usize {
        self.isa.vlen as usize / 8
    }

    fn record(&self) -> usize {
        HEADER + 64 * self.vlenb()
    }

    /// The case of a seed: rows in turn.
    pub fn case(&self, seed: u64) -> Case {
        let mut rng = Rng::new(seed);
        let row = self.rows[(seed % self.rows.len() as u64) as usize];
        let sew = self.element_width(&mut rng, row);
        let elen_bits = if self.isa.has(Ext::Zve64x) { 64 } else { 32 };
        // Fractions that leave no room for an element of this width, now and then.
        let lowest = if rng.one_in(16) { -3 } else { (sew as i32 + 3 - (elen_bits as u32).ilog2() as i32).max(-3) };
        let lmul = lowest + rng.below((4 - lowest) as u64) as i32;
        let vtype = rng.below(4) << 6 | sew << 3 | (lmul as u64 & 7);
        let vlmax = (self.vlenb() as u64) << (lmul + 3) >> 3 >> sew;
        let (avl, vstart) = length(&mut rng, row, vlmax);
        let raw = self.word(&mut rng, row, lmul);
        let mut header = [0; AFTER];
        (header[AVL], header[VTYPE], header[VSTART]) = (avl, vtype, if self.vstart { vstart } else { 0 });
        let frm = if rng.one_in(24) { 5 + rng.below(3) } else { rng.below(5) };
        header[FCSR] = frm << 5 | if rng.one_in(2) { 0 } else { rng.below(32) };
        let on = |rng: &mut Rng| if rng.one_in(32) { rng.below(3) } else { 3 };
        header[MSTATUS] = on(&mut rng) << csr::mstatus::FS_SHIFT | on(&mut rng) << csr::mstatus::VS.trailing_zeros();
        header[VCSR] = rng.below(8);
        let (mut integers, mut floats) = (rng.related(Rng::integer, &[0]), rng.related(Rng::float, &[0]));
        header[X..X + 3].fill_with(|| integers(&mut rng));
        header[F..F + 3].fill_with(|| floats(&mut rng));
        let registers = self.registers(&mut rng, sew);
        Case { raw, header, registers }
    }

    fn element_width(&self, rng: &mut Rng, row: &Row) -> u64 {
        let name = row.mnemonic;
        let cipher =
            ["vaes", "vsm", "vgh", "vgm"].iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with("vsmul");
        let likely: &[u64] = match name {
            _ if cipher => &[2],
            _ if name.starts_with("vsha2") => &[2, 3],
            _ if name.starts_with("vclmul") => &[3],
            _ if name.contains("bf16") => &[1],
            _ if name.starts_with("vfw") || name.starts_with("vfn") && name.contains("cvt") => &[0, 1, 1, 2, 2],
            _ if name.starts_with("vf") || name.starts_with("vmf") => &[1, 2, 3],
            _ => &[0, 1, 2, 3],
        };
        if rng.one_in(16) { rng.below(4) } else { rng.pick(likely) }
    }

    /// A word of the row. Most of the time its registers are such as LMUL allows.
    fn word(&self, rng: &mut Rng, row: &Row, lmul: i32) -> u32 {
        let wide = ["vfw", "vfn", "vw", "vn"].iter().any(|prefix| row.mnemonic.starts_with(prefix));
        let group = match row.op {
            Vmv1rV => 1,
            Vmv2rV => 2,
            Vmv4rV => 4,
            Vmv8rV => 8,
            _ => 1 << (lmul + i32::from(wide)).clamp(0, 3),
        };
        let is_vector = |name: &str| row.operands.split(',').any(|operand| operand == name);
        loop {
            let mut raw = row.pattern.bits | rng.bits() as u32 & !row.pattern.mask;
            let careless = rng.one_in(8);
            for piece in row.pattern.pieces.iter() {
                let vector = match piece.field {
                    Field::Rd => is_vector("vd"),
                    Field::Rs1 => is_vector("vs1"),
                    Field::Rs2 => is_vector("vs2"),
                    _ => continue,
                };
                let value = match (vector, piece.field) {
                    (true, _) if careless => rng.below(32),
                    (true, _) => rng.below(32 / group) * group,
                    (false, Field::Rd) => SCALARS[2].into(),
                    (false, _) => rng.pick(&SCALARS[..2]).into(),
                };
                raw = raw & !piece.mask() | (value as u32) << piece.lsb;
            }
            if self.decoder.decode(raw).is_some_and(|insn| std::ptr::eq(insn.row(), row)) {
                return raw;
            }
        }
    }

    /// Elements of SEW and of twice SEW, and a mask.
    fn registers(&self, rng: &mut Rng, sew: u64) -> Vec<u8> {
        let vlenb = self.vlenb();
        let mut registers = Vec::with_capacity(32 * vlenb);
        for _ in 0..32 {
            let width = 8 << if rng.one_in(4) { sew + 1 } else { sew };
            let kind = element(rng.below(4), width);
            let mut elements = rng.related(kind, &[0]);
            let end = registers.len() + vlenb;
            while registers.len() < end {
                let value = elements(rng).to_le_bytes();
                registers.extend(&value[..(width as usize / 8).min(8)]);
            }
            registers.truncate(end);
        }
        if rng.one_in(3) {
            let byte = rng.pick(&[0, 0xff, 1, 0x55]);
            registers[..vlenb].fill(byte);
        }
        registers
    }

    /// RAM with a program of `cases`.
    pub fn image(&self, cases: &[Case]) -> Vec<u8> {
        assert!(cases.len() <= MAX_CASES, "{} cases", cases.len());
        let mut memory = vec![0; (CASES_AT - RAM) as usize + cases.len() * self.record()];
        let code = self.program(cases.len());
        assert!(code.len() as u64 <= STUBS_AT - RAM, "{} bytes", code.len());
        memory[..code.len()].copy_from_slice(&code);
        for (i, case) in cases.iter().enumerate() {
            let stub = STUBS_AT + 8 * i as u64;
            let at = (stub - RAM) as usize;
            memory[at..at + 4].copy_from_slice(&case.raw.to_le_bytes());
            memory[at + 4..at + 8].copy_from_slice(&imm(Jalr, 0, 30, 0).raw.to_le_bytes());
            let mut header = case.header;
            header[CODE] = stub;
            let at = (CASES_AT - RAM) as usize + i * self.record();
            for (j, value) in header.iter().enumerate() {
                memory[at + 8 * j..at + 8 * j + 8].copy_from_slice(&value.to_le_bytes());
            }
            memory[at + HEADER..at + HEADER + case.registers.len()].copy_from_slice(&case.registers);
        }
        memory
    }

    pub fn outcome(&self, memory: &[u8], index: usize) -> Outcome {
        let at = (CASES_AT - RAM) as usize + index * self.record();
        let read = |i: usize| u64::from_le_bytes(memory[at + 8 * i..at + 8 * i + 8].try_into().expect("8 bytes"));
        let registers = at + HEADER + 32 * self.vlenb();
        Outcome {
            state: std::array::from_fn(|i| read(AFTER + i)),
            registers: memory[registers..registers + 32 * self.vlenb()].to_vec(),
        }
    }

    /// x31 is the record.
    fn program(&self, cases: usize) -> Vec<u8> {
        let mut c = Code::default();
        let (over, again, back, go) = (c.label(), c.label(), c.label(), c.label());
        c.branch(Jal, 0, 0, over);
        // The trap handler: the instruction is over.
        c.push(csrr(5, csr::MCAUSE));
        c.push(store(Sd, 5, 31, CAUSE as i32 * 8));
        c.branch(Jal, 0, 0, back);
        c.bind(over);
        c.li(5, RAM + 4);
        c.push(csrw(csr::MTVEC, 5));
        c.li(31, CASES_AT);
        c.bind(again);
        c.li(1, CASES_AT + (cases * self.record()) as u64);
        c.branch(Bne, 1, 31, go);
        c.li(1, FINISHER);
        c.li(2, FINISHER_PASS.into());
        c.push(store(Sw, 2, 1, 0));
        let stop = c.label();
        c.bind(stop);
        c.branch(Jal, 0, 0, stop);

        c.bind(go);
        c.li(1, csr::mstatus::FS | csr::mstatus::VS);
        c.push(csrw(csr::MSTATUS, 1));
        c.push(imm(Addi, 2, 31, HEADER as i32));
        self.each_eight(&mut c, Vl8re8V);
        for (i, r) in SCALARS.into_iter().enumerate() {
            c.push(imm(Ld, r, 31, (X + i) as i32 * 8));
            c.push(imm(Fld, r, 31, (F + i) as i32 * 8));
        }
        c.push(imm(Ld, 3, 31, AVL as i32 * 8));
        c.push(imm(Ld, 4, 31, VTYPE as i32 * 8));
        c.push(reg(Vsetvl, 5, 3, 4));
        // mstatus last: it may turn the others off.
        for (number, at) in [(csr::VCSR, VCSR), (csr::FCSR, FCSR), (csr::VSTART, VSTART), (csr::MSTATUS, MSTATUS)] {
            c.push(imm(Ld, 1, 31, at as i32 * 8));
            c.push(csrw(number, 1));
        }
        c.push(imm(Ld, 1, 31, CODE as i32 * 8));
        c.push(imm(Jalr, 30, 1, 0));

        c.bind(back);
        c.push(csrr(5, csr::MSTATUS));
        c.push(store(Sd, 5, 31, (CAUSE + 1) as i32 * 8));
        c.li(1, csr::mstatus::FS | csr::mstatus::VS);
        c.push(csrw(csr::MSTATUS, 1));
        for (i, number) in [csr::FCSR, csr::VCSR, csr::VL, csr::VTYPE, csr::VSTART].into_iter().enumerate() {
            c.push(csrr(5, number));
            c.push(store(Sd, 5, 31, (CAUSE + 2 + i) as i32 * 8));
        }
        c.push(store(Sd, SCALARS[2], 31, (CAUSE + 7) as i32 * 8));
        c.push(store(Fsd, SCALARS[2], 31, (CAUSE + 8) as i32 * 8));
        c.push(csrw(csr::VSTART, 0));
        c.push(imm(Addi, 2, 31, HEADER as i32));
        c.li(3, 32 * self.vlenb() as u64);
        c.push(reg(Add, 2, 2, 3));
        self.each_eight(&mut c, Vs8rV);
        c.li(3, self.record() as u64);
        c.push(reg(Add, 31, 31, 3));
        c.branch(Jal, 0, 0, again);
        c.finish()
    }

    /// Moves all registers, eight at a time, between memory at x2 and the unit. x2 moves on.
    fn each_eight(&self, c: &mut Code, op: arch::isa::Op) {
        c.li(3, 8 * self.vlenb() as u64);
        for first in [0, 8, 16, 24] {
            let mut move_eight = word(op, 0, 2, 0, 0);
            move_eight.raw |= first << 7;
            c.push(move_eight);
            c.push(reg(Add, 2, 2, 3));
        }
    }

    /// The case in words, and where the outcomes differ.
    pub fn report(&self, seed: u64, case: &Case, ours: &Outcome, theirs: &Outcome) -> String {
        let insn = self.decode(case);
        let h = &case.header;
        let mut text = format!(
            "seed {seed}: {}  ({:#010x})\nvlen {}, vtype {:#x} (SEW {}, LMUL 2^{}), avl {}, vstart {}, fcsr {:#x}, vcsr {}, mstatus {:#x}\n",
            disasm(&insn, 0),
            case.raw,
            self.isa.vlen,
            h[VTYPE],
            8 << (h[VTYPE] >> 3 & 7),
            (h[VTYPE] as i8) << 5 >> 5,
            h[AVL],
            h[VSTART],
            h[FCSR],
            h[VCSR],
            h[MSTATUS]
        );
        let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
        line(format!("x10 {:#x}, x11 {:#x}, f10 {:#x}, f11 {:#x}", h[X], h[X + 1], h[F], h[F + 1]));
        for (name, (a, b)) in AFTER_NAMES.iter().zip(ours.state.iter().zip(&theirs.state)) {
            if a != b {
                line(format!("{name}: {a:#x}, reference {b:#x}"));
            }
        }
        let vlenb = self.vlenb();
        let register = |bytes: &[u8], r: usize| -> String {
            bytes[r * vlenb..(r + 1) * vlenb].iter().rev().map(|byte| format!("{byte:02x}")).collect()
        };
        let differ: Vec<usize> = (0..32)
            .filter(|r| ours.registers[r * vlenb..(r + 1) * vlenb] != theirs.registers[r * vlenb..(r + 1) * vlenb])
            .collect();
        for r in &differ {
            line(format!("v{r} ours      {}", register(&ours.registers, *r)));
            line(format!("v{r} reference {}", register(&theirs.registers, *r)));
        }
        let group = 1 << ((h[VTYPE] as i8) << 5 >> 5).max(0);
        let mut shown = std::collections::BTreeSet::from([0]);
        for first in [insn.rd, insn.rs1, insn.rs2].map(usize::from) {
            shown.extend((first..first + group).filter(|r| *r < 32));
        }
        for r in shown {
            line(format!("v{r} before    {}", register(&case.registers, r)));
        }
        text
    }
}

impl Cases {
    /// Whether the instruction reads a register as elements of two widths.
    fn reads_with_two_widths(&self, case: &Case) -> bool {
        let insn = self.decode(case);
        let name = insn.op.name();
        let (sew, lmul) = ((case.header[VTYPE] >> 3 & 7) as i8, (case.header[VTYPE] as i8) << 5 >> 5);
        let suffix = name.rsplit('.').next().unwrap_or_default();
        let has = |operand: &str| insn.row().operands.split(',').any(|name| name == operand);
        let (widening, reduction) = (name.starts_with("vfw") || name.starts_with("vw"), name.contains("red"));
        let accumulates = ["macc", "madd", "msac", "msub"].iter().any(|part| name.contains(part));
        // First register, registers, and log2 of the bytes of an element, or MASK.
        const MASK: i8 = -1;
        let mask = |reg: u8| (usize::from(reg), 1, MASK);
        let group = |reg: u8, eew: i8| (usize::from(reg), 1usize << (lmul + eew - sew).clamp(0, 3), eew);
        let mut sources = Vec::new();
        if has("vs2") {
            let fraction = match suffix {
                "vf2" => 1,
                "vf4" => 2,
                "vf8" => 3,
                _ => 0,
            };
            let wide = i8::from(suffix.starts_with('w'));
            let masks = suffix == "m" || suffix == "mm";
            sources.push(if masks { mask(insn.rs2) } else { group(insn.rs2, sew + wide - fraction) });
        }
        if has("vs1") {
            sources.push(match name {
                "vcompress.vm" => mask(insn.rs1),
                "vrgatherei16.vv" => group(insn.rs1, 1),
                _ if suffix == "mm" => mask(insn.rs1),
                _ if reduction => (insn.rs1.into(), 1, sew + i8::from(widening)),
                _ => group(insn.rs1, sew),
            });
        }
        if accumulates && has("vd") {
            sources.push(group(insn.rd, sew + i8::from(widening)));
        }
        if insn.rm == 0 && has("vm") || has("v0") {
            sources.push(mask(0));
        }
        let overlap = |a: &(usize, usize, i8), b: &(usize, usize, i8)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
        sources.iter().any(|a| sources.iter().any(|b| a.2 != b.2 && overlap(a, b)))
    }
}

/// AVL and `vstart`. Instructions on groups of elements want multiples.
fn length(rng: &mut Rng, row: &Row, vlmax: u64) -> (u64, u64) {
    let multiple = match row.mnemonic {
        name if name.starts_with("vsm3") => 8,
        name if row.pattern.bits & 0x7f == 0x77 && name.starts_with('v') => 4,
        _ => 1,
    };
    let multiple = if rng.one_in(12) { 1 } else { multiple };
    let avl = match rng.below(6) {
        0 => 0,
        1 => 1,
        2 => rng.below(vlmax + 1),
        _ => vlmax,
    };
    let avl = avl.next_multiple_of(multiple).min(vlmax / multiple * multiple);
    let vstart = if rng.one_in(8) { rng.below(avl + 2).next_multiple_of(multiple) } else { 0 };
    (avl, vstart)
}

/// A source of elements of `width` bits.
fn element(kind: u64, width: u64) -> fn(&mut Rng) -> u64 {
    match (kind, width) {
        (0, _) => Rng::integer,
        (_, 16) => |rng| rng.half().into(),
        (_, 32) => |rng| rng.single().into(),
        (_, 64) => Rng::double,
        _ => Rng::bits,
    }
}

/// A difference that is no bug of ours.
pub struct Known {
    /// What differs.
    pub what: &'static str,
    /// What the specification says.
    pub spec: &'static str,
    /// Whose it is.
    pub applies: fn(&Reference) -> bool,
    /// Makes the reference's outcome ours where that is the difference, and says whether it was.
    pub forgive: fn(&Cases, &Case, &Outcome, &mut Outcome) -> bool,
}

/// `field` of mstatus is Dirty here and in the reference as it was before.
fn dirtier(case: &Case, ours: &Outcome, theirs: &mut Outcome, field: u64) -> bool {
    let (a, b) = (ours.state[1], theirs.state[1]);
    let known = ours.state[0] == 0 && a & field == field && b & field == case.header[MSTATUS] & field && b & field != 0;
    if known {
        theirs.state[1] |= field | csr::mstatus::SD;
    }
    known
}

/// All of them.
pub static KNOWN: &[Known] = &[
    Known {
        what: "an unordered reduction without active elements makes the scalar's NaN canonical",
        spec: "V, \"Vector Unordered Single-Width Floating-Point Sum Reduction\": if no elements are active and the scalar \
               input is NaN, implementations are permitted to canonicalize the NaN and, if it is signaling, set the \
               invalid exception flag, or to pass the original NaN through and set no flags",
        applies: Reference::is_spike,
        forgive: |cases, case, ours, theirs| {
            let insn = cases.decode(case);
            let scalar = |r: u8, bytes: &[u8]| bytes[usize::from(r) * cases.vlenb()..][..8].to_vec();
            let kept = scalar(insn.rd, &ours.registers) == scalar(insn.rs1, &case.registers);
            let known = matches!(insn.op, VfredusumVs | VfwredusumVs)
                && (ours.state[0], theirs.state[0]) == (0, 0)
                && ours.state[2] == case.header[FCSR]
                && kept;
            if known {
                theirs.clone_from(ours);
            }
            known
        },
    },
    Known {
        what: "a register is read with two element widths, the mask's included, and no exception is raised",
        spec: "V, \"Vector Operands\": an encoding that would result in the same vector register being read with two or more \
               different EEWs is reserved; a mask register source is considered to have EEW = 1; \
               \"Reserved\" of the conventions with Ssstrict: reserved encodings raise an illegal-instruction exception",
        applies: |r| r.is_spike() || r.qemu().is_some_and(|major| major <= 11),
        forgive: |cases, case, ours, theirs| {
            let reserved = ours.state[0] == 2 && theirs.state[0] == 0 && cases.reads_with_two_widths(case);
            if reserved {
                theirs.clone_from(ours);
            }
            reserved
        },
    },
    Known {
        what: "vector instructions that raise floating-point flags do not make the floating-point state dirty",
        spec: "V, \"Vector Floating-Point Instructions\": any vector floating-point instruction that modifies any \
               floating-point extension state (i.e., floating-point CSRs or f registers) must set mstatus.FS to Dirty; \
               privileged, \"Extension Context Status\": FS may conservatively be set to Dirty, as when the flags were \
               set before",
        applies: |_| true,
        forgive: |_, case, ours, theirs| dirtier(case, ours, theirs, csr::mstatus::FS),
    },
    Known {
        what: "vector floating-point instructions make the floating-point state dirty also when they do not change it",
        spec: "privileged, \"Extension Context Status\": FS may conservatively be set to Dirty; implementations may choose to \
               track the dirtiness imprecisely",
        applies: |r| r.qemu().is_some_and(|major| major >= 11),
        forgive: |_, case, ours, theirs| {
            let (fs, before) = (csr::mstatus::FS, case.header[MSTATUS] & csr::mstatus::FS);
            let known = (ours.state[0], theirs.state[0]) == (0, 0)
                && (ours.state[1] & fs, theirs.state[1] & fs) == (before, fs)
                && before != 0
                && before != fs;
            if known {
                // SD stays as it is here: it is of VS too.
                theirs.state[1] = theirs.state[1] & !(fs | csr::mstatus::SD) | ours.state[1] & (fs | csr::mstatus::SD);
            }
            known
        },
    },
    Known {
        what: "vector instructions that change no vector state do not make it dirty",
        spec: "V, \"Vector Context Status\": implementations may also change mstatus.VS from Initial or Clean to Dirty at any \
               time, even when there is no change in vector state",
        applies: |_| true,
        forgive: |_, case, ours, theirs| dirtier(case, ours, theirs, csr::mstatus::VS),
    },
    Known {
        what: "SHA-2 instructions are illegal where LMUL is a fraction, even if a register group holds a group of elements",
        spec: "vector cryptography, \"Instruction Constraints\": for element-group instructions, LMUL*VLEN must always be \
               at least as large as EGW, otherwise an illegal-instruction exception is raised",
        applies: |r| r.qemu().is_some_and(|major| major <= 10),
        forgive: |cases, case, ours, theirs| {
            let lmul = (case.header[VTYPE] as i8) << 5 >> 5;
            let enough = lmul < 0 && (cases.isa.vlen >> -lmul) >= 4 << (3 + (case.header[VTYPE] >> 3 & 3));
            let sha2 = cases.decode(case).op.name().starts_with("vsha2");
            let known = sha2 && enough && (ours.state[0], theirs.state[0]) == (0, 2);
            if known {
                theirs.clone_from(ours);
            }
            known
        },
    },
    Known {
        what: "a scalar that is not NaN-boxed is the canonical NaN of half precision to VFWMACCBF16.VF",
        spec: "V, \"Vector Arithmetic Instruction Encoding\": when FLEN > SEW, the value in the f register is checked for \
               NaN-boxing, and if it is not boxed the canonical NaN of the operand's width is used; \"Zfbfmin\": that of \
               BF16 is 0x7fc0",
        applies: |r| r.qemu().is_some(),
        forgive: |cases, case, ours, theirs| {
            let insn = cases.decode(case);
            let scalar = case.header[F + usize::from(insn.rs1 - SCALARS[0]) % 3];
            let known = insn.op == Vfwmaccbf16Vf && scalar >> 16 != u64::MAX >> 16 && ours.state[0] == theirs.state[0];
            if known {
                theirs.clone_from(ours);
            }
            known
        },
    },
    Known {
        what: "a scalar moved to element 0 leaves the agnostic tail as it is, even where QEMU is told to write all ones",
        spec: "V, \"Vector Tail Agnostic and Vector Mask Agnostic\": the set of destination elements can retain the value \
               they previously held, or are overwritten with 1s; within a single vector instruction each can be either",
        applies: |r| r.qemu().is_some(),
        forgive: |cases, case, ours, theirs| {
            let insn = cases.decode(case);
            let (start, vlenb) = (usize::from(insn.rd) * cases.vlenb(), cases.vlenb());
            let tail = start + (1 << (case.header[VTYPE] >> 3 & 3)).min(vlenb)..start + vlenb;
            let known = matches!(insn.op, VfmvSF | VmvSX)
                && theirs.registers[tail.clone()] == case.registers[tail.clone()]
                && ours.registers[tail.clone()].iter().all(|byte| *byte == 0xff);
            if known {
                theirs.registers[tail].fill(0xff);
            }
            known
        },
    },
];
