//! Random loops: the interpreter of the IR against generated code, in particular regions, which stand for hot loops.
//!
//! A program is a nest of counted loops with random arithmetic, memory accesses, atomics and branches in them. Addresses
//! move on in each round, so that some programs run into the end of memory in the middle of a loop: then the trap, the
//! registers, memory and the number of retired instructions have to be those of that very round.
//!
//! Loops with vectors set `vtype` now and then, so that the same code meets several.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::isa::{Row, rows};
use guest::{Asm, Guest, Op, RAM, SIZE, forced_modes, simd_modes};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 16 << 10;
const HANDLER: u64 = RAM + 0x8000;

/// Registers that hold addresses and count rounds: other instructions do not write them.
const WALK: u8 = 28;
const BASE: u8 = 29;
const COUNTS: [u8; 3] = [25, 26, 27];

const ALU: &[Op] = &[
    Op::Add,
    Op::Sub,
    Op::Xor,
    Op::Or,
    Op::And,
    Op::Sll,
    Op::Srl,
    Op::Sra,
    Op::Slt,
    Op::Sltu,
    Op::Addw,
    Op::Subw,
    Op::Sllw,
    Op::Sraw,
    Op::Mul,
    Op::Mulw,
    Op::Mulhu,
    Op::Mulhsu,
    Op::Div,
    Op::Remu,
    Op::Divw,
    Op::Andn,
    Op::Rol,
    Op::Max,
    Op::Sh2add,
    Op::AddUw,
    Op::Bext,
    Op::CzeroEqz,
    Op::Clmulh,
    Op::Xperm4,
];
const IMM: &[Op] = &[Op::Addi, Op::Xori, Op::Andi, Op::Ori, Op::Slti, Op::Sltiu, Op::Addiw];
const LOADS: &[(Op, i32)] =
    &[(Op::Lb, 1), (Op::Lhu, 2), (Op::Lw, 4), (Op::Ld, 8), (Op::Lbu, 1), (Op::Lwu, 4), (Op::Fld, 8), (Op::Flw, 4)];
const STORES: &[(Op, i32)] = &[(Op::Sb, 1), (Op::Sh, 2), (Op::Sw, 4), (Op::Sd, 8), (Op::Fsd, 8), (Op::Fsw, 4)];
const FLOAT: &[Op] = &[Op::FaddD, Op::FsubD, Op::FmulD, Op::FmulS, Op::FaddS, Op::FsgnjnD, Op::FminD];
const BRANCHES: &[Op] = &[Op::Beq, Op::Bne, Op::Blt, Op::Bge, Op::Bltu, Op::Bgeu];

/// Vector instructions that mostly do not trap.
const VECTORS: &[&str] = &[
    "vle8.v",
    "vle32.v",
    "vle64.v",
    "vle8ff.v",
    "vse8.v",
    "vse16.v",
    "vse32.v",
    "vl2re8.v",
    "vs1r.v",
    "vadd.vv",
    "vadd.vx",
    "vmul.vv",
    "vsll.vi",
    "vmv.v.x",
    "vmerge.vxm",
    "vmseq.vv",
    "vmsltu.vx",
    "vmandn.mm",
    "vfirst.m",
    "vcpop.m",
    "vid.v",
    "vmv.x.s",
    "vslide1down.vx",
    "vslidedown.vi",
    "vredsum.vs",
    "vfadd.vv",
    "vfmacc.vf",
    "vfmv.f.s",
    "vfmv.v.f",
];
/// e8 to e64 in groups of one and two registers and in half of one, and one that does not exist.
const VTYPES: &[u32] = &[0xc0, 0xc8, 0xd0, 0xd8, 0xd1, 0xc1, 0xcf, 0xd7, 0x1c];

fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.below(list.len() as u64) as usize]
}

/// A register that programs compute with.
fn any(rng: &mut Rng) -> u8 {
    rng.below(25) as u8
}

/// What programs are made of.
struct Mix {
    /// Vector instructions, if there are any.
    vectors: Vec<&'static Row>,
}

