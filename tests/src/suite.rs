//! `cargo kit suite`: runs the ELF programs of a test suite on one of our boards, and says which pass.
//!
//! A program passes if the machine ends by itself with exit code 0: through `tohost`, the finisher, or semihosting. With
//! `--reference` QEMU runs the same, and its verdict stands beside ours.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{tools, verify};

#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of programs, or one program.
    pub path: PathBuf,
    pub board: String,
    pub cpu: String,
    /// Only programs whose name contains this.
    pub filter: String,
    /// Seconds a program may take.
    pub timeout: u64,
    /// Programs that run at a time.
    pub jobs: usize,
    /// Where signatures go, one file a program.
    pub signatures: Option<PathBuf>,
    /// Run them on QEMU, too.
    pub reference: bool,
    /// The program to test, instead of one built for it.
    pub vireo: Option<PathBuf>,
    /// That QEMU, instead of a fetched one.
    pub qemu: Option<PathBuf>,
    pub mirror: Option<String>,
    /// Further arguments of `vireo`.
    pub extra: Vec<String>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// The program's or the machine's exit code.
    Fail(i32),
    /// The machine ended by a signal.
    Died(String),
    Timeout,
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Pass => "pass".into(),
            // Test number N of the usual environments is the exit code.
            Self::Fail(code) => format!("FAIL {code}"),
            Self::Died(why) => format!("DIED ({why})"),
            Self::Timeout => "TIMEOUT".into(),
        }
    }
}

struct Outcome {
    name: String,
    ours: Verdict,
    /// What our machine said on standard error.
    errors: String,
    reference: Option<Verdict>,
    seconds: f64,
}

/// Runs them; whether all passed.
pub fn run(options: &Options) -> Result<bool> {
    let programs = programs(&options.path, &options.filter)?;
    if programs.is_empty() {
        bail!("there is no ELF program for riscv64 in {}", options.path.display());
    }
    let vireo = options.vireo.clone().map_or_else(verify::build_vireo, Ok)?;
    let qemu = match (&options.qemu, options.reference) {
        (Some(qemu), _) => Some(qemu.clone()),
        (None, true) => Some(tools::prepare(options.mirror.as_deref())?.qemu),
        (None, false) => None,
    };
    if let Some(dir) = &options.signatures {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            while let Some((name, file)) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = one(options, &vireo, qemu.as_deref(), name, file)?;
                let mut outcomes = outcomes.lock().expect("no worker panics with the lock");
                outcomes.push(outcome);
                progress(&outcomes, programs.len());
            }
            Ok(())
        };
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker does not panic"))
    })?;
    let mut outcomes = outcomes.into_inner().expect("no worker panics with the lock");
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    Ok(report(&outcomes))
}

