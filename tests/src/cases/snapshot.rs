//! Linux in snapshots: it goes on elsewhere as if nothing had been.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
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
    Case { name: "connections move with Linux", run: connections },
    Case { name: "ten clones of one Linux", run: clones },
    Case { name: "Linux goes back to older files", run: goes_back },
    Case { name: "Linux and clones of it take a temporary disk along", run: temporary_disk },
    Case { name: "a snapshot that does not fit on the disk leaves Linux alone", run: too_large },
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
    // Without a word of the shell about its jobs.
    vm.console.check("set +m; mount -t ext4 /dev/vda /mnt && exec 7>/mnt/open && echo kept > /tmp/ram")?;
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

/// Connections of all kinds that nobody interrupts until `moved`.
#[derive(Default)]
struct Talk {
    moved: AtomicBool,
    /// Bytes that came back, and answers to what was typed.
    echoed: AtomicUsize,
    answers: AtomicUsize,
    served: AtomicUsize,
}

impl Talk {
    /// Sends noise into `to` and a copy, not too fast, until it is time to end.
    fn pour(&self, mut to: impl Write, copy: &Path, count: &AtomicUsize) -> Result<()> {
        let (noise, mut copy) = (http::noise(1 << 20), File::create(copy)?);
        for chunk in noise.chunks(32_768).cycle() {
            to.write_all(chunk)?;
            copy.write_all(chunk)?;
            count.fetch_add(chunk.len(), Ordering::Relaxed);
            if self.moved.load(Ordering::Relaxed) {
                break;
            }
            sleep(Duration::from_millis(2));
        }
        Ok(copy.flush()?)
    }

