//! `cargo kit unit-riscv64`: the unit tests built for RISC-V hosts, each program run by QEMU's user-mode emulation.
//!
//! It shows what a host of another architecture gets wrong: page sizes, atomics, system calls, code that stands
//! behind a `cfg`. There is no code generator on such a host, so engines interpret. What does not run is listed here by
//! name with the reason, and a test program that stands in neither list fails a test of this file.

use std::io::{BufRead, BufReader};
use std::process::Command;

use anyhow::{Context, Result};

use crate::verify::{TestSummary, summary};
use crate::{host, tools};

/// RISC-V hosts.
pub const TARGET: &str = "riscv64gc-unknown-linux-gnu";

/// Where cargo looks for the program that runs those of the target.
const RUNNER: &str = "CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_RUNNER";

/// Crates whose unit tests run.
const CRATES: &[&str] = &["arch", "ram", "accel", "devices", "firmware", "vmm"];

/// Test programs beside them, all of `accel`: what reaches the host's atomics, time and threads, and the parts of
/// vector and floating-point arithmetic that other hosts leave to their own instructions.
const PROGRAMS: &[&str] = &[
    "atomics",
    "compare_and_swap",
    "crossing",
    "dirty_pages",
    "fences",
    "icount",
    "litmus",
    "reservations",
    "self_modifying",
    "semihost",
    "timers",
    "traps",
    "vector_float_crypto",
    "vector_guests",
    "vectors",
    "watched",
];

/// Test programs that do not run.
const NO_PROGRAMS: &[(&str, &str)] = &[
    ("breakpoints", STATE),
    ("cfi", STATE),
    ("cfi_guests", STATE),
    ("counters", STATE),
    ("double_traps", STATE),
    ("extensions_off", STATE),
    ("fence_operands", STATE),
    ("guest_interrupts", STATE),
    ("guest_time", STATE),
    ("hypervisor", STATE),
    ("lockstep", JIT),
    ("lockstep_csrs", JIT),
    ("lockstep_float", JIT),
    ("lockstep_loops", JIT),
    ("lockstep_system", JIT),
    ("lockstep_translation", JIT),
    ("lockstep_vector_shapes", JIT),
    ("lockstep_vectors", JIT),
    ("loops", JIT),
    ("machine_traps", STATE),
    ("pmp", STATE),
    ("pointer_masking", STATE),
    ("pointer_masking_guests", STATE),
    ("returns", JIT),
    ("searches", JIT),
    ("shared_looks", JIT),
    ("softfloat_berkeley", INTEGERS),
    ("softfloat_bf16", INTEGERS),
    ("traces", JIT),
    ("transfers", STATE),
    ("trap_reports", STATE),
    ("trigger_modes", STATE),
    ("triggers", STATE),
    ("two_stages", STATE),
    ("virtual_instructions", STATE),
    ("bench_kernels", "calculates what the embedded guest does on every RISC-V hart"),
    ("demo_rebuild", "runs cargo"),
    ("bench_guest", STARTS),
    ("command_line", STARTS),
    ("terminal", STARTS),
];

const STATE: &str = "follows a guest's state alone; the unit tests of the same functions run";
const JIT: &str = "compares generated code with the interpreter, and there is no generated code";
const INTEGERS: &str = "calculates with integers alone, the same on every host";
const STARTS: &str = "starts the program, which the host's kernel cannot";

/// Unit tests that do not run.
const NO_TESTS: &[(&str, &str)] = &[
    (
        "board::memory::tests::addresses_are_aligned_as_asked",
        "counts on where the kernel puts maps, which the emulator decides otherwise while other tests make maps",
    ),
    (
        "board::memory::tests::a_page_that_is_touched_is_there_and_as_it_was",
        "asks the kernel how much of a map is there, and the emulator answers: nothing",
    ),
    (
        "board::memory::prealloc::tests::every_page_is_made_and_keeps_its_bytes",
        "has the kernel make pages by an advice that the emulator accepts and forgets",
    ),
    (
        "chardev::tests::stdio_is_raw_and_comes_back",
        "starts this test program again: the host's kernel cannot, only the emulator can",
    ),
];

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fetch packages from this address.
    pub mirror: Option<String>,
    /// Only tests whose name contains this.
    pub filter: String,
    /// Name every test that passes.
    pub names: bool,
}

/// Builds and runs them; how many passed and failed.
pub fn run(options: &Options) -> Result<(usize, usize)> {
    let emulator = tools::user_emulator(options.mirror.as_deref())?;
    let mut test = host::cargo_test();
    let runner = format!("{} {}", host::TEST_RUNNER.join(" "), emulator.display());
    test.args(["--target", TARGET, "--profile", "test-emulated", "--no-fail-fast", "--lib"]).env(RUNNER, runner);
    test.args(CRATES.iter().flat_map(|name| ["--package", name]));
    test.args(PROGRAMS.iter().flat_map(|name| ["--test", name]));
    test.arg("--");
    match options.filter.as_str() {
        // Without a filter the names to skip are whole names.
        "" => test.arg("--exact"),
        filter => test.arg(filter),
    };
    test.args(NO_TESTS.iter().flat_map(|(name, _)| ["--skip", name]));
    let (ran, success) = execute(&mut test, options.names)?;
    Ok(judge(&ran, success, options.filter.is_empty()))
}

