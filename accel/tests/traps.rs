//! Precise traps: what a fault reports, and that it changes nothing else.

mod guest;

use guest::*;

/// Runs `program` in M-mode with all traps leading to the stop code.
fn each_mode(program: impl Fn(&mut Asm), check: impl Fn(&str, &accel::HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        g.load(&a);
        let start = g.machine(0, CODE, STOP);
        let end = g.run(&start);
        check(name, &end);
    }
}

#[test]
fn a_jump_to_address_one_faults() {
    for target in [1, 3, 0x1001, 2, u64::MAX] {
        each_mode(
            |a| {
                a.li(5, target).i(Op::Jalr, 0, 5, 0);
            },
            |name, s| {
                assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (1, target & !1, target & !1), "{name}");
            },
        );
    }
}

/// Without compressed instructions the jump itself raises instruction-address-misaligned: it does not link, and a branch
/// that is not taken does nothing.
#[test]
fn a_jump_between_words_traps_where_there_are_no_halves() {
    let isa = arch::model::parse("rv64,c=off").expect("a CPU model");
    type Program = fn(&mut Asm) -> &mut Asm;
    let programs: [(&str, Program, Option<u64>); 8] = [
        ("jal", |a| a.i(Op::Jal, 1, 0, 6), Some(6)),
        ("jal back", |a| a.i(Op::Jal, 1, 0, -2), Some(u64::MAX - 1)),
        ("taken", |a| a.b(Op::Beq, 5, 5, CODE + 14), Some(14)),
        ("taken by comparison", |a| a.b(Op::Bltu, 0, 5, CODE + 10), Some(10)),
        ("always taken", |a| a.b(Op::Beq, 0, 0, CODE + 10), Some(10)),
        ("not taken", |a| a.b(Op::Bne, 5, 5, CODE + 14).b(Op::Blt, 0, 0, CODE + 6), None),
        ("jalr", |a| a.i(Op::Jalr, 5, 5, 3), Some(0x102)),
        ("jalr to an odd address", |a| a.i(Op::Jalr, 5, 5, 9), None),
    ];
    for (name, options) in modes() {
        for (what, program, target) in programs {
            let mut g = Guest::with_isa(options.clone(), 1, isa.clone());
            g.stop_code(STOP);
            let mut a = Asm::at(CODE);
            program(&mut a);
            a.word(0);
            g.load(&a);
            let mut a = Asm::at(CODE + 0x108);
            a.word(0);
            g.load(&a);
            let mut start = g.machine(0, CODE, STOP);
            (start.x[1], start.x[5]) = (77, CODE + 0x100);
            let end = g.run(&start);
            match target {
                Some(target) => {
                    let trap = (end.csr.mcause, end.csr.mepc, end.csr.mtval);
                    assert_eq!(trap, (0, CODE, CODE.wrapping_add(target)), "{name}: {what}");
                    assert_eq!((end.x[1], end.x[5]), (77, CODE + 0x100), "{name}: {what}");
                }
                None => assert_eq!(end.csr.mcause, 2, "{name}: {what}"),
            }
        }
    }
}

/// A reserved rounding mode in the instruction or in frm: nothing happens but the exception.
#[test]
fn a_reserved_rounding_mode_leaves_the_state_clean() {
    for (name, options) in modes() {
        for (rm, frm) in [(5, 0), (6, 0), (7, 5), (7, 7)] {
            let mut g = Guest::new(options.clone(), 1);
            g.stop_code(STOP);
            let mut a = Asm::at(CODE);
            a.word(word(Op::FaddD, 1, 2, 3, 0) | rm << 12);
            g.load(&a);
            let mut start = g.machine(0, CODE, STOP);
            start.csr.mstatus |= 2 << 13;
            start.csr.fcsr = frm << 5;
            let end = g.run(&start);
            assert_eq!((end.csr.mcause, end.csr.mepc), (2, CODE), "{name}: {rm} {frm}");
            assert_eq!((end.csr.mstatus >> 13 & 3, end.f[1]), (2, 0), "{name}: {rm} {frm}");
        }
    }
}

