//! Disks: what is written is there after a reboot, and is what it was.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, bail};

use super::linux::{PROMPT, power_off, start};
use super::snapshot::Monitor;
use super::{Case, contains, equal};
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "written, rebooted, read back, e2fsck clean", run: |env| write_and_read(env, "") },
    Case { name: "the same with cache=none", run: |env| write_and_read(env, ",cache=none") },
    Case {
        name: "the same with cache=writethrough, threads",
        run: |env| write_and_read(env, ",cache=writethrough,aio=threads"),
    },
    Case { name: "the same over the legacy transport", run: legacy },
    Case { name: "a read-only disk refuses writes", run: read_only },
    Case { name: "snapshot=on leaves the image alone", run: snapshot },
    Case { name: "a disk of zero bytes", run: empty_disk },
    Case { name: "a disk that ends within a sector", run: odd_disk },
    Case { name: "eight disks at once", run: eight_disks },
    Case { name: "block_resize while Linux runs", run: resized },
    Case { name: "the machine waits for room on the host", run: |env| waits_for_room(env, "werror=stop") },
    Case { name: "the same with threads", run: |env| waits_for_room(env, "werror=stop,aio=threads") },
    Case { name: "errors of the host are the guest's", run: errors_are_told },
];

pub(super) fn blank(path: &Path, megabytes: u64) -> Result<()> {
    File::create(path)?.set_len(megabytes << 20)?;
    host::run(host::command("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(path))?;
    Ok(())
}

fn write_and_read(env: &Env, options: &str) -> Result<()> {
    write_and_read_with(env, options, |machine| machine)
}

fn legacy(env: &Env) -> Result<()> {
    write_and_read_with(env, "", |machine| machine.args(["-global", "virtio-mmio.force-legacy=on"]))
}

fn write_and_read_with(env: &Env, options: &str, change: fn(Machine) -> Machine) -> Result<()> {
    host::require(&[host::MKE2FS, host::E2FSCK])?;
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    blank(&image, 256)?;
    let mut vm = start(env, change(Machine::virt(&env.vireo, 2)).disk(&image, options))?;
    vm.console.check("mount -t ext4 /dev/vda /mnt && mkdir /mnt/many")?;
    vm.console.check("dd if=/dev/urandom of=/mnt/noise bs=64k count=512 2>&1")?;
    vm.console.check("for i in $(seq 200); do echo file $i > /mnt/many/$i; done; rm /mnt/many/1??")?;
    let sums = "cd /mnt && find . -type f | sort | xargs sha256sum | sha256sum; cd /";
    let written = vm.console.check(sums)?;
    vm.console.check("umount /mnt")?;
    vm.console.send("reboot -f\n")?;
    vm.console.expect("initramfs: started after")?;
    vm.console.expect(PROMPT)?;
    vm.console.check("mount -t ext4 /dev/vda /mnt")?;
    equal("the checksum after the reboot", vm.console.check(sums)?, written)?;
    equal("the number of files", vm.console.check("ls /mnt/many | wc -l")?.trim().to_owned(), "100".to_owned())?;
    vm.console.check("umount /mnt && sync")?;
    power_off(vm)?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image))?;
    Ok(())
}

fn read_only(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    blank(&image, 64)?;
    let before = host::sha256(&image)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).disk(&image, ",readonly=on"))?;
    equal("the read-only flag", vm.console.check("cat /sys/block/vda/ro")?.as_str(), "1")?;
    let answer = vm.console.run("dd if=/dev/zero of=/dev/vda bs=4k count=1 2>&1")?;
    if answer.status == 0 {
        bail!("the guest wrote to a read-only disk");
    }
    vm.console.check("mount -t ext4 -o ro,noload /dev/vda /mnt && umount /mnt")?;
    power_off(vm)?;
    equal("the image's checksum", host::sha256(&image)?, before)
}

fn snapshot(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    blank(&image, 64)?;
    let before = host::sha256(&image)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).disk(&image, ",snapshot=on"))?;
    vm.console.check("mount -t ext4 /dev/vda /mnt && echo kept > /mnt/file && umount /mnt && sync")?;
    vm.console.check("mount -t ext4 /dev/vda /mnt")?;
    equal("the file in the snapshot", vm.console.check("cat /mnt/file")?.as_str(), "kept")?;
    vm.console.check("umount /mnt")?;
    power_off(vm)?;
    equal("the image's checksum", host::sha256(&image)?, before)
}

