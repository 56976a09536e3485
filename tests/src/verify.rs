//! `cargo verify`: every check of the project, cheap ones first, with one count at the end.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::differential::qemu::{self, LISTED, Qemu};
use crate::differential::spike::{self, Spike};
use crate::harness::Env;
use crate::host::{self, Tool};
use crate::{cases, guest, riscv_host, tools};

/// What the stages need from the distribution.
const TOOLS: &[Tool] = &[
    Tool { program: "cc", package: "gcc" },
    Tool { program: "cmake", package: "cmake" },
    Tool { program: "make", package: "make" },
    Tool { program: "g++", package: "g++" },
    Tool { program: "riscv64-linux-gnu-gcc", package: "gcc-riscv64-linux-gnu" },
    // The C library's headers, which the compiler's package only recommends.
    Tool { program: "/usr/riscv64-linux-gnu/include/stdint.h", package: "libc6-dev-riscv64-cross" },
    // Spike runs it.
    Tool { program: "dtc", package: "device-tree-compiler" },
    host::DPKG_DEB,
    host::TAR,
    host::MKE2FS,
    host::E2FSCK,
    host::XZ,
];

/// Cross-compilation targets whose absence would leave a test out.
const TARGETS: &[&str] = &["riscv64gc-unknown-none-elf", riscv_host::TARGET];

/// The last stage, and the only one of `cargo kvm-lane`.
const KVM_LANE: &str = "KVM lane";

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub mirror: Option<String>,
    /// Only stages whose name contains this.
    pub stage: Option<String>,
    /// Only guest tests whose name contains this.
    pub filter: String,
    /// The program to test, instead of one built for it.
    pub vireo: Option<PathBuf>,
    /// `cargo kvm-lane`: what it needs, and its cases.
    pub kvm_lane: bool,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    failures: Vec<String>,
}

