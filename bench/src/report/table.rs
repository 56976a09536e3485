//! A result as aligned text.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table};

use super::cost;
use super::units::{digits, point, scale};
use crate::result::{Benchmark, Outcome, Report};
use crate::stats;

/// Column marks, explained below every table that has them.
const WIDE: &str = "~";
const CLOCK: &str = "!";

/// An interval this wide, as a part of the median to each side, is marked.
const WIDE_SPREAD: f64 = 0.1;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut text = heading(report);
    for suite in report.suites() {
        text += &suite_table(report, suite);
    }
    text += &cost::cpu_time(report);
    text += &cost::scaling(report);
    text += &exits(report);
    text += &summary(report);
    text += &remarks(report);
    text
}

fn heading(report: &Report) -> String {
    let (host, s) = (&report.host, &report.settings);
    let mut text = String::new();
    let load = if host.load >= 0.5 { format!(", load {:.1} when it began", host.load) } else { String::new() };
    let _ = writeln!(text, "{}, {} CPUs, {}{load}", host.cpu, host.cpus, host.kernel);
    let runs = if s.runs == 1 { "run" } else { "runs" };
    let harts = if s.harts == 1 { "hart" } else { "harts" };
    let _ = writeln!(
        text,
        "{} {runs} after {} for warming up, {} {harts}, rounds of {} ms; {}",
        s.runs, s.warmup, s.harts, s.min_ms, report.created
    );
    if !report.complete {
        let _ = writeln!(text, "ended early: what was measured until then");
    }
    for e in &report.engines {
        if e.again.is_none() {
            let _ = writeln!(text, "  {:<12} {} (-accel {})", e.name, e.version, e.accel);
        }
    }
    for m in &report.missing {
        let _ = writeln!(text, "  {:<12} not measured: {}", m.name, m.reason);
    }
    text
}

fn suite_table(report: &Report, suite: &str) -> String {
    let rows: Vec<&Benchmark> = report.benchmarks.iter().filter(|b| b.name.suite == suite).collect();
    if rows.is_empty() {
        return format!("\n{suite}: nothing was measured\n");
    }
    let engines = report.shown();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut header = vec![Cell::new(suite)];
    for (i, e) in engines.iter().enumerate() {
        header.push(Cell::new(&e.name).set_alignment(CellAlignment::Right));
        if i > 0 {
            header.push(Cell::new(format!("{}x", "")).set_alignment(CellAlignment::Right));
        }
    }
    table.set_header(header);
    for b in rows {
        let mut cells = vec![Cell::new(label(b))];
        let first = engines.first().and_then(|e| b.results.get(&e.name));
        for (i, e) in engines.iter().enumerate() {
            let outcome = b.results.get(&e.name);
            cells.push(Cell::new(value(b, outcome)).set_alignment(CellAlignment::Right));
            if i > 0 {
                cells.push(Cell::new(ratio(outcome, first)).set_alignment(CellAlignment::Right));
            }
        }
        table.add_row(cells);
    }
    let mut text = format!("\n{}\n", trimmed(&table.to_string()));
    for (i, e) in engines.iter().enumerate().skip(1) {
        if let Some(mean) = mean_ratio(report, suite, &e.name, &engines[0].name) {
            let _ = i;
            let _ =
                writeln!(text, "  {} takes {} times {}'s time (geometric mean)", e.name, digits(mean), engines[0].name);
        }
    }
    text
}

/// Exits a request, by kind, where engines count them.
fn exits(report: &Report) -> String {
    let counted = |b: &&Benchmark| b.unit == "request" && b.results.values().any(|o| !o.exits.is_empty());
    let mut text = String::new();
    for b in report.benchmarks.iter().filter(counted) {
        for engine in report.shown() {
            let Some(outcome) = b.results.get(&engine.name).filter(|o| !o.exits.is_empty()) else { continue };
            let mut kinds: Vec<_> = outcome.exits.iter().filter(|(_, n)| **n >= 0.005).collect();
            kinds.sort_by(|x, y| y.1.total_cmp(x.1));
            let kinds: Vec<_> = kinds.into_iter().map(|(kind, n)| format!("{kind} {}", digits(*n))).collect();
            let _ = writeln!(text, "  {:<20} {:<12} {}", b.name.benchmark, engine.name, kinds.join(", "));
        }
    }
    if text.is_empty() { text } else { format!("\n exits a request\n{text}") }
}

