//! A hart that a debugger stops: breakpoints, steps, and the guest's own breakpoints beside them.

use accel::debug::{DebugConfig, DebugStop, WatchKind, Watchpoint};
use accel::testing::Registers as _;
use accel::{HartState, Mode, Vcpu, VcpuExit};
use arch::csr;
use arch::pte::U;

use crate::guest::{Asm, CODE, Op, Paging, RAM, RWX};
use crate::machine::{DEVICE, Machine, NOWHERE, end, finish, handle_timer, kicks, meanwhile, with_timer};

const HANDLER: u64 = CODE + 0x2000;
const COUNT: u64 = CODE + 0x8000;
const EBREAK: u32 = 0x0010_0073;
const C_EBREAK: u16 = 0x9002;

const BREAKPOINT: VcpuExit = VcpuExit::Debug(DebugStop::Breakpoint);
const STEP: VcpuExit = VcpuExit::Debug(DebugStop::Step);

fn at(places: &[u64]) -> DebugConfig {
    DebugConfig { breakpoints: places.to_vec(), ..DebugConfig::default() }
}

fn stepping() -> DebugConfig {
    DebugConfig { single_step: true, hold_interrupts: true, ..DebugConfig::default() }
}

fn set(v: &mut Box<dyn Vcpu>, config: &DebugConfig) {
    assert_eq!(v.set_debug(config).expect("the kernel has breakpoints"), Vec::<u64>::new());
}

/// One step; the pc behind it.
fn step(v: &mut Box<dyn Vcpu>) -> u64 {
    set(v, &stepping());
    assert_eq!(v.run().expect("the engine runs"), STEP);
    v.state().pc
}

/// A loop that counts to `rounds` in x20, with its top. Half of its instructions are compressed.
fn counter(m: &Machine, rounds: u64) -> (HartState, u64) {
    let mut top = 0;
    m.program(|a| {
        a.li(21, rounds).li(22, COUNT);
        top = a.here();
        // c.addi x20, 1
        a.half(0x0a05).s(Op::Sd, 20, 22, 0).half(0x0001).b(Op::Bne, 20, 21, top);
    });
    let mut start = m.start(0);
    (start.x[21], start.x[22]) = (rounds, COUNT);
    (start, top)
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn breakpoints_stop_and_memory_stays_as_it_is() {
    let mut m = Machine::new(1);
    let (start, top) = counter(&m, 5);
    let code = m.read(CODE, 0x200);
    m.harts[0].set_state(&start);
    // An instruction of 16 bits and one of 32.
    let both = at(&[top, top + 2]);
    set(&mut m.harts[0], &both);
    for round in 0..5 {
        for (place, x20) in [(top, round), (top + 2, round + 1)] {
            // It stands until it is stepped.
            for _ in 0..2 {
                assert_eq!(m.harts[0].run().expect("the engine runs"), BREAKPOINT);
                let s = m.harts[0].state();
                assert_eq!((s.pc, s.x[20]), (place, x20));
                assert!(m.read(CODE, 0x200) == code, "in {round}");
            }
            assert_ne!(step(&mut m.harts[0]), place);
            set(&mut m.harts[0], &both);
        }
    }
    assert_eq!(finish(&mut m.harts[0]).x[20], 5);
    set(&mut m.harts[0], &DebugConfig::default());
    m.harts[0].set_state(&start);
    assert_eq!(finish(&mut m.harts[0]).x[20], 5);
    assert!(m.read(CODE, 0x200) == code);
}

/// Ends the program, after a trap.
fn handler(m: &Machine) {
    let mut a = Asm::at(HANDLER);
    end(&mut a);
    m.load(&a);
}

/// The guest gets its own breakpoints as though there were no debugger.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_guests_own_breakpoints_are_its_own() {
    let mut m = Machine::new(1);
    handler(&m);
    for (compressed, mode) in [(false, Mode::Supervisor), (true, Mode::Supervisor), (false, Mode::User)] {
        let mut own = 0;
        m.program(|a| {
            a.nop();
            own = a.here();
            if compressed {
                a.half(C_EBREAK)
            } else {
                a.word(EBREAK)
            };
        });
        let mut start = m.start(0);
        (start.mode, start.csr.stvec) = (mode, HANDLER | 1);
        start.csr.mstatus |= csr::mstatus::SIE;
        let v = &mut m.guest.harts[0];
        set(v, &DebugConfig::default());
        v.set_state(&start);
        let plain = finish(v);
        assert_eq!((plain.csr.scause, plain.csr.sepc), (3, own));
        v.set_state(&start);
        set(v, &at(&[HANDLER]));
        assert_eq!(v.run().expect("the engine runs"), BREAKPOINT);
        let s = v.state();
        assert_eq!((s.pc, s.csr.stval, s.mode), (HANDLER, own, Mode::Supervisor));
        set(v, &DebugConfig::default());
        let s = finish(v);
        assert_eq!((s.csr.scause, s.csr.sepc, s.csr.mstatus), (3, own, plain.csr.mstatus));
        // Stepped over, and one in the same place as the debugger's.
        v.set_state(&start);
        assert_eq!((step(v), step(v)), (own, HANDLER));
        v.set_state(&start);
        set(v, &at(&[own]));
        assert_eq!(v.run().expect("the engine runs"), BREAKPOINT);
        assert_eq!((v.state().pc, step(v)), (own, HANDLER));
        set(v, &DebugConfig::default());
        assert_eq!(finish(v).csr.sepc, own);
    }
}

