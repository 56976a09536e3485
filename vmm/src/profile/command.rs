//! `vireo profile`: reads a recording, or has a running machine make one, and reports.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::qmp::Session;
use super::recorder::{HZ, HZ_MAX};
use super::recording::{Recording, replace};
use super::report::{self, View};
use super::symbols::SymbolTable;

/// Where a guest spends its time: reports of what the monitor's `profile` has recorded
#[derive(Debug, Parser)]
#[command(name = "vireo profile", disable_version_flag = true)]
struct Args {
    /// The recording (monitor: profile start, profile stop file=FILE)
    #[arg(value_name = "FILE", required_unless_present = "qmp", conflicts_with = "qmp")]
    recording: Option<PathBuf>,
    /// Record a machine that runs on this host, by its QMP socket: unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "PLACE")]
    qmp: Option<String>,
    /// How long to record it
    #[arg(long, value_name = "S", default_value_t = 10.0, requires = "qmp")]
    seconds: f64,
    /// Samples a second of each hart
    #[arg(long, value_name = "N", default_value_t = HZ, requires = "qmp")]
    hz: u32,
    /// Only these harts, as in 0:2-3
    #[arg(long, value_name = "LIST", requires = "qmp")]
    harts: Option<String>,
    /// Keep the recording here
    #[arg(long, value_name = "FILE", requires = "qmp")]
    save: Option<PathBuf>,
    /// The kernel as an ELF file; @ADDRESS: where its _text is (KASLR)
    #[arg(long, value_name = "FILE[@ADDRESS]", help_heading = "Names")]
    vmlinux: Vec<String>,
    /// The kernel's System.map; @ADDRESS as for --vmlinux
    #[arg(long, value_name = "FILE[@ADDRESS]", help_heading = "Names")]
    system_map: Vec<String>,
    /// A copy of the guest's /proc/kallsyms, read by root
    #[arg(long, value_name = "FILE", help_heading = "Names")]
    kallsyms: Vec<PathBuf>,
    /// A program, a library or firmware; @BASE: where its first byte is loaded
    #[arg(long, value_name = "FILE[@BASE]", help_heading = "Names")]
    elf: Vec<String>,
    /// Stacks with their counts, a line each, for other tools; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    folded: Option<PathBuf>,
    /// A flame graph
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    svg: Option<PathBuf>,
    /// Title of the flame graph
    #[arg(long, value_name = "TEXT", default_value = "Guest", help_heading = "Reports")]
    title: String,
    /// Functions in the table; 0: no table
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Reports")]
    top: usize,
    /// Count waiting, too
    #[arg(long, help_heading = "Reports")]
    idle: bool,
    /// Tell harts apart
    #[arg(long, help_heading = "Reports")]
    by_hart: bool,
    /// Show the engine's own work (translating code, SBI calls) as a function of its own
    #[arg(long, help_heading = "Reports")]
    engine: bool,
}

