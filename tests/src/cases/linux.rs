//! Linux from the distribution: boot, shell, reboot, power off, in every mode of the engine.

use anyhow::Result;

use super::snapshot::Monitor;
use super::{Case, contains, equal};
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "Linux to a shell, 1 hart", run: |env| shell(env, 1, &[]) },
    Case { name: "Linux to a shell, 2 harts", run: |env| shell(env, 2, &[]) },
    Case { name: "Linux to a shell, 4 harts", run: |env| shell(env, 4, &[]) },
    Case { name: "Linux with 8 GiB", run: eight_gigabytes },
    Case { name: "Linux reboots five times", run: reboots },
    Case { name: "-no-reboot ends at the first reboot", run: no_reboot },
    Case { name: "a script typed over the serial line", run: typed_script },
    Case { name: "devices under Linux", run: devices },
    Case { name: "the power button and other keys under Linux", run: keys },
    Case { name: "Linux works on after it has idled", run: idles },
    Case { name: "Linux, one instruction a block", run: |env| shell(env, 2, &["-accel", "tcg,one-insn-per-tb=on"]) },
    Case { name: "Linux, the smallest code cache", run: |env| shell(env, 2, &["-accel", "tcg,tb-size=1"]) },
    Case { name: "Linux, the smallest TLB", run: |env| shell(env, 2, &["-accel", "tcg,x-tlb-entries=1"]) },
    Case { name: "Linux, blocks evicted at random", run: |env| shell(env, 2, &["-accel", "tcg,x-evict=1000"]) },
    Case { name: "Linux, code dropped by sleep", run: |env| shell(env, 2, &["-accel", "tcg,x-idle-code=0"]) },
    Case {
        name: "Linux, no links and no jump cache",
        run: |env| shell(env, 2, &["-accel", "tcg,x-chain=off,x-jump-cache=off"]),
    },
    Case { name: "Linux on the interpreter", run: |env| shell(env, 1, &["-accel", "interp"]) },
];

/// The prompt of the first file system's shell.
pub const PROMPT: &str = "initramfs# ";

/// A machine with Linux at the shell of its initramfs.
pub fn start(env: &Env, machine: Machine) -> Result<Vm> {
    start_with(env, machine, "quiet")
}

fn start_with(env: &Env, machine: Machine, append: &str) -> Result<Vm> {
    let mut vm = machine.linux(env.guest()?, append).start()?;
    vm.console.expect(PROMPT)?;
    Ok(vm)
}

/// Switches off from the initramfs.
pub fn power_off(mut vm: Vm) -> Result<()> {
    vm.console.send("poweroff -f\n")?;
    vm.wait_off()?;
    Ok(())
}

fn shell(env: &Env, harts: u32, args: &[&str]) -> Result<()> {
    // On a busy machine the interpreter spends longer in a module's relocation than the kernel's watchdog likes.
    let append = if args.contains(&"interp") { "quiet nosoftlockup" } else { "quiet" };
    let mut vm = start_with(env, Machine::virt(&env.vireo, harts).args(args), append)?;
    equal("the number of harts", vm.console.check("nproc")?, harts.to_string())?;
    contains("/proc/cpuinfo", &vm.console.check("cat /proc/cpuinfo")?, "rv64imafdc")?;
    let kernel_log = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
    equal("the kernel's errors", kernel_log.as_str(), "")?;
    power_off(vm)
}

fn eight_gigabytes(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::new(&env.vireo).args(["-m", "8G", "-smp", "2"]))?;
    let total = vm.console.check("awk '/MemTotal/ { print ($2 > 8000000 && $2 < 8388608) }' /proc/meminfo")?;
    equal("whether there are nearly 8 GiB", total.as_str(), "1")?;
    // The far end of the memory holds what is written there.
    vm.console.check("mount -t tmpfs -o size=7g tmpfs /tmp && dd if=/dev/urandom of=/tmp/a bs=1M count=64 2>&1")?;
    vm.console.check("cp /tmp/a /tmp/b && cmp /tmp/a /tmp/b")?;
    power_off(vm)
}

fn reboots(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::virt(&env.vireo, 2))?;
    for _ in 0..5 {
        vm.console.send("reboot -f\n")?;
        vm.console.expect("initramfs: started after")?;
        vm.console.expect(PROMPT)?;
    }
    equal("the number of harts", vm.console.check("nproc")?.as_str(), "2")?;
    power_off(vm)
}

