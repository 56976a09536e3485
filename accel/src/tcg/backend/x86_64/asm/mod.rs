//! A small x86-64 assembler: the instructions the backend uses, encoded as the Intel manual's volume 2 says.
//!
//! Code is made for a known address, so that calls and jumps to fixed places are relative from the start. Vector and
//! mask instructions are rows of a table ([`rows`]) with one encoder ([`vex`]).

pub mod rows;
pub mod vex;
#[cfg(test)]
mod vex_tests;

/// General registers by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// Vector registers used as scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xmm(pub u8);

/// A memory operand: base, optional index times 1, 2, 4 or 8, displacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mem {
    pub base: Reg,
    pub index: Option<(Reg, u8)>,
    pub disp: i32,
}

/// A register or memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rm {
    R(Reg),
    X(Xmm),
    M(Mem),
}

pub fn mem(base: Reg, disp: i32) -> Mem {
    Mem { base, index: None, disp }
}

pub fn mem_index(base: Reg, index: Reg, scale: u8, disp: i32) -> Mem {
    Mem { base, index: Some((index, scale)), disp }
}

impl From<Reg> for Rm {
    fn from(r: Reg) -> Rm {
        Rm::R(r)
    }
}

impl From<Mem> for Rm {
    fn from(m: Mem) -> Rm {
        Rm::M(m)
    }
}

impl From<Xmm> for Rm {
    fn from(x: Xmm) -> Rm {
        Rm::X(x)
    }
}

/// Operations of the first opcode group, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts, by their number in the shift group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shift {
    Rol = 0,
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Condition codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cc {
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    S = 8,
    Ns = 9,
    P = 10,
    Np = 11,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

impl Cc {
    /// The condition that holds where this one does not.
    pub fn inverse(self) -> Self {
        match self {
            Cc::B => Cc::Ae,
            Cc::Ae => Cc::B,
            Cc::E => Cc::Ne,
            Cc::Ne => Cc::E,
            Cc::Be => Cc::A,
            Cc::A => Cc::Be,
            Cc::S => Cc::Ns,
            Cc::Ns => Cc::S,
            Cc::P => Cc::Np,
            Cc::Np => Cc::P,
            Cc::L => Cc::Ge,
            Cc::Ge => Cc::L,
            Cc::Le => Cc::G,
            Cc::G => Cc::Le,
        }
    }
}

/// A jump in the code being made whose target is not known yet. Must be bound.
#[derive(Debug)]
#[must_use]
pub struct Forward(usize);

/// Code under construction.
#[derive(Debug, Default)]
pub struct Asm {
    pub code: Vec<u8>,
    /// Address of `code[0]` when it runs.
    pub base: u64,
    /// The host has no AVX-512, or is not to use it.
    pub no_evex: bool,
}

/// The beginning of an instruction, its first byte lowest: one store to memory, not one for each byte.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    bits: u64,
    /// In bits.
    width: u32,
}

impl Bytes {
    #[inline]
    fn push(&mut self, b: u8) {
        debug_assert!(self.width < 64, "more than eight bytes");
        self.bits |= u64::from(b) << self.width;
        self.width += 8;
    }

    #[inline]
    fn len(self) -> usize {
        (self.width / 8) as usize
    }
}

/// Operand size and prefixes of an instruction.
#[derive(Clone, Copy)]
struct Form {
    prefix: Option<u8>,
    wide: bool,
    /// The reg or rm field names a byte register: RSI and RDI then need a REX prefix.
    byte: bool,
}

const W: Form = Form { prefix: None, wide: true, byte: false };
const L: Form = Form { prefix: None, wide: false, byte: false };

fn form(wide: bool) -> Form {
    if wide { W } else { L }
}

impl Asm {
    pub fn reset(&mut self, base: u64) {
        self.code.clear();
        self.base = base;
    }

    /// Address of the next byte.
    pub fn here(&self) -> u64 {
        self.base + self.code.len() as u64
    }

