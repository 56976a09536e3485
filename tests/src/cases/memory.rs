//! What the guest's RAM is made of: every backend boots, and the host's side of it is as the options say.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Case, contains, equal};
use crate::harness::vm::{End, Machine};
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "RAM: anonymous", run: |env| works(env, "memory-backend-ram") },
    Case { name: "RAM: anonymous, shared", run: |env| works(env, "memory-backend-ram,share=on,reserve=off") },
    Case { name: "RAM: allocated at the start", run: |env| works(env, "memory-backend-ram,prealloc=on") },
    Case { name: "RAM: memfd", run: |env| works(env, "memory-backend-memfd") },
    Case { name: "RAM: memfd of huge pages", run: huge_pages },
    Case { name: "RAM: a file", run: file },
    Case { name: "RAM: a file without a name", run: folder },
    Case { name: "RAM: a template that stays as it is", run: template },
    Case { name: "RAM: a signal while it is allocated", run: interrupted },
];

const MIB: u64 = 128;

fn machine(env: &Env, object: &str) -> Result<End> {
    Machine::new(&env.vireo)
        .args(["-smp", "2", "-append", "selftest", "-machine", "memory-backend=ram", "-object"])
        .arg(format!("{object},id=ram,size={MIB}M"))
        .start()?
        .wait()
}

/// The self-test passes.
fn works(env: &Env, object: &str) -> Result<()> {
    passed(&machine(env, object)?)
}

fn passed(end: &End) -> Result<()> {
    if !end.status.success() || !end.errors.is_empty() {
        bail!("{}; {}; {}", end.status, end.errors, end.output);
    }
    contains("the report", &end.output, " passed, 0 failed")
}

/// Where the host has them; else the line says how many there should be.
fn huge_pages(env: &Env) -> Result<()> {
    let free = |what: &str| -> Result<u64> {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{what}_hugepages");
        Ok(fs::read_to_string(path).unwrap_or_else(|_| "0".to_owned()).trim().parse()?)
    };
    let enough = free("free")?.saturating_sub(free("resv")?) >= MIB / 2;
    let end = machine(env, "memory-backend-memfd,hugetlb=on,hugetlbsize=2M,prealloc=on")?;
    if enough {
        return passed(&end);
    }
    equal("the exit code", end.status.code(), Some(1))?;
    equal("the number of lines", end.errors.lines().count(), 1)?;
    if !end.errors.contains("no huge pages of 2M") {
        contains("standard error", &end.errors, "needs 64 huge pages of 2M")?;
    }
    Ok(())
}

fn name(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary folder's name is UTF-8")
}

/// The program at its load address, two MiB into RAM.
fn program(path: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(path)?.split_off(2 << 20).into_iter().take(64).collect())
}

fn file(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let path = dir.path().join("ram");
    works(env, &format!("memory-backend-file,mem-path={},share=on,prealloc=on", name(&path)?))?;
    equal("the file's length", fs::metadata(&path)?.len(), MIB << 20)?;
    if program(&path)?.iter().all(|byte| *byte == 0) {
        bail!("a shared file does not hold the guest's memory");
    }
    works(env, &format!("memory-backend-file,mem-path={},share=on,discard-data=on", name(&path)?))?;
    if program(&path)?.iter().any(|byte| *byte != 0) {
        bail!("discard-data=on left what the guest wrote");
    }
    works(env, &format!("memory-backend-file,mem-path={}", name(&path)?))?;
    if program(&path)?.iter().any(|byte| *byte != 0) {
        bail!("share=off has changed the file");
    }
    Ok(())
}

fn folder(env: &Env) -> Result<()> {
    let dir = scratch()?;
    works(env, &format!("memory-backend-file,mem-path={}", name(dir.path())?))?;
    let end = Machine::new(&env.vireo).args(["-append", "selftest", "-mem-prealloc", "-mem-path"]).arg(dir.path());
    passed(&end.start()?.wait()?)?;
    equal("files left in the folder", fs::read_dir(dir.path())?.count(), 0)
}

fn template(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let path = dir.path().join("ram");
    // What stands there is what RAM holds before anything is loaded.
    fs::write(&path, vec![0xa5; (MIB as usize) << 20])?;
    works(env, &format!("memory-backend-file,mem-path={},readonly=on,rom=off", name(&path)?))?;
    if fs::read(&path)?.iter().any(|byte| *byte != 0xa5) {
        bail!("readonly=on has changed the file");
    }
    Ok(())
}

fn interrupted(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let pidfile = dir.path().join("pid");
    let vm = Machine::new(&env.vireo).args(["-m", "2G", "-mem-prealloc", "-pidfile"]).arg(&pidfile).start()?;
    let pid = Pid::from_raw(vm.pid().cast_signed()).context("a process has a number")?;
    // Once the program looks after the signal itself, it ends in order.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !catches(vm.pid(), Signal::INT)? {
        if Instant::now() > deadline {
            bail!("the program does not catch signals");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(pid, Signal::INT)?;
    let end = vm.wait()?;
    equal("the exit code", end.status.code(), Some(130))?;
    contains("standard error", &end.errors, "ended by signal 2")?;
    equal("whether the file with the number is left", pidfile.exists(), false)
}

fn catches(pid: u32, signal: Signal) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("no SigCgt in the status")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? >> (signal.as_raw() - 1) & 1 != 0)
}
