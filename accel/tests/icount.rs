//! Instructions as the clock: what `time` reads, when timers come, and what waiting does.

mod guest;

use std::sync::Arc;

use accel::tcg::{Tcg, TcgOptions};
use accel::{Clock, HartState};
use arch::csr as n;
use guest::setup::Setup;
use guest::{Asm, CODE, Op, RAM, modes};

const HANDLER: u64 = RAM + 0x2_0000;
/// Instructions of a tick: 2 ns each, a tick is 100 ns.
const TICK: u64 = 50;

/// Runs a program in S-mode with STIE and SIE set, `stimecmp` never; it and its handler end by an SBI call.
fn run(options: TcgOptions, program: impl Fn(&mut Asm)) -> HartState {
    let clock = Arc::new(Clock::counting(10_000_000, 1));
    let mut g = Setup { clock, ..Setup::default() }.start(&Tcg { options });
    let mut main = Asm::at(CODE);
    program(&mut main);
    main.ecall();
    let mut handler = Asm::at(HANDLER);
    handler.csrr(20, n::TIME).ecall();
    for a in [main, handler] {
        g.load(&a);
    }
    let mut s = g.supervisor(0, CODE);
    s.csr.stvec = HANDLER;
    s.csr.stimecmp = u64::MAX;
    s.csr.mie = 1 << 5;
    s.csr.mstatus |= 2;
    g.run(&s)
}

/// Counts x7 down from `rounds`: two instructions a round, and what loads the number before it.
fn count_down(a: &mut Asm, rounds: u64) {
    a.li(7, rounds);
    let top = a.here();
    a.i(Op::Addi, 7, 7, -1);
    a.b(Op::Bne, 7, 0, top);
}

#[test]
fn time_is_the_number_of_instructions() {
    for (name, options) in modes() {
        let s = run(options, |a| {
            a.csrr(10, n::TIME).csrr(11, n::INSTRET);
            count_down(a, 5000);
            a.csrr(12, n::TIME).csrr(13, n::INSTRET);
        });
        let (ticks, instructions) = (s.x[12] - s.x[10], s.x[13] - s.x[11]);
        assert!(instructions > 10_000, "{name}");
        assert!(ticks.abs_diff(instructions / TICK) <= 1, "{name}: {ticks} ticks in {instructions} instructions");
    }
}

#[test]
fn a_timer_comes_after_so_many_instructions() {
    for (name, options) in modes() {
        let s = run(options, |a| {
            a.csrr(10, n::TIME).i(Op::Addi, 10, 10, 100).csrw(n::STIMECMP, 10);
            count_down(a, 1 << 30);
        });
        assert_eq!(s.csr.scause, 1 << 63 | 5, "{name}");
        // The tick begins within the loop; at latest the next backward jump sees it.
        assert_eq!(s.x[20], s.x[10], "{name}");
    }
}

#[test]
fn a_hart_that_waits_is_there_at_once() {
    for (name, options) in modes() {
        // An hour.
        let s = run(options, |a| {
            a.li(11, 36_000_000_000).csrr(10, n::TIME).r(Op::Add, 10, 10, 11).csrw(n::STIMECMP, 10);
            a.plain(Op::Wfi);
            count_down(a, 1 << 30);
        });
        assert_eq!((s.csr.scause, s.x[20]), (1 << 63 | 5, s.x[10]), "{name}");
    }
}