/// Without the blanks that fill lines up.
pub fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

pub fn label(b: &Benchmark) -> String {
    match b.name.point {
        Some(p) => format!("{} {}", b.name.benchmark, point(p)),
        None => b.name.benchmark.clone(),
    }
}

fn value(b: &Benchmark, outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else { return "-".to_owned() };
    if outcome.failed.is_some() {
        return "FAILED".to_owned();
    }
    if outcome.skipped.is_some() {
        return "skipped".to_owned();
    }
    match stats::estimate(&outcome.times()) {
        None => "-".to_owned(),
        Some(e) => {
            let clock = if outcome.samples.iter().all(|s| s.clocks_agree()) { "" } else { CLOCK };
            let wide = if e.spread() > WIDE_SPREAD { WIDE } else { "" };
            format!("{clock}{wide}{}", scale(&b.unit).show(e.median))
        }
    }
}

/// How many times the reference's time, with the interval.
fn ratio(outcome: Option<&Outcome>, reference: Option<&Outcome>) -> String {
    let (Some(outcome), Some(reference)) = (outcome, reference) else { return String::new() };
    match stats::estimate(&outcome.ratios_to(reference)) {
        None => String::new(),
        Some(e) if outcome.samples.len() < 2 => format!("x{}", digits(e.median)),
        Some(e) => format!("x{} ({}-{})", digits(e.median), digits(e.low), digits(e.high)),
    }
}

/// The geometric mean over the suite of how many times the other's time an engine takes.
pub fn mean_ratio(report: &Report, suite: &str, engine: &str, to: &str) -> Option<f64> {
    let ratios = report.benchmarks.iter().filter(|b| b.name.suite == suite).filter_map(|b| {
        let (ours, theirs) = (b.results.get(engine)?, b.results.get(to)?);
        stats::median(&ours.ratios_to(theirs))
    });
    stats::geometric_mean(&ratios.collect::<Vec<_>>())
}

fn summary(report: &Report) -> String {
    let engines = report.shown();
    let mut text = String::new();
    let Some((first, others)) = engines.split_first() else { return text };
    for e in others {
        let means: Vec<_> =
            report.suites().iter().filter_map(|s| mean_ratio(report, s, &e.name, &first.name)).collect();
        if let (Some(mean), true) = (stats::geometric_mean(&means), means.len() > 1) {
            let _ = writeln!(text, "\nall suites: {} takes {} times {}'s time", e.name, digits(mean), first.name);
        }
    }
    text
}

/// What the noise was, what went wrong, and what the marks mean.
fn remarks(report: &Report) -> String {
    let mut text = String::new();
    if let Some(noise) = noise(report) {
        let _ = writeln!(
            text,
            "\nnoise: {} against itself: {:.1} % in the middle, {:.1} % for one benchmark in ten",
            noise.engine,
            (noise.middle - 1.0) * 100.0,
            (noise.tenth - 1.0) * 100.0
        );
    }
    for (b, engine, why) in report.failures() {
        let _ = writeln!(text, "FAILED {} on {engine}: {why}", b.name);
    }
    let mut skipped: Vec<(String, &str, &str)> = Vec::new();
    for b in &report.benchmarks {
        for (engine, o) in &b.results {
            if let Some(reason) = &o.skipped {
                skipped.push((b.name.to_string(), engine, reason));
            }
        }
    }
    skipped.retain(|(_, engine, _)| report.shown().iter().any(|e| e.name == *engine));
    for (name, engine, reason) in skipped {
        let _ = writeln!(text, "skipped {name} on {engine}: {reason}");
    }
    let missed: u32 = report.benchmarks.iter().flat_map(|b| b.results.values()).map(|o| o.missed).sum();
    if missed > 0 {
        let rounds = if missed == 1 { "round was" } else { "rounds were" };
        let _ = writeln!(text, "{missed} {rounds} not timed: the machine was too busy to listen");
    }
    let outliers: usize =
        report.benchmarks.iter().flat_map(|b| b.results.values()).map(|o| stats::outliers(&o.times()).len()).sum();
    if outliers > 0 {
        let samples: usize = report.benchmarks.iter().flat_map(|b| b.results.values()).map(|o| o.samples.len()).sum();
        let (stand, are) = if outliers == 1 { ("stands", "it is") } else { ("stand", "they are") };
        let _ = writeln!(text, "{outliers} of {samples} samples {stand} apart from the others; {are} counted");
    }
    if text.contains(WIDE) || report.benchmarks.iter().any(is_wide) {
        let _ = writeln!(text, "{WIDE} the interval is wider than {:.0} % to each side", WIDE_SPREAD * 100.0);
    }
    let clocks = report.benchmarks.iter().flat_map(|b| b.results.values()).flat_map(|o| &o.samples);
    if !clocks.clone().all(|s| s.clocks_agree()) {
        let _ = writeln!(text, "{CLOCK} the guest's clock and the host's differ by more than 3 %; the host's counts");
    }
    text
}

