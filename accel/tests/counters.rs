//! Counters are exact: across branches, traps, WFI, writes, `mcountinhibit` and filters; so are their overflows.

mod guest;

use accel::HartState;
use arch::csr::{MCOUNTINHIBIT, MCYCLE, MHPMCOUNTER3, MHPMEVENT3, MINSTRET, MIP, event, mhpmevent, mip, mstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

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

/// A hart with all that there is about counters.
fn counting() -> IsaConfig {
    let mut isa = IsaConfig::default();
    [Ext::Sscofpmf, Ext::Smcntrpmf].into_iter().for_each(|ext| isa.exts.insert(ext));
    isa
}

/// Runs a program that ends with the stop code from a prepared state, in every mode of the engine.
fn run_with(
    isa: &IsaConfig,
    program: impl Fn(&mut Asm),
    prepare: impl Fn(&mut HartState),
    check: impl Fn(&str, &HartState),
) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa.clone());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.j(0, STOP);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        prepare(&mut s);
        let end = g.run(&s);
        check(name, &end);
    }
}

#[test]
fn event_counters_count_their_event() {
    run_with(
        &counting(),
        |a| {
            a.csrw(MHPMEVENT3, 5).csrw(MHPMEVENT3 + 1, 6).csrr(10, MHPMCOUNTER3).nop().csrr(11, MHPMCOUNTER3);
            a.csrr(12, MHPMCOUNTER3 + 1);
            // A write holds, and an event of none counts nothing.
            a.li(7, 1000).csrw(MHPMCOUNTER3, 7).csrr(13, MHPMCOUNTER3).csrw(MHPMEVENT3, 0);
            a.csrr(14, MHPMCOUNTER3).nop().csrr(15, MHPMCOUNTER3);
            // The write of mcountinhibit itself counts by the old rule.
            a.csrr(16, MHPMCOUNTER3 + 1)
                .i(Op::Addi, 8, 0, 1 << 4)
                .csrw(MCOUNTINHIBIT, 8)
                .csrr(17, MHPMCOUNTER3 + 1)
                .nop();
            a.csrr(18, MHPMCOUNTER3 + 1).csrr(19, MHPMCOUNTER3 + 16);
        },
        |s| (s.x[5], s.x[6]) = (event::INSTRUCTIONS, event::CYCLES),
        |name, s| {
            assert_eq!((s.x[10], s.x[11], s.x[12]), (1, 3, 3), "{name}");
            assert_eq!((s.x[13], s.x[14], s.x[15]), (1000, 1002, 1002), "{name}");
            assert_eq!((s.x[17], s.x[18], s.x[19]), (s.x[16] + 3, s.x[16] + 3, 0), "{name}");
        },
    );
}

/// The overflow interrupt comes right behind the instruction that overflows the counter, wherever in a loop.
#[test]
fn an_overflow_interrupts_at_its_instruction() {
    for left in [1, 2, 3, 4, 47, 48, 49, 50, 1000, 54_321] {
        run_with(
            &counting(),
            |a| {
                a.csrw(MHPMCOUNTER3, 5);
                // From here on everything counts: the loop, which jumps about so that there are links and lookups.
                let again = a.here();
                a.i(Op::Addi, 10, 10, 1).i(Op::Addi, 11, 11, 1);
                let over = a.forward(Op::Jal, 0, 0);
                a.nop();
                a.bind(over);
                a.i(Op::Addi, 12, 12, 1).j(0, again);
            },
            |s| {
                s.x[5] = 0u64.wrapping_sub(left);
                s.csr.mhpmevent[3] = event::INSTRUCTIONS;
                s.csr.mie = mip::LCOFIP;
                s.csr.mstatus |= mstatus::MIE;
            },
            |name, s| {
                assert_eq!(s.csr.mcause, 1 << 63 | 13, "{name} {left}");
                // Five instructions a round.
                assert_eq!(s.csr.mepc, CODE + 4 + [0, 4, 8, 16, 20][(left % 5) as usize], "{name} {left}");
                let sum = s.x[10] + s.x[11] + s.x[12];
                assert_eq!(sum, left / 5 * 3 + [0, 1, 2, 2, 3][(left % 5) as usize], "{name} {left}");
                assert_eq!(s.csr.mhpmevent[3], event::INSTRUCTIONS | mhpmevent::OF, "{name}");
                assert_eq!(s.csr.mip & mip::LCOFIP, mip::LCOFIP, "{name}");
            },
        );
    }
}

