//! What an engine shows in the log of the code that it runs ([`Vcpu::set_trace`](crate::Vcpu::set_trace)): which items, and
//! of which code and harts.

use std::fmt::{Debug, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arch::reg;
use bitflags::bitflags;

use crate::{HartState, Mode};

bitflags! {
    /// Items of the log that are an engine's.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct TraceItems: u16 {
        /// When code is translated: guest code, intermediate code, host code.
        const IN_ASM = 1 << 0;
        const OP = 1 << 1;
        const OUT_ASM = 1 << 2;
        /// Before a block is executed: where it is, and the hart's registers.
        const EXEC = 1 << 3;
        const CPU = 1 << 4;
        /// With the registers: those of floating point, and of vectors.
        const FPU = 1 << 5;
        const VPU = 1 << 6;
        /// Traps and interrupts.
        const INT = 1 << 7;
        /// Page walks.
        const MMU = 1 << 8;
        /// Blocks do not lead to each other.
        const NOCHAIN = 1 << 9;
        /// What has to be done for each block that is executed.
        const BLOCKS = Self::EXEC.bits() | Self::CPU.bits();
        /// What is told when a block is made.
        const LISTINGS = Self::IN_ASM.bits() | Self::OP.bits() | Self::OUT_ASM.bits();
    }
}

/// Names of code by its address.
pub trait Symbols: Debug + Send + Sync {
    /// The function at `pc` with the distance from its start, if one is known.
    fn name(&self, pc: u64) -> Option<String>;
}

/// What is shown. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct TraceConfig {
    pub items: TraceItems,
    /// Virtual addresses of the code that blocks are shown of; all, if there are none.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// Harts that are shown; all, if there are none.
    pub harts: Vec<RangeInclusive<u32>>,
    /// Modes in which they are, as [`mode_bit`] has them; 0: all.
    pub modes: u8,
    pub symbols: Option<Arc<dyn Symbols>>,
}

/// The bit of a privilege mode in [`TraceConfig::modes`].
pub const fn mode_bit(mode: Mode, virt: bool) -> u8 {
    1 << (mode as u8 | (virt as u8) << 2)
}

impl TraceConfig {
    pub fn wants_hart(&self, hart: u32) -> bool {
        self.harts.is_empty() || self.harts.iter().any(|harts| harts.contains(&hart))
    }

    pub fn wants_mode(&self, mode: Mode, virt: bool) -> bool {
        self.modes == 0 || self.modes & mode_bit(mode, virt) != 0
    }

    /// Whether code at this address is shown.
    pub fn wants_code(&self, pc: u64) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|range| range.contains(&pc))
    }
}

/// A mode as the log has it.
pub fn mode_name(mode: Mode, virt: bool) -> &'static str {
    match (mode, virt) {
        (Mode::User, false) => "U",
        (Mode::User, true) => "VU",
        (Mode::Supervisor, false) => "S",
        (Mode::Supervisor, true) => "VS",
        (Mode::Machine, _) => "M",
    }
}

