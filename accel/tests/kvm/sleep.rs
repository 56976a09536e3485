//! Sleeping on behalf of a hart that SBI has suspended: what wakes it, and when.

use std::time::Duration;

use accel::testing::Registers as _;
use accel::{HartIrq, VcpuExit};
use arch::csr;

use crate::guest::{Asm, Op};
use crate::machine::Machine;

const DBCN: u64 = 0x4442_434e;
const TIME: u64 = 0x5449_4d45;
const IPI: u64 = 0x0073_5049;

const SOFTWARE: u64 = 1 << 1;
const TIMER: u64 = 1 << 5;
const EXTERNAL: u64 = 1 << 9;

/// A hart in a call that waits for its answer, with these interrupts enabled after `before`; x24 is the timer's deadline.
fn suspended(enabled: u64, before: impl FnOnce(&mut Asm)) -> Machine {
    let mut m = Machine::new(1);
    m.program(|a| {
        a.li(5, enabled).csrw(csr::SIE, 5);
        before(a);
        a.li(17, DBCN).li(16, 2).ecall();
    });
    let start = m.start(0);
    m.harts[0].set_state(&start);
    assert!(matches!(m.harts[0].run(), Ok(VcpuExit::Sbi(call)) if call.eid == DBCN));
    m
}

/// Arms the timer to this many ticks from now.
fn arm(ticks: u64) -> impl FnOnce(&mut Asm) {
    move |a| {
        a.csrr(24, csr::TIME).li(23, ticks).r(Op::Add, 24, 24, 23);
        a.li(17, TIME).li(16, 0).i(Op::Addi, 10, 24, 0).ecall();
    }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_timer_wakes_and_not_early() {
    for ticks in [1, 10_000, 1_000_000] {
        let mut m = suspended(TIMER, arm(ticks));
        let v = &mut m.guest.harts[0];
        assert!(v.wait_for_interrupt());
        let s = v.state();
        assert_eq!(s.csr.stimecmp, s.x[24]);
        let now = m.guest.clock.now();
        assert!(now >= s.x[24], "{} ticks early", s.x[24] - now);
    }
}

/// And it keeps waking: nothing is consumed.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn what_is_pending_ends_a_sleep_at_once() {
    let self_ipi = |a: &mut Asm| {
        a.li(17, IPI).li(16, 0).li(10, 1).li(11, 0).ecall();
    };
    let mut m = suspended(SOFTWARE, self_ipi);
    assert!(m.harts[0].wait_for_interrupt() && m.harts[0].wait_for_interrupt());
    let mut m = suspended(EXTERNAL, |_| {});
    m.harts[0].handle().set_irq(HartIrq::SupervisorExternal, true);
    assert!(m.harts[0].wait_for_interrupt() && m.harts[0].wait_for_interrupt());
}

/// A kick is for the thread alone: the sleep goes on afterwards. What is pending and not enabled wakes nobody.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn lines_and_kicks_wake_from_other_threads() {
    let mut m = suspended(EXTERNAL, arm(1000));
    let v = &mut m.guest.harts[0];
    let handle = v.handle();
    for round in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 7 % 400));
                handle.kick();
            });
            assert!(!v.wait_for_interrupt(), "a kick");
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 13 % 400));
                handle.set_irq(HartIrq::SupervisorExternal, true);
            });
            assert!(v.wait_for_interrupt(), "the line");
        });
        handle.set_irq(HartIrq::SupervisorExternal, false);
    }
}

/// A clock that was set, as after a pause, moves the deadline.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_sleep_follows_the_clock() {
    let mut m = suspended(TIMER, arm(u64::MAX >> 8));
    let deadline = m.harts[0].state().x[24];
    m.clock.set(deadline - 1000);
    let v = &mut m.guest.harts[0];
    v.handle().clock_changed();
    assert!(!v.wait_for_interrupt(), "by the kick");
    assert!(v.wait_for_interrupt());
}
