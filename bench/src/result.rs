//! A result, as `--json` writes it and `--compare` reads it. `SCHEMA.md` documents the fields.
//!
//! Samples are kept whole: medians, intervals and ratios are worked out from them when they are shown.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::engine::{Family, Missing};
use crate::protocol::Name;

/// The version of the format; a reader refuses any other.
pub const SCHEMA: &str = "vireo-bench/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// Every run that was asked for is in it; false after Ctrl-C.
    pub complete: bool,
    pub host: Host,
    pub settings: Settings,
    pub engines: Vec<EngineRecord>,
    pub missing: Vec<Missing>,
    pub benchmarks: Vec<Benchmark>,
    /// What the host itself takes for an operation of the suite `micro`, in nanoseconds, where it has the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub native: BTreeMap<String, f64>,
    /// Whole processes, one a run, engine and suite.
    pub processes: Vec<Process>,
}

/// The machine that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub arch: String,
    pub cpu: String,
    pub cpus: usize,
    pub kernel: String,
    pub memory_mib: u64,
    /// Load average (1 minute) when it began: others' work.
    pub load: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The words behind `vireo bench`.
    pub arguments: Vec<String>,
    pub suites: Vec<String>,
    /// Runs that count.
    pub runs: usize,
    /// Runs before them that do not; there was one before results said so.
    #[serde(default = "one")]
    pub warmup: usize,
    pub harts: u32,
    /// Length of a timed round by the guest's clock.
    pub min_ms: u64,
    /// Host CPUs of the vCPU threads, by hart; empty: not pinned.
    pub pin: Vec<u32>,
}

fn one() -> usize {
    1
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineRecord {
    pub name: String,
    pub family: Family,
    pub accel: String,
    pub program: String,
    pub version: String,
    /// The command line of its last run.
    pub command: Vec<String>,
    /// The ISA that the guest saw.
    pub isa: String,
    /// It is the same engine as this one, measured again: ratios between both show the noise of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    pub name: Name,
    /// What `n` counts: op, byte, flop, request, s.
    pub unit: String,
    /// What the point of a curve is, such as bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub axis: String,
    /// One line on what is done.
    pub what: String,
    /// By the engine's name.
    pub results: BTreeMap<String, Outcome>,
}

/// A benchmark on an engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub samples: Vec<Sample>,
    /// Rounds that the measuring side was too late for.
    #[serde(default)]
    pub missed: u32,
    /// Exits of all vCPUs a unit, by kind, without those of a guest that does nothing; where they were counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exits: BTreeMap<String, f64>,
    /// The guest had no ground for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// A wrong result, or none: no number of such a benchmark is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A timed round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From 0; samples of different engines with the same run are a pair.
    pub run: usize,
    /// Units done.
    pub n: u64,
    /// By the host's clock: the reference.
    pub host_ns: u64,
    /// By the guest's clock.
    pub guest_ns: u64,
    /// CPU time of all the process's threads, where the host says; there was none before results said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
}

impl Sample {
    /// Nanoseconds a unit by the host's clock.
    pub fn per_unit(&self) -> f64 {
        self.host_ns as f64 / self.n as f64
    }

    /// Nanoseconds of CPU time a unit.
    pub fn cpu_per_unit(&self) -> Option<f64> {
        Some(self.cpu_ns? as f64 / self.n as f64)
    }

    /// Whether the clocks agree: within 3 % and the 2 ms that the console may take.
    pub fn clocks_agree(&self) -> bool {
        self.host_ns.abs_diff(self.guest_ns) <= self.host_ns / 100 * 3 + 2_000_000
    }
}

/// A process of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub engine: String,
    pub suite: String,
    pub run: usize,
    /// From the start of the process to its end.
    pub wall_ns: u64,
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    pub peak_rss_kib: u64,
    /// Exits of all vCPUs by kind, where the engine counts them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exits: BTreeMap<String, u64>,
}

impl Outcome {
    /// Times a unit in nanoseconds, in the order of runs; none of a failed benchmark.
    pub fn times(&self) -> Vec<f64> {
        if self.failed.is_some() { Vec::new() } else { self.samples.iter().map(Sample::per_unit).collect() }
    }

    /// CPU times a unit in nanoseconds, in the order of runs; none of a failed benchmark.
    pub fn cpu_times(&self) -> Vec<f64> {
        if self.failed.is_some() { Vec::new() } else { self.samples.iter().filter_map(Sample::cpu_per_unit).collect() }
    }

    /// This outcome's times over the other's, run by run.
    pub fn ratios_to(&self, other: &Self) -> Vec<f64> {
        self.paired(other, |s| Some(s.per_unit()))
    }

