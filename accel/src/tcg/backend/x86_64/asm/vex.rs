//! Vector and mask instructions: VEX and EVEX prefixes, from the rows of [`rows`](super::rows).
//!
//! `asm.v(VADDPS.y(), (x0, x1, mem))` takes operands in the order of Intel's manuals. VEX is chosen wherever it can say
//! the same: it is shorter, and all there is without AVX-512. Masks, broadcasts, embedded rounding, 512 bits and registers
//! from 16 on ask for EVEX, which [`Asm::no_evex`] forbids (debug builds check). Intel's manual, volume 2, sections 2.3
//! and 2.7.

#![allow(dead_code, reason = "what the host can do, whether it is used or not")]

use super::{Asm, Mem, Reg, Xmm};

/// An opmask register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct K(pub u8);

/// Memory operands of gathers and scatters: the index is a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vsib {
    pub base: Reg,
    pub index: Xmm,
    /// 1, 2, 4 or 8.
    pub scale: u8,
    pub disp: i32,
}

/// Vector length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Len {
    X,
    Y,
    Z,
}

impl Len {
    pub const ALL: [Len; 3] = [Len::X, Len::Y, Len::Z];

    pub const fn bytes(self) -> usize {
        16 << self as usize
    }

    /// The shortest that holds `bytes`; at most 64.
    pub const fn of(bytes: usize) -> Self {
        match bytes {
            0..=16 => Len::X,
            17..=32 => Len::Y,
            _ => Len::Z,
        }
    }
}

/// Where an operand is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Reg,
    Vvvv,
    /// ModRM.rm, whether it may be a register and whether it may be memory.
    Rm(bool, bool),
    /// Memory with a vector index.
    Vsib,
    Imm,
    /// A register in the upper half of the immediate.
    Is4,
}

/// What an operand is: a vector register of a fraction of the vector length (never less than an XMM register), one of a
/// fixed size, or another register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Full,
    Half,
    Quarter,
    Eighth,
    X,
    Y,
    K,
    /// General register of 32 or 64 bits.
    R32,
    R64,
    Imm,
}

/// How many bytes of memory an instruction accesses, which is the unit of EVEX's short displacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuple {
    /// The whole vector, or one element of so many bytes for all of it.
    Full(u8),
    /// Half a vector, likewise.
    Half(u8),
    /// The vector's length divided by this.
    Part(u8),
    /// So many bytes.
    Fixed(u8),
}

/// What an opmask may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    No,
    /// Elements stay out, or bits of a mask become zero.
    Only,
    /// They stay out or become zero, as asked.
    Any,
    /// There has to be one (gathers and scatters).
    Needed,
}

/// What EVEX.b means between registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    No,
    /// Static rounding, which suppresses exceptions.
    Rounding,
    /// Exceptions are suppressed.
    Sae,
}

/// Static rounding modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Round {
    Nearest,
    Down,
    Up,
    Zero,
}

/// An instruction.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The mnemonic; what follows an underscore tells forms of one mnemonic apart.
    pub name: &'static str,
    /// The mandatory prefix: none, 66, F3, F2.
    pub pp: u8,
    /// Opcode map: 0F, 0F38, 0F3A.
    pub map: u8,
    pub opcode: u8,
    /// The W bit of each encoding, if there is that encoding.
    pub vex: Option<bool>,
    pub evex: Option<bool>,
    /// Lengths by bit: 1 for XMM, 2 for YMM, 4 for ZMM (which VEX has not).
    pub lens: u8,
    /// ModRM.reg where it is part of the opcode.
    pub digit: u8,
    pub operands: &'static [(Role, Class)],
    pub tuple: Tuple,
    pub masking: Masking,
    pub control: Control,
}

/// An instruction with its length and what EVEX adds.
#[derive(Debug, Clone, Copy)]
pub struct Vop {
    row: &'static Row,
    len: Len,
    /// 0 is none.
    mask: u8,
    zero: bool,
    broadcast: bool,
    control: Option<Round>,
}

impl Row {
    /// At a length.
    pub fn len(&'static self, len: Len) -> Vop {
        debug_assert!(self.lens >> len as u8 & 1 != 0, "{} has no {len:?} form", self.name);
        Vop { row: self, len, mask: 0, zero: false, broadcast: false, control: None }
    }

    pub fn x(&'static self) -> Vop {
        self.len(Len::X)
    }

    pub fn y(&'static self) -> Vop {
        self.len(Len::Y)
    }

    pub fn z(&'static self) -> Vop {
        self.len(Len::Z)
    }
}

impl Vop {
    /// Only elements whose bit in `k` is set; the others stay. `K(0)` means all.
    pub fn k(self, k: K) -> Vop {
        debug_assert!(self.row.masking != Masking::No, "{} takes no mask", self.row.name);
        Vop { mask: k.0, ..self }
    }

