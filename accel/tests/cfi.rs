//! Landing pads (Zicfilp) and shadow stacks (Zicfiss) as programs meet them.
//!
//! Unprivileged and privileged spec, "Control-flow Integrity (CFI)".

mod guest;

use accel::HartState;
use arch::csr::{MSECCFG, SSP, envcfg, mseccfg, mstatus};
use arch::ext::{Ext, IsaConfig};
use arch::pte::{A, D, R, U, W, X};
use guest::*;

const DATA: u64 = RAM + 0x5_0000;
const VA: u64 = 0x40_0000;

const SSPUSH_X1: u32 = 0xce10_4073;
const SSPUSH_X5: u32 = 0xce50_4073;
const SSPOPCHK_X1: u32 = 0xcdc0_c073;
const SSPOPCHK_X5: u32 = 0xcdc2_c073;
const C_SSPUSH_X1: u16 = 0x6081;
const C_SSPOPCHK_X5: u16 = 0x6281;

fn ssrdp(rd: u32) -> u32 {
    0xcdc0_4073 | rd << 7
}

fn lpad(label: u32) -> u32 {
    label << 12 | 0x17
}

fn isa() -> IsaConfig {
    isa_with(&[Ext::Zicfilp, Ext::Zicfiss, Ext::Zimop, Ext::Zcmop])
}

/// Runs `program` in S-mode under Sv39 with the page `flags` at VA (0: none); traps end it. Checks the end and the
/// page-table entry of VA.
fn supervisor(
    menvcfg: u64,
    flags: u64,
    program: impl Fn(&mut Asm),
    setup: impl Fn(&mut HartState),
    check: impl Fn(&str, &HartState, u64),
) {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        let mut p = Paging::new(RAM + 0x10_0000);
        for pa in (RAM..RAM + 0x8_0000).step_by(4096) {
            p.map(&g, pa, pa, RWX, 0);
        }
        let slot = p.map(&g, VA, DATA, flags, 0);
        if flags == 0 {
            g.write64(slot, 0);
        }
        let mut stop = Asm::at(STOP);
        stop.ecall();
        g.load(&stop);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.ecall();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.csr.satp, s.csr.stvec) = (p.satp(0), STOP);
        s.csr.menvcfg |= menvcfg | envcfg::ADUE;
        s.csr.ssp = VA + 0x100;
        (s.x[1], s.x[5], s.x[8], s.x[9]) = (0x1234, 0x5678, VA + 0xf8, 7);
        setup(&mut s);
        let end = g.run(&s);
        check(name, &end, g.read64(slot));
    }
}

const SHADOW: u64 = W | A | D;

#[test]
fn what_is_pushed_is_what_is_popped() {
    supervisor(
        envcfg::SSE,
        SHADOW,
        |a| {
            a.word(SSPUSH_X1).word(ssrdp(10)).i(Op::Ld, 11, 10, 0).word(SSPOPCHK_X1).word(ssrdp(12));
            a.word(SSPUSH_X5).word(SSPOPCHK_X5).half(C_SSPUSH_X1).r(Op::Add, 5, 1, 0).half(C_SSPOPCHK_X5);
            a.word(ssrdp(13)).amo(Op::SsamoswapD, 14, 9, 8, 0).amo(Op::SsamoswapW, 15, 1, 8, 3);
            a.i(Op::Ld, 16, 8, 0);
        },
        |_| {},
        |name, s, _| {
            assert_eq!(s.csr.scause, 0, "{name}: {:#x}", s.csr.stval);
            assert_eq!((s.x[10], s.x[11], s.x[12]), (VA + 0xf8, 0x1234, VA + 0x100), "{name}");
            assert_eq!((s.x[13], s.x[14], s.x[15], s.x[16]), (VA + 0x100, 0x1234, 7, 0x1234), "{name}");
        },
    );
}

