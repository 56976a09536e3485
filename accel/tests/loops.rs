//! Loops: their accesses go by pages of their own (`mmu::tlb::Recent`), which must be given up whenever the translation
//! of a page is.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::pte::{A, D, R};
use guest::*;

const TABLES: u64 = RAM + 0x10_0000;
/// Where the loops' pages are mapped, and what they lead to.
const VA: u64 = 0x40_0000;
const PAGES: u64 = 16;
const DATA: u64 = RAM + 0x40_0000;

/// A guest in S-mode with Sv39, where the first 4 MiB of RAM are mapped to themselves.
fn paged(options: TcgOptions) -> (Guest, Paging) {
    let g = Guest::new(options, 1);
    let mut p = Paging::new(TABLES);
    for pa in (RAM..RAM + 0x40_0000).step_by(0x20_0000) {
        p.map(&g, pa, pa, RWX, 1);
    }
    let mut a = Asm::at(STOP);
    a.ecall();
    g.load(&a);
    (g, p)
}

/// Registers of a random loop, some of which live in registers of the host: pointers, values, the counter.
const POINTERS: [u8; 4] = [10, 12, 18, 28];
const VALUES: [u8; 5] = [11, 13, 8, 5, 20];
const COUNTER: u8 = 14;

struct Program {
    code: Asm,
    pointers: Vec<u64>,
    flags: Vec<u64>,
    /// How far in RAM each page lies behind the last, in pages.
    step: u64,
    count: u64,
}

fn random_program(rng: &mut Rng) -> Program {
    let mut code = Asm::at(CODE);
    for _ in 0..1 + rng.below(10) {
        let pointer = POINTERS[rng.below(4) as usize];
        let value = VALUES[rng.below(5) as usize];
        let other = VALUES[rng.below(5) as usize];
        let offset = [0, 8, -8, 3, 64, 2040][rng.below(6) as usize];
        let loads = [Op::Lb, Op::Lbu, Op::Lh, Op::Lhu, Op::Lw, Op::Lwu, Op::Ld];
        let stores = [Op::Sb, Op::Sh, Op::Sw, Op::Sd];
        match rng.below(8) {
            0..=2 => code.i(loads[rng.below(7) as usize], value, pointer, offset),
            3..=4 => code.s(stores[rng.below(4) as usize], value, pointer, offset),
            5 => code.i(Op::Addi, pointer, pointer, [1, 2, 4, 8, 8, 8, 64, 1000, -16, 2047][rng.below(10) as usize]),
            6 => code.r([Op::Add, Op::Addw, Op::Xor, Op::Mul, Op::Subw][rng.below(5) as usize], value, value, other),
            _ => code.i([Op::Srliw, Op::Slliw, Op::Srli][rng.below(3) as usize], value, other, rng.below(32) as i32),
        };
    }
    code.i(Op::Addi, COUNTER, COUNTER, -1).b(Op::Bne, COUNTER, 0, CODE).ecall();
    // Most pages may be written; some may only be read, a few are missing.
    let flags = (0..PAGES).map(|_| [RWX, RWX, RWX, RWX, RWX, R | A, R | A | D, 0][rng.below(8) as usize]).collect();
    let pointers = POINTERS.iter().map(|_| VA + rng.below(PAGES << 12) / 8 * 8).collect();
    // In another order than they are seen, or in the same, so that what reaches into the next page finds it behind.
    let step = [5, 1][rng.below(2) as usize];
    Program { code, pointers, flags, step, count: 1 + rng.below(1500) }
}

fn run(options: TcgOptions, programs: &[Program]) -> Vec<(HartState, Vec<u8>)> {
    let (mut g, mut p) = paged(options);
    let each = |program: &Program| {
        g.load(&program.code);
        for (page, flags) in (0..).zip(&program.flags) {
            let slot = p.map(&g, VA + (page << 12), DATA + ((page * program.step % PAGES) << 12), *flags, 0);
            if *flags == 0 {
                g.write64(slot, 0);
            }
            g.write(DATA + (page << 12), &[page as u8; 4096]);
        }
        let mut s = g.paged(&p, CODE);
        for (pointer, at) in POINTERS.iter().zip(&program.pointers) {
            s.x[usize::from(*pointer)] = *at;
        }
        s.x[usize::from(COUNTER)] = program.count;
        (g.run(&s), g.read(DATA, (PAGES as usize) << 12))
    };
    programs.iter().map(each).collect()
}

