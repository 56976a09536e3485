//! A debugger's breakpoints, watchpoints, single steps, and its way to CSRs.

mod guest;

use accel::VcpuExit;
use accel::debug::{DebugConfig, DebugStop, WatchKind, Watchpoint};
use accel::testing::Registers as _;
use arch::csr::{self, mstatus};
use arch::ext::Ext;
use guest::*;

/// A function in a page of its own.
const FUNCTION: u64 = RAM + 0x2_0000;

fn at(breakpoints: &[u64]) -> DebugConfig {
    DebugConfig { breakpoints: breakpoints.to_vec(), ..DebugConfig::default() }
}

const STEP: DebugConfig =
    DebugConfig { single_step: true, breakpoints: Vec::new(), watchpoints: Vec::new(), hold_interrupts: false };

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
        hart.finish_sbi(&call, 0, 0).unwrap();
        assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
        assert_eq!(hart.state().pc, CODE + 16, "{name}");
    }
}

/// Data in a page of its own.
const DATA: u64 = RAM + 0x3_0000;

fn watching(start: u64, len: u64, kind: WatchKind) -> DebugConfig {
    DebugConfig { watchpoints: vec![Watchpoint { start, len, kind }], ..DebugConfig::default() }
}

#[test]
fn hot_loops_stop_before_they_touch_what_is_watched() {
    use WatchKind::*;
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        // Each turn counts at DATA and copies to DATA + 8; what is at DATA + 16 is only added to.
        let mut a = Asm::at(CODE);
        let start = a.here();
        a.i(Op::Ld, 5, 8, 0).i(Op::Addi, 5, 5, 1).s(Op::Sd, 5, 8, 0).s(Op::Sw, 5, 8, 8);
        a.amo(Op::AmoaddD, 0, 5, 9, 0).b(Op::Bne, 5, 11, start).ecall();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.x[8], s.x[9], s.x[11]) = (DATA, DATA + 16, 2000);
        assert_eq!(g.run(&s).x[5], 2000, "{name}");
        // Nothing of the instruction has happened.
        let hart = &mut g.harts[0];
        hart.change(&mut |s| (s.pc, s.x[11]) = (CODE, 0));
        hart.set_debug(&watching(DATA, 8, Write)).unwrap();
        assert!(matches!(hart.run(), Ok(VcpuExit::Debug(_))), "{name}");
        assert_eq!((hart.state().x[5], g.read64(DATA)), (2001, 2000), "{name}");
        // The range and kind of a watchpoint, and where it stops with which address.
        let rows = [
            (DATA, 8, Write, CODE + 8, DATA),
            (DATA, 8, Read, CODE, DATA),
            (DATA + 17, 1, Access, CODE + 16, DATA + 17),
            (DATA + 11, 5, Write, CODE + 12, DATA + 11),
            (DATA + 12, 12, Write, CODE + 16, DATA + 16),
            (DATA + 16, 1, Read, CODE + 16, DATA + 16),
        ];
        for (start, len, kind, pc, address) in rows {
            let place = format!("{name}: {start:#x} {kind:?}");
            let hart = &mut g.harts[0];
            hart.change(&mut |s| s.pc = CODE);
            for _ in 0..3 {
                hart.set_debug(&watching(start, len, kind)).unwrap();
                // It stands until it is stepped.
                for _ in 0..2 {
                    let stop = DebugStop::Watchpoint { address, kind };
                    assert_eq!(hart.run().unwrap(), VcpuExit::Debug(stop), "{place}");
                    assert_eq!(hart.state().pc, pc, "{place}");
                }
                hart.set_debug(&STEP).unwrap();
                assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{place}");
                assert_eq!(hart.state().pc, pc + 4, "{place}");
            }
            // Beside what is touched, and with nothing watched, it runs through.
            for config in [watching(DATA + 12, 4, Access), watching(DATA + 8, 8, Read), DebugConfig::default()] {
                hart.change(&mut |s| (s.pc, s.x[11]) = (CODE, s.x[5] + 500));
                hart.set_debug(&config).unwrap();
                assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(_))), "{place}");
            }
            hart.change(&mut |s| s.x[11] = 2000);
        }
    }
}

