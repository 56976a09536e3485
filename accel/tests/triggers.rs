//! Triggers (Sdtrig) as programs meet them.
//!
//! Debug spec, "Sdtrig (ISA Extension)".

mod guest;

use accel::{HartState, Mode, TriggerState};
use arch::csr::mcontrol6::*;
use arch::csr::{TDATA1, TDATA2, icount, itrigger, mcontrol6, mip, mstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

const DATA: u64 = RAM + 0x5_0000;

const MCONTROL6: u64 = 6 << 60;
const ICOUNT: u64 = 3 << 60;
const BREAKPOINT: u64 = 3;

fn isa() -> IsaConfig {
    let exts = [Ext::Sdtrig, Ext::Zicboz, Ext::Zicbom, Ext::Svadu, Ext::Smmpm, Ext::V];
    IsaConfig { vlen: 256, ..isa_with(&exts) }
}

fn trigger(tdata1: u64, tdata2: u64) -> TriggerState {
    TriggerState { tdata1, tdata2, tdata3: 0 }
}

/// Runs `program` from `CODE` in M-mode with interrupts on, or as `setup` has it; traps to M-mode end it.
fn run(program: impl Fn(&mut Asm), setup: impl Fn(&Guest, &mut HartState), check: impl Fn(&str, &HartState, &Guest)) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.csr.mstatus |= mstatus::MIE | mstatus::FS | mstatus::VS;
        s.csr.menvcfg = u64::MAX;
        (s.x[8], s.x[9]) = (DATA, 0x1122_3344_5566_7788);
        setup(&g, &mut s);
        let end = g.run(&s);
        check(name, &end, &g);
    }
}

fn end(a: &mut Asm) {
    a.j(0, STOP);
}

#[test]
fn an_instruction_is_stopped_before_it_executes() {
    // A function that has been called before, so that it is in all caches; x7 is how often.
    run(
        |a| {
            let f = CODE + 0x1100;
            let again = a.here();
            a.j(1, f).i(Op::Addi, 7, 7, 1).b(Op::Bne, 7, 6, again);
            a.csrw(TDATA2, 10).csrw(TDATA1, 11).j(1, f);
            end(a);
            let here = a.here();
            a.pad_to(0xffe).half(1).pad_to(0x100);
            assert!(here < f && a.here() == f);
            a.i(Op::Addi, 20, 20, 1).i(Op::Addi, 21, 21, 1).i(Op::Jalr, 0, 1, 0);
        },
        |_, s| {
            s.x[6] = 50;
            (s.x[10], s.x[11]) = (CODE + 0x1104, MCONTROL6 | M | EXECUTE);
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 0x1104, CODE + 0x1104), "{name}");
            assert_eq!((s.x[20], s.x[21], s.x[7]), (51, 50, 50), "{name}");
            assert_eq!(s.csr.triggers[0].tdata1, MCONTROL6 | M | EXECUTE | HIT0, "{name}");
            assert_eq!(s.csr.triggers[1].tdata1, 15 << 60, "{name}");
        },
    );
}

#[test]
fn a_handler_of_machine_mode_is_not_stopped() {
    run(
        |a| {
            // MIE is clear: nothing matches, until it is set.
            a.i(Op::Ld, 20, 8, 0).i(Op::Addi, 21, 21, 1).csrs(arch::csr::MSTATUS, 12);
            a.i(Op::Addi, 21, 21, 1).i(Op::Ld, 20, 8, 0);
            end(a);
        },
        |_, s| {
            s.csr.mstatus &= !mstatus::MIE;
            s.x[12] = mstatus::MIE;
            s.csr.triggers = [trigger(MCONTROL6 | M | LOAD, DATA), trigger(MCONTROL6 | M | EXECUTE, CODE + 4)];
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 16, DATA), "{name}");
            assert_eq!(s.x[21], 2, "{name}");
        },
    );
}

type Program = fn(&mut Asm);

