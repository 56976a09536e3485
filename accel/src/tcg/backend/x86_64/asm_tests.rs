//! Every instruction the assembler can make, with random operands, read back by an independent decoder.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::asm::*;
use crate::testing::Rng;

const BASE: u64 = 0x7f12_3456_7000;
const ROUNDS: u64 = 3_000;

impl Rng {
    fn flag(&mut self) -> bool {
        self.one_in(2)
    }

    pub(super) fn reg(&mut self) -> Reg {
        use Reg::*;
        self.pick(&[Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15])
    }

    fn xmm(&mut self) -> Xmm {
        Xmm(self.below(16) as u8)
    }

    fn imm(&mut self) -> i32 {
        let corner = self.pick(&[0, 1, -1, 127, 128, -128, -129, 255, 0x7fff, -0x8000, i32::MAX, i32::MIN]);
        if self.flag() { corner } else { self.next() as i32 >> self.below(31) }
    }

    fn mem(&mut self) -> Mem {
        let (base, disp) = (self.reg(), self.imm());
        match self.reg() {
            // RSP is no index.
            Reg::Rsp => mem(base, disp),
            index if self.flag() => mem_index(base, index, self.pick(&[1, 2, 4, 8]), disp),
            _ => mem(base, disp),
        }
    }

    fn cc(&mut self) -> Cc {
        self.pick(&[Cc::B, Cc::Ae, Cc::E, Cc::Ne, Cc::A, Cc::P, Cc::Np, Cc::L, Cc::Ge, Cc::G])
    }

    fn alu(&mut self) -> (Alu, Mnemonic) {
        self.pick(&[
            (Alu::Add, Mnemonic::Add),
            (Alu::Or, Mnemonic::Or),
            (Alu::And, Mnemonic::And),
            (Alu::Sub, Mnemonic::Sub),
            (Alu::Xor, Mnemonic::Xor),
            (Alu::Cmp, Mnemonic::Cmp),
        ])
    }

    fn shift(&mut self) -> (Shift, Mnemonic) {
        self.pick(&[
            (Shift::Rol, Mnemonic::Rol),
            (Shift::Ror, Mnemonic::Ror),
            (Shift::Shl, Mnemonic::Shl),
            (Shift::Shr, Mnemonic::Shr),
            (Shift::Sar, Mnemonic::Sar),
        ])
    }
}

/// An operand as the decoder sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    Reg(Register),
    /// Base, index, scale, displacement, bytes accessed.
    Mem(Register, Register, u32, i64, usize),
    /// Value and how many of its bits the instruction uses.
    Imm(u64, u32),
    Target(u64),
}

use Operand::Target;

fn low(value: u64, bits: u32) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

fn imm(value: i64, bits: u32) -> Operand {
    Operand::Imm(low(value as u64, bits), bits)
}

fn gpr(reg: Reg, bytes: usize) -> Operand {
    let n = reg as u32;
    Operand::Reg(match bytes {
        1 if n < 4 => Register::AL + n,
        1 => Register::SPL + (n - 4),
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => Register::RAX + n,
    })
}

fn wide(wide: bool) -> usize {
    if wide { 8 } else { 4 }
}

fn xmm(x: Xmm) -> Operand {
    Operand::Reg(Register::XMM0 + u32::from(x.0))
}

fn at(m: Mem, bytes: usize) -> Operand {
    let reg = |r: Reg| Register::RAX + r as u32;
    let (index, scale) = m.index.map_or((Register::None, 1), |(i, s)| (reg(i), u32::from(s)));
    Operand::Mem(reg(m.base), index, scale, m.disp.into(), bytes)
}

fn seen(i: &Instruction, n: u32, wanted: Option<&Operand>) -> Operand {
    match i.op_kind(n) {
        OpKind::Register => Operand::Reg(i.op_register(n)),
        OpKind::Memory => {
            let scale = if i.memory_index() == Register::None { 1 } else { i.memory_index_scale() };
            let disp = i.memory_displacement64() as i64;
            // LEA accesses nothing.
            let bytes = if i.mnemonic() == Mnemonic::Lea { 0 } else { i.memory_size().size() };
            Operand::Mem(i.memory_base(), i.memory_index(), scale, disp, bytes)
        }
        OpKind::NearBranch64 => Target(i.near_branch64()),
        _ => {
            let bits = if let Some(Operand::Imm(_, bits)) = wanted { *bits } else { 64 };
            Operand::Imm(low(i.immediate(n), bits), bits)
        }
    }
}

