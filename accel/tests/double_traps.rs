//! Traps that come too early (Ssdbltrp, Smdbltrp) and interrupts that cannot be masked (Smrnmi), as guests meet them.

mod guest;

use accel::testing::Registers as _;
use accel::{HartState, Mode, MpState, VcpuExit};
use arch::csr::{MCAUSE, MENVCFG, MEPC, MNCAUSE, MNEPC, MNSTATUS, MSTATUS, MTVAL2, SSTATUS, envcfg, mnstatus, mstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

/// M-mode's trap handler.
const TRAP: u64 = RAM + 0x8000;
const NMI: u64 = RAM + 0x9000;
const NMI_EXCEPTION: u64 = RAM + 0xa000;

fn isa(exts: &[Ext]) -> IsaConfig {
    IsaConfig { rnmi_interrupt_vector: NMI, rnmi_exception_vector: NMI_EXCEPTION, ..isa_with(exts) }
}

/// Ends the program.
fn end(a: &mut Asm) {
    a.s(Op::Sd, 0, 31, 0);
    let here = a.here();
    a.j(0, here);
}

fn place(g: &Guest, at: u64, code: impl FnOnce(&mut Asm)) {
    let mut a = Asm::at(at);
    code(&mut a);
    g.load(&a);
}

#[test]
fn a_supervisor_handler_that_faults_is_reported_to_machine_mode() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa(&[Ext::Ssdbltrp]));
        place(&g, TRAP, |a| {
            a.csrr(10, MCAUSE).csrr(11, MTVAL2).csrr(12, MEPC).csrr(13, SSTATUS);
            end(a);
        });
        // The S-mode handler is no instruction.
        let handler = RAM + 0xb000;
        place(&g, handler, |a| {
            a.word(0);
        });
        place(&g, CODE, |a| {
            a.csrs(MENVCFG, 5).csrw(MEPC, 6).plain(Op::Mret);
            a.word(0xffff_ffff);
        });
        let mut s = g.machine(0, CODE, TRAP);
        (s.x[5], s.x[6]) = (envcfg::DTE, CODE + 12);
        s.csr.medeleg = 1 << 2;
        s.csr.stvec = handler;
        s.csr.mstatus |= 1 << mstatus::MPP_SHIFT;
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[11], end.x[12]), (16, 2, handler), "{name}");
        assert_eq!(end.x[13] & (mstatus::SDT | mstatus::SIE), mstatus::SDT, "{name}");
        assert_eq!((end.csr.scause, end.csr.sepc), (2, CODE + 12), "{name}");
    }
}

#[test]
fn sdt_and_sie_exclude_each_other_for_software() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa(&[Ext::Ssdbltrp]));
        g.stop_code(TRAP);
        place(&g, CODE, |a| {
            // Without DTE there is no SDT.
            a.csrs(SSTATUS, 5).csrr(10, SSTATUS).csrs(MENVCFG, 6);
            a.csrs(SSTATUS, 5).csrr(11, SSTATUS).csrs(SSTATUS, 7).csrr(12, SSTATUS);
            a.csrw(SSTATUS, 7).csrr(13, SSTATUS).csrs(SSTATUS, 5).csrr(14, MSTATUS);
            a.csrc(MENVCFG, 6).csrr(15, MSTATUS).j(0, TRAP);
        });
        let mut s = g.machine(0, CODE, TRAP);
        (s.x[5], s.x[6], s.x[7]) = (mstatus::SDT | mstatus::SIE, envcfg::DTE, mstatus::SIE);
        let end = g.run(&s);
        let both = mstatus::SDT | mstatus::SIE;
        let seen: Vec<u64> = (10..16).map(|i| end.x[i] & both).collect();
        let expected = [mstatus::SIE, mstatus::SDT, mstatus::SDT, mstatus::SIE, mstatus::SDT, 0];
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn a_trap_in_machine_modes_handler_ends_the_hart() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa(&[Ext::Smdbltrp]));
        // MDT is set by the first trap; the handler's second instruction is none.
        place(&g, TRAP, |a| {
            a.csrr(10, MSTATUS).word(0xffff_ffff);
        });
        place(&g, CODE, |a| {
            a.csrr(11, MSTATUS).csrc(MSTATUS, 5).csrr(12, MSTATUS).plain(Op::Ecall);
        });
        let mut s = g.machine(0, CODE, TRAP);
        s.x[5] = mstatus::MDT;
        g.harts[0].set_state(&s);
        for _ in 0..2 {
            let exit = g.harts[0].run().expect("the hart runs");
            assert_eq!(exit, VcpuExit::CriticalError { cause: 2, pc: TRAP + 4 }, "{name}");
        }
        let end = g.harts[0].state();
        assert_eq!(
            (end.mp, end.pc, end.csr.mcause, end.csr.mepc),
            (MpState::Failed, TRAP + 4, 11, CODE + 12),
            "{name}"
        );
        assert_eq!([10, 11, 12].map(|i| end.x[i] & mstatus::MDT), [mstatus::MDT, mstatus::MDT, 0], "{name}");
    }
}