/// What accesses the eight bytes at x8 + 8, and as what.
const ACCESSES: &[(&str, Program, u64)] = &[
    ("ld", |a| drop(a.i(Op::Ld, 5, 8, 8)), LOAD),
    ("lbu", |a| drop(a.i(Op::Lbu, 5, 8, 12)), LOAD),
    ("fld", |a| drop(a.i(Op::Fld, 5, 8, 8)), LOAD),
    ("misaligned lw", |a| drop(a.i(Op::Lw, 5, 8, 9)), LOAD),
    ("lr.d", |a| drop(a.i(Op::Addi, 6, 8, 8).amo(Op::LrD, 5, 0, 6, 0)), LOAD),
    ("sd", |a| drop(a.s(Op::Sd, 9, 8, 8)), STORE),
    ("sb", |a| drop(a.s(Op::Sb, 9, 8, 12)), STORE),
    ("amoadd.d", |a| drop(a.i(Op::Addi, 6, 8, 8).amo(Op::AmoaddD, 5, 9, 6, 0)), LOAD | STORE),
    ("misaligned amoadd.w", |a| drop(a.i(Op::Addi, 6, 8, 11).amo(Op::AmoaddW, 5, 9, 6, 0)), LOAD | STORE),
    ("sc.d", |a| drop(a.i(Op::Addi, 6, 8, 8).amo(Op::LrD, 0, 0, 6, 0).amo(Op::ScD, 5, 9, 6, 0)), STORE),
    ("cbo.zero", |a| drop(a.word(0x0044_200f)), STORE),
    ("cbo.flush", |a| drop(a.word(0x0024_200f)), STORE),
];

fn drop<T>(_: T) {}

#[test]
fn loads_and_stores_are_stopped_before_they_happen() {
    for &(what, program, kinds) in ACCESSES {
        for wanted in [LOAD, STORE] {
            let hits = kinds & wanted != 0 || what == "sc.d" && wanted == LOAD;
            run(
                |a| {
                    // The page is in the TLB when the trigger is armed, by an access that does not match again.
                    a.s(Op::Sd, 0, 8, 0).i(Op::Ld, 5, 8, 0).i(Op::Addi, 5, 0, 77);
                    a.csrw(TDATA2, 10).csrw(TDATA1, 11).s(Op::Sd, 0, 8, 16).i(Op::Ld, 7, 8, 16);
                    program(a);
                    end(a);
                },
                |g, s| {
                    g.write64(DATA + 8, 0x55);
                    (s.x[10], s.x[11]) = (DATA + 12, MCONTROL6 | M | wanted);
                },
                |name, s, g| {
                    if !hits {
                        assert_eq!(s.csr.mcause, 0, "{what} {name}");
                        return;
                    }
                    assert_eq!((s.csr.mcause, s.csr.mtval), (BREAKPOINT, DATA + 12), "{what} {name}");
                    assert_eq!((s.x[5], g.read64(DATA + 8)), (77, 0x55), "{what} {name}");
                    assert_eq!(s.csr.triggers[0].tdata1 & HIT0, HIT0, "{what} {name}");
                },
            );
        }
    }
}

#[test]
fn an_access_that_ends_in_another_page_is_stopped_there() {
    for (store, at) in [(false, DATA + 0x1000), (true, DATA + 0x1002), (false, DATA + 0xffe)] {
        run(
            |a| {
                a.s(Op::Sd, 9, 8, 0).s(Op::Sd, 9, 12, 8).i(Op::Ld, 5, 12, 8).i(Op::Ld, 5, 8, 0);
                if store {
                    a.s(Op::Sd, 9, 12, -4);
                } else {
                    a.i(Op::Ld, 5, 12, -4);
                }
                end(a);
            },
            |_, s| {
                s.x[12] = DATA + 0x1000;
                s.csr.triggers[0] = trigger(MCONTROL6 | M | LOAD | STORE, at);
            },
            |name, s, g| {
                assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 16, at), "{name}");
                assert_eq!(g.read64(DATA + 0x1000), 0, "{name}");
            },
        );
    }
}