    /// The same of CPU times.
    pub fn cpu_ratios_to(&self, other: &Self) -> Vec<f64> {
        self.paired(other, Sample::cpu_per_unit)
    }

    fn paired(&self, other: &Self, time: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        if self.failed.is_some() || other.failed.is_some() {
            return Vec::new();
        }
        let of = |run| other.samples.iter().find(|s: &&Sample| s.run == run);
        let pairs = self.samples.iter().filter_map(|s| Some((time(s)?, time(of(s.run)?)?)));
        crate::stats::ratios(pairs)
    }
}

impl Report {
    /// What `--json` writes.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain data");
        text.push('\n');
        text
    }

    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = std::fs::read_to_string(path).map_err(|source| BenchError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        })?;
        let bad = |why: String| BenchError::NoReport { path: path.to_owned(), why };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match value.get("schema").and_then(|s| s.as_str()) {
            Some(SCHEMA) => serde_json::from_value(value).map_err(|e| bad(e.to_string())),
            Some(other) => Err(bad(format!("its schema is '{other}', not '{SCHEMA}'"))),
            None => Err(bad(format!("it has no \"schema\": \"{SCHEMA}\""))),
        }
    }

    /// The suites to show: those that were asked for, and what came with them.
    pub fn suites(&self) -> Vec<&str> {
        let mut suites: Vec<&str> = self.benchmarks.iter().map(|b| b.name.suite.as_str()).collect();
        suites.extend(self.settings.suites.iter().map(String::as_str));
        let mut seen = std::collections::HashSet::new();
        suites.retain(|s| seen.insert(*s));
        suites
    }

    /// The engines to show, without second measurements of one for the noise.
    pub fn shown(&self) -> Vec<&EngineRecord> {
        self.engines.iter().filter(|e| e.again.is_none()).collect()
    }

    /// Every benchmark that some engine got wrong.
    pub fn failures(&self) -> impl Iterator<Item = (&Benchmark, &str, &str)> {
        self.benchmarks.iter().flat_map(|b| {
            b.results.iter().filter_map(move |(engine, o)| Some((b, engine.as_str(), o.failed.as_deref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let report = testing::report(1.0);
        std::fs::write(&path, report.json()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        // A field that came later.
        let older = std::fs::read_to_string(&path).unwrap().replace("\"warmup\"", "\"another\"");
        std::fs::write(&path, older).unwrap();
        assert_eq!(Report::read(&path).unwrap().settings.warmup, 1);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let error = Report::read(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            error
        };
        assert!(refused("not JSON").contains("no result of vireo bench"));
        assert!(refused("{}").contains("vireo-bench/1"));
        assert!(refused("{\"schema\": \"vireo-bench/9\"}").contains("'vireo-bench/9'"));
        assert!(refused("{\"schema\": \"vireo-bench/1\"}").contains("missing field"));
        assert!(Report::read(&dir.path().join("none")).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn the_schema_names_every_field() {
        let documented = include_str!("../SCHEMA.md");
        let value = serde_json::to_value(testing::failed_report()).unwrap();
        let mut fields = std::collections::BTreeSet::new();
        collect(&value, "", &mut fields);
        for field in fields {
            assert!(documented.contains(&format!("`{field}`")), "SCHEMA.md does not name `{field}`");
        }
    }

    /// Names of fields; the maps by engine and by kind of exit have names of their own.
    fn collect(value: &serde_json::Value, inside: &str, fields: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    if !["results", "exits"].contains(&inside) {
                        fields.insert(key.clone());
                    }
                    collect(value, if inside == "results" { "" } else { key }, fields);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, inside, fields)),
            _ => {}
        }
    }

    #[test]
    fn ratios_are_run_by_run() {
        let report = testing::report(3.0);
        let results = &report.benchmarks[0].results;
        let ratios = results["qemu-tcg"].ratios_to(&results["tcg"]);
        assert_eq!(ratios.len(), 5);
        assert!(ratios.iter().all(|r| (r - 6.0).abs() < 1e-6), "{ratios:?}");
        let failed = testing::failed_report();
        let results = &failed.benchmarks[0].results;
        assert!(results["qemu-tcg"].ratios_to(&results["tcg"]).is_empty());
    }

    #[test]
    fn clocks() {
        let sample = |host_ns, guest_ns| Sample { run: 0, n: 1, host_ns, guest_ns, cpu_ns: None };
        assert!(sample(100_000_000, 103_000_000).clocks_agree());
        assert!(!sample(100_000_000, 106_000_000).clocks_agree());
        assert!(!sample(100_000_000, 50_000_000).clocks_agree());
    }
}
