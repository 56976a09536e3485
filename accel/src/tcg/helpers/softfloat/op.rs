//! Names of the floating-point operations, and what each reads and writes.

use std::fmt;

use super::Fmt;

/// One operation in one format. As a C argument it is the register image [`FpOp::bits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FpOp {
    pub kind: FpKind,
    /// The format of the operands; of the result where the operation converts to a format (`From..`).
    pub fmt: Fmt,
}

/// What an operation does. `a`, `b`, `c` are `rs1`, `rs2`, `rs3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FpKind {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    /// `a * b + c`
    Madd,
    /// `a * b - c`
    Msub,
    /// `-(a * b) + c`
    Nmsub,
    /// `-(a * b) - c`
    Nmadd,

    /// A NaN loses against a number.
    Min,
    Max,
    /// A NaN wins (`Zfa`).
    Minm,
    Maxm,
    Sgnj,
    Sgnjn,
    Sgnjx,

    Eq,
    Lt,
    Le,
    /// Quiet `Lt` (`Zfa`).
    Ltq,
    /// Quiet `Le` (`Zfa`).
    Leq,
    Class,

    ToW,
    ToWu,
    ToL,
    ToLu,
    /// FCVTMOD.W.D (`Zfa`).
    ToWMod,
    FromW,
    FromWu,
    FromL,
    FromLu,

    FromS,
    FromD,
    FromH,
    FromBf16,

    /// FROUND (`Zfa`).
    Round,
    /// FROUNDNX (`Zfa`).
    RoundNx,
    /// FLI (`Zfa`).
    Li,
    /// The bits of an x register.
    MvToF,
    /// The bits of an f register, whether NaN-boxed or not.
    MvToX,
}

/// Where an operand lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegFile {
    X,
    F,
}

impl FpKind {
    pub const ALL: [FpKind; 40] = {
        use FpKind::*;
        [
            Add, Sub, Mul, Div, Sqrt, Madd, Msub, Nmsub, Nmadd, Min, Max, Minm, Maxm, Sgnj, Sgnjn, Sgnjx, Eq, Lt, Le,
            Ltq, Leq, Class, ToW, ToWu, ToL, ToLu, ToWMod, FromW, FromWu, FromL, FromLu, FromS, FromD, FromH, FromBf16,
            Round, RoundNx, Li, MvToF, MvToX,
        ]
    };

    /// How many registers are read: the first so many of `a`, `b`, `c`. None for `Li`, whose `a` is a number.
    pub const fn operands(self) -> usize {
        use FpKind::*;
        match self {
            Madd | Msub | Nmsub | Nmadd => 3,
            Add | Sub | Mul | Div | Min | Max | Minm | Maxm | Sgnj | Sgnjn | Sgnjx | Eq | Lt | Le | Ltq | Leq => 2,
            Li => 0,
            _ => 1,
        }
    }

    /// The register file of `a`; `b` and `c` are always f registers.
    pub const fn source(self) -> RegFile {
        use FpKind::*;
        match self {
            FromW | FromWu | FromL | FromLu | MvToF => RegFile::X,
            _ => RegFile::F,
        }
    }

    pub const fn destination(self) -> RegFile {
        use FpKind::*;
        match self {
            Eq | Lt | Le | Ltq | Leq | Class | ToW | ToWu | ToL | ToLu | ToWMod | MvToX => RegFile::X,
            _ => RegFile::F,
        }
    }

    /// Whether the result or the flags can depend on the rounding mode in some format.
    pub const fn rounds(self) -> bool {
        use FpKind::*;
        matches!(
            self,
            Add | Sub
                | Mul
                | Div
                | Sqrt
                | Madd
                | Msub
                | Nmsub
                | Nmadd
                | ToW
                | ToWu
                | ToL
                | ToLu
                | FromW
                | FromWu
                | FromL
                | FromLu
                | FromS
                | FromD
                | FromH
                | FromBf16
                | Round
                | RoundNx
        )
    }

    /// Whether the operation can raise an exception flag in some format.
    pub const fn raises(self) -> bool {
        use FpKind::*;
        !matches!(self, Sgnj | Sgnjn | Sgnjx | Class | Li | MvToF | MvToX)
    }