/// Every way that an instruction can go.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_step_is_one_instruction() {
    let mut m = Machine::new(1);
    handler(&m);
    let (mut path, mut failing) = (Vec::new(), 0);
    m.program(|a| {
        let mut next = |a: &mut Asm| path.push(a.here());
        next(a);
        a.i(Op::Addi, 20, 0, 7);
        next(a);
        a.half(0x0001);
        next(a);
        let on = a.forward(Op::Beq, 0, 0);
        a.nop();
        a.bind(on);
        next(a);
        let on = a.forward(Op::Jal, 1, 0);
        a.nop();
        a.bind(on);
        next(a);
        a.s(Op::Sd, 20, 22, 0);
        next(a);
        a.i(Op::Ld, 23, 24, 0);
        next(a);
        // A call that the kernel answers: the base's version.
        a.ecall();
        next(a);
        a.csrrw(25, csr::SSCRATCH, 20);
        next(a);
        a.csrr(26, csr::SIE);
        next(a);
        a.plain(Op::Wfi);
        next(a);
        // Where the reservation would be lost it would go round for ever.
        let again = a.here();
        a.amo(Op::LrD, 27, 0, 22, 0).i(Op::Addi, 27, 27, 1).amo(Op::ScD, 28, 27, 22, 0);
        next(a);
        a.b(Op::Bne, 28, 0, again);
        next(a);
        a.plain(Op::FenceI);
        next(a);
        failing = a.here();
        a.i(Op::Ld, 23, 29, 0);
    });
    let mut s = m.start(0);
    (s.x[16], s.x[17], s.x[22], s.x[24], s.x[29]) = (0, 0x10, COUNT, DEVICE, NOWHERE);
    (s.csr.stvec, s.csr.mie) = (HANDLER, 0x202);
    m.device.loads.store(42, std::sync::atomic::Ordering::SeqCst);
    let v = &mut m.guest.harts[0];
    v.set_state(&s);
    assert_eq!(path[0], v.state().pc);
    for place in &path[1..] {
        assert_eq!(step(v), *place);
    }
    assert_eq!(step(v), HANDLER);
    let s = v.state();
    assert_eq!((s.csr.scause, s.csr.sepc, s.csr.stval), (5, failing, NOWHERE));
    assert_eq!((s.x[1], s.x[10], s.x[23], s.x[26], s.csr.mie), (path[3] + 4, 0, 42, 0x202, 0x202));
    assert_eq!((s.x[27], s.x[28], s.csr.sscratch), (8, 0, 7));
    assert_eq!(m.read64(COUNT), 8);
}