type Expected = (Mnemonic, Vec<Operand>);

/// Emits and compares.
#[track_caller]
fn check(emit: impl FnOnce(&mut Asm), expected: &[Expected]) -> Vec<Instruction> {
    let mut asm = Asm::default();
    asm.reset(BASE);
    emit(&mut asm);
    let decoded: Vec<_> = Decoder::with_ip(64, &asm.code, BASE, DecoderOptions::NONE).into_iter().collect();
    let got: Vec<Expected> = decoded
        .iter()
        .enumerate()
        .map(|(k, i)| {
            let wanted = expected.get(k).map(|(_, operands)| operands);
            let operands = (0..i.op_count()).map(|n| seen(i, n, wanted.and_then(|o| o.get(n as usize)))).collect();
            (i.mnemonic(), operands)
        })
        .collect();
    assert_eq!(got, expected, "{:02x?}", asm.code);
    decoded
}

#[track_caller]
fn one(emit: impl FnOnce(&mut Asm), mnemonic: Mnemonic, operands: &[Operand]) -> Instruction {
    check(emit, &[(mnemonic, operands.to_vec())])[0]
}

/// Runs `f` many times.
fn rounds(mut f: impl FnMut(&mut Rng)) {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    (0..ROUNDS).for_each(|_| f(&mut rng));
}

/// A register or memory operand of `bytes`.
fn rm(rng: &mut Rng, bytes: usize) -> (Rm, Operand) {
    if rng.flag() {
        let r = rng.reg();
        (r.into(), gpr(r, bytes))
    } else {
        let m = rng.mem();
        (m.into(), at(m, bytes))
    }
}

#[test]
fn moves() {
    rounds(|rng| {
        let (r, m, w) = (rng.reg(), rng.mem(), rng.flag());
        let (from, operand) = rm(rng, wide(w));
        one(|a| a.mov(w, r, from), Mnemonic::Mov, &[gpr(r, wide(w)), operand]);
        let size = rng.pick(&[1usize, 2, 4, 8]);
        one(|a| a.store(size as u64, m, r), Mnemonic::Mov, &[at(m, size), gpr(r, size)]);
        let value = rng.imm();
        let bits = (size as u32 * 8).min(32);
        one(|a| a.store_imm(size as u64, m, value), Mnemonic::Mov, &[at(m, size), imm(value.into(), bits)]);
        one(|a| a.lea(w, r, m), Mnemonic::Lea, &[gpr(r, wide(w)), at(m, 0)]);
    });
}

#[test]
fn constants() {
    let value = |rng: &mut Rng| match rng.below(3) {
        0 => i64::from(rng.imm()),
        1 => i64::from(rng.imm() as u32),
        _ => rng.next() as i64,
    };
    // What the register holds afterwards.
    let loaded = |i: &Instruction| match (i.mnemonic(), i.op_kind(1)) {
        (Mnemonic::Xor, _) => 0,
        (_, OpKind::Immediate32) => i64::from(i.immediate32()),
        _ => i.immediate(1) as i64,
    };
    rounds(|rng| {
        let (r, v) = (rng.reg(), value(rng));
        for keep in [false, true] {
            let mut asm = Asm::default();
            asm.reset(BASE);
            if keep {
                asm.mov_imm_keep_flags(r, v)
            } else {
                asm.mov_imm(r, v)
            }
            let decoded: Vec<_> = Decoder::with_ip(64, &asm.code, BASE, DecoderOptions::NONE).into_iter().collect();
            let [i] = decoded[..] else { panic!("{v:#x}: {:02x?}", asm.code) };
            assert_eq!((i.op0_register().full_register(), loaded(&i)), (Register::RAX + r as u32, v));
            assert!(!keep || i.mnemonic() == Mnemonic::Mov, "{v:#x} changes flags");
        }
    });
}

