//! `vireo bench`: every suite once, on every engine that this host has, and what it does when something is wrong. Numbers
//! are not looked at: how fast a machine is, is no test's business.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use bench::result::Report;

use super::{Case, contains, equal};
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "every suite on tcg and interp, 1 hart", run: |env| suites(env, "1") },
    Case { name: "every suite on tcg, 2 harts", run: |env| suites(env, "2") },
    Case { name: "real programs in the Debian guest", run: linux },
    Case { name: "a wrong result fails", run: wrong_result },
    Case { name: "Ctrl-C keeps what is done", run: interrupted },
    Case { name: "shown again, compared, made a page", run: again },
    Case { name: "bad arguments, files and engines", run: bad_input },
];

fn run(env: &Env, args: &[&str]) -> Result<Output> {
    Command::new(&env.vireo).arg("bench").args(args).output().context("cannot run vireo")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs, and fails unless it ends well.
fn good(env: &Env, args: &[&str]) -> Result<String> {
    let output = run(env, args)?;
    if !output.status.success() {
        bail!("{args:?} ended with {}:\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

fn read(path: &Path) -> Result<Report> {
    Report::read(path).map_err(|e| anyhow::anyhow!("{e}"))
}

/// The least that measures something.
const SHORT: [&str; 7] = ["--runs", "1", "--warmup", "0", "--min-ms", "1", "--no-noise"];

fn suites(env: &Env, harts: &str) -> Result<()> {
    let dir = scratch()?;
    let json = dir.path().join("result.json");
    let engines = if harts == "1" { "tcg,interp" } else { "tcg" };
    let mut args = vec!["--suite", "all", "--engines", engines, "--smp", harts, "--json"];
    args.push(json.to_str().context("a path that is not UTF-8")?);
    good(env, &[&args[..], &SHORT].concat())?;
    let report = read(&json)?;
    equal("whether it is complete", report.complete, true)?;
    for suite in bench::session::SUITES {
        let of = |engine: &str| {
            let measured = report.benchmarks.iter().filter(|b| b.name.suite == suite);
            measured.filter(|b| b.results.get(engine).is_some_and(|o| !o.samples.is_empty())).count()
        };
        for engine in engines.split(',') {
            if of(engine) == 0 {
                bail!("nothing of the suite '{suite}' was measured on {engine}");
            }
        }
    }
    if !report.benchmarks.iter().any(|b| b.name.suite == "io" && b.results["tcg"].exits.values().any(|n| *n > 0.0)) {
        bail!("no exits of requests were counted");
    }
    // What takes two harts is not left out when there are two.
    let skipped = report.benchmarks.iter().flat_map(|b| b.results.values().map(move |o| (&b.name, &o.skipped)));
    let skipped: Vec<_> = skipped.filter_map(|(name, why)| Some((name, why.as_ref()?))).collect();
    for (name, why) in &skipped {
        if harts != "1" || !why.contains("one hart") {
            bail!("{name} was skipped: {why}");
        }
    }
    Ok(())
}

fn linux(env: &Env) -> Result<()> {
    let (dir, guest) = (scratch()?, env.guest()?);
    for (name, file) in [("Image", &guest.kernel), ("initrd.gz", &guest.initrd), ("root.img", &env.disk()?.to_owned())]
    {
        std::os::unix::fs::symlink(file, dir.path().join(name))?;
    }
    let json = dir.path().join("result.json");
    let path = |p: &Path| p.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (files, result) = (path(dir.path())?, path(&json)?);
    let args = ["--guest", "linux", "--linux-dir", &files, "--engines", "tcg", "--json", &result];
    good(env, &[&args[..], &SHORT].concat())?;
    let report = read(&json)?;
    let measured = |b: &&bench::result::Benchmark| b.results.get("tcg").is_some_and(|o| o.samples.len() == 1);
    let lost: Vec<_> = report.benchmarks.iter().filter(|b| !measured(b)).map(|b| b.name.to_string()).collect();
    if !lost.is_empty() || report.benchmarks.len() < 15 {
        bail!("{} programs, not measured: {lost:?}", report.benchmarks.len());
    }
    Ok(())
}

fn wrong_result(env: &Env) -> Result<()> {
    let args = ["--suite", "cpu", "--only", "sort", "--engines", "tcg", "--append", "selfcheck-fail=cpu/sort"];
    let output = run(env, &[&args[..], &SHORT].concat())?;
    equal("the exit code", output.status.code(), Some(1))?;
    let said = text(&output.stdout);
    contains("the table", &said, "FAILED cpu/sort on tcg: got ")?;
    let row = said.lines().find(|l| l.trim_start().starts_with("sort")).context("the table has no row")?;
    contains("the row", row, "FAILED")?;
    if row.contains('µ') || row.contains(" ms") || row.contains(" ns") {
        bail!("a wrong result has a number: {row}");
    }
    Ok(())
}

fn interrupted(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let json = dir.path().join("result.json");
    let mut command = Command::new(&env.vireo);
    // More than anybody waits for.
    command.args(["bench", "--suite", "boot,cpu", "--engines", "tcg", "--runs", "1000", "--json"]).arg(&json);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run vireo")?;
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    // The first run that counts is over when the second begins.
    let second = said.by_ref().find(|l| l.as_ref().is_ok_and(|l| l.contains("run 2/1000")));
    second.context("there is no second run")??;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)?;
    said.for_each(drop);
    let output = child.wait_with_output()?;
    equal("the exit code", output.status.code(), Some(130))?;
    contains("the table", &text(&output.stdout), "ended early")?;
    let report = read(&json)?;
    equal("whether it is complete", report.complete, false)?;
    let samples = report.benchmarks.iter().flat_map(|b| b.results.values()).map(|o| o.samples.len()).max();
    if samples.is_none_or(|n| n == 0) {
        bail!("nothing was kept");
    }
    Ok(())
}

fn again(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let file = |name: &str| dir.path().join(name).to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (json, html, svg) = (file("a.json")?, file("a.html")?, file("a.svg")?);
    let args = ["--suite", "cpu", "--engines", "tcg", "--runs", "2", "--min-ms", "1", "--json", &json];
    let first = good(env, &args)?;
    contains("the table", &first, "noise: tcg against itself")?;
    let shown = good(env, &["--show", &json, "--html", &html, "--svg", &svg])?;
    contains("the table again", &shown, "sort")?;
    let page = std::fs::read_to_string(&html)?;
    contains("the page", &page, "</html>")?;
    if page.contains("http:") || page.contains("https:") {
        bail!("the page needs another place");
    }
    contains("the picture", &std::fs::read_to_string(&svg)?, "</svg>")?;
    let compared = good(env, &["--compare", &json, &json])?;
    contains("the comparison", &compared, "0 faster, 0 slower")
}

fn bad_input(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let other = dir.path().join("other.json");
    std::fs::write(&other, "{\"schema\": \"another/2\"}")?;
    let other = other.to_str().context("a path that is not UTF-8")?;
    for (args, part) in [
        (vec!["--suite", "games"], "there is no suite 'games'; there are boot"),
        (vec!["--engines", "bochs"], "there is no engine 'bochs'; there are tcg"),
        (vec!["--runs", "0"], "--runs 0: must be a whole number from 1"),
        (vec!["--smp", "0"], "1 to 512"),
        (vec!["--pin", "5000"], "--pin 5000"),
        (vec!["--qemu", "/nowhere/qemu", "--engines", "qemu"], "cannot run '/nowhere/qemu'"),
        (vec!["--qemu", "/bin/true", "--engines", "qemu"], "'/bin/true' is not QEMU's"),
        (vec!["--qemu", "/bin/false", "--engines", "qemu"], "'/bin/false' --version ended with"),
        (vec!["--guest", "linux", "--linux-dir", "/nowhere"], "/nowhere/Image"),
        (vec!["--show", "/nowhere.json"], "cannot read '/nowhere.json'"),
        (vec!["--show", other], "its schema is 'another/2'"),
        (vec!["--compare", other, other], "its schema is 'another/2'"),
        (vec!["--nonsense"], "--nonsense"),
    ] {
        let output = run(env, &args)?;
        let said = text(&output.stderr);
        equal(&format!("the exit code of {args:?}"), output.status.code(), Some(1))?;
        contains(&format!("what {args:?} says"), &said, part)?;
        equal(&format!("lines that {args:?} says"), said.lines().count(), 1)?;
    }
    if !cfg!(target_arch = "riscv64") {
        let output = run(env, &["--engines", "kvm"])?;
        contains("kvm", &text(&output.stderr), "none of the engines can be measured here: kvm: the host is")?;
    }
    contains("help", &good(env, &["--help"])?, "--compare")
}
