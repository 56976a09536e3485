//! `cargo kit kvm-exits`: how often a guest of KVM leaves for the VMM, with vireo and with QEMU for riscv64, by the
//! kernel's own count, in the same emulated host.
//!
//! The guest works off a list by itself, and rests behind each entry: then the host's kernel is asked. What the guest
//! writes while it rests is not seen, and a resting guest leaves for hardly anything.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cases::kvm::host::Host;
use crate::harness::Env;
use crate::harness::console::Console;
use crate::{guest, tools, verify};

#[derive(Clone, Debug)]
pub struct Options {
    pub mirror: Option<String>,
    /// The host's emulator, instead of one built for it.
    pub vireo: Option<PathBuf>,
    /// With interrupt controllers in the kernel.
    pub aia: bool,
}

/// What the guest does: name, command, and how many of what is counted it does.
const WORK: &[(&str, &str, u32)] = &[
    ("Power on to the shell", ":", 1),
    ("4 KiB read from the disk", "dd if=/dev/vda of=/dev/null bs=4k count=200 iflag=direct 2> /dev/null", 200),
    (
        "4 KiB written to the disk",
        "dd if=/dev/zero of=/dev/vda bs=4k seek=256 count=200 oflag=direct 2> /dev/null",
        200,
    ),
    ("1 MiB read from the disk", "dd if=/dev/vda of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null", 8),
    ("A small file fetched by HTTP", FETCHES, 20),
    ("1 MiB fetched by HTTP", "wget -q -O /dev/null http://10.0.2.2:8000/data", 2),
    ("4 KiB of random numbers", "dd if=/dev/hwrng of=/dev/null bs=4k count=4 2> /dev/null", 4),
    ("A line of 64 characters printed", LINES, 50),
    ("A second of rest", "sleep 5", 5),
];

const LINES: &str = "yes 012345678901234567890123456789012345678901234567890123456789123 | head -n 50";

const FETCHES: &str =
    "for n in $(seq 20); do wget -q -O /dev/null http://10.0.2.2:8000/small || break; done; test $n = 20";

/// The address that DHCP gives: QEMU 10.0 does not let the guest's programs read the time, which ends the DHCP client.
const ADDRESS: &str = "ip addr add 10.0.2.15/24 dev eth0 2> /dev/null";

/// Seconds that the guest rests for the host to look.
const REST: u32 = 4;

/// Counters of the kernel, by name.
type Counters = HashMap<String, u64>;

/// Entries of [`WORK`], and what each cost.
type Costs = Vec<Counters>;

pub fn run(options: &Options) -> Result<()> {
    let mirror = options.mirror.clone();
    let wanted = guest::Options { mirror: mirror.clone(), disk: false, firmware: false, kvm: true, update: false };
    let env = Env {
        vireo: options.vireo.clone().map_or_else(verify::build_vireo, Ok)?,
        riscv_vireo: Ok(verify::build_static()?),
        kvm_test: Err("not needed".to_owned()),
        guest: Ok(guest::prepare(&wanted)?),
        tools: tools::prepare(mirror.as_deref()).map_err(|e| format!("{e:#}")),
        gdb: Err("not needed".to_owned()),
    };
    let (board, arguments): (_, &[&str]) = match options.aia {
        true => ("virt,aia=aplic-imsic", &["-M", "virt,aia=aplic-imsic,aia-guests=3"]),
        false => ("virt", &[]),
    };
    let mut costs = Vec::new();
    let mut version = String::new();
    Host::of_vireo(&env).arguments(arguments).run(|host| {
        let console = &mut host.console;
        version = prepare(console)?;
        for program in ["/tmp/vireo", "qemu-system-riscv64 -monitor none"] {
            let command = format!("{program} -M {board} -accel kvm -cpu host");
            costs.push(measure(console, &command).with_context(|| format!("with {command}"))?);
        }
        Ok(())
    })?;
    let [ours, theirs] = costs.as_slice() else { bail!("there should be two programs' figures") };
    print(board, &version, ours, theirs);
    Ok(())
}