#[test]
fn arithmetic() {
    rounds(|rng| {
        let (r, other, m, w) = (rng.reg(), rng.reg(), rng.mem(), rng.flag());
        let n = wide(w);
        let (op, name) = rng.alu();
        let (from, operand) = rm(rng, n);
        one(|a| a.alu(op, w, r, from), name, &[gpr(r, n), operand]);
        one(|a| a.alu_store(op, m, r), name, &[at(m, 8), gpr(r, 8)]);
        let value = rng.imm();
        one(|a| a.alu_imm(op, w, from, value), name, &[operand, imm(value.into(), n as u32 * 8)]);
        one(|a| a.test(w, r, other), Mnemonic::Test, &[gpr(r, n), gpr(other, n)]);
        let byte = rng.next() as u8;
        one(|a| a.test_byte(m, byte), Mnemonic::Test, &[at(m, 1), imm(byte.into(), 8)]);
        let word = rng.imm();
        one(|a| a.test_imm(r, word), Mnemonic::Test, &[gpr(r, 4), imm(word.into(), 4)]);
        one(|a| a.or_byte(m, byte), Mnemonic::Or, &[at(m, 1), imm(byte.into(), 8)]);
        one(|a| a.not(r), Mnemonic::Not, &[gpr(r, 8)]);
        one(|a| a.neg(w, r), Mnemonic::Neg, &[gpr(r, n)]);
        one(|a| a.imul(w, r, from), Mnemonic::Imul, &[gpr(r, n), operand]);
        let (from, operand) = rm(rng, 8);
        let signed = rng.flag();
        one(|a| a.mul_wide(signed, from), if signed { Mnemonic::Imul } else { Mnemonic::Mul }, &[operand]);
        one(|a| a.bswap(r), Mnemonic::Bswap, &[gpr(r, 8)]);
    });
}

#[test]
fn division_extends_the_dividend() {
    rounds(|rng| {
        let (r, w) = (rng.reg(), rng.flag());
        let n = wide(w);
        let extend = if w { Mnemonic::Cqo } else { Mnemonic::Cdq };
        check(|a| a.div(w, true, r), &[(extend, vec![]), (Mnemonic::Idiv, vec![gpr(r, n)])]);
        let zero = (Mnemonic::Xor, vec![gpr(Reg::Rdx, 4), gpr(Reg::Rdx, 4)]);
        check(|a| a.div(w, false, r), &[zero, (Mnemonic::Div, vec![gpr(r, n)])]);
    });
}

#[test]
fn shifts_and_bits() {
    rounds(|rng| {
        let (r, count, w) = (rng.reg(), rng.reg(), rng.flag());
        let n = wide(w);
        let (op, name) = rng.shift();
        let by = rng.below(n as u64 * 8) as u8;
        one(|a| a.shift_imm(op, w, r, by), name, &[gpr(r, n), imm(by.into(), 8)]);
        one(|a| a.shift_cl(op, w, r), name, &[gpr(r, n), Operand::Reg(Register::CL)]);
        one(|a| a.shld(r, count, by), Mnemonic::Shld, &[gpr(r, 8), gpr(count, 8), imm(by.into(), 8)]);
        let (from, operand) = rm(rng, n);
        let (op, name) =
            rng.pick(&[(Shift::Shl, Mnemonic::Shlx), (Shift::Shr, Mnemonic::Shrx), (Shift::Sar, Mnemonic::Sarx)]);
        one(|a| a.shiftx(op, w, r, from, count), name, &[gpr(r, n), operand, gpr(count, n)]);
        let turns = rng.below(32) as u8;
        one(|a| a.rorx(w, r, from, turns), Mnemonic::Rorx, &[gpr(r, n), operand, imm(turns.into(), 8)]);
        let (opcode, name) = rng.pick(&[(0xbd, Mnemonic::Lzcnt), (0xbc, Mnemonic::Tzcnt), (0xb8, Mnemonic::Popcnt)]);
        one(|a| a.count(opcode, w, r, from), name, &[gpr(r, n), operand]);
        let (op, name) = rng.pick(&[(4, Mnemonic::Bt), (5, Mnemonic::Bts), (6, Mnemonic::Btr), (7, Mnemonic::Btc)]);
        let bit = rng.below(64) as u8;
        one(|a| a.bit_imm(op, r, bit), name, &[gpr(r, 8), imm(bit.into(), 8)]);
        one(|a| a.bit_reg(op, r, count), name, &[gpr(r, 8), gpr(count, 8)]);
    });
}