fn is_wide(b: &Benchmark) -> bool {
    b.results.values().any(|o| stats::estimate(&o.times()).is_some_and(|e| e.spread() > WIDE_SPREAD))
}

/// How far the same engine is from itself.
pub struct Noise {
    pub engine: String,
    /// Factors of 1 or more: the median over the benchmarks, and what nine in ten stay below.
    pub middle: f64,
    pub tenth: f64,
}

/// The noise of the machine, if an engine was measured twice.
pub fn noise(report: &Report) -> Option<Noise> {
    let again = report.engines.iter().find(|e| e.again.is_some())?;
    let engine = again.again.clone()?;
    let factors: Vec<f64> = report
        .benchmarks
        .iter()
        .filter_map(|b| stats::median(&b.results.get(&again.name)?.ratios_to(b.results.get(&engine)?)))
        .map(|ratio| ratio.max(1.0 / ratio))
        .collect();
    Some(Noise { engine, middle: stats::median(&factors)?, tenth: stats::quantile(&factors, 0.9)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_table_aligns_and_says_all() {
        let text = text(&testing::report(1.0));
        let line = |part: &str| text.lines().find(|l| l.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(line("sort").contains("10.0 ns") && line("sort").contains("20.0 ns"), "{text}");
        assert!(line("sort").contains("x2.00 (2.00-2.00)"), "{text}");
        assert!(line("crc").contains("100 MB/s"), "{text}");
        assert!(line("latency 4 Ki").contains("1.00 ns"));
        assert!(line("kvm").contains("not measured: the host is x86_64"));
        assert!(line("skipped cpu/none on tcg:").contains("no V"));
        assert!(line("noise").contains("tcg against itself"));
        // The second measurement of an engine has no column.
        let header = line("qemu-tcg ");
        assert!(!text.lines().any(|l| l.starts_with(" cpu") && l.contains("again")), "{header}");
        let columns = |l: &str| l.find("20.0 ns").or(l.find("50.0 MB/s")).map(|at| at + l[at..].find(' ').unwrap());
        assert!(columns(line("sort")).is_some() && columns(line("crc")).is_some());
        assert!(line("  blk-read             tcg").contains("mmio 4.00"), "{text}");
        assert!(text.lines().all(|l| !l.ends_with(' ')), "{text}");
    }

    #[test]
    fn rounds_that_were_not_timed_are_counted() {
        for (missed, line) in [(1, "\n1 round was not timed: "), (2, "\n2 rounds were not timed: ")] {
            let mut report = testing::report(1.0);
            report.benchmarks[0].results.get_mut("tcg").unwrap().missed = missed;
            assert!(text(&report).contains(line), "{}", text(&report));
        }
    }

    #[test]
    fn a_wrong_result_has_no_number() {
        let text = text(&testing::failed_report());
        let sort = text.lines().find(|l| l.contains("sort")).unwrap();
        assert!(sort.contains("FAILED") && !sort.contains("x2"), "{text}");
        assert!(text.contains("FAILED cpu/sort on qemu-tcg: got 0x1, want 0x2"));
    }

    #[test]
    fn noise_is_of_the_engine_with_itself() {
        let noise = noise(&testing::report(1.0)).unwrap();
        assert_eq!(noise.engine, "tcg");
        assert!(noise.middle >= 1.0 && noise.middle < 1.05, "{}", noise.middle);
    }
}
