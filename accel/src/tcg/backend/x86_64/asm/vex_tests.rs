//! Every row in every length, with all that EVEX can add and with random operands, read back by an independent decoder;
//! some are run.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register, RoundingControl};

use super::rows::*;
use super::vex::*;
use super::*;
use crate::testing::Rng;

const BASE: u64 = 0x7f12_3456_7000;
const ROUNDS: usize = 12;

impl Rng {
    fn scale(&mut self) -> u8 {
        1 << self.below(4)
    }

    /// Often a multiple of what a short displacement counts in.
    fn disp(&mut self, unit: usize) -> i32 {
        match self.below(4) {
            0 => 0,
            1 => (self.below(300) as i32 - 150) * unit as i32,
            2 => self.below(300) as i32 - 150,
            _ => self.below(1 << 32) as i32,
        }
    }

    fn vector_mem(&mut self, unit: usize) -> Mem {
        let (base, disp) = (self.reg(), self.disp(unit));
        match self.reg() {
            Reg::Rsp => mem(base, disp),
            index => mem_index(base, index, self.scale(), disp),
        }
    }
}

/// The register the decoder shall name.
fn register(class: Class, len: Len, n: u8) -> Register {
    let vector = |bytes: usize| match bytes {
        0..=16 => Register::XMM0,
        17..=32 => Register::YMM0,
        _ => Register::ZMM0,
    };
    let first = match class {
        Class::Full => vector(len.bytes()),
        Class::Half => vector(len.bytes() / 2),
        Class::Quarter => vector(len.bytes() / 4),
        Class::Eighth => vector(len.bytes() / 8),
        Class::X => Register::XMM0,
        Class::Y => Register::YMM0,
        Class::K => Register::K0,
        Class::R32 => Register::EAX,
        Class::R64 => Register::RAX,
        Class::Imm => unreachable!(),
    };
    first + u32::from(n)
}

#[derive(Debug, PartialEq)]
enum Seen {
    Reg(Register),
    Mem { base: Register, index: Register, scale: u32, disp: i64, bytes: usize },
    Imm(u8),
}

fn seen(i: &Instruction, n: u32) -> Seen {
    match i.op_kind(n) {
        OpKind::Register => Seen::Reg(i.op_register(n)),
        OpKind::Memory => {
            let scale = if i.memory_index() == Register::None { 1 } else { i.memory_index_scale() };
            Seen::Mem {
                base: i.memory_base(),
                index: i.memory_index(),
                scale,
                disp: i.memory_displacement64() as i64,
                bytes: i.memory_size().size(),
            }
        }
        OpKind::Immediate8 => Seen::Imm(i.immediate8()),
        kind => panic!("{kind:?}"),
    }
}

/// A list of any length up to four.
struct List(Vec<Operand>);

impl Operands for List {
    fn list(self) -> ([Operand; 4], usize) {
        let mut all = [Operand::I(0); 4];
        all[..self.0.len()].copy_from_slice(&self.0);
        (all, self.0.len())
    }
}

/// What EVEX adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Extra {
    mask: u8,
    zero: bool,
    broadcast: bool,
    control: Option<Round>,
}

/// Random operands, the vector registers below `registers`; memory where there is a choice if `memory`.
fn operands(rng: &mut Rng, op: Vop, row: &Row, len: Len, registers: u64, memory: bool) -> (Vec<Operand>, Vec<Seen>) {
    let mut used = Vec::new();
    row.operands
        .iter()
        .map(|&(role, class)| {
            let memory = match role {
                Role::Rm(register, mem) => mem && (memory || !register),
                _ => false,
            };
            if role == Role::Imm {
                let i = rng.below(256) as u8;
                return (Operand::I(i), Seen::Imm(i));
            }
            if memory || role == Role::Vsib {
                let m = rng.vector_mem(op.memory_bytes());
                let mut s = Vsib { base: m.base, index: Xmm(0), scale: rng.scale(), disp: m.disp };
                let gpr = |r: Reg| Register::RAX + r as u32;
                let (index, scale) = match role {
                    Role::Vsib => {
                        s.index = vector(rng, registers, &mut used);
                        (register(class, len, s.index.0), s.scale)
                    }
                    _ => m.index.map_or((Register::None, 1), |(i, s)| (gpr(i), s)),
                };
                // These access as many elements as the mask has bits set.
                let packed = row.name.starts_with("VPCOMPRESS") || row.name.starts_with("VPEXPAND");
                let bytes = if packed { len.bytes() } else { op.memory_bytes() };
                let seen = Seen::Mem { base: gpr(m.base), index, scale: scale.into(), disp: m.disp.into(), bytes };
                return (if role == Role::Vsib { s.into() } else { m.into() }, seen);
            }
            let operand = match class {
                Class::K => K(rng.below(8) as u8).into(),
                Class::R32 | Class::R64 => rng.reg().into(),
                _ => vector(rng, registers, &mut used).into(),
            };
            let n = match operand {
                Operand::V(v) => v.0,
                Operand::K(k) => k.0,
                Operand::R(r) => r as u8,
                _ => unreachable!(),
            };
            (operand, Seen::Reg(register(class, len, n)))
        })
        .unzip()
}

