//! The order of runs: a warm-up, then rounds in which every suite runs once on every engine, one after the other. Who
//! is first changes from round to round, lest one always finds the warmer machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::engine::{Board, Disk, Engine, Missing};
use crate::linux::Linux;
use crate::protocol::Name;
use crate::result::{Benchmark, EngineRecord, Process, Report, SCHEMA, Sample, Settings};
use crate::run::{self, Job};
use crate::{BenchError, host, native};

/// The suites of the guest, in the order that reports have. `boot` is this side's: a guest that does nothing.
pub const SUITES: [&str; 9] = ["boot", "micro", "cpu", "fp", "vector", "memory", "system", "io", "smp"];

/// The suite that `--guest linux` adds.
pub const LINUX: &str = "linux";

/// Guest RAM: the largest working sets need half of it.
const MEMORY_MIB: u32 = 1024;

/// The first sector of the disk that the guest may write to begins so.
const DISK_MAGIC: &[u8] = b"VIREOBENCHDISK1\0";
const DISK_BYTES: u64 = 64 << 20;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub engines: Vec<Engine>,
    pub missing: Vec<Missing>,
    /// Only benchmarks with this in their name.
    pub only: Option<String>,
    /// The first engine runs twice a round: what differs between both is the machine's noise.
    pub noise: bool,
    /// A guest that says nothing for so long hangs.
    pub silence: Duration,
    /// More words for the guest's command line.
    pub append: String,
    /// The guest of the suite `linux`.
    pub linux: Option<Linux>,
}

/// What a session tells while it works.
pub trait Watch {
    /// `done` of `all` processes have ended; the next is this.
    fn step(&self, done: usize, all: usize, what: &str);
    fn benchmark(&self, name: &str);
    /// Something that the user should know of.
    fn tell(&self, line: &str);
}

/// An engine's place in a round.
struct Seat<'a> {
    name: String,
    engine: &'a Engine,
}

/// Runs the plan. Ctrl-C (`stop`) ends it early with what is done.
pub fn measure(plan: &Plan, watch: &dyn Watch, stop: &AtomicBool) -> Result<Report, BenchError> {
    let scratch = tempfile::tempdir().map_err(|source| BenchError::Host { doing: "make a directory", source })?;
    let kernel = scratch.path().join("guest");
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|source| BenchError::File { doing: "write", path: path.to_owned(), source })
    };
    write(&kernel, firmware::bench::BENCH)?;

    let mut seats: Vec<Seat> = plan.engines.iter().map(|e| Seat { name: e.name.clone(), engine: e }).collect();
    if plan.noise
        && let Some(first) = plan.engines.first()
    {
        seats.push(Seat { name: format!("{} again", first.name), engine: first });
    }
    let mut report = empty(plan, &seats);
    let only = plan.only.as_deref();
    let mut suites = plan.settings.suites.clone();
    suites.retain(|s| s != "boot" || boots(s).iter().any(|(name, _)| is_wanted(only, name)));
    // Only the guest knows its names: a text that is in none of them shows when every suite has run once.
    let mut named = only.is_none();
    let rounds = plan.settings.warmup + plan.settings.runs;
    let all = suites.len() * seats.len() * rounds;
    let mut done = 0;
    'runs: for round in 0..rounds {
        for (nth, suite) in suites.iter().enumerate() {
            for turn in 0..seats.len() {
                let seat = &seats[(turn + round + nth) % seats.len()];
                let run = round.checked_sub(plan.settings.warmup);
                let which = match run {
                    None => "warm-up".to_owned(),
                    Some(run) => format!("run {}/{}", run + 1, plan.settings.runs),
                };
                watch.step(done, all, &format!("{which}: {suite} on {}", seat.name));
                let board = board(plan, suite, &kernel, scratch.path())?;
                let watcher = |name: &str| watch.benchmark(name);
                let job = Job {
                    engine: seat.engine,
                    board: &board,
                    pin: &plan.settings.pin,
                    scratch: scratch.path(),
                    silence: plan.silence,
                    stop,
                    watch: &watcher,
                };
                let outcome = match run::run(&job) {
                    Ok(Some(outcome)) => outcome,
                    Ok(None) => break 'runs,
                    Err(e) if report.processes.is_empty() => return Err(e),
                    // What was measured before is kept; such a run counts as one that came to no good end.
                    Err(e) => run::Outcome { broken: Some(e.to_string()), ..run::Outcome::default() },
                };
                done += 1;
                if let Some(why) = &outcome.broken {
                    watch.tell(&format!("{} in {suite}: {why}", seat.name));
                }
                named |= outcome.says_something() || boots(suite).iter().any(|(name, _)| is_wanted(only, name));
                take(&mut report, only, &seat.name, suite, run, outcome);
            }
        }
        if let (Some(only), false) = (only, named) {
            let suites = plan.settings.suites.join(", ");
            return Err(BenchError::NothingNamed { only: only.to_owned(), suites });
        }
    }
    if done == all && suites.iter().any(|s| s == "io") {
        for engine in &plan.engines {
            count_exits(plan, engine, &kernel, scratch.path(), &mut report, watch, stop)?;
        }
    }
    if done == all && suites.iter().any(|s| s == "micro") && plan.only.is_none() {
        watch.tell("the host's own operations");
        report.native = native::measure(Duration::from_millis(plan.settings.min_ms));
    }
    report.complete = done == all && !stop.load(Ordering::SeqCst);
    // The guest's order within a suite stays.
    report.benchmarks.sort_by_key(|b| suite_order(&b.name.suite));
    Ok(report)
}

