//! Vector instructions at every SEW and LMUL, at lengths of nothing, one, a part and everything, with and without masks:
//! the interpreter of the IR against generated code, with `vtype` known in the block and guessed, and with less and less
//! of the host's vector extensions. Now and then an instruction begins in the middle.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use arch::ext::{Ext, IsaConfig};
use arch::isa::{Decoder, Row, disasm, rows};
use guest::random::vector_insn;
use guest::{Guest, RAM, SKIP, isa_with, simd_modes};

const DATA: u64 = RAM + (2 << 20);
const DATA_SIZE: usize = 16 << 10;
const HANDLER: u64 = RAM + 0x8000;
const CODE: u64 = RAM + 0x1_0000;
const ECALL: u32 = 0x73;
/// Holds the address of data; programs do not write it.
const BASE: u32 = 30;
/// Holds AVL; likewise.
const AVL: u32 = 29;
const INSNS: usize = 320;

fn isa(vlen: u32) -> IsaConfig {
    IsaConfig { vlen, ..isa_with(&[Ext::V, Ext::Zvbb, Ext::Zvbc, Ext::Zvfh, Ext::Zvkned, Ext::Zvknhb, Ext::Zvkg]) }
}

/// `vsetvli x0, x29, vtype`.
fn configure(vtype: u32) -> u32 {
    vtype << 20 | AVL << 15 | 7 << 12 | 0x57
}

/// `csrwi vstart, element`.
fn start_at(element: u32) -> u32 {
    8 << 20 | element << 15 | 5 << 12 | 0x73
}

/// A random instruction with registers that begin a group at this LMUL.
fn random_insn(rng: &mut Rng, rows: &[&'static Row], lmul: u32) -> u32 {
    let low = if lmul < 4 && rng.below(16) != 0 { (1 << lmul) - 1 } else { 0 };
    vector_insn(rng, rows, low, BASE, &[AVL, BASE])
}

struct Program {
    code: Vec<u32>,
    start: HartState,
    data: Vec<u8>,
}

/// Instructions at one `vtype` and one `vl`, which some of them change and others set again.
fn program(rng: &mut Rng, m: &Guest, rows: &[&'static Row], vtype: u32, avl: u64) -> Program {
    let mut code = vec![configure(vtype)];
    for _ in 0..INSNS {
        if rng.below(8) == 0 {
            code.push(configure(vtype));
        }
        if rng.below(32) == 0 {
            code.push(start_at(rng.below(12) as u32));
        }
        code.push(random_insn(rng, rows, vtype & 7));
    }
    let mut start = m.supervisor(0, CODE);
    for r in 1..32 {
        start.x[r] = if rng.below(2) == 0 { rng.corner() } else { rng.below(80) };
        start.f[r] = rng.corner();
    }
    // Mostly inside of a page, and aligned as often as not.
    let page = 4096 * (1 + rng.below(2));
    start.x[BASE as usize] = DATA + page + if rng.below(2) == 0 { 64 * rng.below(64) } else { rng.below(4096) };
    start.x[AVL as usize] = avl;
    let bytes = m.isa.vlen as usize * 4;
    start.v.0[..bytes].chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.corner().to_le_bytes()));
    // Random bits for the mask.
    start.v.0[..16].chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&rng.next().to_le_bytes()));
    start.csr.mstatus |= 3 << 9 | 3 << 13;
    start.csr.vcsr = rng.below(8);
    (start.csr.vtype, start.csr.vl) = (1 << 63, 0);
    start.csr.medeleg = 0xb3ff;
    start.csr.stvec = HANDLER;
    let data = (0..DATA_SIZE / 8).flat_map(|_| rng.corner().to_le_bytes()).collect();
    Program { code, start, data }
}

/// Runs the first instructions of a program.
fn run(m: &mut Guest, p: &Program, len: usize) -> (HartState, Vec<u8>) {
    m.write(DATA, &p.data);
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    m.write(HANDLER, &bytes(&SKIP));
    m.write(CODE, &bytes(&p.code[..len]));
    m.write(CODE + 4 * len as u64, &bytes(&[ECALL; 4]));
    let end = m.run(&p.start);
    (end, m.read(DATA, DATA_SIZE))
}