#[test]
fn atomics_at_odd_addresses_of_page_zero_trap() {
    for va in [1, 2, 3, 5, 6, 7, 9] {
        for (op, cause) in [(Op::LrW, 4), (Op::LrD, 4), (Op::ScW, 6), (Op::AmoaddW, 6), (Op::AmoaddD, 6)] {
            each_mode(
                |a| {
                    a.li(5, va).li(6, 77).amo(op, 6, if cause == 4 { 0 } else { 7 }, 5, 0);
                },
                |name, s| {
                    assert_eq!((s.csr.mcause, s.csr.mtval, s.x[6]), (cause, va, 77), "{name} {op:?}");
                },
            );
        }
    }
}

#[test]
fn a_block_beginning_with_floating_point_makes_fs_dirty_once() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        a.r(Op::FmvDX, 1, 5, 0);
        a.ecall();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        s.x[5] = 3;
        s.csr.mstatus |= 1 << 13;
        let end = g.run(&s);
        assert_eq!((end.csr.mstatus >> 13 & 3, end.f[1]), (3, 3), "{name}");
    }
}

/// A device-free hole in physical memory: every access there is an access fault.
const HOLE: u64 = 0x4000_0000;

/// Every kind of access to a place that faults, its own base register as the destination: nothing changes but what
/// the trap reports, and exactly the instructions before it are counted.
#[test]
fn a_faulting_access_changes_nothing() {
    const LOADS: [Op; 9] = [Op::Lb, Op::Lh, Op::Lw, Op::Ld, Op::Lbu, Op::Lhu, Op::Lwu, Op::LrW, Op::LrD];
    const STORES: [Op; 4] = [Op::Sb, Op::Sh, Op::Sw, Op::Sd];
    const ATOMICS: [Op; 8] =
        [Op::ScW, Op::ScD, Op::AmoaddW, Op::AmoaddD, Op::AmoswapD, Op::AmomaxuW, Op::AmoandD, Op::AmominD];
    let all = LOADS.iter().chain(&STORES).chain(&ATOMICS);
    // A pinned and an unpinned register.
    for &op in all {
        for base in [10u8, 20] {
            each_mode(
                |a| {
                    a.li(7, 7).li(10, HOLE).li(20, HOLE);
                    match op {
                        Op::LrW | Op::LrD => a.amo(op, base, 0, base, 0),
                        _ if ATOMICS.contains(&op) => a.amo(op, base, 7, base, 0),
                        _ if STORES.contains(&op) => a.s(op, base, base, 0),
                        _ => a.i(op, base, base, 0),
                    };
                    a.nop();
                },
                |name, s| {
                    let cause = if LOADS.contains(&op) { 5 } else { 7 };
                    let trap = (s.csr.mcause, s.csr.mepc, s.csr.mtval);
                    assert_eq!(trap, (cause, CODE + 96, HOLE), "{name} {op:?} x{base}");
                    let mut x = [0; 32];
                    (x[7], x[10], x[20], x[30], x[31]) = (7, HOLE, HOLE, 24, END);
                    assert_eq!(s.x, x, "{name} {op:?} x{base}");
                },
            );
        }
    }
}

/// Misaligned accesses that cross into a page that faults: the address is that of the second page, memory and
/// registers stay as they are.
#[test]
fn a_crossing_access_faults_as_a_whole() {
    let last = RAM + SIZE as u64;
    for (op, len) in [(Op::Lh, 2u64), (Op::Lw, 4), (Op::Ld, 8), (Op::Sh, 2), (Op::Sw, 4), (Op::Sd, 8)] {
        for (name, options) in modes() {
            let mut g = Guest::new(options, 1);
            g.stop_code(STOP);
            g.write64(last - 8, 0x1122_3344_5566_7788);
            let store = matches!(op, Op::Sh | Op::Sw | Op::Sd);
            for n in 1..len {
                let mut a = Asm::at(CODE);
                // The first page goes into the TLB before.
                a.i(Op::Ld, 9, 8, -64).s(Op::Sd, 9, 8, -64);
                if store {
                    a.s(op, 8, 8, 0)
                } else {
                    a.i(op, 8, 8, 0)
                };
                g.load(&a);
                let mut s = g.machine(0, CODE, STOP);
                s.x[8] = last - n;
                let end = g.run(&s);
                // Beyond RAM is no RAM: a misaligned access there is not split, and what is reported is the address
                // of all of it, which is what a handler would emulate it by.
                let cause = if store { 6 } else { 4 };
                assert_eq!((end.csr.mcause, end.csr.mtval), (cause, last - n), "{name} {op:?} {n}");
                assert_eq!((end.csr.mepc, end.x[8], end.x[30]), (CODE + 8, last - n, 2), "{name} {op:?} {n}");
                assert_eq!(g.read64(last - 8), 0x1122_3344_5566_7788, "{name} {op:?} {n}");
            }
        }
    }
}

