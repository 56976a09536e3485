//! `-d in_asm,op,out_asm`: blocks as the log shows them when they are made: guest code, intermediate code, host code.
//!
//! Host code is bytes with their address, in a line below that of their guest instruction. README "Recipes" says how
//! objdump reads them.

use std::fmt::Write;

use arch::isa::Decoder;

use super::Made;
use crate::trace::{Symbols, TraceConfig, TraceItems};

/// A place in the guest's code, with its name if it has one.
pub fn place(symbols: Option<&dyn Symbols>, pc: u64) -> String {
    match symbols.and_then(|symbols| symbols.name(pc)) {
        Some(name) => format!("{pc:#x} <{name}>"),
        None => format!("{pc:#x}"),
    }
}

pub fn show(config: &TraceConfig, decoder: &Decoder, made: &Made) {
    let guest = made.guest_lines(decoder);
    let (hart, mode, pc) = (made.hart, made.mode, place(config.symbols.as_deref(), made.pc));
    if config.items.contains(TraceItems::IN_ASM) {
        let text: String = guest.iter().map(|line| format!("\n  {}", line.text)).collect();
        tracing::trace!(target: "in_asm", "hart {hart}, mode {mode}, {pc}{text}");
    }
    if config.items.contains(TraceItems::OP) {
        let text: String = made.ir.ops.iter().map(|op| format!("\n  {op:?}")).collect();
        tracing::trace!(target: "op", "hart {hart}, mode {mode}, {pc}{text}");
    }
    if config.items.contains(TraceItems::OUT_ASM) {
        let mut text = String::new();
        for (at, code, line) in made.pieces(&guest) {
            let what = line.map_or("rarely run", |line| guest[line].text.as_str());
            let _ = write!(text, "\n  {what}\n    {:#x}: ", made.address + u64::from(at));
            code.iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
        }
        let size = made.host.len();
        tracing::trace!(target: "out_asm", "hart {hart}, mode {mode}, {pc}, size={size}{text}");
    }
}
