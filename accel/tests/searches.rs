//! Search loops, which generated code does many rounds of at once: random ones, of all kinds of elements, comparisons and
//! bounds, over pages of which some are missing, do what the interpreter does.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::pte::{A, R};
use guest::*;

const TABLES: u64 = RAM + 0x10_0000;
/// Where the elements are mapped, and what they lead to: not in the same order.
const VA: u64 = 0x40_0000;
const PAGES: u64 = 8;
const DATA: u64 = RAM + 0x40_0000;

/// Some of these live in registers of the host.
const POINTERS: [u8; 3] = [10, 12, 28];
const ELEMENTS: [u8; 3] = [11, 5, 20];
const WANTED: [u8; 4] = [13, 8, 21, 0];
const INDEX: [u8; 3] = [14, 9, 22];
const BOUNDS: [u8; 4] = [15, 16, 23, 0];
/// The searches that are left, and what was found.
const COUNTER: u8 = 24;
const SUM: u8 = 25;
const START: u8 = 26;
/// What the wanted element is changed by after each search.
const CHANGE: u8 = 29;

struct Program {
    code: Asm,
    state: Vec<(u8, u64)>,
    flags: Vec<u64>,
    data: Vec<u8>,
}

/// Branches, and those with the contrary condition.
const BRANCHES: [(Op, Op); 6] = [
    (Op::Beq, Op::Bne),
    (Op::Bne, Op::Beq),
    (Op::Blt, Op::Bge),
    (Op::Bge, Op::Blt),
    (Op::Bltu, Op::Bgeu),
    (Op::Bgeu, Op::Bltu),
];

