//! `minstret` and `mcycle` are exact: across branches, traps, WFI, writes and `mcountinhibit`.

mod guest;

use arch::csr::{MCOUNTINHIBIT, MCYCLE, MINSTRET};
use guest::*;

const CODE: u64 = RAM + 0x1_0000;
const STOP: u64 = RAM + 0x8000;

fn run(program: impl Fn(&mut Asm), check: impl Fn(&str, &accel::HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.csrr(30, MINSTRET).s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        g.load(&a);
        let s = g.machine(0, CODE, STOP);
        let end = g.run(&s);
        check(name, &end);
    }
}

#[test]
fn a_read_counts_the_instructions_before_it() {
    run(
        |a| {
            a.csrr(10, MINSTRET).nop().nop().csrr(11, MINSTRET).csrr(12, MCYCLE);
        },
        |name, s| assert_eq!((s.x[10], s.x[11], s.x[12], s.x[30]), (0, 3, 4, 5), "{name}"),
    );
}

#[test]
fn loops_calls_and_branches_either_way() {
    run(
        |a| {
            a.i(Op::Addi, 5, 0, 100);
            let again = a.here();
            a.i(Op::Andi, 6, 5, 1);
            let odd = a.forward(Op::Bne, 6, 0);
            a.nop();
            a.bind(odd);
            a.i(Op::Addi, 5, 5, -1).b(Op::Bne, 5, 0, again);
            let call = a.forward(Op::Jal, 1, 0);
            let end = a.forward(Op::Jal, 0, 0);
            a.bind(call);
            a.i(Op::Jalr, 0, 1, 0);
            a.bind(end);
        },
        // 1 + 100 * 4 + 50 + call, return, jump.
        |name, s| assert_eq!(s.x[30], 1 + 400 + 50 + 3, "{name}"),
    );
}

#[test]
fn a_write_sets_what_the_next_instruction_reads() {
    run(
        |a| {
            a.nop().i(Op::Addi, 5, 0, 1000).csrw(MINSTRET, 5).csrr(10, MINSTRET).nop().csrr(11, MINSTRET);
            a.csrw(MCYCLE, 0).csrr(12, MCYCLE).csrr(13, MINSTRET);
            // Read and written by one instruction.
            a.i(Op::Csrrw, 14, 5, i32::from(MINSTRET)).csrr(15, MINSTRET);
        },
        |name, s| {
            assert_eq!((s.x[10], s.x[11], s.x[12], s.x[13]), (1000, 1002, 0, 1005), "{name}");
            assert_eq!((s.x[14], s.x[15]), (1006, 1000), "{name}");
        },
    );
}

#[test]
fn inhibited_counters_stand_still() {
    run(
        |a| {
            a.i(Op::Addi, 5, 0, 4).nop().csrw(MCOUNTINHIBIT, 5).csrr(10, MINSTRET).nop().csrr(11, MINSTRET);
            a.csrr(12, MCYCLE).csrw(MCOUNTINHIBIT, 0).csrr(13, MINSTRET).nop().csrr(14, MINSTRET).csrr(15, MCYCLE);
        },
        |name, s| {
            // The write itself counts by the old setting.
            assert_eq!((s.x[10], s.x[11], s.x[12]), (3, 3, 6), "{name}");
            assert_eq!((s.x[13], s.x[14], s.x[15]), (3, 5, 11), "{name}");
        },
    );
}

#[test]
fn a_write_while_inhibited_holds() {
    run(
        |a| {
            a.i(Op::Addi, 5, 0, 5).csrw(MCOUNTINHIBIT, 5).i(Op::Addi, 6, 0, 77).csrw(MINSTRET, 6).csrw(MCYCLE, 6);
            a.nop().csrr(10, MINSTRET).csrr(11, MCYCLE).csrw(MCOUNTINHIBIT, 0).csrr(12, MINSTRET).csrr(13, MCYCLE);
        },
        |name, s| assert_eq!([s.x[10], s.x[11], s.x[12], s.x[13]], [77, 77, 77, 78], "{name}"),
    );
}

/// A fault, an illegal instruction and an environment call do not retire; `mret` does.
#[test]
fn exceptions_do_not_retire() {
    for raw in [0xffff_ffff, 0x73, 0x10_0073, word(Op::Ld, 5, 0, 0, 0), word(Op::Csrrw, 0, 0, 0, 0xc00)] {
        for (name, options) in modes() {
            let mut g = Guest::new(options, 1);
            let mut a = Asm::at(STOP);
            // Skips the instruction: csrr, addi, csrw, mret.
            a.csrr(6, arch::csr::MEPC).i(Op::Addi, 6, 6, 4).csrw(arch::csr::MEPC, 6).plain(Op::Mret);
            g.load(&a);
            let mut a = Asm::at(CODE);
            a.nop().word(raw).nop().csrr(30, MINSTRET).s(Op::Sd, 0, 31, 0);
            let here = a.here();
            a.j(0, here);
            g.load(&a);
            let mut s = g.machine(0, CODE, STOP);
            s.csr.mstatus |= 3 << 11;
            let end = g.run(&s);
            assert_eq!(end.x[30], 1 + 4 + 1, "{name} {raw:#x}");
        }
    }
}

/// WFI with an interrupt pending but not enabled globally retires and goes on.
#[test]
fn wfi_retires_once() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        a.plain(Op::Wfi).plain(Op::FenceI).sfence(0, 0).csrr(30, MINSTRET).s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.csr.mie = 1 << 3;
        g.harts[0].handle().set_irq(accel::HartIrq::MachineSoftware, true);
        assert_eq!(g.run(&s).x[30], 3, "{name}");
    }
}
