//! `-accel kvm,debug-switch=on`: guests of KVM go to the translator for what only that can, and come back.

use std::fs;

use anyhow::{Context, Result, bail};

use super::guests::wait_for_shell;
use super::host::Host;
use crate::cases::debugger::{gdb_symbol, program, write_symbols};
use crate::cases::linux::PROMPT;
use crate::cases::{contains, equal};
use crate::harness::gdb::Session;
use crate::harness::{Env, http, scratch};

/// The server's port in the host.
const PORT: u16 = 1234;
/// Where guests begin that are not firmware.
const BASE: u64 = 0x8020_0000;

const ENABLED: &str = "kvm support: enabled";
const DISABLED: &str = "kvm support: disabled";
const BACK: &str = "the guest went from tcg to kvm again; downtime: ";

/// Lets the guest go on for a moment.
fn goes_on(gdb: &mut Session) -> Result<String> {
    gdb.send("continue")?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    gdb.interrupt()?;
    let said = gdb.stops()?;
    contains("the stop", &said, "SIGINT")?;
    Ok(said)
}

/// A bare program, whose counter is watched and whose code is logged.
pub fn bare(env: &Env) -> Result<()> {
    let (dir, port) = (scratch()?, http::free_port()?);
    let file = dir.path().join("program");
    fs::write(&file, program(BASE)?)?;
    Host::of_vireo(env).port(port, PORT).program("counts", file.clone()).run(|host| {
        // From the command line.
        let said = host.console.check(
            "printf 'info kvm\nlog none\ninfo kvm\nquit\n' | vireo -accel kvm,debug-switch=on -d exec -S -serial null \
             -monitor stdio -display none 2>&1",
        )?;
        let places: Vec<_> = [DISABLED, BACK, ENABLED].iter().map(|part| said.find(part)).collect();
        if !places.is_sorted() || places.contains(&None) {
            bail!("the guest should begin under tcg and go to kvm, but:\n{said}");
        }

        host.console.send(&format!(
            "vireo -accel kvm,debug-switch=on -smp 2 -nographic -kernel /bin/counts -S -D /tmp/log -gdb tcp::{PORT}; \
             printf '<%s:%d>\\n' ended $?\n"
        ))?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        let mut gdb = Session::attach_to(env.gdb()?, &file, &format!("127.0.0.1:{port}"))?;
        gdb.check("monitor info kvm", ENABLED)?;
        goes_on(&mut gdb)?;
        let counted = gdb.value("*(long *)&counter")?;
        equal("whether it counts", counted > 0, true)?;
        gdb.check("watch *(long *)&counter", "Hardware watchpoint 1")?;
        let mut old = counted;
        for round in 0..4 {
            let stop = gdb.ask("continue")?;
            let gone = stop.contains("the guest went from kvm to tcg for a watchpoint; downtime: ");
            equal("whether gdb tells where the guest goes", gone, round == 0)?;
            contains("the stop", &stop, "Hardware watchpoint 1: *(long *)&counter")?;
            let new = gdb.value("*(long *)&counter")?;
            contains("the stop", &stop, &format!("Old value = {old}\nNew value = {new}\n"))?;
            equal("the counter", new, old + 1)?;
            equal("the pc behind the store", gdb.value("$pc")?, BASE + 28)?;
            gdb.check("monitor info kvm", DISABLED)?;
            old = new;
        }
        gdb.ask("delete")?;
        contains("what gdb hears", &goes_on(&mut gdb)?, BACK)?;
        gdb.check("monitor info kvm", ENABLED)?;
        equal("whether it counts", gdb.value("*(long *)&counter")? > old + 100, true)?;

        // Breakpoints are KVM's.
        gdb.check("break *bump", "Breakpoint 2")?;
        gdb.check("continue", "Breakpoint 2, 0x")?;
        gdb.check("monitor info kvm", ENABLED)?;
        gdb.ask("delete")?;

        gdb.check("monitor log exec,hart=0", "the guest went from kvm to tcg for the log; downtime: ")?;
        goes_on(&mut gdb)?;
        gdb.check("monitor log none", BACK)?;
        gdb.check("monitor info kvm", ENABLED)?;
        goes_on(&mut gdb)?;

        // Whoever leaves wants nothing any more.
        gdb.check("rwatch *(long *)&counter", "Hardware read watchpoint 3")?;
        gdb.check("continue", "read watchpoint 3")?;
        equal("the pc behind the load", gdb.value("$pc")?, BASE + 20)?;
        gdb.check("detach", "detached")?;
        let mut gdb = Session::attach_to(env.gdb()?, &file, &format!("127.0.0.1:{port}"))?;
        gdb.check("monitor info kvm", ENABLED)?;
        gdb.ask("kill")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT)?;
        contains("the log", &host.console.check("grep -c '<bump>' /tmp/log; tail -n 4 /tmp/log")?, "<bump>")
    })
}