#[test]
fn extensions() {
    rounds(|rng| {
        let (r, signed, size) = (rng.reg(), rng.flag(), rng.pick(&[1usize, 2, 4, 8]));
        let (from, operand) = rm(rng, size);
        let (name, target) = match (size, signed) {
            (1 | 2, true) => (Mnemonic::Movsx, 8),
            (1 | 2, false) => (Mnemonic::Movzx, 4),
            (4, true) => (Mnemonic::Movsxd, 8),
            (size, _) => (Mnemonic::Mov, size),
        };
        one(|a| a.extend(size as u64, signed, r, from), name, &[gpr(r, target), operand]);
    });
}

#[test]
fn conditions() {
    use iced_x86::ConditionCode as C;
    let code = |cc: Cc| match cc {
        Cc::B => C::b,
        Cc::Ae => C::ae,
        Cc::E => C::e,
        Cc::Ne => C::ne,
        Cc::Be => C::be,
        Cc::A => C::a,
        Cc::S => C::s,
        Cc::Ns => C::ns,
        Cc::P => C::p,
        Cc::Np => C::np,
        Cc::L => C::l,
        Cc::Ge => C::ge,
        Cc::Le => C::le,
        Cc::G => C::g,
    };
    let decode = |emit: &dyn Fn(&mut Asm)| -> Vec<Instruction> {
        let mut asm = Asm::default();
        asm.reset(BASE);
        emit(&mut asm);
        Decoder::with_ip(64, &asm.code, BASE, DecoderOptions::NONE).into_iter().collect()
    };
    rounds(|rng| {
        let (cc, r) = (rng.cc(), rng.reg());
        let set = decode(&|a| a.setcc_byte(cc, r));
        assert_eq!((set.len(), set[0].condition_code(), seen(&set[0], 0, None)), (1, code(cc), gpr(r, 1)));
        let set = decode(&|a| a.setcc(cc, r));
        assert_eq!((set.len(), set[0].condition_code(), seen(&set[0], 0, None)), (2, code(cc), gpr(r, 1)));
        assert_eq!((set[1].mnemonic(), seen(&set[1], 0, None)), (Mnemonic::Movzx, gpr(r, 4)));
        assert_eq!(seen(&set[1], 1, None), gpr(r, 1));
        let (from, operand) = rm(rng, 8);
        let moved = decode(&|a| a.cmov(cc, r, from));
        assert_eq!((moved.len(), moved[0].condition_code()), (1, code(cc)));
        assert_eq!((seen(&moved[0], 0, None), seen(&moved[0], 1, None)), (gpr(r, 8), operand));
        let target = BASE.wrapping_add(i64::from(rng.imm() / 2) as u64);
        let inverse = decode(&|a| a.jcc(cc.inverse(), target));
        let mut negated = decode(&|a| a.jcc(cc, target))[0];
        negated.negate_condition_code();
        assert_eq!(inverse[0].condition_code(), negated.condition_code());
        let jump = decode(&|a| a.jcc(cc, target));
        assert_eq!((jump.len(), jump[0].condition_code(), jump[0].near_branch64()), (1, code(cc), target));
    });
}

#[test]
fn shuffles_and_rounds() {
    const NAMES: [(u8, Mnemonic); 6] = [
        (0x00, Mnemonic::Pshufb),
        (0xdb, Mnemonic::Aesimc),
        (0xdc, Mnemonic::Aesenc),
        (0xdd, Mnemonic::Aesenclast),
        (0xde, Mnemonic::Aesdec),
        (0xdf, Mnemonic::Aesdeclast),
    ];
    rounds(|rng| {
        let (x, y, (opcode, name)) = (rng.xmm(), rng.xmm(), rng.pick(&NAMES));
        one(|a| a.sse38(opcode, x.0, y.0), name, &[xmm(x), xmm(y)]);
        one(|a| a.pclmul(x.0, y.0), Mnemonic::Pclmulqdq, &[xmm(x), xmm(y), imm(0, 8)]);
    });
}