    /// Appends the lowest `n` bytes of `bits`.
    #[inline]
    fn put(&mut self, bits: u64, n: usize) {
        let len = self.code.len();
        if self.code.capacity() - len < 8 {
            self.grow();
        }
        // SAFETY: there is room for eight bytes (see above), of which the first `n`, all written, become part of the code.
        unsafe {
            self.code.as_mut_ptr().add(len).cast::<[u8; 8]>().write_unaligned(bits.to_le_bytes());
            self.code.set_len(len + n);
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.code.reserve(4096);
    }

    #[inline]
    fn byte(&mut self, b: u8) {
        self.put(u64::from(b), 1);
    }

    #[inline]
    fn imm32(&mut self, v: i32) {
        self.put(u64::from(v as u32), 4);
    }

    /// A word that is no instruction.
    pub fn data(&mut self, v: u32) {
        self.put(u64::from(v), 4);
    }

    /// An instruction with a ModRM byte.
    fn op(&mut self, f: Form, opcode: &[u8], reg: u8, rm: Rm) {
        let mut bytes = Bytes::default();
        if let Some(p) = f.prefix {
            bytes.push(p);
        }
        let (b, x, needs) = match rm {
            Rm::R(r) => (r as u8 >> 3, 0, f.byte && (4..8).contains(&(r as u8))),
            Rm::X(v) => (v.0 >> 3, 0, false),
            Rm::M(m) => (m.base as u8 >> 3, m.index.map_or(0, |(i, _)| i as u8 >> 3), false),
        };
        let needs = needs || f.byte && (4..8).contains(&reg);
        let rex = u8::from(f.wide) << 3 | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 || needs {
            bytes.push(0x40 | rex);
        }
        opcode.iter().for_each(|&b| bytes.push(b));
        self.modrm_behind(bytes, reg & 7, rm);
    }

    fn modrm(&mut self, reg: u8, rm: Rm) {
        self.modrm_behind(Bytes::default(), reg, rm);
    }

    /// `bytes`, at most five, and the ModRM byte with what belongs to it.
    #[inline]
    fn modrm_behind(&mut self, mut bytes: Bytes, reg: u8, rm: Rm) {
        match rm {
            Rm::R(r) => bytes.push(0xc0 | reg << 3 | r as u8 & 7),
            Rm::X(v) => bytes.push(0xc0 | reg << 3 | v.0 & 7),
            Rm::M(m) => return self.memory_behind(bytes, reg, m.base, m.index.map(|(i, s)| (i as u8, s)), m.disp, 1),
        }
        self.put(bytes.bits, bytes.len());
    }

    /// ModRM, SIB and displacement of a memory operand. A displacement of one byte counts in units of `unit` bytes.
    fn memory(&mut self, reg: u8, base: Reg, index: Option<(u8, u8)>, disp: i32, unit: i32) {
        self.memory_behind(Bytes::default(), reg, base, index, disp, unit);
    }

    /// The same behind at most five `bytes`.
    #[inline]
    fn memory_behind(&mut self, mut bytes: Bytes, reg: u8, base: Reg, index: Option<(u8, u8)>, disp: i32, unit: i32) {
        let base = base as u8 & 7;
        let short = if disp % unit == 0 { i8::try_from(disp / unit).ok() } else { None };
        // RBP and R13 have no form without displacement.
        let mode = match short {
            Some(0) if base != 5 => 0,
            Some(_) => 1,
            None => 2,
        };
        if index.is_some() || base == 4 {
            bytes.push(mode << 6 | reg << 3 | 4);
            let (index, scale) = index.map_or((4, 0), |(i, s)| (i & 7, s.trailing_zeros() as u8));
            bytes.push(scale << 6 | index << 3 | base);
        } else {
            bytes.push(mode << 6 | reg << 3 | base);
        }
        if let (1, Some(b)) = (mode, short) {
            bytes.push(b as u8);
        }
        self.put(bytes.bits, bytes.len());
        if mode == 2 {
            self.imm32(disp);
        }
    }

    /// `reg = rm` (64 bits, or 32 bits zero-extended).
    pub fn mov(&mut self, wide: bool, reg: Reg, rm: impl Into<Rm>) {
        self.op(form(wide), &[0x8b], reg as u8, rm.into());
    }

    /// `mem = reg` of 1, 2, 4 or 8 bytes.
    pub fn store(&mut self, size: u64, m: Mem, reg: Reg) {
        match size {
            1 => self.op(Form { prefix: None, wide: false, byte: true }, &[0x88], reg as u8, m.into()),
            2 => self.op(Form { prefix: Some(0x66), ..L }, &[0x89], reg as u8, m.into()),
            4 => self.op(L, &[0x89], reg as u8, m.into()),
            _ => self.op(W, &[0x89], reg as u8, m.into()),
        }
    }

    /// `mem = imm`, sign-extended to 8 bytes if `size` is 8.
    pub fn store_imm(&mut self, size: u64, m: Mem, imm: i32) {
        match size {
            1 => {
                self.op(L, &[0xc6], 0, m.into());
                self.byte(imm as u8);
            }
            2 => {
                self.op(Form { prefix: Some(0x66), ..L }, &[0xc7], 0, m.into());
                self.code.extend((imm as i16).to_le_bytes());
            }
            _ => {
                self.op(form(size == 8), &[0xc7], 0, m.into());
                self.imm32(imm);
            }
        }
    }

    /// `reg = imm` in the shortest form.
    pub fn mov_imm(&mut self, reg: Reg, imm: i64) {
        if imm == 0 {
            self.op(L, &[0x33], reg as u8, reg.into());
        } else {
            self.mov_imm_keep_flags(reg, imm);
        }
    }

    /// `reg = imm` without touching the flags.
    pub fn mov_imm_keep_flags(&mut self, reg: Reg, imm: i64) {
        let r = reg as u8;
        if u32::try_from(imm).is_ok() {
            if r >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | r & 7);
            self.imm32(imm as i32);
        } else if let Ok(v) = i32::try_from(imm) {
            self.op(W, &[0xc7], 0, reg.into());
            self.imm32(v);
        } else {
            self.byte(0x48 | r >> 3);
            self.byte(0xb8 | r & 7);
            self.code.extend(imm.to_le_bytes());
        }
    }

