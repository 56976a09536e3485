//! The command line of `vireo bench`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::{self, Sources};
use crate::linux::Linux;
use crate::report::{compare, html, operations, table};
use crate::result::{Report, Settings};
use crate::session::{self, Plan, SUITES, Watch};
use crate::{BenchError, result};

/// Compares engines on one board, with the same guest, run by run.
#[derive(Debug, Parser)]
#[command(name = "vireo bench", version, arg_required_else_help = false)]
struct Args {
    /// Engines, by commas: tcg, kvm, interp, qemu, qemu-kvm. Ratios are to the first. An engine that cannot be used here is named with the reason
    #[arg(long, value_delimiter = ',', default_value = "tcg,kvm,qemu", value_name = "LIST")]
    engines: Vec<String>,
    /// Suites of the built-in guest, by commas: boot, micro, cpu, fp, vector, memory, system, io, smp, or all
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    suite: Vec<String>,
    /// linux: real programs in a Debian guest instead of the suites of the built-in one (with --suite: besides those)
    #[arg(long, value_name = "GUEST", value_parser = ["builtin", "linux"], default_value = "builtin")]
    guest: String,
    /// Where Image, initrd.gz and root.img of the Debian guest are; without it where `cargo kit fetch` puts them
    #[arg(long, value_name = "DIR")]
    linux_dir: Option<PathBuf>,
    /// Runs of every suite on every engine
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    /// Runs before those that do not count
    #[arg(long, default_value_t = 1, value_name = "N")]
    warmup: usize,
    /// Harts of the guest
    #[arg(long, default_value_t = 1, value_name = "N")]
    smp: u32,
    /// -cpu of the guest on every engine; without it rv64 (with vectors for their suite), and the host's harts under KVM; several are compared
    #[arg(long, value_name = "MODEL")]
    cpu: Vec<String>,
    /// Only benchmarks with this in their names
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Length of a timed round
    #[arg(long, default_value_t = 50, value_name = "MS")]
    min_ms: u64,
    /// A guest that says nothing for so long hangs, and its process is ended
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    silence: u64,
    /// QEMU's program, instead of the qemu-system-riscv64 on PATH; several are compared
    #[arg(long, value_name = "PATH")]
    qemu: Vec<PathBuf>,
    /// A build of vireo, instead of this one; several are compared
    #[arg(long, value_name = "PATH")]
    vireo: Vec<PathBuf>,
    /// Host CPUs for the threads of the harts: hart 0 on the first, and so on
    #[arg(long, value_delimiter = ',', value_name = "CPUS")]
    pin: Vec<u32>,
    /// Leave out the second measurement of the first engine that shows the machine's noise
    #[arg(long)]
    no_noise: bool,
    /// Write the result with all its samples
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the means of the suites as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure nothing: what changed from one result to another, and what is noise
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"])]
    compare: Option<Vec<PathBuf>>,
    /// Measure nothing: show this result again (with --html as a page, with --svg as a picture)
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    show: Option<PathBuf>,
    /// Print single operations (suite micro, which is measured alone without --suite) as a table in Markdown, with what the host itself takes
    #[arg(long)]
    operations: bool,
    /// More words for the guest's command line
    #[arg(long, default_value = "", value_name = "WORDS")]
    append: String,
}

/// `vireo bench` with the words behind it. Exit codes: 0; 1 for an error or a wrong result; 130 after Ctrl-C.
pub fn main(words: &[String]) -> ExitCode {
    let line = std::iter::once("vireo bench".to_owned()).chain(words.iter().cloned());
    let args = match Args::try_parse_from(line) {
        Ok(args) => args,
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            // One line, as everywhere in this program.
            let text = e.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            eprintln!("vireo bench: {line}");
            return ExitCode::FAILURE;
        }
    };
    match run(&args, words) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("vireo bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, words: &[String]) -> Result<ExitCode, BenchError> {
    if let Some(files) = &args.compare {
        let [a, b] = [Report::read(&files[0])?, Report::read(&files[1])?];
        print!("{}", compare::text(&a, &b));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.show {
        let report = Report::read(file)?;
        return show(args, &report);
    }
    let plan = plan(args, words)?;
    for missing in &plan.missing {
        eprintln!("vireo bench: {} is not measured: {}", missing.name, missing.reason);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| BenchError::Host { doing: "catch Ctrl-C", source })?;
    }
    let watch = Progress::new();
    let report = session::measure(&plan, &watch, &stop)?;
    watch.end();
    show(args, &report)
}

/// More than anybody waits for.
const RUNS_MAX: usize = 1_000_000;

