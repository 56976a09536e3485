//! `cargo kit fuzz`: libFuzzer at one of the targets of `tests/fuzz`, for as long as one likes.
//!
//! A stable compiler does it: the pass that counts what code is reached is LLVM's, and its options are not the language's.
//! What is found is left in a file, which `cargo run -p fuzz -- TARGET FILE` tries again without libFuzzer.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;

/// Counters at every edge, and the operands of comparisons, as libFuzzer reads them.
const COVERAGE: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
                        -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: they are listed.
    pub target: Option<String>,
    pub minutes: u64,
    /// Further options of libFuzzer's.
    pub extra: Vec<String>,
}

/// Runs it; whether nothing was found.
pub fn run(options: &Options) -> Result<bool> {
    let fuzz = |words: &[&str]| {
        let mut run = host::cargo();
        run.args(["run", "--quiet", "--profile", "test-fast", "--package", "fuzz", "--"]).args(words);
        run
    };
    let Some(target) = &options.target else {
        print!("{}", host::run(&mut fuzz(&[]))?);
        return Ok(true);
    };
    let folder = host::target_dir()?.join("fuzz");
    // What earlier runs have found is gone on from.
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("found").join(target);
    for folder in [&corpus, &found] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    host::run(&mut fuzz(&["seeds", target, &corpus.display().to_string()]))?;
    let triple = host::run(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let triple = triple.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    host::say("building with coverage");
    let mut build = host::cargo();
    build.args(["build", "--quiet", "--profile", "test-fast", "--package", "fuzz", "--features", "libfuzzer"]);
    // Build scripts and macros are no part of it: those are for another target, if one is named.
    build.args(["--target", triple, "--target-dir"]).arg(folder.join("build")).env("RUSTFLAGS", COVERAGE);
    if !build.status().context("cannot run cargo")?.success() {
        bail!("the target does not build with coverage");
    }
    let program = folder.join("build").join(triple).join("test-fast/fuzz");
    let mut fuzzer = Command::new(program);
    fuzzer.env("VIREO_FUZZ_TARGET", target).arg(&corpus);
    fuzzer.arg(format!("-dict={}", corpus.with_extension("dict").display()));
    fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.arg(format!("-max_total_time={}", options.minutes * 60));
    // Seconds an input, and MiB: only what grows without bound meets them.
    fuzzer.args(["-timeout=300", "-rss_limit_mb=4096", "-max_len=1048576"]).args(&options.extra);
    if fuzzer.status().context("cannot run libFuzzer")?.success() {
        return Ok(true);
    }
    println!("what it has found is in {}; once more: cargo run -p fuzz -- {target} FILE", found.display());
    Ok(false)
}
