//! Random vector programs: the interpreter of the IR against generated code in every forced mode.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::isa::{Decoder, Row, disasm, rows};
use guest::random::vector_insn;
use guest::{Guest, RAM, SKIP, forced_modes, simd_modes};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 64 << 10;
const HANDLER: u64 = RAM + 0x8000;
const ECALL: u32 = 0x73;
/// Holds the address of data; programs do not write it.
const BASE: u32 = 30;

fn isa(vlen: u16) -> IsaConfig {
    let isa = IsaConfig::default();
    IsaConfig { exts: isa.exts.union(&ExtSet::of(&[Ext::V])).closure(), vlen: vlen.into(), ..isa }
}

fn vector_rows(isa: &IsaConfig) -> Vec<&'static Row> {
    rows().iter().filter(|row| row.mnemonic.starts_with('v') && row.available(isa)).collect()
}

/// A configuration, then a random instruction with registers that mostly begin a group.
fn random_pair(rng: &mut Rng, rows: &[&'static Row]) -> [u32; 2] {
    let (sew, lmul) = (rng.below(4) as u32, rng.below(4) as u32);
    // Some are fractions of a register.
    let vlmul = if rng.below(5) == 0 { 5 + lmul % 3 } else { lmul };
    let policy = rng.below(4) as u32;
    let avl = rng.below(32) as u32;
    let configure = 3 << 30 | (policy << 6 | sew << 3 | vlmul) << 20 | avl << 15 | 7 << 12 | 0x57;
    // Bits of a register number that are zero for the first of a group.
    let low = if rng.below(8) == 0 || vlmul > 3 { 0 } else { (1 << lmul) - 1 };
    [configure, vector_insn(rng, rows, low, BASE, &[BASE])]
}

struct Program {
    code: Vec<u32>,
    start: HartState,
    data: Vec<u8>,
}

fn random_program(rng: &mut Rng, m: &Guest, rows: &[&'static Row]) -> Program {
    let mut code: Vec<u32> = (0..1 + rng.below(30)).flat_map(|_| random_pair(rng, rows)).collect();
    code.extend([ECALL; 4]);
    let mut start = m.supervisor(0, RAM + rng.below(1024) * 4);
    for r in 1..32 {
        start.x[r] = rng.corner();
        start.f[r] = rng.corner();
    }
    start.x[BASE as usize] = DATA + 4096 + rng.below(8192);
    start.v.0.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.corner().to_le_bytes()));
    start.csr.mstatus |= (1 + rng.below(3)) << 9 | (1 + rng.below(3)) << 13;
    start.csr.vcsr = rng.below(8);
    start.csr.vstart = if rng.below(8) == 0 { rng.below(64) } else { 0 };
    start.csr.medeleg = 0xb3ff;
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| rng.corner().to_le_bytes()).collect();
    Program { code, start, data }
}

fn run(m: &mut Guest, p: &Program) -> (HartState, Vec<u8>) {
    m.write(DATA, &p.data);
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    m.write(HANDLER, &bytes(&SKIP));
    m.write(p.start.pc, &bytes(&p.code));
    let end = m.run(&p.start);
    (end, m.read(DATA, DATA_SIZE))
}

/// A number where something happens in one of the formats, or one near 1.
fn float(rng: &mut Rng) -> u64 {
    const SINGLE: [u32; 18] = [
        0,
        1,
        0x007f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0x3f80_0001,
        0x3f00_0000,
        0x3fc0_0000,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7f80_0001,
        0x7fc0_0000,
        0x7fc0_1234,
        0x4f00_0000,
        0x4eff_ffff,
        0x5f00_0000,
        0x4f7f_ffff,
        0x3880_0000,
    ];
    const DOUBLE: [u64; 20] = [
        0,
        1,
        0x000f_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0x3ff0_0000_0000_0000,
        0x3ff0_0000_0000_0001,
        0x3fe0_0000_0000_0000,
        0x7fef_ffff_ffff_ffff,
        0x7ff0_0000_0000_0000,
        0x7ff0_0000_0000_0001,
        0x7ff8_0000_0000_0000,
        0x41df_ffff_ffc0_0000,
        0x41df_ffff_ffe0_0000,
        0x41e0_0000_0000_0000,
        0x41ef_ffff_fff0_0000,
        0x43e0_0000_0000_0000,
        0x43f0_0000_0000_0000,
        0x47ef_ffff_f000_0000,
        0x3810_0000_0000_0000,
        0x380f_ffff_ffff_ffff,
    ];
    let sign = rng.next();
    match rng.below(5) {
        0 => DOUBLE[rng.below(DOUBLE.len() as u64) as usize] | sign & 1 << 63,
        1 => (0x3fe0_0000_0000_0000 + (rng.next() >> 10)) | sign & 1 << 63,
        2 => rng.next(),
        kind => {
            let mut one = || {
                let bits = match kind {
                    3 => SINGLE[rng.below(SINGLE.len() as u64) as usize],
                    _ => 0x3f00_0000 + (rng.next() as u32 >> 7),
                };
                u64::from(bits | rng.next() as u32 & 1 << 31)
            };
            one() | one() << 32
        }
    }
}

/// Whether a row computes with floating-point numbers, or changes the width of elements.
fn computes(row: &Row) -> bool {
    ["vf", "vmf", "vw", "vn", "vz", "vs", "vred", "va", "vmv"].iter().any(|name| row.mnemonic.starts_with(name))
}