fn eight_disks(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let mut machine = Machine::virt(&env.vireo, 2);
    for n in 0..8_u8 {
        let image = dir.path().join(format!("disk{n}.img"));
        // A sector more each: no two are alike, and few are a round size.
        fs::write(&image, vec![b'0' + n; (1 << 20) + usize::from(n) * 512])?;
        machine = machine.disk(&image, ",readonly=on");
    }
    let mut vm = start(env, machine)?;
    let answer =
        vm.console.check("for d in /sys/block/vd?; do echo $(cat $d/size) $(head -c 1 /dev/${d##*/}); done | sort")?;
    for n in 0..8 {
        contains("sizes and contents of the disks", &answer, &format!("{} {n}", 2048 + n))?;
    }
    power_off(vm)
}

/// The guest hears of a new size, and uses it.
fn resized(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS, host::E2FSCK])?;
    let dir = scratch()?;
    let (image, path) = (dir.path().join("disk.img"), dir.path().join("monitor"));
    blank(&image, 16)?;
    let machine = Machine::virt(&env.vireo, 2).disk(&image, "").args(Monitor::option(&path));
    let mut vm = start(env, machine)?;
    let mut monitor = Monitor::at(&path)?;
    let sectors = |vm: &mut Vm, wanted: u64| {
        let size = format!("until [ $(cat /sys/block/vda/size) = {wanted} ]; do sleep 0.05; done");
        vm.console.check(&size).map(drop)
    };
    vm.console.check("mount -t ext4 /dev/vda /mnt && echo before > /mnt/file")?;
    contains("a size of no whole sector", &monitor.ask("block_resize disk0 100B")?, "not a multiple of 512")?;
    monitor.ask("block_resize disk0 48M")?;
    sectors(&mut vm, 48 << 11)?;
    contains("the guest's log", &vm.console.check("dmesg")?, "new size: 98304 512-byte logical blocks")?;
    vm.console.check("echo after >> /mnt/file && umount /mnt")?;
    let end = "seek=47 bs=1M count=1";
    vm.console.check(&format!(
        "dd if=/dev/urandom of=/tmp/noise bs=1M count=1 && dd if=/tmp/noise of=/dev/vda {end} && sync"
    ))?;
    let sum = vm.console.check("sha256sum < /tmp/noise")?;
    vm.console.check("echo 3 > /proc/sys/vm/drop_caches")?;
    equal("what was written behind the old end", vm.console.check("tail -c 1048576 /dev/vda | sha256sum")?, sum)?;
    equal("bytes of the image", fs::metadata(&image)?.len(), 48 << 20)?;
    // A guest that stands hears of it when it goes on.
    monitor.ask("stop")?;
    monitor.ask("block_resize disk0 16M")?;
    monitor.ask("cont")?;
    sectors(&mut vm, 16 << 11)?;
    let answer = vm.console.run("dd if=/tmp/noise of=/dev/vda seek=16 bs=1M count=1 2>&1")?;
    equal("whether the guest wrote behind the new end", answer.status == 0, false)?;
    vm.console.send("poweroff -f\n")?;
    equal("the exit code", vm.wait()?.status.code(), Some(0))?;
    equal("bytes of the image", fs::metadata(&image)?.len(), 16 << 20)?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image))?;
    Ok(())
}

/// As QEMU has it: a disk of no sectors, on which every access fails.
fn empty_disk(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    File::create(&image)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).disk(&image, ""))?;
    equal("the number of sectors", vm.console.check("cat /sys/block/vda/size")?.as_str(), "0")?;
    vm.console.run("dd if=/dev/zero of=/dev/vda bs=512 count=1 2>&1")?;
    power_off(vm)?;
    equal("the size of the image", fs::metadata(&image)?.len(), 0)
}