#[test]
fn a_wrong_link_is_a_software_check() {
    supervisor(
        envcfg::SSE,
        SHADOW,
        |a| {
            a.word(SSPUSH_X1).i(Op::Addi, 1, 1, 4).word(SSPOPCHK_X1);
        },
        |_| {},
        |name, s, _| {
            assert_eq!((s.csr.scause, s.csr.stval, s.csr.sepc), (18, 3, CODE + 8), "{name}");
            assert_eq!(s.csr.ssp, VA + 0xf8, "{name}");
        },
    );
}

#[test]
fn only_shadow_stack_instructions_meet_shadow_stack_pages() {
    type Program = fn(&mut Asm);
    const PUSH: Program = |a| drop_word(a, SSPUSH_X1);
    const POP: Program = |a| drop_word(a, SSPOPCHK_X1);
    const SWAP: Program = |a| {
        a.amo(Op::SsamoswapD, 10, 9, 8, 0);
    };
    const STORE: Program = |a| {
        a.s(Op::Sd, 9, 8, 0);
    };
    const AMO: Program = |a| {
        a.amo(Op::AmoaddD, 10, 9, 8, 0);
    };
    const LOAD: Program = |a| {
        a.i(Op::Ld, 10, 8, 0);
    };
    const JUMP: Program = |a| {
        a.i(Op::Jalr, 0, 8, 0);
    };
    // Page, program, cause, address from VA on.
    let cases: [(u64, Program, u64, u64); 17] = [
        (SHADOW, STORE, 7, 0xf8),
        (SHADOW, AMO, 7, 0xf8),
        (SHADOW, JUMP, 1, 0xf8),
        (SHADOW, LOAD, 0, 0),
        (0, PUSH, 15, 0xf8),
        (0, POP, 15, 0x100),
        (R | A, PUSH, 15, 0xf8),
        (R | A, POP, 15, 0x100),
        (R | A, SWAP, 15, 0xf8),
        (R | W | A | D, PUSH, 7, 0xf8),
        (R | W | A | D, POP, 7, 0x100),
        (R | W | X | A | D, SWAP, 7, 0xf8),
        (X | A, PUSH, 7, 0xf8),
        (R | X | A, POP, 7, 0x100),
        (SHADOW | U, PUSH, 15, 0xf8),
        (
            SHADOW,
            |a| {
                a.i(Op::Addi, 8, 8, 4).amo(Op::SsamoswapD, 10, 9, 8, 0);
            },
            6,
            0xfc,
        ),
        (W | X | A | D, LOAD, 13, 0xf8),
    ];
    for (n, (flags, program, cause, tval)) in cases.into_iter().enumerate() {
        supervisor(
            envcfg::SSE,
            flags,
            program,
            |_| {},
            |name, s, _| {
                let tval = if cause == 0 { 0 } else { VA + tval };
                assert_eq!((s.csr.scause, s.csr.stval, s.csr.ssp), (cause, tval, VA + 0x100), "{name}: case {n}");
            },
        );
    }
    // Without page tables there is no shadow stack.
    supervisor(
        envcfg::SSE,
        SHADOW,
        PUSH,
        |s| s.csr.satp = 0,
        |name, s, _| {
            assert_eq!((s.csr.scause, s.csr.stval), (7, VA + 0xf8), "{name}");
        },
    );
}

fn drop_asm(_: &mut Asm) {}

fn drop_word(a: &mut Asm, w: u32) {
    a.word(w);
}

#[test]
fn a_check_reads_and_a_push_writes() {
    supervisor(
        envcfg::SSE,
        W,
        |a| drop_word(a, SSPOPCHK_X1),
        |s| s.x[1] = 0,
        |name, _, entry| {
            assert_eq!(entry & (A | D), A, "{name}");
        },
    );
    supervisor(
        envcfg::SSE,
        W,
        |a| drop_word(a, SSPUSH_X1),
        |_| {},
        |name, _, entry| {
            assert_eq!(entry & (A | D), A | D, "{name}");
        },
    );
}

