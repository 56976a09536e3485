//! Timers of a hart: comparators in the past, moved, disarmed; WFI; a clock that stops or jumps.

mod guest;

use std::time::Duration;

use accel::testing::Registers as _;
use accel::{HartIrq, HartState, VcpuExit};
use guest::*;

const MTIE: u64 = 1 << 7;
const STIE: u64 = 1 << 5;
/// Ticks in a millisecond.
const MS: u64 = 10_000;

/// What waits for the interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Idle {
    Spin,
    Wfi,
}

const IDLES: [Idle; 2] = [Idle::Spin, Idle::Wfi];

fn idle(g: &Guest, how: Idle) {
    let mut a = Asm::at(CODE);
    let again = a.here();
    if how == Idle::Wfi {
        a.plain(Op::Wfi);
    }
    a.i(Op::Addi, 10, 10, 1).j(0, again);
    g.load(&a);
}

/// An M-mode hart that idles with machine timer interrupts on; the interrupt ends the program.
fn machine(options: accel::tcg::TcgOptions, how: Idle) -> (Guest, HartState) {
    let g = Guest::new(options, 1);
    g.stop_code(STOP);
    idle(&g, how);
    let mut s = g.machine(0, CODE, STOP);
    s.csr.mie = MTIE;
    s.csr.mstatus |= 8;
    (g, s)
}

const MACHINE_TIMER: u64 = 1 << 63 | 7;
const SUPERVISOR_TIMER: u64 = 1 << 63 | 5;

#[test]
fn a_comparator_in_the_past_fires_at_once() {
    for (name, options) in modes() {
        for how in IDLES {
            let (mut g, s) = machine(options.clone(), how);
            g.harts[0].handle().set_mtimecmp(0);
            assert_eq!(g.run(&s).csr.mcause, MACHINE_TIMER, "{name} {how:?}");
        }
    }
}

/// The first deadline passes while it is not the comparator's value any more.
#[test]
fn a_comparator_moved_back_still_fires() {
    for (name, options) in modes() {
        for how in IDLES {
            let (mut g, s) = machine(options.clone(), how);
            g.harts[0].set_state(&s);
            let h = g.harts[0].handle();
            let now = g.clock.now();
            h.set_mtimecmp(now + 5 * MS);
            h.set_mtimecmp(now + 25 * MS);
            let end = g.resume();
            assert_eq!(end.csr.mcause, MACHINE_TIMER, "{name} {how:?}");
            assert!(g.clock.now() >= now + 25 * MS, "{name} {how:?}");
        }
    }
}

/// One interrupt after the other from two comparators of one hart.
#[test]
fn each_of_two_timers_fires() {
    for (name, options) in modes() {
        for how in IDLES {
            let (mut g, mut s) = machine(options.clone(), how);
            s.csr.mie = MTIE | STIE;
            let now = g.clock.now();
            s.csr.menvcfg |= 1 << 63;
            s.csr.stimecmp = now + 15 * MS;
            g.harts[0].handle().set_mtimecmp(now + 5 * MS);
            // However late it is, the machine's timer goes first.
            let end = g.run(&s);
            assert_eq!(end.csr.mcause, MACHINE_TIMER, "{name} {how:?}");
            g.harts[0].handle().set_mtimecmp(u64::MAX);
            let mut s = end;
            s.pc = CODE;
            s.csr.mstatus |= 8;
            assert_eq!(g.run(&s).csr.mcause, SUPERVISOR_TIMER, "{name} {how:?}");
        }
    }
}

#[test]
fn supervisor_timers_of_both_kinds() {
    for (name, options) in modes() {
        for how in IDLES {
            for sstc in [true, false] {
                let mut g = Guest::new(options.clone(), 1);
                idle(&g, how);
                let mut a = Asm::at(STOP);
                a.ecall();
                g.load(&a);
                let mut s = g.supervisor(0, CODE);
                s.csr.stvec = STOP;
                s.csr.mie = STIE;
                s.csr.mstatus |= 2;
                let at = g.clock.now() + 5 * MS;
                if sstc {
                    s.csr.stimecmp = at;
                    g.harts[0].set_state(&s);
                } else {
                    s.csr.menvcfg &= !(1 << 63);
                    g.harts[0].set_state(&s);
                    g.harts[0].handle().set_sbi_timer(at);
                }
                let end = g.resume();
                assert_eq!(end.csr.scause, SUPERVISOR_TIMER, "{name} {how:?} {sstc}");
                assert!(g.clock.now() >= at);
            }
        }
    }
}

