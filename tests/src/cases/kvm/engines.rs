//! Linux goes from KVM to the translator and back, with disk, network and timers at work.

use anyhow::Result;

use super::guests::wait_for_shell;
use super::host::Host;
use crate::cases::linux::PROMPT;
use crate::cases::snapshot::Monitor;
use crate::cases::{contains, equal};
use crate::harness::{Env, http};

/// The monitor's port in the host.
const PORT: u16 = 4444;

/// What goes on all the time: a file goes to the disk, comes back, and is fetched from the host.
const WORK: &str = "cat > /tmp/work << 'END'\nwhile [ ! -e /tmp/stop ]; do\n\
    dd if=/tmp/noise of=/dev/vda bs=64k && sync && echo 3 > /proc/sys/vm/drop_caches\n\
    head -c 262144 /dev/vda | cmp - /tmp/noise || echo disk >> /tmp/wrong\n\
    wget -q -O /tmp/fetched http://10.0.2.2:8000/noise; cmp /tmp/fetched /tmp/noise || echo net >> /tmp/wrong\n\
    sleep 0.1; echo >> /tmp/rounds\ndone 2> /dev/null\nEND\n";

/// On a host with these arguments, a guest with these options.
pub fn there_and_back(env: &Env, host: &[&str], options: &str) -> Result<()> {
    let port = http::free_port()?;
    Host::of_vireo(env).arguments(host).port(port, PORT).run(|host| {
        // Harts that are not the host's.
        let refused = host.console.check(
            "printf 'accel kvm\ninfo kvm\nquit\n' | vireo -accel tcg -S -serial null -monitor stdio -display none 2>&1",
        )?;
        contains("the refusal", &refused, "the guest stays on tcg: its harts have what kvm lacks: h,")?;
        contains("info kvm", &refused, "kvm support: disabled")?;

        host.console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=8 2>&1; mkdir /tmp/served")?;
        host.console.check("dd if=/dev/urandom of=/tmp/served/noise bs=64k count=4 2>&1")?;
        host.console.check("httpd -p 127.0.0.1:8000 -h /tmp/served")?;
        host.console.send(&format!(
            "vireo {options} -accel kvm -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
             -append 'console=ttyS0 quiet' -drive file=/tmp/disk,if=none,format=raw,id=d \
             -device virtio-blk-device,drive=d -netdev user,id=n -device virtio-net-device,netdev=n \
             -monitor tcp::{PORT},server=on,wait=off; printf '<%s:%d>\\n' ended $?\n"
        ))?;
        wait_for_shell(host)?;
        host.console.check("wget -q -O /tmp/noise http://10.0.2.2:8000/noise && touch /tmp/rounds")?;
        host.console.check(&format!("{WORK}set +m; sh /tmp/work > /dev/null & true"))?;
        let mut monitor = Monitor::at_port(port)?;
        contains("the engines", &monitor.ask("info accel")?, "\n* kvm")?;
        for round in 0..3 {
            let told = monitor.ask("accel tcg")?;
            contains("the monitor's answer", &told, "the guest went from kvm to tcg; downtime: ")?;
            println!("            {}", told.lines().nth(1).unwrap_or_default().trim());
            contains("the engines", &monitor.ask("info accel")?, "\n* tcg")?;
            contains("info kvm", &monitor.ask("info kvm")?, "kvm support: disabled")?;
            if round == 1 {
                // Something begins and ends there.
                equal("a sum", host.console.check("sleep 1; echo $((40 + 2))")?.as_str(), "42")?;
            }
            let told = monitor.ask("accel kvm")?;
            contains("the monitor's answer", &told, "the guest went from tcg to kvm; downtime: ")?;
            println!("            {}", told.lines().nth(1).unwrap_or_default().trim());
            contains("info kvm", &monitor.ask("info kvm")?, "kvm support: enabled")?;
            let rounds = "wc -l < /tmp/rounds";
            host.console.check(&format!("n=$({rounds}); while [ $({rounds}) -lt $((n + 2)) ]; do sleep 0.2; done"))?;
        }
        // And to a machine that stands.
        monitor.ask("stop")?;
        contains("the downtime", &monitor.ask("accel tcg")?, "downtime: 0.0 ms")?;
        contains("the status", &monitor.ask("info status")?, "VM status: paused")?;
        monitor.ask("accel kvm")?;
        monitor.ask("cont")?;
        host.console.check("touch /tmp/stop; wait")?;
        equal("what is wrong", host.console.check("cat /tmp/wrong 2> /dev/null || true")?.as_str(), "")?;
        equal("the harts", host.console.check("grep -c ^processor /proc/cpuinfo")?.as_str(), "2")?;
        equal("the kernel's errors", host.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?.as_str(), "")?;
        host.console.send("poweroff -f\n")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT).map(drop)
    })
}