#[test]
fn where_it_is_off_the_instructions_are_may_be_operations() {
    supervisor(
        0,
        R | W | A | D,
        |a| {
            a.word(SSPUSH_X1).word(SSPOPCHK_X5).half(C_SSPUSH_X1).half(C_SSPOPCHK_X5).word(ssrdp(9));
            a.i(Op::Ld, 10, 8, 0);
        },
        |_| {},
        |name, s, _| assert_eq!((s.csr.scause, s.x[9], s.x[10], s.csr.ssp), (0, 0, 0, VA + 0x100), "{name}"),
    );
    type Program = fn(&mut Asm);
    let cases: [(Program, u64); 3] = [
        (|a| drop_asm(a.csrr(10, SSP)), 2),
        (|a| drop_asm(a.amo(Op::SsamoswapW, 10, 9, 8, 0)), 2),
        (|a| drop_asm(a.i(Op::Ld, 10, 8, 0)), 13),
    ];
    for (program, cause) in cases {
        supervisor(0, SHADOW, program, |_| {}, |name, s, _| assert_eq!(s.csr.scause, cause, "{name}"));
    }
}

#[test]
fn the_pointer_is_aligned() {
    supervisor(
        envcfg::SSE,
        SHADOW,
        |a| {
            a.i(Op::Addi, 10, 8, 7).csrw(SSP, 10).csrr(11, SSP);
        },
        |_| {},
        |name, s, _| assert_eq!(s.x[11], VA + 0xf8, "{name}"),
    );
}

/// An indirect jump by x6 to VA + 0x100 (`at` bytes on), where `words` stand.
fn jump(enabled: bool, by: u8, at: u64, words: &[u32], check: impl Fn(&str, &HartState)) {
    let menvcfg = if enabled { envcfg::LPE } else { 0 };
    let target = VA + 0x100 + at;
    supervisor(
        menvcfg,
        RWX,
        |a| {
            // Through the mapping of the data.
            for (i, w) in words.iter().enumerate() {
                a.li(10, u64::from(*w)).s(Op::Sw, 10, 8, 8 + at as i32 + 4 * i as i32);
            }
            a.plain(Op::FenceI).li(by, target).i(Op::Jalr, 20, by, 0);
        },
        |s| s.x[7] = 0x1234_5000,
        |name, s, _| check(name, s),
    );
}

#[test]
fn indirect_jumps_end_at_landing_pads() {
    let ecall = word(Op::Ecall, 0, 0, 0, 0);
    let count = word(Op::Addi, 21, 21, 0, 1);
    // Instructions at the target; whether it is a landing there.
    for (words, lands) in [
        (vec![lpad(0), count, ecall], true),
        (vec![lpad(0x12345), count, ecall], true),
        (vec![lpad(0x12346), count, ecall], false),
        (vec![count, ecall], false),
        (vec![0, ecall], false),
        (vec![word(Op::Auipc, 1, 0, 0, 0), count, ecall], false),
    ] {
        jump(true, 6, 0, &words, |name, s| {
            let expected = if lands { (0, 0, 1) } else { (18, 2, 0) };
            assert_eq!((s.csr.scause, s.csr.stval, s.x[21]), expected, "{name} {words:x?}");
            if !lands {
                assert_eq!((s.csr.sepc, s.csr.mstatus & mstatus::SPELP), (VA + 0x100, mstatus::SPELP), "{name}");
            }
        });
    }
    // Not four-byte aligned.
    jump(true, 6, 2, &[lpad(0), ecall], |name, s| {
        assert_eq!((s.csr.scause, s.csr.stval, s.csr.sepc), (18, 2, VA + 0x102), "{name}");
    });
    // By a link register, or by x7, or off: anything goes.
    for (enabled, by) in [(true, 1), (true, 5), (true, 7), (false, 6)] {
        jump(enabled, by, 0, &[count, ecall], |name, s| {
            assert_eq!((s.csr.scause, s.x[21]), (0, 1), "{name} x{by}");
        });
    }
}