#[test]
fn a_chain_makes_a_range() {
    run(
        |a| {
            for at in (0..64).step_by(8) {
                a.s(Op::Sd, 9, 8, at);
            }
            end(a);
        },
        |_, s| {
            s.csr.triggers = [
                trigger(MCONTROL6 | M | STORE | CHAIN | GE << MATCH_SHIFT, DATA + 40),
                trigger(MCONTROL6 | M | STORE | LT << MATCH_SHIFT, DATA + 48),
            ];
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 20, DATA + 40), "{name}");
            assert_eq!([0, 1].map(|i| s.csr.triggers[i].tdata1 & HIT0), [HIT0; 2], "{name}");
        },
    );
}

/// Maps everything for S-mode but `hole`.
fn supervisor(g: &Guest, s: &mut HartState, hole: u64) {
    let mut p = Paging::new(RAM + 0x10_0000);
    for pa in (RAM..RAM + 0x8_0000).step_by(4096).filter(|&pa| pa != hole) {
        p.map(g, pa, pa, RWX, 0);
    }
    p.slot(g, hole, 0);
    s.csr.satp = p.satp(0);
    s.mode = Mode::Supervisor;
}

#[test]
fn triggers_come_before_page_faults_and_illegal_instructions() {
    // An address that is not mapped: a load from it, then (where that did not trap) a jump to it.
    for (fields, at) in [(LOAD, DATA + 4), (EXECUTE, DATA)] {
        run(
            |a| {
                if fields == LOAD {
                    a.i(Op::Lw, 5, 8, 4);
                } else {
                    a.i(Op::Jalr, 0, 8, 0);
                }
            },
            |g, s| {
                supervisor(g, s, DATA);
                s.csr.triggers[0] = trigger(MCONTROL6 | S | fields, at);
            },
            |name, s, _| {
                let epc = if fields == LOAD { CODE } else { DATA };
                assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, epc, at), "{name}");
            },
        );
    }
    // With a size the instruction has to be known: the fetch comes first, whether it is legal does not.
    for (size, word, cause) in
        [(3, 0xffff_ffff_u32, BREAKPOINT), (2, 0xffff_ffff, 2), (3, 0x13, BREAKPOINT), (2, 0x1_0001, BREAKPOINT)]
    {
        run(
            |a| drop(a.word(word)),
            |_, s| s.csr.triggers[0] = trigger(MCONTROL6 | M | EXECUTE | size << SIZE_SHIFT, CODE),
            |name, s, _| assert_eq!((s.csr.mcause, s.csr.mepc), (cause, CODE), "{name} {size} {word:#x}"),
        );
    }
}

#[test]
fn a_handler_of_supervisor_mode_is_stopped_only_where_it_can_be() {
    for (delegated, sie, fires) in [(false, false, true), (true, false, false), (true, true, true)] {
        run(
            |a| drop(a.nop().i(Op::Ld, 5, 8, 0).plain(Op::Ebreak)),
            |g, s| {
                supervisor(g, s, RAM + 0x7_0000);
                s.csr.medeleg = if delegated { 1 << 3 } else { 0 };
                s.csr.mstatus |= if sie { mstatus::SIE } else { 0 };
                s.csr.stvec = STOP;
                // S-mode does not reach the device that ends the program: its stop code faults to M-mode's.
                s.csr.triggers[0] = trigger(MCONTROL6 | S | LOAD, DATA);
            },
            |name, s, _| {
                let (cause, epc, tval) = match delegated {
                    true => (s.csr.scause, s.csr.sepc, s.csr.stval),
                    false => (s.csr.mcause, s.csr.mepc, s.csr.mtval),
                };
                let expected = if fires { (CODE + 4, DATA) } else { (CODE + 8, CODE + 8) };
                assert_eq!((cause, (epc, tval)), (BREAKPOINT, expected), "{name}");
            },
        );
    }
}