#[test]
fn atomics() {
    rounds(|rng| {
        let (r, m, w) = (rng.reg(), rng.mem(), rng.pick(&[1, 2, 4, 8]));
        let operands = [at(m, w as usize), gpr(r, w as usize)];
        let add = one(
            |a| {
                a.lock();
                a.xadd(w, m, r)
            },
            Mnemonic::Xadd,
            &operands,
        );
        let exchange = one(
            |a| {
                a.lock();
                a.cmpxchg(w, m, r)
            },
            Mnemonic::Cmpxchg,
            &operands,
        );
        let store = one(
            |a| {
                a.lock();
                a.alu_store_sized(w, Alu::Or, m, r)
            },
            Mnemonic::Or,
            &operands,
        );
        assert!([add, exchange, store].iter().all(Instruction::has_lock_prefix));
        // XCHG with memory is atomic by itself.
        one(|a| a.xchg(w, m, r), Mnemonic::Xchg, &operands);
    });
}

#[test]
fn floating_point() {
    // Prefix, opcode, name, bytes of a memory operand.
    const SCALAR: &[(u8, u8, Mnemonic, usize)] = &[
        (0xf2, 0x58, Mnemonic::Addsd, 8),
        (0xf3, 0x58, Mnemonic::Addss, 4),
        (0xf2, 0x5c, Mnemonic::Subsd, 8),
        (0xf3, 0x5c, Mnemonic::Subss, 4),
        (0xf2, 0x59, Mnemonic::Mulsd, 8),
        (0xf3, 0x59, Mnemonic::Mulss, 4),
        (0xf2, 0x5e, Mnemonic::Divsd, 8),
        (0xf3, 0x5e, Mnemonic::Divss, 4),
        (0xf2, 0x51, Mnemonic::Sqrtsd, 8),
        (0xf3, 0x51, Mnemonic::Sqrtss, 4),
        (0xf2, 0x5a, Mnemonic::Cvtsd2ss, 8),
        (0xf3, 0x5a, Mnemonic::Cvtss2sd, 4),
        (0xf2, 0x10, Mnemonic::Movsd, 8),
        (0xf3, 0x10, Mnemonic::Movss, 4),
        (0x66, 0x2e, Mnemonic::Ucomisd, 8),
        (0, 0x2e, Mnemonic::Ucomiss, 4),
        (0x66, 0x2f, Mnemonic::Comisd, 8),
        (0, 0x2f, Mnemonic::Comiss, 4),
        (0, 0x57, Mnemonic::Xorps, 16),
    ];
    rounds(|rng| {
        let (x, y, m) = (rng.xmm(), rng.xmm(), rng.mem());
        let (prefix, opcode, name, bytes) = rng.pick(SCALAR);
        one(|a| a.sse(prefix, opcode, false, x.0, y), name, &[xmm(x), xmm(y)]);
        one(|a| a.sse(prefix, opcode, false, x.0, m), name, &[xmm(x), at(m, bytes)]);
        let (prefix, name, bytes) = rng.pick(&[(0xf2, Mnemonic::Movsd, 8), (0xf3, Mnemonic::Movss, 4)]);
        one(|a| a.sse(prefix, 0x11, false, x.0, m), name, &[at(m, bytes), xmm(x)]);
        let (r, w) = (rng.reg(), rng.flag());
        let n = wide(w);
        let (prefix, name) = rng.pick(&[(0xf2, Mnemonic::Cvtsi2sd), (0xf3, Mnemonic::Cvtsi2ss)]);
        one(|a| a.sse(prefix, 0x2a, w, x.0, r), name, &[xmm(x), gpr(r, n)]);
        let (prefix, opcode, name, bytes) = rng.pick(&[
            (0xf2, 0x2c, Mnemonic::Cvttsd2si, 8),
            (0xf2, 0x2d, Mnemonic::Cvtsd2si, 8),
            (0xf3, 0x2c, Mnemonic::Cvttss2si, 4),
            (0xf3, 0x2d, Mnemonic::Cvtss2si, 4),
        ]);
        one(|a| a.sse(prefix, opcode, w, r as u8, m), name, &[gpr(r, n), at(m, bytes)]);
        one(|a| a.ldmxcsr(m), Mnemonic::Ldmxcsr, &[at(m, 4)]);
        one(|a| a.stmxcsr(m), Mnemonic::Stmxcsr, &[at(m, 4)]);
    });
}