impl Mix {
    fn vector(&self, rng: &mut Rng, a: &mut Asm) {
        if rng.below(6) == 0 {
            let some = if rng.below(8) == 0 { VTYPES } else { &VTYPES[..5] };
            let vtype = pick(rng, some);
            let avl = if rng.below(3) == 0 { 0 } else { u32::from(any(rng)) };
            a.word(vtype << 20 | avl << 15 | 7 << 12 | u32::from(any(rng)) << 7 | 0x57);
            return;
        }
        let row = pick(rng, &self.vectors);
        // Groups of up to four registers begin where they may.
        let (mut raw, low) = (rng.next() as u32, 3);
        for (name, at) in [("vd", 7), ("vs3", 7), ("vs1", 15), ("vs2", 20)] {
            if row.operands.contains(name) {
                raw &= !(low << at);
            }
        }
        if row.operands.contains("(rs1)") {
            let base = if rng.below(2) == 0 { WALK } else { BASE };
            raw = raw & !(31 << 15) | u32::from(base) << 15;
        }
        if row.operands.starts_with("rd") {
            raw = raw & !(31 << 7) | u32::from(any(rng)) << 7;
        }
        if rng.below(4) != 0 {
            raw |= 1 << 25;
        }
        a.word(row.pattern.bits | raw & !row.pattern.mask);
    }
}

/// What compilers write for an instruction of Zba or Zbb, with others between its parts, and what may overwrite those.
fn idiom(rng: &mut Rng, a: &mut Asm, mix: &Mix) {
    // Few registers, so that parts are seen, overwritten and in each other's places.
    let mut few = || 5 + rng.below(7) as u8;
    let (t, u, mut d, s) = (few(), few(), few(), few());
    let n = 1 + rng.below(31) as i32;
    let pair = |list: &[(Op, Op, i32)], rng: &mut Rng| pick(rng, list);
    let between = |rng: &mut Rng, a: &mut Asm| {
        if rng.below(3) == 0 {
            insn(rng, a, mix);
        }
    };
    match rng.below(5) {
        0 => {
            let pairs = [(Op::Slliw, Op::Srliw, 32), (Op::Slli, Op::Srliw, 32), (Op::Slli, Op::Srli, 64)];
            let (left, right, bits) = pair(&pairs, rng);
            // Hashes put several of them together.
            for n in [n, 1 + n % 31, 32 - n].into_iter().take(1 + rng.below(3) as usize) {
                let parts = [(left, t, n), (right, u, bits - n)];
                let first = rng.below(2) as usize;
                for (op, d, n) in [parts[first], parts[1 - first]] {
                    a.i(op, d, s, n);
                    between(rng, a);
                }
                a.r(pick(rng, &[Op::Or, Op::Xor, Op::Add, Op::Addw]), d, t, u);
                d = 5 + rng.below(7) as u8;
            }
        }
        1 => {
            let rights = [Op::Srli, Op::Srai, Op::Srliw, Op::Sraiw];
            let (left, right) = (pick(rng, &[Op::Slli, Op::Slliw]), pick(rng, &rights));
            let n = pick(rng, &[32, 48, 56, 16, 24]);
            let (n, m) = (n, pick(rng, &[n, n, n - 2, n + 3]));
            let fit = |op: Op, n: i32| if matches!(op, Op::Slliw | Op::Srliw | Op::Sraiw) { n & 31 } else { n };
            a.i(left, t, s, fit(left, n));
            between(rng, a);
            a.i(right, d, t, fit(right, m));
        }
        2 => {
            a.i(Op::Slli, t, s, 32).i(Op::Srli, t, t, 32 - rng.below(4) as i32);
            between(rng, a);
            a.r(Op::Add, d, t, u);
        }
        3 => {
            // A look-up in a table, which may overwrite its address.
            let (base, scale) = (if rng.below(2) == 0 { WALK } else { BASE }, rng.below(4) as i32);
            a.i(Op::Andi, t, s, 511 >> scale);
            if rng.below(4) != 0 {
                a.i(Op::Slli, t, t, scale);
            }
            if rng.below(2) == 0 {
                a.r(Op::Add, d, base, t)
            } else {
                a.r(Op::Add, d, t, base)
            };
            between(rng, a);
            let (op, size) = pick(rng, &LOADS[..6]);
            a.i(op, if rng.below(4) == 0 { u } else { d }, d, size * (rng.below(8) as i32 - 4));
        }
        _ => {
            a.i(Op::Slli, t, s, 1 + rng.below(3) as i32);
            between(rng, a);
            a.r(Op::Add, d, u, t);
        }
    }
    for x in [t, u] {
        if rng.below(2) == 0 {
            between(rng, a);
            a.i(Op::Addi, x, 0, n);
        }
    }
}

