//! Instructions as the clock: what `time` reads, when timers come, and what waiting does.

mod guest;

use std::sync::Arc;

use accel::tcg::{Tcg, TcgOptions, csr};
use accel::{Accel, BusFault, Clock, GuestBus, GuestRam, HartState, VcpuExit, VmConfig};
use arch::csr as n;
use arch::ext::IsaConfig;
use guest::{Asm, Op, RAM, modes};
use vm_memory::{Bytes, GuestAddress};

const CODE: u64 = RAM + 0x1_0000;
const HANDLER: u64 = RAM + 0x2_0000;
/// Instructions of a tick: 2 ns each, a tick is 100 ns.
const TICK: u64 = 50;

struct Nothing;

impl GuestBus for Nothing {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn answers(&self, _: u64) -> bool {
        false
    }
}

/// Runs a program in S-mode with STIE and SIE set, `stimecmp` never; it and its handler end by an SBI call.
fn run(options: TcgOptions, program: impl Fn(&mut Asm)) -> HartState {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 4 << 20)]).unwrap();
    let isa = IsaConfig::default();
    let config = VmConfig {
        ram: ram.clone(),
        bus: Arc::new(Nothing),
        clock: Arc::new(Clock::counting(10_000_000, 1)),
        harts: 1,
        isa: isa.clone(),
        builtin_sbi: true,
        machine_traps: false,
        imsic: None,
    };
    let mut vcpu = Tcg { options }.create_vm(config).unwrap().create_vcpu(0).unwrap();
    let mut main = Asm::at(CODE);
    program(&mut main);
    main.ecall();
    let mut handler = Asm::at(HANDLER);
    handler.csrr(20, n::TIME).ecall();
    for a in [main, handler] {
        ram.write_slice(&a.code, GuestAddress(a.base)).unwrap();
    }
    let mut s = csr::reset_supervisor(&isa, 0, CODE, 0);
    s.csr.stvec = HANDLER;
    s.csr.stimecmp = u64::MAX;
    s.csr.mie = 1 << 5;
    s.csr.mstatus |= 2;
    vcpu.set_state(&s);
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::Sbi(_)));
    vcpu.state()
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
