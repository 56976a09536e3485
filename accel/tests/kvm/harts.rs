//! Harts that the kernel starts and stops.

use accel::MpState;

use crate::guest::{Asm, CODE, Op};
use crate::machine::{Machine, end, finish};

/// SBI HSM.
const HSM: u64 = 0x48_534d;

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_hart_starts_another() {
    let mut m = Machine::new(2);
    const SECOND: u64 = CODE + 0x1000;
    m.program(|a| {
        a.li(17, HSM).li(16, 0).li(10, 1).li(11, SECOND).li(12, 77).ecall();
    });
    let mut a = Asm::at(SECOND);
    a.i(Op::Addi, 20, 10, 0).i(Op::Addi, 21, 11, 0);
    a.li(31, crate::guest::END + 8);
    end(&mut a);
    m.load(&a);
    let mut states = [m.start(0), m.start(1)];
    states[1].mp = MpState::Stopped;
    m.guest.harts[1].set_state(&states[1]);
    assert_eq!(m.guest.harts[1].state().mp, MpState::Stopped);
    m.guest.harts[0].set_state(&states[0]);
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| finish(second));
        let first = finish(first);
        (first, second.join().expect("a hart's thread"))
    });
    assert_eq!(first.x[10], 0);
    assert_eq!((second.x[20], second.x[21], second.mp), (1, 77, MpState::Runnable));
}
