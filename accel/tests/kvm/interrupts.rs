//! The timer: armed by the guest or by SBI, it fires after its state went into another machine, and not before its time.
//! Other interrupts that are pending when a state moves; and the line of external ones, which is no state.

use std::sync::atomic::Ordering;

use accel::testing::Registers as _;
use accel::{HartIrq, HartState, VcpuExit};
use arch::csr;
use arch::ext::Ext;

use crate::guest::{Asm, CODE, Op};
use crate::machine::{DEVICE, Machine, TIMER, end, finish};

const HANDLER: u64 = CODE + 0x2000;
const TIME: u64 = 0x5449_4d45;
/// Ticks from now; long enough for a state to be carried over.
const AHEAD: u64 = 500_000;

/// Arms the timer, tells of it by a store to the device, and waits; the handler keeps cause and time.
fn program(m: &Machine, arm: impl FnOnce(&mut Asm)) -> HartState {
    m.program(|a| {
        a.li(22, DEVICE).li(23, AHEAD).csrr(24, csr::TIME).r(Op::Add, 24, 24, 23);
        arm(a);
        a.s(Op::Sd, 24, 22, 0);
        let top = a.here();
        a.i(Op::Addi, 20, 20, 1).plain(Op::Wfi).j(0, top);
    });
    let mut a = Asm::at(HANDLER);
    a.csrr(26, csr::TIME).csrr(27, csr::SCAUSE);
    end(&mut a);
    m.load(&a);
    let mut s = m.start(0);
    s.csr.stvec = HANDLER;
    s.csr.mie |= 1 << 5;
    s.csr.mstatus |= 2;
    s
}

fn by_sbi(a: &mut Asm) {
    a.li(17, TIME).li(16, 0).i(Op::Addi, 10, 24, 0).ecall();
}

fn by_stimecmp(a: &mut Asm) {
    a.csrw(csr::STIMECMP, 24);
}

/// Runs until the guest has armed the timer: its state, and the deadline that it asked for.
fn armed(arm: fn(&mut Asm)) -> (HartState, u64) {
    let mut first = Machine::new(1);
    let start = program(&first, arm);
    let v = &mut first.guest.harts[0];
    v.set_state(&start);
    let handle = v.handle();
    while first.device.stores().is_empty() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_micros(200));
                handle.kick();
            });
            assert_eq!(v.run().expect("the engine runs"), VcpuExit::Kicked);
        });
    }
    first.guest.clock.pause();
    let s = v.state();
    assert_eq!(s.x[27], 0, "not yet due");
    (s, first.device.stores()[0].1)
}

/// Arms the timer, moves to another machine, and lets it fire there. What a call of SBI set may be `forgotten`, a few
/// times.
fn fires_elsewhere(arm: fn(&mut Asm), forgotten: bool) {
    let (mut s, mut deadline) = armed(arm);
    for _ in 0..if forgotten { 5 } else { 0 } {
        if s.csr.stimecmp != u64::MAX {
            break;
        }
        println!("the kernel forgot a deadline");
        (s, deadline) = armed(arm);
    }
    assert_eq!(s.csr.stimecmp, deadline);

    let mut second = Machine::new(1);
    program(&second, arm);
    second.clock.set(deadline - AHEAD / 2);
    second.harts[0].set_state(&s);
    second.harts[0].handle().clock_changed();
    assert_eq!(second.harts[0].run().expect("the engine runs"), VcpuExit::Kicked, "by the clock");
    assert_eq!(second.harts[0].state().x[24], deadline);
    let s = finish(&mut second.guest.harts[0]);
    assert_eq!(s.x[27], TIMER);
    if second.isa.has(Ext::Sstc) {
        assert!(s.x[26] >= deadline, "not {} ticks before its time", deadline - s.x[26]);
    }
    assert!(second.device.loads.load(Ordering::SeqCst) == 0);
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn an_sbi_timer_fires_in_another_machine() {
    // Where harts have Sstc, Linux' KVM writes the deadline to `vstimecmp` alone. If it takes the vCPU off its hart before
    // it enters the guest again, it restores what was there when the guest was left.
    fires_elsewhere(by_sbi, Machine::new(1).isa.has(Ext::Sstc));
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn stimecmp_fires_in_another_machine() {
    if !Machine::new(1).isa.has(Ext::Sstc) {
        println!("this host has no Sstc");
        return;
    }
    fires_elsewhere(by_stimecmp, false);
}

/// A timer that was due while the machine stood still, and a software interrupt that was pending.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn pending_interrupts_are_taken_elsewhere() {
    for (mip, stimecmp, mie, cause) in [(2, u64::MAX, 2, 1 << 63 | 1), (0, 1000, 1 << 5, TIMER)] {
        let mut m = Machine::new(1);
        let mut s = program(&m, |_| {});
        (s.csr.mip, s.csr.stimecmp, s.csr.mie) = (s.csr.mip | mip, stimecmp, mie);
        m.clock.set(1 << 20);
        m.harts[0].handle().clock_changed();
        m.harts[0].set_state(&s);
        assert_eq!(m.harts[0].run().expect("the engine runs"), VcpuExit::Kicked, "by the clock");
        let s = finish(&mut m.guest.harts[0]);
        assert_eq!(s.x[27], cause);
    }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_external_line_is_what_it_is() {
    let mut m = Machine::new(1);
    m.program(|a| {
        // The end, if no interrupt comes.
        a.nop();
    });
    let mut a = Asm::at(HANDLER);
    a.csrr(27, csr::SCAUSE).csrr(28, csr::SIP);
    end(&mut a);
    m.load(&a);
    let mut s = m.start(0);
    (s.csr.stvec, s.csr.mie) = (HANDLER, s.csr.mie | 1 << 9);
    s.csr.mstatus |= 2;
    let v = &mut m.guest.harts[0];
    let handle = v.handle();
    let mut cause = |level| {
        handle.set_irq(HartIrq::SupervisorExternal, level);
        v.set_state(&s);
        let first = finish(v);
        // A state that moves takes no line along, and leaves the one here.
        assert_eq!(first.csr.mip & 1 << 9, 0);
        v.set_state(&s);
        let second = finish(v);
        assert_eq!((first.x[27], first.x[28]), (second.x[27], second.x[28]));
        (first.x[27], first.x[28] & 1 << 9 != 0)
    };
    assert_eq!(cause(false), (0, false));
    assert_eq!(cause(true), (1 << 63 | 9, true));
    assert_eq!(cause(false), (0, false));
}