    pub fn lea(&mut self, wide: bool, reg: Reg, m: Mem) {
        self.op(form(wide), &[0x8d], reg as u8, m.into());
    }

    pub fn alu(&mut self, op: Alu, wide: bool, reg: Reg, rm: impl Into<Rm>) {
        self.op(form(wide), &[op as u8 * 8 + 3], reg as u8, rm.into());
    }

    /// `mem op= reg`.
    pub fn alu_store(&mut self, op: Alu, m: Mem, reg: Reg) {
        self.alu_store_sized(8, op, m, reg);
    }

    /// The same of 1, 2, 4 or 8 bytes.
    pub fn alu_store_sized(&mut self, size: u64, op: Alu, m: Mem, reg: Reg) {
        self.sized(size, &[op as u8 * 8], reg, m);
    }

    pub fn alu_imm(&mut self, op: Alu, wide: bool, rm: impl Into<Rm>, imm: i32) {
        match i8::try_from(imm) {
            Ok(b) => {
                self.op(form(wide), &[0x83], op as u8, rm.into());
                self.byte(b as u8);
            }
            Err(_) => {
                self.op(form(wide), &[0x81], op as u8, rm.into());
                self.imm32(imm);
            }
        }
    }

    pub fn test(&mut self, wide: bool, reg: Reg, other: Reg) {
        self.op(form(wide), &[0x85], other as u8, reg.into());
    }

    /// Flags of the low 32 bits of `reg` and `imm`.
    pub fn test_imm(&mut self, reg: Reg, imm: i32) {
        self.op(form(false), &[0xf7], 0, reg.into());
        self.imm32(imm);
    }

    /// `reg` = all ones if the carry flag is set, else zero (SBB with itself).
    pub fn carry_mask(&mut self, reg: Reg) {
        self.op(form(true), &[0x1b], reg as u8, reg.into());
    }

    /// Flags of the low byte of `reg` and `imm`.
    pub fn test_low(&mut self, reg: Reg, imm: u8) {
        self.op(Form { prefix: None, wide: false, byte: true }, &[0xf6], 0, reg.into());
        self.byte(imm);
    }

    /// Flags of a byte in memory and `imm`.
    pub fn test_byte(&mut self, m: Mem, imm: u8) {
        self.op(L, &[0xf6], 0, m.into());
        self.byte(imm);
    }

    /// Sets the bits `imm` of a byte in memory.
    pub fn or_byte(&mut self, m: Mem, imm: u8) {
        self.op(L, &[0x80], 1, m.into());
        self.byte(imm);
    }

    pub fn not(&mut self, reg: Reg) {
        self.op(W, &[0xf7], 2, reg.into());
    }

    pub fn neg(&mut self, wide: bool, reg: Reg) {
        self.op(form(wide), &[0xf7], 3, reg.into());
    }

    /// `reg *= rm`.
    pub fn imul(&mut self, wide: bool, reg: Reg, rm: impl Into<Rm>) {
        self.op(form(wide), &[0x0f, 0xaf], reg as u8, rm.into());
    }

