//! Random programs: the interpreter of the IR against generated code in every forced mode.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::isa::{Decoder, Insn, Op, Row, rows};
use guest::{Asm, Guest, RAM, forced_modes, modes};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 16 << 10;
const HANDLER: u64 = RAM + 0x8000;
const ECALL: u32 = 0x73;

/// Registers that hold addresses: the program may not write them.
const BASE: u8 = 30;
const RESERVED: [u8; 3] = [28, 29, 30];

fn is_memory(op: Op) -> bool {
    use Op::*;
    matches!(op, Lb | Lh | Lw | Ld | Lbu | Lhu | Lwu | Sb | Sh | Sw | Sd | Flw | Fld | Fsw | Fsd | Flh | Fsh)
}

fn is_atomic(op: Op) -> bool {
    let name = op.name();
    // Load-acquire is lb.aq, store-release sb.rl and so on.
    let ordered = name.ends_with(".aq") || name.ends_with(".rl");
    ordered || name.starts_with("amo") || name.starts_with("lr.") || name.starts_with("sc.")
}

/// Instructions that random programs leave out: they end the program or depend on time.
fn is_control(op: Op) -> bool {
    use Op::*;
    matches!(
        op,
        Jal | Jalr
            | Ecall
            | Ebreak
            | Mret
            | Sret
            | Wfi
            | Csrrw
            | Csrrs
            | Csrrc
            | Csrrwi
            | Csrrsi
            | Csrrci
            | WrsNto
            | WrsSto
    )
}

/// Vector and hypervisor instructions have programs of their own, which set up what they need.
fn is_elsewhere(row: &Row) -> bool {
    row.mnemonic.starts_with(['v', 'h'])
}

/// An instruction of a random row with random operands, made harmless.
fn random_insn(rng: &mut Rng, decoder: &Decoder) -> (u32, u8) {
    loop {
        let row = &rows()[rng.below(rows().len() as u64) as usize];
        if is_elsewhere(row) {
            continue;
        }
        let len = row.pattern.len;
        let limit = if len == 2 { 0xffff } else { u32::MAX };
        let mut raw = (row.pattern.bits | rng.next() as u32 & !row.pattern.mask) & limit;
        let Some(mut i) = decoder.decode(raw) else { continue };
        let pair = i.op == Op::AmocasQ && RESERVED.contains(&(i.rd + 1));
        if is_control(i.op) || i.len != len || RESERVED.contains(&i.rd) || pair {
            continue;
        }
        if is_memory(i.op)
            || is_atomic(i.op)
            || matches!(i.op, Op::CboZero | Op::CboClean | Op::CboFlush | Op::CboInval)
        {
            if len == 2 {
                continue;
            }
            let base = if is_memory(i.op) { BASE } else { RESERVED[rng.below(2) as usize] };
            raw = raw & !(31 << 15) | u32::from(base) << 15;
        }
        i = decoder.decode(raw).expect("only a register changed");
        let branch = matches!(i.op, Op::Beq | Op::Bne | Op::Blt | Op::Bge | Op::Bltu | Op::Bgeu);
        if branch {
            if len == 2 {
                continue;
            }
            // Over the next instruction, which may be 2 or 4 bytes: the caller pads.
            raw = raw & !0xfe00_0f80 | 4 << 8;
        }
        return (raw, len);
    }
}

struct Program {
    code: Vec<u8>,
    start: HartState,
    data: Vec<u8>,
    listing: Vec<Insn>,
}

fn random_program(rng: &mut Rng, m: &Guest) -> Program {
    let decoder = Decoder::new(&m.isa);
    let mut code = Vec::new();
    let mut listing = Vec::new();
    for _ in 0..1 + rng.below(60) {
        let (raw, len) = random_insn(rng, &decoder);
        let i = decoder.decode(raw).expect("it was decoded before");
        code.extend(&raw.to_le_bytes()[..usize::from(len)]);
        listing.push(i);
        if matches!(i.op, Op::Beq | Op::Bne | Op::Blt | Op::Bge | Op::Bltu | Op::Bgeu) {
            code.extend(0x0000_0013u32.to_le_bytes());
        }
    }
    for _ in 0..4 {
        code.extend(ECALL.to_le_bytes());
    }
    let mut start = m.supervisor(0, 0);
    // Anywhere in the page, also so that the program crosses into the next.
    start.pc = RAM + rng.below(4096) / 2 * 2;
    for r in 1..32 {
        start.x[r] = rng.corner();
        start.f[r] = rng.corner();
    }
    start.f[0] = rng.corner();
    start.x[28] = DATA + 4096 + rng.below(4096) / 16 * 16;
    // Now and then misaligned, so that some programs end in a trap.
    start.x[29] = DATA + 4096 + if rng.below(16) == 0 { rng.below(64) } else { 8 * rng.below(64) };
    start.x[30] = DATA + 4096 + rng.below(8192);
    // Floating point off now and then, or clean, so that the first instruction to change it has more to do.
    let fs = [0, 1, 2, 3][rng.below(4) as usize] | if rng.below(4) == 0 { 0 } else { 1 };
    start.csr.mstatus |= fs << 13 | u64::from(fs == 3) << 63;
    // Reserved rounding modes now and then.
    let frm = if rng.below(16) == 0 { 5 + rng.below(3) } else { rng.below(5) };
    start.csr.fcsr = frm << 5 | rng.below(32);
    start.csr.medeleg = 0xb3ff;
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| rng.corner().to_le_bytes()).collect();
    Program { code, start, data, listing }
}

