//! What host code guest instructions become, kept in `pinned/*.txt`, so that a change of its quality shows in review.
//!
//! `VIREO_BLESS=1 cargo test -p accel pinned` writes the files anew. Each case is a block; what leaves it is only shown in
//! `flow.txt` and `system.txt`. Paths that are rarely taken are counted, not shown. Memory of
//! the hart is called by its name, host registers are the map of [`super`].

use std::fmt::Write;
use std::path::PathBuf;

use arch::isa::{Decoder, Op as G, Operands, disasm, encode};
use iced_x86::{
    DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind, Register, SymbolResolver, SymbolResult,
};

use super::emit_mem::upper;
use super::*;
use crate::tcg::hart::BlockMode;
use crate::tcg::helpers::vector::VectorUnit;
use crate::tcg::ir::fold::fold;
use crate::tcg::ir::{Builder, TEMPS};
use crate::tcg::mmu::tlb::Tables;
use crate::tcg::observe::Mark;
use crate::tcg::translate;

/// How many harts the machine has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harts {
    One,
    Several,
}

/// A block of the file: its instructions.
type Case = Vec<u32>;

fn put(op: G, operands: Operands) -> u32 {
    encode(op, &operands).unwrap_or_else(|e| panic!("{e}"))
}

/// `op rd, rs1, rs2`; memory operands of atomics are rs1.
fn r(op: G, rd: u8, rs1: u8, rs2: u8) -> Case {
    vec![put(op, Operands { rd, rs1, rs2, rm: 0, ..Operands::default() })]
}

/// A floating-point operation by `frm`.
fn f(op: G, rd: u8, rs1: u8, rs2: u8) -> Case {
    vec![put(op, Operands { rd, rs1, rs2, rm: 7, ..Operands::default() })]
}

/// `op rd, rs1, imm` and loads.
fn i(op: G, rd: u8, rs1: u8, imm: i32) -> Case {
    vec![put(op, Operands { rd, rs1, imm, ..Operands::default() })]
}

/// Stores and branches.
fn s(op: G, rs2: u8, rs1: u8, imm: i32) -> Case {
    vec![put(op, Operands { rs1, rs2, imm, ..Operands::default() })]
}

/// An unmasked vector operation.
fn v(op: G, rd: u8, rs1: u8, rs2: u8) -> Case {
    vec![put(op, Operands { rd, rs1, rs2, rm: 1, ..Operands::default() })]
}

fn run(cases: &[Case]) -> Case {
    cases.concat()
}

/// What the displacement of a memory operand stands for.
struct Names {
    thunks: Vec<(String, u64, usize)>,
}

impl Names {
    fn of_hart(disp: i32) -> Option<String> {
        let indexed = |name: &str, first: Mem, count: i32| {
            let n = (disp - first.disp) / 8;
            (disp >= first.disp && n < count && (disp - first.disp) % 8 == 0).then(|| format!("{name}{n}"))
        };
        let fields = [
            (RETIRED, "retired"),
            (CUR, "cur"),
            (FP_MISSING, "fp_missing"),
            (EXIT, "exit"),
            (LINK, "link"),
            (PC, "pc"),
            (PAGE_BASE, "page_base"),
            (MXCSR, "mxcsr"),
            (HOST_MXCSR, "host_mxcsr"),
            (TABLES_FIELD, "tables"),
            (RES_ADDR, "res_addr"),
            (RES_VALUE, "res_value"),
            (RES_LEFT, "res_left"),
            (RES_EXACT, "res_exact"),
            (EXACT_LRS, "exact_lrs"),
            (PACE_AT, "pace_at"),
            (PACE_SEEN, "pace_seen"),
            (FENCES_I, "stats.fence_i"),
            (POLL, "poll"),
        ];
        let field = fields.iter().find(|(m, _)| m.disp == disp).map(|(_, name)| (*name).to_owned());
        field
            .or_else(|| indexed("x", x_slot(0), 32))
            .or_else(|| indexed("f", f_slot(0), 32))
            .or_else(|| indexed("high.f", upper(f_slot(0)), 32))
            .or_else(|| indexed("t", t_slot(0), TEMPS as i32))
    }