    /// Up and down through a forwarded port.
    fn echo(&self, port: u16, dir: &Path) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (sent, back) = (dir.join("sent"), dir.join("back"));
        let result = thread::scope(|scope| {
            let writing = scope.spawn(|| -> Result<()> {
                self.pour(&stream, &sent, &AtomicUsize::new(0))?;
                Ok(stream.shutdown(Shutdown::Write)?)
            });
            let reading = || -> Result<()> {
                let (mut reader, mut copy, mut bytes) = (&stream, File::create(&back)?, vec![0; 65_536]);
                while let n @ 1.. = reader.read(&mut bytes)? {
                    copy.write_all(&bytes[..n])?;
                    self.echoed.fetch_add(n, Ordering::Relaxed);
                }
                Ok(())
            };
            let read = reading();
            read.and(writing.join().unwrap_or_else(|_| bail!("the writer panicked")))
        });
        result.context("the echo")?;
        equal("what came back", host::sha256(&back)?, host::sha256(&sent)?)?;
        // The connection is over on both sides.
        equal("what is behind the end", stream.read(&mut [0])?, 0)
    }

    /// Somebody at a shell of the guest's.
    fn type_on(&self, port: u16) -> Result<()> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let mut lines = BufReader::new(&stream).lines();
        for n in 0.. {
            writeln!(&stream, "echo $(({n} + 1))").context("the shell")?;
            let line = lines.next().context("the shell hung up")?.context("the shell")?;
            equal("what the shell says", line, (n + 1).to_string())?;
            self.answers.fetch_add(1, Ordering::Relaxed);
            if self.moved.load(Ordering::Relaxed) {
                break;
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A file that the guest fetches.
    fn serve(&self, listener: &TcpListener, copy: &Path) -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while !lines.next().transpose()?.unwrap_or_default().is_empty() {}
        write!(stream, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n")?;
        self.pour(stream, copy, &self.served).context("what the guest fetches")
    }

    /// Waits until everything has gone on a while.
    fn goes_on(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let counts = [(&self.echoed, 1 << 20), (&self.answers, 20), (&self.served, 1 << 20)];
        let wanted = counts.map(|(count, more)| count.load(Ordering::Relaxed) + more);
        while counts.iter().zip(wanted).any(|((count, _), wanted)| count.load(Ordering::Relaxed) < wanted) {
            if Instant::now() > deadline {
                let now = counts.map(|(count, _)| count.load(Ordering::Relaxed));
                bail!("connections stand still at {now:?}, and {wanted:?} was expected");
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Twice, with bytes on their way in both directions, and somebody at a shell.
fn connections(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let (way, fetched) = (dir.path().join("way"), dir.path().join("fetched"));
    let monitors: Vec<_> = (0..3).map(|n| dir.path().join(format!("monitor{n}"))).collect();
    let (echo, shell) = (http::free_port()?, http::free_port()?);
    let net = format!(",hostfwd=tcp:127.0.0.1:{echo}-:7,hostfwd=tcp:127.0.0.1:{shell}-:23");
    let machine = |n: usize| Machine::virt(&env.vireo, 2).user_net(&net).args(Monitor::option(&monitors[n]));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = listener.local_addr()?.port();
    let mut vm = start(env, machine(0))?;
    vm.console.check("(nc -ll -p 7 -e cat & nc -ll -p 23 -e sh &) > /dev/null 2>&1; sleep 1")?;
    vm.console.check(&format!(
        "(wget -q -O - http://10.0.2.2:{server}/ | sha256sum > /tmp/sum; echo > /tmp/done) > /dev/null 2>&1 & true"
    ))?;
    let talk = Talk::default();
    thread::scope(|scope| -> Result<()> {
        let talking = [
            scope.spawn(|| talk.echo(echo, dir.path())),
            scope.spawn(|| talk.type_on(shell)),
            scope.spawn(|| talk.serve(&listener, &fetched)),
        ];
        let moves = || -> Result<Vm> {
            for n in 1..3 {
                talk.goes_on()?;
                let place = format!("unix:{}", way.display());
                let there = machine(n).linux(env.guest()?, "quiet").args(["-incoming", &place]).start()?;
                Monitor::at(&monitors[n])?;
                Monitor::at(&monitors[n - 1])?.migrate(std::mem::replace(&mut vm, there), &place)?;
                talk.goes_on()?;
                // The ports are the guest's still.
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, echo))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(b"new")?;
                let mut back = [0; 3];
                stream.read_exact(&mut back).context("a new connection")?;
                equal("what a new connection brings", &back, b"new")?;
            }
            Ok(vm)
        };
        let moved = moves();
        talk.moved.store(true, Ordering::Relaxed);
        if moved.is_err() {
            // The reason is the guest's, which has ended; nobody waits for its call.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, server));
            return moved.map(drop);
        }
        for talking in talking {
            talking.join().unwrap_or_else(|_| bail!("somebody who talked panicked"))?;
        }
        let mut vm = moved?;
        vm.console.check("while [ ! -e /tmp/done ]; do usleep 100000; done")?;
        contains("the checksum in the guest", &vm.console.check("cat /tmp/sum")?, &host::sha256(&fetched)?)?;
        let kernel_log = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
        equal("the kernel's errors", kernel_log.as_str(), "")?;
        power_off(vm)
    })
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

/// A checksum of all files on the disk, which the guest reads from it.
const SUMS: &str =
    "echo 3 > /proc/sys/vm/drop_caches; (cd /mnt && find . -type f | sort | xargs sha256sum) | sha256sum";
/// Files, small and large, and holes between them; the last ones are not on the disk yet.
const FILES: &str = "for i in $(seq 300); do echo file $i > /mnt/$i; done; dd if=/dev/urandom of=/mnt/noise bs=64k count=200 \
                     2>&1; sync; rm /mnt/1??; dd if=/dev/urandom of=/mnt/late bs=64k count=50 2>&1";
/// Others in their places, one of them in the very blocks of an older one.
const OTHERS: &str = "rm /mnt/2* /mnt/late; for i in $(seq 1000 1400); do echo other $i > /mnt/$i; done; dd if=/dev/urandom \
                      of=/mnt/noise bs=64k count=150 conv=notrunc 2>&1; sync";

/// With a disk that it writes to, by `loadvm` and by `-loadvm`.
fn goes_back(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS, host::E2FSCK])?;
    for options in ["", ",cache=none,discard=unmap"] {
        let dir = scratch()?;
        let (image, path) = (dir.path().join("disk.img"), dir.path().join("monitor"));
        blank(&image, 128)?;
        let board = format!("virt,snapshots={}", dir.path().display());
        let machine = || {
            let machine = Machine::virt(&env.vireo, 2).disk(&image, options).args(["-M", &board]);
            machine.args(Monitor::option(&path))
        };
        let mut vm = start(env, machine())?;
        vm.console.check("mount -t ext4 /dev/vda /mnt && touch /tmp/ram")?;
        vm.console.check(FILES)?;
        let mut monitor = Monitor::at(&path)?;
        equal("savevm", monitor.ask("savevm one")?.contains("Error"), false)?;
        let sums = vm.console.check(SUMS)?;
        contains("the snapshots", &monitor.ask("info snapshots")?, "MiB")?;
        for _ in 0..2 {
            vm.console.check(OTHERS)?;
            equal("whether the files are others", vm.console.check(SUMS)? == sums, false)?;
            equal("loadvm", monitor.ask("loadvm one")?.contains("Error"), false)?;
            equal("the older files", vm.console.check(SUMS)?, sums.clone())?;
        }
        vm.console.check(OTHERS)?;
        writeln!(monitor.0, "quit")?;
        equal("the exit code", vm.wait()?.status.code(), Some(0))?;
        let mut vm = machine().linux(env.guest()?, "quiet").args(["-loadvm", "one"]).start()?;
        equal("the older files at the start", vm.console.check(SUMS)?, sums)?;
        vm.console.check("test -e /tmp/ram && echo more > /mnt/more && umount /mnt && sync")?;
        let kernel_log = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
        equal("the kernel's errors", kernel_log.as_str(), "")?;
        power_off(vm)?;
        host::run(host::command("e2fsck").arg("-fn").arg(&image))?;
    }
    Ok(())
}

/// To another program while it writes to its disk, from there to a file, and into two machines at once.
fn temporary_disk(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS])?;
    let dir = scratch()?;
    let (image, way, file) = (dir.path().join("disk.img"), dir.path().join("way"), dir.path().join("snapshot"));
    let monitors = [dir.path().join("monitor0"), dir.path().join("monitor1")];
    blank(&image, 256)?;
    let before = host::sha256(&image)?;
    let machine =
        |n: usize| Machine::virt(&env.vireo, 2).disk(&image, ",snapshot=on").args(Monitor::option(&monitors[n]));
    let mut here = start(env, machine(0))?;
    here.console.check("mount -t ext4 /dev/vda /mnt && dd if=/dev/urandom of=/tmp/twin bs=1M count=16 2>&1")?;
    here.console.check(FILES)?;
    here.console.check("cp /tmp/twin /mnt/twin && sync")?;
    // The disk has to follow the memory, block by block.
    here.console.check(
        ": > /tmp/rounds; (n=0; while [ ! -e /tmp/stop ]; do n=$(((n + 37) % 256)); dd if=/dev/urandom of=/tmp/part bs=64k \
         count=1; for twin in /tmp /mnt; do dd if=/tmp/part of=$twin/twin bs=64k seek=$n conv=notrunc; done; sync; echo >> \
         /tmp/rounds; done) 2> /dev/null & true",
    )?;
    let rounds = |vm: &mut Vm| -> Result<u64> { Ok(vm.console.check("wc -l < /tmp/rounds")?.trim().parse()?) };
    while rounds(&mut here)? < 5 {}
    let place = format!("unix:{}", way.display());
    let mut there = machine(1).linux(env.guest()?, "quiet").args(["-incoming", &place]).start()?;
    Monitor::at(&monitors[1])?;
    Monitor::at(&monitors[0])?.migrate(here, &place)?;
    let same =
        "touch /tmp/stop; wait; sync; echo 3 > /proc/sys/vm/drop_caches; cmp /tmp/twin /mnt/twin && rm /tmp/stop";
    there.console.check(same)?;
    let sums = there.console.check(SUMS)?;

    let mut monitor = Monitor::at(&monitors[1])?;
    monitor.ask("migrate_set_capability mapped-ram on")?;
    monitor.migrate(there, &format!("file:{}", file.display()))?;
    let incoming = format!("file:{},map=on", file.display());
    let clone = |n: usize| machine(n).linux(env.guest()?, "quiet").args(["-incoming", &incoming]).start();
    let mut clones = [clone(0)?, clone(1)?];
    for (n, clone) in clones.iter_mut().enumerate() {
        equal("the clone's files", clone.console.check(SUMS)?, sums.clone())?;
        clone.console.check(&format!("echo {n} > /mnt/own && sync"))?;
    }
    for (n, mut clone) in clones.into_iter().enumerate() {
        equal(
            "the clone's own",
            clone.console.check("umount /mnt; mount -t ext4 /dev/vda /mnt; cat /mnt/own")?,
            n.to_string(),
        )?;
        let kernel_log = clone.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
        equal("the kernel's errors", kernel_log.as_str(), "")?;
        power_off(clone)?;
    }
    equal("the image's checksum", host::sha256(&image)?, before)?;
    // Another image of the same size.
    let other = dir.path().join("other.img");
    blank(&other, 256)?;
    let wrong = Machine::virt(&env.vireo, 2).disk(&other, ",snapshot=on").linux(env.guest()?, "quiet");
    let end = wrong.args(["-incoming", &incoming]).start()?.wait()?;
    equal("the exit code", end.status.code(), Some(1))?;
    contains(
        "standard error",
        &end.errors,
        "drive 'disk0': the image here has other contents than the one it was saved with",
    )
}

