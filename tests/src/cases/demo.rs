//! The demo guest in the program, on every engine.

use anyhow::{Context, Result, bail};

use rustix::thread::CpuSet;

use super::{Case, contains, equal};
use crate::harness::Env;
use crate::harness::vm::Machine;

pub const CASES: &[Case] = &[
    Case { name: "no arguments: the demo guest at its prompt", run: no_arguments },
    Case { name: "demo self-test, tcg, 1 hart", run: |env| selftest(env, &["-smp", "1"]) },
    Case { name: "demo self-test, tcg, 2 harts", run: |env| selftest(env, &["-accel", "tcg", "-smp", "2"]) },
    Case { name: "demo self-test, tcg, 4 harts", run: |env| selftest(env, &["-smp", "4"]) },
    Case { name: "demo self-test, interp, 2 harts", run: |env| selftest(env, &["-accel", "interp", "-smp", "2"]) },
    Case {
        name: "demo self-test, tcg with jit=off",
        run: |env| selftest(env, &["-accel", "tcg,jit=off", "-smp", "2"]),
    },
    Case {
        name: "demo self-test, one instruction a block",
        run: |env| selftest(env, &["-accel", "tcg,one-insn-per-tb=on", "-smp", "2"]),
    },
    Case { name: "demo self-test, the smallest code cache", run: |env| selftest(env, &["-accel", "tcg,tb-size=1"]) },
    Case { name: "harts on chosen CPUs of the host", run: affinity },
    Case { name: "demo reboots five times", run: reboots },
    Case { name: "Ctrl-A X ends a machine", run: ctrl_a_x },
    Case { name: "kill -TERM ends a machine", run: sigterm },
];

const PROMPT: &str = "vireo> ";

fn no_arguments(env: &Env) -> Result<()> {
    let mut vm = Machine::bare(&env.vireo).start()?;
    vm.console.expect(PROMPT)?;
    vm.console.send("echo still here\r")?;
    vm.console.expect("\nstill here")?;
    vm.console.expect(PROMPT)?;
    vm.console.send("poweroff\r")?;
    vm.wait_off()?;
    Ok(())
}

fn selftest(env: &Env, args: &[&str]) -> Result<()> {
    let mut vm = Machine::new(&env.vireo).args(args).start()?;
    vm.console.expect(PROMPT)?;
    vm.console.send("selftest\r")?;
    let report = vm.console.expect(PROMPT)?;
    let failures: Vec<_> = report.lines().filter(|l| l.starts_with("FAIL")).collect();
    let passes = report.lines().filter(|l| l.starts_with("PASS")).count();
    if !failures.is_empty() {
        bail!("the guest's self-test failed:\n{}", failures.join("\n"));
    }
    contains("the report", &report, &format!("selftest: {passes} passed, 0 failed"))?;
    if passes == 0 {
        bail!("the guest tested nothing:\n{report}");
    }
    vm.console.send("poweroff\r")?;
    vm.wait_off()?;
    Ok(())
}

/// Hart 0 on the last CPU there is, hart 1 on the first; other threads anywhere.
fn affinity(env: &Env) -> Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    let harts = format!("3,affinity=0@{last}:1@{first}");
    let mut vm = Machine::new(&env.vireo).args(["-smp", &harts]).start()?;
    vm.console.expect(PROMPT)?;
    let all = cpus_of(vm.pid(), "vireo")?;
    for (thread, wanted) in [("vcpu0", last.to_string()), ("vcpu1", first.to_string()), ("vcpu2", all.clone())] {
        equal(thread, cpus_of(vm.pid(), thread)?, wanted)?;
    }
    vm.console.send("selftest\r")?;
    let report = vm.console.expect(PROMPT)?;
    contains("the report", &report, " 0 failed")?;
    vm.console.send("poweroff\r")?;
    vm.wait_off()?;
    Ok(())
}

/// The list of CPUs that the first thread of that name may run on.
fn cpus_of(pid: u32, thread: &str) -> Result<String> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        if field("Name:") == Some(thread) {
            return field("Cpus_allowed_list:").map(str::to_owned).context("no list of CPUs in the status");
        }
    }
    bail!("there is no thread '{thread}'")
}

fn reboots(env: &Env) -> Result<()> {
    let mut vm = Machine::new(&env.vireo).args(["-smp", "2"]).start()?;
    for _ in 0..5 {
        vm.console.expect(PROMPT)?;
        vm.console.send("reboot\r")?;
        vm.console.expect("Vireo demo guest")?;
    }
    vm.console.expect(PROMPT)?;
    vm.console.send("poweroff\r")?;
    vm.wait_off()?;
    Ok(())
}

fn ctrl_a_x(env: &Env) -> Result<()> {
    let mut vm = Machine::new(&env.vireo).start()?;
    vm.console.expect(PROMPT)?;
    vm.console.send("\x01x")?;
    let end = vm.wait()?;
    equal("the exit code", end.status.code(), Some(0))
}

fn sigterm(env: &Env) -> Result<()> {
    let mut vm = Machine::new(&env.vireo).start()?;
    vm.console.expect(PROMPT)?;
    let pid = rustix::process::Pid::from_raw(vm.pid().cast_signed()).context("a process has a number")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let end = vm.wait()?;
    // Ended by itself, with a word about why; not by the signal.
    if end.status.code().is_none() {
        bail!("ended by the signal itself: {}", end.status);
    }
    contains("standard error", &end.errors, "signal 15")
}