/// Into U-mode, a call from there, and what leaves for an answer.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn steps_go_from_mode_to_mode() {
    const USER: u64 = CODE + 0x3000;
    const DBCN: u64 = 0x4442_434e;
    let mut m = Machine::new(1);
    let mut a = Asm::at(HANDLER);
    a.nop().ecall().nop();
    m.load(&a);
    let mut a = Asm::at(USER);
    a.nop().ecall();
    m.load(&a);
    m.program(|a| {
        a.plain(Op::Sret);
    });
    let mut s = m.start(0);
    (s.csr.sepc, s.csr.stvec, s.x[17], s.x[16]) = (USER, HANDLER, DBCN, 2);
    let v = &mut m.guest.harts[0];
    v.set_state(&s);
    assert_eq!((step(v), v.state().mode), (USER, Mode::User));
    assert_eq!((step(v), v.state().mode), (USER + 4, Mode::User));
    assert_eq!((step(v), v.state().mode, v.state().csr.scause), (HANDLER, Mode::Supervisor, 8));
    assert_eq!(step(v), HANDLER + 4);
    set(v, &stepping());
    let VcpuExit::Sbi(call) = v.run().expect("the engine runs") else { panic!("no call") };
    v.finish_sbi(&call, -3, 42).unwrap();
    assert_eq!(v.run().expect("the engine runs"), STEP);
    let s = v.state();
    assert_eq!((s.pc, s.x[10] as i64, s.x[11]), (HANDLER + 8, -3, 42));
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn interrupts_wait_if_they_shall() {
    let mut m = Machine::new(1);
    handle_timer(&m);
    let (start, top) = counter(&m, 1_000_000);
    // Due at once, and enabled.
    let start = with_timer(HartState { pc: top, ..start }, 1 << 40, 2);
    let v = &mut m.guest.harts[0];
    for mode in [Mode::Supervisor, Mode::User] {
        v.set_state(&HartState { mode, ..start.clone() });
        for place in [top + 2, top + 6, top + 8, top, top + 2] {
            assert_eq!(step(v), place);
        }
        let s = v.state();
        assert_eq!((s.x[27], s.csr.mie, s.csr.scause, s.mode), (0, start.csr.mie, start.csr.scause, mode));
        assert_eq!(s.csr.mstatus & csr::mstatus::SIE, start.csr.mstatus & csr::mstatus::SIE);
        // Now they come, into the handler or after an instruction.
        set(v, &DebugConfig { hold_interrupts: false, ..stepping() });
        for _ in 0..2 {
            assert_eq!(v.run().expect("the engine runs"), STEP);
        }
        assert_eq!(v.state().csr.scause, crate::machine::TIMER);
    }
}

/// In a machine that stands still but for a step, each step begins at the time that it stands at.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn time_stands_still_between_steps() {
    let mut m = Machine::new(1);
    m.program(|a| {
        a.csrr(20, csr::TIME).csrr(20, csr::TIME);
    });
    let start = m.start(0);
    m.clock.pause();
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    for (place, time) in [(CODE + 4, 1u64 << 60), (CODE + 8, 1 << 50)] {
        // Nobody tells the harts of it.
        m.guest.clock.set(time);
        assert_eq!(step(v), place);
        assert_eq!(v.state().x[20] >> 50, time >> 50);
    }
}

/// A breakpoint is at its virtual address. What else stands in the page is stepped over.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn another_address_of_the_same_code_is_no_breakpoint() {
    const ALIAS: u64 = 0x4000_0000;
    let mut m = Machine::new(1);
    let (start, top) = counter(&m, 300);
    let mut paging = Paging::new(RAM + 0x40_0000);
    for va in [RAM, ALIAS] {
        paging.map(&m, va, RAM, RWX, 1);
    }
    paging.map(&m, 0, 0, RWX & !arch::pte::X, 1);
    let mut start = HartState { pc: start.pc - RAM + ALIAS, ..start };
    start.csr.satp = paging.satp(0);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    set(v, &at(&[top]));
    let s = finish(v);
    assert_eq!(s.x[20], 300);
    v.set_state(&start);
    set(v, &at(&[top - RAM + ALIAS, top]));
    assert_eq!(v.run().expect("the engine runs"), BREAKPOINT);
    assert_eq!(v.state().pc, top - RAM + ALIAS);
    // Nothing is there; a page of U-mode's is.
    let user = 0x5000_0000;
    paging.map(&m, user, RAM, RWX | U, 1);
    let v = &mut m.guest.harts[0];
    let places = at(&[0x6000_0000, user, DEVICE, top + 1]);
    assert_eq!(v.set_debug(&places).expect("an answer"), [0x6000_0000, DEVICE, top + 1]);
    set(v, &DebugConfig::default());
    assert_eq!(finish(v).x[20], 300);
}

