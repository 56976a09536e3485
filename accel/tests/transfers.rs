//! Control-transfer records (Smctr, Ssctr) of running guests.

mod guest;

use accel::{HartState, Mode};
use arch::csr::{SCTRSTATUS, SIREG, SIREG2, SIREG3, SISELECT, ctrctl, event, mip, mstatus, sctrstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

const HANDLER: u64 = RAM + 0x9000;

fn isa() -> IsaConfig {
    isa_with(&[Ext::Smctr, Ext::Ssctr, Ext::Smcsrind, Ext::Sscsrind, Ext::Sscofpmf])
}

/// Source, target and type of the records, the oldest first.
fn records(s: &HartState) -> Vec<(u64, u64, u64)> {
    let ctr = &s.csr.ctr;
    let n = (ctr.status & sctrstatus::WRPTR) as usize;
    ctr.entries[..n].iter().map(|e| (e.source & !1, e.target, e.data)).collect()
}

fn run(control: u64, mode: Mode, program: impl Fn(&mut Asm), check: impl Fn(&str, &HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.mode = mode;
        s.csr.stvec = HANDLER;
        s.csr.ctr.mctrctl = control;
        s.csr.ctr.depth = 4;
        check(name, &g.run(&s));
    }
}

/// A loop, a call by either way, their returns, and the trap that ends the program.
fn program(a: &mut Asm) {
    a.i(Op::Addi, 6, 0, 2);
    let again = a.here();
    a.i(Op::Addi, 6, 6, -1).b(Op::Bne, 6, 0, again);
    let call = a.forward(Op::Jal, 1, 0);
    let end = a.forward(Op::Jal, 0, 0);
    a.bind(call);
    // jalr: return; the other jalr: indirect jump to it would loop, so a plain call of the stop.
    a.i(Op::Jalr, 0, 1, 0);
    a.bind(end);
    a.plain(Op::Ecall);
}

#[test]
fn jumps_and_taken_branches_are_recorded_where_their_mode_is_enabled() {
    let (loop_end, call, jump, ret, ecall) = (CODE + 8, CODE + 12, CODE + 16, CODE + 20, CODE + 24);
    let all = vec![(loop_end, CODE + 4, 5), (call, ret, 9), (ret, jump, 13), (jump, ecall, 11)];
    run(ctrctl::U, Mode::User, program, |name, s| assert_eq!(records(s), all, "{name}"));
    run(ctrctl::S, Mode::User, program, |name, s| assert_eq!(records(s), [], "{name}"));
    // The bits of types: taken branches off, others on.
    run(ctrctl::U | 1 << 36 | 1 << 37, Mode::User, program, |name, s| {
        let mut want = all.clone();
        want[0] = (loop_end, call, 4);
        assert_eq!(records(s), want, "{name}");
    });
    // M-mode, where the stop code jumps for ever until the hart is kicked: its trap and first jump come behind.
    run(ctrctl::M, Mode::Machine, program, |name, s| {
        let got = records(s);
        assert_eq!(got[..4], all, "{name}");
        assert_eq!(got[4], (ecall, STOP, 1), "{name}");
    });
}

#[test]
fn compressed_jumps_are_recorded_as_what_they_stand_for() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        // c.j 4; c.nop; c.jalr x10; ecall; c.nop; c.jr x1.
        a.half(0xa011).half(0x0001).half(0x9502).word(0x73).half(0x0001).half(0x8082);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.mode = Mode::User;
        s.x[10] = CODE + 12;
        s.csr.ctr.mctrctl = ctrctl::U;
        let end = g.run(&s);
        let want = [(CODE, CODE + 4, 11), (CODE + 4, CODE + 12, 8), (CODE + 12, CODE + 6, 13)];
        assert_eq!(records(&end), want, "{name}");
    }
}