    const fn name(self) -> &'static str {
        match self {
            FpKind::Add => "fadd",
            FpKind::Sub => "fsub",
            FpKind::Mul => "fmul",
            FpKind::Div => "fdiv",
            FpKind::Sqrt => "fsqrt",
            FpKind::Madd => "fmadd",
            FpKind::Msub => "fmsub",
            FpKind::Nmsub => "fnmsub",
            FpKind::Nmadd => "fnmadd",
            FpKind::Min => "fmin",
            FpKind::Max => "fmax",
            FpKind::Minm => "fminm",
            FpKind::Maxm => "fmaxm",
            FpKind::Sgnj => "fsgnj",
            FpKind::Sgnjn => "fsgnjn",
            FpKind::Sgnjx => "fsgnjx",
            FpKind::Eq => "feq",
            FpKind::Lt => "flt",
            FpKind::Le => "fle",
            FpKind::Ltq => "fltq",
            FpKind::Leq => "fleq",
            FpKind::Class => "fclass",
            FpKind::ToW => "fcvt.w",
            FpKind::ToWu => "fcvt.wu",
            FpKind::ToL => "fcvt.l",
            FpKind::ToLu => "fcvt.lu",
            FpKind::ToWMod => "fcvtmod.w",
            FpKind::FromW | FpKind::FromWu | FpKind::FromL | FpKind::FromLu => "fcvt",
            FpKind::FromS | FpKind::FromD | FpKind::FromH | FpKind::FromBf16 => "fcvt",
            FpKind::Round => "fround",
            FpKind::RoundNx => "froundnx",
            FpKind::Li => "fli",
            FpKind::MvToF | FpKind::MvToX => "fmv",
        }
    }
}

impl FpOp {
    pub const fn new(kind: FpKind, fmt: Fmt) -> FpOp {
        FpOp { kind, fmt }
    }

    /// The kind in the low byte, the format in the next: how the value travels in a register.
    /// The inverse of [`FpOp::bits`].
    pub fn from_bits(bits: u16) -> Option<Self> {
        let kind = *FpKind::ALL.get(usize::from(bits & 0xff))?;
        let fmt = [Fmt::S, Fmt::D, Fmt::H, Fmt::Bf16].into_iter().find(|&f| f as u16 == bits >> 8)?;
        Some(Self { kind, fmt })
    }

    pub const fn bits(self) -> u16 {
        self.kind as u16 | (self.fmt as u16) << 8
    }
}

/// The assembler's mnemonic.
impl fmt::Display for FpOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, fmt) = (self.kind.name(), self.fmt.suffix());
        let from = match self.kind {
            FpKind::FromW => "w",
            FpKind::FromWu => "wu",
            FpKind::FromL => "l",
            FpKind::FromLu => "lu",
            FpKind::FromS => "s",
            FpKind::FromD => "d",
            FpKind::FromH => "h",
            FpKind::FromBf16 => "bf16",
            FpKind::MvToF | FpKind::MvToX => {
                let bits = if self.fmt == Fmt::S { "w" } else { fmt };
                let (to, from) = if self.kind == FpKind::MvToF { (bits, "x") } else { ("x", bits) };
                return write!(f, "{name}.{to}.{from}");
            }
            _ => return write!(f, "{name}.{fmt}"),
        };
        write!(f, "{name}.{fmt}.{from}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_in_order() {
        for (i, kind) in FpKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i, "{kind:?}");
        }
    }

    #[test]
    fn mnemonics_are_the_assemblers() {
        for (kind, fmt, want) in [
            (FpKind::Add, Fmt::S, "fadd.s"),
            (FpKind::FromS, Fmt::D, "fcvt.d.s"),
            (FpKind::FromLu, Fmt::H, "fcvt.h.lu"),
            (FpKind::ToWu, Fmt::D, "fcvt.wu.d"),
            (FpKind::ToWMod, Fmt::D, "fcvtmod.w.d"),
            (FpKind::FromS, Fmt::Bf16, "fcvt.bf16.s"),
            (FpKind::MvToF, Fmt::S, "fmv.w.x"),
            (FpKind::MvToX, Fmt::D, "fmv.x.d"),
        ] {
            assert_eq!(FpOp::new(kind, fmt).to_string(), want);
        }
        let names: std::collections::HashSet<_> =
            FpKind::ALL.iter().map(|&kind| FpOp::new(kind, Fmt::H).to_string()).collect();
        assert_eq!(names.len(), FpKind::ALL.len());
    }
}
