//! Two results against each other: what changed, and what is noise.
//!
//! The samples of two results are no pairs: a ratio is that of the medians. It counts as a change if its interval leaves
//! out 1 and it is further from 1 than the same engine was from itself in nine benchmarks of ten, in both results.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table};

use super::table::{noise, trimmed};
use super::units::{digits, scale};
use crate::result::{Benchmark, Report};
use crate::stats::{self, Estimate};

/// A benchmark on an engine in both results.
struct Row<'a> {
    benchmark: &'a Benchmark,
    engine: &'a str,
    /// Medians, in nanoseconds a unit.
    before: f64,
    after: f64,
    ratio: Estimate,
}

/// The comparison from `a` (before) to `b` (after) as text.
pub fn text(a: &Report, b: &Report) -> String {
    let floor = [noise(a), noise(b)].into_iter().flatten().map(|n| n.tenth).fold(1.0, f64::max);
    let rows = rows(a, b);
    let (mut changed, unchanged): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| is_change(&r.ratio, floor));
    changed.sort_by(|x, y| x.ratio.median.total_cmp(&y.ratio.median));

    let mut text = format!("before: {}\nafter:  {}\n", a.created, b.created);
    for line in differences(a, b) {
        let _ = writeln!(text, "note: {line}");
    }
    let _ = writeln!(text, "noise: changes below {:.1} % are not told apart from it", (floor - 1.0) * 100.0);
    if !changed.is_empty() {
        let _ = writeln!(text, "\n{}", table(&changed));
    }
    let faster = changed.iter().filter(|r| r.ratio.median < 1.0).count();
    let slower = changed.len() - faster;
    let _ = writeln!(text, "\n{faster} faster, {slower} slower, {} within the noise", unchanged.len());
    for line in only_in_one(a, b) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn is_change(ratio: &Estimate, floor: f64) -> bool {
    let factor = ratio.median.max(1.0 / ratio.median);
    (ratio.low > 1.0 || ratio.high < 1.0) && factor > floor
}

fn rows<'a>(a: &'a Report, b: &'a Report) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for before in &a.benchmarks {
        let Some(after) = b.benchmarks.iter().find(|x| x.name == before.name) else { continue };
        for (engine, old) in &before.results {
            let Some(new) = after.results.get(engine) else { continue };
            let (old, new) = (old.times(), new.times());
            if let (Some(ratio), Some(m), Some(n)) =
                (stats::ratio_of_medians(&new, &old), stats::median(&old), stats::median(&new))
                && a.engines.iter().any(|e| e.name == *engine && e.again.is_none())
            {
                rows.push(Row { benchmark: before, engine, before: m, after: n, ratio });
            }
        }
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let header = ["before", "after", "time"].map(|h| right(h.to_owned()));
    table.set_header([Cell::new("changed"), Cell::new("engine")].into_iter().chain(header));
    for row in rows {
        let show = |ns| right(scale(&row.benchmark.unit).show(ns));
        let (r, percent) = (&row.ratio, (row.ratio.median - 1.0) * 100.0);
        let change = format!("x{} ({}-{}) {percent:+.0} %", digits(r.median), digits(r.low), digits(r.high));
        let name = Cell::new(row.benchmark.name.to_string());
        table.add_row([name, Cell::new(row.engine), show(row.before), show(row.after), right(change)]);
    }
    trimmed(&table.to_string())
}

/// What makes the two results less than comparable.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, x: String, y: String| {
        if x != y {
            lines.push(format!("{what}: {x} before, {y} after"));
        }
    };
    differ("host", a.host.cpu.clone(), b.host.cpu.clone());
    differ("CPUs", a.host.cpus.to_string(), b.host.cpus.to_string());
    differ("kernel", a.host.kernel.clone(), b.host.kernel.clone());
    differ("harts", a.settings.harts.to_string(), b.settings.harts.to_string());
    differ("round in ms", a.settings.min_ms.to_string(), b.settings.min_ms.to_string());
    for e in &a.engines {
        if let Some(other) = b.engines.iter().find(|x| x.name == e.name) {
            differ(&e.name, e.version.clone(), other.version.clone());
        }
    }
    lines
}

/// Benchmarks that have no partner, and those that failed.
fn only_in_one(a: &Report, b: &Report) -> Vec<String> {
    let missing = |x: &Report, y: &Report, which: &str| {
        let alone = x.benchmarks.iter().filter(|m| !y.benchmarks.iter().any(|n| n.name == m.name));
        let names: Vec<_> = alone.map(|m| m.name.to_string()).collect();
        (!names.is_empty()).then(|| format!("only {which}: {}", names.join(", ")))
    };
    let mut lines: Vec<String> = [missing(a, b, "before"), missing(b, a, "after")].into_iter().flatten().collect();
    for (report, which) in [(a, "before"), (b, "after")] {
        lines
            .extend(report.failures().map(|(m, engine, why)| format!("FAILED {which}: {} on {engine}: {why}", m.name)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_result_is_itself() {
        let text = text(&testing::report(1.0), &testing::report(1.0));
        assert!(text.contains("0 faster, 0 slower, 11 within the noise"), "{text}");
    }

    #[test]
    fn what_changed_is_shown_and_the_rest_is_not() {
        let text = text(&testing::report(1.0), &testing::report(0.5));
        assert!(text.contains("1 faster, 0 slower, 10 within the noise"), "{text}");
        let row = text.lines().find(|l| l.contains("cpu/sort")).unwrap();
        assert!(row.contains("qemu-tcg") && row.contains("x0.50") && row.contains("-50 %"), "{row}");
        assert!(!text.contains("cpu/crc"), "{text}");
    }

    #[test]
    fn other_machines_and_lost_benchmarks_are_noted() {
        let (before, mut after) = (testing::report(1.0), testing::failed_report());
        after.host.cpu = "another".to_owned();
        after.benchmarks.pop();
        let text = text(&before, &after);
        assert!(text.contains("note: host: A <CPU> before, another after"), "{text}");
        assert!(text.contains("only before: memory/latency@1048576"), "{text}");
        assert!(text.contains("FAILED after: cpu/sort on qemu-tcg"), "{text}");
    }
}