/// The same between two virtual pages, the second not mapped or read-only.
#[test]
fn a_crossing_access_reports_the_second_page() {
    const VA: u64 = 0x40_0000;
    for (name, options) in modes() {
        let g = &mut Guest::new(options, 1);
        let mut p = Paging::new(RAM + 0x10_0000);
        for pa in (RAM..RAM + 0x8_0000).step_by(4096) {
            p.map(g, pa, pa, RWX, 0);
        }
        p.map(g, VA, RAM + 0x5_0000, RWX, 0);
        let second = p.slot(g, VA + 0x1000, 0);
        let mut stop = Asm::at(STOP);
        stop.ecall();
        g.load(&stop);
        for (entry, cause) in [(0, 15), (leaf(RAM + 0x5_1000, arch::pte::R | arch::pte::A), 15)] {
            g.write64(second, entry);
            let mut a = Asm::at(CODE);
            a.i(Op::Ld, 9, 8, -8).s(Op::Sd, 9, 8, -8).s(Op::Sd, 11, 8, 0);
            g.load(&a);
            g.write64(RAM + 0x5_0ff8, 5);
            let mut s = g.supervisor(0, CODE);
            s.csr.satp = p.satp(0);
            s.csr.stvec = STOP;
            (s.x[8], s.x[11]) = (VA + 0xffb, u64::MAX);
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (cause, CODE + 8, VA + 0x1000), "{name}");
            assert_eq!(g.read64(RAM + 0x5_0ff8), 5, "{name}");
        }
    }
}

/// A store that faults on its second page did not store: hardware that sets D leaves it clear on the first.
#[test]
fn a_crossing_store_that_faults_makes_nothing_dirty() {
    const VA: u64 = 0x40_0000;
    use arch::pte::{A, D, R, W};
    for (name, options) in modes() {
        for (first, second, cause, tval, bits) in [
            (R | W, 0, 15, VA + 0x1000, 0),
            (R | W | A, R | A, 15, VA + 0x1000, A),
            (R | W, R | W, 9, 0, A | D),
            (R, R | W, 15, VA + 0xffb, 0),
        ] {
            let g = &mut Guest::new(options.clone(), 1);
            let mut p = Paging::new(RAM + 0x10_0000);
            for pa in (RAM..RAM + 0x8_0000).step_by(4096) {
                p.map(g, pa, pa, RWX, 0);
            }
            let slots = [p.map(g, VA, RAM + 0x5_0000, first, 0), p.map(g, VA + 0x1000, RAM + 0x5_1000, second, 0)];
            if second == 0 {
                g.write64(slots[1], 0);
            }
            let mut stop = Asm::at(STOP);
            stop.ecall();
            g.load(&stop);
            let mut a = Asm::at(CODE);
            a.s(Op::Sd, 11, 8, 0).ecall();
            g.load(&a);
            let mut s = g.supervisor(0, CODE);
            s.csr.satp = p.satp(0);
            s.csr.stvec = STOP;
            s.csr.menvcfg |= arch::csr::envcfg::ADUE;
            (s.csr.scause, s.csr.stval) = (9, 0);
            (s.x[8], s.x[11]) = (VA + 0xffb, u64::MAX);
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.csr.stval), (cause, tval), "{name}");
            assert_eq!(g.read64(slots[0]) & (A | D), bits, "{name} {cause} {tval:#x}");
        }
    }
}