/// A hart that has left reset.
fn open(g: &Guest) -> HartState {
    let mut s = g.machine(0, CODE, TRAP);
    s.csr.mstatus &= !mstatus::MDT;
    s.csr.nmi_masked = false;
    s
}

#[test]
fn a_double_trap_is_the_nmi_handlers() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa(&[Ext::Smdbltrp, Ext::Smrnmi]));
        place(&g, TRAP, |a| {
            a.word(0xffff_ffff);
        });
        place(&g, NMI, |a| {
            // Skips what should not have been executed: the handler goes on where it trapped.
            a.csrr(10, MNCAUSE).csrr(11, MNEPC).csrr(12, MNSTATUS).i(Op::Addi, 11, 11, 4).csrw(MNEPC, 11);
            a.plain(Op::Mnret);
        });
        place(&g, TRAP + 4, |a| {
            a.csrr(13, MNSTATUS).csrr(14, MSTATUS).csrr(15, MCAUSE);
            end(a);
        });
        place(&g, CODE, |a| {
            a.plain(Op::Ecall);
        });
        let end = g.run(&open(&g));
        assert_eq!((end.x[10], end.x[11]), (2, TRAP + 4), "{name}");
        assert_eq!((end.x[12], end.x[13]), (mnstatus::MNPP, mnstatus::MNPP | mnstatus::NMIE), "{name}");
        assert_eq!((end.x[14] & mstatus::MDT, end.x[15]), (mstatus::MDT, 11), "{name}");
    }
}

/// An NMI interrupts U-mode with everything else off, in a loop and in WFI of M-mode, and waits while NMIE is clear.
#[test]
fn the_nmi_line_interrupts_what_nothing_else_does() {
    for (name, options) in modes() {
        for sleeps in [false, true] {
            let mut g = Guest::with_isa(options.clone(), 1, isa(&[Ext::Smrnmi]));
            place(&g, NMI, |a| {
                // The line is level-sensitive; who lowers it is outside, so the handler ends the program.
                a.csrr(10, MNCAUSE).csrr(11, MNEPC).csrr(12, MNSTATUS);
                end(a);
            });
            place(&g, CODE, |a| {
                if sleeps {
                    a.plain(Op::Wfi);
                }
                let again = a.here();
                a.i(Op::Addi, 20, 20, 1).j(0, again);
            });
            let mut s = open(&g);
            s.mode = if sleeps { Mode::Machine } else { Mode::User };
            let handle = g.harts[0].handle();
            let line = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                handle.set_nmi(true);
            });
            let end = g.run(&s);
            line.join().unwrap();
            assert_eq!(end.x[10], 1 << 63, "{name}");
            assert!((CODE..CODE + 12).contains(&end.x[11]), "{name} {:#x}", end.x[11]);
            assert_eq!(end.x[12], if sleeps { mnstatus::MNPP } else { 0 }, "{name}");
        }
    }
}

#[test]
fn an_nmi_comes_when_software_sets_nmie() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa(&[Ext::Smrnmi]));
        place(&g, NMI, |a| {
            a.csrr(11, MNEPC).word(0xffff_ffff);
        });
        place(&g, NMI_EXCEPTION, |a| {
            a.csrr(10, MCAUSE).csrr(12, MEPC);
            end(a);
        });
        place(&g, CODE, |a| {
            a.nop().csrr(13, MNSTATUS).csrw(MNSTATUS, 5).nop().nop();
            end(a);
        });
        g.harts[0].handle().set_nmi(true);
        // As out of reset.
        let mut s = g.machine(0, CODE, TRAP);
        s.x[5] = mnstatus::NMIE;
        let end = g.run(&s);
        assert_eq!((end.x[13], end.x[11]), (0, CODE + 12), "{name}");
        assert_eq!((end.x[10], end.x[12]), (2, NMI + 4), "{name}: exceptions of the handler have their own");
    }
}

#[test]
fn without_smrnmi_its_line_registers_and_instruction_are_not_there() {
    for (name, options) in modes() {
        for word in [word(Op::Mnret, 0, 0, 0, 0), word(Op::Csrrs, 5, 0, 0, i32::from(MNSTATUS))] {
            let mut g = Guest::new(options.clone(), 1);
            g.stop_code(TRAP);
            place(&g, CODE, |a| {
                a.word(word);
            });
            g.harts[0].handle().set_nmi(true);
            let s = g.machine(0, CODE, TRAP);
            let end = g.run(&s);
            assert_eq!((end.csr.mcause, end.csr.mepc), (2, CODE), "{name}");
        }
    }
}
