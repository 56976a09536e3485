//! Kicks at any moment, thousands of them: none is lost, and the guest's devices and calls see each access once.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use accel::testing::{Registers as _, Rng};
use accel::{HartState, Vcpu, VcpuExit};
use arch::csr;

use crate::guest::{Asm, CODE, Op};
use crate::machine::{DEVICE, Machine, end, handle_timer, kicks, meanwhile};

/// A place for the guest to count its rounds at.
const COUNT: u64 = CODE + 0x8000;
const DBCN: u64 = 0x4442_434e;

/// Rounds of a loop, without end: the body, then the count of them in x20 and at [`COUNT`].
fn rounds(m: &Machine, body: impl FnOnce(&mut Asm)) -> HartState {
    m.program(|a| {
        a.li(21, COUNT).li(22, DEVICE).li(17, DBCN).li(16, 2);
        let top = a.here();
        body(a);
        a.i(Op::Addi, 20, 20, 1).s(Op::Sd, 20, 21, 0).j(0, top);
    });
    m.start(0)
}

fn count(a: &mut Asm) {
    (0..10).for_each(|_| {
        a.nop();
    });
}

fn device(a: &mut Asm) {
    a.i(Op::Ld, 23, 22, 0).r(Op::Add, 24, 24, 23).s(Op::Sd, 20, 22, 8);
}

fn calls(a: &mut Asm) {
    a.i(Op::Addi, 10, 20, 0).ecall();
    // The answer is one more than what was asked, the error 0.
    a.r(Op::Sub, 23, 11, 20).r(Op::Add, 24, 24, 23).r(Op::Add, 25, 25, 10);
}

fn sleeps(a: &mut Asm) {
    a.plain(Op::Wfi);
}