/// ECALL does not retire, also where the built-in SBI answers it.
#[test]
fn an_ecall_is_not_counted() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        a.nop().nop().ecall().nop().ecall();
        g.load(&a);
        let start = g.supervisor(0, CODE);
        let first = g.run(&start);
        assert_eq!((first.csr.minstret, first.pc), (2, CODE + 12), "{name}");
        assert_eq!(g.resume().csr.minstret, 3, "{name}");
    }
}

/// Two harts change one page-table entry: one by setting A and D as it accesses the page, the other by AMOs on the
/// software bits. No change of either is lost.
#[test]
fn accessed_and_dirty_are_set_atomically() {
    use arch::pte::{A, D, G, R, W};
    const VA: u64 = 0x40_0000;
    const N: u64 = 400;
    for (name, options) in modes() {
        let mut g = Guest::new(options, 2);
        let mut p = Paging::new(RAM + 0x10_0000);
        for pa in (RAM..RAM + 0x60_0000).step_by(1 << 21) {
            p.map(&g, pa, pa, RWX, 1);
        }
        let slot = p.map(&g, VA, RAM + 0x50_0000, R | W | G, 0);
        // Hart 0 stores to the page, fences, and counts the times that D was not there after its store; it clears A
        // and D as kernels do.
        let mut a = Asm::at(CODE);
        let again = a.here();
        a.s(Op::Sd, 13, 8, 0).i(Op::Ld, 10, 9, 0).i(Op::Andi, 10, 10, (A | D) as i32);
        let fine = a.forward(Op::Beq, 10, 12);
        a.i(Op::Addi, 11, 11, 1);
        a.bind(fine);
        a.amo(Op::AmoandD, 0, 14, 9, 0).sfence(8, 0);
        a.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, again).ecall();
        g.load(&a);
        // Hart 1 counts in the two bits for software, by AMOs that wrap within them.
        let mut b = Asm::at(CODE + 0x1000);
        let again = b.here();
        b.amo(Op::AmoxorD, 10, 12, 9, 0).amo(Op::AmoxorD, 11, 12, 9, 0);
        // The second must find the bit as the first left it, whatever hart 0 did in between.
        b.r(Op::Xor, 10, 10, 11).r(Op::And, 10, 10, 12);
        let fine = b.forward(Op::Beq, 10, 12);
        b.i(Op::Addi, 15, 15, 1);
        b.bind(fine);
        b.i(Op::Addi, 13, 13, -1).b(Op::Bne, 13, 0, again).ecall();
        g.load(&b);
        let mut s = [g.supervisor(0, CODE), g.supervisor(1, CODE + 0x1000)];
        for s in &mut s {
            s.csr.satp = p.satp(0);
            s.csr.menvcfg |= arch::csr::envcfg::ADUE;
            (s.x[8], s.x[9], s.x[13]) = (VA, slot, N);
        }
        (s[0].x[12], s[0].x[14]) = (A | D, !(A | D));
        (s[1].x[12], s[1].x[13]) = (1 << 8, 4 * N);
        let end = g.run_all(&s);
        assert_eq!((end[0].x[11], end[1].x[15]), (0, 0), "{name}");
    }
}

/// Unprivileged spec, "Page-Fault, Guest-Page-Fault, and Access-Fault Exceptions" of cache-block operations: management is
/// permitted wherever a load or a store is, and faults as a store. Nothing is loaded: devices do not notice.
#[test]
fn managing_a_block_where_nothing_is_faults() {
    for op in [Op::CboClean, Op::CboFlush, Op::CboInval] {
        for (address, fault) in
            [(RAM + 5, false), (END, false), (ROM + 8, false), (0x1000, true), (0x1_0000_0021, true)]
        {
            each_mode(
                |a| {
                    a.li(5, address).r(op, 0, 5, 0).plain(Op::Ecall);
                },
                |name, s| {
                    let expected = if fault { (7, address) } else { (11, 0) };
                    assert_eq!((s.csr.mcause, s.csr.mtval), expected, "{name}: {op:?} at {address:#x}");
                },
            );
        }
    }
}