fn insn(rng: &mut Rng, a: &mut Asm, mix: &Mix) {
    if !mix.vectors.is_empty() && rng.below(2) == 0 {
        return mix.vector(rng, a);
    }
    let (rd, rs1, rs2) = (any(rng), any(rng), any(rng));
    let base = if rng.below(2) == 0 { WALK } else { BASE };
    if rng.below(8) == 0 {
        return idiom(rng, a, mix);
    }
    match rng.below(20) {
        0..=6 => {
            a.r(pick(rng, ALU), rd, rs1, rs2);
        }
        7..=9 => {
            a.i(pick(rng, IMM), rd, rs1, rng.below(4096) as i32 - 2048);
        }
        10..=12 => {
            let (op, size) = pick(rng, LOADS);
            a.i(op, rd, base, size * (rng.below(32) as i32 - 16) + i32::from(rng.below(8) == 0));
        }
        13..=14 => {
            let (op, size) = pick(rng, STORES);
            a.s(op, rs2, base, size * (rng.below(32) as i32 - 16) + i32::from(rng.below(8) == 0));
        }
        15 => {
            a.r(pick(rng, FLOAT), rd, rs1, rs2);
        }
        16 => {
            a.amo(pick(rng, &[Op::AmoaddD, Op::AmoxorW, Op::AmomaxuD, Op::AmoswapW]), rd, rs2, BASE, 0);
        }
        17 => {
            a.amo(Op::LrD, rd, 0, BASE, 0).amo(Op::ScD, any(rng), rs2, BASE, 0);
        }
        _ => {
            let over = a.forward(pick(rng, BRANCHES), rs1, rs2);
            for _ in 0..=rng.below(2) {
                a.r(pick(rng, ALU), any(rng), rs1, rs2);
            }
            a.bind(over);
        }
    }
}

fn body(rng: &mut Rng, a: &mut Asm, mix: &Mix, depth: usize) {
    let insns = |rng: &mut Rng, a: &mut Asm| (0..1 + rng.below(5)).for_each(|_| insn(rng, a, mix));
    insns(rng, a);
    if depth < COUNTS.len() && rng.below(3) != 0 {
        let count = COUNTS[depth];
        a.i(Op::Addi, count, 0, 1 + rng.below(9) as i32);
        // Now and then the loop is entered in its middle.
        let middle = (rng.below(4) == 0).then(|| a.forward(Op::Jal, 0, 0));
        let head = a.here();
        body(rng, a, mix, depth + 1);
        if let Some(middle) = middle {
            a.bind(middle);
            insns(rng, a);
        }
        a.i(Op::Addi, WALK, WALK, 8 * rng.below(9) as i32);
        // A way out of the loop.
        let out = (rng.below(3) == 0).then(|| a.forward(pick(rng, BRANCHES), any(rng), any(rng)));
        a.i(Op::Addi, count, count, -1);
        match rng.below(3) {
            0 => {
                a.b(Op::Bne, count, 0, head);
            }
            1 => {
                a.b(Op::Blt, 0, count, head);
            }
            _ => {
                let end = a.forward(Op::Beq, count, 0);
                a.j(0, head).bind(end);
            }
        }
        out.into_iter().for_each(|out| {
            a.bind(out);
        });
    }
    insns(rng, a);
}

struct Program {
    code: Vec<u8>,
    start: HartState,
    data: Vec<u8>,
}