/// A test program that ran to its end.
struct Ran {
    name: String,
    summary: TestSummary,
}

/// Runs cargo and reads what its test programs say of themselves.
fn execute(test: &mut Command, names: bool) -> Result<(Vec<Ran>, bool)> {
    // In one stream: which program speaks stands on standard error.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = test.stdout(writer.try_clone()?).stderr(writer).spawn().context("cannot run cargo")?;
    // The command holds the pipe's other end.
    *test = host::cargo();
    let (mut ran, mut name) = (Vec::new(), String::new());
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if let Some(program) = program(&line) {
            name = program.to_owned();
        } else if let Some(summary) = summary(&line) {
            println!("  {name:<24} {:>4} passed, {} failed", summary.passed, summary.failed);
            ran.push(Ran { name: name.clone(), summary });
        } else if !line.trim().is_empty() && (names || !(line.starts_with("test ") && line.ends_with("... ok"))) {
            println!("{line}");
        }
    }
    Ok((ran, child.wait()?.success()))
}

/// The program's name in `Running unittests src/lib.rs (target/.../deps/arch-0123456789abcdef)`.
fn program(line: &str) -> Option<&str> {
    let path = line.trim_start().strip_prefix("Running ")?.split_once('(')?.1.strip_suffix(')')?;
    Some(path.rsplit('/').next()?.rsplit_once('-')?.0)
}

/// Adds up what ran. A program without a test, one that did not end, and a name to skip that no test has are failures.
fn judge(ran: &[Ran], success: bool, all: bool) -> (usize, usize) {
    let sum = |field: fn(&TestSummary) -> usize| ran.iter().map(|r| field(&r.summary)).sum::<usize>();
    let (passed, failed) = (sum(|s| s.passed), sum(|s| s.failed));
    let mut wrong = Vec::new();
    if !success && failed == 0 {
        wrong.push("it did not build, or a test program died".to_owned());
    }
    if all {
        let ran_some = |name: &str| ran.iter().any(|r| r.name == name && r.summary.passed + r.summary.failed > 0);
        let programs = CRATES.iter().chain(PROGRAMS);
        wrong.extend(programs.filter(|name| !ran_some(name)).map(|name| format!("{name}: no test ran")));
        let skipped = sum(|s| s.filtered);
        if success && skipped != NO_TESTS.len() {
            wrong.push(format!("{skipped} tests were left out by name, not {}", NO_TESTS.len()));
        }
        for (name, why) in NO_TESTS.iter().chain(NO_PROGRAMS) {
            println!("  not run: {name}: it {why}");
        }
    } else if success && passed + failed == 0 {
        wrong.push("no test has such a name".to_owned());
    }
    wrong.iter().for_each(|what| println!("{what}"));
    (passed, failed + wrong.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_program_stands_in_one_list() {
        let mut listed: Vec<&str> = PROGRAMS.iter().copied().chain(NO_PROGRAMS.iter().map(|(name, _)| *name)).collect();
        listed.sort_unstable();
        let mut there = Vec::new();
        for name in CRATES {
            let Ok(files) = std::fs::read_dir(host::workspace().join(name).join("tests")) else { continue };
            let files = files.map(|f| f.unwrap().file_name().into_string().unwrap());
            there.extend(files.filter_map(|f| f.strip_suffix(".rs").map(str::to_owned)));
        }
        there.sort_unstable();
        assert_eq!(listed, there);
    }

    #[test]
    fn programs_are_named_by_what_cargo_says() {
        let line = "     Running unittests src/lib.rs (target/riscv64gc-unknown-linux-gnu/debug/deps/arch-46426e9fe7)";
        assert_eq!(program(line), Some("arch"));
        assert_eq!(program("     Running tests/a_b.rs (/t/deps/a_b-1)"), Some("a_b"));
        assert_eq!(program("running 3 tests"), None);
    }

    #[test]
    fn a_run_without_tests_fails() {
        let nothing = TestSummary { passed: 0, failed: 0, filtered: 0 };
        let ran: Vec<Ran> =
            CRATES.iter().map(|name| Ran { name: (*name).to_owned(), summary: nothing.clone() }).collect();
        assert!(judge(&ran, true, true).1 >= CRATES.len());
        assert_eq!(judge(&[], true, false), (0, 1));
        assert_eq!(judge(&[], false, false), (0, 1));
    }
}