fn random_program(rng: &mut Rng) -> Program {
    let pick = |rng: &mut Rng, all: &[u8]| all[rng.below(all.len() as u64) as usize];
    let (load, size) = [(Op::Lb, 1), (Op::Lbu, 1), (Op::Lh, 2), (Op::Lhu, 2), (Op::Lw, 4), (Op::Lwu, 4), (Op::Ld, 8)]
        [rng.below(7) as usize];
    let (pointer, element) = (pick(rng, &POINTERS), pick(rng, &ELEMENTS));
    let (wanted, index, bound) = (pick(rng, &WANTED), pick(rng, &INDEX), pick(rng, &BOUNDS));
    let up = rng.below(2) == 0;
    let step = if up { size } else { -size };
    let offset = [0, 0, 0, 4, -16, 2047, -2048][rng.below(7) as usize];
    let (ends, goes_on) = BRANCHES[rng.below(6) as usize];
    let by_pointer = rng.below(3) == 0;
    let counts = if by_pointer { pointer } else { index };
    let index_step = [1, -1, 1, -1, size, -size, 2, -7, 100][rng.below(9) as usize];
    let (past, before) = BRANCHES[rng.below(6) as usize];
    let swapped = [rng.below(2) == 0, rng.below(2) == 0];
    let both = |swapped: bool, a: u8, b: u8| if swapped { (b, a) } else { (a, b) };
    let (value, with) = both(swapped[0], element, wanted);
    let (at, end) = both(swapped[1], counts, bound);
    let has_bound = rng.below(3) != 0;
    let mut a = Asm::at(CODE);
    a.r(Op::Add, index, START, 0);
    let head = a.here();
    let mut exits = Vec::new();
    let steps = |a: &mut Asm, rng: &mut Rng| {
        let mut steps = vec![(pointer, step)];
        if !(by_pointer && rng.below(2) == 0) {
            steps.insert(rng.below(2) as usize, (index, index_step));
        }
        for (r, by) in steps {
            a.i(Op::Addi, r, r, by);
        }
    };
    match rng.below(4) {
        // The comparison leaves, the bound goes back.
        0 => {
            a.i(load, element, pointer, offset);
            exits.push(a.forward(ends, value, with));
            steps(&mut a, rng);
            if has_bound {
                a.b(before, at, end, head);
            } else {
                a.j(0, head);
            }
        }
        // The bound leaves, the comparison goes back.
        1 => {
            if has_bound {
                exits.push(a.forward(past, at, end));
            }
            a.i(load, element, pointer, offset);
            steps(&mut a, rng);
            a.b(goes_on, value, with, head);
        }
        // Steps come first.
        2 => {
            steps(&mut a, rng);
            if has_bound {
                exits.push(a.forward(past, at, end));
            }
            a.i(load, element, pointer, offset).b(goes_on, value, with, head);
        }
        // Both leave.
        _ => {
            a.i(load, element, pointer, offset);
            exits.push(a.forward(ends, value, with));
            steps(&mut a, rng);
            if has_bound {
                exits.push(a.forward(past, at, end));
            }
            a.j(0, head);
        }
    }
    for exit in exits {
        a.bind(exit);
    }
    a.r(Op::Xor, SUM, SUM, element).r(Op::Add, SUM, SUM, pointer).r(Op::Add, SUM, SUM, index);
    a.i(Op::Slli, 27, SUM, 7).r(Op::Add, SUM, SUM, 27).i(Op::Addi, pointer, pointer, step);
    if wanted != 0 {
        a.r(Op::Xor, wanted, wanted, CHANGE);
    }
    a.i(Op::Addi, COUNTER, COUNTER, -1).b(Op::Bne, COUNTER, 0, CODE).ecall();
    // Elements are of few kinds, so that searches end now and then, and some are near the wanted one.
    let kinds: Vec<u64> = (0..2 + rng.below(4)).map(|_| rng.corner()).collect();
    let wanted_value = match rng.below(6) {
        0 => rng.corner(),
        1..=2 => kinds[rng.below(kinds.len() as u64) as usize].wrapping_add(rng.below(3)).wrapping_sub(1),
        _ => kinds[0],
    };
    let bits = 8 * size as u32;
    let shift = 64 - bits;
    let is_signed = matches!(load, Op::Lb | Op::Lh | Op::Lw);
    let extend =
        |signed| if signed { ((wanted_value << shift) as i64 >> shift) as u64 } else { wanted_value << shift >> shift };
    // Not always what a load can give.
    let wanted_value = match rng.below(8) {
        0 => wanted_value,
        1 => extend(!is_signed),
        _ => extend(is_signed),
    };
    let rarely = 2 + rng.below(60);
    let mut data = Vec::new();
    while data.len() < (PAGES as usize) << 12 {
        let one = if rng.below(rarely) == 0 { rng.below(kinds.len() as u64) as usize } else { kinds.len() - 1 };
        data.extend(&kinds[one].to_le_bytes()[..size as usize]);
    }
    // Misaligned now and then.
    let misaligned = if rng.below(8) == 0 { rng.below(8) } else { 0 };
    let from = VA + if up { 0x1000 } else { (PAGES - 1) << 12 } + 8 * rng.below(256) + misaligned;
    let length = rng.below(200);
    let bound_value = match rng.below(8) {
        0 => rng.corner(),
        _ if by_pointer => from.wrapping_add((length as i64 * i64::from(step)) as u64),
        1 => 0,
        2 => length.wrapping_neg(),
        _ => length,
    };
    let start = match rng.below(6) {
        0 => rng.corner(),
        1 => bound_value.wrapping_sub(rng.below(40)),
        2 => bound_value.wrapping_add(rng.below(40)),
        3..=4 if index_step < 0 => length,
        _ => 0,
    };
    let state = [
        (pointer, from),
        (element, rng.next()),
        (wanted, wanted_value),
        (bound, bound_value),
        (index, 0),
        (START, start),
        (COUNTER, 1 + rng.below(80)),
        (SUM, 1),
        (CHANGE, [0, 0, 0, 1, 1 << 31, 1 << 32, u64::MAX << bits.min(63), 1 << bits.min(63)][rng.below(8) as usize]),
    ];
    // The first and the last page are missing, so that every search ends.
    let inner = |rng: &mut Rng| [RWX, RWX, RWX, RWX, RWX, R | A, R | A, 0][rng.below(8) as usize];
    let flags = (0..PAGES).map(|page| if page == 0 || page == PAGES - 1 { 0 } else { inner(rng) }).collect();
    Program { code: a, state: state.into(), flags, data }
}