fn random_program(rng: &mut Rng, m: &Guest, mix: &Mix) -> Program {
    // Anywhere in the page, some across its end.
    let mut a = Asm::at(RAM + 0x1_0000 + rng.below(4096) / 2 * 2);
    let mut start = m.supervisor(0, a.base);
    a.i(Op::Addi, COUNTS[0], 0, 1 + rng.below(12) as i32);
    let head = a.here();
    body(rng, &mut a, mix, 1);
    a.i(Op::Addi, WALK, WALK, 16);
    a.i(Op::Addi, COUNTS[0], COUNTS[0], -1);
    a.b(Op::Bne, COUNTS[0], 0, head);
    a.ecall();
    for r in 1..32 {
        (start.x[r], start.f[r]) = (rng.corner(), rng.corner());
    }
    let data = DATA + 4096 + 8 * rng.below(1024);
    start.x[usize::from(BASE)] = data + if rng.below(16) == 0 { rng.below(8) } else { 0 };
    start.x[usize::from(WALK)] = if rng.below(3) == 0 { RAM + SIZE as u64 - 8 * rng.below(256) } else { data };
    let fs = if rng.below(8) == 0 { rng.below(3) } else { 3 };
    start.csr.mstatus |= fs << 13 | u64::from(fs == 3) << 63;
    if !mix.vectors.is_empty() {
        start.csr.mstatus |= if rng.below(8) == 0 { rng.below(3) } else { 3 } << 9;
        start.csr.vtype = u64::from(pick(rng, &VTYPES[..5]));
        start.csr.vl = rng.below(3);
        start.csr.vstart = u64::from(rng.below(8) == 0);
        start.v.0[..1024].chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.corner().to_le_bytes()));
    }
    start.csr.medeleg = 0xb3ff;
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| rng.corner().to_le_bytes()).collect();
    Program { code: a.code, start, data }
}

fn run(m: &mut Guest, p: &Program) -> (HartState, Vec<u8>, Vec<u8>) {
    let end = RAM + SIZE as u64 - 4096;
    m.write(DATA, &p.data);
    m.write(end, &p.data[..4096]);
    m.write(HANDLER, &0x73u32.to_le_bytes());
    m.write(p.start.pc, &p.code);
    let state = m.run(&p.start);
    (state, m.read(DATA, DATA_SIZE), m.read(end, 4096))
}

/// Compares `rounds` programs of `mix`, of which `trap` are expected to trap; `more`: beside the forced modes that have
/// regions.
fn check(rounds: u64, mix: &Mix, trap: std::ops::Range<u64>, more: Vec<(&'static str, TcgOptions)>) {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", rounds), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = arch::model::find("max").expect("a model that the program has").config();
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let modes = forced_modes().into_iter().filter(|(_, o)| o.hot == 1 || *o == TcgOptions::default());
    let mut others: Vec<_> =
        modes.chain(more).map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone()))).collect();
    // Two harts: LR and SC are done otherwise.
    let at_once = TcgOptions { hot: 1, ..TcgOptions::default() };
    others.push(("loops at once, of two harts", Guest::with_isa(at_once, 2, isa.clone())));
    let mut trapped = 0;
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let program = random_program(&mut rng, &reference, mix);
        let expected = run(&mut reference, &program);
        trapped += u64::from(expected.0.csr.scause != 0);
        for (name, m) in &mut others {
            let got = run(m, &program);
            assert!(got.0.csr == expected.0.csr, "{name}, seed {seed}: {:?}\n{:?}", got.0.csr, expected.0.csr);
            let state = |s: &HartState| (s.pc, s.x, s.f);
            assert_eq!(state(&got.0), state(&expected.0), "{name}, seed {seed}");
            assert!(got.0.v == expected.0.v, "{name}, seed {seed}: vector registers differ");
            assert!(got.1 == expected.1 && got.2 == expected.2, "{name}, seed {seed}: memory differs");
        }
    }
    let percent = 100 * trapped / rounds.max(1);
    assert!(rounds < 100 || trap.contains(&percent), "{trapped} of {rounds} programs trap");
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 1,500 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn loops_in_regions_do_what_the_interpreter_does() {
    check(1_500, &Mix { vectors: Vec::new() }, 6..50, Vec::new());
}