#[test]
fn loops_do_what_the_interpreter_does() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 300), number("VIREO_LOCKSTEP_SEED", 1));
    let programs: Vec<_> = (first..first + rounds)
        .map(|seed| random_program(&mut Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .collect();
    let expected = run(TcgOptions { jit: false, ..TcgOptions::default() }, &programs);
    for (name, options) in forced_modes() {
        for (seed, (want, got)) in (first..).zip(expected.iter().zip(run(options, &programs))) {
            assert_eq!(want.0, got.0, "{name}, seed {seed}");
            assert!(want.1 == got.1, "{name}, seed {seed}: memory differs");
        }
    }
    let retired: u64 = expected.iter().map(|(end, _)| end.csr.minstret).sum();
    assert!(retired > 200 * rounds, "the loops end early, after {} instructions", retired / rounds);
}

/// Adds one to the words from x12 to x13 and returns.
fn increments(at: u64) -> Asm {
    let mut a = Asm::at(at);
    a.i(Op::Ld, 10, 12, 0).i(Op::Addi, 10, 10, 1).s(Op::Sd, 10, 12, 0).i(Op::Addi, 12, 12, 8);
    a.b(Op::Bne, 12, 13, at).i(Op::Jalr, 0, 1, 0);
    a
}

#[test]
fn a_fence_reaches_the_pages_of_a_loop() {
    let loops = CODE + 0x800;
    for (name, options) in modes() {
        for (page, asid) in [(0, 0), (9, 0), (0, 16), (9, 16)] {
            let (mut g, mut p) = paged(options.clone());
            let slot = p.map(&g, VA, DATA, RWX, 0);
            g.write(DATA, &[0; 0x2000]);
            let mut a = Asm::at(CODE);
            let call = |a: &mut Asm| {
                a.li(12, VA).i(Op::Addi, 13, 12, 512);
                a.j(1, loops);
            };
            call(&mut a);
            a.s(Op::Sd, 7, 8, 0).sfence(page, asid);
            call(&mut a);
            a.ecall();
            g.load(&a);
            g.load(&increments(loops));
            let mut s = g.paged(&p, CODE);
            (s.x[7], s.x[8], s.x[9], s.x[16]) = (leaf(DATA + 0x1000, RWX), slot, VA, 1);
            g.run(&s);
            assert_eq!((g.read64(DATA + 8), g.read64(DATA + 0x1008)), (1, 1), "{name}, sfence.vma x{page}, x{asid}");
        }
    }
}

#[test]
fn a_loop_of_stores_to_code_is_seen_by_fence_i() {
    let (loops, target) = (CODE + 0x800, RAM + 0x2_0000);
    for (name, options) in modes() {
        let (mut g, p) = paged(options);
        // Fills the words from x12 to x13 with x10.
        let mut fill = Asm::at(loops);
        fill.s(Op::Sw, 10, 12, 0).i(Op::Addi, 12, 12, 4).b(Op::Bne, 12, 13, loops).i(Op::Jalr, 0, 1, 0);
        g.load(&fill);
        let mut end = Asm::at(target + 64);
        end.i(Op::Jalr, 0, 1, 0);
        g.load(&end);
        let mut a = Asm::at(CODE);
        for add in [1, 2, 3] {
            a.li(12, target).i(Op::Addi, 13, 12, 64).li(10, u64::from(word(Op::Addi, 11, 11, 0, add)));
            a.j(1, loops).plain(Op::FenceI);
            a.j(1, target);
        }
        a.ecall();
        g.load(&a);
        let end = g.run(&g.paged(&p, CODE));
        assert_eq!(end.x[11], 16 * (1 + 2 + 3), "{name}");
    }
}

/// Accesses on both sides of the end of a page share an entry where what follows in memory follows in RAM.
#[test]
fn a_fence_of_the_second_of_two_pages_reaches_them() {
    let loops = CODE + 0x800;
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options);
        p.map(&g, VA, DATA, RWX, 0);
        let slot = p.map(&g, VA + 0x1000, DATA + 0x1000, RWX, 0);
        g.write(DATA, &[0; 0x4000]);
        g.write(DATA + 0x3000, &[2; 64]);
        // Adds up the words behind the end, and writes what it has before it and 64 bytes behind.
        let mut a = Asm::at(loops);
        a.i(Op::Ld, 10, 12, -8).i(Op::Ld, 11, 12, 0).r(Op::Add, 15, 15, 11).i(Op::Addi, 10, 10, 1);
        a.s(Op::Sd, 10, 12, -8).s(Op::Sd, 15, 12, 64);
        a.i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, loops).i(Op::Jalr, 0, 1, 0);
        g.load(&a);
        let mut a = Asm::at(CODE);
        a.li(14, 9).j(1, loops).s(Op::Sd, 7, 8, 0).sfence(9, 0).li(14, 9).j(1, loops).ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.x[7], s.x[8], s.x[9], s.x[12]) = (leaf(DATA + 0x3000, RWX), slot, VA + 0x1000, VA + 0x1000);
        let end = g.run(&s);
        let sum = 9 * 0x0202_0202_0202_0202;
        assert_eq!((end.x[15], g.read64(DATA + 0x3040), g.read64(DATA + 0x1040)), (sum, sum, 0), "{name}");
        assert_eq!(g.read64(DATA + 0xff8), 18, "{name}");
    }
}

