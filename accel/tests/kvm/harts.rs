//! Harts that the kernel starts and stops.

use accel::testing::Registers as _;
use accel::{HartState, MpState, VcpuExit};

use crate::guest::{Asm, CODE, END, Op};
use crate::machine::{Machine, end, finish};

/// SBI HSM.
const HSM: u64 = 0x48_534d;
const SECOND: u64 = CODE + 0x1000;

/// `sbi_hart_start` of hart 1 at [`SECOND`].
fn start_second(a: &mut Asm, opaque: u64) {
    a.li(17, HSM).li(16, 0).li(10, 1).li(11, SECOND).li(12, opaque).ecall();
}

/// A second hart that waits to be started, at another place than it is started at.
fn stopped(m: &Machine) -> HartState {
    let mut s = m.start(1);
    s.mp = MpState::Stopped;
    s
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_hart_starts_another() {
    let mut m = Machine::new(2);
    m.program(|a| start_second(a, 77));
    let mut a = Asm::at(SECOND);
    a.i(Op::Addi, 20, 10, 0).i(Op::Addi, 21, 11, 0).li(31, END + 8);
    end(&mut a);
    m.load(&a);
    let states = [m.start(0), stopped(&m)];
    m.harts[1].set_state(&states[1]);
    assert_eq!(m.harts[1].state(), states[1]);
    m.harts[0].set_state(&states[0]);
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| finish(second));
        let first = finish(first);
        (first, second.join().expect("a hart's thread"))
    });
    assert_eq!(first.x[10], 0);
    assert_eq!((second.x[20], second.x[21], second.mp), (1, 77, MpState::Runnable));
}

/// A hart stops itself, comes back for kicks though it is stopped, and is started again.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_stopped_hart_can_be_kicked_and_started_again() {
    let mut m = Machine::new(2);
    m.program(|a| {
        start_second(a, 1);
        // Until it has stopped itself.
        let again = a.here();
        a.li(17, HSM).li(16, 2).li(10, 1).ecall().i(Op::Addi, 20, 0, 1).b(Op::Bne, 11, 20, again);
        a.s(Op::Sd, 0, 31, 0);
        start_second(a, 2);
    });
    let mut a = Asm::at(SECOND);
    a.i(Op::Addi, 20, 11, 0).i(Op::Addi, 21, 0, 1);
    let on = a.forward(Op::Bne, 20, 21);
    a.li(17, HSM).li(16, 1).ecall();
    a.bind(on);
    a.li(31, END + 8);
    end(&mut a);
    m.load(&a);
    let states = [m.start(0), stopped(&m)];
    for (v, s) in m.harts.iter_mut().zip(&states) {
        v.set_state(s);
    }
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let handle = second.handle();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(second.run().expect("the engine runs"), VcpuExit::Kicked);
            second.state().mp
        });
        finish(first);
        handle.kick();
        assert_eq!(thread.join().expect("a hart's thread"), MpState::Stopped);
    });
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| finish(second));
        assert_eq!(finish(first).x[10], 0);
        let s = second.join().expect("a hart's thread");
        assert_eq!((s.x[20], s.mp), (2, MpState::Runnable));
    });
}