/// One that was not used yet: gathers want all to differ.
fn vector(rng: &mut Rng, registers: u64, used: &mut Vec<u8>) -> Xmm {
    loop {
        let v = rng.below(registers) as u8;
        if !used.contains(&v) {
            used.push(v);
            return Xmm(v);
        }
    }
}

/// Emits one instruction and compares what the decoder makes of it.
fn one(rng: &mut Rng, row: &'static Row, len: Len, extra: Extra, memory: bool) {
    let evex = row.evex.is_some() && (extra != Extra::default() || len == Len::Z || row.vex.is_none());
    let registers = if row.evex.is_some() && (evex || rng.below(2) == 0) { 32 } else { 16 };
    let mut op = row.len(len);
    op = if extra.zero {
        op.kz(K(extra.mask))
    } else if extra.mask != 0 {
        op.k(K(extra.mask))
    } else {
        op
    };
    op = if extra.broadcast { op.bcast() } else { op };
    op = match (extra.control, row.control) {
        (Some(mode), Control::Rounding) => op.round(mode),
        (Some(_), _) => op.sae(),
        _ => op,
    };
    let (list, expected) = operands(rng, op, row, len, registers, memory);
    let mut asm = Asm { base: BASE, ..Asm::default() };
    asm.v(op, List(list));
    let decoded: Vec<_> = Decoder::with_ip(64, &asm.code, BASE, DecoderOptions::NONE).into_iter().collect();
    let what = || format!("{} {len:?} {extra:?} {:02x?}", row.name, asm.code);
    let [i] = decoded[..] else { panic!("{} instructions: {}", decoded.len(), what()) };
    let name = row.name.split('_').next().expect("never empty");
    assert_eq!(format!("{:?}", i.mnemonic()).to_uppercase(), name, "{}", what());
    let got: Vec<_> = (0..i.op_count()).map(|n| seen(&i, n)).collect();
    assert_eq!(got, expected, "{}", what());
    let mask = if extra.mask == 0 { Register::None } else { Register::K0 + u32::from(extra.mask) };
    assert_eq!((i.op_mask(), i.zeroing_masking()), (mask, extra.zero), "{}", what());
    assert_eq!(i.is_broadcast(), extra.broadcast, "{}", what());
    let rounding = match (extra.control, row.control) {
        (Some(Round::Nearest), Control::Rounding) => RoundingControl::RoundToNearest,
        (Some(Round::Down), Control::Rounding) => RoundingControl::RoundDown,
        (Some(Round::Up), Control::Rounding) => RoundingControl::RoundUp,
        (Some(Round::Zero), Control::Rounding) => RoundingControl::RoundTowardZero,
        _ => RoundingControl::None,
    };
    assert_eq!(i.rounding_control(), rounding, "{}", what());
    let sae = extra.control.is_some() && row.control == Control::Sae;
    assert_eq!(i.suppress_all_exceptions(), sae, "{}", what());
}

fn has(row: &Row, memory: bool) -> bool {
    row.operands.iter().any(|(role, _)| matches!(role, Role::Rm(r, m) if if memory { *m } else { *r }))
}

#[test]
fn every_row_is_what_its_name_says() {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for &row in ALL {
        for len in Len::ALL.into_iter().filter(|&l| row.lens >> l as u8 & 1 != 0) {
            for _ in 0..ROUNDS {
                let evex = row.evex.is_some();
                let mask = match row.masking {
                    Masking::Needed if evex => 1 + rng.below(7) as u8,
                    Masking::Only | Masking::Any if evex => rng.below(8) as u8,
                    _ => 0,
                };
                let zero = mask != 0 && row.masking == Masking::Any && rng.below(2) == 0;
                let plain = Extra { mask, zero, ..Extra::default() };
                one(&mut rng, row, len, plain, false);
                if has(row, true) {
                    one(&mut rng, row, len, plain, true);
                    if evex && matches!(row.tuple, Tuple::Full(_) | Tuple::Half(_)) {
                        one(&mut rng, row, len, Extra { broadcast: true, ..plain }, true);
                    }
                }
                let long = row.lens == 1 || len == Len::Z;
                if evex && long && row.control != Control::No && has(row, false) {
                    let mode = [Round::Nearest, Round::Down, Round::Up, Round::Zero][rng.below(4) as usize];
                    one(&mut rng, row, len, Extra { control: Some(mode), ..plain }, false);
                }
            }
        }
    }
}

