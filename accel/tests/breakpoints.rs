//! A debugger's breakpoints and single steps.

mod guest;

use accel::VcpuExit;
use accel::debug::{DebugConfig, DebugStop};
use guest::*;

/// A function in a page of its own.
const FUNCTION: u64 = RAM + 0x2_0000;

fn at(breakpoints: &[u64]) -> DebugConfig {
    DebugConfig { single_step: false, breakpoints: breakpoints.to_vec() }
}

const STEP: DebugConfig = DebugConfig { single_step: true, breakpoints: Vec::new() };

/// Calls [`FUNCTION`] until x5 is x11; the function counts x6, the loop x5.
fn program(g: &Guest) {
    let mut a = Asm::at(CODE);
    let start = a.here();
    a.i(Op::Addi, 5, 5, 1).i(Op::Jalr, 1, 8, 0).b(Op::Bne, 5, 11, start).ecall();
    g.load(&a);
    let mut a = Asm::at(FUNCTION);
    a.nop().i(Op::Addi, 6, 6, 1).i(Op::Jalr, 0, 1, 0);
    g.load(&a);
}

#[test]
fn hot_code_stops_at_breakpoints() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        program(&g);
        let mut s = g.supervisor(0, CODE);
        (s.x[8], s.x[11]) = (FUNCTION, 2000);
        let end = g.run(&s);
        assert_eq!((end.x[5], end.x[6]), (2000, 2000), "{name}");
        // Again, with what was translated for the first time.
        let hart = &mut g.harts[0];
        // What of x5 and x6 of a turn is not counted yet.
        let places = [
            (CODE, 1, 1),
            (CODE + 4, 0, 1),
            (CODE + 8, 0, 0),
            (FUNCTION, 0, 1),
            (FUNCTION + 4, 0, 1),
            (FUNCTION + 8, 0, 0),
        ];
        for (place, x5, x6) in places {
            hart.change(&mut |s| (s.pc, s.x[5], s.x[6]) = (CODE, 0, 0));
            for turn in 1..4 {
                hart.set_debug(&at(&[place])).unwrap();
                // It stands until it is stepped.
                for _ in 0..2 {
                    assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Breakpoint), "{name}: {place:#x}");
                    let s = hart.state();
                    assert_eq!((s.pc, s.x[5], s.x[6]), (place, turn - x5, turn - x6), "{name}: {place:#x}");
                }
                hart.set_debug(&STEP).unwrap();
                assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}: {place:#x}");
                assert_ne!(hart.state().pc, place, "{name}");
            }
            // What is not there any more stops nobody.
            hart.set_debug(&DebugConfig::default()).unwrap();
            assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(_))), "{name}: {place:#x}");
            let end = hart.state();
            assert_eq!((end.x[5], end.x[6]), (2000, 2000), "{name}: {place:#x}");
        }
    }
}

#[test]
fn a_step_is_one_instruction() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        program(&g);
        let mut s = g.supervisor(0, CODE);
        (s.x[8], s.x[11]) = (FUNCTION, 1);
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        for pc in [CODE + 4, FUNCTION, FUNCTION + 4, FUNCTION + 8, CODE + 8, CODE + 12] {
            hart.set_debug(&STEP).unwrap();
            assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}: {pc:#x}");
            assert_eq!(hart.state().pc, pc, "{name}");
        }
        // A call that is answered outside is the instruction.
        hart.set_debug(&STEP).unwrap();
        let VcpuExit::Sbi(call) = hart.run().unwrap() else { panic!("{name}: no call") };
        hart.finish_sbi(&call, 0, 0);
        assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
        assert_eq!(hart.state().pc, CODE + 16, "{name}");
    }
}