/// Runs `vireo profile` with the words behind it.
pub fn main(words: &[String]) -> ExitCode {
    // As elsewhere in this program.
    let words = if words == ["help"] { &["--help".to_owned()] } else { words };
    let args = match Args::try_parse_from(std::iter::once(&"vireo profile".to_owned()).chain(words)) {
        Ok(args) => args,
        Err(e) if !e.use_stderr() => {
            let _ = std::io::stdout().write_all(e.to_string().as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(e) => return fail(&first_line(&e.to_string())),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("vireo profile: {message}");
    ExitCode::FAILURE
}

/// clap says what is missing in further lines.
fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let rest: Vec<_> = lines.collect();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    format!("{first} {}", rest.join(" ")).trim().to_owned()
}

fn run(args: &Args) -> Result<(), String> {
    // Names first: whoever has mistyped one need not wait for a recording.
    let symbols = symbols(args)?;
    let recording = match (&args.qmp, &args.recording) {
        (Some(place), _) => record(args, place)?,
        (None, Some(path)) => Recording::read(path)?,
        (None, None) => return Err("needs a recording, or --qmp".into()),
    };
    if recording.stacks.is_empty() {
        return Err("the recording has no samples".into());
    }
    let view = View { idle: args.idle, engine: args.engine, harts: args.by_hart };
    let stacks = report::named(&recording, &symbols, view);
    if let Some(path) = &args.folded {
        write(path, report::folded(&stacks).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        let summary = report::summary(&recording);
        let picture = report::svg(&stacks, &args.title, summary.lines().next().unwrap_or_default())?;
        write(path, &picture)?;
    }
    if args.top > 0 {
        let table = report::top(&stacks, args.top, view.harts);
        // A reader that has seen enough (`| head`) is no failure.
        let _ = write!(std::io::stdout(), "{}\n{table}", report::summary(&recording));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if path.as_os_str() == "-" {
        let _ = std::io::stdout().write_all(bytes);
        return Ok(());
    }
    replace(path, bytes)
}

/// `FILE` or `FILE@ADDRESS`.
fn with_address<'a>(option: &str, text: &'a str) -> Result<(&'a Path, Option<u64>), String> {
    // A file may have such a name.
    let Some((file, address)) = text.rsplit_once('@').filter(|_| !Path::new(text).exists()) else {
        return Ok((Path::new(text), None));
    };
    let digits = address.strip_prefix("0x").unwrap_or(address);
    let address = u64::from_str_radix(digits, 16)
        .map_err(|_| format!("{option} {text}: '{address}' is no address (hexadecimal)"))?;
    Ok((Path::new(file), Some(address)))
}

fn symbols(args: &Args) -> Result<SymbolTable, String> {
    let mut table = SymbolTable::default();
    let of = |option: &str, error: String| format!("{option} {error}");
    for text in &args.vmlinux {
        let (path, at) = with_address("--vmlinux", text)?;
        table.add_vmlinux(path, at).map_err(|e| of("--vmlinux", e))?;
    }
    for text in &args.system_map {
        let (path, at) = with_address("--system-map", text)?;
        table.add_map(path, at).map_err(|e| of("--system-map", e))?;
    }
    for path in &args.kallsyms {
        table.add_map(path, None).map_err(|e| of("--kallsyms", e))?;
    }
    for text in &args.elf {
        let (path, base) = with_address("--elf", text)?;
        table.add_elf(path, base).map_err(|e| of("--elf", e))?;
    }
    Ok(table)
}

/// Has a machine record itself.
fn record(args: &Args, place: &str) -> Result<Recording, String> {
    let seconds = Duration::try_from_secs_f64(args.seconds).ok().filter(|d| !d.is_zero() && d.as_secs() <= 86_400);
    let seconds = seconds.ok_or_else(|| format!("--seconds {}: must be above 0 and at most a day", args.seconds))?;
    if !(1..=HZ_MAX).contains(&args.hz) {
        return Err(format!("--hz {}: must be 1 to {HZ_MAX}", args.hz));
    }
    let of = |error: String| format!("--qmp {place}: {error}");
    let mut session = Session::connect(place).map_err(of)?;
    let dir = tempfile::tempdir().map_err(|e| format!("cannot make a temporary folder: {e}"))?;
    let file = dir.path().join("recording");
    let harts = args.harts.as_ref().map(|list| format!(" harts={list}")).unwrap_or_default();
    session.command(&format!("profile start hz={}{harts}", args.hz)).map_err(of)?;
    std::thread::sleep(seconds);
    session.command(&format!("profile stop \"file={}\"", file.display())).map_err(of)?;
    let recording = Recording::read(&file)
        .map_err(|e| of(format!("the machine's recording is not here (is it another host's?): {e}")))?;
    if let Some(path) = &args.save {
        recording.write(path)?;
    }
    Ok(recording)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn addresses_stand_behind_files() {
        assert_eq!(with_address("--elf", "a@0x10"), Ok((Path::new("a"), Some(16))));
        assert_eq!(with_address("--elf", "a@b@ff"), Ok((Path::new("a@b"), Some(255))));
        assert_eq!(with_address("--elf", "a"), Ok((Path::new("a"), None)));
        assert!(with_address("--elf", "a@x").unwrap_err().contains("'x' is no address"));
    }

    #[test]
    fn errors_take_one_line() {
        for words in [&["--elf"][..], &[], &["a", "b"], &["--seconds", "1"], &["--bogus"], &["--qmp", "x", "y"]] {
            let error = Args::try_parse_from([&["vireo profile"], words].concat()).unwrap_err();
            let line = first_line(&error.to_string());
            assert!(line.lines().count() == 1 && line.len() > 10, "{line}");
        }
    }
}
