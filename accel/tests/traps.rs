//! Precise traps: what a fault reports, and that it changes nothing else.

mod guest;

use guest::*;

const CODE: u64 = RAM + 0x1_0000;
const STOP: u64 = RAM + 0x8000;

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