/// Two harts on the same code, with a breakpoint that is only one's. The other passes it, and the first is not disturbed.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_hart_steps_while_others_wait() {
    const ROUNDS: u64 = 200;
    let mut m = Machine::new(2);
    let (start, top) = counter(&m, ROUNDS);
    let mut other = Asm::at(HANDLER);
    other.li(21, ROUNDS).li(22, COUNT + 8);
    let place = other.here();
    other.half(0x0a05).s(Op::Sd, 20, 22, 0).half(0x0001).b(Op::Bne, 20, 21, place);
    end(&mut other);
    m.load(&other);
    let second = HartState { pc: HANDLER, ..m.start(1) };
    m.harts[0].set_state(&start);
    m.harts[1].set_state(&second);
    set(&mut m.harts[0], &at(&[place, place + 6]));
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let (a, b) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| finish(second));
        let a = finish(first);
        (a, thread.join().expect("a hart's thread"))
    });
    assert_eq!((a.x[20], b.x[20]), (ROUNDS, ROUNDS));
    assert_eq!((m.read64(COUNT), m.read64(COUNT + 8)), (ROUNDS, ROUNDS));
    // Both stop at theirs.
    for v in &mut m.harts {
        v.set_state(&start);
        set(v, &at(&[top]));
    }
    let [first, second] = &mut m.guest.harts[..] else { panic!("two harts") };
    let exits = std::thread::scope(|scope| {
        let thread = scope.spawn(|| second.run().expect("the engine runs"));
        (first.run().expect("the engine runs"), thread.join().expect("a hart's thread"))
    });
    assert_eq!(exits, (BREAKPOINT, BREAKPOINT));
}

/// Kicks at any moment of a step: it is done once.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_step_that_is_kicked_is_done_once() {
    let mut m = Machine::new(1);
    let (start, top) = counter(&m, 1000);
    let v = &mut m.guest.harts[0];
    v.set_state(&HartState { pc: top, ..start });
    let handle = v.handle();
    meanwhile(vec![kicks(handle, 3, 20_000, 2000)], || {
        for round in 1..=100u64 {
            for place in [top + 2, top + 6, top + 8, top] {
                set(v, &stepping());
                let exit = loop {
                    match v.run().expect("the engine runs") {
                        VcpuExit::Kicked => {}
                        exit => break exit,
                    }
                };
                assert_eq!((exit, v.state().pc), (STEP, place), "round {round}");
            }
            assert_eq!(v.state().x[20], round);
        }
    });
}

/// Code that the guest changes is not changed back.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn what_the_guest_writes_over_a_breakpoint_stays() {
    let mut m = Machine::new(1);
    let mut place = 0;
    m.program(|a| {
        // c.addi x20, 2 in place of c.addi x20, 1.
        a.s(Op::Sh, 23, 22, 0).plain(Op::FenceI);
        place = a.here();
        a.half(0x0a05);
    });
    let mut start = m.start(0);
    (start.x[22], start.x[23]) = (place, 0x0a09);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    set(v, &at(&[place]));
    assert_eq!(finish(v).x[20], 2);
    assert_eq!(m.read(place, 2), [0x09, 0x0a]);
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn what_cannot_be_is_refused() {
    let mut m = Machine::new(1);
    let (start, _) = counter(&m, 5);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    let watchpoints = vec![Watchpoint { start: COUNT, len: 8, kind: WatchKind::Write }];
    let refused = v.set_debug(&DebugConfig { watchpoints, ..DebugConfig::default() }).expect_err("no watchpoints");
    assert!(refused.to_string().contains("does not support watchpoints"), "{refused}");
    assert_eq!(finish(v).x[20], 5);
}