/// As [`random_program`], but where floating point is at work: values where something happens, the state already dirty,
/// few of them NaNs in half of the programs, whole registers more often than not.
fn float_program(rng: &mut Rng, m: &Guest, rows: &[&'static Row]) -> Program {
    let mut p = random_program(rng, m, rows);
    // vsetvli x29, x0: as many elements as there can be.
    let pair = |rng: &mut Rng| {
        let [configure, raw] = random_pair(rng, rows);
        let vtype = configure >> 20 & 0xff;
        let vtype = if rng.below(4) == 0 { vtype } else { vtype & !0x38 | (1 + rng.below(3) as u32) << 3 };
        let all = vtype << 20 | 7 << 12 | 29 << 7 | 0x57;
        let unmasked = if rng.below(3) == 0 { raw } else { raw | 1 << 25 };
        [if rng.below(3) == 0 { configure & !(0xff << 20) | vtype << 20 } else { all }, unmasked]
    };
    p.code = (0..1 + rng.below(30)).flat_map(|_| pair(rng)).collect();
    p.code.extend([ECALL; 4]);
    let tame = rng.below(2) == 0;
    let value = |rng: &mut Rng| {
        let v = float(rng);
        if tame { v & !(1 << 62) & !(1 << 30) | 1 << 61 | 1 << 29 } else { v }
    };
    for r in 0..32 {
        let v = value(rng);
        p.start.f[r] = if rng.below(3) == 0 { v } else { v | 0xffff_ffff << 32 };
    }
    p.start.v.0.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&value(rng).to_le_bytes()));
    p.start.csr.mstatus |= 3 << 9 | 3 << 13;
    p.start.csr.vstart = 0;
    p.start.csr.fcsr = rng.below(5) << 5 | if rng.below(2) == 0 { rng.below(32) } else { 0 };
    p
}

/// The shortest beginning of a program after which the engines differ, and in what.
fn first_difference(reference: &mut Guest, m: &mut Guest, p: &Program, text: impl Fn(&u32) -> String) -> String {
    for n in 1..=p.code.len() {
        let code = p.code[..n].iter().copied().chain([ECALL; 4]).collect();
        let part = Program { code, start: p.start.clone(), data: p.data.clone() };
        let ((a, data), (b, memory)) = (run(reference, &part), run(m, &part));
        if a == b && data == memory {
            continue;
        }
        let mut all = vec![format!("first after {n}: {}", text(&p.code[n - 1]))];
        let wrong = (0..a.v.0.len() / 16).filter(|n| a.v.0[n * 16..n * 16 + 16] != b.v.0[n * 16..n * 16 + 16]);
        all.extend(wrong.map(|n| {
            let bytes = n * 16..n * 16 + 16;
            let was = &p.start.v.0[bytes.clone()];
            format!(
                "bytes {bytes:?} {:02x?} for {:02x?}, at first {was:02x?}",
                &b.v.0[bytes.clone()],
                &a.v.0[bytes.clone()]
            )
        }));
        let (x, y) = (&a.csr, &b.csr);
        all.push(format!("fcsr {:x} for {:x}, vl {} for {}", y.fcsr, x.fcsr, y.vl, x.vl));
        all.push(format!("minstret {} for {}, mstatus {:x} for {:x}", y.minstret, x.minstret, y.mstatus, x.mstatus));
        return all.join("\n");
    }
    "no beginning of it differs".into()
}

/// Runs programs on the interpreter and on all other engines.
fn compare(
    vlen: u16,
    seeds: u64,
    only: fn(&Row) -> bool,
    program: fn(&mut Rng, &Guest, &[&'static Row]) -> Program,
    least: u64,
) {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", seeds), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa(vlen);
    let (rows, decoder) = (vector_rows(&isa), Decoder::new(&isa));
    let rows: Vec<_> = rows.into_iter().filter(|row| only(row)).collect();
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> = forced_modes()
        .into_iter()
        .chain(simd_modes())
        .map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone())))
        .collect();
    let mut retired = 0;
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let program = program(&mut rng, &reference, &rows);
        let (expected, data) = run(&mut reference, &program);
        retired += expected.csr.minstret;
        for (name, m) in &mut others {
            let (got, memory) = run(m, &program);
            if got != expected || memory != data {
                let text = |raw: &u32| decoder.decode(*raw).map_or_else(|| "illegal".into(), |insn| disasm(&insn, 0));
                panic!(
                    "{name}, VLEN {vlen}, seed {seed}: interpreter and generated code differ on\n{}\n{}",
                    program.code.iter().map(text).collect::<Vec<_>>().join("\n"),
                    first_difference(&mut reference, m, &program, text)
                );
            }
        }
    }
    assert!(retired / rounds >= least, "programs end after {} instructions", retired / rounds);
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 400 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn generated_code_does_what_the_interpreter_does() {
    // Each of about 16 pairs retires once, its handler not counted: else nothing but traps was compared.
    compare(256, 400, |_| true, random_program, 30);
}

/// In every rounding mode.
#[test]
fn floating_point_and_widths_do_what_the_interpreter_does() {
    [128, 256, 512, 1024].into_iter().for_each(|vlen| compare(vlen, 150, computes, float_program, 30));
}
