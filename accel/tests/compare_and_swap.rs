//! Compare-and-swap (Zacas), narrow atomics (Zabha), load-acquire and store-release (Zalasr), and misaligned atomics
//! (Zama16b).

mod guest;

use accel::HartState;
use guest::*;

const DATA: u64 = RAM + 0x5_0000;
const TABLES: u64 = RAM + 0x10_0000;
const LOW: u64 = 0x1122_3344_5566_7788;
const HIGH: u64 = 0x99aa_bbcc_ddee_ff00;

const ALIGNED: &str = "rv64,zacas=on,zabha=on,zalasr=on";
const GRANULES: &str = "rv64,zacas=on,zabha=on,zalasr=on,zama16b=on";

/// Runs a program in M-mode on 16 bytes of data at `DATA`, which x8 points to, with all traps leading to the stop code.
fn each_mode(cpu: &str, x: &[(u8, u64)], program: impl Fn(&mut Asm), check: impl Fn(&str, &HartState, [u64; 2])) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, arch::model::parse(cpu).expect("a CPU model"));
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        // The end: an illegal instruction.
        a.word(0);
        g.load(&a);
        g.write64(DATA, LOW);
        g.write64(DATA + 8, HIGH);
        let mut s = g.machine(0, CODE, STOP);
        s.x[8] = DATA;
        x.iter().for_each(|&(r, v)| s.x[usize::from(r)] = v);
        let end = g.run(&s);
        check(name, &end, [g.read64(DATA), g.read64(DATA + 8)]);
    }
}

const NARROW: [(Op, u64, u32); 4] =
    [(Op::AmocasB, 7, 8), (Op::AmocasH, 14, 16), (Op::AmocasW, 12, 32), (Op::AmocasD, 8, 64)];

fn sign_extended(v: u64, bits: u32) -> u64 {
    ((v << (64 - bits)) as i64 >> (64 - bits)) as u64
}

#[test]
fn a_swap_compares_and_stores_the_low_bits_alone() {
    let all = u128::from(LOW) | u128::from(HIGH) << 64;
    for (op, at, bits) in NARROW {
        let mask = u128::MAX >> (128 - bits);
        let old = (all >> (8 * at) & mask) as u64;
        // The upper bits of what is compared and stored do not count.
        let garbage = if bits == 64 { 0 } else { 0xa5a5_a5a5_a5a5_a5a5 << bits };
        for (expected, swapped) in [(old, true), (old ^ 1, false), (old ^ 1 << (bits - 1), false)] {
            let x = [(10, expected ^ garbage), (11, !expected), (9, DATA + at)];
            each_mode(
                ALIGNED,
                &x,
                |a| {
                    a.amo(op, 10, 11, 9, 0);
                },
                |name, s, data| {
                    assert_eq!(s.csr.mcause, 2, "{name} {op:?}");
                    assert_eq!(s.x[10], sign_extended(old, bits), "{name} {op:?}");
                    let new = if swapped { all ^ mask << (8 * at) } else { all };
                    assert_eq!(data, [new as u64, (new >> 64) as u64], "{name} {op:?} {expected:#x}");
                },
            );
        }
    }
}

/// x0 compares as zero, stores zero and is not written; the address register may be the one that is written.
#[test]
fn registers_of_a_swap_may_be_x0_or_one_another() {
    each_mode(
        ALIGNED,
        &[(11, 5)],
        |a| {
            a.amo(Op::AmocasD, 0, 11, 8, 0).s(Op::Sd, 0, 8, 0).amo(Op::AmocasD, 0, 11, 8, 0);
            a.i(Op::Addi, 9, 8, 8).i(Op::Ld, 12, 9, 0).amo(Op::AmocasD, 12, 0, 9, 3).amo(Op::AmocasW, 8, 0, 8, 0);
        },
        |name, s, data| assert_eq!((s.x[0], s.x[12], s.x[8], data), (0, HIGH, 5, [5, 0]), "{name}"),
    );
}