/// Where the two states part.
fn difference(a: &HartState, b: &HartState, vlenb: usize) -> String {
    let mut out = String::new();
    for r in (0..32).filter(|r| a.x[*r] != b.x[*r]) {
        out += &format!("x{r}: {:#x} / {:#x}\n", a.x[r], b.x[r]);
    }
    for r in 0..32 {
        let (x, y) = (&a.v.0[r * vlenb..][..vlenb], &b.v.0[r * vlenb..][..vlenb]);
        if x != y {
            out += &format!("v{r}: {x:02x?}\n    / {y:02x?}\n");
        }
    }
    let of = |s: &HartState| (s.pc, s.csr.vl, s.csr.vtype, s.csr.vstart, s.csr.fcsr, s.csr.vcsr, s.csr.scause);
    out + &format!("pc, vl, vtype, vstart, fcsr, vcsr, scause: {:x?} / {:x?}", of(a), of(b))
}

/// Rows of which programs are made, and how many of their instructions retire at least.
type Mix = (fn(&Row) -> bool, u64);

fn check(vlen: u32, rounds: u64, (only, least): Mix) {
    let isa = isa(vlen);
    let decoder = Decoder::new(&isa);
    let rows: Vec<_> = rows()
        .iter()
        .filter(|row| {
            row.mnemonic.starts_with('v') && !row.mnemonic.starts_with("vset") && row.available(&isa) && only(row)
        })
        .collect();
    let guest = |options| Guest::with_isa(options, 1, isa.clone());
    let mut reference = guest(TcgOptions { jit: false, ..TcgOptions::default() });
    let generated = cfg!(target_arch = "x86_64");
    let known = [("vtype known", TcgOptions { block_insns: 6, ..TcgOptions::default() })];
    let guessed = [("vtype guessed", TcgOptions { block_insns: 1, ..TcgOptions::default() })];
    let mut others: Vec<_> = known
        .into_iter()
        .chain(guessed)
        .filter(|_| generated)
        .chain(simd_modes())
        .map(|(name, options)| (name, guest(options)))
        .collect();
    let first = number("VIREO_LOCKSTEP_SEED", 1);
    let mut retired = 0;
    for round in 0..rounds {
        for vtype in (0..32u32).filter(|vtype| vtype & 7 != 4) {
            // VLMAX is that of LMUL = 8 and SEW = 8 at most.
            for avl in [0, 1, 2, u64::MAX] {
                let seed = (first + round) << 32 | u64::from(vlen) << 16 | u64::from(vtype) << 4 | avl & 15;
                let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let avl = if avl == 2 { 2 + rng.below(u64::from(vlen) >> (3 + (vtype >> 3))) } else { avl };
                let vtype = vtype | (rng.below(4) as u32) << 6;
                let p = program(&mut rng, &reference, &rows, vtype, avl);
                let (expected, data) = run(&mut reference, &p, p.code.len());
                retired += expected.csr.minstret;
                for (name, m) in &mut others {
                    if run(m, &p, p.code.len()) == (expected.clone(), data.clone()) {
                        continue;
                    }
                    let len = (1..=p.code.len()).find(|len| run(&mut reference, &p, *len) != run(m, &p, *len));
                    let len = len.unwrap_or(p.code.len());
                    let ((a, _), (b, _)) = (run(&mut reference, &p, len), run(m, &p, len));
                    let raw = p.code[len - 1];
                    let text = decoder.decode(raw).map_or_else(|| "illegal".into(), |insn| disasm(&insn, 0));
                    panic!(
                        "{name}, VLEN {vlen}, vtype {vtype:#x}, AVL {avl}, seed {seed}: {raw:08x} {text}\n{}",
                        difference(&a, &b, vlen as usize / 8)
                    );
                }
            }
        }
    }
    // Illegal ones and loads from nowhere excepted, instructions retire.
    let programs = rounds * 28 * 4;
    assert!(retired / programs >= least, "programs retire {} instructions", retired / programs);
}

const ALL: Mix = (|_| true, INSNS as u64 / 2);

/// `VIREO_LOCKSTEP_ROUNDS` times all shapes, once unless told.
#[test]
fn registers_of_128_bits() {
    check(128, number("VIREO_LOCKSTEP_ROUNDS", 1), ALL);
}

#[test]
fn registers_of_256_bits() {
    check(256, number("VIREO_LOCKSTEP_ROUNDS", 1), ALL);
}

#[test]
fn registers_of_1024_bits() {
    check(1024, number("VIREO_LOCKSTEP_ROUNDS", 1), ALL);
}

/// Ciphers, hash functions, and carry-less products: many are illegal, but for one element width and whole groups.
fn is_crypto(row: &Row) -> bool {
    ["vaes", "vsha", "vgh", "vgm", "vclmul"].iter().any(|name| row.mnemonic.starts_with(name))
}

#[test]
fn cryptography() {
    for vlen in [128, 256, 512] {
        check(vlen, number("VIREO_LOCKSTEP_ROUNDS", 1), (is_crypto, 16));
    }
}