/// The bytes of a last, partial sector are neither lost nor made more than a sector.
fn odd_disk(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    let before = vec![b'x'; 8 * 512 + 100];
    fs::write(&image, &before)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).disk(&image, ""))?;
    let sectors: usize = vm.console.check("cat /sys/block/vda/size")?.trim().parse()?;
    if ![8, 9].contains(&sectors) {
        bail!("{sectors} sectors for {} bytes", before.len());
    }
    // Over the end of what the guest may write.
    vm.console.run("dd if=/dev/zero of=/dev/vda bs=512 count=20 2>&1; sync")?;
    vm.console.send("poweroff -f\n")?;
    let end = vm.wait()?;
    equal("the exit code", end.status.code(), Some(0))?;
    contains("standard error", &end.errors, "ends inside a sector")?;
    let after = fs::read(&image)?;
    equal("whether the whole sectors are written", after[..8 * 512].iter().all(|b| *b == 0), true)?;
    let kept = after.len() == before.len() && after[8 * 512..] == before[8 * 512..];
    let written = sectors == 9 && after.len() <= 9 * 512 && after[8 * 512..].iter().all(|b| *b == 0);
    equal("whether the partial sector is as it was or written", kept || written, true)
}

/// Files of a program may not grow over so many bytes; the program may have more later.
fn limit(pid: u32, bytes: &str) -> Result<()> {
    host::run(host::command("prlimit").args([format!("--pid={pid}"), format!("--fsize={bytes}:")]))?;
    Ok(())
}

/// Nothing is lost, and the guest notices nothing but that time has passed.
fn waits_for_room(env: &Env, options: &str) -> Result<()> {
    let dir = scratch()?;
    let (image, path) = (dir.path().join("disk.img"), dir.path().join("monitor"));
    File::create(&image)?.set_len(64 << 20)?;
    let machine = Machine::virt(&env.vireo, 2).disk(&image, &format!(",{options}")).args(Monitor::option(&path));
    let mut vm = start(env, machine)?;
    let mut monitor = Monitor::at(&path)?;
    vm.console.check("dd if=/dev/urandom of=/tmp/noise bs=1M count=24 2>&1")?;
    limit(vm.pid(), "8388608")?;
    vm.console.send("dd if=/tmp/noise of=/dev/vda bs=1M 2>&1; sync; echo dd=$?\n")?;
    while !monitor.ask("info status")?.contains("paused (io-error)") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Still no room: it stops again.
    monitor.ask("cont")?;
    while !monitor.ask("info status")?.contains("paused (io-error)") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    limit(vm.pid(), "unlimited")?;
    monitor.ask("cont")?;
    vm.console.expect("dd=0")?;
    vm.console.expect(PROMPT)?;
    let sum = vm.console.check("sha256sum < /tmp/noise")?;
    vm.console.check("echo 3 > /proc/sys/vm/drop_caches")?;
    equal("what the guest reads", vm.console.check("head -c 25165824 /dev/vda | sha256sum")?, sum.clone())?;
    equal("errors in the guest's log", vm.console.check("dmesg | grep -c 'I/O error' || true")?.trim(), "0")?;
    vm.console.send("poweroff -f\n")?;
    let end = vm.wait()?;
    equal("the exit code", end.status.code(), Some(0))?;
    contains("standard error", &end.errors, "File too large; the machine stops")?;
    let written = fs::read(&image)?;
    let part = dir.path().join("part");
    fs::write(&part, &written[..24 << 20])?;
    equal("the image's first part", host::sha256(&part)?.as_str(), sum.split_whitespace().next().unwrap_or_default())
}

fn errors_are_told(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let image = dir.path().join("disk.img");
    File::create(&image)?.set_len(16 << 20)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).disk(&image, ",werror=report"))?;
    limit(vm.pid(), "1048576")?;
    let answer = vm.console.run("dd if=/dev/zero of=/dev/vda bs=64k seek=64 count=1 conv=fsync 2>&1")?;
    if answer.status == 0 {
        bail!("the guest wrote where the host could not");
    }
    contains("the guest's log", &vm.console.check("dmesg | tail -n 5")?, "I/O error")?;
    vm.console.send("poweroff -f\n")?;
    let end = vm.wait()?;
    equal("the exit code", end.status.code(), Some(0))?;
    contains("standard error", &end.errors, "File too large; the guest sees an I/O error")
}