#[test]
fn a_counter_with_of_set_overflows_in_silence() {
    run_with(
        &counting(),
        |a| {
            a.csrw(MHPMCOUNTER3, 5).nop().nop().csrr(10, MHPMCOUNTER3).csrr(11, MIP).csrr(12, MHPMEVENT3);
        },
        |s| {
            s.x[5] = u64::MAX;
            s.csr.mhpmevent[3] = event::CYCLES | mhpmevent::OF;
            s.csr.mie = mip::LCOFIP;
            s.csr.mstatus |= mstatus::MIE;
        },
        |name, s| {
            assert_eq!((s.x[10], s.x[11], s.csr.mcause), (1, 0, 0), "{name}");
            assert_eq!(s.x[12], event::CYCLES | mhpmevent::OF, "{name}");
        },
    );
}

/// Writes never overflow, and a counter that is far from it (perf counts so) interrupts nobody.
#[test]
fn writes_do_not_overflow() {
    run_with(
        &counting(),
        |a| {
            a.csrw(MHPMCOUNTER3, 5)
                .csrw(MHPMCOUNTER3, 0)
                .csrr(10, MHPMEVENT3)
                .csrr(11, MIP)
                .csrw(MHPMCOUNTER3, 6)
                .nop();
            a.csrr(12, MHPMCOUNTER3);
        },
        |s| {
            (s.x[5], s.x[6]) = (u64::MAX, 1 << 62);
            s.csr.mhpmevent[3] = event::INSTRUCTIONS;
        },
        |name, s| assert_eq!((s.x[10], s.x[11], s.x[12]), (event::INSTRUCTIONS, 0, (1 << 62) + 1), "{name}"),
    );
}

/// Two counters at once, and what the handler does to let the next overflow come.
#[test]
fn overflows_come_again_when_the_handler_rearms() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, counting());
        let mut a = Asm::at(STOP);
        // x20 counts interrupts; x21 collects the OF bits that were seen.
        a.i(Op::Addi, 20, 20, 1).csrr(22, arch::csr::SCOUNTOVF).r(Op::Or, 21, 21, 22);
        a.csrw(MHPMCOUNTER3, 5).csrw(MHPMEVENT3, 6).csrc(MIP, 7);
        a.i(Op::Slti, 23, 20, 20);
        let more = a.forward(Op::Bne, 23, 0);
        a.s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        a.bind(more);
        a.plain(Op::Mret);
        g.load(&a);
        let mut a = Asm::at(CODE);
        let again = a.here();
        a.i(Op::Addi, 10, 10, 1).j(0, again);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        (s.x[5], s.x[6], s.x[7]) = (0u64.wrapping_sub(301), event::INSTRUCTIONS | mhpmevent::MINH, mip::LCOFIP);
        s.csr.mhpmevent[3] = s.x[6];
        s.csr.mhpmevent[4] = event::CYCLES | mhpmevent::MINH;
        s.csr.mhpmcounter[3] = s.x[5];
        s.csr.mhpmcounter[4] = 0u64.wrapping_sub(2000);
        s.csr.mie = mip::LCOFIP;
        s.csr.mcounteren = u64::from(u32::MAX);
        s.mode = accel::Mode::User;
        let end = g.run(&s);
        assert_eq!(end.x[20], 20, "{name}");
        assert_eq!(end.x[21], 1 << 3 | 1 << 4, "{name}");
        // Every 301 instructions of U-mode: six times, then the other counter, whose handler starts the first one anew,
        // and thirteen times more.
        assert_eq!((end.csr.mhpmcounter[4], end.csr.mhpmevent[4] >> 63), (13 * 301, 1), "{name}");
    }
}