/// One kick at a time, from another thread and at any moment of the run: each makes the hart come back.
fn each_comes_back(name: &str, kicks: u32, body: fn(&mut Asm)) {
    let mut m = Machine::new(1);
    let start = rounds(&m, body);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    let handle = v.handle();
    let (back, came) = mpsc::channel();
    let mut calls = 0;
    std::thread::scope(|scope| {
        // Should this end early, nobody waits for it.
        let back = back;
        scope.spawn(move || {
            let mut r = Rng(7);
            for _ in 0..kicks {
                for _ in 0..r.below(3000) {
                    std::hint::spin_loop();
                }
                handle.kick();
                // The next one only when this one was seen: a lost one is waited for in vain.
                if came.recv().is_err() {
                    return;
                }
            }
        });
        let mut seen = 0;
        while seen < kicks {
            match v.run().expect("the engine runs") {
                VcpuExit::Kicked => {
                    seen += 1;
                    back.send(()).expect("somebody waits");
                }
                VcpuExit::Sbi(call) => {
                    calls += 1;
                    v.finish_sbi(&call, 0, call.args[0] + 1).unwrap();
                }
                other => panic!("unexpected exit {other:?}"),
            }
        }
    });
    let s = v.state();
    println!("{name}: {kicks} kicks, {} rounds, {calls} calls", s.x[20]);
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn each_kick_comes_back() {
    each_comes_back("a loop", 1000, count);
    each_comes_back("a device", 1000, device);
    each_comes_back("SBI calls", 1000, calls);
    each_comes_back("WFI", 1000, sleeps);
}

/// Kicks from two threads as they come, which may fall together; at each the state goes out and in again, sometimes.
fn storm(name: &str, body: fn(&mut Asm)) -> (Machine, HartState) {
    const KICKS: u32 = 2000;
    let mut m = Machine::new(1);
    let start = rounds(&m, body);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    let mut r = Rng(11);
    let (mut seen, mut trips) = (0, 0);
    let threads = [3, 5].map(|seed| kicks(v.handle(), seed, 2000, u32::MAX));
    meanwhile(threads.into(), || {
        while seen < KICKS {
            match v.run().expect("the engine runs") {
                VcpuExit::Kicked => {
                    seen += 1;
                    if r.below(8) == 0 {
                        trips += 1;
                        let s = v.state();
                        v.set_state(&s);
                        assert_eq!(v.state(), s);
                    }
                }
                VcpuExit::Sbi(call) => {
                    if r.below(8) == 0 {
                        trips += 1;
                        let s = v.state();
                        v.set_state(&s);
                    }
                    v.finish_sbi(&call, 0, call.args[0] + 1).unwrap();
                }
                other => panic!("unexpected exit {other:?}"),
            }
        }
    });
    let s = v.state();
    println!("{name}: {seen} kicks seen, {trips} round trips, {} rounds", s.x[20]);
    (m, s)
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_device_sees_each_access_once() {
    let (m, s) = storm("a device", device);
    let loads = m.device.loads.load(Ordering::SeqCst);
    let stores: Vec<_> = m.device.stores().into_iter().map(|(_, value)| value).collect();
    assert_eq!(stores, (0..stores.len() as u64).collect::<Vec<_>>(), "each store once, in order");
    // The hart may stand between an access and the count of it.
    assert!([s.x[20], s.x[20] + 1].contains(&(stores.len() as u64)), "{} stores, {} rounds", stores.len(), s.x[20]);
    assert!([s.x[20], s.x[20] + 1].contains(&loads), "{loads} loads, {} rounds", s.x[20]);
    let added: u64 = (0..loads).sum();
    assert!([added, added - (loads - 1)].contains(&s.x[24]), "each load's answer once");
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn calls_get_their_answers_once() {
    let (_, s) = storm("SBI calls", calls);
    assert_eq!(s.x[25], 0, "no error");
    assert!([s.x[20], s.x[20] + 1].contains(&s.x[24]), "{} answers, {} rounds", s.x[24], s.x[20]);
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_loop_goes_on() {
    let (_, s) = storm("a loop", count);
    assert!(s.x[20] > 0);
}

/// The guest sleeps, and its timer wakes it: an interrupt that a kick must not lose.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn timer_interrupts_come_between_kicks() {
    let mut m = Machine::new(1);
    handle_timer(&m);
    let start = rounds(&m, sleeps);
    let start = crate::machine::with_timer(start, 500, 1000);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    let mut seen = 0;
    meanwhile(vec![kicks(v.handle(), 9, 5000, 2000)], || {
        // Only interrupts make rounds: were one lost, none would follow.
        while v.state().x[27] < 1000 {
            assert_eq!(v.run().expect("the engine runs"), VcpuExit::Kicked);
            seen += 1;
        }
    });
    println!("{seen} kicks between {} interrupts", v.state().x[27]);
}

/// Two harts wake each other by SBI's IPIs out of WFI, while both are kicked: one lost wake-up, and both sleep for ever.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn harts_wake_each_other_between_kicks() {
    const IPI: u64 = 0x73_5049;
    const ROUNDS: u64 = 500;
    const SECOND: u64 = CODE + 0x1000;
    let mut m = Machine::new(2);
    let send = |a: &mut Asm, to: u64| {
        a.li(17, IPI).li(16, 0).li(10, 1 << to).li(11, 0).ecall();
    };
    let wait = |a: &mut Asm| {
        let top = a.here();
        // Pending software interrupts end WFI, which are not taken.
        a.csrr(21, csr::SIP).i(Op::Andi, 21, 21, 2);
        let come = a.forward(Op::Bne, 21, 0);
        a.plain(Op::Wfi).j(0, top);
        a.bind(come);
        a.csrc(csr::SIP, 21).i(Op::Addi, 20, 20, 1);
    };
    for (base, first) in [(CODE, true), (SECOND, false)] {
        let mut a = Asm::at(base);
        a.li(22, ROUNDS);
        let top = a.here();
        if first {
            send(&mut a, 1);
            wait(&mut a);
        } else {
            wait(&mut a);
            send(&mut a, 0);
        }
        a.b(Op::Bne, 20, 22, top).li(1, 1);
        end(&mut a);
        m.load(&a);
    }
    let mut states = [m.start(0), m.start(1)];
    states[1].pc = SECOND;
    for (v, s) in m.harts.iter_mut().zip(&mut states) {
        s.csr.mie |= 2;
        v.set_state(s);
    }
    let threads = (0u64..).zip(&m.harts).map(|(n, v)| kicks(v.handle(), 21 + n, 20_000, 2000)).collect();
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let to_the_end = |v: &mut Box<dyn Vcpu>| {
        let mut seen = 0;
        while v.state().x[1] == 0 {
            assert_eq!(v.run().expect("the engine runs"), VcpuExit::Kicked);
            seen += 1;
        }
        println!("{seen} kicks in {ROUNDS} rounds");
    };
    meanwhile(threads, || {
        std::thread::scope(|scope| {
            scope.spawn(|| to_the_end(second));
            to_the_end(first);
        });
    });
    assert_eq!(m.harts[0].state().x[20], ROUNDS);
    assert_eq!(m.harts[1].state().x[20], ROUNDS);
}