    fn of_tables(disp: i32) -> Option<String> {
        let name = |field: usize, name: &str| match disp as usize - field {
            0 => Some(format!("{name}.tag")),
            8 => Some(format!("{name}.to")),
            _ => None,
        };
        let mut at = [
            (offset_of!(Tables, read), "read"),
            (offset_of!(Tables, write), "write"),
            (offset_of!(Tables, jump), "jump"),
        ];
        at.sort_by_key(|(field, _)| *field);
        let (field, stem) = at.into_iter().rfind(|(field, _)| *field <= disp as usize)?;
        name(field, stem)
    }
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        insn: &Instruction,
        _: u32,
        operand: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        if operand.is_some_and(|n| !matches!(insn.op_kind(n), OpKind::Memory | OpKind::NearBranch64)) {
            return None;
        }
        let name = match insn.memory_base() {
            Register::RBP => Self::of_hart(address as i32)?,
            Register::R15 if address != 0 || insn.memory_index() != Register::None => Self::of_tables(address as i32)?,
            Register::None => self.thunks.iter().find(|(_, at, _)| *at == address).map(|(name, ..)| name.clone())?,
            _ => return None,
        };
        Some(SymbolResult::with_string(address, name))
    }
}

/// A backend whose code does not depend on the host it is made on.
fn pinned_backend(code: &mut CodeCache, isa: &arch::ext::IsaConfig) -> Backend {
    let mut backend = Backend::new(code, true, VectorUnit::of(isa), HostSimd::Avx512).expect("there is a backend");
    backend.features = Features::PINNED;
    backend.keep_marks(true);
    backend
}

/// Text of the blocks of `cases`; `leaving`: with what leaves them.
fn listing(cases: &[Case], leaving: bool, harts: Harts) -> String {
    let isa = arch::model::parse("max").expect("the model exists");
    let decoder = Decoder::new(&isa);
    let mut out = String::new();
    for case in cases {
        // Every one on its own: links and slots of others do not show.
        let mut code = CodeCache::new(1 << 18).expect("a code cache");
        let mut backend = pinned_backend(&mut code, &isa);
        backend.smp = harts == Harts::Several;
        let mut names = Names { thunks: backend.thunks() };
        let mut b = Builder::new(&isa);
        // Its code is what leaves the block, or else the block is no single instruction, which would be a special case.
        let nop = put(G::Addi, Operands::default());
        let before = usize::from(leaving);
        let mut words = case.clone();
        words.insert(if leaving { 0 } else { case.len() }, nop);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let source = translate::Source {
            bytes: &bytes,
            page: 0x8000_0000,
            start: 0x100,
            next_page: None,
            mode: BlockMode(1),
            stops: &[],
            traced: false,
        };
        translate::translate(&mut b, &decoder, &source, words.len() as u16).expect("no page is crossed");
        fold(&mut b.block, |to| to == 0x100);
        let base = code.arena.cursor();
        let host = backend.compile(&b.block, false, &mut code).to_vec();
        let marks = backend.marks();
        let cold_at = marks.iter().find(|m| m.guest == Mark::COLD).map_or(host.len(), |m| m.host as usize);
        let mut seen = 0;
        for (n, word) in case.iter().enumerate() {
            let Some(mark) = marks.get(n + before).filter(|m| m.guest != Mark::COLD) else { break };
            let end = marks.get(n + before + 1).map_or(cold_at, |m| m.host as usize);
            let at = mark.host as usize;
            let lines = disassemble(&host[at..end], base + at as u64, base, cold_at, &mut names);
            let text = decoder.decode(*word).map_or("illegal".into(), |i| disasm(&i, 0x100 + 4 * (n + before) as u64));
            let count = lines.len();
            let _ = writeln!(out, "{:<44}; {count} instructions, {} bytes", text.replace('\t', " "), end - at);
            lines.iter().for_each(|line| {
                let _ = writeln!(out, "    {line}");
            });
            seen = end;
        }
        let rest = if leaving { seen.max(cold_at) } else { cold_at };
        let cold = disassemble(&host[rest..], base + rest as u64, base, cold_at, &mut names).len();
        let _ = writeln!(out, "    ; rarely run: {cold} instructions\n");
    }
    out
}