#[test]
fn sixteen_bytes_are_swapped_if_both_halves_are_equal() {
    for (expected, swapped) in [([LOW, HIGH], true), ([LOW ^ 1 << 63, HIGH], false), ([LOW, HIGH ^ 1], false)] {
        for (rd, rs2) in [(10, 12), (2, 8), (14, 30), (30, 14)] {
            let x = [(5, DATA), (rs2, 21), (rs2 + 1, 22), (rd, expected[0]), (rd + 1, expected[1])];
            each_mode(
                ALIGNED,
                &x,
                |a| {
                    a.amo(Op::AmocasQ, rd, rs2, 5, 0);
                    // x30 and x31 are the stop code's.
                    a.i(Op::Addi, 6, rd, 0).i(Op::Addi, 7, rd + 1, 0).li(31, END);
                },
                |name, s, data| {
                    assert_eq!((s.csr.mcause, s.x[6], s.x[7]), (2, LOW, HIGH), "{name} x{rd} x{rs2}");
                    assert_eq!(data, if swapped { [21, 22] } else { [LOW, HIGH] }, "{name} x{rd} x{rs2}");
                },
            );
        }
    }
}

/// Both halves of the pair that begins with x0 read zero, whatever x1 holds, and neither is written.
#[test]
fn a_pair_that_begins_with_x0_is_zero() {
    each_mode(
        ALIGNED,
        &[(1, 77), (12, 1), (13, 2), (14, 1), (15, 2)],
        |a| {
            a.amo(Op::AmocasQ, 0, 12, 8, 0);
            a.s(Op::Sd, 0, 8, 0).s(Op::Sd, 0, 8, 8).amo(Op::AmocasQ, 0, 12, 8, 0);
            a.i(Op::Ld, 10, 8, 0).i(Op::Ld, 11, 8, 8).amo(Op::AmocasQ, 14, 0, 8, 0);
        },
        |name, s, data| {
            assert_eq!((s.x[0], s.x[1], s.x[10], s.x[11]), (0, 77, 1, 2), "{name}");
            assert_eq!((s.x[14], s.x[15], data), (1, 2, [0, 0]), "{name}");
        },
    );
}

#[test]
fn odd_registers_and_absent_extensions_are_illegal() {
    let illegal = |cpu: &str, word: u32| {
        each_mode(
            cpu,
            &[],
            |a| {
                a.word(word);
            },
            |name, s, data| {
                assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (2, CODE, word.into()), "{name} {cpu} {word:x}");
                assert_eq!(data, [LOW, HIGH], "{name}");
            },
        );
    };
    let pair = word(Op::AmocasQ, 10, 8, 12, 0);
    for odd in [1 << 7, 1 << 20] {
        illegal(ALIGNED, pair | odd);
    }
    illegal("rv64", pair);
    illegal("rv64,zacas=on", word(Op::AmocasB, 10, 8, 12, 0));
    illegal("rv64,zabha=on", word(Op::AmocasH, 10, 8, 12, 0));
    illegal("rv64,zacas=on", word(Op::AmoaddH, 10, 8, 12, 0));
    illegal("rv64", word(Op::LwAq, 10, 8, 0, 0));
    // Without its ordering bit.
    illegal(ALIGNED, word(Op::LwAq, 10, 8, 0, 0) & !(1 << 26));
    illegal(ALIGNED, word(Op::SwRl, 0, 8, 12, 0) & !(1 << 25));
}