    /// `reg` = `rm` times a number.
    pub fn imul_imm(&mut self, wide: bool, reg: Reg, rm: impl Into<Rm>, imm: i32) {
        self.op(form(wide), &[0x69], reg as u8, rm.into());
        self.imm32(imm);
    }

    /// `reg` shifted left by `n`; the upper bits of `from` come in below.
    pub fn shld(&mut self, reg: Reg, from: Reg, n: u8) {
        self.op(W, &[0x0f, 0xa4], from as u8, reg.into());
        self.byte(n);
    }

    /// `rdx:rax = rax * rm`.
    pub fn mul_wide(&mut self, signed: bool, rm: impl Into<Rm>) {
        self.op(W, &[0xf7], if signed { 5 } else { 4 }, rm.into());
    }

    /// `rax = rdx:rax / reg`, `rdx` the remainder; the upper half is set here.
    pub fn div(&mut self, wide: bool, signed: bool, reg: Reg) {
        if signed {
            self.code.extend(if wide { &[0x48, 0x99][..] } else { &[0x99][..] });
            self.op(form(wide), &[0xf7], 7, reg.into());
        } else {
            self.op(L, &[0x33], Reg::Rdx as u8, Reg::Rdx.into());
            self.op(form(wide), &[0xf7], 6, reg.into());
        }
    }

    pub fn shift_imm(&mut self, op: Shift, wide: bool, reg: Reg, n: u8) {
        self.op(form(wide), &[0xc1], op as u8, reg.into());
        self.byte(n);
    }

    /// Shifts `reg` by CL.
    pub fn shift_cl(&mut self, op: Shift, wide: bool, reg: Reg) {
        self.op(form(wide), &[0xd3], op as u8, reg.into());
    }

    /// BMI2: `reg = rm` shifted by `count`.
    pub fn shiftx(&mut self, op: Shift, wide: bool, reg: Reg, rm: impl Into<Rm>, count: Reg) {
        let pp = match op {
            Shift::Shl => 1,
            Shift::Sar => 2,
            _ => 3,
        };
        self.vex(2, pp, wide, reg as u8, count as u8, &[0xf7], rm.into());
    }

    /// BMI2: `reg = rm` rotated right; the flags stay.
    pub fn rorx(&mut self, wide: bool, reg: Reg, rm: impl Into<Rm>, n: u8) {
        self.vex(3, 3, wide, reg as u8, 0, &[0xf0], rm.into());
        self.byte(n);
    }

