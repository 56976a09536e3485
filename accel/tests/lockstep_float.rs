//! Random floating-point programs on special values: the interpreter of the IR against generated code in every forced
//! mode. Straight ones show the flags after every few instructions, loops keep values from round to round.

mod guest;

use accel::HartState;
use accel::tcg::{HostSimd, TcgOptions};
use accel::testing::{Rng, number};
use arch::isa::{Decoder, Insn, Op, disasm, rows};
use guest::{Guest, RAM, SKIP, forced_modes, word};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 8 << 10;
const HANDLER: u64 = RAM + 0x8000;
const ECALL: u32 = 0x73;
/// Counts rounds; where data are.
const COUNTER: u8 = 29;
const BASE: u8 = 30;
/// `fflags`, `frm` is the next, `fcsr` the one behind it.
const FFLAGS: i32 = 1;

const DOUBLES: [u64; 24] = [
    0,
    1 << 63,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0xbfdf_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_1234,
    0x7ff0_0000_0000_0001,
    0x0010_0000_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x8000_0000_0000_0001,
    0x7fef_ffff_ffff_ffff,
    // Around 2^31, 2^32, 2^63 and 2^64.
    0x41df_ffff_ffe0_0000,
    0xc1e0_0000_0010_0000,
    0x41ef_ffff_fff0_0000,
    0x41ef_ffff_ffe0_0000,
    0x43df_ffff_ffff_ffff,
    0x43e0_0000_0000_0000,
    0xc3e0_0000_0000_0000,
    0x43ef_ffff_ffff_ffff,
    0x4004_0000_0000_0000,
];

const SINGLES: [u32; 22] = [
    0,
    1 << 31,
    0x3f80_0000,
    0xbf80_0000,
    0x3f00_0000,
    0xbeff_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_1234,
    0x7f80_0001,
    0x0080_0000,
    0x007f_ffff,
    0x8000_0001,
    0x7f7f_ffff,
    0x4eff_ffff,
    0x4f00_0000,
    0x4f7f_ffff,
    0x4f80_0000,
    0x5eff_ffff,
    0x5f00_0000,
    0x4020_0000,
];

/// Which formats a program works with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Single,
    Double,
    Both,
}

fn value(rng: &mut Rng, kind: Kind) -> u64 {
    let single = kind == Kind::Single || kind == Kind::Both && rng.below(2) == 0;
    match (single, rng.below(8)) {
        (_, 0) => rng.corner(),
        (true, 1..=4) => u64::MAX << 32 | u64::from(SINGLES[rng.below(SINGLES.len() as u64) as usize]),
        // Numbers that are neither large nor small.
        (true, _) => u64::MAX << 32 | u64::from(rng.next() as u32 & 0x83ff_ffff | 0x3c00_0000),
        (false, 1..=4) => DOUBLES[rng.below(DOUBLES.len() as u64) as usize],
        (false, _) => rng.next() & 0x80ff_ffff_ffff_ffff | 0x3f00_0000_0000_0000,
    }
}

/// A register, mostly one of a few so that results are used again.
fn register(rng: &mut Rng) -> u32 {
    (if rng.below(8) == 0 { rng.below(32) } else { 8 + rng.below(10) }) as u32
}

fn random_insn(rng: &mut Rng, decoder: &Decoder, kind: Kind) -> u32 {
    loop {
        let row = &rows()[rng.below(rows().len() as u64) as usize];
        let name = row.mnemonic;
        if !name.starts_with('f') || name.starts_with("fence") || row.pattern.len != 4 {
            continue;
        }
        let of = |suffix| name.contains(suffix);
        let fits = match kind {
            Kind::Single => !of(".d") && !of(".h") && !of(".q") && !of("bf16") || of("flw") || of("fsw"),
            Kind::Double => !of(".s") && !of(".h") && !of(".q") && !of("bf16") || of("fld") || of("fsd"),
            Kind::Both => true,
        };
        if !fits {
            continue;
        }
        let mut raw = row.pattern.bits | rng.next() as u32 & !row.pattern.mask;
        for (at, field) in [(7, "rd"), (15, "rs1"), (20, "rs2"), (27, "rs3")] {
            if row.operands.contains(field) && 31 << at & row.pattern.mask == 0 {
                raw = raw & !(31 << at) | register(rng) << at;
            }
        }
        // Mostly by `frm`, or as compilers convert.
        if 7 << 12 & row.pattern.mask == 0 && rng.below(2) == 0 {
            raw = raw & !(7 << 12) | [7, 7, 1, 2][rng.below(4) as usize] << 12;
        }
        if row.operands.contains("(rs1)") {
            raw = raw & !(31 << 15) | u32::from(BASE) << 15;
        }
        match decoder.decode(raw) {
            Some(i) if i.len == 4 && ![COUNTER, BASE, 31].contains(&i.rd) => return raw,
            _ => {}
        }
    }
}