/// Unprivileged specification, "Zacas": an AMOCAS always requires write permissions.
#[test]
fn a_swap_that_fails_needs_write_permission_too() {
    const VA: u64 = 0x4000_0000;
    let read_only = arch::pte::R | arch::pte::A | arch::pte::D;
    for (name, options) in modes() {
        for op in [Op::AmocasB, Op::AmocasW, Op::AmocasD, Op::AmocasQ] {
            let mut g = Guest::with_isa(options.clone(), 1, arch::model::parse(ALIGNED).expect("a CPU model"));
            let mut tables = Paging::new(TABLES);
            tables.map(&g, RAM, RAM, RWX, 2);
            tables.map(&g, VA, DATA, read_only, 0);
            let mut a = Asm::at(CODE);
            a.i(Op::Ld, 6, 8, 0).amo(op, 10, 12, 8, 0).nop();
            g.load(&a);
            let mut a = Asm::at(STOP);
            a.ecall();
            g.load(&a);
            g.write64(DATA, LOW);
            let mut s = g.supervisor(0, CODE);
            (s.csr.stvec, s.csr.satp, s.x[8], s.x[10]) = (STOP, tables.satp(0), VA, 3);
            let end = g.run(&s);
            let trap = (end.csr.scause, end.csr.stval, end.csr.sepc);
            assert_eq!(trap, (15, VA, CODE + 4), "{name} {op:?}");
            assert_eq!((end.x[6], end.x[10], g.read64(DATA)), (LOW, 3, LOW), "{name} {op:?}");
        }
    }
}

/// Address-misaligned: of a load for load-acquire, of a store for the rest.
#[test]
fn misaligned_atomics_trap() {
    let ops = [
        (Op::LhAq, 1, 4),
        (Op::LwAq, 2, 4),
        (Op::LdAq, 4, 4),
        (Op::ShRl, 1, 6),
        (Op::SdRl, 4, 6),
        (Op::AmoaddH, 1, 6),
        (Op::AmoswapW, 2, 6),
        (Op::AmocasH, 1, 6),
        (Op::AmocasW, 1, 6),
        (Op::AmocasD, 4, 6),
        (Op::AmocasQ, 8, 6),
    ];
    for (op, at, cause) in ops {
        // Inside a granule, and from one into the next: what Zama16b would tell apart.
        for (cpu, at) in [(ALIGNED, at), (ALIGNED, 16 - at), (GRANULES, 16 - at)] {
            let (rd, rs2) = match op {
                Op::LhAq | Op::LwAq | Op::LdAq => (10, 0),
                Op::ShRl | Op::SdRl => (0, 12),
                _ => (10, 12),
            };
            // An access of half the granule at 8 is aligned; there is none in the list.
            each_mode(
                cpu,
                &[(9, DATA + at), (10, 3)],
                |a| {
                    a.amo(op, rd, rs2, 9, if rd == 0 { 1 } else { 2 });
                },
                |name, s, data| {
                    assert_eq!((s.csr.mcause, s.csr.mtval), (cause, DATA + at), "{name} {cpu} {op:?}");
                    assert_eq!((s.x[10], data), (3, [LOW, HIGH]), "{name} {cpu} {op:?}");
                },
            );
        }
    }
}

/// With Zama16b an address alone is no reason for an exception, as long as no byte is in another granule.
#[test]
fn a_misaligned_atomic_inside_a_granule_is_done() {
    let all = u128::from(LOW) | u128::from(HIGH) << 64;
    for (op, at, bits) in [(Op::AmoswapH, 7, 16), (Op::AmoswapW, 6, 32), (Op::AmoswapD, 5, 64), (Op::AmocasD, 7, 64)] {
        let mask = u128::MAX >> (128 - bits);
        let old = (all >> (8 * at) & mask) as u64;
        each_mode(
            GRANULES,
            &[(9, DATA + at), (10, old), (12, !old)],
            |a| {
                a.amo(op, 10, 12, 9, 0);
            },
            |name, s, data| {
                let new = all ^ mask << (8 * at);
                assert_eq!((s.csr.mcause, s.x[10]), (2, sign_extended(old, bits)), "{name} {op:?}");
                assert_eq!(data, [new as u64, (new >> 64) as u64], "{name} {op:?}");
            },
        );
    }
    each_mode(
        GRANULES,
        &[(9, DATA + 3)],
        |a| {
            a.amo(Op::LdAq, 10, 0, 9, 2).i(Op::Addi, 9, 9, 2).amo(Op::SdRl, 0, 10, 9, 1);
        },
        |name, s, data| {
            let loaded = (all >> 24) as u64;
            let stored = u128::from(loaded) << 40;
            let new = all & !(u128::from(u64::MAX) << 40) | stored;
            assert_eq!((s.x[10], data), (loaded, [new as u64, (new >> 64) as u64]), "{name}");
        },
    );
}

