//! What a user may ask of the engine (`-accel kvm,...`).

use std::fmt;

/// `kernel-irqchip=`: which chips of the AIA are the kernel's. A PLIC, and an APLIC that drives wires into the harts,
/// are the board's in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelIrqchip {
    /// APLIC and IMSICs.
    #[default]
    On,
    /// None.
    Off,
    /// The IMSICs.
    Split,
}

/// `riscv-aia=`: how the kernel makes IMSICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AiaMode {
    /// With guest interrupt files of the host's IMSICs while there are enough of them.
    #[default]
    Auto,
    /// In software.
    Emul,
    /// With guest interrupt files, or not at all.
    HwAccel,
}

impl KernelIrqchip {
    /// The words of the option.
    pub const WORDS: [(&str, Self); 3] = [("on", Self::On), ("off", Self::Off), ("split", Self::Split)];
}

impl AiaMode {
    /// The words of the option.
    pub const WORDS: [(&str, Self); 3] = [("auto", Self::Auto), ("emul", Self::Emul), ("hwaccel", Self::HwAccel)];
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| word)
}

impl fmt::Display for KernelIrqchip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(&Self::WORDS, self))
    }
}

impl fmt::Display for AiaMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(&Self::WORDS, self))
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KvmOptions {
    pub irqchip: KernelIrqchip,
    pub aia: AiaMode,
    /// `debug-switch=`: whoever has the engine takes the translator in its place while something is wanted of it that it
    /// does not support.
    pub debug_switch: bool,
}
