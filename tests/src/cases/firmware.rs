//! Firmware from the distribution's packages, in M-mode and in S-mode.

use anyhow::{Context, Result};

use super::linux::{PROMPT, power_off};
use super::{Case, contains, equal};
use crate::harness::Env;
use crate::harness::vm::Machine;

pub const CASES: &[Case] = &[
    Case { name: "OpenSBI boots Linux, 1 hart", run: |env| opensbi(env, "virt", 1) },
    Case { name: "OpenSBI boots Linux, 2 harts", run: |env| opensbi(env, "virt", 2) },
    Case { name: "OpenSBI boots Linux with an ACLINT", run: |env| opensbi(env, "virt,aclint=on", 2) },
    Case { name: "U-Boot reaches its prompt", run: |env| uboot(env, false) },
    Case { name: "U-Boot over OpenSBI reaches its prompt", run: |env| uboot(env, true) },
];

fn opensbi(env: &Env, board: &str, harts: u32) -> Result<()> {
    let guest = env.guest()?;
    let bios = guest.opensbi.as_ref().context("there is no OpenSBI")?;
    let machine = Machine::virt(&env.vireo, harts).args(["-M", board]).arg("-bios").arg(bios).linux(guest, "quiet");
    let mut vm = machine.start()?;
    vm.console.expect("OpenSBI v")?;
    vm.console.expect(PROMPT)?;
    equal("the number of harts", vm.console.check("nproc")?, harts.to_string())?;
    contains("the kernel's log", &vm.console.check("dmesg")?, "SBI implementation ID=0x1 ")?;
    power_off(vm)
}

fn uboot(env: &Env, opensbi: bool) -> Result<()> {
    let guest = env.guest()?;
    let kernel = guest.uboot.as_ref().context("there is no U-Boot")?;
    let mut machine = Machine::virt(&env.vireo, 1).arg("-kernel").arg(kernel);
    if opensbi {
        machine = machine.arg("-bios").arg(guest.opensbi.as_ref().context("there is no OpenSBI")?);
    }
    let mut vm = machine.start()?;
    vm.console.expect("U-Boot 20")?;
    // A key stops its count-down to booting from somewhere.
    vm.console.expect("Hit any key")?;
    vm.console.send(" ")?;
    vm.console.expect("=> ")?;
    vm.console.send("version\n")?;
    vm.console.expect("U-Boot 20")?;
    vm.console.expect("=> ")?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    Ok(())
}