#[test]
fn overflow_is_delegated_and_cleared_in_sip() {
    run_with(
        &counting(),
        |a| {
            a.csrr(10, arch::csr::SIP)
                .csrc(arch::csr::SIP, 5)
                .csrr(11, arch::csr::SIP)
                .csrr(12, arch::csr::SIE)
                .ecall();
        },
        |s| {
            s.mode = accel::Mode::Supervisor;
            s.x[5] = mip::LCOFIP;
            (s.csr.mideleg, s.csr.mip, s.csr.mie) = (mip::LCOFIP, mip::LCOFIP, mip::LCOFIP);
        },
        |name, s| assert_eq!((s.x[10], s.x[11], s.x[12]), (mip::LCOFIP, 0, mip::LCOFIP), "{name}"),
    );
}

/// Only U-mode's instructions: neither those of the handler, nor `mret`, nor what traps.
#[test]
fn filters_follow_the_mode() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, counting());
        let mut a = Asm::at(STOP);
        // Skips the instruction; the third trap ends.
        a.i(Op::Addi, 20, 20, 1).csrr(6, arch::csr::MEPC).i(Op::Addi, 6, 6, 4).csrw(arch::csr::MEPC, 6);
        a.i(Op::Slti, 23, 20, 3);
        let more = a.forward(Op::Bne, 23, 0);
        a.csrr(10, MINSTRET).csrr(11, MCYCLE).csrr(12, MHPMCOUNTER3).csrr(13, MHPMCOUNTER3 + 1).s(Op::Sd, 0, 31, 0);
        let here = a.here();
        a.j(0, here);
        a.bind(more);
        a.plain(Op::Mret);
        g.load(&a);
        let mut a = Asm::at(CODE);
        a.nop().word(0xffff_ffff).nop().nop().word(0x73).csrr(14, arch::csr::INSTRET).nop().word(0x10_0073);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.mode = accel::Mode::User;
        s.csr.mcounteren = 7;
        s.csr.scounteren = 7;
        s.csr.minstretcfg = mhpmevent::MINH | mhpmevent::SINH;
        s.csr.mcyclecfg = mhpmevent::UINH;
        s.csr.mhpmevent[3] = event::INSTRUCTIONS | mhpmevent::MINH;
        s.csr.mhpmevent[4] = event::CYCLES;
        let end = g.run(&s);
        // Twice seven instructions of the handler, then six and the reads before.
        assert_eq!((end.x[10], end.x[14], end.x[12]), (5, 3, 5), "{name}");
        assert_eq!((end.x[11], end.x[13]), (14 + 6 + 1, 5 + 14 + 6 + 3), "{name}");
    }
}

/// Fences make the next access a miss where addresses are translated.
#[test]
fn misses_of_the_tlb_are_events() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, counting());
        g.stop_code(STOP);
        let mut p = Paging::new(RAM + 0x10_0000);
        p.map(&g, RAM, RAM, RWX, 2);
        let mut a = Asm::at(CODE);
        a.i(Op::Ld, 10, 5, 0).sfence(0, 0).i(Op::Ld, 10, 5, 0).s(Op::Sd, 10, 5, 0).sfence(0, 0).i(Op::Ld, 10, 5, 0);
        a.csrr(10, MHPMCOUNTER3).csrr(11, MHPMCOUNTER3 + 1).csrr(12, MHPMCOUNTER3 + 2).csrr(13, MIP);
        a.i(Op::Csrrc, 0, 6, i32::from(arch::csr::MSTATUS)).j(0, STOP);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.x[5] = RAM + 0x4_0000;
        s.x[6] = mstatus::MPRV;
        s.csr.satp = p.satp(0);
        s.csr.mstatus |= mstatus::MPRV | 1 << 11;
        s.csr.mhpmevent[3] = event::DTLB_READ_MISS;
        s.csr.mhpmevent[4] = event::DTLB_WRITE_MISS;
        s.csr.mhpmevent[5] = event::ITLB_READ_MISS;
        s.csr.mhpmcounter[3] = u64::MAX - 1;
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[11]), (1, 1), "{name}");
        assert!(end.x[12] > 0, "{name}");
        assert_eq!(end.x[13], mip::LCOFIP, "{name}");
        assert_eq!(end.csr.mhpmevent[3] & mhpmevent::OF, mhpmevent::OF, "{name}");
    }
}