#[test]
fn a_count_stops_after_so_many_instructions() {
    for n in [1, 2, 7] {
        run(
            |a| {
                a.plain(Op::Mret);
                (0..10).for_each(|_| drop(a.i(Op::Addi, 20, 20, 1)));
                let again = a.here();
                a.j(0, again);
            },
            |_, s| {
                // Not in M-mode: MRET is not counted.
                s.csr.mepc = CODE + 4;
                s.csr.triggers[1] = trigger(ICOUNT | icount::U | n << icount::COUNT_SHIFT, 0);
            },
            |name, s, _| {
                assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 4 + 4 * n, 0), "{name}");
                assert_eq!(s.x[20], n, "{name}");
                assert_eq!(s.csr.triggers[1].tdata1, ICOUNT | icount::U | icount::HIT, "{name}");
            },
        );
    }
}

#[test]
fn a_trap_counts_and_its_handler_in_another_mode_does_not() {
    // ECALL from U-mode to an S-mode handler that returns behind it; the count then fires there.
    let handler = RAM + 0x9000;
    run(
        |a| drop(a.plain(Op::Ecall).i(Op::Addi, 20, 20, 1).i(Op::Addi, 20, 20, 1)),
        |g, s| {
            let mut a = Asm::at(handler);
            a.csrr(5, arch::csr::SEPC).i(Op::Addi, 5, 5, 4).csrw(arch::csr::SEPC, 5).plain(Op::Sret);
            g.load(&a);
            (s.mode, s.csr.medeleg, s.csr.stvec) = (Mode::User, 1 << 8, handler);
            s.csr.triggers[0] = trigger(ICOUNT | icount::U | 1 << icount::COUNT_SHIFT, 0);
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 4, 0), "{name}");
            assert_eq!((s.x[5], s.x[20]), (CODE + 4, 0), "{name}");
        },
    );
}

#[test]
fn a_count_steps_over_branches_and_loads_into_the_right_place() {
    run(
        |a| {
            let hole = a.forward(Op::Beq, 0, 0);
            a.i(Op::Addi, 20, 20, 1).bind(hole);
            a.i(Op::Ld, 21, 8, 0).csrr(22, arch::csr::MSCRATCH).s(Op::Sd, 21, 8, 8).i(Op::Addi, 20, 20, 1);
            end(a);
        },
        |g, s| {
            g.write64(DATA, 0x99);
            s.csr.mscratch = 0x77;
            s.csr.triggers[0] = trigger(ICOUNT | icount::M | 4 << icount::COUNT_SHIFT, 0);
        },
        |name, s, g| {
            assert_eq!((s.csr.mcause, s.csr.mepc), (BREAKPOINT, CODE + 20), "{name}");
            assert_eq!((s.x[20], s.x[21], s.x[22], g.read64(DATA + 8)), (0, 0x99, 0x77, 0x99), "{name}");
        },
    );
}

#[test]
fn the_write_of_a_count_is_not_counted() {
    run(
        |a| {
            a.csrw(TDATA1, 10).csrw(TDATA1, 10).nop().nop();
            end(a);
        },
        |_, s| s.x[10] = ICOUNT | icount::M | 1 << icount::COUNT_SHIFT,
        |name, s, _| assert_eq!((s.csr.mcause, s.csr.mepc), (BREAKPOINT, CODE + 12), "{name}"),
    );
}