/// Puts everything in its place on the host; QEMU's version.
fn prepare(console: &mut Console) -> Result<String> {
    console.check("mount -t debugfs debugfs /sys/kernel/debug && mount -t tmpfs tmpfs /mnt/tmp")?;
    console.check("cp /bin/vireo /mnt/tmp && mkdir /tmp/served")?;
    console
        .check("dd if=/dev/zero of=/tmp/served/data bs=1M count=2 2>&1 && httpd -p 127.0.0.1:8000 -h /tmp/served")?;
    console.check("echo small > /tmp/served/small")?;
    console.check(&format!("echo '{ADDRESS}' > /mnt/tmp/script"))?;
    for (name, command, _) in WORK {
        let lines = format!("{command} || echo '<failed: {name}>'\necho '<{name}>'; sleep {REST}");
        console.check(&format!("cat >> /mnt/tmp/script << 'END'\n{lines}\nEND"))?;
    }
    console.check("echo 'poweroff -f' >> /mnt/tmp/script")?;
    let version = console.check("chroot /mnt qemu-system-riscv64 --version")?;
    Ok(version.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator version ").to_owned())
}

/// Runs the guest on `program`, in the host's second file system.
fn measure(console: &mut Console, program: &str) -> Result<Costs> {
    // Its shell reads the list from the disk; behind the list's end, which switches off, are zeros.
    console.check("dd if=/dev/zero of=/mnt/tmp/disk bs=1M count=16 2>&1")?;
    console.check("dd if=/mnt/tmp/script of=/mnt/tmp/disk conv=notrunc 2>&1")?;
    console.check(&format!(
        "rm -f /mnt/tmp/console; chroot /mnt {program} -smp 1 -m 256M -nographic -serial file:/tmp/console \
         -kernel /root/Image -initrd /root/initrd.gz -append 'console=ttyS0 quiet initramfs.run=sh%/dev/vda' \
         -drive file=/tmp/disk,if=none,format=raw,id=d -device virtio-blk-device,drive=d \
         -netdev user,id=n -device virtio-net-device,netdev=n -device virtio-rng-device \
         < /dev/null > /tmp/said 2>&1 &"
    ))?;
    let mut costs = Costs::new();
    let mut before = Counters::new();
    for (name, ..) in WORK {
        let wait = format!("until grep -q '<{name}>' /mnt/tmp/console; do kill -0 $! || break; usleep 200000; done");
        console.check(&wait)?;
        let now = counters(&console.check("cd /sys/kernel/debug/kvm/*-*/ && grep -s '' *; cd /")?);
        if !now.contains_key("exits") {
            bail!("there is no guest any more: {}", console.check("cat /tmp/said; tail -n 5 /mnt/tmp/console")?);
        }
        costs.push(now.iter().map(|(k, v)| (k.clone(), v - before.get(k).unwrap_or(&0).min(v))).collect());
        before = now;
    }
    console.check("wait")?;
    let failed = console.run("grep '<failed' /mnt/tmp/console")?.output;
    if !failed.is_empty() {
        bail!("the guest could not do what was to be counted:\n{failed}");
    }
    Ok(costs)
}

/// Lines of `name:number`.
fn counters(text: &str) -> Counters {
    let pair = |line: &str| {
        let (name, value) = line.trim().split_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// The columns: counters that are added up.
const COLUMNS: &[(&str, &[&str])] = &[
    ("to the VMM", &["mmio_exit_user", "csr_exit_user", "signal_exits"]),
    ("MMIO in the kernel", &["mmio_exit_kernel"]),
    ("all", &["exits"]),
];

fn print(board: &str, version: &str, ours: &Costs, theirs: &Costs) {
    println!("-M {board} -accel kvm, one hart; exits for one of each, vireo and QEMU {version}\n");
    print!("| {:<32} |", "");
    COLUMNS.iter().for_each(|(name, _)| print!(" {name:>21} |"));
    print!("\n|{:-<34}|", "");
    COLUMNS.iter().for_each(|_| print!("{:->22}:|", ""));
    println!();
    for (n, (name, _, count)) in WORK.iter().enumerate() {
        print!("| {name:<32} |");
        for (_, counters) in COLUMNS {
            let sum = |costs: &Costs| counters.iter().filter_map(|c| costs[n].get(*c)).sum::<u64>();
            let each = |costs: &Costs| sum(costs) as f64 / f64::from(*count);
            let places = usize::from(*count > 1);
            print!(" {:>9.places$} / {:>9.places$} |", each(ours), each(theirs));
        }
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let read = counters("exits:12\nmmio_exit_user:3\ngrep: vcpu0: Is a directory\nhalt_hist:1 2 3\n");
        assert_eq!(read, Counters::from([("exits".to_owned(), 12), ("mmio_exit_user".to_owned(), 3)]));
    }
}