/// CSRs in QEMU's order, with their place in the state.
type CsrRow = (&'static str, fn(&HartState) -> u64);
const CSRS: [CsrRow; 22] = [
    ("mhartid", |s| s.csr.hart_id),
    ("mstatus", |s| s.csr.mstatus),
    ("hstatus", |s| s.csr.hstatus),
    ("vsstatus", |s| s.csr.vsstatus),
    ("mip", |s| s.csr.mip),
    ("mie", |s| s.csr.mie),
    ("mideleg", |s| s.csr.mideleg),
    ("hideleg", |s| s.csr.hideleg),
    ("medeleg", |s| s.csr.medeleg),
    ("hedeleg", |s| s.csr.hedeleg),
    ("mtvec", |s| s.csr.mtvec),
    ("stvec", |s| s.csr.stvec),
    ("vstvec", |s| s.csr.vstvec),
    ("mepc", |s| s.csr.mepc),
    ("sepc", |s| s.csr.sepc),
    ("vsepc", |s| s.csr.vsepc),
    ("mcause", |s| s.csr.mcause),
    ("scause", |s| s.csr.scause),
    ("vscause", |s| s.csr.vscause),
    ("mscratch", |s| s.csr.mscratch),
    ("sscratch", |s| s.csr.sscratch),
    ("satp", |s| s.csr.satp),
];

/// A hart's registers before the instruction at `pc`, laid out as QEMU's log has them. CSRs are those of the state: `mip`
/// has no lines of chips and timers. Vector registers have `vlenb` bytes.
pub fn registers(state: &HartState, pc: u64, items: TraceItems, vlenb: usize) -> String {
    let mut text = format!(" V      =   {}\n pc       {pc:016x}\n", u8::from(state.virt));
    for (name, value) in CSRS {
        let _ = writeln!(text, " {name:<8} {:016x}", value(state));
    }
    x_registers(&mut text, &state.x);
    if items.contains(TraceItems::FPU) {
        f_registers(&mut text, &state.f);
    }
    if items.contains(TraceItems::VPU) {
        let csr = &state.csr;
        let rows = [("vstart", csr.vstart), ("vcsr", csr.vcsr), ("vl", csr.vl), ("vtype", csr.vtype)];
        rows.iter().for_each(|(name, value)| {
            let _ = writeln!(text, " {name:<8} {value:016x}");
        });
        for (n, register) in state.v.0.chunks_exact(vlenb.max(1)).take(32).enumerate() {
            let _ = write!(text, " {:<8} ", format!("v{n}"));
            register.iter().rev().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            text.push('\n');
        }
    }
    text
}

/// The integer registers, four a line.
pub fn x_registers(out: &mut String, x: &[u64; 32]) {
    rows(out, 'x', &reg::X, x);
}

/// The floating-point registers likewise.
pub fn f_registers(out: &mut String, f: &[u64; 32]) {
    rows(out, 'f', &reg::F, f);
}

fn rows(out: &mut String, prefix: char, names: &[&str; 32], values: &[u64; 32]) {
    for (n, (name, value)) in names.iter().zip(values).enumerate() {
        let end = if n % 4 == 3 { "\n" } else { "" };
        let _ = write!(out, " {:<8} {value:016x}{end}", format!("{prefix}{n}/{name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_what_is_shown() {
        let all = TraceConfig::default();
        assert!(all.wants_hart(7) && all.wants_mode(Mode::User, true) && all.wants_code(u64::MAX));
        let some = TraceConfig {
            ranges: vec![0x1000..=0x1fff, u64::MAX..=u64::MAX],
            harts: vec![0..=0, 2..=3],
            modes: mode_bit(Mode::Supervisor, false) | mode_bit(Mode::Machine, false),
            ..TraceConfig::default()
        };
        assert_eq!([0, 1, 2, 3, 4].map(|h| some.wants_hart(h)), [true, false, true, true, false]);
        assert_eq!([0xfff, 0x1000, 0x1fff, 0x2000, !0].map(|a| some.wants_code(a)), [false, true, true, false, true]);
        assert!(some.wants_mode(Mode::Machine, false) && some.wants_mode(Mode::Supervisor, false));
        assert!(!some.wants_mode(Mode::Supervisor, true) && !some.wants_mode(Mode::User, false));
    }

    #[test]
    fn registers_are_laid_out_as_qemu_has_them() {
        let mut state = HartState::default();
        state.x[31] = 0x1234;
        let text = registers(&state, 0x8000_0000, TraceItems::CPU, 16);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], [" V      =   0", " pc       0000000080000000", " mhartid  0000000000000000"]);
        assert!(lines[24].starts_with(" x0/zero  0000000000000000 x1/ra    0000000000000000"), "{}", lines[24]);
        assert!(lines[31].ends_with(" x31/t6   0000000000001234"), "{}", lines[31]);
        assert_eq!(lines.len(), 32);
        let text = registers(&state, 0, TraceItems::CPU | TraceItems::FPU | TraceItems::VPU, 16);
        assert!(text.contains(" f31/ft11 0000000000000000\n") && text.contains(" vl       "), "{text}");
        assert!(text.ends_with(&format!(" v31      {}\n", "0".repeat(32))), "{text}");
    }
}
