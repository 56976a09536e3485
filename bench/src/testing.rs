//! A made-up result for the tests of reports.

use std::collections::BTreeMap;

use crate::engine::{Family, Missing};
use crate::protocol::Name;
use crate::result::{Benchmark, EngineRecord, Host, Outcome, Process, Report, SCHEMA, Sample, Settings};

/// `run` and the time of a unit, `ns`.
fn sample(run: usize, ns: f64) -> Sample {
    let host_ns = (ns * 1e6) as u64;
    Sample { run, n: 1_000_000, host_ns, guest_ns: host_ns, cpu_ns: Some(host_ns / 2) }
}

fn outcome(times: &[f64]) -> Outcome {
    let samples = times.iter().enumerate().map(|(run, &ns)| sample(run, ns)).collect();
    Outcome { samples, ..Outcome::default() }
}

fn benchmark(name: &str, unit: &str, results: &[(&str, Outcome)]) -> Benchmark {
    let name = Name::parse(name).unwrap();
    let results = results.iter().map(|(engine, o)| ((*engine).to_owned(), o.clone())).collect();
    let axis = name.point.map_or("", |_| "bytes").to_owned();
    Benchmark { name, unit: unit.to_owned(), axis, what: "what <it> does & more".to_owned(), results }
}

fn engine(name: &str, family: Family, again: Option<&str>) -> EngineRecord {
    EngineRecord {
        name: name.to_owned(),
        family,
        accel: "tcg".to_owned(),
        program: format!("/usr/bin/{name}"),
        version: "version 1.0".to_owned(),
        command: vec![name.to_owned(), "-M".to_owned(), "virt".to_owned()],
        isa: "rv64gc".to_owned(),
        again: again.map(str::to_owned),
    }
}

/// Two engines, one of them twice; qemu takes twice vireo's time, and `factor` times that in `cpu/sort`.
pub fn report(factor: f64) -> Report {
    let (ours, again) = ([10.0, 10.1, 9.9, 10.0, 10.05], [10.0, 10.2, 9.8, 10.1, 10.0]);
    let theirs = ours.map(|t| t * 2.0);
    let curve = |at: u64, ns: f64| {
        let both = [("tcg", outcome(&[ns; 5])), ("qemu-tcg", outcome(&[ns * 1.5; 5]))];
        benchmark(&format!("memory/latency@{at}"), "op", &both)
    };
    let skipped = Outcome { skipped: Some("the harts have no V".to_owned()), ..Outcome::default() };
    let exiting = Outcome { exits: BTreeMap::from([("mmio".to_owned(), 4.0)]), ..outcome(&ours) };
    let benchmarks = vec![
        benchmark(
            "cpu/sort",
            "op",
            &[
                ("tcg", outcome(&ours)),
                ("tcg again", outcome(&again)),
                ("qemu-tcg", outcome(&theirs.map(|t| t * factor))),
            ],
        ),
        benchmark(
            "cpu/crc",
            "byte",
            &[("tcg", outcome(&ours)), ("tcg again", outcome(&again)), ("qemu-tcg", outcome(&theirs))],
        ),
        benchmark("cpu/none", "op", &[("tcg", skipped.clone()), ("qemu-tcg", skipped)]),
        benchmark("io/blk-read", "request", &[("tcg", exiting)]),
        curve(4096, 1.0),
        curve(65536, 4.0),
        curve(1 << 20, 16.0),
    ];
    let exits = BTreeMap::from([("mmio_reads".to_owned(), 300u64), ("sbi".to_owned(), 100)]);
    let process = Process {
        engine: "tcg".to_owned(),
        suite: "cpu".to_owned(),
        run: 0,
        wall_ns: 2_000_000_000,
        cpu_ns: 1_900_000_000,
        peak_rss_kib: 60_000,
        exits,
    };
    Report {
        schema: SCHEMA.to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        complete: true,
        host: Host { cpu: "A <CPU>".to_owned(), cpus: 2, kernel: "Linux 6.1".to_owned(), ..Host::default() },
        settings: Settings {
            arguments: vec!["--suite".to_owned(), "cpu,memory".to_owned()],
            suites: vec!["cpu".to_owned(), "memory".to_owned(), "io".to_owned()],
            runs: 5,
            warmup: 1,
            harts: 1,
            min_ms: 50,
            pin: Vec::new(),
        },
        engines: vec![
            engine("tcg", Family::Vireo, None),
            engine("qemu-tcg", Family::Qemu, None),
            engine("tcg again", Family::Vireo, Some("tcg")),
        ],
        missing: vec![Missing { name: "kvm".to_owned(), reason: "the host is x86_64".to_owned() }],
        benchmarks,
        native: BTreeMap::new(),
        processes: vec![process],
    }
}

/// The same with a wrong result.
pub fn failed_report() -> Report {
    let mut report = report(1.0);
    let outcome = report.benchmarks[0].results.get_mut("qemu-tcg").unwrap();
    outcome.failed = Some("got 0x1, want 0x2".to_owned());
    report
}