fn plan(args: &Args, words: &[String]) -> Result<Plan, BenchError> {
    let bad = |text: String| Err(BenchError::Argument(text));
    if args.runs == 0 {
        return bad("--runs 0 measures nothing; give 1 or more".to_owned());
    }
    for (option, runs) in [("--runs", args.runs), ("--warmup", args.warmup)] {
        if runs > RUNS_MAX {
            return bad(format!("{option} {runs}: at most {RUNS_MAX}"));
        }
    }
    if args.smp == 0 || args.smp > 512 {
        return bad(format!("--smp {}: a machine has 1 to 512 harts", args.smp));
    }
    if args.min_ms == 0 || args.min_ms > 60_000 {
        return bad(format!("--min-ms {}: a timed round takes 1 to 60000 ms", args.min_ms));
    }
    if args.silence == 0 || args.silence > 86_400 {
        return bad(format!("--silence {}: 1 to 86400 seconds, which are a day", args.silence));
    }
    let cpus = host_cpus();
    if let Some(cpu) = args.pin.iter().find(|cpu| !cpus.contains(cpu)) {
        return bad(format!("--pin {cpu}: this process may use the CPUs {}", list(&cpus)));
    }
    let with_linux = args.guest == session::LINUX;
    let usual = [if args.operations { "micro" } else { "all" }.to_owned()];
    let wanted = if args.suite.is_empty() && !with_linux { &usual[..] } else { &args.suite };
    let mut suites: Vec<String> = Vec::new();
    for suite in wanted {
        match suite.as_str() {
            "all" => suites.extend(SUITES.map(str::to_owned)),
            known if SUITES.contains(&known) => suites.push(known.to_owned()),
            other => return Err(BenchError::UnknownSuite(other.to_owned())),
        }
    }
    if with_linux {
        suites.push(session::LINUX.to_owned());
    }
    let linux = with_linux.then(|| Linux::find(args.linux_dir.as_deref())).transpose()?;
    let mut seen = std::collections::HashSet::new();
    suites.retain(|s| seen.insert(s.clone()));
    let mut seen = std::collections::HashSet::new();
    let wanted: Vec<_> = args.engines.iter().filter(|e| seen.insert((*e).clone())).cloned().collect();
    let sources = Sources { vireo: args.vireo.clone(), qemu: args.qemu.clone(), cpus: args.cpu.clone() };
    let (engines, missing) = engine::find(&wanted, &sources)?;
    if engines.is_empty() {
        let reasons: Vec<_> = missing.iter().map(|m| format!("{}: {}", m.name, m.reason)).collect();
        return Err(BenchError::NoEngine(reasons.join("; ")));
    }
    let settings = Settings {
        arguments: words.to_vec(),
        suites,
        runs: args.runs,
        warmup: args.warmup,
        harts: args.smp,
        min_ms: args.min_ms,
        pin: args.pin.clone(),
    };
    Ok(Plan {
        settings,
        engines,
        missing,
        only: args.only.clone(),
        noise: !args.no_noise,
        silence: Duration::from_secs(args.silence),
        append: args.append.clone(),
        linux,
    })
}

/// The CPUs that this process may run on.
fn host_cpus() -> Vec<u32> {
    let set = rustix::thread::sched_getaffinity(None);
    set.map_or_else(|_| Vec::new(), |set| (0..1024).filter(|&cpu| set.is_set(cpu)).map(|cpu| cpu as u32).collect())
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Prints the table and writes the files.
fn show(args: &Args, report: &result::Report) -> Result<ExitCode, BenchError> {
    print!("{}", table::text(report));
    if args.operations {
        print!("\n{}", operations::markdown(report));
    }
    if let Some(path) = &args.json {
        report.write(path)?;
        println!("result:  {}", path.display());
    }
    type Draw = fn(&result::Report) -> String;
    for (path, draw, what) in [(&args.html, html::page as Draw, "page:   "), (&args.svg, html::picture, "picture:")] {
        if let Some(path) = path {
            let failed = |source| BenchError::File { doing: "write", path: path.clone(), source };
            std::fs::write(path, draw(report)).map_err(failed)?;
            println!("{what} {}", path.display());
        }
    }
    Ok(match (report.complete, report.failures().next()) {
        (_, Some(_)) => ExitCode::FAILURE,
        (false, None) => ExitCode::from(130),
        (true, None) => ExitCode::SUCCESS,
    })
}

/// A bar on a terminal; elsewhere a line a step.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:24} {pos}/{len} {msg} {prefix:.dim}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a template of ours"));
        Self(Some(bar))
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn step(&self, done: usize, all: usize, what: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                bar.set_prefix("");
                bar.set_message(what.to_owned());
            }
            None => eprintln!("[{}/{all}] {what}", done + 1),
        }
    }

    fn benchmark(&self, name: &str) {
        if let Some(bar) = &self.0 {
            bar.set_prefix(name.to_owned());
            bar.tick();
        }
    }

    fn tell(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("vireo bench: {line}")),
            None => eprintln!("vireo bench: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<Plan, String> {
        let words = line.split_whitespace().map(str::to_owned);
        let args = Args::try_parse_from(std::iter::once("bench".to_owned()).chain(words)).map_err(|e| e.to_string())?;
        plan(&args, &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn bad_arguments_name_what_is_allowed() {
        for (line, part) in [
            ("--runs 0", "1 or more"),
            ("--runs 18446744073709551615", "at most 1000000"),
            ("--warmup 1000001", "at most 1000000"),
            ("--smp 0", "1 to 512"),
            ("--min-ms 0", "1 to 60000"),
            ("--suite cpu,games", "no suite 'games'; there are boot, micro"),
            ("--engines bochs", "no engine 'bochs'; there are tcg"),
            ("--pin 4000", "--pin 4000: this process may use"),
            ("--runs few", "few"),
        ] {
            let error = planned(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_definition_agree() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        for name in SUITES.iter().chain(&engine::NAMES) {
            assert!(help.contains(name), "help does not name {name}");
        }
    }
}