/// An instruction on one of the three CSRs, with what is in a register or an immediate.
fn random_csr(rng: &mut Rng) -> u32 {
    let ops = [Op::Csrrw, Op::Csrrs, Op::Csrrc, Op::Csrrwi, Op::Csrrsi, Op::Csrrci];
    let op = ops[rng.below(6) as usize];
    let (rd, rs1) = ([0, 5, 6][rng.below(3) as usize], [0, 1, 5, 6, 7][rng.below(5) as usize]);
    word(op, rd, rs1, 0, FFLAGS + rng.below(3) as i32)
}

struct Program {
    code: Vec<u32>,
    start: HartState,
    data: Vec<u8>,
}

fn random_program(rng: &mut Rng, m: &Guest) -> Program {
    let decoder = Decoder::new(&m.isa);
    let kind = [Kind::Single, Kind::Double, Kind::Both][rng.below(3) as usize];
    let looping = rng.below(2) == 0;
    // Some loops are longer than a block usually is.
    let length = 1 + rng.below(if looping { 54 } else { 40 });
    let mut code = Vec::new();
    for _ in 0..length {
        match rng.below(12) {
            // Over the next instruction.
            0 => code.push(word(Op::Blt, 0, register(rng) as u8, register(rng) as u8, 8)),
            1 if !looping => code.push(word(Op::Csrrw, 5 + rng.below(3) as u8, 0, 0, FFLAGS)),
            2 if rng.below(4) == 0 => code.push(random_csr(rng)),
            _ => {}
        }
        code.push(random_insn(rng, &decoder, kind));
    }
    if looping {
        code.push(word(Op::Addi, COUNTER, COUNTER, 0, -1));
        let back = -4 * code.len() as i32;
        code.push(word(Op::Bne, 0, COUNTER, 0, back));
        // What follows sees what the loop has left.
        code.extend((0..rng.below(4)).map(|_| random_insn(rng, &decoder, kind)));
    }
    code.extend([ECALL; 3]);
    let mut start = m.supervisor(0, RAM + 4 * rng.below(1024));
    for r in 1..32 {
        start.x[r] = rng.corner();
    }
    start.f = std::array::from_fn(|_| value(rng, kind));
    start.x[usize::from(COUNTER)] = 1 + rng.below(6);
    start.x[usize::from(BASE)] = DATA + DATA_SIZE as u64 / 2 + 8 * rng.below(16);
    start.csr.mstatus |= [1, 3][rng.below(2) as usize] << 13;
    start.csr.fcsr = [0, 0, 1, 2, 3, 4][rng.below(6) as usize] << 5 | if rng.below(2) == 0 { 0 } else { rng.below(32) };
    start.csr.medeleg = 0xb0ff & !(1 << 9);
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| value(rng, kind).to_le_bytes()).collect();
    Program { code, start, data }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn run(m: &mut Guest, p: &Program) -> (HartState, Vec<u8>) {
    m.write(DATA, &p.data);
    m.write(HANDLER, &bytes(&SKIP));
    m.write(p.start.pc, &bytes(&p.code));
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
    if a.csr.fcsr != b.csr.fcsr {
        out += &format!("fcsr: {:#x} / {:#x}\n", a.csr.fcsr, b.csr.fcsr);
    }
    if a.csr.minstret != b.csr.minstret {
        out += &format!("minstret: {} / {}\n", a.csr.minstret, b.csr.minstret);
    }
    out
}

fn listing(m: &Guest, p: &Program) -> String {
    let decoder = Decoder::new(&m.isa);
    let show = |i: Insn| disasm(&i, 0).to_string();
    p.code.iter().map(|&w| format!("  {w:08x} {}\n", decoder.decode(w).map_or("?".into(), show))).collect()
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 6,000 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn generated_floating_point_does_what_the_interpreter_does() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 6_000), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = arch::model::find("max").expect("a model that the program has").config();
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let old = ("no VEX", TcgOptions { simd: HostSimd::None, ..TcgOptions::default() });
    let modes = forced_modes().into_iter().chain([old]);
    let mut others: Vec<_> = modes.map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone()))).collect();
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
                    "{name}, seed {seed}: interpreter / generated code differ\n{}memory differs at {at:x?}\nfrom fcsr {:#x}, f {:x?}, x {:x?}:\n{}",
                    difference(&expected, &got),
                    program.start.csr.fcsr,
                    program.start.f,
                    program.start.x,
                    listing(&reference, &program),
                );
            }
        }
    }
    // Programs that trap at once would prove nothing.
    assert!(retired / rounds >= 20, "programs end after {} instructions", retired / rounds);
}