fn no_reboot(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::virt(&env.vireo, 2).arg("-no-reboot"))?;
    vm.console.send("reboot -f\n")?;
    vm.wait_off()?;
    Ok(())
}

fn typed_script(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::virt(&env.vireo, 2))?;
    // Longer than every buffer on the way, so flow control matters; the guest's own sum of the lines is compared.
    let lines: Vec<_> =
        (1..=400_u64).map(|n| format!("add {n} $((n * {n})) # a comment to make the line longer")).collect();
    let script = format!(
        "cat > /tmp/script << 'END'\nsum=0 n=3\nadd() {{ sum=$((sum + $1 + $2)); }}\n{}\necho \"sum=$sum\"\nEND\n",
        lines.join("\n")
    );
    vm.console.send(&script)?;
    let sum: u64 = (1..=400).map(|n| n + 3 * n).sum();
    equal("the script's sum", vm.console.check("sh /tmp/script")?, format!("sum={sum}"))?;
    equal("the script's length", vm.console.check("wc -l < /tmp/script")?.trim().to_owned(), "403".to_owned())?;
    power_off(vm)
}

/// A hart that does nothing for seconds gives up code and what it knows of address spaces.
fn idles(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::virt(&env.vireo, 2))?;
    for _ in 0..2 {
        vm.console.check("sleep 6")?;
        let work = "for i in 1 2 3 4 5 6 7 8; do ls -l / | wc -l & done; wait; echo $((6 * 7))";
        contains("the sum", &vm.console.check(work)?, "42")?;
    }
    power_off(vm)
}

/// `struct input_event` has 24 bytes: the time, type, code and value.
fn keys(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let path = dir.path().join("monitor");
    let machine = Machine::virt(&env.vireo, 1).args(["-device", "virtio-keyboard-device"]);
    let mut vm = start(env, machine.args(Monitor::option(&path)))?;
    contains("the keyboard's name", &vm.console.check("cat /sys/class/input/input*/name")?, "Vireo Virtio Keyboard")?;
    vm.console.check("(setsid sh -c 'head -c 192 /dev/input/event0 > /tmp/part; mv /tmp/part /tmp/events' &)")?;
    let mut monitor = Monitor::at(&path)?;
    vm.console.check("sleep 1")?;
    equal("the answer", monitor.ask("sendkey ctrl-c 1")?.contains("Error"), false)?;
    equal("the answer", monitor.ask("system_powerdown")?.contains("Error"), false)?;
    vm.console.check("while [ ! -e /tmp/events ]; do sleep 0.1; done")?;
    let numbers = vm.console.check("od -v -An -tu2 /tmp/events")?;
    let numbers: Vec<u16> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let heard: Vec<_> = numbers.chunks(12).map(|event| (event[8], event[9], event[10])).collect();
    // Of twelve events eight are read: ctrl and c go down and up, each with the end of a report.
    let strokes = [(1, 29, 1), (1, 46, 1), (1, 46, 0), (1, 29, 0)];
    equal("what the guest heard", heard, strokes.into_iter().flat_map(|stroke| [stroke, (0, 0, 0)]).collect())?;
    // The monitor's place is told on standard error.
    vm.console.send("poweroff -f\n")?;
    equal("the exit code", vm.wait()?.status.code(), Some(0))
}

fn devices(env: &Env) -> Result<()> {
    let machine = Machine::virt(&env.vireo, 2).args(["-device", "virtio-rng-device"]).user_net("");
    let mut vm = start(env, machine)?;
    let current = vm.console.check("cat /sys/class/misc/hw_random/rng_current")?;
    contains("the source of randomness", &current, "virtio_rng")?;
    equal("random bytes", vm.console.check("head -c 4096 /dev/hwrng | wc -c")?.trim().to_owned(), "4096".to_owned())?;
    let date = vm.console.check("date +%s")?.trim().parse::<u64>()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    equal("whether the clock is right to the hour", date.abs_diff(now) < 3600, true)?;
    contains("the address by DHCP", &vm.console.check("ip addr show eth0")?, "10.0.2.15/24")?;
    power_off(vm)
}
