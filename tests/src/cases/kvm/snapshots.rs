//! Snapshots that one engine writes and the other reads.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::guests::wait_for_shell;
use super::host::Host;
use crate::cases::debugger::program;
use crate::cases::linux::PROMPT;
use crate::cases::snapshot::Monitor;
use crate::cases::{contains, equal};
use crate::harness::console::tail;
use crate::harness::vm::Vm;
use crate::harness::{Env, http, scratch};

/// The monitor's port in the host.
const PORT: u16 = 4444;
/// Where guests begin that are not firmware.
const BASE: u64 = 0x8020_0000;

/// Starts Linux on an engine.
fn start(host: &mut Vm, engine: &str, more: &str) -> Result<()> {
    host.console.send(&format!(
        "vireo -accel {engine} -cpu host -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
         -append 'console=ttyS0 quiet' -drive file=/tmp/disk,if=none,format=raw,id=d \
         -device virtio-blk-device,drive=d -monitor tcp::{PORT},server=on,wait=off {more}; printf '<%s:%d>\\n' ended $?\n"
    ))
}

/// The monitor of a machine that has just been started.
fn monitor(host: &Vm, port: u16, state: &str) -> Result<Monitor> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Ok(mut monitor) = Monitor::at_port(port)
            && monitor.ask("info status")?.contains(state)
        {
            return Ok(monitor);
        }
        if Instant::now() > deadline {
            bail!("there is no machine that is {state}; the end of the console:\n{}", tail(&host.console.text()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Saves a guest, and ends its program.
fn save(host: &mut Vm, port: u16, file: &str) -> Result<()> {
    let mut monitor = monitor(host, port, "running")?;
    contains("the answer", &monitor.ask(&format!("migrate file:{file}"))?, "Migration status: completed")?;
    let _ = monitor.ask("quit");
    host.console.expect("<ended:0>")?;
    host.console.expect(PROMPT).map(drop)
}

/// What goes on meanwhile: an open file, a process that sleeps.
const WORK: &str = "rm -f /tmp/done /tmp/awake; exec 7>/tmp/open; set +m\n\
    (for i in $(seq 200); do echo line $i >&7; usleep 20000; done; echo > /tmp/done) & true";

fn begin(guest: &mut Vm) -> Result<f64> {
    let console = &mut guest.console;
    console.check(
        "dd if=/dev/urandom of=/tmp/noise bs=64k count=8 2>&1; dd if=/tmp/noise of=/dev/vda bs=64k 2>&1; sync",
    )?;
    console.check(WORK)?;
    console.check("(sleep 6; echo > /tmp/awake) & true")?;
    Ok(console.check("cut -d' ' -f1 /proc/uptime")?.trim().parse()?)
}

fn look(guest: &mut Vm, before: f64) -> Result<()> {
    let console = &mut guest.console;
    let after: f64 = console.check("cut -d' ' -f1 /proc/uptime")?.trim().parse()?;
    if !(before..before + 100.0).contains(&after) {
        bail!("the guest's time went from {before} to {after} s");
    }
    console.check("while [ ! -e /tmp/done -o ! -e /tmp/awake ]; do usleep 100000; done")?;
    equal(
        "the open file",
        console.check("seq 200 | sed 's/^/line /' | cmp - /tmp/open && echo same")?.as_str(),
        "same",
    )?;
    console.check("echo 3 > /proc/sys/vm/drop_caches; head -c 524288 /dev/vda | cmp - /tmp/noise")?;
    equal("the number of harts", console.check("nproc")?.as_str(), "2")?;
    equal("a sum", console.check("sleep 1; echo $((40 + 2))")?.as_str(), "42")?;
    equal("the kernel's errors", console.check("dmesg -r | grep -E '^<[0-3]>' || true")?.as_str(), "")
}

/// Linux of KVM goes on under the translator, and that under KVM.
pub fn linux(env: &Env) -> Result<()> {
    let port = http::free_port()?;
    Host::of_vireo(env).port(port, PORT).run(|host| {
        host.console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>&1")?;
        start(host, "kvm", "")?;
        wait_for_shell(host)?;
        for (round, engine) in ["tcg", "kvm", "kvm"].into_iter().enumerate() {
            let before = begin(host)?;
            let file = format!("/tmp/saved{round}");
            save(host, port, &file)?;
            start(host, engine, &format!("-incoming file:{file}"))?;
            let mut monitor = monitor(host, port, "running")?;
            contains("the engine", &monitor.ask("info accel")?, &format!("\n* {engine}"))?;
            look(host, before)?;
            host.console.check("exec 7>&-")?;
        }
        host.console.send("poweroff -f\n")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT).map(drop)
    })
}

/// The counter of a bare program, by the monitor.
fn counter(monitor: &mut Monitor) -> Result<u64> {
    let said = monitor.ask(&format!("xp /1gx {:#x}", BASE + 0x100))?;
    let digits = said.split(": 0x").nth(1).and_then(|rest| rest.split_whitespace().next());
    u64::from_str_radix(digits.unwrap_or_default(), 16).with_context(|| format!("no number: {said}"))
}

/// Guests that began under the translator: one goes on under KVM, and one uses what KVM has not.
pub fn began_under_tcg(env: &Env) -> Result<()> {
    let (dir, port) = (scratch()?, http::free_port()?);
    let file = dir.path().join("program");
    fs::write(&file, program(BASE)?)?;
    Host::of_vireo(env).port(port, PORT).program("counts", file).run(|host| {
        let start = |host: &mut Vm, engine: &str, more: &str| {
            host.console.send(&format!(
                "vireo -accel {engine} -cpu host -smp 2 -nographic -monitor tcp::{PORT},server=on,wait=off {more}; \
                 printf '<%s:%d>\\n' ended $?\n"
            ))
        };
        start(host, "tcg", "-kernel /bin/counts")?;
        let mut last = 0;
        for (round, engine) in ["kvm", "tcg", "kvm"].into_iter().enumerate() {
            let file = format!("/tmp/saved{round}");
            save(host, port, &file)?;
            start(host, engine, &format!("-kernel /bin/counts -incoming file:{file}"))?;
            let mut monitor = monitor(host, port, "running")?;
            contains("the engine", &monitor.ask("info accel")?, &format!("\n* {engine}"))?;
            let (first, deadline) = (counter(&mut monitor)?, Instant::now() + Duration::from_secs(120));
            equal("whether it goes on where it was", first > last, true)?;
            last = first;
            while last == first {
                last = counter(&mut monitor)?;
                equal("whether it counts in time", Instant::now() < deadline, true)?;
            }
        }
        let _ = monitor(host, port, "running")?.ask("quit");
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT)?;

        start(host, "tcg", "")?;
        host.console.expect("vireo> ")?;
        save(host, port, "/tmp/demo")?;
        start(host, "kvm", "-incoming file:/tmp/demo")?;
        host.console.expect("sbi: kvm does not take what was used of it: SSE")?;
        host.console.expect("<ended:1>")?;
        host.console.expect(PROMPT).map(drop)
    })
}
