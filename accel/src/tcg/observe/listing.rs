//! `-d in_asm,op,out_asm`: blocks as the log shows them when they are made: guest code, intermediate code, host code.
//!
//! Host code is bytes with their address, in a line below that of their guest instruction. README "Recipes" says how
//! objdump reads them.

use std::fmt::Write;

use arch::isa::Decoder;
use tracing::Level;

use super::Made;

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    in_asm: bool,
    op: bool,
    out_asm: bool,
}

impl Listing {
    /// By the log's filter.
    pub fn asked() -> Self {
        Self {
            in_asm: tracing::enabled!(target: "in_asm", Level::TRACE),
            op: tracing::enabled!(target: "op", Level::TRACE),
            out_asm: tracing::enabled!(target: "out_asm", Level::TRACE),
        }
    }

    pub fn any(self) -> bool {
        self.in_asm || self.op || self.out_asm
    }

    pub fn show(self, decoder: &Decoder, made: &Made) {
        let guest = made.guest_lines(decoder);
        let (hart, mode, pc) = (made.hart, made.mode, made.pc);
        if self.in_asm {
            let text: String = guest.iter().map(|line| format!("\n  {}", line.text)).collect();
            tracing::trace!(target: "in_asm", "hart {hart}, mode {mode}, {pc:#x}{text}");
        }
        if self.op {
            let text: String = made.ir.ops.iter().map(|op| format!("\n  {op:?}")).collect();
            tracing::trace!(target: "op", "hart {hart}, mode {mode}, {pc:#x}{text}");
        }
        if self.out_asm {
            let mut text = String::new();
            for (at, code, line) in made.pieces(&guest) {
                let what = line.map_or("rarely run", |line| guest[line].text.as_str());
                let _ = write!(text, "\n  {what}\n    {:#x}: ", made.address + u64::from(at));
                code.iter().for_each(|byte| {
                    let _ = write!(text, "{byte:02x}");
                });
            }
            let size = made.host.len();
            tracing::trace!(target: "out_asm", "hart {hart}, mode {mode}, {pc:#x}, size={size}{text}");
        }
    }
}
