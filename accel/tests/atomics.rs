//! Atomic operations: what a store-conditional may and may not do, and sums and locks of several harts.

mod guest;

use guest::*;

const DATA: u64 = RAM + 0x5_0000;

fn run(program: impl Fn(&mut Asm), check: impl Fn(&str, &Guest, &accel::HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.ecall();
        g.load(&a);
        // A trap of the program comes straight back, past the instruction.
        let mut a = Asm::at(STOP);
        a.csrr(28, arch::csr::SEPC).i(Op::Addi, 28, 28, 4).csrw(arch::csr::SEPC, 28).plain(Op::Sret);
        g.load(&a);
        g.write64(DATA, 5);
        g.write64(DATA + 8, 5);
        let mut s = g.supervisor(0, CODE);
        s.csr.stvec = STOP;
        s.csr.mstatus |= 1 << 8;
        (s.x[8], s.x[9], s.x[12]) = (DATA, DATA + 8, 9);
        let end = g.run(&s);
        check(name, &g, &end);
    }
}

#[test]
fn a_pair_succeeds() {
    run(
        |a| {
            a.amo(Op::LrD, 10, 0, 8, 0).amo(Op::ScD, 11, 12, 8, 0);
            a.amo(Op::LrW, 13, 0, 9, 0).amo(Op::ScW, 14, 12, 9, 0);
        },
        |name, g, s| {
            assert_eq!((s.x[10], s.x[11], s.x[13], s.x[14]), (5, 0, 5, 0), "{name}");
            assert_eq!((g.read64(DATA), g.read64(DATA + 8)), (9, 9), "{name}");
        },
    );
}

type Program = fn(&mut Asm);

/// Without a reservation, with one for another place or another size, or with one that was used up or lost to a trap
/// and its return, a store-conditional fails and stores nothing.
#[test]
fn a_store_conditional_needs_its_reservation() {
    let programs: [(&str, Program); 6] = [
        ("no reservation", |a| {
            a.amo(Op::ScD, 11, 12, 8, 0);
        }),
        ("another address", |a| {
            a.amo(Op::LrD, 10, 0, 9, 0).amo(Op::ScD, 11, 12, 8, 0);
        }),
        ("another size", |a| {
            a.amo(Op::LrW, 10, 0, 8, 0).amo(Op::ScD, 11, 12, 8, 0);
        }),
        ("used up", |a| {
            a.amo(Op::LrD, 10, 0, 8, 0).amo(Op::ScD, 13, 10, 8, 0).amo(Op::ScD, 11, 12, 8, 0);
        }),
        ("used up by a failure", |a| {
            a.amo(Op::LrD, 10, 0, 8, 0).amo(Op::ScD, 13, 10, 9, 0).amo(Op::ScD, 11, 12, 8, 0);
        }),
        ("a trap between", |a| {
            a.amo(Op::LrD, 10, 0, 8, 0).plain(Op::Ebreak).amo(Op::ScD, 11, 12, 8, 0);
        }),
    ];
    for (what, program) in programs {
        run(program, |name, g, s| {
            assert_eq!(s.x[11], 1, "{name}: {what}");
            assert_eq!(g.read64(DATA), 5, "{name}: {what}");
        });
    }
}

/// Sums by AMOs and by LR/SC of several harts, on one word next to another that plain stores change.
#[test]
fn sums_of_several_harts_are_exact() {
    const HARTS: u32 = 3;
    const N: u64 = 3000;
    for (name, options) in modes() {
        let mut g = Guest::new(options, HARTS);
        let states: Vec<_> = (0..HARTS)
            .map(|hart| {
                let mut a = Asm::at(CODE + 0x1000 * u64::from(hart));
                let start = a.here();
                a.amo(Op::AmoaddD, 0, 12, 8, 0).amo(Op::AmoaddW, 0, 12, 9, 0);
                let again = a.here();
                a.amo(Op::LrD, 10, 0, 14, 0).i(Op::Addi, 10, 10, 1).amo(Op::ScD, 11, 10, 14, 0);
                a.b(Op::Bne, 11, 0, again);
                let again = a.here();
                a.amo(Op::LrW, 10, 0, 15, 0).i(Op::Addi, 10, 10, 1).amo(Op::ScW, 11, 10, 15, 0);
                a.b(Op::Bne, 11, 0, again);
                a.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, start).ecall();
                g.load(&a);
                let mut s = g.supervisor(hart, start);
                (s.x[8], s.x[9], s.x[12], s.x[13], s.x[14], s.x[15]) = (DATA, DATA + 12, 1, N, DATA + 16, DATA + 28);
                s
            })
            .collect();
        g.run_all(&states);
        let sum = N * u64::from(HARTS);
        assert_eq!(g.read64(DATA), sum, "{name}");
        assert_eq!(g.read64(DATA + 8), sum << 32, "{name}");
        assert_eq!(g.read64(DATA + 16), sum, "{name}");
        assert_eq!(g.read64(DATA + 24), sum << 32, "{name}");
    }
}

/// A stack of linked nodes, popped by LR, a load of the next node, and SC: with a pop that misses what others did
/// to the top meanwhile, nodes are lost or come twice.
#[test]
fn a_stack_of_several_harts_keeps_its_nodes() {
    const HARTS: u32 = 3;
    const N: u64 = 2000;
    const NODES: u64 = 4;
    for (name, options) in modes() {
        let mut g = Guest::new(options, HARTS);
        let node = |i: u64| DATA + 0x100 + 0x40 * i;
        g.write64(DATA, node(0));
        (0..NODES).for_each(|i| g.write64(node(i), if i + 1 < NODES { node(i + 1) } else { 0 }));
        let states: Vec<_> = (0..HARTS)
            .map(|hart| {
                let mut a = Asm::at(CODE + 0x1000 * u64::from(hart));
                let start = a.here();
                // x10 = top, x11 = the one below it.
                a.amo(Op::LrD, 10, 0, 8, 0).b(Op::Beq, 10, 0, start).i(Op::Ld, 11, 10, 0);
                a.amo(Op::ScD, 5, 11, 8, 0).b(Op::Bne, 5, 0, start);
                // Whoever holds a node alone counts in it.
                a.i(Op::Ld, 6, 10, 8).i(Op::Addi, 6, 6, 1).s(Op::Sd, 6, 10, 8);
                let push = a.here();
                a.amo(Op::LrD, 11, 0, 8, 0).s(Op::Sd, 11, 10, 0).amo(Op::ScD, 5, 10, 8, 1);
                a.b(Op::Bne, 5, 0, push);
                a.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, start).ecall();
                g.load(&a);
                let mut s = g.supervisor(hart, start);
                (s.x[8], s.x[13]) = (DATA, N);
                s
            })
            .collect();
        g.run_all(&states);
        let mut seen = Vec::new();
        let mut at = g.read64(DATA);
        while at != 0 && seen.len() as u64 <= NODES {
            seen.push(at);
            at = g.read64(at);
        }
        let uses: u64 = (0..NODES).map(|i| g.read64(node(i) + 8)).sum();
        seen.sort_unstable();
        assert_eq!(seen, (0..NODES).map(node).collect::<Vec<_>>(), "{name}");
        assert_eq!(uses, N * u64::from(HARTS), "{name}");
    }
}