/// Exits of each benchmark of `io`, where the engine tells of exits: a process each, less one that does nothing.
fn count_exits(
    plan: &Plan,
    engine: &Engine,
    kernel: &Path,
    scratch: &Path,
    report: &mut Report,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> Result<(), BenchError> {
    let measured = |b: &&Benchmark| {
        b.name.suite == "io" && b.results.get(&engine.name).is_some_and(|o| !o.samples.is_empty() && o.failed.is_none())
    };
    let names: Vec<Name> = report.benchmarks.iter().filter(measured).map(|b| b.name.clone()).collect();
    let mut idle = BTreeMap::new();
    // No name is a dash alone.
    for only in std::iter::once(None).chain(names.iter().map(Some)) {
        let text = only.map_or_else(|| "-".to_owned(), Name::to_string);
        let mut board = board(plan, "io", kernel, scratch)?;
        board.append = format!("suites=io min_ms={} exactly={text} {}", plan.settings.min_ms, plan.append);
        watch.benchmark(&format!("exits of {text}"));
        let pin = &plan.settings.pin;
        let job = Job { engine, board: &board, pin, scratch, silence: plan.silence, stop, watch: &|_| () };
        let Some(outcome) = run::run(&job)? else { return Ok(()) };
        if let Some(why) = &outcome.broken {
            watch.tell(&format!("{} in io, when its exits were counted: {why}", engine.name));
        }
        let Some(name) = only else {
            idle = outcome.exits;
            if idle.is_empty() {
                return Ok(());
            }
            continue;
        };
        let total: u64 = outcome.rounds.iter().map(|r| r.total).sum();
        if total > 0 {
            let above = |(kind, n): (&String, &u64)| {
                let n = n.saturating_sub(idle.get(kind).copied().unwrap_or(0));
                (kind.clone(), n as f64 / total as f64)
            };
            result(report, name, &engine.name).exits = outcome.exits.iter().map(above).collect();
        }
    }
    Ok(())
}

/// What is measured of a start besides what the guest says: of the suite `boot`, names and what they are.
fn boots(suite: &str) -> &'static [(&'static str, &'static str)] {
    match suite {
        "boot" => &[
            (FIRST, "start of the process to the guest's first instruction"),
            ("guest-up", "start of the process to the guest's first line, with all harts up"),
        ],
        LINUX => &[("linux-init", "start of the process to the first command of Linux's user space")],
        _ => &[],
    }
}

/// Of the suite `boot`, the only one that begins before the guest speaks.
const FIRST: &str = "first-instruction";

/// Whether `--only` wants this of the suite `boot`.
fn is_wanted(only: Option<&str>, benchmark: &str) -> bool {
    only.is_none_or(|only| format!("boot/{benchmark}").contains(only))
}

fn suite_order(suite: &str) -> usize {
    SUITES.iter().position(|s| *s == suite).unwrap_or(SUITES.len())
}

fn empty(plan: &Plan, seats: &[Seat]) -> Report {
    let engines = seats.iter().map(|seat| EngineRecord {
        name: seat.name.clone(),
        family: seat.engine.family,
        accel: seat.engine.accel.clone(),
        program: seat.engine.program.display().to_string(),
        version: seat.engine.version.clone(),
        command: Vec::new(),
        isa: String::new(),
        again: (seat.name != seat.engine.name).then(|| seat.engine.name.clone()),
    });
    Report {
        schema: SCHEMA.to_owned(),
        created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        complete: false,
        host: host::look(),
        settings: plan.settings.clone(),
        engines: engines.collect(),
        missing: plan.missing.clone(),
        benchmarks: Vec::new(),
        native: BTreeMap::new(),
        processes: Vec::new(),
    }
}

