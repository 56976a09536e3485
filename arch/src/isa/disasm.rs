//! Instructions to text, as binutils' `objdump -M no-aliases` writes it: a compressed instruction keeps its name, and no
//! instruction gets a friendlier one.

use std::fmt::Write;

use super::insn::{Op, zfa::FLI};
use super::{Field, Insn};
use crate::csr::{self, fcsr};
use crate::reg;

/// Text of `insn` at address `pc`, which branch targets are relative to. A tab follows the mnemonic.
pub fn disasm(insn: &Insn, pc: u64) -> String {
    let row = insn.row();
    let mut text = match row.mnemonic.strip_suffix(".n") {
        Some(stem) if row.operands.is_empty() || insn.op == Op::MopRN || insn.op == Op::MopRrN => {
            format!("{stem}.{}", mop_number(insn))
        }
        _ => row.mnemonic.to_string(),
    };
    let is_order = |piece: &super::Piece| piece.field == Field::Rm && piece.width == 1;
    if row.pattern.pieces.iter().any(is_order) && !row.operands.ends_with("vm") {
        // Of load-acquire and store-release one bit is fixed, and in the name.
        let stem = text.len() - if text.ends_with(".aq") || text.ends_with(".rl") { 3 } else { 0 };
        text.truncate(stem);
        text += ["", ".rl", ".aq", ".aqrl"][(insn.raw >> 25 & 3) as usize];
    }
    if row.operands.is_empty() {
        return text;
    }
    text.push('\t');
    let mut rest = row.operands;
    while !rest.is_empty() {
        let name = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
        if name == 0 {
            text.push_str(&rest[..1]);
            rest = &rest[1..];
        } else {
            operand(&mut text, &rest[..name], insn, pc);
            rest = &rest[name..];
        }
    }
    text
}

/// Appends the operand that a row calls `name`.
fn operand(text: &mut String, name: &str, insn: &Insn, pc: u64) {
    let x = |number: u8| reg::X[usize::from(number)];
    let f = |number: u8| reg::F[usize::from(number)];
    let v = |text: &mut String, number: u8| write!(text, "v{number}").expect("a string takes all");
    let number = |text: &mut String, value: i32| write!(text, "{value}").expect("a string takes all");
    let hex = |text: &mut String, value: u64| write!(text, "{value:#x}").expect("a string takes all");
    match name {
        "rd" => text.push_str(x(insn.rd)),
        "rs1" => text.push_str(x(insn.rs1)),
        "rs2" => text.push_str(x(insn.rs2)),
        "fd" => text.push_str(f(insn.rd)),
        "fs1" => text.push_str(f(insn.rs1)),
        "fs2" => text.push_str(f(insn.rs2)),
        "fs3" => text.push_str(f(insn.rs3)),
        "vd" => v(text, insn.rd),
        "vs1" => v(text, insn.rs1),
        "vs2" => v(text, insn.rs2),
        "vs3" => v(text, insn.rs3),
        // All elements: the mask is not written.
        "vm" if insn.rm == 1 => drop(text.pop()),
        "vm" => text.push_str("v0.t"),
        "vtype" => text.push_str(&vtype(insn.imm)),
        "imm" => number(text, insn.imm),
        "zimm" => number(text, insn.rs1.into()),
        "shamt" | "rnum" | "bs" => hex(text, insn.imm as u64),
        "upper" => hex(text, (insn.imm as u32 >> 12).into()),
        "target" => hex(text, pc.wrapping_add(insn.imm as u64)),
        "csr" => match csr::by_number(insn.imm as u16) {
            Some(row) => text.push_str(row.name),
            None => hex(text, insn.imm as u64),
        },
        "pred" => text.push_str(&fence_set(insn.imm >> 4)),
        "succ" => text.push_str(&fence_set(insn.imm)),
        "fli" => text.push_str(FLI[usize::from(insn.rs1)]),
        // The usual mode is not written: dynamic, or for a conversion that never rounds, to nearest.
        "rm" if insn.rm == fcsr::DYN => drop(text.pop()),
        "exact" if insn.rm == fcsr::RNE => drop(text.pop()),
        "rm" | "exact" => {
            text.push_str(["rne", "rtz", "rdn", "rup", "rmm", "unknown", "unknown", "dyn"][usize::from(insn.rm)])
        }
        literal => text.push_str(literal),
    }
}

/// The number in the name of a may-be-operation.
fn mop_number(insn: &Insn) -> i32 {
    // c.mop.n expands to an instruction that has no place for it.
    if insn.len == 2 { (insn.raw >> 7 & 0xf) as i32 } else { insn.imm }
}

/// The operands that make up a `vtype`, or its number if part of it is reserved.
fn vtype(value: i32) -> String {
    const LMUL: [&str; 8] = ["m1", "m2", "m4", "m8", "", "mf8", "mf4", "mf2"];
    let (lmul, sew) = (LMUL[value as usize & 7], value >> 3 & 7);
    if lmul.is_empty() || sew > 3 || value >> 8 != 0 {
        return value.to_string();
    }
    let tail = if value & 1 << 6 != 0 { "ta" } else { "tu" };
    let mask = if value & 1 << 7 != 0 { "ma" } else { "mu" };
    format!("e{},{lmul},{tail},{mask}", 8 << sew)
}

/// What a fence orders: device input and output, memory reads and writes.
fn fence_set(bits: i32) -> String {
    let set: String =
        "iorw".chars().zip([8, 4, 2, 1]).filter(|(_, bit)| bits & bit != 0).map(|(name, _)| name).collect();
    if set.is_empty() { "unknown".into() } else { set }
}