#[test]
fn stores_into_two_pages_of_which_one_is_code_are_seen_by_fence_i() {
    let (loops, target) = (CODE + 0x800, RAM + 0x2_0000);
    for (name, options) in modes() {
        let (mut g, p) = paged(options);
        let mut fill = Asm::at(loops);
        fill.s(Op::Sw, 10, 12, -4).s(Op::Sw, 10, 12, 0).i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, loops);
        fill.i(Op::Jalr, 0, 1, 0);
        g.load(&fill);
        let mut end = Asm::at(target + 4);
        end.i(Op::Jalr, 0, 1, 0);
        g.load(&end);
        let mut a = Asm::at(CODE);
        a.li(12, target);
        for add in [1, 2, 3] {
            a.li(10, u64::from(word(Op::Addi, 11, 11, 0, add))).li(14, 3).j(1, loops).plain(Op::FenceI);
            a.j(1, target);
        }
        a.ecall();
        g.load(&a);
        let end = g.run(&g.paged(&p, CODE));
        assert_eq!(end.x[11], 1 + 2 + 3, "{name}");
    }
}

#[test]
fn a_loop_may_go_from_page_to_page() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options);
        for page in 0..PAGES {
            p.map(&g, VA + (page << 12), DATA + (page << 12), RWX, 0);
        }
        g.write(DATA, &[0; (PAGES as usize) << 12]);
        // So often that the translator thinks again, twice.
        const COUNT: u64 = 4000;
        let mut a = Asm::at(CODE);
        a.i(Op::Lw, 10, 12, 4).i(Op::Addi, 10, 10, 1).s(Op::Sw, 10, 12, 4).r(Op::Xor, 12, 12, 15);
        a.i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, CODE).ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.x[12], s.x[14], s.x[15]) = (VA, COUNT, 0x3000);
        let end = g.run(&s);
        let counts = (g.read64(DATA) >> 32, g.read64(DATA + 0x3000) >> 32);
        assert_eq!((counts, end.csr.minstret), ((COUNT / 2, COUNT / 2), 6 * COUNT), "{name}");
    }
}

/// Loops forward and back look once for several rounds, also for a store that they reach at the end only: it is the one
/// that faults, with all before it done.
#[test]
fn a_store_that_is_not_reached_is_not_missed() {
    const WORDS: u64 = PAGES * 512;
    for (back, flags) in [(false, R | A | D), (true, R | A | D), (false, RWX), (true, RWX)] {
        let mut expected = None;
        for (name, options) in modes() {
            let (mut g, mut p) = paged(options);
            for page in 0..PAGES {
                p.map(&g, VA + (page << 12), DATA + ((page * 5 % PAGES) << 12), flags, 0);
            }
            g.write(DATA, &[0; (PAGES as usize) << 12]);
            let (first, last, step) = if back { (8 * (WORDS - 1), 0, -8) } else { (0, 8 * (WORDS - 1), 8) };
            let page = (last >> 12) * 5 % PAGES;
            g.write64(DATA + (page << 12) + (last & 0xfff), 7);
            let mut a = Asm::at(CODE);
            a.i(Op::Ld, 10, 12, 0);
            let empty = a.forward(Op::Beq, 10, 0);
            a.s(Op::Sd, 14, 12, 0);
            a.bind(empty);
            a.i(Op::Addi, 12, 12, step).i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, CODE).ecall();
            g.load(&a);
            let mut s = g.paged(&p, CODE);
            (s.x[12], s.x[14]) = (VA + first, WORDS);
            let end = g.run(&s);
            assert_eq!((end.csr.scause == 15, end.x[10]), (flags != RWX, 7), "{name}, back: {back}");
            let got = (end.x, end.csr.stval, end.csr.sepc, end.csr.minstret, g.read(DATA, (PAGES as usize) << 12));
            let want = expected.get_or_insert_with(|| got.clone());
            assert!(
                got == *want,
                "{name}, back: {back}: {:x?}, {:x?}",
                (got.0, got.1, got.3),
                (want.0, want.1, want.3)
            );
        }
    }
}

/// Adds up x14 words, the first at `x12 + x15`, each x17 bytes behind the last; x16 is a mask of their offsets.
fn strides(at: u64) -> Asm {
    let mut a = Asm::at(at);
    a.r(Op::Add, 13, 12, 15).i(Op::Ld, 10, 13, 0).r(Op::Add, 11, 11, 10);
    a.r(Op::Add, 15, 15, 17).r(Op::And, 15, 15, 16).i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, at);
    a.i(Op::Jalr, 0, 1, 0);
    a
}