#[test]
fn exceptions_and_interrupts_stop_before_their_handler() {
    let handler = RAM + 0x9000;
    // An ECALL, or a software interrupt that is pending from the start.
    for (kind, code, cause) in [(5, 8, 8), (4, 1, 1 << 63 | 1)] {
        for mine in [true, false] {
            run(
                |a| drop(a.plain(Op::Ecall)),
                |g, s| {
                    let mut a = Asm::at(handler);
                    a.i(Op::Addi, 20, 20, 1).plain(Op::Ebreak);
                    g.load(&a);
                    (s.mode, s.csr.medeleg, s.csr.mideleg, s.csr.stvec) = (Mode::User, 1 << 8, mip::SSIP, handler);
                    if kind == 4 {
                        (s.csr.mie, s.csr.mip) = (mip::SSIP, mip::SSIP);
                    }
                    let mode = if mine { itrigger::U } else { itrigger::S };
                    s.csr.triggers[0] = trigger(kind << 60 | mode, 1 << code);
                },
                |name, s, _| {
                    assert_eq!((s.csr.scause, s.csr.sepc), (cause, CODE), "{name}");
                    let (epc, tval) = if mine { (handler, 0) } else { (handler + 4, handler + 4) };
                    assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, epc, tval), "{name} {kind}");
                    assert_eq!(s.x[20], u64::from(!mine), "{name}");
                    assert_eq!(s.csr.triggers[0].tdata1 & itrigger::HIT != 0, mine, "{name}");
                },
            );
        }
    }
}

#[test]
fn a_guest_has_its_own_bits() {
    for (virt, fields, fires) in
        [(true, mcontrol6::VS, true), (true, S, false), (false, mcontrol6::VS, false), (false, S, true)]
    {
        run(
            |a| drop(a.nop().i(Op::Ld, 5, 8, 0).plain(Op::Ebreak)),
            |_, s| {
                (s.mode, s.virt) = (Mode::Supervisor, virt);
                s.csr.triggers[0] = trigger(MCONTROL6 | fields | LOAD, DATA);
            },
            |name, s, _| {
                let expected = if fires { (CODE + 4, DATA) } else { (CODE + 8, CODE + 8) };
                assert_eq!((s.csr.mcause, (s.csr.mepc, s.csr.mtval)), (BREAKPOINT, expected), "{name}");
                assert_eq!(s.csr.mstatus & mstatus::GVA != 0, virt, "{name}");
            },
        );
    }
}

#[test]
fn what_is_no_address_is_no_guest_address() {
    run(
        |a| drop(a.nop().nop()),
        |_, s| {
            (s.mode, s.virt) = (Mode::User, true);
            s.csr.triggers[0] = trigger(ICOUNT | icount::VU | 1 << icount::COUNT_SHIFT, 0);
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 4, 0), "{name}");
            assert_eq!(s.csr.mstatus & (mstatus::GVA | mstatus::MPV), mstatus::MPV, "{name}");
        },
    );
}

#[test]
fn a_vector_load_stops_at_the_element() {
    run(
        |a| {
            // vsetivli x0, 4, e64, m1, ta, ma; vle64.v v4, (x8), twice.
            a.word(0xcd82_7057).word(0x0204_7207).csrw(TDATA1, 10).word(0x0204_7207);
            end(a);
        },
        |_, s| {
            s.x[10] = MCONTROL6 | M | LOAD | 5 << SIZE_SHIFT;
            s.csr.triggers[0].tdata2 = DATA + 16;
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 12, DATA + 16), "{name}");
            assert_eq!(s.csr.vstart, 2, "{name}");
        },
    );
}

#[test]
fn masked_addresses_are_compared_as_they_are_used() {
    run(
        |a| {
            a.i(Op::Ld, 5, 6, 8).i(Op::Ld, 5, 6, 0);
            end(a);
        },
        |_, s| {
            s.csr.mseccfg = arch::csr::mseccfg::PMM;
            s.x[6] = DATA | 0xab << 56;
            s.csr.triggers[0] = trigger(MCONTROL6 | M | LOAD, DATA);
        },
        |name, s, _| {
            assert_eq!((s.csr.mcause, s.csr.mepc, s.csr.mtval), (BREAKPOINT, CODE + 4, DATA), "{name}");
        },
    );
}
