//! Guests of a host: the demo guest, and Linux with all its devices.

use anyhow::{Result, bail};

use crate::cases::linux::PROMPT;
use crate::cases::{contains, equal};
use crate::harness::vm::Vm;

/// What fails on QEMU as the host, and why. Each of these needs an exception that QEMU's hart takes in M-mode, as it is
/// not delegated, and that OpenSBI hands back to the guest's S-mode: the guest goes on at the address of the host's own
/// handler. QEMU's `-accel kvm` ends there, with QEMU 10.0 and 11.1 as the host; vireo injects the access fault that
/// such a fetch is. On a host of vireo's the same kernel and OpenSBI run them.
pub const FAILS_ON_QEMU: &[&str] = &[
    // An illegal instruction.
    "float-dynamic-rounding",
    "float-state",
    "csr-privilege",
    "exception-instruction",
    // A misaligned AMO.
    "misaligned-atomic",
    // Another thing: the low bit of sepc can be set (10.0).
    "csr-registers",
];

/// The demo guest's self test, with one hart and with two. It may fail in the tests `known`, and no others.
pub fn selftest(host: &mut Vm, known: &[&str]) -> Result<()> {
    // What the host's kernel says of its guests would come amid the lines.
    host.console.check("dmesg -n 1")?;
    for harts in [1, 2] {
        let run = format!("vireo -accel kvm -smp {harts} -nographic -append selftest < /dev/null 2>&1");
        let said = host.console.run(&run)?.output;
        let failed = said.lines().filter_map(|l| l.trim().strip_prefix("FAIL ")?.split(':').next());
        let unknown: Vec<_> = failed.filter(|name| !known.contains(name)).collect();
        let summary = said.lines().find_map(|l| l.trim().strip_prefix("selftest: ")).unwrap_or_default();
        if !unknown.is_empty() || !summary.contains(" passed, ") || !said.contains(&format!("{harts} hart(s)")) {
            bail!("with {harts} hart(s), the self test failed in {unknown:?}:\n{said}");
        }
        if known.is_empty() {
            contains("the self test", summary, " passed, 0 failed")?;
        }
        println!("            {harts} hart(s): {summary}");
    }
    Ok(())
}

/// How a Linux guest is started, and how it is seen to be so.
pub struct Inner<'a> {
    pub arguments: &'a str,
    /// The chip behind the devices' interrupts, as /proc/interrupts names it.
    pub interrupts: &'a str,
}

impl Default for Inner<'_> {
    fn default() -> Self {
        Self { arguments: "-accel kvm", interrupts: "SiFive PLIC" }
    }
}

/// Linux to a shell. In it: disk, network, random numbers, typing; a reboot; power off.
pub fn linux(host: &mut Vm, inner: &Inner) -> Result<()> {
    let console = &mut host.console;
    console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>&1")?;
    // What the guest fetches, and what is fetched from the guest while it has the terminal.
    console.check("mkdir /tmp/served; dd if=/dev/urandom of=/tmp/served/noise bs=64k count=16 2>&1")?;
    console.check("httpd -p 127.0.0.1:8000 -h /tmp/served")?;
    console.check(
        "(until wget -q -T 10 -O /tmp/fetched http://127.0.0.1:8080/back; do sleep 1; done; touch /tmp/served/done) \
         2> /dev/null &",
    )?;
    console.send(&format!(
        "vireo {} -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
         -append 'console=ttyS0 quiet' -drive file=/tmp/disk,if=none,format=raw,id=d \
         -device virtio-blk-device,drive=d -netdev user,id=n,hostfwd=tcp:127.0.0.1:8080-:80 \
         -device virtio-net-device,netdev=n -device virtio-rng-device -d stats; printf '<%s:%d>\\n' ended $?\n",
        inner.arguments
    ))?;
    wait_for_shell(host)?;
    equal("the number of harts", host.console.check("nproc")?.as_str(), "2")?;
    contains("the interrupts", &host.console.check("cat /proc/interrupts")?, inner.interrupts)?;
    let written = disk(host)?;
    devices(host)?;
    typing(host)?;
    host.console.send("reboot -f\n")?;
    host.console.expect("reboot: Restarting system")?;
    wait_for_shell(host)?;
    equal("the disk after the reboot", host.console.check(DISK_SUM)?, written)?;
    host.console.send("poweroff -f\n")?;
    host.console.expect("reboot: Power down")?;
    let stats = host.console.expect("<ended:0>")?;
    host.console.expect(PROMPT)?;
    host.console.check("cmp /tmp/served/noise /tmp/fetched")?;
    let exits: Vec<_> = stats.lines().filter_map(|l| Some(l.split_once("hart ends: ")?.1.trim_end())).collect();
    equal("the harts that tell their exits", exits.len(), 2)?;
    exits.iter().for_each(|line| println!("            {line}"));
    Ok(())
}

/// The inner guest's shell, or why it does not come.
pub fn wait_for_shell(host: &mut Vm) -> Result<()> {
    match host.console.expect_any(&["initramfs: started after", "<ended:"])? {
        (0, _) => host.console.expect(PROMPT).map(drop),
        (_, said) => bail!("there is no guest:\n{said}"),
    }
}

/// Checksum of what [`disk`] writes.
const DISK_SUM: &str = "head -c 2097152 /dev/vda | sha256sum";

/// In the inner guest's shell: writes to the disk, and reads it back; its checksum.
fn disk(guest: &mut Vm) -> Result<String> {
    let console = &mut guest.console;
    console.check("dd if=/dev/urandom of=/tmp/noise bs=64k count=32 2>&1")?;
    console.check("dd if=/tmp/noise of=/dev/vda bs=64k 2>&1 && sync && echo 3 > /proc/sys/vm/drop_caches")?;
    let sum = console.check(DISK_SUM)?;
    equal("what the disk holds", &sum, &console.check("sha256sum < /tmp/noise")?)?;
    Ok(sum)
}

/// In the inner guest's shell: network and random numbers.
fn devices(guest: &mut Vm) -> Result<()> {
    let console = &mut guest.console;
    contains("the address by DHCP", &console.check("ip addr show eth0")?, "10.0.2.15/24")?;
    contains("ping", &console.check("ping -c 3 10.0.2.2")?, "3 packets received")?;
    console.check("mkdir /tmp/served && wget -q -O /tmp/served/back http://10.0.2.2:8000/noise")?;
    // The host has been asking for it since before there was a guest.
    console.check("httpd -p 80 -h /tmp/served")?;
    console.check("until wget -q -O /dev/null http://10.0.2.2:8000/done; do sleep 1; done 2> /dev/null")?;
    let current = console.check("cat /sys/class/misc/hw_random/rng_current")?;
    contains("the source of randomness", &current, "virtio_rng")?;
    equal("random bytes", console.check("head -c 4096 /dev/hwrng | wc -c")?.trim(), "4096")
}

/// More than the serial port holds at once, typed in one go.
fn typing(guest: &mut Vm) -> Result<()> {
    let lines: String = (1..=40).map(|n| format!("sum=$((sum + {n})) # a comment to make it longer\n")).collect();
    guest.console.send(&format!("cat > /tmp/script << 'END'\nsum=0\n{lines}echo \"sum=$sum\"\nEND\n"))?;
    equal("the script's sum", guest.console.check("sh /tmp/script")?.as_str(), "sum=820")
}