/// No room: one line, no file, and the guest goes on.
fn too_large(env: &Env) -> Result<()> {
    host::require(&[host::MKE2FS])?;
    let dir = scratch()?;
    let (image, path, folder) = (dir.path().join("disk.img"), dir.path().join("monitor"), dir.path().join("snapshots"));
    std::fs::create_dir(&folder)?;
    blank(&image, 16)?;
    let board = format!("virt,snapshots={}", folder.display());
    // A limit on files stands for a disk that is full; its signal is not the one that tells of it.
    let limited = "trap '' XFSZ; ulimit -f 32768; exec \"$@\"";
    let machine = Machine::bare(Path::new("/bin/sh")).args(["-c", limited, "sh"]).arg(&env.vireo).arg("-nographic");
    let machine = machine.args(["-M", &board, "-m", "1G"]).disk(&image, "").args(Monitor::option(&path));
    let mut vm = start(env, machine)?;
    vm.console.check("mount -t ext4 /dev/vda /mnt && dd if=/dev/urandom of=/tmp/noise bs=1M count=64 2>&1")?;
    let mut monitor = Monitor::at(&path)?;
    for capability in ["off", "on"] {
        monitor.ask(&format!("migrate_set_capability mapped-ram {capability}"))?;
        contains("savevm", &monitor.ask("savevm one")?, "Error: cannot save 'one': cannot write it: File too large")?;
        equal("what is left", std::fs::read_dir(&folder)?.count(), 0)?;
        vm.console.check("echo goes on > /mnt/file && sync")?;
    }
    power_off(vm)
}
