//! Linux in snapshots: it goes on elsewhere as if nothing had been.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::disk::blank;
use super::linux::start;
use super::{Case, contains, equal};
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, http, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "Linux goes on from a file", run: goes_on },
    Case { name: "Linux moves while it works", run: moves },
    Case { name: "ten clones of one Linux", run: clones },
];

/// How long a monitor may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PROMPT: &str = "(vireo) ";

/// Somebody at a machine's monitor.
pub(super) struct Monitor(Box<dyn Stream>);

pub(super) trait Stream: Read + Write {}

impl Stream for UnixStream {}
impl Stream for TcpStream {}

impl Monitor {
    pub(super) fn option(path: &Path) -> [String; 2] {
        ["-monitor".to_owned(), format!("unix:{},server=on,wait=off", path.display())]
    }

    pub(super) fn at(path: &Path) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error).context("no monitor"),
                Err(_) => sleep(Duration::from_millis(5)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        Self::greeted(Box::new(stream))
    }

    /// At a port of this machine, of somebody who listens already.
    pub(super) fn at_port(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("no monitor")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Self::greeted(Box::new(stream))
    }

    fn greeted(stream: Box<dyn Stream>) -> Result<Self> {
        let mut monitor = Self(stream);
        monitor.answer()?;
        Ok(monitor)
    }

    fn answer(&mut self) -> Result<String> {
        let mut text = Vec::new();
        while !text.ends_with(PROMPT.as_bytes()) {
            let mut byte = [0];
            match self.0.read(&mut byte).context("the monitor does not answer")? {
                0 => bail!("the monitor hung up behind '{}'", String::from_utf8_lossy(&text)),
                _ => text.push(byte[0]),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub(super) fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.0, "{command}")?;
        self.answer()
    }

    /// Moves the machine and ends its program.
    fn migrate(mut self, vm: Vm, place: &str) -> Result<String> {
        let answer = self.ask(&format!("migrate {place}"))?;
        contains("what the monitor says", &answer, "Migration status: completed")?;
        contains("what the monitor says", &answer, "downtime: ")?;
        writeln!(self.0, "quit")?;
        equal("the exit code", vm.wait()?.status.code(), Some(0))?;
        Ok(answer)
    }
}

/// Switches off a machine with a monitor, whose place is told on standard error.
fn power_off(mut vm: Vm) -> Result<()> {
    vm.console.send("poweroff -f\n")?;
    equal("the exit code", vm.wait()?.status.code(), Some(0))
}

/// A file that is open and written to, a process that sleeps, and a network.
fn goes_on(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS, host::E2FSCK])?;
    let dir = scratch()?;
    let (image, path, file) = (dir.path().join("disk.img"), dir.path().join("monitor"), dir.path().join("snapshot"));
    blank(&image, 64)?;
    let server = http::Server::start(Arc::new(b"over the network".to_vec()))?;
    let machine = || Machine::virt(&env.vireo, 2).disk(&image, "").user_net("").args(Monitor::option(&path));
    let mut vm = start(env, machine())?;
    vm.console.check("mount -t ext4 /dev/vda /mnt && exec 7>/mnt/open && echo kept > /tmp/ram")?;
    vm.console.check("(for i in $(seq 300); do echo line $i >&7; usleep 10000; done; echo > /mnt/done) & true")?;
    vm.console.check("(sleep 4; echo > /mnt/awake) & true")?;
    let before: f64 = vm.console.check("cut -d' ' -f1 /proc/uptime")?.trim().parse()?;
    Monitor::at(&path)?.migrate(vm, &format!("file:{}", file.display()))?;

    let incoming = format!("file:{}", file.display());
    let mut vm = machine().linux(env.guest()?, "quiet").args(["-incoming", &incoming]).start()?;
    let after: f64 = vm.console.check("cut -d' ' -f1 /proc/uptime")?.trim().parse()?;
    if after < before {
        bail!("the guest's time went back from {before} to {after} s");
    }
    equal("a file in RAM", vm.console.check("cat /tmp/ram")?.as_str(), "kept")?;
    vm.console.check("while [ ! -e /mnt/done -o ! -e /mnt/awake ]; do usleep 100000; done")?;
    let lines = "seq 300 | sed 's/^/line /' | cmp - /mnt/open && echo same";
    equal("the open file", vm.console.check(lines)?.as_str(), "same")?;
    let got = vm.console.check(&format!("wget -q -O - http://10.0.2.2:{}/; echo", server.port))?;
    contains("what the network brings", &got, "over the network")?;
    vm.console.check("exec 7>&-; umount /mnt && sync")?;
    let kernel_log = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
    equal("the kernel's errors", kernel_log.as_str(), "")?;
    power_off(vm)?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image))?;
    Ok(())
}

