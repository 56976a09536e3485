//! `exec` and `cpu`: what generated code shows of the blocks it executes is what the interpreter shows.

mod guest;

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::Arc;

use accel::tcg::TcgOptions;
use accel::trace::{TraceConfig, TraceItems, mode_bit};
use accel::{HartState, Mode};
use guest::{Asm, CODE, Guest, Op, SKIP, STOP, modes};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Vec<(&'static str, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what a thread logs.
struct Keeper;

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}

impl Subscriber for Keeper {
    /// What a program asks for that is not there is the log's own.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "unimp"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Message(&mut text));
        LINES.with_borrow_mut(|lines| lines.push((event.metadata().target(), text)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const ROUNDS: i32 = 40;

/// Loops in each other, a function in another page, a branch, arithmetic in words, a trap that is skipped, and an
/// instruction that crosses a page. With the address of the inner loop.
fn program() -> (Asm, u64) {
    let mut a = Asm::at(CODE);
    a.i(Op::Addi, 9, 0, ROUNDS);
    let outer = a.here();
    a.i(Op::Addi, 10, 0, 7);
    let inner = a.here();
    a.r(Op::Addw, 11, 11, 10).r(Op::Mul, 12, 11, 9).i(Op::Addi, 10, 10, -1).b(Op::Bne, 10, 0, inner);
    let call = a.forward(Op::Jal, 1, 0);
    a.i(Op::Andi, 13, 9, 1);
    let even = a.forward(Op::Beq, 13, 0);
    a.r(Op::Xor, 14, 14, 11).word(0);
    a.bind(even);
    a.i(Op::Addi, 9, 9, -1).b(Op::Bne, 9, 0, outer).ecall();
    a.pad_to(0xffe).bind(call);
    a.r(Op::Add, 15, 15, 11).r(Op::Sub, 16, 15, 12).i(Op::Jalr, 0, 1, 0);
    (a, inner)
}

/// What was logged, by target, while the program ran.
fn run(options: &TcgOptions, config: TraceConfig) -> (Vec<(&'static str, String)>, HartState) {
    LINES.take();
    let mut guest = Guest::new(options.clone(), 1);
    guest.load(&program().0);
    guest.write(STOP, &SKIP.map(u32::to_le_bytes).concat());
    guest.harts[0].set_trace(&Arc::new(config)).unwrap();
    let mut start = guest.supervisor(0, CODE);
    start.csr.stvec = STOP;
    let state = guest.run(&start);
    (LINES.take(), state)
}

fn items(items: TraceItems) -> TraceConfig {
    TraceConfig { items, ..TraceConfig::default() }
}

/// pc and registers before each block.
fn registers(lines: &[(&'static str, String)]) -> Vec<(u64, String)> {
    let cpu = lines.iter().filter(|(target, _)| *target == "cpu");
    cpu.map(|(_, text)| {
        let pc = text.lines().find_map(|l| l.strip_prefix(" pc       ")).expect("a pc");
        let x = text.split(" x0/zero").nth(1).expect("registers");
        (u64::from_str_radix(pc, 16).expect("a number"), x.to_owned())
    })
    .collect()
}

/// Every way to run shows, at the places where it begins a block, what a run of single instructions shows there.
#[test]
fn every_block_is_shown_with_its_registers() {
    let _log = tracing::subscriber::set_default(Keeper);
    let single = TcgOptions { jit: false, block_insns: 1, ..TcgOptions::default() };
    let (lines, state) = run(&single, items(TraceItems::CPU));
    let all = registers(&lines);
    assert!(all.len() > 40 * 40, "{}", all.len());
    for (name, options) in modes() {
        let (lines, end) = run(&options, items(TraceItems::CPU | TraceItems::EXEC));
        assert_eq!(end.x, state.x, "{name}");
        let shown = registers(&lines);
        let exec = lines.iter().filter(|(target, _)| *target == "exec").count();
        assert_eq!(exec, shown.len(), "{name}");
        // In order, each one is among those of single instructions.
        let mut rest = all.iter();
        for (n, block) in shown.iter().enumerate() {
            assert!(rest.any(|one| one == block), "{name}: block {n} of {}: {:#x}", shown.len(), block.0);
        }
        // None is left out: every round begins the inner loop in another block, but for blocks of one instruction.
        let count = |at| shown.iter().filter(|(pc, _)| *pc == at).count();
        assert_eq!(count(program().1), if options.block_insns == 1 { 40 * 7 } else { 40 * 6 }, "{name}");
        assert_eq!(count(CODE + 0xffe), 40, "{name}");
    }
}

#[test]
fn what_is_shown_is_what_was_asked_for() {
    let _log = tracing::subscriber::set_default(Keeper);
    for (name, options) in [("jit", TcgOptions::default()), ("interp", TcgOptions { jit: false, ..Default::default() })]
    {
        let exec = |config: TraceConfig| run(&options, TraceConfig { items: TraceItems::EXEC, ..config }).0;
        let range = exec(TraceConfig { ranges: vec![CODE + 0xffe..=CODE + 0xfff], ..TraceConfig::default() });
        assert_eq!(range.len(), 40, "{name}");
        assert!(range.iter().all(|(_, text)| text.starts_with(&format!("hart 0, mode S, {:#x}", CODE + 0xffe))));
        assert_eq!(range[0].1.contains(", host 0x"), name == "jit" && cfg!(target_arch = "x86_64"));
        assert!(exec(TraceConfig { harts: vec![1..=7], ..TraceConfig::default() }).is_empty(), "{name}");
        let user = mode_bit(Mode::User, false) | mode_bit(Mode::Supervisor, true);
        assert!(exec(TraceConfig { modes: user, ..TraceConfig::default() }).is_empty(), "{name}");
        let supervisor = mode_bit(Mode::Supervisor, false);
        assert!(!exec(TraceConfig { modes: supervisor, ..TraceConfig::default() }).is_empty(), "{name}");
        // Traps, page walks and listings, with and without their filters.
        let other = |items, ranges| run(&options, TraceConfig { items, ranges, ..TraceConfig::default() }).0;
        let traps = other(TraceItems::INT, Vec::new());
        assert!(
            traps.iter().filter(|(target, text)| *target == "int" && text.contains("cause=2")).count() == 20,
            "{name}"
        );
        let walks = other(TraceItems::MMU, Vec::new());
        assert!(walks.iter().any(|(_, text)| text.contains(&format!("fetch {CODE:#x}: {CODE:#x}, page of 4 KiB"))));
        let listed = other(TraceItems::IN_ASM | TraceItems::OP, vec![CODE + 0xffe..=CODE + 0xffe]);
        let targets: Vec<_> = listed.iter().map(|(target, _)| *target).collect();
        assert_eq!(targets, ["in_asm", "op"], "{name}");
        assert!(run(&options, TraceConfig::default()).0.is_empty(), "{name}");
    }
    let interp = TcgOptions { jit: false, ..TcgOptions::default() };
    let refused = Guest::new(interp, 1).harts[0].set_trace(&Arc::new(items(TraceItems::OUT_ASM)));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("'interp' does not support -d out_asm"), "{refused}");
}
