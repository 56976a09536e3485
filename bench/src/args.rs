//! The command line of `vireo bench`.

use std::error::Error;
use std::fmt::Display;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use crate::BenchError;
use crate::engine::{self, Sources};
use crate::linux::Linux;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::report::{compare, html, operations, table};
use crate::result::{Report, Settings};
use crate::session::{self, Plan, SUITES};

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
    #[arg(long, default_value_t = 5, value_name = "N", allow_negative_numbers = true, value_parser = whole(1..=RUNS_MAX))]
    runs: usize,
    /// Runs before those that do not count
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true, value_parser = whole(0..=RUNS_MAX))]
    warmup: usize,
    /// Harts of the guest
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true, value_parser = whole(1..=512u32))]
    smp: u32,
    /// -cpu of the guest on every engine; without it rv64 (with vectors for their suite), and the host's harts under KVM; several are compared
    #[arg(long, value_name = "MODEL")]
    cpu: Vec<String>,
    /// Only benchmarks with this in their names
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Length of a timed round
    #[arg(long, default_value_t = 50, value_name = "MS", allow_negative_numbers = true, value_parser = whole(1..=60_000u64))]
    min_ms: u64,
    /// A guest that says nothing for so long hangs, and its process is ended
    #[arg(long, default_value_t = 300, value_name = "SECONDS", allow_negative_numbers = true, value_parser = whole(1..=86_400u64))]
    silence: u64,
    /// QEMU's program, instead of the qemu-system-riscv64 on PATH; several are compared
    #[arg(long, value_name = "PATH")]
    qemu: Vec<PathBuf>,
    /// A build of vireo, instead of this one; several are compared
    #[arg(long, value_name = "PATH")]
    vireo: Vec<PathBuf>,
    /// Host CPUs for the threads of the harts, one for each: hart 0 on the first, and so on
    #[arg(long, value_delimiter = ',', value_name = "CPUS", allow_negative_numbers = true, value_parser = host_cpu)]
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
    #[arg(long, value_name = "FILE")]
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
    let ended = match parse(words) {
        Ok(args) => run(&args, words).map_err(|e| e.to_string()),
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            Ok(ExitCode::SUCCESS)
        }
        Err(e) => Err(one_line(&e)),
    };
    ended.unwrap_or_else(|line| {
        eprintln!("vireo bench: {line}");
        ExitCode::FAILURE
    })
}

fn parse(words: &[String]) -> Result<Args, clap::Error> {
    let line = std::iter::once("vireo bench").chain(words.iter().map(String::as_str));
    let matches = Args::command().try_get_matches_from(line)?;
    refuse_idle(&matches)?;
    Args::from_arg_matches(&matches)
}

/// Options that would do nothing beside `--compare` or `--show`.
fn refuse_idle(matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let (mode, others, with): (_, &[&str], _) = if given("compare") {
        ("compare", &[], "it goes alone")
    } else if given("show") {
        ("show", &["json", "html", "svg", "operations"], "with it go --json, --html, --svg and --operations")
    } else {
        return Ok(());
    };
    let command = Args::command();
    let mut ids = command.get_arguments().map(|a| a.get_id().as_str());
    match ids.find(|id| *id != mode && !others.contains(id) && given(id)) {
        None => Ok(()),
        Some(id) => {
            let text =
                format!("--{} does nothing with --{mode}, which measures nothing; {with}\n", id.replace('_', "-"));
            Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, text))
        }
    }
}

/// One line, as everywhere in this program: the value and what is allowed, else what is wrong, and the tip if there is one.
fn one_line(e: &clap::Error) -> String {
    let context = |kind| match e.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (Some(option), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) {
        let option = option.split(' ').next().unwrap_or(option);
        if let Some(why) = e.source() {
            return format!("{option} {value}: {why}");
        }
        if let (Some(ContextValue::Strings(words)), false) = (e.get(ContextKind::ValidValue), value.is_empty()) {
            return format!("{option} {value}: must be {}", words.join(" or "));
        }
    }
    let text = e.to_string();
    let mut parts = text.trim_start_matches("error: ").split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>());
    let wrong = parts.next().unwrap_or_default().join(" ");
    match parts.find(|p| p.first() == Some(&"tip:")) {
        Some(tip) => format!("{wrong}; {}", tip[1..].join(" ")),
        None => wrong,
    }
}