    /// An instruction with a three-byte VEX prefix, 128-bit or scalar.
    #[expect(clippy::too_many_arguments, reason = "the fields of a VEX prefix")]
    fn vex(&mut self, map: u8, pp: u8, wide: bool, reg: u8, second: u8, opcode: &[u8], rm: Rm) {
        let (b, x) = match rm {
            Rm::R(r) => (r as u8 >> 3, 0),
            Rm::X(v) => (v.0 >> 3, 0),
            Rm::M(m) => (m.base as u8 >> 3, m.index.map_or(0, |(i, _)| i as u8 >> 3)),
        };
        self.byte(0xc4);
        self.byte((reg >> 3 ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | map);
        self.byte(u8::from(wide) << 7 | (second ^ 15) << 3 | pp);
        self.code.extend(opcode);
        self.modrm(reg & 7, rm);
    }

    /// Extends the low 1, 2 or 4 bytes of `rm` to 64 bits.
    pub fn extend(&mut self, size: u64, signed: bool, reg: Reg, rm: impl Into<Rm>) {
        let rm = rm.into();
        let byte = |wide| Form { prefix: None, wide, byte: matches!(rm, Rm::R(_)) };
        match (size, signed) {
            (1, true) => self.op(byte(true), &[0x0f, 0xbe], reg as u8, rm),
            (1, false) => self.op(byte(false), &[0x0f, 0xb6], reg as u8, rm),
            (2, true) => self.op(W, &[0x0f, 0xbf], reg as u8, rm),
            (2, false) => self.op(L, &[0x0f, 0xb7], reg as u8, rm),
            (4, true) => self.op(W, &[0x63], reg as u8, rm),
            (4, false) => self.op(L, &[0x8b], reg as u8, rm),
            _ => self.op(W, &[0x8b], reg as u8, rm),
        }
    }

    /// `reg = cc ? 1 : 0`, 64 bits; the flags survive.
    pub fn setcc(&mut self, cc: Cc, reg: Reg) {
        self.op(Form { prefix: None, wide: false, byte: true }, &[0x0f, 0x90 | cc as u8], 0, reg.into());
        self.extend(1, false, reg, reg);
    }

    /// The low byte of `reg` alone.
    pub fn setcc_byte(&mut self, cc: Cc, reg: Reg) {
        self.op(Form { prefix: None, wide: false, byte: true }, &[0x0f, 0x90 | cc as u8], 0, reg.into());
    }

    pub fn cmov(&mut self, cc: Cc, reg: Reg, rm: impl Into<Rm>) {
        self.op(W, &[0x0f, 0x40 | cc as u8], reg as u8, rm.into());
    }

    pub fn bswap(&mut self, reg: Reg) {
        self.byte(0x48 | reg as u8 >> 3);
        self.byte(0x0f);
        self.byte(0xc8 | reg as u8 & 7);
    }

    /// LZCNT (0xbd), TZCNT (0xbc) or POPCNT (0xb8).
    pub fn count(&mut self, opcode: u8, wide: bool, reg: Reg, rm: impl Into<Rm>) {
        self.op(Form { prefix: Some(0xf3), wide, byte: false }, &[0x0f, opcode], reg as u8, rm.into());
    }

    /// BT (4), BTS (5), BTR (6), BTC (7) of a register by an immediate.
    pub fn bit_imm(&mut self, op: u8, reg: Reg, bit: u8) {
        self.op(W, &[0x0f, 0xba], op, reg.into());
        self.byte(bit);
    }

    /// BT, BTS, BTR or BTC of a register by a register (modulo 64).
    pub fn bit_reg(&mut self, op: u8, reg: Reg, bit: Reg) {
        self.op(W, &[0x0f, 0x83 | op << 3], bit as u8, reg.into());
    }

    pub fn lock(&mut self) {
        self.byte(0xf0);
    }

    /// `reg` and memory of 1, 2, 4 or 8 bytes; the opcode's lowest bit tells a byte from the others.
    fn sized(&mut self, size: u64, opcode: &[u8], reg: Reg, m: Mem) {
        let mut bytes = [0; 2];
        bytes[..opcode.len()].copy_from_slice(opcode);
        let opcode = &mut bytes[..opcode.len()];
        let f = match size {
            1 => Form { prefix: None, wide: false, byte: true },
            2 => Form { prefix: Some(0x66), ..L },
            _ => form(size == 8),
        };
        opcode[opcode.len() - 1] |= u8::from(size != 1);
        self.op(f, opcode, reg as u8, m.into());
    }

    pub fn xadd(&mut self, size: u64, m: Mem, reg: Reg) {
        self.sized(size, &[0x0f, 0xc0], reg, m);
    }

    pub fn xchg(&mut self, size: u64, m: Mem, reg: Reg) {
        self.sized(size, &[0x86], reg, m);
    }

    /// Compares `m` with RAX, stores `reg` if equal; RAX is then what `m` held.
    pub fn cmpxchg(&mut self, size: u64, m: Mem, reg: Reg) {
        self.sized(size, &[0x0f, 0xb0], reg, m);
    }

    /// An SSE instruction `0F opcode` with a mandatory prefix (0 for none); `wide` is REX.W.
    pub fn sse(&mut self, prefix: u8, opcode: u8, wide: bool, reg: u8, rm: impl Into<Rm>) {
        let prefix = (prefix != 0).then_some(prefix);
        self.op(Form { prefix, wide, byte: false }, &[0x0f, opcode], reg, rm.into());
    }

    /// An instruction `66 0F 38 opcode` of two XMM registers: byte shuffles, rounds of AES.
    pub fn sse38(&mut self, opcode: u8, reg: u8, rm: u8) {
        self.op(Form { prefix: Some(0x66), ..L }, &[0x0f, 0x38, opcode], reg, Xmm(rm).into());
    }

    /// An instruction `0F 38 opcode` of SHA.
    pub fn sha(&mut self, opcode: u8, reg: Xmm, rm: Xmm) {
        self.op(L, &[0x0f, 0x38, opcode], reg.0, rm.into());
    }

    /// PCLMULQDQ of the low halves of two XMM registers.
    pub fn pclmul(&mut self, reg: u8, rm: u8) {
        self.op(Form { prefix: Some(0x66), ..L }, &[0x0f, 0x3a, 0x44], reg, Xmm(rm).into());
        self.byte(0);
    }

    /// A scalar or 128-bit instruction of opcode map 0F with a VEX prefix; `second` is 0 where there is none.
    pub fn vex_0f(&mut self, pp: u8, wide: bool, opcode: u8, reg: u8, second: u8, rm: Rm) {
        self.vex_map(1, pp, wide, opcode, reg, second, rm);
    }

    /// The same of map 1 (0F), 2 (0F 38) or 3 (0F 3A), with the shorter prefix where that can say it.
    #[expect(clippy::too_many_arguments, reason = "the fields of a VEX prefix")]
    pub fn vex_map(&mut self, map: u8, pp: u8, wide: bool, opcode: u8, reg: u8, second: u8, rm: Rm) {
        let extended = match rm {
            Rm::R(r) => r as u8 >= 8,
            Rm::X(v) => v.0 >= 8,
            Rm::M(m) => m.base as u8 >= 8 || m.index.is_some_and(|(i, _)| i as u8 >= 8),
        };
        if extended || wide || map != 1 {
            return self.vex(map, pp, wide, reg, second, &[opcode], rm);
        }
        self.code.extend([0xc5, (reg >> 3 ^ 1) << 7 | (second ^ 15) << 3 | pp, opcode]);
        self.modrm(reg & 7, rm);
    }

    /// An SSE4.1 instruction `66 0F 3A opcode`; as with [`Asm::vex_map`], its immediate is to follow.
    pub fn sse3a(&mut self, opcode: u8, reg: u8, rm: Rm) {
        self.op(Form { prefix: Some(0x66), ..L }, &[0x0f, 0x3a, opcode], reg, rm);
    }

    pub fn imm8(&mut self, v: u8) {
        self.byte(v);
    }

    pub fn ldmxcsr(&mut self, m: Mem) {
        self.op(L, &[0x0f, 0xae], 2, m.into());
    }

    pub fn stmxcsr(&mut self, m: Mem) {
        self.op(L, &[0x0f, 0xae], 3, m.into());
    }

    pub fn push(&mut self, reg: Reg) {
        if reg as u8 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x50 | reg as u8 & 7);
    }

