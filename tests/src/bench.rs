//! `cargo kit bench`: `vireo bench` with all it takes. `cargo kit bench-boot`: vireo and QEMU on the same guest, by turns, so that what else the machine does falls on both.
//!
//! Each run boots to the first shell, then runs two loops there and idles. The figures are medians of wall-clock times.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::harness::vm::Machine;
use crate::{guest, host, tools, verify};

#[derive(Clone, Debug)]
pub struct Options {
    /// Pairs of runs.
    pub runs: usize,
    pub mirror: Option<String>,
    pub qemu: Option<PathBuf>,
    /// The program to measure, instead of one built for it.
    pub vireo: Option<PathBuf>,
}

/// What is measured, in the order of [`measure`]'s figures.
const FIGURES: &[(&str, &str)] = &[
    ("power on to init", "s"),
    ("ash loop, 300,000 additions", "s"),
    ("300 exec of a small program", "s"),
    ("memory above guest RAM, idle", "MiB"),
];

/// How long the guest idles before its memory is looked at: each program has its time to give back what it can.
const IDLE: Duration = Duration::from_secs(5);

const PROMPT: &str = "initramfs# ";

/// `cargo kit bench`: becomes `vireo bench` with the guest and the QEMUs to compare with.
pub fn whole(mirror: Option<&str>, newest: bool, extra: &[String]) -> Result<Infallible> {
    guest::prepare(&guest::Options { mirror: mirror.map(str::to_owned), disk: true, ..guest::Options::default() })?;
    let mut qemus = vec![tools::prepare(mirror)?.qemu];
    if newest {
        qemus.push(tools::newest_qemu(mirror)?.context("the distribution's suites have no newer QEMU")?);
    }
    host::say("building vireo");
    let program = verify::build_vireo()?;
    let mut command = Command::new(&program);
    command.args(["bench", "--suite", "all", "--guest", "linux"]);
    for qemu in qemus {
        command.arg("--qemu").arg(qemu);
    }
    let error = command.args(extra).exec();
    bail!("cannot run {}: {error}", program.display())
}

pub fn run(options: &Options) -> Result<()> {
    if options.runs == 0 {
        bail!("--runs 0 measures nothing; give 1 or more");
    }
    let wanted = guest::Options { mirror: options.mirror.clone(), ..guest::Options::default() };
    let guest = guest::prepare(&wanted)?;
    let qemu = match &options.qemu {
        Some(path) => path.clone(),
        None => tools::prepare(options.mirror.as_deref())?.qemu,
    };
    let programs = [options.vireo.clone().map_or_else(verify::build_vireo, Ok)?, qemu];
    let version = host::run(Command::new(&programs[1]).arg("--version"))?;
    let version = version.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator version ").to_owned();
    let mut figures = [const { Vec::new() }; 2];
    for pair in 0..options.runs {
        // The first of a pair changes, lest one always finds the warmer machine.
        for turn in [pair % 2, 1 - pair % 2] {
            let measured = measure(&programs[turn], &guest)?;
            host::say(format_args!("pair {}: {}: {measured:.2?}", pair + 1, ["vireo", "QEMU"][turn]));
            figures[turn].push(measured);
        }
    }
    println!("{} pairs, 1 hart, 1 GiB; medians; QEMU {version}\n", options.runs);
    println!("| {:<36} | {:>9} | {:>9} | {:>12} |", "", "vireo", "QEMU", "vireo / QEMU");
    println!("|{:-<38}|{:->10}:|{:->10}:|{:->13}:|", "", "", "", "");
    for (n, (name, unit)) in FIGURES.iter().enumerate() {
        let [ours, theirs] = [0, 1].map(|p: usize| median(figures[p].iter().map(|f: &[f64; 4]| f[n]).collect()));
        println!("| {:<36} | {ours:>9.2} | {theirs:>9.2} | {:>12.2} |", format!("{name}, {unit}"), ours / theirs);
    }
    Ok(())
}

fn measure(program: &Path, guest: &guest::Guest) -> Result<[f64; 4]> {
    // No firmware would be no comparison: each has its own default, and the time of both counts.
    let machine = Machine::virt(program, 1).linux(guest, "quiet");
    let start = Instant::now();
    let mut vm = machine.start()?;
    vm.console.expect("initramfs: started after")?;
    let boot = start.elapsed().as_secs_f64();
    vm.console.expect(PROMPT)?;
    let mut timed = |command: &str| -> Result<f64> {
        let start = Instant::now();
        vm.console.check(command)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let additions = timed("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")?;
    let execs = timed("i=0; while [ $i -lt 300 ]; do /bin/busybox true; i=$((i+1)); done")?;
    thread::sleep(IDLE);
    let memory = memory_above_ram(vm.pid(), 1 << 30)?;
    vm.console.send("poweroff -f\n")?;
    let end = vm.wait()?;
    if !end.status.success() {
        bail!("{} ended with {}: {}", program.display(), end.status, end.errors);
    }
    Ok([boot, additions, execs, memory as f64 / 1024.0])
}

/// Resident memory in KiB without the mapping that is the guest's RAM, which is told by its size.
fn memory_above_ram(pid: u32, ram: u64) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).context("cannot read the VMM's memory map")?;
    let (mut total, mut guest, mut size) = (0, 0, 0);
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some((low, high)) = first.split_once('-') {
            let number = |s: &str| u64::from_str_radix(s, 16);
            if let (Ok(low), Ok(high)) = (number(low), number(high)) {
                size = high - low;
            }
        } else if first == "Rss:" {
            let rss: u64 =
                line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).context("smaps has an odd line")?;
            total += rss;
            if size >= ram {
                guest += rss;
            }
        }
    }
    if guest == 0 {
        bail!("process {pid} has no mapping as large as the guest's RAM");
    }
    Ok(total - guest)
}

fn median(values: Vec<f64>) -> f64 {
    ::bench::stats::median(&values).expect("there is a run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