/// Runs everything; whether nothing failed.
pub fn run(options: &Options) -> Result<bool> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut plan = Plan { options, tally: &mut tally };
    plan.all();
    println!("\n{:.0} minutes {:.0} seconds", (start.elapsed().as_secs() / 60) as f64, start.elapsed().as_secs() % 60);
    for failure in &tally.failures {
        println!("FAILED: {failure}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

struct Plan<'a> {
    options: &'a Options,
    tally: &'a mut Tally,
}

impl Plan<'_> {
    fn all(&mut self) {
        self.always("prerequisites", |_| {
            host::require(TOOLS)?;
            host::require(cases::HOST_TOOLS)?;
            rust_parts()?;
            Ok((1, 0))
        });
        self.stage("format", |_| {
            // The embedded guests are a workspace of their own.
            let guests = ["fmt", "--all", "--check", "--manifest-path", "firmware/guests/Cargo.toml"];
            one(host::cargo().args(guests))?;
            one(host::cargo().args(["fmt", "--all", "--check"]))
        });
        self.stage("clippy", |_| {
            let clippy = |target: &[&str]| {
                let mut cargo = host::cargo();
                cargo.args(["clippy", "--workspace", "--all-targets", "--quiet"]).args(target);
                one(cargo.args(["--", "-D", "warnings"]))
            };
            clippy(&[])?;
            // KVM, and what there is instead of a code generator.
            clippy(&["--target", riscv_host::TARGET])
        });
        let mut tools = Err("the stage that fetches it did not run".to_owned());
        self.always("binutils and QEMU to compare with", |options| {
            tools = tools::prepare(options.mirror.as_deref()).map_err(|e| format!("{e:#}"));
            tools.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e}"))
        });
        let mut gdb = Err("the stage that fetches it did not run".to_owned());
        if self.options.kvm_lane || self.is_chosen(cases::DEBUGGER) || self.is_chosen(KVM_LANE) {
            self.always("gdb to debug guests with", |options| {
                gdb = tools::gdb(options.mirror.as_deref()).map_err(|e| format!("{e:#}"));
                gdb.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e}"))
            });
        }
        let environment: Vec<(&str, PathBuf)> = match &tools {
            Ok(t) => vec![("VIREO_OBJDUMP", t.objdump.clone()), ("VIREO_QEMU", t.qemu.clone())],
            Err(_) => Vec::new(),
        };
        // One profile for all: the unit tests of an engine are as slow as their differential tests without it.
        self.stage("unit and differential tests", |_| {
            let mut test = host::cargo_test();
            test.args(["--workspace", "--profile", "test-fast", "--no-fail-fast"]).env_remove(spike::VARIABLE);
            cargo_test(test.envs(environment.iter().map(|(k, v)| (k, v))))
        });
        self.stage("unit tests on an emulated RISC-V host", |options| {
            let mirror = options.mirror.clone();
            riscv_host::run(&riscv_host::Options { mirror, ..riscv_host::Options::default() })
        });
        self.stage("every instruction against a new binutils", |_| {
            let mut test = host::cargo_test();
            test.args(["--workspace", "--profile", "test-fast", "--test", "decode_binutils", "--", "--ignored"]);
            cargo_test(test.envs(environment.iter().map(|(k, v)| (k, v))))
        });
        self.stage("differential tests against the newest QEMU", |options| against_newest(options.mirror.as_deref()));
        self.stage("differential tests against Spike", |_| against_spike());
        let mut vireo = Err(anyhow::anyhow!("not built"));
        self.always("release build", |options| {
            vireo = options.vireo.clone().map_or_else(build_vireo, Ok);
            vireo.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e:#}"))
        });
        let Ok(vireo) = vireo else { return };
        let mut guest = Err("the stage that makes it did not run".to_owned());
        self.always("Linux guest from the distribution's packages", |options| {
            let mirror = options.mirror.clone();
            let wanted = guest::Options { mirror, disk: true, firmware: true, kvm: true, update: false };
            guest = guest::prepare(&wanted).map_err(|e| format!("{e:#}"));
            guest.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e}"))
        });
        let filter = self.options.filter.clone();
        let missing = || Err("only the KVM lane builds it".to_owned());
        let mut env = Env { vireo, riscv_vireo: missing(), kvm_test: missing(), guest, tools, gdb };
        for (name, cases) in cases::STAGES {
            self.stage(name, |_| Ok(cases::run(&env, cases, &filter)));
        }
        if self.options.kvm_lane || self.is_chosen(KVM_LANE) {
            self.always("static riscv64 program", |_| {
                env.riscv_vireo = build_static().map_err(|e| format!("{e:#}"));
                env.riscv_vireo.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e}"))
            });
            self.always("the engine's test program for riscv64", |_| {
                env.kvm_test = build_kvm_test().map_err(|e| format!("{e:#}"));
                env.kvm_test.as_ref().map(|_| (1, 0)).map_err(|e| anyhow::anyhow!("{e}"))
            });
            self.always(KVM_LANE, |_| Ok(cases::run(&env, cases::KVM_LANE, &filter)));
        }
    }

    fn is_chosen(&self, name: &str) -> bool {
        self.options.stage.as_ref().is_none_or(|s| name.contains(s.as_str()))
    }

    /// One stage, if it is among the chosen ones.
    fn stage(&mut self, name: &str, run: impl FnOnce(&Options) -> Result<(usize, usize)>) {
        if !self.options.kvm_lane && self.is_chosen(name) {
            self.always(name, run);
        }
    }

    /// One stage that others need.
    fn always(&mut self, name: &str, run: impl FnOnce(&Options) -> Result<(usize, usize)>) {
        println!("== {name}");
        let start = Instant::now();
        let (passed, failed) = run(self.options).unwrap_or_else(|error| {
            println!("{error:#}");
            (0, 1)
        });
        self.tally.passed += passed;
        self.tally.failed += failed;
        if failed > 0 {
            self.tally.failures.push(format!("{name} ({failed})"));
        }
        let outcome = if failed == 0 { "ok" } else { "FAILED" };
        println!("== {name}: {outcome}, {passed} passed, {failed} failed in {:.0} s\n", start.elapsed().as_secs_f64());
    }
}

/// A command that passes or fails as one.
fn one(command: &mut Command) -> Result<(usize, usize)> {
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo failed ({status})");
    }
    Ok((1, 0))
}

/// Fewer random programs than against the QEMU of the guest's suite.
const BUDGET: [(&str, &str); 2] = [("VIREO_DIFFERENTIAL_BLOCKS", "500"), ("VIREO_DIFFERENTIAL_PROGRAMS", "4")];