/// Name and file of every program, in order of their names.
fn programs(path: &Path, filter: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(at) = folders.pop() {
        if at.is_dir() {
            let entries = fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))?;
            for entry in entries {
                folders.push(entry?.path());
            }
        } else if is_program(&at)? {
            let name = at.strip_prefix(path).ok().filter(|rest| !rest.as_os_str().is_empty());
            let name = name.unwrap_or(at.file_name().map_or(&at, Path::new)).display().to_string();
            if name.contains(filter) {
                found.push((name, at));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// An ELF executable for 64-bit RISC-V.
fn is_program(file: &Path) -> Result<bool> {
    let mut head = [0; 20];
    let mut open = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let whole = open.read_exact(&mut head).is_ok();
    // Class 64 bit; an executable, not an object; machine 243.
    Ok(whole && head.starts_with(b"\x7fELF\x02") && matches!(head[16], 2 | 3) && head[18] == 243)
}

fn one(options: &Options, vireo: &Path, qemu: Option<&Path>, name: &str, file: &Path) -> Result<Outcome> {
    let mut machine = options.board.clone();
    if let Some(dir) = &options.signatures {
        let path = dir.join(format!("{}.signature", name.replace('/', "_")));
        machine
            .push_str(&format!(",signature={},signature-granularity=4", path.display().to_string().replace(',', ",,")));
    }
    let command = |program: &Path, machine: &str| {
        let mut command = Command::new(program);
        // Programs that end by semihosting look like others; only its three instructions become a call.
        command.args(["-M", machine, "-nographic", "-semihosting", "-bios", "none", "-cpu", &options.cpu, "-kernel"]);
        command.arg(file);
        command
    };
    let limit = Duration::from_secs(options.timeout);
    let start = Instant::now();
    let (ours, errors) = judge(command(vireo, &machine).args(&options.extra), limit)?;
    let seconds = start.elapsed().as_secs_f64();
    let reference = qemu.map(|qemu| judge(&mut command(qemu, &options.board), limit)).transpose()?;
    Ok(Outcome { name: name.to_owned(), ours, errors, reference: reference.map(|(verdict, _)| verdict), seconds })
}

/// Runs a machine to its end; its verdict and what it said on standard error.
fn judge(command: &mut Command, limit: Duration) -> Result<(Verdict, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let mut stderr = child.stderr.take().context("no stderr")?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let verdict = wait(&mut child, limit)?;
    Ok((verdict, reader.join().unwrap_or_default()))
}

fn wait(child: &mut Child, limit: Duration) -> Result<Verdict> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.code() {
                Some(0) => Verdict::Pass,
                Some(code) => Verdict::Fail(code),
                None => Verdict::Died(status.to_string()),
            });
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(Verdict::Timeout);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// One line that is written over, on a terminal.
fn progress(outcomes: &[Outcome], all: usize) {
    if std::io::stderr().is_terminal() {
        let failed = outcomes.iter().filter(|o| o.ours != Verdict::Pass).count();
        let last = outcomes.last().map_or("", |o| o.name.as_str());
        eprint!("\r\x1b[K{}/{all}, {failed} not passed: {last}", outcomes.len());
        let _ = std::io::stderr().flush();
    }
}

/// The table; whether all passed.
fn report(outcomes: &[Outcome]) -> bool {
    let width = outcomes.iter().map(|o| o.name.len()).max().unwrap_or(0);
    for o in outcomes {
        let reference = o.reference.as_ref().map_or(String::new(), |r| format!("  QEMU: {:<8}", r.text()));
        println!("{:<width$}  {:<8}{reference}  {:>6.2} s", o.name, o.ours.text(), o.seconds);
        for line in o.errors.lines().filter(|_| o.ours != Verdict::Pass).take(5) {
            println!("{:width$}  {line}", "");
        }
    }
    let passed = outcomes.iter().filter(|o| o.ours == Verdict::Pass).count();
    println!("{passed} passed, {} failed", outcomes.len() - passed);
    passed == outcomes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut elf = vec![0; 64];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        (elf[16], elf[18]) = (2, 243);
        fs::create_dir(dir.path().join("more")).unwrap();
        fs::write(dir.path().join("b"), &elf).unwrap();
        fs::write(dir.path().join("more/a"), &elf).unwrap();
        fs::write(dir.path().join("b.dump"), "text").unwrap();
        (elf[16], elf[18]) = (1, 243);
        fs::write(dir.path().join("b.o"), &elf).unwrap();
        let names = |filter| programs(dir.path(), filter).unwrap().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(""), ["b", "more/a"]);
        assert_eq!(names("more"), ["more/a"]);
        assert_eq!(programs(&dir.path().join("b"), "").unwrap()[0].0, "b");
    }

    #[test]
    fn verdicts() {
        let verdict = |script: &str| judge(Command::new("sh").args(["-c", script]), Duration::from_secs(60)).unwrap();
        assert_eq!(verdict("exit 0"), (Verdict::Pass, String::new()));
        assert_eq!(verdict("echo no >&2; exit 3"), (Verdict::Fail(3), "no".into()));
        assert!(matches!(verdict("kill -9 $$").0, Verdict::Died(_)));
        let slow = judge(Command::new("sleep").arg("600"), Duration::ZERO).unwrap();
        assert_eq!(slow.0, Verdict::Timeout);
    }
}
