//! Privileged state against a reference; see `tests::differential::privileged`.
//!
//! The same variables as for `differential_blocks` name the reference, the number of programs of each theme (4 unless
//! told) and the first seed.

use accel::tcg::TcgOptions;
use tests::differential::privileged::compare::Pair;
use tests::differential::privileged::{self, Theme};
use tests::differential::reference::Reference;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

fn compare(theme: &Theme) {
    let reference = Reference::find_recent().unwrap_or_else(|error| panic!("{error:#}"));
    if let Some(reason) = (theme.left_out)(&reference) {
        println!("{}: not compared with {}: {reason}", theme.name, reference.name());
        return;
    }
    let (isa, missing) = theme.common(&reference).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}: {}; it lacks {missing:?}", theme.name, reference.name());
    let first = number("VIREO_DIFFERENTIAL_SEED", 1);
    let seeds = first..first + number("VIREO_DIFFERENTIAL_PROGRAMS", 4);
    for jit in [true, false] {
        let options = TcgOptions { jit, ..TcgOptions::default() };
        let pair = Pair { theme, isa: isa.clone(), reference: &reference, options };
        let findings = pair.compare(seeds.clone()).unwrap_or_else(|error| panic!("{error:#}"));
        println!("{} steps; causes {:x?}", findings.steps, findings.causes);
        for (known, count) in theme.all_known().zip(&findings.forgiven).filter(|(_, count)| **count > 0) {
            println!("known difference, {count} times: {} ({})", known.what, known.spec);
        }
        assert!(
            findings.different.is_empty(),
            "jit {jit}, differences, ours first: {:#?}\n{}",
            findings.different,
            findings.reports.join("\n")
        );
    }
}

#[test]
fn physical_memory_protection() {
    compare(&privileged::pmp::THEME);
}

#[test]
fn page_table_entries() {
    compare(&privileged::leaves::THEME);
}

#[test]
fn traps_and_interrupts() {
    compare(&privileged::traps::THEME);
}

#[test]
fn pointer_masking() {
    compare(&privileged::masking::THEME);
}

#[test]
fn control_flow_integrity() {
    compare(&privileged::cfi::THEME);
}

#[test]
fn register_access() {
    compare(&privileged::access::THEME);
}