#[test]
fn a_supervisor_reads_its_users_records_and_clears_them() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        let mut a = Asm::at(HANDLER);
        // The newest record is the trap itself, the one before it the jump.
        a.i(Op::Addi, 5, 0, 0x201).csrw(SISELECT, 5).csrr(10, SIREG).csrr(11, SIREG2).csrr(12, SIREG3);
        a.i(Op::Addi, 5, 0, 0x200).csrw(SISELECT, 5).csrr(13, SIREG).csrr(14, SIREG2).csrr(15, SIREG3);
        a.csrr(16, SCTRSTATUS).plain(Op::Sctrclr).csrr(17, SIREG).csrr(18, SIREG3).ecall();
        g.load(&a);
        let mut a = Asm::at(CODE);
        let over = a.forward(Op::Jal, 0, 0);
        a.nop();
        a.bind(over);
        a.plain(Op::Ecall);
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        s.mode = Mode::User;
        s.csr.stvec = HANDLER;
        s.csr.ctr.mctrctl = ctrctl::U | ctrctl::STE;
        let end = g.run(&s);
        assert_eq!([end.x[10], end.x[11], end.x[12]], [CODE | 1, CODE + 8, 11], "{name}");
        assert_eq!([end.x[13], end.x[14], end.x[15]], [CODE + 9, 0, 1], "{name}: an external trap");
        assert_eq!([end.x[16], end.x[17], end.x[18]], [2, 0, 0], "{name}");
    }
}

#[test]
fn a_write_of_the_control_register_counts_from_the_next_instruction() {
    run(
        0,
        Mode::Machine,
        |a| {
            a.i(Op::Addi, 5, 0, 4)
                .j(0, CODE + 8)
                .csrw(arch::csr::MCTRCTL, 5)
                .j(0, CODE + 16)
                .csrw(arch::csr::MCTRCTL, 0);
            a.j(0, CODE + 24).j(0, STOP);
        },
        |name, s| assert_eq!(records(s), [(CODE + 12, CODE + 16, 11)], "{name}"),
    );
}

/// A counter overflows in a loop: the records end with the branch before it.
#[test]
fn a_counters_overflow_freezes_the_records() {
    run_overflow(ctrctl::LCOFIFRZ, |name, s| {
        assert_eq!(s.csr.ctr.status & sctrstatus::FROZEN, sctrstatus::FROZEN, "{name}");
        let got = records(s);
        assert_eq!((got.len(), got[got.len() - 1]), (10, (CODE + 4, CODE, 5)), "{name}");
    });
    run_overflow(0, |name, s| {
        let got = records(s);
        assert_eq!((got.len(), got[10]), (11, (CODE, 0, 2)), "{name}: the interrupt, an external trap");
    });
}

fn run_overflow(freeze: u64, check: impl Fn(&str, &HartState)) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        a.i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 0, CODE);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.mode = Mode::User;
        s.csr.mhpmevent[3] = event::INSTRUCTIONS;
        s.csr.mhpmcounter[3] = 0u64.wrapping_sub(20);
        s.csr.mie = mip::LCOFIP;
        s.csr.mstatus |= mstatus::MIE;
        s.csr.ctr.depth = 1;
        s.csr.ctr.mctrctl = ctrctl::U | ctrctl::STE | ctrctl::MTE | freeze;
        check(name, &g.run(&s));
    }
}

/// A jump to where no instruction can begin traps; it has not transferred control.
#[test]
fn a_misaligned_jump_is_no_transfer() {
    let mut isa = arch::model::parse("rv64,c=off").expect("a CPU model");
    for ext in [Ext::Smctr, Ext::Ssctr, Ext::Smcsrind, Ext::Sscsrind] {
        isa.exts.insert(ext);
    }
    type Program = fn(&mut Asm) -> &mut Asm;
    let programs: [Program; 4] = [
        |a| a.i(Op::Jal, 1, 0, 6),
        |a| a.b(Op::Beq, 0, 0, CODE + 10),
        |a| a.b(Op::Bgeu, 5, 0, CODE + 10),
        |a| a.i(Op::Jalr, 0, 5, 2),
    ];
    for (name, options) in modes() {
        for program in programs {
            let mut g = Guest::with_isa(options.clone(), 1, isa.clone());
            g.stop_code(STOP);
            let mut a = Asm::at(CODE);
            program(&mut a);
            g.load(&a);
            let mut s = g.machine(0, CODE, STOP);
            s.mode = Mode::User;
            (s.csr.ctr.mctrctl, s.csr.ctr.depth) = (ctrctl::U | ctrctl::MTE | ctrctl::STE, 4);
            s.x[5] = CODE;
            let end = g.run(&s);
            assert_eq!((end.csr.mcause, end.csr.mepc), (0, CODE), "{name}");
            assert_eq!(records(&end), [(CODE, 0, 1)], "{name}: the trap alone");
        }
    }
}