/// A whole number of the range, which the error tells.
fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(n) if range.contains(&n) => Ok(n),
        _ => Err(format!("must be a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A CPU that this process may run on.
fn host_cpu(text: &str) -> Result<u32, String> {
    let cpus = host_cpus();
    let cpu = text.parse().ok().filter(|cpu| cpus.contains(cpu));
    cpu.ok_or_else(|| format!("this process may use the CPUs {}; the list goes by commas", list(&cpus)))
}

fn run(args: &Args, words: &[String]) -> Result<ExitCode, BenchError> {
    if let Some(files) = &args.compare {
        let [a, b] = [Report::read(&files[0])?, Report::read(&files[1])?];
        print(&compare::text(&a, &b))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.show {
        let report = Report::read(file)?;
        return show(args, &outputs(args)?, &report, &std::env::temp_dir());
    }
    let plan = plan(args, words)?;
    let outputs = outputs(args)?;
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
    show(args, &outputs, &report, &std::env::temp_dir())
}

/// More than anybody waits for.
const RUNS_MAX: usize = 1_000_000;

fn plan(args: &Args, words: &[String]) -> Result<Plan, BenchError> {
    let bad = |text: String| Err(BenchError::Argument(text));
    let harts = args.smp as usize;
    if !args.pin.is_empty() && args.pin.len() != harts {
        let (cpus, each) = (list(&args.pin), if harts == 1 { "1 CPU" } else { "a CPU for each" });
        return bad(format!("--pin {cpus}: --smp {harts} takes {each}, {harts} in all"));
    }
    let with_linux = args.guest == session::LINUX;
    if args.linux_dir.is_some() && !with_linux {
        return bad("--linux-dir does nothing without --guest linux".to_owned());
    }
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
    if args.operations && !suites.iter().any(|s| s == "micro") {
        return bad(format!("--operations: {} has no single operations; add --suite micro", suites.join(", ")));
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

/// What `--json` writes.
const RESULT: &str = "result: ";

/// How a file is called in the last lines, and what is in it.
type Format = (&'static str, fn(&Report) -> String);

/// The files to write, each of which can be.
fn outputs(args: &Args) -> Result<Vec<(Output, Format)>, BenchError> {
    let wanted: [(_, &Option<PathBuf>, Format); 3] = [
        ("--json", &args.json, (RESULT, Report::json)),
        ("--html", &args.html, ("page:   ", html::page)),
        ("--svg", &args.svg, ("picture:", html::picture)),
    ];
    let found = wanted.into_iter().filter_map(|(option, path, format)| Some((option, path.as_ref()?, format)));
    let (files, formats): (Vec<_>, Vec<_>) = found
        .map(|(option, path, format)| Ok((Output::find(option, path)?, format)))
        .collect::<Result<Vec<_>, BenchError>>()?
        .into_iter()
        .unzip();
    output::check_distinct(&files, args.show.as_deref())?;
    Ok(files.into_iter().zip(formats).collect())
}

/// To standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(BenchError::Host { doing: "write to standard output", source })
        }
        _ => Ok(()),
    }
}

/// Prints the table and writes the files: every one, whatever becomes of the others. The samples go to `spare` if their
/// own place fails.
fn show(args: &Args, outputs: &[(Output, Format)], report: &Report, spare: &Path) -> Result<ExitCode, BenchError> {
    let mut text = table::text(report);
    let operations = if args.operations { operations::markdown(report) } else { String::new() };
    if !operations.is_empty() {
        text += &format!("\n{operations}");
    }
    let mut errors = Vec::new();
    errors.extend(print(&text).err());
    for (output, (what, draw)) in outputs {
        let drawn = draw(report);
        let written = output.write(&drawn);
        // Nobody measures twice for the want of a place.
        if *what == RESULT && written.is_err() {
            match output::rescue(&drawn, spare) {
                Ok(path) => eprintln!("vireo bench: the result is kept in {}", path.display()),
                Err(e) => errors.push(e),
            }
        }
        let told = written.and_then(|()| match output.is_file() {
            true => print(&format!("{what} {}\n", output.path.display())),
            false => Ok(()),
        });
        errors.extend(told.err());
    }
    if args.operations && operations.is_empty() {
        errors.push(BenchError::Argument("--operations: the result has no single operations".to_owned()));
    }
    for e in &errors {
        eprintln!("vireo bench: {e}");
    }
    if !errors.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(match (report.complete, report.failures().next()) {
        (_, Some(_)) => ExitCode::FAILURE,
        (false, None) => ExitCode::from(130),
        (true, None) => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|e| one_line(&e))
    }

    fn planned(line: &str) -> Result<Plan, String> {
        plan(&parsed(line)?, &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn bad_arguments_name_what_is_allowed() {
        for (line, part) in [
            ("--runs 0", "--runs 0: must be a whole number from 1 to 1000000"),
            ("--runs 18446744073709551615", "to 1000000"),
            ("--runs few", "--runs few: must be a whole number from 1 to 1000000"),
            ("--runs 1.5", "--runs 1.5: must be"),
            ("--runs -1", "--runs -1: must be"),
            ("--warmup 1000001", "--warmup 1000001: must be a whole number from 0 to 1000000"),
            ("--smp 0", "1 to 512"),
            ("--smp x", "--smp x: must be"),
            ("--min-ms 0", "1 to 60000"),
            ("--silence -5", "--silence -5: must be a whole number from 1 to 86400"),
            ("--suite cpu,games", "no suite 'games'; there are boot, micro"),
            ("--engines bochs", "no engine 'bochs'; there are tcg"),
            ("--pin 4000", "--pin 4000: this process may use"),
            ("--pin -1", "--pin -1: this process may use"),
            ("--pin 0-1", "--pin 0-1: this process may use"),
            ("--guest foo", "--guest foo: must be builtin or linux"),
            ("--suit cpu", "'--suit' found; a similar argument exists: '--suite'"),
            ("--linux-dir x", "--linux-dir does nothing without --guest linux"),
            ("--operations --suite cpu", "--operations: cpu has no single operations"),
        ] {
            let error = planned(line).expect_err(line);
            assert!(error.contains(part) && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn each_hart_has_its_cpu() {
        let cpu = host_cpus()[0];
        let error = planned(&format!("--smp 2 --pin {cpu}")).unwrap_err();
        assert_eq!(error, format!("--pin {cpu}: --smp 2 takes a CPU for each, 2 in all"));
        let error = planned(&format!("--pin {cpu},{cpu}")).unwrap_err();
        assert_eq!(error, format!("--pin {cpu}, {cpu}: --smp 1 takes 1 CPU, 1 in all"));
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (line, option) in [
            ("--compare a b --html x", "--html does nothing with --compare"),
            ("--compare a b --show c", "--show does nothing with --compare"),
            ("--runs 5 --compare a b", "--runs does nothing with --compare"),
            ("--show a --engines tcg", "--engines does nothing with --show"),
            ("--show a --min-ms 5", "--min-ms does nothing with --show"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.starts_with(option) && !error.contains('\n'), "{line}: {error}");
        }
        parsed("--show a --html b --svg c --json d --operations").unwrap();
        parsed("--compare a b").unwrap();
    }

    #[test]
    fn one_file_that_fails_does_not_take_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let report = crate::testing::report(1.0);
        let args = |json: &str| parsed(&format!("--json {json} --html {} --svg {}", at("h"), at("s"))).unwrap();
        // Found out before anything is measured.
        assert!(outputs(&args(&at("none/j"))).is_err());
        assert!(outputs(&args(&at("h"))).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let full = args("/dev/full");
        let spare = tempfile::tempdir().unwrap();
        assert_eq!(show(&full, &outputs(&full).unwrap(), &report, spare.path()).unwrap(), ExitCode::FAILURE);
        let kept = std::fs::read_dir(spare.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(Report::read(&kept).unwrap(), report);
        assert!(std::fs::read_to_string(at("h")).unwrap().contains("</html>"));
        assert!(std::fs::read_to_string(at("s")).unwrap().contains("</svg>"));
        let good = args(&at("j"));
        assert_eq!(show(&good, &outputs(&good).unwrap(), &report, spare.path()).unwrap(), ExitCode::SUCCESS);
        assert_eq!(Report::read(&dir.path().join("j")).unwrap(), report);
    }

    #[test]
    fn help_and_definition_agree() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        for name in SUITES.iter().chain(&engine::NAMES) {
            assert!(help.contains(name), "help does not name {name}");
        }
    }
}
