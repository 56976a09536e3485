//! What the numbers of requests and of harts do not say: the CPU time that a request costs, of all threads of the
//! process, and what more harts bring.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table};

use super::table::{label, trimmed};
use super::units::{Scale, digits};
use crate::result::{Benchmark, Outcome, Report};
use crate::stats;

/// Suites in which a program waits or shares, so that its time does not say what it costs.
const SUITES: [&str; 2] = ["io", "smp"];

/// CPU time a unit, of every engine, with the ratio to the first.
pub fn cpu_time(report: &Report) -> String {
    let mut text = String::new();
    for suite in SUITES {
        let measured = |o: &Outcome| !o.cpu_times().is_empty();
        let of_suite = |b: &&Benchmark| b.name.suite == suite && b.results.values().any(measured);
        let rows: Vec<&Benchmark> = report.benchmarks.iter().filter(of_suite).collect();
        if !rows.is_empty() {
            text += &cpu_table(report, suite, &rows);
        }
    }
    text
}

fn cpu_table(report: &Report, suite: &str, rows: &[&Benchmark]) -> String {
    let engines = report.shown();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut header = vec![Cell::new(format!("{suite}, CPU time"))];
    for (i, e) in engines.iter().enumerate() {
        header.push(right(e.name.clone()));
        if i > 0 {
            header.push(right("x".to_owned()));
        }
    }
    table.set_header(header);
    let mut ratios = vec![Vec::new(); engines.len()];
    for b in rows {
        let (per, factor) = if b.unit == "byte" { ("MiB", f64::from(1 << 20)) } else { (b.unit.as_str(), 1.0) };
        let mut cells = vec![Cell::new(format!("{}, a {per}", label(b)))];
        let first = engines.first().and_then(|e| b.results.get(&e.name));
        for (i, e) in engines.iter().enumerate() {
            let outcome = b.results.get(&e.name);
            let time = outcome.and_then(|o| stats::median(&o.cpu_times()));
            cells.push(right(time.map_or_else(|| "-".to_owned(), |ns| Scale::Time.show(ns * factor))));
            if i > 0 {
                let ratio = outcome.zip(first).and_then(|(o, first)| stats::median(&o.cpu_ratios_to(first)));
                cells.push(right(ratio.map_or_else(String::new, |r| format!("x{}", digits(r)))));
                ratios[i].extend(ratio);
            }
        }
        table.add_row(cells);
    }
    let mut text = format!("\n{}\n", trimmed(&table.to_string()));
    for (e, ratios) in engines.iter().zip(&ratios).skip(1) {
        if let Some(mean) = stats::geometric_mean(ratios) {
            let of = &engines[0].name;
            let _ = writeln!(text, "  {} takes {} times {of}'s CPU time (geometric mean)", e.name, digits(mean));
        }
    }
    text
}

/// What more harts than one bring: work done in a time, and what a unit of it costs.
pub fn scaling(report: &Report) -> String {
    let mut text = String::new();
    let of_harts = |b: &&Benchmark| b.axis == "harts" && b.name.point.is_some_and(|p| p > 1);
    for b in report.benchmarks.iter().filter(of_harts) {
        let alone = report
            .benchmarks
            .iter()
            .find(|a| (&a.name.suite, &a.name.benchmark, a.name.point) == (&b.name.suite, &b.name.benchmark, Some(1)));
        for engine in report.shown() {
            let results = alone.and_then(|a| Some((a.results.get(&engine.name)?, b.results.get(&engine.name)?)));
            let Some((one, more)) = results else { continue };
            let Some(speed) = stats::median(&one.ratios_to(more)) else { continue };
            let cost = stats::median(&more.cpu_ratios_to(one));
            let cost = cost.map_or_else(String::new, |c| format!(", CPU time a unit x{}", digits(c)));
            let _ = writeln!(text, "  {:<20} {:<12} x{} as fast{cost}", label(b), engine.name, digits(speed));
        }
    }
    if text.is_empty() { text } else { format!("\n harts against one\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn requests_have_a_cost() {
        let text = cpu_time(&testing::report(1.0));
        // Of a unit that takes 10 ns, half is CPU time.
        let row = text.lines().find(|l| l.contains("blk-read, a request")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains("5.00 ns"), "{text}");
        assert!(!text.contains("cpu, CPU time") && !text.contains("sort"), "{text}");
    }

    #[test]
    fn harts_are_compared_with_one() {
        let mut report = testing::report(1.0);
        assert_eq!(scaling(&report), "");
        // Points 1 and 4 of a curve whose times are as 1 to 4.
        let points = report.benchmarks.iter_mut().filter(|b| b.name.point.is_some());
        for (b, harts) in points.zip([2, 1, 8]) {
            b.axis = "harts".to_owned();
            b.name.point = Some(harts);
        }
        let text = scaling(&report);
        let row = text.lines().find(|l| l.contains("latency 2") && l.contains(" tcg ")).unwrap();
        assert!(row.ends_with("x4.00 as fast, CPU time a unit x0.25"), "{text}");
        assert!(text.contains("latency 8") && !text.contains("latency 1 "), "{text}");
    }
}
