//! Profiles of guests that KVM runs: of a program whose shares are known, and of Linux by its own symbols.

use std::fs;

use anyhow::{Result, bail};

use super::guests::wait_for_shell;
use super::host::Host;
use crate::cases::contains;
use crate::cases::linux::PROMPT;
use crate::cases::profile::{Stacks, program, wait_for_samples};
use crate::cases::snapshot::Monitor;
use crate::harness::{Env, http, scratch};

/// The monitor's port in the host.
const PORT: u16 = 4444;
/// Where guests begin that are not firmware.
const BASE: u64 = 0x8020_0000;

/// Shares are those of instructions, and stacks are what calls what.
pub fn bare(host: Host) -> Result<()> {
    let (dir, port) = (scratch()?, http::free_port()?);
    let file = dir.path().join("program");
    fs::write(&file, program(BASE)?)?;
    host.port(port, PORT).program("shares", file).run(|host| {
        host.console.send(&format!(
            "vireo -accel kvm -smp 2 -nographic -kernel /bin/shares -monitor tcp::{PORT},server=on; \
             printf '<%s:%d>\\n' ended $?\n"
        ))?;
        host.console.expect("server=on;")?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        let mut monitor = Monitor::at_port(port)?;
        let refused = monitor.ask("profile start hz=1001")?;
        contains("the refusal", &refused, "'kvm' does not support 1001 samples of a hart a second: at most 1000")?;
        contains("the start", &monitor.ask("profile status")?, "not running")?;
        monitor.ask("profile start")?;
        wait_for_samples(&mut monitor, 500)?;
        // Stops and goes on meanwhile.
        monitor.ask("stop")?;
        monitor.ask("cont")?;
        wait_for_samples(&mut monitor, 1000)?;
        let told = monitor.ask("profile stop file=/tmp/recording")?;
        contains("the end", &told, "written to '")?;
        println!("            {}", told.lines().nth(1).unwrap_or_default().trim());
        let _ = monitor.ask("quit");
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT)?;
        let profile = "vireo profile /tmp/recording --elf /bin/shares --folded - --top 0";
        let text = host.console.check(profile)?;
        let stacks = Stacks::parse(&text)?;
        let all = stacks.all();
        let of = |stack: &str| stacks.count(&format!("[no paging];main;outer;{stack}"));
        let (hot, warm) = (of("hot"), of("warm"));
        // Three to one, as their instructions are.
        if 10 * hot < 20 * warm || 10 * hot > 45 * warm || warm == 0 {
            bail!("hot and warm are not three to one:\n{text}");
        }
        if 100 * (hot + warm + of("many") + of("many;leaf")) < 90 * all {
            bail!("too few of {all} stacks are whole:\n{text}");
        }
        // The second hart was never started.
        let idle = host.console.check(&format!("{profile} --idle --by-hart"))?;
        contains("the stacks with waiting", &idle, "hart 1;[idle] ")
    })
}

/// System calls of a process, by the kernel's own list of symbols, which comes out on a disk.
pub fn linux(env: &Env) -> Result<()> {
    let port = http::free_port()?;
    Host::of_vireo(env).port(port, PORT).run(|host| {
        host.console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=32 2>&1")?;
        host.console.send(&format!(
            "vireo -accel kvm -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
             -append 'console=ttyS0 quiet' -drive file=/tmp/disk,if=none,format=raw,id=d \
             -device virtio-blk-device,drive=d -monitor tcp::{PORT},server=on,wait=off; printf '<%s:%d>\\n' ended $?\n"
        ))?;
        wait_for_shell(host)?;
        host.console.check("grep -E ' [tTwW] ' /proc/kallsyms > /tmp/k && cat /tmp/k > /dev/vda && sync")?;
        let mut monitor = Monitor::at_port(port)?;
        monitor.ask("profile start file=/tmp/recording")?;
        host.console.check("dd if=/dev/zero of=/dev/null bs=1 count=1000000 2>/dev/null; sleep 1")?;
        wait_for_samples(&mut monitor, 500)?;
        drop(monitor);
        // A machine that ends writes what it has been told to keep.
        host.console.send("poweroff -f\n")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT)?;
        host.console.check("tr -d '\\000' < /tmp/disk > /tmp/kallsyms")?;
        let profile = "vireo profile /tmp/recording --kallsyms /tmp/kallsyms --folded - --top 0";
        let text = host.console.check(profile)?;
        let stacks = Stacks::parse(&text)?;
        let (all, kernel) = (stacks.all(), stacks.in_kernel());
        // Where in a call is not for sure: this host, emulated as it is, takes its timer's interrupts where it looks for them.
        // Nor when a process's name is seen, which takes a sample in the right place.
        let is_call = |stack: &[&str]| stack.contains(&"do_trap_ecall_u");
        let calls = stacks.samples(|stack| is_call(stack) && (stack[0] == "dd" || stack[0].starts_with("[address space ")));
        let named = stacks.samples(|stack| stack[0] == "dd");
        println!("            {all} samples, {kernel} in the kernel's functions, {calls} in system calls, {named} of dd");
        if 20 * calls < all || 2 * kernel < all || named == 0 {
            bail!(
                "{kernel} of {all} samples are in functions of the kernel, {calls} in system calls of processes, {named} are \
                 dd's:\n{text}"
            );
        }
        let idle = host.console.check(&format!("{profile} --idle --by-hart"))?;
        contains("the stacks with waiting", &idle, "hart 0;[idle] ")
    })
}
