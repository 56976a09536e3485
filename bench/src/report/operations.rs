//! Single operations: what engines take, what the host itself takes for the like, and the budget. A table in Markdown.

use std::fmt::Write;

use super::units::digits;
use crate::result::Report;
use crate::stats;

/// A row of the table.
pub struct Operation {
    pub what: &'static str,
    /// Of the suite `micro`, with the point behind it where it is a curve's. Several stand in one cell.
    pub benchmarks: &'static [&'static str],
    /// What the translator may take, in nanoseconds.
    budget: Option<f64>,
    /// What the host does instead, where its name says more than the operation's.
    native: &'static str,
}

const fn row(
    what: &'static str,
    benchmarks: &'static [&'static str],
    budget: Option<f64>,
    native: &'static str,
) -> Operation {
    Operation { what, benchmarks, budget, native }
}

/// The rows, in their order.
pub const OPERATIONS: &[Operation] = &[
    row("Dependent `add`, `mul`, `div`", &["add", "mul", "div"], None, ""),
    row("Load, store", &["load", "store"], None, ""),
    row("`fadd.d`", &["fadd"], Some(0.8), "`addsd`"),
    row("`fmadd.d`", &["fmadd"], None, "`vfmadd213sd`"),
    row("`vle32.v`, `vse32.v`, a register", &["vector-load", "vector-store"], Some(2.0), "256 bits"),
    row("`vfmacc.vv`, a register", &["vector-fma"], Some(2.0), "256 bits"),
    row("Read, write of a CSR", &["csr-read", "csr-write"], Some(5.0), ""),
    row("`rdtime`", &["rdtime"], Some(5.0), "`rdtsc`"),
    row("Trap and return in S-mode", &["trap"], Some(40.0), ""),
    row("`ecall` of U-mode and return", &["user-ecall"], Some(40.0), "`syscall`"),
    row("SBI call", &["sbi-call"], None, ""),
    row("MMIO read", &["mmio-read"], None, ""),
    row("`sfence.vma` of a page", &["sfence-page-alone"], Some(30.0), ""),
    row("The same, and a load from the page", &["sfence-page"], None, ""),
    row("`sfence.vma` of all", &["sfence-all"], Some(150.0), ""),
    row("Change of `satp`", &["satp-switch"], None, ""),
    row("TLB refill, of 4096, 32768 pages", &["tlb@4096", "tlb@32768"], Some(40.0), "page walk"),
    row("Call and return", &["call-return"], Some(3.0), "`call`, `ret`"),
    row("Jump to another page", &["jump-cross-page"], Some(1.0), "`jmp`"),
    row("`fence rw,rw` behind a store", &["fence-rw-rw"], None, "`mfence`"),
    row("Other fences: `w,w`, `r,rw`", &["fence-w-w", "fence-r-rw"], Some(1.0), "`sfence`, `lfence`"),
    row("`fence.i`", &["fence-i"], None, ""),
    row("AMO, `lr` and `sc`", &["amo", "lr-sc"], None, "`lock add`, `lock cmpxchg`"),
    row("Translation of an instruction", &["fresh-code"], Some(200.0), ""),
];

/// The table, in nanoseconds. Empty if nothing of it was measured.
pub fn markdown(report: &Report) -> String {
    let engines = report.shown();
    let median = |engine: &str, benchmark: &str| {
        let (name, point) = match benchmark.split_once('@') {
            Some((name, point)) => (name, point.parse().ok()),
            None => (benchmark, None),
        };
        let is = |b: &&crate::result::Benchmark| {
            b.name.suite == "micro" && b.name.benchmark == name && b.name.point == point
        };
        stats::median(&report.benchmarks.iter().find(is)?.results.get(engine)?.times())
    };
    // What is none in all of a row's benchmarks is one dash.
    let cell = |times: Vec<Option<f64>>| match times.iter().all(Option::is_none) {
        true => "-".to_owned(),
        false => times.iter().map(|t| t.map_or_else(|| "-".to_owned(), digits)).collect::<Vec<_>>().join(", "),
    };
    let mut rows = String::new();
    for o in OPERATIONS {
        let of = |engine: &str| cell(o.benchmarks.iter().map(|b| median(engine, b)).collect());
        let cells: Vec<String> = engines.iter().map(|e| of(&e.name)).collect();
        if cells.iter().all(|c| c == "-") {
            continue;
        }
        let native = cell(o.benchmarks.iter().map(|b| report.native.get(*b).copied()).collect());
        let native = if native == "-" || o.native.is_empty() { native } else { format!("{native} ({})", o.native) };
        let budget = o.budget.map_or_else(|| "-".to_owned(), |ns| ns.to_string());
        let _ = writeln!(rows, "| {} | {} | {budget} | {native} |", o.what, cells.join(" | "));
    }
    if rows.is_empty() {
        return rows;
    }
    let names: Vec<&str> = engines.iter().map(|e| e.name.as_str()).collect();
    let aligned = "---:|".repeat(engines.len() + 2);
    format!("| Operation, ns | {} | budget | native |\n|---|{aligned}\n{rows}", names.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Name;
    use crate::testing;

    #[test]
    fn rows_have_what_was_measured() {
        let mut report = testing::report(1.0);
        assert_eq!(markdown(&report), "");
        report.benchmarks[0].name = Name::parse("micro/csr-read").unwrap();
        report.benchmarks[1].name = Name::parse("micro/user-ecall").unwrap();
        report.native.insert("user-ecall".to_owned(), 51.26);
        let table = markdown(&report);
        let line = |part: &str| table.lines().find(|l| l.contains(part)).unwrap_or_else(|| panic!("{part}: {table}"));
        assert_eq!(line("CSR"), "| Read, write of a CSR | 10.0, - | 20.0, - | 5 | - |");
        assert_eq!(line("U-mode"), "| `ecall` of U-mode and return | 10.0 | 20.0 | 40 | 51.3 (`syscall`) |");
        assert_eq!(table.lines().count(), 4, "{table}");
        let columns = |l: &str| l.matches('|').count();
        assert!(table.lines().all(|l| columns(l) == 6), "{table}");
    }

    #[test]
    fn every_benchmark_is_of_the_guest() {
        let guest = include_str!("../../../firmware/guests/bench/src/micro/mod.rs");
        for benchmark in OPERATIONS.iter().flat_map(|o| o.benchmarks) {
            let name = benchmark.split('@').next().unwrap_or_default();
            assert!(guest.contains(&format!("\"{name}\"")), "the guest has no {name}");
        }
    }
}