#[test]
fn ordered_loads_extend_the_sign_and_ordered_stores_keep_their_neighbours() {
    each_mode(
        ALIGNED,
        &[(9, DATA + 8), (12, 0xffff_ffff_ffff_ff42)],
        |a| {
            a.amo(Op::LbAq, 10, 0, 8, 2).amo(Op::LwAq, 11, 0, 9, 3).amo(Op::LhAq, 0, 0, 9, 2);
            a.amo(Op::SbRl, 0, 12, 8, 1).amo(Op::ShRl, 0, 12, 9, 3);
        },
        |name, s, data| {
            let expected =
                (0xffff_ffff_ffff_ff88, 0xffff_ffff_ddee_ff00, [LOW & !0xff | 0x42, HIGH & !0xffff | 0xff42]);
            assert_eq!((s.x[10], s.x[11], data), expected, "{name}");
        },
    );
}

/// Several harts count in neighbouring bytes, halves and misaligned words of the same 16 bytes, and a pair of counters is
/// never seen torn.
#[test]
fn counts_of_several_harts_are_exact() {
    const HARTS: u32 = 3;
    const N: u64 = 2000;
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, HARTS, arch::model::parse(GRANULES).expect("a CPU model"));
        let states: Vec<_> = (0..HARTS)
            .map(|hart| {
                let mut a = Asm::at(CODE + 0x1000 * u64::from(hart));
                let start = a.here();
                // x9: granule of narrow counters at 0 (byte), 2 (half), 5 (misaligned word).
                a.amo(Op::AmoaddB, 0, 12, 9, 0).i(Op::Addi, 20, 9, 2).amo(Op::AmoaddH, 0, 12, 20, 0);
                a.i(Op::Addi, 20, 9, 5).amo(Op::AmoaddW, 0, 12, 20, 0);
                // x8: two counters that are equal at any time; a torn pair is counted in x21.
                let again = a.here();
                a.i(Op::Ld, 10, 8, 0).i(Op::Ld, 11, 8, 8);
                a.i(Op::Addi, 14, 10, 1).i(Op::Addi, 15, 11, 1).r(Op::Add, 16, 10, 0).r(Op::Add, 17, 11, 0);
                a.amo(Op::AmocasQ, 10, 14, 8, 3);
                let equal = a.forward(Op::Beq, 10, 11);
                a.i(Op::Addi, 21, 21, 1);
                a.bind(equal);
                a.b(Op::Bne, 10, 16, again).b(Op::Bne, 11, 17, again);
                a.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, start).ecall();
                g.load(&a);
                let mut s = g.supervisor(hart, start);
                (s.x[8], s.x[9], s.x[12], s.x[13]) = (DATA, DATA + 16, 1, N);
                s
            })
            .collect();
        let ends = g.run_all(&states);
        let sum = N * u64::from(HARTS);
        assert_eq!((g.read64(DATA), g.read64(DATA + 8)), (sum, sum), "{name}");
        let narrow = g.read64(DATA + 16);
        assert_eq!((narrow & 0xff, narrow >> 16 & 0xffff), (sum & 0xff, sum), "{name}");
        assert_eq!(narrow >> 40 | g.read64(DATA + 24) << 24, sum, "{name}");
        assert!(ends.iter().all(|s| s.x[21] == 0), "{name}: a pair was seen torn");
    }
}