/// From page to page so often that the translator finds out how much is mapped alike.
const OFTEN: u64 = 5000;
const LARGE: u64 = 2 << 20;
const STRIDE: u64 = 0x3008;

/// The sum that `strides` finds if every word is its address.
fn sum_of_places(start: u64) -> u64 {
    (0..OFTEN).fold(0, |sum, n| sum + start + ((n * STRIDE) & (LARGE - 8)))
}

fn put_places(g: &Guest, start: u64) {
    let words: Vec<u8> = (start..start + LARGE).step_by(8).flat_map(u64::to_le_bytes).collect();
    g.write(start, &words);
}

#[test]
fn a_fence_in_a_large_page_reaches_all_of_it() {
    let (loops, first, second) = (CODE + 0x800, RAM + 0x40_0000, RAM + 0x60_0000);
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options);
        let slot = p.map(&g, VA, first, RWX, 1);
        put_places(&g, first);
        put_places(&g, second);
        let mut a = Asm::at(CODE);
        for _ in 0..2 {
            a.li(12, VA).li(14, OFTEN).li(15, 0).j(1, loops);
            a.s(Op::Sd, 7, 8, 0).sfence(9, 0);
        }
        a.ecall();
        g.load(&a);
        g.load(&strides(loops));
        let mut s = g.paged(&p, CODE);
        (s.x[7], s.x[8], s.x[9]) = (leaf(second, RWX), slot, VA + 0x12_3000);
        (s.x[16], s.x[17]) = (LARGE - 8, STRIDE);
        let end = g.run(&s);
        assert_eq!(end.x[11], sum_of_places(first) + sum_of_places(second), "{name}");
    }
}

#[test]
fn what_pmp_forbids_is_not_mapped_alike() {
    let (loops, data, hole) = (CODE + 0x800, RAM + 0x40_0000, RAM + 0x51_0000);
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        put_places(&g, data);
        let mut a = Asm::at(CODE);
        // First around the hole, then into it.
        a.li(12, data).li(14, OFTEN).li(15, 0).li(16, LARGE / 2 - 8).j(1, loops);
        a.li(14, 1).li(15, hole - data).li(16, LARGE - 8).j(1, loops).ecall();
        g.load(&a);
        g.load(&strides(loops));
        let mut stop = Asm::at(STOP);
        stop.ecall();
        g.load(&stop);
        let mut s = g.supervisor(0, CODE);
        s.csr.stvec = STOP;
        (s.csr.pmp.cfg[0], s.csr.pmp.addr[0]) = (0x18, hole >> 2 | 0x1ff);
        (s.csr.pmp.cfg[1], s.csr.pmp.addr[1]) = (0x1f, u64::MAX >> 10);
        s.x[17] = STRIDE;
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.csr.stval), (5, hole), "{name}");
        let low = (0..OFTEN).fold(0, |sum, n| sum + data + ((n * STRIDE) & (LARGE / 2 - 8)));
        assert_eq!(end.x[11], low, "{name}");
    }
}

/// More loops than there are entries, so that their accesses have to share them.
#[test]
fn an_entry_is_never_that_of_a_longer_access() {
    const LOOPS: u64 = 400;
    const LOOP: u64 = 64;
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options);
        // What follows in memory does not follow in RAM.
        p.map(&g, VA, DATA, RWX, 0);
        p.map(&g, VA + 0x1000, DATA + 0x5000, RWX, 0);
        g.write(DATA, &[1; 0x1000]);
        g.write(DATA + 0x1000, &[2; 0x1000]);
        g.write(DATA + 0x5000, &[4; 0x1000]);
        for n in 0..LOOPS {
            // The byte before the end, the words across it.
            let at = CODE + n * LOOP;
            let mut a = Asm::at(at);
            a.i(Op::Addi, 14, 0, 3);
            a.i(Op::Lbu, 10, 12, -1).i(Op::Ld, 11, 12, -4).i(Op::Lwu, 13, 12, -2).i(Op::Lhu, 16, 12, -1);
            a.r(Op::Or, 15, 15, 10).r(Op::Xor, 11, 11, 5).r(Op::Or, 15, 15, 11).r(Op::Xor, 13, 13, 6);
            a.r(Op::Or, 15, 15, 13).r(Op::Xor, 16, 16, 7).r(Op::Or, 15, 15, 16);
            a.i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, at + 4);
            a.j(0, if n + 1 == LOOPS { STOP } else { at + LOOP });
            g.load(&a);
        }
        let mut s = g.paged(&p, CODE);
        (s.x[12], s.x[5], s.x[6], s.x[7]) = (VA + 0x1000, 0x0404_0404_0101_0101, 0x0404_0101, 0x0401);
        let end = g.run(&s);
        assert_eq!(end.x[15], 1, "{name}");
    }
}