/// The machine for a suite.
fn board(plan: &Plan, suite: &str, kernel: &Path, scratch: &Path) -> Result<Board, BenchError> {
    let mut board = Board {
        harts: plan.settings.harts,
        memory_mib: MEMORY_MIB,
        kernel: kernel.to_owned(),
        initrd: None,
        append: String::new(),
        disks: Vec::new(),
        net: suite == "io",
        vector: ["vector", "micro"].contains(&suite),
    };
    if let (LINUX, Some(linux)) = (suite, &plan.linux) {
        linux.put_into(&mut board, plan.only.as_deref(), scratch)?;
    } else {
        if suite == "io" {
            let path = scratch.join("disk");
            let fail = |source| BenchError::File { doing: "write", path: path.clone(), source };
            std::fs::write(&path, DISK_MAGIC).map_err(fail)?;
            std::fs::File::options().write(true).open(&path).and_then(|f| f.set_len(DISK_BYTES)).map_err(fail)?;
            board.disks.push(Disk { path, options: "" });
        }
        // A boot is measured with the least that a guest can do.
        let suites = if suite == "boot" { "none" } else { suite };
        board.append = format!("suites={suites} min_ms={}", plan.settings.min_ms);
        if let Some(only) = &plan.only {
            board.append += &format!(" only={only}");
        }
    }
    if !plan.append.is_empty() {
        board.append += &format!(" {}", plan.append);
    }
    Ok(board)
}

/// Adds what a process gave. Of a warm-up (`run` is none) only failures count.
fn take(report: &mut Report, only: Option<&str>, engine: &str, suite: &str, run: Option<usize>, outcome: run::Outcome) {
    let timebase = outcome.guest.as_ref().map_or(1, |g| g.timebase);
    if let Some(record) = report.engines.iter_mut().find(|e| e.name == engine) {
        record.command.clone_from(&outcome.command);
        if let Some(guest) = &outcome.guest {
            record.isa.clone_from(&guest.isa);
        }
    }
    for (name, reason) in &outcome.skipped {
        result(report, name, engine).skipped = Some(reason.clone());
    }
    for (name, reason) in &outcome.failed {
        result(report, name, engine).failed = Some(reason.clone());
    }
    if let Some(why) = &outcome.broken {
        let name = Name { suite: suite.to_owned(), benchmark: "whole".to_owned(), point: None };
        let benchmark = entry(report, &name);
        benchmark.what = "the run of the suite itself".to_owned();
        result(report, &name, engine).failed = Some(why.clone());
    }
    let Some(run) = run else { return };
    for round in &outcome.rounds {
        let guest_ns = (u128::from(round.guest_ticks) * 1_000_000_000 / u128::from(timebase)) as u64;
        let cpu_ns = round.cpu.map(|cpu| cpu.as_nanos() as u64);
        let sample = Sample { run, n: round.n, host_ns: round.host.as_nanos() as u64, guest_ns, cpu_ns };
        result(report, &round.name, engine).samples.push(sample);
    }
    for name in &outcome.missed {
        result(report, name, engine).missed += 1;
    }
    for &(benchmark, what) in boots(suite).iter().filter(|(name, _)| is_wanted(only, name)) {
        let Some(time) = (if benchmark == FIRST { outcome.to_boot } else { outcome.to_guest }) else { continue };
        let name = Name { suite: "boot".to_owned(), benchmark: benchmark.to_owned(), point: None };
        let benchmark = entry(report, &name);
        (benchmark.unit, benchmark.what) = ("start".to_owned(), what.to_owned());
        let ns = time.as_nanos() as u64;
        result(report, &name, engine).samples.push(Sample { run, n: 1, host_ns: ns, guest_ns: ns, cpu_ns: None });
    }
    // A curve is described once, and its points are what has results.
    for (name, [unit, axis, what]) in &outcome.descriptions {
        let same = |b: &&mut Benchmark| (&b.name.suite, &b.name.benchmark) == (&name.suite, &name.benchmark);
        for benchmark in report.benchmarks.iter_mut().filter(same) {
            (benchmark.unit, benchmark.axis, benchmark.what) = (unit.clone(), axis.clone(), what.clone());
        }
    }
    report.processes.push(Process {
        engine: engine.to_owned(),
        suite: suite.to_owned(),
        run,
        wall_ns: outcome.wall.as_nanos() as u64,
        cpu_ns: outcome.cpu.as_nanos() as u64,
        peak_rss_kib: outcome.peak_rss_kib,
        exits: outcome.exits,
    });
}

fn entry<'a>(report: &'a mut Report, name: &Name) -> &'a mut Benchmark {
    let at = report.benchmarks.iter().position(|b| b.name == *name).unwrap_or_else(|| {
        let (unit, axis, what) = Default::default();
        report.benchmarks.push(Benchmark { name: name.clone(), unit, axis, what, results: BTreeMap::new() });
        report.benchmarks.len() - 1
    });
    &mut report.benchmarks[at]
}

fn result<'a>(report: &'a mut Report, name: &Name, engine: &str) -> &'a mut crate::result::Outcome {
    entry(report, name).results.entry(engine.to_owned()).or_default()
}