#[test]
fn vector_loads_stop_at_the_element_that_is_watched() {
    for (name, options) in modes() {
        let isa = isa_with(&[Ext::V]);
        let vlenb = isa.vlen as usize / 8;
        let mut g = Guest::with_isa(options, 1, isa);
        let mut a = Asm::at(CODE);
        // vsetvli x0, x10, e8, m1; vle8ff.v v1, (x8); vle8.v v2, (x8)
        a.word(0x0005_7057).word(0x0304_0087 | 1 << 24).word(0x0204_0107).ecall();
        g.load(&a);
        g.write(DATA, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut s = g.supervisor(0, CODE);
        s.csr.mstatus |= arch::csr::mstatus::VS;
        (s.x[8], s.x[10]) = (DATA, 8);
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        hart.set_debug(&watching(DATA + 5, 1, WatchKind::Access)).unwrap();
        let stop = VcpuExit::Debug(DebugStop::Watchpoint { address: DATA + 5, kind: WatchKind::Access });
        for pc in [CODE + 4, CODE + 8] {
            assert_eq!(hart.run().unwrap(), stop, "{name}");
            let s = hart.state();
            assert_eq!((s.pc, s.csr.vl, s.csr.vstart), (pc, 8, 5), "{name}");
            hart.set_debug(&STEP).unwrap();
            assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
            assert_eq!((hart.state().csr.vl, hart.state().csr.vstart), (8, 0), "{name}");
            hart.set_debug(&watching(DATA + 5, 1, WatchKind::Access)).unwrap();
        }
        assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(_))), "{name}");
        for v in [1, 2] {
            assert_eq!(hart.state().v.0[v * vlenb..][..8], [1, 2, 3, 4, 5, 6, 7, 8], "{name}");
        }
    }
}

#[test]
fn interrupts_wait_while_a_hart_is_stepped() {
    const HANDLER: u64 = FUNCTION;
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        a.nop().plain(Op::Wfi).nop().nop();
        g.load(&a);
        let mut a = Asm::at(HANDLER);
        a.nop();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.csr.stvec, s.csr.mip) = (HANDLER, 2);
        s.csr.mie |= 2;
        s.csr.mideleg |= 2;
        s.csr.mstatus |= arch::csr::mstatus::SIE;
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        let held = DebugConfig { hold_interrupts: true, ..STEP };
        for pc in [CODE + 4, CODE + 8, CODE + 12] {
            hart.set_debug(&held).unwrap();
            assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
            assert_eq!(hart.state().pc, pc, "{name}");
        }
        // What waited comes when it may, and a step then leads into the handler.
        hart.set_debug(&STEP).unwrap();
        assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
        assert_eq!((hart.state().pc, hart.state().csr.sepc), (HANDLER + 4, CODE + 12), "{name}");
        // Nor does WFI wait where nothing is there to wake it.
        hart.change(&mut |s| (s.pc, s.csr.mip) = (CODE + 4, 0));
        hart.set_debug(&STEP).unwrap();
        assert_eq!(hart.run().unwrap(), VcpuExit::Debug(DebugStop::Step), "{name}");
        assert_eq!(hart.state().pc, CODE + 8, "{name}");
    }
}

#[test]
fn registers_of_units_that_are_off_are_read_and_written() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa_with(&[Ext::V]));
        let hart = &mut g.harts[0];
        for units in [0, mstatus::FS | mstatus::VS] {
            hart.change(&mut |s| s.csr.mstatus = s.csr.mstatus & !(mstatus::FS | mstatus::VS) | units);
            let before = hart.csr(csr::MSTATUS);
            for (n, value) in [(csr::FCSR, 0xe5), (csr::FRM, 3), (csr::FFLAGS, 0x11), (csr::VSTART, 5), (csr::VCSR, 6)]
            {
                assert!(hart.set_csr(n, value), "{name}: {n:#x}");
                assert_eq!(hart.csr(n), Some(value), "{name}: {n:#x}");
            }
            assert_eq!((hart.csr(csr::FCSR), hart.csr(csr::VXRM)), (Some(0x71), Some(3)), "{name}");
            for n in [csr::VL, csr::VTYPE, csr::VLENB] {
                assert!(hart.csr(n).is_some() && !hart.set_csr(n, 1), "{name}: {n:#x}");
            }
            // What is off stays off.
            assert_eq!(hart.csr(csr::MSTATUS), before, "{name}");
        }
    }
}