/// A line an instruction. Targets of jumps that are no thunk are offsets in the block.
fn disassemble(bytes: &[u8], at: u64, base: u64, cold_at: usize, names: &mut Names) -> Vec<String> {
    let thunks = names.thunks.clone();
    let mut formatter = IntelFormatter::with_options(Some(Box::new(Names { thunks })), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_rip_relative_addresses(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    let mut lines = Vec::new();
    let mut decoder = iced_x86::Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        let mut line = String::new();
        let target = insn.near_branch_target();
        let in_block = matches!(insn.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
            && target >= base;
        if in_block {
            let offset = (target - base) as usize;
            let to = match offset {
                0 => "start".into(),
                o if o >= cold_at => "cold".into(),
                o => match o.checked_sub((at - base) as usize) {
                    Some(ahead) => format!("+{ahead:#x}"),
                    None => "back".into(),
                },
            };
            let _ = write!(line, "{} {to}", format!("{:?}", insn.mnemonic()).to_lowercase());
        } else {
            formatter.format(&insn, &mut line);
        }
        // Words behind the call that it does not return to.
        let words = match line.strip_prefix("call thunk-") {
            Some("link" | "load-at" | "store-at") => 1,
            Some("hot") => 2,
            _ => 0,
        };
        let position = (decoder.position() + 4 * words).min(bytes.len());
        decoder.set_position(position).expect("inside the block");
        decoder.set_ip(at + position as u64);
        lines.push(line);
    }
    lines
}

fn check(name: &str, head: &str, cases: &[Case], leaving: bool) {
    check_on(Harts::Several, name, head, cases, leaving);
}

fn check_on(harts: Harts, name: &str, head: &str, cases: &[Case], leaving: bool) {
    let listing = listing(cases, leaving, harts);
    let made = format!("# {head}\n# See pinned.rs. VIREO_BLESS=1 cargo test -p accel pinned\n\n{listing}");
    compare(name, &made);
}

/// `made` is what the file `name` says, or becomes that.
pub(super) fn compare(name: &str, made: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tcg/backend/x86_64/pinned").join(name);
    if std::env::var_os("VIREO_BLESS").is_some() {
        std::fs::write(&path, made).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (new, old))) =
        made.lines().zip(kept.lines().chain(std::iter::repeat("nothing"))).enumerate().find(|(_, (a, b))| a != b)
    {
        panic!(
            "{name} line {}: the code is now `{new}`, not `{old}`; if it is as good or better: \
             VIREO_BLESS=1 cargo test -p accel pinned, and look at the difference",
            n + 1
        );
    }
    assert_eq!(made.len(), kept.len(), "{name} has lines that are not made any more; VIREO_BLESS=1");
}

#[test]
fn pinned_integer() {
    let cases = [
        // Registers of the map, and one in memory.
        r(G::Add, 10, 11, 12),
        r(G::Add, 10, 10, 5),
        r(G::Add, 5, 6, 7),
        r(G::Sub, 10, 11, 10),
        i(G::Addi, 2, 2, -16),
        i(G::Addi, 5, 5, 1),
        i(G::Addiw, 10, 10, 1),
        r(G::Addw, 10, 11, 12),
        i(G::Andi, 10, 11, 0xff),
        i(G::Slli, 10, 11, 3),
        r(G::Sll, 10, 11, 12),
        i(G::Srliw, 10, 10, 5),
        r(G::Slt, 10, 11, 12),
        i(G::Sltiu, 10, 10, 1),
        i(G::Lui, 10, 0, 0x12345 << 12),
        i(G::Auipc, 10, 0, 0x1000),
        r(G::Mul, 10, 11, 12),
        r(G::Mulhu, 10, 11, 12),
        r(G::Div, 10, 11, 12),
        r(G::Remuw, 10, 11, 12),
        r(G::Sh1add, 10, 11, 12),
        r(G::AddUw, 10, 11, 12),
        r(G::Andn, 10, 11, 12),
        r(G::Min, 10, 11, 12),
        i(G::Rori, 10, 10, 7),
        i(G::Clz, 10, 11, 0),
        i(G::Cpop, 10, 11, 0),
        i(G::Rev8, 10, 11, 0),
        i(G::SextB, 10, 11, 0),
        r(G::CzeroEqz, 10, 11, 12),
        run(&[i(G::Slli, 10, 10, 32), i(G::Srli, 10, 10, 32)]),
        run(&[i(G::Lui, 10, 0, 0x12345 << 12), i(G::Addiw, 10, 10, 0x678)]),
        // What compilers write without Zba and Zbb.
        run(&[i(G::Slli, 10, 10, 32), i(G::Srli, 10, 10, 30), r(G::Add, 10, 11, 10)]),
        run(&[i(G::Slliw, 10, 12, 7), i(G::Srliw, 11, 12, 25), r(G::Or, 11, 10, 11), i(G::Addi, 10, 0, 1)]),
        // The half of a rotation is done where the load fails.
        run(&[i(G::Slliw, 6, 5, 7), i(G::Srliw, 7, 5, 25), r(G::Or, 7, 7, 6), i(G::Lw, 6, 10, 0)]),
    ];
    check("integer.txt", "Integer instructions.", &cases, false);
}

#[test]
fn pinned_memory() {
    let cases = [
        i(G::Ld, 10, 11, 8),
        i(G::Lw, 10, 11, 0),
        i(G::Lbu, 5, 6, 1),
        s(G::Sd, 10, 2, 16),
        s(G::Sb, 0, 11, 0),
        run(&[s(G::Sd, 1, 2, 8), s(G::Sd, 8, 2, 0)]),
        run(&[i(G::Ld, 10, 11, 0), i(G::Ld, 12, 11, 8)]),
        i(G::Flw, 10, 10, 0),
        s(G::Fsd, 10, 10, 0),
        r(G::AmoaddW, 10, 11, 12),
        r(G::AmoswapD, 0, 11, 12),
        r(G::AmomaxW, 10, 11, 12),
        run(&[r(G::LrW, 10, 11, 0), r(G::ScW, 12, 11, 13)]),
    ];
    check("memory.txt", "Loads, stores and atomics.", &cases, false);
}

#[test]
fn pinned_atomics() {
    let ordered = |op, rs2| vec![put(op, Operands { rd: 10, rs1: 11, rs2, ..Operands::default() }) | 3 << 25];
    let fence = i(G::Fence, 0, 0, 0x33);
    let cases = [
        r(G::AmoaddD, 10, 11, 12),
        ordered(G::AmoaddD, 12),
        r(G::AmoaddW, 0, 11, 12),
        r(G::AmoorB, 0, 11, 12),
        r(G::AmoswapW, 10, 10, 0),
        r(G::AmominuH, 10, 5, 6),
        r(G::AmocasW, 10, 11, 12),
        run(&[r(G::LrD, 10, 11, 0), r(G::ScD, 12, 11, 13)]),
        ordered(G::LrW, 0),
        // A fence behind what takes it over.
        run(&[s(G::Sd, 10, 11, 8), fence.clone(), i(G::Ld, 10, 12, 0)]),
        run(&[r(G::AmoaddD, 10, 11, 12), fence.clone()]),
        run(&[r(G::LrW, 10, 11, 0), r(G::ScW, 12, 11, 13), s(G::Bne, 0, 12, -4), fence.clone()]),
        // And behind what does not.
        run(&[s(G::Sd, 10, 11, 8), i(G::Ld, 10, 12, 0), fence.clone()]),
        run(&[i(G::Ld, 10, 11, 8), fence]),
    ];
    check_on(Harts::One, "atomics_one_hart.txt", "Atomics and fences on a machine of one hart.", &cases, false);
    check("atomics.txt", "The same on one of several.", &cases, false);
}

#[test]
fn pinned_flow() {
    let cases = [
        s(G::Beq, 11, 10, 0x40),
        s(G::Bltu, 11, 10, -0x40),
        s(G::Bne, 0, 5, -0x100),
        i(G::Jal, 0, 0, 0x80),
        i(G::Jal, 0, 0, -0x80),
        i(G::Jal, 1, 0, 0x2000),
        i(G::Jalr, 0, 1, 0),
        i(G::Jalr, 1, 10, 0),
        run(&[i(G::Addi, 10, 10, -1), s(G::Bne, 0, 10, -4)]),
    ];
    check("flow.txt", "Branches and jumps, with what leaves the block.", &cases, true);
}

#[test]
fn pinned_system() {
    let csr = |op, rd, rs1, n| i(op, rd, rs1, n);
    let cases = [
        csr(G::Csrrs, 10, 0, 0x140),
        csr(G::Csrrw, 0, 10, 0x140),
        csr(G::Csrrci, 0, 2, 0x100),
        csr(G::Csrrs, 10, 0, 0xc01),
        i(G::Fence, 0, 0, 0x33),
        i(G::Fence, 0, 0, 0x23),
        i(G::Ecall, 0, 0, 0),
        i(G::Sret, 0, 0, 0),
        i(G::FenceI, 0, 0, 0),
        r(G::SfenceVma, 0, 10, 0),
    ];
    check("system.txt", "CSRs, fences, traps and returns.", &cases, true);
}

#[test]
fn pinned_float() {
    let cases = [
        f(G::FaddD, 10, 11, 12),
        run(&[f(G::FaddD, 10, 11, 12), f(G::FmulD, 10, 10, 13)]),
        f(G::FaddS, 10, 11, 12),
        f(G::FdivD, 10, 11, 12),
        vec![put(G::FmaddD, Operands { rd: 10, rs1: 11, rs2: 12, rs3: 13, rm: 7, imm: 0 })],
        r(G::FsgnjnD, 10, 11, 11),
        r(G::FminD, 10, 11, 12),
        r(G::FltD, 10, 11, 12),
        vec![put(G::FcvtWD, Operands { rd: 10, rs1: 11, rm: 1, ..Operands::default() })],
        f(G::FcvtDL, 10, 11, 0),
        f(G::FcvtSD, 10, 11, 0),
        i(G::FmvXD, 10, 11, 0),
        i(G::FclassD, 10, 11, 0),
    ];
    check("float.txt", "Scalar floating point.", &cases, false);
}

#[test]
fn pinned_vector() {
    let e64 = i(G::Vsetvli, 10, 11, 0xd8);
    let after = |case: Case| run(&[e64.clone(), case]);
    let cases = [
        e64.clone(),
        after(v(G::VaddVv, 8, 16, 24)),
        after(v(G::VmseqVv, 0, 16, 24)),
        after(v(G::VfaddVv, 8, 16, 24)),
        after(v(G::Vle64V, 8, 10, 0)),
        after(vec![put(G::Vse64V, Operands { rs3: 8, rs1: 10, rm: 1, ..Operands::default() })]),
    ];
    check("vector.txt", "Vectors, e64, m1, ta, ma.", &cases, false);
}