    /// As [`Vop::k`], but the others become zero.
    pub fn kz(self, k: K) -> Vop {
        debug_assert!(self.row.masking == Masking::Any, "{} cannot zero", self.row.name);
        Vop { zero: k.0 != 0, ..self.k(k) }
    }

    /// One element in memory for all of them.
    pub fn bcast(self) -> Vop {
        debug_assert!(matches!(self.row.tuple, Tuple::Full(_) | Tuple::Half(_)), "{} has no broadcast", self.row.name);
        Vop { broadcast: true, ..self }
    }

    /// Static rounding; flags are not raised. Between registers of 512 bits or scalars only.
    pub fn round(self, mode: Round) -> Vop {
        debug_assert!(self.row.control == Control::Rounding, "{} has no static rounding", self.row.name);
        self.controlled(mode)
    }

    /// No flags are raised. As [`Vop::round`] otherwise.
    pub fn sae(self) -> Vop {
        debug_assert!(self.row.control == Control::Sae, "{} cannot suppress exceptions", self.row.name);
        self.controlled(Round::Nearest)
    }

    fn controlled(self, mode: Round) -> Vop {
        debug_assert!(self.len == Len::Z || self.row.lens == 1, "{} is short", self.row.name);
        Vop { control: Some(mode), ..self }
    }

    /// Bytes of a memory operand.
    pub fn memory_bytes(self) -> usize {
        match self.row.tuple {
            Tuple::Full(e) | Tuple::Half(e) if self.broadcast => e as usize,
            Tuple::Full(_) => self.len.bytes(),
            Tuple::Half(_) => self.len.bytes() / 2,
            Tuple::Part(n) => self.len.bytes() / n as usize,
            Tuple::Fixed(n) => n as usize,
        }
    }
}

/// An instruction of one length needs none said.
impl From<&'static Row> for Vop {
    fn from(row: &'static Row) -> Vop {
        debug_assert!(row.lens.is_power_of_two(), "{} has several lengths", row.name);
        row.len(Len::ALL[row.lens.trailing_zeros() as usize])
    }
}

/// An operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    V(Xmm),
    K(K),
    R(Reg),
    M(Mem),
    S(Vsib),
    I(u8),
}

macro_rules! into_operand {
    ($($from:ty => $variant:ident;)*) => { $(
        impl From<$from> for Operand {
            fn from(v: $from) -> Operand {
                Operand::$variant(v)
            }
        }
    )* };
}

into_operand! {
    Xmm => V;
    K => K;
    Reg => R;
    Mem => M;
    Vsib => S;
    u8 => I;
}

/// One to four operands.
pub trait Operands {
    fn list(self) -> ([Operand; 4], usize);
}

const UNUSED: Operand = Operand::I(0);

impl<A: Into<Operand>, B: Into<Operand>> Operands for (A, B) {
    fn list(self) -> ([Operand; 4], usize) {
        ([self.0.into(), self.1.into(), UNUSED, UNUSED], 2)
    }
}

impl<A: Into<Operand>, B: Into<Operand>, C: Into<Operand>> Operands for (A, B, C) {
    fn list(self) -> ([Operand; 4], usize) {
        ([self.0.into(), self.1.into(), self.2.into(), UNUSED], 3)
    }
}

impl<A: Into<Operand>, B: Into<Operand>, C: Into<Operand>, D: Into<Operand>> Operands for (A, B, C, D) {
    fn list(self) -> ([Operand; 4], usize) {
        ([self.0.into(), self.1.into(), self.2.into(), self.3.into()], 4)
    }
}

impl Operand {
    /// Number of a register.
    fn number(self) -> u8 {
        match self {
            Operand::V(v) => v.0,
            Operand::K(k) => k.0,
            Operand::R(r) => r as u8,
            Operand::M(_) | Operand::S(_) | Operand::I(_) => unreachable!("a register"),
        }
    }

    /// Whether this can stand where `class` is asked for.
    fn is(self, role: Role, class: Class) -> bool {
        match (self, role) {
            (Operand::M(_), Role::Rm(_, memory)) => memory,
            (Operand::S(_), Role::Vsib) | (Operand::I(_), Role::Imm) => true,
            (_, Role::Vsib | Role::Imm | Role::Rm(false, _)) => false,
            (Operand::K(_), _) => class == Class::K,
            (Operand::R(_), _) => matches!(class, Class::R32 | Class::R64),
            (Operand::V(_), _) => !matches!(class, Class::K | Class::R32 | Class::R64 | Class::Imm),
            _ => false,
        }
    }
}

/// The fields of an instruction.
#[derive(Debug, Clone, Copy)]
struct Fields {
    reg: u8,
    vvvv: u8,
    rm: Operand,
    imm: Option<u8>,
}