/// The same, 1,000 unless told.
#[test]
fn loops_with_vectors_do_what_the_interpreter_does() {
    let vectors: Vec<_> = rows().iter().filter(|row| VECTORS.contains(&row.mnemonic)).collect();
    assert_eq!(vectors.len(), VECTORS.len());
    let at_once = simd_modes().into_iter().map(|(name, options)| (name, TcgOptions { hot: 1, ..options }));
    check(1_000, &Mix { vectors }, 6..80, at_once.collect());
}

/// The page in which programs of [`neighbours`] stand, behind what they access.
const CODE: u64 = RAM + 0x1_0000;

/// Accesses near each other by one register, which stands near the end of a page: behind it is no memory, the page of the
/// code itself, or memory like that before it.
fn neighbours(rng: &mut Rng, m: &Guest) -> Program {
    let mut a = Asm::at(CODE + 1024 + rng.below(256) / 2 * 2);
    let mut start = m.supervisor(0, a.base);
    a.i(Op::Addi, COUNTS[0], 0, 3 + rng.below(12) as i32);
    let head = a.here();
    for _ in 0..4 + rng.below(16) {
        let offset = rng.below(96) as i32 - 48;
        match rng.below(10) {
            0..=3 => {
                let (op, size) = pick(rng, LOADS);
                a.i(op, any(rng), WALK, offset / size * size + i32::from(rng.below(8) == 0));
            }
            4..=7 => {
                let (op, size) = pick(rng, STORES);
                a.s(op, any(rng), WALK, offset / size * size + i32::from(rng.below(8) == 0));
            }
            8 => insn(rng, &mut a, &Mix { vectors: Vec::new() }),
            // The same register leads elsewhere.
            _ => {
                a.i(Op::Addi, WALK, WALK, 8 * (rng.below(5) as i32 - 2));
            }
        }
    }
    a.i(Op::Addi, COUNTS[0], COUNTS[0], -1);
    a.b(Op::Bne, COUNTS[0], 0, head);
    a.ecall();
    for r in 1..32 {
        (start.x[r], start.f[r]) = (rng.corner(), rng.corner());
    }
    start.x[usize::from(BASE)] = DATA + 4096;
    let end = pick(rng, &[RAM + SIZE as u64, CODE, DATA + 8192]);
    start.x[usize::from(WALK)] = end - 64 + 8 * rng.below(10);
    start.csr.mstatus |= 3 << 13 | 1 << 63;
    start.csr.medeleg = 0xb3ff;
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| rng.corner().to_le_bytes()).collect();
    Program { code: a.code, start, data }
}

/// As many programs as above.
#[test]
fn accesses_by_one_register_at_the_end_of_a_page() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 1_500), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = arch::model::find("max").expect("a model that the program has").config();
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> =
        forced_modes().into_iter().map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone()))).collect();
    let around = |m: &Guest| m.read(CODE - 512, 1024);
    let (mut trapped, clear) = (0, vec![0; 1024]);
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let program = neighbours(&mut rng, &reference);
        reference.write(CODE - 512, &clear);
        let expected = (run(&mut reference, &program), around(&reference));
        trapped += u64::from(expected.0.0.csr.scause != 0);
        for (name, m) in &mut others {
            m.write(CODE - 512, &clear);
            let got = (run(m, &program), around(m));
            let state = |s: &HartState| (s.pc, s.x, s.f, s.csr.scause, s.csr.stval, s.csr.sepc, s.csr.minstret);
            assert_eq!(state(&got.0.0), state(&expected.0.0), "{name}, seed {seed}");
            assert!(got.0.1 == expected.0.1 && got.0.2 == expected.0.2, "{name}, seed {seed}: memory differs");
            assert!(got.1 == expected.1, "{name}, seed {seed}: memory before the code differs");
        }
    }
    assert!(trapped > rounds / 16 && trapped < rounds, "{trapped} of {rounds} programs trap");
}
