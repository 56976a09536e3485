//! A result as one page that needs nothing else: plots for the eye, the tables below them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::svg::{self, Axis, Mark, Row, Series, escape};
use super::table;
use super::units::{Scale, digits, point, scale};
use crate::result::{Benchmark, EngineRecord, Report};
use crate::stats;

/// Colours that people who see red and green alike tell apart (Okabe and Ito), a shade lighter on dark ground.
const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let engines = report.shown();
    let mut body = head(report, &engines);
    body += &ratios(report, &engines);
    body += &curves(report, &engines);
    body += &exits(report, &engines);
    let _ = write!(body, "<section><h2>Numbers</h2><pre>{}</pre></section>", escape(&table::text(report)));
    body += &method(report, &engines);
    format!(
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\
         <title>vireo bench, {}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(&report.created)
    )
}

/// The means of the suites as a picture of its own: how many times the first engine's time the others take.
pub fn picture(report: &Report) -> String {
    let engines = report.shown();
    let rows = suite_rows(report, &engines);
    let names: Vec<_> = engines.iter().map(|e| e.name.as_str()).collect();
    let title = match names.split_first() {
        Some((first, others)) => format!("Times {first}'s time: {}", others.join(", ")),
        None => String::new(),
    };
    let svg = svg::ratio_rows(&rows, &title);
    // Outside of a page it needs a name space, its colours, and ground to stand on.
    svg.replacen("<svg ", "<svg xmlns='http://www.w3.org/2000/svg' font-family='sans-serif' font-size='12' ", 1)
        .replacen(
            "<title>",
            &format!("<style>{STYLE}</style><rect class='ground' width='100%' height='100%'/><title>"),
            1,
        )
}

fn suite_rows(report: &Report, engines: &[&EngineRecord]) -> Vec<Row> {
    let Some((first, others)) = engines.split_first() else { return Vec::new() };
    report
        .suites()
        .into_iter()
        .map(|suite| {
            let mark = |(i, e): (usize, &&EngineRecord)| {
                let value = table::mean_ratio(report, suite, &e.name, &first.name)?;
                Some(Mark { series: i + 1, value, low: value, high: value })
            };
            Row { label: suite.to_owned(), marks: others.iter().enumerate().filter_map(mark).collect() }
        })
        .filter(|row| !row.marks.is_empty())
        .collect()
}

fn head(report: &Report, engines: &[&EngineRecord]) -> String {
    let mut s = format!(
        "<header><h1>vireo bench</h1><p>{}, {} CPUs, {}. {}{}</p>",
        escape(&report.host.cpu),
        report.host.cpus,
        escape(&report.host.kernel),
        escape(&report.created),
        if report.complete { "" } else { ". <strong>Ended early.</strong>" }
    );
    s += &legend(engines);
    if report.failures().next().is_some() {
        s += "<p class='failed'>Some benchmarks gave wrong results; they have no numbers here. See the end of the page.</p>";
    }
    for m in &report.missing {
        let _ = write!(s, "<p class='note'>{} was not measured: {}</p>", escape(&m.name), escape(&m.reason));
    }
    s + "</header>"
}

fn legend(engines: &[&EngineRecord]) -> String {
    let mut s = "<ul class='legend'>".to_owned();
    for (i, e) in engines.iter().enumerate() {
        let _ = write!(
            s,
            "<li><svg viewBox='0 0 10 10' aria-hidden='true'><rect class='s{i}' width='10' height='10'/></svg> <b>{}</b> {}</li>",
            escape(&e.name),
            escape(&e.version)
        );
    }
    s + "</ul>"
}

/// How many times the first engine's time the others take: over suites, and benchmark by benchmark.
fn ratios(report: &Report, engines: &[&EngineRecord]) -> String {
    let Some((first, others)) = engines.split_first() else { return String::new() };
    if others.is_empty() {
        return String::new();
    }
    let mut s = format!(
        "<section><h2>Times {0}'s time</h2><p>Bars to the right: slower than {0}; to the left: faster. \
         Whiskers hold the median with 95 % confidence.</p>",
        escape(&first.name)
    );
    let means = suite_rows(report, engines);
    if means.len() > 1 {
        let _ = write!(
            s,
            "<figure><figcaption>Suites, geometric means</figcaption>{}</figure>",
            svg::ratio_rows(&means, "Suites")
        );
    }
    for suite in report.suites() {
        let rows: Vec<Row> = report
            .benchmarks
            .iter()
            .filter(|b| b.name.suite == suite && b.name.point.is_none())
            .map(|b| ratio_row(b, first, others))
            .filter(|row| !row.marks.is_empty())
            .collect();
        if !rows.is_empty() {
            let _ = write!(
                s,
                "<figure><figcaption>{0}</figcaption>{1}</figure>",
                escape(suite),
                svg::ratio_rows(&rows, suite)
            );
        }
    }
    s + "</section>"
}

