//! Traps into M-mode where no software stands there: they leave the guest, and whoever runs it does what firmware would.

mod guest;

use accel::tcg::firmware::{enter_event, go_back, leave_event, pass_on};
use accel::testing::Registers as _;
use accel::{Mode, VcpuExit};
use arch::csr::{SCAUSE, SEPC, SSTATUS, envcfg, mip, mstatus, xcause};
use arch::ext::Ext;
use guest::*;

/// S-mode's trap handler.
const HANDLER: u64 = RAM + 0x8000;
const EVENT: u64 = RAM + 0x9000;

fn handler(g: &Guest) {
    let mut a = Asm::at(HANDLER);
    a.csrr(10, SCAUSE).csrr(11, SEPC).csrr(12, SSTATUS).plain(Op::Ecall);
    g.load(&a);
}

#[test]
fn a_trap_that_is_passed_on_is_the_supervisors() {
    for (name, options) in modes() {
        let mut g = Guest::without_machine_mode(options, isa_with(&[]));
        handler(&g);
        let mut a = Asm::at(CODE);
        a.i(Op::Addi, 5, 5, 1).word(0xffff_ffff);
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        s.csr.stvec = HANDLER;
        s.csr.medeleg &= !(1 << 2);
        s.csr.mstatus |= mstatus::SIE;
        let isa = g.isa.clone();
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        for _ in 0..2 {
            assert_eq!(
                hart.run().expect("the hart runs"),
                VcpuExit::MachineTrap,
                "{name}: it stays until it is handled"
            );
        }
        let trapped = hart.state();
        assert_eq!((trapped.mode, trapped.csr.mcause, trapped.csr.mepc), (Mode::Machine, 2, CODE + 4), "{name}");
        hart.change(&mut |s| pass_on(s, &isa));
        assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(_))), "{name}");
        let end = hart.state();
        assert_eq!((end.x[5], end.x[10], end.x[11]), (1, 2, CODE + 4), "{name}");
        let status = mstatus::SPP | mstatus::SPIE | mstatus::SIE;
        assert_eq!(end.x[12] & status, mstatus::SPP | mstatus::SPIE, "{name}");
    }
}

#[test]
fn a_double_trap_leaves_with_what_it_was() {
    for (name, options) in modes() {
        let mut g = Guest::without_machine_mode(options, isa_with(&[Ext::Ssdbltrp]));
        let mut a = Asm::at(CODE);
        a.word(0xffff_ffff);
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        s.csr.menvcfg |= envcfg::DTE;
        s.csr.mstatus |= mstatus::SDT;
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        assert_eq!(hart.run().expect("the hart runs"), VcpuExit::MachineTrap, "{name}");
        let c = hart.state().csr;
        assert_eq!((c.mcause, c.mtval2, c.mepc), (16, 2, CODE), "{name}");
    }
}

#[test]
fn an_interrupt_that_is_not_delegated_comes_at_once_and_an_event_can_take_its_place() {
    for (name, options) in modes() {
        let mut g = Guest::without_machine_mode(options, isa_with(&[Ext::Sscofpmf]));
        let mut a = Asm::at(CODE);
        a.i(Op::Addi, 5, 5, 1).plain(Op::Ecall);
        g.load(&a);
        let mut a = Asm::at(EVENT);
        a.i(Op::Addi, 6, 17, 0).i(Op::Addi, 7, 16, 0).csrr(8, SEPC).plain(Op::Ecall);
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.x[16], s.x[17], s.csr.sepc) = (60, 70, RAM);
        s.csr.mideleg &= !mip::LCOFIP;
        s.csr.mie |= mip::LCOFIP;
        s.csr.mip |= mip::LCOFIP;
        let isa = g.isa.clone();
        let hart = &mut g.harts[0];
        hart.set_state(&s);
        assert_eq!(hart.run().expect("the hart runs"), VcpuExit::MachineTrap, "{name}");
        let c = hart.state().csr;
        assert_eq!((c.mcause, c.mepc), (xcause::INTERRUPT | 13, CODE), "{name}: before the first instruction");
        let mut interrupted = [0; 4];
        hart.change(&mut |s| {
            s.csr.mip &= !mip::LCOFIP;
            go_back(s);
            interrupted = enter_event(s, EVENT, 1234);
        });
        assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(call)) if call.eid == 1234), "{name}");
        let at_end = hart.state();
        assert_eq!((at_end.x[6], at_end.x[7], at_end.x[8]), (1234, 0, CODE), "{name}: argument, hart, pc");
        hart.change(&mut |s| leave_event(s, &isa, interrupted));
        assert!(matches!(hart.run(), Ok(VcpuExit::Sbi(call)) if (call.eid, call.fid) == (70, 60)), "{name}");
        let end = hart.state();
        assert_eq!((end.x[5], end.pc, end.csr.sepc), (1, CODE + 8, RAM), "{name}");
    }
}