fn run(options: TcgOptions, programs: &[Program]) -> Vec<HartState> {
    let g = Guest::new(options, 1);
    let mut p = Paging::new(TABLES);
    for pa in (RAM..RAM + 0x40_0000).step_by(0x20_0000) {
        p.map(&g, pa, pa, RWX, 1);
    }
    let mut stop = Asm::at(STOP);
    stop.ecall();
    g.load(&stop);
    let mut g = g;
    let each = |program: &Program| {
        g.load(&program.code);
        for (page, flags) in (0..).zip(&program.flags) {
            let to = DATA + ((page * 3 % PAGES) << 12);
            let slot = p.map(&g, VA + (page << 12), to, *flags, 0);
            if *flags == 0 {
                g.write64(slot, 0);
            }
            g.write(to, &program.data[(page as usize) << 12..][..4096]);
        }
        let mut s = g.paged(&p, CODE);
        for &(r, v) in program.state.iter().filter(|(r, _)| *r != 0) {
            s.x[usize::from(r)] = v;
        }
        g.run(&s)
    };
    programs.iter().map(each).collect()
}

#[test]
fn searches_end_where_those_of_the_interpreter_do() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 3000), number("VIREO_LOCKSTEP_SEED", 1));
    let programs: Vec<_> = (first..first + rounds)
        .map(|seed| random_program(&mut Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .collect();
    let expected = run(TcgOptions { jit: false, ..TcgOptions::default() }, &programs);
    let hot = simd_modes().into_iter().map(|(name, options)| (name, TcgOptions { hot: 1, ..options }));
    for (name, options) in forced_modes().into_iter().chain(hot) {
        for (seed, (want, got)) in (first..).zip(expected.iter().zip(run(options, &programs))) {
            assert_eq!(want, &got, "{name}, seed {seed}");
        }
    }
    let retired: u64 = expected.iter().map(|end| end.csr.minstret).sum();
    assert!(retired > 200 * rounds, "the searches end early, after {} instructions", retired / rounds);
}

/// A number that no element can be is none of them, whatever its low bits are.
#[test]
fn what_is_wanted_may_be_no_element() {
    let loads = [(Op::Lbu, 1), (Op::Lb, 1), (Op::Lhu, 2), (Op::Lh, 2), (Op::Lwu, 4), (Op::Lw, 4)];
    let ways = loads.into_iter().flat_map(|load| modes().into_iter().map(move |mode| (load, mode)));
    for ((load, size), (name, options)) in ways {
        let mut g = Guest::new(options, 1);
        g.write(DATA, &[0x80; 4096]);
        // Goes on while elements are the wanted one, 50 times; then another hundred times with other upper bits.
        let mut a = Asm::at(CODE);
        let head = a.here();
        a.i(load, 11, 12, 0);
        let end = a.forward(Op::Bne, 11, 13);
        a.i(Op::Addi, 12, 12, size).i(Op::Addi, 14, 14, 1).b(Op::Bltu, 14, 15, head);
        a.bind(end);
        a.r(Op::Add, 16, 16, 14).i(Op::Addi, 14, 0, 0).r(Op::Xor, 13, 13, 17).i(Op::Addi, 12, 18, 0);
        a.i(Op::Addi, 19, 19, -1).b(Op::Bne, 19, 0, head).ecall();
        g.load(&a);
        let bits = 8 * size as u32;
        let element = 0x8080_8080_8080_8080 >> (64 - bits);
        let signed = matches!(load, Op::Lb | Op::Lh | Op::Lw);
        let mut s = g.supervisor(0, CODE);
        (s.x[12], s.x[13], s.x[15], s.x[18], s.x[19]) = (DATA, element, 50, DATA, 100);
        s.x[13] |= if signed { u64::MAX << bits } else { 0 };
        s.x[17] = u64::MAX << bits;
        assert_eq!(g.run(&s).x[16], 50 * 50, "{name}, {load:?}");
    }
}