fn ratio_row(b: &Benchmark, first: &EngineRecord, others: &[&EngineRecord]) -> Row {
    let mark = |(i, e): (usize, &&EngineRecord)| {
        let e = stats::estimate(&b.results.get(&e.name)?.ratios_to(b.results.get(&first.name)?))?;
        Some(Mark { series: i + 1, value: e.median, low: e.low, high: e.high })
    };
    Row { label: b.name.benchmark.clone(), marks: others.iter().enumerate().filter_map(mark).collect() }
}

/// Benchmarks with points: memory by size, scaling by harts.
fn curves(report: &Report, engines: &[&EngineRecord]) -> String {
    let mut curves: Vec<(&str, &str, Vec<&Benchmark>)> = Vec::new();
    for b in report.benchmarks.iter().filter(|b| b.name.point.is_some()) {
        match curves.iter_mut().find(|(suite, name, _)| (*suite, *name) == (&b.name.suite, &b.name.benchmark)) {
            Some((.., points)) => points.push(b),
            None => curves.push((&b.name.suite, &b.name.benchmark, vec![b])),
        }
    }
    let mut s = String::new();
    for (suite, name, mut points) in curves {
        points.sort_by_key(|b| b.name.point);
        let scaling = suite == "smp";
        let of = |e: &EngineRecord| -> Vec<(f64, f64)> {
            let value = |b: &&Benchmark| {
                let time = stats::median(&b.results.get(&e.name)?.times())?;
                Some((b.name.point? as f64, time))
            };
            let times: Vec<_> = points.iter().filter_map(value).collect();
            match (scaling, times.first().copied()) {
                // As many times the work of one hart in a second.
                (true, Some((_, one))) => times.iter().map(|&(x, time)| (x, one / time)).collect(),
                _ => times.iter().map(|&(x, time)| (x, shown(&points[0].unit, time))).collect(),
            }
        };
        let series: Vec<Series> =
            engines.iter().enumerate().map(|(series, e)| Series { series, points: of(e) }).collect();
        if series.iter().all(|s| s.points.len() < 2) {
            continue;
        }
        let unit = &points[0].unit;
        let show_y = |v: f64| if scaling { digits(v) } else { scale(unit).show(unshown(unit, v)) };
        let y = Axis { log: !scaling, name: if scaling { "times one hart" } else { "" }, show: &show_y };
        let x = Axis { log: !scaling, name: &points[0].axis, show: &|v| point(v as u64) };
        let _ = write!(
            s,
            "<figure><figcaption>{}/{}: {}</figcaption>{}</figure>",
            escape(suite),
            escape(name),
            escape(&points[0].what),
            svg::lines(&series, &x, &y, name)
        );
    }
    if s.is_empty() { s } else { format!("<section><h2>Curves</h2>{}{s}</section>", legend(engines)) }
}

/// What an axis has: a rate grows upwards.
fn shown(unit: &str, ns: f64) -> f64 {
    if scale(unit) == Scale::Time { ns } else { 1.0 / ns }
}

fn unshown(unit: &str, value: f64) -> f64 {
    if scale(unit) == Scale::Time { value } else { 1.0 / value }
}

