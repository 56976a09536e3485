//! Real programs from the root disk: what they compute in the guest is what they compute on the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Case, contains, equal};
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};
use crate::host::{self, Tool};

pub const CASES: &[Case] = &[
    Case { name: "the system on the root disk", run: system },
    Case { name: "python3, perl, sqlite3, openssl, gcc as on the host", run: as_on_the_host },
    Case { name: "the root disk is clean after poweroff", run: clean_after_poweroff },
];

/// Programs that the checks need on the host.
pub const HOST_TOOLS: &[Tool] = &[
    Tool { program: "python3", package: "python3" },
    Tool { program: "perl", package: "perl" },
    Tool { program: "sqlite3", package: "sqlite3" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "gcc", package: "gcc" },
];

/// The prompt of the root disk's shell.
pub const PROMPT: &str = "root@vireo:~# ";

/// File name, content, and how it is run.
type Check = (&'static str, &'static str, &'static str);

pub const CHECKS: &[Check] = &[
    ("check.py", include_str!("../../guest/check.py"), "python3 check.py"),
    ("check.pl", include_str!("../../guest/check.pl"), "perl check.pl"),
    ("check.sql", include_str!("../../guest/check.sql"), "sqlite3 :memory: < check.sql"),
    ("check-openssl.sh", include_str!("../../guest/check-openssl.sh"), "sh check-openssl.sh"),
    ("check.c", include_str!("../../guest/check.c"), "gcc -O2 -o check check.c -lm && ./check"),
];

/// A machine at the shell of the root disk, whose changes are forgotten; `net` are options of its network.
pub fn boot_disk(env: &Env, machine: Machine, net: &str) -> Result<Vm> {
    let machine = machine.disk(env.disk()?, ",snapshot=on").user_net(net);
    let mut vm = machine.linux(env.guest()?, "quiet root=/dev/vda").start()?;
    vm.console.expect(PROMPT)?;
    // A wide terminal: bash would break the lines that are typed, and its own editing is in the way.
    vm.console.check("stty cols 1000; bind 'set enable-bracketed-paste off'")?;
    Ok(vm)
}

fn system(env: &Env) -> Result<()> {
    let mut vm = boot_disk(env, Machine::virt(&env.vireo, 2), "")?;
    contains("the mounts", &vm.console.check("findmnt -n -o SOURCE,FSTYPE /")?, "ext4")?;
    contains("the machine", &vm.console.check("uname -m")?, "riscv64")?;
    contains("the release", &vm.console.check("cat /etc/os-release")?, "ID=")?;
    contains("the address", &vm.console.check("ip -4 addr show eth0")?, "10.0.2.15/24")?;
    contains("the user", &vm.console.check("id")?, "uid=0(root)")?;
    contains("the processes", &vm.console.check("ps -e")?, "bash")?;
    equal("files that are not root's", vm.console.check("find /usr/bin ! -user root | wc -l")?.as_str(), "0")?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    Ok(())
}

fn as_on_the_host(env: &Env) -> Result<()> {
    compare(env, Machine::virt(&env.vireo, 2), CHECKS.iter())
}

/// Runs checks on `machine` and on the host.
pub fn compare<'a>(env: &Env, machine: Machine, checks: impl Iterator<Item = &'a Check> + Clone) -> Result<()> {
    host::require(HOST_TOOLS)?;
    let dir = scratch()?;
    let files = dir.path().join("files");
    fs::create_dir(&files)?;
    for (name, content, _) in checks.clone() {
        fs::write(files.join(name), content)?;
    }
    // The files go in as a disk that is a tar archive.
    let archive = dir.path().join("files.tar");
    host::run(host::command("tar").arg("-cf").arg(&archive).arg("-C").arg(&files).arg("."))?;
    let mut vm = boot_disk_with(env, machine, &archive)?;
    vm.console.check("mkdir /tmp/files && cd /tmp/files && tar -xf /dev/vdb")?;
    let mut wrong = Vec::new();
    for (name, _, how) in checks {
        let on_host = Command::new("sh").arg("-c").arg(how).current_dir(&files).env("LC_ALL", "C.UTF-8").output()?;
        if !on_host.status.success() {
            bail!("{name} fails on the host: {}", String::from_utf8_lossy(&on_host.stderr).trim());
        }
        let wanted = String::from_utf8_lossy(&on_host.stdout).trim_end().to_owned();
        let got = vm.console.run(&format!("{how} 2>&1"))?;
        if got.status != 0 || got.output.trim_end() != wanted {
            wrong.push(format!("{name}: status {}, it printed\n{}\nbut on the host\n{wanted}", got.status, got.output));
        }
    }
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// The same with a second disk that is only read.
pub fn boot_disk_with(env: &Env, machine: Machine, second: &Path) -> Result<Vm> {
    let machine = machine.disk(env.disk()?, ",snapshot=on").disk(second, ",readonly=on").user_net("");
    let mut vm = machine.linux(env.guest()?, "quiet root=/dev/vda").start()?;
    vm.console.expect(PROMPT)?;
    vm.console.check("stty cols 1000; bind 'set enable-bracketed-paste off'")?;
    Ok(vm)
}

fn clean_after_poweroff(env: &Env) -> Result<()> {
    host::require(&[host::E2FSCK])?;
    let dir = scratch()?;
    let image = dir.path().join("root.img");
    host::run(host::command("cp").args(["--sparse=always", "--reflink=auto"]).arg(env.disk()?).arg(&image))?;
    let start = || -> Result<Vm> {
        let machine = Machine::virt(&env.vireo, 2).disk(&image, "").user_net("");
        let mut vm = machine.linux(env.guest()?, "quiet root=/dev/vda").start()?;
        vm.console.expect(PROMPT)?;
        vm.console.check("stty cols 1000; bind 'set enable-bracketed-paste off'")?;
        Ok(vm)
    };
    let mut vm = start()?;
    vm.console.check("dd if=/dev/urandom of=/root/noise bs=1M count=32 2>&1; sync")?;
    let sum = vm.console.check("sha256sum /root/noise")?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image)).context("after the first run")?;
    let mut vm = start()?;
    equal("the checksum in the second run", vm.console.check("sha256sum /root/noise")?, sum)?;
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image)).context("after the second run")?;
    Ok(())
}