fn run(m: &mut Guest, p: &Program) -> (HartState, Vec<u8>) {
    m.write(DATA, &p.data);
    m.write(HANDLER, &ECALL.to_le_bytes());
    m.write(p.start.pc, &p.code);
    let end = m.run(&p.start);
    (end, m.read(DATA, DATA_SIZE))
}

fn difference(a: &HartState, b: &HartState) -> String {
    let mut out = String::new();
    for r in 0..32 {
        if a.x[r] != b.x[r] {
            out += &format!("x{r}: {:#x} / {:#x}\n", a.x[r], b.x[r]);
        }
        if a.f[r] != b.f[r] {
            out += &format!("f{r}: {:#x} / {:#x}\n", a.f[r], b.f[r]);
        }
    }
    if a.pc != b.pc {
        out += &format!("pc: {:#x} / {:#x}\n", a.pc, b.pc);
    }
    if a.csr != b.csr {
        out += &format!("csr: {:?}\n /   {:?}\n", a.csr, b.csr);
    }
    out
}

fn listing(p: &Program) -> String {
    p.listing.iter().map(|i| format!("  {:08x} {}\n", i.raw, arch::isa::disasm(i, 0))).collect()
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 3,000 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn generated_code_does_what_the_interpreter_does() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 3_000), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = arch::model::find("max").expect("a model that the program has").config();
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> =
        forced_modes().into_iter().map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone()))).collect();
    // Atomics are locked there.
    others.push(("of two harts", Guest::with_isa(TcgOptions::default(), 2, isa.clone())));
    let mut retired = 0;
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let program = random_program(&mut rng, &reference);
        let (expected, data) = run(&mut reference, &program);
        retired += expected.csr.minstret;
        for (name, m) in &mut others {
            let (got, memory) = run(m, &program);
            if got != expected || memory != data {
                let at = (0..DATA_SIZE).find(|&i| memory[i] != data[i]);
                panic!(
                    "{name}, seed {seed}: interpreter / generated code differ\n{}memory differs at {at:x?}\nfrom pc {:#x}, fcsr {:#x}:\n{}",
                    difference(&expected, &got),
                    program.start.pc,
                    program.start.csr.fcsr,
                    listing(&program),
                );
            }
        }
    }
    // A generator that traps at once would prove nothing.
    assert!(retired / rounds >= 12, "programs end after {} instructions", retired / rounds);
}

/// A value's halves are put together in two blocks, the second time behind any amount of other code: what the first block
/// had at hand is not there any more.
#[test]
fn a_block_knows_nothing_of_the_code_before_it() {
    let funnel = |a: &mut Asm, d| {
        a.i(Op::Slli, 7, 6, 5).i(Op::Srliw, 8, 6, 27).r(Op::Or, d, 7, 8);
    };
    for (name, options) in modes() {
        for (adds, moves) in (0..6).flat_map(|adds| (0..4).map(move |moves| (adds, moves))) {
            let mut m = Guest::new(options.clone(), 1);
            let mut a = Asm::at(RAM + 0x1000);
            funnel(&mut a, 9);
            // The value changes, and what it was is left behind.
            a.i(Op::Addi, 6, 6, 1).i(Op::Addi, 7, 0, 0).i(Op::Addi, 8, 0, 0);
            let next = a.here() + 4;
            a.j(0, next);
            for _ in 0..adds {
                a.i(Op::Addi, 11, 11, 1);
            }
            for _ in 0..moves {
                a.i(Op::Addi, 12, 11, 0);
            }
            funnel(&mut a, 10);
            a.i(Op::Addi, 7, 0, 0).i(Op::Addi, 8, 0, 0).ecall();
            m.load(&a);
            m.stop_code(RAM + 0x2000);
            let mut s = m.supervisor(0, a.base);
            s.x[6] = 0xffff_ffff_9876_5432;
            let end = m.run(&s);
            let value = |v: u64| v << 5 | u64::from((v as u32) >> 27);
            assert_eq!(
                (end.x[9], end.x[10]),
                (value(s.x[6]), value(s.x[6] + 1)),
                "{name}, {adds} additions, {moves} moves"
            );
        }
    }
}