/// Exits a second of each suite, by kind.
fn exits(report: &Report, engines: &[&EngineRecord]) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    let mut rows: Vec<(String, BTreeMap<&str, f64>)> = Vec::new();
    for suite in report.suites() {
        for e in engines {
            let runs: Vec<_> = report
                .processes
                .iter()
                .filter(|p| p.suite == suite && p.engine == e.name && !p.exits.is_empty())
                .collect();
            let seconds: f64 = runs.iter().map(|p| p.wall_ns as f64 / 1e9).sum();
            let mut row: BTreeMap<&str, f64> = BTreeMap::new();
            for (kind, count) in runs.iter().flat_map(|p| &p.exits) {
                *row.entry(kind).or_default() += *count as f64 / seconds;
            }
            for kind in row.keys() {
                if !kinds.contains(kind) {
                    kinds.push(kind);
                }
            }
            if !row.is_empty() {
                rows.push((format!("{suite}, {}", e.name), row));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let stacks: Vec<_> = rows
        .into_iter()
        .map(|(label, row)| {
            (label, kinds.iter().map(|k| ((*k).to_owned(), row.get(k).copied().unwrap_or(0.0))).collect::<Vec<_>>())
        })
        .collect();
    let mut s = "<section><h2>Exits a second, by kind</h2><ul class='legend'>".to_owned();
    for (i, kind) in kinds.iter().enumerate() {
        let _ = write!(
            s,
            "<li><svg viewBox='0 0 10 10' aria-hidden='true'><rect class='s{i}' width='10' height='10'/></svg> {}</li>",
            escape(kind)
        );
    }
    let _ = write!(s, "</ul><figure>{}</figure></section>", svg::stacks(&stacks, "Exits a second", &|v| digits(v)));
    s + &exits_a_request(report, engines, &kinds)
}

/// The same for a request of a device.
fn exits_a_request(report: &Report, engines: &[&EngineRecord], kinds: &[&str]) -> String {
    let mut rows = Vec::new();
    for b in report.benchmarks.iter().filter(|b| b.unit == "request") {
        for e in engines {
            let Some(outcome) = b.results.get(&e.name).filter(|o| !o.exits.is_empty()) else { continue };
            let part = |kind: &&str| ((*kind).to_owned(), outcome.exits.get(*kind).copied().unwrap_or(0.0));
            rows.push((format!("{}, {}", b.name.benchmark, e.name), kinds.iter().map(part).collect::<Vec<_>>()));
        }
    }
    match rows.is_empty() {
        true => String::new(),
        false => format!(
            "<section><h2>Exits a request</h2><figure>{}</figure></section>",
            svg::stacks(&rows, "Exits a request", &|v| digits(v))
        ),
    }
}

fn method(report: &Report, engines: &[&EngineRecord]) -> String {
    let mut s =
        "<section><h2>How it was measured</h2><p>Every run is a process of its own; engines take turns, and ratios \
         are of runs of the same turn. Times are the host's clock between two lines of the guest.</p><dl>"
            .to_owned();
    let _ = write!(s, "<dt>vireo bench</dt><dd><code>{}</code></dd>", escape(&report.settings.arguments.join(" ")));
    for e in engines {
        let _ = write!(s, "<dt>{}</dt><dd><code>{}</code></dd>", escape(&e.name), escape(&e.command.join(" ")));
        if !e.isa.is_empty() {
            let _ = write!(s, "<dd class='isa'>{}</dd>", escape(&e.isa));
        }
    }
    s + "</dl></section>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_page_stands_alone() {
        let page = page(&testing::report(1.0));
        assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
        for part in ["http://", "https://", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(part), "the page has {part}");
        }
        assert!(page.contains("A &lt;CPU&gt;") && !page.contains("A <CPU>"));
        assert!(page.contains("what &lt;it&gt; does &amp; more"));
        for part in ["Times tcg's time", "Curves", "Exits a second", "polyline", "prefers-color-scheme", "not measured"]
        {
            assert!(page.contains(part), "the page lacks {part}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn a_picture_stands_alone() {
        let picture = picture(&testing::report(1.0));
        assert!(picture.starts_with("<svg xmlns='http://www.w3.org/2000/svg'") && picture.ends_with("</svg>"));
        assert!(picture.contains("class='ground'") && picture.contains("--c1:") && picture.contains(">memory<"));
    }

    #[test]
    fn there_are_colours_for_all_kinds_of_exits() {
        // The translator has eight kinds, and KVM seven.
        for i in 0..15 {
            assert!(STYLE.contains(&format!(".s{i} {{ fill: var(--c{i}); }}")), "s{i}");
            assert_eq!(STYLE.matches(&format!("--c{i}: ")).count(), 2, "c{i}, on light and on dark ground");
        }
    }

    #[test]
    fn tags_are_closed() {
        let page = page(&testing::failed_report());
        for tag in ["svg", "section", "figure", "ul", "dl", "main", "pre", "text", "li"] {
            let (open, close) = (page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count());
            // `<line` starts as `<li` does.
            let open = if tag == "li" { open - page.matches("<line").count() } else { open };
            assert_eq!(open, close, "{tag}");
        }
        assert!(page.contains("wrong results"));
    }
}
