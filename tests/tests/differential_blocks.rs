//! Our translator against a reference on random bare-metal programs; see `tests::differential`.
//!
//! `VIREO_SPIKE` names a Spike to compare with; without it `VIREO_QEMU` names a QEMU, else it is `qemu-system-riscv64`
//! in PATH. `VIREO_DIFFERENTIAL_BLOCKS` is the number of blocks of each kind (1,500 unless told; of computation six times
//! that), `VIREO_DIFFERENTIAL_SEED` the first seed.

use accel::tcg::TcgOptions;
use arch::ext::{Ext, IsaConfig};
use tests::differential::block::{Block, Generator, LEFT_OUT, Profile};
use tests::differential::compare::{Pair, describe};
use tests::differential::coverage::NOT_COMPARED;
use tests::differential::guest::MAX_BLOCKS;
use tests::differential::known::KNOWN;
use tests::differential::reference::Reference;
use tests::differential::{coverage, engine};

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

/// Mismatches that are made small and shown.
const SHOWN: usize = 5;

fn differential(profile: Profile, modes: &[(&str, TcgOptions)]) {
    differential_of(&coverage::isa(), profile, modes);
}

fn differential_of(isa: &IsaConfig, profile: Profile, modes: &[(&str, TcgOptions)]) {
    let find = if profile == Profile::Compute { Reference::find } else { Reference::find_recent };
    let reference = find().unwrap_or_else(|error| panic!("{error:#}"));
    let (isa, missing) = reference.common(isa).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", describe(&isa, &reference, &missing));
    for (ext, why) in NOT_COMPARED {
        println!("not compared: {} ({why})", ext.name());
    }
    for (what, why) in LEFT_OUT {
        println!("left out: {what} ({why})");
    }
    let generator = Generator::new(&isa, isa.has(Ext::Svadu), reference.avoid());
    println!("{} instructions and their compressed forms", generator.row_count());
    // Corners of operands are many: computation is what takes most blocks to cover.
    let times = if profile == Profile::Compute { 6 } else { 1 };
    let count = number("VIREO_DIFFERENTIAL_BLOCKS", 1_500) * times;
    let first = number("VIREO_DIFFERENTIAL_SEED", 1);
    let seeds: Vec<u64> = (first..first + count).collect();
    let mut forgiven = vec![0; KNOWN.len()];
    let mut failures = Vec::new();
    let (mut different, mut traps) = (0, 0);
    for seeds in seeds.chunks(MAX_BLOCKS) {
        let blocks: Vec<Block> = seeds.iter().map(|seed| generator.block(profile, *seed)).collect();
        for (name, options) in modes {
            let pair =
                Pair { generator: &generator, ours: &|image| engine::run(&isa, options, image), reference: &reference };
            let comparison = pair.compare(&blocks).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            forgiven.iter_mut().zip(&comparison.forgiven).for_each(|(sum, n)| *sum += n);
            traps += comparison.traps;
            different += comparison.mismatches.len();
            for mismatch in comparison.mismatches.iter().take(SHOWN.saturating_sub(failures.len())) {
                let report = pair.report(&blocks[mismatch.index]).unwrap_or_else(|error| format!("{error:#}"));
                failures.push(format!("{name}: {report}"));
            }
        }
    }
    for (known, count) in KNOWN.iter().zip(&forgiven).filter(|(known, _)| (known.applies)(&reference)) {
        println!("known difference, {count} times: {} ({})", known.what, known.spec);
    }
    println!("{count} blocks, {} ways to run, {traps} traps", modes.len());
    assert!(different == 0, "{different} blocks differ, for instance:\n\n{}", failures.join("\n"));
}

fn jit() -> (&'static str, TcgOptions) {
    ("jit", TcgOptions::default())
}

fn interpreter() -> (&'static str, TcgOptions) {
    ("interpreter", TcgOptions { jit: false, ..TcgOptions::default() })
}

#[test]
fn computation() {
    let single = TcgOptions { block_insns: 1, ..TcgOptions::default() };
    differential(Profile::Compute, &[jit(), interpreter(), ("one instruction a block", single)]);
}

#[test]
fn csrs_of_machine_mode() {
    differential(Profile::Csr, &[jit(), interpreter()]);
}

#[test]
fn privileges_and_translation() {
    let small = TcgOptions { tlb_entries: 1, ..TcgOptions::default() };
    differential(Profile::Privileged, &[jit(), interpreter(), ("tiny TLB", small)]);
}

/// Vectors of a length, with agnostic elements kept or all ones.
fn vectors(vlen: u32, all_ones: bool) {
    let mut isa = coverage::isa_with_vectors();
    isa.vlen = vlen;
    (isa.rvv.ta_all_1s, isa.rvv.ma_all_1s) = (all_ones, all_ones);
    differential_of(&isa, Profile::Vector, &[jit(), interpreter()]);
}

#[test]
fn vectors_of_128_bits() {
    vectors(128, false);
}

#[test]
fn vectors_of_256_bits_with_agnostic_elements_all_ones() {
    vectors(256, true);
}

#[test]
fn vectors_of_1024_bits() {
    vectors(1024, false);
}