    pub fn pop(&mut self, reg: Reg) {
        if reg as u8 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x58 | reg as u8 & 7);
    }

    pub fn ret(&mut self) {
        self.byte(0xc3);
    }

    pub fn jmp_reg(&mut self, reg: Reg) {
        self.op(L, &[0xff], 4, reg.into());
    }

    pub fn call_reg(&mut self, reg: Reg) {
        self.op(L, &[0xff], 2, reg.into());
    }

    fn relative(&mut self, target: u64) {
        let next = self.here() + 4;
        self.imm32(target.wrapping_sub(next) as i64 as i32);
    }

    pub fn jmp(&mut self, target: u64) {
        self.byte(0xe9);
        self.relative(target);
    }

    pub fn call(&mut self, target: u64) {
        self.byte(0xe8);
        self.relative(target);
    }

    pub fn jcc(&mut self, cc: Cc, target: u64) {
        self.put(0x800f | (cc as u64) << 8, 2);
        self.relative(target);
    }

    /// A conditional jump forward.
    pub fn jcc_forward(&mut self, cc: Cc) -> Forward {
        self.put(0x800f | (cc as u64) << 8, 2);
        self.imm32(0);
        Forward(self.code.len())
    }

    /// `reg` = an address in the code that is bound later.
    pub fn lea_forward(&mut self, reg: Reg) -> Forward {
        let r = reg as u8;
        self.code.extend([0x48 | r >> 3 << 2, 0x8d, 5 | (r & 7) << 3]);
        self.imm32(0);
        Forward(self.code.len())
    }

    /// A jump forward.
    pub fn jmp_forward(&mut self) -> Forward {
        self.byte(0xe9);
        self.imm32(0);
        Forward(self.code.len())
    }

    /// A call forward.
    pub fn call_forward(&mut self) -> Forward {
        self.byte(0xe8);
        self.imm32(0);
        Forward(self.code.len())
    }

    /// Makes a forward jump lead here.
    pub fn bind(&mut self, f: Forward) {
        let disp = (self.code.len() - f.0) as i32;
        self.code[f.0 - 4..f.0].copy_from_slice(&disp.to_le_bytes());
    }
}