impl Fields {
    /// Bits 3 and 4 of what ModRM.rm names or is based on, and of its index.
    fn extensions(&self) -> (u8, u8) {
        match self.rm {
            Operand::M(m) => (m.base as u8, m.index.map_or(0, |(i, _)| i as u8)),
            Operand::S(s) => (s.base as u8, s.index.0),
            // EVEX.X is bit 4 of a register.
            r => (r.number() & 15, r.number() >> 1 & 8),
        }
    }

    fn needs_evex(&self) -> bool {
        let rm = match self.rm {
            Operand::V(v) => v.0,
            Operand::S(s) => s.index.0,
            _ => 0,
        };
        self.reg >= 16 || self.vvvv >= 16 || rm >= 16
    }
}

impl Asm {
    /// A vector or mask instruction, operands in the order of Intel's manuals.
    pub fn v(&mut self, op: impl Into<Vop>, operands: impl Operands) {
        let (op, (list, n)) = (op.into(), operands.list());
        let row = op.row;
        debug_assert_eq!(n, row.operands.len(), "{}", row.name);
        let mut f = Fields { reg: row.digit, vvvv: 0, rm: UNUSED, imm: None };
        for (&(role, class), operand) in row.operands.iter().zip(list) {
            debug_assert!(operand.is(role, class), "{}: {operand:?} as {role:?} {class:?}", row.name);
            match role {
                Role::Reg => f.reg = operand.number(),
                Role::Vvvv => f.vvvv = operand.number(),
                Role::Rm(..) | Role::Vsib => f.rm = operand,
                Role::Is4 => f.imm = Some(operand.number() << 4),
                Role::Imm => {
                    if let Operand::I(i) = operand {
                        f.imm = Some(i);
                    }
                }
            }
        }
        let plain = op.mask == 0 && !op.broadcast && op.control.is_none() && op.len != Len::Z;
        match row.vex {
            Some(w) if plain && !f.needs_evex() => {
                self.vex_prefix(row, op.len, w, &f);
                self.vector_modrm(&f, 1);
            }
            _ => {
                self.evex_prefix(op, &f);
                self.vector_modrm(&f, op.memory_bytes() as i32);
            }
        }
        if let Some(i) = f.imm {
            self.byte(i);
        }
    }

    /// Clears the upper parts of all vector registers, which SSE instructions would otherwise have to keep.
    pub fn vzeroupper(&mut self) {
        self.code.extend([0xc5, 0xf8, 0x77]);
    }

    fn vex_prefix(&mut self, row: &Row, len: Len, w: bool, f: &Fields) {
        let (b, x) = f.extensions();
        let (r, x, b) = ((f.reg >> 3 & 1) ^ 1, (x >> 3 & 1) ^ 1, (b >> 3 & 1) ^ 1);
        let last = (f.vvvv ^ 15) << 3 | (len as u8) << 2 | row.pp;
        if x & b != 0 && row.map == 1 && !w {
            self.code.extend([0xc5, r << 7 | last, row.opcode]);
        } else {
            self.code.extend([0xc4, r << 7 | x << 6 | b << 5 | row.map, u8::from(w) << 7 | last, row.opcode]);
        }
    }

    fn evex_prefix(&mut self, op: Vop, f: &Fields) {
        let row = op.row;
        debug_assert!(!self.no_evex, "{} asks for EVEX", row.name);
        debug_assert!(row.masking != Masking::Needed || op.mask != 0, "{} needs a mask", row.name);
        let Some(w) = row.evex else { unreachable!("{} has no EVEX form", row.name) };
        let (b, x) = f.extensions();
        let no = |field: u8, bit: u8| (field >> bit & 1) ^ 1;
        // V' is bit 4 of the second operand, or of a vector index.
        let v4 = if let Operand::S(s) = f.rm { s.index.0 } else { f.vvvv };
        let len = match (op.control, row.control) {
            (Some(mode), Control::Rounding) => mode as u8,
            _ => op.len as u8,
        };
        let embedded = op.broadcast || op.control.is_some();
        self.code.extend([
            0x62,
            no(f.reg, 3) << 7 | no(x, 3) << 6 | no(b, 3) << 5 | no(f.reg, 4) << 4 | row.map,
            u8::from(w) << 7 | (f.vvvv & 15 ^ 15) << 3 | 4 | row.pp,
            u8::from(op.zero) << 7 | len << 5 | u8::from(embedded) << 4 | no(v4, 4) << 3 | op.mask,
            row.opcode,
        ]);
    }

    /// ModRM, SIB and a displacement in units of `n` bytes if it is short.
    fn vector_modrm(&mut self, f: &Fields, n: i32) {
        let reg = f.reg & 7;
        match f.rm {
            Operand::M(m) => {
                self.memory(reg, m.base, m.index.map(|(i, s)| (i as u8, s)), m.disp, n);
            }
            Operand::S(s) => self.memory(reg, s.base, Some((s.index.0, s.scale)), s.disp, n),
            r => self.byte(0xc0 | reg << 3 | r.number() & 7),
        }
    }
}