/// The differential tests against the newest QEMU there is, if its differences are listed: one that the distribution
/// has since made its newest says nothing about a tree that has not changed.
fn against_newest(mirror: Option<&str>) -> Result<(usize, usize)> {
    let Some(program) = tools::newest_qemu(mirror)? else {
        println!("not compared: this distribution has no suite that always holds the newest QEMU");
        return Ok((1, 0));
    };
    let qemu = Qemu::at(program.clone())?;
    if !LISTED.contains(&qemu.major()) {
        let (first, last) = (LISTED.start(), LISTED.end());
        println!("not compared: QEMU {} is not known to the lists of differences ({first} to {last})", qemu.version);
        return Ok((1, 0));
    }
    println!("QEMU {}", qemu.version);
    cargo_test(differential().env(qemu::VARIABLE, program))
}

/// The same tests against Spike, always the same one.
fn against_spike() -> Result<(usize, usize)> {
    let program = tools::spike()?;
    println!("Spike {}", Spike::at(program.clone())?.version);
    cargo_test(differential().env(spike::VARIABLE, program))
}

/// The differential tests with a smaller budget.
fn differential() -> Command {
    let mut test = host::cargo_test();
    test.args(["-p", "tests", "--profile", "test-fast", "--no-fail-fast"]);
    for kind in ["blocks", "vector", "hypervisor", "privileged", "registers"] {
        test.args(["--test", &format!("differential_{kind}")]);
    }
    test.env_remove(spike::VARIABLE).envs(BUDGET);
    test
}

/// `cargo test`: shows what it prints, and adds up the summaries of its test programs.
fn cargo_test(command: &mut Command) -> Result<(usize, usize)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(summary) = summary(&line) {
            passed += summary.passed;
            failed += summary.failed;
        }
        // Thousands of passes hide the one failure.
        let passed = line.starts_with("test ") && line.ends_with("... ok");
        if !passed && !line.trim().is_empty() {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && failed == 0 {
        // It did not build, or a test program died.
        failed = 1;
    }
    Ok((passed, failed))
}

/// What a test program says at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSummary {
    pub passed: usize,
    pub failed: usize,
    /// Left out by name.
    pub filtered: usize,
}

/// `test result: ok. 12 passed; 0 failed; ...`
pub fn summary(line: &str) -> Option<TestSummary> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| rest.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(TestSummary { passed: number("passed")?, failed: number("failed")?, filtered: number("filtered out")? })
}

/// The release program, built.
pub fn build_vireo() -> Result<PathBuf> {
    one(host::cargo().args(["build", "--release", "--quiet", "--package", "vmm", "--bin", "vireo"]))?;
    Ok(host::target_dir()?.join("release/vireo"))
}

/// The release program for RISC-V hosts, with no libraries to be found there.
pub fn build_static() -> Result<PathBuf> {
    let mut build = host::cargo();
    build.args(["build", "--release", "--quiet", "--package", "vmm", "--bin", "vireo", "--target", riscv_host::TARGET]);
    one(&mut build)?;
    Ok(host::target_dir()?.join(riscv_host::TARGET).join("release/vireo"))
}

/// The tests of the engine on KVM (accel/tests/kvm) for RISC-V hosts.
fn build_kvm_test() -> Result<PathBuf> {
    let mut build = host::cargo();
    build.args(["test", "--no-run", "--quiet", "--profile", "test-fast", "--package", "accel", "--test", "kvm"]);
    let messages = host::run(build.args(["--target", riscv_host::TARGET, "--message-format", "json"]))?;
    let path = messages.lines().find_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
    Ok(PathBuf::from(path.context("cargo does not say where the test program is")?.0))
}

/// rustfmt, clippy and the targets, if rustup is there to add them.
fn rust_parts() -> Result<()> {
    let has = |words: &[&str]| host::run(host::cargo().args(words)).is_ok();
    let rustup = |words: &[&str]| -> Result<()> {
        if host::find("rustup").is_none() {
            bail!("missing, and there is no rustup to add it: {}", words.join(" "));
        }
        host::run(host::command("rustup").current_dir(host::workspace()).args(words)).map(drop)
    };
    if !has(&["fmt", "--version"]) {
        rustup(&["component", "add", "rustfmt"])?;
    }
    if !has(&["clippy", "--version"]) {
        rustup(&["component", "add", "clippy"])?;
    }
    for target in TARGETS {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let dir = host::run(Command::new(rustc).args(["--print", "target-libdir", "--target", target]))?;
        if !PathBuf::from(dir.trim()).is_dir() {
            rustup(&["target", "add", target])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 1.02s";
        assert_eq!(summary(line), Some(TestSummary { passed: 12, failed: 3, filtered: 4 }));
        assert_eq!(summary("test a ... ok"), None);
        assert_eq!(summary("test result: nonsense"), None);
    }
}
