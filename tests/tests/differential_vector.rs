//! Our translator against a reference on single vector instructions; see `tests::differential::vector`.
//!
//! `VIREO_SPIKE`, `VIREO_QEMU`, `VIREO_DIFFERENTIAL_BLOCKS` (cases of each kind and VLEN, 4,096 unless told) and
//! `VIREO_DIFFERENTIAL_SEED` are those of `differential_blocks`. `VIREO_DIFFERENTIAL_ONLY` picks the instructions whose
//! names begin with it.

use std::collections::BTreeMap;

use accel::tcg::{HostSimd, TcgOptions};
use arch::ext::{Ext, ExtSet, IsaConfig, VectorChoices};
use arch::isa::Row;
use tests::differential::engine;
use tests::differential::reference::Reference;
use tests::differential::vector::{Case, Cases, KNOWN, MAX_CASES};

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

/// Cases that are shown when they differ.
const SHOWN: usize = 6;

/// Each row has to complete at least once in so many cases of it.
const TRIES: u64 = 16;

fn isa(extra: &[Ext], vlen: u32, ones: bool) -> IsaConfig {
    let mut isa = IsaConfig::default();
    isa.exts = isa.exts.union(&ExtSet::of(extra)).closure();
    let rvv = VectorChoices { ta_all_1s: ones, ma_all_1s: ones, ..VectorChoices::default() };
    IsaConfig { vlen, rvv, ..isa }
}

/// `complete`: the hart has every element width that the instructions can have, so each has to complete at times.
fn compare(isa: &IsaConfig, wanted: fn(&Row) -> bool, complete: bool) {
    let reference = Reference::find_recent().unwrap_or_else(|error| panic!("{error:#}"));
    let (isa, missing) = reference.common(isa).unwrap_or_else(|error| panic!("{error:#}"));
    let only = std::env::var("VIREO_DIFFERENTIAL_ONLY").unwrap_or_default();
    let cases = Cases::new(&isa, reference.avoid(), |row| wanted(row) && row.mnemonic.starts_with(&only));
    println!("{} instructions, VLEN {}; {} lacks {missing:?}", cases.rows().len(), isa.vlen, reference.name());
    let first = number("VIREO_DIFFERENTIAL_SEED", 1);
    let seeds: Vec<u64> = (first..first + number("VIREO_DIFFERENTIAL_BLOCKS", 4_096)).collect();
    let modes = [
        TcgOptions::default(),
        TcgOptions { simd: HostSimd::Avx2, ..TcgOptions::default() },
        TcgOptions { jit: false, ..TcgOptions::default() },
    ];
    let (mut met, mut different) = (vec![0u64; KNOWN.len()], 0);
    let mut reports = Vec::new();
    let mut completed: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for seeds in seeds.chunks(MAX_CASES) {
        let batch: Vec<Case> = seeds.iter().map(|seed| cases.case(*seed)).collect();
        let image = cases.image(&batch);
        let theirs = reference.run(&isa, &image).unwrap_or_else(|error| panic!("{error:#}"));
        for options in &modes {
            let (ours, hung) = engine::run(&isa, options, &image).unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(hung, None, "our hart hangs");
            for (i, case) in batch.iter().enumerate() {
                let (a, mut b) = (cases.outcome(&ours, i), cases.outcome(&theirs, i));
                let count = completed.entry(cases.decode(case).op.name()).or_default();
                *count = (count.0 + 1, count.1 + u64::from(!a.trapped()));
                for (known, met) in KNOWN.iter().zip(&mut met).filter(|(known, _)| (known.applies)(&reference)) {
                    if a != b {
                        *met += u64::from((known.forgive)(&cases, case, &a, &mut b));
                    }
                }
                if a != b {
                    different += 1;
                    if reports.len() < SHOWN {
                        reports.push(cases.report(seeds[i], case, &a, &b));
                    }
                }
            }
        }
    }
    for (known, met) in KNOWN.iter().zip(met).filter(|(_, met)| *met != 0) {
        println!("known difference, {met} times: {} ({})", known.what, known.spec);
    }
    assert!(different == 0, "{different} cases differ, for instance:\n\n{}", reports.join("\n"));
    let never = completed.iter().filter(|(_, (n, done))| complete && *n >= TRIES && *done == 0);
    let never: Vec<_> = never.collect();
    assert!(never.is_empty(), "instructions that always trap: {never:?}");
}

fn is_crypto(row: &Row) -> bool {
    row.exts
        .iter()
        .flat_map(|exts| exts.iter())
        .any(|ext| ext.name().starts_with("zvk") || ext.name().starts_with("zvb"))
}

fn is_float(row: &Row) -> bool {
    row.mnemonic.starts_with("vf") && row.mnemonic != "vfirst.m" || row.mnemonic.starts_with("vmf")
}

const FLOAT: &[Ext] = &[Ext::V, Ext::Zvfh, Ext::Zvfbfwma];
const CRYPTO: &[Ext] = &[Ext::V, Ext::Zvbb, Ext::Zvkng, Ext::Zvksg, Ext::Zvbc];

#[test]
fn integers_masks_and_permutations() {
    let rest = |row: &Row| !is_float(row) && !is_crypto(row);
    compare(&isa(&[Ext::V], 128, false), rest, true);
    compare(&isa(&[Ext::V], 256, true), rest, true);
    compare(&isa(&[Ext::V], 1024, false), rest, true);
    compare(&isa(&[Ext::Zve32x], 128, false), rest, false);
    compare(&isa(&[Ext::Zve64x], 128, true), rest, false);
}

#[test]
fn floating_point() {
    compare(&isa(FLOAT, 128, false), is_float, true);
    compare(&isa(FLOAT, 256, true), is_float, true);
    compare(&isa(FLOAT, 1024, false), is_float, true);
}

/// Harts that have some of the widths only.
#[test]
fn floating_point_of_smaller_harts() {
    compare(&isa(&[Ext::Zve32f], 128, false), is_float, false);
    compare(&isa(&[Ext::Zve64f, Ext::Zvfhmin], 128, true), is_float, false);
    compare(&isa(&[Ext::Zve64d, Ext::Zvfbfmin], 256, false), is_float, false);
}

#[test]
fn cryptography() {
    compare(&isa(CRYPTO, 128, false), is_crypto, true);
    compare(&isa(CRYPTO, 256, true), is_crypto, true);
    compare(&isa(CRYPTO, 512, false), is_crypto, true);
}

#[test]
fn cryptography_of_smaller_harts() {
    compare(&isa(&[Ext::Zve32x, Ext::Zvkb, Ext::Zvknha, Ext::Zvkned], 128, false), is_crypto, false);
    compare(
        &isa(&[Ext::Zve64x, Ext::Zvkb, Ext::Zvbc, Ext::Zvksh, Ext::Zvksed, Ext::Zvkg], 128, true),
        is_crypto,
        false,
    );
}
