//! The demo guest in the program, on every engine.

use anyhow::{Context, Result, bail};

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