/// Linux, whose clock is watched while it works.
pub fn linux(env: &Env) -> Result<()> {
    let (dir, port) = (scratch()?, http::free_port()?);
    let file = dir.path().join("symbols");
    Host::of_vireo(env).port(port, PORT).run(|host| {
        host.console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>&1")?;
        host.console.send(&format!(
            "vireo -accel kvm,debug-switch=on -smp 2 -m 256M -nographic -kernel /mnt/root/Image \
             -initrd /mnt/root/initrd.gz -append 'console=ttyS0 quiet' -drive file=/tmp/disk,if=none,format=raw,id=d \
             -device virtio-blk-device,drive=d -gdb tcp::{PORT}; printf '<%s:%d>\\n' ended $?\n"
        ))?;
        wait_for_shell(host)?;
        write_symbols(host, &file)?;
        let line = host.console.check("grep -w jiffies_64 /proc/kallsyms")?;
        let jiffies = line.split_whitespace().next().context("Linux counts jiffies")?.to_owned();
        let mut gdb = Session::attach_to(env.gdb()?, &file, &format!("127.0.0.1:{port}"))?;
        let value = format!("*(unsigned long *)0x{jiffies}");
        gdb.check(&format!("watch {value}"), "Hardware watchpoint 1")?;
        let text = gdb_symbol(&mut gdb, "_stext")?..gdb_symbol(&mut gdb, "_etext")?;
        let mut last = gdb.value(&value)?;
        for _ in 0..3 {
            contains("the stop", &gdb.ask("continue")?, "Hardware watchpoint 1: ")?;
            let (now, pc) = (gdb.value(&value)?, gdb.value("$pc")?);
            equal("whether the clock goes on", now > last && now < last + 1000, true)?;
            equal("whether the kernel is there", text.contains(&pc), true)?;
            gdb.check("info registers priv", "[Supervisor]")?;
            gdb.check("monitor info kvm", DISABLED)?;
            last = now;
        }
        gdb.ask("delete")?;
        // A breakpoint takes nothing but KVM.
        gdb.check("break *ksys_sync", "Breakpoint 2")?;
        gdb.send("continue")?;
        host.console.send("sync; echo sync-$((40 + 2))\n")?;
        let stop = gdb.stops()?;
        contains("what gdb hears", &stop, BACK)?;
        contains("the stop", &stop, "hit Breakpoint 2, 0x")?;
        gdb.check("monitor info kvm", ENABLED)?;
        gdb.ask("delete")?;
        gdb.check("detach", "detached")?;
        host.console.expect("sync-42")?;
        host.console.expect(PROMPT)?;
        host.console
            .check("dd if=/dev/urandom of=/tmp/noise bs=64k count=8 2>&1; dd if=/tmp/noise of=/dev/vda 2>&1")?;
        host.console.check("sync; echo 3 > /proc/sys/vm/drop_caches; head -c 524288 /dev/vda | cmp - /tmp/noise")?;
        equal("a sum", host.console.check("sleep 1; echo $((40 + 2))")?.as_str(), "42")?;
        equal("the kernel's errors", host.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?.as_str(), "")?;
        host.console.send("poweroff -f\n")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT).map(drop)
    })
}
