//! Bare programs that end through HTIF: exit codes, console and signature, on both boards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arch::isa::{Op, Operands, encode};

use super::{Case, contains, equal};
use crate::elf;
use crate::harness::vm::Machine;
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "exit codes and console of a bare program", run: exit_and_console },
    Case { name: "semihosting, with instructions as the clock", run: semihosting },
    Case { name: "the signature of a test program", run: signature },
    Case { name: "a signature that is not there", run: no_signature },
];

const BASE: u64 = 0x8000_0000;
/// Of the program's data: HTIF's doublewords, then the signature.
const DATA: u64 = 0x100;
const TOHOST: u64 = BASE + DATA;
const SIGNATURE: &[u8] = &[1, 2, 3, 4, 5, 6];

fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Result<u32> {
    encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).context("an instruction of the test")
}

/// Prints a character, then exits with `code` again and again, by pairs of 32-bit stores.
fn write_program(dir: &Path, code: i32, with_signature: bool) -> Result<PathBuf> {
    let mut words = vec![
        word(Op::Auipc, 5, 0, 0, 0)?,
        word(Op::Addi, 5, 5, 0, DATA as i32)?,
        word(Op::Addi, 6, 0, 0, i32::from(b'!'))?,
        word(Op::Sw, 0, 5, 6, 0)?,
        word(Op::Lui, 7, 0, 0, 0x0101_0000)?,
        word(Op::Sw, 0, 5, 7, 4)?,
        word(Op::Addi, 6, 0, 0, code << 1 | 1)?,
    ];
    words.extend([word(Op::Sw, 0, 5, 6, 0)?, word(Op::Sw, 0, 5, 0, 4)?, word(Op::Jal, 0, 0, 0, -8)?]);
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.resize(DATA as usize + 16, 0);
    bytes.extend(SIGNATURE);
    let end = TOHOST + 16 + SIGNATURE.len() as u64;
    let mut symbols = vec![("tohost", TOHOST), ("fromhost", TOHOST + 8)];
    if with_signature {
        symbols.extend([("begin_signature", TOHOST + 16), ("end_signature", end)]);
    }
    let path = dir.join(format!("exit-{code}-{with_signature}"));
    fs::write(&path, elf::program(BASE, &bytes, &symbols))?;
    Ok(path)
}

/// Prints a string and ends with `code` by semihosting calls.
fn write_semihosting(dir: &Path, code: u64) -> Result<PathBuf> {
    const TEXT: u64 = DATA + 16;
    let call = [word(Op::Slli, 0, 0, 0, 0x1f)?, word(Op::Ebreak, 0, 0, 0, 0)?, word(Op::Srai, 0, 0, 0, 7)?];
    let mut words = vec![
        word(Op::Auipc, 11, 0, 0, 0)?,
        word(Op::Addi, 12, 11, 0, DATA as i32)?,
        word(Op::Addi, 11, 11, 0, TEXT as i32)?,
        word(Op::Addi, 10, 0, 0, 4)?,
    ];
    words.extend(call);
    words.extend([word(Op::Addi, 11, 12, 0, 0)?, word(Op::Addi, 10, 0, 0, 0x18)?]);
    words.extend(call);
    words.push(word(Op::Jal, 0, 0, 0, 0)?);
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.resize(DATA as usize, 0);
    bytes.extend(0x2_0026_u64.to_le_bytes());
    bytes.extend(code.to_le_bytes());
    bytes.extend(b"called\0");
    let path = dir.join(format!("semihosting-{code}"));
    fs::write(&path, elf::program(BASE, &bytes, &[]))?;
    Ok(path)
}

fn semihosting(env: &Env) -> Result<()> {
    let dir = scratch()?;
    for board in ["spike", "virt"] {
        for code in [0, 7] {
            let program = write_semihosting(dir.path(), code)?;
            let machine = Machine::new(&env.vireo).args(["-M", board, "-semihosting", "-icount", "shift=1", "-bios"]);
            let end = machine.arg(&program).start()?.wait()?;
            equal(&format!("the exit code on {board}"), end.status.code(), Some(code as i32))?;
            contains("standard error", &end.errors, "called")?;
        }
    }
    Ok(())
}

fn exit_and_console(env: &Env) -> Result<()> {
    let dir = scratch()?;
    for (board, engine) in [("spike", "tcg"), ("spike", "interp"), ("virt", "tcg")] {
        for code in [0, 7] {
            let program = write_program(dir.path(), code, false)?;
            let machine = Machine::new(&env.vireo).args(["-M", board, "-accel", engine, "-bios", "none", "-kernel"]);
            let end = machine.arg(&program).start()?.wait()?;
            equal(&format!("the exit code on {board} ({engine})"), end.status.code(), Some(code))?;
            equal("the console", end.output.trim(), "!")?;
        }
    }
    let program = write_program(dir.path(), 3, false)?;
    let end = Machine::new(&env.vireo).args(["-M", "spike", "-smp", "2", "-bios"]).arg(&program).start()?.wait()?;
    equal("the exit code with -bios", end.status.code(), Some(3))
}

fn signature(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let program = write_program(dir.path(), 0, true)?;
    for (granularity, wanted) in [(4, "04030201\n00000605\n"), (16, "00000000000000000000060504030201\n")] {
        let file = dir.path().join(format!("signature-{granularity}"));
        let board = format!("spike,signature={},signature-granularity={granularity}", file.display());
        let end = Machine::new(&env.vireo).args(["-M", &board, "-bios", "none", "-kernel"]).arg(&program);
        end.start()?.wait_off()?;
        equal("the signature", fs::read_to_string(&file)?.as_str(), wanted)?;
    }
    Ok(())
}

fn no_signature(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let program = write_program(dir.path(), 0, false)?;
    let file = dir.path().join("signature");
    let board = format!("spike,signature={}", file.display());
    let machine = Machine::new(&env.vireo).args(["-M", &board, "-bios", "none", "-kernel"]).arg(&program);
    let end = machine.start()?.wait()?;
    equal("the exit code", end.status.code(), Some(1))?;
    contains("the error", &end.errors, "begin_signature")?;
    if file.exists() {
        bail!("a signature was written");
    }
    Ok(())
}
