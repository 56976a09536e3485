//! Random vector programs: the interpreter of the IR against generated code in every forced mode.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::isa::{Decoder, Row, disasm, rows};
use guest::random::{Rng, number};
use guest::{Guest, RAM, forced_modes, simd_modes};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 64 << 10;
const HANDLER: u64 = RAM + 0x8000;
const ECALL: u32 = 0x73;
/// What traps lead to: `csrr x31, sepc; addi x31, x31, 4; csrw sepc, x31; sret`.
const SKIP: [u32; 4] = [0x1410_2ff3, 0x004f_8f93, 0x141f_9073, 0x1020_0073];
/// Holds the address of data; programs do not write it.
const BASE: u32 = 30;

fn isa() -> IsaConfig {
    let isa = IsaConfig::default();
    IsaConfig { exts: isa.exts.union(&ExtSet::of(&[Ext::V])).closure(), vlen: 256, ..isa }
}

fn vector_rows(isa: &IsaConfig) -> Vec<&'static Row> {
    rows().iter().filter(|row| row.mnemonic.starts_with('v') && row.available(isa)).collect()
}

/// A configuration, then a random instruction with registers that mostly begin a group.
fn random_pair(rng: &mut Rng, rows: &[&'static Row]) -> [u32; 2] {
    let (sew, lmul) = (rng.below(4) as u32, rng.below(4) as u32);
    let policy = rng.below(4) as u32;
    let avl = rng.below(32) as u32;
    let configure = 3 << 30 | (policy << 6 | sew << 3 | lmul) << 20 | avl << 15 | 7 << 12 | 0x57;
    // Bits of a register number that are zero for the first of a group.
    let low = if rng.below(8) == 0 { 0 } else { (1 << lmul) - 1 };
    loop {
        let row = rows[rng.below(rows.len() as u64) as usize];
        let operands = row.operands;
        let mut cleared = low << 7;
        cleared |= if operands.contains("vs2") { low << 20 } else { 0 };
        cleared |= if operands.contains("vs1") { low << 15 } else { 0 };
        let mut raw = row.pattern.bits | rng.next() as u32 & !row.pattern.mask & !cleared;
        if operands.contains("(rs1)") {
            // Most indices and strides lead out of RAM: those instructions trap.
            raw = raw & !(31 << 15) | BASE << 15;
        }
        if !operands.starts_with("rd") || raw >> 7 & 31 != BASE {
            return [configure, raw];
        }
    }
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
    start.v.0[..32 * 32].chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.corner().to_le_bytes()));
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

/// `VIREO_LOCKSTEP_ROUNDS` programs, 400 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn generated_code_does_what_the_interpreter_does() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 400), number("VIREO_LOCKSTEP_SEED", 1));
    let isa = isa();
    let (rows, decoder) = (vector_rows(&isa), Decoder::new(&isa));
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> = forced_modes()
        .into_iter()
        .chain(simd_modes())
        .map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone())))
        .collect();
    let mut retired = 0;
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let program = random_program(&mut rng, &reference, &rows);
        let (expected, data) = run(&mut reference, &program);
        retired += expected.csr.minstret;
        for (name, m) in &mut others {
            let (got, memory) = run(m, &program);
            let text = |raw: &u32| decoder.decode(*raw).map_or_else(|| "illegal".into(), |insn| disasm(&insn, 0));
            assert!(
                got == expected && memory == data,
                "{name}, seed {seed}: interpreter and generated code differ on\n{}",
                program.code.iter().map(text).collect::<Vec<_>>().join("\n")
            );
        }
    }
    // Each of about 16 pairs retires once, its handler not counted: else nothing but traps was compared.
    assert!(retired / rounds >= 30, "programs end after {} instructions", retired / rounds);
}