/// What is wrong with the fetch comes first, and the expectation survives it.
#[test]
fn a_fault_at_the_target_comes_before_the_check() {
    supervisor(
        envcfg::LPE,
        0,
        |a| {
            a.i(Op::Jalr, 0, 8, 0);
        },
        |_| {},
        |name, s, _| {
            assert_eq!((s.csr.scause, s.csr.stval), (12, VA + 0xf8), "{name}");
            assert_eq!(s.csr.mstatus & mstatus::SPELP, mstatus::SPELP, "{name}");
        },
    );
}

/// A fault on the way to the landing pad is handled; the return goes on expecting it.
#[test]
fn the_expectation_comes_back_with_the_return() {
    for (word_at_target, cause) in [(lpad(0), 0), (word(Op::Addi, 21, 21, 0, 1), 18)] {
        for (name, options) in modes() {
            let mut g = Guest::with_isa(options, 1, isa());
            let mut p = Paging::new(RAM + 0x10_0000);
            for pa in (RAM..RAM + 0x8_0000).step_by(4096) {
                p.map(&g, pa, pa, RWX, 0);
            }
            let slot = p.slot(&g, VA, 0);
            let alias = VA + 0x10_0000;
            p.map(&g, alias, slot & !0xfff, RWX, 0);
            let mut a = Asm::at(DATA);
            a.word(word_at_target).ecall();
            g.load(&a);
            // Maps the page at the first trap, ends at the second.
            let mut a = Asm::at(STOP);
            let second = a.forward(Op::Bne, 9, 0);
            a.i(Op::Addi, 9, 0, 1).s(Op::Sd, 11, 10, 0).sfence(0, 0).plain(Op::Sret);
            a.bind(second);
            a.ecall();
            g.load(&a);
            let mut a = Asm::at(CODE);
            a.i(Op::Jalr, 0, 8, 0);
            g.load(&a);
            let mut s = g.supervisor(0, CODE);
            (s.csr.satp, s.csr.stvec) = (p.satp(0), STOP);
            s.csr.menvcfg |= envcfg::LPE;
            (s.x[8], s.x[10], s.x[11]) = (VA, alias | slot & 0xfff, leaf(DATA, RWX));
            let end = g.run(&s);
            let expected = if cause == 0 { 12 } else { 18 };
            assert_eq!((end.csr.scause, end.x[9], end.x[21]), (expected, 1, 0), "{name}");
        }
    }
}

/// The code behind the enabling write is translated anew.
#[test]
fn machine_mode_enables_for_itself() {
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        a.li(5, mseccfg::MLPE).i(Op::Jalr, 0, 8, 0);
        a.pad_to(0x100);
        a.csrs(MSECCFG, 5).i(Op::Jalr, 0, 9, 0);
        a.pad_to(0x200);
        a.nop();
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        (s.x[8], s.x[9]) = (CODE + 0x100, CODE + 0x200);
        let end = g.run(&s);
        assert_eq!((end.csr.mcause, end.csr.mtval, end.csr.mepc), (18, 2, CODE + 0x200), "{name}");
        assert_eq!(end.csr.mstatus & mstatus::MPELP, mstatus::MPELP, "{name}");
    }
}

/// Where there are no compressed instructions a jump between words traps by itself, before anything is expected.
#[test]
fn a_misaligned_jump_expects_nothing() {
    let mut isa = arch::model::parse("rv64,c=off").expect("a CPU model");
    isa.exts.insert(Ext::Zicfilp);
    for (name, options) in modes() {
        let mut g = Guest::with_isa(options, 1, isa.clone());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        a.i(Op::Jalr, 20, 8, 2);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        (s.csr.mseccfg, s.x[8], s.x[20]) = (mseccfg::MLPE, CODE + 0x100, 77);
        let end = g.run(&s);
        assert_eq!((end.csr.mcause, end.csr.mtval, end.csr.mepc), (0, CODE + 0x102, CODE), "{name}");
        assert_eq!((end.csr.mstatus & mstatus::MPELP, end.x[20]), (0, 77), "{name}");
    }
}