/// To another program on the same disk, while memory is written to.
fn moves(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS, host::E2FSCK])?;
    let dir = scratch()?;
    let (image, way) = (dir.path().join("disk.img"), dir.path().join("way"));
    let monitors = [dir.path().join("monitor0"), dir.path().join("monitor1")];
    blank(&image, 64)?;
    let machine = |n: usize| Machine::virt(&env.vireo, 2).disk(&image, "").args(Monitor::option(&monitors[n]));
    let mut here = start(env, machine(0))?;
    here.console.check("mount -t ext4 /dev/vda /mnt && dd if=/dev/urandom of=/tmp/a bs=1M count=32 2>&1")?;
    here.console.check(
        "(while cp /tmp/a /tmp/b && cmp /tmp/a /tmp/b; do echo round >> /mnt/rounds; done; echo > /tmp/bad) & true",
    )?;
    let place = format!("unix:{}", way.display());
    let there = machine(1).linux(env.guest()?, "quiet").args(["-incoming", &place]);
    let mut there = there.start()?;
    Monitor::at(&monitors[1])?;
    Monitor::at(&monitors[0])?.migrate(here, &place)?;
    let rounds = |vm: &mut Vm| -> Result<u64> { Ok(vm.console.check("wc -l < /mnt/rounds")?.trim().parse()?) };
    let first = rounds(&mut there)?;
    while rounds(&mut there)? < first + 3 {
        there.console.check("test ! -e /tmp/bad && usleep 100000")?;
    }
    there.console.check("kill %1; wait; umount /mnt && sync")?;
    power_off(there)?;
    host::run(host::command("e2fsck").arg("-fn").arg(&image))?;
    Ok(())
}

/// All at once, from a file whose RAM they map.
fn clones(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (path, file) = (dir.path().join("monitor"), dir.path().join("snapshot"));
    let mut vm = start(env, Machine::virt(&env.vireo, 1).args(Monitor::option(&path)))?;
    vm.console.check("echo one of many > /tmp/file")?;
    let mut monitor = Monitor::at(&path)?;
    monitor.ask("migrate_set_capability mapped-ram on")?;
    monitor.migrate(vm, &format!("file:{}", file.display()))?;
    let sum = host::sha256(&file)?;
    let incoming = format!("file:{},map=on", file.display());
    let clone = |_| Machine::virt(&env.vireo, 1).linux(env.guest()?, "quiet").args(["-incoming", &incoming]).start();
    let mut clones = (0..10).map(clone).collect::<Result<Vec<_>>>()?;
    for (n, clone) in clones.iter_mut().enumerate() {
        equal("a file in RAM", clone.console.check("cat /tmp/file")?.as_str(), "one of many")?;
        clone.console.check(&format!("echo {n} > /tmp/file"))?;
    }
    for (n, mut clone) in clones.into_iter().enumerate() {
        equal("the clone's own", clone.console.check("cat /tmp/file")?, n.to_string())?;
        power_off(clone)?;
    }
    equal("the snapshot's checksum", host::sha256(&file)?, sum)
}