#[test]
fn vex_is_chosen_where_it_will_do() {
    let first = |op: Vop, operands: (Xmm, Xmm, Xmm)| {
        let mut asm = Asm::default();
        asm.v(op, operands);
        asm.code[0]
    };
    let low = (Xmm(1), Xmm(2), Xmm(3));
    assert_eq!(first(VADDPS.y(), low), 0xc5);
    assert_eq!(first(VADDPS.y().k(K(0)), low), 0xc5, "mask 0 is no mask");
    assert_eq!(first(VADDPS.y(), (Xmm(1), Xmm(2), Xmm(9))), 0xc4);
    assert_eq!(first(VADDPS.y(), (Xmm(1), Xmm(2), Xmm(16))), 0x62);
    assert_eq!(first(VADDPS.z(), low), 0x62);
    assert_eq!(first(VADDPS.y().k(K(1)), low), 0x62);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "asks for EVEX")]
fn evex_is_refused_where_it_is_forbidden() {
    let mut asm = Asm { no_evex: true, ..Asm::default() };
    asm.v(VADDPS.z(), (Xmm(1), Xmm(2), Xmm(3)));
}

/// Runs code that finds `data` in RDI.
#[cfg(target_arch = "x86_64")]
fn run(data: &mut [u32], emit: impl FnOnce(&mut Asm)) {
    use crate::tcg::code_cache::arena::Arena;
    let mut arena = Arena::new(1 << 16).expect("memory for code");
    let mut asm = Asm::default();
    asm.reset(arena.cursor());
    let at = asm.base;
    emit(&mut asm);
    asm.vzeroupper();
    asm.ret();
    arena.push(&asm.code);
    // SAFETY: the code was just emitted with this signature, changes only registers that are the callee's, and the
    // memory given.
    unsafe { std::mem::transmute::<u64, extern "sysv64" fn(*mut u32)>(at)(data.as_mut_ptr()) }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx2_code_runs() {
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    let mut data: Vec<u32> = (0..16).collect();
    run(&mut data, |asm| {
        asm.v(VMOVDQU.y(), (Xmm(1), mem(Reg::Rdi, 0)));
        asm.v(VPADDD.y(), (Xmm(9), Xmm(1), mem(Reg::Rdi, 32)));
        asm.v(VPSLLD_I.y(), (Xmm(9), Xmm(9), 4u8));
        asm.v(VPBROADCASTD.y(), (Xmm(3), Xmm(1)));
        asm.v(VPCMPGTD_V.y(), (Xmm(3), Xmm(1), Xmm(3)));
        asm.v(VPMASKMOVD_ST.y(), (mem(Reg::Rdi, 0), Xmm(3), Xmm(9)));
    });
    assert_eq!(data[..8], [0, 160, 192, 224, 256, 288, 320, 352]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx512_code_runs() {
    if !is_x86_feature_detected!("avx512vbmi2") {
        return;
    }
    let mut data: Vec<u32> = (0..48).collect();
    run(&mut data, |asm| {
        asm.mov_imm(Reg::Rax, 0xaaaa);
        asm.v(KMOVD_R, (K(1), Reg::Rax));
        asm.v(VMOVDQU32.z(), (Xmm(17), mem(Reg::Rdi, 64)));
        asm.v(VPADDD.z().k(K(1)).bcast(), (Xmm(17), Xmm(17), mem(Reg::Rdi, 4 * 40)));
        asm.v(VMOVDQU32_ST.z(), (mem(Reg::Rdi, 0), Xmm(17)));
        asm.v(VPCOMPRESSD.z().kz(K(1)), (Xmm(30), Xmm(17)));
        asm.v(VMOVDQU32_ST.z(), (mem(Reg::Rdi, 128), Xmm(30)));
        asm.v(VPXORQ.z(), (Xmm(20), Xmm(20), Xmm(20)));
        asm.v(VPXORQ.z(), (Xmm(21), Xmm(21), Xmm(21)));
        asm.v(VPGATHERDD.z().k(K(1)), (Xmm(20), Vsib { base: Reg::Rdi, index: Xmm(21), scale: 4, disp: 4 * 33 }));
        asm.v(VMOVDQU32_ST.z(), (mem(Reg::Rdi, 64), Xmm(20)));
    });
    let added = |i: u32| if i % 2 == 1 { 16 + i + 40 } else { 16 + i };
    assert_eq!(data[..16], std::array::from_fn::<u32, 16, _>(|i| added(i as u32)));
    assert_eq!(data[16..32], std::array::from_fn::<u32, 16, _>(|i| if i % 2 == 1 { added(3) } else { 0 }), "gather");
    let packed: Vec<u32> = (0..8).map(|i| added(2 * i + 1)).collect();
    assert_eq!((&data[32..40], &data[40..]), (&packed[..], &[0; 8][..]));
}