#[test]
fn fused_multiply_add() {
    const NAMES: &[(u8, [Mnemonic; 2])] = &[
        (0xa9, [Mnemonic::Vfmadd213ss, Mnemonic::Vfmadd213sd]),
        (0xab, [Mnemonic::Vfmsub213ss, Mnemonic::Vfmsub213sd]),
        (0xad, [Mnemonic::Vfnmadd213ss, Mnemonic::Vfnmadd213sd]),
        (0xaf, [Mnemonic::Vfnmsub213ss, Mnemonic::Vfnmsub213sd]),
    ];
    rounds(|rng| {
        let (x, y, z, m, double) = (rng.xmm(), rng.xmm(), rng.xmm(), rng.mem(), rng.flag());
        let (opcode, names) = rng.pick(NAMES);
        let name = names[usize::from(double)];
        one(|a| a.vex_map(2, 1, double, opcode, x.0, y.0, z.into()), name, &[xmm(x), xmm(y), xmm(z)]);
        let memory = [xmm(x), xmm(y), at(m, wide(double))];
        one(|a| a.vex_map(2, 1, double, opcode, x.0, y.0, m.into()), name, &memory);
    });
}

#[test]
fn scalars_with_a_vex_prefix() {
    rounds(|rng| {
        let (x, y, z, m, r) = (rng.xmm(), rng.xmm(), rng.xmm(), rng.mem(), rng.reg());
        let (pp, opcode, name, bytes) = rng.pick(&[
            (3, 0x58, Mnemonic::Vaddsd, 8),
            (2, 0x5c, Mnemonic::Vsubss, 4),
            (3, 0x5e, Mnemonic::Vdivsd, 8),
            (2, 0x5a, Mnemonic::Vcvtss2sd, 4),
            (0, 0x57, Mnemonic::Vxorps, 16),
        ]);
        one(|a| a.vex_0f(pp, false, opcode, x.0, y.0, z.into()), name, &[xmm(x), xmm(y), xmm(z)]);
        one(|a| a.vex_0f(pp, false, opcode, x.0, y.0, m.into()), name, &[xmm(x), xmm(y), at(m, bytes)]);
        let w = rng.flag();
        one(|a| a.vex_0f(3, w, 0x2a, x.0, y.0, r.into()), Mnemonic::Vcvtsi2sd, &[xmm(x), xmm(y), gpr(r, wide(w))]);
        one(|a| a.vex_0f(3, w, 0x2c, r as u8, 0, m.into()), Mnemonic::Vcvttsd2si, &[gpr(r, wide(w)), at(m, 8)]);
        one(|a| a.vex_0f(1, false, 0x2e, x.0, 0, y.into()), Mnemonic::Vucomisd, &[xmm(x), xmm(y)]);
        one(|a| a.vex_0f(3, false, 0x11, x.0, 0, m.into()), Mnemonic::Vmovsd, &[at(m, 8), xmm(x)]);
    });
}

#[test]
fn control_flow() {
    rounds(|rng| {
        let r = rng.reg();
        one(|a| a.push(r), Mnemonic::Push, &[gpr(r, 8)]);
        one(|a| a.pop(r), Mnemonic::Pop, &[gpr(r, 8)]);
        one(|a| a.jmp_reg(r), Mnemonic::Jmp, &[gpr(r, 8)]);
        one(|a| a.call_reg(r), Mnemonic::Call, &[gpr(r, 8)]);
        one(|a| a.ret(), Mnemonic::Ret, &[]);
        let target = BASE.wrapping_add(i64::from(rng.imm() / 2) as u64);
        one(|a| a.jmp(target), Mnemonic::Jmp, &[Target(target)]);
        one(|a| a.call(target), Mnemonic::Call, &[Target(target)]);
    });
}

#[test]
fn forward_jumps_lead_to_where_they_are_bound() {
    rounds(|rng| {
        let (conditional, between) = (rng.flag(), rng.below(300));
        let mut asm = Asm::default();
        asm.reset(BASE);
        let forward = if conditional { asm.jcc_forward(Cc::E) } else { asm.jmp_forward() };
        (0..between).for_each(|_| asm.ret());
        asm.bind(forward);
        let bound = asm.here();
        let jump = Decoder::with_ip(64, &asm.code, BASE, DecoderOptions::NONE).decode();
        let name = if conditional { Mnemonic::Je } else { Mnemonic::Jmp };
        assert_eq!((jump.mnemonic(), jump.near_branch64()), (name, bound));
    });
}
