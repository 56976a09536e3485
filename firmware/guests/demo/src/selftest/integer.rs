//! Integer instructions at their corners (I and M).

use core::arch::asm;

use super::{Outcome, Test, equal};

macro_rules! rr {
    ($insn:literal, $a:expr, $b:expr) => {{
        let (a, b): (i64, i64) = ($a as i64, $b as i64);
        let r: i64;
        // SAFETY: a register-to-register instruction.
        unsafe { asm!(concat!($insn, " {}, {}, {}"), out(reg) r, in(reg) a, in(reg) b, options(nomem, nostack)) };
        r as usize
    }};
}

macro_rules! check {
    ($($insn:literal $a:expr, $b:expr => $want:expr;)*) => {
        $(equal($insn, rr!($insn, $a, $b), $want as i64 as usize)?;)*
    };
}

const MIN: i64 = i64::MIN;
const MIN32: i64 = i32::MIN as i64;

fn arithmetic() -> Outcome {
    check! {
        "add" i64::MAX, 1 => MIN;
        "addw" 0x7fff_ffff, 1 => MIN32;
        "addw" 0x1_0000_0001i64, 1 => 2;
        "subw" MIN32, 1 => 0x7fff_ffff;
        "sub" MIN, 1 => i64::MAX;
        "slt" -1, 0 => 1;
        "sltu" -1, 0 => 0;
        "sll" 1, 64 + 3 => 8;
        "srl" -1, 63 => 1;
        "sra" MIN, 63 => -1;
        "sllw" 1, 31 => MIN32;
        "sllw" 1, 32 + 4 => 16;
        "srlw" 0xffff_ffff_8000_0000u64, 31 => 1;
        "srlw" 0xffff_ffff_8000_0000u64, 32 => MIN32;
        "sraw" 0x8000_0000i64, 31 => -1;
        "xor" -1, 0x55 => !0x55;
    }
    Ok(())
}

fn multiply_divide() -> Outcome {
    check! {
        "mul" MIN, -1 => MIN;
        "mulh" -1, -1 => 0;
        "mulh" MIN, MIN => 1i64 << 62;
        "mulhu" -1, -1 => -2;
        "mulhsu" -1, -1 => -1;
        "mulhsu" MIN, -1 => MIN;
        "mulw" 0x1_0000, 0x8000 => MIN32;
        "div" MIN, -1 => MIN;
        "div" 7, 0 => -1;
        "div" -7, 2 => -3;
        "divu" 7, 0 => -1;
        "divu" -1, 2 => i64::MAX;
        "rem" MIN, -1 => 0;
        "rem" -7, 0 => -7;
        "rem" -7, 2 => -1;
        "remu" 7, 0 => 7;
        "divw" MIN32, -1 => MIN32;
        "divw" 7, 0x1_0000_0000i64 => -1;
        "divuw" 0x8000_0000i64, 1 => MIN32;
        "divuw" 7, 0 => -1;
        "remw" MIN32, -1 => 0;
        "remuw" 0x8000_0000i64, 0 => MIN32;
        "remw" -7, 0 => -7;
    }
    Ok(())
}

fn loads_and_stores() -> Outcome {
    let mut word: u64 = 0xf1e2_d3c4_b5a6_9788;
    let at = &raw mut word as usize;
    macro_rules! load {
        ($insn:literal, $offset:literal) => {{
            let r: usize;
            // SAFETY: inside of `word`.
            unsafe { asm!(concat!($insn, " {}, ", $offset, "({})"), out(reg) r, in(reg) at) };
            r
        }};
    }
    equal("lb", load!("lb", 0), 0xffff_ffff_ffff_ff88)?;
    equal("lbu", load!("lbu", 7), 0xf1)?;
    equal("lh", load!("lh", 2), 0xffff_ffff_ffff_b5a6)?;
    equal("lhu", load!("lhu", 6), 0xf1e2)?;
    equal("lw", load!("lw", 0), 0xffff_ffff_b5a6_9788)?;
    equal("lwu", load!("lwu", 4), 0xf1e2_d3c4)?;
    equal("ld", load!("ld", 0), 0xf1e2_d3c4_b5a6_9788)?;
    // SAFETY: inside of `word`.
    unsafe {
        asm!("sb {v}, 1({a})", "sh {v}, 2({a})", "sw {v}, 4({a})", v = in(reg) 0x1122_3344_5566_7788usize, a = in(reg) at)
    };
    // SAFETY: plain memory.
    equal("sb, sh, sw", unsafe { (at as *const usize).read_volatile() }, 0x5566_7788_7788_8888)
}

fn control_flow() -> Outcome {
    let taken: usize;
    // SAFETY: jumps inside of the block only.
    unsafe {
        asm!(
            "li {r}, 0",
            "li {a}, -1",
            "bltu {a}, zero, 9f",
            "blt {a}, zero, 1f",
            "j 9f",
            "1: addi {r}, {r}, 1",
            "bgeu {a}, zero, 2f",
            "j 9f",
            "2: addi {r}, {r}, 2",
            "bge zero, {a}, 3f",
            "j 9f",
            "3: addi {r}, {r}, 4",
            // jalr drops bit 0 of its target.
            "lla {a}, 4f",
            "addi {a}, {a}, 1",
            "jr {a}",
            "j 9f",
            "4: addi {r}, {r}, 8",
            "lui {a}, 0x80000",
            "srli {a}, {a}, 60",
            "slli {a}, {a}, 4",
            "add {r}, {r}, {a}",
            "9:",
            r = out(reg) taken, a = out(reg) _,
        );
    }
    equal("branches taken", taken, 0xff)
}

pub const TESTS: &[Test] = &[
    Test { name: "integer-arithmetic", run: arithmetic },
    Test { name: "integer-muldiv", run: multiply_divide },
    Test { name: "integer-load-store", run: loads_and_stores },
    Test { name: "integer-control-flow", run: control_flow },
];