/// The guest moves its own comparator, nearer and farther, and at last disarms it.
#[test]
fn stimecmp_written_by_the_guest() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        // x5 = now; farther, nearer, then spin until it fires.
        a.csrr(5, arch::csr::TIME).r(Op::Add, 6, 5, 11).csrw(arch::csr::STIMECMP, 6);
        a.r(Op::Add, 6, 5, 10).csrw(arch::csr::STIMECMP, 6);
        let spin = a.here();
        a.j(0, spin);
        g.load(&a);
        let mut a = Asm::at(STOP);
        // Disarmed, STIP is gone with the instruction.
        a.csrr(12, arch::csr::SIP).i(Op::Addi, 7, 0, -1).csrw(arch::csr::STIMECMP, 7).csrr(13, arch::csr::SIP);
        a.ecall();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        s.csr.stvec = STOP;
        s.csr.mie = STIE;
        s.csr.mstatus |= 2;
        (s.x[10], s.x[11]) = (2 * MS, 3_600_000 * MS);
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.x[12], end.x[13]), (SUPERVISOR_TIMER, STIE, 0), "{name}");
    }
}

#[test]
fn a_disarmed_timer_does_not_fire() {
    for how in IDLES {
        let (mut g, s) = machine(Default::default(), how);
        g.harts[0].set_state(&s);
        let h = g.harts[0].handle();
        h.set_mtimecmp(g.clock.now() + 3 * MS);
        h.set_mtimecmp(u64::MAX);
        let kicker = {
            let h = g.harts[0].handle();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                h.kick();
            })
        };
        assert_eq!(g.harts[0].run().unwrap(), VcpuExit::Kicked);
        kicker.join().unwrap();
        assert_eq!(g.harts[0].state().csr.mcause, 0, "{how:?}");
    }
}

/// A timer that has passed but is not enabled does not keep WFI from sleeping.
#[test]
fn wfi_sleeps_over_a_timer_that_is_not_enabled() {
    let (mut g, mut s) = machine(Default::default(), Idle::Wfi);
    s.csr.mie = 1 << 3;
    g.harts[0].set_state(&s);
    let h = g.harts[0].handle();
    h.set_mtimecmp(0);
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        h.set_irq(HartIrq::MachineSoftware, true);
    });
    let before = cpu_time();
    let end = g.resume();
    let used = cpu_time() - before;
    waker.join().unwrap();
    assert_eq!(end.csr.mcause, 1 << 63 | 3);
    assert!(used < Duration::from_millis(40), "WFI was awake for {used:?} of 50 ms");
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

#[test]
fn a_clock_that_is_paused_or_set() {
    for (name, options) in modes() {
        for how in IDLES {
            let (mut g, s) = machine(options.clone(), how);
            g.harts[0].set_state(&s);
            g.clock.pause();
            let at = g.clock.now() + 2 * MS;
            g.harts[0].handle().set_mtimecmp(at);
            let (h, clock) = (g.harts[0].handle(), std::sync::Arc::clone(&g.clock));
            let helper = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(6));
                // Backwards while stopped, then on.
                clock.set(5);
                h.clock_changed();
                clock.resume();
                h.clock_changed();
                // An hour away it would last; the guest's clock jumps there.
                clock.set(at);
                h.clock_changed();
            });
            let end = g.resume();
            helper.join().unwrap();
            assert_eq!(end.csr.mcause, MACHINE_TIMER, "{name} {how:?}");
        }
    }
}

/// A deadline that has passed lies ahead again after the clock was set back.
#[test]
fn a_clock_set_back_after_the_deadline() {
    for how in IDLES {
        let (mut g, mut s) = machine(Default::default(), how);
        s.csr.mie = 0;
        g.harts[0].set_state(&s);
        let h = g.harts[0].handle();
        g.clock.set(1000 * MS);
        h.set_mtimecmp(900 * MS);
        h.kick();
        assert_eq!(g.harts[0].run().unwrap(), VcpuExit::Kicked);
        g.clock.set(895 * MS);
        h.clock_changed();
        s.csr.mie = MTIE;
        g.harts[0].set_state(&s);
        assert_eq!(g.resume().csr.mcause, MACHINE_TIMER, "{how:?}");
        assert!(g.clock.now() >= 900 * MS);
    }
}

/// What ends WFI: each line, SSIP and a kick.
#[test]
fn what_wakes_wfi() {
    use HartIrq::*;
    for (name, options) in modes() {
        for irq in [SupervisorSoftware, MachineSoftware, SupervisorExternal, MachineExternal] {
            let (mut g, mut s) = machine(options.clone(), Idle::Wfi);
            s.csr.mie = irq.mask();
            g.harts[0].set_state(&s);
            let h = g.harts[0].handle();
            let t = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                if irq == SupervisorSoftware { h.raise_ssip() } else { h.set_irq(irq, true) }
            });
            let end = g.resume();
            t.join().unwrap();
            assert_eq!(end.csr.mcause, 1 << 63 | irq as u64, "{name}");
            // It is the instruction after WFI that was interrupted, if it came to that.
            assert!(end.csr.mepc == CODE + 4 || end.x[10] == 0 && end.csr.mepc == CODE, "{name}");
        }
    }
}
